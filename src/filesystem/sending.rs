//! One upload as attempts at it: a connection that is lost on the way costs time, not the upload.
//!
//! Not here: what is uploaded and when (`upload`).

use super::FilesystemResult;
use crate::protocol::RemotePath;
use crate::remote::{Remote, RemoteError, Stored, WriteMode, WriteStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are handed to the server at once.
const PIECE_LEN: usize = 256 << 10;
/// The first attempt after a failure is made at once, the second after this time; then it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The upload of one content to one path.
pub(super) struct Sending<'a> {
    remote: &'a dyn Remote,
    path: &'a RemotePath,
    mode: WriteMode,
    size: u64,
    patience: Patience,
}

impl<'a> Sending<'a> {
    /// `patience` is how long may pass without one more byte than ever before until a failure is final.
    pub(super) fn new(
        remote: &'a dyn Remote,
        path: &'a RemotePath,
        mode: WriteMode,
        size: u64,
        patience: Duration,
    ) -> Self {
        Self { remote, path, mode, size, patience: Patience::new(patience) }
    }

    /// Sends all that `read` gives (at most so many bytes from that offset on), from the start again where it was
    /// interrupted, and returns once the server has proved it.
    ///
    /// # Errors
    /// What cannot succeed when tried again, at once; else the last attempt's error. What `read` fails with.
    pub(super) fn run(
        mut self,
        mut read: impl FnMut(u64, usize) -> FilesystemResult<Vec<u8>>,
    ) -> FilesystemResult<Stored> {
        loop {
            let error = match self.attempt(&mut read) {
                Attempt::Stored(stored) => return Ok(stored),
                Attempt::NotRead(error) => return Err(error),
                Attempt::Interrupted(error) => error,
            };
            self.patience.bear(self.path, error)?;
        }
    }

    fn attempt(&mut self, read: &mut impl FnMut(u64, usize) -> FilesystemResult<Vec<u8>>) -> Attempt {
        let mut stream: Box<dyn WriteStream> = match self.remote.open_write(self.path, self.mode) {
            Ok(stream) => stream,
            Err(error) => return Attempt::Interrupted(error),
        };
        let mut offset = 0;
        while offset < self.size {
            let piece = match read(offset, PIECE_LEN) {
                Ok(piece) => piece,
                Err(error) => return Attempt::NotRead(error),
            };
            if let Err(error) = stream.write_all(&piece) {
                return Attempt::Interrupted(error);
            }
            offset += piece.len() as u64;
            self.patience.reached(offset);
        }
        match stream.finish() {
            Ok(stored) if stored.size == self.size => Attempt::Stored(stored),
            Ok(stored) => Attempt::Interrupted(RemoteError::Failed {
                reason: format!("{} bytes were sent, {} arrived", self.size, stored.size),
            }),
            Err(error) => Attempt::Interrupted(error),
        }
    }
}

/// How one attempt ended.
enum Attempt {
    Stored(Stored),
    Interrupted(RemoteError),
    NotRead(super::FilesystemError),
}

/// How long one goes on trying: as long as it gets further than before, and a time beyond that.
pub(super) struct Patience {
    time: Duration,
    reached: u64,
    progress: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, reached: 0, progress: Instant::now(), pause: Duration::ZERO }
    }

    /// Notes how many bytes have been sent. Only more than ever before are progress, or a server that fails each time at
    /// the same place would be tried for ever.
    pub(super) fn reached(&mut self, offset: u64) {
        if offset > self.reached {
            self.reached = offset;
            self.progress = Instant::now();
            self.pause = Duration::ZERO;
        }
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// The one given, where it is final.
    pub(super) fn bear(&mut self, path: &RemotePath, error: RemoteError) -> Result<(), RemoteError> {
        let left = self.time.saturating_sub(self.progress.elapsed());
        if !error.is_worth_another_try() || left <= self.pause {
            return Err(error);
        }
        tracing::warn!(%path, %error, pause = ?self.pause, "an upload was interrupted; it is tried again");
        thread::sleep(self.pause);
        self.pause = (self.pause * 2).clamp(PAUSE, PAUSE_MAX);
        Ok(())
    }
}

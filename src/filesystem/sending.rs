//! The bytes of one upload on their way, over as many connections as it takes.
//!
//! Not here: which bytes and when (`streaming` while a file is written, `upload` when it is closed).

use super::allowance::StreamPermit;
use crate::journal::ContentId;
use crate::protocol::RemotePath;
use crate::remote::{Finished, Remote, RemoteError, RemoteResult, Wishes, WriteMode, WriteStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first attempt after a failure is made at once, the second after this time; then it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The first transfer that breaks off is begun anew; a later one that has sent so much goes on behind what arrived, or a file
/// that takes longer than connections live there would never be stored.
const RESUME_MIN: u64 = 1 << 20;

/// A content up to this size goes in one go, if none of it was sent before it was complete.
const ONE_GO_LEN_MAX: u64 = 1 << 20;

/// The upload of one content to one path.
pub(super) struct Sending {
    remote: Arc<dyn Remote>,
    path: RemotePath,
    mode: WriteMode,
    line: Line,
    offset: u64,
    /// Where it ends, if that is not the file's end.
    end: Option<u64>,
    /// How often a transfer has broken off.
    breaks: u32,
    patience: Patience,
    /// The promised content that it is of; a stream is of what was written last.
    content: Option<ContentId>,
    _permit: StreamPermit,
}

/// The transfer under way.
///
/// ```text
/// Closed ──ready──▶ Open ──finish──▶ Closed
///    ▲                │error
///    │                ▼
///    └─ from start ─ Broken ──resumed──▶ Open
/// ```
enum Line {
    Closed,
    Open(Box<dyn WriteStream>),
    Broken(Box<dyn WriteStream>),
}

impl Sending {
    /// `patience` is how long it may get no further until a failure is final.
    pub(super) fn new(
        remote: Arc<dyn Remote>,
        path: RemotePath,
        mode: WriteMode,
        patience: Duration,
        permit: StreamPermit,
    ) -> Self {
        let patience = Patience { time: patience, reached: 0, failing_since: None, pause: Duration::ZERO };
        let mut sending = Self {
            remote,
            path,
            mode,
            line: Line::Closed,
            offset: 0,
            end: None,
            breaks: 0,
            patience,
            content: None,
            _permit: permit,
        };
        sending.offset = sending.start();
        sending
    }

    /// The same, ending at byte `end` of the file.
    pub(super) fn until(mut self, end: u64) -> Self {
        self.end = Some(end);
        self
    }

    /// How much is still to be sent of a file of `size` bytes.
    pub(super) fn left_of(&self, size: u64) -> u64 {
        self.end.unwrap_or(size).min(size).saturating_sub(self.offset)
    }

    /// Where it goes.
    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    /// How it becomes the file.
    pub(super) fn mode(&self) -> WriteMode {
        self.mode
    }

    /// Whether this is the beginning of a whole content of so many bytes at a path.
    pub(super) fn is_of(&self, content: ContentId, path: &RemotePath, size: u64) -> bool {
        self.content.is_none_or(|of| of == content)
            && self.path == *path
            && self.offset <= size
            && matches!(self.mode, WriteMode::Create | WriteMode::Replace { .. })
    }

    /// Whether it can be of this promised content.
    pub(super) fn is_meant_for(&self, content: ContentId) -> bool {
        self.content.is_none_or(|of| of == content)
    }

    /// From now on it is of this promised content.
    pub(super) fn belongs_to(&mut self, content: ContentId) {
        self.content = Some(content);
    }

    /// The first byte of the file that this is about.
    pub(super) fn start(&self) -> u64 {
        match self.mode {
            WriteMode::Append { size: offset } | WriteMode::Patch { offset, .. } | WriteMode::Tail { offset, .. } => {
                offset
            }
            WriteMode::Create | WriteMode::Replace { .. } => 0,
        }
    }

    /// The byte of the file that is to be sent next.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether any byte of it was ever handed to the server.
    pub(super) fn has_sent(&self) -> bool {
        self.patience.reached > 0
    }

    /// Whether bytes can be sent.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.line, Line::Open(_))
    }

    /// Whether it has nothing to lose and others wait for its connection.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(&self.line, Line::Open(stream) if stream.is_wanted())
    }

    /// What is left of it has to wait for somebody: a connection that it only keeps goes to others meanwhile.
    pub(super) fn give_way(&mut self) {
        if let Line::Open(stream) = &mut self.line {
            stream.give_way();
        }
    }

    /// Makes it open. After a failure it goes on behind what the server has where bytes below `kept_from` are not here
    /// any more, or where that has failed before; otherwise it begins anew. [`Self::offset`] tells.
    ///
    /// # Errors
    /// The server's; [`RemoteError::Failed`] where it has too little of what is not here any more.
    pub(super) fn ready(&mut self, kept_from: u64) -> RemoteResult<()> {
        // What was begun in the file itself has changed it: it is no longer as it was when that was asked for.
        let is_in_place = !matches!(self.mode, WriteMode::Create | WriteMode::Replace { .. });
        let must_resume = kept_from > self.start() || is_in_place;
        let may_resume = must_resume || self.breaks > 1 && self.offset - self.start() >= RESUME_MIN;
        match std::mem::replace(&mut self.line, Line::Closed) {
            Line::Open(stream) => self.line = Line::Open(stream),
            Line::Broken(mut stream) if may_resume => match stream.resume() {
                Ok(count) if self.start() + count >= kept_from => {
                    self.offset = self.start() + count;
                    tracing::info!(path = %self.path, offset = self.offset, "an upload goes on where it broke off");
                    self.line = Line::Open(stream);
                }
                Ok(count) => return Err(self.too_little(self.start() + count, kept_from)),
                Err(error) if must_resume || is_lost(&error) => {
                    self.line = Line::Broken(stream);
                    return Err(error);
                }
                Err(error) => {
                    tracing::info!(path = %self.path, %error, "an upload cannot go on where it broke off; it begins anew");
                    drop(stream);
                    self.begin()?;
                }
            },
            Line::Closed if kept_from > self.start() => return Err(self.too_little(self.start(), kept_from)),
            Line::Closed => self.begin()?,
            Line::Broken(stream) => {
                // First, for it removes what it has left under the name.
                drop(stream);
                self.begin()?;
            }
        }
        Ok(())
    }

    /// Whether all of a content of `size` bytes can be sent in one go: nothing was begun, and it is small enough to be begun anew
    /// whatever happens. Once it has failed it goes one step after the other.
    pub(super) fn is_for_one_go(&self, size: u64) -> bool {
        let is_whole = matches!(self.mode, WriteMode::Create | WriteMode::Replace { .. }) && self.end.is_none();
        is_whole && self.breaks == 0 && size <= ONE_GO_LEN_MAX && matches!(self.line, Line::Closed)
    }

    /// Sends all of it; only [`Self::finish_with`] is left then.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn send_in_one_go(&mut self, bytes: &[u8]) -> RemoteResult<()> {
        self.offset = self.start();
        let result = self.remote.open_whole(&self.path, self.mode, bytes);
        self.patience.reached(bytes.len() as u64);
        self.line = Line::Open(result.inspect_err(|_| self.breaks += 1)?);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn begin(&mut self) -> RemoteResult<()> {
        self.offset = self.start();
        self.line = Line::Open(self.remote.open_write(&self.path, self.mode)?);
        Ok(())
    }

    fn too_little(&self, there: u64, kept_from: u64) -> RemoteError {
        let reason = format!(
            "the server has {there} bytes of {}, and those below {kept_from} had to make room here (--staging-size)",
            self.path
        );
        RemoteError::Failed { reason }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn send(&mut self, bytes: &[u8]) -> RemoteResult<()> {
        self.on_line(|stream| stream.write_all(bytes))?;
        self.offset += bytes.len() as u64;
        self.patience.reached(self.offset);
        Ok(())
    }

    /// Ends it, and returns once the server has proved to have all of it; of what is wished for as much is set as that makes cheaper.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn finish_with(&mut self, wishes: Wishes) -> RemoteResult<Finished> {
        let size = match self.mode {
            WriteMode::Patch { size, .. } => size,
            _ => self.offset,
        };
        let finished = self.on_line(|stream| stream.finish_with(wishes))?;
        self.line = Line::Closed;
        if finished.stored.size != size {
            let reason = format!("{size} bytes should be in the file, and there are {}", finished.stored.size);
            return Err(RemoteError::Failed { reason });
        }
        Ok(finished)
    }

    fn on_line<T>(&mut self, work: impl FnOnce(&mut dyn WriteStream) -> RemoteResult<T>) -> RemoteResult<T> {
        let Line::Open(stream) = &mut self.line else {
            return Err(RemoteError::Interrupted { reason: "the transfer has ended before".into() });
        };
        let result = work(&mut **stream);
        if result.is_err()
            && let Line::Open(stream) = std::mem::replace(&mut self.line, Line::Closed)
        {
            self.line = Line::Broken(stream);
            self.breaks += 1;
        }
        result
    }

    /// After how much time it is to be tried again.
    ///
    /// # Errors
    /// The one given, where it is final.
    pub(super) fn bear(&mut self, error: RemoteError) -> RemoteResult<Duration> {
        let (path, pause) = (&self.path, self.patience.bear(&error)?);
        tracing::warn!(%path, %error, ?pause, "an upload was interrupted; it is tried again");
        Ok(pause)
    }
}

/// Whether it says nothing of what the server has: only that it could not be asked.
fn is_lost(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. } | RemoteError::Protocol { .. })
}

/// How long one goes on trying: as long as it gets further than before, and a time beyond that.
struct Patience {
    time: Duration,
    reached: u64,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    /// Notes how many bytes have been sent. Only more than ever before are progress, or a server that fails each time at
    /// the same place would be tried for ever.
    fn reached(&mut self, offset: u64) {
        if offset > self.reached {
            self.reached = offset;
            self.failing_since = None;
            self.pause = Duration::ZERO;
        }
    }

    fn bear(&mut self, error: &RemoteError) -> RemoteResult<Duration> {
        let failing = self.failing_since.get_or_insert_with(Instant::now).elapsed();
        let pause = self.pause;
        if !error.is_worth_another_try() || self.time.saturating_sub(failing) <= pause {
            return Err(error.clone());
        }
        self.pause = (pause * 2).clamp(PAUSE, PAUSE_MAX);
        Ok(pause)
    }
}

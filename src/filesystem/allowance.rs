//! How much of the local disk staging files may take, over all files, and who waits for room.
//!
//! Room comes when a stream has sent what was written and punches it out of its staging file, and when a file is closed.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Streams at once, over all files: beyond, files go to the server at their close.
const STREAMS_MAX: usize = 16;
/// Streams begin to punch when less than this is left, or less than a quarter of all.
const ROOM_WANTED_BYTES: u64 = 64 << 20;

/// What was sent last and may still be in the buffers of two sockets: it is kept as long as there is room, for a connection
/// that is lost takes it along.
const IN_BUFFERS_BYTES: u64 = 8 << 20;

/// See the module's documentation. Its lock is one of the innermost.
pub(super) struct Allowance {
    bytes_max: u64,
    used: Mutex<Used>,
    changed: Condvar,
}

struct Used {
    bytes: u64,
    streams: usize,
    waiting: usize,
    /// When something was last given back.
    progress: Instant,
}

impl Allowance {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        let used = Used { bytes: 0, streams: 0, waiting: 0, progress: Instant::now() };
        Arc::new(Self { bytes_max, used: Mutex::new(used), changed: Condvar::new() })
    }

    /// Takes so many bytes, or says that there is no room.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let mut used = self.used.lock();
        let fits = bytes == 0 || bytes <= self.bytes_max.saturating_sub(used.bytes);
        if fits {
            used.bytes += bytes;
        }
        fits
    }

    /// Takes so many bytes that are there already, whether or not there is room.
    pub(super) fn take_over(&self, bytes: u64) {
        self.used.lock().bytes += bytes;
    }

    /// Gives back so many bytes.
    pub(super) fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let mut used = self.used.lock();
            used.bytes = used.bytes.saturating_sub(bytes);
            used.progress = Instant::now();
            self.changed.notify_all();
        }
    }

    /// Whether so many bytes could be taken now.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max.saturating_sub(self.used.lock().bytes)
    }

    /// Whether streams should punch out what they have sent.
    pub(super) fn is_short(&self) -> bool {
        let used = self.used.lock();
        used.waiting > 0 || self.bytes_max.saturating_sub(used.bytes) < ROOM_WANTED_BYTES.min(self.bytes_max / 4)
    }

    /// How much of what it has sent last each stream keeps.
    pub(super) fn kept_bytes(&self) -> u64 {
        let streams = self.used.lock().streams.max(1) as u64;
        IN_BUFFERS_BYTES.min(self.bytes_max / 2 / streams)
    }

    /// Waits until so many bytes could be taken; false where nothing was given back for `patience`, or nobody is left who could.
    pub(super) fn wait_for_room(&self, bytes: u64, patience: Duration) -> bool {
        if bytes > self.bytes_max {
            return false;
        }
        let mut used = self.used.lock();
        used.waiting += 1;
        let started = Instant::now();
        let is_there = loop {
            if bytes <= self.bytes_max.saturating_sub(used.bytes) {
                break true;
            }
            let deadline = used.progress.max(started) + patience;
            if used.streams == 0 || Instant::now() >= deadline {
                break false;
            }
            self.changed.wait_until(&mut used, deadline);
        };
        used.waiting -= 1;
        is_there
    }

    /// The right to have a stream; `None` while there are too many.
    pub(super) fn stream(self: &Arc<Self>) -> Option<StreamPermit> {
        let mut used = self.used.lock();
        (used.streams < STREAMS_MAX).then(|| {
            used.streams += 1;
            StreamPermit { allowance: Arc::clone(self) }
        })
    }

    /// The right to upload a file at its close, which nobody is refused.
    pub(super) fn upload(self: &Arc<Self>) -> StreamPermit {
        self.used.lock().streams += 1;
        StreamPermit { allowance: Arc::clone(self) }
    }
}

/// What a promised content takes of the local disk, as long as this is held.
pub(super) struct Room {
    allowance: Arc<Allowance>,
    bytes: u64,
}

impl Room {
    /// Takes over what is counted already.
    pub(super) fn counted(allowance: &Arc<Allowance>, bytes: u64) -> Arc<Self> {
        Arc::new(Self { allowance: Arc::clone(allowance), bytes })
    }

    /// Counts what is there already, whether or not there is room.
    pub(super) fn taken_over(allowance: &Arc<Allowance>, bytes: u64) -> Arc<Self> {
        allowance.take_over(bytes);
        Self::counted(allowance, bytes)
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Room({} bytes)", self.bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.allowance.give_back(self.bytes);
    }
}

/// The right to have a stream, as long as it is held.
pub(super) struct StreamPermit {
    allowance: Arc<Allowance>,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.allowance.used.lock().streams -= 1;
        self.allowance.changed.notify_all();
    }
}

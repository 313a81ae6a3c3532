//! Files, directories and open handles, over a [`Remote`]; nothing of fuser here.
//!
//! Every operation can be asked with [`Access::MemoryOnly`] first: it answers from memory or says
//! [`FilesystemError::WouldWait`] with nothing changed, and is then run again with [`Access::Server`]
//! on a thread that may wait. Reads never wait: they are answered by whichever thread gets the data.

pub mod attributes;
pub mod clock;
pub mod error;
pub mod handles;
pub mod inodes;
pub mod options;

pub use attributes::{Attributes, Found, LookupResult, SetAttributes, SetTime, SpaceInformation};
pub use clock::{Clock, SystemClock};
pub use error::{FilesystemError, FilesystemResult};
pub use handles::{DirectoryEntry, HandleId, OpenFlags, Opened, SeekFor};
pub use inodes::InodeNumber;
pub use options::FilesystemOptions;

use crate::protocol::RemotePath;
use crate::remote::Remote;
use std::sync::Arc;

/// Whether an operation may ask the server and wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Memory and local disk only.
    MemoryOnly,
    /// The server too.
    Server,
}

/// Who gets the bytes of a read, from whichever thread has them.
pub type ReadDone = Box<dyn FnOnce(FilesystemResult<Vec<u8>>) + Send>;

/// A directory of the server as a filesystem.
pub struct Filesystem {
    _remote: Arc<dyn Remote>,
}

#[allow(unused_variables)] // The bodies come next.
impl Filesystem {
    /// Takes `root` on the server as the root of a filesystem; lists it once to prove that it works.
    ///
    /// # Errors
    /// What the first listing failed with.
    pub fn new(remote: Arc<dyn Remote>, root: RemotePath, options: FilesystemOptions) -> FilesystemResult<Arc<Self>> {
        Self::with_clock(remote, root, options, Arc::new(SystemClock))
    }

    /// As [`Self::new`], with another clock.
    ///
    /// # Errors
    /// What the first listing failed with.
    pub fn with_clock(
        remote: Arc<dyn Remote>,
        root: RemotePath,
        options: FilesystemOptions,
        clock: Arc<dyn Clock>,
    ) -> FilesystemResult<Arc<Self>> {
        remote.list(&root)?;
        Ok(Arc::new(Self { _remote: remote }))
    }

    /// Finds `name` in a directory and counts the lookup.
    ///
    /// # Errors
    /// Any of [`FilesystemError`]; an absence that is not proved is never [`LookupResult::Absent`].
    pub fn lookup(&self, access: Access, parent: InodeNumber, name: &[u8]) -> FilesystemResult<LookupResult> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Takes back `count` lookups of `ino`.
    pub fn forget(&self, ino: InodeNumber, count: u64) {}

    /// What stat shows of `ino`; `handle` is the open file it is asked through, if any.
    pub fn attributes(&self, access: Access, ino: InodeNumber, handle: Option<HandleId>) -> FilesystemResult<Found> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Changes attributes and returns them as they are then.
    pub fn set_attributes(
        &self,
        access: Access,
        ino: InodeNumber,
        handle: Option<HandleId>,
        changes: SetAttributes,
    ) -> FilesystemResult<Found> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Reads where a symbolic link points to.
    pub fn read_link(&self, access: Access, ino: InodeNumber) -> FilesystemResult<Vec<u8>> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Makes an empty regular file (mknod) and counts a lookup.
    pub fn make_node(&self, access: Access, parent: InodeNumber, name: &[u8], mode: u32) -> FilesystemResult<Found> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Makes a directory and counts a lookup.
    pub fn make_directory(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        mode: u32,
    ) -> FilesystemResult<Found> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Makes a symbolic link and counts a lookup.
    pub fn make_symlink(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        target: &[u8],
    ) -> FilesystemResult<Found> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Removes a file or symbolic link; those who have it open keep it.
    pub fn unlink(&self, access: Access, parent: InodeNumber, name: &[u8]) -> FilesystemResult<()> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, access: Access, parent: InodeNumber, name: &[u8]) -> FilesystemResult<()> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Renames; what is at the new name is replaced unless `no_replace`.
    pub fn rename(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        new_parent: InodeNumber,
        new_name: &[u8],
        no_replace: bool,
    ) -> FilesystemResult<()> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Opens a file.
    pub fn open(&self, access: Access, ino: InodeNumber, flags: OpenFlags) -> FilesystemResult<Opened> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Makes a file and opens it, or opens what is there unless `flags.exclusive`; counts a lookup.
    pub fn create(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        mode: u32,
        flags: OpenFlags,
    ) -> FilesystemResult<(Found, Opened)> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Reads up to `len` bytes from `offset` on and hands them to `done`: at once from memory, or later from
    /// another thread, exactly once and within the deadline. Never waits.
    pub fn read(self: &Arc<Self>, handle: HandleId, offset: u64, len: u32, done: ReadDone) {
        done(Err(FilesystemError::BadHandle));
    }

    /// Writes at `offset`, or at the end where the handle appends; returns how many bytes (all of them).
    pub fn write(&self, access: Access, handle: HandleId, offset: u64, data: &[u8]) -> FilesystemResult<u32> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// One descriptor was closed: returns once what was written is proved to be on the server.
    pub fn flush(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Returns once what was written is proved to be on the server.
    pub fn fsync(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// The last descriptor is gone; what is still dirty (mmap) is uploaded, a failure only logged.
    pub fn release(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Makes the file reach `offset + len` (posix_fallocate), unless `keep_size`.
    pub fn allocate(
        &self,
        access: Access,
        handle: HandleId,
        offset: u64,
        len: u64,
        keep_size: bool,
    ) -> FilesystemResult<()> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Looks for data or a hole from `offset` on: all of a file is data, and a hole is at its end.
    pub fn seek(&self, access: Access, handle: HandleId, offset: u64, what: SeekFor) -> FilesystemResult<u64> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Opens a directory: the entries read through the handle are those of one moment.
    pub fn open_directory(&self, access: Access, ino: InodeNumber) -> FilesystemResult<HandleId> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Reads up to `entries_max` entries behind `cookie` (0: from the beginning); empty at the end. `plus` asks for attributes too.
    pub fn read_directory(
        &self,
        access: Access,
        handle: HandleId,
        cookie: u64,
        entries_max: usize,
        plus: bool,
    ) -> FilesystemResult<Vec<DirectoryEntry>> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Counts a lookup for an entry of `handle` that the kernel has taken with its attributes; call it before the reply is sent.
    pub fn remember(&self, handle: HandleId, entry: &DirectoryEntry) {}

    /// Closes a directory.
    pub fn release_directory(&self, handle: HandleId) {}

    /// Asks for the space left.
    pub fn space(&self, access: Access, ino: InodeNumber) -> FilesystemResult<SpaceInformation> {
        Err(FilesystemError::NotSupported { what: "this operation" })
    }

    /// Uploads every file that is still dirty; for the end of the mount. Returns the paths that failed.
    pub fn flush_all(&self) -> Vec<(RemotePath, FilesystemError)> {
        Vec::new()
    }

    /// How many files are not on the server as they are here.
    pub fn dirty_count(&self) -> usize {
        0
    }
}

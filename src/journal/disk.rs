//! The steps on the local disk that a promise rests on, one method each.
//!
//! They are a trait so that a test can fail or cut each of them, and can tell what a power loss would leave: what
//! was written but not synced may be gone, and a name that was made, renamed or removed may be as before until its
//! directory is synced. Reading is not here: it changes nothing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// What the journal does to a disk.
pub trait Disk: Send + Sync {
    /// Makes a file that does not exist yet, for reading and writing, mode 0600.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The system's; a part may be written.
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or grows a file.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, file: &File, len: u64) -> io::Result<()>;

    /// Reserves space for a range without changing the file's length, where the disk can; where it cannot, does nothing.
    ///
    /// # Errors
    /// The system's, no space above all.
    fn reserve(&self, file: &File, offset: u64, len: u64) -> io::Result<()>;

    /// Brings a file's content and length to the disk (fdatasync).
    ///
    /// # Errors
    /// The system's. What was not synced before may be lost then, also if a later call succeeds: Linux marks pages that
    /// could not be written as clean.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Renames a file; one at `to` is replaced.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Brings a directory's names to the disk.
    ///
    /// # Errors
    /// The system's.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The machine's own; in builds for tests one on which the process dies where the environment wants it.
pub(super) fn local() -> Arc<dyn Disk> {
    #[cfg(debug_assertions)]
    return super::dying_disk::of_environment();
    #[cfg(not(debug_assertions))]
    Arc::new(LocalDisk)
}

/// The machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn reserve(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(file, FallocateFlags::KEEP_SIZE, offset, len).map_err(io::Error::from) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::Interrupted) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

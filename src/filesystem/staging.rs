//! A file's content on the local disk while it is written here.
//!
//! The staging file is laid over the server's version (the base): what was written here or fetched already is
//! *present*; of the rest, what lies below the base's end is fetched when it is read or uploaded, and what lies beyond is zeros.
//! It has no name, so nothing of it is left when we are gone.

use super::ranges::RangeSet;
use super::{FilesystemError, FilesystemResult};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The longest file: what the kernel can express.
const SIZE_MAX: u64 = i64::MAX as u64;

/// The content of one file as seen in this mount.
pub(super) struct Staging {
    file: File,
    size: u64,
    base_len: u64,
    present: RangeSet,
}

impl Staging {
    /// A staging file over a base of `base_len` bytes, of which nothing has been fetched.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn new(directory: &Path, base_len: u64) -> FilesystemResult<Self> {
        let file = tempfile::tempfile_in(directory)?;
        file.set_len(base_len)?;
        Ok(Self { file, size: base_len, base_len, present: RangeSet::default() })
    }

    /// How many bytes the file has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The first part of `range` that has to be fetched before it can be read.
    pub(super) fn first_missing(&self, range: Range<u64>) -> Option<Range<u64>> {
        self.present.first_gap(range.start..range.end.min(self.base_len))
    }

    /// Bytes that have to be fetched before all of it is here.
    pub(super) fn bytes_missing(&self) -> u64 {
        self.present.missing_below(self.base_len)
    }

    /// Writes what was fetched from the base at `offset`; what is present already is newer and stays.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn fill(&mut self, offset: u64, bytes: &[u8]) -> FilesystemResult<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        while let Some(gap) = self.first_missing(offset..end) {
            let from = usize::try_from(gap.start - offset).unwrap_or(usize::MAX);
            let to = usize::try_from(gap.end - offset).unwrap_or(usize::MAX);
            self.file.write_all_at(bytes.get(from..to).unwrap_or_default(), gap.start)?;
            self.present.insert(gap);
        }
        Ok(())
    }

    /// Writes at `offset`.
    ///
    /// # Errors
    /// The disk's; [`FilesystemError::TooLarge`].
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> FilesystemResult<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= SIZE_MAX);
        let end = end.ok_or(FilesystemError::TooLarge)?;
        self.file.write_all_at(bytes, offset)?;
        self.present.insert(offset..end);
        self.size = self.size.max(end);
        Ok(())
    }

    /// Cuts or grows the file; what is cut off is gone, what is new is zeros.
    ///
    /// # Errors
    /// The disk's; [`FilesystemError::TooLarge`].
    pub(super) fn resize(&mut self, size: u64) -> FilesystemResult<()> {
        if size > SIZE_MAX {
            return Err(FilesystemError::TooLarge);
        }
        self.file.set_len(size)?;
        self.base_len = self.base_len.min(size);
        self.present.truncate(size);
        self.size = size;
        Ok(())
    }

    /// Reserves local space for a range (fallocate), without changing the size.
    ///
    /// # Errors
    /// The disk's; a disk that cannot reserve is no error, since the write itself will tell.
    pub(super) fn reserve(&self, offset: u64, len: u64) -> FilesystemResult<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use std::io::ErrorKind;
        let reserved = fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, len).map_err(std::io::Error::from);
        match reserved {
            Err(error) if !matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Interrupted) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Reads up to `len` bytes; the range must not miss anything.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn read(&self, offset: u64, len: usize) -> FilesystemResult<Vec<u8>> {
        let rest = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(rest)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging(base_len: u64) -> Staging {
        Staging::new(&std::env::temp_dir(), base_len).unwrap()
    }

    #[test]
    fn fetched_bytes_never_overwrite_what_was_written() {
        let mut staging = staging(8);
        staging.write(2, b"XY").unwrap();
        staging.fill(0, b"abcdefgh").unwrap();
        assert_eq!(staging.read(0, 100).unwrap(), b"abXYefgh");
        assert_eq!(staging.bytes_missing(), 0);
    }

    #[test]
    fn what_was_cut_off_comes_back_as_zeros() {
        let mut staging = staging(8);
        staging.fill(0, b"abcdefgh").unwrap();
        staging.resize(3).unwrap();
        staging.resize(6).unwrap();
        assert_eq!(staging.first_missing(0..6), None);
        assert_eq!(staging.read(0, 100).unwrap(), b"abc\0\0\0");
    }

    #[test]
    fn only_the_base_below_the_first_cut_is_missing() {
        let mut staging = staging(10);
        staging.resize(4).unwrap();
        staging.write(8, b"z").unwrap();
        assert_eq!(staging.first_missing(0..9), Some(0..4));
        assert_eq!(staging.first_missing(4..9), None);
        assert_eq!(staging.size(), 9);
    }
}

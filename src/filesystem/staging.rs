//! A file's content on the local disk while it is written here.
//!
//! The staging file is laid over the server's version (the base): what was written here or fetched already is
//! *present*; of the rest, what lies below the base's end is fetched when it is read or uploaded, and what lies beyond is zeros.
//! It has no name, so nothing of it is left when we are gone.
//!
//! What a stream has sent may be *punched* out to make room: it is then neither here nor, until the upload is proved, the
//! server's to give back.

use super::allowance::Allowance;
use super::changes::Changes;
use super::ranges::RangeSet;
use super::{FilesystemError, FilesystemResult};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest file: what the kernel can express.
const SIZE_MAX: u64 = i64::MAX as u64;

/// Where staging files lie, and how much they may take.
pub(super) struct StagingArea {
    pub(super) directory: PathBuf,
    pub(super) allowance: Arc<Allowance>,
}

/// The content of one file as seen in this mount.
pub(super) struct Staging {
    file: File,
    size: u64,
    base_len: u64,
    present: RangeSet,
    /// What was sent and punched out.
    punched: Range<u64>,
    changes: Changes,
    allowance: Arc<Allowance>,
}

impl Staging {
    /// A staging file over a base of `base_len` bytes, of which nothing has been fetched; what is written to it counts
    /// against `allowance`.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn new(directory: &Path, base_len: u64, allowance: &Arc<Allowance>) -> FilesystemResult<Self> {
        let file = tempfile::tempfile_in(directory)?;
        file.set_len(base_len)?;
        let (present, allowance) = (RangeSet::default(), Arc::clone(allowance));
        Ok(Self { file, size: base_len, base_len, present, punched: 0..0, changes: Changes::default(), allowance })
    }

    /// Whether nothing of it lies below what was written here.
    pub(super) fn has_no_base(&self) -> bool {
        self.base_len == 0
    }

    /// How far all is here from `offset` on.
    pub(super) fn present_from(&self, offset: u64) -> u64 {
        self.present.first_gap(offset..self.size).map_or(self.size.max(offset), |gap| gap.start)
    }

    /// Whether something was punched out that cannot be had back.
    pub(super) fn has_holes(&self) -> bool {
        !self.punched.is_empty()
    }

    /// The end of what was punched out and cannot be had back; 0 where nothing was.
    pub(super) fn punched_end(&self) -> u64 {
        if self.has_holes() { self.punched.end } else { 0 }
    }

    /// The allowance that it counts against.
    pub(super) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Whether something of `range` was punched out and cannot be had back.
    pub(super) fn is_punched(&self, range: &Range<u64>) -> bool {
        range.start < self.punched.end && self.punched.start < range.end
    }

    /// Gives the disk back what lies in `range`, which continues what was punched before.
    ///
    /// # Errors
    /// The disk's; nothing has changed then.
    pub(super) fn punch(&mut self, range: Range<u64>) -> FilesystemResult<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let start = if self.has_holes() { self.punched.end } else { range.start };
        if start >= range.end {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, start, range.end - start).map_err(std::io::Error::from)?;
        let from = if self.has_holes() { self.punched.start } else { start };
        self.punched = from..range.end;
        self.allowance.give_back(self.present.remove(start..range.end));
        Ok(())
    }

    /// Gives the disk back what lies below `end` and is the same on the server; returns whether that was anything.
    ///
    /// # Errors
    /// The disk's; nothing has changed then.
    pub(super) fn release(&mut self, end: u64) -> FilesystemResult<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        let present = end - self.present.missing_in(&(0..end));
        if present == 0 {
            return Ok(false);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, 0, end).map_err(std::io::Error::from)?;
        self.base_len = self.base_len.max(end);
        self.allowance.give_back(self.present.remove(0..end));
        Ok(true)
    }

    /// The server is proved to have all of it: what was punched out can be fetched from there.
    pub(super) fn uploaded(&mut self) {
        self.changes.uploaded();
        if self.has_holes() {
            // Zeros that were never written are not on the disk, and so cost nothing; they are here all the same.
            for range in [self.base_len..self.punched.start, self.punched.end..self.size] {
                if range.start < range.end {
                    self.allowance.take_over(self.present.insert(range));
                }
            }
            self.punched = 0..0;
            self.base_len = self.size;
        }
    }

    /// What was changed here since the server had it.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
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
            if !self.allowance.take(gap.end - gap.start) {
                return Err(FilesystemError::LocalNoSpace);
            }
            let written = self.file.write_all_at(bytes.get(from..to).unwrap_or_default(), gap.start);
            written.inspect_err(|_| self.allowance.give_back(gap.end - gap.start))?;
            self.present.insert(gap);
        }
        Ok(())
    }

    /// Writes at `offset`; false, and nothing is written, where the allowance is used up.
    ///
    /// # Errors
    /// The disk's; [`FilesystemError::TooLarge`].
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> FilesystemResult<bool> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= SIZE_MAX);
        let end = end.ok_or(FilesystemError::TooLarge)?;
        let new = self.present.missing_in(&(offset..end));
        if !self.allowance.take(new) {
            return Ok(false);
        }
        self.file.write_all_at(bytes, offset).inspect_err(|_| self.allowance.give_back(new))?;
        self.present.insert(offset..end);
        self.changes.wrote(offset..end, self.size);
        self.size = self.size.max(end);
        Ok(true)
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
        self.allowance.give_back(self.present.truncate(size));
        if size <= self.punched.start {
            self.punched = 0..0;
        }
        self.punched.end = self.punched.end.min(size);
        self.changes.resized(self.size, size);
        self.size = size;
        Ok(())
    }

    /// Reserves local space for a range (fallocate), without changing the size.
    ///
    /// # Errors
    /// The disk's; a disk that cannot reserve is no error, since the write itself will tell.
    pub(super) fn reserve(&self, offset: u64, len: u64) -> FilesystemResult<()> {
        if !self.allowance.has_room(len) {
            // Room comes when what was written before is sent.
            return Ok(());
        }
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

impl Drop for Staging {
    fn drop(&mut self) {
        self.allowance.give_back(self.present.truncate(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staging(base_len: u64) -> Staging {
        Staging::new(&std::env::temp_dir(), base_len, &Allowance::new(100)).unwrap()
    }

    #[test]
    fn what_is_staged_counts_once_and_is_given_back() {
        let allowance = Allowance::new(10);
        let mut staging = Staging::new(&std::env::temp_dir(), 0, &allowance).unwrap();
        assert!(staging.write(0, b"01234567").unwrap());
        assert!(staging.write(2, b"23456789").unwrap());
        assert_eq!(staging.write(10, b"x"), Ok(false));
        assert_eq!(staging.size(), 10);
        staging.punch(0..4).unwrap();
        assert!(allowance.has_room(4) && !allowance.has_room(5));
        staging.resize(6).unwrap();
        assert!(allowance.has_room(8) && !allowance.has_room(9));
        drop(staging);
        assert!(allowance.has_room(10));
    }

    #[test]
    fn what_was_punched_is_the_servers_once_that_is_proved() {
        let mut staging = staging(0);
        assert!(staging.write(0, b"0123456789").unwrap());
        staging.resize(20).unwrap();
        staging.punch(0..2).unwrap();
        staging.punch(0..4).unwrap();
        assert!(staging.is_punched(&(3..5)) && !staging.is_punched(&(4..5)));
        assert_eq!(staging.first_missing(0..20), None);
        staging.uploaded();
        assert!(!staging.has_holes());
        assert_eq!(staging.first_missing(0..20), Some(0..4));
        staging.fill(0, b"0123").unwrap();
        assert_eq!(staging.read(0, 20).unwrap(), b"0123456789\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn fetched_bytes_never_overwrite_what_was_written() {
        let mut staging = staging(8);
        assert!(staging.write(2, b"XY").unwrap());
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
        assert!(staging.write(8, b"z").unwrap());
        assert_eq!(staging.first_missing(0..9), Some(0..4));
        assert_eq!(staging.first_missing(4..9), None);
        assert_eq!(staging.size(), 9);
    }
}

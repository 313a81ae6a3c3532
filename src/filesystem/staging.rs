//! A file's content on the local disk while it is written here.
//!
//! The staging file is laid over the server's version (the base): what was written here or fetched already is
//! *present*; of the rest, what lies below the base's end is fetched when it is read or uploaded, and what lies beyond is zeros.
//! With a journal it lies in the state directory, where the next mount finds it should we be killed; without one it has no
//! name, and nothing of it is left then. What is *sealed* was promised as it is, and is never written to again.
//!
//! What a stream has sent may be *punched* out to make room: it is then neither here nor, until the upload is proved, the
//! server's to give back.

use super::allowance::Allowance;
use super::changes::Changes;
use super::ranges::RangeSet;
use super::{FilesystemError, FilesystemResult};
use crate::journal::{self, Journal, Sealed};
use crate::protocol::RemotePath;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The longest file: what the kernel can express.
const SIZE_MAX: u64 = i64::MAX as u64;

/// Where staging files lie, and how much they may take.
pub(super) struct StagingArea {
    pub(super) directory: PathBuf,
    pub(super) allowance: Arc<Allowance>,
    /// Where staging files are made, if there is one; then not in `directory`.
    pub(super) journal: Option<Arc<Journal>>,
}

/// The file below a staging.
enum Backing {
    /// Without a name.
    Nameless(File),
    /// The journal knows of it and promises nothing.
    Begun { staging: journal::Staging, worthless: bool },
    /// It is being committed, and read meanwhile.
    Committing(File),
    /// It is promised.
    Sealed(Arc<Sealed>),
}

impl Backing {
    fn file(&self) -> &File {
        match self {
            Self::Nameless(file) | Self::Committing(file) => file,
            Self::Begun { staging, .. } => staging.file(),
            Self::Sealed(sealed) => sealed.file(),
        }
    }
}

/// The content of one file as seen in this mount.
pub(super) struct Staging {
    backing: Backing,
    journal: Option<Arc<Journal>>,
    size: u64,
    base_len: u64,
    present: RangeSet,
    /// What was sent and punched out.
    punched: Range<u64>,
    changes: Changes,
    allowance: Arc<Allowance>,
    /// Whether what is present counts against the allowance.
    counted: bool,
    /// Whether it stays on the disk for the next mount to find.
    left: bool,
}

impl Staging {
    /// A staging file over a base of `base_len` bytes, of which nothing has been fetched; what is written to it counts
    /// against `allowance`.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn new(area: &StagingArea, base_len: u64, path: &RemotePath) -> FilesystemResult<Self> {
        let begun = area.journal.as_ref().map(|journal| journal.begin(path).map_err(FilesystemError::from));
        let backing = match begun {
            Some(Ok(staging)) => Backing::Begun { staging, worthless: false },
            Some(Err(FilesystemError::LocalNoSpace)) => return Err(FilesystemError::LocalNoSpace),
            Some(Err(error)) => {
                tracing::warn!(%path, %error, "the journal cannot keep this file while it is written; it goes to the server as without one");
                Backing::Nameless(tempfile::tempfile_in(&area.directory)?)
            }
            None => Backing::Nameless(tempfile::tempfile_in(&area.directory)?),
        };
        let staging = Self::over(area, backing, base_len);
        staging.file().set_len(base_len)?;
        Ok(staging)
    }

    /// A promised content, all of which is here. What it takes of the disk is not counted: the promise is.
    pub(super) fn sealed(area: &StagingArea, sealed: Arc<Sealed>) -> Self {
        let size = sealed.size();
        let mut staging = Self::over(area, Backing::Sealed(sealed), 0);
        staging.size = size;
        staging.counted = false;
        staging.present.insert(0..size);
        // It is not on the server yet.
        staging.changes.wrote(0..size, 0);
        staging
    }

    /// A copy of the first `len` bytes of a promised content, to be written on; they are counted already.
    pub(super) fn next(area: &StagingArea, staging: journal::Staging, len: u64) -> Self {
        let mut next = Self::over(area, Backing::Begun { staging, worthless: false }, 0);
        next.size = len;
        next.present.insert(0..len);
        // What was promised is not on the server yet.
        next.changes.wrote(0..len, 0);
        next
    }

    fn over(area: &StagingArea, backing: Backing, base_len: u64) -> Self {
        Self {
            backing,
            journal: area.journal.clone(),
            size: base_len,
            base_len,
            present: RangeSet::default(),
            punched: 0..0,
            changes: Changes::default(),
            allowance: Arc::clone(&area.allowance),
            counted: true,
            left: false,
        }
    }

    fn file(&self) -> &File {
        self.backing.file()
    }

    /// Whether it is promised, and may not be written to.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(self.backing, Backing::Sealed(_))
    }

    /// The last net below those who write: what is promised never changes.
    fn must_be_writable(&self) -> FilesystemResult<()> {
        match self.backing {
            Backing::Nameless(_) | Backing::Begun { .. } => Ok(()),
            Backing::Committing(_) | Backing::Sealed(_) => {
                Err(FilesystemError::LocalStorage { reason: "this content is promised as it is".into() })
            }
        }
    }

    /// Whether the journal can promise it.
    pub(super) fn can_be_committed(&self) -> bool {
        matches!(self.backing, Backing::Begun { .. }) && !self.has_holes() && self.bytes_missing() == 0
    }

    /// Takes the file to be committed; reads go on. What is given back to [`Self::put_back`] or [`Self::seal`] ends that.
    ///
    /// # Errors
    /// The disk's; nothing was taken then.
    pub(super) fn take_for_commit(&mut self) -> FilesystemResult<journal::Staging> {
        let copy = self.file().try_clone()?;
        match std::mem::replace(&mut self.backing, Backing::Committing(copy)) {
            Backing::Begun { staging, .. } => Ok(staging),
            other => {
                self.backing = other;
                Err(FilesystemError::LocalStorage { reason: "it cannot be committed as it is".into() })
            }
        }
    }

    /// Nothing can be done with it now; the next mount sets it aside.
    pub(super) fn leave_to_the_next_mount(&mut self) {
        self.left = true;
    }

    /// The commit failed.
    pub(super) fn put_back(&mut self, staging: journal::Staging) {
        self.backing = Backing::Begun { staging, worthless: false };
    }

    /// The commit is done. What it takes of the disk is the promise's from now on: so many bytes.
    pub(super) fn seal(&mut self, sealed: Sealed) -> u64 {
        self.backing = Backing::Sealed(Arc::new(sealed));
        let bytes = if self.counted { self.size - self.present.missing_below(self.size) } else { 0 };
        self.counted = false;
        bytes
    }

    /// The promised content that it is.
    pub(super) fn as_sealed(&self) -> Option<Arc<Sealed>> {
        match &self.backing {
            Backing::Sealed(sealed) => Some(Arc::clone(sealed)),
            _ => None,
        }
    }

    /// The server has all of it: should we be killed, nothing of it is worth keeping.
    pub(super) fn is_worthless(&mut self) {
        if let (Backing::Begun { staging, worthless }, Some(journal)) = (&mut self.backing, &self.journal)
            && !*worthless
        {
            *worthless = true;
            journal.worthless(staging);
        }
    }

    /// It is about to be changed.
    pub(super) fn is_worth_keeping(&mut self, path: &RemotePath) {
        if let (Backing::Begun { staging, worthless: worthless @ true }, Some(journal)) =
            (&mut self.backing, &self.journal)
        {
            *worthless = false;
            journal.worth_keeping(staging, path);
        }
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
        self.must_be_writable()?;
        let start = if self.has_holes() { self.punched.end } else { range.start };
        if start >= range.end {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(self.file(), flags, start, range.end - start).map_err(std::io::Error::from)?;
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
        self.must_be_writable()?;
        let present = end - self.present.missing_in(&(0..end));
        if present == 0 {
            return Ok(false);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(self.file(), flags, 0, end).map_err(std::io::Error::from)?;
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

    /// What of it is not here.
    pub(super) fn missing_ranges(&self) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut offset = 0;
        while let Some(gap) = self.present.first_gap(offset..self.base_len) {
            offset = gap.end;
            missing.push(gap);
        }
        if self.has_holes() {
            missing.push(self.punched.clone());
        }
        missing
    }

    /// Writes what was fetched from the base at `offset`; what is present already is newer and stays.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn fill(&mut self, offset: u64, bytes: &[u8]) -> FilesystemResult<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        while let Some(gap) = self.first_missing(offset..end) {
            self.must_be_writable()?;
            let from = usize::try_from(gap.start - offset).unwrap_or(usize::MAX);
            let to = usize::try_from(gap.end - offset).unwrap_or(usize::MAX);
            if !self.allowance.take(gap.end - gap.start) {
                return Err(FilesystemError::LocalNoSpace);
            }
            let written = self.file().write_all_at(bytes.get(from..to).unwrap_or_default(), gap.start);
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
        self.must_be_writable()?;
        let new = self.present.missing_in(&(offset..end));
        if !self.allowance.take(new) {
            return Ok(false);
        }
        self.file().write_all_at(bytes, offset).inspect_err(|_| self.allowance.give_back(new))?;
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
        self.must_be_writable()?;
        self.file().set_len(size)?;
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
        let reserved = fallocate(self.file(), FallocateFlags::KEEP_SIZE, offset, len).map_err(std::io::Error::from);
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
        self.file().read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.counted {
            self.allowance.give_back(self.present.truncate(0));
        }
        if let (Backing::Begun { staging, .. }, Some(journal), false) = (&self.backing, &self.journal, self.left) {
            journal.discard(staging);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(bytes_max: u64) -> StagingArea {
        StagingArea { directory: std::env::temp_dir(), allowance: Allowance::new(bytes_max), journal: None }
    }

    fn staging(base_len: u64) -> Staging {
        Staging::new(&area(100), base_len, &RemotePath::root()).unwrap()
    }

    #[test]
    fn what_is_staged_counts_once_and_is_given_back() {
        let area = area(10);
        let allowance = Arc::clone(&area.allowance);
        let mut staging = Staging::new(&area, 0, &RemotePath::root()).unwrap();
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

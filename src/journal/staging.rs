//! Staging files: a content while it is written, and once it is committed.
//!
//! The two are types of their own, so that nothing can be written to what a record speaks of: a commit takes the
//! [`Staging`] and gives a [`Sealed`] one, and writing on needs a new generation.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::log::Durable;
use super::names::Made;
use super::record::ContentId;

/// A content that may still be written to. Nothing of it is promised.
#[derive(Debug)]
pub struct Staging {
    pub(super) content: ContentId,
    pub(super) file: File,
    pub(super) made: Made,
    /// A sync of it has failed: Linux may have marked as clean what it could not write, so a later sync proves nothing.
    pub(super) is_spoiled: bool,
}

impl Staging {
    /// Which content it is.
    pub fn content(&self) -> ContentId {
        self.content
    }

    /// The file, to be read, written and cut.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// A committed content: it can be read, and never changes.
#[derive(Debug)]
pub struct Sealed {
    pub(super) content: ContentId,
    pub(super) file: File,
    pub(super) size: u64,
}

impl Sealed {
    /// Which content it is.
    pub fn content(&self) -> ContentId {
        self.content
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file, to be read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads up to `len` bytes from `offset` on; fewer only where the content ends.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let rest = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(rest)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// A commit that is done: the content, and the proof that it is on the local disk.
#[derive(Debug)]
#[must_use]
pub struct Committed {
    /// The content, as it will be until it is over.
    pub sealed: Sealed,
    /// What close() may be answered with.
    pub durable: Durable,
}

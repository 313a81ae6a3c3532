//! One line of a listing, whatever dialect it was written in.

use std::sync::Arc;

use super::path::Name;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; [`Entry::link_target`] holds where it points to, if the server told.
    Symlink,
    /// A device, socket or pipe: shown, never opened.
    Other,
}

/// How exact a [`Timestamp`] is: what the server's format can express, not what the clock was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// `LIST` of an old file: only the day is known.
    Day,
    /// `LIST` of a recent file, or a DOS listing: only the minute is known.
    Minute,
    /// `MDTM`, or the `modify` fact without a fraction.
    Second,
    /// The `modify` fact with a fraction (RFC 3659 §2.3).
    Nanosecond,
}

/// A time as the server told it, in UTC, with the precision it can be trusted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 00:00:00 UTC; negative before it.
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    pub nanoseconds: u32,
    /// What the digits above can be trusted to.
    pub precision: Precision,
}

impl Timestamp {
    /// Whether both can be the same time: compared at the coarser of their precisions.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let seconds = match self.precision.min(other.precision) {
            Precision::Day => 86_400,
            Precision::Minute => 60,
            Precision::Second => 1,
            Precision::Nanosecond => return (self.seconds, self.nanoseconds) == (other.seconds, other.nanoseconds),
        };
        self.seconds.div_euclid(seconds) == other.seconds.div_euclid(seconds)
    }
}

/// One name in a directory and what the server said of it.
///
/// A field is `None` where the server's format has no place for it or left it out; a guess is never put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without any directory.
    pub name: Name,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes as stored; for a directory whatever the server said, of no meaning.
    pub size: Option<u64>,
    /// When its content last changed.
    pub modified: Option<Timestamp>,
    /// The permission bits, 0 to 0o7777.
    pub mode: Option<u32>,
    /// The owner as listed: a name or a number. Entries of one listing share it.
    pub owner: Option<Arc<[u8]>>,
    /// The group as listed, likewise.
    pub group: Option<Arc<[u8]>>,
    /// Where a symbolic link points to, exactly as the server said it.
    pub link_target: Option<Box<[u8]>>,
    /// The `unique` fact (RFC 3659 §7.5.2): the same for the same file, another after a replacement.
    pub unique: Option<Box<[u8]>>,
}

impl Entry {
    /// An entry of which nothing but name and kind is known.
    pub fn new(name: Name, kind: EntryKind) -> Self {
        Self {
            name,
            kind,
            size: None,
            modified: None,
            mode: None,
            owner: None,
            group: None,
            link_target: None,
            unique: None,
        }
    }
}

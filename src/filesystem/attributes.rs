//! An entry to what stat shows.
//!
//! Not here: where entries come from (`cache::listings`), what a change of attributes does (`change.rs`).

use super::Filesystem;
use super::inodes::InodeNumber;
use crate::protocol::{Entry, EntryKind, Timestamp};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What stat(2) shows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Its inode number.
    pub ino: InodeNumber,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// When its content changed.
    pub mtime: SystemTime,
    /// The same as `mtime`: FTP knows no other.
    pub atime: SystemTime,
    /// The same as `mtime`.
    pub ctime: SystemTime,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Links: 1, for directories 2, and 0 for what has no name any more.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Attributes, and how long the kernel may believe them and the name they were found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What stat shows.
    pub attributes: Attributes,
    /// Never zero.
    pub ttl: Duration,
}

/// The answer to a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupResult {
    /// It is there; its lookup count has grown by one.
    Found(Found),
    /// It is proved not to be there.
    Absent {
        /// How long the kernel may believe that.
        ttl: Duration,
    },
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the call.
    Now,
    /// This one.
    At(SystemTime),
}

/// What setattr is to change; `None` stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttributes {
    /// Cut or grown to this many bytes; what is new reads as zeros.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Modification time.
    pub mtime: Option<SetTime>,
    /// Access time: accepted and forgotten, for FTP has none.
    pub atime: Option<SetTime>,
}

/// What statfs(2) shows; no field is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceInformation {
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks free.
    pub blocks_free: u64,
    /// Files in all.
    pub files: u64,
    /// Files that can still be made.
    pub files_free: u64,
    /// Bytes of the longest name.
    pub name_len_max: u32,
}

/// The largest file that there is on Linux. A larger one makes the kernel give up the inode, and the directory's listing with it.
const SIZE_MAX: u64 = i64::MAX as u64;

/// The least that the kernel is told: with nothing it asks twice for each thing.
const TTL_MIN: Duration = Duration::from_millis(1);

impl Filesystem {
    /// What stat shows of `entry`.
    pub(super) fn attributes_of(&self, ino: InodeNumber, entry: &Entry) -> Attributes {
        let options = &self.options;
        let is_directory = entry.kind == EntryKind::Directory;
        let (fixed, usual, mask) = match entry.kind {
            EntryKind::Directory => (options.directory_mode, 0o755, options.directory_mask),
            EntryKind::Symlink => (Some(0o777), 0o777, 0),
            EntryKind::File | EntryKind::Other => (options.file_mode, 0o644, options.file_mask),
        };
        let size = match entry.kind {
            EntryKind::Directory => 4096,
            EntryKind::Symlink => entry.link_target.as_ref().map_or(0, |target| target.len() as u64),
            EntryKind::File | EntryKind::Other => entry.size.unwrap_or(0).min(SIZE_MAX),
        };
        let mtime = entry.modified.map_or(UNIX_EPOCH, to_system_time);
        Attributes {
            ino,
            kind: entry.kind,
            size,
            blocks: if is_directory { 0 } else { size.div_ceil(512) },
            mtime,
            atime: mtime,
            ctime: mtime,
            mode: fixed.unwrap_or_else(|| entry.mode.unwrap_or(usual) & !mask) & 0o7777,
            nlink: if is_directory { 2 } else { 1 },
            uid: options.uid,
            gid: options.gid,
        }
    }

    /// As [`Self::attributes_of`], with how long the kernel may believe it.
    pub(super) fn found(&self, ino: InodeNumber, entry: &Entry) -> Found {
        Found { attributes: self.attributes_of(ino, entry), ttl: self.ttl() }
    }

    /// How long the kernel may believe what this side decides; never zero, for it then asks for each thing twice.
    pub(super) fn ttl(&self) -> Duration {
        self.options.attr_timeout.max(TTL_MIN)
    }

    /// How long the kernel may believe what the server said at `at`, where it may be as old as `age_max`.
    pub(super) fn ttl_left(&self, at: Instant, age_max: Duration) -> Duration {
        let age = self.clock.instant().saturating_duration_since(at);
        let left = age_max.max(self.options.attr_timeout).saturating_sub(age);
        left.min(self.options.attr_timeout).max(TTL_MIN)
    }
}

/// A time of the server as the system's; what cannot be expressed is shown as 1970.
pub(super) fn to_system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    let nanoseconds = Duration::from_nanos(u64::from(time.nanoseconds));
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

//! An entry to what stat shows.
//!
//! Not here: where entries come from (`cache::listings`), what a change of attributes does (`change.rs`).

use super::inodes::InodeNumber;
use crate::protocol::EntryKind;
use std::time::{Duration, SystemTime};

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
    /// Links: 1, for directories 2.
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

//! Open files and directories.

use super::attributes::Found;
use super::content::Content;
use super::inodes::InodeNumber;
use super::{FilesystemError, FilesystemResult};
use crate::cache::listings::{Coming, Snapshot};
use crate::protocol::EntryKind;
use std::collections::HashMap;
use std::sync::Arc;

/// One open of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenFlags {
    /// Reading (O_RDONLY or O_RDWR).
    pub read: bool,
    /// Writing (O_WRONLY or O_RDWR).
    pub write: bool,
    /// Every write goes to the end (O_APPEND).
    pub append: bool,
    /// The content is dropped (O_TRUNC).
    pub truncate: bool,
    /// `create` only: the name must be free (O_EXCL).
    pub exclusive: bool,
}

/// An opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// For the calls that follow.
    pub handle: HandleId,
    /// Whether the pages that the kernel may hold are of this very version.
    pub keep_cache: bool,
    /// Whether the attributes told to the kernel before may differ from now: it should be told to ask again.
    pub attributes_changed: bool,
}

/// One name in a directory, as readdir shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name; also `.` and `..`.
    pub name: Box<[u8]>,
    /// Its inode number.
    pub ino: InodeNumber,
    /// What it is.
    pub kind: EntryKind,
    /// Where reading goes on behind this entry.
    pub next_cookie: u64,
    /// What stat shows, where it was asked for; never for `.` and `..`. Its lookup count has not grown:
    /// [`Filesystem::remember`](super::Filesystem::remember) does that once the kernel takes the entry.
    pub found: Option<Found>,
}

/// What lseek(2) looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekFor {
    /// SEEK_DATA.
    Data,
    /// SEEK_HOLE.
    Hole,
}

/// What a handle is open on.
#[derive(Clone)]
pub(super) enum HandleKind {
    /// A file.
    File {
        /// Its content, shared with all handles of the file.
        content: Arc<Content>,
        /// What it was opened for.
        flags: OpenFlags,
    },
    /// A directory, with what it is read from.
    Directory(Names),
}

/// The names of a directory, as they are read through one handle.
#[derive(Clone)]
pub(super) enum Names {
    /// Those of one moment.
    Whole(Arc<Snapshot>),
    /// Those of a listing that was not at its end when the directory was opened.
    Coming(Coming),
}

/// One open.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) ino: InodeNumber,
    pub(super) kind: HandleKind,
}

/// All handles; a number is never used twice.
#[derive(Default)]
pub(super) struct Handles {
    handles: HashMap<HandleId, Handle>,
    last: u64,
}

impl Handles {
    pub(super) fn insert(&mut self, handle: Handle) -> HandleId {
        self.last += 1;
        let id = HandleId(self.last);
        self.handles.insert(id, handle);
        id
    }

    pub(super) fn get(&self, id: HandleId) -> FilesystemResult<&Handle> {
        self.handles.get(&id).ok_or(FilesystemError::BadHandle)
    }

    pub(super) fn set_snapshot(&mut self, id: HandleId, snapshot: Arc<Snapshot>) {
        if let Some(Handle { kind: HandleKind::Directory(held), .. }) = self.handles.get_mut(&id) {
            *held = Names::Whole(snapshot);
        }
    }

    pub(super) fn remove(&mut self, id: HandleId) -> Option<Handle> {
        self.handles.remove(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Handle> {
        self.handles.values()
    }

    pub(super) fn len(&self) -> usize {
        self.handles.len()
    }
}

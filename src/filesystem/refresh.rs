//! Forgetting what the server said, because somebody knows better: the next question goes to the server.
//!
//! What is dirty here, and what an open file was opened as, is not forgotten: it is ours.

use super::{Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::FileId;
use crate::protocol::Name;
use std::collections::HashSet;

/// An inode that the kernel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownInode {
    /// Its number.
    pub ino: InodeNumber,
    /// The directory and the name the kernel knows it by.
    pub place: Option<(InodeNumber, Name)>,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// What the kernel still believes, and is to be told to ask for again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// At or below the path.
    pub inodes: Vec<KnownInode>,
    /// The path itself in its directory; the kernel may also believe that it is not there.
    pub itself: Option<(InodeNumber, Name)>,
}

impl Filesystem {
    /// Forgets listings, attributes and content of what lies at or below `path`, which is relative to the mount's root
    /// and empty for the root itself. Asks no server.
    ///
    /// # Errors
    /// [`FilesystemError::NameNotAllowed`] for what FTP cannot name, and for paths that leave the mount.
    pub fn refresh(&self, path: &[u8]) -> FilesystemResult<Refreshed> {
        let names = names(path)?;
        let path = names.iter().fold(self.root.clone(), |path, name| path.join(name));
        self.listings.forget_tree(&path);
        if let (Some(directory), Some(name)) = (path.parent(), names.last()) {
            self.listings.distrust(&directory, name, self.clock.instant());
        }
        *self.space.lock() = None;
        self.server.forget_tree(&path);
        let (refreshed, closed) = self.known_at(&names);
        match closed {
            Closed::These(closed) => self.server.forget_unread(|file| closed.contains(&file)),
            Closed::AllBut(open) => self.server.forget_unread(|file| !open.contains(&file)),
        }
        Ok(refreshed)
    }

    /// What the kernel knows at or below a path, and which files there nobody has open.
    fn known_at(&self, names: &[Name]) -> (Refreshed, Closed) {
        let mut state = self.state.lock();
        let mut tree = Some(InodeNumber::ROOT);
        let mut itself = None;
        for name in names {
            itself = tree.map(|parent| (parent, name.clone()));
            tree = tree.and_then(|parent| state.inodes.child(parent, name));
        }
        let Some(tree) = tree else {
            return (Refreshed { inodes: Vec::new(), itself }, Closed::These(HashSet::new()));
        };
        let inodes = state.inodes.known_to_kernel(tree);
        let is_open = |ino: InodeNumber| state.inodes.get(ino).is_some_and(|inode| inode.handles > 0);
        let closed = if tree == InodeNumber::ROOT {
            // Blocks outlive their inodes; so it is asked which are needed, not which are known.
            Closed::AllBut(
                state.inodes.all().filter(|(_, inode)| inode.handles > 0).map(|(ino, _)| FileId(ino.0)).collect(),
            )
        } else {
            Closed::These(inodes.iter().filter(|known| !is_open(known.ino)).map(|known| FileId(known.ino.0)).collect())
        };
        for known in &inodes {
            if let Some(inode) = state.inodes.get_mut(known.ino).filter(|inode| inode.handles == 0) {
                inode.paged = None;
            }
        }
        (Refreshed { inodes, itself }, closed)
    }
}

/// Files whose blocks nobody needs.
enum Closed {
    These(HashSet<FileId>),
    AllBut(HashSet<FileId>),
}

/// The names of a relative path; `.` and empty ones are left out.
fn names(path: &[u8]) -> FilesystemResult<Vec<Name>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let name =
        |part: &[u8]| Name::new(part).map_err(|error| FilesystemError::NameNotAllowed { reason: error.to_string() });
    parts.map(name).collect()
}

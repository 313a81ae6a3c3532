//! Inode numbers, the paths they stand for, and how often the kernel has looked them up.
//!
//! An inode knows its directory's inode and its name there; paths are computed, so that the rename of a directory
//! moves all below it. It is forgotten when the kernel has forgotten it, nothing has it open, nothing of it is
//! waiting to be uploaded, and nothing below it is known.

use super::content::Content;
use super::refresh::KnownInode;
use crate::cache::FileVersion;
use crate::protocol::{EntryKind, Name, RemotePath};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A file as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeNumber(pub u64);

impl InodeNumber {
    /// The mount's root.
    pub const ROOT: Self = Self(1);
}

impl fmt::Display for InodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One inode.
pub(super) struct Inode {
    /// Where it is; `None` for the root, and for what was removed or replaced while it was open.
    pub(super) place: Option<(InodeNumber, Name)>,
    pub(super) kind: EntryKind,
    lookups: u64,
    pub(super) handles: u32,
    children: u32,
    /// What is known of an open file's content.
    pub(super) content: Option<Arc<Content>>,
    /// The version that the kernel's pages were read under.
    pub(super) paged: Option<FileVersion>,
}

/// All inodes of a mount.
pub(super) struct Inodes {
    root: RemotePath,
    inodes: HashMap<InodeNumber, Inode>,
    names: HashMap<(InodeNumber, Name), InodeNumber>,
}

impl Inodes {
    pub(super) fn new(root: RemotePath) -> Self {
        let inode = Inode {
            place: None,
            kind: EntryKind::Directory,
            lookups: 1,
            handles: 0,
            children: 0,
            content: None,
            paged: None,
        };
        Self { root, inodes: HashMap::from([(InodeNumber::ROOT, inode)]), names: HashMap::new() }
    }

    pub(super) fn get(&self, ino: InodeNumber) -> Option<&Inode> {
        self.inodes.get(&ino)
    }

    pub(super) fn get_mut(&mut self, ino: InodeNumber) -> Option<&mut Inode> {
        self.inodes.get_mut(&ino)
    }

    /// The path on the server; `None` where it has no name (any more).
    pub(super) fn path(&self, ino: InodeNumber) -> Option<RemotePath> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != InodeNumber::ROOT {
            let (parent, name) = self.inodes.get(&at)?.place.as_ref()?;
            names.push(name);
            at = *parent;
        }
        Some(names.into_iter().rev().fold(self.root.clone(), |path, name| path.join(name)))
    }

    pub(super) fn child(&self, parent: InodeNumber, name: &Name) -> Option<InodeNumber> {
        self.names.get(&(parent, name.clone())).copied()
    }

    pub(super) fn has_children(&self, ino: InodeNumber) -> bool {
        self.inodes.get(&ino).is_some_and(|inode| inode.children > 0)
    }

    /// Every inode that lies below `tree`, itself included.
    pub(super) fn within(&self, tree: InodeNumber) -> Vec<InodeNumber> {
        let is_within = |mut ino: InodeNumber| {
            while ino != tree {
                match self.inodes.get(&ino).and_then(|inode| inode.place.as_ref()) {
                    Some((parent, _)) => ino = *parent,
                    None => return false,
                }
            }
            true
        };
        self.inodes.keys().copied().filter(|ino| is_within(*ino)).collect()
    }

    /// What the kernel knows at or below `tree`.
    pub(super) fn known_to_kernel(&self, tree: InodeNumber) -> Vec<KnownInode> {
        let everything = tree == InodeNumber::ROOT;
        let within = if everything { self.inodes.keys().copied().collect() } else { self.within(tree) };
        let known = within.into_iter().filter_map(|ino| Some((ino, self.inodes.get(&ino)?)));
        let known = known.filter(|(_, inode)| inode.lookups > 0);
        let describe = |(ino, inode): (InodeNumber, &Inode)| KnownInode {
            ino,
            place: inode.place.clone(),
            is_directory: inode.kind == EntryKind::Directory,
        };
        known.map(describe).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (InodeNumber, &Inode)> {
        self.inodes.iter().map(|(ino, inode)| (*ino, inode))
    }

    /// The number that `name` has, or would get.
    pub(super) fn number(&self, parent: InodeNumber, path: &RemotePath, name: &Name) -> InodeNumber {
        if let Some(known) = self.child(parent, name) {
            return known;
        }
        let mut number = hash(path.as_bytes());
        while number <= InodeNumber::ROOT.0 || self.inodes.contains_key(&InodeNumber(number)) {
            number = number.wrapping_add(1);
        }
        InodeNumber(number)
    }

    /// The inode of `name`, made if need be; one of another kind that had the name loses it.
    pub(super) fn ensure(
        &mut self,
        parent: InodeNumber,
        path: &RemotePath,
        name: &Name,
        kind: EntryKind,
    ) -> InodeNumber {
        if let Some(known) = self.child(parent, name) {
            if self.inodes.get(&known).is_some_and(|inode| inode.kind == kind) {
                return known;
            }
            self.detach(known);
        }
        let ino = self.number(parent, path, name);
        let place = Some((parent, name.clone()));
        let inode = Inode { place, kind, lookups: 0, handles: 0, children: 0, content: None, paged: None };
        self.inodes.insert(ino, inode);
        self.names.insert((parent, name.clone()), ino);
        self.adopt(parent, 1);
        ino
    }

    /// Counts lookups by the kernel.
    pub(super) fn look_up(&mut self, ino: InodeNumber) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.lookups = inode.lookups.saturating_add(1);
        }
    }

    /// Takes lookups back.
    pub(super) fn forget(&mut self, ino: InodeNumber, count: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.lookups = inode.lookups.saturating_sub(count);
        }
        self.drop_unused(ino);
    }

    /// Takes the name from an inode; what has it open goes on.
    pub(super) fn detach(&mut self, ino: InodeNumber) {
        let Some((parent, name)) = self.inodes.get_mut(&ino).and_then(|inode| inode.place.take()) else { return };
        self.names.remove(&(parent, name));
        self.adopt(parent, -1);
        self.drop_unused(ino);
        self.drop_unused(parent);
    }

    /// Gives an inode another place; who had that place loses it.
    pub(super) fn relink(&mut self, ino: InodeNumber, parent: InodeNumber, name: &Name) {
        if let Some(replaced) = self.child(parent, name).filter(|replaced| *replaced != ino) {
            self.detach(replaced);
        }
        let Some(inode) = self.inodes.get_mut(&ino) else { return };
        let old = inode.place.replace((parent, name.clone()));
        self.adopt(parent, 1);
        if let Some((old_parent, old_name)) = old {
            self.names.remove(&(old_parent, old_name));
            self.adopt(old_parent, -1);
        }
        self.names.insert((parent, name.clone()), ino);
    }

    /// Forgets an inode that nobody needs, and then perhaps those above it.
    pub(super) fn drop_unused(&mut self, ino: InodeNumber) {
        let mut at = ino;
        while at != InodeNumber::ROOT {
            let Some(inode) = self.inodes.get(&at) else { return };
            if inode.lookups > 0 || inode.handles > 0 || inode.children > 0 || inode.content.is_some() {
                return;
            }
            let place = self.inodes.remove(&at).and_then(|inode| inode.place);
            let Some((parent, name)) = place else { return };
            self.names.remove(&(parent, name));
            self.adopt(parent, -1);
            at = parent;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.inodes.len()
    }

    fn adopt(&mut self, parent: InodeNumber, change: i32) {
        if let Some(inode) = self.inodes.get_mut(&parent) {
            inode.children = inode.children.saturating_add_signed(change);
        }
    }
}

/// FNV-1a and a final mix: the same number for the same path after a remount, with any build.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn add(inodes: &mut Inodes, parent: InodeNumber, text: &str, kind: EntryKind) -> InodeNumber {
        let path = inodes.path(parent).unwrap().join(&name(text));
        let ino = inodes.ensure(parent, &path, &name(text), kind);
        inodes.look_up(ino);
        ino
    }

    #[test]
    fn rename_of_a_directory_moves_its_children() {
        let mut inodes = Inodes::new(RemotePath::parse(b"/pub").unwrap());
        let a = add(&mut inodes, InodeNumber::ROOT, "a", EntryKind::Directory);
        let file = add(&mut inodes, a, "file", EntryKind::File);
        inodes.relink(a, InodeNumber::ROOT, &name("b"));
        assert_eq!(inodes.path(file).unwrap().as_bytes(), b"/pub/b/file");
        assert_eq!(inodes.child(InodeNumber::ROOT, &name("a")), None);
    }

    #[test]
    fn number_of_a_renamed_file_is_not_given_to_another() {
        let mut inodes = Inodes::new(RemotePath::root());
        let first = add(&mut inodes, InodeNumber::ROOT, "a", EntryKind::File);
        inodes.relink(first, InodeNumber::ROOT, &name("b"));
        let second = add(&mut inodes, InodeNumber::ROOT, "a", EntryKind::File);
        assert_ne!(first, second);
    }

    #[test]
    fn inode_is_the_same_after_it_was_forgotten() {
        let mut inodes = Inodes::new(RemotePath::root());
        let first = add(&mut inodes, InodeNumber::ROOT, "a", EntryKind::File);
        inodes.forget(first, 1);
        assert_eq!(inodes.len(), 1);
        assert_eq!(add(&mut inodes, InodeNumber::ROOT, "a", EntryKind::File), first);
    }

    #[test]
    fn directory_is_kept_while_a_file_below_it_is_known() {
        let mut inodes = Inodes::new(RemotePath::root());
        let a = add(&mut inodes, InodeNumber::ROOT, "a", EntryKind::Directory);
        let file = add(&mut inodes, a, "file", EntryKind::File);
        inodes.forget(a, 1);
        assert_eq!(inodes.path(file).unwrap().as_bytes(), b"/a/file");
        inodes.forget(file, 1);
        assert_eq!(inodes.len(), 1);
    }
}

//! Looking things up: lookup, forget, getattr, readlink, statfs.

use super::ask::{is_temporary, parse_name};
use super::content::{Content, Detached};
use super::{
    Access, Filesystem, FilesystemError, FilesystemResult, Found, HandleId, InodeNumber, LookupResult, NAME_LEN_MAX,
    SpaceInformation,
};
use crate::cache::FileVersion;
use crate::protocol::{Entry, EntryKind, Name, RemotePath};
use crate::remote::RemoteError;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Shown as free where the server does not say how much is (1 PiB): programs refuse to write where nothing is free.
const SPACE_UNKNOWN_BYTES: u64 = 1 << 50;
const BLOCK_SIZE: u32 = 4096;
/// Shown as the number of files that can be made: FTP knows no such limit.
const FILES: u64 = 1 << 32;
/// How long an answer about space is shown again.
const SPACE_TTL: Duration = Duration::from_secs(30);

impl Filesystem {
    /// Finds `name` in a directory and counts the lookup.
    ///
    /// # Errors
    /// Any of [`FilesystemError`]; an absence that is not proved is never [`LookupResult::Absent`].
    pub fn lookup(&self, access: Access, parent: InodeNumber, name: &[u8]) -> FilesystemResult<LookupResult> {
        let directory = self.directory_path(parent)?;
        let name = parse_name(name)?;
        if is_temporary(&name) {
            return Ok(LookupResult::Absent { ttl: self.ttl() });
        }
        if let Some(found) = self.look_up_local(parent, &name) {
            return Ok(LookupResult::Found(found));
        }
        let age_max = self.shown_age_max(&directory);
        let answer = self.answer(access, &directory, &name, age_max)?;
        let ttl = self.ttl_left(answer.at, age_max);
        if let Some(entry) = answer.entry {
            return Ok(LookupResult::Found(Found { ttl, ..self.link(parent, &directory, &entry) }));
        }
        // It may have been made here while the server was asked.
        if let Some(found) = self.look_up_local(parent, &name) {
            return Ok(LookupResult::Found(found));
        }
        self.unlink_absent(parent, &name);
        Ok(LookupResult::Absent { ttl })
    }

    /// Counts a lookup of the child that this side decides about, if there is one.
    fn look_up_local(&self, parent: InodeNumber, name: &Name) -> Option<Found> {
        let (ino, entry) = self.local_child(parent, name)?;
        self.state.lock().inodes.look_up(ino);
        Some(self.found(ino, &entry))
    }

    /// Takes back `count` lookups of `ino`.
    pub fn forget(&self, ino: InodeNumber, count: u64) {
        self.state.lock().inodes.forget(ino, count);
    }

    /// What stat shows of `ino`; `handle` is the open file it is asked through, if any.
    ///
    /// # Errors
    /// [`FilesystemError::NotFound`] where it is proved gone; any other of [`FilesystemError`].
    pub fn attributes(&self, access: Access, ino: InodeNumber, handle: Option<HandleId>) -> FilesystemResult<Found> {
        let (entry, ttl) = self.shown(access, ino, handle)?;
        let mut found = Found { ttl, ..self.found(ino, &entry) };
        if ino != InodeNumber::ROOT && self.place(ino).is_none() {
            found.attributes.nlink = 0;
        }
        Ok(found)
    }

    /// The entry that stat shows for `ino`, from this side or from the server.
    pub(super) fn shown_entry(
        &self,
        access: Access,
        ino: InodeNumber,
        handle: Option<HandleId>,
    ) -> FilesystemResult<Entry> {
        Ok(self.shown(access, ino, handle)?.0)
    }

    /// As [`Self::shown_entry`], with how long the kernel may believe it.
    fn shown(&self, access: Access, ino: InodeNumber, handle: Option<HandleId>) -> FilesystemResult<(Entry, Duration)> {
        if ino == InodeNumber::ROOT {
            return Ok((self.root_entry(), self.ttl()));
        }
        if let Some((_, content, _)) = handle.and_then(|handle| self.file_handle(handle).ok()) {
            let shown = content.lock().shown_by_authority();
            if let Some(shown) = shown {
                return Ok((self.with_overrides(ino, shown), self.ttl()));
            }
        }
        let (directory, name, content) = {
            let state = self.state.lock();
            let inode = state.inodes.get(ino).ok_or(FilesystemError::Stale)?;
            if inode.place.is_none() && inode.kind == EntryKind::Directory && inode.handles > 0 {
                return Ok((self.removed_directory(), self.ttl()));
            }
            let content = inode.content.clone();
            match &inode.place {
                Some((parent, name)) => (state.inodes.path(*parent), Some(name.clone()), content),
                None => (None, None, content),
            }
        };
        if let Some(content) = &content {
            let shown = content.lock().shown_by_authority();
            if let Some(shown) = shown {
                return Ok((self.with_overrides(ino, shown), self.ttl()));
            }
        }
        let (Some(directory), Some(name)) = (directory, name) else { return Err(FilesystemError::Stale) };
        let age_max = self.shown_age_max(&directory);
        let answer = self.answer(access, &directory, &name, age_max)?;
        let Some(entry) = answer.entry else {
            self.supersede(ino);
            return match content {
                Some(content) => Ok((content.lock().shown(), self.ttl())),
                None => Err(FilesystemError::NotFound),
            };
        };
        if self.reconcile(ino, &entry) {
            return Ok((self.with_overrides(ino, entry), self.ttl_left(answer.at, age_max)));
        }
        match content {
            Some(content) => Ok((content.lock().shown(), self.ttl())),
            None => Err(FilesystemError::Stale),
        }
    }

    /// Reads where a symbolic link points to.
    ///
    /// # Errors
    /// [`FilesystemError::InvalidArgument`] where it is no link; [`FilesystemError::NotSupported`] where the server does not tell;
    /// [`FilesystemError::NotPermitted`] where it leads out of the mount.
    pub fn read_link(&self, access: Access, ino: InodeNumber) -> FilesystemResult<Vec<u8>> {
        let entry = self.shown_entry(access, ino, None)?;
        if entry.kind != EntryKind::Symlink {
            return Err(FilesystemError::InvalidArgument);
        }
        let target =
            entry.link_target.ok_or(FilesystemError::NotSupported { what: "telling where a link points to" })?;
        self.target_to_tell(ino, &target).ok_or(FilesystemError::NotPermitted {
            what: "a link that leads out of the mount (--links=as-told shows it)",
        })
    }

    /// Asks for the space left. No field of the answer is zero.
    ///
    /// # Errors
    /// Only where the server cannot be reached.
    pub fn space(&self, access: Access, _ino: InodeNumber) -> FilesystemResult<SpaceInformation> {
        let now = self.clock.instant();
        if let Some((at, known)) = *self.space.lock()
            && now.saturating_duration_since(at) < SPACE_TTL
        {
            return Ok(known);
        }
        let space = match self.server.ask(access)?.space(&self.root) {
            Ok(space) => space,
            Err(error @ (RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. })) => return Err(error.into()),
            Err(_) => None,
        };
        let free = space.map_or(SPACE_UNKNOWN_BYTES, |space| space.available);
        let total =
            space.map_or(SPACE_UNKNOWN_BYTES, |space| space.total.unwrap_or(space.available).max(space.available));
        let block = u64::from(BLOCK_SIZE);
        let information = SpaceInformation {
            block_size: BLOCK_SIZE,
            blocks: (total / block).max(1),
            // A full account shows one free block: zero makes some programs stop reading too.
            blocks_free: (free / block).max(1),
            files: FILES,
            files_free: FILES,
            name_len_max: NAME_LEN_MAX as u32,
        };
        *self.space.lock() = Some((now, information));
        Ok(information)
    }

    /// What is shown of a directory that has no name any more, to those who have it open.
    fn removed_directory(&self) -> Entry {
        let name = Name::new("removed").expect("`removed` keeps all rules of names");
        Entry { modified: Some(self.now()), ..Entry::new(name, EntryKind::Directory) }
    }

    fn root_entry(&self) -> Entry {
        let name = Name::new("root").expect("`root` keeps all rules of names");
        let modified = Some(super::to_timestamp(self.mounted_at.max(UNIX_EPOCH)));
        let mut entry = Entry { modified, ..Entry::new(name, EntryKind::Directory) };
        self.overrides.apply(&self.root, &mut entry);
        entry
    }

    /// The child that this side decides about, if there is one.
    pub(super) fn local_child(&self, parent: InodeNumber, name: &Name) -> Option<(InodeNumber, Entry)> {
        let (ino, content) = {
            let state = self.state.lock();
            let ino = state.inodes.child(parent, name)?;
            (ino, state.inodes.get(ino)?.content.clone()?)
        };
        let shown = content.lock().shown_by_authority()?;
        Some((ino, self.with_overrides(ino, shown)))
    }

    /// Gives an entry of the server its inode and counts a lookup.
    pub(super) fn link(&self, parent: InodeNumber, directory: &RemotePath, entry: &Entry) -> Found {
        let path = directory.join(&entry.name);
        let mut shown = entry.clone();
        self.overrides.apply(&path, &mut shown);
        let known = self.state.lock().inodes.child(parent, &entry.name);
        if let Some(known) = known {
            self.reconcile(known, entry);
        }
        let mut state = self.state.lock();
        let ino = state.inodes.ensure(parent, &path, &entry.name, entry.kind);
        state.inodes.look_up(ino);
        self.found(ino, &shown)
    }

    /// Compares what the server says of `ino` with what is open of it. False: it is another file by now, and those
    /// who have it open keep the old one under the old number, while the name is free for a new number.
    ///
    /// So the pages of two versions never meet in one inode of the kernel.
    pub(super) fn reconcile(&self, ino: InodeNumber, entry: &Entry) -> bool {
        let mut state = self.state.lock();
        let Some(content) = state.inodes.get(ino).and_then(|inode| inode.content.clone()) else { return true };
        let version = FileVersion::of(entry);
        {
            let mut content = content.lock();
            if content.is_authority() {
                return true;
            }
            let (Some(known), Some(version)) = (&mut content.version, version) else { return true };
            if known.agrees_with(&version) {
                known.refine(&version);
                return true;
            }
            if content.writers > 0 {
                // A writer must reach the name it opened. Where nothing is staged yet, it goes on from the new version.
                if content.staging.is_none() {
                    content.uploaded = Some(version.size);
                    content.version = Some(version);
                    content.entry = entry.clone();
                }
                return true;
            }
            content.detach(Detached::Superseded);
        }
        state.inodes.detach(ino);
        false
    }

    /// The server proved that a name is gone that may have an inode. One that this side decides about keeps it.
    pub(super) fn unlink_absent(&self, parent: InodeNumber, name: &Name) {
        let mut state = self.state.lock();
        let Some(ino) = state.inodes.child(parent, name) else { return };
        if let Some(content) = state.inodes.get(ino).and_then(|inode| inode.content.clone()) {
            let mut content = content.lock();
            if content.is_authority() {
                return;
            }
            content.detach(Detached::Superseded);
        }
        state.inodes.detach(ino);
    }

    /// Takes the name from an inode that the server has no more; what is written to it from now on cannot be kept.
    pub(super) fn supersede(&self, ino: InodeNumber) {
        self.detach(ino, Detached::Superseded);
    }

    /// Takes the name from an inode; those who have it open keep it.
    pub(super) fn detach(&self, ino: InodeNumber, why: Detached) {
        let mut state = self.state.lock();
        if let Some(content) = state.inodes.get(ino).and_then(|inode| inode.content.clone()) {
            content.lock().detach(why);
        }
        state.inodes.detach(ino);
        state.let_go(ino);
    }

    pub(super) fn with_overrides(&self, ino: InodeNumber, mut entry: Entry) -> Entry {
        let path = self.state.lock().inodes.path(ino);
        if let Some(path) = path {
            self.overrides.apply(&path, &mut entry);
        }
        entry
    }

    /// The content of an open file.
    pub(super) fn content_of(&self, ino: InodeNumber) -> Option<Arc<Content>> {
        self.state.lock().inodes.get(ino)?.content.clone()
    }

    /// Directory and name of an inode, as paths on the server.
    pub(super) fn place(&self, ino: InodeNumber) -> Option<(RemotePath, Name)> {
        let state = self.state.lock();
        let (parent, name) = state.inodes.get(ino)?.place.clone()?;
        Some((state.inodes.path(parent)?, name))
    }
}

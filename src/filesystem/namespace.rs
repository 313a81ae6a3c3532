//! Making and removing names.

use super::ask::{parse_name, parse_new_name};
use super::content::{Claim, Detached};
use super::{Access, Filesystem, FilesystemError, FilesystemResult, Found, InodeNumber};
use crate::cache::FileId;
use crate::cache::listings::Flight;
use crate::protocol::{Entry, EntryKind, Name, Precision, RemotePath, Timestamp};
use crate::remote::{Listing, RemoteError, WriteMode};

impl Filesystem {
    /// Makes an empty regular file (mknod) on the server and counts a lookup.
    ///
    /// # Errors
    /// [`FilesystemError::Exists`]; any other of [`FilesystemError`].
    pub fn make_node(&self, access: Access, parent: InodeNumber, name: &[u8], mode: u32) -> FilesystemResult<Found> {
        let (directory, name) = self.new_place(access, parent, name)?;
        let path = directory.join(&name);
        let remote = self.server.ask(access)?;
        let stored = remote.open_whole(&path, WriteMode::Create, &[]).and_then(|mut stream| stream.finish());
        let stored = stored.map_err(|error| self.unsure_of(&directory, &name, error))?;
        let modified = stored.modified.or_else(|| self.time_until_listed());
        let entry = Entry { size: Some(0), modified, ..Entry::new(name, EntryKind::File) };
        self.made(access, parent, &directory, entry, mode)
    }

    /// Makes a directory and counts a lookup.
    ///
    /// # Errors
    /// [`FilesystemError::Exists`]; any other of [`FilesystemError`].
    pub fn make_directory(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        mode: u32,
    ) -> FilesystemResult<Found> {
        self.refuse_if_read_only()?;
        let directory = self.directory_path(parent)?;
        let name = parse_new_name(name)?;
        if self.local_child(parent, &name).is_some() {
            return Err(FilesystemError::Exists);
        }
        let path = directory.join(&name);
        self.settle_renames(access, &path)?;
        let made = self.server.ask(access)?.make_directory(&path);
        made.map_err(|error| self.unsure_of(&directory, &name, error))?;
        // What was just made is empty: that needs no question.
        self.listings.forget_tree(&path);
        if let Flight::Lead(lead) = self.listings.begin_listing(&path, self.clock.instant()) {
            let _empty =
                self.listings.install(lead, Ok(Listing { entries: Vec::new(), complete: true, cut_short: false }));
        }
        let modified = Some(Timestamp { precision: Precision::Minute, ..self.now() });
        let entry = Entry { modified, ..Entry::new(name, EntryKind::Directory) };
        self.made(access, parent, &directory, entry, mode)
    }

    /// Makes a symbolic link and counts a lookup.
    ///
    /// # Errors
    /// [`FilesystemError::NotPermitted`] where the server has no way to, programs go on without links then; and where it would
    /// lead out of the mount.
    pub fn make_symlink(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        target: &[u8],
    ) -> FilesystemResult<Found> {
        let (directory, name) = self.new_place(access, parent, name)?;
        if self.target_to_tell_in(&directory, target).as_deref() != Some(target) {
            return Err(FilesystemError::NotPermitted {
                what: "a link that would not be shown as it is made (--links)",
            });
        }
        let remote = self.server.ask(access)?;
        match remote.make_symlink(&directory.join(&name), target) {
            Err(RemoteError::Unsupported { .. }) => {
                return Err(FilesystemError::NotPermitted { what: "symbolic links on this server" });
            }
            other => other.map_err(|error| self.unsure_of(&directory, &name, error))?,
        }
        let modified = Some(Timestamp { precision: Precision::Minute, ..self.now() });
        let link_target = Some(target.into());
        let entry = Entry { modified, link_target, ..Entry::new(name, EntryKind::Symlink) };
        self.listings.insert(&directory, entry.clone(), self.clock.instant());
        Ok(self.link(parent, &directory, &entry))
    }

    /// Directory and name of something new that is proved not to be there.
    fn new_place(&self, access: Access, parent: InodeNumber, name: &[u8]) -> FilesystemResult<(RemotePath, Name)> {
        self.refuse_if_read_only()?;
        let directory = self.directory_path(parent)?;
        let name = parse_new_name(name)?;
        self.settle_renames(access, &directory.join(&name))?;
        let taken = self.local_child(parent, &name).is_some()
            || self.entry(access, &directory, &name, self.options.attr_timeout)?.is_some();
        if taken { Err(FilesystemError::Exists) } else { Ok((directory, name)) }
    }

    /// The end of making a file or directory: its permissions, its place in the listing, its inode.
    fn made(
        &self,
        access: Access,
        parent: InodeNumber,
        directory: &RemotePath,
        mut entry: Entry,
        mode: u32,
    ) -> FilesystemResult<Found> {
        let path = directory.join(&entry.name);
        self.overrides.remove(&path);
        let usual: &[u32] = if entry.kind == EntryKind::Directory { &[0o755, 0o775, 0o777] } else { &USUAL_FILE_MODES };
        if !usual.contains(&(mode & 0o777)) {
            entry.mode = self.try_set_mode(access, &path, mode & 0o7777)?;
        }
        self.listings.insert(directory, entry.clone(), self.clock.instant());
        Ok(self.link(parent, directory, &entry))
    }

    /// Sets permission bits of something that was just made or stored. That they cannot be set is no failure of that: they are
    /// shown for this mount, and the log says so.
    ///
    /// # Errors
    /// Only [`FilesystemError::WouldWait`].
    pub(super) fn try_set_mode(&self, access: Access, path: &RemotePath, mode: u32) -> FilesystemResult<Option<u32>> {
        let remote = self.server.ask(access)?;
        if remote.abilities().set_mode {
            match remote.set_mode(path, mode) {
                Ok(()) => return Ok(Some(mode)),
                Err(error) => tracing::warn!(%path, %error, "permissions could not be set; shown for this mount only"),
            }
        }
        self.overrides.set_mode(path, mode);
        Ok(None)
    }

    /// A time to show for something new where the server is not going to be asked for one.
    pub(super) fn time_until_listed(&self) -> Option<Timestamp> {
        let exact = self.server.abilities().exact_times;
        (!exact).then(|| Timestamp { precision: Precision::Minute, ..self.now() })
    }

    /// Removes a file or symbolic link; those who have it open keep it.
    ///
    /// # Errors
    /// [`FilesystemError::NotPermitted`] where it is open and too large to be kept for those who have it open; any other.
    pub fn unlink(&self, access: Access, parent: InodeNumber, name: &[u8]) -> FilesystemResult<()> {
        self.refuse_if_read_only()?;
        let directory = self.directory_path(parent)?;
        let name = parse_name(name)?;
        self.settle_renames(access, &directory.join(&name))?;
        let ino = self.state.lock().inodes.child(parent, &name);
        let claim = match ino.and_then(|ino| self.content_of(ino)) {
            Some(content) => Some(content.claim(access, self.options.operation_timeout)?),
            None => None,
        };
        let pending = claim.as_ref().and_then(|claim| Some(claim.content.lock().pending_id()?.file));
        if pending.is_some() {
            self.server.ask(access)?;
        }
        if let Some(claim) = claim.as_ref().filter(|_| pending.is_some()) {
            // It may hold the only connection.
            drop(claim.stop(self.options.operation_timeout)?);
        }
        if self.directory_path(parent)? != directory {
            // A directory above has got another name while somebody else had the file.
            drop(claim);
            return self.unlink(access, parent, name.as_bytes());
        }
        if let (Some(ino), Some(claim)) = (ino, &claim)
            && self.is_local_only(claim)
        {
            if let Some(file) = pending {
                self.preserve(access, ino, claim, &directory.join(&name))?;
                self.drop_pending(file)?;
            }
            self.removed(&directory, &name, Some(ino));
            return Ok(());
        }
        let path = directory.join(&name);
        let known = self.entry(access, &directory, &name, self.shown_age_max(&directory));
        match known {
            Ok(Some(entry)) if entry.kind == EntryKind::Directory => return Err(FilesystemError::IsDirectory),
            Err(FilesystemError::WouldWait) => return Err(FilesystemError::WouldWait),
            // Whatever else is known: DELE tells.
            _ => {}
        }
        let remote = self.server.ask(access)?;
        if let (Some(ino), Some(claim)) = (ino, &claim) {
            self.preserve(access, ino, claim, &path)?;
        }
        let result = remote.remove_file(&path);
        // The claim is kept to the end: who waits for it to upload the file must find that it has no name any more.
        let is_dirty = claim.as_ref().is_some_and(|claim| claim.content.is_dirty());
        match result {
            Ok(()) => {}
            // It was on this side alone, or another client was faster: of what is written here the name goes all the same.
            Err(RemoteError::NotFound) if is_dirty => {}
            Err(RemoteError::NotFound) => {
                self.listings.remove(&directory, &name, self.clock.instant());
                self.unlink_absent(parent, &name);
                return Err(FilesystemError::NotFound);
            }
            Err(error) => return Err(self.unsure_of(&directory, &name, error)),
        }
        let dropped = pending.map_or(Ok(()), |file| self.drop_pending(file));
        self.removed(&directory, &name, ino);
        dropped
    }

    /// What was tried with a name failed, and may have been done all the same: the next question goes to the server.
    pub(super) fn unsure_of(&self, directory: &RemotePath, name: &Name, error: RemoteError) -> FilesystemError {
        self.listings.distrust(directory, name, self.clock.instant());
        error.into()
    }

    /// Whether nothing of a file can be on the server.
    pub(super) fn is_local_only(&self, claim: &Claim) -> bool {
        let content = claim.content.lock();
        content.version.is_none() && !content.attempted
    }

    /// A name is gone.
    pub(super) fn removed(&self, directory: &RemotePath, name: &Name, ino: Option<InodeNumber>) {
        self.listings.remove(directory, name, self.clock.instant());
        let path = directory.join(name);
        self.overrides.remove(&path);
        self.server.forget_tree(&path);
        if let Some(ino) = ino {
            self.detach(ino, Detached::Removed);
            self.server.forget(FileId(ino.0));
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`FilesystemError::NotEmpty`], [`FilesystemError::NotDirectory`]; any other of [`FilesystemError`].
    pub fn remove_directory(&self, access: Access, parent: InodeNumber, name: &[u8]) -> FilesystemResult<()> {
        self.refuse_if_read_only()?;
        let directory = self.directory_path(parent)?;
        let name = parse_name(name)?;
        let ino = self.state.lock().inodes.child(parent, &name);
        if ino.is_some_and(|ino| self.has_local_files(ino)) {
            return Err(FilesystemError::NotEmpty);
        }
        let path = directory.join(&name);
        self.settle_renames(access, &path)?;
        let result = self.server.ask(access)?.remove_directory(&path);
        match result {
            Ok(()) => {}
            Err(RemoteError::NotFound) => {
                self.listings.remove(&directory, &name, self.clock.instant());
                self.unlink_absent(parent, &name);
                return Err(FilesystemError::NotFound);
            }
            Err(error) => {
                // What is in it is not what we believe, or it may be gone after all.
                self.listings.forget_tree(&path);
                return Err(self.unsure_of(&directory, &name, error));
            }
        }
        self.listings.forget_tree(&path);
        self.removed(&directory, &name, ino);
        Ok(())
    }

    /// Whether a directory holds files that are not on the server yet.
    pub(super) fn has_local_files(&self, directory: InodeNumber) -> bool {
        let state = self.state.lock();
        state.inodes.has_children(directory)
            && state.inodes.all().any(|(_, inode)| {
                inode.place.as_ref().is_some_and(|(parent, _)| *parent == directory)
                    && inode.content.as_ref().is_some_and(|content| content.lock().version.is_none())
            })
    }
}

/// What servers give new files by themselves; asking for one of these is not worth a command.
pub(super) const USUAL_FILE_MODES: [u32; 3] = [0o644, 0o664, 0o666];

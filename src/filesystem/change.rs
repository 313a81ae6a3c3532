//! Changing attributes (setattr).
//!
//! Programs that keep files set times and permissions and stop where that fails, so what the server cannot keep
//! is kept here for the mount and said in the log; another owner, which nobody would get, is refused.

use super::content::{ContentState, Pending};
use super::{
    Access, Filesystem, FilesystemError, FilesystemResult, Found, HandleId, InodeNumber, OpenFlags, SetAttributes,
    SetTime, to_timestamp,
};
use crate::journal::JournalError;
use crate::protocol::{Entry, EntryKind, RemotePath, Timestamp};
use crate::remote::RemoteError;
use parking_lot::MutexGuard;

impl Filesystem {
    /// Changes attributes and returns them as they are then.
    ///
    /// # Errors
    /// [`FilesystemError::NotPermitted`] for another owner or group; any other of [`FilesystemError`].
    pub fn set_attributes(
        &self,
        access: Access,
        ino: InodeNumber,
        handle: Option<HandleId>,
        changes: SetAttributes,
    ) -> FilesystemResult<Found> {
        let other_uid = changes.uid.is_some_and(|uid| uid != self.options.uid);
        let other_gid = changes.gid.is_some_and(|gid| gid != self.options.gid);
        if (other_uid || other_gid) && !self.options.ignore_owner_changes {
            return Err(FilesystemError::NotPermitted { what: "changing the owner" });
        }
        if changes.size.is_some() || changes.mode.is_some() || changes.mtime.is_some() {
            self.refuse_if_read_only()?;
            self.ask_before_change(access, ino, handle, &changes)?;
        }
        if let Some(size) = changes.size {
            self.set_size(access, ino, handle, size)?;
        }
        if let Some(mode) = changes.mode {
            self.set_mode(access, ino, mode & 0o7777)?;
        }
        if let Some(time) = changes.mtime {
            let time = match time {
                SetTime::Now => self.now(),
                SetTime::At(time) => to_timestamp(time),
            };
            self.set_time(access, ino, time)?;
        }
        self.attributes(access, ino, handle)
    }

    /// Says so before anything is changed where the server has to be asked, or somebody to be waited for.
    fn ask_before_change(
        &self,
        access: Access,
        ino: InodeNumber,
        handle: Option<HandleId>,
        changes: &SetAttributes,
    ) -> FilesystemResult<()> {
        let content = self.content_of(ino);
        let is_local = match &content {
            Some(content) => {
                let content = content.lock_settled(access, self.options.operation_timeout)?;
                if content.pending.is_some() && access == Access::MemoryOnly {
                    // The journal hears of it, and its disk may be slow.
                    return Err(FilesystemError::WouldWait);
                }
                content.is_authority()
            }
            None => false,
        };
        let sized_by_handle = changes.size.is_none() || handle.is_some();
        if is_local && sized_by_handle || changes.mode.is_none() && changes.mtime.is_none() && sized_by_handle {
            return Ok(());
        }
        self.server.ask(access).map(|_| ())
    }

    fn set_size(&self, access: Access, ino: InodeNumber, handle: Option<HandleId>, size: u64) -> FilesystemResult<()> {
        if let Some(handle) = handle {
            return self.set_size_of(access, handle, size, false);
        }
        let flags = OpenFlags { read: true, write: true, truncate: size == 0, ..OpenFlags::default() };
        let opened = self.open(access, ino, flags)?;
        let result = self.set_size_of(access, opened.handle, size, false);
        let result = result.and_then(|()| self.flush(access, opened.handle));
        let released = self.release(access, opened.handle);
        result.and(released)
    }

    fn set_mode(&self, access: Access, ino: InodeNumber, mode: u32) -> FilesystemResult<()> {
        if let Some(content) = self.content_of(ino) {
            let mut content = content.lock_settled(access, self.options.operation_timeout)?;
            if content.is_authority() {
                content.mode_wanted = Some(mode);
                return self.amend(content);
            }
        }
        let (path, mut entry) = self.changeable(access, ino)?;
        if self.server.abilities().set_mode {
            match self.server.ask(access)?.set_mode(&path, mode) {
                Ok(()) => {
                    entry.mode = Some(mode);
                    self.overrides.forget_mode(&path);
                    self.changed(ino, entry);
                    return Ok(());
                }
                Err(RemoteError::Unsupported { .. }) => {}
                Err(error) => return Err(self.not_changed(ino, error)),
            }
        }
        tracing::debug!(%path, "the server cannot set permissions; shown for this mount only");
        self.overrides.set_mode(&path, mode);
        Ok(())
    }

    fn set_time(&self, access: Access, ino: InodeNumber, time: Timestamp) -> FilesystemResult<()> {
        if let Some(content) = self.content_of(ino) {
            let mut content = content.lock_settled(access, self.options.operation_timeout)?;
            if content.is_authority() {
                content.time_wanted = Some(time);
                return self.amend(content);
            }
        }
        let (path, mut entry) = self.changeable(access, ino)?;
        let is_directory = entry.kind == EntryKind::Directory;
        match self.server.ask(access)?.set_modified(&path, time) {
            Ok(kept) => {
                entry.modified = Some(kept);
                self.overrides.forget_modified(&path);
                self.changed(ino, entry);
                return Ok(());
            }
            Err(RemoteError::Unsupported { .. }) => {}
            // Servers refuse directories in as many ways as there are servers; none of them is worth failing `cp -a` for.
            Err(error @ (RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. })) => {
                return Err(self.not_changed(ino, error));
            }
            Err(error) if !is_directory => return Err(self.not_changed(ino, error)),
            Err(_) => {}
        }
        tracing::debug!(%path, "the server cannot set this time; shown for this mount only");
        self.overrides.set_modified(&path, time, &entry);
        Ok(())
    }

    /// What is promised gets the time and the permissions that were asked for since.
    fn amend(&self, mut content: MutexGuard<'_, ContentState>) -> FilesystemResult<()> {
        let is_promised = content.is_promised();
        let (time, mode) = (content.time_wanted, content.mode_wanted);
        let (Some(journal), Some(pending)) = (&self.journal, content.pending.as_mut().filter(|_| is_promised)) else {
            return Ok(());
        };
        pending.modified = time.or(pending.modified);
        pending.mode = mode.or(pending.mode);
        let Pending { id, modified, mode, .. } = pending.clone();
        drop(content);
        match journal.amend(id, modified, mode) {
            // Promised anew, or delivered, in between.
            Ok(()) | Err(JournalError::NotPending(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Path and entry of something on the server whose attributes are to be changed there.
    fn changeable(&self, access: Access, ino: InodeNumber) -> FilesystemResult<(RemotePath, Entry)> {
        if ino == InodeNumber::ROOT {
            return Ok((self.root.clone(), self.shown_entry(access, ino, None)?));
        }
        let (directory, name) = self.place(ino).ok_or(FilesystemError::Stale)?;
        let entry = self.entry(access, &directory, &name, self.shown_age_max(&directory))?;
        Ok((directory.join(&name), entry.ok_or(FilesystemError::NotFound)?))
    }

    /// An attribute could not be changed, or its answer got lost.
    fn not_changed(&self, ino: InodeNumber, error: RemoteError) -> FilesystemError {
        match self.place(ino) {
            Some((directory, name)) => self.unsure_of(&directory, &name, error),
            None => error.into(),
        }
    }

    /// The server has changed an attribute; the content, and so the kernel's pages, are the same.
    fn changed(&self, ino: InodeNumber, entry: Entry) {
        let Some((directory, _)) = self.place(ino) else { return };
        {
            let mut state = self.state.lock();
            if let Some(inode) = state.inodes.get_mut(ino) {
                if let Some(paged) = &mut inode.paged {
                    paged.modified = entry.modified;
                }
                if let Some(content) = &inode.content {
                    let mut content = content.lock();
                    content.entry = entry.clone();
                    if let Some(version) = &mut content.version {
                        version.modified = entry.modified;
                    }
                }
            }
        }
        self.listings.insert(&directory, entry, self.clock.instant());
    }
}

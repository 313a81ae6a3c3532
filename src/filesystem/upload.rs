//! Bringing what was written to the server.
//!
//! Until the server has proved that it holds the content, the file stays dirty and whoever asked gets the error.

use super::content::{Claim, Content, Detached};
use super::sending::Sending;
use super::{Access, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::{FileId, FileVersion};
use crate::protocol::{Entry, Name, RemotePath};
use crate::remote::{RemoteError, Stored, WriteMode};
use std::sync::Arc;

/// Bytes that are fetched at once to complete a staging file.
const FILL_LEN: u64 = 1 << 20;

impl Filesystem {
    /// Uploads a file if it is dirty, once nobody else is at it.
    ///
    /// # Errors
    /// What it failed with; the file stays dirty.
    pub(super) fn upload(&self, access: Access, ino: InodeNumber, content: &Arc<Content>) -> FilesystemResult<()> {
        let claim = content.claim(access, self.options.operation_timeout)?;
        let result = self.upload_claimed(access, ino, &claim);
        if result != Err(FilesystemError::WouldWait) {
            content.lock().upload_error = result.clone().err();
        }
        result
    }

    /// As [`Self::upload`], for who has the claim.
    pub(super) fn upload_claimed(&self, access: Access, ino: InodeNumber, claim: &Claim) -> FilesystemResult<()> {
        {
            let content = claim.content.lock();
            if !content.dirty {
                return Ok(());
            }
            if content.detached == Some(Detached::Superseded) {
                return Err(FilesystemError::Stale);
            }
        }
        let remote = self.server.ask(access)?;
        let (directory, name) = self.place(ino).ok_or(FilesystemError::Stale)?;
        let path = directory.join(&name);
        self.complete(access, ino, claim, &path)?;
        let (size, mode) = {
            let mut content = claim.content.lock();
            let size = content.stage(&self.options.staging_dir)?.size();
            let mode = match content.version {
                Some(_) => WriteMode::Replace { mode: content.mode_wanted.or(content.entry.mode) },
                None => WriteMode::Create,
            };
            content.attempted = true;
            (size, mode)
        };
        let sending = Sending::new(remote, &path, mode, size, self.options.operation_timeout);
        let stored = sending.run(|offset, len| {
            claim.got_on();
            // Nobody else changes the file while it is claimed, so the pieces are of one content.
            claim.content.lock().staging.as_ref().ok_or(FilesystemError::Stale)?.read(offset, len)
        })?;
        self.uploaded(access, ino, claim, &directory, &name, stored, matches!(mode, WriteMode::Create))
    }

    /// The content is on the server: now time and permissions as they were asked for, and what is known of it here.
    #[allow(clippy::too_many_arguments)] // They are one upload's facts, and are used nowhere else.
    fn uploaded(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        directory: &RemotePath,
        name: &Name,
        stored: Stored,
        is_new: bool,
    ) -> FilesystemResult<()> {
        let path = directory.join(name);
        let (mut entry, time_wanted, mode_wanted) = {
            let mut content = claim.content.lock();
            let entry = Entry { name: name.clone(), size: Some(stored.size), unique: None, ..content.entry.clone() };
            // A failure below must not store it as a new file again.
            content.version = Some(FileVersion { size: stored.size, modified: stored.modified, unique: None });
            (entry, content.time_wanted, content.mode_wanted)
        };
        self.server.forget(FileId(ino.0));
        entry.modified = stored.modified.or_else(|| self.time_until_listed());
        if let Some(time) = time_wanted {
            match self.server.ask(access)?.set_modified(&path, time) {
                Ok(kept) => entry.modified = Some(kept),
                Err(error) if error.is_worth_another_try() => return Err(error.into()),
                // The content is there: that it shall not have this time is no reason to call it lost.
                Err(error) => {
                    if !matches!(error, RemoteError::Unsupported { .. }) {
                        tracing::warn!(%path, %error, "the time could not be set; shown for this mount only");
                    }
                    self.overrides.set_modified(&path, time, &entry);
                }
            }
        }
        if let Some(mode) = mode_wanted {
            let kept = if is_new { self.try_set_mode(access, &path, mode)? } else { self.replaced_mode(&path, mode) };
            entry.mode = kept;
        } else if is_new {
            // What the server gave it, only its next listing tells; until then what was asked for is shown.
            entry.mode = Some(entry.mode.unwrap_or(0o644));
        }
        self.settle(ino, claim, directory, entry);
        Ok(())
    }

    /// The bits of a file that was replaced went with the upload, where the server can set them at all.
    fn replaced_mode(&self, path: &RemotePath, mode: u32) -> Option<u32> {
        if self.server.abilities().set_mode {
            return Some(mode);
        }
        self.overrides.set_mode(path, mode);
        None
    }

    /// From now on the server decides again what the file is.
    fn settle(&self, ino: InodeNumber, claim: &Claim, directory: &RemotePath, entry: Entry) {
        let version = FileVersion::of(&entry);
        let name = entry.name.clone();
        let mut state = self.state.lock();
        {
            let mut content = claim.content.lock();
            content.version.clone_from(&version);
            content.entry = entry.clone();
            content.time_wanted = None;
            content.mode_wanted = None;
            content.dirty = false;
        }
        if let Some(inode) = state.inodes.get_mut(ino) {
            inode.paged = version;
        }
        self.listings.insert(directory, entry, self.clock.instant());
        self.listings.unpin(directory, &name);
    }

    /// Fetches what the staging file lacks of the server's version.
    pub(super) fn complete(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
    ) -> FilesystemResult<()> {
        loop {
            let (gap, version) = {
                let content = claim.content.lock();
                let Some(staging) = &content.staging else { return Ok(()) };
                let Some(gap) = staging.first_missing(0..staging.size()) else { return Ok(()) };
                (gap, content.version.clone().ok_or(FilesystemError::Stale)?)
            };
            let len = u32::try_from((gap.end - gap.start).min(FILL_LEN)).unwrap_or(u32::MAX);
            let bytes = self.server.fetch(access, FileId(ino.0), path, &version, gap.start, len)?;
            if bytes.is_empty() {
                return Err(FilesystemError::Stale);
            }
            if let Some(staging) = &mut claim.content.lock().staging {
                staging.fill(gap.start, &bytes)?;
            }
            claim.got_on();
        }
    }

    /// Fetches all of a file that is going to be removed or replaced, for those who have it open.
    ///
    /// # Errors
    /// [`FilesystemError::NotPermitted`] where it is too large for that; what fetching failed with.
    pub(super) fn preserve(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
    ) -> FilesystemResult<()> {
        let is_open = self.state.lock().inodes.get(ino).is_some_and(|inode| inode.handles > 0);
        if !is_open {
            return Ok(());
        }
        let missing = claim.content.lock().stage(&self.options.staging_dir)?.bytes_missing();
        if missing > self.options.preserve_bytes_max {
            return Err(FilesystemError::NotPermitted { what: "removing or replacing an open file of this size" });
        }
        match self.complete(access, ino, claim, path) {
            // Another client was faster: there is nothing left to keep, and those who have it open hear so.
            Err(FilesystemError::NotFound | FilesystemError::Stale) => Ok(()),
            other => other,
        }
    }

    /// Uploads every file that is still dirty; for the end of the mount. Returns the paths that failed.
    pub fn flush_all(&self) -> Vec<(RemotePath, FilesystemError)> {
        let contents = self.contents();
        let upload = |(ino, content): (InodeNumber, Arc<Content>)| {
            let error = self.upload(Access::Server, ino, &content).err()?;
            Some((self.file_path(ino).unwrap_or_else(RemotePath::root), error))
        };
        contents.into_iter().filter(|(_, content)| content.is_dirty()).filter_map(upload).collect()
    }
}

//! What is promised on the local disk: commits to the journal, and what is kept of a content that cannot be delivered.
//!
//! Not here: how what was promised gets to the server (`delivery`).

use super::allowance::Room;
use super::content::{Claim, Content, Detached, Pending};
use super::staging::Staging;
use super::{Access, DirtyFile, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::FileVersion;
use crate::journal::{Commit, ContentId, FileNumber, Journal, JournalError, JournalResult, Version};
use crate::protocol::RemotePath;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What is missing of the server's version is fetched for a promise up to here; beyond, the server's proof is cheaper.
const FETCHED_LEN_MAX: u64 = 8 << 20;
/// How often a record that only says what has happened is tried to be written.
const RECORD_ATTEMPTS: u32 = 4;
/// How long to wait between these.
const RECORD_PAUSE: Duration = Duration::from_millis(250);
/// How long the end of the mount waits for whoever is at a file.
const CLAIM_PATIENCE: Duration = Duration::from_secs(1);

impl Filesystem {
    /// Returns once what was written is promised by the journal, or, where it cannot promise it, proved to be on the server.
    ///
    /// # Errors
    /// What the upload failed with, where neither could be; the file stays dirty, and the next flush or fsync tries again.
    pub(super) fn promise(&self, access: Access, ino: InodeNumber, content: &Arc<Content>) -> FilesystemResult<()> {
        {
            let state = content.lock_settled(access, self.options.operation_timeout)?;
            if !state.dirty || state.is_promised() {
                return Ok(());
            }
        }
        // A sync of the disk may take its time.
        self.server.ask(access)?;
        let claim = content.claim(access, self.options.operation_timeout)?;
        let result = self.promise_claimed(access, ino, &claim);
        content.lock().upload_error = result.clone().err();
        result
    }

    fn promise_claimed(&self, access: Access, ino: InodeNumber, claim: &Claim) -> FilesystemResult<()> {
        match self.commit(access, ino, claim) {
            Ok(()) => Ok(()),
            Err(NotCommitted::Stale) => Err(FilesystemError::Stale),
            Err(NotCommitted::TooMuchMissing) => self.upload_claimed(access, ino, claim),
            Err(NotCommitted::Failed(error)) => {
                tracing::warn!(%ino, %error, "a file cannot be promised on the local disk; it goes to the server at once");
                self.upload_claimed(access, ino, claim)
            }
        }
    }

    /// Commits what is changed of a claimed file, and queues it for its delivery; nothing where all of it is promised already.
    pub(super) fn commit(&self, access: Access, ino: InodeNumber, claim: &Claim) -> Result<(), NotCommitted> {
        let Some(journal) = &self.journal else { return Err(NotCommitted::TooMuchMissing) };
        {
            let state = claim.content.lock();
            if state.detached == Some(Detached::Superseded) {
                return Err(NotCommitted::Stale);
            }
            if !state.dirty || state.is_promised() {
                return Ok(());
            }
            let missing = state.staging.as_ref().map_or(0, Staging::bytes_missing);
            if state.has_holes() || missing > FETCHED_LEN_MAX {
                return Err(NotCommitted::TooMuchMissing);
            }
        }
        let path = self.file_path(ino).ok_or(NotCommitted::Stale)?;
        self.settle_renames(access, &path).map_err(NotCommitted::Failed)?;
        // It may be another one now.
        let path = self.file_path(ino).ok_or(NotCommitted::Stale)?;
        self.complete(access, ino, claim, &path).map_err(NotCommitted::Failed)?;
        // Neither the file nor a directory above it gets another name from here on.
        let _moving = self.moving.read();
        let (directory, name) = self.place(ino).ok_or(NotCommitted::Stale)?;
        let path = directory.join(&name);
        let (staging, commit) = {
            let mut state = claim.content.lock();
            // A stream may have punched since: from here on it cannot.
            let is_whole = state.stage(&self.staging).map_err(NotCommitted::Failed)?.can_be_committed();
            if !is_whole {
                return Err(NotCommitted::TooMuchMissing);
            }
            let commit = Commit {
                path: path.clone(),
                size: state.size(),
                base: state.base(),
                modified: state.time_wanted.or(state.entry.modified),
                mode: state.mode_to_set(),
            };
            let staging = state.stage(&self.staging).and_then(Staging::take_for_commit);
            (staging.map_err(NotCommitted::Failed)?, commit)
        };
        let _slow = claim.is_at_the_disk();
        let (modified, mode, size) = (commit.modified, commit.mode, commit.size);
        let committed = journal.commit(staging, commit);
        let mut state = claim.content.lock();
        let Some(staged) = &mut state.staging else { return Err(NotCommitted::Stale) };
        match committed {
            Ok(committed) => {
                let id = committed.sealed.content();
                let bytes = staged.seal(committed.sealed);
                let room = Room::counted(&self.staging.allowance, bytes);
                let pending = Pending {
                    id,
                    size,
                    modified,
                    mode,
                    committed_at: Instant::now(),
                    check_first: false,
                    doubtful: false,
                    stored: None,
                    sealed: None,
                    _room: room,
                };
                state.pending = Some(pending);
                state.changed = false;
                state.sent = 0;
                let shown = state.shown();
                drop(state);
                self.listings.pin(&directory, shown, self.clock.instant());
                self.deliver_soon(ino);
                Ok(())
            }
            Err(failed) => {
                staged.put_back(failed.staging);
                Err(NotCommitted::Failed(failed.error.into()))
            }
        }
    }

    /// Nobody has a file open any more whose upload failed. With a journal it is kept: delivered later, or set aside where the server
    /// has refused it for good. False where neither could be.
    pub(super) fn keep(&self, ino: InodeNumber, content: &Arc<Content>, error: &FilesystemError) -> bool {
        let Some(journal) = &self.journal else { return false };
        // However long others have the file: nobody may throw away what is here.
        let claim = content.claim_at_last();
        let path = self.file_path(ino).unwrap_or_else(|| content.lock().opened_as().clone());
        match self.commit(Access::Server, ino, &claim) {
            Ok(()) => {
                {
                    let mut state = content.lock();
                    // What is torn there is ours.
                    let is_torn = state.torn;
                    if let Some(pending) = &mut state.pending {
                        pending.check_first = !is_torn;
                    }
                }
                if error.is_final() && self.set_aside(ino, &claim, &error.to_string()) {
                    return true;
                }
                tracing::warn!(%path, %error, "this file could not be uploaded; it is kept, and tried again in the background");
                self.deliver_soon(ino);
                let state = self.state.lock();
                if state.inodes.get(ino).is_some_and(|inode| inode.handles == 0) {
                    content.lock().staging = None;
                }
                true
            }
            Err(not_committed) => {
                let reason = match not_committed {
                    NotCommitted::Failed(failure) => format!("{error}; and {failure}"),
                    NotCommitted::TooMuchMissing | NotCommitted::Stale => error.to_string(),
                };
                self.keep_incomplete(ino, journal, &claim, &path, &reason)
            }
        }
    }

    /// Sets aside what is here of a content that is not whole.
    fn keep_incomplete(
        &self,
        ino: InodeNumber,
        journal: &Journal,
        claim: &Claim,
        path: &RemotePath,
        reason: &str,
    ) -> bool {
        let (staging, missing) = {
            let mut state = claim.content.lock();
            let is_promised = state.pending.is_some();
            let Some(staged) = &mut state.staging else { return is_promised };
            let missing = staged.missing_ranges();
            match staged.take_for_commit() {
                Ok(staging) => (staging, missing),
                Err(error) => {
                    tracing::error!(%path, %error, "what is here of this file stays in the staging folder until the next mount");
                    staged.leave_to_the_next_mount();
                    return false;
                }
            }
        };
        let reason = match missing.as_slice() {
            [] => reason.to_owned(),
            missing => format!("{reason}; these ranges of it are not here, and zeros in the file: {missing:?}"),
        };
        match journal.set_aside_unpromised(&staging, path, &reason) {
            Ok(at) => {
                tracing::error!(%path, at = %at.display(), "what was written to this file could not be uploaded; what is here of it is set aside: {reason}");
                let has_older = {
                    let mut state = claim.content.lock();
                    if state.pending.is_some() {
                        // What was promised before still is, and shows again.
                        state.changed = false;
                        state.staging = None;
                    }
                    state.pending.is_some()
                };
                if has_older {
                    self.deliver_soon(ino);
                } else {
                    self.gave_up(ino, &claim.content, FilesystemError::SetAside { at, reason });
                }
                true
            }
            Err(error) => {
                tracing::error!(%path, %error, "what is here of this file stays in the staging folder until the next mount");
                false
            }
        }
    }

    /// Gives up what is pending of a claimed file that nobody has open: it goes to the set-aside folder, and the name shows
    /// what the server has. False where somebody has it open again.
    pub(super) fn set_aside(&self, ino: InodeNumber, claim: &Claim, reason: &str) -> bool {
        let Some(journal) = &self.journal else { return false };
        let Some(pending) = claim.content.lock().pending.clone() else { return false };
        let is_open = self.state.lock().inodes.get(ino).is_some_and(|inode| inode.handles > 0);
        if is_open {
            return false;
        }
        let path = self.file_path(ino).unwrap_or_else(|| claim.content.lock().opened_as().clone());
        let error = match journal.set_aside(pending.id, reason) {
            Ok(at) => {
                tracing::error!(%path, at = %at.display(), "this file cannot be delivered, and is set aside: {reason}");
                FilesystemError::SetAside { at, reason: reason.into() }
            }
            Err(error) => {
                tracing::error!(%path, %error, "this file cannot be delivered, nor set aside now: {reason}");
                return false;
            }
        };
        self.gave_up(ino, &claim.content, error);
        true
    }

    /// What was promised of a claimed file is over without a delivery: it was replaced on the server.
    pub(super) fn end_promise(&self, ino: InodeNumber, claim: &Claim, id: ContentId) {
        let is_clean = {
            let mut state = claim.content.lock();
            if state.pending_id() == Some(id) {
                state.pending = None;
                state.dirty = state.changed;
            }
            !state.dirty
        };
        if is_clean {
            let place = self.place(ino);
            self.detach(ino, Detached::Removed);
            if let Some((directory, name)) = place {
                self.listings.unpin(&directory, &name);
                self.listings.distrust(&directory, &name, self.clock.instant());
            }
        }
    }

    /// From now on the name shows what the server has.
    pub(super) fn gave_up(&self, ino: InodeNumber, content: &Content, error: FilesystemError) {
        let place = self.place(ino);
        let file = self.dirty_file(ino, content, Instant::now());
        if let Some(file) = file {
            self.lost.lock().push(DirtyFile { error: Some(error), in_journal: false, ..file });
        }
        let was_new = {
            let mut state = content.lock();
            state.dirty = false;
            state.changed = false;
            state.pending = None;
            state.staging = None;
            state.version.is_none()
        };
        if was_new {
            self.supersede(ino);
        }
        self.let_go(ino);
        if let Some((directory, name)) = place {
            // Something of it may be on the server, or all of it; the next question tells.
            self.listings.unpin(&directory, &name);
            self.listings.distrust(&directory, &name, self.clock.instant());
        }
    }

    /// Commits all that the journal can take, for the end of the mount: before the last uploads, which may take longer than there is
    /// time.
    pub fn promise_all(&self) {
        for (ino, content) in self.contents() {
            let is_meant = content.lock().needs_promise();
            let Some(claim) = is_meant.then(|| content.claim(Access::Server, CLAIM_PATIENCE).ok()).flatten() else {
                continue;
            };
            // What it cannot take stays as it is.
            let _ = self.commit(Access::Server, ino, &claim);
        }
    }

    /// Commits what no upload could bring to the server, for the end of the mount. Returns the paths that could be neither
    /// delivered nor kept.
    pub fn keep_all(&self) -> Vec<(RemotePath, FilesystemError)> {
        let mut failed = Vec::new();
        for (ino, content) in self.contents() {
            if !content.lock().needs_promise() {
                continue;
            }
            let path = self.file_path(ino).unwrap_or_else(RemotePath::root);
            let claim = match content.claim(Access::Server, CLAIM_PATIENCE) {
                Ok(claim) => claim,
                Err(error) => {
                    failed.push((path, error));
                    continue;
                }
            };
            let error = match self.commit(Access::Server, ino, &claim) {
                Ok(()) => continue,
                Err(NotCommitted::Failed(error)) => error,
                Err(NotCommitted::TooMuchMissing | NotCommitted::Stale) => FilesystemError::Stale,
            };
            let is_kept = self
                .journal
                .as_ref()
                .is_some_and(|journal| self.keep_incomplete(ino, journal, &claim, &path, &error.to_string()));
            if !is_kept {
                failed.push((path, error));
            }
        }
        failed
    }

    /// What is pending of a file that was removed is over.
    ///
    /// # Errors
    /// The disk's: it may come back at the next mount.
    pub(super) fn drop_pending(&self, file: FileNumber) -> FilesystemResult<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        match try_record(|| journal.dropped(file)) {
            Ok(_) | Err(JournalError::NotPending(_)) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a removed file may come back at the next mount");
                Err(error.into())
            }
        }
    }
}

/// Why a content was not committed.
pub(super) enum NotCommitted {
    /// It lacks so much of the server's version, or of what a stream has sent, that it goes to the server instead.
    TooMuchMissing,
    /// It has no name any more.
    Stale,
    Failed(FilesystemError),
}

/// Writes a record of something that has happened already, more than once where the disk fails.
pub(super) fn try_record<T>(write: impl Fn() -> JournalResult<T>) -> JournalResult<T> {
    let mut attempt = 1;
    loop {
        match write() {
            Err(error @ JournalError::Disk { .. }) if attempt < RECORD_ATTEMPTS => {
                tracing::warn!(%error, attempt, "a record cannot be written");
                thread::sleep(RECORD_PAUSE);
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// A version as the journal has it.
pub(super) fn journal_version(version: &FileVersion) -> Version {
    Version { size: version.size, modified: version.modified, unique: version.unique.clone() }
}

/// The opposite.
pub(super) fn file_version(version: &Version) -> FileVersion {
    FileVersion { size: version.size, modified: version.modified, unique: version.unique.clone() }
}

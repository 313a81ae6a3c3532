//! Bringing what was written to the server.
//!
//! Until the server has proved that it holds the content, the file stays dirty and whoever asked gets the error.

use super::content::{Claim, Content, ContentState, Detached};
use super::promise::{journal_version, try_record};
use super::sending::Sending;
use super::staging::Staging;
use super::streaming::{PIECE_LEN, Stream};
use super::{Access, Durability, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::{FileId, FileVersion};
use crate::protocol::{Entry, Name, RemotePath};
use crate::remote::{Finished, RemoteResult, Stored, Wishes, WriteMode};
use std::ops::Range;
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
        if !claim.content.is_dirty() {
            return Ok(());
        }
        self.server.ask(access)?;
        let begun = claim.stop(self.options.operation_timeout)?;
        if claim.content.lock().detached == Some(Detached::Superseded) {
            return Err(FilesystemError::Stale);
        }
        let (is_pending, is_changed) = {
            let content = claim.content.lock();
            (content.pending.is_some(), content.changed)
        };
        // Never past what was promised before: after a crash that would be delivered over it.
        if is_pending && (!is_changed || self.commit(access, ino, claim).is_ok()) {
            let result = self.deliver_claimed(ino, claim, begun.filter(|_| !is_changed));
            let mut content = claim.content.lock();
            if let Some(id) = content.pending_id() {
                content.hold_open(id, None);
            }
            return result;
        }
        let (directory, name) = self.place(ino).ok_or(FilesystemError::Stale)?;
        let path = directory.join(&name);
        let (finished, mode) = match self.whole_upload(claim) {
            Some(stored) => (stored.into(), None),
            None => {
                let (finished, mode) = self.store(access, ino, claim, begun, &path).inspect_err(|error| {
                    claim.content.lock().lose(error);
                })?;
                (finished, Some(mode))
            }
        };
        self.uploaded(access, ino, claim, &directory, &name, finished, mode)
    }

    /// What the server was proved to hold, where that is all and only time or permissions are still to be set.
    fn whole_upload(&self, claim: &Claim) -> Option<Stored> {
        let content = claim.content.lock();
        let size = content.size();
        (content.uploaded == Some(size)).then_some(Stored { size, modified: None })
    }

    /// Stores the content: what a stream has begun is ended, else only what was changed is sent where that is much less, else
    /// it is stored as a whole.
    fn store(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        begun: Option<Sending>,
        path: &RemotePath,
    ) -> FilesystemResult<(Finished, WriteMode)> {
        let wishes = {
            let content = claim.content.lock();
            Wishes { time: content.time_wanted, mode: content.mode_wanted }
        };
        if let Some(mut sending) = begun {
            let is_append = matches!(sending.mode(), WriteMode::Append { .. });
            match self.send_rest(claim, &mut sending, wishes) {
                // Not able to append, or another client was there: the whole decides.
                Err(FilesystemError::NotSupported { .. } | FilesystemError::Stale) if is_append => {}
                other => return Ok((other?, sending.mode())),
            }
            if claim.content.lock().has_holes() {
                return Err(FilesystemError::Stale);
            }
        }
        if let Some(stored) = self.store_in_place(access, ino, claim, path)? {
            return Ok(stored);
        }
        self.complete(access, ino, claim, path)?;
        let mode = {
            let mut content = claim.content.lock();
            content.stage(&self.staging)?;
            let mode = self.whole_mode(&content);
            content.attempted |= mode == WriteMode::Create;
            mode
        };
        let mut sending = self.sending(path, mode);
        Ok((self.send_rest(claim, &mut sending, wishes)?, mode))
    }

    /// How a content is stored as a whole: what is going to be promised is never half there under its own name.
    pub(super) fn whole_mode(&self, content: &ContentState) -> WriteMode {
        match content.write_mode() {
            WriteMode::Create if self.options.close == Durability::Journal => {
                WriteMode::Replace { mode: content.mode_to_set() }
            }
            mode => mode,
        }
    }

    /// A new upload that nobody is refused.
    pub(super) fn sending(&self, path: &RemotePath, mode: WriteMode) -> Sending {
        let permit = self.staging.allowance.upload();
        Sending::new(self.server.for_thread(), path.clone(), mode, self.options.operation_timeout, permit)
    }

    /// Sends what is left of a claimed file, as often as it is interrupted, until the server has proved it.
    pub(super) fn send_rest(&self, claim: &Claim, sending: &mut Sending, wishes: Wishes) -> FilesystemResult<Finished> {
        loop {
            match try_to_send(claim, sending, wishes)? {
                Ok(finished) => return Ok(finished),
                Err(error) => std::thread::sleep(sending.bear(error)?),
            }
        }
    }

    /// The content is on the server: now time and permissions as they were asked for, and what is known of it here.
    /// `mode` is how it was stored, if that was now.
    #[allow(clippy::too_many_arguments)] // They are one upload's facts, and are used nowhere else.
    fn uploaded(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        directory: &RemotePath,
        name: &Name,
        finished: Finished,
        mode: Option<WriteMode>,
    ) -> FilesystemResult<()> {
        let path = directory.join(name);
        let stored = finished.stored;
        let (mut entry, time_wanted, mode_wanted) = {
            let mut content = claim.content.lock();
            let entry = Entry { name: name.clone(), size: Some(stored.size), unique: None, ..content.entry.clone() };
            // A failure below must not store it again.
            content.version = Some(FileVersion { size: stored.size, modified: stored.modified, unique: None });
            content.uploaded = Some(stored.size);
            content.torn = false;
            if let Some(staging) = &mut content.staging {
                staging.uploaded();
            }
            (entry, content.time_wanted, content.mode_wanted)
        };
        self.server.forget(FileId(ino.0));
        self.server.forget_tree(&path);
        entry.modified = stored.modified.or_else(|| self.time_until_listed());
        let mut has_own_time = stored.modified.is_none();
        if let Some(kept) = finished.time {
            // Asked for with this claim: nothing newer can have been.
            (entry.modified, has_own_time) = (Some(kept), false);
        } else if let Some(time) = time_wanted
            && let Some(kept) = self.set_stored_time(&path, time, &entry)?
        {
            (entry.modified, has_own_time) = (Some(kept), false);
        }
        claim.content.lock().has_own_time = has_own_time;
        let is_new = mode == Some(WriteMode::Create);
        match (mode_wanted, mode) {
            (Some(wanted), Some(WriteMode::Replace { mode: Some(given) })) if wanted == given => {
                entry.mode = self.replaced_mode(&path, wanted);
            }
            (Some(wanted), _) if finished.mode == Some(wanted) => entry.mode = Some(wanted),
            (Some(wanted), _) => entry.mode = self.try_set_mode(access, &path, wanted)?,
            // What the server gave it, only its next listing tells; until then what was asked for is shown.
            (None, _) if is_new => entry.mode = Some(entry.mode.unwrap_or(0o644)),
            (None, _) => {}
        }
        self.over(claim, &path, &entry);
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

    /// What was promised of the file before is over by this upload.
    fn over(&self, claim: &Claim, path: &RemotePath, entry: &Entry) {
        if let Some(journal) = &self.journal {
            journal.tidy();
        }
        let pending = {
            let mut content = claim.content.lock();
            if let Some(staging) = &mut content.staging {
                staging.is_worthless();
            }
            content.pending.take()
        };
        let (Some(journal), Some(pending)) = (&self.journal, pending) else { return };
        let version = FileVersion { size: entry.size.unwrap_or_default(), modified: entry.modified, unique: None };
        if let Err(error) = try_record(|| journal.uploaded(pending.id, path, journal_version(&version))) {
            tracing::error!(%path, %error, "an older content of this file may be taken for undelivered by the next mount");
        }
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
            content.changed = false;
            content.sent = 0;
            content.stream = Stream::Idle;
        }
        if let Some(inode) = state.inodes.get_mut(ino) {
            inode.paged = version;
        }
        self.listings.insert(directory, entry, self.clock.instant());
        self.listings.unpin(directory, &name);
        drop(state);
        // What was fetched ahead of the old content came in before anybody could see that there is a new one: from here on all can.
        self.server.forget_unread(|file| file == FileId(ino.0));
    }

    /// Fetches what the staging file lacks of the server's version.
    pub(super) fn complete(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
    ) -> FilesystemResult<()> {
        self.complete_within(access, ino, claim, path, 0..u64::MAX)
    }

    /// The same for a part of it.
    pub(super) fn complete_within(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
        range: Range<u64>,
    ) -> FilesystemResult<()> {
        loop {
            let (gap, version) = {
                let content = claim.content.lock();
                let Some(staging) = &content.staging else { return Ok(()) };
                let end = range.end.min(staging.size());
                let Some(gap) = staging.first_missing(range.start.min(end)..end) else { return Ok(()) };
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
    /// [`FilesystemError::NotPermitted`] where it is too large for that; what fetching failed with;
    /// [`FilesystemError::TimedOut`] where an upload of it cannot be stopped.
    pub(super) fn preserve(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
    ) -> FilesystemResult<()> {
        // What a stream has begun is not to come back to the name once it is another's, or nobody's.
        claim.stop_delivery(self.options.operation_timeout)?;
        // That one has failed is no reason to keep the file; one that does not stop is.
        match claim.content.take_stream(self.options.operation_timeout) {
            Err(error) if claim.content.lock().is_streaming() => return Err(error),
            _ => {}
        }
        let is_open = self.state.lock().inodes.get(ino).is_some_and(|inode| inode.handles > 0);
        if !is_open {
            return Ok(());
        }
        let missing = claim.content.lock().stage(&self.staging)?.bytes_missing();
        if missing > self.options.preserve_bytes_max {
            return Err(FilesystemError::NotPermitted { what: "removing or replacing an open file of this size" });
        }
        match self.complete(access, ino, claim, path) {
            // Another client was faster: there is nothing left to keep, and those who have it open hear so.
            Err(FilesystemError::NotFound | FilesystemError::Stale) => Ok(()),
            other => other,
        }
    }

    /// Brings everything that is still dirty to the server, and waits for what is delivered in the background; for the end of the mount, and
    /// on demand. Returns the paths that failed.
    pub fn flush_all(&self) -> Vec<(RemotePath, FilesystemError)> {
        let (mut failed, lost_before) = (Vec::new(), self.lost_count());
        for (ino, content) in self.contents() {
            if content.lock().is_promised() {
                self.deliveries.push(ino, self.pending_size(ino), false);
            }
            let is_meant = {
                let state = content.lock();
                state.dirty && !state.is_promised()
            };
            if !is_meant {
                continue;
            }
            let result = match self.options.close {
                Durability::Server => self.upload(Access::Server, ino, &content),
                Durability::Journal => self.promise(Access::Server, ino, &content),
            };
            if let Err(error) = result {
                failed.push((self.file_path(ino).unwrap_or_else(RemotePath::root), error));
            }
        }
        self.deliveries.hurry();
        for (ino, content) in self.contents() {
            let error = {
                let state = content.lock();
                state.is_promised().then(|| state.upload_error.clone())
            };
            if let Some(error) = error {
                let error = error.or_else(|| self.deliveries.paused_by());
                let error = error.unwrap_or_else(|| FilesystemError::TimedOut { during: "its delivery".into() });
                failed.push((self.file_path(ino).unwrap_or_else(RemotePath::root), error));
            }
        }
        let lost = self.lost_files(lost_before).into_iter();
        failed.extend(lost.map(|file| (file.path, file.error.unwrap_or(FilesystemError::Stale))));
        failed
    }
}

/// Sends what is left of a claimed file once.
///
/// # Errors
/// The outer one is the staging file's, and final.
fn try_to_send(claim: &Claim, sending: &mut Sending, wishes: Wishes) -> FilesystemResult<RemoteResult<Finished>> {
    if let Some(bytes) = all_at_hand(claim, sending)? {
        claim.got_on();
        return Ok(sending.send_in_one_go(&bytes).and_then(|()| sending.finish_with(wishes)));
    }
    let kept_from = claim.content.lock().staging.as_ref().map_or(0, Staging::punched_end);
    if let Err(error) = sending.ready(kept_from) {
        return Ok(Err(error));
    }
    loop {
        claim.got_on();
        // Nobody else changes the file while it is claimed, so the pieces are of one content.
        let piece = {
            let content = claim.content.lock();
            let staging = content.staging.as_ref().ok_or(FilesystemError::Stale)?;
            match usize::try_from(sending.left_of(staging.size())).unwrap_or(usize::MAX) {
                0 => break,
                left => staging.read(sending.offset(), left.min(PIECE_LEN))?,
            }
        };
        if let Err(error) = sending.send(&piece) {
            return Ok(Err(error));
        }
    }
    Ok(sending.finish_with(wishes))
}

/// The whole content, where it can be sent in one go.
fn all_at_hand(claim: &Claim, sending: &Sending) -> FilesystemResult<Option<Vec<u8>>> {
    let content = claim.content.lock();
    let staging = content.staging.as_ref().ok_or(FilesystemError::Stale)?;
    let size = staging.size();
    if !sending.is_for_one_go(size) || staging.has_holes() {
        return Ok(None);
    }
    let bytes = staging.read(0, usize::try_from(size).unwrap_or(usize::MAX))?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 == size))
}

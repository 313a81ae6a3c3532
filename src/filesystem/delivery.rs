//! Deliveries: what was promised goes to the server in the background, and what a promise becomes once it is kept.
//!
//! While the bytes are on their way nobody is kept from the file: they are of a content that never changes. Whoever has the
//! claim and needs the name stops the delivery, and gets what it has begun. From before its last step to its record the delivery
//! has the claim itself.
//!
//! Not here: who is delivered when (`queue`), what the server may have instead (`conflict`).

use super::conflict::Verdict;
use super::content::{Claim, Content, Delivery, Detached, Pending};
use super::promise::{journal_version, try_record};
use super::queue::Outcome;
use super::sending::Sending;
use super::streaming::{PIECE_LEN, Stream};
use super::{Access, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::{FileId, FileVersion};
use crate::journal::{JournalError, Sealed};
use crate::protocol::{Entry, Name, RemotePath, Timestamp};
use crate::remote::{Finished, RemoteError, Stored, Wishes, WriteMode};
use std::sync::Arc;
use std::time::Duration;

/// How long a delivery waits for its turn at a file before it lets another one go first.
const TURN: Duration = Duration::from_secs(1);

/// What is delivered, and where to.
struct Parcel {
    pending: Pending,
    sealed: Arc<Sealed>,
    directory: RemotePath,
    name: Name,
    path: RemotePath,
}

/// What is to be done with a claimed file.
enum Task {
    Send(Parcel, WriteMode),
    /// The server has it, and only time and permissions are to be set.
    Settle(Parcel, Stored),
    /// Nothing: removed, or delivered by somebody else.
    Nothing,
    Later,
    /// It has another name by now.
    Again,
    SetAside(String),
}

/// Where a delivery in the background got to.
enum Sent {
    All(Claim, Finished),
    /// Somebody has the claim, and takes over what was begun.
    Stopped,
}

impl Filesystem {
    /// Has what is pending of a file delivered in a moment. The connections that this takes are logged in meanwhile.
    pub(super) fn deliver_soon(&self, ino: InodeNumber) {
        self.deliveries.push(ino, self.pending_size(ino), true);
        self.server.prepare(self.deliveries.at_once());
    }

    /// How many bytes are pending of a file.
    pub(super) fn pending_size(&self, ino: InodeNumber) -> u64 {
        let content = self.content_of(ino);
        content.and_then(|content| Some(content.lock().pending.as_ref()?.size)).unwrap_or_default()
    }

    /// Delivers what is pending of a file.
    pub(super) fn deliver(&self, ino: InodeNumber) -> Outcome {
        let Some(content) = self.content_of(ino) else { return Outcome::Done };
        let Ok(claim) = content.claim(Access::Server, TURN) else { return Outcome::Later };
        let failed = claim.content.lock().pending_id();
        let path_before = self.file_path(ino);
        let task = self.task(ino, &claim, false);
        let result = match task {
            Ok(Task::Send(parcel, mode)) => self.deliver_parcel(ino, claim, parcel, mode),
            Ok(Task::Settle(parcel, stored)) => {
                self.delivered(ino, &claim, &parcel, stored.into()).map(|()| Outcome::Done)
            }
            Ok(Task::Nothing) => Ok(Outcome::Done),
            Ok(Task::Later | Task::Again) => Ok(Outcome::Later),
            Ok(Task::SetAside(reason)) => Ok(self.refused(ino, &claim, &reason)),
            Err(error) => Err(error),
        };
        if let Some(id) = failed {
            content.lock().hold_open(id, None);
        }
        let error = match result {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        content.lock().upload_error = Some(error.clone());
        let path = self.file_path(ino).unwrap_or_else(|| content.lock().opened_as().clone());
        tracing::warn!(%path, %error, "a file could not be delivered");
        if error.is_final() {
            return match content.claim(Access::Server, TURN) {
                // What was refused may have another name by now, or be another content.
                Ok(claim) if self.file_path(ino) != path_before || claim.content.lock().pending_id() != failed => {
                    Outcome::Later
                }
                Ok(claim) => self.refused(ino, &claim, &error.to_string()),
                Err(_) => Outcome::Later,
            };
        }
        if let Some(pending) = &mut content.lock().pending {
            pending.check_first = true;
        }
        match error {
            FilesystemError::Unreachable { .. }
            | FilesystemError::LoginRefused { .. }
            | FilesystemError::TimedOut { .. } => Outcome::Unreachable(error),
            _ => Outcome::Failed,
        }
    }

    /// The server has said no for good.
    fn refused(&self, ino: InodeNumber, claim: &Claim, reason: &str) -> Outcome {
        // Where somebody has it open, there is still somebody to tell.
        if self.set_aside(ino, claim, reason) { Outcome::Done } else { Outcome::Failed }
    }

    /// Delivers what is pending of a claimed file while the caller waits; `begun` is what a delivery or stream has left.
    ///
    /// # Errors
    /// The server's; what is pending stays so.
    pub(super) fn deliver_claimed(
        &self,
        ino: InodeNumber,
        claim: &Claim,
        begun: Option<Sending>,
    ) -> FilesystemResult<()> {
        // Asked of the server already when that was begun; and it may hold the only connection.
        let id = claim.content.lock().pending_id();
        let begun = begun.filter(|sending| id.is_some_and(|id| sending.is_meant_for(id)));
        let (parcel, mode) = match self.task(ino, claim, begun.is_some())? {
            Task::Send(parcel, mode) => (parcel, mode),
            Task::Settle(parcel, stored) => return self.delivered(ino, claim, &parcel, stored.into()),
            Task::Nothing => return Ok(()),
            Task::Again => return self.deliver_claimed(ino, claim, begun),
            Task::Later => return Err(FilesystemError::TimedOut { during: "another promise of the same file".into() }),
            Task::SetAside(reason) => return Err(FilesystemError::Failed { reason }),
        };
        let mut sending = self.begun_or_new(begun, &parcel, mode);
        let got_on = |_| {
            claim.got_on();
            true
        };
        let finished = loop {
            let error = match send(&parcel, &mut sending, got_on) {
                Ok(_all) => {
                    claim.got_on();
                    claim.content.lock().attempted = true;
                    match sending.finish_with(wishes(&claim.content, &parcel.pending)) {
                        Ok(finished) => break finished,
                        Err(error) => error,
                    }
                }
                Err(Trouble::Disk(error)) => return Err(error),
                Err(Trouble::Server(error)) => error,
            };
            std::thread::sleep(sending.bear(error)?);
        };
        claim.content.lock().is_stored(parcel.pending.id, finished.stored);
        self.delivered(ino, claim, &parcel, finished)
    }

    /// What is to be delivered of a claimed file, and how.
    fn task(&self, ino: InodeNumber, claim: &Claim, has_begun: bool) -> FilesystemResult<Task> {
        let Some(journal) = &self.journal else { return Ok(Task::Nothing) };
        let Some(pending) = claim.content.lock().pending.clone() else { return Ok(Task::Nothing) };
        if claim.content.lock().detached == Some(Detached::Removed) {
            return Ok(Task::Nothing);
        }
        self.settle_renames_of(&pending)?;
        let Some((directory, name)) = self.place(ino) else {
            return Ok(Task::SetAside("another client has removed the directory that it was in".into()));
        };
        let sealed = match journal.open_pending(pending.id) {
            Ok(sealed) => Arc::new(sealed),
            // A commit that is not durable yet may still take its place, or not.
            Err(JournalError::NotPending(_)) if journal.pending_of(pending.id.file).is_some() => {
                return Ok(Task::Later);
            }
            Err(JournalError::NotPending(_)) => {
                tracing::warn!(%ino, content = %pending.id, "what was promised of this file is over");
                self.end_promise(ino, claim, pending.id);
                return Ok(Task::Nothing);
            }
            Err(error) => return Err(error.into()),
        };
        claim.content.lock().hold_open(pending.id, Some(&sealed));
        let path = directory.join(&name);
        let parcel = Parcel { pending, sealed, path, directory, name };
        if let Some(stored) = parcel.pending.stored {
            return Ok(Task::Settle(parcel, stored));
        }
        let is_old = parcel.pending.committed_at.elapsed() >= self.options.dir_timeout;
        // What is torn there is ours.
        let is_torn = claim.content.lock().torn;
        if is_torn || has_begun || !parcel.pending.check_first && !is_old {
            let mode = WriteMode::Replace { mode: parcel.pending.mode };
            return Ok(Task::Send(parcel, mode));
        }
        let verdict = self.compare(ino, claim, &parcel.pending, &parcel.sealed, &parcel.path)?;
        Ok(match verdict {
            Verdict::Store { mode } => Task::Send(parcel, WriteMode::Replace { mode }),
            Verdict::AlreadyThere(stored) => Task::Settle(parcel, stored),
            Verdict::Beside => Task::Again,
            Verdict::SetAside(reason) => Task::SetAside(reason),
        })
    }

    /// A new upload, unless what was begun is the beginning of this one.
    fn begun_or_new(&self, begun: Option<Sending>, parcel: &Parcel, mode: WriteMode) -> Sending {
        let mut sending = match begun {
            Some(sending) if sending.is_of(parcel.pending.id, &parcel.path, parcel.pending.size) => sending,
            // First, for it removes what it has left on the server.
            begun => {
                drop(begun);
                self.sending(&parcel.path, mode)
            }
        };
        sending.belongs_to(parcel.pending.id);
        sending
    }

    fn deliver_parcel(
        &self,
        ino: InodeNumber,
        claim: Claim,
        parcel: Parcel,
        mode: WriteMode,
    ) -> FilesystemResult<Outcome> {
        let begun = claim.content.take_stream(self.options.operation_timeout)?;
        let content = Arc::clone(&claim.content);
        content.lock().delivery = Delivery::UnderWay;
        let end = EndOfDelivery(&content);
        drop(claim);
        let sending = self.begun_or_new(begun, &parcel, mode);
        let sent = send_in_background(&content, &parcel, sending);
        match sent {
            Ok(Sent::All(claim, finished)) => {
                drop(end);
                content.lock().is_stored(parcel.pending.id, finished.stored);
                self.delivered(ino, &claim, &parcel, finished)?;
                Ok(Outcome::Done)
            }
            Ok(Sent::Stopped) => Ok(Outcome::Later),
            Err(error) => Err(error),
        }
    }

    /// The server has proved to have what was pending of a claimed file: now its time and permissions, the record, and what is
    /// known of it here.
    fn delivered(&self, ino: InodeNumber, claim: &Claim, parcel: &Parcel, finished: Finished) -> FilesystemResult<()> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let stored = finished.stored;
        let Parcel { pending, directory, name, path, .. } = parcel;
        // What was asked for meanwhile is newer; while the claim is held nothing more is.
        let (modified, mode) = {
            let state = claim.content.lock();
            let current = state.pending.as_ref().filter(|current| current.id == pending.id).unwrap_or(pending);
            (current.modified, current.mode)
        };
        let known = claim.content.lock().entry.clone();
        let mut entry = Entry { name: name.clone(), size: Some(stored.size), unique: None, ..known };
        entry.modified = stored.modified.or_else(|| self.time_until_listed());
        let mut is_time_ours = stored.modified.is_none();
        if let Some(kept) = finished.time {
            // Asked for with this claim: nothing newer can have been.
            (entry.modified, is_time_ours) = (Some(kept), false);
        } else if let Some(time) = modified
            && let Some(kept) = self.set_stored_time(path, time, &entry)?
        {
            (entry.modified, is_time_ours) = (Some(kept), false);
        }
        if let Some(mode) = mode {
            entry.mode = match finished.mode {
                Some(kept) if kept == mode => Some(mode),
                _ => self.try_set_mode(Access::Server, path, mode)?,
            };
        }
        // Nothing more is asked of the server.
        self.deliveries.has_stored(ino);
        // Who reads it now goes on reading this: with the record its staging file has no name any more.
        claim.content.lock().stage(&self.staging)?;
        let version = FileVersion::of(&entry);
        let told = FileVersion { size: stored.size, modified: entry.modified.filter(|_| !is_time_ours), unique: None };
        match try_record(|| journal.uploaded(pending.id, path, journal_version(&told))) {
            Ok(_) | Err(JournalError::NotPending(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.server.forget(FileId(ino.0));
        self.server.forget_tree(path);
        let mut state = self.state.lock();
        let is_clean = {
            let mut content = claim.content.lock();
            let is_newest = content.pending_id() == Some(pending.id);
            if is_newest {
                content.pending = None;
                content.upload_error = None;
                content.dirty = content.changed;
            }
            content.version.clone_from(&version);
            content.has_own_time = is_time_ours;
            content.attempted = true;
            content.uploaded = (!content.changed).then_some(stored.size);
            content.torn = false;
            content.sent = 0;
            if !content.dirty {
                content.entry = entry.clone();
                content.time_wanted = None;
                content.mode_wanted = None;
                content.stream = Stream::Idle;
            }
            !content.dirty
        };
        if is_clean {
            if let Some(inode) = state.inodes.get_mut(ino) {
                inode.paged.clone_from(&version);
            }
            self.listings.insert(directory, entry, self.clock.instant());
            self.listings.unpin(directory, name);
            state.let_go(ino);
        }
        drop(state);
        // As in `settle`: what was fetched ahead of the old content meanwhile goes too.
        self.server.forget_unread(|file| file == FileId(ino.0));
        Ok(())
    }

    /// Sets the time of what was just stored, and returns it as the server keeps it; `None` where it cannot.
    ///
    /// # Errors
    /// Only where it may work the next time.
    pub(super) fn set_stored_time(
        &self,
        path: &RemotePath,
        time: Timestamp,
        entry: &Entry,
    ) -> FilesystemResult<Option<Timestamp>> {
        match self.server.ask(Access::Server)?.set_modified(path, time) {
            Ok(kept) => return Ok(Some(kept)),
            Err(error) if error.is_worth_another_try() => return Err(error.into()),
            // The content is there: that it shall not have this time is no reason to call it lost.
            Err(RemoteError::Unsupported { .. }) => {}
            Err(error) => tracing::warn!(%path, %error, "the time could not be set; shown for this mount only"),
        }
        self.overrides.set_modified(path, time, entry);
        Ok(None)
    }

    /// What nobody has open and is on the server is not kept in mind.
    pub(super) fn let_go(&self, ino: InodeNumber) {
        self.state.lock().let_go(ino);
    }
}

impl super::State {
    /// What nobody has open and is on the server is not kept in mind.
    pub(super) fn let_go(&mut self, ino: InodeNumber) {
        let Some(inode) = self.inodes.get_mut(ino) else { return };
        if inode.handles == 0
            && let Some(content) = inode.content.take_if(|content| !content.is_dirty())
        {
            content.lock().staging = None;
        }
        self.inodes.drop_unused(ino);
    }
}

/// Why sending has come to an end.
enum Trouble {
    /// The local disk's error.
    Disk(FilesystemError),
    Server(RemoteError),
}

impl From<RemoteError> for Trouble {
    fn from(error: RemoteError) -> Self {
        Self::Server(error)
    }
}

/// Sends what is left; before each piece `go_on` hears how far it is, and false from it ends the sending, as is then returned.
fn send(parcel: &Parcel, sending: &mut Sending, mut go_on: impl FnMut(u64) -> bool) -> Result<bool, Trouble> {
    if sending.is_for_one_go(parcel.pending.size) {
        return send_in_one_go(parcel, sending, go_on);
    }
    sending.ready(0)?;
    while sending.offset() < parcel.pending.size {
        if !go_on(sending.offset()) {
            return Ok(false);
        }
        let piece = parcel.sealed.read(sending.offset(), PIECE_LEN).map_err(|error| Trouble::Disk(error.into()))?;
        if piece.is_empty() {
            return Err(cut_short());
        }
        sending.send(&piece)?;
    }
    Ok(true)
}

/// As [`send`], for what is small.
fn send_in_one_go(parcel: &Parcel, sending: &mut Sending, mut go_on: impl FnMut(u64) -> bool) -> Result<bool, Trouble> {
    let size = parcel.pending.size;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        let piece = parcel.sealed.read(bytes.len() as u64, PIECE_LEN).map_err(|error| Trouble::Disk(error.into()))?;
        if piece.is_empty() {
            return Err(cut_short());
        }
        bytes.extend_from_slice(&piece);
    }
    if !go_on(0) {
        return Ok(false);
    }
    sending.send_in_one_go(&bytes)?;
    Ok(true)
}

fn cut_short() -> Trouble {
    Trouble::Disk(FilesystemError::LocalStorage { reason: "a staging file was cut short".into() })
}

/// Sends all of it, and finishes it with the claim; or leaves it to who wants the claim.
fn send_in_background(content: &Arc<Content>, parcel: &Parcel, mut sending: Sending) -> FilesystemResult<Sent> {
    loop {
        let error = match send(parcel, &mut sending, |sent| may_go_on(content, sent)) {
            Ok(false) => return Ok(leave(content, sending)),
            Ok(true) => {
                // Who has it may need the connection.
                let claim = content.claim_now().or_else(|| {
                    sending.give_way();
                    content.claim_unless_stopping()
                });
                let Some(claim) = claim else { return Ok(leave(content, sending)) };
                claim.got_on();
                // From here on something of it may be there under its name, whatever is heard of it.
                content.lock().attempted = true;
                match sending.finish_with(wishes(content, &parcel.pending)) {
                    Ok(finished) => return Ok(Sent::All(claim, finished)),
                    Err(error) => error,
                }
            }
            Err(Trouble::Disk(error)) => return Err(error),
            Err(Trouble::Server(error)) => error,
        };
        let pause = sending.bear(error)?;
        if content.wait_for_stop(pause) {
            return Ok(leave(content, sending));
        }
    }
}

/// What a promised content is to have; what was asked for since it was taken up is newer.
fn wishes(content: &Content, pending: &Pending) -> Wishes {
    let state = content.lock();
    let current = state.pending.as_ref().filter(|current| current.id == pending.id).unwrap_or(pending);
    Wishes { time: current.modified, mode: current.mode }
}

/// Notes how far a delivery is; false where somebody wants it to stop.
fn may_go_on(content: &Content, sent: u64) -> bool {
    let mut state = content.lock();
    if state.delivery == Delivery::Stopping {
        return false;
    }
    state.sent = sent;
    true
}

/// Gives what was begun to who waits for it. Where nobody does any more it is given up, and its connection with it.
fn leave(content: &Content, sending: Sending) -> Sent {
    let mut state = content.lock();
    if state.busy {
        state.stream = Stream::Stopped(sending);
    }
    Sent::Stopped
}

/// However a delivery ends, those who wait for it hear of it.
struct EndOfDelivery<'a>(&'a Content);

impl Drop for EndOfDelivery<'_> {
    fn drop(&mut self) {
        self.0.lock().delivery = Delivery::None;
        self.0.notify();
    }
}

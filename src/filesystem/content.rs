//! What is known of an open file's content: which version, what is written over it, and whether it is on the server.
//!
//! While a file is open its version stays the same: a changed one gets another inode, so that no read can mix two.
//! Once something is written here, this side decides what the file is until it is uploaded.

use super::allowance::Room;
use super::sending::Sending;
use super::staging::{Staging, StagingArea};
use super::streaming::Stream;
use super::{Access, FilesystemError, FilesystemResult};
use crate::cache::FileVersion;
use crate::journal::{ContentId, Sealed, Version};
use crate::protocol::{Entry, RemotePath, Timestamp};
use crate::remote::{Stored, WriteMode};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often somebody who waits looks by himself.
const SLOWEST_LOOK: Duration = Duration::from_millis(100);

/// The content of one open file.
pub(super) struct Content {
    state: Mutex<ContentState>,
    settled: Condvar,
}

/// Why an open file has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detached {
    /// This mount removed or replaced it: as with any unlinked file, what is written to it goes with the last close.
    Removed,
    /// Another client did: writing to it fails, for whoever writes does not know.
    Superseded,
}

/// A content that is in the journal, and waits for its delivery.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) id: ContentId,
    pub(super) size: u64,
    /// The modification time that the file shall get.
    pub(super) modified: Option<Timestamp>,
    /// The permission bits that it shall get.
    pub(super) mode: Option<u32>,
    /// The server is to be asked what it has before it is stored: another client may have been there meanwhile.
    pub(super) check_first: bool,
    /// The journal was damaged behind it: it may have been delivered, moved or removed already.
    pub(super) doubtful: bool,
    /// When it was promised, or read from the journal.
    pub(super) committed_at: Instant,
    /// The server is proved to have it; only its time, its permissions or the record are missing.
    pub(super) stored: Option<Stored>,
    /// Open while it is delivered: the record that it is over comes before anybody here knows, and takes the file away.
    pub(super) sealed: Option<Arc<Sealed>>,
    /// What it takes of the local disk, until it is over.
    pub(super) _room: Arc<Room>,
}

/// What goes on in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    None,
    UnderWay,
    /// Whoever has the claim waits for it to stop.
    Stopping,
}

/// See [`Content`].
pub(super) struct ContentState {
    /// What the server says of it; for a file that is not there yet, what it will say.
    pub(super) entry: Entry,
    /// The content on the server; `None` while the file exists on this side alone.
    pub(super) version: Option<FileVersion>,
    /// Whether the time in `version` is of our clock, as long as the server has told none.
    pub(super) has_own_time: bool,
    /// What is written over it. Where nobody has the file open, what is pending stays closed until it is read.
    pub(super) staging: Option<Staging>,
    /// Whether the server lacks something of it.
    pub(super) dirty: bool,
    /// What the journal has promised of it, and the server is not proved to have.
    pub(super) pending: Option<Pending>,
    /// Whether there is more here than was promised.
    pub(super) changed: bool,
    /// Whether what is pending is on its way to the server, in the background.
    pub(super) delivery: Delivery,
    /// Bytes that are on their way or on the server.
    pub(super) sent: u64,
    /// The path it was opened by: should we be killed, the staging file is known by it.
    opened_as: RemotePath,
    /// Since when, where it is.
    pub(super) dirty_since: Instant,
    /// Why the last upload failed; nothing where it did not.
    pub(super) upload_error: Option<FilesystemError>,
    /// Handles open for writing.
    pub(super) writers: u32,
    /// A modification time that was asked for, to be set once the content is there.
    pub(super) time_wanted: Option<Timestamp>,
    /// Permission bits that were asked for, the same.
    pub(super) mode_wanted: Option<u32>,
    /// Why it has no name any more; nothing of it is uploaded then.
    pub(super) detached: Option<Detached>,
    /// Whether an upload of a new file was tried, so that something of it may be on the server.
    pub(super) attempted: bool,
    /// What goes to the server already while it is written.
    pub(super) stream: Stream,
    /// The server is proved to have so many bytes and no more, and none of them has been changed here.
    pub(super) uploaded: Option<u64>,
    /// It was begun to be written in place, and not proved: the server's file is partly this content and partly the one before.
    pub(super) torn: bool,
    /// An upload, a rename or a removal is under way; whoever changes the file waits for its end.
    pub(super) busy: bool,
    /// It waits for the local disk, which has no deadline.
    at_the_disk: bool,
    /// When that last got on.
    progress: Instant,
}

impl Content {
    /// The content of a file on the server.
    pub(super) fn of_version(path: RemotePath, entry: Entry, version: FileVersion) -> Arc<Self> {
        Self::new(path, entry, Some(version))
    }

    /// The content of a file that is not on the server yet.
    pub(super) fn of_new_file(path: RemotePath, entry: Entry) -> Arc<Self> {
        Self::new(path, entry, None)
    }

    /// The content of a file that an earlier mount has promised; `version` is what the server had then.
    pub(super) fn of_pending(
        path: RemotePath,
        entry: Entry,
        version: Option<FileVersion>,
        pending: Pending,
    ) -> Arc<Self> {
        let content = Self::new(path, entry, version);
        {
            let mut state = content.lock();
            state.dirty = true;
            state.changed = false;
            state.attempted = true;
            // That is the server's content, and not this one.
            state.uploaded = None;
            state.pending = Some(pending);
        }
        content
    }

    fn new(path: RemotePath, entry: Entry, version: Option<FileVersion>) -> Arc<Self> {
        let state = ContentState {
            entry,
            dirty: version.is_none(),
            changed: version.is_none(),
            has_own_time: false,
            pending: None,
            delivery: Delivery::None,
            sent: 0,
            opened_as: path,
            dirty_since: Instant::now(),
            upload_error: None,
            uploaded: version.as_ref().map(|version| version.size),
            version,
            staging: None,
            writers: 0,
            time_wanted: None,
            mode_wanted: None,
            detached: None,
            attempted: false,
            stream: Stream::Idle,
            torn: false,
            busy: false,
            at_the_disk: false,
            progress: Instant::now(),
        };
        Arc::new(Self { state: Mutex::new(state), settled: Condvar::new() })
    }

    /// What is known now, also while an upload is under way.
    pub(super) fn lock(&self) -> MutexGuard<'_, ContentState> {
        self.state.lock()
    }

    /// Waits for the end of an upload, rename or removal; what is then locked may be changed.
    ///
    /// # Errors
    /// [`FilesystemError::WouldWait`]; [`FilesystemError::TimedOut`] when it has not got on for `patience`.
    pub(super) fn lock_settled(
        &self,
        access: Access,
        patience: Duration,
    ) -> FilesystemResult<MutexGuard<'_, ContentState>> {
        let mut state = self.state.lock();
        while state.busy {
            if access == Access::MemoryOnly {
                return Err(FilesystemError::WouldWait);
            }
            let deadline = state.progress + patience;
            if self.settled.wait_until(&mut state, deadline.max(Instant::now() + SLOWEST_LOOK)).timed_out()
                && state.busy
                && !state.at_the_disk
                && state.progress + patience <= deadline
            {
                return Err(FilesystemError::TimedOut { during: "another operation on the same file".into() });
            }
        }
        Ok(state)
    }

    /// Keeps all others from changing the file until the result is dropped.
    ///
    /// # Errors
    /// As for [`Self::lock_settled`].
    pub(super) fn claim(self: &Arc<Self>, access: Access, patience: Duration) -> FilesystemResult<Claim> {
        let state = self.lock_settled(access, patience)?;
        Ok(self.take_claim(state))
    }

    /// As [`Self::claim`], for who must have it, however long that takes.
    pub(super) fn claim_at_last(self: &Arc<Self>) -> Claim {
        let mut state = self.state.lock();
        while state.busy {
            self.settled.wait(&mut state);
        }
        self.take_claim(state)
    }

    /// As [`Self::claim`], for a delivery that is under way: `None` where whoever has the claim waits for it to stop, or did so until it
    /// was too long: by then the name may be another's.
    pub(super) fn claim_unless_stopping(self: &Arc<Self>) -> Option<Claim> {
        let mut state = self.state.lock();
        while state.busy && state.delivery != Delivery::Stopping {
            self.settled.wait(&mut state);
        }
        (state.delivery != Delivery::Stopping).then(|| self.take_claim(state))
    }

    /// The same without waiting; `None` where somebody has it as well.
    pub(super) fn claim_now(self: &Arc<Self>) -> Option<Claim> {
        let state = self.state.lock();
        (!state.busy && state.delivery != Delivery::Stopping).then(|| self.take_claim(state))
    }

    fn take_claim(self: &Arc<Self>, mut state: MutexGuard<'_, ContentState>) -> Claim {
        state.busy = true;
        state.progress = Instant::now();
        Claim { content: Arc::clone(self) }
    }

    /// Waits for `pause`, or until the delivery that is under way is to stop; says whether it is.
    pub(super) fn wait_for_stop(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.state.lock();
        while state.delivery != Delivery::Stopping {
            if self.settled.wait_until(&mut state, deadline).timed_out() {
                return state.delivery == Delivery::Stopping;
            }
        }
        true
    }

    /// Wakes all who wait for a change.
    pub(super) fn notify(&self) {
        self.settled.notify_all();
    }

    /// Waits for a change; true where it did not come in time.
    pub(super) fn wait_until(&self, state: &mut MutexGuard<'_, ContentState>, deadline: Instant) -> bool {
        self.settled.wait_until(state, deadline).timed_out()
    }

    /// Whether it differs from what is on the server.
    pub(super) fn is_dirty(&self) -> bool {
        self.state.lock().dirty
    }
}

impl ContentState {
    /// How many bytes the file has here.
    pub(super) fn size(&self) -> u64 {
        match (&self.staging, &self.pending) {
            (Some(staging), _) => staging.size(),
            (None, Some(pending)) => pending.size,
            (None, None) => self.version.as_ref().map_or(0, |version| version.size),
        }
    }

    /// Whether this side decides what the file is, rather than the server.
    pub(super) fn is_authority(&self) -> bool {
        self.dirty || self.detached.is_some()
    }

    /// What stat shows, where this side decides.
    pub(super) fn shown_by_authority(&self) -> Option<Entry> {
        self.is_authority().then(|| self.shown())
    }

    /// Takes its name.
    pub(super) fn detach(&mut self, why: Detached) {
        self.detached = self.detached.or(Some(why));
        self.drop_stream();
        if why == Detached::Removed {
            self.dirty = false;
            self.changed = false;
            self.pending = None;
        }
    }

    /// What stat shows of it.
    pub(super) fn shown(&self) -> Entry {
        let mut entry = self.entry.clone();
        entry.size = Some(self.size());
        entry.mode = self.mode_wanted.or(entry.mode);
        entry.modified = self.time_wanted.or(entry.modified);
        entry
    }

    /// The staging file, begun if there is none; sealed where its content is promised.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn stage(&mut self, area: &StagingArea) -> FilesystemResult<&mut Staging> {
        let staging = match (self.staging.take(), &self.pending, &area.journal) {
            (Some(staging), _, _) => staging,
            (None, Some(Pending { sealed: Some(sealed), .. }), _) => Staging::sealed(area, Arc::clone(sealed)),
            (None, Some(pending), Some(journal)) => Staging::sealed(area, Arc::new(journal.open_pending(pending.id)?)),
            (None, _, _) => {
                let base_len = self.version.as_ref().map_or(0, |version| version.size);
                Staging::new(area, base_len, &self.opened_as)?
            }
        };
        Ok(self.staging.insert(staging))
    }

    /// The path it was opened by.
    pub(super) fn opened_as(&self) -> &RemotePath {
        &self.opened_as
    }

    /// Whether what is here is promised, so that writing on needs another staging file.
    pub(super) fn is_sealed(&self) -> bool {
        match &self.staging {
            Some(staging) => staging.is_sealed(),
            None => self.pending.is_some(),
        }
    }

    /// Which content is pending.
    pub(super) fn pending_id(&self) -> Option<ContentId> {
        self.pending.as_ref().map(|pending| pending.id)
    }

    /// What is pending stays open as long as it is on its way.
    pub(super) fn hold_open(&mut self, id: ContentId, sealed: Option<&Arc<Sealed>>) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.id == id) {
            pending.sealed = sealed.cloned();
        }
    }

    /// The server is proved to have what is pending.
    pub(super) fn is_stored(&mut self, id: ContentId, stored: Stored) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.id == id) {
            pending.stored = Some(stored);
        }
    }

    /// Whether all of it is in the journal.
    pub(super) fn is_promised(&self) -> bool {
        self.pending.is_some() && !self.changed
    }

    /// Whether something of it is neither on the server nor promised, and has a name to be promised under.
    pub(super) fn needs_promise(&self) -> bool {
        self.dirty && !self.is_promised() && self.detached.is_none()
    }

    /// What the server has, as far as it has told so.
    pub(super) fn base(&self) -> Option<Version> {
        let version = self.version.as_ref()?;
        let modified = version.modified.filter(|_| !self.has_own_time);
        Some(Version { size: version.size, modified, unique: version.unique.clone() })
    }

    /// The permission bits that the file shall have: those asked for, else those of the file that it replaces.
    pub(super) fn mode_to_set(&self) -> Option<u32> {
        let given = self.version.as_ref().and(self.entry.mode);
        self.mode_wanted.or(given)
    }

    /// How the whole content becomes the file.
    pub(super) fn write_mode(&self) -> WriteMode {
        match self.version {
            Some(_) => WriteMode::Replace { mode: self.mode_to_set() },
            None => WriteMode::Create,
        }
    }

    /// Whether somebody takes over what a stream has begun.
    pub(super) fn is_awaited(&self) -> bool {
        self.busy || self.delivery != Delivery::None
    }

    /// Notes that the file was changed at `time`.
    pub(super) fn touch(&mut self, time: Timestamp) {
        if !self.dirty {
            self.dirty_since = Instant::now();
        }
        self.dirty = self.detached != Some(Detached::Removed);
        self.changed = self.dirty;
        if let Some(staging) = &mut self.staging {
            staging.is_worth_keeping(&self.opened_as);
        }
        self.time_wanted = None;
        self.entry.modified = Some(time);
    }
}

/// The right to upload, rename or remove a file; several are taken in ascending order of inode numbers.
pub(super) struct Claim {
    pub(super) content: Arc<Content>,
}

impl Claim {
    /// Ends what goes to the server by itself, a delivery or a stream, and returns what it has begun, if that is of use. It is to be
    /// used or dropped before anything else is asked of the server: it may hold the only connection.
    ///
    /// # Errors
    /// Why the content is lost; [`FilesystemError::TimedOut`].
    pub(super) fn stop(&self, patience: Duration) -> FilesystemResult<Option<Sending>> {
        self.stop_delivery(patience)?;
        self.content.take_stream(patience)
    }

    /// The delivery's part of [`Self::stop`].
    ///
    /// # Errors
    /// [`FilesystemError::TimedOut`]: it does not stop.
    pub(super) fn stop_delivery(&self, patience: Duration) -> FilesystemResult<()> {
        let mut state = self.content.lock();
        // Each of its own waits has a deadline; this one is the net beneath them.
        let deadline = Instant::now() + patience * 4;
        self.content.notify();
        while state.delivery != Delivery::None {
            state.delivery = Delivery::Stopping;
            self.content.notify();
            if self.content.wait_until(&mut state, deadline) && state.delivery != Delivery::None {
                return Err(FilesystemError::TimedOut { during: "a delivery of the same file".into() });
            }
        }
        Ok(())
    }

    /// The local disk is waited for, and by others as long as it takes, until the result is dropped.
    pub(super) fn is_at_the_disk(&self) -> AtTheDisk<'_> {
        self.content.state.lock().at_the_disk = true;
        AtTheDisk(self)
    }

    /// Tells those who wait that there is hope.
    pub(super) fn got_on(&self) {
        self.content.state.lock().progress = Instant::now();
        self.content.settled.notify_all();
    }
}

/// See [`Claim::is_at_the_disk`].
pub(super) struct AtTheDisk<'a>(&'a Claim);

impl Drop for AtTheDisk<'_> {
    fn drop(&mut self) {
        self.0.content.state.lock().at_the_disk = false;
        self.0.got_on();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.content.state.lock().busy = false;
        self.content.settled.notify_all();
    }
}

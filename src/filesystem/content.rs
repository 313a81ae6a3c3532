//! What is known of an open file's content: which version, what is written over it, and whether it is on the server.
//!
//! While a file is open its version stays the same: a changed one gets another inode, so that no read can mix two.
//! Once something is written here, this side decides what the file is until it is uploaded.

use super::staging::{Staging, StagingArea};
use super::streaming::Stream;
use super::{Access, FilesystemError, FilesystemResult};
use crate::cache::FileVersion;
use crate::protocol::{Entry, Timestamp};
use crate::remote::WriteMode;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// See [`Content`].
pub(super) struct ContentState {
    /// What the server says of it; for a file that is not there yet, what it will say.
    pub(super) entry: Entry,
    /// The content on the server; `None` while the file exists on this side alone.
    pub(super) version: Option<FileVersion>,
    /// What is written over it.
    pub(super) staging: Option<Staging>,
    /// Whether the server lacks something of it.
    pub(super) dirty: bool,
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
    busy: bool,
    /// When that last got on.
    progress: Instant,
}

impl Content {
    /// The content of a file on the server.
    pub(super) fn of_version(entry: Entry, version: FileVersion) -> Arc<Self> {
        Self::new(entry, Some(version))
    }

    /// The content of a file that is not on the server yet.
    pub(super) fn of_new_file(entry: Entry) -> Arc<Self> {
        Self::new(entry, None)
    }

    fn new(entry: Entry, version: Option<FileVersion>) -> Arc<Self> {
        let state = ContentState {
            entry,
            dirty: version.is_none(),
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
            if self.settled.wait_until(&mut state, deadline).timed_out()
                && state.busy
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
        let mut state = self.lock_settled(access, patience)?;
        state.busy = true;
        state.progress = Instant::now();
        Ok(Claim { content: Arc::clone(self) })
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
        let version = || self.version.as_ref().map_or(0, |version| version.size);
        self.staging.as_ref().map_or_else(version, Staging::size)
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

    /// The staging file, begun if there is none.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn stage(&mut self, area: &StagingArea) -> FilesystemResult<&mut Staging> {
        let staging = match self.staging.take() {
            Some(staging) => staging,
            None => {
                let base_len = self.version.as_ref().map_or(0, |version| version.size);
                Staging::new(&area.directory, base_len, &area.allowance)?
            }
        };
        Ok(self.staging.insert(staging))
    }

    /// How the whole content becomes the file.
    pub(super) fn write_mode(&self) -> WriteMode {
        match self.version {
            Some(_) => WriteMode::Replace { mode: self.mode_wanted.or(self.entry.mode) },
            None => WriteMode::Create,
        }
    }

    /// Whether an upload, a rename or a removal is under way.
    pub(super) fn is_claimed(&self) -> bool {
        self.busy
    }

    /// Notes that the file was changed at `time`.
    pub(super) fn touch(&mut self, time: Timestamp) {
        if !self.dirty {
            self.dirty_since = Instant::now();
        }
        self.dirty = self.detached != Some(Detached::Removed);
        self.time_wanted = None;
        self.entry.modified = Some(time);
    }
}

/// The right to upload, rename or remove a file; several are taken in ascending order of inode numbers.
pub(super) struct Claim {
    pub(super) content: Arc<Content>,
}

impl Claim {
    /// Tells those who wait that there is hope.
    pub(super) fn got_on(&self) {
        self.content.state.lock().progress = Instant::now();
        self.content.settled.notify_all();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.content.state.lock().busy = false;
        self.content.settled.notify_all();
    }
}

//! The file of records: append, sync, and write anew.
//!
//! Whoever appends a record waits in [`Log::sync`] until it is on the disk. One thread syncs for all that wait (group commit), and
//! only a sync makes a [`Durable`]: who has one may act on what the record says.
//!
//! The table of what is pending lies behind the same lock, because it must be what the records say: a record is applied
//! when it is appended, and taken back when its sync fails.
//!
//! ```text
//!              append fails, cut back             sync fails, cut back fails, or a new file's name is not synced
//! Whole ◀──────────────────────────── Whole ──────────────────────────────────▶ Broken
//!   ▲                                                                              │ the next append
//!   └─────────────── the table is written to a new file ───────────────────────────┘
//! ```
//! After a failed sync the old file is not trusted any more: Linux marks pages that could not be written as clean, so a
//! second sync would succeed and prove nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::disk::Disk;
use super::error::{JournalError, JournalResult};
use super::record::{FileNumber, HEADER_LEN, MAGIC, Record, VERSION};
use super::table::Table;

/// The journal's length from which on it may be written anew.
const COMPACT_LEN_MIN: u64 = 1 << 20;
/// It is, once it is this many times as long as what is still true of it.
const COMPACT_RATIO: u64 = 10;
/// Space kept free behind the last record, so that on a full disk it can still be written down that a content has reached
/// the server: only then may its staging file go, and the disk have space again.
const RESERVE_LEN: u64 = 128 << 10;

/// Proof that a record is on the local disk; only `Log::sync` makes one.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Durable(());

/// Records that are appended and not known to be on the disk.
#[must_use = "nothing is promised before it is synced"]
pub(super) struct Appended(Arc<Outcome>);

/// How the sync of a record ended, once it has.
struct Outcome {
    result: OnceLock<Result<(), JournalError>>,
}

/// The records of one mounted directory, and the table that they amount to.
///
/// One lock, held while a record is appended and while the journal is written anew, not during a sync.
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    state: Mutex<State>,
    /// Told whenever a sync has ended.
    synced: Condvar,
}

struct State {
    /// `None` while broken.
    file: Option<Arc<File>>,
    /// Where the next record goes.
    len: u64,
    /// Up to where space is reserved.
    reserved: u64,
    /// The next record's. Never used twice, so that one that comes back from a failed write is told from its successor.
    sequence: u64,
    /// How often the file was replaced: a sync that began before says nothing of the new one.
    replaced: u64,
    is_syncing: bool,
    /// The length at which to look again whether most of it is over.
    compact_at: u64,
    /// What all records say.
    current: Table,
    /// What those say that are on the disk.
    durable: Table,
    /// The records between the two, each with its sequence number and how its sync ends.
    tail: VecDeque<(u64, Record, Arc<Outcome>)>,
}

/// What was found of a journal, as far as going on with it needs.
pub(super) struct Found {
    /// The journal as it is, open for writing, and its length; `None` where there is none.
    pub(super) file: Option<(File, u64)>,
    /// The first sequence number that was not used.
    pub(super) sequence: u64,
    /// What its records say.
    pub(super) table: Table,
    /// Whether it may be written anew: not while there are damaged bytes in it that could not be copied elsewhere.
    pub(super) may_be_replaced: bool,
}

impl Log {
    /// Goes on with what was found: written anew, so that nothing damaged stands before what is appended.
    ///
    /// Where that fails (a full disk, above all), an existing journal is continued as it is: what is pending can then be
    /// delivered, which makes space.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn open(disk: Arc<dyn Disk>, directory: &Path, found: Found) -> JournalResult<Self> {
        let (file, len) = found.file.map_or((None, 0), |(file, len)| (Some(Arc::new(file)), len));
        let state = State {
            file,
            len,
            reserved: 0,
            sequence: found.sequence,
            replaced: 0,
            is_syncing: false,
            compact_at: COMPACT_LEN_MIN,
            durable: found.table.clone(),
            current: found.table,
            tail: VecDeque::new(),
        };
        let log = Self { disk, directory: directory.to_owned(), state: Mutex::new(state), synced: Condvar::new() };
        let mut state = log.state.lock();
        if (found.may_be_replaced || state.file.is_none())
            && let Err(error) = log.rewrite(&mut state)
        {
            if state.file.is_none() {
                return Err(error);
            }
            tracing::warn!(%error, "the journal is continued as it is, since it cannot be written anew");
        }
        // A mount that was killed may have left records that only memory has; what follows from them must not come before them.
        if let Some(file) = &state.file {
            log.disk.sync(file).map_err(JournalError::disk("syncing the journal"))?;
        }
        drop(state);
        Ok(log)
    }

    /// Looks at what all records say, those included whose sync is awaited.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Table) -> T) -> T {
        at(&self.state.lock().current)
    }

    /// A number that no file has had.
    pub(super) fn new_file(&self) -> FileNumber {
        self.state.lock().current.new_file()
    }

    /// Appends the records that `make` chooses, all or none; choosing none costs nothing. It sees the table as it is when they are appended.
    ///
    /// # Errors
    /// What `make` failed with; the disk's. The table is as before then.
    pub(super) fn append(
        &self,
        space: Space,
        make: impl FnOnce(&mut Table) -> JournalResult<Vec<Record>>,
    ) -> JournalResult<Appended> {
        let mut state = self.state.lock();
        let records = make(&mut state.current)?;
        if records.is_empty() {
            return Ok(Appended(Arc::new(Outcome { result: OnceLock::from(Ok(())) })));
        }
        if state.file.is_none() {
            self.rewrite(&mut state)?;
        }
        // These two are written by those who must not wait for a disk's sync.
        let may_compact =
            !records.iter().all(|record| matches!(record, Record::Begun { .. } | Record::Discarded { .. }));
        let sequence = state.sequence;
        let mut bytes = Vec::new();
        let mut next = sequence;
        for record in &records {
            record.encode(next, &mut bytes)?;
            next = next.saturating_add(1);
        }
        self.write(&mut state, &bytes, space).map_err(JournalError::disk("writing the journal"))?;
        // One for all of them: their bytes are synced by the same sync.
        let outcome = Arc::new(Outcome { result: OnceLock::new() });
        for (sequence, record) in (sequence..).zip(records) {
            state.current.apply(sequence, &record);
            state.tail.push_back((sequence, record, outcome.clone()));
        }
        state.sequence = next;
        if may_compact {
            self.compact_if_due(&mut state);
        }
        Ok(Appended(outcome))
    }

    /// Writes bytes behind the last record, or nothing.
    fn write(&self, state: &mut State, bytes: &[u8], space: Space) -> io::Result<()> {
        let Some(file) = state.file.clone() else { return Err(io::Error::other("the journal is broken")) };
        let end = state.len.saturating_add(bytes.len() as u64);
        if space == Space::LeaveReserve && end.saturating_add(RESERVE_LEN) > state.reserved {
            let len = bytes.len() as u64 + 2 * RESERVE_LEN;
            self.disk.reserve(&file, state.len, len)?;
            state.reserved = state.len.saturating_add(len);
        }
        if let Err(error) = self.disk.write_all_at(&file, bytes, state.len) {
            // What was written of it must not be taken for its successor's.
            state.sequence = state.sequence.saturating_add(1 << 16);
            if let Err(error) = self.disk.set_len(&file, state.len) {
                tracing::warn!(%error, "a record cut short cannot be cut off; the journal has to be written anew");
                state.file = None;
            }
            return Err(error);
        }
        state.len = end;
        Ok(())
    }

    /// Waits until what was appended is on the disk.
    ///
    /// # Errors
    /// The disk's: nothing that was not durable before is promised then, and the table is as it was without it.
    pub(super) fn sync(&self, appended: &Appended) -> JournalResult<Durable> {
        let mut state = self.state.lock();
        loop {
            match appended.0.result.get() {
                Some(Ok(())) => return Ok(Durable(())),
                Some(Err(error)) => return Err(error.clone()),
                None if state.is_syncing => self.synced.wait(&mut state),
                None => self.sync_tail(&mut state),
            }
        }
    }

    /// Syncs for all who wait.
    fn sync_tail(&self, state: &mut MutexGuard<'_, State>) {
        let Some(file) = state.file.clone() else {
            if let Err(error) = self.rewrite(state) {
                state.fail_tail(&error);
                self.synced.notify_all();
            }
            return;
        };
        let (replaced, end) = (state.replaced, state.sequence);
        state.is_syncing = true;
        let result = MutexGuard::unlocked(state, || self.disk.sync(&file));
        state.is_syncing = false;
        if state.replaced == replaced {
            match result {
                Ok(()) => state.settle_tail(end),
                Err(error) => {
                    state.file = None;
                    state.fail_tail(&JournalError::disk("syncing the journal")(error));
                }
            }
        }
        self.synced.notify_all();
    }

    /// Writes the journal anew, where that is due: for those who can wait for the disk.
    pub(super) fn tidy(&self) {
        self.compact_if_due(&mut self.state.lock());
    }

    /// Writes the journal anew where most of it is about what is over. A failure costs nothing but the space.
    fn compact_if_due(&self, state: &mut State) {
        if state.len < state.compact_at || state.file.is_none() {
            return;
        }
        let mut bytes = Vec::new();
        let live_len = state.current.encode(0, &mut bytes).map_or(state.len, |_| bytes.len() as u64);
        if live_len.saturating_mul(COMPACT_RATIO) > state.len {
            state.compact_at = live_len.saturating_mul(COMPACT_RATIO).max(COMPACT_LEN_MIN);
        } else if let Err(error) = self.rewrite(state) {
            tracing::warn!(%error, "the journal cannot be written anew and grows on");
            state.compact_at = state.len.saturating_mul(2);
        }
    }

    /// Writes the table to a new file, which takes the journal's place. All that is appended is on the disk then.
    ///
    /// # Errors
    /// The disk's. The journal is then as before, or broken where nobody can tell which of the two a power loss would leave.
    fn rewrite(&self, state: &mut State) -> JournalResult<()> {
        let (file, len, sequence) = self.write_new(state)?;
        let replace = || {
            self.disk.rename(&new_journal_path(&self.directory), &journal_path(&self.directory))?;
            self.disk.sync_directory(&self.directory)
        };
        state.replaced += 1;
        let result = replace().map_err(JournalError::disk("replacing the journal"));
        if let Err(error) = result {
            state.file = None;
            state.fail_tail(&error);
            self.synced.notify_all();
            return Err(error);
        }
        state.file = Some(Arc::new(file));
        state.len = len;
        state.reserved = len + 2 * RESERVE_LEN;
        state.compact_at = len.saturating_mul(COMPACT_RATIO).max(COMPACT_LEN_MIN);
        state.settle_tail(u64::MAX);
        state.sequence = sequence;
        state.current.forget_over();
        state.durable.forget_over();
        self.synced.notify_all();
        Ok(())
    }

    /// The new file, complete and synced under its own name; its length; and the next record's sequence number.
    fn write_new(&self, state: &State) -> JournalResult<(File, u64, u64)> {
        let mut bytes = [&MAGIC[..], &VERSION[..]].concat();
        debug_assert_eq!(bytes.len(), HEADER_LEN, "the header is what readers skip");
        let sequence = state.current.encode(state.sequence, &mut bytes)?;
        let len = bytes.len() as u64;
        let path = new_journal_path(&self.directory);
        let write = || {
            // The new journal does not speak of staging files that are over; they must not come back.
            self.disk.sync_directory(&staging_directory(&self.directory))?;
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.disk.create(&path)?;
            self.disk.reserve(&file, 0, len + 2 * RESERVE_LEN)?;
            self.disk.write_all_at(&file, &bytes, 0)?;
            self.disk.sync(&file)?;
            Ok(file)
        };
        let file = write().map_err(JournalError::disk("writing the journal anew"))?;
        Ok((file, len, sequence))
    }
}

/// Whether a record may use the space that is kept for the end of what is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// For what makes more pending.
    LeaveReserve,
    /// For what makes less.
    UseReserve,
}

impl State {
    /// All records before `end` are on the disk.
    fn settle_tail(&mut self, end: u64) {
        while self.tail.front().is_some_and(|(sequence, ..)| *sequence < end) {
            let Some((sequence, record, outcome)) = self.tail.pop_front() else { return };
            self.durable.apply(sequence, &record);
            // Set already by another record of the same append, or for the first time.
            let _ = outcome.result.set(Ok(()));
        }
    }

    /// Nobody knows which of the records are on the disk: none of them is promised.
    fn fail_tail(&mut self, error: &JournalError) {
        for (.., outcome) in self.tail.drain(..) {
            let _ = outcome.result.set(Err(error.clone()));
        }
        let numbers = self.current.numbers();
        self.current = self.durable.clone();
        self.current.apply(0, &numbers);
    }
}

/// The journal of a state directory.
pub(super) fn journal_path(directory: &Path) -> PathBuf {
    directory.join("journal")
}

/// Where a journal lies while it is written anew.
fn new_journal_path(directory: &Path) -> PathBuf {
    directory.join("journal.new")
}

/// The folder of the staging files of a state directory.
pub(super) fn staging_directory(directory: &Path) -> PathBuf {
    directory.join("staging")
}

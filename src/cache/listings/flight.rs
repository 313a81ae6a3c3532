//! One question in flight per directory: the first asks, the others wait for its answer.

use super::Table;
use super::snapshot::Snapshot;
use crate::protocol::{Entry, Name, RemotePath};
use crate::remote::{RemoteError, RemoteResult};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What those who wait are told: the directory as it is then, or `None` where they are to look again.
type Outcome = RemoteResult<Option<Arc<Snapshot>>>;

/// Where the answer is put.
pub(super) struct Landing {
    begun: Instant,
    /// Nobody waits for it but those who join.
    ahead: bool,
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

/// One's part in a question.
pub enum Flight {
    /// Ask, then bring the answer.
    Lead(Lead),
    /// Somebody asks already.
    Follow(Follower),
}

/// The duty to end a question. Dropped without an answer (a panic), it fails for those who wait.
pub struct Lead {
    table: Arc<Mutex<Table>>,
    landing: Arc<Landing>,
    directory: RemotePath,
    id: u64,
    begun: Instant,
    done: bool,
}

impl Lead {
    /// Directory, its number, and when the question began.
    pub(super) fn identity(&self) -> (&RemotePath, u64, Instant) {
        (&self.directory, self.id, self.begun)
    }

    /// Nobody waits for the answer but perhaps those who have joined; they look after it themselves.
    pub fn give_up(mut self) {
        self.land(Ok(None));
    }

    /// Whether it is still the one whose answer is kept.
    pub(super) fn is_current(&self, flights: &Flights) -> bool {
        flights.landing.as_ref().is_some_and(|landing| Arc::ptr_eq(landing, &self.landing))
    }

    pub(super) fn finish(mut self, outcome: RemoteResult<Arc<Snapshot>>) {
        self.land(outcome.map(Some));
    }

    /// Ends a question about times; what it brought has been laid over the entries already.
    pub fn finish_times(mut self, outcome: RemoteResult<()>) {
        self.land(outcome.map(|()| None));
    }

    fn land(&mut self, outcome: Outcome) {
        self.done = true;
        {
            let mut table = self.table.lock();
            if let Some(found) = table.directories.peek_mut(&self.directory) {
                found.listing.leave(&self.landing);
                found.times.leave(&self.landing);
            }
        }
        *self.landing.outcome.lock() = Some(outcome);
        self.landing.landed.notify_all();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.done {
            self.land(Err(RemoteError::Failed { reason: "the listing was given up".into() }));
        }
    }
}

/// One who waits for another's question.
pub struct Follower {
    landing: Arc<Landing>,
    directory: RemotePath,
}

impl Follower {
    /// Whether it is a question that nobody waited for when it went out.
    pub fn is_ahead(&self) -> bool {
        self.landing.ahead
    }

    pub(super) fn directory(&self) -> &RemotePath {
        &self.directory
    }

    pub(super) fn landing(&self) -> &Arc<Landing> {
        &self.landing
    }

    /// When the question went out: its answer may be as old as that.
    pub fn begun(&self) -> Instant {
        self.landing.begun
    }

    /// Waits at most for `patience`; the inner `None` says that the cache is to be looked at again.
    ///
    /// # Errors
    /// The question's own, or [`RemoteError::TimedOut`].
    pub fn wait(&self, patience: Duration) -> RemoteResult<Option<Arc<Snapshot>>> {
        let deadline = Instant::now() + patience;
        let mut outcome = self.landing.outcome.lock();
        while outcome.is_none() {
            if self.landing.landed.wait_until(&mut outcome, deadline).timed_out() {
                break;
            }
        }
        outcome.clone().unwrap_or_else(|| Err(RemoteError::TimedOut { during: "another one's listing".into() }))
    }
}

/// The question in flight for one directory, and what changed here since it began.
#[derive(Default)]
pub(super) struct Flights {
    landing: Option<Arc<Landing>>,
    changes: HashMap<Name, Option<Entry>>,
}

impl Flights {
    pub(super) fn begin(
        &mut self,
        table: Arc<Mutex<Table>>,
        directory: &RemotePath,
        id: u64,
        now: Instant,
        ahead: bool,
    ) -> Flight {
        if let Some(landing) = &self.landing {
            return Flight::Follow(Follower { landing: Arc::clone(landing), directory: directory.clone() });
        }
        let landing = Arc::new(Landing { begun: now, ahead, outcome: Mutex::new(None), landed: Condvar::new() });
        self.landing = Some(Arc::clone(&landing));
        self.changes.clear();
        Flight::Lead(Lead { table, landing, directory: directory.clone(), id, begun: now, done: false })
    }

    /// When the question in flight went out.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.landing.as_ref().map(|landing| landing.begun)
    }

    pub(super) fn is_flying(&self) -> bool {
        self.landing.is_some()
    }

    #[cfg(test)]
    pub(super) fn followers(&self) -> usize {
        // Ours and the leader's are not those of one who waits.
        self.landing.as_ref().map_or(0, |landing| Arc::strong_count(landing).saturating_sub(2))
    }

    /// Notes what the answer in flight may not know.
    pub(super) fn changed(&mut self, name: &Name, entry: Option<&Entry>) {
        if self.landing.is_some() {
            self.changes.insert(name.clone(), entry.cloned());
        }
    }

    /// What was noted of a name is not believed any more.
    pub(super) fn distrusted(&mut self, name: &Name) {
        self.changes.remove(name);
    }

    pub(super) fn take_changes(&mut self) -> HashMap<Name, Option<Entry>> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn leave(&mut self, landing: &Arc<Landing>) {
        if self.landing.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, landing)) {
            self.orphan();
        }
    }

    pub(super) fn orphan(&mut self) {
        self.landing = None;
        self.changes.clear();
    }
}

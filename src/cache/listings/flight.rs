//! One question in flight per directory: the first asks, the others wait for its answer.

use super::Table;
use super::snapshot::{Record, Snapshot};
use crate::protocol::{Entry as ListedEntry, Name, RemotePath};
use crate::remote::{RemoteError, RemoteResult};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What those who wait are told: the directory as it is then, or `None` where they are to look again.
type Outcome = RemoteResult<Option<Arc<Snapshot>>>;

/// Where the answer is put.
pub(super) struct Landing {
    begun: Instant,
    /// Nobody waits for it but those who join.
    ahead: bool,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// How far an answer has come.
#[derive(Default)]
struct Progress {
    /// What has come so far of a listing that comes in parts, each name once.
    shown: Vec<Arc<Record>>,
    places: HashMap<Name, usize>,
    outcome: Option<Outcome>,
}

impl Progress {
    fn show(&mut self, record: Arc<Record>) {
        if let Entry::Vacant(place) = self.places.entry(record.entry.name.clone()) {
            place.insert(self.shown.len());
            self.shown.push(record);
        }
    }
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

    /// Shows entries of a listing that has not come to its end.
    pub fn show(&self, entries: impl IntoIterator<Item = ListedEntry>) {
        let mut progress = self.landing.progress.lock();
        for entry in entries {
            progress.show(Arc::new(Record::new(entry, self.begun)));
        }
        drop(progress);
        self.landing.changed.notify_all();
    }

    /// What it has shown so far and shows from now on.
    pub fn coming(&self) -> Coming {
        Coming { landing: Arc::clone(&self.landing) }
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
        let mut progress = self.landing.progress.lock();
        if let (Ok(Some(snapshot)), false) = (&outcome, progress.shown.is_empty()) {
            // What came in no part: links that another listing tells of, and what was made here meanwhile.
            snapshot.entries_from(0).for_each(|(_, record)| progress.show(Arc::clone(record)));
        }
        progress.outcome = Some(outcome);
        drop(progress);
        self.landing.changed.notify_all();
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
        let mut progress = self.landing.progress.lock();
        while progress.outcome.is_none() {
            if self.landing.changed.wait_until(&mut progress, deadline).timed_out() {
                break;
            }
        }
        progress.outcome.clone().unwrap_or_else(|| Err(timed_out()))
    }

    /// As [`Self::wait`], until there is something to show at the latest.
    ///
    /// # Errors
    /// As for [`Self::wait`].
    pub fn wait_shown(&self, patience: Duration) -> RemoteResult<Shown> {
        let coming = Coming { landing: Arc::clone(&self.landing) };
        coming.wait(0, patience);
        let progress = self.landing.progress.lock();
        match progress.outcome.clone() {
            Some(outcome) => outcome.map(Shown::Landed),
            None if progress.shown.is_empty() => Err(timed_out()),
            None => Ok(Shown::Coming(coming.clone())),
        }
    }
}

fn timed_out() -> RemoteError {
    RemoteError::TimedOut { during: "another one's listing".into() }
}

/// What one who waits for a listing is shown first.
pub enum Shown {
    /// All of it, as [`Follower::wait`] says.
    Landed(Option<Arc<Snapshot>>),
    /// Its beginning.
    Coming(Coming),
}

/// Part of a listing on its way, and all of it once it has come to its end.
pub type ComingPage = (Vec<Arc<Record>>, Option<Arc<Snapshot>>);

/// A listing on its way, as those see it who read it before its end. A place is a cookie, as in a [`Snapshot`].
#[derive(Clone)]
pub struct Coming {
    landing: Arc<Landing>,
}

impl Coming {
    /// When the listing began.
    pub fn begun(&self) -> Instant {
        self.landing.begun
    }

    /// Up to `records_max` records from place `first` on, and all of the listing once it has come to its end: then there are no others.
    ///
    /// # Errors
    /// The listing's own.
    pub fn page(&self, first: usize, records_max: usize) -> RemoteResult<ComingPage> {
        let progress = self.landing.progress.lock();
        let landed = match progress.outcome.clone().transpose()? {
            Some(None) => return Err(RemoteError::Failed { reason: "the listing was given up".into() }),
            landed => landed.flatten(),
        };
        Ok((progress.shown.iter().skip(first).take(records_max).cloned().collect(), landed))
    }

    /// Whether it has come to its end.
    pub fn has_landed(&self) -> bool {
        self.landing.progress.lock().outcome.is_some()
    }

    /// Waits until there is a record at place `first`, or the end, and says whether that came; at most for `patience` while nothing comes at all.
    pub fn wait(&self, first: usize, patience: Duration) -> bool {
        let mut progress = self.landing.progress.lock();
        while progress.outcome.is_none() && progress.shown.len() <= first {
            let before = progress.shown.len();
            let waited = self.landing.changed.wait_for(&mut progress, patience);
            if waited.timed_out() && progress.outcome.is_none() && progress.shown.len() == before {
                return false;
            }
        }
        true
    }
}

/// The question in flight for one directory, and what changed here since it began.
#[derive(Default)]
pub(super) struct Flights {
    landing: Option<Arc<Landing>>,
    changes: HashMap<Name, Option<ListedEntry>>,
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
        let landing = Arc::new(Landing { begun: now, ahead, progress: Mutex::default(), changed: Condvar::new() });
        self.landing = Some(Arc::clone(&landing));
        self.changes.clear();
        Flight::Lead(Lead { table, landing, directory: directory.clone(), id, begun: now, done: false })
    }

    /// When the question in flight went out.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.landing.as_ref().map(|landing| landing.begun)
    }

    /// What the question in flight has shown of `name`, where nothing was changed here since it began.
    pub(super) fn shown(&self, name: &Name) -> Option<Arc<Record>> {
        let landing = self.landing.as_ref().filter(|_| !self.changes.contains_key(name))?;
        let progress = landing.progress.lock();
        progress.shown.get(*progress.places.get(name)?).cloned()
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
    pub(super) fn changed(&mut self, name: &Name, entry: Option<&ListedEntry>) {
        if self.landing.is_some() {
            self.changes.insert(name.clone(), entry.cloned());
        }
    }

    /// What was noted of a name is not believed any more.
    pub(super) fn distrusted(&mut self, name: &Name) {
        self.changes.remove(name);
    }

    pub(super) fn take_changes(&mut self) -> HashMap<Name, Option<ListedEntry>> {
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

//! What is asked of the server before anybody needs it, in threads of its own.
//!
//! Demand comes first: all of it goes over connections that nobody waits for ([`crate::remote::Remote::idle_connection`]), and where there is none
//! it is not done. It fails in silence, since nobody has asked; and where the server cannot be reached it rests, longer each time.
//!
//! What is asked ahead: directories in use, listed again before their listings are too old (`cache::listings` says which and when);
//! directories that a walk comes to next (`walk`); small files that are read next (`files`). The last two are guesses, and what they
//! may cost is bounded (`guesses`).

mod account;
mod files;
mod guesses;
mod order;
mod walk;

use super::{Access, Filesystem};
use crate::cache::listings::Flight;
use crate::protocol::{Name, RemotePath};
use crate::remote::{Errand, IdleConnection, OperationKind, RemoteError, counted_as};
use guesses::Guesses;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Jobs that may wait; one more is not done.
const JOBS_MAX: usize = 256;
/// Directories that are listed again at once.
const RENEWALS_MAX: usize = 2;
/// How long a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing is tried after the first failure to reach the server; doubled with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such rest.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A fetch that is under way is waited for at least so long by who needs the file.
const FETCH_PATIENCE_MIN: Duration = Duration::from_millis(50);
/// And so long at most: then it is asked for anew.
const FETCH_PATIENCE_MAX: Duration = Duration::from_secs(1);
/// How long a thread without work stays.
const IDLE_LEAVE: Duration = Duration::from_secs(5);

/// One thing to be asked ahead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Job {
    /// List a directory again that is in use.
    Renew(RemotePath),
    /// List a directory that a walk comes to.
    List(RemotePath),
    /// Fetch a small file that is read next.
    Read(RemotePath),
}

impl Job {
    fn errand(&self) -> Errand<'_> {
        match self {
            Self::Renew(directory) | Self::List(directory) => Errand::List(directory),
            Self::Read(_) => Errand::Fetch,
        }
    }
}

/// What was asked ahead so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AheadUsage {
    /// Directories in use that were listed again.
    pub renewals: u64,
    /// Directories that programs listed.
    pub listings_wanted: u64,
    /// Listings guessed that were then asked for.
    pub listings_used: u64,
    /// Listings guessed that were not.
    pub listings_wasted: u64,
    /// Bytes of files that programs read.
    pub bytes_wanted: u64,
    /// Bytes of files guessed that were then read.
    pub bytes_used: u64,
    /// Bytes of files guessed that were not.
    pub bytes_wasted: u64,
}

/// See the module's documentation. Its lock is one of the innermost.
pub(super) struct Ahead {
    /// 0: nothing is done ahead.
    threads_max: usize,
    state: Mutex<State>,
    changed: Condvar,
    renewals: AtomicU64,
    bytes_wanted: AtomicU64,
    /// Its lock is held together with no other.
    guesses: Mutex<Guesses>,
}

#[derive(Default)]
struct State {
    filesystem: Weak<Filesystem>,
    jobs: VecDeque<Job>,
    /// Those that wait, and those under way.
    pending: HashSet<Job>,
    running: HashSet<Job>,
    /// About how long the fetch of a file takes.
    usual_fetch: Duration,
    threads: usize,
    idle: usize,
    paused_until: Option<Instant>,
    pause: Duration,
    closed: bool,
}

impl Ahead {
    pub(super) fn new(threads_max: usize) -> Arc<Self> {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        let guesses = Mutex::new(Guesses::default());
        let (renewals, bytes_wanted) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { threads_max, state, changed, renewals, bytes_wanted, guesses })
    }

    /// Begins to take jobs.
    pub(super) fn begin(&self, filesystem: &Arc<Filesystem>) {
        self.state.lock().filesystem = Arc::downgrade(filesystem);
    }

    /// Takes no more jobs; those under way end.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn usage(&self) -> AheadUsage {
        let guesses = self.guesses.lock();
        AheadUsage {
            renewals: self.renewals.load(Ordering::Relaxed),
            listings_wanted: guesses.listings.wanted,
            listings_used: guesses.listings.used,
            listings_wasted: guesses.listings.wasted,
            bytes_wanted: self.bytes_wanted.load(Ordering::Relaxed),
            bytes_used: guesses.bytes.used,
            bytes_wasted: guesses.bytes.wasted,
        }
    }

    /// Whether anything is done ahead at all.
    fn is_on(&self) -> bool {
        self.threads_max > 0
    }

    fn is_pending(&self, job: &Job) -> bool {
        self.state.lock().pending.contains(job)
    }

    /// So many bytes of a file are asked for by somebody who waits.
    pub(super) fn want_bytes(&self, bytes: u64) {
        self.bytes_wanted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits for a job that is under way, about as long as it usually takes; one that has not begun is not done any more.
    fn await_running(&self, job: &Job) {
        let mut state = self.state.lock();
        if let Some(place) = state.jobs.iter().position(|other| other == job) {
            state.jobs.remove(place);
            state.pending.remove(job);
            drop(state);
            return self.end_guess(job, None);
        }
        let deadline = Instant::now() + (state.usual_fetch * 2).clamp(FETCH_PATIENCE_MIN, FETCH_PATIENCE_MAX);
        while state.running.contains(job) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    /// Enters what came of a guess: of use, in vain, or not made at all.
    fn end_guess(&self, job: &Job, outcome: Option<bool>) {
        let now = Instant::now();
        match job {
            Job::Renew(_) => {}
            Job::List(directory) => self.guesses.lock().listing_ended(directory, outcome, now),
            Job::Read(path) => self.guesses.lock().fetch_ended(path, outcome, now),
        }
    }

    /// Has a job done soon; false where it cannot be. Never waits.
    pub(super) fn push(self: &Arc<Self>, job: Job) -> bool {
        let mut state = self.state.lock();
        let rests = state.paused_until.is_some_and(|until| until > Instant::now());
        if self.threads_max == 0 || state.closed || rests || state.jobs.len() >= JOBS_MAX {
            return false;
        }
        let renewals = || state.pending.iter().filter(|job| matches!(job, Job::Renew(_))).count();
        if matches!(job, Job::Renew(_)) && renewals() >= RENEWALS_MAX || !state.pending.insert(job.clone()) {
            return false;
        }
        match job {
            // Somebody will need it within a second.
            Job::Renew(_) => state.jobs.push_front(job),
            Job::List(_) | Job::Read(_) => state.jobs.push_back(job),
        }
        if state.idle < state.jobs.len() && state.threads < self.threads_max {
            let ahead = Arc::clone(self);
            match thread::Builder::new().name("ftpfs-ahead".into()).spawn(move || ahead.serve()) {
                Ok(_) => state.threads += 1,
                Err(error) => tracing::debug!(%error, "no thread to ask ahead"),
            }
        }
        self.changed.notify_all();
        true
    }

    /// Whether nothing is under way or waits.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.state.lock().pending.is_empty()
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            let Some(job) = state.jobs.pop_front() else {
                state.idle += 1;
                let waited = self.changed.wait_for(&mut state, IDLE_LEAVE);
                state.idle -= 1;
                if waited.timed_out() && state.jobs.is_empty() {
                    break;
                }
                continue;
            };
            let filesystem = Weak::clone(&state.filesystem);
            state.running.insert(job.clone());
            drop(state);
            let begun = Instant::now();
            let outcome =
                catch_unwind(AssertUnwindSafe(|| counted_as(OperationKind::Guess, || run(&filesystem, &job))));
            let done = outcome.unwrap_or_else(|_| {
                tracing::error!(?job, "what was asked ahead panicked; please report this");
                None
            });
            self.end_guess(&job, done.as_ref().map(|done| matches!(done, Ok(true))));
            state = self.state.lock();
            state.running.remove(&job);
            state.pending.remove(&job);
            let dropped = match &done {
                Some(Ok(_)) => {
                    state.succeeded(&job, begun.elapsed());
                    Vec::new()
                }
                Some(Err(error)) => state.failed(&job, error),
                None => Vec::new(),
            };
            if let (Job::Renew(_), Some(Ok(true))) = (&job, &done) {
                self.renewals.fetch_add(1, Ordering::Relaxed);
            }
            self.changed.notify_all();
            drop(state);
            dropped.iter().for_each(|job| self.end_guess(job, None));
            if let (Job::List(_), Some(Ok(true))) = (&job, &done) {
                go_on(&filesystem);
            }
            state = self.state.lock();
        }
        state.threads -= 1;
    }
}

impl State {
    fn succeeded(&mut self, job: &Job, took: Duration) {
        self.pause = Duration::ZERO;
        if let Job::Read(_) = job {
            // The newest counts for a quarter.
            self.usual_fetch = if self.usual_fetch.is_zero() { took } else { (self.usual_fetch * 3 + took) / 4 };
        }
    }

    /// Takes note of a failure, and returns the jobs that are not done because of it.
    fn failed(&mut self, job: &Job, error: &RemoteError) -> Vec<Job> {
        tracing::debug!(?job, %error, "asked ahead in vain");
        let is_away = matches!(
            error,
            RemoteError::Unreachable { .. }
                | RemoteError::TimedOut { .. }
                | RemoteError::LoginRefused { .. }
                | RemoteError::Protocol { .. }
                | RemoteError::Encryption(_)
        );
        if !is_away {
            return Vec::new();
        }
        self.pause = self.pause.saturating_mul(2).clamp(PAUSE, PAUSE_MAX);
        self.paused_until = Some(Instant::now() + self.pause);
        let dropped: Vec<Job> = self.jobs.drain(..).collect();
        for job in &dropped {
            self.pending.remove(job);
        }
        dropped
    }
}

/// Lets a walk go on from where it was last seen, with what is known by now.
fn go_on(filesystem: &Weak<Filesystem>) {
    let Some(filesystem) = filesystem.upgrade() else { return };
    let walk = filesystem.ahead.guesses.lock().walk.clone();
    if let Some((at, order)) = walk {
        filesystem.guess_listings(&at, order);
    }
}

/// Does a job, and says whether it was of any use; `None` where there was no connection for it, or no need.
fn run(filesystem: &Weak<Filesystem>, job: &Job) -> Option<Result<bool, RemoteError>> {
    // While it waits for a connection it keeps nothing alive but the server.
    let remote = {
        let filesystem = filesystem.upgrade()?;
        if let Job::List(directory) = job
            && filesystem.is_listed(directory)
        {
            return None;
        }
        if let Job::Read(path) = job {
            filesystem.fetch_time_ahead(path)?;
        }
        filesystem.server.for_thread()
    };
    // From here on nothing else is asked: it may be the last one there is.
    let connection = remote.idle_connection(job.errand(), PATIENCE)?;
    let filesystem = filesystem.upgrade()?;
    match job {
        Job::Renew(directory) => filesystem.list_ahead(connection, directory),
        Job::List(directory) if filesystem.is_listed(directory) => None,
        Job::List(directory) => {
            let listed = filesystem.list_ahead(connection, directory)?;
            if listed.is_ok() {
                filesystem.fetch_first_times(directory);
            }
            Some(listed)
        }
        Job::Read(path) => filesystem.read_ahead(connection, path),
    }
}

impl Filesystem {
    /// Somebody wants to know of a name in this directory something that may be as old as `age_max`.
    pub(super) fn note_use(&self, directory: &RemotePath, name: &Name, age_max: Duration) {
        // There are two ages, for opens and for lookups; that a listing which takes long holds longer is no reason to renew it.
        let age_max = age_max.min(self.options.dir_timeout.max(self.options.attr_timeout));
        if self.listings.used(directory, name, age_max, self.clock.instant()) {
            self.ahead.push(Job::Renew(directory.clone()));
        }
    }

    fn is_listed(&self, directory: &RemotePath) -> bool {
        self.known_snapshot(directory).is_some()
    }

    /// Where listings have no exact times, who lists a directory asks for those of its files.
    fn fetch_first_times(&self, directory: &RemotePath) {
        let Some(snapshot) = self.known_snapshot(directory) else { return };
        let first = snapshot.entries_from(0).find(|(_, record)| self.wants_exact_time(record));
        if let Some((_, record)) = first
            && let Err(error) = self.fetch_times(Access::Server, directory, &record.entry.name)
        {
            tracing::debug!(%directory, %error, "the times of a listing that nobody waits for were not told");
        }
    }

    /// Lists a directory that nobody waits for; `None` where somebody lists it already.
    fn list_ahead(
        &self,
        connection: Box<dyn IdleConnection>,
        directory: &RemotePath,
    ) -> Option<Result<bool, RemoteError>> {
        let Flight::Lead(lead) = self.listings.begin_listing_ahead(directory, self.clock.instant()) else {
            return None;
        };
        match self.fetch_listing(directory, || connection.list(directory)) {
            Ok(listing) => Some(self.listings.install(lead, Ok(listing)).map(|_| true)),
            Err(error) => {
                // Those who have joined meanwhile ask in the usual way.
                lead.give_up();
                Some(Err(error))
            }
        }
    }
}

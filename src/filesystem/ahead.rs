//! What is asked of the server before anybody needs it, in threads of its own.
//!
//! Demand comes first: all of it goes over connections that nobody waits for ([`Remote::idle_connection`]), and where there is none
//! it is not done. It fails in silence, since nobody has asked; and where the server cannot be reached it rests, longer each time.
//!
//! Not here: which directories are to be listed again (`cache::listings`).

use super::Filesystem;
use crate::cache::listings::Flight;
use crate::protocol::RemotePath;
use crate::remote::{IdleConnection, OperationKind, RemoteError, counted_as};
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
/// How long a thread without work stays.
const IDLE_LEAVE: Duration = Duration::from_secs(5);

/// One thing to be asked ahead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Job {
    /// List a directory again that is in use.
    Renew(RemotePath),
}

/// What was asked ahead so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AheadUsage {
    /// Directories in use that were listed again.
    pub renewals: u64,
}

/// See the module's documentation. Its lock is one of the innermost.
pub(super) struct Ahead {
    /// 0: nothing is done ahead.
    threads_max: usize,
    state: Mutex<State>,
    changed: Condvar,
    renewals: AtomicU64,
}

#[derive(Default)]
struct State {
    filesystem: Weak<Filesystem>,
    jobs: VecDeque<Job>,
    /// Those that wait, and those under way.
    pending: HashSet<Job>,
    threads: usize,
    idle: usize,
    paused_until: Option<Instant>,
    pause: Duration,
    closed: bool,
}

impl Ahead {
    pub(super) fn new(threads_max: usize) -> Arc<Self> {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        Arc::new(Self { threads_max, state, changed, renewals: AtomicU64::new(0) })
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
        AheadUsage { renewals: self.renewals.load(Ordering::Relaxed) }
    }

    /// Has a job done soon, if it can be done at all. Never waits.
    pub(super) fn push(self: &Arc<Self>, job: Job) {
        let mut state = self.state.lock();
        let rests = state.paused_until.is_some_and(|until| until > Instant::now());
        if self.threads_max == 0 || state.closed || rests || state.jobs.len() >= JOBS_MAX {
            return;
        }
        let renewals = || state.pending.iter().filter(|job| matches!(job, Job::Renew(_))).count();
        if matches!(job, Job::Renew(_)) && renewals() >= RENEWALS_MAX || !state.pending.insert(job.clone()) {
            return;
        }
        match job {
            // Somebody will need it within a second.
            Job::Renew(_) => state.jobs.push_front(job),
        }
        if state.idle < state.jobs.len() && state.threads < self.threads_max {
            let ahead = Arc::clone(self);
            match thread::Builder::new().name("ftpfs-ahead".into()).spawn(move || ahead.serve()) {
                Ok(_) => state.threads += 1,
                Err(error) => tracing::debug!(%error, "no thread to ask ahead"),
            }
        }
        self.changed.notify_one();
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
            drop(state);
            let outcome =
                catch_unwind(AssertUnwindSafe(|| counted_as(OperationKind::Guess, || run(&filesystem, &job))));
            state = self.state.lock();
            state.pending.remove(&job);
            match outcome {
                Ok(Some(Ok(()))) => {
                    state.pause = Duration::ZERO;
                    match job {
                        Job::Renew(_) => self.renewals.fetch_add(1, Ordering::Relaxed),
                    };
                }
                Ok(Some(Err(error))) => state.failed(&job, &error),
                Ok(None) => {}
                Err(_) => tracing::error!(?job, "what was asked ahead panicked; please report this"),
            }
        }
        state.threads -= 1;
    }
}

impl State {
    fn failed(&mut self, job: &Job, error: &RemoteError) {
        tracing::debug!(?job, %error, "asked ahead in vain");
        let is_away = matches!(
            error,
            RemoteError::Unreachable { .. }
                | RemoteError::TimedOut { .. }
                | RemoteError::LoginRefused { .. }
                | RemoteError::Protocol { .. }
                | RemoteError::Encryption(_)
        );
        if is_away {
            self.pause = self.pause.saturating_mul(2).clamp(PAUSE, PAUSE_MAX);
            self.paused_until = Some(Instant::now() + self.pause);
            let Self { jobs, pending, .. } = self;
            for job in jobs.drain(..) {
                pending.remove(&job);
            }
        }
    }
}

/// Does a job; `None` where there was no connection for it, or no need.
fn run(filesystem: &Weak<Filesystem>, job: &Job) -> Option<Result<(), RemoteError>> {
    // While it waits for a connection it keeps nothing alive but the server.
    let remote = filesystem.upgrade()?.server.for_thread();
    let connection = remote.idle_connection(PATIENCE)?;
    let filesystem = filesystem.upgrade()?;
    match job {
        Job::Renew(directory) => filesystem.list_ahead(connection, directory),
    }
}

impl Filesystem {
    /// Somebody wants to know something of this directory that may be as old as `age_max`.
    pub(super) fn note_use(&self, directory: &RemotePath, age_max: Duration) {
        if self.listings.used(directory, age_max, self.clock.instant()) {
            self.ahead.push(Job::Renew(directory.clone()));
        }
    }

    /// Lists a directory that nobody waits for; `None` where somebody lists it already.
    fn list_ahead(
        &self,
        connection: Box<dyn IdleConnection>,
        directory: &RemotePath,
    ) -> Option<Result<(), RemoteError>> {
        let Flight::Lead(lead) = self.listings.begin_listing_ahead(directory, self.clock.instant()) else {
            return None;
        };
        match self.fetch_listing(directory, || connection.list(directory)) {
            Ok(listing) => Some(self.listings.install(lead, Ok(listing)).map(|_| ())),
            Err(error) => {
                // Those who have joined meanwhile ask in the usual way.
                lead.give_up();
                Some(Err(error))
            }
        }
    }
}

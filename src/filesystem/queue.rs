//! Which files wait for their delivery, and the threads that deliver them.
//!
//! A file that fails alone waits alone, longer each time. Where the server cannot be reached at all, everything waits: one
//! attempt tells for all of them.
//!
//! Not here: what a delivery does (`delivery`).

use super::allowance::{Allowance, StreamPermit};
use super::{Filesystem, FilesystemError, InodeNumber};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// After so long a closed file is delivered: most programs that set its time or give it its name do so before.
const SETTLE: Duration = Duration::from_millis(200);
/// How long to wait after the first failure; doubled with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such wait.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a thread without work stays.
const IDLE_LEAVE: Duration = Duration::from_secs(5);

/// How a delivery ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Delivered, or no longer to be.
    Done,
    /// Somebody else is at the file; try again in a moment.
    Later,
    /// It failed; others may not.
    Failed,
    /// The server cannot be reached, so nothing can be delivered.
    Unreachable(FilesystemError),
}

/// See the module's documentation. Its lock is one of the innermost.
pub(super) struct Queue {
    threads_max: usize,
    allowance: Arc<Allowance>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    filesystem: Weak<Filesystem>,
    /// When each is due, and in which order they came.
    due: BTreeMap<(Instant, u64), InodeNumber>,
    files: HashMap<InodeNumber, File>,
    next: u64,
    threads: usize,
    idle: usize,
    running: usize,
    /// Nothing begins before.
    paused_until: Option<Instant>,
    pause: Duration,
    paused_by: Option<FilesystemError>,
    /// Attempts that failed since the beginning.
    failures: u64,
    /// Those who wait for all to be tried; nothing settles meanwhile.
    hurried: usize,
    /// Attempts that began before tell them nothing.
    hurried_at: u64,
    /// While something waits and nothing is in its way, there is hope for room on the disk.
    hope: Option<StreamPermit>,
    closed: bool,
}

#[derive(Default)]
struct File {
    due: Option<(Instant, u64)>,
    running: bool,
    /// It was pushed while it was running.
    again: bool,
    pause: Duration,
    /// Its place in the order in which they came.
    came: u64,
    /// The same of its last attempt.
    began: u64,
    /// When it last failed, by the count of failures.
    failed_at: u64,
}

impl Queue {
    pub(super) fn new(threads_max: usize, allowance: Arc<Allowance>) -> Arc<Self> {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        Arc::new(Self { threads_max: threads_max.max(1), allowance, state, changed })
    }

    /// Begins to deliver what was pushed.
    pub(super) fn begin(self: &Arc<Self>, filesystem: &Arc<Filesystem>) {
        let mut state = self.state.lock();
        state.filesystem = Arc::downgrade(filesystem);
        self.start_threads(&mut state);
    }

    /// A file is to be delivered; with `settle` not at once.
    pub(super) fn push(self: &Arc<Self>, ino: InodeNumber, settle: bool) {
        let mut state = self.state.lock();
        let delay = if settle && state.hurried == 0 { SETTLE } else { Duration::ZERO };
        state.schedule(ino, delay);
        self.start_threads(&mut state);
        self.changed.notify_all();
    }

    /// How many deliveries there will be at once, of what waits now.
    pub(super) fn at_once(&self) -> usize {
        let state = self.state.lock();
        (state.due.len() + state.running).min(self.threads_max)
    }

    /// Why nothing is delivered at the moment.
    pub(super) fn paused_by(&self) -> Option<FilesystemError> {
        let state = self.state.lock();
        state.paused_until.filter(|until| *until > Instant::now())?;
        state.paused_by.clone()
    }

    /// Waits until everything has been delivered, or has failed once more. Of failures to reach the server one counts for all.
    pub(super) fn hurry(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let (begun_at, newest) = (state.failures, state.next);
        state.hurried += 1;
        state.next += 1;
        state.hurried_at = state.next;
        state.paused_until = None;
        state.pause = Duration::ZERO;
        let waiting: Vec<InodeNumber> = state.due.values().copied().collect();
        for ino in waiting {
            state.schedule(ino, Duration::ZERO);
        }
        self.start_threads(&mut state);
        self.changed.notify_all();
        while state.has_untried(begun_at, newest) && !state.closed {
            self.changed.wait(&mut state);
        }
        state.hurried -= 1;
    }

    /// Delivers nothing more; what is under way ends.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    fn start_threads(self: &Arc<Self>, state: &mut State) {
        let can_begin = state.filesystem.strong_count() > 0 && !state.closed;
        let is_paused = state.paused_until.is_some_and(|until| until > Instant::now());
        let has_work = !state.due.is_empty() || state.running > 0;
        state.hope = (has_work && !is_paused && !state.closed)
            .then(|| state.hope.take().unwrap_or_else(|| self.allowance.upload()));
        while can_begin && state.threads < self.threads_max && state.idle < state.due.len() {
            let queue = Arc::clone(self);
            let spawned = thread::Builder::new().name("deliver".into()).spawn(move || queue.work());
            if let Err(error) = spawned {
                tracing::warn!(%error, threads = state.threads, "no further thread for deliveries");
                return;
            }
            state.threads += 1;
            // It has no work yet; so many need no other thread.
            state.idle += 1;
        }
    }

    fn work(self: &Arc<Self>) {
        while let Some((filesystem, ino)) = self.next() {
            // A fault of ours in one delivery must not end all others.
            let outcome = catch_unwind(AssertUnwindSafe(|| filesystem.deliver(ino)));
            drop(filesystem);
            let outcome = outcome.unwrap_or_else(|_| {
                tracing::error!(%ino, "a delivery has panicked");
                Outcome::Failed
            });
            self.ended(ino, outcome);
        }
    }

    /// Waits for a file that is due; `None`: this thread is to end.
    fn next(self: &Arc<Self>) -> Option<(Arc<Filesystem>, InodeNumber)> {
        let mut state = self.state.lock();
        let leave = Instant::now() + IDLE_LEAVE;
        loop {
            let now = Instant::now();
            let first = state.due.first_key_value().map(|(key, ino)| (*key, *ino));
            let due = first.map(|((due, _), _)| due.max(state.paused_until.unwrap_or(due)));
            if state.closed || state.filesystem.strong_count() == 0 {
                break;
            }
            match (due, first) {
                (Some(due), Some((key, ino))) if due <= now => {
                    // Not kept while waiting: it may be the last one, and its end needs this lock.
                    let Some(filesystem) = state.filesystem.upgrade() else { break };
                    state.due.remove(&key);
                    state.idle -= 1;
                    state.running += 1;
                    let next = state.next;
                    if let Some(file) = state.files.get_mut(&ino) {
                        file.due = None;
                        file.running = true;
                        file.began = next;
                    }
                    self.start_threads(&mut state);
                    return Some((filesystem, ino));
                }
                // The last one stays as long as something is waiting.
                (due, _) => {
                    let is_needed = due.is_some() && state.threads == 1;
                    if now >= leave && !is_needed {
                        break;
                    }
                    let until = if is_needed { due.unwrap_or(leave) } else { due.unwrap_or(leave).min(leave) };
                    self.changed.wait_until(&mut state, until.max(now + Duration::from_millis(1)));
                }
            }
        }
        state.idle -= 1;
        state.threads -= 1;
        None
    }

    fn ended(self: &Arc<Self>, ino: InodeNumber, outcome: Outcome) {
        let mut state = self.state.lock();
        state.running -= 1;
        state.idle += 1;
        let is_again = state.files.get_mut(&ino).is_some_and(|file| {
            file.running = false;
            std::mem::take(&mut file.again)
        });
        let hurried_at = state.hurried_at;
        let is_outdated = state.files.get(&ino).is_some_and(|file| file.began < hurried_at);
        match outcome {
            Outcome::Failed | Outcome::Unreachable(_) if is_outdated => state.schedule(ino, Duration::ZERO),
            Outcome::Done => {
                state.pause = Duration::ZERO;
                state.paused_by = None;
                let delivered = state.files.remove(&ino);
                if is_again {
                    state.schedule(ino, Duration::ZERO);
                    // Who waits for what came before waits for what was behind it, too.
                    if let (Some(file), Some(delivered)) = (state.files.get_mut(&ino), delivered) {
                        file.came = delivered.came;
                    }
                }
            }
            Outcome::Later => state.schedule(ino, Duration::from_millis(50)),
            Outcome::Failed => {
                state.failures += 1;
                let failures = state.failures;
                let pause = state.files.get_mut(&ino).map_or(PAUSE, |file| {
                    file.failed_at = failures;
                    file.pause = (file.pause * 2).clamp(PAUSE, PAUSE_MAX);
                    file.pause
                });
                state.schedule(ino, pause);
            }
            Outcome::Unreachable(error) => {
                state.failures += 1;
                let failures = state.failures;
                state.files.values_mut().for_each(|file| file.failed_at = failures);
                state.pause = (state.pause * 2).clamp(PAUSE, PAUSE_MAX);
                state.paused_until = Some(Instant::now() + state.pause);
                state.paused_by = Some(error);
                state.schedule(ino, Duration::ZERO);
            }
        }
        self.start_threads(&mut state);
        self.changed.notify_all();
    }
}

impl State {
    fn schedule(&mut self, ino: InodeNumber, delay: Duration) {
        self.next += 1;
        let due = (Instant::now() + delay, self.next);
        let next = self.next;
        let file = self.files.entry(ino).or_insert_with(|| File { came: next, ..File::default() });
        if file.running {
            file.again = true;
            return;
        }
        match file.due {
            // One that is written again and again is delivered all the same.
            Some(sooner) if sooner <= due => return,
            Some(later) => drop(self.due.remove(&later)),
            None => {}
        }
        file.due = Some(due);
        self.due.insert(due, ino);
    }

    /// Whether something that came before `newest` has neither ended nor failed since there were so many failures.
    fn has_untried(&self, failures: u64, newest: u64) -> bool {
        self.files.values().any(|file| file.came <= newest && file.failed_at <= failures)
    }
}

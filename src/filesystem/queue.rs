//! Which files wait for their delivery, and the threads that deliver them.
//!
//! A file that fails alone waits alone, longer each time. Where the server cannot be reached at all, everything waits: one
//! attempt tells for all of them. Small files may take all threads; large ones leave some connections to those who use the mount.
//!
//! Not here: what a delivery does (`delivery`).

use super::allowance::{Allowance, StreamPermit};
use super::{Filesystem, FilesystemError, InodeNumber};
use crate::remote::BRIEF_LEN_MAX;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A closed file is delivered sooner where at least so many came behind it, and as many as there are threads: its program is busy with
/// others by then.
const CROWD_MIN: usize = 4;
/// Connections that large files leave to everybody else: one for questions, and one to read by.
const NOT_FOR_LARGE: usize = 2;
/// How long to wait after the first failure; doubled with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such wait.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Deliveries whose content is stored, and that only write that down, keep no other from beginning: so many at most.
const FINISHING_MAX: usize = 2;
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
    /// After so long a closed file is delivered.
    settle: Duration,
    allowance: Arc<Allowance>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    filesystem: Weak<Filesystem>,
    /// When each is due, and in which order they came.
    due: BTreeMap<(Instant, u64), InodeNumber>,
    /// Those of them that only settle.
    settling: BTreeSet<(Instant, u64)>,
    files: HashMap<InodeNumber, File>,
    next: u64,
    threads: usize,
    idle: usize,
    running: usize,
    /// Large files among them.
    running_large: usize,
    /// Those among them that have stored their content.
    finishing: usize,
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
    /// What is running has stored its content.
    finishing: bool,
    is_large: bool,
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
    pub(super) fn new(threads_max: usize, settle: Duration, allowance: Arc<Allowance>) -> Arc<Self> {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        Arc::new(Self { threads_max: threads_max.max(1), settle, allowance, state, changed })
    }

    /// Begins to deliver what was pushed.
    pub(super) fn begin(self: &Arc<Self>, filesystem: &Arc<Filesystem>) {
        let mut state = self.state.lock();
        state.filesystem = Arc::downgrade(filesystem);
        self.start_threads(&mut state);
    }

    /// A file of so many bytes is to be delivered; with `settle` not at once.
    pub(super) fn push(self: &Arc<Self>, ino: InodeNumber, size: u64, settle: bool) {
        let mut state = self.state.lock();
        state.push(ino, size, settle.then_some(self.settle));
        self.start_threads(&mut state);
        self.changed.notify_all();
    }

    /// The content of a file whose delivery is running is stored; what is left of it takes the local disk more than a connection.
    pub(super) fn has_stored(self: &Arc<Self>, ino: InodeNumber) {
        let mut state = self.state.lock();
        let is_first =
            state.files.get_mut(&ino).is_some_and(|file| file.running && !std::mem::replace(&mut file.finishing, true));
        if is_first {
            state.finishing += 1;
            self.start_threads(&mut state);
            self.changed.notify_all();
        }
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
        let threads_max = self.threads_max + state.finishing.min(FINISHING_MAX);
        while can_begin && state.threads < threads_max && state.idle < state.due.len() {
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
        while let Some((filesystem, ino, is_large)) = self.next() {
            // A fault of ours in one delivery must not end all others.
            let outcome = catch_unwind(AssertUnwindSafe(|| filesystem.deliver(ino)));
            drop(filesystem);
            let outcome = outcome.unwrap_or_else(|_| {
                tracing::error!(%ino, "a delivery has panicked");
                Outcome::Failed
            });
            self.ended(ino, is_large, outcome);
        }
    }

    /// Waits for a file that is due; `None`: this thread is to end.
    fn next(self: &Arc<Self>) -> Option<(Arc<Filesystem>, InodeNumber, bool)> {
        let mut state = self.state.lock();
        let leave = Instant::now() + IDLE_LEAVE;
        loop {
            let now = Instant::now();
            let first = state.first(self.threads_max, now);
            let due = first.map(|(due, ..)| due.max(state.paused_until.unwrap_or(due)));
            if state.closed || state.filesystem.strong_count() == 0 {
                break;
            }
            match (due, first) {
                (Some(due), Some((_, key, ino))) if due <= now => {
                    // Not kept while waiting: it may be the last one, and its end needs this lock.
                    let Some(filesystem) = state.filesystem.upgrade() else { break };
                    state.remove_due(key);
                    state.idle -= 1;
                    state.running += 1;
                    let next = state.next;
                    let mut is_large = false;
                    if let Some(file) = state.files.get_mut(&ino) {
                        file.due = None;
                        file.running = true;
                        file.began = next;
                        is_large = file.is_large;
                    }
                    state.running_large += usize::from(is_large);
                    self.start_threads(&mut state);
                    return Some((filesystem, ino, is_large));
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

    fn ended(self: &Arc<Self>, ino: InodeNumber, is_large: bool, outcome: Outcome) {
        let mut state = self.state.lock();
        state.running -= 1;
        state.running_large -= usize::from(is_large);
        state.idle += 1;
        let mut was_finishing = false;
        let is_again = state.files.get_mut(&ino).is_some_and(|file| {
            file.running = false;
            was_finishing = std::mem::take(&mut file.finishing);
            std::mem::take(&mut file.again)
        });
        state.finishing -= usize::from(was_finishing);
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
                        file.is_large = delivered.is_large;
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
    /// Which is to be delivered next, and when, where there are so many threads.
    fn first(&self, threads_max: usize, now: Instant) -> Option<(Instant, (Instant, u64), InodeNumber)> {
        if self.running >= threads_max + self.finishing.min(FINISHING_MAX) {
            return None;
        }
        let large_max = threads_max.saturating_sub(NOT_FOR_LARGE).max(1);
        let may_begin = |ino: &InodeNumber| {
            self.running_large < large_max || !self.files.get(ino).is_some_and(|file| file.is_large)
        };
        let first = self.due.iter().find(|(_, ino)| may_begin(ino));
        let by_time = first.map(|(key, ino)| (key.0, *key, *ino));
        let crowd = threads_max.max(CROWD_MIN);
        if self.settling.len() <= crowd {
            return by_time;
        }
        let settling = self.settling.iter().filter_map(|key| Some((key, self.due.get(key)?)));
        let oldest = settling.map(|(key, ino)| (*key, *ino)).find(|(_, ino)| may_begin(ino));
        // Not those before it: these wait for something else.
        let behind = |key: &(Instant, u64)| self.settling.range((Bound::Excluded(*key), Bound::Unbounded));
        let oldest = oldest.filter(|(key, _)| behind(key).nth(crowd - 1).is_some());
        // What has failed waits as long as it was told to.
        by_time.filter(|(due, ..)| *due <= now).or_else(|| oldest.map(|(key, ino)| (now, key, ino))).or(by_time)
    }

    fn push(&mut self, ino: InodeNumber, size: u64, settle: Option<Duration>) {
        let settle = settle.filter(|_| self.hurried == 0);
        self.schedule(ino, settle.unwrap_or_default());
        if let Some(file) = self.files.get_mut(&ino) {
            file.is_large = size > BRIEF_LEN_MAX as u64;
            self.settling.extend(settle.and(file.due));
        }
    }

    fn remove_due(&mut self, key: (Instant, u64)) {
        self.due.remove(&key);
        self.settling.remove(&key);
    }

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
            Some(later) => {
                self.due.remove(&later);
                self.settling.remove(&later);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: usize = 8;

    fn with_files(count: u64) -> State {
        let mut state = State::default();
        (0..count).for_each(|number| state.push(InodeNumber(number), 10, Some(PAUSE)));
        state
    }

    /// Which would begin now.
    fn next(state: &State, threads_max: usize) -> Option<u64> {
        let now = Instant::now();
        state.first(threads_max, now).filter(|(due, ..)| *due <= now).map(|(_, _, ino)| ino.0)
    }

    #[test]
    fn oldest_settles_no_longer_once_a_crowd_came_behind_it() {
        for (threads_max, crowd) in [(THREADS, 8), (1, 4)] {
            let mut state = with_files(crowd);
            assert_eq!(next(&state, threads_max), None);
            state.push(InodeNumber(100), 10, Some(PAUSE));
            assert_eq!(next(&state, threads_max), Some(0));
            let (_, key, _) = state.first(threads_max, Instant::now()).unwrap();
            state.remove_due(key);
            assert_eq!(next(&state, threads_max), None);
        }
    }

    #[test]
    fn crowd_does_not_shorten_the_pause_of_what_has_failed() {
        let mut state = State::default();
        state.schedule(InodeNumber(50), PAUSE);
        (0..9).for_each(|number| state.push(InodeNumber(number), 10, Some(PAUSE)));
        for expected in [Some(0), None] {
            assert_eq!(next(&state, THREADS), expected);
            let key = state.settling.first().copied().unwrap();
            state.remove_due(key);
        }
    }

    #[test]
    fn large_files_leave_threads_to_small_ones() {
        let mut state = State::default();
        state.push(InodeNumber(1), BRIEF_LEN_MAX as u64 + 1, None);
        state.push(InodeNumber(2), BRIEF_LEN_MAX as u64, None);
        assert_eq!(next(&state, THREADS), Some(1));
        state.running_large = THREADS - NOT_FOR_LARGE;
        assert_eq!(next(&state, THREADS), Some(2));
        // Where there are few, one large file goes all the same.
        (state.running_large, state.running) = (0, 0);
        assert_eq!(next(&state, 1), Some(1));
        state.running_large = 1;
        assert_eq!(next(&state, 2), Some(2));
    }

    #[test]
    fn large_files_that_may_not_begin_are_no_crowd_behind_a_small_one() {
        let mut state = State { running: 6, running_large: THREADS - NOT_FOR_LARGE, ..State::default() };
        (0..9).for_each(|number| state.push(InodeNumber(number), 1 << 20, Some(PAUSE)));
        state.push(InodeNumber(50), 10, Some(PAUSE));
        assert_eq!(next(&state, THREADS), None);
        (60..68).for_each(|number| state.push(InodeNumber(number), 10, Some(PAUSE)));
        assert_eq!(next(&state, THREADS), Some(50));
    }

    #[test]
    fn what_is_only_written_down_keeps_no_other_from_beginning() {
        let mut state = State::default();
        state.push(InodeNumber(1), 10, None);
        (state.running, state.finishing) = (1, 0);
        assert_eq!(next(&state, 1), None);
        state.finishing = 1;
        assert_eq!(next(&state, 1), Some(1));
        // Where the disk is what is slow, they do not pile up.
        (state.running, state.finishing) = (4, 4);
        assert_eq!(next(&state, 1), None);
    }
}

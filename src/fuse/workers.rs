//! Threads that may wait for the server, so that those that listen to the kernel never do.
//!
//! A pool begins without a thread, grows by one whenever a job finds all of them busy, up to its maximum, and shrinks again
//! when threads have had nothing to do for a while. The queue before it is bounded: a job that finds it full is
//! handed back to the caller, who answers the kernel with "busy" at once; the listening thread never blocks.
//!
//! Not here: how long an operation may take once it runs (`parked`, and the deadlines of the layers below).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a thread without work stays.
const IDLE_LEAVE: Duration = Duration::from_secs(10);

/// Whether a job's turn came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its deadline has not passed: do the work.
    InTime,
    /// It waited past its deadline: only say so.
    TooLate,
}

/// One piece of work; called exactly once, from a thread of the pool.
pub(super) type Job = Box<dyn FnOnce(Turn) + Send>;

/// A job that no thread can take: the queue is full, or there is no thread and none could be started.
pub(super) struct QueueFull(
    /// The job, to be answered by its owner.
    pub(super) Job,
);

/// A pool of threads with a bounded queue.
pub(super) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    /// Names the threads, as they appear in `ps` and in panics.
    name: &'static str,
    threads_max: usize,
    queue_max: usize,
    state: Mutex<State>,
    /// A job was queued, or the pool is closing.
    work: Condvar,
    /// A thread has finished a job or left.
    quiet: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Option<Instant>, Job)>,
    threads: usize,
    idle: usize,
    closing: bool,
}

impl Workers {
    /// A pool of at most `threads_max` threads, before which at most `queue_max` jobs wait.
    pub(super) fn new(name: &'static str, threads_max: usize, queue_max: usize) -> Self {
        let state = Mutex::new(State::default());
        let (work, quiet) = (Condvar::new(), Condvar::new());
        Self { shared: Arc::new(Shared { name, threads_max, queue_max, state, work, quiet }) }
    }

    /// Queues `job`; after `deadline` it is called with [`Turn::TooLate`]. Never blocks.
    ///
    /// # Errors
    /// [`QueueFull`] gives the job back, not called.
    pub(super) fn submit(&self, deadline: Option<Instant>, job: Job) -> Result<(), QueueFull> {
        let queue_max = self.shared.queue_max;
        self.push(deadline, job, queue_max)
    }

    /// Queues `job` even if the queue is full: for what must not be lost, such as the release of a handle. Their number
    /// is bounded by what they release.
    ///
    /// # Errors
    /// [`QueueFull`] only where no thread at all could be started.
    pub(super) fn submit_always(&self, job: Job) -> Result<(), QueueFull> {
        self.push(None, job, usize::MAX)
    }

    /// Waits until every queued job is done, at most until `deadline`; says whether that was reached.
    pub(super) fn wait_quiet(&self, deadline: Instant) -> bool {
        let mut state = self.shared.state.lock();
        while !state.queue.is_empty() || state.threads > state.idle {
            if self.shared.quiet.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    fn push(&self, deadline: Option<Instant>, job: Job, queue_max: usize) -> Result<(), QueueFull> {
        let mut state = self.shared.state.lock();
        if state.queue.len() >= queue_max {
            return Err(QueueFull(job));
        }
        state.queue.push_back((deadline, job));
        if state.idle >= state.queue.len() || state.threads >= self.shared.threads_max {
            self.shared.work.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        match thread::Builder::new().name(self.shared.name.into()).spawn(move || shared.serve()) {
            Ok(_detached) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                tracing::error!(%error, "no thread could be started for an operation");
                if let Some((_, job)) = state.queue.pop_back() {
                    return Err(QueueFull(job));
                }
            }
            // The threads that are there will come to it.
            Err(error) => tracing::warn!(%error, threads = state.threads, "no further thread could be started"),
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some((deadline, job)) = state.queue.pop_front() {
                drop(state);
                run(deadline, job);
                state = self.state.lock();
                if state.queue.is_empty() {
                    self.quiet.notify_all();
                }
                continue;
            }
            if state.closing {
                break;
            }
            state.idle += 1;
            self.quiet.notify_all();
            let waited = self.work.wait_for(&mut state, IDLE_LEAVE);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.quiet.notify_all();
    }
}

/// Runs a job. A panic in it costs its own reply (dropped unanswered, the kernel is told EIO), never the thread.
fn run(deadline: Option<Instant>, job: Job) {
    let turn = match deadline {
        Some(deadline) if Instant::now() >= deadline => Turn::TooLate,
        _ => Turn::InTime,
    };
    if catch_unwind(AssertUnwindSafe(|| job(turn))).is_err() {
        tracing::error!("an operation panicked outside its own guard; please report this");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

    const SOON: Duration = Duration::from_secs(10);

    /// A job that says "started" and then waits to be let go.
    fn held(started: &Sender<()>, release: &Receiver<()>) -> Job {
        let (started, release) = (started.clone(), release.clone());
        Box::new(move |_| {
            let _ = started.send(());
            let _ = release.recv_timeout(SOON);
        })
    }

    #[test]
    fn jobs_run_side_by_side_up_to_the_maximum() {
        let workers = Workers::new("test", 3, 10);
        let (started, starts) = unbounded();
        let (release, released) = unbounded();
        for _ in 0..4 {
            assert!(workers.submit(None, held(&started, &released)).is_ok());
        }
        for _ in 0..3 {
            starts.recv_timeout(SOON).unwrap();
        }
        assert!(starts.is_empty(), "a fourth thread was started");
        assert_eq!(workers.shared.state.lock().threads, 3);
        drop(release);
        starts.recv_timeout(SOON).unwrap();
        assert!(workers.wait_quiet(Instant::now() + SOON));
    }

    #[test]
    fn full_queue_hands_the_job_back_without_blocking() {
        let workers = Workers::new("test", 1, 1);
        let (started, starts) = unbounded();
        let (release, released) = bounded::<()>(0);
        assert!(workers.submit(None, held(&started, &released)).is_ok());
        starts.recv_timeout(SOON).unwrap();
        assert!(workers.submit(None, Box::new(|_| {})).is_ok());
        assert!(workers.submit(None, Box::new(|_| {})).is_err());
        assert!(workers.submit_always(Box::new(|_| {})).is_ok());
        assert!(!workers.wait_quiet(Instant::now()));
        drop(release);
        assert!(workers.wait_quiet(Instant::now() + SOON));
    }

    #[test]
    fn job_whose_deadline_passed_is_only_told_so() {
        let workers = Workers::new("test", 1, 1);
        let (tell, told) = bounded(1);
        let deadline = Some(Instant::now());
        assert!(workers.submit(deadline, Box::new(move |turn| tell.send(turn).unwrap())).is_ok());
        assert_eq!(told.recv_timeout(SOON), Ok(Turn::TooLate));
    }

    #[test]
    fn panic_in_a_job_does_not_cost_the_thread() {
        let workers = Workers::new("test", 1, 10);
        let (tell, told) = bounded(1);
        assert!(workers.submit(None, Box::new(|_| panic!("meant to"))).is_ok());
        assert!(workers.submit(None, Box::new(move |turn| tell.send(turn).unwrap())).is_ok());
        assert_eq!(told.recv_timeout(SOON), Ok(Turn::InTime));
        assert!(workers.wait_quiet(Instant::now() + SOON));
        assert_eq!(workers.shared.state.lock().threads, 1);
    }
}

//! Replies that wait for the server, and who may answer them: the worker that gets the result, or the clock.
//!
//! The kernel gives a caller no way out of a request that we have taken: until it is answered the caller ignores even
//! SIGKILL (fuser 0.18 answers the kernel's FUSE_INTERRUPT with ENOSYS, so it is never sent again). So one thread
//! looks twice a second at each reply parked for longer than [`PATIENCE`]: one whose caller has been told to die
//! is answered "interrupted", one whose deadline has passed "timed out", while the work itself goes on.
//!
//! Whoever takes the reply out of its slot first answers it. A worker that comes second finds the slot empty and
//! undoes what only the caller could have used, such as a handle.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A reply is left alone for this long: nearly all are answered within it, at no cost.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the parked replies are looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Why a parked reply is answered before its result is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// The caller has a signal pending that means to end it.
    Interrupted,
    /// The operation's deadline has passed.
    TimedOut,
}

/// The place of one reply: full until somebody takes it.
pub(super) struct Slot<R>(Mutex<Option<R>>);

impl<R> Slot<R> {
    /// A place holding `reply`.
    pub(super) fn new(reply: R) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(reply))))
    }

    /// Takes the reply; `None` if it has been answered.
    pub(super) fn take(&self) -> Option<R> {
        self.0.lock().take()
    }

    /// Whether the reply has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_none()
    }
}

/// A slot as the clock sees it.
pub(super) trait Waiting: Send + Sync {
    /// Answers the reply with the reason, if it is still there, and says whether it was.
    fn give_up(&self, reason: GivenUp) -> bool;
    /// Whether it has been answered already.
    fn is_answered(&self) -> bool;
}

/// What the clock knows of a parked reply.
pub(super) struct Parking {
    /// The operation, for the log.
    pub(super) operation: &'static str,
    /// The caller's thread in our process namespace; 0 where the kernel cannot tell.
    pub(super) caller: u32,
    /// When it is answered "timed out"; `None` for transfers, which have deadlines of their own for each step.
    pub(super) deadline: Option<Instant>,
}

/// All parked replies, with the thread that watches them.
pub(super) struct Parked {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The first reply was parked, or the table is closing.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    parked: HashMap<u64, (Instant, Parking, Weak<dyn Waiting>)>,
    next: u64,
    closing: bool,
}

impl Parked {
    /// An empty table and its thread.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(super) fn new() -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::default()), changed: Condvar::new() });
        let watched = Arc::clone(&shared);
        thread::Builder::new().name("ftpfs-parked".into()).spawn(move || watched.watch())?;
        Ok(Self { shared })
    }

    /// Watches over a reply until it is answered. The table holds no reply alive by itself.
    pub(super) fn watch(&self, parking: Parking, reply: &Arc<impl Waiting + 'static>) {
        let reply: Arc<dyn Waiting> = Arc::clone(reply) as Arc<dyn Waiting>;
        let mut state = self.shared.state.lock();
        let number = state.next;
        state.next += 1;
        if state.parked.is_empty() {
            self.shared.changed.notify_one();
        }
        state.parked.insert(number, (Instant::now(), parking, Arc::downgrade(&reply)));
    }
}

/// The replies that wait at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unanswered {
    /// How many there are.
    pub count: usize,
    /// Which operation has waited longest, and for how long.
    pub oldest: Option<(&'static str, Duration)>,
}

impl Parked {
    /// Who waits now, and for how long.
    pub(super) fn unanswered(&self) -> Unanswered {
        let now = Instant::now();
        let state = self.shared.state.lock();
        let waiting =
            state.parked.values().filter(|(_, _, reply)| reply.upgrade().is_some_and(|reply| !reply.is_answered()));
        let mut unanswered = Unanswered::default();
        for (since, parking, _) in waiting {
            let age = now.saturating_duration_since(*since);
            unanswered.count += 1;
            if unanswered.oldest.is_none_or(|(_, oldest)| age > oldest) {
                unanswered.oldest = Some((parking.operation, age));
            }
        }
        unanswered
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn watch(&self) {
        loop {
            let mut state = self.state.lock();
            while state.parked.is_empty() && !state.closing {
                self.changed.wait(&mut state);
            }
            if state.closing {
                return;
            }
            self.changed.wait_for(&mut state, INTERVAL);
            state.parked.retain(|_, (_, _, reply)| reply.upgrade().is_some_and(|reply| !reply.is_answered()));
            let due = due(&state, Instant::now());
            drop(state);
            // Answering writes to the kernel, and reading /proc may take a moment: not under the lock.
            for (reply, caller, operation, timed_out) in due {
                let reason = if timed_out {
                    GivenUp::TimedOut
                } else if is_told_to_end(caller) {
                    GivenUp::Interrupted
                } else {
                    continue;
                };
                if reply.give_up(reason) {
                    tracing::warn!(operation, caller, ?reason, "answered before the server did");
                }
            }
        }
    }
}

type Due = (Arc<dyn Waiting>, u32, &'static str, bool);

/// The replies to look at now, each with whether its deadline has passed.
fn due(state: &State, now: Instant) -> Vec<Due> {
    let mut due = Vec::new();
    for (since, parking, reply) in state.parked.values() {
        let timed_out = parking.deadline.is_some_and(|deadline| now >= deadline);
        let looked_at = timed_out || now.duration_since(*since) >= PATIENCE;
        if let Some(reply) = reply.upgrade().filter(|_| looked_at) {
            due.push((reply, parking.caller, parking.operation, timed_out));
        }
    }
    due
}

/// Whether thread `caller` has a signal pending that asks it to end: SIGKILL, or SIGINT, SIGQUIT, SIGHUP or SIGTERM neither
/// blocked nor ignored. (The kernel turns these into SIGKILL by itself where the program has no handler.)
fn is_told_to_end(caller: u32) -> bool {
    if caller == 0 {
        return false;
    }
    fs::read_to_string(format!("/proc/{caller}/status")).is_ok_and(|status| has_ending_signal(&status))
}

fn has_ending_signal(status: &str) -> bool {
    const fn bit(signal: i32) -> u64 {
        1 << (signal - 1)
    }
    const KILL: u64 = bit(libc::SIGKILL);
    const ASKING: u64 = bit(libc::SIGINT) | bit(libc::SIGQUIT) | bit(libc::SIGHUP) | bit(libc::SIGTERM);
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let pending = mask("SigPnd:").unwrap_or(0) | mask("ShdPnd:").unwrap_or(0);
    let deaf = mask("SigBlk:").unwrap_or(0) | mask("SigIgn:").unwrap_or(0);
    pending & KILL != 0 || pending & ASKING & !deaf != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Sender, bounded};

    struct Probe(Slot<Sender<GivenUp>>);

    impl Waiting for Probe {
        fn give_up(&self, reason: GivenUp) -> bool {
            self.0.take().is_some_and(|tell| tell.send(reason).is_ok())
        }
        fn is_answered(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn probe() -> (Arc<Probe>, crossbeam_channel::Receiver<GivenUp>) {
        let (tell, told) = bounded(1);
        (Arc::new(Probe(Slot(Mutex::new(Some(tell))))), told)
    }

    #[test]
    fn reply_past_its_deadline_is_answered_once() {
        let parked = Parked::new().unwrap();
        let (reply, told) = probe();
        let parking = Parking { operation: "lookup", caller: 0, deadline: Some(Instant::now()) };
        parked.watch(parking, &reply);
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(GivenUp::TimedOut));
        assert!(reply.0.take().is_none());
    }

    #[test]
    fn only_signals_that_end_the_caller_count() {
        let status = |pending: u64, blocked: u64, ignored: u64| {
            format!(
                "Name:\tls\nSigPnd:\t{pending:016x}\nShdPnd:\t0\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n"
            )
        };
        let (kill, interrupt, child) = (1 << 8, 1 << 1, 1 << 16);
        assert!(has_ending_signal(&status(kill, kill, kill)));
        assert!(has_ending_signal(&status(interrupt, 0, 0)));
        assert!(!has_ending_signal(&status(interrupt, interrupt, 0)));
        assert!(!has_ending_signal(&status(interrupt, 0, interrupt)));
        assert!(!has_ending_signal(&status(child, 0, 0)));
        assert!(!has_ending_signal(""));
        assert!(!is_told_to_end(0));
        assert!(!is_told_to_end(std::process::id()));
    }
}

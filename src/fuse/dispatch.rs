//! The way of one operation: at once from memory, or parked and handed to a worker.
//!
//! ```text
//! kernel ──▶ FUSE thread ──MemoryOnly──▶ answered at once
//!                 │ would wait
//!                 ▼
//!            parked reply ──▶ worker ──Server──▶ answered, or undone if the clock has answered before
//! ```
//! Two pools: one for questions and changes that take a round trip or a few, one for what moves file content, so that
//! 64 slow uploads do not hold up an `ls`.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{Errno, Request};
use tracing::Level;

use super::errno;
use super::parked::{GivenUp, Parked, Parking, Slot, Unanswered, Waiting};
use super::replies::Refuse;
use super::workers::{QueueFull, Turn, Workers};
use crate::filesystem::{Access, Filesystem, FilesystemError, FilesystemResult};

/// Threads of each pool.
const THREADS_MAX: usize = 64;
/// Operations that may wait for a thread of a pool. The kernel has one request per waiting thread of a program, so this is
/// out of reach of all but the wildest; those are told "busy".
const QUEUE_MAX: usize = 4096;
/// How much longer than the operation's own timeout a parked reply may wait before the clock answers it. The layers below
/// keep the timeout by themselves and say better what happened; this is the net beneath them.
const GRACE: Duration = Duration::from_secs(5);

/// What an operation waits for, if it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commands and replies: bounded by the operation timeout as a whole.
    Question,
    /// File content: may take as long as it moves; each step below has a deadline of its own.
    Transfer,
    /// As `Transfer`, and it must run even if nobody waits for the answer: the release of a handle.
    Release,
}

/// An operation, as the log shows it.
#[derive(Clone)]
pub(super) struct Operation {
    verb: &'static str,
    ino: u64,
    name: Option<Arc<[u8]>>,
    caller: u32,
    kind: Kind,
}

impl Operation {
    /// An operation on an inode.
    pub(super) fn on(request: &Request, verb: &'static str, ino: u64, kind: Kind) -> Self {
        Self { verb, ino, name: None, caller: request.pid(), kind }
    }

    /// An operation on a name in a directory.
    pub(super) fn in_directory(
        request: &Request,
        verb: &'static str,
        parent: u64,
        name: &Arc<[u8]>,
        kind: Kind,
    ) -> Self {
        Self { verb, ino: parent, name: Some(Arc::clone(name)), caller: request.pid(), kind }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} \"{}\" in inode {}", self.verb, name.escape_ascii(), self.ino),
            None => write!(f, "{} inode {}", self.verb, self.ino),
        }
    }
}

/// Why an operation has no result.
enum Failure {
    Failed(FilesystemError),
    Panicked,
    TooLate,
}

/// The filesystem with the threads that serve it.
pub(super) struct Dispatch {
    filesystem: Arc<Filesystem>,
    questions: Workers,
    transfers: Workers,
    parked: Parked,
    operation_timeout: Duration,
}

impl Dispatch {
    /// Pools and clock for `filesystem`.
    ///
    /// # Errors
    /// The clock's thread could not be started.
    pub(super) fn new(filesystem: Arc<Filesystem>, operation_timeout: Duration) -> io::Result<Self> {
        Ok(Self {
            filesystem,
            questions: Workers::new("ftpfs-question", THREADS_MAX, QUEUE_MAX),
            transfers: Workers::new("ftpfs-transfer", THREADS_MAX, QUEUE_MAX),
            parked: Parked::new()?,
            operation_timeout,
        })
    }

    /// The filesystem.
    pub(super) fn filesystem(&self) -> &Arc<Filesystem> {
        &self.filesystem
    }

    /// Runs `work` and gives its result to `deliver`: at once if it can be had from memory, else from a worker. Where the clock has
    /// answered before the result came, `undo` takes back what only the caller could have used.
    pub(super) fn run<R, T, W, D, U>(&self, operation: Operation, reply: R, work: W, deliver: D, undo: U)
    where
        R: Refuse,
        W: Fn(&Arc<Filesystem>, Access) -> FilesystemResult<T> + Send + 'static,
        D: FnOnce(&Arc<Filesystem>, R, T) + Send + 'static,
        U: FnOnce(&Filesystem, T) + Send + 'static,
    {
        match self.attempt(&operation, |filesystem| work(filesystem, Access::MemoryOnly)) {
            Some(Ok(value)) => deliver(&self.filesystem, reply, value),
            Some(Err(errno)) => reply.refuse(errno),
            None => self.hand_over(operation, reply, work, deliver, undo),
        }
    }

    /// Runs something that never waits and answers by itself; a panic in it is logged.
    pub(super) fn unwatched(&self, verb: &'static str, work: impl FnOnce(&Arc<Filesystem>)) {
        if catch_unwind(AssertUnwindSafe(|| work(&self.filesystem))).is_err() {
            tracing::error!(verb, "panicked; please report this");
        }
    }

    /// The first half of [`Self::run`]: `None` where the operation would wait, and is to be handed over.
    pub(super) fn attempt<T>(
        &self,
        operation: &Operation,
        work: impl FnOnce(&Arc<Filesystem>) -> FilesystemResult<T>,
    ) -> Option<Result<T, Errno>> {
        match guarded(|| work(&self.filesystem)) {
            Ok(value) => Some(Ok(value)),
            Err(Failure::Failed(FilesystemError::WouldWait)) => None,
            Err(failure) => Some(Err(report(operation, &failure))),
        }
    }

    /// The second half of [`Self::run`], for operations whose first attempt was made by the caller.
    pub(super) fn hand_over<R, T, W, D, U>(&self, operation: Operation, reply: R, work: W, deliver: D, undo: U)
    where
        R: Refuse,
        W: FnOnce(&Arc<Filesystem>, Access) -> FilesystemResult<T> + Send + 'static,
        D: FnOnce(&Arc<Filesystem>, R, T) + Send + 'static,
        U: FnOnce(&Filesystem, T) + Send + 'static,
    {
        let work = |filesystem: &Arc<Filesystem>, _: &mut dyn FnMut(T)| work(filesystem, Access::Server).map(Some);
        self.hand_over_early(operation, reply, work, deliver, undo);
    }

    /// As [`Self::hand_over`], for work whose result may be there before it is done: it is given away then, and `None` comes at the end.
    pub(super) fn hand_over_early<R, T, W, D, U>(&self, operation: Operation, reply: R, work: W, deliver: D, undo: U)
    where
        R: Refuse,
        W: FnOnce(&Arc<Filesystem>, &mut dyn FnMut(T)) -> FilesystemResult<Option<T>> + Send + 'static,
        D: FnOnce(&Arc<Filesystem>, R, T) + Send + 'static,
        U: FnOnce(&Filesystem, T) + Send + 'static,
    {
        let now = Instant::now();
        let (pool, queue_deadline) = match operation.kind {
            Kind::Question => (&self.questions, Some(now + self.operation_timeout)),
            Kind::Transfer => (&self.transfers, Some(now + self.operation_timeout)),
            Kind::Release => (&self.transfers, None),
        };
        let deadline = match operation.kind {
            // Up to one timeout in the queue, one at work.
            Kind::Question => Some(now + self.operation_timeout * 2 + GRACE),
            Kind::Transfer | Kind::Release => None,
        };
        let slot = Slot::new(reply);
        self.parked.watch(Parking { operation: operation.verb, caller: operation.caller, deadline }, &slot);
        let filesystem = Arc::clone(&self.filesystem);
        let (kind, queued) = (operation.kind, Arc::clone(&slot));
        let job = Box::new(move |turn| {
            if slot.is_empty() && kind != Kind::Release {
                return; // Its caller was killed meanwhile.
            }
            let mut ways = Some((deliver, undo));
            let mut give = |value| match (ways.take(), slot.take()) {
                (Some((deliver, _)), Some(reply)) => deliver(&filesystem, reply, value),
                (Some((_, undo)), None) => undo(&filesystem, value),
                (None, _) => tracing::error!(%operation, "had two results; please report this"),
            };
            let outcome = match turn {
                Turn::InTime => guarded(|| work(&filesystem, &mut give)),
                Turn::TooLate => Err(Failure::TooLate),
            };
            match outcome.map_err(|failure| report(&operation, &failure)) {
                Ok(Some(value)) => give(value),
                Ok(None) => {}
                Err(errno) => {
                    if let Some(reply) = slot.take() {
                        reply.refuse(errno);
                    }
                }
            }
        });
        let submitted = match kind {
            Kind::Question | Kind::Transfer => pool.submit(queue_deadline, job),
            Kind::Release => pool.submit_always(job),
        };
        if let Err(QueueFull(job)) = submitted {
            drop(job);
            if let Some(reply) = queued.take() {
                tracing::error!("too many operations wait for the server; one was refused");
                reply.refuse(errno::QUEUE_FULL);
            }
        }
    }

    /// The operations that wait for the server now, but reads, which nobody here watches.
    pub(super) fn unanswered(&self) -> Unanswered {
        self.parked.unanswered()
    }

    /// Waits until the workers have nothing to do, at most until `deadline`, and says whether that was reached.
    pub(super) fn wait_quiet(&self, deadline: Instant) -> bool {
        self.questions.wait_quiet(deadline) && self.transfers.wait_quiet(deadline)
    }
}

impl<R: Refuse> Waiting for Slot<R> {
    fn give_up(&self, reason: GivenUp) -> bool {
        match self.take() {
            Some(reply) => {
                reply.refuse(errno::of_given_up(reason));
                true
            }
            None => false,
        }
    }

    fn is_answered(&self) -> bool {
        self.is_empty()
    }
}

/// Runs a piece of the filesystem such that a panic in it costs this operation and not the mount.
fn guarded<T>(work: impl FnOnce() -> FilesystemResult<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Failure::Failed),
        Err(_logged_by_the_hook) => Err(Failure::Panicked),
    }
}

/// Logs a failure, once, with what the server said, and chooses its errno.
fn report(operation: &Operation, failure: &Failure) -> Errno {
    match failure {
        Failure::Failed(error) => report_error(operation, error),
        Failure::Panicked => {
            tracing::error!(%operation, "panicked; please report this");
            errno::PANICKED
        }
        Failure::TooLate => {
            tracing::warn!(%operation, "not begun before its deadline: all workers are busy");
            errno::TOO_LATE
        }
    }
}

/// As [`report`], for an operation that came to its end.
pub(super) fn report_error(operation: &Operation, error: &FilesystemError) -> Errno {
    let errno = errno::of(error);
    let level = errno::level_of(error);
    if level == Level::WARN {
        tracing::warn!(%operation, ?errno, "{error}");
    } else if level == Level::INFO {
        tracing::info!(%operation, ?errno, "{error}");
    } else {
        tracing::debug!(%operation, ?errno, "{error}");
    }
    errno
}

/// For results that hold nothing: there is nothing to take back.
pub(super) fn nothing_to_undo<T>(_: &Filesystem, _: T) {}

//! Streams: one RETR each, in a thread of its own, that brings a file's blocks in order.
//!
//! [`Stream`] is what the reader's state holds of one: how far it has come and how far it may go. [`run`] is its
//! thread: it asks the state for the next [`Step`], takes it without any lock, and hands in what came of it. A
//! stream that the state no longer holds is at its end, whatever its thread still waits for.
//!
//! ```text
//! Starting ──open_read──▶ Flowing ◀──more is wanted── Parked ──nobody came──▶ over
//!                            └────far enough ahead──────▲ (TCP's flow control holds the server)
//! ```
//!
//! Not here: which reads a stream serves (`track`), when one is started (`reader`).

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::blocks::{BLOCK_LEN, Block, BlockIndex, VersionId};
use super::readahead::{NEAR_LEN, WINDOW_LEN_START};
use super::reader::{FileId, Shared};
use super::version::FileVersion;
use crate::protocol::RemotePath;
use crate::remote::{ReadStream, RemoteError, RemoteResult};

/// Which stream of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamKey {
    pub(super) file: FileId,
    pub(super) version: VersionId,
    pub(super) number: u64,
}

/// What a stream's thread does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its offset is not sent yet, and may still be lowered.
    Starting,
    /// It opens the transfer or reads from it.
    Flowing,
    /// It reads nothing and waits for a reader.
    Parked,
}

/// A stream as the reader's state sees it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) number: u64,
    /// The block it brings next.
    pub(super) position: BlockIndex,
    /// The end of what reads wait for from it; at or before `position` where none does.
    pub(super) demand_end: BlockIndex,
    /// How far it may go: the demand, and the window ahead of the reader.
    pub(super) goal: BlockIndex,
    /// How many bytes it goes ahead of its reader.
    pub(super) window_len: u64,
    /// Whether a reader has followed it in order.
    pub(super) in_order: bool,
    pub(super) phase: Phase,
    /// Its connection is needed elsewhere: it serves those who wait already, then ends.
    pub(super) yielding: bool,
    pub(super) last_used: Instant,
    /// When it last brought a block, or was started.
    pub(super) last_progress: Instant,
    thread: Option<Thread>,
}

impl Stream {
    /// A stream that is to begin at `position`.
    pub(super) fn new(number: u64, position: BlockIndex, window_len_max: u64, now: Instant) -> Self {
        Self {
            number,
            position,
            demand_end: position,
            goal: position,
            window_len: WINDOW_LEN_START.min(window_len_max),
            in_order: false,
            phase: Phase::Starting,
            yielding: false,
            last_used: now,
            last_progress: now,
            thread: None,
        }
    }

    /// Whether a read waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.demand_end > self.position
    }

    /// Whether `index` comes from it soon enough, so that no other stream is needed for it.
    pub(super) fn can_bring(&self, index: BlockIndex) -> bool {
        let reach = BlockIndex::containing(NEAR_LEN);
        let end = if self.yielding { self.goal } else { self.demand_end.max(self.position).plus(reach.0) };
        self.position <= index && index < end
    }

    /// Takes note that a read waits for `index`, which [`Self::can_bring`].
    pub(super) fn demand(&mut self, index: BlockIndex) {
        self.demand_end = self.demand_end.max(index.next());
        self.goal = self.goal.max(self.demand_end);
    }

    /// Lets it serve those who wait already, and nobody else.
    pub(super) fn give_way(&mut self) {
        self.yielding = true;
        self.goal = self.demand_end.max(self.position);
    }

    /// Lets it go on where it has room to: at once for a demand, else once half of its window is used up, so that
    /// its thread does not wake for each block.
    pub(super) fn has_work(&self) -> bool {
        let half_window = BlockIndex::containing(self.window_len / 2);
        let ahead = self.goal.0.saturating_sub(self.position.0);
        match self.phase {
            Phase::Parked => self.is_awaited() || ahead > half_window.0,
            Phase::Starting | Phase::Flowing => ahead > 0,
        }
    }

    /// Tells its thread to ask for its next step.
    pub(super) fn wake(&self) -> Option<Thread> {
        self.thread.clone()
    }

    /// Begins: the thread is known from now on, the position fixed.
    pub(super) fn begin(&mut self, thread: Thread) -> BlockIndex {
        self.phase = Phase::Flowing;
        self.thread = Some(thread);
        self.position
    }
}

/// What a stream's thread is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Read this block, so many bytes long; the file's end is behind it if `last`.
    Bring { index: BlockIndex, len: usize, last: bool },
    /// Read nothing until woken, or until this instant.
    Park { until: Instant },
    /// Stop the transfer.
    Stop,
}

/// How a stream came to its end.
#[derive(Debug)]
pub(super) enum Outcome {
    /// At the file's end, proved, or because it was of no more use.
    Stopped,
    /// By an error; [`RemoteError::Changed`] where the bytes are not those of its version.
    Failed(RemoteError),
}

/// Brings blocks until the state says stop or an error; tells the state how it ended, whatever happens.
pub(super) fn run(shared: &Arc<Shared>, key: StreamKey, path: &RemotePath, delay: Duration) {
    let mut ending = Ending {
        shared: Arc::clone(shared),
        key,
        outcome: Some(Outcome::Failed(RemoteError::Failed { reason: "the reading thread failed".into() })),
    };
    let outcome = match bring_blocks(shared, key, path, delay) {
        Ok(()) => Outcome::Stopped,
        Err(error) => Outcome::Failed(error),
    };
    ending.outcome = Some(outcome);
}

/// Hands the outcome in when it goes out of scope, in a panic too: nobody must wait for a thread that is gone.
struct Ending {
    shared: Arc<Shared>,
    key: StreamKey,
    outcome: Option<Outcome>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.shared.stream_over(self.key, outcome);
        }
    }
}

fn bring_blocks(shared: &Arc<Shared>, key: StreamKey, path: &RemotePath, delay: Duration) -> RemoteResult<()> {
    if !delay.is_zero() {
        thread::sleep(delay);
    }
    confirm_version(shared, key, path)?;
    let Some(position) = shared.stream_begins(key, thread::current()) else { return Ok(()) };
    let mut stream = shared.remote().open_read(path, position.offset())?;
    let me = thread::current();
    stream.on_wanted(Box::new(move || me.unpark()));
    loop {
        match shared.next_step(key, stream.is_wanted()) {
            Step::Bring { index, len, last } => {
                let block = bring_block(&mut *stream, len, last)?;
                shared.deliver(key, index, block);
                if last {
                    return Ok(());
                }
            }
            Step::Park { until } => thread::park_timeout(until.saturating_duration_since(Instant::now())),
            Step::Stop => return Ok(()),
        }
    }
}

/// Makes sure that the server still has the version whose blocks a stream is to bring. Its size alone, which is proved at
/// the end, does not tell another content of the same size, and comes too late for what was read before.
fn confirm_version(shared: &Arc<Shared>, key: StreamKey, path: &RemotePath) -> RemoteResult<()> {
    let Some(version) = shared.unconfirmed(key) else { return Ok(()) };
    let asked = Instant::now();
    match shared.remote().stat(path) {
        Ok(entry) if FileVersion::of(&entry).is_some_and(|now| !now.agrees_with(&version)) => Err(RemoteError::Changed),
        Ok(_) => {
            shared.confirmed(key, asked);
            Ok(())
        }
        // A server may let a file be read and say nothing of it.
        Err(RemoteError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads one block. The last one is handed out only once the transfer is proved to have ended with it: until then
/// the file could be another one than was asked for.
fn bring_block(stream: &mut dyn ReadStream, len: usize, last: bool) -> RemoteResult<Block> {
    // From an iterator of known length the bytes are allocated in place: no copy from a Vec.
    let mut block: Block = std::iter::repeat_n(0, len.min(BLOCK_LEN)).collect();
    let bytes = Arc::get_mut(&mut block).expect("the block was made here and has no other owner");
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest)? {
            0 => return Err(RemoteError::Changed),
            count => filled += count,
        }
    }
    if last && stream.read(&mut [0])? > 0 {
        return Err(RemoteError::Changed);
    }
    Ok(block)
}

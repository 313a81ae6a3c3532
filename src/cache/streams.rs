//! Streams: one RETR each, in a thread of its own, that brings a file's bytes in order.
//!
//! A stream in order brings whole blocks, and goes ahead of its reader. A *pick* brings what one read at a place of its own wants, and
//! ends: it fits what TCP sends in its first round trip, where a block needs three more. A *stripe* brings a range ahead of a reader whom one
//! connection does not satisfy.
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

use std::ops::Range;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::blocks::{BLOCK_LEN, Block, BlockIndex, VersionId};
use super::readahead::{FAR_LEN, NEAR_LEN, WINDOW_LEN_START, page_end, page_start};
use super::reader::{FileId, Shared};
use super::version::FileVersion;
use crate::protocol::RemotePath;
use crate::remote::{Connections, Errand, Extent, ReadStream, RemoteError, RemoteResult};

/// How long a stripe waits for a connection to be logged in.
const STRIPE_PATIENCE: Duration = Duration::from_secs(3);

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

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reading in order: it goes on ahead of its reader.
    InOrder,
    /// It brings what one read at random wants, and nothing else.
    Pick,
    /// It brings a range ahead of a reader in order that one connection does not satisfy, on a connection that nobody waits for.
    Stripe,
}

/// What a stream's thread is to open.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    pub(super) kind: Kind,
    pub(super) range: Range<u64>,
    /// The file's end is to be proved by it.
    pub(super) is_to_the_end: bool,
    pub(super) version: FileVersion,
}

/// A stream as the reader's state sees it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) number: u64,
    /// The byte it brings next.
    pub(super) position: u64,
    /// The end of what reads wait for from it; at or before `position` where none does.
    pub(super) demand_end: u64,
    /// How far it may go: the demand, and the window ahead of the reader.
    pub(super) goal: u64,
    /// Where it ends; the file's end but for a pick, for a stripe, and before one.
    pub(super) end: u64,
    pub(super) kind: Kind,
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
    /// A stream that is to begin with the bytes of `wanted` in a file that ends at `file_end`; a pick or a stripe brings nothing else.
    pub(super) fn new(number: u64, wanted: &Range<u64>, file_end: u64, kind: Kind, window_len_max: u64) -> Self {
        let (position, now) = (page_start(wanted.start), Instant::now());
        let end = if kind == Kind::InOrder { file_end } else { page_end(wanted.end).min(file_end) };
        Self {
            number,
            position,
            demand_end: position,
            goal: if kind == Kind::InOrder { position } else { end },
            end,
            kind,
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

    /// Whether the byte at `offset` comes from it soon enough, so that no other stream is needed for it.
    pub(super) fn can_bring(&self, offset: u64) -> bool {
        let near = self.demand_end.max(self.position).saturating_add(NEAR_LEN);
        // It will come to what is in its window in any case.
        let far = if self.in_order { self.position.saturating_add(FAR_LEN).min(self.goal) } else { 0 };
        let end = if self.yielding { self.goal } else { near.max(far).min(self.end) };
        self.position <= offset && offset < end
    }

    /// Takes note that a read waits for `range`, whose first byte it [can bring](Self::can_bring). Returns how far it brings it.
    pub(super) fn demand(&mut self, range: &Range<u64>) -> u64 {
        let end = range.end.min(if self.yielding { self.goal } else { self.end });
        self.demand_end = self.demand_end.max(end);
        if !self.yielding {
            self.goal = self.goal.max(BlockIndex::end_of(self.demand_end).offset().min(self.end));
        }
        end
    }

    /// Lets it serve those who wait already, and nobody else.
    pub(super) fn give_way(&mut self) {
        self.yielding = true;
        self.goal = page_end(self.demand_end.max(self.position)).min(self.end);
    }

    /// The end of what it brings in one go: a block's, and before that of what a read waits for, where it is not known yet
    /// whether more of the block is wanted.
    pub(super) fn piece_end(&self) -> u64 {
        let end = BlockIndex::containing(self.position).next().offset().min(self.goal);
        if self.is_awaited() && !self.in_order && self.kind != Kind::Stripe {
            end.min(page_end(self.demand_end))
        } else {
            end
        }
    }

    /// Lets it go on where it has room to: at once for a demand, else once half of its window is used up, so that
    /// its thread does not wake for each block.
    pub(super) fn has_work(&self) -> bool {
        let ahead = self.goal.saturating_sub(self.position);
        match self.phase {
            Phase::Parked => self.is_awaited() || ahead > self.window_len / 2,
            Phase::Starting | Phase::Flowing => ahead > 0,
        }
    }

    /// Tells its thread to ask for its next step.
    pub(super) fn wake(&self) -> Option<Thread> {
        self.thread.clone()
    }

    /// Begins: the thread is known from now on, the position fixed. Returns what it is to bring.
    pub(super) fn begin(&mut self, thread: Thread) -> Range<u64> {
        self.phase = Phase::Flowing;
        self.thread = Some(thread);
        self.position..self.end
    }
}

/// What a stream's thread is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the bytes at `offset`, so many; the file's end is behind them if `last`.
    Bring { offset: u64, len: usize, last: bool },
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
    // Where the answer comes with the first bytes nothing is asked before.
    let is_told_with_it = shared.remote().tells_with_reads(path);
    if !is_told_with_it && let Some(version) = shared.unconfirmed(key) {
        confirm_version(shared, key, path, &version)?;
    }
    let Some(beginning) = shared.stream_begins(key, thread::current()) else { return Ok(()) };
    let mut stream = match open(shared, key, path, &beginning)? {
        None => return Ok(()),
        Some((stream, true)) => stream,
        Some((stream, false)) => {
            let stream = reopen_if_unconfirmed(shared, key, path, &beginning, is_told_with_it, stream)?;
            confirm_again(shared, key, path, &beginning)?;
            stream
        }
    };
    let me = thread::current();
    stream.on_wanted(Box::new(move || me.unpark()));
    loop {
        match shared.next_step(key, stream.is_wanted()) {
            Step::Bring { offset, len, last } => {
                let bytes = bring_bytes(&mut *stream, len, last)?;
                shared.deliver(key, offset, bytes);
                if last {
                    return Ok(());
                }
            }
            Step::Park { until } => thread::park_timeout(until.saturating_duration_since(Instant::now())),
            Step::Stop => return Ok(()),
        }
    }
}

/// Begins the transfer, and says whether the server has told with it that it has this version; `None` where nothing that nobody waits for can be
/// begun now.
///
/// # Errors
/// [`RemoteError::Changed`] where the server tells of another version with it.
fn open(
    shared: &Arc<Shared>,
    key: StreamKey,
    path: &RemotePath,
    beginning: &Beginning,
) -> RemoteResult<Option<(Box<dyn ReadStream>, bool)>> {
    let range = beginning.range.clone();
    let extent = match beginning.kind {
        // A range that ends with the file would not show that there is no more of it.
        Kind::Pick if beginning.is_to_the_end => Extent::From(range.start),
        // One block, which nobody stops in the middle of.
        Kind::InOrder if range.start == 0 && beginning.version.size <= BLOCK_LEN as u64 => Extent::Whole,
        Kind::InOrder => Extent::From(range.start),
        Kind::Pick => Extent::Range(range),
        Kind::Stripe => {
            let connection = shared.remote().idle_connection(Errand::Read, STRIPE_PATIENCE);
            let stream = connection.map(|connection| connection.open_range(path, range)).transpose()?;
            return Ok(stream.map(|stream| (stream, false)));
        }
    };
    let (size, is_due) = (Some(beginning.version.size), || shared.is_confirmation_due(key));
    let (stream, told) = shared.remote().open_and_ask(path, extent, size, &is_due)?;
    let told = told.and_then(|told| Some((FileVersion::of(&told.entry)?, told.at)));
    match &told {
        Some((now, _)) if !now.agrees_with(&beginning.version) => return Err(RemoteError::Changed),
        Some((_, at)) => shared.confirmed(key, *at),
        None => {}
    }
    Ok(Some((stream, told.is_some())))
}

/// Where the version has still to be asked for, though the transfer has its connection, and that may be the last one that questions could go over: it is
/// given back before, and the transfer begun anew. A range may have one that was lent briefly, and have waited long for it; and with one connection
/// there is no other, where the server has not told with the transfer what it was to tell.
fn reopen_if_unconfirmed(
    shared: &Arc<Shared>,
    key: StreamKey,
    path: &RemotePath,
    beginning: &Beginning,
    is_told_with_it: bool,
    stream: Box<dyn ReadStream>,
) -> RemoteResult<Box<dyn ReadStream>> {
    let may_be_brief = beginning.kind == Kind::Pick && !beginning.is_to_the_end;
    let was_not_asked = || is_told_with_it && shared.remote().connections().is_some_and(may_wait);
    if !may_be_brief && !was_not_asked() {
        return Ok(stream);
    }
    let Some(version) = shared.unconfirmed(key) else { return Ok(stream) };
    drop(stream);
    confirm_version(shared, key, path, &version)?;
    shared.remote().open_read(path, beginning.range.start)
}

/// Asks once more, before a byte is handed on, where the transfer has had to wait for its connection; behind a stripe always, since it is read
/// beside others.
fn confirm_again(shared: &Arc<Shared>, key: StreamKey, path: &RemotePath, beginning: &Beginning) -> RemoteResult<()> {
    if shared.remote().connections().is_some_and(may_wait) {
        return Ok(());
    }
    match shared.unconfirmed(key) {
        Some(version) => confirm_version(shared, key, path, &version),
        None if beginning.kind == Kind::Stripe => confirm_version(shared, key, path, &beginning.version),
        None => Ok(()),
    }
}

/// With one connection the transfer has it, and a question would wait for its end. Whether there may be a second one is known once it is there, or is
/// lent for a moment.
fn may_wait(connections: Connections) -> bool {
    connections.ceiling < 2 || (!connections.shared && connections.idle == 0 && connections.brief == 0)
}

/// Makes sure that the server still has the version whose blocks a stream is to bring. Its size alone, which is proved at
/// the end, does not tell another content of the same size, and comes too late for what was read before.
fn confirm_version(shared: &Arc<Shared>, key: StreamKey, path: &RemotePath, version: &FileVersion) -> RemoteResult<()> {
    let asked = Instant::now();
    match shared.remote().stat(path) {
        Ok(entry) if FileVersion::of(&entry).is_some_and(|now| !now.agrees_with(version)) => Err(RemoteError::Changed),
        Ok(_) => {
            shared.confirmed(key, asked);
            Ok(())
        }
        // A server may let a file be read and say nothing of it.
        Err(RemoteError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads a block or part of one. The last one is handed out only once the transfer is proved to have ended with it: until then
/// the file could be another one than was asked for.
fn bring_bytes(stream: &mut dyn ReadStream, len: usize, last: bool) -> RemoteResult<Block> {
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

//! Streams: a file that is written in order goes to the server while it is being written.
//!
//! A stream is a thread that reads the staging file behind the writer and sends what it finds; docs/writing.md says what
//! that promises. Whoever uploads the file takes the stream over and sends the rest.

use super::allowance::Allowance;
use super::content::{Content, ContentState};
use super::sending::Sending;
use super::staging::Staging;
use super::{Durability, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::remote::{RemoteError, WriteMode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are handed to the server at once.
pub(super) const PIECE_LEN: usize = 256 << 10;
/// How often a stream with nothing to send looks whether its connection, or its room on the disk, is wanted.
const IDLE_LOOK: Duration = Duration::from_millis(100);

/// What goes on between an open file and the server.
///
/// ```text
///            start                 hand over
///   Idle ────────────▶ Running ──────────────▶ Stopped ──upload takes it──▶ Idle
///    ▲                  │ │ │ refused, nothing punched
///    │ uploaded, empty  │ │ └──────────────────▶ Failed ──next write──▶ Spoilt
///    │                  │ │ given up, something punched
///    │                  │ └────────────────────▶ Lost
///    │                  │ changed below, gave way
///    └───── Spoilt ◀────┘
/// ```
#[derive(Default)]
pub(super) enum Stream {
    /// Nothing goes on.
    #[default]
    Idle,
    /// A thread sends.
    Running(Running),
    /// The thread has ended; who has claimed the file goes on with what it began.
    Stopped(Sending),
    /// The file goes to the server as a whole when it is uploaded, and not before.
    Spoilt,
    /// As `Spoilt`, and the next write is told why.
    Failed(RemoteError),
    /// The content cannot be brought to the server any more: part of it was here no longer when the upload failed.
    Lost(FilesystemError),
}

/// A stream's thread as others see it.
pub(super) struct Running {
    /// Where it began.
    start: u64,
    /// All below has been read from the staging file; who changes it spoils the stream.
    taken: u64,
    /// All below has been sent, and may be punched out.
    sent: u64,
    order: Order,
}

/// Why a stream is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What is sent before the close() need not be sent then.
    Early,
    /// The local disk has no room for more.
    Room,
}

/// What a stream's thread is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Send,
    HandOver,
    Drop,
}

impl ContentState {
    /// Prepares for a change of the file from `offset` on.
    ///
    /// # Errors
    /// [`FilesystemError::LocalNoSpace`] where that would need what was punched out; what the stream has failed with.
    pub(super) fn change_from(&mut self, offset: u64) -> FilesystemResult<()> {
        let has_holes = self.has_holes();
        match &mut self.stream {
            Stream::Lost(error) => return Err(error.clone()),
            Stream::Failed(error) => {
                let error = error.clone();
                self.stream = Stream::Spoilt;
                return Err(error.into());
            }
            Stream::Running(running) if offset < running.taken && has_holes => {
                let name = &self.entry.name;
                tracing::error!(%name, offset, "written before what was sent and had to make room: a larger --staging-size is needed");
                return Err(FilesystemError::LocalNoSpace);
            }
            Stream::Running(running) if offset < running.taken => running.order = Order::Drop,
            Stream::Running(_) | Stream::Stopped(_) | Stream::Spoilt | Stream::Idle => {}
        }
        self.uploaded = self.uploaded.filter(|uploaded| offset >= *uploaded);
        Ok(())
    }

    /// Prepares for cutting or growing the file.
    ///
    /// # Errors
    /// As for [`Self::change_from`].
    pub(super) fn change_size(&mut self, size: u64) -> FilesystemResult<()> {
        if size > 0 {
            return self.change_from(size);
        }
        // Nothing of what was there is needed any more.
        match &mut self.stream {
            Stream::Running(running) => running.order = Order::Drop,
            Stream::Idle | Stream::Stopped(_) => {}
            Stream::Spoilt | Stream::Failed(_) | Stream::Lost(_) => self.stream = Stream::Idle,
        }
        self.uploaded = None;
        Ok(())
    }

    /// Whether a thread reads the staging file.
    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.stream, Stream::Running(_))
    }

    /// Whether part of the content is neither here nor proved to be on the server.
    pub(super) fn has_holes(&self) -> bool {
        self.staging.as_ref().is_some_and(Staging::has_holes)
    }

    /// An upload has failed: with holes there is no other try.
    pub(super) fn lose(&mut self, error: &FilesystemError) {
        if self.has_holes() {
            self.stream = Stream::Lost(error.clone());
        }
    }

    /// Tells a stream that its content is of no use any more.
    pub(super) fn drop_stream(&mut self) {
        if let Stream::Running(running) = &mut self.stream {
            running.order = Order::Drop;
        }
    }

    /// Where a stream would begin, if `len` bytes are there for it.
    fn stream_start(&self, len: u64, append_min: u64) -> Option<u64> {
        // What is pending is delivered first, or replaced by what is promised next: one upload to a name at a time.
        let is_meant = self.dirty && self.detached.is_none() && self.pending.is_none();
        let staging = self.staging.as_ref().filter(|_| is_meant)?;
        let start = match self.uploaded {
            Some(uploaded) if uploaded >= append_min => uploaded,
            _ if staging.has_no_base() => 0,
            _ => return None,
        };
        let is_idle = matches!(self.stream, Stream::Idle);
        (is_idle && staging.present_from(start) >= start.saturating_add(len.max(1))).then_some(start)
    }

    /// Makes room on the local disk by what the server has or was sent; returns whether that made any.
    pub(super) fn punch_sent(&mut self) -> bool {
        if let (Some(uploaded), Some(staging)) = (self.uploaded, &mut self.staging)
            && staging.release(uploaded).is_ok_and(|released| released)
        {
            return true;
        }
        let (Stream::Running(running), Some(staging)) = (&self.stream, &mut self.staging) else { return false };
        let end = running.sent.saturating_sub(staging.allowance().kept_bytes());
        if running.order != Order::Send || end <= staging.punched_end().max(running.start) {
            return false;
        }
        let punched = staging.punch(running.start..end);
        punched.inspect_err(|error| tracing::debug!(%error, "no hole could be punched into a staging file")).is_ok()
    }
}

impl Filesystem {
    /// Starts a stream where enough bytes are there for it.
    pub(super) fn start_stream(&self, ino: InodeNumber, content: &Arc<Content>, wanted: Wanted) {
        let len = match wanted {
            Wanted::Early => self.options.stream_start_bytes,
            Wanted::Room => 1,
        };
        // Both locks, so that the name is the one it has until somebody claims the file, and with it the stream.
        let guard = self.state.lock();
        let mut state = content.lock();
        if state.is_awaited() {
            return;
        }
        let Some(start) = state.stream_start(len, self.options.stream_start_bytes) else { return };
        let Some((parent, name)) = guard.inodes.get(ino).and_then(|inode| inode.place.clone()) else { return };
        let (Some(directory), Some(permit)) = (guard.inodes.path(parent), self.staging.allowance.stream()) else {
            return;
        };
        let mode = match start {
            0 => self.whole_mode(&state),
            // The file would be half of what its close() promises as a whole.
            _ if self.options.close == Durability::Journal && wanted == Wanted::Early => return,
            size => WriteMode::Append { size },
        };
        let patience = self.options.operation_timeout;
        let sending = Sending::new(self.server.for_thread(), directory.join(&name), mode, patience, permit);
        state.attempted |= !matches!(mode, WriteMode::Replace { .. });
        state.stream = Stream::Running(Running { start, taken: start, sent: start, order: Order::Send });
        let (shared, allowance) = (Arc::clone(content), Arc::clone(&self.staging.allowance));
        let whose = match self.options.close {
            Durability::Server => Refusal::OfTheWriter,
            Durability::Journal => Refusal::OfTheDelivery,
        };
        let thread = thread::Builder::new().name("upload".into());
        if let Err(error) = thread.spawn(move || run(&shared, sending, &allowance, whose)) {
            tracing::warn!(%error, "no thread for a stream; the file is uploaded when it is closed");
            state.stream = Stream::Spoilt;
        }
    }
}

impl Content {
    /// Ends the stream's thread, and returns what it has begun, if that is of use; for who has the claim, or delivers the file.
    ///
    /// # Errors
    /// Why the content is lost; [`FilesystemError::TimedOut`].
    pub(super) fn take_stream(&self, patience: Duration) -> FilesystemResult<Option<Sending>> {
        let mut state = self.lock();
        let deadline = Instant::now() + patience * 4;
        while let Stream::Running(running) = &mut state.stream {
            if running.order == Order::Send {
                running.order = Order::HandOver;
            }
            self.notify();
            // Each of its own waits has a deadline; this one is the net beneath them.
            if self.wait_until(&mut state, deadline) {
                return Err(FilesystemError::TimedOut { during: "sending what was written before".into() });
            }
        }
        match std::mem::take(&mut state.stream) {
            Stream::Stopped(sending) => Ok(Some(sending)),
            Stream::Lost(error) => {
                state.stream = Stream::Lost(error.clone());
                Err(error)
            }
            _ => Ok(None),
        }
    }
}

/// What a stream's thread does next.
enum Step {
    /// Get the connection (again); bytes below this are not here any more.
    GetReady(u64),
    Send(Vec<u8>),
    Drop,
    Stop,
    NotRead(FilesystemError),
}

/// Who hears of it that the server refuses what is streamed, as long as all of it is still here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    OfTheWriter,
    /// The journal promises the file all the same; its delivery waits, or finds that it is refused for good.
    OfTheDelivery,
}

fn run(content: &Content, mut sending: Sending, allowance: &Allowance, whose: Refusal) {
    let _end = EndOfThread(content);
    loop {
        let result = match next_step(content, &sending, allowance) {
            Step::GetReady(kept_from) => sending.ready(kept_from),
            Step::Send(bytes) => sending.send(&bytes),
            Step::Drop => {
                // Before anybody hears of it: what is removed must not be what somebody stores next.
                drop(sending);
                return;
            }
            Step::Stop => match hand_over(content, sending) {
                None => return,
                Some(back) => {
                    sending = back;
                    continue;
                }
            },
            Step::NotRead(error) => Err(RemoteError::Failed { reason: error.to_string() }),
        };
        let Err(error) = result else { continue };
        match sending.bear(error) {
            Ok(pause) => wait_for_order(content, pause),
            Err(error) => return give_up(content, sending, error, whose),
        }
    }
}

/// Waits until there is something to do.
fn next_step(content: &Content, sending: &Sending, allowance: &Allowance) -> Step {
    let mut guard = content.lock();
    loop {
        let state = &mut *guard;
        let (Stream::Running(running), Some(staging)) = (&mut state.stream, &state.staging) else { return Step::Drop };
        match running.order {
            Order::Drop => return Step::Drop,
            Order::HandOver => return Step::Stop,
            Order::Send => {}
        }
        if !sending.is_open() {
            // From here on nothing more is punched out, until it is known how much the server has.
            running.sent = running.start;
            return Step::GetReady(staging.punched_end());
        }
        running.sent = sending.offset();
        running.taken = sending.offset();
        let there = staging.present_from(sending.offset()) - sending.offset();
        if there > 0 {
            let len = usize::try_from(there).unwrap_or(usize::MAX).min(PIECE_LEN);
            running.taken += len as u64;
            let read = staging.read(sending.offset(), len);
            if allowance.is_short() {
                state.punch_sent();
            }
            return read.map_or_else(Step::NotRead, Step::Send);
        }
        if sending.is_wanted() && !staging.has_holes() {
            tracing::debug!(path = %sending.path(), "a stream gives its connection to others");
            return Step::Drop;
        }
        if allowance.is_short() {
            state.punch_sent();
        }
        content.wait_until(&mut guard, Instant::now() + IDLE_LOOK);
    }
}

/// Waits until it is time to try again, or something else is to be done.
fn wait_for_order(content: &Content, pause: Duration) {
    let deadline = Instant::now() + pause;
    let mut state = content.lock();
    while matches!(&state.stream, Stream::Running(running) if running.order == Order::Send) {
        if content.wait_until(&mut state, deadline) {
            return;
        }
    }
}

/// Gives what was begun to who has claimed the file; back to the thread where nobody waits for it any more.
fn hand_over(content: &Content, sending: Sending) -> Option<Sending> {
    let mut state = content.lock();
    let is_awaited = state.is_awaited();
    match &mut state.stream {
        Stream::Running(running) if !is_awaited => {
            running.order = Order::Send;
            Some(sending)
        }
        _ => {
            state.stream = Stream::Stopped(sending);
            None
        }
    }
}

/// Nothing more can be sent.
fn give_up(content: &Content, sending: Sending, error: RemoteError, whose: Refusal) {
    tracing::warn!(path = %sending.path(), %error, "a file cannot be uploaded while it is written");
    drop(sending);
    let mut state = content.lock();
    let has_holes = state.has_holes();
    state.stream = match error {
        error if has_holes => Stream::Lost(error.into()),
        // Storing it as a whole may work.
        RemoteError::Changed | RemoteError::Unsupported { .. } => Stream::Spoilt,
        error if error.is_worth_another_try() => Stream::Spoilt,
        _ if whose == Refusal::OfTheDelivery => Stream::Spoilt,
        _ => Stream::Failed(error),
    };
}

/// However the thread ends, those who wait for it hear of it.
struct EndOfThread<'a>(&'a Content);

impl Drop for EndOfThread<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let Stream::Running(_) = state.stream {
            let has_holes = state.has_holes();
            state.stream = match has_holes {
                true => Stream::Lost(FilesystemError::Failed { reason: "the upload's thread has failed".into() }),
                false => Stream::Spoilt,
            };
        }
        drop(state);
        self.0.notify();
    }
}

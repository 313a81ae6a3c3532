//! Writing: STOR and APPE, and the proof that the bytes are there.
//!
//! A write is done when the completion reply has come *and* the server says the size that was sent. Where the reply is
//! lost on the way (a NAT that forgot the control connection, a 426 for data that arrived), the size alone decides, asked on
//! a new connection. Where the size was the same before, what was sent is read back. A file that is replaced keeps its old content until all of this is true of the new one.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::asked::Question;
use super::error::{RemoteError, RemoteResult};
use super::read_range::open_read;
use super::refusal::Purpose;
use super::rename::{OwnFile, Promoted};
use super::server::{Server, facts_told, is_done, parse_number, parse_size_and_time, temporary_path};
use super::{Finished, Stored, Wishes, WriteMode, WriteStream};
use crate::pool::{self, ActiveTransfer, AtOnce, Direction, Lease, PoolError, Repeat, Stay};
use crate::protocol::command::Command;
use crate::protocol::reply::Reply;
use crate::protocol::timestamp::parse_mdtm_reply;
use crate::protocol::{Entry, EntryKind, RemotePath, Timestamp};

/// Where the completion reply was lost, or came before the end, the server may still be busy with what it has received: so
/// long it may take until the size is right.
const SETTLING: Duration = Duration::from_secs(3);
/// How much is read back at once.
const READ_BACK_LEN: usize = 64 << 10;
/// How often the size is asked for meanwhile.
const SETTLING_PAUSE: Duration = Duration::from_millis(200);

/// An upload of so many bytes is brief: it takes no more round trips than a directory.
pub const BRIEF_LEN_MAX: usize = 128 << 10;

/// What is to become of the bytes.
#[derive(Debug, Clone)]
enum Plan {
    /// They are the new file.
    Create,
    /// They are renamed to `target` when complete.
    Replace { target: RemotePath, mode: Option<u32> },
    /// They come behind so many.
    Append { size: u64 },
    /// They go over those from `offset` on of so many.
    Patch { offset: u64, size: u64 },
    /// They are all from `offset` on.
    Tail { offset: u64 },
}

/// One STOR or APPE under way.
struct FtpWriteStream {
    /// Before the lease, to be stopped before that is given back.
    transfer: Option<ActiveTransfer>,
    /// Given back before anything is asked that may need a session of its own.
    lease: Option<Lease>,
    server: Arc<Server>,
    /// Where the bytes go now.
    path: RemotePath,
    plan: Plan,
    sent: u64,
    /// The checksum of what was sent, for what its length does not prove.
    checksum: u32,
    /// The server's own mark of what is stored, where it was told with the proof.
    unique: Option<Box<[u8]>>,
    /// What is known of the end, where the whole was sent at once.
    ended: Option<Ended>,
    /// Whether the file at `path` is still to be taken away if this is dropped.
    is_unfinished: bool,
}

/// A transfer that is over.
struct Ended {
    /// Why its completion reply was lost, if it was.
    lost: Option<PoolError>,
    /// What was asked behind it.
    answers: Vec<Reply>,
}

/// What the server tells of a file of ours.
pub(super) struct Told {
    pub(super) size: Option<u64>,
    pub(super) modified: Option<Timestamp>,
    /// The `unique` fact.
    unique: Option<Box<[u8]>>,
}

/// Starts writing. Source: RFC 959 §4.1.3 (STOR, APPE).
///
/// # Errors
/// As [`super::Remote::open_write`] says.
pub(super) fn open_write(
    server: &Arc<Server>,
    path: &RemotePath,
    mode: WriteMode,
    deadline: Instant,
) -> RemoteResult<Box<dyn WriteStream>> {
    let (plan, stored_at) = plan(path, mode)?;
    let way = match mode {
        WriteMode::Create | WriteMode::Replace { .. } => {
            server.check_name(path, deadline)?;
            Way::from_the_start(&stored_at)
        }
        WriteMode::Append { size } | WriteMode::Patch { size, .. } | WriteMode::Tail { size, .. } => {
            let way = server.way_in_place(path, mode, deadline)?;
            if server.size_of(path, deadline)? != Some(size) {
                return Err(RemoteError::Changed);
            }
            way
        }
    };
    let (lease, transfer) = match server.start_writing(&way, deadline) {
        Ok(started) => started,
        Err(PoolError::Refused { reply, .. } | PoolError::Aborted { reply }) => {
            return Err(server.explain(path, &reply, Purpose::Store, deadline));
        }
        Err(error) => return Err(error.into()),
    };
    let mut stream = FtpWriteStream::new(server, stored_at, plan);
    stream.transfer = Some(transfer);
    stream.lease = Some(lease);
    Ok(Box::new(stream))
}

/// Sends a whole content that is at hand, in as few round trips as the server allows.
///
/// Only where nobody can be reading what is stored, a new file or one under a name of ours: there it does no harm that the data goes before
/// the server has agreed to take it.
///
/// # Errors
/// As [`super::Remote::open_whole`] says.
pub(super) fn open_whole(
    server: &Arc<Server>,
    path: &RemotePath,
    mode: WriteMode,
    bytes: &[u8],
    deadline: Instant,
) -> RemoteResult<Box<dyn WriteStream>> {
    if !matches!(mode, WriteMode::Create | WriteMode::Replace { .. }) {
        let mut stream = open_write(server, path, mode, deadline)?;
        stream.write_all(bytes)?;
        return Ok(stream);
    }
    let (plan, stored_at) = plan(path, mode)?;
    server.check_name(path, deadline)?;
    let questions = server.size_and_time_questions(&stored_at);
    let store = |mut lease: Lease| {
        let stored = lease.store_at_once(Command::Stor(stored_at.clone()), bytes, &questions, deadline)?;
        Ok((lease, stored))
    };
    let stay = Stay::brief_if(bytes.len() <= BRIEF_LEN_MAX);
    let stored = server.pool.retry_lent(pool::Purpose::Write, stay, deadline, Repeat::Unsafe, store);
    let (lease, AtOnce { end, answers }) = match stored {
        Ok(stored) => stored,
        Err(PoolError::Refused { reply, .. } | PoolError::Aborted { reply }) => {
            return Err(server.explain(path, &reply, Purpose::Store, deadline));
        }
        // What may still be on its way to the server must not meet its own repetition under one name.
        Err(error) if error.is_worth_another_try() => {
            tracing::debug!(%path, %error, "not stored at once; once more, one step after the other");
            // Under its own name it may be another client's.
            if matches!(plan, Plan::Replace { .. }) && error.sent() {
                server.discard(&stored_at, deadline);
            }
            let mode = WriteMode::Replace { mode: mode.mode_given() };
            let mut stream = open_write(server, path, mode, deadline)?;
            stream.write_all(bytes)?;
            return Ok(stream);
        }
        Err(error) => return Err(error.into()),
    };
    let mut stream = FtpWriteStream::new(server, stored_at, plan);
    stream.sent = bytes.len() as u64;
    // The rename goes over it, while its next data connection comes about.
    let is_renamed = matches!(stream.plan, Plan::Replace { .. });
    stream.lease = Some(lease).filter(|_| is_renamed && end.is_ok() && !answers.is_empty());
    let lost = end.err().map(|error| stream.is_lost(error)).transpose()?;
    stream.ended = Some(Ended { lost, answers });
    Ok(Box::new(stream))
}

/// What is to become of the bytes, and where they go for now.
fn plan(path: &RemotePath, mode: WriteMode) -> RemoteResult<(Plan, RemotePath)> {
    let Some(parent) = path.parent() else { return Err(RemoteError::IsDirectory) };
    Ok(match mode {
        WriteMode::Create => (Plan::Create, path.clone()),
        WriteMode::Replace { mode } => (Plan::Replace { target: path.clone(), mode }, temporary_path(&parent)),
        WriteMode::Append { size } => (Plan::Append { size }, path.clone()),
        WriteMode::Patch { offset, size } => (Plan::Patch { offset, size }, path.clone()),
        WriteMode::Tail { offset, .. } => (Plan::Tail { offset }, path.clone()),
    })
}

/// The commands that say where the bytes go.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// REST, where they do not begin at the start.
    pub(super) prelude: Vec<Command>,
    /// STOR or APPE.
    pub(super) command: Command,
}

impl Way {
    /// The whole file.
    pub(super) fn from_the_start(path: &RemotePath) -> Self {
        Self { prelude: Vec::new(), command: Command::Stor(path.clone()) }
    }

    /// From `offset` on.
    pub(super) fn restarted(path: &RemotePath, offset: u64) -> Self {
        Self { prelude: vec![Command::Rest(offset)], command: Command::Stor(path.clone()) }
    }

    /// Behind what is there.
    pub(super) fn behind(path: &RemotePath) -> Self {
        Self { prelude: Vec::new(), command: Command::Appe(path.clone()) }
    }
}

impl Server {
    /// Before its first byte a STOR or APPE can be started again as often as it takes.
    fn start_writing(&self, way: &Way, deadline: Instant) -> Result<(Lease, ActiveTransfer), PoolError> {
        self.pool.retry_exclusive(pool::Purpose::Write, deadline, Repeat::Safe, |mut lease| {
            let transfer = lease.start(&way.prelude, way.command.clone(), Direction::Send, deadline)?;
            Ok((lease, transfer))
        })
    }

    /// Why a STOR or APPE did not begin.
    fn not_started(&self, path: &RemotePath, error: PoolError, deadline: Instant) -> RemoteError {
        match error {
            PoolError::Refused { reply, .. } => self.explain(path, &reply, Purpose::Store, deadline),
            error => error.into(),
        }
    }

    /// Stores a few bytes in one go.
    pub(super) fn put(&self, way: &Way, bytes: &[u8], deadline: Instant) -> Result<(), PoolError> {
        let (lease, mut transfer) = self.start_writing(way, deadline)?;
        let result = transfer.write_all(bytes).and_then(|()| transfer.finish_writing());
        drop(lease);
        result.map(|_| ())
    }

    /// Takes away what nobody needs; a failure is for the log.
    pub(super) fn discard(&self, path: &RemotePath, deadline: Instant) {
        match self.remove_own_file(path, deadline) {
            Ok(()) | Err(RemoteError::NotFound) => {}
            Err(error) => tracing::warn!(%path, %error, "an incomplete file was left behind"),
        }
    }

    /// What [`size_and_time_told`] understands the answers to.
    fn size_and_time_questions(&self, path: &RemotePath) -> [Command; 2] {
        // What listings say, where it is to be had: MDTM is in local time on some servers.
        let time = if self.profile().mlst.is_yes() { Command::Mlst(path.clone()) } else { Command::Mdtm(path.clone()) };
        [Command::Size(path.clone()), time]
    }

    /// What [`Self::file_told`] understands the answers to: where the server may have facts, with all of them.
    pub(super) fn file_questions(&self, path: &RemotePath) -> [Command; 2] {
        let time = if self.profile().mlst.is_no() { Command::Mdtm(path.clone()) } else { Command::Mlst(path.clone()) };
        [Command::Size(path.clone()), time]
    }

    /// The file as the answers describe it; `None` where they do not, or contradict each other.
    pub(super) fn file_told(&self, path: &RemotePath, replies: &[Reply]) -> Option<Entry> {
        let Told { size, modified, .. } = size_and_time_told(path, replies)?;
        let name = path.name()?;
        let [_, time] = replies else { return None };
        match self.facts_of(path, &name, time).ok().filter(|_| is_done(time))? {
            Some(entry) => (entry.kind == EntryKind::File && entry.size == size).then_some(entry),
            None => Some(Entry { size, modified: Some(modified?), ..Entry::new(name, EntryKind::File) }),
        }
    }

    /// Size and modification time in one packet; the time where the server tells it so.
    pub(super) fn size_and_time(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<Told> {
        if self.profile().mlst.is_yes() {
            let replies = self.ask(&self.size_and_time_questions(path), deadline)?;
            if let Some(told) = size_and_time_told(path, &replies) {
                return Ok(told);
            }
        }
        let replies = self.ask(&[Command::Size(path.clone()), Command::Mdtm(path.clone())], deadline)?;
        let [size, time] = replies.as_slice() else {
            return Err(RemoteError::Protocol { reason: String::from("two questions have not two answers") });
        };
        let (size, modified) = parse_size_and_time(size, time)?;
        let size = size.map_or_else(|| self.size_of(path, deadline), |size| Ok(Some(size)))?;
        Ok(Told { size, modified, unique: None })
    }
}

/// Size and time in the replies to the two questions; `None` where they do not tell.
fn size_and_time_told(path: &RemotePath, replies: &[Reply]) -> Option<Told> {
    let [size, time] = replies else { return None };
    let size = Some(parse_number(size).filter(|_| size.code().number() == 213)?);
    if let Some(told) = facts_told(time, &path.name()?) {
        return Some(Told { size, modified: told.modified, unique: told.unique });
    }
    // Both replies have the code 213: where they have changed places, only their form tells.
    let modified = parse_mdtm_reply(time);
    (modified.is_some() || !is_done(time)).then_some(Told { size, modified, unique: None })
}

impl FtpWriteStream {
    /// Of what has begun, or is about to.
    fn new(server: &Arc<Server>, path: RemotePath, plan: Plan) -> Self {
        server.known.leftovers.begin(&path);
        Self {
            transfer: None,
            lease: None,
            server: Arc::clone(server),
            path,
            is_unfinished: matches!(plan, Plan::Create | Plan::Replace { .. }),
            plan,
            sent: 0,
            checksum: 0,
            unique: None,
            ended: None,
        }
    }

    /// Where the first of the bytes goes.
    fn start(&self) -> u64 {
        match self.plan {
            Plan::Create | Plan::Replace { .. } => 0,
            Plan::Append { size: offset } | Plan::Patch { offset, .. } | Plan::Tail { offset } => offset,
        }
    }

    /// What the size has to be.
    fn size_expected(&self) -> u64 {
        match self.plan {
            Plan::Patch { size, .. } => size,
            _ => self.start().saturating_add(self.sent),
        }
    }

    /// Ends the data and waits for the completion reply. `Ok(Some)`: it was lost; why.
    fn end_transfer(&mut self) -> RemoteResult<Option<PoolError>> {
        let Some(transfer) = self.transfer.take() else {
            return Err(RemoteError::Failed { reason: String::from("the transfer has failed before") });
        };
        let result = transfer.finish_writing();
        // The questions that follow may need the connection, and nobody may hold one while asking for another.
        self.lease = None;
        result.err().map(|error| self.is_lost(error)).transpose()
    }

    /// An error that leaves open what the server has.
    ///
    /// # Errors
    /// What any other means.
    fn is_lost(&self, error: PoolError) -> RemoteResult<PoolError> {
        // 426 and its like, when all data was handed over: whether it arrived, the size tells.
        if error.is_worth_another_try() || matches!(error, PoolError::TimedOut { .. }) {
            return Ok(error);
        }
        Err(self.explain(error))
    }

    /// The proof that all is there, for which what was asked behind the transfer may do: only then the session of that is kept.
    fn prove(&mut self, Ended { lost, answers }: Ended) -> RemoteResult<Stored> {
        if let Some(error) = &lost {
            tracing::info!(path = %self.path, %error, "the completion reply is lost; what is there decides");
        }
        let expected = self.size_expected();
        let told = size_and_time_told(&self.path, &answers);
        let told = told.filter(|told| lost.is_none() && told.size == Some(expected));
        let stored = match told {
            Some(told) => self.proved(expected, told),
            None => {
                self.lease = None;
                self.prove_size(lost)?
            }
        };
        if self.is_length_no_proof() {
            self.prove_content()?;
        }
        Ok(stored)
    }

    fn proved(&mut self, size: u64, Told { modified, unique, .. }: Told) -> Stored {
        if let Some(modified) = modified {
            self.server.known.leftovers.learn_time(modified);
        }
        self.unique = unique;
        Stored { size, modified }
    }

    /// What it means that the server gave the transfer up. libunftp says 150 before it has looked where the file goes.
    fn explain(&self, error: PoolError) -> RemoteError {
        match error {
            PoolError::Refused { reply, .. } | PoolError::Aborted { reply } => {
                let path = match &self.plan {
                    Plan::Replace { target, .. } => target,
                    Plan::Create | Plan::Append { .. } | Plan::Patch { .. } | Plan::Tail { .. } => &self.path,
                };
                self.server.explain(path, &reply, Purpose::Store, self.server.deadline())
            }
            error => error.into(),
        }
    }

    /// Makes sure that all bytes are there.
    fn prove_size(&mut self, lost: Option<PoolError>) -> RemoteResult<Stored> {
        let deadline = self.server.deadline();
        let settled = Instant::now() + SETTLING;
        let expected = self.size_expected();
        loop {
            let told = self.server.size_and_time(&self.path, deadline)?;
            let size = told.size;
            if size == Some(expected) {
                return Ok(self.proved(expected, told));
            }
            if Instant::now() >= settled {
                let told = size.map_or_else(|| String::from("an unknown number of"), |size| size.to_string());
                let reason = format!("{expected} bytes should be in the file, and the server says {told}");
                return Err(match lost {
                    Some(error) => error.into(),
                    // A data connection that somebody on the way has ended in order is the end of the file to the server.
                    None if size.is_some_and(|size| size < expected) => RemoteError::Interrupted { reason },
                    None => RemoteError::Failed { reason },
                });
            }
            thread::sleep(SETTLING_PAUSE);
        }
    }

    /// Whether the file may have had the size that it has to have before all was there.
    fn is_length_no_proof(&self) -> bool {
        match self.plan {
            Plan::Create | Plan::Replace { .. } | Plan::Append { .. } => false,
            Plan::Patch { .. } => true,
            Plan::Tail { .. } => !self.server.profile().restart_keeps_tail.is_no(),
        }
    }

    /// Reads back what was sent: where somebody on the way ends a data connection in order, the server takes that for the end,
    /// and says 226.
    fn prove_content(&self) -> RemoteResult<()> {
        let mut stream =
            open_read(&self.server, &self.path, self.start(), &mut Question::none(), self.server.deadline())?;
        let (mut left, mut checksum, mut buffer) = (self.sent, 0, vec![0; READ_BACK_LEN]);
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = stream.read(buffer.get_mut(..room).unwrap_or_default())?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            checksum = crc32c::crc32c_append(checksum, bytes);
            left -= count as u64;
        }
        if left == 0 && checksum == self.checksum {
            return Ok(());
        }
        let reason = String::from("what was written in the middle of the file is not what is there now");
        Err(RemoteError::Interrupted { reason })
    }

    /// The size, once the server has stopped writing what it had received of the transfer that broke off.
    fn settled_size(&self, deadline: Instant) -> RemoteResult<u64> {
        let settled = Instant::now() + SETTLING;
        let mut before = None;
        loop {
            let size = self.server.size_of(&self.path, deadline)?;
            let size = size.ok_or_else(|| RemoteError::Interrupted {
                reason: String::from("the server does not say how much of the file it has"),
            })?;
            if before == Some(size) || Instant::now() >= settled {
                return Ok(size);
            }
            before = Some(size);
            thread::sleep(SETTLING_PAUSE);
        }
    }

    /// Puts the complete file in the place of the old one.
    fn promote(
        &mut self,
        target: &RemotePath,
        mode: Option<u32>,
        time: Option<Timestamp>,
        stored: Stored,
    ) -> RemoteResult<Finished> {
        let lease = self.lease.take();
        let Stored { size, modified } = stored;
        let own = OwnFile { path: self.path.clone(), size, modified, unique: self.unique.take() };
        let Promoted { time_kept: time, mode_kept: mode } =
            self.server.promote(lease, &own, target, mode, time, self.server.deadline())?;
        let stored = Stored { size, modified: time.or(modified) };
        Ok(Finished { stored, time, mode })
    }
}

impl WriteStream for FtpWriteStream {
    fn write_all(&mut self, bytes: &[u8]) -> RemoteResult<()> {
        let Some(transfer) = &mut self.transfer else {
            return Err(RemoteError::Failed { reason: String::from("the transfer has failed before") });
        };
        let end = self.sent.saturating_add(bytes.len() as u64);
        if let Plan::Patch { offset, size } = self.plan
            && offset.saturating_add(end) > size
        {
            return Err(RemoteError::Failed { reason: String::from("more bytes than the file has from there on") });
        }
        if let Err(error) = transfer.write_all(bytes) {
            self.transfer = None;
            self.lease = None;
            return Err(self.explain(error));
        }
        self.sent = end;
        if self.is_length_no_proof() {
            self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        }
        Ok(())
    }

    fn finish(&mut self) -> RemoteResult<Stored> {
        Ok(self.finish_with(Wishes::default())?.stored)
    }

    fn finish_with(&mut self, wishes: Wishes) -> RemoteResult<Finished> {
        let ended = match self.ended.take() {
            Some(ended) => ended,
            None => Ended { lost: self.end_transfer()?, answers: Vec::new() },
        };
        let stored = self.prove(ended)?;
        let finished = match self.plan.clone() {
            Plan::Create | Plan::Append { .. } | Plan::Patch { .. } | Plan::Tail { .. } => {
                self.server.set_attributes(&self.path, wishes, stored, self.server.deadline())
            }
            Plan::Replace { target, mode } => self.promote(&target, mode, wishes.time, stored)?,
        };
        self.is_unfinished = false;
        Ok(finished)
    }

    fn resume(&mut self) -> RemoteResult<u64> {
        self.transfer = None;
        self.lease = None;
        self.ended = None;
        let deadline = self.server.deadline();
        let start = self.start();
        let there = self.settled_size(deadline)?;
        let kept = match self.plan {
            // Behind all that the server has; that it was sent by us, only its length can tell.
            Plan::Create | Plan::Replace { .. } | Plan::Append { .. } => there.checked_sub(start),
            // From where it began: how far it came, the size does not tell.
            Plan::Patch { size, .. } => (there == size).then_some(0),
            Plan::Tail { .. } => (there >= start).then_some(0),
        };
        let kept = kept.filter(|kept| *kept <= self.sent).ok_or(RemoteError::Changed)?;
        let way = match self.plan {
            Plan::Create | Plan::Replace { .. } | Plan::Append { .. } => {
                self.server.way_behind(&self.path, there, deadline)?
            }
            Plan::Patch { .. } | Plan::Tail { .. } => Way::restarted(&self.path, start),
        };
        let (lease, transfer) = self
            .server
            .start_writing(&way, deadline)
            .map_err(|error| self.server.not_started(&self.path, error, deadline))?;
        self.lease = Some(lease);
        self.transfer = Some(transfer);
        self.sent = kept;
        // Only what begins anew has one.
        self.checksum = 0;
        Ok(kept)
    }

    fn give_way(&mut self) {
        if self.transfer.is_none() {
            self.lease = None;
        }
    }

    fn is_wanted(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_wanted)
    }
}

impl Drop for FtpWriteStream {
    fn drop(&mut self) {
        self.transfer = None;
        self.lease = None;
        if self.is_unfinished {
            self.server.discard(&self.path, self.server.deadline());
        }
        self.server.known.leftovers.end(&self.path);
    }
}

//! Reads whose end is known: RANG and RETR, which the server ends by itself.
//!
//! A server that takes RANG and begins somewhere else, or ends one byte off, would hand out wrong bytes. So it is believed only after it was
//! proved, once: two reads are answered with what REST has brought, and behind that, when nobody waits for it any more, their sessions ask for
//! the same bytes by RANG. Those of the one differ from those of the other in the same file, so that a server which begins at the same place whatever is asked is found
//! out, and from their own neighbours. After that, as many bytes come as were asked for, with the proof of their end, or the read has failed.
//!
//! Source: draft-bryan-ftp-range-08. Measured with ProFTPD 1.3.8: both ends count; a range is used up by the RETR that begins, also where
//! that is stopped; it is left over behind one that was refused, whatever else is asked, and REST 0 takes it back; one that ends behind the
//! end of the file is refused at the RETR (554), one that ends before it begins at once (501).

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ReadStream;
use super::asked::Question;
use super::error::{RemoteError, RemoteResult};
use super::read_range::{self, FtpReadStream};
use super::server::Server;
use crate::connection::deadlines::after;
use crate::pool::{self, ActiveTransfer, Lease, PoolError, Repeat, ServerKind, Stay, Verdict, VerdictCell};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;
use crate::protocol::reply::ReplyClass;

/// Bytes of a read that a proof compares, at most and at least.
const PROOF_LEN_MAX: usize = 4096;
const PROOF_LEN_MIN: u64 = 32;

/// A range of up to so many bytes takes its session for two round trips, or few more.
const BRIEF_LEN_MAX: u64 = 64 << 10;

/// Reads that are compared.
const READS_COMPARED: usize = 2;

/// How long the session of a read may be kept for the proof.
const PATIENCE: Duration = Duration::from_secs(3);

/// So often a proof is begun that comes to no end.
const PROOFS_MAX: usize = 8;

/// How far the proof has come.
#[derive(Debug, Default)]
pub(super) struct RangeProof {
    state: Mutex<ProofState>,
}

#[derive(Debug, Default)]
struct ProofState {
    /// Reads that are to be proofs, and those under way.
    running: usize,
    /// Proofs that were begun.
    tried: usize,
    /// The bytes of a file that RANG has brought as it should.
    matched: Option<(RemotePath, Vec<u8>)>,
}

impl RangeProof {
    /// Whether one more read is to be a proof; [`Self::end`] follows.
    fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let wanted = if state.matched.is_some() { 1 } else { READS_COMPARED };
        let is_wanted = state.running < wanted && state.tried < PROOFS_MAX;
        state.running += usize::from(is_wanted);
        is_wanted
    }

    fn end(&self) {
        self.state.lock().running -= 1;
    }

    /// Whether these bytes tell something that is not known yet; counts the proof.
    fn is_of_use(&self, path: &RemotePath, bytes: &[u8]) -> bool {
        let mut state = self.state.lock();
        let is_of_use = state.matched.as_ref().is_none_or(|(before, told)| before != path || differ(told, bytes));
        state.tried += usize::from(is_of_use);
        is_of_use
    }

    /// RANG has brought `bytes` as it should, or not.
    fn settle(&self, rang: &VerdictCell, path: &RemotePath, bytes: &[u8], is_right: bool) {
        let mut state = self.state.lock();
        if rang.get() != Verdict::Unknown {
            return;
        }
        if !is_right {
            tracing::info!("RANG does not bring what was asked for");
            rang.learn(Verdict::No);
        } else if state.matched.as_ref().is_some_and(|(before, told)| before == path && differ(told, bytes)) {
            tracing::info!("RANG is proved");
            rang.learn(Verdict::Yes);
        } else {
            // Beginnings of several files tell nothing of each other.
            state.matched = Some((path.clone(), bytes.to_vec()));
        }
    }
}

/// Whether they cannot have begun at the same place.
fn differ(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).any(|(one, other)| one != other)
}

/// One RANG and RETR under way.
struct RangeStream {
    server: Arc<Server>,
    /// `None` once its end was proved, or it failed. It stands before the lease, to be stopped before that is given back.
    transfer: Option<ActiveTransfer>,
    lease: Option<Lease>,
    /// Bytes that are still to come.
    left: u64,
    failure: Option<RemoteError>,
}

/// Starts reading a range that the server ends by itself; `None` where it has to be read in another way.
///
/// # Errors
/// Where the server cannot be reached. What a refusal means is found out by the other way.
pub(super) fn open(
    server: &Arc<Server>,
    path: &RemotePath,
    range: &Range<u64>,
    question: &mut Question<'_>,
    deadline: Instant,
) -> RemoteResult<Option<Box<dyn ReadStream>>> {
    let profile = server.profile();
    if range.is_empty() || !profile.features().rang_stream() {
        return Ok(None);
    }
    if range.start > 0 && profile.restart.get() == Verdict::Unknown {
        server.prove_restart(path, question.size, deadline)?;
    }
    if !profile.restart.is_yes() {
        return Ok(None);
    }
    match profile.rang.get() {
        Verdict::Yes => {}
        Verdict::Unknown => {
            let may_take_ranges = profile.kind() == ServerKind::ProFtpd
                && server.pool.options().pipelining
                && !profile.pipelining.is_no();
            return if may_take_ranges { open_and_prove(server, path, range, question, deadline) } else { Ok(None) };
        }
        Verdict::No => return Ok(None),
    }
    let begin = |mut lease: Lease| {
        if !takes_ranges(&lease) {
            return Ok(None);
        }
        let before = question.commands(server, &lease, path);
        let transfer = start_range(&mut lease, before, path, range, deadline)?;
        question.hear(&transfer);
        Ok(Some((lease, transfer)))
    };
    let stay = Stay::brief_if(range.end - range.start <= BRIEF_LEN_MAX);
    match server.pool.retry_lent(pool::Purpose::Read, stay, deadline, Repeat::Safe, begin) {
        Ok(Some((lease, transfer))) => Ok(Some(Box::new(RangeStream {
            server: Arc::clone(server),
            transfer: Some(transfer),
            lease: Some(lease),
            left: range.end - range.start,
            failure: None,
        }))),
        Ok(None) => Ok(None),
        Err(PoolError::Refused { verb, reply }) => {
            tracing::debug!("a range was refused: {verb}: {reply}");
            if verb == "RANG" && reply.class() == ReplyClass::Permanent {
                profile.rang.learn(Verdict::No);
            }
            Ok(None)
        }
        Err(PoolError::Aborted { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The only program that it was measured on, by the greeting of the session itself.
fn takes_ranges(lease: &Lease) -> bool {
    lease.kind() == ServerKind::ProFtpd && lease.control().is_pipelining()
}

fn start_range(
    lease: &mut Lease,
    before: Vec<Command>,
    path: &RemotePath,
    range: &Range<u64>,
    deadline: Instant,
) -> Result<ActiveTransfer, PoolError> {
    let mut prelude = before;
    prelude.push(Command::Rang { first: range.start, last: range.end.saturating_sub(1) });
    lease.start_whole(&prelude, Command::Retr(path.clone()), deadline)
}

/// A read by REST whose bytes RANG is to bring as well.
struct ProvingStream {
    server: Arc<Server>,
    path: RemotePath,
    range: Range<u64>,
    stream: FtpReadStream,
    bytes: Vec<u8>,
    _running: Running,
}

/// A read that is to be a proof, until this is dropped.
struct Running(Arc<Server>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.known.ranges.end();
    }
}

/// Starts reading by REST, with the proof of RANG behind it; `None` where others are about it, or the range is not fit for it.
fn open_and_prove(
    server: &Arc<Server>,
    path: &RemotePath,
    range: &Range<u64>,
    question: &mut Question<'_>,
    deadline: Instant,
) -> RemoteResult<Option<Box<dyn ReadStream>>> {
    if range.end - range.start < PROOF_LEN_MIN || !server.known.ranges.begin() {
        return Ok(None);
    }
    let running = Running(Arc::clone(server));
    let started = server.pool.retry_exclusive(pool::Purpose::Read, deadline, Repeat::Safe, |lease| {
        let is_fit = takes_ranges(&lease);
        is_fit.then(|| read_range::open_on(server, lease, path, range.start, question, deadline)).transpose()
    });
    match started {
        Ok(stream) => Ok(stream.map(|stream| {
            let (server, path, range) = (Arc::clone(server), path.clone(), range.clone());
            let proving = ProvingStream { server, path, range, stream, bytes: Vec::new(), _running: running };
            Box::new(proving) as Box<dyn ReadStream>
        })),
        // What that means is found out by the usual way.
        Err(PoolError::Refused { .. } | PoolError::Aborted { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl ReadStream for ProvingStream {
    fn read(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        let len = self.stream.read(buffer)?;
        let room = PROOF_LEN_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend(buffer.iter().take(len.min(room)));
        Ok(len)
    }

    fn is_wanted(&self) -> bool {
        self.stream.is_wanted()
    }

    fn on_wanted(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.stream.on_wanted(wake);
    }
}

impl Drop for ProvingStream {
    /// What was wanted is there. Who waits for the session waits for two round trips more, twice in a mount; each read saves as many from then on.
    fn drop(&mut self) {
        let Some(mut lease) = self.stream.stop() else { return };
        let len = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        self.bytes.truncate(len);
        if let Err(error) = self.server.prove_ranges(&mut lease, &self.path, self.range.start, &self.bytes) {
            tracing::debug!("RANG is neither proved nor refuted: {error}");
        }
    }
}

impl Server {
    /// Asks by RANG for what REST has brought from `start` on, but for its first and its last byte. Where that would not tell it from something
    /// else nothing is asked.
    fn prove_ranges(&self, lease: &mut Lease, path: &RemotePath, start: u64, bytes: &[u8]) -> Result<(), PoolError> {
        let (deadline, proof) = (self.deadline().min(after(PATIENCE)), &self.known.ranges);
        let len = bytes.len().saturating_sub(2);
        let mut windows = bytes.windows(len.max(1));
        let (Some(before), Some(wanted), Some(behind)) = (windows.next(), windows.next(), windows.next()) else {
            return Ok(());
        };
        let is_settled = self.profile().rang.get() != Verdict::Unknown;
        if is_settled || before == wanted || behind == wanted || !proof.is_of_use(path, wanted) {
            return Ok(());
        }
        let range = start.saturating_add(1)..start.saturating_add(1 + len as u64);
        let is_right = match read_range(lease, path, &range, deadline) {
            Ok(brought) => brought == wanted,
            Err(PoolError::Refused { verb: "RANG", reply }) if reply.class() == ReplyClass::Permanent => false,
            Err(error) => return Err(error),
        };
        proof.settle(&self.profile().rang, path, wanted, is_right);
        Ok(())
    }
}

/// What RANG brings: of more than was asked for the first byte that is too many, the transfer being stopped there.
fn read_range(
    lease: &mut Lease,
    path: &RemotePath,
    range: &Range<u64>,
    deadline: Instant,
) -> Result<Vec<u8>, PoolError> {
    let mut transfer = start_range(lease, Vec::new(), path, range, deadline)?;
    transfer.end_by(deadline);
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len.saturating_add(1)];
    let filled = fill(&mut transfer, &mut bytes)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads until the buffer is full or the end is proved.
fn fill(transfer: &mut ActiveTransfer, buffer: &mut [u8]) -> Result<usize, PoolError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match transfer.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

impl RangeStream {
    /// The next bytes; with the last of them the end is proved, so that who drops the stream then stops nothing.
    fn read_on(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        let Some(transfer) = &mut self.transfer else { return Ok(0) };
        let len = transfer.read(buffer)?;
        let Some(left) = self.left.checked_sub(len as u64).filter(|_| len > 0) else {
            return Err(self.is_wrong());
        };
        self.left = left;
        if left == 0 {
            if transfer.read(&mut [0])? > 0 {
                return Err(self.is_wrong());
            }
            let ended = self.transfer.take().map(ActiveTransfer::finish_reading);
            ended.transpose()?;
            self.lease = None;
        }
        Ok(len)
    }

    /// It brought fewer or more than it should: the file has changed, or the proof was worth nothing.
    fn is_wrong(&self) -> RemoteError {
        tracing::warn!("a range did not have the bytes that were asked for: no more of them are");
        self.server.profile().rang.learn(Verdict::No);
        RemoteError::Interrupted { reason: String::from("the range is not the one that was asked for") }
    }
}

impl ReadStream for RangeStream {
    fn read(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        // A second read after an error must not look like the end.
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_on(buffer).inspect_err(|error| {
            self.transfer = None;
            self.lease = None;
            self.failure = Some(error.clone());
        })
    }

    fn is_wanted(&self) -> bool {
        self.lease.as_ref().is_some_and(Lease::is_wanted)
    }

    fn on_wanted(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        if let Some(lease) = &self.lease {
            lease.on_wanted(wake);
        }
    }
}

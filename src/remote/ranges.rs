//! Reads whose end is known: RANG and RETR, which the server ends by itself.
//!
//! A server that takes RANG and begins somewhere else, or ends one byte off, would hand out wrong bytes. So it is believed only after it was
//! proved: once, on a thread of its own, by bytes that REST brought as well, at a place where they differ from the beginning of the file and
//! from their neighbours. After that, as many bytes come as were asked for, with the proof of their end, or the read has failed.
//!
//! Source: draft-bryan-ftp-range-08. Measured with ProFTPD 1.3.8: both ends count; a range is used up by the RETR that begins, also where
//! that is stopped; it is left over behind one that was refused, whatever else is asked, and REST 0 takes it back; one that ends behind the
//! end of the file is refused at the RETR (554), one that ends before it begins at once (501).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::ReadStream;
use super::error::{RemoteError, RemoteResult};
use super::server::Server;
use crate::pool::{
    self, ActiveTransfer, Direction, Lease, OperationKind, PoolError, Repeat, ServerKind, Verdict, counted_as,
};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;
use crate::protocol::reply::ReplyClass;

/// Bytes that a proof compares, at most and at least.
const PROOF_LEN_MAX: u64 = 4096;
const PROOF_LEN_MIN: u64 = 16;

/// Places that are tried: where all bytes are the same, nothing is proved.
const PROOFS_MAX: usize = 8;

/// How long a proof waits for a session that nobody needs.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far the proof has come.
#[derive(Debug, Default)]
pub(super) struct RangeProof {
    is_running: AtomicBool,
    tried: AtomicUsize,
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
    deadline: Instant,
) -> RemoteResult<Option<Box<dyn ReadStream>>> {
    let profile = server.profile();
    if range.is_empty() || !profile.features().rang_stream() || !profile.restart.is_yes() {
        return Ok(None);
    }
    match profile.rang.get() {
        Verdict::Yes => {}
        Verdict::Unknown => {
            let may_take_ranges = profile.kind() == ServerKind::ProFtpd
                && server.pool.options().pipelining
                && !profile.pipelining.is_no();
            // With fewer connections there is never one that nobody needs.
            if may_take_ranges && server.pool.ceiling() > 2 {
                prove_soon(server, path, range);
            }
            return Ok(None);
        }
        Verdict::No => return Ok(None),
    }
    let started = server.pool.retry_exclusive(pool::Purpose::Read, deadline, Repeat::Safe, |mut lease| {
        if !takes_ranges(&lease) {
            return Ok(None);
        }
        let transfer = start_range(&mut lease, path, range, deadline)?;
        Ok(Some((lease, transfer)))
    });
    match started {
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
    path: &RemotePath,
    range: &Range<u64>,
    deadline: Instant,
) -> Result<ActiveTransfer, PoolError> {
    let prelude = [Command::Rang { first: range.start, last: range.end.saturating_sub(1) }];
    lease.start_whole(&prelude, Command::Retr(path.clone()), deadline)
}

/// Proves RANG on a thread of its own, where the range is fit for that; nobody waits for it.
fn prove_soon(server: &Arc<Server>, path: &RemotePath, range: &Range<u64>) {
    let proof = &server.known.ranges;
    let is_fit = range.start > 0 && range.end - range.start >= PROOF_LEN_MIN;
    if !is_fit || proof.tried.load(Ordering::Relaxed) >= PROOFS_MAX || proof.is_running.swap(true, Ordering::AcqRel) {
        return;
    }
    let end = range.end.min(range.start.saturating_add(PROOF_LEN_MAX));
    let (owned, path, range) = (Arc::clone(server), path.clone(), range.start..end);
    let prove = move || {
        let proved = counted_as(OperationKind::Guess, || {
            owned.counted(OperationKind::Guess, |_| owned.prove_range(&path, &range))
        });
        if let Err(error) = proved {
            tracing::debug!("RANG is neither proved nor refuted: {error}");
        }
        owned.known.ranges.is_running.store(false, Ordering::Release);
    };
    if let Err(error) = thread::Builder::new().name(String::from("ftpfs-range")).spawn(prove) {
        tracing::debug!(%error, "RANG is not proved");
        proof.is_running.store(false, Ordering::Release);
    }
}

impl Server {
    fn prove_range(&self, path: &RemotePath, range: &Range<u64>) -> RemoteResult<()> {
        let deadline = self.deadline();
        let Some(mut lease) = self.pool.idle(PATIENCE) else { return Ok(()) };
        self.known.ranges.tried.fetch_add(1, Ordering::Relaxed);
        if !takes_ranges(&lease) {
            return Ok(());
        }
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        // With the byte before and the one behind.
        let around = read_some(&mut lease, path, range.start - 1, len + 2, deadline)?;
        let beginning = read_some(&mut lease, path, 0, len, deadline)?;
        let mut windows = around.windows(len);
        let (before, wanted, behind) = (windows.next(), windows.next(), windows.next());
        let Some(wanted) = wanted.filter(|_| behind.is_some()) else { return Ok(()) };
        if wanted == beginning || before == Some(wanted) || behind == Some(wanted) {
            return Ok(());
        }
        let is_proved = match read_range(&mut lease, path, range, deadline) {
            Ok(bytes) => bytes == wanted,
            Err(PoolError::Refused { verb: "RANG", reply }) if reply.class() == ReplyClass::Permanent => false,
            Err(error) => return Err(error.into()),
        };
        tracing::info!(is_proved, "RANG was tried");
        self.profile().rang.learn_if(is_proved);
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
    let mut transfer = start_range(lease, path, range, deadline)?;
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len.saturating_add(1)];
    let filled = fill(&mut transfer, &mut bytes)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Up to `len` bytes from `offset` on, by REST; the transfer is stopped there.
fn read_some(
    lease: &mut Lease,
    path: &RemotePath,
    offset: u64,
    len: usize,
    deadline: Instant,
) -> Result<Vec<u8>, PoolError> {
    let prelude = [Command::Rest(offset)];
    let prelude = if offset > 0 { &prelude[..] } else { &[] };
    let mut transfer = lease.start(prelude, Command::Retr(path.clone()), Direction::Receive, deadline)?;
    let mut bytes = vec![0; len];
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

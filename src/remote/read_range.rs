//! Reading: REST and RETR.
//!
//! REST is believed only after it has been proved once (`restart`).

use std::sync::Arc;
use std::time::Instant;

use super::ReadStream;
use super::asked::Question;
use super::error::{RemoteError, RemoteResult};
use super::refusal::Purpose;
use super::server::Server;
use crate::pool::{self, ActiveTransfer, Direction, Lease, PoolError, Repeat, Verdict};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;
use crate::protocol::reply::{Reply, ReplyClass};

/// What is read and thrown away at once, where the server cannot restart.
const SKIPPED_LEN: usize = 64 << 10;

/// One RETR under way.
pub(super) struct FtpReadStream {
    server: Arc<Server>,
    path: RemotePath,
    /// The first byte that was asked for.
    offset: u64,
    /// Whether any byte has come; after that a refusal is a failure of the transfer.
    has_begun: bool,
    /// `None` once its end was proved, or it failed. It stands before the lease, to be stopped before that is given back.
    transfer: Option<ActiveTransfer>,
    lease: Option<Lease>,
    /// Bytes before those that were asked for.
    to_skip: u64,
    failure: Option<RemoteError>,
}

/// Starts reading at `offset`. Source: RFC 959 §4.1.3 (RETR), RFC 3659 §5 (REST).
///
/// # Errors
/// As [`super::Remote::open_read`] says.
pub(super) fn open_read(
    server: &Arc<Server>,
    path: &RemotePath,
    offset: u64,
    question: &mut Question<'_>,
    deadline: Instant,
) -> RemoteResult<Box<dyn ReadStream>> {
    open(server, path, offset, false, question, deadline)
}

/// Starts reading a whole file.
///
/// # Errors
/// As [`super::Remote::open_read_whole`] says.
pub(super) fn open_read_whole(
    server: &Arc<Server>,
    path: &RemotePath,
    question: &mut Question<'_>,
    deadline: Instant,
) -> RemoteResult<Box<dyn ReadStream>> {
    open(server, path, 0, true, question, deadline)
}

fn open(
    server: &Arc<Server>,
    path: &RemotePath,
    offset: u64,
    is_whole: bool,
    question: &mut Question<'_>,
    deadline: Instant,
) -> RemoteResult<Box<dyn ReadStream>> {
    if offset > 0 && server.profile().restart.get() == Verdict::Unknown {
        server.prove_restart(path, question.size, deadline)?;
    }
    let mut stream = FtpReadStream::new(server, path, offset);
    // Without REST a second time, where the server turns out to refuse it.
    for _ in 0..2 {
        // Still unknown after the try: the file was too short, or changed; this time without it.
        let restart_offset = if server.profile().restart.is_yes() { offset } else { 0 };
        match server.start_reading(path, restart_offset, is_whole, question, deadline) {
            Ok((lease, transfer)) => {
                stream.lease = Some(lease);
                stream.transfer = Some(transfer);
                stream.to_skip = offset - restart_offset;
                return Ok(Box::new(stream));
            }
            Err(PoolError::Refused { verb: "REST", reply }) if reply.class() == ReplyClass::Permanent => {
                server.profile().restart.learn(Verdict::No);
            }
            Err(PoolError::Refused { reply, .. } | PoolError::Aborted { reply }) => {
                return match server.explain_not_read(path, offset, &reply, deadline) {
                    Some(error) => Err(error),
                    None => Ok(Box::new(stream)),
                };
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(RemoteError::Unsupported { what: "reading from an offset" })
}

/// Starts reading at `offset`, on a session that the caller has and in one attempt.
///
/// # Errors
/// Any of [`RemoteError`]; what a refusal means is not looked for. [`RemoteError::Unsupported`] where it is not proved that the server can begin
/// there.
pub(super) fn open_range_on(
    server: &Arc<Server>,
    lease: Lease,
    path: &RemotePath,
    offset: u64,
) -> RemoteResult<Box<dyn ReadStream>> {
    if offset > 0 && !server.profile().restart.is_yes() {
        return Err(RemoteError::Unsupported { what: "reading from an offset" });
    }
    Ok(Box::new(open_on(server, lease, path, offset, &mut Question::none(), server.deadline())?))
}

/// Starts reading at `offset`, on a session that the caller has and where that is proved to work.
///
/// # Errors
/// As for [`pool::Lease::start`].
pub(super) fn open_on(
    server: &Arc<Server>,
    lease: Lease,
    path: &RemotePath,
    offset: u64,
    question: &mut Question<'_>,
    deadline: Instant,
) -> Result<FtpReadStream, PoolError> {
    let (lease, transfer) = server.start_reading_on(lease, path, offset, false, question, deadline)?;
    Ok(FtpReadStream { transfer: Some(transfer), lease: Some(lease), ..FtpReadStream::new(server, path, offset) })
}

impl Server {
    /// What it means that RETR was refused. `None`: there is nothing behind the offset, which is no error; 554, 550 and
    /// others are what servers say to that.
    fn explain_not_read(
        &self,
        path: &RemotePath,
        offset: u64,
        reply: &Reply,
        deadline: Instant,
    ) -> Option<RemoteError> {
        let error = self.explain(path, reply, Purpose::File, deadline);
        let may_be_the_offset = offset > 0 && matches!(error, RemoteError::Refused { .. } | RemoteError::Failed { .. });
        if may_be_the_offset && self.size_of(path, deadline).is_ok_and(|size| size.is_some_and(|size| size <= offset)) {
            return None;
        }
        Some(error)
    }

    fn start_reading(
        &self,
        path: &RemotePath,
        offset: u64,
        is_whole: bool,
        question: &mut Question<'_>,
        deadline: Instant,
    ) -> Result<(Lease, ActiveTransfer), PoolError> {
        self.pool.retry_exclusive(pool::Purpose::Read, deadline, Repeat::Safe, |lease| {
            self.start_reading_on(lease, path, offset, is_whole, question, deadline)
        })
    }

    fn start_reading_on(
        &self,
        mut lease: Lease,
        path: &RemotePath,
        offset: u64,
        is_whole: bool,
        question: &mut Question<'_>,
        deadline: Instant,
    ) -> Result<(Lease, ActiveTransfer), PoolError> {
        let mut prelude = question.commands(self, &lease, path);
        if offset > 0 {
            prelude.push(Command::Rest(offset));
        }
        let command = Command::Retr(path.clone());
        let transfer = match is_whole {
            true => lease.start_whole(&prelude, command, deadline)?,
            false => lease.start(&prelude, command, Direction::Receive, deadline)?,
        };
        question.hear(&transfer);
        Ok((lease, transfer))
    }
}

impl FtpReadStream {
    /// One that has nothing to bring yet.
    fn new(server: &Arc<Server>, path: &RemotePath, offset: u64) -> Self {
        Self {
            server: Arc::clone(server),
            path: path.clone(),
            offset,
            has_begun: false,
            transfer: None,
            lease: None,
            to_skip: 0,
            failure: None,
        }
    }

    /// Stops what is still under way, and gives up the session; `None` where that is given back already.
    pub(super) fn stop(&mut self) -> Option<Lease> {
        self.transfer = None;
        self.lease.take()
    }

    /// The next bytes from the server, the unwanted ones among them; 0 only with the proof of the end.
    fn read_some(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        let Some(transfer) = &mut self.transfer else { return Ok(0) };
        let result = match transfer.read(buffer) {
            Ok(0) => self.transfer.take().map_or(Ok(0), |transfer| transfer.finish_reading().map(|_| 0)),
            result => result,
        };
        match result {
            Ok(0) => {
                // Nothing more to come: others may have the connection.
                self.lease = None;
                Ok(0)
            }
            Ok(len) => {
                self.has_begun = true;
                Ok(len)
            }
            Err(error) => {
                self.transfer = None;
                self.lease = None;
                let error = match error {
                    // libunftp says 150 before it has looked for the file.
                    PoolError::Refused { reply, .. } | PoolError::Aborted { reply } if !self.has_begun => {
                        let deadline = self.server.deadline();
                        match self.server.explain_not_read(&self.path, self.offset, &reply, deadline) {
                            Some(error) => error,
                            None => return Ok(0),
                        }
                    }
                    error => error.into(),
                };
                self.failure = Some(error.clone());
                Err(error)
            }
        }
    }
}

impl ReadStream for FtpReadStream {
    fn read(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        // A second read after an error must not look like the end.
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.to_skip > 0 {
            let mut unwanted = vec![0; usize::try_from(self.to_skip).map_or(SKIPPED_LEN, |len| len.min(SKIPPED_LEN))];
            match self.read_some(&mut unwanted)? {
                0 => return Ok(0),
                len => self.to_skip -= len as u64,
            }
        }
        self.read_some(buffer)
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

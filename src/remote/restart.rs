//! The proof of REST: that a server which takes it begins there.
//!
//! A server that takes REST and then begins at byte 0 would hand out wrong bytes that nothing later could tell from
//! right ones. So REST is believed only after it has been proved once, with the last byte of a file: it is the only one behind its offset
//! exactly where REST works. One reader proves it for all, on the first session that there is; the others wait for that, without a session of
//! their own, while theirs are logged in.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::error::RemoteResult;
use super::refusal::{Meaning, meaning};
use super::server::{Server, parse_number};
use crate::connection::deadlines::after;
use crate::pool::{self, ActiveTransfer, Lease, PoolError, Repeat, Verdict};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;
use crate::protocol::reply::ReplyClass;

/// How long one reader waits for another one's proof.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who proves REST, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct RestartProof {
    readers: Mutex<Readers>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Readers {
    is_running: bool,
    waiting: usize,
}

/// The proof is somebody's, until this is dropped.
struct Running<'a>(&'a RestartProof);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.readers.lock().is_running = false;
        self.0.ended.notify_all();
    }
}

/// What a try has shown.
struct Trial {
    size: u64,
    /// How many bytes came, counted to two.
    bytes: usize,
    /// The size behind that, where it was told there.
    size_behind: Option<u64>,
}

impl Server {
    /// Proves REST, or waits for whoever does. Takes a session for that: nobody may hold one meanwhile. The size that the file is thought to have
    /// saves a round trip where it is right.
    ///
    /// # Errors
    /// As for [`super::Remote::open_read`]; that nothing could be proved is none.
    pub(super) fn prove_restart(&self, path: &RemotePath, thought: Option<u64>, deadline: Instant) -> RemoteResult<()> {
        let proof = &self.known.restart;
        let is_settled = || self.profile().restart.get() != Verdict::Unknown;
        let until = deadline.min(after(PATIENCE));
        let mut readers = proof.readers.lock();
        while readers.is_running && !is_settled() {
            readers.waiting += 1;
            let transfers = readers.waiting + 1;
            // All of them will read at once when it is over.
            self.pool.prepare(transfers);
            let is_late = proof.ended.wait_until(&mut readers, until).timed_out();
            readers.waiting -= 1;
            if is_late && !is_settled() {
                // One file on which the server is silent stops no other.
                drop(readers);
                return self.try_restart(path, thought, deadline);
            }
        }
        if is_settled() {
            return Ok(());
        }
        readers.is_running = true;
        drop(readers);
        let _running = Running(proof);
        self.try_restart(path, thought, deadline)
    }

    fn try_restart(&self, path: &RemotePath, thought: Option<u64>, deadline: Instant) -> RemoteResult<()> {
        if let Some(size) = thought
            && self.try_thought(path, size, deadline)?
        {
            return Ok(());
        }
        let mut size = None;
        // Once more with a size that was found in another way.
        for _ in 0..2 {
            if self.profile().size.is_no() {
                size = self.size_of(path, deadline)?;
                if size.is_none() {
                    return Ok(());
                }
            }
            let tried = self.pool.retry_exclusive(pool::Purpose::Read, deadline, Repeat::Safe, |mut lease| {
                try_restart_on(&mut lease, path, size, size.is_none(), deadline)
            });
            match tried {
                Ok(Some(Trial { size, .. })) if size < 2 => return Ok(()),
                Ok(Some(trial)) => return self.judge(path, &trial, deadline).map(|_| ()),
                Ok(None) => {}
                Err(PoolError::Refused { verb: "REST", reply }) if reply.class() == ReplyClass::Permanent => {
                    self.profile().restart.learn(Verdict::No);
                    return Ok(());
                }
                // The RETR that follows will be refused too, and explained there.
                Err(PoolError::Refused { .. } | PoolError::Aborted { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            size = self.size_of(path, deadline)?;
            if size.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tries it with a size that the server was not asked for before; false where that has shown nothing.
    fn try_thought(&self, path: &RemotePath, size: u64, deadline: Instant) -> RemoteResult<bool> {
        let asks_behind = !self.profile().size.is_no();
        let tried = self.pool.retry_exclusive(pool::Purpose::Read, deadline, Repeat::Safe, |mut lease| {
            try_restart_on(&mut lease, path, Some(size), asks_behind, deadline)
        });
        match tried {
            Ok(Some(Trial { size, .. })) if size < 2 => Ok(false),
            Ok(Some(trial)) => self.judge(path, &trial, deadline),
            // It may be shorter by now.
            Ok(None) | Err(PoolError::Refused { .. } | PoolError::Aborted { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Learns what a try has shown; false where that is nothing, for the file has another size behind it.
    fn judge(&self, path: &RemotePath, trial: &Trial, deadline: Instant) -> RemoteResult<bool> {
        let size_behind = match trial.size_behind {
            None => self.size_of(path, deadline)?,
            told => told,
        };
        let is_same = size_behind == Some(trial.size);
        if is_same {
            self.profile().restart.learn_if(trial.bytes == 1);
        }
        Ok(is_same)
    }

    /// The file's size: SIZE, or what [`Self::stat`] finds where that is not answered.
    ///
    /// # Errors
    /// As for [`Self::stat`].
    pub(super) fn size_of(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<Option<u64>> {
        if !self.profile().size.is_no() {
            let reply = self.ask_one(Command::Size(path.clone()), deadline)?;
            if let Some(size) = parse_number(&reply) {
                return Ok(Some(size));
            }
            if meaning(&reply) == Meaning::NotUnderstood {
                self.profile().size.learn(Verdict::No);
            }
        }
        Ok(self.stat(path, deadline)?.size)
    }
}

/// Reads the last byte of a file, of `known` size where that is known, and asks for its size behind that. `None` where SIZE does not tell it before.
fn try_restart_on(
    lease: &mut Lease,
    path: &RemotePath,
    known: Option<u64>,
    asks_behind: bool,
    deadline: Instant,
) -> Result<Option<Trial>, PoolError> {
    let question = Command::Size(path.clone());
    let size = match known {
        None => parse_number(&lease.control().exchange(question.clone(), deadline)?),
        known => known,
    };
    let Some(size) = size else { return Ok(None) };
    if size < 2 {
        return Ok(Some(Trial { size, bytes: 0, size_behind: None }));
    }
    let questions = if asks_behind { vec![question.clone()] } else { Vec::new() };
    let prelude = [Command::Rest(size - 1)];
    let mut transfer = lease.start_and_ask(&prelude, Command::Retr(path.clone()), &questions, deadline)?;
    let bytes = count_up_to_two(&mut transfer)?;
    // Of what is not over nothing behind it is waited for.
    let answers = if bytes == 1 { transfer.answers() } else { Vec::new() };
    drop(transfer);
    let size_behind = match answers.first() {
        None if bytes == 1 && asks_behind => Some(lease.control().exchange(question, deadline)?),
        told => told.cloned(),
    };
    Ok(Some(Trial { size, bytes, size_behind: size_behind.as_ref().and_then(parse_number) }))
}

/// How many bytes come, counted to two; with the proof of the end where it is fewer.
fn count_up_to_two(transfer: &mut ActiveTransfer) -> Result<usize, PoolError> {
    let mut count = 0;
    while count < 2 {
        match transfer.read(&mut [0; 2])? {
            0 => break,
            len => count += len,
        }
    }
    Ok(count)
}

//! The asking side: which mounts there are, and a request to one of them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;
use serde::de::DeserializeOwned;

use super::error::ControlError;
use super::line::{self, LineReader};
use super::message::{REPLY_LEN_MAX, Reply, Request};
use super::runtime::{RuntimeDirectory, Socket};
use super::status::Status;

/// How long a mount may take for what it answers from memory.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A request that was sent.
#[derive(Debug)]
pub struct Pending {
    stream: UnixStream,
    reader: LineReader,
    process: Option<OwnedFd>,
}

impl Pending {
    /// Sends a request.
    ///
    /// # Errors
    /// [`ControlError::Gone`], [`ControlError::TimedOut`], [`ControlError::Io`].
    pub fn send(directory: &RuntimeDirectory, socket: &Socket, request: &Request) -> Result<Self, ControlError> {
        let stream = directory.connect(socket)?;
        // While we are connected the process lives, so it is this one and no later one of the same number.
        let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(io::Error::from)?;
        let process = rustix::process::pidfd_open(peer.pid, PidfdFlags::empty()).ok();
        line::write(&stream, request.encode().as_bytes(), Instant::now() + ANSWER_DEADLINE)?;
        Ok(Self { stream, reader: LineReader::default(), process })
    }

    /// Waits for the reply until `deadline`; `None` where it has not come by then, and may be waited for again.
    ///
    /// # Errors
    /// [`ControlError::Refused`], [`ControlError::Garbled`], [`ControlError::Io`]; [`ControlError::Gone`] where the connection ended
    /// without a reply.
    pub fn wait<T: DeserializeOwned>(&mut self, deadline: Instant) -> Result<Option<T>, ControlError> {
        let line = match self.reader.read(&self.stream, REPLY_LEN_MAX, deadline) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ControlError::Gone),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(ControlError::Gone),
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice(&line) {
            Ok(Reply::Answer(answer)) => Ok(Some(answer)),
            Ok(Reply::Refused { error }) => Err(ControlError::Refused(error)),
            Err(error) => Err(ControlError::Garbled(error.to_string())),
        }
    }

    /// Waits until the mount's process has ended, at most until `deadline`, and says whether it has.
    pub fn wait_process(&self, deadline: Instant) -> bool {
        let (descriptor, flags) = match &self.process {
            Some(process) => (process.as_fd(), PollFlags::IN),
            // A process of another namespace: the end of its connections is the end of it.
            None => (self.stream.as_fd(), PollFlags::RDHUP),
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::from_borrowed_fd(descriptor, flags)];
            let timeout = Timespec::try_from(left).unwrap_or_default();
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => return true,
                // A signal; the deadline ends this.
                Err(_) if !left.is_zero() => {}
                Err(_) => return false,
            }
        }
    }
}

/// Sends a request that is answered from memory, and waits for its reply.
///
/// # Errors
/// Those of [`Pending::send`] and [`Pending::wait`].
pub fn ask<T: DeserializeOwned>(
    directory: &RuntimeDirectory,
    socket: &Socket,
    request: &Request,
) -> Result<T, ControlError> {
    let mut pending = Pending::send(directory, socket, request)?;
    pending.wait(Instant::now() + ANSWER_DEADLINE)?.ok_or(ControlError::TimedOut)
}

/// Finds the mounts of this user that answer, or those on one mountpoint, each with what it is doing; those that are ending come
/// last. Sockets of dead mounts are removed on the way.
///
/// # Errors
/// The directory cannot be read; or there is a mount and it does not answer.
pub fn find(directory: &RuntimeDirectory, mountpoint: Option<&Path>) -> Result<Vec<(Socket, Status)>, ControlError> {
    let mut found: Vec<(Socket, Status)> = Vec::new();
    let mut failure = None;
    for socket in directory.sockets()? {
        if mountpoint.is_some_and(|mountpoint| !socket.is_of(mountpoint)) {
            continue;
        }
        match ask(directory, &socket, &Request::Status) {
            Ok(status) => found.push((socket, status)),
            Err(ControlError::Gone) => {}
            Err(error) => {
                tracing::warn!(?socket, "{error}");
                failure = Some(error);
            }
        }
    }
    found.sort_by(|(_, one), (_, other)| (one.ending, &one.mountpoint).cmp(&(other.ending, &other.mountpoint)));
    match failure {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

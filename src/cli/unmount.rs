//! `ftpfs umount`: upload, unmount, and wait for the end of the mount's process.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::arguments::UmountArguments;
use super::exit_code::Exit;
use super::messages::Failed;
use super::progress::Progress;
use super::requests::{flush_mount, unsaved};
use crate::control::{ControlError, Ended, Pending, Request, RuntimeDirectory, Socket, Status, ask, find};
use crate::fuse::{Detach, absolute, unmount};

/// How often the progress line looks again.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// How much longer than its shutdown timeout the end of a mount may take: it closes connections, and says what came of it.
const GRACE: Duration = Duration::from_secs(10);

/// Unmounts.
///
/// # Errors
/// It is in use or not there; or the mount ended with files that are not on the server.
pub(super) fn run(options: &UmountArguments) -> Result<ExitCode, Failed> {
    if options.lazy {
        unmount(&options.mountpoint, Detach::Lazily)?;
        return Ok(Exit::Success.into());
    }
    let mountpoint = absolute(&options.mountpoint)?;
    let Some((directory, socket, status)) = reach(&mountpoint) else {
        // Dead, or without a socket: nobody can be waited for.
        unmount(&mountpoint, Detach::Politely)?;
        return Ok(Exit::Success.into());
    };
    let timeout = Duration::try_from_secs_f64(status.shutdown_timeout_seconds).unwrap_or_default();
    // What fails here, and whether there is time, the end of the mount says better.
    let flushed = flush_mount(&directory, &socket, Some(Instant::now() + timeout));
    if let Err(error) = flushed {
        tracing::debug!(%error, "the mount could not be told to upload");
    }
    let end = await_end(&directory, &socket);
    unmount(&mountpoint, Detach::Politely)?;
    let ended = wait(&directory, &socket, end?, timeout + GRACE)?;
    if ended.unsaved_count > 0 {
        return Err(unsaved("not stored when the mount ended", &ended.unsaved, ended.unsaved_count));
    }
    Ok(ended.exit.into())
}

/// The mount that is seen there, with its socket.
fn reach(mountpoint: &Path) -> Option<(RuntimeDirectory, Socket, Status)> {
    let directory = RuntimeDirectory::of_user().ok()?;
    let found = find(&directory, Some(mountpoint)).ok()?;
    let (socket, status) = found.into_iter().find(|(_, status)| !status.ending)?;
    Some((directory, socket, status))
}

/// Asks to be told of the end. Requests are taken up in turn, so once a later one is answered this one counts, however soon the
/// end comes.
fn await_end(directory: &RuntimeDirectory, socket: &Socket) -> Result<Pending, ControlError> {
    let end = Pending::send(directory, socket, &Request::End)?;
    let _: Status = ask(directory, socket, &Request::Status)?;
    Ok(end)
}

/// Waits until the process is gone, and returns what it said of its end.
fn wait(
    directory: &RuntimeDirectory,
    socket: &Socket,
    mut end: Pending,
    patience: Duration,
) -> Result<Ended, ControlError> {
    let deadline = Instant::now() + patience;
    let mut progress = Progress::new();
    let ended = loop {
        if let Some(ended) = end.wait(deadline.min(Instant::now() + PROGRESS_INTERVAL))? {
            break ended;
        }
        if Instant::now() >= deadline {
            return Err(ControlError::TimedOut);
        }
        if let (true, Ok(status)) = (progress.is_seen(), ask(directory, socket, &Request::Status)) {
            progress.show(&status);
        }
    };
    if end.wait_process(deadline) { Ok(ended) } else { Err(ControlError::TimedOut) }
}

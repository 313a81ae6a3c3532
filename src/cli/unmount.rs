//! `ftpfs umount`: upload, unmount, and wait for the end of the mount's process.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::arguments::UmountArguments;
use super::exit_code::Exit;
use super::flush::{Until, flush_mount};
use super::messages::Failed;
use super::progress::Progress;
use super::status_text::titled;
use crate::control::{ControlError, Ended, Pending, Request, RuntimeDirectory, Socket, Status, ask, find};
use crate::fuse::{Detach, absolute, unmount};

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
    let mut progress = Progress::new();
    let until = Until::NoProgress(Some(Instant::now() + timeout));
    let flushed = flush_mount(&directory, &socket, until, &mut progress);
    if let Err(error) = flushed {
        tracing::debug!(%error, "the mount could not be told to upload");
    }
    let end = await_end(&directory, &socket);
    unmount(&mountpoint, Detach::Politely)?;
    let ended = wait(&directory, &socket, end?, timeout + GRACE, &mut progress)?;
    progress.clear();
    if ended.unsaved_count > 0 { Err(unsaved(&ended, &status)) } else { Ok(ended.exit.into()) }
}

/// The mount ended with files that are not on the server.
fn unsaved(ended: &Ended, status: &Status) -> Failed {
    let (exit, what) = if ended.kept_count == ended.unsaved_count {
        (Exit::Kept, format!("kept in the journal; the next mount of {} delivers them", status.server))
    } else {
        (Exit::Unsaved, "not stored when the mount ended".into())
    };
    Failed::new(exit, titled(&what, &ended.unsaved, ended.unsaved_count).join("\n"))
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
    progress: &mut Progress,
) -> Result<Ended, ControlError> {
    let deadline = Instant::now() + patience;
    let ended = loop {
        if let Some(ended) = end.wait(deadline.min(progress.next()))? {
            break ended;
        }
        if Instant::now() >= deadline {
            return Err(ControlError::TimedOut);
        }
        if let Ok(status) = ask(directory, socket, &Request::Status) {
            progress.look(&status);
        }
    };
    if end.wait_process(deadline) { Ok(ended) } else { Err(ControlError::TimedOut) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Unsaved;

    #[test]
    fn what_is_kept_has_another_code_and_sentence_than_what_is_not() {
        let status = Status { server: "ftp://h/d".into(), ..Status::default() };
        let file = |path: &str, in_journal| Unsaved { path: path.into(), in_journal, ..Unsaved::default() };
        let ended = |kept_count| Ended {
            unsaved_count: 2,
            kept_count,
            unsaved: vec![file("/a", true), file("/b", kept_count == 2)],
            ..Ended::default()
        };
        let kept = unsaved(&ended(2), &status);
        assert_eq!(kept.exit, Exit::Kept);
        assert!(
            kept.to_string().contains("2 files: kept in the journal; the next mount of ftp://h/d delivers"),
            "{kept}"
        );
        let lost = unsaved(&ended(1), &status);
        assert_eq!(lost.exit, Exit::Unsaved);
        assert!(
            lost.to_string()
                .contains("2 files: not stored when the mount ended\n       /a  0 B, for 0 s, in the journal"),
            "{lost}"
        );
    }
}

//! `ftpfs flush`, and the uploads before an unmount: waits until all is on the server, and says what is not, and why.
//!
//! The mount tries each file once for a request. Here it is asked again: as long as that brings anything to the server, or until the
//! deadline where the user has set one.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::arguments::FlushArguments;
use super::exit_code::Exit;
use super::messages::Failed;
use super::progress::Progress;
use super::requests::no_mount;
use super::status_text;
use crate::control::{ControlError, Flushed, Pending, Request, RuntimeDirectory, Socket, Status, Unsaved, ask, find};
use crate::fuse::absolute;

/// How long to wait after an attempt that brought nothing to the server; doubled up to the second.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// `ftpfs flush`.
///
/// # Errors
/// No mount there, or none that answers; files that are not on the server.
pub(super) fn flush(options: &FlushArguments) -> Result<ExitCode, Failed> {
    let directory = RuntimeDirectory::of_user()?;
    let mountpoint = absolute(&options.mountpoint)?;
    let (socket, _) = find(&directory, Some(&mountpoint))?.into_iter().next().ok_or_else(|| no_mount(&mountpoint))?;
    let until = options.timeout.map_or(Until::NoProgress(None), |timeout| Until::Deadline(Instant::now() + timeout));
    let left = flush_mount(&directory, &socket, until, &mut Progress::new())?;
    left.failure().map_or(Ok(Exit::Success.into()), Err)
}

/// How long uploads are tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// As long as they get on, and no longer than this.
    NoProgress(Option<Instant>),
    /// Again and again, until then.
    Deadline(Instant),
}

impl Until {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::NoProgress(deadline) => deadline,
            Self::Deadline(deadline) => Some(deadline),
        }
    }
}

/// What is not on the server after all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Files that could not be uploaded, or for which there was no time.
    pub(super) files: Vec<Unsaved>,
    pub(super) count: usize,
    /// How many of them are in the journal.
    pub(super) kept_count: usize,
    /// Whether the deadline came first.
    pub(super) out_of_time: bool,
    /// Files that were given up meanwhile: nobody tries to upload them any more.
    pub(super) given_up: Vec<Unsaved>,
    pub(super) given_up_count: usize,
}

impl Left {
    fn failed(flushed: Flushed, before: &Status, after: &Status) -> Self {
        let Flushed { failed, failed_count: count, kept_count } = flushed;
        Self { files: failed, count, kept_count, ..Self::default() }.with_given_up(before, after)
    }

    fn out_of_time(before: &Status, after: &Status) -> Self {
        let dirty = &after.dirty;
        let (files, count, kept_count) = (dirty.files.clone(), dirty.count, dirty.in_journal);
        Self { files, count, kept_count, out_of_time: true, ..Self::default() }.with_given_up(before, after)
    }

    fn with_given_up(self, before: &Status, after: &Status) -> Self {
        let given_up_count = after.lost.count.saturating_sub(before.lost.count);
        let given_up = after.lost.files.iter().take(given_up_count).cloned().collect();
        Self { given_up, given_up_count, ..self }
    }

    /// What to tell, and the exit code; `None` where all is on the server.
    fn failure(&self) -> Option<Failed> {
        let mut lines = Vec::new();
        let is_kept = self.kept_count == self.count;
        if self.count > 0 {
            let what = match (is_kept, self.out_of_time) {
                (true, _) => "not on the server yet; in the journal, and delivered as soon as the server takes them",
                (false, true) => "not stored in time",
                (false, false) => "not stored",
            };
            lines.extend(status_text::titled(what, &self.files, self.count));
        }
        if self.given_up_count > 0 {
            let what = "given up; `ftpfs status` says where what was set aside lies";
            lines.extend(status_text::titled(what, &self.given_up, self.given_up_count));
        }
        let exit = if is_kept && self.given_up_count == 0 { Exit::Kept } else { Exit::Unsaved };
        (!lines.is_empty()).then(|| Failed::new(exit, lines.join("\n")))
    }
}

/// Has the mount upload what is dirty, and shows how it gets on. Where the deadline comes first, the mount goes on by itself.
///
/// # Errors
/// The mount does not answer.
pub(super) fn flush_mount(
    directory: &RuntimeDirectory,
    socket: &Socket,
    until: Until,
    progress: &mut Progress,
) -> Result<Left, ControlError> {
    let status = || ask::<Status>(directory, socket, &Request::Status);
    let begin = status()?;
    let (mut before, mut pause) = (begin.clone(), PAUSE);
    loop {
        let flushed = try_once(directory, socket, until.deadline(), progress)?;
        let after = status()?;
        let Some(flushed) = flushed else { return Ok(Left::out_of_time(&begin, &after)) };
        let got_on = has_got_on(&before, &after);
        match until {
            _ if flushed.failed_count == 0 => return Ok(Left::failed(flushed, &begin, &after)),
            Until::NoProgress(_) if !got_on => return Ok(Left::failed(flushed, &begin, &after)),
            Until::Deadline(deadline) if !got_on => {
                thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
                pause = (pause * 2).min(PAUSE_MAX);
            }
            _ => pause = PAUSE,
        }
        if until.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Left::out_of_time(&begin, &after));
        }
        before = after;
    }
}

/// Whether less is missing on the server than before. What is written meanwhile may hide that; then it was enough.
fn has_got_on(before: &Status, after: &Status) -> bool {
    let missing = |status: &Status| status.dirty.bytes.saturating_sub(status.dirty.sent);
    after.dirty.count < before.dirty.count || missing(after) < missing(before)
}

/// One attempt at each file; `None` where the deadline came first.
fn try_once(
    directory: &RuntimeDirectory,
    socket: &Socket,
    deadline: Option<Instant>,
    progress: &mut Progress,
) -> Result<Option<Flushed>, ControlError> {
    let mut pending = Pending::send(directory, socket, &Request::Flush)?;
    loop {
        let next = progress.next();
        if let Some(flushed) = pending.wait(deadline.map_or(next, |deadline| deadline.min(next)))? {
            return Ok(Some(flushed));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
        // A mount that is too busy to tell uploads all the same.
        if let Ok(status) = ask(directory, socket, &Request::Status) {
            progress.look(&status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::{DirtyStatus, LostStatus};

    fn file(path: &str) -> Unsaved {
        Unsaved { path: path.into(), ..Unsaved::default() }
    }

    fn status(count: usize, bytes: u64, sent: u64, lost: &[&str]) -> Status {
        Status {
            dirty: DirtyStatus { count, bytes, sent, ..DirtyStatus::default() },
            lost: LostStatus { count: lost.len(), files: lost.iter().map(|path| file(path)).collect() },
            ..Status::default()
        }
    }

    #[test]
    fn progress_is_less_that_is_missing() {
        let before = status(2, 100, 10, &[]);
        for (after, got_on) in [((2, 100, 10), false), ((2, 100, 9), false), ((2, 100, 11), true), ((1, 100, 10), true)]
        {
            assert_eq!(has_got_on(&before, &status(after.0, after.1, after.2, &[])), got_on, "{after:?}");
        }
    }

    #[test]
    fn code_says_whether_what_is_missing_is_in_the_journal() {
        let before = status(0, 0, 0, &["/before"]);
        let left = |failed: &[&str], kept_count, lost: &[&str]| {
            let failed: Vec<Unsaved> = failed.iter().map(|path| file(path)).collect();
            let flushed = Flushed { failed_count: failed.len(), kept_count, failed };
            Left::failed(flushed, &before, &status(0, 0, 0, lost)).failure()
        };
        assert_eq!(left(&[], 0, &["/before"]), None);
        let kept = left(&["/a", "/b"], 2, &["/before"]).unwrap();
        assert!(kept.exit == Exit::Kept && kept.to_string().contains("2 files: not on the server yet; in the journal"));
        let mixed = left(&["/a", "/b"], 1, &["/before"]).unwrap();
        assert!(mixed.exit == Exit::Unsaved && mixed.to_string().contains("2 files: not stored\n"), "{mixed}");
        let given_up = left(&["/a"], 1, &["/new", "/before"]).unwrap();
        assert!(given_up.exit == Exit::Unsaved && given_up.to_string().contains("1 file: given up"), "{given_up}");
        assert!(given_up.to_string().contains("/new") && !given_up.to_string().contains("/before"), "{given_up}");
        // A file that is refused for good is tried no more: the next attempt has nothing to do.
        assert_eq!(left(&[], 0, &["/new", "/before"]).unwrap().exit, Exit::Unsaved);
    }
}

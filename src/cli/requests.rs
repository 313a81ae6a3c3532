//! `ftpfs status` and `ftpfs refresh`: what is asked of a mount that is there.

use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::arguments::{RefreshArguments, StatusArguments};
use super::exit_code::Exit;
use super::messages::Failed;
use super::status_text;
use crate::control::{ControlError, Done, Pending, Request, RuntimeDirectory, Status, find};
use crate::fuse::{MountError, absolute};

/// How often `--watch` looks again.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a refresh may wait for operations under way in the mount, which have deadlines of their own.
const REFRESH_DEADLINE: Duration = Duration::from_secs(120);

/// `ftpfs status`.
///
/// # Errors
/// No mount there, or none that answers.
pub(super) fn status(options: &StatusArguments) -> Result<ExitCode, Failed> {
    let directory = RuntimeDirectory::of_user()?;
    let mountpoint = options.mountpoint.as_deref().map(absolute).transpose()?;
    loop {
        let found = find(&directory, mountpoint.as_deref())?;
        let found: Vec<Status> = found.into_iter().map(|(_, status)| status).collect();
        if let (Some(mountpoint), true) = (&mountpoint, found.is_empty()) {
            return Err(no_mount(mountpoint));
        }
        if show(&found, options).is_err() || !options.watch {
            // Whoever read this has read enough, as `head` does.
            return Ok(Exit::Success.into());
        }
        thread::sleep(WATCH_INTERVAL);
    }
}

fn show(found: &[Status], options: &StatusArguments) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if options.json {
        match (&options.mountpoint, found) {
            (Some(_), [status, ..]) => serde_json::to_writer(&mut output, status)?,
            _ => serde_json::to_writer(&mut output, found)?,
        }
    } else {
        if options.watch && output.is_terminal() {
            write!(output, "\x1b[H\x1b[2J")?;
        }
        let now = SystemTime::now();
        let texts: Vec<String> = found.iter().map(|status| status_text::status(status, now)).collect();
        match texts.as_slice() {
            [] => write!(output, "No ftpfs of this user is mounted.")?,
            texts => write!(output, "{}", texts.join("\n\n"))?,
        }
    }
    writeln!(output)?;
    output.flush()
}

/// `ftpfs refresh`.
///
/// # Errors
/// No mount there, or none that answers; a path that is not in it.
pub(super) fn refresh(options: &RefreshArguments) -> Result<ExitCode, Failed> {
    let directory = RuntimeDirectory::of_user()?;
    let mountpoint = absolute(&options.mountpoint)?;
    let path = options.path.as_deref().map_or_else(|| Ok(PathBuf::new()), |path| within(&mountpoint, options, path))?;
    let request = Request::Refresh { path: path.as_os_str().as_bytes().to_vec() };
    let mut served = 0_usize;
    for (socket, status) in find(&directory, Some(&mountpoint))? {
        if !status.ending {
            let answer = Pending::send(&directory, &socket, &request)?.wait(Instant::now() + REFRESH_DEADLINE)?;
            let Done { .. } = answer.ok_or(ControlError::TimedOut)?;
            served += 1;
        }
    }
    if served == 0 { Err(no_mount(&mountpoint)) } else { Ok(Exit::Success.into()) }
}

/// `path` from the mountpoint on. Nothing is looked up for it: what is asked for may be what the mount believes not to be there.
fn within(mountpoint: &Path, options: &RefreshArguments, path: &Path) -> Result<PathBuf, Failed> {
    let outside = || Failed::new(Exit::Usage, format!("{} is not in {}", path.display(), mountpoint.display()));
    let relative = if path.is_absolute() {
        // As it was typed, or as it is without symbolic links.
        let typed = std::path::absolute(&options.mountpoint).unwrap_or_default();
        path.strip_prefix(mountpoint).or_else(|_| path.strip_prefix(typed)).map_err(|_| outside())?
    } else {
        path
    };
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if relative.components().all(is_inside) { Ok(relative.to_owned()) } else { Err(outside()) }
}

/// Nothing answers for this mountpoint.
pub(super) fn no_mount(mountpoint: &Path) -> Failed {
    Failed::mounting(&MountError::NotMounted(mountpoint.to_owned()))
}

impl From<ControlError> for Failed {
    fn from(error: ControlError) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_taken_from_the_mountpoint_or_refused() {
        let options = RefreshArguments { mountpoint: "/link".into(), path: None };
        let within = |path: &str| within(Path::new("/mnt"), &options, Path::new(path)).ok();
        for (path, relative) in [("a/b", "a/b"), ("/mnt/a", "a"), ("/link/a", "a"), ("/mnt", ""), ("./a", "./a")] {
            assert_eq!(within(path).as_deref(), Some(Path::new(relative)), "{path}");
        }
        for path in ["/", "/mnt2/a", "../a", "/mnt/../etc"] {
            assert_eq!(within(path), None, "{path}");
        }
    }
}

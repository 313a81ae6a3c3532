//! Going to the background, once the mount is ready and not before; and starting anew without what `ps` must not show.
//!
//! The program starts itself again: no fork of a process that may have threads. The arguments of the new process are for `ps` alone,
//! and its environment is ours without passwords. What it needs goes through its standard input (`handover`); that it is ready comes
//! back through its standard output. Its complaints until then go to the terminal, and its exit code is ours.

use std::env;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::credentials;
use super::handover::Handover;
use super::proxy;

/// What the first argument is of a process that takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It stays in the background.
    Background,
    /// It is the one that was called, with other arguments.
    Anew,
}

impl Stage {
    const ALL: [Self; 2] = [Self::Background, Self::Anew];

    fn mark(self) -> &'static str {
        match self {
            Self::Background => "--internal-in-background",
            Self::Anew => "--internal-started-anew",
        }
    }

    /// The stage that this first argument stands for.
    pub(super) fn marked(argument: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| argument == stage.mark())
    }
}

/// What `ps` shows of a mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    /// Without password.
    pub(super) url: &'a str,
    /// Where it is mounted.
    pub(super) mountpoint: &'a Path,
}

/// What the child says when the mount is ready.
const READY: &str = "ready";

/// How starting the child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// Mounted; the child stays.
    Ready,
    /// The child has ended with this exit code, and has said why.
    Ended(u8),
}

/// Starts this program again for the background, and waits until it is ready or has ended.
///
/// # Errors
/// It could not be started, or ended without an exit code.
pub(super) fn start(handover: &Handover, shown: Shown<'_>) -> io::Result<Started> {
    let mut command = next_process(Stage::Background, handover, shown);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A child that has ended already says by itself why.
        let _ = pipe.write_all(&handover.encode());
    }
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line)?;
    }
    if line.trim_end() == READY {
        return Ok(Started::Ready);
    }
    match child.wait()?.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(Started::Ended(code)),
        None => Err(io::Error::other("the process for the background was killed")),
    }
}

/// Puts the program in the place of this process anew: arguments, environment and memory with passwords are gone then. Returns only
/// where that fails.
pub(super) fn start_anew(handover: &Handover, shown: Shown<'_>) -> io::Error {
    match in_memory(handover) {
        // A program that cannot be started leaves this process with its input changed.
        Ok(file) => match File::open(own_program()) {
            Ok(_) => next_process(Stage::Anew, handover, shown).stdin(file).exec(),
            Err(error) => error,
        },
        Err(error) => error,
    }
}

/// A file that has no name, and goes when the next process has read it.
fn in_memory(handover: &Handover) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("handover", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&handover.encode())?;
    file.rewind()?;
    Ok(file)
}

fn next_process(stage: Stage, handover: &Handover, shown: Shown<'_>) -> Command {
    let mut command = Command::new(own_program());
    if let Some(name) = handover.arguments.first() {
        command.arg0(name);
    }
    command.arg(stage.mark()).arg(shown.url).arg(shown.mountpoint);
    command.env_remove(credentials::PASSWORD_VARIABLE).env_remove(proxy::PASSWORD_VARIABLE);
    for variable in proxy::VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// The file of this program. By its path, so that `ps` and `pgrep` show its name; `/proc/self/exe` does too where the file was
/// moved or replaced meanwhile, but there the process is called "exe".
fn own_program() -> PathBuf {
    env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// In the child: tells the parent that all is ready, and lets go of everything it was started with.
///
/// # Errors
/// The parent is gone: whoever waited for the mount has given up.
pub(super) fn announce_ready() -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{READY}")?;
    output.flush()?;
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    // Whatever directory we were started in can be unmounted.
    env::set_current_dir("/")
}

//! A mount asked from outside: status, flush, refresh, umount, through the socket and through the kernel.
//!
//! Most of it over a server in memory, with the mount in this process and the program asking it; what is about the mount's own
//! process, with the program on both sides and the embedded server behind it. Needs /dev/fuse and root, or fusermount3.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

#[path = "support/servers.rs"]
mod servers;

#[path = "control/asked.rs"]
mod asked;
#[path = "control/kept.rs"]
mod kept;
#[path = "control/process.rs"]
mod process;
#[path = "control/state.rs"]
mod state;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ftpfs::control::{RuntimeDirectory, find};

/// No condition that a test waits for takes longer, unless it will never come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Runs the program with its sockets in `runtime`.
pub(crate) fn ftpfs(runtime: &Path, arguments: &[&str]) -> Output {
    command(runtime, arguments).output().unwrap()
}

/// The program, with a time limit.
pub(crate) fn command(runtime: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60", env!("CARGO_BIN_EXE_ftpfs")]).args(arguments);
    command.env("FTPFS_RUNTIME_DIR", runtime).env("LC_ALL", "C").env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that has written to a file and holds it open.
pub(crate) struct Writer(Child);

impl Writer {
    /// Returns when the mount, whose socket lies in `runtime`, has what was written.
    pub(crate) fn start(runtime: &Path, path: &Path, content: &str) -> Self {
        // Not a shell: it duplicates descriptors and closes them again, and each close is an upload.
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "60", "tee"]).arg(path).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(content.as_bytes()).unwrap();
        let runtime = RuntimeDirectory::at(runtime).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        servers::wait_until("the mount has what was written", || {
            let files = find(&runtime, None).unwrap().remove(0).1.dirty.files;
            files.iter().any(|file| file.path.ends_with(name) && file.bytes == content.len() as u64)
        });
        Self(child)
    }

    /// Lets it close the file and end.
    pub(crate) fn finish(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

//! The mount's own process: its end, its signals, and what it leaves behind when it is killed.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use ftpfs::control::{Ended, Pending, Request, RuntimeDirectory, Status, find};
use tempfile::TempDir;

use super::servers::{PASSWORD, Server, ServerKind, ServerSettings, wait_until};
use super::{SOON, Writer, errors, ftpfs, text};

/// A mountpoint, a directory for sockets, and a log.
pub(super) struct Place {
    pub(super) folder: TempDir,
    /// Shared with other places, so that their mounts know each other.
    shared: PathBuf,
}

pub(super) struct Running {
    pub(super) process: Child,
}

impl Running {
    pub(super) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mnt")).unwrap();
        let shared = folder.path().to_owned();
        Self { folder, shared }
    }

    /// Another mountpoint, with the same directories for sockets and for state.
    pub(super) fn another(&self) -> Self {
        let mut place = Self::new();
        place.shared.clone_from(&self.shared);
        place
    }

    pub(super) fn mountpoint(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    pub(super) fn runtime(&self) -> PathBuf {
        self.shared.join("run")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.shared.join("state")
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(super) fn ask(&self, command: &str) -> Output {
        ftpfs(&self.runtime(), &[command, self.mountpoint().to_str().unwrap()])
    }

    /// What its mount tells of itself.
    pub(super) fn status(&self) -> Status {
        let output = ftpfs(&self.runtime(), &["status", "--json", self.mountpoint().to_str().unwrap()]);
        assert!(output.status.success(), "{}", errors(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs the program, which is not to mount anything, and returns its exit code and what it said.
    pub(super) fn refused(&self, server: &Server, options: &[&str]) -> (Option<i32>, String) {
        let said = self.folder.path().join("refused");
        let mut command = self.command(server, options);
        command.stderr(fs::File::create(&said).unwrap());
        let mut process = super::servers::spawn(command);
        // One that refuses its arguments has ended before it reads this.
        let _ = writeln!(process.stdin.take().unwrap(), "{PASSWORD}");
        let mut running = Running { process };
        let mut status = None;
        wait_until("it is refused", || {
            status = running.process.try_wait().unwrap();
            status.is_some()
        });
        (status.and_then(|status| status.code()), fs::read_to_string(&said).unwrap())
    }

    fn sockets(&self) -> usize {
        fs::read_dir(self.runtime()).unwrap().count()
    }

    /// The program, to mount in the foreground.
    fn command(&self, server: &Server, options: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_ftpfs"), "-f", "--password-stdin"]).args(options);
        command.arg("--state-dir").arg(self.state()).arg(server.url()).arg(self.mountpoint());
        command.env("FTPFS_RUNTIME_DIR", self.runtime());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command
    }

    /// Mounts, in the foreground, and returns when it answers.
    pub(super) fn mount(&self, server: &Server, options: &[&str]) -> Running {
        let mut command = self.command(server, options);
        command.stderr(fs::File::create(self.folder.path().join("log")).unwrap());
        let mut process = super::servers::spawn(command);
        writeln!(process.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        let mut running = Running { process };
        wait_until("the mount answers", || {
            assert!(running.process.try_wait().unwrap().is_none(), "not mounted: {}", self.log());
            self.ask("status").status.success()
        });
        running
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", "-q"]).arg(self.mountpoint()).stderr(Stdio::null()).status();
    }
}

pub(super) fn server() -> Server {
    Server::start(ServerKind::Embedded, ServerSettings::default()).unwrap()
}

#[test]
fn umount_returns_when_the_process_is_gone() {
    let (server, place) = (server(), Place::new());
    let mut running = place.mount(&server, &[]);
    fs::write(place.mountpoint().join("a"), "text\n").unwrap();
    let output = place.ask("umount");
    assert!(output.status.success(), "{}\n{}", errors(&output), place.log());
    let ended = running.process.try_wait().unwrap();
    assert!(ended.expect("umount returned, and the process was still there").success());
    assert_eq!(fs::read_to_string(server.folder().join("a")).unwrap(), "text\n");
    assert_eq!(place.sockets(), 0);
}

#[test]
fn umount_of_a_mount_in_use_says_so_and_leaves_it_whole() {
    let (server, place) = (server(), Place::new());
    let mut running = place.mount(&server, &[]);
    let user = Writer::start(&place.runtime(), &place.mountpoint().join("a"), "text\n");
    let output = place.ask("umount");
    assert_eq!(output.status.code(), Some(6), "{}", errors(&output));
    assert!(errors(&output).contains("is in use"), "{}", errors(&output));
    assert_eq!(fs::read_to_string(server.folder().join("a")).unwrap(), "text\n", "it was uploaded before");
    assert!(running.process.try_wait().unwrap().is_none());
    user.finish();
    let output = place.ask("umount");
    assert!(output.status.success(), "{}\n{}", errors(&output), place.log());
    assert!(running.process.try_wait().unwrap().unwrap().success());
}

#[test]
fn end_without_a_journal_names_each_file_that_is_left() {
    let (mut server, place) = (server(), Place::new());
    fs::write(place.state(), "not a directory").unwrap();
    let mut running = place.mount(&server, &["--shutdown-timeout=1s", "--timeout=2s", "--connect-timeout=1s"]);
    let users = ["a", "b c"].map(|name| Writer::start(&place.runtime(), &place.mountpoint().join(name), "text\n"));
    let directory = RuntimeDirectory::at(&place.runtime()).unwrap();
    let (socket, _) = find(&directory, None).unwrap().remove(0);
    let mut end = Pending::send(&directory, &socket, &Request::End).unwrap();
    server.stop();
    running.signal("TERM");
    let ended: Ended = end.wait(std::time::Instant::now() + SOON).unwrap().unwrap();
    assert!(end.wait_process(std::time::Instant::now() + SOON));
    assert_eq!(running.process.wait().unwrap().code(), Some(75));
    let mut paths: Vec<&str> = ended.unsaved.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!((ended.exit, paths), (75, vec!["/a", "/b c"]));
    let log = place.log();
    let last = log.lines().last().unwrap();
    assert!(last.contains("2 files not on the server") && last.contains("/a") && last.contains("/b c"), "{log}");
    users.into_iter().for_each(Writer::finish);
}

#[test]
fn socket_of_a_killed_mount_does_not_hinder_the_next_one() {
    let (server, place) = (server(), Place::new());
    let mut killed = place.mount(&server, &[]);
    killed.process.kill().unwrap();
    killed.process.wait().unwrap();
    assert_eq!(place.sockets(), 1, "nobody could remove it");
    let mut running = place.mount(&server, &[]);
    assert_eq!(place.sockets(), 1, "that of the dead one is gone");
    let shown = text(&place.ask("status"));
    assert!(shown.contains(&format!("process {}", running.process.id())), "{shown}");
    running.process.kill().unwrap();
    running.process.wait().unwrap();
    // Of a dead mount there is no status, and it can still be unmounted.
    assert_eq!(place.ask("status").status.code(), Some(6));
    assert_eq!(place.sockets(), 0);
    assert!(place.ask("umount").status.success());
}

#[test]
fn status_names_connections_and_user_signal_1_puts_it_into_the_log() {
    let (server, place) = (server(), Place::new());
    let running = place.mount(&server, &["--connections=3"]);
    fs::write(place.mountpoint().join("a"), "text\n").unwrap();
    let shown = text(&place.ask("status"));
    assert!(shown.contains("; at most 3") && shown.contains("user         tester"), "{shown}");
    running.signal("USR1");
    wait_until("the log has it", || place.log().contains("not stored   nothing"));
    assert!(place.ask("umount").status.success());
}

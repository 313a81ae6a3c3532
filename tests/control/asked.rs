//! What a mount answers, with the mount in this process.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use ftpfs::control::{ControlServer, Ended, Pending, Request, RuntimeDirectory, Status, Subject, find};
use ftpfs::filesystem::{Durability, Filesystem, FilesystemOptions, SystemClock};
use ftpfs::fuse::{Mount, MountOptions, Mountpoint};
use ftpfs::journal::{Identity, Journal, StateDirectory};
use ftpfs::protocol::RemotePath;
use ftpfs::remote::RemoteError;
use ftpfs::remote::memory::{MemoryRemote, Operation, When};
use tempfile::TempDir;

use super::servers::wait_until;
use super::{SOON, Writer, errors, ftpfs, text};

/// Long enough that nothing grows old while a test looks at it.
const LONG: Duration = Duration::from_secs(3600);

pub(super) struct Asked {
    folder: TempDir,
    pub(super) remote: MemoryRemote,
    mount: Arc<Mount>,
    filesystem: Arc<Filesystem>,
    control: Option<ControlServer>,
}

impl Asked {
    fn new(prepare: impl FnOnce(&MemoryRemote)) -> Self {
        Self::start(prepare, None)
    }

    /// With a journal, and `close` as what close() waits for.
    pub(super) fn with_journal(close: Durability) -> Self {
        Self::start(|_| {}, Some(close))
    }

    fn start(prepare: impl FnOnce(&MemoryRemote), close: Option<Durability>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mountpoint = folder.path().join("mnt");
        fs::create_dir(&mountpoint).unwrap();
        let remote = MemoryRemote::new();
        prepare(&remote);
        let journal = close.map(|_| {
            let (host, user) = ("memory".into(), b"anna".to_vec());
            let identity = Identity { host, port: 21, user, directory: RemotePath::root() };
            Journal::open(StateDirectory::open(&folder.path().join("state"), &identity).unwrap()).unwrap()
        });
        let close = close.unwrap_or_default();
        let options =
            FilesystemOptions { dir_timeout: LONG, attr_timeout: LONG, close, ..FilesystemOptions::default() };
        let (root, clock) = (RemotePath::root(), Arc::new(SystemClock));
        let filesystem = Filesystem::with_clock(Arc::new(remote.clone()), root, options, clock, journal).unwrap();
        let options = MountOptions { source: "ftp://memory/".into(), ..MountOptions::default() };
        let place = Mountpoint::check(&mountpoint, &options).unwrap();
        let mount = Arc::new(Mount::new(Arc::clone(&filesystem), &place, &options, Duration::from_secs(60)).unwrap());
        let subject = Subject {
            url: "ftp://memory/".into(),
            user: "anna".into(),
            mountpoint: place.path().to_owned(),
            mounted_at: SystemTime::now(),
            shutdown_timeout: Duration::from_secs(5),
            close,
            fsync: Durability::Server,
            filesystem: Arc::clone(&filesystem),
            mount: Arc::clone(&mount),
            ending: AtomicBool::new(false),
        };
        let runtime = RuntimeDirectory::at(&folder.path().join("run")).unwrap();
        let control = Some(ControlServer::start(runtime, Arc::new(subject)).unwrap());
        Self { folder, remote, mount, filesystem, control }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn ftpfs(&self, arguments: &[&str]) -> std::process::Output {
        ftpfs(&self.runtime(), arguments)
    }

    /// Runs the program with the mountpoint as its last argument.
    pub(super) fn ask(&self, arguments: &[&str]) -> std::process::Output {
        let path = self.path();
        self.ftpfs(&[arguments, &[path.to_str().unwrap()]].concat())
    }

    pub(super) fn status(&self) -> Status {
        let output = self.ask(&["status", "--json"]);
        assert!(output.status.success(), "{}", errors(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(super) fn program(&self, line: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "60", "sh", "-ec", line]).current_dir(self.path()).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("FTPFS", env!("CARGO_BIN_EXE_ftpfs")).env("FTPFS_RUNTIME_DIR", self.runtime());
        command
    }

    pub(super) fn shell(&self, line: &str) -> String {
        let output = self.program(line).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", errors(&output));
        text(&output)
    }

    fn socket(&self) -> PathBuf {
        fs::read_dir(self.runtime()).unwrap().next().unwrap().unwrap().path()
    }

    /// Says `request` and returns all that is answered.
    fn raw(&self, request: &[u8]) -> String {
        raw(&self.socket(), request)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        for operation in [Operation::List, Operation::OpenRead, Operation::Finish] {
            self.remote.let_go(operation);
        }
        let _ = self.mount.detach();
        self.mount.abort();
    }
}

fn raw(socket: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // Who is refused before he has said all hears that the connection was reset.
    let _ = stream.write_all(request);
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply);
    reply
}

#[test]
fn dirty_file_is_shown_until_it_is_flushed() {
    let asked = Asked::new(|_| {});
    let writer = Writer::start(&asked.runtime(), &asked.path().join("a"), "hello");
    let status = asked.status();
    assert_eq!((status.dirty.count, status.dirty.bytes), (1, 5));
    let file = &status.dirty.files[0];
    assert_eq!((file.path.as_str(), file.bytes, file.open, &file.error), ("/a", 5, true, &None));
    assert_eq!((status.open.files, status.user.as_str(), status.server.as_str()), (1, "anna", "ftp://memory/"));
    let shown = text(&asked.ask(&["status"]));
    assert!(shown.contains("1 file, 5 B\n    /a  5 B, for "), "{shown}");
    let flushed = asked.ask(&["flush"]);
    assert!(flushed.status.success(), "{}", errors(&flushed));
    assert_eq!(asked.remote.content("/a").unwrap(), b"hello");
    assert_eq!(asked.status().dirty, ftpfs::control::status::DirtyStatus::default());
    writer.finish();
}

#[test]
fn flush_names_what_cannot_be_stored_and_why() {
    let asked = Asked::new(|_| {});
    asked.remote.behave(|behaviour| behaviour.bytes_max = Some(2));
    let writer = Writer::start(&asked.runtime(), &asked.path().join("a"), "hello");
    let output = asked.ask(&["flush"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(errors(&output).contains("1 file: not stored\n       /a  5 B, for "), "{}", errors(&output));
    let error = asked.status().dirty.files[0].error.clone().unwrap();
    assert!(error.contains("no space left"), "{error}");
    assert!(errors(&output).contains(&error), "{}", errors(&output));
    asked.remote.behave(|behaviour| behaviour.bytes_max = None);
    assert!(asked.ask(&["flush"]).status.success());
    writer.finish();
}

#[test]
fn flush_tries_again_as_long_as_anything_gets_to_the_server() {
    let asked = Asked::new(|_| {});
    let writers = ["a", "b"].map(|name| Writer::start(&asked.runtime(), &asked.path().join(name), "hello"));
    let refused = || RemoteError::Refused { reply: "553 No.".into() };
    asked.remote.fail(Operation::OpenWrite, 0, refused(), When::Before);
    let output = asked.ask(&["flush"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(asked.remote.content("/a").unwrap(), asked.remote.content("/b").unwrap());
    writers.into_iter().for_each(Writer::finish);
}

#[test]
fn flush_with_a_deadline_tries_again_where_nothing_gets_on() {
    let asked = Asked::new(|_| {});
    let writer = Writer::start(&asked.runtime(), &asked.path().join("a"), "hello");
    let refuse_once =
        || asked.remote.fail(Operation::OpenWrite, 0, RemoteError::Refused { reply: "553 No.".into() }, When::Before);
    refuse_once();
    let output = asked.ask(&["flush"]);
    assert_eq!(output.status.code(), Some(75), "without one it is enough to try once");
    refuse_once();
    let output = asked.ask(&["flush", "--timeout=20s"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(asked.remote.content("/a").unwrap(), b"hello");
    writer.finish();
}

#[test]
fn flush_shows_how_it_gets_on_as_lines_or_on_a_terminal_as_a_bar() {
    let asked = Asked::new(|_| {});
    let writer = Writer::start(&asked.runtime(), &asked.path().join("a"), "hello");
    asked.remote.hold(Operation::Finish);
    let output = asked.ask(&["flush", "--timeout=3500ms"]);
    assert_eq!(output.status.code(), Some(75));
    assert_eq!(errors(&output).matches("ftpfs: 1 file, ").count(), 1, "{}", errors(&output));
    assert!(errors(&output).contains(" not on the server yet"), "{}", errors(&output));
    let line = "script -qec \"$FTPFS flush --timeout=1s .\" /dev/null || test $? = 75";
    let shown = asked.shell(line);
    assert!(shown.contains("%  0 of 1 file, ") && shown.contains("\x1b[K[-----"), "{shown}");
    let after_the_bar = shown.rsplit("\x1b[K").next().unwrap();
    assert!(after_the_bar.contains("1 file: not stored in time"), "{shown}");
    asked.remote.let_go(Operation::Finish);
    writer.finish();
}

#[test]
fn status_is_answered_and_flush_gives_up_in_time_while_the_server_hangs() {
    let asked = Asked::new(|remote| remote.put_directory("/d"));
    let writer = Writer::start(&asked.runtime(), &asked.path().join("a"), "hello");
    asked.remote.hold(Operation::List);
    asked.remote.hold(Operation::Finish);
    let mut lister = asked.program("ls d").spawn().unwrap();
    assert!(asked.remote.wait_held(Operation::List, 1));
    let begun = Instant::now();
    let status = asked.status();
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    assert_eq!(status.operations.waiting, 1);
    assert!(status.operations.oldest.is_some() && status.operations.oldest_seconds.is_some());
    let output = asked.ask(&["flush", "--timeout=300ms"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(errors(&output).contains("not stored in time"), "{}", errors(&output));
    assert_eq!(asked.status().dirty.count, 1, "it is answered also while a flush is under way");
    asked.remote.let_go(Operation::List);
    asked.remote.let_go(Operation::Finish);
    lister.wait().unwrap();
    wait_until("the flush goes on by itself", || asked.status().dirty.count == 0);
    writer.finish();
}

#[test]
fn refresh_shows_what_was_put_on_the_server_behind_our_back() {
    let asked = Asked::new(|remote| {
        remote.put("/a", "one\n");
        remote.put_directory("/d");
        remote.put_directory("/e");
    });
    let look = "ls -R . ; cat a; test ! -e b || cat b; stat -c %s a";
    let before = asked.shell(look);
    asked.remote.put("/a", "two\n");
    asked.remote.put("/b", "new\n");
    asked.remote.put("/d/c", "new\n");
    asked.remote.put("/e/c", "new\n");
    assert_eq!(asked.shell(look), before, "nothing would be shown, and this test prove nothing");
    let refreshed = asked.ftpfs(&["refresh", asked.path().to_str().unwrap(), "d"]);
    assert!(refreshed.status.success(), "{}", errors(&refreshed));
    assert_eq!(asked.shell("ls d; ls e"), "c\n", "of the path alone");
    assert!(asked.ask(&["refresh"]).status.success());
    assert_eq!(asked.shell("ls; ls e; cat a; cat b"), "a\nb\nd\ne\nc\ntwo\nnew\n");
}

#[test]
fn refresh_of_one_name_makes_it_appear() {
    let asked = Asked::new(|_| {});
    asked.shell("test ! -e a");
    asked.remote.put("/a", "one\n");
    asked.shell("test ! -e a");
    let whole = asked.path().join("a");
    let refreshed = asked.ftpfs(&["refresh", asked.path().to_str().unwrap(), whole.to_str().unwrap()]);
    assert!(refreshed.status.success(), "{}", errors(&refreshed));
    assert_eq!(asked.shell("cat a"), "one\n");
}

#[test]
fn refresh_leaves_open_files_and_working_directories_as_they_are() {
    let asked = Asked::new(|remote| {
        remote.put("/a", "one\n");
        remote.put_directory("/d");
        remote.put("/d/x", "x\n");
    });
    let line = "exec 3< a; exec 4> n; echo dirty >&4; cd d; cat x; \"$FTPFS\" refresh ..; /bin/pwd; cat x; cat <&3; \
                echo more >&4; exec 4>&-; cd ..; /bin/pwd";
    let shown = asked.shell(line);
    let path = asked.path().canonicalize().unwrap();
    assert_eq!(shown, format!("x\n{0}/d\nx\none\n{0}\n", path.display()));
    assert_eq!(asked.remote.content("/n").unwrap(), b"dirty\nmore\n");
}

#[test]
fn refresh_outside_the_mount_is_refused() {
    let asked = Asked::new(|_| {});
    for path in ["../x", "/etc"] {
        let output = asked.ftpfs(&["refresh", asked.path().to_str().unwrap(), path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
    }
    assert!(asked.raw(b"refresh ..%2Fx\n").starts_with("{\"error\":"));
}

#[test]
fn all_mounts_are_shown_where_none_is_named() {
    let asked = Asked::new(|_| {});
    let shown = text(&asked.ftpfs(&["status"]));
    assert!(shown.starts_with(asked.path().to_str().unwrap()), "{shown}");
    let array: Vec<Status> = serde_json::from_slice(&asked.ftpfs(&["status", "--json"]).stdout).unwrap();
    assert_eq!(array.len(), 1);
    let nowhere = asked.folder.path().to_str().unwrap().to_owned();
    let output = asked.ftpfs(&["status", &nowhere]);
    assert_eq!(output.status.code(), Some(6));
    assert!(errors(&output).contains("no ftpfs is mounted on"), "{}", errors(&output));
    let empty = tempfile::tempdir().unwrap();
    let output = ftpfs(&empty.path().join("run"), &["status", "--json"]);
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), "[]\n"));
}

#[test]
fn another_user_is_refused_even_where_the_directory_lets_him_in() {
    if !rustix::process::geteuid().is_root() {
        return; // Nobody else can become another user.
    }
    let asked = Asked::new(|_| {});
    for (path, mode) in [(asked.folder.path(), 0o755), (&asked.runtime(), 0o755), (&asked.socket(), 0o666)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let socket = asked.socket();
    let reply = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        raw(&socket, b"status\n")
    });
    let reply = reply.join().unwrap();
    assert!(!reply.contains("mountpoint"), "{reply}");
    assert!(reply.contains("another user's"), "{reply}");
    // And a directory like that is not used by the next mount.
    assert!(RuntimeDirectory::at(&asked.runtime()).is_err());
}

#[test]
fn what_is_no_request_is_refused_and_silence_hinders_nobody() {
    let asked = Asked::new(|_| {});
    assert!(asked.raw(b"hello\n").contains("the requests are: status, flush"));
    assert!(asked.raw(&[b'x'; 20_000]).is_empty(), "a line without end gets no answer");
    let _silent = UnixStream::connect(asked.socket()).unwrap();
    assert!(asked.raw(b"status\n").contains("\"mountpoint\":"));
}

#[test]
fn end_is_told_to_all_who_wait_for_it_and_to_who_comes_late() {
    let asked = Asked::new(|_| {});
    asked.remote.fail(Operation::OpenWrite, 0, RemoteError::Refused { reply: "553 No.".into() }, When::Before);
    let writer = Writer::start(&asked.runtime(), &asked.path().join("a"), "hello");
    let directory = RuntimeDirectory::at(&asked.runtime()).unwrap();
    let (socket, _) = find(&directory, None).unwrap().remove(0);
    let mut waiting: Vec<Pending> =
        (0..3).map(|_| Pending::send(&directory, &socket, &Request::End).unwrap()).collect();
    let now = Instant::now();
    assert!(waiting.iter_mut().all(|pending| pending.wait::<Ended>(now).unwrap().is_none()));
    // Those above are known to wait when a later request has been answered.
    assert_eq!(find(&directory, None).unwrap().len(), 1);
    asked.control.as_ref().unwrap().announce_end(75, &asked.filesystem.dirty_files());
    waiting.push(Pending::send(&directory, &socket, &Request::End).unwrap());
    for pending in &mut waiting {
        let ended: Ended = pending.wait(Instant::now() + SOON).unwrap().unwrap();
        assert_eq!((ended.exit, ended.unsaved_count, ended.unsaved[0].path.as_str()), (75, 1, "/a"));
        assert!(!pending.wait_process(Instant::now()), "this process is alive");
    }
    writer.finish();
}

#[test]
fn socket_goes_with_who_answers_on_it() {
    let mut asked = Asked::new(|_| {});
    assert_eq!(fs::read_dir(asked.runtime()).unwrap().count(), 1);
    drop(asked.control.take());
    assert_eq!(fs::read_dir(asked.runtime()).unwrap().count(), 0);
    assert_eq!(asked.ask(&["status"]).status.code(), Some(6));
}

//! What the kernel's side decides, through the kernel, with a server in memory behind it.
//!
//! Whatever touches the mount is a program of its own, with a time limit: should the mount hang, the test fails
//! and does not hang with it. Needs /dev/fuse and root, or fusermount3.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::filesystem::{Filesystem, FilesystemOptions};
use ftpfs::fuse::{Detach, Mount, MountError, MountOptions, Mountpoint, unmount};
use ftpfs::protocol::RemotePath;
use ftpfs::remote::memory::{MemoryRemote, Operation};
use tempfile::TempDir;

/// No condition that a test waits for takes longer, unless it will never come.
const SOON: Duration = Duration::from_secs(20);

struct Mounted {
    folder: TempDir,
    remote: MemoryRemote,
    mount: Mount,
}

impl Mounted {
    fn new(prepare: impl FnOnce(&MemoryRemote)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let remote = MemoryRemote::new();
        prepare(&remote);
        let options = FilesystemOptions { staging_dir: std::env::temp_dir(), ..FilesystemOptions::default() };
        let filesystem = Filesystem::new(Arc::new(remote.clone()), RemotePath::root(), options).unwrap();
        let options = MountOptions { source: "ftp://memory/a,b".into(), ..MountOptions::default() };
        let mountpoint = Mountpoint::check(folder.path(), &options).unwrap();
        let mount = Mount::new(filesystem, &mountpoint, &options, Duration::from_secs(60)).unwrap();
        Self { folder, remote, mount }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn program(&self, line: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "20", "sh", "-c", line]).current_dir(self.path()).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a shell line with the mount as its working directory.
    fn run(&self, line: &str) -> Output {
        self.program(line).output().unwrap()
    }

    /// As [`Self::run`], and it must succeed; returns what it wrote.
    fn shell(&self, line: &str) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {:?} {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// A program that is not waited for, started directly so that a signal reaches itself.
    fn start(&self, program: &str, argument: &str) -> Child {
        let mut command = Command::new(program);
        command.arg(self.path().join(argument)).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn content(&self, path: &str) -> String {
        String::from_utf8(self.remote.content(path).unwrap()).unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for operation in [Operation::List, Operation::OpenRead, Operation::Finish] {
            self.remote.let_go(operation);
        }
        let _ = self.mount.detach();
        self.mount.abort();
    }
}

fn wait_end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "a program hangs");
        thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn files_are_listed_read_written_and_renamed() {
    let mounted = Mounted::new(|remote| {
        remote.put("/a", "hello\n");
        remote.put_directory("/d");
    });
    assert_eq!(mounted.shell("ls"), "a\nd\n");
    assert_eq!(mounted.shell("cat a"), "hello\n");
    mounted.shell("echo new > d/b && echo more >> d/b && mkdir -p e/f/g && mv d/b e/f/g/c");
    assert_eq!(mounted.content("/e/f/g/c"), "new\nmore\n");
    assert_eq!(mounted.remote.content("/d/b"), None);
    mounted.shell("printf HE | dd of=a conv=notrunc status=none && truncate -s 4 a");
    assert_eq!(mounted.content("/a"), "HEll");
    mounted.shell("rm a && rmdir d && test ! -e a");
    assert_eq!(mounted.shell("find . -type d | sort"), ".\n./e\n./e/f\n./e/f/g\n");
}

#[test]
fn mount_table_shows_the_type_and_the_source_as_it_is() {
    let mounted = Mounted::new(|_| {});
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(mounted.path().to_str().unwrap())).unwrap();
    assert!(line.contains(" - fuse.ftpfs ftp://memory/a,b "), "{line}");
    assert!(line.contains("nosuid,nodev") && line.contains("default_permissions"), "{line}");
    let again = Mountpoint::check(mounted.path(), &MountOptions::default());
    assert!(matches!(again, Err(MountError::AlreadyMounted(_))), "{again:?}");
}

#[test]
fn directory_of_5000_names_is_listed_whole_with_and_without_attributes() {
    let mounted = Mounted::new(|remote| {
        remote.put_directory("/many");
        for number in 0..5000 {
            remote.put(&format!("/many/a-name-of-some-length-{number:05}"), "x");
        }
    });
    assert_eq!(mounted.shell("ls -f many | wc -l").trim(), "5002");
    assert_eq!(mounted.shell("ls -l many | grep -c ' 1 Nov'").trim(), "5000");
    // Without its cached inodes the kernel has forgotten them all; what is looked up then is found anew.
    mounted.shell("echo 2 > /proc/sys/vm/drop_caches; true");
    assert_eq!(mounted.shell("find many -type f | sort -u | wc -l").trim(), "5000");
    assert_eq!(mounted.shell("cat many/a-name-of-some-length-04999"), "x");
}

#[test]
fn program_is_run_from_the_mount() {
    let mounted = Mounted::new(|_| {});
    // Running a program maps it into memory.
    mounted.shell("cp /bin/echo program && chmod 755 program");
    assert_eq!(mounted.shell("./program mapped"), "mapped\n");
}

#[test]
fn file_removed_while_open_is_read_to_its_end() {
    let text = "0123456789".repeat(100_000);
    let mounted = Mounted::new(|remote| remote.put("/a", &text));
    let read = mounted.shell("exec 3< a; head -c 10 <&3 > /dev/null; rm a; test ! -e a; cat <&3");
    assert_eq!(mounted.remote.content("/a"), None);
    // `head` may read more than it prints.
    assert!(text.ends_with(&read) && read.len() >= text.len() - 64 * 1024, "{} bytes", read.len());
}

#[test]
fn what_ftp_cannot_do_is_refused_with_the_errno_that_programs_understand() {
    let mounted = Mounted::new(|remote| remote.put("/a", "hello\n"));
    for (line, words) in [
        ("ln a b", "Operation not permitted"),
        ("mkfifo p", "Operation not permitted"),
        ("cat missing", "No such file or directory"),
        ("mkdir a", "File exists"),
        ("cat a/b", "Not a directory"),
        ("touch \"$(printf 'a\\nb')\"", "Invalid argument"),
        ("rmdir a", "Not a directory"),
    ] {
        let output = mounted.run(line);
        assert!(!output.status.success(), "{line}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{line}: {output:?}");
    }
    // These have another way: copy_file_range, reflinks, extended attributes, holes, locks.
    mounted.shell("cp --reflink=auto --sparse=always --preserve=all a c && flock a cat c");
    assert_eq!(mounted.content("/c"), "hello\n");
}

/// What shells have no words for: prints the errno that each call gives.
const RARE_CALLS: &str = "
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
offset = ctypes.c_long
def called(name, result):
    print(name, errno.errorcode[ctypes.get_errno()].replace('ENOTSUP', 'EOPNOTSUPP') if result < 0 else 'ok')
file = os.open('a', os.O_RDWR)
called('exchange', libc.renameat2(-100, b'a', -100, b'b', 2))
called('punch', libc.fallocate(file, 3, offset(0), offset(1)))
called('keep_size', libc.fallocate(file, 1, offset(0), offset(100)))
called('setxattr', libc.setxattr(b'a', b'user.x', b'x', 1, 0))
called('getxattr', libc.getxattr(b'a', b'user.x', None, 0))
called('tmpfile', libc.open(b'.', 0o20200000 | os.O_RDWR, 0o600))
called('data', libc.lseek(file, offset(2), 3))
called('hole', libc.lseek(file, offset(2), 4))
called('behind', libc.lseek(file, offset(6), 3))
called('ioctl', libc.ioctl(file, 0x5401, None))
called('chown', libc.chown(b'a', 12345, -1))
";

#[test]
fn rare_calls_are_answered_as_documented() {
    let mounted = Mounted::new(|remote| {
        remote.put("/a", "hello\n");
        remote.put("/b", "other\n");
    });
    // In the environment, for it holds quotes of its own.
    let output = mounted.program("python3 -c \"$PROGRAM\"").env("PROGRAM", RARE_CALLS).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let expected = "exchange EINVAL,punch EOPNOTSUPP,keep_size ok,setxattr EOPNOTSUPP,getxattr EOPNOTSUPP,\
        tmpfile EOPNOTSUPP,data ok,hole ok,behind ENXIO,ioctl ENOTTY,chown EPERM";
    assert_eq!(told.trim().replace('\n', ","), expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((mounted.content("/a"), mounted.content("/b")), ("hello\n".into(), "other\n".into()));
}

#[test]
fn close_tells_that_the_upload_failed() {
    let mounted = Mounted::new(|_| {});
    mounted.remote.behave(|behaviour| behaviour.bytes_max = Some(1000));
    // dd reports what close says.
    let output = mounted.run("dd if=/dev/zero of=a bs=1k count=1 status=none");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left on device"), "{output:?}");
}

#[test]
fn caller_of_a_server_that_is_silent_can_be_killed() {
    let mounted = Mounted::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/a", "x");
    });
    mounted.remote.hold(Operation::List);
    for (name, number) in [("KILL", 9), ("INT", 2), ("TERM", 15)] {
        let mut child = mounted.start("ls", "d");
        assert!(mounted.remote.wait_held(Operation::List, 1));
        signal(&child, name);
        assert_eq!(wait_end(&mut child).signal(), Some(number));
    }
}

#[test]
fn questions_that_wait_hold_up_nobody_else() {
    let mounted = Mounted::new(|remote| {
        remote.put_directory("/here");
        remote.put("/here/a", "x");
        for number in 0..40 {
            remote.put_directory(&format!("/there-{number}"));
            remote.put(&format!("/there-{number}/a"), "x");
        }
    });
    mounted.shell("cat here/a");
    mounted.remote.hold(Operation::List);
    let mut waiting: Vec<Child> = (0..40).map(|number| mounted.start("ls", &format!("there-{number}"))).collect();
    assert!(mounted.remote.wait_held(Operation::List, 40));
    assert_eq!(mounted.shell("cat here/a"), "x");
    assert!(waiting.iter_mut().all(|child| child.try_wait().unwrap().is_none()));
    mounted.remote.let_go(Operation::List);
    for child in &mut waiting {
        assert!(wait_end(child).success());
    }
    assert!(mounted.mount.wait_quiet(Instant::now() + SOON));
}

#[test]
fn umount_from_outside_ends_the_session() {
    let mounted = Mounted::new(|_| {});
    mounted.shell("echo x > a");
    let path: PathBuf = mounted.path().to_owned();
    unmount(&path, Detach::Politely).unwrap();
    assert!(mounted.mount.ended().recv_timeout(SOON).unwrap().is_ok());
    assert_eq!(mounted.content("/a"), "x\n");
    assert!(matches!(unmount(&path, Detach::Politely), Err(MountError::NotMounted(_))));
}

#[test]
fn mount_in_use_is_unmounted_only_lazily_and_lives_until_the_last_close() {
    let mounted = Mounted::new(|remote| remote.put("/a", "still there"));
    let go = tempfile::tempdir().unwrap();
    let pipe = go.path().join("go");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let line = format!("exec 3< a; echo open > {0}; read line < {0}; cat <&3", pipe.display());
    let user = mounted.program(&line).spawn().unwrap();
    assert_eq!(fs::read_to_string(&pipe).unwrap(), "open\n");
    assert!(matches!(unmount(mounted.path(), Detach::Politely), Err(MountError::Busy(_))));
    mounted.mount.detach().unwrap();
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0, "still mounted");
    assert!(mounted.mount.ended().is_empty());
    fs::write(&pipe, "go\n").unwrap();
    assert_eq!(user.wait_with_output().unwrap().stdout, b"still there");
    assert!(mounted.mount.ended().recv_timeout(SOON).unwrap().is_ok());
    // A second time finds nothing of ours, and touches nothing.
    mounted.mount.detach().unwrap();
}

//! No room and no permission: a local disk or a server's that is full, and folders in which the server may change nothing.
//!
//! What is at stake is the old content, and that nobody is told of a success. One program does the writing and says which call failed: where
//! the test itself had the file open, each program that another test starts would close a copy of it.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::{NamedTempFile, TempDir};

use crate::fixtures::write_noise;
use crate::mounted::{Mount, shell};
use crate::servers::{Server, ServerKind, ServerSettings, is_root, wait_until};

/// So much is room on the disks that are too small.
const LOCAL_BYTES: u64 = 16 << 20;
const SERVER_BYTES: u64 = 4 << 20;
const PIECE_BYTES: u64 = 65536;
const SERVER: &str = "--durability=server";
const JOURNAL: &str = "--durability=journal";
/// An upload that fails for the moment is tried again for this long.
const SHORT: [&str; 6] = ["--timeout", "4s", "--reply-timeout", "3s", "--data-timeout", "3s"];

/// A small disk, mounted, and gone with the test in every case.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where only root could mount one, after saying so on the terminal.
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        if !is_root() {
            skip("only root can mount a small disk");
            return None;
        }
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=755"), "small-disk"])
            .arg(at)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self(at.to_owned()))
    }

    /// In the place of the server's folder, which has to be empty; then with a file in it.
    fn of_server(server: &mut Server) -> Option<Self> {
        let disk = Self::mount(&server.folder(), SERVER_BYTES)?;
        fs::write(server.folder().join("file"), "old").unwrap();
        server.give("");
        // Servers see the mounts that were there when they began.
        server.restart();
        Some(disk)
    }

    /// Makes room on it.
    fn grow(&self) {
        let size = format!("remount,size={}", 16 * SERVER_BYTES);
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// Opens a file (`new`, `trunc`, `rdwr`), writes so many pieces of 64 KiB (`forward`, `backward`), and does what else it is told
/// (`fsync`, `-`). Says each call that failed, and its errno; goes on behind a failed write with what comes at the end. After the last write
/// it says what lies at `beside`, which is past the mount. First of all comes how many pieces were taken.
const WRITER: &str = r#"
use strict; use Fcntl; use Errno; use IO::Handle;
my ($file, $how, $order, $count, $end, $beside) = @ARGV;
my ($taken, @said) = (0);
my %flags = (new => O_WRONLY | O_CREAT | O_EXCL, trunc => O_WRONLY | O_TRUNC, rdwr => O_RDWR);
sub failed { my ($call) = @_; my ($name) = sort grep { $!{$_} } keys %!; push @said, "$call $name"; }
sysopen(my $out, $file, $flags{$how}) or do { failed('open'); print "0\n@said\n"; exit };
for my $number (0 .. $count - 1) {
    my $place = $order eq 'forward' ? $number : $count - 1 - $number;
    sysseek($out, $place * 65536, 0) or die "seek: $!";
    my $wrote = syswrite($out, chr(ord('a') + $place % 26) x 65536);
    if (!defined $wrote) { failed('write'); last }
    if ($wrote != 65536) { push @said, 'short'; last }
    $taken++;
}
if (open(my $old, '<', $beside)) { local $/; my $text = <$old>; push @said, 'beside ' . (length $text > 20 ? length $text : $text); }
if ($end eq 'fsync') { $out->sync or failed('fsync') }
close($out) or failed('close');
print join("\n", $taken, @said), "\n";
"#;

/// What the writer said of its calls.
fn write(mount: &Mount, name: &str, calls: [&str; 3], pieces: u64, beside: &Path) -> Vec<String> {
    write_counted(mount, name, calls, pieces, beside).1
}

/// How many pieces were taken, and what the writer said of its calls.
fn write_counted(
    mount: &Mount,
    name: &str,
    [how, order, end]: [&str; 3],
    pieces: u64,
    beside: &Path,
) -> (u64, Vec<String>) {
    let count = pieces.to_string();
    let arguments: Vec<&Path> = [WRITER, name, how, order, &count, end].into_iter().map(Path::new).collect();
    let script = "perl -e \"$1\" \"${@:2}\"";
    let said = mount.shell(script, &[arguments.as_slice(), &[beside]].concat());
    let mut lines = said.lines();
    let taken = lines.next().and_then(|line| line.parse().ok()).expect("the writer says how much was taken");
    (taken, lines.map(str::to_owned).collect())
}

/// What a file holds into which so many pieces were written `forward`.
fn pieces(count: u64) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(count as usize).flat_map(|letter| [letter; PIECE_BYTES as usize]).collect()
}

fn ftpfs(command: &str, mount: &Mount, more: &[&str]) -> Output {
    let mut asked = Command::new("timeout");
    asked.args(["--signal=KILL", "60", env!("CARGO_BIN_EXE_ftpfs"), command]).args(more);
    asked.arg(mount.path()).output().unwrap()
}

fn assert_flushed(mount: &Mount) {
    let output = ftpfs("flush", mount, &["--timeout", "50s"]);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// So many pieces have no room.
const TOO_MUCH_HERE: u64 = LOCAL_BYTES * 3 / 2 / PIECE_BYTES;
const TOO_MUCH_THERE: u64 = SERVER_BYTES * 2 / PIECE_BYTES;

pub(crate) fn full_local_disk_fails_the_write_and_changes_nothing_that_was_there(kind: ServerKind) {
    // By itself half of what is free is used. With so much the disk itself runs full.
    let limits: [&[&str]; 2] = [&[], &["--staging-size=1G"]];
    for (durability, limit) in [SERVER, JOURNAL].into_iter().flat_map(|one| limits.map(|other| (one, other))) {
        let state = TempDir::with_prefix("ftpfs-state-").unwrap();
        let Some(_disk) = SmallDisk::mount(state.path(), LOCAL_BYTES) else { return };
        let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
        let stored = server.folder().join("file");
        fs::write(&stored, "old").unwrap();
        server.give("file");
        let in_state = format!("--state-dir={}", state.path().display());
        let mount = Mount::start(&server, &[&[&*in_state, durability], limit].concat());
        if !mount.is_real() {
            return;
        }
        let said = write(&mount, "new", ["new", "backward", "-"], TOO_MUCH_HERE, &stored);
        assert_eq!(said.get(..2).unwrap_or(&said), ["write ENOSPC", "beside old"], "{durability} {limit:?}");
        mount.shell("rm new; echo small > note; [ \"$(cat note)\" = small ]", &[]);
        assert_flushed(&mount);
        assert_eq!(shell(&server.folder(), "ls -A; cat file note", &[]), "file\nnote\noldsmall\n");

        let said = write(&mount, "file", ["rdwr", "backward", "-"], TOO_MUCH_HERE, &stored);
        assert_eq!(said.get(..2).unwrap_or(&said), ["write ENOSPC", "beside old"], "{durability} {limit:?}");
        if said.len() > 2 {
            // What is here of it is kept. It takes room until the user has looked at it.
            assert_eq!(said[2..], ["close ENOSPC"]);
            wait_until("it is set aside", || set_aside(&mount).len() == 1);
            assert_eq!(mount.shell("cat file", &[]), "old");
            assert_eq!(fs::read(&stored).unwrap(), b"old");
            set_aside(&mount).iter().for_each(|path| fs::remove_file(path).unwrap());
        }
        mount.shell("rm file; echo more > note", &[]);
        assert_flushed(&mount);
        assert_eq!(shell(&server.folder(), "ls -A; cat note", &[]), "note\nmore\n");
        mount.end();
    }
}

pub(crate) fn file_larger_than_the_local_disk_is_written_in_order(kind: ServerKind) {
    let state = TempDir::with_prefix("ftpfs-state-").unwrap();
    let Some(_disk) = SmallDisk::mount(state.path(), LOCAL_BYTES) else { return };
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let in_state = format!("--state-dir={}", state.path().display());
    let mount = Mount::start(&server, &[&in_state]);
    let source = NamedTempFile::new().unwrap();
    write_noise(source.path(), 3 * LOCAL_BYTES);
    mount.shell("cp \"$1\" new; cp new again; cmp again \"$1\"", &[source.path()]);
    shell(&server.folder(), "cmp new \"$1\"; cmp again \"$1\"; [ \"$(ls -A | wc -l)\" = 2 ]", &[source.path()]);
    mount.unmount();
}

/// What programs may be told where this server's disk is full: docs/semantics.md says why.
fn errors_of_full(kind: ServerKind) -> &'static [&'static str] {
    match kind {
        ServerKind::Embedded => &["ENOSPC"],
        ServerKind::Proftpd => &["ENOSPC", "EIO"],
        ServerKind::Vsftpd | ServerKind::PureFtpd => &["EIO"],
        ServerKind::Pyftpdlib => &["EIO", "ETIMEDOUT"],
    }
}

pub(crate) fn full_server_is_an_error_and_keeps_what_was_there(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    let Some(disk) = SmallDisk::of_server(&mut server) else { return };
    let stored = server.folder().join("file");
    let mount = Mount::start(&server, &[&[SERVER], &SHORT[..]].concat());
    if !mount.is_real() {
        return;
    }
    for (name, how, end) in [("new", "new", "-"), ("file", "trunc", "fsync"), ("file", "rdwr", "-")] {
        let (taken, said) = write_counted(&mount, name, [how, "forward", end], TOO_MUCH_THERE, &stored);
        let (beside, errors): (Vec<_>, Vec<_>) = said.iter().partition(|line| line.starts_with("beside"));
        assert_eq!(beside, ["beside old"]);
        for line in &errors {
            assert!(errors_of_full(kind).contains(&line.rsplit(' ').next().unwrap()), "{name} {how}: {errors:?}");
        }
        if name == "file" && !errors.is_empty() && errors.iter().all(|line| line.starts_with("write ")) {
            // `new` is still being tried, and its beginnings may have taken the room at that moment. What had been taken until then
            // fits between two tries: no error means that it is there.
            assert_eq!(fs::read(&stored).unwrap(), pieces(taken), "{name} {how}: {errors:?}");
            mount.shell("until printf old > file; do :; done", &[]);
            continue;
        }
        for call in ["close", end] {
            assert!(call == "-" || errors.iter().any(|line| line.starts_with(call)), "{name} {how}: {errors:?}");
        }
        assert_eq!(fs::read(&stored).unwrap(), b"old", "{name} {how}");
    }
    disk.grow();
    mount.shell("echo small > note", &[]);
    // What close() has failed for is kept, and shown; where a write failed, it ends there.
    assert_flushed(&mount);
    mount.shell("cmp file \"$1/file\"; cmp new \"$1/new\"; [ \"$(cat note)\" = small ]", &[&server.folder()]);
    let kept = "[ $(stat -c %s $name) -ge 65536 ]; cmp -n 65536 $name <(head -c 65536 /dev/zero | tr '\\0' a)";
    shell(&server.folder(), &format!("for name in file new; do {kept}; done; [ \"$(cat note)\" = small ]"), &[]);
    mount.end();
}

pub(crate) fn journal_waits_for_room_on_the_server(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    let Some(disk) = SmallDisk::of_server(&mut server) else { return };
    let stored = server.folder().join("file");
    let mount = Mount::start(&server, &[&[JOURNAL], &SHORT[..]].concat());
    if !mount.is_real() {
        return;
    }
    for (name, how) in [("file", "trunc"), ("new", "new")] {
        assert_eq!(write(&mount, name, [how, "forward", "-"], TOO_MUCH_THERE, &stored), ["beside old"]);
    }
    let files = |status: &serde_json::Value| {
        status.pointer("/dirty/files").and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
    };
    wait_until("the status says why they wait", || {
        let status = mount.status();
        let is_paused = status.pointer("/journal/paused_by").is_some_and(serde_json::Value::is_string);
        files(&status).len() == 2 && (is_paused || files(&status).iter().all(|file| file["error"].is_string()))
    });
    for file in files(&mount.status()) {
        assert_eq!(file["in_journal"], true, "{file}");
    }
    assert_eq!(fs::read(&stored).unwrap(), b"old");
    let size = 2 * SERVER_BYTES;
    mount.shell(&format!("[ $(stat -c %s file) = {size} ]; cmp file new"), &[]);
    disk.grow();
    assert_flushed(&mount);
    mount.shell("cmp file \"$1\"; cmp new \"$1\"", &[&stored]);
    assert_eq!(shell(&server.folder(), "stat -c %s file; cmp file new; ls", &[]), format!("{size}\nfile\nnew\n"));
    mount.end();
}

/// Where the contents lie that were set aside.
fn set_aside(mount: &Mount) -> Vec<PathBuf> {
    let status = mount.status();
    let list = status.pointer("/journal/set_aside").and_then(serde_json::Value::as_array);
    list.into_iter().flatten().map(|path| PathBuf::from(path.as_str().unwrap())).collect()
}

/// A server that may change nothing in its folder `closed`, where there is `file`; `None` where it is root, who may everything.
fn closed_server(kind: ServerKind) -> Option<Server> {
    if kind == ServerKind::Embedded && is_root() {
        skip("the embedded server runs as root, whom no permission stops");
        return None;
    }
    let server = Server::start(kind, ServerSettings::default())?;
    let closed = server.folder().join("closed");
    fs::create_dir_all(closed.join("below")).unwrap();
    fs::write(closed.join("file"), "old").unwrap();
    fs::set_permissions(closed.join("file"), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    Some(server)
}

pub(crate) fn folder_that_is_closed_refuses_each_change_at_its_call(kind: ServerKind) {
    let Some(server) = closed_server(kind) else { return };
    let mount = Mount::start(&server, &[&[SERVER], &SHORT[..]].concat());
    if !mount.is_real() {
        return;
    }
    let stored = server.folder().join("closed/file");
    for (name, how) in [("closed/new", "new"), ("closed/file", "trunc"), ("closed/file", "rdwr")] {
        for end in ["-", "fsync"] {
            let said = write(&mount, name, [how, "forward", end], 1, &stored);
            let expected: &[&str] = if end == "-" {
                &["beside old", "close EACCES"]
            } else {
                &["beside old", "fsync EACCES", "close EACCES"]
            };
            assert_eq!(said, expected, "{name} {how}");
            // The kernel tells of the end of an open file after the program's close().
            wait_until("the old content shows", || {
                mount.shell("cat closed/file; ls closed", &[]) == "oldbelow\nfile\n"
            });
        }
    }
    let path = |name: &str| mount.path().join(name);
    let errno_of = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    fs::write(path("mine"), "mine").unwrap();
    for (call, result) in [
        ("unlink", fs::remove_file(path("closed/file"))),
        ("mkdir", fs::create_dir(path("closed/made"))),
        ("rmdir", fs::remove_dir(path("closed/below"))),
        ("rename in it", fs::rename(path("closed/file"), path("closed/other"))),
        ("rename out of it", fs::rename(path("closed/file"), path("other"))),
        ("rename into it", fs::rename(path("mine"), path("closed/mine"))),
        ("rename over what is in it", fs::rename(path("mine"), path("closed/file"))),
    ] {
        assert_eq!(errno_of(result), Some(libc::EACCES), "{call}");
    }
    assert_eq!(
        mount.shell("cat closed/file mine; find . | sort", &[]),
        "oldmine.\n./closed\n./closed/below\n./closed/file\n./mine\n"
    );
    assert_eq!(
        shell(&server.folder(), "cat closed/file mine; find . | sort", &[]),
        "oldmine.\n./closed\n./closed/below\n./closed/file\n./mine\n"
    );
    mount.end();
}

pub(crate) fn journal_sets_aside_what_a_closed_folder_refuses(kind: ServerKind) {
    let Some(server) = closed_server(kind) else { return };
    let mount = Mount::start(&server, &[&[JOURNAL], &SHORT[..]].concat());
    if !mount.is_real() {
        return;
    }
    let stored = server.folder().join("closed/file");
    for (name, how) in [("closed/new", "new"), ("closed/file", "trunc")] {
        assert_eq!(write(&mount, name, [how, "forward", "-"], 1, &stored), ["beside old"]);
    }
    wait_until("both are set aside", || set_aside(&mount).len() == 2);
    for path in set_aside(&mount) {
        assert_eq!(fs::read(&path).unwrap(), vec![b'a'; 65536]);
        let mut note = path.into_os_string();
        note.push(".txt");
        let note = fs::read_to_string(note).unwrap();
        let refusal = ["550", "553", "451"].iter().any(|code| note.contains(code));
        assert!(refusal && note.contains("/closed/"), "{note}");
    }
    assert_eq!(mount.shell("cat closed/file; ls closed", &[]), "oldbelow\nfile\n");
    assert_eq!(shell(&server.folder(), "cat closed/file; ls -A closed", &[]), "oldbelow\nfile\n");
    mount.end();
}

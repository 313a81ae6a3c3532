//! Servers that go away, come back, allow little or say nothing: errors or success, never a hang, never half a file as whole.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::fixtures::{big_file, mounted, put, write_noise};
use crate::gate::Gate;
use crate::mounted::{Mount, shell, start_shell, try_shell};
use crate::servers::{Server, ServerKind, ServerSettings, wait_until};
use crate::streaming::bytes_in;

/// What the tests ask the program to wait at most, and what they then allow it: for machines with other things to do.
const SHORT_DEADLINES: [&str; 10] = [
    "--timeout",
    "5s",
    "--reply-timeout",
    "3s",
    "--data-timeout",
    "3s",
    "--connect-timeout",
    "3s",
    "--shutdown-timeout",
    "5s",
];
/// Nothing is believed for longer than it takes to say it.
const NO_CACHES: [&str; 4] = ["--dir-timeout", "1ms", "--attr-timeout", "1ms"];
const SILENCE_LIMIT: Duration = Duration::from_secs(25);

pub(crate) fn reads_go_on_when_the_server_is_restarted(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, big_file(), "big");
    let mount = Mount::start(&server, &[]);
    let mut file = File::open(mount.path().join("big")).unwrap();
    let mut expected = File::open(big_file()).unwrap();
    let (mut bytes, mut true_bytes) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for mebibyte in 0..300 {
        if mebibyte % 120 == 60 {
            server.restart();
        }
        let len = file.read(&mut bytes).unwrap_or_else(|error| panic!("at {mebibyte} MiB: {error}"));
        expected.read_exact(true_bytes.get_mut(..len).unwrap()).unwrap();
        assert!(bytes.get(..len) == true_bytes.get(..len), "other bytes at {mebibyte} MiB");
    }
    drop(file);
    server.restart();
    mount.shell("[ \"$(ls)\" = big ]; tail -c 100000 big | cmp - <(tail -c 100000 \"$1\")", &[big_file()]);
    mount.unmount();
}

pub(crate) fn writes_are_whole_when_the_server_is_restarted_on_the_way(kind: ServerKind) {
    let Some((mut server, mount)) = mounted(kind) else { return };
    let source = NamedTempFile::new().unwrap();
    write_noise(source.path(), 5 << 20);
    // `copied` is told of each file that cp says is there.
    let copied = NamedTempFile::new().unwrap();
    let mut copies = start_shell(
        mount.path(),
        "for number in $(seq 12); do
             if cp \"$1\" file$number; then echo file$number; else echo failed; fi >> \"$2\"
         done",
        &[source.path(), copied.path()],
    );
    let lines = || fs::read_to_string(copied.path()).unwrap().lines().count();
    for count in [2, 5, 8] {
        wait_until("cp goes on", || lines() >= count || copies.try_wait().unwrap().is_some());
        server.restart();
    }
    assert!(copies.wait().unwrap().success());
    let report = fs::read_to_string(copied.path()).unwrap();
    // What was interrupted was stored again, before close() said anything.
    assert_eq!((report.lines().count(), report.matches("failed").count()), (12, 0), "{report}");
    for name in report.lines() {
        shell(&server.folder(), &format!("cmp {name} \"$1\""), &[source.path()]);
    }
    mount.shell("cp \"$1\" last; echo short > note; rm last note", &[source.path()]);
    // Nothing is left of what was interrupted.
    for entry in fs::read_dir(server.folder()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(name.to_str().unwrap().starts_with("file"), "{} was left behind", name.display());
    }
    mount.unmount();
}

pub(crate) fn one_connection_is_enough_for_a_copy_and_a_listing(kind: ServerKind) {
    let settings = ServerSettings { connections_max: Some(1), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let source = NamedTempFile::new().unwrap();
    write_noise(source.path(), 40 << 20);
    put(&server, source.path(), "big");
    put(&server, source.path(), "other");
    for directory in 0..20 {
        fs::create_dir(server.folder().join(format!("d{directory}"))).unwrap();
        fs::write(server.folder().join(format!("d{directory}/file")), "text").unwrap();
    }
    let mount = Mount::start(&server, &[]);
    // One connection, and a copy out, two readers, a copy in and listings all want it at the same time.
    mount.shell(
        "cmp big \"$1\" & one=$!
         cmp other \"$1\" & two=$!
         cp \"$1\" copy & three=$!
         for directory in d*; do ls -l $directory > /dev/null; [ \"$(cat $directory/file)\" = text ]; done
         wait $one; wait $two; wait $three
         cmp copy \"$1\"",
        &[source.path()],
    );
    shell(&server.folder(), "cmp copy \"$1\"", &[source.path()]);
    mount.unmount();
}

pub(crate) fn connections_dropped_when_idle_are_not_missed(kind: ServerKind) {
    let settings = ServerSettings { idle_timeout: Some(Duration::from_secs(2)), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    // pyftpdlib drops nobody who has a data connection to it, as one opened ahead is.
    let without_spares = [&NO_CACHES[..], &["--no-pipelining"]].concat();
    let mount = Mount::start(&server, if kind == ServerKind::Pyftpdlib { &without_spares } else { &NO_CACHES });
    for round in 0..3 {
        mount.shell(&format!("echo {round} > file; [ \"$(cat file)\" = {round} ]; ls -l > /dev/null"), &[]);
        assert_eq!(fs::read_to_string(server.folder().join("file")).unwrap(), format!("{round}\n"));
        wait_until("the server drops idle connections", || established(server.port()) == 0);
    }
    mount.shell("mkdir made; mv file made/; ls made", &[]);
    assert!(server.folder().join("made/file").exists());
    mount.unmount();
}

pub(crate) fn writer_goes_at_the_pace_of_a_slower_server(kind: ServerKind) {
    let settings = ServerSettings { kib_per_second: Some(20 << 10), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let mount = Mount::start(&server, &["--staging-size", "4M"]);
    if !mount.is_real() {
        return;
    }
    let mut copy = start_shell(mount.path(), "head -c 60M /dev/zero | dd of=file bs=1M status=none", &[]);
    let written = || fs::metadata(mount.path().join("file")).map_or(0, |file| file.len());
    let mut ahead = 0;
    while copy.try_wait().unwrap().is_none() {
        let arrived = bytes_in(&server.folder());
        ahead = ahead.max(written().saturating_sub(arrived));
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(copy.wait().unwrap().success());
    // The staging, and beside it what sockets hold and what was written between two looks.
    assert!(ahead < 24 << 20, "the writer was {ahead} bytes ahead");
    assert_eq!(written(), 60 << 20);
    shell(&server.folder(), "cmp -n 62914560 file /dev/zero; [ $(stat -c %s file) = 62914560 ]", &[]);
    mount.unmount();
}

/// How many TCP connections the server's end of this port has.
fn established(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    table
        .lines()
        .filter(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some("01")
        })
        .count()
}

pub(crate) fn silent_server_costs_an_error_and_unmounts(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, Path::new("/proc/version"), "file");
    let gate = Gate::open(server.port());
    let options = [&SHORT_DEADLINES[..], &NO_CACHES].concat();
    let mount = Mount::start_url(&server, &server.url_at(gate.port()), &options);
    if !mount.is_real() {
        return;
    }
    mount.shell("cat file > /dev/null", &[]);
    gate.fall_silent();
    for script in ["ls unknown", "mkdir made", "echo text | dd of=written conv=fsync status=none", "mv file moved"] {
        let started = Instant::now();
        let output = try_shell(mount.path(), script, &[]);
        assert!(!output.status.success(), "`{script}` succeeds without a server");
        // "No such file" would be a lie: nobody has said so.
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!words.contains("No such file"), "`{script}`: {words}");
        assert!(started.elapsed() < SILENCE_LIMIT, "`{script}` took {:?}", started.elapsed());
    }
    let started = Instant::now();
    // It may end with a code of its own: what was written could not be stored.
    mount.end();
    assert!(started.elapsed() < SILENCE_LIMIT, "umount took {:?}", started.elapsed());
    assert_eq!(shell(&server.folder(), "ls", &[]), "file\n");
}

pub(crate) fn silent_server_is_not_mounted(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let gate = Gate::open(server.port());
    gate.fall_silent();
    let started = Instant::now();
    let url = server.url_at(gate.port());
    let Err(refused) = Mount::try_start(&url, "any", &SHORT_DEADLINES) else {
        panic!("mounted without a word from the server");
    };
    assert!(started.elapsed() < SILENCE_LIMIT, "it took {:?}", started.elapsed());
    assert!(!refused.status.success());
    assert!(!refused.message.trim().is_empty(), "it ended without a word");
}

pub(crate) fn wrong_password_mounts_nothing_and_says_so(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let Err(refused) = Mount::try_start(&server.url(), "wrong", &[]) else { panic!("mounted with a wrong password") };
    assert!(!refused.status.success());
    assert!(refused.message.contains("530"), "{}", refused.message);
    assert!(!refused.message.contains("wrong\n"), "the password is in its log: {}", refused.message);
}

pub(crate) fn long_read_takes_several_connections_where_each_has_its_own_rate(kind: ServerKind) {
    const KIB_PER_SECOND: u32 = 4 << 10;
    const LEN: u64 = 48 << 20;
    let settings = ServerSettings { kib_per_second: Some(KIB_PER_SECOND), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    put(&server, big_file(), "big");
    let mount = Mount::start(&server, &[]);
    let begun = Instant::now();
    mount.shell(&format!("head -c {LEN} big | cmp - <(head -c {LEN} \"$1\")"), &[big_file()]);
    let took = begun.elapsed();
    // The server gives no single connection more than that.
    let alone = Duration::from_secs((LEN >> 10) / u64::from(KIB_PER_SECOND));
    assert!(took < alone * 4 / 5, "{took:?}, and one connection takes {alone:?}");
    mount.unmount();
}

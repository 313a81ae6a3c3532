//! Files that go to the server while they are written.
//!
//! Programs of their own do the writing: where the test itself forks one, that one's copy of an open file is closed, and each close
//! brings to the server what was written so far.

use std::fs;
use std::path::Path;
use std::process::Child;

use crate::fixtures::big_file;
use crate::mounted::{Mount, shell, start_shell};
use crate::servers::{Server, ServerKind, ServerSettings, wait_until};

/// Room for a small part of the big file.
const LITTLE_ROOM: [&str; 2] = ["--staging-size", "16M"];

pub(crate) fn file_larger_than_the_staging_is_written_in_order(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    fs::write(server.folder().join("file"), "old").unwrap();
    server.give("file");
    let mount = Mount::start(&server, &LITTLE_ROOM);
    let copies = start_shell(mount.path(), "cp \"$1\" file; cp \"$1\" new", &[big_file()]);
    wait_until("much of it is on the server", || bytes_in(&server.folder()) > 50 << 20);
    if mount.is_real() {
        // Until the new one is complete, the old one is there.
        assert!(fs::read(server.folder().join("file")).unwrap() == b"old");
    }
    assert_succeeded(copies);
    shell(&server.folder(), "cmp file \"$1\"; cmp new \"$1\"; [ \"$(ls -A | wc -l)\" = 2 ]", &[big_file()]);
    mount.unmount();
}

pub(crate) fn stream_goes_on_when_the_server_was_restarted(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    let mount = Mount::start(&server, &[]);
    let copy = start_shell(mount.path(), "cp \"$1\" file", &[big_file()]);
    wait_until("much of it is on the server", || bytes_in(&server.folder()) > 50 << 20);
    server.restart();
    assert_succeeded(copy);
    shell(&server.folder(), "cmp file \"$1\"; [ \"$(ls -A)\" = file ]", &[big_file()]);
    mount.unmount();
}

pub(crate) fn what_made_room_is_taken_up_behind_or_fails_when_the_server_was_restarted(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    let mount = Mount::start(&server, &LITTLE_ROOM);
    if !mount.is_real() {
        return;
    }
    let mut copy = start_shell(mount.path(), "cp \"$1\" file", &[big_file()]);
    wait_until("much of it is on the server", || bytes_in(&server.folder()) > 50 << 20);
    server.restart();
    // Which of both, the server decides: whether it can append, and whether it has kept what it had received.
    if copy.wait().unwrap().success() {
        shell(&server.folder(), "cmp file \"$1\"; [ \"$(ls -A)\" = file ]", &[big_file()]);
    }
    mount.shell("rm -f file; echo short > note; [ \"$(cat note)\" = short ]", &[]);
    assert_eq!(shell(&server.folder(), "ls -A", &[]), "note\n");
    mount.unmount();
}

fn assert_succeeded(process: Child) {
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// How much lies in a folder.
pub(crate) fn bytes_in(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata());
    files.map(|file| file.map_or(0, |file| file.len())).sum()
}

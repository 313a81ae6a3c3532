//! What a user sees of files that could not be delivered: kept in the journal, delivered later, or set aside.

use std::fs;
use std::path::Path;

use ftpfs::control::Status;
use ftpfs::filesystem::Durability;
use ftpfs::remote::RemoteError;
use ftpfs::remote::memory::{Operation, When};

use super::asked::Asked;
use super::process::{Place, server};
use super::servers::{Server, wait_until};
use super::{Writer, errors, ftpfs, text};

/// What is known of the root lasts for the test; a server that is gone costs little time.
const PATIENCE: [&str; 4] = ["--dir-timeout=1h", "--attr-timeout=1h", "--timeout=1s", "--connect-timeout=1s"];

fn with<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&PATIENCE[..], options].concat()
}

/// Mounts again, and returns when the server has `name`.
fn delivered_by_the_next_mount(place: &Place, server: &mut Server, name: &str, options: &[&str]) {
    server.restart();
    let mut next = place.mount(server, &with(options));
    let file = server.folder().join(name);
    wait_until("the next mount delivers it", || fs::read_to_string(&file).is_ok_and(|content| content == "text\n"));
    wait_until("nothing is dirty any more", || place.status().dirty.count == 0);
    assert!(place.log().contains(&format!("in the journal, to be uploaded now: /{name}")), "{}", place.log());
    let output = place.ask("umount");
    assert!(output.status.success(), "{}\n{}", errors(&output), place.log());
    assert!(next.process.wait().unwrap().success());
}

#[test]
fn file_closed_while_the_server_is_gone_is_kept_and_the_next_mount_delivers_it() {
    let (mut server, place) = (server(), Place::new());
    let mut running = place.mount(&server, &with(&["--durability=journal"]));
    server.stop();
    fs::write(place.mountpoint().join("a"), "text\n").unwrap();
    let status = place.status();
    assert_eq!((status.dirty.count, status.dirty.in_journal), (1, 1), "{status:?}");
    let output = place.ask("umount");
    assert_eq!(output.status.code(), Some(12), "{}\n{}", errors(&output), place.log());
    let said = errors(&output);
    assert!(
        said.contains(&format!("1 file: kept in the journal; the next mount of {} delivers them", server.url())),
        "{said}"
    );
    assert!(said.contains("\n       /a  5 B, for "), "{said}");
    assert_eq!(running.process.wait().unwrap().code(), Some(12));
    let log = place.log();
    let last = log.lines().last().unwrap();
    assert!(last.contains("1 file kept in the journal") && last.ends_with(": /a"), "{log}");
    delivered_by_the_next_mount(&place, &mut server, "a", &["--durability=journal"]);
}

#[test]
fn file_whose_close_has_failed_is_kept_too() {
    let (mut server, place) = (server(), Place::new());
    let mut running = place.mount(&server, &with(&[]));
    server.stop();
    // std's way to write a file does not look at what close() returns.
    fs::write(place.mountpoint().join("a"), "text\n").unwrap();
    wait_until("it is kept", || place.status().dirty.in_journal == 1);
    assert_eq!(place.ask("umount").status.code(), Some(12), "{}", place.log());
    assert_eq!(running.process.wait().unwrap().code(), Some(12));
    delivered_by_the_next_mount(&place, &mut server, "a", &[]);
}

#[test]
fn file_that_is_open_when_the_mount_is_told_to_end_is_kept() {
    for durability in ["--durability=journal", "--durability=server"] {
        let (mut server, place) = (server(), Place::new());
        // Its upload is still tried when there is no time left.
        let options = ["--dir-timeout=1h", "--attr-timeout=1h", "--timeout=30s", "--shutdown-timeout=1s", durability];
        let mut running = place.mount(&server, &options);
        let writer = Writer::start(&place.runtime(), &place.mountpoint().join("a"), "text\n");
        server.stop();
        running.signal("TERM");
        assert_eq!(running.process.wait().unwrap().code(), Some(12), "{}", place.log());
        writer.finish();
        delivered_by_the_next_mount(&place, &mut server, "a", &[]);
    }
}

#[test]
fn killed_mount_leaves_what_was_closed_to_the_next_one() {
    let (mut server, place) = (server(), Place::new());
    let mut running = place.mount(&server, &with(&["--durability=journal"]));
    server.stop();
    fs::write(place.mountpoint().join("a"), "text\n").unwrap();
    running.process.kill().unwrap();
    running.process.wait().unwrap();
    delivered_by_the_next_mount(&place, &mut server, "a", &["--durability=journal"]);
}

#[test]
fn flush_says_that_what_is_not_delivered_yet_is_in_the_journal() {
    let (mut server, place) = (server(), Place::new());
    let _running = place.mount(&server, &with(&["--durability=journal"]));
    server.stop();
    fs::write(place.mountpoint().join("a"), "text\n").unwrap();
    let output = place.ask("flush");
    assert_eq!(output.status.code(), Some(12), "{}\n{}", errors(&output), place.log());
    assert!(errors(&output).contains("1 file: not on the server yet; in the journal"), "{}", errors(&output));
    assert!(errors(&output).contains("last attempt: "), "{}", errors(&output));
    let journal = place.status().journal.unwrap();
    assert_eq!((journal.pending_count, journal.pending_bytes), (1, 5));
    assert!(journal.paused_by.is_some(), "{journal:?}");
    let shown = text(&place.ask("status"));
    assert!(
        shown.contains("  journal      1 file, 5 B to be delivered; in ") && shown.contains(", in the journal"),
        "{shown}"
    );
    assert!(shown.contains("nothing is delivered at the moment: "), "{shown}");
    server.restart();
    let output = ftpfs(&place.runtime(), &["flush", "--timeout=20s", place.mountpoint().to_str().unwrap()]);
    assert!(output.status.success(), "{}\n{}", errors(&output), place.log());
    assert_eq!(fs::read_to_string(server.folder().join("a")).unwrap(), "text\n");
    assert!(place.ask("umount").status.success());
}

#[test]
fn what_the_server_refuses_for_good_is_set_aside_and_flush_says_so() {
    let asked = Asked::with_journal(Durability::Journal);
    asked.remote.hold(Operation::OpenWrite);
    asked.remote.fail(Operation::OpenWrite, 0, RemoteError::Refused { reply: "553 Not here.".into() }, When::Before);
    asked.shell("printf hello > a");
    let flush = asked.program("\"$FTPFS\" flush .").spawn().unwrap();
    asked.remote.let_go(Operation::OpenWrite);
    let output = flush.wait_with_output().unwrap();
    let status: Status = asked.status();
    let journal = status.journal.as_ref().unwrap();
    assert_eq!((status.lost.count, status.dirty.count, journal.set_aside_count), (1, 0, 1), "{status:?}");
    assert_eq!(fs::read_to_string(&journal.set_aside[0]).unwrap(), "hello");
    let note = fs::read_to_string(format!("{}.txt", journal.set_aside[0])).unwrap();
    assert!(note.contains("for:  /a\n") && note.contains("553 Not here."), "{note}");
    let shown = text(&asked.ask(&["status"]));
    assert!(shown.contains("given up     1 file since the mount began: /a\n"), "{shown}");
    // Whoever asks after it was given up hears of it from the status alone.
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(75));
        assert!(errors(&output).contains("1 file: given up; "), "{}", errors(&output));
    }
    // The way back that the README names.
    let folder = Path::new(&journal.set_aside_directory);
    let content = folder.join(Path::new(&journal.set_aside[0]).file_name().unwrap());
    fs::copy(&content, asked.path().join("a")).unwrap();
    fs::remove_file(&content).unwrap();
    fs::remove_file(format!("{}.txt", content.display())).unwrap();
    assert!(asked.ask(&["flush"]).status.success());
    assert_eq!(asked.remote.content("/a").unwrap(), b"hello");
    assert_eq!(asked.status().journal.unwrap().set_aside_count, 0);
}

//! The state directory of a mount's process: who has it, what is said where it cannot be had, and of what lies in it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use ftpfs::journal::{Commit, Identity, Journal, StateDirectory, Version};
use ftpfs::protocol::RemotePath;

use super::process::{Place, server};
use super::servers::{Server, wait_until};
use super::text;

/// What the mounts of `server` are called in their state directory.
fn identity(server: &Server) -> Identity {
    let url = server.url();
    let address = url.rsplit('@').next().unwrap().trim_end_matches('/');
    let (host, port) = address.rsplit_once(':').unwrap();
    Identity { host: host.into(), port: port.parse().unwrap(), user: b"tester".to_vec(), directory: RemotePath::root() }
}

/// What a mount that was killed leaves: a file at `/late` that was closed, and one at `/open` that was not.
fn leave_behind(place: &Place, server: &Server) {
    let directory = StateDirectory::open(&place.state(), &identity(server)).unwrap();
    let (journal, recovered) = Journal::open(directory).unwrap();
    assert!(recovered.pending.is_empty() && recovered.kept.is_empty());
    let path = |text: &[u8]| RemotePath::parse(text).unwrap();
    for (name, is_closed) in [("/late", true), ("/open", false)] {
        let path = path(name.as_bytes());
        let staging = journal.begin(&path).unwrap();
        staging.file().write_all_at(b"text\n", 0).unwrap();
        if is_closed {
            let commit = Commit { path, size: 5, base: None::<Version>, modified: None, mode: None };
            let _committed = journal.commit(staging, commit).map_err(|failed| failed.error).unwrap();
        }
    }
}

#[test]
fn mount_has_its_journal_in_the_state_directory_and_one_that_only_reads_has_none() {
    let (server, place) = (server(), Place::new());
    for (options, has_journal) in [(&["--ro", "--durability=journal"][..], false), (&[], true)] {
        let _running = place.mount(&server, options);
        let status = place.status();
        let directory = status.journal.as_ref().map(|journal| journal.directory.clone());
        assert_eq!(directory.is_some(), has_journal, "{options:?}");
        assert_eq!(place.state().exists(), has_journal, "{options:?}");
        if let Some(directory) = directory {
            assert!(directory.starts_with(place.state().to_str().unwrap()), "{directory}");
            assert!(fs::metadata(directory).unwrap().is_dir());
        }
        assert_eq!((status.durability.as_str(), status.fsync.as_str()), ("server", "server"));
        assert!(place.ask("umount").status.success());
    }
}

#[test]
fn state_directory_that_another_mount_has_is_refused_by_its_process_and_mountpoint() {
    let (server, place) = (server(), Place::new());
    let first = place.mount(&server, &["--durability=journal", "--fsync=local"]);
    assert_eq!((place.status().durability.as_str(), place.status().fsync.as_str()), ("journal", "local"));
    let second = place.another();
    let (code, said) = second.refused(&server, &["--durability=journal"]);
    assert_eq!(code, Some(11), "{said}");
    let holder = format!("process {} on {}", first.process.id(), place.mountpoint().canonicalize().unwrap().display());
    assert!(said.contains("--durability=journal cannot be had") && said.contains(&holder), "{said}");
    // Without the promise it does without the journal, and says so.
    let _second = second.mount(&server, &[]);
    assert_eq!(second.status().journal, None);
    let log = second.log();
    assert_eq!(log.matches("mounted without a journal").count(), 1, "{log}");
    assert!(log.contains(&holder), "{log}");
    fs::write(second.mountpoint().join("a"), "text\n").unwrap();
    assert!(second.ask("umount").status.success());
    assert_eq!(fs::read_to_string(server.folder().join("a")).unwrap(), "text\n");
}

#[test]
fn state_directory_that_is_let_go_soon_is_waited_for() {
    let (server, place) = (server(), Place::new());
    let held = StateDirectory::open(&place.state(), &identity(&server)).unwrap();
    let releases = thread::spawn(move || {
        thread::sleep(Duration::from_millis(600));
        drop(held);
    });
    let _running = place.mount(&server, &["--durability=journal"]);
    releases.join().unwrap();
    assert!(place.status().journal.is_some(), "{}", place.log());
}

#[test]
fn unusable_state_directory_is_told_and_needed_only_for_the_promise() {
    let (server, place) = (server(), Place::new());
    fs::write(place.state(), "a file").unwrap();
    let (code, said) = place.refused(&server, &["-o", "durability=journal"]);
    assert_eq!(code, Some(11), "{said}");
    assert!(said.contains(&format!("(--state-dir={})", place.state().display())), "{said}");
    let _running = place.mount(&server, &[]);
    assert_eq!(place.log().matches("mounted without a journal").count(), 1, "{}", place.log());
    assert!(place.ask("umount").status.success());
    let (code, said) = place.refused(&server, &["-o", "fsync=local"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--fsync=local needs --durability=journal"), "{said}");
}

#[test]
fn what_the_mount_before_left_is_told_by_name() {
    let (server, place) = (server(), Place::new());
    leave_behind(&place, &server);
    let _running = place.mount(&server, &[]);
    let log = place.log();
    assert!(log.contains("the mount before left 1 file (5 B) in the journal, to be uploaded now: /late"), "{log}");
    let set_aside = log.lines().find(|line| line.contains("not uploaded, and set aside in")).unwrap();
    assert!(set_aside.contains("/open") && set_aside.contains("was never closed"), "{log}");
    let journal = place.status().journal.unwrap();
    assert_eq!(journal.set_aside_count, 1);
    assert!(set_aside.contains(&journal.set_aside[0]), "{journal:?}");
    assert_eq!(fs::read_to_string(&journal.set_aside[0]).unwrap(), "text\n");
    assert!(fs::read_to_string(format!("{}.txt", journal.set_aside[0])).unwrap().contains("for:  /open\n"));
    let shown = text(&place.ask("status"));
    assert!(shown.contains(&format!("set aside    1 file in {}\n", journal.set_aside_directory)), "{shown}");
    // Who has taken it out of the folder is told of it no more.
    fs::remove_file(&journal.set_aside[0]).unwrap();
    fs::remove_file(format!("{}.txt", journal.set_aside[0])).unwrap();
    wait_until("the folder is empty", || place.status().journal.unwrap().set_aside_count == 0);
}

#[test]
fn staging_directory_beside_a_journal_is_said_not_to_be_used() {
    let (server, place) = (server(), Place::new());
    let elsewhere = place.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let _running = place.mount(&server, &[&format!("--staging-dir={}", elsewhere.display())]);
    let log = place.log();
    assert!(log.contains("is for mounts without a journal") && log.contains("--state-dir"), "{log}");
}

//! Listings in odd forms, cut short, of nothing, without an end.

use std::thread;
use std::time::{Duration, Instant};

use ftpfs::protocol::EntryKind;
use ftpfs::remote::{FtpRemote, Remote as _, RemoteError};

use super::odd_server::{ListAll, OddServer, Quirks};
use super::odd_tree::{Dialect, Node};
use super::{assert_error, fill, names, options, path, start};

const ROOT: [&str; 4] = ["empty", "full", "old", "other"];

#[test]
fn list_serves_where_mlsd_is_announced_and_does_not_work() {
    for reply in ["500 Unknown", "501 Bad argument", "502 No", "504 No", "503 PASV first", "550 Not available"] {
        let says: &'static [_] = Box::leak(Box::new([("MLSD", reply)]));
        let (_server, remote) = start(Quirks { features: "MLST type*;size*;", says, ..Quirks::default() });
        assert_eq!(names(&remote, "/"), ROOT, "{reply}");
        assert_eq!(names(&remote, "/full"), ["file"]);
        assert!(names(&remote, "/empty").is_empty());
        assert_error(remote.stat(&path("/absent")), |error| matches!(error, RemoteError::NotFound));
    }
}

#[test]
fn list_serves_where_mlsd_says_what_cannot_be_read() {
    let gibberish: [fn(Vec<String>) -> Vec<String>; 2] = [
        |lines| lines.iter().map(|line| line.replace(' ', "")).collect(),
        |lines| lines.iter().map(|line| format!("-rw-r--r-- 1 ftp ftp 5 Jan  1  2024 {line}")).collect(),
    ];
    for change_facts in gibberish {
        let (_server, remote) = start(Quirks { change_facts, ..Quirks::default() });
        assert_eq!(names(&remote, "/"), ROOT);
    }
}

#[test]
fn empty_mlsd_is_checked_by_list_and_hides_nothing() {
    // MLSD that always says 226 without a line.
    let (_server, remote) = start(Quirks { change_facts: |_| Vec::new(), ..Quirks::default() });
    assert_eq!(names(&remote, "/"), ROOT);
    assert!(remote.list(&path("/empty")).unwrap().entries.is_empty());
}

#[test]
fn name_that_is_listed_twice_is_one_entry() {
    let (_server, remote) = start(Quirks {
        change_facts: |lines| lines.iter().flat_map(|line| [line.clone(), line.clone()]).collect(),
        ..Quirks::default()
    });
    assert_eq!(names(&remote, "/"), ROOT);
}

#[test]
fn names_that_lead_elsewhere_are_not_shown_and_make_the_listing_incomplete() {
    let (_server, remote) = start(Quirks {
        change_facts: |mut lines| {
            for name in ["../up", "/etc/passwd", "a/b", "..", "."] {
                lines.push(format!("type=file;size=1; {name}"));
            }
            lines
        },
        ..Quirks::default()
    });
    assert_eq!(names(&remote, "/"), ROOT);
    assert!(!remote.list(&path("/")).unwrap().complete);
}

#[test]
fn names_that_a_listing_hides_are_not_called_absent() {
    for list_all in [ListAll::Name, ListAll::Refused] {
        let server = OddServer::start(Quirks { has_facts: false, list_all, ..Quirks::default() });
        fill(&server);
        server.tree().put_file("/.hidden", b"x");
        let remote = FtpRemote::connect(options(&server)).unwrap();
        assert_eq!(names(&remote, "/"), ROOT);
        assert!(!remote.list(&path("/")).unwrap().complete);
        assert_eq!(remote.stat(&path("/.hidden")).unwrap().size, Some(1));
        assert_error(remote.stat(&path("/.absent")), |error| matches!(error, RemoteError::NotFound));
    }
    let server = OddServer::start(Quirks { has_facts: false, ..Quirks::default() });
    fill(&server);
    server.tree().put_file("/.hidden", b"x");
    let remote = FtpRemote::connect(options(&server)).unwrap();
    assert!(names(&remote, "/").contains(&String::from(".hidden")));
}

#[test]
fn listing_of_dos_and_eplf_is_read_with_the_spaces_of_names() {
    for dialect in [Dialect::Dos, Dialect::Eplf, Dialect::Unix] {
        let server = OddServer::start(Quirks { has_facts: false, dialect, ..Quirks::default() });
        fill(&server);
        for name in ["/ leading", "/in the middle", "/full/  two", "/a;b=c"] {
            server.tree().put_file(name, b"12345");
        }
        server.tree().put("/ directory", Node::Directory);
        let remote = FtpRemote::connect(options(&server)).unwrap();
        let root = remote.list(&path("/")).unwrap();
        assert_eq!(
            names(&remote, "/"),
            [" directory", " leading", "a;b=c", "empty", "full", "in the middle", "old", "other"],
            "{dialect:?}"
        );
        assert_eq!(names(&remote, "/full"), ["  two", "file"]);
        let kind = |name: &[u8]| root.entries.iter().find(|entry| entry.name.as_bytes() == name).unwrap().kind;
        assert_eq!((kind(b" directory"), kind(b" leading")), (EntryKind::Directory, EntryKind::File));
    }
}

#[test]
fn truncated_listing_proves_no_absence() {
    for (listing_limit, completion) in
        [(1000, "226 Done"), (2000, "226 Done"), (50, "226-Options: -l\r\n226 Output truncated to 50 matches")]
    {
        for has_facts in [true, false] {
            let quirks = Quirks { listing_limit, completion, has_facts, ..Quirks::default() };
            let server = OddServer::start(quirks);
            for number in 0..listing_limit + 10 {
                server.tree().put_file(&format!("/file{number:05}"), b"x");
            }
            let remote = FtpRemote::connect(options(&server)).unwrap();
            let listing = remote.list(&path("/")).unwrap();
            assert_eq!(listing.entries.len(), listing_limit);
            assert!(!listing.complete);
            // Beyond the limit, and found by a question of its own.
            let last = path(&format!("/file{:05}", listing_limit + 9));
            assert_eq!(remote.stat(&last).unwrap().size, Some(1));
            assert_error(remote.stat(&path("/absent")), |error| matches!(error, RemoteError::NotFound));
        }
    }
}

#[test]
fn absent_directory_is_not_found_where_listing_it_succeeds() {
    for has_facts in [true, false] {
        let (_server, remote) = start(Quirks { has_facts, ..Quirks::default() });
        assert_error(remote.list(&path("/absent")), |error| matches!(error, RemoteError::NotFound));
        assert_error(remote.list(&path("/old")), |error| matches!(error, RemoteError::NotDirectory));
    }
}

#[test]
fn refusal_to_list_what_is_empty_is_an_empty_listing_and_any_other_an_error() {
    for has_facts in [true, false] {
        for reply in ["450 No files found", "550 No files found.", "450 /empty: Directory is empty"] {
            let (_server, remote) = start(Quirks { empty_listing: Some(reply), has_facts, ..Quirks::default() });
            assert!(remote.list(&path("/empty")).unwrap().entries.is_empty(), "{reply}");
            assert_error(remote.list(&path("/absent")), |error| matches!(error, RemoteError::NotFound));
        }
        for reply in ["550 Permission denied", "450 Busy", "426 Broken", "451 Local error"] {
            let (_server, remote) = start(Quirks { empty_listing: Some(reply), has_facts, ..Quirks::default() });
            assert_error(remote.list(&path("/empty")), |error| !matches!(error, RemoteError::NotFound));
        }
    }
}

#[test]
fn link_with_an_arrow_in_its_name_is_found() {
    let server = OddServer::start(Quirks { has_facts: false, ..Quirks::default() });
    fill(&server);
    server.tree().put("/link", Node::Link(String::from("a -> b")));
    server.tree().put_file("/file -> name", b"12345");
    let remote = FtpRemote::connect(options(&server)).unwrap();
    let listing = remote.list(&path("/")).unwrap();
    let find = |name: &[u8]| listing.entries.iter().find(|entry| entry.name.as_bytes() == name);
    assert_eq!(find(b"link").unwrap().link_target.as_deref(), Some(&b"a -> b"[..]));
    assert_eq!(find(b"file -> name").unwrap().kind, EntryKind::File);
}

#[test]
fn listing_that_drips_for_ever_ends_in_an_error_in_time() {
    let server = OddServer::start(Quirks { endless_listing: true, ..Quirks::default() });
    fill(&server);
    let mut options = options(&server);
    options.operation_timeout = Duration::from_secs(2);
    let remote = FtpRemote::connect(options).unwrap();
    let begin = Instant::now();
    assert_error(remote.list(&path("/")), |error| matches!(error, RemoteError::TimedOut { .. }));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

/// As far as is known a directory that was never listed is small: how many of its entries have come shows that it is not.
#[test]
fn listing_that_turns_out_to_be_large_is_brief_no_more() {
    let (server, remote) = start(Quirks::default());
    server.tree().put("/large", Node::Directory);
    for number in 0..2500 {
        server.tree().put_file(&format!("/large/file-{number}"), b"");
    }
    let brief = || remote.connections().unwrap().brief;
    names(&remote, "/full");
    let mut seen = Vec::new();
    // What counts as brief is measured: from now on it is more than a second.
    let part = &mut |_: &[_]| {
        seen.push(brief());
        thread::sleep(Duration::from_millis(1500));
    };
    remote.list_in_parts(&path("/full"), part).unwrap();
    assert_eq!(seen, [1]);
    let begun = Instant::now();
    let (mut seen, mut come) = (Vec::new(), 0);
    let part = &mut |entries: &[_]| {
        come += entries.len();
        seen.push((come, brief(), begun.elapsed()));
    };
    assert_eq!(remote.list_in_parts(&path("/large"), part).unwrap().entries.len(), 2500);
    assert!(seen.iter().all(|(_, brief, _)| *brief == 0), "{seen:?}");
    assert_eq!(come, 2500);
}

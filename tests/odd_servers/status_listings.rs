//! Listings by STAT on the control connection: when they are believed, and what ends that.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::pool::ServerOptions;
use ftpfs::remote::{FtpRemote, Listing, Remote as _, RemoteError};

use super::odd_server::{OddServer, Quirks};
use super::odd_tree::Node;
use super::{assert_error, options, path};

const VSFTPD: &str = "220 (vsFTPd odd)";
const DOT: &str = "drwxr-xr-x 2 ftp ftp 4096 Jan  2  2024 .";

/// A reply as vsftpd's.
fn status(lines: &[String]) -> Option<String> {
    Some([&["213-Status follows:".into(), DOT.into()], lines, &["213 End of status".into()]].concat().join("\r\n"))
}

/// A server without MLSD that has some directories of two files, and a client that has listed two of them.
fn start(quirks: Quirks) -> (OddServer, FtpRemote) {
    let server = OddServer::start(quirks);
    {
        let mut tree = server.tree();
        for directory in ["/a", "/b", "/c", "/d", "/e"] {
            tree.put(directory, Node::Directory);
            tree.put_file(&format!("{directory}/one"), b"1");
            tree.put_file(&format!("{directory}/.two"), b"22");
        }
    }
    let remote = FtpRemote::connect(options(&server)).unwrap();
    for directory in ["/a", "/b"] {
        assert_eq!(names(&list(&remote, directory)), set(&[".two", "one"]));
    }
    (server, remote)
}

/// Lists a directory, and returns when what goes on behind that has ended too.
fn list(remote: &FtpRemote, directory: &str) -> Listing {
    let listing = remote.list(&path(directory)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while remote.connections().unwrap().listing > 0 {
        assert!(Instant::now() < deadline, "the session of the listing is still lent");
        thread::yield_now();
    }
    listing
}

fn without_facts(status: fn(&[String]) -> Option<String>) -> Quirks {
    Quirks { banner: VSFTPD, has_facts: false, status, ..Quirks::default() }
}

/// As ProFTPD, whose MLSD hides links that STAT shows.
fn hiding_links(status: fn(&[String]) -> Option<String>) -> Quirks {
    let change_facts = |lines: Vec<String>| lines.into_iter().filter(|line| !line.contains("slink")).collect();
    Quirks { banner: "220 ProFTPD odd", change_facts, status, ..Quirks::default() }
}

fn names(listing: &Listing) -> BTreeSet<String> {
    listing.entries.iter().map(|entry| entry.name.to_string()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn status_alone_lists_once_it_was_the_same_as_list() {
    let (server, remote) = start(without_facts(status));
    let before = server.dialogue().count("LIST");
    let listing = remote.list(&path("/c")).unwrap();
    assert_eq!((names(&listing), listing.complete), (set(&[".two", "one"]), true));
    assert_eq!(server.dialogue().count("LIST"), before);
    assert_error(remote.list(&path("/missing")), |error| matches!(error, RemoteError::NotFound));
}

#[test]
fn comparison_is_over_with_the_listing_where_there_is_one_session_to_lend() {
    let server = OddServer::start(without_facts(|lines| {
        // So long that whoever does not wait for it is back before.
        std::thread::sleep(std::time::Duration::from_millis(500));
        status(lines)
    }));
    server.tree().put_file("/one", b"1");
    let remote = FtpRemote::connect(ServerOptions { connections_max: 2, ..options(&server) }).unwrap();
    assert_eq!(names(&remote.list(&path("/")).unwrap()), set(&["one"]));
    assert_eq!((server.dialogue().count("STAT"), remote.connections().unwrap().listing), (1, 0));
}

#[test]
fn status_that_shows_less_than_list_is_never_believed() {
    type Hides = fn(&[String]) -> Option<String>;
    let hidings: [(Hides, usize); 5] = [
        (|lines| status(&lines[..lines.len().min(1)]), 3),
        // It has all names: the files could have been changed in between.
        (|lines| status(&lines.iter().map(|line| line.replace(" 2024 ", " 2023 ")).collect::<Vec<_>>()), 16),
        // Without `.` nobody knows whether it shows all, and whether it is a listing at all.
        (|lines| status(lines).map(|reply| reply.replace(&format!("{DOT}\r\n"), "")), 3),
        (|_| Some(String::from("211-Status\r\n Logged in as anna\r\n211 End")), 3),
        (|_| Some(String::from("550 No such file")), 3),
    ];
    for (hides, asked) in hidings {
        let (server, remote) = start(without_facts(hides));
        for directory in ["/c", "/d", "/e"].iter().cycle().take(20) {
            let listing = list(&remote, directory);
            assert_eq!((names(&listing), listing.complete), (set(&[".two", "one"]), true));
        }
        assert_eq!(server.dialogue().count("STAT"), asked, "it is asked no more");
    }
}

#[test]
fn name_that_ends_the_reply_hides_no_name_behind_it() {
    let (server, remote) = start(without_facts(status));
    server.tree().put_file("/c/n\r\n213 End of status\r\n350 Going on at 1\r\n350 Going on at 0", b"");
    let listing = remote.list(&path("/c")).unwrap();
    assert!(names(&listing).is_superset(&set(&[".two", "one"])), "{:?}", listing.entries);
    assert!(!listing.complete, "LIST shows lines that are no entries");
    let before = server.dialogue().count("STAT");
    remote.list(&path("/c")).unwrap();
    assert_eq!(server.dialogue().count("STAT"), before, "that directory is listed by LIST for good");
    // And nothing that was said there is taken for an answer to something else, or for a server that cannot keep the order.
    let before = server.dialogue().count("LIST");
    assert_eq!(names(&remote.list(&path("/d")).unwrap()), set(&[".two", "one"]));
    assert_eq!(server.dialogue().count("LIST"), before);
}

#[test]
fn name_that_begins_a_reply_for_the_number_to_end_hides_no_name_behind_it() {
    let begins_a_reply = "a\r\n213 End of status\r\n350-x";
    let (server, remote) = start(without_facts(status));
    server.tree().put_file(&format!("/c/{begins_a_reply}"), b"");
    let listing = remote.list(&path("/c")).unwrap();
    assert!(names(&listing).is_superset(&set(&[".two", "one"])), "{:?}", listing.entries);
    assert!(!listing.complete);

    let (server, remote) = start_hiding_links(status);
    server.tree().put(&format!("/a/{begins_a_reply}"), Node::Link("nowhere".into()));
    let listing = remote.list(&path("/a")).unwrap();
    assert!(names(&listing).is_superset(&set(&["file", "link"])), "{:?}", listing.entries);
    assert_eq!((listing.complete, listed_in_one_packet(&server)), (false, 1));
}

#[test]
fn status_is_not_believed_without_the_number_behind_it() {
    let quirks = Quirks { says: &[("REST ", "350 Go on")], ..without_facts(status) };
    let (server, remote) = start(quirks);
    for directory in ["/c", "/d", "/e", "/c", "/d", "/e"] {
        let listing = list(&remote, directory);
        assert_eq!((names(&listing), listing.complete), (set(&[".two", "one"]), true));
    }
    assert_eq!(server.dialogue().count("STAT"), 3);
}

#[test]
fn directory_too_long_for_a_reply_goes_back_to_list_for_good() {
    let (server, remote) = start(without_facts(status));
    for number in 0..30_000 {
        server.tree().put_file(&format!("/c/a-file-with-a-name-of-some-length-{number}"), b"");
    }
    let before = server.dialogue().count("STAT");
    for _ in 0..3 {
        let listing = remote.list(&path("/c")).unwrap();
        assert_eq!((listing.entries.len(), listing.complete), (30_002, true));
    }
    assert_eq!(server.dialogue().count("STAT"), before + 1);
    // The others are listed as before.
    let lists = server.dialogue().count("LIST");
    remote.list(&path("/d")).unwrap();
    assert_eq!(server.dialogue().count("LIST"), lists);
}

#[test]
fn links_that_mlsd_hides_are_told_by_status_beside_it() {
    let start = |status| {
        let server = OddServer::start(hiding_links(status));
        server.tree().put_file("/file", b"1");
        server.tree().put("/link", Node::Link("nowhere".into()));
        let remote = FtpRemote::connect(options(&server)).unwrap();
        let listing = remote.list(&path("/")).unwrap();
        assert_eq!((names(&listing), listing.complete), (set(&["file", "link"]), true));
        server
    };
    assert_eq!(start(status).dialogue().count("LIST"), 0);
    // One that shows less than MLSD may hide links as well.
    let hides_files = |lines: &[String]| status(&lines[1..]);
    assert!(start(hides_files).dialogue().count("LIST") > 0);
    assert!(start(|_| None).dialogue().count("LIST") > 0);
}

/// A server that hides links, each of whose directories has a file and one, and a client that has listed the first.
fn start_hiding_links(status: fn(&[String]) -> Option<String>) -> (OddServer, FtpRemote) {
    let server = OddServer::start(hiding_links(status));
    for directory in ["/a", "/b", "/c"] {
        server.tree().put(directory, Node::Directory);
        server.tree().put_file(&format!("{directory}/file"), b"1");
        server.tree().put(&format!("{directory}/link"), Node::Link("nowhere".into()));
    }
    let remote = FtpRemote::connect(options(&server)).unwrap();
    assert_eq!(names(&remote.list(&path("/")).unwrap()), set(&["a", "b", "c"]));
    (server, remote)
}

/// How often MLSD was followed by EPSV and STAT at once.
fn listed_in_one_packet(server: &OddServer) -> usize {
    let commands = server.dialogue().commands();
    commands.windows(3).filter(|three| three[0] == "MLSD" && three[1] == "EPSV" && three[2] == "STAT -a .").count()
}

fn assert_lists_file_and_link(remote: &FtpRemote, directory: &str) {
    let listing = remote.list(&path(directory)).unwrap();
    assert_eq!((names(&listing), listing.complete), (set(&["file", "link"]), true), "{directory}");
}

#[test]
fn links_of_a_small_directory_are_told_in_the_packet_of_its_listing() {
    let (server, remote) = start_hiding_links(status);
    assert_eq!(listed_in_one_packet(&server), 0, "nobody knows yet how large the first directory is");
    for (listed, directory) in ["/a", "/b", "/c", "/a"].into_iter().enumerate() {
        assert_lists_file_and_link(&remote, directory);
        assert_eq!(listed_in_one_packet(&server), listed + 1);
    }
    let dialogue = server.dialogue();
    assert_eq!((dialogue.count("MLSD"), dialogue.count("STAT"), dialogue.count("LIST")), (5, 5, 0));
}

#[test]
fn size_that_tells_too_little_of_a_directory_is_not_believed_again() {
    let (server, remote) = start_hiding_links(status);
    for number in 0..1500 {
        server.tree().put_file(&format!("/a/{number}"), b"");
    }
    for _ in 0..2 {
        let listing = remote.list(&path("/a")).unwrap();
        assert_eq!((listing.entries.len(), listing.complete), (1502, true));
    }
    assert_eq!((listed_in_one_packet(&server), server.dialogue().count("STAT")), (1, 2));
    // Of a directory whose size was told before that it is still believed, not of one that is told now. What a listing has shown is.
    server.tree().put("/new", Node::Directory);
    remote.list(&path("/")).unwrap();
    let before = listed_in_one_packet(&server);
    remote.list(&path("/new")).unwrap();
    assert_eq!(listed_in_one_packet(&server), before);
    remote.list(&path("/new")).unwrap();
    assert_eq!(listed_in_one_packet(&server), before + 1);
}

#[test]
fn name_that_ends_the_reply_behind_a_listing_hides_no_name_and_stops_no_other_packet() {
    let (server, remote) = start_hiding_links(status);
    let begins_more = "/a/n\r\n213 End of status\r\n350 Going on at 1\r\n350 Going on at 0\r\n226 Done";
    server.tree().put(begins_more, Node::Link("nowhere".into()));
    for _ in 0..2 {
        let listing = remote.list(&path("/a")).unwrap();
        assert!(names(&listing).is_superset(&set(&["file", "link"])), "{:?}", listing.entries);
        assert!(!listing.complete, "LIST shows lines that are no entries");
    }
    assert_eq!(listed_in_one_packet(&server), 1);
    assert_lists_file_and_link(&remote, "/b");
    assert_eq!(listed_in_one_packet(&server), 2, "others may have that name, not the server's order");
}

#[test]
fn directory_that_is_gone_is_told_and_what_status_says_then_is_not() {
    let (server, remote) = start_hiding_links(status);
    server.tree().remove_all("/a");
    assert_error(remote.list(&path("/a")), |error| matches!(error, RemoteError::NotFound));
    // And once more the directory that had it, to see that it is gone.
    assert_eq!(listed_in_one_packet(&server), 2);
    assert_lists_file_and_link(&remote, "/b");
}

//! Small files that are fetched whole, with the question what they are behind them in one packet: on servers that answer as they should, and on
//! those that do not.

use std::time::Duration;

use ftpfs::remote::{Errand, Fetched, FtpRemote, Remote as _, RemoteError, RemoteResult};

use super::at_once::{orderly, verbs};
use super::odd_server::Quirks;
use super::{assert_error, path, start};

const OLD: &str = "old content";

fn fetch(remote: &FtpRemote, at: &str, size: usize) -> RemoteResult<Fetched> {
    let connection = remote.idle_connection(Errand::Fetch, Duration::from_secs(10)).expect("nobody needs the others");
    connection.fetch(&path(at), size as u64)
}

/// The bytes that are there whatever is said behind them; and whether the file was told of.
fn fetch_old(remote: &FtpRemote) -> bool {
    let fetched = fetch(remote, "/old", OLD.len()).unwrap();
    assert_eq!(fetched.bytes, OLD.as_bytes());
    if let Some(entry) = &fetched.entry {
        assert_eq!(entry.size, Some(OLD.len() as u64));
        assert_eq!(
            entry.modified.map(|time| time.seconds),
            remote.stat(&path("/old")).unwrap().modified.map(|time| time.seconds)
        );
    }
    fetched.entry.is_some()
}

#[test]
fn file_is_told_of_behind_its_bytes() {
    for (has_facts, time) in [(true, "MLST"), (false, "MDTM")] {
        let (server, remote) = start(Quirks { has_facts, ..orderly() });
        remote.stat(&path("/old")).unwrap();
        assert!(fetch_old(&remote));
        let before = server.dialogue().commands().len();
        let fetched = fetch(&remote, "/old", OLD.len()).unwrap();
        assert_eq!(fetched.entry.unwrap().size, Some(OLD.len() as u64));
        assert_eq!(verbs(&server, before), ["RETR", "SIZE", time]);
    }
}

#[test]
fn what_is_refused_or_odd_behind_the_file_tells_nothing_of_it() {
    for answer in
        [("SIZE", "500 Not now"), ("SIZE", "213 12"), ("SIZE", "250 11"), ("MLST", "550 No"), ("MLST", "250 What?")]
    {
        let says: &'static [_] = Box::leak(Box::new([answer]));
        let (server, remote) = start(Quirks { says, ..orderly() });
        remote.times(&path("/"), &[]).unwrap();
        let _ = remote.stat(&path("/old"));
        // A server whose MLST is of no use is asked for SIZE and MDTM.
        assert!(!fetch_old(&remote) || answer.0 == "MLST", "{answer:?}");
        let connections = server.dialogue().connections();
        assert_eq!(fetch(&remote, "/old", OLD.len()).unwrap().bytes, OLD.as_bytes());
        assert_eq!(server.dialogue().connections(), connections, "{answer:?}");
    }
}

#[test]
fn server_that_answers_while_it_sends_is_believed_nothing_of_it_and_not_asked_so_again() {
    for answers_early in [1, 2] {
        for has_facts in [true, false] {
            let (server, remote) = start(Quirks { answers_early, has_facts, ..orderly() });
            remote.stat(&path("/old")).unwrap();
            assert_error(fetch(&remote, "/old", OLD.len()), |error| matches!(error, RemoteError::Protocol { .. }));
            let before = server.dialogue().commands().len();
            assert!(!fetch_old(&remote) && !fetch_old(&remote));
            // What it read of the first packet it may have read late.
            let verbs = verbs(&server, before).into_iter().skip_while(|verb| verb != "RETR").collect::<Vec<_>>();
            assert_eq!(verbs, ["RETR", "RETR"]);
        }
    }
}

#[test]
fn file_of_another_size_is_not_fetched_and_the_session_goes_on() {
    let (server, remote) = start(orderly());
    fetch_old(&remote);
    let connections = server.dialogue().connections();
    for size in [0, 3, OLD.len() - 1, OLD.len() + 1] {
        assert_error(fetch(&remote, "/old", size), |error| matches!(error, RemoteError::Changed));
    }
    assert_error(fetch(&remote, "/missing", 3), |_| true);
    assert!(fetch_old(&remote));
    assert_eq!(server.dialogue().connections(), connections, "{:?}", server.dialogue().commands());
}

#[test]
fn unknown_server_is_asked_nothing_behind_the_file() {
    let (server, remote) = start(Quirks::default());
    let before = server.dialogue().commands().len();
    assert!(!fetch_old(&remote));
    assert!(!verbs(&server, before).contains(&"SIZE".to_owned()));
}

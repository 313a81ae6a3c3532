//! Small files that are sent without waiting for a reply: on servers that pretend to queue, and do not, or do something else wrong.

use std::thread;
use std::time::{Duration, Instant};

use ftpfs::remote::{FtpRemote, Remote as _, RemoteError, RemoteResult, Stored, Wishes, WriteMode};

use super::odd_server::{Break, Quirks, RenameOver};
use super::{FILLED, REPLACE, assert_error, content, path, paths, read, start, start_with};

/// The banner of a server that is known to queue what comes early.
pub(super) const ORDERLY: &str = "220 ProFTPD, it says";

pub(super) fn store_whole(remote: &FtpRemote, at: &str, mode: WriteMode, bytes: &str) -> RemoteResult<Stored> {
    remote.open_whole(&path(at), mode, bytes.as_bytes())?.finish()
}

pub(super) fn orderly() -> Quirks {
    Quirks { banner: ORDERLY, ..Quirks::default() }
}

/// The beginnings of the commands since `before`, of those that are about files.
pub(super) fn verbs(server: &super::OddServer, before: usize) -> Vec<String> {
    let commands = server.dialogue().commands().split_off(before);
    let verbs = commands.iter().map(|command| command.split(' ').next().unwrap_or_default().to_owned());
    verbs.filter(|verb| !matches!(verb.as_str(), "EPSV" | "USER" | "PASS" | "TYPE" | "PWD")).collect()
}

/// Until the server has heard what is asked behind a transfer.
pub(super) fn wait_for_the_next_port(server: &super::OddServer) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.dialogue().commands().last().is_none_or(|last| !last.starts_with("EPSV")) {
        assert!(Instant::now() < deadline, "{:?}", server.dialogue().commands());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn new_file_is_proved_by_the_answers_in_its_own_packet() {
    for text in ["", "new", &"x".repeat(300_000)] {
        // No more than the two that are there then: a login would be counted, too.
        let (server, remote) = start_with(orderly(), |options| options.connections_max = 2);
        remote.stat(&path("/old")).unwrap();
        read(&remote, "/old", 0).unwrap();
        wait_for_the_next_port(&server);
        let (before, packets) = (server.dialogue().commands().len(), server.dialogue().packets());
        let stored = store_whole(&remote, "/new", WriteMode::Create, text).unwrap();
        assert_eq!(stored.size, text.len() as u64);
        assert!(stored.modified.is_some());
        assert_eq!(content(&server, "/new"), text);
        assert_eq!(verbs(&server, before), ["STOR", "SIZE", "MLST"]);
        let commands = server.dialogue().commands().split_off(before);
        assert!(server.dialogue().packets() - packets <= 2, "one for all, and one for the next port: {commands:?}");
    }
}

#[test]
fn file_is_replaced_by_two_packets_with_its_permissions_and_time() {
    let quirks = Quirks { sets_time_by: &["MFMT"], features: "MFMT\r\n MLST modify*;size*;type*;", ..orderly() };
    let (server, remote) = start(quirks);
    remote.stat(&path("/old")).unwrap();
    // That the server lists MFMT is enough to try it.
    let (before, packets) = (server.dialogue().commands().len(), server.dialogue().packets());
    let mode = WriteMode::Replace { mode: Some(0o640) };
    let mut stream = remote.open_whole(&path("/old"), mode, b"new").unwrap();
    assert_eq!(content(&server, "/old"), "old content");
    let finished = stream.finish_with(Wishes { time: Some(super::times::TIME), mode: None }).unwrap();
    assert_eq!(finished.time.map(|time| time.seconds), Some(super::times::TIME.seconds));
    // The server does not know SITE CHMOD: that is no reason to call the content lost, nor to call them set.
    assert_eq!(finished.mode, None);
    assert_eq!(finished.stored.modified.map(|time| time.seconds), Some(super::times::TIME.seconds));
    assert_eq!(server.tree().file("/old").unwrap().modified, super::times::TIME.seconds);
    assert_eq!((content(&server, "/old").as_str(), paths(&server)), ("new", FILLED.map(String::from).to_vec()));
    let expected = ["STOR", "SIZE", "MLST", "SITE", "MLST", "MFMT", "RNFR", "RNTO", "MLST", "SIZE", "MDTM", "MLST"];
    assert_eq!(verbs(&server, before), expected);
    // The shared session may have to be opened for the second: its login is not counted here.
    assert!(server.dialogue().packets() - packets <= 3 + 6, "{}", server.dialogue().packets() - packets);
}

#[test]
fn time_that_the_server_does_not_set_though_it_says_so_is_not_called_set() {
    const FEATURES: &str = "MFMT\r\n MLST modify*;size*;type*;";
    for says in [&[("MFMT", "213 Modify=20240102030405; /it")][..], &[("MFMT", "550 No")], &[("MFMT", "500 What?")]] {
        let (server, remote) = start(Quirks { says, features: FEATURES, ..orderly() });
        remote.stat(&path("/old")).unwrap();
        for text in ["new", "newer"] {
            let mut stream = remote.open_whole(&path("/old"), REPLACE, text.as_bytes()).unwrap();
            let finished = stream.finish_with(Wishes { time: Some(super::times::TIME), mode: None }).unwrap();
            assert_eq!((finished.time, content(&server, "/old").as_str()), (None, text));
            assert_ne!(finished.stored.modified.map(|time| time.seconds), Some(super::times::TIME.seconds));
        }
        assert_error(remote.set_modified(&path("/old"), super::times::TIME), |_| true);
    }
}

#[test]
fn stored_file_whose_name_has_to_wait_keeps_no_connection() {
    let (server, remote) = start_with(orderly(), |options| options.connections_max = 1);
    remote.stat(&path("/old")).unwrap();
    let mut stream = remote.open_whole(&path("/old"), REPLACE, b"new").unwrap();
    stream.give_way();
    // Else the only one would be waited for.
    assert_eq!(remote.stat(&path("/old")).unwrap().size, Some(11));
    assert_eq!(stream.finish().unwrap().size, 3);
    assert_eq!(content(&server, "/old"), "new");
}

#[test]
fn new_file_gets_permissions_and_time_in_one_packet_behind_its_proof_and_a_refused_one_neither() {
    let quirks = Quirks {
        sets_time_by: &["MFMT"],
        features: "MFMT\r\n MLST modify*;size*;type*;",
        says: &[("SITE CHMOD", "200 Done"), ("STOR /full", "553 No")],
        ..orderly()
    };
    let (server, remote) = start(quirks);
    remote.stat(&path("/old")).unwrap();
    remote.set_modified(&path("/other"), super::times::TIME).unwrap();
    let wishes = Wishes { time: Some(super::times::TIME), mode: Some(0o640) };
    let before = server.dialogue().commands().len();
    let mut stream = remote.open_whole(&path("/new"), WriteMode::Create, b"new").unwrap();
    assert_eq!(verbs(&server, before), ["STOR", "SIZE", "MLST"]);
    let finished = stream.finish_with(wishes).unwrap();
    assert_eq!(
        (finished.time.map(|time| time.seconds), finished.mode),
        (Some(super::times::TIME.seconds), Some(0o640))
    );
    assert_eq!(finished.stored.modified.map(|time| time.seconds), Some(super::times::TIME.seconds));
    assert_eq!(verbs(&server, before)[3..], ["SITE", "MLST", "MFMT", "MDTM", "MLST"]);
    assert_eq!(server.tree().file("/new").unwrap().modified, super::times::TIME.seconds);
    let before = server.dialogue().commands().len();
    let stored = remote.open_whole(&path("/full/new"), WriteMode::Create, b"new");
    assert_error(stored.and_then(|mut stream| stream.finish_with(wishes)), |_| true);
    assert!(verbs(&server, before).iter().all(|verb| verb != "SITE" && verb != "MFMT"));
}

#[test]
fn refused_store_takes_nothing_away_that_others_have_put_there() {
    for (reply, is_space) in [("553 No", false), ("550 Exists", false), ("450 Busy", false), ("552 Full", true)] {
        let says: &'static [_] = Box::leak(Box::new([("STOR", reply)]));
        let (server, remote) = start(Quirks { says, ..orderly() });
        for (name, mode) in [("/old", WriteMode::Create), ("/old", REPLACE), ("/new", WriteMode::Create)] {
            for text in ["x", &"x".repeat(500_000)] {
                let error = store_whole(&remote, name, mode, text).unwrap_err();
                assert_eq!(matches!(error, RemoteError::NoSpace { .. }), is_space, "{reply}: {error:?}");
            }
        }
        assert_eq!(server.dialogue().count("DELE"), 0, "{reply}");
        assert_eq!(content(&server, "/old"), "old content");
    }
}

#[test]
fn file_of_the_same_length_does_not_prove_a_store_that_was_never_begun() {
    let (server, remote) = start(Quirks { says: &[("STOR", "425 No data connection")], ..orderly() });
    assert_error(store_whole(&remote, "/old", WriteMode::Create, "OLD CONTENT"), |_| true);
    assert_eq!((content(&server, "/old").as_str(), server.dialogue().count("DELE")), ("old content", 0));
    // And the connection is lost with the command, before it is obeyed.
    let (server, remote) = start(orderly());
    server.break_at(1, Break::Before);
    let result = store_whole(&remote, "/old", WriteMode::Create, "OLD CONTENT");
    assert_eq!(result.is_ok(), content(&server, "/old") == "OLD CONTENT", "{result:?}");
}

#[test]
fn size_that_is_wrong_behind_the_completion_is_an_error_and_nothing_is_left() {
    for mode in [WriteMode::Create, REPLACE] {
        let (server, remote) = start(Quirks { loses: 1, ..orderly() });
        let name = if mode == WriteMode::Create { "/new" } else { "/old" };
        assert_error(store_whole(&remote, name, mode, "new"), RemoteError::is_worth_another_try);
        assert_eq!(
            (content(&server, "/old").as_str(), paths(&server)),
            ("old content", FILLED.map(String::from).to_vec())
        );
    }
}

#[test]
fn what_is_refused_behind_the_transfer_is_asked_again() {
    for reply in ["500 Not now", "450 Busy", "550 Not in ASCII"] {
        let says: &'static [_] = Box::leak(Box::new([("SIZE", reply)]));
        let (server, remote) = start(Quirks { says, ..orderly() });
        assert_eq!(store_whole(&remote, "/new", WriteMode::Create, "new").unwrap().size, 3);
        store_whole(&remote, "/old", REPLACE, "new").unwrap();
        assert_eq!((content(&server, "/old").as_str(), content(&server, "/new").as_str()), ("new", "new"));
    }
}

#[test]
fn server_that_answers_while_it_stores_is_believed_nothing_of_it_and_not_asked_so_again() {
    for answers_early in [1, 2] {
        for has_facts in [true, false] {
            let (server, remote) = start(Quirks { answers_early, has_facts, ..orderly() });
            remote.stat(&path("/old")).unwrap();
            assert_eq!(store_whole(&remote, "/new", WriteMode::Create, "new").unwrap().size, 3);
            let connections = server.dialogue().connections();
            store_whole(&remote, "/old", REPLACE, "newer").unwrap();
            assert_eq!((content(&server, "/new").as_str(), content(&server, "/old").as_str()), ("new", "newer"));
            // The first one has cost its connection.
            store_whole(&remote, "/old", REPLACE, "newest").unwrap();
            assert!(server.dialogue().connections() <= connections + 1, "{:?}", server.dialogue().commands());

            let (server, remote) = start(Quirks { answers_early, has_facts, loses: 1, ..orderly() });
            for (name, mode) in [("/new", WriteMode::Create), ("/old", REPLACE), ("/old", REPLACE)] {
                assert_error(store_whole(&remote, name, mode, "new"), |_| true);
            }
            assert_eq!(content(&server, "/old"), "old content");
        }
    }
}

#[test]
fn refusal_while_the_questions_are_answered_early_is_no_success() {
    // 150, the answers, and then 552 in place of the completion.
    for answers_early in [1, 2] {
        let (server, remote) = start(Quirks { answers_early, quota: 2, ..orderly() });
        for (name, mode) in [("/new", WriteMode::Create), ("/old", REPLACE)] {
            assert_error(store_whole(&remote, name, mode, "new"), |_| true);
        }
        assert_eq!(content(&server, "/old"), "old content");
    }
}

#[test]
fn full_server_is_no_space_and_costs_nothing_of_the_old_content() {
    let (server, remote) = start(Quirks { quota: 100, ..orderly() });
    for text in ["x".repeat(101), "x".repeat(900_000)] {
        for (name, mode) in [("/new", WriteMode::Create), ("/old", REPLACE)] {
            assert_error(store_whole(&remote, name, mode, &text), |error| matches!(error, RemoteError::NoSpace { .. }));
        }
    }
    assert_eq!((content(&server, "/old").as_str(), paths(&server)), ("old content", FILLED.map(String::from).to_vec()));
}

#[test]
fn store_called_complete_before_its_data_is_proved_by_the_size() {
    let (server, remote) = start(Quirks { completion_first: true, ..orderly() });
    store_whole(&remote, "/old", REPLACE, "new").unwrap();
    assert_eq!(content(&server, "/old"), "new");
    let (server, remote) = start(Quirks { completion_first: true, loses: 1, ..orderly() });
    assert_error(store_whole(&remote, "/old", REPLACE, "new"), |_| true);
    assert_eq!(content(&server, "/old"), "old content");
}

#[test]
fn lost_completion_reply_is_decided_by_the_size() {
    for (loses, is_stored) in [(0, true), (3, false)] {
        for (name, mode) in [("/new", WriteMode::Create), ("/old", REPLACE)] {
            let (server, remote) = start(Quirks { loses, ..orderly() });
            read(&remote, "/old", 0).unwrap();
            let before = server.dialogue().count("STOR");
            let stor = usize::from(server.dialogue().commands().last().is_none_or(|last| !last.starts_with("EPSV")));
            server.break_at(stor, Break::AfterData);
            let result = store_whole(&remote, name, mode, "new content");
            assert_eq!(result.is_ok(), is_stored, "{result:?}");
            assert!(server.dialogue().count("STOR") > before);
            match (mode, is_stored) {
                (_, true) => assert_eq!(content(&server, name), "new content"),
                (_, false) => assert_eq!(content(&server, "/old"), "old content"),
            }
        }
    }
}

#[test]
fn rename_of_a_complete_file_is_checked_where_the_server_only_says_yes() {
    for rename_over in [
        RenameOver::OnlySaysYes,
        RenameOver::Refuses("553 Exists"),
        RenameOver::Refuses("550 Exists"),
        RenameOver::ReplacesAndRefuses,
    ] {
        let (server, remote) = start(Quirks { rename_over, ..orderly() });
        // Of the same length: the size of what is under the name proves nothing then.
        store_whole(&remote, "/old", WriteMode::Replace { mode: Some(0o600) }, "OLD CONTENT").unwrap();
        assert_eq!(content(&server, "/old"), "OLD CONTENT", "{rename_over:?}");
        assert_eq!(paths(&server), FILLED, "{rename_over:?}");
    }
}

#[test]
fn rename_whose_old_name_was_refused_is_no_success_whatever_is_said_of_the_new_one() {
    let (server, remote) = start(Quirks { says: &[("RNFR", "550 No"), ("RNTO", "250 Renamed")], ..orderly() });
    assert_error(remote.rename(&path("/old"), &path("/new")), |error| matches!(error, RemoteError::Failed { .. }));
    assert_error(store_whole(&remote, "/old", REPLACE, "new"), |error| matches!(error, RemoteError::Failed { .. }));
    assert_eq!((content(&server, "/old").as_str(), paths(&server)), ("old content", FILLED.map(String::from).to_vec()));
}

#[test]
fn unknown_server_is_told_one_thing_after_the_other() {
    let (server, remote) = start(Quirks { answers_early: 3, ..Quirks::default() });
    for name in ["/new", "/newer"] {
        store_whole(&remote, name, WriteMode::Create, "new").unwrap();
        assert_eq!(content(&server, name), "new");
    }
    let commands = server.dialogue().commands();
    // Nothing was there for it to answer early.
    assert!(server.dialogue().connections() <= 2, "{commands:?}");
}

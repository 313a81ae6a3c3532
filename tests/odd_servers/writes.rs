//! Uploads: lost and wrong replies, files that are not what was sent.

use std::thread;
use std::time::{Duration, Instant};

use ftpfs::remote::{Remote as _, RemoteError, WriteMode};

use super::odd_server::{Break, OddServer, Quirks, RestartedStore, Store};
use super::odd_tree::Node;
use super::{FILLED, REPLACE, assert_error, content, path, paths, start, write};

#[test]
fn lost_completion_reply_is_decided_by_the_size() {
    for (loses, is_stored) in [(0, true), (3, false)] {
        for mode in [WriteMode::Create, REPLACE] {
            let (server, remote) = start(Quirks { loses, ..Quirks::default() });
            let name = if mode == WriteMode::Create { "/new" } else { "/old" };
            server.break_at(0, Break::AfterData);
            // The STOR is the next but the one that asks for a port.
            server.break_at(1, Break::AfterData);
            let result = write(&remote, name, mode, "new content");
            assert_eq!(result.is_ok(), is_stored, "{result:?}");
            match (mode, is_stored) {
                (_, true) => assert_eq!(content(&server, name), "new content"),
                (WriteMode::Create, false) => assert_eq!(paths(&server), FILLED),
                (_, false) => assert_eq!(content(&server, name), "old content"),
            }
        }
    }
}

#[test]
fn refusal_after_all_data_is_decided_by_the_size() {
    for completion in ["426 Connection closed", "426 Failure reading network stream"] {
        let (server, remote) = start(Quirks { completion, ..Quirks::default() });
        assert_eq!(write(&remote, "/new", WriteMode::Create, "new").unwrap().size, 3);
        write(&remote, "/old", REPLACE, "new").unwrap();
        assert_eq!(content(&server, "/old"), "new");
        let (server, remote) = start(Quirks { completion, loses: 1, ..Quirks::default() });
        assert_error(write(&remote, "/old", REPLACE, "new"), |error| error.is_worth_another_try());
        assert_eq!(content(&server, "/old"), "old content");
        assert_eq!(paths(&server), FILLED);
    }
}

#[test]
fn truncated_upload_is_an_error_whatever_the_server_says() {
    for has_facts in [true, false] {
        let (server, remote) = start(Quirks { loses: 1, has_facts, ..Quirks::default() });
        for (name, mode) in [("/old", REPLACE), ("/new", WriteMode::Create)] {
            // Who ended the data may have been somebody on the way: the same may succeed when it is tried again.
            assert_error(write(&remote, name, mode, "new"), RemoteError::is_worth_another_try);
        }
        assert_eq!(content(&server, "/old"), "old content");
        assert_eq!(paths(&server), FILLED);
    }
}

#[test]
fn file_is_replaced_whole_where_stor_leaves_the_old_tail() {
    let (server, remote) = start(Quirks { store: Store::KeepsTail, ..Quirks::default() });
    write(&remote, "/old", REPLACE, "new").unwrap();
    assert_eq!(content(&server, "/old"), "new");
    // A file that appeared since it was looked for: what is there is not what was written, and is said so.
    assert_error(write(&remote, "/other", WriteMode::Create, "new"), |error| {
        matches!(error, RemoteError::Failed { .. } | RemoteError::Exists | RemoteError::Changed)
    });
}

#[test]
fn file_is_replaced_under_its_own_name_where_stor_takes_another_for_a_taken_one() {
    let (server, remote) = start(Quirks { store: Store::TakesAnotherName, ..Quirks::default() });
    write(&remote, "/old", REPLACE, "new").unwrap();
    assert_eq!(content(&server, "/old"), "new");
    assert_eq!(paths(&server), FILLED);
    // A file that appeared since it was looked for: what was written went elsewhere, and is not called stored.
    assert_error(write(&remote, "/other", WriteMode::Create, "mine"), |_| true);
}

#[test]
fn full_server_is_no_space_and_costs_nothing_of_the_old_content() {
    let (server, remote) = start(Quirks { quota: 100_000, ..Quirks::default() });
    let large = "x".repeat(4_000_000);
    for (name, mode) in [("/old", REPLACE), ("/new", WriteMode::Create)] {
        assert_error(write(&remote, name, mode, &large), |error| matches!(error, RemoteError::NoSpace { .. }));
        assert_error(write(&remote, name, mode, &large[..100_001]), |error| {
            matches!(error, RemoteError::NoSpace { .. })
        });
    }
    assert_eq!(content(&server, "/old"), "old content");
    assert_eq!(paths(&server), FILLED);
    write(&remote, "/old", REPLACE, &large[..100_000]).unwrap();
}

#[test]
fn server_that_is_full_before_the_first_byte_is_no_space() {
    for reply in ["452 Insufficient storage", "552 Quota exceeded", "550 Disk full", "553 Disk quota exceeded"] {
        let says: &'static [_] = Box::leak(Box::new([("STOR", reply)]));
        let (server, remote) = start(Quirks { says, ..Quirks::default() });
        for mode in [WriteMode::Create, REPLACE] {
            assert_error(write(&remote, "/new", mode, "x"), |error| matches!(error, RemoteError::NoSpace { .. }));
        }
        assert_eq!(paths(&server), FILLED);
    }
}

#[test]
fn upload_called_complete_before_its_end_is_proved_by_the_size() {
    let (server, remote) = start(Quirks { completion_first: true, ..Quirks::default() });
    write(&remote, "/old", REPLACE, "new").unwrap();
    assert_eq!(content(&server, "/old"), "new");
}

#[test]
fn upload_is_proved_by_the_listing_where_size_is_not_answered() {
    for reply in ["502 No SIZE", "550 SIZE not allowed in ASCII mode", "500 Unknown"] {
        for has_facts in [true, false] {
            let says: &'static [_] = Box::leak(Box::new([("SIZE", reply)]));
            let (server, remote) = start(Quirks { says, has_facts, ..Quirks::default() });
            assert_eq!(write(&remote, "/old", REPLACE, "new").unwrap().size, 3);
            assert_eq!(content(&server, "/old"), "new");
            assert_eq!(write(&remote, "/new", WriteMode::Create, "").unwrap().size, 0);
        }
    }
}

#[test]
fn append_is_refused_where_it_replaces_or_is_not_there() {
    for reply in ["502 No APPE", "550 APPE denied", "451 Append/Restart not permitted"] {
        let says: &'static [_] = Box::leak(Box::new([("APPE", reply)]));
        let restarted_store = RestartedStore::Refused("501 No");
        let (server, remote) = start(Quirks { says, restarted_store, ..Quirks::default() });
        assert_error(write(&remote, "/old", WriteMode::Append { size: 11 }, "more"), |error| {
            matches!(error, RemoteError::Unsupported { .. })
        });
        assert_eq!(content(&server, "/old"), "old content");
        assert_eq!(paths(&server), FILLED);
    }
}

const PATCH: WriteMode = WriteMode::Patch { offset: 4, size: 11 };

/// The file at `/old` without all but its last `kept` bytes.
fn tail(kept: u64, added: u64) -> WriteMode {
    WriteMode::Tail { offset: 11 - kept, size: 11, new_size: 11 - kept + added }
}

#[test]
fn middle_is_patched_only_where_the_rest_was_seen_to_stay() {
    let refused: [&str; 3] = ["501 No", "502 No", "504 No"];
    let kinds =
        [RestartedStore::KeepsTail, RestartedStore::CutsTail, RestartedStore::FillsWithZeros, RestartedStore::Forgets]
            .into_iter()
            .chain(refused.map(RestartedStore::Refused))
            .chain([RestartedStore::Refused("451 Append/Restart not permitted, try again")]);
    for restarted_store in kinds {
        let (server, remote) = start(Quirks { restarted_store, ..Quirks::default() });
        let patched = write(&remote, "/old", PATCH, "CON");
        if restarted_store == RestartedStore::KeepsTail {
            assert_eq!(patched.unwrap().size, 11);
            assert_eq!(content(&server, "/old"), "old CONtent");
        } else {
            assert_error(patched, |error| matches!(error, RemoteError::Unsupported { .. }));
            assert_eq!(content(&server, "/old"), "old content", "{restarted_store:?}");
        }
        assert_eq!(paths(&server), FILLED);
    }
    for reply in refused {
        let says: &'static [_] = Box::leak(Box::new([("REST", reply)]));
        let (server, remote) = start(Quirks { says, ..Quirks::default() });
        assert_error(write(&remote, "/old", PATCH, "CON"), |error| matches!(error, RemoteError::Unsupported { .. }));
        assert_eq!(content(&server, "/old"), "old content");
        assert_eq!(paths(&server), FILLED);
    }
}

#[test]
fn tail_is_written_anew_only_where_the_beginning_was_seen_to_stay() {
    for restarted_store in [
        RestartedStore::KeepsTail,
        RestartedStore::CutsTail,
        RestartedStore::FillsWithZeros,
        RestartedStore::Forgets,
        RestartedStore::Refused("554 No"),
    ] {
        let (server, remote) = start(Quirks { restarted_store, ..Quirks::default() });
        let longer = write(&remote, "/old", tail(7, 9), "CONTENT X");
        let is_able = matches!(restarted_store, RestartedStore::KeepsTail | RestartedStore::CutsTail);
        assert_eq!(longer.is_ok(), is_able, "{restarted_store:?}: {longer:?}");
        if is_able {
            assert_eq!(content(&server, "/old"), "old CONTENT X");
        } else {
            assert_eq!(content(&server, "/old"), "old content", "{restarted_store:?}");
            continue;
        }
        let cut = WriteMode::Tail { offset: 2, size: 13, new_size: 3 };
        match write(&remote, "/old", cut, "X") {
            Ok(stored) => assert_eq!((stored.size, content(&server, "/old").as_str()), (3, "olX")),
            Err(error) => {
                assert_eq!(restarted_store, RestartedStore::KeepsTail);
                assert!(matches!(error, RemoteError::Unsupported { .. }), "{error}");
                assert_eq!(content(&server, "/old"), "old CONTENT X");
            }
        }
        assert_eq!(paths(&server), FILLED);
    }
}

#[test]
fn patch_is_proved_by_what_is_there_and_not_by_what_is_said() {
    let (server, remote) = start(Quirks::default());
    // So that the proof that it can is behind us.
    write(&remote, "/old", PATCH, "CON").unwrap();
    // SIZE, EPSV, REST, STOR: all arrived, and the reply did not.
    server.break_at(3, Break::AfterData);
    assert_eq!(write(&remote, "/old", PATCH, "xyz").unwrap().size, 11);
    assert_eq!(content(&server, "/old"), "old xyztent");
}

#[test]
fn patch_that_did_not_arrive_whole_is_sent_again() {
    let (server, remote) = start(Quirks::default());
    write(&remote, "/old", PATCH, "CON").unwrap();
    for mode in [PATCH, WriteMode::Tail { offset: 4, size: 11, new_size: 11 }] {
        let mut stream = remote.open_write(&path("/old"), mode).unwrap();
        let bytes: &[u8] = if mode == PATCH { b"new" } else { b"newer X" };
        // To the server that is the end of the upload: it says 226, and the size is right.
        server.lose_on_the_way(1);
        stream.write_all(bytes).unwrap();
        assert_error(stream.finish(), |error| error.is_worth_another_try());
        assert_eq!(stream.resume().unwrap(), 0);
        stream.write_all(bytes).unwrap();
        assert_eq!(stream.finish().unwrap().size, 11);
        let expected = if mode == PATCH { "old newtent" } else { "old newer X" };
        assert_eq!(content(&server, "/old"), expected);
    }
}

#[test]
fn patch_neither_leaves_its_file_nor_goes_into_another_one() {
    let (server, remote) = start(Quirks::default());
    assert_error(write(&remote, "/old", PATCH, "more than there is"), |error| {
        matches!(error, RemoteError::Failed { .. })
    });
    assert_eq!(content(&server, "/old"), "old content");
    let grown = WriteMode::Patch { offset: 4, size: 10 };
    assert_error(write(&remote, "/old", grown, "CON"), |error| *error == RemoteError::Changed);
    assert_error(write(&remote, "/gone", PATCH, "CON"), |error| *error == RemoteError::NotFound);
    assert_eq!(content(&server, "/old"), "old content");
    assert_eq!(paths(&server), FILLED);
}

#[test]
fn bytes_are_appended_by_restart_where_appe_is_not_there() {
    for says in [&[("APPE", "502 No APPE")], &[("APPE", "550 APPE denied")]] {
        let (server, remote) = start(Quirks { says, ..Quirks::default() });
        assert_eq!(write(&remote, "/old", WriteMode::Append { size: 11 }, " more").unwrap().size, 16);
        assert_eq!(content(&server, "/old"), "old content more");
        assert_eq!(paths(&server), FILLED);
    }
}

/// Looks until a path is gone from the server.
#[track_caller]
fn wait_until_gone(server: &OddServer, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.tree().file(path).is_some() {
        assert!(Instant::now() < deadline, "{path} is still there");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn what_a_crashed_mount_left_is_removed_when_it_is_old_by_the_servers_clock() {
    // A clock that is a month ahead, or behind, makes nothing old, or young.
    for mdtm_ahead_seconds in [0, 30 * 86_400, -30 * 86_400] {
        let (server, remote) = start(Quirks { mdtm_ahead_seconds, has_facts: false, ..Quirks::default() });
        let kept = [
            "/full/.ftpfs-0000000000000000.part",
            "/full/.ftpfs-00000000000000aa-file.old",
            "/full/.ftpfs-00000000000000ab-gone.old",
            "/full/.ftpfs-00000000000000ac.old",
            "/full/.ftpfs-11111111.part",
            "/full/ftpfs-1111111111111111.part",
        ];
        for path in kept {
            server.tree().put_file(path, b"left");
        }
        server.tree().file_mut(kept[0]).unwrap().modified = jiff::Timestamp::now().as_second() - 3600;
        server.tree().put("/full/.ftpfs-2222222222222222.part", Node::Directory);
        // Behind all that is to stay, so that that was looked at before this is gone.
        let old = "/full/.ftpfs-ffffffffffffffff.part";
        server.tree().put_file(old, b"half");
        remote.list(&path("/full")).unwrap();
        // Before anything was stored here the server's clock is not known.
        assert!(!server.dialogue().commands().iter().any(|command| command.contains(".ftpfs-")));
        write(&remote, "/new", WriteMode::Create, "new").unwrap();
        remote.list(&path("/full")).unwrap();
        wait_until_gone(&server, old);
        for path in kept {
            assert_eq!(content(&server, path), "left");
        }
        assert!(server.tree().is_directory("/full/.ftpfs-2222222222222222.part"));
        let deleted = |command: &String| command.starts_with("DELE");
        assert_eq!(server.dialogue().commands().iter().filter(|command| deleted(command)).count(), 1);
    }
}

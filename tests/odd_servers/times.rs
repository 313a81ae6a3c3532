//! Modification times: of servers in another time zone, and the ways to set them.

use ftpfs::protocol::{Precision, Timestamp};
use ftpfs::remote::{Remote as _, RemoteError};

use super::odd_server::Quirks;
use super::{REPLACE, assert_error, path, start, write};

pub(super) const TIME: Timestamp = Timestamp { seconds: 1_600_000_000, nanoseconds: 0, precision: Precision::Second };

fn modified(server: &super::OddServer, path: &str) -> i64 {
    server.tree().file(path).unwrap().modified
}

#[test]
fn time_is_set_by_whichever_way_the_server_has() {
    for way in ["MFMT 2", "MFF Modify=2", "SITE UTIME 2", "SITE UTIME /", "MDTM 2"] {
        for has_facts in [true, false] {
            let sets_time_by: &'static [_] = Box::leak(Box::new([way]));
            let (server, remote) = start(Quirks { sets_time_by, has_facts, ..Quirks::default() });
            assert_eq!(remote.set_modified(&path("/old"), TIME).unwrap().seconds, TIME.seconds, "{way}");
            assert_eq!(modified(&server, "/old"), TIME.seconds, "{way}");
            let commands = server.dialogue().commands().len();
            remote.set_modified(&path("/other"), TIME).unwrap();
            // The way is remembered: one order, and MDTM and MLST behind it.
            assert!(server.dialogue().commands().len() - commands <= 3, "{way}");
            assert!(remote.abilities().set_modified);
        }
    }
}

#[test]
fn time_that_cannot_be_set_is_unsupported_and_not_tried_again() {
    let (server, remote) = start(Quirks::default());
    for _ in 0..2 {
        assert_error(remote.set_modified(&path("/old"), TIME), |error| {
            matches!(error, RemoteError::Unsupported { .. })
        });
    }
    assert_eq!(server.dialogue().count("MFMT"), 1);
    assert!(!remote.abilities().set_modified);
}

#[test]
fn time_taken_for_a_local_one_is_set_right() {
    for hours_and_quarters in [2 * 3600, -5 * 3600, 5 * 3600 + 2700] {
        let (server, remote) =
            start(Quirks { sets_time_by: &["MFMT"], set_ahead_seconds: hours_and_quarters, ..Quirks::default() });
        assert_eq!(remote.set_modified(&path("/old"), TIME).unwrap().seconds, TIME.seconds);
        assert_eq!(modified(&server, "/old"), TIME.seconds);
    }
}

#[test]
fn listing_and_set_time_agree_where_mdtm_is_local() {
    for has_facts in [true, false] {
        let (server, remote) = start(Quirks {
            sets_time_by: &["MFMT"],
            mdtm_ahead_seconds: 7200,
            list_ahead_seconds: 7200,
            has_facts,
            ..Quirks::default()
        });
        let kept = remote.set_modified(&path("/old"), TIME).unwrap();
        assert_eq!(kept.seconds, TIME.seconds);
        let told = remote.stat(&path("/old")).unwrap().modified.unwrap();
        assert_eq!(told.seconds, TIME.seconds, "with MLST: {has_facts}");
        if has_facts {
            assert_eq!(modified(&server, "/old"), TIME.seconds);
        }
    }
}

#[test]
fn stored_file_has_the_time_that_its_listing_shows_where_mdtm_is_local() {
    let (_server, remote) = start(Quirks { mdtm_ahead_seconds: 7200, ..Quirks::default() });
    remote.stat(&path("/old")).unwrap();
    let stored = write(&remote, "/old", REPLACE, "new").unwrap().modified.map(|time| time.seconds);
    let listed = remote.stat(&path("/old")).unwrap().modified.map(|time| time.seconds);
    assert_eq!(stored, listed);
}

#[test]
fn server_that_only_says_that_it_sets_a_time_is_not_believed() {
    let (server, remote) = start(Quirks { says: &[("MFMT", "213 OK")], ..Quirks::default() });
    let before = modified(&server, "/old");
    assert_error(remote.set_modified(&path("/old"), TIME), |_| true);
    assert_eq!(modified(&server, "/old"), before);
}

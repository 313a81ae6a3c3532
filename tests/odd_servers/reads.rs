//! Downloads: ends that come in odd orders, offsets that are ignored, sizes that do not fit.

use ftpfs::remote::{Remote as _, RemoteError};

use super::odd_server::{Break, Quirks};
use super::{assert_error, content, path, read, start};

#[test]
fn transfer_is_complete_in_whatever_words_and_order_the_server_says_so() {
    for (preliminary, completion) in [
        ("125 Already open", "226 Done"),
        ("", "226 Done"),
        ("150 One\r\n150 Two\r\n150-Three\r\n150 End", "250 Done"),
        ("150 Here", "226-Done\r\n226 in 0 s"),
        ("150 Here", "226 Done\r\n226 Really"),
        ("150 Here", "200 Done"),
    ] {
        for completion_first in [false, true] {
            let (server, remote) = start(Quirks { preliminary, completion, completion_first, ..Quirks::default() });
            for _ in 0..3 {
                assert_eq!(read(&remote, "/old", 0).unwrap(), "old content", "{preliminary}, {completion}");
                assert_eq!(remote.list(&path("/full")).unwrap().entries.len(), 1);
                assert!(remote.list(&path("/empty")).unwrap().entries.is_empty());
                super::write(&remote, "/other", super::REPLACE, "new").unwrap();
                assert_eq!(content(&server, "/other"), "new");
            }
        }
    }
}

#[test]
fn download_without_its_completion_reply_is_made_again_or_fails() {
    for completion in ["426 Broken", "451 Local error", "550 Gone"] {
        let (_server, remote) = start(Quirks { completion, ..Quirks::default() });
        assert_error(read(&remote, "/old", 0), |_| true);
        assert_error(remote.list(&path("/full")), |_| true);
    }
}

#[test]
fn lost_completion_reply_is_no_end_of_a_file() {
    let (server, remote) = start(Quirks::default());
    server.break_at(1, Break::AfterData);
    assert_error(read(&remote, "/old", 0), RemoteError::is_worth_another_try);
    assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
}

#[test]
fn offset_is_right_where_rest_is_answered_and_forgotten_or_refused() {
    let forgetful = Quirks { forgets_restart: true, ..Quirks::default() };
    let refusing = |says| Quirks { says, ..Quirks::default() };
    for quirks in [
        forgetful,
        refusing(&[("REST", "502 No")]),
        refusing(&[("REST", "501 Bad offset")]),
        refusing(&[("REST", "550 Not permitted")]),
        refusing(&[("REST", "200 OK")]),
    ] {
        let (_server, remote) = start(quirks);
        assert_eq!(read(&remote, "/old", 4).unwrap(), "content");
        assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
        assert_eq!(read(&remote, "/old", 10).unwrap(), "t");
        assert_eq!(read(&remote, "/old", 11).unwrap(), "");
    }
}

#[test]
fn restart_is_proved_once_and_used() {
    let (server, remote) = start(Quirks::default());
    assert_eq!(read(&remote, "/old", 4).unwrap(), "content");
    assert_eq!(read(&remote, "/old", 5).unwrap(), "ontent");
    assert!(remote.abilities().restart);
    assert!(server.dialogue().commands().iter().any(|command| command == "REST 5"));
}

#[test]
fn bytes_come_to_the_proved_end_whatever_size_says() {
    for size in ["213 3", "213 99", "213 0", "213 garbage", "502 No"] {
        let says: &'static [_] = Box::leak(Box::new([("SIZE", size)]));
        let (_server, remote) = start(Quirks { says, ..Quirks::default() });
        assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
        assert_eq!(read(&remote, "/old", 4).unwrap(), "content", "{size}");
    }
}

#[test]
fn absent_file_is_not_found_and_a_refused_one_is_not() {
    for has_facts in [true, false] {
        let (_server, remote) = start(Quirks { has_facts, ..Quirks::default() });
        assert_error(read(&remote, "/absent", 0), |error| matches!(error, RemoteError::NotFound));
        assert_error(read(&remote, "/full", 0), |error| matches!(error, RemoteError::IsDirectory));
        let (_server, remote) = start(Quirks { says: &[("RETR", "550 No such file")], has_facts, ..Quirks::default() });
        assert_error(read(&remote, "/old", 0), |error| matches!(error, RemoteError::Refused { .. }));
    }
}

//! What servers say when they refuse, word for word.

use super::*;
use crate::protocol::reply::ReplyCode;

fn reply(number: u16, text: &str) -> Reply {
    Reply::new(ReplyCode::new(number).unwrap(), vec![text.as_bytes().to_vec()])
}

#[test]
fn refusals_of_real_servers_mean_what_they_meant() {
    let table: &[(u16, &str, Meaning)] = &[
        // vsftpd 3.0.3
        (500, "Unknown command.", Meaning::NotUnderstood),
        (500, "Unknown SITE command.", Meaning::NotUnderstood),
        (550, "Failed to open file.", Meaning::Ambiguous),
        (550, "Could not get file size.", Meaning::Ambiguous),
        (553, "Could not create file.", Meaning::Ambiguous),
        (550, "Permission denied.", Meaning::Ambiguous),
        // ProFTPD 1.3.8
        (500, "'SITE SYMLINK' not understood", Meaning::NotUnderstood),
        (550, "/nope: No such file or directory", Meaning::Ambiguous),
        (550, "/nm/a*b: Invalid directory name", Meaning::NameNotAllowed),
        (550, "/full: Directory not empty", Meaning::Ambiguous),
        (450, "/nope: No such file or directory", Meaning::Ambiguous),
        (552, "Transfer aborted. Disk quota exceeded", Meaning::NoSpace),
        (451, "/f: No space left on device", Meaning::NoSpace),
        // Pure-FTPd 1.0.50
        (500, "SITE QUOTA is an unknown extension", Meaning::NotUnderstood),
        (553, "Prohibited file name: /nm/back\\slash", Meaning::NameNotAllowed),
        (553, "Prohibited directory name", Meaning::NameNotAllowed),
        (553, "Can't open that file: Permission denied", Meaning::Ambiguous),
        (553, "Can't open that file: File name too long", Meaning::NameTooLong),
        (451, "Rename/move failure: Directory not empty", Meaning::Ambiguous),
        (552, "Quota exceeded: [a] won't be saved", Meaning::NoSpace),
        // pyftpdlib 2.2.0
        (500, "Command \"AVBL\" not understood.", Meaning::NotUnderstood),
        (501, "No such directory.", Meaning::Ambiguous),
        (550, "Not enough privileges.", Meaning::Ambiguous),
        (530, "Log in with USER and PASS first.", Meaning::LoginLost),
        // IIS
        (550, "The filename, directory name, or volume label syntax is incorrect. ", Meaning::NameNotAllowed),
        (550, "Cannot create a file when that file already exists. ", Meaning::Ambiguous),
        // RFC 959 alone
        (502, "Command not implemented.", Meaning::NotUnderstood),
        (504, "Command not implemented for that parameter.", Meaning::NotUnderstood),
        (452, "Requested action not taken.", Meaning::NoSpace),
    ];
    for (code, text, meant) in table {
        assert_eq!(meaning(&reply(*code, text)), *meant, "{code} {text}");
    }
}

#[test]
fn transient_refusal_is_worth_another_try_and_permanent_one_a_refusal() {
    assert!(matches!(refused(&reply(450, "busy")), RemoteError::Interrupted { .. }));
    assert!(matches!(refused(&reply(550, "no")), RemoteError::Refused { .. }));
    let denied = refused(&reply(451, "Rename/move failure: Permission denied"));
    assert!(matches!(denied, RemoteError::Refused { .. }), "{denied}");
}

#[test]
fn every_refusal_quotes_the_servers_words() {
    for code in [450, 451, 452, 500, 501, 502, 504, 530, 550, 552, 553] {
        let error = refused(&reply(code, "Nein, heute nicht."));
        assert!(error.to_string().contains(&format!("{code} Nein, heute nicht.")), "{error}");
    }
}

#[test]
fn only_known_texts_make_a_refused_listing_an_empty_one() {
    assert!(says_no_entries(&reply(450, "No files found")));
    assert!(says_no_entries(&reply(550, "No files found.")));
    assert!(!says_no_entries(&reply(550, "No such file or directory")));
    assert!(!says_no_entries(&reply(450, "Link to file server lost")));
    assert!(!says_no_entries(&reply(425, "No files found")));
}

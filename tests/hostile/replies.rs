//! The control connection: words without an end, drop by drop, too many, for nobody.

use std::thread;
use std::time::Duration;

use ftpfs::remote::{FileTransfers as _, Remote as _};

use super::scripted_server::{Answer, Dialogue, ORDERLY, ScriptedServer};
use super::{Limits, connect, path, within};

const FEW: Limits = Limits { seconds: 25, mebibytes: 24 };

/// Says it until nobody listens any more.
fn say_without_end(dialogue: &mut Dialogue, bytes: &[u8]) {
    let many = bytes.repeat(1 + 16_000 / bytes.len());
    while dialogue.say_bytes(&many) {}
}

#[test]
fn greeting_without_an_end_is_given_up() {
    within(&FEW, || {
        for greeting in [&b"220-and so on\r\n"[..], b"220-\r\n", b"220 word ", b"x", b"\r\n", b"\0", b"120 wait\r\n"] {
            let server = ScriptedServer::start(move |dialogue| say_without_end(dialogue, greeting));
            assert!(connect(server.port()).is_err(), "{}", greeting.escape_ascii());
        }
    });
}

#[test]
fn reply_without_an_end_is_given_up() {
    within(&Limits { seconds: 60, ..FEW }, || {
        for reply in [&b"213-and so on\r\n"[..], b"213-\n", b"213 9999", b"\r\n", b"\0", b"150 wait\r\n", b"213 1\r\n"]
        {
            let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
                if command.starts_with("MDTM") || command.starts_with("SIZE") || command.starts_with("MLST") {
                    say_without_end(dialogue, reply);
                    return Answer::Close;
                }
                Answer::Default
            });
            let remote = connect(server.port()).unwrap();
            // Those that are replies of their own are one to the question; it is what follows that nobody has asked for.
            let asked = remote.stat(&path("/file"));
            assert!(asked.is_err() || reply == b"213 1\r\n", "{}: {asked:?}", reply.escape_ascii());
        }
    });
}

#[test]
fn replies_that_nobody_asked_for_end_their_connection() {
    within(&FEW, || {
        let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
            if command.starts_with("RETR") && dialogue.index == 0 {
                say_without_end(dialogue, b"226 Done\r\n");
                return Answer::Close;
            }
            Answer::Default
        });
        let remote = connect(server.port()).unwrap();
        let read = remote.read_range(&path("/file"), 0, 5);
        assert!(read.as_ref().is_ok_and(|bytes| bytes == b"bytes") || read.is_err(), "{read:?}");
        // The server has come to its senses, and so has the mount.
        assert_eq!(remote.read_range(&path("/file"), 0, 5).unwrap(), b"bytes");
    });
}

#[test]
fn words_that_come_drop_by_drop_are_given_up_in_time() {
    within(&FEW, || {
        let drip = |dialogue: &mut Dialogue, bytes: &[u8]| {
            for byte in bytes.iter().cycle() {
                thread::sleep(Duration::from_millis(300));
                if !dialogue.say_bytes(&[*byte]) {
                    return;
                }
            }
        };
        // A byte a minute, on a clock that runs fast: the deadline for a reply is longer than the pause between two bytes.
        let server = ScriptedServer::start(move |dialogue| drip(dialogue, b"220-drop\r\n"));
        assert!(connect(server.port()).is_err());
        let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
            if command.starts_with("MLST") || command.starts_with("SIZE") {
                drip(dialogue, b"213-drop\r\n");
                return Answer::Close;
            }
            Answer::Default
        });
        let remote = connect(server.port()).unwrap();
        assert!(remote.stat(&path("/file")).is_err());
    });
}

#[test]
fn list_of_a_hundred_thousand_features_is_given_up() {
    within(&FEW, || {
        let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
            if command != "FEAT" {
                return Answer::Default;
            }
            dialogue.say("211-Features:");
            for number in 0..100_000 {
                dialogue.say(&format!(" FEATURE{number}"));
            }
            dialogue.say("211 End");
            Answer::Done
        });
        assert!(connect(server.port()).is_err());
    });
}

#[test]
fn features_that_no_command_can_name_do_not_stop_the_login() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if command != "FEAT" {
            return Answer::Default;
        }
        dialogue.say("211-Features:\r\n MLST type*;size;x\rDELE y*;a b*;\u{fc}*;\r\n211 End");
        Answer::Done
    });
    let remote = connect(server.port()).unwrap();
    assert_eq!(remote.read_range(&path("/file"), 0, 5).unwrap(), b"bytes");
    assert_eq!(server.count("OPTS MLST type;size;"), 1, "{:?}", server.commands());
    assert_eq!(server.count("DELE"), 0);
}

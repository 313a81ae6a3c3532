//! Data connections: to whom, and how much.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use ftpfs::pool::{DataMode, PassiveAddressChoice, PassiveCommand};
use ftpfs::remote::{FileTransfers as _, FtpRemote, Remote as _};

use super::scripted_server::{Answer, Dialogue, ORDERLY, ScriptedServer};
use super::{Limits, connect, options, path, within};

/// A port at another address of this machine, where nobody may ever come.
struct Elsewhere(TcpListener);

impl Elsewhere {
    /// At the port that the server listens on as well.
    fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.2", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn was_visited(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                false
            }
        }
    }
}

/// A server that names another address in its replies to PASV and EPSV.
fn pointing_elsewhere(elsewhere: &'static (impl Fn(Elsewhere) + Sync)) -> ScriptedServer {
    ScriptedServer::serving(ORDERLY, move |dialogue, command| match command {
        "EPSV" => {
            let port = dialogue.listen();
            elsewhere(Elsewhere::at(port));
            dialogue.say(&format!("229 Here (|1|127.0.0.2|{port}|)"));
            Answer::Done
        }
        "PASV" => {
            let port = dialogue.listen();
            elsewhere(Elsewhere::at(port));
            dialogue.say(&format!("227 Here (127,0,0,2,{},{})", port >> 8, port & 0xFF));
            Answer::Done
        }
        _ if command.starts_with("RETR") => {
            dialogue.say("150 Here it comes");
            let Some(mut data) = dialogue.accept_or_notice() else { return Answer::Close };
            let _ = data.write_all(b"bytes");
            drop(data);
            dialogue.say("226 Done");
            Answer::Done
        }
        _ => Answer::Default,
    })
}

#[test]
fn data_connections_go_to_no_other_host_than_the_control_connection() {
    static DECOYS: std::sync::Mutex<Vec<Elsewhere>> = std::sync::Mutex::new(Vec::new());
    let keep = |decoy| DECOYS.lock().unwrap().push(decoy);
    for prefer in [PassiveCommand::Epsv, PassiveCommand::Pasv, PassiveCommand::Auto] {
        let server = pointing_elsewhere(Box::leak(Box::new(keep)));
        let mut options = options(server.port());
        options.data_mode = DataMode::Passive { prefer, address: PassiveAddressChoice::Control };
        let remote = FtpRemote::connect(options).unwrap();
        for _ in 0..3 {
            assert_eq!(remote.read_range(&path("/file"), 0, 5).unwrap(), b"bytes");
        }
        drop(remote);
        let decoys: Vec<_> = DECOYS.lock().unwrap().drain(..).collect();
        assert!(!decoys.is_empty());
        assert!(decoys.iter().all(|decoy| !decoy.was_visited()), "{prefer:?}");
    }
}

#[test]
fn data_connections_go_to_the_address_in_a_227_only_where_that_is_wanted() {
    static DECOYS: std::sync::Mutex<Vec<Elsewhere>> = std::sync::Mutex::new(Vec::new());
    let server = pointing_elsewhere(&|decoy| DECOYS.lock().unwrap().push(decoy));
    let mut options = options(server.port());
    options.data_mode = DataMode::Passive { prefer: PassiveCommand::Pasv, address: PassiveAddressChoice::Server };
    let remote = FtpRemote::connect(options).unwrap();
    // Where nobody sends anything.
    assert!(remote.read_range(&path("/file"), 0, 5).is_err());
    drop(remote);
    assert!(DECOYS.lock().unwrap().iter().any(Elsewhere::was_visited));
}

#[test]
fn ports_that_do_not_exist_are_no_ports() {
    for reply in ["(|||65536|)", "(|||0|)", "(|||-1|)", "(|||99999999999999999999999|)", "(||||)", "(|||port|)"] {
        let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
            if command != "EPSV" {
                return Answer::Default;
            }
            dialogue.say(&format!("229 Here {reply}"));
            Answer::Done
        });
        let remote = connect(server.port()).unwrap();
        assert_eq!(remote.read_range(&path("/file"), 0, 5).unwrap(), b"bytes", "{reply}");
        assert!(server.count("PASV") > 0);
    }
}

/// A server whose listings are what `send` writes.
fn listing(send: impl Fn(&mut dyn std::io::Write) + Send + Sync + 'static) -> ScriptedServer {
    ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if !(command.starts_with("MLSD") || command.starts_with("LIST")) {
            return Answer::Default;
        }
        dialogue.say("150 Here it comes");
        let Some(data) = dialogue.accept_or_notice() else { return Answer::Close };
        send(&mut std::io::BufWriter::with_capacity(256 << 10, data));
        dialogue.say("226 Done");
        Answer::Done
    })
}

#[test]
fn listing_without_an_end_is_given_up() {
    within(&Limits { seconds: 240, mebibytes: 40 }, || {
        // Lines that are no entries, one line without an end, and names that are refused.
        for piece in [&b"nonsense\r\n"[..], b"type=file;size=", b"type=file; a/b\r\n"] {
            let piece = if piece.ends_with(b"\n") { [&vec![b'x'; 4000], piece].concat() } else { piece.to_vec() };
            let server = listing(move |data| while data.write_all(&piece).is_ok() {});
            let remote = connect(server.port()).unwrap();
            assert!(remote.list(&path("/")).is_err());
        }
    });
}

#[test]
fn directory_of_a_million_names_is_listed_in_bounds() {
    within(&Limits { seconds: 240, mebibytes: 500 }, || {
        let server = listing(|data| {
            for number in 0..1_000_000 {
                let _ =
                    write!(data, "type=file;size={number};modify=20240102030405;UNIX.mode=0644; file-{number:08}\r\n");
            }
        });
        let mut options = options(server.port());
        options.operation_timeout = Duration::from_secs(60);
        let remote = FtpRemote::connect(options).unwrap();
        assert_eq!(remote.list(&path("/")).unwrap().entries.len(), 1_000_000);
    });
}

/// A server that answers RETR by what `send` does with the data connection.
fn file(send: impl Fn(&mut Dialogue) + Send + Sync + 'static) -> ScriptedServer {
    ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if !command.starts_with("RETR") {
            return Answer::Default;
        }
        dialogue.say("150 Here it comes");
        send(dialogue);
        dialogue.say("226 Done");
        Answer::Done
    })
}

#[test]
fn range_of_a_file_without_an_end_is_what_was_asked_for() {
    within(&Limits { seconds: 20, mebibytes: 24 }, || {
        let server = file(|dialogue| {
            let Some(mut data) = dialogue.accept_or_notice() else { return };
            let piece = [b'x'; 64 << 10];
            while data.write_all(&piece).is_ok() {}
        });
        let remote = connect(server.port()).unwrap();
        for _ in 0..5 {
            assert_eq!(remote.read_range(&path("/file"), 0, 100_000).unwrap(), [b'x'; 100_000]);
        }
    });
}

#[test]
fn data_behind_a_completion_reply_that_came_too_early_is_waited_for() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if !command.starts_with("RETR") {
            return Answer::Default;
        }
        dialogue.say("150 Here it comes\r\n226 Done");
        let Some(mut data) = dialogue.accept_or_notice() else { return Answer::Close };
        thread::sleep(Duration::from_millis(200));
        let _ = data.write_all(b"bytes");
        Answer::Done
    });
    let mut bytes = Vec::new();
    connect(server.port()).unwrap().retrieve(&path("/file"), 0, &mut bytes).unwrap();
    assert_eq!(bytes, b"bytes");
}

#[test]
fn upload_that_nobody_reads_is_given_up_in_time() {
    within(&Limits { seconds: 60, mebibytes: 40 }, || {
        let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
            if !command.starts_with("STOR") {
                return Answer::Default;
            }
            dialogue.say("150 Send it");
            let data = dialogue.accept_or_notice();
            while dialogue.next_command().is_some() {}
            drop(data);
            Answer::Close
        });
        let remote = connect(server.port()).unwrap();
        assert!(remote.store(&path("/file"), &mut std::io::repeat(b'x').take(64 << 20)).is_err());
    });
}

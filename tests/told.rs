//! What a file is, asked for in the packet of a read: that the answer is believed where it is one, and that nothing else is made of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use ftpfs::pool::ServerOptions;
use ftpfs::protocol::RemotePath;
use ftpfs::remote::{Extent, FtpRemote, Remote as _, RemoteError, RemoteResult};
use scripted_server::{Answer, Dialogue, ScriptedServer};
use servers::{Server, ServerKind, ServerSettings, TlsSettings, TlsVersion};

#[path = "support/scripted_server.rs"]
mod scripted_server;
#[path = "support/servers.rs"]
mod servers;

const FACTS: &str = "211-Features\r\n EPSV\r\n MLST type*;size*;modify*;\r\n REST STREAM\r\n SIZE\r\n MDTM\r\n211 End";
const NO_FACTS: &str = "211-Features\r\n EPSV\r\n REST STREAM\r\n SIZE\r\n MDTM\r\n211 End";
const FILE: &str = "250-Facts\r\n type=file;size=5;modify=20260101000000; /file\r\n250 End";

/// A server with one file, that answers a question as `answer` does, where that does.
fn server(
    banner: &'static str,
    features: &'static str,
    answer: impl Fn(&mut Dialogue, &str) -> bool + Send + Sync + 'static,
) -> ScriptedServer {
    ScriptedServer::serving(banner, move |dialogue, command| {
        if command == "FEAT" {
            dialogue.say(features);
            return Answer::Done;
        }
        if answer(dialogue, command.split(' ').next().unwrap_or_default()) { Answer::Done } else { Answer::Default }
    })
}

const PROFTPD: &str = "220 ProFTPD Server, scripted";
const VSFTPD: &str = "220 (vsFTPd, scripted)";
const UNKNOWN: &str = "220 Welcome";

fn connect(server: &ScriptedServer) -> FtpRemote {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    options.connections_max = 1;
    FtpRemote::connect(options).unwrap()
}

fn path() -> RemotePath {
    RemotePath::parse(b"/file").unwrap()
}

/// Reads the file and asks what it is: the size told, or 0 where nothing was.
fn read(remote: &FtpRemote) -> RemoteResult<u64> {
    let (mut stream, told) = remote.open_and_ask(&path(), Extent::Whole, None, &|| true)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
    assert_eq!(bytes, b"bytes");
    Ok(told.map_or(0, |told| told.entry.size.unwrap()))
}

/// What is told of a file by a server that answers MLST so, twice.
fn told(reply: &'static str) -> RemoteResult<u64> {
    let server = server(PROFTPD, FACTS, move |dialogue, verb| {
        if verb == "MLST" {
            dialogue.say(reply);
        }
        verb == "MLST"
    });
    let remote = connect(&server);
    let first = read(&remote);
    // The session goes on in step, and a refusal is no verdict.
    assert_eq!(read(&remote), first);
    assert_eq!((server.count("MLST"), server.count("RETR"), server.connections()), (2, 2, 1));
    first
}

#[test]
fn facts_of_a_file_are_told_with_its_bytes() {
    assert_eq!(told(FILE), Ok(5));
}

#[test]
fn refused_question_is_no_answer_and_no_verdict() {
    for refusal in ["500 What?", "501 No", "550 No such file", "450 Not now"] {
        assert_eq!(told(refusal), Ok(0), "{refusal}");
    }
}

#[test]
fn answer_that_shows_no_file_with_a_size_is_none() {
    for reply in [
        "250 Done",
        "250-Facts\r\n type=dir;modify=20260101000000; /file\r\n250 End",
        "250-Facts\r\n type=file;modify=20260101000000; /file\r\n250 End",
        "200-Facts\r\n type=file;size=5;modify=20260101000000; /file\r\n200 End",
    ] {
        assert_eq!(told(reply), Ok(0), "{reply}");
    }
}

#[test]
fn answer_about_another_file_is_an_error() {
    let count = AtomicUsize::new(0);
    let server = server(PROFTPD, FACTS, move |dialogue, verb| {
        if verb == "MLST" {
            let is_first = count.fetch_add(1, Ordering::Relaxed) == 0;
            dialogue.say(if is_first { FILE } else { "250-Facts\r\n type=file;size=7; /other\r\n250 End" });
        }
        verb == "MLST"
    });
    let remote = connect(&server);
    assert_eq!(read(&remote), Ok(5));
    assert!(matches!(read(&remote), Err(RemoteError::Protocol { .. })));
}

#[test]
fn where_there_are_no_facts_size_and_time_tell_together_or_not_at_all() {
    for (size, time, expected) in [
        ("213 5", "213 20260101000000", Some(5)),
        ("550 No", "213 20260101000000", Some(0)),
        ("213 5", "550 No", Some(0)),
        ("213 5", "250 20260101000000", Some(0)),
        // Each in the other's place.
        ("213 20260101000000", "213 5", None),
    ] {
        let server = server(VSFTPD, NO_FACTS, move |dialogue, verb| {
            match verb {
                "SIZE" => dialogue.say(size),
                "MDTM" => dialogue.say(time),
                _ => return false,
            }
            true
        });
        assert_eq!(read(&connect(&server)).ok(), expected, "{size}, {time}");
        assert_eq!(server.count("MLST"), 0);
    }
}

#[test]
fn who_does_not_want_to_know_and_unknown_servers_are_asked_nothing() {
    let known = server(PROFTPD, FACTS, |_, _| false);
    let remote = connect(&known);
    assert!(remote.tells_with_reads(&path()));
    assert!(remote.open_and_ask(&path(), Extent::Whole, None, &|| false).unwrap().1.is_none());
    let unknown = server(UNKNOWN, FACTS, |_, _| false);
    let remote = connect(&unknown);
    assert!(!remote.tells_with_reads(&path()));
    assert_eq!(read(&remote), Ok(0));
    for server in [known, unknown] {
        assert_eq!((server.count("MLST"), server.count("SIZE /file"), server.count("RETR")), (0, 0, 1));
    }
}

#[test]
fn file_that_is_another_one_when_its_transfer_is_begun_again_is_not_read() {
    let (files, transfers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let server = server(PROFTPD, FACTS, move |dialogue, verb| {
        match verb {
            "MLST" if files.fetch_add(1, Ordering::Relaxed) < 2 => dialogue.say(FILE),
            "MLST" => dialogue.say(&FILE.replace("2026", "2027")),
            "RETR" if transfers.fetch_add(1, Ordering::Relaxed) == 1 => {
                // It is replaced while nothing comes on the data connection opened ahead.
                dialogue.say("150 Here it comes");
                Dialogue::read_data(dialogue.accept());
                dialogue.say("426 Failure writing network stream");
            }
            "RETR" => {
                dialogue.say("150 Here it comes");
                let _ = dialogue.accept().write_all(b"bytes");
                dialogue.say("226 Done");
            }
            _ => return false,
        }
        true
    });
    let remote = connect(&server);
    assert_eq!(read(&remote), Ok(5));
    assert!(matches!(read(&remote), Err(RemoteError::Interrupted { .. })));
    assert_eq!(server.count("RETR"), 3);
}

/// The programs themselves, in clear text and encrypted: a file that changes between reads, from its beginning and from the middle.
fn tells_what_the_file_is(kind: ServerKind) {
    for tls in [None, Some(TlsVersion::Tls12), Some(TlsVersion::Tls13)] {
        let settings = ServerSettings { tls: tls.map(TlsSettings::of), ..ServerSettings::default() };
        let Some(server) = Server::start(kind, settings) else { return };
        let remote = FtpRemote::connect(server.options()).unwrap();
        let mut sizes = Vec::new();
        for round in 0..20_u64 {
            let content: Vec<u8> = (0..5000 + round * 7).map(|place| (place * 31 + round) as u8).collect();
            fs::write(server.folder().join("file"), &content).unwrap();
            server.give("file");
            let (extent, from) = match round % 3 {
                0 => (Extent::Whole, 0),
                1 => (Extent::From(1000), 1000),
                _ => (Extent::Range(2000..2100), 2000),
            };
            let (mut stream, told) = remote.open_and_ask(&path(), extent, None, &|| true).unwrap();
            let mut bytes = [0; 100];
            let mut filled = 0;
            while filled < bytes.len() {
                filled += stream.read(&mut bytes[filled..]).unwrap();
            }
            assert!(bytes == content[from..from + 100], "{tls:?}, round {round}");
            sizes.push((told.and_then(|told| told.entry.size), content.len() as u64));
        }
        assert!(sizes.iter().all(|(told, is)| *told == Some(*is)), "{tls:?}: {sizes:?}");
    }
}

macro_rules! each_server {
    ($($name:ident $kind:ident),*) => {
        $(#[test]
        fn $name() {
            tells_what_the_file_is(ServerKind::$kind);
        })*
    };
}

each_server!(
    vsftpd_tells_what_the_file_is Vsftpd,
    proftpd_tells_what_the_file_is Proftpd,
    pure_ftpd_tells_what_the_file_is PureFtpd,
    pyftpdlib_tells_what_the_file_is Pyftpdlib
);

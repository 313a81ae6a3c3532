//! Commands and replies as `protocol` has them, spoken with each real server: what we encode is what the server does,
//! and what it answers is what we decode.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use ftpfs::protocol::pipeline::Received;
use ftpfs::protocol::reply::parse_257;
use ftpfs::protocol::timestamp::parse_mdtm_reply;
use ftpfs::protocol::{
    Command, Encoding, Features, Pipeline, Precision, RemotePath, Reply, ReplyClass, ReplyDecoder, Secret, Timestamp,
    TypeCode, passive,
};
use servers::{PASSWORD, Server, ServerKind, ServerSettings, USER};

#[path = "support/servers.rs"]
mod servers;

const FOUR_SERVERS: [ServerKind; 4] =
    [ServerKind::Vsftpd, ServerKind::Proftpd, ServerKind::PureFtpd, ServerKind::Pyftpdlib];

/// A control connection that has the protocol's parts and waits for each answer.
struct Dialogue {
    stream: TcpStream,
    decoder: ReplyDecoder,
    pipeline: Pipeline<String>,
    encoding: Encoding,
}

impl Dialogue {
    fn log_in(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let takes_bytes_as_they_are = matches!(server.kind(), ServerKind::Vsftpd | ServerKind::PureFtpd);
        let encoding = Encoding { double_iac: !takes_bytes_as_they_are, ..Encoding::default() };
        let (decoder, pipeline) = (ReplyDecoder::default(), Pipeline::new(64));
        let mut dialogue = Self { stream, decoder, pipeline, encoding };
        assert_eq!(dialogue.next_reply().code().number(), 220);
        assert_eq!(dialogue.ask(&Command::User(USER.as_bytes().into())).code().number(), 331);
        assert_eq!(dialogue.ask(&Command::Pass(Secret::new(PASSWORD))).code().number(), 230);
        dialogue
    }

    fn next_reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = self.decoder.next().unwrap() {
                return reply;
            }
            let mut bytes = [0; 7];
            let len = self.stream.read(&mut bytes).unwrap();
            assert_ne!(len, 0, "the server closed the connection");
            self.decoder.push(&bytes[..len]);
        }
    }

    /// Sends all commands at once, and returns the final reply to each.
    fn ask_all(&mut self, commands: &[Command]) -> Vec<Reply> {
        let mut lines = Vec::new();
        for command in commands {
            command.encode(&mut lines, self.encoding).unwrap();
            self.pipeline.sent(command.to_string(), command.expects()).unwrap();
        }
        self.stream.write_all(&lines).unwrap();
        let mut replies = Vec::new();
        while !self.pipeline.is_empty() {
            let reply = self.next_reply();
            match self.pipeline.received(reply).unwrap() {
                Received::Final(_, reply) => replies.push(reply),
                Received::Preliminary(..) => {}
                other => panic!("{other:?}"),
            }
        }
        replies
    }

    fn ask(&mut self, command: &Command) -> Reply {
        self.ask_all(std::slice::from_ref(command)).pop().unwrap()
    }
}

fn path(bytes: &[u8]) -> RemotePath {
    RemotePath::parse(bytes).unwrap()
}

fn names_in(server: &Server) -> Vec<Vec<u8>> {
    fs::read_dir(server.folder()).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect()
}

/// Makes a directory of that name and goes there: the folder has that name and no other, PWD says the same.
fn name_survives(server: &Server, name: &[u8]) {
    let mut dialogue = Dialogue::log_in(server);
    let directory = path(&[b"/", name].concat());
    let replies = dialogue.ask_all(&[
        Command::Mkd(directory.clone()),
        Command::Cwd(directory.clone()),
        Command::Pwd,
        Command::Cwd(RemotePath::root()),
        Command::Rmd(directory.clone()),
    ]);
    for reply in &replies {
        assert_eq!(reply.class(), ReplyClass::Completion, "{directory} on {:?}: {reply}", server.kind());
    }
    assert_eq!(names_in(server), Vec::<Vec<u8>>::new(), "RMD named another directory than MKD did");
    // vsftpd alone doubles 0xFF in its answer.
    if !(server.kind() == ServerKind::Vsftpd && name.contains(&0xFF)) {
        assert_eq!(
            parse_257(&replies[2]).as_deref(),
            Some(directory.as_bytes()),
            "{:?}: {}",
            server.kind(),
            replies[2]
        );
    }
    assert_eq!(dialogue.ask(&Command::Mkd(directory)).class(), ReplyClass::Completion);
    assert_eq!(names_in(server), [name]);
    fs::remove_dir(server.folder().join(OsStr::from_bytes(name))).unwrap();
}

#[test]
fn name_with_quotes_and_spaces_is_the_same_in_mkd_pwd_and_the_folder() {
    for kind in FOUR_SERVERS {
        let Some(server) = Server::start(kind, ServerSettings::default()) else { continue };
        for name in [&b"a b"[..], b"a\"b", b"\"", b"a \"b\" c", "Größe".as_bytes(), b"-la", b"#%?;x=1"] {
            name_survives(&server, name);
        }
    }
}

#[test]
fn name_with_0xff_is_the_same_in_mkd_and_the_folder() {
    // pyftpdlib stores bytes that are no UTF-8 as U+FFFD, whatever we send.
    for kind in [ServerKind::Vsftpd, ServerKind::Proftpd, ServerKind::PureFtpd] {
        let Some(server) = Server::start(kind, ServerSettings::default()) else { continue };
        for name in [&b"caf\xe9"[..], b"e\xffb", b"a\xff\xffb", b"\xff"] {
            name_survives(&server, name);
        }
    }
}

#[test]
fn questions_sent_at_once_are_each_answered() {
    for kind in FOUR_SERVERS {
        let Some(server) = Server::start(kind, ServerSettings::default()) else { continue };
        fs::write(server.folder().join("file"), b"12345").unwrap();
        let file = || path(b"/file");
        let mut dialogue = Dialogue::log_in(&server);
        let replies = dialogue.ask_all(&[
            Command::Feat,
            Command::Type(TypeCode::Image),
            Command::Size(file()),
            Command::Mdtm(file()),
            Command::Rest(3),
            Command::Stat(Some(RemotePath::root())),
            Command::Dele(path(b"/missing")),
            Command::Noop,
        ]);
        let features = Features::parse(&replies[0]);
        assert!(features.size() && features.mdtm() && features.rest_stream() && features.epsv(), "{kind:?}");
        assert_eq!(features.mlst(), kind != ServerKind::Vsftpd, "{kind:?}");
        assert_eq!(replies[2].to_string(), "213 5", "{kind:?}");
        let modified = fs::metadata(server.folder().join("file")).unwrap().modified().unwrap();
        let whole = Timestamp { nanoseconds: 0, precision: Precision::Second, ..Timestamp::from(modified) };
        assert_eq!(parse_mdtm_reply(&replies[3]), Some(whole), "{kind:?}: {}", replies[3]);
        assert_eq!(replies[4].code().number(), 350, "{kind:?}");
        assert!(replies[5].middle_lines().iter().any(|line| line.ends_with(b" file")), "{kind:?}: {}", replies[5]);
        assert_eq!(replies[6].code().number(), 550, "{kind:?}");
        assert_eq!(replies[7].class(), ReplyClass::Completion, "{kind:?}");
    }
}

#[test]
fn passive_address_is_one_that_listens() {
    // Not vsftpd: as tests/support starts it, it never answers PASV or EPSV. With an anonymous account and nothing else
    // of that configuration it does.
    for kind in [ServerKind::Proftpd, ServerKind::PureFtpd, ServerKind::Pyftpdlib, ServerKind::Embedded] {
        let Some(server) = Server::start(kind, ServerSettings::default()) else { continue };
        for command in [Command::Epsv, Command::Pasv] {
            let mut dialogue = Dialogue::log_in(&server);
            let reply = dialogue.ask(&command);
            let port = passive::parse_any(&reply).unwrap().port();
            TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("{kind:?}: {reply}: {error}"));
        }
    }
}

//! The servers of the other tests are what those rely on: this account and no other, and gone or back when told so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use servers::{PASSWORD, Server, ServerKind, ServerSettings, USER};

#[path = "support/servers.rs"]
mod servers;

/// A control connection with nothing clever about it.
struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(BufReader::new(stream))
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        // The last line of a reply has a space behind its code; an empty one is the end of the connection.
        while self.0.read_line(&mut line).unwrap() > 0 {
            if line.as_bytes().get(3) == Some(&b' ') && !line.starts_with(' ') {
                break;
            }
            line.clear();
        }
        line
    }

    fn ask(&mut self, command: &str) -> String {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    fn log_in(server: &Server) -> Self {
        let mut dialogue = Self::open(server);
        assert!(dialogue.reply().starts_with("220"));
        assert!(dialogue.ask(&format!("USER {USER}")).starts_with("331"));
        let reply = dialogue.ask(&format!("PASS {PASSWORD}"));
        assert!(reply.starts_with("230"), "{reply}{}", server.log());
        dialogue
    }
}

fn account_may_write_in_its_folder_and_nothing_else_is_let_in(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let mut dialogue = Dialogue::log_in(&server);
    let reply = dialogue.ask("MKD made");
    assert!(reply.starts_with("257"), "{reply}");
    assert!(server.folder().join("made").is_dir());
    let mut stranger = Dialogue::open(&server);
    stranger.reply();
    stranger.ask(&format!("USER {USER}"));
    let reply = stranger.ask("PASS wrong");
    assert!(reply.starts_with("530"), "{reply}");
}

fn restarted_server_has_the_same_port_and_folder(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    let mut before = Dialogue::log_in(&server);
    fs::create_dir(server.folder().join("kept")).unwrap();
    server.stop();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.restart();
    // What was left of the old connection is an end or a reset, or a farewell before it; never an answer.
    let _ = before.0.get_mut().write_all(b"NOOP\r\n");
    let mut rest = String::new();
    while matches!(before.0.read_line(&mut rest), Ok(1..)) {}
    assert!(rest.is_empty() || rest.starts_with("421"), "{rest}");
    let reply = Dialogue::log_in(&server).ask("CWD kept");
    assert!(reply.starts_with("250"), "{reply}");
}

fn second_connection_is_refused_where_one_is_the_limit(kind: ServerKind) {
    let settings = ServerSettings { connections_max: Some(1), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let _first = Dialogue::log_in(&server);
    let mut second = Dialogue::open(&server);
    let mut reply = second.reply();
    if reply.starts_with("220") {
        second.ask(&format!("USER {USER}"));
        reply = second.ask(&format!("PASS {PASSWORD}"));
    }
    assert!(reply.starts_with("421") || reply.starts_with("530"), "{reply}");
}

fn idle_connection_is_closed_by_the_server(kind: ServerKind) {
    let settings = ServerSettings { idle_timeout: Some(Duration::from_secs(1)), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let mut dialogue = Dialogue::log_in(&server);
    // A farewell and the end, or the end alone.
    let reply = dialogue.reply();
    assert!(reply.is_empty() || reply.starts_with("421") || reply.starts_with("221"), "{reply}");
}

macro_rules! on {
    ($($server:ident = $kind:ident: $($fact:ident)*;)*) => {$(
        mod $server {
            $(#[test] fn $fact() { super::$fact(super::ServerKind::$kind) })*
        }
    )*};
}

on! {
    vsftpd = Vsftpd:
        account_may_write_in_its_folder_and_nothing_else_is_let_in restarted_server_has_the_same_port_and_folder
        second_connection_is_refused_where_one_is_the_limit idle_connection_is_closed_by_the_server;
    proftpd = Proftpd:
        account_may_write_in_its_folder_and_nothing_else_is_let_in restarted_server_has_the_same_port_and_folder
        second_connection_is_refused_where_one_is_the_limit idle_connection_is_closed_by_the_server;
    // Its shortest idle time is a minute.
    pure_ftpd = PureFtpd:
        account_may_write_in_its_folder_and_nothing_else_is_let_in restarted_server_has_the_same_port_and_folder
        second_connection_is_refused_where_one_is_the_limit;
    pyftpdlib = Pyftpdlib:
        account_may_write_in_its_folder_and_nothing_else_is_let_in restarted_server_has_the_same_port_and_folder
        second_connection_is_refused_where_one_is_the_limit idle_connection_is_closed_by_the_server;
    // It knows no limit of connections.
    embedded = Embedded:
        account_may_write_in_its_folder_and_nothing_else_is_let_in restarted_server_has_the_same_port_and_folder
        idle_connection_is_closed_by_the_server;
}

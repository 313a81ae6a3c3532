//! Encrypted connections to real servers: sessions, resumption, transfers in both directions, and their ends.
//!
//! The servers take nothing in clear text; vsftpd and proftpd refuse data connections that do not resume the session of their
//! control connection, and vsftpd those that end without close_notify.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test's way to fail")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::protocol::{RemotePath, Secret};
use ftpfs::remote::{
    Encryption, FileTransfers as _, FtpRemote, Remote as _, ServerOptions, TlsClient, TlsOptions, Trust,
};
use servers::{PASSWORD, Server, ServerKind, ServerSettings, TlsSettings, TlsVersion, USER, certificates};

#[path = "support/contract.rs"]
mod contract;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/tls_server.rs"]
mod tls_server;

/// Nothing, one byte, about a TLS record, and many of them.
const SIZES: [usize; 6] = [0, 1, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, 5 << 20];

fn is_soak() -> bool {
    std::env::var_os("FTPFS_TESTS_SOAK").is_some()
}

/// With RUST_LOG=ftpfs=debug in the environment the dialogue is shown.
fn options(server: &Server, trust: Trust) -> ServerOptions {
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    let mut options = ServerOptions::new(server.host());
    options.port = server.port();
    options.user = USER.as_bytes().into();
    options.password = Secret::new(PASSWORD);
    let (tls, _) = server.tls().unwrap();
    let client = TlsClient::new(server.host(), server.port(), &TlsOptions { trust, identity: None }).unwrap();
    options.encryption = if tls.implicit { Encryption::Implicit(client) } else { Encryption::Explicit(client) };
    options
}

fn authority() -> Trust {
    Trust::File(certificates::authority_file())
}

fn start(kind: ServerKind, tls: TlsSettings) -> Option<Server> {
    Server::start(kind, ServerSettings { tls: Some(tls), ..ServerSettings::default() })
}

fn connect(server: &Server) -> FtpRemote {
    FtpRemote::connect(options(server, authority())).unwrap_or_else(|error| panic!("{error}: {}", server.log()))
}

fn path(text: impl AsRef<[u8]>) -> RemotePath {
    RemotePath::parse(text.as_ref()).unwrap()
}

/// Bytes in which no two places look alike.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn fetch(remote: &FtpRemote, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    remote.retrieve(&path(name), 0, &mut bytes).unwrap();
    bytes
}

/// What each server must do under each version: all data connections resume, but for Pure-FTPd's with TLS 1.3, which offers it not.
fn assert_resumed(kind: ServerKind, version: TlsVersion, remote: &FtpRemote) {
    let (all, resumed) = remote.tls().data_connections();
    assert!(all > 0);
    let expected = if (kind, version) == (ServerKind::PureFtpd, TlsVersion::Tls13) { 0 } else { all };
    assert_eq!(resumed, expected, "of {all} data connections");
}

fn files_of_all_sizes_are_stored_and_fetched(kind: ServerKind, version: TlsVersion) {
    let Some(server) = start(kind, TlsSettings::of(version)) else { return };
    let remote = connect(&server);
    for len in SIZES {
        let (name, bytes) = (format!("/{len}"), noise(len));
        remote
            .store(&path(&name), &mut bytes.as_slice())
            .unwrap_or_else(|error| panic!("{len}: {error}\n{}", server.log()));
        assert!(fs::read(server.folder().join(&name[1..])).unwrap() == bytes, "{len} bytes, as stored");
        assert!(fetch(&remote, &name) == bytes, "{len} bytes, as fetched");
    }
    assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 6);
    assert_resumed(kind, version, &remote);
}

fn contract_holds(kind: ServerKind, version: TlsVersion) {
    let Some(server) = start(kind, TlsSettings::of(version)) else { return };
    let remote = connect(&server);
    contract::contract(&remote);
    assert_resumed(kind, version, &remote);
}

fn stopped_reads_leave_the_session_in_step(kind: ServerKind, version: TlsVersion) {
    let Some(server) = start(kind, TlsSettings::of(version)) else { return };
    let bytes = noise(20 << 20);
    fs::write(server.folder().join("big"), &bytes).unwrap();
    fs::write(server.folder().join("small"), b"small").unwrap();
    server.give("");
    let remote = connect(&server);
    for round in 0..12_usize {
        let offset = round * 1_000_003;
        let mut stream = remote.open_read(&path("/big"), offset as u64).unwrap();
        let mut buffer = vec![0; 300_000];
        let mut filled = 0;
        while filled < buffer.len() {
            filled += stream.read(&mut buffer[filled..]).unwrap();
        }
        drop(stream);
        assert!(buffer == bytes[offset..offset + buffer.len()], "round {round}");
        assert_eq!(fetch(&remote, "/small"), b"small");
        assert_eq!(remote.stat(&path("/small")).unwrap().size, Some(5));
    }
    assert_resumed(kind, version, &remote);
}

/// Each size over four connections at once: 200 transfers each way in a soak. The soak shows its row of the table in
/// docs/tls.md (`--nocapture`).
fn many_transfers_in_a_row_resume_each_time(kind: ServerKind, version: TlsVersion) {
    let Some(server) = start(kind, TlsSettings::of(version)) else { return };
    let remote = connect(&server);
    // A login's two tickets are used up long before the end of the short row.
    let rounds = if is_soak() { 50 } else { 3 };
    let mut cells = Vec::new();
    for len in SIZES {
        let bytes = noise(len);
        let done: usize = std::thread::scope(|scope| {
            let (remote, server, bytes) = (&remote, &server, &bytes);
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    scope.spawn(move || {
                        let name = format!("/{len}-{worker}");
                        for round in 0..rounds {
                            remote.store(&path(&name), &mut bytes.as_slice()).unwrap_or_else(|error| {
                                panic!("{len} bytes, round {round}: {error}\n{}", server.log())
                            });
                            assert!(
                                fs::read(server.folder().join(&name[1..])).unwrap() == *bytes,
                                "{len} bytes, as stored"
                            );
                            assert!(fetch(remote, &name) == *bytes, "{len} bytes, as fetched");
                        }
                        rounds
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 4 * (cells.len() + 1));
        cells.push(format!("{len}: {done}+{done}"));
    }
    assert_resumed(kind, version, &remote);
    if is_soak() {
        let (all, resumed) = remote.tls().data_connections();
        println!("{kind:?} {version:?}: {}; {resumed} of {all} resumed", cells.join(", "));
    }
}

fn refused_reads_cost_no_ticket_that_is_needed(kind: ServerKind, version: TlsVersion) {
    let Some(server) = start(kind, TlsSettings::of(version)) else { return };
    fs::write(server.folder().join("there"), b"bytes").unwrap();
    server.give("");
    let remote = connect(&server);
    for _ in 0..6 {
        assert!(remote.open_read(&path("/missing"), 0).and_then(|mut stream| stream.read(&mut [0; 8])).is_err());
        assert_eq!(fetch(&remote, "/there"), b"bytes");
    }
    assert_resumed(kind, version, &remote);
}

fn several_connections_at_once_each_resume_their_own_session(kind: ServerKind, version: TlsVersion) {
    let Some(server) = start(kind, TlsSettings::of(version)) else { return };
    let remote = connect(&server);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let remote = &remote;
            scope.spawn(move || {
                let bytes = noise(300_000 + worker);
                for round in 0..4 {
                    let name = format!("/{worker}-{round}");
                    remote.store(&path(&name), &mut bytes.as_slice()).unwrap();
                    assert!(fetch(remote, &name) == bytes);
                }
            });
        }
    });
    assert_resumed(kind, version, &remote);
}

fn restarted_server_is_used_again(kind: ServerKind, version: TlsVersion) {
    let Some(mut server) = start(kind, TlsSettings::of(version)) else { return };
    fs::write(server.folder().join("file"), b"bytes").unwrap();
    server.give("");
    let remote = connect(&server);
    assert_eq!(fetch(&remote, "/file"), b"bytes");
    server.restart();
    assert_eq!(fetch(&remote, "/file"), b"bytes");
    remote.store(&path("/other"), &mut &b"more"[..]).unwrap();
    assert_eq!(fetch(&remote, "/other"), b"more");
    assert_resumed(kind, version, &remote);
}

macro_rules! on {
    ($($name:ident = $kind:ident, $version:ident;)*) => {$(
        mod $name {
            use crate::servers::{ServerKind::$kind, TlsVersion::$version};

            #[test] fn files_of_all_sizes_are_stored_and_fetched() { super::files_of_all_sizes_are_stored_and_fetched($kind, $version) }
            #[test] fn contract_holds() { super::contract_holds($kind, $version) }
            #[test] fn stopped_reads_leave_the_session_in_step() { super::stopped_reads_leave_the_session_in_step($kind, $version) }
            #[test] fn many_transfers_in_a_row_resume_each_time() { super::many_transfers_in_a_row_resume_each_time($kind, $version) }
            #[test] fn refused_reads_cost_no_ticket_that_is_needed() { super::refused_reads_cost_no_ticket_that_is_needed($kind, $version) }
            #[test] fn several_connections_at_once_each_resume_their_own_session() { super::several_connections_at_once_each_resume_their_own_session($kind, $version) }
            #[test] fn restarted_server_is_used_again() { super::restarted_server_is_used_again($kind, $version) }
        }
    )*};
}

on! {
    vsftpd_tls12 = Vsftpd, Tls12;
    vsftpd_tls13 = Vsftpd, Tls13;
    proftpd_tls12 = Proftpd, Tls12;
    proftpd_tls13 = Proftpd, Tls13;
    proftpd_both = Proftpd, Both;
    pure_ftpd_tls12 = PureFtpd, Tls12;
    pure_ftpd_tls13 = PureFtpd, Tls13;
    pyftpdlib_tls12 = Pyftpdlib, Tls12;
    pyftpdlib_tls13 = Pyftpdlib, Tls13;
}

#[test]
fn handshake_on_a_connection_that_stands_waits_for_no_reply() {
    const READS: usize = 5;
    let folder = tempfile::TempDir::new().unwrap();
    let behaviour = tls_server::Behaviour { sent: usize::MAX, awaits_hello: true, ..Default::default() };
    let server = tls_server::TlsServer::start(folder.path(), behaviour);
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    let trust = TlsOptions { trust: authority(), identity: None };
    options.encryption = Encryption::Explicit(TlsClient::new("127.0.0.1", server.port(), &trust).unwrap());
    let remote = FtpRemote::connect(options).unwrap();
    let read = || {
        let (mut stream, mut bytes) = (remote.open_read(&path("/file"), 3).unwrap(), [0; 64]);
        let len = stream.read(&mut bytes).unwrap();
        assert_eq!(bytes[..len], tls_server::CONTENT[3..]);
        assert_eq!(stream.read(&mut bytes).unwrap(), 0);
    };
    // Proves REST, and asks for a connection behind it.
    read();
    let before = server.hellos();
    for _ in 0..READS {
        let deadline = Instant::now() + Duration::from_secs(20);
        while remote.connections().unwrap().prepared == 0 {
            assert!(Instant::now() < deadline, "no session was prepared");
            thread::sleep(Duration::from_millis(1));
        }
        read();
    }
    let (awaited, missed) = server.hellos();
    assert_eq!((awaited - before.0, missed - before.1), (READS, 0));
}

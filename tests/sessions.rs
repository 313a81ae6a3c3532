//! The pool on real servers: what they do at the end of a transfer, after a stopped one, at their limits, and when they
//! go away and come back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::pool::{
    DataMode, Direction, Lease, PassiveAddressChoice, PassiveCommand, Pool, PoolError, Purpose, Repeat, ServerOptions,
    Stay,
};
use ftpfs::protocol::reply::parse_257;
use ftpfs::protocol::{Command, RemotePath, ReplyClass, Secret};
use servers::{PASSWORD, Server, ServerKind, ServerSettings, USER};

#[path = "support/servers.rs"]
mod servers;

/// Makes a test of each function for each server.
macro_rules! on_each_server {
    ($($name:ident)*) => {
        mod vsftpd { $(#[test] fn $name() { super::$name(super::ServerKind::Vsftpd) })* }
        mod proftpd { $(#[test] fn $name() { super::$name(super::ServerKind::Proftpd) })* }
        mod pure_ftpd { $(#[test] fn $name() { super::$name(super::ServerKind::PureFtpd) })* }
        mod pyftpdlib { $(#[test] fn $name() { super::$name(super::ServerKind::Pyftpdlib) })* }
        mod embedded { $(#[test] fn $name() { super::$name(super::ServerKind::Embedded) })* }
    };
}

on_each_server! {
    what_is_stored_is_read_back_from_any_offset
    session_is_in_step_after_each_stopped_transfer
    refusal_leaves_the_session_usable
    listing_of_an_empty_directory_is_complete
    small_files_in_a_row_stay_in_step
    answers_to_many_threads_are_each_their_own
    epsv_pasv_and_active_mode_all_carry_data
    server_on_ipv6_is_read_and_written_in_passive_and_active_mode
    one_connection_serves_reads_and_questions_in_turn
    session_dropped_by_an_idle_server_is_replaced
    restarted_server_is_found_again
    wrong_password_is_told_and_asked_once
    login_beyond_the_limit_lowers_the_ceiling_and_waits
    what_nobody_waits_for_takes_no_session_that_somebody_could_use
    server_that_is_away_is_not_tried_for_what_nobody_waits_for
}

fn options(server: &Server) -> ServerOptions {
    // RUST_LOG=ftpfs::dialogue=debug shows who said what.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let mut options = ServerOptions::new(server.host());
    options.port = server.port();
    options.user = USER.as_bytes().into();
    options.password = Secret::new(PASSWORD);
    options
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

/// Bytes that differ at each offset that a test may confuse.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn put(server: &Server, name: &str, bytes: &[u8]) {
    fs::write(server.folder().join(name), bytes).unwrap();
    server.give(name);
}

fn start_read(lease: &mut Lease, name: &str, offset: u64) -> ftpfs::pool::ActiveTransfer {
    let prelude = if offset > 0 { vec![Command::Rest(offset)] } else { vec![] };
    lease.start(&prelude, Command::Retr(path(name)), Direction::Receive, soon()).unwrap()
}

fn read_all(lease: &mut Lease, name: &str, offset: u64) -> Vec<u8> {
    let mut transfer = start_read(lease, name, offset);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match transfer.read(&mut buffer).unwrap() {
            0 => return bytes,
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

fn what_is_stored_is_read_back_from_any_offset(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let pool = Pool::connect(options(&server)).unwrap();
    let bytes = pattern(3_000_001);
    let mut lease = pool.exclusive(Purpose::Write, soon()).unwrap();
    let mut transfer = lease.start(&[], Command::Stor(path("/stored")), Direction::Send, soon()).unwrap();
    for piece in bytes.chunks(100_000) {
        transfer.write_all(piece).unwrap();
    }
    let reply = transfer.finish_writing().unwrap();
    assert_eq!(reply.class(), ReplyClass::Completion);
    assert!(fs::read(server.folder().join("stored")).unwrap() == bytes, "the file on the server differs");
    for offset in [0, 1, 1_234_567, 0, 3_000_000, 3_000_001, 0] {
        assert!(read_all(&mut lease, "/stored", offset) == bytes[offset as usize..], "differs from {offset} on");
    }
    assert!(lease.is_ready());
}

fn session_is_in_step_after_each_stopped_transfer(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, "large", &pattern(8 << 20));
    put(&server, "small", &pattern(100));
    let pool = Pool::connect(options(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    for round in 0..20 {
        // Stopped at different points: with nothing read, with some, with all of a small one but its end.
        let mut transfer = start_read(&mut lease, if round % 4 == 3 { "/small" } else { "/large" }, 0);
        let mut buffer = vec![0; 1 << 16];
        for _ in 0..round % 3 {
            transfer.read(&mut buffer).unwrap();
        }
        if let Err(error) = transfer.stop() {
            // Where a reset overtakes their accept, these say nothing, and pyftpdlib sends the file on the next data connection:
            // such a session must not be used again.
            let may_say_nothing = matches!(kind, ServerKind::Pyftpdlib | ServerKind::Embedded);
            assert!(may_say_nothing && !lease.control().is_open(), "round {round}: {error}\n{}", server.log());
            lease = pool.exclusive(Purpose::Read, soon()).unwrap();
        }
        // The next replies are its own, and the next transfer works.
        let reply = lease.control().exchange(Command::Size(path("/large")), soon()).unwrap();
        assert_eq!(reply.to_string(), format!("213 {}", 8 << 20), "round {round}");
        assert!(read_all(&mut lease, "/small", 0) == pattern(100), "round {round}");
    }
}

fn refusal_leaves_the_session_usable(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, "there", b"bytes");
    let pool = Pool::connect(options(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    for offset in [0, 0, 3, 0] {
        let prelude = if offset > 0 { vec![Command::Rest(offset)] } else { vec![] };
        let error = lease
            .start(&prelude, Command::Retr(path("/missing")), Direction::Receive, soon())
            // libunftp says 150 first, and then looks for the file.
            .and_then(ftpfs::pool::ActiveTransfer::finish_reading)
            .unwrap_err();
        assert!(matches!(&error, PoolError::Refused { verb: "RETR", .. }), "{error:?}");
        // A restart offset left behind would show here.
        assert_eq!(read_all(&mut lease, "/there", 0), b"bytes");
    }
    let error = lease
        .start(&[], Command::Stor(path("/no/such/place")), Direction::Send, soon())
        .and_then(ftpfs::pool::ActiveTransfer::finish_writing)
        .unwrap_err();
    assert!(matches!(&error, PoolError::Refused { verb: "STOR", .. }), "{error:?}");
    assert_eq!(read_all(&mut lease, "/there", 2), b"tes");
}

fn listing_of_an_empty_directory_is_complete(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    fs::create_dir(server.folder().join("empty")).unwrap();
    server.give("empty");
    let pool = Pool::connect(options(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Listing, soon()).unwrap();
    for _ in 0..5 {
        let list = Command::List { options: None, path: Some(path("/empty")) };
        let transfer = lease.start(&[], list, Direction::Receive, soon()).unwrap();
        assert_eq!(transfer.finish_reading().unwrap().class(), ReplyClass::Completion);
    }
    let transfer = lease.start(
        &[Command::Cwd(path("/empty"))],
        Command::List { options: None, path: None },
        Direction::Receive,
        soon(),
    );
    transfer.unwrap().finish_reading().unwrap();
    assert!(lease.is_ready());
}

fn small_files_in_a_row_stay_in_step(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    for index in 0..50 {
        put(&server, &format!("file{index}"), &pattern(index));
    }
    let pool = Pool::connect(options(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    for index in 0..50 {
        assert!(read_all(&mut lease, &format!("/file{index}"), 0) == pattern(index), "file{index}");
    }
    for index in 0..20 {
        let mut transfer =
            lease.start(&[], Command::Stor(path(&format!("/new{index}"))), Direction::Send, soon()).unwrap();
        transfer.write_all(&pattern(index)).unwrap();
        transfer.finish_writing().unwrap();
        assert!(fs::read(server.folder().join(format!("new{index}"))).unwrap() == pattern(index), "new{index}");
    }
}

fn answers_to_many_threads_are_each_their_own(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    for index in 0..50 {
        put(&server, &format!("file{index}"), &pattern(index));
    }
    let pool = Pool::connect(options(&server)).unwrap();
    thread::scope(|scope| {
        for first in 0..10 {
            let pool = &pool;
            scope.spawn(move || {
                for index in (first..50).step_by(10) {
                    let shared = pool.shared(soon()).unwrap();
                    let size = Command::Size(path(&format!("/file{index}")));
                    let reply = shared.control().exchange(size, soon()).unwrap();
                    assert_eq!(reply.to_string(), format!("213 {index}"));
                }
            });
        }
    });
}

fn epsv_pasv_and_active_mode_all_carry_data(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, "file", &pattern(100_000));
    let passive = |prefer, address| DataMode::Passive { prefer, address };
    let modes = [
        passive(PassiveCommand::Epsv, PassiveAddressChoice::Control),
        passive(PassiveCommand::Pasv, PassiveAddressChoice::Control),
        passive(PassiveCommand::Pasv, PassiveAddressChoice::Server),
        DataMode::Active { address: None, ports: None },
    ];
    for mode in modes {
        if kind == ServerKind::Embedded && matches!(mode, DataMode::Active { .. }) {
            continue; // libunftp has it switched off.
        }
        let pool = Pool::connect(ServerOptions { data_mode: mode.clone(), ..options(&server) }).unwrap();
        let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
        for offset in [0, 50_000] {
            assert!(read_all(&mut lease, "/file", offset) == pattern(100_000)[offset as usize..], "{mode:?}");
        }
        let mut transfer = lease.start(&[], Command::Stor(path("/up")), Direction::Send, soon()).unwrap();
        transfer.write_all(b"up").unwrap();
        transfer.finish_writing().unwrap();
        assert_eq!(fs::read(server.folder().join("up")).unwrap(), b"up");
    }
}

fn server_on_ipv6_is_read_and_written_in_passive_and_active_mode(kind: ServerKind) {
    let settings = ServerSettings { ipv6: true, ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    put(&server, "file", &pattern(100_000));
    for mode in [ServerOptions::new("::1").data_mode, DataMode::Active { address: None, ports: None }] {
        if kind == ServerKind::Embedded && matches!(mode, DataMode::Active { .. }) {
            continue; // libunftp has it switched off.
        }
        let pool = Pool::connect(ServerOptions { data_mode: mode.clone(), ..options(&server) }).unwrap();
        let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
        assert!(read_all(&mut lease, "/file", 50_000) == pattern(100_000)[50_000..], "{mode:?}");
        let mut transfer = lease.start(&[], Command::Stor(path("/up")), Direction::Send, soon()).unwrap();
        transfer.write_all(b"up").unwrap();
        transfer.finish_writing().unwrap();
        assert_eq!(fs::read(server.folder().join("up")).unwrap(), b"up");
    }
}

fn one_connection_serves_reads_and_questions_in_turn(kind: ServerKind) {
    let settings = ServerSettings { connections_max: Some(1), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let bytes = pattern(4 << 20);
    put(&server, "large", &bytes);
    let pool = Pool::connect(ServerOptions { connections_max: 1, ..options(&server) }).unwrap();
    let done = AtomicBool::new(false);
    let (reading, has_begun) = mpsc::channel();
    thread::scope(|scope| {
        let done = &done;
        let pool = &pool;
        let bytes = &bytes;
        let reader = scope.spawn(move || {
            // A reader that gives way and continues where it was, until the questions are through.
            let mut offset = 0;
            let mut given_way = 0;
            while offset < 4 << 20 {
                let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
                let mut transfer = start_read(&mut lease, "/large", offset);
                let _ = reading.send(());
                let mut buffer = vec![0; 16 << 10];
                while !lease.is_wanted() {
                    let len = transfer.read(&mut buffer).unwrap();
                    if len == 0 {
                        break;
                    }
                    let from = offset as usize;
                    assert!(buffer[..len] == bytes[from..from + len]);
                    offset += len as u64;
                    // Slow enough to be asked to give way, for as long as anybody asks.
                    while !done.load(Ordering::Acquire) && !lease.is_wanted() {
                        thread::yield_now();
                    }
                }
                given_way += usize::from(lease.is_wanted());
                if offset < 4 << 20 {
                    transfer.stop().unwrap();
                }
            }
            given_way
        });
        let asker = scope.spawn(move || {
            has_begun.recv().unwrap();
            for _ in 0..5 {
                let reply = pool
                    .retry(soon(), Repeat::Safe, |shared| Ok(shared.control().exchange(Command::Pwd, soon())?))
                    .unwrap();
                assert_eq!(parse_257(&reply).unwrap(), b"/");
                // The reader gets its turn between two questions.
                drop(pool.exclusive(Purpose::Listing, soon()).unwrap());
            }
            done.store(true, Ordering::Release);
        });
        asker.join().unwrap();
        assert!(reader.join().unwrap() > 0, "the reader never gave way");
    });
}

fn session_dropped_by_an_idle_server_is_replaced(kind: ServerKind) {
    // Pure-FTPd counts minutes only; the others show it.
    if kind == ServerKind::PureFtpd {
        return;
    }
    let settings = ServerSettings { idle_timeout: Some(Duration::from_secs(1)), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let pool = Pool::connect(options(&server)).unwrap();
    let first = pool.shared(soon()).unwrap();
    let number = first.control().number();
    // Until the server has said so.
    while first.control().is_quiet() {
        thread::park_timeout(Duration::from_millis(10));
    }
    drop(first);
    let again = pool.shared(soon()).unwrap();
    assert_ne!(again.control().number(), number);
    again.control().exchange(Command::Pwd, soon()).unwrap();
}

fn restarted_server_is_found_again(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, "file", b"bytes");
    let pool = Pool::connect(options(&server)).unwrap();
    let ask = |deadline: Instant| {
        pool.retry(deadline, Repeat::Safe, |shared| {
            Ok(shared.control().exchange(Command::Size(path("/file")), deadline)?)
        })
    };
    assert_eq!(ask(soon()).unwrap().to_string(), "213 5");
    server.stop();
    let error = ask(Instant::now() + Duration::from_millis(700)).unwrap_err();
    assert!(matches!(error, PoolError::Unreachable { .. }), "{error:?}");
    server.restart();
    assert_eq!(ask(soon()).unwrap().to_string(), "213 5");
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    assert_eq!(read_all(&mut lease, "/file", 0), b"bytes");
}

fn wrong_password_is_told_and_asked_once(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let wrong = ServerOptions { password: Secret::new("wrong"), ..options(&server) };
    let error = Pool::connect(wrong).unwrap_err();
    assert!(matches!(error, PoolError::LoginRefused { .. }), "{error:?}");
}

fn login_beyond_the_limit_lowers_the_ceiling_and_waits(kind: ServerKind) {
    if kind == ServerKind::Embedded {
        return; // It has no limit.
    }
    let settings = ServerSettings { connections_max: Some(2), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    put(&server, "file", b"bytes");
    let pool = Pool::connect(options(&server)).unwrap();
    let shared = pool.shared(soon()).unwrap();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
                    assert_eq!(read_all(&mut lease, "/file", 0), b"bytes");
                }
            });
        }
    });
    shared.control().exchange(Command::Noop, soon()).unwrap();
    // The last login may still be waiting for its refusal.
    let deadline = soon();
    while pool.ceiling() != 2 {
        assert!(Instant::now() < deadline, "the ceiling stays at {}", pool.ceiling());
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn what_nobody_waits_for_takes_no_session_that_somebody_could_use(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, "file", &pattern(1000));
    let patience = Duration::from_secs(20);
    let mut options = options(&server);
    options.connections_max = 4;
    let pool = Pool::connect(options).unwrap();
    let mut ahead = vec![pool.idle(Stay::Long, patience).unwrap(), pool.idle(Stay::Long, patience).unwrap()];
    assert_eq!(read_all(&mut ahead[0], "/file", 0), pattern(1000));
    let none = pool.idle(Stay::Long, Duration::from_millis(100)).is_none();
    assert!(none, "the last one that may be lent is for those who wait");
    let connections = pool.connections();
    assert_eq!((connections.ahead, connections.reading, connections.ceiling_max), (2, 0, 4));
    assert!(connections.idle >= 1, "{connections:?}");
    // Who comes next finds one that is logged in.
    let demand = pool.exclusive(Purpose::Read, soon()).unwrap();
    assert!(!ahead.iter().any(Lease::is_wanted));
    thread::scope(|scope| {
        let told = mpsc::channel();
        for lease in &ahead {
            let tell = told.0.clone();
            lease.on_wanted(Box::new(move || tell.send(()).unwrap()));
        }
        let second = scope.spawn(|| pool.exclusive(Purpose::Listing, soon()).map(drop));
        told.1.recv_timeout(patience).unwrap();
        assert!(pool.idle(Stay::Long, patience).is_none(), "somebody waits");
        ahead.retain(|lease| !lease.is_wanted());
        second.join().unwrap().unwrap();
    });
    drop(demand);
    assert_eq!(ahead.len(), 1);
}

fn server_that_is_away_is_not_tried_for_what_nobody_waits_for(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    let mut options = options(&server);
    options.operation_timeout = Duration::from_secs(2);
    options.deadlines.connect = Duration::from_secs(2);
    let pool = Pool::connect(options).unwrap();
    server.stop();
    // The first may still try; once a login has failed there is none until somebody needs one.
    assert!(pool.idle(Stay::Long, Duration::from_secs(5)).is_none());
    let begun = Instant::now();
    while pool.connections().logging_in > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..100 {
        assert!(pool.idle(Stay::Long, Duration::from_secs(5)).is_none());
        assert_eq!(pool.connections().logging_in, 0);
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}

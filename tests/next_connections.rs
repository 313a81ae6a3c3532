//! The next data connection, asked for in the packet of a transfer: where that is done, and that none of its ways to fail is the
//! caller's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::pool::{ActiveTransfer, Direction, Lease, OperationKind, Pool, PoolError, Purpose, Repeat, ServerOptions};
use ftpfs::protocol::{Command, RemotePath};
use scripted_server::{Answer, Dialogue, ORDERLY, ScriptedServer};
use servers::{Server, ServerKind, ServerSettings};

#[path = "support/scripted_server.rs"]
mod scripted_server;
#[path = "support/servers.rs"]
mod servers;

/// RUST_LOG=ftpfs::dialogue=debug shows who said what.
fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

fn connect(server: &ScriptedServer) -> Arc<Pool> {
    log();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    // No other session is logged in beside the one that a test looks at.
    options.connections_max = 1;
    Pool::connect(options).unwrap()
}

fn start_whole(lease: &mut Lease, name: &str) -> Result<ActiveTransfer, PoolError> {
    lease.start_whole(&[], Command::Retr(path(name)), soon())
}

fn read_all(transfer: &mut ActiveTransfer) -> Result<Vec<u8>, PoolError> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match transfer.read(&mut buffer)? {
            0 => return Ok(bytes),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

fn read_whole(pool: &Pool, name: &str) -> Result<Vec<u8>, PoolError> {
    pool.retry_exclusive(Purpose::Read, soon(), Repeat::Safe, |mut lease| {
        let mut transfer = start_whole(&mut lease, name)?;
        read_all(&mut transfer)
    })
}

/// A listing that is read to its end.
fn list(pool: &Pool, directory: &str) -> Result<Vec<u8>, PoolError> {
    let mut lease = pool.exclusive(Purpose::Listing, soon()).unwrap();
    let mut transfer = lease.start_whole(&[Command::Cwd(path(directory))], Command::Mlsd(None), soon())?;
    read_all(&mut transfer)
}

/// Waits until a session that nobody has has its data connection.
fn wait_until_prepared(pool: &Pool) {
    let deadline = soon();
    while pool.connections().prepared == 0 {
        assert!(Instant::now() < deadline, "no session was prepared");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A plain server that answers RETR and what comes behind it as `retr` does, from the second one on, where that does.
fn retr_server(retr: impl Fn(&mut Dialogue, usize) -> bool + Send + Sync + 'static) -> ScriptedServer {
    let count = AtomicUsize::new(0);
    ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if !command.starts_with("RETR") {
            return Answer::Default;
        }
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        if number > 1 && retr(dialogue, number) { Answer::Done } else { Answer::Default }
    })
}

#[test]
fn next_connection_is_asked_for_in_the_packet_of_what_is_read_to_its_end() {
    let server = retr_server(|_, _| false);
    let pool = connect(&server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    for _ in 0..5 {
        wait_until_prepared(&pool);
        let (before, asked) = (server.packets(), server.count("EPSV"));
        assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
        wait_until_prepared(&pool);
        assert_eq!(server.commands().iter().rev().take(2).collect::<Vec<_>>(), ["EPSV", "RETR /file"]);
        assert_eq!((server.packets(), server.count("EPSV")), (before + 1, asked + 1));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn nothing_goes_behind_what_may_be_stopped() {
    let (checked, is_alone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (counts, alone) = (Arc::clone(&checked), Arc::clone(&is_alone));
    let server = retr_server(move |dialogue, _| {
        counts.fetch_add(1, Ordering::Relaxed);
        alone.fetch_and(!dialogue.has_more(), Ordering::Relaxed);
        false
    });
    let pool = connect(&server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    for _ in 0..3 {
        wait_until_prepared(&pool);
        let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
        let mut transfer = lease.start(&[], Command::Retr(path("/file")), Direction::Receive, soon()).unwrap();
        assert_eq!(read_all(&mut transfer).unwrap(), b"bytes");
    }
    assert_eq!((checked.load(Ordering::Relaxed), is_alone.load(Ordering::Relaxed)), (3, true));
}

#[test]
fn refusal_of_the_next_connection_teaches_nothing() {
    for refusal in ["500 Not while a transfer runs", "450 Busy", "425 No port", "200 What?"] {
        let server = retr_server(move |dialogue, _| {
            dialogue.say("150 Here it comes");
            dialogue.send_data(b"bytes");
            dialogue.say("226 Done");
            assert_eq!(dialogue.next_command().as_deref(), Some("EPSV"));
            dialogue.say(refusal);
            true
        });
        let pool = connect(&server);
        for round in 0..6 {
            assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes", "{refusal}, round {round}");
        }
        assert_eq!((server.connections(), server.count("PASV")), (1, 0), "{refusal}: {:?}", server.commands());
        assert!(!pool.profile().epsv.is_no() && !pool.profile().pipelining.is_no(), "{refusal}");
    }
}

/// A server that goes on with a transfer only when it has answered EPSV by `early`; `None` gives a port.
fn answers_at_once(early: Option<&'static str>) -> ScriptedServer {
    retr_server(move |dialogue, _| {
        if !dialogue.has_more() {
            return false;
        }
        assert_eq!(dialogue.next_command().as_deref(), Some("EPSV"));
        let data = dialogue.accept();
        dialogue.say("150 Here it comes");
        match early {
            Some(reply) => dialogue.say(reply),
            None => {
                let port = dialogue.listen();
                dialogue.say(&format!("229 Passive (|||{port}|)"));
            }
        }
        drop(data);
        dialogue.say("226 Done");
        true
    })
}

#[test]
fn server_that_answers_while_a_transfer_runs_is_asked_nothing_behind_one_any_more() {
    for early in [None, Some("450 Not while a transfer runs"), Some("500 Not while a transfer runs")] {
        let server = answers_at_once(early);
        let pool = connect(&server);
        let mut wrong = 0;
        for _ in 0..5 {
            // It has not sent all, and says that it has: that its 226 counts for nothing is what is tested here.
            match read_whole(&pool, "/file") {
                Ok(bytes) => assert_eq!(bytes, b"bytes", "{early:?}"),
                Err(_) => wrong += 1,
            }
        }
        assert!(wrong <= 1, "{early:?}: {wrong}");
        assert!(pool.profile().answers_during_transfer.is_yes(), "{early:?}: {:?}", server.commands());
        assert!(!pool.profile().pipelining.is_no(), "{early:?}");
    }
}

#[test]
fn file_refused_with_the_next_connection_asked_for_is_refused_once_and_leaves_the_session_in_step() {
    let server = retr_server(|dialogue, number| {
        if number == 2 {
            dialogue.say("550 No such file");
        }
        number == 2
    });
    let pool = connect(&server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let error = read_whole(&pool, "/missing").unwrap_err();
    assert!(matches!(error, PoolError::Refused { verb: "RETR", .. }), "{error:?}");
    for _ in 0..2 {
        assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    }
    assert_eq!((server.count("RETR"), server.connections()), (4, 1), "{:?}", server.commands());
}

#[test]
fn spare_of_no_use_is_followed_by_the_connection_that_was_asked_for_behind() {
    let server = retr_server(|dialogue, number| {
        if number == 2 {
            drop(dialogue.accept());
            dialogue.say("425 Cannot build data connection");
        }
        number == 2
    });
    let pool = connect(&server);
    for _ in 0..3 {
        assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
        wait_until_prepared(&pool);
    }
    // For the first, behind each, and none for the second attempt.
    assert_eq!(
        (server.count("RETR"), server.count("EPSV"), server.connections()),
        (4, 5, 1),
        "{:?}",
        server.commands()
    );
}

#[test]
fn directory_refused_with_listing_and_next_connection_behind_it_is_told() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| match command {
        "MLSD" => {
            dialogue.say("150 Here it comes");
            dialogue.send_data(b"type=file;size=1; wrong\r\n");
            dialogue.say("226 Done");
            Answer::Done
        }
        "CWD /missing" => {
            dialogue.say("550 No such directory");
            Answer::Done
        }
        _ => Answer::Default,
    });
    let pool = connect(&server);
    for _ in 0..3 {
        assert_eq!(list(&pool, "/there").unwrap(), b"type=file;size=1; wrong\r\n");
        wait_until_prepared(&pool);
        let error = list(&pool, "/missing").unwrap_err();
        assert!(matches!(error, PoolError::Refused { verb: "CWD", .. }), "{error:?}");
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn next_connection_is_begun_by_whoever_reads_where_it_leads() {
    let (is_held, asks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| match command {
        "EPSV" if asks.fetch_add(1, Ordering::Relaxed) == 2 => {
            is_held.store(true, Ordering::Relaxed);
            Answer::Done
        }
        "NOOP" if is_held.swap(false, Ordering::Relaxed) => {
            let port = dialogue.listen();
            dialogue.say(&format!("229 Passive (|||{port}|)"));
            // The client waits for the word on NOOP, and has read this one on the way.
            let has_come = dialogue.accept_or_notice().is_some();
            dialogue.say(if has_come { "200 OK" } else { "500 It did not come" });
            Answer::Done
        }
        _ => Answer::Default,
    });
    let pool = connect(&server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let mut transfer = start_whole(&mut lease, "/file").unwrap();
    assert_eq!(read_all(&mut transfer).unwrap(), b"bytes");
    drop(transfer);
    let begun = Instant::now();
    let reply = lease.control().exchange(Command::Noop, soon()).unwrap();
    assert_eq!(reply.code().number(), 200);
    assert!(begun.elapsed() < Duration::from_secs(10), "it was begun when the server had given up waiting for it");
}

#[test]
fn transfer_whose_last_word_came_with_its_first_needs_no_end() {
    let is_missing = AtomicBool::new(false);
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| match command {
        "MLSD" if is_missing.load(Ordering::Relaxed) => {
            let data = dialogue.accept();
            dialogue.say("150 Here it comes\r\n226 Done");
            drop(data);
            Answer::Done
        }
        "EPSV" if is_missing.swap(false, Ordering::Relaxed) => {
            // The client has read the word on the listing by now, and nothing behind it.
            thread::sleep(Duration::from_millis(100));
            Answer::Default
        }
        "MLSD" => {
            dialogue.say("150 Here it comes");
            dialogue.send_data(b"");
            dialogue.say("226 Done");
            Answer::Done
        }
        "CWD /missing" => {
            is_missing.store(true, Ordering::Relaxed);
            dialogue.say("550 No such directory");
            Answer::Done
        }
        _ => Answer::Default,
    });
    let pool = connect(&server);
    for _ in 0..3 {
        assert_eq!(list(&pool, "/there").unwrap(), b"");
        wait_until_prepared(&pool);
        let error = list(&pool, "/missing").unwrap_err();
        assert!(matches!(error, PoolError::Refused { verb: "CWD", .. }), "{error:?}");
    }
    assert_eq!((server.connections(), server.count("PWD")), (1, 1), "one with the login");
}

#[test]
fn port_asked_for_behind_a_transfer_that_was_stopped_is_forgotten() {
    let server = retr_server(|dialogue, number| {
        if number == 2 {
            let data = dialogue.accept();
            dialogue.say("150 Here it comes");
            Dialogue::read_data(data);
            dialogue.say("426 You went");
        }
        number == 2
    });
    let pool = connect(&server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    start_whole(&mut lease, "/file").unwrap().stop().unwrap();
    drop(lease);
    wait_until_prepared(&pool);
    let commands = server.commands();
    assert_eq!(commands[commands.len() - 4..], ["RETR /file", "EPSV", "PWD", "EPSV"]);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    assert_eq!(server.connections(), 1);
}

/// A server on which the second RETR is to be stopped, and that says `word` behind its next marker.
fn stopped_server(word: &'static str, pause: Duration) -> ScriptedServer {
    let (count, is_late) = (AtomicUsize::new(0), AtomicBool::new(false));
    ScriptedServer::serving(ORDERLY, move |dialogue, command| match command {
        "RETR /file" if count.fetch_add(1, Ordering::Relaxed) == 1 => {
            let data = dialogue.accept();
            dialogue.say("150 Here it comes");
            Dialogue::read_data(data);
            if word.is_empty() {
                dialogue.say("426 You went");
            } else {
                is_late.store(true, Ordering::Relaxed);
            }
            Answer::Done
        }
        "PWD" if is_late.swap(false, Ordering::Relaxed) => {
            if pause.is_zero() {
                dialogue.say(&format!("257 \"/\" is it\r\n{word}"));
            } else {
                dialogue.say("257 \"/\" is it");
                thread::sleep(pause);
                dialogue.say(word);
            }
            Answer::Done
        }
        _ => Answer::Default,
    })
}

/// Stops the second read; returns what was said since, in how many packets, and how many connections there were in all.
fn stop_one(server: &ScriptedServer) -> (Vec<String>, usize, usize) {
    let pool = connect(server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let transfer = lease.start(&[], Command::Retr(path("/file")), Direction::Receive, soon()).unwrap();
    let (said, packets) = (server.commands().len(), server.packets());
    // A session that cannot be brought back in step is closed.
    let is_kept = transfer.stop().is_ok();
    drop(lease);
    if is_kept {
        wait_until_prepared(&pool);
    }
    let (said, packets) = (server.commands().split_off(said), server.packets() - packets);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    assert!(!pool.profile().pipelining.is_no());
    assert!(!pool.profile().answers_during_transfer.is_yes());
    (said, packets, server.connections())
}

#[test]
fn next_connection_is_asked_for_in_the_packet_of_the_marker() {
    let server = stopped_server("", Duration::ZERO);
    assert_eq!(stop_one(&server), (vec![String::from("PWD"), String::from("EPSV")], 1, 1));
}

#[test]
fn word_on_a_stopped_transfer_that_comes_behind_the_marker_costs_no_more_than_the_next_connection() {
    for word in ["426 You went", "226 Done"] {
        let (said, _, connections) = stop_one(&stopped_server(word, Duration::ZERO));
        assert!((said, connections) == (vec!["PWD".into(), "EPSV".into()], 1), "{word}");
        let (_, _, connections) = stop_one(&stopped_server(word, Duration::from_millis(100)));
        assert_eq!(connections, 1, "{word}");
    }
}

/// It may be the refusal of the question behind it: then nobody knows whether the transfer is over.
#[test]
fn refusal_behind_the_marker_ends_no_stopped_transfer() {
    for word in ["425 No port", "450 Not now", "550 No"] {
        for pause in [Duration::ZERO, Duration::from_millis(100)] {
            let (_, _, connections) = stop_one(&stopped_server(word, pause));
            assert_eq!(connections, 2, "{word}");
        }
    }
}

/// Pure-FTPd throws away what it reads before it has noticed the reset, and may say nothing when it has: the answer to what came with the transfer
/// is when the marker may go, and not the preliminary word before it.
#[test]
fn marker_waits_for_the_answer_to_what_came_with_the_transfer() {
    let (count, early) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&early);
    let server = ScriptedServer::serving("220 Welcome to Pure-FTPd, scripted", move |dialogue, command| {
        if command != "RETR /file" || count.fetch_add(1, Ordering::Relaxed) != 1 {
            return Answer::Default;
        }
        let data = dialogue.accept();
        assert_eq!(dialogue.next_command().as_deref(), Some("EPSV"));
        dialogue.say("150 Here it comes");
        Dialogue::read_data(data);
        dialogue.say("150 It took its time");
        thread::sleep(Duration::from_millis(500));
        dialogue.stream().set_nonblocking(true).unwrap();
        let has_come = dialogue.stream().peek(&mut [0]).is_ok();
        dialogue.stream().set_nonblocking(false).unwrap();
        seen.fetch_add(usize::from(has_come), Ordering::Relaxed);
        dialogue.answer("EPSV");
        Answer::Done
    });
    let pool = connect(&server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    lease.start(&[], Command::Retr(path("/file")), Direction::Receive, soon()).unwrap().stop().unwrap();
    drop(lease);
    wait_until_prepared(&pool);
    let commands = server.commands();
    assert_eq!(commands[commands.len() - 4..], ["RETR /file", "EPSV", "PWD", "EPSV"]);
    assert_eq!(early.load(Ordering::Relaxed), 0);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    assert_eq!(server.connections(), 1);
}

#[test]
fn silence_on_a_transfer_whose_data_connection_broke_is_no_answer_while_it_runs() {
    let server = retr_server(|dialogue, number| {
        if number == 2 {
            dialogue.say("150 Here it comes");
            let mut data = dialogue.accept();
            data.write_all(b"by").unwrap();
            let _ = socket2::SockRef::from(&data).set_linger(Some(Duration::ZERO));
            drop(data);
            // Not a word on the transfer, as Pure-FTPd does.
            assert_eq!(dialogue.next_command().as_deref(), Some("EPSV"));
            let port = dialogue.listen();
            dialogue.say(&format!("229 Passive (|||{port}|)"));
            assert_eq!(dialogue.next_command(), None);
        }
        number == 2
    });
    let pool = connect(&server);
    assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    for _ in 0..3 {
        assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
    }
    assert_eq!(server.connections(), 2, "{:?}", server.commands());
    assert!(!pool.profile().answers_during_transfer.is_yes() && !pool.profile().pipelining.is_no());
}

#[test]
fn completion_said_twice_before_the_next_port_costs_nothing() {
    let server = retr_server(|dialogue, _| {
        dialogue.say("150 Here it comes");
        dialogue.send_data(b"bytes");
        dialogue.say("226 Done\r\n226 Done indeed");
        true
    });
    let pool = connect(&server);
    for _ in 0..5 {
        assert_eq!(read_whole(&pool, "/file").unwrap(), b"bytes");
        wait_until_prepared(&pool);
    }
    assert_eq!(server.connections(), 1);
    assert!(!pool.profile().pipelining.is_no());
}

fn store(pool: &Pool, name: &str) -> usize {
    let mut lease = pool.exclusive(Purpose::Write, soon()).unwrap();
    let questions = [Command::Size(path(name)), Command::Mdtm(path(name))];
    let stored = lease.store_at_once(Command::Stor(path(name)), b"upload", &questions, soon()).unwrap();
    stored.end.unwrap();
    stored.answers.len()
}

#[test]
fn next_connection_goes_behind_an_upload_once_questions_there_were_answered_in_order() {
    let behind = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&behind);
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if !command.starts_with("STOR") {
            return Answer::Default;
        }
        dialogue.say("150 Go on");
        let data = dialogue.accept();
        assert_eq!(Dialogue::read_data(data), b"upload");
        dialogue.say("226 Done");
        let mut commands = Vec::new();
        while dialogue.has_more() {
            let next = dialogue.next_command().unwrap();
            if next == "EPSV" {
                let port = dialogue.listen();
                dialogue.say(&format!("229 Passive (|||{port}|)"));
            } else {
                dialogue.say("213 6");
            }
            commands.push(next);
        }
        seen.lock().unwrap().push(commands);
        Answer::Done
    });
    let pool = connect(&server);
    for _ in 0..3 {
        assert_eq!(store(&pool, "/new"), 2);
        wait_until_prepared(&pool);
    }
    let questions = ["SIZE /new", "MDTM /new"];
    let (first, later) = (questions.to_vec(), ["SIZE /new", "MDTM /new", "EPSV"].to_vec());
    assert_eq!(*behind.lock().unwrap(), [first, later.clone(), later]);
    assert_eq!(server.connections(), 1);
}

/// Makes a test of each function for each server that is asked behind a transfer.
macro_rules! on_each_server {
    ($($name:ident)*) => {
        mod vsftpd { $(#[test] fn $name() { super::$name(super::ServerKind::Vsftpd) })* }
        mod proftpd { $(#[test] fn $name() { super::$name(super::ServerKind::Proftpd) })* }
        mod pure_ftpd { $(#[test] fn $name() { super::$name(super::ServerKind::PureFtpd) })* }
    };
}

on_each_server! {
    whole_reads_listings_and_uploads_follow_each_other_on_connections_asked_for_before
    session_goes_on_after_a_whole_read_that_was_stopped_or_refused
    read_behind_one_that_was_stopped_at_any_moment_brings_its_own_bytes
}

fn connect_to(server: &Server) -> Arc<Pool> {
    connect_to_with(server, |_| {})
}

fn connect_to_with(server: &Server, change: fn(&mut ServerOptions)) -> Arc<Pool> {
    log();
    let mut options = server.options();
    change(&mut options);
    Pool::connect(options).unwrap()
}

fn with_each_encryption(kind: ServerKind, test: fn(&Server)) {
    use servers::{TlsSettings, TlsVersion};
    for tls in [None, Some(TlsVersion::Tls12), Some(TlsVersion::Tls13)] {
        let settings = ServerSettings { tls: tls.map(TlsSettings::of), ..ServerSettings::default() };
        let Some(server) = Server::start(kind, settings) else { return };
        fs::write(server.folder().join("small"), b"small").unwrap();
        fs::write(server.folder().join("large"), vec![7; 8 << 20]).unwrap();
        fs::create_dir(server.folder().join("folder")).unwrap();
        fs::write(server.folder().join("folder/inside"), b"in it").unwrap();
        for name in ["small", "large", "folder"] {
            server.give(name);
        }
        test(&server);
    }
}

fn whole_reads_listings_and_uploads_follow_each_other_on_connections_asked_for_before(kind: ServerKind) {
    with_each_encryption(kind, |server| {
        let pool = connect_to(server);
        const ROUNDS: u64 = 10;
        for round in 0..ROUNDS {
            assert_eq!(read_whole(&pool, "/small").unwrap(), b"small", "round {round}");
            let mut lease = pool.exclusive(Purpose::Listing, soon()).unwrap();
            let list = Command::List { options: None, path: None };
            let mut transfer = lease.start_whole(&[Command::Cwd(path("/folder"))], list, soon()).unwrap();
            let listing = String::from_utf8(read_all(&mut transfer).unwrap()).unwrap();
            assert!(listing.contains("inside") && !listing.contains("small"), "round {round}: {listing}");
            drop((transfer, lease));
            assert_eq!(read_whole(&pool, "/large").unwrap(), vec![7; 8 << 20], "round {round}");
            let name = format!("stored{round}");
            assert_eq!(store(&pool, &format!("/{name}")), 2, "round {round}");
            assert_eq!(fs::read(server.folder().join(name)).unwrap(), b"upload", "round {round}");
        }
        let traffic = pool.connections().traffic;
        assert_eq!(traffic.transfers, ROUNDS * 4, "{traffic:?}");
        // All but the first, where no session was given up for its tickets.
        let least = if server.tls().is_some() { ROUNDS * 2 } else { ROUNDS * 4 - 1 };
        assert!(traffic.on_spares >= least, "{traffic:?}");
        assert!(!pool.profile().answers_during_transfer.is_yes() && !pool.profile().pipelining.is_no());
    });
}

fn session_goes_on_after_a_whole_read_that_was_stopped_or_refused(kind: ServerKind) {
    with_each_encryption(kind, |server| {
        let pool = connect_to(server);
        for round in 0..10 {
            assert_eq!(read_whole(&pool, "/small").unwrap(), b"small", "round {round}");
            let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
            let mut transfer = start_whole(&mut lease, "/large").unwrap();
            if round % 2 == 0 {
                assert!(transfer.read(&mut [0; 100]).unwrap() > 0);
            }
            // Over TLS ProFTPD may end the session for it.
            let _ = transfer.stop();
            drop(lease);
            assert_eq!(read_whole(&pool, "/small").unwrap(), b"small", "round {round}, after a stop");
            let error = read_whole(&pool, "/missing").unwrap_err();
            assert!(matches!(error, PoolError::Refused { verb: "RETR", .. }), "round {round}: {error:?}");
        }
        assert!(!pool.profile().answers_during_transfer.is_yes() && !pool.profile().pipelining.is_no());
    });
}

fn read_behind_one_that_was_stopped_at_any_moment_brings_its_own_bytes(kind: ServerKind) {
    with_each_encryption(kind, |server| {
        let content: Vec<u8> = (0..1_u32 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        fs::write(server.folder().join("varied"), &content).unwrap();
        server.give("varied");
        let pool = connect_to_with(server, |options| options.connections_max = 1);
        for round in 0..60_usize {
            let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
            let offset = 1 + round * 60_001;
            let prelude = [Command::Rest(offset as u64)];
            let started = lease.start(&prelude, Command::Retr(path("/varied")), Direction::Receive, soon());
            let mut transfer = started.unwrap();
            // None, one byte, and more than is on its way; now and a little later.
            let mut bytes = vec![0; [0, 1, 200_000][round % 3]];
            let mut filled = 0;
            while filled < bytes.len() {
                filled += transfer.read(&mut bytes[filled..]).unwrap();
            }
            assert!(bytes == content[offset..offset + bytes.len()], "round {round}");
            if round % 2 == 0 {
                thread::sleep(Duration::from_millis(round as u64 % 5));
            }
            // Over TLS ProFTPD may end the session for it.
            let _ = transfer.stop();
        }
        assert!(!pool.profile().answers_during_transfer.is_yes() && !pool.profile().pipelining.is_no());
        let operations = pool.connections().traffic.operations;
        let logins = operations.iter().find(|operation| operation.kind == OperationKind::Login).unwrap().count;
        if server.tls().is_none() {
            assert_eq!(logins, 1, "{:?}", server.kind());
        }
    });
}

//! Data connections opened ahead: that they are used, and that none of their ways to fail is the caller's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::pool::{ActiveTransfer, Direction, Lease, Pool, PoolError, Purpose, Repeat, ServerOptions};
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

fn options(server: &ScriptedServer) -> ServerOptions {
    log();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    // No other session is logged in beside the one that a test looks at.
    options.connections_max = 1;
    options
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

fn start(lease: &mut Lease, name: &str) -> Result<ActiveTransfer, PoolError> {
    lease.start(&[], Command::Retr(path(name)), Direction::Receive, soon())
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

fn read(pool: &Pool, name: &str) -> Result<Vec<u8>, PoolError> {
    let mut lease = pool.exclusive(Purpose::Read, soon())?;
    let mut transfer = start(&mut lease, name)?;
    read_all(&mut transfer)
}

/// Waits until a session that nobody has has its data connection.
fn wait_until_prepared(pool: &Pool) {
    wait_until(|| pool.connections().prepared > 0, || format!("no session was prepared: {:?}", pool.connections()));
}

fn wait_until(mut condition: impl FnMut() -> bool, what: impl Fn() -> String) {
    let deadline = soon();
    while !condition() {
        assert!(Instant::now() < deadline, "{}", what());
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// The data connections of a server that takes them as soon as it has said where, before it reads another command.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<HashMap<usize, TcpStream>>>);

impl Taken {
    fn answer_epsv(&self, dialogue: &mut Dialogue) {
        let port = dialogue.listen();
        dialogue.say(&format!("229 Passive (|||{port}|)"));
        if let Some(stream) = dialogue.accept_or_notice() {
            self.0.lock().unwrap().insert(dialogue.index, stream);
        }
    }

    fn take(&self, dialogue: &Dialogue) -> TcpStream {
        self.0.lock().unwrap().remove(&dialogue.index).expect("a data connection")
    }

    fn send(&self, dialogue: &mut Dialogue, bytes: &[u8]) {
        dialogue.say("150 Here it comes");
        let _ = self.take(dialogue).write_all(bytes);
        dialogue.say("226 Done");
    }

    /// Ends the data connection by RST.
    fn reset(&self, dialogue: &Dialogue) {
        let _ = socket2::SockRef::from(&self.take(dialogue)).set_linger(Some(Duration::ZERO));
    }
}

/// A server that takes its data connections at once, and answers the numbered RETR (from 1 on) as `retr` does, where that does.
fn eager_server(retr: impl Fn(&mut Dialogue, &Taken, usize) -> bool + Send + Sync + 'static) -> ScriptedServer {
    let (taken, count) = (Taken::default(), AtomicUsize::new(0));
    ScriptedServer::serving(ORDERLY, move |dialogue, command| match command.split(' ').next() {
        Some("EPSV") => {
            taken.answer_epsv(dialogue);
            Answer::Done
        }
        Some("RETR") => {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            if !retr(dialogue, &taken, number) {
                taken.send(dialogue, b"bytes");
            }
            Answer::Done
        }
        _ => Answer::Default,
    })
}

#[test]
fn data_connection_stands_before_the_next_transfer_asks_for_it() {
    let server = eager_server(|_, _, _| false);
    let pool = Pool::connect(options(&server)).unwrap();
    for round in 1..=5 {
        assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
        // The server reads no further command before it has the connection.
        wait_until_prepared(&pool);
        assert_eq!(server.count("EPSV"), round + 1);
    }
    assert_eq!((server.count("RETR"), server.connections()), (5, 1));
}

#[test]
fn restart_and_transfer_go_in_one_packet_on_a_spare() {
    let server = eager_server(|_, _, _| false);
    let pool = Pool::connect(options(&server)).unwrap();
    assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let before = server.packets();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let retr = Command::Retr(path("/file"));
    let mut transfer = lease.start(&[Command::Rest(3)], retr, Direction::Receive, soon()).unwrap();
    assert_eq!(server.packets(), before + 1, "{:?}", server.commands());
    assert_eq!(read_all(&mut transfer).unwrap(), b"bytes");
}

#[test]
fn cwd_and_listing_go_in_one_packet_on_a_spare_and_a_refused_cwd_is_told() {
    let taken = Taken::default();
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| match command {
        "EPSV" => {
            taken.answer_epsv(dialogue);
            Answer::Done
        }
        "MLSD" => {
            taken.send(dialogue, b"type=file;size=1; wrong\r\n");
            Answer::Done
        }
        "CWD /missing" => {
            dialogue.say("550 No such directory");
            Answer::Done
        }
        _ => Answer::Default,
    });
    let pool = Pool::connect(options(&server)).unwrap();
    let list = |directory: &str| {
        let mut lease = pool.exclusive(Purpose::Listing, soon()).unwrap();
        let prelude = [Command::Cwd(path(directory))];
        let mut transfer = lease.start(&prelude, Command::Mlsd(None), Direction::Receive, soon())?;
        read_all(&mut transfer)
    };
    assert_eq!(list("/there").unwrap(), b"type=file;size=1; wrong\r\n");
    wait_until_prepared(&pool);
    let before = server.packets();
    let error = list("/missing").unwrap_err();
    assert!(matches!(error, PoolError::Refused { verb: "CWD", .. }), "{error:?}");
    let commands = server.commands();
    let last = commands.iter().rposition(|command| command == "CWD /missing").unwrap();
    assert_eq!(commands[last + 1], "MLSD", "{commands:?}");
    assert!(server.packets() > before);
    // And the session is in step.
    assert_eq!(list("/there").unwrap(), b"type=file;size=1; wrong\r\n");
    assert_eq!(server.connections(), 1);
}

#[test]
fn spare_that_the_server_has_closed_is_not_used() {
    let taken = Taken::default();
    let closing = taken.clone();
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| match command.split(' ').next() {
        Some("EPSV") => {
            taken.answer_epsv(dialogue);
            Answer::Done
        }
        Some("RETR") => {
            taken.send(dialogue, b"bytes");
            Answer::Done
        }
        _ => Answer::Default,
    });
    let pool = Pool::connect(options(&server)).unwrap();
    for _ in 0..3 {
        assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
        wait_until_prepared(&pool);
        // The client may know of the connection before the server does.
        let is_seen = || {
            closing.0.lock().unwrap().clear();
            pool.connections().prepared == 0
        };
        wait_until(is_seen, || String::from("the end of the spare was not seen"));
    }
    assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    assert_eq!(server.connections(), 1);
}

/// A failure of the second RETR, which runs on a spare, and of no other; the file is read all the same, on the same session.
fn is_healed(fail: impl Fn(&mut Dialogue, &Taken) + Send + Sync + 'static) -> ScriptedServer {
    let server = eager_server(move |dialogue, taken, number| {
        if number == 2 {
            fail(dialogue, taken);
        }
        number == 2
    });
    let pool = Pool::connect(options(&server)).unwrap();
    for _ in 0..3 {
        assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
        wait_until_prepared(&pool);
    }
    assert_eq!(server.count("RETR"), 4, "{:?}", server.commands());
    server
}

#[test]
fn transfer_refused_for_its_spares_sake_is_begun_once_more() {
    let server = is_healed(|dialogue, taken| {
        taken.reset(dialogue);
        dialogue.say("425 Cannot build data connection");
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn spare_reset_before_its_first_byte_costs_a_second_beginning_and_no_error() {
    let server = is_healed(|dialogue, taken| {
        dialogue.say("150 Here it comes");
        taken.reset(dialogue);
        dialogue.say("426 Failure writing network stream");
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn spare_that_swallows_everything_is_left_after_a_few_seconds() {
    let begun = Instant::now();
    let server = is_healed(|dialogue, taken| {
        dialogue.say("150 Here it comes");
        // Open and silent, until the client has had enough.
        Dialogue::read_data(taken.take(dialogue));
        dialogue.say("426 Failure writing network stream");
    });
    assert_eq!(server.connections(), 1);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn file_refused_on_a_spare_is_refused_once() {
    let server = eager_server(|dialogue, _, number| {
        if number == 2 {
            dialogue.say("550 No such file");
        }
        number == 2
    });
    let pool = Pool::connect(options(&server)).unwrap();
    assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let error = read(&pool, "/missing").unwrap_err();
    assert!(matches!(error, PoolError::Refused { verb: "RETR", .. }), "{error:?}");
    assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    assert_eq!((server.count("RETR"), server.connections()), (3, 1));
}

/// Reads six times from a server whose answers to EPSV are `epsv`'s from the second on, where it has one.
fn read_where_epsv(epsv: fn(&mut Dialogue, usize) -> Option<Answer>) -> ScriptedServer {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if command != "EPSV" {
            return Answer::Default;
        }
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        epsv(dialogue, number).filter(|_| number > 1).unwrap_or(Answer::Default)
    });
    let pool = Pool::connect(options(&server)).unwrap();
    for round in 0..6 {
        let bytes = pool.retry_exclusive(Purpose::Read, soon(), Repeat::Safe, |mut lease| {
            let mut transfer = start(&mut lease, "/file")?;
            read_all(&mut transfer)
        });
        assert_eq!(bytes.unwrap(), b"bytes", "round {round}: {:?}", server.commands());
    }
    assert!(!pool.profile().epsv.is_no(), "EPSV was given up for what it was refused with behind a transfer");
    server
}

#[test]
fn epsv_refused_behind_a_transfer_is_asked_again_before_the_next() {
    let server = read_where_epsv(|dialogue, number| {
        // The second is the one that nobody waits for.
        (number == 2).then(|| {
            dialogue.say("500 Not while a transfer runs");
            Answer::Done
        })
    });
    assert_eq!((server.count("PASV"), server.connections()), (0, 1));
}

#[test]
fn server_that_says_421_to_the_question_for_a_spare_costs_a_session_and_no_error() {
    let server = read_where_epsv(|dialogue, number| {
        (number == 2).then(|| {
            dialogue.say("421 Passive data channel timed out.");
            Answer::Close
        })
    });
    assert!(server.connections() > 1);
}

#[test]
fn second_answer_to_epsv_is_never_taken_for_another_commands() {
    read_where_epsv(|dialogue, number| {
        (number == 2).then(|| {
            let port = dialogue.listen();
            dialogue.say(&format!("229 Passive (|||{port}|)\r\n229 Passive (|||{port}|)"));
            Answer::Done
        })
    });
}

#[test]
fn silence_on_the_question_for_a_spare_ends_with_the_session() {
    let server = ScriptedServer::serving(ORDERLY, {
        let count = AtomicUsize::new(0);
        move |_, command| {
            let is_second = command == "EPSV" && count.fetch_add(1, Ordering::Relaxed) == 1;
            if is_second { Answer::Done } else { Answer::Default }
        }
    });
    let mut options = options(&server);
    options.deadlines.reply = Duration::from_millis(400);
    let pool = Pool::connect(options).unwrap();
    assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    let begun = Instant::now();
    let bytes = pool.retry_exclusive(Purpose::Read, soon(), Repeat::Safe, |mut lease| {
        let mut transfer = start(&mut lease, "/file")?;
        read_all(&mut transfer)
    });
    assert_eq!(bytes.unwrap(), b"bytes");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn completion_said_twice_costs_neither_the_session_nor_pipelining() {
    let server = eager_server(|dialogue, taken, _| {
        taken.send(dialogue, b"bytes");
        dialogue.say("226 Done indeed");
        true
    });
    let pool = Pool::connect(options(&server)).unwrap();
    for _ in 0..5 {
        assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
        wait_until_prepared(&pool);
    }
    assert_eq!(server.connections(), 1);
    assert!(!pool.profile().pipelining.is_no());
}

/// How often EPSV was asked for three reads.
fn epsv_count(banner: &'static str, change: impl Fn(&mut ServerOptions)) -> usize {
    let server = ScriptedServer::serving(banner, |_, _| Answer::Default);
    let mut options = options(&server);
    change(&mut options);
    let pool = Pool::connect(options).unwrap();
    for _ in 0..3 {
        assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    }
    // What was sent behind the last transfer has come with this.
    let lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    lease.control().exchange(Command::Noop, soon()).unwrap();
    server.count("EPSV")
}

#[test]
fn nothing_is_opened_ahead_on_unknown_servers_and_without_pipelining() {
    assert_eq!(epsv_count(ORDERLY, |_| {}), 4);
    assert_eq!(epsv_count(ORDERLY, |options| options.pipelining = false), 3);
    assert_eq!(epsv_count("220 Welcome", |_| {}), 3);
}

#[test]
fn session_whose_greeting_is_another_programs_gets_the_careful_way() {
    let server = ScriptedServer::start(|dialogue| {
        dialogue.say(if dialogue.index == 0 { ORDERLY } else { "220 Somebody else" });
        dialogue.serve(|_, _| Answer::Default);
    });
    let pool = Pool::connect(ServerOptions { connections_max: 8, ..options(&server) }).unwrap();
    let first = pool.exclusive(Purpose::Read, soon()).unwrap();
    let mut second = pool.exclusive(Purpose::Read, soon()).unwrap();
    for _ in 0..3 {
        read_all(&mut start(&mut second, "/file").unwrap()).unwrap();
    }
    second.control().exchange(Command::Noop, soon()).unwrap();
    // One more is the first login's.
    assert_eq!(server.count("EPSV"), 1 + 3, "{:?}", server.commands());
    drop(first);
}

/// Makes a test of each function for each server that has spares.
macro_rules! on_each_server {
    ($($name:ident)*) => {
        mod vsftpd { $(#[test] fn $name() { super::$name(super::ServerKind::Vsftpd) })* }
        mod proftpd { $(#[test] fn $name() { super::$name(super::ServerKind::Proftpd) })* }
        mod pure_ftpd { $(#[test] fn $name() { super::$name(super::ServerKind::PureFtpd) })* }
        mod pyftpdlib { $(#[test] fn $name() { super::$name(super::ServerKind::Pyftpdlib) })* }
    };
}

on_each_server! {
    questions_do_not_hurt_a_standing_spare
    reads_listings_and_uploads_follow_each_other_on_spares
}

/// Stops the second read on a server like Pure-FTPd that says `early` while the data moves and `late` when that was reset; returns how many
/// connections there were in all, and how long the stop took.
fn stop_one_on_pure_ftpd(early: &'static str, late: &'static str) -> (usize, Duration) {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::serving("220 Welcome to Pure-FTPd, scripted", move |dialogue, command| {
        if command != "RETR /file" || count.fetch_add(1, Ordering::Relaxed) != 1 {
            return Answer::Default;
        }
        let mut data = dialogue.accept();
        assert_eq!(dialogue.next_command().as_deref(), Some("EPSV"));
        dialogue.say("150 Here it comes");
        [early].iter().filter(|reply| !reply.is_empty()).for_each(|reply| dialogue.say(reply));
        data.write_all(b"by").unwrap();
        Dialogue::read_data(data);
        [late].iter().filter(|reply| !reply.is_empty()).for_each(|reply| dialogue.say(reply));
        Answer::Done
    });
    let pool = Pool::connect(options(&server)).unwrap();
    assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    wait_until_prepared(&pool);
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let mut transfer = start(&mut lease, "/file").unwrap();
    assert_eq!(transfer.read(&mut [0; 10]).unwrap(), 2);
    let begun = Instant::now();
    // A session that cannot be brought back in step is closed.
    let _ = transfer.stop();
    let took = begun.elapsed();
    drop(lease);
    assert_eq!(read(&pool, "/file").unwrap(), b"bytes");
    assert!(!pool.profile().epsv.is_no() && !pool.profile().pipelining.is_no());
    (server.connections(), took)
}

#[test]
fn question_for_a_port_that_is_refused_in_the_packet_of_what_is_stopped_costs_no_session() {
    for (early, late) in [
        ("", "425 All reserved TCP ports are busy"),
        ("", "226 Done\r\n425 All reserved TCP ports are busy"),
        ("", "426 You went\r\n425 All reserved TCP ports are busy"),
        ("", "500 Unknown command"),
        // It came in a packet of its own, while the transfer ran.
        ("500 Unknown command", "426 You went"),
    ] {
        let (connections, took) = stop_one_on_pure_ftpd(early, late);
        assert_eq!(connections, 1, "{early}, {late}");
        assert!(took < Duration::from_secs(2), "{early}, {late}: {took:?}");
    }
}

/// Then nobody knows of which of the two the refusal was, and it costs the session; but nobody waits for that as long as an operation may take.
#[test]
fn stop_that_is_answered_by_one_refusal_for_two_questions_ends_in_time() {
    let (connections, took) = stop_one_on_pure_ftpd("500 Unknown command", "");
    assert_eq!(connections, 2);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

fn connect(server: &Server) -> Arc<Pool> {
    log();
    Pool::connect(server.options()).unwrap()
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

fn questions_do_not_hurt_a_standing_spare(kind: ServerKind) {
    with_each_encryption(kind, |server| {
        let pool = connect(server);
        assert_eq!(read(&pool, "/small").unwrap(), b"small");
        wait_until_prepared(&pool);
        let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
        let questions = [
            Command::Size(path("/small")),
            Command::Mdtm(path("/small")),
            Command::Mlst(path("/small")),
            Command::Cwd(path("/folder")),
            Command::Cwd(path("/")),
            Command::Noop,
            Command::Mkd(path("/made")),
            Command::Size(path("/missing")),
        ];
        for question in questions {
            lease.control().exchange(question, soon()).unwrap();
        }
        let mut transfer = start(&mut lease, "/small").unwrap();
        assert_eq!(read_all(&mut transfer).unwrap(), b"small");
        let traffic = pool.connections().traffic;
        assert_eq!((traffic.transfers, traffic.on_spares), (2, 2), "{traffic:?}");
    });
}

fn reads_listings_and_uploads_follow_each_other_on_spares(kind: ServerKind) {
    with_each_encryption(kind, |server| {
        let pool = connect(server);
        for round in 0..6 {
            assert_eq!(read(&pool, "/small").unwrap(), b"small", "round {round}");
            wait_until_prepared(&pool);
            let mut lease = pool.exclusive(Purpose::Listing, soon()).unwrap();
            let list = Command::List { options: None, path: None };
            let cwd = [Command::Cwd(path("/folder"))];
            let mut transfer = lease.start(&cwd, list, Direction::Receive, soon()).unwrap();
            let listing = String::from_utf8(read_all(&mut transfer).unwrap()).unwrap();
            assert!(listing.contains("inside") && !listing.contains("small"), "round {round}: {listing}");
            drop(transfer);
            // Before the spare stands.
            let mut transfer = start(&mut lease, "/large").unwrap();
            assert!(transfer.read(&mut [0; 100]).unwrap() > 0);
            transfer.stop().unwrap_or_else(|error| panic!("round {round}: {error}"));
            drop(lease);
            let stored = format!("stored{round}");
            let mut lease = pool.exclusive(Purpose::Write, soon()).unwrap();
            let stor = Command::Stor(path(&format!("/{stored}")));
            let mut transfer = lease.start(&[], stor, Direction::Send, soon()).unwrap();
            transfer.write_all(b"upload").unwrap();
            transfer.finish_writing().unwrap();
            assert_eq!(fs::read(server.folder().join(stored)).unwrap(), b"upload", "round {round}");
        }
        let traffic = pool.connections().traffic;
        assert_eq!(traffic.transfers, 24, "{traffic:?}");
        assert!(traffic.on_spares >= 12, "{traffic:?}");
    });
}

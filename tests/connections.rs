//! Connections and the pool against servers that do it wrong: out of step, cut, silent, full, gone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::connection::{ConnectionError, Deadlines};
use ftpfs::pool::{ActiveTransfer, Direction, Lease, Pool, PoolError, Purpose, Repeat, ServerOptions};
use ftpfs::protocol::{Command, RemotePath, Reply};
use scripted_server::{Answer, Dialogue, ORDERLY, ScriptedServer};

#[path = "support/scripted_server.rs"]
mod scripted_server;

/// Deadlines as short as they can be without a busy machine passing them.
const SHORT: Duration = Duration::from_millis(400);

fn options(server: &ScriptedServer) -> ServerOptions {
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    options
}

fn impatient(server: &ScriptedServer) -> ServerOptions {
    ServerOptions { deadlines: Deadlines { connect: SHORT, reply: SHORT, data: SHORT }, ..options(server) }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn file() -> RemotePath {
    RemotePath::parse(b"/file").unwrap()
}

fn ask(pool: &Pool, command: &Command, repeat: Repeat) -> Result<Reply, PoolError> {
    pool.retry(soon(), repeat, |shared| Ok(shared.control().exchange(command.clone(), soon())?))
}

fn start_read(lease: &mut Lease) -> Result<ActiveTransfer, PoolError> {
    lease.start(&[], Command::Retr(file()), Direction::Receive, soon())
}

fn read_all(lease: &mut Lease) -> Result<Vec<u8>, PoolError> {
    let mut transfer = start_read(lease)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 100]);
    loop {
        match transfer.read(&mut buffer)? {
            0 => return Ok(bytes),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

/// Reads the file once from a server that answers RETR as `retr` says.
fn read_from(retr: impl Fn(&mut Dialogue) + Send + Sync + 'static) -> Result<Vec<u8>, PoolError> {
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if !command.starts_with("RETR") {
            return Answer::Default;
        }
        retr(dialogue);
        Answer::Done
    });
    let pool = Pool::connect(impatient(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    read_all(&mut lease)
}

#[test]
fn replies_cut_between_all_bytes_are_joined() {
    let server = ScriptedServer::start(|dialogue| {
        dialogue.say_bytewise("220-Two\r\n220 lines (vsFTPd)");
        dialogue.serve(|dialogue, command| match command.split(' ').next() {
            Some("SIZE") => {
                dialogue.say_bytewise("213 12345");
                Answer::Done
            }
            Some("FEAT") => {
                dialogue.say_bytewise("211-Features:\r\n MDTM\r\n REST STREAM\r\n211 End");
                Answer::Done
            }
            _ => Answer::Default,
        });
    });
    let pool = Pool::connect(options(&server)).unwrap();
    assert_eq!(ask(&pool, &Command::Size(file()), Repeat::Safe).unwrap().to_string(), "213 12345");
    assert!(pool.profile().features().rest_stream());
}

#[test]
fn second_final_reply_is_never_taken_for_the_next_commands() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if command == "NOOP" {
            dialogue.say("200 OK\r\n250 OK again");
            return Answer::Done;
        }
        Answer::Default
    });
    let pool = Pool::connect(options(&server)).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&pool, &Command::Noop, Repeat::Safe).unwrap().to_string(), "200 OK");
        assert_eq!(ask(&pool, &Command::Size(file()), Repeat::Safe).unwrap().to_string(), "213 5");
    }
    assert!(server.connections() > 1);
}

#[test]
fn unasked_421_and_closed_sessions_are_not_seen_by_who_asks_what_may_be_repeated() {
    let count = AtomicUsize::new(0);
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if !command.starts_with("SIZE") {
            return Answer::Default;
        }
        match count.fetch_add(1, Ordering::Relaxed) % 5 {
            // Behind a reply, in the place of one, and none at all.
            1 => {
                dialogue.say("213 5\r\n421 Timeout.");
                Answer::Close
            }
            3 => {
                dialogue.say("421 Shutting down");
                Answer::Close
            }
            4 => Answer::Close,
            _ => Answer::Default,
        }
    });
    let pool = Pool::connect(options(&server)).unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&pool, &Command::Size(file()), Repeat::Safe).unwrap().to_string(), "213 5");
    }
    assert!(server.connections() > 5, "{}", server.connections());
}

#[test]
fn what_changes_the_server_is_not_sent_twice() {
    let server =
        ScriptedServer::serving(
            ORDERLY,
            |_, command| {
                if command.starts_with("DELE") { Answer::Close } else { Answer::Default }
            },
        );
    let pool = Pool::connect(options(&server)).unwrap();
    let error = ask(&pool, &Command::Dele(file()), Repeat::Unsafe).unwrap_err();
    assert!(error.sent(), "{error:?}");
    assert_eq!(server.count("DELE"), 1);
}

#[test]
fn silent_server_costs_the_reply_deadline_and_no_more() {
    let server =
        ScriptedServer::serving(
            ORDERLY,
            |_, command| {
                if command.starts_with("SIZE") { Answer::Done } else { Answer::Default }
            },
        );
    let pool = Pool::connect(impatient(&server)).unwrap();
    let begin = Instant::now();
    let error = ask(&pool, &Command::Size(file()), Repeat::Unsafe).unwrap_err();
    assert!(matches!(error, PoolError::Connection(ConnectionError::TimedOut { sent: true, .. })), "{error:?}");
    assert!(begin.elapsed() >= SHORT && begin.elapsed() < SHORT * 10, "{:?}", begin.elapsed());
}

#[test]
fn server_that_accepts_and_never_greets_is_told_in_time() {
    let server = ScriptedServer::start(|dialogue| while dialogue.next_command().is_some() {});
    let begin = Instant::now();
    assert!(Pool::connect(impatient(&server)).is_err());
    assert!(begin.elapsed() < SHORT * 10);
}

#[test]
fn caller_without_time_leaves_the_connection_to_the_others() {
    let (answer, may_answer) = mpsc::channel();
    let may_answer = std::sync::Mutex::new(may_answer);
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if command.starts_with("SIZE") {
            may_answer.lock().unwrap().recv().unwrap();
            dialogue.say("213 7");
            return Answer::Done;
        }
        Answer::Default
    });
    let pool = Pool::connect(options(&server)).unwrap();
    let shared = pool.shared(soon()).unwrap();
    let error =
        shared.control().exchange(Command::Size(file()), Instant::now() + Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, ConnectionError::GivenUp { sent: true, .. }), "{error:?}");
    answer.send(()).unwrap();
    // The late reply is nobody's, and the next one its own.
    assert_eq!(shared.control().exchange(Command::Pwd, soon()).unwrap().to_string(), "257 \"/\"");
    assert_eq!(server.connections(), 1);
}

#[test]
fn endless_reply_is_cut_off() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if !command.starts_with("STAT") {
            return Answer::Default;
        }
        dialogue.say("211-Never");
        let line = "x".repeat(1000) + "\r\n";
        for _ in 0..3000 {
            dialogue.say_bytes(line.as_bytes());
        }
        Answer::Close
    });
    let pool = Pool::connect(options(&server)).unwrap();
    let error = ask(&pool, &Command::Stat(None), Repeat::Unsafe).unwrap_err();
    assert!(matches!(error, PoolError::Connection(ConnectionError::OutOfStep { .. })), "{error:?}");
}

#[test]
fn fifty_questions_of_ten_threads_travel_together() {
    // No answer before all have come: who waits for one before asking the next would wait for ever.
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if !command.starts_with("SIZE") {
            return Answer::Default;
        }
        let mut commands = vec![command.to_owned()];
        while commands.len() < 50 {
            commands.push(dialogue.next_command().unwrap());
        }
        let number = |command: &String| command.trim_start_matches("SIZE /").to_owned();
        let replies: Vec<_> = commands.iter().map(|command| format!("213 {}", number(command))).collect();
        dialogue.say(&replies.join("\r\n"));
        Answer::Done
    });
    let pool = Pool::connect(options(&server)).unwrap();
    let packets_before = server.packets();
    thread::scope(|scope| {
        for thread in 0..10 {
            let pool = &pool;
            scope.spawn(move || {
                let numbers: Vec<_> = (0..5).map(|index| thread * 5 + index).collect();
                let sizes: Vec<_> = numbers
                    .iter()
                    .map(|number| Command::Size(RemotePath::parse(format!("/{number}").as_bytes()).unwrap()))
                    .collect();
                let replies = pool.shared(soon()).unwrap().control().exchange_all(&sizes, soon()).unwrap();
                for (number, reply) in numbers.iter().zip(replies) {
                    assert_eq!(reply.to_string(), format!("213 {number}"));
                }
            });
        }
    });
    assert_eq!(server.connections(), 1);
    let packets = server.packets() - packets_before;
    assert!(packets <= 10, "50 questions came in {packets} packets");
}

#[test]
fn server_that_answers_when_it_is_done_gets_one_command_at_a_time() {
    let server = ScriptedServer::serving("220 Unheard of", |dialogue, command| {
        if command.starts_with("SIZE") && dialogue.has_more() {
            let next = dialogue.next_command().unwrap();
            dialogue.say(if next == "PWD" { "257 \"/\"" } else { "200 OK" });
        }
        Answer::Default
    });
    let pool = Pool::connect(options(&server)).unwrap();
    assert!(pool.profile().pipelining.is_no());
    let replies = pool.shared(soon()).unwrap().control().exchange_all(&[Command::Size(file()), Command::Noop], soon());
    let codes: Vec<_> = replies.unwrap().iter().map(|reply| reply.code().number()).collect();
    assert_eq!(codes, [213, 200]);
}

#[test]
fn transfer_is_complete_in_whatever_order_its_ends_come() {
    let bytes = b"bytes".to_vec();
    let in_order = read_from(|dialogue| {
        dialogue.say("150 Go");
        dialogue.send_data(b"bytes");
        dialogue.say("226 Done");
    });
    assert_eq!(in_order.unwrap(), bytes);
    let completion_first = read_from(|dialogue| {
        let stream = dialogue.accept();
        dialogue.say("125 Go\r\n226 Done");
        std::io::Write::write_all(&mut &stream, b"bytes").unwrap();
    });
    assert_eq!(completion_first.unwrap(), bytes);
    let no_preliminary = read_from(|dialogue| {
        dialogue.send_data(b"bytes");
        dialogue.say("226 Done");
    });
    assert_eq!(no_preliminary.unwrap(), bytes);
    let several_preliminary = read_from(|dialogue| {
        dialogue.say("150 Go");
        dialogue.send_data(b"bytes");
        dialogue.say("150 0.1 seconds\r\n226-Done\r\n226 Really");
    });
    assert_eq!(several_preliminary.unwrap(), bytes);
}

#[test]
fn transfer_without_one_of_its_ends_is_an_error() {
    let aborted = read_from(|dialogue| {
        dialogue.say("150 Go");
        dialogue.send_data(b"byt");
        dialogue.say("426 Broken off");
    });
    assert!(matches!(aborted, Err(PoolError::Aborted { .. })), "{aborted:?}");
    let no_completion = read_from(|dialogue| {
        dialogue.say("150 Go");
        dialogue.send_data(b"bytes");
    });
    assert!(matches!(no_completion, Err(PoolError::Connection(ConnectionError::TimedOut { .. }))), "{no_completion:?}");
    let no_end_of_data = read_from(|dialogue| {
        let mut stream = dialogue.accept();
        dialogue.say("150 Go");
        std::io::Write::write_all(&mut stream, b"byt").unwrap();
        // Until the client has had enough.
        assert_eq!(Dialogue::read_data(stream), b"");
    });
    assert!(matches!(no_end_of_data, Err(PoolError::Broken { .. })), "{no_end_of_data:?}");
    let no_control = read_from(|dialogue| {
        dialogue.say("150 Go");
        dialogue.send_data(b"bytes");
        dialogue.say("421 Timeout");
    });
    assert!(matches!(no_control, Err(PoolError::Connection(ConnectionError::Closed { .. }))), "{no_control:?}");
}

#[test]
fn read_that_is_stopped_after_the_time_of_a_reply_keeps_its_session() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if !command.starts_with("RETR") {
            return Answer::Default;
        }
        let mut stream = dialogue.accept();
        dialogue.say("150 Go");
        std::io::Write::write_all(&mut stream, b"byt").unwrap();
        let _ = Dialogue::read_data(stream);
        dialogue.say("426 Broken off");
        Answer::Done
    });
    let mut options = impatient(&server);
    options.deadlines.reply = Duration::from_millis(200);
    let pool = Pool::connect(options).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let mut transfer = start_read(&mut lease).unwrap();
    assert_eq!(transfer.read(&mut [0; 8]).unwrap(), 3);
    // While data may come the server owes no reply.
    std::thread::sleep(Duration::from_millis(400));
    transfer.stop().unwrap();
    assert!(lease.control().is_open());
}

#[test]
fn server_that_answers_at_once_under_the_greeting_of_one_that_does_not_is_found_out_when_a_read_is_stopped() {
    let server = ScriptedServer::serving("220 Welcome to Pure-FTPd", |dialogue, command| {
        if !command.starts_with("RETR") {
            return Answer::Default;
        }
        let mut stream = dialogue.accept();
        dialogue.say("150 Go");
        if dialogue.has_more() {
            let behind = dialogue.next_command().unwrap();
            dialogue.answer(&behind);
        }
        std::io::Write::write_all(&mut stream, b"byt").unwrap();
        let _ = Dialogue::read_data(stream);
        Answer::Done
    });
    let pool = Pool::connect(impatient(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let mut transfer = start_read(&mut lease).unwrap();
    assert_eq!(transfer.read(&mut [0; 8]).unwrap(), 3);
    let _ = transfer.stop();
    assert!(!lease.control().is_open(), "{:?}", server.commands());
    assert!(server.commands().join(" ").ends_with("RETR /file EPSV"), "{:?}", server.commands());
}

#[test]
fn offset_of_a_transfer_that_failed_is_taken_back_whoever_has_read_its_last_word() {
    let server = ScriptedServer::serving("220 Some server", |dialogue, command| {
        if command.starts_with("REST") {
            dialogue.say("350 From there");
            return Answer::Done;
        }
        if !command.starts_with("RETR") {
            return Answer::Default;
        }
        let mut stream = dialogue.accept();
        dialogue.say("150 Go\r\n451 No more");
        std::io::Write::write_all(&mut stream, b"byt").unwrap();
        Answer::Done
    });
    let pool = Pool::connect(impatient(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    for prelude in [vec![Command::Rest(3)], vec![]] {
        let started = lease.start(&prelude, Command::Retr(file()), Direction::Receive, soon());
        if let Ok(mut transfer) = started {
            let _ = transfer.read(&mut [0; 8]);
        }
    }
    let asked: Vec<_> = server.commands().into_iter().filter(|command| command.starts_with("REST")).collect();
    assert_eq!(asked, ["REST 3", "REST 0"]);
}

#[test]
fn refused_restart_hands_out_no_bytes() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if command.starts_with("REST") {
            dialogue.say("502 Not here");
            return Answer::Done;
        }
        Answer::Default
    });
    let pool = Pool::connect(impatient(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let error = lease.start(&[Command::Rest(3)], Command::Retr(file()), Direction::Receive, soon()).unwrap_err();
    assert!(matches!(error, PoolError::Refused { verb: "REST", .. }), "{error:?}");
}

#[test]
fn server_without_epsv_is_not_asked_for_it_again_and_its_odd_address_not_believed() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if command == "EPSV" {
            dialogue.say("502 Not here");
            return Answer::Done;
        }
        Answer::Default
    });
    let pool = Pool::connect(options(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    for _ in 0..3 {
        assert_eq!(read_all(&mut lease).unwrap(), b"bytes");
    }
    // The last of the fourfold PASV is for a transfer that does not come any more.
    // What is refused behind a password is no verdict.
    assert_eq!(server.count("EPSV"), 2);
    assert!((3..=4).contains(&server.count("PASV")), "{:?}", server.commands());
}

#[test]
fn epsv_port_that_nobody_listens_at_leads_to_pasv() {
    let server = ScriptedServer::serving(ORDERLY, |dialogue, command| {
        if command == "EPSV" {
            // Bound, so that no other test gets it, and closed before the reply.
            let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            dialogue.say(&format!("229 Passive (|||{closed}|)"));
            return Answer::Done;
        }
        Answer::Default
    });
    let pool = Pool::connect(options(&server)).unwrap();
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    assert_eq!(read_all(&mut lease).unwrap(), b"bytes");
    assert_eq!(read_all(&mut lease).unwrap(), b"bytes");
    assert_eq!(server.count("EPSV"), 1);
}

#[test]
fn wrong_password_is_never_sent_twice() {
    let refusing = Arc::new(AtomicBool::new(false));
    let for_server = Arc::clone(&refusing);
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if for_server.load(Ordering::Acquire) {
            if command.starts_with("PASS") {
                dialogue.say("530 Login incorrect.");
                return Answer::Done;
            }
            if command == "NOOP" {
                return Answer::Close;
            }
        }
        Answer::Default
    });
    let pool = Pool::connect(options(&server)).unwrap();
    refusing.store(true, Ordering::Release);
    assert!(matches!(Pool::connect(options(&server)), Err(PoolError::LoginRefused { .. })));
    assert_eq!(server.count("PASS"), 2);
    // The session is lost, and the password has been changed: many ask, one login is tried.
    assert!(ask(&pool, &Command::Noop, Repeat::Safe).is_err());
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let error = ask(&pool, &Command::Pwd, Repeat::Safe).unwrap_err();
                assert!(matches!(error, PoolError::LoginRefused { .. }), "{error:?}");
            });
        }
    });
    assert_eq!(server.count("PASS"), 3);
}

#[test]
fn login_refused_for_a_while_works_again_without_a_new_mount() {
    let refusing = Arc::new(AtomicBool::new(false));
    let for_server = Arc::clone(&refusing);
    let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if for_server.load(Ordering::Acquire) && command.starts_with("PASS") {
            dialogue.say("530 Login incorrect.");
            return Answer::Done;
        }
        if command == "NOOP" { Answer::Close } else { Answer::Default }
    });
    let mut options = options(&server);
    options.refusal_min = Duration::from_millis(50);
    let pool = Pool::connect(options).unwrap();
    refusing.store(true, Ordering::Release);
    assert!(ask(&pool, &Command::Noop, Repeat::Safe).is_err());
    assert!(matches!(ask(&pool, &Command::Pwd, Repeat::Safe), Err(PoolError::LoginRefused { .. })));
    refusing.store(false, Ordering::Release);
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(&pool, &Command::Pwd, Repeat::Safe).is_err() {
        assert!(Instant::now() < deadline, "the login is not tried again");
        thread::yield_now();
    }
}

#[test]
fn refused_password_that_has_just_worked_is_a_limit() {
    let server = ScriptedServer::start(|dialogue| {
        dialogue.say(ORDERLY);
        let is_first = dialogue.index == 0;
        dialogue.serve(|dialogue, command| {
            if command.starts_with("PASS") && !is_first {
                dialogue.say("530 Nein.");
                return Answer::Close;
            }
            Answer::Default
        });
    });
    let pool = Pool::connect(options(&server)).unwrap();
    drop(pool.shared(soon()).unwrap());
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    assert_eq!(read_all(&mut lease).unwrap(), b"bytes");
    assert_eq!(pool.ceiling(), 1);
}

#[test]
fn unreachable_server_is_not_hammered_and_callers_keep_their_deadline() {
    let down = Arc::new(AtomicBool::new(false));
    let for_server = Arc::clone(&down);
    let server = ScriptedServer::start(move |dialogue| {
        if !for_server.load(Ordering::Acquire) {
            dialogue.say(ORDERLY);
            let down = Arc::clone(&for_server);
            dialogue.serve(move |_, _| if down.load(Ordering::Acquire) { Answer::Close } else { Answer::Default });
        }
    });
    let pool = Pool::connect(options(&server)).unwrap();
    down.store(true, Ordering::Release);
    let before = server.connections();
    let patience = Duration::from_millis(1500);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let begin = Instant::now();
                let deadline = begin + patience;
                let result = pool.retry(deadline, Repeat::Safe, |shared| {
                    Ok(shared.control().exchange(Command::Size(file()), deadline)?)
                });
                let error = result.unwrap_err();
                assert!(matches!(error, PoolError::Unreachable { .. }), "{error:?}");
                assert!(begin.elapsed() < patience * 3, "{:?}", begin.elapsed());
            });
        }
    });
    // At 0, 0.2, 0.6 and 1.4 s, and one for a busy machine.
    assert!(server.connections() - before <= 5, "{} attempts", server.connections() - before);
    down.store(false, Ordering::Release);
    assert_eq!(ask(&pool, &Command::Size(file()), Repeat::Safe).unwrap().to_string(), "213 5");
}

#[test]
fn one_connection_carries_everything_without_deadlock() {
    let server = ScriptedServer::serving(ORDERLY, |_, _| Answer::Default);
    let pool = Pool::connect(ServerOptions { connections_max: 1, ..options(&server) }).unwrap();
    let begin = Barrier::new(12);
    thread::scope(|scope| {
        for thread in 0..12 {
            let (pool, begin) = (&pool, &begin);
            scope.spawn(move || {
                begin.wait();
                for _ in 0..10 {
                    if thread % 2 == 0 {
                        ask(pool, &Command::Size(file()), Repeat::Safe).unwrap();
                    } else {
                        let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
                        assert_eq!(read_all(&mut lease).unwrap(), b"bytes");
                    }
                }
            });
        }
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn write_is_not_asked_to_give_way_and_the_question_goes_next() {
    let server = ScriptedServer::serving(ORDERLY, |_, _| Answer::Default);
    let pool = Pool::connect(ServerOptions { connections_max: 1, ..options(&server) }).unwrap();
    let write = pool.exclusive(Purpose::Write, soon()).unwrap();
    assert!(pool.shared(Instant::now() + SHORT).is_err());
    assert!(!write.is_wanted());
    thread::scope(|scope| {
        let asker = scope.spawn(|| ask(&pool, &Command::Pwd, Repeat::Safe).unwrap());
        drop(write);
        assert_eq!(asker.join().unwrap().code().number(), 257);
    });
}

#[test]
fn parked_read_is_woken_when_a_question_waits() {
    let server = ScriptedServer::serving(ORDERLY, |_, _| Answer::Default);
    let pool = Pool::connect(ServerOptions { connections_max: 1, ..options(&server) }).unwrap();
    let read = pool.exclusive(Purpose::Read, soon()).unwrap();
    let (wake, woken) = mpsc::channel();
    read.on_wanted(Box::new(move || {
        let _ = wake.send(());
    }));
    assert!(!read.is_wanted());
    thread::scope(|scope| {
        let asker = scope.spawn(|| ask(&pool, &Command::Pwd, Repeat::Safe).unwrap());
        woken.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(read.is_wanted());
        drop(read);
        assert_eq!(asker.join().unwrap().code().number(), 257);
    });
}

#[test]
fn idle_session_is_closed_by_us_in_time_and_replaced_when_wanted() {
    let server = ScriptedServer::serving(ORDERLY, |_, _| Answer::Default);
    let idle_close = Duration::from_millis(50);
    let pool = Pool::connect(ServerOptions { idle_close, ..options(&server) }).unwrap();
    let deadline = soon();
    while server.count("QUIT") == 0 {
        assert!(Instant::now() < deadline, "the idle session was not closed");
        thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(ask(&pool, &Command::Pwd, Repeat::Unsafe).unwrap().code().number(), 257);
}

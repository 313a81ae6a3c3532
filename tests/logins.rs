//! Logins in few packets: what goes ahead of what, and what is learned where that does not work.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ftpfs::pool::{Direction, Pool, PoolError, Purpose, Repeat, ServerOptions, Verdict};
use ftpfs::protocol::{Command, RemotePath, Secret};
use scripted_server::{Answer, Dialogue, ORDERLY, ScriptedServer};

#[path = "support/scripted_server.rs"]
mod scripted_server;

const PYFTPDLIB: &str = "220 pyftpdlib, scripted, ready.";

fn options(server: &ScriptedServer) -> ServerOptions {
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    options.user = b"anna".as_slice().into();
    options.password = Secret::new(*b"secret");
    options
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Reads the file once.
fn read(pool: &Pool) -> Vec<u8> {
    let mut lease = pool.exclusive(Purpose::Read, soon()).unwrap();
    let retr = Command::Retr(RemotePath::parse(b"/file").unwrap());
    let mut transfer = lease.start(&[], retr, Direction::Receive, soon()).unwrap();
    let mut bytes = [0; 100];
    let len = transfer.read(&mut bytes).unwrap();
    bytes[..len].to_vec()
}

/// Loses all sessions, so that the next question needs a login.
fn lose_sessions(pool: &Pool) {
    let lost = pool.shared(soon()).unwrap();
    lost.control().close();
    drop(lost);
    assert_eq!(pool.connections().idle, 0);
}

fn position(server: &ScriptedServer, command: &str) -> usize {
    let commands = server.commands();
    commands.iter().position(|other| other.starts_with(command)).unwrap_or_else(|| panic!("{command}: {commands:?}"))
}

#[test]
fn name_goes_before_the_greeting_and_the_password_only_when_it_was_asked_for() {
    let server = ScriptedServer::start(|dialogue| {
        assert_eq!(dialogue.next_command().unwrap(), "USER anna");
        assert!(!dialogue.has_more(), "nothing but the name is said to who has not greeted");
        dialogue.say(ORDERLY);
        dialogue.say("331 Password?");
        assert_eq!(dialogue.next_command().unwrap(), "PASS secret");
        assert!(dialogue.has_more(), "all that every session needs is in the same packet");
        dialogue.say("230 Welcome");
        dialogue.serve(|_, _| Answer::Default);
    });
    let pool = Pool::connect(options(&server)).unwrap();
    assert_eq!(read(&pool), b"bytes");
    assert_eq!(server.connections(), 1);
    assert!(position(&server, "EPSV") < position(&server, "FEAT") + 2, "{:?}", server.commands());
    assert_eq!(pool.connections().traffic.on_spares, 1, "the first transfer has its data connection from the login");
    assert_eq!(pool.profile().epsv.get(), Verdict::Yes);
}

#[test]
fn password_goes_alone_to_programs_that_are_not_known() {
    let server = ScriptedServer::start(|dialogue| {
        dialogue.say("220 Welcome");
        dialogue.serve(|dialogue, command| {
            assert!(!command.starts_with("PASS") || !dialogue.has_more());
            Answer::Default
        });
    });
    let pool = Pool::connect(options(&server)).unwrap();
    assert_eq!(read(&pool), b"bytes");
    assert_eq!(server.connections(), 1);
}

#[test]
fn password_is_not_sent_where_the_name_is_refused() {
    for refusal in ["530 Not you", "421 Not now", "550 Use encryption"] {
        let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
            if command.starts_with("USER") {
                dialogue.say(refusal);
                return Answer::Done;
            }
            Answer::Default
        });
        let mut options = options(&server);
        options.deadlines.connect = Duration::from_millis(300);
        assert!(Pool::connect(options).is_err(), "{refusal}");
        assert_eq!(server.count("PASS"), 0, "{refusal}");
    }
}

/// A server that does `wrong` with what comes before its greeting, and is as it should be where nothing does.
fn logs_in_carefully(wrong: impl Fn(&mut Dialogue) + Send + Sync + 'static) {
    let server = ScriptedServer::start(move |dialogue| {
        if dialogue.index == 0 {
            assert_eq!(dialogue.next_command().unwrap(), "USER anna");
            return wrong(dialogue);
        }
        std::thread::sleep(Duration::from_millis(20));
        dialogue.say(ORDERLY);
        dialogue.serve(|dialogue, command| {
            assert!(!command.starts_with("PASS") || !dialogue.has_more());
            Answer::Default
        });
    });
    let mut options = options(&server);
    options.deadlines.reply = Duration::from_secs(2);
    let pool = Pool::connect(options).unwrap();
    assert_eq!(server.connections(), 2);
    assert_eq!(pool.profile().logs_in_at_once.get(), Verdict::No);
    assert_eq!(read(&pool), b"bytes");
    lose_sessions(&pool);
    assert_eq!(read(&pool), b"bytes");
    // Each later login is careful from the beginning, as its script asserts.
    assert!(server.connections() >= 3);
    assert_eq!(pool.profile().logs_in_at_once.get(), Verdict::No);
}

#[test]
fn server_that_closes_where_it_has_not_greeted_is_logged_in_to_step_by_step() {
    logs_in_carefully(|_| {});
}

#[test]
fn server_that_throws_away_what_comes_before_its_greeting_is_logged_in_to_step_by_step() {
    logs_in_carefully(|dialogue| {
        dialogue.say(ORDERLY);
        assert_eq!(dialogue.next_command(), None);
    });
}

#[test]
fn server_that_never_greets_who_has_spoken_is_logged_in_to_step_by_step() {
    logs_in_carefully(|dialogue| assert_eq!(dialogue.next_command(), None));
}

#[test]
fn server_that_refuses_what_comes_before_its_greeting_is_logged_in_to_step_by_step() {
    logs_in_carefully(|dialogue| {
        dialogue.say("503 Wait for the greeting");
        dialogue.say(ORDERLY);
        assert_eq!(dialogue.next_command(), None);
    });
    logs_in_carefully(|dialogue| {
        dialogue.say(ORDERLY);
        dialogue.say("503 Wait for the greeting");
        assert_eq!(dialogue.next_command(), None);
    });
}

#[test]
fn slow_answer_to_a_name_is_waited_for_where_names_went_ahead_before() {
    let server = ScriptedServer::start(|dialogue| {
        assert_eq!(dialogue.next_command().unwrap(), "USER anna");
        dialogue.say(ORDERLY);
        if dialogue.index == 1 {
            std::thread::sleep(Duration::from_secs(4));
        }
        dialogue.say("331 Password?");
        dialogue.serve(|_, _| Answer::Default);
    });
    // One session, so that none is logged in besides.
    let pool = Pool::connect(ServerOptions { connections_max: 1, ..options(&server) }).unwrap();
    lose_sessions(&pool);
    assert_eq!(read(&pool), b"bytes");
    assert_eq!(
        (server.connections(), pool.profile().logs_in_at_once.get()),
        (2, Verdict::Yes),
        "{:?}",
        server.commands()
    );
}

#[test]
fn server_that_breaks_off_at_commands_behind_a_password_is_logged_in_to_step_by_step() {
    let server = ScriptedServer::start(|dialogue| {
        dialogue.say(ORDERLY);
        dialogue.serve(|dialogue, command| match command.starts_with("PASS") && dialogue.has_more() {
            true => Answer::Close,
            false => Answer::Default,
        });
    });
    let pool = Pool::connect(options(&server)).unwrap();
    assert_eq!(read(&pool), b"bytes");
    assert_eq!(server.connections(), 2);
}

/// What was refused because a login failed is no verdict on any command.
#[test]
fn refused_login_teaches_nothing_but_that() {
    // From which of the commands on it is so, counted from the password.
    for (from, refusal) in (0..4).flat_map(|from| [(from, "530 Log in first"), (from, "421 Not now")]) {
        let logins = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&logins);
        let server = ScriptedServer::start(move |dialogue| {
            dialogue.say(ORDERLY);
            // The second login fails.
            let fails = counted.fetch_add(1, Ordering::AcqRel) == 1;
            let mut behind_password = None;
            while let Some(command) = dialogue.next_command() {
                if command.starts_with("PASS") {
                    behind_password = Some(0);
                }
                match behind_password {
                    Some(place) if fails && place >= from => {
                        dialogue.say(refusal);
                        // Else who has the session would hear that for ever: there is one that the password has worked for.
                        if from > 0 && !dialogue.has_more() {
                            return;
                        }
                    }
                    _ => dialogue.answer(&command),
                }
                behind_password = behind_password.map(|place| place + 1);
            }
        });
        let mut options = options(&server);
        // The second login is the one behind the loss, and no other.
        options.connections_max = 1;
        (options.refusal_min, options.backoff_min) = (Duration::from_millis(1), Duration::from_millis(1));
        let pool = Pool::connect(options).unwrap();
        assert_eq!(read(&pool), b"bytes");
        let features = pool.profile().features();
        lose_sessions(&pool);
        let ask = || pool.retry(soon(), Repeat::Safe, |shared| Ok(shared.control().exchange(Command::Noop, soon())?));
        let deadline = soon();
        while ask().is_err() {
            assert!(Instant::now() < deadline, "{from}, {refusal}");
        }
        assert_eq!(read(&pool), b"bytes", "{from}, {refusal}");
        assert!(logins.load(Ordering::Acquire) >= 3, "{from}, {refusal}");
        assert_eq!(pool.profile().epsv.get(), Verdict::Yes, "{from}, {refusal}");
        assert_eq!(server.count("PASV"), 0, "{from}, {refusal}: {:?}", server.commands());
        assert!(!pool.profile().pipelining.is_no(), "{from}, {refusal}");
        assert!(Arc::ptr_eq(&features, &pool.profile().features()), "{from}, {refusal}");
    }
}

/// As pyftpdlib does it: the word on the password comes behind those on all that came with it.
#[test]
fn refusal_that_comes_behind_all_else_is_the_reason_that_is_told() {
    let server = ScriptedServer::start(|dialogue| {
        dialogue.say(PYFTPDLIB);
        let mut is_refused = false;
        while let Some(command) = dialogue.next_command() {
            is_refused |= command.starts_with("PASS");
            match command.split(' ').next().unwrap_or_default() {
                "USER" => dialogue.say("331 Password?"),
                "PASS" => {}
                "FEAT" => dialogue.say("211 No features"),
                _ => dialogue.say("530 Log in with USER and PASS first."),
            }
            if is_refused && !dialogue.has_more() {
                dialogue.say("530 Authentication failed.");
            }
        }
    });
    let error = Pool::connect(options(&server)).unwrap_err();
    assert!(matches!(error, PoolError::LoginRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("Authentication failed"), "{error}");
    assert_eq!((server.count("PASS"), server.connections()), (1, 1));
    assert!(position(&server, "PASS") < position(&server, "PWD"));
}

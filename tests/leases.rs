//! Who gets which session: what is brief may have the last one, as long as it is back soon.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::pool::{Lease, Pool, Purpose, Repeat, ServerOptions, Stay};
use ftpfs::protocol::{Command, RemotePath};
use ftpfs::remote::{Errand, FtpRemote, Remote as _, RemoteError};
use scripted_server::{Answer, ORDERLY, ScriptedServer};

#[path = "support/scripted_server.rs"]
mod scripted_server;

const CONNECTIONS: usize = 8;

/// Less than anybody would wait for a session, and more than being lent one takes.
const A_MOMENT: Duration = Duration::from_millis(100);

/// So long what was lent is left alone.
const A_QUANTUM: Duration = Duration::from_millis(200);

fn server() -> ScriptedServer {
    ScriptedServer::serving(ORDERLY, |_, _| Answer::Default)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn a_moment() -> Instant {
    Instant::now() + A_MOMENT
}

fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = soon();
    while !is_true() {
        assert!(Instant::now() < deadline, "in vain waited for: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn ask(pool: &Pool) {
    let asked = pool.retry(soon(), Repeat::Safe, |shared| Ok(shared.control().exchange(Command::Noop, soon())?));
    assert_eq!(asked.unwrap().code().number(), 200);
}

/// A pool that has all its sessions, one of them for questions, and knows that brief leases are. They count as such for longer than
/// any machine is busy.
fn pool(server: &ScriptedServer, connections_max: usize) -> Arc<Pool> {
    pool_that_waits(server, connections_max, Duration::from_secs(10))
}

fn pool_that_waits(server: &ScriptedServer, connections_max: usize, brief_wait: Duration) -> Arc<Pool> {
    let pool = new_pool(server, connections_max, brief_wait);
    wait_until("logins", || {
        let connections = pool.connections();
        connections.idle + usize::from(connections.shared) == connections.ceiling_max
    });
    pool
}

/// One that has begun all its logins.
fn new_pool(server: &ScriptedServer, connections_max: usize, brief_wait: Duration) -> Arc<Pool> {
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    options.connections_max = connections_max;
    options.brief_wait = brief_wait;
    let pool = Pool::connect(options).unwrap();
    ask(&pool);
    drop(pool.brief(Purpose::Write, soon()).unwrap());
    pool.prepare(CONNECTIONS);
    pool
}

/// All sessions, by one way of asking.
fn all(pool: &Pool, lend: impl Fn() -> Option<Lease>) -> Vec<Lease> {
    let leases: Vec<Lease> = (0..CONNECTIONS).map_while(|_| lend()).collect();
    assert_eq!(leases.len(), CONNECTIONS, "{:?}", pool.connections());
    assert!(!pool.connections().shared);
    leases
}

fn all_briefly(pool: &Pool) -> Vec<Lease> {
    all(pool, || pool.brief(Purpose::Write, soon()).ok())
}

#[test]
fn what_is_brief_has_all_sessions_while_nobody_asks_a_question() {
    let server = server();
    let pool = pool(&server, CONNECTIONS);
    assert!(pool.connections().shared);
    drop(all_briefly(&pool));
    ask(&pool);
    drop(all(&pool, || pool.idle(Stay::Brief, Duration::from_secs(20))));
    ask(&pool);
    assert_eq!(server.connections(), CONNECTIONS);
}

#[test]
fn what_is_brief_has_all_that_are_there_while_the_last_login_takes_its_time() {
    let is_slow = Arc::new(AtomicBool::new(true));
    let server = {
        let is_slow = Arc::clone(&is_slow);
        ScriptedServer::start(move |dialogue| {
            wait_until("the last login may go on", || {
                dialogue.index + 1 < CONNECTIONS || !is_slow.load(Ordering::Acquire)
            });
            dialogue.say(ORDERLY);
            dialogue.serve(|_, _| Answer::Default);
        })
    };
    let pool = new_pool(&server, CONNECTIONS, Duration::from_secs(10));
    wait_until("all logins but one", || {
        let connections = pool.connections();
        connections.idle + usize::from(connections.shared) == CONNECTIONS - 1 && server.connections() == CONNECTIONS
    });
    let leases: Vec<Lease> = (1..CONNECTIONS).map_while(|_| pool.idle(Stay::Brief, Duration::from_secs(1))).collect();
    assert_eq!(leases.len(), CONNECTIONS - 1);
    is_slow.store(false, Ordering::Release);
}

/// All but the last two sessions, for long.
fn six(pool: &Pool) -> Vec<Lease> {
    (2..CONNECTIONS).map(|_| pool.exclusive(Purpose::Read, soon()).unwrap()).collect()
}

/// The last two briefly; the second has the session for questions.
fn last_two(pool: &Pool) -> (Lease, Lease) {
    let first = pool.brief(Purpose::Write, soon()).unwrap();
    let second = pool.brief(Purpose::Write, soon()).unwrap();
    assert!(!pool.connections().shared, "it is the last one");
    (first, second)
}

#[test]
fn what_may_take_long_leaves_the_session_for_questions() {
    let server = server();
    let pool = pool(&server, CONNECTIONS);
    let long: Vec<Lease> = (1..CONNECTIONS).map(|_| pool.exclusive(Purpose::Write, soon()).unwrap()).collect();
    assert!(pool.exclusive(Purpose::Read, a_moment()).is_err());
    assert!(pool.idle(Stay::Long, A_MOMENT).is_none());
    assert!(pool.brief(Purpose::Write, a_moment()).is_err(), "no other would come back before it");
    ask(&pool);
    drop(long);
    let long = six(&pool);
    let (first, second) = last_two(&pool);
    thread::scope(|scope| {
        let asks = scope.spawn(|| ask(&pool));
        wait_until("the question", || pool.connections().waiting == 1);
        drop(first);
        asks.join().unwrap();
    });
    drop((long, second));
}

#[test]
fn what_turns_out_to_take_long_counts_as_brief_no_more() {
    let server = server();
    let pool = pool(&server, CONNECTIONS);
    let long = six(&pool);
    let (first, second) = last_two(&pool);
    drop(second);
    first.stays_long();
    assert_eq!(pool.connections().brief, 0);
    assert!(pool.brief(Purpose::Write, a_moment()).is_err());
    assert!(pool.idle(Stay::Brief, A_MOMENT).is_none());
    ask(&pool);
    drop((long, first));
}

/// A server with one directory whose listing begins with so many entries that it is long, and goes on for long after that.
fn server_of_a_large_directory() -> ScriptedServer {
    ScriptedServer::serving(ORDERLY, |dialogue, command| {
        match command.split(' ').next().unwrap_or_default() {
            "FEAT" => dialogue.say("211-Features\r\n MLST type*;size*;\r\n211 End"),
            "MLSD" => {
                dialogue.say("150 Here it comes");
                let mut data = dialogue.accept();
                let lines = |range: Range<u32>| range.map(|number| format!("type=file;size=1; {number}\r\n"));
                let first: String = lines(0..2000).collect();
                data.write_all(first.as_bytes()).unwrap();
                for line in lines(2000..6000) {
                    thread::sleep(Duration::from_millis(5));
                    if data.write_all(line.as_bytes()).is_err() {
                        break;
                    }
                }
                dialogue.say("426 You went");
            }
            _ => return Answer::Default,
        }
        Answer::Done
    })
}

#[test]
fn listing_ahead_that_turns_out_long_gives_way_to_who_waits() {
    let server = server_of_a_large_directory();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    // One for questions, and two to lend.
    options.connections_max = 3;
    let remote = FtpRemote::connect(options).unwrap();
    let (root, file) = (RemotePath::root(), RemotePath::parse(b"/file").unwrap());
    let guess = remote.idle_connection(Errand::List(&root), Duration::from_secs(20)).unwrap();
    thread::scope(|scope| {
        let lists = scope.spawn(|| guess.list(&root));
        let begun = Instant::now();
        let readers = [remote.open_read(&file, 0).unwrap(), remote.open_read(&file, 0).unwrap()];
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let listed = lists.join().unwrap();
        assert!(matches!(listed, Err(RemoteError::Interrupted { .. })), "{listed:?}");
        drop(readers);
    });
}

#[test]
fn session_for_questions_is_that_again_when_it_comes_back() {
    let server = server();
    let pool = pool(&server, CONNECTIONS);
    let long = six(&pool);
    let (first, second) = last_two(&pool);
    drop(second);
    assert!(pool.connections().shared);
    assert!(pool.exclusive(Purpose::Read, a_moment()).is_err());
    ask(&pool);
    drop((long, first));
}

#[test]
fn who_asks_while_brief_leases_have_all_takes_no_session_from_what_takes_long() {
    let server = server();
    let pool = pool(&server, CONNECTIONS);
    let deadline = soon();
    loop {
        let long = six(&pool);
        // So long that they could be told to give way.
        thread::sleep(A_QUANTUM);
        let begun = Instant::now();
        let brief = last_two(&pool);
        let is_told = thread::scope(|scope| {
            let asks = scope.spawn(|| ask(&pool));
            wait_until("the question", || pool.connections().waiting == 1 || asks.is_finished());
            let is_told = long.iter().any(Lease::is_wanted);
            drop(brief);
            asks.join().unwrap();
            is_told
        });
        drop(long);
        if begun.elapsed() < A_QUANTUM {
            assert!(!is_told);
            return;
        }
        // The machine is too busy: nobody knows any more whether they come back.
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn who_asks_is_served_before_who_came_first_for_the_last_session() {
    let server = server();
    let pool = pool(&server, CONNECTIONS);
    let mut leases = all_briefly(&pool);
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let done = tell.clone();
        let lent = &pool;
        scope.spawn(move || {
            let lease = lent.brief(Purpose::Write, soon()).unwrap();
            tell.send("a lease").unwrap();
            drop(lease);
        });
        wait_until("the first", || pool.connections().waiting == 1);
        scope.spawn(move || {
            let shared = lent.shared(soon()).unwrap();
            done.send("a question").unwrap();
            drop(shared);
        });
        wait_until("the second", || pool.connections().waiting == 2);
        leases.pop();
        assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), "a question");
        leases.clear();
        assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), "a lease");
    });
}

#[test]
fn who_waits_for_a_transfer_has_the_first_session_that_comes_back_from_guesses() {
    let server = server();
    let pool = pool(&server, CONNECTIONS);
    let mut leases = all(&pool, || pool.idle(Stay::Brief, Duration::from_secs(20)));
    thread::scope(|scope| {
        let waits = scope.spawn(|| pool.exclusive(Purpose::Listing, soon()).map(drop).unwrap());
        wait_until("somebody", || leases.iter().any(Lease::is_wanted));
        assert!(pool.idle(Stay::Brief, A_MOMENT).is_none(), "somebody waits");
        let place = leases.iter().position(Lease::is_wanted).unwrap();
        drop(leases.remove(place));
        wait_until("the transfer", || waits.is_finished());
        leases.clear();
    });
}

#[test]
fn brief_leases_that_take_long_leave_the_last_session() {
    let server = server();
    let pool = pool_that_waits(&server, CONNECTIONS, Duration::from_millis(50));
    let slow = pool.brief(Purpose::Write, soon()).unwrap();
    // By more than what each of them may take.
    thread::sleep(Duration::from_millis(60) * u32::try_from(CONNECTIONS).unwrap());
    let others: Vec<Lease> = (2..CONNECTIONS).map(|_| pool.brief(Purpose::Write, soon()).unwrap()).collect();
    assert!(pool.brief(Purpose::Write, a_moment()).is_err());
    assert!(pool.connections().shared);
    ask(&pool);
    drop((slow, others));
}

#[test]
fn of_two_connections_one_is_for_questions_whatever_is_brief() {
    let server = server();
    let pool = pool(&server, 2);
    let brief = pool.brief(Purpose::Write, soon()).unwrap();
    assert!(pool.brief(Purpose::Write, a_moment()).is_err());
    assert!(pool.idle(Stay::Brief, A_MOMENT).is_none());
    ask(&pool);
    drop(brief);
}

//! Ranges that the server ends by itself (RANG): that they are used once they were proved, and never believed for less.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::pool::ServerOptions;
use ftpfs::protocol::RemotePath;
use ftpfs::remote::{FtpRemote, ReadStream, Remote as _, RemoteError};
use scripted_server::{Answer, Dialogue, ScriptedServer};
use servers::{Server, ServerKind, ServerSettings, TlsSettings, TlsVersion};

#[path = "support/scripted_server.rs"]
mod scripted_server;
#[path = "support/servers.rs"]
mod servers;

const LEN: u64 = 100_000;

/// Bytes that differ from their neighbours and from those at other places.
fn content() -> Vec<u8> {
    (0..LEN / 4).flat_map(|number| (number as u32).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

fn path() -> RemotePath {
    RemotePath::parse(b"/file").unwrap()
}

/// What a server takes RANG for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rang {
    Right,
    /// It begins at byte 0, and has the right length.
    FromTheBeginning,
    OneTooEarly,
    /// The end is not counted.
    OneTooFew,
    OneTooMany,
    Ignored,
    Refused,
    /// Refused for now, and taken later.
    Busy,
    /// Proved, and then one byte short.
    ShortLater,
    /// Proved, and then one byte more.
    LongLater,
    /// Never answered.
    Silent,
    /// Agreed to, and no byte comes.
    SilentData,
    /// Agreed to, and the last byte is followed by no word.
    SilentEnd,
}

/// Hears all that comes until the client has gone.
fn say_nothing_more(dialogue: &mut Dialogue) -> Answer {
    while dialogue.next_command().is_some() {}
    Answer::Close
}

/// The range of the next RETR: from, to, whether by RANG.
type Wanted = Mutex<(usize, usize, bool)>;

fn server(rang: Rang, content: Vec<u8>, is_later: Arc<AtomicBool>) -> ScriptedServer {
    let len = content.len();
    ScriptedServer::start(move |dialogue: &mut Dialogue| {
        let wanted: Wanted = Mutex::new((0, len, false));
        dialogue.say("220 ProFTPD Server, scripted");
        dialogue.serve(|dialogue, command| {
            let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
            match verb {
                "FEAT" => dialogue.say("211-Features\r\n EPSV\r\n RANG STREAM\r\n REST STREAM\r\n SIZE\r\n211 End"),
                "SIZE" => dialogue.say(&format!("213 {len}")),
                "REST" => {
                    *wanted.lock().unwrap() = (argument.parse().unwrap(), len, false);
                    dialogue.say("350 Go on");
                }
                "RANG" if rang == Rang::Silent => return say_nothing_more(dialogue),
                "RANG" if rang == Rang::Refused => dialogue.say("501 No"),
                "RANG" if rang == Rang::Busy && !is_later.load(Ordering::Acquire) => dialogue.say("450 Not now"),
                "RANG" => {
                    let (first, last) = argument.split_once(' ').unwrap();
                    let (first, end) = (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap() + 1);
                    let later = is_later.load(Ordering::Acquire);
                    let (first, end) = match rang {
                        Rang::FromTheBeginning => (0, end - first),
                        Rang::OneTooEarly => (first - 1, end - 1),
                        Rang::OneTooFew => (first, end - 1),
                        Rang::OneTooMany => (first, end + 1),
                        Rang::Ignored => (0, len),
                        Rang::ShortLater if later => (first, end - 1),
                        Rang::LongLater if later => (first, end + 1),
                        _ => (first, end),
                    };
                    *wanted.lock().unwrap() = (first, end, true);
                    dialogue.say("350 Go on");
                }
                "RETR" => {
                    let (first, end, is_range) = std::mem::replace(&mut *wanted.lock().unwrap(), (0, len, false));
                    dialogue.say("150 Here it comes");
                    let mut data = dialogue.accept();
                    if is_range && rang == Rang::SilentData {
                        return say_nothing_more(dialogue);
                    }
                    let is_taken = data.write_all(&content[first.min(end)..end]).is_ok();
                    drop(data);
                    if is_range && rang == Rang::SilentEnd {
                        return say_nothing_more(dialogue);
                    }
                    dialogue.say(if is_taken { "226 Done" } else { "426 You went" });
                }
                _ => return Answer::Default,
            }
            Answer::Done
        });
    })
}

fn connect(server: &ScriptedServer) -> FtpRemote {
    connect_with(server, |_| {})
}

fn connect_with(server: &ScriptedServer, change: impl FnOnce(&mut ServerOptions)) -> FtpRemote {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    change(&mut options);
    FtpRemote::connect(options).unwrap()
}

/// Reads exactly a range, as the reader does, and drops the stream.
fn read(remote: &FtpRemote, range: Range<u64>) -> Result<Vec<u8>, RemoteError> {
    let stream = remote.open_range(&path(), range.clone())?;
    read_on(stream, usize::try_from(range.end - range.start).unwrap())
}

fn read_on(mut stream: Box<dyn ReadStream>, len: usize) -> Result<Vec<u8>, RemoteError> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < bytes.len() {
        match stream.read(&mut bytes[filled..])? {
            0 => break,
            len => filled += len,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn expected(content: &[u8], range: &Range<u64>) -> Vec<u8> {
    content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
}

/// Reads here and there, until the last commands show what is thought of RANG or there were enough reads.
fn read_until(remote: &FtpRemote, content: &[u8], mut is_settled: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    for round in 0.. {
        let start = 1000 + round * 977 % 90_000;
        let range = start..start + 4096;
        assert_eq!(read(remote, range.clone()).unwrap(), expected(content, &range), "{range:?}");
        if is_settled() {
            return;
        }
        assert!(Instant::now() < deadline, "RANG is neither proved nor refuted");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// How many RETR came behind RANG, and how many of these were stopped.
fn counts(server: &ScriptedServer) -> (usize, usize) {
    (server.count("RANG"), server.count("PWD"))
}

#[test]
fn range_is_used_once_it_was_proved_and_stops_nothing() {
    let content = content();
    let server = server(Rang::Right, content.clone(), Arc::default());
    // A login would say PWD as well.
    let remote = connect_with(&server, |options| options.connections_max = 1);
    // The proof's two, and the first that is believed.
    read_until(&remote, &content, || server.count("RANG") >= 3);
    let (before, stops) = counts(&server);
    for range in [5..6, 0..10, 50_000..54_096, LEN - 10..LEN, 1..LEN - 1] {
        assert_eq!(read(&remote, range.clone()).unwrap(), expected(&content, &range), "{range:?}");
    }
    assert_eq!(counts(&server), (before + 5, stops), "{:?}", server.commands());
}

#[test]
fn server_that_takes_a_range_for_another_is_found_out_and_read_without() {
    for rang in
        [Rang::FromTheBeginning, Rang::OneTooEarly, Rang::OneTooFew, Rang::OneTooMany, Rang::Ignored, Rang::Refused]
    {
        let content = content();
        let server = server(rang, content.clone(), Arc::default());
        let remote = connect(&server);
        let mut reads = 0;
        read_until(&remote, &content, || {
            reads += usize::from(server.count("RANG") > 0);
            reads > 30
        });
        assert_eq!(server.count("RANG"), 1, "{rang:?}: {:?}", server.commands());
    }
}

#[test]
fn place_that_looks_like_the_beginning_does_not_pass_for_one_that_was_asked_for() {
    let mut content = content();
    // What the proof asks for behind the first read.
    content.copy_within(0..4094, 5001);
    let server = server(Rang::FromTheBeginning, content.clone(), Arc::default());
    let remote = connect(&server);
    for start in [5000, 10_000, 20_000, 30_000] {
        assert_eq!(read(&remote, start..start + 4096).unwrap(), expected(&content, &(start..start + 4096)), "{start}");
    }
    assert_eq!(server.count("RANG"), 2, "{:?}", server.commands());
}

#[test]
fn one_proof_of_restart_and_of_ranges_serves_all_who_read_at_once() {
    let content = content();
    let server = server(Rang::Right, content.clone(), Arc::default());
    let remote = connect(&server);
    thread::scope(|scope| {
        for reader in 0..8 {
            let (remote, content) = (&remote, &content);
            scope.spawn(move || {
                for round in 0..20_u64 {
                    let start = 1 + (reader * 20 + round) * 500;
                    assert_eq!(read(remote, start..start + 400).unwrap(), expected(content, &(start..start + 400)));
                }
            });
        }
    });
    // The file's last byte.
    let last = format!("REST {}", LEN - 1);
    let proofs = server.commands().iter().filter(|command| command.contains(&last)).count();
    let sizes = server.count("SIZE");
    assert_eq!((proofs, sizes), (1, 2), "{:?}", server.commands());
}

#[test]
fn refusal_for_now_is_no_verdict_on_ranges() {
    let (content, is_later) = (content(), Arc::new(AtomicBool::new(false)));
    let server = server(Rang::Busy, content.clone(), Arc::clone(&is_later));
    let remote = connect(&server);
    read_until(&remote, &content, || server.count("RANG") >= 1);
    is_later.store(true, Ordering::Release);
    // The proof, and the first that is believed.
    read_until(&remote, &content, || server.count("RANG") >= 4);
}

#[test]
fn server_that_falls_silent_in_a_proof_has_a_session_for_three_seconds_and_no_longer() {
    for rang in [Rang::Silent, Rang::SilentData, Rang::SilentEnd] {
        let content = content();
        let server = server(rang, content.clone(), Arc::default());
        let remote = connect_with(&server, |options| {
            options.deadlines.data = Duration::from_secs(12);
            options.deadlines.reply = Duration::from_secs(12);
        });
        let (begun, range) = (Instant::now(), 1000..5096);
        // The proof is behind it, when the stream is dropped.
        assert_eq!(read(&remote, range.clone()).unwrap(), expected(&content, &range), "{rang:?}");
        let took = begun.elapsed();
        assert_eq!(server.count("RANG"), 1, "{rang:?}: {:?}", server.commands());
        assert!(took > Duration::from_secs(2) && took < Duration::from_secs(5), "{rang:?}: {took:?}");
        // Nobody knows what that session would say next.
        assert!(remote.open_read(&path(), 0).unwrap().read(&mut [0; 10]).unwrap() > 0, "{rang:?}");
    }
}

#[test]
fn ranges_are_proved_though_others_wait_for_the_connection() {
    let content = content();
    let server = server(Rang::Right, content.clone(), Arc::default());
    let remote = connect_with(&server, |options| options.connections_max = 2);
    read_until(&remote, &content, || server.count("RANG") >= 1);
    thread::scope(|scope| {
        let stream = remote.open_range(&path(), 50_000..50_100).unwrap();
        let waiting = scope.spawn(|| read(&remote, 70_000..70_100));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !stream.is_wanted() {
            assert!(Instant::now() < deadline, "nobody wants the connection");
            thread::park_timeout(Duration::from_millis(2));
        }
        assert_eq!(read_on(stream, 100).unwrap(), expected(&content, &(50_000..50_100)));
        assert_eq!(waiting.join().unwrap().unwrap(), expected(&content, &(70_000..70_100)));
    });
    // But for the first byte and the last one.
    assert_eq!(server.count("RANG 50001 50098"), 1, "{:?}", server.commands());
}

#[test]
fn one_connection_is_enough_to_prove_ranges() {
    for connections in [1, 2] {
        let content = content();
        let server = server(Rang::Right, content.clone(), Arc::default());
        let remote = connect_with(&server, |options| options.connections_max = connections);
        // The proof is two of them.
        read_until(&remote, &content, || server.count("RANG") >= 10);
        assert!(server.connections() <= connections, "{}", server.connections());
    }
}

#[test]
fn ranges_are_not_proved_where_commands_go_one_by_one() {
    let content = content();
    let server = server(Rang::Right, content.clone(), Arc::default());
    let remote = connect_with(&server, |options| options.pipelining = false);
    let mut reads = 0;
    read_until(&remote, &content, || {
        reads += 1;
        reads > 40
    });
    assert_eq!(server.count("RANG"), 0);
    // One for reads and one for questions.
    assert!(server.connections() <= 2, "{}", server.connections());
}

#[test]
fn place_that_proves_nothing_is_not_taken_for_a_proof() {
    let content = vec![7; usize::try_from(LEN).unwrap()];
    let server = server(Rang::FromTheBeginning, content.clone(), Arc::default());
    let remote = connect(&server);
    let mut reads = 0;
    read_until(&remote, &content, || {
        reads += 1;
        reads > 60
    });
    assert_eq!(server.count("RANG"), 0);
}

#[test]
fn range_of_another_length_than_was_asked_for_fails_and_is_the_last() {
    for rang in [Rang::ShortLater, Rang::LongLater] {
        let (content, is_later) = (content(), Arc::new(AtomicBool::new(false)));
        let server = server(rang, content.clone(), Arc::clone(&is_later));
        let remote = connect(&server);
        read_until(&remote, &content, || server.count("RANG") >= 3);
        is_later.store(true, Ordering::Release);
        let error = read(&remote, 3000..4000).unwrap_err();
        assert!(matches!(error, RemoteError::Interrupted { .. }), "{rang:?}: {error:?}");
        let before = server.count("RANG");
        assert_eq!(read(&remote, 3000..4000).unwrap(), expected(&content, &(3000..4000)), "{rang:?}");
        assert_eq!(server.count("RANG"), before, "{rang:?}");
    }
}

/// ProFTPD itself, in clear text and encrypted: reads at many places, refused ones among them, and whole reads and uploads behind them.
#[test]
fn proftpd_ends_ranges_by_itself() {
    for tls in [None, Some(TlsVersion::Tls12), Some(TlsVersion::Tls13)] {
        let settings = ServerSettings { tls: tls.map(TlsSettings::of), ..ServerSettings::default() };
        let Some(server) = Server::start(ServerKind::Proftpd, settings) else { return };
        let content = content();
        fs::write(server.folder().join("file"), &content).unwrap();
        server.give("file");
        let remote = FtpRemote::connect(server.options()).unwrap();
        let stops = || {
            let operations = remote.connections().unwrap().traffic.operations;
            let stop = operations.iter().find(|operation| operation.kind == ftpfs::remote::OperationKind::Stop);
            stop.map_or(0, |stop| stop.tally.commands)
        };
        // Once a read at a place in the middle stops nothing any more, RANG was proved.
        let mut before = stops();
        read_until(&remote, &content, || {
            let (last, now) = (before, stops());
            before = now;
            last == now
        });
        for round in 0..30_u64 {
            let range = round * 3001..round * 3001 + 1 + round * 137;
            assert_eq!(read(&remote, range.clone()).unwrap(), expected(&content, &range), "{tls:?} {range:?}");
            if round % 10 == 3 {
                // Refused, once by RANG and once without: the range may not be left over to what follows.
                let missing = RemotePath::parse(b"/missing").unwrap();
                assert!(matches!(remote.open_range(&missing, 5..10).err(), Some(RemoteError::NotFound)), "{tls:?}");
                let whole = ftpfs::remote::FileTransfers::read_range(&remote, &path(), 0, 200_000).unwrap();
                assert!(whole == content, "{tls:?}, round {round}: {} bytes", whole.len());
                assert_eq!(read(&remote, LEN - 5..LEN + 10).unwrap(), expected(&content, &(LEN - 5..LEN)), "{tls:?}");
                let copy = RemotePath::parse(format!("/copy{round}").as_bytes()).unwrap();
                let mode = ftpfs::remote::WriteMode::Create;
                remote.open_whole(&copy, mode, &content[..3000]).unwrap().finish().unwrap();
                assert!(fs::read(server.folder().join(format!("copy{round}"))).unwrap() == content[..3000], "{tls:?}");
            }
        }
    }
}

//! How many round trips each operation costs, on a server that is far away by a clock of its own.
//!
//! The table below has what each operation costs now and what it is to cost (docs/round_trips.md). A test fails where the cost is not
//! what the table says, in either direction: whoever makes an operation cheaper lowers the number.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use far_server::FarServer;
use far_session::{MANNERS, Manner};
use ftpfs::filesystem::{Access, Filesystem, FilesystemOptions, InodeNumber, LookupResult, OpenFlags};
use ftpfs::pool::ServerOptions;
use ftpfs::protocol::RemotePath;
use ftpfs::remote::{Errand, Extent, FtpRemote, OperationKind, ReadStream, Remote, WriteMode};

#[path = "support/far_server.rs"]
mod far_server;
#[path = "support/far_session.rs"]
mod far_session;
#[path = "support/odd_tree.rs"]
#[allow(dead_code, reason = "each test program uses its own part of this")]
mod odd_tree;

/// Something that is done on a connected server which has been used before.
/// A transfer that goes on is handed back: what it takes to stop it is nobody's wait.
type Work = fn(&FtpRemote) -> Option<Box<dyn ReadStream>>;

struct Row {
    operation: &'static str,
    work: Work,
    /// What counts it on our side; a transfer's end that nobody waits for is none of it.
    kind: OperationKind,
    /// As it is, on vsftpd, ProFTPD, Pure-FTPd, pyftpdlib.
    now: [u64; 4],
    /// As it is to be.
    target: [u64; 4],
}

const ROWS: [Row; 9] = [
    Row {
        operation: "ls of a directory never seen",
        work: |remote| {
            remote.list(&path("/never")).unwrap();
            None
        },
        kind: OperationKind::List,
        now: [1, 1, 1, 2],
        target: [1, 1, 1, 2],
    },
    Row {
        operation: "attributes of one name",
        work: |remote| {
            remote.stat(&path("/seen/file")).unwrap();
            None
        },
        kind: OperationKind::Stat,
        now: [1, 1, 1, 1],
        target: [1, 1, 1, 1],
    },
    Row {
        operation: "a read at a place never read",
        work: |remote| Some(read_some(remote, "/large", 500_000)),
        kind: OperationKind::Read,
        now: [1, 1, 1, 1],
        target: [1, 1, 1, 1],
    },
    Row {
        operation: "a small new file, written and confirmed",
        work: |remote| {
            write(remote, "/seen/new", WriteMode::Create);
            None
        },
        kind: OperationKind::Write,
        now: [1, 1, 1, 3],
        target: [1, 1, 1, 3],
    },
    Row {
        operation: "a small file that replaces another",
        work: |remote| {
            write(remote, "/seen/file", WriteMode::Replace { mode: None });
            None
        },
        kind: OperationKind::Write,
        now: [2, 2, 2, 4],
        target: [2, 2, 2, 4],
    },
    Row {
        operation: "rm",
        work: |remote| {
            remote.remove_file(&path("/seen/other")).unwrap();
            None
        },
        kind: OperationKind::Remove,
        now: [1, 1, 1, 1],
        target: [1, 1, 1, 1],
    },
    Row {
        operation: "mkdir",
        work: |remote| {
            remote.make_directory(&path("/seen/made")).unwrap();
            None
        },
        kind: OperationKind::MakeDirectory,
        now: [1, 1, 1, 1],
        target: [1, 1, 1, 1],
    },
    Row {
        operation: "rmdir",
        work: |remote| {
            remote.remove_directory(&path("/empty")).unwrap();
            None
        },
        kind: OperationKind::Remove,
        now: [1, 1, 1, 1],
        target: [1, 1, 1, 1],
    },
    Row {
        operation: "mv to a name that is free",
        work: |remote| {
            remote.rename(&path("/seen/other"), &path("/seen/moved")).unwrap();
            None
        },
        kind: OperationKind::Rename,
        now: [1, 1, 1, 1],
        target: [1, 1, 1, 1],
    },
];

/// From the start to the end of the first listing: the connection, the login, the listing.
const FIRST_LISTING: ([u64; 4], [u64; 4]) = ([5, 6, 5, 6], [5, 5, 5, 5]);

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

/// A server with some files, and nobody connected to it.
fn start(manner: Manner) -> FarServer {
    // RUST_LOG=ftpfs::dialogue=debug shows who said what.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let server = FarServer::start(manner);
    let mut tree = server.tree();
    for directory in ["/seen", "/never", "/empty"] {
        tree.put(directory, odd_tree::Node::Directory);
    }
    for file in ["/first", "/second", "/seen/file", "/seen/other", "/never/file"] {
        tree.put_file(file, b"content");
    }
    tree.put_file("/large", &vec![b'x'; 1_000_000]);
    drop(tree);
    server
}

fn options(server: &FarServer) -> ServerOptions {
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    // Real time is the machine's, however busy it is.
    options.deadlines.connect = Duration::from_secs(60);
    options.deadlines.reply = Duration::from_secs(60);
    options.deadlines.data = Duration::from_secs(60);
    options.operation_timeout = Duration::from_secs(120);
    options
}

/// A remote that has listed, read and written, and so knows the server.
fn used(server: &FarServer) -> FtpRemote {
    used_with(options(server))
}

fn used_with(options: ServerOptions) -> FtpRemote {
    let remote = FtpRemote::connect(options).unwrap();
    for _ in 0..2 {
        remote.list(&RemotePath::root()).unwrap();
        remote.list(&path("/seen")).unwrap();
        remote.stat(&path("/first")).unwrap();
        read_some(&remote, "/first", 3);
        read_some(&remote, "/large", 100_000);
        write(&remote, "/written", WriteMode::Create);
        write(&remote, "/second", WriteMode::Replace { mode: None });
        remote.remove_file(&path("/written")).unwrap();
        remote.make_directory(&path("/tried")).unwrap();
        remote.remove_directory(&path("/tried")).unwrap();
    }
    remote
}

/// Reads the first bytes there, and hands back the transfer with its rest.
fn read_some(remote: &FtpRemote, file: &str, offset: u64) -> Box<dyn ReadStream> {
    let mut stream = remote.open_read(&path(file), offset).unwrap();
    assert!(stream.read(&mut [0; 4]).unwrap() > 0);
    stream
}

fn write(remote: &FtpRemote, file: &str, mode: WriteMode) {
    let mut stream = remote.open_whole(&path(file), mode, b"new content").unwrap();
    assert_eq!(stream.finish().unwrap().size, 11);
}

/// What operations of `kind` have cost so far, by our own count.
fn counted(remote: &FtpRemote, kind: OperationKind) -> u64 {
    let operations = remote.connections().unwrap().traffic.operations;
    operations.iter().find(|operation| operation.kind == kind).map_or(0, |operation| operation.tally.round_trips)
}

#[test]
fn operations_cost_the_round_trips_that_the_table_says() {
    let mut wrong = Vec::new();
    for (column, manner) in MANNERS.into_iter().enumerate() {
        for row in &ROWS {
            let server = start(manner);
            let remote = used(&server);
            let before = counted(&remote, row.kind);
            let (_rest, passed) = server.round_trips(|| (row.work)(&remote));
            let own = counted(&remote, row.kind) - before;
            let now = row.now[column];
            if passed != now || own != now || now < row.target[column] {
                wrong.push(format!("{}, {}: {passed}, by our count {own}, table {now}", manner.name, row.operation));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn first_listing_comes_after_the_round_trips_that_the_table_says() {
    let mut wrong = Vec::new();
    for (column, manner) in MANNERS.into_iter().enumerate() {
        let server = start(manner);
        let (remote, passed) = server.round_trips(|| {
            let remote = FtpRemote::connect(options(&server)).unwrap();
            remote.list(&RemotePath::root()).unwrap();
            remote
        });
        let own = counted(&remote, OperationKind::Login) + counted(&remote, OperationKind::List);
        let now = FIRST_LISTING.0[column];
        if passed != now || own != now || now < FIRST_LISTING.1[column] {
            wrong.push(format!("{}: {passed}, by our count {own}, table {now}", manner.name));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_a_listing_has_told_costs_nothing() {
    const NEW: OpenFlags = OpenFlags { read: false, write: true, append: false, truncate: false, exclusive: true };
    for manner in MANNERS {
        let server = start(manner);
        let remote: Arc<dyn Remote> = Arc::new(used(&server));
        let filesystem = Filesystem::new(remote, RemotePath::root(), FilesystemOptions::default()).unwrap();
        let find = |parent, name: &str| match filesystem.lookup(Access::Server, parent, name.as_bytes()).unwrap() {
            LookupResult::Found(found) => Some(found.attributes.ino),
            LookupResult::Absent { .. } => None,
        };
        let seen = find(InodeNumber::ROOT, "seen").unwrap();
        find(seen, "file").unwrap();
        let ((), passed) = server.round_trips(|| {
            assert!(find(seen, "other").is_some());
            assert!(find(seen, "absent").is_none());
            filesystem.create(Access::Server, seen, b"new", 0o644, NEW).unwrap();
        });
        assert_eq!(passed, 0, "{}", manner.name);
    }
}

/// Work that a program does again and again, each time with the result of the last one: in round trips for each time, on vsftpd, ProFTPD,
/// Pure-FTPd, pyftpdlib. The next data connection is asked for in the packet of a transfer and stands one round trip after its end.
#[test]
fn one_after_another_costs_what_is_said_here() {
    const TIMES: u64 = 40;
    type Again = fn(&FtpRemote, u64);
    // Where the next connection is asked for by itself, as on pyftpdlib, it comes about now and then while something else is under way.
    let rows: [(&str, Again, [RangeInclusive<u64>; 4]); 5] = [
        ("a directory", |remote, _| drop(remote.list(&path("/never")).unwrap()), [1..=1, 2..=2, 2..=2, 3..=3]),
        (
            "a small file, read",
            |remote, _| {
                let mut stream = remote.open_read_whole(&path("/seen/file")).unwrap();
                while stream.read(&mut [0; 4096]).unwrap() > 0 {}
            },
            [2..=2, 2..=2, 2..=2, 1..=2],
        ),
        ("a small file, fetched ahead", fetch, [2..=2, 2..=2, 2..=2, 3..=3]),
        (
            "a small file, written and confirmed",
            |remote, time| write(remote, &format!("/seen/{time}"), WriteMode::Create),
            [2..=2, 2..=2, 2..=2, 3..=4],
        ),
        (
            "a file, written, and a directory",
            |remote, time| {
                write(remote, &format!("/seen/{time}"), WriteMode::Create);
                drop(remote.list(&path("/never")).unwrap());
            },
            [2..=2, 3..=4, 3..=4, 6..=7],
        ),
    ];
    let mut wrong = Vec::new();
    for (column, manner) in MANNERS.into_iter().enumerate() {
        for (work, again, expected) in rows.clone() {
            let server = start(manner);
            let remote = used(&server);
            let ((), passed) = server.round_trips(|| (0..TIMES).for_each(|time| again(&remote, time)));
            // What comes once does not count.
            let cost = (passed + TIMES / 2) / TIMES;
            if !expected[column].contains(&cost) {
                wrong.push(format!(
                    "{}, {work}: {cost} ({passed} in all), expected {:?}",
                    manner.name, expected[column]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn fetch(remote: &FtpRemote, _time: u64) {
    let connection = remote.idle_connection(Errand::Fetch, Duration::from_secs(60)).unwrap();
    assert_eq!(connection.fetch(&path("/seen/other"), 7).unwrap().bytes.len(), 7);
}

/// The same where the end of each read is known: ProFTPD ends it by itself.
#[test]
fn random_reads_of_known_length_in_a_row_cost_what_is_said_here() {
    const READS: u64 = 40;
    let mut costs = Vec::new();
    for manner in MANNERS {
        let server = start(manner);
        let content: Vec<u8> =
            (0..250_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        server.tree().put_file("/varied", &content);
        let remote = used(&server);
        let read = |offset: u64| {
            let mut stream = remote.open_range(&path("/varied"), offset..offset + 100).unwrap();
            let mut bytes = [0; 100];
            let mut filled = 0;
            while filled < bytes.len() {
                filled += stream.read(&mut bytes[filled..]).unwrap();
            }
            let offset = usize::try_from(offset).unwrap();
            assert_eq!(bytes, content[offset..offset + 100], "{}", manner.name);
        };
        read(1000);
        let ((), passed) = server.round_trips(|| (0..READS).for_each(|number| read(10_000 + number * 20_000)));
        costs.push((passed + READS / 2) / READS);
    }
    // The sessions take turns; what is left of a stop depends on how soon the server's first word on it comes.
    assert!(costs.iter().all(|cost| (1..=2).contains(cost)), "{costs:?}");
}

/// Random reads, each stopped before the next begins, as a program with one thread makes them: in round trips a read, on vsftpd, ProFTPD,
/// Pure-FTPd, pyftpdlib. What its stop costs is the next one's wait where no other session is free.
#[test]
fn random_reads_in_a_row_cost_what_is_said_here() {
    const READS: u64 = 40;
    let mut costs = Vec::new();
    for manner in MANNERS {
        let server = start(manner);
        let remote = used(&server);
        let ((), passed) = server.round_trips(|| {
            for read in 0..READS {
                drop(read_some(&remote, "/large", 10_000 + read * 20_000));
            }
        });
        // What comes once does not count.
        costs.push((passed + READS / 2) / READS);
    }
    // One where sessions take turns so that another's stop is over in time, which a busy machine decides.
    assert!(costs.iter().all(|cost| (1..=2).contains(cost)), "{costs:?}");
}

/// The same with one connection: what a stop costs is all the next one's wait.
#[test]
fn random_reads_on_one_connection_cost_what_is_said_here() {
    const READS: u64 = 40;
    let mut costs = Vec::new();
    for manner in MANNERS {
        let server = start(manner);
        let mut options = options(&server);
        options.connections_max = 1;
        let remote = used_with(options);
        let ((), passed) = server.round_trips(|| {
            (0..READS).for_each(|read| drop(read_some(&remote, "/large", 10_000 + read * 20_000)));
        });
        costs.push((passed + READS / 2) / READS);
    }
    // The read, the marker with EPSV behind it, the connection. The others have come to the end of the file before they are stopped, and need no marker,
    // but on a busy machine; on Pure-FTPd EPSV is in the packet of the read.
    assert_eq!(costs[..2], [3, 3], "{costs:?}");
    assert!((2..=3).contains(&costs[2]), "{costs:?}");
}

#[test]
fn file_fetched_ahead_is_told_of_in_the_same_round_trip() {
    for manner in MANNERS {
        let server = start(manner);
        let remote = used(&server);
        let fetch = || {
            let fetched = remote
                .idle_connection(Errand::Fetch, Duration::from_secs(60))
                .unwrap()
                .fetch(&path("/first"), 7)
                .unwrap();
            assert_eq!(fetched.bytes, b"content");
            fetched.entry.and_then(|entry| entry.size)
        };
        // The first ones log in, and have no data connection ahead.
        for _ in 0..4 {
            fetch();
            server.settle();
        }
        let before = counted(&remote, OperationKind::Read);
        let (size, passed) = server.round_trips(fetch);
        // Where the answer would come before the file has, it is not asked for there.
        assert_eq!(size, (!manner.answers_during_transfers).then_some(7), "{}", manner.name);
        assert_eq!((passed, counted(&remote, OperationKind::Read) - before), (1, 1), "{}", manner.name);
    }
}

#[test]
fn file_that_is_read_is_told_of_in_the_same_round_trip() {
    for manner in MANNERS {
        let server = start(manner);
        let remote = used(&server);
        assert!(remote.tells_with_reads(&path("/large")), "{}", manner.name);
        for extent in [Extent::From(500_000), Extent::Range(700_000..700_100), Extent::From(0)] {
            for is_due in [true, false] {
                server.settle();
                let questions = || server.seen().iter().filter(|seen| seen.command.ends_with(" /large")).count();
                let before = questions();
                let open = || {
                    let (mut stream, told) =
                        remote.open_and_ask(&path("/large"), extent.clone(), None, &|| is_due).unwrap();
                    assert!(stream.read(&mut [0; 100]).unwrap() > 0);
                    (stream, told.and_then(|told| told.entry.size))
                };
                let ((stream, size), passed) = server.round_trips(open);
                assert_eq!(size, is_due.then_some(1_000_000), "{}, {extent:?}", manner.name);
                assert_eq!(passed, 1, "{}, {extent:?}, {is_due}", manner.name);
                let asked = if !is_due {
                    0
                } else if manner.has_facts {
                    1
                } else {
                    2
                };
                assert_eq!(questions() - before, 1 + asked, "{}, {extent:?}", manner.name);
                drop(stream);
            }
        }
    }
}

/// The first read in the middle of a file proves REST: what its size is thought to be saves a round trip, and is not believed.
#[test]
fn size_that_is_known_saves_the_first_read_in_the_middle_a_round_trip() {
    let content: Vec<u8> =
        (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    for manner in MANNERS {
        let cost = |size| {
            let server = start(manner);
            server.tree().put_file("/varied", &content);
            let remote = FtpRemote::connect(options(&server)).unwrap();
            remote.list(&path("/seen")).unwrap();
            let read = |offset: usize| {
                let extent = Extent::From(offset as u64);
                let (mut stream, _) = remote.open_and_ask(&path("/varied"), extent, size, &|| false).unwrap();
                let mut bytes = [0; 100];
                let len = stream.read(&mut bytes).unwrap();
                assert_eq!(bytes[..len], content[offset..offset + len], "{}, {size:?}", manner.name);
                stream
            };
            let (stream, passed) = server.round_trips(|| read(200_000));
            drop(stream);
            let proofs = server.seen().iter().filter(|seen| seen.command.starts_with("REST 399999")).count();
            assert_eq!(proofs, 1, "{}, {size:?}", manner.name);
            drop(read(300_000));
            let seen = server.seen();
            assert_eq!(seen.iter().filter(|seen| seen.command.starts_with("REST 300000")).count(), 1);
            passed
        };
        let unknown = cost(None);
        assert_eq!(cost(Some(400_000)) + 1, unknown, "{}", manner.name);
        for wrong in [0, 1, 2, 250_000, 399_999, 400_001, 1_000_000] {
            assert!(cost(Some(wrong)) >= unknown, "{}, {wrong}", manner.name);
        }
    }
}

/// Small new files one after another, each confirmed, as `cp` of a folder makes them: in round trips a file, on vsftpd, ProFTPD, Pure-FTPd,
/// pyftpdlib. There are two sessions besides the one for questions, so that the data connection of the next file is there already.
#[test]
fn small_new_files_in_a_row_cost_what_is_said_here() {
    const FILES: u64 = 40;
    let mut costs = Vec::new();
    for manner in MANNERS {
        let server = start(manner);
        let remote = used(&server);
        // Lists as a renewal does, which logs in once more and on vsftpd needs no data connection.
        for _ in 0..2 {
            remote
                .idle_connection(Errand::List(&path("/seen")), Duration::from_secs(60))
                .unwrap()
                .list(&path("/seen"))
                .unwrap();
        }
        let ((), passed) = server.round_trips(|| {
            for file in 0..FILES {
                write(&remote, &format!("/seen/new{file}"), WriteMode::Create);
            }
        });
        costs.push(passed.div_ceil(FILES));
    }
    assert_eq!(costs, [2, 2, 2, 4]);
}

#[test]
fn small_file_gets_its_name_on_the_session_that_stored_it() {
    for manner in MANNERS {
        let server = start(manner);
        let remote = used(&server);
        write(&remote, "/seen/file", WriteMode::Replace { mode: None });
        let seen = server.seen();
        let session = |verb| seen.iter().rev().find(|seen| seen.command.starts_with(verb)).unwrap().session;
        // Where each step waits for the one before, others may use the session in between.
        assert_eq!(session("STOR") == session("RNFR"), !manner.answers_during_transfers, "{}", manner.name);
    }
}

/// How many control connections there were.
fn sessions(server: &FarServer) -> usize {
    server.seen().iter().map(|seen| seen.session + 1).max().unwrap_or(0)
}

#[test]
fn who_only_lists_has_one_connection_and_who_jumps_about_has_five_at_most() {
    for manner in MANNERS {
        let server = start(manner);
        let remote = FtpRemote::connect(options(&server)).unwrap();
        for directory in ["/", "/seen", "/never", "/empty", "/seen"] {
            remote.list(&path(directory)).unwrap();
            server.settle();
        }
        assert_eq!(sessions(&server), 1, "{}", manner.name);
        for read in 0..40 {
            drop(read_some(&remote, "/large", 10_000 + read * 20_000));
        }
        server.settle();
        assert!((1..=5).contains(&sessions(&server)), "{}: {}", manner.name, sessions(&server));
    }
}

//! What real servers list of a folder is what is in it, read by the listing parsers alone.
//!
//! Each fact asks over a plain dialogue, so that a difference is one of listings and not of connections.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ftpfs::protocol::listing::{Context, ListingParser, ParsedListing, says_truncated};
use ftpfs::protocol::{Entry, EntryKind, Precision};
use servers::{PASSWORD, Server, ServerKind, ServerSettings, USER};

#[path = "support/servers.rs"]
mod servers;

/// Names that parsers stumbled over, each of which all servers can store.
const NAMES: &[&str] = &[
    "plain.txt",
    "two  spaces",
    " lead",
    "12 Jan 2020 x",
    "08:30 notes",
    "2019",
    "arrow -> file",
    "semi;colon=x; y",
    "type=dir; z",
    "-dash",
    "café 中😀",
    "total 5",
    "...",
    "#%?[x]*",
    "quote\"s",
];

/// A control connection with nothing clever about it.
struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    fn log_in(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut dialogue = Self(BufReader::new(stream));
        dialogue.reply();
        dialogue.ask(&format!("USER {USER}"));
        let reply = dialogue.ask(&format!("PASS {PASSWORD}"));
        assert!(reply.starts_with(b"230"), "{}", reply.escape_ascii());
        dialogue
    }

    /// All lines of a reply.
    fn reply(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        loop {
            let start = reply.len();
            if self.0.read_until(b'\n', &mut reply).unwrap() == 0 {
                return reply;
            }
            let line = &reply[start..];
            if line.get(3) == Some(&b' ') && line[..3].iter().all(u8::is_ascii_digit) {
                return reply;
            }
        }
    }

    fn ask(&mut self, command: &str) -> Vec<u8> {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// Asks for a listing; returns its bytes and the completion reply.
    fn list(&mut self, command: &str) -> (Vec<u8>, Vec<u8>) {
        let reply = String::from_utf8(self.ask("EPSV")).unwrap();
        let port: u16 = reply.split('|').nth(3).unwrap_or_else(|| panic!("{reply}")).parse().unwrap();
        let mut data = TcpStream::connect(("127.0.0.1", port)).unwrap();
        data.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let reply = self.ask(command);
        assert!(reply.starts_with(b"1"), "{command}: {}", reply.escape_ascii());
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        drop(data);
        let reply = self.reply();
        assert!(reply.starts_with(b"226"), "{command}: {}", reply.escape_ascii());
        (bytes, reply)
    }
}

fn context() -> Context {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Context { now_seconds: i64::try_from(now.as_secs()).unwrap(), ahead_of_utc_seconds: 0 }
}

/// Files of all ages, sizes, modes and names; directories; symbolic links. Returns what a server has to say of them.
fn fill(server: &Server) -> BTreeMap<Vec<u8>, fs::Metadata> {
    let folder = server.folder();
    let ages = [0, 3600, 86_400 * 20, 86_400 * 150, 86_400 * 200, 86_400 * 400, 86_400 * 9000];
    for (index, name) in NAMES.iter().enumerate() {
        let path = folder.join(name);
        fs::write(&path, vec![b'x'; index * 17]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode([0o644, 0o755, 0o604][index % 3])).unwrap();
        let modified = SystemTime::now() - Duration::from_secs(ages[index % ages.len()]);
        File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_modified(modified)).unwrap();
        server.give(&path);
    }
    let big = folder.join("big.img");
    File::create(&big).unwrap().set_len(5 << 30).unwrap();
    server.give(&big);
    fs::create_dir(folder.join("sub dir")).unwrap();
    server.give(folder.join("sub dir"));
    symlink("plain.txt", folder.join("link")).unwrap();
    fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_vec(), entry.path().symlink_metadata().unwrap()))
        .collect()
}

fn parse(mut parser: ListingParser, data: &[u8]) -> ParsedListing {
    // Cut at odd places, as data connections cut.
    for piece in data.chunks(7) {
        parser.push(piece);
    }
    parser.finish()
}

/// Checks a listing against the folder it is of: no name more or less, and nothing untrue of any.
fn assert_is_of(listing: &ParsedListing, expected: &BTreeMap<Vec<u8>, fs::Metadata>, what: &str) {
    assert!(listing.is_understood(), "{what}: {listing:#?}");
    let names: Vec<_> = listing.entries.iter().map(|entry| OsStr::from_bytes(entry.name.as_bytes())).collect();
    for name in expected.keys().map(|name| OsStr::from_bytes(name)) {
        assert!(names.contains(&name), "{what}: {name:?} is missing in {names:?}");
    }
    assert_eq!(names.len(), expected.len(), "{what}: {names:?}");
    for entry in &listing.entries {
        // Some servers say what a link points to in MLSD; no more than its name is sure there.
        if entry.name.as_bytes() != b"link" {
            assert_is(entry, &expected[entry.name.as_bytes()], what);
        } else if let Some(target) = &entry.link_target {
            assert_eq!((entry.kind, &**target), (EntryKind::Symlink, &b"plain.txt"[..]), "{what}");
        }
    }
}

fn assert_is(entry: &Entry, truth: &fs::Metadata, what: &str) {
    let kind = if truth.is_dir() { EntryKind::Directory } else { EntryKind::File };
    assert_eq!(entry.kind, kind, "{what}: {entry:?}");
    if kind == EntryKind::File {
        assert_eq!(entry.size, Some(truth.len()), "{what}: {entry:?}");
    }
    if let Some(mode) = entry.mode {
        assert_eq!(mode, truth.mode() & 0o7777, "{what}: {entry:?}");
    }
    let modified = entry.modified.unwrap_or_else(|| panic!("{what}: {entry:?}"));
    let unit = match modified.precision {
        Precision::Day => 86_400,
        Precision::Minute => 60,
        Precision::Second | Precision::Nanosecond => 1,
    };
    assert_eq!(modified.seconds, truth.mtime().div_euclid(unit) * unit, "{what}: {entry:?}");
}

fn every_name_is_listed_as_it_is(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let expected = fill(&server);
    let mut dialogue = Dialogue::log_in(&server);
    // Where names that begin with a dot are hidden from LIST, `-a` shows them; the embedded server takes it for a name.
    let list = if kind == ServerKind::Embedded { "LIST" } else { "LIST -a" };
    for (command, is_mlsd) in [(list, false), ("MLSD", true)] {
        let (data, completion) = dialogue.list(command);
        let parser = if is_mlsd { ListingParser::for_mlsd(context()) } else { ListingParser::for_list(context()) };
        let listing = parse(parser, &data);
        let what = format!("{}: {command}: {}", kind.name(), String::from_utf8_lossy(&data));
        assert_is_of(&listing, &expected, &what);
        assert!(!says_truncated(&completion), "{}", completion.escape_ascii());
    }
}

fn listing_cut_by_the_server_is_told_by_its_reply(kind: ServerKind) {
    let settings = ServerSettings { listing_max: Some(10), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    fill(&server);
    let mut dialogue = Dialogue::log_in(&server);
    for command in ["LIST -a", "MLSD"] {
        let (data, completion) = dialogue.list(command);
        assert!(says_truncated(&completion), "{}{}", data.escape_ascii(), completion.escape_ascii());
    }
}

fn stat_lists_what_list_does(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let expected = fill(&server);
    // pyftpdlib takes `-a` for a name, and shows all names without it.
    let command = if kind == ServerKind::Pyftpdlib { "STAT ." } else { "STAT -a ." };
    let reply = Dialogue::log_in(&server).ask(command);
    let mut lines: Vec<_> = reply.split_inclusive(|byte| *byte == b'\n').collect();
    // The first and the last line are the reply's own.
    lines.pop();
    let mut parser = ListingParser::for_list(context());
    lines.iter().skip(1).for_each(|line| parser.push_line(line));
    assert_is_of(&parser.finish(), &expected, &String::from_utf8_lossy(&reply));
}

macro_rules! on {
    ($($server:ident = $kind:ident: $($fact:ident)*;)*) => {$(
        mod $server {
            $(#[test] fn $fact() { super::$fact(super::ServerKind::$kind) })*
        }
    )*};
}

on! {
    // It writes LIST and STAT by the same code, and has no MLSD.
    vsftpd = Vsftpd: stat_lists_what_list_does;
    proftpd = Proftpd: every_name_is_listed_as_it_is stat_lists_what_list_does;
    // Of the servers here it alone cuts listings.
    pure_ftpd = PureFtpd: every_name_is_listed_as_it_is stat_lists_what_list_does listing_cut_by_the_server_is_told_by_its_reply;
    pyftpdlib = Pyftpdlib: every_name_is_listed_as_it_is stat_lists_what_list_does;
    embedded = Embedded: every_name_is_listed_as_it_is;
}

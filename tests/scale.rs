//! How much memory many names take.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's way to fail")]

use std::fs;
use std::time::{Duration, Instant};

use ftpfs::cache::listings::{Flight, Known, Listings};
use ftpfs::protocol::listing::{Context, ListingParser};
use ftpfs::protocol::{Name, RemotePath};
use ftpfs::remote::Listing;

const DIRECTORIES: usize = 1000;
const FILES: usize = 1000;
const BYTES_MAX: usize = 400 << 20;

/// Bytes of memory that this process has now.
fn memory() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

/// What ProFTPD sends for a directory of files.
fn listing(directory: usize) -> Listing {
    let mut parser = ListingParser::for_mlsd(Context { now_seconds: 1_770_000_000, ahead_of_utc_seconds: 0 });
    for file in 0..FILES {
        let unique = directory * FILES + file;
        let line = format!(
            "modify=20260314092653;perm=adfrw;size={file};type=file;unique=10301U{unique:X};UNIX.group=65534;\
             UNIX.groupname=nogroup;UNIX.mode=0644;UNIX.owner=65534;UNIX.ownername=nobody; photo-{directory:04}-{file:06}.jpeg"
        );
        parser.push_line(line.as_bytes());
    }
    let parsed = parser.finish();
    assert!(parsed.is_understood());
    Listing { entries: parsed.entries, complete: true, cut_short: false }
}

#[test]
fn million_known_files_take_less_than_400_mib() {
    let listings = Listings::new(2 * DIRECTORIES * FILES);
    let now = Instant::now();
    let path = |directory: usize| RemotePath::parse(format!("/photos/{directory}").as_bytes()).unwrap();
    let before = memory();
    for directory in 0..DIRECTORIES {
        let Flight::Lead(lead) = listings.begin_listing(&path(directory), now) else { panic!("nobody else lists it") };
        listings.install(lead, Ok(listing(directory))).unwrap();
    }
    let taken = memory() - before;
    eprintln!("{} bytes for each of {} names", taken / (DIRECTORIES * FILES), DIRECTORIES * FILES);
    assert!(taken < BYTES_MAX, "{taken} bytes");
    assert!(listings.entries() >= DIRECTORIES * FILES);
    let name = Name::new("photo-0000-000999.jpeg").unwrap();
    assert!(matches!(listings.get(&path(0), &name, Duration::from_secs(60), now), Known::Present(_)));
}

//! The inner parts that every answer goes through: what they cost beside a round trip, which is milliseconds.
//!
//! `cargo bench --bench parts` runs them; docs/performance.md has the figures. What the whole costs, `scripts/bench` shows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a measurement's way to fail")]

use std::hint::black_box;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ftpfs::cache::listings::{Flight, Listings};
use ftpfs::cache::{FileId, FileVersion, Reader, ReaderOptions};
use ftpfs::protocol::listing::{Context, ListingParser};
use ftpfs::protocol::{Name, RemotePath, ReplyDecoder, ReplyLimits};
use ftpfs::remote::Listing;
use ftpfs::remote::Remote as _;
use ftpfs::remote::memory::MemoryRemote;

const ENTRIES: usize = 10_000;
const REPLIES: usize = 1_000;
const FILE_LEN: usize = 64 << 20;
const READ_LEN: u32 = 128 << 10;

/// What ProFTPD sends for a directory of files.
fn mlsd_bytes() -> Vec<u8> {
    let line = |number: usize| {
        format!(
            "modify=20260314092653;perm=adfrw;size={};type=file;unique=10301U{number:X};UNIX.group=65534;UNIX.groupname=nogroup;\
             UNIX.mode=0644;UNIX.owner=65534;UNIX.ownername=nobody; file{number:06}.txt\r\n",
            number * 37
        )
    };
    (0..ENTRIES).flat_map(|number| line(number).into_bytes()).collect()
}

fn parsed(bytes: &[u8]) -> Listing {
    let mut parser = ListingParser::for_mlsd(Context { now_seconds: 1_770_000_000, ahead_of_utc_seconds: 0 });
    // As they come from the data connection.
    for piece in bytes.chunks(64 << 10) {
        parser.push(piece);
    }
    let parsed = parser.finish();
    assert_eq!(parsed.entries.len(), ENTRIES);
    Listing { entries: parsed.entries, complete: true, cut_short: false }
}

fn replies(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    for number in 0..REPLIES / 2 {
        bytes.extend_from_slice(format!("213 {number}\r\n").as_bytes());
        let fact = format!("250-Start\r\n modify=20260314092653;size={number};type=file; /a/{number}\r\n250 End\r\n");
        bytes.extend_from_slice(fact.as_bytes());
    }
    let mut group = criterion.benchmark_group("replies");
    group.throughput(Throughput::Elements(REPLIES as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut decoder = ReplyDecoder::new(ReplyLimits::default());
            let mut count = 0;
            for piece in bytes.chunks(1448) {
                decoder.push(piece);
                while let Some(reply) = decoder.next().unwrap() {
                    black_box(reply.code());
                    count += 1;
                }
            }
            assert_eq!(count, REPLIES);
        });
    });
    group.finish();
}

fn listings(criterion: &mut Criterion) {
    let bytes = mlsd_bytes();
    let mut group = criterion.benchmark_group("listing");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("parse MLSD", |bencher| bencher.iter(|| parsed(black_box(&bytes))));

    let directory = RemotePath::parse(b"/pub/files").unwrap();
    let install = |listings: &Listings, listing: Listing| {
        let Flight::Lead(lead) = listings.begin_listing(&directory, Instant::now()) else {
            unreachable!("nobody else lists")
        };
        listings.install(lead, Ok(listing)).unwrap();
    };
    group.bench_function("keep", |bencher| {
        bencher.iter_batched(
            || (Listings::new(1 << 20), parsed(&bytes)),
            |(listings, listing)| {
                install(&listings, listing);
                listings
            },
            BatchSize::LargeInput,
        );
    });

    let kept = Listings::new(1 << 20);
    install(&kept, parsed(&bytes));
    let names: Vec<Name> =
        (0..ENTRIES).map(|number| Name::new(format!("file{:06}.txt", number * 7919 % ENTRIES)).unwrap()).collect();
    group.bench_function("look up", |bencher| {
        let now = Instant::now();
        bencher.iter(|| {
            for name in &names {
                black_box(kept.get(&directory, name, Duration::from_secs(3600), now));
            }
        });
    });
    group.finish();
}

fn blocks(criterion: &mut Criterion) {
    let server = Arc::new(MemoryRemote::new());
    server.put("/big", vec![7; FILE_LEN]);
    let path = RemotePath::parse(b"/big").unwrap();
    let version = FileVersion::of(&server.stat(&path).unwrap()).unwrap();
    let reader = Reader::new(server, ReaderOptions::default());
    for offset in (0..FILE_LEN as u64).step_by(READ_LEN as usize) {
        let (answer, answered) = mpsc::channel();
        reader.read(FileId(1), &path, &version, offset, READ_LEN, Box::new(move |result| answer.send(result).unwrap()));
        assert_eq!(answered.recv().unwrap().unwrap().len(), READ_LEN as usize);
    }
    let mut group = criterion.benchmark_group("block cache");
    for (name, len) in [("read 128 KiB", READ_LEN), ("read 4 KiB", 4 << 10)] {
        group.throughput(Throughput::Bytes(u64::from(len)));
        let mut offset = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                offset = (offset + 7919 * 4096) % (FILE_LEN as u64 - u64::from(READ_LEN));
                reader.get(FileId(1), &version, offset, len).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(parts, replies, listings, blocks);
criterion_main!(parts);

//! Reads at random: each fetches what it wants, and is answered when that is there.

use super::*;
use crate::protocol::Precision;

const SIZE: u64 = 400 * MIB;

/// Waits until the reader has taken in what was sent.
#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads at places far apart, until the file counts as read at random.
fn jump_about(reader: &Reader) {
    for mebibyte in [350, 50, 250] {
        assert_reads(reader, &version(SIZE), mebibyte * MIB, 4 * KIB);
    }
}

#[test]
fn random_reads_fetch_only_what_they_want_and_keep_no_connection() {
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, options());
    let places = [100, 300, 50, 200, 350, 150, 250, 20];
    for mebibyte in places {
        assert_reads(&reader, &version(SIZE), mebibyte * MIB + 1000, 4 * KIB);
    }
    server.until("no stream is left to wait for the next read", |script| script.streams == 0);
    // The first two could have been the beginnings of reading in order: they fetch their blocks. The others take two pages.
    assert_eq!(server.bytes(), 2 * BLOCK_LEN as u64 + 6 * 8 * KIB);
    assert_eq!(server.opened(), places.map(|mebibyte| mebibyte * MIB));
    let picks: Vec<_> = places[2..].iter().map(|mebibyte| mebibyte * MIB..mebibyte * MIB + 8 * KIB).collect();
    assert_eq!(server.script.lock().ranges, picks);
}

#[test]
fn first_read_at_a_place_is_answered_before_the_rest_of_its_block_comes() {
    let server = Scripted::with_file(SIZE);
    server.set(|script| script.held_at = Some(8 * KIB));
    let reader = reader(&server, options());
    assert_reads(&reader, &version(SIZE), 64 * KIB + 5000, 5000);
    assert_eq!((server.bytes(), server.opened()), (8 * KIB, vec![68 * KIB]));
    server.set(|script| script.held_at = None);
    eventually("the rest of the block follows", || reader.get(FILE, &version(SIZE), 68 * KIB, 60 << 10).is_some());
    assert_eq!(reader.get(FILE, &version(SIZE), 68 * KIB - 1, 10), None);
}

#[test]
fn part_of_a_block_answers_for_itself_and_for_nothing_beside_it() {
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, options());
    jump_about(&reader);
    assert_reads(&reader, &version(SIZE), 100 * MIB + 8 * KIB, 4 * KIB);
    let opened = server.opened().len();
    assert_eq!(reader.get(FILE, &version(SIZE), 100 * MIB + 9 * KIB, 1024), Some(content(0, 104_866_816, 104_867_840)));
    assert_eq!(reader.get(FILE, &version(SIZE), 100 * MIB + 8 * KIB - 1, 10), None);
    assert_eq!(reader.get(FILE, &version(SIZE), 100 * MIB + 12 * KIB - 1, 2), None);
    assert_eq!(server.opened().len(), opened);
    // What lies round it is fetched when it is wanted, and joined with it.
    assert_reads(&reader, &version(SIZE), 100 * MIB + 6 * KIB, 20 * KIB);
}

#[test]
fn reader_in_order_at_a_random_place_has_a_stream_from_its_second_read_on() {
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, options());
    jump_about(&reader);
    let before = server.opened().len();
    let start = 100 * MIB;
    for step in 0..200 {
        assert_reads(&reader, &version(SIZE), start + step * 64 * KIB, 64 * KIB);
    }
    assert_eq!(server.opened()[before..], [start, start + 64 * KIB]);
}

#[test]
fn reads_at_random_by_many_use_as_many_streams_as_there_may_be() {
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, ReaderOptions { streams_max: 6, ..options() });
    jump_about(&reader);
    server.until("the first ones are over", |script| script.streams == 0);
    server.set(|script| script.held = true);
    let places: Vec<u64> = (1..12).map(|place| place * 30 * MIB).collect();
    let answers: Vec<_> = places.iter().map(|place| start(&reader, &version(SIZE), *place, 4 * KIB)).collect();
    server.until("all of them are at work", |script| script.streams == 6);
    server.set(|script| script.held = false);
    for (place, answer) in places.iter().zip(answers) {
        assert_eq!(answer.wait(), Ok(content(0, *place, place + 4 * KIB)));
    }
    // One that ends is dropped by its thread, so the next one may be there a moment before.
    assert!(server.script.lock().streams_most <= 12);
}

#[test]
fn many_reads_at_random_do_not_end_the_stream_of_another_file() {
    const OTHER: FileId = FileId(8);
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, ReaderOptions { streams_max: 3, ..options() });
    let read_other = |offset| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result| sender.send(result).unwrap_or(());
        reader.read(OTHER, &path(), &version(SIZE), offset, 128 << 10, Box::new(done));
        receiver.recv_timeout(PATIENCE).unwrap().unwrap();
    };
    read_other(0);
    read_other(128 * KIB);
    jump_about(&reader);
    server.until("the jumps are over", |script| script.streams == 1);
    let before = server.opened().len();
    for round in 0..20 {
        let places = (1..10).map(|place| place * 30 * MIB + round * 2 * MIB);
        let answers: Vec<_> = places.map(|place| start(&reader, &version(SIZE), place, 4 * KIB)).collect();
        read_other((round + 2) * 128 * KIB);
        for answer in answers {
            answer.wait().unwrap();
        }
    }
    let picks = server.script.lock().ranges.len();
    let others = server.opened()[before..].iter().filter(|offset| **offset <= 3 * MIB).count();
    assert!(picks > 100, "{picks}");
    assert_eq!(others, 0, "the other file was begun anew");
}

#[test]
fn third_read_at_random_in_a_block_fetches_the_rest_of_it() {
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, options());
    jump_about(&reader);
    for (place, far) in [(0, 10), (40, 20), (80, 30)] {
        assert_reads(&reader, &version(SIZE), 100 * MIB + place * KIB, 4 * KIB);
        for step in 0..5 {
            assert_reads(&reader, &version(SIZE), (200 + far + step * 2) * MIB, 4 * KIB);
        }
    }
    eventually("the rest of the block has come", || {
        reader.get(FILE, &version(SIZE), 100 * MIB + 84 * KIB, 44 << 10).is_some()
    });
    assert_eq!(reader.get(FILE, &version(SIZE), 100 * MIB + 4 * KIB, 1), None);
}

#[test]
fn part_of_a_block_is_not_taken_for_the_block_in_the_cache_directory() {
    const OLD: Timestamp = Timestamp { seconds: 1, nanoseconds: 0, precision: Precision::Second };
    let version = FileVersion { modified: Some(OLD), ..version(SIZE) };
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskCache::open(folder.path(), "account", 1 << 30).unwrap();
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, ReaderOptions { disk: Some(Arc::clone(&disk)), ..options() });
    for mebibyte in [350, 50, 250, 100] {
        assert_reads(&reader, &version, mebibyte * MIB + 64 * KIB, 4 * KIB);
    }
    server.until("nothing more comes", |script| script.streams == 0);
    let entry = disk.entry(&path(), &version).unwrap();
    let block = BlockIndex::containing(100 * MIB);
    assert!(!entry.has(block));
    // The rest of it, and it is whole: now it is kept, with its own bytes.
    for (start, len) in [(0, 64), (68, 60)] {
        assert_reads(&reader, &version, 100 * MIB + start * KIB, len * KIB);
    }
    eventually("the block is kept", || entry.has(block));
    assert_eq!(*disk.load(&entry, block).unwrap(), *content(0, 100 * MIB, 100 * MIB + 128 * KIB));
}

//! No byte of another version is handed out as one of that which was opened.

use super::*;

const SIZE: u64 = 64 * MIB;

/// So long that nothing is asked again because of it.
fn trusting() -> ReaderOptions {
    ReaderOptions { version_ttl: Duration::from_secs(3600), ..options() }
}

#[test]
fn version_that_turned_out_to_be_another_is_not_read_again_unasked() {
    let server = Scripted::with_file(SIZE - 1);
    let reader = reader(&server, trusting());
    reader.opened(FILE, &path(), &version(SIZE), Instant::now());
    assert_eq!(read(&reader, &version(SIZE), SIZE - 1000, 1000), Err(RemoteError::Changed));
    for offset in [0, 10 * MIB, 0] {
        assert_eq!(read(&reader, &version(SIZE), offset, 1000), Err(RemoteError::Changed));
    }
    // What was there of the last page, and no byte after it.
    assert_eq!(server.bytes(), 4 * KIB - 1);
}

#[test]
fn version_that_nobody_was_told_of_is_asked_for_before_it_is_read() {
    let server = Scripted::with_file(SIZE);
    server.set(|script| (script.unique, script.seed) = (Some(Box::from(*b"new")), 1));
    let reader = reader(&server, trusting());
    assert_eq!(read(&reader, &named_version(SIZE, "old"), 0, 1000), Err(RemoteError::Changed));
    assert_eq!(read(&reader, &named_version(SIZE, "new"), 0, 1000), Ok(content(1, 0, 1000)));
    assert_eq!(server.script.lock().asked, 2);
}

#[test]
fn file_that_changes_while_its_transfer_waits_for_a_connection_is_not_shown() {
    let ttl = Duration::from_millis(20);
    // All others may be lent for a moment, the one for questions among them.
    let all_lent = Connections { ceiling: 8, brief: 7, ..Connections::default() };
    for connections in [None, Some(all_lent)] {
        let server = Scripted::with_file(SIZE);
        server.set(|script| {
            (script.unique, script.opening_held) = (Some(Box::from(*b"old")), true);
            script.connections = connections;
        });
        let reader = reader(&server, ReaderOptions { version_ttl: ttl, ..options() });
        let waiting = start(&reader, &named_version(SIZE, "old"), 0, 1000);
        server.until("the transfer waits", |script| !script.opened.is_empty());
        thread::sleep(2 * ttl);
        server.set(|script| {
            (script.unique, script.seed) = (Some(Box::from(*b"new")), 1);
            script.opening_held = false;
        });
        assert_eq!(waiting.wait(), Err(RemoteError::Changed));
    }
}

#[test]
fn read_at_random_that_has_waited_long_gives_its_connection_back_before_anything_is_asked() {
    let ttl = Duration::from_millis(200);
    let server = Scripted::with_file(SIZE);
    let reader = reader(&server, ReaderOptions { version_ttl: ttl, ..options() });
    for mebibyte in [10, 30, 20] {
        assert_reads(&reader, &version(SIZE), mebibyte * MIB, 4 * KIB);
    }
    server.until("no stream is left", |script| script.streams == 0);
    server.set(|script| script.opening_held = true);
    let (opened, asked) = (server.opened().len(), server.script.lock().asked);
    let waiting = start(&reader, &version(SIZE), 40 * MIB, 1000);
    server.until("the transfer waits", |script| script.opened.len() > opened);
    thread::sleep(2 * ttl);
    server.set(|script| script.opening_held = false);
    assert_eq!(waiting.wait(), Ok(content(0, 40 * MIB, 40 * MIB + 1000)));
    let script = server.script.lock();
    assert!(script.asked > asked && script.asked_beside == 0, "{} {}", script.asked - asked, script.asked_beside);
}

#[test]
fn read_at_random_up_to_the_end_proves_that_it_is_the_end() {
    let server = Scripted::with_file(SIZE + 1);
    let reader = reader(&server, trusting());
    reader.opened(FILE, &path(), &version(SIZE), Instant::now());
    for mebibyte in [10, 30, 20] {
        assert_reads(&reader, &version(SIZE), mebibyte * MIB, 4 * KIB);
    }
    assert_eq!(read(&reader, &version(SIZE), SIZE - 4 * KIB, 4 * KIB), Err(RemoteError::Changed));
    assert!(server.script.lock().ranges.iter().all(|range| range.end < SIZE));
}

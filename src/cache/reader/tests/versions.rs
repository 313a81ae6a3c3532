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

/// Reads a file of which three places were read before, after `pause`, where the version may be known for so long.
fn read_after(
    server: &Arc<Scripted>,
    ttl: Duration,
    pause: Duration,
    change: impl FnOnce(&mut Script),
) -> RemoteResult<Vec<u8>> {
    server.set(|script| (script.can_tell, script.unique) = (true, Some(Box::from(*b"old"))));
    let reader = reader(server, ReaderOptions { version_ttl: ttl, ..options() });
    for mebibyte in [10, 30, 20] {
        assert!(read(&reader, &named_version(SIZE, "old"), mebibyte * MIB, 4 * KIB).is_ok());
    }
    server.until("no stream is left", |script| script.streams == 0);
    thread::sleep(pause);
    server.set(|script| (script.told, script.asked) = (0, 0));
    server.set(change);
    read(&reader, &named_version(SIZE, "old"), 40 * MIB, 1000)
}

/// How often the server told with a read, and was asked beside.
fn questions(server: &Scripted) -> (usize, usize) {
    let script = server.script.lock();
    (script.told, script.asked)
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn version_that_is_told_with_a_read_is_not_asked_for_by_itself() {
    let server = Scripted::with_file(SIZE);
    assert_eq!(read_after(&server, SHORT, 2 * SHORT, |_| {}), Ok(content(0, 40 * MIB, 40 * MIB + 1000)));
    assert_eq!(questions(&server), (1, 0));
    // Nor at all where it was told lately.
    let server = Scripted::with_file(SIZE);
    assert!(read_after(&server, LONG, SHORT, |_| {}).is_ok());
    assert_eq!(questions(&server), (0, 0));
}

#[test]
fn version_is_told_with_a_read_before_what_was_known_is_too_old() {
    let ttl = Duration::from_secs(4);
    let server = Scripted::with_file(SIZE);
    assert!(read_after(&server, ttl, ttl / 2 + SHORT, |_| {}).is_ok());
    assert_eq!(questions(&server), (1, 0));
}

#[test]
fn no_byte_of_another_version_that_was_told_with_a_read_is_handed_out() {
    let server = Scripted::with_file(SIZE);
    let bytes = server.bytes();
    let changed = read_after(&server, SHORT, 2 * SHORT, |script| {
        (script.unique, script.seed, script.bytes) = (Some(Box::from(*b"new")), 1, bytes);
    });
    assert_eq!(changed, Err(RemoteError::Changed));
    assert_eq!((questions(&server), server.bytes()), ((1, 0), bytes));
}

#[test]
fn version_that_was_not_told_after_all_is_asked_for_before_a_byte_is_handed_out() {
    let one = Connections { ceiling: 1, shared: true, ..Connections::default() };
    let many = Connections { ceiling: 8, shared: true, ..Connections::default() };
    for connections in [one, many] {
        let server = Scripted::with_file(SIZE);
        let changed = read_after(&server, SHORT, 2 * SHORT, |script| {
            (script.unique, script.seed) = (Some(Box::from(*b"new")), 1);
            (script.is_mute, script.connections, script.bytes) = (true, Some(connections), 0);
        });
        assert_eq!(changed, Err(RemoteError::Changed));
        assert_eq!((questions(&server), server.bytes()), ((0, 1), 0));
        // The connection that it was asked on may be the one that the transfer had.
        assert_eq!(server.script.lock().asked_beside, 0);
    }
}

#[test]
fn in_order_too_with_one_connection_what_was_not_told_is_asked_for_before_a_byte_is_handed_out() {
    let server = Scripted::with_file(SIZE);
    server.set(|script| {
        (script.can_tell, script.is_mute, script.unique) = (true, true, Some(Box::from(*b"new")));
        script.connections = Some(Connections { ceiling: 1, ..Connections::default() });
    });
    let reader = reader(&server, trusting());
    assert_eq!(read(&reader, &named_version(SIZE, "old"), 0, 1000), Err(RemoteError::Changed));
    let script = server.script.lock();
    assert_eq!((script.asked, script.asked_beside, script.bytes), (1, 0, 0));
}

//! What stays bounded, and who is answered, whatever the server does.

use super::*;

#[test]
fn threads_stay_bounded_when_the_server_hangs() {
    let server = Scripted::with_file(64 * MIB);
    server.set(|script| script.opening_held = true);
    let bounds = ReaderOptions { deadline: Duration::from_millis(10), streams_max: 2, ..options() };
    let reader = reader(&server, bounds);
    for place in 0..12 {
        let result = read(&reader, &version(64 * MIB), place * 4 * MIB, 1000);
        assert!(matches!(result, Err(RemoteError::TimedOut { .. })));
    }
    assert!(server.opened().len() <= 4);
    server.set(|script| script.opening_held = false);
    server.until("the late ones have ended", |script| script.streams == 0);
}

#[test]
fn streams_of_many_files_stay_within_their_bound_and_all_are_served() {
    let server = Scripted::with_file(8 * MIB);
    let reader = reader(&server, ReaderOptions { streams_max: 2, ..options() });
    let (sender, receiver) = mpsc::channel();
    for file in 0..12 {
        for offset in [0, 4 * MIB] {
            let sender = sender.clone();
            let done = move |result| sender.send((offset, result)).unwrap_or(());
            reader.read(FileId(file), &path(), &version(8 * MIB), offset, 300_000, Box::new(done));
        }
    }
    for _ in 0..24 {
        let (offset, result) = receiver.recv_timeout(PATIENCE).unwrap();
        assert_eq!(result, Ok(content(0, offset, offset + 300_000)));
    }
    // Those that end are dropped by their threads, so a new one may be there a moment before.
    assert!(server.script.lock().streams_most <= 4);
}

#[test]
fn closed_reader_answers_who_still_waits() {
    let server = Scripted::with_file(8 * MIB);
    server.set(|script| script.held = true);
    let reader = reader(&server, options());
    let waiting = start(&reader, &version(8 * MIB), 0, 1000);
    drop(reader);
    assert!(matches!(waiting.wait(), Err(RemoteError::Unreachable { .. })));
    server.set(|script| script.held = false);
    server.until("the stream has ended", |script| script.streams == 0);
}

#[test]
fn answer_that_panics_costs_no_other_read() {
    let server = Scripted::with_file(MIB);
    server.set(|script| script.held = true);
    let reader = reader(&server, options());
    reader.read(FILE, &path(), &version(MIB), 0, 10, Box::new(|_| panic!("on purpose")));
    let other = start(&reader, &version(MIB), 0, 10);
    server.set(|script| script.held = false);
    assert_eq!(other.wait(), Ok(content(0, 0, 10)));
}

#[test]
fn cache_smaller_than_a_read_still_serves_it() {
    let size = 6 * MIB + 5;
    let server = Scripted::with_file(size);
    let reader = reader(&server, ReaderOptions { cache_bytes_max: 0, ..options() });
    assert_reads(&reader, &version(size), 0, size);
    for offset in (0..size).step_by(100_000) {
        assert_reads(&reader, &version(size), offset, 100_000);
    }
}

//! Several streams for one long read: where they bring more, and only there.

use super::*;
use crate::cache::WidthOptions;

const SIZE: u64 = 24 * MIB + 4321;

fn quick() -> ReaderOptions {
    let width = WidthOptions {
        settle: Duration::from_millis(60),
        measure: Duration::from_millis(150),
        ..WidthOptions::default()
    };
    ReaderOptions { width, ..options() }
}

/// A server of whose connections each brings 2 MiB a second.
fn limited() -> Arc<Scripted> {
    let server = Scripted::with_file(SIZE);
    server.set(|script| (script.has_idle, script.rate_each) = (true, Some(2 * MIB)));
    server
}

/// Reads from `from` to the end as a program does, and calls `each` before each read.
fn read_on(reader: &Reader, from: u64, mut each: impl FnMut(u64)) {
    for offset in (from..SIZE).step_by(128 << 10) {
        each(offset);
        assert_reads(reader, &version(SIZE), offset, 128 * KIB);
    }
}

#[test]
fn long_read_uses_several_streams_where_each_connection_has_its_own_rate() {
    let server = limited();
    let reader = reader(&server, quick());
    let begun = Instant::now();
    read_on(&reader, 0, |_| {});
    let (mut stripes, most) = {
        let script = server.script.lock();
        (script.stripes.clone(), script.streams_most)
    };
    assert!(most >= 3, "{most} streams at most");
    // One stream alone takes twelve seconds.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    // Two that begin at the same moment are opened in any order.
    stripes.sort_unstable_by_key(|range| range.start);
    assert!(stripes.windows(2).all(|pair| pair[0].end <= pair[1].start), "{stripes:?}");
    assert!(server.bytes() <= SIZE + MIB, "{} bytes twice", server.bytes() - SIZE);
    server.until("all connections are given back", |script| script.streams == 0);
}

#[test]
fn no_second_stream_stays_where_one_fills_the_link_and_none_is_tried_again() {
    let server = Scripted::with_file(SIZE);
    server.set(|script| (script.has_idle, script.rate_of_all) = (true, Some(8 * MIB)));
    // Long against what a busy machine may let the link catch up.
    let width = WidthOptions { measure: Duration::from_millis(600), ..quick().width };
    let reader = reader(&server, ReaderOptions { width, ..quick() });
    let mut tried = None;
    read_on(&reader, 0, |offset| {
        if offset == 16 * MIB {
            tried = Some(server.script.lock().stripes.len());
        }
    });
    assert!(tried.is_some_and(|tried| tried > 0));
    assert_eq!(tried, Some(server.script.lock().stripes.len()));
    // The next read knows it.
    reader.forget(FILE);
    read_on(&reader, 0, |_| {});
    assert_eq!(tried, Some(server.script.lock().stripes.len()));
    assert!(server.script.lock().streams_most <= 3);
}

#[test]
fn reader_of_another_file_ends_further_streams_at_once() {
    let server = limited();
    let reader = reader(&server, quick());
    let mut stripes = None;
    read_on(&reader, 0, |offset| {
        let under_way = server.script.lock().streams;
        if stripes.is_none() && under_way >= 3 {
            let (sender, receiver) = mpsc::sync_channel(1);
            let done = move |result| sender.send(result).unwrap_or(());
            reader.read(FileId(8), &path(), &version(SIZE), 0, 4096, Box::new(done));
            receiver.recv_timeout(PATIENCE).unwrap().unwrap();
            server.until("only one stream each is left", |script| script.streams <= 2);
            stripes = Some((offset, server.script.lock().stripes.len()));
        }
    });
    // The other file's stream stays parked, and so long none is begun.
    let (_, before) = stripes.expect("there were three streams once");
    assert_eq!(server.script.lock().stripes.len(), before);
}

#[test]
fn wanted_connection_ends_all_further_streams_and_the_read_goes_on() {
    let server = limited();
    let reader = reader(&server, quick());
    let mut is_ended = false;
    read_on(&reader, 0, |_| {
        if !is_ended && server.script.lock().streams >= 3 {
            server.want_connections();
            server.until("the connections are given back", |script| script.streams == 0);
            server.wanted.store(false, Ordering::SeqCst);
            is_ended = true;
        }
    });
    assert!(is_ended);
}

#[test]
fn long_read_fails_when_the_file_changes_and_no_range_of_the_new_one_is_shown() {
    let server = limited();
    server.set(|script| script.unique = Some(Box::from(*b"old")));
    let reader = reader(&server, ReaderOptions { version_ttl: Duration::ZERO, ..quick() });
    let old = named_version(SIZE, "old");
    let mut changed_at = None;
    for offset in (0..SIZE).step_by(128 << 10) {
        if changed_at.is_none() && server.script.lock().streams >= 3 {
            // Another content of the same size; what is on its way is still the old one.
            server.set(|script| script.unique = Some(Box::from(*b"new")));
            changed_at = Some(offset);
        }
        match read(&reader, &old, offset, 128 * KIB) {
            Ok(bytes) => assert!(bytes == content(0, offset, (offset + 128 * KIB).min(SIZE))),
            Err(error) => {
                assert_eq!(error, RemoteError::Changed);
                assert!(changed_at.is_some());
                assert_eq!(reader.get(FILE, &old, 0, 1000), None);
                return;
            }
        }
    }
    panic!("the change was not seen");
}

#[test]
fn further_streams_that_fail_or_find_no_connection_cost_the_read_nothing_but_time() {
    for cut_after in [None, Some((300_000, 3)), Some((1_500_000, 12))] {
        let server = limited();
        server.set(|script| {
            script.rate_each = Some(8 * MIB);
            script.has_idle = cut_after.is_some();
        });
        let reader = reader(&server, quick());
        read_on(&reader, 0, |offset| {
            if offset == 3 * MIB {
                server.set(|script| script.cut_after = cut_after);
            }
        });
        assert_eq!(cut_after.is_some(), !server.script.lock().stripes.is_empty());
    }
}

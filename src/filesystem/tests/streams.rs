//! Streams: what is written in order goes to the server while it is written.

use super::*;
use std::thread;

/// Streams begin after four bytes, and all staging files together take `staging_bytes_max`.
fn streaming(staging_bytes_max: u64) -> FilesystemOptions {
    FilesystemOptions { stream_start_bytes: 4, staging_bytes_max, ..FilesystemOptions::default() }
}

fn streaming_mount() -> Mount {
    Mount::with_options(|remote| remote.put("/old", "old content"), streaming(u64::MAX))
}

/// Room for 16 bytes, and a stream that has made some: what begins the file is not here any more.
fn punched_mount() -> (Mount, HandleId) {
    let mount = Mount::with_options(|_| {}, streaming(16));
    let handle = mount.create("f");
    for at in 0..10 {
        mount.write(handle, at * 4, "abcd");
    }
    (mount, handle)
}

const PUNCHED: &str = "abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd";

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        thread::park_timeout(Duration::from_millis(1));
    }
}

impl Mount {
    fn server_has(&self, path: &str, text: &str) {
        eventually(text, || self.remote.content(path).is_some_and(|bytes| bytes == text.as_bytes()));
    }

    fn is_streaming(&self, name: &str) -> bool {
        let content = self.filesystem.contents().into_iter().find(|(ino, _)| *ino == self.ino(name));
        content.is_some_and(|(_, content)| content.lock().is_streaming())
    }

    fn truncate(&self, handle: HandleId, size: u64) -> FilesystemResult<()> {
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        self.filesystem.set_attributes(Access::Server, self.ino("f"), Some(handle), changes).map(|_| ())
    }
}

#[test]
fn new_file_is_on_the_server_while_it_is_written_and_close_ends_one_transfer() {
    let mount = streaming_mount();
    let handle = mount.create("f");
    mount.write(handle, 0, "0123");
    mount.server_has("/f", "0123");
    mount.write(handle, 4, "4567");
    mount.server_has("/f", "01234567");
    mount.write(handle, 8, "tail");
    assert_eq!(mount.find("f").unwrap().size, 12);
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"01234567tail");
    assert_eq!((mount.remote.calls(Operation::OpenWrite), mount.remote.calls(Operation::Finish)), (1, 1));
    assert_eq!(mount.filesystem.known_counts().1, 0);
}

#[test]
fn replaced_file_shows_its_old_content_until_close() {
    let mount = streaming_mount();
    let handle = mount.open("old", OpenFlags { truncate: true, ..WRITE });
    mount.write(handle, 0, "new content that is longer");
    eventually("sent", || mount.remote.calls(Operation::Write) > 0);
    assert_eq!(mount.remote.content("/old").unwrap(), b"old content");
    mount.close(handle);
    assert_eq!(mount.remote.content("/old").unwrap(), b"new content that is longer");
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 1);
}

#[test]
fn small_file_is_stored_at_close_and_not_before() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "small");
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 0);
    mount.close(handle);
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 1);
}

#[test]
fn write_before_what_was_sent_stores_the_whole_again() {
    let mount = streaming_mount();
    let handle = mount.create("f");
    mount.write(handle, 0, "0123456789");
    mount.server_has("/f", "0123456789");
    mount.write(handle, 2, "XY");
    mount.write(handle, 10, "end");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"01XY456789end");
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 2);
}

#[test]
fn file_cut_below_what_was_sent_is_stored_as_it_is_then() {
    for size in [0, 3, 10, 20] {
        let mount = streaming_mount();
        let handle = mount.create("f");
        mount.write(handle, 0, "0123456789");
        mount.server_has("/f", "0123456789");
        mount.truncate(handle, size).unwrap();
        mount.close(handle);
        let mut expected = b"0123456789".to_vec();
        expected.resize(size as usize, 0);
        assert_eq!(mount.remote.content("/f").unwrap(), expected);
    }
}

#[test]
fn gap_that_is_filled_later_is_waited_for() {
    let mount = streaming_mount();
    let handle = mount.create("f");
    mount.write(handle, 0, "0123");
    mount.write(handle, 8, "89ab");
    mount.server_has("/f", "0123");
    mount.write(handle, 4, "4567");
    mount.server_has("/f", "0123456789ab");
    mount.close(handle);
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 1);
}

#[test]
fn writes_in_order_never_wait_for_a_server_that_is_stuck() {
    let mount = streaming_mount();
    mount.remote.hold(Operation::Write);
    let handle = mount.create("f");
    for at in 0..100 {
        mount.filesystem.write(Access::MemoryOnly, handle, at * 4, b"abcd").unwrap();
    }
    assert!(mount.remote.wait_held(Operation::Write, 1));
    mount.filesystem.write(Access::MemoryOnly, handle, 400, b"end").unwrap();
    mount.remote.let_go(Operation::Write);
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), ["abcd".repeat(100), "end".into()].concat().as_bytes());
}

#[test]
fn writer_faster_than_the_server_waits_only_when_the_staging_is_full() {
    let mount = Mount::with_options(|_| {}, streaming(16));
    mount.remote.hold(Operation::Write);
    let handle = mount.create("f");
    for at in 0..4 {
        mount.filesystem.write(Access::MemoryOnly, handle, at * 4, b"abcd").unwrap();
    }
    let memory = mount.filesystem.write(Access::MemoryOnly, handle, 16, b"efgh");
    assert_eq!(memory, Err(FilesystemError::WouldWait));
    assert_eq!(mount.find("f").unwrap().size, 16);
    thread::scope(|scope| {
        let writer = scope.spawn(|| mount.write(handle, 16, "efgh"));
        assert!(mount.remote.wait_held(Operation::Write, 1));
        mount.remote.let_go(Operation::Write);
        writer.join().unwrap();
    });
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"abcdabcdabcdabcdefgh");
}

#[test]
fn file_larger_than_the_staging_arrives_whole_in_one_transfer() {
    let (mount, handle) = punched_mount();
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), PUNCHED.as_bytes());
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 1);
    // All room is back.
    let other = mount.create("g");
    mount.write(other, 0, "0123456789abcdef");
    mount.close(other);
}

#[test]
fn two_files_larger_than_the_staging_are_written_side_by_side() {
    let mount = Mount::with_options(|_| {}, streaming(16));
    let (one, other) = (mount.create("one"), mount.create("other"));
    for at in 0..50 {
        mount.write(one, at * 4, "abcd");
        mount.write(other, at * 4, "efgh");
    }
    mount.close(one);
    mount.close(other);
    assert_eq!(mount.remote.content("/one").unwrap(), "abcd".repeat(50).as_bytes());
    assert_eq!(mount.remote.content("/other").unwrap(), "efgh".repeat(50).as_bytes());
}

#[test]
fn write_that_needs_what_made_room_fails_and_leaves_the_file_as_it_was() {
    let (mount, handle) = punched_mount();
    let refused = mount.filesystem.write(Access::Server, handle, 2, b"XY");
    assert_eq!(refused, Err(FilesystemError::LocalNoSpace));
    assert_eq!(mount.truncate(handle, 3), Err(FilesystemError::LocalNoSpace));
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), PUNCHED.as_bytes());
}

#[test]
fn what_made_room_cannot_be_read_until_the_server_is_proved_to_have_it() {
    let (mount, handle) = punched_mount();
    assert!(matches!(mount.try_read(handle, 0, 4), Err(FilesystemError::LocalStorage { .. })));
    assert_eq!(mount.try_read(handle, 36, 4).unwrap(), b"abcd");
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    assert_eq!(mount.try_read(handle, 0, 4).unwrap(), b"abcd");
    mount.close(handle);
}

#[test]
fn staging_full_of_what_no_stream_can_send_is_an_error() {
    let mount = Mount::with_options(|remote| remote.put("/f", "base"), streaming(16));
    let handle = mount.open("f", WRITE);
    mount.write(handle, 100, "0123456789abcdef");
    let full = mount.filesystem.write(Access::Server, handle, 200, b"x");
    assert_eq!(full, Err(FilesystemError::LocalNoSpace));
    mount.release(handle);
}

#[test]
fn file_cut_to_nothing_needs_nothing_of_what_made_room() {
    let (mount, handle) = punched_mount();
    mount.truncate(handle, 0).unwrap();
    mount.write(handle, 0, "new");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"new");
}

#[test]
fn connection_lost_under_a_stream_costs_no_error() {
    for operation in [Operation::OpenWrite, Operation::Write, Operation::Finish] {
        for when in [When::Before, When::After] {
            let mount = streaming_mount();
            mount.remote.fail(operation, 0, lost(), when);
            let handle = mount.create("f");
            mount.write(handle, 0, "0123");
            mount.write(handle, 4, "4567");
            mount.write(handle, 8, "89");
            mount.close(handle);
            assert_eq!(mount.remote.content("/f").unwrap(), b"0123456789", "{operation:?} {when:?}");
        }
    }
}

#[test]
fn upload_goes_on_behind_what_the_server_has_where_the_beginning_made_room() {
    for operation in [Operation::Write, Operation::Finish] {
        for when in [When::Before, When::After] {
            let (mount, handle) = punched_mount();
            mount.remote.fail(operation, 0, lost(), when);
            mount.write(handle, 40, "efgh");
            mount.close(handle);
            let expected = [PUNCHED, "efgh"].concat();
            assert_eq!(mount.remote.content("/f").unwrap(), expected.as_bytes(), "{operation:?} {when:?}");
            assert_eq!(mount.remote.calls(Operation::Resume), 1);
        }
    }
}

#[test]
fn content_that_is_neither_here_nor_there_is_an_error_until_the_file_is_begun_anew() {
    let behaviours: [fn(&mut crate::remote::memory::Behaviour); 2] =
        [|behaviour| behaviour.append = false, |behaviour| behaviour.bytes_lost = 1000];
    for behaviour in behaviours {
        let (mount, handle) = punched_mount();
        mount.remote.behave(behaviour);
        mount.remote.fail(Operation::Finish, 0, lost(), When::Before);
        assert!(mount.flush(handle).is_err());
        assert!(mount.flush(handle).is_err());
        assert!(mount.filesystem.write(Access::Server, handle, 40, b"x").is_err());
        assert_eq!(mount.remote.content("/f"), None);
        mount.truncate(handle, 0).unwrap();
        mount.write(handle, 0, "anew");
        mount.close(handle);
        assert_eq!(mount.remote.content("/f").unwrap(), b"anew");
    }
}

#[test]
fn refusal_in_the_middle_of_a_stream_reaches_the_next_write_and_then_close() {
    let mount = Mount::with_options(|remote| remote.behave(|it| it.bytes_max = Some(10)), streaming(u64::MAX));
    let handle = mount.create("f");
    mount.write(handle, 0, "01234567");
    mount.server_has("/f", "01234567");
    mount.write(handle, 8, "89abcdef");
    eventually("the partial file goes", || mount.remote.content("/f").is_none());
    // The thread may still be about to say so.
    eventually("the write is refused", || {
        matches!(mount.filesystem.write(Access::Server, handle, 16, b"g"), Err(FilesystemError::NoSpace { .. }))
    });
    assert!(matches!(mount.flush(handle), Err(FilesystemError::NoSpace { .. })));
    mount.release(handle);
}

#[test]
fn refusal_in_the_middle_of_a_stream_is_no_error_of_what_the_journal_promises() {
    let options = FilesystemOptions { stream_start_bytes: 4, ..super::journal::journal_mode() };
    let mount = super::journal::Journaled::with_options(|_| {}, options);
    let full = || RemoteError::NoSpace { reply: "452 disk full".into() };
    mount.remote.fail(Operation::Write, 1, full(), When::Before);
    let handle = mount.create("f");
    mount.write(handle, 0, "0123");
    eventually("the stream begins", || mount.remote.calls(Operation::Write) > 0);
    mount.write(handle, 4, "4567");
    eventually("the stream is refused", || mount.remote.calls(Operation::Write) > 1 && !mount.is_streaming("f"));
    mount.write(handle, 8, "89");
    mount.close(handle);
    assert!(mount.filesystem.flush_all().is_empty());
    assert_eq!(mount.remote.content("/f").unwrap(), b"0123456789");
}

#[test]
fn fsync_in_the_middle_proves_all_and_the_rest_is_appended() {
    let (mount, handle) = punched_mount();
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    assert_eq!(mount.remote.content("/f").unwrap(), PUNCHED.as_bytes());
    for at in 10..20 {
        mount.write(handle, at * 4, "efgh");
    }
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), [PUNCHED, &"efgh".repeat(10)].concat().as_bytes());
    assert_eq!((mount.remote.calls(Operation::OpenWrite), mount.remote.calls(Operation::OpenRead)), (2, 0));
}

#[test]
fn server_that_cannot_append_gets_the_whole_again_after_fsync() {
    let mount = streaming_mount();
    mount.remote.behave(|behaviour| behaviour.append = false);
    let handle = mount.create("f");
    mount.write(handle, 0, "0123456789");
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    mount.write(handle, 10, "more of it");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"0123456789more of it");
}

#[test]
fn file_that_another_client_changed_since_fsync_is_stored_as_a_whole() {
    let mount = streaming_mount();
    let handle = mount.create("f");
    mount.write(handle, 0, "0123456789");
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    mount.remote.put("/f", "theirs");
    mount.write(handle, 10, "more");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"0123456789more");
}

#[test]
fn file_removed_or_replaced_while_it_streams_leaves_nothing() {
    for replaced in [false, true] {
        let mount = streaming_mount();
        let handle = mount.create("f");
        mount.write(handle, 0, "0123456789");
        mount.server_has("/f", "0123456789");
        if replaced {
            mount.rename("old", "f").unwrap()
        } else {
            mount.unlink("f").unwrap()
        }
        mount.write(handle, 10, "more");
        assert_eq!(mount.read(handle), "0123456789more");
        mount.close(handle);
        assert_eq!(mount.remote.paths(), if replaced { ["/f"] } else { ["/old"] });
        assert_eq!(mount.remote.content(&mount.remote.paths()[0]).unwrap(), b"old content");
    }
}

#[test]
fn file_renamed_while_it_streams_goes_on_under_its_new_name() {
    let mount = streaming_mount();
    let handle = mount.create("f");
    mount.write(handle, 0, "0123456789");
    mount.server_has("/f", "0123456789");
    mount.rename("f", "g").unwrap();
    assert_eq!(mount.remote.paths(), ["/g", "/old"]);
    mount.write(handle, 10, "more");
    mount.close(handle);
    assert_eq!(mount.remote.paths(), ["/g", "/old"]);
    assert_eq!(mount.remote.content("/g").unwrap(), b"0123456789more");
}

#[test]
fn stream_with_nothing_to_send_gives_its_connection_to_who_waits() {
    let mount = streaming_mount();
    let handle = mount.create("f");
    mount.write(handle, 0, "0123456789");
    mount.server_has("/f", "0123456789");
    mount.remote.behave(|behaviour| behaviour.writes_wanted = true);
    eventually("it gives way", || mount.remote.content("/f").is_none());
    mount.write(handle, 10, "more");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"0123456789more");
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 2);
}

#[test]
fn permissions_and_time_set_while_it_streams_are_the_servers_after_close() {
    let mount = streaming_mount();
    let handle = mount.open("old", OpenFlags { truncate: true, ..WRITE });
    mount.write(handle, 0, "0123456789");
    eventually("sent", || mount.remote.calls(Operation::Write) > 0);
    mount.set("old", SetAttributes { mode: Some(0o600), ..set_time(5) }).unwrap();
    mount.close(handle);
    assert_eq!((mount.remote.mode("/old"), mount.remote.modified("/old")), (Some(0o600), Some(5)));
}

#[test]
fn mount_that_ends_finishes_what_streams_have_begun() {
    let mount = streaming_mount();
    let handle = mount.create("f");
    mount.write(handle, 0, "0123456789");
    mount.server_has("/f", "0123456789");
    assert_eq!(mount.filesystem.flush_all(), []);
    assert_eq!((mount.filesystem.dirty_count(), mount.remote.calls(Operation::OpenWrite)), (0, 1));
    mount.close(handle);
}

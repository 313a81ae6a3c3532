//! Large files of which little was changed: only that is sent, and nothing is lost or mixed where it is interrupted.

use super::*;

/// In place from 100 bytes on.
fn options() -> FilesystemOptions {
    FilesystemOptions { in_place_bytes_min: 100, stream_start_bytes: 50, ..FilesystemOptions::default() }
}

fn old() -> Vec<u8> {
    (0..400_u32).map(|place| b'a' + (place % 23) as u8).collect()
}

fn mount() -> Mount {
    Mount::with_options(|remote| remote.put("/f", old()), options())
}

/// The old content with `bytes` over it at each of the places.
fn with(places: &[(usize, &str)]) -> Vec<u8> {
    let mut expected = old();
    for (place, bytes) in places {
        expected.resize(expected.len().max(place + bytes.len()), 0);
        expected[*place..place + bytes.len()].copy_from_slice(bytes.as_bytes());
    }
    expected
}

impl Mount {
    /// Sees to it that what is here and what the server has are both `expected`.
    #[track_caller]
    fn agree_on(&self, expected: &[u8]) {
        assert_eq!(self.remote.content("/f").unwrap(), expected);
        assert_eq!(self.cat("f").as_bytes(), expected);
        assert_eq!(self.remote.paths(), ["/f"]);
    }

    /// How often the whole was read or stored, by what only that does.
    fn wholes(&self) -> (usize, usize) {
        (self.remote.calls(Operation::OpenRead), self.remote.calls(Operation::Rename))
    }
}

#[test]
fn small_change_of_a_large_file_neither_fetches_nor_stores_the_rest() {
    let mount = mount();
    let handle = mount.open("f", BOTH);
    mount.write(handle, 200, "XYZ");
    mount.flush(handle).unwrap();
    assert_eq!(mount.remote.content("/f").unwrap(), with(&[(200, "XYZ")]));
    assert_eq!(mount.remote.calls(Operation::OpenRead), 0);
    assert_eq!(mount.remote.calls(Operation::Write), 1);
    // What is there by now is the base of what comes next.
    mount.write(handle, 201, "--");
    mount.close(handle);
    assert_eq!(mount.remote.calls(Operation::OpenRead), 0);
    mount.agree_on(&with(&[(200, "X--")]));
}

#[test]
fn file_that_was_written_here_is_patched_too() {
    let mount = Mount::with_options(|_| {}, options());
    let handle = mount.create("f");
    let text = "0123456789".repeat(30);
    mount.write(handle, 0, &text);
    mount.flush(handle).unwrap();
    mount.write(handle, 5, "xy");
    mount.close(handle);
    mount.agree_on([&text[..5], "xy", &text[7..]].concat().as_bytes());
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 2);
}

#[test]
fn change_across_the_end_is_a_patch_and_an_append() {
    let mount = mount();
    let handle = mount.open("f", BOTH);
    mount.write(handle, 398, "over the end");
    mount.write(handle, 420, "and on");
    mount.close(handle);
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 2);
    assert_eq!(mount.remote.calls(Operation::OpenRead), 0);
    mount.agree_on(&with(&[(398, "over the end"), (420, "and on")]));
}

#[test]
fn line_behind_a_large_file_is_all_that_is_sent() {
    for appends in [true, false] {
        let mount = mount();
        mount.remote.behave(|behaviour| behaviour.restart_store = false);
        let flags = OpenFlags { append: appends, ..BOTH };
        let handle = mount.open("f", flags);
        mount.write(handle, 400, "a line\n");
        mount.close(handle);
        assert_eq!((mount.remote.calls(Operation::OpenWrite), mount.remote.calls(Operation::OpenRead)), (1, 0));
        mount.agree_on(&with(&[(400, "a line\n")]));
    }
}

#[test]
fn first_byte_is_not_written_in_place_and_what_follows_it_is() {
    let mount = mount();
    let handle = mount.open("f", BOTH);
    // As the first one is, and another one.
    mount.write(handle, 0, "a new header");
    mount.flush(handle).unwrap();
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 1);
    assert_eq!(mount.remote.content("/f").unwrap(), with(&[(0, "a new header")]));
    mount.write(handle, 0, "A");
    mount.close(handle);
    mount.agree_on(&with(&[(0, "A new header")]));
}

#[test]
fn server_that_cuts_what_follows_gets_the_whole_or_a_short_tail() {
    let mount = mount();
    mount.remote.behave(|behaviour| behaviour.restart_keeps_tail = false);
    let handle = mount.open("f", BOTH);
    mount.write(handle, 100, "in the middle");
    mount.flush(handle).unwrap();
    assert_eq!(mount.remote.content("/f").unwrap(), with(&[(100, "in the middle")]));
    let opened = mount.remote.calls(Operation::OpenWrite);
    mount.write(handle, 380, "near the end");
    mount.close(handle);
    // The patch was refused, the tail was not.
    assert_eq!(mount.remote.calls(Operation::OpenWrite), opened + 2);
    mount.agree_on(&with(&[(100, "in the middle"), (380, "near the end")]));
}

#[test]
fn large_file_is_cut_in_place_where_the_server_can_and_stored_as_a_whole_where_not() {
    for keeps_tail in [false, true] {
        let mount = mount();
        mount.remote.behave(|behaviour| behaviour.restart_keeps_tail = keeps_tail);
        let handle = mount.open("f", BOTH);
        mount
            .filesystem
            .set_attributes(
                Access::Server,
                mount.ino("f"),
                Some(handle),
                SetAttributes { size: Some(300), ..SetAttributes::default() },
            )
            .unwrap();
        mount.close(handle);
        assert_eq!(mount.remote.calls(Operation::OpenRead), usize::from(keeps_tail));
        mount.agree_on(&old()[..300]);
    }
}

#[test]
fn server_that_does_not_restart_uploads_gets_the_whole() {
    let mount = mount();
    mount.remote.behave(|behaviour| (behaviour.restart_store, behaviour.append) = (false, false));
    let handle = mount.open("f", BOTH);
    mount.write(handle, 200, "XYZ");
    mount.write(handle, 400, "more");
    mount.close(handle);
    mount.agree_on(&with(&[(200, "XYZ"), (400, "more")]));
}

#[test]
fn small_file_or_large_change_is_replaced_as_a_whole() {
    let mount = Mount::with_options(|remote| remote.put("/f", &old()[..99]), options());
    let handle = mount.open("f", BOTH);
    mount.write(handle, 50, "x");
    mount.close(handle);
    assert_eq!(mount.remote.calls(Operation::OpenRead), 1);
    mount.agree_on(&with(&[(50, "x")])[..99]);

    let mount = self::mount();
    let handle = mount.open("f", BOTH);
    let much = "x".repeat(51);
    mount.write(handle, 100, &much);
    mount.close(handle);
    assert!(mount.remote.calls(Operation::OpenRead) > 0);
    mount.agree_on(&with(&[(100, &much)]));
}

#[test]
fn file_that_another_client_changed_is_never_patched() {
    // With the size it had, and with another one.
    for theirs in [old().to_ascii_uppercase(), b"theirs".to_vec()] {
        let mount = mount();
        let handle = mount.open("f", BOTH);
        mount.write(handle, 200, "XYZ");
        mount.advance(5);
        mount.remote.put("/f", &theirs);
        // What is not here is of a version that is gone.
        assert_eq!(mount.flush(handle), Err(FilesystemError::Stale));
        assert_eq!(mount.remote.content("/f").unwrap(), theirs);
        mount.release(handle);
    }
}

#[test]
fn interrupted_patch_is_repeated_until_it_is_proved() {
    for operation in [Operation::OpenWrite, Operation::Write, Operation::Finish] {
        for when in [When::Before, When::After] {
            let mount = mount();
            let handle = mount.open("f", BOTH);
            mount.write(handle, 200, "XYZ");
            mount.write(handle, 400, "more");
            mount.remote.fail(operation, 0, lost(), when);
            mount.remote.fail(operation, 1, RemoteError::Interrupted { reason: "426 Gone.".into() }, when);
            mount.flush(handle).unwrap();
            assert_eq!(mount.remote.calls(Operation::OpenRead), 0, "{operation:?} {when:?}");
            mount.close(handle);
            mount.agree_on(&with(&[(200, "XYZ"), (400, "more")]));
        }
    }
}

#[test]
fn patch_that_failed_half_way_is_told_and_done_by_the_next_flush() {
    for (keeps_tail, place) in [(true, 200), (false, 397)] {
        for operation in [Operation::Write, Operation::Finish] {
            let impatient = FilesystemOptions { operation_timeout: Duration::ZERO, ..options() };
            let mount = Mount::with_options(|remote| remote.put("/f", old()), impatient);
            mount.remote.behave(|behaviour| behaviour.restart_keeps_tail = keeps_tail);
            let handle = mount.open("f", BOTH);
            mount.write(handle, place, "XYZ");
            mount.advance(5);
            mount.remote.fail(operation, 0, lost(), When::After);
            assert_eq!(mount.flush(handle), Err(lost().into()));
            assert_eq!(mount.filesystem.dirty_count(), 1);
            // Its time is ours by now, and in one case its size.
            mount.advance(5);
            mount.close(handle);
            assert_eq!(mount.remote.content("/f").unwrap(), with(&[(place as usize, "XYZ")]));
        }
    }
}

#[test]
fn permissions_of_a_patched_file_stay() {
    let mount = mount();
    mount.set("f", SetAttributes { mode: Some(0o700), ..SetAttributes::default() }).unwrap();
    let handle = mount.open("f", BOTH);
    mount.write(handle, 200, "XYZ");
    mount.close(handle);
    assert_eq!(mount.remote.mode("/f"), Some(0o700));
    assert_eq!(mount.wholes().1, 0);
}

//! Uploads: what interrupts them, and what is tried again.

use super::*;

/// The errors after which the same may succeed.
fn transient() -> [RemoteError; 4] {
    [
        lost(),
        RemoteError::TimedOut { during: "STOR".into() },
        RemoteError::Protocol { reason: "a reply that nobody asked for".into() },
        RemoteError::Interrupted { reason: "426 Connection closed; transfer aborted.".into() },
    ]
}

/// More than one piece, and no two places alike.
fn long_text() -> String {
    (0..60_000).map(|number| format!("line {number}\n")).collect()
}

fn impatient() -> FilesystemOptions {
    FilesystemOptions { operation_timeout: Duration::ZERO, ..FilesystemOptions::default() }
}

#[test]
fn connection_lost_at_any_step_of_an_upload_costs_no_error() {
    let text = long_text();
    let mut errors = transient().into_iter().cycle();
    for operation in [Operation::OpenWrite, Operation::Write, Operation::Finish] {
        for (skipped, when) in [(0, When::Before), (0, When::After), (1, When::Before), (1, When::After)] {
            for is_new in [false, true] {
                let mount = Mount::new(|remote| remote.put("/old", "old"));
                let handle = if is_new { mount.create("new") } else { mount.open("old", BOTH) };
                mount.write(handle, 0, &text);
                mount.remote.fail(operation, skipped, errors.next().unwrap(), when);
                mount.flush(handle).unwrap();
                let path = if is_new { "/new" } else { "/old" };
                assert_eq!(mount.remote.content(path).unwrap(), text.as_bytes(), "{operation:?} {skipped} {when:?}");
                assert_eq!(mount.filesystem.dirty_count(), 0);
                mount.close(handle);
            }
        }
    }
}

#[test]
fn upload_is_tried_again_as_often_as_it_is_interrupted() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "x");
    for error in transient() {
        mount.remote.fail(Operation::Finish, 0, error, When::Before);
    }
    mount.close(handle);
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 5);
    assert_eq!(mount.remote.content("/f").unwrap(), b"x");
}

/// Every connection is lost after 1.25 MiB, `count` times.
fn connections_that_do_not_live_long(mount: &Mount, count: usize) {
    for number in 0..count {
        mount.remote.fail(Operation::Write, 5 + 6 * number, transient()[number % 4].clone(), When::Before);
    }
}

#[test]
fn upload_that_no_connection_lives_through_goes_on_where_the_last_one_ended() {
    let text = "0123456789abcdef".repeat(300_000);
    for is_new in [false, true] {
        let mount = Mount::new(|remote| remote.put("/old", "old"));
        let handle = if is_new { mount.create("new") } else { mount.open("old", BOTH) };
        mount.write(handle, 0, &text);
        connections_that_do_not_live_long(&mount, 1000);
        mount.flush(handle).unwrap();
        assert_eq!(mount.remote.content(if is_new { "/new" } else { "/old" }).unwrap(), text.as_bytes());
        // The first loss may have been a single one: then the whole is sent again, which trusts the server least.
        assert_eq!((mount.remote.calls(Operation::OpenWrite), mount.remote.calls(Operation::Resume)), (2, 3));
        mount.remote.heal();
        mount.close(handle);
    }
}

#[test]
fn upload_begins_anew_as_often_as_it_takes_where_the_server_cannot_append() {
    let text = "0123456789abcdef".repeat(300_000);
    let mount = Mount::new(|remote| remote.behave(|behaviour| behaviour.append = false));
    let handle = mount.create("f");
    mount.write(handle, 0, &text);
    connections_that_do_not_live_long(&mount, 4);
    mount.flush(handle).unwrap();
    assert_eq!(mount.remote.content("/f").unwrap(), text.as_bytes());
    assert_eq!(mount.remote.calls(Operation::OpenWrite), 5);
    mount.close(handle);
}

#[test]
fn permanent_refusal_of_an_upload_is_not_tried_again() {
    let permanent = [
        refused(),
        RemoteError::NoSpace { reply: "552 Quota exceeded.".into() },
        RemoteError::Failed { reason: "502 Command not implemented.".into() },
        RemoteError::NotDirectory,
    ];
    for error in permanent {
        let mount = Mount::new(|_| {});
        let handle = mount.create("f");
        mount.write(handle, 0, "x");
        mount.remote.fail(Operation::Finish, 0, error.clone(), When::Before);
        assert_eq!(mount.flush(handle), Err(error.into()));
        assert_eq!(mount.remote.calls(Operation::OpenWrite), 1);
        mount.close(handle);
    }
}

#[test]
fn upload_that_gets_no_further_ends_with_the_servers_words() {
    let mount = Mount::with_options(|remote| remote.put("/f", "old"), impatient());
    let handle = mount.open("f", BOTH);
    mount.write(handle, 0, "new");
    mount.remote.fail(Operation::Finish, 0, transient()[3].clone(), When::Before);
    let error = mount.flush(handle).unwrap_err();
    assert!(error.to_string().contains("426 Connection closed"), "{error}");
    assert_eq!(mount.remote.content("/f").unwrap(), b"old");
    assert_eq!(mount.filesystem.dirty_count(), 1);
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"new");
}

#[test]
fn read_that_waits_for_the_old_version_while_the_file_is_uploaded_gets_the_new_one() {
    let mount = Mount::new(|remote| remote.put("/f", "0123456789"));
    let (writer, reader) = (mount.open("f", BOTH), mount.open("f", READ));
    mount.remote.hold(Operation::OpenRead);
    let (sender, receiver) = crossbeam_channel::bounded(1);
    mount.filesystem.read(reader, 0, 100, Box::new(move |result| sender.send(result).unwrap()));
    assert!(mount.remote.wait_held(Operation::OpenRead, 1));
    mount
        .filesystem
        .set_attributes(
            Access::Server,
            mount.ino("f"),
            Some(writer),
            SetAttributes { size: Some(0), ..SetAttributes::default() },
        )
        .unwrap();
    mount.write(writer, 0, "new");
    mount.flush(writer).unwrap();
    mount.remote.let_go(Operation::OpenRead);
    let read = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(read.unwrap(), b"new");
    mount.close(reader);
    mount.close(writer);
}

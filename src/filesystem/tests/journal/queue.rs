//! Which files are delivered when, and how many at once.

use super::*;
use crate::remote::memory::Operation;

#[test]
fn many_files_are_delivered_at_once() {
    let mount = Journaled::new(|_| {});
    mount.remote.hold(Operation::Finish);
    for number in 0..20 {
        mount.put(&format!("f{number}"), "x");
    }
    assert!(mount.remote.wait_held(Operation::Finish, 8));
    mount.remote.let_go(Operation::Finish);
    mount.deliver();
    assert_eq!(mount.visible().len(), 20);
}

#[test]
fn closed_file_is_delivered_as_soon_as_a_crowd_came_behind_it() {
    let options = FilesystemOptions { settle: Duration::from_secs(3600), ..journal_mode() };
    let mount = Journaled::with_options(|_| {}, options);
    mount.remote.hold(Operation::Finish);
    for number in 0..10 {
        mount.put(&format!("f{number}"), "x");
    }
    assert!(mount.remote.wait_held(Operation::Finish, 2));
    assert_eq!(["/f0", "/f1", "/f2"].map(|path| mount.on_server(path)), ["x", "x", ""]);
    mount.remote.let_go(Operation::Finish);
    mount.deliver();
    assert_eq!(mount.visible().len(), 10);
}

#[test]
fn large_files_leave_connections_to_others() {
    let mount = Journaled::new(|_| {});
    mount.remote.hold(Operation::Finish);
    let large = "x".repeat((1 << 20) + 1);
    for number in 0..10 {
        mount.put(&format!("large{number}"), &large);
    }
    assert!(mount.remote.wait_held(Operation::Finish, 6));
    mount.put("small", "x");
    mount.put("other", "x");
    assert!(mount.remote.wait_held(Operation::Finish, 8));
    assert!(mount.remote.content("/small").is_some() && mount.remote.content("/other").is_some());
    mount.remote.let_go(Operation::Finish);
    mount.deliver();
    assert_eq!(mount.visible().len(), 12);
}

#[test]
fn delivery_that_waits_for_the_file_keeps_no_connection() {
    let mount = Journaled::new(|_| {});
    mount.remote.hold(Operation::Write);
    mount.remote.hold(Operation::GiveWay);
    mount.put("f", "content");
    assert!(mount.remote.wait_held(Operation::Write, 1));
    let content = mount.filesystem.content_of(mount.ino("f")).unwrap();
    let claim = content.claim(Access::Server, Duration::from_secs(1)).unwrap();
    mount.remote.let_go(Operation::Write);
    assert!(mount.remote.wait_held(Operation::GiveWay, 1));
    assert_eq!(mount.remote.calls(Operation::Finish), 0);
    mount.remote.let_go(Operation::GiveWay);
    drop(claim);
    mount.deliver();
    assert_eq!(mount.on_server("/f"), "content");
}

#[test]
fn delivery_that_still_asks_the_server_keeps_others_from_beginning() {
    let options = FilesystemOptions { deliveries_max: 1, ..journal_mode() };
    let mount = Journaled::with_options(|_| {}, options);
    mount.cable(false);
    mount.put("f", "content");
    mount.set("f", set_time(5)).unwrap();
    mount.put("other", "x");
    mount.remote.hold(Operation::SetModified);
    mount.cable(true);
    assert!(mount.remote.wait_held(Operation::SetModified, 1));
    // With one connection the other one would take it.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(mount.remote.content("/other"), None);
    mount.remote.let_go(Operation::SetModified);
    mount.deliver();
    assert_eq!((mount.on_server("/other").as_str(), mount.remote.modified("/f")), ("x", Some(5)));
}

#[test]
fn delivery_that_was_to_stop_does_not_come_back_when_nobody_waits_for_that_any_more() {
    let options = FilesystemOptions { operation_timeout: Duration::from_millis(50), ..journal_mode() };
    let mount = Journaled::with_options(|_| {}, options);
    mount.remote.hold(Operation::Write);
    mount.put("f", "content");
    assert!(mount.remote.wait_held(Operation::Write, 1));
    let refused = mount.filesystem.unlink(Access::Server, ROOT, b"f");
    assert!(matches!(refused, Err(FilesystemError::TimedOut { .. })), "{refused:?}");
    let finished = mount.remote.calls(Operation::Finish);
    let content = mount.filesystem.content_of(mount.ino("f")).unwrap();
    assert!(content.claim_now().is_none() && content.claim_unless_stopping().is_none());
    mount.remote.let_go(Operation::Write);
    assert_eq!(mount.remote.calls(Operation::Finish), finished);
    mount.deliver();
    assert_eq!(mount.on_server("/f"), "content");
}

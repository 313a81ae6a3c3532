//! What becomes of a promise where another client was faster.

use super::*;

/// What the server has after another client has changed a file while ours waited.
fn conflict(on_conflict: OnConflict) -> (Journaled, Vec<String>) {
    let mount = Journaled::new(|remote| remote.put("/f", "old"));
    let handle = mount.open("f", BOTH);
    mount.write(handle, 0, "OLD");
    mount.remote.hold(Operation::OpenWrite);
    mount.close(handle);
    let base = mount.kill();
    mount.remote.advance(100);
    mount.remote.put("/f", "of another client");
    mount.cable(false);
    mount.remote.let_go(Operation::OpenWrite);
    drop(mount.filesystem.clone());
    let remote = mount.remote.clone();
    drop(mount);
    remote.behave(|behaviour| behaviour.unreachable = false);
    let again =
        Journaled { mount: mounted(remote, base.path(), FilesystemOptions { on_conflict, ..journal_mode() }), base };
    let _ = again.filesystem.flush_all();
    let paths = again.visible();
    (again, paths)
}

#[test]
fn newer_file_of_another_client_is_kept_beside_ours() {
    let (mount, paths) = conflict(OnConflict::KeepBoth);
    assert_eq!(mount.on_server("/f"), "of another client");
    assert_eq!(paths.len(), 2, "{paths:?}");
    let ours = paths.iter().find(|path| path.starts_with("/f.conflict-localhost-2")).unwrap();
    assert_eq!(mount.on_server(ours), "OLD");
    assert_eq!((mount.cat("f"), mount.cat(ours)), ("of another client".into(), "OLD".into()));
}

#[test]
fn newer_file_of_another_client_is_replaced_when_told_so() {
    let (mount, paths) = conflict(OnConflict::Ours);
    assert_eq!((mount.on_server("/f").as_str(), paths.len()), ("OLD", 1));
}

#[test]
fn ours_is_set_aside_for_a_newer_file_when_told_so() {
    let (mount, paths) = conflict(OnConflict::Theirs);
    assert_eq!((mount.on_server("/f").as_str(), paths.len()), ("of another client", 1));
    let aside = mount.filesystem.usage().journal.unwrap().set_aside;
    assert_eq!(std::fs::read(&aside[0]).unwrap(), b"OLD");
    assert_eq!(mount.cat("f"), "of another client");
}

#[test]
fn delivery_whose_record_was_lost_is_no_conflict() {
    let mount = Journaled::new(|remote| remote.put("/f", "old"));
    let handle = mount.open("f", BOTH);
    mount.write(handle, 0, "OLD");
    mount.remote.hold(Operation::Finish);
    mount.close(handle);
    mount.put("new", "new");
    assert!(mount.remote.wait_held(Operation::Finish, 2));
    // The server has both, and no record says so.
    let base = mount.kill();
    mount.remote.let_go(Operation::Finish);
    mount.deliver();
    let again = Journaled { mount: mounted(mount.remote.clone(), base.path(), journal_mode()), base };
    again.deliver();
    assert_eq!(again.visible(), ["/f", "/new"]);
    assert_eq!((again.on_server("/f").as_str(), again.on_server("/new").as_str()), ("OLD", "new"));
}

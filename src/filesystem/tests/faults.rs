//! What fails, and what must not be claimed then.

use super::*;

#[test]
fn failed_first_listing_fails_the_mount() {
    let remote = MemoryRemote::new();
    remote.fail(Operation::List, 0, lost(), When::Before);
    let result = Filesystem::new(Arc::new(remote), RemotePath::root(), FilesystemOptions::default());
    assert!(matches!(result.map(|_| ()), Err(FilesystemError::Unreachable { .. })));
}

#[test]
fn failed_listing_is_neither_an_absence_nor_an_empty_directory() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/f", "x");
    });
    let d = mount.ino("d");
    for error in [lost(), RemoteError::TimedOut { during: "LIST".into() }, RemoteError::Failed { reason: "426".into() }]
    {
        mount.remote.fail(Operation::List, 0, error.clone(), When::Before);
        let result = mount.filesystem.lookup(Access::Server, d, b"f");
        assert_eq!(result, Err(error.clone().into()));
        mount.remote.fail(Operation::List, 0, error.clone(), When::Before);
        assert_eq!(mount.filesystem.open_directory(Access::Server, d), Err(error.into()));
    }
    assert_eq!(mount.names(d), ["f"]);
}

#[test]
fn directory_that_may_not_be_listed_can_still_be_entered() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/f", "x");
    });
    let refused = RemoteError::Refused { reply: "550 Permission denied.".into() };
    mount.remote.fail(Operation::List, 0, refused, When::Before);
    assert!(mount.find("d/f").is_some());
}

#[test]
fn failed_upload_is_closes_error_and_the_next_flush_tries_again() {
    for operation in [Operation::OpenWrite, Operation::Write, Operation::Finish] {
        let mount = Mount::new(|remote| remote.put("/f", "old"));
        let handle = mount.open("f", BOTH);
        mount.write(handle, 0, "new");
        mount.remote.fail(operation, 0, refused(), When::Before);
        assert_eq!(mount.flush(handle), Err(refused().into()), "{operation:?}");
        assert_eq!(mount.remote.content("/f").unwrap(), b"old");
        assert_eq!(mount.filesystem.dirty_count(), 1);
        assert_eq!(mount.read(handle), "new");
        mount.close(handle);
        assert_eq!(mount.remote.content("/f").unwrap(), b"new");
        assert_eq!(mount.filesystem.dirty_count(), 0);
    }
}

#[test]
fn full_server_is_closes_error_and_leaves_no_file_that_is_not_there() {
    let mount = Mount::new(|remote| remote.behave(|behaviour| behaviour.bytes_max = Some(2)));
    let handle = mount.create("f");
    mount.write(handle, 0, "three");
    assert!(matches!(mount.flush(handle), Err(FilesystemError::NoSpace { .. })));
    mount.release(handle);
    assert_eq!(mount.filesystem.dirty_count(), 0);
    assert_eq!(mount.find("f").is_some(), mount.remote.content("/f").is_some());
    let known = mount.filesystem.known_counts();
    assert_eq!(known.1, 0);
}

#[test]
fn failed_time_after_an_upload_is_closes_error_too() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "x");
    mount.filesystem.set_attributes(Access::Server, mount.ino("f"), Some(handle), set_time(5)).unwrap();
    mount.remote.fail(Operation::SetModified, 0, lost(), When::Before);
    assert!(mount.flush(handle).is_err());
    mount.close(handle);
    assert_eq!(mount.remote.modified("/f"), Some(5));
}

#[test]
fn stored_file_whose_time_could_not_be_set_is_shown_as_the_server_has_it() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "content");
    mount.filesystem.set_attributes(Access::Server, mount.ino("f"), Some(handle), set_time(5)).unwrap();
    // At close, and once more when the last handle goes.
    mount.remote.fail(Operation::SetModified, 0, lost(), When::Before);
    mount.remote.fail(Operation::SetModified, 0, lost(), When::Before);
    assert!(mount.flush(handle).is_err());
    mount.release(handle);
    assert_eq!(mount.find("f").unwrap().size, 7);
    assert_eq!(mount.cat("f"), "content");
    mount.remote.delete("/f");
    mount.advance(100);
    assert_eq!(mount.find("f"), None);
}

#[test]
fn refused_time_does_not_make_a_stored_file_a_failure() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "content");
    mount.filesystem.set_attributes(Access::Server, mount.ino("f"), Some(handle), set_time(5)).unwrap();
    mount.remote.fail(Operation::SetModified, 0, RemoteError::Refused { reply: "550 no".into() }, When::Before);
    mount.close(handle);
    assert_eq!(mount.find("f").unwrap().mtime, at(5));
    assert_eq!(mount.remote.content("/f").unwrap(), b"content");
}

#[test]
fn file_that_was_given_up_is_counted_as_lost() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "content");
    mount.remote.fail(Operation::OpenWrite, 0, RemoteError::Refused { reply: "553 no".into() }, When::Before);
    mount.release(handle);
    assert_eq!((mount.filesystem.dirty_count(), mount.filesystem.lost_count()), (0, 1));
}

#[test]
fn failed_removal_removes_nothing_here() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    mount.remote.fail(Operation::RemoveFile, 0, lost(), When::Before);
    assert!(matches!(mount.unlink("f"), Err(FilesystemError::Unreachable { .. })));
    assert!(mount.find("f").is_some());
}

#[test]
fn removal_whose_answer_was_lost_is_looked_at_again() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    mount.ino("f");
    mount.remote.fail(Operation::RemoveFile, 0, lost(), When::After);
    assert!(mount.unlink("f").is_err());
    assert_eq!(mount.find("f"), None);
}

#[test]
fn rename_whose_answer_was_lost_is_looked_at_again() {
    for when in [When::Before, When::After] {
        let mount = Mount::new(|remote| remote.put("/a", "x"));
        mount.ino("a");
        assert_eq!(mount.find("b"), None);
        mount.remote.fail(Operation::Rename, 0, lost(), when);
        assert!(mount.rename("a", "b").is_err());
        assert_eq!(mount.find("a").is_some(), when == When::Before);
        assert_eq!(mount.find("b").is_some(), when == When::After);
    }
}

#[test]
fn failed_read_is_an_error_and_the_next_one_succeeds() {
    let mount = Mount::new(|remote| remote.put("/f", "content"));
    let handle = mount.open("f", READ);
    for _ in 0..20 {
        mount.remote.fail(Operation::OpenRead, 0, RemoteError::Refused { reply: "550 no".into() }, When::Before);
    }
    assert!(matches!(mount.try_read(handle, 0, 10), Err(FilesystemError::Refused { .. })));
    mount.remote.heal();
    assert_eq!(mount.read(handle), "content");
    mount.close(handle);
}

#[test]
fn open_file_that_shrank_on_the_server_is_stale_and_never_padded() {
    let mount = Mount::new(|remote| remote.put("/f", "content"));
    let handle = mount.open("f", READ);
    mount.remote.put("/f", "con");
    assert_eq!(mount.try_read(handle, 0, 10), Err(FilesystemError::Stale));
    mount.close(handle);
}

#[test]
fn everything_that_needs_the_server_says_so_and_changes_nothing() {
    let mount = Mount::new(|remote| {
        remote.put("/f", "x");
        remote.put_directory("/d");
    });
    let (f, d) = (mount.ino("f"), mount.ino("d"));
    mount.advance(100);
    let (calls, paths) = (mount.remote.calls_in_all(), mount.remote.paths());
    let (filesystem, memory) = (&mount.filesystem, Access::MemoryOnly);
    let waits = |result: FilesystemResult<()>| assert_eq!(result, Err(FilesystemError::WouldWait));
    let counts = filesystem.known_counts();
    waits(filesystem.lookup(memory, ROOT, b"f").map(|_| ()));
    waits(filesystem.attributes(memory, f, None).map(|_| ()));
    waits(filesystem.open(memory, f, READ).map(|_| ()));
    waits(filesystem.open(memory, f, OpenFlags { truncate: true, ..WRITE }).map(|_| ()));
    waits(filesystem.create(memory, ROOT, b"n", 0o644, BOTH).map(|_| ()));
    waits(filesystem.open_directory(memory, d).map(|_| ()));
    waits(filesystem.make_directory(memory, ROOT, b"n", 0o755).map(|_| ()));
    waits(filesystem.make_node(memory, ROOT, b"n", 0o755).map(|_| ()));
    waits(filesystem.make_symlink(memory, ROOT, b"n", b"t").map(|_| ()));
    waits(filesystem.unlink(memory, ROOT, b"f"));
    waits(filesystem.remove_directory(memory, ROOT, b"d"));
    waits(filesystem.rename(memory, ROOT, b"f", ROOT, b"g", false));
    waits(filesystem.set_attributes(memory, f, None, set_time(1)).map(|_| ()));
    waits(
        filesystem.set_attributes(memory, f, None, SetAttributes { size: Some(0), ..Default::default() }).map(|_| ()),
    );
    waits(
        filesystem.set_attributes(memory, f, None, SetAttributes { mode: Some(0), ..Default::default() }).map(|_| ()),
    );
    waits(filesystem.space(memory, ROOT).map(|_| ()));
    assert_eq!(filesystem.known_counts(), counts);
    assert_eq!((mount.remote.calls_in_all(), mount.remote.paths()), (calls, paths));
}

#[test]
fn flush_and_release_of_a_dirty_file_say_that_they_would_wait() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    let memory = Access::MemoryOnly;
    assert_eq!(mount.filesystem.flush(memory, handle), Err(FilesystemError::WouldWait));
    assert_eq!(mount.filesystem.release(memory, handle), Err(FilesystemError::WouldWait));
    assert_eq!(mount.filesystem.dirty_count(), 1);
    mount.close(handle);
}

#[test]
fn end_of_the_mount_uploads_what_is_dirty_and_names_what_fails() {
    let mount = Mount::new(|_| {});
    let (good, bad) = (mount.create("good"), mount.create("bad"));
    mount.write(good, 0, "x");
    mount.write(bad, 0, "y");
    mount.remote.fail(Operation::OpenWrite, 1, refused(), When::Before);
    let failed = mount.filesystem.flush_all();
    assert_eq!(failed.len(), 1);
    assert_eq!(mount.filesystem.dirty_count(), 1);
    assert_eq!(mount.filesystem.flush_all(), []);
    assert_eq!(mount.remote.paths(), ["/bad", "/good"]);
}

#[test]
fn directory_made_without_an_answer_is_found_when_it_is_there() {
    let mount = Mount::new(|_| {});
    mount.remote.fail(Operation::MakeDirectory, 0, lost(), When::After);
    assert!(mount.filesystem.make_directory(Access::Server, ROOT, b"d", 0o755).is_err());
    assert!(mount.find("d").is_some());
    assert_eq!(mount.names(ROOT), ["d"]);
}

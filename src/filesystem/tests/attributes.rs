//! Times, permissions, owners, space.

use super::*;
use crate::protocol::Precision;
use crate::remote::Space;

fn minutes_only(remote: &MemoryRemote) {
    remote.behave(|behaviour| behaviour.listing_precision = Precision::Minute);
}

#[test]
fn time_set_on_an_open_written_file_is_there_after_close() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "x");
    let ino = mount.ino("f");
    let found =
        mount.filesystem.set_attributes(Access::MemoryOnly, ino, Some(handle), set_time(1_000_000_000)).unwrap();
    assert_eq!(found.attributes.mtime, at(1_000_000_000));
    mount.close(handle);
    assert_eq!(mount.remote.modified("/f"), Some(1_000_000_000));
    assert_eq!(mount.find("f").unwrap().mtime, at(1_000_000_000));
}

#[test]
fn time_set_by_path_on_a_clean_file_is_set_at_once_and_read_back_to_the_second() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    let with_fraction = SetTime::At(at(1_000_000_000) + Duration::from_millis(700));
    let changes = SetAttributes { mtime: Some(with_fraction), ..SetAttributes::default() };
    assert_eq!(mount.set("f", changes).unwrap().mtime, at(1_000_000_000));
    assert_eq!(mount.remote.modified("/f"), Some(1_000_000_000));
    mount.advance(31);
    assert_eq!(mount.find("f").unwrap().mtime, at(1_000_000_000));
}

#[test]
fn write_after_a_set_time_counts_as_a_change() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    let ino = mount.ino("f");
    mount.filesystem.set_attributes(Access::Server, ino, Some(handle), set_time(5)).unwrap();
    mount.write(handle, 0, "x");
    mount.close(handle);
    assert_eq!(mount.remote.modified("/f"), Some(1_700_000_000));
}

#[test]
fn time_that_the_server_cannot_set_is_shown_for_the_mount() {
    let mount = Mount::new(|remote| {
        remote.behave(|behaviour| behaviour.set_modified = false);
        remote.put("/f", "x");
        remote.put_directory("/d");
    });
    assert_eq!(mount.set("f", set_time(5)).unwrap().mtime, at(5));
    assert_eq!(mount.set("d", set_time(6)).unwrap().mtime, at(6));
    mount.advance(100);
    assert_eq!(mount.find("f").unwrap().mtime, at(5));
    mount.rename("f", "g").unwrap();
    assert_eq!(mount.find("g").unwrap().mtime, at(5));
    mount.remote.put("/g", "changed by others");
    mount.advance(100);
    assert_eq!(mount.find("g").unwrap().mtime, at(1_700_000_100));
}

#[test]
fn time_that_a_server_refuses_for_a_directory_is_no_failure() {
    let mount = Mount::new(|remote| remote.put_directory("/d"));
    let refused = RemoteError::Refused { reply: "550 Not a regular file".into() };
    mount.remote.fail(Operation::SetModified, 0, refused.clone(), When::Before);
    assert_eq!(mount.set("d", set_time(6)).unwrap().mtime, at(6));
    mount.remote.put("/f", "x");
    mount.advance(60);
    mount.remote.fail(Operation::SetModified, 0, refused, When::Before);
    assert!(matches!(mount.set("f", set_time(6)), Err(FilesystemError::Refused { .. })));
}

#[test]
fn exact_times_of_a_directory_are_asked_for_at_once_and_stick() {
    let mount = Mount::new(|remote| {
        minutes_only(remote);
        remote.advance(17);
        for number in 0..200 {
            remote.put(&format!("/f{number}"), "x");
        }
    });
    let exact = at(1_700_000_017);
    assert_eq!(mount.find("f7").unwrap().mtime, exact);
    for entry in mount.pages(ROOT, 50, true) {
        assert_eq!(entry.found.unwrap().attributes.mtime, exact);
    }
    assert_eq!(mount.remote.calls(Operation::Times), 1);
    mount.advance(31);
    assert_eq!(mount.pages(ROOT, 50, true).len(), 200);
    assert_eq!(mount.find("f9").unwrap().mtime, exact);
    assert_eq!(
        mount.remote.calls(Operation::Times),
        1,
        "a listing that agrees with what is known needs no new question"
    );
    assert!(mount.remote.calls(Operation::List) >= 2);
}

#[test]
fn changed_file_gets_its_new_exact_time() {
    let mount = Mount::new(|remote| {
        minutes_only(remote);
        remote.put("/f", "x");
    });
    assert_eq!(mount.find("f").unwrap().mtime, at(1_700_000_000));
    mount.advance(75);
    mount.remote.put("/f", "y");
    mount.pages(ROOT, 10, false);
    assert_eq!(mount.find("f").unwrap().mtime, at(1_700_000_075));
}

#[test]
fn time_of_an_uploaded_file_is_the_servers_and_does_not_change_again() {
    for minutes in [false, true] {
        let mount = Mount::new(|remote| {
            if minutes {
                minutes_only(remote);
            }
            // The server's clock is not ours.
            remote.advance(1234);
        });
        let handle = mount.create("f");
        mount.write(handle, 0, "x");
        mount.close(handle);
        let after_close = mount.find("f").unwrap().mtime;
        assert_eq!(after_close, at(1_700_001_234));
        for _ in 0..3 {
            mount.advance(31);
            mount.pages(ROOT, 10, true);
            assert_eq!(mount.find("f").unwrap().mtime, after_close);
        }
    }
}

#[test]
fn permissions_are_set_where_the_server_can_and_shown_where_it_cannot() {
    let chmod = |mode| SetAttributes { mode: Some(mode), ..SetAttributes::default() };
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    assert_eq!(mount.set("f", chmod(0o755)).unwrap().mode, 0o755);
    assert_eq!(mount.remote.mode("/f"), Some(0o755));

    mount.remote.behave(|behaviour| behaviour.set_mode = false);
    assert_eq!(mount.set("f", chmod(0o600)).unwrap().mode, 0o600);
    assert_eq!(mount.remote.mode("/f"), Some(0o755));
    mount.advance(60);
    assert_eq!(mount.find("f").unwrap().mode, 0o600);
}

#[test]
fn new_script_is_executable_on_the_server_after_close() {
    let mount = Mount::new(|_| {});
    let (found, opened) = mount.filesystem.create(Access::Server, ROOT, b"script", 0o755, BOTH).unwrap();
    assert_eq!(found.attributes.mode, 0o755);
    mount.close(opened.handle);
    assert_eq!(mount.remote.mode("/script"), Some(0o755));
    let handle = mount.open("script", WRITE);
    mount.write(handle, 0, "#!/bin/sh");
    mount.close(handle);
    assert_eq!(mount.remote.mode("/script"), Some(0o755), "a replaced file keeps its permissions");
}

#[test]
fn usual_permissions_of_a_new_file_cost_no_command() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.close(handle);
    assert_eq!(mount.remote.calls(Operation::SetMode), 0);
}

#[test]
fn owner_can_be_set_to_what_it_is_and_to_nothing_else() {
    let chown = |uid| SetAttributes { uid: Some(uid), ..SetAttributes::default() };
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    mount.set("f", chown(0)).unwrap();
    assert!(matches!(mount.set("f", chown(7)), Err(FilesystemError::NotPermitted { .. })));
    let lenient = FilesystemOptions { ignore_owner_changes: true, ..FilesystemOptions::default() };
    let mount = Mount::with_options(|remote| remote.put("/f", "x"), lenient);
    assert_eq!(mount.set("f", chown(7)).unwrap().uid, 0);
}

#[test]
fn access_time_alone_is_accepted_and_asks_nothing() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    let ino = mount.ino("f");
    let changes = SetAttributes { atime: Some(SetTime::Now), ..SetAttributes::default() };
    mount.filesystem.set_attributes(Access::MemoryOnly, ino, None, changes).unwrap();
}

#[test]
fn masks_and_fixed_modes_apply_to_what_the_server_lists() {
    let options = FilesystemOptions {
        uid: 5,
        gid: 6,
        file_mask: 0o022,
        directory_mode: Some(0o700),
        ..FilesystemOptions::default()
    };
    let mount = Mount::with_options(|remote| remote.put_directory("/d"), options);
    mount.remote.put("/f", "x");
    mount.advance(31);
    let (d, f) = (mount.find("d").unwrap(), mount.find("f").unwrap());
    assert_eq!((d.mode, d.uid, d.gid, d.nlink), (0o700, 5, 6, 2));
    assert_eq!((f.mode, f.uid, f.gid, f.nlink), (0o644, 5, 6, 1));
}

#[test]
fn space_is_never_zero() {
    let mount = Mount::new(|_| {});
    let unknown = mount.filesystem.space(Access::Server, ROOT).unwrap();
    assert!(unknown.blocks > 0 && unknown.blocks_free > 0 && unknown.files_free > 0);
    mount.remote.behave(|behaviour| behaviour.space = Some(Space { available: 0, total: Some(1 << 20) }));
    mount.advance(31);
    let full = mount.filesystem.space(Access::Server, ROOT).unwrap();
    assert_eq!((full.blocks, full.blocks_free, full.name_len_max), (256, 1, 255));
    assert_eq!(mount.filesystem.space(Access::MemoryOnly, ROOT), Ok(full));
}

//! Names: which are refused, which are hidden.

use super::*;

#[test]
fn name_with_a_line_break_is_refused_and_nothing_is_sent() {
    let mount = Mount::new(|_| {});
    let calls = mount.remote.calls_in_all();
    let filesystem = &mount.filesystem;
    let bad = b"a\r\nDELE b";
    let refused = |result: FilesystemResult<()>| assert!(matches!(result, Err(FilesystemError::NameNotAllowed { .. })));
    refused(filesystem.lookup(Access::Server, ROOT, bad).map(|_| ()));
    refused(filesystem.make_directory(Access::Server, ROOT, bad, 0o755).map(|_| ()));
    refused(filesystem.create(Access::Server, ROOT, bad, 0o644, BOTH).map(|_| ()));
    refused(filesystem.unlink(Access::Server, ROOT, bad));
    refused(filesystem.rename(Access::Server, ROOT, bad, ROOT, b"x", false));
    refused(filesystem.make_symlink(Access::Server, ROOT, bad, b"x").map(|_| ()));
    assert_eq!(mount.remote.calls_in_all(), calls);
}

#[test]
fn name_of_more_than_255_bytes_is_too_long() {
    let mount = Mount::new(|_| {});
    let (longest, longer) = ("n".repeat(255), "n".repeat(256));
    let handle = mount.create(&longest);
    mount.close(handle);
    assert_eq!(mount.remote.paths(), [format!("/{longest}")]);
    let result = mount.filesystem.lookup(Access::Server, ROOT, longer.as_bytes());
    assert_eq!(result, Err(FilesystemError::NameTooLong));
}

#[test]
fn listed_name_of_more_than_255_bytes_is_hidden_and_the_others_are_shown() {
    let longest = "n".repeat(255);
    let mount = Mount::new(|remote| {
        remote.put(&format!("/{longest}"), "x");
        remote.put(&format!("/{}", "m".repeat(256)), "x");
    });
    assert_eq!(mount.names(ROOT), [longest]);
}

#[test]
fn names_of_uploads_under_way_are_hidden_and_cannot_be_made() {
    let mount = Mount::new(|remote| {
        remote.put("/.ftpfs-1234.part", "half");
        remote.put("/.ftpfs-notes", "mine");
    });
    assert_eq!(mount.names(ROOT), [".ftpfs-notes"]);
    assert_eq!(mount.find(".ftpfs-1234.part"), None);
    let result = mount.filesystem.create(Access::Server, ROOT, b".ftpfs-x.part", 0o644, BOTH);
    assert!(matches!(result, Err(FilesystemError::NameNotAllowed { .. })));
}

#[test]
fn bytes_that_are_no_text_are_a_name_like_any_other() {
    let mount = Mount::new(|_| {});
    let name = b"\xff\xfe *?[~ ";
    let (_, opened) = mount.filesystem.create(Access::Server, ROOT, name, 0o644, BOTH).unwrap();
    mount.close(opened.handle);
    assert!(matches!(mount.filesystem.lookup(Access::Server, ROOT, name), Ok(LookupResult::Found(_))));
}

#[test]
fn symbolic_links_are_shown_with_their_targets_and_lead_nowhere_out_of_the_mount() {
    let mount = Mount::new(|remote| {
        remote.behave(|behaviour| behaviour.stat_follows_links = true);
        remote.put("/file", "content");
        remote.put_symlink("/link", "file");
        remote.put_directory("/d");
        remote.put_symlink("/d/absolute", "/etc/passwd");
        for (name, target) in [("up", "../.."), ("round", "x/../../.."), ("far", "../../../../etc/passwd")] {
            remote.put_symlink(&format!("/d/{name}"), target);
        }
    });
    let read = |path| mount.filesystem.read_link(Access::Server, mount.ino(path));
    assert_eq!(read("link").unwrap(), b"file");
    // A path on the server, not on this machine.
    assert_eq!(read("d/absolute").unwrap(), b"../etc/passwd");
    for path in ["d/up", "d/round", "d/far"] {
        assert!(matches!(read(path), Err(FilesystemError::NotPermitted { .. })), "{path}");
    }
    assert_eq!(mount.find("link").unwrap().size, 4);
    // A question about the link alone is answered for what it points to; it stays a link all the same.
    mount.advance(31);
    assert_eq!(mount.find("link").unwrap().kind, crate::protocol::EntryKind::Symlink);
    assert_eq!(read("file"), Err(FilesystemError::InvalidArgument));
}

#[test]
fn targets_of_symbolic_links_are_told_as_they_are_where_that_is_wanted() {
    let options = FilesystemOptions { links: Links::AsTold, ..FilesystemOptions::default() };
    let mount = Mount::with_options(|remote| remote.put_symlink("/evil", "/etc/../passwd"), options);
    let told = mount.filesystem.read_link(Access::Server, mount.ino("evil"));
    assert_eq!(told.unwrap(), b"/etc/../passwd");
}

#[test]
fn link_in_a_directory_that_was_moved_up_is_measured_from_where_it_is() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/a");
        remote.put_directory("/a/b");
        remote.put_symlink("/a/b/link", "../../x");
    });
    let (link, a) = (mount.ino("a/b/link"), mount.ino("a"));
    let read = || mount.filesystem.read_link(Access::Server, link);
    assert_eq!(read().unwrap(), b"../../x");
    mount.filesystem.rename(Access::Server, a, b"b", ROOT, b"b", false).unwrap();
    assert!(matches!(read(), Err(FilesystemError::NotPermitted { .. })), "{:?}", read());
}

#[test]
fn symbolic_links_that_would_not_be_shown_as_they_are_made_are_not_made() {
    let mount = Mount::new(|remote| remote.behave(|behaviour| behaviour.symlinks = true));
    for target in [&b"../x"[..], b"/x", b"a/../b"] {
        let made = mount.filesystem.make_symlink(Access::Server, ROOT, b"link", target);
        assert!(matches!(made, Err(FilesystemError::NotPermitted { .. })), "{made:?}");
    }
    assert_eq!(mount.remote.paths(), Vec::<String>::new());
}

#[test]
fn symbolic_links_are_made_where_the_server_can_and_not_permitted_where_it_cannot() {
    let mount = Mount::new(|_| {});
    let make = || mount.filesystem.make_symlink(Access::Server, ROOT, b"link", b"to").map(|found| found.attributes);
    assert!(matches!(make(), Err(FilesystemError::NotPermitted { .. })));
    mount.remote.behave(|behaviour| behaviour.symlinks = true);
    assert_eq!(mount.filesystem.read_link(Access::Server, make().unwrap().ino).unwrap(), b"to");
    mount.unlink("link").unwrap();
    assert_eq!(mount.remote.paths(), Vec::<String>::new());
}

#[test]
fn read_only_mount_changes_nothing() {
    let options = FilesystemOptions { read_only: true, ..FilesystemOptions::default() };
    let mount = Mount::with_options(|remote| remote.put("/f", "x"), options);
    let ino = mount.ino("f");
    let filesystem = &mount.filesystem;
    let read_only = |result: FilesystemResult<()>| assert_eq!(result, Err(FilesystemError::ReadOnly));
    read_only(filesystem.open(Access::Server, ino, WRITE).map(|_| ()));
    read_only(filesystem.create(Access::Server, ROOT, b"g", 0o644, BOTH).map(|_| ()));
    read_only(filesystem.make_directory(Access::Server, ROOT, b"d", 0o755).map(|_| ()));
    read_only(filesystem.make_node(Access::Server, ROOT, b"n", 0o755).map(|_| ()));
    read_only(filesystem.unlink(Access::Server, ROOT, b"f"));
    read_only(filesystem.remove_directory(Access::Server, ROOT, b"f"));
    read_only(mount.rename("f", "g"));
    read_only(mount.set("f", set_time(1)).map(|_| ()));
    assert_eq!(mount.cat("f"), "x");
    assert_eq!(mount.remote.paths(), ["/f"]);
}

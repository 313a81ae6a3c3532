//! Opening, reading, writing, closing.

use super::*;

#[test]
fn created_file_is_seen_at_once_and_on_the_server_after_close() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("new");
    assert_eq!(mount.find("new").unwrap().size, 0);
    assert_eq!(mount.names(ROOT), ["new"]);
    assert_eq!(mount.remote.content("/new"), None);
    mount.close(handle);
    assert_eq!(mount.remote.content("/new"), Some(Vec::new()));
    assert_eq!(mount.filesystem.dirty_count(), 0);
}

#[test]
fn written_bytes_are_read_back_before_and_after_close() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "hello world");
    mount.write(handle, 6, "there");
    assert_eq!(mount.read(handle), "hello there");
    assert_eq!(mount.find("f").unwrap().size, 11);
    mount.close(handle);
    assert_eq!(mount.cat("f"), "hello there");
    assert_eq!(mount.remote.content("/f").unwrap(), b"hello there");
}

#[test]
fn write_into_the_middle_keeps_the_rest() {
    let mount = Mount::new(|remote| remote.put("/f", "0123456789"));
    let handle = mount.open("f", WRITE);
    mount.write(handle, 3, "xy");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"012xy56789");
}

#[test]
fn gap_behind_the_end_is_zeros() {
    let mount = Mount::new(|remote| remote.put("/f", "ab"));
    let handle = mount.open("f", BOTH);
    mount.write(handle, 4, "c");
    assert_eq!(mount.try_read(handle, 0, 10).unwrap(), b"ab\0\0c");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"ab\0\0c");
}

#[test]
fn append_ignores_the_offset_that_the_kernel_believes() {
    let mount = Mount::new(|remote| remote.put("/log", "one\n"));
    let handle = mount.open("log", OpenFlags { append: true, ..WRITE });
    mount.write(handle, 0, "two\n");
    mount.write(handle, 0, "three\n");
    mount.close(handle);
    assert_eq!(mount.remote.content("/log").unwrap(), b"one\ntwo\nthree\n");
}

#[test]
fn open_with_truncate_and_no_write_empties_the_file_at_close() {
    let mount = Mount::new(|remote| remote.put("/f", "old"));
    let handle = mount.open("f", OpenFlags { truncate: true, ..WRITE });
    assert_eq!(mount.find("f").unwrap().size, 0);
    assert_eq!(mount.remote.content("/f").unwrap(), b"old");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 0);
}

#[test]
fn file_made_or_emptied_by_an_open_for_reading_is_on_the_server_after_close() {
    let mount = Mount::new(|remote| remote.put("/f", "old"));
    mount.close(mount.open("f", OpenFlags { truncate: true, ..READ }));
    assert_eq!(mount.remote.content("/f").unwrap(), b"");
    let (_, made) = mount.filesystem.create(Access::Server, ROOT, b"lock", 0o644, READ).unwrap();
    mount.close(made.handle);
    assert_eq!(mount.remote.content("/lock"), Some(Vec::new()));
    assert_eq!(mount.filesystem.dirty_count(), 0);
}

#[test]
fn open_for_reading_that_empties_a_file_is_seen_by_who_writes_it() {
    let mount = Mount::new(|_| {});
    let writer = mount.create("f");
    mount.write(writer, 0, "x");
    let other = mount.open("f", OpenFlags { truncate: true, ..READ });
    assert_eq!(mount.find("f").unwrap().size, 0);
    mount.close(writer);
    mount.close(other);
    assert_eq!(mount.remote.content("/f").unwrap(), b"");
}

#[test]
fn nothing_is_fetched_to_overwrite_a_whole_file() {
    let mount = Mount::new(|remote| remote.put("/f", "0123"));
    let handle = mount.open("f", WRITE);
    mount.write(handle, 0, "abcd");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"abcd");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 0);
}

#[test]
fn truncate_by_path_cuts_and_grows_on_the_server() {
    let mount = Mount::new(|remote| remote.put("/f", "0123456789"));
    let size = |size| SetAttributes { size: Some(size), ..SetAttributes::default() };
    assert_eq!(mount.set("f", size(4)).unwrap().size, 4);
    assert_eq!(mount.remote.content("/f").unwrap(), b"0123");
    assert_eq!(mount.set("f", size(6)).unwrap().size, 6);
    assert_eq!(mount.remote.content("/f").unwrap(), b"0123\0\0");
    assert_eq!(mount.set("f", size(0)).unwrap().size, 0);
    assert_eq!(mount.remote.content("/f").unwrap(), b"");
}

#[test]
fn truncate_by_handle_is_uploaded_at_close() {
    let mount = Mount::new(|remote| remote.put("/f", "0123456789"));
    let handle = mount.open("f", BOTH);
    let changes = SetAttributes { size: Some(3), ..SetAttributes::default() };
    let ino = mount.ino("f");
    mount.filesystem.set_attributes(Access::MemoryOnly, ino, Some(handle), changes).unwrap();
    assert_eq!(mount.read(handle), "012");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"012");
}

#[test]
fn two_handles_see_each_others_writes() {
    let mount = Mount::new(|remote| remote.put("/f", "abc"));
    let (writer, reader) = (mount.open("f", WRITE), mount.open("f", READ));
    mount.write(writer, 0, "X");
    assert_eq!(mount.read(reader), "Xbc");
    mount.close(writer);
    assert_eq!(mount.read(reader), "Xbc");
    mount.close(reader);
}

#[test]
fn write_after_flush_is_uploaded_by_release() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "one");
    mount.flush(handle).unwrap();
    mount.write(handle, 0, "two");
    mount.release(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"two");
}

#[test]
fn flush_of_a_clean_file_asks_nothing() {
    let mount = Mount::new(|remote| remote.put("/f", "abc"));
    let handle = mount.open("f", BOTH);
    let calls = mount.remote.calls_in_all();
    mount.filesystem.flush(Access::MemoryOnly, handle).unwrap();
    mount.filesystem.release(Access::MemoryOnly, handle).unwrap();
    assert_eq!(mount.remote.calls_in_all(), calls);
}

#[test]
fn removed_open_file_goes_on_working_and_is_not_uploaded() {
    let mount = Mount::new(|remote| remote.put("/f", "content"));
    let handle = mount.open("f", BOTH);
    mount.unlink("f").unwrap();
    assert_eq!(mount.find("f"), None);
    assert_eq!(mount.read(handle), "content");
    mount.write(handle, 0, "C");
    assert_eq!(mount.read(handle), "Content");
    mount.close(handle);
    assert_eq!(mount.remote.paths(), Vec::<String>::new());
}

#[test]
fn replaced_open_file_goes_on_with_its_old_content() {
    let mount = Mount::new(|remote| {
        remote.put("/old", "old content");
        remote.put("/new", "new content");
    });
    let handle = mount.open("old", READ);
    mount.rename("new", "old").unwrap();
    assert_eq!(mount.read(handle), "old content");
    assert_eq!(mount.cat("old"), "new content");
    mount.close(handle);
}

#[test]
fn what_was_removed_while_it_is_open_has_no_link_left() {
    let mount = Mount::new(|remote| {
        remote.put("/f", "text");
        remote.put_directory("/d");
    });
    let links = |ino, handle| mount.filesystem.attributes(Access::Server, ino, handle).unwrap().attributes.nlink;
    let (file, directory) = (mount.ino("f"), mount.ino("d"));
    let handle = mount.open("f", READ);
    let listing = mount.filesystem.open_directory(Access::Server, directory).unwrap();
    assert_eq!((links(file, Some(handle)), links(file, None), links(directory, None)), (1, 1, 2));
    mount.unlink("f").unwrap();
    mount.filesystem.remove_directory(Access::Server, ROOT, b"d").unwrap();
    assert_eq!((links(file, Some(handle)), links(file, None), links(directory, None)), (0, 0, 0));
    mount.filesystem.release_directory(listing);
    mount.close(handle);
}

#[test]
fn open_file_too_large_to_be_kept_is_not_removed() {
    let options = FilesystemOptions { preserve_bytes_max: 3, ..FilesystemOptions::default() };
    let mount = Mount::with_options(|remote| remote.put("/f", "four"), options);
    let handle = mount.open("f", READ);
    assert!(matches!(mount.unlink("f"), Err(FilesystemError::NotPermitted { .. })));
    assert_eq!(mount.remote.content("/f").unwrap(), b"four");
    mount.close(handle);
    mount.unlink("f").unwrap();
}

#[test]
fn file_removed_before_its_first_upload_never_reaches_the_server() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "secret");
    let calls = mount.remote.calls_in_all();
    mount.filesystem.unlink(Access::MemoryOnly, ROOT, b"f").unwrap();
    assert_eq!(mount.names(ROOT), Vec::<String>::new());
    mount.close(handle);
    assert_eq!(mount.remote.calls_in_all(), calls);
}

#[test]
fn dirty_file_is_uploaded_before_it_is_renamed() {
    let mount = Mount::new(|remote| remote.put("/target", "old"));
    let handle = mount.create("part");
    mount.write(handle, 0, "new");
    mount.rename("part", "target").unwrap();
    assert_eq!(mount.remote.content("/target").unwrap(), b"new");
    assert_eq!(mount.remote.content("/part"), None);
    mount.write(handle, 3, "er");
    mount.close(handle);
    assert_eq!(mount.remote.paths(), ["/target"]);
    assert_eq!(mount.remote.content("/target").unwrap(), b"newer");
}

#[test]
fn file_below_a_renamed_directory_is_uploaded_to_its_new_place() {
    let mount = Mount::new(|remote| remote.put_directory("/a"));
    let a = mount.ino("a");
    let (_, opened) = mount.filesystem.create(Access::Server, a, b"f", 0o644, BOTH).unwrap();
    mount.write(opened.handle, 0, "one");
    mount.rename("a", "b").unwrap();
    mount.write(opened.handle, 0, "two");
    mount.close(opened.handle);
    assert_eq!(mount.remote.paths(), ["/b/", "/b/f"]);
    assert_eq!(mount.remote.content("/b/f").unwrap(), b"two");
}

#[test]
fn exclusive_create_of_an_existing_file_is_refused_by_what_the_server_says_now() {
    let mount = Mount::new(|_| {});
    assert_eq!(mount.find("lock"), None);
    mount.remote.put("/lock", "theirs");
    mount.advance(2);
    let flags = OpenFlags { exclusive: true, ..BOTH };
    let result = mount.filesystem.create(Access::Server, ROOT, b"lock", 0o600, flags);
    assert_eq!(result.map(|_| ()), Err(FilesystemError::Exists));
    assert_eq!(mount.remote.content("/lock").unwrap(), b"theirs");
}

#[test]
fn create_without_exclusive_opens_what_is_there() {
    let mount = Mount::new(|remote| remote.put("/f", "there"));
    let (found, opened) = mount.filesystem.create(Access::Server, ROOT, b"f", 0o644, BOTH).unwrap();
    assert_eq!(found.attributes.size, 5);
    assert_eq!(mount.read(opened.handle), "there");
    mount.close(opened.handle);
}

#[test]
fn allocate_grows_the_file_and_with_keep_size_does_not() {
    let mount = Mount::new(|remote| remote.put("/f", "ab"));
    let handle = mount.open("f", BOTH);
    mount.filesystem.allocate(Access::MemoryOnly, handle, 0, 100, true).unwrap();
    assert_eq!(mount.find("f").unwrap().size, 2);
    mount.filesystem.allocate(Access::MemoryOnly, handle, 2, 2, false).unwrap();
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"ab\0\0");
}

#[test]
fn all_of_a_file_is_data_and_its_hole_is_at_the_end() {
    let mount = Mount::new(|remote| remote.put("/f", "abc"));
    let handle = mount.open("f", READ);
    let seek = |offset, what| mount.filesystem.seek(Access::Server, handle, offset, what);
    assert_eq!(seek(1, SeekFor::Data), Ok(1));
    assert_eq!(seek(1, SeekFor::Hole), Ok(3));
    assert_eq!(seek(3, SeekFor::Data), Err(FilesystemError::NoData));
    mount.close(handle);
}

#[test]
fn node_exists_on_the_server_at_once() {
    let mount = Mount::new(|_| {});
    mount.filesystem.make_node(Access::Server, ROOT, b"n", 0o644).unwrap();
    assert_eq!(mount.remote.content("/n").unwrap(), b"");
    let again = mount.filesystem.make_node(Access::Server, ROOT, b"n", 0o644);
    assert_eq!(again.map(|_| ()), Err(FilesystemError::Exists));
}

#[test]
fn handles_refuse_what_they_were_not_opened_for() {
    let mount = Mount::new(|remote| remote.put("/f", "abc"));
    let (reader, writer) = (mount.open("f", READ), mount.open("f", WRITE));
    assert_eq!(mount.filesystem.write(Access::Server, reader, 0, b"x"), Err(FilesystemError::BadHandle));
    assert_eq!(mount.try_read(writer, 0, 1), Err(FilesystemError::BadHandle));
    assert_eq!(mount.try_read(HandleId(99), 0, 1), Err(FilesystemError::BadHandle));
    mount.close(reader);
    mount.close(writer);
}

#[test]
fn everything_is_forgotten_when_the_kernel_has_let_go() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/f", "abc");
    });
    let d = mount.find_in(ROOT, "d").unwrap().ino;
    let f = mount.find_in(d, "f").unwrap().ino;
    let handle = mount.filesystem.open(Access::Server, f, BOTH).unwrap().handle;
    mount.write(handle, 0, "x");
    // FORGET may overtake RELEASE.
    mount.filesystem.forget(f, 1);
    mount.filesystem.forget(d, 1);
    mount.release(handle);
    assert_eq!(mount.remote.content("/d/f").unwrap(), b"xbc");
    assert_eq!(mount.filesystem.known_counts(), (1, 0));
}

#[test]
fn renamed_file_is_what_is_seen_where_a_file_not_yet_uploaded_was() {
    let mount = Mount::new(|remote| remote.put("/a", "content"));
    let handle = mount.create("b");
    mount.rename("a", "b").unwrap();
    assert_eq!(mount.find("b").unwrap().size, 7);
    assert_eq!(mount.read(handle), "");
    mount.close(handle);
    assert_eq!(mount.remote.paths(), ["/b"]);
    assert_eq!(mount.remote.content("/b").unwrap(), b"content");
}

#[test]
fn create_opens_what_another_client_made_meanwhile_and_keeps_it() {
    let mount = Mount::new(|_| {});
    assert_eq!(mount.find("log"), None);
    mount.remote.put("/log", "theirs\n");
    mount.advance(2);
    let flags = OpenFlags { append: true, ..WRITE };
    let (_, opened) = mount.filesystem.create(Access::Server, ROOT, b"log", 0o644, flags).unwrap();
    mount.write(opened.handle, 0, "ours\n");
    mount.close(opened.handle);
    assert_eq!(mount.remote.content("/log").unwrap(), b"theirs\nours\n");
}

#[test]
fn create_makes_what_another_client_removed_meanwhile() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    assert!(mount.find("f").is_some());
    mount.remote.delete("/f");
    mount.advance(2);
    mount.close(mount.create("f"));
    assert_eq!(mount.remote.content("/f").unwrap(), b"");
}

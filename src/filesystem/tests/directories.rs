//! Lookups, listings, directories, renames.

use super::*;

#[test]
fn one_listing_answers_all_lookups_of_a_directory() {
    let mount = Mount::new(|remote| {
        for number in 0..50 {
            remote.put(&format!("/f{number}"), "x");
        }
    });
    let calls = mount.remote.calls_in_all();
    for number in 0..100 {
        let known = mount.filesystem.lookup(Access::MemoryOnly, ROOT, format!("f{number}").as_bytes()).unwrap();
        assert_eq!(matches!(known, LookupResult::Found(_)), number < 50);
    }
    assert_eq!(mount.remote.calls_in_all(), calls);
}

#[test]
fn directory_is_read_in_pages_of_any_size_each_name_once() {
    let mount = Mount::new(|remote| {
        for number in 0..10 {
            remote.put(&format!("/f{number}"), "x");
        }
    });
    for page in 1..14 {
        let mut names: Vec<_> = mount.pages(ROOT, page, true).into_iter().map(|entry| entry.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 10, "{page} at a time");
    }
}

#[test]
fn names_made_and_removed_while_a_directory_is_read_do_not_disturb_the_others() {
    let mount = Mount::new(|remote| {
        for number in 0..6 {
            remote.put(&format!("/f{number}"), "x");
        }
    });
    let handle = mount.filesystem.open_directory(Access::Server, ROOT).unwrap();
    let read = |cookie| mount.filesystem.read_directory(Access::Server, handle, cookie, 4, false).unwrap();
    let first = read(0);
    mount.unlink("f0").unwrap();
    mount.filesystem.make_directory(Access::Server, ROOT, b"new", 0o755).unwrap();
    let rest: Vec<_> = read(first.last().unwrap().next_cookie).into_iter().map(|entry| entry.name).collect();
    assert_eq!(rest, [Box::from(*b"f2"), Box::from(*b"f3"), Box::from(*b"f4"), Box::from(*b"f5")]);
    assert!(
        mount
            .filesystem
            .read_directory(Access::Server, handle, 0, 100, false)
            .unwrap()
            .iter()
            .any(|e| &*e.name == b"new")
    );
    mount.filesystem.release_directory(handle);
}

#[test]
fn entry_has_the_same_number_in_readdir_and_lookup() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    let entry = mount.pages(ROOT, 10, true).remove(0);
    assert_eq!(mount.filesystem.known_counts(), (1, 0));
    let handle = mount.filesystem.open_directory(Access::Server, ROOT).unwrap();
    mount.filesystem.remember(handle, &entry);
    mount.filesystem.release_directory(handle);
    assert_eq!(mount.ino("f"), entry.ino);
    assert_eq!(entry.found.unwrap().attributes.ino, entry.ino);
    mount.filesystem.forget(entry.ino, 2);
    assert_eq!(mount.filesystem.known_counts(), (1, 0));
}

#[test]
fn made_directory_is_known_to_be_empty_without_a_question() {
    let mount = Mount::new(|_| {});
    let made = mount.filesystem.make_directory(Access::Server, ROOT, b"d", 0o755).unwrap().attributes.ino;
    let calls = mount.remote.calls_in_all();
    let absent = mount.filesystem.lookup(Access::MemoryOnly, made, b"x").unwrap();
    assert!(matches!(absent, LookupResult::Absent { .. }));
    assert_eq!(mount.names(made), Vec::<String>::new());
    assert_eq!(mount.remote.calls_in_all(), calls);
}

#[test]
fn made_directory_with_unusual_permissions_gets_them_on_the_server() {
    let mount = Mount::new(|_| {});
    mount.filesystem.make_directory(Access::Server, ROOT, b"private", 0o700).unwrap();
    assert_eq!(mount.remote.mode("/private"), Some(0o700));
    assert_eq!(mount.find("private").unwrap().mode, 0o700);
}

#[test]
fn directory_that_exists_is_not_made_again() {
    let mount = Mount::new(|_| {});
    mount.remote.put_directory("/d");
    let again = mount.filesystem.make_directory(Access::Server, ROOT, b"d", 0o755);
    assert_eq!(again.map(|_| ()), Err(FilesystemError::Exists));
}

#[test]
fn directory_with_entries_is_not_removed_even_if_they_are_only_here() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/full");
        remote.put("/full/f", "x");
        remote.put_directory("/fresh");
    });
    let remove = |name: &str| mount.filesystem.remove_directory(Access::Server, ROOT, name.as_bytes());
    assert_eq!(remove("full"), Err(FilesystemError::NotEmpty));
    let fresh = mount.ino("fresh");
    let (_, opened) = mount.filesystem.create(Access::Server, fresh, b"f", 0o644, BOTH).unwrap();
    assert_eq!(remove("fresh"), Err(FilesystemError::NotEmpty));
    mount.filesystem.unlink(Access::Server, fresh, b"f").unwrap();
    mount.close(opened.handle);
    remove("fresh").unwrap();
    assert_eq!(mount.find("fresh"), None);
}

#[test]
fn rename_replaces_a_file_and_moves_across_directories() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        remote.put("/a", "new");
        remote.put("/d/b", "old");
    });
    let (d, a) = (mount.ino("d"), mount.ino("a"));
    mount.filesystem.rename(Access::Server, ROOT, b"a", d, b"b", false).unwrap();
    assert_eq!(mount.remote.paths(), ["/d/", "/d/b"]);
    assert_eq!(mount.ino("d/b"), a, "the file keeps its number");
    assert_eq!(mount.cat("d/b"), "new");
    assert_eq!(mount.find("a"), None);
}

#[test]
fn rename_without_replacing_asks_the_server_what_is_there_now() {
    let mount = Mount::new(|remote| remote.put("/a", "a"));
    assert_eq!(mount.find("b"), None);
    mount.remote.put("/b", "b");
    mount.advance(2);
    let rename = |to: &[u8]| mount.filesystem.rename(Access::Server, ROOT, b"a", ROOT, to, true);
    assert_eq!(rename(b"b"), Err(FilesystemError::Exists));
    rename(b"c").unwrap();
    assert_eq!(mount.remote.paths(), ["/b", "/c"]);
}

#[test]
fn rename_keeps_files_and_directories_apart() {
    let mount = Mount::new(|remote| {
        remote.put("/f", "x");
        remote.put_directory("/d");
        remote.put_directory("/empty");
        remote.put_directory("/full");
        remote.put("/full/f", "x");
    });
    assert_eq!(mount.rename("f", "d"), Err(FilesystemError::IsDirectory));
    assert_eq!(mount.rename("d", "f"), Err(FilesystemError::NotDirectory));
    assert_eq!(mount.rename("d", "full"), Err(FilesystemError::NotEmpty));
    assert_eq!(mount.rename("gone", "x"), Err(FilesystemError::NotFound));
    mount.rename("d", "empty").unwrap();
    assert_eq!(mount.remote.paths(), ["/empty/", "/f", "/full/", "/full/f"]);
}

#[test]
fn files_below_a_renamed_directory_are_found_at_the_new_place_only() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/a");
        remote.put("/a/f", "x");
    });
    let file = mount.ino("a/f");
    mount.rename("a", "b").unwrap();
    assert_eq!(mount.find("a"), None);
    assert_eq!(mount.ino("b/f"), file);
    assert_eq!(mount.cat("b/f"), "x");
}

#[test]
fn removed_file_is_gone_at_once_and_its_name_is_free() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    mount.unlink("f").unwrap();
    let calls = mount.remote.calls_in_all();
    assert_eq!(mount.find("f"), None);
    assert_eq!(mount.names(ROOT), Vec::<String>::new());
    assert_eq!(mount.remote.calls_in_all(), calls);
    assert_eq!(mount.unlink("f"), Err(FilesystemError::NotFound));
}

#[test]
fn file_is_no_directory_and_a_directory_no_file() {
    let mount = Mount::new(|remote| {
        remote.put("/f", "x");
        remote.put_directory("/d");
    });
    let (f, d) = (mount.ino("f"), mount.ino("d"));
    let filesystem = &mount.filesystem;
    assert_eq!(filesystem.lookup(Access::Server, f, b"x"), Err(FilesystemError::NotDirectory));
    assert_eq!(filesystem.open_directory(Access::Server, f), Err(FilesystemError::NotDirectory));
    assert_eq!(filesystem.open(Access::Server, d, READ), Err(FilesystemError::IsDirectory));
    assert_eq!(mount.unlink("d"), Err(FilesystemError::IsDirectory));
    assert_eq!(filesystem.remove_directory(Access::Server, ROOT, b"f"), Err(FilesystemError::NotDirectory));
    assert_eq!(filesystem.lookup(Access::Server, InodeNumber(77), b"x"), Err(FilesystemError::Stale));
}

/// A directory whose listing comes in parts of 1000 names, the second part held back.
fn with_a_long_listing(work: impl FnOnce(&Mount, InodeNumber, HandleId)) {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        (0..5000).for_each(|number| remote.put(&format!("/d/f{number:04}"), "x"));
    });
    mount.remote.behave(|behaviour| behaviour.listing_part_len = Some(1000));
    let directory = mount.ino("d");
    mount.remote.hold(Operation::ListPart);
    let (sender, receiver) = crossbeam_channel::bounded(1);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let early = &mut |handle| sender.send(handle).unwrap();
            mount.filesystem.open_directory_early(Access::Server, directory, early)
        });
        let handle = receiver.recv_timeout(Duration::from_secs(20)).expect("it is open before all is listed");
        work(&mount, directory, handle);
        mount.remote.let_go(Operation::ListPart);
        assert_eq!(opening.join().unwrap(), Ok(None));
        mount.filesystem.release_directory(handle);
    });
    assert_eq!(mount.filesystem.known_counts().1, 0);
}

impl Mount {
    /// Reads on until there is no more, or an error.
    fn read_on(
        &self,
        access: Access,
        handle: HandleId,
        cookie: &mut u64,
        plus: bool,
    ) -> (Vec<String>, FilesystemResult<()>) {
        let mut names = Vec::new();
        loop {
            match self.filesystem.read_directory(access, handle, *cookie, 300, plus) {
                Ok(page) => {
                    let Some(last) = page.last() else { return (names, Ok(())) };
                    *cookie = last.next_cookie;
                    names.extend(page.iter().map(|entry| String::from_utf8(entry.name.to_vec()).unwrap()));
                }
                Err(error) => return (names, Err(error)),
            }
        }
    }
}

#[test]
fn names_of_a_long_listing_are_read_before_it_is_at_its_end() {
    for plus in [false, true] {
        with_a_long_listing(|mount, directory, handle| {
            let mut cookie = 0;
            let (mut names, end) = mount.read_on(Access::MemoryOnly, handle, &mut cookie, plus);
            assert_eq!((names.len(), end), (1002, Err(FilesystemError::WouldWait)), "the dots and the first part");
            // One that was shown is known, one that was not is not, and nothing is absent yet.
            let known = |name: &[u8]| mount.filesystem.lookup(Access::MemoryOnly, directory, name);
            assert!(matches!(known(b"f0500"), Ok(LookupResult::Found(_))));
            assert_eq!(known(b"f1500"), Err(FilesystemError::WouldWait));
            assert_eq!(known(b"none"), Err(FilesystemError::WouldWait));
            // What is changed here meanwhile is right in it.
            mount.filesystem.unlink(Access::Server, directory, b"f0007").unwrap();
            assert_eq!(known(b"f0007").unwrap(), LookupResult::Absent { ttl: Duration::from_secs(1) });
            let second = mount.filesystem.open_directory_early(Access::Server, directory, &mut |second| {
                let (names, end) = mount.read_on(Access::MemoryOnly, second, &mut 0, plus);
                assert_eq!((names.len(), end), (1001, Err(FilesystemError::WouldWait)));
                assert!(!names.contains(&"f0007".to_owned()));
                mount.filesystem.release_directory(second);
            });
            assert_eq!(second, Ok(None), "who joins it does not wait for its end");
            mount.remote.let_go(Operation::ListPart);
            let (rest, end) = mount.read_on(Access::Server, handle, &mut cookie, plus);
            assert_eq!(end, Ok(()));
            names.extend(rest);
            assert_eq!(names.len(), 5002);
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 5002, "each once");
            assert_eq!(mount.names(directory).len(), 4999);
            assert_eq!(mount.remote.calls(Operation::List), 2);
        });
    }
}

#[test]
fn long_listing_that_breaks_off_ends_with_an_error_behind_what_it_showed() {
    with_a_long_listing(|mount, directory, handle| {
        let mut cookie = 0;
        let (names, _) = mount.read_on(Access::MemoryOnly, handle, &mut cookie, false);
        assert_eq!(names.len(), 1002);
        mount.remote.fail(Operation::ListPart, 0, lost(), When::Before);
        mount.remote.let_go(Operation::ListPart);
        let (_, end) = mount.read_on(Access::Server, handle, &mut cookie, false);
        assert_eq!(end, Err(lost().into()));
        // What it has shown proves nothing of the rest, and is not kept.
        mount.remote.behave(|behaviour| behaviour.listing_part_len = None);
        assert_eq!(mount.find_in(directory, "none"), None);
        assert_eq!(mount.names(directory).len(), 5000);
        assert_eq!(mount.remote.calls(Operation::List), 3);
    });
}

#[test]
fn directory_that_goes_away_while_it_is_read_ends_with_an_error_and_not_as_if_that_were_all() {
    with_a_long_listing(|mount, directory, handle| {
        let mut cookie = 0;
        assert_eq!(mount.read_on(Access::MemoryOnly, handle, &mut cookie, false).0.len(), 1002);
        mount.remote.fail(Operation::ListPart, 0, RemoteError::NotFound, When::Before);
        mount.remote.let_go(Operation::ListPart);
        let (_, end) = mount.read_on(Access::Server, handle, &mut cookie, false);
        assert!(matches!(end, Err(FilesystemError::Failed { .. })), "{end:?}");

        mount.remote.behave(|behaviour| behaviour.listing_part_len = None);
        let whole = mount.filesystem.open_directory(Access::Server, directory).unwrap();
        let first = mount.filesystem.read_directory(Access::Server, whole, 0, 10, false).unwrap();
        mount.remote.rename(&RemotePath::parse(b"/d").unwrap(), &RemotePath::parse(b"/elsewhere").unwrap()).unwrap();
        mount.advance(31);
        assert_eq!(mount.find("d"), None);
        let behind = first.last().unwrap().next_cookie;
        let rest = mount.filesystem.read_directory(Access::Server, whole, behind, 10, false);
        assert!(matches!(rest, Err(FilesystemError::Failed { .. })), "{rest:?}");
        assert_eq!(mount.filesystem.read_directory(Access::Server, whole, 9000, 10, false), Ok(vec![]));
        mount.filesystem.release_directory(whole);
    });
}

#[test]
fn directory_that_tries_out_a_name_is_not_shown_before_it_was_left_behind_for_a_day() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/.ftpfs-probe-0123456789abcdef-");
        remote.put("/.ftpfs-probe-file", "not ours");
    });
    assert_eq!(mount.names(ROOT), [".ftpfs-probe-file"]);
    mount.advance(25 * 3600);
    assert_eq!(mount.names(ROOT).len(), 2);
}

#[test]
fn times_that_a_long_listing_does_not_tell_are_told_when_it_is_at_its_end() {
    with_a_long_listing(|mount, directory, _| {
        mount.remote.behave(|behaviour| behaviour.listing_precision = crate::protocol::Precision::Minute);
        mount.remote.let_go(Operation::ListPart);
        mount.filesystem.list(Access::Server, &RemotePath::parse(b"/d").unwrap(), Duration::MAX).unwrap();
        mount.advance(31);
        mount.remote.hold(Operation::ListPart);
        std::thread::scope(|scope| {
            let (sender, receiver) = crossbeam_channel::bounded(1);
            let early = move |handle| sender.send(handle).unwrap();
            let opening =
                scope.spawn(|| mount.filesystem.open_directory_early(Access::Server, directory, &mut { early }));
            let handle = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
            let (names, end) = mount.read_on(Access::MemoryOnly, handle, &mut 0, true);
            assert_eq!((names.len(), end), (0, Err(FilesystemError::WouldWait)));
            mount.remote.let_go(Operation::ListPart);
            let (names, end) = mount.read_on(Access::Server, handle, &mut 0, true);
            assert_eq!((names.len(), end), (5002, Ok(())));
            assert_eq!(opening.join().unwrap(), Ok(None));
            mount.filesystem.release_directory(handle);
        });
    });
}

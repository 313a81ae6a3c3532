//! What other clients change, and when it is seen here.

use super::*;
use std::sync::Barrier;
use std::thread;

#[test]
fn open_sees_what_another_client_stored_before() {
    let mount = Mount::new(|remote| remote.put("/f", "old"));
    assert_eq!(mount.cat("f"), "old");
    mount.advance(2);
    mount.remote.put("/f", "newer");
    assert_eq!(mount.cat("f"), "newer");
}

#[test]
fn pages_are_kept_for_the_same_version_only() {
    let mount = Mount::new(|remote| remote.put("/f", "old"));
    let ino = mount.ino("f");
    let open = || {
        let opened = mount.filesystem.open(Access::Server, ino, READ).unwrap();
        mount.read(opened.handle);
        mount.close(opened.handle);
        opened
    };
    assert!(!open().keep_cache, "nothing is known of the pages yet");
    mount.advance(5);
    assert!(open().keep_cache);
    mount.advance(5);
    mount.remote.put("/f", "newer");
    let opened = open();
    assert!(!opened.keep_cache && opened.attributes_changed);
    mount.set("f", set_time(7)).unwrap();
    assert!(open().keep_cache, "another time by our own doing is no other content");
}

#[test]
fn pages_of_what_was_written_here_are_kept() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "x");
    mount.close(handle);
    let opened = mount.filesystem.open(Access::Server, mount.ino("f"), READ).unwrap();
    assert!(opened.keep_cache);
    mount.close(opened.handle);
}

#[test]
fn changed_file_gets_another_inode_while_the_old_one_is_open() {
    let mount = Mount::new(|remote| remote.put("/f", "old content"));
    let old = mount.ino("f");
    let handle = mount.filesystem.open(Access::Server, old, READ).unwrap().handle;
    assert_eq!(mount.try_read(handle, 0, 3).unwrap(), b"old");
    mount.advance(2);
    mount.remote.put("/f", "new");
    assert_eq!(mount.filesystem.open(Access::Server, old, READ), Err(FilesystemError::Stale));
    assert_ne!(mount.ino("f"), old);
    assert_eq!(mount.cat("f"), "new");
    // Cached or refused, but never the new bytes through the old handle.
    match mount.try_read(handle, 0, 100) {
        Ok(bytes) => assert_eq!(bytes, b"old content"),
        Err(error) => assert_eq!(error, FilesystemError::Stale),
    }
    mount.close(handle);
}

#[test]
fn old_handle_never_reads_bytes_of_a_version_of_equal_size() {
    let old = "o".repeat(1 << 20);
    let new = "n".repeat(1 << 20);
    let mount = Mount::new(|remote| remote.put("/f", &old));
    let handle = mount.open("f", READ);
    mount.advance(2);
    mount.remote.put("/f", &new);
    assert_eq!(mount.cat_first("f"), b'n');
    match mount.try_read(handle, 0, 1 << 20) {
        Ok(bytes) => assert!(bytes.iter().all(|byte| *byte == b'o')),
        Err(error) => assert_eq!(error, FilesystemError::Stale),
    }
    mount.close(handle);
}

impl Mount {
    fn cat_first(&self, path: &str) -> u8 {
        let ino = self.ino(path);
        let opened = match self.filesystem.open(Access::Server, ino, READ) {
            Err(FilesystemError::Stale) => self.filesystem.open(Access::Server, self.ino(path), READ),
            other => other,
        };
        let handle = opened.unwrap().handle;
        let byte = self.try_read(handle, 0, 1).unwrap()[0];
        self.close(handle);
        byte
    }
}

#[test]
fn file_removed_by_another_client_is_absent_once_the_listing_is_too_old() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    let ino = mount.ino("f");
    mount.remote.delete("/f");
    assert!(mount.find("f").is_some(), "a listing may be as old as the option says");
    mount.advance(2);
    assert_eq!(mount.filesystem.open(Access::Server, ino, READ), Err(FilesystemError::NotFound));
    assert_eq!(mount.find("f"), None);
    assert_eq!(mount.names(ROOT), Vec::<String>::new());
}

#[test]
fn listing_that_takes_long_holds_as_long_again_for_stat_and_no_longer_for_open() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        (0..1200).for_each(|number| remote.put(&format!("/d/f{number:04}"), "x"));
    });
    let directory = mount.ino("d");
    mount.remote.hold(Operation::List);
    thread::scope(|scope| {
        let names = scope.spawn(|| mount.names(directory));
        assert!(mount.remote.wait_held(Operation::List, 1));
        mount.advance(60);
        mount.remote.let_go(Operation::List);
        assert_eq!(names.join().unwrap().len(), 1200);
    });
    mount.advance(60);
    let (stats, lists) = (mount.remote.calls(Operation::Stat), mount.remote.calls(Operation::List));
    let asked = || mount.remote.calls(Operation::Stat) - stats + mount.remote.calls(Operation::List) - lists;
    for number in 0..1200 {
        assert!(mount.find_in(directory, &format!("f{number:04}")).is_some());
    }
    assert_eq!((mount.find_in(directory, "none"), mount.names(directory).len()), (None, 1200));
    assert_eq!(asked(), 0);

    mount.remote.put("/d/f0000", "changed");
    let ino = mount.find_in(directory, "f0000").unwrap().ino;
    for _ in 0..10 {
        let opened = mount.filesystem.open(Access::Server, ino, READ).unwrap();
        assert_eq!(mount.read(opened.handle), "changed");
        mount.release(opened.handle);
        mount.advance(2);
    }
    assert_eq!(mount.remote.calls(Operation::List), lists, "a listing that takes a minute answers no open");
    assert_eq!(mount.names(directory).len(), 1200);
    assert_eq!(mount.remote.calls(Operation::List), lists + 1, "it took too long ago");
}

#[test]
fn kernel_is_never_told_to_believe_longer_than_an_answer_may_be_shown() {
    let options = FilesystemOptions { attr_timeout: Duration::from_secs(10), ..FilesystemOptions::default() };
    let mount = Mount::with_options(|remote| remote.put("/f", "x"), options);
    let ino = mount.ino("f");
    let told = || {
        let stat = mount.filesystem.attributes(Access::Server, ino, None).unwrap().ttl;
        let found = match mount.filesystem.lookup(Access::Server, ROOT, b"f").unwrap() {
            LookupResult::Found(found) => found.ttl,
            LookupResult::Absent { .. } => panic!("it is there"),
        };
        let absent = match mount.filesystem.lookup(Access::Server, ROOT, b"none").unwrap() {
            LookupResult::Absent { ttl } => ttl,
            LookupResult::Found(_) => panic!("it is not there"),
        };
        let listed = mount.pages(ROOT, 3, true)[0].found.unwrap().ttl;
        [stat, found, absent, listed].map(|ttl| ttl.as_millis())
    };
    assert_eq!(told(), [10_000; 4]);
    mount.advance(15);
    assert_eq!(told(), [10_000; 4]);
    mount.advance(10);
    assert_eq!(told(), [5000; 4]);
    mount.advance(5);
    assert_eq!(told(), [1, 1, 1, 100]);
    mount.advance(1);
    assert_eq!(told(), [10_000; 4], "asked anew");
}

#[test]
fn what_is_written_to_a_file_that_another_client_removed_is_not_claimed_to_be_kept() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    let handle = mount.open("f", WRITE);
    mount.remote.delete("/f");
    mount.advance(31);
    assert_eq!(mount.find("f"), None);
    mount.write(handle, 0, "lost");
    assert_eq!(mount.flush(handle), Err(FilesystemError::Stale));
    mount.release(handle);
}

#[test]
fn last_close_of_two_clients_wins_with_the_whole_file_or_fails() {
    let mount = Mount::new(|remote| {
        remote.put("/whole", "before");
        remote.put("/part", "before");
    });
    let (whole, part) = (mount.open("whole", WRITE), mount.open("part", WRITE));
    mount.remote.put("/whole", "theirs, longer");
    mount.remote.put("/part", "theirs, longer");
    // The one is overwritten from its first to its last byte; of the other something has to be fetched that is gone.
    mount.write(whole, 0, "mine!!");
    mount.write(part, 0, "mine");
    mount.close(whole);
    assert_eq!(mount.remote.content("/whole").unwrap(), b"mine!!");
    assert_eq!(mount.flush(part), Err(FilesystemError::Stale));
    mount.release(part);
    assert_eq!(mount.remote.content("/part").unwrap(), b"theirs, longer");
}

#[test]
fn file_created_while_its_name_is_looked_up_keeps_its_name() {
    // What was there is asked for alone.
    let mount = Mount::new(|remote| remote.put("/f", "gone soon"));
    mount.remote.delete("/f");
    mount.advance(31);
    mount.remote.hold(Operation::Stat);
    let filesystem = Arc::clone(&mount.filesystem);
    let lookup = std::thread::spawn(move || filesystem.lookup(Access::Server, ROOT, b"f").map(|_| ()));
    assert!(mount.remote.wait_held(Operation::Stat, 1));
    let handle = mount.create("f");
    mount.remote.let_go(Operation::Stat);
    lookup.join().unwrap().unwrap();
    mount.write(handle, 0, "x");
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"x");
}

#[test]
fn written_file_that_another_client_removed_can_be_removed_here() {
    let mount = Mount::new(|remote| remote.put("/f", "x"));
    let handle = mount.open("f", BOTH);
    mount.write(handle, 0, "y");
    mount.remote.delete("/f");
    mount.unlink("f").unwrap();
    assert_eq!(mount.find("f"), None);
    mount.close(handle);
    assert_eq!(mount.remote.content("/f"), None);
}

#[test]
fn name_that_was_absent_is_listed_with_its_directory_and_not_asked_for_alone() {
    let mount = Mount::new(|remote| {
        for number in 0..500 {
            remote.put(&format!("/f{number}"), "x");
        }
    });
    mount.advance(31);
    let before = (mount.remote.calls(Operation::Stat), mount.remote.calls(Operation::List));
    mount.close(mount.create("new"));
    assert_eq!(mount.find("newer"), None);
    mount.close(mount.create("newest"));
    assert_eq!((mount.remote.calls(Operation::Stat), mount.remote.calls(Operation::List)), (before.0, before.1 + 1));
}

#[test]
fn many_opens_in_one_directory_cost_a_listing_and_not_a_question_each() {
    let mount = Mount::new(|remote| {
        for number in 0..50 {
            remote.put(&format!("/f{number}"), "x");
        }
    });
    let inos: Vec<_> = (0..50).map(|number| mount.ino(&format!("f{number}"))).collect();
    mount.advance(2);
    let calls = mount.remote.calls_in_all();
    for ino in inos {
        let handle = mount.filesystem.open(Access::Server, ino, READ).unwrap().handle;
        mount.release(handle);
    }
    assert!(mount.remote.calls_in_all() - calls <= 3);
}

#[test]
fn listing_in_flight_is_joined_by_all_who_need_it() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/f", "x");
    });
    let d = mount.ino("d");
    let calls = mount.remote.calls(Operation::List);
    mount.remote.hold(Operation::List);
    thread::scope(|scope| {
        let lookups: Vec<_> = (0..4).map(|_| scope.spawn(|| mount.find_in(d, "f").is_some())).collect();
        assert!(mount.remote.wait_held(Operation::List, 1));
        let deadline = Instant::now() + Duration::from_secs(20);
        while mount.filesystem.listings.followers(&RemotePath::parse(b"/d").unwrap()) < 3 {
            assert!(Instant::now() < deadline, "three of the four join the listing of the first");
            thread::yield_now();
        }
        mount.remote.let_go(Operation::List);
        assert!(lookups.into_iter().all(|lookup| lookup.join().unwrap()));
    });
    assert_eq!(mount.remote.calls(Operation::List), calls + 1);
}

#[test]
fn memory_is_answered_while_a_listing_is_in_flight() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        remote.put("/f", "x");
    });
    let d = mount.ino("d");
    mount.remote.hold(Operation::List);
    thread::scope(|scope| {
        let listing = scope.spawn(|| mount.names(d));
        assert!(mount.remote.wait_held(Operation::List, 1));
        let found = mount.filesystem.lookup(Access::MemoryOnly, ROOT, b"f");
        let waits = mount.filesystem.lookup(Access::MemoryOnly, d, b"x");
        mount.remote.let_go(Operation::List);
        assert!(matches!(found, Ok(LookupResult::Found(_))));
        assert_eq!(waits, Err(FilesystemError::WouldWait));
        assert_eq!(listing.join().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn listing_begun_before_a_local_change_does_not_undo_it() {
    let mount = Mount::new(|remote| {
        remote.put("/gone", "x");
        remote.put("/kept", "x");
    });
    mount.advance(31);
    mount.remote.hold(Operation::List);
    thread::scope(|scope| {
        let listing = scope.spawn(|| mount.names(ROOT));
        assert!(mount.remote.wait_held(Operation::List, 1));
        // The listing has been taken on the server, and is on its way.
        mount.filesystem.make_directory(Access::Server, ROOT, b"made", 0o755).unwrap();
        mount.remote.let_go(Operation::List);
        listing.join().unwrap();
    });
    let mut names = mount.names(ROOT);
    names.sort();
    assert_eq!(names, ["gone", "kept", "made"]);
}

#[test]
fn removal_during_a_listing_is_not_undone_by_it() {
    let mount = Mount::new(|remote| remote.put("/gone", "x"));
    let ino = mount.ino("gone");
    mount.advance(20);
    assert!(mount.filesystem.attributes(Access::Server, ino, None).is_ok());
    mount.remote.hold(Operation::List);
    let filesystem = &mount.filesystem;
    thread::scope(|scope| {
        let listing = scope.spawn(|| filesystem.list(Access::Server, &RemotePath::root(), Duration::MAX).map(|_| ()));
        assert!(mount.remote.wait_held(Operation::List, 1));
        mount.unlink("gone").unwrap();
        mount.remote.let_go(Operation::List);
        listing.join().unwrap().unwrap();
    });
    assert_eq!(mount.find("gone"), None);
}

#[test]
fn cut_listing_proves_no_absence() {
    let mount = Mount::new(|remote| {
        for name in ["a", "b", "c", "d"] {
            remote.put(&format!("/{name}"), name);
        }
        remote.behave(|behaviour| behaviour.listing_entries_max = Some(2));
    });
    assert_eq!(mount.cat("d"), "d");
    assert_eq!(mount.find("nothing"), None);
    assert!(mount.remote.calls(Operation::Stat) >= 2);
}

#[test]
fn reading_a_directory_that_the_server_cut_short_ends_with_an_error_behind_what_it_showed() {
    let mount = Mount::new(|remote| {
        for name in ["a", "b", "c", "d"] {
            remote.put(&format!("/{name}"), name);
        }
        remote.behave(|behaviour| behaviour.listing_entries_max = Some(2));
    });
    for (page, plus) in [(1, false), (3, true), (100, false)] {
        let handle = mount.filesystem.open_directory(Access::Server, ROOT).unwrap();
        let read = |cookie| mount.filesystem.read_directory(Access::Server, handle, cookie, page, plus);
        let (mut names, mut cookie) = (Vec::new(), 0);
        let error = loop {
            match read(cookie) {
                Ok(entries) => {
                    cookie = entries.last().expect("an end would say that this was all").next_cookie;
                    names.extend(entries.into_iter().map(|entry| entry.name));
                }
                Err(error) => break error,
            }
        };
        let shown: [&[u8]; 4] = [b".", b"..", b"a", b"b"];
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), shown, "{page} at a time");
        assert!(matches!(error, FilesystemError::Failed { .. }), "{error}");
        mount.filesystem.release_directory(handle);
    }
}

#[test]
fn directory_that_only_listings_tell_about_keeps_its_time_when_it_is_asked_for_alone() {
    let mount = Mount::new(|remote| {
        for number in 0..200 {
            remote.put(&format!("/f{number}"), "x");
        }
        remote.put_directory("/d");
        remote.behave(|behaviour| behaviour.stat_tells_directories = false);
    });
    let made = mount.find("d").unwrap().mtime;
    mount.advance(60);
    assert_eq!(mount.find("d").unwrap().mtime, made);
    mount.advance(60);
    // Another client changes it: what is shown is what the server says now, not what was known.
    mount.remote.put_directory("/d");
    assert_eq!(mount.find("d").unwrap().mtime, made + Duration::from_secs(120));
}

#[test]
fn new_file_is_shown_in_a_listing_that_does_not_know_it() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.advance(60);
    assert_eq!(mount.names(ROOT), ["f"]);
    assert!(mount.find("f").is_some());
    mount.close(handle);
    mount.advance(60);
    assert_eq!(mount.names(ROOT), ["f"]);
}

#[test]
fn write_waits_for_the_end_of_an_upload_and_is_uploaded_after_it() {
    let mount = Mount::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "one");
    mount.remote.hold(Operation::Finish);
    thread::scope(|scope| {
        let flush = scope.spawn(|| mount.flush(handle));
        assert!(mount.remote.wait_held(Operation::Finish, 1));
        assert_eq!(mount.filesystem.write(Access::MemoryOnly, handle, 0, b"two"), Err(FilesystemError::WouldWait));
        assert_eq!(mount.read(handle), "one");
        let write = scope.spawn(|| mount.filesystem.write(Access::Server, handle, 0, b"two"));
        mount.remote.let_go(Operation::Finish);
        flush.join().unwrap().unwrap();
        assert_eq!(write.join().unwrap(), Ok(3));
    });
    mount.close(handle);
    assert_eq!(mount.remote.content("/f").unwrap(), b"two");
}

#[test]
fn file_left_dirty_by_handles_released_at_once_is_uploaded_by_one_of_them() {
    for _ in 0..200 {
        let mount = Mount::new(|_| {});
        let (first, second) = (mount.create("f"), mount.create("f"));
        mount.write(first, 0, "written through mmap, after the last close");
        let start = Barrier::new(2);
        thread::scope(|scope| {
            for handle in [first, second] {
                let (start, filesystem) = (&start, &mount.filesystem);
                scope.spawn(move || {
                    start.wait();
                    filesystem.release(Access::Server, handle).unwrap();
                });
            }
        });
        assert_eq!(mount.filesystem.dirty_count(), 0);
        assert_eq!(mount.cat("f"), "written through mmap, after the last close");
    }
}

#[test]
fn many_threads_on_the_same_few_names_all_come_to_their_end() {
    let mount = Mount::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/f", "x");
    });
    let (done, ended) = crossbeam_channel::unbounded();
    let filesystem = &mount.filesystem;
    thread::scope(|scope| {
        for seed in 0..6u64 {
            let done = done.clone();
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                for _ in 0..300 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    one_of_many(filesystem, random);
                }
                done.send(()).unwrap();
            });
        }
        for _ in 0..6 {
            ended.recv_timeout(Duration::from_secs(60)).expect("no operation waits for ever");
        }
    });
    assert_eq!(mount.filesystem.known_counts().1, 0, "every handle was given back");
    assert_eq!(mount.filesystem.dirty_count(), 0);
}

/// Some operation on some of four names; errors are as good as successes here.
fn one_of_many(filesystem: &Arc<Filesystem>, random: u64) {
    let names = [&b"a"[..], b"b", b"d", b"c"];
    let name = names[(random >> 8) as usize % 4];
    let other = names[(random >> 16) as usize % 4];
    let server = Access::Server;
    match random % 6 {
        0 | 1 => {
            if let Ok((_, opened)) = filesystem.create(server, ROOT, name, 0o644, BOTH) {
                let _written = filesystem.write(server, opened.handle, random % 100, b"some bytes");
                let _flushed = filesystem.flush(server, opened.handle);
                filesystem.release(server, opened.handle).unwrap();
            }
        }
        2 => drop(filesystem.unlink(server, ROOT, name)),
        3 => drop(filesystem.rename(server, ROOT, name, ROOT, other, false)),
        4 => {
            if let Ok(LookupResult::Found(found)) = filesystem.lookup(server, ROOT, name) {
                let _set = filesystem.set_attributes(server, found.attributes.ino, None, set_time(random % 1000));
                filesystem.forget(found.attributes.ino, 1);
            }
        }
        _ => {
            let handle = filesystem.open_directory(server, ROOT).unwrap();
            filesystem.read_directory(server, handle, 0, 10, true).unwrap();
            filesystem.release_directory(handle);
        }
    }
}

//! What is asked before anybody needs it: that it is there in time, and that it costs nobody anything.

use super::*;
use crate::filesystem::ahead::Job;
use crate::protocol::Name;
use std::collections::HashSet;
use std::thread;

const AGE: Duration = Duration::from_secs(10);

/// A mount with connections that nobody waits for, and answers that may be ten seconds old when a file is opened.
fn mount(prepare: impl FnOnce(&MemoryRemote)) -> Mount {
    let options = FilesystemOptions { attr_timeout: AGE, ..FilesystemOptions::default() };
    let prepare = |remote: &MemoryRemote| {
        remote.behave(|behaviour| behaviour.idle_connections = true);
        prepare(remote);
    };
    Mount::with_options(prepare, options)
}

fn files(count: usize) -> impl Fn(&MemoryRemote) {
    move |remote| (0..count).for_each(|number| remote.put(&format!("/f{number:03}"), "x"))
}

impl Mount {
    /// Waits until nothing is asked ahead.
    fn settle(&self) {
        let begun = Instant::now();
        while !self.filesystem.ahead.is_quiet() {
            assert!(begun.elapsed() < Duration::from_secs(20), "what is asked ahead comes to an end");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Opens and closes a file, and lets a second pass.
    fn touch(&self, name: &str) {
        let handle = self.open(name, READ);
        self.release(handle);
        self.settle();
        self.advance(1);
    }

    fn questions(&self) -> usize {
        self.remote.calls(Operation::Stat) + self.remote.calls(Operation::Times)
    }

    fn renewals(&self) -> u64 {
        self.filesystem.usage().ahead.renewals
    }
}

#[test]
fn opens_in_a_directory_in_use_ask_nothing() {
    let mount = mount(files(100));
    for number in 0..100 {
        mount.touch(&format!("f{number:03}"));
    }
    assert_eq!(mount.questions(), 0);
    // All listings but the first were made while nobody waited; one each half of the age that is allowed.
    assert_eq!(mount.remote.calls(Operation::List) as u64, 1 + mount.renewals());
    assert_eq!(mount.renewals(), 19);
}

#[test]
fn exclusive_creates_in_a_directory_in_use_ask_nothing() {
    let mount = mount(|_| {});
    for number in 0..50 {
        let flags = OpenFlags { exclusive: true, ..BOTH };
        let name = format!("f{number}");
        let (_, opened) = mount.filesystem.create(Access::Server, ROOT, name.as_bytes(), 0o644, flags).unwrap();
        mount.close(opened.handle);
        mount.settle();
        mount.advance(1);
    }
    assert_eq!(mount.remote.calls(Operation::List) as u64, 1 + mount.renewals());
    assert_eq!(mount.questions(), 0);
}

#[test]
fn open_in_a_directory_in_use_sees_what_another_client_did_before_it_was_listed_again() {
    let mount = mount(files(1));
    for _ in 0..20 {
        mount.touch("f000");
    }
    let before = mount.renewals();
    mount.remote.put("/f000", "changed");
    while mount.renewals() == before {
        mount.touch("f000");
    }
    let handle = mount.open("f000", READ);
    assert_eq!(mount.read(handle), "changed");
    assert_eq!(mount.questions(), 0);
}

#[test]
fn directory_is_listed_no_more_when_its_use_ends() {
    let mount = mount(files(10));
    for _ in 0..12 {
        mount.touch("f000");
    }
    let listed = mount.remote.calls(Operation::List);
    let renewals = mount.renewals();
    assert!(renewals > 0);
    for _ in 0..100 {
        mount.advance(1);
        mount.settle();
    }
    assert_eq!(mount.remote.calls(Operation::List), listed);
    // Uses far apart are answered by a question each, as ever, and renew nothing.
    for _ in 0..5 {
        mount.advance(40);
        mount.touch("f001");
    }
    assert_eq!(mount.renewals(), renewals);
}

#[test]
fn nothing_is_asked_ahead_where_no_connection_is_idle_or_it_is_switched_off() {
    let busy = mount(|remote| {
        files(10)(remote);
        remote.behave(|behaviour| behaviour.idle_connections = false);
    });
    let options = FilesystemOptions { attr_timeout: AGE, prefetch: false, ..FilesystemOptions::default() };
    let off = Mount::with_options(
        |remote| {
            files(10)(remote);
            remote.behave(|behaviour| behaviour.idle_connections = true);
        },
        options,
    );
    for mount in [busy, off] {
        for _ in 0..30 {
            mount.touch("f000");
        }
        assert_eq!(mount.renewals(), 0);
        assert!(mount.questions() > 0);
    }
}

#[test]
fn server_that_is_away_is_not_asked_ahead_again_and_again() {
    let mount = mount(files(10));
    for _ in 0..9 {
        mount.touch("f000");
    }
    let listed = mount.remote.calls(Operation::List);
    for _ in 0..20 {
        mount.remote.fail(Operation::List, 0, lost(), When::Before);
    }
    // What is in memory is still answered; nothing else is tried but once.
    for _ in 0..50 {
        mount.note_use_often();
    }
    assert_eq!(mount.remote.calls(Operation::List), listed + 1);
}

impl Mount {
    fn note_use_often(&self) {
        self.filesystem.note_use(&RemotePath::root(), &Name::new(b"f000").unwrap(), AGE);
        self.settle();
        self.advance(3);
    }
}

#[test]
fn changes_made_while_a_directory_is_renewed_are_laid_over_it() {
    let mount = mount(files(3));
    for _ in 0..5 {
        mount.touch("f000");
    }
    mount.remote.hold(Operation::List);
    let handle = mount.open("f000", READ);
    mount.release(handle);
    assert!(mount.remote.wait_held(Operation::List, 1), "a renewal is under way, with the listing of before");
    let made = mount.create("made");
    mount.close(made);
    mount.unlink("f001").unwrap();
    mount.rename("f002", "renamed").unwrap();
    mount.remote.let_go(Operation::List);
    mount.settle();
    let mut names = mount.names(ROOT);
    names.sort();
    assert_eq!(names, ["f000", "made", "renamed"]);
    assert_eq!(mount.remote.calls(Operation::List), 2);
}

#[test]
fn open_does_not_rest_on_a_listing_that_has_been_under_way_for_too_long() {
    let mount = mount(files(300));
    mount.advance(31);
    let ino = mount.ino("f000");
    mount.remote.hold(Operation::List);
    thread::scope(|scope| {
        // A slow listing, that read the directory before the change.
        let listing = scope.spawn(|| mount.filesystem.list(Access::Server, &RemotePath::root(), Duration::MAX));
        assert!(mount.remote.wait_held(Operation::List, 1));
        mount.advance(11);
        mount.remote.put("/f000", "changed");
        let opened = mount.filesystem.open(Access::Server, ino, READ).unwrap();
        assert_eq!(mount.read(opened.handle), "changed");
        mount.release(opened.handle);
        mount.remote.let_go(Operation::List);
        listing.join().unwrap().unwrap();
    });
    let handle = mount.open("f000", READ);
    assert_eq!(mount.read(handle), "changed", "what came in late does not bring back what was before");
}

#[test]
fn who_joins_a_renewal_that_fails_asks_for_itself() {
    let mount = mount(files(3));
    for _ in 0..5 {
        mount.touch("f000");
    }
    mount.remote.hold(Operation::List);
    mount.remote.fail(Operation::List, 0, lost(), When::After);
    let handle = mount.open("f000", READ);
    mount.release(handle);
    assert!(mount.remote.wait_held(Operation::List, 1));
    thread::scope(|scope| {
        let joined = scope.spawn(|| mount.filesystem.list(Access::Server, &RemotePath::root(), AGE));
        while mount.filesystem.listings.followers(&RemotePath::root()) == 0 {
            thread::yield_now();
        }
        mount.remote.let_go(Operation::List);
        assert_eq!(joined.join().unwrap().unwrap().len(), 3);
    });
}

#[test]
fn renewal_that_hangs_holds_nobody_up_and_brings_nothing_late() {
    let mount = mount(files(3));
    for _ in 0..5 {
        mount.touch("f000");
    }
    mount.remote.hold(Operation::List);
    let handle = mount.open("f000", READ);
    mount.release(handle);
    assert!(mount.remote.wait_held(Operation::List, 1), "it has read the directory, and its answer does not come");
    mount.advance(40);
    mount.remote.delete("/f002");
    thread::scope(|scope| {
        let demand = scope.spawn(|| mount.filesystem.list(Access::Server, &RemotePath::root(), AGE));
        assert!(mount.remote.wait_held(Operation::List, 2), "who needs the listing asks");
        mount.remote.let_go(Operation::List);
        assert_eq!(demand.join().unwrap().unwrap().len(), 2);
    });
    mount.settle();
    assert_eq!(mount.names(ROOT), ["f000", "f001"]);
}

#[test]
fn open_asks_for_the_exact_time_until_a_listing_to_the_minute_would_show_a_change() {
    let mount = mount(|remote| {
        files(1)(remote);
        remote.behave(|behaviour| behaviour.listing_precision = Precision::Minute);
    });
    // Changed within the minute that the listing shows, to the same size.
    for _ in 0..20 {
        mount.touch("f000");
    }
    mount.remote.put("/f000", "y");
    mount.advance(11);
    let handle = mount.open("f000", READ);
    assert_eq!(mount.read(handle), "y");
    mount.release(handle);
    for _ in 0..100 {
        mount.touch("f000");
    }
    let asked = mount.questions();
    for _ in 0..100 {
        mount.touch("f000");
    }
    assert_eq!(mount.questions(), asked, "the minute is over");
}

/// Files that were not changed for a week.
fn old(prepare: impl FnOnce(&MemoryRemote)) -> impl FnOnce(&MemoryRemote) {
    move |remote| {
        remote.advance(-7 * 86_400);
        prepare(remote);
        remote.advance(7 * 86_400);
    }
}

impl Mount {
    /// Reads a file from its beginning, and lets what is asked ahead come to its end.
    fn read_file(&self, path: &str) -> String {
        let handle = self.open(path, READ);
        let text = self.read(handle);
        self.release(handle);
        self.settle();
        text
    }

    fn ahead(&self) -> AheadUsage {
        self.filesystem.usage().ahead
    }
}

#[test]
fn walk_finds_the_directories_it_comes_to_listed() {
    let mount = mount(|remote| {
        for above in 0..6 {
            remote.put_directory(&format!("/d{above}"));
            for below in 0..6 {
                remote.put_directory(&format!("/d{above}/e{below}"));
                remote.put(&format!("/d{above}/e{below}/f"), "x");
            }
        }
    });
    let mut waited = 0;
    let mut visit = |path: &str| {
        let ino = mount.ino(path);
        let before = (mount.remote.calls(Operation::List), mount.ahead().listings_used);
        mount.names(ino);
        waited += usize::from(mount.ahead().listings_used == before.1);
        mount.settle();
    };
    visit("");
    for above in 0..6 {
        visit(&format!("d{above}"));
        for below in 0..6 {
            visit(&format!("d{above}/e{below}"));
        }
    }
    let ahead = mount.ahead();
    // The first steps show the order; the root was listed when the mount began.
    assert!(waited <= 4, "{waited} listings were waited for: {ahead:?}");
    assert_eq!((ahead.listings_wasted, mount.remote.calls(Operation::List)), (0, 43), "no directory was listed twice");
}

#[test]
fn files_read_one_after_another_in_any_usual_order_are_fetched_ahead() {
    let names: Vec<String> = (0..100).map(|number| format!("f{:03}", number * 37 % 100)).collect();
    for order in ["listed", "by number"] {
        let mount =
            mount(old(|remote| names.iter().for_each(|name| remote.put(&format!("/{name}"), "x".repeat(1000)))));
        let mut names = mount.names(ROOT);
        if order == "by number" {
            names.sort_by_key(|name| mount.ino(name));
        }
        for name in &names {
            assert_eq!(mount.read_file(name).len(), 1000);
        }
        let ahead = mount.ahead();
        assert_eq!(mount.remote.calls(Operation::OpenRead), 100, "{order}: no file was fetched twice");
        assert_eq!((ahead.bytes_used, ahead.bytes_wasted), (99_000, 0), "{order}");
    }
}

#[test]
fn random_reads_over_a_tree_waste_little() {
    let mount = mount(old(|remote| {
        for directory in 0..20 {
            remote.put_directory(&format!("/d{directory}"));
            (0..30).for_each(|file| remote.put(&format!("/d{directory}/f{file:02}"), "x".repeat(20_000)));
        }
    }));
    let (mut random, mut read) = (7_u64, HashSet::new());
    for _ in 0..500 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let path = format!("d{}/f{:02}", (random >> 33) % 20, (random >> 45) % 30);
        mount.names(mount.ino(path.split('/').next().unwrap()));
        mount.read_file(&path);
        read.insert(path);
    }
    let (ahead, fetched) = (mount.ahead(), mount.remote.calls(Operation::OpenRead));
    let in_vain = (fetched - read.len()) as u64 * 20_000;
    assert!(in_vain <= ahead.bytes_wanted / 10 + (512 << 10), "{in_vain} bytes in vain: {ahead:?}");
    let listed_in_vain = mount.remote.calls(Operation::List).saturating_sub(21);
    assert!(listed_in_vain <= 20, "{listed_in_vain}: {ahead:?}");
}

/// Two directories of thirty directories each.
fn two_levels(remote: &MemoryRemote) {
    for above in 0..2 {
        remote.put_directory(&format!("/d{above}"));
        (0..30).for_each(|below| remote.put_directory(&format!("/d{above}/e{below:02}")));
    }
}

/// Lists the root, `d0` and its first subdirectory, with a pause between any two.
fn descend(mount: &Mount, pause: u64) {
    for path in ["", "d0", "d0/e00"] {
        mount.names(mount.ino(path));
        mount.advance(pause);
    }
    mount.settle();
}

#[test]
fn two_first_subdirectories_right_behind_their_listings_are_a_walk_and_one_that_is_entered_later_is_none() {
    let in_vain = |pause| {
        let mount = mount(two_levels);
        descend(&mount, pause);
        mount.remote.calls(Operation::List) - 3
    };
    assert_eq!(in_vain(1), 0);
    assert_eq!(in_vain(0), 16);
    let mount = mount(two_levels);
    mount.names(ROOT);
    mount.names(mount.ino("d0"));
    mount.settle();
    assert_eq!(mount.remote.calls(Operation::List), 2, "that is a way to somewhere");
    assert!(mount.remote.prepared() >= 8, "connections are there when it is more");
}

#[test]
fn walk_that_was_only_begun_is_not_guessed_for_ever() {
    let mount = mount(two_levels);
    for _ in 0..5 {
        descend(&mount, 0);
        // What was not asked for within --dir-timeout counts as wasted.
        mount.advance(40);
    }
    let in_vain = mount.remote.calls(Operation::List) - 15;
    assert!(in_vain <= 16 + 1, "{in_vain}: {:?}", mount.ahead());
}

#[test]
fn first_file_read_right_behind_the_listing_has_the_next_ones_fetched() {
    let mount = mount(old(|remote| (0..30).for_each(|file| remote.put(&format!("/f{file:02}"), "x".repeat(1000)))));
    mount.names(ROOT);
    mount.read_file("f00");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 9);
    mount.read_file("f01");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 30, "that is an order");
    let mount = mount_of_files_listed_a_second_ago();
    mount.read_file("f00");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 1);
}

fn mount_of_files_listed_a_second_ago() -> Mount {
    let mount = mount(old(|remote| (0..30).for_each(|file| remote.put(&format!("/f{file:02}"), "x".repeat(1000)))));
    mount.names(ROOT);
    mount.advance(1);
    mount
}

#[test]
fn who_lists_a_second_directory_has_a_connection_prepared_and_who_lists_one_has_none() {
    let mount = mount(|remote| (0..3).for_each(|number| remote.put_directory(&format!("/d{number}"))));
    mount.advance(40);
    mount.names(mount.ino("d1"));
    mount.settle();
    assert_eq!(mount.remote.prepared(), 0);
    mount.advance(1);
    mount.names(mount.ino("d2"));
    mount.settle();
    assert_eq!(mount.remote.prepared(), 1);
}

#[test]
fn fetched_file_that_another_client_changed_since_is_not_shown() {
    let mount = mount(old(|remote| (0..5).for_each(|file| remote.put(&format!("/f{file}"), "old"))));
    mount.read_file("f0");
    mount.read_file("f1");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 5);
    mount.remote.put("/f2", "new");
    mount.advance(11);
    assert_eq!(mount.read_file("f2"), "new");
    assert_eq!(mount.read_file("f3"), "old");
}

#[test]
fn file_that_changes_while_it_is_fetched_ahead_is_not_kept() {
    let mount = mount(old(|remote| (0..3).for_each(|file| remote.put(&format!("/f{file}"), "old"))));
    mount.read_file("f0");
    mount.remote.hold(Operation::OpenRead);
    thread::scope(|scope| {
        let second = scope.spawn(|| mount.cat("f1"));
        assert!(mount.remote.wait_held(Operation::OpenRead, 2), "the server has sent what f2 was");
        mount.remote.put("/f2", "new");
        mount.remote.let_go(Operation::OpenRead);
        second.join().unwrap();
    });
    mount.settle();
    assert_eq!(mount.read_file("f2"), "new", "known by the answer that came behind it, before the listing is too old");
    assert_eq!(mount.ahead().bytes_wasted, 3);
}

#[test]
fn file_that_is_written_here_while_it_is_fetched_ahead_is_not_kept() {
    let mount = mount(old(|remote| (0..3).for_each(|file| remote.put(&format!("/f{file}"), "old"))));
    mount.read_file("f0");
    mount.remote.hold(Operation::Stat);
    let handle = mount.open("f1", READ);
    mount.read(handle);
    assert!(mount.remote.wait_held(Operation::Stat, 1), "f2 has been fetched, and is asked about");
    let f2 = mount.ino("f2");
    let writer = mount.filesystem.create(Access::Server, ROOT, b"f2", 0o644, BOTH).unwrap().1.handle;
    assert_eq!(mount.ino("f2"), f2);
    mount.write(writer, 0, "own");
    mount.remote.let_go(Operation::Stat);
    mount.close(writer);
    // As rsync does: another content of the same size and time.
    mount.set("f2", set_time(1_700_000_000 - 7 * 86_400)).unwrap();
    mount.release(handle);
    mount.settle();
    mount.advance(40);
    assert_eq!(mount.read_file("f2"), "own");
}

#[test]
fn nothing_is_asked_while_a_connection_is_held_that_may_be_the_last() {
    let mount = mount(old(|remote| {
        (0..3).for_each(|file| remote.put(&format!("/f{file}"), "x"));
        remote.behave(|behaviour| behaviour.listing_precision = Precision::Minute);
    }));
    mount.remote.hold(Operation::Times);
    assert!(mount.filesystem.ahead.push(Job::Read(RemotePath::parse(b"/f2").unwrap())));
    assert!(mount.remote.wait_held(Operation::Times, 1), "it asks for the exact time");
    assert_eq!(mount.remote.idle_lent(), 0);
    mount.remote.let_go(Operation::Times);
    mount.settle();
}

#[test]
fn file_changed_a_moment_ago_is_not_fetched_ahead() {
    let mount = mount(|remote| (0..5).for_each(|file| remote.put(&format!("/f{file}"), "x")));
    mount.read_file("f0");
    mount.read_file("f1");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 2);
    mount.advance(4);
    mount.read_file("f2");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 5, "its second is over");
}

#[test]
fn who_opens_a_file_that_is_being_fetched_waits_for_that() {
    let mount = mount(old(|remote| (0..3).for_each(|file| remote.put(&format!("/f{file}"), "x"))));
    mount.read_file("f0");
    mount.remote.hold(Operation::OpenRead);
    thread::scope(|scope| {
        // Read on its own thread: it waits as well, for its own transfer.
        let second = scope.spawn(|| mount.cat("f1"));
        assert!(mount.remote.wait_held(Operation::OpenRead, 2), "f1, and f2 ahead");
        let ino = mount.ino("f2");
        let opened = mount.filesystem.open(Access::MemoryOnly, ino, READ);
        assert_eq!(opened, Err(FilesystemError::WouldWait));
        mount.remote.let_go(Operation::OpenRead);
        assert_eq!(second.join().unwrap(), "x");
    });
    assert_eq!(mount.cat("f2"), "x");
    assert_eq!(mount.remote.calls(Operation::OpenRead), 3);
}

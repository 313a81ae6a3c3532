//! What is asked before anybody needs it: that it is there in time, and that it costs nobody anything.

use super::*;
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
        self.filesystem.note_use(&RemotePath::root(), AGE);
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

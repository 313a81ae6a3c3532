//! What the journal promises, over a server in memory: at close, over outages, and over a remount.

mod conflicts;
mod one_packet;
mod queue;

use super::*;
use crate::journal::disk::{Disk, LocalDisk};
use crate::journal::{Identity, Journal, StateDirectory};
use std::path::Path;
use tempfile::TempDir;

/// A mount with a journal, which can be killed and mounted again.
pub(super) struct Journaled {
    mount: Mount,
    base: TempDir,
}

impl std::ops::Deref for Journaled {
    type Target = Mount;

    fn deref(&self) -> &Mount {
        &self.mount
    }
}

fn mounted(remote: MemoryRemote, base: &Path, options: FilesystemOptions) -> Mount {
    mounted_on(Arc::new(LocalDisk), remote, base, options)
}

pub(super) fn mounted_on(disk: Arc<dyn Disk>, remote: MemoryRemote, base: &Path, options: FilesystemOptions) -> Mount {
    let identity = Identity { host: "h".into(), port: 21, user: b"u".to_vec(), directory: RemotePath::root() };
    let opened = Journal::open_on(disk, StateDirectory::open(base, &identity).unwrap()).unwrap();
    let clock = Arc::new(TestClock { base: Instant::now(), seconds: AtomicU64::new(0) });
    let server: Arc<dyn Remote> = Arc::new(remote.clone());
    let filesystem = Filesystem::with_clock(server, RemotePath::root(), options, clock.clone(), Some(opened)).unwrap();
    Mount { remote, filesystem, clock }
}

pub(super) fn journal_mode() -> FilesystemOptions {
    FilesystemOptions {
        close: Durability::Journal,
        operation_timeout: Duration::from_secs(2),
        ..FilesystemOptions::default()
    }
}

pub(super) fn server_mode() -> FilesystemOptions {
    FilesystemOptions { close: Durability::Server, ..journal_mode() }
}

impl Journaled {
    pub(super) fn new(prepare: impl FnOnce(&MemoryRemote)) -> Self {
        Self::with_options(prepare, journal_mode())
    }

    pub(super) fn with_options(prepare: impl FnOnce(&MemoryRemote), options: FilesystemOptions) -> Self {
        let remote = MemoryRemote::new();
        prepare(&remote);
        let base = tempfile::tempdir().unwrap();
        Self { mount: mounted(remote, base.path(), options), base }
    }

    /// The mount that finds what this one leaves when it is killed now.
    fn killed(self) -> Self {
        self.killed_with(journal_mode())
    }

    fn killed_with(self, options: FilesystemOptions) -> Self {
        let base = self.kill();
        Self { mount: mounted(self.mount.remote.clone(), base.path(), options), base }
    }

    /// What a kill leaves on the disk. The old mount may go on: nothing of it is seen any more.
    pub(super) fn kill(&self) -> TempDir {
        let target = tempfile::tempdir().unwrap();
        copy(self.base.path(), target.path());
        target
    }

    pub(super) fn put(&self, name: &str, content: &str) {
        let handle = self.create(name);
        self.filesystem.set_attributes(Access::Server, self.ino(name), Some(handle), cut()).unwrap();
        self.write(handle, 0, content);
        self.close(handle);
    }

    fn sorted(&self, ino: InodeNumber) -> Vec<String> {
        let mut names = self.names(ino);
        names.sort();
        names
    }

    pub(super) fn cable(&self, is_plugged: bool) {
        self.remote.behave(|behaviour| behaviour.unreachable = !is_plugged);
    }

    /// Waits until nothing is pending.
    pub(super) fn deliver(&self) {
        assert_eq!(self.filesystem.flush_all(), []);
        assert_eq!(self.filesystem.dirty_files(), []);
        assert_eq!(self.filesystem.usage().journal.unwrap().pending, 0);
    }

    pub(super) fn on_server(&self, path: &str) -> String {
        String::from_utf8(self.remote.content(path).unwrap_or_default()).unwrap()
    }

    fn visible(&self) -> Vec<String> {
        self.remote.paths().into_iter().filter(|path| path != "/").collect()
    }
}

fn cut() -> SetAttributes {
    SetAttributes { size: Some(0), ..SetAttributes::default() }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn close_in_journal_mode_asks_the_server_nothing_and_the_file_gets_there() {
    let mount = Journaled::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "content");
    mount.cable(false);
    mount.close(handle);
    assert_eq!(mount.cat("f"), "content");
    assert_eq!(mount.names(ROOT), ["f"]);
    let dirty = mount.filesystem.dirty_files();
    assert!(dirty.len() == 1 && dirty[0].in_journal && !dirty[0].open, "{dirty:?}");
    mount.cable(true);
    mount.deliver();
    assert_eq!(mount.on_server("/f"), "content");
    assert_eq!(mount.filesystem.known_counts().1, 0);
}

#[test]
fn closed_file_is_delivered_without_anybody_asking() {
    let mount = Journaled::new(|_| {});
    mount.put("f", "content");
    let deadline = Instant::now() + Duration::from_secs(20);
    while mount.remote.content("/f").is_none() || !mount.filesystem.dirty_files().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(mount.on_server("/f"), "content");
}

#[test]
fn what_was_closed_is_delivered_by_the_next_mount_after_a_kill() {
    let mount = Journaled::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/old", "old");
        remote.put("/replaced", "before");
    });
    mount.cable(false);
    mount.put("new", "new content");
    mount.cable(true);
    let old = mount.open("d/old", BOTH);
    let replaced = mount.open("replaced", OpenFlags { truncate: true, ..WRITE });
    mount.cable(false);
    mount.write(old, 3, " and more");
    mount.write(replaced, 0, "after");
    mount.cable(true);
    mount.flush(old).unwrap();
    mount.cable(false);
    mount.close(replaced);
    mount.release(old);
    let base = mount.kill();
    mount.cable(true);
    let again = Journaled { mount: mounted(mount.remote.clone(), base.path(), journal_mode()), base };
    assert_eq!(again.cat("d/old"), "old and more");
    assert_eq!(again.sorted(ROOT), ["d", "new", "replaced"]);
    again.deliver();
    assert_eq!(again.on_server("/new"), "new content");
    assert_eq!(again.on_server("/d/old"), "old and more");
    assert_eq!(again.on_server("/replaced"), "after");
    assert_eq!(again.visible(), ["/d/", "/d/old", "/new", "/replaced"]);
}

#[test]
fn what_was_never_closed_is_set_aside_after_a_kill() {
    let mount = Journaled::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "half");
    let again = mount.killed();
    assert_eq!(again.names(ROOT), [""; 0]);
    let aside = again.filesystem.usage().journal.unwrap().set_aside;
    assert_eq!(aside.len(), 1);
    assert_eq!(std::fs::read(&aside[0]).unwrap(), b"half");
}

#[test]
fn clean_file_that_is_open_leaves_nothing_behind_a_kill() {
    for options in [server_mode(), journal_mode()] {
        let mount = Journaled::with_options(|_| {}, options);
        let handle = mount.create("f");
        mount.write(handle, 0, "content");
        mount.filesystem.fsync(Access::Server, handle).unwrap();
        let again = mount.killed();
        assert!(again.filesystem.usage().journal.unwrap().set_aside.is_empty());
        assert_eq!(again.filesystem.dirty_files(), []);
    }
}

#[test]
fn fsync_in_journal_mode_returns_with_the_servers_proof_unless_told_otherwise() {
    let mount = Journaled::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "content");
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    assert_eq!(mount.on_server("/f"), "content");
    mount.write(handle, 0, "CON");
    mount.flush(handle).unwrap();
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    assert_eq!(mount.on_server("/f"), "CONtent");
    mount.cable(false);
    mount.write(handle, 3, "TENT");
    assert!(matches!(mount.filesystem.fsync(Access::Server, handle), Err(FilesystemError::Unreachable { .. })));

    let local = Journaled::with_options(|_| {}, FilesystemOptions { fsync: Durability::Journal, ..journal_mode() });
    let handle = local.create("f");
    local.write(handle, 0, "content");
    local.cable(false);
    local.filesystem.fsync(Access::Server, handle).unwrap();
    assert!(local.filesystem.dirty_files()[0].in_journal);
}

#[test]
fn directory_is_synced_when_the_files_named_in_it_are_there() {
    let mount = Journaled::new(|remote| remote.put("/f", "old"));
    mount.put("new", "content");
    mount.rename("new", "f").unwrap();
    mount.filesystem.fsync_directory(Access::Server, ROOT).unwrap();
    assert_eq!(mount.on_server("/f"), "content");
}

#[test]
fn each_close_promises_what_was_written_until_then() {
    let mount = Journaled::new(|_| {});
    let handle = mount.create("f");
    mount.cable(false);
    mount.write(handle, 0, "one");
    mount.flush(handle).unwrap();
    mount.write(handle, 3, "two");
    let first = mount.kill();
    mount.flush(handle).unwrap();
    mount.write(handle, 0, "1");
    let second = mount.kill();
    for (base, promised) in [(first, "one"), (second, "onetwo")] {
        // The old mount goes on: on its server it would deliver what it has promised itself, as another client's file to this one.
        let remote = MemoryRemote::new();
        let again = Journaled { mount: mounted(remote, base.path(), journal_mode()), base };
        again.deliver();
        assert_eq!(again.on_server("/f"), promised);
        assert_eq!(again.visible(), ["/f"]);
    }
}

#[test]
fn writing_goes_on_while_an_older_content_is_delivered() {
    let mount = Journaled::new(|_| {});
    mount.put("f", "first");
    mount.remote.hold(Operation::Write);
    assert!(mount.remote.wait_held(Operation::Write, 1));
    let handle = mount.open("f", BOTH);
    mount.write(handle, 5, " and second");
    mount.close(handle);
    assert_eq!(mount.cat("f"), "first and second");
    mount.remote.let_go(Operation::Write);
    mount.deliver();
    assert_eq!(mount.on_server("/f"), "first and second");
}

#[test]
fn emptied_file_is_promised_without_what_was_in_it() {
    let mount = Journaled::new(|remote| remote.put("/f", "old content"));
    mount.put("f", "a");
    mount.cable(false);
    let handle = mount.open("f", OpenFlags { truncate: true, ..WRITE });
    mount.close(handle);
    assert_eq!(mount.find("f").unwrap().size, 0);
    mount.cable(true);
    mount.deliver();
    assert_eq!(mount.remote.content("/f").unwrap(), b"");
}

#[test]
fn renamed_promise_gets_to_its_new_name_alone() {
    let mount = Journaled::new(|remote| remote.put("/f", "old"));
    mount.cable(false);
    mount.put("f.tmp", "content");
    mount.cable(true);
    let calls = mount.remote.calls(Operation::Rename);
    mount.rename("f.tmp", "f").unwrap();
    assert_eq!(mount.remote.calls(Operation::Rename), calls);
    assert_eq!((mount.on_server("/f").as_str(), mount.cat("f").as_str()), ("old", "content"));
    assert_eq!(mount.names(ROOT), ["f"]);
    let again = mount.killed();
    again.deliver();
    assert_eq!((again.on_server("/f").as_str(), again.visible().len()), ("content", 1));
}

#[test]
fn rename_over_a_promise_is_the_end_of_it() {
    let mount = Journaled::new(|_| {});
    mount.cable(false);
    mount.put("a", "of a");
    mount.put("b", "of b");
    mount.rename("a", "b").unwrap();
    mount.put("c", "of c");
    mount.rename("b", "c").unwrap();
    let again = {
        let base = mount.kill();
        mount.cable(true);
        Journaled { mount: mounted(mount.remote.clone(), base.path(), journal_mode()), base }
    };
    again.deliver();
    assert_eq!((again.on_server("/c").as_str(), again.visible().len()), ("of a", 1));
}

#[test]
fn promises_below_a_renamed_directory_follow_it() {
    let mount = Journaled::new(|remote| {
        remote.put_directory("/d");
        remote.put("/d/old", "old");
    });
    let (d, old) = (mount.ino("d"), mount.open("d/old", BOTH));
    mount.write(old, 0, "OLD");
    mount.remote.hold(Operation::Finish);
    let new = mount.filesystem.create(Access::Server, d, b"new", 0o644, BOTH).unwrap().1.handle;
    mount.write(new, 0, "new");
    mount.flush(new).unwrap();
    mount.release(new);
    mount.close(old);
    mount.remote.let_go(Operation::Finish);
    mount.rename("d", "e").unwrap();
    assert_eq!(mount.cat("e/new"), "new");
    assert_eq!(mount.sorted(mount.ino("e")), ["new", "old"]);
    let again = mount.killed();
    again.deliver();
    assert_eq!((again.on_server("/e/new").as_str(), again.on_server("/e/old").as_str()), ("new", "OLD"));
    assert_eq!(again.visible(), ["/e/", "/e/new", "/e/old"]);
}

#[test]
fn removed_promise_never_gets_to_the_server() {
    let mount = Journaled::new(|remote| remote.put("/old", "old"));
    mount.cable(false);
    mount.put("f", "content");
    mount.unlink("f").unwrap();
    mount.cable(true);
    let handle = mount.open("old", BOTH);
    mount.write(handle, 0, "new");
    mount.close(handle);
    mount.unlink("old").unwrap();
    assert_eq!(mount.names(ROOT), [""; 0]);
    let again = mount.killed();
    again.deliver();
    assert_eq!(again.visible(), [""; 0]);
}

#[test]
fn removed_promise_is_read_by_those_who_have_it_open() {
    let mount = Journaled::new(|_| {});
    mount.cable(false);
    mount.put("f", "content");
    let handle = mount.open("f", BOTH);
    mount.unlink("f").unwrap();
    assert_eq!(mount.read(handle), "content");
    mount.write(handle, 0, "C");
    mount.close(handle);
    mount.cable(true);
    mount.deliver();
    assert_eq!(mount.visible(), [""; 0]);
}

#[test]
fn directory_with_a_promise_in_it_is_not_empty() {
    let mount = Journaled::new(|remote| remote.put_directory("/d"));
    let d = mount.ino("d");
    mount.remote.hold(Operation::OpenWrite);
    let new = mount.filesystem.create(Access::Server, d, b"f", 0o644, BOTH).unwrap().1.handle;
    mount.close(new);
    let removed = mount.filesystem.remove_directory(Access::Server, ROOT, b"d");
    assert_eq!(removed, Err(FilesystemError::NotEmpty));
    mount.remote.let_go(Operation::OpenWrite);
    mount.deliver();
}

#[test]
fn time_and_permissions_set_after_the_close_arrive_too() {
    let mount = Journaled::new(|_| {});
    mount.cable(false);
    mount.put("f", "content");
    mount.set("f", set_time(5)).unwrap();
    mount.set("f", SetAttributes { mode: Some(0o600), ..SetAttributes::default() }).unwrap();
    let base = mount.kill();
    mount.cable(true);
    mount.deliver();
    assert_eq!((mount.remote.modified("/f"), mount.remote.mode("/f")), (Some(5), Some(0o600)));
    mount.remote.delete("/f");
    let again = mounted(mount.remote.clone(), base.path(), journal_mode());
    assert_eq!(again.filesystem.flush_all(), []);
    assert_eq!((mount.remote.modified("/f"), mount.remote.mode("/f")), (Some(5), Some(0o600)));
}

#[test]
fn delivered_file_keeps_the_time_of_its_last_write() {
    let mount = Journaled::new(|_| {});
    mount.cable(false);
    mount.put("f", "content");
    let shown = mount.find("f").unwrap().mtime;
    mount.advance(1000);
    mount.cable(true);
    mount.deliver();
    assert_eq!(mount.find("f").unwrap().mtime, shown);
}

#[test]
fn refused_delivery_is_set_aside_with_the_servers_words() {
    let mount = Journaled::new(|remote| remote.put("/f", "old"));
    mount.cable(false);
    mount.put("g", "content");
    mount.remote.fail(Operation::OpenWrite, 0, refused(), When::Before);
    mount.cable(true);
    assert!(matches!(mount.filesystem.flush_all()[..], [(_, FilesystemError::SetAside { .. })]));
    assert!(mount.filesystem.lost_files(0).iter().all(|file| !file.in_journal));
    let usage = mount.filesystem.usage().journal.unwrap();
    assert_eq!((usage.pending, usage.set_aside.len()), (0, 1));
    assert_eq!(std::fs::read(&usage.set_aside[0]).unwrap(), b"content");
    let note = usage.set_aside[0].with_file_name(format!("{}.txt", usage.set_aside[0].file_name().unwrap().display()));
    assert!(std::fs::read_to_string(note).unwrap().contains("550 Permission denied."));
    assert_eq!((mount.filesystem.lost_count(), mount.find("g")), (1, None));
}

#[test]
fn file_that_could_not_be_uploaded_in_server_mode_is_delivered_later() {
    let mount = Journaled::with_options(|remote| remote.put("/old", "old"), server_mode());
    let (new, old) = (mount.create("new"), mount.open("old", BOTH));
    mount.write(new, 0, "new");
    mount.write(old, 0, "OLD");
    mount.cat("old");
    mount.cable(false);
    for handle in [new, old] {
        assert!(mount.flush(handle).is_err());
        mount.release(handle);
    }
    assert_eq!((mount.cat("new"), mount.cat("old")), ("new".into(), "OLD".into()));
    assert_eq!(mount.filesystem.lost_count(), 0);
    let base = mount.kill();
    mount.cable(true);
    mount.deliver();
    assert_eq!((mount.on_server("/new").as_str(), mount.on_server("/old").as_str()), ("new", "OLD"));
    mount.remote.delete("/new");
    let again = mounted(mount.remote.clone(), base.path(), server_mode());
    assert_eq!(again.filesystem.flush_all(), []);
    assert_eq!(mount.on_server("/new"), "new");
}

#[test]
fn file_written_again_after_its_upload_failed_is_the_newer_one() {
    let mount = Journaled::with_options(|_| {}, server_mode());
    let handle = mount.create("f");
    mount.write(handle, 0, "older and longer");
    mount.cable(false);
    assert!(mount.flush(handle).is_err());
    mount.release(handle);
    mount.cable(true);
    mount.put("f", "newer");
    assert_eq!(mount.on_server("/f"), "newer");
    let again = mount.killed_with(server_mode());
    again.deliver();
    assert_eq!(again.on_server("/f"), "newer");
}

#[test]
fn what_cannot_be_delivered_before_the_end_is_kept() {
    let mount = Journaled::with_options(|_| {}, server_mode());
    let handle = mount.create("f");
    mount.write(handle, 0, "content");
    mount.cable(false);
    assert_eq!(mount.filesystem.flush_all().len(), 1);
    assert_eq!(mount.filesystem.keep_all(), []);
    assert!(mount.filesystem.dirty_files()[0].in_journal);
    let base = mount.kill();
    mount.cable(true);
    let again = Journaled { mount: mounted(mount.remote.clone(), base.path(), server_mode()), base };
    again.deliver();
    assert_eq!(again.on_server("/f"), "content");
}

#[test]
fn promises_count_against_the_staging_size_until_they_are_delivered() {
    let options = FilesystemOptions { staging_bytes_max: 10, ..journal_mode() };
    let mount = Journaled::with_options(|_| {}, options);
    mount.cable(false);
    mount.put("a", "12345678");
    let handle = mount.create("b");
    assert_eq!(mount.filesystem.write(Access::Server, handle, 0, b"12345"), Err(FilesystemError::LocalNoSpace));
    mount.cable(true);
    mount.deliver();
    mount.write(handle, 0, "12345");
    mount.close(handle);
    mount.deliver();
}

#[test]
fn rename_whose_answer_got_lost_is_looked_into_before_anything_is_delivered() {
    for is_done in [false, true] {
        let mount = Journaled::new(|remote| remote.put_directory("/d"));
        let d = mount.ino("d");
        mount.remote.hold(Operation::OpenWrite);
        let new = mount.filesystem.create(Access::Server, d, b"f", 0o644, BOTH).unwrap().1.handle;
        mount.write(new, 0, "content");
        mount.close(new);
        mount.remote.let_go(Operation::OpenWrite);
        let when = if is_done { When::After } else { When::Before };
        mount.remote.fail(Operation::Rename, 0, lost(), when);
        // A delivery may come first, which renames too; what counts is the directory.
        let renamed = mount.rename("d", "e");
        let base = mount.kill();
        mount.deliver();
        let place = |mount: &Mount| mount.remote.paths().into_iter().find(|path| path.ends_with("/f"));
        let expected = if is_done || renamed.is_ok() { "/e/f" } else { "/d/f" };
        assert_eq!(place(&mount).as_deref(), Some(expected));
        let again = Journaled { mount: mounted(mount.remote.clone(), base.path(), journal_mode()), base };
        again.deliver();
        assert_eq!(place(&again).as_deref(), Some(expected));
        assert_eq!(again.visible().len(), 2);
    }
}

#[test]
fn newer_content_is_never_sent_behind_the_beginning_of_an_older_one() {
    let mount = Journaled::new(|_| {});
    let old = "a".repeat(600_000);
    mount.put("f", &old);
    mount.remote.hold(Operation::Write);
    assert!(mount.remote.wait_held(Operation::Write, 1));
    let handle = mount.open("f", BOTH);
    mount.write(handle, 10, "b");
    mount.flush(handle).unwrap();
    let filesystem = Arc::clone(&mount.filesystem);
    let synced = std::thread::spawn(move || filesystem.fsync(Access::Server, handle));
    std::thread::sleep(Duration::from_millis(100));
    mount.remote.let_go(Operation::Write);
    synced.join().unwrap().unwrap();
    assert!(mount.on_server("/f") == format!("{}b{}", &old[..10], &old[11..]));
}

#[test]
fn file_that_is_stored_and_not_settled_is_renamed_and_removed_on_the_server_too() {
    for is_removed in [false, true] {
        let mount = std::iter::repeat_with(|| {
            let mount = Journaled::new(|_| {});
            mount.remote.fail(Operation::SetModified, 0, lost(), When::Before);
            mount.put("f.tmp", "content");
            mount
        })
        // The queue may have got the failure before, and settle it now.
        .find(|mount| mount.filesystem.flush_all().len() == 1)
        .unwrap();
        assert_eq!(mount.on_server("/f.tmp"), "content");
        if is_removed {
            mount.unlink("f.tmp").unwrap();
        } else {
            mount.rename("f.tmp", "f").unwrap();
        }
        mount.deliver();
        let expected: &[&str] = if is_removed { &[] } else { &["/f"] };
        assert_eq!(mount.visible(), expected);
        assert_eq!(mount.on_server("/f"), if is_removed { "" } else { "content" });
    }
}

#[test]
fn what_the_server_is_proved_to_have_is_known_anew_after_a_delivery() {
    let mount = Journaled::new(|_| {});
    let handle = mount.create("f");
    mount.write(handle, 0, "12345");
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    mount.write(handle, 5, "67");
    mount.flush(handle).unwrap();
    mount.deliver();
    assert_eq!(mount.on_server("/f"), "1234567");
    let cut = SetAttributes { size: Some(5), ..SetAttributes::default() };
    mount.filesystem.set_attributes(Access::Server, mount.ino("f"), Some(handle), cut).unwrap();
    mount.filesystem.fsync(Access::Server, handle).unwrap();
    assert_eq!(mount.on_server("/f"), "12345");
}

#[test]
fn open_file_that_is_promised_by_a_rename_is_delivered() {
    let mount = Journaled::new(|remote| remote.put_directory("/d"));
    let d = mount.ino("d");
    let handle = mount.filesystem.create(Access::Server, d, b"f", 0o644, BOTH).unwrap().1.handle;
    mount.write(handle, 0, "content");
    mount.rename("d", "e").unwrap();
    mount.close(handle);
    mount.deliver();
    assert_eq!(mount.on_server("/e/f"), "content");
}

#[test]
fn promise_that_was_replaced_by_a_rename_whose_answer_got_lost_is_over() {
    let mount = Journaled::new(|remote| remote.put("/s", "of s"));
    mount.cat("s");
    let handle = mount.create("t");
    mount.write(handle, 0, "of t");
    mount.cable(false);
    mount.close(handle);
    assert_eq!(mount.filesystem.flush_all().len(), 1);
    mount.cable(true);
    mount.remote.fail(Operation::Rename, 0, lost(), When::After);
    let _ = mount.rename("s", "t");
    let _ = mount.filesystem.flush_all();
    mount.deliver();
    mount.advance(100);
    assert_eq!((mount.visible().join(" ").as_str(), mount.on_server("/t").as_str()), ("/t", "of s"));
    assert_eq!((mount.find("s"), mount.cat("t").as_str()), (None, "of s"));
}

#[test]
fn removed_promises_leave_nothing_in_memory() {
    let mount = Journaled::new(|_| {});
    for number in 0..50 {
        let name = format!("f{number}");
        let (found, opened) = mount.filesystem.create(Access::Server, ROOT, name.as_bytes(), 0o644, BOTH).unwrap();
        mount.write(opened.handle, 0, "content");
        mount.close(opened.handle);
        mount.unlink(&name).unwrap();
        mount.filesystem.forget(found.attributes.ino, 1);
    }
    mount.deliver();
    assert_eq!((mount.filesystem.known_counts(), mount.visible().len()), ((1, 0), 0));
}

#[test]
fn file_is_read_while_its_delivery_is_written_down() {
    let mount = Journaled::new(|_| {});
    mount.remote.hold(Operation::SetModified);
    mount.put("f", "content");
    assert!(mount.remote.wait_held(Operation::SetModified, 1));
    // As the record does, before anybody here knows.
    let folder = std::fs::read_dir(mount.base.path()).unwrap().next().unwrap().unwrap().path().join("staging");
    for entry in std::fs::read_dir(folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(mount.cat("f"), "content");
    mount.remote.let_go(Operation::SetModified);
    mount.deliver();
}

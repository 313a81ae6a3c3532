//! What others see while a promise is on its way: the file as it was or as it shall be, and never something between.

use super::journal::{Journaled, journal_mode, mounted_on, server_mode};
use super::*;
use crate::journal::disk::{Disk, LocalDisk};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;

/// A disk that holds each removal of a staging file, says so, and goes on when it is told to.
struct HeldDisk {
    disk: LocalDisk,
    held: Sender<()>,
    go_on: Receiver<()>,
}

impl Disk for HeldDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.disk.create(path)
    }

    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_all_at(file, bytes, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.disk.set_len(file, len)
    }

    fn reserve(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.disk.reserve(file, offset, len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.disk.sync(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.parent().is_some_and(|folder| folder.ends_with("staging")) {
            let _ = self.held.send(());
            let _ = self.go_on.recv_timeout(Duration::from_secs(20));
        }
        self.disk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }
}

#[test]
fn recovered_file_is_read_while_its_delivery_is_written_down() {
    let mount = Journaled::new(|_| {});
    mount.cable(false);
    mount.put("f", "content");
    let base = mount.kill();
    mount.cable(true);
    let (held, is_held) = bounded(10);
    let (go_on, waits) = bounded(10);
    let disk = Arc::new(HeldDisk { disk: LocalDisk, held, go_on: waits });
    let remote = MemoryRemote::new();
    let again = mounted_on(disk, remote.clone(), base.path(), journal_mode());
    // The record is written, and the filesystem does not know yet.
    is_held.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(remote.content("/f").unwrap(), b"content");
    let handle = again.open("f", READ);
    let read = again.try_read(handle, 0, 100);
    go_on.send(()).unwrap();
    assert_eq!(read.unwrap(), b"content");
    assert_eq!(again.filesystem.flush_all(), []);
    assert_eq!(again.read(handle), "content");
    again.close(handle);
}

#[test]
fn new_file_that_is_synced_has_no_half_under_its_name_in_journal_mode() {
    for (options, has_half) in [(journal_mode(), false), (server_mode(), true)] {
        let mount = Journaled::with_options(|_| {}, options);
        let handle = mount.create("f");
        mount.write(handle, 0, "content");
        mount.remote.hold(Operation::Write);
        thread::scope(|scope| {
            let syncs = scope.spawn(|| mount.filesystem.fsync(Access::Server, handle));
            let is_held = mount.remote.wait_held(Operation::Write, 1);
            let there = mount.remote.content("/f");
            mount.remote.let_go(Operation::Write);
            syncs.join().unwrap().unwrap();
            assert!(is_held);
            assert_eq!(there.is_some(), has_half);
        });
        assert_eq!(mount.on_server("/f"), "content");
        mount.close(handle);
    }
}

#[test]
fn append_is_not_streamed_into_a_file_that_the_journal_promises_as_a_whole() {
    for (options, is_streamed) in [(journal_mode(), false), (server_mode(), true)] {
        let options = FilesystemOptions { stream_start_bytes: 4, ..options };
        let mount = Journaled::with_options(|remote| remote.put("/f", "content"), options);
        let handle = mount.open("f", BOTH);
        mount.write(handle, 7, " and more");
        let content = mount.filesystem.content_of(mount.ino("f")).unwrap();
        assert_eq!(content.lock().is_streaming(), is_streamed);
        mount.close(handle);
        mount.deliver();
        assert_eq!(mount.on_server("/f"), "content and more");
    }
}

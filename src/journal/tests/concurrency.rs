//! Many threads at one journal.

use super::sim_disk::{Fault, SimDisk};
use super::*;
use crate::journal::disk::LocalDisk;
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io;
use std::thread;
use std::time::Duration;

/// A disk whose journal syncs wait at a gate.
struct GatedDisk {
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    is_closed: bool,
    waiting: usize,
    syncs: usize,
}

impl GatedDisk {
    fn new() -> Self {
        Self { gate: Mutex::default(), changed: Condvar::new() }
    }

    fn set_closed(&self, is_closed: bool) {
        self.gate.lock().is_closed = is_closed;
        self.changed.notify_all();
    }

    fn wait_until(&self, mut is_reached: impl FnMut(&Gate) -> bool) {
        let mut gate = self.gate.lock();
        while !is_reached(&gate) {
            assert!(!self.changed.wait_for(&mut gate, Duration::from_secs(20)).timed_out(), "waited in vain");
        }
    }
}

impl Disk for GatedDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        LocalDisk.create(path)
    }
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        LocalDisk.write_all_at(file, bytes, offset)
    }
    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        LocalDisk.set_len(file, len)
    }
    fn reserve(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        LocalDisk.reserve(file, offset, len)
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        let mut gate = self.gate.lock();
        gate.syncs += 1;
        gate.waiting += 1;
        self.changed.notify_all();
        while gate.is_closed {
            self.changed.wait(&mut gate);
        }
        gate.waiting -= 1;
        drop(gate);
        LocalDisk.sync(file)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        LocalDisk.sync_directory(path)
    }
}

#[test]
fn records_that_come_while_a_sync_runs_share_the_next_one() {
    const THREADS: usize = 16;
    let base = tempfile::tempdir().unwrap();
    let disk = Arc::new(GatedDisk::new());
    let (journal, _) = open_on(disk.clone(), base.path());
    let contents: Vec<_> = (0..THREADS).map(|number| commit(&journal, &format!("/{number}"), b"x").content()).collect();
    let before = disk.gate.lock().syncs;
    disk.set_closed(true);
    thread::scope(|scope| {
        let journal = &journal;
        for content in &contents {
            let content = *content;
            scope.spawn(move || journal.dropped(content.file).map(|_durable| ()).unwrap());
        }
        // The first one syncs, and all the others have appended their records behind it.
        disk.wait_until(|gate| gate.waiting == 1);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !journal.pending().is_empty() {
            assert!(std::time::Instant::now() < deadline, "an append waits for a sync");
            thread::yield_now();
        }
        disk.set_closed(false);
    });
    let syncs = disk.gate.lock().syncs - before;
    assert_eq!(syncs, 2, "{THREADS} records");
}

#[test]
fn threads_at_once_lose_nothing() {
    const THREADS: usize = 8;
    const FILES: usize = 30;
    let base = tempfile::tempdir().unwrap();
    let folder = state_directory(base.path()).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, Fault::None));
    let (journal, _) = open_on(disk.clone(), base.path());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..FILES {
                    let name = format!("/{thread}/{number}");
                    let sealed = commit(journal, &name, name.as_bytes());
                    if number % 3 == 0 {
                        let uploaded = journal.uploaded(sealed.content(), &path(&name), version(0));
                        uploaded.map(|_durable| ()).unwrap();
                    }
                }
            });
        }
    });
    let target = tempfile::tempdir().unwrap();
    let copy = target.path().join(folder.file_name().unwrap());
    std::fs::create_dir(&copy).unwrap();
    disk.lose_power(&copy, &mut super::sim_disk::Chance(1));
    let (journal, recovered) = open(target.path());
    assert_eq!(journal.pending().len(), THREADS * FILES * 2 / 3);
    assert!(recovered.lost.is_empty() && recovered.kept.is_empty());
    for (path, bytes) in pending(&journal) {
        assert_eq!(path.as_bytes(), bytes);
    }
}

#[test]
fn failed_sync_fails_all_who_waited_for_it_and_hangs_nobody() {
    let base = tempfile::tempdir().unwrap();
    let folder = state_directory(base.path()).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, Fault::None));
    let (journal, _) = open_on(disk.clone(), base.path());
    let files: Vec<_> = (0..8).map(|number| commit(&journal, &format!("/{number}"), b"x").content().file).collect();
    disk.set_fault(Fault::PowerOff(0));
    thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| assert!(journal.dropped(*file).is_err()));
        }
    });
    assert_eq!(journal.pending().len(), 8, "nothing is taken for done that failed");
    disk.set_fault(Fault::None);
    let _durable = journal.dropped(files[0]).unwrap();
    assert_eq!(journal.pending().len(), 7);
}

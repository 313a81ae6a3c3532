//! One program at work on the mount: random calls, and what they have been promised.
//!
//! A call that has returned counts; of one that was under way when the mount was killed, both outcomes are right.

use std::fs::{self, File as OpenFile, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::tree::{Complete, File, Tree};

const SLOTS_MAX: usize = 3;
/// What a disk has no room for is not what is tested here.
const LEN_MAX: usize = 4 << 20;

/// Random numbers that a seed repeats.
pub(crate) struct Random(TestRng);

impl Random {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn choose<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.below(all.len())].clone())
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Small mostly, and sometimes more than what streams and in-place uploads begin at.
    fn len(&mut self) -> usize {
        match self.below(12) {
            0..8 => self.below(9000),
            8..11 => self.below(300_000),
            _ => 900_000 + self.below(1_600_000),
        }
    }
}

/// An open file; without a path when it was removed or replaced.
struct Slot {
    file: OpenFile,
    path: Option<String>,
}

pub(crate) struct Worker {
    root: PathBuf,
    random: Random,
    /// What is promised now.
    tree: Tree,
    /// The same, and what it is when the call under way is done.
    outcomes: Vec<Tree>,
    slots: Vec<Slot>,
    complete: Complete,
    done: u32,
}

/// How a worker's time ended.
pub(crate) struct Ended {
    /// What may be there from now on: one of these.
    pub(crate) outcomes: Vec<Tree>,
    pub(crate) complete: Complete,
    /// Calls that have returned.
    pub(crate) done: u32,
    /// Which call failed, and how.
    pub(crate) failed: Option<(String, io::Error)>,
    /// What was open, and is to be kept so until the mount is gone.
    pub(crate) open: Vec<OpenFile>,
}

type Tried = Result<(), (String, io::Error)>;

impl Worker {
    pub(crate) fn new(root: PathBuf, tree: Tree, random: Random) -> Self {
        let outcomes = vec![tree.clone()];
        Self { root, random, tree, outcomes, slots: Vec::new(), complete: Complete::default(), done: 0 }
    }

    /// Works until a call fails, or until `deadline`.
    pub(crate) fn work(mut self, deadline: Instant) -> Ended {
        let mut failed = None;
        while failed.is_none() && Instant::now() < deadline {
            failed = self.step().err();
        }
        let open = self.slots.into_iter().map(|slot| slot.file).collect();
        Ended { outcomes: self.outcomes, complete: self.complete, done: self.done, failed, open }
    }

    fn step(&mut self) -> Tried {
        match self.random.below(100) {
            0..10 => self.create(),
            10..20 => self.open_again(),
            20..42 => self.write(),
            42..45 => self.cut_open(),
            45..51 => self.fsync(),
            51..64 => self.close(),
            64..74 => self.rename_file(),
            74..77 => self.rename_directory(),
            77..82 => self.unlink(),
            82..85 => self.make_directory(),
            85..87 => self.remove_directory(),
            87..89 => self.set_time(),
            89..91 => self.cut_by_path(),
            91..97 => self.save(),
            _ => {
                std::thread::sleep(Duration::from_millis(self.random.below(120) as u64));
                Ok(())
            }
        }
    }

    /// Makes a call; `after` is what holds when it has returned.
    fn call(&mut self, what: String, after: Tree, call: impl FnOnce(&mut Self) -> io::Result<()>) -> Tried {
        self.outcomes = vec![self.tree.clone(), after.clone()];
        call(self).map_err(|error| (what, error))?;
        self.outcomes = vec![after.clone()];
        self.tree = after;
        self.done += 1;
        Ok(())
    }

    /// As [`Self::call`], for what changes one file.
    fn change(
        &mut self,
        what: String,
        path: &str,
        change: impl FnOnce(&mut File),
        call: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Tried {
        let mut after = self.tree.clone();
        let file = after.files.entry(path.to_owned()).or_insert_with(File::new);
        change(file);
        if !file.now.is_empty() || !file.is_dirty() {
            self.complete.insert(&file.now);
        }
        self.call(what, after, call)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn some_file(&mut self) -> Option<String> {
        let files: Vec<String> = self.tree.files.keys().cloned().collect();
        self.random.choose(&files)
    }

    /// A path in the root or one of the directories, whether anything is there or not.
    fn some_path(&mut self, initial: char, count: usize) -> String {
        let directories: Vec<String> = self.tree.directories.iter().cloned().collect();
        let directory = if self.random.one_in(2) { None } else { self.random.choose(&directories) };
        let name = format!("{initial}{}", self.random.below(count));
        directory.map_or(name.clone(), |directory| format!("{directory}/{name}"))
    }

    fn free_path(&mut self, initial: char) -> Option<String> {
        let path = self.some_path(initial, 6);
        (!self.tree.has(&path)).then_some(path)
    }

    /// An open file that has a name.
    fn some_slot(&mut self) -> Option<(usize, String)> {
        let index = self.random.below(self.slots.len().max(1));
        let path = self.slots.get(index)?.path.clone()?;
        Some((index, path))
    }

    fn create(&mut self) -> Tried {
        let Some(path) = self.free_path('f').filter(|_| self.slots.len() < SLOTS_MAX) else { return Ok(()) };
        self.open_new(&path)
    }

    fn open_new(&mut self, path: &str) -> Tried {
        self.change(
            format!("create {path}"),
            path,
            |_| (),
            |worker| {
                let file = OpenOptions::new().read(true).write(true).create_new(true).open(worker.path(path))?;
                worker.slots.push(Slot { file, path: Some(path.to_owned()) });
                Ok(())
            },
        )
    }

    fn open_again(&mut self) -> Tried {
        let Some(path) = self.some_file().filter(|_| self.slots.len() < SLOTS_MAX) else { return Ok(()) };
        let truncate = self.random.one_in(4);
        let cut = |file: &mut File| {
            if truncate {
                file.change(Vec::new());
            }
        };
        self.change(format!("open {path}, truncate {truncate}"), &path.clone(), cut, |worker| {
            let file = OpenOptions::new().read(true).write(true).truncate(truncate).open(worker.path(&path))?;
            worker.slots.push(Slot { file, path: Some(path) });
            Ok(())
        })
    }

    fn write(&mut self) -> Tried {
        let Some((slot, path)) = self.some_slot() else { return Ok(()) };
        let len = self.tree.files[&path].now.len();
        let offset = match self.random.below(4) {
            0 => self.random.below(len + 1),
            1 => len + self.random.below(300),
            _ => len,
        };
        // What is appended to a large file goes another way than all else.
        let (offset, count) = match len >= 1 << 20 && self.random.one_in(2) {
            true => (len, (1 << 20) + self.random.below(9000)),
            false => (offset, self.random.len()),
        };
        if offset + count > LEN_MAX {
            return Ok(());
        }
        self.write_at(slot, &path, offset, count)
    }

    fn write_at(&mut self, slot: usize, path: &str, offset: usize, count: usize) -> Tried {
        let bytes = self.random.bytes(count);
        let mut now = self.tree.files[path].now.to_vec();
        if count > 0 {
            now.resize(now.len().max(offset + count), 0);
            now[offset..offset + count].copy_from_slice(&bytes);
        }
        let what = format!("write {count} bytes at {offset} of {path}");
        self.change(
            what,
            path,
            |file| file.change(now),
            |worker| worker.slots[slot].file.write_all_at(&bytes, offset as u64),
        )
    }

    fn cut_open(&mut self) -> Tried {
        let Some((slot, path)) = self.some_slot() else { return Ok(()) };
        let now = self.cut(&path);
        let len = now.len() as u64;
        self.change(
            format!("ftruncate {path} to {len}"),
            &path,
            |file| file.change(now),
            |worker| worker.slots[slot].file.set_len(len),
        )
    }

    /// What is there, shorter or a little longer.
    fn cut(&mut self, path: &str) -> Vec<u8> {
        let mut now = self.tree.files[path].now.to_vec();
        let len = self.random.below(now.len() + 2000);
        now.resize(len, 0);
        now
    }

    fn fsync(&mut self) -> Tried {
        let Some((slot, path)) = self.some_slot() else { return Ok(()) };
        self.fsync_slot(slot, &path)
    }

    fn fsync_slot(&mut self, slot: usize, path: &str) -> Tried {
        if let Some(file) = self.tree.files.get_mut(path) {
            file.is_synced = true;
        }
        self.change(format!("fsync {path}"), path, File::promise, |worker| worker.slots[slot].file.sync_all())
    }

    fn close(&mut self) -> Tried {
        if self.slots.is_empty() {
            return Ok(());
        }
        let index = self.random.below(self.slots.len());
        self.close_slot(index)
    }

    fn close_slot(&mut self, index: usize) -> Tried {
        let slot = self.slots.swap_remove(index);
        let close = |_: &mut Self| Ok(nix::unistd::close(slot.file)?);
        match slot.path {
            Some(path) => self.change(format!("close {path}"), &path, File::promise, close),
            None => self.call("close what was removed".into(), self.tree.clone(), close),
        }
    }

    fn rename_file(&mut self) -> Tried {
        let Some(from) = self.some_file() else { return Ok(()) };
        // Onto what is there as often as not.
        let to = match self.random.one_in(2) {
            true => self.some_file(),
            false => self.free_path('f'),
        };
        match to.filter(|to| *to != from) {
            Some(to) => self.rename_file_to(&from, &to),
            None => Ok(()),
        }
    }

    fn rename_file_to(&mut self, from: &str, to: &str) -> Tried {
        let mut after = self.tree.clone();
        if let Some(file) = after.files.get_mut(from) {
            // It has its new name when it is promised, or on the server.
            file.promise();
            self.complete.insert(&file.now);
        }
        after.rename(from, to);
        self.rename(from, to, after)
    }

    fn rename(&mut self, from: &str, to: &str, after: Tree) -> Tried {
        self.call(format!("rename {from} to {to}"), after, |worker| {
            fs::rename(worker.path(from), worker.path(to))?;
            for slot in &mut worker.slots {
                let rest = slot.path.as_ref().and_then(|path| path.strip_prefix(from)).map(str::to_owned);
                match rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                    Some(rest) => slot.path = Some(format!("{to}{rest}")),
                    None => slot.path = slot.path.take().filter(|path| path != to),
                }
            }
            Ok(())
        })
    }

    fn rename_directory(&mut self) -> Tried {
        let directories: Vec<String> = self.tree.directories.iter().cloned().collect();
        let (Some(from), Some(to)) = (self.random.choose(&directories), self.free_path('d')) else { return Ok(()) };
        if to.starts_with(&format!("{from}/")) || to.matches('/').count() > 1 {
            return Ok(());
        }
        let mut after = self.tree.clone();
        let within = format!("{from}/");
        for (path, file) in &mut after.files {
            if path.starts_with(&within) && file.is_dirty() {
                file.promise();
                self.complete.insert(&file.now);
            }
        }
        after.rename(&from, &to);
        self.rename(&from, &to, after)
    }

    fn unlink(&mut self) -> Tried {
        let Some(path) = self.some_file() else { return Ok(()) };
        let mut after = self.tree.clone();
        after.files.remove(&path);
        self.call(format!("unlink {path}"), after, |worker| {
            fs::remove_file(worker.path(&path))?;
            for slot in &mut worker.slots {
                slot.path = slot.path.take().filter(|open| *open != path);
            }
            Ok(())
        })
    }

    fn make_directory(&mut self) -> Tried {
        let Some(path) = self.free_path('d').filter(|path| path.matches('/').count() < 2) else { return Ok(()) };
        let mut after = self.tree.clone();
        after.directories.insert(path.clone());
        self.call(format!("mkdir {path}"), after, |worker| fs::create_dir(worker.path(&path)))
    }

    fn remove_directory(&mut self) -> Tried {
        let empty: Vec<String> =
            self.tree.directories.iter().filter(|path| self.tree.is_empty_directory(path)).cloned().collect();
        let Some(path) = self.random.choose(&empty) else { return Ok(()) };
        let mut after = self.tree.clone();
        after.directories.remove(&path);
        let before = self.tree.clone();
        let result = self.call(format!("rmdir {path}"), after, |worker| fs::remove_dir(worker.path(&path)));
        match result {
            // What interrupted uploads have left there goes when the mount gets round to it.
            Err((_, error)) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                self.outcomes = vec![before];
                Ok(())
            }
            other => other,
        }
    }

    fn set_time(&mut self) -> Tried {
        let Some(path) = self.some_file() else { return Ok(()) };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + self.random.below(500_000_000) as u64);
        self.call(format!("utimens {path}"), self.tree.clone(), |worker| {
            let times = rustix::fs::Timespec {
                tv_sec: time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed(),
                tv_nsec: 0,
            };
            let times = rustix::fs::Timestamps { last_access: times, last_modification: times };
            let path = worker.path(&path);
            Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty())?)
        })
    }

    fn cut_by_path(&mut self) -> Tried {
        let Some(path) = self.some_file() else { return Ok(()) };
        let now = self.cut(&path);
        let len = now.len() as u64;
        let promise = |file: &mut File| {
            file.change(now);
            file.promise();
        };
        self.change(format!("truncate {path} to {len}"), &path, promise, |worker| {
            Ok(nix::unistd::truncate(&worker.path(&path), len.cast_signed())?)
        })
    }

    /// As editors save: a new file, and its name is that of the old one in the end.
    fn save(&mut self) -> Tried {
        let Some(target) = self.some_file().filter(|_| self.slots.len() < SLOTS_MAX) else { return Ok(()) };
        let temporary = format!("{target}~");
        if self.tree.has(&temporary) {
            return Ok(());
        }
        self.open_new(&temporary)?;
        let slot = self.slots.len() - 1;
        let count = self.random.len();
        self.write_at(slot, &temporary, 0, count)?;
        if self.random.one_in(2) {
            self.fsync_slot(slot, &temporary)?;
        }
        self.close_slot(slot)?;
        self.rename_file_to(&temporary, &target)
    }
}

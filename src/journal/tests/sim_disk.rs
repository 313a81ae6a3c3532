//! A disk that loses what was not synced, and fails where it is told to.
//!
//! It works on real files, so that reading needs no simulation, and keeps beside them what a power loss would leave: of each
//! file the content at its last sync, of each directory the names at its last sync. [`SimDisk::lose_power`] builds that
//! in another folder, with a chance part of what was not synced.

use super::super::disk::{Disk, LocalDisk};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What goes wrong, and at which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// From this step on nothing happens any more.
    PowerOff(u64),
    /// This step fails, and those after it work.
    Once(u64),
    /// From this step on there is no space: creating, reserving and growing fail.
    Full(u64),
}

pub(super) struct SimDisk {
    root: PathBuf,
    state: Mutex<State>,
}

struct State {
    fault: Fault,
    steps: u64,
    syncs: u64,
    inodes: HashMap<u64, Inode>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// What was done to names and is not synced, in order.
    changes: Vec<Change>,
}

struct Inode {
    /// Held, so that the number is not used again.
    file: File,
    durable: Vec<u8>,
    /// A sync has failed: what it should have written is lost, and no later one says so.
    is_spoiled: bool,
    reserved: u64,
}

#[derive(Clone)]
enum Change {
    Made(PathBuf, u64),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl Change {
    fn touches(&self, directory: &Path) -> bool {
        let is_in = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::Made(path, _) | Self::Removed(path) => is_in(path),
            Self::Renamed(from, to) => is_in(from) || is_in(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Made(path, inode) => drop(names.insert(path.clone(), *inode)),
            Self::Removed(path) => drop(names.remove(path)),
            Self::Renamed(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

/// Numbers that follow from a seed: splitmix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

impl SimDisk {
    /// A disk on which all that lies in `root` is durable.
    pub(super) fn new(root: &Path, fault: Fault) -> Self {
        let mut state = State {
            fault,
            steps: 0,
            syncs: 0,
            inodes: HashMap::new(),
            durable_names: BTreeMap::new(),
            changes: vec![],
        };
        for path in files_below(root) {
            let inode = state.inode(&File::options().read(true).write(true).open(&path).unwrap());
            let entry = state.inodes.get_mut(&inode).unwrap();
            entry.durable = content(&entry.file);
            state.durable_names.insert(path, inode);
        }
        Self { root: root.to_owned(), state: Mutex::new(state) }
    }

    pub(super) fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    pub(super) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.state.lock().fault = fault;
    }

    /// Builds in `target` what a power loss now would leave.
    pub(super) fn lose_power(&self, target: &Path, chance: &mut Chance) {
        let state = self.state.lock();
        let mut names = state.durable_names.clone();
        for change in &state.changes {
            if chance.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        for folder in ["staging", "set-aside"] {
            fs::create_dir_all(target.join(folder)).unwrap();
        }
        for (path, inode) in names {
            let inode = &state.inodes[&inode];
            let bytes = after_power_loss(&inode.durable, &content(&inode.file), chance);
            fs::write(target.join(path.strip_prefix(&self.root).unwrap()), bytes).unwrap();
        }
    }
}

/// A file's bytes: those that were synced, and of the others a chance part, or zeros in their place.
fn after_power_loss(durable: &[u8], current: &[u8], chance: &mut Chance) -> Vec<u8> {
    let Some(unsynced) = current.strip_prefix(durable) else {
        return if chance.below(2) == 0 { durable.to_vec() } else { current.to_vec() };
    };
    // Often all of it: what was not promised may be there as a whole.
    let len = if chance.below(4) == 0 { unsynced.len() } else { chance.below(unsynced.len() + 1) };
    let mut unsynced = unsynced[..len].to_vec();
    if chance.below(3) == 0 {
        let from = chance.below(unsynced.len() + 1);
        unsynced[from..].fill(0);
    }
    [durable, &unsynced].concat()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

impl State {
    fn inode(&mut self, file: &File) -> u64 {
        let inode = file.metadata().unwrap().ino();
        self.inodes.entry(inode).or_insert_with(|| Inode {
            file: file.try_clone().unwrap(),
            durable: vec![],
            is_spoiled: false,
            reserved: 0,
        });
        inode
    }

    /// One step: an error if it is to fail. `needs_space` tells whether a full disk stops it.
    fn step(&mut self, needs_space: bool) -> io::Result<()> {
        let step = self.steps;
        self.steps += 1;
        match self.fault {
            Fault::PowerOff(from) if step >= from => Err(io::Error::other("the power is off")),
            Fault::Once(at) if step == at => Err(io::Error::other("this step fails")),
            Fault::Full(from) if step >= from && needs_space => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut state = self.state.lock();
        state.step(true)?;
        let file = LocalDisk.create(path)?;
        let inode = state.inode(&file);
        state.changes.push(Change::Made(path.to_owned(), inode));
        Ok(file)
    }

    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.inode(file);
        let is_reserved = offset + bytes.len() as u64 <= state.inodes[&inode].reserved;
        if let Err(error) = state.step(!is_reserved) {
            // A part is written all the same.
            file.write_all_at(&bytes[..bytes.len() / 2], offset).unwrap();
            return Err(error);
        }
        file.write_all_at(bytes, offset)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.state.lock().step(false)?;
        file.set_len(len)
    }

    fn reserve(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.inode(file);
        let is_reserved = offset + len <= state.inodes[&inode].reserved;
        state.step(!is_reserved)?;
        let inode = state.inodes.get_mut(&inode).unwrap();
        inode.reserved = inode.reserved.max(offset + len);
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut state = self.state.lock();
        let result = state.step(false);
        state.syncs += 1;
        let inode = state.inode(file);
        let inode = state.inodes.get_mut(&inode).unwrap();
        inode.is_spoiled |= result.is_err();
        if !inode.is_spoiled {
            inode.durable = content(&inode.file);
        }
        result
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step(false)?;
        LocalDisk.rename(from, to)?;
        state.changes.push(Change::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step(false)?;
        LocalDisk.remove(path)?;
        state.changes.push(Change::Removed(path.to_owned()));
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step(false)?;
        let State { durable_names, changes, .. } = &mut *state;
        changes.retain(|change| {
            let is_synced = change.touches(path);
            if is_synced {
                change.apply(durable_names);
            }
            !is_synced
        });
        Ok(())
    }
}

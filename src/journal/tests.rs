//! The journal on disks that fail: cut at each step, full, damaged at each byte.
//!
//! `sim_disk` is the disk, `model` what was promised; the others hold one against the other.

mod concurrency;
mod damage;
mod faults;
mod model;
mod ordinary;
mod sim_disk;
mod sizes;

use super::disk::Disk;
use super::record::FileNumber;
use super::{Commit, Identity, Journal, Recovered, Sealed, StateDirectory, Version};
use crate::protocol::RemotePath;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

fn identity() -> Identity {
    Identity { host: "ftp.example.com".to_owned(), port: 21, user: b"anna".to_vec(), directory: path("/pub") }
}

fn state_directory(base: &Path) -> StateDirectory {
    StateDirectory::open(base, &identity()).unwrap()
}

fn open(base: &Path) -> (Journal, Recovered) {
    Journal::open(state_directory(base)).unwrap()
}

fn open_on(disk: Arc<dyn Disk>, base: &Path) -> (Journal, Recovered) {
    Journal::open_on(disk, state_directory(base)).unwrap()
}

/// A commit of `bytes` to a path where the server has nothing.
fn new_file(at: &str, bytes: &[u8]) -> Commit {
    Commit { path: path(at), size: bytes.len() as u64, base: None, modified: None, mode: None }
}

fn version(size: u64) -> Version {
    Version { size, modified: None, unique: None }
}

/// Writes and commits a new file.
fn commit(journal: &Journal, at: &str, bytes: &[u8]) -> Sealed {
    let staging = journal.begin(&path(at)).unwrap();
    staging.file().write_all_at(bytes, 0).unwrap();
    journal.commit(staging, new_file(at, bytes)).unwrap().sealed
}

/// What is pending, as path and bytes, in the order of the commits.
fn pending(journal: &Journal) -> Vec<(String, Vec<u8>)> {
    let files = journal.pending();
    files.iter().map(|file| (file.commit.path.to_string(), read(journal, file.content.file))).collect()
}

fn read(journal: &Journal, file: FileNumber) -> Vec<u8> {
    let pending = journal.pending_of(file).unwrap();
    journal.open_pending(pending.content).unwrap().read(0, usize::MAX).unwrap()
}

/// A folder in memory where that is possible: it is `SimDisk` that loses power, and the steps are many.
fn memory_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

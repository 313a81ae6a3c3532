//! One side of the comparison: a folder in which steps are done, and what came of each.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;

use crate::steps::{Opening, PATHS, SLOTS_MAX, Step, bytes};

/// What a step gave; the same on both sides, or one of them is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The step had nothing to be done on.
    Nothing,
    Number(u64),
    Bytes(Vec<u8>),
    Names(Vec<Vec<u8>>),
    Attributes(Attributes),
    Failed(Errno),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    is_directory: bool,
    mode: u32,
    /// Of files only, as the links: a directory's are its file system's own business.
    size: u64,
    links: u64,
    /// The slots in which the same file is open.
    open_as: Vec<usize>,
}

/// A descriptor, and whether it can write.
struct Slot {
    file: File,
    writes: bool,
}

pub(crate) struct Side {
    root: PathBuf,
    slots: Vec<Slot>,
}

impl Side {
    /// Makes the folder `name` in `parent`, and begins there.
    pub(crate) fn new(parent: &Path, name: &str) -> Self {
        let root = parent.join(name);
        fs::create_dir(&root).unwrap();
        Self { root, slots: Vec::new() }
    }

    pub(crate) fn path(&self, path: usize) -> PathBuf {
        self.root.join(PATHS[path])
    }

    /// Which slot a step means, for there are fewer than it could name.
    fn index(&self, slot: usize) -> Option<usize> {
        (!self.slots.is_empty()).then(|| slot % self.slots.len())
    }

    /// The paths at which what is open in this slot lies, if it can write: what fsync and close have promised something of.
    pub(crate) fn paths_of_writer(&self, slot: usize) -> Vec<usize> {
        let Some(slot) = self.index(slot).map(|index| &self.slots[index]) else { return vec![] };
        let wanted = slot.file.metadata().unwrap().ino();
        let is_there = |path: &usize| fs::symlink_metadata(self.path(*path)).is_ok_and(|found| found.ino() == wanted);
        if slot.writes { (0..PATHS.len()).filter(is_there).collect() } else { vec![] }
    }

    pub(crate) fn run(&mut self, step: Step, maps: &mut Maps) -> Outcome {
        self.attempt(step, maps).unwrap_or_else(Outcome::Failed)
    }

    fn attempt(&mut self, step: Step, maps: &mut Maps) -> Result<Outcome, Errno> {
        let done = |()| Outcome::Number(0);
        match step {
            Step::Open { path, how } => self.open(path, how),
            Step::Stat { path } => rustix::fs::stat(self.path(path)).map(|stat| self.attributes(&stat)),
            Step::List { path } => {
                let entries = fs::read_dir(self.path(path)).map_err(errno)?;
                let mut names = Vec::new();
                for entry in entries {
                    names.push(entry.map_err(errno)?.file_name().as_bytes().to_vec());
                }
                names.sort();
                Ok(Outcome::Names(names))
            }
            Step::Rename { from, to, no_replace } => {
                let flags = if no_replace { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
                rustix::fs::renameat_with(CWD, self.path(from), CWD, self.path(to), flags).map(done)
            }
            Step::Unlink { path } => rustix::fs::unlink(self.path(path)).map(done),
            Step::MakeDirectory { path } => rustix::fs::mkdir(self.path(path), Mode::from(0o755)).map(done),
            Step::RemoveDirectory { path } => rustix::fs::rmdir(self.path(path)).map(done),
            Step::Chmod { path, mode } => rustix::fs::chmod(self.path(path), Mode::from(mode)).map(done),
            Step::SetTime { path, seconds } => self.set_time(path, seconds),
            Step::Truncate { path, size } => maps.truncate(&self.path(path), size),
            Step::MapRead { path } => maps.read(&self.path(path)),
            Step::MapWrite { path, offset, len, seed, sync } => maps.write(&self.path(path), offset, len, seed, sync),
            Step::Dup { slot }
            | Step::Close { slot }
            | Step::Pread { slot, .. }
            | Step::Pwrite { slot, .. }
            | Step::Read { slot, .. }
            | Step::Write { slot, .. }
            | Step::SeekEnd { slot, .. }
            | Step::Ftruncate { slot, .. }
            | Step::Allocate { slot, .. }
            | Step::Fsync { slot, .. }
            | Step::Fstat { slot } => match self.index(slot) {
                Some(index) => self.with_slot(step, index),
                None => Ok(Outcome::Nothing),
            },
        }
    }

    fn open(&mut self, path: usize, how: Opening) -> Result<Outcome, Errno> {
        let mut flags = [OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR][usize::from(how.access)] | OFlags::CLOEXEC;
        flags.set(OFlags::CREATE, how.create);
        flags.set(OFlags::EXCL, how.exclusive);
        flags.set(OFlags::TRUNC, how.truncate);
        flags.set(OFlags::APPEND, how.append);
        flags.set(OFlags::SYNC, how.sync);
        flags.set(OFlags::DIRECTORY, how.directory);
        if self.slots.len() == SLOTS_MAX {
            return Ok(Outcome::Nothing);
        }
        let descriptor = rustix::fs::open(self.path(path), flags, Mode::from(0o644))?;
        self.slots.push(Slot { file: File::from(descriptor), writes: how.access != 0 });
        Ok(Outcome::Number(0))
    }

    fn with_slot(&mut self, step: Step, index: usize) -> Result<Outcome, Errno> {
        let file = &self.slots[index].file;
        let count = |count: usize| Outcome::Number(count as u64);
        let done = |()| Outcome::Number(0);
        let some = |mut buffer: Vec<u8>, len: usize| {
            buffer.truncate(len);
            Outcome::Bytes(buffer)
        };
        match step {
            Step::Dup { .. } if self.slots.len() == SLOTS_MAX => Ok(Outcome::Nothing),
            Step::Dup { .. } => {
                let copy = Slot { file: file.try_clone().map_err(errno)?, writes: self.slots[index].writes };
                self.slots.push(copy);
                Ok(Outcome::Number(0))
            }
            Step::Close { .. } => {
                drop(self.slots.remove(index));
                Ok(Outcome::Number(0))
            }
            Step::Pread { offset, len, .. } => {
                let mut buffer = vec![0; len];
                rustix::io::pread(file, &mut buffer[..], offset).map(|len| some(buffer, len))
            }
            Step::Read { len, .. } => {
                let mut buffer = vec![0; len];
                rustix::io::read(file, &mut buffer[..]).map(|len| some(buffer, len))
            }
            Step::Pwrite { offset, len, seed, .. } => rustix::io::pwrite(file, &bytes(len, seed), offset).map(count),
            Step::Write { len, seed, .. } => rustix::io::write(file, &bytes(len, seed)).map(count),
            Step::SeekEnd { back, .. } if file.metadata().map_err(errno)?.is_dir() => Ok(count(back as usize)),
            Step::SeekEnd { back, .. } => {
                rustix::fs::seek(file, SeekFrom::End(-back.cast_signed())).map(Outcome::Number)
            }
            Step::Ftruncate { size, .. } => rustix::fs::ftruncate(file, size).map(done),
            Step::Allocate { offset, len, keep_size, .. } => {
                let mode = if keep_size { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() };
                rustix::fs::fallocate(file, mode, offset, len).map(done)
            }
            Step::Fsync { data_only: true, .. } => rustix::fs::fdatasync(file).map(done),
            Step::Fsync { data_only: false, .. } => rustix::fs::fsync(file).map(done),
            Step::Fstat { .. } => rustix::fs::fstat(file).map(|stat| self.attributes(&stat)),
            _ => Ok(Outcome::Nothing),
        }
    }

    fn set_time(&self, path: usize, seconds: i64) -> Result<Outcome, Errno> {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, self.path(path), &times, AtFlags::empty())?;
        let stat = rustix::fs::stat(self.path(path))?;
        Ok(Outcome::Number(stat.st_mtime.cast_unsigned()))
    }

    fn attributes(&self, stat: &rustix::fs::Stat) -> Outcome {
        let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        let is_it = |slot: &Slot| slot.file.metadata().is_ok_and(|open| open.ino() == stat.st_ino);
        let open_as = self.slots.iter().enumerate().filter(|(_, slot)| is_it(slot)).map(|(index, _)| index).collect();
        Outcome::Attributes(Attributes {
            is_directory,
            mode: stat.st_mode & 0o7777,
            size: if is_directory { 0 } else { stat.st_size.cast_unsigned() },
            links: if is_directory { 0 } else { stat.st_nlink },
            open_as,
        })
    }

    /// Closes what is open, and gives all that is in the folder: paths, and the contents of files.
    pub(crate) fn finish(mut self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        self.slots.clear();
        tree(&self.root)
    }
}

/// All below `root`, sorted: paths in it, and the contents of files.
pub(crate) fn tree(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let (mut folders, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            assert!(kind.is_dir() || kind.is_file() && !kind.is_fifo(), "{} is something else", path.display());
            let content = if kind.is_dir() { None } else { Some(fs::read(&path).unwrap()) };
            found.push((path.strip_prefix(root).unwrap().to_owned(), content));
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap()
}

/// The program that maps files.
pub(crate) struct Maps {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Maps {
    pub(crate) fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/maps.py");
        let mut command = Command::new("python3");
        command.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = crate::servers::spawn(command);
        let (requests, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, requests, answers }
    }

    fn read(&mut self, path: &Path) -> Result<Outcome, Errno> {
        self.ask(&serde_json::json!({"call": "read", "path": path}))
    }

    fn write(&mut self, path: &Path, offset: u64, length: usize, seed: u8, sync: bool) -> Result<Outcome, Errno> {
        let request = serde_json::json!({
            "call": "write", "path": path, "offset": offset, "length": length, "seed": seed, "sync": sync,
        });
        self.ask(&request)
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Result<Outcome, Errno> {
        self.ask(&serde_json::json!({"call": "truncate", "path": path, "size": size}))
    }

    fn ask(&mut self, request: &serde_json::Value) -> Result<Outcome, Errno> {
        writeln!(self.requests, "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
        match answer["errno"].as_i64() {
            Some(errno) => Err(Errno::from_raw_os_error(errno.try_into().unwrap())),
            None => Ok(Outcome::Number(answer["value"].as_u64().unwrap())),
        }
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

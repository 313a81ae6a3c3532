//! The machine's own disk, under a process that ends as if it were killed at a step that a test names. Not in release builds.
//!
//! `FTPFS_TEST_DIE_AT=<when>:<step>:<count>` names it: `before:sync:3` is before the third sync, `within:write:2` when half of the
//! second write is written, `after:any:17` behind the seventeenth step of whatever kind.

use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use super::disk::{Disk, LocalDisk};

const VARIABLE: &str = "FTPFS_TEST_DIE_AT";

/// The machine's own disk, or one that ends this process, where the environment says so.
pub(super) fn of_environment() -> Arc<dyn Disk> {
    let Some(text) = env::var_os(VARIABLE) else { return Arc::new(LocalDisk) };
    match text.to_str().and_then(Death::parse) {
        Some(death) => Arc::new(DyingDisk { disk: LocalDisk, death, left: AtomicU32::new(death.count) }),
        None => die("a value that names no step", Path::new(VARIABLE)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    /// With half of a write written; otherwise as before.
    Within,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    SetLen,
    Reserve,
    Sync,
    Rename,
    Remove,
    SyncDirectory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Death {
    when: When,
    /// `None`: any.
    step: Option<Step>,
    count: u32,
}

impl Death {
    fn parse(text: &str) -> Option<Self> {
        let [when, step, count] = text.split(':').collect::<Vec<_>>().try_into().ok()?;
        let when = match when {
            "before" => When::Before,
            "within" => When::Within,
            "after" => When::After,
            _ => return None,
        };
        let step = match step {
            "any" => None,
            "create" => Some(Step::Create),
            "write" => Some(Step::Write),
            "set_len" => Some(Step::SetLen),
            "reserve" => Some(Step::Reserve),
            "sync" => Some(Step::Sync),
            "rename" => Some(Step::Rename),
            "remove" => Some(Step::Remove),
            "sync_directory" => Some(Step::SyncDirectory),
            _ => return None,
        };
        let count = count.parse().ok().filter(|count| *count > 0)?;
        Some(Self { when, step, count })
    }
}

struct DyingDisk {
    disk: LocalDisk,
    death: Death,
    /// Steps of this kind until the last one, that one included.
    left: AtomicU32,
}

impl DyingDisk {
    /// Does a step, and dies before or after it where it is the last one. `half` does half of it.
    fn step<T>(&self, step: Step, at: impl Fn() -> PathBuf, half: impl FnOnce(), whole: impl FnOnce() -> T) -> T {
        let is_meant = self.death.step.is_none_or(|meant| meant == step);
        let is_last = is_meant && self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if !is_last {
            return whole();
        }
        match self.death.when {
            When::Before => {}
            When::Within => half(),
            When::After => drop(whole()),
        }
        die(&format!("{:?} {step:?}", self.death.when), &at())
    }
}

/// Ends this process as kill -9 does: nothing of ours runs any more.
fn die(step: &str, at: &Path) -> ! {
    tracing::error!(at = %at.display(), "dying for a test: {step}");
    let _ = kill_process(getpid(), Signal::KILL);
    // Not reached: the signal is delivered before the call returns.
    process::abort()
}

/// Which file it is, for the log.
fn path_of(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

impl Disk for DyingDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step(Step::Create, || path.to_owned(), || (), || self.disk.create(path))
    }

    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let half = || {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            drop(self.disk.write_all_at(file, half, offset));
        };
        self.step(Step::Write, || path_of(file), half, || self.disk.write_all_at(file, bytes, offset))
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.step(Step::SetLen, || path_of(file), || (), || self.disk.set_len(file, len))
    }

    fn reserve(&self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        self.step(Step::Reserve, || path_of(file), || (), || self.disk.reserve(file, offset, len))
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step(Step::Sync, || path_of(file), || (), || self.disk.sync(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename, || from.to_owned(), || (), || self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Remove, || path.to_owned(), || (), || self.disk.remove(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step(Step::SyncDirectory, || path.to_owned(), || (), || self.disk.sync_directory(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_to_die_at_is_named_by_when_kind_and_count() {
        let death = |when, step, count| Some(Death { when, step, count });
        assert_eq!(Death::parse("before:sync:3"), death(When::Before, Some(Step::Sync), 3));
        assert_eq!(Death::parse("within:any:1"), death(When::Within, None, 1));
        assert_eq!(Death::parse("after:sync_directory:20"), death(When::After, Some(Step::SyncDirectory), 20));
        for wrong in ["", "sync:3", "before:sync", "before:sync:0", "before:sync:x", "never:sync:1", "before:fly:1"] {
            assert_eq!(Death::parse(wrong), None, "{wrong}");
        }
    }
}

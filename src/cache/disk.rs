//! Blocks on the local disk (`--cache-dir`): what was read once is not read again after a remount.
//!
//! Each version of each file that was read has two files: its bytes in their places (sparse), and a map of the blocks that are
//! there with their checksums (`entry`). Nothing is synced: a block that a crash has spoilt does not have its checksum, and
//! counts as absent. So nothing here has to be safe, and all of it may be deleted at any time.
//!
//! A version found here answers for a file only where the time of both is known to the second: what is kept for weeks must not rest
//! on a size.
//!
//! The lock is held for memory, and while a file that goes is unlinked.

mod entry;
#[cfg(test)]
mod tests;

pub(super) use entry::DiskEntry;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use super::blocks::{Block, BlockIndex};
use super::version::FileVersion;
use crate::protocol::{Precision, RemotePath};

/// A file that has changed so lately may change again within the second that its time tells, and is not kept.
const SETTLED: Duration = Duration::from_secs(60);

/// The disk is left at least so much.
const RESERVE_BYTES: u64 = 256 << 20;

/// So many blocks are kept between two looks at how much room the disk has.
const BLOCKS_PER_LOOK: u32 = 64;

/// How long nothing is kept after the disk was full or failed.
const PAUSE: Duration = Duration::from_secs(30);

/// How often the disk is told that an entry is in use.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// What lies in a cache directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// Bytes of the blocks.
    pub bytes: u64,
    /// The most of them.
    pub bytes_max: u64,
    /// Versions of files, complete or not.
    pub files: usize,
}

/// The blocks of one server's files on the local disk. One process has it at a time.
#[derive(Debug)]
pub struct DiskCache {
    directory: PathBuf,
    bytes_max: u64,
    state: Mutex<State>,
    /// Held as long as this lives.
    _lock: File,
}

#[derive(Debug)]
struct State {
    /// One version a path; the least recently used first to go.
    entries: LruCache<RemotePath, Kept>,
    bytes: u64,
    blocks_until_look: u32,
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Kept {
    entry: Arc<DiskEntry>,
    touched: Instant,
}

impl DiskCache {
    /// Opens the cache of `server` (a name that tells servers and accounts apart) below `base`, which is made if need be,
    /// and brings it down to `bytes_max`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another process has it; any other of the local disk's.
    pub fn open(base: &Path, server: &str, bytes_max: u64) -> io::Result<Arc<Self>> {
        let directory = base.join(entry::hexadecimal(&[server.as_bytes()]));
        // What was read from the server is for nobody else's eyes.
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        refuse_others(&directory)?;
        let lock = File::create(directory.join("lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let mut found = scan(&directory)?;
        found.sort_by_key(|(used, _)| *used);
        let now = Instant::now();
        let mut state = State { entries: LruCache::unbounded(), bytes: 0, blocks_until_look: 0, paused_until: None };
        for (_, entry) in found {
            state.bytes += entry.bytes();
            let kept = Kept { touched: now, entry };
            if let Some((_, older)) = state.entries.push(kept.entry.path().clone(), kept) {
                state.bytes = state.bytes.saturating_sub(older.entry.bytes());
                older.entry.remove();
            }
        }
        state.shrink_to(bytes_max, None);
        Ok(Arc::new(Self { directory, bytes_max, state: Mutex::new(state), _lock: lock }))
    }

    /// What is kept of this version, made if there is nothing yet; what was kept of another one goes. `None` where it is not to be
    /// kept, or cannot be now.
    pub(super) fn entry(&self, path: &RemotePath, version: &FileVersion) -> Option<Arc<DiskEntry>> {
        if !tells_enough(version) || version.size == 0 {
            return None;
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(kept) = state.entries.get_mut(path) {
            if is_same(kept.entry.version(), version) {
                if now.saturating_duration_since(kept.touched) >= TOUCH_INTERVAL {
                    kept.touched = now;
                    kept.entry.touch();
                }
                return Some(Arc::clone(&kept.entry));
            }
            state.drop_entry(path);
        }
        // What has less than two places here would only push all else out.
        let is_too_large = version.size > self.bytes_max / 2;
        if is_too_large || !is_settled(version) || state.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        match DiskEntry::create(&self.directory, path, version) {
            Ok(entry) => {
                let entry = Arc::new(entry);
                state.bytes += entry.bytes();
                state.entries.put(path.clone(), Kept { entry: Arc::clone(&entry), touched: now });
                state.shrink_to(self.bytes_max, Some(path));
                Some(entry)
            }
            Err(error) => {
                state.pause(&error);
                None
            }
        }
    }

    /// Keeps a block that the server has sent.
    pub(super) fn store(&self, entry: &Arc<DiskEntry>, index: BlockIndex, block: &Block) {
        if entry.has(index) || !self.has_room(entry) {
            return;
        }
        let stored = entry.store(index, block);
        let mut state = self.state.lock();
        match stored {
            Ok(bytes) => {
                // It may have gone meanwhile, and does not count then.
                if state.holds(entry) {
                    state.bytes += bytes;
                    state.shrink_to(self.bytes_max, Some(entry.path()));
                }
            }
            // Unlinked meanwhile: nobody reads it any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => state.pause(&error),
        }
    }

    /// A block that is here and has its checksum. One that has not takes its whole entry with it.
    pub(super) fn load(&self, entry: &Arc<DiskEntry>, index: BlockIndex) -> Option<Block> {
        match entry.load(index) {
            Ok(found) => found,
            // Gone meanwhile, or deleted by somebody else.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.drop_entry(entry);
                None
            }
            // The disk may have better moments.
            Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                tracing::debug!(path = %entry.path(), %error, "the cache directory cannot be read");
                None
            }
            Err(error) => {
                tracing::warn!(path = %entry.path(), %error, "what the cache directory has of this file is spoilt; it is read anew");
                self.drop_entry(entry);
                None
            }
        }
    }

    /// The bytes of a version that is here as a whole, each block of it checked since the mount began.
    pub fn whole(&self, path: &RemotePath, version: &FileVersion) -> Option<File> {
        let entry = {
            let state = self.state.lock();
            let kept = state.entries.peek(path)?;
            is_same(kept.entry.version(), version).then(|| Arc::clone(&kept.entry))?
        };
        entry.open_whole().ok().flatten()
    }

    /// Drops what is kept of a path and all below it, whose content is another one by this mount's doing.
    pub fn forget_tree(&self, path: &RemotePath) {
        let mut state = self.state.lock();
        let below: Vec<RemotePath> =
            state.entries.iter().map(|(kept, _)| kept).filter(|kept| kept.is_at_or_below(path)).cloned().collect();
        for path in below {
            state.drop_entry(&path);
        }
    }

    /// Drops this entry; another one that has its path by now stays.
    pub(super) fn drop_entry(&self, entry: &Arc<DiskEntry>) {
        let mut state = self.state.lock();
        if state.holds(entry) {
            state.drop_entry(entry.path());
        }
    }

    /// What is here now.
    pub fn usage(&self) -> DiskUsage {
        let state = self.state.lock();
        DiskUsage { bytes: state.bytes, bytes_max: self.bytes_max, files: state.entries.len() }
    }

    /// Whether a block may be kept: the disk is not full, or is not any more once older entries are gone.
    fn has_room(&self, current: &DiskEntry) -> bool {
        let mut state = self.state.lock();
        if state.paused_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        state.blocks_until_look = match state.blocks_until_look.checked_sub(1) {
            Some(left) => left,
            None => {
                let free =
                    || rustix::fs::statvfs(&self.directory).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
                if free().is_ok_and(|free| free < RESERVE_BYTES) {
                    let wanted = state.bytes.saturating_sub(RESERVE_BYTES);
                    state.shrink_to(wanted, Some(current.path()));
                    if free().is_ok_and(|free| free < RESERVE_BYTES) {
                        state.pause(&io::Error::from(io::ErrorKind::StorageFull));
                        return false;
                    }
                }
                BLOCKS_PER_LOOK
            }
        };
        true
    }
}

impl State {
    fn holds(&self, entry: &Arc<DiskEntry>) -> bool {
        self.entries.peek(entry.path()).is_some_and(|kept| Arc::ptr_eq(&kept.entry, entry))
    }

    fn drop_entry(&mut self, path: &RemotePath) {
        if let Some(kept) = self.entries.pop(path) {
            self.bytes = self.bytes.saturating_sub(kept.entry.bytes());
            kept.entry.remove();
        }
    }

    /// Lets the least recently used go, but not `current`, until there are no more than `bytes_max`.
    fn shrink_to(&mut self, bytes_max: u64, current: Option<&RemotePath>) {
        // Each is looked at once at most.
        for _ in 0..self.entries.len() {
            if self.bytes <= bytes_max {
                return;
            }
            let Some((path, kept)) = self.entries.pop_lru() else { return };
            if current == Some(&path) {
                self.entries.put(path, kept);
                continue;
            }
            self.bytes = self.bytes.saturating_sub(kept.entry.bytes());
            kept.entry.remove();
        }
    }

    fn pause(&mut self, error: &io::Error) {
        tracing::warn!("the cache directory takes nothing for {PAUSE:?}: {error}");
        self.paused_until = Some(Instant::now() + PAUSE);
    }
}

/// The entries that lie in `directory`, each with when it was last used; what is none is deleted.
fn scan(directory: &Path) -> io::Result<Vec<(SystemTime, Arc<DiskEntry>)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == entry::DATA_EXTENSION) {
            // A crash in the middle of a beginning or an end.
            if !path.with_extension(entry::MAP_EXTENSION).exists() {
                entry::remove_files(&path.with_extension(entry::MAP_EXTENSION));
            }
            continue;
        }
        if path.extension().is_none_or(|extension| extension != entry::MAP_EXTENSION) {
            continue;
        }
        match DiskEntry::open(&path) {
            Ok((used, entry)) => found.push((used, Arc::new(entry))),
            Err(error) => {
                tracing::debug!(map = %path.display(), %error, "not an entry of the cache; it is deleted");
                entry::remove_files(&path);
            }
        }
    }
    Ok(found)
}

/// Refuses a directory that others may have filled, or may read.
fn refuse_others(directory: &Path) -> io::Result<()> {
    let told = fs::symlink_metadata(directory)?;
    let is_ours = told.is_dir() && told.uid() == rustix::process::geteuid().as_raw() && told.mode() & 0o077 == 0;
    let reason = || format!("{} is not a directory of this user alone", directory.display());
    if is_ours { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, reason())) }
}

/// Whether a version may be told from another of the same size. The `unique` fact alone does not do: some make it from the
/// file's place on their disk, which a change leaves as it is.
fn tells_enough(version: &FileVersion) -> bool {
    version.modified.is_some_and(|time| time.precision >= Precision::Second)
}

/// Whether both are proved to be the same content, as far as the server tells contents apart.
fn is_same(kept: &FileVersion, wanted: &FileVersion) -> bool {
    tells_enough(kept) && tells_enough(wanted) && kept.agrees_with(wanted)
}

/// Whether it was last changed long enough ago.
fn is_settled(version: &FileVersion) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    version.modified.is_some_and(|time| {
        i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(time.seconds) >= SETTLED.as_secs().cast_signed()
    })
}

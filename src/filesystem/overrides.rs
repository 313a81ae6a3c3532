//! Permission bits and times that were asked for and that this server cannot keep.
//!
//! They are shown for the rest of the mount, so that a program which sets and reads them back goes on; the log
//! says so once. Bounded: the least recently used go first.

use crate::cache::FileVersion;
use crate::protocol::{Entry, EntryKind, RemotePath, Timestamp};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

/// How many files may have some.
const OVERRIDES_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("it is not zero");

#[derive(Debug, Clone, Default)]
struct Override {
    mode: Option<u32>,
    /// The time shown, and the version it was set on: another one has its own time.
    modified: Option<(Timestamp, FileVersion)>,
}

/// See the module's documentation.
pub(super) struct Overrides {
    table: Mutex<LruCache<RemotePath, Override>>,
}

impl Overrides {
    pub(super) fn new() -> Self {
        Self { table: Mutex::new(LruCache::new(OVERRIDES_MAX)) }
    }

    pub(super) fn set_mode(&self, path: &RemotePath, mode: u32) {
        self.table.lock().get_or_insert_mut(path.clone(), Override::default).mode = Some(mode);
    }

    /// Shows `time` as long as the file is the one that `entry` describes.
    pub(super) fn set_modified(&self, path: &RemotePath, time: Timestamp, entry: &Entry) {
        let modified = Some((time, version_of(entry)));
        self.table.lock().get_or_insert_mut(path.clone(), Override::default).modified = modified;
    }

    /// Lays what was asked for over an entry.
    pub(super) fn apply(&self, path: &RemotePath, entry: &mut Entry) {
        let mut table = self.table.lock();
        let Some(found) = table.get_mut(path) else { return };
        entry.mode = found.mode.or(entry.mode);
        let shown = version_of(entry);
        if let Some((time, version)) = &mut found.modified
            && version.agrees_with(&shown)
        {
            // After an upload the server's own time may not be known before it is listed.
            version.refine(&shown);
            entry.modified = Some(*time);
        }
    }

    /// The server keeps this file's time after all.
    pub(super) fn forget_modified(&self, path: &RemotePath) {
        if let Some(found) = self.table.lock().get_mut(path) {
            found.modified = None;
        }
    }

    /// The server keeps this file's permission bits after all.
    pub(super) fn forget_mode(&self, path: &RemotePath) {
        if let Some(found) = self.table.lock().get_mut(path) {
            found.mode = None;
        }
    }

    pub(super) fn remove(&self, path: &RemotePath) {
        self.table.lock().pop(path);
    }

    /// Moves what is known of a file or, looking at all there is, of a tree.
    pub(super) fn rename(&self, from: &RemotePath, to: &RemotePath, is_tree: bool) {
        let mut table = self.table.lock();
        table.pop(to);
        if !is_tree {
            if let Some(found) = table.pop(from) {
                table.put(to.clone(), found);
            }
            return;
        }
        let moved: Vec<(RemotePath, RemotePath)> = table
            .iter()
            .filter_map(|(path, _)| {
                let rest = path.as_bytes().strip_prefix(from.as_bytes())?;
                (rest.is_empty() || rest.starts_with(b"/"))
                    .then(|| Some((path.clone(), to.join_relative(rest).ok()?)))?
            })
            .collect();
        for (old, new) in moved {
            if let Some(found) = table.pop(&old) {
                table.put(new, found);
            }
        }
    }
}

/// What the time was set on. Directories have no size that would say anything.
fn version_of(entry: &Entry) -> FileVersion {
    if entry.kind == EntryKind::Directory {
        // What is in it changes its size and time, and what was set stays set: tar and its like look whether it does.
        return FileVersion { size: 0, modified: None, unique: None };
    }
    FileVersion { size: entry.size.unwrap_or(0), modified: entry.modified, unique: None }
}

//! What a filesystem tells of itself: how much it holds, and what is not on the server yet.
//!
//! All from memory, so that it can be asked while the server is dead. The filesystem's lock is held for a walk over the
//! inodes and no longer; each file is then looked at under its own.

use super::content::Content;
use super::handles::HandleKind;
use super::{AheadUsage, Filesystem, FilesystemError, InodeNumber};
use crate::cache::{DiskUsage, ReaderUsage};
use crate::protocol::RemotePath;
use crate::remote::Connections;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A file that the server does not hold as it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyFile {
    /// Its path on the server.
    pub path: RemotePath,
    /// Its size here.
    pub size: u64,
    /// For how long the server has lacked something of it.
    pub dirty_for: Duration,
    /// Whether somebody has it open for writing.
    pub open: bool,
    /// Why the last upload failed, where one was tried and did.
    pub error: Option<FilesystemError>,
    /// Whether all of it is in the journal: it survives this mount, and is delivered by the next.
    pub in_journal: bool,
    /// Bytes of it that are on their way or on the server already.
    pub sent: u64,
}

/// What the journal holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalUsage {
    /// Its state directory.
    pub directory: PathBuf,
    /// Contents that wait for their delivery.
    pub pending: usize,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Contents that could not be delivered: where they lie, each with a note beside it.
    pub set_aside: Vec<PathBuf>,
    /// Why nothing is delivered at the moment.
    pub paused_by: Option<FilesystemError>,
}

/// What a filesystem holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// The connections, where the server is reached by any.
    pub connections: Option<Connections>,
    /// Inodes that the kernel or a handle knows.
    pub inodes: usize,
    /// Handles open on files.
    pub open_files: usize,
    /// Handles open on directories.
    pub open_directories: usize,
    /// Entries in cached listings.
    pub listing_entries: usize,
    /// About the most of them.
    pub listing_entries_max: usize,
    /// Blocks, transfers for reading, and reads that wait.
    pub reader: ReaderUsage,
    /// The cache directory, where there is one.
    pub disk: Option<DiskUsage>,
    /// What is not on the server, the oldest first.
    pub dirty: Vec<DirtyFile>,
    /// The journal, where there is one.
    pub journal: Option<JournalUsage>,
    /// What was asked before anybody needed it.
    pub ahead: AheadUsage,
}

/// Files of which as many are kept as anybody would read.
const LOST_MAX: usize = 1000;

/// The files that were given up.
#[derive(Debug, Default)]
pub(super) struct LostFiles {
    count: usize,
    latest: VecDeque<DirtyFile>,
}

impl LostFiles {
    /// One more.
    pub(super) fn push(&mut self, file: DirtyFile) {
        self.count += 1;
        if self.latest.len() >= LOST_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(file);
    }
}

impl Filesystem {
    /// How many files were given up since the mount began: their last handle is gone, and what was written to them could not
    /// be stored. The log names them.
    pub fn lost_count(&self) -> usize {
        self.lost.lock().count
    }

    /// Those of them that were given up after the first `skipped`, but no more than the latest thousand.
    pub fn lost_files(&self, skipped: usize) -> Vec<DirtyFile> {
        let lost = self.lost.lock();
        let meant = lost.count.saturating_sub(skipped);
        lost.latest.iter().skip(lost.latest.len().saturating_sub(meant)).cloned().collect()
    }

    /// What it holds now. Asks no server and waits for none.
    pub fn usage(&self) -> Usage {
        let (inodes, open_files, open_directories) = {
            let state = self.state.lock();
            let files = state.handles.all().filter(|handle| matches!(handle.kind, HandleKind::File { .. })).count();
            (state.inodes.len(), files, state.handles.len() - files)
        };
        Usage {
            connections: self.server.connections(),
            inodes,
            open_files,
            open_directories,
            listing_entries: self.listings.entries(),
            listing_entries_max: self.options.listing_entries_max,
            reader: self.server.reader_usage(),
            disk: self.server.disk_usage(),
            dirty: self.dirty_files(),
            journal: self.journal_usage(),
            ahead: self.ahead.usage(),
        }
    }

    fn journal_usage(&self) -> Option<JournalUsage> {
        let journal = self.journal.as_ref()?;
        let pending = journal.pending();
        Some(JournalUsage {
            directory: journal.directory().to_owned(),
            pending_bytes: pending.iter().map(|pending| pending.commit.size).sum(),
            pending: pending.len(),
            set_aside: journal.list_set_aside().unwrap_or_default(),
            paused_by: self.deliveries.paused_by(),
        })
    }

    /// The files that are not on the server as they are here, the oldest first.
    pub fn dirty_files(&self) -> Vec<DirtyFile> {
        let now = Instant::now();
        let mut files: Vec<DirtyFile> =
            self.contents().iter().filter_map(|(ino, content)| self.dirty_file(*ino, content, now)).collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.dirty_for));
        files
    }

    /// Every file of which more is known than its name.
    pub(super) fn contents(&self) -> Vec<(InodeNumber, Arc<Content>)> {
        let state = self.state.lock();
        state.inodes.all().filter_map(|(ino, inode)| Some((ino, inode.content.clone()?))).collect()
    }

    /// What is dirty of this file, if anything is.
    pub(super) fn dirty_file(&self, ino: InodeNumber, content: &Content, now: Instant) -> Option<DirtyFile> {
        let file = {
            let content = content.lock();
            content.dirty.then(|| DirtyFile {
                path: RemotePath::root(),
                size: content.size(),
                dirty_for: now.saturating_duration_since(content.dirty_since),
                open: content.writers > 0,
                error: content.upload_error.clone(),
                in_journal: content.is_promised(),
                sent: content.sent,
            })?
        };
        // Removed from the server by somebody else while it was open: it has the name it was opened by.
        let path = self.file_path(ino).unwrap_or_else(|| RemotePath::root().join(&content.lock().entry.name));
        Some(DirtyFile { path, ..file })
    }
}

//! What an earlier mount has promised is in the filesystem again before anybody sees it; and renames whose result nobody knows.

use super::allowance::Room;
use super::content::{Content, Detached, Pending};
use super::promise::{file_version, try_record};
use super::{Access, Filesystem, FilesystemResult, InodeNumber};
use crate::journal::{PendingFile, Recovered, Rename};
use crate::protocol::{Entry, EntryKind, Name, Precision, RemotePath, Timestamp};
use crate::remote::RemoteError;
use std::time::Instant;

impl Filesystem {
    /// Enters what is pending, and queues it.
    pub(super) fn restore(&self, recovered: Recovered) {
        for rename in recovered.renames.iter().map(|(_, rename)| rename) {
            if let Err(error) = self.settle_renames(Access::Server, &rename.from) {
                tracing::warn!(from = %rename.from, to = %rename.to, %error, "it is not known whether this rename was done");
            }
        }
        let Some(journal) = &self.journal else { return };
        // Their paths are those that they have behind the renames.
        for pending in journal.pending() {
            match self.restore_file(&pending) {
                Some(ino) => self.deliveries.push(ino, pending.commit.size, false),
                None => {
                    tracing::error!(path = %pending.commit.path, "what is pending for this path has no place in this mount; it stays in the journal")
                }
            }
        }
    }

    fn restore_file(&self, file: &PendingFile) -> Option<InodeNumber> {
        let PendingFile { content, commit, committed_at, doubtful, .. } = file;
        let (parent, directory, name) = self.ensure_parents(&commit.path)?;
        let written = Timestamp { seconds: *committed_at, nanoseconds: 0, precision: Precision::Second };
        let mut entry = Entry::new(name.clone(), EntryKind::File);
        entry.size = Some(commit.size);
        entry.modified = commit.modified.or(Some(written));
        entry.mode = commit.mode.or(Some(0o644));
        let version = commit.base.as_ref().map(file_version);
        let pending = Pending {
            id: *content,
            size: commit.size,
            modified: commit.modified,
            mode: commit.mode,
            committed_at: Instant::now(),
            check_first: true,
            doubtful: *doubtful,
            stored: None,
            sealed: None,
            _room: Room::taken_over(&self.staging.allowance, commit.size),
        };
        let held = Content::of_pending(commit.path.clone(), entry.clone(), version, pending);
        let mut state = self.state.lock();
        let ino = state.inodes.ensure(parent, &commit.path, &name, EntryKind::File);
        state.inodes.get_mut(ino)?.content = Some(held);
        drop(state);
        self.listings.pin(&directory, entry, self.clock.instant());
        Some(ino)
    }

    /// The inode of the directory that `path` lies in, made with those above it; `None` for what is not below the root.
    fn ensure_parents(&self, path: &RemotePath) -> Option<(InodeNumber, RemotePath, Name)> {
        let rest = match path.as_bytes().strip_prefix(self.root.as_bytes())? {
            rest if self.root.is_root() => rest,
            rest => rest.strip_prefix(b"/")?,
        };
        let names: Option<Vec<Name>> = rest.split(|byte| *byte == b'/').map(|name| Name::new(name).ok()).collect();
        let mut names = names?;
        let last = names.pop()?;
        let mut state = self.state.lock();
        let (mut at, mut directory) = (InodeNumber::ROOT, self.root.clone());
        for name in names {
            directory = directory.join(&name);
            at = state.inodes.ensure(at, &directory, &name, EntryKind::Directory);
        }
        Some((at, directory, last))
    }

    /// Looks into the renames at `path`, above or below it whose result is not known.
    ///
    /// # Errors
    /// [`super::FilesystemError::WouldWait`]; why the server could not be asked: nobody knows then where what lies there belongs.
    pub(super) fn settle_renames(&self, access: Access, path: &RemotePath) -> FilesystemResult<()> {
        let Some(journal) = self.journal.as_ref().filter(|journal| journal.has_renames()) else { return Ok(()) };
        self.server.ask(access)?;
        let is_meant = |rename: &Rename| {
            [&rename.from, &rename.to].iter().any(|end| end.is_at_or_below(path) || path.is_at_or_below(end))
        };
        if !journal.renames().iter().any(|(_, rename)| is_meant(rename)) {
            return Ok(());
        }
        // One that is under way holds this, so what is found here is one whose answer got lost.
        let _moving = self.moving.write();
        for (number, rename) in journal.renames().into_iter().filter(|(_, rename)| is_meant(rename)) {
            // With neither there, what is pending of it is stored where it was, if it can be.
            let is_done = !self.is_there(&rename.from)? && self.is_there(&rename.to)?;
            tracing::info!(from = %rename.from, to = %rename.to, is_done, "a rename whose answer got lost");
            try_record(|| journal.renamed(number, is_done))?;
            if is_done {
                self.end_replaced(&rename);
                self.follow(&rename);
            }
        }
        Ok(())
    }

    /// What was pending where a rename has put something else is over.
    fn end_replaced(&self, rename: &Rename) {
        let Some(replaced) = rename.replaces else { return };
        let is_meant = |content: &Content| content.lock().pending_id().is_some_and(|id| id.file == replaced);
        for (ino, _) in self.contents().into_iter().filter(|(_, content)| is_meant(content)) {
            if let Some((directory, name)) = self.place(ino) {
                self.listings.unpin(&directory, &name);
            }
            self.detach(ino, Detached::Removed);
        }
    }

    /// As [`Self::settle_renames`], for what is pending.
    ///
    /// # Errors
    /// As for [`Self::settle_renames`].
    pub(super) fn settle_renames_of(&self, pending: &Pending) -> FilesystemResult<()> {
        let file = self.journal.as_ref().and_then(|journal| journal.pending_of(pending.id.file));
        file.map_or(Ok(()), |file| self.settle_renames(Access::Server, &file.commit.path))
    }

    fn is_there(&self, path: &RemotePath) -> FilesystemResult<bool> {
        match self.server.ask(Access::Server)?.stat(path) {
            Ok(_) => Ok(true),
            Err(RemoteError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A rename was done that was thought not to be: what is pending has other paths in the journal by now.
    fn follow(&self, rename: &Rename) {
        let now = self.clock.instant();
        for end in [&rename.from, &rename.to] {
            self.listings.forget_tree(end);
        }
        for (ino, content) in self.contents() {
            let Some(pending) = content.lock().pending.clone() else { continue };
            let Some(file) = self.journal.as_ref().and_then(|journal| journal.pending_of(pending.id.file)) else {
                continue;
            };
            let old = self.place(ino);
            let is_there = old.as_ref().is_some_and(|(directory, name)| directory.join(name) == file.commit.path);
            if is_there {
                continue;
            }
            let Some((parent, directory, name)) = self.ensure_parents(&file.commit.path) else { continue };
            self.state.lock().inodes.relink(ino, parent, &name);
            let shown = {
                let mut content = content.lock();
                content.entry.name = name;
                content.shown()
            };
            if let Some((directory, name)) = old {
                self.listings.unpin(&directory, &name);
                self.listings.distrust(&directory, &name, now);
            }
            self.listings.pin(&directory, shown, now);
        }
    }
}

//! Renaming.
//!
//! What is dirty under the old name is uploaded first, so that the server renames what the program wrote. With a promise of the
//! journal the name is all that changes where nothing of the file is on the server yet.

use super::ask::{parse_name, parse_new_name};
use super::content::{Claim, Detached};
use super::promise::{journal_version, try_record};
use super::{Access, Durability, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::{FileId, FileVersion};
use crate::journal::{FileNumber, Rename};
use crate::protocol::{Entry, EntryKind, Name, RemotePath};
use crate::remote::RemoteError;

/// One end of a rename.
struct End {
    parent: InodeNumber,
    directory: RemotePath,
    name: Name,
    entry: Option<Entry>,
    ino: Option<InodeNumber>,
}

impl End {
    fn path(&self) -> RemotePath {
        self.directory.join(&self.name)
    }

    fn is_directory(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.kind == EntryKind::Directory)
    }
}

impl Filesystem {
    /// Renames; what is at the new name is replaced unless `no_replace`.
    ///
    /// `no_replace` rests on an answer of the server no older than `attr_timeout`: FTP has no rename that refuses by itself.
    ///
    /// # Errors
    /// [`FilesystemError::Exists`], [`FilesystemError::IsDirectory`], [`FilesystemError::NotDirectory`],
    /// [`FilesystemError::NotEmpty`]; any other of [`FilesystemError`]. Both names are then as before, as far as the server could be reached.
    pub fn rename(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        new_parent: InodeNumber,
        new_name: &[u8],
        no_replace: bool,
    ) -> FilesystemResult<()> {
        self.refuse_if_read_only()?;
        let from = self.end(access, parent, parse_name(name)?, false)?;
        let to = self.end(access, new_parent, parse_new_name(new_name)?, no_replace)?;
        let Some(entry) = from.entry.clone() else { return Err(FilesystemError::NotFound) };
        if no_replace && to.entry.is_some() {
            return Err(FilesystemError::Exists);
        }
        if (from.parent, &from.name) == (to.parent, &to.name) {
            return Ok(());
        }
        match (from.is_directory(), &to.entry) {
            (true, Some(_)) if !to.is_directory() => return Err(FilesystemError::NotDirectory),
            (false, Some(_)) if to.is_directory() => return Err(FilesystemError::IsDirectory),
            _ => {}
        }
        for end in [&from, &to] {
            self.settle_renames(access, &end.path())?;
        }
        let claims = self.claim_ends(access, &from, &to)?;
        self.server.ask(access)?;
        // A directory above may have got another name while others had the files.
        if self.directory_path(parent)? != from.directory || self.directory_path(new_parent)? != to.directory {
            drop(claims);
            return self.rename(access, parent, name, new_parent, new_name, no_replace);
        }
        let (replaced, moved): (Vec<_>, Vec<_>) = claims.into_iter().partition(|(ino, _)| Some(*ino) == to.ino);
        let replaced = replaced.first();
        // What goes on in the background may hold the only connection. What it has begun is not of use under another name, but where
        // part of it is nowhere else.
        for (_, claim) in moved.iter().filter(|(_, claim)| claim.content.lock().is_promised()) {
            drop(claim.stop(self.options.operation_timeout)?);
        }
        if let Some((ino, claim)) = replaced {
            self.preserve(access, *ino, claim, &to.path())?;
        }
        let mut is_alone = false;
        for (ino, claim) in &moved {
            is_alone = self.prepare_to_move(access, *ino, claim, from.is_directory())?;
        }
        match moved.first() {
            Some((ino, claim)) if is_alone => {
                self.rename_here(*ino, claim, replaced.map(|(_, claim)| claim), &from, &to)
            }
            _ => {
                let replaced = replaced.and_then(|(_, claim)| Some(claim.content.lock().pending_id()?.file));
                self.rename_there(access, &from, &to, entry, replaced, &moved)
            }
        }
    }

    /// Brings a claimed file into a state in which it may get another name; true where that concerns nobody but the journal, since
    /// nothing of it can be on the server.
    fn prepare_to_move(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        with_directory: bool,
    ) -> FilesystemResult<bool> {
        let (is_dirty, can_be_promised) = {
            let content = claim.content.lock();
            let in_journal = self.options.close == Durability::Journal || content.pending.is_some();
            (content.dirty, in_journal && !content.has_holes())
        };
        if !is_dirty {
            return Ok(false);
        }
        if !can_be_promised || self.commit(access, ino, claim).is_err() {
            return self.upload_claimed(access, ino, claim).map(|()| false);
        }
        if with_directory || self.is_local_only(claim) {
            // It would be brought to the old name.
            drop(claim.stop(self.options.operation_timeout)?);
            return Ok(!with_directory);
        }
        self.upload_claimed(access, ino, claim).map(|()| false)
    }

    /// Gives a promised file, of which nothing is on the server, another name.
    fn rename_here(
        &self,
        ino: InodeNumber,
        claim: &Claim,
        replaced: Option<&Claim>,
        from: &End,
        to: &End,
    ) -> FilesystemResult<()> {
        let pending = claim.content.lock().pending_id().map(|id| id.file);
        let (Some(journal), Some(file)) = (&self.journal, pending) else { return Err(FilesystemError::Stale) };
        let known = to.entry.as_ref().and_then(FileVersion::of);
        let (base, version, has_own_time, replaces) = match replaced {
            Some(replaced) => {
                let content = replaced.content.lock();
                // What it shows is ours, and what the server has may be older.
                let replaces = content.pending_id().map(|id| id.file);
                (content.base(), content.version.clone(), content.has_own_time, replaces)
            }
            None => (known.as_ref().map(journal_version), known, false, None),
        };
        let _moving = self.moving.read();
        let _durable = try_record(|| journal.moved(file, &to.path(), base.clone(), replaces))?;
        let shown = {
            let mut content = claim.content.lock();
            content.version = version;
            content.has_own_time = has_own_time;
            content.uploaded = None;
            if let Some(pending) = &mut content.pending {
                pending.stored = None;
            }
            content.shown()
        };
        self.renamed(from, to, shown.clone());
        let shown = Entry { name: to.name.clone(), ..shown };
        self.listings.pin(&to.directory, shown, self.clock.instant());
        self.deliver_soon(ino);
        Ok(())
    }

    /// Renames on the server; what is pending follows.
    fn rename_there(
        &self,
        access: Access,
        from: &End,
        to: &End,
        entry: Entry,
        replaces: Option<FileNumber>,
        moved: &[(InodeNumber, Claim)],
    ) -> FilesystemResult<()> {
        let needs_record = from.is_directory() || replaces.is_some();
        let Some(journal) = self.journal.as_ref().filter(|_| needs_record) else {
            self.rename_on_server(access, from, to)?;
            self.renamed(from, to, entry);
            return Ok(());
        };
        // Nobody promises anything under a name that is about to be another.
        let _moving = self.moving.write();
        let rename = Rename { from: from.path(), to: to.path(), replaces };
        let number = journal.renaming(rename)?;
        let result = self.rename_on_server(access, from, to);
        let is_done = match &result {
            Ok(()) => true,
            Err(error) if error.is_final() => false,
            // Nobody knows: whoever needs the names next asks, and so does the next mount.
            Err(_) => return result,
        };
        if is_done {
            let waiting: Vec<_> =
                moved.iter().filter_map(|(ino, claim)| Some((*ino, claim, self.place(*ino)?))).collect();
            self.renamed(from, to, entry);
            for (ino, claim, (old_directory, name)) in waiting {
                let content = claim.content.lock();
                let (is_dirty, shown) = (content.dirty, content.shown());
                drop(content);
                if let Some((directory, _)) = self.place(ino).filter(|_| is_dirty) {
                    self.listings.unpin(&old_directory, &name);
                    self.listings.pin(&directory, shown, self.clock.instant());
                }
            }
        }
        if let Err(error) = try_record(|| journal.renamed(number, is_done)) {
            tracing::error!(from = %from.path(), to = %to.path(), %error, "that a rename was done cannot be written down; the server is asked again");
        }
        result
    }

    fn end(&self, access: Access, parent: InodeNumber, name: Name, fresh: bool) -> FilesystemResult<End> {
        let directory = self.directory_path(parent)?;
        let age_max = if fresh { self.options.attr_timeout } else { self.shown_age_max(&directory) };
        let entry = match self.local_child(parent, &name) {
            Some((_, entry)) => Some(entry),
            None => self.entry(access, &directory, &name, age_max)?,
        };
        let ino = self.state.lock().inodes.child(parent, &name);
        Ok(End { parent, directory, name, entry, ino })
    }

    /// Claims all open files that the rename moves or replaces, in ascending order of inode numbers.
    fn claim_ends(&self, access: Access, from: &End, to: &End) -> FilesystemResult<Vec<(InodeNumber, Claim)>> {
        let mut contents: Vec<_> = {
            let state = self.state.lock();
            let moved = match from.ino {
                Some(ino) if from.is_directory() => state.inodes.within(ino),
                other => other.into_iter().collect(),
            };
            let all = moved.into_iter().chain(to.ino);
            all.filter_map(|ino| Some((ino, state.inodes.get(ino)?.content.clone()?))).collect()
        };
        contents.sort_by_key(|(ino, _)| *ino);
        contents.dedup_by_key(|(ino, _)| *ino);
        let claim = |(ino, content): (InodeNumber, std::sync::Arc<super::Content>)| {
            Ok((ino, content.claim(access, self.options.operation_timeout)?))
        };
        contents.into_iter().map(claim).collect()
    }

    fn rename_on_server(&self, access: Access, from: &End, to: &End) -> FilesystemResult<()> {
        let remote = self.server.ask(access)?;
        let replaces_directory = to.is_directory();
        if replaces_directory {
            // rename(2) replaces an empty directory; servers do not agree whether RNTO does.
            if to.ino.is_some_and(|ino| self.has_local_files(ino)) {
                return Err(FilesystemError::NotEmpty);
            }
            remote.remove_directory(&to.path())?;
        }
        let Err(error) = remote.rename(&from.path(), &to.path()) else { return Ok(()) };
        if replaces_directory && let Err(error) = remote.make_directory(&to.path()) {
            tracing::warn!(path = %to.path(), %error, "an empty directory that was to be replaced could not be made again");
        }
        // Whether it happened is not known after a lost connection: nothing here is believed until the server is asked.
        for end in [from, to] {
            self.listings.distrust(&end.directory, &end.name, self.clock.instant());
            self.listings.forget_tree(&end.path());
        }
        if error == RemoteError::NotFound {
            self.listings.forget_tree(&from.directory);
        }
        Err(error.into())
    }

    /// The server has renamed; now the names here.
    fn renamed(&self, from: &End, to: &End, mut entry: Entry) {
        let now = self.clock.instant();
        if from.is_directory() {
            self.listings.forget_tree(&from.path());
            self.listings.forget_tree(&to.path());
        }
        // What an upload before the rename has learned is newer than what was known at its start.
        let known = self.listings.get(&from.directory, &from.name, std::time::Duration::MAX, now);
        if let crate::cache::listings::Known::Present(record) = known {
            entry = record.entry.clone();
        }
        entry.name = to.name.clone();
        if let Some(replaced) = to.ino {
            self.detach(replaced, Detached::Removed);
            self.server.forget(FileId(replaced.0));
        }
        self.server.forget_tree(&from.path());
        self.server.forget_tree(&to.path());
        self.overrides.rename(&from.path(), &to.path(), from.is_directory());
        self.listings.remove(&from.directory, &from.name, now);
        // What was there may have been on this side alone, and so be pinned.
        self.listings.remove(&to.directory, &to.name, now);
        self.listings.insert(&to.directory, entry, now);
        let mut state = self.state.lock();
        if let Some(ino) = from.ino {
            state.inodes.relink(ino, to.parent, &to.name);
            if let Some(content) = state.inodes.get(ino).and_then(|inode| inode.content.clone()) {
                content.lock().entry.name = to.name.clone();
            }
        }
    }
}

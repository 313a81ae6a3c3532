//! Renaming.
//!
//! What is dirty under the old name is uploaded first, so that the server renames what the program wrote.

use super::ask::{parse_name, parse_new_name};
use super::content::{Claim, Detached};
use super::{Access, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::FileId;
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
        let claims = self.claim_ends(access, &from, &to)?;
        self.server.ask(access)?;
        for (ino, claim) in &claims {
            if Some(*ino) != to.ino {
                self.upload_claimed(access, *ino, claim)?;
            }
        }
        if let Some((ino, claim)) = claims.iter().find(|(ino, _)| Some(*ino) == to.ino) {
            self.preserve(access, *ino, claim, &to.path())?;
        }
        self.rename_on_server(access, &from, &to)?;
        self.renamed(&from, &to, entry);
        Ok(())
    }

    fn end(&self, access: Access, parent: InodeNumber, name: Name, fresh: bool) -> FilesystemResult<End> {
        let directory = self.directory_path(parent)?;
        let age_max = if fresh { self.options.attr_timeout } else { self.options.dir_timeout };
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

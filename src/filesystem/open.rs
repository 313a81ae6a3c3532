//! Opening, creating and closing files.
//!
//! Close-to-open: an open rests on an answer of the server no older than `attr_timeout`, unless this side decides
//! what the file is (it is being written here). A version that changed while others have the file open gets another inode.

use super::ask::parse_new_name;
use super::content::Content;
use super::handles::{Handle, HandleKind};
use super::namespace::USUAL_FILE_MODES;
use super::{
    Access, Durability, Filesystem, FilesystemError, FilesystemResult, Found, HandleId, InodeNumber, OpenFlags, Opened,
};
use crate::cache::{FileId, FileVersion};
use crate::protocol::{Entry, EntryKind, Name, RemotePath};
use std::fs::File;
use std::sync::Arc;

impl Filesystem {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FilesystemError::Stale`] where the name stands for another file by now and the old one is still open: look the name up
    /// again (the kernel does so by itself), and open what is found. Any other of [`FilesystemError`].
    pub fn open(&self, access: Access, ino: InodeNumber, flags: OpenFlags) -> FilesystemResult<Opened> {
        if flags.write || flags.truncate {
            self.refuse_if_read_only()?;
        }
        let kind = self.state.lock().inodes.get(ino).ok_or(FilesystemError::Stale)?.kind;
        match kind {
            EntryKind::File => {}
            EntryKind::Directory => return Err(FilesystemError::IsDirectory),
            EntryKind::Symlink | EntryKind::Other => return Err(FilesystemError::InvalidArgument),
        }
        let content = self.openable(access, ino)?;
        // Who empties a file has written it, also where it was opened for reading alone.
        let flags = OpenFlags { write: flags.write || flags.truncate, ..flags };
        let opened = self.add_handle(ino, content, flags)?;
        if flags.truncate {
            if let Err(error) = self.set_size_of(access, opened.handle, 0, true) {
                if let Ok((_, content, _)) = self.file_handle(opened.handle) {
                    let mut content = content.lock();
                    content.writers = content.writers.saturating_sub(1);
                }
                self.drop_handle(opened.handle);
                return Err(error);
            }
            return Ok(Opened { keep_cache: false, ..opened });
        }
        Ok(opened)
    }

    /// The content of a file that is to be opened, revalidated.
    fn openable(&self, access: Access, ino: InodeNumber) -> FilesystemResult<Arc<Content>> {
        let known = self.content_of(ino);
        if let Some(content) = known.filter(|content| content.lock().is_authority()) {
            return Ok(content);
        }
        let (directory, name) = self.place(ino).ok_or(FilesystemError::Stale)?;
        self.await_fetch(access, &directory.join(&name))?;
        let answer = self.answer(access, &directory, &name, self.options.attr_timeout)?;
        let Some(entry) = answer.entry else {
            self.supersede(ino);
            return Err(FilesystemError::NotFound);
        };
        if entry.kind != EntryKind::File || !self.reconcile(ino, &entry) {
            return Err(FilesystemError::Stale);
        }
        let version = FileVersion::of(&entry);
        if let Some(version) = &version {
            let age = self.clock.instant().saturating_duration_since(answer.at);
            self.server.opened(FileId(ino.0), &directory.join(&name), version, age);
        }
        if let Some(content) = self.content_of(ino) {
            return Ok(content);
        }
        let Some(version) = version else {
            return Err(FilesystemError::NotSupported { what: "telling the size of this file" });
        };
        Ok(Content::of_version(directory.join(&name), entry, version))
    }

    /// Enters a handle, and the content with the first of them.
    fn add_handle(&self, ino: InodeNumber, content: Arc<Content>, flags: OpenFlags) -> FilesystemResult<Opened> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let inode = state.inodes.get_mut(ino).ok_or(FilesystemError::Stale)?;
        let content = Arc::clone(inode.content.get_or_insert(content));
        let (keep_cache, attributes_changed) = {
            let mut content = content.lock();
            content.writers += u32::from(flags.write);
            // What is written here went through the kernel's pages; else they are good for the version they were read under.
            let paged = inode.paged.take();
            let same = match (&paged, &content.version) {
                (Some(paged), Some(version)) => paged.agrees_with(version),
                _ => false,
            };
            inode.paged.clone_from(&content.version);
            (same || content.is_authority(), paged.is_some() && !same)
        };
        inode.handles += 1;
        let handle = state.handles.insert(Handle { ino, kind: HandleKind::File { content, flags } });
        Ok(Opened { handle, keep_cache, attributes_changed })
    }

    /// Makes a file and opens it, or opens what is there unless `flags.exclusive`; counts a lookup.
    ///
    /// The new file is seen here at once; the server has it when it is flushed.
    ///
    /// # Errors
    /// [`FilesystemError::Exists`] where `flags.exclusive` and the name is taken, by an answer of the server no older than
    /// `attr_timeout`; any other of [`FilesystemError`].
    pub fn create(
        &self,
        access: Access,
        parent: InodeNumber,
        name: &[u8],
        mode: u32,
        flags: OpenFlags,
    ) -> FilesystemResult<(Found, Opened)> {
        self.refuse_if_read_only()?;
        let directory = self.directory_path(parent)?;
        let name = parse_new_name(name)?;
        self.settle_renames(access, &directory.join(&name))?;
        let local = self.local_child(parent, &name);
        let there = match local {
            Some((_, entry)) => Some(entry),
            // As fresh as for an open: what another client made meanwhile is to be opened, not stored over.
            None => self.entry(access, &directory, &name, self.options.attr_timeout)?,
        };
        match there {
            Some(_) if flags.exclusive => Err(FilesystemError::Exists),
            Some(entry) => self.open_existing(access, parent, &directory, &entry, flags),
            None => self.create_new(parent, &directory, name, mode, flags),
        }
    }

    fn open_existing(
        &self,
        access: Access,
        parent: InodeNumber,
        directory: &RemotePath,
        entry: &Entry,
        flags: OpenFlags,
    ) -> FilesystemResult<(Found, Opened)> {
        let found = match self.local_child(parent, &entry.name) {
            Some((ino, shown)) => {
                self.state.lock().inodes.look_up(ino);
                self.found(ino, &shown)
            }
            None => self.link(parent, directory, entry),
        };
        let ino = found.attributes.ino;
        match self.open(access, ino, flags) {
            Ok(opened) => Ok((self.attributes(Access::MemoryOnly, ino, Some(opened.handle)).unwrap_or(found), opened)),
            Err(error) => {
                self.forget(ino, 1);
                Err(error)
            }
        }
    }

    fn create_new(
        &self,
        parent: InodeNumber,
        directory: &RemotePath,
        name: Name,
        mode: u32,
        flags: OpenFlags,
    ) -> FilesystemResult<(Found, Opened)> {
        let path = directory.join(&name);
        let mode = mode & 0o7777;
        let mut entry = Entry::new(name.clone(), EntryKind::File);
        entry.size = Some(0);
        entry.modified = Some(self.now());
        entry.mode = Some(mode);
        self.overrides.remove(&path);
        let content = Content::of_new_file(path.clone(), entry.clone());
        {
            let mut content = content.lock();
            content.stage(&self.staging)?;
            content.mode_wanted = (!USUAL_FILE_MODES.contains(&(mode & 0o777))).then_some(mode);
        }
        let ino = {
            let mut state = self.state.lock();
            // An inode that still had the name is of a file that is proved gone.
            if let Some(gone) = state.inodes.child(parent, &name) {
                state.inodes.detach(gone);
            }
            let ino = state.inodes.ensure(parent, &path, &name, EntryKind::File);
            state.inodes.look_up(ino);
            ino
        };
        // Who makes a file has written it, also where it was opened for reading alone: the close of this handle stores it.
        let opened = self.add_handle(ino, content, OpenFlags { write: true, ..flags })?;
        self.listings.pin(directory, entry.clone(), self.clock.instant());
        Ok((self.found(ino, &entry), opened))
    }

    /// Whether any file may be read from the local disk by the kernel itself: nobody can write to one through this mount.
    pub fn keeps_local_files(&self) -> bool {
        self.options.read_only && self.options.disk.is_some()
    }

    /// The local file that has all bytes of an open one; it stays readable whatever becomes of the name.
    pub fn local_file(&self, handle: HandleId) -> Option<File> {
        if !self.keeps_local_files() {
            return None;
        }
        let (ino, content, _) = self.file_handle(handle).ok()?;
        let version = content.lock().version.clone()?;
        self.server.whole(&self.file_path(ino)?, &version)
    }

    /// The last descriptor is gone; what is still dirty (mmap) is uploaded, a failure logged. The handle is gone in any case.
    ///
    /// # Errors
    /// [`FilesystemError::WouldWait`], [`FilesystemError::BadHandle`]; no other.
    pub fn release(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        let (ino, content, flags) = self.file_handle(handle)?;
        let is_last = flags.write && self.take_back_writer(access, &content)?;
        let result = if is_last { self.last_close(access, ino, &content) } else { Ok(()) };
        self.drop_handle(handle);
        if let Err(error) = result
            && !self.keep(ino, &content, &error)
        {
            self.give_up(ino, &content, &error);
        }
        Ok(())
    }

    fn last_close(&self, access: Access, ino: InodeNumber, content: &Arc<Content>) -> FilesystemResult<()> {
        match self.options.close {
            Durability::Server => self.upload(access, ino, content),
            Durability::Journal => self.promise(access, ino, content),
        }
    }

    /// Counts one writer less, and says whether it was the last one of a dirty file. One step under one lock: of several
    /// handles released at once, exactly one is the last.
    fn take_back_writer(&self, access: Access, content: &Content) -> FilesystemResult<bool> {
        let mut content = content.lock();
        let is_last_of_dirty = content.writers <= 1 && content.dirty && !content.is_promised();
        if is_last_of_dirty {
            self.server.ask(access)?;
        }
        content.writers = content.writers.saturating_sub(1);
        Ok(is_last_of_dirty)
    }

    /// Nobody has a dirty file open any more and it could not be uploaded: close has said so, or says so in the log.
    fn give_up(&self, ino: InodeNumber, content: &Content, error: &FilesystemError) {
        match self.file_path(ino) {
            Some(path) => {
                tracing::error!(%path, %error, "what was written to this file could not be uploaded and is lost")
            }
            None => tracing::error!(%ino, %error, "what was written to a file that has no name any more is lost"),
        }
        self.gave_up(ino, content, error.clone());
    }

    /// Takes a file's handle away, and with the last of them what was known of the content.
    fn drop_handle(&self, handle: HandleId) {
        let mut state = self.state.lock();
        let Some(Handle { ino, kind: HandleKind::File { content, .. } }) = state.handles.remove(handle) else {
            return;
        };
        let Some(inode) = state.inodes.get_mut(ino) else { return };
        inode.handles = inode.handles.saturating_sub(1);
        if inode.handles == 0 {
            {
                let mut content = content.lock();
                if !content.is_promised() {
                    content.drop_stream();
                }
                // What is promised is opened again when it is needed; a stream that is handed over still reads it.
                if !content.dirty || content.is_promised() && !content.is_streaming() {
                    // Not left to the last who holds the content: a stream's thread may, for a moment more, and others wait for the room.
                    content.staging = None;
                }
            }
            content.notify();
            if !content.is_dirty() {
                inode.content = None;
            }
            self.server.close_streams(FileId(ino.0));
        }
        state.inodes.drop_unused(ino);
    }
}

//! Writing files: to their staging file.
//!
//! Not here: how it gets to the server (`streaming`, `upload`).

use super::content::{Content, ContentState};
use super::staging::Staging;
use super::streaming::Wanted;
use super::{Access, Durability, Filesystem, FilesystemError, FilesystemResult, HandleId, InodeNumber};
use parking_lot::MutexGuard;
use std::sync::Arc;

/// How far a write to the staging file got.
enum Tried {
    Written,
    /// `--staging-size` is used up.
    NoAllowance,
    DiskFull,
}

impl Filesystem {
    /// Writes at `offset`, or at the end where the handle appends; returns how many bytes (all of them).
    ///
    /// # Errors
    /// [`FilesystemError::WouldWait`] while the file is being uploaded, or where room has to be made first;
    /// [`FilesystemError::LocalNoSpace`]; what a stream has failed with; any other. Nothing is written then.
    pub fn write(&self, access: Access, handle: HandleId, offset: u64, data: &[u8]) -> FilesystemResult<u32> {
        let (ino, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Err(FilesystemError::BadHandle);
        }
        let written = u32::try_from(data.len()).map_err(|_| FilesystemError::InvalidArgument)?;
        loop {
            // The kernel's offset for appending is as old as its attributes; the end is known here.
            let place = (!flags.append).then_some(offset);
            match self.try_write(access, ino, &content, place, data)? {
                Tried::Written => break,
                // What has been sent is all that could be spared.
                Tried::DiskFull if !content.lock().punch_sent() => return Err(FilesystemError::LocalNoSpace),
                Tried::DiskFull => {}
                Tried::NoAllowance => self.make_room(access, ino, &content, written)?,
            }
        }
        content.notify();
        self.start_stream(ino, &content, Wanted::Early);
        Ok(written)
    }

    /// Writes, or says what room has to be made first.
    fn try_write(
        &self,
        access: Access,
        ino: InodeNumber,
        content: &Arc<Content>,
        offset: Option<u64>,
        data: &[u8],
    ) -> FilesystemResult<Tried> {
        let mut state = self.lock_to_change(access, ino, content, u64::MAX)?;
        let offset = offset.unwrap_or(state.size());
        // What grows the file changes it from its old end on.
        state.stage(&self.staging)?;
        let from = offset.min(state.size());
        state.change_from(from)?;
        match state.stage(&self.staging)?.write(offset, data) {
            Ok(true) => {}
            Ok(false) => return Ok(Tried::NoAllowance),
            Err(FilesystemError::LocalNoSpace) => return Ok(Tried::DiskFull),
            Err(error) => return Err(error),
        }
        state.touch(self.now());
        Ok(Tried::Written)
    }

    /// Waits until nobody else is at the file, and sees to it that what is then staged may be changed: of what is promised, the
    /// first `len` bytes go into another staging file.
    ///
    /// # Errors
    /// [`FilesystemError::WouldWait`]; [`FilesystemError::LocalNoSpace`]; any other of the disk's.
    pub(super) fn lock_to_change<'a>(
        &self,
        access: Access,
        ino: InodeNumber,
        content: &'a Arc<Content>,
        len: u64,
    ) -> FilesystemResult<MutexGuard<'a, ContentState>> {
        loop {
            let state = content.lock_settled(access, self.options.operation_timeout)?;
            if !state.is_sealed() {
                return Ok(state);
            }
            drop(state);
            if access == Access::MemoryOnly {
                return Err(FilesystemError::WouldWait);
            }
            self.unseal(access, ino, content, len)?;
        }
    }

    fn unseal(&self, access: Access, ino: InodeNumber, content: &Arc<Content>, len: u64) -> FilesystemResult<()> {
        let claim = content.claim(access, self.options.operation_timeout)?;
        let sealed = {
            let mut state = content.lock();
            // What a stream has sent is of what was promised; that is delivered by itself.
            state.drop_stream();
            state.stage(&self.staging)?.as_sealed()
        };
        let (Some(sealed), Some(journal)) = (sealed, &self.journal) else { return Ok(()) };
        let len = len.min(sealed.size());
        if !self.staging.allowance.take(len) {
            // Not with the claim: the delivery of this very file may be what makes room.
            drop(claim);
            if self.staging.allowance.wait_for_room(len, self.options.operation_timeout) {
                return Ok(());
            }
            tracing::error!(%ino, len, "staging files may take no more room (--staging-size) for a copy of what was promised");
            return Err(FilesystemError::LocalNoSpace);
        }
        let path = self.file_path(ino).unwrap_or_else(|| content.lock().opened_as().clone());
        let next = journal.begin_next(&sealed, &path, len);
        let next = next.inspect_err(|_| self.staging.allowance.give_back(len))?;
        content.lock().staging = Some(Staging::next(&self.staging, next, len));
        drop(claim);
        Ok(())
    }

    /// Waits until there is room in the staging directory: what streams have sent is no longer needed there.
    ///
    /// # Errors
    /// [`FilesystemError::LocalNoSpace`] where none comes; [`FilesystemError::WouldWait`].
    fn make_room(&self, access: Access, ino: InodeNumber, content: &Arc<Content>, len: u32) -> FilesystemResult<()> {
        if content.lock().punch_sent() {
            return Ok(());
        }
        self.start_stream(ino, content, Wanted::Room);
        if access == Access::MemoryOnly {
            return Err(FilesystemError::WouldWait);
        }
        if self.staging.allowance.wait_for_room(u64::from(len), self.options.operation_timeout) {
            return Ok(());
        }
        // Why nothing is sent, if the stream knows.
        content.lock().change_from(u64::MAX)?;
        tracing::error!(ino = ino.0, "staging files may take no more room (--staging-size), and none is being sent");
        Err(FilesystemError::LocalNoSpace)
    }

    /// One descriptor was closed: returns once what was written is where `options.close` wants it: proved to be on the server, or
    /// promised by the journal.
    ///
    /// # Errors
    /// What the upload failed with; the file stays dirty, and the next flush or fsync tries again.
    pub fn flush(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        self.make_safe(access, handle, self.options.close)
    }

    /// As [`Self::flush`], for `options.fsync`.
    ///
    /// # Errors
    /// As for [`Self::flush`].
    pub fn fsync(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        self.make_safe(access, handle, self.options.fsync)
    }

    /// Returns once the names in a directory are as safe as `options.fsync` wants it. What changes names is on the server when it is
    /// answered, but for files that were given their name before they are there.
    ///
    /// # Errors
    /// As for [`Self::flush`].
    pub fn fsync_directory(&self, access: Access, directory: InodeNumber) -> FilesystemResult<()> {
        if self.options.fsync == Durability::Journal || self.journal.is_none() {
            return Ok(());
        }
        let waiting: Vec<(InodeNumber, Arc<Content>)> = {
            let state = self.state.lock();
            let is_in = |inode: &super::inodes::Inode| inode.place.as_ref().is_some_and(|(at, _)| *at == directory);
            let within = state.inodes.all().filter(|(_, inode)| is_in(inode));
            within.filter_map(|(ino, inode)| Some((ino, inode.content.clone()?))).collect()
        };
        for (ino, content) in waiting {
            let is_waiting = content.lock().pending.is_some();
            if is_waiting {
                self.upload(access, ino, &content)?;
            }
        }
        Ok(())
    }

    fn make_safe(&self, access: Access, handle: HandleId, durability: Durability) -> FilesystemResult<()> {
        let (ino, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Ok(());
        }
        match durability {
            Durability::Server => self.upload(access, ino, &content),
            Durability::Journal => self.promise(access, ino, &content),
        }
    }

    /// Makes the file reach `offset + len` (posix_fallocate) unless `keep_size`, and reserves the local space for it.
    ///
    /// # Errors
    /// [`FilesystemError::LocalNoSpace`], [`FilesystemError::TooLarge`]; any other.
    pub fn allocate(
        &self,
        access: Access,
        handle: HandleId,
        offset: u64,
        len: u64,
        keep_size: bool,
    ) -> FilesystemResult<()> {
        let (ino, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Err(FilesystemError::BadHandle);
        }
        let end = offset.checked_add(len).filter(|end| *end <= i64::MAX as u64).ok_or(FilesystemError::TooLarge)?;
        if len == 0 {
            return Err(FilesystemError::InvalidArgument);
        }
        let mut content = self.lock_to_change(access, ino, &content, u64::MAX)?;
        content.stage(&self.staging)?.reserve(offset, len)?;
        let size = content.size();
        if !keep_size && end > size {
            content.change_size(size)?;
            content.stage(&self.staging)?.resize(end)?;
            content.touch(self.now());
        }
        Ok(())
    }

    /// Cuts or grows an open file. With `always` it counts as changed even where the size stays.
    pub(super) fn set_size_of(
        &self,
        access: Access,
        handle: HandleId,
        size: u64,
        always: bool,
    ) -> FilesystemResult<()> {
        let (ino, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Err(FilesystemError::BadHandle);
        }
        if !always && content.lock_settled(access, self.options.operation_timeout)?.size() == size {
            return Ok(());
        }
        let mut content = self.lock_to_change(access, ino, &content, size)?;
        let from = size.min(content.size());
        content.change_size(from)?;
        content.stage(&self.staging)?.resize(size)?;
        content.touch(self.now());
        Ok(())
    }
}

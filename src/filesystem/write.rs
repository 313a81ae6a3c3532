//! Writing files: to their staging file.
//!
//! Not here: how it gets to the server (`upload`).

use super::{Access, Filesystem, FilesystemError, FilesystemResult, HandleId};

impl Filesystem {
    /// Writes at `offset`, or at the end where the handle appends; returns how many bytes (all of them).
    ///
    /// # Errors
    /// [`FilesystemError::WouldWait`] while the file is being uploaded; [`FilesystemError::LocalNoSpace`]; any other. Nothing is
    /// written then.
    pub fn write(&self, access: Access, handle: HandleId, offset: u64, data: &[u8]) -> FilesystemResult<u32> {
        let (_, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Err(FilesystemError::BadHandle);
        }
        let written = u32::try_from(data.len()).map_err(|_| FilesystemError::InvalidArgument)?;
        let mut content = content.lock_settled(access, self.options.operation_timeout)?;
        let staging = content.stage(&self.options.staging_dir)?;
        // The kernel's offset for appending is as old as its attributes; the end is known here.
        let offset = if flags.append { staging.size() } else { offset };
        staging.write(offset, data)?;
        content.touch(self.now());
        Ok(written)
    }

    /// One descriptor was closed: returns once what was written is proved to be on the server.
    ///
    /// # Errors
    /// What the upload failed with; the file stays dirty, and the next flush or fsync tries again.
    pub fn flush(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        let (ino, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Ok(());
        }
        self.upload(access, ino, &content)
    }

    /// Returns once what was written is proved to be on the server.
    ///
    /// # Errors
    /// As for [`Self::flush`].
    pub fn fsync(&self, access: Access, handle: HandleId) -> FilesystemResult<()> {
        self.flush(access, handle)
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
        let (_, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Err(FilesystemError::BadHandle);
        }
        let end = offset.checked_add(len).filter(|end| *end <= i64::MAX as u64).ok_or(FilesystemError::TooLarge)?;
        if len == 0 {
            return Err(FilesystemError::InvalidArgument);
        }
        let mut content = content.lock_settled(access, self.options.operation_timeout)?;
        let staging = content.stage(&self.options.staging_dir)?;
        staging.reserve(offset, len)?;
        if !keep_size && end > staging.size() {
            staging.resize(end)?;
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
        let (_, content, flags) = self.file_handle(handle)?;
        if !flags.write {
            return Err(FilesystemError::BadHandle);
        }
        let mut content = content.lock_settled(access, self.options.operation_timeout)?;
        if content.size() == size && !always {
            return Ok(());
        }
        content.stage(&self.options.staging_dir)?.resize(size)?;
        content.touch(self.now());
        Ok(())
    }
}

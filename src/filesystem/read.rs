//! Reading files: clean ones through the cache's reader, written ones from their staging file.

use super::content::Content;
use super::staging::StagingArea;
use super::{Access, Filesystem, FilesystemError, FilesystemResult, HandleId, InodeNumber, ReadDone, SeekFor};
use crate::cache::{FileId, FileVersion};
use crate::protocol::RemotePath;
use crate::remote::RemoteError;
use std::sync::Arc;

/// How often a read is begun again because the file was renamed or uploaded meanwhile.
const AGAIN_MAX: u32 = 3;

/// One read under way.
struct Reading {
    ino: InodeNumber,
    content: Arc<Content>,
    offset: u64,
    len: u32,
    again: u32,
}

/// What a read needs next.
enum Next {
    /// Here it is.
    Bytes(Vec<u8>),
    /// This range of the server's version, to be laid under the staging file.
    Fill(FileVersion, u64, u32),
    /// The range itself, from the server's version.
    Clean(FileVersion),
}

impl Filesystem {
    /// Reads up to `len` bytes from `offset` on and hands them to `done`: at once from memory, or later from
    /// another thread, exactly once and within the deadline. Never waits.
    ///
    /// The result is shorter than `len` only where the file ends.
    ///
    /// # Errors
    /// Given to `done`: [`FilesystemError::Stale`] where the file was changed or removed by another client and the bytes are not in
    /// memory; any other of [`FilesystemError`].
    pub fn read(self: &Arc<Self>, handle: HandleId, offset: u64, len: u32, done: ReadDone) {
        match self.file_handle(handle) {
            Ok((ino, content, flags)) if flags.read => {
                self.go_on_reading(Reading { ino, content, offset, len, again: 0 }, done);
            }
            Ok(_) => done(Err(FilesystemError::BadHandle)),
            Err(error) => done(Err(error)),
        }
    }

    fn go_on_reading(self: &Arc<Self>, reading: Reading, done: ReadDone) {
        let next = next_step(&reading, &self.staging);
        match next {
            Err(error) => done(Err(error)),
            Ok(Next::Bytes(bytes)) => done(Ok(bytes)),
            Ok(Next::Clean(version)) => self.read_clean(reading, &version, done),
            Ok(Next::Fill(version, offset, len)) => self.read_missing(reading, &version, offset, len, done),
        }
    }

    fn read_clean(self: &Arc<Self>, reading: Reading, version: &FileVersion, done: ReadDone) {
        let file = FileId(reading.ino.0);
        let Some(path) = self.file_path(reading.ino) else {
            // Removed or changed by another client: what is cached is still the version that was opened, the server's is not.
            let cached = self.server.get(file, version, reading.offset, reading.len);
            return done(cached.ok_or(FilesystemError::Stale));
        };
        let (filesystem, asked) = (Arc::clone(self), (path.clone(), version.clone()));
        if reading.again == 0 {
            self.ahead.want_bytes(u64::from(reading.len).min(version.size.saturating_sub(reading.offset)));
            if reading.offset == 0 {
                self.note_read(reading.ino);
            }
        }
        self.server.read_parked(file, &path, version, reading.offset, reading.len, move |result| match result {
            Ok(bytes) => done(Ok(bytes)),
            Err(error) => filesystem.read_failed(reading, &asked, error, done),
        });
    }

    fn read_missing(self: &Arc<Self>, reading: Reading, version: &FileVersion, offset: u64, len: u32, done: ReadDone) {
        let Some(path) = self.file_path(reading.ino) else { return done(Err(FilesystemError::Stale)) };
        let (filesystem, asked) = (Arc::clone(self), (path.clone(), version.clone()));
        let file = FileId(reading.ino.0);
        self.server.read_parked(file, &path, version, offset, len, move |result| match result {
            Ok(bytes) => {
                let filled = fill(&reading.content, offset, &bytes);
                match filled {
                    Ok(()) => filesystem.go_on_reading(reading, done),
                    Err(error) => done(Err(error)),
                }
            }
            Err(error) => filesystem.read_failed(reading, &asked, error, done),
        });
    }

    fn read_failed(
        self: &Arc<Self>,
        mut reading: Reading,
        (path, version): &(RemotePath, FileVersion),
        error: RemoteError,
        done: ReadDone,
    ) {
        let moved = self.file_path(reading.ino).is_some_and(|now| now != *path);
        // Uploaded from here, or given another time: the version that was asked for is gone, and another one is known.
        let is_outdated = error == RemoteError::Changed && reading.content.lock().version.as_ref() != Some(version);
        if (moved || is_outdated) && reading.again < AGAIN_MAX {
            reading.again += 1;
            return self.go_on_reading(reading, done);
        }
        if matches!(error, RemoteError::Changed | RemoteError::NotFound) {
            if let Some((directory, name)) = self.place(reading.ino) {
                self.listings.distrust(&directory, &name, self.clock.instant());
            }
            // The open file is not there any more, however the server put it.
            return done(Err(FilesystemError::Stale));
        }
        done(Err(error.into()));
    }

    /// The path of a file that still has its name.
    pub(super) fn file_path(&self, ino: InodeNumber) -> Option<RemotePath> {
        let (directory, name) = self.place(ino)?;
        Some(directory.join(&name))
    }

    /// Looks for data or a hole from `offset` on: all of a file is data, and a hole is at its end.
    ///
    /// # Errors
    /// [`FilesystemError::NoData`] at or behind the end.
    pub fn seek(&self, access: Access, handle: HandleId, offset: u64, what: SeekFor) -> FilesystemResult<u64> {
        let (ino, content, _) = self.file_handle(handle)?;
        let size = match self.shown_entry(access, ino, Some(handle))?.size {
            Some(size) => size,
            None => content.lock().size(),
        };
        match what {
            _ if offset >= size => Err(FilesystemError::NoData),
            SeekFor::Data => Ok(offset),
            SeekFor::Hole => Ok(size),
        }
    }
}

fn next_step(reading: &Reading, area: &StagingArea) -> FilesystemResult<Next> {
    let mut content = reading.content.lock();
    if content.pending.is_some() {
        // Closed when the last handle went.
        content.stage(area)?;
    }
    let size = content.size();
    let end = reading.offset.saturating_add(u64::from(reading.len)).min(size);
    if reading.offset >= end {
        return Ok(Next::Bytes(Vec::new()));
    }
    let version = content.version.clone();
    match (&content.staging, version) {
        (Some(staging), _) if staging.is_punched(&(reading.offset..end)) => Err(FilesystemError::LocalStorage {
            reason: "this part of a file being written was sent and had to make room (--staging-size)".into(),
        }),
        (Some(staging), version) => match (staging.first_missing(reading.offset..end), version) {
            (None, _) => Ok(Next::Bytes(staging.read(reading.offset, reading.len as usize)?)),
            // Nothing is laid over the server's version: it is read as if there were no staging file, which may be full.
            (Some(_), Some(version)) if !content.dirty => Ok(Next::Clean(version)),
            (Some(gap), Some(version)) => {
                let len = u32::try_from(gap.end - gap.start).unwrap_or(reading.len);
                Ok(Next::Fill(version, gap.start, len))
            }
            (Some(_), None) => Err(FilesystemError::Stale),
        },
        (None, Some(version)) => Ok(Next::Clean(version)),
        (None, None) => Ok(Next::Bytes(Vec::new())),
    }
}

/// Lays fetched bytes under a staging file.
fn fill(content: &Content, offset: u64, bytes: &[u8]) -> FilesystemResult<()> {
    match (&mut content.lock().staging, bytes.is_empty()) {
        // Nothing came though something was missing: going on would ask for ever.
        (_, true) => Err(FilesystemError::Stale),
        (Some(staging), false) => staging.fill(offset, bytes),
        (None, false) => Ok(()),
    }
}

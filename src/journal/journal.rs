//! The door: contents from their first byte written here to the server's proof.
//!
//! ```text
//!            commit            uploaded, dropped, replaced
//! Staging ─────────▶ Sealed ──────────────────────────────▶ removed
//!    │                 │ set_aside
//!    │ discard         └─────────────▶ in the set-aside folder
//!    └──────────▶ removed
//! ```
//! Each method that returns a [`Durable`] has synced what it says, and only then does it remove what is over: the
//! records on the disk never speak of a content that is gone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{self, Disk};
use super::error::{JournalError, JournalResult};
use super::log::{Appended, Durable, Log, Space, staging_directory};
use super::names::{Made, Names};
use super::opening::{Recovered, discard, open};
use super::record::{Commit, ContentId, FileNumber, Record, Rename, RenameNumber, Version};
use super::set_aside::{list, seconds_now, set_aside, staging_path, sync_moves};
use super::staging::{Committed, Sealed, Staging};
use super::state_directory::StateDirectory;
use super::table::{PendingFile, Table};
use crate::protocol::{RemotePath, Timestamp};

/// The journal of one mounted directory. All methods may be called from any thread; none of them waits for the server.
///
/// Locks, in the order they are taken: `unwritten`, then the log's; `names` alone.
pub struct Journal {
    disk: Arc<dyn Disk>,
    directory: StateDirectory,
    log: Log,
    names: Names,
    /// Renames under way that began without a record, since nothing was pending that they touch. A commit that changes this
    /// writes the record first.
    unwritten: Mutex<BTreeMap<RenameNumber, Rename>>,
}

/// A commit that failed: nothing of it is promised, and what was committed of the file before still is.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct CommitFailed {
    /// The content, to be written on, committed again or discarded.
    pub staging: Staging,
    /// Why.
    #[source]
    pub error: JournalError,
}

impl Journal {
    /// Takes over a state directory, and puts in order what the mount before left there.
    ///
    /// # Errors
    /// [`JournalError::OtherVersion`]; the disk's. Nothing that was promised is lost by it.
    pub fn open(directory: StateDirectory) -> JournalResult<(Self, Recovered)> {
        Self::open_on(disk::local(), directory)
    }

    /// As [`Self::open`], on a disk of the caller's: for tests that fail and cut its steps.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, directory: StateDirectory) -> JournalResult<(Self, Recovered)> {
        let (log, recovered) = open(&disk, directory.path())?;
        let journal = Self { disk, directory, log, names: Names::default(), unwritten: Mutex::default() };
        Ok((journal, recovered))
    }

    /// Makes a staging file for a file that nothing is pending of. `path` is for people, should the mount die before the commit.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(&self, path: &RemotePath) -> JournalResult<Staging> {
        self.make(ContentId { file: self.log.new_file(), generation: 1 }, path)
    }

    /// Makes a staging file for the next content of a committed file, with the first `len` of its bytes in it: those of a disk
    /// that can share blocks are not copied.
    ///
    /// # Errors
    /// The disk's; `sealed` stands as it was.
    pub fn begin_next(&self, sealed: &Sealed, path: &RemotePath, len: u64) -> JournalResult<Staging> {
        let content = next(sealed.content);
        let staging = self.make(content, path)?;
        match copy(&sealed.file, sealed.size.min(len), &staging.file) {
            Ok(()) => Ok(staging),
            Err(error) => {
                self.discard(&staging);
                Err(JournalError::disk("copying a committed content")(error))
            }
        }
    }

    fn make(&self, content: ContentId, path: &RemotePath) -> JournalResult<Staging> {
        let file =
            self.disk.create(&self.staging_path(content)).map_err(JournalError::disk("making a staging file"))?;
        let made = self.names.made();
        // A journal that cannot say what the file is for may still hold the record of a failed commit of this number.
        if let Err(error) =
            self.log.append(Space::LeaveReserve, |_| Ok(vec![Record::Begun { content, path: path.clone() }]))
        {
            self.remove(content);
            return Err(error);
        }
        Ok(Staging { content, file, made, is_spoiled: false })
    }

    /// Promises a content: when this returns, it is on the local disk and will be delivered, or kept and reported.
    ///
    /// The staging file must hold the whole content. `commit.base` is what the server is known to have at the path.
    ///
    /// # Errors
    /// [`JournalError::PathTaken`] where another file is pending at the path: it has to be moved over or dropped first.
    /// [`JournalError::PathTooLong`]; the disk's. Where the content itself could not be synced, what was written may be lost: every
    /// later commit of this staging file fails too.
    pub fn commit(&self, mut staging: Staging, commit: Commit) -> Result<Committed, Box<CommitFailed>> {
        let (content, size) = (staging.content, commit.size);
        match self.try_commit(&mut staging, commit) {
            Ok((durable, before)) => {
                if let Some(before) = before {
                    self.remove(before);
                }
                Ok(Committed { sealed: Sealed { content, file: staging.file, size }, durable })
            }
            Err(error) => Err(Box::new(CommitFailed { staging: self.renumber(staging), error })),
        }
    }

    fn try_commit(&self, staging: &mut Staging, commit: Commit) -> JournalResult<(Durable, Option<ContentId>)> {
        let content = staging.content;
        let is_whole = || Ok(staging.file.metadata()?.len() >= commit.size);
        if !is_whole().map_err(JournalError::disk("looking at a staging file"))? {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than its content");
            return Err(JournalError::disk("committing a staging file")(error));
        }
        self.sync_content(staging).map_err(JournalError::disk("syncing a staging file"))?;
        self.sync_names(staging.made)?;
        let mut before = None;
        let unwritten = self.unwritten.lock();
        let appended = self.log.append(Space::LeaveReserve, |table| {
            if let Some(taken) = table.at(&commit.path).filter(|taken| taken.content.file != content.file) {
                return Err(JournalError::PathTaken { path: commit.path.clone(), by: taken.content.file });
            }
            before = table.get(content.file).map(|before| before.content);
            let mut records = announcements(&unwritten, table, &commit.path);
            records.push(Record::Committed { content, at: seconds_now(), doubtful: false, commit });
            Ok(records)
        })?;
        drop(unwritten);
        Ok((self.log.sync(&appended)?, before))
    }

    fn sync_content(&self, staging: &mut Staging) -> io::Result<()> {
        if staging.is_spoiled {
            return Err(io::Error::other("what was written before could not be brought to the disk"));
        }
        let result = self.disk.sync(&staging.file);
        staging.is_spoiled = result.is_err();
        result
    }

    /// Gives a staging file whose commit failed another number, on the disk too: the record may be there in spite of the error, and
    /// must not speak of what is written from now on.
    fn renumber(&self, staging: Staging) -> Staging {
        let content = next(staging.content);
        match self.disk.rename(&self.staging_path(staging.content), &self.staging_path(content)) {
            Ok(()) => {
                let made = self.names.made();
                if let Err(error) = self.sync_names(made) {
                    tracing::warn!(%error, %content, "the new number of a staging file whose commit failed may be lost with the power");
                }
                Staging { content, made, ..staging }
            }
            Err(error) => {
                tracing::warn!(%error, content = %staging.content, "a staging file keeps its number after a failed commit");
                staging
            }
        }
    }

    fn sync_names(&self, made: Made) -> JournalResult<()> {
        let directory = staging_directory(self.directory.path());
        self.names.sync(made, || self.disk.sync_directory(&directory))
    }

    /// The server has proved that it has this content at `path`. The staging file goes, unless the file has a newer
    /// content: that one's base is then `version`.
    ///
    /// After an error of the disk call it again, rather than upload again.
    ///
    /// # Errors
    /// [`JournalError::Elsewhere`]: it was moved meanwhile; what was stored at `path` is in the way there.
    /// [`JournalError::NotPending`]; the disk's.
    pub fn uploaded(&self, content: ContentId, path: &RemotePath, version: Version) -> JournalResult<Durable> {
        let durable = self.record_uploaded(content, path, version)?;
        self.remove(content);
        Ok(durable)
    }

    /// As [`Self::uploaded`], for a file that is written on: the staging file becomes that of the next content, without a copy.
    ///
    /// # Errors
    /// As for [`Self::uploaded`], with the content back; it may have been delivered all the same.
    pub fn uploaded_and_reopened(
        &self,
        sealed: Sealed,
        path: &RemotePath,
        version: Version,
    ) -> Result<Staging, (Sealed, JournalError)> {
        let content = next(sealed.content);
        if let Err(error) = self.record_uploaded(sealed.content, path, version) {
            return Err((sealed, error));
        }
        if let Err(error) = self.disk.rename(&self.staging_path(sealed.content), &self.staging_path(content)) {
            return Err((sealed, JournalError::disk("renaming a staging file")(error)));
        }
        let made = self.names.made();
        if let Err(error) =
            self.log.append(Space::LeaveReserve, |_| Ok(vec![Record::Begun { content, path: path.clone() }]))
        {
            tracing::debug!(%error, %content, "what a staging file is for cannot be written down");
        }
        Ok(Staging { content, file: sealed.file, made, is_spoiled: false })
    }

    fn record_uploaded(&self, content: ContentId, path: &RemotePath, version: Version) -> JournalResult<Durable> {
        let appended = self.log.append(Space::UseReserve, |table| {
            let pending = table.get(content.file).filter(|pending| pending.content.generation >= content.generation);
            let pending = pending.ok_or(JournalError::NotPending(content))?;
            if pending.commit.path != *path {
                return Err(JournalError::Elsewhere { now: pending.commit.path.clone() });
            }
            Ok(vec![Record::Uploaded { content, version }])
        })?;
        self.log.sync(&appended)
    }

    /// What is pending shall get another modification time and other permission bits. Not synced: a power loss may
    /// bring back those before.
    ///
    /// # Errors
    /// [`JournalError::NotPending`]; the disk's.
    pub fn amend(&self, content: ContentId, modified: Option<Timestamp>, mode: Option<u32>) -> JournalResult<()> {
        let _not_synced = self.log.append(Space::LeaveReserve, |table| {
            let pending = table.get(content.file).filter(|pending| pending.content == content);
            let PendingFile { commit, committed_at, doubtful, .. } =
                pending.cloned().ok_or(JournalError::NotPending(content))?;
            let commit = Commit { modified, mode, ..commit };
            Ok(vec![Record::Committed { content, at: committed_at, doubtful, commit }])
        })?;
        Ok(())
    }

    /// What a staging file holds has become as it is on the server: it is not worth keeping, should the mount die. Not synced.
    pub fn worthless(&self, staging: &Staging) {
        discard(&self.log, staging.content);
    }

    /// The opposite of [`Self::worthless`]: something was written to it again.
    pub fn worth_keeping(&self, staging: &Staging, path: &RemotePath) {
        let content = staging.content;
        if let Err(error) =
            self.log.append(Space::LeaveReserve, |_| Ok(vec![Record::Begun { content, path: path.clone() }]))
        {
            tracing::debug!(%error, %content, "what a staging file is for cannot be written down");
        }
    }

    /// What is pending of `file` shall go to `path` instead, where the server has `base`. What is pending of `replaces` is over.
    ///
    /// For what has not reached the server under its old path; otherwise the server renames: [`Self::renaming`].
    ///
    /// # Errors
    /// [`JournalError::PathTaken`] where another file than `replaces` is pending there; [`JournalError::PathTooLong`];
    /// [`JournalError::NotPending`] with the file's first content; the disk's.
    pub fn moved(
        &self,
        file: FileNumber,
        path: &RemotePath,
        base: Option<Version>,
        replaces: Option<FileNumber>,
    ) -> JournalResult<Durable> {
        let mut over = None;
        let unwritten = self.unwritten.lock();
        let appended = self.log.append(Space::UseReserve, |table| {
            table.get(file).ok_or(JournalError::NotPending(ContentId { file, generation: 1 }))?;
            if let Some(taken) = table.at(path).map(|taken| taken.content.file)
                && taken != file
                && replaces != Some(taken)
            {
                return Err(JournalError::PathTaken { path: path.clone(), by: taken });
            }
            over = replaces.and_then(|replaced| table.get(replaced)).map(|replaced| replaced.content);
            let mut records = announcements(&unwritten, table, path);
            records.push(Record::Moved { file, path: path.clone(), base, replaces });
            Ok(records)
        })?;
        drop(unwritten);
        let durable = self.log.sync(&appended)?;
        if let Some(over) = over {
            self.remove(over);
        }
        Ok(durable)
    }

    /// The file was unlinked, on the server too if it was there: what is pending of it is over.
    ///
    /// Call it behind the server's proof, not before: a refused removal must not cost the content.
    ///
    /// # Errors
    /// [`JournalError::NotPending`] with the file's first content; the disk's.
    pub fn dropped(&self, file: FileNumber) -> JournalResult<Durable> {
        let mut over = ContentId { file, generation: 1 };
        let appended = self.log.append(Space::UseReserve, |table| {
            over = table.get(file).ok_or(JournalError::NotPending(over))?.content;
            Ok(vec![Record::Dropped { file }])
        })?;
        let durable = self.log.sync(&appended)?;
        self.remove(over);
        Ok(durable)
    }

    /// Gives a content up: it goes to the set-aside folder with a note, and where it lies there is returned.
    ///
    /// # Errors
    /// [`JournalError::NotPending`]. The disk's: it is kept where it is, and moved at the next mount at the latest.
    pub fn set_aside(&self, content: ContentId, reason: &str) -> JournalResult<PathBuf> {
        let mut path = None;
        let appended = self.log.append(Space::UseReserve, |table| {
            let pending = table.get(content.file).filter(|pending| pending.content == content);
            path = Some(pending.ok_or(JournalError::NotPending(content))?.commit.path.clone());
            Ok(vec![Record::SetAside { content, path: path.clone(), reason: reason.to_owned() }])
        })?;
        self.put_aside(&appended, content, path.as_ref(), reason)
    }

    /// Gives up what was never promised, and keeps what is there of it: as [`Self::set_aside`].
    ///
    /// # Errors
    /// The disk's: it is kept where it is, and moved at the next mount at the latest.
    pub fn set_aside_unpromised(&self, staging: &Staging, path: &RemotePath, reason: &str) -> JournalResult<PathBuf> {
        let content = staging.content;
        let record = Record::SetAside { content, path: Some(path.clone()), reason: reason.to_owned() };
        let appended = self.log.append(Space::UseReserve, |_| Ok(vec![record]))?;
        self.put_aside(&appended, content, Some(path), reason)
    }

    fn put_aside(
        &self,
        appended: &Appended,
        content: ContentId,
        path: Option<&RemotePath>,
        reason: &str,
    ) -> JournalResult<PathBuf> {
        let _durable = self.log.sync(appended)?;
        let directory = self.directory.path();
        let moved = || {
            let at = set_aside(self.disk.as_ref(), directory, content, path, reason)?;
            sync_moves(self.disk.as_ref(), directory)?;
            Ok(at)
        };
        let at = moved().map_err(JournalError::disk("moving a content to the set-aside folder"))?;
        discard(&self.log, content);
        Ok(at)
    }

    /// A rename is about to be sent to the server. What is pending at or below `from`, from now on too, follows it;
    /// what is pending of `replaces`, at `to`, is over once it is done.
    ///
    /// # Errors
    /// [`JournalError::PathTaken`] where another file than `replaces` is pending at `to`; [`JournalError::PathTooLong`]; the disk's.
    pub fn renaming(&self, rename: Rename) -> JournalResult<RenameNumber> {
        let mut number = None;
        let mut unwritten = self.unwritten.lock();
        let appended = self.log.append(Space::LeaveReserve, |table| {
            if let Some(taken) = table.at(&rename.to).map(|taken| taken.content.file)
                && rename.replaces != Some(taken)
            {
                return Err(JournalError::PathTaken { path: rename.to.clone(), by: taken });
            }
            let new = table.new_rename();
            number = Some(new);
            if rename.replaces.is_none() && table.at_or_below(&rename.from).is_empty() {
                unwritten.insert(new, rename.clone());
                return Ok(vec![]);
            }
            Ok(vec![Record::Renaming { number: new, rename: rename.clone() }])
        })?;
        drop(unwritten);
        let _durable = self.log.sync(&appended)?;
        Ok(number.expect("append has called what chooses the number"))
    }

    /// The server has done a rename, or it is proved that it has not. Before the pending files follow, everything that
    /// is uploaded to the old names must have ended.
    ///
    /// # Errors
    /// The disk's: the rename is still open; call it again.
    pub fn renamed(&self, number: RenameNumber, done: bool) -> JournalResult<()> {
        let mut over = None;
        // Held, so that no commit announces it once it is looked for.
        let mut unwritten = self.unwritten.lock();
        let appended = self.log.append(Space::UseReserve, |table| {
            let Some(rename) = table.renames().get(&number).cloned() else { return Ok(vec![]) };
            let replaced = rename.replaces.filter(|_| done).and_then(|replaced| table.get(replaced));
            over = replaced.map(|replaced| replaced.content);
            Ok(vec![Record::Renamed { number, rename, done }])
        })?;
        unwritten.remove(&number);
        drop(unwritten);
        let _durable = self.log.sync(&appended)?;
        if let Some(over) = over {
            self.remove(over);
        }
        Ok(())
    }

    /// Writes the journal anew where most of it is about what is over. Staging files that come and go without a promise do not do that by themselves,
    /// for those who make them may not wait for a sync of the disk.
    pub fn tidy(&self) {
        self.log.tidy();
    }

    /// Removes a staging file that was never committed, or not since.
    pub fn discard(&self, staging: &Staging) {
        discard(&self.log, staging.content);
        self.remove(staging.content);
    }

    /// Opens a pending content, to be read or uploaded.
    ///
    /// # Errors
    /// [`JournalError::NotPending`]; the disk's, also where the staging file is shorter than what was promised.
    pub fn open_pending(&self, content: ContentId) -> JournalResult<Sealed> {
        let size = self.log.look(|table| {
            let pending = table.get(content.file).filter(|pending| pending.content == content)?;
            Some(pending.commit.size)
        });
        let size = size.ok_or(JournalError::NotPending(content))?;
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(self.staging_path(content))?;
            if file.metadata()?.len() < size {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than what was promised"));
            }
            Ok(Sealed { content, file, size })
        };
        open().map_err(JournalError::disk("opening a staging file"))
    }

    /// All that is pending, in the order of the commits.
    pub fn pending(&self) -> Vec<PendingFile> {
        self.log.look(|table| table.pending())
    }

    /// Renames of which it is not known whether the server did them, and that something pending waits for.
    pub fn renames(&self) -> Vec<(RenameNumber, Rename)> {
        self.log.look(|table| table.renames().iter().map(|(number, rename)| (*number, rename.clone())).collect())
    }

    /// Whether there are any such.
    pub fn has_renames(&self) -> bool {
        self.log.look(|table| !table.renames().is_empty())
    }

    /// What is pending of a file.
    pub fn pending_of(&self, file: FileNumber) -> Option<PendingFile> {
        self.log.look(|table| table.get(file).cloned())
    }

    /// What is pending at a path.
    pub fn pending_at(&self, path: &RemotePath) -> Option<PendingFile> {
        self.log.look(|table| table.at(path).cloned())
    }

    /// Whether something is pending below a directory: it is not empty then, whatever the server says.
    pub fn is_pending_below(&self, directory: &RemotePath) -> bool {
        self.log.look(|table| !table.at_or_below(directory).is_empty())
    }

    /// What lies in the set-aside folder, without the notes.
    ///
    /// # Errors
    /// The disk's.
    pub fn list_set_aside(&self) -> JournalResult<Vec<PathBuf>> {
        list(self.directory.path()).map_err(JournalError::disk("reading the set-aside directory"))
    }

    /// The state directory.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Where a content lies until it is over or set aside.
    pub fn staging_path(&self, content: ContentId) -> PathBuf {
        staging_path(self.directory.path(), content)
    }

    /// For tests that write records in bulk.
    #[cfg(test)]
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Removes the staging file of a content that the records on the disk say is over.
    fn remove(&self, content: ContentId) {
        match self.disk.remove(&self.staging_path(content)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, %content, "a staging file that is over cannot be removed before the next mount");
            }
            _ => {}
        }
    }
}

/// The renames under way that something at `path` has to follow, now that something will be pending there.
fn announcements(unwritten: &BTreeMap<RenameNumber, Rename>, table: &Table, path: &RemotePath) -> Vec<Record> {
    let is_new = |number: &RenameNumber| !table.renames().contains_key(number);
    let touched = unwritten.iter().filter(|(number, rename)| is_new(number) && path.is_at_or_below(&rename.from));
    touched.map(|(number, rename)| Record::Renaming { number: *number, rename: rename.clone() }).collect()
}

fn next(content: ContentId) -> ContentId {
    ContentId { generation: content.generation.saturating_add(1), ..content }
}

/// Copies a content to an empty file, by sharing its blocks where the disk can.
fn copy(from: &File, size: u64, to: &File) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    if size > 0 && rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return to.set_len(size);
    }
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < size {
        let wanted = usize::try_from(size - offset).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        from.read_exact_at(piece, offset)?;
        to.write_all_at(piece, offset)?;
        offset += wanted as u64;
    }
    Ok(())
}

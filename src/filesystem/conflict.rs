//! What the server has where something is to be delivered late, and what becomes of both.
//!
//! Asked before a delivery that follows a crash, a failure or a long wait: another client may have been there. FTP has no lock, so between
//! the question and the store it still can.

use super::content::{Claim, Pending};
use super::promise::{file_version, try_record};
use super::{Access, Filesystem, FilesystemError, FilesystemResult, InodeNumber, NAME_LEN_MAX, OnConflict};
use crate::cache::FileVersion;
use crate::journal::{Sealed, Version};
use crate::protocol::{Entry, EntryKind, Name, RemotePath};
use crate::remote::{RemoteError, Stored};
use std::time::SystemTime;

/// Bytes that are compared at once.
const PIECE_LEN: usize = 256 << 10;
/// Names that are tried for what is stored beside another client's file.
const NAMES_MAX: u32 = 100;

/// What is to be done.
pub(super) enum Verdict {
    /// Nothing is in the way.
    Store {
        /// The permission bits it shall get.
        mode: Option<u32>,
    },
    /// It was delivered before.
    AlreadyThere(Stored),
    /// It has another name now, and is to be looked at once more.
    Beside,
    /// The other one stays.
    SetAside(String),
}

impl Filesystem {
    /// Looks at what the server has, and decides.
    ///
    /// # Errors
    /// The server's; the disk's.
    pub(super) fn compare(
        &self,
        ino: InodeNumber,
        claim: &Claim,
        pending: &Pending,
        sealed: &Sealed,
        path: &RemotePath,
    ) -> FilesystemResult<Verdict> {
        let there = match self.server.ask(Access::Server)?.stat(path) {
            Ok(entry) => entry,
            Err(RemoteError::NotFound) => return Ok(Verdict::Store { mode: pending.mode }),
            Err(error) => return Err(error.into()),
        };
        let base = self.journal.as_ref().and_then(|journal| journal.pending_of(pending.id.file)?.commit.base);
        if base.as_ref().is_some_and(|base| is_same(base, &there)) {
            return Ok(Verdict::Store { mode: pending.mode.or(there.mode) });
        }
        if let Some(size) = there.size.filter(|_| there.kind == EntryKind::File)
            // An upload of ours that broke off has left the beginning, where there was nothing before.
            && (size == pending.size || base.is_none() && size < pending.size)
            && self.has_beginning_of(claim, sealed, path, size)?
        {
            return Ok(match size == pending.size {
                true => Verdict::AlreadyThere(Stored { size, modified: there.modified }),
                false => Verdict::Store { mode: pending.mode },
            });
        }
        let policy = match self.options.on_conflict {
            OnConflict::Ours if pending.doubtful || there.kind != EntryKind::File => OnConflict::KeepBoth,
            policy => policy,
        };
        match policy {
            OnConflict::Ours => {
                tracing::warn!(%path, "another client has changed this file meanwhile; it is replaced (--on-conflict=ours)");
                Ok(Verdict::Store { mode: pending.mode.or(there.mode) })
            }
            OnConflict::Theirs => {
                Ok(Verdict::SetAside("another client has changed the file meanwhile (--on-conflict=theirs)".into()))
            }
            OnConflict::KeepBoth => self.step_beside(ino, claim, pending, path).map(|()| Verdict::Beside),
        }
    }

    /// Whether the `size` bytes that the server has are the first of ours.
    fn has_beginning_of(&self, claim: &Claim, sealed: &Sealed, path: &RemotePath, size: u64) -> FilesystemResult<bool> {
        if size == 0 {
            return Ok(true);
        }
        let mut stream = self.server.ask(Access::Server)?.open_read(path, 0)?;
        let (mut offset, mut buffer) = (0, vec![0; PIECE_LEN]);
        loop {
            claim.got_on();
            let len = stream.read(&mut buffer)?;
            if len == 0 {
                return Ok(offset == size);
            }
            let theirs = buffer.get(..len).unwrap_or_default();
            if sealed.read(offset, len)? != theirs {
                return Ok(false);
            }
            offset += len as u64;
        }
    }

    /// Gives ours a name of its own.
    fn step_beside(
        &self,
        ino: InodeNumber,
        claim: &Claim,
        pending: &Pending,
        path: &RemotePath,
    ) -> FilesystemResult<()> {
        let (Some(journal), Some((directory, old))) = (&self.journal, self.place(ino)) else {
            return Err(FilesystemError::Stale);
        };
        let name = self.free_name(&directory, &old)?;
        let new_path = directory.join(&name);
        let _durable = try_record(|| journal.moved(pending.id.file, &new_path, None, None))?;
        tracing::warn!(%path, ours = %new_path, "another client has changed this file meanwhile; ours is stored beside it");
        let now = self.clock.instant();
        {
            let mut state = self.state.lock();
            let parent = state.inodes.get(ino).and_then(|inode| inode.place.clone()).map(|(parent, _)| parent);
            if let Some(parent) = parent {
                state.inodes.relink(ino, parent, &name);
            }
        }
        let shown = {
            let mut content = claim.content.lock();
            content.version = None;
            content.uploaded = None;
            content.attempted = false;
            if let Some(pending) = &mut content.pending {
                pending.stored = None;
            }
            content.entry.name = name;
            content.shown()
        };
        self.listings.unpin(&directory, &old);
        self.listings.distrust(&directory, &old, now);
        self.listings.pin(&directory, shown, now);
        Ok(())
    }

    /// A name that says what happened, and that nothing has.
    fn free_name(&self, directory: &RemotePath, old: &Name) -> FilesystemResult<Name> {
        let at = time_text(self.clock.system_time());
        for number in 1..=NAMES_MAX {
            let name = conflict_name(old, &self.options.host_name, &at, number)?;
            match self.server.ask(Access::Server)?.stat(&directory.join(&name)) {
                Err(RemoteError::NotFound) => return Ok(name),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(FilesystemError::Exists)
    }
}

/// Whether what is there is proved to be the base: a size alone proves nothing.
fn is_same(base: &Version, there: &Entry) -> bool {
    let Some(version) = FileVersion::of(there).filter(|_| there.kind == EntryKind::File) else { return false };
    let known = file_version(base);
    let by_time = known.modified.is_some() && version.modified.is_some();
    let by_unique = known.unique.is_some() && version.unique.is_some();
    known.agrees_with(&version) && (by_time || by_unique)
}

/// `NAME.conflict-HOST-YYYYMMDD-HHMMSS`, cut to what a name can be.
fn conflict_name(old: &Name, host: &str, at: &str, number: u32) -> FilesystemResult<Name> {
    let letters = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    let host: String = host.chars().take(64).map(letters).collect();
    let mut suffix = format!(".conflict-{host}-{at}");
    if number > 1 {
        suffix.push_str(&format!("-{number}"));
    }
    let mut kept = old.as_bytes();
    let len_max = NAME_LEN_MAX.saturating_sub(suffix.len());
    if kept.len() > len_max {
        kept = match std::str::from_utf8(kept) {
            Ok(text) => {
                let end = (0..=len_max).rev().find(|end| text.is_char_boundary(*end));
                text.get(..end.unwrap_or_default()).unwrap_or_default().as_bytes()
            }
            Err(_) => kept.get(..len_max).unwrap_or_default(),
        };
    }
    let bytes = [kept, suffix.as_bytes()].concat();
    Name::new(&bytes).map_err(|error| FilesystemError::NameNotAllowed { reason: error.to_string() })
}

/// A time as it stands in a name, in UTC.
fn time_text(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y%m%d-%H%M%S").to_string(),
        Err(_) => "00000000-000000".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn named(old: &str, host: &str, number: u32) -> String {
        let at = time_text(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        conflict_name(&Name::new(old).unwrap(), host, &at, number).unwrap().to_string()
    }

    #[test]
    fn name_of_a_conflict_says_whose_and_when_and_is_never_too_long() {
        assert_eq!(named("a.txt", "here.example", 1), "a.txt.conflict-here_example-20231114-221320");
        assert_eq!(named("a", "h", 2), "a.conflict-h-20231114-221320-2");
        let long = named(&"ä".repeat(127), "h", 1);
        assert!(long.len() <= 255 && long.ends_with(".conflict-h-20231114-221320") && long.starts_with("ää"));
    }
}

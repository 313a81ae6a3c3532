//! What was promised, as a plain list, and random operations that promise it.

use super::sim_disk::Chance;
use super::*;
use crate::journal::{ContentId, Journal, JournalError, Rename, RenameNumber, Staging};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What must be there after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Promised {
    /// By file: its path, its bytes, and what it may replace on the server.
    pub(super) files: BTreeMap<FileNumber, Pending>,
    /// Renames that are open, from and to.
    pub(super) renames: BTreeSet<(RemotePath, RemotePath)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) path: RemotePath,
    pub(super) bytes: Vec<u8>,
    pub(super) base: Option<Version>,
}

impl Promised {
    /// What a journal has pending.
    pub(super) fn of(journal: &Journal, renames: &[(RenameNumber, Rename)]) -> Self {
        let mut promised = Self::default();
        for file in journal.pending() {
            let bytes = journal
                .open_pending(file.content)
                .and_then(|sealed| sealed.read(0, usize::MAX).map_err(JournalError::disk("reading")));
            let bytes = bytes.unwrap_or_else(|error| error.to_string().into_bytes());
            let pending = Pending { path: file.commit.path, bytes, base: file.commit.base };
            promised.files.insert(file.content.file, pending);
        }
        for (_, rename) in renames {
            promised.renames.insert((rename.from.clone(), rename.to.clone()));
        }
        promised
    }

    fn at(&self, path: &RemotePath) -> Option<FileNumber> {
        self.files.iter().find(|(_, file)| file.path == *path).map(|(number, _)| *number)
    }

    fn follow(&mut self, from: &RemotePath, to: &RemotePath, replaced: Option<FileNumber>) {
        replaced.map(|replaced| self.files.remove(&replaced));
        for file in self.files.values_mut() {
            if file.path == *from {
                file.path = to.clone();
            } else if let Some(rest) = file.path.as_bytes().strip_prefix([from.as_bytes(), b"/"].concat().as_slice()) {
                file.path = to.join_relative(rest).unwrap();
            }
        }
    }
}

/// One thing a mount does. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// Writes a new file, or writes on a pending one.
    Commit {
        place: usize,
        len: usize,
    },
    /// The server has a pending file.
    Upload {
        which: usize,
        reopen: bool,
    },
    /// Renames a pending file that the server does not have.
    Move {
        which: usize,
        place: usize,
    },
    Drop {
        which: usize,
    },
    SetAside {
        which: usize,
    },
    /// Renames a directory on the server.
    Rename {
        from: usize,
        to: usize,
        done: bool,
        is_answered: bool,
    },
    /// Writes without closing.
    Begin {
        place: usize,
    },
    Discard,
}

pub(super) fn operations(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        5 => (0..6usize, 1..40usize).prop_map(|(place, len)| Operation::Commit { place, len }),
        2 => (0..9usize, any::<bool>()).prop_map(|(which, reopen)| Operation::Upload { which, reopen }),
        2 => (0..9usize, 0..6usize).prop_map(|(which, place)| Operation::Move { which, place }),
        1 => (0..9usize).prop_map(|which| Operation::Drop { which }),
        1 => (0..9usize).prop_map(|which| Operation::SetAside { which }),
        2 => (0..3usize, 0..3usize, any::<bool>(), any::<bool>())
            .prop_map(|(from, to, done, is_answered)| Operation::Rename { from, to, done, is_answered }),
        1 => (0..6usize).prop_map(|place| Operation::Begin { place }),
        1 => Just(Operation::Discard),
    ];
    proptest::collection::vec(operation, len)
}

fn place(number: usize) -> RemotePath {
    path(["/d0/a", "/d0/b", "/d1/a", "/d1/sub/b", "/d2/c", "/e"][number % 6])
}

fn directory(number: usize) -> RemotePath {
    path(["/d0", "/d1", "/d2"][number % 3])
}

/// A mount that does operations, and keeps account of what it was promised.
pub(super) struct Mount<'a> {
    pub(super) journal: &'a Journal,
    pub(super) promised: Promised,
    /// What may be there too: the operation that an error interrupted was done or was not.
    pub(super) perhaps: Option<Promised>,
    /// Contents that were set aside on demand, which must be kept.
    pub(super) set_aside: Vec<Vec<u8>>,
    /// Whether the mount lives on after an error.
    goes_on: bool,
    open: Vec<(Staging, RemotePath)>,
    chance: Chance,
}

impl<'a> Mount<'a> {
    pub(super) fn new(journal: &'a Journal, promised: Promised, goes_on: bool) -> Self {
        Self { journal, promised, perhaps: None, set_aside: vec![], goes_on, open: vec![], chance: Chance(1) }
    }

    /// Does one operation; false where the journal failed.
    pub(super) fn run(&mut self, operation: &Operation) -> bool {
        let mut after = self.promised.clone();
        let worked = self.try_run(operation, &mut after);
        if worked && after != self.promised {
            (self.promised, self.perhaps) = (after, None);
        } else if !worked {
            self.perhaps = Some(after);
        }
        worked
    }

    fn choose(&self, which: usize) -> Option<(FileNumber, ContentId, Pending)> {
        let count = self.promised.files.len();
        let (number, pending) = self.promised.files.iter().nth(which % count.max(1))?;
        let content = self.journal.pending_of(*number)?.content;
        Some((*number, content, pending.clone()))
    }

    fn try_run(&mut self, operation: &Operation, after: &mut Promised) -> bool {
        match operation {
            Operation::Commit { place: number, len } => self.commit(&place(*number), *len, after),
            Operation::Upload { which, reopen } => self.upload(*which, *reopen, after),
            Operation::Move { which, place: number } => self.move_file(*which, &place(*number), after),
            Operation::Drop { which } => {
                let Some((number, ..)) = self.choose(*which) else { return true };
                after.files.remove(&number);
                self.journal.dropped(number).is_ok()
            }
            Operation::SetAside { which } => {
                let Some((number, content, pending)) = self.choose(*which) else { return true };
                after.files.remove(&number);
                let result = self.journal.set_aside(content, "a reason");
                if result.is_ok() {
                    self.set_aside.push(pending.bytes);
                }
                result.is_ok()
            }
            Operation::Rename { from, to, done, is_answered } => self.rename(*from, *to, *done, *is_answered, after),
            Operation::Begin { place: number } => {
                let Ok(staging) = self.journal.begin(&place(*number)) else { return false };
                staging.file().write_all_at(b"never closed", 0).unwrap();
                self.open.push((staging, place(*number)));
                true
            }
            Operation::Discard => {
                if let Some((staging, _)) = self.open.pop() {
                    self.journal.discard(&staging);
                }
                true
            }
        }
    }

    fn commit(&mut self, at: &RemotePath, len: usize, after: &mut Promised) -> bool {
        let staging = match self.promised.at(at).and_then(|file| self.journal.pending_of(file)) {
            Some(pending) => {
                let sealed = self.journal.open_pending(pending.content).unwrap();
                self.journal.begin_next(&sealed, at, u64::MAX)
            }
            None => match self.open.iter().position(|(_, open)| open == at) {
                Some(index) => Ok(self.open.swap_remove(index).0),
                None => self.journal.begin(at),
            },
        };
        let Ok(staging) = staging else { return false };
        let letter = b'a' + self.chance.below(26) as u8;
        let bytes = vec![letter; len];
        staging.file().set_len(0).unwrap();
        staging.file().write_all_at(&bytes, 0).unwrap();
        let file = staging.content().file;
        let base = self.promised.files.get(&file).and_then(|pending| pending.base.clone());
        after.files.insert(file, Pending { path: at.clone(), bytes, base: base.clone() });
        let commit = Commit { path: at.clone(), size: len as u64, base, modified: None, mode: Some(0o644) };
        match self.journal.commit(staging, commit) {
            Ok(_committed) => true,
            Err(failed) => {
                // As a writer does that goes on after an error: what a record may say of it must not come true.
                if self.goes_on {
                    let bytes = b"not what was committed, and longer than it";
                    failed.staging.file().write_all_at(bytes, 0).unwrap();
                }
                false
            }
        }
    }

    fn upload(&mut self, which: usize, reopen: bool, after: &mut Promised) -> bool {
        let Some((number, content, pending)) = self.choose(which) else { return true };
        after.files.remove(&number);
        let version = version(pending.bytes.len() as u64);
        if !reopen {
            return self.journal.uploaded(content, &pending.path, version).is_ok();
        }
        let sealed = self.journal.open_pending(content).unwrap();
        match self.journal.uploaded_and_reopened(sealed, &pending.path, version) {
            Ok(staging) => {
                staging.file().write_all_at(b"written on", 0).unwrap();
                self.open.push((staging, pending.path));
                true
            }
            Err(_) => false,
        }
    }

    fn move_file(&mut self, which: usize, to: &RemotePath, after: &mut Promised) -> bool {
        let Some((number, _, pending)) = self.choose(which) else { return true };
        if pending.path == *to {
            return true;
        }
        let replaces = self.promised.at(to);
        replaces.map(|replaced| after.files.remove(&replaced));
        let base = Some(version(77));
        if let Some(moved) = after.files.get_mut(&number) {
            (moved.path, moved.base) = (to.clone(), base.clone());
        }
        self.journal.moved(number, to, base, replaces).is_ok()
    }

    fn rename(&mut self, from: usize, to: usize, done: bool, is_answered: bool, after: &mut Promised) -> bool {
        let (from, to) = (directory(from), directory(to));
        // Where a rename is open nothing else is sent for the names below it.
        if from == to || self.journal.is_pending_below(&to) || !self.promised.renames.is_empty() {
            return true;
        }
        let is_written = self.journal.is_pending_below(&from);
        let number = match self.journal.renaming(Rename { from: from.clone(), to: to.clone(), replaces: None }) {
            Ok(number) => number,
            Err(_) => {
                after.renames.insert((from, to));
                return false;
            }
        };
        if is_written {
            self.promised.renames.insert((from.clone(), to.clone()));
            after.renames.insert((from.clone(), to.clone()));
            if !is_answered {
                return true;
            }
        }
        after.renames.remove(&(from.clone(), to.clone()));
        if done {
            after.follow(&from, &to, None);
        }
        self.journal.renamed(number, done).is_ok()
    }
}

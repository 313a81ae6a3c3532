//! What the records say, taken together: which contents are pending, which are over.
//!
//! One function, [`Table::apply`], is used for what is appended and for what is read back, so that a mount that is killed and the
//! one after it cannot disagree. It takes records in any state of damage: what is missing is never guessed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use super::error::JournalResult;
use super::record::{Commit, ContentId, FileNumber, Record, Rename, RenameNumber};
use crate::protocol::RemotePath;

/// A content that was promised and is not proved to be on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingFile {
    /// Which content.
    pub content: ContentId,
    /// Where it shall be, and how.
    pub commit: Commit,
    /// When it was committed, in seconds since 1970.
    pub committed_at: i64,
    /// Records behind its own were damaged, so it may have been moved, removed or delivered: it must not replace what
    /// the server has unless that is its base.
    pub doubtful: bool,
    /// An announced rename whose result is not known yet: until then nobody knows where this belongs.
    pub renaming: Option<RenameNumber>,
    /// Its place in the order of commits.
    pub(super) order: u64,
}

/// A content that was given up; it may still lie in the staging folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetAside {
    pub(super) path: Option<RemotePath>,
    pub(super) reason: String,
}

/// The state that the records amount to.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    files: HashMap<FileNumber, PendingFile>,
    /// The same by path; more than one file at a path only where records were lost.
    paths: BTreeSet<(RemotePath, FileNumber)>,
    begun: HashMap<ContentId, RemotePath>,
    set_aside: HashMap<ContentId, SetAside>,
    renames: BTreeMap<RenameNumber, Rename>,
    /// Up to which generation a file's contents are over.
    over: HashMap<FileNumber, u64>,
    discarded: HashSet<ContentId>,
    next_file: u64,
    next_rename: u64,
}

impl Table {
    /// Takes over what one record says.
    pub(super) fn apply(&mut self, sequence: u64, record: &Record) {
        match record {
            Record::Committed { content, at, doubtful, commit } => {
                self.use_number(content.file);
                self.begun.remove(content);
                self.end_before(*content);
                // Said again of the same content, it is the same event.
                let before = self.files.get(&content.file).filter(|before| before.content == *content);
                let order = before.map_or(sequence, |before| before.order);
                self.insert(PendingFile {
                    content: *content,
                    commit: commit.clone(),
                    committed_at: *at,
                    doubtful: *doubtful,
                    renaming: None,
                    order,
                });
            }
            Record::Uploaded { content, version } => {
                self.use_number(content.file);
                self.end_up_to(content.file, content.generation);
                match self.files.get_mut(&content.file) {
                    Some(newer) if newer.content.generation > content.generation => {
                        newer.commit.base = Some(version.clone());
                    }
                    _ => self.remove(content.file),
                }
            }
            Record::Moved { file, path, base, replaces } => {
                self.end(*replaces);
                self.relocate(*file, path.clone());
                if let Some(pending) = self.files.get_mut(file) {
                    pending.commit.base.clone_from(base);
                }
            }
            Record::Dropped { file } => self.end(Some(*file)),
            Record::SetAside { content, path, reason } => {
                self.use_number(content.file);
                if self.files.get(&content.file).is_some_and(|pending| pending.content == *content) {
                    self.remove(content.file);
                }
                self.begun.remove(content);
                self.set_aside.insert(*content, SetAside { path: path.clone(), reason: reason.clone() });
            }
            Record::Renaming { number, rename } => {
                self.next_rename = self.next_rename.max(number.0.saturating_add(1));
                self.renames.insert(*number, rename.clone());
            }
            Record::Renamed { number, rename, done } => {
                self.next_rename = self.next_rename.max(number.0.saturating_add(1));
                self.renames.remove(number);
                if *done {
                    self.follow(rename);
                }
            }
            Record::Begun { content, path } => {
                self.use_number(content.file);
                self.discarded.remove(content);
                self.begun.insert(*content, path.clone());
            }
            Record::Discarded { content } => {
                self.use_number(content.file);
                self.begun.remove(content);
                self.set_aside.remove(content);
                self.discarded.insert(*content);
            }
            Record::Numbers { file, rename } => {
                self.next_file = self.next_file.max(*file);
                self.next_rename = self.next_rename.max(*rename);
            }
        }
    }

    /// What is pending moves with a directory or file that was renamed on the server.
    fn follow(&mut self, rename: &Rename) {
        self.end(rename.replaces);
        for file in self.at_or_below(&rename.from) {
            let Some(pending) = self.files.get(&file) else { continue };
            let rest = pending.commit.path.as_bytes().get(rename.from.as_bytes().len()..).unwrap_or_default();
            if let Ok(path) = rename.to.join_relative(rest) {
                self.relocate(file, path);
            }
        }
    }

    fn insert(&mut self, pending: PendingFile) {
        let file = pending.content.file;
        self.remove(file);
        self.paths.insert((pending.commit.path.clone(), file));
        self.files.insert(file, pending);
    }

    fn remove(&mut self, file: FileNumber) {
        if let Some(pending) = self.files.remove(&file) {
            self.paths.remove(&(pending.commit.path, file));
        }
    }

    fn relocate(&mut self, file: FileNumber, path: RemotePath) {
        if let Some(pending) = self.files.get_mut(&file) {
            self.paths.insert((path.clone(), file));
            let old = std::mem::replace(&mut pending.commit.path, path.clone());
            if old != path {
                self.paths.remove(&(old, file));
            }
        }
    }

    /// Everything of a file is over, also what may still be written to it.
    fn end(&mut self, file: Option<FileNumber>) {
        let Some(file) = file else { return };
        self.use_number(file);
        self.remove(file);
        self.end_up_to(file, u64::MAX);
    }

    fn end_before(&mut self, content: ContentId) {
        self.end_up_to(content.file, content.generation.saturating_sub(1));
    }

    fn end_up_to(&mut self, file: FileNumber, generation: u64) {
        let over = self.over.entry(file).or_default();
        *over = generation.max(*over);
    }

    /// Takes a number as used.
    pub(super) fn use_number(&mut self, file: FileNumber) {
        self.next_file = self.next_file.max(file.0.saturating_add(1));
    }

    /// A number that no file has had.
    pub(super) fn new_file(&mut self) -> FileNumber {
        let file = FileNumber(self.next_file);
        self.use_number(file);
        file
    }

    /// A number that no rename has had.
    pub(super) fn new_rename(&mut self) -> RenameNumber {
        let number = RenameNumber(self.next_rename);
        self.next_rename = self.next_rename.saturating_add(1);
        number
    }

    /// The numbers in use, as a record.
    pub(super) fn numbers(&self) -> Record {
        Record::Numbers { file: self.next_file, rename: self.next_rename }
    }

    /// What is pending of a file.
    pub(super) fn get(&self, file: FileNumber) -> Option<&PendingFile> {
        self.files.get(&file)
    }

    /// The file that is pending at a path; the one committed last, should there be several.
    pub(super) fn at(&self, path: &RemotePath) -> Option<&PendingFile> {
        let range =
            (Bound::Included((path.clone(), FileNumber(0))), Bound::Included((path.clone(), FileNumber(u64::MAX))));
        let there = self.paths.range(range).filter_map(|(_, file)| self.files.get(file));
        there.max_by_key(|pending| pending.order)
    }

    /// The files pending at a path or anywhere below it.
    pub(super) fn at_or_below(&self, directory: &RemotePath) -> Vec<FileNumber> {
        self.paths
            .range((Bound::Included((directory.clone(), FileNumber(0))), Bound::Unbounded))
            .take_while(|(path, _)| path.as_bytes().starts_with(directory.as_bytes()))
            .filter(|(path, _)| path.is_at_or_below(directory))
            .map(|(_, file)| *file)
            .collect()
    }

    /// All that is pending, in the order it was committed.
    pub(super) fn pending(&self) -> Vec<PendingFile> {
        let mut pending: Vec<PendingFile> = self.files.values().cloned().collect();
        pending.sort_by_key(|pending| pending.order);
        for file in &mut pending {
            file.renaming = self.rename_of(&file.commit.path);
        }
        pending
    }

    /// The unfinished rename that decides where something at `path` belongs.
    fn rename_of(&self, path: &RemotePath) -> Option<RenameNumber> {
        let touches = |rename: &Rename| path.is_at_or_below(&rename.from) || path.is_at_or_below(&rename.to);
        self.renames.iter().find(|(_, rename)| touches(rename)).map(|(number, _)| *number)
    }

    /// Renames whose result is not known.
    pub(super) fn renames(&self) -> &BTreeMap<RenameNumber, Rename> {
        &self.renames
    }

    /// Contents that were given up and may still lie in the staging folder.
    pub(super) fn set_aside(&self) -> &HashMap<ContentId, SetAside> {
        &self.set_aside
    }

    /// What a content that nobody committed was written for.
    pub(super) fn begun(&self, content: ContentId) -> Option<&RemotePath> {
        self.begun.get(&content)
    }

    /// Whether the records say that this content is not needed any more.
    pub(super) fn is_over(&self, content: ContentId) -> bool {
        self.discarded.contains(&content)
            || self.over.get(&content.file).is_some_and(|over| content.generation <= *over)
    }

    /// Marks what was committed before damaged records.
    pub(super) fn doubt(&mut self) {
        for pending in self.files.values_mut() {
            pending.doubtful = true;
        }
    }

    /// Forgets what is over; for a journal that is written anew, which does not speak of it any more.
    pub(super) fn forget_over(&mut self) {
        self.over.clear();
        self.discarded.clear();
    }

    /// The table as records: what a journal says that is written anew. Sequence numbers begin at `sequence`; the next one is
    /// returned.
    ///
    /// # Errors
    /// None that a table made of records can have.
    pub(super) fn encode(&self, mut sequence: u64, bytes: &mut Vec<u8>) -> JournalResult<u64> {
        for record in self.records() {
            record.encode(sequence, bytes)?;
            sequence = sequence.saturating_add(1);
        }
        Ok(sequence)
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let numbers = self.numbers();
        let mut pending: Vec<&PendingFile> = self.files.values().collect();
        pending.sort_by_key(|pending| pending.order);
        let committed = pending.into_iter().map(|pending| Record::Committed {
            content: pending.content,
            at: pending.committed_at,
            doubtful: pending.doubtful,
            commit: pending.commit.clone(),
        });
        let begun = self.begun.iter().map(|(content, path)| Record::Begun { content: *content, path: path.clone() });
        let set_aside = self.set_aside.iter().map(|(content, set_aside)| Record::SetAside {
            content: *content,
            path: set_aside.path.clone(),
            reason: set_aside.reason.clone(),
        });
        let renames = self.renames.iter();
        let renaming = renames.map(|(number, rename)| Record::Renaming { number: *number, rename: rename.clone() });
        [numbers].into_iter().chain(set_aside).chain(begun).chain(committed).chain(renaming)
    }
}

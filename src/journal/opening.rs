//! What a dead mount left, put in order before the new one begins: carries out what `recovery` plans.
//!
//! Nothing is moved before the record that says so is durable, and nothing is removed that a whole record does not say is
//! over. A step that fails leaves its content where it is, for the next mount, and says so.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::error::{JournalError, JournalResult};
use super::log::{Appended, Found, Log, Space, journal_path, staging_directory};
use super::record::{ContentId, Record, Rename, RenameNumber};
use super::recovery::{Plan, Reason, Replay, plan, replay};
use super::set_aside::{
    file_of, note_loss, set_aside, set_aside_directory, set_damage_aside, staging_path, sync_moves,
};
use super::table::PendingFile;
use crate::protocol::RemotePath;

/// What the mount before left.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What is to be delivered, in the order of the commits. What has a `renaming` waits for the rename to be looked into.
    pub pending: Vec<PendingFile>,
    /// Renames of which nobody knows whether the server did them: look at both names, then say so with
    /// [`Journal::renamed`](super::Journal::renamed), before anything at or below either is delivered.
    pub renames: Vec<(RenameNumber, Rename)>,
    /// What was set aside now, to be reported.
    pub kept: Vec<Kept>,
    /// What was promised and is gone from this disk, to be reported.
    pub lost: Vec<PendingFile>,
    /// Pieces of the journal that are no records, copied to these files; to be reported.
    pub damage: Vec<PathBuf>,
}

/// A content that was not delivered and is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it lies.
    pub at: PathBuf,
    /// What it was for, if that is known.
    pub path: Option<RemotePath>,
    /// Why it was not delivered.
    pub reason: String,
}

/// Reads the journal of a locked state directory, and puts in order what is there.
///
/// # Errors
/// [`JournalError::OtherVersion`]: nothing was touched. The disk's.
pub(super) fn open(disk: &Arc<dyn Disk>, directory: &Path) -> JournalResult<(Log, Recovered)> {
    let path = journal_path(directory);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(JournalError::disk("reading the journal")(error)),
    };
    let mut replay = replay(bytes.as_deref().unwrap_or_default())
        .map_err(|version| JournalError::OtherVersion { path: path.clone(), version: version.0 })?;
    let mut recovered = Recovered::default();
    let is_saved = save_damage(disk.as_ref(), directory, bytes.as_deref().unwrap_or_default(), &replay, &mut recovered);
    let staging = scan(directory).map_err(JournalError::disk("reading the staging directory"))?;
    use_numbers(directory, &staging, &mut replay).map_err(JournalError::disk("reading the set-aside directory"))?;
    let plan = plan(&replay.table, &staging);
    recovered.renames = replay.table.renames().iter().map(|(number, rename)| (*number, rename.clone())).collect();
    let file = match &bytes {
        Some(bytes) => {
            let file = OpenOptions::new().read(true).write(true).open(&path);
            Some((file.map_err(JournalError::disk("opening the journal"))?, bytes.len() as u64))
        }
        None => None,
    };
    let found = Found { file, sequence: replay.sequence, table: replay.table, may_be_replaced: is_saved };
    let log = Log::open(disk.clone(), directory, found)?;
    carry_out(disk.as_ref(), directory, &log, plan, &mut recovered);
    Ok((log, recovered))
}

/// Copies what is no record out of the journal; false where that failed, and the journal must stay as it is.
fn save_damage(disk: &dyn Disk, directory: &Path, bytes: &[u8], replay: &Replay, recovered: &mut Recovered) -> bool {
    let mut is_saved = true;
    for range in replay.damage.iter().chain(&replay.tail) {
        match set_damage_aside(disk, directory, range.start, bytes.get(range.clone()).unwrap_or_default()) {
            Ok(path) => recovered.damage.push(path),
            Err(error) => {
                tracing::warn!(%error, "damaged bytes of the journal cannot be copied; it is continued behind them");
                is_saved = false;
            }
        }
    }
    is_saved
}

/// The staging files that are there, each with its length.
fn scan(directory: &Path) -> io::Result<HashMap<ContentId, u64>> {
    let mut staging = HashMap::new();
    for entry in fs::read_dir(staging_directory(directory))? {
        let entry = entry?;
        match entry.file_name().to_str().and_then(ContentId::parse) {
            Some(content) => {
                staging.insert(content, entry.metadata()?.len());
            }
            None => {
                tracing::warn!(path = %entry.path().display(), "a file that is not ours lies in the staging folder")
            }
        }
    }
    Ok(staging)
}

/// Numbers that something on the disk bears are not given to new files.
fn use_numbers(directory: &Path, staging: &HashMap<ContentId, u64>, replay: &mut Replay) -> io::Result<()> {
    for content in staging.keys() {
        replay.table.use_number(content.file);
    }
    for entry in fs::read_dir(set_aside_directory(directory))? {
        if let Some(file) = file_of(entry?.file_name().as_encoded_bytes()) {
            replay.table.use_number(file);
        }
    }
    Ok(())
}

fn carry_out(disk: &dyn Disk, directory: &Path, log: &Log, plan: Plan, recovered: &mut Recovered) {
    for content in plan.remove {
        if let Err(error) = disk.remove(&staging_path(directory, content)) {
            tracing::warn!(%error, %content, "a staging file that is over cannot be removed");
        }
    }
    let reasons = |reason: &Reason| Record::SetAside {
        content: reason.content,
        path: reason.path.clone(),
        reason: reason.text.clone(),
    };
    let lost = plan.lost.iter().filter(|lost| !plan.set_aside.iter().any(|reason| reason.content == lost.content));
    let records: Vec<Record> = plan.set_aside.iter().map(reasons).chain(lost.clone().map(loss)).collect();
    match append_all(log, records) {
        Ok(()) => {
            move_all(disk, directory, log, &plan.set_aside, recovered);
            for lost in lost {
                note_lost(disk, directory, log, lost);
            }
        }
        Err(error) => {
            tracing::warn!(%error, "what cannot be delivered stays in the staging folder for now");
            recovered.kept.extend(plan.set_aside.into_iter().map(|reason| Kept {
                at: staging_path(directory, reason.content),
                path: reason.path,
                reason: reason.text,
            }));
        }
    }
    for content in plan.settled {
        discard(log, content);
    }
    recovered.pending = plan.pending;
    recovered.lost = plan.lost;
}

fn loss(lost: &PendingFile) -> Record {
    let reason = "its staging file is gone".to_owned();
    Record::SetAside { content: lost.content, path: Some(lost.commit.path.clone()), reason }
}

/// Makes many records durable with one sync.
fn append_all(log: &Log, records: Vec<Record>) -> JournalResult<()> {
    let mut last: Option<Appended> = None;
    for record in records {
        last = Some(log.append(Space::UseReserve, |_| Ok(vec![record]))?);
    }
    match last {
        Some(last) => log.sync(&last).map(|_durable| ()),
        None => Ok(()),
    }
}

fn move_all(disk: &dyn Disk, directory: &Path, log: &Log, reasons: &[Reason], recovered: &mut Recovered) {
    let mut moved = Vec::new();
    for reason in reasons {
        let (at, is_moved) = match set_aside(disk, directory, reason.content, reason.path.as_ref(), &reason.text) {
            Ok(at) => (at, true),
            Err(error) => {
                tracing::warn!(%error, content = %reason.content, "a content stays in the staging folder for now");
                (staging_path(directory, reason.content), false)
            }
        };
        if is_moved {
            moved.push(reason.content);
        }
        recovered.kept.push(Kept { at, path: reason.path.clone(), reason: reason.text.clone() });
    }
    if moved.is_empty() {
        return;
    }
    match sync_moves(disk, directory) {
        Ok(()) => moved.into_iter().for_each(|content| discard(log, content)),
        Err(error) => tracing::warn!(%error, "the set-aside folder cannot be synced"),
    }
}

fn note_lost(disk: &dyn Disk, directory: &Path, log: &Log, lost: &PendingFile) {
    let reason = format!("{} bytes were promised, and their staging file is gone", lost.commit.size);
    match note_loss(disk, directory, lost.content, &lost.commit.path, &reason) {
        Ok(_) => discard(log, lost.content),
        Err(error) => {
            tracing::warn!(%error, path = %lost.commit.path, "no note can be written of a content that is gone")
        }
    }
}

/// Writes down that nothing is to be done any more for a content. It need not be synced: forgotten, it is done again.
pub(super) fn discard(log: &Log, content: ContentId) {
    if let Err(error) = log.append(Space::UseReserve, |_| Ok(vec![Record::Discarded { content }])) {
        tracing::debug!(%error, %content, "that a content is over cannot be written down");
    }
}

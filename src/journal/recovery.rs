//! From the bytes of a journal, and the names in the staging folder, to what is pending, damaged and orphaned.
//!
//! Nothing here touches a disk: [`replay`] reads bytes, [`plan`] decides, and `opening` carries it out. Whatever
//! the bytes are, nothing panics, and nothing is planned to be removed that a whole record does not say is over.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::record::{ContentId, FileNumber, HEADER_LEN, MAGIC, Record, VERSION};
use super::table::{PendingFile, Table};
use crate::protocol::RemotePath;

/// What a journal's bytes say.
pub(super) struct Replay {
    pub(super) table: Table,
    /// Where bytes stand, with whole records behind them, that are none.
    pub(super) damage: Vec<Range<usize>>,
    /// What stands behind the last whole record: one that was being appended, most likely.
    pub(super) tail: Option<Range<usize>>,
    /// The first sequence number that was not used.
    pub(super) sequence: u64,
}

/// The digits of a version that is not ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherVersion(pub(super) String);

/// Reads all whole records.
///
/// # Errors
/// [`OtherVersion`]: whole or not, the records are of a format that is not known here.
pub(super) fn replay(bytes: &[u8]) -> Result<Replay, OtherVersion> {
    let mut replay = Replay { table: Table::default(), damage: vec![], tail: None, sequence: 1 };
    let mut at = header_len(bytes)?;
    while at < bytes.len() {
        if let Some((record, sequence, len)) = decode_at(bytes, at, replay.sequence) {
            replay.table.apply(sequence, &record);
            replay.sequence = sequence.saturating_add(1);
            at += len;
            continue;
        }
        let next = (at + 1..bytes.len()).find(|next| decode_at(bytes, *next, replay.sequence).is_some());
        match next {
            Some(next) => {
                replay.damage.push(at..next);
                replay.table.doubt();
                at = next;
            }
            None => {
                replay.tail = Some(at..bytes.len());
                break;
            }
        }
    }
    Ok(replay)
}

/// Where the records begin: behind the header, or at the first byte where it is damaged.
fn header_len(bytes: &[u8]) -> Result<usize, OtherVersion> {
    let Some(version) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.get(..VERSION.len())) else { return Ok(0) };
    if version == VERSION {
        Ok(HEADER_LEN)
    } else if version.iter().all(u8::is_ascii_digit) {
        Err(OtherVersion(String::from_utf8_lossy(version).into_owned()))
    } else {
        Ok(0)
    }
}

/// The whole record at `at`, unless it is older than one before it: then it is what was there before a failed write.
fn decode_at(bytes: &[u8], at: usize, sequence_min: u64) -> Option<(Record, u64, usize)> {
    Record::decode(bytes.get(at..)?).filter(|(_, sequence, _)| *sequence >= sequence_min)
}

/// Why a content is set aside at recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) content: ContentId,
    pub(super) path: Option<RemotePath>,
    pub(super) text: String,
}

/// What is to be done with what was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be delivered, in the order of their commits.
    pub(super) pending: Vec<PendingFile>,
    /// Promised, and gone from the disk: reported.
    pub(super) lost: Vec<PendingFile>,
    /// To be set aside.
    pub(super) set_aside: Vec<Reason>,
    /// To be removed: whole records say that they are over, or there is nothing in them.
    pub(super) remove: Vec<ContentId>,
    /// Set aside by the mount before, to the end.
    pub(super) settled: Vec<ContentId>,
}

/// Compares the table with the staging files that are there, each with its length.
pub(super) fn plan(table: &Table, staging: &HashMap<ContentId, u64>) -> Plan {
    let mut plan = Plan::default();
    let mut kept = HashSet::new();
    for pending in table.pending() {
        kept.insert(pending.content);
        plan_pending(table, staging, pending, &mut plan);
    }
    let lost: HashSet<FileNumber> = plan.lost.iter().map(|lost| lost.content.file).collect();
    for (content, set_aside) in table.set_aside() {
        kept.insert(*content);
        if staging.contains_key(content) {
            let (path, text) = (set_aside.path.clone(), set_aside.reason.clone());
            plan.set_aside.push(Reason { content: *content, path, text });
        } else {
            plan.settled.push(*content);
        }
    }
    for (content, len) in staging {
        if kept.contains(content) {
            continue;
        }
        // An older generation is all that is left where the newer one is lost.
        if *len == 0 || (table.is_over(*content) && !lost.contains(&content.file)) {
            plan.remove.push(*content);
        } else {
            let text = if table.is_over(*content) {
                "an earlier content of a file whose last one is lost".to_owned()
            } else {
                "it was being written when the mount ended, and was never closed; it may be incomplete".to_owned()
            };
            plan.set_aside.push(Reason { content: *content, path: table.begun(*content).cloned(), text });
        }
    }
    plan
}

fn plan_pending(table: &Table, staging: &HashMap<ContentId, u64>, pending: PendingFile, plan: &mut Plan) {
    let set_aside = |text: String| Reason { content: pending.content, path: Some(pending.commit.path.clone()), text };
    let last = table.at(&pending.commit.path).map(|last| last.content);
    match staging.get(&pending.content) {
        None => plan.lost.push(pending),
        Some(len) if *len < pending.commit.size => {
            plan.set_aside.push(set_aside(format!("{} bytes were promised, and {len} are there", pending.commit.size)));
            plan.lost.push(pending);
        }
        Some(_) if last != Some(pending.content) => {
            plan.set_aside
                .push(set_aside("a later file took its path, and records between the two were damaged".to_owned()));
        }
        Some(_) => plan.pending.push(pending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(sequences: &[u64]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &VERSION[..]].concat();
        for sequence in sequences {
            Record::Dropped { file: FileNumber(*sequence) }.encode(*sequence, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn whole_record_older_than_the_one_before_it_is_none() {
        let bytes = journal(&[5, 4]);
        let replay = replay(&bytes).unwrap_or_else(|_| panic!("our version"));
        assert_eq!(replay.sequence, 6);
        assert!(replay.tail.is_some_and(|tail| tail.end == bytes.len()));
        assert!(!replay.table.is_over(ContentId { file: FileNumber(4), generation: 1 }));
    }

    #[test]
    fn numbers_left_out_are_no_damage() {
        let replay = replay(&journal(&[1, 2, 70_000])).unwrap_or_else(|_| panic!("our version"));
        assert!(replay.damage.is_empty() && replay.tail.is_none());
    }

    #[test]
    fn record_behind_which_no_numbers_are_left_is_none() {
        let replay = replay(&journal(&[1, u64::MAX, 2])).unwrap_or_else(|_| panic!("our version"));
        assert_eq!((replay.sequence, replay.damage.len()), (3, 1));
    }
}

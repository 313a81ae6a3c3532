//! The journal's bytes, for those who feed it anything at all (`fuzz/`, `tests/fuzz.rs`).
//!
//! No part of what the library promises: it changes with the format.

use std::ops::Range;

use super::record::{HEADER_LEN, MAGIC, Record, VERSION};
use super::recovery;

/// What the bytes of a journal amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// What is pending, in the order of its commits, as text to be compared.
    pub pending: Vec<String>,
    /// Where bytes stand, with whole records behind them, that are none.
    pub damage: Vec<Range<usize>>,
    /// What stands behind the last whole record.
    pub tail: Option<Range<usize>>,
    /// The first sequence number that was not used.
    pub sequence: u64,
    /// The journal written anew; `None` where paths became longer than a record can hold.
    pub anew: Option<Vec<u8>>,
}

/// Reads the record that `bytes` begin with, and encodes it again: its length, and the new bytes; `None` where no whole record
/// stands there.
pub fn reencode(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (record, sequence, len) = Record::decode(bytes)?;
    let mut encoded = Vec::new();
    record.encode(sequence, &mut encoded).ok()?;
    Some((len, encoded))
}

/// Reads a whole journal, as the next mount does; `None` where it is of another version.
pub fn replay(bytes: &[u8]) -> Option<Replayed> {
    let replay = recovery::replay(bytes).ok()?;
    let mut anew = [&MAGIC[..], &VERSION[..]].concat();
    debug_assert_eq!(anew.len(), HEADER_LEN, "the header is what readers skip");
    let anew = replay.table.encode(replay.sequence, &mut anew).is_ok().then_some(anew);
    // The place in the order of commits is known by the order itself, and is another one in a journal written anew.
    let pending = replay.table.pending().into_iter().map(|file| {
        let (content, commit) = (file.content, &file.commit);
        format!("{content} {commit:?} {} {} {:?}", file.committed_at, file.doubtful, file.renaming)
    });
    Some(Replayed {
        pending: pending.collect(),
        damage: replay.damage,
        tail: replay.tail,
        sequence: replay.sequence,
        anew,
    })
}

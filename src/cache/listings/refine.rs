//! How a new answer and what was known before make one: nothing true gets lost, and times do not flap.
//!
//! Servers answer the same question in several ways: MLSD with seconds and permissions, LIST with minutes, SIZE and MDTM with
//! nothing but a size and a time. A coarser answer that agrees with a finer one must not replace it: the kernel would
//! drop its pages, make would build again, and rsync copy again.

use super::snapshot::Record;
use crate::protocol::{Entry, EntryKind, Precision, Timestamp};
use std::time::Instant;

/// The record that `entry`, confirmed at `now`, becomes beside what was known.
pub(super) fn refine(known: Option<&Record>, entry: Entry, now: Instant) -> Record {
    let Some(known) = known.filter(|known| known.entry.kind == entry.kind) else {
        return Record::new(entry, now);
    };
    let mut record = Record::new(entry, now);
    let entry = &mut record.entry;
    let old = &known.entry;
    entry.mode = entry.mode.or(old.mode);
    entry.owner = entry.owner.take().or_else(|| old.owner.clone());
    entry.group = entry.group.take().or_else(|| old.group.clone());
    entry.link_target = entry.link_target.take().or_else(|| old.link_target.clone());
    let same_size = entry.size.is_none() || old.size.is_none() || entry.size == old.size;
    let same_time =
        record.listed_time == known.listed_time && record.listed_time.is_some() || agrees(entry.modified, old.modified);
    if same_size && same_time {
        entry.size = entry.size.or(old.size);
        entry.unique = entry.unique.take().or_else(|| old.unique.clone());
        if precision(old) > precision(entry) {
            entry.modified = old.modified;
            record.exact_at = known.exact_at;
        }
        record.shown_since = known.shown_since;
        record.time_asked = known.time_asked;
    }
    record
}

/// Whether a time that was listed can be the finer one that is known.
fn agrees(listed: Option<Timestamp>, known: Option<Timestamp>) -> bool {
    let (Some(listed), Some(known)) = (listed, known) else { return false };
    match listed.precision.min(known.precision) {
        Precision::Day => listed.seconds.div_euclid(86_400) == known.seconds.div_euclid(86_400),
        Precision::Minute => listed.seconds.div_euclid(60) == known.seconds.div_euclid(60),
        Precision::Second => listed.seconds == known.seconds,
        Precision::Nanosecond => (listed.seconds, listed.nanoseconds) == (known.seconds, known.nanoseconds),
    }
}

fn precision(entry: &Entry) -> Option<Precision> {
    entry.modified.map(|modified| modified.precision)
}

/// Whether an exact time is worth asking for: of files only, for many servers have none for directories.
pub fn needs_exact_time(record: &Record) -> bool {
    record.entry.kind == EntryKind::File && !record.time_asked && precision(&record.entry) < Some(Precision::Second)
}

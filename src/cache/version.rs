//! Which content of a file is meant: its size, its time, and the server's own mark if there is one.
//!
//! FTP has no better: a file that changes within its time's precision and keeps its size looks the same.
//! The `unique` fact (RFC 3659 §7.5.2) closes the gap where the server sends it.

use crate::protocol::{Entry, Timestamp};

/// One content of a file, as far as the server lets us tell it from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileVersion {
    /// Bytes as stored. A read is cut here, and a transfer must bring exactly this many.
    pub size: u64,
    /// When the content last changed, with the precision the server told it in.
    pub modified: Option<Timestamp>,
    /// The `unique` fact: another after a replacement.
    pub unique: Option<Box<[u8]>>,
}

impl FileVersion {
    /// The version that an entry shows; `None` where the server did not tell the size, since nothing that is read
    /// could then be proved complete.
    pub fn of(entry: &Entry) -> Option<Self> {
        Some(Self { size: entry.size?, modified: entry.modified, unique: entry.unique.clone() })
    }

    /// Whether both can be the same content: nothing that both know differs, times compared at the coarser precision.
    ///
    /// A listing that shows minutes and an MDTM that shows seconds so agree on the same file.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.size == other.size
            && both(self.modified.as_ref(), other.modified.as_ref(), Timestamp::agrees_with)
            && both(self.unique.as_ref(), other.unique.as_ref(), PartialEq::eq)
    }

    /// Takes over what `other`, which agrees with this one, knows more exactly.
    pub fn refine(&mut self, other: &Self) {
        if self.modified.map(|time| time.precision) < other.modified.map(|time| time.precision) {
            self.modified = other.modified;
        }
        if self.unique.is_none() {
            self.unique.clone_from(&other.unique);
        }
    }
}

/// Whether `same` holds, or one side is unknown.
fn both<T>(left: Option<&T>, right: Option<&T>, same: impl Fn(&T, &T) -> bool) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => same(left, right),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Precision;

    fn version(seconds: i64, precision: Precision) -> FileVersion {
        FileVersion { size: 7, modified: Some(Timestamp { seconds, nanoseconds: 0, precision }), unique: None }
    }

    #[test]
    fn time_to_the_minute_agrees_with_any_second_within_it_and_no_other() {
        let listed = version(600, Precision::Minute);
        assert!(listed.agrees_with(&version(659, Precision::Second)));
        assert!(!listed.agrees_with(&version(660, Precision::Second)));
        assert!(!version(601, Precision::Second).agrees_with(&version(602, Precision::Second)));
    }

    #[test]
    fn another_size_or_unique_fact_is_another_version() {
        let known = FileVersion { unique: Some(Box::from(*b"a")), ..version(0, Precision::Second) };
        assert!(!known.agrees_with(&FileVersion { size: 8, ..known.clone() }));
        assert!(!known.agrees_with(&FileVersion { unique: Some(Box::from(*b"b")), ..known.clone() }));
        assert!(known.agrees_with(&FileVersion { unique: None, modified: None, ..known.clone() }));
    }

    #[test]
    fn refined_version_keeps_the_finer_time() {
        let mut listed = version(600, Precision::Minute);
        listed.refine(&version(617, Precision::Second));
        listed.refine(&version(600, Precision::Minute));
        assert_eq!(listed, version(617, Precision::Second));
    }
}

//! Which bytes of a file were changed here since the server was proved to have it: what was written, not what was fetched.

use super::ranges::RangeSet;
use std::ops::Range;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Changes {
    ranges: RangeSet,
}

impl Changes {
    /// `range` was written in a file of `size` bytes; what lies between its end and the range is zeros now.
    pub(super) fn wrote(&mut self, range: Range<u64>, size: u64) {
        self.ranges.insert(range.start.min(size)..range.end);
    }

    /// The file was cut or grown; what is new is zeros.
    pub(super) fn resized(&mut self, from: u64, to: u64) {
        self.ranges.truncate(to);
        if from < to {
            self.ranges.insert(from..to);
        }
    }

    /// The server has all of it.
    pub(super) fn uploaded(&mut self) {
        self.ranges = RangeSet::default();
    }

    /// Where the first change is.
    pub(super) fn first(&self) -> Option<u64> {
        self.ranges.iter().next().map(|range| range.start)
    }

    /// The changes below `end`, in order; those no further than `gap_max` apart as one.
    pub(super) fn below(&self, end: u64, gap_max: u64) -> Vec<Range<u64>> {
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in self.ranges.iter().take_while(|range| range.start < end) {
            let range = range.start..range.end.min(end);
            match joined.last_mut() {
                Some(last) if range.start - last.end <= gap_max => last.end = range.end,
                _ => joined.push(range),
            }
        }
        joined
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_and_what_became_zeros_is_changed_and_nothing_else() {
        let mut changes = Changes::default();
        assert_eq!(changes.first(), None);
        changes.wrote(40..50, 100);
        changes.wrote(110..120, 100);
        changes.resized(120, 130);
        assert_eq!(changes.below(200, 0), [40..50, 100..130]);
        assert_eq!(changes.below(115, 0), [40..50, 100..115]);
        changes.resized(130, 45);
        changes.resized(45, 60);
        assert_eq!(changes.below(200, 0), [40..60]);
        changes.uploaded();
        changes.wrote(3..4, 60);
        assert_eq!((changes.first(), changes.below(200, 0)), (Some(3), vec![3..4]));
    }

    #[test]
    fn changes_near_each_other_are_taken_together() {
        let mut changes = Changes::default();
        for start in [10, 20, 31] {
            changes.wrote(start..start + 5, 100);
        }
        assert_eq!(changes.below(100, 5), [10..25, 31..36]);
        assert_eq!(changes.below(100, 6), [10..36]);
    }
}

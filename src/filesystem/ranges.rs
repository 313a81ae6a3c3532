//! A set of byte ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that neither overlap nor touch: start to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds a range.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        let touching: Vec<u64> =
            self.ranges.range(..=end).rev().take_while(|(_, last)| **last >= start).map(|(first, _)| *first).collect();
        for first in touching {
            if let Some(last) = self.ranges.remove(&first) {
                start = start.min(first);
                end = end.max(last);
            }
        }
        self.ranges.insert(start, end);
    }

    /// Takes out everything from `offset` on.
    pub(super) fn truncate(&mut self, offset: u64) {
        self.ranges.split_off(&offset);
        if let Some((_, end)) = self.ranges.iter_mut().next_back() {
            *end = (*end).min(offset);
        }
    }

    /// The first part of `range` that is not in the set.
    pub(super) fn first_gap(&self, range: Range<u64>) -> Option<Range<u64>> {
        let mut start = range.start;
        if let Some((_, end)) = self.ranges.range(..=start).next_back() {
            start = start.max(*end);
        }
        if start >= range.end {
            return None;
        }
        let next = self.ranges.range(start..).next().map_or(range.end, |(first, _)| (*first).min(range.end));
        Some(start..next)
    }

    /// Bytes below `end` that are not in the set.
    pub(super) fn missing_below(&self, end: u64) -> u64 {
        let present: u64 = self.ranges.range(..end).map(|(first, last)| (*last).min(end).saturating_sub(*first)).sum();
        end.saturating_sub(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_hold_exactly_what_was_inserted(
            steps in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..16), 1..40),
        ) {
            let mut ranges = RangeSet::default();
            let mut model = [false; 96];
            for (insert, start, len) in steps {
                if insert {
                    ranges.insert(start..start + len);
                    for at in start..start + len { model[at as usize] = true; }
                } else {
                    ranges.truncate(start);
                    for at in start..96 { model[at as usize] = false; }
                }
                for from in 0..96u64 {
                    let expected = (from..96).find(|at| !model[*at as usize]).map(|first| {
                        first..(first..96).find(|at| model[*at as usize]).unwrap_or(96)
                    });
                    prop_assert_eq!(ranges.first_gap(from..96), expected);
                }
                let missing = model.iter().take(64).filter(|there| !**there).count() as u64;
                prop_assert_eq!(ranges.missing_below(64), missing);
            }
        }
    }
}

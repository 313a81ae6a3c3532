//! A set of byte ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that neither overlap nor touch: start to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds a range, and returns how many bytes of it were not in the set.
    pub(super) fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let added = self.missing_in(&range);
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
        added
    }

    /// Takes a range out, and returns how many bytes of it were in the set.
    pub(super) fn remove(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let removed = range.end - range.start - self.missing_in(&range);
        let behind = self.ranges.range(..range.end).next_back().map(|(_, end)| *end).filter(|end| *end > range.end);
        let mut tail = self.ranges.split_off(&range.end);
        self.cut(range.start);
        self.ranges.append(&mut tail);
        if let Some(end) = behind {
            self.ranges.insert(range.end, end);
        }
        removed
    }

    fn cut(&mut self, offset: u64) {
        self.ranges.split_off(&offset);
        if let Some((_, end)) = self.ranges.iter_mut().next_back() {
            *end = (*end).min(offset);
        }
    }

    /// Takes out everything from `offset` on, and returns how many bytes that were.
    pub(super) fn truncate(&mut self, offset: u64) -> u64 {
        self.remove(offset..u64::MAX)
    }

    /// Its ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().map(|(start, end)| *start..*end)
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
        self.missing_in(&(0..end))
    }

    /// Bytes of `range` that are not in the set.
    pub(super) fn missing_in(&self, range: &Range<u64>) -> u64 {
        // One range may begin before; all others that count begin within.
        let before = self.ranges.range(..range.start).next_back();
        let all = before.into_iter().chain(self.ranges.range(range.clone()));
        let present: u64 =
            all.map(|(first, last)| (*last).min(range.end).saturating_sub((*first).max(range.start))).sum();
        (range.end - range.start).saturating_sub(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_hold_exactly_what_was_inserted(
            steps in prop::collection::vec((0..5, 0u64..64, 0u64..16), 1..40),
        ) {
            let mut ranges = RangeSet::default();
            let mut model = [false; 96];
            for (what, start, len) in steps {
                let range = if what == 0 { start..96 } else { start..start + len };
                let is_new = what > 1;
                let changed = range.clone().filter(|at| model[*at as usize] != is_new).count() as u64;
                prop_assert_eq!(changed, match what {
                    0 => ranges.truncate(start),
                    1 => ranges.remove(range.clone()),
                    _ => ranges.insert(range.clone()),
                });
                for at in range { model[at as usize] = is_new; }
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

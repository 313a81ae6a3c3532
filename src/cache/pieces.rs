//! The bytes of one read, as far as they are there.

use std::ops::Range;

use super::blocks::{Block, BlockCache, BlockIndex, VersionId, by_block, piece};

/// The range of a read: which of its bytes are missing, and the runs that hold the others, so that none of them can go again meanwhile.
pub(super) struct Pieces {
    range: Range<u64>,
    /// Each with its place in the file. They may overlap, and reach beyond the range.
    held: Vec<(u64, Block)>,
    /// In order.
    missing: Vec<Range<u64>>,
}

impl Pieces {
    /// The bytes of `range`, as far as `blocks` has them.
    pub(super) fn gather(range: Range<u64>, blocks: &mut BlockCache, version: VersionId) -> Self {
        let indexes = BlockIndex::containing(range.start).up_to(BlockIndex::end_of(range.end));
        let mut pieces = Self { missing: vec![range.clone()], held: Vec::new(), range };
        for index in indexes {
            for (start, bytes) in blocks.get(version, index) {
                pieces.insert(*start, bytes);
            }
        }
        pieces
    }

    /// Whether all of them are there.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Takes the bytes at `start` if any of them is missing.
    pub(super) fn insert(&mut self, start: u64, bytes: &Block) {
        let end = start.saturating_add(bytes.len() as u64);
        let meets = |range: &Range<u64>| start < range.end && range.start < end;
        if !self.missing.iter().any(meets) {
            return;
        }
        self.held.push((start, Block::clone(bytes)));
        let rest = |range: Range<u64>| {
            let (before, after) = (range.start..range.end.min(start), range.start.max(end)..range.end);
            if meets(&range) { [before, after] } else { [range, 0..0] }
        };
        self.missing = self.missing.drain(..).flat_map(rest).filter(|range| !range.is_empty()).collect();
    }

    /// Those that are not there yet, in order, cut at the ends of blocks.
    pub(super) fn missing(&self) -> impl Iterator<Item = Range<u64>> {
        self.missing.iter().cloned().flat_map(by_block)
    }

    /// Where the missing bytes from `offset` on end.
    pub(super) fn run_end(&self, offset: u64) -> u64 {
        self.missing.iter().find(|range| range.contains(&offset)).map_or(offset, |range| range.end)
    }

    /// The range's bytes, once it [is complete](Self::is_complete): the one copy on their way.
    pub(super) fn join(mut self) -> Vec<u8> {
        self.held.sort_unstable_by_key(|(start, _)| *start);
        let mut bytes = Vec::with_capacity(usize::try_from(self.range.end - self.range.start).unwrap_or(0));
        let mut position = self.range.start;
        for (start, held) in &self.held {
            let end = start.saturating_add(held.len() as u64).min(self.range.end);
            if end > position {
                bytes.extend_from_slice(piece(held, *start, &(position..end)).unwrap_or_default());
                position = end;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever comes, in whatever order: it is complete when each byte has come and not before, and the bytes are the file's.
        #[test]
        fn read_is_complete_once_each_of_its_bytes_has_come(
            start in 0..300_000_u64,
            len in 1..300_000_u64,
            parts in prop::collection::vec((0..600_000_u64, 1..200_000_u64), 1..30),
        ) {
            let content = |range: Range<u64>| -> Vec<u8> { range.map(|place| (place % 251) as u8).collect() };
            let range = start..start + len;
            let mut pieces = Pieces::gather(range.clone(), &mut BlockCache::new(0), VersionId(1));
            let mut absent: Vec<bool> = vec![true; len as usize];
            let last = [(0, 350_000), (350_000, 350_000)];
            for (part_start, part_len) in parts.into_iter().chain(last) {
                let part = part_start..part_start + part_len;
                pieces.insert(part_start, &content(part.clone()).into());
                for (place, absent) in range.clone().zip(&mut absent) {
                    *absent &= !part.contains(&place);
                }
                let missing: Vec<u64> = pieces.missing().flatten().collect();
                let expected: Vec<u64> = range.clone().zip(&absent).filter(|(_, absent)| **absent).map(|(place, _)| place).collect();
                prop_assert_eq!(missing, expected);
                prop_assert_eq!(pieces.is_complete(), !absent.contains(&true));
            }
            prop_assert!(pieces.is_complete());
            prop_assert_eq!(pieces.join(), content(range));
        }
    }
}

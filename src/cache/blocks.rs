//! Pieces of files in memory; the least recently used goes first.
//!
//! A block belongs to one version of one file (`VersionId`), so two contents of a file never meet in one read. It is there whole, or as
//! the parts of it that were read by who jumps about; parts that make up all of a block become one.
//!
//! What goes out is handed to the caller, who frees it once no lock is held: 128 KiB each, they are not free to free.
//!
//! Not here: which version a read means and who fetches what is missing (`reader`).

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use lru::LruCache;

/// Bytes of a block; only a file's last one is shorter.
pub const BLOCK_LEN: usize = 128 << 10;

/// What a block costs beside its bytes (its places in the two maps), so that many tiny files stay in bounds too.
const OVERHEAD_LEN: usize = 256;

/// The fewest bytes a cache keeps: below this, neighbouring small reads would each ask the server for the same block.
const BYTES_MIN: usize = 8 * (BLOCK_LEN + OVERHEAD_LEN);

/// A block's bytes; cheap to clone.
pub(super) type Block = Arc<[u8]>;

/// A block's number in its file, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BlockIndex(pub(super) u64);

impl BlockIndex {
    /// The block that holds the byte at `offset`.
    pub(super) fn containing(offset: u64) -> Self {
        Self(offset / BLOCK_LEN as u64)
    }

    /// The first block that begins at `offset` or behind it; for an `offset` at which a range ends, its end in blocks.
    pub(super) fn end_of(offset: u64) -> Self {
        Self(offset.div_ceil(BLOCK_LEN as u64))
    }

    /// Where it begins in the file.
    pub(super) fn offset(self) -> u64 {
        self.0.saturating_mul(BLOCK_LEN as u64)
    }

    /// The one behind it.
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// All from this one up to, not including, `end`.
    pub(super) fn up_to(self, end: Self) -> impl Iterator<Item = Self> {
        (self.0..end.0).map(Self)
    }
}

/// One version of one file; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VersionId(pub(super) u64);

/// The bytes of a range of a file, cut at the ends of its blocks.
pub(super) fn by_block(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let blocks = BlockIndex::containing(range.start).up_to(BlockIndex::end_of(range.end));
    blocks.map(move |index| range.start.max(index.offset())..range.end.min(index.next().offset()))
}

/// Blocks of all files, bounded in bytes.
pub(super) struct BlockCache {
    blocks: LruCache<(VersionId, BlockIndex), Parts>,
    /// What `blocks` holds of each version, so that all of one can go without a look at the others.
    versions: HashMap<VersionId, HashSet<BlockIndex>>,
    bytes: usize,
    bytes_max: usize,
}

/// What is there of a block: runs of its bytes, each with its place in the file, in order; none meets another.
type Parts = Vec<(u64, Block)>;

impl BlockCache {
    /// An empty cache of at most `bytes_max`, but at least 1 MiB.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { blocks: LruCache::unbounded(), versions: HashMap::new(), bytes: 0, bytes_max: bytes_max.max(BYTES_MIN) }
    }

    /// Gets what is there of a block, each run of bytes with its place in the file; it becomes the most recently used.
    pub(super) fn get(&mut self, version: VersionId, index: BlockIndex) -> &[(u64, Block)] {
        self.blocks.get(&(version, index)).map_or(&[], Vec::as_slice)
    }

    /// Whether all bytes of `range` are here; changes nothing.
    pub(super) fn covers(&self, version: VersionId, range: Range<u64>) -> bool {
        by_block(range).all(|range| {
            let parts = self.blocks.peek(&(version, BlockIndex::containing(range.start)));
            let reach = |end: u64, (start, bytes): &(u64, Block)| {
                if *start <= end { end.max(end_of(*start, bytes)) } else { end }
            };
            parts.is_some_and(|parts| parts.iter().fold(range.start, reach) >= range.end)
        })
    }

    /// How many runs of bytes there are of a block.
    pub(super) fn count_parts(&self, version: VersionId, index: BlockIndex) -> usize {
        self.blocks.peek(&(version, index)).map_or(0, Vec::len)
    }

    /// Whether any block of `version` is here.
    pub(super) fn holds_any(&self, version: VersionId) -> bool {
        self.versions.contains_key(&version)
    }

    /// Bytes held, with what they cost beside; and the most there may be.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.bytes, self.bytes_max)
    }

    /// Keeps the bytes at `start`, which are all of one block or part of it; `len` is that of the block. Returns the block where they make it whole,
    /// and those that had to go for it.
    pub(super) fn insert(
        &mut self,
        version: VersionId,
        start: u64,
        bytes: Block,
        len: usize,
    ) -> (Option<Block>, Vec<Block>) {
        let index = BlockIndex::containing(start);
        let before = self.blocks.pop(&(version, index)).unwrap_or_default();
        self.bytes -= cost(&before);
        let (whole, parts) = if bytes.len() >= len {
            (Some(Block::clone(&bytes)), vec![(start, bytes)])
        } else {
            let parts = joined(before, start, bytes);
            match parts.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() {
                // It was there already.
                _ if parts.first().is_some_and(|(_, bytes)| bytes.len() >= len) => (None, parts),
                held if held >= len => {
                    let whole: Block = parts.iter().map(|(_, bytes)| &**bytes).collect::<Vec<_>>().concat().into();
                    (Some(Block::clone(&whole)), vec![(index.offset(), whole)])
                }
                _ => (None, parts),
            }
        };
        self.bytes += cost(&parts);
        self.versions.entry(version).or_default().insert(index);
        self.blocks.put((version, index), parts);
        (whole, self.evict())
    }

    fn evict(&mut self) -> Vec<Block> {
        let mut evicted = Vec::new();
        while self.bytes > self.bytes_max {
            let Some(((version, index), parts)) = self.blocks.pop_lru() else { break };
            self.bytes -= cost(&parts);
            evicted.extend(parts.into_iter().map(|(_, bytes)| bytes));
            if let Some(indexes) = self.versions.get_mut(&version) {
                indexes.remove(&index);
                if indexes.is_empty() {
                    self.versions.remove(&version);
                }
            }
        }
        evicted
    }

    /// Drops all blocks of a version, and returns them.
    pub(super) fn drop_version(&mut self, version: VersionId) -> Vec<Block> {
        let indexes = self.versions.remove(&version).unwrap_or_default();
        let dropped: Vec<Parts> = indexes.into_iter().filter_map(|index| self.blocks.pop(&(version, index))).collect();
        self.bytes -= dropped.iter().map(cost).sum::<usize>();
        dropped.into_iter().flatten().map(|(_, bytes)| bytes).collect()
    }
}

/// `parts` with the bytes at `start` among them, as far as they were not there.
fn joined(mut parts: Parts, start: u64, bytes: Block) -> Parts {
    let end = end_of(start, &bytes);
    let mut missing = Vec::new();
    let mut position = start;
    for (held_start, held) in &parts {
        let held_end = end_of(*held_start, held);
        if held_end <= position || *held_start >= end {
            continue;
        }
        missing.push(position..*held_start);
        position = held_end;
    }
    missing.push(position..end);
    for range in missing {
        if range == (start..end) {
            parts.push((start, Block::clone(&bytes)));
        } else if let Some(piece) = piece(&bytes, start, &range).filter(|piece| !piece.is_empty()) {
            parts.push((range.start, piece.into()));
        }
    }
    parts.sort_unstable_by_key(|(start, _)| *start);
    parts
}

/// The bytes of `range`, of those that begin at `start`; `None` where it is not among them.
pub(super) fn piece<'a>(bytes: &'a [u8], start: u64, range: &Range<u64>) -> Option<&'a [u8]> {
    // Both are at most a block's length, which fits any usize.
    let place = |offset: u64| offset.checked_sub(start).and_then(|place| usize::try_from(place).ok());
    bytes.get(place(range.start)?..place(range.end)?)
}

fn end_of(start: u64, bytes: &Block) -> u64 {
    start.saturating_add(bytes.len() as u64)
}

fn cost(parts: &Parts) -> usize {
    parts.iter().map(|(_, bytes)| bytes.len() + OVERHEAD_LEN).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: VersionId = VersionId(1);
    const B: VersionId = VersionId(2);

    fn insert(cache: &mut BlockCache, version: VersionId, index: u64) -> Vec<Block> {
        cache.insert(version, BlockIndex(index).offset(), vec![0; BLOCK_LEN].into(), BLOCK_LEN).1
    }

    fn holds(cache: &BlockCache, version: VersionId, index: u64) -> bool {
        cache.covers(version, BlockIndex(index).offset()..BlockIndex(index).next().offset())
    }

    #[test]
    fn least_recently_used_block_goes_first_and_the_bound_holds() {
        let mut cache = BlockCache::new(BYTES_MIN);
        for index in 0..8 {
            assert!(insert(&mut cache, A, index).is_empty());
        }
        assert!(!cache.get(A, BlockIndex(0)).is_empty());
        assert_eq!(insert(&mut cache, B, 0).len(), 1);
        assert!(holds(&cache, A, 0));
        assert!(!holds(&cache, A, 1));
        assert!(cache.bytes <= BYTES_MIN);
    }

    #[test]
    fn dropped_version_leaves_the_other_one_whole() {
        let mut cache = BlockCache::new(4 << 20);
        for index in 0..3 {
            insert(&mut cache, A, index);
            insert(&mut cache, B, index);
        }
        assert_eq!(cache.drop_version(A).len(), 3);
        assert!(!cache.holds_any(A));
        assert!((0..3).all(|index| holds(&cache, B, index)));
        assert_eq!(cache.bytes, 3 * (BLOCK_LEN + OVERHEAD_LEN));
    }

    #[test]
    fn tiny_blocks_are_counted_with_what_they_cost_beside_their_bytes() {
        let mut cache = BlockCache::new(0);
        for index in 0..20_000 {
            cache.insert(A, BlockIndex(index).offset(), Block::from([0]), 1);
        }
        assert!(cache.blocks.len() * OVERHEAD_LEN <= BYTES_MIN);
        assert_eq!(cache.versions[&A].len(), cache.blocks.len());
    }

    #[test]
    fn range_is_covered_only_where_each_of_its_bytes_is_there() {
        let mut cache = BlockCache::new(4 << 20);
        let mut insert = |range: Range<u64>| {
            let bytes = vec![1; (range.end - range.start) as usize].into();
            cache.insert(A, range.start, bytes, BLOCK_LEN).0.is_some()
        };
        assert!(!insert(4096..8192));
        assert!(!insert(8192..12_288));
        assert!(!insert(20_000..20_001));
        assert!(cache.covers(A, 4096..12_288));
        assert!(cache.covers(A, 20_000..20_001));
        for absent in [0..4096, 4095..4097, 12_287..12_289, 12_000..20_001, 20_000..20_002] {
            assert!(!cache.covers(A, absent.clone()), "{absent:?}");
        }
        assert!(!cache.covers(B, 4096..8192));
    }

    proptest! {
        /// Parts in any order, over each other or apart, of two blocks: what is there is what a plain list of bytes says, and the block is
        /// handed out exactly once, when its last byte has come.
        #[test]
        fn parts_of_a_block_are_the_bytes_that_came(
            parts in prop::collection::vec((0..2 * BLOCK_LEN, 1..80_000_usize), 1..40),
        ) {
            let content: Vec<u8> = (0..2 * BLOCK_LEN).map(|place| (place % 251) as u8).collect();
            let mut cache = BlockCache::new(4 << 20);
            let mut is_there = vec![false; content.len()];
            for (start, len) in parts {
                let index = BlockIndex::containing(start as u64);
                let block = index.offset() as usize..index.next().offset() as usize;
                let end = (start + len).min(block.end);
                let was_whole = is_there[block.clone()].iter().all(|there| *there);
                is_there[start..end].fill(true);
                let is_whole = is_there[block.clone()].iter().all(|there| *there);
                let (whole, _) = cache.insert(A, start as u64, content[start..end].into(), BLOCK_LEN);
                if end - start < BLOCK_LEN {
                    prop_assert_eq!(whole.is_some(), is_whole && !was_whole);
                }
                prop_assert!(whole.is_none_or(|whole| *whole == content[block.clone()]));
            }
            let mut found = vec![false; content.len()];
            for index in 0..2 {
                for (start, bytes) in cache.get(A, BlockIndex(index)) {
                    let range = *start as usize..*start as usize + bytes.len();
                    prop_assert_eq!(&content[range.clone()], &**bytes);
                    prop_assert!(!found[range.clone()].contains(&true));
                    found[range].fill(true);
                }
            }
            prop_assert_eq!(found, is_there);
            let held: usize = (0..2).flat_map(|index| cache.get(A, BlockIndex(index)).to_vec()).map(|(_, bytes)| bytes.len() + OVERHEAD_LEN).sum();
            prop_assert_eq!(cache.bytes, held);
        }
    }
}

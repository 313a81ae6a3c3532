//! Pieces of files in memory; the least recently used goes first.
//!
//! A block belongs to one version of one file (`VersionId`), so two contents of a file never meet in one read.
//! What goes out is handed to the caller, who frees it once no lock is held: 128 KiB each, they are not free to free.
//!
//! Not here: which version a read means and who fetches what is missing (`reader`).

use std::collections::{HashMap, HashSet};
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
        self.plus(1)
    }

    /// The one `count` blocks further on.
    pub(super) fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// All from this one up to, not including, `end`.
    pub(super) fn up_to(self, end: Self) -> impl Iterator<Item = Self> {
        (self.0..end.0).map(Self)
    }
}

/// One version of one file; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VersionId(pub(super) u64);

/// Blocks of all files, bounded in bytes.
pub(super) struct BlockCache {
    blocks: LruCache<(VersionId, BlockIndex), Block>,
    /// What `blocks` holds of each version, so that all of one can go without a look at the others.
    versions: HashMap<VersionId, HashSet<BlockIndex>>,
    bytes: usize,
    bytes_max: usize,
}

impl BlockCache {
    /// An empty cache of at most `bytes_max`, but at least 1 MiB.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { blocks: LruCache::unbounded(), versions: HashMap::new(), bytes: 0, bytes_max: bytes_max.max(BYTES_MIN) }
    }

    /// Gets a block, which makes it the most recently used.
    pub(super) fn get(&mut self, version: VersionId, index: BlockIndex) -> Option<Block> {
        self.blocks.get(&(version, index)).cloned()
    }

    /// Whether it is here; changes nothing.
    pub(super) fn contains(&self, version: VersionId, index: BlockIndex) -> bool {
        self.blocks.contains(&(version, index))
    }

    /// Whether any block of `version` is here.
    pub(super) fn holds_any(&self, version: VersionId) -> bool {
        self.versions.contains_key(&version)
    }

    /// Bytes held, with what they cost beside; and the most there may be.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.bytes, self.bytes_max)
    }

    /// Keeps a block, and returns those that had to go for it.
    pub(super) fn insert(&mut self, version: VersionId, index: BlockIndex, block: Block) -> Vec<Block> {
        self.bytes += cost(&block);
        self.versions.entry(version).or_default().insert(index);
        let mut evicted = Vec::new();
        if let Some(replaced) = self.blocks.put((version, index), block) {
            self.bytes -= cost(&replaced);
            evicted.push(replaced);
        }
        while self.bytes > self.bytes_max {
            let Some(((version, index), block)) = self.blocks.pop_lru() else { break };
            self.bytes -= cost(&block);
            evicted.push(block);
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
        let dropped: Vec<Block> = indexes.into_iter().filter_map(|index| self.blocks.pop(&(version, index))).collect();
        self.bytes -= dropped.iter().map(cost).sum::<usize>();
        dropped
    }
}

fn cost(block: &Block) -> usize {
    block.len() + OVERHEAD_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: VersionId = VersionId(1);
    const B: VersionId = VersionId(2);

    fn block() -> Block {
        vec![0; BLOCK_LEN].into()
    }

    #[test]
    fn least_recently_used_block_goes_first_and_the_bound_holds() {
        let mut cache = BlockCache::new(BYTES_MIN);
        for index in 0..8 {
            assert!(cache.insert(A, BlockIndex(index), block()).is_empty());
        }
        assert!(cache.get(A, BlockIndex(0)).is_some());
        assert_eq!(cache.insert(B, BlockIndex(0), block()).len(), 1);
        assert!(cache.contains(A, BlockIndex(0)));
        assert!(!cache.contains(A, BlockIndex(1)));
        assert!(cache.bytes <= BYTES_MIN);
    }

    #[test]
    fn dropped_version_leaves_the_other_one_whole() {
        let mut cache = BlockCache::new(4 << 20);
        for index in 0..3 {
            cache.insert(A, BlockIndex(index), block());
            cache.insert(B, BlockIndex(index), block());
        }
        assert_eq!(cache.drop_version(A).len(), 3);
        assert!(!cache.holds_any(A));
        assert!((0..3).all(|index| cache.contains(B, BlockIndex(index))));
        assert_eq!(cache.bytes, 3 * cost(&block()));
    }

    #[test]
    fn tiny_blocks_are_counted_with_what_they_cost_beside_their_bytes() {
        let mut cache = BlockCache::new(0);
        for index in 0..20_000 {
            cache.insert(A, BlockIndex(index), Block::from([0]));
        }
        assert!(cache.blocks.len() * OVERHEAD_LEN <= BYTES_MIN);
        assert_eq!(cache.versions[&A].len(), cache.blocks.len());
    }
}

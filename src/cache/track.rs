//! One version of one file: who waits for which of its blocks, and the streams that bring them.
//!
//! Not here: the blocks themselves (`blocks`), bounds over all files (`reader`).

use std::sync::Arc;
use std::time::Instant;

use super::blocks::{BLOCK_LEN, Block, BlockIndex, VersionId};
use super::disk::DiskEntry;
use super::readahead::{Access, NEAR_LEN, Pattern};
use super::reader::Done;
use super::streams::{Phase, Stream};
use super::version::FileVersion;
use crate::protocol::RemotePath;

/// A read that waits for blocks. It holds those that have come, so that none of them can go again meanwhile.
pub(super) struct WaitingRead {
    pub(super) number: u64,
    pub(super) pieces: Pieces,
    pub(super) done: Done,
}

/// The blocks of a range, as far as they are there.
pub(super) struct Pieces {
    offset: u64,
    end: u64,
    first: BlockIndex,
    blocks: Vec<Option<Block>>,
    missing: usize,
}

impl Pieces {
    /// The blocks of `offset..end`, as far as `get` has them.
    pub(super) fn gather(offset: u64, end: u64, get: impl FnMut(BlockIndex) -> Option<Block>) -> Self {
        let first = BlockIndex::containing(offset);
        let blocks: Vec<Option<Block>> = first.up_to(BlockIndex::end_of(end)).map(get).collect();
        let missing = blocks.iter().filter(|block| block.is_none()).count();
        Self { offset, end, first, blocks, missing }
    }

    /// Whether all of them are there.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes a block if it is one that is missing.
    pub(super) fn insert(&mut self, index: BlockIndex, block: &Block) {
        let Some(place) = index.0.checked_sub(self.first.0) else { return };
        let Some(slot) = usize::try_from(place).ok().and_then(|place| self.blocks.get_mut(place)) else { return };
        if slot.is_none() {
            *slot = Some(Block::clone(block));
            self.missing -= 1;
        }
    }

    /// Those that are not there yet, in order.
    fn missing(&self) -> impl Iterator<Item = BlockIndex> {
        let absent = |(place, block): (u64, &Option<Block>)| block.is_none().then(|| self.first.plus(place));
        (0..).zip(&self.blocks).filter_map(absent)
    }

    /// The range's bytes, once it [is complete](Self::is_complete): the one copy on their way.
    pub(super) fn join(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.end - self.offset).unwrap_or(0));
        for (index, block) in (self.first.0..).map(BlockIndex).zip(self.blocks.iter().flatten()) {
            let start = self.offset.saturating_sub(index.offset()).min(BLOCK_LEN as u64);
            let end = self.end.saturating_sub(index.offset()).min(block.len() as u64);
            // Both are at most a block's length, which fits any usize.
            bytes.extend_from_slice(block.get(start as usize..end as usize).unwrap_or_default());
        }
        bytes
    }
}

/// One version of one file, as long as blocks, streams or reads of it are there.
pub(super) struct Track {
    pub(super) id: VersionId,
    pub(super) path: RemotePath,
    pub(super) version: FileVersion,
    pub(super) pattern: Pattern,
    pub(super) streams: Vec<Stream>,
    pub(super) waiting: Vec<WaitingRead>,
    /// When the server was last known to have this version; whoever reads it first has just opened it.
    pub(super) confirmed: Instant,
    /// Streams that failed since a block last came.
    pub(super) failures: usize,
    /// A read waits for a stream that could not be started, for there are too many.
    pub(super) is_short_of_streams: bool,
    /// What the local disk has of it, where it is kept there.
    pub(super) disk: Option<Arc<DiskEntry>>,
}

impl Track {
    /// A version that nothing is known of yet.
    pub(super) fn new(id: VersionId, path: RemotePath, version: FileVersion) -> Self {
        Self {
            id,
            path,
            version,
            pattern: Pattern::default(),
            streams: Vec::new(),
            waiting: Vec::new(),
            confirmed: Instant::now(),
            failures: 0,
            is_short_of_streams: false,
            disk: None,
        }
    }

    /// The end of the file in blocks.
    pub(super) fn end(&self) -> BlockIndex {
        BlockIndex::end_of(self.version.size)
    }

    /// A block's length: only the last one is short.
    pub(super) fn block_len(&self, index: BlockIndex) -> usize {
        let rest = self.version.size.saturating_sub(index.offset());
        usize::try_from(rest).unwrap_or(usize::MAX).min(BLOCK_LEN)
    }

    /// The stream of this number.
    pub(super) fn stream(&mut self, number: u64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.number == number)
    }

    /// Shares out to the streams what reads wait for; returns the first block that none of them can bring.
    pub(super) fn assign(&mut self) -> Option<BlockIndex> {
        for stream in &mut self.streams {
            stream.demand_end = stream.position;
        }
        let mut first_unserved = None;
        for index in self.waiting.iter().flat_map(|read| read.pieces.missing()) {
            match nearest(&mut self.streams, index) {
                Some(stream) => stream.demand(index),
                None => first_unserved = first_unserved.or(Some(index)),
            }
        }
        first_unserved
    }

    /// Takes out the reads that wait for a block which no stream brings; [`Self::assign`] comes before.
    pub(super) fn take_unserved(&mut self) -> Vec<WaitingRead> {
        let streams = &self.streams;
        let is_served = |index| streams.iter().any(|stream| stream.position <= index && index < stream.demand_end);
        self.waiting.extract_if(.., |read| !read.pieces.missing().all(is_served)).collect()
    }

    /// Takes note of a read of `offset..end`, and lets the stream that it follows go on ahead of it.
    pub(super) fn note(&mut self, offset: u64, end: u64, was_missing: bool, window_len_max: u64, now: Instant) {
        let access = self.pattern.note(offset, end);
        let size = self.version.size;
        let Some(stream) = followed(&mut self.streams, offset, end) else { return };
        stream.last_used = now;
        if access == Access::InOrder {
            stream.in_order = true;
            if was_missing && stream.phase == Phase::Flowing {
                stream.window_len = stream.window_len.saturating_mul(2).min(window_len_max);
            }
            let window_end = end.saturating_add(stream.window_len).min(size);
            stream.goal = stream.goal.max(BlockIndex::end_of(window_end));
        }
    }

    /// The streams that have work though they are parked, set going again; their threads are to be woken.
    pub(super) fn resume(&mut self) -> Vec<std::thread::Thread> {
        let parked = self.streams.iter_mut().filter(|stream| stream.phase == Phase::Parked && stream.has_work());
        parked
            .filter_map(|stream| {
                stream.phase = Phase::Flowing;
                stream.wake()
            })
            .collect()
    }
}

/// The stream that brings `index` soonest. One that has not asked for its offset yet is moved back for it, by no
/// more than what counts as near.
fn nearest(streams: &mut [Stream], index: BlockIndex) -> Option<&mut Stream> {
    let place = (0..).zip(streams.iter()).filter(|(_, stream)| stream.can_bring(index));
    if let Some((place, _)) = place.max_by_key(|(_, stream)| stream.position) {
        return streams.get_mut::<usize>(place);
    }
    let near = BlockIndex::containing(NEAR_LEN).0;
    let starting = streams.iter_mut().find(|stream| {
        stream.phase == Phase::Starting && index < stream.position && stream.position.0 - index.0 <= near
    })?;
    starting.position = index;
    Some(starting)
}

/// The stream that a reader of `offset..end` follows: the one whose position is nearest to it, no further ahead
/// than its window and no further behind than what is read through rather than skipped.
fn followed(streams: &mut [Stream], offset: u64, end: u64) -> Option<&mut Stream> {
    let is_followed = |stream: &&mut Stream| {
        let position = stream.position.offset();
        !stream.yielding
            && position <= end.saturating_add(stream.window_len).saturating_add(NEAR_LEN)
            && position.saturating_add(NEAR_LEN) >= offset
    };
    streams.iter_mut().filter(is_followed).min_by_key(|stream| stream.position.offset().abs_diff(end))
}

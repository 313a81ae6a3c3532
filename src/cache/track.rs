//! One version of one file: who waits for which of its blocks, and the streams that bring them.
//!
//! Not here: the blocks themselves (`blocks`), bounds over all files (`reader`).

use std::ops::Range;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Instant;

use super::blocks::{BLOCK_LEN, BlockIndex, VersionId};
use super::disk::DiskEntry;
use super::pieces::Pieces;
use super::readahead::{Access, NEAR_LEN, Pattern, page_start};
use super::reader::Done;
use super::streams::{Kind, Phase, Stream};
use super::version::FileVersion;
use super::width::Width;
use crate::protocol::RemotePath;

/// A read that waits for blocks. It holds those that have come, so that none of them can go again meanwhile.
pub(super) struct WaitingRead {
    pub(super) number: u64,
    pub(super) pieces: Pieces,
    pub(super) done: Done,
}

/// One version of one file, as long as blocks, streams or reads of it are there.
pub(super) struct Track {
    pub(super) id: VersionId,
    pub(super) path: RemotePath,
    pub(super) version: FileVersion,
    pub(super) pattern: Pattern,
    pub(super) streams: Vec<Stream>,
    pub(super) waiting: Vec<WaitingRead>,
    /// When the server was last known to have this version; `None` where nobody has said so: it is asked before anything is read.
    pub(super) confirmed: Option<Instant>,
    /// Streams that failed since a block last came.
    pub(super) failures: usize,
    /// A read waits for a stream that could not be started, for there are too many.
    pub(super) is_short_of_streams: bool,
    /// How many streams its reader in order uses.
    pub(super) width: Width,
    /// Where that reader is.
    pub(super) reader_end: u64,
    /// The end of what was given to streams for it.
    pub(super) given_end: u64,
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
            confirmed: None,
            failures: 0,
            is_short_of_streams: false,
            width: Width::default(),
            reader_end: 0,
            given_end: 0,
            disk: None,
        }
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

    /// Shares out to the streams what reads wait for; returns the first run of bytes that none of them brings.
    pub(super) fn assign(&mut self) -> Option<Range<u64>> {
        for stream in &mut self.streams {
            stream.demand_end = stream.position;
        }
        let mut first_unserved = None;
        for read in &self.waiting {
            for mut range in read.pieces.missing() {
                while !range.is_empty() {
                    let Some(stream) = nearest(&mut self.streams, range.start) else { break };
                    range.start = stream.demand(&range);
                }
                if first_unserved.is_none() && !range.is_empty() {
                    first_unserved = Some(range.start..read.pieces.run_end(range.start));
                }
            }
        }
        first_unserved
    }

    /// Takes out the reads that wait for bytes which no stream brings; [`Self::assign`] comes before.
    pub(super) fn take_unserved(&mut self) -> Vec<WaitingRead> {
        let streams = &self.streams;
        let is_served = |range: Range<u64>| {
            let mut from = range.start;
            while from < range.end {
                let serving = streams.iter().filter(|stream| stream.position <= from && from < stream.demand_end);
                let Some(end) = serving.map(|stream| stream.demand_end).max() else { return false };
                from = end;
            }
            true
        };
        self.waiting.extract_if(.., |read| !read.pieces.missing().all(is_served)).collect()
    }

    /// Takes note of a read of `offset..end`.
    pub(super) fn note(&mut self, offset: u64, end: u64) -> Access {
        let access = self.pattern.note(offset, end);
        match access {
            Access::InOrder => self.reader_end = self.reader_end.max(end),
            Access::Jump => {
                self.end_stripes();
                self.reader_end = end;
            }
        }
        access
    }

    /// Lets one stream do again for reading in order; stripes serve those who wait already, and end.
    pub(super) fn end_stripes(&mut self) {
        self.width = Width::default();
        self.given_end = 0;
        let size = self.version.size;
        for stream in &mut self.streams {
            match stream.kind {
                Kind::InOrder => stream.end = size,
                Kind::Pick => {}
                Kind::Stripe => stream.give_way(),
            }
        }
    }

    /// Lets the stream that the reader of `offset..end` follows go on ahead of it.
    pub(super) fn follow(&mut self, access: Access, offset: u64, end: u64, was_missing: bool, window_len_max: u64) {
        let Some(stream) = followed(&mut self.streams, offset, end) else { return };
        stream.last_used = Instant::now();
        if access == Access::InOrder {
            stream.in_order = true;
            if was_missing && stream.phase == Phase::Flowing {
                stream.window_len = stream.window_len.saturating_mul(2).min(window_len_max);
            }
            let window_end = BlockIndex::end_of(end.saturating_add(stream.window_len)).offset();
            stream.goal = stream.goal.max(window_end.min(stream.end));
        }
    }

    /// The streams that wait for a reader in order, where the file has turned out to be read at random: they are held no longer.
    pub(super) fn take_left(&mut self) -> Vec<Stream> {
        let is_random = self.pattern.is_random();
        let is_left = |stream: &mut Stream| is_random && stream.phase == Phase::Parked && !stream.in_order;
        self.streams.extract_if(.., is_left).collect()
    }

    /// The streams that have work though they are parked, set going again; their threads are to be woken.
    pub(super) fn resume(&mut self) -> Vec<Thread> {
        let parked = self.streams.iter_mut().filter(|stream| stream.phase == Phase::Parked && stream.has_work());
        parked
            .filter_map(|stream| {
                stream.phase = Phase::Flowing;
                stream.wake()
            })
            .collect()
    }
}

/// The stream that brings the byte at `offset` soonest. One that has not asked for its offset yet is moved back for it, by no
/// more than what counts as near.
fn nearest(streams: &mut [Stream], offset: u64) -> Option<&mut Stream> {
    let place = (0..).zip(streams.iter()).filter(|(_, stream)| stream.can_bring(offset));
    if let Some((place, _)) = place.max_by_key(|(_, stream)| stream.position) {
        return streams.get_mut::<usize>(place);
    }
    let starting = streams.iter_mut().find(|stream| {
        let is_behind = offset < stream.position && stream.position - offset <= NEAR_LEN;
        stream.phase == Phase::Starting && stream.kind == Kind::InOrder && is_behind
    })?;
    starting.position = page_start(offset);
    Some(starting)
}

/// The stream that a reader of `offset..end` follows: the one whose position is nearest to it, no further ahead
/// than its window and no further behind than what is read through rather than skipped.
fn followed(streams: &mut [Stream], offset: u64, end: u64) -> Option<&mut Stream> {
    let is_followed = |stream: &&mut Stream| {
        !stream.yielding
            && stream.kind == Kind::InOrder
            && stream.position <= end.saturating_add(stream.window_len).saturating_add(NEAR_LEN)
            && stream.position.saturating_add(NEAR_LEN) >= offset
    };
    streams.iter_mut().filter(is_followed).min_by_key(|stream| stream.position.abs_diff(end))
}

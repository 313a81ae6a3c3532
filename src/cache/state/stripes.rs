//! Several streams for one long read in order, each on a range of its own: where one connection does not fill the link.
//!
//! Only for a reader who is alone: as soon as a stream of another file begins, or a connection is wanted, one stream has to do again.
//! Every stripe is of the version that was opened, and begins as any stream does: with the question whether that is still there.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Effects, FileId, Outcome, State, Stream, StreamKey, VersionId, find};
use crate::cache::blocks::BlockIndex;
use crate::cache::streams::Kind;
use crate::cache::width::{Arrival, STRIPE_LEN_MIN};
use crate::remote::RemoteError;

/// For how long none is begun after one had no connection or had to give it up.
const PAUSE: Duration = Duration::from_secs(10);

/// The same after one that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(300);

impl State {
    /// Takes note of bytes that have come for a reader in order, and acts on what is found by it.
    pub(super) fn measure(&mut self, key: StreamKey, range: &Range<u64>, now: Instant, effects: &mut Effects) {
        let may_be_striped = self.may_be_striped(key.file, key.version, now);
        let Some(track) = find(&mut self.tracks, key.file, key.version) else { return };
        let size = track.version.size;
        let is_open = |stream: &&Stream| stream.kind == Kind::InOrder && stream.end >= size;
        let is_in_order = |stream: &Stream| stream.kind == Kind::Stripe || stream.in_order;
        // Two of them are two readers.
        if !may_be_striped || track.streams.iter().filter(is_open).count() > 1 || !track.streams.iter().any(is_in_order)
        {
            return track.width.interrupt();
        }
        let given = track.streams.iter().filter(|stream| stream.end < size).map(|stream| stream.end).max();
        let arrival = Arrival {
            len: range.end - range.start,
            is_awaited: !track.waiting.is_empty(),
            streams: track.streams.len(),
            rest: size.saturating_sub(given.unwrap_or(range.end)),
            now,
        };
        let before = track.width.get();
        track.width.note(arrival, &mut self.found_width, &self.options.width);
        let width = track.width.get();
        if width > before {
            self.extend_stripes(key.file, key.version, effects);
        }
    }

    /// Whether this is the one reader that there is, and nothing speaks against more streams for it.
    fn may_be_striped(&self, file: FileId, version: VersionId, now: Instant) -> bool {
        let is_alone = self.active.iter().all(|key| (key.file, key.version) == (file, version));
        is_alone && self.hungry.is_empty() && self.no_stripes_until.is_none_or(|until| until <= now)
    }

    /// Begins the stripes that are wanted ahead of the reader and are not under way.
    pub(super) fn extend_stripes(&mut self, file: FileId, version: VersionId, effects: &mut Effects) {
        loop {
            let Some(track) = find(&mut self.tracks, file, version) else { return };
            let (width, size) = (track.width.get(), track.version.size);
            if width < 2 || track.streams.len() >= width {
                return;
            }
            let len = block_end(track.width.stripe_len(self.window_len_max));
            // The stream that has brought all so far becomes the first of them.
            let mut heads = track
                .streams
                .iter_mut()
                .filter(|stream| stream.kind == Kind::InOrder && stream.end >= size && !stream.yielding);
            if let Some(head) = heads.next() {
                head.end = block_end(head.position.max(head.demand_end).saturating_add(len)).min(size);
                head.goal = head.end;
                track.given_end = track.given_end.max(head.end);
            }
            let start = track.given_end.max(block_end(track.reader_end));
            let far = track.reader_end.saturating_add(len.saturating_mul(width as u64));
            let is_full = self.active.len() >= self.options.streams_max || self.threads >= 2 * self.options.streams_max;
            if start >= size || start >= far || is_full || !self.may_be_striped(file, version, Instant::now()) {
                return;
            }
            // Towards the end shorter ones, so that all of them have something to do up to it.
            let share = block_end((size - start) / width as u64).max(STRIPE_LEN_MIN);
            let wanted = start..start.saturating_add(len.min(share)).min(size);
            if self.blocks.covers(version, wanted.clone()) {
                let Some(track) = find(&mut self.tracks, file, version) else { return };
                track.given_end = wanted.end;
                continue;
            }
            let number = self.number();
            let stream = Stream::new(number, &wanted, size, Kind::Stripe, self.window_len_max);
            let Some(track) = find(&mut self.tracks, file, version) else { return };
            track.given_end = wanted.end;
            self.striped = Some((file, version));
            self.start(StreamKey { file, version, number }, stream, Duration::ZERO, effects);
        }
    }

    /// A stream of this file begins: another one that is read by several gives way to it.
    pub(super) fn end_stripes_of_others(&mut self, file: FileId, version: VersionId) {
        if let Some(striped) = self.striped.take_if(|striped| *striped != (file, version))
            && let Some(track) = find(&mut self.tracks, striped.0, striped.1)
        {
            track.end_stripes();
        }
    }

    /// Whether the stream whose thread ends is a stripe that is held. One that had no connection, or has failed, is a sign to leave it at one
    /// stream for a while.
    pub(super) fn stripe_over(&mut self, key: StreamKey, outcome: &Outcome) -> bool {
        let Some(track) = find(&mut self.tracks, key.file, key.version) else { return false };
        let Some(stream) = track.stream(key.number).filter(|stream| stream.kind == Kind::Stripe) else { return false };
        let is_complete = stream.position >= stream.end;
        match outcome {
            Outcome::Stopped if is_complete => {}
            Outcome::Stopped => self.pause_stripes(key, PAUSE),
            Outcome::Failed(RemoteError::Changed) => {}
            Outcome::Failed(error) => {
                tracing::debug!(%error, "a further stream for a long read failed");
                self.pause_stripes(key, PAUSE_AFTER_FAILURE);
            }
        }
        true
    }

    /// The connection of this stream is needed elsewhere: if it is a stripe, so may be those of the others.
    pub(super) fn stripe_is_wanted(&mut self, key: StreamKey) {
        let track = find(&mut self.tracks, key.file, key.version);
        let stream = track.and_then(|track| track.stream(key.number));
        if stream.is_some_and(|stream| stream.kind == Kind::Stripe) {
            self.pause_stripes(key, PAUSE);
        }
    }

    /// Leaves it at one stream for so long. The stripes see it at their next block.
    fn pause_stripes(&mut self, key: StreamKey, pause: Duration) {
        self.no_stripes_until = Instant::now().checked_add(pause);
        if let Some(track) = find(&mut self.tracks, key.file, key.version) {
            track.end_stripes();
        }
    }
}

fn block_end(offset: u64) -> u64 {
    BlockIndex::end_of(offset).offset()
}

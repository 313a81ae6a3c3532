//! What the reader knows, behind its one lock: blocks, tracks, streams, and when who has waited long enough.
//!
//! Nothing here waits or calls out; [`Effects`] takes what has to happen once the lock is released.
//!
//! The bounds: blocks by the cache's bytes; streams by `streams_max`, their threads by twice that (a stream that is
//! given up may still wait for the server, at most for the server's own deadlines); reads that wait by
//! [`WAITING_MAX`], with the blocks they hold. A stream beside that owns the one block that it is filling.

mod room;
mod stripes;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::blocks::{BLOCK_LEN, Block, BlockCache, BlockIndex, VersionId, by_block};
use super::disk::DiskEntry;
use super::effects::{Effects, StreamStart};
use super::pieces::Pieces;
use super::readahead::{NEAR_LEN, PARTS_MAX, PICK_LEN_MAX, SMALL_REST_LEN};
use super::reader::{Done, FileId, ReaderOptions, ReaderUsage};
use super::streams::{Beginning, Kind, Outcome, Phase, Step, Stream, StreamKey};
use super::track::{Track, WaitingRead};
use super::version::FileVersion;
use super::width::FoundWidth;
use crate::protocol::RemotePath;
use crate::remote::RemoteError;
use room::{Room, Wish};

/// Reads that may wait at once; the kernel sends a few hundred at most. One more is refused.
const WAITING_MAX: usize = 4096;

/// How long to wait before the next attempt, after the first, second, third failure in a row; then it is given up.
/// What can be cured by a new connection at once has been tried below already.
const RETRY_DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];

/// So many tracks are kept before those of no more use are looked for.
const SWEEP_AT_MIN: usize = 1024;

/// A read that waits, and until when.
struct Deadline {
    at: Instant,
    file: FileId,
    version: VersionId,
}

/// See the module's documentation.
pub(super) struct State {
    options: ReaderOptions,
    window_len_max: u64,
    blocks: BlockCache,
    /// The versions of each file, the newest last.
    tracks: HashMap<FileId, Vec<Track>>,
    /// The streams that the tracks hold.
    active: Vec<StreamKey>,
    /// Threads of streams, also of those that no track holds any more.
    threads: usize,
    /// Tracks that could not start a stream, in order; and whether another one is to give way for that.
    hungry: Vec<(FileId, VersionId, bool)>,
    /// The reads that wait, by number: all wait equally long, so the first one's deadline is the next.
    deadlines: BTreeMap<u64, Deadline>,
    next_number: u64,
    /// Who reads with several streams.
    striped: Option<(FileId, VersionId)>,
    found_width: FoundWidth,
    no_stripes_until: Option<Instant>,
    sweep_at: usize,
    closed: bool,
}

impl State {
    /// Nothing cached, nobody waiting.
    pub(super) fn new(options: ReaderOptions) -> Self {
        let streams_max = options.streams_max.max(1);
        // Half of the cache for all windows together, so that what one reader has fetched ahead is not pushed
        // out by another before it is read.
        let window_len_max = options.window_bytes_max.min(options.cache_bytes_max / 2 / streams_max);
        Self {
            window_len_max: window_len_max as u64,
            blocks: BlockCache::new(options.cache_bytes_max),
            options: ReaderOptions { streams_max, ..options },
            tracks: HashMap::new(),
            active: Vec::new(),
            threads: 0,
            hungry: Vec::new(),
            deadlines: BTreeMap::new(),
            next_number: 0,
            striped: None,
            found_width: FoundWidth::default(),
            no_stripes_until: None,
            sweep_at: SWEEP_AT_MIN,
            closed: false,
        }
    }

    /// The range `offset..end` if every block of it is here.
    pub(super) fn get(
        &mut self,
        file: FileId,
        version: &FileVersion,
        offset: u64,
        end: u64,
        effects: &mut Effects,
    ) -> Option<Pieces> {
        let track = self.tracks.get_mut(&file)?.iter_mut().rfind(|track| track.version.agrees_with(version))?;
        let pieces = Pieces::gather(offset..end, &mut self.blocks, track.id);
        if !pieces.is_complete() {
            return None;
        }
        let access = track.note(offset, end);
        track.follow(access, offset, end, false, self.window_len_max);
        effects.wake(track.resume());
        let id = track.id;
        self.extend_stripes(file, id, effects);
        Some(pieces)
    }

    /// Whether every block of a version is here.
    pub(super) fn holds(&self, file: FileId, version: &FileVersion) -> bool {
        let mut tracks = self.tracks.get(&file).into_iter().flatten();
        let track = tracks.rfind(|track| track.version.agrees_with(version));
        track.is_some_and(|track| self.blocks.covers(track.id, 0..version.size))
    }

    /// Takes in all bytes of a version, which the server had at `confirmed`; false where they are not kept.
    pub(super) fn insert(
        &mut self,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        bytes: &[u8],
        confirmed: Instant,
        effects: &mut Effects,
    ) -> bool {
        let is_read = |track: &Track| !track.streams.is_empty() || !track.waiting.is_empty();
        let tracks = || self.tracks.get(&file).into_iter().flatten();
        if bytes.len() as u64 != version.size
            || tracks().any(|track| is_read(track) && !track.version.agrees_with(version))
        {
            return false;
        }
        if !self.ensure_track(file, path, version, effects) {
            return false;
        }
        let Some(track) = self.tracks.get_mut(&file).and_then(|tracks| tracks.last_mut()) else { return false };
        track.confirmed = track.confirmed.max(Some(confirmed));
        let id = track.id;
        for (index, block) in (0..).map(BlockIndex).zip(bytes.chunks(BLOCK_LEN)) {
            let block: Block = block.into();
            serve(track, &mut self.deadlines, index.offset(), &block, effects);
            let len = track.block_len(index);
            effects.free(self.blocks.insert(id, index.offset(), block, len).1);
        }
        track.assign();
        true
    }

    /// Puts a read among those that wait, and sees to it that a stream brings what it needs.
    #[expect(clippy::too_many_arguments, reason = "a read's own words; a struct would only repeat them")]
    pub(super) fn wait(
        &mut self,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        offset: u64,
        end: u64,
        done: Done,
        effects: &mut Effects,
    ) {
        if self.deadlines.len() >= WAITING_MAX {
            return effects.fail(done, RemoteError::Failed { reason: "too many reads wait already".into() });
        }
        let number = self.number();
        let window_len_max = self.window_len_max;
        let is_newest = self.ensure_track(file, path, version, effects);
        let Some(track) =
            self.tracks.get_mut(&file).and_then(|all| all.iter_mut().rfind(|track| track.version.agrees_with(version)))
        else {
            return effects.fail(done, RemoteError::Changed);
        };
        let id = track.id;
        let pieces = Pieces::gather(offset..end, &mut self.blocks, id);
        let read = WaitingRead { number, pieces, done };
        if read.pieces.is_complete() {
            return effects.answer(read);
        }
        if !is_newest {
            // The server would send the newer one's bytes.
            return effects.fail(read.done, RemoteError::Changed);
        }
        track.waiting.push(read);
        let access = track.note(offset, end);
        for stream in track.take_left() {
            self.active.retain(|active| active.number != stream.number);
            effects.wake(stream.wake());
        }
        effects.deadlines_changed |= self.deadlines.is_empty();
        self.deadlines.insert(number, Deadline { at: Instant::now() + self.options.deadline, file, version: id });
        self.plan(file, id, effects);
        if let Some(track) = find(&mut self.tracks, file, id) {
            track.follow(access, offset, end, true, window_len_max);
            effects.wake(track.resume());
        }
        self.extend_stripes(file, id, effects);
    }

    /// The server had this version at `asked`: what an open was told.
    pub(super) fn opened(
        &mut self,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        asked: Instant,
        effects: &mut Effects,
    ) {
        if self.ensure_track(file, path, version, effects)
            && let Some(track) = self.tracks.get_mut(&file).and_then(|tracks| tracks.last_mut())
        {
            track.confirmed = track.confirmed.max(Some(asked));
        }
    }

    /// The version of a stream's track, where it is too long ago that the server was known to have it.
    pub(super) fn unconfirmed(&mut self, key: StreamKey, now: Instant) -> Option<FileVersion> {
        self.confirmed_before(key, self.options.version_ttl, now)
    }

    /// Whether that would be so when half of the time is over that it may hold: as long as a transfer may take to begin.
    pub(super) fn is_confirmation_due(&mut self, key: StreamKey, now: Instant) -> bool {
        self.confirmed_before(key, self.options.version_ttl / 2, now).is_some()
    }

    fn confirmed_before(&mut self, key: StreamKey, age_max: Duration, now: Instant) -> Option<FileVersion> {
        let track = find(&mut self.tracks, key.file, key.version)?;
        let is_old = |confirmed| now.saturating_duration_since(confirmed) > age_max;
        track.confirmed.is_none_or(is_old).then(|| track.version.clone())
    }

    /// The server had the version of this stream's track at `asked`.
    pub(super) fn confirmed(&mut self, key: StreamKey, asked: Instant) {
        if let Some(track) = find(&mut self.tracks, key.file, key.version) {
            track.confirmed = track.confirmed.max(Some(asked));
        }
    }

    /// A stream's thread has started; what it is to bring. `None` where it is of no more use.
    pub(super) fn stream_begins(&mut self, key: StreamKey, thread: Thread) -> Option<Beginning> {
        let track = find(&mut self.tracks, key.file, key.version)?;
        let size = track.version.size;
        let version = track.version.clone();
        let range = track.stream(key.number)?.begin(thread);
        let kind = track.stream(key.number)?.kind;
        Some(Beginning { kind, is_to_the_end: range.end >= size, range, version })
    }

    /// What a stream does next. One that stops is not held from then on, so no read relies on it.
    pub(super) fn next_step(&mut self, key: StreamKey, is_wanted: bool, now: Instant) -> Step {
        let is_wanted = is_wanted || self.pressing() > self.yielding();
        if is_wanted {
            self.stripe_is_wanted(key);
        }
        let step = self.find_step(key, is_wanted, now);
        if step == Step::Stop {
            self.remove_stream(key);
        }
        step
    }

    fn find_step(&mut self, key: StreamKey, is_wanted: bool, now: Instant) -> Step {
        let Some(track) = find(&mut self.tracks, key.file, key.version) else { return Step::Stop };
        let (size, is_random) = (track.version.size, track.pattern.is_random());
        let is_wanted = is_wanted || (track.is_short_of_streams && !track.streams.iter().any(|stream| stream.yielding));
        let disk = track.disk.clone();
        let Some(stream) = track.stream(key.number) else { return Step::Stop };
        if is_wanted || stream.yielding {
            stream.give_way();
        }
        let rest_len = size.saturating_sub(stream.position);
        if stream.position >= stream.goal && !stream.yielding && rest_len <= SMALL_REST_LEN {
            stream.goal = stream.end;
        }
        if stream.has_work() {
            // What lies here already is read once more where little of it is in the way; where much is, another
            // stream behind it comes sooner.
            let near_end = stream.goal.min(stream.position.saturating_add(NEAR_LEN + BLOCK_LEN as u64));
            // Who waits for bytes has looked on the local disk already.
            let on_disk = |range: &Range<u64>| {
                let has = |disk: &Arc<DiskEntry>| disk.has(BlockIndex::containing(range.start));
                range.start >= stream.demand_end && disk.as_ref().is_some_and(has)
            };
            let is_missing = |range: Range<u64>| !on_disk(&range) && !self.blocks.covers(key.version, range);
            if by_block(stream.position..near_end).any(is_missing) {
                stream.phase = Phase::Flowing;
                let (offset, end) = (stream.position, stream.piece_end());
                let len = usize::try_from(end - offset).unwrap_or(BLOCK_LEN);
                return Step::Bring { offset, len, last: end >= size };
            }
            let is_far = stream.goal - stream.position > NEAR_LEN;
            // Others have brought the rest: nobody will come for it.
            let is_over = rest_len <= SMALL_REST_LEN && !by_block(stream.position..stream.end).any(is_missing);
            if is_far || is_over {
                return Step::Stop;
            }
        }
        let until = stream.last_used + self.options.idle_close;
        let is_done = stream.kind != Kind::InOrder || stream.position >= stream.end;
        if stream.yielding || is_done || (is_random && !stream.in_order) || now >= until {
            return Step::Stop;
        }
        stream.phase = Phase::Parked;
        Step::Park { until }
    }

    /// Takes in what the local disk has of a version.
    pub(super) fn put(
        &mut self,
        file: FileId,
        path: &RemotePath,
        version: &FileVersion,
        (disk, blocks): (Arc<DiskEntry>, Vec<(BlockIndex, Block)>),
        effects: &mut Effects,
    ) {
        if !self.ensure_track(file, path, version, effects) {
            return;
        }
        let Some(track) = self.tracks.get_mut(&file).and_then(|tracks| tracks.last_mut()) else { return };
        track.disk = Some(disk);
        for (index, block) in blocks {
            serve(track, &mut self.deadlines, index.offset(), &block, effects);
            let len = track.block_len(index);
            effects.free(self.blocks.insert(track.id, index.offset(), block, len).1);
        }
        track.assign();
    }

    /// The blocks of which not all of `offset..end` is in memory.
    pub(super) fn missing(&self, file: FileId, version: &FileVersion, offset: u64, end: u64) -> Vec<BlockIndex> {
        let tracks = self.tracks.get(&file);
        let track = tracks.and_then(|tracks| tracks.iter().rfind(|track| track.version.agrees_with(version)));
        let is_here = |range: &Range<u64>| track.is_some_and(|track| self.blocks.covers(track.id, range.clone()));
        let missing = by_block(offset..end).filter(|range| !is_here(range));
        missing.map(|range| BlockIndex::containing(range.start)).collect()
    }

    /// Keeps what a stream has brought, and answers the reads that it completes. Returns the block that it makes whole, and where the local
    /// disk keeps that.
    pub(super) fn deliver(
        &mut self,
        key: StreamKey,
        offset: u64,
        bytes: Block,
        effects: &mut Effects,
    ) -> Option<(Arc<DiskEntry>, BlockIndex, Block)> {
        let track = find(&mut self.tracks, key.file, key.version)?;
        let stream = track.stream(key.number)?;
        let (range, now) = (offset..offset.saturating_add(bytes.len() as u64), Instant::now());
        stream.position = range.end;
        stream.last_progress = now;
        track.failures = 0;
        self.measure(key, &range, now, effects);
        let track = find(&mut self.tracks, key.file, key.version)?;
        serve(track, &mut self.deadlines, offset, &bytes, effects);
        if self.blocks.covers(key.version, range) {
            return None;
        }
        let index = BlockIndex::containing(offset);
        let (whole, evicted) = self.blocks.insert(key.version, offset, bytes, track.block_len(index));
        effects.free(evicted);
        Some((track.disk.clone()?, index, whole?))
    }

    /// A stream's thread ends: what it leaves undone is given to another, or given up.
    pub(super) fn stream_over(&mut self, key: StreamKey, outcome: Outcome, effects: &mut Effects) {
        self.threads -= 1;
        let is_stripe = self.stripe_over(key, &outcome);
        let was_held = self.remove_stream(key);
        match outcome {
            // Whoever waits for it gets another one, and its errors.
            Outcome::Failed(error) if is_stripe && error != RemoteError::Changed => {}
            // An error of one that nobody relies on any more concerns nobody.
            Outcome::Failed(error) if was_held => self.stream_failed(key, error, effects),
            Outcome::Failed(_) | Outcome::Stopped => {}
        }
        // Those that have waited for it come first: whoever jumps about wants the next one at once.
        for (file, version, _) in std::mem::take(&mut self.hungry) {
            self.plan(file, version, effects);
        }
        self.plan(key.file, key.version, effects);
        self.extend_stripes(key.file, key.version, effects);
    }

    fn stream_failed(&mut self, key: StreamKey, error: RemoteError, effects: &mut Effects) {
        tracing::debug!(file = key.file.0, %error, "a transfer for readers failed");
        if error == RemoteError::Changed {
            let Some(tracks) = self.tracks.get_mut(&key.file) else { return };
            for track in tracks.extract_if(.., |track| track.id == key.version).collect::<Vec<_>>() {
                self.drop_track(track, &RemoteError::Changed, effects);
            }
            return;
        }
        let Some(track) = find(&mut self.tracks, key.file, key.version) else { return };
        track.failures += 1;
        if may_pass(&error) && track.failures <= RETRY_DELAYS.len() {
            return;
        }
        track.failures = 0;
        track.assign();
        for read in track.take_unserved() {
            self.deadlines.remove(&read.number);
            effects.fail(read.done, error.clone());
        }
    }

    /// Answers the reads whose deadline has passed. Their streams have brought nothing all the while; the next
    /// read gets a new one.
    pub(super) fn expire(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(entry) = self.deadlines.first_entry().filter(|entry| entry.get().at <= now) {
            let (number, Deadline { file, version, .. }) = entry.remove_entry();
            let Some(track) = find(&mut self.tracks, file, version) else { continue };
            for read in track.waiting.extract_if(.., |read| read.number == number) {
                effects.fail(read.done, RemoteError::TimedOut { during: "reading a file".into() });
            }
            let stuck: Vec<StreamKey> = track
                .streams
                .iter()
                .filter(|stream| stream.is_awaited() && stream.last_progress + self.options.deadline <= now)
                .map(|stream| StreamKey { file, version, number: stream.number })
                .collect();
            for key in stuck {
                self.remove_stream(key);
            }
            self.plan(file, version, effects);
        }
    }

    /// When the next read has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|(_, deadline)| deadline.at)
    }

    /// Drops all that is known of a file.
    pub(super) fn forget(&mut self, file: FileId, effects: &mut Effects) {
        for track in self.tracks.remove(&file).unwrap_or_default() {
            self.drop_track(track, &RemoteError::Changed, effects);
        }
    }

    /// As [`Self::forget`], for each file that `is_meant` and that nobody reads from now.
    pub(super) fn forget_unread(&mut self, is_meant: impl Fn(FileId) -> bool, effects: &mut Effects) {
        let is_read = |tracks: &[Track]| tracks.iter().any(|track| !track.waiting.is_empty());
        let meant = self.tracks.iter().filter(|(file, tracks)| is_meant(**file) && !is_read(tracks));
        for file in meant.map(|(file, _)| *file).collect::<Vec<_>>() {
            self.forget(file, effects);
        }
    }

    /// What is held, and how long the oldest read waits.
    pub(super) fn usage(&self, now: Instant) -> ReaderUsage {
        let (block_bytes, block_bytes_max) = self.blocks.usage();
        let begun = self.deadlines.values().next().and_then(|first| first.at.checked_sub(self.options.deadline));
        ReaderUsage {
            block_bytes,
            block_bytes_max,
            streams: self.active.len(),
            reads_waiting: self.deadlines.len(),
            oldest_read: begun.map(|begun| now.saturating_duration_since(begun)),
        }
    }

    /// Ends the file's streams, each as soon as nobody waits for it.
    pub(super) fn close_streams(&mut self, file: FileId, effects: &mut Effects) {
        for track in self.tracks.get_mut(&file).into_iter().flatten() {
            track.pattern = super::readahead::Pattern::default();
            for stream in &mut track.streams {
                stream.give_way();
                effects.wake(stream.wake());
            }
        }
    }

    /// The end: everyone gets an answer, and every thread will find that it is of no more use.
    pub(super) fn close(&mut self, effects: &mut Effects) {
        self.closed = true;
        let gone = RemoteError::Unreachable { reason: "the reader is closed".into() };
        for mut track in std::mem::take(&mut self.tracks).into_values().flatten() {
            // The next mount may have it.
            track.disk = None;
            self.drop_track(track, &gone, effects);
        }
    }

    /// Whether [`Self::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Makes sure there is a track for `version`; returns whether it is the newest of the file's. A version that
    /// was never seen before is; reads and streams of those before it end.
    fn ensure_track(&mut self, file: FileId, path: &RemotePath, version: &FileVersion, effects: &mut Effects) -> bool {
        let tracks = self.tracks.entry(file).or_default();
        if let Some(place) = tracks.iter().rposition(|track| track.version.agrees_with(version)) {
            let is_newest = place + 1 == tracks.len();
            if let Some(track) = tracks.get_mut(place) {
                track.version.refine(version);
                track.path.clone_from(path);
            }
            return is_newest;
        }
        let mut older = std::mem::take(tracks);
        for track in &mut older {
            self.end_track(track, &RemoteError::Changed, effects);
        }
        // Blocks of an older version may still serve those who opened it.
        older.retain(|track| self.blocks.holds_any(track.id));
        let id = VersionId(self.number());
        self.sweep();
        older.push(Track::new(id, path.clone(), version.clone()));
        self.tracks.insert(file, older);
        true
    }

    /// Starts streams until each block that a read of this version waits for has one, or there are enough.
    fn plan(&mut self, file: FileId, version: VersionId, effects: &mut Effects) {
        loop {
            let Some(track) = find(&mut self.tracks, file, version) else { return };
            let unserved = track.assign();
            track.is_short_of_streams = false;
            effects.wake(track.resume());
            let Some(wanted) = unserved else { return };
            // The third one in a block fetches the rest of it.
            let is_known = self.blocks.count_parts(version, BlockIndex::containing(wanted.start)) >= PARTS_MAX;
            let is_pick = track.pattern.is_random() && wanted.end - wanted.start <= PICK_LEN_MAX && !is_known;
            let wish = match is_pick {
                false => Wish::InOrder,
                true if track.streams.iter().any(|stream| stream.kind == Kind::Pick) => Wish::AnotherPick,
                true => Wish::Pick,
            };
            self.end_stripes_of_others(file, version);
            let room = self.make_room(file, version, wish, effects);
            let number = self.number();
            let Some(track) = find(&mut self.tracks, file, version) else { return };
            if room != Room::Free {
                track.is_short_of_streams = wish != Wish::AnotherPick && room != Room::Ending;
                let is_hungry = room == Room::Ending || (room == Room::AllBusy && wish != Wish::AnotherPick);
                if is_hungry && !self.hungry.iter().any(|hungry| (hungry.0, hungry.1) == (file, version)) {
                    self.hungry.push((file, version, room == Room::AllBusy));
                }
                return;
            }
            let delay = track.failures.checked_sub(1).and_then(|place| RETRY_DELAYS.get(place)).copied();
            let kind = if is_pick { Kind::Pick } else { Kind::InOrder };
            // What stripes bring is not brought twice.
            let stripes = track.streams.iter().filter(|stream| stream.kind == Kind::Stripe && !stream.yielding);
            let next = stripes.map(|stream| stream.position).filter(|position| *position > wanted.start).min();
            let mut stream = Stream::new(number, &wanted, track.version.size, kind, self.window_len_max);
            stream.end = stream.end.min(next.unwrap_or(u64::MAX));
            self.start(StreamKey { file, version, number }, stream, delay.unwrap_or_default(), effects);
        }
    }

    fn start(&mut self, key: StreamKey, stream: Stream, delay: Duration, effects: &mut Effects) {
        let Some(track) = find(&mut self.tracks, key.file, key.version) else { return };
        track.streams.push(stream);
        self.active.push(key);
        self.threads += 1;
        effects.streams.push(StreamStart { key, path: track.path.clone(), delay });
    }

    /// Holds a stream no longer; its thread sees that at its next step. Returns whether it was held.
    fn remove_stream(&mut self, key: StreamKey) -> bool {
        self.active.retain(|active| *active != key);
        let Some(track) = find(&mut self.tracks, key.file, key.version) else { return false };
        let held = track.streams.len();
        track.streams.retain(|stream| stream.number != key.number);
        track.streams.len() < held
    }

    fn drop_track(&mut self, mut track: Track, error: &RemoteError, effects: &mut Effects) {
        self.end_track(&mut track, error, effects);
        effects.spoilt.extend(track.disk.take());
        effects.free(self.blocks.drop_version(track.id));
    }

    /// Ends a track's streams, and answers those who wait with `error`.
    fn end_track(&mut self, track: &mut Track, error: &RemoteError, effects: &mut Effects) {
        for stream in track.streams.drain(..) {
            self.active.retain(|active| active.number != stream.number);
            effects.wake(stream.wake());
        }
        for read in track.waiting.drain(..) {
            self.deadlines.remove(&read.number);
            effects.fail(read.done, error.clone());
        }
    }

    /// Drops tracks that hold nothing, once there are twice as many as were in use the last time.
    fn sweep(&mut self) {
        if self.tracks.len() < self.sweep_at {
            return;
        }
        let blocks = &self.blocks;
        self.tracks.retain(|_, tracks| {
            tracks.retain(|track| !track.streams.is_empty() || !track.waiting.is_empty() || blocks.holds_any(track.id));
            !tracks.is_empty()
        });
        self.sweep_at = SWEEP_AT_MIN.max(2 * self.tracks.len());
    }

    /// A number never given before.
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// Hands the bytes at `offset` to the reads that wait for them, and answers those that they complete. Whatever puts bytes into the cache does this: a
/// stream does not bring what is there.
fn serve(
    track: &mut Track,
    deadlines: &mut BTreeMap<u64, Deadline>,
    offset: u64,
    bytes: &Block,
    effects: &mut Effects,
) {
    for read in &mut track.waiting {
        read.pieces.insert(offset, bytes);
    }
    for read in track.waiting.extract_if(.., |read| read.pieces.is_complete()) {
        deadlines.remove(&read.number);
        effects.answer(read);
    }
}

/// The track of one version of one file.
fn find(tracks: &mut HashMap<FileId, Vec<Track>>, file: FileId, version: VersionId) -> Option<&mut Track> {
    tracks.get_mut(&file)?.iter_mut().rfind(|track| track.id == version)
}

/// Whether another attempt can end otherwise.
fn may_pass(error: &RemoteError) -> bool {
    match error {
        RemoteError::Unreachable { .. }
        | RemoteError::TimedOut { .. }
        | RemoteError::Protocol { .. }
        | RemoteError::Interrupted { .. }
        | RemoteError::Failed { .. } => true,
        RemoteError::NotFound
        | RemoteError::Exists
        | RemoteError::NotEmpty
        | RemoteError::IsDirectory
        | RemoteError::NotDirectory
        | RemoteError::Refused { .. }
        | RemoteError::LoginRefused { .. }
        | RemoteError::Encryption(_)
        | RemoteError::NoSpace { .. }
        | RemoteError::NameNotAllowed { .. }
        | RemoteError::NameTooLong
        | RemoteError::Unsupported { .. }
        | RemoteError::Changed => false,
    }
}

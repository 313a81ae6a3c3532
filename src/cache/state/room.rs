//! Whether one more stream may be started, and which one ends for it.

use std::thread::Thread;
use std::time::Instant;

use super::{Effects, FileId, Kind, State, StreamKey, VersionId, find};

/// Streams of one file at once, picks aside: two readers in order and one that jumps about do not hinder each other.
const STREAMS_PER_FILE_MAX: usize = 3;

/// Whether one more stream may be started.
#[derive(PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// All streams of this file are awaited.
    FileFull,
    /// All streams of all files are awaited.
    AllBusy,
    /// Too many threads of streams that were given up have not ended yet.
    Ending,
}

/// The stream that a read needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    InOrder,
    Pick,
    /// There are others in this file. They are over soon, and it takes the place of one: nobody who reads in order has to give way to it.
    AnotherPick,
}

impl State {
    /// Ends streams that nobody waits for where one more would be too many.
    pub(super) fn make_room(&mut self, file: FileId, version: VersionId, wish: Wish, effects: &mut Effects) -> Room {
        let is_ours = |key: &StreamKey| (key.file, key.version) == (file, version);
        let streams = find(&mut self.tracks, file, version).map_or(&[][..], |track| &track.streams);
        let ours = streams.iter().filter(|stream| stream.kind == Kind::InOrder).count();
        if wish == Wish::InOrder && ours >= STREAMS_PER_FILE_MAX && !self.end_idle_stream(is_ours, effects) {
            return Room::FileFull;
        }
        let is_full = self.active.len() >= self.options.streams_max;
        if is_full && (wish == Wish::AnotherPick || !self.end_idle_stream(|_| true, effects)) {
            return Room::AllBusy;
        }
        if self.threads >= 2 * self.options.streams_max { Room::Ending } else { Room::Free }
    }

    /// Ends a stream, among those `filter` lets through, which nobody waits for: one that no reader has followed, or else the one that was used
    /// longest ago.
    pub(super) fn end_idle_stream(&mut self, filter: impl Fn(&StreamKey) -> bool, effects: &mut Effects) -> bool {
        let mut idlest: Option<((bool, Instant), StreamKey, Option<Thread>)> = None;
        for key in self.active.iter().copied().filter(filter) {
            let Some(stream) = find(&mut self.tracks, key.file, key.version).and_then(|track| track.stream(key.number))
            else {
                continue;
            };
            let used = (stream.in_order, stream.last_used);
            if !stream.is_awaited() && idlest.as_ref().is_none_or(|(least, ..)| used < *least) {
                idlest = Some((used, key, stream.wake()));
            }
        }
        let Some((_, key, thread)) = idlest else { return false };
        effects.wake(thread);
        self.remove_stream(key)
    }

    /// How many streams are to make room.
    pub(super) fn pressing(&self) -> usize {
        self.hungry.iter().filter(|(_, _, presses)| *presses).count()
    }

    /// How many streams are about to make room for the hungry ones.
    pub(super) fn yielding(&self) -> usize {
        // Without the hungry, which is nearly always, nobody asks.
        if self.hungry.is_empty() {
            return 0;
        }
        let is_yielding = |key: &&StreamKey| {
            let tracks = self.tracks.get(&key.file).into_iter().flatten();
            tracks.flat_map(|track| &track.streams).any(|stream| stream.number == key.number && stream.yielding)
        };
        self.active.iter().filter(is_yielding).count()
    }
}

//! Each promise of the reader, against a server in memory that can hold, cut, refuse and lie about lengths.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc;

use proptest::prelude::*;

use super::super::blocks::BLOCK_LEN;
use super::*;
use crate::protocol::{Entry, EntryKind, Name, Timestamp};
use crate::remote::{
    Abilities, Connections, Errand, Extent, Fetched, IdleConnection, Listing, ReadStream, Space, Told, WriteMode,
    WriteStream,
};

mod at_random;
mod bounds;
mod on_disk;
mod server;
mod striped;
mod versions;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const FILE: FileId = FileId(7);
/// Far longer than anything here takes; a test that gets there has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The bytes `offset..end` of every file whose content was made with `seed`. They repeat after 65,537, which no
/// block, read or piece divides: what is shifted is other.
fn content(seed: u64, offset: u64, end: u64) -> Vec<u8> {
    static PATTERN: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..65_537_u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect());
    let mut bytes = Vec::with_capacity((end - offset) as usize);
    let mut place = offset + seed * 7919;
    while bytes.len() < (end - offset) as usize {
        let rest = &PATTERN[(place % 65_537) as usize..];
        let count = rest.len().min((end - offset) as usize - bytes.len());
        bytes.extend_from_slice(&rest[..count]);
        place += count as u64;
    }
    bytes
}

/// What the server does, and what was asked of it.
#[derive(Default)]
struct Script {
    /// Bytes of each file; its content comes from `seed`.
    lens: HashMap<Vec<u8>, u64>,
    seed: u64,
    /// Reads wait while this is set.
    held: bool,
    /// Reads wait once so many bytes were sent.
    held_at: Option<u64>,
    /// Openings wait while this is set.
    opening_held: bool,
    /// Each stream breaks off after so many bytes, so many times.
    cut_after: Option<(u64, usize)>,
    /// Errors for the next openings.
    refusals: Vec<RemoteError>,
    /// What is said to be the mark of the version.
    unique: Option<Box<[u8]>>,
    /// How often was asked which version there is.
    asked: usize,
    /// Whether it can tell with a read which version there is; whether it does; how often it did.
    can_tell: bool,
    is_mute: bool,
    told: usize,
    /// How many streams there were the last time.
    asked_beside: usize,
    /// Where each stream was opened.
    opened: Vec<u64>,
    /// What connections there are said to be.
    connections: Option<Connections>,
    /// How many of them for all of a file.
    wholes: usize,
    /// Whether there are connections that nobody waits for; what they were opened for.
    has_idle: bool,
    stripes: Vec<std::ops::Range<u64>>,
    /// Bytes a second of one stream, and of all together.
    rate_each: Option<u64>,
    rate_of_all: Option<u64>,
    busy_until: Option<Instant>,
    /// Of which no more than a range was wanted.
    ranges: Vec<std::ops::Range<u64>>,
    bytes: u64,
    streams: usize,
    streams_most: usize,
    wakes: Vec<Arc<dyn Fn() + Send + Sync>>,
}

/// A server in memory that follows its script.
#[derive(Default)]
struct Scripted {
    script: Mutex<Script>,
    changed: Condvar,
    wanted: AtomicBool,
}

impl Scripted {
    fn with_file(len: u64) -> Arc<Self> {
        let scripted = Self::default();
        scripted.script.lock().lens.insert(b"/a".to_vec(), len);
        Arc::new(scripted)
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock());
        self.changed.notify_all();
    }

    /// Waits until the script's record is as `holds` says.
    fn until(&self, what: &str, holds: impl Fn(&Script) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut script = self.script.lock();
        while !holds(&script) {
            assert!(!self.changed.wait_until(&mut script, deadline).timed_out(), "in vain: {what}");
        }
    }

    /// Somebody else needs a connection.
    fn want_connections(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        let wakes = self.script.lock().wakes.clone();
        wakes.iter().for_each(|wake| wake());
    }

    fn opened(&self) -> Vec<u64> {
        self.script.lock().opened.clone()
    }

    fn bytes(&self) -> u64 {
        self.script.lock().bytes
    }
}

/// Shares the script with its streams, which outlive any borrow.
struct Server(Arc<Scripted>);

struct ScriptedStream {
    scripted: Arc<Scripted>,
    position: u64,
    len: u64,
    cut_at: Option<u64>,
}

impl ReadStream for ScriptedStream {
    fn read(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        let mut script = self.scripted.script.lock();
        while script.held || script.held_at.is_some_and(|held_at| script.bytes >= held_at) {
            self.scripted.changed.wait(&mut script);
        }
        if self.cut_at.is_some_and(|cut_at| self.position >= cut_at) {
            return Err(RemoteError::Unreachable { reason: "cut".into() });
        }
        // Odd pieces, as TCP gives them.
        let count = (self.len.saturating_sub(self.position)).min(50_021).min(buffer.len() as u64);
        let bytes = content(script.seed, self.position, self.position + count);
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.position += count;
        script.bytes += count;
        let pause = script.pause(count);
        drop(script);
        self.scripted.changed.notify_all();
        thread::sleep(pause);
        Ok(count as usize)
    }

    fn is_wanted(&self) -> bool {
        self.scripted.wanted.load(Ordering::SeqCst)
    }

    fn on_wanted(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.scripted.script.lock().wakes.push(wake.into());
    }
}

impl Drop for ScriptedStream {
    fn drop(&mut self) {
        self.scripted.set(|script| script.streams -= 1);
    }
}

impl Script {
    fn entry(&self, path: &RemotePath) -> RemoteResult<Entry> {
        let mut entry = Entry::new(Name::new(b"a").unwrap(), EntryKind::File);
        entry.size = Some(*self.lens.get(path.as_bytes()).ok_or(RemoteError::NotFound)?);
        entry.unique = self.unique.clone();
        Ok(entry)
    }

    /// How long these bytes take.
    fn pause(&mut self, count: u64) -> Duration {
        let time = |rate| Duration::from_secs_f64(count as f64 / rate as f64);
        let now = Instant::now();
        if let Some(rate) = self.rate_of_all {
            // Who wakes late catches up: the link was there meanwhile.
            let before = now.checked_sub(Duration::from_millis(100)).unwrap_or(now);
            self.busy_until = Some(self.busy_until.map_or(now, |until| until.max(before)) + time(rate));
        }
        let of_all = self.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        of_all.max(self.rate_each.map_or(Duration::ZERO, time))
    }
}

fn path() -> RemotePath {
    RemotePath::parse(b"/a").unwrap()
}

fn version(size: u64) -> FileVersion {
    FileVersion { size, modified: None, unique: None }
}

fn named_version(size: u64, unique: &str) -> FileVersion {
    FileVersion { unique: Some(unique.as_bytes().into()), ..version(size) }
}

fn options() -> ReaderOptions {
    ReaderOptions { cache_bytes_max: 64 << 20, window_bytes_max: 4 << 20, ..ReaderOptions::default() }
}

fn reader(scripted: &Arc<Scripted>, options: ReaderOptions) -> Arc<Reader> {
    Reader::new(Arc::new(Server(Arc::clone(scripted))), options)
}

/// One read under way. Its answer comes by a channel of one place: a second answer would be a panic.
struct Answer(mpsc::Receiver<RemoteResult<Vec<u8>>>);

impl Answer {
    fn wait(&self) -> RemoteResult<Vec<u8>> {
        self.0.recv_timeout(PATIENCE).expect("every read is answered")
    }

    fn is_there(&self) -> Option<RemoteResult<Vec<u8>>> {
        self.0.try_recv().ok()
    }
}

fn start(reader: &Reader, version: &FileVersion, offset: u64, len: u64) -> Answer {
    let (sender, receiver) = mpsc::sync_channel(1);
    let done = move |result| sender.send(result).unwrap_or(());
    reader.read(FILE, &path(), version, offset, len as u32, Box::new(done));
    Answer(receiver)
}

fn read(reader: &Reader, version: &FileVersion, offset: u64, len: u64) -> RemoteResult<Vec<u8>> {
    start(reader, version, offset, len).wait()
}

#[track_caller]
fn assert_reads(reader: &Reader, version: &FileVersion, offset: u64, len: u64) {
    let end = (offset + len).min(version.size);
    let bytes = read(reader, version, offset, len).unwrap();
    assert!(bytes == content(0, offset, end), "other bytes at {offset}..{end}, {} of them", bytes.len());
}

#[test]
fn sequential_read_of_a_big_file_opens_one_stream() {
    let size = 24 * MIB + 12_345;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    for offset in (0..size).step_by(128 << 10) {
        assert_reads(&reader, &version(size), offset, 128 * KIB);
    }
    assert_eq!(server.opened(), [0]);
    assert_eq!(server.bytes(), size);
}

#[test]
fn small_file_is_fetched_whole_by_its_first_read_and_its_transfer_ends_in_order() {
    let size = 300 * KIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 10);
    server.until("the whole file is read and the transfer over", |script| script.bytes == size && script.streams == 0);
    assert_reads(&reader, &version(size), 200 * KIB, 100 * KIB);
    assert_eq!(server.opened(), [0]);
}

#[test]
fn cached_range_is_answered_before_read_returns_and_by_get() {
    let size = 200 * KIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_eq!(reader.get(FILE, &version(size), 0, 10), None);
    assert_reads(&reader, &version(size), 0, size);
    assert_eq!(reader.get(FILE, &version(size), 5, 10), Some(content(0, 5, 15)));
    assert_eq!(start(&reader, &version(size), 100 * KIB, 90 * KIB).is_there(), Some(Ok(content(0, 102_400, 194_560))));
}

#[test]
fn read_is_cut_at_the_size_and_empty_behind_it() {
    let size = 300_001;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_eq!(read(&reader, &version(size), 300_000, 4096), Ok(content(0, 300_000, 300_001)));
    assert_eq!(read(&reader, &version(size), 300_001, 4096), Ok(vec![]));
    assert_eq!(read(&reader, &version(size), u64::MAX, 4096), Ok(vec![]));
    assert_eq!(read(&reader, &version(0), 0, 4096), Ok(vec![]));
}

#[test]
fn stream_parks_at_its_window_and_goes_on_when_the_reader_follows() {
    let size = 64 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 128 * KIB);
    assert_reads(&reader, &version(size), 128 * KIB, 128 * KIB);
    server.until("the window is filled", |script| script.bytes >= 256 * KIB + MIB);
    assert!(server.bytes() <= 256 * KIB + 4 * MIB);
    for offset in (256 * KIB..16 * MIB).step_by(128 << 10) {
        assert_reads(&reader, &version(size), offset, 128 * KIB);
        assert!(server.bytes() <= offset + 128 * KIB + 4 * MIB + 128 * KIB, "further ahead than the window");
    }
    assert_eq!(server.opened(), [0]);
}

#[test]
fn reads_out_of_order_within_a_mebibyte_share_one_stream() {
    let size = 64 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 128 * KIB);
    server.set(|script| script.held = true);
    let offsets = [512, 256, 1024, 128, 384, 896, 640, 768];
    let answers = offsets.map(|kibibyte| (kibibyte, start(&reader, &version(size), kibibyte * KIB, 128 * KIB)));
    server.set(|script| script.held = false);
    for (kibibyte, answer) in answers {
        assert_eq!(answer.wait(), Ok(content(0, kibibyte * KIB, (kibibyte + 128) * KIB)));
    }
    assert_eq!(server.opened(), [0]);
}

#[test]
fn short_skip_forward_reads_on_and_a_long_one_opens_a_second_stream() {
    let size = 64 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 128 * KIB);
    assert_reads(&reader, &version(size), 900 * KIB, 64 * KIB);
    assert_eq!(server.opened(), [0]);
    assert_reads(&reader, &version(size), 40 * MIB, 64 * KIB);
    assert_eq!(server.opened(), [0, 40 * MIB]);
    assert!(reader.get(FILE, &version(size), 300 * KIB, 64 << 10).is_some(), "what was skipped is kept");
}

#[test]
fn file_of_one_block_read_from_its_beginning_is_asked_for_as_a_whole_and_no_other() {
    for (size, offset, whole) in [(1, 0, 1), (128 * KIB, 0, 1), (128 * KIB, 100 * KIB, 0), (128 * KIB + 1, 0, 0)] {
        let server = Scripted::with_file(size);
        let reader = reader(&server, options());
        assert_reads(&reader, &version(size), offset, 4 * KIB);
        assert_eq!(server.script.lock().wholes, whole, "{size} from {offset} on");
    }
}

#[test]
fn readers_of_one_file_share_its_stream() {
    let size = 16 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    server.set(|script| script.held = true);
    let answers: Vec<Answer> = (0..8).map(|_| start(&reader, &version(size), 0, MIB)).collect();
    server.set(|script| script.held = false);
    for answer in answers {
        assert_eq!(answer.wait(), Ok(content(0, 0, MIB)));
    }
    assert_eq!(server.opened(), [0]);
}

#[test]
fn parked_stream_gives_its_connection_back_when_wanted() {
    let size = 64 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 128 * KIB);
    assert_eq!(server.script.lock().streams, 1);
    server.until("the stream can hear that it is wanted", |script| script.wakes.len() == 1);
    server.want_connections();
    server.until("the connection is given back", |script| script.streams == 0);
    server.wanted.store(false, Ordering::SeqCst);
    assert_reads(&reader, &version(size), 128 * KIB, 128 * KIB);
    assert_eq!(server.opened(), [0, 128 * KIB]);
}

#[test]
fn wanted_stream_serves_those_who_wait_already_then_gives_way() {
    let size = 64 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 128 * KIB);
    assert_reads(&reader, &version(size), 128 * KIB, 128 * KIB);
    server.until("the window is filled", |script| script.bytes >= 256 * KIB + MIB);
    server.set(|script| script.held = true);
    let first = start(&reader, &version(size), 5 * MIB / 2, MIB);
    server.want_connections();
    server.set(|script| script.held = false);
    assert_eq!(first.wait(), Ok(content(0, 5 * MIB / 2, 7 * MIB / 2)));
    server.until("it gives way", |script| script.streams == 0);
    assert!(server.bytes() <= 7 * MIB / 2 + 2 * BLOCK_LEN as u64 + 2 * MIB);
}

#[test]
fn stream_that_nobody_reads_from_is_closed_after_its_idle_time() {
    let size = 64 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, ReaderOptions { idle_close: Duration::from_millis(30), ..options() });
    assert_reads(&reader, &version(size), 0, 128 * KIB);
    server.until("the idle stream is closed", |script| script.streams == 0);
    assert_reads(&reader, &version(size), 128 * KIB, 128 * KIB);
}

#[test]
fn last_close_of_a_file_gives_its_connections_back() {
    let size = 64 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 128 * KIB);
    reader.close_streams(FILE);
    server.until("the stream is closed", |script| script.streams == 0);
    assert!(reader.get(FILE, &version(size), 0, 128 << 10).is_some(), "blocks are kept");
}

#[test]
fn short_transfer_is_reported_as_changed_and_its_blocks_are_dropped() {
    for said in [3 * MIB, 3 * MIB + 1, 2 * MIB + 200] {
        let server = Scripted::with_file(2 * MIB + 100);
        let reader = reader(&server, options());
        reader.opened(FILE, &path(), &version(said), Instant::now());
        assert_eq!(read(&reader, &version(said), 0, 1000), Ok(content(0, 0, 1000)));
        assert_eq!(read(&reader, &version(said), MIB, 2 * MIB), Err(RemoteError::Changed));
        assert_eq!(reader.get(FILE, &version(said), 0, 1000), None);
    }
}

#[test]
fn transfer_longer_than_the_size_is_reported_as_changed_before_its_last_block_is_used() {
    for real in [MIB + 1, 2 * MIB] {
        let server = Scripted::with_file(real);
        let reader = reader(&server, options());
        reader.opened(FILE, &path(), &version(MIB), Instant::now());
        assert_eq!(read(&reader, &version(MIB), 0, MIB), Err(RemoteError::Changed));
        assert_eq!(reader.get(FILE, &version(MIB), 0, 1000), None);
    }
}

#[test]
fn versions_never_mix_and_the_older_one_is_not_fetched_any_more() {
    let size = 8 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    let (old, new) = (named_version(size, "old"), named_version(size, "new"));
    assert_eq!(read(&reader, &old, 0, 1000), Ok(content(0, 0, 1000)));
    server.set(|script| script.held = true);
    let waiting = start(&reader, &old, 4 * MIB, 1000);
    server.set(|script| script.seed = 1);
    let fresh = start(&reader, &new, 0, 1000);
    assert_eq!(waiting.wait(), Err(RemoteError::Changed));
    server.set(|script| script.held = false);
    assert_eq!(fresh.wait(), Ok(content(1, 0, 1000)));
    assert_eq!(read(&reader, &old, 0, 1000), Ok(content(0, 0, 1000)));
    assert_eq!(read(&reader, &old, 6 * MIB, 1000), Err(RemoteError::Changed));
    assert_eq!(read(&reader, &new, 4 * MIB, 1000), Ok(content(1, 4 * MIB, 4 * MIB + 1000)));
}

#[test]
fn stream_that_begins_later_asks_whether_it_is_still_the_same_version() {
    let scripted = Scripted::with_file(8 * MIB);
    let reader = reader(&scripted, ReaderOptions { version_ttl: Duration::ZERO, ..options() });
    let version = named_version(8 * MIB, "old");
    scripted.set(|script| script.unique = Some(Box::from(*b"old")));
    assert_reads(&reader, &version, 0, 100);
    assert_reads(&reader, &version, 4 * MIB, 100);
    assert!(scripted.script.lock().asked > 0);
    // Another content of the same size.
    scripted.set(|script| {
        script.seed = 1;
        script.unique = Some(Box::from(*b"new"));
    });
    assert_eq!(read(&reader, &version, 7 * MIB, 100), Err(RemoteError::Changed));
    assert_eq!(reader.get(FILE, &version, 0, 100), None);
}

#[test]
fn file_that_was_just_opened_is_not_asked_for() {
    let scripted = Scripted::with_file(8 * MIB);
    let reader = reader(&scripted, ReaderOptions { version_ttl: Duration::from_secs(3600), ..options() });
    reader.opened(FILE, &path(), &version(8 * MIB), Instant::now());
    for place in [0, 4, 2, 7] {
        assert_reads(&reader, &version(8 * MIB), place * MIB, 100);
    }
    assert_eq!(scripted.script.lock().asked, 0);
}

#[test]
fn forgotten_file_is_fetched_anew_and_its_waiting_reads_are_told() {
    let size = 8 * MIB;
    let server = Scripted::with_file(size);
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, 1000);
    server.set(|script| script.held = true);
    let waiting = start(&reader, &version(size), 5 * MIB, 1000);
    reader.forget(FILE);
    assert_eq!(waiting.wait(), Err(RemoteError::Changed));
    server.set(|script| (script.held, script.seed) = (false, 1));
    assert_eq!(read(&reader, &version(size), 0, 1000), Ok(content(1, 0, 1000)));
}

#[test]
fn transfer_that_breaks_off_is_continued_where_it_was() {
    let size = 4 * MIB;
    let server = Scripted::with_file(size);
    server.set(|script| script.cut_after = Some((MIB + 10, 3)));
    let reader = reader(&server, options());
    assert_reads(&reader, &version(size), 0, size);
    assert_eq!(server.opened(), [0, MIB, 2 * MIB, 3 * MIB]);
}

#[test]
fn transfer_that_always_fails_is_given_up_with_its_error() {
    let server = Scripted::with_file(4 * MIB);
    server.set(|script| script.cut_after = Some((10, usize::MAX)));
    let reader = reader(&server, options());
    let error = read(&reader, &version(4 * MIB), 0, 100_000).unwrap_err();
    assert_eq!(error, RemoteError::Unreachable { reason: "cut".into() });
    assert_eq!(server.opened().len(), 1 + 3);
}

#[test]
fn refusal_is_not_repeated_for_those_who_wait_and_asked_again_by_the_next_read() {
    let server = Scripted::with_file(MIB);
    let refused = RemoteError::Refused { reply: "550 no".into() };
    server.set(|script| script.refusals.push(refused.clone()));
    let reader = reader(&server, options());
    assert_eq!(read(&reader, &version(MIB), 0, 1000), Err(refused));
    assert_eq!(server.opened(), [0]);
    assert_reads(&reader, &version(MIB), 0, 1000);
}

#[test]
fn read_is_answered_within_its_deadline_when_the_server_hangs() {
    let holds: [fn(&mut Script, bool); 2] =
        [|script, held| script.held = held, |script, held| script.opening_held = held];
    for hold in holds {
        let server = Scripted::with_file(8 * MIB);
        let deadline = Duration::from_millis(500);
        let reader = reader(&server, ReaderOptions { deadline, ..options() });
        server.set(|script| hold(script, true));
        let begun = Instant::now();
        let answers: Vec<Answer> = (0..4).map(|place| start(&reader, &version(8 * MIB), place * MIB, MIB)).collect();
        for answer in answers {
            assert!(matches!(answer.wait(), Err(RemoteError::TimedOut { .. })));
        }
        assert!(begun.elapsed() >= deadline);
        server.set(|script| hold(script, false));
        assert_reads(&reader, &version(8 * MIB), 0, 1000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Several threads read anywhere, in any lengths, while transfers break off and connections are called back.
    #[test]
    fn any_reads_by_several_threads_get_the_files_bytes(
        size in 1..6 * MIB,
        reads in prop::collection::vec((any::<prop::sample::Index>(), 1..700_000_u64), 4..60),
        cut_after in prop::option::of((100_000..2 * MIB, 1..4_usize)),
        cache_bytes_max in 0..8_usize << 20,
        streams_max in 1..4_usize,
    ) {
        let server = Scripted::with_file(size);
        server.set(|script| script.cut_after = cut_after);
        let options = ReaderOptions { cache_bytes_max, streams_max, ..options() };
        let reader = reader(&server, options);
        let failed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for share in reads.chunks(reads.len().div_ceil(3)) {
                let (reader, server, failed) = (&reader, &server, &failed);
                scope.spawn(move || {
                    for (place, len) in share {
                        let offset = place.index(size as usize) as u64;
                        server.wanted.store(offset.is_multiple_of(3), Ordering::SeqCst);
                        let end = (offset + len).min(size);
                        if read(reader, &version(size), offset, *len) != Ok(content(0, offset, end)) {
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        prop_assert_eq!(failed.into_inner(), 0);
    }
}

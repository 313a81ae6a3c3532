//! How many streams one long read in order uses, found by measuring (docs/round_trips.md).
//!
//! ```text
//! Settling ──time, and all streams there──▶ Measuring ──worth it──▶ Settling, with one more
//!     ▲                                         │ └────not worth it, or no more to try──▶ Found
//!     └───────the reader was not waiting────────┘
//! ```
//! It is measured only while the reader waits: what a slow reader does not take says nothing of the link.
//!
//! Not here: which ranges the streams bring, and when none but one may be used (`state::stripes`).

use std::time::{Duration, Instant};

/// Of its average share, a further stream must bring at least this part more. The first one: half as much again.
const GAIN_MIN: f64 = 0.5;

/// A stripe takes so long at the rate of one stream, within its bounds: the next one's beginning costs round trips.
const STRIPE_SECONDS: f64 = 2.0;

/// The shortest stripe.
pub(super) const STRIPE_LEN_MIN: u64 = 1 << 20;

/// How many times the settling a further stream may take to come about.
const COMING_MAX: u32 = 5;

/// What is tried, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct WidthOptions {
    /// Streams at once of one long read; 1 is to try none.
    pub streams_max: usize,
    /// How long streams run before they are measured, for a connection begins slowly.
    pub settle: Duration,
    /// How long they are measured.
    pub measure: Duration,
    /// For how long what was found is believed for other reads of the mount.
    pub remember: Duration,
}

impl Default for WidthOptions {
    fn default() -> Self {
        Self {
            streams_max: 4,
            settle: Duration::from_secs(1),
            measure: Duration::from_secs(1),
            remember: Duration::from_secs(300),
        }
    }
}

/// What a long read has found, for those that come after it.
#[derive(Debug, Default)]
pub(super) struct FoundWidth {
    found: Option<(usize, Instant)>,
}

impl FoundWidth {
    fn get(&self, now: Instant) -> Option<usize> {
        self.found.filter(|(_, until)| now < *until).map(|(width, _)| width)
    }

    fn set(&mut self, width: usize, options: &WidthOptions, now: Instant) {
        self.found = now.checked_add(options.remember).map(|until| (width, until));
    }
}

/// A piece of news: some bytes of the read have come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) len: u64,
    /// Somebody waited for bytes of the file.
    pub(super) is_awaited: bool,
    /// Streams that bring it just now.
    pub(super) streams: usize,
    /// Bytes up to the file's end that none of them brings.
    pub(super) rest: u64,
    pub(super) now: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Settling,
    Measuring,
    Found,
}

/// The width of one read in order.
#[derive(Debug)]
pub(super) struct Width {
    streams: usize,
    phase: Phase,
    since: Option<Instant>,
    bytes: u64,
    /// When bytes came last, and how long before such moments somebody had waited. Servers that limit a rate send in bursts: what
    /// counts is time.
    last: Option<Instant>,
    awaited: Duration,
    /// Bytes a second, of all streams, as last measured and found worth it.
    rate: f64,
    /// Bytes a second of one of them.
    rate_each: f64,
}

impl Default for Width {
    fn default() -> Self {
        Self {
            streams: 1,
            phase: Phase::Settling,
            since: None,
            bytes: 0,
            last: None,
            awaited: Duration::ZERO,
            rate: 0.0,
            rate_each: 0.0,
        }
    }
}

impl Width {
    /// How many streams the read is to use.
    pub(super) fn get(&self) -> usize {
        self.streams
    }

    /// How much one stream is to bring before the next range is given to it.
    pub(super) fn stripe_len(&self, len_max: u64) -> u64 {
        let len = self.rate_each * STRIPE_SECONDS;
        // Far below what a float tells exactly, and never negative.
        (len as u64).min(len_max).max(STRIPE_LEN_MIN)
    }

    /// Takes note of bytes that have come, and decides what has been measured long enough.
    pub(super) fn note(&mut self, arrival: Arrival, found: &mut FoundWidth, options: &WidthOptions) {
        if self.phase == Phase::Found || options.streams_max < 2 {
            return;
        }
        let since = *self.since.get_or_insert(arrival.now);
        let passed = arrival.now.saturating_duration_since(since);
        if self.phase == Phase::Settling {
            if passed >= options.settle && arrival.streams >= self.streams {
                self.begin(Phase::Measuring, Some(arrival.now));
            } else if passed >= options.settle.saturating_mul(COMING_MAX) && self.streams > 1 {
                // There is no connection for it. That says nothing of the link.
                self.end(self.streams - 1);
            }
            return;
        }
        self.bytes += arrival.len;
        let last = self.last.replace(arrival.now).unwrap_or(since);
        if arrival.is_awaited {
            self.awaited += arrival.now.saturating_duration_since(last);
        }
        if passed < options.measure {
            return;
        }
        if self.awaited.saturating_mul(2) < passed {
            return self.begin(Phase::Settling, None);
        }
        self.judge(self.bytes as f64 / passed.as_secs_f64().max(f64::EPSILON), arrival, found, options);
    }

    /// What was measured so far counts for nothing: others were at work beside it.
    pub(super) fn interrupt(&mut self) {
        if self.phase != Phase::Found {
            self.begin(Phase::Settling, None);
        }
    }

    fn judge(&mut self, rate: f64, arrival: Arrival, found: &mut FoundWidth, options: &WidthOptions) {
        let before = self.streams - 1;
        if before > 0 && rate < self.rate * (1.0 + GAIN_MIN / before as f64) {
            tracing::debug!(
                streams = self.streams,
                rate,
                before = self.rate,
                "one more stream for a long read is not worth it"
            );
            found.set(before, options, arrival.now);
            return self.end(before);
        }
        if before > 0 {
            tracing::debug!(
                streams = self.streams,
                rate,
                before = self.rate,
                "one more stream for a long read is worth it"
            );
            found.set(self.streams, options, arrival.now);
        }
        self.rate = rate;
        self.rate_each = rate / self.streams as f64;
        // What is measured has to pay in what is left.
        let needed = rate * 2.0 * (options.settle + options.measure).as_secs_f64();
        let is_worth_trying = arrival.rest as f64 > needed;
        match found.get(arrival.now).filter(|_| before == 0) {
            Some(known) => self.end(known.min(options.streams_max)),
            None if self.streams >= options.streams_max => self.end(self.streams),
            None if is_worth_trying => {
                self.streams += 1;
                self.begin(Phase::Settling, None);
            }
            None => self.end(self.streams),
        }
    }

    fn begin(&mut self, phase: Phase, since: Option<Instant>) {
        (self.phase, self.since) = (phase, since);
        (self.bytes, self.last, self.awaited) = (0, None, Duration::ZERO);
    }

    fn end(&mut self, streams: usize) {
        self.streams = streams;
        self.begin(Phase::Found, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LONG: u64 = 1 << 40;

    /// A read whose streams bring `rate` bytes a second each, and `rate_of_all` at most, for so many seconds.
    fn read(width: &mut Width, found: &mut FoundWidth, rates: (u64, u64), rest: u64, seconds: u64, is_awaited: bool) {
        let options = WidthOptions::default();
        let begun = Instant::now();
        for tenth in 0..seconds * 10 {
            let streams = width.get();
            let len = (rates.0 * streams as u64).min(rates.1) / 10;
            let now = begun + Duration::from_millis(tenth * 100);
            width.note(Arrival { len, is_awaited, streams, rest, now }, found, &options);
        }
    }

    #[test]
    fn streams_are_added_up_to_the_bound_where_each_connection_has_its_own_rate() {
        let (mut width, mut found) = (Width::default(), FoundWidth::default());
        read(&mut width, &mut found, (MIB, LONG), LONG, 20, true);
        assert_eq!(width.get(), 4);
        let stripe_len = width.stripe_len(64 * MIB);
        assert!((19 * MIB / 10..21 * MIB / 10).contains(&stripe_len), "{stripe_len}");
        // The next read knows it as soon as it has measured its own rate.
        let mut next = Width::default();
        read(&mut next, &mut found, (MIB, LONG), LONG, 3, true);
        assert_eq!(next.get(), 4);
    }

    #[test]
    fn second_stream_is_dropped_and_not_tried_again_where_the_link_is_full() {
        let (mut width, mut found) = (Width::default(), FoundWidth::default());
        read(&mut width, &mut found, (100 * MIB, 110 * MIB), LONG, 20, true);
        assert_eq!((width.get(), width.phase), (1, Phase::Found));
        let mut next = Width::default();
        for _ in 0..20 {
            read(&mut next, &mut found, (100 * MIB, 110 * MIB), LONG, 1, true);
            assert_eq!(next.get(), 1);
        }
    }

    #[test]
    fn only_as_many_streams_stay_as_raise_the_sum() {
        let (mut width, mut found) = (Width::default(), FoundWidth::default());
        read(&mut width, &mut found, (10 * MIB, 21 * MIB), LONG, 30, true);
        assert_eq!((width.get(), width.phase), (2, Phase::Found));
    }

    #[test]
    fn nothing_is_tried_for_a_reader_that_is_slower_than_one_stream_nor_for_a_short_rest() {
        let (mut width, mut found) = (Width::default(), FoundWidth::default());
        read(&mut width, &mut found, (MIB, LONG), LONG, 20, false);
        assert_eq!(width.get(), 1);
        let mut width = Width::default();
        read(&mut width, &mut found, (MIB, LONG), 3 * MIB, 20, true);
        assert_eq!(width.get(), 1);
    }

    #[test]
    fn stream_that_finds_no_connection_is_no_verdict_on_the_link() {
        let (mut width, mut found) = (Width::default(), FoundWidth::default());
        let begun = Instant::now();
        for tenth in 0..100 {
            let now = begun + Duration::from_millis(tenth * 100);
            let arrival = Arrival { len: MIB, is_awaited: true, streams: 1, rest: LONG, now };
            width.note(arrival, &mut found, &WidthOptions::default());
        }
        assert_eq!((width.get(), width.phase), (1, Phase::Found));
        assert_eq!(found.get(begun), None);
    }
}

//! How far uploads are: a line on the terminal that is gone when nothing is left, or now and then a line of a log.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::status_text::{bytes, count};
use crate::control::Status;
use crate::control::status::DirtyStatus;

/// How often a terminal's line is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);
/// How often there is a line where nobody watches; the first comes sooner, so that short uploads have none.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const FIRST_LINE_AFTER: Duration = Duration::from_secs(2);
/// Over how long the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(5);
const BAR_WIDTH: u64 = 20;
/// The width of a terminal that does not tell it.
const WIDTH_DEFAULT: u16 = 80;

/// Shows how uploads get on, on the standard error.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    is_shown: bool,
    next: Instant,
    meter: Meter,
}

impl Progress {
    /// Nothing shown yet.
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let first = if is_terminal { DRAW_INTERVAL } else { FIRST_LINE_AFTER };
        Self { is_terminal, is_shown: false, next: Instant::now() + first, meter: Meter::default() }
    }

    /// When to look at the mount again.
    pub(super) fn next(&self) -> Instant {
        // Looked at more often than told, for the rate's sake.
        self.next.min(Instant::now() + if self.is_terminal { DRAW_INTERVAL } else { Duration::from_secs(1) })
    }

    /// Takes in how it is now, and shows it where it is time to.
    pub(super) fn look(&mut self, status: &Status) {
        let now = Instant::now();
        self.meter.add(&status.dirty, now);
        if now < self.next || status.dirty.count == 0 {
            return;
        }
        self.next = now + if self.is_terminal { DRAW_INTERVAL } else { LINE_INTERVAL };
        // A terminal that is gone is no reason to stop.
        let _ = if self.is_terminal {
            self.is_shown = true;
            let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
            let width = if width == 0 { WIDTH_DEFAULT } else { width };
            let line: String = self.meter.bar().chars().take(usize::from(width).saturating_sub(1)).collect();
            write!(io::stderr().lock(), "\r\x1b[K{line}")
        } else {
            writeln!(io::stderr().lock(), "ftpfs: {}", self.meter.line())
        };
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// From one look after the other: how much of how much is done, and how fast that goes.
#[derive(Debug, Default)]
struct Meter {
    now: DirtyStatus,
    /// Files and bytes that were dirty at an earlier look and are so no more.
    files_gone: usize,
    bytes_gone: u64,
    /// How many bytes were done, and when.
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    fn add(&mut self, dirty: &DirtyStatus, at: Instant) {
        self.files_gone += self.now.count.saturating_sub(dirty.count);
        self.bytes_gone += self.now.bytes.saturating_sub(dirty.bytes);
        // The list of files, which may be long, is not wanted.
        self.now = DirtyStatus { files: Vec::new(), ..*dirty };
        while self.samples.front().is_some_and(|(then, _)| at.saturating_duration_since(*then) > RATE_WINDOW) {
            self.samples.pop_front();
        }
        self.samples.push_back((at, self.done()));
    }

    /// Less than before where an upload had to begin anew.
    fn done(&self) -> u64 {
        self.bytes_gone + self.now.sent
    }

    fn rate(&self) -> Option<u64> {
        let ((then, before), (now, done)) = (self.samples.front()?, self.samples.back()?);
        let seconds = now.saturating_duration_since(*then).as_secs_f64();
        (seconds > 0.0).then(|| (done.saturating_sub(*before) as f64 / seconds) as u64)
    }

    /// `[#####---------------]  25%  3 of 12 files, 2.5 MiB of 10.0 MiB, 1.2 MiB/s`
    fn bar(&self) -> String {
        let (done, all) = (self.done(), self.bytes_gone + self.now.bytes);
        // Not full before the last file is proved to be there.
        let percent = (u128::from(done) * 100 / u128::from(all.max(1))).min(99) as u64;
        let filled = percent * BAR_WIDTH / 100;
        let bar: String = (0..BAR_WIDTH).map(|place| if place < filled { '#' } else { '-' }).collect();
        let files = count(self.files_gone + self.now.count, "file");
        format!(
            "[{bar}] {percent:3}%  {} of {files}, {} of {}{}",
            self.files_gone,
            bytes(done),
            bytes(all),
            self.pace()
        )
    }

    fn line(&self) -> String {
        let left = self.now.bytes.saturating_sub(self.now.sent);
        format!("{}, {} not on the server yet{}", count(self.now.count, "file"), bytes(left), self.pace())
    }

    fn pace(&self) -> String {
        self.rate().map_or_else(String::new, |rate| format!(", {}/s", bytes(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn dirty(count: usize, bytes: u64, sent: u64) -> DirtyStatus {
        DirtyStatus { count, bytes, sent, ..DirtyStatus::default() }
    }

    #[test]
    fn what_is_done_counts_files_that_are_gone_and_what_was_sent_of_the_others() {
        let (mut meter, begin) = (Meter::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        meter.add(&dirty(4, 8 * MIB, 0), at(0));
        assert_eq!(meter.bar(), format!("[{}]   0%  0 of 4 files, 0 B of 8.0 MiB", "-".repeat(20)));
        meter.add(&dirty(3, 6 * MIB, 2 * MIB), at(2));
        let half = format!("[{}{}]  50%  1 of 4 files, 4.0 MiB of 8.0 MiB, 2.0 MiB/s", "#".repeat(10), "-".repeat(10));
        assert_eq!(meter.bar(), half);
        assert_eq!(meter.line(), "3 files, 4.0 MiB not on the server yet, 2.0 MiB/s");
        // Another file is written meanwhile.
        meter.add(&dirty(4, 14 * MIB, 2 * MIB), at(3));
        assert!(meter.bar().contains(" 25%  1 of 5 files, 4.0 MiB of 16.0 MiB"), "{}", meter.bar());
        // All is sent, and not proved.
        meter.add(&dirty(4, 14 * MIB, 14 * MIB), at(4));
        assert!(meter.bar().contains(" 99%  1 of 5 files"), "{}", meter.bar());
    }

    #[test]
    fn rate_is_of_the_last_seconds_and_never_below_nothing() {
        let (mut meter, begin) = (Meter::default(), Instant::now());
        assert_eq!(meter.rate(), None);
        for second in 0..20 {
            meter.add(
                &dirty(1, 100 * MIB, if second < 10 { second * MIB } else { 10 * MIB }),
                begin + Duration::from_secs(second),
            );
        }
        assert_eq!(meter.rate(), Some(0));
        meter.add(&dirty(1, 100 * MIB, 0), begin + Duration::from_secs(20));
        assert_eq!(meter.rate(), Some(0), "it began anew");
        meter.add(&dirty(1, 100 * MIB, 30 * MIB), begin + Duration::from_secs(20));
        assert_eq!(meter.rate(), Some(4 * MIB));
    }
}

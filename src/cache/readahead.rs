//! What to fetch before it is asked for: reading in order told from jumping about, and how far ahead to go.
//!
//! No I/O, locks or clock here; `streams` acts on it. The kernel reads ahead too and sends several requests at
//! once, out of order by as much as its own window, so an offset near the expected one counts as in order.

/// How far from where a reader left off a read still belongs to it, and how far a stream reads on rather than
/// leave the gap to a new one. The kernel's readahead is no larger than this.
pub(super) const NEAR_LEN: u64 = 1 << 20;

/// The same for a reader who has read in order for a while: the kernel has two windows of its readahead on their way at once, doubles them for
/// who says `POSIX_FADV_SEQUENTIAL` (cat does), and its requests come in any order.
pub(super) const FAR_LEN: u64 = 4 << 20;

/// So many reads in order are a while.
const STEPS_MIN: u32 = 8;

/// The first window: 1 MiB, and the 128 KiB that the kernel asks for beyond a read of 1 MiB.
pub(super) const WINDOW_LEN_START: u64 = (1 << 20) + (128 << 10);

/// A rest of a file up to this is fetched whole: its transfer then ends in order, and the next read finds it here.
pub(super) const SMALL_REST_LEN: u64 = 1 << 20;

/// A read at random of up to this much is fetched alone (a pick); a larger one costs no more if its stream has no end.
pub(super) const PICK_LEN_MAX: u64 = 64 << 10;

/// Where so many parts of a block are there, the next read in it fetches the rest: whoever jumps about there comes back.
pub(super) const PARTS_MAX: usize = 2;

/// What is fetched begins and ends at multiples of this, as what the kernel asks for does.
const PAGE_LEN: u64 = 4 << 10;

/// The start of the page that `offset` is in.
pub(super) fn page_start(offset: u64) -> u64 {
    offset - offset % PAGE_LEN
}

/// The end of the page whose last byte is the one before `offset`.
pub(super) fn page_end(offset: u64) -> u64 {
    offset.checked_next_multiple_of(PAGE_LEN).unwrap_or(offset)
}

/// So many jumps without a read in order between them, and the file is read at random.
const JUMPS_MAX: u32 = 3;

/// Readers of one file that are told apart; the kernel does not say which of them sends a read.
const RUNS_MAX: usize = 4;

/// How a read relates to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It goes on where one of the readers left off.
    InOrder,
    /// It begins somewhere else.
    Jump,
}

/// The recent reads of a file.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    /// Where each reader left off, and how many reads in order it has made; the most recent one first.
    runs: Vec<(u64, u32)>,
    jumps: u32,
}

impl Pattern {
    /// Takes note of a read of `offset..end`.
    pub(super) fn note(&mut self, offset: u64, end: u64) -> Access {
        let near = |(run_end, steps): &(u64, u32)| {
            run_end.abs_diff(offset) <= if *steps >= STEPS_MIN { FAR_LEN } else { NEAR_LEN }
        };
        match self.runs.iter().position(near) {
            Some(place) => {
                let (run_end, steps) = self.runs.remove(place);
                self.runs.insert(0, (run_end.max(end), steps.saturating_add(1)));
                self.jumps = 0;
                Access::InOrder
            }
            None => {
                self.runs.truncate(RUNS_MAX - 1);
                self.runs.insert(0, (end, 0));
                self.jumps = self.jumps.saturating_add(1);
                Access::Jump
            }
        }
    }

    /// Whether the next read is likely to be somewhere else, so that a stream behind the last one is of no use.
    pub(super) fn is_random(&self) -> bool {
        self.jumps >= JUMPS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn reads_out_of_order_within_a_mebibyte_are_in_order() {
        let mut pattern = Pattern::default();
        assert_eq!(pattern.note(0, 128 * KIB), Access::Jump);
        for start in [256, 128, 512, 384, 640] {
            assert_eq!(pattern.note(start * KIB, (start + 128) * KIB), Access::InOrder, "{start}");
        }
    }

    #[test]
    fn readahead_of_four_mebibytes_out_of_order_is_in_order_once_a_reader_is_known() {
        let mut pattern = Pattern::default();
        pattern.note(0, MIB);
        for step in 1..=u64::from(STEPS_MIN) {
            assert_eq!(pattern.note(step * MIB, (step + 1) * MIB), Access::InOrder);
        }
        for start in [12, 9, 11, 10] {
            assert_eq!(pattern.note(start * MIB, (start + 1) * MIB), Access::InOrder, "{start}");
        }
        assert_eq!(pattern.note(20 * MIB, 21 * MIB), Access::Jump);
        // A reader who has only begun is no such one.
        assert_eq!(pattern.note(24 * MIB, 25 * MIB), Access::Jump);
    }

    #[test]
    fn two_readers_far_apart_are_both_in_order() {
        let mut pattern = Pattern::default();
        pattern.note(0, MIB);
        pattern.note(100 * MIB, 101 * MIB);
        for step in 1..10 {
            assert_eq!(pattern.note(step * MIB, (step + 1) * MIB), Access::InOrder);
            assert_eq!(pattern.note((100 + step) * MIB, (101 + step) * MIB), Access::InOrder);
        }
    }

    #[test]
    fn third_jump_in_a_row_is_random_and_a_read_in_order_ends_that() {
        let mut pattern = Pattern::default();
        for (jump, random) in [(10, false), (50, false), (30, true), (70, true)] {
            pattern.note(jump * MIB, jump * MIB + KIB);
            assert_eq!(pattern.is_random(), random);
        }
        pattern.note(70 * MIB + KIB, 70 * MIB + 2 * KIB);
        assert!(!pattern.is_random());
    }
}

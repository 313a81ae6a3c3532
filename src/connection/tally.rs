//! What each thread has caused on the wire, and how many round trips it has waited for.
//!
//! Round trips are counted by a logical clock, not by the wall's, so that a count is the same on a fast network and a slow one.
//! A thread's clock stands still while it sends. What it sends remembers the [`Moment`], and to wait for the answer puts the clock
//! to one round trip after that moment, unless it is there already: ten commands in one packet are one round trip.
//!
//! Moments of two clocks cannot be compared. Where one thread waits for the answer to what another one has sent, that is one
//! round trip if it had to wait at all, and none if the answer had come.
//!
//! Not counted: the time that many bytes take beyond the first of them, and the wait for others who use the same connection.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was caused on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Round trips waited for, one after the other.
    pub round_trips: u64,
    /// Commands sent.
    pub commands: u64,
    /// Writes on control connections, each one packet where it is short.
    pub packets: u64,
    /// Control connections opened.
    pub control_connections: u64,
    /// Data connections begun.
    pub data_connections: u64,
    /// Bytes sent, on control and data connections, before encryption.
    pub sent: u64,
    /// Bytes received, likewise.
    pub received: u64,
}

/// A logical clock: which one, and how many round trips have passed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    number: u64,
    trips: u64,
}

/// A point in a thread's logical time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(Clock);

thread_local! {
    static TALLY: Cell<Tally> = const {
        Cell::new(Tally {
            round_trips: 0,
            commands: 0,
            packets: 0,
            control_connections: 0,
            data_connections: 0,
            sent: 0,
            received: 0,
        })
    };
    static CLOCK: Cell<Clock> = Cell::new(Clock::start());
    static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
}

impl Clock {
    /// A clock of its own.
    pub fn start() -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        Self { number: STARTED.fetch_add(1, Ordering::Relaxed), trips: 0 }
    }

    /// Does `work` by this clock, and says what it has caused on the wire. `None` within the work of another clock: it belongs
    /// to that one.
    pub fn count<T>(&mut self, work: impl FnOnce() -> T) -> (T, Option<Tally>) {
        if IS_COUNTING.replace(true) {
            return (work(), None);
        }
        /// Also where `work` panics: the thread may serve others afterwards.
        struct Restore(Clock);
        impl Drop for Restore {
            fn drop(&mut self) {
                CLOCK.set(self.0);
                IS_COUNTING.set(false);
            }
        }
        let _restore = Restore(CLOCK.replace(*self));
        let before = TALLY.get();
        let result = work();
        *self = CLOCK.get();
        (result, Some(TALLY.get().since(before)))
    }
}

impl Moment {
    /// The moment that this thread has come to.
    pub fn now() -> Self {
        Self(CLOCK.get())
    }

    /// One round trip after it.
    #[must_use]
    pub fn answered(self) -> Self {
        Self(Clock { trips: self.0.trips + 1, ..self.0 })
    }

    /// This thread goes on when that moment has come. `has_waited`: whether it really had to, which counts where the moment is
    /// one of another clock.
    pub fn reach(self, has_waited: bool) {
        let mut clock = CLOCK.get();
        let passed = match self.0.number == clock.number {
            true => self.0.trips.saturating_sub(clock.trips),
            false => u64::from(has_waited),
        };
        clock.trips += passed;
        CLOCK.set(clock);
        add(|tally| tally.round_trips += passed);
    }
}

impl Tally {
    /// What was added after `before`.
    fn since(self, before: Self) -> Self {
        Self {
            round_trips: self.round_trips.saturating_sub(before.round_trips),
            commands: self.commands.saturating_sub(before.commands),
            packets: self.packets.saturating_sub(before.packets),
            control_connections: self.control_connections.saturating_sub(before.control_connections),
            data_connections: self.data_connections.saturating_sub(before.data_connections),
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
        }
    }
}

/// Adds to what this thread has caused.
pub fn add(change: impl FnOnce(&mut Tally)) {
    let mut tally = TALLY.get();
    change(&mut tally);
    TALLY.set(tally);
}

/// How many round trips this thread has waited for since it began.
pub fn round_trips() -> u64 {
    TALLY.get().round_trips
}

/// This thread has waited for so many round trips, as others have counted them for it.
pub fn wait_round_trips(count: u64) {
    (0..count).fold(Moment::now(), |moment, _| moment.answered()).reach(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips(work: impl FnOnce()) -> u64 {
        Clock::start().count(work).1.unwrap().round_trips
    }

    #[test]
    fn what_was_sent_at_once_comes_after_one_round_trip() {
        let work = || {
            let sent: Vec<_> = (0..10).map(|_| Moment::now()).collect();
            sent.into_iter().for_each(|sent| sent.answered().reach(true));
        };
        assert_eq!(round_trips(work), 1);
    }

    #[test]
    fn what_was_sent_in_turn_comes_after_as_many_round_trips() {
        assert_eq!(round_trips(|| (0..3).for_each(|_| Moment::now().answered().reach(false))), 3);
    }

    #[test]
    fn answer_that_came_while_another_was_waited_for_costs_nothing() {
        let work = || {
            let early = Moment::now();
            Moment::now().answered().reach(true);
            Moment::now().answered().reach(true);
            early.answered().reach(true);
        };
        assert_eq!(round_trips(work), 2);
    }

    #[test]
    fn question_of_another_operation_costs_one_round_trip_where_its_answer_is_not_there() {
        let (sent, _) = Clock::start().count(|| {
            wait_round_trips(40);
            Moment::now()
        });
        assert_eq!(round_trips(|| sent.answered().reach(true)), 1);
        assert_eq!(round_trips(|| sent.answered().reach(false)), 0);
    }

    #[test]
    fn operation_goes_on_by_its_own_clock() {
        let mut clock = Clock::start();
        let (sent, _) = clock.count(Moment::now);
        clock.count(|| wait_round_trips(1));
        let (_, tally) = clock.count(|| sent.answered().reach(true));
        assert_eq!(tally.unwrap().round_trips, 0);
    }

    #[test]
    fn inner_operation_belongs_to_the_outer_one() {
        let mut inner = None;
        let trips = round_trips(|| inner = Some(Clock::start().count(|| wait_round_trips(2)).1));
        assert_eq!((trips, inner), (2, Some(None)));
    }
}

//! How many connections the server lets us have, as far as it has said.

use std::time::{Duration, Instant};

/// Falls when the server refuses one more, and rises again by one after a while.
#[derive(Debug)]
pub(super) struct Ceiling {
    current: usize,
    max: usize,
    regrowth: Duration,
    grow_at: Option<Instant>,
}

impl Ceiling {
    /// At least one: without any connection there is nothing to wait for.
    pub(super) fn new(max: usize, regrowth: Duration) -> Self {
        Self { current: max.max(1), max: max.max(1), regrowth, grow_at: None }
    }

    pub(super) fn get(&self) -> usize {
        self.current
    }

    /// The server refused one beyond `connections`.
    pub(super) fn lower(&mut self, connections: usize, now: Instant) {
        let lowered = connections.clamp(1, self.current);
        if lowered < self.current {
            tracing::info!(connections = lowered, "the server lets us have fewer connections");
        }
        self.current = lowered;
        self.grow_at = now.checked_add(self.regrowth);
    }

    /// Rises by one where the time has come.
    pub(super) fn grow(&mut self, now: Instant) {
        if self.grow_at.is_some_and(|at| at <= now) && self.current < self.max {
            self.current += 1;
            self.grow_at = now.checked_add(self.regrowth);
        }
    }

    /// When it may rise next.
    pub(super) fn grows_at(&self) -> Option<Instant> {
        self.grow_at.filter(|_| self.current < self.max)
    }

    /// Whether one session has to serve in turn for what otherwise has sessions of its own.
    pub(super) fn takes_turns(&self) -> bool {
        self.current == 1
    }

    /// Sessions that may be lent whole. One beside them is for the questions of all.
    pub(super) fn exclusive(&self) -> usize {
        self.current.saturating_sub(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_falls_on_refusal_and_rises_by_one_after_a_while() {
        let minute = Duration::from_secs(60);
        let begin = Instant::now();
        let mut ceiling = Ceiling::new(8, minute);
        ceiling.lower(3, begin);
        assert_eq!(ceiling.get(), 3);
        ceiling.grow(begin + minute / 2);
        assert_eq!(ceiling.get(), 3);
        ceiling.grow(begin + minute);
        ceiling.grow(begin + minute);
        assert_eq!(ceiling.get(), 4);
        ceiling.lower(9, begin + minute);
        assert_eq!(ceiling.get(), 4);
    }

    #[test]
    fn one_connection_is_left_whatever_the_server_says() {
        let mut ceiling = Ceiling::new(0, Duration::ZERO);
        assert_eq!((ceiling.get(), ceiling.exclusive()), (1, 1));
        ceiling.lower(0, Instant::now());
        assert!(ceiling.takes_turns());
    }
}

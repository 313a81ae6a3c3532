//! What guesses may cost: little beside what was wanted.

/// A tenth of what was wanted may be fetched in vain, and a little to begin with.
const PART: u64 = 10;

/// What was wanted and what was guessed, in one unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    /// What may be outstanding or wasted before anything was wanted.
    start: u64,
    /// What was asked for by somebody who waited.
    pub(super) wanted: u64,
    /// Guessed, and neither used nor given up yet.
    outstanding: u64,
    pub(super) used: u64,
    pub(super) wasted: u64,
}

impl Account {
    pub(super) fn new(start: u64) -> Self {
        Self { start, wanted: 0, outstanding: 0, used: 0, wasted: 0 }
    }

    /// Enters a guess, if there is room for one that costs so much.
    pub(super) fn guess(&mut self, cost: u64) -> bool {
        let at_risk = self.outstanding.saturating_add(self.wasted).saturating_add(cost);
        let is_allowed = at_risk <= self.start.saturating_add(self.wanted / PART);
        if is_allowed {
            self.outstanding += cost;
        }
        is_allowed
    }

    /// A guess was right.
    pub(super) fn was_used(&mut self, cost: u64) {
        self.outstanding = self.outstanding.saturating_sub(cost);
        self.used += cost;
    }

    /// A guess was wrong.
    pub(super) fn was_wasted(&mut self, cost: u64) {
        self.outstanding = self.outstanding.saturating_sub(cost);
        self.wasted += cost;
    }

    /// A guess was not made after all: it has cost nothing.
    pub(super) fn was_dropped(&mut self, cost: u64) {
        self.outstanding = self.outstanding.saturating_sub(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_end_when_a_tenth_and_the_start_are_at_risk() {
        let mut account = Account::new(100);
        assert!(account.guess(60) && account.guess(40));
        assert!(!account.guess(1));
        account.was_wasted(60);
        assert!(!account.guess(1), "what was wasted stays at risk");
        account.was_used(40);
        assert!(account.guess(40));
        account.wanted += 500;
        assert!(account.guess(50) && !account.guess(1));
        account.was_dropped(50);
        assert!(account.guess(50));
    }
}

//! What is brief may have the sessions that otherwise stay for who comes next, since it gives them back soon.
//!
//! One session stays for questions, and one more stays idle while something is fetched ahead. That somebody who comes
//! finds one at once is what they are for; where several brief leases take turns, one of them comes back about as soon. How
//! soon is measured: as the longest of them took lately, divided by how many there are. Who waits goes before all that is
//! begun then.
//!
//! Not here: what is brief. Who borrows says so, and is held to nothing but the measure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tidying::Idle;
use super::{LeaseRecord, SharedSlot, State, Want};
use crate::pool::session::Session;

/// With so many connections all stays as it is: there are too few that could come back.
const TOO_FEW: usize = 2;

/// How long a session is meant to be lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// About as long as its round trips take.
    Brief,
    /// Nobody knows.
    Long,
}

impl Stay {
    /// Brief where that is known.
    pub fn brief_if(is_brief: bool) -> Self {
        if is_brief { Self::Brief } else { Self::Long }
    }
}

/// How long brief leases took lately.
#[derive(Debug)]
pub(super) struct Briefness {
    /// So long who comes may have to wait until one of them is over.
    wait_max: Duration,
    /// The longest, which counts a little less with each one since. `None` before the first.
    longest: Option<Duration>,
}

impl Briefness {
    pub(super) fn new(wait_max: Duration) -> Self {
        Self { wait_max, longest: None }
    }

    pub(super) fn note(&mut self, took: Duration) {
        let before = self.longest.unwrap_or_default();
        self.longest = Some(took.max(before - before / 8));
    }
}

impl State {
    /// Whether the last session may be lent, because another one comes back soon from who has it briefly; `stay` is what it would be
    /// lent for.
    pub(super) fn may_lend_last(&self, stay: Stay) -> bool {
        let is_asked_for = self.waiters.iter().any(|waiter| waiter.want == Want::Shared);
        let Some(longest) = self.briefness.longest.filter(|_| self.connections() > TOO_FEW && !is_asked_for) else {
            return false;
        };
        let under_way = self.leases.values().filter(|record| record.stay == Stay::Brief);
        let longest = under_way.map(|record| record.since.elapsed()).fold(longest, Duration::max);
        let others = self.leases.values().filter(|record| self.is_back_soon(record)).count();
        let count = others + usize::from(stay == Stay::Brief);
        others > 0 && longest / u32::try_from(count).unwrap_or(u32::MAX) <= self.briefness.wait_max
    }

    /// Whether a lease is brief, and has not lasted longer than such leases do.
    pub(super) fn is_back_soon(&self, record: &LeaseRecord) -> bool {
        let usual = self.briefness.longest.unwrap_or_default().max(self.briefness.wait_max);
        record.stay == Stay::Brief && record.since.elapsed() <= usual
    }

    /// The session for questions, and when one was asked last, where that is as long ago as a brief lease takes, and one of those
    /// comes back soon.
    pub(super) fn take_resting_shared(&mut self) -> Option<(Arc<Session>, Instant)> {
        let rests = self.rests_at().is_some_and(|at| at <= Instant::now()) && self.may_lend_last(Stay::Brief);
        let slot = self.shared.take_if(|slot| rests && slot.users == 0 && slot.session.is_ready())?;
        Some((slot.session, slot.since))
    }

    /// Takes a session back: that for questions is it again, unless there is another one by now.
    pub(super) fn put_back(&mut self, session: Arc<Session>, shared_since: Option<Instant>) {
        match shared_since {
            Some(since) if self.shared.is_none() => self.shared = Some(SharedSlot { session, users: 0, since }),
            _ => self.idle.push(Idle::new(session)),
        }
    }

    /// When nobody will have asked a question for as long as a brief lease takes.
    pub(super) fn rests_at(&self) -> Option<Instant> {
        let slot = self.shared.as_ref().filter(|slot| slot.users == 0)?;
        slot.since.checked_add(self.briefness.longest?)
    }

    /// How many sessions may be lent to those who wait, as far as logging in for them goes.
    pub(super) fn lendable(&self) -> usize {
        let is_brief = |want: Want| matches!(want, Want::Exclusive(_, Stay::Brief));
        match self.waiters.iter().any(|waiter| is_brief(waiter.want)) && self.may_lend_last(Stay::Brief) {
            true => self.ceiling.get(),
            false => self.ceiling.exclusive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_took_long_is_forgotten_by_and_by() {
        let (short, long) = (Duration::from_millis(40), Duration::from_secs(2));
        let mut briefness = Briefness::new(Duration::from_millis(50));
        briefness.note(short);
        briefness.note(long);
        assert_eq!(briefness.longest, Some(long));
        let mut count = 0;
        while briefness.longest.is_some_and(|longest| longest > briefness.wait_max * 8) {
            briefness.note(short);
            count += 1;
        }
        assert!((5..20).contains(&count), "{count}");
        (0..50).for_each(|_| briefness.note(short));
        assert_eq!(briefness.longest, Some(short));
    }
}

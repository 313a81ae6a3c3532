//! Sessions for what nobody waits for: what is fetched ahead never takes what a caller could use.
//!
//! Such a lease is given only while nobody waits, one idle session stays for who comes next, and it is the first that is
//! told to give way (`State::press`). Where logins fail there is none: guesses must not make a server be asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::{Inner, Pool, Purpose, State, Stay, Want};
use crate::connection::deadlines::after;
use crate::pool::lease::Lease;
use crate::pool::session::Session;

/// What one can have who takes only what nobody else needs.
enum Patience {
    /// Nothing, now.
    Over,
    /// And when a question was asked on it last, where it is the one for these.
    Lend(Arc<Session>, Option<Instant>),
    /// So many logins more, and then perhaps one.
    LogIn(usize),
}

impl Pool {
    /// A session lent whole for what nobody waits for: only one that is idle, or that can be logged in within `patience`, while
    /// nobody waits and one more stays idle for who comes. What is brief may have the last one as well, where such leases are given back soon.
    /// Whoever has it is told first that it is wanted, and at once.
    ///
    /// `None` where there is none such, and after a login that failed: it never makes the server be tried again.
    pub fn idle(&self, stay: Stay, patience: Duration) -> Option<Lease> {
        let (session, number, wanted) = self.inner.acquire_idle(stay, after(patience))?;
        Some(Lease::new(session, number, wanted, Arc::clone(&self.inner)))
    }

    /// Logs in for so many transfers that will begin in a moment, and waits for nothing. Where logins fail nothing is done: who begins a
    /// transfer then will find out.
    pub fn prepare(&self, transfers: usize) {
        let mut state = self.inner.state.lock();
        let count = state.logins_ahead(transfers);
        self.inner.begin_logins(&mut state, count);
    }
}

impl Inner {
    fn acquire_idle(self: &Arc<Self>, stay: Stay, deadline: Instant) -> Option<(Arc<Session>, u64, Arc<AtomicBool>)> {
        let mut state = self.state.lock();
        state.patient += 1;
        let lent = loop {
            match state.patience(stay) {
                Patience::Over => break None,
                Patience::Lend(session, shared_since) => {
                    let number = state.take_number();
                    let wanted = state.enter_lease(number, Purpose::Read, stay, shared_since, true);
                    break Some((session, number, wanted));
                }
                Patience::LogIn(count) => self.begin_logins(&mut state, count),
            }
            let rests_at = state.rests_at().filter(|at| *at > Instant::now());
            let until = rests_at.map_or(deadline, |at| at.min(deadline));
            if self.changed.wait_until(&mut state, until).timed_out() && until == deadline {
                break None;
            }
        };
        state.patient -= 1;
        lent
    }
}

impl State {
    /// How many logins are of use to so many transfers that are still to begin, beside the session for questions.
    fn logins_ahead(&self, transfers: usize) -> usize {
        let fails = self.backoff.failure.is_some() || self.refused.is_some();
        if self.closed || fails || self.ceiling.takes_turns() {
            return 0;
        }
        let wanted = transfers.min(self.ceiling.exclusive()) + usize::from(self.shared.is_none());
        let there = self.idle.len() + self.leases.len() + self.logging_in;
        let room = self.ceiling.get().saturating_sub(self.connections() + self.logging_in);
        wanted.saturating_sub(there).min(room)
    }

    /// What one can have who takes only what nobody else needs: never the last idle session, nor the last one that may be lent, but
    /// where it is back soon.
    fn patience(&mut self, stay: Stay) -> Patience {
        let fails = self.backoff.failure.is_some() || self.refused.is_some();
        if self.closed || fails || !self.waiters.is_empty() || self.ceiling.takes_turns() {
            return Patience::Over;
        }
        // As long as more can be logged in, that is better for all. What is being logged in may take its time: ProFTPD puts a login off by 200 ms
        // and more when others come at the same moment.
        let (there, ceiling) = (self.connections(), self.ceiling.get());
        let is_all = there + self.logging_in >= ceiling && 2 * there > ceiling;
        let is_back_soon = stay == Stay::Brief && is_all && self.may_lend_last(stay);
        let lendable = if is_back_soon { self.ceiling.get() } else { self.ceiling.exclusive() - 1 };
        if self.leases.len() >= lendable {
            // Those that were lent in this way come back soon; of the others nobody knows.
            let comes_back = self.leases.values().any(|record| record.ahead);
            return if comes_back { Patience::LogIn(0) } else { Patience::Over };
        }
        let kept = 1 + usize::from(self.shared.is_none());
        if (is_back_soon || self.idle.len() > kept)
            // The one that who comes next can use least.
            && let Some(session) = self.take_idle(Want::Shared)
        {
            return Patience::Lend(session, None);
        }
        if is_back_soon && let Some((session, since)) = self.take_resting_shared() {
            return Patience::Lend(session, Some(since));
        }
        let room = self.ceiling.get().saturating_sub(self.connections() + self.logging_in);
        let wanted = (kept + self.patient).saturating_sub(self.idle.len() + self.logging_in);
        match wanted.min(room) {
            0 if self.logging_in == 0 && !is_back_soon => Patience::Over,
            count => Patience::LogIn(count),
        }
    }
}

//! Logins before anybody waits for them: a session that is there in time costs its caller nothing.
//!
//! Begun only behind what has just been lent, one at a time, while nobody waits and logins succeed. A mount that only lists, or
//! only asks, has no use for them, and gets none.

use std::time::Instant;

use super::{Granted, State, Want};
use crate::pool::pool::Purpose;
use crate::pool::spare::Readily;

/// So many sessions are enough for one who reads here and there, or writes file after file: each needs about three round trips behind a
/// transfer that was stopped until it can begin the next one at once. Several at once need as many each; one more is for questions.
const IN_TURNS_MAX: usize = 4;

impl State {
    /// How many logins to begin, now that `granted` was lent.
    pub(super) fn logins_behind(&self, want: Want, granted: &Granted) -> usize {
        let fails = self.backoff.failure.is_some() || self.refused.is_some() || self.backoff.until > Instant::now();
        let connections = self.connections() + self.logging_in;
        let is_room = connections < self.ceiling.get() && self.logging_in == 0;
        if self.closed || fails || !is_room || !self.waiters.is_empty() || self.ceiling.takes_turns() {
            return 0;
        }
        let is_useful = match (want, granted) {
            // The only session is taken for questions; the next transfer or listing needs another.
            (Want::Shared, _) => self.has_lent && connections == 1,
            // Its caller waits for its data connection. One that has had its time would not.
            (Want::Exclusive(Purpose::Read | Purpose::Write, _), Granted::Exclusive(session, ..)) => {
                let could_be_ready = session.spare_command().is_some();
                let in_turns = 1 + IN_TURNS_MAX.saturating_mul(self.leases.len());
                could_be_ready && session.readily() < Readily::AtOnce && connections < in_turns
            }
            (Want::Exclusive(..), _) => false,
        };
        usize::from(is_useful)
    }
}

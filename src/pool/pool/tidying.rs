//! Sessions that nobody uses: which are closed before the server does so, and which give up their data connection ahead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::State;
use crate::pool::session::Session;

/// Data connections opened ahead that sessions may keep which nobody has used lately.
const STALE_SPARES_MAX: usize = 3;

/// What counts as lately.
pub(super) const LATELY: Duration = Duration::from_secs(10);

/// A session that nobody has.
pub(super) struct Idle {
    pub(super) session: Arc<Session>,
    pub(super) since: Instant,
    /// It is longer than [`LATELY`] that it was used.
    is_stale: bool,
}

impl Idle {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session, since: Instant::now(), is_stale: false }
    }
}

impl State {
    /// The sessions that nobody has used for so long that the server might close them.
    pub(super) fn take_expired(&mut self, idle_close: Duration, now: Instant) -> Vec<Arc<Session>> {
        let is_expired = |since: Instant| now.saturating_duration_since(since) >= idle_close;
        let mut expired: Vec<_> =
            self.idle.extract_if(.., |idle| is_expired(idle.since)).map(|idle| idle.session).collect();
        expired.extend(self.shared.take_if(|slot| slot.users == 0 && is_expired(slot.since)).map(|slot| slot.session));
        expired
    }

    /// Spares cost the server a port each, and whoever stands between a place in a table.
    pub(super) fn give_up_stale_spares(&mut self, now: Instant) {
        // The one used last is at the end.
        let stale = self.idle.iter_mut().rev().filter(|idle| now.saturating_duration_since(idle.since) >= LATELY);
        for (place, idle) in (0..).zip(stale) {
            idle.is_stale = true;
            if place >= STALE_SPARES_MAX {
                idle.session.give_up_spare();
            }
        }
        // Who is asked only makes no transfer.
        if let Some(slot) = self.shared.as_ref().filter(|_| !self.ceiling.takes_turns()) {
            slot.session.give_up_spare();
        }
    }

    /// When there is something to tidy next.
    pub(super) fn next_expiry(&self, idle_close: Duration) -> Option<Instant> {
        let shared = self.shared.iter().filter(|slot| slot.users == 0).map(|slot| (slot.since, idle_close));
        let idle =
            self.idle.iter().map(|idle| (idle.since, if idle.is_stale { idle_close } else { idle_close.min(LATELY) }));
        idle.chain(shared).filter_map(|(since, patience)| since.checked_add(patience)).min()
    }
}

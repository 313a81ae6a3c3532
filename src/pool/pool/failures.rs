//! Logins that failed: how long the server is left alone, and what those who wait are told meanwhile.

use std::time::{Duration, Instant};

use crate::connection::deadlines::{after, remaining};
use crate::pool::error::PoolError;
use crate::pool::options::ServerOptions;

/// How long to leave the server alone after failed logins.
pub(super) struct Backoff {
    pub(super) failure: Option<PoolError>,
    pub(super) delay: Duration,
    pub(super) until: Instant,
}

/// A login refused although the password was right once: it has been changed, or the server has lost its list of users for a
/// moment. Tried again too often, some servers shut the address out.
pub(super) struct Refusal {
    pub(super) error: PoolError,
    pub(super) delay: Duration,
    pub(super) until: Instant,
}

impl Refusal {
    /// The refusal that came when `before`, if any, was over: it stands twice as long.
    pub(super) fn after(before: Option<&Self>, error: PoolError, options: &ServerOptions) -> Self {
        let delay = before.map_or(options.refusal_min, |before| before.delay.saturating_mul(2));
        let delay = delay.min(options.refusal_max);
        Self { error, delay, until: after(delay) }
    }

    pub(super) fn stands(&self) -> bool {
        remaining(self.until).is_some()
    }
}

impl Backoff {
    pub(super) fn failed(&mut self, failure: PoolError, options: &ServerOptions) {
        self.delay = self.delay.saturating_mul(2).clamp(options.backoff_min, options.backoff_max);
        self.until = after(self.delay);
        self.failure = Some(failure);
    }

    pub(super) fn succeeded(&mut self) {
        self.failure = None;
        self.delay = Duration::ZERO;
        self.until = Instant::now();
    }
}

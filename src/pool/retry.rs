//! What may be done twice, and when.
//!
//! An error of the connection says whether the server may have seen the command. What it never saw is sent again; what
//! it may have seen only if doing it twice is as good as once. What a caller may not have done twice it resolves by
//! looking at the result (`remote`).

use std::thread;
use std::time::{Duration, Instant};

use super::error::PoolError;
use super::lease::{Lease, SharedSession};
use super::pool::{Pool, Purpose, Stay};
use crate::connection::deadlines::remaining;

/// Attempts at one operation. A session that dies each time is the operation's doing, and more would not help.
const ATTEMPTS_MAX: u32 = 5;

/// The first try again is at once (an idle connection that the server has dropped); the ones after wait this long,
/// twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether doing it twice is as good as once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Reads, questions, and what sets a state whatever it was before.
    Safe,
    /// What changes the server: done again only where it was never sent.
    Unsafe,
}

impl Pool {
    /// Does `operation` on the shared session, and again on a fresh one where the connection was lost and that is safe.
    ///
    /// # Errors
    /// The last attempt's, or those of [`Pool::shared`].
    pub fn retry<T>(
        &self,
        deadline: Instant,
        repeat: Repeat,
        mut operation: impl FnMut(&SharedSession) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        attempt(deadline, repeat, || operation(&self.shared(deadline)?))
    }

    /// Does `operation` on a session of its own, and again on another one where the connection was lost and that is safe.
    ///
    /// # Errors
    /// The last attempt's, or those of [`Pool::exclusive`].
    pub fn retry_exclusive<T>(
        &self,
        purpose: Purpose,
        deadline: Instant,
        repeat: Repeat,
        operation: impl FnMut(Lease) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        self.retry_lent(purpose, Stay::Long, deadline, repeat, operation)
    }

    /// The same for as long as `stay` says: [`Pool::brief`] or [`Pool::exclusive`].
    ///
    /// # Errors
    /// The last attempt's, or those of [`Pool::exclusive`].
    pub fn retry_lent<T>(
        &self,
        purpose: Purpose,
        stay: Stay,
        deadline: Instant,
        repeat: Repeat,
        mut operation: impl FnMut(Lease) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        attempt(deadline, repeat, || operation(self.lend(purpose, stay, deadline)?))
    }
}

fn attempt<T>(
    deadline: Instant,
    repeat: Repeat,
    mut operation: impl FnMut() -> Result<T, PoolError>,
) -> Result<T, PoolError> {
    let mut pause = Duration::ZERO;
    for number in 1.. {
        match operation() {
            Err(error) if number < ATTEMPTS_MAX && may_repeat(&error, repeat) => {
                let Some(left) = remaining(deadline) else { return Err(error) };
                tracing::debug!(number, "trying again: {error}");
                thread::sleep(pause.min(left));
                pause = if pause.is_zero() { PAUSE } else { pause.saturating_mul(2) };
            }
            result => return result,
        }
    }
    Err(PoolError::TimedOut { during: "trying again", sent: true })
}

fn may_repeat(error: &PoolError, repeat: Repeat) -> bool {
    error.is_worth_another_try() && (repeat == Repeat::Safe || !error.sent())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionError;
    use crate::connection::deadlines::after;

    fn lost(sent: bool) -> PoolError {
        PoolError::Connection(ConnectionError::Closed { reply: None, sent })
    }

    fn attempts(repeat: Repeat, error: &PoolError) -> u32 {
        let mut count = 0;
        let result = attempt(after(Duration::from_secs(60)), repeat, || {
            count += 1;
            if count < 3 { Err(error.clone()) } else { Ok(()) }
        });
        assert_eq!(result.is_ok(), count == 3);
        count
    }

    #[test]
    fn unsafe_operation_is_done_again_only_where_it_was_never_sent() {
        assert_eq!(attempts(Repeat::Unsafe, &lost(true)), 1);
        assert_eq!(attempts(Repeat::Unsafe, &lost(false)), 3);
        assert_eq!(attempts(Repeat::Safe, &lost(true)), 3);
    }

    #[test]
    fn attempts_have_an_end() {
        let mut count = 0;
        let result: Result<(), _> = attempt(after(Duration::from_secs(60)), Repeat::Safe, || {
            count += 1;
            Err(lost(true))
        });
        assert!(result.is_err());
        assert_eq!(count, ATTEMPTS_MAX);
    }
}

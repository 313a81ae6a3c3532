//! How long we wait: one number for each kind of wait, and none of them endless.

use std::time::{Duration, Instant};

/// The longest waits on one connection. Each counts from the last sign of life, so a slow server that still moves is
/// not cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From the name of a host to an established TCP connection, over all of the host's addresses.
    pub connect: Duration,
    /// From a command, or the reply before, to the next reply.
    pub reply: Duration,
    /// Between two movements of bytes on a data connection, and from the end of the data to the completion reply.
    pub data: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), reply: Duration::from_secs(20), data: Duration::from_secs(30) }
    }
}

/// What is left until `deadline`; `None` once it has passed.
pub(crate) fn remaining(deadline: Instant) -> Option<Duration> {
    // A zero duration means "for ever" to the socket options it ends up in.
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// The instant `duration` from now. Durations are options that users type, so one beyond the clock's range is cut
/// to a day.
pub(crate) fn after(duration: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(86_400);
    let now = Instant::now();
    now.checked_add(duration.min(DAY)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_remains_of_a_deadline_that_has_passed() {
        assert_eq!(remaining(Instant::now()), None);
        assert!(remaining(after(Duration::from_secs(5))).is_some());
    }

    #[test]
    fn endless_duration_becomes_an_instant_all_the_same() {
        assert!(after(Duration::MAX) > Instant::now());
    }
}

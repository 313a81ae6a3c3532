//! The time of day and a clock for ages, so that a test can turn both.

use std::time::{Instant, SystemTime};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// For ages and deadlines.
    fn instant(&self) -> Instant;
    /// The time of day, for modification times.
    fn system_time(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn system_time(&self) -> SystemTime {
        SystemTime::now()
    }
}

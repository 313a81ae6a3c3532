//! Waiting for words of several control connections at once, for those who have other things to do meanwhile.

use std::io;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use super::ControlConnection;
use super::deadlines::remaining;

/// One thread waits, and others wake it.
#[derive(Debug)]
pub struct Readiness {
    /// The kernel's counter of wakes.
    wakes: OwnedFd,
}

impl Readiness {
    /// Nobody has woken it.
    ///
    /// # Errors
    /// Where the system has no more descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { wakes: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)? })
    }

    /// Ends the wait of [`Self::wait`], the present one or the next.
    pub fn wake(&self) {
        // Where the counter is full, enough wakes are on their way.
        let _ = rustix::io::write(&self.wakes, &1_u64.to_ne_bytes());
    }

    /// Waits until a word has come on one of `connections`, or one has ended, or somebody has woken us, or until `deadline`.
    pub fn wait<'a>(&self, connections: impl Iterator<Item = &'a ControlConnection>, deadline: Instant) {
        let mut events = vec![PollFd::new(&self.wakes, PollFlags::IN)];
        events.extend(connections.map(|connection| PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN)));
        let left = remaining(deadline).unwrap_or_default();
        // An interrupted wait is one that was woken.
        let _ = poll(&mut events, Timespec::try_from(left).ok().as_ref());
        let _ = rustix::io::read(&self.wakes, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connection::deadlines::after;

    #[test]
    fn wake_before_the_wait_ends_it() {
        let readiness = Readiness::new().unwrap();
        for _ in 0..1000 {
            readiness.wake();
        }
        let begun = Instant::now();
        readiness.wait(std::iter::empty(), after(Duration::from_secs(60)));
        assert!(begun.elapsed() < Duration::from_secs(30));
        // All of them are used up by one wait.
        readiness.wait(std::iter::empty(), after(Duration::from_millis(5)));
        assert!(begun.elapsed() >= Duration::from_millis(5));
    }
}

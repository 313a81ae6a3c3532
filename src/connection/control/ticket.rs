//! The right to the replies of one command in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Shared, TicketNumber};
use crate::connection::Readiness;
use crate::connection::error::ConnectionError;
use crate::connection::tally::Moment;
use crate::protocol::reply::Reply;

/// The right to the replies of one command in flight. Dropping it leaves the connection in step.
#[derive(Debug)]
pub struct Ticket {
    pub(super) shared: Arc<Shared>,
    pub(super) number: TicketNumber,
}

impl Ticket {
    /// Waits for the last reply; preliminary ones are passed over.
    ///
    /// # Errors
    /// [`ConnectionError::GivenUp`] at `deadline`, the connection being kept; any other: it is closed.
    pub fn wait(mut self, deadline: Instant) -> Result<Reply, ConnectionError> {
        loop {
            let (reply, is_last) = self.next(deadline)?;
            if is_last {
                return Ok(reply);
            }
        }
    }

    /// Waits for the next reply, preliminary or last (then with `true`).
    ///
    /// # Errors
    /// As for [`Self::wait`].
    pub fn next(&mut self, deadline: Instant) -> Result<(Reply, bool), ConnectionError> {
        let number = self.number;
        let mut state = self.shared.state.lock();
        let has_come = state.progress.get(&number).is_some_and(|progress| !progress.replies.is_empty());
        let (reply, is_last, sent) = self.shared.wait(&mut state, deadline, "a reply", |state| {
            let progress = state.progress.get_mut(&number)?;
            let reply = progress.replies.pop_front()?;
            Some((reply, progress.finished && progress.replies.is_empty(), progress.sent))
        })?;
        sent.answered().reach(!has_come);
        Ok((reply, is_last))
    }

    /// Counts the round trip of what is to come from now: for an upload, whose completion answers the end of its data.
    pub fn count_from_now(&self) {
        if let Some(progress) = self.shared.state.lock().progress.get_mut(&self.number) {
            progress.sent = Moment::now();
        }
    }

    /// The last reply, where it has come; preliminary ones are passed over. Does not read: that does
    /// [`super::ControlConnection::take_what_came`].
    ///
    /// # Errors
    /// As for [`Self::wait`], of a connection that has failed.
    pub fn poll(&mut self) -> Result<Option<Reply>, ConnectionError> {
        let mut state = self.shared.state.lock();
        if let Some(progress) = state.progress.get_mut(&self.number) {
            while let Some(reply) = progress.replies.pop_front() {
                if progress.finished && progress.replies.is_empty() {
                    return Ok(Some(reply));
                }
            }
        }
        state.failure.clone().map_or(Ok(None), Err)
    }

    /// Wakes `readiness` when the last reply has come, whoever has read it, or the connection has failed; at once where that is so already.
    pub fn tell(&self, readiness: &Arc<Readiness>) {
        let mut state = self.shared.state.lock();
        let is_over = state.failure.is_some();
        match state.progress.get_mut(&self.number) {
            Some(progress) if !progress.finished && !is_over => progress.wakes = Some(Arc::clone(readiness)),
            _ => readiness.wake(),
        }
    }

    /// Lets the server owe the reply from now on, for `patience`: for a transfer whose data has just ended.
    pub fn expect_now(&mut self, patience: Duration) {
        let mut state = self.shared.state.lock();
        if let Some(progress) = state.progress.get_mut(&self.number) {
            progress.since = Instant::now();
            progress.patience = patience;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.state.lock().abandon(self.number);
    }
}

//! A transfer whose data connection was reset: how the control connection comes back in step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ControlConnection, State, Ticket};
use crate::connection::deadlines::after;
use crate::connection::error::ConnectionError;
use crate::connection::tally::{self, Moment};
use crate::protocol::command::{Command, Encoding};
use crate::protocol::pipeline::Expects;

/// How long to wait for the first word on a stopped transfer before the marker is sent.
const FIRST_WORD: Duration = Duration::from_millis(300);

/// How a server goes on behind a transfer that is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOrder {
    /// It answers what comes meanwhile, and keeps the order.
    Kept,
    /// It throws away what it reads while the transfer runs, and answers nothing before that is over.
    OneByOne,
    /// Nobody knows.
    Unknown,
}

/// How a transfer that was stopped has ended.
#[derive(Debug)]
pub struct Stopped {
    /// The server has said a last word on it.
    pub has_ended: bool,
    /// For the answer to what was asked behind it; only where the transfer has ended.
    pub next: Option<Ticket>,
}

impl ControlConnection {
    /// Brings the connection back in step after the data connection of a transfer was reset: PWD goes behind it as a
    /// marker, and what comes before its 257 belongs to the stopped transfer. All other tickets must be done.
    ///
    /// The marker goes at once where `order` is kept; else it waits for the first word
    /// on the transfer: pure-ftpd throws away a command that it reads before it has noticed the reset, and pyftpdlib
    /// and libunftp may answer it first. Where a question for an address was in the transfer's packet, its answer is that word: pure-ftpd says
    /// nothing on half of the stopped transfers. What it names is forgotten.
    ///
    /// `next` goes behind the marker, in its packet: what is to be asked when the transfer is over.
    ///
    /// Says whether the server has said a last word on the transfer. Where it has not, it may not know of its end:
    /// pyftpdlib, when the reset overtakes its accept, keeps the file and sends it on the *next* data connection.
    ///
    /// # Errors
    /// Where the marker does not come by `deadline`; the connection is then closed.
    pub fn stop_transfer(
        &self,
        order: StopOrder,
        next: Option<Command>,
        deadline: Instant,
    ) -> Result<Stopped, ConnectionError> {
        let at_once = order == StopOrder::Kept;
        let _writer = self.shared.writer.lock();
        if self.in_flight() == 0 && self.is_open() {
            // Its last reply came before the reset.
            return Ok(Stopped { has_ended: true, next: None });
        }
        self.shared.state.lock().has_final_leftover = false;
        self.pass_marker(at_once, next, deadline)
            .and_then(|stopped| {
                // The 257 came and nothing on the transfer before it: that may still be on its way (ProFTPD over TLS, on a busy machine). What
                // comes before a second marker is it, or there is none; a first word has its time once. The answer to `next` is lost with it.
                match order {
                    StopOrder::Kept | StopOrder::Unknown if !stopped.has_ended => {
                        // Its own answer may be a refusal, which is no word on the transfer.
                        if let Some(ticket) = stopped.next {
                            ticket.wait(deadline)?;
                        }
                        self.pass_marker(!at_once, None, deadline)
                    }
                    StopOrder::Kept | StopOrder::Unknown | StopOrder::OneByOne => Ok(stopped),
                }
            })
            .inspect_err(|_| self.close())
    }

    /// Sends a marker behind a stopped transfer, `next` behind that, and waits for the marker. Says whether a final reply to the transfer came before it.
    fn pass_marker(&self, at_once: bool, next: Option<Command>, deadline: Instant) -> Result<Stopped, ConnectionError> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let patience = shared.options.deadlines.reply;
        if state.pipeline.is_empty() {
            // What is still to come of the transfer has to belong to something.
            let number = state.enqueue(Expects::Transfer, 0, patience)?;
            state.abandon(number);
        }
        state.pipeline.stop(|_| true);
        let is_asked = state.pipeline.awaits_address();
        let number = state.enqueue(Expects::Marker, 0, patience)?;
        (state.leftovers, state.has_answered) = (0, false);
        let mut next = next;
        if !at_once {
            let reset = Moment::now();
            // Silence is a server that says nothing at all on a stopped transfer; a question it answers.
            let until = if is_asked { deadline } else { deadline.min(after(FIRST_WORD)) };
            let word = |state: &mut State| {
                let has_come = if is_asked { state.has_answered } else { state.leftovers > 0 };
                has_come.then_some(())
            };
            match shared.wait(&mut state, until, "a stopped transfer", word) {
                Ok(()) => {}
                Err(ConnectionError::GivenUp { .. }) if !is_asked => next = None,
                Err(error) => return Err(error),
            }
            reset.answered().reach(true);
            if let Some(marker) = state.progress.get_mut(&number) {
                marker.sent = Moment::now();
            }
        }
        let mut packet = b"PWD\r\n".to_vec();
        let mut next_number = None;
        if let Some(next) = &next {
            next.encode(&mut packet, Encoding::default())?;
            next_number = Some(state.enqueue(next.expects(), 0, patience)?);
        }
        drop(state);
        tally::add(|tally| tally.commands += 1 + u64::from(next.is_some()));
        // Not before: dropping a ticket takes the lock.
        let ticket_of = |number| Ticket { shared: Arc::clone(shared), number };
        let (ticket, asked) = (ticket_of(number), next_number.map(ticket_of));
        for command in [Some(String::from("PWD")), next.map(|next| next.to_string())].into_iter().flatten() {
            tracing::debug!(target: "ftpfs::dialogue", connection = shared.number, "> {command}");
        }
        shared.write_all(&packet, deadline)?;
        ticket.wait(deadline)?;
        Ok(Stopped { has_ended: shared.state.lock().has_final_leftover, next: asked })
    }
}

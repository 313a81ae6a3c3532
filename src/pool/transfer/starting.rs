//! The beginning of a transfer: its commands, its data connection, and the server's first word on it.
//!
//! Not here: which data connection (`opening`), and what follows (`transfer`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{ActiveTransfer, Direction, GLANCE, REASON_PATIENCE, refused};
use crate::connection::deadlines::{after, remaining};
use crate::connection::{DataConnection, Ticket};
use crate::pool::data_tls::{DataTls, Hello};
use crate::pool::error::PoolError;
use crate::pool::opening::Opening;
use crate::pool::profile::ServerKind;
use crate::pool::session::Session;
use crate::pool::spare::{Doubt, FIRST_BYTE_PATIENCE};
use crate::protocol::{Command, Reply, ReplyClass, Transfer};

/// After this long without a word a server that has taken our data connection is taken to wait for data.
const UNANNOUNCED: Duration = Duration::from_secs(1);

/// A transfer whose data connection is begun, and whose command is on its way.
pub(super) struct Starting {
    pub(super) session: Arc<Session>,
    pub(super) opening: Option<Opening>,
    pub(super) deadline: Instant,
    /// Whether the data goes without waiting for the server's agreement.
    pub(super) is_at_once: bool,
    /// Whether the transfer is to be read to its end.
    pub(super) is_whole: bool,
    /// What was said to the questions before it.
    pub(super) told: Vec<Reply>,
}

impl Starting {
    /// Sends all in one packet, and checks the replies of what goes before the command. `next` is the place, in what goes behind it, of the
    /// question for the next data connection.
    pub(super) fn ask_at_once(
        &mut self,
        mut commands: Vec<Command>,
        command: Command,
        behind: Vec<Command>,
        next: Option<usize>,
        tls: &DataTls,
    ) -> Result<(Ticket, Vec<Ticket>), PoolError> {
        let verbs: Vec<_> = commands.iter().map(Command::verb).collect();
        commands.push(command);
        commands.extend(behind);
        let mut tickets = self.session.control().send(&commands, self.deadline)?;
        let behind = tickets.split_off(tickets.len().min(verbs.len() + 1));
        let Some(ticket) = tickets.pop() else {
            return Err(PoolError::TimedOut { during: "sending a command", sent: false });
        };
        if let Some(Opening::Spare(spare)) = &self.opening
            && self.completion_waits_for_us()
            && self.session.tls().is_none()
        {
            spare.send_nothing();
        }
        self.greet(tls)?;
        for (verb, prelude) in verbs.into_iter().zip(tickets) {
            // The transfer is on its way, and nobody waits for its end any more.
            let reply = prelude.wait(self.deadline).inspect_err(|_| self.session.control().close())?;
            if is_question(verb) {
                self.told.push(reply);
            } else if let Err(error) = self.check_prelude(verb, reply) {
                // The transfer begins all the same, and not as it was meant.
                let next = next.and_then(|place| behind.into_iter().nth(place));
                if let Err(failure) = self.abandon(ticket, next) {
                    tracing::debug!("the session of a refused transfer is given up: {failure}");
                }
                return Err(error);
            }
        }
        Ok((ticket, behind))
    }

    /// Begins the handshake on a connection that stands already, without waiting for what goes before the command: that would cost a
    /// round trip.
    fn greet(&mut self, tls: &DataTls) -> Result<(), PoolError> {
        let Some(opening) = self.opening.take_if(|opening| tls.hello == Hello::AtOnce && opening.stands()) else {
            return Ok(());
        };
        let greeted = opening.wait(&self.session, self.deadline).and_then(|mut data| {
            tls.begin(&self.session, &mut data)?;
            Ok(data)
        });
        match greeted {
            Ok(data) => self.opening = Some(Opening::Open(data)),
            Err(error) => {
                // The command is on its way, and nobody waits for its end any more.
                self.session.control().close();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Sends the command only when the server has agreed to all before it.
    pub(super) fn ask_in_turn(&mut self, commands: &[Command], command: Command) -> Result<Ticket, PoolError> {
        if let Some(opening) = self.opening.take_if(|opening| opening.is_pending()) {
            let data = opening.wait(&self.session, self.deadline).map_err(not_sent)?;
            self.opening = Some(Opening::Open(data));
        }
        for prelude in commands {
            let reply = self.session.control().exchange(prelude.clone(), self.deadline)?;
            self.check_prelude(prelude.verb(), reply)?;
        }
        let mut tickets = self.session.control().send(&[command], self.deadline)?;
        tickets.pop().ok_or(PoolError::TimedOut { during: "sending a command", sent: false })
    }

    fn check_prelude(&self, verb: &'static str, reply: Reply) -> Result<(), PoolError> {
        match reply.class() {
            ReplyClass::Completion | ReplyClass::Intermediate => {
                if matches!(verb, "REST" | "RANG") {
                    self.session.restart_left_over.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            ReplyClass::Preliminary | ReplyClass::Transient | ReplyClass::Permanent => {
                Err(PoolError::Refused { verb, reply })
            }
        }
    }

    /// Stops a transfer that must not happen, unless it has not.
    fn abandon(&mut self, mut ticket: Ticket, next: Option<Ticket>) -> Result<(), PoolError> {
        if let Some(Opening::Open(data)) = self.opening.take() {
            data.reset();
        }
        // A refusal ends it without more ado; anything else is stopped.
        let (_, is_last) = ticket.next(self.deadline)?;
        // Its last word often comes with its first: then there is nothing to be stopped, and no word on that would come.
        if is_last || ticket.poll()?.is_some() {
            if let Some(next) = next {
                self.session.has_asked_behind(next, Some(Doubt { until: self.deadline, is_broken: false }));
            }
            return Ok(());
        }
        drop((ticket, next));
        self.session.stop_transfer()
    }

    /// ProFTPD holds its 226 until we have closed our side of a connection that we only read from; said as soon as it stands, that costs
    /// no round trip. Only there: others gain nothing, and some might take it for the end of all.
    fn completion_waits_for_us(&self) -> bool {
        self.session.kind() == ServerKind::ProFtpd
    }

    /// Waits for the data connection and the first word of the server on the transfer.
    pub(super) fn begin(
        mut self,
        mut active: ActiveTransfer,
        direction: Direction,
    ) -> Result<ActiveTransfer, PoolError> {
        active.begin_by = self.deadline;
        let must_send_nothing = direction == Direction::Receive && self.completion_waits_for_us();
        let mut has_sent_nothing = false;
        match self.opening.take() {
            // The server connects when it has the command, and may refuse that instead.
            Some(Opening::Listening(listener)) => {
                self.await_first_reply(&mut active, direction)?;
                active.data = Some(self.wait_for(Opening::Listening(listener), &mut active)?);
            }
            Some(opening) => match opening.wait(&self.session, self.deadline) {
                Ok(mut data) => {
                    if active.tls.hello == Hello::AtOnce {
                        active.tls.begin(&self.session, &mut data)?;
                    } else if must_send_nothing && active.tls.hello == Hello::Never {
                        data.send_nothing();
                        has_sent_nothing = true;
                    }
                    active.data = Some(data);
                    if !self.is_at_once || active.tls.hello == Hello::AfterPreliminary {
                        self.await_first_reply(&mut active, direction)?;
                    }
                }
                Err(error) => return Err(self.refusal_or(&mut active, error)),
            },
            None => return Err(PoolError::Broken { reason: String::from("the transfer is over") }),
        }
        self.finish_handshake(&mut active)?;
        if must_send_nothing && !has_sent_nothing {
            // Not over TLS where the transfer may be stopped: a reset behind it is EPIPE to the server, and with that mod_tls ends the
            // session.
            let is_whole = self.is_whole || active.verb != "RETR";
            if let Some(data) = active.data.as_mut().filter(|data| !data.is_encrypted() || is_whole) {
                data.send_nothing();
            }
            if let Some(ticket) = &active.ticket {
                ticket.count_from_now();
            }
        }
        Ok(active)
    }

    fn finish_handshake(&self, active: &mut ActiveTransfer) -> Result<(), PoolError> {
        let Some(data) = &mut active.data else { return Ok(()) };
        let patience = if active.again.is_some() { after(FIRST_BYTE_PATIENCE) } else { self.deadline };
        active.tls.finish(&self.session, data, self.deadline.min(patience)).map_err(|error| {
            if let Some(data) = active.data.take() {
                data.reset();
            }
            if let PoolError::Tls(_) = error {
                active.ticket = None;
                self.session.control().close();
                return error;
            }
            self.refusal_or(active, error)
        })
    }

    fn wait_for(&self, opening: Opening, active: &mut ActiveTransfer) -> Result<DataConnection, PoolError> {
        opening.wait(&self.session, self.deadline).inspect_err(|_| {
            // The server still waits for its connection, and would answer nothing else.
            active.ticket = None;
            self.session.control().close();
        })
    }

    /// The preliminary reply, a refusal, or, where the server leaves it out, the first data. Where we are to send, the
    /// data connection stands: what is sent to a server that refuses later is lost on it, and nothing else.
    fn await_first_reply(&self, active: &mut ActiveTransfer, direction: Direction) -> Result<(), PoolError> {
        // The server cannot send either, before it has heard of TLS.
        let is_ours = direction == Direction::Send || active.tls.hello == Hello::AfterPreliminary;
        let asked = Instant::now();
        while active.transfer == Transfer::Requested {
            let glance = if active.data.is_some() { self.deadline.min(after(GLANCE)) } else { self.deadline };
            match active.next_reply(glance) {
                Ok(()) => {}
                Err(PoolError::TimedOut { .. }) if remaining(self.deadline).is_some() => {
                    let has_waited = asked.elapsed() >= UNANNOUNCED;
                    if active.data.as_ref().is_some_and(|data| data.is_readable() || (is_ours && has_waited)) {
                        return Ok(());
                    }
                }
                Err(error) => {
                    // Out of time with a transfer half begun: nothing can follow it in step.
                    self.session.control().close();
                    return Err(error);
                }
            }
        }
        match (active.transfer, active.completion.take()) {
            (Transfer::Failed(_), Some(reply)) => {
                active.data = None;
                Err(refused(active, reply))
            }
            (_, completion) => {
                active.completion = completion;
                Ok(())
            }
        }
    }

    /// The data connection failed: because the server refused the command and closed its port, or for itself.
    fn refusal_or(&self, active: &mut ActiveTransfer, error: PoolError) -> PoolError {
        active.is_broken = true;
        let deadline = self.deadline.min(after(REASON_PATIENCE.min(Duration::from_secs(1))));
        while !active.transfer.has_final_reply() {
            if active.next_reply(deadline).is_err() {
                active.drop_answers();
                active.ticket = None;
                self.session.control().close();
                return error;
            }
        }
        match (active.transfer, active.completion.take()) {
            (Transfer::Failed(_), Some(reply)) => refused(active, reply),
            _ => error,
        }
    }
}

/// Whether the transfer begins whatever is said to it.
fn is_question(verb: &str) -> bool {
    matches!(verb, "MLST" | "SIZE" | "MDTM")
}

fn not_sent(error: PoolError) -> PoolError {
    match error {
        PoolError::DataConnection { reason, .. } => PoolError::DataConnection { reason, sent: false },
        error => error,
    }
}

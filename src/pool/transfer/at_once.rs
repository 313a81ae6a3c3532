//! A small upload at once: the command, the questions about its result, the data and its end, none of which waits for a reply.
//!
//! Whether it was stored is told by the same two proofs as ever, the completion reply and what the questions behind it are answered. What is
//! sent too early is harmless in each outcome:
//!
//! - Refused: the data lies on a connection that nobody reads, and no more of it is sent than the two systems keep for a server that does
//!   not read. Nothing shows that anything was stored, so nothing is taken away either: the name may be another client's.
//! - Cut off before the preliminary reply: the same, whatever is found under the name.
//! - Cut off behind it: the upload has begun, and its size tells how far it came.
//! - Answered out of order, by a server that answers the questions while the transfer runs: found out by a reply that fits no upload. None of
//!   the replies is believed then, and the size is asked for anew.
//!
//! Not here: for which files that may be done (`remote::store`).

use std::sync::Arc;
use std::time::Instant;

use super::starting::Starting;
use super::{ActiveTransfer, Direction, Plan, is_about_data, refused};
use crate::connection::deadlines::after;
use crate::connection::{ConnectionError, PendingConnection, Ticket};
use crate::pool::data_tls::{DataTls, Expected};
use crate::pool::error::PoolError;
use crate::pool::lease::Lease;
use crate::pool::opening::Opening;
use crate::pool::session::Session;
use crate::pool::{ServerKind, Verdict, opening};
use crate::protocol::command::Encoding;
use crate::protocol::{Command, Reply, Transfer};

/// Data that is sent before the server has agreed to take any. It fits into the buffers of both systems, so that nobody waits on a
/// connection that a refused command has left without a reader; what is more waits for a window of this size anyway.
const UNASKED_LEN: usize = 32 << 10;

/// Bytes of commands that go behind each other. ProFTPD and Pure-FTPd refuse what they find on the way while a transfer runs, and queue only
/// what they have read in one go with its command.
const QUEUED_BYTES_MAX: usize = 900;

/// An upload that has begun, and its end.
#[derive(Debug)]
pub struct AtOnce {
    /// The completion reply, or why there is none.
    pub end: Result<Reply, PoolError>,
    /// The replies to the questions, each from behind the completion reply. None where they could not go behind the command.
    pub answers: Vec<Reply>,
}

impl Lease {
    /// Stores `bytes` by `command` (STOR, APPE), and asks `questions` behind it where this server answers them behind it; all of it
    /// at once, where the server is known to take it so.
    ///
    /// # Errors
    /// As for [`Self::start`]: nothing shows that the upload has begun.
    pub fn store_at_once(
        &mut self,
        command: Command,
        bytes: &[u8],
        questions: &[Command],
        deadline: Instant,
    ) -> Result<AtOnce, PoolError> {
        let session = Arc::clone(self.session());
        // A restart offset that may be left over has to be taken back first, and that has to be seen.
        if !session.is_known_to_queue() || session.has_restart_left_over() {
            let plan = Plan {
                prelude: Vec::new(),
                command,
                behind: Vec::new(),
                is_next_first: false,
                is_whole: false,
                direction: Direction::Send,
                deadline,
            };
            let mut active = ActiveTransfer::start(&session, plan)?;
            let end = active.write_all(bytes).and_then(|()| active.end_writing());
            return Ok(AtOnce { end, answers: Vec::new() });
        }
        let fits = fit_together([&command].into_iter().chain(questions));
        let questions = if fits { questions } else { &[] };
        if let Some(spare) = session.take_spare(deadline) {
            let stored =
                ActiveTransfer::store_at_once(&session, command.clone(), bytes, questions, deadline, Some(spare));
            match stored {
                // The server has refused it, for the data connection's sake: it will not be obeyed later, and may be sent again.
                Err(error) if is_about_data(&error) && session.control().is_open() => {
                    tracing::debug!("the data connection opened ahead was of no use: {error}");
                    session.profile().spares.learn_if(false);
                }
                stored => {
                    if stored.is_ok() {
                        session.profile().spares.learn_if(true);
                        session.profile().traffic.count_on_spare();
                    }
                    return stored;
                }
            }
        }
        // The end of the first attempt has asked for another one.
        let spare = session.take_spare(deadline);
        ActiveTransfer::store_at_once(&session, command, bytes, questions, deadline, spare)
    }
}

impl Session {
    /// Whether the server leaves alone what comes before its time: data that overtakes the transfer's command, since it takes the connection
    /// only when it has that, and commands behind it. Measured on these; pyftpdlib takes both at once, and loses them.
    pub(in crate::pool) fn is_known_to_queue(&self) -> bool {
        let is_known = match self.kind() {
            ServerKind::Vsftpd | ServerKind::ProFtpd | ServerKind::PureFtpd => true,
            ServerKind::Pyftpdlib | ServerKind::Iis | ServerKind::FileZilla | ServerKind::Other => false,
        };
        is_known && self.control().is_pipelining() && !self.profile().answers_during_transfer.is_yes()
    }

    /// A reply has come that does not fit: what is in doubt is all that was sent behind the transfer.
    pub(in crate::pool) fn has_lost_step(&self) -> bool {
        matches!(self.control().failure(), Some(ConnectionError::OutOfStep { .. }))
    }

    /// The server has answered while a transfer ran what was sent behind it: nothing of that is believed.
    pub(super) fn answers_too_early(&self) {
        tracing::info!("the server answers commands while a transfer runs: none go behind one any more");
        self.profile().answers_during_transfer.learn(Verdict::Yes);
        self.blame_the_reply();
        self.control().close();
    }
}

impl ActiveTransfer {
    fn store_at_once(
        session: &Arc<Session>,
        command: Command,
        bytes: &[u8],
        questions: &[Command],
        deadline: Instant,
        spare: Option<PendingConnection>,
    ) -> Result<AtOnce, PoolError> {
        let tls = DataTls::plan(session)?;
        let expected = Expected::of(&[], &command);
        let is_on_spare = spare.is_some();
        let opening = match spare {
            Some(spare) => Opening::Spare(spare),
            None => opening::open(session, None, &command, deadline)?,
        };
        session.profile().traffic.count_transfer();
        let verb = command.verb();
        let mut commands: Vec<Command> = [command].into_iter().chain(questions.iter().cloned()).collect();
        let next = session.next_command_behind_upload().filter(|next| fit_together(commands.iter().chain([next])));
        let asks_for_next = next.is_some();
        commands.extend(next);
        let mut tickets = session.control().send(&commands, deadline)?;
        let next = if asks_for_next { tickets.pop() } else { None };
        let mut tickets = tickets.into_iter();
        let Some(ticket) = tickets.next() else {
            return Err(PoolError::TimedOut { during: "sending a command", sent: false });
        };
        let mut active = Self::requested(session, ticket, verb, tls, expected);
        active.is_on_spare = is_on_spare;
        active.next = next;
        let (opening, is_at_once) = (Some(opening), true);
        let starting =
            Starting { session: Arc::clone(session), opening, deadline, is_at_once, is_whole: false, told: Vec::new() };
        let mut active = starting.begin(active, Direction::Send)?;
        let end = active.send_at_once(bytes, deadline);
        let answers = match &end {
            Ok(_) | Err(PoolError::Aborted { .. } | PoolError::Refused { .. }) => {
                wait_for_all(tickets, after(session.options().deadlines.reply))
            }
            // Without its own reply there are none behind it.
            Err(_) => Vec::new(),
        };
        active.judge(end, answers)
    }

    fn send_at_once(&mut self, bytes: &[u8], deadline: Instant) -> Result<Reply, PoolError> {
        let (unasked, rest) = bytes.split_at_checked(UNASKED_LEN).unwrap_or((bytes, &[]));
        self.write_all(unasked)?;
        if !rest.is_empty() {
            self.await_agreement(deadline)?;
            self.write_all(rest)?;
        }
        self.end_writing()
    }

    /// Waits for the server's word on the command.
    fn await_agreement(&mut self, deadline: Instant) -> Result<(), PoolError> {
        while self.transfer == Transfer::Requested {
            self.next_reply(deadline)?;
        }
        match (self.transfer, &self.completion) {
            (Transfer::Failed(_), Some(reply)) => Err(self.failed(reply.clone())),
            _ => Ok(()),
        }
    }

    /// What the replies are worth.
    fn judge(&self, end: Result<Reply, PoolError>, answers: Vec<Reply>) -> Result<AtOnce, PoolError> {
        let session = &self.session;
        // A size in place of the completion reply, or what fits nothing: the questions were answered while the transfer ran.
        let is_answer = |reply: &Reply| reply.code().number() == 213;
        let is_lost_step = session.has_lost_step() || end.as_ref().is_ok_and(is_answer);
        if is_lost_step {
            session.answers_too_early();
        }
        match end {
            // Nothing shows that it was this command that put there what may be there.
            Err(PoolError::Aborted { reply } | PoolError::Refused { reply, .. })
                if !self.is_announced && !is_lost_step =>
            {
                Err(refused(self, reply))
            }
            end if is_lost_step || end.is_err() && !self.is_announced => {
                let reason = String::from("the replies to the upload came in another order");
                let error = end.err().filter(|_| !is_lost_step).unwrap_or(PoolError::Broken { reason });
                if self.is_announced { Ok(AtOnce { end: Err(error), answers: Vec::new() }) } else { Err(error) }
            }
            // It may have begun; what is there tells.
            Err(PoolError::Aborted { reply } | PoolError::Refused { reply, .. }) if reply.code().number() == 425 => {
                Ok(AtOnce { end: Err(PoolError::Broken { reason: reply.to_string() }), answers: Vec::new() })
            }
            // Only behind a completion that is nothing else are the answers from behind it.
            Ok(reply) if !self.is_announced || !matches!(reply.code().number(), 226 | 250) => {
                Ok(AtOnce { end: Ok(reply), answers: Vec::new() })
            }
            end => {
                if end.is_ok() && answers.first().is_some_and(is_answer) {
                    session.has_followed_upload();
                }
                Ok(AtOnce { end, answers })
            }
        }
    }
}

/// Whether the server reads them all in one go.
pub(super) fn fit_together<'a>(mut commands: impl Iterator<Item = &'a Command>) -> bool {
    let mut lines = Vec::new();
    commands.all(|command| command.encode(&mut lines, Encoding::default()).is_ok() && lines.len() <= QUEUED_BYTES_MAX)
}

/// All replies, or those up to the first that does not come.
pub(super) fn wait_for_all(tickets: impl Iterator<Item = Ticket>, deadline: Instant) -> Vec<Reply> {
    tickets.map_while(|ticket| ticket.wait(deadline).ok()).collect()
}

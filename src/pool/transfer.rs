//! One transfer on a lent session: a data connection, a command, and the two ends that prove it.
//!
//! A read begins with the TCP connection and the command under way at once. What must go before the command (REST, RANG,
//! CWD) is checked before a byte is handed out. A write waits: its command is sent only when the data connection stands and
//! all before it is agreed to, since a STOR that fails later has already cost the old content; but where there is none (`at_once`).
//!
//! Where the session has a data connection ahead (`spare`), the transfer takes it, and asks for the next one when it is over. What
//! fails on a spare before its first byte is begun once more in the old way.
//!
//! Not here: which commands (`remote`), the order of replies and data (`protocol::transfer`), how it begins (`starting`), the write that
//! waits for nothing (`at_once`), and questions behind a transfer (`behind`).

pub mod at_once;
mod behind;
mod starting;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use starting::Starting;

use super::data_tls::{self, DataTls, Expected};
use super::error::PoolError;
use super::lease::Lease;
use super::opening::{self, Opening};
use super::profile::ServerKind;
use super::session::Session;
use super::spare::{Doubt, FIRST_BYTE_PATIENCE};
use crate::connection::deadlines::{after, remaining};
use crate::connection::{ConnectionError, DataConnection, PendingConnection, Ticket};
use crate::protocol::{Command, Reply, ReplyClass, Transfer};
use at_once::fit_together;

/// When a data connection has failed, how long to wait for the reply that may say why.
const REASON_PATIENCE: Duration = Duration::from_secs(3);

/// Some servers send no preliminary reply at all: this often we look whether data has come instead.
const GLANCE: Duration = Duration::from_millis(50);

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To us: RETR, MLSD, LIST.
    Receive,
    /// To the server: STOR, APPE.
    Send,
}

impl Plan {
    /// Whether it can be begun twice. What is put behind or into a file that is there is not.
    fn may_use_spare(&self) -> bool {
        match self.direction {
            Direction::Receive => true,
            Direction::Send => matches!(self.command, Command::Stor(_)) && self.prelude.is_empty(),
        }
    }
}

/// A transfer under way. Dropping it stops it, and brings the session back in step where that is possible.
#[derive(Debug)]
pub struct ActiveTransfer {
    session: Arc<Session>,
    ticket: Option<Ticket>,
    data: Option<DataConnection>,
    transfer: Transfer,
    completion: Option<Reply>,
    verb: &'static str,
    /// A preliminary reply has come.
    is_announced: bool,
    has_moved: bool,
    tls: DataTls,
    expected: Expected,
    /// Why what came proves nothing, though both ends did.
    failure: Option<PoolError>,
    /// Its data connection was opened ahead.
    is_on_spare: bool,
    /// How to begin it once more: it runs on a spare that has not carried a byte yet.
    again: Option<Plan>,
    /// The answers to the questions before it.
    told: Vec<Reply>,
    /// The questions behind it.
    behind: Vec<Ticket>,
    /// The question for the next transfer's data connection, in its packet. The session's once the last reply has come; of a
    /// transfer that is stopped before, its answer is thrown away.
    next: Option<Ticket>,
    /// That question goes before the others.
    is_next_first: bool,
    /// Another transfer has taken its place on the session.
    is_superseded: bool,
    /// Its data connection broke, or never stood: what the server leaves unsaid then says nothing of its order.
    is_broken: bool,
    /// Until when its beginning may take.
    begin_by: Instant,
    /// Until when all of it may take, where it is of no use later.
    end_by: Option<Instant>,
}

/// What was asked for.
#[derive(Debug, Clone)]
struct Plan {
    prelude: Vec<Command>,
    command: Command,
    /// Questions that go in its packet, to be answered behind it.
    behind: Vec<Command>,
    /// Whether the question for the next data connection goes before them.
    is_next_first: bool,
    /// Whether it is to be read to its end, whatever comes.
    is_whole: bool,
    direction: Direction,
    deadline: Instant,
}

impl Lease {
    /// Starts a transfer: `prelude` (REST, RANG, CWD), then `command`. Returns when the server has agreed to all of them
    /// and the data connection stands. Questions about the file may stand before all else: whatever is said to them, the transfer
    /// begins, and [`ActiveTransfer::told`] has it.
    ///
    /// # Errors
    /// - [`PoolError::Refused`]: which verb, and the reply. The session can be used again.
    /// - [`PoolError::DataConnection`]: the way of opening one that failed is not tried first next time.
    /// - [`PoolError::Connection`], [`PoolError::TimedOut`].
    pub fn start(
        &mut self,
        prelude: &[Command],
        command: Command,
        direction: Direction,
        deadline: Instant,
    ) -> Result<ActiveTransfer, PoolError> {
        let behind = Vec::new();
        let (prelude, is_next_first) = (prelude.to_vec(), false);
        let plan = Plan { prelude, command, behind, is_next_first, is_whole: false, direction, deadline };
        ActiveTransfer::start(self.session(), plan)
    }

    /// The same for what is to be read to its end: the next data connection is asked for in the same packet.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_whole(
        &mut self,
        prelude: &[Command],
        command: Command,
        deadline: Instant,
    ) -> Result<ActiveTransfer, PoolError> {
        self.start_and_ask(prelude, command, &[], deadline)
    }
}

impl ActiveTransfer {
    /// On the session's spare, where it has one, and once more in the old way where that is to blame.
    fn start(session: &Arc<Session>, plan: Plan) -> Result<Self, PoolError> {
        // A session without tickets is closed here, its spare with it.
        DataTls::plan(session)?;
        if let Some(spare) = Self::take_spare(session, &plan) {
            // The questions are not repeated: nobody could tell the answers of both apart.
            let again = Plan { behind: Vec::new(), ..plan.clone() };
            match Self::start_on(Arc::clone(session), plan, Some(spare), Some(again.clone())) {
                Err(error) if is_about_data(&error) => {
                    tracing::debug!("the data connection opened ahead was of no use: {error}");
                    session.profile().spares.learn_if(false);
                    if !session.control().is_open() {
                        return Err(error);
                    }
                }
                started => return started,
            }
            // The end of the first attempt may have asked for another one: that is no spare, but what the old way would ask for now.
            let spare = Self::take_spare(session, &again);
            return Self::start_on(Arc::clone(session), again, spare, None);
        }
        Self::start_on(Arc::clone(session), plan, None, None)
    }

    /// The session's spare. One that this transfer may not use is closed: what it asks for itself takes its place.
    fn take_spare(session: &Session, plan: &Plan) -> Option<PendingConnection> {
        session.take_spare(plan.deadline).filter(|_| plan.may_use_spare())
    }

    fn start_on(
        session: Arc<Session>,
        plan: Plan,
        spare: Option<PendingConnection>,
        again: Option<Plan>,
    ) -> Result<Self, PoolError> {
        let Plan { prelude, command, mut behind, is_next_first, is_whole, direction, deadline } = plan;
        // The servers that have spares list the directory of the last CWD, also where that came behind EPSV.
        let (directory, mut commands): (Vec<_>, Vec<_>) =
            prelude.into_iter().partition(|command| matches!(command, Command::Cwd(_)) && spare.is_none());
        let has_restart = commands.iter().any(|command| matches!(command, Command::Rest(_) | Command::Rang { .. }));
        if session.has_restart_left_over() && !has_restart {
            commands.push(Command::Rest(0));
        }
        let tls = DataTls::plan(&session)?;
        let expected = Expected::of(&commands, &command);
        let opening = match spare {
            Some(spare) => Opening::Spare(spare),
            None => opening::open(&session, directory.last(), &command, deadline)?,
        };
        session.profile().traffic.count_transfer();
        let next = match direction {
            Direction::Receive if is_whole => session.next_command(),
            Direction::Receive => session.word_command(),
            Direction::Send => None,
        };
        let next = next.filter(|next| fit_together(commands.iter().chain([&command]).chain(&behind).chain([next])));
        let asks_for_next = next.is_some();
        if is_next_first && !behind.is_empty() {
            session.has_unheard.store(true, Ordering::Relaxed);
        }
        let place = if is_next_first { 0 } else { behind.len() };
        behind.splice(place..place, next);
        let mut starting =
            Starting { session, opening: Some(opening), deadline, is_at_once: false, is_whole, told: Vec::new() };
        let verb = command.verb();
        let (ticket, mut behind) = match direction {
            Direction::Receive => {
                starting.ask_at_once(commands, command, behind, asks_for_next.then_some(place), &tls)?
            }
            Direction::Send => (starting.ask_in_turn(&commands, command)?, Vec::new()),
        };
        let mut active = Self::requested(&starting.session, ticket, verb, tls, expected);
        active.told = std::mem::take(&mut starting.told);
        active.is_on_spare = again.is_some();
        active.again = again;
        active.next = (asks_for_next && place < behind.len()).then(|| behind.remove(place));
        active.behind = behind;
        active.is_next_first = is_next_first;
        starting.begin(active, direction)
    }

    /// A transfer whose command was sent.
    fn requested(session: &Arc<Session>, ticket: Ticket, verb: &'static str, tls: DataTls, expected: Expected) -> Self {
        Self {
            session: Arc::clone(session),
            ticket: Some(ticket),
            data: None,
            transfer: Transfer::Requested,
            completion: None,
            verb,
            is_announced: false,
            has_moved: false,
            tls,
            expected,
            failure: None,
            is_on_spare: false,
            again: None,
            told: Vec::new(),
            behind: Vec::new(),
            next: None,
            is_next_first: false,
            is_superseded: false,
            is_broken: false,
            begin_by: Instant::now(),
            end_by: None,
        }
    }

    /// What is not over then fails, however the server goes on: for what is of no use later. Its session is given up then.
    pub fn end_by(&mut self, end: Instant) {
        self.end_by = Some(end);
    }

    /// `patience`, or what is left until it has to be over.
    fn bounded(&self, patience: Duration) -> Duration {
        // None at all would be for ever.
        self.end_by.map_or(patience, |end| patience.min(remaining(end).unwrap_or(Duration::from_millis(1))))
    }

    fn is_late(&self) -> bool {
        self.end_by.is_some_and(|end| remaining(end).is_none())
    }

    /// What was said to the questions before it, in their order.
    pub fn told(&self) -> &[Reply] {
        &self.told
    }

    /// Reads the next bytes, waiting at most for the data deadline. 0 is the end, and proved: the data connection
    /// ended in order and the completion reply came.
    ///
    /// # Errors
    /// [`PoolError::Aborted`] with the server's reason, [`PoolError::Broken`], [`PoolError::Connection`]. What was read
    /// before is good; what follows has to be asked for by a new transfer.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PoolError> {
        match self.read_on(buffer) {
            Err(error) if self.again.is_some() && is_about_data(&error) && self.session.control().is_open() => {
                self.begin_again(&error)?;
                self.read_on(buffer)
            }
            result => result,
        }
    }

    /// Begins once more without a spare what has not brought a byte.
    fn begin_again(&mut self, error: &PoolError) -> Result<(), PoolError> {
        tracing::debug!("nothing came on the data connection opened ahead: {error}");
        let Some(plan) = self.again.take() else { return Err(error.clone()) };
        self.session.profile().spares.learn_if(false);
        // What was asked for behind it, where its last reply has come.
        let spare = Self::take_spare(&self.session, &plan);
        let mut fresh = Self::start_on(Arc::clone(&self.session), plan, spare, None)?;
        fresh.end_by = self.end_by;
        if fresh.told != self.told {
            return Err(PoolError::Broken { reason: String::from("the file is another one than when it was begun") });
        }
        self.is_superseded = true;
        *self = fresh;
        Ok(())
    }

    fn read_on(&mut self, buffer: &mut [u8]) -> Result<usize, PoolError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut patience = self.bounded(self.session.options().deadlines.data);
        if self.again.is_some() {
            patience = patience.min(FIRST_BYTE_PATIENCE);
        }
        let Some(data) = &mut self.data else {
            return self.complete().map(|_| 0);
        };
        match data.read(buffer, patience) {
            Ok(0) => {
                self.transfer = self.transfer.on_end_of_data();
                let is_cut = data.is_cut();
                // Closed before the reply is waited for: proftpd holds its 226 until then.
                if let Some(mut data) = self.data.take().filter(DataConnection::is_encrypted) {
                    // Who has gone already needs no word from us.
                    let _ = data.finish_writing(GLANCE);
                }
                self.complete()?;
                if is_cut && let Err(error) = self.expected.prove(&self.session) {
                    self.failure = Some(error.clone());
                    return Err(error);
                }
                self.tls.learn_from_success(&self.session);
                Ok(0)
            }
            Ok(len) => {
                self.expected.moved += len as u64;
                self.has_moved();
                self.session.profile().traffic.count_received(len);
                Ok(len)
            }
            Err(ConnectionError::TimedOut { .. }) if self.again.is_some() && !self.is_late() => {
                if let Err(error) = self.stop_now() {
                    // A server that does not even say that: it is asked again on another connection, and there without this.
                    tracing::debug!("the session of a silent data connection is given up: {error}");
                    self.again = None;
                    self.session.profile().spares.learn_if(false);
                }
                Err(PoolError::Broken { reason: String::from("nothing came on the data connection opened ahead") })
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Sends all of `bytes`, waiting for a slow server as long as it moves within the data deadline.
    ///
    /// # Errors
    /// As for [`Self::read`]; how much the server has kept is not known.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), PoolError> {
        let patience = self.session.options().deadlines.data;
        let Some(data) = &mut self.data else {
            return Err(PoolError::Broken { reason: String::from("the transfer is over") });
        };
        let result = data.write_all(bytes, patience);
        self.has_moved();
        self.session.profile().traffic.count_sent(bytes.len());
        result.map_err(|error| self.broken(&error))
    }

    /// Reads to the end what is left, throws it away, and returns the completion reply.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn finish_reading(mut self) -> Result<Reply, PoolError> {
        let mut scrap = vec![0_u8; 64 << 10];
        while self.read(&mut scrap)? > 0 {}
        self.complete()
    }

    /// Ends an upload, and returns the completion reply.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn finish_writing(mut self) -> Result<Reply, PoolError> {
        self.end_writing()
    }

    fn end_writing(&mut self) -> Result<Reply, PoolError> {
        let patience = self.session.options().deadlines.data;
        if let Some(data) = &mut self.data {
            if let Err(error) = data.finish_writing(patience) {
                return Err(self.broken(&error));
            }
            self.transfer = self.transfer.on_end_of_data();
            if let Some(ticket) = &self.ticket {
                ticket.count_from_now();
            }
            if data.is_encrypted() {
                data.read_to_the_end();
            }
        }
        let reply = self.complete();
        // Only now: closing our side while the server still reads would be RST if it had said anything on it.
        self.data = None;
        if reply.is_ok() {
            self.tls.learn_from_success(&self.session);
            self.tls.learn_from_upload(&self.session);
        }
        reply
    }

    /// Stops the transfer by RST, and brings the session back in step.
    ///
    /// # Errors
    /// Where that took too long; the session is closed then.
    pub fn stop(mut self) -> Result<(), PoolError> {
        self.stop_now()
    }

    /// The restart offset is used up. A transfer that fails before may leave it to the next one, also behind a 150
    /// (libunftp).
    fn has_moved(&mut self) {
        if !self.has_moved {
            self.has_moved = true;
            if self.again.take().is_some() {
                self.session.profile().spares.learn_if(true);
                self.session.profile().traffic.count_on_spare();
            }
            self.session.restart_left_over.store(false, Ordering::Relaxed);
        }
    }

    /// Waits for the final reply, the data being over.
    fn complete(&mut self) -> Result<Reply, PoolError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let patience = self.bounded(self.session.completion_patience());
        if let Some(ticket) = &mut self.ticket {
            ticket.expect_now(patience);
        }
        let deadline = after(patience.saturating_mul(2));
        while !self.transfer.has_final_reply() {
            self.next_reply(deadline)?;
        }
        match (self.transfer, &self.completion) {
            (Transfer::Complete, Some(reply)) => {
                let reply = reply.clone();
                self.has_moved();
                Ok(reply)
            }
            (Transfer::Failed(_), Some(reply)) => Err(self.failed(reply.clone())),
            _ => Err(PoolError::Broken { reason: String::from("the data did not end in order") }),
        }
    }

    /// Takes one more reply to the transfer's command.
    fn next_reply(&mut self, deadline: Instant) -> Result<(), PoolError> {
        let Some(ticket) = &mut self.ticket else {
            return Err(PoolError::Broken { reason: String::from("the transfer is over") });
        };
        let (reply, is_last) = ticket.next(deadline)?;
        let code = reply.code();
        self.is_announced |= !is_last;
        if is_last {
            self.ticket = None;
            self.completion = Some(reply);
            if let Some(next) = self.next.take() {
                // Where the packet came in pieces, ProFTPD says 450 while the transfer runs, and Pure-FTPd 500: to what is behind it.
                let is_in_doubt = matches!(code.class(), ReplyClass::Transient | ReplyClass::Permanent);
                let doubt =
                    is_in_doubt.then(|| Doubt { until: deadline.max(self.begin_by), is_broken: self.is_broken });
                self.session.has_asked_behind(next, doubt);
                // Who waits for the questions hears its reply on the way.
                if self.behind.is_empty() {
                    self.session.leave_spare();
                }
                if let Some(failure) = self.session.control().failure().filter(|_| is_in_doubt) {
                    return Err(failure.into());
                }
            }
        }
        self.transfer = self.transfer.on_reply(code).map_err(|error| {
            self.session.control().close();
            PoolError::Connection(ConnectionError::OutOfStep { reason: error.to_string(), sent: true })
        })?;
        Ok(())
    }

    /// What an error of the data connection means: the server's own reason, where it gives one in time.
    fn broken(&mut self, error: &ConnectionError) -> PoolError {
        self.is_broken = true;
        // Gone first: some servers say nothing before.
        if let Some(data) = self.data.take() {
            data.reset();
        }
        let patience = self.bounded(REASON_PATIENCE);
        if let Some(ticket) = &mut self.ticket {
            ticket.expect_now(patience);
        }
        let deadline = after(patience);
        while !self.transfer.has_final_reply() {
            if let Err(failure) = self.next_reply(deadline) {
                self.drop_answers();
                self.session.control().close();
                return match failure {
                    // Silence on both connections, or a word on what is behind it alone: what happened first is what counts.
                    PoolError::TimedOut { .. }
                    | PoolError::Connection(ConnectionError::TimedOut { .. } | ConnectionError::OutOfStep { .. }) => {
                        PoolError::Broken { reason: error.to_string() }
                    }
                    failure => failure,
                };
            }
        }
        self.keep_restart_in_doubt();
        match (self.transfer, &self.completion) {
            (Transfer::Failed(_), Some(reply)) => self.failed(reply.clone()),
            _ => PoolError::Broken { reason: error.to_string() },
        }
    }

    /// A restart offset is used up by a transfer that succeeds: libunftp 0.24 begins the next one there after one that did
    /// not, whatever it moved. The servers we know by name forget it.
    fn keep_restart_in_doubt(&self) {
        let has_restarted = self.expected.offset > 0 || self.expected.count.is_some();
        if has_restarted && self.session.kind() == ServerKind::Other {
            self.session.restart_left_over.store(true, Ordering::Relaxed);
        }
    }

    /// What a refusal of the data connection means: of a spare, nothing but that another one may do.
    fn refused_data(&self, reply: &Reply) -> Option<PoolError> {
        if self.is_on_spare && reply.code().number() == 425 {
            return Some(PoolError::DataConnection { reason: reply.to_string(), sent: true });
        }
        data_tls::refused_data(&self.session, reply)
    }

    /// Some servers say 150 first and look for the file then: what ends so without a byte is a refusal.
    fn failed(&self, reply: Reply) -> PoolError {
        if let Some(error) = self.refused_data(&reply) {
            return error;
        }
        if self.has_moved || reply.class() != ReplyClass::Permanent {
            return PoolError::Aborted { reply };
        }
        PoolError::Refused { verb: self.verb, reply }
    }

    fn stop_now(&mut self) -> Result<(), PoolError> {
        // A server that has answered already what is behind the transfer is found out of step here: of one that is stopped the order of replies tells
        // nothing.
        self.session.control().take_what_came();
        if let Some(data) = self.data.take() {
            if data.is_encrypted() {
                // A ticket that has come is worth its handshake.
                let _ = data.is_readable();
            }
            data.reset();
        }
        if let Some(ticket) = &mut self.ticket {
            // The server owed nothing while the data moved, however long that was.
            ticket.expect_now(REASON_PATIENCE);
        }
        // Of what is stopped nobody waits for as long as it might have taken to begin.
        self.begin_by = Instant::now();
        // Its last word may have been read already, by whoever read for all: none would come on being stopped.
        while self.ticket.is_some() && self.next_reply(Instant::now()).is_ok() {}
        if self.ticket.take().is_none() {
            if matches!(self.transfer, Transfer::Failed(_)) {
                self.keep_restart_in_doubt();
            }
            self.answers();
            return Ok(());
        }
        self.drop_answers();
        self.keep_restart_in_doubt();
        self.session.stop_transfer()
    }
}

impl Drop for ActiveTransfer {
    fn drop(&mut self) {
        if let Err(error) = self.stop_now() {
            tracing::debug!("the session of a stopped transfer is given up: {error}");
            self.session.control().close();
        }
        if !self.is_superseded {
            data_tls::retire_if_used_up(&self.session);
            self.session.leave_spare();
            self.session.ask_for_spare();
        }
    }
}

/// Whether another data connection may do what this one did not. An answer to the command itself is none of it.
fn is_about_data(error: &PoolError) -> bool {
    match error {
        PoolError::DataConnection { .. } | PoolError::Broken { .. } => true,
        PoolError::Aborted { reply } | PoolError::Refused { reply, .. } => matches!(reply.code().number(), 425 | 426),
        _ => false,
    }
}

/// 425 is about the data connection; all other refusals are about the file.
fn refused(active: &ActiveTransfer, reply: Reply) -> PoolError {
    if let Some(error) = active.refused_data(&reply) {
        return error;
    }
    if reply.code().number() == 425 {
        return PoolError::DataConnection { reason: reply.to_string(), sent: true };
    }
    PoolError::Refused { verb: active.verb, reply }
}

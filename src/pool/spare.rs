//! Data connections opened ahead: each session keeps one while it is in no transfer (docs/round_trips.md).
//!
//! ```text
//! None ──EPSV sent──▶ Asked ──229, connect begun──▶ Coming ──a transfer takes it──▶ None
//!                       │ refused                     │ failed, ended by the server, too old
//!                       └────────────▶ None ◀─────────┘
//! ```
//! Nobody waits for any of it: EPSV goes in the packet of a transfer that is read to its end, or else behind the end; the
//! [`SpareKeeper`]'s thread hears the reply, where it does not come with the transfer's own, and begins the connection; and the kernel completes
//! it. A transfer that comes before the 229 waits for it, as it would for its own.
//!
//! Only servers whose ways are known have spares. Measured on vsftpd 3.0.3, ProFTPD 1.3.8, Pure-FTPd 1.0.50 and pyftpdlib
//! 1.5.7: a spare stands for more than a minute, whatever is asked on the control connection meanwhile; a CWD behind EPSV counts for the
//! listing; EPSV anew closes the old one. On the first three EPSV in the packet of RETR, LIST, MLSD or STOR (with SIZE and MLST before
//! it) was answered behind the 226 each time, in clear and by TLS 1.2 and 1.3, and also behind 550, 426 and a reset; alone in the
//! middle of a transfer ProFTPD says 450 to it, Pure-FTPd 500. libunftp 0.24 is none of these: it goes on using the first connection, also one that we have
//! closed, and says 226 to a file of which nothing came on the second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::opening;
use super::options::DataMode;
use super::profile::{ServerKind, VerdictCell};
use super::session::Session;
use crate::connection::deadlines::after;
use crate::connection::{ConnectionError, PendingConnection, Progress, Readiness, Ticket};
use crate::protocol::passive::parse_any;
use crate::protocol::{Command, Reply, ReplyClass};

/// Older ones are not used. pyftpdlib gives a port up after 30 s if nothing has connected to it, and routers forget connections on
/// which nothing moves.
const AGE_MAX: Duration = Duration::from_secs(20);

/// So many spares in a row that came to nothing, and there are none for [`PAUSE`].
const FAILURES_MAX: u32 = 2;

/// A server that is short of ports, or a firewall that does not like idle connections, is left alone for so long.
const PAUSE: Duration = Duration::from_secs(300);

/// So long the first byte on a spare is waited for, before the transfer is begun anew without it: a router that has forgotten the
/// connection swallows all that is sent on it.
pub(super) const FIRST_BYTE_PATIENCE: Duration = Duration::from_secs(3);

/// So long the reply to an EPSV behind a transfer that failed is waited for, also where its caller has less time: without it the session is of no
/// use any more.
const DOUBT_PATIENCE: Duration = Duration::from_secs(3);

/// How long the keeper's thread stays when there is nothing to do.
const LINGER: Duration = Duration::from_secs(5);

/// A session's data connection ahead.
#[derive(Debug, Default)]
pub(super) struct Spare {
    state: Mutex<State>,
    /// Questions behind an upload were answered behind its completion.
    follows_uploads: AtomicBool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    /// EPSV is in flight, behind what.
    Asked { ticket: Ticket, at: Instant, behind: Behind },
    /// The connection is coming about, or stands.
    Coming { pending: PendingConnection, at: Instant },
}

/// What an EPSV was sent behind, in the same packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Transfer,
    /// The marker of a transfer that was stopped.
    Stop,
}

/// How soon a session could begin a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Readily {
    /// It has to ask for a data connection.
    Unprepared,
    /// It has asked.
    Asked,
    /// The connection is coming about.
    Coming,
    /// It stands.
    AtOnce,
}

/// A reply that may be about the transfer, or about the EPSV behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    /// How long the caller has.
    pub(super) until: Instant,
    /// The data connection broke, so that the server may have said nothing of the transfer.
    pub(super) is_broken: bool,
}

/// What is known of the server's spares.
#[derive(Debug, Default)]
pub(super) struct SpareFindings {
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    paused_until: Option<Instant>,
}

impl SpareFindings {
    /// A transfer on a spare began, or did not for the spare's sake.
    pub(super) fn learn_if(&self, worked: bool) {
        let mut failures = self.failures.lock();
        failures.in_a_row = if worked { 0 } else { failures.in_a_row + 1 };
        if failures.in_a_row >= FAILURES_MAX {
            tracing::info!("data connections opened ahead come to nothing: none for the next {PAUSE:?}");
            *failures = Failures { in_a_row: 0, paused_until: Some(after(PAUSE)) };
        }
    }

    /// The server has refused one for now: it may be short of ports.
    fn pause(&self) {
        self.failures.lock().paused_until = Some(after(PAUSE));
    }

    fn are_of_use(&self) -> bool {
        self.failures.lock().paused_until.is_none_or(|until| until <= Instant::now())
    }
}

impl Session {
    /// The command that asks for a spare; `None` where there is none to be had.
    pub(super) fn spare_command(&self) -> Option<Command> {
        // Only by a way that has worked.
        self.spare_way().filter(|(_, verdict)| verdict.is_yes()).map(|(command, _)| command)
    }

    fn spare_way(&self) -> Option<(Command, &VerdictCell)> {
        let profile = self.profile();
        let is_known = match self.kind() {
            ServerKind::Vsftpd | ServerKind::ProFtpd | ServerKind::PureFtpd | ServerKind::Pyftpdlib => true,
            ServerKind::Iis | ServerKind::FileZilla | ServerKind::Other => false,
        };
        let DataMode::Passive { prefer, .. } = self.options().data_mode else { return None };
        let is_wanted = is_known && self.options().pipelining && profile.spares.are_of_use();
        // A proxy would answer in place of the server.
        let is_direct = self.options().proxy.is_none();
        if !is_wanted || !is_direct || !self.control().is_pipelining() || opening::needs_pret(self) {
            return None;
        }
        opening::passive_ways(self, prefer).into_iter().next()
    }

    /// The question for a data connection that a login asks, also where no such connection was ever opened here.
    pub(super) fn first_spare_command(&self) -> Option<Command> {
        Some(self.spare_way()?.0)
    }

    /// Begins the connection that the login has asked for. A refusal is nobody's loss: the first transfer asks by itself.
    pub(super) fn begin_first_spare(&self, reply: &Reply) {
        if let Some(pending) = self.begin_spare(reply, Behind::Nothing) {
            *self.spare.state.lock() = State::Coming { pending, at: Instant::now() };
        }
    }

    /// Waits for that connection where none has ever come by this way: no command is sent where none may.
    pub(super) fn prove_first_spare(&self, deadline: Instant) {
        let mut state = self.spare.state.lock();
        let Some((_, verdict)) = self.spare_way().filter(|(_, verdict)| !verdict.is_yes()) else { return };
        if let State::Coming { pending, .. } = &*state
            && !opening::prove(self, verdict, pending, deadline)
        {
            *state = State::None;
        }
    }

    /// Asks for a spare where the session has none and is in no transfer. Waits for nothing.
    pub(super) fn ask_for_spare(self: &Arc<Self>) {
        let control = self.control();
        let Some(command) = self.spare_command() else { return };
        if !control.is_open() || control.in_flight() > 0 || self.readily() > Readily::Unprepared {
            return;
        }
        // The old one goes first: the server closes its own side with the new EPSV.
        *self.spare.state.lock() = State::None;
        let sent = control.send(&[command], after(self.options().deadlines.reply));
        if let Some(ticket) = sent.ok().and_then(|mut tickets| tickets.pop()) {
            *self.spare.state.lock() = State::Asked { ticket, at: Instant::now(), behind: Behind::Nothing };
            self.profile().spare_keeper.keep(self);
        }
    }

    /// Takes the ticket of an EPSV that went behind the end of a transfer.
    pub(super) fn has_asked_for_spare(self: &Arc<Self>, ticket: Ticket) {
        *self.spare.state.lock() = State::Asked { ticket, at: Instant::now(), behind: Behind::Stop };
        self.leave_spare();
    }

    /// Goes on with a spare that was asked for, or leaves that to the keeper.
    pub(super) fn leave_spare(self: &Arc<Self>) {
        // Most often it has come with the reply before it.
        if self.advance_spare() {
            self.profile().spare_keeper.keep(self);
        }
    }

    /// Waits for the reply to an EPSV that the caller reads in any case, since it waits for one behind it. The keeper would only be in its way.
    pub(super) fn hear_spare(&self, deadline: Instant) {
        let state = std::mem::take(&mut *self.spare.state.lock());
        let heard = match state {
            State::Asked { ticket, at, behind } => {
                let reply = ticket.wait(deadline);
                self.advanced(reply.ok().as_ref(), at, behind)
            }
            other => other,
        };
        *self.spare.state.lock() = heard;
    }

    /// The command that asks for the next data connection in the packet of a transfer; `None` where the server is not known to
    /// answer it behind the transfer.
    pub(super) fn next_command(&self) -> Option<Command> {
        // The others were not measured there.
        self.spare_command().filter(|command| matches!(command, Command::Epsv) && self.is_known_to_queue())
    }

    /// The same behind a download that may be stopped, where the server may say nothing on its end, and would throw away a marker that it reads
    /// before.
    pub(super) fn word_command(&self) -> Option<Command> {
        self.next_command().filter(|_| self.kind() == ServerKind::PureFtpd)
    }

    /// The same behind an upload, where this session has shown that it answers there: a server that does it at once ends the upload.
    pub(super) fn next_command_behind_upload(&self) -> Option<Command> {
        self.next_command().filter(|_| self.spare.follows_uploads.load(Ordering::Relaxed))
    }

    /// Questions behind an upload were answered behind its completion.
    pub(super) fn has_followed_upload(&self) {
        self.spare.follows_uploads.store(true, Ordering::Relaxed);
    }

    /// Takes the ticket of an EPSV that went in the packet of a transfer whose last reply has come. Waits for its reply only where there is a
    /// doubt which of the two that reply was about. Where it does not come in time the session is closed, since nobody knows then. Else the
    /// caller sees to it that somebody hears it ([`Self::leave_spare`], [`Self::hear_spare`]).
    pub(super) fn has_asked_behind(&self, ticket: Ticket, doubt: Option<Doubt>) {
        let at = Instant::now();
        if let Some(Doubt { until, is_broken }) = doubt {
            let until = until.max(after(DOUBT_PATIENCE)).min(after(self.options().deadlines.reply));
            let reply = ticket.wait(until);
            if let Err(ConnectionError::GivenUp { .. }) = &reply {
                self.control().close();
            }
            self.judge_lost_step(is_broken);
            *self.spare.state.lock() = self.advanced(reply.ok().as_ref(), at, Behind::Transfer);
            return;
        }
        *self.spare.state.lock() = State::Asked { ticket, at, behind: Behind::Transfer };
    }

    /// The spare for a transfer that begins now. Waits, until `deadline` at most, only for the reply to an EPSV that is
    /// in flight.
    pub(super) fn take_spare(&self, deadline: Instant) -> Option<PendingConnection> {
        let state = std::mem::take(&mut *self.spare.state.lock());
        let (pending, at) = match state {
            State::None => return None,
            State::Asked { ticket, at, behind } => {
                let reply = ticket.wait(deadline);
                if behind == Behind::Transfer {
                    self.note_lost_step();
                }
                (self.begin_spare(&reply.ok()?, behind)?, at)
            }
            State::Coming { pending, at } => (pending, at),
        };
        (at.elapsed() < AGE_MAX && pending.progress() != Progress::Spoilt).then_some(pending)
    }

    /// Gives up a spare that was not used, so that the server and the routers between have one connection less to remember.
    pub(super) fn give_up_spare(&self) {
        let mut state = self.spare.state.lock();
        if matches!(*state, State::Coming { .. }) {
            *state = State::None;
        }
    }

    /// How soon a transfer could begin. Does not wait.
    pub(super) fn readily(&self) -> Readily {
        let Some(state) = self.spare.state.try_lock() else { return Readily::Asked };
        match &*state {
            State::Coming { pending, at } if at.elapsed() < AGE_MAX => match pending.progress() {
                Progress::Standing => Readily::AtOnce,
                Progress::Coming => Readily::Coming,
                Progress::Spoilt => Readily::Unprepared,
            },
            State::None | State::Coming { .. } => Readily::Unprepared,
            State::Asked { .. } => Readily::Asked,
        }
    }

    /// Whether it can be lent: in step, and with nothing in flight but the question for its spare. Does not wait.
    pub fn is_ready(&self) -> bool {
        if self.has_unheard.load(Ordering::Relaxed) {
            return false;
        }
        // The keeper has it in hand just now, and only then if it is in step.
        let Some(mut state) = self.spare.state.try_lock() else {
            return self.control().is_open() && self.control().in_flight() <= 1;
        };
        self.advance(&mut state);
        match *state {
            State::Asked { .. } => self.control().is_open() && self.control().in_flight() <= 1,
            State::None | State::Coming { .. } => self.control().is_quiet(),
        }
    }

    /// Goes on with a spare that was asked for, as far as that needs no waiting. Says whether its reply is still to come.
    fn advance_spare(&self) -> bool {
        let mut state = self.spare.state.lock();
        self.advance(&mut state);
        matches!(*state, State::Asked { .. })
    }

    fn advance(&self, state: &mut State) {
        let State::Asked { ticket, at, behind } = state else { return };
        self.control().take_what_came();
        let (reply, at, behind) = (ticket.poll(), *at, *behind);
        match reply {
            Ok(Some(reply)) => {
                *state = self.advanced(Some(&reply), at, behind);
            }
            Ok(None) if at.elapsed() > self.options().deadlines.reply && self.control().in_flight() <= 1 => {
                // A server that has fallen silent is found here, before anybody waits for it.
                self.control().close();
                *state = State::None;
            }
            Ok(None) => {}
            Err(_) => {
                if behind == Behind::Transfer {
                    self.note_lost_step();
                }
                *state = State::None;
            }
        }
    }

    fn advanced(&self, reply: Option<&Reply>, at: Instant, behind: Behind) -> State {
        match reply.and_then(|reply| self.begin_spare(reply, behind)) {
            Some(pending) => State::Coming { pending, at },
            None => State::None,
        }
    }

    /// Begins the connection that the reply to EPSV names.
    fn begin_spare(&self, reply: &Reply, behind: Behind) -> Option<PendingConnection> {
        let address = parse_any(reply).ok();
        let pending = address.and_then(|address| {
            let DataMode::Passive { address: choice, .. } = self.options().data_mode else { return None };
            let named = opening::named_address(address, choice);
            self.route().begin_data(address.port(), named, self.options().receive_buffer).ok()
        });
        // A refusal says nothing of EPSV: Pure-FTPd's 500 is about the transfer that is not over yet. The next transfer asks itself. Nor does it
        // say anything of spares, where it may be about the transfer.
        if behind != Behind::Nothing && address.is_none() {
            tracing::debug!("no data connection ahead of the next transfer: {reply}");
        } else if reply.class() == ReplyClass::Transient {
            self.profile().spares.pause();
        } else if pending.is_none() {
            self.profile().spares.learn_if(false);
        }
        pending
    }
}

/// Hears the replies that nobody waits for: one thread for all sessions, as long as there is any to be heard.
#[derive(Debug, Default)]
pub(super) struct SpareKeeper {
    state: Mutex<KeeperState>,
}

#[derive(Debug, Default)]
struct KeeperState {
    asked: Vec<Arc<Session>>,
    /// Of the thread that runs.
    readiness: Option<Arc<Readiness>>,
}

impl SpareKeeper {
    /// Sees to the spare of `session`, which has asked for it. Without a thread for that it is seen to by the next transfer.
    fn keep(self: &Arc<Self>, session: &Arc<Session>) {
        let mut state = self.state.lock();
        if state.readiness.is_none() {
            let Ok(readiness) = Readiness::new().map(Arc::new) else { return };
            let (keeper, heard) = (Arc::clone(self), Arc::clone(&readiness));
            let spawned = thread::Builder::new().name(String::from("ftpfs-spares")).spawn(move || keeper.hear(&heard));
            if spawned.is_err() {
                return;
            }
            state.readiness = Some(readiness);
        }
        if !state.asked.iter().any(|asked| Arc::ptr_eq(asked, session)) {
            state.asked.push(Arc::clone(session));
        }
        let readiness = state.readiness.clone();
        drop(state);
        // Who waits for another reply on the session may be the one that reads this one.
        if let Some(readiness) = readiness {
            match &*session.spare.state.lock() {
                State::Asked { ticket, .. } => ticket.tell(&readiness),
                State::None | State::Coming { .. } => {}
            }
            readiness.wake();
        }
    }

    fn hear(&self, readiness: &Readiness) {
        loop {
            let sessions = {
                let mut state = self.state.lock();
                state.asked.retain(|session| session.advance_spare());
                state.asked.clone()
            };
            let oldest = sessions.iter().map(|session| session.options().deadlines.reply).min();
            readiness.wait(sessions.iter().map(|session| session.control()), after(oldest.unwrap_or(LINGER)));
            let mut state = self.state.lock();
            if sessions.is_empty() && state.asked.is_empty() {
                state.readiness = None;
                return;
            }
        }
    }
}

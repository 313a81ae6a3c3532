//! How the data connection of a transfer comes about: EPSV, PASV, EPRT or PORT, and which of them works here.
//!
//! What has worked once is taken for granted: the next read sends its command while the connection is still coming
//! about. What has not is tried first, and followed by the other way where it fails.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Instant;

use super::error::PoolError;
use super::options::{DataMode, PassiveAddressChoice, PassiveCommand};
use super::profile::{ServerKind, Verdict, VerdictCell};
use super::session::Session;
use crate::connection::deadlines::{after, remaining};
use crate::connection::{DataConnection, DataListener, PendingConnection, Progress};
use crate::protocol::passive::{PassiveAddress, parse_any};
use crate::protocol::{Command, Reply, ReplyClass};

/// A data connection, or the promise of one.
#[derive(Debug)]
pub(super) enum Opening {
    /// It stands.
    Open(DataConnection),
    /// It is coming about, by a way that has worked before.
    Pending(PendingConnection),
    /// The session's spare, which may turn out to be of no use.
    Spare(PendingConnection),
    /// The server will connect, once it has the transfer's command.
    Listening(DataListener),
}

impl Opening {
    /// Waits until the connection stands.
    pub(super) fn wait(self, session: &Session, deadline: Instant) -> Result<DataConnection, PoolError> {
        let deadline = deadline.min(after(session.options().deadlines.connect));
        let opened = match self {
            Self::Open(data) => return Ok(data),
            Self::Pending(pending) => pending.wait(deadline).inspect_err(|_| {
                // It worked before and does not now: find out anew what does.
                session.profile().epsv.learn(Verdict::Unknown);
                session.profile().pasv.learn(Verdict::Unknown);
            }),
            Self::Spare(pending) => pending.wait(deadline),
            Self::Listening(listener) => listener.accept(deadline),
        };
        opened.map_err(|error| PoolError::DataConnection { reason: error.to_string(), sent: true })
    }

    /// Whether `wait` would wait for nothing.
    pub(super) fn stands(&self) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Pending(pending) | Self::Spare(pending) => pending.progress() == Progress::Standing,
            Self::Listening(_) => false,
        }
    }

    /// Whether it is coming about without further ado.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Spare(_))
    }
}

/// Asks the server for a port, or tells it ours, before `command`.
///
/// A CWD that the command needs goes in `directory`, and before all else: libunftp 0.24 lists the directory that was
/// the current one when the data connection came about.
///
/// # Errors
/// - [`PoolError::Refused`]: the CWD was.
/// - [`PoolError::DataConnection`] where no way works; nothing of the transfer was sent.
pub(super) fn open(
    session: &Session,
    directory: Option<&Command>,
    command: &Command,
    deadline: Instant,
) -> Result<Opening, PoolError> {
    match &session.options().data_mode {
        DataMode::Passive { prefer, address } => open_passive(session, directory, command, *prefer, *address, deadline),
        DataMode::Active { address, ports } => {
            if let Some(directory) = directory {
                check_entered(directory, session.control().exchange(directory.clone(), deadline)?)?;
            }
            open_active(session, *address, ports.clone(), deadline)
        }
    }
}

fn check_entered(directory: &Command, reply: Reply) -> Result<(), PoolError> {
    if reply.class() == ReplyClass::Completion {
        return Ok(());
    }
    Err(PoolError::Refused { verb: directory.verb(), reply })
}

fn open_passive(
    session: &Session,
    directory: Option<&Command>,
    command: &Command,
    prefer: PassiveCommand,
    choice: PassiveAddressChoice,
    deadline: Instant,
) -> Result<Opening, PoolError> {
    let ways = passive_ways(session, prefer);
    let mut reasons = Vec::new();
    for (index, (ask, verdict)) in ways.iter().enumerate() {
        let is_last = index + 1 == ways.len();
        let way = Way { ask, verdict, is_last };
        match way.open(session, directory, command, choice, deadline) {
            Ok(opening) => return Ok(opening),
            Err(PoolError::DataConnection { reason, .. }) => reasons.push(reason),
            Err(error) => return Err(error),
        }
    }
    Err(PoolError::DataConnection { reason: reasons.join("; "), sent: false })
}

/// The commands to try, best first. IPv6 has no PASV.
pub(super) fn passive_ways(session: &Session, prefer: PassiveCommand) -> Vec<(Command, &VerdictCell)> {
    let profile = session.profile();
    let epsv = (Command::Epsv, &profile.epsv);
    let pasv = (Command::Pasv, &profile.pasv);
    match (prefer, session.route().is_ipv6()) {
        (PassiveCommand::Pasv, false) => vec![pasv],
        (PassiveCommand::Epsv, _) | (_, true) => vec![epsv],
        // An EPSV that fails is not tried again, so PASV costs one round trip more only once.
        (PassiveCommand::Auto, _) if profile.epsv.is_no() && !profile.pasv.is_no() => vec![pasv],
        (PassiveCommand::Auto, _) if profile.pasv.is_yes() && !profile.epsv.is_yes() => vec![pasv, epsv],
        (PassiveCommand::Auto, _) => vec![epsv, pasv],
    }
}

struct Way<'a> {
    ask: &'a Command,
    verdict: &'a VerdictCell,
    is_last: bool,
}

impl Way<'_> {
    fn open(
        &self,
        session: &Session,
        directory: Option<&Command>,
        command: &Command,
        choice: PassiveAddressChoice,
        deadline: Instant,
    ) -> Result<Opening, PoolError> {
        let verb = self.ask.verb();
        let pret = needs_pret(session).then(|| Command::Pret(Box::new(command.clone())));
        let commands: Vec<Command> = directory.cloned().into_iter().chain(pret).chain([self.ask.clone()]).collect();
        let mut replies = session.control().exchange_all(&commands, deadline)?;
        let Some(reply) = replies.pop() else { return Err(no_way(verb, "no reply")) };
        if let (Some(directory), Some(entered)) = (directory, replies.into_iter().next()) {
            check_entered(directory, entered)?;
        }
        let address = match parse_any(&reply) {
            Ok(address) => address,
            Err(error) => {
                // A transient refusal says nothing of the next time.
                if reply.class() != ReplyClass::Transient {
                    self.verdict.learn_if(false);
                }
                return Err(no_way(verb, &error.reply));
            }
        };
        let named = named_address(address, choice);
        let pending = session
            .route()
            .begin_data(address.port(), named, session.options().receive_buffer)
            .map_err(|error| no_way(verb, &error.to_string()))?;
        if self.verdict.is_yes() {
            return Ok(Opening::Pending(pending));
        }
        let patience = session.options().deadlines.connect;
        // A firewall that swallows EPSV's ports must leave time for PASV.
        let share = if self.is_last { patience } else { patience / 2 };
        match pending.wait(deadline.min(after(share))) {
            Ok(data) => {
                self.verdict.learn_if(true);
                Ok(Opening::Open(data))
            }
            Err(error) => {
                if remaining(deadline).is_some() {
                    self.verdict.learn_if(false);
                }
                Err(no_way(verb, &error.to_string()))
            }
        }
    }
}

/// Waits for the first connection that a way has led to, and learns whether it does. A firewall that swallows it must leave time for the
/// other way.
pub(super) fn prove(session: &Session, verdict: &VerdictCell, pending: &PendingConnection, deadline: Instant) -> bool {
    let stands = pending.await_standing(deadline.min(after(session.options().deadlines.connect / 2)));
    if stands || remaining(deadline).is_some() {
        verdict.learn_if(stands);
    }
    stands
}

/// Whether the server wants to know the command before it names a port. Pure-FTPd lists PRET and does without it.
pub(super) fn needs_pret(session: &Session) -> bool {
    session.profile().features().pret() && session.kind() != ServerKind::PureFtpd
}

/// The address in the reply, where it is to be believed.
pub(super) fn named_address(address: PassiveAddress, choice: PassiveAddressChoice) -> Option<IpAddr> {
    match (address, choice) {
        (PassiveAddress::Address(address), PassiveAddressChoice::Server) => Some(IpAddr::V4(*address.ip())),
        _ => None,
    }
}

fn open_active(
    session: &Session,
    address: Option<IpAddr>,
    ports: Option<RangeInclusive<u16>>,
    deadline: Instant,
) -> Result<Opening, PoolError> {
    let control = session.control();
    // Behind a NAT the address we tell is not one we can listen at.
    let listener = DataListener::bind(control.local(), ports, control.peer())
        .map_err(|error| no_way("active mode", &error.to_string()))?;
    let local = listener.local_address().map_err(|error| no_way("active mode", &error.to_string()))?;
    let told = SocketAddr::new(address.unwrap_or_else(|| local.ip()), local.port());
    let eprt = &session.profile().eprt;
    if !eprt.is_no() {
        let reply = control.exchange(Command::Eprt(told), deadline)?;
        match (reply.class(), told) {
            (ReplyClass::Completion, _) => return Ok(Opening::Listening(listener)),
            (_, SocketAddr::V6(_)) => return Err(no_way("EPRT", &reply.to_string())),
            _ => eprt.learn_if(false),
        }
    }
    let SocketAddr::V4(told) = told else { return Err(no_way("EPRT", "refused before")) };
    let reply = control.exchange(Command::Port(told), deadline)?;
    if reply.class() == ReplyClass::Completion {
        return Ok(Opening::Listening(listener));
    }
    // Both refused: that was not about the spelling.
    eprt.learn(Verdict::Unknown);
    Err(no_way("PORT", &reply.to_string()))
}

fn no_way(verb: &str, reason: &str) -> PoolError {
    PoolError::DataConnection { reason: format!("{verb}: {reason}"), sent: false }
}

//! TLS on the data connection of a transfer: when its handshake begins, and what its session teaches (docs/tls.md).

use std::time::Instant;

use super::error::PoolError;
use super::profile::ServerKind;
use super::session::Session;
use crate::connection::deadlines::after;
use crate::connection::tls::Negotiated;
use crate::connection::{ConnectionError, DataConnection, Resumable, TlsError};
use crate::protocol::{Command, RemotePath, Reply};

/// When the handshake begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hello {
    /// Not at all: clear text.
    Never,
    /// Right behind the command.
    AtOnce,
    /// When the server has agreed to the command: one that is refused must not cost the last ticket.
    AfterPreliminary,
}

/// TLS of one transfer.
#[derive(Debug)]
pub(super) struct DataTls {
    pub(super) hello: Hello,
    sessions_before: u64,
    could_resume: bool,
    negotiated: Option<Negotiated>,
}

impl DataTls {
    /// Finds out how the next transfer of `session` begins.
    ///
    /// # Errors
    /// [`PoolError::Connection`] where its tickets are used up, and the server may insist on one: it is closed, since some servers
    /// would end it in the middle of the transfer. Nothing was sent.
    pub(super) fn plan(session: &Session) -> Result<Self, PoolError> {
        let Some(login) = session.tls() else {
            return Ok(Self { hello: Hello::Never, sessions_before: 0, could_resume: false, negotiated: None });
        };
        let resumable = login.resumable();
        let hello = match resumable {
            Resumable::UsedUp if may_insist(session) => {
                session.control().quit();
                return Err(PoolError::Connection(ConnectionError::Closed { reply: None, sent: false }));
            }
            // It resets a connection that begins before the command has been read. We send the command first, but the two travel
            // by different ways.
            _ if session.kind() == ServerKind::Pyftpdlib => Hello::AfterPreliminary,
            Resumable::Times(1) => Hello::AfterPreliminary,
            Resumable::Always | Resumable::Times(_) | Resumable::UsedUp | Resumable::Never => Hello::AtOnce,
        };
        let could_resume = matches!(resumable, Resumable::Always | Resumable::Times(_));
        Ok(Self { hello, sessions_before: login.sessions_received(), could_resume, negotiated: None })
    }

    /// Begins the handshake, where it has not begun.
    pub(super) fn begin(&self, session: &Session, data: &mut DataConnection) -> Result<(), PoolError> {
        let Some(login) = session.tls().filter(|_| !data.is_encrypted()) else { return Ok(()) };
        Ok(data.start_tls(login, session.options().deadlines.data)?)
    }

    /// Brings the handshake to its end.
    ///
    /// # Errors
    /// [`PoolError::Tls`] where the server is not trusted; [`PoolError::DataConnection`] for all else: the control connection knows
    /// better why.
    pub(super) fn finish(
        &mut self,
        session: &Session,
        data: &mut DataConnection,
        deadline: Instant,
    ) -> Result<(), PoolError> {
        let Some(login) = session.tls() else { return Ok(()) };
        self.begin(session, data)?;
        let deadline = deadline.min(after(session.options().deadlines.data));
        match data.finish_handshake(login, deadline) {
            Ok(negotiated) => {
                session.profile().tls.count(negotiated);
                let number = session.control().number();
                tracing::debug!(target: "ftpfs::dialogue", connection = number, "data connection encrypted: {negotiated}");
                self.negotiated = Some(negotiated);
                Ok(())
            }
            Err(ConnectionError::Tls(error @ (TlsError::Certificate(_) | TlsError::NotTls(_)))) => {
                Err(PoolError::Tls(error))
            }
            Err(error) => Err(PoolError::DataConnection { reason: error.to_string(), sent: true }),
        }
    }

    /// Whether this transfer showed that the server needs no resumption.
    pub(super) fn learn_from_success(&self, session: &Session) {
        let was_full = self.negotiated.is_some_and(|negotiated| !negotiated.resumed);
        if self.could_resume && was_full {
            session.profile().tls.wants_resumption.learn_if(false);
        }
    }

    /// An upload has ended in order: has it brought a ticket in place of the one that it took?
    pub(super) fn learn_from_upload(&self, session: &Session) {
        let Some(login) = session.tls() else { return };
        let findings = &session.profile().tls;
        let was_resumed = self.negotiated.is_some_and(|negotiated| negotiated.resumed);
        if !was_resumed || login.resumable() == Resumable::Always {
            return;
        }
        let brought_some = login.sessions_received() > self.sessions_before;
        if !brought_some && !findings.uploads_bring_tickets.is_no() {
            tracing::info!("the server gives no TLS 1.3 tickets with uploads: logins from now on use TLS 1.2");
        }
        findings.uploads_bring_tickets.learn_if(brought_some);
    }
}

/// Whether the server may refuse a data connection that does not resume.
fn may_insist(session: &Session) -> bool {
    !session.profile().tls.wants_resumption.is_no()
}

/// After a transfer: a session that can resume no more makes room for a new one.
pub(super) fn retire_if_used_up(session: &Session) {
    let is_used_up = session.tls().is_some_and(|login| login.resumable() == Resumable::UsedUp);
    if is_used_up && may_insist(session) {
        tracing::debug!("its TLS tickets are used up: the connection makes room for a new one");
        session.control().quit();
    }
}

/// What 425 and 522 mean to an encrypted transfer: the data connection did not please. With another login it may; with this one, whose
/// session may have become too old for the server, not again.
pub(super) fn refused_data(session: &Session, reply: &Reply) -> Option<PoolError> {
    if session.tls().is_none() || !matches!(reply.code().number(), 425 | 522) {
        return None;
    }
    session.profile().tls.wants_resumption.learn_if(true);
    session.control().quit();
    Some(PoolError::DataConnection { reason: reply.to_string(), sent: true })
}

/// What a RETR should have brought.
#[derive(Debug)]
pub(super) struct Expected {
    /// The file; `None` where nothing tells how much would be all.
    pub(super) file: Option<RemotePath>,
    /// How many bytes, where the command says so.
    pub(super) count: Option<u64>,
    /// Where it began.
    pub(super) offset: u64,
    /// How much came.
    pub(super) moved: u64,
}

impl Expected {
    pub(super) fn of(prelude: &[Command], command: &Command) -> Self {
        let mut expected = Self { file: None, count: None, offset: 0, moved: 0 };
        if let Command::Retr(path) = command {
            expected.file = Some(path.clone());
        }
        for command in prelude {
            match command {
                Command::Rest(offset) => expected.offset = *offset,
                Command::Rang { first, last } => expected.count = Some(last.saturating_sub(*first).saturating_add(1)),
                _ => {}
            }
        }
        expected
    }

    /// Proves by the file's size that all has come, where the data ended without close_notify: anybody between could have ended it.
    pub(super) fn prove(&self, session: &Session) -> Result<(), PoolError> {
        let cut = |reason: String| {
            Err(PoolError::Broken { reason: format!("the encrypted data ended without the server's word; {reason}") })
        };
        if let Some(count) = self.count {
            let is_all = self.moved == count;
            return if is_all { Ok(()) } else { cut(format!("{} bytes came of {count}", self.moved)) };
        }
        let Some(path) = &self.file else { return cut("there is no other proof that it was all".into()) };
        let deadline = after(session.options().deadlines.reply);
        let reply = session.control().exchange(Command::Size(path.clone()), deadline)?;
        let size = (reply.code().number() == 213).then(|| reply.text().trim().parse::<u64>().ok()).flatten();
        if size == Some(self.offset.saturating_add(self.moved)) {
            return Ok(());
        }
        cut(format!("{} bytes came from byte {} on, and its size is: {reply}", self.moved, self.offset))
    }
}

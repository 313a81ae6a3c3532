//! What can go wrong with a connection.
//!
//! The one question that callers ask of an error is whether the server may have seen the command: only what it
//! never saw can be sent again without a thought ([`ConnectionError::sent`]).

use std::io;

use super::tls::{self, TlsError, TlsLogin};
use crate::protocol::command::CommandError;
use crate::protocol::reply::Reply;

/// Why a connection failed. After every one of them but [`Self::Command`] and [`Self::GivenUp`] it is closed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectionError {
    /// No connection came about; nothing was sent.
    #[error("cannot connect to {host}: {reason}")]
    NotConnected {
        /// Host and port, as the user named them.
        host: String,
        /// The last address's error.
        reason: String,
    },
    /// The server ended the connection, with a 421 reply or without one.
    #[error("the server closed the connection{}", with_reply(.reply))]
    Closed {
        /// The 421, where it said one.
        reply: Option<Reply>,
        /// Whether the server may have seen the command.
        sent: bool,
    },
    /// Silence for longer than the deadline.
    #[error("no answer from the server in time ({during})")]
    TimedOut {
        /// What was waited for.
        during: &'static str,
        /// Whether the server may have seen the command.
        sent: bool,
    },
    /// The caller's own time was over before the reply came; the connection lives on.
    #[error("no time left to wait for the server ({during})")]
    GivenUp {
        /// What was waited for.
        during: &'static str,
        /// Whether the server may have seen the command.
        sent: bool,
    },
    /// A reply that belongs to no command, or none that can be read as one.
    #[error("the server's replies are out of step: {reason}")]
    OutOfStep {
        /// What came.
        reason: String,
        /// Whether the server may have seen the command.
        sent: bool,
    },
    /// The network failed.
    #[error("the connection to the server is lost: {reason}")]
    Io {
        /// The system's words.
        reason: String,
        /// Whether the server may have seen the command.
        sent: bool,
    },
    /// It could not be encrypted, or not be trusted. The commands that follow the handshake were not sent.
    #[error(transparent)]
    Tls(TlsError),
    /// The command cannot be said in FTP; nothing was sent.
    #[error(transparent)]
    Command(#[from] CommandError),
}

fn with_reply(reply: &Option<Reply>) -> String {
    reply.as_ref().map(|reply| format!(": {reply}")).unwrap_or_default()
}

impl ConnectionError {
    /// Whether the server may have seen the command, and so may have obeyed it.
    pub fn sent(&self) -> bool {
        match self {
            Self::NotConnected { .. } | Self::Command(_) | Self::Tls(_) => false,
            Self::Closed { sent, .. }
            | Self::TimedOut { sent, .. }
            | Self::GivenUp { sent, .. }
            | Self::OutOfStep { sent, .. }
            | Self::Io { sent, .. } => *sent,
        }
    }

    /// Whether another connection may do better: all but a command that cannot be said, a caller without time, and a server
    /// that is not trusted.
    pub fn is_lost_connection(&self) -> bool {
        !matches!(self, Self::Command(_) | Self::GivenUp { .. } | Self::Tls(_))
    }

    /// The same error for a command that was, or was not, sent before it.
    #[must_use]
    pub(crate) fn with_sent(mut self, now_sent: bool) -> Self {
        match &mut self {
            Self::NotConnected { .. } | Self::Command(_) | Self::Tls(_) => {}
            Self::Closed { sent, .. }
            | Self::TimedOut { sent, .. }
            | Self::GivenUp { sent, .. }
            | Self::OutOfStep { sent, .. }
            | Self::Io { sent, .. } => *sent = now_sent,
        }
        self
    }

    /// What an I/O error of a socket means; `during` says what was tried.
    pub(crate) fn from_io(error: &io::Error, during: &'static str) -> Self {
        if let Some(error) = tls::layer::failure(error).and_then(|failure| tls::client_certificate(&failure.error)) {
            return Self::Tls(error);
        }
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut { during, sent: true },
            _ => Self::Io { reason: format!("{during}: {error}"), sent: true },
        }
    }

    /// What an error of a handshake means.
    pub(crate) fn from_handshake(error: &io::Error, login: &TlsLogin) -> Self {
        let during = "the TLS handshake";
        match (tls::layer::failure(error), error.kind()) {
            (Some(failure), _) => Self::Tls(login.explain(&failure.error, failure.words.clone())),
            (None, io::ErrorKind::UnexpectedEof) => Self::Closed { reply: None, sent: false },
            (None, _) => Self::from_io(error, during).with_sent(false),
        }
    }
}

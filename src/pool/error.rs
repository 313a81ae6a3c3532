//! What can go wrong with sessions and transfers.
//!
//! A caller asks two things of an error: may another connection do better ([`PoolError::is_worth_another_try`]), and may the
//! server have obeyed already ([`PoolError::sent`]).

use crate::connection::{ConnectionError, TlsError};
use crate::protocol::Reply;

/// Why there is no session, or why a command or transfer on one failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PoolError {
    /// Wrong name or password, as far as anyone can tell. It is not tried again, since servers lock accounts.
    #[error("the server refused the login: {reply}")]
    LoginRefused {
        /// The refusal.
        reply: Reply,
    },
    /// The server takes no more connections, and none of ours became free.
    #[error("the server has too many connections: {reply}")]
    TooMany {
        /// The refusal.
        reply: Reply,
    },
    /// It could not be encrypted, or the server is not trusted. No password was sent.
    #[error(transparent)]
    Tls(TlsError),
    /// No connection could be had.
    #[error("{reason}")]
    Unreachable {
        /// The last attempt's error, naming the host.
        reason: String,
    },
    /// The caller's deadline passed.
    #[error("no time left ({during})")]
    TimedOut {
        /// What was waited for.
        during: &'static str,
        /// Whether the server may have seen the command.
        sent: bool,
    },
    /// The control connection failed.
    #[error(transparent)]
    Connection(ConnectionError),
    /// The transfer did not begin, for want of a data connection.
    #[error("no data connection: {reason}")]
    DataConnection {
        /// What was tried, and how it ended.
        reason: String,
        /// Whether the server may have seen the transfer's command.
        sent: bool,
    },
    /// The server refused the transfer's command, or one that must go before it. Nothing was transferred.
    #[error("{verb}: {reply}")]
    Refused {
        /// The command's verb.
        verb: &'static str,
        /// The refusal.
        reply: Reply,
    },
    /// The transfer began, and the server said that it failed.
    #[error("the transfer failed: {reply}")]
    Aborted {
        /// The refusal in place of the completion reply.
        reply: Reply,
    },
    /// The data connection broke while the transfer went.
    #[error("the transfer broke off: {reason}")]
    Broken {
        /// What happened.
        reason: String,
    },
}

impl PoolError {
    /// Whether the server may have seen the command, and so may have obeyed it.
    pub fn sent(&self) -> bool {
        match self {
            Self::LoginRefused { .. } | Self::TooMany { .. } | Self::Tls(_) | Self::Unreachable { .. } => false,
            Self::TimedOut { sent, .. } | Self::DataConnection { sent, .. } => *sent,
            Self::Connection(error) => error.sent(),
            Self::Refused { .. } | Self::Aborted { .. } | Self::Broken { .. } => true,
        }
    }

    /// Whether the same may succeed on another connection, at once. [`Self::TooMany`] and [`Self::Unreachable`] are not:
    /// the pool has tried for as long as the caller had time.
    pub fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_lost_connection(),
            Self::DataConnection { .. } | Self::Broken { .. } => true,
            // 426: the data connection failed. Other refusals in the middle (552, 451) say what would happen again.
            Self::Aborted { reply } => reply.code().number() == 426,
            Self::LoginRefused { .. }
            | Self::TooMany { .. }
            | Self::Tls(_)
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Refused { .. } => false,
        }
    }
}

impl From<ConnectionError> for PoolError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::GivenUp { during, sent } => Self::TimedOut { during, sent },
            ConnectionError::Tls(error) => Self::Tls(error),
            error => Self::Connection(error),
        }
    }
}

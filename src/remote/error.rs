//! What can go wrong with a file on a server, as far as a caller can act on it.
//!
//! Which reply means which of these is decided in `remote::refusal`; which errno each becomes, in `fuse::errno`.

use crate::connection::TlsError;

/// The result of a question to the server.
pub type RemoteResult<T> = Result<T, RemoteError>;

/// Why an operation on the server failed. The texts are complete sentences for a log or a terminal; those with `reply`
/// quote the server's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Nothing of that name is there: proved by a probe, never by a 550 alone.
    #[error("no such file or directory on the server")]
    NotFound,
    /// The name is taken.
    #[error("the name exists already on the server")]
    Exists,
    /// A directory that still holds entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A directory where a file was needed.
    #[error("it is a directory")]
    IsDirectory,
    /// Something else where a directory was needed.
    #[error("it is not a directory")]
    NotDirectory,
    /// The server will not let this account do it.
    #[error("the server refused: {reply}")]
    Refused {
        /// Code and text of the reply.
        reply: String,
    },
    /// The login was refused; it is not tried again by itself.
    #[error("the server refused the login: {reply}")]
    LoginRefused {
        /// Code and text of the reply.
        reply: String,
    },
    /// The connection could not be encrypted as asked for, or the server is not trusted. No password was sent.
    #[error("{0}")]
    Encryption(TlsError),
    /// 452, 552, or a quota.
    #[error("no space left on the server: {reply}")]
    NoSpace {
        /// Code and text of the reply.
        reply: String,
    },
    /// The server cannot store this name, or would store it as another one.
    #[error("the server cannot keep this name: {reason}")]
    NameNotAllowed {
        /// What about it.
        reason: String,
    },
    /// Longer than the server takes.
    #[error("the name is too long for the server")]
    NameTooLong,
    /// This server has no way to do it; asking again is in vain.
    #[error("the server does not support {what}")]
    Unsupported {
        /// The operation in words.
        what: &'static str,
    },
    /// It is no longer the file it was.
    #[error("the file changed on the server meanwhile")]
    Changed,
    /// The deadline passed.
    #[error("the server did not answer in time ({during})")]
    TimedOut {
        /// What was waited for.
        during: String,
    },
    /// No connection could be had or kept; nothing is known of the result but what the method's documentation says.
    #[error("the server cannot be reached: {reason}")]
    Unreachable {
        /// The last attempt's error.
        reason: String,
    },
    /// The server answered what no server should; the connection was given up.
    #[error("the server broke the protocol: {reason}")]
    Protocol {
        /// What it did.
        reason: String,
    },
    /// The server refused for now (4yz), or the transfer broke off: the same may succeed when it is tried again.
    #[error("the transfer failed: {reason}")]
    Interrupted {
        /// The reply, or how it broke off.
        reason: String,
    },
    /// What fits none of the above.
    #[error("the transfer failed: {reason}")]
    Failed {
        /// The reply, or what was missing.
        reason: String,
    },
}

impl RemoteError {
    /// Whether the same may succeed when it is tried again, on another connection or a little later.
    pub fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Protocol { .. } | Self::Interrupted { .. } => true,
            Self::NotFound
            | Self::Exists
            | Self::NotEmpty
            | Self::IsDirectory
            | Self::NotDirectory
            | Self::Refused { .. }
            | Self::LoginRefused { .. }
            | Self::Encryption(_)
            | Self::NoSpace { .. }
            | Self::NameNotAllowed { .. }
            | Self::NameTooLong
            | Self::Unsupported { .. }
            | Self::Changed
            | Self::Failed { .. } => false,
        }
    }
}

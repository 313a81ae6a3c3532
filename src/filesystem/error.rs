//! Why a file operation failed, as far as the kernel's side can act on it.
//!
//! Not here: which errno each becomes (`fuse::errno`), what a reply means (`remote::refusal`).

use crate::journal::JournalError;
use crate::remote::RemoteError;

/// The result of a file operation.
pub type FilesystemResult<T> = Result<T, FilesystemError>;

/// Why a file operation failed. The texts are sentences for a log; those with `reply` quote the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesystemError {
    /// The answer is not in memory and [`Access::MemoryOnly`](super::Access::MemoryOnly) was given. Nothing has
    /// happened: run the same call again with [`Access::Server`](super::Access::Server), where waiting is allowed.
    #[error("the server has to be asked first")]
    WouldWait,
    /// Nothing of that name is there, and that is proved.
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("the name exists already")]
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
    /// Not possible here for anybody: a hard link, another owner, a device.
    #[error("not permitted: {what}")]
    NotPermitted {
        /// The operation in words.
        what: &'static str,
    },
    /// The server will not let this account do it.
    #[error("the server refused: {reply}")]
    Refused {
        /// Code and text of the reply.
        reply: String,
    },
    /// The login was refused.
    #[error("the server refused the login: {reply}")]
    LoginRefused {
        /// Code and text of the reply.
        reply: String,
    },
    /// The mount is read-only.
    #[error("the mount is read-only")]
    ReadOnly,
    /// FTP, or this server, cannot keep that name.
    #[error("this name cannot be kept on the server: {reason}")]
    NameNotAllowed {
        /// What about it.
        reason: String,
    },
    /// Longer than 255 bytes, or than the server takes.
    #[error("the name is too long")]
    NameTooLong,
    /// No space left on the server.
    #[error("no space left on the server: {reply}")]
    NoSpace {
        /// Code and text of the reply.
        reply: String,
    },
    /// No space left where staging files lie.
    #[error("no space left in the staging directory")]
    LocalNoSpace,
    /// A staging file could not be read or written.
    #[error("the staging file failed: {reason}")]
    LocalStorage {
        /// The operating system's words.
        reason: String,
    },
    /// What was promised could not be delivered, and is kept on the local disk.
    #[error("not delivered, and kept in {}: {reason}", at.display())]
    SetAside {
        /// Where it lies.
        at: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is no longer the one that was opened.
    #[error("the file changed on the server while it was open")]
    Stale,
    /// The handle or inode number is not known, or not open for this.
    #[error("the handle is not open for this")]
    BadHandle,
    /// An argument makes no sense.
    #[error("invalid argument")]
    InvalidArgument,
    /// Nothing of what was looked for (lseek) lies at or behind the offset.
    #[error("nothing lies at or behind this offset")]
    NoData,
    /// This server, or FTP, has no way to do it.
    #[error("the server does not support {what}")]
    NotSupported {
        /// The operation in words.
        what: &'static str,
    },
    /// A file larger than can be expressed.
    #[error("the file would become too large")]
    TooLarge,
    /// The deadline passed.
    #[error("not done in time ({during})")]
    TimedOut {
        /// What was waited for.
        during: String,
    },
    /// No connection to the server could be had or kept.
    #[error("the server cannot be reached: {reason}")]
    Unreachable {
        /// The last attempt's error.
        reason: String,
    },
    /// Everything else that went wrong with the server.
    #[error("the server failed: {reason}")]
    Failed {
        /// What happened.
        reason: String,
    },
}

impl FilesystemError {
    /// Whether trying again is in vain.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NotFound
            | Self::Exists
            | Self::NotEmpty
            | Self::IsDirectory
            | Self::NotDirectory
            | Self::Refused { .. }
            | Self::NameNotAllowed { .. }
            | Self::NameTooLong
            | Self::TooLarge => true,
            Self::WouldWait
            | Self::NotPermitted { .. }
            | Self::LoginRefused { .. }
            | Self::ReadOnly
            | Self::NoSpace { .. }
            | Self::LocalNoSpace
            | Self::LocalStorage { .. }
            | Self::SetAside { .. }
            | Self::Stale
            | Self::BadHandle
            | Self::InvalidArgument
            | Self::NoData
            | Self::NotSupported { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Failed { .. } => false,
        }
    }
}

impl From<RemoteError> for FilesystemError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::NotFound => Self::NotFound,
            RemoteError::Exists => Self::Exists,
            RemoteError::NotEmpty => Self::NotEmpty,
            RemoteError::IsDirectory => Self::IsDirectory,
            RemoteError::NotDirectory => Self::NotDirectory,
            RemoteError::Refused { reply } => Self::Refused { reply },
            RemoteError::LoginRefused { reply } => Self::LoginRefused { reply },
            RemoteError::NoSpace { reply } => Self::NoSpace { reply },
            RemoteError::NameNotAllowed { reason } => Self::NameNotAllowed { reason },
            RemoteError::NameTooLong => Self::NameTooLong,
            RemoteError::Unsupported { what } => Self::NotSupported { what },
            RemoteError::Changed => Self::Stale,
            RemoteError::TimedOut { during } => Self::TimedOut { during },
            RemoteError::Unreachable { reason } => Self::Unreachable { reason },
            RemoteError::Encryption(error) => Self::Unreachable { reason: error.to_string() },
            RemoteError::Protocol { reason } | RemoteError::Interrupted { reason } | RemoteError::Failed { reason } => {
                Self::Failed { reason }
            }
        }
    }
}

impl From<JournalError> for FilesystemError {
    fn from(error: JournalError) -> Self {
        match error.disk_kind() {
            Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => Self::LocalNoSpace,
            _ if matches!(error, JournalError::PathTooLong) => Self::NameTooLong,
            _ => Self::LocalStorage { reason: error.to_string() },
        }
    }
}

impl From<std::io::Error> for FilesystemError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::LocalNoSpace,
            std::io::ErrorKind::FileTooLarge => Self::TooLarge,
            _ => Self::LocalStorage { reason: error.to_string() },
        }
    }
}

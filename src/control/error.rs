//! Why a mount could not be asked, or cannot be asked at all.

use std::io;
use std::path::PathBuf;

/// Each text is a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// An ordinary user without XDG_RUNTIME_DIR and without /run/user.
    #[error("there is no directory for this user's sockets: neither $XDG_RUNTIME_DIR nor /run/user/{0} is there")]
    NoDirectory(u32),
    /// It cannot be made or looked at.
    #[error("the directory for sockets {} cannot be used: {error}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Somebody else could put sockets there, or listen at ours.
    #[error("the directory for sockets {} is not this user's alone (it has to be mode 0700)", .0.display())]
    NotPrivate(PathBuf),
    /// The socket is there and nobody listens: its mount is dead.
    #[error("the mount's process is gone")]
    Gone,
    /// The process has stopped, or has more to do than it should.
    #[error("the mount's process does not answer in time")]
    TimedOut,
    /// It understood, and will not.
    #[error("{0}")]
    Refused(String),
    /// An answer that is no answer; perhaps another version of the program.
    #[error("the mount's answer is not understood; is it of another version? ({0})")]
    Garbled(String),
    /// The system's refusal.
    #[error("the mount cannot be asked: {0}")]
    Io(#[from] io::Error),
}

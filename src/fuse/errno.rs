//! What each failure is called in the kernel's language; the only place that names an errno.
//!
//! ENOSYS is given only where the kernel shall never ask again: for several operations it takes it as "this filesystem has
//! none" for the rest of the mount. ENOENT is given only for an absence that was proved.

use std::io;

use fuser::Errno;
use tracing::Level;

use super::parked::GivenUp;
use crate::filesystem::FilesystemError;

/// A hard link, a device, a pipe: FTP has no such thing, for anybody.
pub(super) const NOT_POSSIBLE: Errno = Errno::EPERM;
/// Flags that nobody could honour, so that the caller takes another way.
pub(super) const FLAGS_NOT_KNOWN: Errno = Errno::EINVAL;
/// Hole punching and its like: the caller writes zeros by itself.
pub(super) const NOT_SUPPORTED: Errno = Errno::EOPNOTSUPP;
/// Looking for data or a hole where no file can have any.
pub(super) const NOTHING_THERE: Errno = Errno::ENXIO;
/// No ioctl(2) of any device is known here.
pub(super) const NO_IOCTL: Errno = Errno::ENOTTY;
/// "Never ask again", wanted for extended attributes (each write would else cost a question for `security.capability`),
/// and for what the kernel then does by itself: copy_file_range, poll, bmap, locks.
pub(super) const NEVER_ASK_AGAIN: Errno = Errno::ENOSYS;
/// More operations wait than there is room for; nothing was done.
pub(super) const QUEUE_FULL: Errno = Errno::EBUSY;
/// The operation panicked: a fault of ours.
pub(super) const PANICKED: Errno = Errno::EIO;
/// The deadline passed before the operation could begin.
pub(super) const TOO_LATE: Errno = Errno::ETIMEDOUT;

/// The errno of a failed operation.
pub(super) fn of(error: &FilesystemError) -> Errno {
    match error {
        // No `_` arm: a new variant must choose its errno here, or the build fails.
        FilesystemError::NotFound => Errno::ENOENT,
        FilesystemError::Exists => Errno::EEXIST,
        FilesystemError::NotEmpty => Errno::ENOTEMPTY,
        FilesystemError::IsDirectory => Errno::EISDIR,
        FilesystemError::NotDirectory => Errno::ENOTDIR,
        FilesystemError::NotPermitted { .. } => Errno::EPERM,
        FilesystemError::Refused { .. } | FilesystemError::LoginRefused { .. } => Errno::EACCES,
        FilesystemError::ReadOnly => Errno::EROFS,
        FilesystemError::NameNotAllowed { .. } | FilesystemError::InvalidArgument => Errno::EINVAL,
        FilesystemError::NameTooLong => Errno::ENAMETOOLONG,
        FilesystemError::NoSpace { .. } | FilesystemError::LocalNoSpace => Errno::ENOSPC,
        FilesystemError::Stale => Errno::ESTALE,
        FilesystemError::BadHandle => Errno::EBADF,
        // Not ENOSYS: see above.
        FilesystemError::NotSupported { .. } => Errno::EOPNOTSUPP,
        FilesystemError::NoData => Errno::ENXIO,
        FilesystemError::TooLarge => Errno::EFBIG,
        FilesystemError::TimedOut { .. } => Errno::ETIMEDOUT,
        FilesystemError::Unreachable { .. } => Errno::EHOSTUNREACH,
        // `WouldWait` to somebody who may wait is a fault of ours.
        FilesystemError::WouldWait
        | FilesystemError::LocalStorage { .. }
        | FilesystemError::SetAside { .. }
        | FilesystemError::Failed { .. } => Errno::EIO,
    }
}

/// How loudly a failure is logged: what programs run into all day is only for those who look for it.
pub(super) fn level_of(error: &FilesystemError) -> Level {
    match error {
        FilesystemError::NotFound
        | FilesystemError::Exists
        | FilesystemError::NotEmpty
        | FilesystemError::IsDirectory
        | FilesystemError::NotDirectory
        | FilesystemError::NoData
        | FilesystemError::ReadOnly => Level::DEBUG,
        FilesystemError::NotPermitted { .. }
        | FilesystemError::NameNotAllowed { .. }
        | FilesystemError::InvalidArgument
        | FilesystemError::NameTooLong
        | FilesystemError::NotSupported { .. }
        | FilesystemError::TooLarge => Level::INFO,
        FilesystemError::WouldWait
        | FilesystemError::Refused { .. }
        | FilesystemError::LoginRefused { .. }
        | FilesystemError::NoSpace { .. }
        | FilesystemError::LocalNoSpace
        | FilesystemError::LocalStorage { .. }
        | FilesystemError::SetAside { .. }
        | FilesystemError::Stale
        | FilesystemError::BadHandle
        | FilesystemError::TimedOut { .. }
        | FilesystemError::Unreachable { .. }
        | FilesystemError::Failed { .. } => Level::WARN,
    }
}

/// The errno of a reply that could not wait for its result.
pub(super) fn of_given_up(reason: GivenUp) -> Errno {
    match reason {
        GivenUp::Interrupted => Errno::EINTR,
        GivenUp::TimedOut => Errno::ETIMEDOUT,
    }
}

/// Whether a path leads to a mount whose process has died: "transport endpoint is not connected".
pub(super) fn is_dead_mount(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected || error.raw_os_error() == Some(Errno::ENOTCONN.code())
}

/// Whether a system call wants root, so that the setuid helper should be asked instead.
pub(super) fn needs_privilege(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::PERM | rustix::io::Errno::ACCESS)
}

/// Whether a mount is in use.
pub(super) fn is_busy(error: rustix::io::Errno) -> bool {
    error == rustix::io::Errno::BUSY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proved_absence_is_no_such_file() {
        let reply = || String::from("550 No such file or directory");
        assert_eq!(of(&FilesystemError::NotFound).code(), libc::ENOENT);
        for error in [
            FilesystemError::Refused { reply: reply() },
            FilesystemError::Failed { reason: reply() },
            FilesystemError::Unreachable { reason: reply() },
            FilesystemError::NotSupported { what: "listing" },
        ] {
            assert_ne!(of(&error).code(), libc::ENOENT, "{error}");
            assert_ne!(of(&error).code(), libc::ENOSYS, "{error}");
        }
    }

    #[test]
    fn lack_of_space_on_either_side_is_no_space() {
        let full = FilesystemError::NoSpace { reply: "552 Quota exceeded".into() };
        assert_eq!(of(&full).code(), libc::ENOSPC);
        assert_eq!(of(&FilesystemError::LocalNoSpace).code(), libc::ENOSPC);
    }
}

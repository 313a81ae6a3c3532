//! What people are told when something cannot be done: what happened, in the server's own words, and what helps.

use std::fmt;
use std::io::{self, Write};

use super::exit_code::Exit;
use super::url::ServerUrl;
use crate::filesystem::FilesystemError;
use crate::fuse::MountError;
use crate::protocol::RemotePath;
use crate::remote::RemoteError;

/// A failure, as it is told to people and to scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    /// For scripts.
    pub(super) exit: Exit,
    message: String,
}

impl Failed {
    /// A failure with its sentence.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// No connection, or no login.
    pub(super) fn connecting(url: &ServerUrl, user: &str, error: &RemoteError) -> Self {
        // As the layers below write it: an IPv6 address in brackets.
        let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
        let place = format!("{host}:{}", url.port);
        match error {
            RemoteError::LoginRefused { reply } => Self::new(
                Exit::LoginRefused,
                format!(
                    "cannot log in to {place} as {user}: {reply}\nCheck the user in the URL and the password in its source."
                ),
            ),
            // The reason usually says by itself whom it could not reach.
            RemoteError::Unreachable { reason } if reason.contains(&place) => Self::new(Exit::Unreachable, reason),
            RemoteError::Unreachable { reason } => {
                Self::new(Exit::Unreachable, format!("cannot connect to {place}: {reason}"))
            }
            RemoteError::TimedOut { during } => Self::new(
                Exit::Unreachable,
                format!(
                    "{place} does not answer in time ({during}); --connect-timeout and --reply-timeout allow it more"
                ),
            ),
            RemoteError::Protocol { reason } => {
                Self::new(Exit::Protocol, format!("what answers at {place} is not an FTP server: {reason}"))
            }
            error => Self::new(Exit::Failure, format!("cannot use {place}: {error}")),
        }
    }

    /// Logged in, but the directory cannot be listed.
    pub(super) fn listing(directory: &RemotePath, error: &FilesystemError) -> Self {
        match error {
            FilesystemError::NotFound => Self::new(
                Exit::Directory,
                format!(
                    "there is no directory {directory} on the server\nA directory behind the host is relative to the one the login leads to; \
                     an absolute one needs a second slash: ftp://host//directory"
                ),
            ),
            FilesystemError::NotDirectory => {
                Self::new(Exit::Directory, format!("{directory} on the server is not a directory"))
            }
            FilesystemError::TimedOut { .. } | FilesystemError::Unreachable { .. } => Self::new(
                Exit::Unreachable,
                format!(
                    "logged in, but {directory} cannot be listed: {error}\nWhere a firewall is between, the other way to open data \
                     connections may work: --passive=pasv or --active"
                ),
            ),
            error => Self::new(Exit::Directory, format!("logged in, but {directory} cannot be listed: {error}")),
        }
    }

    /// Mounting or unmounting failed.
    pub(super) fn mounting(error: &MountError) -> Self {
        let exit = match error {
            MountError::Missing(_)
            | MountError::NotDirectory(_)
            | MountError::NotEmpty(_)
            | MountError::AlreadyMounted(_)
            | MountError::Unusable { .. }
            | MountError::NotMounted(_)
            | MountError::Busy(_) => Exit::Mountpoint,
            MountError::NoDevice | MountError::NoHelper(_) | MountError::Refused { .. } | MountError::Session(_) => {
                Exit::Mount
            }
        };
        Self::new(exit, error.to_string())
    }

    /// Tells it.
    pub(super) fn tell(&self) {
        // Where nobody can be told, the exit code says it.
        let _ = writeln!(io::stderr().lock(), "{self}");
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.message.lines().enumerate() {
            let start = if index == 0 { "ftpfs: " } else { "\n       " };
            write!(f, "{start}{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_failure_have_their_own_exit_codes_and_quote_the_server() {
        let url = ServerUrl::parse("ftp://u:geheim@host").unwrap();
        let reply = || String::from("530 Login incorrect.");
        for (error, exit, words) in [
            (RemoteError::LoginRefused { reply: reply() }, Exit::LoginRefused, "as u: 530 Login incorrect."),
            (
                RemoteError::Unreachable { reason: "refused".into() },
                Exit::Unreachable,
                "cannot connect to host:21: refused",
            ),
            (
                RemoteError::Unreachable { reason: "no way to host:21".into() },
                Exit::Unreachable,
                "ftpfs: no way to host:21",
            ),
            (RemoteError::TimedOut { during: "greeting".into() }, Exit::Unreachable, "(greeting)"),
            (RemoteError::Protocol { reason: "HTTP".into() }, Exit::Protocol, "not an FTP server: HTTP"),
            (RemoteError::NotFound, Exit::Failure, "no such file"),
        ] {
            let failed = Failed::connecting(&url, "u", &error);
            assert_eq!(failed.exit, exit);
            assert!(failed.to_string().contains(words), "{failed}");
            assert!(!failed.to_string().contains("geheim"), "{failed}");
        }
    }

    #[test]
    fn server_with_an_ipv6_address_is_named_once() {
        let url = ServerUrl::parse("ftp://[::1]:2121/").unwrap();
        let reason = String::from("cannot connect to [::1]:2121: connection refused");
        let failed = Failed::connecting(&url, "anonymous", &RemoteError::Unreachable { reason: reason.clone() });
        assert_eq!(failed.to_string(), format!("ftpfs: {reason}"));
    }

    #[test]
    fn listing_that_failed_is_not_taken_for_a_missing_directory() {
        let directory = RemotePath::parse(b"/a").unwrap();
        let missing = Failed::listing(&directory, &FilesystemError::NotFound);
        assert_eq!(missing.exit, Exit::Directory);
        assert!(missing.to_string().starts_with("ftpfs: there is no directory /a on the server\n       A directory"));
        let unreachable = FilesystemError::Unreachable { reason: "no data connection".into() };
        assert_eq!(Failed::listing(&directory, &unreachable).exit, Exit::Unreachable);
    }
}

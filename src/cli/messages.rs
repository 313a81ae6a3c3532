//! What people are told when something cannot be done: what happened, in the server's own words, and what helps.

use std::fmt;

use super::exit_code::Exit;
use super::url::{Scheme, ServerUrl};
use crate::connection::TlsError;
use crate::connection::tls::{CertificateFault, CertificateProblem};
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
            RemoteError::Encryption(error) => Self::encryption(url, error),
            RemoteError::Protocol { reason } => {
                Self::new(Exit::Protocol, format!("what answers at {place} is not an FTP server: {reason}"))
            }
            error => Self::new(Exit::Failure, format!("cannot use {place}: {error}")),
        }
    }

    /// It cannot be encrypted as asked for, or the server is not trusted.
    pub(super) fn encryption(url: &ServerUrl, error: &TlsError) -> Self {
        Self::new(Exit::Encryption, format!("{error}\n{}", help_with_encryption(url, error)))
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

/// What helps against it.
fn help_with_encryption(url: &ServerUrl, error: &TlsError) -> String {
    match error {
        TlsError::NotOffered { .. } => "Nothing was sent in clear text, and no password. Where the server speaks TLS from the first byte \
             only, ftps:// is the URL for it; without encryption, ftp:// mounts it."
            .into(),
        TlsError::Demanded { .. } => "Write ftpes:// instead of ftp:// in the URL, or --tls=require.".into(),
        TlsError::DataInClear { .. } => "The password was encrypted, the files would not be; so nothing was mounted.".into(),
        TlsError::Injected => "No password was sent. Somebody on the way to the server tampers with the connection.".into(),
        TlsError::NotTls(_) if url.scheme == Scheme::Ftps => {
            "With ftps:// TLS begins with the first byte, on port 990 mostly; ftpes:// is for servers that begin in clear text.".into()
        }
        TlsError::NotTls(_) => "The server agreed to TLS and then did not speak it; no password was sent.".into(),
        TlsError::Outdated { .. } => "This program speaks TLS 1.2 and 1.3, and no key exchange by RSA alone. A newer version of the server, \
             or of the device that it runs on, is what helps."
            .into(),
        TlsError::ClientCertificate { .. } => "--client-cert and --client-key show it one.".into(),
        TlsError::File { .. } => "No connection was made.".into(),
        TlsError::NoAuthorities { .. } => "Install the package ca-certificates, or name a file with --ca-file.".into(),
        TlsError::Failed { .. } => "No password was sent.".into(),
        TlsError::Certificate(fault) => help_with_certificate(fault),
    }
}

fn help_with_certificate(fault: &CertificateFault) -> String {
    let pin = format!("--cert-fingerprint={}", fault.fingerprint);
    match &fault.problem {
        CertificateProblem::Expired(_) | CertificateProblem::NotYetValid(_) => {
            format!(
                "Is the clock of this machine right? Otherwise the server needs a new one; to trust this one all the same: {pin}"
            )
        }
        CertificateProblem::WrongName(_) => {
            format!("Use a name in the URL that it is for. If you are sure that this is the server: {pin}")
        }
        CertificateProblem::SelfSigned | CertificateProblem::UnknownIssuer => format!(
            "Compare the fingerprint with the server's (openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE). If it is the same: {pin}\n\
             A certificate of your own authority is trusted with --ca-file."
        ),
        CertificateProblem::NotPinned => format!(
            "Either the server has a new certificate, or somebody else answers. Ask who runs the server; if it is new: {pin}"
        ),
        CertificateProblem::Changed { file, .. } => format!(
            "Either the server has a new certificate, or somebody else answers. Ask who runs the server; if it is new, remove the line \
             of this server from {file}."
        ),
        CertificateProblem::Unusable(_) => {
            format!("The server needs a new one. If you are sure that this is the server: {pin}")
        }
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

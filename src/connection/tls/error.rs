//! Why there is no encrypted connection, in sentences.
//!
//! Not here: what helps against it (`cli::messages`).

use std::fmt;

use super::fingerprint::Fingerprint;

/// Why a connection cannot be encrypted, or not be trusted. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// AUTH TLS and AUTH SSL were refused.
    #[error("the server refuses to encrypt the connection: {reply}")]
    NotOffered {
        /// The refusal.
        reply: String,
    },
    /// A login in clear text was refused for that reason.
    #[error("the server refuses a login that is not encrypted: {reply}")]
    Demanded {
        /// The refusal.
        reply: String,
    },
    /// PROT P was refused.
    #[error("the server refuses to encrypt the files: {reply}")]
    DataInClear {
        /// The refusal.
        reply: String,
    },
    /// Bytes in clear text came where only the handshake may follow.
    #[error("somebody has put words in clear text in front of the encrypted connection; it was closed")]
    Injected,
    /// What answered is no TLS.
    #[error("what answers does not speak TLS{}", said(.0.as_deref()))]
    NotTls(Option<String>),
    /// No version or cipher in common.
    #[error("the server speaks only outdated TLS, or ciphers that are not safe any more ({reason})")]
    Outdated {
        /// What the library says.
        reason: String,
    },
    /// The server's certificate.
    #[error(transparent)]
    Certificate(Box<CertificateFault>),
    /// The server wants to see a certificate of ours, or not this one.
    #[error("the server wants a certificate from us that it trusts ({reason})")]
    ClientCertificate {
        /// What the library says.
        reason: String,
    },
    /// A file with certificates or a key.
    #[error("{file} cannot be used: {reason}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificates.
    #[error("this system has no trusted certificates ({reason})")]
    NoAuthorities {
        /// Where they were looked for.
        reason: String,
    },
    /// All else.
    #[error("the encrypted connection failed: {reason}")]
    Failed {
        /// What the library says.
        reason: String,
    },
}

fn said(text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!("; it said `{text}`"))
}

/// A certificate that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFault {
    /// Whom we wanted to talk to.
    pub host: String,
    /// What is wrong.
    pub problem: CertificateProblem,
    /// The certificate's SHA-256.
    pub fingerprint: Fingerprint,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It ran out; since when.
    Expired(Option<String>),
    /// It is not valid yet; from when on.
    NotYetValid(Option<String>),
    /// It is for others; for whom.
    WrongName(Vec<String>),
    /// Signed by itself.
    SelfSigned,
    /// Signed by somebody who is not trusted.
    UnknownIssuer,
    /// Not the one that was pinned.
    NotPinned,
    /// Not the one that was there before; which that was, and the file that says so.
    Changed {
        /// The one that was there before.
        known: Fingerprint,
        /// The file.
        file: String,
    },
    /// It cannot be used for a server.
    Unusable(String),
}

impl std::error::Error for CertificateFault {}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, problem, fingerprint } = self;
        match problem {
            CertificateProblem::Expired(since) => {
                write!(f, "the certificate of {host} has run out{}", dated(" on ", since.as_ref()))?;
            }
            CertificateProblem::NotYetValid(from) => {
                write!(f, "the certificate of {host} is not valid yet{}", dated(", but from ", from.as_ref()))?;
            }
            CertificateProblem::WrongName(names) if names.is_empty() => {
                write!(f, "the certificate is not for {host}: it names no host")?;
            }
            CertificateProblem::WrongName(names) => {
                write!(f, "the certificate is not for {host}, but for {}", names.join(", "))?;
            }
            CertificateProblem::SelfSigned => write!(f, "the certificate of {host} is signed by nobody but itself")?,
            CertificateProblem::UnknownIssuer => {
                write!(f, "the certificate of {host} is signed by an authority that is not trusted here")?;
            }
            CertificateProblem::NotPinned => write!(f, "the certificate of {host} is not the one that was asked for")?,
            CertificateProblem::Changed { known, file } => {
                write!(f, "the certificate of {host} is another one than before ({known} in {file})")?;
            }
            CertificateProblem::Unusable(reason) => {
                write!(f, "the certificate of {host} cannot be used for a server ({reason})")?;
            }
        }
        write!(f, "; it is {fingerprint}")
    }
}

fn dated(before: &str, date: Option<&String>) -> String {
    date.map_or_else(String::new, |date| format!("{before}{date}"))
}

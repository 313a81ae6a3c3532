//! What the URL and the options want of encryption, and whom they trust.
//!
//! Not here: what helps against an error (`messages`).

use super::arguments::{EncryptionArguments, TlsArgument};
use super::url::{Scheme, ServerUrl};
use crate::connection::tls::TlsIdentity;
use crate::connection::{TlsClient, TlsError, TlsOptions, Trust};
use crate::pool::Encryption;

/// Why the options make no sense together.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncryptionError {
    /// The URL and `--tls` want different things.
    #[error("{0}:// is encrypted, and --tls={1} does not go with it")]
    Contradiction(&'static str, &'static str),
    /// Nothing is encrypted that could be checked.
    #[error("--{0} is about encrypted connections: write ftpes:// in the URL, or --tls=require")]
    NotEncrypted(&'static str),
}

/// What is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    when: When,
    tls: TlsOptions,
}

/// [`Encryption`] before the files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Unasked,
    Off,
    Prefer,
    Explicit,
    Implicit,
}

impl Wanted {
    /// Checks the options against the URL.
    ///
    /// # Errors
    /// [`EncryptionError`].
    pub(super) fn new(scheme: Scheme, arguments: &EncryptionArguments) -> Result<Self, EncryptionError> {
        Ok(Self { when: when(scheme, arguments)?, tls: tls_options(arguments) })
    }

    /// Whether the server's certificate is not checked at all.
    pub(super) fn trusts_anything(&self) -> bool {
        self.tls.trust == Trust::Anything
    }

    /// Reads the files with certificates and keys.
    ///
    /// # Errors
    /// One of them cannot be used, or the host is none that a certificate can name.
    pub(super) fn prepare(&self, url: &ServerUrl) -> Result<Encryption, TlsError> {
        let client = || TlsClient::new(&url.host, url.port, &self.tls);
        Ok(match self.when {
            When::Unasked => Encryption::Unasked,
            When::Off => Encryption::Off,
            When::Prefer => Encryption::Prefer(client()?),
            When::Explicit => Encryption::Explicit(client()?),
            When::Implicit => Encryption::Implicit(client()?),
        })
    }
}

fn when(scheme: Scheme, arguments: &EncryptionArguments) -> Result<When, EncryptionError> {
    let wanted = match (scheme, arguments.tls) {
        (Scheme::Ftp, None) => When::Unasked,
        (Scheme::Ftp, Some(TlsArgument::Off)) => When::Off,
        (Scheme::Ftp, Some(TlsArgument::Prefer)) => When::Prefer,
        (Scheme::Ftp | Scheme::Ftpes, Some(TlsArgument::Require)) | (Scheme::Ftpes, None) => When::Explicit,
        (Scheme::Ftps, Some(TlsArgument::Require) | None) => When::Implicit,
        (Scheme::Ftps | Scheme::Ftpes, Some(TlsArgument::Off)) => {
            return Err(EncryptionError::Contradiction(scheme.name(), "off"));
        }
        (Scheme::Ftps | Scheme::Ftpes, Some(TlsArgument::Prefer)) => {
            return Err(EncryptionError::Contradiction(scheme.name(), "prefer"));
        }
    };
    // Who gives one of these believes the connection encrypted.
    let given = [
        (arguments.ca_file.is_some(), "ca-file"),
        (!arguments.cert_fingerprint.is_empty(), "cert-fingerprint"),
        (arguments.known_certs.is_some(), "known-certs"),
        (arguments.client_cert.is_some(), "client-cert"),
        (arguments.insecure, "insecure"),
    ];
    match (wanted, given.iter().find(|(is_given, _)| *is_given)) {
        (When::Unasked | When::Off, Some((_, name))) => Err(EncryptionError::NotEncrypted(name)),
        _ => Ok(wanted),
    }
}

fn tls_options(arguments: &EncryptionArguments) -> TlsOptions {
    let trust = match arguments {
        EncryptionArguments { insecure: true, .. } => Trust::Anything,
        EncryptionArguments { ca_file: Some(path), .. } => Trust::File(path.clone()),
        EncryptionArguments { known_certs: Some(path), .. } => Trust::FirstUse(path.clone()),
        EncryptionArguments { cert_fingerprint, .. } if !cert_fingerprint.is_empty() => {
            Trust::Fingerprints(cert_fingerprint.clone())
        }
        _ => Trust::System,
    };
    let identity = arguments.client_cert.clone().map(|certificate| TlsIdentity {
        key: arguments.client_key.clone().unwrap_or_else(|| certificate.clone()),
        certificate,
    });
    TlsOptions { trust, identity }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::MountArguments;
    use clap::Parser;

    #[test]
    fn url_and_options_agree_on_encryption_or_are_refused() {
        let wanted = |url: &str, options: &[&str]| {
            let line = ["ftpfs", url, "/nowhere"].into_iter().chain(options.iter().copied());
            let arguments = MountArguments::try_parse_from(line).unwrap();
            Wanted::new(ServerUrl::parse(url).unwrap().scheme, &arguments.encryption).map(|wanted| wanted.when)
        };
        for (url, options, expected) in [
            ("ftp://h", &[][..], When::Unasked),
            ("ftp://h", &["--tls=off"], When::Off),
            ("ftp://h", &["--tls=prefer", "--insecure"], When::Prefer),
            ("ftp://h", &["--tls=require"], When::Explicit),
            ("ftpes://h", &["--insecure"], When::Explicit),
            ("ftpes://h", &["--tls=require"], When::Explicit),
            ("ftps://h", &[], When::Implicit),
        ] {
            assert_eq!(wanted(url, options).unwrap(), expected, "{url} {options:?}");
        }
        for url in ["ftps://h", "ftpes://h"] {
            for option in ["--tls=off", "--tls=prefer"] {
                assert!(matches!(wanted(url, &[option]), Err(EncryptionError::Contradiction(..))), "{url} {option}");
            }
        }
        for option in ["--ca-file=/x", "--known-certs=/x", "--insecure", "--client-cert=/x"] {
            assert!(matches!(wanted("ftp://h", &[option]), Err(EncryptionError::NotEncrypted(_))), "{option}");
        }
        assert!(MountArguments::try_parse_from(["ftpfs", "--insecure", "--ca-file=/x", "ftps://h", "/m"]).is_err());
        assert!(MountArguments::try_parse_from(["ftpfs", "--cert-fingerprint=12", "ftps://h", "/m"]).is_err());
    }
}

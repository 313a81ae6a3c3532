//! Which certificates are trusted, and why one is not.
//!
//! The verifier runs on full handshakes only; a resumed one is of the session that was checked.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use super::error::{CertificateFault, CertificateProblem, TlsError};
use super::fingerprint::Fingerprint;

/// What makes a certificate trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that the system trusts.
    System,
    /// The authorities in this file (PEM), and certificates that themselves stand in it.
    File(PathBuf),
    /// Its fingerprint, whatever else it says.
    Fingerprints(Vec<Fingerprint>),
    /// Its fingerprint, as it was the first time; this file remembers it.
    FirstUse(PathBuf),
    /// Nothing is checked.
    Anything,
}

/// [`Trust`], ready to decide.
#[derive(Debug)]
pub(super) enum Judge {
    Authorities {
        verifier: Arc<WebPkiServerVerifier>,
        /// Those of the file.
        itself: Vec<CertificateDer<'static>>,
    },
    Pinned(Vec<Fingerprint>),
    Known(KnownCertificates),
    Anything,
}

impl Judge {
    pub(super) fn new(trust: &Trust, place: &str, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        Ok(match trust {
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                for error in &found.errors {
                    tracing::debug!("a trusted certificate of the system cannot be read: {error}");
                }
                let reason = || found.errors.first().map_or_else(|| "none found".into(), ToString::to_string);
                let (mut roots, certificates) = (RootCertStore::empty(), found.certs.clone());
                let (usable, _) = roots.add_parsable_certificates(certificates);
                if usable == 0 {
                    return Err(TlsError::NoAuthorities { reason: reason() });
                }
                Self::Authorities { verifier: verifier(roots, provider)?, itself: Vec::new() }
            }
            Trust::File(path) => {
                let certificates = read_certificates(path)?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates.iter().cloned());
                if roots.is_empty() {
                    return Err(unusable(path, "there is no certificate in it that can be read"));
                }
                Self::Authorities { verifier: verifier(roots, provider)?, itself: certificates }
            }
            Trust::Fingerprints(fingerprints) => Self::Pinned(fingerprints.clone()),
            Trust::FirstUse(path) => Self::Known(KnownCertificates::load(path, place)?),
            Trust::Anything => Self::Anything,
        })
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Complaint> {
        let fingerprint = Fingerprint::of(certificate);
        match self {
            Self::Authorities { itself, .. } if itself.contains(certificate) => {
                // An authority's own certificate on a server: no verifier of chains takes it, and whoever gave us the file
                // means it.
                let parsed = EndEntityCert::try_from(certificate).map_err(|error| unreadable(&error))?;
                let is_for_it = parsed.verify_is_valid_for_subject_name(name).is_ok();
                if is_for_it { Ok(()) } else { Err(CertificateProblem::WrongName(names(certificate)).into()) }
            }
            Self::Authorities { verifier, .. } => verifier
                .verify_server_cert(certificate, intermediates, name, ocsp, now)
                .map(|_| ())
                .map_err(|error| Complaint { problem: problem(&error, certificate), error }),
            Self::Pinned(pinned) if pinned.contains(&fingerprint) => Ok(()),
            Self::Pinned(_) => Err(CertificateProblem::NotPinned.into()),
            Self::Known(known) => known.judge(fingerprint).map_err(Into::into),
            Self::Anything => Ok(()),
        }
    }
}

fn verifier(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Failed { reason: error.to_string() })
}

/// Why a certificate is refused: for people, and for the handshake.
struct Complaint {
    problem: CertificateProblem,
    error: rustls::Error,
}

impl From<CertificateProblem> for Complaint {
    fn from(problem: CertificateProblem) -> Self {
        Self { problem, error: CertificateError::ApplicationVerificationFailure.into() }
    }
}

fn unreadable(error: &webpki::Error) -> Complaint {
    CertificateProblem::Unusable(error.to_string()).into()
}

/// What the check of a chain found.
fn problem(error: &rustls::Error, certificate: &CertificateDer<'_>) -> CertificateProblem {
    let rustls::Error::InvalidCertificate(error) = error else {
        return CertificateProblem::Unusable(error.to_string());
    };
    match error {
        CertificateError::Expired => CertificateProblem::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => CertificateProblem::Expired(date(*not_after)),
        CertificateError::NotValidYet => CertificateProblem::NotYetValid(None),
        CertificateError::NotValidYetContext { not_before, .. } => CertificateProblem::NotYetValid(date(*not_before)),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateProblem::WrongName(names(certificate))
        }
        // Of its own signature the check of a chain may not get to know: `openssl req -x509` makes an authority.
        _ if is_self_signed(certificate) => CertificateProblem::SelfSigned,
        CertificateError::UnknownIssuer => CertificateProblem::UnknownIssuer,
        // The library has only its names for these: that of a certificate of the first version, for one.
        CertificateError::Other(reason) => CertificateProblem::Unusable(reason.to_string()),
        error => CertificateProblem::Unusable(error.to_string()),
    }
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|parsed| parsed.issuer() == parsed.subject())
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    EndEntityCert::try_from(certificate)
        .map(|parsed| parsed.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn date(time: UnixTime) -> Option<String> {
    let seconds = i64::try_from(time.as_secs()).ok()?;
    Some(jiff::Timestamp::from_second(seconds).ok()?.strftime("%F").to_string())
}

/// The certificate of one server, as a file of many remembers it: lines of `host:port sha256:…`, like ssh's known hosts.
#[derive(Debug)]
pub(super) struct KnownCertificates {
    path: PathBuf,
    place: String,
    state: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    fingerprints: Vec<Fingerprint>,
    /// The one that was there the first time, until the handshake has shown that the server has its key.
    seen: Option<Fingerprint>,
}

impl KnownCertificates {
    fn load(path: &Path, place: &str) -> Result<Self, TlsError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unusable(path, error)),
        };
        let mut fingerprints = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let (Some(host), Some(fingerprint)) = (words.next(), words.next()) else { continue };
            if host.eq_ignore_ascii_case(place) {
                let reason = |error| format!("line {}: {error}", number + 1);
                fingerprints.push(fingerprint.parse().map_err(|error| unusable(path, reason(error)))?);
            }
        }
        let state = Mutex::new(Known { fingerprints, seen: None });
        Ok(Self { path: path.into(), place: place.into(), state })
    }

    fn judge(&self, fingerprint: Fingerprint) -> Result<(), CertificateProblem> {
        let mut state = self.state.lock();
        // Of two logins at once the first one decides.
        match state.fingerprints.first().copied().or(state.seen) {
            None => state.seen = Some(fingerprint),
            Some(_) if state.fingerprints.contains(&fingerprint) || state.seen == Some(fingerprint) => {}
            Some(known) => {
                return Err(CertificateProblem::Changed { known, file: self.path.display().to_string() });
            }
        }
        Ok(())
    }

    /// Remembers what was seen first.
    fn remember(&self) -> Result<(), TlsError> {
        let mut state = self.state.lock();
        let Some(fingerprint) = state.seen.take() else { return Ok(()) };
        let written = open_to_append(&self.path).and_then(|mut file| {
            file.write_all(format!("{} {fingerprint}\n", self.place).as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| unusable(&self.path, error))?;
        tracing::warn!(
            "{} is seen for the first time; its certificate, {fingerprint}, is trusted from now on",
            self.place
        );
        state.fingerprints.push(fingerprint);
        Ok(())
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Decides for one login, and remembers why not.
pub(super) struct Verifier {
    judge: Arc<Judge>,
    provider: Arc<CryptoProvider>,
    host: String,
    fault: Mutex<Option<CertificateFault>>,
}

impl Verifier {
    pub(super) fn new(judge: Arc<Judge>, provider: Arc<CryptoProvider>, host: String) -> Self {
        Self { judge, provider, host, fault: Mutex::new(None) }
    }

    /// Why the last certificate was refused.
    pub(super) fn take_fault(&self) -> Option<CertificateFault> {
        self.fault.lock().take()
    }

    /// The handshake is done: the server has shown that the certificate is its own.
    pub(super) fn confirm(&self) -> Result<(), TlsError> {
        match &*self.judge {
            Judge::Known(known) => known.remember(),
            Judge::Authorities { .. } | Judge::Pinned(_) | Judge::Anything => Ok(()),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("host", &self.host).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(certificate, intermediates, name, ocsp, now).map_err(|complaint| {
            *self.fault.lock() = Some(CertificateFault {
                host: self.host.clone(),
                problem: complaint.problem,
                fingerprint: Fingerprint::of(certificate),
            });
            complaint.error
        })?;
        Ok(ServerCertVerified::assertion())
    }

    // Without these, whoever has seen a pinned certificate could present it.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificates in a file (PEM).
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, pem_words(&error)))?.collect();
    let certificates = certificates.map_err(|error| unusable(path, pem_words(&error)))?;
    if certificates.is_empty() {
        return Err(unusable(path, "there is no certificate in it (PEM)"));
    }
    Ok(certificates)
}

/// The system's words where there are some.
pub(super) fn pem_words(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        rustls::pki_types::pem::Error::NoItemsFound => "there is nothing of that kind in it (PEM)".into(),
        error => error.to_string(),
    }
}

pub(super) fn unusable(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::File { file: path.display().to_string(), reason: reason.to_string() }
}

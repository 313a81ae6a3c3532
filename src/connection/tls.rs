//! TLS: who the server is, and what keeps the connections to it secret.
//!
//! A [`TlsClient`] is what all connections of a mount have in common: what is trusted, and our own certificate. A [`TlsLogin`] is one
//! control connection with its data connections: they share a TLS session, and no others do (`sessions`).
//!
//! Not here: AUTH, PBSZ and PROT (`pool::session`), when a data connection begins its handshake (`pool::transfer`), what helps
//! against an error (`cli::messages`).

mod error;
mod fingerprint;
pub(super) mod layer;
mod sessions;
mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};

pub use error::{CertificateFault, CertificateProblem, TlsError};
pub use fingerprint::Fingerprint;
pub use layer::Negotiated;
pub use sessions::Resumable;
use sessions::{GroupHint, Sessions};
pub use trust::Trust;
use trust::{Judge, Verifier};

/// Whom to trust, and who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// What makes the server's certificate trusted.
    pub trust: Trust,
    /// A certificate of ours, for servers that want one.
    pub identity: Option<TlsIdentity>,
}

/// A certificate of ours and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, and those between it and an authority.
    pub certificate: PathBuf,
    /// The key; may be the same file.
    pub key: PathBuf,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { trust: Trust::System, identity: None }
    }
}

/// Which versions are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3, and 1.2.
    Newest,
    /// TLS 1.2 alone: its session can be resumed as often as wanted.
    Tls12,
}

/// TLS with one server.
pub struct TlsClient {
    newest: ClientConfig,
    tls12: ClientConfig,
    provider: Arc<CryptoProvider>,
    judge: Arc<Judge>,
    group: GroupHint,
    name: ServerName<'static>,
    host: String,
}

impl TlsClient {
    /// Reads all that is needed to talk to `host`: a name, or an address with or without brackets.
    ///
    /// # Errors
    /// [`TlsError::File`], [`TlsError::NoAuthorities`], [`TlsError::Failed`] for a host that no certificate can name.
    pub fn new(host: &str, port: u16, options: &TlsOptions) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A dot at the end is for the resolver; certificates have none.
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| TlsError::Failed { reason: format!("no certificate can be for a host named `{bare}`") })?;
        let place = super::resolve::host_and_port(bare, port);
        let judge = Arc::new(Judge::new(&options.trust, &place, &provider)?);
        Ok(Arc::new(Self {
            newest: config(&provider, &judge, bare, &[&TLS13, &TLS12], options.identity.as_ref())?,
            tls12: config(&provider, &judge, bare, &[&TLS12], options.identity.as_ref())?,
            provider,
            judge,
            group: GroupHint::default(),
            name,
            host: bare.into(),
        }))
    }

    /// What a new control connection needs.
    pub fn login(&self, versions: Versions) -> TlsLogin {
        let sessions = Arc::new(Sessions::new(Arc::clone(&self.group)));
        let verifier = self.verifier();
        let mut config = match versions {
            Versions::Newest => self.newest.clone(),
            Versions::Tls12 => self.tls12.clone(),
        };
        config.resumption = Resumption::store(Arc::clone(&sessions) as _);
        config.dangerous().set_certificate_verifier(Arc::clone(&verifier) as _);
        TlsLogin { config: Arc::new(config), name: self.name.clone(), sessions, verifier }
    }

    /// Whether any certificate will do.
    pub fn trusts_anything(&self) -> bool {
        matches!(*self.judge, Judge::Anything)
    }

    fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::new(Arc::clone(&self.judge), Arc::clone(&self.provider), self.host.clone()))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("host", &self.host).finish_non_exhaustive()
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    judge: &Arc<Judge>,
    host: &str,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&TlsIdentity>,
) -> Result<ClientConfig, TlsError> {
    let failed = |error: rustls::Error| TlsError::Failed { reason: error.to_string() };
    let verifier = Arc::new(Verifier::new(Arc::clone(judge), Arc::clone(provider), host.into()));
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(TlsIdentity { certificate, key }) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = trust::read_certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| trust::unusable(key, trust::pem_words(&error)))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| trust::unusable(key, error))
}

/// TLS on one control connection and its data connections.
#[derive(Debug)]
pub struct TlsLogin {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    sessions: Arc<Sessions>,
    verifier: Arc<Verifier>,
}

impl TlsLogin {
    /// How many data connections can still resume the session.
    pub fn resumable(&self) -> Resumable {
        self.sessions.resumable()
    }

    /// How many sessions and tickets the server has given.
    pub fn sessions_received(&self) -> u64 {
        self.sessions.received()
    }

    /// Begins a connection. A ticket is spent here, and not when the first bytes are sent.
    pub(super) fn begin(&self) -> Result<ClientConnection, TlsError> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| TlsError::Failed { reason: error.to_string() })
    }

    /// The control connection's handshake is done.
    pub(super) fn confirm(&self) -> Result<(), TlsError> {
        self.verifier.confirm()
    }

    /// What a failed handshake means.
    pub(super) fn explain(&self, error: &rustls::Error, clear_text: Option<String>) -> TlsError {
        use rustls::AlertDescription as Alert;
        if let Some(fault) = self.verifier.take_fault() {
            return TlsError::Certificate(Box::new(fault));
        }
        let reason = error.to_string();
        match error {
            rustls::Error::InvalidMessage(_) => TlsError::NotTls(clear_text),
            rustls::Error::AlertReceived(
                Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity,
            )
            | rustls::Error::PeerIncompatible(_) => TlsError::Outdated { reason },
            error => client_certificate(error).unwrap_or(TlsError::Failed { reason }),
        }
    }
}

/// With TLS 1.3 the server's word on our certificate comes after the handshake.
pub(super) fn client_certificate(error: &rustls::Error) -> Option<TlsError> {
    use rustls::AlertDescription as Alert;
    let rustls::Error::AlertReceived(
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied,
    ) = error
    else {
        return None;
    };
    Some(TlsError::ClientCertificate { reason: error.to_string() })
}

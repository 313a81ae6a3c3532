//! Which connections are encrypted, and what the server has shown of its TLS.
//!
//! Once TLS was asked for, nothing falls back to clear text in silence: only `Prefer` may at all, only where the server itself
//! refuses for good, and not after it has encrypted once.
//!
//! Not here: certificates and records (`connection::tls`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::error::PoolError;
use super::options::ServerOptions;
use super::profile::{ServerProfile, VerdictCell};
use crate::connection::tls::Negotiated;
use crate::connection::{ConnectionError, ControlConnection, TlsClient, TlsError, TlsLogin, Versions};
use crate::protocol::{Command, Reply, ReplyClass};

/// Whether connections are encrypted, and how that begins.
#[derive(Debug, Clone, Default)]
pub enum Encryption {
    /// Nobody has said: clear text, with a warning where the server could do better.
    #[default]
    Unasked,
    /// Clear text, as asked for.
    Off,
    /// AUTH TLS, and clear text where the server refuses it.
    Prefer(Arc<TlsClient>),
    /// AUTH TLS, or nothing.
    Explicit(Arc<TlsClient>),
    /// TLS from the first byte.
    Implicit(Arc<TlsClient>),
}

impl Encryption {
    fn client(&self) -> Option<&Arc<TlsClient>> {
        match self {
            Self::Unasked | Self::Off => None,
            Self::Prefer(client) | Self::Explicit(client) | Self::Implicit(client) => Some(client),
        }
    }
}

/// What the server has shown of its TLS.
#[derive(Debug, Default)]
pub struct TlsFindings {
    /// It refuses data connections that do not resume the control connection's session.
    pub wants_resumption: VerdictCell,
    /// An upload brings a ticket in place of the one that it took. ProFTPD's do not.
    pub uploads_bring_tickets: VerdictCell,
    /// It speaks TLS 1.2.
    pub speaks_tls12: VerdictCell,
    /// A login was encrypted.
    pub encrypts: VerdictCell,
    has_warned: AtomicBool,
    data_connections: AtomicU64,
    resumed: AtomicU64,
    last_login: Mutex<Option<Negotiated>>,
}

impl TlsFindings {
    /// How many data connections were encrypted so far, and how many of them resumed the session of their control connection.
    pub fn data_connections(&self) -> (u64, u64) {
        (self.data_connections.load(Ordering::Relaxed), self.resumed.load(Ordering::Relaxed))
    }

    /// How the last login was encrypted.
    pub fn last_login(&self) -> Option<Negotiated> {
        *self.last_login.lock()
    }

    pub(super) fn count(&self, negotiated: Negotiated) {
        self.data_connections.fetch_add(1, Ordering::Relaxed);
        self.resumed.fetch_add(u64::from(negotiated.resumed), Ordering::Relaxed);
    }

    /// Which versions the next login offers.
    pub(super) fn versions(&self) -> Versions {
        if self.uploads_bring_tickets.is_no() && !self.speaks_tls12.is_no() {
            Versions::Tls12
        } else {
            Versions::Newest
        }
    }

    /// Whether this is the first time; a warning belongs to the mount and not to each login.
    pub(super) fn warns_now(&self) -> bool {
        !self.has_warned.swap(true, Ordering::Relaxed)
    }
}

/// How the last login was encrypted, in words; `None` for clear text.
pub(super) fn describe(options: &ServerOptions, profile: &ServerProfile) -> Option<String> {
    let negotiated = profile.tls.last_login()?;
    let is_blind = options.encryption.client().is_some_and(|client| client.trusts_anything());
    Some(format!("{negotiated}{}", if is_blind { ", certificate NOT checked (--insecure)" } else { "" }))
}

/// Begins TLS before the greeting, where it is implicit.
pub(super) fn start_implicit(
    control: &ControlConnection,
    encryption: &Encryption,
    profile: &ServerProfile,
    deadline: Instant,
) -> Result<Option<TlsLogin>, PoolError> {
    let Encryption::Implicit(client) = encryption else { return Ok(None) };
    start(control, client, profile, deadline).map(Some)
}

/// Begins TLS before USER, where it is explicit.
pub(super) fn start_explicit(
    control: &ControlConnection,
    encryption: &Encryption,
    profile: &ServerProfile,
    deadline: Instant,
) -> Result<Option<TlsLogin>, PoolError> {
    let (client, may_fall_back) = match encryption {
        Encryption::Unasked | Encryption::Off | Encryption::Implicit(_) => return Ok(None),
        Encryption::Prefer(client) => (client, !profile.tls.encrypts.is_yes()),
        Encryption::Explicit(client) => (client, false),
    };
    let mut refusal = None;
    for command in [Command::AuthTls, Command::AuthSsl] {
        let reply = control.exchange(command, deadline)?;
        match reply.class() {
            ReplyClass::Completion => return start(control, client, profile, deadline).map(Some),
            // Refused for now: the next login may be luckier, and clear text would be the wrong luck.
            ReplyClass::Transient => return Err(PoolError::Refused { verb: "AUTH", reply }),
            ReplyClass::Preliminary | ReplyClass::Intermediate | ReplyClass::Permanent => {
                // What it says to the newer of the two is the better reason.
                refusal.get_or_insert(reply);
            }
        }
    }
    let reply = refusal.map(|reply| reply.to_string()).unwrap_or_default();
    if !may_fall_back {
        return Err(PoolError::Tls(TlsError::NotOffered { reply }));
    }
    if profile.tls.warns_now() {
        tracing::warn!(
            "the server refuses to encrypt the connection ({reply}): the password and all files go over the network in clear text"
        );
    }
    Ok(None)
}

fn start(
    control: &ControlConnection,
    client: &TlsClient,
    profile: &ServerProfile,
    deadline: Instant,
) -> Result<TlsLogin, PoolError> {
    let versions = profile.tls.versions();
    let login = client.login(versions);
    let negotiated = control.start_tls(&login, deadline).inspect_err(|error| {
        if let (Versions::Tls12, ConnectionError::Tls(TlsError::Outdated { .. })) = (versions, error) {
            profile.tls.speaks_tls12.learn_if(false);
        }
    })?;
    profile.tls.encrypts.learn_if(true);
    *profile.tls.last_login.lock() = Some(negotiated);
    Ok(login)
}

/// What a refused PROT P means. With implicit TLS it may be unknown, for data connections are encrypted by themselves; if they are
/// not, their handshake fails.
pub(super) fn check_protection(encryption: &Encryption, reply: &Reply) -> Result<(), PoolError> {
    if reply.class() == ReplyClass::Completion || matches!(encryption, Encryption::Implicit(_)) {
        return Ok(());
    }
    Err(PoolError::Tls(TlsError::DataInClear { reply: reply.to_string() }))
}

/// Whether a refusal is for want of encryption, in the words that servers have for it.
pub(super) fn is_demand(reply: &Reply) -> bool {
    let text = reply.text().to_ascii_lowercase();
    ["tls", "ssl", "encrypt", "cleartext", "clear text", "secure connection"].iter().any(|word| text.contains(word))
}

//! Which server, as whom, and how.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::encryption::Encryption;
use crate::connection::{ControlOptions, Deadlines, Proxy};
use crate::protocol::Secret;

/// What the pool needs to know of a server. [`Self::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Name or address; an IPv6 address with or without brackets.
    pub host: String,
    /// The control connection's port.
    pub port: u16,
    /// Who logs in.
    pub user: Box<[u8]>,
    /// The password.
    pub password: Secret,
    /// The account, for servers that ask for one (332).
    pub account: Option<Secret>,
    /// What all connections go through; with one, [`DataMode::Active`] cannot be.
    pub proxy: Option<Arc<Proxy>>,
    /// Whether connections are encrypted.
    pub encryption: Encryption,
    /// How many connections at most; fewer where the server says so.
    pub connections_max: usize,
    /// The longest waits on one connection.
    pub deadlines: Deadlines,
    /// The longest time for one operation, over all its attempts.
    pub operation_timeout: Duration,
    /// How data connections come about.
    pub data_mode: DataMode,
    /// Bytes that a data connection may hold unread; `None` lets the kernel grow it. Small ones waste less where a
    /// transfer is stopped early.
    pub receive_buffer: Option<usize>,
    /// Whether commands are sent before those before them are answered.
    pub pipelining: bool,
    /// After how much silence the kernel asks whether the server is still there; `None` for never.
    pub keepalive: Option<Duration>,
    /// A session that nobody has used for this long is closed, before the server does so.
    pub idle_close: Duration,
    /// After a failed login the next one waits this long; after each further one twice as long.
    pub backoff_min: Duration,
    /// And at most this long.
    pub backoff_max: Duration,
    /// How long a lowered ceiling stays before one more connection is tried.
    pub ceiling_regrowth: Duration,
    /// How long a login that is refused although it was accepted once is not tried again, at first.
    pub refusal_min: Duration,
    /// The same after several refusals in a row; each time it doubles up to this.
    pub refusal_max: Duration,
    /// So long who comes may have to wait until one of those that borrow a session briefly gives it back.
    pub brief_wait: Duration,
}

/// Who opens data connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataMode {
    /// We do, to a port that the server names.
    Passive {
        /// Which command asks for the port.
        prefer: PassiveCommand,
        /// Which address the port belongs to.
        address: PassiveAddressChoice,
    },
    /// The server does, to a port of ours.
    Active {
        /// The address we tell the server; where it is `None`, the control connection's.
        address: Option<IpAddr>,
        /// Ports that a firewall lets through; any where it is `None`.
        ports: Option<RangeInclusive<u16>>,
    },
}

/// Which command asks for the passive port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassiveCommand {
    /// EPSV, and PASV where that fails; what works is remembered.
    Auto,
    /// EPSV alone.
    Epsv,
    /// PASV alone; of no use over IPv6.
    Pasv,
}

/// Which address the passive port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassiveAddressChoice {
    /// The control connection's: what a 227 says is often a private address, and could be anyone's.
    Control,
    /// The one in the 227, for servers that spread transfers over several hosts.
    Server,
}

impl ServerOptions {
    /// Anonymous at `host`, port 21.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: 21,
            user: Box::from(*b"anonymous"),
            // RFC 1635 wants an address here; none of ours is the server's business.
            password: Secret::new(*b"anonymous@"),
            account: None,
            proxy: None,
            encryption: Encryption::default(),
            connections_max: 8,
            deadlines: Deadlines::default(),
            operation_timeout: Duration::from_secs(60),
            data_mode: DataMode::Passive { prefer: PassiveCommand::Auto, address: PassiveAddressChoice::Control },
            receive_buffer: None,
            pipelining: true,
            keepalive: Some(Duration::from_secs(60)),
            idle_close: Duration::from_secs(50),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(5),
            ceiling_regrowth: Duration::from_secs(60),
            refusal_min: Duration::from_secs(30),
            refusal_max: Duration::from_secs(600),
            brief_wait: Duration::from_millis(50),
        }
    }

    /// One command at a time, until the session knows better.
    pub(crate) fn control(&self) -> ControlOptions {
        ControlOptions { deadlines: self.deadlines, pipelining: false, keepalive: self.keepalive }
    }
}

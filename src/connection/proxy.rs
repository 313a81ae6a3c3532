//! Connections through a proxy: SOCKS5 (RFC 1928) or HTTP's CONNECT (RFC 9110 §9.3.6).
//!
//! What is said to a proxy before it lets bytes through is a `Dialogue` without sockets or clock (`socks5`, `http_connect`), so that
//! tests can feed it a byte at a time; `tunnel` carries it over a socket, within a deadline. The libraries for this are for
//! asynchronous programs, or know no deadline, and none leaves what comes behind the proxy's last byte to the next reader: it is the
//! server's greeting.
//!
//! Not here: which connections go through one (`route`), and where its name and password come from (`cli::proxy`).

mod http_connect;
mod socks5;
pub(super) mod tunnel;

use std::fmt;
use std::net::IpAddr;

use zeroize::Zeroizing;

use super::resolve::host_and_port;
use crate::protocol::Secret;

/// Neither user nor password may be longer in SOCKS5 (RFC 1929 §2), nor a host's name.
pub const LOGIN_LEN_MAX: usize = 255;

/// How many of the proxy's own words an error repeats.
const WORDS_LEN_MAX: usize = 200;

/// What a proxy speaks, and who looks up the server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyScheme {
    /// SOCKS5, with addresses that we look up.
    Socks5,
    /// SOCKS5, with names that it looks up.
    Socks5h,
    /// HTTP, with CONNECT; it looks up names.
    Http,
}

impl ProxyScheme {
    /// As it stands in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
            Self::Http => "http",
        }
    }
}

/// A proxy. Shown without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub scheme: ProxyScheme,
    /// Its name or address; an IPv6 address with or without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who logs in, where it wants that.
    pub login: Option<ProxyLogin>,
}

/// A login at a proxy. Neither part is longer than [`LOGIN_LEN_MAX`], and the user is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    /// The user.
    pub user: Box<[u8]>,
    /// The password.
    pub password: Secret,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), host_and_port(&self.host, self.port))
    }
}

/// A host as a proxy is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Address(IpAddr),
    Name(String),
}

impl Target {
    /// The host of a URL: an address where it is one, for SOCKS5 has a spelling of its own for these.
    pub(super) fn new(host: &str) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse().map_or_else(|_| Self::Name(host.to_owned()), Self::Address)
    }

    pub(super) fn with_port(&self, port: u16) -> String {
        match self {
            Self::Address(address) => host_and_port(&address.to_string(), port),
            Self::Name(name) => host_and_port(name, port),
        }
    }
}

/// Why a proxy has not let us through. The texts go behind "cannot connect to … through the proxy …: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyFault {
    /// No TCP connection to it.
    #[error("the proxy itself is not reached: {0}")]
    NotReached(String),
    /// 407, or no common method of SOCKS5.
    #[error("the proxy wants a user and a password{}", said(.0))]
    LoginWanted(String),
    /// They are wrong.
    #[error("the proxy refused the user or the password for it{}", said(.0))]
    LoginRefused(String),
    /// It will not, for this host or port.
    #[error("the proxy forbids it{}", said(.0))]
    Forbidden(String),
    /// It has tried, or cannot try now.
    #[error("the proxy could not: {0}")]
    Failed(String),
    /// It speaks something else.
    #[error("what answers is no {0} proxy: it said `{1}`")]
    OtherProtocol(&'static str, String),
    /// It ended the connection in the middle.
    #[error("the proxy closed the connection before it had answered")]
    Closed,
    /// Silence.
    #[error("the proxy did not answer in time")]
    TimedOut,
    /// The network.
    #[error("the connection to the proxy is lost: {0}")]
    Lost(String),
    /// SOCKS5 has one byte for its length.
    #[error("the name of the server is too long for SOCKS5")]
    NameTooLong,
}

impl ProxyFault {
    /// Whether another address of the server would hear the same.
    pub(super) fn is_about_the_proxy(&self) -> bool {
        !matches!(self, Self::Forbidden(_) | Self::Failed(_))
    }
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(" ({words})") }
}

/// A proxy's words, fit to be shown.
fn words(bytes: &[u8]) -> String {
    let line = bytes.trim_ascii();
    line.get(..WORDS_LEN_MAX).unwrap_or(line).escape_ascii().to_string()
}

/// What follows from what a proxy said.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It has not said all of it.
    Wait,
    /// This is to be sent.
    Send(Zeroizing<Vec<u8>>),
    /// All that follows is the server's.
    Through,
}

/// One dialogue with a proxy, from the first byte to the last one that is its own.
#[derive(Debug)]
pub(super) enum Dialogue {
    Socks5(socks5::Socks5),
    Http(http_connect::HttpConnect),
}

impl Dialogue {
    /// A dialogue that asks for `target`, and what is to be sent first.
    pub(super) fn begin(proxy: &Proxy, target: &Target, port: u16) -> Result<(Self, Zeroizing<Vec<u8>>), ProxyFault> {
        Ok(match proxy.scheme {
            ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                let (dialogue, first) = socks5::Socks5::begin(proxy.login.clone(), target, port)?;
                (Self::Socks5(dialogue), first)
            }
            ProxyScheme::Http => {
                let (dialogue, first) = http_connect::HttpConnect::begin(proxy.login.as_ref(), target, port);
                (Self::Http(dialogue), first)
            }
        })
    }

    /// Takes from `bytes` what is the proxy's, at least one where there is one: how many these were, and what follows.
    fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Next), ProxyFault> {
        match self {
            Self::Socks5(dialogue) => dialogue.receive(bytes),
            Self::Http(dialogue) => dialogue.receive(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_is_shown_without_its_password() {
        let login = Some(ProxyLogin { user: Box::from(*b"anna"), password: Secret::new("geheim") });
        let proxy = Proxy { scheme: ProxyScheme::Socks5h, host: "::1".into(), port: 1080, login };
        assert_eq!(proxy.to_string(), "socks5h://[::1]:1080");
        assert!(!format!("{proxy:?}").contains("geheim"));
    }

    #[test]
    fn address_is_told_from_a_name() {
        assert_eq!(Target::new("[::1]"), Target::Address("::1".parse().unwrap()));
        assert_eq!(Target::new("127.0.0.1").with_port(21), "127.0.0.1:21");
        assert_eq!(Target::new("::1").with_port(21), "[::1]:21");
        assert_eq!(Target::new("ftp.example").with_port(21), "ftp.example:21");
    }
}

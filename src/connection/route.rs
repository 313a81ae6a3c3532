//! The way to the server: directly, or through a proxy. A control connection finds it, and its data connections take the same.
//!
//! Through a proxy nothing of ours goes directly to the server, and where the proxy looks up names, not even the question for its
//! address is asked here.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::data::PendingConnection;
use super::deadlines::remaining;
use super::error::ConnectionError;
use super::proxy::{Dialogue, Proxy, ProxyFault, ProxyScheme, Target, tunnel};
use super::resolve::{self, host_and_port};

/// However many addresses a host has, each gets at least this long, as far as the deadline allows.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);

/// The way that a control connection took.
#[derive(Debug, Clone)]
pub struct Route(Way);

#[derive(Debug, Clone)]
enum Way {
    Direct { server: IpAddr },
    Proxied { proxy: Arc<Proxy>, entrance: SocketAddr, server: Target },
}

/// Connects to the server, through `proxy` where there is one.
///
/// # Errors
/// [`ConnectionError::NotConnected`], with the proxy's words where there is one.
pub fn connect(
    host: &str,
    port: u16,
    proxy: Option<&Arc<Proxy>>,
    deadline: Instant,
) -> Result<(TcpStream, Route), ConnectionError> {
    let Some(proxy) = proxy else {
        let stream = resolve::connect(host, port, deadline)?;
        let server = peer(&stream, host, port)?.ip();
        return Ok((stream, Route(Way::Direct { server })));
    };
    let targets = match proxy.scheme {
        ProxyScheme::Socks5h | ProxyScheme::Http => vec![Target::new(host)],
        ProxyScheme::Socks5 => {
            resolve::addresses(host, port, deadline)?.into_iter().map(|address| Target::Address(address.ip())).collect()
        }
    };
    let mut last = ProxyFault::TimedOut;
    for (index, target) in targets.iter().enumerate() {
        let Some(left) = remaining(deadline) else { break };
        let others = u32::try_from(targets.len() - index).unwrap_or(u32::MAX);
        let until = deadline.min(Instant::now() + (left / others).max(ATTEMPT_MIN));
        match through(proxy, target, port, until) {
            Ok((stream, entrance)) => {
                let way = Way::Proxied { proxy: Arc::clone(proxy), entrance, server: target.clone() };
                return Ok((stream, Route(way)));
            }
            Err(fault) => last = fault,
        }
        if last.is_about_the_proxy() {
            break;
        }
    }
    Err(not_connected(proxy, &host_and_port(host, port), &last))
}

fn through(
    proxy: &Proxy,
    target: &Target,
    port: u16,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), ProxyFault> {
    let stream = resolve::connect(&proxy.host, proxy.port, deadline).map_err(|error| match error {
        ConnectionError::NotConnected { reason, .. } => ProxyFault::NotReached(reason),
        error => ProxyFault::NotReached(error.to_string()),
    })?;
    let entrance = stream.peer_addr().map_err(|error| ProxyFault::Lost(error.to_string()))?;
    let (dialogue, first) = Dialogue::begin(proxy, target, port)?;
    tunnel::go_through(&stream, dialogue, first, deadline)?;
    Ok((stream, entrance))
}

impl Route {
    /// Whether the server is known to be reached by IPv6, which PASV has no words for.
    pub fn is_ipv6(&self) -> bool {
        match &self.0 {
            Way::Direct { server } | Way::Proxied { server: Target::Address(server), .. } => server.is_ipv6(),
            Way::Proxied { server: Target::Name(_), .. } => false,
        }
    }

    /// Begins a data connection to `port` of the server, or of the address that it has named itself. Does not wait.
    ///
    /// Where the proxy looks up names it is given the same one again: a name for several hosts may lead it to another one.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`] where the system refuses at once.
    pub fn begin_data(
        &self,
        port: u16,
        named: Option<IpAddr>,
        receive_buffer: Option<usize>,
    ) -> Result<PendingConnection, ConnectionError> {
        match &self.0 {
            Way::Direct { server } => {
                PendingConnection::start(SocketAddr::new(named.unwrap_or(*server), port), receive_buffer)
            }
            Way::Proxied { proxy, entrance, server } => {
                let target = named.map_or_else(|| server.clone(), Target::Address);
                let place = target.with_port(port);
                let begun =
                    Dialogue::begin(proxy, &target, port).map_err(|fault| not_connected(proxy, &place, &fault))?;
                let tunnel = Tunnel { dialogue: begun.0, first: begun.1, proxy: Arc::clone(proxy), place };
                Ok(PendingConnection::start(*entrance, receive_buffer)?.through(tunnel))
            }
        }
    }
}

/// What is still to be said to a proxy, once the connection to it stands.
#[derive(Debug)]
pub(super) struct Tunnel {
    dialogue: Dialogue,
    first: zeroize::Zeroizing<Vec<u8>>,
    proxy: Arc<Proxy>,
    place: String,
}

impl Tunnel {
    /// Says it.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`].
    pub(super) fn go_through(self, socket: &impl rustix::fd::AsFd, deadline: Instant) -> Result<(), ConnectionError> {
        tunnel::go_through(socket, self.dialogue, self.first, deadline)
            .map_err(|fault| not_connected(&self.proxy, &self.place, &fault))
    }
}

fn peer(stream: &TcpStream, host: &str, port: u16) -> Result<SocketAddr, ConnectionError> {
    let gone =
        |error: io::Error| ConnectionError::NotConnected { host: host_and_port(host, port), reason: error.to_string() };
    let address = stream.peer_addr().map_err(gone)?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn not_connected(proxy: &Proxy, place: &str, fault: &ProxyFault) -> ConnectionError {
    ConnectionError::NotConnected { host: format!("{place} through the proxy {proxy}"), reason: fault.to_string() }
}

//! From a host's name to a connected socket, within one deadline.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::deadlines::remaining;
use super::error::ConnectionError;

/// However many addresses a host has, each gets at least this long to answer, as far as the deadline allows.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);

/// Connects to a host by name or address. Where it has several addresses they are tried in the resolver's order,
/// each with its share of the time that is left, so that a dead IPv6 route does not cost the whole of it.
///
/// # Errors
/// [`ConnectionError::NotConnected`] with the last address's reason.
pub fn connect(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, ConnectionError> {
    let not_connected = |reason: String| ConnectionError::NotConnected { host: host_and_port(host, port), reason };
    let addresses = addresses(host, port, deadline)?;
    let mut last = String::from("the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let Some(left) = remaining(deadline) else { return Err(not_connected(String::from("connection timed out"))) };
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = (left / others).max(ATTEMPT_MIN).min(left);
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = describe(&error),
        }
    }
    Err(not_connected(last))
}

/// Finds a host's addresses.
///
/// # Errors
/// [`ConnectionError::NotConnected`] where it has none, or nobody tells them by the deadline.
pub(super) fn addresses(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectionError> {
    resolve(host, port, deadline)
        .map_err(|error| ConnectionError::NotConnected { host: host_and_port(host, port), reason: describe(&error) })
}

/// Finds a host's addresses. The system's resolver knows no deadline, so it is asked in a thread that is left behind
/// when it takes too long; it ends when the resolver gives up.
fn resolve(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = unbracketed(host).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "looking up the name took too long");
    let (sender, receiver) = mpsc::sync_channel(1);
    let name = host.to_owned();
    thread::Builder::new().name(String::from("ftpfs-resolve")).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // The asker may have given up meanwhile; then nobody wants the answer.
        let _ = sender.send(found);
    })?;
    match receiver.recv_timeout(remaining(deadline).ok_or_else(timed_out)?) {
        Ok(found) => found,
        Err(_) => Err(timed_out()),
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// `host:port`, with an IPv6 address in brackets.
pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    let host = unbracketed(host);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The system's words for people: without the number, in lower case.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => String::from("connection refused"),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock if error.raw_os_error().is_none() => {
            let text = error.to_string();
            if text.contains("name") { text } else { String::from("connection timed out") }
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::deadlines::after;
    use std::net::TcpListener;

    #[test]
    fn refused_connection_names_host_and_reason() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = connect("127.0.0.1", port, after(Duration::from_secs(5))).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to 127.0.0.1:{port}: connection refused"));
        assert!(!error.sent());
    }

    #[test]
    fn name_with_a_refusing_address_first_is_reached_at_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Nothing listens on ::1 at this port; where localhost has both, that one is tried first.
        assert!(connect("localhost", port, after(Duration::from_secs(5))).is_ok());
    }

    #[test]
    fn brackets_of_an_ipv6_address_are_optional() {
        assert_eq!(host_and_port("[::1]", 21), "[::1]:21");
        assert_eq!(host_and_port("::1", 21), "[::1]:21");
        assert_eq!(host_and_port("ftp.example", 2121), "ftp.example:2121");
    }

    #[test]
    fn passed_deadline_is_an_error_at_once() {
        let error = connect("127.0.0.1", 9, Instant::now()).unwrap_err();
        assert!(error.to_string().contains("timed out"), "{error}");
    }
}

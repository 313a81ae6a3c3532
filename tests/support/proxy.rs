//! A proxy that speaks SOCKS5 or HTTP's CONNECT, lets through what it is asked for, and remembers it.
//!
//! It goes on to the server from an address of its own, [`EXIT`], and knows the one name [`NAME`] that no resolver has: what arrives
//! from elsewhere at the server has gone around it, and what asks for that name has nobody else to ask.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Where its connections come from.
pub(crate) const EXIT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
/// A host that only the proxy knows: 127.0.0.1. The certificate `OtherName` is for it.
pub(crate) const NAME: &str = "ftp.elsewhere.example";
/// A login with bytes that a URL would have to escape.
pub(crate) const LOGIN: (&str, &str) = ("pat", "p@ss: #1");

/// What it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Socks5,
    Http,
}

/// The proxy; it ends with the test.
pub(crate) struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one, that wants [`LOGIN`] where `wants_login`.
    pub(crate) fn start(speaks: Speaks, wants_login: bool) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        let port = serve(move |client| {
            // A client that does not do as it should is let down, and its test fails.
            let _ = match speaks {
                Speaks::Socks5 => socks5(client, wants_login, &remembered),
                Speaks::Http => http(client, wants_login, &remembered),
            };
        });
        Self { port, asked }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The hosts and ports that it was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Listens, and runs `script` for each connection in a thread of its own; says at which port.
pub(crate) fn serve(script: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Arc::new(script);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, script) = (client.unwrap(), Arc::clone(&script));
            client.set_nodelay(true).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            thread::spawn(move || script(client));
        }
    });
    port
}

fn take<const LEN: usize>(client: &mut TcpStream) -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    client.read_exact(&mut bytes).map(|()| bytes)
}

fn take_len(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let [len] = take(client)?;
    let mut bytes = vec![0; usize::from(len)];
    client.read_exact(&mut bytes).map(|()| bytes)
}

fn socks5(mut client: TcpStream, wants_login: bool, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    assert_eq!(take(&mut client)?, [5]);
    let methods = take_len(&mut client)?;
    let method = if wants_login { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, method])?;
    if wants_login {
        assert_eq!(take(&mut client)?, [1]);
        let login = (take_len(&mut client)?, take_len(&mut client)?);
        let is_right = login == (LOGIN.0.into(), LOGIN.1.into());
        client.write_all(&[1, u8::from(!is_right)])?;
        if !is_right {
            return Ok(());
        }
    }
    let [version, command, _, kind] = take(&mut client)?;
    assert_eq!((version, command), (5, 1));
    let host = match kind {
        1 => IpAddr::from(take::<4>(&mut client)?).to_string(),
        4 => IpAddr::from(take::<16>(&mut client)?).to_string(),
        _ => String::from_utf8(take_len(&mut client)?).unwrap(),
    };
    let port = u16::from_be_bytes(take(&mut client)?);
    asked.lock().unwrap().push(format!("{host}:{port}"));
    match onwards(&host, port) {
        Ok(server) => {
            client.write_all(&[5, 0, 0, 1, 127, 0, 0, 77, 0, 1])?;
            relay(client, server)
        }
        Err(_) => client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
    }
}

fn http(mut client: TcpStream, wants_login: bool, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(take::<1>(&mut client)?[0]);
    }
    let head = String::from_utf8(head).unwrap();
    // Base64 of LOGIN.
    if wants_login && !head.contains("\r\nProxy-Authorization: Basic cGF0OnBAc3M6ICMx\r\n") {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    }
    let place = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
    asked.lock().unwrap().push(place.clone());
    let (host, port) = place.rsplit_once(':').unwrap();
    match onwards(host, port.parse().unwrap()) {
        Ok(server) => {
            client.write_all(b"HTTP/1.1 200 Connection established\r\nX-Proxy: test\r\n\r\n")?;
            relay(client, server)
        }
        Err(_) => client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
    }
}

fn onwards(host: &str, port: u16) -> io::Result<TcpStream> {
    let address =
        if host == NAME { IpAddr::from(Ipv4Addr::LOCALHOST) } else { host.parse().map_err(io::Error::other)? };
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, port)), Type::STREAM, None)?;
    if address.is_ipv4() {
        socket.bind(&SocketAddr::new(EXIT.into(), 0).into())?;
    }
    socket.connect(&SocketAddr::new(address, port).into())?;
    Ok(socket.into())
}

fn relay(client: TcpStream, server: TcpStream) -> io::Result<()> {
    client.set_read_timeout(None)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upwards = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Write);
    let _ = upwards.join();
    Ok(())
}

//! Mounts through SOCKS5 and HTTP proxies: nothing goes around them, what they refuse is told, and none of them can make us wait
//! for longer than we would for a server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::connection::{Proxy as Way, ProxyLogin, ProxyScheme};
use ftpfs::protocol::{RemotePath, Secret};
use ftpfs::remote::{FileTransfers as _, FtpRemote, ServerOptions};
use mounted::Mount;
use proxy::{EXIT, LOGIN, NAME, Proxy, Speaks};
use scripted_server::{Answer, Dialogue, ORDERLY, ScriptedServer};
use servers::certificates::{self, CertificateKind};
use servers::{PASSWORD, Server, ServerKind, ServerSettings, TlsSettings};

#[path = "support/mount.rs"]
mod mounted;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/scripted_server.rs"]
mod scripted_server;
#[path = "support/servers.rs"]
mod servers;

fn way(scheme: ProxyScheme, port: u16, login: Option<(&str, &str)>) -> Option<Arc<Way>> {
    let login =
        login.map(|(user, password)| ProxyLogin { user: user.as_bytes().into(), password: Secret::new(password) });
    Some(Arc::new(Way { scheme, host: "127.0.0.1".into(), port, login }))
}

fn options(host: &str, port: u16, proxy: Option<Arc<Way>>) -> ServerOptions {
    let mut options = ServerOptions::new(host);
    options.port = port;
    options.proxy = proxy;
    options.deadlines.connect = Duration::from_secs(5);
    options
}

/// A server with the file `/file`, that turns away whoever has not come through a [`Proxy`].
fn guarded_server() -> ScriptedServer {
    fn is_guest(from: &TcpStream) -> bool {
        from.peer_addr().unwrap().ip() == IpAddr::V4(EXIT)
    }
    ScriptedServer::start(|dialogue| {
        if !is_guest(dialogue.stream()) {
            return dialogue.say("421 You have gone around the proxy");
        }
        dialogue.say(ORDERLY);
        dialogue.serve(|dialogue: &mut Dialogue, command: &str| {
            if !command.starts_with("RETR") {
                return Answer::Default;
            }
            dialogue.say("150 Here it comes");
            let mut data = dialogue.accept();
            if !is_guest(&data) {
                dialogue.say("425 The data connection has gone around the proxy");
                return Answer::Done;
            }
            data.write_all(b"bytes").unwrap();
            drop(data);
            dialogue.say("226 Done");
            Answer::Done
        });
    })
}

fn fetch(remote: &FtpRemote) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    remote
        .retrieve(&RemotePath::parse(b"/file").unwrap(), 0, &mut bytes)
        .map(|_| bytes)
        .map_err(|error| error.to_string())
}

#[test]
fn control_and_data_connections_all_go_through_the_proxy() {
    for (scheme, speaks, host) in [
        (ProxyScheme::Socks5h, Speaks::Socks5, NAME),
        (ProxyScheme::Socks5, Speaks::Socks5, "127.0.0.1"),
        (ProxyScheme::Http, Speaks::Http, NAME),
    ] {
        for wants_login in [false, true] {
            let (server, proxy) = (guarded_server(), Proxy::start(speaks, wants_login));
            let way = way(scheme, proxy.port(), wants_login.then_some(LOGIN));
            let remote = FtpRemote::connect(options(host, server.port(), way)).unwrap();
            for _ in 0..3 {
                assert_eq!(fetch(&remote).unwrap(), b"bytes", "{scheme:?}");
            }
            let asked = proxy.asked();
            let to_server = format!("{host}:{}", server.port());
            assert_eq!(asked.iter().filter(|place| **place == to_server).count(), server.connections());
            assert_eq!(asked.len(), server.connections() + 3, "{asked:?}");
            assert!(asked.iter().all(|place| place.starts_with(&format!("{host}:"))), "{asked:?}");
        }
    }
}

#[test]
fn server_turns_away_who_comes_directly() {
    // What the other tests rest on.
    let server = guarded_server();
    let error = FtpRemote::connect(options("127.0.0.1", server.port(), None)).unwrap_err();
    assert!(error.to_string().contains("gone around the proxy"), "{error}");
}

/// What a proxy does is in the error, which is there long before the operation's own deadline.
fn error_of(
    scheme: ProxyScheme,
    login: Option<(&str, &str)>,
    script: impl Fn(TcpStream) + Send + Sync + 'static,
) -> String {
    let mut options = options("ftp.example", 21, way(scheme, proxy::serve(script), login));
    options.deadlines.connect = Duration::from_millis(700);
    let begun = Instant::now();
    let error = FtpRemote::connect(options).unwrap_err().to_string();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(error.contains("cannot connect to ftp.example:21 through the proxy "), "{error}");
    error
}

/// A script that says `words` to whatever it is told, and then waits for the client to go.
fn saying(words: &'static [u8]) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut client| {
        let _ = client.read(&mut [0; 1024]);
        let _ = client.write_all(words);
        let _ = client.read_to_end(&mut Vec::new());
    }
}

#[test]
fn refusals_and_garbage_are_told_in_words() {
    let (socks, http) = (ProxyScheme::Socks5h, ProxyScheme::Http);
    for (scheme, login, said, words) in [
        (socks, None, &b"\x05\xff"[..], "the proxy wants a user and a password"),
        (socks, Some(LOGIN), b"\x05\x02\x01\x01", "the proxy refused the user or the password"),
        (socks, None, b"\x05\x00\x05\x02", "the proxy forbids it (by its rules)"),
        (socks, None, b"\x05\x00\x05\x04", "the host is unreachable from there"),
        (socks, None, b"SSH-2.0-OpenSSH_9.6\r\n", "no SOCKS5 proxy: it said `S`"),
        (http, None, b"HTTP/1.1 407 Auth\r\n\r\n", "the proxy wants a user and a password (407 Auth)"),
        (
            http,
            Some(LOGIN),
            b"HTTP/1.1 407 Auth\r\n\r\n",
            "the proxy refused the user or the password for it (407 Auth)",
        ),
        (http, None, b"HTTP/1.1 403 Forbidden\r\n\r\n", "443 alone"),
        (http, None, b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", "504 Gateway Timeout"),
        (http, None, b"\x05\xff", "no HTTP proxy"),
    ] {
        let error = error_of(scheme, login, saying(said));
        assert!(error.contains(words) && !error.contains(LOGIN.1), "{error}");
    }
}

#[test]
fn proxy_that_is_not_there_is_told_from_a_server_that_is_not() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = FtpRemote::connect(options("ftp.example", 21, way(ProxyScheme::Http, port, None))).unwrap_err();
    assert!(error.to_string().contains("the proxy itself is not reached: connection refused"), "{error}");
}

#[test]
fn proxy_that_closes_in_the_middle_is_told_wherever_that_is() {
    let (socks, http) = (&b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x15"[..], &b"HTTP/1.1 200 OK\r\n\r\n"[..]);
    for (scheme, said) in [(ProxyScheme::Socks5h, socks), (ProxyScheme::Http, http)] {
        for len in 0..said.len() {
            let error = error_of(scheme, None, move |mut client| {
                let _ = client.read(&mut [0; 1024]);
                let _ = client.write_all(&said[..len]);
                let _ = client.shutdown(std::net::Shutdown::Write);
                let _ = client.read_to_end(&mut Vec::new());
            });
            assert!(error.contains("closed the connection before it had answered"), "{len}: {error}");
        }
    }
}

#[test]
fn silent_proxy_and_one_that_drips_for_ever_end_with_the_connect_timeout() {
    for scheme in [ProxyScheme::Socks5h, ProxyScheme::Http] {
        let error = error_of(scheme, None, |mut client| drop(client.read_to_end(&mut Vec::new())));
        assert!(error.contains("did not answer in time"), "{error}");
    }
    let error = error_of(ProxyScheme::Http, None, |mut client| {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\n");
        while client.write_all(b"X-Drip: drop\r\n").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(error.contains("did not answer in time"), "{error}");
}

#[test]
fn proxy_and_greeting_byte_by_byte_are_understood() {
    for (scheme, said) in [
        (ProxyScheme::Socks5h, &b"\x05\x00\x05\x00\x00\x03\x02ab\x00\x15"[..]),
        (ProxyScheme::Http, b"HTTP/1.1 200 Connection established\r\n\r\n"),
    ] {
        let error = FtpRemote::connect(options(
            "ftp.example",
            21,
            way(
                scheme,
                proxy::serve(move |mut client| {
                    for byte in said.iter().chain(b"530 Not today.\r\n") {
                        client.write_all(&[*byte]).unwrap();
                        thread::sleep(Duration::from_millis(1));
                    }
                    let _ = client.read_to_end(&mut Vec::new());
                }),
                None,
            ),
        ))
        .unwrap_err();
        assert!(error.to_string().contains("530 Not today."), "{error}");
    }
}

#[test]
fn data_connection_that_the_proxy_refuses_fails_the_read_and_nothing_goes_around() {
    let server = guarded_server();
    let (port, count) = (server.port(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&count);
    let proxy = Proxy::start(Speaks::Socks5, false);
    // In front of the proxy one that refuses all but the server's own port.
    let front = proxy::serve(move |mut client| {
        let mut request = [0; 3];
        client.read_exact(&mut request).unwrap();
        client.write_all(&[5, 0]).unwrap();
        let mut request = vec![0; 7 + NAME.len()];
        client.read_exact(&mut request).unwrap();
        if request[request.len() - 2..] != port.to_be_bytes() {
            seen.fetch_add(1, Ordering::AcqRel);
            let _ = client.write_all(&[5, 2]);
            return;
        }
        let mut onwards = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        onwards.write_all(&[5, 1, 0]).unwrap();
        onwards.read_exact(&mut [0; 2]).unwrap();
        onwards.write_all(&request).unwrap();
        let mut back = (onwards.try_clone().unwrap(), client.try_clone().unwrap());
        let downwards = thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
        let _ = std::io::copy(&mut client, &mut onwards);
        let _ = onwards.shutdown(std::net::Shutdown::Both);
        let _ = downwards.join();
    });
    let mut options = options(NAME, port, way(ProxyScheme::Socks5h, front, None));
    options.operation_timeout = Duration::from_secs(2);
    let remote = FtpRemote::connect(options).unwrap();
    let error = fetch(&remote).unwrap_err();
    assert!(error.contains("the proxy forbids it"), "{error}");
    assert!(count.load(Ordering::Acquire) > 0);
}

/// Writes and reads a mount through a proxy: the server's folder has what was written, and the proxy was asked for `NAME` alone.
fn mount_through(kind: ServerKind, speaks: Speaks, tls: Option<TlsSettings>) {
    let settings = ServerSettings { tls, ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(server.folder().join("given"), &bytes).unwrap();
    server.give("given");
    let proxy = Proxy::start(speaks, true);
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, format!("{}\r\n", LOGIN.1)).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let scheme = if speaks == Speaks::Socks5 { "socks5h" } else { "http" };
    let to_proxy = format!("--proxy={scheme}://{}@127.0.0.1:{}", LOGIN.0, proxy.port());
    let password_file = format!("--proxy-password-file={}", password.display());
    let url = server.url().replace("127.0.0.1", NAME);
    let mount = Mount::try_start(&url, PASSWORD, &[&to_proxy, &password_file])
        .unwrap_or_else(|refused| panic!("{}: {}\n{}", refused.status, refused.message, server.log()));
    fs::write(mount.path().join("large"), &bytes).unwrap();
    fs::create_dir(mount.path().join("folder")).unwrap();
    fs::write(mount.path().join("folder/small"), "small").unwrap();
    assert!(fs::read(server.folder().join("large")).unwrap() == bytes);
    assert!(fs::read(mount.path().join("given")).unwrap() == bytes);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 3);
    mount.unmount();
    let asked = proxy.asked();
    // A login, two uploads, a listing and a read at least.
    assert!(asked.len() >= 5, "{asked:?}");
    assert!(asked.iter().all(|place| place.starts_with(&format!("{NAME}:"))), "{asked:?}");
}

#[test]
fn mount_through_socks5_is_written_and_read() {
    mount_through(ServerKind::Vsftpd, Speaks::Socks5, None);
    mount_through(ServerKind::Pyftpdlib, Speaks::Socks5, None);
}

#[test]
fn mount_through_http_connect_is_written_and_read() {
    mount_through(ServerKind::Proftpd, Speaks::Http, None);
    mount_through(ServerKind::PureFtpd, Speaks::Http, None);
}

#[test]
fn encrypted_mount_through_a_proxy_checks_the_name_of_the_server() {
    for (kind, speaks) in [(ServerKind::Vsftpd, Speaks::Http), (ServerKind::Proftpd, Speaks::Socks5)] {
        let tls = TlsSettings { certificate: CertificateKind::OtherName, ..TlsSettings::default() };
        mount_through(kind, speaks, Some(tls));
        // The same server with a certificate for others.
        let settings = ServerSettings { tls: Some(TlsSettings::default()), ..ServerSettings::default() };
        let Some(server) = Server::start(kind, settings) else { continue };
        let proxy = Proxy::start(Speaks::Socks5, false);
        let url = server.url().replace("127.0.0.1", NAME);
        let to_proxy = format!("--proxy=socks5h://127.0.0.1:{}", proxy.port());
        let authority = format!("--ca-file={}", certificates::authority_file().display());
        let Err(refused) = Mount::try_start(&url, PASSWORD, &[&to_proxy, &authority]) else { panic!("mounted") };
        assert_eq!(refused.status.code(), Some(10), "{}", refused.message);
        assert!(refused.message.contains("the certificate is not for"), "{}", refused.message);
    }
}

#[test]
fn proxy_of_the_environment_is_taken_unless_it_is_told_not_to() {
    let Some(server) = Server::start(ServerKind::Vsftpd, ServerSettings::default()) else { return };
    let proxy = Proxy::start(Speaks::Socks5, false);
    let place = format!("socks5://127.0.0.1:{}", proxy.port());
    for (options, exceptions, is_asked) in
        [(&[][..], "10.0.0.0/8", true), (&[], "127.0.0.0/8", false), (&["--proxy=none"], "", false)]
    {
        let before = proxy.asked().len();
        let variables = [("ALL_PROXY", place.as_str()), ("NO_PROXY", exceptions)];
        let mount = Mount::try_start_in(&server.url(), PASSWORD, options, &variables)
            .unwrap_or_else(|refused| panic!("{}", refused.message));
        fs::write(mount.path().join("file"), "x").unwrap();
        mount.unmount();
        assert_eq!(proxy.asked().len() > before, is_asked, "{exceptions}");
    }
}

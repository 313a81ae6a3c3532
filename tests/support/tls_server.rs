//! A small encrypted FTP server with one file, that ends its data connections as a test tells it.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::servers::certificates::{self, CertificateKind};

/// What the file `/file` holds.
pub(crate) const CONTENT: &[u8] = b"0123456789";

/// How it behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// Data connections end without close_notify.
    pub(crate) leaves_out_close_notify: bool,
    /// How many of the bytes come.
    pub(crate) sent: usize,
    /// It sends data in clear text, whatever it said to PROT P.
    pub(crate) data_in_clear: bool,
    /// It refuses PROT P.
    pub(crate) refuses_protection: bool,
    /// It agrees to REST only when the client's handshake has begun on the data connection, or 3 s later.
    pub(crate) awaits_hello: bool,
}

/// How often it has awaited a handshake, and how often none came.
#[derive(Debug, Default)]
pub(crate) struct Hellos {
    awaited: AtomicUsize,
    missed: AtomicUsize,
}

/// The server; it ends with the test.
pub(crate) struct TlsServer {
    port: u16,
    ended: Arc<AtomicBool>,
    hellos: Arc<Hellos>,
}

impl TlsServer {
    /// Starts it with a good certificate, kept in `folder`.
    pub(crate) fn start(folder: &Path, behaviour: Behaviour) -> Self {
        let files = certificates::make(CertificateKind::Good, folder);
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let (port, ended) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&ended);
        let hellos = Arc::new(Hellos::default());
        let counted = Arc::clone(&hellos);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let (stream, config, hellos) = (stream.unwrap(), Arc::clone(&config), Arc::clone(&counted));
                // A client that goes in the middle of a word is no fault of the server's.
                thread::spawn(move || serve(stream, &config, behaviour, &hellos));
            }
        });
        Self { port, ended, hellos }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How often a handshake was awaited, and how often it did not come.
    pub(crate) fn hellos(&self) -> (usize, usize) {
        (self.hellos.awaited.load(Ordering::Acquire), self.hellos.missed.load(Ordering::Acquire))
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

type Encrypted = StreamOwned<ServerConnection, TcpStream>;

fn encrypt(stream: TcpStream, config: &Arc<ServerConfig>) -> Encrypted {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

fn serve(mut stream: TcpStream, config: &Arc<ServerConfig>, behaviour: Behaviour, hellos: &Hellos) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"220 (vsFTPd, for a test)\r\n").ok()?;
    let mut line = [0; 64];
    let len = stream.read(&mut line).ok()?;
    assert_eq!(&line[..len], b"AUTH TLS\r\n");
    stream.write_all(b"234 Go on\r\n").ok()?;
    let mut control = BufReader::new(encrypt(stream, config));
    let (mut passive, mut offset) = (None, 0);
    loop {
        let mut line = String::new();
        if control.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let verb = line.trim_end().split(' ').next().unwrap_or_default().to_owned();
        let reply = match verb.as_str() {
            "USER" => "331 Password?".to_owned(),
            "PASS" => "230 Welcome".to_owned(),
            "PROT" if behaviour.refuses_protection => "534 Not here".to_owned(),
            "PWD" => "257 \"/\"".to_owned(),
            "FEAT" => "211 None".to_owned(),
            "SIZE" => format!("213 {}", CONTENT.len()),
            "EPSV" => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                passive = Some(Passive::Listening(listener));
                format!("229 Passive (|||{port}|)")
            }
            "REST" => {
                offset = line.trim_end().rsplit(' ').next()?.parse().ok()?;
                if behaviour.awaits_hello {
                    passive = Some(await_hello(passive.take()?, hellos)?);
                }
                "350 From there".to_owned()
            }
            "RETR" | "LIST" | "MLSD" => {
                control.get_mut().write_all(b"150 Here it comes\r\n").ok()?;
                let file = CONTENT.get(std::mem::take(&mut offset)..).unwrap_or_default();
                let content: &[u8] = if verb == "RETR" { file } else { b"-rw-r--r-- 1 u g 10 Jan 1 2020 file\r\n" };
                let stream = passive.take()?.accept()?;
                send(stream, &content[..content.len().min(behaviour.sent)], config, behaviour);
                "226 Done".to_owned()
            }
            _ => "200 OK".to_owned(),
        };
        control.get_mut().write_all(format!("{reply}\r\n").as_bytes()).ok()?;
    }
}

/// The server's end of a data connection.
enum Passive {
    Listening(TcpListener),
    Accepted(TcpStream),
}

impl Passive {
    fn accept(self) -> Option<TcpStream> {
        match self {
            Self::Listening(listener) => Some(listener.accept().ok()?.0),
            Self::Accepted(stream) => Some(stream),
        }
    }
}

fn await_hello(passive: Passive, hellos: &Hellos) -> Option<Passive> {
    let stream = passive.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    hellos.awaited.fetch_add(1, Ordering::AcqRel);
    if !matches!(stream.peek(&mut [0]), Ok(1)) {
        hellos.missed.fetch_add(1, Ordering::AcqRel);
    }
    Some(Passive::Accepted(stream))
}

fn send(mut stream: TcpStream, bytes: &[u8], config: &Arc<ServerConfig>, behaviour: Behaviour) -> Option<()> {
    if behaviour.data_in_clear {
        return stream.write_all(bytes).ok();
    }
    let mut data = encrypt(stream, config);
    data.write_all(bytes).ok()?;
    if !behaviour.leaves_out_close_notify {
        data.conn.send_close_notify();
    }
    data.flush().ok()?;
    data.sock.shutdown(std::net::Shutdown::Write).ok()?;
    // Closed with bytes unread, the connection would be reset, and what was sent be lost.
    let _ = data.sock.read_to_end(&mut Vec::new());
    Some(())
}

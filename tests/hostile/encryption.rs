//! Inside of TLS: handshakes that never end, certificates without number, clear text where there should be none.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ftpfs::remote::{Encryption, FtpRemote, RemoteError, RemoteResult, TlsClient, TlsOptions, Trust};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::servers::certificates::{self, CertificateKind};
use super::{Limits, options, within};

/// A server that answers AUTH, and then does with the connection what `then` does. Each connection, as long as the test runs.
fn after_auth(then: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let then = Arc::new(then);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, then) = (stream.unwrap(), Arc::clone(&then));
            thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let _ = stream.write_all(b"220 (vsFTPd, for a test)\r\n");
                let mut line = [0; 64];
                let len = stream.read(&mut line).unwrap_or(0);
                if &line[..len] == b"AUTH TLS\r\n" && stream.write_all(b"234 Go on\r\n").is_ok() {
                    then(stream);
                }
            });
        }
    });
    port
}

fn connect(port: u16) -> RemoteResult<FtpRemote> {
    let tls = TlsOptions { trust: Trust::Anything, identity: None };
    let mut options = options(port);
    options.encryption = Encryption::Explicit(TlsClient::new("127.0.0.1", port, &tls).unwrap());
    FtpRemote::connect(options)
}

const FEW: Limits = Limits { seconds: 25, mebibytes: 24 };

#[test]
fn handshake_without_an_answer_is_given_up_in_time() {
    within(&FEW, || {
        let port = after_auth(|mut stream| {
            let _ = stream.read_to_end(&mut Vec::new());
        });
        assert!(connect(port).is_err());
    });
}

#[test]
fn handshake_that_comes_drop_by_drop_is_given_up_in_time() {
    within(&FEW, || {
        let port = after_auth(|mut stream| {
            // The head of a record that is 16,000 bytes long, and its content byte by byte.
            let _ = stream.write_all(&[22, 3, 3, 0x3E, 0x80, 2, 0, 0x3E, 0x7C]);
            while stream.write_all(&[3]).is_ok() {
                thread::sleep(Duration::from_millis(300));
            }
        });
        assert!(connect(port).is_err());
    });
}

#[test]
fn handshake_without_an_end_is_given_up() {
    within(&FEW, || {
        // A message of the handshake said to be 16 MiB long; warnings; records that are not of the handshake.
        for record in [&[22, 3, 3, 0x10, 0, 11, 0xFF, 0xFF, 0xFF][..], &[21, 3, 3, 0, 2, 1, 90], &[20, 3, 3, 0, 1, 1]] {
            let record = record.to_vec();
            let port = after_auth(move |mut stream| {
                let mut piece = record.clone();
                piece.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
                while stream.write_all(&piece).is_ok() {}
            });
            assert!(connect(port).is_err());
        }
    });
}

fn server_config(copies: usize) -> Arc<ServerConfig> {
    let folder = tempfile::tempdir().unwrap();
    let files = certificates::make(CertificateKind::Good, folder.path());
    let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate; copies], key);
    Arc::new(config.unwrap())
}

/// Takes the handshake, and what the client says in it up to the end of the first line.
fn first_line(stream: TcpStream, config: &Arc<ServerConfig>) -> Option<(String, TcpStream)> {
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut control = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    control.read_line(&mut line).ok().filter(|len| *len > 0)?;
    Some((line, control.into_inner().sock))
}

#[test]
fn chain_of_a_thousand_certificates_is_refused() {
    within(&FEW, || {
        let config = server_config(1000);
        let port = after_auth(move |stream| assert_eq!(first_line(stream, &config).map(|(line, _)| line), None));
        let refused = connect(port);
        assert!(matches!(refused, Err(RemoteError::Encryption(_))), "{refused:?}");
    });
}

#[test]
fn clear_text_inside_of_tls_is_no_reply() {
    within(&FEW, || {
        let config = server_config(1);
        let port = after_auth(move |stream| {
            let Some((line, mut stream)) = first_line(stream, &config) else { return };
            assert!(line.starts_with("USER "), "{line}");
            // As if the password had been asked for, and all were well.
            let _ = stream.write_all(b"331 Password?\r\n230 Welcome\r\n");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        });
        assert!(connect(port).is_err());
    });
}

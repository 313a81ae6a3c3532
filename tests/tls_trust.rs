//! Who is believed: certificates of all kinds, and servers, or those before them, that would rather have clear text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftpfs::connection::tls::CertificateProblem;
use ftpfs::protocol::{RemotePath, Secret};
use ftpfs::remote::{
    Encryption, FileTransfers as _, Fingerprint, FtpRemote, Remote as _, RemoteError, ServerOptions, TlsClient,
    TlsError, TlsIdentity, TlsOptions, Trust,
};
use scripted_server::{Answer, ORDERLY, ScriptedServer};
use servers::certificates::{self, CertificateKind};
use servers::{PASSWORD, Server, ServerKind, ServerSettings, TlsSettings, TlsVersion, USER};
use tempfile::TempDir;
use tls_server::{Behaviour, CONTENT, TlsServer};

#[path = "support/scripted_server.rs"]
mod scripted_server;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/tls_server.rs"]
mod tls_server;

fn client(port: u16, trust: Trust) -> Arc<TlsClient> {
    TlsClient::new("127.0.0.1", port, &TlsOptions { trust, identity: None }).unwrap()
}

fn connect(port: u16, encryption: Encryption) -> Result<FtpRemote, RemoteError> {
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = port;
    options.user = USER.as_bytes().into();
    options.password = Secret::new(PASSWORD);
    options.encryption = encryption;
    options.deadlines.reply = Duration::from_secs(5);
    options.operation_timeout = Duration::from_secs(5);
    FtpRemote::connect(options)
}

fn authority() -> Trust {
    Trust::File(certificates::authority_file())
}

fn explicit(port: u16, trust: Trust) -> Result<FtpRemote, RemoteError> {
    connect(port, Encryption::Explicit(client(port, trust)))
}

fn refused(result: Result<FtpRemote, RemoteError>) -> TlsError {
    match result {
        Err(RemoteError::Encryption(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn start(certificate: CertificateKind) -> Option<Server> {
    let tls = TlsSettings { certificate, ..TlsSettings::default() };
    Server::start(ServerKind::Pyftpdlib, ServerSettings { tls: Some(tls), ..ServerSettings::default() })
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

fn problem(certificate: CertificateKind, trust: Trust) -> Option<(CertificateProblem, Fingerprint)> {
    let server = start(certificate)?;
    match refused(explicit(server.port(), trust)) {
        TlsError::Certificate(fault) => {
            assert_eq!(fault.host, "127.0.0.1");
            Some((fault.problem, fault.fingerprint))
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn each_bad_certificate_is_refused_for_its_own_reason() {
    for (kind, expected) in [
        (CertificateKind::Expired, CertificateProblem::Expired(Some("2001-09-09".into()))),
        (CertificateKind::NotYetValid, CertificateProblem::NotYetValid(Some("2090-01-02".into()))),
        (CertificateKind::OtherName, CertificateProblem::WrongName(vec!["ftp.elsewhere.example".into()])),
        (CertificateKind::OtherAuthority, CertificateProblem::UnknownIssuer),
        (CertificateKind::SelfSigned, CertificateProblem::SelfSigned),
        (CertificateKind::SelfSignedAuthority, CertificateProblem::SelfSigned),
    ] {
        let Some((found, _)) = problem(kind, authority()) else { return };
        assert_eq!(found, expected, "{kind:?}");
    }
}

#[test]
fn good_certificate_is_not_trusted_by_the_authorities_of_the_system() {
    let Some((found, _)) = problem(CertificateKind::Good, Trust::System) else { return };
    assert_eq!(found, CertificateProblem::UnknownIssuer);
}

#[test]
fn pinned_certificate_is_trusted_whatever_it_says_and_no_other_is() {
    let mut last = None;
    for kind in [
        CertificateKind::Expired,
        CertificateKind::OtherName,
        CertificateKind::OtherAuthority,
        CertificateKind::SelfSigned,
        CertificateKind::SelfSignedAuthority,
    ] {
        let Some(server) = start(kind) else { return };
        let TlsError::Certificate(fault) = refused(explicit(server.port(), authority())) else { panic!("{kind:?}") };
        let remote = explicit(server.port(), Trust::Fingerprints(vec![fault.fingerprint])).unwrap();
        remote.store(&path("/file"), &mut &b"bytes"[..]).unwrap();
        assert_eq!(remote.read_range(&path("/file"), 0, 9).unwrap(), b"bytes", "{kind:?}");
        if let Some(other) = last.replace(fault.fingerprint) {
            let error = refused(explicit(server.port(), Trust::Fingerprints(vec![other])));
            let TlsError::Certificate(refused) = error else { panic!("{error:?}") };
            assert_eq!((refused.problem, refused.fingerprint), (CertificateProblem::NotPinned, fault.fingerprint));
        }
    }
}

#[test]
fn certificate_that_stands_in_the_file_itself_is_trusted_for_its_names_only() {
    for (kind, is_trusted) in [
        (CertificateKind::SelfSigned, true),
        (CertificateKind::SelfSignedAuthority, true),
        (CertificateKind::OtherName, false),
    ] {
        let Some(server) = start(kind) else { return };
        let file = server.tls().unwrap().1.certificate.clone();
        let result = explicit(server.port(), Trust::File(file));
        assert_eq!(result.is_ok(), is_trusted, "{kind:?}: {result:?}");
    }
}

#[test]
fn certificate_of_the_first_time_is_remembered_and_another_one_refused() {
    let folder = TempDir::new().unwrap();
    let known = folder.path().join("new folder/known");
    let Some(server) = start(CertificateKind::SelfSigned) else { return };
    let trust = || Trust::FirstUse(known.clone());
    let remote = explicit(server.port(), trust()).unwrap();
    remote.store(&path("/file"), &mut &b"bytes"[..]).unwrap();
    let remembered = fs::read_to_string(&known).unwrap();
    assert!(remembered.starts_with(&format!("127.0.0.1:{} sha256:", server.port())), "{remembered}");
    explicit(server.port(), trust()).unwrap();
    assert_eq!(fs::read_to_string(&known).unwrap(), remembered, "remembered once");
    // Another server at this place: as if the certificate had changed.
    let Some(other) = start(CertificateKind::SelfSigned) else { return };
    let moved = remembered.replace(&format!(":{} ", server.port()), &format!(":{} ", other.port()));
    fs::write(&known, &moved).unwrap();
    let error = refused(explicit(other.port(), trust()));
    let TlsError::Certificate(fault) = error else { panic!("{error:?}") };
    assert!(matches!(fault.problem, CertificateProblem::Changed { .. }), "{fault:?}");
    assert!(fault.to_string().contains(moved.split(' ').nth(1).unwrap().trim()), "{fault}");
    assert_eq!(fs::read_to_string(&known).unwrap(), moved, "nothing is learned from a refusal");
}

#[test]
fn server_that_wants_a_certificate_of_ours_gets_it() {
    for kind in [ServerKind::Vsftpd, ServerKind::Proftpd] {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let tls = TlsSettings { wants_certificate: true, version, ..TlsSettings::default() };
            let settings = ServerSettings { tls: Some(tls), ..ServerSettings::default() };
            let Some(server) = Server::start(kind, settings) else { return };
            let without = explicit(server.port(), authority());
            assert!(without.is_err(), "{kind:?} {version:?}");
            let folder = TempDir::new().unwrap();
            let files = certificates::make(CertificateKind::Good, folder.path());
            let identity = Some(TlsIdentity { certificate: files.certificate, key: files.key });
            let client =
                TlsClient::new("127.0.0.1", server.port(), &TlsOptions { trust: authority(), identity }).unwrap();
            let remote = connect(server.port(), Encryption::Explicit(client))
                .unwrap_or_else(|error| panic!("{kind:?} {version:?}: {error}\n{}", server.log()));
            remote.store(&path("/file"), &mut &b"bytes"[..]).unwrap();
            assert_eq!(remote.read_range(&path("/file"), 0, 9).unwrap(), b"bytes");
        }
    }
}

#[test]
fn files_that_hold_no_certificate_or_key_are_named() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    let missing = folder.path().join("missing.pem");
    for file in [&empty, &missing] {
        let error =
            TlsClient::new("h", 21, &TlsOptions { trust: Trust::File(file.clone()), identity: None }).unwrap_err();
        assert!(
            matches!(&error, TlsError::File { file: named, .. } if *named == file.display().to_string()),
            "{error:?}"
        );
        let files = certificates::make(CertificateKind::Good, folder.path());
        let identity = Some(TlsIdentity { certificate: files.certificate, key: file.clone() });
        let error = TlsClient::new("h", 21, &TlsOptions { trust: authority(), identity }).unwrap_err();
        assert!(
            matches!(&error, TlsError::File { file: named, .. } if *named == file.display().to_string()),
            "{error:?}"
        );
    }
}

#[test]
fn server_of_the_past_is_told_so() {
    let settings =
        |kind| (kind, ServerSettings { tls: Some(TlsSettings::of(TlsVersion::Tls11)), ..ServerSettings::default() });
    for (kind, settings) in [settings(ServerKind::Vsftpd), settings(ServerKind::Proftpd)] {
        let Some(server) = Server::start(kind, settings) else { return };
        let error = refused(explicit(server.port(), authority()));
        assert!(matches!(error, TlsError::Outdated { .. }), "{kind:?}: {error:?}");
    }
}

#[test]
fn implicit_tls_is_spoken_from_the_first_byte() {
    for kind in [ServerKind::Vsftpd, ServerKind::Proftpd] {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let tls = TlsSettings { implicit: true, version, ..TlsSettings::default() };
            let settings = ServerSettings { tls: Some(tls), ..ServerSettings::default() };
            let Some(server) = Server::start(kind, settings) else { return };
            let encryption = Encryption::Implicit(client(server.port(), authority()));
            let remote = connect(server.port(), encryption).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            for round in 0..3 {
                remote.store(&path("/file"), &mut format!("round {round}").as_bytes()).unwrap();
                assert_eq!(remote.read_range(&path("/file"), 0, 99).unwrap(), format!("round {round}").as_bytes());
            }
            let (all, resumed) = remote.tls().data_connections();
            assert_eq!(all, resumed, "{kind:?} {version:?}");
        }
    }
}

#[test]
fn server_that_greets_in_clear_text_where_tls_is_implicit_gets_no_word() {
    let server = ScriptedServer::serving(ORDERLY, |_, _| Answer::Default);
    let encryption = Encryption::Implicit(client(server.port(), Trust::Anything));
    assert!(matches!(refused(connect(server.port(), encryption)), TlsError::NotTls(_)));
    assert_eq!(server.count("USER") + server.count("PASS"), 0);
}

/// A server, or somebody before it, to whom AUTH is unknown and that lists it not.
fn without_auth(code: &'static str) -> ScriptedServer {
    ScriptedServer::serving(ORDERLY, move |dialogue, command| {
        if command.starts_with("AUTH") {
            dialogue.say(code);
            return Answer::Done;
        }
        Answer::Default
    })
}

#[test]
fn password_is_not_sent_where_auth_was_taken_away() {
    for code in ["502 Unknown", "500 What?", "534 No", "334 Tell me more", "431 Not now"] {
        let server = without_auth(code);
        let error = explicit(server.port(), Trust::Anything).unwrap_err();
        assert_eq!(
            matches!(error, RemoteError::Encryption(TlsError::NotOffered { .. })),
            code != "431 Not now",
            "{error:?}"
        );
        assert_eq!(server.count("USER") + server.count("PASS"), 0, "{code}");
        assert!(server.count("AUTH TLS") > 0 && (code == "431 Not now" || server.count("AUTH SSL") > 0));
    }
}

#[test]
fn preferred_encryption_is_done_without_only_where_it_is_refused_for_good() {
    let prefer = |port| connect(port, Encryption::Prefer(client(port, Trust::Anything)));
    let server = without_auth("502 Unknown");
    assert_eq!(prefer(server.port()).unwrap().connections().unwrap().encryption, None);
    assert_eq!(server.count("PASS"), 1);
    let server = without_auth("431 Not now");
    assert!(prefer(server.port()).is_err());
    assert_eq!(server.count("USER"), 0);
    let server = without_auth("234 Go on\r\nand this is no TLS");
    assert!(prefer(server.port()).is_err());
    assert_eq!(server.count("USER"), 0);
    let Some(server) = start(CertificateKind::SelfSigned) else { return };
    let encryption = Encryption::Prefer(client(server.port(), authority()));
    assert!(matches!(refused(connect(server.port(), encryption)), TlsError::Certificate(_)));
}

#[test]
fn words_in_clear_text_behind_the_reply_to_auth_are_refused() {
    for injected in ["234 Go on\r\n230 You are in", "234 Go on\r\n220", "234 Go on\r\n150 a\r\n226 b\r\n257 \"/\""] {
        let server = ScriptedServer::serving(ORDERLY, move |dialogue, command| {
            if command.starts_with("AUTH") {
                dialogue.say_bytes(injected.as_bytes());
                return Answer::Done;
            }
            Answer::Default
        });
        let error = refused(explicit(server.port(), Trust::Anything));
        assert_eq!(error, TlsError::Injected, "{injected:?}");
        assert_eq!(server.count("USER"), 0);
    }
}

#[test]
fn garbage_in_place_of_a_handshake_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let garbage = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"220 (vsFTPd)\r\n").unwrap();
        let mut buffer = [0; 4096];
        let len = stream.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"AUTH TLS\r\n");
        stream.write_all(b"234 Go on\r\n").unwrap();
        assert!(stream.read(&mut buffer).unwrap() > 0 && buffer[0] == 22, "a ClientHello");
        stream.write_all(b"500 OOPS: this is no TLS\r\n").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    let error = refused(explicit(port, Trust::Anything));
    assert_eq!(error, TlsError::NotTls(Some("500 OOPS: this is no TLS".into())));
    let rest = garbage.join().unwrap();
    assert!(!rest.windows(4).any(|word| word == b"USER"), "{rest:?}");
}

#[test]
fn mount_that_was_encrypted_once_never_logs_in_in_clear_text() {
    let Some(mut server) = start(CertificateKind::Good) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), server.port());
    let said = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut is_first = true;
        for client in listener.incoming().map_while(Result::ok) {
            if std::mem::take(&mut is_first) {
                pass_on(client, TcpStream::connect(("127.0.0.1", behind)).unwrap());
                continue;
            }
            // From the second on somebody else answers, who knows no AUTH.
            answer_without_auth(client, &heard);
        }
    });
    let remote = connect(port, Encryption::Prefer(client(port, authority()))).unwrap();
    assert!(remote.connections().unwrap().encryption.is_some());
    server.stop();
    assert!(remote.list(&RemotePath::root()).is_err());
    let said = said.lock().unwrap();
    assert!(said.contains("AUTH TLS") && !said.contains("USER") && !said.contains("PASS"), "{said}");
}

fn pass_on(client: TcpStream, server: TcpStream) {
    for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    }
}

fn answer_without_auth(mut client: TcpStream, heard: &Mutex<String>) {
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = client.write_all(b"220 (vsFTPd)\r\n");
    let mut buffer = [0; 1024];
    while let Ok(len @ 1..) = client.read(&mut buffer) {
        heard.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
        let _ = client.write_all(b"502 Unknown\r\n");
    }
}

fn with_server<R>(behaviour: Behaviour, test: impl FnOnce(Result<FtpRemote, RemoteError>) -> R) -> R {
    let folder = TempDir::new().unwrap();
    let server = TlsServer::start(folder.path(), behaviour);
    test(explicit(server.port(), authority()))
}

fn read_all(remote: &FtpRemote) -> Result<Vec<u8>, RemoteError> {
    let mut stream = remote.open_read(&path("/file"), 0)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

#[test]
fn download_without_close_notify_counts_with_its_size_only() {
    let whole = Behaviour { sent: usize::MAX, ..Behaviour::default() };
    assert_eq!(with_server(whole, |remote| read_all(&remote.unwrap())).unwrap(), CONTENT);
    let rude = Behaviour { leaves_out_close_notify: true, ..whole };
    assert_eq!(with_server(rude, |remote| read_all(&remote.unwrap())).unwrap(), CONTENT);
    // What somebody between could have made of it: shorter, and with the server's 226.
    for sent in [0, 1, CONTENT.len() - 1] {
        let cut = Behaviour { sent, ..rude };
        let error = with_server(cut, |remote| read_all(&remote.unwrap())).unwrap_err();
        assert!(matches!(error, RemoteError::Interrupted { .. }), "{sent}: {error:?}");
    }
}

#[test]
fn listing_without_close_notify_is_an_error_and_no_short_listing() {
    let whole = Behaviour { sent: usize::MAX, ..Behaviour::default() };
    let listing = |behaviour| with_server(behaviour, |remote| remote.unwrap().list(&RemotePath::root()));
    assert_eq!(listing(whole).unwrap().entries.len(), 1);
    for sent in [0, usize::MAX] {
        assert!(listing(Behaviour { leaves_out_close_notify: true, sent, ..whole }).is_err(), "{sent}");
    }
}

#[test]
fn files_in_clear_text_are_refused_with_an_encrypted_login() {
    let refuses = Behaviour { refuses_protection: true, sent: usize::MAX, ..Behaviour::default() };
    assert!(matches!(with_server(refuses, refused), TlsError::DataInClear { .. }));
    let lies = Behaviour { data_in_clear: true, sent: usize::MAX, ..Behaviour::default() };
    let error = with_server(lies, |remote| read_all(&remote.unwrap())).unwrap_err();
    assert!(matches!(error, RemoteError::Encryption(TlsError::NotTls(_))), "{error:?}");
}

/// The program, asked to mount; what ends before it has mounted anything.
fn ftpfs(options: &[&str], url: &str) -> Output {
    let mountpoint = TempDir::new().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_ftpfs"))
        .args(["-f", "--password-stdin", "--connect-timeout=5s"])
        .args(options)
        .arg(url)
        .arg(mountpoint.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(process.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    process.wait_with_output().unwrap()
}

#[test]
fn refusals_have_exit_code_10_and_say_what_helps() {
    let Some(server) = start(CertificateKind::SelfSignedAuthority) else { return };
    let certificate = server.tls().unwrap().1.certificate.clone();
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&certificate)
        .output()
        .map(|output| String::from_utf8(output.stdout).unwrap());
    let output = ftpfs(&[], &server.url());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(10), "{text}");
    assert!(text.contains("is signed by nobody but itself"), "{text}");
    let pin = text.split("--cert-fingerprint=").nth(1).unwrap().split_whitespace().next().unwrap();
    if let Ok(shown) = shown {
        let other: Fingerprint = shown.trim().rsplit('=').next().unwrap().parse().unwrap();
        assert_eq!(other.to_string(), pin, "the fingerprint is the one that openssl shows");
    }
    let last = if pin.ends_with('0') { '1' } else { '0' };
    let other = format!("--cert-fingerprint={}{last}", &pin[..pin.len() - 1]);
    let clear = server.url().replace("ftpes://", "ftp://");
    let implicit = server.url().replace("ftpes://", "ftps://");
    for (options, url, words) in [
        (&[other.as_str()][..], &server.url(), "is not the one that was asked for"),
        (&["--ca-file=/nonexistent.pem"], &server.url(), "/nonexistent.pem cannot be used"),
        (&[], &clear, "Write ftpes:// instead of ftp://"),
        (&["--tls=off"], &clear, "refuses a login that is not encrypted"),
        (&["--insecure"], &implicit, "does not speak TLS"),
    ] {
        let output = ftpfs(options, url);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(10), "{options:?} {url}: {text}");
        assert!(text.contains(words), "{options:?} {url}: {text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

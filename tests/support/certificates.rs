//! Certificates for the servers of the tests, made when they are asked for: good ones, and one for each way to be bad.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CertificateKind {
    /// Nothing: for 127.0.0.1, ::1 and localhost, signed by [`authority_file`].
    #[default]
    Good,
    /// It ran out in 2001.
    Expired,
    /// It begins in 2090.
    NotYetValid,
    /// It is for ftp.elsewhere.example.
    OtherName,
    /// As [`Self::Good`], and signed by an authority that nobody trusts.
    OtherAuthority,
    /// Signed by itself.
    SelfSigned,
    /// Signed by itself and marked as an authority, as `openssl req -x509` makes it.
    SelfSignedAuthority,
}

/// A server's certificate and key, in files.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    /// The certificate (PEM).
    pub(crate) certificate: PathBuf,
    /// The key (PEM).
    pub(crate) key: PathBuf,
    /// Both in one.
    pub(crate) both: PathBuf,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::default()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("Authority of the tests"))
}

/// The certificate of the authority that the good ones are signed by; one for each test program.
pub(crate) fn authority_file() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authorities");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.pem", std::process::id()));
        fs::write(&path, &authority().pem).unwrap();
        path
    })
    .clone()
}

/// Makes a certificate and writes it to `folder`.
pub(crate) fn make(kind: CertificateKind, folder: &Path) -> CertificateFiles {
    let names = match kind {
        CertificateKind::OtherName => vec!["ftp.elsewhere.example".to_owned()],
        _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()],
    };
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "server of a test");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    match kind {
        CertificateKind::Expired => params.not_after = date_time_ymd(2001, 9, 9),
        CertificateKind::NotYetValid => params.not_before = date_time_ymd(2090, 1, 2),
        CertificateKind::SelfSignedAuthority => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        _ => {}
    }
    let key = KeyPair::generate().unwrap();
    let certificate = match kind {
        CertificateKind::SelfSigned | CertificateKind::SelfSignedAuthority => params.self_signed(&key).unwrap(),
        CertificateKind::OtherAuthority => params.signed_by(&key, &Authority::new("Another authority").issuer).unwrap(),
        _ => params.signed_by(&key, &authority().issuer).unwrap(),
    };
    let files = CertificateFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
        both: folder.join("both.pem"),
    };
    fs::write(&files.certificate, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::write(&files.both, certificate.pem() + &key.serialize_pem()).unwrap();
    files
}

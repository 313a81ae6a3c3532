//! What we know of the server: what it said of itself, and what it has shown.
//!
//! One profile for each pool, shared by its sessions. FEAT and the banner are hints; a [`Verdict`] is proved by
//! use, and later sessions begin with what earlier ones found.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::RwLock;

use super::encryption::TlsFindings;
use super::spare::{SpareFindings, SpareKeeper};
use super::traffic::Traffic;
use crate::protocol::{Features, RemotePath, Reply};

/// Whether the server can do a thing, as far as it has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not tried yet.
    Unknown,
    /// It has done it.
    Yes,
    /// It has refused it as unknown, or done it wrong.
    No,
}

/// A [`Verdict`] that any thread may read and change.
#[derive(Debug, Default)]
pub struct VerdictCell(AtomicU8);

impl VerdictCell {
    /// What is known.
    pub fn get(&self) -> Verdict {
        match self.0.load(Ordering::Relaxed) {
            0 => Verdict::Unknown,
            1 => Verdict::Yes,
            _ => Verdict::No,
        }
    }

    /// Remembers what the server has shown.
    pub fn learn(&self, verdict: Verdict) {
        let number = match verdict {
            Verdict::Unknown => 0,
            Verdict::Yes => 1,
            Verdict::No => 2,
        };
        self.0.store(number, Ordering::Relaxed);
    }

    /// Remembers whether it worked.
    pub fn learn_if(&self, worked: bool) {
        self.learn(if worked { Verdict::Yes } else { Verdict::No });
    }

    /// Whether it has been refused or done wrong; what is not known may be tried.
    pub fn is_no(&self) -> bool {
        self.get() == Verdict::No
    }

    /// Whether it has been done.
    pub fn is_yes(&self) -> bool {
        self.get() == Verdict::Yes
    }
}

/// Which program the banner names. For choices of speed and spelling; never for what is true of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// vsftpd.
    Vsftpd,
    /// ProFTPD.
    ProFtpd,
    /// Pure-FTPd.
    PureFtpd,
    /// pyftpdlib.
    Pyftpdlib,
    /// Microsoft's.
    Iis,
    /// FileZilla Server.
    FileZilla,
    /// One of the many others, or one that does not say.
    Other,
}

/// What is known of the server.
#[derive(Debug, Default)]
pub struct ServerProfile {
    banner: OnceLock<(String, ServerKind)>,
    features: RwLock<Option<Arc<Features>>>,
    login_directory: RwLock<Option<RemotePath>>,
    /// What has gone over its connections: every session has the profile at hand.
    pub traffic: Traffic,
    /// Several commands in flight keep their order.
    pub pipelining: VerdictCell,
    /// Logins in few packets, USER before the greeting.
    pub logs_in_at_once: VerdictCell,
    /// EPSV, and a data connection to its port.
    pub epsv: VerdictCell,
    /// PASV, and a data connection to its port.
    pub pasv: VerdictCell,
    /// EPRT; PORT is what is left.
    pub eprt: VerdictCell,
    /// REST before RETR, with the bytes from there on.
    pub restart: VerdictCell,
    /// RANG before RETR.
    pub rang: VerdictCell,
    /// Commands behind a transfer are answered while it runs.
    pub answers_during_transfer: VerdictCell,
    /// MLSD.
    pub mlsd: VerdictCell,
    /// MLST.
    pub mlst: VerdictCell,
    /// LIST shows names that begin with a dot if asked with `-a`, and takes that for an option.
    pub list_all: VerdictCell,
    /// STAT with a directory lists it.
    pub stat_listing: VerdictCell,
    /// SIZE.
    pub size: VerdictCell,
    /// MDTM.
    pub mdtm: VerdictCell,
    /// MFMT.
    pub mfmt: VerdictCell,
    /// MFF with `modify`.
    pub mff: VerdictCell,
    /// SITE UTIME with the time first.
    pub site_utime_time_first: VerdictCell,
    /// SITE UTIME with the path first.
    pub site_utime_path_first: VerdictCell,
    /// MDTM with a time sets it.
    pub mdtm_set: VerdictCell,
    /// SITE CHMOD.
    pub site_chmod: VerdictCell,
    /// SITE SYMLINK.
    pub site_symlink: VerdictCell,
    /// AVBL.
    pub avbl: VerdictCell,
    /// SITE QUOTA.
    pub site_quota: VerdictCell,
    /// APPE puts bytes behind those that are there.
    pub append: VerdictCell,
    /// REST before STOR keeps the bytes before the offset, and puts those that are sent from there on.
    pub restart_store: VerdictCell,
    /// And then it keeps what lies behind them, too; others end the file there.
    pub restart_keeps_tail: VerdictCell,
    /// RNTO replaces a file that has the name.
    pub rename_replaces: VerdictCell,
    /// Its TLS.
    pub tls: TlsFindings,
    /// Data connections opened ahead.
    pub(super) spares: SpareFindings,
    /// Who sees to them.
    pub(super) spare_keeper: Arc<SpareKeeper>,
}

impl ServerProfile {
    /// The greeting of the first session; empty before it.
    pub fn banner(&self) -> &str {
        self.banner.get().map_or("", |(banner, _)| banner.as_str())
    }

    /// Which program it is, by its banner.
    pub fn kind(&self) -> ServerKind {
        self.banner.get().map_or(ServerKind::Other, |(_, kind)| *kind)
    }

    /// What FEAT listed after login; nothing before it.
    pub fn features(&self) -> Arc<Features> {
        self.features.read().clone().unwrap_or_default()
    }

    /// Where a login begins (PWD); the root where the server did not say it in a form we know.
    pub fn login_directory(&self) -> RemotePath {
        self.login_directory.read().clone().unwrap_or_else(RemotePath::root)
    }

    pub(crate) fn has_features(&self) -> bool {
        self.features.read().is_some()
    }

    pub(crate) fn set_features(&self, features: Features) {
        *self.features.write() = Some(Arc::new(features));
    }

    pub(crate) fn set_login_directory(&self, directory: RemotePath) {
        *self.login_directory.write() = Some(directory);
    }

    /// Takes a session's greeting. Returns which program this session talks to: [`ServerKind::Other`], with the care that goes with it,
    /// where it is not the one that greeted first. A farm has several programs behind one name.
    pub(crate) fn set_banner(&self, greeting: &Reply) -> ServerKind {
        let kind = kind_of(&greeting.text());
        let (_, first) = self.banner.get_or_init(|| (greeting.text(), kind));
        if *first == kind { kind } else { ServerKind::Other }
    }
}

fn kind_of(banner: &str) -> ServerKind {
    let banner = banner.to_ascii_lowercase();
    [
        ("vsftpd", ServerKind::Vsftpd),
        ("proftpd", ServerKind::ProFtpd),
        ("pure-ftpd", ServerKind::PureFtpd),
        ("pyftpdlib", ServerKind::Pyftpdlib),
        ("microsoft ftp", ServerKind::Iis),
        ("filezilla server", ServerKind::FileZilla),
    ]
    .into_iter()
    .find(|(name, _)| banner.contains(name))
    .map_or(ServerKind::Other, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_banners() {
        for (banner, kind) in [
            ("(vsFTPd 3.0.3)", ServerKind::Vsftpd),
            ("ProFTPD Server (Debian) [::ffff:127.0.0.1]", ServerKind::ProFtpd),
            ("---------- Welcome to Pure-FTPd [privsep] [TLS] ----------", ServerKind::PureFtpd),
            ("pyftpdlib 1.5.7 ready.", ServerKind::Pyftpdlib),
            ("Welcome", ServerKind::Other),
        ] {
            assert_eq!(kind_of(banner), kind, "{banner}");
        }
    }

    #[test]
    fn verdict_is_what_was_learned_last() {
        let cell = VerdictCell::default();
        assert_eq!(cell.get(), Verdict::Unknown);
        cell.learn_if(true);
        assert!(cell.is_yes());
        cell.learn_if(false);
        assert!(cell.is_no());
    }
}

//! Real FTP servers for the tests: started on 127.0.0.1 with an account and a folder of their own, and gone with the test.
//!
//! `scripts/servers` fetches vsftpd, proftpd, pure-ftpd and pyftpdlib; the embedded one (libunftp) runs in this process and
//! needs nothing but cargo. Where one cannot be had, [`Server::start`] says so on the terminal and gives `None`; with
//! `FTPFS_TESTS_NEED_SERVERS=1` in the environment, as `scripts/check` has it, it panics instead.
//!
//! The first three fork a process for each client, so killing the one we started would not be enough: each
//! server is the first process of a PID namespace, and the kernel ends all of them with it, also when the test is killed.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "a test's way to fail")]

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use ftpfs::connection::{TlsClient, TlsOptions, Trust};
use ftpfs::pool::{Encryption, ServerOptions};
use ftpfs::protocol::Secret;
use tempfile::TempDir;

#[path = "certificates.rs"]
pub(crate) mod certificates;
#[path = "embedded.rs"]
mod embedded;

use certificates::{CertificateFiles, CertificateKind};

/// The account's name on every server.
pub(crate) const USER: &str = "tester";
/// Its password, with bytes that a URL would have to escape.
pub(crate) const PASSWORD: &str = "right #1 p@ss";
/// The same as crypt(3) keeps it.
const PASSWORD_HASH: &str =
    "$6$ftpfstests$9aPpIi80hpA4LtSfNelP4mYIg8ibVtlbZzMwXXjkCD2fOdooNpYg4IuWUNpcRuwNZuuekQw69JQPWA62p.DQD1";
/// Whom the servers run as and whom the files belong to: nobody, in Debian.
const SERVER_UID: u32 = 65534;

/// How long a server may take to listen, or to be gone.
const SERVER_DEADLINE: Duration = Duration::from_secs(20);
/// How often a condition is looked at again while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The servers that each test of the mount runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    Vsftpd,
    Proftpd,
    PureFtpd,
    Pyftpdlib,
    /// libunftp, in this process.
    Embedded,
}

impl ServerKind {
    pub(crate) const ALL: [Self; 5] = [Self::Vsftpd, Self::Proftpd, Self::PureFtpd, Self::Pyftpdlib, Self::Embedded];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vsftpd => "vsftpd",
            Self::Proftpd => "proftpd",
            Self::PureFtpd => "pure-ftpd",
            Self::Pyftpdlib => "pyftpdlib",
            Self::Embedded => "embedded",
        }
    }

    /// Why this server cannot be started here, if so.
    fn missing(self) -> Option<String> {
        let program = match self {
            Self::Embedded => return None,
            Self::Vsftpd | Self::Proftpd | Self::PureFtpd => tree().join("usr/sbin").join(self.name()),
            Self::Pyftpdlib => venv_python(),
        };
        if !program.exists() {
            return Some(format!("{} is not there (scripts/servers fetches it)", program.display()));
        }
        if !is_root() && self != Self::Pyftpdlib {
            return Some("only root can start it".to_owned());
        }
        None
    }
}

/// What a server is told beside its port and folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerSettings {
    /// How many control connections it takes at once. The embedded server has no such limit and ignores it.
    pub(crate) connections_max: Option<u32>,
    /// After how much silence it closes a control connection; whole seconds. Pure-FTPd knows minutes only and ignores it.
    pub(crate) idle_timeout: Option<Duration>,
    /// How many KiB a second it gives each transfer: vsftpd and proftpd only.
    pub(crate) kib_per_second: Option<u32>,
    /// After how many entries it cuts a listing short: Pure-FTPd only.
    pub(crate) listing_max: Option<u32>,
    /// Whether it lets uploads begin within a file: ProFTPD only; of the others some always do.
    pub(crate) restarted_uploads: bool,
    /// Whether it listens on ::1 instead of 127.0.0.1.
    pub(crate) ipv6: bool,
    /// Its TLS; without it, clear text. `FTPFS_TESTS_TLS=1.2` or `=1.3` in the environment gives it to all but the embedded one.
    pub(crate) tls: Option<TlsSettings>,
}

/// How a server encrypts. It takes nothing in clear text, and where it can insist that data connections resume the session of their control
/// connection and end in order, it does.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) version: TlsVersion,
    /// TLS from the first byte: vsftpd and proftpd only.
    pub(crate) implicit: bool,
    pub(crate) certificate: CertificateKind,
    /// Whether it wants a certificate from the client, signed by the authority of the tests: vsftpd and proftpd only.
    pub(crate) wants_certificate: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TlsVersion {
    #[default]
    Both,
    /// 1.1, which nobody should speak any more.
    Tls11,
    Tls12,
    Tls13,
}

impl TlsSettings {
    pub(crate) fn of(version: TlsVersion) -> Self {
        Self { version, ..Self::default() }
    }

    /// What all servers are given that are not told otherwise.
    fn of_environment(kind: ServerKind) -> Option<Self> {
        let value = std::env::var("FTPFS_TESTS_TLS").ok().filter(|value| !value.is_empty())?;
        let version = match value.as_str() {
            "1.2" => TlsVersion::Tls12,
            "1.3" => TlsVersion::Tls13,
            other => panic!("FTPFS_TESTS_TLS is 1.2 or 1.3, and not {other}"),
        };
        (kind != ServerKind::Embedded).then(|| Self::of(version))
    }
}

/// A server that runs, or has been stopped and can run again on the same port.
pub(crate) struct Server {
    kind: ServerKind,
    settings: ServerSettings,
    port: u16,
    /// Holds the folder of the account, and beside it the server's configuration.
    home: TempDir,
    certificate: Option<CertificateFiles>,
    running: Option<Running>,
}

enum Running {
    Process(Child),
    Embedded(embedded::EmbeddedServer),
}

impl Server {
    /// Starts a server with an empty folder, and returns when it listens.
    ///
    /// `None` where it cannot be had here, after saying so on the terminal.
    ///
    /// # Panics
    /// Where it does not start; where it cannot be had, and the environment says that it must.
    pub(crate) fn start(kind: ServerKind, settings: ServerSettings) -> Option<Self> {
        if let Some(reason) = kind.missing() {
            skip(kind, &reason);
            return None;
        }
        let home = TempDir::with_prefix("ftpfs-server-").unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o711)).unwrap();
        let folder = home.path().join("files");
        fs::create_dir(&folder).unwrap();
        if is_root() && kind != ServerKind::Embedded {
            chown(&folder, Some(SERVER_UID), Some(SERVER_UID)).unwrap();
        }
        let mut settings = settings;
        settings.tls = settings.tls.or_else(|| TlsSettings::of_environment(kind));
        let certificate = settings.tls.as_ref().map(|tls| certificates::make(tls.certificate, home.path()));
        let mut server = Self { kind, settings, port: free_port(), home, certificate, running: None };
        server.restart();
        Some(server)
    }

    pub(crate) fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The account's root as it lies on the disk: what is here is what the server has.
    pub(crate) fn folder(&self) -> PathBuf {
        self.home.path().join("files")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address it listens on.
    pub(crate) fn host(&self) -> &'static str {
        if self.settings.ipv6 { "::1" } else { "127.0.0.1" }
    }

    /// The URL of the account's root, without the password.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same, by another port that leads here.
    pub(crate) fn url_at(&self, port: u16) -> String {
        let scheme = match &self.settings.tls {
            None => "ftp",
            Some(tls) if tls.implicit => "ftps",
            Some(_) => "ftpes",
        };
        if self.settings.ipv6 {
            return format!("{scheme}://{USER}@[{}]:{}/", self.host(), port);
        }
        format!("{scheme}://{USER}@{}:{}/", self.host(), port)
    }

    /// What a client needs to log in, encrypted where the server is. Its certificate is not looked at.
    pub(crate) fn options(&self) -> ServerOptions {
        let mut options = ServerOptions::new(self.host());
        options.port = self.port();
        options.user = USER.as_bytes().into();
        options.password = Secret::new(PASSWORD);
        if self.tls().is_some() {
            let tls = TlsOptions { trust: Trust::Anything, ..TlsOptions::default() };
            let client = TlsClient::new(self.host(), self.port(), &tls).unwrap();
            options.encryption = Encryption::Explicit(client);
        }
        options
    }

    /// Its TLS, and the files with its certificate.
    pub(crate) fn tls(&self) -> Option<(&TlsSettings, &CertificateFiles)> {
        Some((self.settings.tls.as_ref()?, self.certificate.as_ref()?))
    }

    /// Makes all below `path` in the server's folder the server's own, so that it may change what a test put there.
    pub(crate) fn give(&self, path: impl AsRef<Path>) {
        if is_root() && self.kind != ServerKind::Embedded {
            give(&self.folder().join(path));
        }
    }

    /// Ends the server at once, as a crash would, with all of its connections.
    pub(crate) fn stop(&mut self) {
        match self.running.take() {
            None => return,
            Some(Running::Process(mut child)) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Some(Running::Embedded(server)) => server.stop(),
        }
        wait_until(&format!("{} is gone", self.kind.name()), || !is_listening(self.port));
    }

    /// Starts the server again, on the same port and folder; stops it first where it runs.
    pub(crate) fn restart(&mut self) {
        self.stop();
        if self.kind == ServerKind::Embedded {
            let server =
                embedded::EmbeddedServer::start(self.folder(), self.host(), self.port, self.settings.idle_timeout);
            self.running = Some(Running::Embedded(server));
        } else {
            let command = self.command();
            self.running = Some(Running::Process(spawn(command)));
        }
        let started = Instant::now();
        while !is_listening(self.port) {
            if let Some(Running::Process(child)) = &mut self.running {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "{} ended at once: {}", self.kind.name(), self.log());
            }
            assert!(started.elapsed() < SERVER_DEADLINE, "{} does not listen: {}", self.kind.name(), self.log());
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    /// What the server has written to its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).map_or_else(
            |error| format!("(no log: {error})"),
            |text| format!("its log {} says:\n{text}", self.log_path().display()),
        )
    }

    fn log_path(&self) -> PathBuf {
        let folder = target().join("tmp/servers");
        fs::create_dir_all(&folder).unwrap();
        folder.join(format!("{}-{}-{}.log", self.kind.name(), std::process::id(), self.port))
    }

    fn command(&self) -> Command {
        let server = match self.kind {
            ServerKind::Vsftpd => self.vsftpd(),
            ServerKind::Proftpd => self.proftpd(),
            ServerKind::PureFtpd => self.pure_ftpd(),
            ServerKind::Pyftpdlib => self.pyftpdlib(),
            ServerKind::Embedded => unreachable!("it is no process"),
        };
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            // The shell is the namespace's first process and not the server: the kernel forgets whose death is to kill a
            // process as soon as that changes its user, as servers do. The namespace begins with a copy of every mount, and
            // a mount lives until its last copy is gone: those of ftpfs must not wait for the server's end.
            let script = "umount -a -l -t fuse.ftpfs; \"$@\" & wait";
            command.args(["unshare", "--mount", "--pid", "--kill-child=KILL", "sh", "-c", script, "sh"]);
        }
        command.args(server);
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.env("LD_LIBRARY_PATH", libraries()).env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        if let Some(tls) = &self.settings.tls {
            command.env("OPENSSL_CONF", self.openssl_configuration(tls.version));
        }
        command
    }

    /// All of them use OpenSSL, and this one way to say which versions it may speak.
    fn openssl_configuration(&self, version: TlsVersion) -> PathBuf {
        let (least, most) = match version {
            TlsVersion::Both => ("TLSv1.2", "TLSv1.3"),
            TlsVersion::Tls11 => ("TLSv1.1", "TLSv1.1"),
            TlsVersion::Tls12 => ("TLSv1.2", "TLSv1.2"),
            TlsVersion::Tls13 => ("TLSv1.3", "TLSv1.3"),
        };
        let path = self.home.path().join("openssl.cnf");
        let text = format!(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = limits\n[limits]\n\
             MinProtocol = {least}\nMaxProtocol = {most}\nCipherString = DEFAULT:@SECLEVEL=0\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    /// vsftpd asks PAM and the list of users: private mounts put ours in the place of both.
    fn vsftpd(&self) -> Vec<String> {
        let home = self.home.path();
        let pam = home.join("pam.d");
        fs::create_dir_all(&pam).unwrap();
        // No module that forks (pam_exec): vsftpd waits in its SIGCHLD handler, for good once somebody else has reaped the child.
        fs::write(pam.join("ftpfs"), "auth required pam_unix.so\naccount required pam_permit.so\n").unwrap();
        let shadow = home.join("shadow");
        fs::write(&shadow, format!("{USER}:{PASSWORD_HASH}:19000:0:99999:7:::\n")).unwrap();
        fs::set_permissions(&shadow, Permissions::from_mode(0o600)).unwrap();
        let users = home.join("passwd");
        let account = format!("{USER}:x:{SERVER_UID}:{SERVER_UID}::{}:/bin/sh\n", self.folder().display());
        fs::write(&users, fs::read_to_string("/etc/passwd").unwrap() + &account).unwrap();
        let mut lines = format!(
            "{listen}\nlisten_port={port}\nbackground=NO\n\
             anonymous_enable=NO\nlocal_enable=YES\npam_service_name=ftpfs\nchroot_local_user=YES\nallow_writeable_chroot=YES\n\
             write_enable=YES\nlocal_umask=022\nsecure_chroot_dir={empty}\nxferlog_enable=NO\n\
             delay_failed_login=0\nmax_login_fails=3\n",
            listen = match self.settings.ipv6 {
                true => "listen=NO\nlisten_ipv6=YES\nlisten_address6=::1",
                false => "listen=YES\nlisten_address=127.0.0.1",
            },
            port = self.port,
            empty = pam.display(),
        );
        if let Some(limit) = self.settings.connections_max {
            lines += &format!("max_clients={limit}\n");
        }
        if let Some(idle) = self.settings.idle_timeout {
            lines += &format!("idle_session_timeout={}\n", idle.as_secs());
        }
        if let Some(rate) = self.settings.kib_per_second {
            lines += &format!("local_max_rate={}\n", rate * 1024);
        }
        if let Some((tls, files)) = self.tls() {
            // `tlsv1` means all of them. What it asks of data connections is the strictest that it knows.
            lines += &format!(
                "ssl_enable=YES\nssl_tlsv1=YES\nssl_sslv2=NO\nssl_sslv3=NO\nssl_ciphers=DEFAULT:@SECLEVEL=0\n\
                 rsa_cert_file={}\nrsa_private_key_file={}\nimplicit_ssl={}\n\
                 require_ssl_reuse=YES\nstrict_ssl_read_eof=YES\nstrict_ssl_write_shutdown=YES\n",
                files.certificate.display(),
                files.key.display(),
                if tls.implicit { "YES" } else { "NO" },
            );
            if tls.wants_certificate {
                lines += &format!(
                    "require_cert=YES\nvalidate_cert=YES\nca_certs_file={}\n",
                    authority(&home.join("ca.pem"))
                );
            }
        }
        let configuration = home.join("vsftpd.conf");
        fs::write(&configuration, lines).unwrap();
        strings([
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/pam.d && mount --bind \"$1\" /etc/passwd && mount --bind \"$2\" /etc/shadow && \
             shift 2 && exec \"$@\"",
            text(&pam),
            text(&users),
            text(&shadow),
            text(&tree().join("usr/sbin/vsftpd")),
            text(&configuration),
        ])
    }

    fn proftpd(&self) -> Vec<String> {
        let home = self.home.path();
        let users = home.join("users");
        fs::write(
            &users,
            format!("{USER}:{PASSWORD_HASH}:{SERVER_UID}:{SERVER_UID}::{}:/bin/sh\n", self.folder().display()),
        )
        .unwrap();
        fs::set_permissions(&users, Permissions::from_mode(0o600)).unwrap();
        let mut lines = format!(
            "ServerType standalone\nDefaultAddress {host}\nUseIPv6 {ipv6}\nPort {port}\nUser nobody\nGroup nogroup\n\
             ModulePath {modules}\nLoadModule mod_site_misc.c\n\
             AuthOrder mod_auth_file.c\nAuthUserFile {users}\nRequireValidShell off\nDefaultRoot ~\nUmask 022\n\
             UseReverseDNS off\nWtmpLog off\nTransferLog none\nAllowOverwrite on\nMaxInstances 60\n\
             SystemLog {home}/proftpd.log\nScoreboardFile {home}/scoreboard\nPidFile {home}/pid\nDelayEngine off\n",
            host = self.host(),
            ipv6 = if self.settings.ipv6 { "on" } else { "off" },
            port = self.port,
            modules = tree().join("usr/lib/proftpd").display(),
            users = users.display(),
            home = home.display(),
        );
        if let Some(limit) = self.settings.connections_max {
            lines += &format!("MaxClients {limit}\n");
        }
        if let Some(idle) = self.settings.idle_timeout {
            lines += &format!("TimeoutIdle {}\n", idle.as_secs());
        }
        if let Some(rate) = self.settings.kib_per_second {
            lines += &format!("TransferRate RETR,STOR,APPE {rate}\n");
        }
        if self.settings.restarted_uploads {
            lines += "AllowStoreRestart on\n";
        }
        if let Some((tls, files)) = self.tls() {
            let versions = match tls.version {
                TlsVersion::Both => "TLSv1.2 TLSv1.3",
                TlsVersion::Tls11 => "TLSv1.1",
                TlsVersion::Tls12 => "TLSv1.2",
                TlsVersion::Tls13 => "TLSv1.3",
            };
            lines += &format!(
                "LoadModule mod_tls.c\nTLSEngine on\nTLSRequired on\nTLSProtocol {versions}\nTLSCipherSuite DEFAULT:@SECLEVEL=0\n\
                 TLSECCertificateFile {}\nTLSECCertificateKeyFile {}\nTLSLog {}\n{}",
                files.certificate.display(),
                files.key.display(),
                home.join("tls.log").display(),
                if tls.implicit { "TLSOptions UseImplicitSSL\n" } else { "" },
            );
            fs::set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
            if tls.wants_certificate {
                lines += &format!("TLSVerifyClient on\nTLSCACertificateFile {}\n", authority(&home.join("ca.pem")));
            }
        }
        let configuration = home.join("proftpd.conf");
        fs::write(&configuration, lines).unwrap();
        strings([text(&tree().join("usr/sbin/proftpd")), "--nodaemon", "--config", text(&configuration)])
    }

    fn pure_ftpd(&self) -> Vec<String> {
        let home = self.home.path();
        let users = home.join("users");
        fs::write(
            &users,
            format!("{USER}:{PASSWORD_HASH}:{SERVER_UID}:{SERVER_UID}::{}/./::::::::::::\n", self.folder().display()),
        )
        .unwrap();
        let database = home.join("users.pdb");
        let made = Command::new(tree().join("usr/bin/pure-pw"))
            .env("LD_LIBRARY_PATH", libraries())
            .args(["mkdb", text(&database), "-f", text(&users)])
            .status()
            .unwrap();
        assert!(made.success(), "pure-pw mkdb failed");
        let mut arguments = strings([
            text(&tree().join("usr/sbin/pure-ftpd")),
            if self.settings.ipv6 { "-6" } else { "-4" },
            "-A",
            "-E",
            "-H",
            "-f",
            "none",
            "-U",
            "133:022",
            "-u",
            "100",
        ]);
        arguments.extend(["-S".to_owned(), format!("{},{}", self.host(), self.port)]);
        arguments.extend(["-l".to_owned(), format!("puredb:{}", database.display())]);
        arguments.extend(["-g".to_owned(), home.join("pid").display().to_string()]);
        if let Some((_, files)) = self.tls() {
            // Nothing in clear text, neither commands nor files.
            arguments.extend(strings(["-Y", "3", "-2", text(&files.both)]));
        }
        if let Some(limit) = self.settings.connections_max {
            arguments.extend(["-c".to_owned(), limit.to_string()]);
        }
        if let Some(limit) = self.settings.listing_max {
            arguments.extend(["-L".to_owned(), format!("{limit}:10")]);
        }
        arguments
    }

    fn pyftpdlib(&self) -> Vec<String> {
        let settings = format!(
            r#"{{"host": "{}", "port": {}, "folder": "{}", "user": "{USER}", "password": "{PASSWORD}", "uid": {SERVER_UID}, "idle_seconds": {}, "connections_max": {}, "certificate": "{}"}}"#,
            self.host(),
            self.port,
            self.folder().display(),
            self.settings.idle_timeout.map_or(0, |idle| idle.as_secs()),
            self.settings.connections_max.unwrap_or(0),
            self.tls().map_or(String::new(), |(_, files)| files.both.display().to_string()),
        );
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/pyftpdlib_server.py");
        strings([text(&venv_python()), text(&program), &settings])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that fails is about to show why; a second panic here would abort it.
        match self.running.take() {
            None => {}
            Some(Running::Process(mut child)) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Some(Running::Embedded(server)) => server.stop(),
        }
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// With `what` where it does not within [`SERVER_DEADLINE`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < SERVER_DEADLINE, "not within {SERVER_DEADLINE:?}: {what}");
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// A port of 127.0.0.1 that nobody listens on and that no other test of this process gets.
///
/// Below the range that the kernel hands out by itself, so that it stays free while a server is restarted.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let begin = u16::try_from(std::process::id().wrapping_mul(977) % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (begin + step) % COUNT;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1");
}

/// Says on the terminal, past the test runner's capture, that a test did not run; or fails where it must run.
fn skip(kind: ServerKind, reason: &str) {
    let needed = std::env::var_os("FTPFS_TESTS_NEED_SERVERS").is_some_and(|value| value == "1");
    assert!(!needed, "{} is needed (FTPFS_TESTS_NEED_SERVERS=1): {reason}", kind.name());
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {}: {reason}", kind.name());
}

/// Starts a process that is killed when this one ends.
///
/// The kernel ties that to the thread that started it, not to the process; so one thread that never ends starts them all.
pub(crate) fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("server-starter".to_owned())
            .spawn(move || {
                for (mut command, answer) in received {
                    let _ = answer.send(command.spawn());
                }
            })
            .unwrap();
        Mutex::new(orders)
    });
    let (answer, answered) = mpsc::channel();
    let description = format!("{command:?}");
    starter.lock().unwrap_or_else(std::sync::PoisonError::into_inner).send((command, answer)).unwrap();
    answered.recv().unwrap().unwrap_or_else(|error| panic!("{description}: {error}"))
}

/// Whether some process listens on this port: asked of the kernel, so that it costs the server no connection.
fn is_listening(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| fs::read_to_string(table).ok()).any(|table| {
        table.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            let state = fields.nth(1).unwrap_or_default();
            state == "0A" && local.rsplit(':').next().is_some_and(|hex| u16::from_str_radix(hex, 16) == Ok(port))
        })
    })
}

fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(SERVER_UID), Some(SERVER_UID)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn target() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("target"), |folder| package.join(folder))
}

fn tree() -> PathBuf {
    target().join("servers/tree")
}

fn venv_python() -> PathBuf {
    target().join("servers/venv/bin/python3")
}

/// The folders of the libraries that were unpacked with the servers.
fn libraries() -> &'static str {
    static LIBRARIES: OnceLock<String> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        let mut folders = Vec::new();
        for parent in [tree().join("lib"), tree().join("usr/lib")] {
            for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains("linux-gnu") {
                    folders.push(entry.path().display().to_string());
                }
            }
        }
        folders.join(":")
    })
}

/// Puts the certificate of the tests' authority where a server finds it, and returns the path.
fn authority(path: &Path) -> &str {
    fs::copy(certificates::authority_file(), path).unwrap();
    text(path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn strings<const N: usize>(parts: [&str; N]) -> Vec<String> {
    parts.map(str::to_owned).to_vec()
}

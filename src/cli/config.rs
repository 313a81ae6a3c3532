//! Options as validated: what a mount needs to know, with everything checked that can be checked without the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::{
    ChownArgument, ConflictArgument, ConnectionArguments, DurabilityArgument, FileArguments, FsyncArgument,
    LinksArgument, MountArguments, PassiveAddressArgument, PassiveArgument, PrefetchArgument, WriteArguments,
};
use super::cache_directory::CacheDirectory;
use super::encryption::{EncryptionError, Wanted};
use super::handover::Logins;
use super::logging::Verbosity;
use super::state::{DiskError, DiskOptions, refuse_below};
use super::url::{ServerUrl, UrlError};
use crate::connection::{Deadlines, TlsError};
use crate::filesystem::{Durability, FilesystemOptions, Links, OnConflict};
use crate::fuse::MountOptions;
use crate::pool::{DataMode, PassiveAddressChoice, PassiveCommand, ServerOptions};

/// Connections that reading ahead leaves to writes and listings.
const CONNECTIONS_NOT_FOR_READING: u16 = 2;
/// With fewer connections deliveries in the background leave one to everybody else. With more they may have all of them for small files, which
/// come back at once.
const CONNECTIONS_FOR_DELIVERIES_MIN: u16 = 3;

/// What is wrong with the options, as a sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Whether and how it is encrypted.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// A directory on the local disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// As curl and curlftpfs have it.
    #[error(
        "--user takes a name alone, and no password behind a colon: everybody could see it; ~/.netrc or --password-file keep it secret \
         (a colon in the name itself: %3A in the URL)"
    )]
    PasswordInUser,
    /// fsync() would promise less than close().
    #[error(
        "--fsync=local needs --durability=journal: without a journal nothing on the local disk is a promise, \
         and fsync() waits for the server"
    )]
    LocalFsync,
}

/// A mount, as asked for.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// The server and the directory.
    pub(super) url: ServerUrl,
    /// Where to.
    pub(super) mountpoint: PathBuf,
    /// How it is mounted.
    pub(super) mount: MountOptions,
    /// How it behaves; where written files lie is decided when [`Self::disk`] is opened.
    pub(super) filesystem: FilesystemOptions,
    /// Where on the local disk it may write.
    pub(super) disk: DiskOptions,
    /// Where what is read is kept, if anywhere.
    pub(super) cache_directory: Option<CacheDirectory>,
    /// How long its end may take.
    pub(super) shutdown_timeout: Duration,
    /// Which lines are logged.
    pub(super) verbosity: Verbosity,
    /// Where to, if to a file.
    pub(super) log_file: Option<PathBuf>,
    connection: ConnectionArguments,
    encryption: Wanted,
}

impl Config {
    /// Checks the options and completes them with defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(super) fn new(arguments: &MountArguments) -> Result<Self, ConfigError> {
        let url = ServerUrl::parse(&arguments.url)?;
        if arguments.login.user.as_ref().is_some_and(|user| user.contains(['\r', '\n', '\0'])) {
            return Err(UrlError::LineBreak.into());
        }
        if arguments.login.user.as_ref().is_some_and(|user| user.contains(':')) {
            return Err(ConfigError::PasswordInUser);
        }
        let encryption = Wanted::new(url.scheme, &arguments.encryption)?;
        if let Some(path) = &arguments.logging.log_file {
            refuse_below(path, &arguments.mountpoint)?;
        }
        let mount = MountOptions {
            source: url.to_string(),
            allow_other: arguments.files.allow_other,
            read_only: arguments.files.ro,
            no_exec: arguments.files.noexec,
            non_empty: arguments.files.nonempty,
        };
        let verbosity = Verbosity { verbose: arguments.logging.verbose, dialogue: arguments.logging.trace_protocol };
        Ok(Self {
            url,
            mountpoint: arguments.mountpoint.clone(),
            mount,
            filesystem: filesystem_options(arguments)?,
            disk: DiskOptions::new(&arguments.writing, &arguments.files, &arguments.mountpoint)?,
            cache_directory: CacheDirectory::new(&arguments.caches, &arguments.mountpoint)?,
            shutdown_timeout: arguments.writing.shutdown_timeout,
            verbosity,
            log_file: arguments.logging.log_file.clone(),
            connection: arguments.connection.clone(),
            encryption,
        })
    }

    /// Whether the server's certificate is not checked at all.
    pub(super) fn trusts_anything(&self) -> bool {
        self.encryption.trusts_anything()
    }

    /// Which server, as whom, and how.
    ///
    /// # Errors
    /// A file with certificates or a key cannot be used.
    pub(super) fn server_options(&self, logins: Logins) -> Result<ServerOptions, TlsError> {
        let mut options = ServerOptions::new(self.url.host.clone());
        options.port = self.url.port;
        options.user = logins.server.user.into();
        options.password = logins.server.password;
        options.account = logins.server.account;
        options.proxy = logins.proxy.map(Arc::new);
        options.connections_max = usize::from(self.connection.connections);
        options.deadlines = Deadlines {
            connect: self.connection.connect_timeout,
            reply: self.connection.reply_timeout,
            data: self.connection.data_timeout,
        };
        options.operation_timeout = self.connection.timeout;
        options.idle_close = self.connection.idle_timeout;
        options.pipelining = !self.connection.no_pipelining;
        options.data_mode = data_mode(&self.connection);
        options.encryption = self.encryption.prepare(&self.url)?;
        Ok(options)
    }
}

fn data_mode(arguments: &ConnectionArguments) -> DataMode {
    if arguments.active {
        return DataMode::Active { address: arguments.active_address, ports: arguments.active_ports.clone() };
    }
    let prefer = match arguments.passive {
        PassiveArgument::Auto => PassiveCommand::Auto,
        PassiveArgument::Epsv => PassiveCommand::Epsv,
        PassiveArgument::Pasv => PassiveCommand::Pasv,
    };
    let address = match arguments.pasv_address {
        PassiveAddressArgument::Control => PassiveAddressChoice::Control,
        PassiveAddressArgument::Server => PassiveAddressChoice::Server,
    };
    DataMode::Passive { prefer, address }
}

fn filesystem_options(arguments: &MountArguments) -> Result<FilesystemOptions, ConfigError> {
    let FileArguments { uid, gid, umask, fmask, dmask, file_mode, dir_mode, .. } = arguments.files;
    let (close, fsync) = match durability(&arguments.writing)? {
        // Nothing is written, so nothing is promised.
        _ if arguments.files.ro => (Durability::Server, Durability::Server),
        promises => promises,
    };
    let connections = arguments.connection.connections;
    let all_but = |others| usize::from(connections.saturating_sub(others).max(1));
    Ok(FilesystemOptions {
        uid: uid.unwrap_or_else(|| rustix::process::getuid().as_raw()),
        gid: gid.unwrap_or_else(|| rustix::process::getgid().as_raw()),
        file_mask: fmask.or(umask).unwrap_or(0),
        directory_mask: dmask.or(umask).unwrap_or(0),
        file_mode,
        directory_mode: dir_mode,
        read_only: arguments.files.ro,
        links: match arguments.files.links {
            LinksArgument::Contained => Links::Contained,
            LinksArgument::AsTold => Links::AsTold,
        },
        ignore_owner_changes: arguments.files.chown == ChownArgument::Ignore,
        dir_timeout: arguments.caches.dir_timeout,
        attr_timeout: arguments.caches.attr_timeout,
        operation_timeout: arguments.connection.timeout,
        in_place_bytes_min: arguments.writing.in_place_min,
        cache_bytes_max: usize::try_from(arguments.caches.cache_size).unwrap_or(usize::MAX),
        prefetch: arguments.caches.prefetch == PrefetchArgument::On,
        streams_max: all_but(CONNECTIONS_NOT_FOR_READING),
        close,
        fsync,
        on_conflict: match arguments.writing.on_conflict {
            ConflictArgument::KeepBoth => OnConflict::KeepBoth,
            ConflictArgument::Ours => OnConflict::Ours,
            ConflictArgument::Theirs => OnConflict::Theirs,
        },
        deliveries_max: all_but(u16::from(connections < CONNECTIONS_FOR_DELIVERIES_MIN)),
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        ..FilesystemOptions::default()
    })
}

/// What close() and fsync() wait for.
fn durability(arguments: &WriteArguments) -> Result<(Durability, Durability), ConfigError> {
    match (arguments.durability, arguments.fsync) {
        (DurabilityArgument::Server, FsyncArgument::Server) => Ok((Durability::Server, Durability::Server)),
        (DurabilityArgument::Server, FsyncArgument::Local) => Err(ConfigError::LocalFsync),
        (DurabilityArgument::Journal, FsyncArgument::Server) => Ok((Durability::Journal, Durability::Server)),
        (DurabilityArgument::Journal, FsyncArgument::Local) => Ok((Durability::Journal, Durability::Journal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::credentials::Credentials;
    use crate::connection::{Proxy, ProxyScheme};
    use crate::protocol::Secret;
    use clap::Parser;

    fn config(options: &[&str]) -> Result<Config, ConfigError> {
        let mut line = vec!["ftpfs", "ftp://u:p@host:2121/d", "/nowhere"];
        line.extend(options);
        Config::new(&MountArguments::try_parse_from(line).unwrap())
    }

    #[test]
    fn umask_holds_for_both_unless_said_otherwise() {
        let masks = |options: &[&str]| {
            let options = config(options).unwrap().filesystem;
            (options.file_mask, options.directory_mask)
        };
        assert_eq!(masks(&[]), (0, 0));
        assert_eq!(masks(&["--umask=027"]), (0o27, 0o27));
        assert_eq!(masks(&["--umask=027", "--fmask=133"]), (0o133, 0o27));
        assert_eq!(masks(&["--dmask=022"]), (0, 0o22));
    }

    #[test]
    fn server_options_are_those_typed() {
        let credentials =
            Credentials { user: b"u".to_vec(), password: Secret::new("p"), account: Some(Secret::new("a")) };
        let options = config(&["--connections=1", "--timeout=5", "--active", "--active-ports=5000-5001"]).unwrap();
        assert_eq!(options.filesystem.streams_max, 1);
        assert_eq!(options.mount.source, "ftp://u@host:2121/d");
        let proxy = Proxy { scheme: ProxyScheme::Socks5h, host: "p".into(), port: 1080, login: None };
        let logins = Logins { server: credentials, proxy: Some(proxy.clone()) };
        let options = options.server_options(logins).unwrap();
        assert_eq!(options.proxy.as_deref(), Some(&proxy));
        assert_eq!((options.host.as_str(), options.port, options.connections_max), ("host", 2121, 1));
        assert_eq!(options.operation_timeout, Duration::from_secs(5));
        assert_eq!(options.data_mode, DataMode::Active { address: None, ports: Some(5000..=5001) });
        assert_eq!(options.account, Some(Secret::new("a")));
    }

    #[test]
    fn fsync_promises_no_less_than_close() {
        let promises =
            |options: &[&str]| config(options).map(|config| (config.filesystem.close, config.filesystem.fsync));
        let (server, journal) = (Durability::Server, Durability::Journal);
        assert_eq!(promises(&[]).unwrap(), (server, server));
        assert_eq!(promises(&["--durability=journal"]).unwrap(), (journal, server));
        assert_eq!(promises(&["--durability=journal", "--fsync=local"]).unwrap(), (journal, journal));
        assert!(matches!(promises(&["--fsync=local"]), Err(ConfigError::LocalFsync)));
    }

    #[test]
    fn deliveries_leave_a_connection_to_others_where_there_are_two() {
        let options = |options: &[&str]| config(options).unwrap().filesystem;
        let deliveries = |connections| options(&[&format!("--connections={connections}")]).deliveries_max;
        assert_eq!([1, 2, 3, 8].map(deliveries), [1, 1, 3, 8]);
        assert_eq!(options(&["--on-conflict=theirs"]).on_conflict, OnConflict::Theirs);
        assert_eq!(options(&["--on-conflict=ours"]).on_conflict, OnConflict::Ours);
        assert_eq!(options(&[]).on_conflict, OnConflict::KeepBoth);
        assert!(!options(&[]).host_name.is_empty());
    }

    #[test]
    fn directories_must_be_usable_and_not_in_the_mount() {
        let staging = config(&["--staging-dir=/nonexistent"]);
        assert!(matches!(staging, Err(ConfigError::Disk(DiskError::Staging { .. }))));
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let check = |option: &str| {
            let line = ["ftpfs", "ftp://h", folder.path().to_str().unwrap(), option];
            Config::new(&MountArguments::try_parse_from(line).unwrap())
        };
        for option in ["--staging-dir=", "--log-file=new.log", "--state-dir=", "--state-dir=a/b"] {
            let (name, path) = option.split_once('=').unwrap();
            let option = format!("{name}={}", inside.join(path).display());
            assert!(matches!(check(&option), Err(ConfigError::Disk(DiskError::BelowMountpoint(_)))), "{option}");
        }
        assert!(check("-v").is_ok());
    }
}

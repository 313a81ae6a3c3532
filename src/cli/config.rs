//! Options as validated: what a mount needs to know, with everything checked that can be checked without the server.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::{
    ChownArgument, ConnectionArguments, FileArguments, MountArguments, PassiveAddressArgument, PassiveArgument,
};
use super::credentials::Credentials;
use super::logging::Verbosity;
use super::url::{ServerUrl, UrlError};
use crate::connection::Deadlines;
use crate::filesystem::FilesystemOptions;
use crate::fuse::MountOptions;
use crate::pool::{DataMode, PassiveAddressChoice, PassiveCommand, ServerOptions};

/// Connections that reading ahead leaves to writes and listings.
const CONNECTIONS_NOT_FOR_READING: u16 = 2;
/// The least room for staging files: a few of the largest writes that the kernel makes.
const STAGING_BYTES_MIN: u64 = 4 << 20;

/// What is wrong with the options, as a sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The directory for staging files.
    #[error("files that are written cannot be kept in {} (--staging-dir): {error}", path.display())]
    StagingDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Reading or writing it would wait for ourselves.
    #[error("{} is below the mountpoint; it must lie elsewhere", .0.display())]
    BelowMountpoint(PathBuf),
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
    /// How it behaves.
    pub(super) filesystem: FilesystemOptions,
    /// How long its end may take.
    pub(super) shutdown_timeout: Duration,
    /// Which lines are logged.
    pub(super) verbosity: Verbosity,
    /// Where to, if to a file.
    pub(super) log_file: Option<PathBuf>,
    connection: ConnectionArguments,
}

impl Config {
    /// Checks the options and completes them with defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(super) fn new(arguments: &MountArguments) -> Result<Self, ConfigError> {
        let url = ServerUrl::parse(&arguments.url)?;
        let staging_dir = arguments.caches.staging_dir.clone().unwrap_or_else(default_staging_directory);
        let staging_dir = std::path::absolute(&staging_dir).unwrap_or(staging_dir);
        // A directory that cannot be written to is better found now than at the first write.
        tempfile::tempfile_in(&staging_dir)
            .map_err(|error| ConfigError::StagingDirectory { path: staging_dir.clone(), error })?;
        for path in [Some(&staging_dir), arguments.logging.log_file.as_ref()].into_iter().flatten() {
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
            filesystem: filesystem_options(arguments, staging_dir),
            shutdown_timeout: arguments.caches.shutdown_timeout,
            verbosity,
            log_file: arguments.logging.log_file.clone(),
            connection: arguments.connection.clone(),
        })
    }

    /// Which server, as whom, and how.
    pub(super) fn server_options(&self, credentials: Credentials) -> ServerOptions {
        let mut options = ServerOptions::new(self.url.host.clone());
        options.port = self.url.port;
        options.user = credentials.user.into();
        options.password = credentials.password;
        options.account = credentials.account;
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
        options
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

fn filesystem_options(arguments: &MountArguments, staging_dir: PathBuf) -> FilesystemOptions {
    let FileArguments { uid, gid, umask, fmask, dmask, file_mode, dir_mode, .. } = arguments.files;
    let streams = arguments.connection.connections.saturating_sub(CONNECTIONS_NOT_FOR_READING).max(1);
    FilesystemOptions {
        uid: uid.unwrap_or_else(|| rustix::process::getuid().as_raw()),
        gid: gid.unwrap_or_else(|| rustix::process::getgid().as_raw()),
        file_mask: fmask.or(umask).unwrap_or(0),
        directory_mask: dmask.or(umask).unwrap_or(0),
        file_mode,
        directory_mode: dir_mode,
        read_only: arguments.files.ro,
        ignore_owner_changes: arguments.files.chown == ChownArgument::Ignore,
        dir_timeout: arguments.caches.dir_timeout,
        attr_timeout: arguments.caches.attr_timeout,
        operation_timeout: arguments.connection.timeout,
        staging_bytes_max: match arguments.caches.staging_size {
            Some(size) => size.max(STAGING_BYTES_MIN),
            None => default_staging_size(&staging_dir),
        },
        staging_dir,
        cache_bytes_max: usize::try_from(arguments.caches.cache_size).unwrap_or(usize::MAX),
        streams_max: usize::from(streams),
        ..FilesystemOptions::default()
    }
}

/// Not /tmp, which is often memory: what is written may be large.
fn default_staging_directory() -> PathBuf {
    let var_tmp = Path::new("/var/tmp");
    match env::var_os("TMPDIR") {
        Some(directory) => directory.into(),
        None if var_tmp.is_dir() => var_tmp.into(),
        None => env::temp_dir(),
    }
}

/// Half of what is free there: others want to live, too.
fn default_staging_size(directory: &Path) -> u64 {
    let free = rustix::fs::statvfs(directory).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    (free / 2).max(STAGING_BYTES_MIN)
}

fn refuse_below(path: &Path, mountpoint: &Path) -> Result<(), ConfigError> {
    let whole =
        |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into());
    // A log file may not exist yet; its directory does.
    let place = match path.parent() {
        Some(parent) if !path.exists() => whole(parent),
        _ => whole(path),
    };
    if place.starts_with(whole(mountpoint)) {
        return Err(ConfigError::BelowMountpoint(path.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let options = options.server_options(credentials);
        assert_eq!((options.host.as_str(), options.port, options.connections_max), ("host", 2121, 1));
        assert_eq!(options.operation_timeout, Duration::from_secs(5));
        assert_eq!(options.data_mode, DataMode::Active { address: None, ports: Some(5000..=5001) });
        assert_eq!(options.account, Some(Secret::new("a")));
    }

    #[test]
    fn staging_directory_must_be_usable_and_not_in_the_mount() {
        assert!(matches!(config(&["--staging-dir=/nonexistent"]), Err(ConfigError::StagingDirectory { .. })));
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        let check = |options: [&str; 1]| {
            let line = ["ftpfs", "ftp://h", folder.path().to_str().unwrap(), options[0]];
            Config::new(&MountArguments::try_parse_from(line).unwrap())
        };
        let staging = format!("--staging-dir={}", inside.display());
        assert!(matches!(check([&staging]), Err(ConfigError::BelowMountpoint(_))));
        let log = format!("--log-file={}/new.log", inside.display());
        assert!(matches!(check([&log]), Err(ConfigError::BelowMountpoint(_))));
        assert!(check(["-v"]).is_ok());
    }
}

//! The life of a mount: log in, list, mount, serve until somebody unmounts or a signal comes, store what is left.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::config::Config;
use super::credentials::Credentials;
use super::exit_code::Exit;
use super::limits;
use super::messages::Failed;
use super::notify;
use crate::filesystem::{Filesystem, FilesystemError};
use crate::fuse::{Mount, MountError, Mountpoint};
use crate::protocol::RemotePath;
use crate::remote::FtpRemote;

/// Signals that end the mount; a second one ends it at once.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// What the end of a mount could not store.
type Unsaved = Vec<(RemotePath, FilesystemError)>;

/// Mounts, calls `ready`, and returns when the mount has ended.
///
/// # Errors
/// A sentence and an exit code; nothing is mounted then.
pub(super) fn run(
    config: &Config,
    credentials: Credentials,
    ready: impl FnOnce() -> std::io::Result<()>,
) -> Result<Exit, Failed> {
    // First, because it costs nothing: a wrong mountpoint should not cost a login.
    let mountpoint = Mountpoint::check(&config.mountpoint, &config.mount)?;
    limits::raise_open_files();
    let filesystem = open(config, credentials)?;
    // Only now: until here a signal may end us as it always does.
    let signals = signals()?;
    let timeout = config.filesystem.operation_timeout;
    let mount = Mount::new(Arc::clone(&filesystem), &mountpoint, &config.mount, timeout)?;
    tracing::info!(url = %config.url, mountpoint = %mountpoint.path().display(), "mounted");
    if let Err(error) = ready() {
        detach(&mount);
        return Err(Failed::new(Exit::Failure, format!("nobody waits for the mount any more: {error}")));
    }
    notify::tell_systemd("READY=1");
    let ending = serve(&mount, &filesystem, &signals, config.shutdown_timeout);
    notify::tell_systemd("STOPPING=1");
    Ok(finish(&mount, &filesystem, &signals, &ending))
}

/// Logs in and lists the directory once.
fn open(config: &Config, credentials: Credentials) -> Result<Arc<Filesystem>, Failed> {
    let user = credentials.user.escape_ascii().to_string();
    let remote = FtpRemote::connect(config.server_options(credentials))
        .map_err(|error| Failed::connecting(&config.url, &user, &error))?;
    let directory = config
        .url
        .directory
        .resolve(&remote.login_directory())
        .map_err(|error| Failed::new(Exit::Usage, format!("the directory in the URL cannot be used: {error}")))?;
    Filesystem::new(Arc::new(remote), directory.clone(), config.filesystem.clone())
        .map_err(|error| Failed::listing(&directory, &error))
}

/// How a mount ends.
struct Ending {
    /// Until when what is left may take.
    deadline: Instant,
    /// How many files had been lost before: of those their programs have heard.
    lost_before: usize,
}

/// Waits for the end of the mount.
fn serve(mount: &Mount, filesystem: &Filesystem, signals: &Receiver<i32>, shutdown_timeout: Duration) -> Ending {
    select! {
        recv(mount.ended()) -> result => {
            if let Ok(Err(error)) = result {
                tracing::error!(%error, "the kernel's requests could not be read any more");
                detach(mount);
            }
            tracing::info!("unmounted");
            Ending { deadline: Instant::now() + shutdown_timeout, lost_before: filesystem.lost_count() }
        }
        recv(signals) -> signal => {
            tracing::info!(signal = signal.unwrap_or_default(), "unmounting");
            let lost_before = filesystem.lost_count();
            detach(mount);
            let deadline = Instant::now() + shutdown_timeout;
            select! {
                recv(mount.ended()) -> _ => {}
                recv(signals) -> _ => tracing::warn!("told to end a second time: not waiting for files that are open"),
                default(shutdown_timeout) => tracing::warn!("files in the mount are still open; ending all the same"),
            }
            Ending { deadline, lost_before }
        }
    }
}

/// Stores what is not on the server yet, and ends what is still under way.
fn finish(mount: &Mount, filesystem: &Arc<Filesystem>, signals: &Receiver<i32>, ending: &Ending) -> Exit {
    // A second of grace: files may have been open up to the deadline, and most of what they left is small.
    let deadline = ending.deadline.max(Instant::now() + Duration::from_secs(1));
    let unsaved = match flush(filesystem) {
        Ok(flushed) => select! {
            recv(flushed) -> unsaved => unsaved.ok(),
            recv(signals) -> _ => None,
            default(deadline.saturating_duration_since(Instant::now())) => None,
        },
        Err(error) => {
            tracing::error!(%error, "no thread to store what is left");
            None
        }
    };
    if !mount.wait_quiet(deadline) {
        tracing::warn!("ending while operations are under way");
        mount.abort();
    }
    for (path, error) in unsaved.iter().flatten() {
        tracing::error!(%path, "not stored: {error}");
    }
    let dirty = filesystem.dirty_count();
    // Files whose last handle went meanwhile are not dirty any more, stored or not.
    let lost = filesystem.lost_count().saturating_sub(ending.lost_before);
    let failed = unsaved.is_none_or(|unsaved| !unsaved.is_empty());
    if dirty + lost == 0 && !failed {
        return Exit::Success;
    }
    if dirty + lost == 0 {
        tracing::warn!("the end of the mount was cut short, with nothing left to store");
        return Exit::Success;
    }
    tracing::error!(files = dirty + lost, "ended with files that are not on the server");
    Exit::Unsaved
}

fn flush(filesystem: &Arc<Filesystem>) -> std::io::Result<Receiver<Unsaved>> {
    let (tell, flushed) = bounded(1);
    let filesystem = Arc::clone(filesystem);
    thread::Builder::new().name("ftpfs-flush".into()).spawn(move || {
        // Nobody listens any more where the deadline has passed.
        let _ = tell.send(filesystem.flush_all());
    })?;
    Ok(flushed)
}

fn detach(mount: &Mount) {
    if let Err(error) = mount.detach() {
        tracing::warn!("{error}");
    }
}

/// The ending signals as messages.
fn signals() -> Result<Receiver<i32>, Failed> {
    let failed = |error: std::io::Error| Failed::new(Exit::Failure, format!("signals cannot be received: {error}"));
    let mut signals = Signals::new(ENDING).map_err(failed)?;
    let (tell, told) = bounded(2);
    let spawned = thread::Builder::new().name("ftpfs-signals".into()).spawn(move || {
        for signal in signals.forever() {
            // More than two mean no more than two.
            let _ = tell.try_send(signal);
        }
    });
    spawned.map_err(failed)?;
    Ok(told)
}

impl From<MountError> for Failed {
    fn from(error: MountError) -> Self {
        Self::mounting(&error)
    }
}

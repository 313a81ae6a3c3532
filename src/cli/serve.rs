//! The life of a mount: log in, list, mount, serve until somebody unmounts or a signal comes, store what is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded, select};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::config::Config;
use super::exit_code::Exit;
use super::handover::Logins;
use super::limits;
use super::logging::STATUS_TARGET;
use super::messages::Failed;
use super::notify;
use super::status_text::{self, count, some_of};
use crate::control::{ControlServer, RuntimeDirectory, Subject};
use crate::filesystem::{DirtyFile, Filesystem, FilesystemError, SystemClock};
use crate::fuse::{Mount, MountError, Mountpoint};
use crate::journal::Identity;
use crate::protocol::RemotePath;
use crate::remote::FtpRemote;

/// Signals that end the mount; a second one ends it at once.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The signal that puts the status into the log.
const REPORTING: i32 = SIGUSR1;

/// How long the local disk may take at the end for what is kept.
const KEEP_TIME_MAX: Duration = Duration::from_secs(10);

/// What the end of a mount could not store.
type Unsaved = Vec<(RemotePath, FilesystemError)>;

/// Mounts, calls `ready`, and returns when the mount has ended.
///
/// # Errors
/// A sentence and an exit code; nothing is mounted then.
pub(super) fn run(
    config: &Config,
    logins: Logins,
    ready: impl FnOnce() -> std::io::Result<()>,
) -> Result<Exit, Failed> {
    // First, because it costs nothing: a wrong mountpoint should not cost a login.
    let mountpoint = Mountpoint::check(&config.mountpoint, &config.mount)?;
    limits::raise_open_files();
    let user = logins.server.user.escape_ascii().to_string();
    let filesystem = open(config, logins, &user)?;
    // Only now: until here a signal may end us as it always does.
    let reported = Arc::new(OnceLock::new());
    let signals = signals(Arc::clone(&reported))?;
    let timeout = config.filesystem.operation_timeout;
    let mount = Arc::new(Mount::new(Arc::clone(&filesystem), &mountpoint, &config.mount, timeout)?);
    let subject = Arc::new(Subject {
        url: config.url.to_string(),
        user,
        mountpoint: mountpoint.path().to_owned(),
        mounted_at: SystemTime::now(),
        shutdown_timeout: config.shutdown_timeout,
        close: config.filesystem.close,
        fsync: config.filesystem.fsync,
        filesystem: Arc::clone(&filesystem),
        mount: Arc::clone(&mount),
        ending: AtomicBool::new(false),
    });
    // The cell is new, so it is empty.
    let _ = reported.set(Arc::clone(&subject));
    let control = control(&subject);
    tracing::info!(url = %config.url, mountpoint = %mountpoint.path().display(), "mounted");
    if let Err(error) = ready() {
        detach(&mount);
        return Err(Failed::new(Exit::Failure, format!("nobody waits for the mount any more: {error}")));
    }
    notify::tell_systemd("READY=1");
    let ending = serve(&mount, &filesystem, &signals, config.shutdown_timeout);
    notify::tell_systemd("STOPPING=1");
    subject.ending.store(true, Ordering::Release);
    let (exit, unsaved) = finish(&mount, &filesystem, &signals, &ending);
    if let Some(control) = control {
        control.announce_end(exit.number(), &unsaved);
    }
    Ok(exit)
}

/// Begins to answer `ftpfs status` and its like. A mount that cannot be asked is still a mount.
fn control(subject: &Arc<Subject>) -> Option<ControlServer> {
    let started =
        RuntimeDirectory::of_user().and_then(|directory| ControlServer::start(directory, Arc::clone(subject)));
    started.inspect_err(|error| tracing::warn!("`ftpfs status` will not find this mount: {error}")).ok()
}

/// Logs in, takes over the journal, and lists the directory once.
fn open(config: &Config, logins: Logins, user: &str) -> Result<Arc<Filesystem>, Failed> {
    let account = logins.server.user.clone();
    if config.trusts_anything() {
        tracing::warn!(
            "--insecure: the server's certificate is NOT checked; whoever sits between can read and change everything, the password too"
        );
    }
    if let Some(proxy) = &logins.proxy {
        tracing::info!(%proxy, "all connections go through a proxy");
    }
    let options = config.server_options(logins).map_err(|error| Failed::encryption(&config.url, &error))?;
    let remote = FtpRemote::connect(options).map_err(|error| Failed::connecting(&config.url, user, &error))?;
    let directory = config
        .url
        .directory
        .resolve(&remote.login_directory())
        .map_err(|error| Failed::new(Exit::Usage, format!("the directory in the URL cannot be used: {error}")))?;
    let identity =
        Identity { host: config.url.host.clone(), port: config.url.port, user: account, directory: directory.clone() };
    let mut options = config.filesystem.clone();
    let journal = config.disk.open(&identity, &mut options)?;
    options.disk = config.cache_directory.as_ref().map_or(Ok(None), |directory| directory.open(&identity))?;
    Filesystem::with_clock(Arc::new(remote), directory.clone(), options, Arc::new(SystemClock), journal)
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

/// Stores what is not on the server yet, and ends what is still under way. Returns what could not be stored, too.
fn finish(
    mount: &Mount,
    filesystem: &Arc<Filesystem>,
    signals: &Receiver<i32>,
    ending: &Ending,
) -> (Exit, Vec<DirtyFile>) {
    // A second of grace: files may have been open up to the deadline, and most of what they left is small.
    let deadline = ending.deadline.max(Instant::now() + Duration::from_secs(1));
    let unsaved = match spawn("ftpfs-flush", filesystem, store_all) {
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
        tracing::info!(%path, "not uploaded: {error}");
    }
    keep(filesystem);
    let mut left = filesystem.dirty_files();
    // Files whose last handle went meanwhile are not dirty any more, stored or not.
    left.extend(filesystem.lost_files(ending.lost_before));
    let failed = unsaved.is_none_or(|unsaved| !unsaved.is_empty());
    if left.is_empty() && failed {
        tracing::warn!("the end of the mount was cut short, with nothing left to store");
    }
    (tell_what_is_left(&left), left)
}

/// What could not be uploaded, or had no time to be, goes to the journal, if there is one.
fn keep(filesystem: &Arc<Filesystem>) {
    if filesystem.usage().journal.is_none() {
        return;
    }
    // What is not done by then lies in the staging folder, where the next mount finds and reports it.
    let kept = spawn("ftpfs-keep", filesystem, Filesystem::keep_all);
    match kept.map(|kept| kept.recv_timeout(KEEP_TIME_MAX)) {
        Ok(Ok(failed)) => {
            failed.iter().for_each(|(path, error)| tracing::error!(%path, "not kept in the journal: {error}"));
        }
        Ok(Err(_)) => tracing::error!("no time to keep in the journal what is not on the server"),
        Err(error) => tracing::error!(%error, "no thread to keep in the journal what is not on the server"),
    }
}

/// Says of each file that is not on the server why, and where it is; the last line is about all of them.
fn tell_what_is_left(left: &[DirtyFile]) -> Exit {
    for DirtyFile { path, size, error, in_journal, .. } in left {
        let error = error.as_ref().map_or_else(|| "there was no time for it".into(), ToString::to_string);
        if *in_journal {
            tracing::warn!(%path, size, "kept in the journal: {error}");
        } else {
            tracing::error!(%path, size, "not on the server: {error}");
        }
    }
    let (kept, gone): (Vec<_>, Vec<_>) = left.iter().partition(|file| file.in_journal);
    let paths = |files: &[&DirtyFile]| {
        let paths: Vec<String> = files.iter().map(|file| file.path.to_string()).collect();
        some_of(paths.into_iter())
    };
    if !kept.is_empty() {
        tracing::warn!(
            "ended with {} kept in the journal, which the next mount of the same URL delivers: {}",
            count(kept.len(), "file"),
            paths(&kept)
        );
    }
    if !gone.is_empty() {
        tracing::error!("ended with {} not on the server: {}", count(gone.len(), "file"), paths(&gone));
        return Exit::Unsaved;
    }
    if kept.is_empty() { Exit::Success } else { Exit::Kept }
}

/// To the journal first, where there is one: then a signal that kills, or a server that is gone, costs nothing.
fn store_all(filesystem: &Filesystem) -> Unsaved {
    if filesystem.usage().journal.is_some() {
        filesystem.promise_all();
    }
    filesystem.flush_all()
}

/// Does the last work in a thread of its own, which nobody waits for any more once the deadline has passed.
fn spawn(
    name: &str,
    filesystem: &Arc<Filesystem>,
    work: fn(&Filesystem) -> Unsaved,
) -> std::io::Result<Receiver<Unsaved>> {
    let (tell, told) = bounded(1);
    let filesystem = Arc::clone(filesystem);
    thread::Builder::new().name(name.into()).spawn(move || {
        let _ = tell.send(work(&filesystem));
    })?;
    Ok(told)
}

fn detach(mount: &Mount) {
    if let Err(error) = mount.detach() {
        tracing::warn!("{error}");
    }
}

/// The ending signals as messages. [`REPORTING`] puts the status of the mount into the log instead.
fn signals(reported: Arc<OnceLock<Arc<Subject>>>) -> Result<Receiver<i32>, Failed> {
    let failed = |error: std::io::Error| Failed::new(Exit::Failure, format!("signals cannot be received: {error}"));
    let mut signals = Signals::new(ENDING.into_iter().chain([REPORTING])).map_err(failed)?;
    let (tell, told) = bounded(2);
    let spawned = thread::Builder::new().name("ftpfs-signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == REPORTING {
                reported.get().into_iter().for_each(|subject| report(subject));
                continue;
            }
            // More than two mean no more than two.
            let _ = tell.try_send(signal);
        }
    });
    spawned.map_err(failed)?;
    Ok(told)
}

/// Whoever sends the signal wants to see it, so it is logged without `-v` too.
fn report(subject: &Subject) {
    for line in status_text::status(&subject.status(), SystemTime::now()).lines() {
        tracing::info!(target: STATUS_TARGET, "{line}");
    }
}

impl From<MountError> for Failed {
    fn from(error: MountError) -> Self {
        Self::mounting(&error)
    }
}

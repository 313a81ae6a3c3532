//! A mount at work: from the fresh device to the end of the last request.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use fuser::{Config, Session, SessionACL};

use super::adapter::Adapter;
use super::dispatch::Dispatch;
use super::kernel_cache::KernelCache;
use super::mount::{MountError, MountOptions, Mounted, Mountpoint};
use super::parked::Unanswered;
use crate::filesystem::Filesystem;

/// Threads that listen to the kernel. They never wait for anything, so more than the machine has cores are of no use.
const LISTENERS: std::ops::RangeInclusive<usize> = 2..=4;

/// A filesystem that is mounted. Dropping it does not unmount; the end of the process does.
pub struct Mount {
    mounted: Mounted,
    dispatch: Arc<Dispatch>,
    ended: Receiver<io::Result<()>>,
    kernel_cache: KernelCache,
}

impl Mount {
    /// Mounts `filesystem`; when this returns, the kernel's requests are answered.
    ///
    /// `operation_timeout` bounds what is no transfer, also while it waits for a thread.
    ///
    /// # Errors
    /// [`MountError`]; nothing is mounted then.
    pub fn new(
        filesystem: Arc<Filesystem>,
        mountpoint: &Mountpoint,
        options: &MountOptions,
        operation_timeout: Duration,
    ) -> Result<Self, MountError> {
        let dispatch = Arc::new(Dispatch::new(filesystem, operation_timeout).map_err(MountError::Session)?);
        let attached = mountpoint.attach(options)?;
        let mounted = attached.mounted;
        let notifier = Arc::new(OnceLock::new());
        let adapter = Adapter::new(Arc::clone(&dispatch), Arc::clone(&notifier));
        let acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
        let device = attached.device.try_clone();
        let started = Session::from_fd(adapter, attached.device, acl, configuration()).and_then(|session| {
            // The cell is new, so it is empty.
            let _ = notifier.set(session.notifier());
            Ok((KernelCache::new(session.notifier(), device?), run(session)?))
        });
        let (kernel_cache, ended) = match started {
            Ok(started) => started,
            Err(error) => {
                if let Err(error) = mounted.detach() {
                    tracing::warn!(%error, "what was mounted could not be detached again");
                }
                return Err(MountError::Session(error));
            }
        };
        mounted.widen_read_ahead();
        Ok(Self { mounted, dispatch, ended, kernel_cache })
    }

    /// Receives one message when the kernel has no more requests: after `umount`, [`Self::detach`] or [`Self::abort`].
    pub fn ended(&self) -> &Receiver<io::Result<()>> {
        &self.ended
    }

    /// Takes the mount out of the tree; files that are open in it stay usable until they are closed.
    ///
    /// # Errors
    /// The kernel or the helper refused.
    pub fn detach(&self) -> Result<(), MountError> {
        self.mounted.detach()
    }

    /// Makes every call still under way in the mount fail at once.
    pub fn abort(&self) {
        self.mounted.abort();
    }

    /// The operations that wait for the server now, but reads, which [`Filesystem::usage`] counts; memory only.
    pub fn unanswered(&self) -> Unanswered {
        self.dispatch.unanswered()
    }

    /// What the kernel believes of this mount.
    pub fn kernel_cache(&self) -> &KernelCache {
        &self.kernel_cache
    }

    /// Waits until no operation is under way, at most until `deadline`, and says whether that was reached.
    pub fn wait_quiet(&self, deadline: Instant) -> bool {
        self.dispatch.wait_quiet(deadline)
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("mounted", &self.mounted).finish_non_exhaustive()
    }
}

fn configuration() -> Config {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut config = Config::default();
    config.n_threads = Some(cores.clamp(*LISTENERS.start(), *LISTENERS.end()));
    // A device of its own for each listener; they need to open it once more, which fusermount's users may not be allowed.
    config.clone_fd = OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    config
}

/// Starts the listeners and a thread that sees them end.
fn run(session: Session<Adapter>) -> io::Result<Receiver<io::Result<()>>> {
    let (tell, ended) = bounded(1);
    thread::Builder::new().name("ftpfs-session".into()).spawn(move || {
        // Nobody listens any more only where the process is about to end.
        let _ = tell.send(session.run());
    })?;
    Ok(ended)
}

//! Files, directories and open handles, over a [`Remote`]; nothing of fuser here.
//!
//! Every operation can be asked with [`Access::MemoryOnly`] first: it answers from memory or says
//! [`FilesystemError::WouldWait`] with nothing changed, and is then run again with [`Access::Server`]
//! on a thread that may wait. Reads never wait: they are answered by whichever thread gets the data.
//!
//! The operations lie in the files below, each a part of [`Filesystem`]: `lookup` (lookup, getattr, readlink, statfs),
//! `directory` (readdir), `namespace` (mkdir, unlink, rmdir, rename), `open`, `read`, `write`, `change` (setattr),
//! `streaming`, `upload`. Beside them: what the filesystem tells of itself (`usage`), what it forgets when told to (`refresh`), and what it asks
//! before anybody needs it (`ahead`).
//! With a journal: `promise` (to the local disk), `delivery` (to the server, in the background), `conflict`, `restore` (after a crash).

mod ahead;
mod allowance;
mod ask;
pub mod attributes;
mod change;
mod changes;
pub mod clock;
mod conflict;
mod content;
mod delivery;
mod directory;
pub mod error;
pub mod handles;
mod in_place;
pub mod inodes;
mod links;
mod lookup;
mod namespace;
mod open;
pub mod options;
mod overrides;
mod promise;
mod queue;
mod ranges;
mod read;
mod refresh;
mod rename;
mod restore;
mod sending;
mod server;
mod staging;
mod streaming;
#[cfg(test)]
mod tests;
mod upload;
pub mod usage;
mod write;

pub use ahead::AheadUsage;
pub use attributes::{Attributes, Found, LookupResult, SetAttributes, SetTime, SpaceInformation};
pub use clock::{Clock, SystemClock};
pub use error::{FilesystemError, FilesystemResult};
pub use handles::{DirectoryEntry, HandleId, OpenFlags, Opened, SeekFor};
pub use inodes::InodeNumber;
pub use links::Links;
pub use options::{Durability, FilesystemOptions, OnConflict};
pub use refresh::{KnownInode, Refreshed};
pub use usage::{DirtyFile, JournalUsage, Usage};

use crate::cache::Listings;
use crate::journal::{Journal, Recovered};
use crate::protocol::{Precision, RemotePath, Timestamp};
use crate::remote::Remote;
use ahead::Ahead;
use allowance::Allowance;
use content::Content;
use handles::{Handle, HandleKind, Handles};
use inodes::Inodes;
use overrides::Overrides;
use parking_lot::{Mutex, RwLock};
use queue::Queue;
use server::Server;
use staging::StagingArea;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use usage::LostFiles;

/// Bytes of the longest name.
const NAME_LEN_MAX: usize = 255;

/// Whether an operation may ask the server and wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Memory and local disk only.
    MemoryOnly,
    /// The server too.
    Server,
}

/// Who gets the bytes of a read, from whichever thread has them.
pub type ReadDone = Box<dyn FnOnce(FilesystemResult<Vec<u8>>) + Send>;

/// A directory of the server as a filesystem.
///
/// Locks, in the order they are taken: `moving`, `state`, then one file's content, then one of the innermost, which take no other
/// (`listings`, `ahead`, `overrides`, `space`, `lost`, the staging files' allowance, those of the reader). None is held while waiting for the server. What
/// must not run twice on a file meanwhile (upload, rename, removal) holds a claim on it instead; several claims are taken in
/// ascending order of inode numbers, and no claim is waited for with a lock held.
pub struct Filesystem {
    server: Server,
    root: RemotePath,
    options: FilesystemOptions,
    clock: Arc<dyn Clock>,
    mounted_at: SystemTime,
    listings: Listings,
    overrides: Overrides,
    /// What may not be lost; `None` where failed uploads are.
    journal: Option<Arc<Journal>>,
    staging: StagingArea,
    /// What is delivered in the background.
    deliveries: Arc<Queue>,
    /// What is asked before anybody needs it.
    ahead: Arc<Ahead>,
    /// Held for reading by those who tell the journal where something is, for writing while a directory gets another name.
    moving: RwLock<()>,
    space: Mutex<Option<(Instant, SpaceInformation)>>,
    state: Mutex<State>,
    /// Files that were given up.
    lost: Mutex<LostFiles>,
}

struct State {
    inodes: Inodes,
    handles: Handles,
}

impl Filesystem {
    /// Takes `root` on the server as the root of a filesystem; lists it once to prove that it works.
    ///
    /// # Errors
    /// What the first listing failed with.
    pub fn new(remote: Arc<dyn Remote>, root: RemotePath, options: FilesystemOptions) -> FilesystemResult<Arc<Self>> {
        Self::with_clock(remote, root, options, Arc::new(SystemClock), None)
    }

    /// As [`Self::new`], with another clock, and with a journal: what could not be delivered the last time is in the filesystem when
    /// this returns, and is delivered from then on.
    ///
    /// # Errors
    /// What the first listing failed with.
    pub fn with_clock(
        remote: Arc<dyn Remote>,
        root: RemotePath,
        options: FilesystemOptions,
        clock: Arc<dyn Clock>,
        journal: Option<(Journal, Recovered)>,
    ) -> FilesystemResult<Arc<Self>> {
        let (journal, recovered) = journal.unzip();
        let journal = journal.map(Arc::new);
        let allowance = Allowance::new(options.staging_bytes_max);
        let state = State { inodes: Inodes::new(root.clone()), handles: Handles::default() };
        let filesystem = Self {
            server: Server::new(remote, &options),
            root: root.clone(),
            mounted_at: clock.system_time(),
            listings: Listings::new(options.listing_entries_max).keeping_directory_times(options.dir_timeout),
            overrides: Overrides::new(),
            journal: journal.clone(),
            staging: StagingArea { directory: options.staging_dir.clone(), allowance: Arc::clone(&allowance), journal },
            deliveries: Queue::new(options.deliveries_max, options.settle, allowance),
            ahead: Ahead::new(if options.prefetch { 2 * options.streams_max.max(1) } else { 0 }),
            moving: RwLock::new(()),
            space: Mutex::new(None),
            state: Mutex::new(state),
            lost: Mutex::default(),
            options,
            clock,
        };
        filesystem.list(Access::Server, &root, Duration::MAX)?;
        if let Some(recovered) = recovered {
            filesystem.restore(recovered);
        }
        let filesystem = Arc::new(filesystem);
        filesystem.deliveries.begin(&filesystem);
        filesystem.ahead.begin(&filesystem);
        Ok(filesystem)
    }

    /// How many files are not on the server as they are here.
    pub fn dirty_count(&self) -> usize {
        self.contents().iter().filter(|(_, content)| content.is_dirty()).count()
    }

    /// How many inodes are known and handles open; both fall back to 1 and 0 when the kernel has let go of everything.
    pub fn known_counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.inodes.len(), state.handles.len())
    }

    /// A file's handle: its inode, content and flags.
    fn file_handle(&self, handle: HandleId) -> FilesystemResult<(InodeNumber, Arc<Content>, OpenFlags)> {
        match self.state.lock().handles.get(handle)? {
            Handle { ino, kind: HandleKind::File { content, flags } } => Ok((*ino, Arc::clone(content), *flags)),
            Handle { kind: HandleKind::Directory(_), .. } => Err(FilesystemError::BadHandle),
        }
    }

    fn refuse_if_read_only(&self) -> FilesystemResult<()> {
        if self.options.read_only { Err(FilesystemError::ReadOnly) } else { Ok(()) }
    }

    /// The time of day as FTP can keep it.
    fn now(&self) -> Timestamp {
        to_timestamp(self.clock.system_time())
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        self.deliveries.close();
        self.ahead.close();
    }
}

/// A time as FTP can say it: whole seconds.
fn to_timestamp(time: SystemTime) -> Timestamp {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -seconds - i64::from(before.subsec_nanos() > 0)
        }
    };
    Timestamp { seconds, nanoseconds: 0, precision: Precision::Second }
}

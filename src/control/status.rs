//! What a mount tells of itself: gathered from memory on the mount's side, read on the other.
//!
//! Fields are only ever added: a reader takes what it knows, and a field that is missing as zero or nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::message::{FILES_MAX, Unsaved};
use crate::filesystem::{AheadUsage, DirtyFile, Durability, Filesystem, JournalUsage, Usage};
use crate::fuse::{Mount, Unanswered};
use crate::journal::set_aside_directory;
use crate::remote::{Connections, OperationCount, TrafficCount};

/// A mount, as it can be asked about.
pub struct Subject {
    /// The server and the directory on it, without any password.
    pub url: String,
    /// Who is logged in there.
    pub user: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Since when.
    pub mounted_at: SystemTime,
    /// How long its end may take.
    pub shutdown_timeout: Duration,
    /// What close() waits for.
    pub close: Durability,
    /// What fsync() waits for.
    pub fsync: Durability,
    /// The files.
    pub filesystem: Arc<Filesystem>,
    /// The kernel's side.
    pub mount: Arc<Mount>,
    /// Nothing is mounted any more, and what is left is being uploaded.
    pub ending: AtomicBool,
}

/// What a mount is doing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The mount's process.
    pub process_id: u32,
    /// Where it is mounted; a path that is no UTF-8 is shown with U+FFFD.
    pub mountpoint: String,
    /// The URL, without any password.
    pub server: String,
    /// Who is logged in.
    pub user: String,
    /// When it was mounted, in seconds since 1970.
    pub mounted_at: u64,
    /// Nothing is mounted any more, and what is left is being uploaded.
    pub ending: bool,
    /// How long its end may take.
    pub shutdown_timeout_seconds: f64,
    /// The connections to the server.
    pub connections: Option<ConnectionStatus>,
    /// What programs wait for.
    pub operations: OperationStatus,
    /// What is remembered.
    pub caches: CacheStatus,
    /// What is open.
    pub open: OpenStatus,
    /// What close() waits for: `server` or `journal`.
    pub durability: String,
    /// What fsync() waits for: `server` or `local`.
    pub fsync: String,
    /// What is not on the server.
    pub dirty: DirtyStatus,
    /// What was given up since the mount began.
    pub lost: LostStatus,
    /// The journal, where there is one.
    pub journal: Option<JournalStatus>,
    /// What was asked before anybody needed it.
    pub ahead: AheadStatus,
}

/// See [`Connections`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // They are those of `Connections`, and of what has gone over them.
pub struct ConnectionStatus {
    pub shared: bool,
    pub shared_users: usize,
    pub listing: usize,
    pub reading: usize,
    pub writing: usize,
    pub ahead: usize,
    pub idle: usize,
    pub prepared: usize,
    pub logging_in: usize,
    pub waiting: usize,
    pub ceiling: usize,
    pub ceiling_max: usize,
    pub encryption: Option<String>,
    pub login_failure: Option<String>,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub transfers: u64,
    pub on_spares: u64,
    pub operations: BTreeMap<String, OperationTraffic>,
}

/// What operations of one kind have caused on the wire; see [`OperationCount`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // They are those of `OperationCount`.
pub struct OperationTraffic {
    pub count: u64,
    pub round_trips: u64,
    pub commands: u64,
    pub packets: u64,
    pub control_connections: u64,
    pub data_connections: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

/// Operations of programs that wait for the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationStatus {
    /// How many.
    pub waiting: usize,
    /// How long the oldest of them does.
    pub oldest_seconds: Option<f64>,
    /// Which one that is: `read`, `lookup`...
    pub oldest: Option<String>,
}

/// What is remembered, and the most of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheStatus {
    /// Entries of listings.
    pub listing_entries: usize,
    /// About the most of them.
    pub listing_entries_max: usize,
    /// Memory for the content of files.
    pub block_bytes: usize,
    /// The most of it.
    pub block_bytes_max: usize,
    /// Transfers under way for those who read.
    pub streams: usize,
    /// Content in the cache directory, where there is one.
    pub disk_bytes: Option<u64>,
    /// The most of it.
    pub disk_bytes_max: Option<u64>,
    /// Files that it is of.
    pub disk_files: Option<usize>,
    /// Files and directories that the kernel knows.
    pub inodes: usize,
}

/// What programs have open.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenStatus {
    /// How often files.
    pub files: usize,
    /// How often directories.
    pub directories: usize,
}

/// What is not on the server as it is in the mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DirtyStatus {
    /// How many files.
    pub count: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many of these bytes are on their way or on the server already.
    pub sent: u64,
    /// How many of the files are in the journal: they survive the mount, and the next one delivers them.
    pub in_journal: usize,
    /// Which, the oldest first (the first thousand of them).
    pub files: Vec<Unsaved>,
}

/// What was asked of the server before anybody needed it, since the mount began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // They are those of `AheadUsage`.
pub struct AheadStatus {
    pub renewals: u64,
    pub listings_wanted: u64,
    pub listings_used: u64,
    pub listings_wasted: u64,
    pub bytes_wanted: u64,
    pub bytes_used: u64,
    pub bytes_wasted: u64,
}

/// What was given up: its last handle is gone, and nothing of this mount tries to store it any more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LostStatus {
    /// How many files.
    pub count: usize,
    /// The latest of them.
    pub files: Vec<Unsaved>,
}

/// What lies in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalStatus {
    /// The state directory.
    pub directory: String,
    /// How many contents wait for their delivery.
    pub pending_count: usize,
    /// How many bytes they have.
    pub pending_bytes: u64,
    /// Why nothing is delivered at the moment.
    pub paused_by: Option<String>,
    /// The folder of what was set aside.
    pub set_aside_directory: String,
    /// How many contents lie there.
    pub set_aside_count: usize,
    /// Where each of them lies (the first thousand of them); why, says the file beside it with `.txt` behind its name.
    pub set_aside: Vec<String>,
}

impl Subject {
    /// Gathers what is known now. Asks no server and waits for none.
    pub fn status(&self) -> Status {
        let usage = self.filesystem.usage();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            process_id: std::process::id(),
            mountpoint: self.mountpoint.to_string_lossy().into_owned(),
            server: self.url.clone(),
            user: self.user.clone(),
            mounted_at: self.mounted_at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            ending: self.ending.load(Ordering::Acquire),
            shutdown_timeout_seconds: self.shutdown_timeout.as_secs_f64(),
            operations: operations(&usage, self.mount.unanswered()),
            caches: CacheStatus {
                listing_entries: usage.listing_entries,
                listing_entries_max: usage.listing_entries_max,
                block_bytes: usage.reader.block_bytes,
                block_bytes_max: usage.reader.block_bytes_max,
                streams: usage.reader.streams,
                disk_bytes: usage.disk.map(|disk| disk.bytes),
                disk_bytes_max: usage.disk.map(|disk| disk.bytes_max),
                disk_files: usage.disk.map(|disk| disk.files),
                inodes: usage.inodes,
            },
            open: OpenStatus { files: usage.open_files, directories: usage.open_directories },
            durability: name(self.close, "journal").into(),
            fsync: name(self.fsync, "local").into(),
            dirty: DirtyStatus {
                count: usage.dirty.len(),
                bytes: usage.dirty.iter().map(|file| file.size).sum(),
                sent: usage.dirty.iter().map(|file| file.sent.min(file.size)).sum(),
                in_journal: usage.dirty.iter().filter(|file| file.in_journal).count(),
                files: first(&usage.dirty),
            },
            lost: lost(&self.filesystem),
            journal: usage.journal.map(JournalStatus::from),
            connections: usage.connections.map(ConnectionStatus::from),
            ahead: AheadStatus::from(usage.ahead),
        }
    }
}

/// As many of `files` as a reply names.
pub(super) fn first(files: &[DirtyFile]) -> Vec<Unsaved> {
    files.iter().take(FILES_MAX).map(Unsaved::from).collect()
}

/// As the option says it.
fn name(durability: Durability, on_disk: &'static str) -> &'static str {
    match durability {
        Durability::Server => "server",
        Durability::Journal => on_disk,
    }
}

fn lost(filesystem: &Filesystem) -> LostStatus {
    let mut files = filesystem.lost_files(0);
    files.reverse();
    LostStatus { count: filesystem.lost_count(), files: first(&files) }
}

impl From<JournalUsage> for JournalStatus {
    fn from(journal: JournalUsage) -> Self {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        Self {
            set_aside_directory: text(&set_aside_directory(&journal.directory)),
            directory: text(&journal.directory),
            pending_count: journal.pending,
            pending_bytes: journal.pending_bytes,
            paused_by: journal.paused_by.as_ref().map(ToString::to_string),
            set_aside_count: journal.set_aside.len(),
            set_aside: journal.set_aside.iter().take(FILES_MAX).map(text).collect(),
        }
    }
}

impl From<AheadUsage> for AheadStatus {
    fn from(ahead: AheadUsage) -> Self {
        let AheadUsage {
            renewals,
            listings_wanted,
            listings_used,
            listings_wasted,
            bytes_wanted,
            bytes_used,
            bytes_wasted,
        } = ahead;
        Self { renewals, listings_wanted, listings_used, listings_wasted, bytes_wanted, bytes_used, bytes_wasted }
    }
}

fn operations(usage: &Usage, unanswered: Unanswered) -> OperationStatus {
    let read = usage.reader.oldest_read.map(|age| ("read", age));
    let oldest = read.into_iter().chain(unanswered.oldest).max_by_key(|(_, age)| *age);
    OperationStatus {
        waiting: usage.reader.reads_waiting + unanswered.count,
        oldest_seconds: oldest.map(|(_, age)| age.as_secs_f64()),
        oldest: oldest.map(|(operation, _)| operation.into()),
    }
}

impl From<Connections> for ConnectionStatus {
    fn from(connections: Connections) -> Self {
        let Connections {
            shared,
            shared_users,
            listing,
            reading,
            writing,
            ahead,
            // What they are lent for says more.
            brief: _,
            idle,
            prepared,
            logging_in,
            waiting,
            ceiling,
            ceiling_max,
            encryption,
            login_failure,
            traffic: TrafficCount { sent: sent_bytes, received: received_bytes, transfers, on_spares, operations },
        } = connections;
        Self {
            shared,
            shared_users,
            listing,
            reading,
            writing,
            ahead,
            idle,
            prepared,
            logging_in,
            waiting,
            ceiling,
            ceiling_max,
            encryption,
            login_failure,
            sent_bytes,
            received_bytes,
            transfers,
            on_spares,
            operations: operations
                .iter()
                .map(|operation| (operation.kind.name().to_owned(), OperationTraffic::from(operation)))
                .collect(),
        }
    }
}

impl From<&OperationCount> for OperationTraffic {
    fn from(operation: &OperationCount) -> Self {
        let OperationCount { kind: _, count, tally } = *operation;
        Self {
            count,
            round_trips: tally.round_trips,
            commands: tally.commands,
            packets: tally.packets,
            control_connections: tally.control_connections,
            data_connections: tally.data_connections,
            sent_bytes: tally.sent,
            received_bytes: tally.received,
        }
    }
}

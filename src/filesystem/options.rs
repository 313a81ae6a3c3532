//! What a mount is told once: who owns the files, how long answers are believed, where staging files lie.

use crate::cache::DiskCache;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::links::Links;

/// What a close() or an fsync() waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The server's proof.
    #[default]
    Server,
    /// Content and record on the local disk; the server has it later.
    Journal,
}

/// What becomes of a file that could not be delivered in time, where another client has changed it on the server meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Ours is stored beside it, under a name that says so.
    #[default]
    KeepBoth,
    /// Ours replaces it.
    Ours,
    /// Ours is set aside on the local disk.
    Theirs,
}

/// Options of a [`Filesystem`](super::Filesystem); [`Default`] gives the documented defaults.
#[derive(Debug, Clone)]
pub struct FilesystemOptions {
    /// The owner that every file shows.
    pub uid: u32,
    /// The group that every file shows.
    pub gid: u32,
    /// Bits taken from the mode of files.
    pub file_mask: u32,
    /// Bits taken from the mode of directories.
    pub directory_mask: u32,
    /// The mode of every file, instead of what the server lists.
    pub file_mode: Option<u32>,
    /// The mode of every directory, instead of what the server lists.
    pub directory_mode: Option<u32>,
    /// Nothing is ever changed on the server.
    pub read_only: bool,
    /// What is told of links that lead out of the mount.
    pub links: Links,
    /// Whether a change of owner that cannot be made is claimed to have worked.
    pub ignore_owner_changes: bool,
    /// How old a listing may be to answer lookups and readdir.
    pub dir_timeout: Duration,
    /// How old attributes may be when a file is opened, and how long the kernel may believe them.
    pub attr_timeout: Duration,
    /// How long one operation may wait for another one's question to the server.
    pub operation_timeout: Duration,
    /// Entries in all cached listings.
    pub listing_entries_max: usize,
    /// Where staging files lie; they have no name there.
    pub staging_dir: PathBuf,
    /// Bytes that all staging files together may take; what a stream has sent makes room for more.
    pub staging_bytes_max: u64,
    /// Bytes written in order after which a file is sent while it is written.
    pub stream_start_bytes: u64,
    /// A file of at least so many bytes is written in place where little of it was changed and the server is able to.
    pub in_place_bytes_min: u64,
    /// What close() waits for; [`Durability::Journal`] needs a journal.
    pub close: Durability,
    /// What fsync() waits for; no less than close() does.
    pub fsync: Durability,
    /// For what is delivered late.
    pub on_conflict: OnConflict,
    /// After so long a closed file is delivered: most programs that set its time or give it its name do so before.
    pub settle: Duration,
    /// Files that are delivered at once in the background; two fewer, where they are large.
    pub deliveries_max: usize,
    /// This machine's name, for the names that [`OnConflict::KeepBoth`] makes.
    pub host_name: String,
    /// Bytes of file content kept in memory.
    pub cache_bytes_max: usize,
    /// Where file content is kept beyond the memory and the mount, if anywhere.
    pub disk: Option<Arc<DiskCache>>,
    /// Whether anything is asked of the server before somebody needs it.
    pub prefetch: bool,
    /// Streams (transfers under way) for reading, over all files.
    pub streams_max: usize,
    /// The most that is fetched so that an open file survives its removal or replacement; a larger one is refused.
    pub preserve_bytes_max: u64,
}

impl Default for FilesystemOptions {
    fn default() -> Self {
        Self {
            uid: 0,
            gid: 0,
            file_mask: 0,
            directory_mask: 0,
            file_mode: None,
            directory_mode: None,
            read_only: false,
            links: Links::Contained,
            ignore_owner_changes: false,
            dir_timeout: Duration::from_secs(30),
            attr_timeout: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(60),
            listing_entries_max: 500_000,
            staging_dir: std::env::temp_dir(),
            staging_bytes_max: u64::MAX,
            stream_start_bytes: 1 << 20,
            in_place_bytes_min: 64 << 20,
            close: Durability::Server,
            fsync: Durability::Server,
            on_conflict: OnConflict::KeepBoth,
            settle: Duration::from_millis(200),
            deliveries_max: 8,
            host_name: "localhost".into(),
            cache_bytes_max: 256 << 20,
            disk: None,
            prefetch: true,
            streams_max: 6,
            preserve_bytes_max: 1 << 30,
        }
    }
}

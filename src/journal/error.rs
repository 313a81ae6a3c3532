//! Why the journal could not do what it was asked, as far as a caller can act on it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::record::{ContentId, FileNumber};
use crate::protocol::RemotePath;

/// The result of an operation on the journal.
pub type JournalResult<T> = Result<T, JournalError>;

/// Why an operation on the journal failed. After any of these nothing has been promised, and what was promised before stands.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The local disk: full, or broken. May be tried again; until it works nothing new is promised.
    #[error("{doing}: {error}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the system says; shared, since one failed sync fails all who waited for it.
        error: Arc<io::Error>,
    },
    /// This content is not pending: delivered, dropped or set aside meanwhile, or replaced by a newer generation.
    #[error("content {0} is not pending")]
    NotPending(ContentId),
    /// The content shall be somewhere else by now: what was stored at the old path does not count as its delivery.
    #[error("the content shall be at {now} by now")]
    Elsewhere {
        /// Where it shall be.
        now: RemotePath,
    },
    /// Another file is pending at this path. Whoever takes its place must say that it is replaced.
    #[error("file {by} is pending at {path} already")]
    PathTaken {
        /// The path.
        path: RemotePath,
        /// The file that is pending there.
        by: FileNumber,
    },
    /// A path or name longer than a record can hold.
    #[error("the path is too long for the journal")]
    PathTooLong,
    /// Another process has this directory: two mounts never share a journal.
    #[error("{} is in use by another mount, {}", path.display(), holder_text(*process))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process, where its number could be read.
        process: Option<u32>,
    },
    /// The directory belongs to another server, account or folder.
    #[error("{} belongs to another server, account or folder: {found}", path.display())]
    ForeignIdentity {
        /// The directory.
        path: PathBuf,
        /// What its identity file says, in one line.
        found: String,
    },
    /// A journal of another version of the format; nothing of it was touched.
    #[error("{} has version {version} of the format, which this program does not know", path.display())]
    OtherVersion {
        /// The journal.
        path: PathBuf,
        /// The version's digits.
        version: String,
    },
}

impl JournalError {
    /// Makes a disk's error one of ours; for `map_err`.
    pub(super) fn disk(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Disk { doing, error: Arc::new(error) }
    }

    /// The kind of the disk's error, if it is one.
    pub fn disk_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Disk { error, .. } => Some(error.kind()),
            _ => None,
        }
    }
}

fn holder_text(process: Option<u32>) -> String {
    process.map_or_else(|| "whose process is not known".to_owned(), |process| format!("process {process}"))
}

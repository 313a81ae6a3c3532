//! What the mount before left in the journal, told to people: what is uploaded now, what is set aside, what is gone.

use std::path::Path;

use super::status_text::{bytes, count, some_of};
use crate::journal::Recovered;

/// How many bytes wait for their delivery.
pub(super) fn pending_bytes(recovered: &Recovered) -> u64 {
    recovered.pending.iter().map(|pending| pending.commit.size).sum()
}

/// Logs it: the worst last, for that is where people look.
pub(super) fn report(recovered: &Recovered, directory: &Path) {
    let Recovered { pending, renames, kept, lost, damage } = recovered;
    if !pending.is_empty() {
        let paths = pending.iter().map(|pending| pending.commit.path.to_string());
        tracing::warn!(
            "the mount before left {} ({}) in the journal, to be uploaded now: {}",
            count(pending.len(), "file"),
            bytes(pending_bytes(recovered)),
            some_of(paths)
        );
    }
    for pending in pending {
        let size = pending.commit.size;
        tracing::info!(path = %pending.commit.path, size, doubtful = pending.doubtful, "to be uploaded");
    }
    for (_, rename) in renames {
        tracing::warn!(from = %rename.from, to = %rename.to, "nobody heard whether the server renamed this; it is looked into");
    }
    for path in damage {
        tracing::warn!(
            "bytes of the journal that are no whole record, as a process leaves that is killed, are kept in {}",
            path.display()
        );
    }
    for kept in kept {
        let path = kept.path.as_ref().map_or_else(|| "a file of unknown name".into(), ToString::to_string);
        tracing::warn!(%path, "not uploaded, and set aside in {}: {}", kept.at.display(), kept.reason);
    }
    for lost in lost {
        let size = lost.commit.size;
        tracing::error!(path = %lost.commit.path, size, "closed before, and gone from {}", directory.display());
    }
}

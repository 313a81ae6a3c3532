//! What a refusal means for a file: from a 4yz or 5yz reply to a [`RemoteError`].
//!
//! The code gives the class; the text, which administrators may rewrite and which comes in any language, only
//! refines it. 550 says "not found" or "no access" (RFC 959 §4.2.1), and servers say it, 553 and 451 for all that a
//! file system can refuse; which it was, a look at the names decides ([`Server::explain`]).
//!
//! Not here: which errno an error becomes (`fuse::errno`).

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::server::Server;
use crate::protocol::reply::{Reply, ReplyClass};
use crate::protocol::{EntryKind, RemotePath};

/// What a reply that refuses says by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The server does not know the command, or not with this argument.
    NotUnderstood,
    /// Quota or disk.
    NoSpace,
    /// The name is not one that this server takes.
    NameNotAllowed,
    /// The name is longer than the server takes.
    NameTooLong,
    /// The session has no login (any more).
    LoginLost,
    /// Not there, no access, there already, not empty, in use: only a look tells.
    Ambiguous,
}

/// Texts of servers seen: vsftpd, ProFTPD, Pure-FTPd, pyftpdlib, IIS, FileZilla Server, Serv-U. All lower case.
const NO_SPACE: &[&str] = &[
    "no space left",
    "disk full",
    "disk is full",
    "quota exceeded",
    "quota limit",
    "exceeded quota",
    "over quota",
    "insufficient storage",
    "exceeded storage allocation",
    "not enough space",
];
const NAME_TOO_LONG: &[&str] = &["name too long", "path too long", "filename too long"];
const NAME_NOT_ALLOWED: &[&str] = &[
    "prohibited file name",
    "prohibited directory name",
    "invalid directory name",
    "invalid file name",
    "invalid filename",
    "file name not allowed",
    "filename not allowed",
    "file name, directory name, or volume label syntax is incorrect",
    "filename, directory name, or volume label syntax is incorrect",
    "illegal character",
    "invalid or incomplete multibyte",
    "illegal byte sequence",
];
const NOT_THERE: &[&str] = &[
    "no such file",
    "not found",
    "doesn't exist",
    "does not exist",
    "cannot find",
    "can't find",
    "check for file existence",
    "could not get file",
];
/// What a directory without entries is called by servers that refuse to list it (proftpd, DrFTPD).
const NO_ENTRIES: &[&str] = &["no files found", "no files in", "directory is empty", "empty directory"];

/// What `reply` says by its code and, where that leaves it open, by its text.
pub(super) fn meaning(reply: &Reply) -> Meaning {
    let says = |texts| says_one_of(reply, texts);
    match reply.code().number() {
        500 | 502 | 504 | 202 => Meaning::NotUnderstood,
        452 | 552 => Meaning::NoSpace,
        530 | 532 | 332 => Meaning::LoginLost,
        _ if says(NO_SPACE) => Meaning::NoSpace,
        _ if says(NAME_TOO_LONG) => Meaning::NameTooLong,
        // A transient refusal of a name would be no rule about names.
        _ if reply.class() == ReplyClass::Permanent && says(NAME_NOT_ALLOWED) => Meaning::NameNotAllowed,
        _ => Meaning::Ambiguous,
    }
}

/// Whether a command that servers need not have is unknown to this one. 501 counts too: for these it is how some
/// say that they know the verb, but not this use of it.
pub(super) fn is_not_understood(reply: &Reply) -> bool {
    meaning(reply) == Meaning::NotUnderstood || reply.code().number() == 501
}

/// Whether the text calls the file absent; a hint, never a proof.
pub(super) fn says_not_there(reply: &Reply) -> bool {
    says_one_of(reply, NOT_THERE)
}

/// Whether a refused listing only means that there is nothing to list. To be believed after the directory was entered.
pub(super) fn says_no_entries(reply: &Reply) -> bool {
    matches!(reply.code().number(), 450 | 550) && says_one_of(reply, NO_ENTRIES)
}

/// Whether the completion reply to an empty listing means that there was none. vsftpd: `226 Transfer done (but failed to
/// open directory).` for a directory that may be entered and not be read.
pub(super) fn says_not_listed(reply: &Reply) -> bool {
    says_one_of(reply, &["failed to open directory"])
}

fn says_one_of(reply: &Reply, texts: &[&str]) -> bool {
    let said = reply.text().to_ascii_lowercase();
    texts.iter().any(|text| said.contains(text))
}

/// The refusal as an error, where a look has shown that none of the more exact ones is meant.
pub(super) fn refused(reply: &Reply) -> RemoteError {
    let reply_text = reply.to_string();
    match meaning(reply) {
        Meaning::NotUnderstood => RemoteError::Failed { reason: reply_text },
        Meaning::NoSpace => RemoteError::NoSpace { reply: reply_text },
        Meaning::NameNotAllowed => RemoteError::NameNotAllowed { reason: reply_text },
        Meaning::NameTooLong => RemoteError::NameTooLong,
        Meaning::LoginLost => RemoteError::LoginRefused { reply: reply_text },
        Meaning::Ambiguous => match reply.class() {
            // Pure-FTPd says 451 to what it may never do as well, but always with the system's words.
            ReplyClass::Transient if !says_one_of(reply, &["permission denied", "not permitted"]) => {
                RemoteError::Interrupted { reason: reply_text }
            }
            _ => RemoteError::Refused { reply: reply_text },
        },
    }
}

/// What a refused command was to do with its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Read or remove a file that is there.
    File,
    /// Remove a directory that is there.
    RemoveDirectory,
    /// Change what is there, of whatever kind.
    Change,
    /// Store a file, new or not.
    Store,
    /// Make something that must not be there yet.
    Make,
}

impl Server {
    /// What it means that the server refused to do `purpose` with `path`; looks at the names where the reply leaves
    /// that open.
    pub(super) fn explain(&self, path: &RemotePath, reply: &Reply, purpose: Purpose, deadline: Instant) -> RemoteError {
        if !matches!(meaning(reply), Meaning::Ambiguous | Meaning::NameNotAllowed) {
            return refused(reply);
        }
        let looked = match purpose {
            Purpose::File | Purpose::Change => self.explain_present(path, purpose, deadline),
            Purpose::RemoveDirectory => self.explain_not_removed(path, deadline),
            Purpose::Store | Purpose::Make => self.explain_not_made(path, purpose, deadline),
        };
        match looked {
            // The look itself was refused: the first refusal is the one to tell.
            Ok(())
            | Err(RemoteError::Refused { .. } | RemoteError::Interrupted { .. } | RemoteError::Failed { .. }) => {
                refused(reply)
            }
            Err(error) => error,
        }
    }

    fn explain_present(&self, path: &RemotePath, purpose: Purpose, deadline: Instant) -> RemoteResult<()> {
        match (self.stat(path, deadline)?.kind, purpose) {
            (EntryKind::Directory, Purpose::File) => Err(RemoteError::IsDirectory),
            _ => Ok(()),
        }
    }

    fn explain_not_removed(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        match self.stat(path, deadline)?.kind {
            EntryKind::Directory => {}
            EntryKind::File | EntryKind::Symlink | EntryKind::Other => return Err(RemoteError::NotDirectory),
        }
        if self.list(path, deadline)?.entries.is_empty() { Ok(()) } else { Err(RemoteError::NotEmpty) }
    }

    fn explain_not_made(&self, path: &RemotePath, purpose: Purpose, deadline: Instant) -> RemoteResult<()> {
        match (self.stat(path, deadline), purpose) {
            (Ok(_), Purpose::Make) => Err(RemoteError::Exists),
            (Ok(entry), _) if entry.kind == EntryKind::Directory => Err(RemoteError::IsDirectory),
            (Ok(_), _) => Ok(()),
            (Err(RemoteError::NotFound), _) => match path.parent() {
                Some(parent) => match self.stat(&parent, deadline)?.kind {
                    EntryKind::Directory | EntryKind::Symlink => Ok(()),
                    EntryKind::File | EntryKind::Other => Err(RemoteError::NotDirectory),
                },
                None => Ok(()),
            },
            (Err(error), _) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;

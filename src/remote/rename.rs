//! Renaming: RNFR and RNTO, and what else it takes to have the rename(2) that programs rely on.
//!
//! Servers differ where the new name is taken: those on Unix replace the file, IIS and FileZilla Server refuse, some say
//! 250 and do nothing, some refuse and have done it. So the answer is checked by looking at both names.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{Purpose, refused};
use super::server::{Server, backup_path, is_done, temporary_path};
use super::store::Way;
use crate::pool::Verdict;
use crate::protocol::command::Command;
use crate::protocol::reply::{Reply, ReplyClass};
use crate::protocol::{Entry, EntryKind, RemotePath};

/// What lies at the two names.
struct Places {
    from: Option<Entry>,
    to: Option<Entry>,
}

/// A rename that the server would not do.
struct Refusal {
    reply: Reply,
    /// Whether RNFR was agreed to, so that there was something at the old name.
    is_source_there: bool,
}

impl Server {
    /// Renames, and replaces a file at `to`. Source: RFC 959 §4.1.3 (RNFR, RNTO).
    ///
    /// # Errors
    /// As [`super::Remote::rename`] says.
    pub(super) fn rename(&self, from: &RemotePath, to: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        self.check_name(to, deadline)?;
        self.rename_checked(from, to, deadline)
    }

    /// The same for a new name that the server is known to keep.
    ///
    /// # Errors
    /// As for [`Self::rename`].
    pub(super) fn rename_checked(&self, from: &RemotePath, to: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        match self.rename_once(from, to, deadline)? {
            None => Ok(()),
            Some(refusal) => self.resolve_refused_rename(from, to, &refusal, deadline),
        }
    }

    /// RNFR and RNTO in one packet; the refusal, if the server refuses. Looks at the result where the connection
    /// was lost, or where the server says yes and can be asked in the same packet whether the old name is gone.
    fn rename_once(&self, from: &RemotePath, to: &RemotePath, deadline: Instant) -> RemoteResult<Option<Refusal>> {
        let question =
            if self.profile().mlst.is_yes() { Command::Mlst(from.clone()) } else { Command::Size(from.clone()) };
        let commands = [Command::Rnfr(from.clone()), Command::Rnto(to.clone()), question];
        let look = || Ok(!self.exists(from, deadline)? && self.exists(to, deadline)?);
        let Some(replies) = self.order(&commands, deadline, look)? else { return Ok(None) };
        let [ready, renamed, old] = replies.as_slice() else {
            return Err(RemoteError::Protocol { reason: String::from("three commands have not three answers") });
        };
        if !is_done(renamed) {
            // Where RNFR is refused, that is the reason; RNTO was only out of turn.
            let is_source_there = ready.class() == ReplyClass::Intermediate;
            let reply = if is_source_there { renamed.clone() } else { ready.clone() };
            return Ok(Some(Refusal { reply, is_source_there }));
        }
        // On a server that does not tell upper from lower case, a file renamed from `A` to `a` is still found as `A`.
        let may_be_both = from.as_bytes().eq_ignore_ascii_case(to.as_bytes());
        if is_done(old) && !may_be_both && self.exists(from, deadline)? {
            // Somebody else may have made it anew, and what lies at the new name may be what was renamed: it must not be
            // taken for the old file unless the server is known to do nothing.
            return match from.parent() {
                Some(directory) if self.only_says_that_it_replaces(&directory, deadline)? => {
                    Ok(Some(Refusal { reply: renamed.clone(), is_source_there: true }))
                }
                _ => Err(refused_to_rename(renamed)),
            };
        }
        Ok(None)
    }

    /// Whether RNTO to a taken name says yes and does nothing (swiftp), tried out with two files of our own.
    fn only_says_that_it_replaces(&self, directory: &RemotePath, deadline: Instant) -> RemoteResult<bool> {
        let verdict = &self.profile().rename_replaces;
        if verdict.get() == Verdict::Unknown {
            let (from, to) = (temporary_path(directory), temporary_path(directory));
            let outcome = self.try_replacing(&from, &to, deadline);
            for path in [from, to] {
                self.discard(&path, deadline);
            }
            match outcome? {
                (Some(1), Some(2)) => verdict.learn(Verdict::No),
                (None, Some(1)) => verdict.learn(Verdict::Yes),
                _ => {}
            }
        }
        Ok(verdict.is_no())
    }

    /// Renames a file of one byte over one of two, and returns the sizes found at both names.
    fn try_replacing(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        deadline: Instant,
    ) -> RemoteResult<(Option<u64>, Option<u64>)> {
        self.put(&Way::from_the_start(from), b"a", deadline)?;
        self.put(&Way::from_the_start(to), b"bb", deadline)?;
        self.tell(&[Command::Rnfr(from.clone()), Command::Rnto(to.clone())], deadline)?;
        let size_of = |entry: Option<Entry>| entry.and_then(|entry| entry.size);
        Ok((size_of(self.find(from, deadline)?), size_of(self.find(to, deadline)?)))
    }

    /// Looks at both names after a refusal, and does in steps what rename(2) does in one.
    fn resolve_refused_rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        Refusal { reply: refusal, is_source_there }: &Refusal,
        deadline: Instant,
    ) -> RemoteResult<()> {
        let places = Places { from: self.find(from, deadline)?, to: self.find(to, deadline)? };
        let kinds = (places.from.map(|entry| entry.kind), places.to.map(|entry| entry.kind));
        match kinds {
            (None, Some(_)) if *is_source_there => {
                tracing::info!(%from, %to, reply = %refusal, "refused, and yet renamed");
                Ok(())
            }
            // What lies at the new name then has lain there before.
            (None, _) => Err(RemoteError::NotFound),
            (Some(_), None) if is_done(refusal) => Err(refused_to_rename(refusal)),
            (Some(_), None) => Err(self.explain(to, refusal, Purpose::Make, deadline)),
            (Some(EntryKind::Directory), Some(EntryKind::Directory)) => {
                if !self.list(to, deadline)?.entries.is_empty() {
                    return Err(RemoteError::NotEmpty);
                }
                self.replace_empty_directory(from, to, refusal, deadline)
            }
            (Some(EntryKind::Directory), Some(_)) => Err(RemoteError::NotDirectory),
            (Some(_), Some(EntryKind::Directory)) => Err(RemoteError::IsDirectory),
            (Some(_), Some(_)) => self.replace_by_backup(from, to, refusal, deadline),
        }
    }

    fn find(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<Option<Entry>> {
        match self.stat(path, deadline) {
            Ok(entry) => Ok(Some(entry)),
            Err(RemoteError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// rename(2) replaces an empty directory; nothing is lost when it is removed first.
    fn replace_empty_directory(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        refusal: &Reply,
        deadline: Instant,
    ) -> RemoteResult<()> {
        // Refused as well: then the directory is none of ours, and the rename's own refusal is the answer.
        self.remove_directory(to, deadline).map_err(|_| refused_to_rename(refusal))?;
        match self.rename_once(from, to, deadline)? {
            None => Ok(()),
            Some(refusal) => {
                if let Err(error) = self.make_directory(to, deadline) {
                    tracing::warn!(%to, %error, "an empty directory that was to be replaced is gone");
                }
                Err(self.explain(to, &refusal.reply, Purpose::Make, deadline))
            }
        }
    }

    /// Gives the file at `to` another name, renames, and only then removes it; gives it its name back where that fails.
    fn replace_by_backup(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        refusal: &Reply,
        deadline: Instant,
    ) -> RemoteResult<()> {
        let Some(backup) = backup_path(to) else { return Err(refused_to_rename(refusal)) };
        // Not even the target alone can be renamed: that the name was taken was not the reason.
        match self.rename_once(to, &backup, deadline) {
            Ok(None) => {}
            Ok(Some(_)) => return Err(refused_to_rename(refusal)),
            Err(error) => {
                self.restore(&backup, to);
                return Err(error);
            }
        }
        let result = self.rename_once(from, to, deadline);
        if let Ok(None) = result {
            if let Err(error) = self.remove_own_file(&backup, deadline) {
                tracing::warn!(%backup, %error, "a replaced file was left behind");
            }
            return Ok(());
        }
        self.restore(&backup, to);
        match result? {
            Some(refusal) => Err(refused_to_rename(&refusal.reply)),
            None => Ok(()),
        }
    }

    /// With time of its own: the old content must not lie under a strange name because the time was up. Only where the
    /// name is proved free: what the lost connection may have put there is newer.
    fn restore(&self, backup: &RemotePath, to: &RemotePath) {
        let deadline = self.deadline();
        let problem = match self.exists(to, deadline) {
            Ok(true) => String::from("its name is taken"),
            Ok(false) => match self.rename_once(backup, to, deadline) {
                Ok(None) => return,
                Ok(Some(refusal)) => refusal.reply.to_string(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::error!(%to, %backup, problem, "the old content lies under another name");
    }
}

/// The server's reply as an error; also where it says yes, and is not to be believed.
fn refused_to_rename(reply: &Reply) -> RemoteError {
    if is_done(reply) {
        let reason = format!("it says that it has renamed ({reply}), and the old name is still there");
        return RemoteError::Failed { reason };
    }
    refused(reply)
}

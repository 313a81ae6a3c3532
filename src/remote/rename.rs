//! Renaming: RNFR and RNTO, and what else it takes to have the rename(2) that programs rely on.
//!
//! Servers differ where the new name is taken: those on Unix replace the file, IIS and FileZilla Server refuse, some say
//! 250 and do nothing, some refuse and have done it. So the answer is checked by looking at both names.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{Purpose, refused};
use super::server::{Server, backup_path, is_done, parse_number, temporary_path};
use super::set_modified::modified_told;
use super::store::Way;
use crate::pool::{Lease, Verdict};
use crate::protocol::command::Command;
use crate::protocol::reply::{Reply, ReplyClass};
use crate::protocol::{Entry, EntryKind, RemotePath, Timestamp};

/// What lies at the two names.
struct Places {
    from: Option<Entry>,
    to: Option<Entry>,
}

/// The replies to one packet with a rename in it.
struct RenameReplies {
    before: Vec<Reply>,
    /// To RNFR, RNTO, and whether the old name is still there.
    rename: Vec<Reply>,
    behind: Vec<Reply>,
}

/// What is under a name that was given to a file of ours.
pub(super) struct Promoted {
    /// Its size.
    pub(super) size: Option<u64>,
    /// The time that was asked for, where the file is proved to have it.
    pub(super) time_kept: Option<Timestamp>,
    /// The permission bits that were asked for, where they are set.
    pub(super) mode_kept: Option<u32>,
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
    fn rename_checked(&self, from: &RemotePath, to: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        match self.rename_once(from, to, deadline)? {
            None => Ok(()),
            Some(refusal) => self.resolve_refused_rename(from, to, &refusal, deadline),
        }
    }

    /// RNFR and RNTO in one packet; the refusal, if the server refuses. Looks at the result where the connection
    /// was lost, or where the server says yes and can be asked in the same packet whether the old name is gone.
    fn rename_once(&self, from: &RemotePath, to: &RemotePath, deadline: Instant) -> RemoteResult<Option<Refusal>> {
        match self.order_rename(None, from, to, &[], &[], deadline)? {
            Some(replies) => self.judge_rename(from, to, &replies, deadline),
            None => Ok(None),
        }
    }

    /// The rename in one packet with what goes before and behind it, on `lease` if there is one; `None` where the connection was lost, and a look has shown that it
    /// was done.
    ///
    /// RNTO behind a refused RNFR does nothing (measured: 503 on vsftpd, ProFTPD, Pure-FTPd and pyftpdlib, also where an earlier RNFR was
    /// agreed to and its RNTO refused), and a question about the result is only believed where RNTO was done.
    fn order_rename(
        &self,
        lease: Option<Lease>,
        from: &RemotePath,
        to: &RemotePath,
        before: &[Command],
        behind: &[Command],
        deadline: Instant,
    ) -> RemoteResult<Option<RenameReplies>> {
        let question =
            if self.profile().mlst.is_yes() { Command::Mlst(from.clone()) } else { Command::Size(from.clone()) };
        let rename = [Command::Rnfr(from.clone()), Command::Rnto(to.clone()), question];
        let look = || Ok(!self.exists(from, deadline)? && self.exists(to, deadline)?);
        let Some(mut replies) = self.order_on(lease, &[before, &rename, behind].concat(), deadline, look)? else {
            return Ok(None);
        };
        if replies.len() != before.len() + rename.len() + behind.len() {
            return Err(RemoteError::Protocol { reason: String::from("commands have no answers") });
        }
        let behind = replies.split_off(before.len() + rename.len());
        let rename = replies.split_off(before.len());
        Ok(Some(RenameReplies { before: replies, rename, behind }))
    }

    /// The refusal, if it was one.
    fn judge_rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replies: &RenameReplies,
        deadline: Instant,
    ) -> RemoteResult<Option<Refusal>> {
        let [ready, renamed, old] = replies.rename.as_slice() else {
            return Err(RemoteError::Protocol { reason: String::from("three commands have not three answers") });
        };
        let is_agreed = ready.class() == ReplyClass::Intermediate;
        if is_done(renamed) && !is_agreed {
            // Another name that was agreed to before: what lies at the new one now, nobody knows.
            let reason = format!("RNFR {from} was answered by {ready}, and RNTO {to} by {renamed}");
            return Err(RemoteError::Failed { reason });
        }
        if !is_done(renamed) {
            // Where RNFR is refused, that is the reason; RNTO was only out of turn.
            let reply = if is_agreed { renamed.clone() } else { ready.clone() };
            return Ok(Some(Refusal { reply, is_source_there: is_agreed }));
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

    /// Gives a complete file of ours its name, in one packet with the permission bits and the time that it is to have.
    ///
    /// That they cannot be set is no error: the content counts. They are set while it has its own name still: behind a rename that is refused they would
    /// be set on what it was to replace. `lease` is the session that stored it: it has nothing else to do until its next data connection stands.
    ///
    /// # Errors
    /// As for [`Self::rename`].
    pub(super) fn promote(
        &self,
        lease: Option<Lease>,
        from: &RemotePath,
        to: &RemotePath,
        mode: Option<u32>,
        time: Option<Timestamp>,
        deadline: Instant,
    ) -> RemoteResult<Promoted> {
        let mut before = mode.map(|mode| self.set_mode_commands(from, mode)).unwrap_or_default();
        let has_mode = !before.is_empty();
        let time = time.and_then(|time| self.set_modified_command(from, time));
        let mut behind = vec![Command::Size(to.clone())];
        if let Some(order) = &time {
            before.push(order.command.clone());
            behind.extend(self.modified_questions(to));
        }
        let Some(replies) = self.order_rename(lease, from, to, &before, &behind, deadline)? else {
            return Ok(Promoted { size: self.size_of(to, deadline)?, time_kept: None, mode_kept: None });
        };
        let mode_kept = mode.filter(|mode| has_mode && self.is_mode_kept(from, *mode, &replies.before, deadline));
        if let Some(refusal) = self.judge_rename(from, to, &replies, deadline)? {
            self.resolve_refused_rename(from, to, &refusal, deadline)?;
            return Ok(Promoted { size: self.size_of(to, deadline)?, time_kept: None, mode_kept: None });
        }
        let size = match replies.behind.first().and_then(parse_number) {
            Some(size) => Some(size),
            None => self.size_of(to, deadline)?,
        };
        let told = replies.behind.get(1..).and_then(|replies| modified_told(to, replies));
        let is_set = replies.before.last().is_some_and(is_done);
        let time_kept = time.and_then(|order| order.kept(is_set, told));
        Ok(Promoted { size, time_kept, mode_kept })
    }

    pub(super) fn is_mode_kept(&self, path: &RemotePath, mode: u32, replies: &[Reply], deadline: Instant) -> bool {
        let checked = self.check_mode_set(path, mode, replies, deadline);
        if let Err(error) = &checked {
            tracing::debug!(%path, %error, "the permission bits are not kept");
        }
        checked.is_ok()
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

//! Renaming: RNFR and RNTO, and what else it takes to have the rename(2) that programs rely on.
//!
//! Servers differ where the new name is taken: those on Unix replace the file, IIS and FileZilla Server refuse, some say
//! 250 and do nothing, some refuse and have done it. So the answer is checked by looking at both names.

use std::cell::RefCell;
use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{Purpose, refused};
use super::server::{Ordered, Server, backup_path, is_done, parse_number, temporary_path};
use super::set_modified::modified_told;
use super::store::Way;
use crate::pool::{Lease, Verdict};
use crate::protocol::command::Command;
use crate::protocol::reply::{Reply, ReplyClass};
use crate::protocol::{Entry, EntryKind, Precision, RemotePath, Timestamp};

/// A complete file of ours, under a name that nobody else knows.
#[derive(Debug, Clone)]
pub(super) struct OwnFile {
    pub(super) path: RemotePath,
    pub(super) size: u64,
    /// Its time, where the server has told it.
    pub(super) modified: Option<Timestamp>,
    /// The server's own mark, likewise.
    pub(super) unique: Option<Box<[u8]>>,
}

impl OwnFile {
    /// Whether this is what was found under another name, where it may have `time` instead of its own. Where more than the size is known of it that is
    /// no proof: what it was to replace may have the same.
    fn is_shown_by(&self, entry: &Entry, time: Option<Timestamp>) -> bool {
        if entry.kind != EntryKind::File || entry.size != Some(self.size) {
            return false;
        }
        if let (Some(own), Some(there)) = (&self.unique, &entry.unique) {
            return own == there;
        }
        let Some(own) = self.modified else { return true };
        let time = time.map(|time| Timestamp { precision: Precision::Second, ..time });
        entry.modified.is_some_and(|there| own.agrees_with(&there) || time.is_some_and(|time| time.agrees_with(&there)))
    }

    /// swiftp says 250 to a rename onto a taken name, and does nothing.
    fn check_size(&self, there: Option<u64>) -> RemoteResult<()> {
        if there == Some(self.size) {
            return Ok(());
        }
        let reason = format!("{} bytes were to replace the file, and the server says {there:?}", self.size);
        Err(RemoteError::Failed { reason })
    }
}

/// A rename that is wanted.
#[derive(Clone, Copy)]
struct Move<'a> {
    from: &'a RemotePath,
    to: &'a RemotePath,
    /// What lies at `from`, if it is ours alone, and the time that it may get on the way.
    own: Option<(&'a OwnFile, Option<Timestamp>)>,
}

impl<'a> Move<'a> {
    fn new(from: &'a RemotePath, to: &'a RemotePath) -> Self {
        Self { from, to, own: None }
    }

    /// Whether what lies at the two names shows that it was done.
    ///
    /// # Errors
    /// Where a file of ours is at neither, as far as that can be told: it has to be stored once more.
    fn is_done(&self, from: Option<&Entry>, to: Option<&Entry>) -> RemoteResult<bool> {
        match (self.own, to) {
            _ if from.is_some() => Ok(false),
            (None, to) => Ok(to.is_some()),
            (Some((own, time)), Some(entry)) if own.is_shown_by(entry, time) => Ok(true),
            (Some(_), _) => {
                let reason = format!("{} is gone, and what lies at {} is not proved to be it", self.from, self.to);
                Err(RemoteError::Interrupted { reason })
            }
        }
    }
}

/// The replies to one packet with a rename in it.
struct RenameReplies {
    before: Vec<Reply>,
    /// To RNFR, RNTO, and whether the old name is still there.
    rename: Vec<Reply>,
    behind: Vec<Reply>,
    is_repeated: bool,
    /// What lay at the old name when it was looked for between two orders.
    seen: Option<Entry>,
}

/// What a file of ours has got with its name.
#[derive(Default)]
pub(super) struct Promoted {
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
    /// It may have been done before, by the same order given once already.
    is_repeated: bool,
    /// What lay at the old name when it was looked for between the two.
    seen: Option<Entry>,
}

/// Whether what was seen under one name is proved to lie under another one now: by the server's own mark, or by size and time.
fn is_the_same(seen: &Entry, there: &Entry) -> bool {
    if seen.kind != there.kind || seen.size != there.size {
        return false;
    }
    match (&seen.unique, &there.unique) {
        (Some(seen), Some(there)) => seen == there,
        _ => seen.modified.zip(there.modified).is_some_and(|(seen, there)| seen.agrees_with(&there)),
    }
}

impl Server {
    /// Renames, and replaces a file at `to`. Source: RFC 959 §4.1.3 (RNFR, RNTO).
    ///
    /// # Errors
    /// As [`super::Remote::rename`] says.
    pub(super) fn rename(&self, from: &RemotePath, to: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        self.check_name(to, deadline)?;
        let rename = Move::new(from, to);
        match self.rename_once(rename, deadline)? {
            None => Ok(()),
            Some(refusal) => self.resolve_refused_rename(rename, &refusal, deadline),
        }
    }

    /// RNFR and RNTO in one packet; the refusal, if the server refuses. Looks at the result where the connection
    /// was lost, or where the server says yes and can be asked in the same packet whether the old name is gone.
    fn rename_once(&self, rename: Move, deadline: Instant) -> RemoteResult<Option<Refusal>> {
        match self.order_rename(None, rename, &[], &[], deadline)? {
            Some(replies) => self.judge_rename(rename, &replies, deadline),
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
        wanted: Move,
        before: &[Command],
        behind: &[Command],
        deadline: Instant,
    ) -> RemoteResult<Option<RenameReplies>> {
        let Move { from, to, .. } = wanted;
        let question =
            if self.profile().mlst.is_yes() { Command::Mlst(from.clone()) } else { Command::Size(from.clone()) };
        let rename = [Command::Rnfr(from.clone()), Command::Rnto(to.clone()), question];
        let seen = RefCell::new(None);
        let look = || match self.find(from, deadline)? {
            Some(entry) => {
                *seen.borrow_mut() = Some(entry);
                Ok(false)
            }
            None => wanted.is_done(None, self.find(to, deadline)?.as_ref()),
        };
        let ordered = self.order_on(lease, &[before, &rename, behind].concat(), deadline, look)?;
        let Ordered::Answered { mut replies, is_repeated } = ordered else { return Ok(None) };
        if replies.len() != before.len() + rename.len() + behind.len() {
            return Err(RemoteError::Protocol { reason: String::from("commands have no answers") });
        }
        let behind = replies.split_off(before.len() + rename.len());
        let rename = replies.split_off(before.len());
        Ok(Some(RenameReplies { before: replies, rename, behind, is_repeated, seen: seen.into_inner() }))
    }

    /// The refusal, if it was one.
    fn judge_rename(
        &self,
        Move { from, to, .. }: Move,
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
            let RenameReplies { is_repeated, ref seen, .. } = *replies;
            return Ok(Some(Refusal { reply, is_source_there: is_agreed, is_repeated, seen: seen.clone() }));
        }
        // On a server that does not tell upper from lower case, a file renamed from `A` to `a` is still found as `A`.
        let may_be_both = from.as_bytes().eq_ignore_ascii_case(to.as_bytes());
        if is_done(old) && !may_be_both && self.exists(from, deadline)? {
            // Somebody else may have made it anew, and what lies at the new name may be what was renamed: it must not be
            // taken for the old file unless the server is known to do nothing.
            return match from.parent() {
                Some(directory) if self.only_says_that_it_replaces(&directory, deadline)? => {
                    let reply = renamed.clone();
                    Ok(Some(Refusal { reply, is_source_there: true, is_repeated: false, seen: None }))
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
    /// As for [`Self::rename`]; [`RemoteError::Interrupted`] where the answer was lost and what lies under the name is not proved to be this file.
    pub(super) fn promote(
        &self,
        lease: Option<Lease>,
        own: &OwnFile,
        to: &RemotePath,
        mode: Option<u32>,
        time: Option<Timestamp>,
        deadline: Instant,
    ) -> RemoteResult<Promoted> {
        let from = &own.path;
        let mut before = mode.map(|mode| self.set_mode_commands(from, mode)).unwrap_or_default();
        let has_mode = !before.is_empty();
        let time = time.and_then(|time| self.set_modified_command(from, time));
        let mut behind = vec![Command::Size(to.clone())];
        if let Some(order) = &time {
            before.push(order.command.clone());
            behind.extend(self.modified_questions(to));
        }
        let rename = Move { from, to, own: Some((own, time.as_ref().map(|order| order.time))) };
        let Some(replies) = self.order_rename(lease, rename, &before, &behind, deadline)? else {
            return Ok(Promoted::default());
        };
        let mode_kept = mode.filter(|mode| has_mode && self.is_mode_kept(from, *mode, &replies.before, deadline));
        if let Some(refusal) = self.judge_rename(rename, &replies, deadline)? {
            self.resolve_refused_rename(rename, &refusal, deadline)?;
            return own.check_size(self.size_of(to, deadline)?).map(|()| Promoted::default());
        }
        let size = match replies.behind.first().and_then(parse_number) {
            Some(size) => Some(size),
            None => self.size_of(to, deadline)?,
        };
        own.check_size(size)?;
        let told = replies.behind.get(1..).and_then(|replies| modified_told(to, replies));
        let is_set = replies.before.last().is_some_and(is_done);
        let time_kept = time.and_then(|order| order.kept(is_set, told));
        Ok(Promoted { time_kept, mode_kept })
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
        rename: Move,
        Refusal { reply: refusal, is_source_there, is_repeated, seen }: &Refusal,
        deadline: Instant,
    ) -> RemoteResult<()> {
        let Move { from, to, own } = rename;
        let (old, new) = (self.find(from, deadline)?, self.find(to, deadline)?);
        match (old.as_ref().map(|entry| entry.kind), new.as_ref().map(|entry| entry.kind)) {
            // Somebody else may have taken it away meanwhile.
            (None, _) if *is_repeated && own.is_none() && !*is_source_there => match (seen, &new) {
                (Some(seen), Some(there)) if is_the_same(seen, there) => Ok(()),
                _ => Err(RemoteError::NotFound),
            },
            (None, _) if *is_source_there || own.is_some() => {
                if !rename.is_done(None, new.as_ref())? {
                    return Err(RemoteError::NotFound);
                }
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
                self.replace_empty_directory(rename, refusal, deadline)
            }
            (Some(EntryKind::Directory), Some(_)) => Err(RemoteError::NotDirectory),
            (Some(_), Some(EntryKind::Directory)) => Err(RemoteError::IsDirectory),
            (Some(_), Some(_)) => self.replace_by_backup(rename, refusal, deadline),
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
    fn replace_empty_directory(&self, rename: Move, refusal: &Reply, deadline: Instant) -> RemoteResult<()> {
        let to = rename.to;
        // Refused as well: then the directory is none of ours, and the rename's own refusal is the answer.
        self.remove_directory(to, deadline).map_err(|_| refused_to_rename(refusal))?;
        match self.rename_once(rename, deadline)? {
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
    fn replace_by_backup(&self, rename: Move, refusal: &Reply, deadline: Instant) -> RemoteResult<()> {
        let to = rename.to;
        let Some(backup) = backup_path(to) else { return Err(refused_to_rename(refusal)) };
        // Not even the target alone can be renamed: that the name was taken was not the reason.
        match self.rename_once(Move::new(to, &backup), deadline) {
            Ok(None) => {}
            Ok(Some(_)) => return Err(refused_to_rename(refusal)),
            Err(error) => {
                self.restore(&backup, to);
                return Err(error);
            }
        }
        let result = self.rename_once(rename, deadline);
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
            Ok(false) => match self.rename_once(Move::new(backup, to), deadline) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Name;

    fn at(seconds: i64, precision: Precision) -> Timestamp {
        Timestamp { seconds, nanoseconds: 0, precision }
    }

    fn own(modified: Option<Timestamp>, unique: Option<&[u8]>) -> OwnFile {
        let path = RemotePath::parse(b"/d/.ftpfs-0.part").unwrap();
        OwnFile { path, size: 7, modified, unique: unique.map(Box::from) }
    }

    fn found(size: Option<u64>, modified: Option<Timestamp>, unique: Option<&[u8]>) -> Entry {
        let entry = Entry::new(Name::new("f").unwrap(), EntryKind::File);
        Entry { size, modified, unique: unique.map(Box::from), ..entry }
    }

    #[test]
    fn file_is_known_again_by_its_mark_and_else_by_its_time() {
        let (then, wished) = (at(100, Precision::Second), at(50, Precision::Nanosecond));
        let marked = own(Some(then), Some(b"a"));
        assert!(marked.is_shown_by(&found(Some(7), Some(wished), Some(b"a")), None));
        assert!(!marked.is_shown_by(&found(Some(7), Some(then), Some(b"b")), None));
        for known in [marked, own(Some(then), None)] {
            assert!(known.is_shown_by(&found(Some(7), Some(then), None), None));
            assert!(known.is_shown_by(&found(Some(7), Some(at(60, Precision::Minute)), None), None));
            assert!(known.is_shown_by(&found(Some(7), Some(at(50, Precision::Second)), None), Some(wished)));
            assert!(!known.is_shown_by(&found(Some(7), Some(at(50, Precision::Second)), None), None));
            assert!(!known.is_shown_by(&found(Some(7), Some(at(99, Precision::Second)), None), Some(wished)));
            assert!(!known.is_shown_by(&found(Some(7), None, None), Some(wished)), "it was told before");
        }
    }

    #[test]
    fn file_of_which_nothing_but_its_size_was_told_is_known_again_by_that() {
        assert!(own(None, None).is_shown_by(&found(Some(7), Some(at(100, Precision::Second)), None), None));
        assert!(!own(None, None).is_shown_by(&found(Some(8), None, None), None));
        assert!(!own(None, None).is_shown_by(&found(None, None, None), None));
        let directory = Entry { kind: EntryKind::Directory, ..found(Some(7), None, None) };
        assert!(!own(None, None).is_shown_by(&directory, None));
    }
}

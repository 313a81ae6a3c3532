//! One entry: MLST; else SIZE, MDTM and CWD; and where those are refused, the listing of its directory.
//!
//! A refusal proves nothing: vsftpd refuses SIZE, MDTM, CWD and even RNFR for a link that points nowhere, and all do
//! for what they may not look into. What is absent is proved by the complete listing of the directory it would be in.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{is_not_understood, refused, says_not_there};
use super::server::{Server, is_done, parse_size_and_time};
use crate::protocol::command::Command;
use crate::protocol::listing::mlsd::parse_mlst;
use crate::protocol::reply::Reply;
use crate::protocol::{Entry, EntryKind, Name, RemotePath};

impl Server {
    /// Asks for one entry. Source: RFC 3659 §7 (MLST), §4 (SIZE), §3 (MDTM).
    ///
    /// # Errors
    /// [`RemoteError::NotFound`] only where proved; [`RemoteError::NotDirectory`] where what should be its directory is none.
    pub(super) fn stat(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<Entry> {
        let Some(name) = path.name() else { return self.stat_root(path, deadline) };
        let refusal = if self.profile().mlst.is_no() {
            None
        } else {
            match self.stat_by_facts(path, &name, deadline)? {
                Ok(entry) => return Ok(entry),
                Err(reply) => Some(reply),
            }
        };
        match refusal {
            // Where MLST works, its refusal leaves little for SIZE and CWD to find.
            Some(reply) if self.profile().mlst.is_yes() => self.find_in_listing(path, &name, reply, deadline),
            _ => match self.stat_by_probes(path, &name, deadline)? {
                Ok(entry) => Ok(entry),
                Err(reply) => self.find_in_listing(path, &name, reply, deadline),
            },
        }
    }

    /// The root is always there and always a directory; MLST may tell its times.
    fn stat_root(&self, root: &RemotePath, deadline: Instant) -> RemoteResult<Entry> {
        let name = Name::new("root").expect("letters are a name");
        let mut entry = Entry::new(name.clone(), EntryKind::Directory);
        if self.profile().mlst.is_no() {
            let reply = self.ask_one(Command::Cwd(root.clone()), deadline)?;
            return if is_done(&reply) { Ok(entry) } else { Err(refused(&reply)) };
        }
        if let Ok(told) = self.stat_by_facts(root, &name, deadline)? {
            entry = Entry { kind: EntryKind::Directory, ..told };
        }
        Ok(entry)
    }

    /// MLST. The inner error is the refusal.
    fn stat_by_facts(&self, path: &RemotePath, name: &Name, deadline: Instant) -> RemoteResult<Result<Entry, Reply>> {
        let reply = self.ask_one(Command::Mlst(path.clone()), deadline)?;
        if !is_done(&reply) {
            if is_not_understood(&reply) {
                self.profile().mlst.learn_if(false);
            }
            return Ok(Err(reply));
        }
        let Some(entry) = self.facts_of(path, name, &reply)? else {
            tracing::warn!(%path, %reply, "MLST says no facts; it is not asked any more");
            self.profile().mlst.learn_if(false);
            return Ok(Err(reply));
        };
        self.profile().mlst.learn_if(true);
        Ok(Ok(entry))
    }

    /// The entry in a reply to MLST; `None` where there are no facts.
    ///
    /// # Errors
    /// Where it is about another name.
    pub(super) fn facts_of(&self, path: &RemotePath, name: &Name, reply: &Reply) -> RemoteResult<Option<Entry>> {
        let told = reply.lines().iter().find_map(|line| Some((line, parse_mlst(line, name.clone())?)));
        let Some((line, entry)) = told else { return Ok(None) };
        self.check_name_told(path, name, line)?;
        Ok(Some(entry))
    }

    /// An answer about another name belongs to another command. Servers that have never repeated the name that was
    /// asked for cannot be judged so: some write the path on their disk there, or their own spelling.
    fn check_name_told(&self, path: &RemotePath, name: &Name, line: &[u8]) -> RemoteResult<()> {
        let line = line.strip_prefix(b" ").unwrap_or(line);
        let told =
            line.iter().position(|byte| *byte == b' ').and_then(|space| line.get(space + 1..)).unwrap_or_default();
        let is_same = told == path.as_bytes()
            || told.strip_suffix(name.as_bytes()).is_some_and(|before| before.is_empty() || before.ends_with(b"/"));
        if is_same {
            self.known.mlst_repeats_name.learn_if(true);
            return Ok(());
        }
        if path.is_root() || !self.known.mlst_repeats_name.is_yes() {
            return Ok(());
        }
        self.known.mlst_repeats_name.learn_if(false);
        Err(RemoteError::Protocol { reason: format!("asked for {path}, it told of \"{}\"", told.escape_ascii()) })
    }

    /// SIZE, MDTM and CWD in one packet. The inner error is the first refusal.
    fn stat_by_probes(&self, path: &RemotePath, name: &Name, deadline: Instant) -> RemoteResult<Result<Entry, Reply>> {
        let questions = [Command::Size(path.clone()), Command::Mdtm(path.clone()), Command::Cwd(path.clone())];
        let replies = self.ask(&questions, deadline)?;
        let [size, modified, entered] = replies.as_slice() else {
            return Err(RemoteError::Protocol { reason: String::from("three questions have not three answers") });
        };
        if is_done(entered) {
            return Ok(Ok(Entry::new(name.clone(), EntryKind::Directory)));
        }
        match parse_size_and_time(size, modified)? {
            (Some(bytes), modified) => {
                let mut entry = Entry::new(name.clone(), EntryKind::File);
                entry.size = Some(bytes);
                entry.modified = modified;
                Ok(Ok(entry))
            }
            (None, _) => Ok(Err(entered.clone())),
        }
    }

    /// What the listing of its directory says, after `refusal` was the answer to all direct questions.
    fn find_in_listing(
        &self,
        path: &RemotePath,
        name: &Name,
        refusal: Reply,
        deadline: Instant,
    ) -> RemoteResult<Entry> {
        let Some(parent) = path.parent() else { return Err(refused(&refusal)) };
        let is_complete = match self.list(&parent, deadline) {
            Ok(listing) => {
                if let Some(entry) = listing.entries.into_iter().find(|entry| entry.name == *name) {
                    return Ok(entry);
                }
                listing.complete
            }
            // It may be looked into, name by name, but not listed.
            Err(RemoteError::Refused { .. }) => false,
            Err(error) => return Err(error),
        };
        if is_complete || self.is_denied_by_all(path, &refusal, deadline)? {
            return Err(RemoteError::NotFound);
        }
        Err(refused(&refusal))
    }

    /// Where a listing cannot prove it: whether its directory can be entered, each way to ask is refused, and one of the
    /// refusals calls it absent. Of a directory that cannot be entered the server knows nothing either, and says the same.
    fn is_denied_by_all(&self, path: &RemotePath, refusal: &Reply, deadline: Instant) -> RemoteResult<bool> {
        let Some(parent) = path.parent() else { return Ok(false) };
        let questions = [
            Command::Cwd(parent),
            Command::Size(path.clone()),
            Command::Mdtm(path.clone()),
            Command::Cwd(path.clone()),
        ];
        let replies = self.ask(&questions, deadline)?;
        let Some((entered, denials)) = replies.split_first() else { return Ok(false) };
        Ok(is_done(entered) && !denials.iter().any(is_done) && denials.iter().chain([refusal]).any(says_not_there))
    }
}

//! What a file is, asked for in the packet of a read: the answer comes with the first bytes, and nobody waits for it by itself.
//!
//! The question goes before REST or RANG and RETR, so that its answer stands before their own; a transfer hands out no byte before all of them
//! have come (`pool::transfer`). It says what the file was when the server came to open it. Only the usual question is asked there, and only
//! programs that answer in their turn what comes in one packet; a refusal means nothing, and is no verdict on the question. Whoever is told nothing asks by
//! [`super::Remote::stat`].

use std::time::Instant;

use super::error::RemoteResult;
use super::server::{Server, parse_size_and_time};
use crate::pool::{ActiveTransfer, Lease, ServerKind};
use crate::protocol::command::Command;
use crate::protocol::reply::Reply;
use crate::protocol::{Entry, EntryKind, RemotePath};

/// What the server said of a file when a read of it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The file.
    pub entry: Entry,
    /// When it was asked: the answer is no older.
    pub at: Instant,
}

/// The question of one read, and what came of it.
pub(super) struct Question<'a> {
    /// What is thought to be the file's size.
    pub(super) size: Option<u64>,
    is_due: &'a dyn Fn() -> bool,
    asked: Option<Instant>,
    replies: Vec<Reply>,
}

impl<'a> Question<'a> {
    /// One that is asked where `is_due` says so: once there is a session, which may have taken a while.
    pub(super) fn new(size: Option<u64>, is_due: &'a dyn Fn() -> bool) -> Self {
        Self { size, is_due, asked: None, replies: Vec::new() }
    }

    /// One that nobody asks.
    pub(super) fn none() -> Self {
        Self::new(None, &|| false)
    }

    /// What goes before a RETR on this session.
    pub(super) fn commands(&mut self, server: &Server, lease: &Lease, path: &RemotePath) -> Vec<Command> {
        (self.asked, self.replies) = (None, Vec::new());
        let answers_in_turn = answers_in_turn(lease.kind()) && lease.control().is_pipelining();
        if !answers_in_turn || !(self.is_due)() {
            return Vec::new();
        }
        self.asked = Some(Instant::now());
        server.version_questions(path)
    }

    /// Takes what was said before the transfer.
    pub(super) fn hear(&mut self, transfer: &ActiveTransfer) {
        self.replies = transfer.told().to_vec();
    }

    /// The file as it was told; `None` where it was not.
    ///
    /// # Errors
    /// Where the answer is about something else.
    pub(super) fn told(&self, server: &Server, path: &RemotePath) -> RemoteResult<Option<Told>> {
        let Some(at) = self.asked else { return Ok(None) };
        Ok(server.version_told(path, &self.replies)?.map(|entry| Told { entry, at }))
    }
}

/// Whether it is a program that was seen to answer what goes before a transfer in its packet.
fn answers_in_turn(kind: ServerKind) -> bool {
    match kind {
        ServerKind::Vsftpd | ServerKind::ProFtpd | ServerKind::PureFtpd | ServerKind::Pyftpdlib => true,
        ServerKind::Iis | ServerKind::FileZilla | ServerKind::Other => false,
    }
}

impl Server {
    /// Whether a read can bring the answer with it.
    pub(super) fn tells_with_reads(&self, path: &RemotePath) -> bool {
        let profile = self.profile();
        let is_pipelining = self.pool.options().pipelining && !profile.pipelining.is_no();
        answers_in_turn(profile.kind()) && is_pipelining && !self.version_questions(path).is_empty()
    }

    /// What tells one version of a file from another; none where that takes more than one packet.
    fn version_questions(&self, path: &RemotePath) -> Vec<Command> {
        let profile = self.profile();
        if !profile.mlst.is_no() {
            return vec![Command::Mlst(path.clone())];
        }
        if profile.size.is_no() || profile.mdtm.is_no() {
            return Vec::new();
        }
        vec![Command::Size(path.clone()), Command::Mdtm(path.clone())]
    }

    /// The file as the answers show it; `None` where they do not.
    fn version_told(&self, path: &RemotePath, replies: &[Reply]) -> RemoteResult<Option<Entry>> {
        let Some(name) = path.name() else { return Ok(None) };
        let is = |reply: &Reply, code| reply.code().number() == code;
        let told = match replies {
            [facts] if is(facts, 250) => self.facts_of(path, &name, facts)?,
            [size, time] if is(size, 213) && is(time, 213) => match parse_size_and_time(size, time)? {
                (Some(size), Some(modified)) => {
                    Some(Entry { size: Some(size), modified: Some(modified), ..Entry::new(name, EntryKind::File) })
                }
                _ => None,
            },
            _ => None,
        };
        Ok(told.filter(|entry| entry.kind == EntryKind::File && entry.size.is_some()))
    }
}

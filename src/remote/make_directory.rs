//! Making a directory: MKD, and in the same packet before it the question whether there is one already.
//!
//! Servers answer MKD of a directory that exists with 521, 550, 553, and some with 250 or 257 as if they had made it:
//! two programs that each believe to have made a lock directory would both go on.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::Purpose;
use super::server::{Ordered, Server, is_done};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;

impl Server {
    /// Makes a directory. Source: RFC 959 §4.1.3 (MKD).
    ///
    /// # Errors
    /// As [`super::Remote::make_directory`] says.
    pub(super) fn make_directory(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        self.check_name(path, deadline)?;
        // CWD finds directories, SIZE files; and a file of that name is no directory that was made.
        let mut commands = match self.profile().mlst.is_yes() {
            true => vec![Command::Mlst(path.clone())],
            false => vec![Command::Cwd(path.clone()), Command::Size(path.clone())],
        };
        commands.push(Command::Mkd(path.clone()));
        let look = || self.exists(path, deadline);
        let Ordered::Answered { replies, .. } = self.order(&commands, deadline, look)? else {
            return Ok(());
        };
        match replies.split_last() {
            Some((_, before)) if before.iter().any(is_done) => Err(RemoteError::Exists),
            Some((made, _)) if is_done(made) => Ok(()),
            Some((refusal, _)) => Err(self.explain(path, refusal, Purpose::Make, deadline)),
            None => Err(RemoteError::Protocol { reason: String::from("commands have no answers") }),
        }
    }
}

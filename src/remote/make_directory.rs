//! Making a directory: MKD, and in the same packet before it the question whether there is one already.
//!
//! Servers answer MKD of a directory that exists with 521, 550, 553, and some with 250 or 257 as if they had made it:
//! two programs that each believe to have made a lock directory would both go on.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::Purpose;
use super::server::{Server, is_done};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;

impl Server {
    /// Makes a directory. Source: RFC 959 §4.1.3 (MKD).
    ///
    /// # Errors
    /// As [`super::Remote::make_directory`] says.
    pub(super) fn make_directory(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        self.check_name(path, deadline)?;
        // CWD finds directories alone, but a file of that name makes every server refuse MKD.
        let question =
            if self.profile().mlst.is_yes() { Command::Mlst(path.clone()) } else { Command::Cwd(path.clone()) };
        let look = || self.exists(path, deadline);
        let Some(replies) = self.order(&[question, Command::Mkd(path.clone())], deadline, look)? else {
            return Ok(());
        };
        match replies.as_slice() {
            [before, _] if is_done(before) => Err(RemoteError::Exists),
            [_, made] if is_done(made) => Ok(()),
            [_, refusal] => Err(self.explain(path, refusal, Purpose::Make, deadline)),
            _ => Err(RemoteError::Protocol { reason: String::from("two commands have not two answers") }),
        }
    }
}

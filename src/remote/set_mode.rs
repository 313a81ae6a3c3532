//! Permission bits: SITE CHMOD, and in the same packet behind it the question what they are now.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{Purpose, is_not_understood};
use super::server::{Server, facts_told, is_done};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;
use crate::protocol::reply::Reply;

/// What a server changes on request; it may leave set-user-id and its like alone.
const COMPARED_BITS: u32 = 0o777;

const UNSUPPORTED: RemoteError = RemoteError::Unsupported { what: "permission bits" };

impl Server {
    /// Sets the permission bits, and where MLST tells them, makes sure that they are set: some servers say 200 and do
    /// nothing.
    ///
    /// # Errors
    /// As [`super::Remote::set_mode`] says.
    pub(super) fn set_mode(&self, path: &RemotePath, mode: u32, deadline: Instant) -> RemoteResult<()> {
        let commands = self.set_mode_commands(path, mode);
        if commands.is_empty() {
            return Err(UNSUPPORTED);
        }
        let replies = self.ask(&commands, deadline)?;
        self.check_mode_set(path, mode, &replies, deadline)
    }

    /// What sets the permission bits and asks for them; nothing where the server is known not to.
    pub(super) fn set_mode_commands(&self, path: &RemotePath, mode: u32) -> Vec<Command> {
        let mut commands = Vec::new();
        if !self.profile().site_chmod.is_no() {
            commands.push(Command::SiteChmod { mode: mode & 0o7777, path: path.clone() });
            if self.profile().mlst.is_yes() {
                commands.push(Command::Mlst(path.clone()));
            }
        }
        commands
    }

    /// Whether they are set, by the replies to these commands.
    ///
    /// # Errors
    /// As for [`Self::set_mode`].
    pub(super) fn check_mode_set(
        &self,
        path: &RemotePath,
        mode: u32,
        replies: &[Reply],
        deadline: Instant,
    ) -> RemoteResult<()> {
        let mut replies = replies.iter();
        match replies.next() {
            Some(reply) if is_done(reply) && reply.code().number() != 202 => {}
            Some(reply) if is_not_understood(reply) => {
                self.profile().site_chmod.learn_if(false);
                return Err(UNSUPPORTED);
            }
            Some(reply) => return Err(self.explain(path, reply, Purpose::Change, deadline)),
            None => return Err(RemoteError::Protocol { reason: String::from("SITE CHMOD was not answered") }),
        }
        self.profile().site_chmod.learn_if(true);
        let told = replies.next().zip(path.name()).and_then(|(reply, name)| facts_told(reply, &name)?.mode);
        match told {
            Some(told) if told & COMPARED_BITS != mode & COMPARED_BITS => Err(RemoteError::Refused {
                reply: format!("it says that it has set the permission bits {mode:03o}, and still shows {told:03o}"),
            }),
            _ => Ok(()),
        }
    }
}

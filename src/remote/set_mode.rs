//! Permission bits: SITE CHMOD, and in the same packet behind it the question what they are now.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{Purpose, is_not_understood};
use super::server::{Server, facts_told, is_done};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;

/// What a server changes on request; it may leave set-user-id and its like alone.
const COMPARED_BITS: u32 = 0o777;

impl Server {
    /// Sets the permission bits, and where MLST tells them, makes sure that they are set: some servers say 200 and do
    /// nothing.
    ///
    /// # Errors
    /// As [`super::Remote::set_mode`] says.
    pub(super) fn set_mode(&self, path: &RemotePath, mode: u32, deadline: Instant) -> RemoteResult<()> {
        const UNSUPPORTED: RemoteError = RemoteError::Unsupported { what: "permission bits" };
        if self.profile().site_chmod.is_no() {
            return Err(UNSUPPORTED);
        }
        let mut commands = vec![Command::SiteChmod { mode: mode & 0o7777, path: path.clone() }];
        if self.profile().mlst.is_yes() {
            commands.push(Command::Mlst(path.clone()));
        }
        let replies = self.ask(&commands, deadline)?;
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

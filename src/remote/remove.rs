//! Removing: DELE for files and symbolic links, RMD for empty directories. Never anything that removes more.

use std::time::Instant;

use super::error::RemoteResult;
use super::refusal::Purpose;
use super::server::{Server, is_done, single};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;

impl Server {
    /// Removes a file or symbolic link. Source: RFC 959 §4.1.3 (DELE).
    ///
    /// # Errors
    /// As [`super::Remote::remove_file`] says.
    pub(super) fn remove_file(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        self.remove(Command::Dele(path.clone()), path, Purpose::File, deadline)
    }

    /// Removes an empty directory. Source: RFC 959 §4.1.3 (RMD).
    ///
    /// # Errors
    /// As [`super::Remote::remove_directory`] says.
    pub(super) fn remove_directory(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        self.remove(Command::Rmd(path.clone()), path, Purpose::RemoveDirectory, deadline)
    }

    fn remove(&self, command: Command, path: &RemotePath, purpose: Purpose, deadline: Instant) -> RemoteResult<()> {
        let look = || self.exists(path, deadline).map(|exists| !exists);
        let Some(replies) = self.order(&[command], deadline, look)? else { return Ok(()) };
        let reply = single(replies)?;
        if is_done(&reply) { Ok(()) } else { Err(self.explain(path, &reply, purpose, deadline)) }
    }
}

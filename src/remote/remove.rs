//! Removing: DELE for files and symbolic links, RMD for empty directories. Never anything that removes more.
//!
//! On some servers RMD takes what is in the directory as well, and DELE takes directories. Whether this one does is found
//! out once, with directories of our own; where it does, or will not let that be found out, we look first each time.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::Purpose;
use super::server::{Ordered, Server, is_done, probe_path, single};
use crate::pool::{ServerKind, Verdict, VerdictCell};
use crate::protocol::command::Command;
use crate::protocol::{EntryKind, Name, RemotePath};

impl Server {
    /// Removes a file or symbolic link. Source: RFC 959 §4.1.3 (DELE).
    ///
    /// # Errors
    /// As [`super::Remote::remove_file`] says.
    pub(super) fn remove_file(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        if !self.is_removal_proved(&self.known.dele_keeps_directories, path, deadline)?
            && self.stat(path, deadline)?.kind == EntryKind::Directory
        {
            return Err(RemoteError::IsDirectory);
        }
        self.remove(Command::Dele(path.clone()), path, Purpose::File, deadline)
    }

    /// Removes an empty directory. Source: RFC 959 §4.1.3 (RMD).
    ///
    /// # Errors
    /// As [`super::Remote::remove_directory`] says.
    pub(super) fn remove_directory(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        if !self.is_removal_proved(&self.known.rmd_keeps_entries, path, deadline)?
            && !self.list(path, deadline)?.entries.is_empty()
        {
            return Err(RemoteError::NotEmpty);
        }
        self.remove(Command::Rmd(path.clone()), path, Purpose::RemoveDirectory, deadline)
    }

    /// Removes a file under a name of ours that nobody can guess, so that it is no directory.
    ///
    /// # Errors
    /// As for [`Self::remove_file`].
    pub(super) fn remove_own_file(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        self.remove(Command::Dele(path.clone()), path, Purpose::File, deadline)
    }

    fn remove(&self, command: Command, path: &RemotePath, purpose: Purpose, deadline: Instant) -> RemoteResult<()> {
        let look = || self.exists(path, deadline).map(|exists| !exists);
        let Ordered::Answered { replies, is_repeated } = self.order(&[command], deadline, look)? else { return Ok(()) };
        let reply = single(replies)?;
        if is_done(&reply) {
            return Ok(());
        }
        match self.explain(path, &reply, purpose, deadline) {
            // It was there before: the first order was obeyed late.
            RemoteError::NotFound if is_repeated => Ok(()),
            error => Err(error),
        }
    }

    /// Whether the server is proved to remove no more than it is asked to.
    fn is_removal_proved(&self, proof: &VerdictCell, path: &RemotePath, deadline: Instant) -> RemoteResult<bool> {
        if proof.get() == Verdict::Unknown {
            match self.profile().kind() {
                // Measured: vsftpd 3.0.3, ProFTPD 1.3.8, Pure-FTPd 1.0.50, pyftpdlib 1.5.7.
                ServerKind::Vsftpd | ServerKind::ProFtpd | ServerKind::PureFtpd | ServerKind::Pyftpdlib => {
                    self.known.rmd_keeps_entries.learn(Verdict::Yes);
                    self.known.dele_keeps_directories.learn(Verdict::Yes);
                }
                _ => self.prove_removal(path, deadline)?,
            }
        }
        Ok(proof.is_yes())
    }

    /// Makes a directory with another in it beside `path`, and tries to remove it by DELE and RMD.
    fn prove_removal(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let outer = probe_path(&parent);
        let inner = outer.join(&Name::new("inner").expect("letters are a name"));
        let clean_up = [Command::Rmd(inner.clone()), Command::Rmd(outer.clone())];
        let trial = [
            Command::Mkd(outer.clone()),
            Command::Mkd(inner.clone()),
            Command::Dele(inner.clone()),
            Command::Mkd(inner),
            Command::Rmd(outer.clone()),
        ];
        let tried = self.tell(&[&trial[..], &clean_up[..]].concat(), deadline);
        let Ok(replies) = tried else {
            // Nothing is learned, and nothing of it may stay.
            self.tell(&clean_up, deadline)?;
            return Ok(());
        };
        let done: Vec<bool> = replies.iter().map(is_done).collect();
        let [outer_made, inner_made, deleted, made_again, removed_whole, inner_removed, outer_removed] = done[..]
        else {
            return Err(RemoteError::Protocol { reason: String::from("commands have no answers") });
        };
        if !removed_whole && outer_made && !outer_removed {
            tracing::warn!(path = %outer, "a directory made to try out RMD was left behind");
        }
        // Each has to be seen to be refused for what it would take, and to be done where it takes nothing else.
        if outer_made && inner_made {
            self.known.dele_keeps_directories.learn_if(!deleted && !made_again);
            self.known.rmd_keeps_entries.learn_if(!removed_whole && inner_removed && outer_removed);
        }
        Ok(())
    }
}

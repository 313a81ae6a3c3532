//! Permission bits and time of a file that was just stored, in one packet.
//!
//! Only behind the proof of its content: before it the name may be another client's. What is not set here is set by its own operation,
//! which knows the other ways and the reasons of refusals (`set_mode`, `set_modified`).

use std::time::Instant;

use super::server::{Server, is_done};
use super::set_modified::modified_told;
use super::{Finished, Stored, Wishes};
use crate::protocol::RemotePath;

impl Server {
    /// Sets both, where both are wished for: one alone is one packet anyway.
    pub(super) fn set_attributes(
        &self,
        path: &RemotePath,
        wishes: Wishes,
        stored: Stored,
        deadline: Instant,
    ) -> Finished {
        let unset = Finished::from(stored);
        let Some(mode) = wishes.mode else { return unset };
        let Some(order) = wishes.time.and_then(|time| self.set_modified_command(path, time)) else { return unset };
        let mut commands = self.set_mode_commands(path, mode);
        let for_mode = commands.len();
        if for_mode == 0 {
            return unset;
        }
        commands.push(order.command.clone());
        commands.extend(self.modified_questions(path));
        let replies = match self.ask(&commands, deadline) {
            Ok(replies) => replies,
            Err(error) => {
                tracing::debug!(%path, %error, "neither permission bits nor time are set yet");
                return unset;
            }
        };
        let (about_mode, about_time) = replies.split_at(for_mode.min(replies.len()));
        let mode = Some(mode).filter(|mode| self.is_mode_kept(path, *mode, about_mode, deadline));
        let time = about_time
            .split_first()
            .and_then(|(set, questions)| order.kept(is_done(set), modified_told(path, questions)));
        let stored = Stored { modified: time.or(stored.modified), ..stored };
        Finished { stored, time, mode }
    }
}

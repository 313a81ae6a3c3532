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
    /// Sets both, where both are wished for and by ways that are known to work: one alone is one packet anyway.
    pub(super) fn set_attributes(
        &self,
        path: &RemotePath,
        wishes: Wishes,
        stored: Stored,
        deadline: Instant,
    ) -> Finished {
        let unset = Finished::from(stored);
        let Some(mode) = wishes.mode else { return unset };
        let Some((set_time, time)) = wishes.time.and_then(|time| self.set_modified_command(path, time)) else {
            return unset;
        };
        let mut commands = self.set_mode_commands(path, mode);
        let for_mode = commands.len();
        if for_mode == 0 {
            return unset;
        }
        commands.push(set_time);
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
        let told = about_time.split_first().filter(|(set, _)| is_done(set));
        let told = told.and_then(|(_, questions)| modified_told(path, questions));
        let time = told.filter(|told| told.seconds == time.seconds).map(|_| time);
        let stored = Stored { modified: time.or(stored.modified), ..stored };
        Finished { stored, time, mode }
    }
}

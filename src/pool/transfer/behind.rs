//! Questions behind a RETR or MLSD, in its packet: what there is to know once all of it has come, for no round trip of its own.
//!
//! Only where the session's program is known to answer them behind the transfer's completion. One that answers at once after all is found
//! out by a reply that fits no transfer: nothing that it said is believed then, nor is anything asked behind a transfer any more.
//!
//! Not here: which questions, and what the answers prove (`remote::idle`, `remote::status_listing`).

use std::time::Instant;

use super::at_once::{fit_together, wait_for_all};
use super::{ActiveTransfer, Direction, Plan};
use crate::connection::deadlines::after;
use crate::pool::error::PoolError;
use crate::pool::lease::Lease;
use crate::pool::session::Session;
use crate::protocol::{Command, Reply, Transfer};

impl Lease {
    /// Whether these commands can go in one packet on this session, and what is behind a transfer in it is answered behind that.
    pub fn queues<'a>(&self, commands: impl Iterator<Item = &'a Command>) -> bool {
        self.session().is_known_to_queue() && fit_together(commands)
    }

    /// Starts a transfer that is to be read to its end, with `questions` behind it where this server answers them there.
    /// [`ActiveTransfer::answers`] has what was said.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_and_ask(
        &mut self,
        prelude: &[Command],
        command: Command,
        questions: &[Command],
        deadline: Instant,
    ) -> Result<ActiveTransfer, PoolError> {
        self.start_whole_with(prelude, command, questions, false, deadline)
    }

    /// The same for a listing, whose questions are some work for the server: the next data connection comes about meanwhile, and what the answers
    /// hold cannot stand in the place of its address. Names can hold anything, replies too: the session is not lent again before the caller has
    /// said that the answers are in step ([`Self::has_heard`]).
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_listing(
        &mut self,
        prelude: &[Command],
        command: Command,
        questions: &[Command],
        deadline: Instant,
    ) -> Result<ActiveTransfer, PoolError> {
        self.start_whole_with(prelude, command, questions, true, deadline)
    }

    fn start_whole_with(
        &mut self,
        prelude: &[Command],
        command: Command,
        questions: &[Command],
        is_next_first: bool,
        deadline: Instant,
    ) -> Result<ActiveTransfer, PoolError> {
        let is_queued = self.queues(prelude.iter().chain([&command]).chain(questions));
        let behind = if is_queued { questions.to_vec() } else { Vec::new() };
        let (prelude, direction) = (prelude.to_vec(), Direction::Receive);
        let plan = Plan { prelude, command, behind, is_next_first, is_whole: true, direction, deadline };
        ActiveTransfer::start(self.session(), plan)
    }
}

impl ActiveTransfer {
    /// The answers to what was asked behind it, all from behind its end; none where that is not proved, or where it was begun once more.
    pub fn answers(&mut self) -> Vec<Reply> {
        let behind = std::mem::take(&mut self.behind);
        if behind.is_empty() {
            return Vec::new();
        }
        let deadline = after(self.session.options().deadlines.reply);
        if self.is_next_first {
            // So that the connection comes about while the server answers the rest.
            self.session.hear_spare(deadline);
        }
        let answers = wait_for_all(behind.into_iter(), deadline);
        let is_completion = |reply: &Reply| matches!(reply.code().number(), 226 | 250);
        let has_ended = self.transfer == Transfer::Complete && self.completion.as_ref().is_some_and(is_completion);
        // Behind a listing's 226, which no answer has, all is in order; what does not fit then is what a name in an answer held.
        let is_listed = self.is_next_first && has_ended && self.is_announced;
        let is_in_step = match &self.completion {
            Some(reply) if is_listed && reply.code().number() == 226 => !self.session.has_lost_step(),
            _ => !self.session.note_lost_step(),
        };
        if is_in_step && self.is_announced && has_ended { answers } else { Vec::new() }
    }

    /// Of a transfer that is not over nobody wants to know more.
    pub(super) fn drop_answers(&mut self) {
        let has_asked_for_next = self.next.take().is_some();
        if !std::mem::take(&mut self.behind).is_empty() || has_asked_for_next {
            self.session.judge_lost_step(self.is_broken);
        }
    }
}

impl Session {
    /// As [`Self::note_lost_step`], with no verdict where the data connection broke: Pure-FTPd may say nothing of such a transfer, and
    /// then only what is about the question behind it.
    pub(in crate::pool) fn judge_lost_step(&self, is_broken: bool) {
        if !is_broken {
            self.note_lost_step();
        } else if self.has_lost_step() {
            self.blame_the_reply();
        }
    }

    /// Whether the server turned out to answer what it is to do behind a transfer while that runs. It is asked nothing there from then on.
    pub(in crate::pool) fn note_lost_step(&self) -> bool {
        let is_lost = self.has_lost_step();
        if is_lost {
            self.answers_too_early();
        }
        is_lost
    }
}

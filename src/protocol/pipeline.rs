//! Which reply belongs to which command in flight.
//!
//! Replies carry no name: the first one that can end a command belongs to the oldest in flight (RFC 959 §5.4).
//! [`Pipeline`] keeps that order, and says so when a reply cannot belong to the command whose turn it is. What was
//! learned from such a connection is in doubt, so it is to be closed and never repaired.

use std::collections::VecDeque;

use super::reply::{Reply, ReplyClass, ReplyCode};

/// Replies taken between a stopped transfer and its marker; more is a server that talks without end.
const LEFTOVERS_MAX: usize = 16;

/// Which replies fit a command in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// The server's first words: 120 perhaps, then 220 (RFC 959 §5.4). Nothing is sent for it.
    Greeting,
    /// Completion, refusal, or 3yz asking for more: USER, PASS, ACCT, AUTH.
    Login,
    /// Completion or refusal.
    Completion,
    /// 3yz, which awaits the command that follows, or a refusal: REST, RNFR.
    Intermediate,
    /// 227, 228 or 229, or a refusal: PASV, EPSV.
    Address,
    /// Any number of 1yz, also none, then completion or refusal: the commands that use a data connection.
    Transfer,
    /// As `Completion`, with preliminary replies and the codes of data connections passed: STAT, SITE, ABOR.
    Lenient,
    /// 257, to a PWD sent behind a stopped transfer; see [`Pipeline::stop`].
    Marker,
}

/// What one reply is to one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Preliminary,
    Final,
    No,
}

impl Expects {
    /// Whether 226 can be a reply to it.
    fn can_be_226(self) -> bool {
        match self {
            Self::Transfer | Self::Lenient | Self::Marker => true,
            Self::Greeting | Self::Login | Self::Completion | Self::Intermediate | Self::Address => false,
        }
    }

    /// Codes that name their own command are what shows that a server is out of step; for all others the
    /// class counts, since servers are free with the digits (250 for 226, 200 for 250, 202 for 200).
    fn fit(self, code: ReplyCode) -> Fit {
        let fits = match (code.class(), code.number()) {
            (ReplyClass::Preliminary, _) => {
                return match self {
                    Self::Greeting | Self::Transfer | Self::Lenient => Fit::Preliminary,
                    Self::Login | Self::Completion | Self::Intermediate | Self::Address | Self::Marker => Fit::No,
                };
            }
            // To the marker "500 not while a transfer runs" may still be about the transfer.
            (_, number) if self == Self::Marker => number == 257,
            (ReplyClass::Transient | ReplyClass::Permanent, _) => true,
            (ReplyClass::Intermediate, _) => matches!(self, Self::Login | Self::Intermediate),
            (ReplyClass::Completion, 225 | 226) => matches!(self, Self::Transfer | Self::Lenient),
            (ReplyClass::Completion, 227..=229) => matches!(self, Self::Address),
            // SIZE, MDTM, STAT, PWD, a login: behind a transfer on a server that does not queue they would seem to end it.
            (ReplyClass::Completion, 211..=221 | 230..=235 | 257) => self != Self::Transfer,
            (ReplyClass::Completion, _) => true,
        };
        if fits { Fit::Final } else { Fit::No }
    }
}

/// What a reply turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a, T> {
    /// A 1yz to the oldest command in flight; its final reply is still to come.
    Preliminary(&'a T, Reply),
    /// The last reply to the command, which is no longer in flight.
    Final(T, Reply),
    /// The marker's reply: the transfers before it were stopped and are over, with or without replies of their own.
    Marker {
        /// The commands whose transfers were stopped.
        stopped: Vec<T>,
        /// The marker.
        marker: T,
        /// Its 257.
        reply: Reply,
    },
    /// One of the replies of a stopped transfer: 426, 226, 225, or 150, as the server likes. Or a second 226 to a transfer
    /// that is over, nothing having been sent since.
    Leftover(Reply),
    /// 421: the server closes the connection, whatever was in flight (RFC 959 §5.4). Or 221 with nothing in flight: the answer to QUIT. Nothing
    /// will follow.
    Closing(Reply),
}

/// A reply that cannot belong to the command whose turn it is. The connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reply out of step: {reply} (expected: {expected:?})")]
pub struct OutOfStep {
    /// What came.
    pub reply: Reply,
    /// What could have come; `None` where nothing was in flight.
    pub expected: Option<Expects>,
}

/// Whether it is what servers say at the end of a transfer that was stopped. 229 and 500 may come there too, and are about what was sent
/// behind it.
fn ends_transfer(code: ReplyCode) -> bool {
    matches!(code.number(), 225 | 226 | 250 | 425 | 426 | 450 | 451 | 550 | 551 | 552)
}

/// The same where questions were behind that transfer, for which 250, 450 and 550 are answers as well.
fn ends_transfer_before_questions(code: ReplyCode) -> bool {
    matches!(code.number(), 225 | 226 | 425 | 426 | 451)
}

/// The same where a question for an address was, to which 425 is an answer as well.
fn ends_transfer_before_address(code: ReplyCode) -> bool {
    matches!(code.number(), 225 | 226 | 426 | 451)
}

/// More commands than [`Pipeline::new`] allowed. It was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many commands in flight")]
pub struct PipelineFull;

/// The commands in flight on one control connection, oldest first, each with a `T` of the caller's.
#[derive(Debug)]
pub struct Pipeline<T> {
    in_flight: VecDeque<InFlight<T>>,
    in_flight_max: usize,
    leftovers: usize,
    /// The last reply was a transfer's final one, and what was sent since is not answered by 226: some servers say that twice.
    may_be_said_twice: bool,
    /// Whether a stopped transfer has had its last word before the marker's reply; and if not, whether it may come now.
    has_ended: bool,
    may_end_late: bool,
}

#[derive(Debug)]
struct InFlight<T> {
    tag: T,
    expects: Expects,
    stopped: bool,
}

impl<T> Pipeline<T> {
    /// An empty one, for at most `in_flight_max` commands (at least one).
    pub fn new(in_flight_max: usize) -> Self {
        Self {
            in_flight: VecDeque::new(),
            in_flight_max: in_flight_max.max(1),
            leftovers: 0,
            may_be_said_twice: false,
            has_ended: false,
            may_end_late: false,
        }
    }

    /// Queues a command that is being sent. `tag` comes back with its replies.
    ///
    /// # Errors
    /// [`PipelineFull`]: ask [`Self::room`] before sending.
    pub fn sent(&mut self, tag: T, expects: Expects) -> Result<(), PipelineFull> {
        if self.room() == 0 {
            return Err(PipelineFull);
        }
        self.may_be_said_twice &= !expects.can_be_226();
        self.may_end_late = false;
        self.in_flight.push_back(InFlight { tag, expects, stopped: false });
        Ok(())
    }

    /// Says to which command a reply belongs.
    ///
    /// # Errors
    /// [`OutOfStep`]: it fits none; close the connection, and fail everything in flight by [`Self::drain`].
    pub fn received(&mut self, reply: Reply) -> Result<Received<'_, T>, OutOfStep> {
        // 221 answers a QUIT, which nobody waits for: who reads it just then has a connection that is closed, and not one out of step.
        if reply.code().number() == 421 || reply.code().number() == 221 && self.in_flight.is_empty() {
            return Ok(Received::Closing(reply));
        }
        let is_said_twice = std::mem::take(&mut self.may_be_said_twice) && reply.code().number() == 226;
        if is_said_twice && self.in_flight.front().is_none_or(|command| !command.expects.can_be_226()) {
            return Ok(Received::Leftover(reply));
        }
        if std::mem::take(&mut self.may_end_late) {
            let is_late = match self.in_flight.front().map(|command| command.expects) {
                None => ends_transfer(reply.code()),
                Some(Expects::Address) => ends_transfer_before_address(reply.code()),
                Some(_) => false,
            };
            if is_late {
                return Ok(Received::Leftover(reply));
            }
        }
        let Some((stopped, expects)) = self.in_flight.front().map(|first| (first.stopped, first.expects)) else {
            return Err(OutOfStep { reply, expected: None });
        };
        // A marker may stand first: its transfer had a final reply already, and was stopped none the less.
        if stopped || expects == Expects::Marker {
            return self.received_after_stop(reply);
        }
        let out_of_step = |reply| Err(OutOfStep { reply, expected: Some(expects) });
        match expects.fit(reply.code()) {
            Fit::Preliminary => match self.in_flight.front() {
                Some(first) => Ok(Received::Preliminary(&first.tag, reply)),
                None => out_of_step(reply),
            },
            Fit::Final => match self.in_flight.pop_front() {
                Some(first) => {
                    self.may_be_said_twice =
                        expects == Expects::Transfer && reply.code().class() == ReplyClass::Completion;
                    Ok(Received::Final(first.tag, reply))
                }
                None => out_of_step(reply),
            },
            Fit::No => out_of_step(reply),
        }
    }

    /// Marks commands in flight for which `is_meant` as given up: a transfer whose data connection we closed, and
    /// what was sent behind it.
    ///
    /// How many replies a stopped transfer brings differs between servers (none, 426, 426 and 226, 225 too, one
    /// more 150), so they are not counted: send PWD with [`Expects::Marker`] behind it, and all up to its 257 belongs to the
    /// stopped transfer. If the 257 does not come in time, the connection is of no use any more.
    pub fn stop(&mut self, mut is_meant: impl FnMut(&T) -> bool) {
        for command in &mut self.in_flight {
            if is_meant(&command.tag) {
                command.stopped = true;
            }
        }
    }

    fn received_after_stop(&mut self, reply: Reply) -> Result<Received<'_, T>, OutOfStep> {
        let marker = self.in_flight.iter().position(|command| !command.stopped);
        let expects = marker.and_then(|index| self.in_flight.get(index)).map(|command| command.expects);
        if expects != Some(Expects::Marker) || Expects::Marker.fit(reply.code()) != Fit::Final {
            self.leftovers += 1;
            // A command that is no marker behind a stopped transfer could get its reply: nobody can tell.
            if self.leftovers > LEFTOVERS_MAX || expects.is_some_and(|expects| expects != Expects::Marker) {
                return Err(OutOfStep { reply, expected: expects });
            }
            self.has_ended |= self.is_last_word(reply.code());
            return Ok(Received::Leftover(reply));
        }
        self.leftovers = 0;
        self.may_end_late = !std::mem::take(&mut self.has_ended);
        let stopped = self.in_flight.drain(..marker.unwrap_or(0)).map(|command| command.tag).collect();
        match self.in_flight.pop_front() {
            Some(marker) => Ok(Received::Marker { stopped, marker: marker.tag, reply }),
            None => Err(OutOfStep { reply, expected: None }),
        }
    }

    /// Whether a reply before the marker is the last word on the stopped transfer.
    pub fn is_last_word(&self, code: ReplyCode) -> bool {
        let has_stopped = |which: &[Expects]| {
            self.in_flight.iter().any(|command| command.stopped && which.contains(&command.expects))
        };
        // A transfer that has had its final reply is not in flight any more: there the answers show its end.
        if has_stopped(&[Expects::Transfer]) && has_stopped(&[Expects::Address]) {
            return ends_transfer_before_address(code);
        }
        let is_asked_behind =
            has_stopped(&[Expects::Transfer]) && has_stopped(&[Expects::Completion, Expects::Lenient]);
        if is_asked_behind { ends_transfer_before_questions(code) } else { ends_transfer(code) }
    }

    /// Whether a question for an address was stopped with the transfer that it is behind.
    pub fn awaits_address(&self) -> bool {
        self.in_flight.iter().any(|command| command.stopped && command.expects == Expects::Address)
    }

    /// How many commands are in flight.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether no command is in flight.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// How many more commands may be sent now.
    pub fn room(&self) -> usize {
        self.in_flight_max.saturating_sub(self.in_flight.len())
    }

    /// The oldest command in flight: the one whose reply comes next.
    pub fn first(&self) -> Option<&T> {
        self.in_flight.front().map(|first| &first.tag)
    }

    /// Takes out everything in flight, oldest first: the connection is lost.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.leftovers = 0;
        self.in_flight.drain(..).map(|command| command.tag)
    }
}

#[cfg(test)]
mod tests;

//! The states of one transfer.
//!
//! Not here: the bytes (`connection::data`), and which reply is meant for the transfer (`pipeline`).

use super::reply::{ReplyClass, ReplyCode};

/// One RETR, STOR, APPE, MLSD or LIST, from the command to the end of both connections.
///
/// ```text
/// Requested ──1yz──▶ Flowing ──2yz──▶ AwaitingEof ──eof──▶ Complete
///   │ │eof              │eof              ▲                   ▲      while a reply is awaited:
///   │ ▼                 ▼                 │                   │      4yz, 5yz ──▶ Failed
///   │ EndedEarly ─1yz─▶ AwaitingReply ────┼───2yz─────────────┤
///   │     └───────────2yz─────────────────┼───────────────────┘
///   └─────────────────2yz─────────────────┘
/// ```
/// Replies and data come by two sockets, so their order is not ours to assume: a small file can end
/// before its 150 has been read, and a 226 can be read before the last data. Servers leave out the 150, or send
/// several.
///
/// The end of data is what ends the data connection *in order*: a FIN read, or, where we are the ones who send, ours
/// sent behind the last byte. A reset, or a deadline missed, is not reported here, so such a transfer can never
/// become complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// The command is sent.
    Requested,
    /// A preliminary reply came; data moves.
    Flowing,
    /// The data ended before any reply was read.
    EndedEarly,
    /// The completion reply came, and not yet the end of data.
    AwaitingEof,
    /// The data ended; the completion reply is still to come.
    AwaitingReply,
    /// Both connections say that it is over, and well.
    Complete,
    /// The server said that it failed.
    Failed(ReplyCode),
}

/// A reply that no transfer gets in this state. The connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent {code} to a transfer in state {state:?}")]
pub struct UnexpectedReply {
    /// What came.
    pub code: ReplyCode,
    /// What it came to.
    pub state: Transfer,
}

impl Transfer {
    /// Goes on by a reply to the transfer's command.
    ///
    /// # Errors
    /// [`UnexpectedReply`]: 3yz, or anything behind the final reply.
    pub fn on_reply(self, code: ReplyCode) -> Result<Self, UnexpectedReply> {
        use ReplyClass::{Completion, Intermediate, Permanent, Preliminary, Transient};
        match (self, code.class()) {
            (Self::AwaitingEof | Self::Complete | Self::Failed(_), _) | (_, Intermediate) => {
                Err(UnexpectedReply { code, state: self })
            }
            (Self::Requested | Self::Flowing, Preliminary) => Ok(Self::Flowing),
            (Self::EndedEarly | Self::AwaitingReply, Preliminary) => Ok(Self::AwaitingReply),
            (Self::Requested | Self::Flowing, Completion) => Ok(Self::AwaitingEof),
            (Self::EndedEarly | Self::AwaitingReply, Completion) => Ok(Self::Complete),
            (_, Transient | Permanent) => Ok(Self::Failed(code)),
        }
    }

    /// Goes on by the end of data, in order. A second one changes nothing.
    #[must_use]
    pub fn on_end_of_data(self) -> Self {
        match self {
            Self::Requested | Self::EndedEarly => Self::EndedEarly,
            Self::Flowing | Self::AwaitingReply => Self::AwaitingReply,
            Self::AwaitingEof | Self::Complete => Self::Complete,
            Self::Failed(code) => Self::Failed(code),
        }
    }

    /// Whether the transfer is proved complete.
    pub fn is_complete(self) -> bool {
        self == Self::Complete
    }

    /// Whether no further reply will come.
    pub fn has_final_reply(self) -> bool {
        match self {
            Self::AwaitingEof | Self::Complete | Self::Failed(_) => true,
            Self::Requested | Self::Flowing | Self::EndedEarly | Self::AwaitingReply => false,
        }
    }

    /// Whether the server called it complete while the data still went. Where we are the ones who send, this
    /// is a failure: it did not wait for the end.
    pub fn is_completed_before_end_of_data(self) -> bool {
        self == Self::AwaitingEof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Event {
        Reply(u16),
        EndOfData,
    }
    use Event::{EndOfData, Reply};

    fn run(events: &[Event]) -> Result<Transfer, UnexpectedReply> {
        events.iter().try_fold(Transfer::Requested, |state, event| match event {
            Reply(number) => state.on_reply(ReplyCode::new(*number).unwrap()),
            EndOfData => Ok(state.on_end_of_data()),
        })
    }

    #[test]
    fn transfer_is_complete_in_each_order_of_its_three_events() {
        for events in [
            &[Reply(150), EndOfData, Reply(226)][..],
            &[Reply(150), Reply(226), EndOfData],
            &[EndOfData, Reply(150), Reply(226)],
            &[EndOfData, Reply(226)],
            &[Reply(226), EndOfData],
            &[Reply(125), Reply(150), EndOfData, Reply(150), Reply(250)],
        ] {
            assert_eq!(run(events), Ok(Transfer::Complete), "{events:?}");
        }
    }

    #[test]
    fn transfer_with_one_of_its_two_proofs_is_not_complete() {
        for events in [
            &[][..],
            &[Reply(150)],
            &[Reply(150), EndOfData],
            &[Reply(150), Reply(226)],
            &[Reply(226)],
            &[EndOfData],
            &[EndOfData, Reply(150), EndOfData],
        ] {
            assert!(!run(events).unwrap().is_complete(), "{events:?}");
        }
    }

    #[test]
    fn refusal_fails_transfer_wherever_it_is_awaited_and_for_good() {
        for before in [&[][..], &[Reply(150)], &[EndOfData], &[Reply(150), EndOfData], &[EndOfData, Reply(150)]] {
            for refusal in [426, 550] {
                let events = [before, &[Reply(refusal), EndOfData]].concat();
                let failed = Transfer::Failed(ReplyCode::new(refusal).unwrap());
                assert_eq!(run(&events), Ok(failed), "{events:?}");
                assert!(run(&[&events[..], &[Reply(226)]].concat()).is_err());
            }
        }
    }

    #[test]
    fn reply_behind_the_final_one_is_an_error() {
        assert!(run(&[Reply(150), Reply(226), Reply(226)]).is_err());
        assert!(run(&[Reply(150), EndOfData, Reply(226), Reply(150)]).is_err());
        assert!(run(&[Reply(350)]).is_err());
    }

    #[test]
    fn completion_before_end_of_data_is_told_apart() {
        assert!(run(&[Reply(150), Reply(226)]).unwrap().is_completed_before_end_of_data());
        assert!(!run(&[Reply(150), EndOfData, Reply(226)]).unwrap().is_completed_before_end_of_data());
        assert!(run(&[Reply(226)]).unwrap().has_final_reply());
        assert!(!run(&[Reply(150), EndOfData]).unwrap().has_final_reply());
    }
}

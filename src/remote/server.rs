//! The server as the operations see it: questions and orders on the session that all share, and what was learned.
//!
//! A question may be asked twice, so it is, on a new connection, when the first one was lost. An order may have been
//! obeyed before the connection was lost; whoever gave it has to look ([`Server::order`]).
//!
//! Not here: transfers (`list`, `read_range`, `store`), which have a session to themselves.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::known::Known;
use super::refusal::refused;
use crate::connection::ConnectionError;
use crate::pool::{Lease, OperationKind, Pool, PoolError, Repeat, ServerProfile};
use crate::protocol::command::{Command, CommandError};
use crate::protocol::listing::mlsd::parse_mlst;
use crate::protocol::reply::{Reply, ReplyClass};
use crate::protocol::timestamp::parse_mdtm_reply;
use crate::protocol::{Entry, Name, RemotePath, Timestamp};

/// How often an order is given, on a new connection each time, while looks prove that it was not obeyed.
const ORDERS_MAX: usize = 3;

/// Bytes of the longest name that every server's disk can keep.
const NAME_LEN_MAX: usize = 255;

/// What came of orders.
#[derive(Debug)]
pub(super) enum Ordered {
    /// They were obeyed, as a look has shown; the replies are lost.
    Seen,
    /// The replies.
    Answered {
        replies: Vec<Reply>,
        /// They were given before, and a look showed that they were not obeyed. They may have been since: then it is this that they are refused for.
        is_repeated: bool,
    },
}

/// One server and its connections. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) pool: Arc<Pool>,
    pub(super) known: Arc<Known>,
}

impl Server {
    /// What is known of the server.
    pub(super) fn profile(&self) -> &ServerProfile {
        self.pool.profile()
    }

    /// Does `work`, which is one operation, and counts what it costs.
    pub(super) fn counted<T>(&self, kind: OperationKind, work: impl FnOnce(Instant) -> T) -> T {
        self.profile().traffic.run(kind, || work(self.deadline()))
    }

    /// When an operation that begins now has to be over.
    pub(super) fn deadline(&self) -> Instant {
        self.pool.operation_deadline()
    }

    /// Sends questions back to back on the shared session and returns the reply to each.
    ///
    /// # Errors
    /// Where they could not be asked, after as many attempts as there is time for.
    pub(super) fn ask(&self, commands: &[Command], deadline: Instant) -> RemoteResult<Vec<Reply>> {
        debug_assert!(commands.iter().all(Command::safe_to_repeat), "an order is not a question");
        Ok(self.send(commands, Repeat::Safe, deadline)?)
    }

    /// Asks one question.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub(super) fn ask_one(&self, command: Command, deadline: Instant) -> RemoteResult<Reply> {
        single(self.ask(&[command], deadline)?)
    }

    /// Sends commands that are not obeyed twice, and returns the reply to each.
    ///
    /// # Errors
    /// Where there are no replies; the server may have obeyed then. See [`Self::order`].
    pub(super) fn tell(&self, commands: &[Command], deadline: Instant) -> RemoteResult<Vec<Reply>> {
        Ok(self.send(commands, Repeat::Unsafe, deadline)?)
    }

    /// Sends one command that is not obeyed twice.
    ///
    /// # Errors
    /// As for [`Self::tell`].
    pub(super) fn tell_one(&self, command: Command, deadline: Instant) -> RemoteResult<Reply> {
        single(self.tell(&[command], deadline)?)
    }

    fn send(&self, commands: &[Command], repeat: Repeat, deadline: Instant) -> Result<Vec<Reply>, PoolError> {
        self.pool.retry(deadline, repeat, |session| {
            // Others may share the session: where it is after a CWD among theirs and ours, nobody can tell.
            if commands.iter().any(|command| matches!(command, Command::Cwd(_))) {
                session.set_current_directory(None);
            }
            Ok(session.control().exchange_all(commands, deadline)?)
        })
    }

    /// Gives orders that must not be obeyed twice. Where the connection is lost before the replies are there, `look`
    /// tells on a new one whether they were obeyed; where they were not, they are given again.
    ///
    /// # Errors
    /// Where the server could not be reached; then it may or may not have obeyed.
    pub(super) fn order(
        &self,
        commands: &[Command],
        deadline: Instant,
        look: impl Fn() -> RemoteResult<bool>,
    ) -> RemoteResult<Ordered> {
        self.order_on(None, commands, deadline, look)
    }

    /// As [`Self::order`], first on a session that the caller has to itself anyway. It is given back before anything else is asked.
    ///
    /// # Errors
    /// As for [`Self::order`].
    pub(super) fn order_on(
        &self,
        lease: Option<Lease>,
        commands: &[Command],
        deadline: Instant,
        look: impl Fn() -> RemoteResult<bool>,
    ) -> RemoteResult<Ordered> {
        let mut first = lease.map(|lease| Ok(lease.control().exchange_all(commands, deadline)?));
        // Nothing of it was sent: the shared one does as well.
        first = first.filter(|result| result.as_ref().err().is_none_or(PoolError::sent));
        for attempt in 1.. {
            let result = first.take().unwrap_or_else(|| self.send(commands, Repeat::Unsafe, deadline));
            let error = match result {
                Ok(replies) => return Ok(Ordered::Answered { replies, is_repeated: attempt > 1 }),
                Err(error) => error,
            };
            // What was never sent the pool has tried again already.
            if !error.is_worth_another_try() || !error.sent() || Instant::now() >= deadline {
                return Err(error.into());
            }
            // A look that fails as well leaves the first error to be told: it is nearer to the cause.
            if look().map_err(|_| RemoteError::from(error.clone()))? {
                return Ok(Ordered::Seen);
            }
            if attempt == ORDERS_MAX {
                return Err(error.into());
            }
            tracing::debug!(%error, attempt, "not obeyed; ordering again");
        }
        Err(no_reply())
    }

    /// Whether there is anything at `path`.
    ///
    /// # Errors
    /// Where neither that nor the contrary could be proved.
    pub(super) fn exists(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<bool> {
        match self.stat(path, deadline) {
            Ok(_) => Ok(true),
            Err(RemoteError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The reply to the only command.
///
/// # Errors
/// Where there is none, which a connection in step does not do.
pub(super) fn single(replies: Vec<Reply>) -> RemoteResult<Reply> {
    replies.into_iter().next().ok_or_else(no_reply)
}

/// A question that nothing has come back to, though nothing has failed.
pub(super) fn no_reply() -> RemoteError {
    RemoteError::Protocol { reason: String::from("a command was left without a reply") }
}

/// Whether the reply says that it was done.
pub(super) fn is_done(reply: &Reply) -> bool {
    reply.class() == ReplyClass::Completion
}

/// The number in a `213` reply to SIZE or AVBL (RFC 3659 §4.1).
pub(super) fn parse_number(reply: &Reply) -> Option<u64> {
    if !is_done(reply) {
        return None;
    }
    let line = reply.lines().last()?;
    std::str::from_utf8(line.trim_ascii()).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// The entry called `name` as a reply to MLST describes it; `None` for a refusal, or without facts.
pub(super) fn facts_told(reply: &Reply, name: &Name) -> Option<Entry> {
    reply.lines().iter().filter(|_| is_done(reply)).find_map(|line| parse_mlst(line, name.clone()))
}

/// What the replies to SIZE and MDTM say, asked for in one packet.
///
/// # Errors
/// Both replies have the code 213: where they have changed places, only their form tells.
pub(super) fn parse_size_and_time(size: &Reply, time: &Reply) -> RemoteResult<(Option<u64>, Option<Timestamp>)> {
    let modified = parse_mdtm_reply(time);
    if is_done(time) && modified.is_none() {
        return Err(RemoteError::Protocol { reason: format!("MDTM was answered by {time}") });
    }
    Ok((parse_number(size), modified))
}

/// How many hexadecimal digits a token has.
pub(super) const TOKEN_LEN: usize = 16;

/// Hexadecimal digits that nobody can guess: the standard library's hashes are keyed from the system's random numbers.
pub(super) fn random_token() -> String {
    let state = RandomState::new();
    format!("{:0TOKEN_LEN$x}", state.hash_one(Instant::now()))
}

/// A name of ours in `directory`, for what is not complete yet.
pub(super) fn temporary_path(directory: &RemotePath) -> RemotePath {
    own_path(directory, ".part")
}

/// A name of ours beside `target`, for that file while another takes its name. It tells the name that it had, where that leaves
/// it short enough: should we be gone in the middle, whoever finds it knows what it is.
pub(super) fn backup_path(target: &RemotePath) -> Option<RemotePath> {
    let (directory, name) = (target.parent()?, target.name()?);
    let told = [format!(".ftpfs-{}-", random_token()).as_bytes(), name.as_bytes(), b".old"].concat();
    match Name::new(&told) {
        Ok(backup) if told.len() <= NAME_LEN_MAX => Some(directory.join(&backup)),
        _ => Some(own_path(&directory, ".old")),
    }
}

/// A name of ours in `directory`, for trying out what the server does.
pub(super) fn probe_path(directory: &RemotePath) -> RemotePath {
    own_path(directory, ".probe")
}

/// A number that nobody can guess, and that every server takes for the place in a file: vsftpd makes 0 of one with more than 15 digits.
pub(super) fn random_number() -> u64 {
    const LEAST: u64 = 100_000_000_000_000;
    LEAST + RandomState::new().hash_one(Instant::now()) % (9 * LEAST)
}

fn own_path(directory: &RemotePath, suffix: &str) -> RemotePath {
    let name = Name::new(format!(".ftpfs-{}{suffix}", random_token()));
    directory.join(&name.expect("digits and letters are a name"))
}

impl From<ConnectionError> for RemoteError {
    fn from(error: ConnectionError) -> Self {
        let reason = error.to_string();
        match error {
            ConnectionError::NotConnected { .. } | ConnectionError::Closed { .. } | ConnectionError::Io { .. } => {
                Self::Unreachable { reason }
            }
            ConnectionError::TimedOut { during, .. } | ConnectionError::GivenUp { during, .. } => {
                Self::TimedOut { during: String::from(during) }
            }
            ConnectionError::OutOfStep { .. } => Self::Protocol { reason },
            ConnectionError::Tls(error) => Self::Encryption(error),
            ConnectionError::Command(CommandError::TooLong) => Self::NameTooLong,
            ConnectionError::Command(CommandError::LineBreak) => Self::NameNotAllowed { reason },
            ConnectionError::Command(CommandError::TimeOutOfRange) => Self::Failed { reason },
        }
    }
}

impl From<PoolError> for RemoteError {
    fn from(error: PoolError) -> Self {
        let reason = error.to_string();
        match error {
            PoolError::LoginRefused { reply } => Self::LoginRefused { reply: reply.to_string() },
            PoolError::TooMany { .. } | PoolError::Unreachable { .. } | PoolError::DataConnection { .. } => {
                Self::Unreachable { reason }
            }
            PoolError::TimedOut { during, .. } => Self::TimedOut { during: String::from(during) },
            PoolError::Tls(error) => Self::Encryption(error),
            PoolError::Connection(error) => error.into(),
            PoolError::Refused { reply, .. } | PoolError::Aborted { reply } => refused(&reply),
            PoolError::Broken { .. } => Self::Interrupted { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::reply::ReplyCode;

    #[test]
    fn number_is_read_from_a_213_alone() {
        let reply = |code, text: &str| Reply::new(ReplyCode::new(code).unwrap(), vec![text.as_bytes().to_vec()]);
        assert_eq!(parse_number(&reply(213, "12")), Some(12));
        assert_eq!(parse_number(&reply(213, "18446744073709551615 bytes")), Some(u64::MAX));
        assert_eq!(parse_number(&reply(550, "12")), None);
        assert_eq!(parse_number(&reply(213, "-1")), None);
        assert_eq!(parse_number(&reply(213, "")), None);
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(random_token(), random_token());
        assert_eq!(random_token().len(), TOKEN_LEN);
    }

    #[test]
    fn backup_tells_the_name_of_what_it_holds_where_that_is_short_enough() {
        let backup = |name: &str| {
            let target = RemotePath::parse(format!("/d/{name}").as_bytes()).unwrap();
            String::from_utf8(backup_path(&target).unwrap().as_bytes().to_vec()).unwrap()
        };
        let short = backup("a b.txt");
        assert!(short.starts_with("/d/.ftpfs-") && short.ends_with("-a b.txt.old"), "{short}");
        let long = backup(&"n".repeat(250));
        assert!(long.ends_with(".old") && long.len() < 50, "{long}");
    }
}

//! From a TCP connection to a logged-in session, in as few packets as the server takes.
//!
//! ```text
//! careful:  greeting ──▶ perhaps TLS ──▶ USER ──▶ PASS ──▶ perhaps ACCT ──▶ perhaps PBSZ, PROT; TYPE, PWD, FEAT
//! at once:  USER, the greeting being on its way ──▶ PASS, TYPE, PWD, FEAT, EPSV ──▶ the first data connection
//!           greeting ──▶ TLS ──▶ USER, PASS, PBSZ, PROT, TYPE, PWD, FEAT, EPSV ──▶ the first data connection
//! ```
//! At once only where the greeting is of a program that it was measured on (vsftpd 3.0.3, ProFTPD 1.3.8, Pure-FTPd 1.0.50, pyftpdlib 1.5.7),
//! or, for the USER that goes before it, may be. In clear text the password goes only to a server that has greeted, and has asked
//! for it. What is sent behind it counts only where the login has succeeded. Where a login at once fails for a reason that may be this,
//! it is made once more, and all later ones, in the careful way ([`Haste`]).
//!
//! TYPE I, since sizes and offsets mean bytes only there; FEAT behind the password, since some servers answer it more fully then.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Session;
use crate::connection::deadlines::after;
use crate::connection::tally;
use crate::connection::{ConnectionError, ControlConnection, Ticket, TlsError, route};
use crate::pool::encryption::{self, Encryption};
use crate::pool::error::PoolError;
use crate::pool::options::ServerOptions;
use crate::pool::profile::{ServerKind, ServerProfile, Verdict};
use crate::protocol::command::{LINE_BYTES_MAX, LINE_BYTES_USUAL_MAX};
use crate::protocol::reply::parse_257;
use crate::protocol::{Command, Encoding, Features, RemotePath, Reply, ReplyClass, TypeCode};

/// Our name, for servers that want one (CLNT).
const CLIENT_NAME: &str = concat!("ftpfs ", env!("CARGO_PKG_VERSION"));

/// So long the answer to a USER that went before the greeting may come behind that: a server that has thrown it away says nothing at all.
const EARLY_USER_PATIENCE: Duration = Duration::from_secs(3);

/// Whether a login goes at once, and whether that may be why it failed.
#[derive(Debug)]
struct Haste {
    is_on: bool,
    is_to_blame: bool,
}

impl Haste {
    fn of(options: &ServerOptions, profile: &ServerProfile) -> Self {
        // A proxy may answer in place of the server, and ACCT belongs to servers that nothing is known of.
        let is_plain = options.proxy.is_none() && options.account.is_none();
        let may_pipeline = options.pipelining && !profile.pipelining.is_no();
        Self { is_on: is_plain && may_pipeline && !profile.logs_in_at_once.is_no(), is_to_blame: false }
    }

    fn none() -> Self {
        Self { is_on: false, is_to_blame: false }
    }

    /// An error behind which there may be nothing but our haste. 421 is none.
    fn blame(&mut self, error: PoolError) -> PoolError {
        let has_said_why = matches!(&error, PoolError::Connection(ConnectionError::Closed { reply: Some(_), .. }));
        let is_lost = matches!(error, PoolError::Connection(_) | PoolError::TimedOut { .. });
        self.is_to_blame |= self.is_on && is_lost && !has_said_why;
        error
    }
}

impl Session {
    /// Connects and logs in, within the deadlines of `options`.
    ///
    /// # Errors
    /// - [`PoolError::LoginRefused`]: name or password; do not try again.
    /// - [`PoolError::Tls`]: it cannot be encrypted as asked for, or is not trusted; no password was sent.
    /// - [`PoolError::TooMany`]: the server counts too many connections.
    /// - [`PoolError::Unreachable`], [`PoolError::Connection`], [`PoolError::Refused`]: try again later.
    pub fn log_in(options: &Arc<ServerOptions>, profile: &Arc<ServerProfile>) -> Result<Self, PoolError> {
        let had_tls12 = !profile.tls.speaks_tls12.is_no();
        let before = tally::round_trips();
        let session = match Self::log_in_somehow(options, profile) {
            // It was offered TLS 1.2 alone, for its uploads' sake, and has only the newer one.
            Err(PoolError::Tls(_)) if had_tls12 && profile.tls.speaks_tls12.is_no() => {
                Self::log_in_somehow(options, profile)
            }
            result => result,
        }?;
        session.login_round_trips.store(tally::round_trips() - before, Ordering::Relaxed);
        Ok(session)
    }

    /// At once where that may work, and in the careful way where it does not.
    fn log_in_somehow(options: &Arc<ServerOptions>, profile: &Arc<ServerProfile>) -> Result<Self, PoolError> {
        let mut haste = Haste::of(options, profile);
        let verdict = &profile.logs_in_at_once;
        match Self::log_in_once(options, profile, &mut haste) {
            Err(error) if haste.is_to_blame && !verdict.is_yes() => {
                tracing::info!("a login in few packets has failed ({error}): one step at a time from now on");
                verdict.learn(Verdict::No);
                Self::log_in_once(options, profile, &mut Haste::none())
            }
            Err(error) => {
                // It has worked before. If that is over, the next one shows it.
                if haste.is_to_blame {
                    verdict.learn(Verdict::Unknown);
                }
                Err(error)
            }
            Ok(session) => {
                if haste.is_on {
                    verdict.learn(Verdict::Yes);
                }
                Ok(session)
            }
        }
    }

    fn log_in_once(
        options: &Arc<ServerOptions>,
        profile: &Arc<ServerProfile>,
        haste: &mut Haste,
    ) -> Result<Self, PoolError> {
        let deadline = after(options.deadlines.connect);
        let (stream, route) = route::connect(&options.host, options.port, options.proxy.as_ref(), deadline)
            .map_err(|error| PoolError::Unreachable { reason: error.to_string() })?;
        let (control, greeting) = ControlConnection::open(stream, options.control())?;
        let tls = encryption::start_implicit(&control, &options.encryption, profile, login_deadline(options))?;
        let mut session = Self { tls, ..Self::new(control, route, options, profile) };
        let is_clear = matches!(options.encryption, Encryption::Unasked | Encryption::Off);
        let user = if haste.is_on && is_clear { session.say_user_early(haste)? } else { None };
        let greeting = session.hear_greeting(greeting, user.is_some(), haste)?;
        if greeting.class() != ReplyClass::Completion {
            haste.is_to_blame |= user.is_some() && is_out_of_turn(&greeting);
            return Err(login_refusal(greeting));
        }
        session.kind = profile.set_banner(&greeting);
        if session.tls.is_none() {
            let deadline = session.login_deadline();
            session.tls = encryption::start_explicit(&session.control, &options.encryption, profile, deadline)
                .map_err(refused_by_421_of_pool)?;
        }
        session.log_in_here(user, haste).map_err(|error| session.explain_refusal(error))?;
        Ok(session)
    }

    /// Sends USER while the greeting is on its way. Whoever is there learns no more from it than behind the greeting.
    fn say_user_early(&self, haste: &mut Haste) -> Result<Option<Ticket>, PoolError> {
        // The greeting counts as in flight.
        self.control.set_pipelining(true);
        let sent = self.control.send(&[Command::User(self.options.user.clone())], self.login_deadline());
        self.control.set_pipelining(false);
        let mut tickets = sent.map_err(|error| haste.blame(error.into()))?;
        Ok(tickets.pop())
    }

    fn hear_greeting(&self, greeting: Ticket, is_spoken_to: bool, haste: &mut Haste) -> Result<Reply, PoolError> {
        // Half of the time, so that the careful way has some as well.
        let is_tried = is_spoken_to && !self.profile.logs_in_at_once.is_yes();
        let deadline = if is_tried { after(self.options.deadlines.reply / 2) } else { self.login_deadline() };
        greeting.wait(deadline).map_err(|error| match refused_by_421(error) {
            error if is_spoken_to => haste.blame(error),
            error => error,
        })
    }

    /// From the greeting on.
    fn log_in_here(&self, user: Option<Ticket>, haste: &mut Haste) -> Result<(), PoolError> {
        let pipelining = self.options.pipelining && !self.profile.pipelining.is_no();
        let is_at_once = haste.is_on && pipelining && self.is_of_known_kind();
        if is_at_once && self.tls.is_some() {
            return self.log_in_at_once(&[self.user(), self.password()], haste);
        }
        let mut reply = match user {
            Some(user) => self.hear_early_user(user, haste)?,
            None => self.ask_for_login(self.user())?,
        };
        if reply.code().number() == 331 {
            if is_at_once {
                return self.log_in_at_once(&[self.password()], haste);
            }
            reply = self.ask_for_login(self.password())?;
        }
        if let (332, Some(account)) = (reply.code().number(), &self.options.account) {
            reply = self.ask_for_login(Command::Acct(account.clone()))?;
        }
        if reply.class() != ReplyClass::Completion {
            return Err(login_refusal(reply));
        }
        self.control.set_pipelining(pipelining && self.keeps_order());
        self.prepare().map_err(|error| self.blame_pipelining(error))
    }

    fn user(&self) -> Command {
        Command::User(self.options.user.clone())
    }

    fn password(&self) -> Command {
        Command::Pass(self.options.password.clone())
    }

    fn hear_early_user(&self, user: Ticket, haste: &mut Haste) -> Result<Reply, PoolError> {
        // Where it has worked before, a slow answer is the server's way of asking its users' database.
        let is_tried = !self.profile.logs_in_at_once.is_yes();
        let patience = if is_tried { EARLY_USER_PATIENCE } else { self.options.deadlines.reply };
        let deadline = self.login_deadline().min(after(patience));
        let reply = user.wait(deadline).map_err(|error| haste.blame(refused_by_421(error)))?;
        if is_out_of_turn(&reply) {
            haste.is_to_blame = true;
            return Err(PoolError::Refused { verb: "USER", reply });
        }
        Ok(reply)
    }

    /// Sends what is left of the login, and all that every session needs behind it, in one packet.
    fn log_in_at_once(&self, login: &[Command], haste: &mut Haste) -> Result<(), PoolError> {
        self.control.set_pipelining(true);
        let preparations = self.preparations(true);
        let commands: Vec<Command> = login.iter().chain(&preparations).cloned().collect();
        let deadline = self.login_deadline();
        let sent = self.control.send(&commands, deadline).map_err(|error| haste.blame(error.into()))?;
        let mut tickets = sent.into_iter();
        let mut verdict = None;
        for ticket in tickets.by_ref().take(login.len()) {
            let reply = ticket.wait(deadline).map_err(|error| self.blame_haste(error, haste))?;
            // What USER was answered counts, unless that was the question for the password.
            if verdict.as_ref().is_none_or(|before: &Reply| before.code().number() == 331) {
                verdict = Some(reply);
            }
        }
        let Some(mut reply) = verdict else { return Ok(()) };
        if !matches!(reply.code().number(), 202 | 230 | 232) {
            // It says no only when it has answered all that came behind, and that is no as well.
            if self.kind == ServerKind::Pyftpdlib && reply.class() == ReplyClass::Permanent {
                reply = tickets.last().and_then(|last| last.wait(deadline).ok()).unwrap_or(reply);
            }
            if reply.class() == ReplyClass::Completion {
                haste.is_to_blame = true;
            }
            return Err(login_refusal(reply));
        }
        let replies: Result<Vec<Reply>, _> = tickets.map(|ticket| ticket.wait(deadline)).collect();
        let replies = replies.map_err(|error| self.blame_pipelining(self.blame_haste(error, haste)))?;
        self.set_encoding();
        self.take_preparations(&preparations, replies)
    }

    /// Silence on a password is not for our haste: servers take their time for that.
    fn blame_haste(&self, error: ConnectionError, haste: &mut Haste) -> PoolError {
        match refused_by_421(error) {
            error @ (PoolError::TimedOut { .. } | PoolError::Connection(ConnectionError::TimedOut { .. })) => error,
            error => haste.blame(error),
        }
    }

    /// A refusal of a login in clear text may be about that.
    fn explain_refusal(&self, error: PoolError) -> PoolError {
        match error {
            PoolError::LoginRefused { reply } | PoolError::TooMany { reply } | PoolError::Refused { reply, .. }
                if self.tls.is_none() && encryption::is_demand(&reply) =>
            {
                PoolError::Tls(TlsError::Demanded { reply: reply.to_string() })
            }
            error => error,
        }
    }

    fn ask_for_login(&self, command: Command) -> Result<Reply, PoolError> {
        self.control.exchange(command, self.login_deadline()).map_err(refused_by_421)
    }

    /// What vsftpd and Pure-FTPd take as it is, and would store two of: 0xFF.
    fn set_encoding(&self) {
        let takes_bytes_as_they_are = matches!(self.kind, ServerKind::Vsftpd | ServerKind::PureFtpd);
        let takes_long_lines = matches!(self.kind, ServerKind::Vsftpd | ServerKind::ProFtpd);
        self.control.set_encoding(Encoding {
            double_iac: !takes_bytes_as_they_are,
            line_bytes_max: if takes_long_lines { LINE_BYTES_MAX } else { LINE_BYTES_USUAL_MAX },
        });
    }

    /// Sets what every session needs, and learns of the server what is not known yet.
    fn prepare(&self) -> Result<(), PoolError> {
        self.set_encoding();
        if self.options.pipelining && self.profile.pipelining.get() == Verdict::Unknown {
            self.prove_order()?;
        }
        let commands = self.preparations(false);
        let replies = self.control.exchange_all(&commands, self.login_deadline())?;
        self.take_preparations(&commands, replies)
    }

    /// What every session needs, and the question for its first data connection where nobody would wait for the answer.
    fn preparations(&self, has_spare: bool) -> Vec<Command> {
        // First what nobody obeys before the login: pyftpdlib says no to a password behind all else, and PBSZ has its 200 in any case.
        let mut commands = vec![Command::Pwd];
        if self.tls.is_some() {
            commands.extend([Command::Pbsz0, Command::ProtP]);
        }
        commands.push(Command::Type(TypeCode::Image));
        if self.profile.has_features() {
            commands.extend(self.wishes());
        } else {
            commands.push(Command::Feat);
        }
        commands.extend(self.first_spare_command().filter(|_| has_spare));
        commands
    }

    fn take_preparations(&self, commands: &[Command], replies: Vec<Reply>) -> Result<(), PoolError> {
        let mut has_new_features = false;
        for (command, reply) in commands.iter().zip(replies) {
            match command {
                // PBSZ has no meaning in TLS (RFC 4217 §8) but to be there before PROT.
                Command::ProtP => encryption::check_protection(&self.options.encryption, &reply)?,
                Command::Type(_) if reply.class() != ReplyClass::Completion => {
                    return Err(PoolError::Refused { verb: "TYPE", reply });
                }
                Command::Pwd => {
                    parse_257(&reply).iter().for_each(|directory| self.learn_login_directory(directory));
                }
                Command::Feat => {
                    self.profile.set_features(Features::parse(&reply));
                    has_new_features = true;
                }
                // Its connection comes about while the wishes are on their way.
                Command::Epsv | Command::Pasv => self.begin_first_spare(&reply),
                _ => {}
            }
        }
        if has_new_features {
            self.warn_of_clear_text();
            let wishes = self.wishes();
            // In their packet, or not at all.
            let questions = if wishes.is_empty() { Vec::new() } else { self.first_questions() };
            let commands: Vec<Command> = wishes.iter().chain(&questions).cloned().collect();
            let deadline = self.login_deadline();
            let mut tickets = self.control.send(&commands, deadline)?.into_iter();
            for ticket in tickets.by_ref().take(wishes.len()) {
                ticket.wait(deadline)?;
            }
            // No login fails for want of these.
            let replies: Vec<Reply> = tickets.map_while(|ticket| ticket.wait(deadline).ok()).collect();
            self.learn_what_is_missing(&questions, &replies);
        }
        self.prove_first_spare(self.login_deadline());
        Ok(())
    }

    /// Whether it is one of the programs that were measured.
    fn is_of_known_kind(&self) -> bool {
        match self.kind {
            ServerKind::Vsftpd | ServerKind::ProFtpd | ServerKind::PureFtpd | ServerKind::Pyftpdlib => true,
            ServerKind::Iis | ServerKind::FileZilla | ServerKind::Other => false,
        }
    }

    /// Whether several commands in flight get their replies in order: known of some programs, of others once proved.
    fn keeps_order(&self) -> bool {
        self.is_of_known_kind() || self.profile.pipelining.is_yes()
    }

    /// Finds out whether a server of unknown kind answers in order.
    ///
    /// Some answer each command when its work is done (libunftp): a SIZE, for which they ask the disk, after a NOOP that came
    /// behind it. Two such SIZE could change places, and nobody would see it. The codes of these replies cannot be
    /// mistaken for each other, so here it is seen.
    fn prove_order(&self) -> Result<(), PoolError> {
        if self.keeps_order() {
            return Ok(());
        }
        self.control.set_pipelining(true);
        let size = || Command::Size(self.profile.login_directory());
        let commands = [size(), Command::Noop, size(), Command::Pwd, size(), Command::Noop];
        let replies = self.control.exchange_all(&commands, self.login_deadline())?;
        let is_in_order = commands.iter().zip(&replies).all(|(command, reply)| match command {
            Command::Noop => matches!(reply.code().number(), 200 | 250),
            Command::Pwd => reply.code().number() == 257,
            // 213, or refused: it is a directory.
            _ => reply.code().number() == 213 || matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent),
        });
        self.profile.pipelining.learn_if(is_in_order);
        self.control.set_pipelining(is_in_order);
        if !is_in_order {
            tracing::info!("the server does not answer in order: one command at a time");
        }
        Ok(())
    }

    /// Says once that the password could have been encrypted.
    fn warn_of_clear_text(&self) {
        let has_password = !matches!(&*self.options.user, b"anonymous" | b"ftp");
        let is_unasked = matches!(self.options.encryption, Encryption::Unasked);
        let offers = self.profile.features().has_with("AUTH", "TLS");
        if is_unasked && has_password && offers && self.profile.tls.warns_now() {
            tracing::warn!(
                "the password went over the network in clear text, though the server can encrypt: ftpes:// in the URL instead of \
                 ftp:// makes it do so"
            );
        }
    }

    /// What may be refused: that names are not converted, which are bytes to us, and that more facts are told.
    fn wishes(&self) -> Vec<Command> {
        let features = self.profile.features();
        let mut commands = Vec::new();
        if let Some(facts) = features.missing_facts_option() {
            commands.push(Command::Opts(facts.into()));
        }
        if features.utf8() {
            if features.clnt() {
                commands.push(Command::Clnt(CLIENT_NAME.into()));
            }
            commands.push(Command::Opts("UTF8 ON".into()));
        }
        commands
    }

    /// What most servers do not have, and the first df, find or rm -r of a mount would wait for. Only servers that take anything in a packet.
    fn first_questions(&self) -> Vec<Command> {
        if !self.control.is_pipelining() || !self.is_of_known_kind() {
            return Vec::new();
        }
        vec![Command::Avbl(self.profile.login_directory()), Command::SiteQuota]
    }

    /// Takes note of what the server does not know. What it does tell is asked for when somebody wants it.
    fn learn_what_is_missing(&self, questions: &[Command], replies: &[Reply]) {
        for (question, reply) in questions.iter().zip(replies) {
            let verdict = match question {
                Command::Avbl(_) => &self.profile.avbl,
                _ => &self.profile.site_quota,
            };
            if matches!(reply.code().number(), 500 | 502) {
                verdict.learn(Verdict::No);
            }
        }
    }

    fn learn_login_directory(&self, bytes: &[u8]) {
        match RemotePath::parse(bytes) {
            Ok(directory) => {
                self.profile.set_login_directory(directory.clone());
                *self.current_directory.lock() = Some(directory);
            }
            Err(error) => tracing::info!(directory = %bytes.escape_ascii(), "login directory not understood: {error}"),
        }
    }

    /// The first time that several commands are in flight is in [`Self::prepare`]: a server that loses its step, or
    /// falls silent, there gets one command at a time from now on.
    fn blame_pipelining(&self, error: PoolError) -> PoolError {
        let is_suspect = matches!(
            &error,
            PoolError::Connection(ConnectionError::OutOfStep { .. } | ConnectionError::TimedOut { .. })
        );
        if is_suspect && self.control.is_pipelining() && !self.profile.pipelining.is_yes() {
            tracing::warn!("the server does not keep up with several commands in flight: one at a time from now on");
            self.profile.pipelining.learn_if(false);
        }
        refused_by_421_of_pool(error)
    }

    fn login_deadline(&self) -> Instant {
        login_deadline(&self.options)
    }
}

/// The reply deadline ends silence; this one ends a login that drips.
fn login_deadline(options: &ServerOptions) -> Instant {
    after(options.deadlines.reply.saturating_mul(2))
}

/// Whether it is what servers say to a command that they did not expect.
fn is_out_of_turn(reply: &Reply) -> bool {
    matches!(reply.code().number(), 500..=504)
}

/// 421 during a login nearly always means a limit, whatever its words.
fn refused_by_421(error: ConnectionError) -> PoolError {
    match error {
        ConnectionError::Closed { reply: Some(reply), .. } => PoolError::TooMany { reply },
        error => error.into(),
    }
}

fn refused_by_421_of_pool(error: PoolError) -> PoolError {
    match error {
        PoolError::Connection(error) => refused_by_421(error),
        error => error,
    }
}

/// What a refusal of greeting, USER, PASS or ACCT means.
fn login_refusal(reply: Reply) -> PoolError {
    // Words that servers use with 530 for a limit. Texts can be changed by administrators: the pool knows one more sign
    // (the same password has just worked).
    const LIMITS: [&str; 7] =
        ["too many", "maximum", "limit", "concurrent", "connections", "simultaneous", "already logged"];
    let text = reply.text().to_ascii_lowercase();
    match (reply.class(), reply.code().number()) {
        (_, 421) => PoolError::TooMany { reply },
        (ReplyClass::Transient | ReplyClass::Permanent, _) if LIMITS.iter().any(|word| text.contains(word)) => {
            PoolError::TooMany { reply }
        }
        // 430: invalid user name or password, as some servers say it.
        (ReplyClass::Permanent | ReplyClass::Intermediate, _) | (_, 430) => PoolError::LoginRefused { reply },
        (ReplyClass::Transient | ReplyClass::Preliminary | ReplyClass::Completion, _) => {
            PoolError::Refused { verb: "login", reply }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ReplyCode;

    fn refusal(number: u16, text: &str) -> PoolError {
        login_refusal(Reply::new(ReplyCode::new(number).unwrap(), vec![text.into()]))
    }

    #[test]
    fn limit_is_told_from_wrong_password() {
        assert!(matches!(refusal(530, "Login incorrect."), PoolError::LoginRefused { .. }));
        assert!(matches!(refusal(430, "Invalid username or password"), PoolError::LoginRefused { .. }));
        assert!(matches!(refusal(332, "Need account"), PoolError::LoginRefused { .. }));
        assert!(matches!(
            refusal(530, "Sorry, the maximum number of clients (3) from your host"),
            PoolError::TooMany { .. }
        ));
        assert!(matches!(refusal(421, "Come back later"), PoolError::TooMany { .. }));
        assert!(matches!(refusal(450, "Directory service is down"), PoolError::Refused { .. }));
    }
}

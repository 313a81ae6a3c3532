//! From a TCP connection to a logged-in session.
//!
//! Greeting, perhaps TLS (`encryption`), USER, PASS, perhaps ACCT; then PBSZ and PROT where it is encrypted, TYPE I, since sizes and offsets mean bytes only there, FEAT (which some
//! servers answer more fully after the login) and PWD, in one packet.
//!
//! Not here: how often logins are tried (`pool`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::encryption::{self, Encryption};
use super::error::PoolError;
use super::options::ServerOptions;
use super::profile::{ServerKind, ServerProfile, Verdict};
use super::spare::Spare;
use crate::connection::deadlines::after;
use crate::connection::tally;
use crate::connection::{ConnectionError, ControlConnection, Route, TlsError, TlsLogin, route};
use crate::protocol::command::{LINE_BYTES_MAX, LINE_BYTES_USUAL_MAX};
use crate::protocol::reply::parse_257;
use crate::protocol::{Command, Encoding, Features, RemotePath, Reply, ReplyClass, TypeCode};

/// Our name, for servers that want one (CLNT).
const CLIENT_NAME: &str = concat!("ftpfs ", env!("CARGO_PKG_VERSION"));

/// How long the replies of a stopped transfer may take before its session is given up.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// A control connection that has logged in.
#[derive(Debug)]
pub struct Session {
    control: ControlConnection,
    route: Route,
    profile: Arc<ServerProfile>,
    options: Arc<ServerOptions>,
    /// Which program it talks to.
    kind: ServerKind,
    /// Where it is encrypted.
    tls: Option<TlsLogin>,
    /// A REST was accepted and its transfer never began: some servers apply it to the next one.
    pub(super) restart_left_over: AtomicBool,
    /// The data connection opened ahead.
    pub(super) spare: Spare,
    current_directory: Mutex<Option<RemotePath>>,
    /// What comes out of step on it is not the server's way with several commands in flight.
    pub(super) is_blameless: AtomicBool,
    /// How many round trips its login took, until somebody has waited for that.
    login_round_trips: AtomicU64,
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
        let session = match Self::log_in_once(options, profile) {
            // It was offered TLS 1.2 alone, for its uploads' sake, and has only the newer one.
            Err(PoolError::Tls(_)) if had_tls12 && profile.tls.speaks_tls12.is_no() => {
                Self::log_in_once(options, profile)
            }
            result => result,
        }?;
        session.login_round_trips.store(tally::round_trips() - before, Ordering::Relaxed);
        Ok(session)
    }

    /// This thread has the session, and has waited for its login if it waited at all; once for each session.
    pub(super) fn count_login(&self, has_waited: bool) {
        let round_trips = self.login_round_trips.swap(0, Ordering::Relaxed);
        if has_waited {
            tally::wait_round_trips(round_trips);
        }
    }

    fn log_in_once(options: &Arc<ServerOptions>, profile: &Arc<ServerProfile>) -> Result<Self, PoolError> {
        let deadline = after(options.deadlines.connect);
        let (stream, route) = route::connect(&options.host, options.port, options.proxy.as_ref(), deadline)
            .map_err(|error| PoolError::Unreachable { reason: error.to_string() })?;
        let pipelining = options.pipelining && !profile.pipelining.is_no();
        let (control, greeting) = ControlConnection::open(stream, options.control())?;
        let tls = encryption::start_implicit(&control, &options.encryption, profile, login_deadline(options))?;
        let mut session = Self {
            control,
            route,
            tls,
            profile: Arc::clone(profile),
            options: Arc::clone(options),
            kind: ServerKind::Other,
            restart_left_over: AtomicBool::new(false),
            spare: Spare::default(),
            current_directory: Mutex::new(None),
            is_blameless: AtomicBool::new(false),
            login_round_trips: AtomicU64::new(0),
        };
        let greeting = greeting.wait(session.login_deadline()).map_err(refused_by_421)?;
        if greeting.class() != ReplyClass::Completion {
            return Err(login_refusal(greeting));
        }
        session.kind = profile.set_banner(&greeting);
        if session.tls.is_none() {
            let deadline = session.login_deadline();
            session.tls = encryption::start_explicit(&session.control, &options.encryption, profile, deadline)
                .map_err(refused_by_421_of_pool)?;
        }
        session.authenticate().map_err(|error| session.explain_refusal(error))?;
        session.control.set_pipelining(pipelining && session.keeps_order());
        session.prepare().map_err(|error| session.blame_pipelining(error))?;
        Ok(session)
    }

    fn authenticate(&self) -> Result<(), PoolError> {
        let mut reply = self.ask_for_login(Command::User(self.options.user.clone()))?;
        if reply.code().number() == 331 {
            reply = self.ask_for_login(Command::Pass(self.options.password.clone()))?;
        }
        if let (332, Some(account)) = (reply.code().number(), &self.options.account) {
            reply = self.ask_for_login(Command::Acct(account.clone()))?;
        }
        if reply.class() == ReplyClass::Completion { Ok(()) } else { Err(login_refusal(reply)) }
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

    /// Sets what every session needs, and learns of the server what is not known yet.
    fn prepare(&self) -> Result<(), PoolError> {
        // vsftpd and Pure-FTPd take 0xFF as it is, and would store two of them.
        let takes_bytes_as_they_are = matches!(self.kind, ServerKind::Vsftpd | ServerKind::PureFtpd);
        let takes_long_lines = matches!(self.kind, ServerKind::Vsftpd | ServerKind::ProFtpd);
        self.control.set_encoding(Encoding {
            double_iac: !takes_bytes_as_they_are,
            line_bytes_max: if takes_long_lines { LINE_BYTES_MAX } else { LINE_BYTES_USUAL_MAX },
        });
        if self.options.pipelining && self.profile.pipelining.get() == Verdict::Unknown {
            self.prove_order()?;
        }
        let is_known = self.profile.has_features();
        let protection = if self.tls.is_some() { vec![Command::Pbsz0, Command::ProtP] } else { Vec::new() };
        let mut commands = protection.clone();
        commands.extend([Command::Type(TypeCode::Image), Command::Pwd]);
        if is_known {
            commands.extend(self.wishes());
        } else {
            commands.push(Command::Feat);
        }
        let mut replies = self.control.exchange_all(&commands, self.login_deadline())?.into_iter();
        for command in protection {
            let reply = replies.next();
            // PBSZ has no meaning in TLS (RFC 4217 §8) but to be there before PROT.
            if let (Command::ProtP, Some(reply)) = (command, reply) {
                encryption::check_protection(&self.options.encryption, &reply)?;
            }
        }
        match replies.next() {
            Some(reply) if reply.class() == ReplyClass::Completion => {}
            Some(reply) => return Err(PoolError::Refused { verb: "TYPE", reply }),
            None => {}
        }
        if let Some(directory) = replies.next().as_ref().and_then(parse_257) {
            self.learn_login_directory(&directory);
        }
        if let (false, Some(reply)) = (is_known, replies.next()) {
            self.profile.set_features(Features::parse(&reply));
            self.warn_of_clear_text();
            self.control.exchange_all(&self.wishes(), self.login_deadline())?;
        }
        Ok(())
    }

    /// Whether several commands in flight get their replies in order: known of some programs, of others once proved.
    fn keeps_order(&self) -> bool {
        match self.kind {
            ServerKind::Vsftpd | ServerKind::ProFtpd | ServerKind::PureFtpd | ServerKind::Pyftpdlib => true,
            ServerKind::Iis | ServerKind::FileZilla | ServerKind::Other => self.profile.pipelining.is_yes(),
        }
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

    /// Brings the session back in step after the data connection of its transfer was reset.
    pub(super) fn stop_transfer(&self) -> Result<(), PoolError> {
        // Measured: these two keep the order of the transfer's end and the marker, also if both arrive at once.
        let at_once = matches!(self.kind, ServerKind::Vsftpd | ServerKind::ProFtpd);
        let has_ended = self.control.stop_transfer(at_once, after(STOP_PATIENCE))?;
        // Pure-FTPd may say nothing on a stopped transfer, and is through with it all the same.
        if has_ended || self.kind == ServerKind::PureFtpd {
            return Ok(());
        }
        self.control.close();
        Err(PoolError::Broken { reason: String::from("the server has not ended the stopped transfer") })
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

    /// TLS, where it is encrypted.
    pub fn tls(&self) -> Option<&TlsLogin> {
        self.tls.as_ref()
    }

    /// The control connection, for commands without data connection.
    pub fn control(&self) -> &ControlConnection {
        &self.control
    }

    /// The way to the server, for data connections.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// What is known of the server.
    pub fn profile(&self) -> &ServerProfile {
        &self.profile
    }

    /// Which program it talks to, as far as its own greeting tells; for choices of speed, never for what is true of a file.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The options it was made with.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// The directory that paths without a leading `/` begin in: as the last one who changed it has said, and at first the login
    /// directory. `None` where nobody knows.
    pub fn current_directory(&self) -> Option<RemotePath> {
        self.current_directory.lock().clone()
    }

    /// Remembers where a CWD has led; `None` where it is in doubt.
    pub fn set_current_directory(&self, directory: Option<RemotePath>) {
        *self.current_directory.lock() = directory;
    }

    /// If the connection is out of step, it is for what was in a reply, and not for having several commands in flight.
    pub fn blame_the_reply(&self) {
        self.is_blameless.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_restart_left_over(&self) -> bool {
        self.restart_left_over.load(Ordering::Relaxed)
    }

    /// How long the end of a transfer may take once its data is over.
    pub(super) fn completion_patience(&self) -> Duration {
        self.options.deadlines.data.max(self.options.deadlines.reply)
    }
}

/// The reply deadline ends silence; this one ends a login that drips.
fn login_deadline(options: &ServerOptions) -> Instant {
    after(options.deadlines.reply.saturating_mul(2))
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

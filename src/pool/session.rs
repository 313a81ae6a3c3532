//! A control connection that has logged in, and what is known of it.
//!
//! Not here: how it logs in (`login`), how often that is tried (`pool`).

mod login;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::error::PoolError;
use super::options::ServerOptions;
use super::profile::{ServerKind, ServerProfile};
use super::spare::Spare;
use crate::connection::deadlines::after;
use crate::connection::tally;
use crate::connection::{ControlConnection, Route, StopOrder, TlsLogin};
use crate::protocol::RemotePath;

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
    /// Answers that can hold anything were asked for, and nobody has seen that they are in step.
    pub(super) has_unheard: AtomicBool,
    /// The data connection opened ahead.
    pub(super) spare: Spare,
    current_directory: Mutex<Option<RemotePath>>,
    /// What comes out of step on it is not the server's way with several commands in flight.
    pub(super) is_blameless: AtomicBool,
    /// How many round trips its login took, until somebody has waited for that.
    login_round_trips: AtomicU64,
}

impl Session {
    /// One that is about to log in.
    fn new(
        control: ControlConnection,
        route: Route,
        options: &Arc<ServerOptions>,
        profile: &Arc<ServerProfile>,
    ) -> Self {
        Self {
            control,
            route,
            profile: Arc::clone(profile),
            options: Arc::clone(options),
            kind: ServerKind::Other,
            tls: None,
            restart_left_over: AtomicBool::new(false),
            has_unheard: AtomicBool::new(false),
            spare: Spare::default(),
            current_directory: Mutex::new(None),
            is_blameless: AtomicBool::new(false),
            login_round_trips: AtomicU64::new(0),
        }
    }

    /// This thread has the session, and has waited for its login if it waited at all; once for each session.
    pub(super) fn count_login(&self, has_waited: bool) {
        let round_trips = self.login_round_trips.swap(0, Ordering::Relaxed);
        if has_waited {
            tally::wait_round_trips(round_trips);
        }
    }

    /// Brings the session back in step after the data connection of its transfer was reset. The next one is asked for in the same packet, where the
    /// server is known to keep the order.
    pub(super) fn stop_transfer(self: &Arc<Self>) -> Result<(), PoolError> {
        // Measured: these two keep the order of the transfer's end and the marker, also if both arrive at once; ProFTPD not always over TLS.
        let (order, may_ask) = match self.kind {
            ServerKind::Vsftpd | ServerKind::ProFtpd => (StopOrder::Kept, self.tls.is_none()),
            ServerKind::PureFtpd => (StopOrder::OneByOne, true),
            ServerKind::Pyftpdlib | ServerKind::Iis | ServerKind::FileZilla | ServerKind::Other => {
                (StopOrder::Unknown, false)
            }
        };
        let next = if may_ask { self.spare_command() } else { None };
        // Whatever comes out of step there is no verdict on several commands in flight.
        let has_asked = next.is_some();
        let stopped = self.control.stop_transfer(order, next, after(STOP_PATIENCE)).inspect_err(|_| {
            if has_asked {
                self.blame_the_reply();
            }
        })?;
        // Pure-FTPd may say nothing on a stopped transfer, and is through with it all the same.
        if stopped.has_ended || self.kind == ServerKind::PureFtpd {
            if let Some(ticket) = stopped.next {
                self.has_asked_for_spare(ticket);
            }
            return Ok(());
        }
        self.control.close();
        Err(PoolError::Broken { reason: String::from("the server has not ended the stopped transfer") })
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

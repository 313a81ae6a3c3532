//! What lets a data connection resume the TLS session of its control connection.
//!
//! One store for each control connection. Servers compare: ProFTPD refuses a data connection that resumes the session of another
//! control connection, although the handshake itself succeeds.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Tickets kept; servers give two with the login and one with each transfer that takes one.
const TICKETS_MAX: usize = 16;

/// The group that the server chose the last time: whoever guesses wrong pays a round trip. One for all logins of a mount.
pub(super) type GroupHint = Arc<Mutex<Option<NamedGroup>>>;

/// How many data connections can still resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumable {
    /// As many as wanted (TLS 1.2).
    Always,
    /// As many as there are tickets (TLS 1.3); not 0.
    Times(usize),
    /// None any more: the tickets are used up.
    UsedUp,
    /// None: the server has never offered it.
    Never,
}

/// The sessions of one control connection.
#[derive(Debug)]
pub(super) struct Sessions {
    group: GroupHint,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// TLS 1.2.
    session: Option<Tls12ClientSessionValue>,
    /// TLS 1.3, the newest at the end.
    tickets: VecDeque<Tls13ClientSessionValue>,
    received: u64,
}

impl Sessions {
    pub(super) fn new(group: GroupHint) -> Self {
        Self { group, state: Mutex::default() }
    }

    pub(super) fn resumable(&self) -> Resumable {
        let state = self.state.lock();
        match (&state.session, state.tickets.len(), state.received) {
            (Some(_), ..) => Resumable::Always,
            (None, 0, 0) => Resumable::Never,
            (None, 0, _) => Resumable::UsedUp,
            (None, tickets, _) => Resumable::Times(tickets),
        }
    }

    /// How many sessions and tickets have come.
    pub(super) fn received(&self) -> u64 {
        self.state.lock().received
    }
}

// The names are all the same: whom the URL names.
impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        *self.group.lock() = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        *self.group.lock()
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        let mut state = self.state.lock();
        state.session = Some(value);
        state.received += 1;
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.state.lock().session.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.state.lock().session = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut state = self.state.lock();
        if state.tickets.len() >= TICKETS_MAX {
            state.tickets.pop_front();
        }
        state.tickets.push_back(value);
        state.received += 1;
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.state.lock().tickets.pop_back()
    }
}

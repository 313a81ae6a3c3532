//! How many sessions there are, who has them, who waits.
//!
//! Everything here is memory under one lock; logins run in threads of their own and bring their sessions in. So a caller
//! waits for its own deadline and no longer, whatever a login is doing, and a login begun for one caller serves the
//! next.
//!
//! Who waits stands in one queue. With two connections or more, one is for questions ([`Pool::shared`]) and the others are
//! lent whole ([`Pool::exclusive`]), each kind first come, first served. With one connection both take turns in the
//! order they came: a question that waits makes later leases wait, and the reverse. Reads can be asked to give way
//! ([`Lease::is_wanted`]); writes go on to their end, unless they have nothing to send.

mod brief;
mod failures;
mod growing;
mod idle;
mod tidying;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::ceiling::Ceiling;
use super::connections::Connections;
use super::encryption;
use super::error::PoolError;
use super::lease::{Lease, SharedSession};
use super::options::ServerOptions;
use super::profile::ServerProfile;
use super::session::Session;
use super::spare::Readily;
use super::traffic::OperationKind;
use crate::connection::ConnectionError;
use crate::connection::deadlines::{after, remaining};
use brief::Briefness;
pub use brief::Stay;
use failures::{Backoff, Refusal};
use tidying::{Idle, LATELY};

/// A read that has just begun is not asked to give way: two of them would otherwise cost each other
/// more in beginnings than they get done.
const LEASE_QUANTUM: Duration = Duration::from_millis(200);

/// All connections to one server.
#[derive(Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

/// What a session is lent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A directory listing: short, let it end.
    Listing,
    /// A RETR: can be stopped and taken up again at an offset.
    Read,
    /// A STOR or APPE: not to be interrupted.
    Write,
}

pub(super) struct Inner {
    options: Arc<ServerOptions>,
    profile: Arc<ServerProfile>,
    state: Mutex<State>,
    /// A session came or went, or a login ended.
    changed: Condvar,
    /// The pool is closing, or there is something that will have been idle too long.
    tidying: Condvar,
}

struct State {
    /// Sessions that nobody has, the one used last at the end.
    idle: Vec<Idle>,
    shared: Option<SharedSlot>,
    leases: BTreeMap<u64, LeaseRecord>,
    logging_in: usize,
    waiters: Vec<Waiter>,
    /// Callers that would take what nobody else needs.
    patient: usize,
    next_number: u64,
    /// A session was lent whole before.
    has_lent: bool,
    briefness: Briefness,
    ceiling: Ceiling,
    backoff: Backoff,
    /// The password has worked when the mount began. That it is refused now is believed for a while.
    refused: Option<Refusal>,
    closed: bool,
}

struct SharedSlot {
    session: Arc<Session>,
    users: usize,
    since: Instant,
}

struct LeaseRecord {
    purpose: Purpose,
    stay: Stay,
    /// It is the session for questions, and when one was asked last.
    shared_since: Option<Instant>,
    /// Nobody waits for what it does.
    ahead: bool,
    since: Instant,
    wanted: Arc<AtomicBool>,
    wake: Option<Wake>,
}

pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    number: u64,
    want: Want,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Shared,
    Exclusive(Purpose, Stay),
}

enum Granted {
    Shared(Arc<Session>),
    Exclusive(Arc<Session>, u64, Arc<AtomicBool>),
}

impl Pool {
    /// Logs in once, so that a wrong password, an unknown host or a closed port is told at once.
    ///
    /// Where the server has too many connections it is asked again until the connect deadline: those of a mount that has just
    /// ended may still be counted.
    ///
    /// # Errors
    /// Any of [`PoolError`].
    pub fn connect(options: ServerOptions) -> Result<Arc<Self>, PoolError> {
        let options = Arc::new(options);
        let profile = Arc::new(ServerProfile::default());
        let session = profile.traffic.run(OperationKind::Login, || first_login(&options, &profile))?;
        let now = Instant::now();
        let state = State {
            idle: vec![Idle::new(Arc::new(session))],
            shared: None,
            leases: BTreeMap::new(),
            logging_in: 0,
            waiters: Vec::new(),
            patient: 0,
            next_number: 0,
            has_lent: false,
            briefness: Briefness::new(options.brief_wait),
            ceiling: Ceiling::new(options.connections_max, options.ceiling_regrowth),
            backoff: Backoff { failure: None, delay: Duration::ZERO, until: now },
            refused: None,
            closed: false,
        };
        let inner = Arc::new(Inner {
            options,
            profile,
            state: Mutex::new(state),
            changed: Condvar::new(),
            tidying: Condvar::new(),
        });
        let tidier = Arc::clone(&inner);
        thread::Builder::new()
            .name(String::from("ftpfs-idle"))
            .spawn(move || tidier.close_idle_sessions())
            .map_err(|error| PoolError::Unreachable { reason: format!("cannot start a thread: {error}") })?;
        Ok(Arc::new(Self { inner }))
    }

    /// The session that questions of many callers are pipelined on.
    ///
    /// Hold it no longer than the questions take, and never while asking for [`Self::exclusive`].
    ///
    /// # Errors
    /// At `deadline`: [`PoolError::Unreachable`] or [`PoolError::TooMany`] with the last login's error,
    /// [`PoolError::TimedOut`] where all sessions were in use. At once: [`PoolError::LoginRefused`].
    pub fn shared(&self, deadline: Instant) -> Result<SharedSession, PoolError> {
        match self.inner.acquire(Want::Shared, deadline)? {
            Granted::Shared(session) | Granted::Exclusive(session, ..) => {
                Ok(SharedSession::new(session, Arc::clone(&self.inner)))
            }
        }
    }

    /// A session lent whole. Never ask for one while holding another, or a shared one.
    ///
    /// # Errors
    /// As for [`Self::shared`].
    pub fn exclusive(&self, purpose: Purpose, deadline: Instant) -> Result<Lease, PoolError> {
        self.lend(purpose, Stay::Long, deadline)
    }

    /// The same for what takes a few round trips and no more: it may also have the session that questions are asked on, while
    /// nobody asks any and such leases are given back soon.
    ///
    /// # Errors
    /// As for [`Self::shared`].
    pub fn brief(&self, purpose: Purpose, deadline: Instant) -> Result<Lease, PoolError> {
        self.lend(purpose, Stay::Brief, deadline)
    }

    pub(super) fn lend(&self, purpose: Purpose, stay: Stay, deadline: Instant) -> Result<Lease, PoolError> {
        let inner = Arc::clone(&self.inner);
        match self.inner.acquire(Want::Exclusive(purpose, stay), deadline)? {
            Granted::Exclusive(session, number, wanted) => Ok(Lease::new(session, number, wanted, inner)),
            Granted::Shared(_) => Err(PoolError::TimedOut { during: "waiting for a connection", sent: false }),
        }
    }

    /// What is known of the server.
    pub fn profile(&self) -> &ServerProfile {
        &self.inner.profile
    }

    /// The options it was made with.
    pub fn options(&self) -> &ServerOptions {
        &self.inner.options
    }

    /// The deadline of an operation that begins now.
    pub fn operation_deadline(&self) -> Instant {
        after(self.inner.options.operation_timeout)
    }

    /// What connections there are and who has them; memory only.
    pub fn connections(&self) -> Connections {
        let state = self.inner.state.lock();
        let lent = |purpose| state.leases.values().filter(|record| record.purpose == purpose && !record.ahead).count();
        let refused = state.refused.as_ref().map(|refused| &refused.error);
        Connections {
            shared: state.shared.is_some(),
            shared_users: state.shared.as_ref().map_or(0, |slot| slot.users),
            listing: lent(Purpose::Listing),
            reading: lent(Purpose::Read),
            writing: lent(Purpose::Write),
            ahead: state.leases.values().filter(|record| record.ahead).count(),
            brief: state.leases.values().filter(|record| state.is_back_soon(record)).count(),
            idle: state.idle.len(),
            prepared: state.idle.iter().filter(|idle| idle.session.readily() == Readily::AtOnce).count(),
            logging_in: state.logging_in,
            waiting: state.waiters.len(),
            ceiling: state.ceiling.get(),
            ceiling_max: self.inner.options.connections_max,
            encryption: encryption::describe(&self.inner.options, &self.inner.profile),
            login_failure: refused.or(state.backoff.failure.as_ref()).map(ToString::to_string),
            traffic: self.inner.profile.traffic.count(),
        }
    }

    /// How many connections the server lets us have, as far as it has said.
    pub fn ceiling(&self) -> usize {
        self.inner.state.lock().ceiling.get()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        state.closed = true;
        let shared = state.shared.take().map(|slot| slot.session);
        let sessions: Vec<_> = state.idle.drain(..).map(|idle| idle.session).chain(shared).collect();
        drop(state);
        self.inner.changed.notify_all();
        self.inner.tidying.notify_all();
        for session in sessions {
            session.control().quit();
        }
    }
}

fn first_login(options: &Arc<ServerOptions>, profile: &Arc<ServerProfile>) -> Result<Session, PoolError> {
    let deadline = after(options.deadlines.connect);
    let mut pause = options.backoff_min;
    loop {
        let had_pipelining = !profile.pipelining.is_no();
        let error = match Session::log_in(options, profile) {
            Err(error) => error,
            session => return session,
        };
        if had_pipelining && profile.pipelining.is_no() {
            continue;
        }
        match (&error, remaining(deadline)) {
            (PoolError::TooMany { .. }, Some(left)) => thread::sleep(pause.min(left)),
            _ => return Err(error),
        }
        pause = pause.saturating_mul(2).min(options.backoff_max);
    }
}

impl Inner {
    fn acquire(self: &Arc<Self>, want: Want, deadline: Instant) -> Result<Granted, PoolError> {
        let mut state = self.state.lock();
        let number = state.take_number();
        state.waiters.push(Waiter { number, want });
        let mut has_waited = false;
        loop {
            let outcome = self.try_acquire(&mut state, Waiter { number, want }, deadline);
            if let Some(result) = outcome {
                state.waiters.retain(|waiter| waiter.number != number);
                let wakes = state.press(Instant::now());
                if let Ok(granted) = &result {
                    let count = state.logins_behind(want, granted);
                    self.begin_logins(&mut state, count);
                }
                drop(state);
                // The next in the queue may have waited for nothing but this one.
                self.changed.notify_all();
                wakes.iter().for_each(|wake| wake());
                if let Ok(Granted::Shared(session) | Granted::Exclusive(session, ..)) = &result {
                    session.count_login(has_waited);
                }
                return result;
            }
            has_waited = true;
            self.log_in_where_useful(&mut state);
            let wakes = state.press(Instant::now());
            if !wakes.is_empty() {
                MutexGuard::unlocked(&mut state, || wakes.iter().for_each(|wake| wake()));
                continue;
            }
            let until = state.next_event(Instant::now()).map_or(deadline, |event| event.min(deadline));
            self.changed.wait_until(&mut state, until);
        }
    }

    fn try_acquire(&self, state: &mut State, waiter: Waiter, deadline: Instant) -> Option<Result<Granted, PoolError>> {
        state.ceiling.grow(Instant::now());
        if let Some(granted) = state.grant(waiter) {
            return Some(Ok(granted));
        }
        if let Some(refused) = state.refused.as_ref().filter(|refused| refused.stands()) {
            return Some(Err(refused.error.clone()));
        }
        if remaining(deadline).is_some() {
            return None;
        }
        let timed_out = || PoolError::TimedOut { during: "waiting for a free connection", sent: false };
        Some(Err(match &state.backoff.failure {
            Some(PoolError::Connection(error)) => PoolError::Unreachable { reason: error.to_string() },
            Some(failure) => failure.clone(),
            None => timed_out(),
        }))
    }

    /// Begins the logins that those who wait can use: one at a time where the last one failed.
    fn log_in_where_useful(self: &Arc<Self>, state: &mut State) {
        let is_refused = state.refused.as_ref().is_some_and(Refusal::stands);
        if state.closed || is_refused || state.backoff.until > Instant::now() {
            return;
        }
        let mut count = state.logins_useful();
        if state.backoff.failure.is_some() || state.refused.is_some() {
            count = count.min(1_usize.saturating_sub(state.logging_in));
        }
        self.begin_logins(state, count);
    }

    fn begin_logins(self: &Arc<Self>, state: &mut State, count: usize) {
        for _ in 0..count {
            let inner = Arc::clone(self);
            let spawned = thread::Builder::new().name(String::from("ftpfs-login")).spawn(move || {
                let log_in = || Session::log_in(&inner.options, &inner.profile);
                let result = inner.profile.traffic.run(OperationKind::Login, log_in);
                inner.login_done(result);
            });
            match spawned {
                Ok(_) => state.logging_in += 1,
                Err(error) => {
                    let reason = format!("cannot start a thread: {error}");
                    return state.backoff.failed(PoolError::Unreachable { reason }, &self.options);
                }
            }
        }
    }

    fn login_done(&self, result: Result<Session, PoolError>) {
        let mut state = self.state.lock();
        state.logging_in = state.logging_in.saturating_sub(1);
        match result {
            Ok(session) if state.closed => {
                drop(state);
                session.control().quit();
                return;
            }
            Ok(session) => {
                state.backoff.succeeded();
                state.refused = None;
                state.idle.push(Idle::new(Arc::new(session)));
            }
            // The same password has just worked for others: this is a limit in unfamiliar words.
            Err(PoolError::LoginRefused { reply }) if state.connections() > 0 => {
                state.lower_ceiling(PoolError::TooMany { reply }, &self.options);
            }
            Err(error @ PoolError::LoginRefused { .. }) => {
                let refusal = Refusal::after(state.refused.as_ref(), error, &self.options);
                tracing::error!("{}; it is not tried again for {:?}", refusal.error, refusal.delay);
                state.refused = Some(refusal);
            }
            Err(error @ PoolError::TooMany { .. }) => state.lower_ceiling(error, &self.options),
            Err(error) => {
                tracing::debug!("login failed: {error}");
                state.backoff.failed(error, &self.options);
                // Of a server that went down, the sessions that nobody uses are gone too.
                state.idle.retain(|idle| idle.session.is_ready());
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Takes a lent session back: kept where it is in step, closed where not.
    pub(super) fn take_back(&self, number: u64, session: &Arc<Session>, discard: bool) {
        let is_ready = !discard && session.is_ready();
        if is_ready {
            // What it was lent for may have needed no data connection; the next one will.
            session.ask_for_spare();
        }
        let mut state = self.state.lock();
        let record = state.leases.remove(&number);
        if let Some(record) = record.as_ref().filter(|record| record.stay == Stay::Brief) {
            state.briefness.note(record.since.elapsed());
        }
        let keep = is_ready && !state.closed && state.connections() < state.ceiling.get();
        if keep {
            state.put_back(Arc::clone(session), record.and_then(|record| record.shared_since));
        }
        drop(state);
        if !keep {
            self.retire(session);
        }
        self.changed.notify_all();
    }

    /// This lease is not brief, whatever it was thought to be.
    pub(super) fn stays_long(&self, number: u64) {
        if let Some(record) = self.state.lock().leases.get_mut(&number) {
            record.stay = Stay::Long;
        }
    }

    /// The transfer that has this lease hears of it when it is wanted.
    pub(super) fn on_wanted(&self, number: u64, wake: Wake) {
        if let Some(record) = self.state.lock().leases.get_mut(&number) {
            record.wake = Some(wake);
        }
    }

    fn retire(&self, session: &Session) {
        if let Some(ConnectionError::OutOfStep { .. }) = session.control().failure()
            && session.control().is_pipelining()
            && !session.is_blameless.load(Ordering::Relaxed)
        {
            tracing::warn!("a reply came out of step: one command at a time from now on");
            self.profile.pipelining.learn_if(false);
        }
        session.control().quit();
    }

    pub(super) fn give_back_shared(&self, session: &Arc<Session>) {
        let mut state = self.state.lock();
        if let Some(slot) = &mut state.shared
            && Arc::ptr_eq(&slot.session, session)
        {
            slot.users = slot.users.saturating_sub(1);
            slot.since = Instant::now();
        }
        let failed = !session.control().is_open();
        if failed {
            state.drop_failed_shared();
        }
        drop(state);
        if failed {
            self.retire(session);
        }
        self.changed.notify_all();
    }

    /// Runs in a thread of its own until the pool closes.
    fn close_idle_sessions(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            let now = Instant::now();
            let expired = state.take_expired(self.options.idle_close, now);
            state.give_up_stale_spares(now);
            if expired.is_empty() {
                let idle_close = self.options.idle_close;
                let until = state.next_expiry(idle_close).unwrap_or_else(|| after(idle_close.min(LATELY)));
                // Never without pause, however short the option.
                self.tidying.wait_until(&mut state, until.max(after(Duration::from_millis(10))));
                continue;
            }
            MutexGuard::unlocked(&mut state, || expired.iter().for_each(|session| session.control().quit()));
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("host", &self.options.host).finish_non_exhaustive()
    }
}

impl State {
    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// All that the server may count, but those still logging in.
    fn connections(&self) -> usize {
        self.idle.len() + usize::from(self.shared.is_some()) + self.leases.len()
    }

    fn lower_ceiling(&mut self, refusal: PoolError, options: &ServerOptions) {
        // Others that are logging in may still get through; the last to be refused sets the number.
        let connections = self.connections();
        self.ceiling.lower(connections + self.logging_in, Instant::now());
        if connections == 0 {
            self.backoff.failed(refusal, options);
        }
    }

    /// Gives a session to `waiter`, where its turn has come and there is one.
    fn grant(&mut self, waiter: Waiter) -> Option<Granted> {
        self.drop_failed_shared();
        let older = |want: fn(&Want) -> bool| {
            self.waiters.iter().any(|other| other.number < waiter.number && want(&other.want))
        };
        let older_exclusive = older(|want| matches!(want, Want::Exclusive(..)));
        let older_shared = older(|want| *want == Want::Shared);
        let turns = self.ceiling.takes_turns();
        match waiter.want {
            Want::Shared if turns && older_exclusive => None,
            Want::Shared => self.join_shared(),
            Want::Exclusive(..) if older_exclusive || (turns && older_shared) => None,
            Want::Exclusive(_, stay) if self.leases.len() >= self.ceiling.exclusive() && !self.may_lend_last(stay) => {
                None
            }
            Want::Exclusive(purpose, stay) => {
                let unused = if turns { self.take_unused_shared() } else { None };
                let idle = unused.or_else(|| self.take_idle(waiter.want)).map(|session| (session, None));
                let (session, shared_since) = idle.or_else(|| match stay {
                    Stay::Brief => self.take_resting_shared().map(|(session, since)| (session, Some(since))),
                    Stay::Long => None,
                })?;
                let wanted = self.enter_lease(waiter.number, purpose, stay, shared_since, false);
                Some(Granted::Exclusive(session, waiter.number, wanted))
            }
        }
    }

    fn join_shared(&mut self) -> Option<Granted> {
        if self.shared.is_none() {
            let session = self.take_idle(Want::Shared)?;
            self.shared = Some(SharedSlot { session, users: 0, since: Instant::now() });
        }
        let slot = self.shared.as_mut()?;
        slot.users += 1;
        Some(Granted::Shared(Arc::clone(&slot.session)))
    }

    fn take_unused_shared(&mut self) -> Option<Arc<Session>> {
        self.shared.take_if(|slot| slot.users == 0).map(|slot| slot.session)
    }

    fn enter_lease(
        &mut self,
        number: u64,
        purpose: Purpose,
        stay: Stay,
        shared_since: Option<Instant>,
        ahead: bool,
    ) -> Arc<AtomicBool> {
        let (wanted, since) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let record = LeaseRecord { purpose, stay, shared_since, ahead, since, wanted: Arc::clone(&wanted), wake: None };
        self.leases.insert(number, record);
        self.has_lent = true;
        wanted
    }

    /// A session that the server has not closed meanwhile: for a transfer the one that can begin it soonest, for questions the one
    /// that cannot; of several the one used last.
    fn take_idle(&mut self, want: Want) -> Option<Arc<Session>> {
        let value = |idle: &Idle| match (want, idle.session.readily()) {
            (Want::Shared, readily) => Err(Reverse(readily)),
            (Want::Exclusive(..), readily) => Ok(readily),
        };
        while let Some(place) = (0..self.idle.len()).max_by_key(|place| self.idle.get(*place).map(value)) {
            let idle = self.idle.remove(place);
            if idle.session.is_ready() {
                return Some(idle.session);
            }
            idle.session.control().quit();
        }
        None
    }

    /// A shared session that has failed, or that the server has closed while nobody used it, makes room for another.
    fn drop_failed_shared(&mut self) {
        let failed = self.shared.take_if(|slot| {
            let control = slot.session.control();
            !control.is_open() || (slot.users == 0 && control.in_flight() == 0 && !slot.session.is_ready())
        });
        if let Some(slot) = failed {
            slot.session.control().quit();
        }
    }

    /// How many more logins those who wait could use.
    fn logins_useful(&self) -> usize {
        let shared_waits = self.waiters.iter().any(|waiter| waiter.want == Want::Shared);
        let exclusive_wait = self.waiters.len() - self.waiters.iter().filter(|w| w.want == Want::Shared).count();
        let useful = if self.ceiling.takes_turns() {
            usize::from(!self.waiters.is_empty() && self.connections() == 0)
        } else {
            let exclusive = exclusive_wait.min(self.lendable().saturating_sub(self.leases.len()));
            usize::from(shared_waits && self.shared.is_none()) + exclusive
        };
        let room = self.ceiling.get().saturating_sub(self.connections() + self.logging_in);
        useful.saturating_sub(self.idle.len() + self.logging_in).min(room)
    }

    /// Tells as many transfers as there are waiters without a session that they are wanted: reads first, and then writes, which
    /// give way only where they have nothing to send.
    /// Returns the calls that tell those who parked their read; to be made without the lock.
    fn press(&mut self, now: Instant) -> Vec<Wake> {
        let login_may_help = self.logging_in > 0 || self.logins_useful() > 0;
        // Where logins fail, whatever the reason, what there is has to do.
        let is_pressing = self.backoff.failure.is_some() || !login_may_help;
        let all = self.waiting_count();
        let mut wakes = Vec::new();
        // What nobody waits for gives way at once, whether a login could help or not.
        let ahead = self.leases.values().filter(|record| record.ahead);
        // Where the last session is lent as well, it takes one more until there is one for a transfer.
        let pressed = all + usize::from(all > 0 && self.leases.len() > self.ceiling.exclusive());
        for (place, record) in ahead.enumerate() {
            let presses = place < pressed;
            if !record.wanted.swap(presses, Ordering::AcqRel) && presses {
                wakes.extend(record.wake.clone());
            }
        }
        // A listing among them may not be able to: then others have to. What is brief is given back without being told.
        let is_young = |record: &LeaseRecord| now.duration_since(record.since) < LEASE_QUANTUM;
        let comes_back = |record: &LeaseRecord| is_young(record) && (record.ahead || self.is_back_soon(record));
        let given = self.leases.values().filter(|record| comes_back(record)).count();
        let mut waiting = if is_pressing { all.saturating_sub(given) } else { 0 };
        for purpose in [Purpose::Read, Purpose::Write] {
            for record in self.leases.values().filter(|record| record.purpose == purpose && !record.ahead) {
                let presses = waiting > 0 && now.duration_since(record.since) >= LEASE_QUANTUM;
                waiting -= usize::from(presses);
                if !record.wanted.swap(presses, Ordering::AcqRel) && presses {
                    wakes.extend(record.wake.clone());
                }
            }
        }
        wakes
    }

    /// Sessions that would be taken at once: questions share one.
    fn waiting_count(&self) -> usize {
        let shared = self.waiters.iter().filter(|waiter| waiter.want == Want::Shared).count();
        self.waiters.len() - shared + shared.min(1)
    }

    /// When waiting may end without anybody's word: a back-off or a quantum is over, or the ceiling may rise.
    fn next_event(&self, now: Instant) -> Option<Instant> {
        let quanta = self.leases.values().filter_map(|record| record.since.checked_add(LEASE_QUANTUM));
        quanta
            .chain([self.backoff.until])
            .chain(self.ceiling.grows_at())
            .chain(self.rests_at())
            .filter(|event| *event > now)
            .min()
    }
}

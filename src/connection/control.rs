//! Control connections: commands out, each caller's replies back.
//!
//! Many threads use one [`ControlConnection`] at once. What they send goes out back to back; replies come in the same
//! order, so a queue of tickets tells whose each one is (`protocol::pipeline`). There is no reader thread: of those who
//! wait for replies one reads for all, and hands that role on when it has its own.
//!
//! A connection is never repaired. Silence beyond the deadline, a reply out of step, a 421 or the end of the stream
//! close it and fail every ticket.
//!
//! Lock order: `writer`, then `state`. `writer` is held while commands are written, so that a batch stays together;
//! `state` never while the network is waited for.

mod stopping;
mod ticket;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::fd::BorrowedFd;
use zeroize::Zeroizing;

use super::deadlines::{Deadlines, after, remaining};
use super::error::ConnectionError;
use super::readiness::Readiness;
use super::tally::{self, Moment};
use super::tls::layer::{Negotiated, Records};
use super::tls::{TlsError, TlsLogin};
use super::transport::Transport;
use crate::protocol::command::{Command, Encoding};
use crate::protocol::pipeline::{Expects, Pipeline, Received};
use crate::protocol::reply::{Reply, ReplyDecoder, ReplyLimits};

pub use stopping::{StopOrder, Stopped};
pub use ticket::Ticket;

/// How many bytes of commands may be in flight. They fit into any server's receive buffer, so that our write never
/// blocks behind a server that itself blocks on writing replies which nobody reads yet.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 10;

/// Commands in flight at most, where pipelining is on: all that a walk asks of 5,000 files by MDTM goes over one connection, so many in each
/// round trip (measured on vsftpd, 20 ms: 1.9 s with 64, 1.0 s with 256).
const IN_FLIGHT_MAX: usize = 256;

/// Reads, once the time is over, of what lies there already: more than it can be, unless the server never stops.
const LATE_READS_MAX: usize = 32;

/// A last line of a reply with another code than the first counts as the last when nothing has followed for this long.
const ODD_LAST_LINE: Duration = Duration::from_secs(1);

/// How a control connection behaves.
#[derive(Debug, Clone, Copy)]
pub struct ControlOptions {
    /// The longest waits.
    pub deadlines: Deadlines,
    /// Whether a command may be sent before the one before it is answered.
    pub pipelining: bool,
    /// After how much silence the kernel asks whether the server is still there; `None` for never.
    pub keepalive: Option<Duration>,
}

/// A control connection, for any number of threads. Clones are the same connection.
#[derive(Debug, Clone)]
pub struct ControlConnection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Tells connections apart in the log.
    number: u64,
    transport: Transport,
    peer: IpAddr,
    local: IpAddr,
    options: ControlOptions,
    writer: Mutex<Encoding>,
    state: Mutex<State>,
    /// A reply was given out, the connection failed, or nobody reads any more.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    decoder: ReplyDecoder,
    pipeline: Pipeline<TicketNumber>,
    progress: HashMap<TicketNumber, Progress>,
    next_ticket: u64,
    bytes_in_flight: usize,
    in_flight_max: usize,
    /// Replies to a stopped transfer since its marker was queued, and whether one of them was its last.
    leftovers: usize,
    has_final_leftover: bool,
    /// One of them was an answer and no preliminary word.
    has_answered: bool,
    /// Whether somebody reads for all.
    reading: bool,
    last_reply: Instant,
    failure: Option<ConnectionError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct TicketNumber(u64);

/// What has come for one command.
#[derive(Debug)]
struct Progress {
    replies: VecDeque<Reply>,
    finished: bool,
    /// The ticket was dropped: replies are counted and thrown away.
    abandoned: bool,
    line_len: usize,
    /// Who is woken by its last reply, or by none coming any more.
    wakes: Option<Arc<Readiness>>,
    /// When it was sent, for counting round trips.
    sent: Moment,
    /// Since when the server owes a reply.
    since: Instant,
    /// How long it may owe it.
    patience: Duration,
}

/// A command and the bytes it becomes, which may hold a password.
type Line<'a> = (&'a Command, Zeroizing<Vec<u8>>);

impl ControlConnection {
    /// Takes over a connected stream. The ticket is for the greeting, which the server sends unasked.
    ///
    /// # Errors
    /// [`ConnectionError::Io`] where the connection is gone already.
    pub fn open(stream: TcpStream, options: ControlOptions) -> Result<(Self, Ticket), ConnectionError> {
        static OPENED: AtomicU64 = AtomicU64::new(1);
        let failed = |error: io::Error| ConnectionError::from_io(&error, "opening the connection").with_sent(false);
        let transport = Transport::plain(stream).map_err(failed)?;
        if let Some(idle) = options.keepalive {
            transport.keep_alive(idle).map_err(failed)?;
        }
        let mut state = State {
            decoder: ReplyDecoder::new(ReplyLimits::default()),
            // Two places more, for a stopped transfer and the marker behind it.
            pipeline: Pipeline::new(IN_FLIGHT_MAX + 2),
            progress: HashMap::new(),
            next_ticket: 0,
            bytes_in_flight: 0,
            in_flight_max: if options.pipelining { IN_FLIGHT_MAX } else { 1 },
            leftovers: 0,
            has_final_leftover: false,
            has_answered: false,
            reading: false,
            last_reply: Instant::now(),
            failure: None,
        };
        // Its TCP connection was one round trip, the greeting is the next.
        tally::wait_round_trips(1);
        tally::add(|tally| tally.control_connections += 1);
        let greeting = state.enqueue(Expects::Greeting, 0, options.deadlines.reply)?;
        let shared = Arc::new(Shared {
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            peer: transport.peer_address().map_err(failed)?.ip(),
            local: transport.local_address().map_err(failed)?.ip(),
            transport,
            options,
            writer: Mutex::new(Encoding::default()),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        Ok((Self { shared: Arc::clone(&shared) }, Ticket { shared, number: greeting }))
    }

    /// Encrypts all that follows. Nobody else may use the connection meanwhile.
    ///
    /// # Errors
    /// [`ConnectionError::Tls`] where it cannot be encrypted or not be trusted, and the others where it is lost; it is closed then.
    pub fn start_tls(&self, login: &TlsLogin, deadline: Instant) -> Result<Negotiated, ConnectionError> {
        self.try_start_tls(login, deadline).inspect_err(|_| self.close())
    }

    fn try_start_tls(&self, login: &TlsLogin, deadline: Instant) -> Result<Negotiated, ConnectionError> {
        let shared = &self.shared;
        let _writer = shared.writer.lock();
        let state = shared.state.lock();
        match &state.failure {
            // A whole reply that nobody asked for is as bad as a part of one.
            Some(ConnectionError::OutOfStep { .. }) => return Err(ConnectionError::Tls(TlsError::Injected)),
            Some(failure) => return Err(failure.clone()),
            None => {}
        }
        // The server speaks second in TLS: what is there already is no part of it. With TLS from the first byte it is the greeting
        // of a server that wants none.
        if !state.decoder.is_empty() || shared.transport.is_readable() {
            let is_greeting = !state.pipeline.is_empty();
            return Err(ConnectionError::Tls(if is_greeting { TlsError::NotTls(None) } else { TlsError::Injected }));
        }
        drop(state);
        let patience = shared.options.deadlines.reply;
        shared.transport.start_tls(login, Records::Lines, patience).map_err(ConnectionError::Tls)?;
        let negotiated = shared
            .transport
            .finish_handshake(deadline.min(after(patience)))
            .map_err(|error| ConnectionError::from_handshake(&error, login))?;
        login.confirm().map_err(ConnectionError::Tls)?;
        tally::wait_round_trips(negotiated.round_trips());
        tracing::debug!(target: "ftpfs::dialogue", connection = shared.number, "encrypted: {negotiated}");
        Ok(negotiated)
    }

    /// Sends commands in one packet, as far as pipelining allows, and returns a ticket for each. No other
    /// thread's command comes between them.
    ///
    /// # Errors
    /// Any of [`ConnectionError`]; its `sent` says whether the first of them may have reached the server.
    pub fn send(&self, commands: &[Command], deadline: Instant) -> Result<Vec<Ticket>, ConnectionError> {
        let during = "sending a command";
        let Some(writer) = self.shared.writer.try_lock_until(deadline) else {
            return Err(ConnectionError::GivenUp { during, sent: false });
        };
        let mut lines = Vec::with_capacity(commands.len());
        for command in commands {
            let mut line = Zeroizing::new(Vec::new());
            command.encode(&mut line, *writer)?;
            lines.push((command, line));
        }
        let mut tickets = Vec::with_capacity(lines.len());
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            rest = self
                .send_some(rest, deadline, &mut tickets)
                .map_err(|error| if tickets.is_empty() { error } else { error.with_sent(true) })?;
        }
        Ok(tickets)
    }

    /// Sends as many of `lines` as there is room for in flight, and returns the others. The caller holds `writer`.
    fn send_some<'a>(
        &self,
        lines: &'a [Line<'a>],
        deadline: Instant,
        tickets: &mut Vec<Ticket>,
    ) -> Result<&'a [Line<'a>], ConnectionError> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        let in_the_way = if state.has_room() { None } else { state.oldest().map(|oldest| oldest.sent) };
        shared.wait(&mut state, deadline, "room for a command", |state| state.has_room().then_some(())).map_err(
            // Room is waited for before anything of these lines was sent.
            |error| error.with_sent(false),
        )?;
        if let Some(sent) = in_the_way {
            sent.answered().reach(true);
        }
        shared.take_what_came_unasked(&mut state).map_err(|error| error.with_sent(false))?;
        // With room for all: what it grows out of would be left behind, and may hold a password.
        let mut packet = Zeroizing::new(Vec::with_capacity(lines.iter().map(|(_, line)| line.len()).sum()));
        let mut count = 0;
        for (command, line) in lines {
            if count > 0 && !state.has_room_for(line.len()) {
                break;
            }
            let number = state.enqueue(command.expects(), line.len(), shared.options.deadlines.reply)?;
            tickets.push(Ticket { shared: Arc::clone(shared), number });
            tracing::debug!(target: "ftpfs::dialogue", connection = shared.number, "> {command}");
            packet.extend_from_slice(line);
            count += 1;
        }
        drop(state);
        tally::add(|tally| tally.commands += count as u64);
        if let Err(error) = shared.write_all(&packet, deadline) {
            if !error.sent() {
                // The system took none of it, so these commands are as if never sent.
                tickets.truncate(tickets.len() - count);
            }
            return Err(error);
        }
        Ok(lines.get(count..).unwrap_or_default())
    }

    /// Sends one command and waits for its last reply, whatever its code.
    ///
    /// # Errors
    /// Any of [`ConnectionError`].
    pub fn exchange(&self, command: Command, deadline: Instant) -> Result<Reply, ConnectionError> {
        let tickets = self.send(std::slice::from_ref(&command), deadline)?;
        match tickets.into_iter().next() {
            Some(ticket) => ticket.wait(deadline),
            None => Err(ConnectionError::GivenUp { during: "sending a command", sent: false }),
        }
    }

    /// Sends commands in one packet, as far as pipelining allows, and waits for the last reply to each.
    ///
    /// # Errors
    /// Any of [`ConnectionError`], from the first that has no reply; replies that came are lost with it.
    pub fn exchange_all(&self, commands: &[Command], deadline: Instant) -> Result<Vec<Reply>, ConnectionError> {
        self.send(commands, deadline)?.into_iter().map(|ticket| ticket.wait(deadline)).collect()
    }

    /// Whether a command sent now would find the server, as far as can be told without asking: nothing failed, nothing
    /// is in flight, and no unasked word (421, the end of the stream) has come.
    pub fn is_quiet(&self) -> bool {
        let state = self.shared.state.lock();
        state.failure.is_none()
            && state.pipeline.is_empty()
            && !state.reading
            && state.decoder.is_empty()
            && !self.shared.transport.is_readable()
    }

    /// Takes what has come, where nobody else is reading, and does not wait for more.
    pub fn take_what_came(&self) {
        let mut state = self.shared.state.lock();
        for _ in 0..LATE_READS_MAX {
            if state.failure.is_some() || state.reading || !self.shared.transport.is_readable() {
                return;
            }
            self.shared.read_for_all(&mut state, Duration::from_millis(1));
        }
    }

    /// What the kernel knows it by, to be waited for together with others.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.transport.as_fd()
    }

    /// Whether it has not failed, as far as is known.
    pub fn is_open(&self) -> bool {
        self.shared.state.lock().failure.is_none()
    }

    /// Why it was closed; `None` while it is open.
    pub fn failure(&self) -> Option<ConnectionError> {
        self.shared.state.lock().failure.clone()
    }

    /// How many commands are in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.state.lock().pipeline.len()
    }

    /// Sets how 0xFF is sent from now on (`protocol::command::Encoding`).
    pub fn set_encoding(&self, encoding: Encoding) {
        *self.shared.writer.lock() = encoding;
    }

    /// Says goodbye where that does not mean waiting, and closes. A server that has read QUIT no longer counts us.
    pub fn quit(&self) {
        let is_free = self.shared.writer.try_lock().is_some() && self.is_open();
        if is_free {
            tracing::debug!(target: "ftpfs::dialogue", connection = self.shared.number, "> QUIT");
            // Who cannot take six bytes at once is gone, and the close tells the rest.
            let _ = self.shared.transport.write(b"QUIT\r\n", Duration::from_millis(1));
            let _ = self.shared.transport.finish_writing(Duration::from_millis(1));
        }
        self.close();
    }

    /// Closes the connection; every ticket fails.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        self.shared.fail(&mut state, ConnectionError::Closed { reply: None, sent: true });
    }

    /// The server's address: where data connections go, whatever a 227 says.
    pub fn peer(&self) -> IpAddr {
        self.shared.peer
    }

    /// Our address: where the server can reach us in active mode.
    pub fn local(&self) -> IpAddr {
        self.shared.local
    }

    /// The number that tells this connection from others in the log.
    pub fn number(&self) -> u64 {
        self.shared.number
    }

    /// The longest waits.
    pub fn deadlines(&self) -> Deadlines {
        self.shared.options.deadlines
    }

    /// Whether several commands may be in flight.
    pub fn is_pipelining(&self) -> bool {
        self.shared.state.lock().in_flight_max > 1
    }

    /// Sets whether several commands may be in flight from now on.
    pub fn set_pipelining(&self, pipelining: bool) {
        self.shared.state.lock().in_flight_max = if pipelining { IN_FLIGHT_MAX } else { 1 };
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.has_room_for(0)
    }

    fn has_room_for(&self, line_len: usize) -> bool {
        self.pipeline.len() < self.in_flight_max && self.bytes_in_flight + line_len < IN_FLIGHT_BYTES_MAX
    }

    fn enqueue(
        &mut self,
        expects: Expects,
        line_len: usize,
        patience: Duration,
    ) -> Result<TicketNumber, ConnectionError> {
        let number = TicketNumber(self.next_ticket);
        self.pipeline
            .sent(number, expects)
            .map_err(|full| ConnectionError::OutOfStep { reason: full.to_string(), sent: false })?;
        self.next_ticket += 1;
        self.bytes_in_flight += line_len;
        let progress = Progress {
            replies: VecDeque::new(),
            finished: false,
            abandoned: false,
            line_len,
            wakes: None,
            sent: Moment::now(),
            since: Instant::now(),
            patience,
        };
        self.progress.insert(number, progress);
        Ok(number)
    }

    /// Nobody waits for the replies any more.
    fn abandon(&mut self, number: TicketNumber) {
        let is_over = self.failure.is_some();
        if let Some(progress) = self.progress.get_mut(&number) {
            progress.abandoned = true;
            if progress.finished || is_over {
                self.progress.remove(&number);
            }
        }
    }

    /// Gives a reply to the ticket it belongs to.
    fn dispatch(&mut self, reply: Reply) -> Result<(), ConnectionError> {
        self.last_reply = Instant::now();
        match self.pipeline.received(reply) {
            Ok(Received::Preliminary(&number, reply)) => self.give(number, Some(reply), false),
            Ok(Received::Final(number, reply)) => self.give(number, Some(reply), true),
            Ok(Received::Marker { stopped, marker, reply }) => {
                for number in stopped {
                    self.give(number, None, true);
                }
                self.give(marker, Some(reply), true);
            }
            Ok(Received::Leftover(reply)) => {
                self.leftovers += 1;
                self.has_final_leftover |= self.pipeline.is_last_word(reply.code());
                // A transfer's last word is none, where the question behind it is still to be answered.
                self.has_answered |= matches!(reply.code().number(), 227..=229 | 425 | 500..=599);
            }
            Ok(Received::Closing(reply)) => return Err(ConnectionError::Closed { reply: Some(reply), sent: true }),
            Err(error) => return Err(ConnectionError::OutOfStep { reason: error.to_string(), sent: true }),
        }
        Ok(())
    }

    fn give(&mut self, number: TicketNumber, reply: Option<Reply>, finished: bool) {
        let Some(progress) = self.progress.get_mut(&number) else { return };
        progress.finished = finished;
        if finished {
            self.bytes_in_flight = self.bytes_in_flight.saturating_sub(progress.line_len);
            progress.wakes.take().iter().for_each(|readiness| readiness.wake());
        }
        if !progress.abandoned {
            progress.replies.extend(reply);
        } else if finished {
            self.progress.remove(&number);
        }
    }

    fn oldest(&self) -> Option<&Progress> {
        self.progress.get(self.pipeline.first()?)
    }

    /// When the silence has lasted too long: counted from the last reply, or from when the oldest command was sent.
    fn silence_ends(&self) -> Option<Instant> {
        let oldest = self.oldest()?;
        oldest.since.max(self.last_reply).checked_add(oldest.patience)
    }
}

impl Shared {
    /// Waits until `ready` has an answer, reading for all where nobody else does.
    fn wait<R>(
        &self,
        state: &mut MutexGuard<'_, State>,
        deadline: Instant,
        during: &'static str,
        mut ready: impl FnMut(&mut State) -> Option<R>,
    ) -> Result<R, ConnectionError> {
        let mut late_reads = 0;
        loop {
            if let Some(result) = ready(state) {
                return Ok(result);
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            let silence_ends = state.silence_ends().unwrap_or(deadline);
            if remaining(silence_ends).is_none() && silence_ends <= deadline {
                // What lies there was said in time: nobody has read since.
                if !state.reading && late_reads < LATE_READS_MAX && self.transport.is_readable() {
                    late_reads += 1;
                    self.read_for_all(state, Duration::from_millis(1));
                    continue;
                }
                self.fail(state, ConnectionError::TimedOut { during, sent: true });
                continue;
            }
            let until = silence_ends.min(deadline);
            let Some(left) = remaining(until) else {
                return Err(ConnectionError::GivenUp { during, sent: true });
            };
            if state.reading {
                self.changed.wait_until(state, until);
            } else {
                self.read_for_all(state, left);
            }
        }
    }

    fn read_for_all(&self, state: &mut MutexGuard<'_, State>, timeout: Duration) {
        let mut buffer = [0_u8; 8192];
        let timeout = if state.decoder.could_finish() { timeout.min(ODD_LAST_LINE) } else { timeout };
        state.reading = true;
        let result = MutexGuard::unlocked(state, || {
            let read = self.transport.read(&mut buffer, timeout);
            self.transport.acknowledge();
            read
        });
        state.reading = false;
        match result {
            Ok(0) => self.fail(state, ConnectionError::Closed { reply: None, sent: true }),
            Ok(len) => {
                tally::add(|tally| tally.received += len as u64);
                self.take(state, buffer.get(..len).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if let (ODD_LAST_LINE, Some(reply)) = (timeout, state.decoder.finish_pending()) {
                    self.give_out(state, reply);
                }
            }
            Err(error) => self.fail(state, ConnectionError::from_io(&error, "reading replies")),
        }
        // Also without a reply: whoever waits may have to read on in our place.
        self.changed.notify_all();
    }

    /// Takes bytes that came, and gives out the replies that are complete with them.
    fn take(&self, state: &mut State, bytes: &[u8]) {
        state.decoder.push(bytes);
        loop {
            match state.decoder.next() {
                Ok(None) => return,
                Ok(Some(reply)) => self.give_out(state, reply),
                Err(error) => {
                    self.fail(state, ConnectionError::OutOfStep { reason: error.to_string(), sent: true });
                }
            }
            if state.failure.is_some() {
                return;
            }
        }
    }

    fn give_out(&self, state: &mut State, reply: Reply) {
        tracing::debug!(target: "ftpfs::dialogue", connection = self.number, "< {reply}");
        if let Err(error) = state.dispatch(reply) {
            self.fail(state, error);
        }
    }

    /// With nothing in flight, what lies ready was not asked for: a 421 from before, or the second of two final replies, which
    /// the next command would take for its own.
    fn take_what_came_unasked(&self, state: &mut MutexGuard<'_, State>) -> Result<(), ConnectionError> {
        while state.failure.is_none() && state.pipeline.is_empty() && !state.reading && self.transport.is_readable() {
            self.read_for_all(state, Duration::from_millis(1));
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// Closes the connection for a reason; the first one counts.
    fn fail(&self, state: &mut State, failure: ConnectionError) {
        if state.failure.is_some() {
            return;
        }
        tracing::debug!(target: "ftpfs::dialogue", connection = self.number, "closed: {failure}");
        let is_lost = !matches!(failure, ConnectionError::Closed { .. });
        if is_lost && !state.pipeline.is_empty() {
            // What the system still has of our commands must not reach the server once the way is free again: by then the same may
            // have been done on another connection.
            self.transport.reset_on_close();
        }
        state.failure = Some(failure);
        state.pipeline.drain().for_each(drop);
        state.progress.retain(|_, progress| !progress.abandoned);
        state.progress.values_mut().filter_map(|progress| progress.wakes.take()).for_each(|readiness| readiness.wake());
        self.transport.shut_down();
        self.changed.notify_all();
    }

    /// Writes a whole packet. `sent` in the error says whether the system took any of it.
    fn write_all(&self, packet: &[u8], deadline: Instant) -> Result<(), ConnectionError> {
        tally::add(|tally| {
            tally.packets += 1;
            tally.sent += packet.len() as u64;
        });
        let mut rest = packet;
        while !rest.is_empty() {
            let patience = self.options.deadlines.reply.min(remaining(deadline).unwrap_or_default());
            match self.transport.write(rest, patience) {
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(error) => {
                    let error = ConnectionError::from_io(&error, "sending a command");
                    self.fail(&mut self.state.lock(), error.clone());
                    return Err(error.with_sent(rest.len() < packet.len()));
                }
            }
        }
        Ok(())
    }
}

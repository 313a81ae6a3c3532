//! A bad network before a real server: control and data connections pass through it, and it breaks them as it is told.
//!
//! Data connections are found in the replies 227 and 229: for each a port is opened here, and its number put in the place of
//! the server's; nothing else is changed. One thread moves the bytes of one connection, both ways. Only plain FTP in
//! passive mode passes, for replies in TLS cannot be read here.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's way to fail")]

use std::collections::HashMap;
use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often a connection's thread looks whether it is to be cut.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long a data port that was named waits for its client.
const DATA_PORT_DEADLINE: Duration = Duration::from_secs(30);
/// How long what still comes is taken and thrown away behind an end in order, so that it stays one and is no reset.
const DRAIN: Duration = Duration::from_secs(2);
/// The bytes that a connection moves at a time.
const PIECE: usize = 16 << 10;
/// A control connection that is cut by its bytes has passed so many before: without a login nothing would be shown.
const CONTROL_BYTES_MIN: u64 = 700;

/// How a connection is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both sides see the end of the other's bytes (FIN), as if it had said all. Not data that the server sends, which is
    /// reset: that a listing was ended by somebody else before its end, nobody could know.
    End,
    /// Both sides see a reset (RST).
    Reset,
    /// Nothing passes for this long; then both sides see a reset.
    Stall(Duration),
}

/// What is broken, and when.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    /// After each such time all that is open is cut, in these ways in turn. None: nothing is.
    pub(crate) every: Option<(Duration, &'static [Cut])>,
    /// Every other data connection is cut once it has passed so many bytes at most, every other control connection once it
    /// has passed as many beside what a login needs; which, after how many, and in which way, is by chance.
    pub(crate) bytes_max: Option<u64>,
    /// How fast one connection is. None: as fast as it goes.
    pub(crate) bytes_per_second: Option<u64>,
    /// Where chance begins.
    pub(crate) seed: u64,
}

/// What has been done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    pub(crate) ended: u64,
    pub(crate) reset: u64,
    pub(crate) stalled: u64,
    /// Those of them that were data connections, with bytes on their way.
    pub(crate) transfers: u64,
}

impl Tally {
    pub(crate) fn cut(&self) -> u64 {
        self.ended + self.reset + self.stalled
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, ended, reset, stalled, transfers } = self;
        let cut = self.cut();
        write!(
            f,
            "{cut} of {connections} connections cut ({ended} ended, {reset} reset, {stalled} stalled; {transfers} of them transfers)"
        )
    }
}

/// The bad network; it ends when dropped.
pub(crate) struct Cutter {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    cuts: Cuts,
    /// Nothing is cut or slowed down.
    calm: AtomicBool,
    ended: AtomicBool,
    chance: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    tally: Tally,
    next: u64,
    /// The open connections, and how each of them is to be cut, once it is to be.
    open: HashMap<u64, Option<Cut>>,
}

impl Cutter {
    /// Opens a port of 127.0.0.1 that leads to the port `server` there. Everything passes until [`Self::begin`].
    pub(crate) fn open(server: u16, cuts: Cuts) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, server)),
            chance: AtomicU64::new(cuts.seed | 1),
            cuts,
            calm: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let for_acceptor = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if for_acceptor.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let shared = Arc::clone(&for_acceptor);
                thread::spawn(move || connect(&shared, client, shared.server, true));
            }
        });
        Self { port, shared }
    }

    /// Begins to cut.
    pub(crate) fn begin(&self) {
        self.shared.calm.store(false, Ordering::SeqCst);
        if let Some((interval, ways)) = self.shared.cuts.every {
            let shared = Arc::clone(&self.shared);
            thread::spawn(move || shared.cut_all_again_and_again(interval, ways));
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on everything passes, as fast as it goes.
    pub(crate) fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::SeqCst);
        self.shared.wake.notify_all();
    }

    pub(crate) fn tally(&self) -> Tally {
        self.shared.state().tally
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wake.notify_all();
        // Wakes the thread that accepts, which then sees that this is the end.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.calm.load(Ordering::SeqCst) || self.ended.load(Ordering::SeqCst)
    }

    fn cut_all_again_and_again(&self, interval: Duration, ways: &[Cut]) {
        for cut in ways.iter().cycle() {
            let state = self.state();
            let waited = self.wake.wait_timeout_while(state, interval, |_| !self.is_over());
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if self.is_over() {
                return;
            }
            for fate in state.open.values_mut() {
                fate.get_or_insert(*cut);
            }
        }
    }

    /// A number from 0 to `below`, the small ones as likely as the large ones in a table of logarithms.
    fn draw(&self, below: u64) -> u64 {
        let step = |mut state: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^ (state << 17)
        };
        let before = self.chance.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| Some(step(state))).unwrap();
        let number = step(before);
        let bits = u64::from(below.max(1).ilog2()) + 1;
        ((number >> 16) & ((1 << (number % bits + 1)) - 1)).min(below)
    }
}

/// One connection: who speaks here, and what may still pass.
struct Passage<'a> {
    shared: &'a Arc<Shared>,
    number: u64,
    is_control: bool,
    /// How many bytes may still pass, and what happens then.
    budget: Option<(u64, Cut)>,
    passed: u64,
    /// Whether the server has said something here.
    has_come_down: bool,
    started: Instant,
    /// What the server has begun to say on a control connection, up to the end of the line.
    line: Vec<u8>,
}

/// Passes a client's connection on to `server`, to its end.
fn connect(shared: &Arc<Shared>, client: TcpStream, server: SocketAddr, is_control: bool) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let budget = shared.cuts.bytes_max.filter(|_| shared.draw(1) == 0).map(|max| {
        let way = if shared.draw(1) == 0 { Cut::End } else { Cut::Reset };
        (if is_control { CONTROL_BYTES_MIN + shared.draw(max) } else { shared.draw(max) }, way)
    });
    let number = {
        let mut state = shared.state();
        state.next += 1;
        state.tally.connections += 1;
        let number = state.next;
        state.open.insert(number, None);
        number
    };
    let mut passage = Passage {
        shared,
        number,
        is_control,
        budget,
        passed: 0,
        has_come_down: false,
        started: Instant::now(),
        line: Vec::new(),
    };
    match passage.pass(&client, &server) {
        Ok(None) => {}
        Ok(Some(mut cut)) => {
            if cut == Cut::End && !is_control && passage.has_come_down {
                cut = Cut::Reset;
            }
            passage.count(cut);
            break_off(shared, cut, &client, &server);
        }
        // What one side did to the other is passed on too.
        Err(_) => break_off(shared, Cut::Reset, &client, &server),
    }
    shared.state().open.remove(&number);
}

/// Breaks a connection off on both sides.
fn break_off(shared: &Shared, cut: Cut, client: &TcpStream, server: &TcpStream) {
    if cut == Cut::End {
        let _ = (client.shutdown(Shutdown::Write), server.shutdown(Shutdown::Write));
        let until = Instant::now() + DRAIN;
        let mut thrown_away = vec![0; PIECE];
        for mut side in [client, server] {
            while Instant::now() < until && !matches!(side.read(&mut thrown_away), Ok(0)) {}
        }
        return;
    }
    if let Cut::Stall(time) = cut {
        let until = Instant::now() + time;
        while Instant::now() < until && !shared.ended.load(Ordering::SeqCst) {
            thread::sleep(LOOK_AGAIN);
        }
    }
    for side in [client, server] {
        // Closed with nothing lingering is closed with a reset.
        let _ = socket2::SockRef::from(side).set_linger(Some(Duration::ZERO));
    }
}

impl Passage<'_> {
    /// Passes bytes until both sides have said all, or until the connection is to be cut; then it says how.
    fn pass(&mut self, client: &TcpStream, server: &TcpStream) -> std::io::Result<Option<Cut>> {
        for side in [client, server] {
            side.set_nodelay(true)?;
            side.set_read_timeout(Some(LOOK_AGAIN))?;
            side.set_write_timeout(Some(LOOK_AGAIN))?;
        }
        let (mut client_speaks, mut server_speaks) = (true, true);
        while client_speaks || server_speaks {
            if let Some(cut) = self.fate() {
                return Ok(Some(cut));
            }
            for (speaks, from, to, from_server) in
                [(&mut client_speaks, client, server, false), (&mut server_speaks, server, client, true)]
            {
                if !*speaks || !is_readable(from) {
                    continue;
                }
                let mut piece = vec![0; PIECE];
                let len = match (&mut &*from).read(&mut piece) {
                    Ok(len) => len,
                    Err(error) if is_timeout(&error) => continue,
                    Err(error) => return Err(error),
                };
                piece.truncate(len);
                self.has_come_down |= from_server && len > 0;
                if len == 0 {
                    *speaks = false;
                    piece = std::mem::take(&mut self.line);
                } else if self.is_control && from_server {
                    piece = self.rewrite(&piece);
                }
                if let Some(cut) = self.write(&piece, to)? {
                    return Ok(Some(cut));
                }
                if len == 0 {
                    let _ = to.shutdown(Shutdown::Write);
                }
            }
            if !(client_speaks && is_readable(client) || server_speaks && is_readable(server)) {
                wait_for_either(client, server, client_speaks, server_speaks);
            }
        }
        Ok(None)
    }

    /// How this connection is to be cut now.
    fn fate(&self) -> Option<Cut> {
        if self.shared.ended.load(Ordering::SeqCst) {
            return Some(Cut::Reset);
        }
        if self.shared.calm.load(Ordering::SeqCst) {
            return None;
        }
        self.shared.state().open.get(&self.number).copied().flatten()
    }

    /// Writes all, as fast and as far as this connection may.
    fn write(&mut self, mut bytes: &[u8], mut to: &TcpStream) -> std::io::Result<Option<Cut>> {
        while !bytes.is_empty() {
            if let Some(cut) = self.fate() {
                return Ok(Some(cut));
            }
            let mut len = bytes.len();
            if !self.shared.calm.load(Ordering::SeqCst) {
                if let Some((left, cut)) = self.budget {
                    if left == 0 {
                        return Ok(Some(cut));
                    }
                    len = len.min(usize::try_from(left).unwrap_or(usize::MAX));
                }
                if let Some(rate) = self.shared.cuts.bytes_per_second
                    && Duration::from_secs_f64(self.passed as f64 / rate as f64) > self.started.elapsed()
                {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
            }
            match to.write(bytes.get(..len).unwrap_or_default()) {
                Ok(written) => {
                    self.passed += written as u64;
                    if let Some((left, _)) = &mut self.budget {
                        *left = left.saturating_sub(written as u64);
                    }
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What the server says on a control connection, with our ports in the place of its own.
    fn rewrite(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed_on = Vec::new();
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                passed_on.extend(self.with_our_port(&line).unwrap_or(line));
            }
        }
        passed_on
    }

    fn with_our_port(&self, line: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(line).ok()?;
        let (before, behind) = text.split_once('(')?;
        let (inside, behind) = behind.split_once(')')?;
        let ours = |port: u16| open_data_port(self.shared, port);
        let inside = if text.starts_with("229 ") {
            format!("|||{}|", ours(inside.trim_matches('|').parse().ok()?))
        } else if text.starts_with("227 ") {
            let numbers: Vec<&str> = inside.split(',').collect();
            let [_, _, _, _, high, low] = numbers.as_slice() else { return None };
            let port = ours(u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?]));
            format!("127,0,0,1,{},{}", port >> 8, port & 255)
        } else {
            return None;
        };
        Some(format!("{before}({inside}){behind}").into_bytes())
    }

    fn count(&self, cut: Cut) {
        if self.shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let tally = &mut self.shared.state().tally;
        match cut {
            Cut::End => tally.ended += 1,
            Cut::Reset => tally.reset += 1,
            Cut::Stall(_) => tally.stalled += 1,
        }
        tally.transfers += u64::from(!self.is_control && self.passed > 0);
    }
}

/// Opens a port here that leads one client to the server's data port.
fn open_data_port(shared: &Arc<Shared>, port: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let ours = listener.local_addr().unwrap().port();
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let until = Instant::now() + DATA_PORT_DEADLINE;
        while Instant::now() < until && !shared.ended.load(Ordering::SeqCst) {
            if let Ok((client, _)) = listener.accept() {
                drop(listener);
                let _ = client.set_nonblocking(false);
                return connect(&shared, client, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), false);
            }
            let mut waits = [PollFd::new(&listener, PollFlags::IN)];
            let _ = poll(&mut waits, Some(&LOOK_AGAIN_AT_A_PORT));
        }
    });
    ours
}

const LOOK_AGAIN_AT_A_PORT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

fn is_readable(side: &TcpStream) -> bool {
    let mut waits = [PollFd::new(side, PollFlags::IN)];
    poll(&mut waits, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

fn wait_for_either(client: &TcpStream, server: &TcpStream, client_speaks: bool, server_speaks: bool) {
    // A side that has said all stays readable for ever, and is not asked.
    let sides = [(client, client_speaks), (server, server_speaks)];
    let speaking = sides.iter().filter(|(_, speaks)| *speaks);
    let mut waits: Vec<PollFd<'_>> = speaking.map(|(side, _)| PollFd::new(*side, PollFlags::IN)).collect();
    let _ = poll(&mut waits, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

//! An FTP server that is far away, by a clock of its own: what either side sends arrives half a round trip later.
//!
//! Nobody waits for that in real time. The server is a simulation: it takes whatever its clients have sent, and lets the clock go on
//! to the next arrival only when they have no more to say, all threads of this process being asleep. So a test counts round
//! trips exactly, however busy the machine is ([`FarServer::round_trips`]).
//!
//! A data connection (and a control connection) stands at once for the client, since the system makes it; the server takes it one
//! and a half round trips after it was begun, which comes to the same for whoever waits for its bytes.
//!
//! Not here: the commands (`far_session`), the files (`odd_tree`).
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's way to fail")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::far_session::{Manner, Output, Session};
use crate::odd_tree::Tree;

/// So long nothing must have come before it is asked whether all threads sleep.
const PAUSE: Duration = Duration::from_millis(3);

/// A thread that never sleeps does not stop the clock for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Half round trips since the server began.
pub(crate) type Time = u64;

/// The server; it ends when dropped.
pub(crate) struct FarServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    bell: UnixStream,
    simulation: Option<JoinHandle<()>>,
}

/// A command as it has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When, in half round trips.
    pub(crate) at: Time,
    /// On which control connection; the first is 0.
    pub(crate) session: usize,
    pub(crate) command: String,
}

struct Shared {
    manner: Manner,
    tree: Mutex<Tree>,
    /// What the clients have come to: the time of the latest arrival at one of them.
    now: AtomicU64,
    /// How many arrivals are still to come.
    under_way: AtomicU64,
    data_connections: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    ending: AtomicBool,
}

impl FarServer {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            manner,
            tree: Mutex::default(),
            now: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            data_connections: AtomicU64::new(0),
            seen: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        let (bell, ring) = UnixStream::pair().unwrap();
        let simulation =
            Simulation { shared: Arc::clone(&shared), listener, ring, links: Vec::new(), queue: Queue::default() };
        let simulation = thread::spawn(move || simulation.run());
        Self { address, shared, bell, simulation: Some(simulation) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What lies on the server.
    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.shared.tree.lock().unwrap()
    }

    /// Does `work` when nothing is on the way any more, and says how many round trips passed meanwhile.
    pub(crate) fn round_trips<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
        self.settle();
        let before = self.shared.now.load(Ordering::Acquire);
        let result = work();
        (result, (self.shared.now.load(Ordering::Acquire) - before).div_ceil(2))
    }

    /// Waits until nothing is on the way.
    pub(crate) fn settle(&self) {
        let begun = Instant::now();
        let mut quiet = 0;
        while quiet < 2 {
            assert!(begun.elapsed() < PATIENCE * 4, "the line is never quiet");
            thread::sleep(PAUSE);
            let is_quiet = self.shared.under_way.load(Ordering::Acquire) == 0 && threads_sleep();
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }

    /// All commands so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many commands began so.
    pub(crate) fn count(&self, beginning: &str) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|seen| seen.command.starts_with(beginning)).count()
    }

    /// How many data connections were opened.
    pub(crate) fn data_connections(&self) -> u64 {
        self.shared.data_connections.load(Ordering::Acquire)
    }
}

impl Drop for FarServer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        let _ = self.bell.write_all(b"x");
        let result = self.simulation.take().unwrap().join();
        assert!(thread::panicking() || result.is_ok(), "the far server has failed");
    }
}

/// Whether all threads of this process but the one that asks wait for something.
fn threads_sleep() -> bool {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return true };
    tasks.flatten().filter(|task| task.file_name().to_str() != Some(&own)).all(|task| {
        // A thread that has gone meanwhile is none.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { return true };
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        !matches!(state, Some('R' | 'D'))
    })
}

/// What arrives somewhere.
enum Arrival {
    /// A client's control connection, at the server.
    Connected(usize),
    /// Bytes of a client, at the server; none are its end.
    Commands(usize, Vec<u8>),
    /// A client's data connection, at the server.
    DataConnected(usize, u64),
    /// Bytes on it; none are its end, and `None` is a reset.
    Data(usize, u64, Option<Vec<u8>>),
    /// What the server has sent, at the client.
    Output(usize, Output),
}

/// What is on the way, in the order of arrival.
#[derive(Default)]
struct Queue {
    arrivals: BTreeMap<(Time, u64), Arrival>,
    count: u64,
}

impl Queue {
    fn push(&mut self, at: Time, arrival: Arrival) {
        self.count += 1;
        self.arrivals.insert((at, self.count), arrival);
    }

    /// The next arrival's time, and whether it is one at a client.
    fn next(&self) -> Option<(Time, bool)> {
        let ((at, _), arrival) = self.arrivals.first_key_value()?;
        Some((*at, matches!(arrival, Arrival::Output(..))))
    }
}

/// One control connection, with its data connection.
struct Link {
    control: TcpStream,
    taken_at: Time,
    has_ended: bool,
    listener: Option<TcpListener>,
    data: Option<DataLink>,
    data_count: u64,
    session: Session,
}

struct DataLink {
    number: u64,
    stream: TcpStream,
    taken_at: Time,
    has_ended: bool,
    /// What the client has not taken yet.
    rest: Vec<u8>,
    is_sending: bool,
}

struct Simulation {
    shared: Arc<Shared>,
    listener: TcpListener,
    ring: UnixStream,
    links: Vec<Link>,
    queue: Queue,
}

/// What a descriptor in the poll is of.
#[derive(Clone, Copy)]
enum Source {
    Ring,
    Listener,
    Control(usize),
    DataListener(usize),
    Data(usize),
}

impl Simulation {
    fn run(mut self) {
        let mut busy_since = Instant::now();
        while !self.shared.ending.load(Ordering::Acquire) {
            self.shared.under_way.store(self.queue.arrivals.len() as u64, Ordering::Release);
            let next = self.queue.next();
            let now = self.now();
            let wait = match next {
                // Nothing that the clients could still send would arrive before it.
                Some((at, is_output)) if at <= now + u64::from(!is_output) => Some(Duration::ZERO),
                Some(_) => Some(PAUSE),
                None => None,
            };
            if self.take_what_came(wait) {
                busy_since = Instant::now();
                continue;
            }
            let Some((at, is_output)) = next else { continue };
            if wait != Some(Duration::ZERO) && !threads_sleep() && busy_since.elapsed() < PATIENCE {
                continue;
            }
            busy_since = Instant::now();
            // What the clients send from now on comes later.
            self.shared.now.fetch_max(if is_output { at } else { at - 1 }, Ordering::AcqRel);
            if let Some((_, arrival)) = self.queue.arrivals.pop_first() {
                self.arrive(at, arrival);
            }
        }
    }

    fn now(&self) -> Time {
        self.shared.now.load(Ordering::Acquire)
    }

    /// Takes what the clients have sent until now; whether there was anything.
    fn take_what_came(&mut self, wait: Option<Duration>) -> bool {
        let ready = self.poll(wait);
        for source in &ready {
            match *source {
                Source::Ring => {}
                Source::Listener => self.take_connection(),
                Source::Control(index) => self.take_commands(index),
                Source::DataListener(index) => self.take_data_connection(index),
                Source::Data(index) => self.take_data(index),
            }
        }
        !ready.is_empty()
    }

    fn poll(&self, wait: Option<Duration>) -> Vec<Source> {
        let mut sources = vec![Source::Ring, Source::Listener];
        let mut fds = vec![PollFd::new(&self.ring, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        for (index, link) in self.links.iter().enumerate() {
            if !link.has_ended {
                sources.push(Source::Control(index));
                fds.push(PollFd::new(&link.control, PollFlags::IN));
            }
            if let Some(listener) = &link.listener {
                sources.push(Source::DataListener(index));
                fds.push(PollFd::new(listener, PollFlags::IN));
            }
            if let Some(data) = &link.data
                && (!data.has_ended || !data.rest.is_empty())
            {
                let writes = if data.rest.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                let reads = if data.has_ended { PollFlags::empty() } else { PollFlags::IN };
                sources.push(Source::Data(index));
                fds.push(PollFd::from_borrowed_fd(data.stream.as_fd(), reads | writes));
            }
        }
        let wait = wait.map(|wait| Timespec::try_from(wait).unwrap());
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) => sources.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(s, _)| s).collect(),
            Err(_) => Vec::new(),
        }
    }

    fn take_connection(&mut self) {
        let Ok((control, _)) = self.listener.accept() else { return };
        control.set_nodelay(true).unwrap();
        control.set_nonblocking(true).unwrap();
        let session = Session::new(self.shared.manner);
        let index = self.links.len();
        let taken_at = self.now() + 3;
        self.links.push(Link {
            control,
            taken_at,
            has_ended: false,
            listener: None,
            data: None,
            data_count: 0,
            session,
        });
        self.queue.push(taken_at, Arrival::Connected(index));
    }

    fn take_commands(&mut self, index: usize) {
        let at = self.now() + 1;
        let link = &mut self.links[index];
        if let Some(bytes) = read(&mut link.control) {
            let bytes = bytes.unwrap_or_default();
            link.has_ended = bytes.is_empty();
            self.queue.push(at.max(link.taken_at), Arrival::Commands(index, bytes));
        }
    }

    fn take_data_connection(&mut self, index: usize) {
        let at = self.now() + 3;
        let link = &mut self.links[index];
        let Some(Ok((stream, _))) = link.listener.take().map(|listener| listener.accept()) else { return };
        stream.set_nonblocking(true).unwrap();
        link.data_count += 1;
        let number = link.data_count;
        link.data =
            Some(DataLink { number, stream, taken_at: at, has_ended: false, rest: Vec::new(), is_sending: false });
        self.shared.data_connections.fetch_add(1, Ordering::AcqRel);
        self.queue.push(at, Arrival::DataConnected(index, number));
    }

    fn take_data(&mut self, index: usize) {
        self.send_rest(index);
        let at = self.now() + 1;
        let Some(data) = self.links[index].data.as_mut().filter(|data| !data.has_ended) else { return };
        if let Some(bytes) = read(&mut data.stream) {
            data.has_ended = bytes.as_ref().is_none_or(Vec::is_empty);
            if bytes.is_none() {
                data.rest.clear();
            }
            self.queue.push(at.max(data.taken_at), Arrival::Data(index, data.number, bytes));
        }
    }

    fn arrive(&mut self, at: Time, arrival: Arrival) {
        let (index, output) = match arrival {
            Arrival::Connected(index) => (index, self.serve(index, |session, _| session.greet())),
            Arrival::Commands(index, bytes) => {
                let seen = |command: &str| Seen { at, session: index, command: command.to_owned() };
                let commands = self.links[index].session.take(&bytes);
                self.shared.seen.lock().unwrap().extend(commands.iter().map(|command| seen(command)));
                (index, self.serve(index, |session, tree| session.work(tree)))
            }
            Arrival::DataConnected(index, number) if self.has_data(index, number) => {
                (index, self.serve(index, |session, tree| session.data_stands(tree)))
            }
            Arrival::Data(index, number, bytes) if self.has_data(index, number) => {
                (index, self.serve(index, |session, tree| session.data_came(tree, bytes)))
            }
            Arrival::Output(index, output) => return self.deliver(index, output),
            Arrival::DataConnected(..) | Arrival::Data(..) => return,
        };
        self.send(index, at, output);
    }

    fn has_data(&self, index: usize, number: u64) -> bool {
        self.links[index].data.as_ref().is_some_and(|data| data.number == number)
    }

    fn serve(&mut self, index: usize, work: impl FnOnce(&mut Session, &mut Tree) -> Vec<Output>) -> Vec<Output> {
        let mut tree = self.shared.tree.lock().unwrap();
        work(&mut self.links[index].session, &mut tree)
    }

    /// What a session says goes on its way; a port is opened at once, so that it is there when its number arrives.
    fn send(&mut self, index: usize, at: Time, outputs: Vec<Output>) {
        for output in outputs {
            let output = match output {
                Output::Listen => {
                    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                    listener.set_nonblocking(true).unwrap();
                    let port = listener.local_addr().unwrap().port();
                    let link = &mut self.links[index];
                    link.listener = Some(listener);
                    // Whoever asks for a port gives up the connection that he has not used.
                    link.data = None;
                    Output::Reply(format!("229 Passive (|||{port}|)"))
                }
                output => output,
            };
            self.queue.push(at + 1, Arrival::Output(index, output));
        }
    }

    fn deliver(&mut self, index: usize, output: Output) {
        let link = &mut self.links[index];
        match output {
            Output::Reply(text) => {
                let text = format!("{text}\r\n");
                // The client may have gone; replies are short enough for any socket's buffer, or are written on.
                let mut rest = text.as_bytes();
                while !rest.is_empty() {
                    match link.control.write(rest) {
                        Ok(len) => rest = &rest[len..],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                        Err(_) => break,
                    }
                }
            }
            Output::Listen => {}
            Output::Data(bytes) => {
                if let Some(data) = &mut link.data {
                    (data.rest, data.is_sending) = (bytes, true);
                }
                self.send_rest(index);
            }
            Output::EndData => link.data = None,
            Output::Close => {
                let _ = link.control.shutdown(std::net::Shutdown::Both);
                link.has_ended = true;
                (link.data, link.listener) = (None, None);
            }
        }
    }

    /// Sends what is left of a transfer's data, and tells the session when all has gone. What it says to that left the server with
    /// the last of the bytes, and so arrives with them.
    fn send_rest(&mut self, index: usize) {
        let Some(data) = self.links[index].data.as_mut().filter(|data| data.is_sending) else { return };
        while !data.rest.is_empty() {
            match data.stream.write(&data.rest) {
                Ok(len) => drop(data.rest.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A reset, which the next read tells.
                Err(_) => return data.rest.clear(),
            }
        }
        data.is_sending = false;
        let _ = data.stream.shutdown(std::net::Shutdown::Write);
        let sent_at = self.now().saturating_sub(1);
        let output = self.serve(index, |session, tree| session.data_sent(tree));
        self.send(index, sent_at, output);
    }
}

/// What has come: bytes, no bytes for the end, and `Some(None)` for a reset; `None` where nothing has.
#[allow(clippy::option_option, reason = "three different things")]
fn read(stream: &mut TcpStream) -> Option<Option<Vec<u8>>> {
    let mut buffer = vec![0; 64 << 10];
    match stream.read(&mut buffer) {
        Ok(len) => {
            buffer.truncate(len);
            Some(Some(buffer))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => Some(None),
    }
}

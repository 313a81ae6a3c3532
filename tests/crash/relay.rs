//! Control connections through this process, so that the mount can be killed at a command or reply of its dialogue: the steps that
//! lie between the local disk and the server have no other witness.
//!
//! Data connections go to the server directly. A killed mount's last commands are with the server or they are not: what
//! was held back is never sent.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use crate::servers::{free_port, wait_until};

/// When a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// The server never hears of the command.
    BeforeCommand,
    /// At the preliminary reply: in the middle of a transfer.
    AtTransfer,
    /// The server has done it, and the mount never hears of that.
    BeforeReply,
    /// The mount has just been told.
    BehindReply,
}

/// A step of the dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) verb: &'static str,
    pub(crate) moment: Moment,
    /// How often it happens before.
    pub(crate) skipped: u32,
}

/// Listens for the mounts, as long as the test runs.
pub(crate) struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server_port: u16,
    /// The trap, and whom it kills.
    armed: Mutex<Option<(Trap, u32)>>,
    /// Directions of connections that have not ended.
    open: AtomicUsize,
}

impl Relay {
    pub(crate) fn start(server_port: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let shared = Arc::new(Shared { server_port, armed: Mutex::new(None), open: AtomicUsize::new(0) });
        let accepts = Arc::clone(&shared);
        // It ends with the test's process, like its socket.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepts.serve(client);
            }
        });
        Self { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Kills a process at a step.
    pub(crate) fn arm(&self, trap: Trap, process: u32) {
        *self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((trap, process));
    }

    /// Takes the trap away; whether it had been sprung.
    pub(crate) fn disarm(&self) -> bool {
        self.shared.armed.lock().unwrap_or_else(PoisonError::into_inner).take().is_none()
    }

    /// Waits until the server has ended all sessions: from then on it changes nothing more.
    pub(crate) fn wait_until_quiet(&self) {
        wait_until("the server has ended the sessions of a mount that is gone", || {
            self.shared.open.load(Ordering::SeqCst) == 0
        });
    }
}

/// The commands of one connection that have not been answered.
type Unanswered = Arc<Mutex<VecDeque<String>>>;

impl Shared {
    fn serve(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server_port)) else { return };
        for socket in [&client, &server] {
            let _ = socket.set_nodelay(true);
        }
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
        // The first reply answers no command.
        let unanswered: Unanswered = Arc::new(Mutex::new(VecDeque::from([String::new()])));
        self.open.fetch_add(2, Ordering::SeqCst);
        let (shared, verbs) = (Arc::clone(self), Arc::clone(&unanswered));
        std::thread::spawn(move || {
            shared.relay_commands(client, &server, &verbs);
            let _ = server.shutdown(Shutdown::Write);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            shared.relay_replies(server_too, &client_too, &unanswered);
            let _ = client_too.shutdown(Shutdown::Both);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }

    fn relay_commands(&self, client: TcpStream, mut server: &TcpStream, unanswered: &Unanswered) {
        let mut lines = BufReader::new(client);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line);
            let verb: String = text.chars().skip_while(|letter| !letter.is_ascii_alphabetic()).collect();
            let verb = verb.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if self.springs(&verb, Moment::BeforeCommand) {
                return;
            }
            unanswered.lock().unwrap().push_back(verb);
            if server.write_all(&line).is_err() {
                return;
            }
            line.clear();
        }
    }

    fn relay_replies(&self, server: TcpStream, mut client: &TcpStream, unanswered: &Unanswered) {
        let mut lines = BufReader::new(server);
        let mut line = Vec::new();
        // Of a reply in several lines.
        let mut code: Option<Vec<u8>> = None;
        while lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let is_last = match &code {
                Some(code) => line.starts_with(code) && line.get(3) == Some(&b' '),
                None => line.get(3) != Some(&b'-'),
            };
            if !is_last && code.is_none() {
                code = line.get(..3).map(<[u8]>::to_vec);
            }
            let mut behind = None;
            if is_last {
                code = None;
                let mut unanswered = unanswered.lock().unwrap();
                let (verb, before) = match line.first() {
                    Some(b'1') => (unanswered.front().cloned(), Moment::AtTransfer),
                    _ => (unanswered.pop_front(), Moment::BeforeReply),
                };
                let verb = verb.unwrap_or_default();
                if self.springs(&verb, before) {
                    // What the server still has to say is read, so that its end is seen.
                    let _ = client.shutdown(Shutdown::Both);
                    drop(unanswered);
                    while lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {}
                    return;
                }
                behind = (before == Moment::BeforeReply).then_some(verb);
            }
            // A mount that is gone is still written to: the server's end is what is waited for.
            let _ = client.write_all(&line);
            if let Some(verb) = behind {
                self.springs(&verb, Moment::BehindReply);
            }
            line.clear();
        }
    }

    /// Kills where this is the step of the trap; whether it was.
    fn springs(&self, verb: &str, moment: Moment) -> bool {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((trap, process)) = armed.as_mut().filter(|(trap, _)| trap.verb == verb && trap.moment == moment)
        else {
            return false;
        };
        if trap.skipped > 0 {
            trap.skipped -= 1;
            return false;
        }
        let process = Pid::from_raw(process.cast_signed()).unwrap();
        let _ = kill_process(process, Signal::KILL);
        *armed = None;
        true
    }
}

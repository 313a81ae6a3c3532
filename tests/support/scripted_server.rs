//! An FTP server that does what a test tells it, right or wrong.
//!
//! Each connection runs the test's script in a thread of its own. A script says replies (whole, or byte by byte), takes
//! commands, opens data connections, closes. What it does not care for, [`Dialogue::serve`] answers as a plain server would.
//! The server counts connections, commands and packets. A script that panics fails the test when the server is dropped.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's way to fail")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A banner of a server that is known to answer in order.
pub(crate) const ORDERLY: &str = "220 (vsFTPd, scripted)";

/// A script that waits longer than this for its client has failed.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(20);

/// The server; it ends when dropped.
pub(crate) struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<Vec<JoinHandle<()>>>>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    packets: AtomicUsize,
    commands: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
    ending: AtomicBool,
}

/// What a script wants done about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What a plain server would do.
    Default,
    /// The script has answered.
    Done,
    /// Close the connection.
    Close,
}

/// One control connection, from the server's side.
pub(crate) struct Dialogue {
    /// The first connection is 0.
    pub(crate) index: usize,
    stream: TcpStream,
    received: Vec<u8>,
    shared: Arc<Shared>,
    passive: Option<TcpListener>,
}

impl ScriptedServer {
    /// Starts a server that runs `script` for each connection; the greeting is the script's too.
    pub(crate) fn start(script: impl Fn(&mut Dialogue) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (for_acceptor, script) = (Arc::clone(&shared), Arc::new(script));
        let acceptor = thread::spawn(move || {
            let mut dialogues = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if for_acceptor.ending.load(Ordering::Acquire) {
                    break;
                }
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(SCRIPT_DEADLINE)).unwrap();
                let index = for_acceptor.connections.fetch_add(1, Ordering::AcqRel);
                for_acceptor.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let (shared, script) = (Arc::clone(&for_acceptor), Arc::clone(&script));
                dialogues.push(thread::spawn(move || {
                    let mut dialogue = Dialogue { index, stream, received: Vec::new(), shared, passive: None };
                    script(&mut dialogue);
                    let _ = dialogue.stream.shutdown(Shutdown::Both);
                }));
            }
            dialogues
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Starts a server that greets in `banner`'s words and answers as a plain server would, but where `answer` does.
    pub(crate) fn serving(
        banner: &'static str,
        answer: impl Fn(&mut Dialogue, &str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |dialogue| {
            dialogue.say(banner);
            dialogue.serve(&answer);
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many control connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// How many reads the commands came in.
    pub(crate) fn packets(&self) -> usize {
        self.shared.packets.load(Ordering::Acquire)
    }

    /// All commands so far, in the order in which they were taken.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap().clone()
    }

    /// How many commands began with `prefix`.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.shared.commands.lock().unwrap().iter().filter(|command| command.starts_with(prefix)).count()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let dialogues = self.acceptor.take().unwrap().join().unwrap();
        let failed = dialogues.into_iter().filter_map(|dialogue| dialogue.join().err()).count();
        assert!(thread::panicking() || failed == 0, "{failed} scripts failed");
    }
}

impl Dialogue {
    /// Says one or more lines.
    pub(crate) fn say(&mut self, lines: &str) {
        self.say_bytes(format!("{lines}\r\n").as_bytes());
    }

    /// Says bytes as they are; whether the client was there to hear them. That it has gone is no fault of the script.
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says lines with each byte in a packet of its own.
    pub(crate) fn say_bytewise(&mut self, lines: &str) {
        for byte in format!("{lines}\r\n").as_bytes() {
            self.say_bytes(&[*byte]);
        }
    }

    /// The control connection itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next command without its line end; `None` where the client has gone.
    pub(crate) fn next_command(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
                let command = String::from_utf8_lossy(&line).into_owned();
                self.shared.commands.lock().unwrap().push(command.clone());
                return Some(command);
            }
            let mut buffer = [0; 64 << 10];
            let len = self.stream.read(&mut buffer).ok().filter(|len| *len > 0)?;
            self.shared.packets.fetch_add(1, Ordering::AcqRel);
            self.received.extend_from_slice(&buffer[..len]);
        }
    }

    /// Whether commands have come that were not taken yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.received.is_empty()
    }

    /// Takes commands until the client has gone or `answer` closes.
    pub(crate) fn serve(&mut self, answer: impl Fn(&mut Self, &str) -> Answer) {
        while let Some(command) = self.next_command() {
            match answer(self, &command) {
                Answer::Default => self.answer_plainly(&command),
                Answer::Done => {}
                Answer::Close => return,
            }
            if command == "QUIT" {
                return;
            }
        }
    }

    /// Answers one command as a plain server would.
    pub(crate) fn answer(&mut self, command: &str) {
        self.answer_plainly(command);
    }

    fn answer_plainly(&mut self, command: &str) {
        let verb = command.split(' ').next().unwrap_or_default();
        match verb {
            "USER" => self.say("331 Password?"),
            "PASS" => self.say("230 Welcome"),
            "PWD" => self.say("257 \"/\""),
            "FEAT" => self.say("211 No features"),
            "SIZE" => self.say("213 5"),
            "REST" => self.say("350 Go on"),
            "EPSV" => {
                let port = self.listen();
                self.say(&format!("229 Passive (|||{port}|)"));
            }
            "PASV" => {
                let port = self.listen();
                // An address that leads nowhere, as behind a NAT.
                self.say(&format!("227 Passive (10,255,255,1,{},{})", port >> 8, port & 0xFF));
            }
            "RETR" => {
                self.say("150 Here it comes");
                self.send_data(b"bytes");
                self.say("226 Done");
            }
            "QUIT" => self.say("221 Bye"),
            _ => self.say("200 OK"),
        }
    }

    /// Listens for a data connection, and says where.
    pub(crate) fn listen(&mut self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        self.passive = Some(listener);
        port
    }

    /// Takes the data connection.
    pub(crate) fn accept(&mut self) -> TcpStream {
        let stream = self.passive.take().expect("PASV or EPSV came before").accept().unwrap().0;
        stream.set_read_timeout(Some(SCRIPT_DEADLINE)).unwrap();
        stream
    }

    /// Takes the data connection; `None` where the client goes without opening it.
    pub(crate) fn accept_or_notice(&mut self) -> Option<TcpStream> {
        let listener = self.passive.take()?;
        let deadline = Timespec::try_from(SCRIPT_DEADLINE).unwrap();
        let mut events = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&self.stream, PollFlags::RDHUP)];
        poll(&mut events, Some(&deadline)).unwrap();
        if events[0].revents().is_empty() {
            return None;
        }
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(SCRIPT_DEADLINE)).unwrap();
        Some(stream)
    }

    /// Says no more, and goes on hearing.
    pub(crate) fn fall_silent(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Takes the data connection, sends `bytes` and closes it.
    pub(crate) fn send_data(&mut self, bytes: &[u8]) {
        let _ = self.accept().write_all(bytes);
    }

    /// Waits until the client closes a data connection; says what came before.
    pub(crate) fn read_data(mut stream: TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    }
}

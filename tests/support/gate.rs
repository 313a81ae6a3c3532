//! A door before a server's control port: it keeps what clients say, and can fall silent as a dead network does.
//!
//! Data connections pass it by: the server names their ports on the same address.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's way to fail")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a connection's thread looks whether it is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Passes control connections on to a server, until told otherwise.
pub(crate) struct Gate {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Nothing is passed on any more, in either direction, and nothing is closed.
    silent: AtomicBool,
    ended: AtomicBool,
    said: Mutex<Vec<u8>>,
}

impl Gate {
    /// Opens a door to the port `server` of 127.0.0.1.
    pub(crate) fn open(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
                std::thread::spawn(move || pass_on(client, to_server, &up, true));
                std::thread::spawn(move || pass_on(server, to_client, &down, false));
            }
        });
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on every connection, also a new one, is open and dead.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::SeqCst);
    }

    /// All that clients have said so far.
    pub(crate) fn said(&self) -> Vec<u8> {
        self.state.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then sees that this is the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Passes bytes on from one side to the other until one of them closes, or the gate does.
fn pass_on(mut from: TcpStream, mut to: TcpStream, state: &State, from_client: bool) {
    from.set_read_timeout(Some(LOOK_AGAIN)).unwrap();
    let mut buffer = [0; 4096];
    while !state.ended.load(Ordering::SeqCst) {
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        let bytes = buffer.get(..len).unwrap_or_default();
        if from_client {
            state.said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        }
        if !state.silent.load(Ordering::SeqCst) && to.write_all(bytes).is_err() {
            break;
        }
    }
    if !state.silent.load(Ordering::SeqCst) || state.ended.load(Ordering::SeqCst) {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

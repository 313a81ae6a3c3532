//! A dialogue with a proxy over a socket, within one deadline however slowly the proxy drips.

use std::io;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use zeroize::Zeroizing;

use super::{Dialogue, Next, ProxyFault};
use crate::connection::data::wait_for;

/// Goes through `dialogue`, whose first message is `first`. What comes behind the proxy's last byte stays in the socket.
///
/// # Errors
/// [`ProxyFault`]; the connection is then of no use.
pub(in crate::connection) fn go_through(
    socket: &impl AsFd,
    mut dialogue: Dialogue,
    first: Zeroizing<Vec<u8>>,
    deadline: Instant,
) -> Result<(), ProxyFault> {
    send_all(socket, &first, deadline)?;
    drop(first);
    let mut buffer = [0_u8; 1024];
    loop {
        wait(socket, PollFlags::IN, deadline)?;
        // Looked at first, and taken when it is known how much of it is the proxy's.
        let len = match recv(socket, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(ProxyFault::Closed),
            Ok((len, _)) => len,
            Err(error) if is_passing(error) => continue,
            Err(error) => return Err(lost(error)),
        };
        let (taken, next) = dialogue.receive(buffer.get(..len).unwrap_or_default())?;
        let scrap = buffer.get_mut(..taken).unwrap_or_default();
        recv(socket, scrap, RecvFlags::DONTWAIT).map_err(lost)?;
        match next {
            Next::Wait => {}
            Next::Send(message) => send_all(socket, &message, deadline)?,
            Next::Through => return Ok(()),
        }
    }
}

fn send_all(socket: &impl AsFd, mut bytes: &[u8], deadline: Instant) -> Result<(), ProxyFault> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(error) if is_passing(error) => wait(socket, PollFlags::OUT, deadline)?,
            Err(error) => return Err(lost(error)),
        }
    }
    Ok(())
}

fn wait(socket: &impl AsFd, ready: PollFlags, deadline: Instant) -> Result<(), ProxyFault> {
    wait_for(socket, ready, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => ProxyFault::TimedOut,
        _ => ProxyFault::Lost(error.to_string()),
    })
}

fn is_passing(error: Errno) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn lost(error: Errno) -> ProxyFault {
    ProxyFault::Lost(io::Error::from(error).to_string())
}

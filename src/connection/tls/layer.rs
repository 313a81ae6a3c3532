//! TLS records over a socket.
//!
//! One thread may read while another writes. Lock order: `incoming`, `outgoing`, `connection`; the last one is never held while the
//! network is waited for.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};

use crate::connection::deadlines::{after, remaining};
use crate::connection::transport::PlainStream;

/// What is read from the socket at once: several records.
const INCOMING_LEN: usize = 128 << 10;

/// What is encrypted at once: 16 records.
const PIECE_LEN: usize = 256 << 10;

/// Bytes of the lines in one record, but for a line that is longer.
const LINES_LEN: usize = 900;

/// How much of what came last is kept, to say what a server has said in clear text.
const LAST_WORDS_LEN: usize = 200;

/// How bytes are put into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    /// Whole lines, [`LINES_LEN`] in each. ProFTPD and Pure-FTPd read a record in pieces of 4 KiB, and wait on the socket for what they have
    /// already; but what is to be done behind a transfer they keep only where it came in one record with the transfer's command.
    Lines,
    /// As full as they may be.
    Full,
}

/// What has been read, and what ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// The peer said that this is all.
    CloseNotify,
    /// The connection ended, and the peer has not said so: anybody can have ended it.
    Cut,
}

/// How the handshake went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The version of TLS.
    pub version: Option<ProtocolVersion>,
    /// Whether it resumed a session.
    pub resumed: bool,
}

impl Negotiated {
    /// How many round trips it took (RFC 8446 §2, RFC 5246 §7.3).
    pub(crate) fn round_trips(self) -> u64 {
        if self.resumed || self.version == Some(ProtocolVersion::TLSv1_3) { 1 } else { 2 }
    }
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        };
        write!(f, "{version}{}", if self.resumed { ", resumed" } else { "" })
    }
}

/// TLS on one connection.
pub(crate) struct TlsLayer {
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    connection: Mutex<ClientConnection>,
    records: Records,
}

/// Bytes from the socket that have not been decrypted yet.
struct Incoming {
    bytes: Box<[u8]>,
    begin: usize,
    end: usize,
    ended: bool,
}

/// Records that the system has not taken yet.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl TlsLayer {
    pub(crate) fn new(mut connection: ClientConnection, records: Records) -> Self {
        connection.set_buffer_limit(None);
        let incoming = Incoming { bytes: vec![0; INCOMING_LEN].into(), begin: 0, end: 0, ended: false };
        Self { incoming: Mutex::new(incoming), outgoing: Mutex::default(), connection: Mutex::new(connection), records }
    }

    /// Sends what the handshake has to say by now.
    pub(crate) fn flush(&self, socket: &PlainStream, timeout: Duration) -> io::Result<()> {
        let mut outgoing = self.outgoing.lock();
        outgoing.encrypt(&mut self.connection.lock())?;
        outgoing.send(socket, timeout)
    }

    /// Brings the handshake to its end.
    ///
    /// The inner error is a [`rustls::Error`] where TLS is the reason.
    pub(crate) fn handshake(&self, socket: &PlainStream, deadline: Instant) -> io::Result<Negotiated> {
        let mut incoming = self.incoming.lock();
        loop {
            let left = remaining(deadline).ok_or(io::ErrorKind::TimedOut)?;
            self.flush(socket, left)?;
            if let Some(negotiated) = negotiated(&self.connection.lock()) {
                return Ok(negotiated);
            }
            if incoming.is_empty() {
                incoming.fill(socket, left)?;
                if incoming.ended {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let result = self.decrypt_some(&mut incoming, &mut self.connection.lock());
            if result.is_err() {
                // The server hears why.
                let _ = self.flush(socket, left);
            }
            result?;
        }
    }

    /// How the handshake went; `None` before its end.
    pub(crate) fn negotiated(&self) -> Option<Negotiated> {
        negotiated(&self.connection.lock())
    }

    /// Reads what is there, waiting up to `timeout` for something.
    pub(crate) fn read(&self, socket: &PlainStream, buffer: &mut [u8], timeout: Duration) -> io::Result<Read> {
        let deadline = after(timeout);
        let mut incoming = self.incoming.lock();
        loop {
            let read = self.take(&mut incoming, buffer);
            self.answer(socket);
            if let Some(read) = read? {
                return Ok(read);
            }
            incoming.fill(socket, remaining(deadline).ok_or(io::ErrorKind::TimedOut)?)?;
        }
    }

    /// Takes what has been decrypted, and decrypts what has come; `None` where more has to come first.
    fn take(&self, incoming: &mut Incoming, buffer: &mut [u8]) -> io::Result<Option<Read>> {
        let mut connection = self.connection.lock();
        let mut filled = 0;
        loop {
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            let result = match connection.reader().read(rest) {
                Ok(0) if rest.is_empty() => return Ok(Some(Read::Bytes(filled))),
                Ok(0) => Ok(Some(Read::CloseNotify)),
                Ok(len) => {
                    filled += len;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(Read::Cut)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                Err(_) if incoming.is_empty() && !incoming.ended => Ok(None),
                Err(_) => match self.decrypt_some(incoming, &mut connection) {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            // What stopped us is found again by the next read.
            return if filled > 0 { Ok(Some(Read::Bytes(filled))) } else { result };
        }
    }

    /// Decrypts a part of what has come.
    fn decrypt_some(&self, incoming: &mut Incoming, connection: &mut ClientConnection) -> io::Result<()> {
        let len = connection.read_tls(&mut incoming.pending())?;
        // Nothing is taken behind close_notify.
        incoming.begin = if len == 0 { incoming.end } else { incoming.begin + len };
        connection.process_new_packets().map_err(|error| {
            let words = incoming.last_words();
            io::Error::new(io::ErrorKind::InvalidData, Failure { error, words })
        })?;
        Ok(())
    }

    /// Sends what the library wants to say by itself, where nobody else is writing.
    fn answer(&self, socket: &PlainStream) {
        let wants_write = self.connection.lock().wants_write();
        if let (true, Some(mut outgoing)) = (wants_write, self.outgoing.try_lock()) {
            let encrypted = outgoing.encrypt(&mut self.connection.lock());
            // A peer that takes nothing now gets it with what is written next.
            let _ = encrypted.and_then(|()| outgoing.send(socket, Duration::from_millis(1)));
        }
    }

    /// Whether bytes, or the end, lie ready to be read. Takes tickets in that have come, and does not wait.
    pub(crate) fn is_readable(&self, socket: &PlainStream) -> bool {
        // Who reads now will have it.
        let Some(mut incoming) = self.incoming.try_lock() else { return false };
        loop {
            let is_ready = self.is_decrypted(&mut incoming);
            self.answer(socket);
            if is_ready || !socket.is_readable() {
                return is_ready;
            }
            if incoming.fill(socket, Duration::from_millis(1)).is_err() {
                return true;
            }
        }
    }

    fn is_decrypted(&self, incoming: &mut Incoming) -> bool {
        let mut connection = self.connection.lock();
        loop {
            match connection.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                _ => return true,
            }
            if incoming.ended {
                return true;
            }
            if incoming.is_empty() {
                return false;
            }
            if self.decrypt_some(incoming, &mut connection).is_err() {
                return true;
            }
        }
    }

    /// Writes some of `bytes`; waits for up to `timeout` as long as nothing moves.
    ///
    /// On an error of [`Records::Lines`] the system has taken none of it; of [`Records::Full`], any part.
    pub(crate) fn write(&self, socket: &PlainStream, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        let mut outgoing = self.outgoing.lock();
        outgoing.send(socket, timeout)?;
        let mut connection = self.connection.lock();
        let taken = match self.records {
            Records::Full => connection.writer().write(bytes.get(..PIECE_LEN).unwrap_or(bytes))?,
            Records::Lines => {
                for lines in records_of(bytes) {
                    connection.writer().write_all(lines)?;
                }
                bytes.len()
            }
        };
        outgoing.encrypt(&mut connection)?;
        drop(connection);
        match outgoing.send(socket, timeout) {
            // The connection is of no use any more, and whoever waits for replies will see that.
            Err(_) if self.records == Records::Lines && outgoing.sent > 0 => Ok(taken),
            result => result.map(|()| taken),
        }
    }

    /// Says that nothing more will be written, in TLS's words.
    pub(crate) fn close_notify(&self, socket: &PlainStream, timeout: Duration) -> io::Result<()> {
        let mut outgoing = self.outgoing.lock();
        let mut connection = self.connection.lock();
        connection.send_close_notify();
        outgoing.encrypt(&mut connection)?;
        drop(connection);
        outgoing.send(socket, timeout)
    }
}

/// Lines, put together as they go into records.
fn records_of(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut len = 0;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if len > 0 && len + line.len() > LINES_LEN {
                break;
            }
            len += line.len();
        }
        let (record, rest) = lines.split_at_checked(len)?;
        lines = rest;
        (!record.is_empty()).then_some(record)
    })
}

fn negotiated(connection: &ClientConnection) -> Option<Negotiated> {
    if connection.is_handshaking() {
        return None;
    }
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    Some(Negotiated { version: connection.protocol_version(), resumed })
}

impl Incoming {
    fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    fn pending(&self) -> &[u8] {
        self.bytes.get(self.begin..self.end).unwrap_or_default()
    }

    /// Reads from the socket; all before must have been decrypted.
    fn fill(&mut self, socket: &PlainStream, timeout: Duration) -> io::Result<()> {
        let len = socket.read(&mut self.bytes, timeout)?;
        (self.begin, self.end, self.ended) = (0, len, len == 0);
        Ok(())
    }

    /// What the peer has said in clear text, if it has: vsftpd says so why it ends (`500 OOPS: …`).
    fn last_words(&self) -> Option<String> {
        let bytes = self.bytes.get(..self.end)?;
        let is_word = |line: &[u8]| {
            let code = line.get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit));
            code && line.get(3) == Some(&b' ')
                && line.iter().take(LAST_WORDS_LEN).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
        };
        let begin = (0..bytes.len()).find(|at| bytes.get(*at..).is_some_and(is_word))?;
        let line = bytes.get(begin..)?.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line.get(..LAST_WORDS_LEN).unwrap_or(line)).into_owned();
        (line.len() > 3).then_some(line)
    }
}

impl Outgoing {
    fn encrypt(&mut self, connection: &mut MutexGuard<'_, ClientConnection>) -> io::Result<()> {
        while connection.wants_write() {
            connection.write_tls(&mut self.bytes)?;
        }
        Ok(())
    }

    /// Sends all; each piece of progress begins `timeout` anew.
    fn send(&mut self, socket: &PlainStream, timeout: Duration) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += socket.write(rest, timeout)?;
        }
        self.bytes.clear();
        self.sent = 0;
        Ok(())
    }
}

impl fmt::Debug for TlsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLayer").field("records", &self.records).finish_non_exhaustive()
    }
}

/// An error of TLS, and what came in clear text in its place.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: rustls::Error,
    pub(crate) words: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Some(words) => write!(f, "the server said in clear text: {words}"),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

/// The TLS error within an I/O error.
pub(crate) fn failure(error: &io::Error) -> Option<&Failure> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_together_into_records_that_servers_read_at_once() {
        let records = |lines: &str| records_of(lines.as_bytes()).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(records("RETR a\r\nEPSV\r\n"), [14]);
        let long = "x".repeat(500) + "\r\n";
        assert_eq!(records(&format!("{long}{long}EPSV\r\n")), [502, 508]);
        let longer = "x".repeat(4000) + "\r\n";
        assert_eq!(records(&format!("PWD\r\n{longer}EPSV\r\n")), [5, 4002, 6]);
        assert_eq!(records("no end of line"), [14]);
        assert!(records("").is_empty());
    }
}

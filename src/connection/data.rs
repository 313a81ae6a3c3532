//! Data connections: opened towards the server (passive) or by it (active), used for one transfer, closed.
//!
//! A passive connection is begun and waited for in two steps ([`PendingConnection`]), so that the transfer command
//! can travel while the connection comes about.
//!
//! Not here: which address (`protocol::passive`, `pool::transfer`), and what the end of the data proves
//! (`protocol::transfer`).

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use socket2::{Domain, SockAddr, Socket, Type};

use super::deadlines::{after, remaining};
use super::error::ConnectionError;
use super::resolve::host_and_port;
use super::route::Tunnel;
use super::tally::{self, Moment};
use super::tls::TlsLogin;
use super::tls::layer::{Negotiated, Records};
use super::transport::Transport;

/// After the last byte of an upload the server has this long to close its side, before we close all of it.
const PEER_CLOSE: Duration = Duration::from_secs(5);

/// A TCP connection to the server's passive port that is still coming about, perhaps through a proxy (`route`).
#[derive(Debug)]
pub struct PendingConnection {
    socket: Socket,
    address: SocketAddr,
    tunnel: Option<Tunnel>,
    /// When it was begun.
    begun: Moment,
}

/// How far a connection has come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The server has not answered yet.
    Coming,
    /// It stands, and nothing has come on it.
    Standing,
    /// It failed, the server has ended it, or has sent something that nobody asked for.
    Spoilt,
}

impl PendingConnection {
    /// Sends the first packet of a connection to `address`, and does not wait for the answer.
    ///
    /// `receive_buffer` (bytes) bounds what a transfer that is stopped early has wasted; `None` lets the kernel grow it.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`] where the system refuses at once.
    pub fn start(address: SocketAddr, receive_buffer: Option<usize>) -> Result<Self, ConnectionError> {
        let start = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
            if let Some(len) = receive_buffer {
                // Before the connect: the window's scale is settled in the first packet.
                socket.set_recv_buffer_size(len)?;
            }
            socket.set_nonblocking(true)?;
            match socket.connect(&SockAddr::from(address)) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
                _ => Ok(socket),
            }
        };
        match start() {
            Ok(socket) => {
                tally::add(|tally| tally.data_connections += 1);
                Ok(Self { socket, address, tunnel: None, begun: Moment::now() })
            }
            Err(error) => Err(not_connected(address, &error)),
        }
    }

    /// The same, with a proxy at its other end that is to be told where to go on to.
    pub(super) fn through(self, tunnel: Tunnel) -> Self {
        Self { tunnel: Some(tunnel), ..self }
    }

    /// How far it has come. Does not wait.
    pub fn progress(&self) -> Progress {
        let unasked = PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut events = [PollFd::new(&self.socket, PollFlags::OUT | PollFlags::IN | PollFlags::RDHUP)];
        match poll(&mut events, Some(&Timespec::default())) {
            Ok(0) => Progress::Coming,
            Ok(_) if events.iter().any(|event| event.revents().intersects(unasked)) => Progress::Spoilt,
            Ok(_) => Progress::Standing,
            Err(_) => Progress::Coming,
        }
    }

    /// Says, as one who will only read, that nothing will come from us, where the connection stands; an error is told by
    /// [`Self::wait`].
    pub fn send_nothing(&self) {
        if self.tunnel.is_none() && self.progress() == Progress::Standing {
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Waits until the connection stands, and says whether it does.
    pub fn await_standing(&self, deadline: Instant) -> bool {
        let stood = self.progress() != Progress::Coming;
        let waited = wait_for(&self.socket, PollFlags::OUT, deadline);
        self.begun.answered().reach(!stood);
        waited.is_ok() && self.progress() == Progress::Standing
    }

    /// Waits until the connection stands.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`]: refused, unreachable, or not by the deadline.
    pub fn wait(self, deadline: Instant) -> Result<DataConnection, ConnectionError> {
        let stands = self.progress() != Progress::Coming;
        wait_for(&self.socket, PollFlags::OUT, deadline)
            .and_then(|()| self.socket.take_error()?.map_or(Ok(()), Err))
            .map_err(|error| not_connected(self.address, &error))?;
        if let Some(tunnel) = self.tunnel {
            tunnel.go_through(&self.socket, deadline)?;
        }
        let established = Transport::plain(self.socket.into());
        match established {
            Ok(transport) => {
                self.begun.answered().reach(!stands);
                // The server takes it when our side of the handshake has arrived, and what it sends then comes half a round
                // trip later.
                Ok(DataConnection { transport, is_cut: false, first_byte: self.begun.answered().answered() })
            }
            Err(error) => Err(not_connected(self.address, &error)),
        }
    }
}

/// A port of ours that the server connects to (EPRT, PORT).
#[derive(Debug)]
pub struct DataListener {
    listener: TcpListener,
    peer: IpAddr,
}

impl DataListener {
    /// Listens at `local`, on the first free port of `ports` or any. Only connections from `peer` are taken.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`] where no port is free.
    pub fn bind(local: IpAddr, ports: Option<RangeInclusive<u16>>, peer: IpAddr) -> Result<Self, ConnectionError> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in ports.unwrap_or(0..=0) {
            match TcpListener::bind((local, port)).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            }) {
                Ok(listener) => return Ok(Self { listener, peer }),
                Err(error) => last = error,
            }
        }
        Err(not_connected(SocketAddr::new(local, 0), &last))
    }

    /// Where we listen, for EPRT or PORT.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`] where the system does not say.
    pub fn local_address(&self) -> Result<SocketAddr, ConnectionError> {
        self.listener.local_addr().map_err(|error| not_connected(SocketAddr::new(self.peer, 0), &error))
    }

    /// Waits for the server to connect. Connections from elsewhere are closed and waited past: whoever
    /// guesses the port must not be able to read or write a file.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`] where it has not by the deadline.
    pub fn accept(self, deadline: Instant) -> Result<DataConnection, ConnectionError> {
        loop {
            let accepted = wait_for(&self.listener, PollFlags::IN, deadline).and_then(|()| self.listener.accept());
            match accepted {
                Ok((stream, from)) if from.ip().to_canonical() == self.peer.to_canonical() => {
                    return DataConnection::over(stream).map_err(|error| not_connected(from, &error));
                }
                Ok((_, from)) => tracing::warn!(%from, "data connection from a stranger refused"),
                // The one that was there has gone again.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {}
                Err(error) => return Err(not_connected(SocketAddr::new(self.peer, 0), &error)),
            }
        }
    }
}

/// The connection that the bytes of one transfer travel on.
#[derive(Debug)]
pub struct DataConnection {
    transport: Transport,
    /// It is encrypted, and ended without the peer's word.
    is_cut: bool,
    /// When something may come at the earliest, for counting round trips.
    first_byte: Moment,
}

impl DataConnection {
    fn over(stream: TcpStream) -> io::Result<Self> {
        tally::add(|tally| tally.data_connections += 1);
        tally::wait_round_trips(1);
        Ok(Self { transport: Transport::plain(stream)?, is_cut: false, first_byte: Moment::now() })
    }

    /// Encrypts it, and sends the first bytes of the handshake: at the earliest when the transfer's command is sent. Takes a ticket of
    /// `login`.
    ///
    /// # Errors
    /// [`ConnectionError::Tls`].
    pub fn start_tls(&mut self, login: &TlsLogin, timeout: Duration) -> Result<(), ConnectionError> {
        self.transport.start_tls(login, Records::Full, timeout).map_err(ConnectionError::Tls)
    }

    /// Brings the handshake to its end.
    ///
    /// # Errors
    /// [`ConnectionError::Tls`], [`ConnectionError::TimedOut`]; where the server refuses the transfer, it ends the connection too.
    pub fn finish_handshake(&mut self, login: &TlsLogin, deadline: Instant) -> Result<Negotiated, ConnectionError> {
        let hello = Moment::now();
        let negotiated = self
            .transport
            .finish_handshake(deadline)
            .map_err(|error| ConnectionError::from_handshake(&error, login))?;
        hello.answered().reach(true);
        // Servers begin when they have our last word on it.
        self.first_byte = hello.answered().answered();
        Ok(negotiated)
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.transport.is_encrypted()
    }

    /// Whether it is encrypted, and has ended in a way that anybody between could have made it end.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Reads what has come, waiting up to `timeout` for the first byte; 0 is the peer's end.
    ///
    /// # Errors
    /// [`ConnectionError::TimedOut`] after silence, [`ConnectionError::Io`] after a reset.
    pub fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, ConnectionError> {
        let (len, is_proved) = self
            .transport
            .read_to_proved_end(buffer, timeout)
            .map_err(|error| ConnectionError::from_io(&error, "reading the data connection"))?;
        self.is_cut |= !is_proved;
        self.first_byte.reach(false);
        tally::add(|tally| tally.received += len as u64);
        Ok(len)
    }

    /// Writes all of `bytes`; each piece of progress begins `timeout` anew.
    ///
    /// # Errors
    /// As for [`Self::read`]; how much of it arrived is not known.
    pub fn write_all(&mut self, mut bytes: &[u8], timeout: Duration) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let written = self
                .transport
                .write(bytes, timeout)
                .map_err(|error| ConnectionError::from_io(&error, "writing to the data connection"))?;
            tally::add(|tally| tally.sent += written as u64);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says that this was the end of the upload.
    ///
    /// # Errors
    /// [`ConnectionError::Io`] where the connection is gone.
    pub fn finish_writing(&mut self, timeout: Duration) -> Result<(), ConnectionError> {
        self.transport
            .finish_writing(timeout)
            .map_err(|error| ConnectionError::from_io(&error, "ending the data connection"))
    }

    /// Says, as one who only reads, that nothing will come from us. An error means that the connection is gone, which the
    /// next read tells.
    pub fn send_nothing(&mut self) {
        let _ = self.transport.finish_writing_unsaid();
    }

    /// Reads, briefly, to the peer's end after an upload, since closing with bytes unread sends RST, which can overtake the last
    /// data. With TLS 1.3 there always are some: the ticket for the next connection.
    pub fn read_to_the_end(&mut self) {
        let deadline = after(PEER_CLOSE);
        let mut scrap = [0_u8; 1024];
        while let Some(left) = remaining(deadline) {
            match self.read(&mut scrap, left) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }

    /// Throws the connection away, with all that is on the way.
    pub fn reset(self) {
        self.transport.reset_on_close();
    }

    /// Whether the peer has sent something, or ended. Does not wait.
    pub fn is_readable(&self) -> bool {
        self.transport.is_readable()
    }
}

fn not_connected(address: SocketAddr, error: &io::Error) -> ConnectionError {
    let reason = match error.kind() {
        io::ErrorKind::TimedOut => String::from("data connection timed out"),
        _ => format!("data connection: {error}"),
    };
    ConnectionError::NotConnected { host: host_and_port(&address.ip().to_string(), address.port()), reason }
}

/// Waits until `socket` is ready, or fails with [`io::ErrorKind::TimedOut`].
pub(super) fn wait_for(socket: &impl AsFd, ready: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = remaining(deadline).ok_or(io::ErrorKind::TimedOut)?;
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(socket, ready)], Some(&timeout)) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;

    const LONG: Duration = Duration::from_secs(5);

    fn pair() -> (DataConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pending = PendingConnection::start(listener.local_addr().unwrap(), Some(32 << 10)).unwrap();
        let theirs = listener.accept().unwrap().0;
        (pending.wait(after(LONG)).unwrap(), theirs)
    }

    #[test]
    fn upload_ends_in_order_and_the_other_way_stays_open() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(b"bytes", LONG).unwrap();
        ours.finish_writing(LONG).unwrap();
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"bytes");
        theirs.write_all(b"x").unwrap();
        assert_eq!(ours.read(&mut [0; 8], LONG).unwrap(), 1);
    }

    #[test]
    fn refused_passive_port_is_told_by_wait() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = PendingConnection::start(address, None).and_then(|pending| pending.wait(after(LONG))).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[test]
    fn connection_that_waits_for_its_transfer_shows_what_became_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = || {
            let pending = PendingConnection::start(listener.local_addr().unwrap(), None).unwrap();
            let theirs = listener.accept().unwrap().0;
            wait_for(&pending.socket, PollFlags::OUT, after(LONG)).unwrap();
            (pending, theirs)
        };
        let (standing, _theirs) = start();
        assert_eq!(standing.progress(), Progress::Standing);
        let (closed, theirs) = start();
        drop(theirs);
        wait_for(&closed.socket, PollFlags::IN, after(LONG)).unwrap();
        assert_eq!(closed.progress(), Progress::Spoilt);
        let (spoken, mut theirs) = start();
        theirs.write_all(b"x").unwrap();
        wait_for(&spoken.socket, PollFlags::IN, after(LONG)).unwrap();
        assert_eq!(spoken.progress(), Progress::Spoilt);
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if let Ok(refused) = PendingConnection::start(nobody, None) {
            assert_eq!(refused.progress(), Progress::Spoilt);
        }
    }

    #[test]
    fn who_only_reads_says_so_on_a_connection_that_stands_and_still_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pending = PendingConnection::start(listener.local_addr().unwrap(), None).unwrap();
        let mut theirs = listener.accept().unwrap().0;
        wait_for(&pending.socket, PollFlags::OUT, after(LONG)).unwrap();
        pending.send_nothing();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(pending.progress(), Progress::Standing);
        let mut ours = pending.wait(after(LONG)).unwrap();
        theirs.write_all(b"x").unwrap();
        assert_eq!(ours.read(&mut [0; 8], LONG).unwrap(), 1);
    }

    #[test]
    fn silent_data_connection_ends_with_its_timeout() {
        let (mut ours, _theirs) = pair();
        let error = ours.read(&mut [0; 8], Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, ConnectionError::TimedOut { .. }));
    }

    #[test]
    fn stranger_at_the_active_port_is_turned_away_and_the_server_still_taken() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let server = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let listener = DataListener::bind(local, None, server).unwrap();
        let address = listener.local_address().unwrap();
        let mut stranger = TcpStream::connect(address).unwrap();
        let from = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        from.bind(&SocketAddr::new(server, 0).into()).unwrap();
        from.connect(&address.into()).unwrap();
        let mut ours = listener.accept(after(LONG)).unwrap();
        ours.write_all(b"for the server", LONG).unwrap();
        assert_eq!(stranger.read(&mut [0; 8]).unwrap_or(0), 0);
        let mut server_side = TcpStream::from(from);
        let mut received = [0; 14];
        server_side.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"for the server");
    }

    #[test]
    fn server_that_never_connects_is_a_timeout() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listener = DataListener::bind(local, None, local).unwrap();
        let error = listener.accept(after(Duration::from_millis(20))).unwrap_err();
        assert!(error.to_string().contains("timed out"), "{error}");
    }
}

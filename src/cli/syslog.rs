//! The system's log, for mounts in the background: one datagram per line to `/dev/log` (RFC 3164, as glibc writes it).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Where syslogd and journald listen.
const SOCKET: &str = "/dev/log";
/// The facility "daemon".
const FACILITY: u8 = 3;

/// A connection to the log.
#[derive(Debug, Clone)]
pub(super) struct Syslog {
    socket: Arc<UnixDatagram>,
}

impl Syslog {
    /// Connects to the log.
    ///
    /// # Errors
    /// Nobody listens.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A log that is stuck must not hold up the filesystem: lines are lost then.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Arc::new(socket) })
    }
}

/// One line of one severity.
#[derive(Debug)]
pub(super) struct Line {
    syslog: Syslog,
    severity: u8,
}

impl io::Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let header = format!("<{}>ftpfs[{}]: ", FACILITY * 8 + self.severity, process::id());
        let message = [header.as_bytes(), text.trim_ascii_end()].concat();
        // A lost line cannot be reported anywhere.
        let _ = self.syslog.socket.send(&message);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { syslog: self.clone(), severity: severity(Level::INFO) }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line { syslog: self.clone(), severity: severity(*metadata.level()) }
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

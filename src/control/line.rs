//! A line from a socket and a line to it, bounded in bytes and in time.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A line as far as it has come.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    bytes: Vec<u8>,
}

impl LineReader {
    /// Reads on until the line is whole, and returns it without its end; `None` where `deadline` came first. What was read stays
    /// for the next call.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the peer ended before its line did, [`io::ErrorKind::InvalidData`] for more than
    /// `len_max` bytes, and the socket's own.
    pub(super) fn read(
        &mut self,
        stream: &UnixStream,
        len_max: usize,
        deadline: Instant,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut piece = [0; 4096];
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                self.bytes.truncate(end);
                return Ok(Some(std::mem::take(&mut self.bytes)));
            }
            if self.bytes.len() > len_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
            }
            let Some(left) = time_left(deadline) else { return Ok(None) };
            stream.set_read_timeout(Some(left))?;
            match (&mut &*stream).read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.bytes.extend_from_slice(piece.get(..len).unwrap_or_default()),
                Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Writes all of `bytes`.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where the peer does not take them before `deadline`; the socket's own.
pub(super) fn write(stream: &UnixStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let Some(left) = time_left(deadline) else { return Err(io::ErrorKind::TimedOut.into()) };
        stream.set_write_timeout(Some(left))?;
        match (&mut &*stream).write(bytes) {
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `None` where there is none; a timeout of zero would mean "for ever" to a socket.
fn time_left(deadline: Instant) -> Option<Duration> {
    Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn line_that_comes_in_pieces_is_joined() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut reader = LineReader::default();
        write(&theirs, b"sta", soon()).unwrap();
        assert_eq!(reader.read(&ours, 10, Instant::now() + Duration::from_millis(20)).unwrap(), None);
        write(&theirs, b"tus\n", soon()).unwrap();
        assert_eq!(reader.read(&ours, 10, soon()).unwrap().unwrap(), b"status");
    }

    #[test]
    fn line_without_end_is_refused_and_one_cut_off_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        write(&theirs, &[b'a'; 5000], soon()).unwrap();
        let kind = |result: io::Result<Option<Vec<u8>>>| result.unwrap_err().kind();
        assert_eq!(kind(LineReader::default().read(&ours, 100, soon())), io::ErrorKind::InvalidData);
        let (ours, theirs) = UnixStream::pair().unwrap();
        write(&theirs, b"cut", soon()).unwrap();
        drop(theirs);
        assert_eq!(kind(LineReader::default().read(&ours, 100, soon())), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn peer_that_does_not_read_costs_no_more_than_the_deadline() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let result = write(&ours, &vec![0; 16 << 20], Instant::now() + Duration::from_millis(50));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

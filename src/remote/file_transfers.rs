//! Whole files in one call, for programs that want an FTP client rather than a mount: what a script would do with
//! Python's ftplib. All of it over the methods of [`Remote`].

use std::io::{self, Read, Write};

use super::{Remote, RemoteError, RemoteResult, Stored, WriteMode};
use crate::protocol::RemotePath;

/// How much is moved at once.
const PIECE_LEN: usize = 128 << 10;

/// Why bytes could not be moved between the server and the program's own end.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The server's side.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The reader or writer that the program gave.
    #[error("this side of the transfer failed: {0}")]
    Local(#[from] io::Error),
}

/// Transfers of files in one call each; every [`Remote`] has them.
pub trait FileTransfers: Remote {
    /// Reads up to `len` bytes of a file from byte `offset` on; fewer only where the file ends.
    ///
    /// ```no_run
    /// use ftpfs::remote::{FileTransfers as _, FtpRemote, RemotePath, ServerOptions};
    ///
    /// let remote = FtpRemote::connect(ServerOptions::new("ftp.example.org"))?;
    /// let path = RemotePath::parse(b"/pub/backup.tar")?;
    /// let header = remote.read_range(&path, 257, 6)?;
    /// assert_eq!(header, b"ustar\0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Remote::open_read`] and [`super::ReadStream::read`].
    fn read_range(&self, path: &RemotePath, offset: u64, len: usize) -> RemoteResult<Vec<u8>> {
        let mut stream = self.open_read(path, offset)?;
        let mut bytes = Vec::new();
        let mut piece = vec![0; len.min(PIECE_LEN)];
        while bytes.len() < len {
            let room = (len - bytes.len()).min(piece.len());
            let Some(room) = piece.get_mut(..room) else { break };
            match stream.read(room)? {
                0 => break,
                count => bytes.extend_from_slice(room.get(..count).unwrap_or_default()),
            }
        }
        Ok(bytes)
    }

    /// Writes a file's bytes from `offset` on into `sink`, and returns how many. It returns without error only
    /// when the end is proved.
    ///
    /// # Errors
    /// What was written into `sink` before an error is good; a call with a greater `offset` goes on behind it.
    fn retrieve(&self, path: &RemotePath, offset: u64, sink: &mut dyn Write) -> Result<u64, TransferError> {
        let mut stream = self.open_read(path, offset)?;
        let mut piece = vec![0; PIECE_LEN];
        let mut total = 0;
        loop {
            match stream.read(&mut piece)? {
                0 => return Ok(total),
                count => {
                    sink.write_all(piece.get(..count).unwrap_or_default())?;
                    total += count as u64;
                }
            }
        }
    }

    /// Stores all that `source` gives as the file at `path`. A file that is there is replaced only when the new one is
    /// complete and its size proved; the old content is kept whatever happens before.
    ///
    /// ```no_run
    /// use ftpfs::remote::{FileTransfers as _, FtpRemote, RemotePath, ServerOptions};
    ///
    /// let remote = FtpRemote::connect(ServerOptions::new("ftp.example.org"))?;
    /// let stored = remote.store(&RemotePath::parse(b"/incoming/hello.txt")?, &mut "hello\n".as_bytes())?;
    /// assert_eq!(stored.size, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Nothing has changed on the server then, as far as it could be reached.
    fn store(&self, path: &RemotePath, source: &mut dyn Read) -> Result<Stored, TransferError> {
        self.write_from(path, WriteMode::Replace { mode: None }, source)
    }

    /// Appends all that `source` gives to the file at `path`, which has `size` bytes.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] and [`RemoteError::Changed`]: nothing has changed. After any other error some of
    /// the new bytes may stand behind the old ones.
    fn append(&self, path: &RemotePath, size: u64, source: &mut dyn Read) -> Result<Stored, TransferError> {
        self.write_from(path, WriteMode::Append { size }, source)
    }

    /// Writes all that `source` gives in one of the three ways.
    ///
    /// # Errors
    /// As for [`Remote::open_write`] and [`super::WriteStream::finish`].
    fn write_from(&self, path: &RemotePath, mode: WriteMode, source: &mut dyn Read) -> Result<Stored, TransferError> {
        let mut stream = self.open_write(path, mode)?;
        let mut piece = vec![0; PIECE_LEN];
        loop {
            match source.read(&mut piece) {
                Ok(0) => return Ok(stream.finish()?),
                Ok(count) => stream.write_all(piece.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<R: Remote + ?Sized> FileTransfers for R {}

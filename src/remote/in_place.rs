//! Writing into a file that is there: behind its end (APPE), or from an offset on (REST and STOR).
//!
//! RFC 3659 §5 says of REST before STOR only where the bytes go. What lies behind them some servers keep (vsftpd, ProFTPD,
//! pyftpdlib) and some cut off (Pure-FTPd, libunftp), some refuse it with REST STREAM in FEAT (ProFTPD as it is delivered), and one that
//! forgets the REST would cost the whole file. The first byte of a file cannot be written in place at all: that would be REST 0. So nothing of this is sent for a file that is not ours before the server has
//! shown, on a file that is, what it does. One proof serves for the rest of the connection.
//!
//! Not here: the transfer and the proof of what was written (`store`).

use std::sync::Arc;
use std::time::Instant;

use super::WriteMode;
use super::asked::Question;
use super::error::{RemoteError, RemoteResult};
use super::read_range::open_read;
use super::server::{Server, temporary_path};
use super::store::Way;
use crate::pool::{PoolError, Verdict};
use crate::protocol::{RemotePath, Reply};

const APPENDING: RemoteError = RemoteError::Unsupported { what: "appending to files" };
const PATCHING: RemoteError = RemoteError::Unsupported { what: "writing in the middle of files" };
const CUTTING: RemoteError = RemoteError::Unsupported { what: "making files shorter in place" };

/// The file that is tried on, where the second text goes, and what then tells which kind of server it is.
const TRIED: &[u8] = b"0123456789";
const TRIED_AT: u64 = 4;
const TRIED_OVER: &[u8] = b"ab";
const KEPT_TAIL: &[u8] = b"0123ab6789";
const CUT_TAIL: &[u8] = b"0123ab";

impl Server {
    /// How bytes get into the file at `path` in one of the modes that change it in place.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where the server is not proved able to; what proving it failed with.
    pub(super) fn way_in_place(
        self: &Arc<Self>,
        path: &RemotePath,
        mode: WriteMode,
        deadline: Instant,
    ) -> RemoteResult<Way> {
        match mode {
            WriteMode::Create | WriteMode::Replace { .. } => Ok(Way::from_the_start(path)),
            WriteMode::Append { size } => self.way_behind(path, size, deadline),
            // REST 0 is as none, and STOR alone empties the file.
            WriteMode::Patch { offset: 0, .. } | WriteMode::Tail { offset: 0, .. } => Err(PATCHING),
            WriteMode::Patch { offset, .. } => {
                self.prove_restart_store(path, deadline)?;
                if !self.profile().restart_keeps_tail.is_yes() {
                    return Err(PATCHING);
                }
                Ok(Way::restarted(path, offset))
            }
            WriteMode::Tail { offset, size, new_size } => {
                self.prove_restart_store(path, deadline)?;
                if new_size < size && !self.profile().restart_keeps_tail.is_no() {
                    return Err(CUTTING);
                }
                Ok(Way::restarted(path, offset))
            }
        }
    }

    /// How bytes get behind the `size` bytes of the file at `path`: APPE, or else REST and STOR.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where the server is proved able to do neither; what proving it failed with.
    pub(super) fn way_behind(self: &Arc<Self>, path: &RemotePath, size: u64, deadline: Instant) -> RemoteResult<Way> {
        match self.prove_append(path, deadline) {
            Ok(()) => Ok(Way::behind(path)),
            Err(RemoteError::Unsupported { .. }) => match self.prove_restart_store(path, deadline) {
                Ok(()) => Ok(Way::restarted(path, size)),
                Err(RemoteError::Unsupported { .. }) => Err(APPENDING),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Makes sure that APPE appends, with a file of our own beside `path`: one that replaced instead would cost the old content.
    fn prove_append(self: &Arc<Self>, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        match self.profile().append.get() {
            Verdict::Yes => return Ok(()),
            Verdict::No => return Err(APPENDING),
            Verdict::Unknown => {}
        }
        let tried = self.try_on_own_file(path, b"a", Way::behind, b"b", deadline)?;
        self.profile().append.learn_if(tried.as_deref() == Some(b"ab"));
        if self.profile().append.is_yes() { Ok(()) } else { Err(APPENDING) }
    }

    /// Makes sure that REST and STOR writes from the offset on and leaves what lies before it, with a file of our own beside
    /// `path`; and finds out what becomes of what lies behind.
    fn prove_restart_store(self: &Arc<Self>, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        let profile = self.profile();
        match profile.restart_store.get() {
            Verdict::Yes => return Ok(()),
            Verdict::No => return Err(PATCHING),
            Verdict::Unknown => {}
        }
        let restarted = |path: &RemotePath| Way::restarted(path, TRIED_AT);
        let tried = self.try_on_own_file(path, TRIED, restarted, TRIED_OVER, deadline)?;
        profile.restart_keeps_tail.learn_if(tried.as_deref() == Some(KEPT_TAIL));
        profile.restart_store.learn_if(matches!(tried.as_deref(), Some(KEPT_TAIL | CUT_TAIL)));
        if profile.restart_store.is_yes() { Ok(()) } else { Err(PATCHING) }
    }

    /// Stores `first` in a file of our own, then `second` in the `way` that is to be tried; returns what the file holds then.
    /// `None`: the server refused that way.
    fn try_on_own_file(
        self: &Arc<Self>,
        beside: &RemotePath,
        first: &[u8],
        way: impl Fn(&RemotePath) -> Way,
        second: &[u8],
        deadline: Instant,
    ) -> RemoteResult<Option<Vec<u8>>> {
        let directory = beside.parent().ok_or(RemoteError::IsDirectory)?;
        let path = temporary_path(&directory);
        let tried = self.put(&Way::from_the_start(&path), first, deadline).map_err(RemoteError::from).and_then(|()| {
            match self.put(&way(&path), second, deadline) {
                Ok(()) => self.read_few(&path, first.len() + second.len(), deadline).map(Some),
                // ProFTPD says 451 where restarted uploads are switched off.
                Err(PoolError::Refused { reply, .. } | PoolError::Aborted { reply }) if !is_for_now(&reply) => {
                    tracing::info!(%reply, "the server does not write into files that are there");
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        });
        self.discard(&path, deadline);
        tried
    }

    /// What a small file of our own holds; one byte more than is expected at most.
    fn read_few(self: &Arc<Self>, path: &RemotePath, expected_len: usize, deadline: Instant) -> RemoteResult<Vec<u8>> {
        let mut stream = open_read(self, path, 0, &mut Question::none(), deadline)?;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 64]);
        while bytes.len() <= expected_len {
            match stream.read(&mut buffer)? {
                0 => break,
                count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
        Ok(bytes)
    }
}

/// Whether a refusal says nothing of the next time: connections and space come and go.
fn is_for_now(reply: &Reply) -> bool {
    matches!(reply.code().number(), 421 | 425 | 426 | 452 | 552)
}

//! What is fetched ahead: on a connection that nobody waits for, and not at all where there is none.
//!
//! Nothing here is tried again. A guess that fails has cost nobody anything, and whoever comes to need what it was about asks by
//! the usual way, with all its attempts.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::error::{RemoteError, RemoteResult};
use super::known::BRIEF_ENTRIES_MAX;
use super::server::Server;
use super::{Listing, ReadStream, counted, read_range};
use crate::pool::{Lease, OperationKind, Stay, Verdict};
use crate::protocol::command::Command;
use crate::protocol::{Entry, RemotePath};

/// How long a connection is waited for that was given back for a moment.
const PATIENCE_AGAIN: Duration = Duration::from_secs(1);

/// What a connection is wanted for that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand<'a> {
    /// To list a directory.
    List(&'a RemotePath),
    /// To fetch a small file.
    Fetch,
    /// To read what may be long.
    Read,
}

/// A connection lent for one thing that nobody waits for. Dropping it gives it back.
pub trait IdleConnection: Send {
    /// Lists a directory, in one attempt.
    ///
    /// # Errors
    /// As for [`super::Remote::list`]; [`RemoteError::Interrupted`] where it is a large one, and somebody has come to need the connection.
    fn list(self: Box<Self>, directory: &RemotePath) -> RemoteResult<Listing>;

    /// Fetches a whole file that should have `size` bytes, in one attempt, and asks behind it what it is then, where that takes no
    /// longer.
    ///
    /// # Errors
    /// [`RemoteError::Changed`] where it has another size, [`RemoteError::Interrupted`] where somebody has come to need the connection;
    /// as for [`super::Remote::open_read`], without a look at what a refusal means.
    fn fetch(self: Box<Self>, path: &RemotePath, size: u64) -> RemoteResult<Fetched>;

    /// Starts reading a range of a file, in one attempt; as for [`super::Remote::open_range`].
    ///
    /// # Errors
    /// As for [`super::Remote::open_read`], without a look at what a refusal means; [`RemoteError::Unsupported`] where it cannot be proved that
    /// the server can begin at an offset.
    fn open_range(self: Box<Self>, path: &RemotePath, range: Range<u64>) -> RemoteResult<Box<dyn ReadStream>>;
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// All bytes of it; that there are no more was proved.
    pub bytes: Vec<u8>,
    /// What the server said of it behind that. `None` where it is still to be asked.
    pub entry: Option<Entry>,
}

/// A session of the pool, lent for a guess.
struct FtpIdleConnection {
    server: Arc<Server>,
    lease: Lease,
}

/// A connection for a guess, where there is one to be had.
pub(super) fn idle_connection(
    server: &Arc<Server>,
    errand: Errand,
    patience: Duration,
) -> Option<Box<dyn IdleConnection>> {
    let stay = match errand {
        Errand::List(directory) => server.stay_of_listing(directory),
        Errand::Fetch => Stay::Brief,
        Errand::Read => Stay::Long,
    };
    let lease = server.pool.idle(stay, patience)?;
    Some(Box::new(FtpIdleConnection { server: Arc::clone(server), lease }))
}

impl IdleConnection for FtpIdleConnection {
    fn list(mut self: Box<Self>, directory: &RemotePath) -> RemoteResult<Listing> {
        let lease = &mut self.lease;
        let listed = self.server.counted(OperationKind::List, |deadline| {
            self.server.list_on(lease, directory, deadline, &mut |_| {}).map_err(RemoteError::from)
        });
        if let Err(RemoteError::Interrupted { .. }) = listed
            && lease.is_wanted()
        {
            // It was given up because it is large. The next one shall not be begun as if it were not.
            self.server.known.note_entries(directory, BRIEF_ENTRIES_MAX + 1);
        }
        let listing = listed?;
        // The session is somebody else's before anything is cleared away on the one that all share.
        let Self { server, lease } = *self;
        drop(lease);
        server.clear_leftovers(directory, &listing);
        Ok(listing)
    }

    fn fetch(self: Box<Self>, path: &RemotePath, size: u64) -> RemoteResult<Fetched> {
        let Self { server, mut lease } = *self;
        let questions = server.file_questions(path);
        let (bytes, answers) = server.counted(OperationKind::Read, |deadline| {
            let mut transfer = lease.start_and_ask(&[], Command::Retr(path.clone()), &questions, deadline)?;
            let bytes = read_whole(size, |rest| match lease.is_wanted() {
                true => Err(RemoteError::Interrupted { reason: "given up for somebody who waits".into() }),
                false => Ok(transfer.read(rest)?),
            })?;
            RemoteResult::Ok((bytes, transfer.answers()))
        })?;
        drop(lease);
        Ok(Fetched { entry: server.file_told(path, &answers), bytes })
    }

    fn open_range(self: Box<Self>, path: &RemotePath, range: Range<u64>) -> RemoteResult<Box<dyn ReadStream>> {
        let Self { server, mut lease } = *self;
        counted::read(&server, || {
            if range.start > 0 && server.profile().restart.get() == Verdict::Unknown {
                // The proof takes sessions, and may find this one to be the only one there is.
                drop(lease);
                server.prove_restart(path, None, server.deadline())?;
                let given_up = RemoteError::Interrupted { reason: "somebody else has the connection".into() };
                lease = server.pool.idle(Stay::Long, PATIENCE_AGAIN).ok_or(given_up)?;
            }
            read_range::open_range_on(&server, lease, path, range.start)
        })
    }
}

/// All `size` bytes that `read` gives.
///
/// # Errors
/// [`RemoteError::Changed`] where there are fewer or more; those of `read`.
pub(super) fn read_whole(size: u64, mut read: impl FnMut(&mut [u8]) -> RemoteResult<usize>) -> RemoteResult<Vec<u8>> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    // One byte more than there should be: the end is proved by the read that brings nothing.
    let mut bytes = vec![0; size.saturating_add(1)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    if filled != size {
        return Err(RemoteError::Changed);
    }
    bytes.truncate(size);
    Ok(bytes)
}

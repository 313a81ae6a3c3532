//! What is fetched ahead: on a connection that nobody waits for, and not at all where there is none.
//!
//! Nothing here is tried again. A guess that fails has cost nobody anything, and whoever comes to need what it was about asks by
//! the usual way, with all its attempts.

use std::sync::Arc;
use std::time::Duration;

use super::error::{RemoteError, RemoteResult};
use super::server::Server;
use super::{Listing, ReadStream, counted, read_range};
use crate::pool::{Lease, OperationKind};
use crate::protocol::RemotePath;

/// A connection lent for one thing that nobody waits for. Dropping it gives it back.
pub trait IdleConnection: Send {
    /// Lists a directory, in one attempt.
    ///
    /// # Errors
    /// As for [`super::Remote::list`].
    fn list(self: Box<Self>, directory: &RemotePath) -> RemoteResult<Listing>;

    /// Starts reading a file from its beginning, in one attempt.
    ///
    /// # Errors
    /// As for [`super::Remote::open_read`], without a look at what a refusal means.
    fn open_read(self: Box<Self>, path: &RemotePath) -> RemoteResult<Box<dyn ReadStream>>;
}

/// A session of the pool, lent for a guess.
struct FtpIdleConnection {
    server: Arc<Server>,
    lease: Lease,
}

/// Takes a connection that nobody needs, waiting for its login at most for `patience`.
pub(super) fn idle_connection(server: &Arc<Server>, patience: Duration) -> Option<Box<dyn IdleConnection>> {
    let lease = server.pool.idle(patience)?;
    Some(Box::new(FtpIdleConnection { server: Arc::clone(server), lease }))
}

impl IdleConnection for FtpIdleConnection {
    fn list(mut self: Box<Self>, directory: &RemotePath) -> RemoteResult<Listing> {
        let lease = &mut self.lease;
        let listing = self.server.counted(OperationKind::List, |deadline| {
            self.server.list_on(lease, directory, deadline).map_err(RemoteError::from)
        })?;
        // The session is somebody else's before anything is cleared away on the one that all share.
        let Self { server, lease } = *self;
        drop(lease);
        server.clear_leftovers(directory, &listing);
        Ok(listing)
    }

    fn open_read(self: Box<Self>, path: &RemotePath) -> RemoteResult<Box<dyn ReadStream>> {
        let Self { server, lease } = *self;
        counted::read(&server, || read_range::open_read_on(&server, lease, path))
    }
}

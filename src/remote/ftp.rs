//! [`FtpRemote`]: the operations of this folder, each in a file of its own, behind the trait [`Remote`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::asked::Question;
use super::error::RemoteResult;
use super::server::Server;
use super::{
    Abilities, Connections, Errand, Extent, IdleConnection, Listing, ReadStream, Remote, Space, Told, WriteMode,
    WriteStream, counted, idle, ranges, read_range, store,
};
use crate::pool::{OperationKind, Pool, ServerOptions, TlsFindings, Verdict};
use crate::protocol::{Entry, Name, RemotePath, Timestamp};

/// A server reached by FTP. Any number of threads may use it at once; clones share their connections.
///
/// ```no_run
/// use ftpfs::remote::{FtpRemote, Remote as _, RemotePath, ServerOptions};
///
/// let remote = FtpRemote::connect(ServerOptions::new("ftp.example.org"))?;
/// for entry in remote.list(&RemotePath::root())?.entries {
///     println!("{} {:?}", entry.name, entry.size);
/// }
/// # Ok::<(), ftpfs::remote::RemoteError>(())
/// ```
#[derive(Clone)]
pub struct FtpRemote {
    server: Arc<Server>,
}

impl FtpRemote {
    /// Logs in once, so that a wrong host or password shows at once.
    ///
    /// # Errors
    /// [`super::RemoteError::LoginRefused`], [`super::RemoteError::Unreachable`], [`super::RemoteError::TimedOut`].
    pub fn connect(options: ServerOptions) -> RemoteResult<Self> {
        let pool = Pool::connect(options)?;
        let profile = pool.profile();
        let features = profile.features();
        // FEAT lies in both directions, but what a server leaves out there is rarely worth a round trip.
        if !features.is_empty() && !features.mlst() {
            profile.mlst.learn(Verdict::No);
            profile.mlsd.learn_if(features.has("MLSD"));
        }
        Ok(Self { server: Arc::new(Server { pool, known: Arc::default() }) })
    }

    /// The directory that the account begins in: what a URL's path is relative to (RFC 1738 §3.2.2).
    pub fn login_directory(&self) -> RemotePath {
        self.server.profile().login_directory()
    }

    /// What the server has shown of its TLS; nothing in clear text.
    pub fn tls(&self) -> &TlsFindings {
        &self.server.profile().tls
    }

    /// The server's greeting.
    pub fn banner(&self) -> String {
        self.server.profile().banner().to_owned()
    }
}

impl fmt::Debug for FtpRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FtpRemote").field("pool", &self.server.pool).finish_non_exhaustive()
    }
}

impl Remote for FtpRemote {
    fn list(&self, directory: &RemotePath) -> RemoteResult<Listing> {
        self.list_in_parts(directory, &mut |_| {})
    }

    fn list_in_parts(&self, directory: &RemotePath, part: &mut dyn FnMut(&[Entry])) -> RemoteResult<Listing> {
        self.server.counted(OperationKind::List, |deadline| {
            let listing = self.server.list_in_parts(directory, deadline, part)?;
            self.server.clear_leftovers(directory, &listing);
            Ok(listing)
        })
    }

    fn stat(&self, path: &RemotePath) -> RemoteResult<Entry> {
        self.server.counted(OperationKind::Stat, |deadline| self.server.stat(path, deadline))
    }

    fn times(&self, directory: &RemotePath, names: &[Name]) -> RemoteResult<Vec<Option<Timestamp>>> {
        self.server.counted(OperationKind::Times, |deadline| self.server.times(directory, names, deadline))
    }

    fn open_read(&self, path: &RemotePath, offset: u64) -> RemoteResult<Box<dyn ReadStream>> {
        Ok(self.open_and_ask(path, Extent::From(offset), None, &|| false)?.0)
    }

    fn open_read_whole(&self, path: &RemotePath) -> RemoteResult<Box<dyn ReadStream>> {
        Ok(self.open_and_ask(path, Extent::Whole, None, &|| false)?.0)
    }

    fn open_range(&self, path: &RemotePath, range: Range<u64>) -> RemoteResult<Box<dyn ReadStream>> {
        Ok(self.open_and_ask(path, Extent::Range(range), None, &|| false)?.0)
    }

    fn open_and_ask(
        &self,
        path: &RemotePath,
        extent: Extent,
        size: Option<u64>,
        is_due: &dyn Fn() -> bool,
    ) -> RemoteResult<(Box<dyn ReadStream>, Option<Told>)> {
        let (server, deadline, mut question) = (&self.server, self.server.deadline(), Question::new(size, is_due));
        let stream = counted::read(server, || match &extent {
            Extent::From(offset) => read_range::open_read(server, path, *offset, &mut question, deadline),
            Extent::Whole => read_range::open_read_whole(server, path, &mut question, deadline),
            Extent::Range(range) => match ranges::open(server, path, range, &mut question, deadline)? {
                Some(stream) => Ok(stream),
                None => read_range::open_read(server, path, range.start, &mut question, deadline),
            },
        })?;
        Ok((stream, question.told(server, path)?))
    }

    fn tells_with_reads(&self, path: &RemotePath) -> bool {
        self.server.tells_with_reads(path)
    }

    fn open_write(&self, path: &RemotePath, mode: WriteMode) -> RemoteResult<Box<dyn WriteStream>> {
        let deadline = self.server.deadline();
        counted::write(&self.server, || store::open_write(&self.server, path, mode, deadline))
    }

    fn open_whole(&self, path: &RemotePath, mode: WriteMode, bytes: &[u8]) -> RemoteResult<Box<dyn WriteStream>> {
        let deadline = self.server.deadline();
        counted::write(&self.server, || store::open_whole(&self.server, path, mode, bytes, deadline))
    }

    fn rename(&self, from: &RemotePath, to: &RemotePath) -> RemoteResult<()> {
        self.server.counted(OperationKind::Rename, |deadline| self.server.rename(from, to, deadline))
    }

    fn remove_file(&self, path: &RemotePath) -> RemoteResult<()> {
        self.server.counted(OperationKind::Remove, |deadline| self.server.remove_file(path, deadline))
    }

    fn remove_directory(&self, path: &RemotePath) -> RemoteResult<()> {
        self.server.counted(OperationKind::Remove, |deadline| self.server.remove_directory(path, deadline))
    }

    fn make_directory(&self, path: &RemotePath) -> RemoteResult<()> {
        self.server.counted(OperationKind::MakeDirectory, |deadline| self.server.make_directory(path, deadline))
    }

    fn make_symlink(&self, path: &RemotePath, target: &[u8]) -> RemoteResult<()> {
        self.server.counted(OperationKind::Set, |deadline| self.server.make_symlink(path, target, deadline))
    }

    fn set_modified(&self, path: &RemotePath, time: Timestamp) -> RemoteResult<Timestamp> {
        self.server.counted(OperationKind::Set, |deadline| self.server.set_modified(path, time, deadline))
    }

    fn set_mode(&self, path: &RemotePath, mode: u32) -> RemoteResult<()> {
        self.server.counted(OperationKind::Set, |deadline| self.server.set_mode(path, mode, deadline))
    }

    fn space(&self, directory: &RemotePath) -> RemoteResult<Option<Space>> {
        self.server.counted(OperationKind::Space, |deadline| self.server.space(directory, deadline))
    }

    fn prepare(&self, transfers: usize) {
        self.server.pool.prepare(transfers);
    }

    fn idle_connection(&self, errand: Errand, patience: Duration) -> Option<Box<dyn IdleConnection>> {
        idle::idle_connection(&self.server, errand, patience)
    }

    fn connections(&self) -> Option<Connections> {
        Some(self.server.pool.connections())
    }

    fn abilities(&self) -> Abilities {
        let profile = self.server.profile();
        Abilities {
            listing_has_seconds: !profile.mlsd.is_no(),
            exact_times: !profile.mdtm.is_no() || !profile.mlst.is_no(),
            set_mode: !profile.site_chmod.is_no(),
            set_modified: super::set_modified::is_any_way_left(profile),
            restart: !profile.restart.is_no(),
        }
    }
}

//! The server as a store of files: all that the layers above know of FTP.
//!
//! Every method of [`Remote`] asks the server and may wait for it, up to the deadlines it was made with; none
//! of them hangs. [`FtpRemote`] is the real one; tests put one in memory in its place.
//!
//! A program that wants an FTP client uses this module alone: [`FtpRemote::connect`] with [`ServerOptions`], then the methods
//! of [`Remote`] and [`FileTransfers`]. What they take and give from the layers below is named here again.

mod asked;
mod counted;
pub mod error;
mod file_transfers;
mod ftp;
mod idle;
mod in_place;
mod known;
mod leftovers;
mod list;
mod make_directory;
pub mod memory;
mod names;
mod ranges;
mod read_range;
mod refusal;
mod remove;
mod rename;
mod restart;
mod server;
mod set_attributes;
mod set_mode;
mod set_modified;
mod space;
mod stat;
mod status_listing;
mod store;
mod symlink;
mod times;

use std::ops::Range;
use std::time::Duration;

pub use crate::pool::{Connections, OperationCount, OperationKind, TrafficCount, counted_as};
pub use asked::Told;
pub use error::{RemoteError, RemoteResult};
pub use file_transfers::{FileTransfers, TransferError};
pub use ftp::FtpRemote;
pub use idle::{Errand, Fetched, IdleConnection};
pub use store::BRIEF_LEN_MAX;

pub use crate::connection::tls::{Fingerprint, TlsIdentity};
pub use crate::connection::{Deadlines, TlsClient, TlsError, TlsOptions, Trust};
pub use crate::pool::{DataMode, Encryption, PassiveAddressChoice, PassiveCommand, ServerOptions, TlsFindings};
pub use crate::protocol::{Entry, EntryKind, Name, NameError, Precision, RemotePath, Secret, Timestamp};

/// A directory's entries as one answer of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The entries, in the server's order; without `.` and `..`, each name once.
    pub entries: Vec<Entry>,
    /// Whether a name that is not in `entries` is proved absent. False where the server said, or a round number
    /// of entries suggests, that it cut the listing short, or hides names that begin with a dot.
    pub complete: bool,
    /// Whether the server said that it cut the listing short: there are names that are not in `entries`.
    pub cut_short: bool,
}

/// How the bytes given to [`Remote::open_write`] become the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// A file that does not exist yet: stored under its own name.
    Create,
    /// Whatever is there is replaced, but only once the new content is complete: stored under a temporary
    /// name beside it and renamed. A connection lost on the way costs nothing of the old content.
    Replace {
        /// The permission bits of the file that is replaced, where they are known: the new one gets them before it is
        /// renamed, so that a script stays executable. A server that cannot set them keeps its default; that is no error.
        mode: Option<u32>,
    },
    /// The bytes go behind the `size` bytes that are there, where the server is proved able to
    /// ([`RemoteError::Unsupported`] otherwise; nothing has happened then).
    Append {
        /// The file's size as last seen; another one is [`RemoteError::Changed`].
        size: u64,
    },
    /// The bytes go over those from `offset` on, in the file itself, and all others stay, where the server is proved able to
    /// ([`RemoteError::Unsupported`] otherwise; nothing has happened then). They must end within the file. One that breaks
    /// off leaves part of them new and part of them old. The size does not change, so that they are read back to be proved.
    Patch {
        /// Where the first of the bytes goes; from the very start on is never possible.
        offset: u64,
        /// The file's size as last seen; another one is [`RemoteError::Changed`].
        size: u64,
    },
    /// The bytes become all that the file has from `offset` on, where the server is proved able to
    /// ([`RemoteError::Unsupported`] otherwise; nothing has happened then). One that breaks off has cut the file there, or has left
    /// part of the old bytes: whoever begins it must be able to repeat it.
    Tail {
        /// Where the first of the bytes goes; not behind the end, and never the very start.
        offset: u64,
        /// The file's size as last seen; another one is [`RemoteError::Changed`].
        size: u64,
        /// The size it is to have: servers that keep what lies behind the bytes that are sent cannot make a file shorter.
        new_size: u64,
    },
}

/// What a file is to have besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// A modification time.
    pub time: Option<Timestamp>,
    /// Permission bits; those of a file that is replaced are in its [`WriteMode`].
    pub mode: Option<u32>,
}

/// What was proved together with the end of a write, beside the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// The content.
    pub stored: Stored,
    /// The modification time that was asked for, as the file has it now; `None` where it is still to be set ([`Remote::set_modified`]).
    pub time: Option<Timestamp>,
    /// The permission bits that were asked for, where they are set.
    pub mode: Option<u32>,
}

impl From<Stored> for Finished {
    fn from(stored: Stored) -> Self {
        Self { stored, time: None, mode: None }
    }
}

impl WriteMode {
    /// The permission bits that the file gets, where it is told them.
    pub(crate) fn mode_given(self) -> Option<u32> {
        match self {
            Self::Replace { mode } => mode,
            Self::Create | Self::Append { .. } | Self::Patch { .. } | Self::Tail { .. } => None,
        }
    }
}

/// What the server has proved to hold when a write is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The file's size as the server says it, equal to what was written.
    pub size: u64,
    /// The modification time the server gave it, where one more question was not needed to know it.
    pub modified: Option<Timestamp>,
}

/// Free and total space of the account, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be stored.
    pub available: u64,
    /// Bytes in all, where the server says (quota).
    pub total: Option<u64>,
}

/// What this server can do, as proved or announced so far; for choices, never instead of an error's check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// Listings give times to the second (MLSD), so [`Remote::times`] need not be asked.
    pub listing_has_seconds: bool,
    /// One file's exact time can be asked for (MDTM or MLST).
    pub exact_times: bool,
    /// Permission bits can be changed (SITE CHMOD); false once the server has refused it as unknown.
    pub set_mode: bool,
    /// Times can be set by one of the known ways; false once all were refused as unknown.
    pub set_modified: bool,
    /// RETR can begin at an offset (REST).
    pub restart: bool,
}

/// What is wanted of a file, as [`Remote::open_and_ask`] begins to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// From this byte on: [`Remote::open_read`].
    From(u64),
    /// All of it: [`Remote::open_read_whole`].
    Whole,
    /// These bytes: [`Remote::open_range`].
    Range(Range<u64>),
}

/// One RETR under way. Dropping it stops the transfer.
pub trait ReadStream: Send {
    /// Reads the next bytes into `buffer` and returns how many; waits at most for the data deadline.
    ///
    /// 0 means the end, and is only said when it is proved: the data connection ended in order *and* the completion
    /// reply came. Whether the count agrees with the size is for the caller, who knows which size it expects.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; bytes handed out before stay valid, and a new stream may continue behind them.
    fn read(&mut self, buffer: &mut [u8]) -> RemoteResult<usize>;

    /// Whether somebody else waits for this connection and none is free: a stream that nobody waits for
    /// should be dropped, another one at the next block boundary.
    fn is_wanted(&self) -> bool;

    /// Calls `wake` (from any thread, at least once) when [`Self::is_wanted`] turns true, so that a stream parked
    /// without reading hears of it. `wake` must not block.
    fn on_wanted(&mut self, wake: Box<dyn Fn() + Send + Sync>);
}

/// One STOR or APPE under way. Dropping it without success of [`Self::finish`] abandons the write: a file that was to be
/// replaced keeps its old content; a new one may be left incomplete and is removed again if the server can be reached.
pub trait WriteStream: Send {
    /// Sends all of `bytes`, waiting while the server is slower than the caller, at most for the data deadline.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; the stream can then be dropped, or taken up again ([`Self::resume`]).
    fn write_all(&mut self, bytes: &[u8]) -> RemoteResult<()>;

    /// Ends the transfer, and returns only once it is proved: completion reply and equal size, and for
    /// [`WriteMode::Replace`] the rename as well. To be called once, and again after [`Self::resume`].
    ///
    /// # Errors
    /// Any of [`RemoteError`]: the content is then not proved to be there. For `Replace` the old one still is.
    fn finish(&mut self) -> RemoteResult<Stored>;

    /// As [`Self::finish`], and sets of what is wished for as much as that makes cheaper; [`Finished`] has what is set.
    ///
    /// # Errors
    /// As for [`Self::finish`]. That something could not be set is none.
    fn finish_with(&mut self, _wishes: Wishes) -> RemoteResult<Finished> {
        Ok(self.finish()?.into())
    }

    /// Takes up a write that failed, behind what the server says it has of it; returns how many bytes of this stream that is, and
    /// the next to be written is the one behind them. Source: RFC 959 §4.1.3 (APPE).
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where the server is not proved able to append; [`RemoteError::Changed`] where what is there
    /// is not what was sent; any other, after which it may be called again.
    fn resume(&mut self) -> RemoteResult<u64>;

    /// What is left to be done has to wait for somebody: a connection over which nothing is on its way goes to others meanwhile.
    fn give_way(&mut self) {}

    /// Whether somebody else waits for this connection and none is free: a stream that has nothing to send should be dropped.
    fn is_wanted(&self) -> bool;
}

/// A server, as files and directories. See the module's documentation.
///
/// Implementations retry by themselves what is safe to send twice (reads, listings, questions) after a lost
/// connection, within their deadline; what is not (rename, remove, make) they resolve by looking at the result.
pub trait Remote: Send + Sync {
    /// Lists a directory.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`] and [`RemoteError::NotDirectory`] only where proved; never an empty listing for a failure.
    fn list(&self, directory: &RemotePath) -> RemoteResult<Listing>;

    /// As [`Self::list`], and gives `part` entries as they come, where they are known by then as the listing will have them. They prove
    /// nothing but themselves: not that the others are absent, nor that the listing will come to its end. Where it is begun again they come again.
    ///
    /// # Errors
    /// As for [`Self::list`], whatever was given to `part`.
    fn list_in_parts(&self, directory: &RemotePath, _part: &mut dyn FnMut(&[Entry])) -> RemoteResult<Listing> {
        self.list(directory)
    }

    /// Asks for one entry. Its name is the path's last one (for the root: none is invented, `root` is used).
    ///
    /// Servers differ in what they say of a symbolic link: some describe what it points to (proftpd, pyftpdlib), and a
    /// link that points nowhere is then found in the listing of its directory. Only [`Self::list`] tells links for certain.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`] only where proved.
    fn stat(&self, path: &RemotePath) -> RemoteResult<Entry>;

    /// Asks for the exact modification times of files in one directory, pipelined: one or two round trips in all.
    ///
    /// The result is as long as `names`; `None` where the server would not say.
    ///
    /// # Errors
    /// Only where the server could not be asked.
    fn times(&self, directory: &RemotePath, names: &[Name]) -> RemoteResult<Vec<Option<Timestamp>>>;

    /// Starts reading a file at byte `offset` (TYPE I). Source: RFC 959 §4.1.3 (RETR), RFC 3659 §5 (REST).
    ///
    /// Returns when the transfer is asked for; a refusal may come from here or from the first read. Where the server cannot restart,
    /// the bytes before `offset` are read and thrown away.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`], [`RemoteError::IsDirectory`], [`RemoteError::Refused`], or no connection.
    fn open_read(&self, path: &RemotePath, offset: u64) -> RemoteResult<Box<dyn ReadStream>>;

    /// As [`Self::open_read`] from the beginning on, for a file that will surely be read to its end: what the next transfer needs is asked
    /// for with it. It may be dropped before all the same.
    ///
    /// # Errors
    /// As for [`Self::open_read`].
    fn open_read_whole(&self, path: &RemotePath) -> RemoteResult<Box<dyn ReadStream>> {
        self.open_read(path, 0)
    }

    /// As [`Self::open_read`], where nothing at or behind the end of `range` is wanted. The stream may end there, with the proof that all of
    /// it came, and need not: who reads stops there by itself.
    ///
    /// Of a short range the connection may be one that is lent briefly: who has the stream reads it at once, and asks the server nothing
    /// meanwhile.
    ///
    /// # Errors
    /// As for [`Self::open_read`].
    fn open_range(&self, path: &RemotePath, range: Range<u64>) -> RemoteResult<Box<dyn ReadStream>> {
        self.open_read(path, range.start)
    }

    /// Starts reading, and asks what the file is in the same packet, before all else: where `is_due` says so once there is a connection, and
    /// where that costs no round trip of its own. The answer is of what the file was just before it was opened; `None` where there is none,
    /// which means nothing. The `size` that the file is thought to have proves nothing, and may save a round trip.
    ///
    /// # Errors
    /// As for [`Self::open_read`].
    fn open_and_ask(
        &self,
        path: &RemotePath,
        extent: Extent,
        size: Option<u64>,
        is_due: &dyn Fn() -> bool,
    ) -> RemoteResult<(Box<dyn ReadStream>, Option<Told>)> {
        let _ = (size, is_due);
        let stream = match extent {
            Extent::From(offset) => self.open_read(path, offset),
            Extent::Whole => self.open_read_whole(path),
            Extent::Range(range) => self.open_range(path, range),
        };
        Ok((stream?, None))
    }

    /// Whether [`Self::open_and_ask`] can bring an answer, so that nothing has to be asked before; memory only.
    fn tells_with_reads(&self, path: &RemotePath) -> bool {
        let _ = path;
        false
    }

    /// Starts writing a file. Source: RFC 959 §4.1.3 (STOR, APPE).
    ///
    /// # Errors
    /// A refusal may come from here, from a write, or from `finish`.
    fn open_write(&self, path: &RemotePath, mode: WriteMode) -> RemoteResult<Box<dyn WriteStream>>;

    /// Sends a whole content that is at hand: as [`Self::open_write`] and [`WriteStream::write_all`] would, in fewer round trips where it can. Only
    /// [`WriteStream::finish`] is left to be called. For what is small, since it cannot be taken up where it breaks off.
    ///
    /// # Errors
    /// As for those; nothing incomplete is left behind where the server can be reached.
    fn open_whole(&self, path: &RemotePath, mode: WriteMode, bytes: &[u8]) -> RemoteResult<Box<dyn WriteStream>> {
        let mut stream = self.open_write(path, mode)?;
        if !bytes.is_empty() {
            stream.write_all(bytes)?;
        }
        Ok(stream)
    }

    /// Renames a file or directory; a file at `to` is replaced, as rename(2) does, also where the server refuses to
    /// (the old target is then kept under another name until the rename is proved). Source: RFC 959 §4.1.3 (RNFR, RNTO).
    ///
    /// # Errors
    /// [`RemoteError::NotEmpty`] or [`RemoteError::Exists`] where `to` is a directory; after any error both names are as before
    /// as far as the server could be reached.
    fn rename(&self, from: &RemotePath, to: &RemotePath) -> RemoteResult<()>;

    /// Removes a file or symbolic link (DELE).
    ///
    /// # Errors
    /// [`RemoteError::NotFound`], [`RemoteError::IsDirectory`], [`RemoteError::Refused`], or no connection.
    fn remove_file(&self, path: &RemotePath) -> RemoteResult<()>;

    /// Removes an empty directory (RMD); never more than that.
    ///
    /// # Errors
    /// [`RemoteError::NotEmpty`], [`RemoteError::NotDirectory`], [`RemoteError::NotFound`], [`RemoteError::Refused`].
    fn remove_directory(&self, path: &RemotePath) -> RemoteResult<()>;

    /// Makes a directory (MKD).
    ///
    /// # Errors
    /// [`RemoteError::Exists`] where there is something of that name, also if the server claims success.
    fn make_directory(&self, path: &RemotePath) -> RemoteResult<()>;

    /// Makes a symbolic link (SITE SYMLINK, where offered).
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] on most servers.
    fn make_symlink(&self, path: &RemotePath, target: &[u8]) -> RemoteResult<()>;

    /// Sets a modification time by the first way that works (MFMT, MFF, SITE UTIME, MDTM with two arguments), and
    /// returns it as the server keeps it.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where every way was refused as unknown.
    fn set_modified(&self, path: &RemotePath, time: Timestamp) -> RemoteResult<Timestamp>;

    /// Sets the permission bits (SITE CHMOD).
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where the server does not know the command.
    fn set_mode(&self, path: &RemotePath, mode: u32) -> RemoteResult<()>;

    /// Asks how much can still be stored (AVBL, SITE QUOTA); `None` where the server does not say.
    ///
    /// # Errors
    /// Only where the server could not be asked.
    fn space(&self, directory: &RemotePath) -> RemoteResult<Option<Space>>;

    /// What is known of the server so far; memory only, no round trip.
    fn abilities(&self) -> Abilities;

    /// So many transfers will begin in a moment: connections for them may be opened meanwhile. Waits for nothing.
    fn prepare(&self, transfers: usize) {
        let _ = transfers;
    }

    /// A connection for what nobody waits for, where one is idle or can be opened within `patience` and nobody waits for any;
    /// `None` where not, or where guesses are of no use. It is the first to be given up when somebody comes to need it. For what takes no
    /// longer than a few round trips, as far as is known, more of the connections may be had.
    fn idle_connection(&self, errand: Errand, patience: Duration) -> Option<Box<dyn IdleConnection>> {
        let _ = (errand, patience);
        None
    }

    /// What connections there are; memory only. `None` where it is no server with connections.
    fn connections(&self) -> Option<Connections> {
        None
    }
}

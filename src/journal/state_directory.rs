//! The folder on the local disk that belongs to one mounted directory of one account.
//!
//! Having a [`StateDirectory`] is having its lock: two mounts never share a journal.
//!
//! Not here: what lies in it (`log`, `staging`, `set_aside`).

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::disk::{Disk, LocalDisk};
use super::error::{JournalError, JournalResult};
use super::log::staging_directory;
use super::set_aside::set_aside_directory;
use crate::protocol::RemotePath;

/// The longest part of the folder's name that comes from a host or user.
const NAME_PART_LEN_MAX: usize = 64;
/// How often the lock file may be replaced under our hands before we give up.
const LOCK_ATTEMPTS_MAX: usize = 10;

/// Which directory of which account is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The server's name or address, as given.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The account.
    pub user: Vec<u8>,
    /// The directory that is mounted.
    pub directory: RemotePath,
}

impl Identity {
    /// What the identity file holds: one line each, so escaped that no two identities have the same text.
    fn text(&self) -> String {
        format!(
            "host {}\nport {}\nuser {}\ndirectory {}\n",
            self.host.to_ascii_lowercase().as_bytes().escape_ascii(),
            self.port,
            self.user.escape_ascii(),
            self.directory.as_bytes().escape_ascii(),
        )
    }

    /// The folder's name: readable, and its own by a hash of the whole identity.
    fn folder_name(&self) -> String {
        let (host, user) = (readable(self.host.to_ascii_lowercase().as_bytes()), readable(&self.user));
        format!("{host}-{}-{user}-{:016x}", self.port, fnv1a(self.text().as_bytes()))
    }
}

/// The letters of a name that can stand in a file name everywhere, `_` for the others.
fn readable(bytes: &[u8]) -> String {
    let letters = bytes.iter().take(NAME_PART_LEN_MAX).map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(*byte),
        _ => '_',
    });
    letters.collect()
}

/// FNV-1a of 64 bits: the same in each version of this program, as std's hashes are not. A folder met by chance under
/// another identity's hash is told by its identity file.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The folder, locked for as long as this lives.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// The lock goes with it.
    _lock: File,
}

impl StateDirectory {
    /// Makes the folder of `identity` below `base` where it is missing, with its names on the disk, and locks it.
    ///
    /// # Errors
    /// [`JournalError::Locked`]: another mount has it. [`JournalError::ForeignIdentity`]. The disk's.
    pub fn open(base: &Path, identity: &Identity) -> JournalResult<Self> {
        let path = base.join(identity.folder_name());
        let make = || {
            make_directories(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
            make_directories(&staging_directory(&path))?;
            make_directories(&set_aside_directory(&path))
        };
        make().map_err(JournalError::disk("making the state directory"))?;
        let lock = lock(&path)?;
        check_identity(&path, identity)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where state directories lie unless the user says otherwise; `None` without a home.
pub fn default_base(variable: impl Fn(&str) -> Option<std::ffi::OsString>, is_root: bool) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from("/var/lib/ftpfs"));
    }
    // The XDG specification has relative paths ignored.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("ftpfs"))
}

/// Makes a directory and those above it, each with its name on the disk: what lies in a directory that a power loss
/// takes away is gone with it.
fn make_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_directories(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    LocalDisk.sync_directory(parent.unwrap_or(Path::new(".")))
}

/// Takes the lock, and writes our process's number into its file for the message of the next one.
fn lock(directory: &Path) -> JournalResult<File> {
    use rustix::fs::{FlockOperation, flock};
    let path = directory.join("lock");
    let disk = JournalError::disk("locking the state directory");
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(&disk)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let process = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(JournalError::Locked { path: directory.to_owned(), process });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(disk(error)),
        }
        // Whoever tidied the file away meanwhile has left us the lock of a file that the next one will not find.
        if !is_still_at(&file, &path).map_err(&disk)? {
            continue;
        }
        let write = || {
            file.set_len(0)?;
            file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
        };
        // On a full disk the lock holds all the same.
        if let Err(error) = write() {
            tracing::warn!(%error, "the lock file cannot be told our process number");
        }
        return Ok(file);
    }
    Err(disk(io::Error::other("its lock file is replaced again and again")))
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Compares the identity file with ours, or writes it where there is none.
fn check_identity(directory: &Path, identity: &Identity) -> JournalResult<()> {
    let path = directory.join("identity");
    let ours = identity.text();
    let found = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(JournalError::disk("reading the identity file")(error)),
    };
    if found == ours {
        return Ok(());
    }
    // A file that is a part of ours is one that a full disk or a power loss cut short.
    if !ours.starts_with(&found) {
        let mut line = String::new();
        for word in found.split_whitespace() {
            let _ = write!(line, "{}{word}", if line.is_empty() { "" } else { " " });
        }
        return Err(JournalError::ForeignIdentity { path: directory.to_owned(), found: line });
    }
    fs::write(&path, ours).map_err(JournalError::disk("writing the identity file"))
}

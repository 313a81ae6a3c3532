//! Where the sockets of mounts lie, and what they are called.
//!
//! `/run/ftpfs` for root, `$XDG_RUNTIME_DIR/ftpfs` for others; `$FTPFS_RUNTIME_DIR` for both where it is set. The directory
//! is its user's alone (0700): it is opened once, looked at, and all names are found through what was opened.
//!
//! A socket is called by its mountpoint (a hash of the path) and by its process: so the next mount on the same place and
//! the last one, which may still be uploading, do not meet. One whose process is dead is removed by whoever finds it.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::ControlError;

/// Names another directory, for containers without /run and for tests.
const VARIABLE: &str = "FTPFS_RUNTIME_DIR";
const SUFFIX: &str = ".sock";

/// The directory of this user's sockets.
#[derive(Debug)]
pub struct RuntimeDirectory {
    path: PathBuf,
    directory: File,
}

/// A mount's socket, as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// The hash of the mountpoint.
    mountpoint: u64,
    /// The mount's process.
    process_id: u32,
}

impl RuntimeDirectory {
    /// Opens this user's directory, made if need be.
    ///
    /// # Errors
    /// [`ControlError::NoDirectory`], [`ControlError::Directory`], [`ControlError::NotPrivate`].
    pub fn of_user() -> Result<Self, ControlError> {
        Self::at(&path_of_user()?)
    }

    /// Opens `path`, made if need be.
    ///
    /// # Errors
    /// [`ControlError::Directory`], [`ControlError::NotPrivate`].
    pub fn at(path: &Path) -> Result<Self, ControlError> {
        let unusable = |error| ControlError::Directory { path: path.to_owned(), error };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(error)),
            _ => {}
        }
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unusable)?;
        let metadata = directory.metadata().map_err(unusable)?;
        let is_private = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0;
        if is_private {
            Ok(Self { path: path.to_owned(), directory })
        } else {
            Err(ControlError::NotPrivate(path.to_owned()))
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to listen for the mount on `mountpoint`, which is this process's.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn listen(&self, mountpoint: &Path) -> Result<(Socket, UnixListener), ControlError> {
        let socket = Socket { mountpoint: hash(mountpoint), process_id: std::process::id() };
        // One of this very name is of a dead process that had our number.
        self.remove(&socket);
        let address = self.address(&socket);
        let listener = UnixListener::bind(&address)?;
        fs::set_permissions(&address, Permissions::from_mode(0o600))?;
        Ok((socket, listener))
    }

    /// Connects to a socket. Never waits: whoever listens takes the connection up when it comes to it.
    ///
    /// # Errors
    /// [`ControlError::Gone`] where nobody listens; a socket whose process is dead is removed then.
    /// [`ControlError::TimedOut`] where so many wait already that it can be no accident.
    pub(super) fn connect(&self, socket: &Socket) -> Result<UnixStream, ControlError> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let descriptor = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let descriptor = descriptor.map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(self.address(socket)).map_err(io::Error::from)?;
        if let Err(error) = rustix::net::connect(&descriptor, &address) {
            let error = io::Error::from(error);
            return Err(match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    self.remove_if_dead(socket);
                    ControlError::Gone
                }
                io::ErrorKind::NotFound => ControlError::Gone,
                io::ErrorKind::WouldBlock => ControlError::TimedOut,
                _ => ControlError::Io(error),
            });
        }
        let stream = UnixStream::from(descriptor);
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// All sockets, those of dead mounts too.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn sockets(&self) -> Result<Vec<Socket>, ControlError> {
        let unusable = |error| ControlError::Directory { path: self.path.clone(), error };
        let mut sockets = Vec::new();
        for entry in fs::read_dir(self.within("")).map_err(unusable)? {
            let name = entry.map_err(unusable)?.file_name();
            sockets.extend(name.to_str().and_then(Socket::parse));
        }
        sockets.sort_by_key(|socket| socket.process_id);
        Ok(sockets)
    }

    /// Removes the sockets of dead mounts.
    pub(super) fn tidy(&self) {
        for socket in self.sockets().unwrap_or_default() {
            // Connecting finds out, and removes. A mount that is alive sees a connection that ends at once.
            let _ = self.connect(&socket);
        }
    }

    /// Removes a socket.
    pub(super) fn remove(&self, socket: &Socket) {
        // Another one may have done so.
        let _ = fs::remove_file(self.address(socket));
    }

    /// Between bind(2) and listen(2) a socket refuses too: only where the process is gone it is dead.
    fn remove_if_dead(&self, socket: &Socket) {
        if !Path::new("/proc").join(socket.process_id.to_string()).exists() {
            tracing::info!(process = socket.process_id, "removing the socket that a dead mount left behind");
            self.remove(socket);
        }
    }

    fn address(&self, socket: &Socket) -> PathBuf {
        self.within(&socket.file_name())
    }

    /// A name in the directory that was opened, wherever it is by now. So no path is too long for a socket, either.
    fn within(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd())).join(name)
    }
}

impl Socket {
    /// Whether it belongs to a mount on this path.
    pub(super) fn is_of(&self, mountpoint: &Path) -> bool {
        self.mountpoint == hash(mountpoint)
    }

    fn file_name(&self) -> String {
        format!("{:016x}-{}{SUFFIX}", self.mountpoint, self.process_id)
    }

    fn parse(name: &str) -> Option<Self> {
        let (mountpoint, process_id) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let socket =
            Self { mountpoint: u64::from_str_radix(mountpoint, 16).ok()?, process_id: process_id.parse().ok()? };
        (socket.file_name() == name).then_some(socket)
    }
}

fn path_of_user() -> Result<PathBuf, ControlError> {
    let of = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(path) = of(VARIABLE) {
        return Ok(path);
    }
    let user = rustix::process::geteuid().as_raw();
    if user == 0 {
        // Not $XDG_RUNTIME_DIR: a mount from fstab has none, and root's shell may have another user's.
        return Ok("/run/ftpfs".into());
    }
    let usual = || Some(PathBuf::from(format!("/run/user/{user}"))).filter(|path| path.is_dir());
    match of("XDG_RUNTIME_DIR").or_else(usual) {
        Some(path) => Ok(path.join("ftpfs")),
        None => Err(ControlError::NoDirectory(user)),
    }
}

/// FNV-1a: the same for every build, so that a newer program finds an older one's mounts.
fn hash(path: &Path) -> u64 {
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_others_are_left_alone() {
        let socket = Socket { mountpoint: hash(Path::new("/mnt")), process_id: 17 };
        assert_eq!(Socket::parse(&socket.file_name()), Some(socket.clone()));
        assert!(socket.is_of(Path::new("/mnt")) && !socket.is_of(Path::new("/mnt/a")));
        for name in ["", "x.sock", "1-2.sock", "00000000000000ff-+1.sock", "00000000000000ff-1.tmp"] {
            assert_eq!(Socket::parse(name), None, "{name}");
        }
    }

    #[test]
    fn directory_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ftpfs");
        assert_eq!(fs::metadata(RuntimeDirectory::at(&path).unwrap().path()).unwrap().mode() & 0o7777, 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(RuntimeDirectory::at(&path), Err(ControlError::NotPrivate(_))));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(RuntimeDirectory::at(&link), Err(ControlError::Directory { .. })));
    }

    #[test]
    fn socket_of_a_dead_process_is_removed_and_one_about_to_listen_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let directory = RuntimeDirectory::at(&folder.path().join("ftpfs")).unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        for process_id in [gone.id(), std::process::id()] {
            let socket = Socket { mountpoint: 1, process_id };
            // Dropping a listener leaves its file behind, as a killed process does.
            drop(UnixListener::bind(directory.address(&socket)).unwrap());
            assert!(matches!(directory.connect(&socket), Err(ControlError::Gone)));
        }
        assert_eq!(directory.sockets().unwrap(), [Socket { mountpoint: 1, process_id: std::process::id() }]);
        assert!(directory.listen(Path::new("/mnt")).is_ok());
    }

    #[test]
    fn long_directories_have_sockets_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a".repeat(200));
        let directory = RuntimeDirectory::at(&path).unwrap();
        let (socket, _listener) = directory.listen(Path::new("/mnt")).unwrap();
        assert!(directory.connect(&socket).is_ok());
        let mode = fs::metadata(path.join(socket.file_name())).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

//! The mountpoint: checking it, mounting on it, and letting go of it.
//!
//! We mount by ourselves and hand fuser the open device: its own unmounting (0.18) fails on a busy mount without a second
//! try, and after an `umount` from outside unmounts the path again, whatever is mounted there by then. Here a mountpoint is
//! only detached after the mount table has said that it is still ours, by device number.
//!
//! Not here: the setuid helper that mounts for ordinary users (`fusermount`), requests and replies (`adapter`).

use std::ffi::{CString, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use super::errno;
use super::fusermount;

/// The kernel's device, by which it talks to us.
const DEVICE: &str = "/dev/fuse";
/// The type in the mount table: `fuse.` and our name, so that `findmnt -t fuse.ftpfs` and updatedb's list find it.
const FILESYSTEM_TYPE: &str = "fuse.ftpfs";
/// Bytes the kernel reads ahead: as large as its largest request (256 pages).
const READ_AHEAD_KIB: &str = "1024";

/// Why nothing was mounted, or something could not be unmounted. Each text says what can be done.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mountpoint cannot be used.
    #[error("the mountpoint {} does not exist; create it first: mkdir -p {}", .0.display(), .0.display())]
    Missing(PathBuf),
    /// A file where a directory is needed.
    #[error("the mountpoint {} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// Mounting would hide what is in it.
    #[error("the mountpoint {} is not empty; what is in it would be hidden (--nonempty mounts all the same)", .0.display())]
    NotEmpty(PathBuf),
    /// An ftpfs is mounted there and alive.
    #[error("an ftpfs is mounted on {} already; unmount it first: umount {}", .0.display(), .0.display())]
    AlreadyMounted(PathBuf),
    /// It cannot be looked at.
    #[error("the mountpoint {} cannot be used: {error}", path.display())]
    Unusable {
        /// The mountpoint.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The kernel has no FUSE, or it is not passed into this container.
    #[error(
        "there is no {DEVICE}: load the kernel module (modprobe fuse), or pass the device into the container \
             (--device {DEVICE} --cap-add SYS_ADMIN)"
    )]
    NoDevice,
    /// Neither mount(2) nor the helper is allowed or there.
    #[error("mounting needs root, or the program fusermount3 (package fuse3): {0}")]
    NoHelper(String),
    /// The kernel or the helper refused.
    #[error("mounting on {} failed: {reason}", path.display())]
    Refused {
        /// The mountpoint.
        path: PathBuf,
        /// What was said.
        reason: String,
    },
    /// Mounted, but the kernel and we found no common language, or no thread could be started.
    #[error("talking to the kernel failed: {0}")]
    Session(io::Error),
    /// Nothing of ours is mounted there.
    #[error("no ftpfs is mounted on {}", .0.display())]
    NotMounted(PathBuf),
    /// Files are open or a process has its working directory in it.
    #[error("{} is in use; close what is open in it (fuser -vm {} shows by whom), or detach it with --lazy",
            .0.display(), .0.display())]
    Busy(PathBuf),
}

/// How to mount.
#[derive(Debug, Clone, Default)]
pub struct MountOptions {
    /// What the mount table shows as the source: the URL, without any password.
    pub source: String,
    /// Other users may enter; the permission bits decide what they may do.
    pub allow_other: bool,
    /// The kernel refuses every change.
    pub read_only: bool,
    /// Nothing in it can be executed.
    pub no_exec: bool,
    /// A mountpoint that is not empty will do.
    pub non_empty: bool,
}

/// A directory that was found fit to be mounted on.
#[derive(Debug, Clone)]
pub struct Mountpoint {
    path: PathBuf,
}

/// A mount in the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TableEntry {
    /// `0:53`; unique as long as the mount lives.
    device: String,
    path: PathBuf,
    filesystem_type: String,
}

/// The kernel's end of a fresh mount, before anybody answers on it.
#[derive(Debug)]
pub(super) struct Attached {
    /// Where requests are read and replies written.
    pub(super) device: OwnedFd,
    /// The way to let go of it.
    pub(super) mounted: Mounted,
}

/// A mount of ours, as the mount table knows it.
#[derive(Debug, Clone)]
pub(super) struct Mounted {
    path: PathBuf,
    /// `None` where the mount table could not be read; the mount is then found by its path and type.
    device: Option<String>,
}

impl Mountpoint {
    /// Checks that `path` can be mounted on. What a crashed ftpfs left there ("transport endpoint is not connected") is
    /// detached first.
    ///
    /// # Errors
    /// [`MountError`] says what is wrong with it, and what helps.
    pub fn check(path: &Path, options: &MountOptions) -> Result<Self, MountError> {
        let path = absolute(path)?;
        if fs::metadata(&path).is_err_and(|error| errno::is_dead_mount(&error)) {
            tracing::info!(mountpoint = %path.display(), "detaching what a mount that ended left behind");
            detach(&path, Detach::Lazily)?;
        }
        let unusable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => MountError::Missing(path.clone()),
            io::ErrorKind::NotADirectory => MountError::NotDirectory(path.clone()),
            _ => MountError::Unusable { path: path.clone(), error },
        };
        if find(&path).is_some_and(|entry| entry.filesystem_type == FILESYSTEM_TYPE) {
            return Err(MountError::AlreadyMounted(path));
        }
        if !fs::metadata(&path).map_err(unusable)?.is_dir() {
            return Err(MountError::NotDirectory(path));
        }
        if !options.non_empty && fs::read_dir(&path).map_err(unusable)?.next().is_some() {
            return Err(MountError::NotEmpty(path));
        }
        Ok(Self { path })
    }

    /// Where it is: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts. Whoever enters the mountpoint from now on waits for a session on the device.
    ///
    /// # Errors
    /// [`MountError`]; nothing is mounted then.
    pub(super) fn attach(&self, options: &MountOptions) -> Result<Attached, MountError> {
        let device = match self.attach_directly(options)? {
            Some(device) => device,
            None => fusermount::mount(&self.path, &helper_options(options))?,
        };
        let entry = find(&self.path).filter(|entry| entry.filesystem_type == FILESYSTEM_TYPE);
        let mounted = Mounted { path: self.path.clone(), device: entry.map(|entry| entry.device) };
        Ok(Attached { device, mounted })
    }

    /// Mounts with mount(2), or returns `None` where only the helper may.
    fn attach_directly(&self, options: &MountOptions) -> Result<Option<OwnedFd>, MountError> {
        let device = match OpenOptions::new().read(true).write(true).open(DEVICE) {
            Ok(device) => OwnedFd::from(device),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(MountError::NoDevice),
            Err(_) => return Ok(None),
        };
        let refused = |reason: String| MountError::Refused { path: self.path.clone(), reason };
        let source = CString::new(options.source.as_str()).map_err(|error| refused(error.to_string()))?;
        let data = CString::new(kernel_options(&device, options)).map_err(|error| refused(error.to_string()))?;
        match rustix::mount::mount(source.as_c_str(), &self.path, "fuse", flags(options), data.as_c_str()) {
            Ok(()) => Ok(Some(device)),
            Err(error) if errno::needs_privilege(error) => Ok(None),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

fn flags(options: &MountOptions) -> MountFlags {
    // A server must not be able to hand out set-uid programs or device files.
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    flags.set(MountFlags::RDONLY, options.read_only);
    flags.set(MountFlags::NOEXEC, options.no_exec);
    flags
}

fn kernel_options(device: &OwnedFd, options: &MountOptions) -> String {
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let mut text = format!(
        "fd={},rootmode=40000,user_id={user},group_id={group},subtype=ftpfs,default_permissions,max_read=1048576",
        device.as_raw_fd()
    );
    if options.allow_other {
        text.push_str(",allow_other");
    }
    text
}

/// The same for fusermount3, which takes a comma in a name behind a backslash.
fn helper_options(options: &MountOptions) -> String {
    let source = options.source.replace('\\', "\\\\").replace(',', "\\,");
    let mut text = format!("fsname={source},subtype=ftpfs,default_permissions,max_read=1048576,nodev,nosuid,noatime");
    for (wanted, name) in
        [(options.allow_other, ",allow_other"), (options.read_only, ",ro"), (options.no_exec, ",noexec")]
    {
        if wanted {
            text.push_str(name);
        }
    }
    text
}

/// How a mount is let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// Only if nothing in it is in use.
    Politely,
    /// At once: nobody finds it any more, and it ends when the last open file is closed.
    Lazily,
}

impl Mounted {
    /// Takes the mount out of the tree; files open in it stay usable until closed. Does nothing if it is gone already,
    /// or if something else is mounted over its place.
    ///
    /// # Errors
    /// The kernel or the helper refused.
    pub(super) fn detach(&self) -> Result<(), MountError> {
        match find(&self.path) {
            Some(entry) if self.device.as_ref().is_none_or(|device| *device == entry.device) => {
                detach(&self.path, Detach::Lazily)
            }
            _ => Ok(()),
        }
    }

    /// Cuts the connection to the kernel: every call still under way in the mount fails at once. Where the control
    /// filesystem is not mounted or not ours, the end of the process does the same.
    pub(super) fn abort(&self) {
        let Some(minor) = self.device.as_deref().and_then(|device| device.strip_prefix("0:")) else { return };
        if let Err(error) = fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1") {
            tracing::debug!(%error, "the connection to the kernel could not be aborted");
        }
    }

    /// Lets the kernel read ahead as far as its largest request goes; only root may, and without it all still works.
    pub(super) fn widen_read_ahead(&self) {
        let Some(device) = &self.device else { return };
        if let Err(error) = fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), READ_AHEAD_KIB) {
            tracing::debug!(%error, "read_ahead_kb could not be set; the kernel asks for 128 KiB at a time");
        }
    }
}

/// Unmounts the ftpfs on `path`.
///
/// # Errors
/// [`MountError::NotMounted`], [`MountError::Busy`], or the system's refusal.
pub fn unmount(path: &Path, how: Detach) -> Result<(), MountError> {
    let path = absolute(path)?;
    match find(&path) {
        Some(entry) if entry.filesystem_type == FILESYSTEM_TYPE => detach(&path, how),
        _ => Err(MountError::NotMounted(path)),
    }
}

fn detach(path: &Path, how: Detach) -> Result<(), MountError> {
    let flags = match how {
        Detach::Politely => UnmountFlags::empty(),
        Detach::Lazily => UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(path, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(error) if errno::needs_privilege(error) => fusermount::unmount(path, how),
        Err(error) if errno::is_busy(error) => Err(MountError::Busy(path.to_owned())),
        Err(error) => Err(MountError::Unusable { path: path.to_owned(), error: error.into() }),
    }
}

/// The path without symbolic links. An ftpfs that is mounted there is not touched: its process may be dead or stopped.
///
/// # Errors
/// [`MountError::Missing`], [`MountError::NotDirectory`], or what the system says of it.
pub fn absolute(path: &Path) -> Result<PathBuf, MountError> {
    if let (Ok(whole), Some(name)) = (std::path::absolute(path), path.file_name())
        && let Some(Ok(parent)) = whole.parent().map(fs::canonicalize)
        && find(&parent.join(name)).is_some_and(|entry| entry.filesystem_type == FILESYSTEM_TYPE)
    {
        return Ok(parent.join(name));
    }
    match fs::canonicalize(path) {
        Ok(path) => return Ok(path),
        Err(error) if errno::is_dead_mount(&error) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(MountError::Missing(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(MountError::NotDirectory(path.to_owned()));
        }
        Err(error) => return Err(MountError::Unusable { path: path.to_owned(), error }),
    }
    let unusable = |error| MountError::Unusable { path: path.to_owned(), error };
    let path = std::path::absolute(path).map_err(unusable)?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent =
                fs::canonicalize(parent).map_err(|error| MountError::Unusable { path: path.clone(), error })?;
            Ok(parent.join(name))
        }
        _ => Ok(path),
    }
}

/// The mount on `path` that is seen there: the last one, where several lie on each other.
fn find(path: &Path) -> Option<TableEntry> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    table.split(|byte| *byte == b'\n').filter_map(parse_table_line).rfind(|entry| entry.path == path)
}

/// One line of mountinfo: `36 35 0:53 / /mnt rw,nosuid shared:1 - fuse.ftpfs source options` (proc(5)).
fn parse_table_line(line: &[u8]) -> Option<TableEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let filesystem_type = String::from_utf8(fields.skip_while(|field| *field != b"-").nth(1)?.to_vec()).ok()?;
    Some(TableEntry { device, path, filesystem_type })
}

/// Space, tab, line break and backslash stand in the mount table as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_table_line_is_read_with_spaces_in_the_path() {
        let line = br"612 29 0:53 / /mnt/a\040b\134c rw,nosuid,nodev shared:7 - fuse.ftpfs ftp://host/ rw,user_id=0";
        let entry = parse_table_line(line).unwrap();
        assert_eq!(entry.device, "0:53");
        assert_eq!(entry.path, Path::new(r"/mnt/a b\c"));
        assert_eq!(entry.filesystem_type, FILESYSTEM_TYPE);
        assert_eq!(parse_table_line(b""), None);
        assert_eq!(parse_table_line(br"1 2 0:3 / /x\09"), None);
    }

    #[test]
    fn source_with_a_comma_adds_no_option() {
        let options = MountOptions { source: r"ftp://h/a,allow_other\".into(), ..MountOptions::default() };
        assert!(helper_options(&options).starts_with(r"fsname=ftp://h/a\,allow_other\\,subtype=ftpfs,"));
    }

    #[test]
    fn unusable_mountpoints_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let options = MountOptions::default();
        let check = |name: &str| Mountpoint::check(&folder.path().join(name), &options);
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("empty")).unwrap();
        assert!(matches!(check("missing"), Err(MountError::Missing(_))));
        assert!(matches!(check("file"), Err(MountError::NotDirectory(_))));
        assert!(matches!(check("file/x"), Err(MountError::NotDirectory(_))));
        assert!(matches!(check("."), Err(MountError::NotEmpty(_))));
        assert!(check("empty").is_ok());
        let options = MountOptions { non_empty: true, ..MountOptions::default() };
        assert!(Mountpoint::check(folder.path(), &options).is_ok());
    }

    #[test]
    fn what_is_not_ours_is_not_unmounted() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(unmount(folder.path(), Detach::Politely), Err(MountError::NotMounted(_))));
        assert!(matches!(unmount(Path::new("/"), Detach::Lazily), Err(MountError::NotMounted(_))));
    }
}

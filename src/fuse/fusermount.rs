//! The setuid helper `fusermount3`, which mounts and unmounts for those who are not root.
//!
//! It opens the device, mounts, and sends the descriptor over a socket whose number stands in `_FUSE_COMMFD`. We
//! give it that socket as its standard input: number 0 is inherited without any change to our own descriptors.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::mount::{Detach, MountError};

/// How long the helper may take; it asks nobody.
const HELPER_DEADLINE: Duration = Duration::from_secs(30);
/// Where it is looked for: PATH first, which cron and systemd may leave without sbin.
const NAMES: [&str; 4] = ["fusermount3", "fusermount", "/usr/bin/fusermount3", "/bin/fusermount3"];

/// Mounts on `path` and returns the open device.
///
/// # Errors
/// [`MountError::NoHelper`] where there is none, [`MountError::Refused`] with its own words.
pub(super) fn mount(path: &Path, options: &str) -> Result<OwnedFd, MountError> {
    let refused = |reason: String| MountError::Refused { path: path.to_owned(), reason };
    let (ours, its) = UnixStream::pair().map_err(|error| refused(error.to_string()))?;
    ours.set_read_timeout(Some(HELPER_DEADLINE)).map_err(|error| refused(error.to_string()))?;
    let its = OwnedFd::from(its);
    let arguments = [OsStr::new("-o"), OsStr::new(options), OsStr::new("--"), path.as_os_str()];
    let helper = start(&arguments, Some(its))?;
    let received = receive_descriptor(&ours);
    drop(ours);
    match received {
        Ok(Some(device)) => {
            finish(helper);
            Ok(device)
        }
        Ok(None) => Err(refused(finish(helper))),
        Err(error) => Err(refused(format!("{error} {}", finish(helper)))),
    }
}

/// Unmounts `path`.
///
/// # Errors
/// [`MountError::NoHelper`] where there is none, [`MountError::Busy`], [`MountError::Refused`] with its own words.
pub(super) fn unmount(path: &Path, how: Detach) -> Result<(), MountError> {
    let flags = match how {
        Detach::Politely => "-u",
        Detach::Lazily => "-uz",
    };
    let mut helper = start(&[OsStr::new(flags), OsStr::new("--"), path.as_os_str()], None)?;
    let succeeded = helper.wait().is_ok_and(|status| status.success());
    let words = finish(helper);
    if succeeded {
        Ok(())
    } else if words.to_ascii_lowercase().contains("busy") {
        Err(MountError::Busy(path.to_owned()))
    } else {
        Err(MountError::Refused { path: path.to_owned(), reason: words })
    }
}

fn start(arguments: &[&OsStr], socket: Option<OwnedFd>) -> Result<Child, MountError> {
    let named = env::var_os("FUSERMOUNT_PATH");
    let names: Vec<OsString> = match named {
        Some(name) => vec![name],
        None => NAMES.iter().map(OsString::from).collect(),
    };
    let mut reason = String::from("there is none");
    for name in names {
        let mut command = Command::new(&name);
        // It runs as root: nothing of our environment is its business, least of all a password.
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        match &socket {
            Some(socket) => match socket.try_clone() {
                Ok(socket) => command.stdin(socket).env("_FUSE_COMMFD", "0"),
                Err(error) => return Err(MountError::NoHelper(error.to_string())),
            },
            None => command.stdin(Stdio::null()),
        };
        match command.spawn() {
            Ok(helper) => return Ok(helper),
            Err(error) => reason = format!("{}: {error}", name.display()),
        }
    }
    Err(MountError::NoHelper(reason))
}

/// Waits for the helper's end and returns what it complained of, in one line.
fn finish(mut helper: Child) -> String {
    let mut words = Vec::new();
    if let Some(stderr) = helper.stderr.take() {
        // Bounded: a helper that talks without end is none.
        let _ = stderr.take(4096).read_to_end(&mut words);
    }
    let _ = helper.wait();
    let words = String::from_utf8_lossy(&words).trim().replace('\n', "; ");
    if words.is_empty() { "the helper gave no reason".into() } else { words }
}

/// The descriptor the helper sends; `None` where it ended without.
fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0_u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.flatten().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::fs::File;
    use std::io::{IoSlice, Write};
    use std::os::fd::AsFd;

    #[test]
    fn descriptor_arrives_and_works() {
        let (ours, its) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&its, &[IoSlice::new(b"\0")], &mut control, SendFlags::empty()).unwrap();
        let received = receive_descriptor(&ours).unwrap().unwrap();
        File::from(received).write_all(b"through").unwrap();
        let mut text = String::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn helper_that_ends_without_a_descriptor_is_noticed() {
        let (ours, its) = UnixStream::pair().unwrap();
        drop(its);
        assert!(receive_descriptor(&ours).unwrap().is_none());
    }
}

//! Going to the background, once the mount is ready and not before.
//!
//! The program starts itself again: no fork of a process that may have threads. What the child needs and nobody else may
//! see goes through a pipe that is its standard input; that it is ready comes back through one that is its standard
//! output. Its complaints until then go to the terminal, and its exit code is ours.

use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::credentials::{Credentials, PASSWORD_VARIABLE};
use super::invocation::IN_BACKGROUND;
use crate::protocol::Secret;

/// What the child says when the mount is ready.
const READY: &str = "ready";
/// Stands for "there is none" where a length is expected.
const ABSENT: u32 = u32::MAX;
/// No user name or password is longer.
const FIELD_LEN_MAX: u32 = 1 << 20;

/// How starting the child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// Mounted; the child stays.
    Ready,
    /// The child has ended with this exit code, and has said why.
    Ended(u8),
}

/// Starts this program again with the same arguments, waits until it is ready or has ended.
///
/// `url` is replaced by `url_shown` among the arguments, so that a password in it does not stay visible.
///
/// # Errors
/// It could not be started, or ended without an exit code.
pub(super) fn start(
    arguments: &[OsString],
    url: &str,
    url_shown: &str,
    credentials: &Credentials,
) -> io::Result<Started> {
    let mut command = Command::new(own_program());
    if let Some(name) = arguments.first() {
        command.arg0(name);
    }
    command.arg(IN_BACKGROUND);
    for argument in arguments.iter().skip(1) {
        command.arg(if argument == url { url_shown.as_ref() } else { argument.as_os_str() });
    }
    command.env_remove(PASSWORD_VARIABLE).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A child that has ended already says by itself why.
        let _ = pipe.write_all(&encode(credentials));
    }
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line)?;
    }
    if line.trim_end() == READY {
        return Ok(Started::Ready);
    }
    match child.wait()?.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(Started::Ended(code)),
        None => Err(io::Error::other("the process for the background was killed")),
    }
}

/// The file of this program. By its path, so that `ps` and `pgrep` show its name; `/proc/self/exe` does too where the file was
/// moved or replaced meanwhile, but there the process is called "exe".
fn own_program() -> PathBuf {
    env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// In the child: leaves the terminal's session, and takes over the login.
///
/// # Errors
/// The parent is gone, or this was not started by [`start`].
pub(super) fn enter() -> io::Result<Credentials> {
    // Fails only for the leader of a process group, which a child of ours is not.
    let _ = rustix::process::setsid();
    let credentials = decode(&mut io::stdin().lock())?;
    rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    Ok(credentials)
}

/// In the child: tells the parent that all is ready, and lets go of everything it was started with.
///
/// # Errors
/// The parent is gone: whoever waited for the mount has given up.
pub(super) fn announce_ready() -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{READY}")?;
    output.flush()?;
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    // Whatever directory we were started in can be unmounted.
    env::set_current_dir("/")
}

fn encode(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let account = credentials.account.as_ref().map(Secret::expose);
    for field in [Some(credentials.user.as_slice()), Some(credentials.password.expose()), account] {
        let len = field.map_or(ABSENT, |field| u32::try_from(field.len()).unwrap_or(ABSENT));
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(field.unwrap_or_default());
    }
    bytes
}

fn decode(input: &mut impl Read) -> io::Result<Credentials> {
    let mut field = || -> io::Result<Option<Vec<u8>>> {
        let mut len = [0; 4];
        input.read_exact(&mut len)?;
        match u32::from_le_bytes(len) {
            ABSENT => Ok(None),
            len if len > FIELD_LEN_MAX => Err(io::Error::from(io::ErrorKind::InvalidData)),
            len => {
                let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
                input.read_exact(&mut bytes)?;
                Ok(Some(bytes))
            }
        }
    };
    let (user, password, account) = (field()?, field()?, field()?);
    let missing = || io::Error::from(io::ErrorKind::InvalidData);
    Ok(Credentials {
        user: user.ok_or_else(missing)?,
        password: Secret::new(password.ok_or_else(missing)?),
        account: account.map(Secret::new),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_survives_the_pipe() {
        for account in [None, Some(Secret::new("acc"))] {
            let credentials = Credentials { user: vec![0xff, b'u'], password: Secret::new(""), account };
            assert_eq!(decode(&mut encode(&credentials).as_slice()).unwrap(), credentials);
        }
    }

    #[test]
    fn cut_or_foreign_input_is_an_error() {
        let credentials = Credentials { user: b"u".to_vec(), password: Secret::new("p"), account: None };
        let bytes = encode(&credentials);
        for len in 0..bytes.len() {
            assert!(decode(&mut &bytes[..len]).is_err());
        }
        assert!(decode(&mut &b"GET / HTTP/1.1\r\n"[..]).is_err());
    }
}

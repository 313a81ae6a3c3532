//! Who logs in, and with which password; never an argument.
//!
//! The sources in order: standard input, password file, URL, environment, systemd credential, netrc, terminal. The first one that
//! is there decides; one that is there but cannot be used (a password file that everybody can read) is an error, not a
//! reason to go on to the next.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::arguments::LoginArguments;
use super::netrc;
use super::url::ServerUrl;
use crate::protocol::Secret;

/// The variable that may hold the password; it is not passed on to the process that stays.
pub(super) const PASSWORD_VARIABLE: &str = "FTPFS_PASSWORD";
/// The name of the password among systemd's credentials (`LoadCredential=ftpfs.password:/etc/…`).
const SYSTEMD_CREDENTIAL: &str = "ftpfs.password";
/// Who logs in where nobody is named (RFC 1635), and the password such servers expect.
const ANONYMOUS: (&[u8], &[u8]) = (b"anonymous", b"ftpfs@");
/// No password is longer; a longer file is no password file.
const PASSWORD_LEN_MAX: u64 = 64 * 1024;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// None of the sources had one, and there is nobody to ask.
    #[error(
        "no password for {user} at {host}: put it into ~/.netrc, or give --password-file, --password-stdin or the variable \
             {PASSWORD_VARIABLE}"
    )]
    None {
        /// The user.
        user: String,
        /// The host.
        host: String,
    },
    /// Others can read it.
    #[error("{} is readable by others (mode {mode:03o}); it is not used: chmod 600 {}", path.display(), path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be read.
    #[error("the password cannot be read from {place}: {error}")]
    Unreadable {
        /// Where from.
        place: String,
        /// What the system says.
        error: io::Error,
    },
    /// No FTP command can carry it.
    #[error("the password from {0} holds a NUL or a line break, which FTP cannot send")]
    LineBreak(String),
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// What USER sends.
    pub(super) user: Vec<u8>,
    /// What PASS sends.
    pub(super) password: Secret,
    /// What ACCT sends, if the server asks.
    pub(super) account: Option<Secret>,
}

/// The machine's side of the sources, so that tests can bring their own.
struct Surroundings {
    variable: Option<Vec<u8>>,
    systemd_directory: Option<PathBuf>,
    netrc: Option<PathBuf>,
    /// Asks on the terminal; `None` if there is none.
    ask: fn(&str) -> Option<io::Result<String>>,
}

/// Finds the login for `url`.
///
/// # Errors
/// [`CredentialsError`] says what to do.
pub(super) fn find(arguments: &LoginArguments, url: &ServerUrl) -> Result<Credentials, CredentialsError> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let surroundings = Surroundings {
        variable: env::var_os(PASSWORD_VARIABLE).map(OsStringExt::into_vec),
        systemd_directory: env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        netrc: env::var_os("NETRC").map(PathBuf::from).or_else(|| Some(home?.join(".netrc"))),
        ask: ask_terminal,
    };
    find_in(arguments, url, &surroundings, &mut io::stdin().lock())
}

fn find_in(
    arguments: &LoginArguments,
    url: &ServerUrl,
    surroundings: &Surroundings,
    input: &mut dyn BufRead,
) -> Result<Credentials, CredentialsError> {
    let user = url.user.clone().or_else(|| arguments.user.clone().map(String::into_bytes));
    let named = named_password(arguments, url, surroundings, input)?;
    if let Some(password) = named {
        let user = user.unwrap_or_else(|| ANONYMOUS.0.to_vec());
        return Ok(Credentials { user, password, account: None });
    }
    if let Some(login) = from_netrc(surroundings.netrc.as_deref(), url, user.as_deref())? {
        let user = user.or(login.user).unwrap_or_else(|| ANONYMOUS.0.to_vec());
        let password = login.password.unwrap_or_else(|| Secret::new(ANONYMOUS.1));
        return Ok(Credentials { user, password, account: login.account });
    }
    let Some(user) = user.filter(|user| !user.eq_ignore_ascii_case(ANONYMOUS.0)) else {
        return Ok(Credentials { user: ANONYMOUS.0.to_vec(), password: Secret::new(ANONYMOUS.1), account: None });
    };
    let shown = user.escape_ascii().to_string();
    match (surroundings.ask)(&format!("Password for {shown} at {}: ", url.host)) {
        Some(Ok(password)) => {
            let password = checked(password.into_bytes(), "the terminal")?;
            Ok(Credentials { user, password, account: None })
        }
        Some(Err(error)) => Err(CredentialsError::Unreadable { place: "the terminal".into(), error }),
        None => Err(CredentialsError::None { user: shown, host: url.host.clone() }),
    }
}

/// The password from the sources that hold nothing but a password.
fn named_password(
    arguments: &LoginArguments,
    url: &ServerUrl,
    surroundings: &Surroundings,
    input: &mut dyn BufRead,
) -> Result<Option<Secret>, CredentialsError> {
    if arguments.password_stdin {
        return first_line(input, "the standard input").map(Some);
    }
    if let Some(path) = &arguments.password_file {
        let mut reader = BufReader::new(open_private(path)?);
        return first_line(&mut reader, &path.display().to_string()).map(Some);
    }
    if let Some(password) = &url.password {
        tracing::warn!(
            "the password in the URL can be seen by every user of this machine; ~/.netrc or --password-file keep it secret"
        );
        return Ok(Some(password.clone()));
    }
    if let Some(password) = &surroundings.variable {
        return checked(password.clone(), PASSWORD_VARIABLE).map(Some);
    }
    let Some(directory) = &surroundings.systemd_directory else { return Ok(None) };
    let path = directory.join(OsStr::new(SYSTEMD_CREDENTIAL));
    match File::open(&path) {
        Ok(file) => first_line(&mut BufReader::new(file), &path.display().to_string()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CredentialsError::Unreadable { place: path.display().to_string(), error }),
    }
}

/// A netrc that is not there is no error; one that others can read is.
fn from_netrc(
    path: Option<&Path>,
    url: &ServerUrl,
    user: Option<&[u8]>,
) -> Result<Option<netrc::Login>, CredentialsError> {
    let Some(path) = path.filter(|path| path.exists()) else { return Ok(None) };
    let place = || path.display().to_string();
    let file = match open_private(path) {
        Ok(file) => file,
        Err(error @ CredentialsError::Readable { .. }) => {
            // Others may rely on the file as it is, and it may say nothing of this host.
            tracing::warn!("{error}");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    let read = file.take(1 << 20).read_to_end(&mut text);
    let text = zeroize::Zeroizing::new(text);
    read.map_err(|error| CredentialsError::Unreadable { place: place(), error })?;
    let Some(login) = netrc::find(&text, &url.host, user) else { return Ok(None) };
    let secrets = [&login.password, &login.account].into_iter().flatten();
    if secrets.map(Secret::expose).chain(login.user.as_deref()).any(has_line_break) {
        return Err(CredentialsError::LineBreak(place()));
    }
    Ok(Some(login))
}

/// Opens a file that holds passwords; one that group or others can read is refused.
fn open_private(path: &Path) -> Result<File, CredentialsError> {
    let unreadable = |error| CredentialsError::Unreadable { place: path.display().to_string(), error };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // A pipe (`--password-file <(pass show nas)`) has no reader but us.
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(CredentialsError::Readable { path: path.to_owned(), mode: metadata.mode() & 0o777 });
    }
    Ok(file)
}

fn first_line(reader: &mut dyn BufRead, place: &str) -> Result<Secret, CredentialsError> {
    let mut line = Vec::new();
    let unreadable = |error| CredentialsError::Unreadable { place: place.into(), error };
    reader.take(PASSWORD_LEN_MAX).read_until(b'\n', &mut line).map_err(unreadable)?;
    if line.is_empty() {
        return Err(unreadable(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty")));
    }
    if line.ends_with(b"\n") {
        line.pop();
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    checked(line, place)
}

fn checked(password: Vec<u8>, place: &str) -> Result<Secret, CredentialsError> {
    let password = Secret::new(password);
    if has_line_break(password.expose()) {
        return Err(CredentialsError::LineBreak(place.into()));
    }
    Ok(password)
}

fn has_line_break(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

fn ask_terminal(question: &str) -> Option<io::Result<String>> {
    // Opened to see whether there is one: under cron or systemd there is not.
    fs::OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    Some(rpassword::prompt_password(question))
}

#[cfg(test)]
mod tests;

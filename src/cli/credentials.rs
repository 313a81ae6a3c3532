//! Who logs in, and with which password; never an argument.
//!
//! The sources in order: standard input, password file, URL, environment, systemd credential, the kernel's keyring, netrc, terminal. The first one that
//! is there decides; one that is there but cannot be used (a password file that everybody can read) is an error, not a
//! reason to go on to the next.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::arguments::LoginArguments;
use super::keyring;
use super::netrc;
use super::url::ServerUrl;
use crate::protocol::command::{CommandError, LINE_BYTES_MAX};
use crate::protocol::{Command, Encoding, Secret};

/// The variable that may hold the password; it is not passed on to the process that stays.
pub(super) const PASSWORD_VARIABLE: &str = "FTPFS_PASSWORD";
/// The name of the password among systemd's credentials (`LoadCredential=ftpfs.password:/etc/…`).
const SYSTEMD_CREDENTIAL: &str = "ftpfs.password";
/// What the descriptions of keys begin with.
const KEY_KIND: &str = "ftpfs";
/// Who logs in where nobody is named (RFC 1635), and the password such servers expect.
const ANONYMOUS: (&[u8], &[u8]) = (b"anonymous", b"ftpfs@");
/// No password can be longer: it goes into one command.
const PASSWORD_LEN_MAX: usize = LINE_BYTES_MAX;
/// No file of logins is longer.
const NETRC_LEN_MAX: u64 = 1 << 20;

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
    /// The kernel has it, and does not give it.
    #[error("the key `{description}` in the kernel's keyring cannot be used: {reason}")]
    Key {
        /// What it is called.
        description: String,
        /// What about it.
        reason: String,
    },
    /// There is nobody to ask for the one that goes with a proxy.
    #[error(
        "no password for {user} at the proxy {host}: give --proxy-password-file or the variable {}",
        super::proxy::PASSWORD_VARIABLE
    )]
    NoneForProxy {
        /// The user.
        user: String,
        /// The proxy.
        host: String,
    },
    /// No FTP command can carry it; mostly it is another file.
    #[error("the password from {0} is longer than an FTP command can be ({LINE_BYTES_MAX} bytes)")]
    TooLong(String),
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
pub(super) struct Surroundings {
    /// The environment.
    pub(super) variable: fn(&str) -> Option<Vec<u8>>,
    /// Where systemd has put what it was given for us.
    pub(super) systemd_directory: Option<PathBuf>,
    /// The content of a key of the kernel.
    pub(super) keyring: fn(&str) -> Result<Option<Vec<u8>>, String>,
    /// The file of logins by machine.
    pub(super) netrc: Option<PathBuf>,
    /// Opens the standard input.
    pub(super) input: fn() -> io::Result<Box<dyn Read>>,
    /// Asks on the terminal; `None` if there is none.
    pub(super) ask: fn(&str) -> Option<io::Result<String>>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        let home = env::var_os("HOME").map(PathBuf::from);
        Self {
            variable: |name| env::var_os(name).map(OsStringExt::into_vec),
            systemd_directory: env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            keyring: keyring::find,
            netrc: env::var_os("NETRC").map(PathBuf::from).or_else(|| Some(home?.join(".netrc"))),
            // Not through std's buffer, which would keep what it has read.
            input: || Ok(Box::new(File::from(rustix::stdio::stdin().try_clone_to_owned()?))),
            ask: ask_terminal,
        }
    }

    /// The password from a variable, or from systemd's credential of this name.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub(super) fn set_down(&self, variable: &str, credential: &str) -> Result<Option<Secret>, CredentialsError> {
        if let Some(password) = (self.variable)(variable) {
            return checked(Secret::new(password), variable).map(Some);
        }
        let Some(directory) = &self.systemd_directory else { return Ok(None) };
        let path = directory.join(OsStr::new(credential));
        match File::open(&path) {
            Ok(mut file) => first_line(&mut file, &path.display().to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CredentialsError::Unreadable { place: path.display().to_string(), error }),
        }
    }

    /// The password from the kernel's keyring: the key `KIND:USER@HOST`.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub(super) fn kept_by_the_kernel(
        &self,
        kind: &str,
        user: &[u8],
        host: &str,
    ) -> Result<Option<Secret>, CredentialsError> {
        let description = format!("{kind}:{}@{host}", user.escape_ascii());
        match (self.keyring)(&description) {
            Ok(Some(content)) => {
                let content = Zeroizing::new(content);
                first_line(&mut content.as_slice(), &format!("the key `{description}`")).map(Some)
            }
            Ok(None) => Ok(None),
            Err(reason) => Err(CredentialsError::Key { description, reason }),
        }
    }

    /// The password from whoever sits at the terminal; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read from, or what was typed cannot be sent.
    pub(super) fn asked(&self, user: &str, host: &str) -> Result<Option<Secret>, CredentialsError> {
        match (self.ask)(&format!("Password for {user} at {host}: ")) {
            Some(Ok(password)) => checked(Secret::new(password), "the terminal").map(Some),
            Some(Err(error)) => Err(CredentialsError::Unreadable { place: "the terminal".into(), error }),
            None => Ok(None),
        }
    }
}

/// Finds the login for `url`.
///
/// # Errors
/// [`CredentialsError`] says what to do.
pub(super) fn find(
    arguments: &LoginArguments,
    url: &ServerUrl,
    surroundings: &Surroundings,
) -> Result<Credentials, CredentialsError> {
    let named = arguments.user.clone().filter(|user| !user.is_empty());
    let user = url.user.clone().or_else(|| named.map(String::into_bytes));
    let named = named_password(arguments, url, user.as_deref(), surroundings)?;
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
    let password = surroundings
        .asked(&shown, &url.host)?
        .ok_or_else(|| CredentialsError::None { user: shown, host: url.host.clone() })?;
    Ok(Credentials { user, password, account: None })
}

/// The password from the sources that hold nothing but a password.
fn named_password(
    arguments: &LoginArguments,
    url: &ServerUrl,
    user: Option<&[u8]>,
    surroundings: &Surroundings,
) -> Result<Option<Secret>, CredentialsError> {
    if arguments.password_stdin {
        let place = "the standard input";
        let unreadable = |error| CredentialsError::Unreadable { place: place.into(), error };
        return first_line(&mut *(surroundings.input)().map_err(unreadable)?, place).map(Some);
    }
    if let Some(path) = &arguments.password_file {
        return from_file(path).map(Some);
    }
    if let Some(password) = &url.password {
        tracing::warn!(
            "the password in the URL can be seen by every user of this machine; ~/.netrc or --password-file keep it secret"
        );
        return checked(password.clone(), "the URL").map(Some);
    }
    if let Some(password) = surroundings.set_down(PASSWORD_VARIABLE, SYSTEMD_CREDENTIAL)? {
        return Ok(Some(password));
    }
    user.map_or(Ok(None), |user| surroundings.kept_by_the_kernel(KEY_KIND, user, &url.host))
}

/// The password from the first line of a file that nobody else can read.
///
/// # Errors
/// Others can, or we cannot.
pub(super) fn from_file(path: &Path) -> Result<Secret, CredentialsError> {
    first_line(&mut open_private(path)?, &path.display().to_string())
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
    // With room for all of it: a vector that grows leaves copies behind.
    let len = file.metadata().map_or(0, |metadata| metadata.len()).min(NETRC_LEN_MAX);
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 64));
    let read = file.take(NETRC_LEN_MAX).read_to_end(&mut text);
    read.map_err(|error| CredentialsError::Unreadable { place: place(), error })?;
    let Some(login) = netrc::find(&text, &url.host, user) else { return Ok(None) };
    for secret in [&login.password, &login.account].into_iter().flatten() {
        checked(secret.clone(), &place())?;
    }
    if login.user.as_deref().is_some_and(has_line_break) {
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

/// Byte by byte: what stands behind the line is others', and no buffer keeps a copy.
fn first_line(reader: &mut dyn Read, place: &str) -> Result<Secret, CredentialsError> {
    let unreadable = |error| CredentialsError::Unreadable { place: place.into(), error };
    let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_LEN_MAX));
    let mut byte = Zeroizing::new([0_u8; 1]);
    let has_end = loop {
        match reader.read(&mut *byte) {
            Ok(0) => break false,
            Ok(_) if *byte == [b'\n'] => break true,
            Ok(_) if line.len() == PASSWORD_LEN_MAX => return Err(CredentialsError::TooLong(place.into())),
            Ok(_) => line.extend_from_slice(&*byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    };
    if line.is_empty() && !has_end {
        return Err(unreadable(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty")));
    }
    let password = line.strip_suffix(b"\r").unwrap_or(&line);
    checked(Secret::new(password), place)
}

/// What the command that carries it thinks of it.
fn checked(password: Secret, place: &str) -> Result<Secret, CredentialsError> {
    let mut line = Zeroizing::new(Vec::new());
    match Command::Pass(password.clone()).encode(&mut line, Encoding::default()) {
        Ok(()) => Ok(password),
        Err(CommandError::TooLong) => Err(CredentialsError::TooLong(place.into())),
        Err(_) => Err(CredentialsError::LineBreak(place.into())),
    }
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

//! Commands: what we say on the control connection.
//!
//! A [`Command`] becomes one line of bytes by [`Command::encode`], the only way to make one: upper case, no
//! space behind a verb without arguments, and no byte in an argument that could end the line.
//!
//! Not here: which reply belongs to which command (`pipeline`), what to do after a lost connection
//! (`pool::retry`, which asks [`Command::safe_to_repeat`]).

use std::borrow::Cow;
use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};

use super::entry::Timestamp;
use super::path::{RemotePath, write_readable};
use super::pipeline::Expects;
use super::secret::Secret;
use super::timestamp::{format_time_val, is_expressible};

/// The longest line that any server gets, with its CR LF. vsftpd 3.0.3 reads no longer one, and a server that cuts a line
/// at its own limit could take the rest of it for another command.
pub const LINE_BYTES_MAX: usize = 4096;

/// The longest line for servers that have not been seen to take a longer one. pyftpdlib answers one of more than 2048 bytes
/// twice, and Pure-FTPd loses count where several of 3000 bytes come at once: each later reply would be taken for that of another
/// command.
pub const LINE_BYTES_USUAL_MAX: usize = 2048;

/// Telnet's "interpret as command" (RFC 854): doubled where it is data.
const TELNET_IAC: u8 = 0xFF;

/// Why a command cannot be sent. Nothing of it has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// An argument with CR, LF or NUL: the server would see two commands (RFC 959 §5.3.1).
    #[error("FTP cannot send an argument with a line break or NUL in it")]
    LineBreak,
    /// Longer than [`Encoding::line_bytes_max`].
    #[error("the command would be longer than this server takes")]
    TooLong,
    /// A year before 0 or after 9999: RFC 3659 §2.3 has four digits for it.
    #[error("FTP cannot write a year before 0 or after 9999")]
    TimeOutOfRange,
}

/// How arguments become bytes on this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Doubles each 0xFF, as telnet wants it (RFC 959 §2.3, RFC 854), and as ProFTPD needs it. Off for vsftpd
    /// and Pure-FTPd, which take the byte as it is and would store two.
    pub double_iac: bool,
    /// How long a line may be, with its CR LF: at most [`LINE_BYTES_MAX`].
    pub line_bytes_max: usize,
}

impl Default for Encoding {
    fn default() -> Self {
        Self { double_iac: true, line_bytes_max: LINE_BYTES_MAX }
    }
}

/// How bytes are represented in transfers (RFC 959 §3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeCode {
    /// TYPE A: lines, changed on the way.
    Ascii,
    /// TYPE I: bytes as stored.
    Image,
}

/// The two orders of arguments that servers have for SITE UTIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UtimeSpelling {
    /// `SITE UTIME time path` (ProFTPD).
    TimeFirst,
    /// `SITE UTIME path atime mtime ctime UTC` (Pure-FTPd).
    PathFirst,
}

/// One command with its arguments, named as the RFC spells its verb.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// USER: who logs in (RFC 959 §4.1.1).
    User(Box<[u8]>),
    /// PASS: the password (RFC 959 §4.1.1).
    Pass(Secret),
    /// ACCT: the account, where a server asks for one with 332 (RFC 959 §4.1.1).
    Acct(Secret),
    /// HOST: which of several servers behind one address (RFC 7151).
    Host(Box<str>),
    /// CLNT: our name; some servers want it before OPTS UTF8.
    Clnt(Cow<'static, str>),
    /// FEAT: what the server can do (RFC 2389).
    Feat,
    /// SYST: what the server runs on (RFC 959 §4.1.3).
    Syst,
    /// OPTS: an option of a command (RFC 2389 §4).
    Opts(Cow<'static, str>),
    /// TYPE: how bytes are represented (RFC 959 §3.1.1).
    Type(TypeCode),
    /// PWD: the current directory (RFC 959 §4.1.3).
    Pwd,
    /// CWD: changes the current directory (RFC 959 §4.1.1).
    Cwd(RemotePath),
    /// CDUP: to the parent directory (RFC 959 §4.1.1).
    Cdup,
    /// EPSV: the server listens for the data connection (RFC 2428 §3).
    Epsv,
    /// PASV: the same, IPv4 only (RFC 959 §4.1.2).
    Pasv,
    /// EPRT: we listen for the data connection (RFC 2428 §2).
    Eprt(SocketAddr),
    /// PORT: the same, IPv4 only (RFC 959 §4.1.2).
    Port(SocketAddrV4),
    /// PRET: announces the command that a following PASV is for (DrFTPD, glFTPd).
    Pret(Box<Command>),
    /// REST: the restart offset of the next transfer (RFC 3659 §5).
    Rest(u64),
    /// RANG: first and last byte of the next transfer (draft-bryan-ftp-range, ProFTPD).
    Rang {
        /// The first byte.
        first: u64,
        /// The last byte, which still belongs to it.
        last: u64,
    },
    /// RETR: a file's bytes to us (RFC 959 §4.1.3).
    Retr(RemotePath),
    /// STOR: bytes to a file, replacing it (RFC 959 §4.1.3).
    Stor(RemotePath),
    /// APPE: bytes behind a file (RFC 959 §4.1.3).
    Appe(RemotePath),
    /// ALLO: how many bytes will follow (RFC 959 §4.1.3).
    Allo(u64),
    /// RNFR: what is to be renamed (RFC 959 §4.1.3).
    Rnfr(RemotePath),
    /// RNTO: its new name (RFC 959 §4.1.3).
    Rnto(RemotePath),
    /// DELE: removes a file (RFC 959 §4.1.3).
    Dele(RemotePath),
    /// MKD: makes a directory (RFC 959 §4.1.3).
    Mkd(RemotePath),
    /// RMD: removes an empty directory (RFC 959 §4.1.3).
    Rmd(RemotePath),
    /// MLSD: a directory's entries with facts (RFC 3659 §7); of the current directory without a path.
    Mlsd(Option<RemotePath>),
    /// MLST: one entry with facts, on the control connection (RFC 3659 §7).
    Mlst(RemotePath),
    /// LIST: a directory's entries for people (RFC 959 §4.1.3).
    List {
        /// Options as Unix servers take them, `-a`.
        options: Option<&'static str>,
        /// The directory; the current one without.
        path: Option<RemotePath>,
    },
    /// STAT: the session's state, or a listing on the control connection (RFC 959 §4.1.3).
    Stat(Option<RemotePath>),
    /// STAT of the current directory: servers expand wildcards in any other path, and cut it at spaces.
    StatHere {
        /// Options as `ls` has them, where the server takes them.
        options: Option<&'static str>,
    },
    /// SIZE: how many bytes a RETR would bring (RFC 3659 §4).
    Size(RemotePath),
    /// MDTM: when a file was last modified (RFC 3659 §3).
    Mdtm(RemotePath),
    /// MDTM with two arguments: sets that time (vsftpd, Serv-U).
    MdtmSet {
        /// The file.
        path: RemotePath,
        /// To the second.
        time: Timestamp,
    },
    /// MFMT: sets the modification time (draft-somers-ftp-mfxx).
    Mfmt {
        /// The file.
        path: RemotePath,
        /// To the second.
        time: Timestamp,
    },
    /// MFF with the `modify` fact: sets the modification time (draft-somers-ftp-mfxx).
    Mff {
        /// The file.
        path: RemotePath,
        /// To the second.
        time: Timestamp,
    },
    /// SITE UTIME: sets the modification time.
    SiteUtime {
        /// The file.
        path: RemotePath,
        /// To the second.
        time: Timestamp,
        /// Which of the two orders of arguments.
        spelling: UtimeSpelling,
    },
    /// SITE CHMOD: sets the permission bits.
    SiteChmod {
        /// The permission bits, 0 to 0o7777.
        mode: u32,
        /// The file.
        path: RemotePath,
    },
    /// SITE SYMLINK: makes a symbolic link (ProFTPD). What a space in one of the two means is the server's choice.
    SiteSymlink {
        /// Where it points to.
        target: Box<[u8]>,
        /// Its name.
        path: RemotePath,
    },
    /// SITE QUOTA: the account's limits, in words.
    SiteQuota,
    /// SITE HELP: which SITE commands there are.
    SiteHelp,
    /// AVBL: how many bytes can still be stored (draft-peterson-streamlined-ftp-command-extensions).
    Avbl(RemotePath),
    /// ABOR: stops the transfer (RFC 959 §4.1.3).
    Abor,
    /// NOOP: nothing, but an answer (RFC 959 §4.1.3).
    Noop,
    /// QUIT: the end (RFC 959 §4.1.1).
    Quit,
    /// AUTH TLS (RFC 4217 §4).
    AuthTls,
    /// AUTH SSL: what came before AUTH TLS.
    AuthSsl,
    /// PBSZ 0 (RFC 4217 §8).
    Pbsz0,
    /// PROT P: data connections are encrypted (RFC 4217 §9).
    ProtP,
}

impl Command {
    /// The verb as it is sent; for SITE with its second word.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::User(_) => "USER",
            Self::Pass(_) => "PASS",
            Self::Acct(_) => "ACCT",
            Self::Host(_) => "HOST",
            Self::Clnt(_) => "CLNT",
            Self::Feat => "FEAT",
            Self::Syst => "SYST",
            Self::Opts(_) => "OPTS",
            Self::Type(_) => "TYPE",
            Self::Pwd => "PWD",
            Self::Cwd(_) => "CWD",
            Self::Cdup => "CDUP",
            Self::Epsv => "EPSV",
            Self::Pasv => "PASV",
            Self::Eprt(_) => "EPRT",
            Self::Port(_) => "PORT",
            Self::Pret(_) => "PRET",
            Self::Rest(_) => "REST",
            Self::Rang { .. } => "RANG",
            Self::Retr(_) => "RETR",
            Self::Stor(_) => "STOR",
            Self::Appe(_) => "APPE",
            Self::Allo(_) => "ALLO",
            Self::Rnfr(_) => "RNFR",
            Self::Rnto(_) => "RNTO",
            Self::Dele(_) => "DELE",
            Self::Mkd(_) => "MKD",
            Self::Rmd(_) => "RMD",
            Self::Mlsd(_) => "MLSD",
            Self::Mlst(_) => "MLST",
            Self::List { .. } => "LIST",
            Self::Stat(_) | Self::StatHere { .. } => "STAT",
            Self::Size(_) => "SIZE",
            Self::Mdtm(_) | Self::MdtmSet { .. } => "MDTM",
            Self::Mfmt { .. } => "MFMT",
            Self::Mff { .. } => "MFF",
            Self::SiteUtime { .. } => "SITE UTIME",
            Self::SiteChmod { .. } => "SITE CHMOD",
            Self::SiteSymlink { .. } => "SITE SYMLINK",
            Self::SiteQuota => "SITE QUOTA",
            Self::SiteHelp => "SITE HELP",
            Self::Avbl(_) => "AVBL",
            Self::Abor => "ABOR",
            Self::Noop => "NOOP",
            Self::Quit => "QUIT",
            Self::AuthTls | Self::AuthSsl => "AUTH",
            Self::Pbsz0 => "PBSZ",
            Self::ProtP => "PROT",
        }
    }

    /// Writes the command behind what is in `line`: verb, arguments, CR LF.
    ///
    /// # Errors
    /// [`CommandError`]: it cannot be sent, and `line` is as it was.
    pub fn encode(&self, line: &mut Vec<u8>, encoding: Encoding) -> Result<(), CommandError> {
        if self.time().is_some_and(|time| !is_expressible(&time)) {
            return Err(CommandError::TimeOutOfRange);
        }
        let begin = line.len();
        // As large as it can become: a vector that grows leaves copies of passwords behind.
        let mut len_max = self.verb().len() + 2;
        self.visit_arguments(&mut |argument| len_max += 1 + 2 * argument.len());
        line.reserve_exact(len_max);
        line.extend_from_slice(self.verb().as_bytes());
        let mut has_line_break = false;
        self.visit_arguments(&mut |argument| {
            // An empty password or account leaves the verb alone: some servers refuse a space behind it.
            if argument.is_empty() {
                return;
            }
            line.push(b' ');
            for &byte in argument {
                has_line_break |= matches!(byte, b'\r' | b'\n' | 0);
                line.push(byte);
                if byte == TELNET_IAC && encoding.double_iac {
                    line.push(byte);
                }
            }
        });
        line.extend_from_slice(b"\r\n");
        let refused = match (has_line_break, line.len() - begin > encoding.line_bytes_max) {
            (true, _) => CommandError::LineBreak,
            (_, true) => CommandError::TooLong,
            (false, false) => return Ok(()),
        };
        // What is cut off may be half a password, and stays in the vector's spare room otherwise.
        line.iter_mut().skip(begin).for_each(|byte| *byte = 0);
        line.truncate(begin);
        Err(refused)
    }

    /// Which replies fit this command (RFC 959 §5.4 and §6, each command's own RFC).
    pub fn expects(&self) -> Expects {
        match self {
            Self::User(_) | Self::Pass(_) | Self::Acct(_) | Self::AuthTls | Self::AuthSsl => Expects::Login,
            Self::Rest(_) | Self::Rang { .. } | Self::Rnfr(_) => Expects::Intermediate,
            Self::Epsv | Self::Pasv => Expects::Address,
            Self::Retr(_) | Self::Stor(_) | Self::Appe(_) | Self::Mlsd(_) | Self::List { .. } => Expects::Transfer,
            // ABOR may be answered by the transfer's own 225 or 226; SITE and STAT by what their servers like.
            Self::Abor
            | Self::Stat(_)
            | Self::StatHere { .. }
            | Self::SiteUtime { .. }
            | Self::SiteChmod { .. }
            | Self::SiteSymlink { .. }
            | Self::SiteQuota
            | Self::SiteHelp => Expects::Lenient,
            Self::Host(_)
            | Self::Clnt(_)
            | Self::Feat
            | Self::Syst
            | Self::Opts(_)
            | Self::Type(_)
            | Self::Pwd
            | Self::Cwd(_)
            | Self::Cdup
            | Self::Eprt(_)
            | Self::Port(_)
            | Self::Pret(_)
            | Self::Allo(_)
            | Self::Rnto(_)
            | Self::Dele(_)
            | Self::Mkd(_)
            | Self::Rmd(_)
            | Self::Mlst(_)
            | Self::Size(_)
            | Self::Mdtm(_)
            | Self::MdtmSet { .. }
            | Self::Mfmt { .. }
            | Self::Mff { .. }
            | Self::Avbl(_)
            | Self::Noop
            | Self::Quit
            | Self::Pbsz0
            | Self::ProtP => Expects::Completion,
        }
    }

    /// Whether the server's files are the same after it ran twice as after it ran once, with the same answer.
    ///
    /// So it may be sent again on a new connection when the old one was lost before the reply. What the
    /// session keeps (directory, type, restart offset) is not meant: a new connection has to be told again.
    pub fn safe_to_repeat(&self) -> bool {
        match self {
            // Each of these changes the server, and run again meets what it has done (550 after a DELE that
            // worked), or the work of somebody else that came between.
            Self::Stor(_)
            | Self::Appe(_)
            | Self::Rnto(_)
            | Self::Dele(_)
            | Self::Mkd(_)
            | Self::Rmd(_)
            | Self::SiteSymlink { .. } => false,
            // ABOR and QUIT are meant for the connection that is lost.
            Self::Abor | Self::Quit => false,
            Self::Pret(_)
            | Self::User(_)
            | Self::Pass(_)
            | Self::Acct(_)
            | Self::Host(_)
            | Self::Clnt(_)
            | Self::Feat
            | Self::Syst
            | Self::Opts(_)
            | Self::Type(_)
            | Self::Pwd
            | Self::Cwd(_)
            | Self::Cdup
            | Self::Epsv
            | Self::Pasv
            | Self::Eprt(_)
            | Self::Port(_)
            | Self::Rest(_)
            | Self::Rang { .. }
            | Self::Retr(_)
            | Self::Allo(_)
            | Self::Rnfr(_)
            | Self::Mlsd(_)
            | Self::Mlst(_)
            | Self::List { .. }
            | Self::Stat(_)
            | Self::StatHere { .. }
            | Self::Size(_)
            | Self::Mdtm(_)
            | Self::MdtmSet { .. }
            | Self::Mfmt { .. }
            | Self::Mff { .. }
            | Self::SiteUtime { .. }
            | Self::SiteChmod { .. }
            | Self::SiteQuota
            | Self::SiteHelp
            | Self::Avbl(_)
            | Self::Noop
            | Self::AuthTls
            | Self::AuthSsl
            | Self::Pbsz0
            | Self::ProtP => true,
        }
    }

    /// Whether the arguments must not be shown, nor the line kept in memory once it is sent.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Pass(_) | Self::Acct(_))
    }

    fn time(&self) -> Option<Timestamp> {
        match self {
            Self::MdtmSet { time, .. }
            | Self::Mfmt { time, .. }
            | Self::Mff { time, .. }
            | Self::SiteUtime { time, .. } => Some(*time),
            Self::Pret(command) => command.time(),
            _ => None,
        }
    }

    /// Hands each argument to `visit`, in the order in which they are sent.
    fn visit_arguments(&self, visit: &mut dyn FnMut(&[u8])) {
        match self {
            Self::User(name) => visit(name),
            Self::Pass(secret) | Self::Acct(secret) => visit(secret.expose()),
            Self::Host(name) => visit(name.as_bytes()),
            Self::Clnt(text) | Self::Opts(text) => visit(text.as_bytes()),
            Self::Type(TypeCode::Ascii) => visit(b"A"),
            Self::Type(TypeCode::Image) => visit(b"I"),
            Self::Eprt(address) => visit(eprt_argument(address).as_bytes()),
            Self::Port(address) => visit(port_argument(address).as_bytes()),
            Self::Pret(command) => {
                visit(command.verb().as_bytes());
                command.visit_arguments(visit);
            }
            Self::Rest(number) | Self::Allo(number) => visit(number.to_string().as_bytes()),
            Self::Rang { first, last } => visit(format!("{first} {last}").as_bytes()),
            Self::Cwd(path)
            | Self::Retr(path)
            | Self::Stor(path)
            | Self::Appe(path)
            | Self::Rnfr(path)
            | Self::Rnto(path)
            | Self::Dele(path)
            | Self::Mkd(path)
            | Self::Rmd(path)
            | Self::Mlst(path)
            | Self::Size(path)
            | Self::Mdtm(path)
            | Self::Avbl(path) => visit(path.as_bytes()),
            Self::StatHere { options } => options.iter().copied().chain(["."]).for_each(|word| visit(word.as_bytes())),
            Self::Mlsd(path) | Self::Stat(path) => path.iter().for_each(|path| visit(path.as_bytes())),
            Self::List { options, path } => {
                options.iter().for_each(|options| visit(options.as_bytes()));
                path.iter().for_each(|path| visit(path.as_bytes()));
            }
            Self::MdtmSet { path, time } | Self::Mfmt { path, time } => {
                visit(format_time_val(time).as_bytes());
                visit(path.as_bytes());
            }
            Self::Mff { path, time } => {
                visit(format!("Modify={};", format_time_val(time)).as_bytes());
                visit(path.as_bytes());
            }
            Self::SiteUtime { path, time, spelling: UtimeSpelling::TimeFirst } => {
                visit(format_time_val(time).as_bytes());
                visit(path.as_bytes());
            }
            Self::SiteUtime { path, time, spelling: UtimeSpelling::PathFirst } => {
                let time = format_time_val(time);
                visit(path.as_bytes());
                visit(format!("{time} {time} {time} UTC").as_bytes());
            }
            Self::SiteChmod { mode, path } => {
                visit(format!("{mode:03o}").as_bytes());
                visit(path.as_bytes());
            }
            Self::SiteSymlink { target, path } => {
                visit(target);
                visit(path.as_bytes());
            }
            Self::AuthTls => visit(b"TLS"),
            Self::AuthSsl => visit(b"SSL"),
            Self::Pbsz0 => visit(b"0"),
            Self::ProtP => visit(b"P"),
            Self::Feat
            | Self::Syst
            | Self::Pwd
            | Self::Cdup
            | Self::Epsv
            | Self::Pasv
            | Self::SiteQuota
            | Self::SiteHelp
            | Self::Abor
            | Self::Noop
            | Self::Quit => {}
        }
    }
}

/// For logs: the line without its end, unprintable bytes escaped, secrets as `***`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        if self.is_secret() {
            return f.write_str(" ***");
        }
        let mut result = Ok(());
        self.visit_arguments(&mut |argument| {
            if result.is_ok() && !argument.is_empty() {
                result = f.write_str(" ").and_then(|()| write_readable(f, argument));
            }
        });
        result
    }
}

/// `|1|132.235.1.2|6275|` or `|2|1080::8:800:200C:417A|5282|` (RFC 2428 §2). A scope (`%eth0`) is ours alone.
fn eprt_argument(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => format!("|1|{}|{}|", address.ip(), address.port()),
        SocketAddr::V6(address) => format!("|2|{}|{}|", address.ip(), address.port()),
    }
}

/// Address and port as six numbers, high bytes first (RFC 959 §4.1.2).
fn port_argument(address: &SocketAddrV4) -> String {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

#[cfg(test)]
mod tests;

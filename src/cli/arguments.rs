//! Options as typed: names, help texts, and the shapes of their values.
//!
//! Not here: what they mean together (`config`), where passwords come from (`credentials`), and the forms that mount(8) and
//! fstab use (`invocation`).

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::connection::tls::Fingerprint;

/// No option sets a longer time: what is meant as "never" would be a hang.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The number that means "nobody" to chown(2): the kernel lets no one near a file of that owner.
const ID_NONE: i64 = u32::MAX as i64;

/// Mounts an FTP server as a folder.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ftpfs",
    version,
    about = "Mounts an FTP server as a folder",
    override_usage = "ftpfs [OPTIONS] URL MOUNTPOINT\n       ftpfs status [--json] [--watch] [MOUNTPOINT]\n       ftpfs flush [--timeout TIME] MOUNTPOINT\n       ftpfs refresh MOUNTPOINT [PATH]\n       ftpfs umount [--lazy] MOUNTPOINT",
    after_help = "Examples:\n  \
        ftpfs ftp://ftp.example.org/pub /mnt/pub           anonymous\n  \
        ftpfs ftp://anna@nas.local/backup ~/nas            password from ~/.netrc, or asked for\n  \
        ftpfs ftpes://anna@nas.local/backup ~/nas          encrypted; ftps:// for port 990\n  \
        ftpfs -f -v --ro ftp://anna@nas.local//srv ~/nas   in the foreground; //srv is an absolute path\n  \
        ftpfs umount ~/nas\n\n\
        DIRECTORY is relative to the directory that the login leads to; with a second slash it is absolute. In a URL a space is \
        written %20, # %23, ? %3F, % %25.\n\n\
        The command returns when the mount is ready: logged in, the directory listed. What fails before that is said in a sentence, \
        and nothing is mounted.\n\n\
        In fstab:\n  \
        ftp://anna@nas.local/backup  /mnt/nas  ftpfs  _netdev,password_file=/etc/ftpfs/nas,uid=1000  0 0\n\n\
        The password comes from the first of: --password-stdin, --password-file, the URL (not advised: ps shows it), the variable \
        FTPFS_PASSWORD, the systemd credential ftpfs.password, the key ftpfs:USER@HOST in the kernel's keyring, ~/.netrc ($NETRC), the terminal.\n\n\
        The proxy is that of --proxy, or of the variables ftp_proxy (ftps_proxy), all_proxy and no_proxy, also in capitals.\n\n\
        Exit codes: 0 mounted, or unmounted with everything stored; 1 other failure; 2 wrong usage; 3 server not reached; 4 login refused; \
        5 directory not there; 6 mountpoint unusable; 7 mounting failed; 8 no password; 9 not an FTP server; 10 not encrypted or not trusted; \
        11 state directory unusable; 12 ended (or flushed) with files that are in the journal only; 75 ended (or flushed) with files not stored.",
    max_term_width = 110
)]
pub(super) struct MountArguments {
    /// What to mount.
    // As an argument, for in a docstring brackets are links.
    #[arg(
        value_name = "URL",
        help = "What to mount: ftp://[USER@]HOST[:PORT][/DIRECTORY]; ftpes:// encrypted, ftps:// on port 990"
    )]
    pub(super) url: String,
    /// Where to mount it: an empty directory
    #[arg(value_name = "MOUNTPOINT")]
    pub(super) mountpoint: PathBuf,
    /// Options as in fstab: any long option without its dashes, as in -o ro,uid=1000
    #[arg(short = 'o', value_name = "OPTION,...")]
    pub(super) options: Vec<String>,
    /// Stay in the foreground and log to the terminal; Ctrl-C unmounts
    #[arg(short, long)]
    pub(super) foreground: bool,
    #[command(flatten)]
    pub(super) login: LoginArguments,
    #[command(flatten)]
    pub(super) encryption: EncryptionArguments,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
    #[command(flatten)]
    pub(super) files: FileArguments,
    #[command(flatten)]
    pub(super) writing: WriteArguments,
    #[command(flatten)]
    pub(super) caches: CacheArguments,
    #[command(flatten)]
    pub(super) logging: LogArguments,
}

/// Who logs in.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Login")]
pub(super) struct LoginArguments {
    /// The user, where the URL names none
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Read the password from the first line of FILE, which nobody else may be able to read
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// Read the password from the first line of the standard input
    #[arg(long, conflicts_with = "password_file")]
    pub(super) password_stdin: bool,
}

/// Whether connections are encrypted, and whom to trust.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Encryption")]
pub(super) struct EncryptionArguments {
    /// With ftp://: encrypt or fail, encrypt where the server does, or do not (ftps:// and ftpes:// always encrypt)
    #[arg(long, value_name = "HOW")]
    pub(super) tls: Option<TlsArgument>,
    /// Trust the authorities in FILE (PEM) instead of those of the system, and certificates that are in it themselves
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert_fingerprint", "known_certs", "insecure"])]
    pub(super) ca_file: Option<PathBuf>,
    /// Trust the certificate with this SHA-256 and no other, whatever else it says; may be given several times
    #[arg(long, value_name = "SHA256", conflicts_with_all = ["known_certs", "insecure"])]
    pub(super) cert_fingerprint: Vec<Fingerprint>,
    /// Trust the certificate that the server has the first time, remember it in FILE, and trust no other from then on
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(super) known_certs: Option<PathBuf>,
    /// Show the server this certificate of ours (PEM)
    #[arg(long, value_name = "FILE")]
    pub(super) client_cert: Option<PathBuf>,
    /// The key to it (PEM), where it is not in the same file
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(super) client_key: Option<PathBuf>,
    /// Trust whoever answers: who sits between can read and change everything, the password too
    #[arg(long)]
    pub(super) insecure: bool,
}

/// How the server is talked to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connections")]
pub(super) struct ConnectionArguments {
    /// Connections to the server at most; fewer if it says that these are too many
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) connections: u16,
    /// Time to connect, over all addresses of the host
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(super) connect_timeout: Duration,
    /// Time the server may take to reply to a command
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    pub(super) reply_timeout: Duration,
    /// Time a transfer may stand still
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) data_timeout: Duration,
    /// Time for one operation with all its attempts; then programs get "Connection timed out"
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    /// Close connections that were not used for this long
    #[arg(long, value_name = "TIME", default_value = "50s", value_parser = parse_duration)]
    pub(super) idle_timeout: Duration,
    /// Passive mode: how to ask for the data port
    #[arg(long, value_name = "HOW", default_value = "auto", conflicts_with = "active")]
    pub(super) passive: PassiveArgument,
    /// Passive mode: connect to the address of the control connection, or to the one in the server's reply
    #[arg(long, value_name = "WHICH", default_value = "control", conflicts_with = "active")]
    pub(super) pasv_address: PassiveAddressArgument,
    /// Active mode: the server connects to us
    #[arg(long)]
    pub(super) active: bool,
    /// Active mode: the address the server is told, if not that of the control connection
    #[arg(long, value_name = "ADDRESS", requires = "active")]
    pub(super) active_address: Option<IpAddr>,
    /// Active mode: the ports to listen on, as in 50000-50100
    #[arg(long, value_name = "FIRST-LAST", requires = "active", value_parser = parse_ports)]
    pub(super) active_ports: Option<RangeInclusive<u16>>,
    /// Connect through a proxy: socks5h://, socks5:// or http:// and HOST:PORT, with USER@ before where it wants a login; `none`: whatever the environment says
    #[arg(long, value_name = "URL")]
    pub(super) proxy: Option<String>,
    /// Read the proxy's password from the first line of FILE, which nobody else may be able to read
    #[arg(long, value_name = "FILE")]
    pub(super) proxy_password_file: Option<PathBuf>,
    /// Send each command only after the reply to the one before: slower, for servers that lose count
    #[arg(long)]
    pub(super) no_pipelining: bool,
}

/// How files look and what may be done with them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub(super) struct FileArguments {
    /// Change nothing on the server
    #[arg(long, visible_alias = "read-only")]
    pub(super) ro: bool,
    /// Owner of all files (default: who mounts)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(..ID_NONE))]
    pub(super) uid: Option<u32>,
    /// Group of all files (default: of who mounts)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(..ID_NONE))]
    pub(super) gid: Option<u32>,
    /// Permission bits taken from files and directories, octal
    #[arg(long, value_name = "BITS", value_parser = parse_octal)]
    pub(super) umask: Option<u32>,
    /// The same for files alone
    #[arg(long, value_name = "BITS", value_parser = parse_octal)]
    pub(super) fmask: Option<u32>,
    /// The same for directories alone
    #[arg(long, value_name = "BITS", value_parser = parse_octal)]
    pub(super) dmask: Option<u32>,
    /// Permission bits of all files, whatever the server lists, octal
    #[arg(long, value_name = "BITS", value_parser = parse_octal)]
    pub(super) file_mode: Option<u32>,
    /// Permission bits of all directories, whatever the server lists, octal
    #[arg(long, value_name = "BITS", value_parser = parse_octal)]
    pub(super) dir_mode: Option<u32>,
    /// Let other users in, as far as the permission bits do
    #[arg(long)]
    pub(super) allow_other: bool,
    /// Nothing in the mount can be executed
    #[arg(long)]
    pub(super) noexec: bool,
    /// Mount over a directory that is not empty
    #[arg(long)]
    pub(super) nonempty: bool,
    /// Symbolic links that lead out of the mount: an error, or the target as the server tells it
    #[arg(long, value_name = "HOW", default_value = "contained")]
    pub(super) links: LinksArgument,
    /// What chown to another owner does: FTP cannot
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    pub(super) chown: ChownArgument,
}

/// What becomes of what is written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Written files")]
pub(super) struct WriteArguments {
    /// What close() waits for: the server's proof, or the journal on the local disk, from which it is delivered later
    #[arg(long, value_name = "WHERE", default_value = "server")]
    pub(super) durability: DurabilityArgument,
    /// What fsync() waits for: the server's proof, or with --durability=journal the local disk
    #[arg(long, value_name = "WHERE", default_value = "server")]
    pub(super) fsync: FsyncArgument,
    /// What a late delivery does where another client has changed the file meanwhile
    #[arg(long, value_name = "WHAT", default_value = "keep-both")]
    pub(super) on_conflict: ConflictArgument,
    /// Where journals lie, and written files until they are on the server (default: /var/lib/ftpfs for root, else
    /// ~/.local/state/ftpfs)
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) state_dir: Option<PathBuf>,
    /// Where written files lie in a mount without a journal (default: $TMPDIR, or /var/tmp)
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) staging_dir: Option<PathBuf>,
    /// How much written files may take on the local disk; what is sent makes room (default: half of what is free)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) staging_size: Option<u64>,
    /// From which size on files are changed in place, where little of them is changed and the server can
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    pub(super) in_place_min: u64,
    /// How long an ending mount waits for open files and uploads
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(super) shutdown_timeout: Duration,
}

/// What is remembered, and for how long.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Caches")]
pub(super) struct CacheArguments {
    /// How old a listing may be; changes by others are seen after this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_age)]
    pub(super) dir_timeout: Duration,
    /// How old a file's size and time may be when it is opened
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_age)]
    pub(super) attr_timeout: Duration,
    /// Memory for the content of files
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub(super) cache_size: u64,
    /// Keep what was read on the local disk, too, in DIRECTORY, for the next mounts
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) cache_dir: Option<PathBuf>,
    /// How much is kept there
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = parse_size, requires = "cache_dir")]
    pub(super) cache_dir_size: u64,
    /// Whether to ask for what will be needed next, on connections that nobody waits for
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    pub(super) prefetch: PrefetchArgument,
}

/// What is logged, and where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LogArguments {
    /// Log more: -v what is done, -vv every detail
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Log to FILE (default: the terminal with -f, else syslog)
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
    /// Log every command and reply; passwords are left out
    #[arg(long, visible_alias = "debug")]
    pub(super) trace_protocol: bool,
}

/// Whether to encrypt where the URL does not say.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TlsArgument {
    // Or no mount.
    Require,
    // Clear text where the server refuses.
    Prefer,
    // Clear text, without a warning.
    Off,
}

/// How to ask for a passive data port.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PassiveArgument {
    // EPSV, and PASV if the server does not know it.
    Auto,
    // EPSV only.
    Epsv,
    // PASV only.
    Pasv,
}

/// Which address a passive data connection goes to.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PassiveAddressArgument {
    // That of the control connection.
    Control,
    // That in the server's reply.
    Server,
}

/// What is told of links that lead out of the mount.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LinksArgument {
    // An error; absolute targets are paths on the server.
    Contained,
    // The target in the server's words.
    AsTold,
}

/// What becomes of a chown that cannot be done.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ChownArgument {
    // It fails with "Operation not permitted".
    Refuse,
    // It seems to work.
    Ignore,
}

/// What close() waits for.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DurabilityArgument {
    // The server's proof.
    Server,
    // The journal on the local disk.
    Journal,
}

/// What fsync() waits for.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FsyncArgument {
    // The server's proof.
    Server,
    // What close() waits for.
    Local,
}

/// Whether anything is asked before it is needed.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrefetchArgument {
    // Where it promises to be of use.
    On,
    // Nothing that no program waits for.
    Off,
}

/// What becomes of a late delivery that meets another client's change.
// The variants have no docstrings: these would become texts in the help, one line for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ConflictArgument {
    // Ours is stored beside theirs.
    KeepBoth,
    // Ours replaces theirs.
    Ours,
    // Ours is set aside on the local disk.
    Theirs,
}

/// Shows what mounts are doing.
#[derive(Debug, Clone, Parser)]
#[command(name = "ftpfs status", about = "Shows what a mount is doing", disable_version_flag = true)]
pub(super) struct StatusArguments {
    /// Where it is mounted (default: all mounts of this user)
    #[arg(value_name = "MOUNTPOINT")]
    pub(super) mountpoint: Option<PathBuf>,
    /// For programs: an object for a mountpoint, else an array of them
    #[arg(long)]
    pub(super) json: bool,
    /// Show it again each second, until interrupted
    #[arg(short, long)]
    pub(super) watch: bool,
}

/// Uploads what is not on the server yet.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ftpfs flush",
    about = "Uploads what is not on the server yet, and returns when it is",
    after_help = "Ctrl-C ends the waiting; the mount goes on.\n\n\
        Exit codes: 0 all is on the server; 12 some files are not, and are in the journal, from which they are delivered later; \
        75 some files are not on the server, and are listed; 6 no ftpfs is mounted there.",
    disable_version_flag = true
)]
pub(super) struct FlushArguments {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub(super) mountpoint: PathBuf,
    /// Try again and again for this long (default: as long as uploads get on)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
}

/// Forgets what is cached.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ftpfs refresh",
    about = "Forgets what is known of files, so that the server is asked again",
    disable_version_flag = true
)]
pub(super) struct RefreshArguments {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub(super) mountpoint: PathBuf,
    /// A file or directory in it, by its path from the mountpoint or its whole path (default: everything)
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
}

/// Unmounts.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ftpfs umount",
    about = "Uploads what is not on the server yet, unmounts, and returns when the mount has ended",
    after_help = "Exit codes: 0 unmounted, all is on the server; 12 some files are not, and are in the journal: the next mount delivers them; \
        75 some files are not, and are listed; 6 in use, or no ftpfs is mounted there.",
    disable_version_flag = true
)]
pub(super) struct UmountArguments {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub(super) mountpoint: PathBuf,
    /// Also if it is in use, and at once: it ends when the last open file is closed
    #[arg(short, long)]
    pub(super) lazy: bool,
}

/// `90`, `90s`, `1.5s`, `500ms`, `2m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    match parse_age(text)? {
        Duration::ZERO => Err("the time must be more than 0".into()),
        duration => Ok(duration),
    }
}

/// As [`parse_duration`]; 0 is an age too, and means "ask each time".
fn parse_age(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time is a number with ms, s, m or h".into()),
    };
    let number: f64 = number.parse().map_err(|_| String::from("a time is a number with ms, s, m or h"))?;
    let duration = Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())?;
    if duration > DURATION_MAX {
        return Err("the time must be at most 24h".into());
    }
    Ok(duration)
}

/// `1048576`, `512K`, `256M`, `2G`.
fn parse_size(text: &str) -> Result<u64, String> {
    let message = || String::from("a size is a number with K, M or G");
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(message()),
    };
    let number: u64 = number.parse().map_err(|_| message())?;
    number.checked_mul(1 << shift).ok_or_else(|| String::from("the size is too large"))
}

fn parse_octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o7777 => Ok(bits),
        _ => Err("permission bits are octal, as in 022".into()),
    }
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let message = || String::from("ports are written FIRST-LAST, as in 50000-50100");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u16 = first.parse().map_err(|_| message())?;
    let last: u16 = last.parse().map_err(|_| message())?;
    if first == 0 || first > last {
        return Err(message());
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definition_of_the_options_is_sound() {
        MountArguments::command().debug_assert();
        UmountArguments::command().debug_assert();
        StatusArguments::command().debug_assert();
        FlushArguments::command().debug_assert();
        RefreshArguments::command().debug_assert();
    }

    #[test]
    fn owner_that_nobody_can_be_is_refused() {
        let parse = |uid| MountArguments::try_parse_from(["ftpfs", "--uid", uid, "ftp://h/", "/mnt"]);
        assert!(parse("4294967295").is_err());
        assert_eq!(parse("4294967294").unwrap().files.uid, Some(4_294_967_294));
    }

    #[test]
    fn times_have_units_and_limits() {
        for (text, millis) in [("90", 90_000), ("1.5s", 1500), ("500ms", 500), ("2m", 120_000), ("24h", 86_400_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "0", "-1", "25h", "1d", "1e9", "1.2.3", "99999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_age("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn sizes_have_units_and_limits() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("512K", 512 << 10), ("256m", 256 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1T", "1.5G", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bits_and_ports_are_checked() {
        assert_eq!(parse_octal("022"), Ok(0o22));
        assert!(parse_octal("8").is_err() && parse_octal("17777").is_err());
        assert_eq!(parse_ports("5000-5010"), Ok(5000..=5010));
        assert_eq!(parse_ports("5000"), Ok(5000..=5000));
        assert!(parse_ports("5010-5000").is_err() && parse_ports("0-1").is_err() && parse_ports("a-b").is_err());
    }
}

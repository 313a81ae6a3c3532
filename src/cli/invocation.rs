//! The ways to call the program, brought to one: `ftpfs …`, `ftpfs umount …` and its like, `mount.ftpfs …` as mount(8) calls it, and
//! `-o` with fstab's options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind;

use super::arguments::{FlushArguments, MountArguments, RefreshArguments, StatusArguments, UmountArguments};

/// Options of fstab that are for others (mount, systemd) or that are so anyway.
const IGNORED: [&str; 30] = [
    "_netdev",
    "nofail",
    "noauto",
    "auto",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "defaults",
    "rw",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "async",
    "atime",
    "noatime",
    "relatime",
    "norelatime",
    "nodiratime",
    "strictatime",
    "lazytime",
    "nolazytime",
    "sync",
    "dirsync",
    "silent",
    "loud",
    "default_permissions",
];

/// What the user wants.
#[derive(Debug)]
pub(super) enum Invocation {
    /// Mount, with these options, those behind `-o` among them.
    Mount(Box<MountArguments>),
    /// Unmount.
    Umount(UmountArguments),
    /// Show what mounts are doing.
    Status(StatusArguments),
    /// Upload what is dirty.
    Flush(FlushArguments),
    /// Forget what is cached.
    Refresh(RefreshArguments),
    /// mount(8)'s `-f`: say what would be done, without doing it.
    Nothing,
}

/// Understands the command line.
///
/// # Errors
/// What clap says of it: also the texts of `--help` and `--version`.
pub(super) fn parse(arguments: &[OsString]) -> Result<Invocation, clap::Error> {
    let program = arguments.first().map_or(OsStr::new("ftpfs"), OsString::as_os_str);
    let rest = arguments.get(1..).unwrap_or_default();
    match rest.first().and_then(|first| first.to_str()) {
        Some("umount" | "unmount") => return Ok(Invocation::Umount(UmountArguments::try_parse_from(rest)?)),
        Some("status") => return Ok(Invocation::Status(StatusArguments::try_parse_from(rest)?)),
        Some("flush") => return Ok(Invocation::Flush(FlushArguments::try_parse_from(rest)?)),
        Some("refresh") => return Ok(Invocation::Refresh(RefreshArguments::try_parse_from(rest)?)),
        _ => {}
    }
    let is_for_mount = is_mount_helper(program);
    let rest = if is_for_mount {
        match from_mount_helper(rest) {
            Some(rest) => rest,
            None => return Ok(Invocation::Nothing),
        }
    } else {
        rest.to_vec()
    };
    let first = parse_mount(&rest)?;
    let mut expanded = rest;
    for options in &first.options {
        expanded.extend(expand(options, is_for_mount)?);
    }
    Ok(Invocation::Mount(Box::new(parse_mount(&expanded)?)))
}

fn parse_mount(arguments: &[OsString]) -> Result<MountArguments, clap::Error> {
    MountArguments::try_parse_from(std::iter::once(&OsString::from("ftpfs")).chain(arguments))
}

fn is_mount_helper(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name.as_bytes().starts_with(b"mount."))
}

/// `mount.ftpfs SOURCE TARGET [-sfnv] [-N namespace] [-o options] [-t type.subtype]` (mount(8), "external helpers") in our
/// form; `None` for `-f`, which wants nothing done.
fn from_mount_helper(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let mut ours = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"-o" => ours.extend(["-o".into(), arguments.next().cloned().unwrap_or_default()]),
            b"-t" | b"-N" => drop(arguments.next()),
            [b'-', letters @ ..] if !letters.is_empty() && letters.iter().all(|letter| b"sfnv".contains(letter)) => {
                if letters.contains(&b'f') {
                    return None;
                }
                if letters.contains(&b'v') {
                    ours.push("-v".into());
                }
            }
            _ => ours.push(argument.clone()),
        }
    }
    Some(ours)
}

/// `ro,uid=1000,allow_other` as `--ro --uid=1000 --allow-other`. A backslash takes a comma's meaning away.
fn expand(options: &str, is_for_mount: bool) -> Result<Vec<OsString>, clap::Error> {
    let mut arguments = Vec::new();
    for option in split(options) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option.as_str(), None),
        };
        let is_foreign = name.starts_with("x-") || name.starts_with("X-") || name == "comment";
        // mount(8) makes `user=NAME` of fstab's `user`, with whoever called it; elsewhere it is the option.
        let is_option = name == "user" && value.is_some() && !is_for_mount;
        if name.is_empty() || is_foreign || (IGNORED.contains(&name) && !is_option) {
            continue;
        }
        let name = name.replace('_', "-");
        if name.starts_with('-') || name == "o" {
            let message = format!("`{name}` is no option for -o\n");
            return Err(clap::Error::raw(ErrorKind::UnknownArgument, message));
        }
        let argument = match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        };
        arguments.push(OsString::from_vec(argument.into_bytes()));
    }
    Ok(arguments)
}

fn split(options: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            ',' => parts.push(String::new()),
            character => {
                let character = if character == '\\' { characters.next().unwrap_or('\\') } else { character };
                if let Some(part) = parts.last_mut() {
                    part.push(character);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::arguments::{ConflictArgument, DurabilityArgument, FsyncArgument};
    use super::*;

    fn call(line: &[&str]) -> Result<Invocation, clap::Error> {
        parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn mount(line: &[&str]) -> MountArguments {
        match call(line).unwrap() {
            Invocation::Mount(arguments) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fstab_options_are_long_options_without_their_dashes() {
        let arguments =
            mount(&["ftpfs", "ftp://h", "/m", "-o", "ro,uid=7,allow_other,password_file=/a\\,b", "-o", "timeout=5"]);
        assert!(arguments.files.ro && arguments.files.allow_other);
        assert_eq!(arguments.files.uid, Some(7));
        assert_eq!(arguments.login.password_file.as_deref(), Some(Path::new("/a,b")));
        assert_eq!(arguments.connection.timeout.as_secs(), 5);
    }

    #[test]
    fn journal_is_had_by_fstab_options_too() {
        let options = "durability=journal,fsync=local,on_conflict=keep-both,state_dir=/var/lib/x";
        let writing = mount(&["ftpfs", "ftp://h", "/m", "-o", options]).writing;
        assert_eq!((writing.durability, writing.fsync), (DurabilityArgument::Journal, FsyncArgument::Local));
        assert_eq!((writing.on_conflict, writing.state_dir), (ConflictArgument::KeepBoth, Some("/var/lib/x".into())));
        for options in ["durability=disk", "fsync=journal", "on_conflict=both", "state_dir"] {
            assert!(call(&["ftpfs", "ftp://h", "/m", "-o", options]).is_err(), "{options}");
        }
    }

    #[test]
    fn options_meant_for_others_are_ignored_and_unknown_ones_refused() {
        let user = |program: &str, option: &str| mount(&[program, "ftp://h", "/m", "-o", option]).login.user;
        assert_eq!(user("ftpfs", "user"), None);
        assert_eq!(user("ftpfs", "user=anna").as_deref(), Some("anna"));
        assert_eq!(user("mount.ftpfs", "user=anna"), None);
        let all = format!("{},x-systemd.automount,comment=x,,", IGNORED.join(","));
        assert!(!mount(&["ftpfs", "ftp://h", "/m", "-o", &all]).files.ro);
        for options in ["nonsense", "-f", "uid=x", "o=ro"] {
            assert!(call(&["ftpfs", "ftp://h", "/m", "-o", options]).is_err(), "{options}");
        }
    }

    #[test]
    fn mount_8_calls_us_with_source_and_target_first() {
        let arguments =
            mount(&["/sbin/mount.ftpfs", "ftp://h", "/m", "-sn", "-v", "-t", "ftpfs", "-o", "rw,noauto,gid=3"]);
        assert_eq!((arguments.url.as_str(), arguments.files.gid, arguments.logging.verbose), ("ftp://h", Some(3), 1));
        assert!(!arguments.foreground);
        assert!(matches!(call(&["mount.ftpfs", "ftp://h", "/m", "-f"]).unwrap(), Invocation::Nothing));
    }

    #[test]
    fn commands_are_words_of_their_own() {
        assert!(matches!(call(&["ftpfs", "status", "--json"]).unwrap(), Invocation::Status(status) if status.json));
        assert!(matches!(call(&["ftpfs", "flush", "--timeout=5s", "/m"]).unwrap(), Invocation::Flush(_)));
        assert!(matches!(call(&["ftpfs", "refresh", "/m", "a"]).unwrap(), Invocation::Refresh(_)));
        assert!(call(&["ftpfs", "flush"]).is_err());
        assert!(matches!(call(&["ftpfs", "umount", "-l", "/m"]).unwrap(), Invocation::Umount(umount) if umount.lazy));
        assert!(call(&["ftpfs", "umount"]).is_err());
        assert!(call(&["ftpfs", "/m"]).is_err());
    }
}

//! Names that servers split, glob, cut or change: stored as they are, or refused with nothing done.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use crate::fixtures::mounted;
use crate::gate::Gate;
use crate::mounted::Mount;
use crate::servers::{Server, ServerKind, ServerSettings, wait_until};

/// The names, with what is awkward about them.
fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        // Spaces, where a listing's columns are split and where servers trim.
        " leading",
        "in  side",
        "trailing ",
        "  both  ",
        " ",
        // What URLs, shells and servers' globbing take for something else.
        "a#b",
        "a%41b",
        "50%",
        "a?b",
        "?",
        "a*b",
        "*",
        "[x]",
        "a[0-9]b",
        "]",
        "{a,b}",
        "~",
        "~root",
        "back\\slash",
        "\\",
        ";type=a",
        "semi;colon",
        "dou\"ble",
        "\"",
        "sin'gle",
        "&|<>$`",
        "a:b",
        "a=b",
        "a,b",
        "(brackets)",
        "^",
        // What a command or listing takes for an option or for a part of itself.
        "-rf",
        "-la",
        "--",
        "-",
        "a -> b",
        "total 12",
        "drwxr-xr-x",
        "type=dir; x",
        "150 here",
        "...",
        ".hidden",
        "..data",
        // Beyond ASCII: composed, decomposed, more than two bytes, more than three.
        "\u{e9}t\u{e9}",
        "e\u{301}te\u{301}",
        "\u{65e5}\u{672c}\u{8a9e}",
        "\u{1f600}",
        "\u{a0}",
        "\u{feff}mark",
        "\u{2028}",
        // Control characters but the line breaks.
        "ta\tb",
        "bell\u{7}",
        "escape\u{1b}[31m",
        "delete\u{7f}",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec();
    names.push(vec![b'n'; 255]);
    names.push([&"\u{e9}".repeat(127).into_bytes()[..], b"x"].concat());
    // No UTF-8: Latin-1, a byte that is a command of telnet, GBK.
    names.push(b"caf\xe9".to_vec());
    names.push(b"a\xffb".to_vec());
    names.push(b"\xff\xff".to_vec());
    names.push(b"\xc4\xe3\xba\xc3".to_vec());
    names
}

/// Whether this server is known to be unable to keep this name as it is.
fn may_be_refused(kind: ServerKind, name: &[u8], is_directory: bool) -> bool {
    let has_control = name.iter().any(|byte| *byte < b' ' || *byte == 0x7f);
    match kind {
        ServerKind::Vsftpd => false,
        // MKD refuses `*`, STOR does not.
        ServerKind::Proftpd => is_directory && name.contains(&b'*'),
        // A space at the end and control characters become `_`; a backslash is forbidden.
        ServerKind::PureFtpd => has_control || name.contains(&b'\\') || name.ends_with(b" ") || name.starts_with(b" "),
        // What is no UTF-8 becomes U+FFFD. Its command lines lose the space at their end.
        ServerKind::Pyftpdlib => std::str::from_utf8(name).is_err() || name.ends_with(b" "),
        ServerKind::Embedded => {
            std::str::from_utf8(name).is_err() || has_control || name.ends_with(b" ") || name.starts_with(b" ")
        }
    }
}

/// The errors that say to a program: this name cannot be had here.
fn is_clean_refusal(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::PermissionDenied | ErrorKind::InvalidFilename)
}

fn names_in(folder: &Path) -> BTreeSet<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// Writes a file so that an error of any step, the last included, is seen.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(crate) fn awkward_names_are_kept_or_refused_cleanly(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    for folder in ["files", "directories", "moved"] {
        fs::create_dir(mount.path().join(folder)).unwrap();
    }
    let (mut files, mut directories) = (BTreeSet::new(), BTreeSet::new());
    let mut complaints = Vec::new();
    for name in names() {
        let text = name.escape_ascii().to_string();
        let name = OsStr::from_bytes(&name);
        let made = write(&mount.path().join("files").join(name), name.as_bytes());
        let made_directory = fs::create_dir(mount.path().join("directories").join(name));
        for (made, stored, is_directory) in [(made, &mut files, false), (made_directory, &mut directories, true)] {
            let what = if is_directory { "directory" } else { "file" };
            match made {
                Ok(()) => {
                    stored.insert(name.to_owned());
                }
                Err(error) if !may_be_refused(kind, name.as_bytes(), is_directory) => {
                    complaints.push(format!("{what} `{text}`: {error}"));
                }
                Err(error) if !is_clean_refusal(&error) => {
                    complaints.push(format!("{what} `{text}` is refused with {error}"));
                }
                Err(_) => {}
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    // What was refused is nowhere, what was not is there under just that name.
    for (folder, stored) in [("files", &files), ("directories", &directories)] {
        assert_eq!(&names_in(&server.folder().join(folder)), stored, "{folder} on the server");
        // The end of a file whose close() was refused comes behind that close(), and is not waited for by anybody.
        wait_until("what was refused is gone", || &names_in(&mount.path().join(folder)) == stored);
        assert_eq!(&names_in(&mount.path().join(folder)), stored, "{folder} in the mount");
    }
    mount.unmount();

    // A mount that has made none of them sees the same, and can do all that is done with a name.
    let mount = Mount::start(&server, &[]);
    assert_eq!(names_in(&mount.path().join("files")), files, "files after mounting again");
    assert_eq!(names_in(&mount.path().join("directories")), directories, "directories after mounting again");
    for name in &files {
        let text = name.as_bytes().escape_ascii().to_string();
        let path = mount.path().join("files").join(name);
        assert_eq!(fs::read(&path).unwrap_or_else(|error| panic!("read `{text}`: {error}")), name.as_bytes());
        let moved = mount.path().join("moved").join(name);
        fs::rename(&path, &moved).unwrap_or_else(|error| panic!("rename `{text}`: {error}"));
        assert_eq!(fs::read(server.folder().join("moved").join(name)).unwrap(), name.as_bytes(), "`{text}`");
        fs::remove_file(&moved).unwrap_or_else(|error| panic!("remove `{text}`: {error}"));
    }
    for name in &directories {
        let text = name.as_bytes().escape_ascii().to_string();
        let inside = mount.path().join("directories").join(name);
        write(&inside.join("file"), b"inside").unwrap_or_else(|error| panic!("write in `{text}`: {error}"));
        assert_eq!(names_in(&inside), BTreeSet::from(["file".into()]), "in `{text}`");
        assert_eq!(
            fs::read(server.folder().join("directories").join(name).join("file")).unwrap(),
            b"inside",
            "`{text}`"
        );
        fs::remove_file(inside.join("file")).unwrap_or_else(|error| panic!("remove in `{text}`: {error}"));
        fs::remove_dir(&inside).unwrap_or_else(|error| panic!("remove `{text}`: {error}"));
    }
    for folder in ["files", "directories", "moved"] {
        assert_eq!(names_in(&server.folder().join(folder)), BTreeSet::new(), "{folder} on the server at the end");
    }
    mount.unmount();
}

pub(crate) fn name_with_a_line_break_is_refused_and_never_sent(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    fs::write(server.folder().join("victim"), "text").unwrap();
    server.give("victim");
    let gate = Gate::open(server.port());
    let mount = Mount::start_url(&server, &server.url_at(gate.port()), &[]);
    if !mount.is_real() {
        return;
    }
    for separator in ["\n", "\r", "\r\n"] {
        let name = OsString::from_vec(format!("smuggled{separator}DELE victim").into_bytes());
        let path = mount.path().join(&name);
        let victim = mount.path().join("victim");
        for refused in [
            File::create_new(&path).map(drop),
            fs::create_dir(&path),
            fs::rename(&victim, &path),
            std::os::unix::fs::symlink("victim", &path),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        // There is no such file, and to say so nobody needs to ask.
        assert!(fs::symlink_metadata(&path).is_err());
    }
    let said = gate.said();
    assert!(!said.windows(8).any(|bytes| bytes == b"smuggled"), "{}", said.escape_ascii());
    assert!(!said.windows(4).any(|bytes| bytes == b"DELE"), "{}", said.escape_ascii());
    assert_eq!(names_in(&server.folder()), BTreeSet::from(["victim".into()]));
    mount.unmount();
}

pub(crate) fn path_longer_than_the_server_takes_is_refused_and_disturbs_nothing(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let mut deepest = mount.path().to_owned();
    let refused = loop {
        let deeper = deepest.join("n".repeat(200));
        match fs::create_dir(&deeper) {
            Ok(()) => deepest = deeper,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::InvalidFilename, "at {} bytes", deepest.as_os_str().len());
    // A server that answers such a command twice would have its later replies taken for those of other commands.
    for round in 0..20 {
        let path = mount.path().join(format!("round {round}"));
        assert!(fs::create_dir(deepest.join("n".repeat(250))).is_err());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "text").unwrap();
        assert_eq!(fs::remove_dir(&path).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        assert_eq!(fs::read(path.join("file")).unwrap(), b"text");
        fs::remove_file(path.join("file")).unwrap();
        fs::remove_dir(&path).unwrap();
    }
    assert_eq!(names_in(&server.folder()), BTreeSet::from(["n".repeat(200).into()]));
    mount.unmount();
}

//! What each command looks like on the wire, and what may never be there.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::protocol::{Name, Precision};

fn path(text: impl AsRef<[u8]>) -> RemotePath {
    RemotePath::parse(text.as_ref()).unwrap()
}

fn line(command: &Command) -> Result<Vec<u8>, CommandError> {
    let mut line = Vec::new();
    command.encode(&mut line, Encoding::default()).map(|()| line)
}

fn text(command: &Command) -> String {
    String::from_utf8(line(command).unwrap()).unwrap()
}

const TIME: Timestamp = Timestamp { seconds: 1_583_020_799, nanoseconds: 999, precision: Precision::Nanosecond };

#[test]
fn commands_are_spelled_as_servers_know_them() {
    let file = || path("/a b");
    for (command, expected) in [
        (Command::User(b"anonymous"[..].into()), "USER anonymous"),
        (Command::Pass(Secret::new("a b ")), "PASS a b "),
        (Command::Feat, "FEAT"),
        (Command::Opts("UTF8 ON".into()), "OPTS UTF8 ON"),
        (Command::Type(TypeCode::Image), "TYPE I"),
        (Command::Cwd(RemotePath::root()), "CWD /"),
        (Command::Eprt("132.235.1.2:6275".parse().unwrap()), "EPRT |1|132.235.1.2|6275|"),
        (Command::Eprt("[1080::8:800:200c:417a]:5282".parse().unwrap()), "EPRT |2|1080::8:800:200c:417a|5282|"),
        (Command::Port(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 258)), "PORT 10,0,0,1,1,2"),
        (Command::Pret(Box::new(Command::Retr(file()))), "PRET RETR /a b"),
        (Command::Pret(Box::new(Command::Mlsd(None))), "PRET MLSD"),
        (Command::Rest(u64::MAX), "REST 18446744073709551615"),
        (Command::Rang { first: 0, last: 9 }, "RANG 0 9"),
        (Command::Retr(path("/-la")), "RETR /-la"),
        (Command::Mlsd(None), "MLSD"),
        (Command::Mlsd(Some(file())), "MLSD /a b"),
        (Command::List { options: None, path: None }, "LIST"),
        (Command::List { options: Some("-a"), path: None }, "LIST -a"),
        (Command::List { options: Some("-a"), path: Some(file()) }, "LIST -a /a b"),
        (Command::Stat(None), "STAT"),
        (Command::Mdtm(file()), "MDTM /a b"),
        (Command::MdtmSet { path: file(), time: TIME }, "MDTM 20200229235959 /a b"),
        (Command::Mfmt { path: file(), time: TIME }, "MFMT 20200229235959 /a b"),
        (Command::Mff { path: file(), time: TIME }, "MFF Modify=20200229235959; /a b"),
        (
            Command::SiteUtime { path: file(), time: TIME, spelling: UtimeSpelling::TimeFirst },
            "SITE UTIME 20200229235959 /a b",
        ),
        (
            Command::SiteUtime { path: file(), time: TIME, spelling: UtimeSpelling::PathFirst },
            "SITE UTIME /a b 20200229235959 20200229235959 20200229235959 UTC",
        ),
        (Command::SiteChmod { mode: 0o4755, path: file() }, "SITE CHMOD 4755 /a b"),
        (Command::SiteChmod { mode: 0o7, path: file() }, "SITE CHMOD 007 /a b"),
        (Command::SiteSymlink { target: b"../t"[..].into(), path: file() }, "SITE SYMLINK ../t /a b"),
        (Command::AuthTls, "AUTH TLS"),
        (Command::Pbsz0, "PBSZ 0"),
        (Command::ProtP, "PROT P"),
    ] {
        assert_eq!(text(&command), format!("{expected}\r\n"));
        assert!(expected.starts_with(command.verb()));
    }
}

#[test]
fn empty_argument_leaves_no_space_behind_the_verb() {
    assert_eq!(text(&Command::Pass(Secret::new(""))), "PASS\r\n");
    assert_eq!(text(&Command::Acct(Secret::new(""))), "ACCT\r\n");
}

#[test]
fn argument_that_could_end_the_line_is_refused_and_leaves_nothing_behind() {
    for byte in [b'\r', b'\n', 0] {
        let bytes = || [b"x".as_slice(), &[byte], b"DELE y"].concat();
        for command in [
            Command::User(bytes().into()),
            Command::Pass(Secret::new(bytes())),
            Command::SiteSymlink { target: bytes().into(), path: path("/l") },
            Command::Pret(Box::new(Command::User(bytes().into()))),
            Command::Clnt(String::from_utf8(bytes()).unwrap().into()),
            Command::Host(String::from_utf8(bytes()).unwrap().into()),
        ] {
            let mut line = b"NOOP\r\n".to_vec();
            assert_eq!(command.encode(&mut line, Encoding::default()), Err(CommandError::LineBreak));
            assert_eq!(line, b"NOOP\r\n");
        }
    }
}

#[test]
fn telnet_escape_is_doubled_unless_the_server_takes_it_as_it_is() {
    let command = Command::Dele(path(b"/a\xff\xfeb"));
    assert_eq!(line(&command).unwrap(), b"DELE /a\xff\xff\xfeb\r\n");
    let mut line = Vec::new();
    command.encode(&mut line, Encoding { double_iac: false, ..Encoding::default() }).unwrap();
    assert_eq!(line, b"DELE /a\xff\xfeb\r\n");
}

#[test]
fn line_longer_than_servers_read_is_refused() {
    let fitting = LINE_BYTES_MAX - "CWD /\r\n".len();
    let of_len = |len| Command::Cwd(path([b"/".as_slice(), &vec![b'a'; len]].concat()));
    assert_eq!(line(&of_len(fitting)).unwrap().len(), LINE_BYTES_MAX);
    assert_eq!(line(&of_len(fitting + 1)), Err(CommandError::TooLong));
    let encoding = Encoding { line_bytes_max: LINE_BYTES_USUAL_MAX, ..Encoding::default() };
    let usual = |len: usize| of_len(len - "CWD /\r\n".len()).encode(&mut Vec::new(), encoding);
    assert_eq!(usual(LINE_BYTES_USUAL_MAX), Ok(()));
    assert_eq!(usual(LINE_BYTES_USUAL_MAX + 1), Err(CommandError::TooLong));
}

#[test]
fn time_that_cannot_be_written_is_refused() {
    let time = Timestamp { seconds: i64::MAX, ..TIME };
    assert_eq!(line(&Command::Mfmt { path: path("/a"), time }), Err(CommandError::TimeOutOfRange));
}

#[test]
fn password_is_in_the_line_and_never_in_what_is_shown() {
    for command in [Command::Pass(Secret::new("geheim")), Command::Acct(Secret::new("geheim"))] {
        assert!(text(&command).contains("geheim"));
        assert!(!format!("{command} {command:?}").contains("geheim"));
        assert!(command.is_secret());
    }
    assert_eq!(Command::Pass(Secret::new("geheim")).to_string(), "PASS ***");
    assert_eq!(Command::Retr(path("/Größe\x1b")).to_string(), r"RETR /Größe\x1b");
}

#[test]
fn what_changes_the_server_is_not_repeated() {
    let file = || path("/a");
    for command in [
        Command::Stor(file()),
        Command::Appe(file()),
        Command::Rnto(file()),
        Command::Dele(file()),
        Command::Mkd(file()),
        Command::Rmd(file()),
    ] {
        assert!(!command.safe_to_repeat(), "{command}");
    }
    for command in [Command::Retr(file()), Command::Size(file()), Command::Mfmt { path: file(), time: TIME }] {
        assert!(command.safe_to_repeat(), "{command}");
    }
}

fn any_path() -> impl Strategy<Value = RemotePath> {
    let name = prop::collection::vec(any::<u8>(), 1..20).prop_filter_map("no name", |bytes| Name::new(bytes).ok());
    prop::collection::vec(name, 0..5)
        .prop_map(|names| names.iter().fold(RemotePath::root(), |path, name| path.join(name)))
}

fn any_command() -> impl Strategy<Value = Command> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let time = any::<i64>().prop_map(|seconds| Timestamp { seconds, ..TIME });
    prop_oneof![
        bytes.clone().prop_map(|name| Command::User(name.into())),
        bytes.clone().prop_map(|secret| Command::Pass(Secret::new(secret))),
        any::<String>().prop_map(|text| Command::Opts(text.into())),
        any_path().prop_map(Command::Retr),
        prop::option::of(any_path()).prop_map(Command::Mlsd),
        prop::option::of(any_path()).prop_map(|path| Command::List { options: Some("-a"), path }),
        (any_path(), time).prop_map(|(path, time)| Command::MdtmSet { path, time }),
        (bytes, any_path()).prop_map(|(target, path)| Command::SiteSymlink { target: target.into(), path }),
    ]
}

proptest! {
    #[test]
    fn line_has_one_end_whatever_the_arguments(command in any_command(), double_iac: bool) {
        let mut line = Vec::new();
        match command.encode(&mut line, Encoding { double_iac, ..Encoding::default() }) {
            Ok(()) => {
                let body = line.strip_suffix(b"\r\n").expect("each line ends with CR LF");
                prop_assert!(!body.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                prop_assert!(body.starts_with(command.verb().as_bytes()));
                prop_assert!(line.len() <= LINE_BYTES_MAX);
            }
            Err(_) => prop_assert!(line.is_empty()),
        }
    }

    #[test]
    fn path_comes_back_from_the_line_as_the_same_bytes(path in any_path()) {
        let line = line(&Command::Retr(path.clone())).unwrap();
        let mut argument = Vec::new();
        let mut bytes = line["RETR ".len()..line.len() - 2].iter();
        while let Some(byte) = bytes.next() {
            argument.push(*byte);
            if *byte == 0xFF {
                prop_assert_eq!(bytes.next(), Some(&0xFF));
            }
        }
        prop_assert_eq!(argument, path.as_bytes());
    }

    #[test]
    fn what_is_shown_has_no_control_characters(command in any_command()) {
        prop_assert!(!command.to_string().chars().any(char::is_control));
    }
}

//! Which source of a password wins, and which are refused.

use super::*;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

struct Case {
    folder: TempDir,
    arguments: LoginArguments,
    surroundings: Surroundings,
}

impl Case {
    fn new() -> Self {
        let surroundings = Surroundings {
            variable: |_| None,
            systemd_directory: None,
            keyring: |_| Ok(None),
            netrc: None,
            input: || Ok(Box::new(&b"from stdin\nmore\n"[..])),
            ask: |_| None,
        };
        let arguments = LoginArguments { user: None, password_file: None, password_stdin: false };
        Self { folder: tempfile::tempdir().unwrap(), arguments, surroundings }
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn find(&self, url: &str) -> Result<(String, String), CredentialsError> {
        let url = ServerUrl::parse(url).unwrap();
        let found = find(&self.arguments, &url, &self.surroundings)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(&found.user), text(found.password.expose())))
    }

    fn password(&self, url: &str) -> String {
        self.find(url).unwrap().1
    }
}

#[test]
fn sources_are_asked_in_their_documented_order() {
    let mut case = Case::new();
    case.surroundings.ask = |_| Some(Ok("from terminal".into()));
    assert_eq!(case.password("ftp://u@h"), "from terminal");
    case.surroundings.netrc = Some(case.file("netrc", "machine h login u password netrc", 0o600));
    assert_eq!(case.password("ftp://u@h"), "netrc");
    case.surroundings.keyring = |description| Ok((description == "ftpfs:u@h").then(|| b"kernel\n".to_vec()));
    assert_eq!(case.password("ftp://u@h"), "kernel");
    assert_eq!(case.password("ftp://v@h"), "from terminal");
    case.file(SYSTEMD_CREDENTIAL, "systemd\n", 0o440);
    case.surroundings.systemd_directory = Some(case.folder.path().to_owned());
    assert_eq!(case.password("ftp://u@h"), "systemd");
    case.surroundings.variable = |name| (name == PASSWORD_VARIABLE).then(|| b"variable".to_vec());
    assert_eq!(case.password("ftp://u@h"), "variable");
    assert_eq!(case.password("ftp://u:url@h"), "url");
    case.arguments.password_file = Some(case.file("file", "file\r\n", 0o600));
    assert_eq!(case.password("ftp://u:url@h"), "file");
    case.arguments.password_stdin = true;
    assert_eq!(case.password("ftp://u:url@h"), "from stdin");
}

#[test]
fn nobody_named_means_anonymous_without_a_question() {
    let mut case = Case::new();
    case.surroundings.ask = |_| panic!("asked");
    assert_eq!(case.find("ftp://h").unwrap(), ("anonymous".into(), "ftpfs@".into()));
    assert_eq!(case.find("ftp://anonymous@h").unwrap(), ("anonymous".into(), "ftpfs@".into()));
    case.arguments.user = Some("u".into());
    case.surroundings.ask = |_| Some(Ok("p".into()));
    assert_eq!(case.find("ftp://h").unwrap(), ("u".into(), "p".into()));
}

#[test]
fn file_that_others_can_read_is_refused() {
    let mut case = Case::new();
    case.arguments.password_file = Some(case.file("file", "secret", 0o640));
    let error = case.find("ftp://u@h").unwrap_err();
    assert!(matches!(error, CredentialsError::Readable { mode: 0o640, .. }), "{error}");
    case.arguments.password_file = None;
    case.surroundings.netrc = Some(case.file("netrc", "machine h login u password netrc", 0o604));
    assert!(matches!(case.find("ftp://u@h"), Err(CredentialsError::None { .. })));
}

#[test]
fn source_that_is_named_but_empty_or_missing_is_an_error() {
    let mut case = Case::new();
    case.surroundings.ask = |_| panic!("asked");
    case.arguments.password_file = Some(case.file("file", "", 0o600));
    assert!(matches!(case.find("ftp://u@h"), Err(CredentialsError::Unreadable { .. })));
    case.arguments.password_file = Some(case.folder.path().join("missing"));
    assert!(matches!(case.find("ftp://u@h"), Err(CredentialsError::Unreadable { .. })));
    case.arguments.password_file = None;
    case.surroundings.variable = |_| Some(b"a\nDELE b".to_vec());
    assert!(matches!(case.find("ftp://u@h"), Err(CredentialsError::LineBreak(_))));
}

#[test]
fn key_that_cannot_be_used_is_an_error() {
    let mut case = Case::new();
    case.surroundings.ask = |_| panic!("asked");
    case.surroundings.keyring = |_| Err("it has expired".into());
    let error = case.find("ftp://u@h").unwrap_err();
    assert_eq!(error.to_string(), "the key `ftpfs:u@h` in the kernel's keyring cannot be used: it has expired");
    // Nobody is named, so there is no key to ask for.
    assert_eq!(case.find("ftp://h").unwrap().0, "anonymous");
}

#[test]
fn odd_passwords_are_taken_as_they_are_or_refused() {
    let mut case = Case::new();
    let long = "x".repeat(4096 - "PASS \r\n".len());
    for (content, password) in [
        ("a b \r\nmore", "a b "),
        (" ä€😀", " ä€😀"),
        ("\n", ""),
        ("\r\n", ""),
        ("a\\ \"b\" #c", "a\\ \"b\" #c"),
        (long.as_str(), long.as_str()),
    ] {
        case.arguments.password_file = Some(case.file("file", content, 0o600));
        assert_eq!(case.password("ftp://u@h"), password, "{content:.20}");
    }
    for content in ["a\rb\n", "a\0b"] {
        case.arguments.password_file = Some(case.file("file", content, 0o600));
        assert!(matches!(case.find("ftp://u@h"), Err(CredentialsError::LineBreak(_))), "{content:?}");
    }
    case.arguments.password_file = Some(case.file("file", &"x".repeat(10_000), 0o600));
    assert!(matches!(case.find("ftp://u@h"), Err(CredentialsError::TooLong(_))));
    case.arguments.password_file = Some(case.file("file", &"x".repeat(long.len() + 1), 0o600));
    assert!(matches!(case.find("ftp://u@h"), Err(CredentialsError::TooLong(_))));
}

#[test]
fn empty_user_is_nobody() {
    let mut case = Case::new();
    case.surroundings.ask = |_| panic!("asked");
    case.arguments.user = Some(String::new());
    assert_eq!(case.find("ftp://h").unwrap().0, "anonymous");
}

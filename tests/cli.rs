//! The program as people and scripts meet it: sentences and exit codes, without a mount.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// A home directory without a netrc, and a mountpoint.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mnt")).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn mountpoint(&self) -> String {
        self.path().join("mnt").display().to_string()
    }

    /// Runs `ftpfs` away from any terminal, with nothing of the surroundings but PATH.
    fn ftpfs(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // No controlling terminal, so that nobody is asked for a password.
        let mut command = Command::new("setsid");
        command.args(["--wait", env!("CARGO_BIN_EXE_ftpfs")]).args(arguments).stdin(Stdio::null());
        command.env_clear().env("HOME", self.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that greets, answers each line by `answer`, and reports what it was sent. It serves until the test ends.
fn server(greeting: &'static str, answer: fn(&str) -> &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || talk(stream.unwrap(), greeting, answer));
        }
    });
    address.to_string()
}

fn talk(mut stream: TcpStream, greeting: &str, answer: fn(&str) -> &'static str) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = stream.write_all(greeting.as_bytes());
    let reader = BufReader::new(stream.try_clone().unwrap());
    for line in reader.lines() {
        let Ok(line) = line else { return };
        if stream.write_all(answer(&line).as_bytes()).is_err() {
            return;
        }
    }
}

fn refuse_login(line: &str) -> &'static str {
    match line.split(' ').next() {
        Some("USER") => "331 Please specify the password.\r\n",
        Some("QUIT") => "221 Goodbye.\r\n",
        Some("PASS") => "530 Login incorrect.\r\n",
        _ => "530 Please login with USER and PASS.\r\n",
    }
}

#[test]
fn options_that_contradict_the_url_are_refused_with_code_2() {
    let place = Place::new();
    let mountpoint = place.mountpoint();
    for (option, url, words) in [
        ("--tls=off", "ftps://h", "ftps:// is encrypted, and --tls=off does not go with it"),
        ("--insecure", "ftp://h", "--insecure is about encrypted connections"),
    ] {
        let output = place.ftpfs(&[option, url, &mountpoint]);
        assert_eq!(code(&output), 2, "{}", errors(&output));
        assert!(errors(&output).contains(words), "{}", errors(&output));
    }
}

#[test]
fn wrong_usage_is_told_with_code_2() {
    let place = Place::new();
    let mountpoint = place.mountpoint();
    for (url, words) in [
        ("/srv/data", "does not begin with ftp://"),
        ("http://host/", "is not FTP"),
        ("ftp://", "names no host"),
        ("ftp://host/a?b", "%3F"),
        ("ftp://host/a%0D%0ADELE%20b", "line break"),
    ] {
        let output = place.ftpfs(&[url, &mountpoint]);
        assert_eq!(code(&output), 2, "{url}: {}", errors(&output));
        assert!(errors(&output).starts_with("ftpfs: ") && errors(&output).contains(words), "{}", errors(&output));
    }
    for arguments in
        [&["ftp://host/"][..], &["--nonsense", "ftp://host/", &mountpoint], &["ftp://h", &mountpoint, "-o", "nonsense"]]
    {
        let output = place.ftpfs(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(errors(&output).contains("Usage: ftpfs [OPTIONS] URL MOUNTPOINT"), "{}", errors(&output));
    }
}

#[test]
fn help_goes_to_the_standard_output_and_names_every_exit_code() {
    let place = Place::new();
    let output = place.ftpfs(&["--help"]);
    assert_eq!(code(&output), 0);
    let help = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["0 mounted", "4 login refused", "75 ended", "--password-file <FILE>", "ftpfs umount"] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn unusable_mountpoint_is_told_with_code_6_before_anybody_logs_in() {
    let place = Place::new();
    fs::write(place.path().join("mnt/file"), "").unwrap();
    let host = server("220 Hello\r\n", |_| panic!("somebody logs in"));
    for (name, words) in [("missing", "does not exist"), ("mnt/file", "not a directory"), ("mnt", "not empty")] {
        let mountpoint = place.path().join(name).display().to_string();
        let output = place.ftpfs(&[&format!("ftp://{host}/"), &mountpoint]);
        assert_eq!(code(&output), 6, "{}", errors(&output));
        assert!(errors(&output).contains(words), "{}", errors(&output));
    }
    let output = place.ftpfs(&["umount", &place.mountpoint()]);
    assert_eq!(code(&output), 6);
    assert!(errors(&output).contains("no ftpfs is mounted"), "{}", errors(&output));
}

#[test]
fn unreachable_server_is_told_with_code_3() {
    let place = Place::new();
    // A port that was free a moment ago, and that nobody listens on.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output =
        place.ftpfs(&[&format!("ftp://{address}/"), &place.mountpoint(), "--timeout=3", "--connect-timeout=2"]);
    assert_eq!(code(&output), 3, "{}", errors(&output));
    assert!(errors(&output).contains(&format!("cannot connect to {address}")), "{}", errors(&output));
    assert!(errors(&output).to_lowercase().contains("connection refused"), "{}", errors(&output));
}

#[test]
fn server_that_never_answers_is_given_up_with_code_3() {
    let place = Place::new();
    let host = server("", |_| "");
    let url = format!("ftp://{host}/");
    let output = place.ftpfs(&[&url, &place.mountpoint(), "--timeout=3", "--reply-timeout=1", "--connect-timeout=1"]);
    assert_eq!(code(&output), 3, "{}", errors(&output));
}

#[test]
fn what_is_no_ftp_server_is_told() {
    let place = Place::new();
    let host = server("SSH-2.0-OpenSSH_9.6\r\n", |_| "Invalid SSH identification string.\r\n");
    let output = place.ftpfs(&[&format!("ftp://{host}/"), &place.mountpoint(), "--timeout=3"]);
    assert!(matches!(code(&output), 3 | 9), "{}", errors(&output));
    assert!(errors(&output).starts_with("ftpfs: "), "{}", errors(&output));
}

#[test]
fn refused_login_is_told_with_code_4_in_the_servers_words() {
    let place = Place::new();
    let host = server("220 Hello\r\n", refuse_login);
    for extra in [&[][..], &["-f"]] {
        let file = place.path().join("password");
        fs::write(&file, "geheim\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let file = format!("--password-file={}", file.display());
        let url = format!("ftp://anna@{host}/");
        let mountpoint = place.mountpoint();
        let output = place.ftpfs(&[&[&*url, &*mountpoint, &*file, "-vv", "--trace-protocol"], extra].concat());
        assert_eq!(code(&output), 4, "{}", errors(&output));
        assert!(errors(&output).contains("as anna: 530 Login incorrect."), "{}", errors(&output));
        assert!(!errors(&output).contains("geheim"), "{}", errors(&output));
    }
    assert_eq!(fs::read_dir(place.mountpoint()).unwrap().count(), 0);
}

#[test]
fn password_in_the_url_is_taken_with_a_warning_and_never_shown() {
    let place = Place::new();
    let host = server("220 Hello\r\n", refuse_login);
    let output = place.ftpfs(&[&format!("ftp://anna:geheim@{host}/"), &place.mountpoint()]);
    assert_eq!(code(&output), 4, "{}", errors(&output));
    assert!(errors(&output).contains("every user of this machine"), "{}", errors(&output));
    assert!(!errors(&output).contains("geheim"), "{}", errors(&output));
}

#[test]
fn password_that_is_nowhere_is_told_with_code_8() {
    let place = Place::new();
    let output = place.ftpfs(&["ftp://anna@127.0.0.1:1/", &place.mountpoint()]);
    assert_eq!(code(&output), 8, "{}", errors(&output));
    assert!(errors(&output).contains("no password for anna"), "{}", errors(&output));
    let file = place.path().join("password");
    fs::write(&file, "geheim\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let file = format!("--password-file={}", file.display());
    let output = place.ftpfs(&["ftp://anna@127.0.0.1:1/", &place.mountpoint(), &file]);
    assert_eq!(code(&output), 8, "{}", errors(&output));
    assert!(errors(&output).contains("chmod 600"), "{}", errors(&output));
}

#[test]
fn form_for_the_background_is_of_no_use_to_others() {
    let place = Place::new();
    let output = place.ftpfs(&["--internal-in-background", "ftp://127.0.0.1:1/", &place.mountpoint()]);
    assert_eq!(code(&output), 2, "{}", errors(&output));
}

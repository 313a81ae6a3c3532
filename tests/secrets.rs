//! Where passwords are looked for in vain: arguments and environments of processes, core dumps, the mount table, logs, traces, status,
//! journals, panics. Each mount has a password of its own that nothing else can contain by accident.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scripted_server::{Answer, Dialogue, ORDERLY, ScriptedServer};
use tempfile::TempDir;

#[path = "support/scripted_server.rs"]
mod scripted_server;

/// Nobody waits longer for a process.
const LIMIT: Duration = Duration::from_secs(30);

/// A word that occurs nowhere else.
fn secret() -> String {
    let random = fs::read("/proc/sys/kernel/random/uuid").unwrap();
    format!("Sx{}", String::from_utf8(random).unwrap().trim().replace('-', "x"))
}

/// A home, a state directory, a mountpoint.
struct Place {
    folder: TempDir,
    secret: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["mnt", "state", "run"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::set_permissions(folder.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder, secret: secret() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that only we can read.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new("setsid");
        command.args(["--wait", env!("CARGO_BIN_EXE_ftpfs")]).args(arguments).stdin(Stdio::null());
        command.env_clear().env("HOME", self.folder.path()).env("XDG_RUNTIME_DIR", self.path("run"));
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>()).output().unwrap()
    }

    fn has_secret(&self, bytes: &[u8]) -> bool {
        contains(bytes, self.secret.as_bytes())
    }

    /// The mount's process, by its mountpoint among the arguments.
    fn processes(&self) -> Vec<PathBuf> {
        let mountpoint = self.path("mnt");
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        all.filter(|process| {
            fs::read(process.join("cmdline"))
                .is_ok_and(|line| contains(&line, mountpoint.as_os_str().as_bytes()) && contains(&line, b"ftpfs"))
        })
        .collect()
    }

    /// Fails where an argument or a variable of a process of ours holds the password.
    fn assert_processes_are_clean(&self) {
        for process in self.processes() {
            for name in ["cmdline", "environ"] {
                // One that ends meanwhile shows nothing.
                let shown = fs::read(process.join(name)).unwrap_or_default();
                assert!(!self.has_secret(&shown), "{name}: {}", String::from_utf8_lossy(&shown));
            }
        }
    }

    fn is_mounted(&self) -> bool {
        contains(&fs::read("/proc/self/mountinfo").unwrap(), self.path("mnt").as_os_str().as_bytes())
    }

    /// Fails where a file below our folder holds the password, but for `given`.
    fn assert_files_are_clean(&self, given: &[&str]) {
        let mut folders = vec![self.path("state"), self.path("run"), self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                let is_given = given.iter().any(|name| path == self.path(name));
                if kind.is_dir() && path != self.path("mnt") {
                    folders.push(path);
                } else if kind.is_file() && !is_given {
                    assert!(!self.has_secret(&fs::read(&path).unwrap()), "{}", path.display());
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = Command::new("umount").arg("-l").arg(self.path("mnt")).output();
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server that lets in who has the password, and has one file.
fn server(password: &str) -> ScriptedServer {
    let expected = format!("PASS {password}");
    ScriptedServer::serving(ORDERLY, move |dialogue: &mut Dialogue, command: &str| {
        match command.split(' ').next().unwrap() {
            "PASS" if command != expected => dialogue.say("530 Login incorrect."),
            "LIST" | "MLSD" => {
                dialogue.say("150 Here it comes");
                dialogue.send_data(b"-rw-r--r-- 1 ftp ftp 5 Jan 01 2020 file\r\n");
                dialogue.say("226 Done");
            }
            _ => return Answer::Default,
        }
        Answer::Done
    })
}

/// How the password gets to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Url,
    File,
    Input,
    Variable,
    Systemd,
    Netrc,
    Proxy,
}

const SOURCES: [Source; 7] =
    [Source::Url, Source::File, Source::Input, Source::Variable, Source::Systemd, Source::Netrc, Source::Proxy];

/// Starts a mount that gets its password this way, and says in which files of the place that lies.
fn start(place: &Place, port: u16, source: Source, more: &[&str]) -> (Child, &'static [&'static str]) {
    let secret = &place.secret;
    let user = if source == Source::Url { format!("anna:{secret}") } else { String::from("anna") };
    let mut arguments = vec![format!("ftp://{user}@127.0.0.1:{port}/"), place.path("mnt").display().to_string()];
    arguments.push(format!("--state-dir={}", place.path("state").display()));
    arguments.extend(more.iter().map(ToString::to_string));
    let given: &[&str] = match source {
        Source::File => {
            arguments.push(format!("--password-file={}", place.file("password", secret).display()));
            &["password"]
        }
        Source::Input => {
            arguments.push("--password-stdin".into());
            &[]
        }
        Source::Netrc => {
            place.file(".netrc", &format!("machine 127.0.0.1 login anna password \"{secret}\""));
            &[".netrc"]
        }
        Source::Systemd => {
            place.file("ftpfs.password", secret);
            &["ftpfs.password"]
        }
        Source::Proxy => {
            // Both passwords are the same word here; in `-o`, where arguments hide best.
            arguments.extend(["-o".into(), format!("ro,proxy=socks5h://pat:{secret}@127.0.0.1:{}", relay(port))]);
            &[]
        }
        Source::Url | Source::Variable => &[],
    };
    let mut command = place.command(&arguments);
    match source {
        Source::Variable | Source::Proxy => {
            command.env("FTPFS_PASSWORD", secret).env("all_proxy", format!("socks5h://x:{secret}@127.0.0.1:1"));
            if source == Source::Variable {
                command.env("no_proxy", "127.0.0.1");
            }
        }
        Source::Systemd => drop(command.env("CREDENTIALS_DIRECTORY", place.folder.path())),
        _ => {}
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    if source == Source::Input {
        writeln!(input, "{secret}").unwrap();
    }
    drop(input);
    (child, given)
}

/// A proxy that wants a password, takes any, and leads to `port` of 127.0.0.1 whatever it is asked for.
fn relay(port: u16) -> u16 {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                for answer in [&[5, 2][..], &[1, 0]] {
                    let _ = client.read(&mut buffer).unwrap();
                    client.write_all(answer).unwrap();
                }
                let len = client.read(&mut buffer).unwrap();
                let asked = u16::from_be_bytes([buffer[len - 2], buffer[len - 1]]);
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
                let _ = port;
                let server = TcpStream::connect(("127.0.0.1", asked)).unwrap();
                let (mut down, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut down, &mut to_client);
                    let _ = to_client.shutdown(std::net::Shutdown::Both);
                });
                let _ = std::io::copy(&mut client, &mut { server });
            });
        }
    });
    own
}

/// Ends a mount; what it has said since it began.
fn end(place: &Place, child: Child) -> Vec<u8> {
    let output = place.run(&["umount", place.path("mnt").to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let all = child.wait_with_output().unwrap();
    [all.stdout, all.stderr, output.stdout, output.stderr].concat()
}

#[test]
fn password_of_any_source_is_seen_nowhere_while_a_mount_stands() {
    for source in SOURCES {
        for is_foreground in [true, false] {
            let place = Place::new();
            let server = server(&place.secret);
            let log = place.path("log");
            let log_file = format!("--log-file={}", log.display());
            let mut options = vec!["-vv", "--trace-protocol", &log_file, "--durability=journal"];
            if is_foreground {
                options.push("-f");
            }
            let (mut child, given) = start(&place, server.port(), source, &options);
            wait_until("it is mounted", || {
                let ended = child.try_wait().unwrap().filter(|status| is_foreground || !status.success());
                assert!(ended.is_none(), "{source:?}: {:?}", fs::read_to_string(&log));
                place.is_mounted()
            });
            wait_until("only the process that stays is there", || {
                place.processes().iter().any(|process| {
                    let line = fs::read(process.join("cmdline")).unwrap_or_default();
                    contains(&line, b"--internal-") && (is_foreground || contains(&line, b"in-background"))
                }) && (is_foreground || child.try_wait().unwrap().is_some())
            });
            assert_eq!(fs::read(place.path("mnt/file")).unwrap(), b"bytes");
            place.assert_processes_are_clean();
            assert_mount_is_closed(&place);
            assert!(!place.has_secret(&fs::read("/proc/self/mountinfo").unwrap()), "{source:?}");
            for arguments in [&["status"][..], &["status", "--json"]] {
                let output = place.run(arguments);
                assert!(output.status.success(), "{output:?}");
                assert!(!place.has_secret(&[output.stdout, output.stderr].concat()), "{source:?}");
            }
            let said = end(&place, child);
            assert!(!place.has_secret(&said), "{source:?}: {}", String::from_utf8_lossy(&said));
            let is_warned = contains(&said, b"can be seen by every user of this machine")
                || contains(&fs::read(&log).unwrap(), b"can be seen by every user of this machine");
            assert_eq!(is_warned, matches!(source, Source::Url | Source::Proxy), "{source:?}");
            let trace = fs::read_to_string(&log).unwrap();
            assert!(trace.contains("PASS ***") && trace.contains("USER anna"), "{trace}");
            place.assert_files_are_clean(given);
        }
    }
}

/// The kernel writes no core dump of it, and shows its memory and environment to root alone.
fn assert_mount_is_closed(place: &Place) {
    use std::os::unix::fs::MetadataExt as _;
    let processes = place.processes();
    let process = processes.iter().find(|process| {
        fs::read(process.join("cmdline"))
            .is_ok_and(|line| contains(&line, b"--internal-") && !contains(&line, b"setsid"))
    });
    let limits = fs::read_to_string(process.unwrap().join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    // What is not dumpable belongs to root there, whoever runs it.
    assert_eq!(fs::metadata(process.unwrap().join("environ")).unwrap().uid(), 0);
}

#[test]
fn password_in_the_url_is_gone_from_the_arguments_before_anybody_connects() {
    for options in [&[][..], &["-f"]] {
        let place = Place::new();
        let (looked, secret) = (Arc::new(AtomicBool::new(false)), place.secret.clone());
        let seen = Arc::clone(&looked);
        let server = ScriptedServer::serving(ORDERLY, move |dialogue: &mut Dialogue, command: &str| {
            if !command.starts_with("PASS") {
                return Answer::Default;
            }
            // All processes of this machine, as `ps` of any user shows them.
            for entry in fs::read_dir("/proc").unwrap() {
                let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
                // The one that starts ours is the test's own.
                let is_starter = line.starts_with(b"setsid\0");
                assert!(is_starter || !contains(&line, secret.as_bytes()), "{}", String::from_utf8_lossy(&line));
            }
            seen.store(true, Ordering::Release);
            dialogue.say("530 Login incorrect.");
            Answer::Done
        });
        let (child, _) = start(&place, server.port(), Source::Url, options);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert!(looked.load(Ordering::Acquire));
    }
}

#[test]
fn memory_of_a_mount_holds_the_password_once() {
    let place = Place::new();
    let server = server(&place.secret);
    for source in SOURCES {
        let (mut child, _) = start(&place, server.port(), source, &["-f"]);
        wait_until("it is mounted", || {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            place.is_mounted()
        });
        // More logins, more copies that must be gone again.
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let path = place.path("mnt/file");
                thread::spawn(move || fs::read(path).unwrap())
            })
            .collect();
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), b"bytes"));
        let processes = place.processes();
        let process = processes.iter().find(|process| {
            fs::read(process.join("cmdline"))
                .is_ok_and(|line| contains(&line, b"--internal-") && !contains(&line, b"setsid"))
        });
        // The password of the proxy is the same word here, so there are two.
        let expected = if source == Source::Proxy { 2 } else { 1 };
        // A login that is under way has one more for a moment.
        wait_until(&format!("{source:?} leaves {expected} in memory"), || {
            copies_in_memory(process.unwrap(), place.secret.as_bytes()).is_none_or(|count| count == expected)
        });
        end(&place, child);
    }
}

/// How often `wanted` stands in the memory that a process can write to; `None` where it may not be looked at.
fn copies_in_memory(process: &Path, wanted: &[u8]) -> Option<usize> {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(process.join("maps")).ok()?;
    let memory = fs::File::open(process.join("mem")).ok()?;
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (first, last) = line.split(' ').next()?.split_once('-')?;
        let (first, last) = (u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?);
        let mut bytes = vec![0; usize::try_from(last - first).ok()?];
        // Not all of it can be read.
        let len = memory.read_at(&mut bytes, first).unwrap_or(0);
        count += bytes[..len].windows(wanted.len()).filter(|window| *window == wanted).count();
    }
    Some(count)
}

#[test]
fn failures_of_all_kinds_show_no_password() {
    let place = Place::new();
    let secret = &place.secret;
    let mountpoint = place.path("mnt").display().to_string();
    let (url, proxy) = (format!("ftp://anna:{secret}@127.0.0.1:1/"), format!("socks5://pat:{secret}@127.0.0.1:1"));
    for (arguments, code) in [
        (vec![&*url, &*mountpoint], 3),
        (vec!["-f", &url, &mountpoint], 3),
        (vec![&url], 2),
        (vec![&url, &mountpoint, "more"], 2),
        (vec![&url, &url], 6),
        (vec![&*mountpoint, &url], 2),
        (vec![&url, "/nonexistent/place"], 6),
        (vec!["--nonsense", &url, &mountpoint], 2),
        (vec!["--active", &format!("--proxy={proxy}"), "ftp://h", &mountpoint], 2),
        (vec![&format!("--proxy={proxy}"), "ftp://127.0.0.1:1", &mountpoint], 3),
        (vec![&format!("--proxy={proxy}/x"), "ftp://h", &mountpoint], 2),
        (vec!["-o", &format!("proxy={proxy},nonsense"), "ftp://h", &mountpoint], 2),
        (vec!["--tls=off", &url.replace("ftp:", "ftps:"), &mountpoint], 2),
        (vec![&url.replace("127.0.0.1:1", "h:99999"), &mountpoint], 2),
        (vec![&url.replace("ftp:", "http:"), &mountpoint], 2),
        (vec![&url.replace("ftp:", ""), &mountpoint], 2),
        (vec![&format!("{url}a#b"), &mountpoint], 2),
        (vec!["-o", &format!("user=anna:{secret}"), "ftp://127.0.0.1:1", &mountpoint], 2),
        (vec!["--user", &format!("anna:{secret}"), "ftp://127.0.0.1:1", &mountpoint], 2),
        (vec!["--user", &format!("anna\n{secret}"), "ftp://127.0.0.1:1", &mountpoint], 2),
        (vec![&format!("ftp://anna:{secret}#@127.0.0.1:1"), &mountpoint], 2),
        (vec![&format!("ftp://anna:{secret}%0d@127.0.0.1:1"), &mountpoint], 2),
        (vec![&format!("ftp://anna:{}@127.0.0.1:1", secret.repeat(300)), &mountpoint], 8),
        (vec![&mountpoint, &mountpoint, &url], 2),
        (vec![&format!("--password={secret}"), "ftp://h", &mountpoint], 2),
        (vec!["-o", &format!("password={secret}"), "ftp://h", &mountpoint], 2),
        (vec!["-o", &format!("ro,pass={secret}"), "ftp://h", &mountpoint], 2),
        (vec![&format!("--tls={url}"), "ftp://h", &mountpoint], 2),
        (vec!["umount", &url], 6),
        (vec!["status", &url], 6),
        (vec!["flush", &url], 6),
        (vec!["refresh", &url, &url], 6),
        (vec!["status", &mountpoint, &url], 2),
    ] {
        let output = place.run(&arguments);
        let said = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&said);
        assert!(!place.has_secret(&said), "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    }
    place.assert_files_are_clean(&[]);
}

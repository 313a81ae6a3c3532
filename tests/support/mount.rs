//! A mount for one test: the built program over one server, in a folder of its own, and gone with the test in every case.
//!
//! Nothing here can hang: each command has a time limit, and a mount that is still there after its own is killed, so
//! that whoever waits for it gets an error. With `FTPFS_TESTS_LOCAL=1` in the environment the server's folder itself
//! stands in for the mount: the tests must pass then too, or they ask for what no file system does.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "a test's way to fail")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::servers::{PASSWORD, Server, spawn, wait_until};

/// How long one mount may be there, and one command run.
const MOUNT_SECONDS_MAX: u64 = 170;
const COMMAND_SECONDS_MAX: u64 = 120;
/// How much longer both may take in a soak, which does that much more.
const SOAK_FACTOR: u64 = 20;
/// How long mounting or unmounting may take; the program's own deadlines are shorter.
const MOUNT_DEADLINE: Duration = Duration::from_secs(40);
/// How much of the program's log a failed test shows.
const LOG_TAIL_LINES: usize = 60;

/// A server, mounted.
pub(crate) struct Mount {
    /// `None` where the server's folder stands in for the mount, and after the end.
    process: Option<Child>,
    mountpoint: TempDir,
    /// Where the files are: the mountpoint, or what stands in for it.
    path: PathBuf,
    log: PathBuf,
    /// Where its journal lies, unless the test has said where.
    _state: TempDir,
    /// Dropped with the mount: the watchdog then knows that it is not needed.
    watched: Option<mpsc::Sender<()>>,
}

/// A program that ended before it had mounted anything.
pub(crate) struct Refused {
    pub(crate) status: ExitStatus,
    pub(crate) message: String,
}

impl Mount {
    /// Mounts the account's root on `server`.
    ///
    /// # Panics
    /// Where it cannot be mounted, with what the program said.
    pub(crate) fn start(server: &Server, options: &[&str]) -> Self {
        Self::start_url(server, &server.url(), options)
    }

    /// As [`Self::start`], under a URL that need not be the server's own.
    pub(crate) fn start_url(server: &Server, url: &str, options: &[&str]) -> Self {
        if std::env::var_os("FTPFS_TESTS_LOCAL").is_some() {
            return Self::stand_in(server);
        }
        Self::try_start(url, PASSWORD, options).unwrap_or_else(|refused| {
            panic!("not mounted, {}: {}\n{}", refused.status, refused.message, server.log());
        })
    }

    /// Mounts what `url` names, or says why the program did not.
    pub(crate) fn try_start(url: &str, password: &str, options: &[&str]) -> Result<Self, Refused> {
        Self::try_start_in(url, password, options, &[])
    }

    /// As [`Self::try_start`], with these variables in the program's environment.
    pub(crate) fn try_start_in(
        url: &str,
        password: &str,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mountpoint = TempDir::with_prefix("ftpfs-mount-").unwrap();
        let state = TempDir::with_prefix("ftpfs-state-").unwrap();
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mounts");
        fs::create_dir_all(&logs).unwrap();
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let log = logs.join(format!("{test}-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let output = fs::File::create(&log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_ftpfs"), "-f", "-v", "--password-stdin"]);
        // To look into a failure: FTPFS_TESTS_OPTIONS=--trace-protocol.
        let more = std::env::var("FTPFS_TESTS_OPTIONS").unwrap_or_default();
        if !options.iter().any(|option| option.starts_with("--state-dir")) {
            command.arg("--state-dir").arg(state.path());
        }
        let is_trusted = ["--ca-file", "--cert-fingerprint", "--known-certs", "--insecure"]
            .iter()
            .any(|trust| options.iter().any(|option| option.starts_with(trust)));
        if !url.starts_with("ftp:") && !is_trusted {
            command.arg("--ca-file").arg(crate::servers::certificates::authority_file());
        }
        command.args(options).args(more.split_whitespace()).arg(url).arg(mountpoint.path());
        command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
        // Of whoever runs the tests: no server here is behind one.
        for proxy in ["ftp_proxy", "FTP_PROXY", "ftps_proxy", "FTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.env("RUST_BACKTRACE", "1").envs(environment.iter().copied());
        let mut process = spawn(command);
        let mut input = process.stdin.take().unwrap();
        // A program that refuses its arguments has ended before it reads this.
        let _ = writeln!(input, "{password}");
        drop(input);
        let path = mountpoint.path().to_owned();
        let started = Instant::now();
        while mounted_at(&path).is_none() {
            if let Some(status) = process.try_wait().unwrap() {
                let_go(&path);
                return Err(Refused { status, message: fs::read_to_string(&log).unwrap() });
            }
            if started.elapsed() > MOUNT_DEADLINE {
                let _ = process.kill();
                panic!("neither mounted nor refused within {MOUNT_DEADLINE:?}; its log ends so:\n{}", tail(&log));
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let watched = Some(watch(process.id()));
        Ok(Self { process: Some(process), mountpoint, path, log, _state: state, watched })
    }

    fn stand_in(server: &Server) -> Self {
        let mountpoint = TempDir::with_prefix("ftpfs-mount-").unwrap();
        let state = TempDir::with_prefix("ftpfs-state-").unwrap();
        let log = mountpoint.path().join("log");
        Self { process: None, mountpoint, path: server.folder(), log, _state: state, watched: None }
    }

    /// The root of the mounted files.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The program's; nothing where there is none.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Whether the program still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// Ends the program as kill -9 does. What is open in the mount can be closed only, from then on.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// What the program has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Where that lies.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    /// Whether there is a mount, and nothing that stands in for it.
    pub(crate) fn is_real(&self) -> bool {
        self.process.is_some()
    }

    /// What the mount says of itself; nothing where there is none.
    pub(crate) fn status(&self) -> serde_json::Value {
        let output = Command::new("timeout")
            .args(["--signal=KILL", "30", env!("CARGO_BIN_EXE_ftpfs"), "status", "--json"])
            .arg(&self.path)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Bytes that went over data connections since the mount began.
    pub(crate) fn bytes_moved(&self) -> u64 {
        let status = self.status();
        let count = |name: &str| status.pointer(&format!("/connections/{name}")).and_then(serde_json::Value::as_u64);
        if !self.is_real() {
            return 0;
        }
        count("sent_bytes").unwrap() + count("received_bytes").unwrap()
    }

    /// Runs a script of bash in the root of the mount, with `arguments` as `$1`, `$2`..., and returns what it wrote.
    ///
    /// # Panics
    /// With all that it wrote, where any command in it fails or it takes too long.
    pub(crate) fn shell(&self, script: &str, arguments: &[&Path]) -> String {
        shell(&self.path, script, arguments)
    }

    /// Unmounts as a user does.
    ///
    /// # Panics
    /// Where the program does not end with success soon after.
    pub(crate) fn unmount(self) {
        let log = self.log.clone();
        if let Some(status) = self.end() {
            assert!(status.success(), "it ended with {status}:\n{}", tail(&log));
        }
    }

    /// As [`Self::unmount`], for mounts that may end without success; `None` where there was no mount.
    pub(crate) fn end(mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut()?;
        shell(Path::new("/"), UNMOUNT, &[&self.path]);
        let mut status = None;
        wait_until("the program ends when its mountpoint is unmounted", || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        assert!(mounted_at(&self.path).is_none(), "something is still mounted");
        self.process = None;
        status
    }
}

/// Root unmounts; everybody else asks the helper of FUSE to.
const UNMOUNT: &str = "if [ \"$(id -u)\" = 0 ]; then umount \"$1\"; else fusermount3 -u \"$1\"; fi";

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            if std::thread::panicking() {
                eprintln!("The mount's log {} ends so:\n{}", self.log.display(), tail(&self.log));
            }
            // Killed first: whoever waits for the mount gets an error then, and the kernel lets go of it.
            let _ = process.kill();
            let _ = process.wait();
        }
        let_go(self.mountpoint.path());
    }
}

/// Takes away what a program that is gone has left mounted.
fn let_go(path: &Path) {
    if let Some(device) = mounted_at(path) {
        let _ = Command::new("umount").arg("-l").arg(path).output();
        let minor = device.rsplit(':').next().unwrap_or_default();
        let _ = fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1");
    }
}

/// The device number, as in `0:57`, of what is mounted at `path`; asked of the kernel's table and not of the mount.
fn mounted_at(path: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let device = fields.next()?;
        (fields.nth(1)? == path.to_str()?).then(|| device.to_owned())
    })
}

/// Whether anything is mounted at `path`.
pub(crate) fn is_mounted(path: &Path) -> bool {
    mounted_at(path).is_some()
}

/// Kills the process with this id when nobody has said within [`MOUNT_SECONDS_MAX`] that it is not needed any more.
fn watch(process_id: u32) -> mpsc::Sender<()> {
    let (watched, ended) = mpsc::channel();
    std::thread::Builder::new()
        .name("mount-watchdog".to_owned())
        .spawn(move || {
            let limit = Duration::from_secs(MOUNT_SECONDS_MAX * patience());
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = writeln!(std::io::stderr(), "A mount was still there after {limit:?} and is killed.");
                let process = rustix::process::Pid::from_raw(process_id.cast_signed());
                let _ = process.map(|id| rustix::process::kill_process(id, rustix::process::Signal::KILL));
            }
        })
        .unwrap();
    watched
}

/// Whether this run is a long one, which `scripts/soak` has started.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("FTPFS_TESTS_SOAK").is_some_and(|value| value == "1")
}

fn patience() -> u64 {
    if is_soak() { SOAK_FACTOR } else { 1 }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default().join("\n")
}

/// Runs a script of bash in `folder`, with `arguments` as `$1`, `$2`..., and returns what it wrote.
///
/// # Panics
/// With all that it wrote, where any command in it fails or it takes too long.
pub(crate) fn shell(folder: &Path, script: &str, arguments: &[&Path]) -> String {
    let output = try_shell(folder, script, arguments);
    assert!(
        output.status.success(),
        "{} in\n{script}\nafter {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// As [`shell`], for scripts that may fail; one that takes too long is killed.
pub(crate) fn try_shell(folder: &Path, script: &str, arguments: &[&Path]) -> Output {
    let mut process = start_shell(folder, script, arguments);
    let mut errors = process.stderr.take().unwrap();
    // Both pipes are read at once: a program that fills one of them waits until it is read.
    let reads_errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).map(|_| text)
    });
    let mut output = process.wait_with_output().unwrap();
    output.stderr = reads_errors.join().unwrap().unwrap();
    output
}

/// Starts a script as [`shell`] does, and does not wait for it.
pub(crate) fn start_shell(folder: &Path, script: &str, arguments: &[&Path]) -> Child {
    let mut command = Command::new("timeout");
    let limit = (COMMAND_SECONDS_MAX * patience()).to_string();
    command.args(["--signal=KILL", &limit, "bash", "-euo", "pipefail", "-c", script, "bash"]);
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("HOME", "/nonexistent");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Tester").env(format!("GIT_{role}_EMAIL"), "tester@example.org");
    }
    command.spawn().unwrap()
}

//! Servers that want to harm: without an end, drop by drop, with more or less than they said, with names, links and addresses
//! that lead elsewhere. Each test is one of them, and says what it may cost at most: seconds, and bytes of memory.
//!
//! Servers that are only odd are in `tests/odd_servers`, and those that break off at any command (`breaks` there) too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's way to fail, and what it has cost"
)]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use ftpfs::connection::Deadlines;
use ftpfs::pool::ServerOptions;
use ftpfs::protocol::RemotePath;
use ftpfs::remote::{FtpRemote, RemoteResult};

#[path = "../support/mount.rs"]
mod mounted;
#[path = "../support/scripted_server.rs"]
mod scripted_server;
#[path = "../support/servers.rs"]
mod servers;

mod data;
mod encryption;
mod mounts;
mod replies;

/// Deadlines of all kinds: short, and not to be missed by a busy machine.
const DEADLINE: Duration = Duration::from_secs(2);

fn options(port: u16) -> ServerOptions {
    // RUST_LOG=ftpfs::dialogue=debug shows who said what.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = port;
    options.deadlines = Deadlines { connect: DEADLINE, reply: DEADLINE, data: DEADLINE };
    options.operation_timeout = 2 * DEADLINE;
    options
}

fn connect(port: u16) -> RemoteResult<FtpRemote> {
    FtpRemote::connect(options(port))
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

/// What a test may cost.
struct Limits {
    seconds: u64,
    mebibytes: u64,
}

/// Runs `body` in a process that does nothing else, and fails if it takes longer or needs more memory than `limits` say. The memory is that
/// of the scripted server too, so a script keeps nothing of what it sends.
fn within(limits: &Limits, body: impl FnOnce()) {
    const ALONE: &str = "FTPFS_TESTS_ALONE";
    let name = std::thread::current().name().unwrap().to_owned();
    if std::env::var_os(ALONE).is_none_or(|alone| alone != *name) {
        let seconds = (limits.seconds + 30).to_string();
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", &seconds]).arg(std::env::current_exe().unwrap());
        let output = command.args(["--exact", &name, "--nocapture"]).env(ALONE, &name).output().unwrap();
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("1 passed"), "{}\n{said}\n{errors}", output.status);
        return;
    }
    // The most that was needed is counted from here on.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, begin) = (kibibytes(std::process::id(), "VmRSS"), Instant::now());
    body();
    let grown = kibibytes(std::process::id(), "VmHWM").saturating_sub(before);
    let seconds = begin.elapsed();
    println!("{name}: {seconds:?}, {grown} KiB");
    assert!(grown < limits.mebibytes << 10, "{grown} KiB");
    assert!(seconds < Duration::from_secs(limits.seconds), "{seconds:?}");
}

/// A line of a process's status.
fn kibibytes(process: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

//! A mount to play with: a real FTP server in this process, over a temporary folder with sample files.
//!
//! ```text
//! cargo run --example demo -- /tmp/mnt
//! ```
//!
//! mounts it at /tmp/mnt (made if need be) until Ctrl-C or `umount`. What else the command line takes, the mount takes, as in
//! `cargo run --example demo -- /tmp/mnt --trace-protocol`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it speaks to whoever started it")]

use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, io};

use tempfile::TempDir;

/// How long the server may take to listen.
const LISTEN_DEADLINE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(mountpoint) = arguments.next().filter(|first| !first.as_encoded_bytes().starts_with(b"-")) else {
        eprintln!("usage: cargo run --example demo -- MOUNTPOINT [OPTIONS OF FTPFS]");
        return ExitCode::from(2);
    };
    match demonstrate(Path::new(&mountpoint), arguments.collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves sample files and mounts them until the mount ends; then both are gone.
fn demonstrate(mountpoint: &Path, options: Vec<OsString>) -> io::Result<ExitCode> {
    fs::create_dir_all(mountpoint)?;
    let folder = TempDir::with_prefix("ftpfs-demo-")?;
    write_samples(folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let port = serve(&runtime, folder.path().to_owned())?;
    say_what_to_try(mountpoint, folder.path(), port);

    let mut command: Vec<OsString> = vec!["ftpfs".into(), "--foreground".into()];
    command.extend(options);
    command.push(format!("ftp://127.0.0.1:{port}/").into());
    command.push(mountpoint.into());
    let code = ftpfs::cli::run(command.into_iter());
    // Its connections may still be open, and nobody is left to close them.
    runtime.shutdown_background();
    Ok(code)
}

/// Starts the server on a free port of 127.0.0.1, and returns when it listens.
fn serve(runtime: &tokio::runtime::Runtime, folder: PathBuf) -> io::Result<u16> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    // Opened once here, so that a folder that cannot be served is an error and no panic later.
    unftp_sbe_fs::Filesystem::new(&folder)?;
    let storage =
        move || unftp_sbe_fs::Filesystem::new(&folder).expect("the folder was opened before and is still there");
    let server = libunftp::ServerBuilder::new(Box::new(storage)).build().map_err(io::Error::other)?;
    runtime.spawn(async move {
        if let Err(error) = server.listen(format!("127.0.0.1:{port}")).await {
            eprintln!("the FTP server ended: {error}");
        }
    });
    let started = Instant::now();
    while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
        if started.elapsed() > LISTEN_DEADLINE {
            return Err(error);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    Ok(port)
}

fn write_samples(folder: &Path) -> io::Result<()> {
    fs::write(
        folder.join("README.txt"),
        "Every file here comes over FTP.\nChange this line, save, and look at the server's folder.\n",
    )?;
    fs::create_dir_all(folder.join("poems/unfinished"))?;
    fs::write(
        folder.join("poems/haiku.txt"),
        "an old silent pond\na frog jumps into the pond\nsplash! silence again\n",
    )?;
    fs::write(folder.join("poems/name with spaces, #, ? and \u{e9}.txt"), "Names are bytes, and go as they are.\n")?;
    let lines: Vec<String> =
        (1..=200_000).map(|number| format!("line {number} of a file that is worth reading ahead\n")).collect();
    fs::write(folder.join("long.txt"), lines.concat())
}

fn say_what_to_try(mountpoint: &Path, folder: &Path, port: u16) {
    let (mountpoint, folder) = (mountpoint.display(), folder.display());
    println!(
        "An FTP server runs at ftp://127.0.0.1:{port}/; its files lie in {folder}.
It is mounted at {mountpoint} in a moment. In another terminal, try:

    ls -lR {mountpoint}
    grep -n 199999 {mountpoint}/long.txt
    echo 'and another line' >> {mountpoint}/README.txt; cat {folder}/README.txt
    cp -a /etc/services {mountpoint}/poems/; mv {mountpoint}/poems/services {mountpoint}/
    df -h {mountpoint}

Ctrl-C here, or umount {mountpoint} there, ends it. Add --trace-protocol to see what is said to the server.
"
    );
}

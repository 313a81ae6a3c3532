//! What was read once is not read again: `--cache-dir`, over several mounts.

#![allow(clippy::print_stderr, reason = "how a test says that it was left out")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::fixtures::{big_file, put};
use crate::mounted::{Mount, shell};
use crate::servers::{Server, ServerKind, ServerSettings, wait_until};

/// More than a listing, less than a file.
const LITTLE: u64 = 1 << 20;

/// Puts 40 MiB on the server as `f`, last changed at `time`.
fn put_old(server: &Server, from_mib: u32, time: &str) {
    put(server, big_file(), "big");
    let script = "dd if=big of=f bs=1M count=40 skip=$1 status=none; chmod 644 f; touch -d \"$2\" f";
    shell(&server.folder(), script, &[Path::new(&from_mib.to_string()), Path::new(time)]);
}

pub(crate) fn what_was_read_comes_from_the_cache_directory_after_a_remount(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put_old(&server, 0, "2020-02-02 02:02:02");
    let folder = tempfile::tempdir().unwrap();
    let option = format!("--cache-dir={}", folder.path().display());
    let read = |place: &str| {
        let mount = Mount::start(&server, &[&option]);
        shell(mount.path(), "cmp f \"$1\"", &[&server.folder().join("f")]);
        let moved = mount.bytes_moved();
        let is_real = mount.is_real();
        mount.unmount();
        if is_real { moved } else { u64::from(place != "again") * (40 << 20) }
    };
    assert!(read("first") >= 40 << 20);
    assert!(read("again") < LITTLE);
    // Another content of the same size.
    put_old(&server, 100, "2021-02-02 02:02:02");
    assert!(read("changed") >= 40 << 20);
    // What is spoilt on the disk is read anew.
    spoil(folder.path());
    assert!(read("spoilt") >= 128 << 10);
}

/// Changes a byte in the middle of each file of content.
fn spoil(folder: &Path) {
    for account in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(account.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "data") {
                let file = File::options().read(true).write(true).open(path).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, 20 << 20).unwrap();
                file.write_all_at(&[byte[0] ^ 1], 20 << 20).unwrap();
            }
        }
    }
}

pub(crate) fn what_is_changed_here_is_not_taken_from_the_cache_directory(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put_old(&server, 0, "2020-02-02 02:02:02");
    let folder = tempfile::tempdir().unwrap();
    let option = format!("--cache-dir={}", folder.path().display());
    let mount = Mount::start(&server, &[&option]);
    // The same size and, where the server sets it, the same time: only we can know that it is another content.
    mount.shell("cat f > /dev/null; head -c 41943040 /dev/zero > g; touch -r f g; mv g f", &[]);
    mount.unmount();
    let mount = Mount::start(&server, &[&option]);
    mount.shell("cmp -n 41943040 f /dev/zero", &[]);
    mount.unmount();
    shell(&server.folder(), "cmp -n 41943040 f /dev/zero", &[]);
}

pub(crate) fn file_in_the_cache_directory_of_a_read_only_mount_is_read_by_the_kernel_itself(kind: ServerKind) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may let the kernel read by itself");
        return;
    }
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put_old(&server, 0, "2020-02-02 02:02:02");
    let folder = tempfile::tempdir().unwrap();
    let option = format!("--cache-dir={}", folder.path().display());
    let mount = Mount::start(&server, &[&option, "--ro", "-v"]);
    let Some(process) = mount.process_id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    shell(mount.path(), "cmp f \"$1\"", &[&server.folder().join("f")]);
    // The last block is answered first, and kept then.
    let kept = || mount.status().pointer("/caches/disk_bytes").and_then(serde_json::Value::as_u64);
    wait_until("all of it is kept", || kept() >= Some(40 << 20));
    let file = File::open(mount.path().join("f")).unwrap();
    let other = File::open(mount.path().join("f")).unwrap();
    if mount.log().contains("the kernel does not read files of the cache directory by itself") {
        eprintln!("SKIPPED: this kernel cannot read files of the cache directory by itself");
        return;
    }
    // Whoever is stopped answers nothing.
    kill_process(process, Signal::STOP).unwrap();
    // No fstat: that would be a question.
    let read = |file: &File| {
        let mut bytes = vec![0; 40 << 20];
        file.read_exact_at(&mut bytes, 0).map(|()| bytes)
    };
    let results = [read(&file), read(&other)];
    kill_process(process, Signal::CONT).unwrap();
    let expected = fs::read(server.folder().join("f")).unwrap();
    for result in results {
        assert!(result.unwrap() == expected);
    }
    drop((file, other));
    // Changed by others: the next open shows it.
    put_old(&server, 100, "2021-02-02 02:02:02");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    shell(mount.path(), "cmp f \"$1\"", &[&server.folder().join("f")]);
    mount.unmount();
}

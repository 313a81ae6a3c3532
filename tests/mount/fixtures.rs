//! What the tests put on a server: made once, kept under target/ for the next run, and compared in the tests' ways.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::mounted::{Mount, shell};
use crate::servers::{Server, ServerKind, ServerSettings};

/// How many files the tree has.
pub(crate) const TREE_FILES: usize = 2000;
const FILES_IN_DIRECTORY: usize = 50;
/// The big file's length.
pub(crate) const BIG_LEN: u64 = 300 << 20;

/// 2,000 small files in 40 directories of two levels; each 37th holds the word `needle`. All have times of their own.
pub(crate) fn tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| made_once("tree-1", |path| write_tree(path, TREE_FILES)))
}

/// A tree like [`tree`], of 200 files.
pub(crate) fn small_tree() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| made_once("small-tree-1", |path| write_tree(path, 200)))
}

/// A file of 300 MiB in which no two places look alike.
pub(crate) fn big_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| made_once("big-300-mib-1", |path| write_noise(path, BIG_LEN)))
}

/// Makes what is to be at this name under another one first, so that a run that was cut off leaves nothing half made.
fn made_once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    if !path.exists() {
        let unfinished = TempDir::new_in(&folder).unwrap();
        make(&unfinished.path().join(name));
        // Another test program may have been faster; its result is the same.
        let _ = fs::rename(unfinished.path().join(name), &path);
    }
    path
}

fn write_tree(root: &Path, files: usize) {
    for number in 0..files {
        let directory = number / FILES_IN_DIRECTORY;
        let folder = root.join(format!("part {}", directory % 7)).join(format!("d{directory:03}"));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("file-{number:05}.txt"));
        let mut text = format!("file {number}\n").repeat(number % 97 * (number % 5));
        if number % 37 == 0 {
            text += "a needle in it\n";
        }
        fs::write(&path, text).unwrap();
        // From 2003 to now, so that listings show some with a year and some with an hour; seconds that are no whole minutes.
        let age = Duration::from_secs(61 + number as u64 * 360_007);
        let modified = SystemTime::now() - age;
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
}

/// Writes `len` bytes that follow from their places alone.
pub(crate) fn write_noise(path: &Path, len: u64) {
    let mut output = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..len / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        output.write_all(&state.to_le_bytes()).unwrap();
    }
    output.flush().unwrap();
}

/// A server with default settings and its mount; `None` where the server cannot be had.
pub(crate) fn mounted(kind: ServerKind) -> Option<(Server, Mount)> {
    let server = Server::start(kind, ServerSettings::default())?;
    let mount = Mount::start(&server, &[]);
    Some((server, mount))
}

/// Puts a copy of `source` into the server's folder, past the mount, as the server's own.
pub(crate) fn put(server: &Server, source: &Path, name: &str) -> PathBuf {
    let target = server.folder().join(name);
    shell(Path::new("/"), "cp -a -- \"$1\" \"$2\"", &[source, &target]);
    server.give(name);
    target
}

/// Whether this server has a command that sets a file's time.
pub(crate) fn sets_times(kind: ServerKind) -> bool {
    kind != ServerKind::Embedded
}

/// Whether this server has a command that sets permission bits.
pub(crate) fn sets_modes(kind: ServerKind) -> bool {
    kind != ServerKind::Embedded
}

/// Asserts that two trees hold the same names and contents and, if asked, that their files have the same times to the second.
pub(crate) fn assert_same_tree(one: &Path, other: &Path, times: bool) {
    shell(Path::new("/"), "diff -r --no-dereference -- \"$1\" \"$2\"", &[one, other]);
    if times {
        assert_eq!(file_times(one), file_times(other));
    }
}

/// A line for each file below `root`: its name, size, and time in seconds.
pub(crate) fn file_times(root: &Path) -> String {
    shell(root, "find . -type f -printf '%P %s %Ts\\n' | sort", &[])
}

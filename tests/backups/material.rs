//! What is backed up: files as people have them, odd ones among them, and how they change from one backup to the next.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::mounted::{is_soak, shell};

/// Names that a local disk takes and FTP takes too.
const ODD_NAMES: &[&[u8]] = &[
    b"-n",
    b"a b  c",
    b"#hash%20?and[brackets]*",
    b"~tilde;semi&'quotes\"",
    "grüße 日本 🙂".as_bytes(),
    b".hidden",
    b"...",
];
/// Names that only a local disk takes; or not all servers.
const LOCAL_NAMES: &[&[u8]] =
    &[b"back\\slash", b"line\nbreak", b"not utf-8 \xff\xfe", b" space before and behind ", b"tab\there"];

/// Where the files are to lie after all: FTP has neither links nor all names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Inside the files of a repository.
    Inside,
    /// On the server, as they are.
    AsFiles,
}

/// How many small files there are, and how long the large one is.
fn amounts() -> (u64, u64) {
    if is_soak() { (320, 20 << 20) } else { (80, 3 << 20) }
}

/// Makes the files at `root`.
pub(crate) fn make(root: &Path, kept: Kept) {
    let (files, big_len) = amounts();
    for number in 0..files {
        let folder = root.join(format!("folder {}", number % 10)).join("deep/deeper");
        fs::create_dir_all(&folder).unwrap();
        write(&folder.join(format!("file {number}.txt")), number, number * number % 60_000);
    }
    write(&root.join("big"), 1000, big_len);
    write(&root.join("empty"), 0, 0);
    write(&root.join("folder 3/empty too"), 0, 0);
    fs::create_dir(root.join("empty folder")).unwrap();
    let odd = root.join("odd");
    fs::create_dir(&odd).unwrap();
    let mut names: Vec<&[u8]> = ODD_NAMES.to_vec();
    let long = "n".repeat(200);
    names.push(long.as_bytes());
    if kept == Kept::Inside {
        names.extend(LOCAL_NAMES);
        symlink("../big", odd.join("link")).unwrap();
        symlink("nowhere", odd.join("dangling")).unwrap();
        fs::hard_link(root.join("empty"), odd.join("hard link")).unwrap();
    }
    for (number, name) in names.iter().enumerate() {
        write(&odd.join(OsStr::from_bytes(name)), 2000 + number as u64, 100 * number as u64);
    }
    fs::set_permissions(root.join("big"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(root.join("folder 1/deep/deeper/file 1.txt"), Permissions::from_mode(0o755)).unwrap();
}

/// Changes some of them, another way in each round: longer, shorter, in the middle, gone, new, and under other names.
pub(crate) fn change(root: &Path, round: u64) {
    let big = File::options().write(true).open(root.join("big")).unwrap();
    let middle = big.metadata().unwrap().len() / 2;
    big.write_all_at(format!("changed in round {round}").as_bytes(), middle).unwrap();
    // Two rounds may fall into one second, and programs go by the time; duplicity even where the size has changed.
    let seconds = 1_700_000_000 + round * 86_461;
    big.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    let (cut, grown) = (3 + 10 * round, 4 + 10 * round);
    write(&root.join(format!("folder {}/deep/deeper/file {cut}.txt", cut % 10)), 3000 + round, 0);
    write(&root.join(format!("folder {}/deep/deeper/file {grown}.txt", grown % 10)), 4000 + round, 200_000);
    write(&root.join(format!("new {round}")), 5000 + round, amounts().1 / 4);
    // What goes goes last: tar knows a directory by its number, which the next new one would get.
    let (gone, moved) = (5 + round % 5, round % 3);
    shell(
        root,
        &format!(
            "mkdir -p moved; [ ! -e 'folder {moved}' ] || mv 'folder {moved}' 'moved/folder {moved} in round {round}'
             mv 'odd/-n' odd/n; echo {round} >> 'odd/n'; touch -d @{seconds} odd/n; mv odd/n 'odd/-n'
             rm -rf 'folder {gone}' 'new {}'",
            round.wrapping_sub(2)
        ),
        &[],
    );
}

/// Adds files of `len` bytes together, which no backup has yet.
pub(crate) fn add(root: &Path, round: u64, len: u64) {
    for number in 0..4 {
        write(&root.join(format!("added {round} {number}")), 6000 + 4 * round + number, len / 4);
    }
}

/// Writes `len` bytes that follow from `seed`, half of them such that can be compressed, and gives the file a time of its own.
fn write(path: &Path, seed: u64, len: u64) {
    let file = File::create(path).unwrap();
    let mut output = BufWriter::with_capacity(1 << 20, &file);
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut left = usize::try_from(len).unwrap();
    while left > 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let piece = [state.to_le_bytes(), *b"the same"].concat();
        let taken = left.min(piece.len());
        output.write_all(piece.get(..taken).unwrap()).unwrap();
        left -= taken;
    }
    output.flush().unwrap();
    drop(output);
    let modified = UNIX_EPOCH + Duration::from_secs(1_500_000_000 + seed * 86_461);
    file.set_modified(modified).unwrap();
}

/// Asserts that two trees hold the same: names, kinds, contents, times and permission bits of files.
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let report = shell(
        Path::new("/"),
        "rsync -rlptn --omit-dir-times --omit-link-times --checksum --delete --itemize-changes \"$1\"/ \"$2\"/",
        &[one, other],
    );
    // What holds the tree is no part of it.
    let report: Vec<&str> = report.lines().filter(|line| !line.ends_with(" ./")).collect();
    assert_eq!(report, [""; 0], "what is not the same in {} and {}", one.display(), other.display());
    // rsync looks at names and checksums; this reads every byte of both.
    shell(Path::new("/"), "diff -r --no-dereference -- \"$1\" \"$2\"", &[one, other]);
}

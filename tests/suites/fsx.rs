//! fsx: one file, written, cut, mapped, copied and read at random; each read is compared with what it must be, and at the end
//! the server must hold the same.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::mounted::{Mount, shell, try_shell};
use crate::servers::{Server, ServerKind, ServerSettings};
use crate::soak::{amount, tool};

/// A file below the length from which on files are sent while they are written, closed often; and one above it, with pieces that
/// are no multiple of a page, and maps that nobody syncs.
const FILES: [(&str, &str); 2] = [
    ("small", "flen = 262144\n[opsize]\nmax = 65536\n[weights]\nclose_open = 3\n"),
    ("large", "flen = 6291456\nnomsyncafterwrite = true\n[opsize]\nmax = 786433\n[weights]\nclose_open = 1\n"),
];
/// What fsx can do and the mount promises, and how often it does it; not among it are punched holes (EOPNOTSUPP).
const WEIGHTS: &str = "
    read = 10
    write = 10
    mapread = 5
    mapwrite = 5
    truncate = 4
    invalidate = 1
    fsync = 1
    fdatasync = 1
    posix_fallocate = 2
    sendfile = 3
    posix_fadvise = 2
    copy_file_range = 3
    punch_hole = 0
";

pub(crate) fn random_operations_read_what_was_written(kind: ServerKind) {
    let Some(fsx) = tool("fsx") else { return };
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let mount = Mount::start(&server, &[]);
    let folder = configurations();
    // Seeds that are always the same, so that running the test again finds the same failure.
    for seed in 1..=5 {
        // Both at once, so that each meets the other's uploads.
        let runs = format!(
            "{} & one=$!; {} & two=$!; status=0; wait $one || status=1; wait $two || status=1; exit $status",
            run("small", amount(300, 4000), seed),
            run("large", amount(60, 1000), seed),
        );
        mount.shell(&runs, &[&fsx, folder.path()]);
        // With `--durability=journal` a closed file is still on its way.
        shell(mount.path(), "\"$1\" flush . >&2", &[Path::new(env!("CARGO_BIN_EXE_ftpfs"))]);
        for (name, _) in FILES {
            let here = fs::read(mount.path().join(name)).unwrap();
            let there = fs::read(server.folder().join(name)).unwrap();
            assert!(here == there, "{name}, seed {seed}: {} bytes here, {} on the server", here.len(), there.len());
        }
    }
    mount.unmount();
    assert_eq!(shell(&server.folder(), "ls -A", &[]), "large\nsmall\n");
}

#[test]
fn operation_that_is_left_out_is_noticed() {
    let Some(fsx) = tool("fsx") else { return };
    let (folder, files) = (configurations(), TempDir::new().unwrap());
    let arguments: [&Path; 2] = [&fsx, folder.path()];
    shell(files.path(), &run("small", 100, 1), &arguments);
    // The fourth of this seed is a write that is read soon after.
    let output = try_shell(files.path(), &format!("{} --inject 4", run("small", 100, 1)), &arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && (words.contains("miscompare") || words.contains("Size error")), "{words}");
    // And nothing of what it is to do is a word that it does not know and passes over.
    let trace = try_shell(files.path(), &format!("{} -v", run("small", 3000, 1)), &arguments);
    let done = String::from_utf8_lossy(&trace.stderr);
    for (operation, _) in WEIGHTS.lines().filter_map(|line| line.trim().split_once(" = ")) {
        let word = if operation == "invalidate" { "MS_INVALIDATE" } else { operation };
        assert_eq!(done.contains(word), operation != "punch_hole", "{operation}");
    }
    assert!(done.contains("close/open"));
}

/// A folder with the configuration of each file.
fn configurations() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, configuration) in FILES {
        fs::write(folder.path().join(name), format!("{configuration}{WEIGHTS}")).unwrap();
    }
    folder
}

/// The command of one run, with fsx as `$1` and the folder of its configuration and its findings as `$2`.
fn run(name: &str, operations: u32, seed: u32) -> String {
    format!("\"$1\" -f \"$2/{name}\" -P \"$2\" -N {operations} -S {seed} {name}")
}

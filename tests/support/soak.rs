//! How much the random tests do, and the programs of other projects that do it: a few seconds' worth in each run, and much
//! more where `scripts/soak` asks for it, with `FTPFS_TESTS_SOAK=1` in the environment.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test's way to fail")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// `short` in a run like any other, `long` in a soak.
pub(crate) fn amount<T>(short: T, long: T) -> T {
    if crate::mounted::is_soak() { long } else { short }
}

/// Where `scripts/tools` has put this program.
///
/// `None` where it has not, after saying so on the terminal.
///
/// # Panics
/// Where it has not, and the environment says that nothing may be missing.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("target"), |path| package.join(path));
    let program = target.join("tools/bin").join(name);
    if program.exists() {
        return Some(program);
    }
    let needed = std::env::var_os("FTPFS_TESTS_NEED_SERVERS").is_some_and(|value| value == "1");
    assert!(!needed, "{name} is needed (FTPFS_TESTS_NEED_SERVERS=1): scripts/tools fetches it");
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {} (scripts/tools fetches it)", program.display());
    None
}

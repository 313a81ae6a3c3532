//! The inputs that fuzzers have found worth keeping, through the checks that the fuzz targets make (docs/testing.md#fuzzing).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/checks/mod.rs"]
mod checks;

/// Every input kept for the target called `name`.
fn replay(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let kept = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        assert!(kept.is_ok(), "{}: {}", path.display(), bytes.escape_ascii());
        count += 1;
    }
    assert!(count > 10, "{count} inputs in {}", folder.display());
}

macro_rules! replayed {
    ($($name:ident)*) => { $(#[test] fn $name() { replay(stringify!($name), checks::$name::check) })* };
}

replayed!(reply feat passive mlsd list netrc url record journal);

#[test]
fn each_target_is_replayed() {
    let targets = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets")).unwrap();
    let this = include_str!("fuzz.rs").split_once("replayed!(").unwrap().1;
    for target in targets {
        let name = target.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(this.split([' ', ')']).any(|word| word == name), "{name} is not replayed");
    }
}

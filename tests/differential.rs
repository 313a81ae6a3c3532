//! Random system calls on a mount and on a local folder: each must give the same on both, value or errno.
//!
//! At each fsync and close the server's file must be the local one; at the end of a case both trees are compared, and when the
//! mount is gone the server's with the local one. A failing case is printed with its seed, shrunk to the fewest steps.
//!
//! Not here: calls that FTP has nothing for, and times beside those that were set.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's way to fail")]

#[path = "support/mount.rs"]
mod mounted;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/soak.rs"]
mod soak;

#[path = "differential/side.rs"]
mod side;
#[path = "differential/steps.rs"]
mod steps;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tempfile::TempDir;

use mounted::Mount;
use servers::{Server, ServerKind, ServerSettings};
use side::{Maps, Outcome, Side, tree};
use soak::amount;
use steps::{PATHS, STEP_KINDS, Step, prelude, step};

/// Nothing is believed for longer than it takes to say it.
const NO_CACHES: [&str; 4] = ["--dir-timeout", "1ms", "--attr-timeout", "1ms"];

/// Where the cases of one mount run.
struct Field<'a> {
    mount: &'a Path,
    server: &'a Path,
    local: &'a Path,
    maps: RefCell<Maps>,
    cases: Cell<u32>,
    /// How often a step of each kind had something to do and succeeded.
    succeeded: RefCell<BTreeMap<String, u32>>,
}

impl Field<'_> {
    fn case(&self, steps: &[Step]) -> Result<(), TestCaseError> {
        self.cases.set(self.cases.get() + 1);
        let name = format!("case-{}", self.cases.get());
        let maps = &mut *self.maps.borrow_mut();
        let (mut here, mut local) = (Side::new(self.mount, &name), Side::new(self.local, &name));
        for (number, step) in prelude().iter().chain(steps).enumerate() {
            let promised = match step {
                Step::Fsync { slot, .. } | Step::Close { slot } => local.paths_of_writer(*slot),
                _ => vec![],
            };
            let (got, expected) = (here.run(*step, maps), local.run(*step, maps));
            if !matches!(expected, Outcome::Nothing | Outcome::Failed(_)) {
                *self.succeeded.borrow_mut().entry(kind_of(step)).or_default() += 1;
            }
            prop_assert!(got == expected, "step {number}, {step:?}: {}", difference(&got, &expected));
            for path in promised {
                let stored = fs::read(self.server.join(&name).join(PATHS[path])).unwrap_or_default();
                let wanted = fs::read(local.path(path)).unwrap();
                let (stored_len, wanted_len) = (stored.len(), wanted.len());
                let told = format!("after step {number}, {step:?}: {stored_len} bytes there, {wanted_len} here");
                prop_assert!(stored == wanted, "the server's {} differs {told}", PATHS[path]);
            }
        }
        let (got, expected) = (here.finish(), local.finish());
        let names = |tree: &[(std::path::PathBuf, Option<Vec<u8>>)]| {
            tree.iter().map(|(path, content)| (path.clone(), content.as_ref().map(Vec::len))).collect::<Vec<_>>()
        };
        prop_assert_eq!(names(&got), names(&expected), "the trees differ");
        prop_assert!(got == expected, "the contents differ");
        Ok(())
    }
}

/// The step's name without what it is done with.
fn kind_of(step: &Step) -> String {
    format!("{step:?}").split(' ').next().unwrap().to_owned()
}

/// Both, or where they begin to differ if they are long.
fn difference(got: &Outcome, expected: &Outcome) -> String {
    let (Outcome::Bytes(some), Outcome::Bytes(other)) = (got, expected) else {
        return format!("{got:?} instead of {expected:?}");
    };
    let at = some.iter().zip(other).position(|(one, two)| one != two);
    format!("{} bytes instead of {}, which differ from {at:?} on", some.len(), other.len())
}

/// Runs the cases on one mount. `offset` makes those of one set of options other ones than those of another.
fn compare(kind: ServerKind, options: &[&str], offset: u8) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let mount = Mount::start(&server, options);
    let local = TempDir::new().unwrap();
    // The same cases in each run, others on each server; others in each soak, which says which.
    let seed = amount([kind as u8 + offset; 32], std::array::from_fn(|_| rand_byte()));
    let config =
        Config { cases: amount(16, 150), failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let field = Field {
        mount: mount.path(),
        server: &server.folder(),
        local: local.path(),
        maps: RefCell::new(Maps::start()),
        cases: Cell::new(0),
        succeeded: RefCell::default(),
    };
    let cases = prop::collection::vec(step(), 1..100);
    match runner.run(&cases, |steps| field.case(&steps)) {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => panic!("{reason}\nseed {seed:?}, the fewest steps: {steps:#?}"),
        Err(error) => panic!("{error}"),
    }
    let local_tree = tree(local.path());
    // Steps that all failed would compare nothing.
    let succeeded = field.succeeded.into_inner();
    assert!(succeeded.len() >= amount(STEP_KINDS - 2, STEP_KINDS), "of too many kinds none succeeded: {succeeded:?}");
    mount.unmount();
    assert!(tree(&server.folder()) == local_tree, "the server's tree differs after the end of the mount");
}

fn rand_byte() -> u8 {
    // Each has a random key of its own, and hashes nothing.
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish().to_le_bytes()[0]
}

fn calls_give_what_they_give_locally(kind: ServerKind) {
    compare(kind, &[], 0);
}

fn calls_give_what_they_give_locally_without_caches(kind: ServerKind) {
    compare(kind, &NO_CACHES, 100);
}

macro_rules! on_each_server {
    ($($fact:ident)*) => {
        on_each_server! { vsftpd = Vsftpd: $($fact)* }
        on_each_server! { proftpd = Proftpd: $($fact)* }
        on_each_server! { pure_ftpd = PureFtpd: $($fact)* }
        on_each_server! { pyftpdlib = Pyftpdlib: $($fact)* }
        on_each_server! { embedded = Embedded: $($fact)* }
    };
    ($server:ident = $kind:ident: $($fact:ident)*) => {
        mod $server {
            $(#[test] fn $fact() { crate::$fact(crate::ServerKind::$kind) })*
        }
    };
}

on_each_server! { calls_give_what_they_give_locally calls_give_what_they_give_locally_without_caches }

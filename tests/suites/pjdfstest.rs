//! pjdfstest: for each call what POSIX says of it. What cannot be so on an FTP server is listed in docs/semantics.md with its
//! reason; all else must pass, and what is listed must fail.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use tempfile::TempDir;

use crate::mounted::{Mount, is_soak, try_shell};
use crate::servers::{Server, ServerKind, ServerSettings, is_root};
use crate::soak::tool;

/// What of the optional is there; how long to wait for a time that is a later one; two users beside root, as Debian has them.
const CONFIGURATION: &str = "
    [features]
    posix_fallocate = {}
    utime_now = {}
    utimensat = {}
    [settings]
    naptime = 1.1
    [dummy_auth]
    entries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]
";
/// What the names of tests begin with. Each has a process of its own, so that they wait for times side by side; a name is
/// looked for anywhere, so `link` brings `symlink` and `unlink` along, and `truncate` brings `ftruncate`.
const GROUPS: &str =
    "link truncate chmod chown mkdir mkfifo mknod open posix_fallocate rename rmdir utimensat chflags nfsv4acl";
/// How many tests there are in this version; fewer have run where a group was cut off.
const TESTS: usize = 398;
/// Where the failures are listed.
const SECTION: &str = "\n## What pjdfstest finds\n";

/// Where a listed test fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fails {
    Always,
    /// For reasons that the test does not decide.
    Sometimes,
    /// On a server of this name.
    On(&'static str),
}

pub(crate) fn failures_are_those_that_the_semantics_list(kind: ServerKind) {
    let Some(program) = tool("pjdfstest") else { return };
    if !is_soak() || !is_root() {
        let _ = writeln!(std::io::stderr(), "SKIPPED pjdfstest: for soaks, and for root, who can change between users");
        return;
    }
    // One of the tests fills a directory, and each name that a cut listing does not show costs a question.
    let settings = ServerSettings { listing_max: Some(200_000), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let mount = Mount::start(&server, &["--allow-other"]);
    if !mount.is_real() {
        return;
    }
    let found = run(&mount, &program);
    let listed = listed();
    let failures = found.values().filter(|result| result.starts_with("FAILED")).count();
    eprintln!("{}: {failures} of {} fail", kind.name(), found.len());
    let mut wrong = Vec::new();
    for (name, result) in &found {
        let expected = expected(&listed, name, kind);
        let fails = result.starts_with("FAILED");
        if fails && expected.is_none() {
            wrong.push(format!("{name} fails, and is not listed: {result}"));
        } else if result == "ok" && matches!(expected, Some(Fails::Always | Fails::On(_))) {
            wrong.push(format!("{name} is listed, and passes"));
        }
    }
    assert!(wrong.is_empty(), "{} against docs/semantics.md:\n{}", kind.name(), wrong.join("\n"));
    assert_eq!(found.len(), TESTS, "not all tests have run");
    mount.unmount();
}

/// Each test with what came of it: `ok`, `skipped`, or `FAILED` and why.
fn run(mount: &Mount, program: &Path) -> BTreeMap<String, String> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("configuration"), CONFIGURATION).unwrap();
    let script = format!(
        "unset RUST_BACKTRACE
         for group in {GROUPS}; do (\"$1\" -c \"$2/configuration\" -p . $group:: > \"$2/$group.out\" 2>&1 || true) & done; wait
         cat \"$2\"/*.out"
    );
    let output = try_shell(mount.path(), &script, &[program, folder.path()]);
    let text = String::from_utf8_lossy(&output.stdout).replace('\u{1b}', "");
    let mut found = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        // What is left of a colour is `[34m` before the word it begins at, and `[0m` behind it.
        let plain: Vec<&str> = line.split_whitespace().map(without_colour).collect();
        match plain[..] {
            [name, result @ ("ok" | "skipped" | "FAILED")] => {
                name.clone_into(&mut last);
                found.insert(last.clone(), result.to_owned());
            }
            _ if line.starts_with('\t') => {
                if let Some(result) = found.get_mut(&last) {
                    *result += &format!(": {}", line.trim());
                }
            }
            _ => {}
        }
    }
    for (name, result) in &mut found {
        // A reason to be skipped is none of ours.
        if result.starts_with("skipped") {
            "skipped".clone_into(result);
        }
        assert!(!name.is_empty());
    }
    found
}

fn without_colour(word: &str) -> &str {
    let word = word.strip_suffix("[0m").unwrap_or(word);
    match word.split_once('m') {
        Some((colour, rest)) if colour.starts_with('[') => rest,
        _ => word,
    }
}

/// The patterns of the list, each with where it fails.
fn listed() -> Vec<(String, Fails)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/semantics.md")).unwrap();
    let begin = text.find(SECTION).unwrap() + SECTION.len();
    let section = &text[begin..];
    let section = section.find("\n## ").map_or(section, |end| &section[..end]);
    let mut patterns = Vec::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let fails = match cells[1] {
            "everywhere" => Fails::Always,
            "sometimes" => Fails::Sometimes,
            name => match ServerKind::ALL.iter().find(|kind| kind.name() == name) {
                Some(kind) => Fails::On(kind.name()),
                None => continue,
            },
        };
        patterns.extend(cells[2].split('`').skip(1).step_by(2).map(|pattern| (pattern.to_owned(), fails)));
    }
    assert!(patterns.len() > 20, "the list was not found");
    patterns
}

/// Whether the list says that this test fails on this server.
fn expected(listed: &[(String, Fails)], name: &str, kind: ServerKind) -> Option<Fails> {
    let is_for = |fails: Fails| match fails {
        Fails::On(server) => server == kind.name(),
        Fails::Always | Fails::Sometimes => true,
    };
    listed.iter().find(|(pattern, fails)| is_for(*fails) && matches_pattern(pattern, name)).map(|(_, fails)| *fails)
}

/// Whether `name` is the pattern, in which `*` stands for anything.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, behind)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|tail| matches_pattern(behind, tail)))
        }),
    }
}

#[test]
fn pattern_matches_what_it_says() {
    assert!(matches_pattern("*::fifo", "chmod::update_ctime::fifo") && matches_pattern("mkfifo::*", "mkfifo::a::b"));
    assert!(matches_pattern("a", "a") && matches_pattern("*::x::*", "a::x::b"));
    assert!(
        !matches_pattern("*::fifo", "mkfifo::fifo_a") && !matches_pattern("a", "ab") && !matches_pattern("a*c", "ab")
    );
}

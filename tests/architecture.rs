//! The rules of this code's shape that a compiler does not know: the order of the layers, who may name what, how long a file is.
//!
//! Each rule is a function from a source to its violations, and each has been shown to fail: the tests below feed it small
//! made-up sources first, and then all of ours.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::fs;
use std::path::Path;

/// The layers from the bottom up. A module imports from those before its own, and from its own.
const LAYERS: [&str; 10] =
    ["protocol", "connection", "pool", "remote", "cache", "journal", "filesystem", "fuse", "control", "cli"];

/// Pairs that are in order and are still to know nothing of each other.
const STRANGERS: [(&str, &str); 1] = [("journal", "cache")];

/// Names that only some may use, as `(name, the folders or files that may)`.
const RESERVED: [(&str, &[&str]); 8] = [
    ("fuser", &["src/fuse/"]),
    ("socket2", &["src/connection/"]),
    ("TcpStream", &["src/connection/"]),
    ("TcpListener", &["src/connection/"]),
    ("UdpSocket", &["src/connection/"]),
    ("ToSocketAddrs", &["src/connection/"]),
    ("UnixStream", &["src/fuse/", "src/control/"]),
    ("UnixListener", &["src/control/"]),
];

/// The only file that may name an errno.
const ERRNO_FILE: &str = "src/fuse/errno.rs";

/// Errnos that others may read, because std has no stable name for them, as `(the file, the errno)`.
const ERRNOS_READ: [(&str, &str); 1] = [("src/connection/data.rs", "INPROGRESS")];

const LINES_MAX: usize = 700;

/// An `expect` of fewer letters than this gives no reason.
const REASON_LEN_MIN: usize = 10;

/// A file's source as the rules look at it.
struct Source<'a> {
    /// From the package's folder on: `src/fuse/errno.rs`.
    path: &'a str,
    text: &'a str,
    /// Without comments, and with every letter of a string or character literal turned into `x`.
    code: String,
}

impl<'a> Source<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        Self { path, text, code: without_comments_and_literals(text) }
    }

    /// The layer this file belongs to; `None` for lib.rs and main.rs and for what is not under src.
    fn layer(&self) -> Option<&'a str> {
        let (folder, _) = self.path.strip_prefix("src/")?.split_once('/')?;
        Some(folder)
    }

    /// The code that ends up in the program: nothing of a file of tests, nothing from `#[cfg(test)] mod` on.
    fn program(&self) -> &str {
        if !self.path.starts_with("src/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        let mut from = 0;
        while let Some(found) = self.code[from..].find("#[cfg(test)]") {
            let at = from + found;
            from = at + "#[cfg(test)]".len();
            let behind = self.code[from..].trim_start();
            let declares_a_file = behind.split_once('\n').map_or(behind, |(line, _)| line).trim_end().ends_with(';');
            if behind.starts_with("mod ") && !declares_a_file {
                return &self.code[..at];
            }
        }
        &self.code
    }
}

/// Takes comments out, and empties literals, so that no rule is broken or kept by words.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = &rest[block_comment_len(rest)..];
        } else if let Some(literal) = literal_len(rest) {
            let quote = if first == '\'' { '\'' } else { '"' };
            let inside = rest[..literal].chars().filter(|character| *character != '"').count();
            code.push(quote);
            code.extend(std::iter::repeat_n('x', inside));
            code.push(quote);
            rest = &rest[literal..];
        } else {
            // A word is copied whole, so that the `r` of `for"` or `br` within one begins no literal.
            let word = rest.find(|character: char| !is_word(character)).unwrap_or(rest.len()).max(first.len_utf8());
            code.push_str(&rest[..word]);
            rest = &rest[word..];
        }
    }
    code
}

fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// How long the literal is that `text` begins with, if it begins with one: a string of any kind, or a character.
fn literal_len(text: &str) -> Option<usize> {
    let prefix = text.find(|character: char| !matches!(character, 'b' | 'c' | 'r'))?;
    let behind = &text[prefix..];
    if prefix <= 2 && text[..prefix].ends_with('r') {
        let hashes = behind.find(|character| character != '#')?;
        if behind[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = prefix + hashes + 1;
            return Some(text[begin..].find(&end).map_or(text.len(), |found| begin + found + end.len()));
        }
        return None;
    }
    if prefix <= 1 && behind.starts_with('"') {
        return Some(prefix + quoted_len(behind, '"'));
    }
    if prefix <= 1 && behind.starts_with('\'') {
        // `'a'` and `'\n'` are characters, `'a` is a lifetime.
        let mut characters = behind.chars().skip(1);
        let (second, third) = (characters.next()?, characters.next()?);
        return (second == '\\' || third == '\'').then(|| prefix + quoted_len(behind, '\''));
    }
    None
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// What stands behind each occurrence of `word` as a word of its own.
fn behind_each<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(word).filter_map(move |(at, _)| {
        let behind = &code[at + word.len()..];
        let whole = !code[..at].ends_with(is_word) && !behind.starts_with(is_word);
        whole.then_some(behind)
    })
}

/// The names that the paths in `code` go to from the crate's root: `crate::a::b` and `crate::{a, b::c}`, and from
/// `super::` too, because a chain of them ends at the root as well.
fn imported(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for root in ["crate", "super", "ftpfs"] {
        for behind in behind_each(code, root) {
            let Some(path) = behind.trim_start().strip_prefix("::") else { continue };
            let path = path.trim_start();
            if let Some(group) = path.strip_prefix('{') {
                names.extend(first_names_of_group(group));
            } else {
                names.push(first_name(path));
            }
        }
    }
    names
}

fn first_name(path: &str) -> &str {
    &path[..path.find(|character| !is_word(character)).unwrap_or(path.len())]
}

fn first_names_of_group(group: &str) -> Vec<&str> {
    let (mut depth, mut names, mut expected) = (1, vec![], true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => expected = true,
            _ if expected && is_word(character) => {
                names.push(first_name(&group[at..]));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn imports_from_above(source: &Source<'_>) -> Vec<String> {
    let Some(layer) = source.layer() else { return vec![] };
    let Some(rank) = LAYERS.iter().position(|name| *name == layer) else {
        return vec![format!("{}: the layer `{layer}` has no place in the order", source.path)];
    };
    let mut violations = Vec::new();
    for name in imported(&source.code) {
        let above = LAYERS.iter().position(|other| *other == name).is_some_and(|other| other > rank);
        if above || STRANGERS.contains(&(layer, name)) {
            violations.push(format!("{}: `{layer}` imports from `{name}`", source.path));
        }
    }
    violations
}

fn reserved_names(source: &Source<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, owners) in RESERVED {
        let may = owners.iter().any(|owner| source.path.starts_with(owner));
        if !may && behind_each(source.program(), name).next().is_some() {
            violations.push(format!("{}: only {owners:?} may name `{name}`", source.path));
        }
    }
    violations
}

fn errno_names(source: &Source<'_>) -> Vec<String> {
    if source.path == ERRNO_FILE {
        return vec![];
    }
    // rustix and fuser have a type `Errno`; libc has constants of many kinds, of which those of errno begin with E.
    let named = |owner, initial| {
        behind_each(source.program(), owner)
            .filter_map(|behind| behind.strip_prefix("::").map(first_name))
            .filter(move |name| name.len() > 2 && name.starts_with(initial))
            .filter(|name| name.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit()))
    };
    named("Errno", "")
        .chain(named("libc", "E"))
        .filter(|name| !ERRNOS_READ.contains(&(source.path, name)))
        .map(|name| format!("{}: only {ERRNO_FILE} may name `{name}`", source.path))
        .collect()
}

fn length_and_header(source: &Source<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        violations.push(format!("{}: {lines} lines, and {LINES_MAX} is the most", source.path));
    }
    if !source.text.starts_with("//! ") {
        violations.push(format!("{}: its first line is not `//! ` and what it is", source.path));
    }
    violations
}

fn ways_to_panic(source: &Source<'_>) -> Vec<String> {
    let program = source.program();
    let mut violations = Vec::new();
    for word in ["unwrap", "unwrap_err", "unwrap_unchecked"] {
        if behind_each(program, word).any(|behind| behind.starts_with('(')) {
            violations.push(format!("{}: `{word}`", source.path));
        }
    }
    for word in ["panic", "todo", "unimplemented"] {
        if behind_each(program, word).any(|behind| behind.starts_with('!')) {
            violations.push(format!("{}: `{word}!`", source.path));
        }
    }
    for word in ["expect", "expect_err"] {
        for behind in behind_each(program, word) {
            let Some(argument) = behind.strip_prefix('(') else { continue };
            let argument = argument.trim_start();
            // `#[expect(lint, reason = "...")]` is no call.
            if argument.starts_with("clippy") || argument.starts_with("dead_code") || argument.starts_with("unused") {
                continue;
            }
            let reason = argument.strip_prefix('"').and_then(|text| text.find('"')).unwrap_or(0);
            if reason < REASON_LEN_MIN {
                violations.push(format!("{}: `{word}` without a reason in words", source.path));
            }
        }
    }
    violations
}

/// All our Rust files, as path from the package's folder and text.
fn all_sources() -> Vec<(String, String)> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["src", "tests", "examples", "benches", "fuzz"].map(|name| package.join(name)).to_vec();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(package).unwrap().to_str().unwrap().to_owned();
                sources.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.iter().any(|(name, _)| name == "src/lib.rs"), "the sources were not found");
    sources
}

/// Applies a rule to all our files.
fn assert_kept(rule: fn(&Source<'_>) -> Vec<String>) {
    let violations: Vec<String> =
        all_sources().iter().flat_map(|(path, text)| rule(&Source::new(path, text))).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// How often a made-up source breaks a rule.
fn count(rule: fn(&Source<'_>) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn layers_import_only_from_below() {
    assert_eq!(count(imports_from_above, "src/protocol/reply.rs", "use crate::pool::Pool;"), 1);
    assert_eq!(
        count(imports_from_above, "src/cache/blocks.rs", "use crate::{protocol::Name, journal::{Log, cache}};"),
        1
    );
    assert_eq!(count(imports_from_above, "src/journal/log.rs", "use crate::cache::Blocks;"), 1);
    assert_eq!(count(imports_from_above, "src/remote/list.rs", "fn f() -> crate :: fuse::Adapter { todo() }"), 1);
    assert_eq!(count(imports_from_above, "src/remote/list.rs", "use super::super::cli::run;"), 1);
    assert_eq!(count(imports_from_above, "src/helpers/mod.rs", ""), 1);
    assert_eq!(count(imports_from_above, "src/fuse/mod.rs", "use crate::filesystem::Filesystem; use super::cache;"), 0);
    assert_eq!(count(imports_from_above, "src/protocol/reply.rs", "// crate::pool\nlet a = \"crate::pool\";"), 0);
    assert_kept(imports_from_above);
}

#[test]
fn fuser_and_sockets_have_one_user_each() {
    assert_eq!(count(reserved_names, "src/filesystem/read.rs", "use fuser::Request;"), 1);
    assert_eq!(count(reserved_names, "src/pool/pool.rs", "let s = std::net::TcpStream::connect(a);"), 1);
    assert_eq!(count(reserved_names, "src/pool/pool.rs", "#[cfg(test)]\nmod tests;\nuse socket2::Socket;"), 1);
    assert_eq!(count(reserved_names, "src/pool/pool.rs", "#[cfg(test)]\nmod tests { use std::net::TcpListener; }"), 0);
    assert_eq!(count(reserved_names, "src/connection/data.rs", "use std::net::{SocketAddr, TcpStream};"), 0);
    assert_eq!(
        count(reserved_names, "src/cli/mod.rs", "/* fuser /* nested */ */ let a = r#\"a\" fuser\"#; my_fuser();"),
        0
    );
    assert_kept(reserved_names);
}

#[test]
fn errno_is_named_in_one_file() {
    assert_eq!(count(errno_names, "src/fuse/adapter.rs", "reply.error(Errno::ENOENT)"), 1);
    assert_eq!(count(errno_names, "src/filesystem/read.rs", "if code == libc::EIO {}"), 1);
    assert_eq!(count(errno_names, "src/fuse/mount.rs", "Err(rustix::io::Errno::NOENT) => {}"), 1);
    assert_eq!(
        count(errno_names, "src/fuse/mount.rs", "let a = libc::O_APPEND | libc::EXIT_FAILURE; // Errno::EIO"),
        0
    );
    assert_eq!(count(errno_names, "src/fuse/errno.rs", "Errno::ENOENT"), 0);
    assert_kept(errno_names);
}

#[test]
fn files_are_short_and_begin_with_what_they_are() {
    assert_eq!(count(length_and_header, "src/lib.rs", &format!("//! A\n{}", "\n".repeat(LINES_MAX))), 1);
    assert_eq!(count(length_and_header, "src/lib.rs", &format!("//! A\n{}", "\n".repeat(LINES_MAX - 1))), 0);
    assert_eq!(count(length_and_header, "tests/a.rs", "use std::fs;\n"), 1);
    assert_kept(length_and_header);
}

#[test]
fn program_panics_only_with_a_reason() {
    assert_eq!(count(ways_to_panic, "src/pool/pool.rs", "fn a() { b().unwrap() }"), 1);
    assert_eq!(count(ways_to_panic, "src/pool/pool.rs", "b().expect(\"oops\")"), 1);
    assert_eq!(count(ways_to_panic, "src/pool/pool.rs", "b().expect(WHY)"), 1);
    assert_eq!(count(ways_to_panic, "src/pool/pool.rs", "panic!(\"no\")"), 1);
    assert_eq!(count(ways_to_panic, "src/pool/pool.rs", "b().expect(\"the caller holds the lock\")"), 0);
    assert_eq!(
        count(
            ways_to_panic,
            "src/pool/pool.rs",
            "/// a.unwrap()\nb().unwrap_or_default(); #[cfg(test)] mod t { c.unwrap() }"
        ),
        0
    );
    assert_eq!(count(ways_to_panic, "src/pool/tests.rs", "b().unwrap()"), 0);
    assert_kept(ways_to_panic);
}

#[test]
fn literals_and_comments_do_not_hide_code() {
    let code =
        without_comments_and_literals("let a = '\"'; b(\"\\\"//\"); 'c: loop { d::<'c>() } r\"\\\"; e /* \" */ f // g");
    for word in ["let", "b", "loop", "d", "e", "f"] {
        assert!(behind_each(&code, word).next().is_some(), "{word} is missing in {code}");
    }
    assert!(behind_each(&code, "g").next().is_none(), "{code}");
}

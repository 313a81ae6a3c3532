//! The documents against the code: what README.md and docs/ name must be there, and what users can see must be named.
//!
//! Not here: whether what they say of it is true; for that docs/semantics.md names the tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// All Rust sources below a folder, as path from the package's folder and text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![package.join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(package).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {folder}");
    found
}

fn document(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A document without its fenced blocks.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// What stands in backticks.
fn spans(text: &str) -> Vec<String> {
    prose(text)
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The lines below a heading, up to the next one of its rank or a higher one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let begin = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let body = &text[begin + heading.len() + 2..];
    let rank = heading.split(' ').next().unwrap();
    body.find(&format!("\n{rank} ")).map_or(body, |end| &body[..end])
}

/// The cells of a table's rows below its head.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.skip_while(|row| !row.iter().all(|cell| cell.starts_with("--"))).skip(1).collect()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `word` stands in `text`, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

/// Whether a source declares `name`: an item, a field or a variant.
fn declares(text: &str, name: &str) -> bool {
    let items = ["fn", "struct", "enum", "trait", "mod", "const", "type", "macro_rules!"];
    if items.iter().any(|item| has_word(text, &format!("{item} {name}"))) {
        return true;
    }
    text.lines().map(|line| line.trim().trim_start_matches("pub ")).any(|line| {
        let Some(behind) = line.strip_prefix(name) else { return false };
        behind.starts_with([',', '(']) || behind.starts_with(" {") || behind.starts_with(": ")
    })
}

/// Whether `path` (`fuse::errno`, `Filesystem::read`, `complete`) is something in the sources.
fn is_in_code(path: &str, sources: &[(String, String)]) -> bool {
    let module = format!("src/{}", path.replace("::", "/"));
    if sources.iter().any(|(name, _)| *name == format!("{module}.rs") || *name == format!("{module}/mod.rs")) {
        return true;
    }
    match path.rsplit_once("::") {
        None => sources.iter().any(|(_, text)| declares(text, path)),
        Some((owner, name)) if owner.starts_with(char::is_lowercase) => {
            let file = format!("src/{}", owner.replace("::", "/"));
            let of_owner = |path: &str| path == format!("{file}.rs") || path == format!("{file}/mod.rs");
            sources.iter().any(|(path, text)| of_owner(path) && declares(text, name))
        }
        Some((owner, name)) => sources.iter().any(|(_, text)| {
            let is_of_owner = ["impl", "enum", "trait", "struct", "for"]
                .iter()
                .any(|keyword| has_word(text, &format!("{keyword} {owner}")));
            is_of_owner && declares(text, name)
        }),
    }
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ftpfs")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The long options in a text.
fn long_options(text: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let behind = &text[at + 2..];
        let end = behind.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-').unwrap_or(behind.len());
        if !text[..at].ends_with(|before| is_word(before) || before == '-') && end > 0 && !behind.starts_with('-') {
            options.insert(behind[..end].trim_end_matches('-').to_owned());
        }
    }
    options
}

#[test]
fn names_in_the_architecture_are_in_the_code() {
    let sources = sources("src");
    for (path, expected) in [
        ("fuse::errno", true),
        ("remote::store", true),
        ("Filesystem::flush", true),
        ("WriteMode::Replace", true),
        ("complete", true),
        ("fuse::nothing", false),
        ("Filesystem::nothing", false),
        ("Nothing::read", false),
        ("no_such_function", false),
    ] {
        assert_eq!(is_in_code(path, &sources), expected, "{path}");
    }
    let commands = &sources.iter().find(|(path, _)| path == "src/protocol/command.rs").unwrap().1;
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = long_options(&help(&["--help"]));
    let spans = spans(&document("docs/architecture.md"));
    assert!(spans.len() > 50, "only {} names were found", spans.len());
    let mut missing = Vec::new();
    for span in spans {
        let is_there = if let Some(option) = span.strip_prefix("--") {
            options.contains(option)
        } else if span.contains('/') {
            package.join(&span).exists()
        } else if span.starts_with(|letter: char| letter.is_ascii_uppercase()) && span.contains(' ') {
            commands.contains(&format!("\"{}\"", span.split(' ').next().unwrap()))
        } else {
            is_in_code(&span, &sources)
        };
        if !is_there {
            missing.push(span);
        }
    }
    assert!(missing.is_empty(), "docs/architecture.md names what is not there: {missing:?}");
}

#[test]
fn tests_named_in_the_semantics_are_tests() {
    let sources = [sources("src"), sources("tests")].concat();
    let text = document("docs/semantics.md");
    let named: BTreeSet<String> = spans(&text)
        .into_iter()
        .filter(|span| {
            span.chars().all(|letter| letter == '_' || letter.is_ascii_lowercase() || letter.is_ascii_digit())
        })
        .filter(|span| span.matches('_').count() >= 2)
        .collect();
    assert!(named.len() > 100, "only {} tests were found", named.len());
    let is_test = |name: &String| {
        sources.iter().any(|(_, text)| {
            text.contains(&format!("#[test]\nfn {name}(")) || text.contains(&format!("#[test]\n    fn {name}("))
        }) || is_fact(&sources, name)
    };
    let missing: Vec<&String> = named.iter().filter(|name| !is_test(name)).collect();
    assert!(missing.is_empty(), "docs/semantics.md names what is no test: {missing:?}");
    for promise in text.split("\n### ").skip(1) {
        let heading = promise.lines().next().unwrap();
        assert!(promise.contains("**Held by** `"), "`{heading}` names no test");
    }
}

/// Whether a test takes the server it is shown on, or the setting with it, as its argument, and stands in a list of such
/// tests.
fn is_fact(sources: &[(String, String)], name: &str) -> bool {
    ["kind: ServerKind", "setting: &'static Setting"].iter().any(|argument| {
        let definition = format!("fn {name}({argument}");
        let is_defined = sources.iter().any(|(_, text)| text.contains(&definition));
        is_defined && sources.iter().any(|(_, text)| has_word(&text.replace(&definition, ""), name))
    })
}

#[test]
fn errors_in_the_semantics_are_those_of_the_code() {
    let text = document("docs/semantics.md");
    let named: BTreeSet<&str> = rows(section(&text, "## Errors")).iter().map(|row| row[0]).collect();
    let code = document("src/fuse/errno.rs");
    let code = code.split("#[cfg(test)]").next().unwrap();
    let errnos = code.split("Errno::").skip(1);
    let errnos = errnos.map(|behind| &behind[..behind.find(|letter| !is_word(letter)).unwrap()]);
    // What it only reads: the mount of a process that has died.
    let given: BTreeSet<&str> = errnos.filter(|name| name.starts_with('E') && *name != "ENOTCONN").collect();
    assert_eq!(named, given);
}

#[test]
fn options_in_the_readme_are_those_of_the_help() {
    let help = [help(&["--help"]), help(&["umount", "--help"])].concat();
    let readme = document("README.md");
    let table = rows(section(&readme, "## Options"));
    let listed: BTreeSet<String> = table.iter().flat_map(|row| long_options(row[0])).collect();
    // What the help says of other programs is none of its options.
    let known = long_options(&help);
    assert_eq!(listed, known);
    // Elsewhere, options of other programs stand in lines that begin with the program.
    let other = ["cargo ", "in a container"];
    let used = readme.lines().filter(|line| !other.iter().any(|program| line.contains(program)));
    let unknown: Vec<String> = used.flat_map(long_options).filter(|option| !known.contains(option)).collect();
    assert_eq!(unknown, ["inplace"], "options that do not exist (that one is rsync's)");
    let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for row in table.iter().filter(|row| !row[1].is_empty()) {
        let name = long_options(row[0]).into_iter().next().unwrap();
        let entry = flat.split(&format!("--{name} <")).nth(1).unwrap();
        let default = entry.split("[default: ").nth(1).and_then(|behind| behind.split(']').next()).unwrap();
        assert_eq!(row[1].trim_matches('`'), default, "the default of --{name}");
    }
    let defaults = table.iter().filter(|row| !row[1].is_empty()).count();
    assert_eq!(defaults, flat.matches("[default: ").count(), "options with a default");
}

#[test]
fn exit_codes_in_the_readme_are_those_of_the_help() {
    let readme = document("README.md");
    let listed: Vec<&str> = rows(section(&readme, "## Exit codes")).iter().map(|row| row[0]).collect();
    let help = help(&["--help"]);
    let told = help.split("Exit codes: ").nth(1).unwrap();
    let told: Vec<&str> = told.split(';').map(|code| code.split_whitespace().next().unwrap()).collect();
    assert_eq!(listed, told);
}

#[test]
fn messages_in_the_readme_are_in_the_code() {
    // A literal that goes on in the next line is one text.
    let texts: Vec<String> = sources("src")
        .into_iter()
        .map(|(_, text)| text.replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let readme = document("README.md");
    let rows = rows(section(&readme, "## Troubleshooting"));
    let messages: Vec<&str> = rows.iter().map(|row| row[0]).filter(|cell| cell.starts_with('`')).collect();
    assert!(messages.len() > 15, "only {} messages were found", messages.len());
    for message in messages {
        let message = message.trim_matches('`');
        assert!(texts.iter().any(|text| text.contains(message)), "nothing says `{message}`");
    }
}

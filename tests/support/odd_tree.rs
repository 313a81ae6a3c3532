//! The files of the odd server: a tree in memory, and the ways to write a listing of it.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory.
    Directory,
    /// A file.
    File(File),
    /// A symbolic link, with its target.
    Link(String),
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    /// Seconds since 1970, UTC.
    pub(crate) modified: i64,
}

/// How LIST is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As `ls -l`.
    Unix,
    /// As `DIR`.
    Dos,
    /// D. J. Bernstein's.
    Eplf,
}

/// Paths without a `/` at their ends, the root being the empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        if path.is_empty() { Some(&Node::Directory) } else { self.0.get(path) }
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        match self.get(path) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    pub(crate) fn file_mut(&mut self, path: &str) -> Option<&mut File> {
        match self.0.get_mut(path) {
            Some(Node::File(file)) => Some(file),
            _ => None,
        }
    }

    pub(crate) fn is_directory(&self, path: &str) -> bool {
        self.get(path) == Some(&Node::Directory)
    }

    pub(crate) fn put(&mut self, path: &str, node: Node) {
        self.0.insert(path.to_owned(), node);
    }

    pub(crate) fn put_file(&mut self, path: &str, bytes: &[u8]) {
        // Long enough ago for a LIST without clock times.
        self.put(path, Node::File(File { bytes: bytes.to_vec(), modified: 1_704_164_645 }));
    }

    pub(crate) fn remove(&mut self, path: &str) -> bool {
        self.0.remove(path).is_some()
    }

    /// Removes a directory with all that is in it.
    pub(crate) fn remove_all(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|other, _| other != path && !other.starts_with(&below));
    }

    /// Moves what lies at `from`, with all that is in it; what lies at `to` is replaced.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moved: Vec<String> =
            self.0.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
        for path in moved {
            if let Some(node) = self.0.remove(&path) {
                self.0.insert(format!("{to}{}", &path[from.len()..]), node);
            }
        }
    }

    /// The names in a directory, with what they are.
    pub(crate) fn entries(&self, directory: &str) -> Vec<(String, Node)> {
        let below = format!("{directory}/");
        self.0
            .iter()
            .filter_map(|(path, node)| Some((path.strip_prefix(&below)?, node)))
            .filter(|(name, _)| !name.contains('/'))
            .map(|(name, node)| (name.to_owned(), node.clone()))
            .collect()
    }

    /// Paths and contents of all files, the directories as `None`; for comparing without times.
    pub(crate) fn contents(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let content = |node: &Node| match node {
            Node::Directory => None,
            Node::File(file) => Some(file.bytes.clone()),
            Node::Link(target) => Some(target.clone().into_bytes()),
        };
        self.0.iter().map(|(path, node)| (path.clone(), content(node))).collect()
    }
}

/// The facts of an entry, with the space behind them (RFC 3659 §7.2).
pub(crate) fn facts(node: &Node) -> String {
    match node {
        Node::Directory => String::from("type=dir; "),
        Node::File(file) => {
            format!("type=file;size={};modify={}; ", file.bytes.len(), compact_time(file.modified))
        }
        Node::Link(target) => format!("type=OS.unix=slink:{target}; "),
    }
}

/// `20240102030405`.
pub(crate) fn compact_time(seconds: i64) -> String {
    utc(seconds).strftime("%Y%m%d%H%M%S").to_string()
}

/// One line of LIST; times are `seconds_ahead` ahead of UTC.
pub(crate) fn line(dialect: Dialect, name: &str, node: &Node, seconds_ahead: i64) -> String {
    let (bytes, modified) = match node {
        Node::File(file) => (file.bytes.len(), file.modified),
        Node::Directory | Node::Link(_) => (0, 1_704_164_645),
    };
    let time = utc(modified + seconds_ahead);
    match dialect {
        Dialect::Unix => {
            let is_recent = Timestamp::now().as_second() - modified < 180 * 86_400;
            let time = time.strftime(if is_recent { "%b %e %H:%M" } else { "%b %e  %Y" });
            match node {
                Node::Directory => format!("drwxr-xr-x 2 ftp ftp 4096 {time} {name}"),
                Node::File(_) => format!("-rw-r--r-- 1 ftp ftp {bytes} {time} {name}"),
                Node::Link(target) => format!("lrwxrwxrwx 1 ftp ftp {} {time} {name} -> {target}", target.len()),
            }
        }
        Dialect::Dos => {
            let time = time.strftime("%m-%d-%y  %I:%M%p");
            match node {
                Node::Directory => format!("{time}       <DIR>          {name}"),
                _ => format!("{time} {bytes:>20} {name}"),
            }
        }
        Dialect::Eplf => match node {
            Node::Directory => format!("+m{modified},/,\t{name}"),
            _ => format!("+m{modified},s{bytes},r,\t{name}"),
        },
    }
}

fn utc(seconds: i64) -> Zoned {
    Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC)
}

//! What was promised: the files and directories of one worker, and what each file may hold after a kill.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

pub(crate) type Bytes = Arc<Vec<u8>>;

/// From this length on an append goes into the server's file itself, where close() waits for the server.
const APPENDED_LEN_MIN: usize = 1 << 20;

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// The content at the last close() or fsync() that has returned; `None`: there was none.
    pub(crate) promised: Option<Bytes>,
    /// What it held since then, in order: nobody has promised it, and a step that nobody waited for may have delivered it.
    pub(crate) since: Vec<Bytes>,
    /// What programs see.
    pub(crate) now: Bytes,
    /// An fsync() that waits for the server is under way.
    pub(crate) is_synced: bool,
}

impl File {
    pub(crate) fn new() -> Self {
        // A rename of it promises it under its old name first.
        Self { promised: None, since: vec![Bytes::default()], now: Bytes::default(), is_synced: false }
    }

    pub(crate) fn of(content: Vec<u8>) -> Self {
        let content = Arc::new(content);
        Self { promised: Some(Arc::clone(&content)), since: Vec::new(), now: content, is_synced: false }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.promised.is_none() || !self.since.is_empty()
    }

    /// How long each of its contents is, the promised one first.
    pub(crate) fn lens(&self) -> Vec<Option<usize>> {
        let since = self.since.iter().map(|content| Some(content.len()));
        std::iter::once(self.promised.as_ref().map(|promised| promised.len())).chain(since).collect()
    }

    /// It is changed; nothing is promised by that.
    pub(crate) fn change(&mut self, content: Vec<u8>) {
        if self.promised.is_none() && self.since.iter().all(|since| since.is_empty()) {
            self.since.clear();
        }
        self.now = Arc::new(content);
        self.since.push(Arc::clone(&self.now));
    }

    /// What it holds now is promised.
    pub(crate) fn promise(&mut self) {
        self.promised = Some(Arc::clone(&self.now));
        self.since.clear();
        self.is_synced = false;
    }

    /// Why this is not what may be there, if so; `None` for `found` where nothing is.
    fn objection(&self, found: Option<&[u8]>, durability: Durability) -> Option<String> {
        let Some(found) = found else {
            return self.promised.as_ref().map(|promised| format!("is gone, {} bytes were promised", promised.len()));
        };
        if self.may_hold(found, durability) {
            return None;
        }
        let equal = |content: &Bytes| content.iter().zip(found).take_while(|(one, other)| one == other).count();
        let equal: Vec<usize> = self.promised.iter().chain(&self.since).map(equal).collect();
        let (len, lens) = (found.len(), self.lens());
        Some(format!("has {len} bytes; promised and since then: {lens:?} bytes; equal at the beginning: {equal:?}"))
    }

    /// Whether it may have this content after a kill.
    fn may_hold(&self, found: &[u8], durability: Durability) -> bool {
        self.promised.iter().chain(&self.since).any(|content| content.as_slice() == found)
            || self.may_be_partial(found, durability)
    }

    /// What docs/writing.md says of what waits for the server: a new file grows under its own name, unless it shall be promised
    /// by the journal, and an append to a large file goes into the file itself.
    fn may_be_partial(&self, found: &[u8], durability: Durability) -> bool {
        let is_beginning = || self.since.iter().any(|content| content.starts_with(found));
        match &self.promised {
            None => durability == Durability::Server && (found.is_empty() || is_beginning()),
            Some(promised) => {
                (durability == Durability::Server || self.is_synced)
                    && promised.len() >= APPENDED_LEN_MIN
                    && found.starts_with(promised)
                    && is_beginning()
            }
        }
    }
}

/// What close() waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Server,
    Journal,
}

impl Durability {
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Server => "--durability=server",
            Self::Journal => "--durability=journal",
        }
    }
}

/// The folder of one worker, by paths from its root on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) directories: BTreeSet<String>,
    pub(crate) files: BTreeMap<String, File>,
}

impl Tree {
    /// What is found in a folder, as what was promised from now on.
    pub(crate) fn of(found: &Found) -> Self {
        let files = found.files.iter().map(|(path, content)| (path.clone(), File::of(content.clone()))).collect();
        Self { directories: found.directories.clone(), files }
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.directories.contains(path) || self.files.contains_key(path)
    }

    pub(crate) fn is_empty_directory(&self, path: &str) -> bool {
        let within = format!("{path}/");
        !self.directories.iter().chain(self.files.keys()).any(|other| other.starts_with(&within))
    }

    /// Gives all at or below `from` the name `to`; what a file replaces is over.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let renamed = |path: &String| match path.strip_prefix(from) {
            Some("") => to.to_owned(),
            Some(rest) if rest.starts_with('/') => format!("{to}{rest}"),
            _ => path.clone(),
        };
        self.files.remove(to);
        self.directories = self.directories.iter().map(renamed).collect();
        self.files = std::mem::take(&mut self.files).into_iter().map(|(path, file)| (renamed(&path), file)).collect();
    }

    /// All that is not as it may be.
    pub(crate) fn objections(&self, found: &Found, durability: Durability) -> Vec<String> {
        let mut objections: Vec<String> = found.strange.clone();
        for path in self.directories.symmetric_difference(&found.directories) {
            let how = if self.directories.contains(path) { "is gone" } else { "should not be there" };
            objections.push(format!("the directory {path} {how}"));
        }
        for (path, file) in &self.files {
            let content = found.files.get(path).map(Vec::as_slice);
            objections.extend(file.objection(content, durability).map(|why| format!("{path} {why}")));
        }
        for (path, content) in &found.files {
            if !self.files.contains_key(path) {
                objections.push(format!("{path} should not be there, with {} bytes", content.len()));
            }
        }
        objections
    }

    /// Whether a file may have this content after a kill.
    pub(crate) fn may_hold(&self, path: &str, content: &[u8], durability: Durability) -> bool {
        self.files.get(path).is_some_and(|file| file.may_hold(content, durability))
    }
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) directories: BTreeSet<String>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Temporary names, which an interrupted upload may leave.
    pub(crate) temporary: Vec<String>,
    /// What cannot be read or should not be at all.
    pub(crate) strange: Vec<String>,
}

/// Reads all that is in a folder.
pub(crate) fn look(root: &Path) -> std::io::Result<Found> {
    let mut found = Found::default();
    found.add(root, "")?;
    Ok(found)
}

impl Found {
    fn add(&mut self, folder: &Path, prefix: &str) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                self.directories.insert(path.clone());
                self.add(&entry.path(), &format!("{path}/"))?;
            } else if name.starts_with(".ftpfs-") && name.ends_with(".part") {
                self.temporary.push(path);
            } else {
                self.files.insert(path, fs::read(entry.path())?);
            }
        }
        Ok(())
    }
}

/// Contents that were complete at some time, each as its hash: they are random, so no piece of one is another.
#[derive(Debug, Default, Clone)]
pub(crate) struct Complete(HashSet<u64>);

impl Complete {
    pub(crate) fn insert(&mut self, content: &[u8]) {
        self.0.insert(hash(content));
    }

    pub(crate) fn contains(&self, content: &[u8]) -> bool {
        self.0.contains(&hash(content))
    }
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

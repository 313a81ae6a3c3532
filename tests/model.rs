//! Random operations through the filesystem, over a server in memory that fails now and then, against a plain model.
//!
//! After each step everything that can be seen is compared: the names, kinds and sizes of the whole tree, the
//! content of every file, and what every open handle reads. At the end all is closed, and the server must
//! hold what the model holds. A failing case is printed with its seed, shrunk to the fewest steps.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on has failed.

use ftpfs::filesystem::{
    Access, Attributes, Filesystem, FilesystemError, FilesystemOptions, FilesystemResult, HandleId, InodeNumber,
    LookupResult, OpenFlags, SetAttributes,
};
use ftpfs::protocol::{EntryKind, Precision, RemotePath};
use ftpfs::remote::RemoteError;
use ftpfs::remote::memory::{MemoryRemote, Operation, When};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The paths that steps choose from.
const PATHS: [&str; 9] = ["/a", "/b", "/d", "/e", "/d/a", "/d/b", "/d/e", "/e/a", "/d/e/a"];

/// So long that most writes change little of it.
const LONG_CONTENT: &str = "content of b, which is longer than the others, so that a word of it is little enough to be written in place \
    and not with all that stands before it and behind it, whatever the steps before have done to its beginning or to its end";

/// One step; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Create { path: usize, exclusive: bool },
    Open { path: usize, truncate: bool, append: bool },
    Write { handle: usize, offset: u64, byte: u8, len: usize },
    Truncate { handle: usize, size: u64 },
    TruncatePath { path: usize, size: u64 },
    Flush { handle: usize },
    Close { handle: usize },
    MakeDirectory { path: usize },
    RemoveDirectory { path: usize },
    Unlink { path: usize },
    Rename { from: usize, to: usize, no_replace: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    let handle = || 0..4usize;
    prop_oneof![
        3 => (path(), any::<bool>()).prop_map(|(path, exclusive)| Step::Create { path, exclusive }),
        3 => (path(), any::<bool>(), any::<bool>())
            .prop_map(|(path, truncate, append)| Step::Open { path, truncate, append }),
        6 => (handle(), 0..240u64, any::<u8>(), 1..30usize)
            .prop_map(|(handle, offset, byte, len)| Step::Write { handle, offset, byte, len }),
        2 => (handle(), 0..250u64).prop_map(|(handle, size)| Step::Truncate { handle, size }),
        1 => (path(), 0..250u64).prop_map(|(path, size)| Step::TruncatePath { path, size }),
        2 => handle().prop_map(|handle| Step::Flush { handle }),
        3 => handle().prop_map(|handle| Step::Close { handle }),
        3 => path().prop_map(|path| Step::MakeDirectory { path }),
        1 => path().prop_map(|path| Step::RemoveDirectory { path }),
        2 => path().prop_map(|path| Step::Unlink { path }),
        4 => (path(), path(), any::<bool>())
            .prop_map(|(from, to, no_replace)| Step::Rename { from, to, no_replace }),
    ]
}

/// Which call of the server fails during a step, and whether, if it writes, it is the connection or the space that fails:
/// what is written is sent again by itself after the one and not after the other.
fn fault() -> impl Strategy<Value = Option<(Operation, usize, bool)>> {
    let operation = prop::sample::select(vec![
        Operation::List,
        Operation::Stat,
        Operation::Times,
        Operation::OpenRead,
        Operation::Read,
        Operation::OpenWrite,
        Operation::Write,
        Operation::Finish,
        Operation::Rename,
        Operation::RemoveFile,
        Operation::RemoveDirectory,
        Operation::MakeDirectory,
    ]);
    prop_oneof![3 => Just(None), 1 => (operation, 0..2usize, any::<bool>()).prop_map(Some)]
}

type Content = Rc<RefCell<Vec<u8>>>;

#[derive(Clone)]
enum Node {
    Directory,
    File(Content),
}

struct Handle {
    id: HandleId,
    content: Content,
    append: bool,
}

/// Filesystem and model side by side.
struct World {
    remote: MemoryRemote,
    filesystem: Arc<Filesystem>,
    tree: BTreeMap<String, Node>,
    handles: Vec<Handle>,
    complete_listings: bool,
}

impl World {
    fn new(precision: Precision, cut_listings: bool, streams: bool, in_place: Option<bool>) -> Self {
        let remote = MemoryRemote::new();
        remote.behave(|behaviour| {
            behaviour.listing_precision = precision;
            behaviour.listing_entries_max = cut_listings.then_some(1);
            behaviour.restart_keeps_tail = in_place.unwrap_or(true);
            behaviour.idle_connections = true;
        });
        remote.put("/a", "content of a");
        remote.put_directory("/d");
        remote.put("/d/b", LONG_CONTENT);
        // Times of zero: every step asks the server again. The other extreme is the default.
        let options = FilesystemOptions {
            attr_timeout: if cut_listings { Duration::ZERO } else { Duration::from_secs(1) },
            // Two writes make a stream, or none ever does.
            stream_start_bytes: if streams { 20 } else { 1 << 20 },
            in_place_bytes_min: if in_place.is_some() { 20 } else { 1 << 20 },
            ..FilesystemOptions::default()
        };
        let filesystem = Filesystem::new(Arc::new(remote.clone()), RemotePath::root(), options).unwrap();
        let file = |text: &str| Node::File(Rc::new(RefCell::new(text.as_bytes().to_vec())));
        let tree = BTreeMap::from([
            ("/a".to_owned(), file("content of a")),
            ("/d".to_owned(), Node::Directory),
            ("/d/b".to_owned(), file(LONG_CONTENT)),
        ]);
        Self { remote, filesystem, tree, handles: Vec::new(), complete_listings: !cut_listings }
    }

    fn find(&self, path: &str) -> FilesystemResult<Option<Attributes>> {
        let mut at = self.filesystem.attributes(Access::Server, InodeNumber::ROOT, None)?.attributes;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if at.kind != EntryKind::Directory {
                return Ok(None);
            }
            match self.filesystem.lookup(Access::Server, at.ino, name.as_bytes())? {
                LookupResult::Found(found) => at = found.attributes,
                LookupResult::Absent { .. } => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The directory of `path` and its last name, if that directory exists.
    fn place(&self, path: &'static str) -> Option<(FilesystemResult<InodeNumber>, &'static [u8])> {
        let (parent, name) = path.rsplit_once('/').unwrap();
        if !parent.is_empty() && !matches!(self.tree.get(parent), Some(Node::Directory)) {
            return None;
        }
        let ino = self.find(parent).map(|found| found.expect("the model says that it is there").ino);
        Some((ino, name.as_bytes()))
    }

    fn has_children(&self, path: &str) -> bool {
        self.tree.keys().any(|other| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    fn read(&self, handle: HandleId) -> FilesystemResult<Vec<u8>> {
        let (sender, receiver) = mpsc::channel();
        self.filesystem.read(handle, 0, 1000, Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv_timeout(Duration::from_secs(30)).expect("every read is answered")
    }

    /// Runs one step on both sides.
    fn run(&mut self, step: &Step) {
        match *step {
            Step::Create { path, exclusive } => self.create(PATHS[path], exclusive),
            Step::Open { path, truncate, append } => self.open(PATHS[path], truncate, append),
            Step::Write { handle, offset, byte, len } => self.write(handle, offset, &vec![byte; len]),
            Step::Truncate { handle, size } => self.truncate(handle, size),
            Step::TruncatePath { path, size } => self.truncate_path(PATHS[path], size),
            Step::Flush { handle } => {
                if let Some(handle) = self.handles.get(handle) {
                    check(self.filesystem.flush(Access::Server, handle.id), Ok(()), step);
                }
            }
            Step::Close { handle } => self.close(handle),
            Step::MakeDirectory { path } => self.make_directory(PATHS[path]),
            Step::RemoveDirectory { path } => self.remove_directory(PATHS[path]),
            Step::Unlink { path } => self.unlink(PATHS[path]),
            Step::Rename { from, to, no_replace } => self.rename(PATHS[from], PATHS[to], no_replace),
        }
    }

    fn create(&mut self, path: &'static str, exclusive: bool) {
        let Some((Ok(parent), name)) = self.place(path) else { return };
        let flags = OpenFlags { read: true, write: true, exclusive, ..OpenFlags::default() };
        let result = self.filesystem.create(Access::Server, parent, name, 0o644, flags);
        let expected = match self.tree.get(path) {
            Some(_) if exclusive => Err(FilesystemError::Exists),
            Some(Node::Directory) => Err(FilesystemError::IsDirectory),
            _ => Ok(()),
        };
        if check(result.clone().map(|_| ()), expected, path) {
            let entry = self.tree.entry(path.to_owned()).or_insert_with(|| Node::File(Content::default()));
            let Node::File(content) = entry else { unreachable!("a directory is refused above") };
            let content = Rc::clone(content);
            self.handles.push(Handle { id: result.unwrap().1.handle, content, append: false });
        }
    }

    fn open(&mut self, path: &'static str, truncate: bool, append: bool) {
        let Some(Node::File(content)) = self.tree.get(path) else { return };
        let Ok(found) = self.find(path) else { return };
        let flags = OpenFlags { read: true, write: true, truncate, append, ..OpenFlags::default() };
        let result = self.filesystem.open(Access::Server, found.unwrap().ino, flags);
        if check(result.clone().map(|_| ()), Ok(()), path) {
            if truncate {
                content.borrow_mut().clear();
            }
            self.handles.push(Handle { id: result.unwrap().handle, content: Rc::clone(content), append });
        }
    }

    fn write(&mut self, handle: usize, offset: u64, data: &[u8]) {
        let Some(handle) = self.handles.get(handle) else { return };
        let result = self.filesystem.write(Access::Server, handle.id, offset, data);
        if check(result.map(|_| ()), Ok(()), "write") {
            let mut content = handle.content.borrow_mut();
            let start = if handle.append { content.len() } else { offset as usize };
            let end = start + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(data);
        }
    }

    fn truncate(&mut self, handle: usize, size: u64) {
        let Some(handle) = self.handles.get(handle) else { return };
        let open = self.tree.iter().find_map(|(path, node)| match node {
            Node::File(content) if Rc::ptr_eq(content, &handle.content) => Some(path.clone()),
            _ => None,
        });
        // The kernel names the inode too; that of a removed file it still has, but this test looks it up by path.
        let Some(path) = open else { return };
        let Ok(Some(found)) = self.find(&path) else { return };
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        let result = self.filesystem.set_attributes(Access::Server, found.ino, Some(handle.id), changes);
        // The attributes that are returned may need the server; the size is changed before.
        self.remote.heal();
        if result.is_ok() || self.read(handle.id).is_ok_and(|bytes| bytes.len() as u64 == size) {
            handle.content.borrow_mut().resize(size as usize, 0);
        }
    }

    fn truncate_path(&mut self, path: &'static str, size: u64) {
        let Some(Node::File(content)) = self.tree.get(path) else { return };
        let Ok(Some(found)) = self.find(path) else { return };
        let changes = SetAttributes { size: Some(size), ..SetAttributes::default() };
        let result = self.filesystem.set_attributes(Access::Server, found.ino, None, changes);
        self.remote.heal();
        // After a failure either size may be there; what is seen now must then stay.
        let seen = self.find(path).unwrap().unwrap().size;
        let old = content.borrow().len() as u64;
        assert!(
            seen == size || result.is_err() && (seen == old || seen == 0 && size == 0),
            "{path}: {seen} after {result:?}"
        );
        content.borrow_mut().resize(seen as usize, 0);
    }

    fn close(&mut self, handle: usize) {
        if handle >= self.handles.len() {
            return;
        }
        let handle = self.handles.remove(handle);
        if self.filesystem.flush(Access::Server, handle.id).is_err() {
            // close() has said so; a program that cares tries again.
            self.remote.heal();
            self.filesystem.flush(Access::Server, handle.id).unwrap();
        }
        self.filesystem.release(Access::Server, handle.id).unwrap();
    }

    fn make_directory(&mut self, path: &'static str) {
        let Some((Ok(parent), name)) = self.place(path) else { return };
        let result = self.filesystem.make_directory(Access::Server, parent, name, 0o755);
        let expected = if self.tree.contains_key(path) { Err(FilesystemError::Exists) } else { Ok(()) };
        if check(result.map(|_| ()), expected, path) {
            self.tree.insert(path.to_owned(), Node::Directory);
        }
    }

    fn remove_directory(&mut self, path: &'static str) {
        // The kernel refuses a file by itself.
        if !matches!(self.tree.get(path), Some(Node::Directory)) {
            return;
        }
        let Some((Ok(parent), name)) = self.place(path) else { return };
        let result = self.filesystem.remove_directory(Access::Server, parent, name);
        let expected = if self.has_children(path) { Err(FilesystemError::NotEmpty) } else { Ok(()) };
        if check(result, expected, path) {
            self.tree.remove(path);
        }
    }

    fn unlink(&mut self, path: &'static str) {
        let Some((Ok(parent), name)) = self.place(path) else { return };
        let result = self.filesystem.unlink(Access::Server, parent, name);
        let expected = match self.tree.get(path) {
            Some(Node::File(_)) => Ok(()),
            Some(Node::Directory) => Err(FilesystemError::IsDirectory),
            None => Err(FilesystemError::NotFound),
        };
        if check(result, expected, path) {
            self.tree.remove(path);
        }
    }

    fn rename(&mut self, from: &'static str, to: &'static str, no_replace: bool) {
        // The kernel refuses to move a directory into itself, or over one that it is in.
        let nested = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        if nested(from, to) || nested(to, from) {
            return;
        }
        let (Some((Ok(parent), name)), Some((Ok(new_parent), new_name))) = (self.place(from), self.place(to)) else {
            return;
        };
        let result = self.filesystem.rename(Access::Server, parent, name, new_parent, new_name, no_replace);
        let expected = match (self.tree.get(from), self.tree.get(to)) {
            (None, _) => Err(FilesystemError::NotFound),
            (_, Some(_)) if no_replace => Err(FilesystemError::Exists),
            _ if from == to => Ok(()),
            (Some(Node::Directory), Some(Node::File(_))) => Err(FilesystemError::NotDirectory),
            (Some(Node::File(_)), Some(Node::Directory)) => Err(FilesystemError::IsDirectory),
            (_, Some(Node::Directory)) if self.has_children(to) => Err(FilesystemError::NotEmpty),
            _ => Ok(()),
        };
        if check(result, expected, (from, to)) && from != to {
            let moved: Vec<String> =
                self.tree.keys().filter(|path| *path == from || nested(from, path)).cloned().collect();
            self.tree.remove(to);
            for path in moved {
                let node = self.tree.remove(&path).unwrap();
                self.tree.insert(format!("{to}{}", &path[from.len()..]), node);
            }
        }
    }

    /// Compares all that can be seen.
    fn compare(&self) {
        self.remote.heal();
        for path in PATHS {
            let found = self.find(path).unwrap();
            match self.tree.get(path) {
                None => assert_eq!(found, None, "{path}"),
                Some(Node::Directory) => {
                    let found = found.unwrap_or_else(|| panic!("{path} is missing"));
                    assert_eq!(found.kind, EntryKind::Directory, "{path}");
                    self.compare_names(path, found.ino);
                }
                Some(Node::File(content)) => {
                    let found = found.unwrap_or_else(|| panic!("{path} is missing"));
                    assert_eq!((found.kind, found.size), (EntryKind::File, content.borrow().len() as u64), "{path}");
                    let flags = OpenFlags { read: true, ..OpenFlags::default() };
                    let handle = self.filesystem.open(Access::Server, found.ino, flags).unwrap().handle;
                    assert_eq!(self.read(handle).unwrap(), *content.borrow(), "{path}");
                    self.filesystem.release(Access::Server, handle).unwrap();
                }
            }
        }
        self.compare_names("", InodeNumber::ROOT);
        for handle in &self.handles {
            assert_eq!(self.read(handle.id).unwrap(), *handle.content.borrow(), "an open handle");
        }
    }

    fn compare_names(&self, path: &str, ino: InodeNumber) {
        let handle = self.filesystem.open_directory(Access::Server, ino).unwrap();
        let entries = self.filesystem.read_directory(Access::Server, handle, 0, 100, true).unwrap();
        self.filesystem.release_directory(handle);
        let mut names: Vec<String> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into()).collect();
        names.retain(|name| name != "." && name != "..");
        names.sort();
        let below = |other: &&String| other.rsplit_once('/').is_some_and(|(parent, _)| parent == path);
        let expected: Vec<String> =
            self.tree.keys().filter(below).map(|other| other[path.len() + 1..].to_owned()).collect();
        if self.complete_listings {
            assert_eq!(names, expected, "names in {path}/");
        } else {
            assert!(names.iter().all(|name| expected.contains(name)), "{names:?} in {path}/, not {expected:?}");
        }
    }

    /// Closes everything; the server must then hold the same.
    fn finish(mut self) {
        self.remote.heal();
        while !self.handles.is_empty() {
            self.close(0);
        }
        self.compare();
        assert_eq!(self.filesystem.dirty_count(), 0);
        let on_server = self.remote.paths();
        let expected: Vec<String> = self
            .tree
            .iter()
            .map(|(path, node)| if matches!(node, Node::Directory) { format!("{path}/") } else { path.clone() })
            .collect();
        let sorted = |mut paths: Vec<String>| {
            paths.sort();
            paths
        };
        assert_eq!(sorted(on_server), sorted(expected));
        for (path, node) in &self.tree {
            if let Node::File(content) = node {
                assert_eq!(self.remote.content(path).unwrap(), *content.borrow(), "{path} on the server");
            }
        }
    }
}

/// Whether it worked. Where it did not, the error must be the expected one or the fault's.
fn check<C: std::fmt::Debug>(result: FilesystemResult<()>, expected: FilesystemResult<()>, context: C) -> bool {
    match result {
        Err(FilesystemError::Unreachable { .. } | FilesystemError::NoSpace { .. }) => false,
        other => {
            assert_eq!(other, expected, "{context:?}");
            other.is_ok()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn filesystem_shows_and_uploads_what_a_plain_model_holds(
        steps in prop::collection::vec((step(), fault()), 1..50),
        precision in prop::sample::select(vec![Precision::Second, Precision::Minute]),
        cut_listings in any::<bool>(),
        streams in any::<bool>(),
        // In place where little is changed, on a server that keeps what lies behind or on one that cuts it off; or never.
        in_place in any::<Option<bool>>(),
    ) {
        let mut world = World::new(precision, cut_listings, streams, in_place);
        world.compare();
        for (step, fault) in steps {
            if let Some((operation, skipped, full)) = fault {
                let writes = matches!(operation, Operation::OpenWrite | Operation::Write | Operation::Finish);
                let error = match full && writes {
                    true => RemoteError::NoSpace { reply: "552 full, says a test".into() },
                    false => RemoteError::Unreachable { reason: "cut by a test".into() },
                };
                world.remote.fail(operation, skipped, error, When::Before);
            }
            world.run(&step);
            world.compare();
        }
        world.finish();
    }
}

//! A server in memory, for tests: the contract of [`Remote`] without FTP, and with faults on demand.
//!
//! It keeps what a server keeps (a tree, a clock) and behaves as told by its [`Behaviour`]: exact or coarse times,
//! listings cut short, refusals, lost connections, and calls held until a test lets them go.

mod streams;

use super::idle::{Fetched, read_whole};
use super::{
    Abilities, Errand, IdleConnection, Listing, ReadStream, Remote, RemoteError, RemoteResult, Space, Stored,
    WriteMode, WriteStream,
};
use crate::protocol::{Entry, EntryKind, Name, Precision, RemotePath, Timestamp};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use streams::{MemoryRead, MemoryWrite};

/// How long a held call waits for a test that forgot it.
const HELD_MAX: Duration = Duration::from_secs(20);

/// The methods of [`Remote`], for counting and for faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // Each is named after its method.
pub enum Operation {
    List,
    ListPart,
    Stat,
    Times,
    OpenRead,
    Read,
    OpenWrite,
    Write,
    Finish,
    /// That a write keeps no connection for what is left of it.
    GiveWay,
    Resume,
    Rename,
    RemoveFile,
    RemoveDirectory,
    MakeDirectory,
    MakeSymlink,
    SetModified,
    SetMode,
    Space,
}

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The precision of times in listings.
    pub listing_precision: Precision,
    /// Whether [`Remote::times`] and [`Remote::stat`] tell seconds.
    pub exact_times: bool,
    /// Whether modification times can be set.
    pub set_modified: bool,
    /// Whether permission bits can be set.
    pub set_mode: bool,
    /// Whether symbolic links can be made.
    pub symlinks: bool,
    /// Whether [`Remote::stat`] answers for what a link points to, as some servers do.
    pub stat_follows_links: bool,
    /// Whether [`Remote::stat`] tells a directory's time and permission bits: it cannot where there is no MLST.
    pub stat_tells_directories: bool,
    /// Listings come in parts of so many entries, each followed by a call of its own ([`Operation::ListPart`]).
    pub listing_part_len: Option<usize>,
    /// Listings hold this many entries at most, and then prove no absence.
    pub listing_entries_max: Option<usize>,
    /// Whether `finish` tells the modification time.
    pub finish_tells_time: bool,
    /// Whether the end of a write sets time and permission bits too ([`super::WriteStream::finish_with`]).
    pub finish_sets_all: bool,
    /// What can be stored at most, in all files together.
    pub bytes_max: Option<u64>,
    /// The answer to a question for the space left.
    pub space: Option<Space>,
    /// Whether files can be appended to, and a write that failed be taken up again.
    pub append: bool,
    /// Whether a write can begin within a file ([`WriteMode::Tail`]).
    pub restart_store: bool,
    /// Whether what lies behind such a write stays ([`WriteMode::Patch`]).
    pub restart_keeps_tail: bool,
    /// Bytes at the end of a write that failed which never arrived.
    pub bytes_lost: usize,
    /// Whether others wait for the connections of writes.
    pub writes_wanted: bool,
    /// Whether there is always a connection that nobody waits for.
    pub idle_connections: bool,
    /// Whether no call reaches it.
    pub unreachable: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            listing_precision: Precision::Second,
            exact_times: true,
            set_modified: true,
            set_mode: true,
            symlinks: false,
            stat_follows_links: false,
            stat_tells_directories: true,
            listing_part_len: None,
            listing_entries_max: None,
            finish_tells_time: false,
            finish_sets_all: false,
            bytes_max: None,
            space: None,
            append: true,
            restart_store: true,
            restart_keeps_tail: true,
            bytes_lost: 0,
            writes_wanted: false,
            idle_connections: false,
            unreachable: false,
        }
    }
}

/// One thing on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    kind: EntryKind,
    data: Arc<Vec<u8>>,
    modified: i64,
    mode: u32,
    target: Box<[u8]>,
}

struct State {
    items: BTreeMap<RemotePath, Item>,
    idle_lent: usize,
    prepared: usize,
    behaviour: Behaviour,
    now: i64,
    calls: HashMap<Operation, usize>,
    faults: HashMap<Operation, Vec<(usize, RemoteError, When)>>,
    held: HashMap<Operation, usize>,
}

/// Whether a call that fails has done its work before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It fails and has done nothing.
    Before,
    /// It is done, and the answer gets lost.
    After,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The server. Clones are the same server.
#[derive(Clone)]
pub struct MemoryRemote {
    shared: Arc<Shared>,
}

impl Default for MemoryRemote {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRemote {
    /// A server with an empty root, whose clock stands at 2023-11-14 22:13:20 UTC.
    pub fn new() -> Self {
        let state = State {
            items: BTreeMap::new(),
            idle_lent: 0,
            prepared: 0,
            behaviour: Behaviour::default(),
            now: 1_700_000_000,
            calls: HashMap::new(),
            faults: HashMap::new(),
            held: HashMap::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// Changes how it behaves from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.state.lock().behaviour);
    }

    /// Turns the server's clock on.
    pub fn advance(&self, seconds: i64) {
        self.shared.state.lock().now += seconds;
    }

    /// Another client stores a file.
    pub fn put(&self, path: &str, data: impl AsRef<[u8]>) {
        let mut state = self.shared.state.lock();
        let item = state.item(EntryKind::File, data.as_ref().to_vec());
        state.items.insert(parse(path), item);
    }

    /// Another client makes a directory.
    pub fn put_directory(&self, path: &str) {
        let mut state = self.shared.state.lock();
        let item = state.item(EntryKind::Directory, Vec::new());
        state.items.insert(parse(path), item);
    }

    /// Another client makes a symbolic link.
    pub fn put_symlink(&self, path: &str, target: &str) {
        let mut state = self.shared.state.lock();
        let item = Item { target: target.as_bytes().into(), ..state.item(EntryKind::Symlink, Vec::new()) };
        state.items.insert(parse(path), item);
    }

    /// Another client removes a file or a tree.
    pub fn delete(&self, path: &str) {
        let path = parse(path);
        self.shared.state.lock().items.retain(|at, _| *at != path && !below(at, &path));
    }

    /// The content of a file.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.shared.state.lock().items.get(&parse(path)).map(|item| item.data.to_vec())
    }

    /// The permission bits of a file.
    pub fn mode(&self, path: &str) -> Option<u32> {
        self.shared.state.lock().items.get(&parse(path)).map(|item| item.mode)
    }

    /// The modification time of a file.
    pub fn modified(&self, path: &str) -> Option<i64> {
        self.shared.state.lock().items.get(&parse(path)).map(|item| item.modified)
    }

    /// Every path there is, directories with a `/` behind.
    pub fn paths(&self) -> Vec<String> {
        let state = self.shared.state.lock();
        let slash = |item: &Item| if item.kind == EntryKind::Directory { "/" } else { "" };
        state.items.iter().map(|(path, item)| format!("{path}{}", slash(item))).collect()
    }

    /// How often `operation` was called.
    pub fn calls(&self, operation: Operation) -> usize {
        self.shared.state.lock().calls.get(&operation).copied().unwrap_or(0)
    }

    /// How often a connection was lent for what nobody waits for.
    pub fn idle_lent(&self) -> usize {
        self.shared.state.lock().idle_lent
    }

    /// For how many transfers connections were to be opened.
    pub fn prepared(&self) -> usize {
        self.shared.state.lock().prepared
    }

    /// Calls of all operations.
    pub fn calls_in_all(&self) -> usize {
        self.shared.state.lock().calls.values().sum()
    }

    /// The call of `operation` after `skipped` more fails.
    pub fn fail(&self, operation: Operation, skipped: usize, error: RemoteError, when: When) {
        self.shared.state.lock().faults.entry(operation).or_default().push((skipped, error, when));
    }

    /// Forgets all faults that have not happened.
    pub fn heal(&self) {
        self.shared.state.lock().faults.clear();
    }

    /// From now on calls of `operation` do their work, but their answers wait until [`Self::let_go`].
    pub fn hold(&self, operation: Operation) {
        self.shared.state.lock().held.insert(operation, 0);
    }

    /// Waits until `count` calls of `operation` are held; false when they do not come.
    pub fn wait_held(&self, operation: Operation, count: usize) -> bool {
        let deadline = Instant::now() + HELD_MAX;
        let mut state = self.shared.state.lock();
        while state.held.get(&operation).is_none_or(|held| *held < count) {
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    /// Lets go what [`Self::hold`] holds.
    pub fn let_go(&self, operation: Operation) {
        self.shared.state.lock().held.remove(&operation);
        self.shared.changed.notify_all();
    }

    /// One call: counted, failed or done, and held.
    fn call<T>(&self, operation: Operation, work: impl FnOnce(&mut State) -> RemoteResult<T>) -> RemoteResult<T> {
        let mut state = self.shared.state.lock();
        *state.calls.entry(operation).or_default() += 1;
        if state.behaviour.unreachable {
            return Err(RemoteError::Unreachable { reason: "a test has cut the cable".into() });
        }
        let fault = state.take_fault(operation);
        if let Some((error, When::Before)) = fault {
            return Err(error);
        }
        let result = work(&mut state);
        if let Some(held) = state.held.get_mut(&operation) {
            *held += 1;
            self.shared.changed.notify_all();
            let deadline = Instant::now() + HELD_MAX;
            while state.held.contains_key(&operation) {
                if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                    return Err(RemoteError::TimedOut { during: "a call held by a test".into() });
                }
            }
        }
        match fault {
            Some((error, When::After)) => Err(error),
            _ => result,
        }
    }
}

impl State {
    fn item(&self, kind: EntryKind, data: Vec<u8>) -> Item {
        let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
        Item { kind, data: Arc::new(data), modified: self.now, mode, target: Box::default() }
    }

    fn take_fault(&mut self, operation: Operation) -> Option<(RemoteError, When)> {
        let faults = self.faults.get_mut(&operation)?;
        let due = faults.iter().position(|(skipped, ..)| *skipped == 0);
        for (skipped, ..) in faults.iter_mut() {
            *skipped = skipped.saturating_sub(1);
        }
        due.map(|at| faults.remove(at)).map(|(_, error, when)| (error, when))
    }

    fn get(&self, path: &RemotePath) -> RemoteResult<&Item> {
        self.items.get(path).ok_or(RemoteError::NotFound)
    }

    fn directory(&self, path: &RemotePath) -> RemoteResult<()> {
        if path.is_root() {
            return Ok(());
        }
        match self.get(path)?.kind {
            EntryKind::Directory => Ok(()),
            _ => Err(RemoteError::NotDirectory),
        }
    }

    fn parent(&self, path: &RemotePath) -> RemoteResult<()> {
        self.directory(&path.parent().ok_or(RemoteError::Exists)?)
    }

    fn entry(&self, path: &RemotePath, item: &Item, precision: Precision) -> Entry {
        let name = path.name().unwrap_or_else(|| Name::new("root").expect("`root` keeps all rules of names"));
        let seconds = match precision {
            Precision::Day => item.modified - item.modified.rem_euclid(86_400),
            Precision::Minute => item.modified - item.modified.rem_euclid(60),
            Precision::Second | Precision::Nanosecond => item.modified,
        };
        let target = (item.kind == EntryKind::Symlink).then(|| item.target.clone());
        Entry {
            size: Some(item.data.len() as u64),
            modified: Some(Timestamp { seconds, nanoseconds: 0, precision }),
            mode: Some(item.mode),
            link_target: target,
            ..Entry::new(name, item.kind)
        }
    }

    fn best_precision(&self) -> Precision {
        if self.behaviour.exact_times { Precision::Second } else { self.behaviour.listing_precision }
    }

    fn store(&mut self, path: &RemotePath, mode: WriteMode, data: Vec<u8>) -> RemoteResult<Stored> {
        self.parent(path)?;
        if self.items.get(path).is_some_and(|item| item.kind == EntryKind::Directory) {
            return Err(RemoteError::IsDirectory);
        }
        let size = data.len() as u64;
        let mut item = self.item(EntryKind::File, data);
        if let (WriteMode::Append { .. } | WriteMode::Patch { .. } | WriteMode::Tail { .. }, Some(old)) =
            (mode, self.items.get(path))
        {
            item.mode = old.mode;
        }
        if let WriteMode::Replace { mode: Some(bits) } = mode
            && self.behaviour.set_mode
        {
            item.mode = bits;
        }
        self.items.insert(path.clone(), item);
        let time = Timestamp { seconds: self.now, nanoseconds: 0, precision: Precision::Second };
        Ok(Stored { size, modified: self.behaviour.finish_tells_time.then_some(time) })
    }
}

impl State {
    /// What a write finds there, and where it begins.
    fn open_write(&mut self, path: &RemotePath, mode: WriteMode) -> RemoteResult<(Vec<u8>, u64)> {
        let (restart_store, keeps_tail) = (self.behaviour.restart_store, self.behaviour.restart_keeps_tail);
        let unsupported = |what| Err(RemoteError::Unsupported { what });
        match mode {
            WriteMode::Append { .. } if !self.behaviour.append => unsupported("appending to files"),
            WriteMode::Patch { offset: 0, .. } | WriteMode::Tail { offset: 0, .. } => {
                unsupported("writing in the middle of files")
            }
            WriteMode::Patch { .. } if !restart_store || !keeps_tail => unsupported("writing in the middle of files"),
            WriteMode::Tail { .. } if !restart_store => unsupported("writing in the middle of files"),
            WriteMode::Tail { size, new_size, .. } if keeps_tail && new_size < size => {
                unsupported("making files shorter in place")
            }
            // As on a real server, what is being stored is seen by others until it is complete.
            WriteMode::Create => self.store(path, mode, Vec::new()).map(|_| (Vec::new(), 0)),
            WriteMode::Replace { .. } => Ok((Vec::new(), 0)),
            WriteMode::Append { size } => Ok((self.sized(path, size)?.to_vec(), size)),
            WriteMode::Patch { offset, size } => Ok((self.sized(path, size)?.to_vec(), offset)),
            WriteMode::Tail { offset, size, .. } => {
                let mut data = self.sized(path, size)?.to_vec();
                if !keeps_tail {
                    data.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
                    self.store(path, mode, data.clone())?;
                }
                Ok((data, offset))
            }
        }
    }

    fn sized(&self, path: &RemotePath, size: u64) -> RemoteResult<&Arc<Vec<u8>>> {
        let data = &self.get(path)?.data;
        if data.len() as u64 == size { Ok(data) } else { Err(RemoteError::Changed) }
    }
}

impl Remote for MemoryRemote {
    fn list(&self, directory: &RemotePath) -> RemoteResult<Listing> {
        self.call(Operation::List, |state| {
            state.directory(directory)?;
            let precision = state.behaviour.listing_precision;
            let children = state.items.iter().filter(|(path, _)| path.parent().as_ref() == Some(directory));
            let mut entries: Vec<Entry> = children.map(|(path, item)| state.entry(path, item, precision)).collect();
            let complete = state.behaviour.listing_entries_max.is_none_or(|max| entries.len() <= max);
            entries.truncate(state.behaviour.listing_entries_max.unwrap_or(usize::MAX));
            Ok(Listing { entries, complete, cut_short: !complete })
        })
    }

    fn list_in_parts(&self, directory: &RemotePath, part: &mut dyn FnMut(&[Entry])) -> RemoteResult<Listing> {
        let listing = self.list(directory)?;
        let part_len = self.shared.state.lock().behaviour.listing_part_len;
        if let Some(part_len) = part_len {
            for entries in listing.entries.chunks(part_len) {
                part(entries);
                self.call(Operation::ListPart, |_| Ok(()))?;
            }
        }
        Ok(listing)
    }

    fn stat(&self, path: &RemotePath) -> RemoteResult<Entry> {
        self.call(Operation::Stat, |state| {
            if path.is_root() {
                return Ok(state.entry(path, &state.item(EntryKind::Directory, Vec::new()), Precision::Second));
            }
            let mut item = state.get(path)?;
            if item.kind == EntryKind::Symlink && state.behaviour.stat_follows_links {
                let parent = path.parent().unwrap_or_else(RemotePath::root);
                let target = parent.join_relative(&item.target).ok();
                item = target.and_then(|target| state.items.get(&target)).unwrap_or(item);
            }
            let entry = state.entry(path, item, state.best_precision());
            if entry.kind == EntryKind::Directory && !state.behaviour.stat_tells_directories {
                return Ok(Entry::new(entry.name, entry.kind));
            }
            Ok(entry)
        })
    }

    fn times(&self, directory: &RemotePath, names: &[Name]) -> RemoteResult<Vec<Option<Timestamp>>> {
        self.call(Operation::Times, |state| {
            let time = |name: &Name| {
                let item = state.items.get(&directory.join(name)).filter(|_| state.behaviour.exact_times)?;
                Some(Timestamp { seconds: item.modified, nanoseconds: 0, precision: Precision::Second })
            };
            Ok(names.iter().map(time).collect())
        })
    }

    fn open_read(&self, path: &RemotePath, offset: u64) -> RemoteResult<Box<dyn ReadStream>> {
        let data = self.call(Operation::OpenRead, |state| match state.get(path)? {
            Item { kind: EntryKind::Directory, .. } => Err(RemoteError::IsDirectory),
            item => Ok(Arc::clone(&item.data)),
        })?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(Box::new(MemoryRead::new(self.clone(), data, at)))
    }

    fn open_write(&self, path: &RemotePath, mode: WriteMode) -> RemoteResult<Box<dyn WriteStream>> {
        let (data, start) = self.call(Operation::OpenWrite, |state| {
            state.parent(path)?;
            state.open_write(path, mode)
        })?;
        Ok(Box::new(MemoryWrite::new(self.clone(), path.clone(), mode, data, start)))
    }

    fn rename(&self, from: &RemotePath, to: &RemotePath) -> RemoteResult<()> {
        self.call(Operation::Rename, |state| {
            state.get(from)?;
            state.parent(to)?;
            if from == to {
                return Ok(());
            }
            let is_directory = state.get(from)?.kind == EntryKind::Directory;
            match state.items.get(to).map(|item| item.kind) {
                Some(EntryKind::Directory) if !is_directory => return Err(RemoteError::IsDirectory),
                Some(EntryKind::Directory) if state.items.keys().any(|path| below(path, to)) => {
                    return Err(RemoteError::NotEmpty);
                }
                Some(kind) if is_directory && kind != EntryKind::Directory => return Err(RemoteError::NotDirectory),
                _ => {}
            }
            if below(to, from) {
                return Err(RemoteError::Refused { reply: "550 Rename failed.".into() });
            }
            let moved: Vec<RemotePath> =
                state.items.keys().filter(|path| *path == from || below(path, from)).cloned().collect();
            for path in moved {
                let rest = path.as_bytes().get(from.as_bytes().len()..).unwrap_or_default();
                let target =
                    to.join_relative(rest).map_err(|error| RemoteError::Failed { reason: error.to_string() })?;
                if let Some(item) = state.items.remove(&path) {
                    state.items.insert(target, item);
                }
            }
            Ok(())
        })
    }

    fn remove_file(&self, path: &RemotePath) -> RemoteResult<()> {
        self.call(Operation::RemoveFile, |state| match state.get(path)?.kind {
            EntryKind::Directory => Err(RemoteError::IsDirectory),
            _ => {
                state.items.remove(path);
                Ok(())
            }
        })
    }

    fn remove_directory(&self, path: &RemotePath) -> RemoteResult<()> {
        self.call(Operation::RemoveDirectory, |state| {
            if state.get(path)?.kind != EntryKind::Directory {
                return Err(RemoteError::NotDirectory);
            }
            if state.items.keys().any(|at| below(at, path)) {
                return Err(RemoteError::NotEmpty);
            }
            state.items.remove(path);
            Ok(())
        })
    }

    fn make_directory(&self, path: &RemotePath) -> RemoteResult<()> {
        self.call(Operation::MakeDirectory, |state| {
            state.parent(path)?;
            if state.items.contains_key(path) {
                return Err(RemoteError::Exists);
            }
            let item = state.item(EntryKind::Directory, Vec::new());
            state.items.insert(path.clone(), item);
            Ok(())
        })
    }

    fn make_symlink(&self, path: &RemotePath, target: &[u8]) -> RemoteResult<()> {
        self.call(Operation::MakeSymlink, |state| {
            if !state.behaviour.symlinks {
                return Err(RemoteError::Unsupported { what: "symbolic links" });
            }
            state.parent(path)?;
            if state.items.contains_key(path) {
                return Err(RemoteError::Exists);
            }
            let item = Item { target: target.into(), ..state.item(EntryKind::Symlink, Vec::new()) };
            state.items.insert(path.clone(), item);
            Ok(())
        })
    }

    fn set_modified(&self, path: &RemotePath, time: Timestamp) -> RemoteResult<Timestamp> {
        self.call(Operation::SetModified, |state| {
            if !state.behaviour.set_modified {
                return Err(RemoteError::Unsupported { what: "setting times" });
            }
            let item = state.items.get_mut(path).ok_or(RemoteError::NotFound)?;
            item.modified = time.seconds;
            Ok(Timestamp { nanoseconds: 0, precision: Precision::Second, ..time })
        })
    }

    fn set_mode(&self, path: &RemotePath, mode: u32) -> RemoteResult<()> {
        self.call(Operation::SetMode, |state| {
            if !state.behaviour.set_mode {
                return Err(RemoteError::Unsupported { what: "setting permissions" });
            }
            state.items.get_mut(path).ok_or(RemoteError::NotFound)?.mode = mode & 0o7777;
            Ok(())
        })
    }

    fn space(&self, _directory: &RemotePath) -> RemoteResult<Option<Space>> {
        self.call(Operation::Space, |state| Ok(state.behaviour.space))
    }

    fn prepare(&self, transfers: usize) {
        self.shared.state.lock().prepared += transfers;
    }

    fn idle_connection(&self, _errand: Errand, _patience: Duration) -> Option<Box<dyn IdleConnection>> {
        let mut state = self.shared.state.lock();
        let is_lent = state.behaviour.idle_connections && !state.behaviour.unreachable;
        state.idle_lent += usize::from(is_lent);
        is_lent.then(|| Box::new(self.clone()) as Box<dyn IdleConnection>)
    }

    fn abilities(&self) -> Abilities {
        let state = self.shared.state.lock();
        let behaviour = &state.behaviour;
        Abilities {
            listing_has_seconds: behaviour.listing_precision >= Precision::Second,
            exact_times: behaviour.exact_times,
            set_mode: behaviour.set_mode,
            set_modified: behaviour.set_modified,
            restart: true,
        }
    }
}

impl IdleConnection for MemoryRemote {
    fn list(self: Box<Self>, directory: &RemotePath) -> RemoteResult<Listing> {
        Remote::list(&*self, directory)
    }

    fn fetch(self: Box<Self>, path: &RemotePath, size: u64) -> RemoteResult<Fetched> {
        let mut stream = Remote::open_read(&*self, path, 0)?;
        let bytes = read_whole(size, |rest| match stream.is_wanted() {
            true => Err(RemoteError::Interrupted { reason: "given up for somebody who waits".into() }),
            false => stream.read(rest),
        })?;
        Ok(Fetched { bytes, entry: None })
    }

    fn open_range(self: Box<Self>, path: &RemotePath, range: Range<u64>) -> RemoteResult<Box<dyn ReadStream>> {
        Remote::open_read(&*self, path, range.start)
    }
}

fn parse(path: &str) -> RemotePath {
    RemotePath::parse(path.as_bytes()).expect("a test gives good paths")
}

/// Whether `path` lies below `tree`.
fn below(path: &RemotePath, tree: &RemotePath) -> bool {
    tree.is_root() || path.as_bytes().strip_prefix(tree.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

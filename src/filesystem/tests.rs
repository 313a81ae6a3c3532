//! What the filesystem promises, over a server in memory: each test's name is a promise.

mod ahead;
mod attributes;
mod consistency;
mod directories;
mod faults;
mod files;
mod half_done;
mod in_place;
mod journal;
mod names;
mod streams;
mod uploads;

use super::*;
use crate::remote::RemoteError;
use crate::remote::memory::{MemoryRemote, Operation, When};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const ROOT: InodeNumber = InodeNumber::ROOT;
const READ: OpenFlags = OpenFlags { read: true, write: false, append: false, truncate: false, exclusive: false };
const WRITE: OpenFlags = OpenFlags { read: false, write: true, ..READ };
const BOTH: OpenFlags = OpenFlags { write: true, ..READ };

/// A clock that the test turns.
struct TestClock {
    base: Instant,
    seconds: AtomicU64,
}

impl Clock for TestClock {
    fn instant(&self) -> Instant {
        self.base + Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.seconds.load(Ordering::SeqCst))
    }
}

/// A mount of a server in memory.
struct Mount {
    remote: MemoryRemote,
    filesystem: Arc<Filesystem>,
    clock: Arc<TestClock>,
}

impl Mount {
    fn new(prepare: impl FnOnce(&MemoryRemote)) -> Self {
        Self::with_options(prepare, FilesystemOptions::default())
    }

    fn with_options(prepare: impl FnOnce(&MemoryRemote), options: FilesystemOptions) -> Self {
        let remote = MemoryRemote::new();
        prepare(&remote);
        let clock = Arc::new(TestClock { base: Instant::now(), seconds: AtomicU64::new(0) });
        let server: Arc<dyn Remote> = Arc::new(remote.clone());
        let filesystem = Filesystem::with_clock(server, RemotePath::root(), options, clock.clone(), None).unwrap();
        Self { remote, filesystem, clock }
    }

    fn advance(&self, seconds: u64) {
        self.clock.seconds.fetch_add(seconds, Ordering::SeqCst);
        self.remote.advance(seconds as i64);
    }

    fn find_in(&self, parent: InodeNumber, name: &str) -> Option<Attributes> {
        match self.filesystem.lookup(Access::Server, parent, name.as_bytes()).unwrap() {
            LookupResult::Found(found) => Some(found.attributes),
            LookupResult::Absent { .. } => None,
        }
    }

    /// Looks a path up, as the kernel does: component by component.
    fn find(&self, path: &str) -> Option<Attributes> {
        let mut at = self.filesystem.attributes(Access::Server, ROOT, None).unwrap().attributes;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.find_in(at.ino, name)?;
        }
        Some(at)
    }

    fn ino(&self, path: &str) -> InodeNumber {
        self.find(path).unwrap().ino
    }

    fn open(&self, path: &str, flags: OpenFlags) -> HandleId {
        self.filesystem.open(Access::Server, self.ino(path), flags).unwrap().handle
    }

    fn create(&self, name: &str) -> HandleId {
        self.filesystem.create(Access::Server, ROOT, name.as_bytes(), 0o644, BOTH).unwrap().1.handle
    }

    fn write(&self, handle: HandleId, offset: u64, data: &str) {
        let written = self.filesystem.write(Access::Server, handle, offset, data.as_bytes()).unwrap();
        assert_eq!(written as usize, data.len());
    }

    fn try_read(&self, handle: HandleId, offset: u64, len: u32) -> FilesystemResult<Vec<u8>> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.filesystem.read(handle, offset, len, Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv_timeout(Duration::from_secs(20)).expect("every read is answered")
    }

    fn read(&self, handle: HandleId) -> String {
        String::from_utf8(self.try_read(handle, 0, 1 << 20).unwrap()).unwrap()
    }

    fn flush(&self, handle: HandleId) -> FilesystemResult<()> {
        self.filesystem.flush(Access::Server, handle)
    }

    fn close(&self, handle: HandleId) {
        self.flush(handle).unwrap();
        self.filesystem.release(Access::Server, handle).unwrap();
    }

    fn release(&self, handle: HandleId) {
        self.filesystem.release(Access::Server, handle).unwrap();
    }

    fn cat(&self, path: &str) -> String {
        let handle = self.open(path, READ);
        let text = self.read(handle);
        self.close(handle);
        text
    }

    fn names(&self, ino: InodeNumber) -> Vec<String> {
        self.pages(ino, 3, false).into_iter().map(|entry| String::from_utf8(entry.name.into()).unwrap()).collect()
    }

    /// All entries of a directory but the dots, `page` at a time.
    fn pages(&self, ino: InodeNumber, page: usize, plus: bool) -> Vec<DirectoryEntry> {
        let handle = self.filesystem.open_directory(Access::Server, ino).unwrap();
        let (mut entries, mut cookie) = (Vec::new(), 0);
        loop {
            let next = self.filesystem.read_directory(Access::Server, handle, cookie, page, plus).unwrap();
            let Some(last) = next.last() else { break };
            cookie = last.next_cookie;
            entries.extend(next);
        }
        self.filesystem.release_directory(handle);
        entries.retain(|entry| !matches!(&*entry.name, b"." | b".."));
        entries
    }

    fn rename(&self, from: &str, to: &str) -> FilesystemResult<()> {
        self.filesystem.rename(Access::Server, ROOT, from.as_bytes(), ROOT, to.as_bytes(), false)
    }

    fn unlink(&self, name: &str) -> FilesystemResult<()> {
        self.filesystem.unlink(Access::Server, ROOT, name.as_bytes())
    }

    fn set(&self, path: &str, changes: SetAttributes) -> FilesystemResult<Attributes> {
        let found = self.filesystem.set_attributes(Access::Server, self.ino(path), None, changes)?;
        Ok(found.attributes)
    }
}

fn lost() -> RemoteError {
    RemoteError::Unreachable { reason: "a test cut the connection".into() }
}

fn refused() -> RemoteError {
    RemoteError::Refused { reply: "550 Permission denied.".into() }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn set_time(seconds: u64) -> SetAttributes {
    SetAttributes { mtime: Some(SetTime::At(at(seconds))), ..SetAttributes::default() }
}

//! The kernel's calls in, our replies out; no decisions.
//!
//! One method per operation: it takes the arguments apart, says what is to be done with the filesystem, how the result
//! becomes a reply, and what is to be taken back if nobody waits for it any more. [`Dispatch`] does the rest.
//!
//! Operations that FTP has no means for are refused here, each with the errno that makes the caller take another way.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, Notifier, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr,
    ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::dispatch::{Dispatch, Kind, Operation, nothing_to_undo, report_error};
use super::errno;
use super::passthrough::Passthrough;
use super::replies::{
    Refuse, bare_attributes, file_attributes, file_type, open_flags, opened_flags, plus_entry, set_time,
};
use crate::filesystem::{
    Access, DirectoryEntry, Filesystem, FilesystemError, Found, HandleId, InodeNumber, LookupResult, Opened, SeekFor,
    SetAttributes,
};
use crate::protocol::EntryKind;

/// The largest WRITE the kernel sends, which is also its own limit (256 pages).
const WRITE_BYTES_MAX: u32 = 1024 * 1024;
/// How many reads of all files the kernel may have under way at once: fewer than the default make many slow readers wait
/// for each other (measured: 40 readers of a server 100 ms away take 308 ms with 16, 103 ms with 64).
const BACKGROUND_MAX: u16 = 256;
/// Entries fetched at once while a readdir reply is filled; a reply of 32 KiB holds some 200 with attributes.
const ENTRIES_AT_ONCE: usize = 256;
/// Inode numbers are not used twice, so there is only one generation.
const GENERATION: Generation = Generation(0);

/// What we ask of the kernel beyond fuser's defaults (ASYNC_READ, BIG_WRITES, MAX_PAGES).
///
/// Not WRITEBACK_CACHE: with it the kernel ignores what others change on the server, and appends at a stale offset. Not
/// CACHE_SYMLINKS: where a link may lead depends on where it is, and a directory above it can be renamed.
const CAPABILITIES: [InitFlags; 6] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_AUTO_INVAL_DATA,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
];

/// The filesystem as fuser calls it.
pub(super) struct Adapter {
    dispatch: Arc<Dispatch>,
    /// Set once the session stands.
    notifier: Arc<OnceLock<Notifier>>,
    passthrough: Arc<Passthrough>,
}

impl Adapter {
    /// An adapter whose operations run on `dispatch`.
    pub(super) fn new(dispatch: Arc<Dispatch>, notifier: Arc<OnceLock<Notifier>>) -> Self {
        Self { dispatch, notifier, passthrough: Arc::default() }
    }

    /// An operation on a name, whose result is an entry with a counted lookup.
    fn entry<W>(&self, operation: Operation, reply: ReplyEntry, work: W)
    where
        W: Fn(&Filesystem, Access) -> Result<Found, FilesystemError> + Send + 'static,
    {
        let deliver = |_: &Arc<Filesystem>, reply: ReplyEntry, found: Found| {
            reply.entry(&found.ttl, &file_attributes(&found.attributes), GENERATION);
        };
        let undo = |filesystem: &Filesystem, found: Found| filesystem.forget(found.attributes.ino, 1);
        self.dispatch.run(operation, reply, move |filesystem, access| work(filesystem, access), deliver, undo);
    }

    /// An operation whose result is that it was done.
    fn done<W>(&self, operation: Operation, reply: ReplyEmpty, work: W)
    where
        W: Fn(&Filesystem, Access) -> Result<(), FilesystemError> + Send + 'static,
    {
        let deliver = |_: &Arc<Filesystem>, reply: ReplyEmpty, ()| reply.ok();
        self.dispatch.run(
            operation,
            reply,
            move |filesystem, access| work(filesystem, access),
            deliver,
            nothing_to_undo,
        );
    }

    /// An operation whose result is attributes.
    fn attributes<W>(&self, operation: Operation, reply: ReplyAttr, work: W)
    where
        W: Fn(&Filesystem, Access) -> Result<Found, FilesystemError> + Send + 'static,
    {
        let deliver = |_: &Arc<Filesystem>, reply: ReplyAttr, found: Found| {
            reply.attr(&found.ttl, &file_attributes(&found.attributes));
        };
        self.dispatch.run(
            operation,
            reply,
            move |filesystem, access| work(filesystem, access),
            deliver,
            nothing_to_undo,
        );
    }
}

/// Tells the kernel to ask for a file's attributes again, where opening it has shown that they differ. Only attributes: with
/// data too the call would wait for pages that a read of ours may hold.
fn tell_if_changed(notifier: &OnceLock<Notifier>, ino: InodeNumber, opened: &Opened) {
    if let (true, Some(notifier)) = (opened.attributes_changed, notifier.get())
        && let Err(error) = notifier.inval_inode(INodeNo(ino.0), -1, 0)
    {
        tracing::debug!(%error, %ino, "the kernel was not told that attributes changed");
    }
}

fn bytes_of(name: &OsStr) -> Arc<[u8]> {
    Arc::from(name.as_bytes())
}

fn ino_of(ino: INodeNo) -> InodeNumber {
    InodeNumber(ino.0)
}

fn handle_of(handle: FileHandle) -> HandleId {
    HandleId(handle.0)
}

fn release_quietly(filesystem: &Filesystem, opened: &Opened) {
    if let Err(error) = filesystem.release(Access::Server, opened.handle) {
        tracing::warn!(%error, "a handle that nobody waited for could not be released");
    }
}

impl fuser::Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in CAPABILITIES {
            if config.add_capabilities(capability).is_err() {
                tracing::debug!(?capability, "this kernel does not have it; it works without");
            }
        }
        // Both take the nearest possible value where they refuse; the defaults do then.
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        let _ = config.set_max_background(BACKGROUND_MAX);
        self.passthrough.negotiate(config, self.dispatch.filesystem().keeps_local_files());
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (parent, name) = (ino_of(parent), bytes_of(name));
        let operation = Operation::in_directory(request, "lookup", parent.0, &name, Kind::Question);
        self.dispatch.run(
            operation,
            reply,
            move |filesystem, access| filesystem.lookup(access, parent, &name),
            |_, reply, result| match result {
                LookupResult::Found(found) => {
                    reply.entry(&found.ttl, &file_attributes(&found.attributes), GENERATION);
                }
                LookupResult::Absent { ttl } => {
                    // Number 0 is an absence that the kernel may remember; ENOENT would be asked again each time.
                    reply.entry(&ttl, &bare_attributes(0, EntryKind::File), GENERATION);
                }
            },
            |filesystem, result| {
                if let LookupResult::Found(found) = result {
                    filesystem.forget(found.attributes.ino, 1);
                }
            },
        );
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        self.dispatch.filesystem().forget(ino_of(ino), count);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let (ino, handle) = (ino_of(ino), handle.map(handle_of));
        let operation = Operation::on(request, "getattr", ino.0, Kind::Question);
        self.attributes(operation, reply, move |filesystem, access| filesystem.attributes(access, ino, handle));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (ino, handle) = (ino_of(ino), handle.map(handle_of));
        let (atime, mtime) = (atime.map(set_time), mtime.map(set_time));
        let changes = SetAttributes { size, mode, uid, gid, mtime, atime };
        // Another size may need the file's beginning from the server.
        let kind = if size.is_some() { Kind::Transfer } else { Kind::Question };
        let operation = Operation::on(request, "setattr", ino.0, kind);
        self.attributes(operation, reply, move |filesystem, access| {
            filesystem.set_attributes(access, ino, handle, changes)
        });
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let ino = ino_of(ino);
        self.dispatch.run(
            Operation::on(request, "readlink", ino.0, Kind::Question),
            reply,
            move |filesystem, access| filesystem.read_link(access, ino),
            |_, reply, target| reply.data(&target),
            nothing_to_undo,
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if !matches!(mode & libc::S_IFMT, libc::S_IFREG | 0) {
            return reply.refuse(errno::NOT_POSSIBLE);
        }
        let (parent, name) = (ino_of(parent), bytes_of(name));
        let operation = Operation::in_directory(request, "mknod", parent.0, &name, Kind::Transfer);
        self.entry(operation, reply, move |filesystem, access| {
            filesystem.make_node(access, parent, &name, mode & 0o7777)
        });
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let (parent, name) = (ino_of(parent), bytes_of(name));
        let operation = Operation::in_directory(request, "mkdir", parent.0, &name, Kind::Question);
        self.entry(operation, reply, move |filesystem, access| {
            filesystem.make_directory(access, parent, &name, mode & 0o7777)
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino_of(parent), bytes_of(name));
        // A transfer: the rest of a file that somebody has open may have to be fetched first.
        let operation = Operation::in_directory(request, "unlink", parent.0, &name, Kind::Transfer);
        self.done(operation, reply, move |filesystem, access| filesystem.unlink(access, parent, &name));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino_of(parent), bytes_of(name));
        let operation = Operation::in_directory(request, "rmdir", parent.0, &name, Kind::Question);
        self.done(operation, reply, move |filesystem, access| filesystem.remove_directory(access, parent, &name));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (parent, name, target) = (ino_of(parent), bytes_of(link_name), bytes_of(target.as_os_str()));
        let operation = Operation::in_directory(request, "symlink", parent.0, &name, Kind::Question);
        self.entry(operation, reply, move |filesystem, access| filesystem.make_symlink(access, parent, &name, &target));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        if !flags.difference(RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.refuse(errno::FLAGS_NOT_KNOWN);
        }
        let (parent, name) = (ino_of(parent), bytes_of(name));
        let (new_parent, new_name) = (ino_of(new_parent), bytes_of(new_name));
        // A transfer, as unlink: what is replaced may be open, what is renamed may wait for its upload.
        let operation = Operation::in_directory(request, "rename", parent.0, &name, Kind::Transfer);
        self.done(operation, reply, move |filesystem, access| {
            filesystem.rename(access, parent, &name, new_parent, &new_name, no_replace)
        });
    }

    fn link(&self, _request: &Request, _ino: INodeNo, _parent: INodeNo, _name: &OsStr, reply: ReplyEntry) {
        reply.refuse(errno::NOT_POSSIBLE);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (ino, flags) = (ino_of(ino), open_flags(flags.0));
        let kind = if flags.write || flags.truncate { Kind::Transfer } else { Kind::Question };
        let (notifier, passthrough) = (Arc::clone(&self.notifier), Arc::clone(&self.passthrough));
        self.dispatch.run(
            Operation::on(request, "open", ino.0, kind),
            reply,
            move |filesystem, access| filesystem.open(access, ino, flags),
            move |filesystem, reply, opened| {
                tell_if_changed(&notifier, ino, &opened);
                let flags = opened_flags(&opened, flags.write || flags.truncate);
                passthrough.opened(filesystem, ino, &opened, flags, reply);
            },
            |filesystem, opened| release_quietly(filesystem, &opened),
        );
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (parent, name, flags) = (ino_of(parent), bytes_of(name), open_flags(flags));
        self.dispatch.run(
            Operation::in_directory(request, "create", parent.0, &name, Kind::Transfer),
            reply,
            move |filesystem, access| filesystem.create(access, parent, &name, mode & 0o7777, flags),
            |_, reply, (found, opened)| {
                let attributes = file_attributes(&found.attributes);
                let handle = FileHandle(opened.handle.0);
                // Even one opened for reading alone has something to report when closed: that it was made.
                reply.created(&found.ttl, &attributes, GENERATION, handle, opened_flags(&opened, true));
            },
            |filesystem, (found, opened)| {
                release_quietly(filesystem, &opened);
                filesystem.forget(found.attributes.ino, 1);
            },
        );
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // Never watched by the clock: a killed reader is gone at once, and others may wait for the same page.
        let operation = Operation::on(request, "read", ino.0, Kind::Transfer);
        let done = Box::new(move |result: Result<Vec<u8>, FilesystemError>| match result {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.refuse(report_error(&operation, &error)),
        });
        // Should it panic, `done` is dropped with its reply, which answers EIO.
        self.dispatch.unwatched("read", |filesystem| filesystem.read(handle_of(handle), offset, size, done));
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let handle = handle_of(handle);
        let operation = Operation::on(request, "write", ino.0, Kind::Transfer);
        let first =
            self.dispatch.attempt(&operation, |filesystem| filesystem.write(Access::MemoryOnly, handle, offset, data));
        match first {
            Some(Ok(written)) => reply.written(written),
            Some(Err(errno)) => reply.refuse(errno),
            None => {
                // Only now is a copy worth its price.
                let data = data.to_vec();
                self.dispatch.hand_over(
                    operation,
                    reply,
                    move |filesystem, access| filesystem.write(access, handle, offset, &data),
                    |_, reply, written| reply.written(written),
                    nothing_to_undo,
                );
            }
        }
    }

    fn flush(&self, request: &Request, ino: INodeNo, handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        let operation = Operation::on(request, "flush", ino.0, Kind::Transfer);
        self.done(operation, reply, move |filesystem, access| filesystem.flush(access, handle_of(handle)));
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.passthrough.released(ino_of(ino));
        let operation = Operation::on(request, "release", ino.0, Kind::Release);
        self.done(operation, reply, move |filesystem, access| filesystem.release(access, handle_of(handle)));
    }

    fn fsync(&self, request: &Request, ino: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let operation = Operation::on(request, "fsync", ino.0, Kind::Transfer);
        self.done(operation, reply, move |filesystem, access| filesystem.fsync(access, handle_of(handle)));
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let ino = ino_of(ino);
        let operation = Operation::on(request, "opendir", ino.0, Kind::Question);
        let opened = |reply: ReplyOpen, handle: HandleId| reply.opened(FileHandle(handle.0), FopenFlags::empty());
        match self.dispatch.attempt(&operation, |filesystem| filesystem.open_directory(Access::MemoryOnly, ino)) {
            Some(Ok(handle)) => opened(reply, handle),
            Some(Err(errno)) => reply.refuse(errno),
            None => self.dispatch.hand_over_early(
                operation,
                reply,
                move |filesystem, early| filesystem.open_directory_early(Access::Server, ino, early),
                move |_, reply, handle| opened(reply, handle),
                |filesystem, handle| filesystem.release_directory(handle),
            ),
        }
    }

    fn readdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let handle = handle_of(handle);
        self.dispatch.run(
            Operation::on(request, "readdir", ino.0, Kind::Question),
            reply,
            move |filesystem, access| filesystem.read_directory(access, handle, offset, ENTRIES_AT_ONCE, false),
            move |filesystem, mut reply, entries| {
                fill(filesystem, handle, entries, false, |entry| {
                    let name = OsStr::from_bytes(&entry.name);
                    reply.add(INodeNo(entry.ino.0), entry.next_cookie, file_type(entry.kind), name)
                });
                reply.ok();
            },
            nothing_to_undo,
        );
    }

    fn readdirplus(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        let handle = handle_of(handle);
        self.dispatch.run(
            Operation::on(request, "readdirplus", ino.0, Kind::Question),
            reply,
            move |filesystem, access| filesystem.read_directory(access, handle, offset, ENTRIES_AT_ONCE, true),
            move |filesystem, mut reply, entries| {
                fill(filesystem, handle, entries, true, |entry| {
                    let (attributes, ttl) = plus_entry(entry);
                    let (name, cookie) = (OsStr::from_bytes(&entry.name), entry.next_cookie);
                    let full = reply.add(attributes.ino, cookie, name, &ttl, &attributes, GENERATION);
                    // The kernel counts a lookup for each name it is given here, but for these two.
                    if !full && !matches!(*entry.name, [b'.'] | [b'.', b'.']) {
                        filesystem.remember(handle, entry);
                    }
                    full
                });
                reply.ok();
            },
            nothing_to_undo,
        );
    }

    fn releasedir(&self, _request: &Request, _ino: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.dispatch.unwatched("releasedir", |filesystem| filesystem.release_directory(handle_of(handle)));
        reply.ok();
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let ino = ino_of(ino);
        let operation = Operation::on(request, "fsyncdir", ino.0, Kind::Transfer);
        self.done(operation, reply, move |filesystem, access| filesystem.fsync_directory(access, ino));
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let ino = ino_of(ino);
        self.dispatch.run(
            Operation::on(request, "statfs", ino.0, Kind::Question),
            reply,
            move |filesystem, access| filesystem.space(access, ino),
            |_, reply, space| {
                let (size, free) = (space.block_size, space.blocks_free);
                reply.statfs(space.blocks, free, free, space.files, space.files_free, size, space.name_len_max, size);
            },
            nothing_to_undo,
        );
    }

    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // With default_permissions, which we always set, the kernel decides and never asks.
        reply.ok();
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            return reply.refuse(errno::NOT_SUPPORTED);
        }
        let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let operation = Operation::on(request, "fallocate", ino.0, Kind::Transfer);
        self.done(operation, reply, move |filesystem, access| {
            filesystem.allocate(access, handle_of(handle), offset, length, keep_size)
        });
    }

    fn lseek(&self, request: &Request, ino: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let what = match whence {
            libc::SEEK_DATA => SeekFor::Data,
            libc::SEEK_HOLE => SeekFor::Hole,
            _ => return reply.refuse(errno::FLAGS_NOT_KNOWN),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.refuse(errno::NOTHING_THERE) };
        self.dispatch.run(
            Operation::on(request, "lseek", ino.0, Kind::Question),
            reply,
            move |filesystem, access| match filesystem.seek(access, handle_of(handle), offset, what)? {
                found if i64::try_from(found).is_ok() => Ok(found.cast_signed()),
                _ => Err(FilesystemError::TooLarge),
            },
            |_, reply, found| reply.offset(found),
            nothing_to_undo,
        );
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _ino_in: INodeNo,
        _handle_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _handle_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // FTP cannot copy on the server; the kernel then copies through reads and writes.
        reply.refuse(errno::NEVER_ASK_AGAIN);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.refuse(errno::NEVER_ASK_AGAIN);
    }

    fn getxattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(errno::NEVER_ASK_AGAIN);
    }

    fn listxattr(&self, _request: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(errno::NEVER_ASK_AGAIN);
    }

    fn removexattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.refuse(errno::NEVER_ASK_AGAIN);
    }

    fn getlk(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        reply: ReplyLock,
    ) {
        // Never called: locks are not asked for, so the kernel keeps them by itself, for this machine.
        reply.error(errno::NEVER_ASK_AGAIN);
    }

    fn setlk(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        _start: u64,
        _end: u64,
        _kind: i32,
        _pid: u32,
        _sleep: bool,
        reply: ReplyEmpty,
    ) {
        reply.refuse(errno::NEVER_ASK_AGAIN);
    }

    fn bmap(&self, _request: &Request, _ino: INodeNo, _block_size: u32, _index: u64, reply: ReplyBmap) {
        reply.error(errno::NEVER_ASK_AGAIN);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(errno::NO_IOCTL);
    }

    fn poll(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        // The kernel then takes every file as always ready, as on any disk.
        reply.error(errno::NEVER_ASK_AGAIN);
    }
}

/// Adds entries to a reply until it is full (`add` says so) or the directory ends. What a batch after the first cannot give
/// without waiting is left for the kernel's next request.
fn fill(
    filesystem: &Filesystem,
    handle: HandleId,
    first: Vec<DirectoryEntry>,
    plus: bool,
    mut add: impl FnMut(&DirectoryEntry) -> bool,
) {
    let mut entries = first;
    while let Some(last) = entries.last() {
        let cookie = last.next_cookie;
        if entries.iter().any(&mut add) {
            return;
        }
        match filesystem.read_directory(Access::MemoryOnly, handle, cookie, ENTRIES_AT_ONCE, plus) {
            Ok(more) => entries = more,
            Err(_asked_again_by_the_kernel) => return,
        }
    }
}

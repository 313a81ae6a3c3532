//! Replies to the kernel: how each is refused, and our types in its words.

use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileType, FopenFlags, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, TimeOrNow,
};

use crate::filesystem::{Attributes, DirectoryEntry, OpenFlags, Opened, SetTime};
use crate::protocol::EntryKind;

/// A reply of whatever kind: all can be an error.
pub(super) trait Refuse: Send + 'static {
    /// Answers with an errno.
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}
refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite
);

/// The preferred size of reads and writes, as stat shows it: programs such as `cp` use it.
const IO_BYTES: u32 = 128 * 1024;

/// Attributes in the kernel's words.
pub(super) fn file_attributes(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.ino.0),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: attributes.atime,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        crtime: attributes.mtime,
        kind: file_type(attributes.kind),
        // Masked to 12 bits, so it fits.
        perm: (attributes.mode & 0o7777) as u16,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// Attributes that say nothing but number and kind; as a lookup's answer with number 0 they say "no such name".
pub(super) fn bare_attributes(ino: u64, kind: EntryKind) -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: file_type(kind),
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// The kind of a file in the kernel's words.
pub(super) fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
        // Devices, sockets and pipes cannot be told apart; a pipe is the harmless one of them.
        EntryKind::Other => FileType::NamedPipe,
    }
}

/// The flags of open(2) in our words.
pub(super) fn open_flags(flags: i32) -> OpenFlags {
    let mode = flags & libc::O_ACCMODE;
    OpenFlags {
        read: mode == libc::O_RDONLY || mode == libc::O_RDWR,
        write: mode == libc::O_WRONLY || mode == libc::O_RDWR,
        append: flags & libc::O_APPEND != 0,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
    }
}

/// What the kernel may do with an opened file.
pub(super) fn opened_flags(opened: &Opened, writes: bool) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
    // Closing what was only read has nothing to report.
    flags.set(FopenFlags::FOPEN_NOFLUSH, !writes);
    flags
}

/// A time to set in our words.
pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(time),
    }
}

/// An entry as readdirplus shows it: attributes, and how long they may be believed. Where there are none, not at all: the
/// kernel asks before it shows them to anybody.
pub(super) fn plus_entry(entry: &DirectoryEntry) -> (FileAttr, Duration) {
    match &entry.found {
        Some(found) => (file_attributes(&found.attributes), found.ttl),
        None => (bare_attributes(entry.ino.0, entry.kind), Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_are_read_as_open_2_means_them() {
        let flags = open_flags(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND);
        assert_eq!(flags, OpenFlags { read: false, write: true, append: true, truncate: true, exclusive: false });
        let flags = open_flags(libc::O_RDWR | libc::O_EXCL);
        assert_eq!(flags, OpenFlags { read: true, write: true, append: false, truncate: false, exclusive: true });
        assert!(open_flags(libc::O_RDONLY).read && !open_flags(libc::O_RDONLY).write);
    }
}

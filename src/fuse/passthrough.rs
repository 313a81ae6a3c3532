//! Files whose bytes lie on the local disk as a whole: the kernel reads them there by itself.
//!
//! Only where nobody can write to the file through this mount, which is to say on one that is read-only: what the kernel reads by itself,
//! no write of ours could change. And only as root, on Linux 6.9 or later.
//!
//! The kernel's rules (a breach is EIO for whoever reads): all handles of an inode that are open at once go the same way, and all that
//! go through to a local file share one backing. So the first handle decides, and the next ones follow until the last is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::{BackingId, FileHandle, FopenFlags, InitFlags, KernelConfig, ReplyOpen};
use parking_lot::Mutex;

use crate::filesystem::{Filesystem, InodeNumber, Opened};

/// File systems that may lie upon each other under a backing file: a cache directory in a container lies on one already.
const STACK_DEPTH_MAX: u32 = 2;

/// Which inodes are open, and which way.
#[derive(Debug, Default)]
pub(super) struct Passthrough {
    is_on: AtomicBool,
    /// The kernel has refused one: no other is offered.
    was_refused: AtomicBool,
    open: Mutex<HashMap<InodeNumber, Way>>,
}

/// How the handles of one inode are read.
#[derive(Debug)]
struct Way {
    handles: usize,
    /// By the kernel, from there; otherwise by us.
    backing: Option<Arc<BackingId>>,
}

impl Passthrough {
    /// Asks the kernel for it, if `is_wanted`.
    pub(super) fn negotiate(&self, config: &mut KernelConfig, is_wanted: bool) {
        if !is_wanted {
            return;
        }
        let is_on = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(STACK_DEPTH_MAX).is_ok();
        tracing::debug!(is_on, "files that are in the cache directory are read by the kernel itself");
        self.is_on.store(is_on, Ordering::Release);
    }

    /// Answers an open, by the way that the inode's handles go.
    pub(super) fn opened(
        &self,
        filesystem: &Filesystem,
        ino: InodeNumber,
        opened: &Opened,
        flags: FopenFlags,
        reply: ReplyOpen,
    ) {
        let handle = FileHandle(opened.handle.0);
        if !self.is_on.load(Ordering::Acquire) {
            return reply.opened(handle, flags);
        }
        let mut open = self.open.lock();
        let way = open.entry(ino).or_insert_with(|| Way { handles: 0, backing: None });
        if way.handles == 0 && !self.was_refused.load(Ordering::Acquire) {
            way.backing = filesystem.local_file(opened.handle).and_then(|file| match reply.open_backing(&file) {
                Ok(backing) => Some(Arc::new(backing)),
                Err(error) => {
                    tracing::info!(%error, "the kernel does not read files of the cache directory by itself; they are handed to it");
                    self.was_refused.store(true, Ordering::Release);
                    None
                }
            });
        }
        way.handles += 1;
        match &way.backing {
            // The kernel's own pages of the inode are none of its business then.
            Some(backing) => reply.opened_passthrough(handle, flags - FopenFlags::FOPEN_KEEP_CACHE, backing),
            None => reply.opened(handle, flags),
        }
    }

    /// One handle less.
    pub(super) fn released(&self, ino: InodeNumber) {
        let mut open = self.open.lock();
        if let Some(way) = open.get_mut(&ino) {
            way.handles = way.handles.saturating_sub(1);
            if way.handles == 0 {
                open.remove(&ino);
            }
        }
    }
}

//! Telling the kernel that what it believes is to be asked for again.
//!
//! To be called from a thread of its own that holds no lock: the kernel waits here for pages that a READ of ours may hold, and
//! for directories that a LOOKUP is at work in.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};

use crate::filesystem::{InodeNumber, Refreshed};
use crate::protocol::Name;

/// FUSE_NOTIFY_INC_EPOCH (`fuse.h`, Linux 6.16): every name is asked for again when it is next used, those that were not there
/// too. A header and nothing else: the length, the code in place of an errno, and 0 for the request it answers.
const INCREMENT_EPOCH: [u32; 4] = [16, 8, 0, 0];

/// What the kernel believes of one mount.
#[derive(Clone)]
pub struct KernelCache {
    notifier: Notifier,
    /// For the message that fuser 0.18 does not know.
    device: Arc<OwnedFd>,
}

impl KernelCache {
    pub(super) fn new(notifier: Notifier, device: OwnedFd) -> Self {
        Self { notifier, device: Arc::new(device) }
    }

    /// Makes the kernel ask again for these. May wait for operations of the mount that are under way.
    ///
    /// Kernels before 6.16 go on believing that a name is not there for up to the attribute timeout.
    pub fn forget(&self, refreshed: &Refreshed) {
        let names_expired = self.expire_names();
        for known in &refreshed.inodes {
            // A directory's name is left to its timeout: taken away, it would leave programs in it without a working directory.
            if let (false, false, Some((parent, name))) = (names_expired, known.is_directory, &known.place) {
                self.forget_name(*parent, name);
            }
            // From byte 0 to the end: the attributes and every page.
            log_if_failed(self.notifier.inval_inode(INodeNo(known.ino.0), 0, 0));
        }
        if let (false, true, Some((parent, name))) = (names_expired, refreshed.inodes.is_empty(), &refreshed.itself) {
            self.forget_name(*parent, name);
        }
    }

    /// Lets all names expire at once; false where the kernel cannot.
    fn expire_names(&self) -> bool {
        let message: Vec<u8> = INCREMENT_EPOCH.iter().flat_map(|word| word.to_ne_bytes()).collect();
        match rustix::io::write(&self.device, &message) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "this kernel cannot let all names expire; one by one");
                false
            }
        }
    }

    fn forget_name(&self, parent: InodeNumber, name: &Name) {
        log_if_failed(self.notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name.as_bytes())));
    }
}

impl fmt::Debug for KernelCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelCache").finish_non_exhaustive()
    }
}

fn log_if_failed(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "the kernel was not told to ask again");
    }
}

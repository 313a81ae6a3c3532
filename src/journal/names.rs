//! Staging files' names on the disk: one sync of their directory for all that wait.
//!
//! A synced file whose name is not synced can be gone after a power loss, so no commit may be answered before its name is.

use std::io;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::error::{JournalError, JournalResult};

/// How many names were made so far, a new one included: the name is durable once that many are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Made(u64);

/// Which names of one directory are on the disk.
#[derive(Default)]
pub(super) struct Names {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    made: u64,
    durable: u64,
    is_syncing: bool,
}

impl Names {
    /// A name was made.
    pub(super) fn made(&self) -> Made {
        let mut state = self.state.lock();
        state.made += 1;
        Made(state.made)
    }

    /// Waits until a name is on the disk; `sync` brings all names there that are made when it is called.
    ///
    /// # Errors
    /// The disk's. Another call tries again.
    pub(super) fn sync(&self, name: Made, sync: impl Fn() -> io::Result<()>) -> JournalResult<()> {
        let mut state = self.state.lock();
        while state.durable < name.0 {
            if state.is_syncing {
                self.ended.wait(&mut state);
                continue;
            }
            state.is_syncing = true;
            let made = state.made;
            let result = MutexGuard::unlocked(&mut state, &sync);
            state.is_syncing = false;
            self.ended.notify_all();
            result.map_err(JournalError::disk("syncing the staging directory"))?;
            state.durable = state.durable.max(made);
        }
        Ok(())
    }
}

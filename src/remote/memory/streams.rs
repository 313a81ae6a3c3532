//! One read and one write of a file in memory.

use super::{MemoryRemote, Operation, State};
use crate::protocol::{Precision, RemotePath, Timestamp};
use crate::remote::{Finished, ReadStream, RemoteError, RemoteResult, Stored, Wishes, WriteMode, WriteStream};
use std::sync::Arc;

pub(super) struct MemoryRead {
    remote: MemoryRemote,
    data: Arc<Vec<u8>>,
    at: usize,
}

impl MemoryRead {
    pub(super) fn new(remote: MemoryRemote, data: Arc<Vec<u8>>, at: usize) -> Self {
        Self { remote, data, at }
    }
}

impl ReadStream for MemoryRead {
    fn read(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        self.remote.call(Operation::Read, |_| Ok(()))?;
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at += count;
        Ok(count)
    }

    fn is_wanted(&self) -> bool {
        false
    }

    fn on_wanted(&mut self, _wake: Box<dyn Fn() + Send + Sync>) {}
}

pub(super) struct MemoryWrite {
    remote: MemoryRemote,
    path: RemotePath,
    mode: WriteMode,
    data: Vec<u8>,
    /// Where the first of its bytes went.
    start: usize,
    /// Where the next one goes.
    at: usize,
    /// A file that is new and was never finished goes when this is dropped.
    is_unfinished: bool,
}

impl MemoryWrite {
    pub(super) fn new(remote: MemoryRemote, path: RemotePath, mode: WriteMode, data: Vec<u8>, start: u64) -> Self {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        Self { remote, path, mode, data, start, at: start, is_unfinished: true }
    }

    /// Whether it goes into a file of its own until it is complete.
    fn is_hidden(&self) -> bool {
        matches!(self.mode, WriteMode::Replace { .. })
    }

    /// What is stored under its own name is seen by others before it is complete.
    fn show(&self, state: &mut State) {
        if !self.is_hidden()
            && let Some(item) = state.items.get_mut(&self.path)
        {
            item.data = Arc::new(self.data.clone());
            item.modified = state.now;
        }
    }
}

impl WriteStream for MemoryWrite {
    fn write_all(&mut self, bytes: &[u8]) -> RemoteResult<()> {
        let remote = self.remote.clone();
        remote.call(Operation::Write, |state| {
            let others = state.items.iter().filter(|(path, _)| **path != self.path);
            let others: u64 = others.map(|(_, item)| item.data.len() as u64).sum();
            let end = self.at.saturating_add(bytes.len());
            if let WriteMode::Patch { size, .. } = self.mode
                && end as u64 > size
            {
                return Err(RemoteError::Failed { reason: "more bytes than the file has from there on".into() });
            }
            let wanted = others + self.data.len().max(end) as u64;
            if state.behaviour.bytes_max.is_some_and(|max| wanted > max) {
                return Err(RemoteError::NoSpace { reply: "552 Quota exceeded.".into() });
            }
            let over = self.at..end.min(self.data.len()).max(self.at);
            self.data.splice(over, bytes.iter().copied());
            self.at = end;
            self.show(state);
            Ok(())
        })
    }

    fn finish(&mut self) -> RemoteResult<Stored> {
        let remote = self.remote.clone();
        let stored = remote.call(Operation::Finish, |state| {
            if !self.is_hidden() {
                // Removed on the way, and then the proof by its size fails.
                state.get(&self.path)?;
            }
            state.store(&self.path, self.mode, self.data.clone())
        })?;
        self.is_unfinished = false;
        Ok(stored)
    }

    fn finish_with(&mut self, wishes: Wishes) -> RemoteResult<Finished> {
        let mut finished = Finished::from(self.finish()?);
        let mut state = self.remote.shared.state.lock();
        let Wishes { time, mode } = match self.mode {
            WriteMode::Replace { mode } => Wishes { mode, ..wishes },
            _ => wishes,
        };
        if state.behaviour.finish_sets_all
            && let Some(item) = state.items.get_mut(&self.path)
        {
            item.modified = time.map_or(item.modified, |time| time.seconds);
            item.mode = mode.unwrap_or(item.mode);
            let time = time.map(|time| Timestamp { nanoseconds: 0, precision: Precision::Second, ..time });
            finished.stored.modified = time.or(finished.stored.modified);
            finished = Finished { time, mode, ..finished };
        }
        Ok(finished)
    }

    fn resume(&mut self) -> RemoteResult<u64> {
        let remote = self.remote.clone();
        remote.call(Operation::Resume, |state| {
            if let WriteMode::Patch { .. } | WriteMode::Tail { .. } = self.mode {
                self.at = self.start;
                return Ok(0);
            }
            if !state.behaviour.append {
                return Err(RemoteError::Unsupported { what: "appending to files" });
            }
            self.data.truncate(self.data.len().saturating_sub(state.behaviour.bytes_lost).max(self.start));
            self.at = self.data.len();
            self.show(state);
            Ok((self.at - self.start) as u64)
        })
    }

    fn give_way(&mut self) {
        // A fault of it is nobody's.
        let _ = self.remote.call(Operation::GiveWay, |_| Ok(()));
    }

    fn is_wanted(&self) -> bool {
        self.remote.shared.state.lock().behaviour.writes_wanted
    }
}

impl Drop for MemoryWrite {
    fn drop(&mut self) {
        if self.mode == WriteMode::Create && self.is_unfinished {
            self.remote.shared.state.lock().items.remove(&self.path);
        }
    }
}

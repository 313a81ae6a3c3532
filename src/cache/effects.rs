//! What has to happen once the reader's lock is released.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use super::blocks::Block;
use super::disk::DiskEntry;
use super::pieces::Pieces;
use super::reader::Done;
use super::streams::StreamKey;
use super::track::WaitingRead;
use crate::protocol::RemotePath;
use crate::remote::RemoteError;

/// A stream whose thread is to be started, after `delay`.
pub(super) struct StreamStart {
    pub(super) key: StreamKey,
    pub(super) path: RemotePath,
    pub(super) delay: Duration,
}

/// Collected under the lock, done without it.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) streams: Vec<StreamStart>,
    pub(super) deadlines_changed: bool,
    /// What is on the local disk of a version that is none any more.
    pub(super) spoilt: Vec<Arc<DiskEntry>>,
    answers: Vec<(Done, Result<Pieces, RemoteError>)>,
    threads: Vec<Thread>,
    freed: Vec<Block>,
}

impl Effects {
    /// Answers a read with its bytes.
    pub(super) fn answer(&mut self, read: WaitingRead) {
        self.answers.push((read.done, Ok(read.pieces)));
    }

    /// Answers a read with an error.
    pub(super) fn fail(&mut self, done: Done, error: RemoteError) {
        self.answers.push((done, Err(error)));
    }

    /// Wakes a stream's thread.
    pub(super) fn wake(&mut self, threads: impl IntoIterator<Item = Thread>) {
        self.threads.extend(threads);
    }

    /// Frees blocks.
    pub(super) fn free(&mut self, blocks: Vec<Block>) {
        // No allocation in the common case of none.
        if self.freed.is_empty() { self.freed = blocks } else { self.freed.extend(blocks) }
    }

    /// Takes over another's.
    pub(super) fn absorb(&mut self, other: Self) {
        self.streams.extend(other.streams);
        self.deadlines_changed |= other.deadlines_changed;
        self.spoilt.extend(other.spoilt);
        self.answers.extend(other.answers);
        self.threads.extend(other.threads);
        self.freed.extend(other.freed);
    }

    /// Does all but start streams.
    pub(super) fn finish(self) {
        for thread in self.threads {
            thread.unpark();
        }
        for (done, result) in self.answers {
            let result = result.map(Pieces::join);
            // The threads that answer serve other reads too, which a panic in one answer must not cost.
            if catch_unwind(AssertUnwindSafe(|| done(result))).is_err() {
                tracing::error!("a read's answer panicked");
            }
        }
        drop(self.freed);
    }
}

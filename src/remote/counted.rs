//! Reads and writes whose round trips are counted, whichever threads they are done by.

use std::sync::Arc;

use super::error::RemoteResult;
use super::server::Server;
use super::{Finished, ReadStream, Stored, Wishes, WriteStream};
use crate::pool::{Operation, OperationKind};

/// A transfer under way, with what it costs.
pub(super) struct Counted<T: ?Sized> {
    /// `None` once it is being dropped.
    stream: Option<Box<T>>,
    operation: Operation,
    server: Arc<Server>,
}

/// Begins a read, and counts what it costs from here on.
pub(super) fn read(
    server: &Arc<Server>,
    begin: impl FnOnce() -> RemoteResult<Box<dyn ReadStream>>,
) -> RemoteResult<Box<dyn ReadStream>> {
    Ok(Box::new(Counted::begin(server, OperationKind::Read, begin)?))
}

/// Begins a write, and counts what it costs from here on.
pub(super) fn write(
    server: &Arc<Server>,
    begin: impl FnOnce() -> RemoteResult<Box<dyn WriteStream>>,
) -> RemoteResult<Box<dyn WriteStream>> {
    Ok(Box::new(Counted::begin(server, OperationKind::Write, begin)?))
}

impl<T: ?Sized> Counted<T> {
    fn begin(
        server: &Arc<Server>,
        kind: OperationKind,
        begin: impl FnOnce() -> RemoteResult<Box<T>>,
    ) -> RemoteResult<Self> {
        let mut operation = Operation::new(kind);
        let stream = operation.run(&server.profile().traffic, begin)?;
        Ok(Self { stream: Some(stream), operation, server: Arc::clone(server) })
    }

    fn run<R>(&mut self, work: impl FnOnce(&mut T) -> RemoteResult<R>) -> RemoteResult<R> {
        let Some(stream) = self.stream.as_deref_mut() else { return Err(super::server::no_reply()) };
        self.operation.run(&self.server.profile().traffic, || work(stream))
    }
}

impl<T: ?Sized> Drop for Counted<T> {
    fn drop(&mut self) {
        // What it takes to stop a transfer is none of what was wanted.
        self.server.profile().traffic.run(OperationKind::Stop, || self.stream = None);
    }
}

impl ReadStream for Counted<dyn ReadStream> {
    fn read(&mut self, buffer: &mut [u8]) -> RemoteResult<usize> {
        self.run(|stream| stream.read(buffer))
    }

    fn is_wanted(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_wanted())
    }

    fn on_wanted(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        if let Some(stream) = &mut self.stream {
            stream.on_wanted(wake);
        }
    }
}

impl WriteStream for Counted<dyn WriteStream> {
    fn write_all(&mut self, bytes: &[u8]) -> RemoteResult<()> {
        self.run(|stream| stream.write_all(bytes))
    }

    fn finish(&mut self) -> RemoteResult<Stored> {
        self.run(|stream| stream.finish())
    }

    fn finish_with(&mut self, wishes: Wishes) -> RemoteResult<Finished> {
        self.run(|stream| stream.finish_with(wishes))
    }

    fn resume(&mut self) -> RemoteResult<u64> {
        self.run(|stream| stream.resume())
    }

    fn give_way(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.give_way();
        }
    }

    fn is_wanted(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_wanted())
    }
}

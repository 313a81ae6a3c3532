//! The mount's side: one thread that answers.
//!
//! What can be answered from memory is, at once. What takes its time (`flush`, `refresh`) goes to a thread of its own, at most
//! `WORKING_MAX` of them; who waits for the end (`end`) is put aside, at most `WAITING_MAX`. One more of either is refused.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use serde::Serialize;

use super::error::ControlError;
use super::line::{self, LineReader};
use super::message::{Done, Ended, FILES_MAX, Flushed, REQUEST_LEN_MAX, Reply, Request, Unsaved};
use super::runtime::{RuntimeDirectory, Socket};
use super::status::{Subject, first};
use crate::filesystem::{DirtyFile, FilesystemError};
use crate::protocol::RemotePath;

/// How long a request may take to arrive, and a reply to be taken: nobody but this user can make us wait.
const PEER_DEADLINE: Duration = Duration::from_secs(2);
const WORKING_MAX: usize = 8;
const WAITING_MAX: usize = 16;
/// How long no connection is taken up after that has failed, as where there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until it is dropped; the socket is then gone.
pub struct ControlServer {
    shared: Arc<Shared>,
    socket: Socket,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    directory: RuntimeDirectory,
    listener: UnixListener,
    subject: Arc<Subject>,
    working: AtomicUsize,
    end: Mutex<End>,
    closing: AtomicBool,
}

#[derive(Default)]
struct End {
    /// How it came, once it has.
    ended: Option<Ended>,
    /// Who is told of it. They stay connected: when we are gone their connection ends.
    waiting: Vec<UnixStream>,
}

impl ControlServer {
    /// Begins to answer for `subject`. Sockets that dead mounts have left behind are removed first.
    ///
    /// # Errors
    /// No socket or no thread could be had.
    pub fn start(directory: RuntimeDirectory, subject: Arc<Subject>) -> Result<Self, ControlError> {
        directory.tidy();
        let (socket, listener) = directory.listen(&subject.mountpoint)?;
        let shared = Arc::new(Shared {
            directory,
            listener,
            subject,
            working: AtomicUsize::new(0),
            end: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let answers = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("ftpfs-control".into()).spawn(move || answers.serve());
        let thread = spawned.inspect_err(|_| shared.directory.remove(&socket))?;
        Ok(Self { shared, socket, thread: Some(thread) })
    }

    /// Tells everybody who waits how the mount ended.
    pub fn announce_end(&self, exit: u8, unsaved: &[DirtyFile]) {
        let kept_count = unsaved.iter().filter(|file| file.in_journal).count();
        let ended = Ended { exit, unsaved_count: unsaved.len(), kept_count, unsaved: first(unsaved) };
        let mut end = self.shared.end.lock();
        for stream in &end.waiting {
            send(stream, &Reply::Answer(&ended));
        }
        end.ended = Some(ended);
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.shared.directory.remove(&self.socket);
        self.shared.closing.store(true, Ordering::Release);
        // Wakes the thread, which would otherwise wait for the next connection.
        let woken = rustix::net::shutdown(&self.shared.listener, rustix::net::Shutdown::Both);
        if let (Ok(()), Some(thread)) = (woken, self.thread.take()) {
            // It panics nowhere, and its longest wait is a peer's deadline.
            let _ = thread.join();
        }
        for stream in &self.shared.end.lock().waiting {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>) {
        loop {
            let accepted = self.listener.accept();
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.answer(stream),
                Err(error) => {
                    tracing::debug!(%error, "a control connection could not be taken up");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn answer(self: &Arc<Self>, stream: UnixStream) {
        if !is_allowed(&stream) {
            tracing::warn!("another user asked for the state of this mount");
            return refuse(&stream, "this mount is another user's");
        }
        let deadline = Instant::now() + PEER_DEADLINE;
        // Whoever connects and says nothing only wants to know whether we are there.
        let Ok(Some(line)) = LineReader::default().read(&stream, REQUEST_LEN_MAX, deadline) else { return };
        match Request::parse(&line) {
            Ok(Request::Status) => send(&stream, &Reply::Answer(self.subject.status())),
            Ok(Request::Flush) => self.work(stream, Self::flush),
            Ok(Request::Refresh { path }) => self.work(stream, move |shared, stream| shared.refresh(&path, stream)),
            Ok(Request::End) => self.wait_for_end(stream),
            Err(sentence) => refuse(&stream, &sentence),
        }
    }

    /// Runs what takes its time in a thread of its own.
    fn work(self: &Arc<Self>, stream: UnixStream, work: impl FnOnce(&Self, &UnixStream) + Send + 'static) {
        if self.working.fetch_add(1, Ordering::AcqRel) >= WORKING_MAX {
            self.working.fetch_sub(1, Ordering::AcqRel);
            return refuse(&stream, "too many requests of this kind are under way; try again later");
        }
        let shared = Arc::clone(self);
        let spawned = thread::Builder::new().name("ftpfs-request".into()).spawn(move || {
            let _slot = Slot(&shared.working);
            work(&shared, &stream);
        });
        if let Err(error) = spawned {
            // The connection went with the closure: its other end hears that there is no answer.
            self.working.fetch_sub(1, Ordering::AcqRel);
            tracing::error!(%error, "no thread for a request");
        }
    }

    fn flush(&self, stream: &UnixStream) {
        let failures = self.subject.filesystem.flush_all();
        let dirty = self.subject.filesystem.dirty_files();
        let known: HashMap<&RemotePath, &DirtyFile> = dirty.iter().map(|file| (&file.path, file)).collect();
        let describe = |(path, error): &(RemotePath, FilesystemError)| {
            let file = known.get(path).copied().map(Unsaved::from).unwrap_or_default();
            Unsaved { path: path.to_string(), error: Some(error.to_string()), ..file }
        };
        let is_kept = |path| known.get(path).is_some_and(|file| file.in_journal);
        let kept_count = failures.iter().filter(|(path, _)| is_kept(path)).count();
        let failed = failures.iter().take(FILES_MAX).map(describe).collect();
        send(stream, &Reply::Answer(Flushed { failed_count: failures.len(), kept_count, failed }));
    }

    fn refresh(&self, path: &[u8], stream: &UnixStream) {
        match self.subject.filesystem.refresh(path) {
            Ok(refreshed) => {
                self.subject.mount.kernel_cache().forget(&refreshed);
                send(stream, &Reply::Answer(Done { done: true }));
            }
            Err(error) => refuse(stream, &error.to_string()),
        }
    }

    fn wait_for_end(&self, stream: UnixStream) {
        let mut end = self.end.lock();
        end.waiting.retain(|stream| !has_left(stream));
        if end.waiting.len() >= WAITING_MAX {
            return refuse(&stream, "too many wait for the end of this mount already");
        }
        if let Some(ended) = &end.ended {
            send(&stream, &Reply::Answer(ended));
        }
        end.waiting.push(stream);
    }
}

/// Gives a place among the working back, also where the work panics.
struct Slot<'a>(&'a AtomicUsize);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// This user or root. The directory and the mode of the socket let nobody else in; this does not rely on them.
fn is_allowed(stream: &UnixStream) -> bool {
    let us = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == us || peer.uid.is_root())
}

/// Whether the other side has closed the connection.
fn has_left(stream: &UnixStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    let ready = rustix::event::poll(&mut polled, Some(&rustix::event::Timespec::default()));
    ready.is_ok_and(|count| count > 0)
}

fn refuse(stream: &UnixStream, sentence: &str) {
    send(stream, &Reply::<Done>::Refused { error: sentence.into() });
}

fn send<T: Serialize>(stream: &UnixStream, reply: &Reply<T>) {
    let sent = serde_json::to_vec(reply).map_err(io::Error::from).and_then(|mut text| {
        text.push(b'\n');
        line::write(stream, &text, Instant::now() + PEER_DEADLINE)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "nobody took a reply");
    }
}

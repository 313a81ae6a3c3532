//! Small files that a program reads next: fetched whole, into the block cache.
//!
//! What makes this as true as a read that was asked for: a file is fetched only where its time says that it was not changed a moment ago,
//! so that a later change shows; the whole of it has come, and its end is proved; and the server was asked *behind that* and still had
//! the version that the listing showed. An open that then rests on this answer gets what the server had when it gave it.

use super::Job;
use super::guesses::{Fetch, Kind};
use crate::cache::listings::{Known, Record};
use crate::cache::{FileId, FileVersion};
use crate::filesystem::{Access, Filesystem, FilesystemResult, InodeNumber};
use crate::protocol::{Entry, EntryKind, Name, Precision, RemotePath};
use crate::remote::{Fetched, IdleConnection, RemoteError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Files up to this size are fetched.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files that are guessed at once at most.
const GUESSES_MAX: usize = 64;
/// For so long a time has to be over before a change cannot show the same: whole seconds, and a little.
const SETTLED: Duration = Duration::from_secs(3);
/// How far a server's clock and ours may lie apart, zones and all.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(48 * 3600);

/// An answer to a question that went out with the fetch counts where it took at most this part of the age that an open allows.
const ANSWER_AGE_PART: u32 = 4;

/// When the server was asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    on_our_clock: Instant,
    at: Instant,
}

impl Filesystem {
    /// Somebody reads a file from its beginning.
    pub(in crate::filesystem) fn note_read(&self, ino: InodeNumber) {
        if !self.ahead.is_on() {
            return;
        }
        let (parent, name, directory) = {
            let state = self.state.lock();
            let Some((parent, name)) = state.inodes.get(ino).and_then(|inode| inode.place.clone()) else { return };
            let Some(directory) = state.inodes.path(parent) else { return };
            (parent, name, directory)
        };
        let now = self.clock.instant();
        {
            let mut guesses = self.ahead.guesses.lock();
            guesses.bytes.wanted = self.ahead.bytes_wanted.load(Ordering::Relaxed);
            guesses.wants_file(&directory.join(&name), self.options.dir_timeout, now);
        }
        let Some(order) = self.step(&directory, parent, Kind::Files, &name) else { return };
        let behind = {
            let guesses = self.ahead.guesses.lock();
            let max = guesses.at_once(&directory.join(&name), Kind::Files, GUESSES_MAX);
            guesses.behind(&directory, Kind::Files, order, max)
        };
        for name in behind.unwrap_or_default() {
            let path = directory.join(&name);
            let Some((record, _)) = self.small_file(&directory, &name, Duration::MAX) else { continue };
            let bytes = record.entry.size.unwrap_or_default();
            let is_guessed = {
                let mut guesses = self.ahead.guesses.lock();
                if guesses.has_file(&path) {
                    continue;
                }
                guesses.guess_file(&path, Fetch { parent, bytes })
            };
            if !is_guessed {
                return;
            }
            if !self.ahead.push(Job::Read(path.clone())) {
                self.ahead.guesses.lock().fetch_ended(&path, None, now);
            }
        }
    }

    /// A file that may be fetched, and its version, by an answer no older than `age_max`.
    fn small_file(&self, directory: &RemotePath, name: &Name, age_max: Duration) -> Option<(Arc<Record>, FileVersion)> {
        let now = self.clock.instant();
        let Known::Present(record) = self.listings.get(directory, name, age_max, now) else { return None };
        let entry = &record.entry;
        let is_small = entry.size.is_some_and(|size| (1..=FILE_BYTES_MAX).contains(&size));
        let version = FileVersion::of(entry)?;
        (entry.kind == EntryKind::File && is_small).then_some((record, version))
    }

    /// Whether the time that a file shows was over, on the server's clock, before it was shown.
    fn is_settled(&self, record: &Record) -> bool {
        let Some(modified) = record.entry.modified else { return false };
        let second = u64::try_from(modified.seconds).unwrap_or_default();
        let now = self.clock.system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_old = Duration::from_secs(second).saturating_add(CLOCKS_APART_MAX) < now;
        let is_shown = self.clock.instant().saturating_duration_since(record.shown_since()) >= SETTLED;
        modified.precision >= Precision::Second && (is_old || is_shown)
    }

    /// Where listings give minutes the exact time of many is asked for at once, as for a stat; `None` where it cannot be had.
    pub(super) fn fetch_time_ahead(&self, path: &RemotePath) -> Option<()> {
        self.fetch_times(Access::Server, &path.parent()?, &path.name()?).ok()
    }

    /// Fetches a file that nobody waits for; `None` where it is not to be had in this way.
    pub(super) fn read_ahead(
        &self,
        connection: Box<dyn IdleConnection>,
        path: &RemotePath,
    ) -> Option<Result<bool, RemoteError>> {
        let fetch = self.ahead.guesses.lock().fetch(path)?;
        let (directory, name) = (path.parent()?, path.name()?);
        let ino = self.state.lock().inodes.number(fetch.parent, path, &name);
        let file = FileId(ino.0);
        let before = self.listings.mark(&directory);
        let (record, version) = self.small_file(&directory, &name, self.options.dir_timeout)?;
        let is_ours = self.content_of(ino).is_some_and(|content| content.lock().is_authority());
        if is_ours || !self.is_settled(&record) || self.server.holds(file, path, &version) {
            return None;
        }
        Some(self.fetch_whole(connection, path, &version).map(|(bytes, entry, asked)| {
            let entry = Entry { name: name.clone(), ..entry };
            let is_same = FileVersion::of(&entry).is_some_and(|now| now.agrees_with(&version));
            self.listings.answered(&directory, &name, Some(entry), before, asked.on_our_clock);
            if !is_same || self.listings.mark(&directory) != before {
                return false;
            }
            self.server.insert(file, path, &version, &bytes, asked.at);
            if self.listings.mark(&directory) != before {
                // Changed here in this very moment: what is stored later may look the same.
                self.server.forget_unread(|other| other == file);
                return false;
            }
            true
        }))
    }

    /// All bytes of a file, with the proof of its end; and what the server says it is behind that, with when it was asked at the earliest.
    fn fetch_whole(
        &self,
        connection: Box<dyn IdleConnection>,
        path: &RemotePath,
        version: &FileVersion,
    ) -> Result<(Vec<u8>, Entry, Asked), RemoteError> {
        let asked = self.asked_now();
        let Fetched { bytes, entry } = connection.fetch(path, version.size)?;
        // The question went out before the bytes came: where they took long, its answer would soon be too old for an open.
        match entry.filter(|_| asked.at.elapsed() <= self.options.attr_timeout / ANSWER_AGE_PART) {
            Some(entry) => Ok((bytes, entry, asked)),
            None => {
                let asked = self.asked_now();
                Ok((bytes, self.server.for_thread().stat(path)?, asked))
            }
        }
    }

    fn asked_now(&self) -> Asked {
        Asked { on_our_clock: self.clock.instant(), at: Instant::now() }
    }

    /// Waits for a file that is being fetched ahead, as long as that usually takes; who opens it would ask for the same.
    pub(in crate::filesystem) fn await_fetch(&self, access: Access, path: &RemotePath) -> FilesystemResult<()> {
        let job = Job::Read(path.clone());
        if self.ahead.is_on() && self.ahead.is_pending(&job) {
            self.server.ask(access)?;
            self.ahead.await_running(&job);
        }
        Ok(())
    }
}

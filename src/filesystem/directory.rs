//! Reading directories.
//!
//! A handle holds the entries of one moment, so that names neither repeat nor get lost while others come and
//! go; a cookie is an entry's place among them. Of a directory with many names it holds a listing that is on its way: names are
//! read as they come, and the end only when it has come.

use super::handles::{Handle, HandleKind, Names};
use super::{Access, DirectoryEntry, Filesystem, FilesystemError, FilesystemResult, HandleId, InodeNumber};
use crate::cache::listings::{Coming, Known, Record, Snapshot};
use crate::protocol::{Entry, EntryKind, RemotePath};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The cookie behind `..`; an entry's is its place and this and one more.
const COOKIE_BASE: u64 = 2;

/// Attributes that come with names are believed at least so long, while they are young enough.
const PLUS_TTL: Duration = Duration::from_secs(1);
/// And so long however old they are.
const PLUS_TTL_MIN: Duration = Duration::from_millis(100);

/// An entry and its place in the listing.
type Placed = (usize, Arc<Record>);

/// Part of what is read from a directory.
struct Page {
    entries: Vec<Placed>,
    /// Where there are no more: whether the listing was cut short.
    end: Option<bool>,
}

impl Names {
    /// Whether nothing is left to be read behind `cookie`.
    fn is_at_end(&self, cookie: u64) -> bool {
        match self {
            Self::Whole(snapshot) => snapshot.entries_from(place_of(cookie)).next().is_none(),
            Self::Coming(_) => false,
        }
    }
}

/// The place in the listing of the first entry behind `cookie`.
fn place_of(cookie: u64) -> usize {
    usize::try_from(cookie.saturating_sub(COOKIE_BASE)).unwrap_or(usize::MAX)
}

impl Filesystem {
    /// Opens a directory: the entries read through the handle are those of one moment.
    ///
    /// # Errors
    /// Those of the listing; a failure is never an empty directory.
    pub fn open_directory(&self, access: Access, ino: InodeNumber) -> FilesystemResult<HandleId> {
        let path = self.directory_path(ino)?;
        let snapshot = match self.known_snapshot(&path) {
            Some(snapshot) => snapshot,
            None => {
                self.note_walk(access, ino, &path);
                self.list(access, &path, self.shown_age_max(&path))?
            }
        };
        self.opened(ino, &path, Names::Whole(snapshot))
    }

    /// As [`Self::open_directory`], but a directory with many names is open as soon as there is something to read, and `early` is given
    /// its handle then; the rest comes until this returns, with `None`. Reading waits for it, and fails where it does not come.
    ///
    /// # Errors
    /// As for [`Self::open_directory`], where `early` was given nothing.
    pub fn open_directory_early(
        &self,
        access: Access,
        ino: InodeNumber,
        early: &mut dyn FnMut(HandleId),
    ) -> FilesystemResult<Option<HandleId>> {
        let path = self.directory_path(ino)?;
        let age_max = self.shown_age_max(&path);
        if let Some(snapshot) = self.listings.get_snapshot(&path, age_max, self.clock.instant()) {
            return self.opened(ino, &path, Names::Whole(snapshot)).map(Some);
        }
        self.note_walk(access, ino, &path);
        let mut is_open = false;
        let listed = self.list_early(
            access,
            &path,
            age_max,
            Some(&mut |coming| {
                if let Ok(handle) = self.opened(ino, &path, Names::Coming(coming)) {
                    is_open = true;
                    early(handle);
                }
            }),
        );
        match listed {
            Ok(Some(snapshot)) if !is_open => self.opened(ino, &path, Names::Whole(snapshot)).map(Some),
            Err(error) if !is_open => Err(error),
            // Whoever reads is told of a failure.
            _ => Ok(None),
        }
    }

    fn opened(&self, ino: InodeNumber, path: &RemotePath, names: Names) -> FilesystemResult<HandleId> {
        self.note_walked(ino, path);
        let mut state = self.state.lock();
        let inode = state.inodes.get_mut(ino).ok_or(FilesystemError::Stale)?;
        inode.handles += 1;
        Ok(state.handles.insert(Handle { ino, kind: HandleKind::Directory(names) }))
    }

    fn snapshot(&self, access: Access, path: &RemotePath) -> FilesystemResult<Arc<Snapshot>> {
        let age_max = self.shown_age_max(path);
        match self.listings.get_snapshot(path, age_max, self.clock.instant()) {
            Some(snapshot) => Ok(snapshot),
            None => self.list(access, path, age_max),
        }
    }

    /// Reads up to `entries_max` entries behind `cookie` (0: from the beginning, as of now); empty at the end.
    /// `plus` asks for attributes too.
    ///
    /// # Errors
    /// Those of the listing. Behind the last entry [`FilesystemError::Failed`] where the server cut the listing short, and behind any
    /// where the directory went away meanwhile: who mirrors the directory must not take what is missing for removed.
    pub fn read_directory(
        &self,
        access: Access,
        handle: HandleId,
        cookie: u64,
        entries_max: usize,
        plus: bool,
    ) -> FilesystemResult<Vec<DirectoryEntry>> {
        match self.read_page(access, handle, cookie, entries_max, plus) {
            // A C library takes ENOENT for the end of the directory.
            Err(FilesystemError::NotFound | FilesystemError::Stale) if cookie > 0 => {
                Err(FilesystemError::Failed { reason: "this directory went away while it was being read".into() })
            }
            page => page,
        }
    }

    fn read_page(
        &self,
        access: Access,
        handle: HandleId,
        cookie: u64,
        entries_max: usize,
        plus: bool,
    ) -> FilesystemResult<Vec<DirectoryEntry>> {
        let (ino, held) = match self.state.lock().handles.get(handle)? {
            Handle { ino, kind: HandleKind::Directory(names) } => (*ino, names.clone()),
            Handle { .. } => return Err(FilesystemError::BadHandle),
        };
        let directory = match self.directory_path(ino) {
            Ok(path) => path,
            // A directory that was removed while it is open is empty, and one that was read to its end has no more.
            Err(FilesystemError::Stale) if cookie == 0 || held.is_at_end(cookie) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = match held {
            // Who reads it for the first time: nothing could be newer.
            Names::Coming(coming) if cookie > 0 || !coming.has_landed() => Names::Coming(coming),
            Names::Whole(snapshot) if cookie > 0 => Names::Whole(snapshot),
            _ => Names::Whole(self.snapshot(access, &directory)?),
        };
        let first = place_of(cookie);
        let page = match &names {
            Names::Whole(snapshot) => {
                let entries = snapshot.entries_from(first).take(entries_max);
                let entries: Vec<Placed> = entries.map(|(place, record)| (place, Arc::clone(record))).collect();
                let end = entries.is_empty().then(|| snapshot.is_cut_short());
                Page { entries, end }
            }
            Names::Coming(coming) => self.coming_page(access, &directory, coming, first, entries_max, plus)?,
        };
        let entries = if plus { self.with_exact_times(access, &directory, page.entries)? } else { page.entries };
        if page.end == Some(true) && cookie >= COOKIE_BASE {
            return Err(FilesystemError::Failed {
                reason: "the server cut the listing of this directory short".into(),
            });
        }
        if let (0, Names::Whole(snapshot)) = (cookie, names) {
            self.state.lock().handles.set_snapshot(handle, snapshot);
        }
        let mut shown = self.dots(ino, cookie);
        let age_max = self.shown_age_max(&directory);
        for (place, record) in entries {
            let mut entry = self.directory_entry(ino, &directory, place, &record.entry, plus);
            if let Some(found) = &mut entry.found {
                found.ttl = self.plus_ttl(record.confirmed, age_max);
            }
            shown.push(entry);
        }
        shown.truncate(entries_max);
        Ok(shown)
    }

    /// Part of a listing that is on its way, waiting for it where nothing of that part is there.
    fn coming_page(
        &self,
        access: Access,
        directory: &RemotePath,
        coming: &Coming,
        mut first: usize,
        entries_max: usize,
        plus: bool,
    ) -> FilesystemResult<Page> {
        loop {
            let (records, landed) = coming.page(first, entries_max)?;
            // Their times are asked for where the listing is kept.
            let wants_more = plus && landed.is_none() && records.iter().any(|record| self.wants_exact_time(record));
            if records.is_empty() || wants_more {
                if let Some(snapshot) = landed {
                    return Ok(Page { entries: Vec::new(), end: Some(snapshot.is_cut_short()) });
                }
                self.server.ask(access)?;
                let awaited = if wants_more { usize::MAX } else { first };
                if !coming.wait(awaited, self.options.operation_timeout) {
                    return Err(FilesystemError::TimedOut { during: "the rest of a listing".into() });
                }
                continue;
            }
            let count = records.len();
            let is_there = |record: &Arc<Record>| match &landed {
                Some(snapshot) => snapshot.get(&record.entry.name).is_some(),
                None => self.is_still_there(directory, record, coming.begun()),
            };
            let placed = records.into_iter().enumerate().map(|(place, record)| (first + place, record));
            let entries: Vec<Placed> = placed.filter(|(_, record)| is_there(record)).collect();
            if !entries.is_empty() {
                return Ok(Page { entries, end: None });
            }
            first += count;
        }
    }

    /// Whether nothing that is known since `begun` says that a name is gone.
    fn is_still_there(&self, directory: &RemotePath, record: &Record, begun: Instant) -> bool {
        let known = self.listings.get(directory, &record.entry.name, Duration::MAX, self.clock.instant());
        !matches!(known, Known::Absent(at) if at >= begun)
    }

    /// `.` and `..`, as far as they lie behind `cookie`.
    fn dots(&self, ino: InodeNumber, cookie: u64) -> Vec<DirectoryEntry> {
        let parent = {
            let state = self.state.lock();
            let place = state.inodes.get(ino).and_then(|inode| inode.place.clone());
            place.map_or(InodeNumber::ROOT, |(parent, _)| parent)
        };
        let dot = |name: &[u8], ino, next_cookie| DirectoryEntry {
            name: name.into(),
            ino,
            kind: EntryKind::Directory,
            next_cookie,
            found: None,
        };
        let both = [dot(b".", ino, 1), dot(b"..", parent, 2)];
        both.into_iter().filter(|entry| entry.next_cookie > cookie).collect()
    }

    /// The entries as they are known now, with exact times where the listing had none.
    fn with_exact_times(
        &self,
        access: Access,
        directory: &RemotePath,
        page: Vec<Placed>,
    ) -> FilesystemResult<Vec<Placed>> {
        let now = self.clock.instant();
        let mut exact = Vec::with_capacity(page.len());
        for (place, listed) in page {
            let known = || self.listings.get(directory, &listed.entry.name, Duration::MAX, now);
            let record = match known() {
                Known::Present(record) if self.wants_exact_time(&record) => {
                    self.fetch_times(access, directory, &listed.entry.name)?;
                    known()
                }
                other => other,
            };
            let newer = match record {
                Known::Present(record) if record.confirmed >= listed.confirmed => record,
                _ => listed,
            };
            exact.push((place, newer));
        }
        Ok(exact)
    }

    fn directory_entry(
        &self,
        parent: InodeNumber,
        directory: &RemotePath,
        place: usize,
        entry: &Entry,
        plus: bool,
    ) -> DirectoryEntry {
        let next_cookie = place as u64 + COOKIE_BASE + 1;
        let local = self.local_child(parent, &entry.name);
        let (ino, shown) = local.unwrap_or_else(|| {
            if let Some(known) = self.state.lock().inodes.child(parent, &entry.name) {
                return (known, entry.clone());
            }
            let path = directory.join(&entry.name);
            (self.state.lock().inodes.number(parent, &path, &entry.name), entry.clone())
        });
        let found = plus.then(|| {
            let mut shown = shown;
            self.overrides.apply(&directory.join(&entry.name), &mut shown);
            self.found(ino, &shown)
        });
        DirectoryEntry { name: entry.name.as_bytes().into(), ino, kind: entry.kind, next_cookie, found }
    }

    /// As [`Self::ttl_left`], for what comes by thousands: the kernel asks again at once for what it may not believe, and who reads a directory
    /// comes back to its names only when it has them all.
    fn plus_ttl(&self, at: Instant, age_max: Duration) -> Duration {
        let age = self.clock.instant().saturating_duration_since(at);
        let usual = self.options.attr_timeout.max(PLUS_TTL);
        age_max.max(usual).saturating_sub(age).clamp(PLUS_TTL_MIN, usual)
    }

    /// Counts a lookup for an entry of `handle` that the kernel has taken with its attributes; call it before the
    /// reply is sent.
    pub fn remember(&self, handle: HandleId, entry: &DirectoryEntry) {
        let Ok(name) = crate::protocol::Name::new(&entry.name) else { return };
        let mut state = self.state.lock();
        let Ok(parent) = state.handles.get(handle).map(|handle| handle.ino) else { return };
        let Some(directory) = state.inodes.path(parent) else { return };
        let ino = state.inodes.ensure(parent, &directory.join(&name), &name, entry.kind);
        if ino == entry.ino {
            state.inodes.look_up(ino);
        } else {
            // The name changed hands between the page and now: the kernel holds a number that stands for nothing, and
            // is told so (stale) when it uses it.
            state.inodes.drop_unused(ino);
        }
    }

    /// Closes a directory.
    pub fn release_directory(&self, handle: HandleId) {
        let mut state = self.state.lock();
        let Some(Handle { ino, .. }) = state.handles.remove(handle) else { return };
        if let Some(inode) = state.inodes.get_mut(ino) {
            inode.handles = inode.handles.saturating_sub(1);
        }
        state.inodes.drop_unused(ino);
    }
}

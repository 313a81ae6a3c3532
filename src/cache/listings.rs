//! Directory listings: what the server said of names, how long ago, and what this mount has changed since.
//!
//! A directory is known by a [`Snapshot`] (one listing), by answers about single names, or by both. Each directory
//! has at most one listing in flight; whoever else needs it waits for that one. Nothing here asks the server:
//! whoever gets a [`Lead`] does, with no lock held, and brings back what it got.
//!
//! A listing that began before a local change cannot know of it, so changes made while it is in flight are laid
//! over it when it comes in. An answer about one name that was asked for before a local change is not kept.

mod directory;
mod flight;
mod refine;
mod renewal;
mod snapshot;
#[cfg(test)]
mod tests;

pub use flight::{Coming, ComingPage, Flight, Follower, Lead, Shown};
pub use refine::needs_exact_time;
pub use snapshot::{Record, Snapshot};

use crate::protocol::{Entry, Name, RemotePath, Timestamp};
use crate::remote::{Listing, RemoteResult};
use directory::Directory;
use lru::LruCache;
use parking_lot::Mutex;
use renewal::Use;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// It is there, with what was said of it.
    Present(Arc<Record>),
    /// It was proved not to be there at this instant.
    Absent(Instant),
    /// Nothing that is young enough; the server has to be asked.
    Unknown,
}

/// The state of a directory when a question about one of its names went out: an answer is only kept if it still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    directory: u64,
    changes: u64,
}

/// All directories of a mount.
pub struct Listings {
    table: Arc<Mutex<Table>>,
    entries_max: usize,
    directory_times_kept: Duration,
}

/// The directories, the least recently used first to go, and how many entries they hold together.
struct Table {
    directories: LruCache<RemotePath, Directory>,
    entries: usize,
    next_id: u64,
    /// How long the shortest listing took.
    shortest: Option<Duration>,
    /// Until then what renewals have cost is being paid off, for all directories together.
    renewals_paid_at: Option<Instant>,
}

impl Listings {
    /// An empty cache of at most about `entries_max` entries. More than that is kept only while a single directory has more,
    /// or while entries exist on this side alone.
    pub fn new(entries_max: usize) -> Self {
        let table = Table {
            directories: LruCache::unbounded(),
            entries: 0,
            next_id: 1,
            shortest: None,
            renewals_paid_at: None,
        };
        Self { table: Arc::new(Mutex::new(table)), entries_max, directory_times_kept: Duration::ZERO }
    }

    /// The time of a directory that a listing shows stays so long, also when its parent is listed again for other names.
    #[must_use]
    pub fn keeping_directory_times(self, directory_times_kept: Duration) -> Self {
        Self { directory_times_kept, ..self }
    }

    /// What is known of `name` that is no older than `age_max`.
    pub fn get(&self, directory: &RemotePath, name: &Name, age_max: Duration, now: Instant) -> Known {
        let mut table = self.table.lock();
        table.directories.get(directory).map_or(Known::Unknown, |found| found.get(name, age_max, now))
    }

    /// The whole directory, if it was listed within `age_max`; with [`Duration::MAX`] whatever is known of it.
    pub fn get_snapshot(&self, directory: &RemotePath, age_max: Duration, now: Instant) -> Option<Arc<Snapshot>> {
        let mut table = self.table.lock();
        let found = table.directories.get(directory)?;
        let snapshot = found.snapshot.clone()?;
        if !found.is_sure() && age_max != Duration::MAX {
            return None;
        }
        (now.saturating_duration_since(snapshot.listed_at()) <= age_max).then_some(snapshot)
    }

    /// Whether the next question should be a listing of the whole directory: after questions about single names that
    /// together cost about what the listing will.
    pub fn prefers_listing(&self, directory: &RemotePath) -> bool {
        self.table.lock().directories.peek(directory).is_some_and(Directory::prefers_listing)
    }

    /// The state of a directory as it is for what comes from the server unasked.
    pub fn mark(&self, directory: &RemotePath) -> Asked {
        self.change(directory, |found| Asked { directory: found.id, changes: found.changes })
    }

    /// To be called before a question about a single name of `directory` goes out.
    pub fn asked(&self, directory: &RemotePath) -> Asked {
        self.change(directory, |found| {
            found.questions = found.questions.saturating_add(1);
            Asked { directory: found.id, changes: found.changes }
        })
    }

    /// Keeps the server's answer about one name (`None`: proved absent), unless something has changed here since `asked`.
    /// Returns what is then known: the answer, refined by what was known before.
    pub fn answered(
        &self,
        directory: &RemotePath,
        name: &Name,
        entry: Option<Entry>,
        asked: Asked,
        now: Instant,
    ) -> Option<Entry> {
        self.change(directory, |found| {
            let entry = entry.map(|entry| found.refined(name, entry));
            if found.id == asked.directory && found.changes == asked.changes {
                found.apply(name, entry.clone(), now);
            }
            entry
        })
    }

    /// A name is there by this mount's doing, as the server has confirmed.
    pub fn insert(&self, directory: &RemotePath, entry: Entry, now: Instant) {
        self.change(directory, |found| {
            found.changes += 1;
            let name = entry.name.clone();
            // A listing that lands before the name is unpinned lays over itself what is pinned.
            if let Some(pinned) = found.pinned.get_mut(&name) {
                pinned.clone_from(&entry);
            }
            found.apply(&name, Some(entry), now);
        });
    }

    /// A name is gone by this mount's doing, as the server has confirmed.
    pub fn remove(&self, directory: &RemotePath, name: &Name, now: Instant) {
        self.change(directory, |found| {
            found.changes += 1;
            found.pinned.remove(name);
            found.apply(name, None, now);
        });
    }

    /// A name exists on this side alone: it is shown whatever the server lists, until [`Self::unpin`] or [`Self::remove`].
    pub fn pin(&self, directory: &RemotePath, entry: Entry, now: Instant) {
        self.change(directory, |found| {
            found.changes += 1;
            let name = entry.name.clone();
            found.pinned.insert(name.clone(), entry.clone());
            found.apply(&name, Some(entry), now);
        });
    }

    /// The name is no longer of this side alone; what the server lists holds again.
    pub fn unpin(&self, directory: &RemotePath, name: &Name) {
        self.change(directory, |found| {
            found.pinned.remove(name);
        });
    }

    /// What was known of one name, present or absent, is no longer believed: something was tried and its result got lost.
    pub fn distrust(&self, directory: &RemotePath, name: &Name, now: Instant) {
        let mut table = self.table.lock();
        if let Some(found) = table.directories.get_mut(directory) {
            found.distrust(name, now);
        }
    }

    /// Files whose time is not known to the second and was not asked for yet: up to `files_max`, those from `first` on
    /// (in the listing's order) before the others.
    pub fn without_exact_time(&self, directory: &RemotePath, first: &Name, files_max: usize) -> Vec<Arc<Record>> {
        let table = self.table.lock();
        table.directories.peek(directory).map_or_else(Vec::new, |found| found.without_exact_time(first, files_max))
    }

    /// Lays exact times over the entries they were asked for at `at`, unless an entry is another one by now; a `None` is not
    /// asked for again until the file changes.
    pub fn refine_times(
        &self,
        directory: &RemotePath,
        asked: &[Arc<Record>],
        times: &[Option<Timestamp>],
        at: Instant,
    ) {
        self.change(directory, |found| {
            for (record, time) in asked.iter().zip(times) {
                found.refine_time(record, *time, at);
            }
        });
    }

    /// Forgets a directory and all below it, except for what exists on this side alone. Listings in flight are not kept.
    pub fn forget_tree(&self, path: &RemotePath) {
        let mut table = self.table.lock();
        let below: Vec<RemotePath> = table
            .directories
            .iter()
            .filter(|(directory, _)| directory.is_at_or_below(path))
            .map(|(directory, _)| directory.clone())
            .collect();
        for directory in below {
            let Some(mut gone) = table.directories.pop(&directory) else { continue };
            table.entries = table.entries.saturating_sub(gone.entries());
            gone.orphan_flights();
            if !gone.pinned.is_empty() {
                let mut kept = Directory::new(table.next_id);
                table.next_id += 1;
                let now = Instant::now();
                for (name, entry) in std::mem::take(&mut gone.pinned) {
                    kept.apply(&name, Some(entry.clone()), now);
                    kept.pinned.insert(name, entry);
                }
                table.entries += kept.entries();
                table.directories.put(directory, kept);
            }
        }
    }

    /// Joins the listing in flight, or starts one that the caller has to bring to its end.
    pub fn begin_listing(&self, directory: &RemotePath, now: Instant) -> Flight {
        self.begin(directory, now, false)
    }

    /// As [`Self::begin_listing`], for a listing that nobody waits for: who joins it may take it over.
    pub fn begin_listing_ahead(&self, directory: &RemotePath, now: Instant) -> Flight {
        self.begin(directory, now, true)
    }

    /// Ends what is in flight for those who come, if nobody has waited for it from the beginning: what it brings is not kept.
    pub fn take_over(&self, follower: &Follower) {
        if let (true, Some(found)) = (follower.is_ahead(), self.table.lock().directories.peek_mut(follower.directory()))
        {
            found.listing.leave(follower.landing());
        }
    }

    /// How long the last listing of this directory took, or else the shortest one of all.
    pub fn usual_time(&self, directory: &RemotePath) -> Duration {
        let table = self.table.lock();
        let took = table.directories.peek(directory).map(|found| found.renewal.took).filter(|took| !took.is_zero());
        took.or(table.shortest).unwrap_or_default()
    }

    /// How long the last listing of this directory took, if it has brought `names_min` or more.
    pub fn time_of_many(&self, directory: &RemotePath, names_min: usize) -> Option<Duration> {
        let table = self.table.lock();
        let found = table.directories.peek(directory)?;
        (found.snapshot.as_ref()?.len() >= names_min).then_some(found.renewal.took)
    }

    fn begin(&self, directory: &RemotePath, now: Instant, ahead: bool) -> Flight {
        let table = Arc::clone(&self.table);
        self.change(directory, |found| {
            let flight = found.listing.begin(table, directory, found.id, now, ahead);
            if let Flight::Lead(_) = flight {
                found.renewal.begun_at = Some(now);
            }
            flight
        })
    }

    /// When the listing in flight began, if one is.
    pub fn listing_since(&self, directory: &RemotePath) -> Option<Instant> {
        self.table.lock().directories.peek(directory)?.listing.begun()
    }

    /// Somebody wants to know of this name something that may be as old as `age_max`: whether its directory is to be listed again in the
    /// background now, so that the next one finds it young enough.
    pub fn used(&self, directory: &RemotePath, name: &Name, age_max: Duration, now: Instant) -> bool {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        let shortest = table.shortest.unwrap_or_default();
        let Some(found) = table.directories.get_mut(directory) else { return false };
        // One that does not show everything is listed when somebody asks, and warned of then.
        let Some(snapshot) = found.snapshot.as_ref().filter(|snapshot| snapshot.is_complete()) else { return false };
        let listed_at = snapshot.listed_at();
        let wanted = if snapshot.get(name).is_some() { Use::OneName } else { Use::Listing };
        let is_due = found.renewal.used(listed_at, wanted, age_max, shortest, now) && !found.listing.is_flying();
        // What is listed for who waits, where nobody does it before, is paid for by that.
        if !is_due || wanted == Use::OneName && table.renewals_paid_at.is_some_and(|paid_at| paid_at > now) {
            return false;
        }
        let paid_at = now.checked_add(found.renewal.pause(wanted, shortest));
        table.renewals_paid_at = table.renewals_paid_at.max(paid_at);
        // Also where no connection is to be had for it.
        found.renewal.begun_at = Some(now);
        true
    }

    /// How long a listing took.
    pub fn took(&self, directory: &RemotePath, time: Duration) {
        let mut table = self.table.lock();
        table.shortest = Some(table.shortest.map_or(time, |shortest| shortest.min(time)));
        if let Some(found) = table.directories.peek_mut(directory) {
            found.renewal.took = time;
        }
    }

    /// How many wait for the listing in flight.
    #[cfg(test)]
    pub(crate) fn followers(&self, directory: &RemotePath) -> usize {
        let table = self.table.lock();
        table.directories.peek(directory).map_or(0, |found| found.listing.followers())
    }

    /// The same for a batch of exact times; its [`Lead`] ends with [`Lead::finish_times`].
    pub fn begin_times(&self, directory: &RemotePath, now: Instant) -> Flight {
        let table = Arc::clone(&self.table);
        self.change(directory, |found| found.times.begin(table, directory, found.id, now, false))
    }

    /// Brings in what the server listed, with what changed here meanwhile laid over it, and wakes those who wait.
    ///
    /// # Errors
    /// The listing's own.
    pub fn install(&self, lead: Lead, listed: RemoteResult<Listing>) -> RemoteResult<Arc<Snapshot>> {
        let outcome = listed.map(|listing| self.take_in(&lead, listing));
        lead.finish(outcome.clone());
        outcome
    }

    fn take_in(&self, lead: &Lead, listing: Listing) -> Arc<Snapshot> {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        let (directory, id, begun) = lead.identity();
        match table.directories.get_mut(directory) {
            Some(found) if found.id == id && lead.is_current(&found.listing) => {
                let before = found.entries();
                // Who archives a directory that was written to before takes another time in the middle for a change.
                let snapshot = found.install(listing, begun, self.directory_times_kept);
                table.entries = (table.entries + found.entries()).saturating_sub(before);
                self.evict(table, directory);
                snapshot
            }
            // The directory was renamed, removed or forgotten meanwhile: the answer serves those who asked, and no one else.
            _ => Arc::new(Snapshot::new(listing, begun, None)),
        }
    }

    /// Entries held in all; for tests and status.
    pub fn entries(&self) -> usize {
        self.table.lock().entries
    }

    /// Runs `work` on a directory, made if need be, and keeps the count of entries right.
    fn change<T>(&self, directory: &RemotePath, work: impl FnOnce(&mut Directory) -> T) -> T {
        let mut guard = self.table.lock();
        let table = &mut *guard;
        let id = table.next_id;
        let before = match table.directories.peek(directory) {
            Some(found) => found.entries(),
            None => {
                table.next_id += 1;
                table.directories.put(directory.clone(), Directory::new(id));
                0
            }
        };
        let found = table.directories.get_mut(directory).expect("it was there, or was put there, under this lock");
        let result = work(found);
        table.entries = (table.entries + found.entries()).saturating_sub(before);
        self.evict(table, directory);
        result
    }

    /// Lets go of the least recently used directories, but not of `current`, nor of one that others wait for.
    fn evict(&self, table: &mut Table, current: &RemotePath) {
        // Every directory is looked at once at most, so a cache full of what cannot go is no endless loop.
        let mut attempts = table.directories.len();
        while table.entries > self.entries_max && attempts > 0 {
            attempts -= 1;
            let Some((path, directory)) = table.directories.pop_lru() else { return };
            if path == *current || directory.is_held() {
                table.directories.put(path, directory);
            } else {
                table.entries = table.entries.saturating_sub(directory.entries());
            }
        }
    }
}

//! Directories that a walk comes to next: the subdirectories of where it is, then those beside it, then those beside the
//! ones above, each with what lies below it.

use super::Job;
use super::guesses::{EARLY_MAX, Kind, Step};
use super::order::{Order, Row};
use crate::cache::listings::Snapshot;
use crate::filesystem::{Access, Filesystem, InodeNumber};
use crate::protocol::{EntryKind, Name, RemotePath};
use std::sync::Arc;

/// Directories that are guessed at once at most.
const GUESSES_MAX: usize = 32;
/// Directories that are looked at for that.
const LOOKS_MAX: usize = 512;
/// Entries that cost as much as one of these looks.
const ENTRIES_PER_LOOK: usize = 16;
/// With more entries than this no order is looked for.
const ENTRIES_MAX: usize = 50_000;

/// The directories found so far that are to be listed.
struct Upcoming {
    order: Order,
    found: Vec<RemotePath>,
    looks: usize,
    max: usize,
}

impl Upcoming {
    fn is_full(&self) -> bool {
        self.found.len() >= self.max || self.looks >= LOOKS_MAX
    }
}

impl Filesystem {
    /// Somebody waits for the listing of a directory: what comes beside it can be asked for meanwhile, and what is below it soon.
    pub(in crate::filesystem) fn note_walk(&self, access: Access, ino: InodeNumber, directory: &RemotePath) {
        if !self.ahead.is_on() || self.server.ask(access).is_err() {
            return;
        }
        let is_on_the_way = self.ahead.guesses.lock().is_on_the_way(directory, self.clock.instant());
        if is_on_the_way {
            self.server.prepare(1);
        }
        self.go_on_walking(ino, directory);
    }

    /// Somebody has listed a directory.
    pub(in crate::filesystem) fn note_walked(&self, ino: InodeNumber, directory: &RemotePath) {
        if !self.ahead.is_on() {
            return;
        }
        let now = self.clock.instant();
        let is_coming = self.ahead.is_pending(&Job::List(directory.clone()));
        self.ahead.guesses.lock().wants_listing(directory, is_coming, self.options.dir_timeout, now);
        self.go_on_walking(ino, directory);
        self.ahead.guesses.lock().was_listed(directory, now);
    }

    fn go_on_walking(&self, ino: InodeNumber, directory: &RemotePath) {
        let Some((parent_ino, name)) = self.state.lock().inodes.get(ino).and_then(|inode| inode.place.clone()) else {
            return;
        };
        let Some(parent) = directory.parent() else { return };
        if let Some(order) = self.step(&parent, parent_ino, Kind::Directories, &name) {
            self.ahead.guesses.lock().walk = Some((directory.clone(), order));
            self.guess_listings(directory, order);
        }
    }

    /// A step of a program through a directory: the order that it follows, if it is known by now.
    pub(super) fn step(&self, directory: &RemotePath, ino: InodeNumber, kind: Kind, name: &Name) -> Option<Order> {
        let lacks_row = self.ahead.guesses.lock().lacks_row(directory, kind, name);
        if lacks_row {
            let snapshot = self.known_snapshot(directory).filter(|snapshot| snapshot.len() <= ENTRIES_MAX)?;
            let row = self.row(directory, ino, kind, &snapshot);
            self.ahead.guesses.lock().put_row(directory, kind, row);
        }
        let now = self.clock.instant();
        let Step { begins, order } = self.ahead.guesses.lock().step(directory, kind, name, now);
        if begins {
            // It will soon be known what comes next.
            self.server.prepare(EARLY_MAX);
        }
        order
    }

    fn row(&self, directory: &RemotePath, ino: InodeNumber, kind: Kind, snapshot: &Snapshot) -> Row {
        let wanted = match kind {
            Kind::Directories => EntryKind::Directory,
            Kind::Files => EntryKind::File,
        };
        let entries = snapshot.entries_from(0).filter(|(_, record)| record.entry.kind == wanted);
        let names: Vec<Name> = entries.map(|(_, record)| record.entry.name.clone()).collect();
        let paths: Vec<RemotePath> = names.iter().map(|name| directory.join(name)).collect();
        let numbers: Vec<u64> = {
            let state = self.state.lock();
            names.iter().zip(&paths).map(|(name, path)| state.inodes.number(ino, path, name).0).collect()
        };
        Row::new(names.into_iter().zip(numbers).collect())
    }

    pub(in crate::filesystem) fn known_snapshot(&self, directory: &RemotePath) -> Option<Arc<Snapshot>> {
        self.listings.get_snapshot(directory, self.shown_age_max(directory), self.clock.instant())
    }

    /// Has listed what a walk in this order, which has come to `at`, needs next.
    pub(super) fn guess_listings(&self, at: &RemotePath, order: Order) {
        let max = self.ahead.guesses.lock().at_once(at, Kind::Directories, GUESSES_MAX);
        let mut upcoming = Upcoming { order, found: Vec::new(), looks: 0, max };
        self.look_below(at, &mut upcoming);
        let mut here = at.clone();
        while let Some(parent) = here.parent().filter(|_| here != self.root && !upcoming.is_full()) {
            let behind = self.ahead.guesses.lock().behind(&parent, Kind::Directories, order, max);
            let Some(behind) = behind else { break };
            for name in behind {
                self.look_at(&parent.join(&name), &mut upcoming);
            }
            here = parent;
        }
        for directory in upcoming.found {
            let job = Job::List(directory.clone());
            if self.ahead.is_pending(&job) {
                continue;
            }
            if !self.ahead.guesses.lock().guess_listing(&directory) {
                continue;
            }
            if !self.ahead.push(job) {
                self.ahead.guesses.lock().listing_ended(&directory, None, self.clock.instant());
            }
        }
    }

    fn look_at(&self, directory: &RemotePath, upcoming: &mut Upcoming) {
        if upcoming.is_full() {
            return;
        }
        upcoming.looks += 1;
        match self.known_snapshot(directory) {
            Some(_) => self.look_below(directory, upcoming),
            None => upcoming.found.push(directory.clone()),
        }
    }

    fn look_below(&self, directory: &RemotePath, upcoming: &mut Upcoming) {
        let Some(snapshot) = self.known_snapshot(directory).filter(|snapshot| snapshot.len() <= ENTRIES_MAX) else {
            return;
        };
        upcoming.looks += snapshot.len() / ENTRIES_PER_LOOK;
        // Numbers are computed from paths, whoever the parent is, for what the kernel has not looked up yet.
        let row = self.row(directory, InodeNumber(0), Kind::Directories, &snapshot);
        for name in row.all(upcoming.order) {
            if upcoming.is_full() {
                return;
            }
            self.look_at(&directory.join(name), upcoming);
        }
    }
}

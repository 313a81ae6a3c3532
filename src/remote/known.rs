//! What was learned of the server beside its profile: what only these operations care for.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lru::LruCache;
use parking_lot::Mutex;

use super::leftovers::Leftovers;
use super::names::NameProofs;
use super::ranges::RangeProof;
use super::restart::RestartProof;
use super::status_listing::StatusListings;
use crate::pool::VerdictCell;
use crate::protocol::{Entry, EntryKind, RemotePath};

/// In so many directories MLSD is compared with LIST before it is believed to show symbolic links.
const LISTINGS_COMPARED_MAX: usize = 64;

/// So many directories are warned of at most, each once.
const WARNINGS_MAX: usize = 1000;

/// With more entries than this a listing takes longer than its round trips.
pub(super) const BRIEF_ENTRIES_MAX: usize = 1000;

/// So many large directories are remembered; when there are more, all are forgotten.
const LARGE_MAX: usize = 1000;

/// A directory that itself has so many bytes cannot hold many names: ext4 and XFS take 12 and more for each, tmpfs 20. Zero says nothing.
const SMALL_BYTES_MAX: u64 = 4096;

/// A directory that had so many entries has soon after no more than a brief one.
const SMALL_ENTRIES_MAX: usize = BRIEF_ENTRIES_MAX / 2;

/// So many small directories are remembered.
const SMALL_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// Why a directory is taken to have few entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SmallBy {
    /// Its own size, in the listing of its parent.
    Size,
    /// Its last listing.
    Listing,
}

/// Verdicts on one server, for as long as we are connected.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The answers to MLST repeat the name that was asked for, so that another name is another command's answer.
    pub(super) mlst_repeats_name: VerdictCell,
    /// MLSD shows symbolic links as such, the broken ones too.
    pub(super) mlsd_shows_links: VerdictCell,
    /// How many directories MLSD and LIST were compared in to find that out.
    listings_compared: AtomicUsize,
    /// The proof of REST.
    pub(super) restart: RestartProof,
    /// The proof of RANG.
    pub(super) ranges: RangeProof,
    /// Listings by STAT.
    pub(super) status: StatusListings,
    /// The directories that were warned of.
    warned: Mutex<HashSet<RemotePath>>,
    /// The directories whose listing does not come in a few round trips.
    large: Mutex<HashSet<RemotePath>>,
    /// The directories that are taken to have few entries.
    small: Mutex<Option<LruCache<RemotePath, SmallBy>>>,
    /// A directory has had more entries than its size told.
    sizes_mislead: AtomicBool,
    /// RMD leaves a directory that is not empty as it is.
    pub(super) rmd_keeps_entries: VerdictCell,
    /// DELE leaves directories as they are.
    pub(super) dele_keeps_directories: VerdictCell,
    /// Which odd names it keeps.
    pub(super) names: NameProofs,
    /// What crashed mounts have left behind.
    pub(super) leftovers: Leftovers,
}

impl Known {
    /// Whether one more directory is to be listed in both ways.
    pub(super) fn is_comparing_listings(&self) -> bool {
        !self.mlsd_shows_links.is_yes() && self.listings_compared.load(Ordering::Relaxed) < LISTINGS_COMPARED_MAX
    }

    /// Counts a directory in which both ways said the same.
    pub(super) fn count_equal_listings(&self) {
        self.listings_compared.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nothing was said of this directory before.
    pub(super) fn is_first_warning(&self, directory: &RemotePath) -> bool {
        let mut warned = self.warned.lock();
        warned.len() < WARNINGS_MAX && warned.insert(directory.clone())
    }

    /// A listing of the directory had so many entries.
    pub(super) fn note_entries(&self, directory: &RemotePath, count: usize) {
        if count <= SMALL_ENTRIES_MAX {
            self.set_small(directory.clone(), SmallBy::Listing);
        } else {
            let was_small = self.small.lock().as_mut().and_then(|small| small.pop(directory));
            if count > BRIEF_ENTRIES_MAX && was_small == Some(SmallBy::Size) {
                self.sizes_mislead.store(true, Ordering::Relaxed);
            }
        }
        let mut large = self.large.lock();
        if count <= BRIEF_ENTRIES_MAX {
            large.remove(directory);
            return;
        }
        if large.len() >= LARGE_MAX {
            large.clear();
        }
        large.insert(directory.clone());
    }

    /// A listing of the directory shows these: which of them are small directories.
    pub(super) fn note_subdirectories(&self, directory: &RemotePath, entries: &[Entry]) {
        if self.sizes_mislead.load(Ordering::Relaxed) {
            return;
        }
        let is_small = |entry: &&Entry| {
            entry.kind == EntryKind::Directory && entry.size.is_some_and(|size| (1..=SMALL_BYTES_MAX).contains(&size))
        };
        for entry in entries.iter().filter(is_small) {
            self.set_small(directory.join(&entry.name), SmallBy::Size);
        }
    }

    /// Whether the directory is taken to have few entries.
    pub(super) fn is_small(&self, directory: &RemotePath) -> bool {
        self.small.lock().as_mut().is_some_and(|small| small.get(directory).is_some())
    }

    /// Nothing is known of the directory any more.
    pub(super) fn forget_small(&self, directory: &RemotePath) {
        if let Some(small) = self.small.lock().as_mut() {
            small.pop(directory);
        }
    }

    fn set_small(&self, directory: RemotePath, by: SmallBy) {
        self.small.lock().get_or_insert_with(|| LruCache::new(SMALL_MAX)).put(directory, by);
    }

    /// Whether the last listing of the directory had too many entries to be brief.
    pub(super) fn is_large(&self, directory: &RemotePath) -> bool {
        self.large.lock().contains(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_large_as_its_last_listing_was() {
        let (known, directory) = (Known::default(), RemotePath::root());
        for (count, is_large) in [(1000, false), (1001, true), (2, false), (5000, true)] {
            known.note_entries(&directory, count);
            assert_eq!(known.is_large(&directory), is_large, "{count}");
        }
        for number in 0..2 * LARGE_MAX {
            known.note_entries(&RemotePath::parse(format!("/{number}").as_bytes()).unwrap(), 5000);
        }
        assert!(known.large.lock().len() <= LARGE_MAX);
    }
}

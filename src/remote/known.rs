//! What was learned of the server beside its profile: what only these operations care for.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::leftovers::Leftovers;
use super::names::NameProofs;
use super::ranges::RangeProof;
use super::restart::RestartProof;
use super::status_listing::StatusListings;
use crate::pool::VerdictCell;
use crate::protocol::RemotePath;

/// In so many directories MLSD is compared with LIST before it is believed to show symbolic links.
const LISTINGS_COMPARED_MAX: usize = 64;

/// So many directories are warned of at most, each once.
const WARNINGS_MAX: usize = 1000;

/// With more entries than this a listing takes longer than its round trips.
pub(super) const BRIEF_ENTRIES_MAX: usize = 1000;

/// So many large directories are remembered; when there are more, all are forgotten.
const LARGE_MAX: usize = 1000;

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

//! One listing of a directory, with what has changed since patched in.

use super::refine::refine;
use crate::protocol::{Entry, EntryKind, Name, Precision, Timestamp};
use crate::remote::Listing;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An entry, and since when it is believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What is known of the name.
    pub entry: Entry,
    /// When the server, or this mount's own change, last confirmed it.
    pub confirmed: Instant,
    /// The time as a listing gave it, before a finer one replaced it.
    pub(super) listed_time: Option<Timestamp>,
    /// Whether an exact time has been asked for.
    pub(super) time_asked: bool,
    /// Since when listings have shown this time.
    pub(super) shown_since: Instant,
    /// When the time that is shown here was last known as exactly as it is.
    pub(super) exact_at: Instant,
}

impl Record {
    pub(super) fn new(entry: Entry, confirmed: Instant) -> Self {
        let listed_time = entry.modified;
        Self { entry, confirmed, listed_time, time_asked: false, shown_since: confirmed, exact_at: confirmed }
    }

    /// Since when listings have shown this time.
    pub fn shown_since(&self) -> Instant {
        self.shown_since
    }

    /// Whether what is shown is no older than `age_max`, or could not have changed without a listing that shows another time.
    ///
    /// A listing to the minute shows the same time after a change within that minute. Once the minute is over it does not: an exact
    /// time that was asked for later than that holds as long as listings agree.
    pub fn is_exact(&self, age_max: Duration, now: Instant) -> bool {
        let period = match self.listed_time.map(|time| time.precision) {
            None | Some(Precision::Second | Precision::Nanosecond) => return true,
            Some(Precision::Minute) => Duration::from_secs(61),
            Some(Precision::Day) => Duration::from_secs(86_401),
        };
        now.saturating_duration_since(self.exact_at) <= age_max
            || self.exact_at.saturating_duration_since(self.shown_since) >= period
    }
}

/// A directory as of one moment. Entries keep their place while others come and go, so a place is a cookie.
#[derive(Debug, Clone)]
pub struct Snapshot {
    records: Vec<Option<Arc<Record>>>,
    places: HashMap<Name, usize>,
    complete: bool,
    cut_short: bool,
    listed_at: Instant,
}

impl Snapshot {
    /// Takes in a listing that began at `listed_at`, refined by what `before` knew.
    pub(super) fn new(listing: Listing, listed_at: Instant, before: Option<&Self>) -> Self {
        let mut snapshot = Self {
            records: Vec::with_capacity(listing.entries.len()),
            places: HashMap::with_capacity(listing.entries.len()),
            complete: listing.complete,
            cut_short: listing.cut_short,
            listed_at,
        };
        for entry in listing.entries {
            let known = before.and_then(|snapshot| snapshot.get(&entry.name));
            snapshot.put(refine(known.map(|record| &**record), entry, listed_at));
        }
        snapshot
    }

    /// Shows directories with the time that `before` took less than `times_kept` before this listing.
    pub(super) fn keep_directory_times(&mut self, before: &Self, times_kept: Duration) {
        let listed_at = self.listed_at;
        for record in self.records.iter_mut().flatten().filter(|record| record.entry.kind == EntryKind::Directory) {
            let Some(known) = before.get(&record.entry.name).filter(|known| {
                known.entry.kind == EntryKind::Directory
                    && known.entry.modified.is_some()
                    && known.entry.modified != record.entry.modified
                    && listed_at.saturating_duration_since(known.exact_at) < times_kept
            }) else {
                continue;
            };
            let record = Arc::make_mut(record);
            record.entry.modified = known.entry.modified;
            (record.listed_time, record.shown_since, record.exact_at) =
                (known.listed_time, known.shown_since, known.exact_at);
        }
    }

    /// When the listing began.
    pub fn listed_at(&self) -> Instant {
        self.listed_at
    }

    /// Whether a name that is not here is proved absent.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether there are names that the listing did not show.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What is known of `name`.
    pub fn get(&self, name: &Name) -> Option<&Arc<Record>> {
        self.records.get(*self.places.get(name)?)?.as_ref()
    }

    /// The entries from place `first` on, each with its place.
    pub fn entries_from(&self, first: usize) -> impl Iterator<Item = (usize, &Arc<Record>)> {
        let places = self.records.get(first..).unwrap_or_default();
        places.iter().enumerate().filter_map(move |(place, record)| Some((first + place, record.as_ref()?)))
    }

    /// The place of `name` in the order of the listing.
    pub(super) fn place(&self, name: &Name) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Adds or replaces a record.
    pub(super) fn put(&mut self, record: Record) {
        let name = record.entry.name.clone();
        match self.places.get(&name).and_then(|place| self.records.get_mut(*place)) {
            Some(slot) => *slot = Some(Arc::new(record)),
            None => {
                self.places.insert(name, self.records.len());
                self.records.push(Some(Arc::new(record)));
            }
        }
    }

    /// Takes a name out; the other places stay.
    pub(super) fn take(&mut self, name: &Name) {
        if let Some(slot) = self.places.remove(name).and_then(|place| self.records.get_mut(place)) {
            *slot = None;
        }
        // Names that come and go for hours (a mail spool) must not let the places grow for ever.
        if self.records.len() > 64 && self.places.len() * 2 < self.records.len() {
            self.records.retain(Option::is_some);
            for (place, record) in self.records.iter().enumerate() {
                if let Some(record) = record {
                    self.places.insert(record.entry.name.clone(), place);
                }
            }
        }
    }

    /// Changes a record in place.
    pub(super) fn update(&mut self, name: &Name, change: impl FnOnce(&mut Record)) {
        let place = self.places.get(name).copied();
        if let Some(Some(record)) = place.and_then(|place| self.records.get_mut(place)) {
            change(Arc::make_mut(record));
        }
    }
}

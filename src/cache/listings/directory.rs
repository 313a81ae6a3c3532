//! What is known of one directory.

use super::Known;
use super::flight::Flights;
use super::refine::{needs_exact_time, refine};
use super::renewal::Renewal;
use super::snapshot::{Record, Snapshot};
use crate::protocol::{Entry, EntryKind, Name, Timestamp};
use crate::remote::Listing;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers about single names that are kept beside a snapshot; when there are more, all go.
const ANSWERS_MAX: usize = 10_000;

/// Names that may be unsure; when there are more, the whole directory is.
const UNSURE_MAX: usize = 1000;

/// What was said of one name when the directory was not listed, or its listing proves no absence.
struct Answer {
    record: Option<Arc<Record>>,
    at: Instant,
}

/// One directory.
pub(super) struct Directory {
    /// Another one for the same path gets another number, so that late answers do not reach it.
    pub(super) id: u64,
    /// The last listing.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    answers: HashMap<Name, Answer>,
    /// What exists on this side alone.
    pub(super) pinned: HashMap<Name, Entry>,
    /// Names of which nothing is known since then: something was tried, and its result got lost.
    unsure: HashMap<Name, Instant>,
    /// How often this mount has changed something here.
    pub(super) changes: u64,
    /// Single names asked about since the last listing.
    pub(super) questions: u32,
    pub(super) listing: Flights,
    pub(super) times: Flights,
    pub(super) renewal: Renewal,
}

impl Directory {
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            snapshot: None,
            answers: HashMap::new(),
            pinned: HashMap::new(),
            unsure: HashMap::new(),
            changes: 0,
            questions: 0,
            listing: Flights::default(),
            times: Flights::default(),
            renewal: Renewal::default(),
        }
    }

    /// How many entries it counts for: one more than it holds, for an empty one takes memory too.
    pub(super) fn entries(&self) -> usize {
        1 + self.snapshot.as_ref().map_or(0, |snapshot| snapshot.len()) + self.answers.len()
    }

    /// Whether it cannot be forgotten now.
    pub(super) fn is_held(&self) -> bool {
        !self.pinned.is_empty() || self.listing.is_flying() || self.times.is_flying()
    }

    pub(super) fn get(&self, name: &Name, age_max: Duration, now: Instant) -> Known {
        let young = |at: Instant| now.saturating_duration_since(at) <= age_max;
        if self.pinned.contains_key(name)
            && let Some(record) = self.record(name)
        {
            return Known::Present(Arc::clone(record));
        }
        if self.unsure.contains_key(name) {
            return Known::Unknown;
        }
        if let Some(answer) = self.answers.get(name).filter(|answer| young(answer.at)) {
            return answer.record.clone().map_or(Known::Absent(answer.at), Known::Present);
        }
        let listed = self.snapshot.as_ref().map(|snapshot| (snapshot, snapshot.get(name)));
        match listed {
            Some((_, Some(record))) if young(record.confirmed) => Known::Present(Arc::clone(record)),
            Some((snapshot, None)) if snapshot.is_complete() && young(snapshot.listed_at()) => {
                Known::Absent(snapshot.listed_at())
            }
            // Who reads a listing that is on its way comes for what it has shown.
            _ => match self.listing.shown(name) {
                Some(record) if young(record.confirmed) && !needs_exact_time(&record) => Known::Present(record),
                _ => Known::Unknown,
            },
        }
    }

    /// Whether the last listing still holds as a whole.
    pub(super) fn is_sure(&self) -> bool {
        self.unsure.is_empty()
    }

    fn record(&self, name: &Name) -> Option<&Arc<Record>> {
        let answer = self.answers.get(name).and_then(|answer| answer.record.as_ref());
        answer.or_else(|| self.snapshot.as_ref()?.get(name))
    }

    /// A question costs a round trip, a listing about three and a byte count that grows with the entries.
    pub(super) fn prefers_listing(&self) -> bool {
        let entries = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.len());
        self.questions as usize > entries / 100
    }

    /// `entry` with what was known of `name` before.
    pub(super) fn refined(&self, name: &Name, entry: Entry) -> Entry {
        let known = self.record(name).map(|record| &**record);
        // Some servers answer for what a link points to; that it is a link, only listings tell.
        if let Some(link) = known.filter(|known| known.entry.kind == EntryKind::Symlink) {
            return link.entry.clone();
        }
        refine(known, entry, Instant::now()).entry
    }

    /// Takes in what is known of a name now.
    pub(super) fn apply(&mut self, name: &Name, entry: Option<Entry>, now: Instant) {
        self.listing.changed(name, entry.as_ref());
        self.unsure.remove(name);
        match entry {
            Some(entry) => {
                let mut record = Record::new(entry, now);
                if let Some(known) = self.record(name).filter(|known| known.entry == record.entry) {
                    // The same as before, asked for once more.
                    (record.listed_time, record.shown_since) = (known.listed_time, known.shown_since);
                }
                match &mut self.snapshot {
                    Some(snapshot) => {
                        self.answers.remove(name);
                        Arc::make_mut(snapshot).put(record);
                    }
                    None => self.answer(name, Some(Arc::new(record)), now),
                }
            }
            None => {
                if let Some(snapshot) = &mut self.snapshot {
                    Arc::make_mut(snapshot).take(name);
                }
                self.answer(name, None, now);
            }
        }
    }

    fn answer(&mut self, name: &Name, record: Option<Arc<Record>>, at: Instant) {
        if self.answers.len() >= ANSWERS_MAX {
            let pinned = &self.pinned;
            self.answers.retain(|name, _| pinned.contains_key(name));
        }
        self.answers.insert(name.clone(), Answer { record, at });
    }

    pub(super) fn distrust(&mut self, name: &Name, now: Instant) {
        if self.pinned.contains_key(name) {
            return;
        }
        self.changes += 1;
        self.answers.remove(name);
        self.listing.distrusted(name);
        self.unsure.insert(name.clone(), now);
        if self.unsure.len() > UNSURE_MAX {
            self.snapshot = None;
            self.answers.retain(|name, _| self.pinned.contains_key(name));
            self.unsure.clear();
            // A listing on its way may be older than what is unsure, and knows no more of which names these are.
            self.listing.orphan();
        }
    }

    pub(super) fn without_exact_time(&self, first: &Name, files_max: usize) -> Vec<Arc<Record>> {
        let wanted = |record: &Arc<Record>| needs_exact_time(record) && !self.pinned.contains_key(&record.entry.name);
        let single = || self.record(first).filter(|record| wanted(record)).cloned();
        let Some(snapshot) = &self.snapshot else { return single().into_iter().collect() };
        let Some(place) = snapshot.place(first) else { return single().into_iter().collect() };
        let behind = snapshot.entries_from(place);
        let before = snapshot.entries_from(0).take_while(|(at, _)| *at < place);
        behind
            .chain(before)
            .map(|(_, record)| record)
            .filter(|record| wanted(record))
            .take(files_max)
            .cloned()
            .collect()
    }

    pub(super) fn refine_time(&mut self, asked: &Record, time: Option<Timestamp>, at: Instant) {
        let name = &asked.entry.name;
        let set = |record: &mut Record| {
            if record.entry == asked.entry {
                record.time_asked = true;
                record.entry.modified = time.or(record.entry.modified);
                record.exact_at = record.exact_at.max(at);
            }
        };
        if let Some(answer) = self.answers.get_mut(name).and_then(|answer| answer.record.as_mut()) {
            set(Arc::make_mut(answer));
        } else if let Some(snapshot) = &mut self.snapshot {
            Arc::make_mut(snapshot).update(name, set);
        }
    }

    /// Takes in a listing that began at `begun`, with what has changed since laid over it.
    /// Times of directories that were taken less than `times_kept` ago stay.
    pub(super) fn install(&mut self, listing: Listing, begun: Instant, times_kept: Duration) -> Arc<Snapshot> {
        let mut snapshot = Snapshot::new(listing, begun, self.snapshot.as_deref());
        if let Some(before) = &self.snapshot {
            snapshot.keep_directory_times(before, times_kept);
        }
        for (name, answer) in &self.answers {
            // What single answers knew finer is not lost either.
            if let (Some(record), Some(listed)) = (&answer.record, snapshot.get(name)) {
                let refined = refine(Some(&**record), listed.entry.clone(), begun);
                snapshot.put(refined);
            }
        }
        self.answers.clear();
        // What got lost while the listing was on its way, it may not know.
        self.unsure.retain(|_, since| *since > begun);
        self.questions = 0;
        self.snapshot = Some(Arc::new(snapshot));
        let mut local = self.listing.take_changes();
        for (name, entry) in &self.pinned {
            local.insert(name.clone(), Some(entry.clone()));
        }
        for (name, entry) in local {
            self.apply(&name, entry, begun);
        }
        Arc::clone(self.snapshot.as_ref().expect("it was put there above"))
    }

    /// Those in flight end on their own, and what they bring is not kept.
    pub(super) fn orphan_flights(&mut self) {
        self.listing.orphan();
        self.times.orphan();
    }
}

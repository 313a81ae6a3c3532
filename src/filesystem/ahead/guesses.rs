//! What is guessed, and what came of it.
//!
//! Two guesses: a program that lists directories in an order lists the next ones too, and one that reads files of a directory from
//! their beginnings in an order reads the next ones. Memory only; what is then done stands in `walk` and `files`.

use super::account::Account;
use super::order::{Order, Row};
use crate::filesystem::InodeNumber;
use crate::protocol::{Name, RemotePath};
use lru::LruCache;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// Directories whose order is followed at once.
const ROWS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// For so long the order of one directory is expected of the next.
const HINT_TTL: Duration = Duration::from_secs(5);
/// Who steps to the first name of a directory no later than this after its listing is a program that goes through it.
const JUST_LISTED: Duration = Duration::from_millis(250);
/// Guesses at once where an order was only begun.
pub(super) const EARLY_MAX: usize = 8;
/// Who lists two directories within this time is on the way through more of them.
const ON_THE_WAY: Duration = Duration::from_secs(10);
/// Listings that may be guessed in vain before any was wanted.
const LISTINGS_START: u64 = 16;
/// Bytes that may be.
const BYTES_START: u64 = 512 << 10;
/// Directories that would not be listed; when there are more, all are forgotten.
const REFUSED_MAX: usize = 1000;

/// Which of a directory's names a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Directories,
    Files,
}

/// A file that is being fetched, or is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetch {
    pub(super) parent: InodeNumber,
    pub(super) bytes: u64,
}

/// What a step of a program tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// It goes to the first name of a directory that was listed only a moment ago.
    pub(super) begins: bool,
    /// The order that it follows, if it is known by now.
    pub(super) order: Option<Order>,
}

/// See the module's documentation.
pub(super) struct Guesses {
    pub(super) listings: Account,
    pub(super) bytes: Account,
    rows: LruCache<(RemotePath, Kind), Row>,
    hint: HashMap<Kind, (Order, Instant)>,
    /// Where a program went to the first subdirectory right behind the listing.
    entered: Option<RemotePath>,
    /// What was listed last.
    last_listed: Option<(RemotePath, Instant)>,
    /// Listed by guess, and not asked for yet.
    listed: HashMap<RemotePath, Instant>,
    /// Fetched by guess, and not read yet.
    fetched: HashMap<RemotePath, (u64, Instant)>,
    /// To be fetched by guess.
    fetches: HashMap<RemotePath, Fetch>,
    /// Asked for while the guess was on its way.
    overtaken: HashSet<RemotePath>,
    /// Those that a guess could not list.
    refused: HashSet<RemotePath>,
    /// Where the last walk that was recognized is.
    pub(super) walk: Option<(RemotePath, Order)>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            listings: Account::new(LISTINGS_START),
            bytes: Account::new(BYTES_START),
            rows: LruCache::new(ROWS_MAX),
            hint: HashMap::new(),
            entered: None,
            last_listed: None,
            listed: HashMap::new(),
            fetched: HashMap::new(),
            fetches: HashMap::new(),
            overtaken: HashSet::new(),
            refused: HashSet::new(),
            walk: None,
        }
    }
}

impl Guesses {
    /// Whether the names of a directory have to be told before a step to `name` can be noted.
    pub(super) fn lacks_row(&self, directory: &RemotePath, kind: Kind, name: &Name) -> bool {
        self.rows.peek(&(directory.clone(), kind)).is_none_or(|row| !row.has(name))
    }

    /// Tells the names of a directory.
    pub(super) fn put_row(&mut self, directory: &RemotePath, kind: Kind, row: Row) {
        self.rows.put((directory.clone(), kind), row);
    }

    /// Whether a program goes to the first name of a directory that was listed only a moment ago.
    fn begins(&self, directory: &RemotePath, kind: Kind, name: &Name, now: Instant) -> bool {
        let is_just_listed =
            self.last_listed.as_ref().is_some_and(|(last, at)| last == directory && is_within(*at, JUST_LISTED, now));
        is_just_listed && self.rows.peek(&(directory.clone(), kind)).is_some_and(|row| row.begins_with(name))
    }

    /// A program went to `name`.
    pub(super) fn step(&mut self, directory: &RemotePath, kind: Kind, name: &Name, now: Instant) -> Step {
        let hint = self.hint.get(&kind).filter(|(_, at)| now.saturating_duration_since(*at) <= HINT_TTL);
        let hint = hint.map(|(order, _)| *order);
        let begins = self.begins(directory, kind, name, now);
        // One directory below another is a way to somewhere; two are a walk.
        let is_program = begins && (kind == Kind::Files || self.entered.as_ref() == Some(directory));
        if begins && kind == Kind::Directories {
            self.entered = Some(directory.join(name));
        }
        let row = self.rows.get_mut(&(directory.clone(), kind));
        let order = row.and_then(|row| row.note(name, hint, is_program));
        if let Some(order) = order {
            self.hint.insert(kind, (order, now));
        }
        Step { begins, order }
    }

    /// What comes behind the last step in a directory; `None` where nobody went through it.
    pub(super) fn behind(&self, directory: &RemotePath, kind: Kind, order: Order, max: usize) -> Option<Vec<Name>> {
        let row = self.rows.peek(&(directory.clone(), kind))?;
        Some(row.behind(order).iter().take(max).cloned().collect())
    }

    /// How many of at most `max` may be guessed at once, where a program is at `path`.
    pub(super) fn at_once(&self, path: &RemotePath, kind: Kind, max: usize) -> usize {
        let row = path.parent().and_then(|parent| self.rows.peek(&(parent, kind)));
        if row.is_some_and(Row::is_early) { max.min(EARLY_MAX) } else { max }
    }

    /// Whether who lists this directory now has listed another one just before.
    pub(super) fn is_on_the_way(&self, directory: &RemotePath, now: Instant) -> bool {
        self.last_listed.as_ref().is_some_and(|(last, at)| last != directory && is_within(*at, ON_THE_WAY, now))
    }

    /// Somebody lists a directory; what lies here longer than `age_max` unasked for was guessed in vain.
    pub(super) fn wants_listing(&mut self, directory: &RemotePath, is_coming: bool, age_max: Duration, now: Instant) {
        self.listings.wanted += 1;
        if self.listed.remove(directory).is_some() {
            self.listings.was_used(1);
        } else if is_coming {
            self.overtaken.insert(directory.clone());
        }
        let listings = &mut self.listings;
        self.listed.retain(|_, at| {
            let is_young = now.saturating_duration_since(*at) <= age_max;
            if !is_young {
                listings.was_wasted(1);
            }
            is_young
        });
    }

    /// Somebody has the listing of a directory now.
    pub(super) fn was_listed(&mut self, directory: &RemotePath, now: Instant) {
        self.last_listed = Some((directory.clone(), now));
    }

    /// Enters the guess that a directory will be listed.
    pub(super) fn guess_listing(&mut self, directory: &RemotePath) -> bool {
        !self.refused.contains(directory) && self.listings.guess(1)
    }

    /// A guessed listing has come (`Some(true)`), could not be had (`Some(false)`), or was not asked for after all.
    pub(super) fn listing_ended(&mut self, directory: &RemotePath, outcome: Option<bool>, now: Instant) {
        let was_overtaken = self.overtaken.remove(directory);
        match outcome {
            Some(true) if was_overtaken => self.listings.was_used(1),
            Some(true) => drop(self.listed.insert(directory.clone(), now)),
            Some(false) => {
                self.listings.was_wasted(1);
                if self.refused.len() >= REFUSED_MAX {
                    self.refused.clear();
                }
                self.refused.insert(directory.clone());
            }
            None => self.listings.was_dropped(1),
        }
    }

    /// Somebody reads a file from its beginning.
    pub(super) fn wants_file(&mut self, path: &RemotePath, age_max: Duration, now: Instant) {
        if let Some((bytes, _)) = self.fetched.remove(path) {
            self.bytes.was_used(bytes);
        }
        let account = &mut self.bytes;
        self.fetched.retain(|_, (bytes, at)| {
            let is_young = now.saturating_duration_since(*at) <= age_max;
            if !is_young {
                account.was_wasted(*bytes);
            }
            is_young
        });
    }

    /// Whether a file is here by guess, or on its way.
    pub(super) fn has_file(&self, path: &RemotePath) -> bool {
        self.fetched.contains_key(path) || self.fetches.contains_key(path)
    }

    /// Enters the guess that a file will be read.
    pub(super) fn guess_file(&mut self, path: &RemotePath, fetch: Fetch) -> bool {
        let is_allowed = self.bytes.guess(fetch.bytes);
        if is_allowed {
            self.fetches.insert(path.clone(), fetch);
        }
        is_allowed
    }

    pub(super) fn fetch(&self, path: &RemotePath) -> Option<Fetch> {
        self.fetches.get(path).copied()
    }

    /// A guessed file is here (`Some(true)`), was fetched in vain (`Some(false)`), or not at all.
    pub(super) fn fetch_ended(&mut self, path: &RemotePath, outcome: Option<bool>, now: Instant) {
        let Some(Fetch { bytes, .. }) = self.fetches.remove(path) else { return };
        match outcome {
            Some(true) => drop(self.fetched.insert(path.clone(), (bytes, now))),
            Some(false) => self.bytes.was_wasted(bytes),
            None => self.bytes.was_dropped(bytes),
        }
    }
}

fn is_within(at: Instant, age_max: Duration, now: Instant) -> bool {
    now.saturating_duration_since(at) <= age_max
}

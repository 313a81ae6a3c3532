//! What is known of a name, from the listings in memory or, where those are too old, from the server.
//!
//! The rule for all questions: a listing of the directory answers for all names at once, so a directory that was never listed is
//! listed; a name that is known but too old is asked for alone, and the second such name lists the directory again.

use super::attributes::to_system_time;
use super::{Access, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::listings::{Coming, Flight, Known, Lead, Record, Shown, Snapshot, needs_exact_time};
use crate::protocol::{Entry, EntryKind, Name, Precision, RemotePath};
use crate::remote::{Listing, Remote, RemoteError, RemoteResult};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often a listing in flight is waited for that then is no answer.
const LISTINGS_JOINED_MAX: usize = 4;
/// How long a listing that nobody asked for is waited for at least before one asks oneself.
const AHEAD_PATIENCE_MIN: Duration = Duration::from_millis(50);
/// With fewer names than this a listing is shown when all of it is there.
const SHOWN_EARLY_MIN: usize = 1000;
/// Only where listings are believed at least so long are they believed longer for the time that they take.
const SHOWN_LONGER_MIN: Duration = Duration::from_millis(100);
/// No directory that tries out a name is in use so long; its time may be that of another zone.
const PROBE_SHOWN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How many exact times are asked for at once.
const TIMES_MAX: usize = 1000;
/// How often a question about times is put again because somebody else's batch did not hold the file.
const TIMES_ATTEMPTS_MAX: usize = 4;

/// What the server has under a name.
pub(super) struct Answer {
    /// `None`: proved absent.
    pub(super) entry: Option<Entry>,
    /// When the server, or a change of this mount, last confirmed it.
    pub(super) at: Instant,
}

impl Answer {
    fn of(record: &Record) -> Self {
        Self { entry: Some(record.entry.clone()), at: record.confirmed }
    }
}

impl Filesystem {
    /// What the server has under `name`, by an answer no older than `age_max`; `None`: proved absent.
    pub(super) fn entry(
        &self,
        access: Access,
        directory: &RemotePath,
        name: &Name,
        age_max: Duration,
    ) -> FilesystemResult<Option<Entry>> {
        Ok(self.answer(access, directory, name, age_max)?.entry)
    }

    /// As [`Self::entry`], with when that was said.
    pub(super) fn answer(
        &self,
        access: Access,
        directory: &RemotePath,
        name: &Name,
        age_max: Duration,
    ) -> FilesystemResult<Answer> {
        self.note_use(directory, name, age_max);
        let asked = match self.listings.get(directory, name, age_max, self.clock.instant()) {
            Known::Absent(at) => return Ok(Answer { entry: None, at }),
            Known::Present(record) if self.wants_exact_time(&record) => Answer::of(&record),
            Known::Present(record) if self.is_sure_of(&record, age_max) => return Ok(Answer::of(&record)),
            Known::Present(_) => return self.ask_one(access, directory, name, age_max),
            Known::Unknown => match self.ask_entry(access, directory, name, age_max)? {
                answer if answer.entry.as_ref().is_none_or(is_exact) => return Ok(answer),
                answer => answer,
            },
        };
        self.fetch_times(access, directory, name)?;
        // However long the questions took: what they brought is the answer.
        Ok(match self.listings.get(directory, name, Duration::MAX, self.clock.instant()) {
            Known::Present(record) => Answer::of(&record),
            Known::Absent(at) => Answer { entry: None, at },
            Known::Unknown => asked,
        })
    }

    /// How old what is shown of the names in a directory may be. A listing of many names that took long is believed for as long again:
    /// else a walk through what it has shown would come to its end only after the next one, or never.
    pub(super) fn shown_age_max(&self, directory: &RemotePath) -> Duration {
        let usual = self.options.dir_timeout;
        // Who wants answers younger than this wants no old ones.
        let may_be_longer = usual >= SHOWN_LONGER_MIN;
        let took = may_be_longer.then(|| self.listings.time_of_many(directory, SHOWN_EARLY_MIN)).flatten();
        took.map_or(usual, |took| usual.max(took.saturating_mul(2)))
    }

    /// Whether a file is as `record` shows it, by what was said within `age_max`, where that is as short as an open demands.
    fn is_sure_of(&self, record: &Record, age_max: Duration) -> bool {
        let is_for_stat = age_max > self.options.attr_timeout;
        is_for_stat || record.entry.kind != EntryKind::File || record.is_exact(age_max, self.clock.instant())
    }

    fn ask_entry(
        &self,
        access: Access,
        directory: &RemotePath,
        name: &Name,
        age_max: Duration,
    ) -> FilesystemResult<Answer> {
        self.server.ask(access)?;
        // A listing that has been under way for longer may hold what was true before: no answer for who asks now.
        let now = self.clock.instant();
        let is_too_old = |since: Instant| now.saturating_duration_since(since) > age_max;
        if self.listings.listing_since(directory).is_some_and(is_too_old) {
            return self.ask_one(access, directory, name, age_max);
        }
        let last = self.listings.get_snapshot(directory, Duration::MAX, self.clock.instant());
        let was_listed = last.is_some();
        // That a name is not there a listing proves, and no other answer: who asks for it alone waits for both, and keeps neither.
        let was_absent = last.is_some_and(|last| last.is_complete() && last.get(name).is_none());
        // One that takes longer than its answers hold would be of use to nobody else.
        let is_listing_of_use = || self.listings.usual_time(directory) <= age_max;
        if was_listed && !was_absent && !(self.listings.prefers_listing(directory) && is_listing_of_use()) {
            return self.ask_one(access, directory, name, age_max);
        }
        match self.list(access, directory, age_max) {
            Ok(snapshot) => match snapshot.get(name) {
                Some(record) => Ok(Answer::of(record)),
                None if snapshot.is_complete() => Ok(Answer { entry: None, at: snapshot.listed_at() }),
                None => self.ask_one(access, directory, name, age_max),
            },
            // Some servers let a directory be entered and not be listed.
            Err(FilesystemError::Refused { .. }) => self.ask_one(access, directory, name, age_max),
            Err(error) => Err(error),
        }
    }

    /// Asks for one name alone.
    fn ask_one(
        &self,
        access: Access,
        directory: &RemotePath,
        name: &Name,
        age_max: Duration,
    ) -> FilesystemResult<Answer> {
        let asked = self.listings.asked(directory);
        let now = self.clock.instant();
        let answer = match self.server.ask(access)?.stat(&directory.join(name)) {
            Ok(entry) => Some(Entry { name: name.clone(), ..entry }),
            Err(RemoteError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(entry) = &answer
            && self.is_told_by_listings_alone(directory, entry)
            && let Some(listed) = self.listed(access, directory, name, age_max)?
        {
            return Ok(listed);
        }
        Ok(Answer { entry: self.listings.answered(directory, name, answer, asked, now), at: now })
    }

    /// Whether an answer lacks what a listing told before. Without MLST a directory is found by entering it, and that says
    /// neither when it changed nor who may do what in it.
    fn is_told_by_listings_alone(&self, directory: &RemotePath, answer: &Entry) -> bool {
        let known = || self.listings.get(directory, &answer.name, Duration::MAX, self.clock.instant());
        answer.kind == EntryKind::Directory
            && answer.modified.is_none()
            && matches!(known(), Known::Present(record)
                if record.entry.kind == EntryKind::Directory && record.entry.modified.is_some())
    }

    /// The name as a new listing shows it, if the directory may be listed.
    fn listed(
        &self,
        access: Access,
        directory: &RemotePath,
        name: &Name,
        age_max: Duration,
    ) -> FilesystemResult<Option<Answer>> {
        match self.list(access, directory, age_max) {
            Ok(snapshot) => Ok(snapshot.get(name).map(|record| Answer::of(record))),
            Err(FilesystemError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists a directory, or waits for a listing that is in flight: for its answer where that went out within `age_max`, else
    /// for its end.
    pub(super) fn list(
        &self,
        access: Access,
        directory: &RemotePath,
        age_max: Duration,
    ) -> FilesystemResult<Arc<Snapshot>> {
        match self.list_early(access, directory, age_max, None)? {
            Some(snapshot) => Ok(snapshot),
            None => {
                Err(FilesystemError::Failed { reason: "a listing was shown early to one who wanted all of it".into() })
            }
        }
    }

    /// As [`Self::list`]. Of one with many names `early` is given the beginning as soon as that is there; to who joins a
    /// listing that is all (`None`), while who makes it brings it to its end here.
    pub(super) fn list_early(
        &self,
        access: Access,
        directory: &RemotePath,
        age_max: Duration,
        mut early: Option<&mut dyn FnMut(Coming)>,
    ) -> FilesystemResult<Option<Arc<Snapshot>>> {
        let asked = self.clock.instant();
        for _ in 0..LISTINGS_JOINED_MAX {
            let remote = self.server.ask(access)?;
            let follower = match self.listings.begin_listing(directory, self.clock.instant()) {
                Flight::Lead(lead) => {
                    let listed = self.fetch_listing(directory, || {
                        fetch_in_parts(remote, directory, &lead, self.clock.system_time(), early.take())
                    });
                    return Ok(Some(self.listings.install(lead, listed)?));
                }
                Flight::Follow(follower) => follower,
            };
            let is_young = asked.saturating_duration_since(follower.begun()) <= age_max;
            let patience = if follower.is_ahead() {
                // It goes over a connection that may have died unseen, and is tried once: no demand waits longer than that
                // usually takes.
                (self.listings.usual_time(directory) * 2).max(AHEAD_PATIENCE_MIN)
            } else {
                self.options.operation_timeout
            };
            let landed = match &mut early {
                Some(early) if is_young => match follower.wait_shown(patience) {
                    Ok(Shown::Coming(coming)) => {
                        early(coming);
                        return Ok(None);
                    }
                    Ok(Shown::Landed(landed)) => Ok(landed),
                    Err(error) => Err(error),
                },
                _ => follower.wait(patience),
            };
            match landed {
                Ok(Some(snapshot)) if is_young => return Ok(Some(snapshot)),
                Err(error) if is_young && !follower.is_ahead() => return Err(error.into()),
                // Too old, or by one whom nobody waited for.
                _ => self.listings.take_over(&follower),
            }
        }
        Err(FilesystemError::Failed { reason: "others began to list this directory, and none came to an end".into() })
    }

    /// What the server lists, without what is never shown.
    pub(super) fn fetch_listing(
        &self,
        directory: &RemotePath,
        ask: impl FnOnce() -> RemoteResult<Listing>,
    ) -> RemoteResult<Listing> {
        let begun = self.clock.instant();
        let mut listing = ask()?;
        self.listings.took(directory, self.clock.instant().saturating_duration_since(begun));
        let listed = listing.entries.len();
        listing.entries.retain(|entry| entry.name.as_bytes().len() <= super::NAME_LEN_MAX);
        let hidden = listed - listing.entries.len();
        if hidden > 0 {
            tracing::warn!(%directory, hidden, "names of more than 255 bytes are not shown: Linux has none");
        }
        let now = self.clock.system_time();
        listing.entries.retain(|entry| is_shown(entry, now));
        if !listing.complete {
            tracing::warn!(%directory, entries = listing.entries.len(), "the server cut this listing short");
        }
        Ok(listing)
    }

    /// Asks for the exact times of the file `first` and of others in its directory, where the listing had none.
    pub(super) fn fetch_times(&self, access: Access, directory: &RemotePath, first: &Name) -> FilesystemResult<()> {
        for _ in 0..TIMES_ATTEMPTS_MAX {
            let known = self.listings.get(directory, first, Duration::MAX, self.clock.instant());
            if !matches!(&known, Known::Present(record) if self.wants_exact_time(record)) {
                return Ok(());
            }
            let remote = self.server.ask(access)?;
            match self.listings.begin_times(directory, self.clock.instant()) {
                Flight::Lead(lead) => {
                    let asked = self.listings.without_exact_time(directory, first, TIMES_MAX);
                    let names: Vec<Name> = asked.iter().map(|record| record.entry.name.clone()).collect();
                    let at = self.clock.instant();
                    let outcome = remote.times(directory, &names);
                    if let Ok(times) = &outcome {
                        self.listings.refine_times(directory, &asked, times, at);
                    }
                    lead.finish_times(outcome.clone().map(|_| ()));
                    outcome?;
                }
                Flight::Follow(follower) => {
                    follower.wait(self.options.operation_timeout)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the time of an entry is to be asked for before it is shown.
    pub(super) fn wants_exact_time(&self, record: &Record) -> bool {
        needs_exact_time(record) && self.server.abilities().exact_times
    }

    /// The path of a directory's inode.
    ///
    /// # Errors
    /// [`FilesystemError::Stale`] where it has none any more, [`FilesystemError::NotDirectory`].
    pub(super) fn directory_path(&self, ino: InodeNumber) -> FilesystemResult<RemotePath> {
        let state = self.state.lock();
        let inode = state.inodes.get(ino).ok_or(FilesystemError::Stale)?;
        if inode.kind != EntryKind::Directory {
            return Err(FilesystemError::NotDirectory);
        }
        state.inodes.path(ino).ok_or(FilesystemError::Stale)
    }
}

/// Lists a directory, and shows what comes on the way once it is known to be one of many names.
fn fetch_in_parts(
    remote: &dyn Remote,
    directory: &RemotePath,
    lead: &Lead,
    now: SystemTime,
    mut early: Option<&mut dyn FnMut(Coming)>,
) -> RemoteResult<Listing> {
    let (mut held, mut count) = (Vec::new(), 0);
    remote.list_in_parts(directory, &mut |entries| {
        held.extend(entries.iter().filter(|entry| is_shown(entry, now)).cloned());
        count += entries.len();
        if count < SHOWN_EARLY_MIN || held.is_empty() {
            return;
        }
        lead.show(held.drain(..));
        if let Some(early) = early.take() {
            early(lead.coming());
        }
    })
}

/// Whether it has a name that Linux can have, and is not ours alone.
fn is_shown(entry: &Entry, now: SystemTime) -> bool {
    entry.name.as_bytes().len() <= super::NAME_LEN_MAX && !is_temporary(&entry.name) && !is_probe(entry, now)
}

/// Whether it is a directory that tries out for a moment whether the server keeps a name (`remote::names`). One that was left
/// behind a day ago is shown: somebody has to remove it.
fn is_probe(entry: &Entry, now: SystemTime) -> bool {
    const MARK: &[u8] = b".ftpfs-probe-";
    let has_mark =
        entry.kind == EntryKind::Directory && entry.name.as_bytes().windows(MARK.len()).any(|part| part == MARK);
    let is_young = |time| now.duration_since(to_system_time(time)).map_or(true, |age| age < PROBE_SHOWN_AFTER);
    has_mark && entry.modified.is_none_or(is_young)
}

fn is_exact(entry: &Entry) -> bool {
    entry.modified.is_some_and(|time| time.precision >= Precision::Second)
}

/// Whether a name is one that uploads use until they are complete; those are never shown.
pub(super) fn is_temporary(name: &Name) -> bool {
    name.as_bytes().starts_with(b".ftpfs-") && name.as_bytes().ends_with(b".part")
}

/// A name as the kernel gives it.
///
/// # Errors
/// [`FilesystemError::NameTooLong`], [`FilesystemError::NameNotAllowed`].
pub(super) fn parse_name(bytes: &[u8]) -> FilesystemResult<Name> {
    if bytes.len() > super::NAME_LEN_MAX {
        return Err(FilesystemError::NameTooLong);
    }
    Name::new(bytes).map_err(|error| FilesystemError::NameNotAllowed { reason: error.to_string() })
}

/// A name for something new.
///
/// # Errors
/// As for [`parse_name`]; what uploads use themselves is not allowed either.
pub(super) fn parse_new_name(bytes: &[u8]) -> FilesystemResult<Name> {
    let name = parse_name(bytes)?;
    if is_temporary(&name) {
        let reason = "names like `.ftpfs-*.part` are kept for uploads under way".into();
        return Err(FilesystemError::NameNotAllowed { reason });
    }
    Ok(name)
}

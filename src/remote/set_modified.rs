//! Modification times: a ladder of ways (MFMT, MFF, SITE UTIME, MDTM with two arguments), the first that works is kept.
//!
//! Behind each order goes the question what the time is now (MDTM and MLST), in the same packet: a server that says yes and
//! does nothing, or takes the time for its local one, is found out so. What counts is that a time reads back as it was set.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{Purpose, is_not_understood, says_not_there};
use super::server::{Server, facts_told, is_done};
use crate::pool::{ServerProfile, Verdict, VerdictCell};
use crate::protocol::command::{Command, UtimeSpelling};
use crate::protocol::reply::Reply;
use crate::protocol::timestamp::parse_mdtm_reply;
use crate::protocol::{Precision, RemotePath, Timestamp};

/// Local times differ from UTC by whole quarters of an hour.
const QUARTER_HOUR_SECONDS: i64 = 15 * 60;
/// And by no more than this (UTC+14, and a day for good measure).
const ZONE_SECONDS_MAX: i64 = 26 * 3600;

/// One way to set a time.
struct Way {
    command: fn(RemotePath, Timestamp) -> Command,
    verdict: fn(&ServerProfile) -> &VerdictCell,
    /// Whether there is another meaning of the same verb: a server that knows only that one looks for a file called
    /// "20240102030405 name", and does not find it.
    is_second_meaning: bool,
}

const WAYS: [Way; 5] = [
    Way {
        command: |path, time| Command::Mfmt { path, time },
        verdict: |profile| &profile.mfmt,
        is_second_meaning: false,
    },
    Way {
        command: |path, time| Command::Mff { path, time },
        verdict: |profile| &profile.mff,
        is_second_meaning: false,
    },
    Way {
        command: |path, time| Command::SiteUtime { path, time, spelling: UtimeSpelling::TimeFirst },
        verdict: |profile| &profile.site_utime_time_first,
        is_second_meaning: true,
    },
    Way {
        command: |path, time| Command::SiteUtime { path, time, spelling: UtimeSpelling::PathFirst },
        verdict: |profile| &profile.site_utime_path_first,
        is_second_meaning: true,
    },
    Way {
        command: |path, time| Command::MdtmSet { path, time },
        verdict: |profile| &profile.mdtm_set,
        is_second_meaning: true,
    },
];

/// What sets a time in one packet with more.
pub(super) struct TimeOrder<'a> {
    pub(super) command: Command,
    /// The time that it sets.
    pub(super) time: Timestamp,
    verdict: &'a VerdictCell,
}

impl TimeOrder<'_> {
    /// The time, where the server has taken the order and tells this time behind it.
    pub(super) fn kept(&self, is_taken: bool, told: Option<Timestamp>) -> Option<Timestamp> {
        let is_kept = is_taken && told.is_some_and(|told| told.seconds == self.time.seconds);
        is_kept.then(|| {
            self.verdict.learn_if(true);
            self.time
        })
    }
}

/// Whether there is a way that the server has not shown to be unknown to it.
pub(super) fn is_any_way_left(profile: &ServerProfile) -> bool {
    WAYS.iter().any(|way| !(way.verdict)(profile).is_no())
}

/// What came of one way.
enum Outcome {
    /// The server keeps this time now.
    Set(Timestamp),
    /// It has this time instead.
    Other(Timestamp),
    /// It knows the way and will not go it for this file.
    Refused(Reply),
    /// It does not know the way.
    Unknown,
}

impl Server {
    /// Sets the modification time to the second, and returns it as the server keeps it. Source: draft-somers-ftp-mfxx.
    ///
    /// # Errors
    /// As [`super::Remote::set_modified`] says.
    pub(super) fn set_modified(
        &self,
        path: &RemotePath,
        time: Timestamp,
        deadline: Instant,
    ) -> RemoteResult<Timestamp> {
        let time = whole_seconds(time);
        let mut refusal = None;
        for way in &WAYS {
            let verdict = (way.verdict)(self.profile());
            if verdict.is_no() {
                continue;
            }
            match self.try_way(way, path, time, deadline)? {
                Outcome::Set(kept) => {
                    verdict.learn_if(true);
                    return Ok(kept);
                }
                Outcome::Unknown => verdict.learn_if(false),
                Outcome::Refused(reply) if verdict.is_yes() => {
                    return Err(self.explain(path, &reply, Purpose::Change, deadline));
                }
                // Another way may be allowed where this one is not.
                Outcome::Refused(reply) => refusal = refusal.or(Some(reply)),
                Outcome::Other(kept) => {
                    tracing::warn!(%path, asked = time.seconds, kept = kept.seconds, "the server set another time");
                    verdict.learn_if(false);
                }
            }
        }
        Err(match refusal {
            Some(reply) => self.explain(path, &reply, Purpose::Change, deadline),
            None => RemoteError::Unsupported { what: "setting times" },
        })
    }

    /// The way that is known to work here, for who sets the time in one packet with more; before any has worked MFMT, where the server lists
    /// it: that is the first to be tried anyway. What does not work is found out by [`Self::set_modified`].
    pub(super) fn set_modified_command(&self, path: &RemotePath, time: Timestamp) -> Option<TimeOrder<'_>> {
        let profile = self.profile();
        let known = WAYS.iter().find(|way| (way.verdict)(profile).is_yes());
        let is_listed = profile.mfmt.get() == Verdict::Unknown && profile.features().mfmt();
        let way = known.or_else(|| WAYS.first().filter(|_| is_listed))?;
        let time = whole_seconds(time);
        Some(TimeOrder { command: (way.command)(path.clone(), time), time, verdict: (way.verdict)(profile) })
    }

    /// What asks for the time; [`modified_told`] understands the answers.
    pub(super) fn modified_questions(&self, path: &RemotePath) -> Vec<Command> {
        let mut commands = vec![Command::Mdtm(path.clone())];
        if !self.profile().mlst.is_no() {
            commands.push(Command::Mlst(path.clone()));
        }
        commands
    }

    /// Goes one way; where the server took the time for its local one, once more with the difference taken off.
    fn try_way(&self, way: &Way, path: &RemotePath, time: Timestamp, deadline: Instant) -> RemoteResult<Outcome> {
        let outcome = self.try_way_once(way, path, time, deadline)?;
        let Outcome::Other(kept) = outcome else { return Ok(outcome) };
        let off = kept.seconds.saturating_sub(time.seconds);
        if off % QUARTER_HOUR_SECONDS != 0 || off.abs() > ZONE_SECONDS_MAX {
            return Ok(outcome);
        }
        let shifted = Timestamp { seconds: time.seconds.saturating_sub(off), ..time };
        Ok(match self.try_way_once(way, path, shifted, deadline)? {
            Outcome::Other(kept) if kept.seconds == time.seconds => Outcome::Set(time),
            other => other,
        })
    }

    fn try_way_once(&self, way: &Way, path: &RemotePath, time: Timestamp, deadline: Instant) -> RemoteResult<Outcome> {
        let mut commands = vec![(way.command)(path.clone(), time)];
        commands.extend(self.modified_questions(path));
        let replies = self.ask(&commands, deadline)?;
        let Some((set, now)) = replies.split_first() else {
            return Err(RemoteError::Protocol { reason: String::from("commands have no answers") });
        };
        let now = modified_told(path, now);
        if is_done(set) {
            // Without an MDTM that answers (directories have none on most servers) the reply is all there is.
            return Ok(match now {
                Some(now) if now.seconds != time.seconds => Outcome::Other(now),
                _ => Outcome::Set(time),
            });
        }
        let is_misread = way.is_second_meaning && now.is_some() && says_not_there(set);
        let is_unknown = is_not_understood(set) || is_misread;
        Ok(if is_unknown { Outcome::Unknown } else { Outcome::Refused(set.clone()) })
    }
}

/// No way says more.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp { nanoseconds: 0, precision: Precision::Second, ..time }
}

/// The time in the replies to MDTM and, if it was asked, MLST. The latter counts more, where there is one: it says what listings say, and MDTM is in
/// local time on some servers.
pub(super) fn modified_told(path: &RemotePath, replies: &[Reply]) -> Option<Timestamp> {
    let (now, facts) = replies.split_first()?;
    let told = facts.iter().zip(path.name()).find_map(|(reply, name)| facts_told(reply, &name)?.modified);
    told.or_else(|| parse_mdtm_reply(now))
}

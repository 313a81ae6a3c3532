//! Directories: CWD, then MLSD or LIST without a path, since servers expand `[`, `*` and options in one and cut it at spaces.
//!
//! The CWD also proves that the directory is there: LIST of a missing one succeeds with nothing on some servers.
//! MLSD is preferred; but ProFTPD and pyftpdlib leave out links that point nowhere, pyftpdlib shows links as what they
//! point to (`rm -r` would descend into them), and none tells their targets. There LIST is asked for as well.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Listing;
use super::error::{RemoteError, RemoteResult};
use super::known::BRIEF_ENTRIES_MAX;
use super::refusal::{Meaning, is_not_understood, meaning, refused, says_no_entries, says_not_listed};
use super::server::Server;
use crate::pool::{Lease, OperationKind, PoolError, Purpose, Repeat, ServerKind, Stay, Verdict, counted_as};
use crate::protocol::command::Command;
use crate::protocol::listing::{Context, ListingParser, ParsedListing, is_likely_limit, says_truncated};
use crate::protocol::reply::{Reply, ReplyClass};
use crate::protocol::{Entry, EntryKind, Name, RemotePath};

/// How much of a listing is taken from the data connection at once.
const PIECE_LEN: usize = 64 << 10;

/// A listing may take longer than the operation's time, as long as it comes faster than this: one that drips for ever
/// has to end.
const SLOWEST_KIB: Duration = Duration::from_secs(1);

/// Who is given entries as they come.
type Part<'a> = &'a mut dyn FnMut(&[Entry]);

/// One listing as it came.
#[derive(Default)]
pub(super) struct Fetched {
    pub(super) parsed: ParsedListing,
    /// Whether the server said that there is more.
    pub(super) is_truncated: bool,
}

impl Fetched {
    /// Whether a name that is not in it is absent, as far as this way of listing shows all names.
    pub(super) fn is_whole(&self) -> bool {
        self.parsed.is_understood() && !self.is_truncated && !is_likely_limit(self.parsed.entries.len())
    }

    /// Whether it is no listing at all, but something that this parser cannot read.
    fn is_gibberish(&self) -> bool {
        self.parsed.entries.is_empty() && self.parsed.unparsed_count > 0
    }

    fn shows_dot_names(&self) -> bool {
        self.parsed.shows_dots || self.parsed.entries.iter().any(|entry| entry.name.as_bytes().starts_with(b"."))
    }

    fn names(&self) -> HashSet<&Name> {
        self.parsed.entries.iter().map(|entry| &entry.name).collect()
    }
}

impl Server {
    /// Lists a directory. Source: RFC 3659 §7 (MLSD), RFC 959 §4.1.3 (LIST).
    ///
    /// # Errors
    /// As [`super::Remote::list`] says.
    pub(super) fn list(&self, directory: &RemotePath, deadline: Instant) -> RemoteResult<Listing> {
        self.list_in_parts(directory, deadline, &mut |_| {})
    }

    /// As [`Self::list`], with what comes on the way.
    ///
    /// # Errors
    /// As [`super::Remote::list_in_parts`] says.
    pub(super) fn list_in_parts(&self, directory: &RemotePath, deadline: Instant, part: Part) -> RemoteResult<Listing> {
        let list = |mut lease: Lease| {
            let (listing, to_compare) = self.list_and_leave(&mut lease, directory, deadline, part)?;
            if let Some(lines) = to_compare {
                self.compare_later(lease, directory, lines, deadline);
            }
            Ok(listing)
        };
        match self.pool.retry_lent(Purpose::Listing, self.stay_of_listing(directory), deadline, Repeat::Safe, list) {
            Ok(listing) => Ok(listing),
            Err(PoolError::Refused { verb: "CWD", reply }) => {
                Err(self.explain_not_entered(directory, &reply, deadline))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A listing is brief unless the last one of this directory was not; one that turns out to be long on the way stops being brief there.
    pub(super) fn stay_of_listing(&self, directory: &RemotePath) -> Stay {
        Stay::brief_if(!self.known.is_large(directory))
    }

    /// What it means that a directory cannot be entered.
    fn explain_not_entered(&self, directory: &RemotePath, reply: &Reply, deadline: Instant) -> RemoteError {
        if meaning(reply) != Meaning::Ambiguous || directory.is_root() {
            return refused(reply);
        }
        match self.stat(directory, deadline) {
            Ok(entry) if matches!(entry.kind, EntryKind::File | EntryKind::Other) => RemoteError::NotDirectory,
            Ok(_) | Err(RemoteError::Refused { .. } | RemoteError::Interrupted { .. } | RemoteError::Failed { .. }) => {
                refused(reply)
            }
            Err(error) => error,
        }
    }

    /// Lists a directory on a session that the caller has, in one attempt.
    pub(super) fn list_on(
        &self,
        lease: &mut Lease,
        directory: &RemotePath,
        deadline: Instant,
        part: Part,
    ) -> Result<Listing, PoolError> {
        let (listing, to_compare) = self.list_and_leave(lease, directory, deadline, part)?;
        if let Some(lines) = to_compare {
            self.compare_status(lease, directory, &lines, deadline);
        }
        Ok(listing)
    }

    /// The listing, and the entries that LIST has shown where STAT should be asked for them as well.
    fn list_and_leave(
        &self,
        lease: &mut Lease,
        directory: &RemotePath,
        deadline: Instant,
        part: Part,
    ) -> Result<(Listing, Option<Vec<Entry>>), PoolError> {
        if let Some((fetched, status)) = self.fetch_facts(lease, directory, deadline, part)? {
            self.known.note_entries(directory, fetched.parsed.entries.len());
            return Ok((self.with_links(lease, directory, fetched, status, deadline, part)?, None));
        }
        let (fetched, to_compare) = match self.fetch_status_alone(lease, directory, deadline)? {
            Some(fetched) => (fetched, None),
            None => {
                let fetched = self.fetch_lines(lease, directory, deadline, part)?;
                let is_wanted = self.wants_comparison(lease, directory, &fetched);
                let to_compare = is_wanted.then(|| fetched.parsed.entries.clone());
                (fetched, to_compare)
            }
        };
        // Whatever MLSD was refused with: it was about MLSD, not about the directory.
        self.profile().mlsd.learn(Verdict::No);
        let complete = fetched.is_whole() && (self.profile().list_all.is_yes() || fetched.shows_dot_names());
        self.known.note_entries(directory, fetched.parsed.entries.len());
        self.note_missing(directory, &fetched);
        Ok((Listing { entries: fetched.parsed.entries, complete, cut_short: fetched.is_truncated }, to_compare))
    }

    /// Compares STAT with a listing on the session that it came by. Whoever has asked for the listing does not wait for that.
    /// But where there is no other to lend: the next one would wait, and could not ask for it.
    fn compare_later(&self, lease: Lease, directory: &RemotePath, lines: Vec<Entry>, deadline: Instant) {
        if self.pool.ceiling() <= 2 {
            self.compare_status(&lease, directory, &lines, deadline);
            return;
        }
        let (server, directory) = (self.clone(), directory.clone());
        let compare = move || {
            counted_as(OperationKind::Guess, || {
                server.counted(OperationKind::List, |deadline| {
                    server.compare_status(&lease, &directory, &lines, deadline);
                });
            });
            drop(lease);
        };
        if let Err(error) = thread::Builder::new().name(String::from("ftpfs-compare")).spawn(compare) {
            tracing::debug!(%error, "STAT is not compared with a listing");
        }
    }

    /// MLSD, and what STAT has said in its packet; `None` where the server does not have it, or not in a form that can be read.
    fn fetch_facts(
        &self,
        lease: &mut Lease,
        directory: &RemotePath,
        deadline: Instant,
        part: Part,
    ) -> Result<Option<(Fetched, Option<Fetched>)>, PoolError> {
        let verdict = &self.profile().mlsd;
        if verdict.is_no() {
            return Ok(None);
        }
        let parser = ListingParser::for_mlsd(context());
        // Where it hides links, it takes the lines of LIST to know what an entry is.
        let shows_links = self.known.mlsd_shows_links.is_yes() && !self.known.is_comparing_listings();
        let mut known = |entries: &[Entry]| {
            if shows_links && !entries.iter().any(lacks_target) {
                part(entries);
            }
        };
        let questions = self.status_questions_behind(lease, directory);
        let behind = questions.as_ref().map_or(&[][..], |questions| &questions.commands);
        let fetched = fetch_and_ask(lease, directory, Command::Mlsd(None), parser, behind, deadline, &mut known);
        let status = match (&fetched, &questions) {
            (Ok((_, replies)), Some(questions)) if lease.has_unheard() => {
                self.hear_status(lease, directory, questions, replies)?
            }
            _ => None,
        };
        if lease.has_unheard() {
            // What was said to the questions is not looked at, so that nobody knows whether the replies are in step.
            lease.control().close();
            self.known.forget_small(directory);
        }
        match fetched {
            Ok((fetched, _)) if fetched.is_gibberish() => {
                tracing::warn!(%directory, first = ?fetched.parsed.unparsed.first(), "MLSD cannot be read here");
                verdict.learn(Verdict::No);
                Ok(None)
            }
            Ok((fetched, _)) => {
                verdict.learn(Verdict::Yes);
                Ok(Some((fetched, status)))
            }
            Err(PoolError::Refused { verb: "MLSD", reply }) if is_not_understood(&reply) => {
                verdict.learn(Verdict::No);
                Ok(None)
            }
            // Servers that announce MLSD and do not have it say 503 and 550 as well.
            Err(PoolError::Refused { verb: "MLSD", reply })
                if !verdict.is_yes() && reply.class() == ReplyClass::Permanent =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// LIST, with `-a` where that shows more.
    fn fetch_lines(
        &self,
        lease: &mut Lease,
        directory: &RemotePath,
        deadline: Instant,
        part: Part,
    ) -> Result<Fetched, PoolError> {
        let mut fetch = |options, part: Part| {
            let command = Command::List { options, path: None };
            fetch(lease, directory, command, ListingParser::for_list(context()), deadline, part)
        };
        let verdict = &self.profile().list_all;
        match verdict.get() {
            Verdict::Yes => return fetch(Some("-a"), part),
            Verdict::No => return fetch(None, part),
            Verdict::Unknown => {}
        }
        let mut fetch = |options| fetch(options, &mut |_| {});
        // Measured: these three take it for an option, and then show `.`, which no name is.
        if matches!(self.profile().kind(), ServerKind::Vsftpd | ServerKind::ProFtpd | ServerKind::PureFtpd) {
            match fetch(Some("-a")) {
                Ok(all) if all.parsed.shows_dots => {
                    verdict.learn(Verdict::Yes);
                    return Ok(all);
                }
                Ok(_) | Err(PoolError::Refused { .. } | PoolError::Aborted { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let plain = fetch(None)?;
        let all = match fetch(Some("-a")) {
            Ok(all) => all,
            Err(PoolError::Refused { .. } | PoolError::Aborted { .. }) => {
                verdict.learn(Verdict::No);
                return Ok(plain);
            }
            Err(error) => return Err(error),
        };
        let (plain_names, all_names) = (plain.names(), all.names());
        if plain_names.is_subset(&all_names) && (all.parsed.shows_dots || !plain_names.is_empty()) {
            verdict.learn(Verdict::Yes);
            return Ok(all);
        }
        // Names that went between the two listings prove nothing; `-a` taken for a name leaves none at all.
        if !plain_names.is_empty() && plain_names.is_disjoint(&all_names) {
            verdict.learn(Verdict::No);
        }
        Ok(plain)
    }

    /// Completes what MLSD has shown by the symbolic links that LIST shows.
    fn with_links(
        &self,
        lease: &mut Lease,
        directory: &RemotePath,
        mut facts: Fetched,
        status: Option<Fetched>,
        deadline: Instant,
        part: Part,
    ) -> Result<Listing, PoolError> {
        self.note_missing(directory, &facts);
        let mut complete = facts.is_whole();
        let mut cut_short = facts.is_truncated;
        let is_needed = self.hides_links() || self.known.is_comparing_listings();
        let shows_links = &self.known.mlsd_shows_links;
        if is_needed || facts.parsed.entries.iter().any(lacks_target) {
            let lines = match self.fetch_status_beside(lease, directory, &facts, status, deadline)? {
                Some(lines) => Ok(lines),
                None => self.fetch_lines(lease, directory, deadline, &mut beside(&facts.parsed.entries, part)),
            };
            match lines {
                Ok(lines) => {
                    // A LIST that hides names may hide a broken link as well.
                    let shows_all = !self.profile().list_all.is_no() || lines.shows_dot_names();
                    complete &= !shows_links.is_no() || (lines.is_whole() && shows_all);
                    cut_short |= lines.is_truncated && !shows_links.is_yes();
                    self.known.note_subdirectories(directory, &lines.parsed.entries);
                    if add_links(&mut facts.parsed.entries, lines.parsed.entries) {
                        shows_links.learn(Verdict::No);
                    } else {
                        self.known.count_equal_listings();
                    }
                }
                Err(PoolError::Refused { reply, .. }) if is_not_understood(&reply) => shows_links.learn(Verdict::Yes),
                Err(PoolError::Refused { .. } | PoolError::Aborted { .. }) => complete = false,
                Err(error) => return Err(error),
            }
        }
        Ok(Listing { entries: facts.parsed.entries, complete, cut_short })
    }

    /// Whether MLSD does not show all symbolic links as what they are.
    pub(super) fn hides_links(&self) -> bool {
        let shows_links = &self.known.mlsd_shows_links;
        if shows_links.get() == Verdict::Unknown {
            match self.profile().kind() {
                // Measured: ProFTPD 1.3.8, pyftpdlib 1.5.7 and 2.2.0; Pure-FTPd 1.0.50.
                ServerKind::ProFtpd | ServerKind::Pyftpdlib => shows_links.learn(Verdict::No),
                ServerKind::PureFtpd => shows_links.learn(Verdict::Yes),
                _ => {}
            }
        }
        shows_links.is_no()
    }

    fn note_missing(&self, directory: &RemotePath, fetched: &Fetched) {
        if !fetched.is_whole() && self.known.is_first_warning(directory) {
            tracing::warn!(
                %directory,
                entries = fetched.parsed.entries.len(),
                not_understood = fetched.parsed.unparsed_count,
                refused = fetched.parsed.refused_count,
                first = ?fetched.parsed.unparsed.first().map(|line| line.escape_ascii().to_string()),
                "the listing may not show all names; names that are not in it are asked for one by one"
            );
        }
    }
}

/// One listing, to its proved end.
fn fetch(
    lease: &mut Lease,
    directory: &RemotePath,
    command: Command,
    parser: ListingParser,
    deadline: Instant,
    part: Part,
) -> Result<Fetched, PoolError> {
    fetch_and_ask(lease, directory, command, parser, &[], deadline, part).map(|(fetched, _)| fetched)
}

/// The same, and the replies to `questions` in its packet, if all is in order.
fn fetch_and_ask(
    lease: &mut Lease,
    directory: &RemotePath,
    command: Command,
    mut parser: ListingParser,
    questions: &[Command],
    deadline: Instant,
    part: Part,
) -> Result<(Fetched, Vec<Reply>), PoolError> {
    let prelude = [Command::Cwd(directory.clone())];
    let verb = command.verb();
    let mut transfer = match lease.start_listing(&prelude, command, questions, deadline) {
        Err(PoolError::Refused { verb, reply }) if verb != "CWD" && says_no_entries(&reply) => {
            return Ok((Fetched::default(), Vec::new()));
        }
        started => started?,
    };
    // Nobody waits for the answers behind a listing that is given up.
    let give_up = |error: PoolError| {
        if lease.has_unheard() {
            lease.control().close();
        }
        Err(error)
    };
    let mut buffer = vec![0; PIECE_LEN];
    let mut is_empty = true;
    let mut time_earned = Duration::ZERO;
    let mut given = 0;
    loop {
        let len = transfer.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        is_empty = false;
        parser.push(buffer.get(..len).unwrap_or_default());
        let come = parser.entries_from(given);
        if !come.is_empty() {
            let was_brief = given <= BRIEF_ENTRIES_MAX;
            given += come.len();
            if was_brief && given > BRIEF_ENTRIES_MAX {
                lease.stays_long();
            }
            part(come);
        }
        // What is brief is over as soon as it could be stopped. Only what nobody waits for is ever told.
        if given > BRIEF_ENTRIES_MAX && lease.is_wanted() {
            return give_up(PoolError::Broken {
                reason: String::from("a long listing was given up for somebody who waits"),
            });
        }
        time_earned += SLOWEST_KIB.mul_f64(len as f64 / 1024.0);
        if deadline.elapsed() > time_earned {
            return give_up(PoolError::TimedOut { during: "a listing that does not end", sent: true });
        }
        if parser.is_full() {
            return give_up(PoolError::Broken { reason: String::from("the listing does not end") });
        }
    }
    let answers = transfer.answers();
    match transfer.finish_reading() {
        Ok(reply) if is_empty && says_not_listed(&reply) => Err(PoolError::Refused { verb, reply }),
        Ok(reply) => {
            let is_truncated = reply.lines().iter().any(|line| says_truncated(line));
            Ok((Fetched { parsed: parser.finish(), is_truncated }, answers))
        }
        Err(PoolError::Aborted { reply }) if is_empty && says_no_entries(&reply) => Ok((Fetched::default(), answers)),
        Err(error) => Err(error),
    }
}

/// Gives on the entries of `facts` that the lines of a LIST confirm, as they come.
fn beside<'a>(facts: &'a [Entry], part: Part<'a>) -> impl FnMut(&[Entry]) + 'a {
    let mut places: HashMap<&Name, &Entry> = HashMap::new();
    move |lines| {
        if places.is_empty() {
            // Only now, for most directories are told in one piece.
            places.extend(facts.iter().map(|entry| (&entry.name, entry)));
        }
        let known = |line: &Entry| with_link(places.get(&line.name).map(|entry| (*entry).clone()), line.clone());
        part(&lines.iter().map(known).collect::<Vec<_>>());
    }
}

fn lacks_target(entry: &Entry) -> bool {
    entry.kind == EntryKind::Symlink && entry.link_target.is_none()
}

/// What MLSD says of a name, and what LIST does.
fn with_link(fact: Option<Entry>, line: Entry) -> Entry {
    match fact {
        Some(fact) if line.kind != EntryKind::Symlink => fact,
        Some(fact) if fact.kind == EntryKind::Symlink => Entry { link_target: line.link_target, ..fact },
        // Size, time and permissions are what it points to has.
        _ => line,
    }
}

/// Takes from LIST what MLSD does not tell of symbolic links. Whether MLSD had hidden one, or shown it as something else.
fn add_links(entries: &mut Vec<Entry>, lines: Vec<Entry>) -> bool {
    let places: HashMap<Name, usize> =
        entries.iter().enumerate().map(|(place, entry)| (entry.name.clone(), place)).collect();
    let mut had_hidden = false;
    for line in lines {
        let is_link = line.kind == EntryKind::Symlink;
        match places.get(&line.name).and_then(|place| entries.get_mut(*place)) {
            Some(fact) if is_link => {
                had_hidden |= fact.kind != EntryKind::Symlink;
                *fact = with_link(Some(fact.clone()), line);
            }
            Some(_) => {}
            None => {
                had_hidden |= is_link;
                entries.push(line);
            }
        }
    }
    had_hidden
}

pub(super) fn context() -> Context {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Context { now_seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), ahead_of_utc_seconds: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: EntryKind, target: Option<&str>) -> Entry {
        let mut entry = Entry::new(Name::new(name).unwrap(), kind);
        entry.link_target = target.map(|target| target.as_bytes().into());
        entry
    }

    #[test]
    fn link_shown_as_directory_becomes_a_link() {
        let mut entries = vec![entry("d", EntryKind::Directory, None), entry("lnd", EntryKind::Directory, None)];
        let lines = vec![entry("d", EntryKind::Directory, None), entry("lnd", EntryKind::Symlink, Some("d"))];
        assert!(add_links(&mut entries, lines));
        assert_eq!(entries, [entry("d", EntryKind::Directory, None), entry("lnd", EntryKind::Symlink, Some("d"))]);
    }

    #[test]
    fn broken_link_that_mlsd_hides_is_added() {
        let mut entries = vec![];
        assert!(add_links(&mut entries, vec![entry("broken", EntryKind::Symlink, Some("nowhere"))]));
        assert_eq!(entries, [entry("broken", EntryKind::Symlink, Some("nowhere"))]);
    }

    #[test]
    fn link_gets_its_target_and_keeps_its_exact_time() {
        let mut link = entry("ln", EntryKind::Symlink, None);
        link.size = Some(7);
        let mut entries = vec![link];
        assert!(!add_links(&mut entries, vec![entry("ln", EntryKind::Symlink, Some("f"))]));
        assert_eq!(entries[0].link_target.as_deref(), Some(&b"f"[..]));
        assert_eq!(entries[0].size, Some(7));
    }
}

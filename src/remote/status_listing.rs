//! Listings on the control connection: STAT of the current directory, one round trip and no data connection; none of its own in the packet of
//! the MLSD that it completes.
//!
//! What makes such a reply a listing that counts:
//! - CWD goes before it in the same packet. Of a directory that is missing or closed vsftpd and Pure-FTPd list nothing and say success.
//! - REST with a number that nobody can guess goes behind it, and the number has to come back: ProFTPD and vsftpd write line feeds in
//!   names (and targets of links) as they are, and one that holds `213 End` ends the reply. Whoever made that name cannot know the number,
//!   whatever replies they put into it. Nothing that changes anything is ever behind such a listing.
//! - Each line is understood, and `.` is among them, or all names that MLSD has shown.
//! - The server's STAT was the same as its LIST before ([`StatusListings`]).
//!
//! Where anything is off, the directory goes back to LIST for good. So it does where its reply is too long: ours end at 1 MiB, and
//! ProFTPD takes 10 s for 12,000 entries by STAT (0.7 s by LIST), while it takes no more for a thousand. So before the MLSD is over STAT
//! is asked only of a directory that is known to be small ([`super::known::Known::is_small`]).
//! Source: RFC 959 §4.1.3 (STAT); measured with vsftpd 3.0.3, ProFTPD 1.3.8, Pure-FTPd 1.0.50, pyftpdlib 1.5.7.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::list::{Fetched, context};
use super::server::{Server, is_done, random_number};
use crate::pool::{Lease, PoolError, ServerKind};
use crate::protocol::command::Command;
use crate::protocol::listing::ListingParser;
use crate::protocol::reply::Reply;
use crate::protocol::{Entry, Name, RemotePath};

/// A directory of more entries is listed over a data connection.
const ENTRIES_MAX: usize = 1000;

/// So many listings in a row that were the same by LIST and STAT, and STAT alone is believed.
const EQUAL_MIN: usize = 2;

/// So many that were none, or showed fewer names than LIST or MLSD, and STAT is not tried again.
const UNEQUAL_MAX: usize = 3;

/// So many that told something else of the same names. More than of the others: a file that grows between the two is no fault of STAT.
const DIFFERENT_MAX: usize = 16;

/// Directories that are known to be unfit for STAT, at most; beyond them, those that are met again fail once more.
const UNFIT_MAX: usize = 10_000;

/// What is known of this server's STAT.
#[derive(Debug, Default)]
pub(super) struct StatusListings {
    equal: AtomicUsize,
    unequal: AtomicUsize,
    different: AtomicUsize,
    unfit: Mutex<HashSet<RemotePath>>,
}

impl StatusListings {
    /// Whether STAT alone is a listing.
    fn is_believed(&self) -> bool {
        self.equal.load(Ordering::Relaxed) >= EQUAL_MIN && !self.is_given_up()
    }

    fn is_given_up(&self) -> bool {
        self.unequal.load(Ordering::Relaxed) >= UNEQUAL_MAX || self.different.load(Ordering::Relaxed) >= DIFFERENT_MAX
    }

    /// Counts what STAT has listed behind a LIST. What differs, for whatever reason, ends a row of equal ones.
    fn count_comparison(&self, status: &[Entry], listed: &[Entry]) {
        if status == listed {
            self.equal.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.equal.store(0, Ordering::Relaxed);
        if shows_all_of(status, listed) {
            self.different.fetch_add(1, Ordering::Relaxed);
        } else {
            self.count_unequal();
        }
    }

    fn count_unequal(&self) {
        self.unequal.fetch_add(1, Ordering::Relaxed);
    }

    fn is_fit(&self, directory: &RemotePath) -> bool {
        !self.unfit.lock().contains(directory)
    }

    /// This directory is listed over a data connection from now on.
    fn set_unfit(&self, directory: &RemotePath) {
        let mut unfit = self.unfit.lock();
        if unfit.len() < UNFIT_MAX {
            unfit.insert(directory.clone());
        }
    }
}

/// STAT of the current directory, and the marker behind it.
pub(super) struct StatusQuestions {
    number: u64,
    /// In the order in which they are to be sent, with nothing between them.
    pub(super) commands: [Command; 3],
}

impl Server {
    /// What to ask behind the MLSD of a directory, in the same packet, where it will have to be asked in any case; `None` where STAT is to wait
    /// for what MLSD says.
    pub(super) fn status_questions_behind(&self, lease: &Lease, directory: &RemotePath) -> Option<StatusQuestions> {
        let known = &self.known.status;
        let is_needed = self.hides_links() && self.profile().mlsd.is_yes();
        let is_fit = known.is_fit(directory) && self.known.is_small(directory) && !known.is_given_up();
        if !is_needed || !is_fit || !self.is_status_measured() {
            return None;
        }
        let questions = self.status_questions();
        let listing = [Command::Cwd(directory.clone()), Command::Mlsd(None)];
        lease.queues(listing.iter().chain(&questions.commands)).then_some(questions)
    }

    /// The directory's listing by STAT alone, where that has been proved to be one; `None` where it has to be listed otherwise.
    ///
    /// # Errors
    /// [`PoolError::Refused`]: CWD was. Where the connection is lost, the next attempt goes by LIST.
    pub(super) fn fetch_status_alone(
        &self,
        lease: &Lease,
        directory: &RemotePath,
        deadline: Instant,
    ) -> Result<Option<Fetched>, PoolError> {
        let known = &self.known.status;
        if !known.is_believed() || !known.is_fit(directory) || !lease.control().is_pipelining() {
            return Ok(None);
        }
        let fetched = self.ask_status(lease, directory, deadline)?.filter(|fetched| fetched.parsed.shows_dots);
        if fetched.as_ref().is_none_or(|fetched| fetched.parsed.entries.len() > ENTRIES_MAX) {
            known.set_unfit(directory);
        }
        Ok(fetched)
    }

    /// Whether it is still to be found out if STAT says what LIST has just said, and this listing can tell.
    pub(super) fn wants_comparison(&self, lease: &Lease, directory: &RemotePath, listed: &Fetched) -> bool {
        let known = &self.known.status;
        let is_telling = listed.is_whole() && !listed.parsed.entries.is_empty();
        if listed.parsed.entries.len() > ENTRIES_MAX {
            known.set_unfit(directory);
            return false;
        }
        let is_settled = known.is_believed() || known.is_given_up() || !known.is_fit(directory);
        is_telling && !is_settled && lease.control().is_pipelining()
    }

    /// Finds out whether STAT says what LIST has just said. Whatever comes of it, the listing is there.
    pub(super) fn compare_status(&self, lease: &Lease, directory: &RemotePath, listed: &[Entry], deadline: Instant) {
        let known = &self.known.status;
        match self.ask_status(lease, directory, deadline) {
            Ok(Some(status)) if status.parsed.shows_dots => known.count_comparison(&status.parsed.entries, listed),
            Ok(_) => {
                known.equal.store(0, Ordering::Relaxed);
                known.count_unequal();
            }
            Err(error) => tracing::debug!(%directory, "no listing by STAT: {error}"),
        }
    }

    /// The symbolic links in a directory whose other entries MLSD has told; `None` where STAT does not show all of those. What it has `told` behind
    /// the MLSD is not asked again.
    ///
    /// # Errors
    /// Where the connection is lost; the next attempt goes by LIST.
    pub(super) fn fetch_status_beside(
        &self,
        lease: &Lease,
        directory: &RemotePath,
        facts: &Fetched,
        told: Option<Fetched>,
        deadline: Instant,
    ) -> Result<Option<Fetched>, PoolError> {
        let known = &self.known.status;
        let is_fit = facts.is_whole() && facts.parsed.entries.len() <= ENTRIES_MAX && known.is_fit(directory);
        if !self.is_status_measured() || !is_fit || known.is_given_up() || !lease.control().is_pipelining() {
            return Ok(None);
        }
        let status = match told {
            Some(status) => Some(status),
            None => self.ask_status(lease, directory, deadline)?,
        };
        // Without options there is no `.` to tell that names which begin with one are shown.
        let has_options = self.profile().kind() != ServerKind::Pyftpdlib;
        let status = status.filter(|status| {
            (status.parsed.shows_dots || !has_options) && shows_all_of(&status.parsed.entries, &facts.parsed.entries)
        });
        if status.is_none() {
            // Another name may have come or gone between the two; or this server's STAT shows less.
            known.count_unequal();
            known.set_unfit(directory);
        }
        Ok(status)
    }

    /// The servers of which it is known what STAT shows beside MLSD.
    fn is_status_measured(&self) -> bool {
        matches!(self.profile().kind(), ServerKind::ProFtpd | ServerKind::PureFtpd | ServerKind::Pyftpdlib)
    }

    fn status_questions(&self) -> StatusQuestions {
        // pyftpdlib takes `-a` for a name, and shows all names without it.
        let options = (self.profile().kind() != ServerKind::Pyftpdlib).then_some("-a");
        let number = random_number();
        StatusQuestions { number, commands: [Command::StatHere { options }, Command::Rest(number), Command::Rest(0)] }
    }

    /// What STAT lists, as far as the reply is in order; `None` where it is no listing.
    fn ask_status(
        &self,
        lease: &Lease,
        directory: &RemotePath,
        deadline: Instant,
    ) -> Result<Option<Fetched>, PoolError> {
        let questions = self.status_questions();
        let mut commands = vec![Command::Cwd(directory.clone())];
        commands.extend(questions.commands.iter().cloned());
        let replies = lease.control().exchange_all(&commands, deadline).inspect_err(|_| {
            // Too long, or too slow, or a name in it has ended the reply.
            lease.blame_the_reply();
            self.known.status.set_unfit(directory);
        })?;
        let Some((entered, replies)) = replies.split_first() else { return Ok(None) };
        let status = self.hear_status(lease, directory, &questions, replies)?;
        if !is_done(entered) {
            return Err(PoolError::Refused { verb: "CWD", reply: entered.clone() });
        }
        Ok(status)
    }

    /// What STAT lists by these replies, as far as they are in order.
    ///
    /// # Errors
    /// Where they are not; the connection is closed then, and the next attempt goes by LIST.
    pub(super) fn hear_status(
        &self,
        lease: &Lease,
        directory: &RemotePath,
        questions: &StatusQuestions,
        replies: &[Reply],
    ) -> Result<Option<Fetched>, PoolError> {
        if let [status, marker, reset] = replies
            && is_marker(marker, questions.number)
            && is_agreement(reset)
        {
            lease.has_heard();
            return Ok(listing_in(status));
        }
        // Where there is no answer at all and the connection stands, the listing was begun once more: that says nothing of STAT.
        if !replies.is_empty() || !lease.control().is_open() {
            self.known.status.count_unequal();
            self.known.status.set_unfit(directory);
        }
        lease.blame_the_reply();
        lease.control().close();
        Err(PoolError::Broken { reason: String::from("the replies behind a listing are not what was asked for") })
    }
}

/// Whether the reply has the number that REST was sent with. It is one line: a name that begins a reply of several lines has them end with this one.
fn is_marker(reply: &Reply, number: u64) -> bool {
    let text = reply.text();
    is_agreement(reply)
        && text.split(|character: char| !character.is_ascii_digit()).any(|digits| digits == number.to_string())
}

/// Whether REST was agreed to, by a reply of one line.
fn is_agreement(reply: &Reply) -> bool {
    reply.code().number() == 350 && reply.lines().len() == 1
}

/// The listing in a reply to STAT; `None` for anything else.
fn listing_in(reply: &Reply) -> Option<Fetched> {
    if !matches!(reply.code().number(), 211..=213) || reply.lines().len() < 2 {
        return None;
    }
    let mut parser = ListingParser::for_list(context());
    reply.middle_lines().iter().for_each(|line| parser.push_line(line));
    let fetched = Fetched { parsed: parser.finish(), is_truncated: false };
    fetched.is_whole().then_some(fetched)
}

fn shows_all_of(status: &[Entry], facts: &[Entry]) -> bool {
    let names: HashSet<&Name> = status.iter().map(|entry| &entry.name).collect();
    facts.iter().all(|entry| names.contains(&entry.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::EntryKind;
    use crate::protocol::reply::ReplyDecoder;

    fn reply(lines: &str) -> Reply {
        let mut decoder = ReplyDecoder::default();
        decoder.push(lines.replace('\n', "\r\n").as_bytes());
        decoder.next().unwrap().unwrap()
    }

    const DOT: &str = "drwxr-xr-x 2 0 0 4096 Jan  2  2020 .\n";

    #[test]
    fn reply_is_a_listing_only_if_all_of_it_is_one() {
        let names = |text: &str| {
            listing_in(&reply(text)).map(|fetched| {
                let names = fetched.parsed.entries.iter().map(|entry| entry.name.to_string());
                (names.collect::<Vec<_>>(), fetched.parsed.shows_dots)
            })
        };
        let file = "-rw-r--r-- 1 0 0 5 Jan  2  2020 a b\n";
        assert_eq!(names(&format!("213-Status\n{DOT}{file}213 End\n")), Some((vec!["a b".into()], true)));
        assert_eq!(names(&format!("212-Status of .:\n {DOT} {file}212 End\n")), Some((vec!["a b".into()], true)));
        assert_eq!(names("213-Status\n213 End\n"), Some((vec![], false)));
        assert_eq!(names("213 Nothing\n"), None);
        assert_eq!(names("550 No such file\n"), None);
        assert_eq!(names("211-Server status:\n Logged in as a\n TYPE: ASCII\n211 End\n"), None);
        assert_eq!(names(&format!("213-Status\n{DOT}{file}half a name\n213 End\n")), None);
    }

    fn entries(names: &[(&str, u64)]) -> Vec<Entry> {
        let entry = |(name, size): &(&str, u64)| {
            let mut entry = Entry::new(Name::new(*name).unwrap(), EntryKind::File);
            entry.size = Some(*size);
            entry
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn status_is_believed_after_equal_listings_in_a_row_and_no_others() {
        let known = StatusListings::default();
        let (listed, grown) = (entries(&[("a", 1), ("b", 1)]), entries(&[("a", 1), ("b", 2)]));
        for _ in 0..DIFFERENT_MAX - 1 {
            known.count_comparison(&listed, &listed);
            known.count_comparison(&grown, &listed);
            assert!(!known.is_believed() && !known.is_given_up());
        }
        known.count_comparison(&listed, &listed);
        assert!(!known.is_believed());
        known.count_comparison(&listed, &listed);
        assert!(known.is_believed());
    }

    #[test]
    fn status_that_lacks_a_name_is_soon_given_up() {
        let known = StatusListings::default();
        for _ in 0..UNEQUAL_MAX {
            assert!(!known.is_given_up());
            known.count_comparison(&entries(&[("a", 1)]), &entries(&[("a", 1), ("b", 1)]));
        }
        assert!(known.is_given_up());
    }

    #[test]
    fn marker_is_the_number_and_no_other() {
        assert!(is_marker(&reply("350 Restart position accepted (1234567).\n"), 1_234_567));
        assert!(!is_marker(&reply("350 Restart position accepted (12345678).\n"), 1_234_567));
        assert!(!is_marker(&reply("250 1234567\n"), 1_234_567));
        assert!(!is_marker(&reply("350 Restarting\n"), 1_234_567));
        // What a name has begun, and the server's own word has ended.
        assert!(!is_marker(&reply("350-x\n213 End\n350 Restart position accepted (1234567).\n"), 1_234_567));
    }
}

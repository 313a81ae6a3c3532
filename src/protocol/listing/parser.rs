//! Bytes from the data connection to a whole listing: lines, the choice of a dialect, and what to make of odd names.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::{Context, DIALECTS, Dialect, Line, mlsd};
use crate::protocol::entry::Entry;

/// A longer line is given up as not understood: a name has at most 255 bytes on most servers, a link target 4096.
const LINE_LEN_MAX: usize = 64 * 1024;

/// Entries beyond so many are counted as not understood: a server that never stops must not take all memory.
const ENTRIES_MAX: usize = 4_000_000;

/// A listing of more bytes than this is not going to end either; what is kept of one is never more.
const BYTES_MAX: u64 = 512 << 20;

/// A listing of more lines than this is not going to end.
const LINES_MAX: usize = 2 * ENTRIES_MAX;

/// How many of the lines that were not understood are kept, and how much of each; the rest is counted only.
const UNPARSED_KEPT_MAX: usize = 20;
const UNPARSED_LEN_MAX: usize = 1024;

/// A listing as far as it was understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedListing {
    /// The entries in the server's order, without `.` and `..`, each name once.
    pub entries: Vec<Entry>,
    /// The dialect it was written in; `None` where no line was an entry.
    pub dialect: Option<&'static str>,
    /// The first of the lines that no dialect understood, for the log; long ones are cut.
    pub unparsed: Vec<Vec<u8>>,
    /// How many lines were not understood in all.
    pub unparsed_count: usize,
    /// How many entries were dropped since their name holds a `/`, a line break or NUL.
    pub refused_count: usize,
    /// How many entries were dropped since the same name came again later.
    pub duplicate_count: usize,
    /// Whether `.` or `..` was listed: a LIST that shows them shows other names that begin with a dot, too.
    pub shows_dots: bool,
}

impl ParsedListing {
    /// Whether every line was understood, so that a name that is not there is absent as far as these lines go.
    ///
    /// A refused name counts as not understood: a server that writes paths where names belong may mean a name of this
    /// directory by it. Whether all lines came is another question: [`super::says_truncated`], [`super::is_likely_limit`].
    pub fn is_understood(&self) -> bool {
        self.unparsed_count == 0 && self.refused_count == 0
    }
}

/// Takes a listing in pieces of any size; [`Self::finish`] gives what it held.
///
/// ```
/// use ftpfs::protocol::listing::{Context, ListingParser};
/// let mut parser = ListingParser::for_mlsd(Context { now_seconds: 0, ahead_of_utc_seconds: 0 });
/// parser.push(b"type=file;size=3; a.t");
/// parser.push(b"xt\r\n");
/// assert_eq!(parser.finish().entries.len(), 1);
/// ```
#[derive(Debug)]
pub struct ListingParser {
    context: Context,
    /// The dialects that may still be meant; one alone once a line was an entry.
    dialects: &'static [Dialect],
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    lines: usize,
    bytes: u64,
    listing: ParsedListing,
}

impl ListingParser {
    /// A parser for what MLSD sends.
    pub fn for_mlsd(context: Context) -> Self {
        Self::new(std::slice::from_ref(&mlsd::DIALECT), context)
    }

    /// A parser for what LIST sends, or for the lines of a reply to STAT.
    pub fn for_list(context: Context) -> Self {
        Self::new(DIALECTS, context)
    }

    fn new(dialects: &'static [Dialect], context: Context) -> Self {
        Self { context, dialects, partial: Vec::new(), lines: 0, bytes: 0, listing: ParsedListing::default() }
    }

    /// Takes the next bytes of the listing.
    pub fn push(&mut self, data: &[u8]) {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let Some(end) = piece.strip_suffix(b"\n") else {
                self.keep_partial(piece);
                continue;
            };
            if self.partial.is_empty() {
                self.push_line(end);
            } else {
                self.keep_partial(end);
                let line = std::mem::take(&mut self.partial);
                self.push_line(&line);
                self.partial = line;
                self.partial.clear();
            }
        }
    }

    /// Takes one whole line, as from a reply to STAT; with or without its line break.
    pub fn push_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut line = line.strip_suffix(b"\r").unwrap_or(line);
        self.lines += 1;
        if self.lines == 1 {
            // Windows servers write a UTF-8 byte order mark before listings that they have in a file.
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        match self.parse_line(line) {
            Line::Entry(mut entry) if self.listing.entries.len() < ENTRIES_MAX => {
                if let Some(before) = self.listing.entries.last() {
                    share(&mut entry.owner, &before.owner);
                    share(&mut entry.group, &before.group);
                }
                self.listing.entries.push(entry);
            }
            Line::Entry(_) | Line::NotMine => self.keep_unparsed(line),
            Line::Dots => self.listing.shows_dots = true,
            Line::Refused => self.listing.refused_count += 1,
            Line::Skip => {}
        }
    }

    /// The entries from place `first` on that have come so far. Should a name come again later, the later one counts in the end.
    pub fn entries_from(&self, first: usize) -> &[Entry] {
        self.listing.entries.get(first..).unwrap_or_default()
    }

    /// Whether more came than any directory has; what follows is not worth waiting for.
    pub fn is_full(&self) -> bool {
        self.listing.entries.len() >= ENTRIES_MAX || self.lines >= LINES_MAX || self.bytes >= BYTES_MAX
    }

    /// Ends the listing; a last line needs no line break.
    pub fn finish(mut self) -> ParsedListing {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.push_line(&line);
        }
        let mut listing = self.listing;
        listing.duplicate_count = drop_duplicates(&mut listing.entries);
        listing.entries.shrink_to_fit();
        listing
    }

    /// Keeps the bytes of an unfinished line; of one that is too long, enough to know that it is.
    fn keep_partial(&mut self, piece: &[u8]) {
        let room = (LINE_LEN_MAX + 1).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    fn parse_line(&mut self, line: &[u8]) -> Line {
        if line.is_empty() {
            return Line::Skip;
        }
        if line.len() > LINE_LEN_MAX {
            return Line::NotMine;
        }
        for dialect in self.dialects {
            let parsed = (dialect.parse)(line, &self.context);
            match parsed {
                Line::NotMine => {}
                // `total 0` and the like are common to several dialects: they choose none.
                Line::Skip => return parsed,
                Line::Entry(_) | Line::Dots | Line::Refused => {
                    self.dialects = std::slice::from_ref(dialect);
                    self.listing.dialect = Some(dialect.name);
                    return parsed;
                }
            }
        }
        Line::NotMine
    }

    fn keep_unparsed(&mut self, line: &[u8]) {
        self.listing.unparsed_count += 1;
        if self.listing.unparsed.len() < UNPARSED_KEPT_MAX {
            self.listing.unparsed.push(line.get(..UNPARSED_LEN_MAX).unwrap_or(line).to_vec());
        }
    }
}

/// Takes the same bytes from where they are already: most files in a directory have one owner.
fn share(bytes: &mut Option<Arc<[u8]>>, before: &Option<Arc<[u8]>>) {
    if bytes == before {
        bytes.clone_from(before);
    }
}

/// Drops all but the last entry of each name, and returns how many.
///
/// Serv-U was seen to list names twice. By sorted hashes rather than by a set of names: 16 bytes an entry,
/// which counts with a million of them, and gone when this returns.
fn drop_duplicates(entries: &mut Vec<Entry>) -> usize {
    let hasher = RandomState::new();
    let mut order: Vec<(u64, usize)> =
        entries.iter().enumerate().map(|(index, entry)| (hasher.hash_one(&entry.name), index)).collect();
    let name_at = |index: usize| entries.get(index).map(|entry| &entry.name);
    order.sort_unstable_by(|left, right| {
        left.0.cmp(&right.0).then_with(|| name_at(left.1).cmp(&name_at(right.1))).then_with(|| left.1.cmp(&right.1))
    });
    let mut earlier: Vec<usize> = order
        .windows(2)
        .filter_map(|pair| match pair {
            [first, second] if first.0 == second.0 && name_at(first.1) == name_at(second.1) => Some(first.1),
            _ => None,
        })
        .collect();
    earlier.sort_unstable();
    let mut next = earlier.iter().peekable();
    let mut index = 0;
    entries.retain(|_| {
        let is_earlier = next.next_if(|earlier| **earlier == index).is_some();
        index += 1;
        !is_earlier
    });
    earlier.len()
}

//! Listings: what comes over the data connection after MLSD or LIST, to entries.
//!
//! MLSD has one format (RFC 3659 §7). LIST has none (RFC 959 §4.1.3 wants it "as used by people"), so there is a
//! [`Dialect`] for each way of writing one: a file here, and an entry in [`DIALECTS`]. The first dialect that makes an
//! entry of a line serves the whole listing. Nothing here reads a clock: [`Context`] brings the time.
//!
//! What was not understood is never lost in silence: [`ParsedListing::is_understood`] is false then, and such a listing
//! must not prove that a name is absent.
//!
//! Not here: which command is sent (`remote::list`), the format of times in facts (`timestamp`).

mod columns;
mod dates;
mod eplf;
pub mod mlsd;
mod parser;
mod truncation;
mod unix;
mod unix_date;
mod windows;

pub use parser::{ListingParser, ParsedListing};
pub use truncation::{is_likely_limit, says_truncated};

use super::entry::{Entry, EntryKind};
use super::path::{Name, NameError};

/// What lines alone do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The time now, in seconds since 1970-01-01 00:00:00 UTC: the year of a date without one is guessed from it.
    pub now_seconds: i64,
    /// How far the times that LIST shows are ahead of UTC, in seconds. LIST shows the server's local time, MLSD always
    /// UTC (RFC 3659 §7.5.3); 0 while nothing is known.
    pub ahead_of_utc_seconds: i32,
}

/// What one line of a listing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An entry.
    Entry(Entry),
    /// The directory itself or its parent.
    Dots,
    /// In order, but no entry: `total 12`, an empty line.
    Skip,
    /// An entry whose name cannot be one in this directory: it holds a `/` or what FTP cannot send.
    Refused,
    /// Not of this dialect, or damaged.
    NotMine,
}

impl Line {
    /// The line of an entry called `name`, which `entry` makes.
    fn named(name: &[u8], entry: impl FnOnce(Name) -> Entry) -> Self {
        match Name::new(name) {
            Ok(name) => Self::Entry(entry(name)),
            Err(NameError::Dots) => Self::Dots,
            Err(NameError::Empty) => Self::NotMine,
            Err(NameError::Slash | NameError::LineBreak) => Self::Refused,
        }
    }
}

/// One way of writing a listing.
#[derive(Debug)]
pub struct Dialect {
    /// What it is called in logs.
    pub name: &'static str,
    /// Reads one line, without its line break.
    pub parse: fn(&[u8], &Context) -> Line,
}

/// The dialects of LIST, in the order in which they are tried on the lines before the first entry.
pub const DIALECTS: &[Dialect] = &[unix::DIALECT, windows::DIALECT, eplf::DIALECT];

/// The name of a directory without the `/` that some servers write behind it, as `ls -p` does.
fn without_slash(name: &[u8], kind: EntryKind) -> &[u8] {
    match name.strip_suffix(b"/") {
        Some(shorter) if kind == EntryKind::Directory => shorter,
        _ => name,
    }
}

#[cfg(test)]
mod tests;

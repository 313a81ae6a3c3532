//! LIST as `ls -l` writes it: most servers do, each a little differently.
//!
//! Columns have no fixed place, and owners and names may hold anything, so the line is read from its date: the size stands
//! before it, and exactly one space behind it the name begins. The first date counts; a later one is of the name.
//!
//! Not here: how dates are written and where one ends (`unix_date`).

use super::columns::{Column, columns, parse_number};
use super::unix_date::{self, FoundDate};
use super::{Context, Dialect, Line, without_slash};
use crate::protocol::entry::{Entry, EntryKind};

/// `ls -l`, with or without links, owner, group, inode and blocks.
pub(super) const DIALECT: Dialect = Dialect { name: "Unix", parse };

/// How `ls` heads a listing in the languages servers were seen to run in.
const TOTALS: &[&str] = &[
    "total",
    "totaal",
    "totale",
    "totalt",
    "insgesamt",
    "gesamt",
    "razem",
    "celkem",
    "итого",
    "合計",
    "总用量",
    "總計",
];

fn parse(line: &[u8], context: &Context) -> Line {
    let columns = columns(line);
    if is_heading(&columns) {
        return Line::Skip;
    }
    let Some((permissions, columns)) = split_at_mode(&columns) else { return Line::NotMine };
    let Some(found) = find_date(columns) else { return Line::NotMine };
    let Some(name) = found.date.last.name() else { return Line::NotMine };
    let (name, link_target) = match permissions.kind {
        EntryKind::Symlink => split_target(name, found.size),
        kind => (without_slash(name, kind), None),
    };
    let (owner, group) = owner_and_group(found.before_size);
    Line::named(name, |name| Entry {
        // A device has two numbers in its place, of which only the last looks like one.
        size: found.size.filter(|_| permissions.kind != EntryKind::Other),
        modified: found.date.date.and_then(|date| date.to_timestamp(context)),
        mode: permissions.mode,
        owner: owner.map(Into::into),
        group: group.map(Into::into),
        link_target: link_target.map(Into::into),
        ..Entry::new(name, permissions.kind)
    })
}

/// `total 12`, or the `.:` of a listing made with `-R`.
fn is_heading(columns: &[Column<'_>]) -> bool {
    match columns {
        [only] => only.bytes == b".:",
        [word, number] => {
            let word = word.bytes.strip_suffix(b":").unwrap_or(word.bytes);
            number.bytes.first().is_some_and(u8::is_ascii_digit)
                && TOTALS.iter().any(|total| total.as_bytes().eq_ignore_ascii_case(word))
        }
        _ => false,
    }
}

/// The first column of a line, `drwxr-xr-x+`.
struct Permissions {
    kind: EntryKind,
    /// `None` where it is damaged: one letter short (seen), or in another order.
    mode: Option<u32>,
}

/// Finds the column of permissions, and what follows. Inode number and blocks (`ls -li`, `ls -ls`) may stand before it.
fn split_at_mode<'columns, 'line>(
    columns: &'columns [Column<'line>],
) -> Option<(Permissions, &'columns [Column<'line>])> {
    let index = columns.iter().take(3).position(|column| !column.is_number())?;
    let (mode, rest) = columns.get(index..)?.split_first()?;
    Some((parse_permissions(mode.bytes)?, rest))
}

fn parse_permissions(bytes: &[u8]) -> Option<Permissions> {
    let (kind, rest) = bytes.split_first()?;
    let kind = match kind {
        // `M` and `C`: files moved to tape, and contiguous ones.
        b'-' | b'M' | b'C' => EntryKind::File,
        b'd' => EntryKind::Directory,
        b'l' => EntryKind::Symlink,
        b'b' | b'c' | b'p' | b's' | b'D' | b'P' | b'n' | b'w' => EntryKind::Other,
        _ => return None,
    };
    let len = rest.iter().position(|byte| !b"rwxsStTlL-".contains(byte)).unwrap_or(rest.len());
    let (letters, mark) = rest.split_at_checked(len)?;
    // A mark for an ACL or other attributes, and behind it perhaps a number of links that filled its column.
    let links = match mark.split_first() {
        None => mark,
        Some((b'+' | b'@' | b'.' | b'*', links)) => links,
        Some(_) => return None,
    };
    if !(8..=9).contains(&letters.len()) || !links.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(Permissions { kind, mode: parse_mode(letters) })
}

/// The bits of `rwxr-sr-t`.
fn parse_mode(letters: &[u8]) -> Option<u32> {
    let (triples, []) = letters.as_chunks::<3>() else { return None };
    let (mut bits, mut special_bits) = (0, 0);
    for ([read, write, execute], special) in triples.iter().zip([0o4000, 0o2000, 0o1000]) {
        let read = bit_of(*read, b'r', 4)?;
        let write = bit_of(*write, b'w', 2)?;
        let (execute, special) = match execute {
            b'x' => (1, 0),
            b's' | b't' => (1, special),
            b'S' | b'T' | b'l' | b'L' => (0, special),
            b'-' => (0, 0),
            _ => return None,
        };
        bits = bits << 3 | read | write | execute;
        special_bits |= special;
    }
    Some(bits | special_bits)
}

/// `bit` where the letter is the one that stands for it, 0 for a `-`.
fn bit_of(letter: u8, meant: u8, bit: u32) -> Option<u32> {
    match letter {
        b'-' => Some(0),
        letter if letter == meant => Some(bit),
        _ => None,
    }
}

/// Where a line's date is, and what stands before it.
struct Found<'columns, 'line> {
    date: FoundDate<'line>,
    /// `None` where the column before the date is no number, as where a long group grew into it.
    size: Option<u64>,
    before_size: &'columns [Column<'line>],
}

/// Finds the date in the columns behind the permissions.
///
/// A user may be called `may`, and a name may hold a date: so first a date behind a number is looked for, with something
/// before that number; then what is less like a line of `ls`.
fn find_date<'columns, 'line>(columns: &'columns [Column<'line>]) -> Option<Found<'columns, 'line>> {
    let behind = |size_index: usize, parse: unix_date::Parse| {
        let (size, rest) = columns.get(size_index..)?.split_first()?;
        let date = parse(rest)?;
        Some(Found { date, size: parse_number(size.bytes), before_size: columns.get(..size_index)? })
    };
    let number_from = |first: usize, parse: unix_date::Parse| {
        (first..columns.len())
            .filter(|index| columns.get(*index).is_some_and(|column| column.is_number()))
            .find_map(|index| behind(index, parse))
    };
    number_from(1, unix_date::parse)
        .or_else(|| number_from(0, unix_date::parse))
        .or_else(|| number_from(1, unix_date::parse_of_unknown_month))
        .or_else(|| {
            let found = (1..columns.len()).find_map(|index| behind(index, unix_date::parse))?;
            // Nobody knows which column is which in such a line.
            Some(Found { before_size: &[], ..found })
        })
}

/// Owner and group, from the columns between permissions and size; `None` where it cannot be told which is which.
fn owner_and_group<'line>(columns: &[Column<'line>]) -> (Option<&'line [u8]>, Option<&'line [u8]>) {
    match columns {
        [links, owner, group] if links.is_number() => (Some(owner.bytes), Some(group.bytes)),
        [owner, group] if !owner.is_number() => (Some(owner.bytes), Some(group.bytes)),
        [links, owner] if links.is_number() && !owner.is_number() => (Some(owner.bytes), None),
        _ => (None, None),
    }
}

/// Splits `name -> target`. Where the arrow stands more than once, the size tells, which is the target's length for `ls`;
/// else the first one counts.
fn split_target(name: &[u8], size: Option<u64>) -> (&[u8], Option<&[u8]>) {
    const ARROW: &[u8] = b" -> ";
    let at = |index: usize| {
        let (name, target) = name.split_at_checked(index)?;
        Some((name, target.strip_prefix(ARROW)?))
    };
    let arrows = || name.windows(ARROW.len()).enumerate().filter(|(_, part)| *part == ARROW).map(|(index, _)| index);
    let by_size = arrows().filter_map(at).find(|(_, target)| u64::try_from(target.len()).ok() == size);
    match by_size.or_else(|| arrows().find_map(at)) {
        Some((name, target)) => (name, Some(target).filter(|target| !target.is_empty())),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests;

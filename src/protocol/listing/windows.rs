//! LIST as `DIR` of MS-DOS writes it: IIS by default, and some others on Windows.
//!
//! `04-06-00  03:47PM                  589 name`: month, day, year, the server's local time, size or `<DIR>`, name.

use super::columns::{Column, columns, parse_number};
use super::dates::{ListedDate, ListedTime, parse_year, small_number};
use super::{Context, Dialect, Line, without_slash};
use crate::protocol::entry::{Entry, EntryKind};

/// `DIR`, with years of two or four digits and clocks of 12 or 24 hours.
pub(super) const DIALECT: Dialect = Dialect { name: "DOS", parse };

/// IIS pads `<DIR>` with so many spaces, the last of which separates it from the name; more belong to the name.
const PADDING: &[u8] = b"          ";

fn parse(line: &[u8], context: &Context) -> Line {
    let columns = columns(line);
    let [date, rest @ ..] = columns.as_slice() else { return Line::NotMine };
    let Some(date) = Day::parse(date.bytes) else { return Line::NotMine };
    let Some((time, rest)) = split_time(rest) else { return Line::NotMine };
    let [what, ..] = rest else { return Line::NotMine };
    let modified = time.and_then(|time| date.at(time)).and_then(|date| date.to_timestamp(context));
    let Some((kind, size)) = parse_size(what.bytes) else { return Line::NotMine };
    let name = match kind {
        EntryKind::File => what.name(),
        _ => what.rest.strip_prefix(PADDING).or_else(|| Some(what.rest.trim_ascii_start())),
    };
    let Some(name) = name else { return Line::NotMine };
    Line::named(without_slash(name, kind), |name| Entry { size, modified, ..Entry::new(name, kind) })
}

/// Kind and size of `589`, `9,730`, `<DIR>`.
fn parse_size(bytes: &[u8]) -> Option<(EntryKind, Option<u64>)> {
    if bytes.first() == Some(&b'<') {
        return match bytes.to_ascii_uppercase().as_slice() {
            b"<DIR>" | b"<JUNCTION>" | b"<SYMLINKD>" => Some((EntryKind::Directory, None)),
            b"<SYMLINK>" => Some((EntryKind::File, None)),
            _ => None,
        };
    }
    let digits: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b',' | b'.')).collect();
    digits.iter().all(u8::is_ascii_digit).then(|| (EntryKind::File, parse_number(&digits)))
}

/// A day as listed; it may not exist, which still leaves the entry.
struct Day {
    year: i16,
    month: i8,
    day: i8,
}

impl Day {
    /// Reads `04-06-00`, `04/06/2000` (6 April), `2000-04-06`, `06.04.2000`.
    ///
    /// The order of `04-06-00` is the American one, which IIS writes in every country. A line that would only make sense in
    /// another order gets no time: the other lines of its listing could not be told from American ones.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.split(|byte| matches!(byte, b'-' | b'/' | b'.'));
        let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        if first.len() == 4 {
            return Some(Self {
                year: parse_year(first)?,
                month: small_number(second, 2)?,
                day: small_number(third, 2)?,
            });
        }
        let (first, second) = (small_number(first, 2)?, small_number(second, 2)?);
        let year = match small_number::<i16>(third, 2) {
            Some(year) if third.len() == 2 => year + if year < 70 { 2000 } else { 1900 },
            _ => parse_year(third)?,
        };
        let (month, day) = if bytes.contains(&b'.') { (second, first) } else { (first, second) };
        Some(Self { year, month, day })
    }

    fn at(&self, time: ListedTime) -> Option<ListedDate> {
        Some(ListedDate {
            year: Some(self.year),
            month: self.month,
            day: self.day,
            time: Some(time),
            zone_seconds: None,
        })
    }
}

/// Reads `15:47`, `03:47PM` or `03:47 PM`, and returns what follows; no time where there is no such hour.
fn split_time<'columns, 'line>(
    columns: &'columns [Column<'line>],
) -> Option<(Option<ListedTime>, &'columns [Column<'line>])> {
    let (first, rest) = columns.split_first()?;
    let (digits, half) = match first.bytes.iter().position(u8::is_ascii_alphabetic) {
        Some(letters) => first.bytes.split_at_checked(letters)?,
        None => (first.bytes, b"".as_slice()),
    };
    let time = ListedTime::parse(digits)?;
    if !half.is_empty() {
        return Some((time.of_12_hours(is_afternoon(half)?), rest));
    }
    if let Some((second, rest)) = rest.split_first()
        && let Some(is_afternoon) = is_afternoon(second.bytes)
    {
        return Some((time.of_12_hours(is_afternoon), rest));
    }
    Some((Some(time), rest))
}

/// What `AM` or `PM` says; `None` for anything else.
fn is_afternoon(half: &[u8]) -> Option<bool> {
    match half.to_ascii_uppercase().as_slice() {
        b"AM" | b"A" => Some(false),
        b"PM" | b"P" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { now_seconds: 0, ahead_of_utc_seconds: 0 };

    fn entry(line: &str) -> Entry {
        match parse(line.as_bytes(), &CONTEXT) {
            Line::Entry(entry) => entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn time(line: &str) -> Option<String> {
        entry(line).modified.map(|time| jiff::Timestamp::from_second(time.seconds).unwrap().to_string())
    }

    #[test]
    fn lines_of_iis_are_read_with_the_spaces_of_names() {
        let file = entry("02-28-24  11:05AM              1048576  lead.bin");
        assert_eq!((file.name.as_bytes(), file.kind, file.size), (&b" lead.bin"[..], EntryKind::File, Some(1_048_576)));
        let directory = entry("02-28-24  11:05AM       <DIR>          aspnet client ");
        assert_eq!((directory.name.as_bytes(), directory.kind), (&b"aspnet client "[..], EntryKind::Directory));
        assert_eq!(entry("02-28-24  11:05AM       <DIR>            two").name.as_bytes(), b"  two");
        assert_eq!(entry("02-28-24 11:05       <DIR> near").name.as_bytes(), b"near");
    }

    #[test]
    fn clocks_of_12_and_24_hours_and_years_of_2_and_4_digits_are_read() {
        for (date, expected) in [
            ("04-06-00  03:47PM", "2000-04-06T15:47:00Z"),
            ("04-06-69  12:00AM", "2069-04-06T00:00:00Z"),
            ("04-06-70  12:00PM", "1970-04-06T12:00:00Z"),
            ("04-06-2015  11:59 PM", "2015-04-06T23:59:00Z"),
            ("2013-09-02  19:06", "2013-09-02T19:06:00Z"),
            ("04/06/15  09:07p", "2015-04-06T21:07:00Z"),
            ("24.12.2023  18:30", "2023-12-24T18:30:00Z"),
        ] {
            assert_eq!(time(&format!("{date}      7 x")).as_deref(), Some(expected), "{date}");
        }
    }

    #[test]
    fn day_that_cannot_be_costs_the_time_and_not_the_entry() {
        for date in
            ["34-08-14  03:09PM", "13-08-14  03:09PM", "02-30-14  03:09PM", "02-03-14  30:09", "02-03-14  00:09AM"]
        {
            assert_eq!(time(&format!("{date}      7 x")), None, "{date}");
        }
    }

    #[test]
    fn thousands_may_be_grouped() {
        assert_eq!(entry("04-08-14  03:09PM  1,234,567 big.bin").size, Some(1_234_567));
        assert_eq!(entry("04-08-14  03:09PM  99999999999999999999 over").size, None);
    }

    #[test]
    fn lines_of_other_dialects_are_left_to_them() {
        for line in [
            "-rw-r--r-- 1 u g 5 Jan  1  2020 x",
            "04-08-14  03:09PM  <DIR>",
            "04-08-14  03:09PM  12",
            "04-08-14  03:09PM  <WHAT> x",
            "04-08-14  readme",
            "04-08-14",
            "total 12",
            "               5 File(s)          12 bytes",
        ] {
            assert_eq!(parse(line.as_bytes(), &CONTEXT), Line::NotMine, "{line}");
        }
    }
}

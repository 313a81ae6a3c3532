//! LIST as EPLF, D. J. Bernstein's "easily parsed LIST format": `+i8388621.48594,m825718503,r,s280,` TAB `name`.
//!
//! Source: <https://cr.yp.to/ftp/list/eplf.html>. Times are Unix time, so neither zone nor year is guessed.

use super::columns::parse_number;
use super::{Context, Dialect, Line};
use crate::protocol::entry::{Entry, EntryKind, Precision, Timestamp};

/// A `+`, facts, each with a comma behind it, a tab and the name.
pub(super) const DIALECT: Dialect = Dialect { name: "EPLF", parse };

fn parse(line: &[u8], _context: &Context) -> Line {
    let Some(line) = line.strip_prefix(b"+") else { return Line::NotMine };
    let Some(tab) = line.iter().position(|byte| *byte == b'\t') else { return Line::NotMine };
    let Some((facts, name)) = line.split_at_checked(tab) else { return Line::NotMine };
    Line::named(name.strip_prefix(b"\t").unwrap_or(name), |name| {
        // Without `r` or `/` it can be neither fetched nor entered.
        let mut entry = Entry::new(name, EntryKind::Other);
        for fact in facts.split(|byte| *byte == b',') {
            take_fact(&mut entry, fact);
        }
        entry
    })
}

fn take_fact(entry: &mut Entry, fact: &[u8]) {
    match fact.split_first() {
        Some((b'/', b"")) => entry.kind = EntryKind::Directory,
        Some((b'r', b"")) if entry.kind != EntryKind::Directory => entry.kind = EntryKind::File,
        Some((b's', size)) => entry.size = parse_number(size),
        Some((b'm', time)) => entry.modified = parse_unix_time(time),
        Some((b'i', unique)) => entry.unique = Some(unique.into()),
        Some((b'u', mode)) => {
            if let Some(octal) = mode.strip_prefix(b"p") {
                entry.mode = std::str::from_utf8(octal).ok().and_then(|octal| u32::from_str_radix(octal, 8).ok());
                entry.mode = entry.mode.filter(|mode| *mode <= 0o7777);
            }
        }
        _ => {}
    }
}

fn parse_unix_time(digits: &[u8]) -> Option<Timestamp> {
    let seconds = i64::try_from(parse_number(digits)?).ok()?;
    Some(Timestamp { seconds, nanoseconds: 0, precision: Precision::Second })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { now_seconds: 0, ahead_of_utc_seconds: 7200 };

    fn entry(line: &[u8]) -> Entry {
        match parse(line, &CONTEXT) {
            Line::Entry(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn facts_say_kind_size_time_and_identity() {
        let file = entry(b"+i77.12,m825718503,r,s280,up644,\tdjb html");
        assert_eq!((file.name.as_bytes(), file.kind, file.size), (&b"djb html"[..], EntryKind::File, Some(280)));
        assert_eq!((file.mode, file.unique.as_deref()), (Some(0o644), Some(&b"77.12"[..])));
        // Unix time is UTC whatever the server's zone.
        assert_eq!(file.modified.map(|time| time.seconds), Some(825_718_503));
        assert_eq!(entry(b"+m1,/,\t514").kind, EntryKind::Directory);
        assert_eq!(entry(b"+m1,\tneither").kind, EntryKind::Other);
    }

    #[test]
    fn line_without_tab_is_another_dialects() {
        assert_eq!(parse(b"+m1,r,s2 name", &CONTEXT), Line::NotMine);
        assert_eq!(parse(b"-m1,r,\tname", &CONTEXT), Line::NotMine);
        assert_eq!(parse(b"+m1,r,\t../x", &CONTEXT), Line::Refused);
    }
}

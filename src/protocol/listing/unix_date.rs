//! Where the date of an `ls -l` line ends, and what it says, in the many ways it is written.

use super::columns::Column;
use super::dates::{ListedDate, ListedTime, parse_month, parse_year, parse_zone, small_number};

/// A date that begins with the first of some columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundDate<'line> {
    /// Its last column: the name stands behind.
    pub(super) last: Column<'line>,
    /// `None` where the name of the month is not known.
    pub(super) date: Option<ListedDate>,
}

/// Reads a date from the first columns on; `None` where no date begins there.
pub(super) type Parse = for<'columns, 'line> fn(&'columns [Column<'line>]) -> Option<FoundDate<'line>>;

/// Reads a date in any of the known ways.
pub(super) fn parse<'line>(columns: &[Column<'line>]) -> Option<FoundDate<'line>> {
    parse_iso(columns)
        .or_else(|| parse_named(columns))
        .or_else(|| parse_month_and_day(columns))
        .or_else(|| parse_suffixed(columns))
}

/// Reads `foo 12 10:30`: a word where the month should be, in a language that we do not know. The name behind it is known
/// all the same.
pub(super) fn parse_of_unknown_month<'line>(columns: &[Column<'line>]) -> Option<FoundDate<'line>> {
    let [first, second, last, ..] = columns else { return None };
    let is_word = |column: &Column<'_>| {
        column.bytes.iter().all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80 || *byte == b'.')
    };
    let is_dated =
        (is_word(first) && parse_day(second.bytes).is_some()) || (is_word(second) && parse_day(first.bytes).is_some());
    let is_ended = parse_year(last.bytes).is_some() || ListedTime::parse(last.bytes).is_some();
    (is_dated && is_ended).then_some(FoundDate { last: *last, date: None })
}

/// `Apr  8  1994`, `Jan 29 03:26`, `01 oct 2004`, `Oct 08, 2002 09:47`, `Jan  1 12:34:56 2020`.
fn parse_named<'line>(columns: &[Column<'line>]) -> Option<FoundDate<'line>> {
    let [first, second, rest @ ..] = columns else { return None };
    let (month, day) = match parse_month(first.bytes) {
        Some(month) => (month, parse_day(second.bytes)?),
        None => (parse_month(second.bytes)?, parse_day(first.bytes)?),
    };
    // VShell puts a comma behind the day, and a time behind the year.
    let is_time_after_year = second.bytes.ends_with(b",");
    parse_year_or_time(month, day, is_time_after_year, rest)
}

/// `09-26 2000` or `09-26 10:30`.
fn parse_month_and_day<'line>(columns: &[Column<'line>]) -> Option<FoundDate<'line>> {
    let (first, rest) = columns.split_first()?;
    let mut parts = first.bytes.split(|byte| *byte == b'-');
    let month = small_number(parts.next()?, 2)?;
    let day = parse_day(parts.next()?)?;
    if parts.next().is_some() {
        return None;
    }
    parse_year_or_time(month, day, false, rest)
}

/// What follows month and day.
fn parse_year_or_time<'line>(
    month: i8,
    day: i8,
    is_time_after_year: bool,
    columns: &[Column<'line>],
) -> Option<FoundDate<'line>> {
    let (first, rest) = columns.split_first()?;
    let next = rest.first();
    let mut date = ListedDate { year: None, month, day, time: None, zone_seconds: None };
    let mut last = *first;
    if let Some(year) = parse_year(first.bytes) {
        date.year = Some(year);
        if let Some((column, time)) = next.and_then(|column| Some((column, ListedTime::parse(column.bytes)?)))
            && is_time_after_year
        {
            (date.time, last) = (Some(time), *column);
        }
    } else {
        let time = ListedTime::parse(first.bytes)?;
        date.time = Some(time);
        // `ls -lT` of BSD is the one that writes seconds here, and the year behind them.
        if let Some((column, year)) = next.and_then(|column| Some((column, parse_year(column.bytes)?)))
            && time.has_seconds()
        {
            (date.year, last) = (Some(year), *column);
        }
    }
    Some(FoundDate { last, date: Some(date) })
}

/// `2005-06-07 21:22`, `1999/10/12 17:12`, `2005-06-07 21:22:33.000000000 +0200`, `2005-06-07`.
fn parse_iso<'line>(columns: &[Column<'line>]) -> Option<FoundDate<'line>> {
    let (first, rest) = columns.split_first()?;
    let mut parts = first.bytes.split(|byte| *byte == b'-' || *byte == b'/');
    let year = parse_year(parts.next()?)?;
    let month = small_number(parts.next()?, 2)?;
    let day = parse_day(parts.next()?)?;
    if parts.next().is_some() {
        return None;
    }
    let mut date = ListedDate { year: Some(year), month, day, time: None, zone_seconds: None };
    let mut last = *first;
    if let Some((column, rest)) = rest.split_first()
        && let Some(time) = ListedTime::parse(column.bytes)
    {
        (date.time, last) = (Some(time), *column);
        if let Some(column) = rest.first()
            && let Some(zone) = parse_zone(column.bytes)
            && time.has_seconds()
        {
            (date.zone_seconds, last) = (Some(zone), *column);
        }
    }
    Some(FoundDate { last, date: Some(date) })
}

/// `4月 18日 2003年`, `3月 2日 15:13`, `2005년  1월  6일`: numbers with a sign for year, month or day behind them, in whatever
/// charset, so only the order counts.
fn parse_suffixed<'line>(columns: &[Column<'line>]) -> Option<FoundDate<'line>> {
    let (first, rest) = columns.split_first()?;
    let number = suffixed_number(first.bytes)?;
    if number >= 1900 {
        let [month, day, ..] = rest else { return None };
        let date = ListedDate {
            year: Some(number),
            month: i8::try_from(suffixed_number(month.bytes)?).ok()?,
            day: i8::try_from(suffixed_number(day.bytes)?).ok()?,
            time: None,
            zone_seconds: None,
        };
        return Some(FoundDate { last: *day, date: Some(date) });
    }
    let month = i8::try_from(number).ok()?;
    let [day, year_or_time, ..] = rest else { return None };
    let day = suffixed_number(day.bytes).and_then(|day| i8::try_from(day).ok()).or_else(|| parse_day(day.bytes))?;
    if let Some(year) = suffixed_number(year_or_time.bytes) {
        let date = ListedDate { year: Some(year), month, day, time: None, zone_seconds: None };
        return Some(FoundDate { last: *year_or_time, date: Some(date) });
    }
    parse_year_or_time(month, day, false, rest.get(1..)?)
}

/// A number with one letter beyond ASCII behind it. In Shift-JIS the second byte of 年 is an `N`.
fn suffixed_number(bytes: &[u8]) -> Option<i16> {
    let digits = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, suffix) = bytes.split_at_checked(digits)?;
    if digits.is_empty() || suffix.len() > 4 || suffix.first().is_none_or(u8::is_ascii) {
        return None;
    }
    small_number(digits, 4)
}

/// `8`, `08`, and with the dot or comma that some languages put behind it.
fn parse_day(bytes: &[u8]) -> Option<i8> {
    let bytes = bytes.strip_suffix(b".").or_else(|| bytes.strip_suffix(b",")).unwrap_or(bytes);
    small_number(bytes, 2).filter(|day| (1..=31).contains(day))
}

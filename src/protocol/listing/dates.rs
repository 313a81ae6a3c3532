//! Dates in LIST: month names of many languages, years that are not written, local time.
//!
//! Not here: times in facts, which have one format and are UTC (`timestamp`).

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::Context;
use crate::protocol::entry::{Precision, Timestamp};

/// How far ahead of our clock a date without a year may lie before it is taken for last year's: the server's clock,
/// or its zone, may be ahead of ours.
const FUTURE_SECONDS_MAX: i64 = 86_400;

/// A time of day as listed; `24:00:00` is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListedTime {
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    precision: Precision,
}

impl ListedTime {
    /// Reads `9:05`, `09:05`, `09:05:59` or `09:05:59.123456789`; whether the hour exists is not asked yet, since a
    /// damaged time still tells where the name begins.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.split(|byte| *byte == b':');
        let hour = small_number(parts.next()?, 2)?;
        let minute = small_number(parts.next().filter(|part| part.len() == 2)?, 2)?;
        let mut time = Self { hour, minute, second: 0, nanosecond: 0, precision: Precision::Minute };
        if let Some(second) = parts.next() {
            let (second, fraction) = second.split_at_checked(2)?;
            time.second = small_number(second, 2)?;
            time.precision = Precision::Second;
            if let Some(fraction) = fraction.strip_prefix(b".") {
                time.nanosecond = parse_fraction(fraction)?;
                time.precision = Precision::Nanosecond;
            } else if !fraction.is_empty() {
                return None;
            }
        }
        parts.next().is_none().then_some(time)
    }

    /// This time of a 12-hour clock as one of 24 hours; `None` where there is no such hour.
    pub(super) fn of_12_hours(self, is_afternoon: bool) -> Option<Self> {
        let hour = match (self.hour, is_afternoon) {
            (12, false) => 0,
            (12, true) => 12,
            (1..=11, false) => self.hour,
            (1..=11, true) => self.hour + 12,
            // `13:30PM`: servers that print both clocks at once mean the first.
            (13..=23, true) => self.hour,
            _ => return None,
        };
        Some(Self { hour, ..self })
    }

    /// Whether seconds were written.
    pub(super) fn has_seconds(self) -> bool {
        self.precision > Precision::Minute
    }

    fn on(self, date: Date) -> Option<DateTime> {
        if (self.hour, self.minute, self.second, self.nanosecond) == (24, 0, 0, 0) {
            return Some(date.tomorrow().ok()?.to_datetime(Time::midnight()));
        }
        // A leap second has no number of its own in Unix time.
        let second = if self.second == 60 { 59 } else { self.second };
        Some(date.to_datetime(Time::new(self.hour, self.minute, second, self.nanosecond).ok()?))
    }
}

/// A day and perhaps a time, as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListedDate {
    /// `None` where it must be guessed.
    pub(super) year: Option<i16>,
    pub(super) month: i8,
    pub(super) day: i8,
    pub(super) time: Option<ListedTime>,
    /// The zone as written behind the time, in seconds ahead of UTC; else it is the server's local time.
    pub(super) zone_seconds: Option<i32>,
}

impl ListedDate {
    /// The time meant, in UTC; `None` for a day or an hour that does not exist, like 30 February.
    pub(super) fn to_timestamp(self, context: &Context) -> Option<Timestamp> {
        let ahead = self.zone_seconds.unwrap_or(context.ahead_of_utc_seconds);
        let local = match self.year {
            Some(year) => self.in_year(year)?,
            None => self.in_latest_year(context.now_seconds.checked_add(i64::from(ahead))?)?,
        };
        let precision = self.time.map_or(Precision::Day, |time| time.precision);
        Some(Timestamp {
            seconds: seconds_of(local)?.checked_sub(i64::from(ahead))?,
            nanoseconds: u32::try_from(local.subsec_nanosecond()).ok()?,
            precision,
        })
    }

    /// The last time, up to a day from `local_now_seconds` on, that the calendar showed this date.
    ///
    /// `ls` leaves the year out of dates of the last six months; others leave it out of all, so a guess further
    /// back than last year is none.
    fn in_latest_year(self, local_now_seconds: i64) -> Option<DateTime> {
        let today = Offset::UTC.to_datetime(jiff::Timestamp::from_second(local_now_seconds).ok()?).date();
        let latest = local_now_seconds.checked_add(FUTURE_SECONDS_MAX)?;
        [today.year().checked_add(1)?, today.year(), today.year() - 1].into_iter().find_map(|year| {
            // 29 February is no date in most years: then the next one is tried.
            self.in_year(year).filter(|date| seconds_of(*date).is_some_and(|seconds| seconds <= latest))
        })
    }

    fn in_year(self, year: i16) -> Option<DateTime> {
        let date = Date::new(year, self.month, self.day).ok()?;
        match self.time {
            Some(time) => time.on(date),
            None => Some(date.to_datetime(Time::midnight())),
        }
    }
}

fn seconds_of(date: DateTime) -> Option<i64> {
    // Rounded down, also before 1970: the nanoseconds are added to it.
    let whole = date.with().subsec_nanosecond(0).build().ok()?;
    Some(Offset::UTC.to_timestamp(whole).ok()?.as_second())
}

/// A number of one to `digits_max` digits.
pub(super) fn small_number<T: std::str::FromStr>(bytes: &[u8], digits_max: usize) -> Option<T> {
    if bytes.len() > digits_max || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A year of four digits that a file can have.
pub(super) fn parse_year(bytes: &[u8]) -> Option<i16> {
    if bytes.len() != 4 {
        return None;
    }
    small_number(bytes, 4).filter(|year| (1900..=2999).contains(year))
}

/// The nanoseconds of a fraction's digits.
fn parse_fraction(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nine = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    Some(nine.fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0')))
}

/// `+0200` or `-0330`, in seconds ahead of UTC.
pub(super) fn parse_zone(bytes: &[u8]) -> Option<i32> {
    let (sign, digits) = bytes.split_at_checked(1)?;
    let (hours, minutes) = digits.split_at_checked(2)?;
    let (hours, minutes) = (small_number::<i32>(hours, 2)?, small_number::<i32>(minutes, 2)?);
    if minutes > 59 || hours > 15 || digits.len() != 4 {
        return None;
    }
    match sign {
        b"+" => Some(hours * 3600 + minutes * 60),
        b"-" => Some(-(hours * 3600 + minutes * 60)),
        _ => None,
    }
}

/// The month of a name or its abbreviation in any of the languages below, with or without a dot; case
/// does not count.
///
/// Words that mean different months in two languages are left out: `lis` (Polish and Czech November, Croatian
/// October), `lip` (Polish July, Croatian June), `srp` (Czech August, Croatian July).
pub(super) fn parse_month(word: &[u8]) -> Option<i8> {
    let word = word.strip_suffix(b".").unwrap_or(word);
    // The longest names (`settembre`) have 9 letters, of up to two bytes.
    if word.len() < 3 || word.len() > 18 {
        return None;
    }
    let text = match std::str::from_utf8(word) {
        Ok(text) => text.to_lowercase(),
        // Then perhaps Latin-1 (`d\xe9c`, `m\xe4r`), whose bytes are the numbers of its characters.
        Err(_) => word.iter().map(|byte| char::from(*byte)).collect::<String>().to_lowercase(),
    };
    let position = MONTHS.iter().position(|names| names.split(' ').any(|name| name == text))?;
    i8::try_from(position + 1).ok()
}

/// English first, then what other languages add: German, French, Spanish, Italian, Portuguese, Dutch, Danish,
/// Norwegian, Swedish, Finnish, Polish, Czech, Croatian, Slovak, Hungarian, Romanian, Turkish, Russian.
const MONTHS: [&str; 12] = [
    "jan january januar jän jänner janv janvier ene enero gen gennaio janeiro januari tammi sty led sij ian oca \
     янв января",
    "feb february februar fév févr février fevr febrero febbraio fev fevereiro februari helmi lut úno vel febr \
     şub фев февр февраля",
    "mar march mär märz mrz mars marzo março mrt maart maalis bře ožu márc мар марта",
    "apr april avr avril abr abril aprile huhti kwi dub tra ápr nis апр апреля",
    "may mai mayo mag maggio maio mei maj touko kvě svi máj мая май",
    "jun june juni juin junio giu giugno junho kesä cze čen jún iun haz июн июня",
    "jul july juli juil juillet julio lug luglio julho heinä čec júl iul tem июл июля",
    "aug august août aou aoû ago agosto augustus elo sie kol ağu авг августа",
    "sep sept september septembre septiembre set settembre setembro syys wrz zář ruj szept eyl сен сент \
     сентября",
    "oct october okt oktober octobre octubre ott ottobre out outubro loka paź říj eki окт октября",
    "nov november novembre noviembre novembro marras stu noi kas ноя нояб ноября",
    "dec december dez dezember déc décembre dic diciembre dicembre dezembro des desember joulu gru pro ara дек \
     декабря",
];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn at(now: &str) -> Context {
        Context { now_seconds: now.parse::<jiff::Timestamp>().unwrap().as_second(), ahead_of_utc_seconds: 0 }
    }

    fn guessed(month: i8, day: i8, time: &str, now: &str) -> Option<String> {
        let time = ListedTime::parse(time.as_bytes());
        let date = ListedDate { year: None, month, day, time, zone_seconds: None };
        date.to_timestamp(&at(now)).map(|time| jiff::Timestamp::from_second(time.seconds).unwrap().to_string())
    }

    #[test]
    fn year_is_the_last_that_is_at_most_a_day_ahead() {
        let now = "2025-01-01T00:30:00Z";
        assert_eq!(guessed(12, 31, "23:59", now).as_deref(), Some("2024-12-31T23:59:00Z"));
        assert_eq!(guessed(1, 1, "12:00", now).as_deref(), Some("2025-01-01T12:00:00Z"));
        assert_eq!(guessed(1, 2, "00:30", now).as_deref(), Some("2025-01-02T00:30:00Z"));
        assert_eq!(guessed(1, 2, "00:31", now).as_deref(), Some("2024-01-02T00:31:00Z"));
        assert_eq!(guessed(1, 1, "00:10", "2024-12-31T23:50:00Z").as_deref(), Some("2025-01-01T00:10:00Z"));
    }

    #[test]
    fn leap_day_is_of_a_year_that_has_one_or_of_none() {
        assert_eq!(guessed(2, 29, "10:00", "2025-01-10T00:00:00Z").as_deref(), Some("2024-02-29T10:00:00Z"));
        assert_eq!(guessed(2, 29, "10:00", "2027-01-10T00:00:00Z"), None);
    }

    #[test]
    fn year_is_guessed_in_the_zone_of_the_server() {
        let date = ListedDate { year: None, month: 1, day: 1, time: ListedTime::parse(b"09:00"), zone_seconds: None };
        let context = Context { ahead_of_utc_seconds: 12 * 3600, ..at("2023-12-31T22:00:00Z") };
        let time = date.to_timestamp(&context).unwrap();
        assert_eq!(jiff::Timestamp::from_second(time.seconds).unwrap().to_string(), "2023-12-31T21:00:00Z");
    }

    #[test]
    fn end_of_day_is_the_next_midnight() {
        let date = ListedDate {
            year: Some(1999),
            month: 12,
            day: 31,
            time: ListedTime::parse(b"24:00:00"),
            zone_seconds: None,
        };
        assert_eq!(date.to_timestamp(&at("2020-01-01T00:00:00Z")).map(|time| time.seconds), Some(946_684_800));
        let date = ListedDate { time: ListedTime::parse(b"24:01"), ..date };
        assert_eq!(date.to_timestamp(&at("2020-01-01T00:00:00Z")), None);
    }

    #[test]
    fn fraction_before_1970_counts_upwards() {
        let date = ListedDate {
            year: Some(1969),
            month: 12,
            day: 31,
            time: ListedTime::parse(b"23:59:59.25"),
            zone_seconds: None,
        };
        let time = date.to_timestamp(&at("2020-01-01T00:00:00Z")).unwrap();
        assert_eq!((time.seconds, time.nanoseconds, time.precision), (-1, 250_000_000, Precision::Nanosecond));
    }

    #[test]
    fn months_are_known_in_many_languages_and_left_alone_where_they_differ() {
        for (word, month) in [
            (&b"Jan"[..], 1),
            (b"f\xc3\xa9vr.", 2),
            (b"M\xe4r", 3),
            (b"mai", 5),
            (b"ao\xc3\xbbt", 8),
            (b"szept", 9),
            (b"OKT", 10),
            (b"D\xe9c", 12),
        ] {
            assert_eq!(parse_month(word), Some(month), "{}", word.escape_ascii());
        }
        for word in [&b"lis"[..], b"lip", b"srp", b"ja", b"", b"1", b"\xff\xff\xff"] {
            assert_eq!(parse_month(word), None, "{}", word.escape_ascii());
        }
    }

    #[test]
    fn no_name_of_a_month_stands_for_two() {
        let mut months = HashMap::new();
        for (month, names) in MONTHS.iter().enumerate() {
            for name in names.split(' ') {
                assert_eq!(months.insert(name, month), None, "{name}");
            }
        }
    }
}

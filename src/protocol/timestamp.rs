//! Times as FTP writes them: `YYYYMMDDHHMMSS` and perhaps a fraction, in UTC (RFC 3659 §2.3).
//!
//! Not here: the dates in LIST lines (`listing`), which have neither zone nor seconds.

use std::time::{Duration, SystemTime};

use super::entry::{Precision, Timestamp};
use super::reply::{Reply, ReplyClass};

/// 0000-01-01 00:00:00 UTC.
const FIRST_SECOND: i64 = -62_167_219_200;
/// 9999-12-31 23:59:59 UTC.
const LAST_SECOND: i64 = 253_402_300_799;

/// Reads a time-val: 14 digits, then perhaps a point and a fraction (RFC 3659 §2.3).
///
/// Also read: years written as 19 and the years since 1900 (`19100` for 2000, from servers that were not ready
/// for it), 12 digits without seconds, blanks around it, a comma for the point, second 60. Digits of a fraction
/// beyond the ninth are dropped. `None` for everything else, and for a day that does not exist.
pub fn parse_time_val(bytes: &[u8]) -> Option<Timestamp> {
    let bytes = bytes.trim_ascii();
    let (digits, fraction) = match bytes.iter().position(|byte| matches!(byte, b'.' | b',')) {
        Some(point) => (bytes.get(..point)?, bytes.get(point + 1..)),
        None => (bytes, None),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year_len, year_base, precision) = match (digits.len(), digits) {
        (14, _) => (4, 0, Precision::Second),
        (12, _) => (4, 0, Precision::Minute),
        // 19100: "19" and the years since 1900.
        (15, [b'1', b'9', ..]) => (5, 1900 - 19_000, Precision::Second),
        _ => return None,
    };
    let (year, rest) = digits.split_at_checked(year_len)?;
    let year = decimal(year)? + year_base;
    let mut pairs = rest.chunks(2).map(decimal);
    let mut pair = || pairs.next().flatten();
    let (month, day, hour, minute) = (pair()?, pair()?, pair()?, pair()?);
    let second = if precision == Precision::Minute { 0 } else { pair()? };
    // A leap second is the first of the next minute, as in POSIX.
    if !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (nanoseconds, precision) = match fraction {
        Some(fraction) if !fraction.is_empty() => (parse_fraction(fraction)?, Precision::Nanosecond),
        _ => (0, precision),
    };
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp { seconds, nanoseconds, precision })
}

/// Writes a time as `YYYYMMDDHHMMSS`: whole seconds, as MFMT and its like take it (draft-somers-ftp-mfxx).
///
/// A time that [`is_expressible`] denies becomes the nearest that four digits for the year can say.
pub fn format_time_val(time: &Timestamp) -> String {
    let seconds = time.seconds.clamp(FIRST_SECOND, LAST_SECOND);
    let (year, month, day) = date_of_day(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// Whether [`format_time_val`] can say it: the years 0 to 9999.
pub fn is_expressible(time: &Timestamp) -> bool {
    (FIRST_SECOND..=LAST_SECOND).contains(&time.seconds)
}

/// The time in an answer to MDTM, `213 20200229235959.123` (RFC 3659 §3). Words around it are passed over.
pub fn parse_mdtm_reply(reply: &Reply) -> Option<Timestamp> {
    if reply.code().class() != ReplyClass::Completion {
        return None;
    }
    reply.lines().iter().flat_map(|line| line.split(u8::is_ascii_whitespace)).find_map(parse_time_val)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let (seconds, nanoseconds) = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            Err(error) => {
                let before = error.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
                // -0.25 s is second -1 and 0.75 s of it.
                match before.subsec_nanos() {
                    0 => (seconds, 0),
                    nanoseconds => (seconds.saturating_sub(1), 1_000_000_000 - nanoseconds),
                }
            }
        };
        Self { seconds, nanoseconds, precision: Precision::Nanosecond }
    }
}

/// A time that the system cannot express becomes 1970-01-01.
impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let base = if time.seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        base.and_then(|base| base.checked_add(Duration::from_nanos(u64::from(time.nanoseconds))))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// At most five digits, so it cannot overflow.
fn decimal(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Nanoseconds of the digits behind the point.
fn parse_fraction(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some(padded.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last one of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    days + day_of_year - 719_468
}

/// Year, month and day: the reverse of [`days_since_1970`].
fn date_of_day(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

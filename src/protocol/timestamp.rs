//! Times as FTP writes them: `YYYYMMDDHHMMSS` and perhaps a fraction, in UTC (RFC 3659 §2.3).
//!
//! Not here: the dates in LIST lines (`listing`), which have neither zone nor seconds.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::entry::{Precision, Timestamp};
use super::reply::{Reply, ReplyClass};

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
    let year = decimal::<i16>(year)? + year_base;
    let mut pairs = rest.chunks(2).map(decimal::<i8>);
    let mut pair = || pairs.next().flatten();
    let (month, day, hour, minute) = (pair()?, pair()?, pair()?, pair()?);
    let second = if precision == Precision::Minute { 0 } else { pair()? };
    if second > 60 {
        return None;
    }
    // A leap second is the first of the next minute, as in POSIX.
    let date_time = DateTime::new(year, month, day, hour, minute, second.min(59), 0).ok()?;
    let seconds = Offset::UTC.to_timestamp(date_time).ok()?.as_second() + i64::from(second / 60);
    let (nanoseconds, precision) = match fraction {
        Some(fraction) if !fraction.is_empty() => (parse_fraction(fraction)?, Precision::Nanosecond),
        _ => (0, precision),
    };
    Some(Timestamp { seconds, nanoseconds, precision })
}

/// Writes a time as `YYYYMMDDHHMMSS`: whole seconds, as MFMT and its like take it (draft-somers-ftp-mfxx).
///
/// A time that [`is_expressible`] denies becomes 1970-01-01; [`super::Command::encode`] refuses it before.
pub fn format_time_val(time: &Timestamp) -> String {
    let time = utc(time).unwrap_or(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// Whether [`format_time_val`] can say it: from the year 0 to the last but one day of 9999.
pub fn is_expressible(time: &Timestamp) -> bool {
    utc(time).is_some()
}

fn utc(time: &Timestamp) -> Option<DateTime> {
    let time = jiff::Timestamp::from_second(time.seconds).ok()?;
    Some(Offset::UTC.to_datetime(time)).filter(|time| time.year() >= 0)
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

fn decimal<T: FromStr>(digits: &[u8]) -> Option<T> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::ReplyCode;

    fn seconds(text: &str) -> Option<i64> {
        parse_time_val(text.as_bytes()).map(|time| time.seconds)
    }

    #[test]
    fn time_val_is_read_in_utc() {
        assert_eq!(seconds("19700101000000"), Some(0));
        assert_eq!(seconds("20200229235959"), Some(1_583_020_799));
        assert_eq!(seconds("19691231235959"), Some(-1));
        assert_eq!(seconds("00000101000000"), Some(-62_167_219_200));
    }

    #[test]
    fn fraction_is_kept_to_the_nanosecond() {
        let read = |text: &[u8]| parse_time_val(text).map(|time| (time.nanoseconds, time.precision));
        assert_eq!(read(b"20200229235959"), Some((0, Precision::Second)));
        assert_eq!(read(b"20200229235959.5"), Some((500_000_000, Precision::Nanosecond)));
        assert_eq!(read(b"20200229235959.0000000019"), Some((1, Precision::Nanosecond)));
        assert_eq!(read(b"20200229235959."), Some((0, Precision::Second)));
        assert_eq!(read(b"202002292359"), Some((0, Precision::Minute)));
    }

    #[test]
    fn year_counted_from_1900_is_read() {
        assert_eq!(seconds("191000229120000"), seconds("20000229120000"));
        assert_eq!(seconds("191250229120000"), None, "2025 has no leap day");
        assert_eq!(seconds("191250228120000"), seconds("20250228120000"));
    }

    #[test]
    fn leap_second_is_the_next_minute() {
        assert_eq!(seconds("20161231235960"), seconds("20170101000000"));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "0",
            "2020",
            "20200230000000",
            "20201301000000",
            "20200001000000",
            "20200101240000",
            "20200101006000",
            "20200101000061",
            "2020010100000",
            "202001010000000",
            "2020-01-01 00:00",
            "20200101000000.x",
            "-1970010100000",
            "+1970010100000",
            "20200101 00000",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn mdtm_reply_holds_a_time_only_if_it_is_a_completion() {
        let reply = |number, text: &str| Reply::new(ReplyCode::new(number).unwrap(), vec![text.into()]);
        assert_eq!(parse_mdtm_reply(&reply(213, "20200229235959.123")).map(|time| time.seconds), Some(1_583_020_799));
        assert_eq!(parse_mdtm_reply(&reply(213, "MDTM 20200229235959")).map(|time| time.seconds), Some(1_583_020_799));
        assert_eq!(parse_mdtm_reply(&reply(550, "20200229235959")), None);
        assert_eq!(parse_mdtm_reply(&reply(213, "not a plain file")), None);
    }

    #[test]
    fn system_time_before_1970_has_its_fraction_counted_upwards() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_millis(250);
        let converted = Timestamp::from(time);
        assert_eq!((converted.seconds, converted.nanoseconds), (-1, 750_000_000));
        assert_eq!(SystemTime::from(converted), time);
        assert_eq!(format_time_val(&converted), "19691231235959");
    }

    #[test]
    fn time_that_four_digits_cannot_say_is_known_as_such() {
        for seconds in [i64::MIN, -62_167_219_201, 253_402_300_800, i64::MAX] {
            let time = Timestamp { seconds, nanoseconds: 0, precision: Precision::Second };
            assert!(!is_expressible(&time), "{seconds}");
            assert_eq!(format_time_val(&time).len(), 14);
        }
    }

    proptest! {
        #[test]
        fn time_val_survives_writing_and_reading(seconds in -62_167_219_200_i64..253_402_000_000) {
            let time = Timestamp { seconds, nanoseconds: 0, precision: Precision::Second };
            prop_assert_eq!(parse_time_val(format_time_val(&time).as_bytes()), Some(time));
        }

        #[test]
        fn system_time_survives_conversion(seconds: i64, nanoseconds in 0..1_000_000_000_u32) {
            let time = Timestamp { seconds, nanoseconds, precision: Precision::Nanosecond };
            prop_assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }

        #[test]
        fn any_bytes_are_a_time_or_none(bytes: Vec<u8>) {
            if let Some(time) = parse_time_val(&bytes) {
                prop_assert!(time.nanoseconds < 1_000_000_000);
            }
        }
    }
}

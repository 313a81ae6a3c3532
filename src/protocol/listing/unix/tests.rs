//! Lines as vsftpd, proftpd, pure-ftpd, pyftpdlib, busybox and older servers write them.

use super::*;
use crate::protocol::entry::Precision;

/// 2024-06-15 12:00:00 UTC.
const CONTEXT: Context = Context { now_seconds: 1_718_452_800, ahead_of_utc_seconds: 0 };

fn entry(line: &[u8]) -> Entry {
    match parse(line, &CONTEXT) {
        Line::Entry(entry) => entry,
        other => panic!("{}: {other:?}", line.escape_ascii()),
    }
}

fn name(line: &str) -> String {
    String::from_utf8(entry(line.as_bytes()).name.as_bytes().to_vec()).unwrap()
}

fn time(line: &str) -> Option<(String, Precision)> {
    let modified = entry(line.as_bytes()).modified?;
    Some((jiff::Timestamp::from_second(modified.seconds).unwrap().to_string(), modified.precision))
}

fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.map(|bytes| std::str::from_utf8(bytes).unwrap())
}

#[test]
fn every_column_of_vsftpd_is_kept() {
    let entry = entry(b"-rwxr-s--T    1 1001     backup   4294967297 Mar 09 17:05 db dump.sql");
    assert_eq!(entry.name.as_bytes(), b"db dump.sql");
    assert_eq!((entry.kind, entry.size, entry.mode), (EntryKind::File, Some(4_294_967_297), Some(0o3750)));
    assert_eq!((text(entry.owner.as_deref()), text(entry.group.as_deref())), (Some("1001"), Some("backup")));
    assert_eq!((entry.link_target, entry.unique), (None, None));
}

#[test]
fn exactly_one_space_is_cut_before_the_name() {
    assert_eq!(name("-rw-r--r--    1 0        0               7 Jan 02 10:00  lead"), " lead");
    assert_eq!(name("-rw-r--r--    1 0        0               7 Jan 02  2020   three "), "  three ");
    assert_eq!(name("-rw-r--r--    1 0        0               7 Jan 02  2020 tab\tinside"), "tab\tinside");
}

#[test]
fn name_that_looks_like_columns_stays_whole() {
    assert_eq!(name("-rw-r--r-- 1 u g 7 Jan  2 10:00 8 Feb 3 2019 x"), "8 Feb 3 2019 x");
    assert_eq!(name("-rw-r--r-- 1 u g 7 Jan  2 2020 10:20 notes"), "10:20 notes");
    assert_eq!(name("-rw-r--r-- 1 u g 7 Jan  2 10:20 2019"), "2019");
    assert_eq!(name("-rw-r--r-- 1 u g 7 2024-01-02 10:20 +0200"), "+0200");
}

#[test]
fn user_called_like_a_month_is_no_date() {
    let entry = entry(b"-rw-r--r-- 1 may 5 2020 Jan  5 10:00 x");
    assert_eq!((entry.name.as_bytes(), entry.size), (&b"x"[..], Some(2020)));
    assert_eq!(text(entry.owner.as_deref()), Some("may"));
}

#[test]
fn dates_are_read_in_every_way_they_are_written() {
    for (date, expected, precision) in [
        ("Apr  8  1994", "1994-04-08T00:00:00Z", Precision::Day),
        ("Jun 16 11:59", "2024-06-16T11:59:00Z", Precision::Minute),
        ("Jun 16 12:01", "2023-06-16T12:01:00Z", Precision::Minute),
        ("May  4  4:31", "2024-05-04T04:31:00Z", Precision::Minute),
        ("01 oct 2004", "2004-10-01T00:00:00Z", Precision::Day),
        ("8. M\u{e4}r 2021", "2021-03-08T00:00:00Z", Precision::Day),
        ("09-26 2000", "2000-09-26T00:00:00Z", Precision::Day),
        ("2005-06-07 21:22", "2005-06-07T21:22:00Z", Precision::Minute),
        ("2005/06/07 24:00:00", "2005-06-08T00:00:00Z", Precision::Second),
        ("2005-06-07 21:22:33.250000000 +0230", "2005-06-07T18:52:33Z", Precision::Nanosecond),
        ("2005-06-07", "2005-06-07T00:00:00Z", Precision::Day),
        ("Jan  1 12:34:56 2020", "2020-01-01T12:34:56Z", Precision::Second),
        ("Oct 08, 2002 09:47", "2002-10-08T09:47:00Z", Precision::Minute),
        ("3月 2日 15:13", "2024-03-02T15:13:00Z", Precision::Minute),
        ("2005년  1월  6일", "2005-01-06T00:00:00Z", Precision::Day),
    ] {
        let line = format!("-rw-r--r--   1 root     other        531 {date} a file");
        assert_eq!(name(&line), "a file", "{line}");
        assert_eq!(time(&line), Some((expected.to_owned(), precision)), "{line}");
    }
}

#[test]
fn date_that_cannot_be_costs_the_time_and_not_the_entry() {
    for date in ["Feb 30 2018", "Feb 23 30:01", "lis 15 2019", "foo 15 10:20", "15 foo 10:20"] {
        let line = format!("-rw-r--r--   1 root     other        531 {date} a file");
        assert_eq!((name(&line).as_str(), time(&line)), ("a file", None), "{line}");
    }
}

#[test]
fn local_time_of_the_server_becomes_utc() {
    let context = Context { ahead_of_utc_seconds: -5 * 3600, ..CONTEXT };
    let Line::Entry(entry) = parse(b"-rw-r--r-- 1 u g 7 Jun  1 23:30 x", &context) else { panic!() };
    let seconds = entry.modified.unwrap().seconds;
    assert_eq!(jiff::Timestamp::from_second(seconds).unwrap().to_string(), "2024-06-02T04:30:00Z");
}

#[test]
fn columns_may_be_missing_or_too_many() {
    for (columns, owner, group) in [
        ("-rw-r--r--   1 root", Some("root"), None),
        ("-rw-r--r--   1 root     staff", Some("root"), Some("staff")),
        ("-rw-r--r-- root     staff", Some("root"), Some("staff")),
        ("-rw-r--r--+1464 root     staff", Some("root"), Some("staff")),
        ("-rw-r--r--@ 1 0     0", Some("0"), Some("0")),
        ("  131073    8 -rw-r--r--. 1 root     staff", Some("root"), Some("staff")),
        ("-rw-r--r--   1 domain users root", None, None),
        ("-rw-r--r--  326  1391972", None, None),
        ("-rw-r--r--", None, None),
    ] {
        let entry = entry(format!("{columns}     91 May  7  2001 .banner").as_bytes());
        assert_eq!((entry.name.as_bytes(), entry.size), (&b".banner"[..], Some(91)), "{columns}");
        assert_eq!((text(entry.owner.as_deref()), text(entry.group.as_deref())), (owner, group), "{columns}");
        assert_eq!(entry.mode, Some(0o644), "{columns}");
    }
}

#[test]
fn size_grown_into_the_group_is_unknown_rather_than_guessed() {
    let entry = entry(b"-r-xr-xr-x longowner longgroup123456 Feb 12 17:20 name");
    assert_eq!((entry.name.as_bytes(), entry.size, entry.group), (&b"name"[..], None, None));
}

#[test]
fn permissions_that_are_damaged_are_unknown_and_the_kind_is_not() {
    for permissions in ["drw-r--rw", "dxrwr-xr-x"] {
        let entry = entry(format!("{permissions}   1 root root 0 Apr 21 09:31 dir").as_bytes());
        assert_eq!((entry.kind, entry.mode), (EntryKind::Directory, None), "{permissions}");
    }
}

#[test]
fn devices_pipes_and_sockets_have_no_size() {
    for line in [
        "brw-rw---- 1 root disk   8,   1 Jan 30 11:42 thing",
        "crw-r----- 1 root kmem 0, 27 Jan 30 11:42 thing",
        "crw-r----- 1 root kmem 0,27 Jan 30 11:42 thing",
        "prw-r--r-- 1 u g 0 Jan  1  2020 thing",
        "srwxr-xr-x 1 u g 0 Jan  1  2020 thing",
    ] {
        let entry = entry(line.as_bytes());
        let seen = (entry.name.as_bytes(), entry.kind, entry.size);
        assert_eq!(seen, (&b"thing"[..], EntryKind::Other, None), "{line}");
    }
}

#[test]
fn arrow_splits_a_link_and_nothing_else() {
    let link = |line: &[u8]| {
        let entry = entry(line);
        (entry.name.as_bytes().to_vec(), entry.link_target.map(Vec::from))
    };
    let with = |name: &[u8], target: &[u8]| (name.to_vec(), Some(target.to_vec()));
    assert_eq!(link(b"lrwxrwxrwx 1 u g 7 Jan 1 2020 bin -> usr/bin"), with(b"bin", b"usr/bin"));
    assert_eq!(link(b"lrwxrwxrwx 1 u g 9 Jan 1 2020 a -> b -> c"), with(b"a", b"b -> c"));
    assert_eq!(link(b"lrwxrwxrwx 1 u g 1 Jan 1 2020 a -> b -> c"), with(b"a -> b", b"c"));
    assert_eq!(link(b"lrwxrwxrwx 1 u g 1 Jan 1 2020 untold"), (b"untold".to_vec(), None));
    assert_eq!(link(b"-rw-r--r-- 1 u g 1 Jan 1 2020 a -> b"), (b"a -> b".to_vec(), None));
}

#[test]
fn slash_behind_a_directory_is_no_part_of_its_name() {
    assert_eq!(name("drwxr-xr-x 1 u g 0 Jan 1 2020 sub dir/"), "sub dir");
    assert_eq!(parse(b"-rw-r--r-- 1 u g 0 Jan 1 2020 file/", &CONTEXT), Line::Refused);
    assert_eq!(parse(b"drwxr-xr-x 1 u g 0 Jan 1 2020 a/b/", &CONTEXT), Line::Refused);
    assert_eq!(parse(b"drwxr-xr-x 1 u g 0 Jan 1 2020 ../", &CONTEXT), Line::Dots);
}

#[test]
fn lines_that_are_no_entries_are_told_from_those_not_understood() {
    for line in [&b"total 112"[..], b"TOTAL 0", b"insgesamt 4", b"total 4.0K", b".:"] {
        assert_eq!(parse(line, &CONTEXT), Line::Skip, "{}", line.escape_ascii());
    }
    for line in [
        &b"ls: cannot open directory '.': Permission denied"[..],
        b"total",
        b"foo 12",
        b"-rw-r--r-- 1 u g 5 Jan  1  2020 ",
        b"-rw-r--r-- 1 u g 5 Jan  1  2020",
        b"-rw-r--r-- 1 u g 5 Jan",
        b"-rw-r--r--",
        b"Zrwxrwxrwx   1 root     other          7 Jan 25 00:17 bin",
        b"04-06-00  03:47PM                  589 dos",
        b"   ",
    ] {
        assert_eq!(parse(line, &CONTEXT), Line::NotMine, "{}", line.escape_ascii());
    }
}

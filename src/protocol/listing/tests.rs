//! Listings whole: what no single dialect decides.

use proptest::prelude::*;

use super::*;
use crate::protocol::entry::{Precision, Timestamp};

const CONTEXT: Context = Context { now_seconds: 1_718_452_800, ahead_of_utc_seconds: 0 };

fn parse_list(data: &[u8]) -> ParsedListing {
    let mut parser = ListingParser::for_list(CONTEXT);
    parser.push(data);
    parser.finish()
}

fn parse_mlsd(data: &[u8]) -> ParsedListing {
    let mut parser = ListingParser::for_mlsd(CONTEXT);
    parser.push(data);
    parser.finish()
}

fn names(listing: &ParsedListing) -> Vec<&[u8]> {
    listing.entries.iter().map(|entry| entry.name.as_bytes()).collect()
}

#[test]
fn listing_of_a_unix_server_is_read_whole() {
    let listing = parse_list(
        b"total 8\r\n\
          drwxr-xr-x    3 0        0            4096 May 01 08:00 .\r\n\
          drwxr-xr-x    9 0        0            4096 May 01 08:00 ..\r\n\
          -rw-------    1 1000     1000           12 May 01 08:00 .profile\r\n\
          lrwxrwxrwx    1 0        0               4 May 01  2019 www -> html",
    );
    assert_eq!(names(&listing), [&b".profile"[..], b"www"]);
    assert_eq!((listing.dialect, listing.is_understood(), listing.shows_dots), (Some("Unix"), true, true));
}

#[test]
fn each_dialect_of_list_is_found_behind_a_byte_order_mark_and_heading() {
    for (line, dialect) in [
        (&b"-rw-r--r-- 1 u g 5 Jan  1  2020 x"[..], "Unix"),
        (b"04-06-00  03:47PM                  589 x", "DOS"),
        (b"+m1,r,s5,\tx", "EPLF"),
    ] {
        let listing = parse_list(&[b"\xef\xbb\xbftotal 1\n\r\n", line, b"\r\n"].concat());
        assert_eq!((names(&listing), listing.dialect), (vec![&b"x"[..]], Some(dialect)));
        assert!(listing.is_understood());
        assert_eq!(names(&parse_list(&[b"\xef\xbb\xbf", line].concat())), [b"x"]);
    }
}

#[test]
fn first_dialect_that_makes_an_entry_serves_the_whole_listing() {
    // A name with a line break, chosen so that its second half is an entry in another dialect.
    let listing = parse_list(b"-rw-r--r-- 1 u g 5 Jan  1  2020 a\n04-06-00  03:47PM    589 b\r\n");
    assert_eq!(names(&listing), [b"a"]);
    assert_eq!(listing.unparsed, [b"04-06-00  03:47PM    589 b"]);
    assert!(!listing.is_understood());
}

#[test]
fn error_text_in_place_of_a_listing_is_not_an_empty_directory() {
    for data in [&b"ls: .: Permission denied\r\n"[..], b"total 0\nls: x: I/O error\n", b"550 No such file\r\n"] {
        for listing in [parse_list(data), parse_mlsd(data)] {
            assert!(listing.entries.is_empty() && !listing.is_understood(), "{}", data.escape_ascii());
        }
    }
    for data in [&b""[..], b"\r\n", b"total 0\r\n"] {
        assert!(parse_list(data).is_understood());
    }
}

#[test]
fn last_of_equal_names_wins_and_the_others_are_counted() {
    let listing = parse_mlsd(b"size=1; b\nsize=2; a\nsize=3; b\nsize=4; c\nsize=5; b\n");
    assert_eq!(names(&listing), [b"a", b"c", b"b"]);
    assert_eq!(listing.entries.last().and_then(|entry| entry.size), Some(5));
    assert_eq!((listing.duplicate_count, listing.is_understood()), (2, true));
}

#[test]
fn name_that_leaves_the_directory_is_dropped_and_counted() {
    let listing = parse_mlsd(b"type=file; ../../etc/passwd\r\ntype=file; a\rb\r\ntype=dir; ..\r\ntype=file; ok\r\n");
    assert_eq!((names(&listing), listing.refused_count), (vec![&b"ok"[..]], 2));
    assert!(!listing.is_understood());
}

#[test]
fn only_one_carriage_return_ends_a_line() {
    assert_eq!(names(&parse_mlsd(b"type=file; a\ntype=file; b\r\n")), [b"a", b"b"]);
    assert_eq!(parse_mlsd(b"type=file; a\r\r\n").refused_count, 1);
}

#[test]
fn endless_line_is_given_up_without_being_kept() {
    let mut parser = ListingParser::for_mlsd(CONTEXT);
    parser.push(b"type=file; ");
    for _ in 0..1000 {
        parser.push(&[b'x'; 1000]);
    }
    parser.push(b"\r\ntype=file; next\r\n");
    let listing = parser.finish();
    assert_eq!((names(&listing), listing.unparsed_count), (vec![&b"next"[..]], 1));
    assert!(listing.unparsed.iter().all(|line| line.len() <= 1024));
}

#[test]
fn lines_that_nobody_understands_are_counted_and_few_are_kept() {
    let listing = parse_mlsd(&b"what\r\n".repeat(1000));
    assert_eq!(listing.unparsed_count, 1000);
    assert!((1..100).contains(&listing.unparsed.len()));
}

#[test]
fn lines_of_a_stat_reply_are_taken_one_by_one() {
    let mut parser = ListingParser::for_list(CONTEXT);
    parser.push_line(b" -rw-r--r-- 1 u g 5 Jan  1  2020 x");
    parser.push_line(b"drwxr-xr-x 1 u g 5 Jan  1  2020 y\r\n");
    assert_eq!(names(&parser.finish()), [b"x", b"y"]);
}

/// With a million of them, and 150 bytes for names, owners and `unique`, this stays far below 400 MB.
#[test]
fn entry_is_small() {
    assert!(size_of::<Entry>() <= 144, "{}", size_of::<Entry>());
}

/// Bytes such as listings hold: all of them, but those that mean something more often.
fn listing_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..8),
        2 => prop::sample::select(vec![&b"\r\n"[..], b"\n", b" ", b"  ", b"\t", b";", b"=", b":", b"-", b",", b" -> ", b"/"])
            .prop_map(<[u8]>::to_vec),
        3 => prop::sample::select(vec![
            &b"drwxr-xr-x "[..], b"-rw-r--r--+", b"lrwxrwxrwx 1 u g 5 ", b"Jan  1 10:00 ", b"Feb 29 2023 ", b"2024-02-30 24:00:00 ",
            b"04-06-00  03:47PM ", b"<DIR> ", b"+i1,m9999999999999,r,\t", b"type=file;", b"type=OS.unix=slink:", b"modify=20240229235960.5;",
            b"size=18446744073709551616;", b"total 1", b"99999999999999999999 ", b"\xef\xbb\xbf",
        ]).prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn name_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b" ;=.-".to_vec())];
    prop::collection::vec(byte, 1..40).prop_filter("a name", |bytes| Name::new(bytes).is_ok())
}

fn timestamps() -> impl Strategy<Value = Timestamp> {
    // 1900 to 9999, the years that four digits hold and servers have files of.
    (-2_208_988_800_i64..253_402_300_800).prop_map(|seconds| Timestamp {
        seconds,
        nanoseconds: 0,
        precision: Precision::Second,
    })
}

prop_compose! {
    fn entries()(
        name in name_bytes(),
        kind in prop::sample::select(vec![EntryKind::File, EntryKind::Directory]),
        size in any::<Option<u64>>(),
        modified in prop::option::of(timestamps()),
        mode in prop::option::of(0_u32..0o10000),
        owner in prop::option::of("[a-z0-9]{1,8}"),
        unique in prop::option::of("[A-Z0-9]{1,12}"),
    ) -> Entry {
        let name = Name::new(name).unwrap();
        Entry {
            size, modified, mode,
            owner: owner.map(|owner| owner.into_bytes().into()),
            unique: unique.map(|unique| unique.into_bytes().into()),
            ..Entry::new(name, kind)
        }
    }
}

/// The line a server with MLSD would send for `entry`.
fn mlsd_line(entry: &Entry) -> Vec<u8> {
    let mut line = match entry.kind {
        EntryKind::Directory => b"type=dir;".to_vec(),
        _ => b"Type=file;".to_vec(),
    };
    if let Some(size) = entry.size {
        line.extend(format!("size={size};").bytes());
    }
    if let Some(modified) = entry.modified {
        let time = jiff::Timestamp::from_second(modified.seconds).unwrap();
        line.extend(time.strftime("Modify=%Y%m%d%H%M%S;").to_string().bytes());
    }
    if let Some(mode) = entry.mode {
        line.extend(format!("UNIX.mode=0{mode:o};").bytes());
    }
    for (key, value) in [(&b"UNIX.owner="[..], entry.owner.as_deref()), (b"unique=", entry.unique.as_deref())] {
        if let Some(value) = value {
            line.extend([key, value, b";"].concat());
        }
    }
    line.push(b' ');
    line.extend(entry.name.as_bytes());
    line
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic_or_a_name_twice(data in listing_bytes(), now_seconds in any::<i64>(), ahead in any::<i32>()) {
        for context in [CONTEXT, Context { now_seconds, ahead_of_utc_seconds: ahead }] {
            for mut parser in [ListingParser::for_list(context), ListingParser::for_mlsd(context)] {
                parser.push(&data);
                let listing = parser.finish();
                let mut names = names(&listing);
                names.sort_unstable();
                prop_assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
            }
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_listing(data in listing_bytes(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10)) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(data.len() + 1)).chain([0, data.len()]).collect();
        cuts.sort_unstable();
        for (mut parser, whole) in [
            (ListingParser::for_list(CONTEXT), parse_list(&data)),
            (ListingParser::for_mlsd(CONTEXT), parse_mlsd(&data)),
        ] {
            for pair in cuts.windows(2) {
                parser.push(&data[pair[0]..pair[1]]);
            }
            prop_assert_eq!(parser.finish(), whole);
        }
    }

    #[test]
    fn mlsd_gives_back_what_was_written(entries in prop::collection::vec(entries(), 0..20)) {
        let mut data = Vec::new();
        for entry in &entries {
            data.extend(mlsd_line(entry));
            data.extend(b"\r\n");
        }
        let listing = parse_mlsd(&data);
        prop_assert!(listing.is_understood());
        let last_of_each: Vec<_> = entries.iter().enumerate()
            .filter(|(index, entry)| entries[index + 1..].iter().all(|later| later.name != entry.name))
            .map(|(_, entry)| entry.clone())
            .collect();
        prop_assert_eq!(listing.entries, last_of_each);
    }
}

//! Records as bytes and back.

use super::*;

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

/// One record of each kind, with each optional field there and missing.
fn one_of_each() -> Vec<Record> {
    let content = ContentId { file: FileNumber(7), generation: 3 };
    let time = Timestamp { seconds: -5, nanoseconds: 999_999_999, precision: Precision::Nanosecond };
    let version = Version { size: 1 << 40, modified: Some(time), unique: Some(Box::from(*b"u\xff")) };
    let bare = Version { size: 0, modified: None, unique: None };
    let commit =
        Commit { path: path("/a/b"), size: 9, base: Some(version.clone()), modified: Some(time), mode: Some(0o755) };
    let rename = Rename { from: path("/d"), to: path("/e"), replaces: Some(FileNumber(1)) };
    let new = Commit { path: path("/n"), size: 0, base: None, modified: None, mode: None };
    vec![
        Record::Committed { content, at: -1, doubtful: true, commit },
        Record::Committed { content, at: 1 << 33, doubtful: false, commit: new },
        Record::Uploaded { content, version: version.clone() },
        Record::Uploaded { content, version: bare.clone() },
        Record::Moved { file: FileNumber(7), path: path("/c"), base: Some(bare), replaces: Some(FileNumber(8)) },
        Record::Moved { file: FileNumber(7), path: path("/c"), base: None, replaces: None },
        Record::Dropped { file: FileNumber(u64::MAX) },
        Record::SetAside { content, path: None, reason: "553 Größe".to_owned() },
        Record::SetAside { content, path: Some(path("/f")), reason: String::new() },
        Record::Renaming { number: RenameNumber(4), rename: rename.clone() },
        Record::Renamed { number: RenameNumber(4), rename: rename.clone(), done: true },
        Record::Renamed { number: RenameNumber(4), rename: Rename { replaces: None, ..rename }, done: false },
        Record::Begun { content, path: RemotePath::root() },
        Record::Discarded { content },
        Record::Numbers { file: 12, rename: 13 },
    ]
}

#[test]
fn each_kind_of_record_reads_back_as_it_was_written() {
    for (sequence, record) in (SEQUENCE_MAX - 20..).zip(one_of_each()) {
        let mut bytes = vec![];
        record.encode(sequence, &mut bytes).unwrap();
        let len = bytes.len();
        bytes.extend_from_slice(b"behind it");
        assert_eq!(Record::decode(&bytes), Some((record, sequence, len)));
    }
}

#[test]
fn record_cut_anywhere_is_no_record() {
    for record in one_of_each() {
        let mut bytes = vec![];
        record.encode(1, &mut bytes).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..len]), None, "{record:?} cut to {len}");
        }
    }
}

#[test]
fn record_with_any_bit_flipped_is_no_record() {
    for record in one_of_each() {
        let mut bytes = vec![];
        record.encode(1, &mut bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&bytes), None, "{record:?} with bit {bit} flipped");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn first_record_is_these_bytes() {
    // Written down so that a change of the format cannot go unseen: it needs another version in the header.
    let mut bytes = vec![];
    Record::Dropped { file: FileNumber(0x2a) }.encode(5, &mut bytes).unwrap();
    let expected =
        [&crc32c::crc32c(&bytes[4..]).to_le_bytes()[..], &[9, 0, 0, 0], &[5, 0, 0, 0, 0, 0, 0, 0], &[4, 0x2a], &[0; 7]];
    assert_eq!(bytes, expected.concat());
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283, "CRC-32C's check value (RFC 3720 §B.4)");
}

#[test]
fn path_that_no_record_can_hold_is_refused_and_leaves_nothing() {
    let long = path(&format!("/{}", "n".repeat(65_535)));
    let mut bytes = b"before".to_vec();
    let refused = Record::Begun { content: ContentId { file: FileNumber(1), generation: 1 }, path: long };
    assert!(matches!(refused.encode(1, &mut bytes), Err(JournalError::PathTooLong)));
    assert_eq!(bytes, b"before");
}

#[test]
fn rename_between_two_of_the_longest_paths_fits() {
    let (from, to) = (path(&format!("/{}", "f".repeat(65_534))), path(&format!("/{}", "t".repeat(65_534))));
    let record = Record::Renaming { number: RenameNumber(1), rename: Rename { from, to, replaces: None } };
    let mut bytes = vec![];
    record.encode(1, &mut bytes).unwrap();
    assert_eq!(Record::decode(&bytes).map(|(record, ..)| record), Some(record));
}

#[test]
fn long_reason_is_cut_between_two_letters() {
    let reason = format!("x{}", "ö".repeat(4000));
    let record = Record::SetAside { content: ContentId { file: FileNumber(1), generation: 1 }, path: None, reason };
    let mut bytes = vec![];
    record.encode(1, &mut bytes).unwrap();
    let Some((Record::SetAside { reason, .. }, ..)) = Record::decode(&bytes) else { panic!("no record") };
    assert_eq!(reason.len(), 4095);
}

#[test]
fn content_is_named_in_one_way_only() {
    let content = ContentId { file: FileNumber(0x2a), generation: 0x1f };
    assert_eq!(content.to_string(), "000000000000002a-1f");
    assert_eq!(ContentId::parse("000000000000002a-1f"), Some(content));
    for other in
        ["2a-1f", "000000000000002A-1f", "000000000000002a-01f", "000000000000002a", "x-1", "+00000000000002a-1"]
    {
        assert_eq!(ContentId::parse(other), None, "{other}");
    }
}

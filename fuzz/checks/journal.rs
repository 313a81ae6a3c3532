//! A whole journal, damaged anyhow: every byte is a record or told as damage, and written anew it says the same.

use ftpfs::journal::fuzzing::{Replayed, replay};

use super::record::sealed;

pub(crate) fn check(data: &[u8]) {
    check_bytes(data);
    // With checksums that are right, which no fuzzer finds: each piece between two marks is a record, but for those that
    // begin with an exclamation mark.
    let mut bytes = b"ftpfs-journal001".to_vec();
    for piece in data.split(|byte| *byte == 0xAA) {
        match piece.strip_prefix(b"!") {
            Some(damage) => bytes.extend_from_slice(damage),
            None => bytes.extend_from_slice(&sealed(piece)),
        }
    }
    check_bytes(&bytes);
}

fn check_bytes(bytes: &[u8]) {
    let Some(replayed) = replay(bytes) else { return };
    let Replayed { pending, damage, tail, anew, .. } = &replayed;
    let mut end = 0;
    for range in damage {
        assert!(range.start >= end && range.start < range.end && range.end < bytes.len(), "{range:?} in {damage:?}");
        end = range.end;
    }
    if let Some(tail) = tail {
        assert!(tail.start >= end && tail.end == bytes.len());
    }
    // Following renames can make paths longer than a record can hold; such a journal is not written anew.
    let Some(anew) = anew else { return };
    let again = replay(anew).expect("a journal of our own version");
    assert!(again.damage.is_empty() && again.tail.is_none(), "damage in what was written anew");
    assert_eq!(&again.pending, pending);
}

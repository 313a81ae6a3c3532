//! A journal cut at every byte, and with each byte flipped.

use super::*;
use crate::journal::Rename;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// A journal with something of every kind in it, and the staging files it speaks of.
struct Sample {
    folder_name: PathBuf,
    journal: Vec<u8>,
    staging: Vec<(PathBuf, Vec<u8>)>,
    /// Every content that is on the disk, of whatever state.
    contents: BTreeSet<Vec<u8>>,
    /// What is pending where nothing is damaged.
    pending: BTreeSet<(String, Vec<u8>)>,
}

fn sample() -> Sample {
    let base = tempfile::tempdir().unwrap();
    let directory = state_directory(base.path());
    let folder = directory.path().to_owned();
    let (journal, _) = Journal::open(directory).unwrap();
    commit(&journal, "/kept", b"kept");
    let uploaded = commit(&journal, "/uploaded", b"uploaded").content();
    let _durable = journal.uploaded(uploaded, &path("/uploaded"), version(8)).unwrap();
    let moved = commit(&journal, "/moved", b"moved").content().file;
    let _durable = journal.moved(moved, &path("/elsewhere"), None, None).unwrap();
    let first = commit(&journal, "/twice", b"first");
    let next = journal.begin_next(&first, &path("/twice"), u64::MAX).unwrap();
    next.file().write_all_at(b"later", 0).unwrap();
    let _committed = journal.commit(next, new_file("/twice", b"later")).unwrap();
    commit(&journal, "/d/file", b"in a directory");
    let rename = Rename { from: path("/d"), to: path("/n"), replaces: None };
    let number = journal.renaming(rename).unwrap();
    journal.renamed(number, true).unwrap();
    let dropped = commit(&journal, "/dropped", b"dropped").content().file;
    let _durable = journal.dropped(dropped).unwrap();
    let open = journal.begin(&path("/open")).unwrap();
    open.file().write_all_at(b"never closed", 0).unwrap();
    commit(&journal, "/last", b"last");
    let pending = pending(&journal).into_iter().collect();
    drop(journal);
    let files = fs::read_dir(folder.join("staging")).unwrap().map(|entry| entry.unwrap().path());
    let staging: Vec<_> = files.map(|path| (path.file_name().unwrap().into(), fs::read(&path).unwrap())).collect();
    Sample {
        folder_name: folder.file_name().unwrap().into(),
        journal: fs::read(folder.join("journal")).unwrap(),
        contents: staging.iter().map(|(_, bytes)| bytes.clone()).collect(),
        staging,
        pending,
    }
}

/// What became of a journal of these bytes.
struct Outcome {
    pending: BTreeSet<(String, Vec<u8>)>,
    doubtful: BTreeSet<String>,
    /// Every content that is still on the disk.
    contents: BTreeSet<Vec<u8>>,
    recovered: Recovered,
}

impl Sample {
    /// Mounts with a journal of `bytes`; `None` where that is refused.
    fn mount(&self, bytes: &[u8]) -> Option<Outcome> {
        let base = memory_folder();
        let folder = base.path().join(&self.folder_name);
        fs::create_dir_all(folder.join("staging")).unwrap();
        for (name, content) in &self.staging {
            fs::write(folder.join("staging").join(name), content).unwrap();
        }
        fs::write(folder.join("journal"), bytes).unwrap();
        let all = |folder: &Path| {
            ["staging", "set-aside"]
                .iter()
                .flat_map(|name| fs::read_dir(folder.join(name)).unwrap())
                .map(|entry| fs::read(entry.unwrap().path()).unwrap())
                .collect::<BTreeSet<_>>()
        };
        let Ok((journal, recovered)) = Journal::open(state_directory(base.path())) else {
            assert!(all(&folder).is_superset(&self.contents), "a refused mount has touched what is there");
            return None;
        };
        let doubtful =
            journal.pending().into_iter().filter(|file| file.doubtful).map(|file| file.commit.path.to_string());
        Some(Outcome {
            pending: pending(&journal).into_iter().collect(),
            doubtful: doubtful.collect(),
            contents: all(&folder),
            recovered,
        })
    }
}

#[test]
fn undamaged_sample_is_recovered_as_it_was() {
    let sample = sample();
    let outcome = sample.mount(&sample.journal).unwrap();
    assert_eq!(outcome.pending, sample.pending);
    assert!(outcome.doubtful.is_empty() && outcome.recovered.damage.is_empty() && outcome.recovered.lost.is_empty());
    assert_eq!(outcome.recovered.kept.len(), 1, "what was never closed");
}

#[test]
fn journal_cut_at_any_byte_keeps_every_content_and_delivers_what_whole_records_say() {
    let sample = sample();
    let mut before = 0;
    for len in 0..sample.journal.len() {
        let outcome = sample.mount(&sample.journal[..len]).unwrap();
        assert!(outcome.contents.is_superset(&sample.contents), "a content is gone with a journal cut to {len}");
        // Records are complete in themselves, so a longer journal never knows less of what is at hand.
        let delivered = outcome.pending.iter().map(|(_, bytes)| bytes).filter(|bytes| sample.contents.contains(*bytes));
        let delivered = delivered.count();
        assert!(delivered >= before, "{delivered} after {before} at {len}");
        before = delivered;
    }
}

#[test]
fn journal_with_any_byte_flipped_keeps_every_content_and_says_so() {
    let sample = sample();
    for at in 0..sample.journal.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = sample.journal.clone();
            bytes[at] ^= flip;
            let Some(outcome) = sample.mount(&bytes) else {
                assert!((13..16).contains(&at), "only another version is refused, not byte {at}");
                continue;
            };
            assert!(outcome.contents.is_superset(&sample.contents), "a content is gone with byte {at} flipped");
            assert!(!outcome.recovered.damage.is_empty(), "damage at {at} is not reported");
            for (path, bytes) in &outcome.pending {
                assert!(sample.contents.contains(bytes), "{path} has a content that nobody wrote");
            }
            // One record is damaged at most: all but one of the promises are kept as they were, or as they were a record before.
            let missing = sample.pending.difference(&outcome.pending).count();
            assert!(missing <= 1, "byte {at} has cost {missing} promises");
        }
    }
}

#[test]
fn what_was_committed_before_the_damage_is_doubtful_and_what_was_after_is_not() {
    let sample = sample();
    let mut bytes = sample.journal.clone();
    let middle = find(&bytes, b"/moved");
    bytes[middle] ^= 1;
    let outcome = sample.mount(&bytes).unwrap();
    assert!(outcome.doubtful.contains("/kept") && !outcome.doubtful.contains("/last"), "{:?}", outcome.doubtful);
}

#[test]
fn doubt_outlives_the_next_mount() {
    let sample = sample();
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join(&sample.folder_name);
    fs::create_dir_all(folder.join("staging")).unwrap();
    for (name, content) in &sample.staging {
        fs::write(folder.join("staging").join(name), content).unwrap();
    }
    let mut bytes = sample.journal.clone();
    let middle = find(&bytes, b"/moved");
    bytes[middle] ^= 1;
    fs::write(folder.join("journal"), bytes).unwrap();
    for _ in 0..2 {
        let (journal, _) = open(base.path());
        assert!(journal.pending_at(&path("/kept")).unwrap().doubtful);
    }
}

#[test]
fn lost_journal_costs_no_content() {
    let sample = sample();
    let outcome = sample.mount(b"").unwrap();
    assert!(outcome.pending.is_empty());
    assert!(outcome.contents.is_superset(&sample.contents));
    assert_eq!(outcome.recovered.kept.len(), sample.staging.len());
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn journal_with_any_piece_overwritten_keeps_every_content(from in 0..2000usize, piece in proptest::collection::vec(any::<u8>(), 1..300)) {
        let sample = sample();
        let mut bytes = sample.journal.clone();
        let from = from % bytes.len();
        let end = bytes.len().min(from + piece.len());
        bytes[from..end].copy_from_slice(&piece[..end - from]);
        if let Some(outcome) = sample.mount(&bytes) {
            prop_assert!(outcome.contents.is_superset(&sample.contents));
            for (_, bytes) in &outcome.pending {
                prop_assert!(sample.contents.contains(bytes));
            }
        }
    }

    #[test]
    fn journal_of_any_bytes_keeps_every_content(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let sample = sample();
        let outcome = sample.mount(&bytes).unwrap();
        prop_assert!(outcome.contents.is_superset(&sample.contents));
    }
}

//! Long journals, many files, full disks.

use super::super::log::Space;
use super::super::record::Record;
use super::sim_disk::{Fault, SimDisk};
use super::*;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

fn journal_len(base: &Path) -> u64 {
    let folder = fs::read_dir(base).unwrap().next().unwrap().unwrap().path();
    fs::metadata(folder.join("journal")).unwrap().len()
}

#[test]
fn journal_of_what_is_over_is_written_anew() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    commit(&journal, "/kept", b"kept");
    let mut longest = 0;
    for _ in 0..20_000 {
        let number = journal.begin(&path("/passing/by/with/a/path/that/is/not/so/short")).unwrap();
        journal.discard(&number);
        journal.tidy();
        longest = longest.max(journal_len(base.path()));
    }
    assert!(longest < (1 << 20) + 1000, "it grew to {longest} bytes");
    assert!(longest > (1 << 20) - 1000, "it was never long enough to be written anew: {longest}");
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert_eq!(pending(&journal), [("/kept".to_owned(), b"kept".to_vec())]);
    assert!(recovered.kept.is_empty());
}

/// A journal just before it is written anew, on a disk that does not fail so far.
fn long_journal(base: &Path) -> (Arc<SimDisk>, Journal) {
    let folder = state_directory(base).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, Fault::None));
    let (journal, _) = open_on(disk.clone(), base);
    commit(&journal, "/kept", b"kept");
    let long = path(&format!("/{}", "n".repeat(60_000)));
    let content = crate::journal::ContentId { file: FileNumber(1 << 40), generation: 1 };
    let begun = || Ok(vec![Record::Begun { content, path: long.clone() }, Record::Discarded { content }]);
    while journal_len(base) < (1 << 20) - 60_100 {
        let _appended = journal.log().append(Space::LeaveReserve, |_| begun()).unwrap();
    }
    (disk, journal)
}

#[test]
fn writing_anew_that_fails_or_is_cut_at_any_step_costs_nothing() {
    let mut was_replaced = false;
    for step in 0..14 {
        for is_cut in [false, true] {
            let base = tempfile::tempdir().unwrap();
            let (disk, journal) = long_journal(base.path());
            let at = disk.steps() + step;
            disk.set_fault(if is_cut { Fault::PowerOff(at) } else { Fault::Once(at) });
            // It is due within this commit.
            let long = format!("/{}", "x".repeat(60_000));
            let staging = journal.begin(&path(&long));
            let committed = staging.is_ok_and(|staging| {
                staging.file().write_all_at(b"more", 0).unwrap();
                journal.commit(staging, new_file(&long, b"more")).is_ok()
            });
            was_replaced |= journal_len(base.path()) < 1 << 19;
            let target = tempfile::tempdir().unwrap();
            let folder = fs::read_dir(base.path()).unwrap().next().unwrap().unwrap().path();
            let copy = target.path().join(folder.file_name().unwrap());
            for seed in 0..8 {
                fs::create_dir(&copy).unwrap();
                disk.lose_power(&copy, &mut super::sim_disk::Chance(step * 8 + seed));
                let (journal, recovered) = open(target.path());
                let now = pending(&journal);
                assert_eq!(now[0], ("/kept".to_owned(), b"kept".to_vec()));
                assert!(!committed || now.get(1) == Some(&(long.clone(), b"more".to_vec())), "step {step}");
                // A record of a commit that failed may be there in spite of the error.
                assert!(recovered.lost.is_empty() || !is_cut, "step {step}");
                drop(journal);
                fs::remove_dir_all(&copy).unwrap();
            }
            drop(journal);
            let (journal, _) = open(base.path());
            assert_eq!(pending(&journal)[0].0, "/kept");
        }
    }
    assert!(was_replaced, "the journal was never written anew");
}

#[test]
fn full_disk_refuses_commits_but_takes_what_makes_space() {
    let base = tempfile::tempdir().unwrap();
    let folder = state_directory(base.path()).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, Fault::None));
    let (journal, _) = open_on(disk.clone(), base.path());
    let mut contents: Vec<_> = (0..500).map(|number| commit(&journal, &format!("/{number}"), b"x").content()).collect();
    let staging = journal.begin(&path("/late")).unwrap();
    disk.set_fault(Fault::Full(0));
    let mut staging = Some(staging);
    // Some commits still fit into what was reserved ahead; then there is no space for more, and the content comes back.
    let mut refused = None;
    for number in 0..10_000 {
        let Some(next) = staging.take() else { break };
        match journal.commit(next, new_file("/late", b"")) {
            Ok(committed) => {
                disk.set_fault(Fault::None);
                let _durable = journal.dropped(committed.sealed.content().file).unwrap();
                staging = Some(journal.begin(&path("/late")).unwrap());
                disk.set_fault(Fault::Full(0));
            }
            Err(failed) => refused = Some((number, failed)),
        }
    }
    let (_, refused) = refused.unwrap();
    assert_eq!(refused.error.disk_kind(), Some(io::ErrorKind::StorageFull));
    while let Some(content) = contents.pop() {
        let number = contents.len();
        let _durable = journal.uploaded(content, &path(&format!("/{number}")), version(1)).unwrap();
        assert!(!journal.staging_path(content).exists());
    }
    disk.set_fault(Fault::None);
    let _committed = journal.commit(refused.staging, new_file("/late", b"")).unwrap();
    drop(journal);
    assert_eq!(open(base.path()).1.pending.len(), 1);
}

#[test]
fn full_disk_does_not_stop_a_mount() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let content = commit(&journal, "/a", b"a").content();
    drop(journal);
    let folder = state_directory(base.path()).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, Fault::Full(0)));
    let (journal, recovered) = open_on(disk, base.path());
    assert_eq!(recovered.pending.len(), 1);
    assert_eq!(journal.open_pending(content).unwrap().read(0, 9).unwrap(), b"a");
}

#[test]
fn hundred_thousand_pending_files_are_recovered_in_seconds() {
    const FILES: u64 = 100_000;
    let base = memory_folder();
    let (journal, _) = open(base.path());
    for number in 0..FILES {
        let content = crate::journal::ContentId { file: FileNumber(number), generation: 1 };
        fs::write(journal.staging_path(content), b"x").unwrap();
        let commit = new_file(&format!("/some/directory/{}/file-{number}.data", number / 1000), b"x");
        let record = Record::Committed { content, at: 0, doubtful: false, commit };
        let appended = journal.log().append(Space::LeaveReserve, |_| Ok(vec![record])).unwrap();
        if number == FILES - 1 {
            let _durable = journal.log().sync(&appended).unwrap();
        }
    }
    drop(journal);
    let started = Instant::now();
    let (journal, recovered) = open(base.path());
    let took = started.elapsed();
    eprintln!("{FILES} pending files recovered in {took:?}");
    assert_eq!(recovered.pending.len() as u64, FILES);
    assert!(took < Duration::from_secs(30), "it took {took:?}");
    let started = Instant::now();
    let content = recovered.pending[50_000].content;
    let _durable = journal.uploaded(content, &recovered.pending[50_000].commit.path, version(1)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "a record among many took {:?}", started.elapsed());
}

#[test]
fn record_that_cannot_be_written_leaves_no_damage_behind() {
    let base = tempfile::tempdir().unwrap();
    let folder = state_directory(base.path()).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, Fault::None));
    let (journal, _) = open_on(disk.clone(), base.path());
    let file = commit(&journal, "/a", b"a").content().file;
    disk.set_fault(Fault::Once(disk.steps()));
    assert!(journal.dropped(file).is_err());
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
    assert_eq!(journal.pending().len(), 1);
}

#[test]
fn content_that_could_not_be_synced_once_is_never_promised() {
    let base = tempfile::tempdir().unwrap();
    let folder = state_directory(base.path()).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, Fault::None));
    let (journal, _) = open_on(disk.clone(), base.path());
    let staging = journal.begin(&path("/a")).unwrap();
    staging.file().write_all_at(b"a", 0).unwrap();
    disk.set_fault(Fault::Once(disk.steps()));
    let failed = journal.commit(staging, new_file("/a", b"a")).unwrap_err();
    // The disk works again, and a second sync would succeed without having written what the first one could not.
    assert!(journal.commit(failed.staging, new_file("/a", b"a")).is_err());
    assert!(journal.pending().is_empty());
}

//! Power lost, a step failed, no space: at each step of random operations.

use super::model::{Mount, Operation, Promised, operations};
use super::sim_disk::{Chance, Fault, SimDisk};
use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

/// What a run on a failing disk left behind.
struct Run {
    base: tempfile::TempDir,
    disk: Arc<SimDisk>,
    folder: PathBuf,
    promised: Promised,
    perhaps: Option<Promised>,
    set_aside: Vec<Vec<u8>>,
    steps: u64,
}

/// Does operations on a disk with a fault, until the power is off or they are done; in the middle it opens the journal again.
fn run(operations: &[Operation], fault: Fault) -> Run {
    let base = memory_folder();
    let folder = state_directory(base.path()).path().to_owned();
    let disk = Arc::new(SimDisk::new(&folder, fault));
    let mut result = Run {
        base,
        disk: disk.clone(),
        folder,
        promised: Promised::default(),
        perhaps: None,
        set_aside: vec![],
        steps: 0,
    };
    for part in [&operations[..operations.len() / 2], &operations[operations.len() / 2..]] {
        let Ok((journal, recovered)) = Journal::open_on(disk.clone(), state_directory(result.base.path())) else {
            break;
        };
        assert!(recovered.lost.is_empty() || matches!(fault, Fault::Once(_)), "lost: {:?}", recovered.lost);
        let now = Promised::of(&journal, &recovered.renames);
        check(&result, &now, &recovered);
        let mut mount = Mount::new(&journal, now, !matches!(fault, Fault::PowerOff(_)));
        for (number, rename) in &recovered.renames {
            let mut after = mount.promised.clone();
            after.renames.remove(&(rename.from.clone(), rename.to.clone()));
            if journal.renamed(*number, false).is_ok() {
                mount.promised = after;
            } else {
                mount.perhaps = Some(after);
            }
        }
        for operation in part {
            if mount.perhaps.is_some() && matches!(fault, Fault::PowerOff(_)) {
                break;
            }
            let worked = mount.run(operation);
            if !worked && !matches!(fault, Fault::PowerOff(_)) {
                // The mount lives on: what its journal says now is what counts, and it is one of the two.
                let renames: Vec<_> = journal.renames();
                let now = Promised::of(&journal, &renames);
                assert!(now == mount.promised || Some(&now) == mount.perhaps.as_ref(), "{operation:?} left {now:#?}");
                let perhaps = mount.perhaps.take();
                mount.perhaps = perhaps.filter(|perhaps| *perhaps != now);
                mount.promised = now;
            }
        }
        (result.promised, result.perhaps) = (mount.promised, mount.perhaps);
        result.set_aside.extend(mount.set_aside);
        if matches!(fault, Fault::PowerOff(step) if step <= disk.steps()) {
            break;
        }
    }
    result.steps = disk.steps();
    result
}

/// What was recovered is what was promised, before or after the interrupted operation, as a whole.
fn check(run: &Run, now: &Promised, recovered: &Recovered) {
    let lost = |file: &FileNumber| recovered.lost.iter().any(|lost| lost.content.file == *file);
    let without_lost = |promised: &Promised| {
        let mut promised = promised.clone();
        promised.files.retain(|file, _| !lost(file));
        promised
    };
    let is_right = *now == without_lost(&run.promised) || run.perhaps.as_ref().map(without_lost).as_ref() == Some(now);
    assert!(is_right, "recovered {now:#?}\npromised {:#?}\nor {:#?}\n{recovered:#?}", run.promised, run.perhaps);
    // A failed commit may be on the disk; the content promised before is kept then.
    for lost in &recovered.lost {
        if let Some(before) = run.promised.files.get(&lost.content.file) {
            let kept = recovered.kept.iter().any(|kept| fs::read(&kept.at).is_ok_and(|bytes| bytes == before.bytes));
            assert!(kept, "{:?} is gone: {recovered:#?}", lost.commit.path);
        }
    }
}

/// Opens the journal on a good disk, and holds it against what was promised.
fn restart_and_check(run: &Run, base: &Path) {
    let (journal, recovered) = open(base);
    check(run, &Promised::of(&journal, &recovered.renames), &recovered);
    for bytes in &run.set_aside {
        let is_kept = journal.list_set_aside().unwrap().iter().any(|at| fs::read(at).is_ok_and(|kept| kept == *bytes));
        assert!(is_kept, "what was set aside is gone");
    }
    drop(journal);
    // The second time there is nothing to put in order.
    let (journal, again) = open(base);
    assert!(again.kept.is_empty() && again.lost.is_empty() && again.damage.is_empty(), "{again:#?}");
    assert_eq!(Promised::of(&journal, &again.renames).files.len(), journal.pending().len());
}

fn lose_power(run: &Run, seed: u64) {
    let base = memory_folder();
    let folder = base.path().join(run.folder.file_name().unwrap());
    fs::create_dir(&folder).unwrap();
    run.disk.lose_power(&folder, &mut Chance(seed));
    restart_and_check(run, base.path());
}

/// The record of a failed commit may be on the disk, and the staging file's new number lost with the power: what was written on
/// must not lie under the old one.
#[test]
fn record_of_a_failed_commit_never_speaks_of_what_was_written_later() {
    let operations = [Operation::Discard, Operation::Commit { place: 0, len: 1 }];
    for step in 0..=run(&operations, Fault::None).steps {
        let run = run(&operations, Fault::Once(step));
        (0..128).for_each(|seed| lose_power(&run, seed));
    }
}

/// Few cases, for each runs once per step; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig { cases: if asked { default.cases } else { 12 }, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_was_promised_survives_a_power_loss_at_each_step(operations in operations(2..14), seed in any::<u64>()) {
        let steps = run(&operations, Fault::None).steps;
        for step in 0..=steps {
            let run = run(&operations, Fault::PowerOff(step));
            for chance in 0..3 {
                lose_power(&run, seed.wrapping_add(step * 3 + chance));
            }
        }
    }

    #[test]
    fn what_was_promised_survives_a_kill_at_each_step(operations in operations(2..14)) {
        let steps = run(&operations, Fault::None).steps;
        for step in 0..=steps {
            let run = run(&operations, Fault::PowerOff(step));
            restart_and_check(&run, run.base.path());
        }
    }

    #[test]
    fn what_was_promised_survives_a_failure_of_any_step(operations in operations(2..14), seed in any::<u64>()) {
        let steps = run(&operations, Fault::None).steps;
        for step in 0..=steps {
            let run = run(&operations, Fault::Once(step));
            lose_power(&run, seed.wrapping_add(step));
            restart_and_check(&run, run.base.path());
        }
    }

    #[test]
    fn what_was_promised_survives_a_disk_that_fills_at_any_step(operations in operations(2..14), seed in any::<u64>()) {
        let steps = run(&operations, Fault::None).steps;
        for step in 0..=steps {
            let run = run(&operations, Fault::Full(step));
            lose_power(&run, seed.wrapping_add(step));
            restart_and_check(&run, run.base.path());
        }
    }
}

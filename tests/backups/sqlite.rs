//! SQLite: locks between processes, a rollback journal that is removed, a write-ahead log with memory that processes share.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cutter::{Cut, Cuts};
use crate::mounted::{is_soak, start_shell};
use crate::place::{Place, Setting};

const PROCESSES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/backups/sqlite_processes.py");
/// How long one transaction may take, with its files being uploaded again and again.
const TRANSACTION_DEADLINE: Duration = Duration::from_secs(100);
const PROGRAMS: [&str; 2] = ["sqlite3", "python3"];

/// With a rollback journal and a write-ahead log; with files that are stored whole, and with such that are written in place.
const WAYS: [(&str, &str); 4] = [("delete", "64M"), ("wal", "64M"), ("delete", "16K"), ("wal", "16K")];

pub(crate) fn sqlite_processes_agree_with_a_rollback_journal(setting: &'static Setting) {
    let Some(place) = Place::open(setting, &PROGRAMS) else { return };
    processes_agree(place, "delete");
}

pub(crate) fn sqlite_processes_agree_with_a_write_ahead_log(setting: &'static Setting) {
    let Some(place) = Place::open(setting, &PROGRAMS) else { return };
    processes_agree(place, "wal");
}

fn processes_agree(mut place: Place, journal: &str) {
    let (processes, transactions) = if is_soak() { (4, 150) } else { (3, 20) };
    let rows = place.run(&format!("python3 {PROCESSES} $mount/rows.db {journal} together {processes} {transactions}"));
    let expected = format!("ok\n{}", rows.trim());
    let look = "pragma integrity_check; select count(*) from entries";
    place.remount();
    assert_eq!(place.run(&format!("sqlite3 -bail $mount/rows.db '{look}'")).trim(), expected);
    // The last one to leave removes what stood beside it.
    assert_eq!(place.run("ls -A $mount"), "rows.db\n");
    let server = place.copy_of_the_server();
    assert_eq!(place.run(&format!("sqlite3 -bail {}/rows.db '{look}'", server.display())).trim(), expected);
    // A mode that is stored is found again, and can be changed.
    let other = if journal == "wal" { "delete" } else { "wal" };
    assert_eq!(place.run("sqlite3 $mount/rows.db 'pragma journal_mode'").trim(), journal);
    assert_eq!(place.run(&format!("sqlite3 $mount/rows.db 'pragma journal_mode = {other}; vacuum'")).trim(), other);
    assert_eq!(place.run(&format!("sqlite3 -bail $mount/rows.db '{look}'")).trim(), expected);
}

pub(crate) fn sqlite_commits_are_there_when_the_mount_was_killed(setting: &'static Setting) {
    for (journal, in_place_min) in WAYS {
        let options = ["--in-place-min", in_place_min];
        let Some(mut place) = Place::open_with(setting, &PROGRAMS, None, &options) else { return };
        commits_survive_the_mount(&mut place, journal, if is_soak() { 60 } else { 12 });
    }
}

pub(crate) fn sqlite_commits_are_there_with_connections_cut_anywhere(setting: &'static Setting) {
    for (seed, (journal, in_place_min)) in (1..).zip(WAYS) {
        let cuts = Cuts {
            every: Some((Duration::from_millis(1500), &[Cut::Reset, Cut::End])),
            bytes_max: Some(1 << 20),
            bytes_per_second: None,
            seed,
        };
        let Some(mut place) = Place::open_with(setting, &PROGRAMS, Some(cuts), &["--in-place-min", in_place_min])
        else {
            return;
        };
        commits_survive_the_mount(&mut place, journal, if is_soak() { 40 } else { 10 });
        place.report(&format!("sqlite, {journal}"));
    }
}

/// Kills the mount once so many transactions are said to be committed, wherever the next one stands then.
fn commits_survive_the_mount(place: &mut Place, journal: &str, transactions: usize) {
    let told = place.work().join("told");
    let script = format!("exec python3 {PROCESSES} \"$1\"/rows.db {journal} commit \"$2\" 2> \"$2\".errors");
    let mut writer = start_shell(Path::new("/"), &script, &[place.path(), &told]);
    let lines = || fs::read_to_string(&told).map_or(0, |text| text.lines().count());
    let mut seen = 0;
    let mut last = Instant::now();
    while seen < transactions && writer.try_wait().unwrap().is_none() {
        if lines() > seen {
            (seen, last) = (lines(), Instant::now());
        }
        assert!(last.elapsed() < TRANSACTION_DEADLINE, "no transaction after {seen} within {TRANSACTION_DEADLINE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let errors = || fs::read_to_string(told.with_extension("errors")).unwrap_or_default();
    assert!(writer.try_wait().unwrap().is_none(), "after {} transactions: {}", lines(), errors());
    place.kill();
    assert!(!writer.wait().unwrap().success());
    let committed = lines();
    place.kill_and_calm_down();
    // Whoever opens it next puts back what was begun, or takes over what stands in the log.
    let look = "pragma integrity_check; select count(*) from entries; select count(distinct process) from entries";
    let seen = place.run(&format!("sqlite3 -bail $mount/rows.db '{look}'"));
    let seen: Vec<&str> = seen.lines().collect();
    let [verdict, rows, transactions] = seen.as_slice() else { panic!("{seen:?}") };
    let (rows, transactions): (usize, usize) = (rows.parse().unwrap(), transactions.parse().unwrap());
    assert_eq!(*verdict, "ok");
    // One more may be committed whose answer the program has not had.
    assert!(
        (committed..=committed + 1).contains(&transactions),
        "{transactions} are there, {committed} were committed"
    );
    assert_eq!(rows, 3 * transactions);
    let server = place.copy_of_the_server();
    let there = place.run(&format!("sqlite3 -bail {}/rows.db '{look}'", server.display()));
    assert_eq!(there.lines().collect::<Vec<_>>(), ["ok", &rows.to_string(), &transactions.to_string()]);
}

//! Plain copies while connections break anywhere: what cp was told is stored is stored.

use std::fs;
use std::time::Duration;

use crate::cutter::{Cut, Cuts};
use crate::material::{Kept, assert_same, change, make};
use crate::mounted::is_soak;
use crate::place::{Place, Setting};

/// No wait is longer than what a stalled connection is to show.
const SHORT_WAITS: [&str; 6] = ["--reply-timeout", "1s", "--data-timeout", "1s", "--connect-timeout", "1s"];

pub(crate) fn copies_that_succeeded_are_whole_with_connections_cut_anywhere(setting: &'static Setting) {
    let (rounds, files) = if is_soak() { (12, 1000) } else { (1, 40) };
    for round in 0..rounds {
        let cuts = anywhere(round + 1);
        let Some(mut place) = Place::open_with(setting, &["rsync"], Some(cuts), &SHORT_WAITS) else { return };
        make(&place.source(), Kept::AsFiles);
        if is_soak() {
            place.persist("rsync -a --no-owner --no-group $source/ $mount/mirror/", "true");
            change(&place.source(), round);
            place.persist("rsync -a --no-owner --no-group --delete $source/ $mount/mirror/", "true");
        }
        // Each of them says for itself whether it succeeded, and is not tried again.
        place.persist("mkdir -p $mount/copies", "true");
        place.run(&format!(
            "cd $source
             find . -type f -print0 | while IFS= read -r -d '' file; do
                 number=$((${{number:-0}} + 1))
                 [ $number -le {files} ] || continue
                 if cp -- \"$file\" $mount/copies/$number; then
                     mkdir -p $work/copied; cp -a -- \"$file\" $work/copied/$number
                 fi
             done"
        ));
        place.kill_and_calm_down();
        place.report(&format!("copies, round {round}"));
        let server = place.copy_of_the_server();
        if is_soak() {
            assert_same(&place.source(), &server.join("mirror"));
        }
        let copied = place.work().join("copied");
        let mut wrong = Vec::new();
        for entry in fs::read_dir(&copied).unwrap() {
            let name = entry.unwrap().file_name();
            let there = fs::read(server.join("copies").join(&name));
            if there.is_ok_and(|bytes| bytes == fs::read(copied.join(&name)).unwrap()) {
                continue;
            }
            wrong.push(name);
        }
        assert!(wrong.is_empty(), "not as they were copied: {wrong:?}");
        assert!(fs::read_dir(&copied).unwrap().count() > 20, "most copies failed");
    }
}

const WAYS: &[Cut] = &[Cut::End, Cut::Stall(Duration::from_millis(1500)), Cut::Reset];

/// Connections are cut after any number of bytes, and all of them now and then, some of them after a silence.
fn anywhere(seed: u64) -> Cuts {
    Cuts {
        every: Some((Duration::from_millis(2700), WAYS)),
        bytes_max: Some(64 << 20),
        bytes_per_second: Some(20 << 20),
        seed,
    }
}

//! restic: packs of some MiB under temporary names that are then renamed, many small files, and locks.

use std::time::Duration;

use crate::cutter::{Cut, Cuts};
use crate::material::{Kept, add, assert_same, change, make};
use crate::mounted::is_soak;
use crate::place::{Place, Setting};
use crate::servers::ServerKind;

const SETTINGS: &str = "export RESTIC_PASSWORD=right RESTIC_CACHE_DIR=$work/cache RESTIC_REPOSITORY=$mount/repository
                        cd $source\n";
const UNLOCK: &str = "export RESTIC_PASSWORD=right RESTIC_CACHE_DIR=$work/cache
                      restic -r $mount/repository unlock --remove-all";

pub(crate) fn restic_repository_is_whole_and_gives_back_what_it_was_given(setting: &'static Setting) {
    let Some(mut place) = Place::open(setting, &["restic", "rsync"]) else { return };
    make(&place.source(), Kept::Inside);
    restic(&mut place, "restic init -q; restic backup -q .");
    change(&place.source(), 0);
    restic(&mut place, "restic backup -q .");
    place.remount();
    restic(&mut place, "restic check -q --read-data");
    restic(&mut place, "restic forget -q --keep-last 1 --prune; [ $(restic list -q snapshots | wc -l) = 1 ]");
    restic(&mut place, "restic check -q --read-data");
    place.remount();
    assert_whole(&mut place);
}

pub(crate) fn restic_repository_is_whole_with_all_connections_cut_again_and_again(setting: &'static Setting) {
    let (rounds, len) = if is_soak() { (5, 60 << 20) } else { (1, 6 << 20) };
    let Some(mut place) =
        Place::open_with(setting, &["restic", "rsync"], Some(all_again_and_again(setting.server)), &[])
    else {
        return;
    };
    make(&place.source(), Kept::Inside);
    restic(&mut place, "[ -e $mount/repository/config ] || restic init -q");
    for round in 0..rounds {
        restic(&mut place, "restic backup -q .");
        change(&place.source(), round);
        add(&place.source(), round, len);
        restic(&mut place, "restic backup -q .");
        restic(&mut place, "restic check -q --read-data");
    }
    restic(&mut place, "restic forget -q --keep-last 1 --prune");
    restic(&mut place, "restic backup -q .");
    place.kill_and_calm_down();
    place.report("restic");
    restic(&mut place, UNLOCK);
    assert_whole(&mut place);
}

/// What restic itself finds, what it gives back, and what lies on the server: all of it is what was backed up last.
fn assert_whole(place: &mut Place) {
    restic(place, "rm -rf $work/cache; restic check -q --read-data");
    restic(place, "rm -rf $work/restored; restic restore -q latest --target $work/restored");
    assert_same(&place.source(), &place.work().join("restored"));
    let server = place.copy_of_the_server();
    place.run(&format!("{SETTINGS} restic -r {} --no-cache check -q --read-data", server.join("repository").display()));
    // What was begun while connections were cut, or the mount killed, may lie about, and harms nobody.
    if !place.is_cut() {
        let left = place.run(&format!("find {} -name '.ftpfs-*' -o -name '*-tmp-*'", server.display()));
        assert_eq!(left, "");
    }
}

fn restic(place: &mut Place, script: &str) {
    place.persist(&format!("{SETTINGS}{script}"), UNLOCK);
}

/// Every connection is cut again and again; each is slow enough for transfers to be met.
pub(crate) fn all_again_and_again(server: ServerKind) -> Cuts {
    let interval = if is_soak() { 5000 } else { 1500 };
    // ProFTPD refuses APPE unless it is told otherwise: there a file must go through in one connection's life. On the others
    // the largest ones take longer.
    let mebibytes = if server == ServerKind::Proftpd { 40 } else { 8 };
    Cuts {
        every: Some((Duration::from_millis(interval), &[Cut::Reset, Cut::End])),
        bytes_max: None,
        bytes_per_second: Some(mebibytes << 20),
        seed: 1,
    }
}

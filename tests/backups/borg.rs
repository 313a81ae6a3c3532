//! borg: segments that are appended to, an index that is replaced, and locks that are directories.

use crate::material::{Kept, add, assert_same, change, make};
use crate::mounted::is_soak;
use crate::place::{Place, Setting};
use crate::restic::all_again_and_again;

const SETTINGS: &str = "export BORG_BASE_DIR=$work/borg BORG_PASSPHRASE=right BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
                        export BORG_REPO=${repository:-$mount/repository}
                        cd $source\n";
const UNLOCK: &str = "export BORG_BASE_DIR=$work/borg BORG_PASSPHRASE=right BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
                      borg break-lock $mount/repository";

pub(crate) fn borg_repository_is_whole_and_gives_back_what_it_was_given(setting: &'static Setting) {
    let Some(mut place) = Place::open(setting, &["borg", "rsync"]) else { return };
    make(&place.source(), Kept::Inside);
    borg(&mut place, "borg init -e repokey-blake2; borg create ::first .");
    change(&place.source(), 0);
    borg(&mut place, "borg create ::second .");
    place.remount();
    borg(&mut place, "borg check --verify-data");
    borg(&mut place, "borg prune --keep-last 1; borg compact; [ $(borg list --short | wc -l) = 1 ]");
    borg(&mut place, "borg check --verify-data");
    place.remount();
    assert_whole(&mut place);
}

pub(crate) fn borg_repository_is_whole_with_all_connections_cut_again_and_again(setting: &'static Setting) {
    let (rounds, len) = if is_soak() { (5, 60 << 20) } else { (1, 6 << 20) };
    let Some(mut place) = Place::open_with(setting, &["borg", "rsync"], Some(all_again_and_again(setting.server)), &[])
    else {
        return;
    };
    make(&place.source(), Kept::Inside);
    borg(&mut place, "[ -e $mount/repository/config ] || borg init -e repokey-blake2");
    for round in 0..rounds {
        change(&place.source(), round);
        add(&place.source(), round, len);
        // A run that failed may have made its archive all the same.
        let made = format!("borg list --short | grep -qx round{round} || borg create ::round{round} .");
        borg(&mut place, &made);
        borg(&mut place, "borg check --verify-data");
    }
    borg(&mut place, "borg prune --keep-last 1; borg compact");
    place.kill_and_calm_down();
    place.report("borg");
    borg(&mut place, UNLOCK);
    assert_whole(&mut place);
}

/// What borg itself finds, what it gives back, and what lies on the server: all of it is what was backed up last.
fn assert_whole(place: &mut Place) {
    borg(place, "rm -rf $work/borg/.cache; borg check --verify-data");
    borg(
        place,
        "rm -rf $work/restored; mkdir $work/restored; cd $work/restored
         borg extract ::\"$(borg list --short --last 1)\"",
    );
    assert_same(&place.source(), &place.work().join("restored"));
    let server = place.copy_of_the_server().join("repository");
    place.run(&format!(
        "repository={0}
         {SETTINGS} borg check --verify-data",
        server.display()
    ));
    // What was begun while connections were cut, or the mount killed, may lie about, and harms nobody.
    if !place.is_cut() {
        let left = place.run(&format!("find {} -name '.ftpfs-*' -o -name '*.tmp'", server.display()));
        assert_eq!(left, "");
    }
}

fn borg(place: &mut Place, script: &str) {
    place.persist(&format!("{SETTINGS}{script}"), UNLOCK);
}

//! rsync, tar and duplicity: mirrors, and chains of archives that build on each other.

use crate::material::{Kept, assert_same, change, make};
use crate::place::{Place, Setting};

pub(crate) fn rsync_mirror_follows_its_source_and_moves_nothing_twice(setting: &'static Setting) {
    let Some(mut place) = Place::open(setting, &["rsync"]) else { return };
    make(&place.source(), Kept::AsFiles);
    // Owners need more rights than an account of FTP has.
    let rsync = |more: &str| {
        format!("rsync -a --no-owner --no-group --delete --checksum {more} --itemize-changes $source/ $mount/mirror/")
    };
    let first = place.run(&rsync(""));
    assert!(done(&first).len() > 80, "{first}");
    let nothing: [&str; 0] = [];
    assert_eq!(done(&place.run(&rsync(""))), nothing, "the second run");
    for round in 0..2 {
        change(&place.source(), round);
        let changed = place.run(&rsync(""));
        assert!(changed.contains("*deleting") && changed.contains("big"), "{changed}");
        place.remount();
        assert_eq!(done(&place.run(&rsync(""))), nothing, "the run after mounting again");
        assert_same(&place.source(), &place.path().join("mirror"));
        assert_same(&place.source(), &place.copy_of_the_server().join("mirror"));
    }
    // The ways that write into what is there.
    change(&place.source(), 2);
    place.run(&rsync("--inplace --no-whole-file"));
    change(&place.source(), 3);
    place.run(&rsync("--partial --delay-updates"));
    place.remount();
    assert_same(&place.source(), &place.path().join("mirror"));
    assert_same(&place.source(), &place.copy_of_the_server().join("mirror"));
}

/// What rsync says that it did, but for the times of directories, which not every server can set.
fn done(report: &str) -> Vec<&str> {
    report.lines().filter(|line| !line.starts_with(".d..t......")).collect()
}

pub(crate) fn tar_increments_give_back_what_was_there(setting: &'static Setting) {
    let Some(mut place) = Place::open(setting, &["tar", "rsync"]) else { return };
    make(&place.source(), Kept::Inside);
    // The list of what was there lies on the mount too, and is read and written anew by each run.
    let tar = |number: u64| format!("tar -C $source --listed-incremental=$mount/list -cf $mount/{number}.tar .");
    place.run(&tar(0));
    for number in 1..3 {
        change(&place.source(), number);
        place.run(&tar(number));
        place.remount();
    }
    place.run("mkdir restored; for archive in $mount/?.tar; do tar -C restored --listed-incremental=/dev/null -xf $archive; done");
    assert_same(&place.source(), &place.work().join("restored"));
    // One archive that grows, and gets its last member appended.
    place.run("tar -C $source -cf $mount/grown.tar big empty; tar -C $source -rf $mount/grown.tar odd 'folder 8'");
    place.remount();
    place.run("tar -df $mount/grown.tar -C $source; [ $(tar -tf $mount/grown.tar | grep -c /) -gt 10 ]");
    let server = place.copy_of_the_server();
    place.run(&format!("for name in $(ls $mount); do cmp $mount/$name {}/$name; done", server.display()));
}

pub(crate) fn duplicity_chain_gives_back_what_was_there(setting: &'static Setting) {
    let Some(mut place) = Place::open(setting, &["duplicity", "rsync"]) else { return };
    make(&place.source(), Kept::Inside);
    let duplicity = "duplicity --no-encryption --archive-dir $work/archive --tempdir $TMPDIR --allow-source-mismatch \
                     --volsize 2 --verbosity notice";
    let volumes = "file://$mount/volumes";
    place.run(&format!(
        "mkdir -p $mount/volumes; {} $source {volumes}",
        duplicity.replacen("duplicity", "duplicity full", 1)
    ));
    for round in 0..2 {
        change(&place.source(), round);
        place.run(&format!("{} $source {volumes}", duplicity.replacen("duplicity", "duplicity incr", 1)));
        place.remount();
    }
    place.run(&format!("{} {volumes} $source", duplicity.replacen("duplicity", "duplicity verify --compare-data", 1)));
    // Without what it keeps locally it has to fetch all that it knows.
    place.run(&format!(
        "rm -rf $work/archive; {} {volumes} $work/restored",
        duplicity.replacen("duplicity", "duplicity restore", 1)
    ));
    assert_same(&place.source(), &place.work().join("restored"));
    let server = place.copy_of_the_server();
    place.run(&format!(
        "rm -rf $work/archive; {} file://{}/volumes $work/restored2",
        duplicity.replacen("duplicity", "duplicity restore", 1),
        server.display()
    ));
    assert_same(&place.source(), &place.work().join("restored2"));
}

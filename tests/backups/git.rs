//! git: objects made under temporary names and linked or renamed, a pack that is mapped into memory, lock files.

use crate::material::{Kept, change, make};
use crate::mounted::shell;
use crate::place::{Place, Setting};

pub(crate) fn git_repository_is_whole_after_commits_gc_and_a_clone(setting: &'static Setting) {
    let Some(mut place) = Place::open(setting, &["git", "rsync"]) else { return };
    make(&place.source(), Kept::AsFiles);
    // What git tidies up by itself it does in the background, and an unmount meanwhile is refused: busy.
    place.run(
        "cd $mount; git init -q -b main work; cd work; git config gc.autoDetach false; git config maintenance.autoDetach false",
    );
    place
        .run("cd $mount/work; rsync -a --no-owner --no-group --exclude /.git $source/ .; git add -A; git commit -qm 0");
    for round in 0..3 {
        change(&place.source(), round);
        place.run(&format!(
            "cd $mount/work; rsync -a --no-owner --no-group --delete --exclude /.git $source/ .
             git checkout -q -b round{round}; git add -A; git commit -qm {round}
             git checkout -q main; git merge -q --no-edit round{round}; git tag -a -m tagged tag{round}
             git status --porcelain > $work/status; [ ! -s $work/status ] || {{ cat $work/status; git diff; ls -l moved/*/deep/deeper | grep 'file 1.txt'; exit 1; }}"
        ));
    }
    place.run("cd $mount/work; git stash list; git repack -q -d; git gc -q --prune=now; git fsck --strict");
    place.remount();
    place.run(
        "cd $mount/work; git fsck --strict; [ -z \"$(git status --porcelain)\" ]; [ $(git rev-list --count HEAD) = 4 ]",
    );
    place.run(
        "git clone -q --no-local $mount/work clone; cd clone; git fsck --strict
         echo more >> big; git commit -qam more; git push -q origin HEAD:pushed",
    );
    place.remount();
    place.run("cd $mount/work; git fsck --strict; git branch --list pushed | grep -q pushed");
    let server = place.copy_of_the_server().join("work");
    place.run(&format!(
        "git config --file $work/git-config safe.directory '*'; export GIT_CONFIG_GLOBAL=$work/git-config
         cd {}; git fsck --strict; git diff --exit-code HEAD; rm -rf .git",
        server.display()
    ));
    // git keeps neither empty folders nor times.
    place.run("cd $source; find . -mindepth 1 -type d -empty -delete; find . -type d | sort");
    shell(&server, "find . -mindepth 1 -type d -empty -delete; diff -r . \"$1\"", &[&place.source()]);
}

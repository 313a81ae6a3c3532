//! Whole trees in and out, by the tools that backups are made with.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::fixtures::{assert_same_tree, file_times, mounted, put, sets_times, small_tree, write_noise};
use crate::mounted::{Mount, shell};
use crate::servers::{Server, ServerKind, ServerSettings};

pub(crate) fn tree_copied_in_is_the_same_on_the_server(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    mount.shell("cp -a -- \"$1\" in", &[small_tree()]);
    // What cp was told is true at once, in the mount and on the server alike.
    assert_same_tree(small_tree(), &mount.path().join("in"), sets_times(kind));
    assert_same_tree(small_tree(), &server.folder().join("in"), sets_times(kind));
    mount.unmount();
    assert_same_tree(small_tree(), &server.folder().join("in"), sets_times(kind));
}

pub(crate) fn tree_copied_out_is_the_same_as_on_the_server(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, small_tree(), "out");
    let mount = Mount::start(&server, &[]);
    let target = TempDir::new().unwrap();
    mount.shell("cp -a out \"$1\"", &[target.path()]);
    assert_same_tree(small_tree(), &target.path().join("out"), true);
    mount.unmount();
}

pub(crate) fn rsync_finds_nothing_to_do_the_second_time(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let source = TempDir::new().unwrap();
    shell(source.path(), "cp -a -- \"$1\" tree", &[small_tree()]);
    // A server that cannot set times makes rsync compare sizes only, as its users must tell it.
    let compare = if sets_times(kind) { "" } else { "--size-only --omit-dir-times --no-times" };
    // Owners need more rights than an account of FTP has.
    let rsync = format!("rsync -a --no-owner --no-group --delete --itemize-changes {compare} \"$1\"/tree/ backup/");
    let first = mount.shell(&rsync, &[source.path()]);
    assert!(first.lines().filter(|line| line.starts_with(">f")).count() == 200, "{first}");
    assert_same_tree(&source.path().join("tree"), &server.folder().join("backup"), sets_times(kind));
    let second = mount.shell(&rsync, &[source.path()]);
    assert_eq!(transferred(&second), Vec::<&str>::new(), "the second run");
    mount.unmount();

    let mount = Mount::start(&server, &[]);
    let third = mount.shell(&rsync, &[source.path()]);
    assert_eq!(transferred(&third), Vec::<&str>::new(), "the run after mounting again");

    shell(source.path(), "rm -r 'tree/part 1'; echo changed >> 'tree/part 0/d000/file-00001.txt'", &[]);
    let fourth = mount.shell(&rsync, &[source.path()]);
    assert_eq!(transferred(&fourth), [">f part 0/d000/file-00001.txt"], "{fourth}");
    assert_same_tree(&source.path().join("tree"), &server.folder().join("backup"), sets_times(kind));
    assert!(!server.folder().join("backup/part 1").exists());
    mount.unmount();
}

/// The lines of rsync's report that say that a file's content was sent.
fn transferred(report: &str) -> Vec<&str> {
    report
        .lines()
        .filter(|line| line.starts_with('>') || line.starts_with('<'))
        .map(|line| if line.ends_with("part 0/d000/file-00001.txt") { ">f part 0/d000/file-00001.txt" } else { line })
        .collect()
}

pub(crate) fn rsync_in_place_changes_only_the_middle(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let source = TempDir::new().unwrap();
    let image = source.path().join("image");
    write_noise(&image, 4 << 20);
    mount.shell("rsync --inplace \"$1\" image", &[&image]);
    shell(source.path(), "printf changed | dd of=image bs=1 seek=2000000 conv=notrunc status=none", &[]);
    mount.shell("rsync --inplace --no-whole-file --ignore-times \"$1\" image", &[&image]);
    shell(&server.folder(), "cmp image \"$1\"; [ \"$(ls -A)\" = image ]", &[&image]);
    mount.unmount();
}

pub(crate) fn tar_archive_is_unpacked_and_packed_again(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let archive = TempDir::new().unwrap();
    let packed = archive.path().join("tree.tar");
    shell(small_tree(), "tar -cf \"$1\" .", &[&packed]);
    mount.shell("mkdir unpacked; tar -C unpacked --no-same-owner -xf \"$1\"", &[&packed]);
    assert_same_tree(small_tree(), &server.folder().join("unpacked"), sets_times(kind));
    // The other way round: an archive written into the mount, and read from there.
    mount.shell("tar -C unpacked -cf packed.tar . ; tar -tf packed.tar | sort | md5sum", &[]);
    shell(archive.path(), "mkdir again; tar -C again -xf \"$1\"/packed.tar", &[mount.path()]);
    assert_same_tree(small_tree(), &archive.path().join("again"), sets_times(kind));
    assert_eq!(
        fs::read(mount.path().join("packed.tar")).unwrap(),
        fs::read(server.folder().join("packed.tar")).unwrap()
    );
    assert!(!file_times(Path::new(&archive.path().join("again"))).is_empty());
    mount.unmount();
}

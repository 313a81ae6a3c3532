//! Reading what lies on the server, with the tools that read everything.

use std::path::Path;

use crate::fixtures::{BIG_LEN, TREE_FILES, big_file, put, tree};
use crate::mounted::{Mount, shell};
use crate::servers::{Server, ServerKind, ServerSettings};

pub(crate) fn tree_of_2000_files_is_listed_and_read_as_it_is(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, tree(), "tree");
    let mount = Mount::start(&server, &[]);
    let (here, there) = (mount.path().join("tree"), server.folder().join("tree"));
    let same = |script: &str| {
        let (seen, lies_there) = (shell(&here, script, &[]), shell(&there, script, &[]));
        assert!(!lies_there.is_empty(), "{script} finds nothing");
        let differing = seen.lines().zip(lies_there.lines()).find(|(one, other)| one != other);
        assert!(seen == lies_there, "{script}: the mount's and the server's first difference: {differing:?}");
    };
    // Owner and group are the mount's own, and so are the numbers of links and blocks of a directory.
    same("ls -lR --time-style=+%s . | awk '/^-/ { print $5, $6, $7, $8 } /^[^-]/ { print $NF }' | grep -v '^[0-9]*$'");
    same("find . -printf '%y %p\\n' | sort");
    same("find . -type f -size +3k -newermt 2010-01-01 | sort");
    same("grep -rc needle . | sort");
    same("find . -type f -print0 | sort -z | xargs -0 cat | sha256sum");
    same("find . -type f -printf '%P %s %Ts\\n' | sort");
    assert_eq!(shell(&here, "find . -type f | wc -l", &[]).trim(), TREE_FILES.to_string());
    shell(Path::new("/"), "diff -r -- \"$1\" \"$2\"", &[&here, &there]);
    mount.unmount();
}

pub(crate) fn links_among_many_names_are_shown_as_links(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let make = "mkdir many many/sub; cd many; seq -f f%05g 1 6000 | xargs touch; ln -s f00100 alive; ln -s nowhere broken; ln -s sub to-sub";
    shell(&server.folder(), make, &[]);
    let (there, kinds) = (server.folder().join("many"), "find . -printf '%y %p\\n' | sort");
    let expected = shell(&there, kinds, &[]);
    assert_eq!(expected.lines().count(), 6005);
    // Each first, on a mount that knows nothing of the directory.
    for script in [kinds, "ls -f | wc -l", "ls -U1 | sed -n 1p | wc -l", "ls -l | grep -c '^l'"] {
        let mount = Mount::start(&server, &[]);
        assert!(shell(&mount.path().join("many"), script, &[]) == shell(&there, script, &[]), "{script}");
        assert!(shell(&mount.path().join("many"), kinds, &[]) == expected, "again, behind {script}");
        mount.unmount();
    }
}

pub(crate) fn file_of_300_mib_is_read_and_written_as_it_is(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    put(&server, big_file(), "big");
    let mount = Mount::start(&server, &[]);
    let big = mount.path().join("big");
    assert_eq!(big.metadata().unwrap().len(), BIG_LEN);
    mount.shell("cat big | cmp - \"$1\"", &[big_file()]);
    // Places that no reader in order would come to next, and the end.
    mount.shell(
        "for at in 290 3 150 149 299 0 77; do
             cmp <(dd if=big bs=1M skip=$at count=1 status=none) <(dd if=\"$1\" bs=1M skip=$at count=1 status=none)
         done
         cmp <(tail -c 1000 big) <(tail -c 1000 \"$1\")
         [ \"$(dd if=big bs=1M skip=300 count=1 status=none | wc -c)\" = 0 ]",
        &[big_file()],
    );
    mount.shell("rm big; cp \"$1\" written; [ \"$(stat -c %s written)\" = \"$(stat -c %s \"$1\")\" ]", &[big_file()]);
    shell(&server.folder(), "cmp written \"$1\"; [ \"$(ls)\" = written ]", &[big_file()]);
    mount.unmount();
}

//! Programs with habits of their own: locks, temporary names, renames, writes in the middle.

use tempfile::TempDir;

use crate::fixtures::mounted;
use crate::mounted::shell;
use crate::servers::ServerKind;

pub(crate) fn git_clones_into_the_mount_and_commits(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let origin = TempDir::new().unwrap();
    shell(
        origin.path(),
        "git init -q -b main .
         for number in $(seq 60); do mkdir -p dir$((number % 4)); seq $number > dir$((number % 4))/file$number; done
         git add . ; git commit -qm first; echo more >> dir1/file1; git commit -qam second",
        &[],
    );
    // The server may own the files under another user's number.
    mount.shell(
        "git config --file \"$1\"/git-config safe.directory '*'
         export GIT_CONFIG_GLOBAL=\"$1\"/git-config
         git clone -q \"$1\"/.git work
         cd work
         [ -z \"$(git status --porcelain)\" ]
         echo changed >> dir2/file2; rm dir3/file3; echo new > added
         [ \"$(git status --porcelain | wc -l)\" = 3 ]
         git add -A
         git commit -qm third
         [ -z \"$(git status --porcelain)\" ]
         [ \"$(git log --oneline | wc -l)\" = 3 ]
         git gc -q
         git fsck --strict",
        &[origin.path()],
    );
    mount.unmount();
    // What lies on the server is a whole repository, and its files are those of the last commit.
    shell(
        &server.folder().join("work"),
        "export GIT_CONFIG_GLOBAL=\"$1\"/git-config
         git fsck --strict
         [ \"$(git log --oneline | wc -l)\" = 3 ]
         git diff --exit-code HEAD
         [ \"$(tail -n 1 dir2/file2)\" = changed ] && [ ! -e dir3/file3 ] && [ \"$(cat added)\" = new ]",
        &[origin.path()],
    );
}

pub(crate) fn sqlite_inserts_1000_rows_and_reads_them_back(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    mount.shell(
        "{
             echo 'create table numbers (number integer primary key, text text);'
             echo 'begin;'
             for number in $(seq 1000); do echo \"insert into numbers values ($number, 'row $number');\"; done
             echo 'commit;'
         } > /dev/shm/ftpfs-$$.sql
         trap 'rm -f /dev/shm/ftpfs-$$.sql' EXIT
         sqlite3 -bail rows.db < /dev/shm/ftpfs-$$.sql
         [ \"$(sqlite3 rows.db 'select count(*), sum(number) from numbers')\" = '1000|500500' ]
         sqlite3 rows.db \"update numbers set text = 'changed' where number % 2 = 0; delete from numbers where number > 900\"
         [ \"$(sqlite3 rows.db 'select count(*), sum(number) from numbers')\" = '900|405450' ]",
        &[],
    );
    let there = "[ \"$(sqlite3 rows.db 'pragma integrity_check')\" = ok ]
                 [ \"$(sqlite3 rows.db \"select count(*) from numbers where text = 'changed'\")\" = 450 ]
                 [ \"$(ls -A)\" = rows.db ]";
    mount.unmount();
    shell(&server.folder(), there, &[]);
}

pub(crate) fn vim_saves_with_a_backup_and_without(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    for options in
        ["backup backupcopy=no", "backup backupcopy=yes", "nobackup nowritebackup", "backup backupcopy=no fsync"]
    {
        mount.shell(
            "seq 2000 > notes
             vim=$(command -v vim.tiny || command -v vim)
             \"$vim\" -u NONE -N -es -c \"set backupskip= $(cat \"$1\")\" -c '%s/^1000$/changed/' -c 'wq!' notes
             [ \"$(grep -c changed notes)\" = 1 ]",
            &[&text_file(options).path().join("options")],
        );
        let seen = shell(&server.folder(), "sed -n 1000p notes; wc -l < notes; ls -A", &[]);
        let backup = if options.starts_with("backup") { "notes\nnotes~\n" } else { "notes\n" };
        assert_eq!(seen, format!("changed\n2000\n{backup}"), "{options}");
        if options.starts_with("backup") {
            assert_eq!(shell(&server.folder(), "seq 2000 | cmp - notes~", &[]), "");
        }
        mount.shell("rm notes; rm -f notes~; [ -z \"$(ls -A)\" ]", &[]);
    }
    mount.unmount();
}

/// A folder with the file `options` that holds `text`.
fn text_file(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("options"), text).unwrap();
    folder
}

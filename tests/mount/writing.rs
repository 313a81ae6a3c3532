//! The single operations that shells and programs write with, each with what it leaves on the server.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::fixtures::{mounted, put, sets_modes, sets_times, write_noise};
use crate::mounted::{Mount, shell};
use crate::servers::{Server, ServerKind, ServerSettings};

/// A file's length that is no multiple of a block or a page.
const LEN: u64 = 999_992;

pub(crate) fn middle_of_a_file_is_overwritten_in_place(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let made = tempfile::NamedTempFile::new().unwrap();
    write_noise(made.path(), LEN);
    let stored = put(&server, made.path(), "image");
    let mount = Mount::start(&server, &[]);
    let mut expected = fs::read(made.path()).unwrap();
    mount.shell("printf 'in the middle' | dd of=image bs=1 seek=500000 conv=notrunc status=none", &[]);
    expected[500_000..500_013].copy_from_slice(b"in the middle");
    assert!(fs::read(&stored).unwrap() == expected, "the server's file differs");
    assert!(fs::read(mount.path().join("image")).unwrap() == expected, "the mount's file differs");

    let mut file = File::options().read(true).write(true).open(mount.path().join("image")).unwrap();
    file.seek(SeekFrom::End(-3)).unwrap();
    file.write_all(b"beyond").unwrap();
    file.seek(SeekFrom::Start(10)).unwrap();
    file.write_all(b"early").unwrap();
    let mut back = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut back).unwrap();
    file.sync_all().unwrap();
    expected.truncate(expected.len() - 3);
    expected.extend_from_slice(b"beyond");
    expected[10..15].copy_from_slice(b"early");
    assert!(back == expected, "what is read back through the same handle differs");
    assert!(fs::read(&stored).unwrap() == expected, "the server's file differs after fsync");
    drop(file);
    mount.unmount();
    assert!(fs::read(&stored).unwrap() == expected, "the server's file differs after close");
}

/// A file of 4 GiB, nearly all of it a hole.
const LARGE_LEN: u64 = 4 << 30;

pub(crate) fn small_change_of_a_large_file_moves_little(kind: ServerKind) {
    let settings = ServerSettings { restarted_uploads: true, ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let stored = server.folder().join("large");
    let mut made = File::create(&stored).unwrap();
    made.write_all(b"the first bytes").unwrap();
    made.set_len(LARGE_LEN).unwrap();
    drop(made);
    server.give("large");
    // These two cut off what lies behind what is sent.
    let keeps_tail = !matches!(kind, ServerKind::PureFtpd | ServerKind::Embedded);
    let mount = Mount::start(&server, &[]);
    let mut expected = Vec::new();
    {
        let mut file = File::options().read(true).write(true).open(mount.path().join("large")).unwrap();
        let mut change = |offset: u64, byte: u8| {
            let bytes = [byte; 4096];
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.write_all(&bytes).unwrap();
            file.sync_all().unwrap();
            expected.push((offset, bytes));
        };
        if keeps_tail {
            change(LARGE_LEN / 2 + 1234, b'm');
            change(LARGE_LEN - 100, b'e');
        } else {
            change(LARGE_LEN - 4096, b'e');
        }
    }
    let mut file = File::options().append(true).open(mount.path().join("large")).unwrap();
    let appended_at = expected.last().map_or(0, |(offset, bytes)| offset + bytes.len() as u64);
    file.write_all(b"a line\n").unwrap();
    drop(file);
    let moved = mount.bytes_moved();
    assert!(moved < 1 << 20, "{moved} bytes");
    mount.unmount();
    let mut file = File::open(&stored).unwrap();
    assert_eq!(file.metadata().unwrap().len(), appended_at + 7);
    let mut read_at = |offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(read_at(0, 16), b"the first bytes\0");
    assert_eq!(read_at(appended_at, 7), b"a line\n");
    for (offset, bytes) in expected {
        assert_eq!(read_at(offset, 4096), bytes);
        assert_eq!(read_at(offset - 4096, 4096), [0; 4096]);
        if offset + 8192 < LARGE_LEN {
            assert_eq!(read_at(offset + 4096, 4096), [0; 4096]);
        }
    }
    assert_eq!(shell(&server.folder(), "ls -A", &[]), "large\n");
}

pub(crate) fn appended_lines_follow_what_was_there(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    mount.shell("echo one > log; echo two >> log; for word in three four five; do echo $word >> log; done", &[]);
    assert_eq!(fs::read_to_string(server.folder().join("log")).unwrap(), "one\ntwo\nthree\nfour\nfive\n");
    // Two that append at the same time lose nothing of each other.
    let mut one = File::options().append(true).open(mount.path().join("log")).unwrap();
    let mut other = File::options().append(true).open(mount.path().join("log")).unwrap();
    for number in 0..10 {
        writeln!(one, "one {number}").unwrap();
        writeln!(other, "other {number}").unwrap();
    }
    one.sync_all().unwrap();
    other.sync_all().unwrap();
    drop((one, other));
    let text = fs::read_to_string(server.folder().join("log")).unwrap();
    assert_eq!(text.lines().count(), 25, "{text}");
    assert!(text.ends_with("one 9\nother 9\n"), "{text}");
    mount.unmount();
}

pub(crate) fn file_is_truncated_and_extended(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let stored = server.folder().join("file");
    mount.shell("printf 0123456789 > file; truncate -s 4 file", &[]);
    assert_eq!(fs::read(&stored).unwrap(), b"0123");
    mount.shell("truncate -s 8 file; [ $(stat -c %s file) = 8 ]", &[]);
    assert_eq!(fs::read(&stored).unwrap(), b"0123\0\0\0\0");
    mount.shell("truncate -s 0 file; [ ! -s file ]", &[]);
    assert_eq!(fs::read(&stored).unwrap(), b"");
    mount.shell("truncate -s 3000000 file; : > other; printf x > file", &[]);
    assert_eq!(fs::read(&stored).unwrap(), b"x");
    assert_eq!(fs::read(server.folder().join("other")).unwrap(), b"");
    mount.unmount();
}

pub(crate) fn move_replaces_a_file_and_crosses_directories(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    mount.shell(
        "mkdir -p a b/c
         echo old > a/file; echo new > a/other
         mv a/other a/file
         [ \"$(cat a/file)\" = new ] && [ ! -e a/other ]
         echo target > b/c/target
         mv a/file b/c/target
         mv b/c moved
         echo kept > kept; echo loser > loser
         mv -n loser kept
         [ \"$(ls -A moved)\" = target ]",
        &[],
    );
    let there = shell(&server.folder(), "find . | sort; cat moved/target kept loser", &[]);
    assert_eq!(there, ".\n./a\n./b\n./kept\n./loser\n./moved\n./moved/target\nnew\nkept\nloser\n");
    // A directory is replaced by a directory, and only by one, and only if it is empty.
    let moved = fs::rename(mount.path().join("a"), mount.path().join("moved"));
    assert_eq!(moved.unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    let moved = fs::rename(mount.path().join("kept"), mount.path().join("moved"));
    assert_eq!(moved.unwrap_err().kind(), ErrorKind::IsADirectory);
    fs::rename(mount.path().join("moved"), mount.path().join("b")).unwrap();
    assert_eq!(shell(&server.folder(), "find . | sort", &[]), ".\n./a\n./b\n./b/target\n./kept\n./loser\n");
    mount.unmount();
}

pub(crate) fn open_file_can_be_removed_and_replaced(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let made = tempfile::NamedTempFile::new().unwrap();
    write_noise(made.path(), LEN);
    put(&server, made.path(), "read");
    put(&server, made.path(), "replaced");
    let mount = Mount::start(&server, &[]);
    mount.shell(
        "exec 3< read 4< replaced 5> written
         head -c 10 <&3 > /dev/null; head -c 10 <&4 > /dev/null
         rm read
         echo other > new; mv new replaced
         echo lost >&5; rm written; echo lost too >&5
         [ \"$(ls -A)\" = replaced ]
         [ \"$(cat replaced)\" = other ]
         cat <&3 | cmp - <(tail -c +11 \"$1\")
         cat <&4 | cmp - <(tail -c +11 \"$1\")
         exec 3<&- 4<&- 5>&-
         [ \"$(ls -A)\" = replaced ]",
        &[made.path()],
    );
    assert_eq!(shell(&server.folder(), "ls -A; cat replaced", &[]), "replaced\nother\n");
    mount.unmount();
}

pub(crate) fn directories_are_made_ten_deep_and_removed(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let deep = "1/2/3/4/5/6/7/8/9/10";
    mount.shell(&format!("mkdir -p {deep}; echo bottom > {deep}/file; [ \"$(cat {deep}/file)\" = bottom ]"), &[]);
    assert_eq!(fs::read_to_string(server.folder().join(deep).join("file")).unwrap(), "bottom\n");
    mount.shell("rm -r 1; [ -z \"$(ls -A)\" ]", &[]);
    assert_eq!(fs::read_dir(server.folder()).unwrap().count(), 0);
    mount.unmount();
}

pub(crate) fn time_that_was_set_is_kept(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let seconds = mount.shell("echo text > file; touch -d '2001-02-03 04:05:06' file; stat -c %Y file", &[]);
    assert_eq!(seconds.trim(), "981173106");
    if sets_times(kind) {
        assert_eq!(shell(&server.folder(), "stat -c %Y file", &[]).trim(), "981173106");
    }
    if sets_modes(kind) {
        mount.shell("chmod 600 file; [ \"$(stat -c %a file)\" = 600 ]", &[]);
        assert_eq!(shell(&server.folder(), "stat -c %a file", &[]).trim(), "600");
    }
    // Written after the time was set: the time is that of the writing.
    mount.shell("echo more >> file; [ $(stat -c %Y file) -gt 981173106 ]", &[]);
    mount.unmount();
}

pub(crate) fn space_is_never_zero(kind: ServerKind) {
    let Some((_server, mount)) = mounted(kind) else { return };
    let spaces = mount.shell("df --output=size,avail . | tail -n 1; df -i . > /dev/null", &[]);
    let spaces: Vec<u64> = spaces.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(spaces.len() == 2 && spaces.iter().all(|space| *space > 0), "{spaces:?}");
    mount.unmount();
}

pub(crate) fn errors_are_those_of_a_local_file_system(kind: ServerKind) {
    let Some((server, mount)) = mounted(kind) else { return };
    let path = |name: &str| mount.path().join(name);
    fs::create_dir(path("full")).unwrap();
    fs::write(path("full/file"), "text").unwrap();
    let kind_of = |result: std::io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind_of(fs::read(path("none")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind_of(fs::read(path("none/file")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind_of(fs::remove_file(path("none"))), ErrorKind::NotFound);
    assert_eq!(kind_of(fs::remove_dir(path("full"))), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind_of(fs::remove_dir(path("full/file"))), ErrorKind::NotADirectory);
    assert_eq!(kind_of(fs::remove_file(path("full"))), ErrorKind::IsADirectory);
    assert_eq!(kind_of(fs::create_dir(path("full"))), ErrorKind::AlreadyExists);
    assert_eq!(kind_of(File::create_new(path("full/file")).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind_of(fs::read(path("full/file/below")).map(drop)), ErrorKind::NotADirectory);
    let long = "n".repeat(256);
    assert_eq!(kind_of(fs::write(path(&long), "")), ErrorKind::InvalidFilename);
    if mount.is_real() {
        // FTP has no hard links. Programs take this answer, and no other, for "then I copy it".
        assert_eq!(kind_of(fs::hard_link(path("full/file"), path("link"))), ErrorKind::PermissionDenied);
    }
    assert_eq!(shell(&server.folder(), "find . | sort; cat full/file", &[]), ".\n./full\n./full/file\ntext");
    assert!(Path::new(&path("full/file")).is_file());
    mount.unmount();
}

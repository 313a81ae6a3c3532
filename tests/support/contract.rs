//! What every `Remote` promises, as a program that runs on any of them: in memory and on real servers alike.
//!
//! Each function is one promise, in a directory of its own that is new and empty. Nothing here knows how a remote does it.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use ftpfs::protocol::{EntryKind, Name, Precision, RemotePath, Timestamp};
use ftpfs::remote::{FileTransfers as _, Remote, RemoteError, Wishes, WriteMode};

/// Checks every promise.
pub(crate) fn contract(remote: &dyn Remote) {
    let directory = path("/contract replace, looked at meanwhile");
    remote.make_directory(&directory).unwrap();
    file_that_is_being_replaced_has_its_old_content(remote, &directory);
    contract_on_one_connection(remote);
}

/// A promise, checked in a directory of its own.
type Promise = fn(&dyn Remote, &RemotePath);

/// Checks the promises that can be kept with one connection to the server, where nothing can be asked while a file
/// is written.
pub(crate) fn contract_on_one_connection(remote: &dyn Remote) {
    let promises: [(&str, Promise); 22] = [
        ("empty", empty_directory_lists_as_empty_and_complete),
        ("listing", listing_shows_what_was_made_and_nothing_else),
        ("missing", what_is_missing_is_not_found_whatever_is_asked),
        ("kinds", file_is_no_directory_and_directory_no_file),
        ("ranges", range_is_read_from_any_offset),
        ("create", created_file_has_the_bytes_that_were_written),
        ("replace", replaced_file_has_the_new_content_alone),
        ("whole", content_sent_as_a_whole_is_the_file),
        ("abandon", abandoned_write_leaves_nothing_behind),
        ("append", appended_bytes_stand_behind_the_old_ones_or_nothing_happens),
        ("patch", patched_bytes_stand_in_the_midst_of_the_old_ones_or_nothing_happens),
        ("tail", tail_is_written_anew_behind_what_stays_or_nothing_happens),
        ("rename", rename_moves_and_replaces_files),
        ("rename-refused", rename_after_a_refused_one_moves_nothing_else),
        ("rename-directories", rename_of_directories_replaces_empty_ones_only),
        ("remove", removing_takes_away_that_and_nothing_more),
        ("make", directory_is_made_once),
        ("times", time_that_was_set_reads_back_equal),
        ("modes", mode_that_was_set_shows_in_the_listing),
        ("symlinks", symbolic_link_keeps_its_target_or_is_unsupported),
        ("names", awkward_name_is_kept_byte_for_byte_or_refused_with_nothing_made),
        ("space", space_is_a_number_or_unknown),
    ];
    for (directory, promise) in promises {
        let directory = path(&format!("/contract {directory}"));
        remote.make_directory(&directory).unwrap();
        promise(remote, &directory);
    }
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

fn in_directory(directory: &RemotePath, name: impl AsRef<[u8]>) -> RemotePath {
    directory.join(&Name::new(name).unwrap())
}

fn put(remote: &dyn Remote, path: &RemotePath, bytes: &[u8]) {
    remote.write_from(path, WriteMode::Create, &mut &*bytes).unwrap();
}

fn content(remote: &dyn Remote, path: &RemotePath) -> Vec<u8> {
    let mut bytes = Vec::new();
    remote.retrieve(path, 0, &mut bytes).unwrap();
    bytes
}

/// The names in a directory, sorted.
fn names(remote: &dyn Remote, directory: &RemotePath) -> Vec<Vec<u8>> {
    let listing = remote.list(directory).unwrap();
    let mut names: Vec<_> = listing.entries.iter().map(|entry| entry.name.as_bytes().to_vec()).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(result: Result<T, RemoteError>, is_expected: fn(&RemoteError) -> bool) {
    match result {
        Err(error) if is_expected(&error) => {}
        other => panic!("{other:?}"),
    }
}

fn empty_directory_lists_as_empty_and_complete(remote: &dyn Remote, directory: &RemotePath) {
    let listing = remote.list(directory).unwrap();
    assert_eq!(listing.entries, []);
    assert!(listing.complete);
}

fn listing_shows_what_was_made_and_nothing_else(remote: &dyn Remote, directory: &RemotePath) {
    put(remote, &in_directory(directory, "file"), b"12345");
    put(remote, &in_directory(directory, ".hidden"), b"");
    remote.make_directory(&in_directory(directory, "directory")).unwrap();
    let listing = remote.list(directory).unwrap();
    assert!(listing.complete);
    let mut shown: Vec<_> = listing.entries.iter().map(|entry| (entry.name.to_string(), entry.kind)).collect();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        (".hidden".to_owned(), EntryKind::File),
        ("directory".to_owned(), EntryKind::Directory),
        ("file".to_owned(), EntryKind::File),
    ];
    assert_eq!(shown, expected);
    let file = listing.entries.iter().find(|entry| entry.name.as_bytes() == b"file").unwrap();
    assert_eq!(file.size, Some(5));
    assert!(file.modified.is_some());
    let told = remote.stat(&in_directory(directory, "file")).unwrap();
    assert_eq!((told.kind, told.size, told.name.as_bytes()), (EntryKind::File, Some(5), &b"file"[..]));
    assert_eq!(remote.stat(&in_directory(directory, "directory")).unwrap().kind, EntryKind::Directory);
    assert_eq!(remote.stat(&RemotePath::root()).unwrap().kind, EntryKind::Directory);
}

fn what_is_missing_is_not_found_whatever_is_asked(remote: &dyn Remote, directory: &RemotePath) {
    let is_expected = |error: &RemoteError| *error == RemoteError::NotFound;
    let missing = in_directory(directory, "missing");
    let below = in_directory(&missing, "below");
    for path in [&missing, &below] {
        assert_error(remote.stat(path), is_expected);
        assert_error(remote.list(path), is_expected);
        assert_error(remote.read_range(path, 0, 1), is_expected);
        assert_error(remote.read_range(path, 7, 1), is_expected);
        assert_error(remote.remove_file(path), is_expected);
        assert_error(remote.remove_directory(path), is_expected);
        assert_error(remote.rename(path, &in_directory(directory, "renamed")), is_expected);
    }
    assert_error(remote.make_directory(&below), is_expected);
    let stored = remote.open_write(&below, WriteMode::Create).and_then(|mut stream| stream.finish());
    assert_error(stored, is_expected);
    put(remote, &in_directory(directory, "file"), b"1");
    assert_error(remote.rename(&in_directory(directory, "file"), &below), is_expected);
    assert_eq!(names(remote, directory), [b"file"]);
}

fn file_is_no_directory_and_directory_no_file(remote: &dyn Remote, directory: &RemotePath) {
    let (file, made) = (in_directory(directory, "file"), in_directory(directory, "made"));
    put(remote, &file, b"1");
    remote.make_directory(&made).unwrap();
    assert_error(remote.list(&file), |error| *error == RemoteError::NotDirectory);
    assert_error(remote.remove_directory(&file), |error| *error == RemoteError::NotDirectory);
    assert_error(remote.read_range(&made, 0, 1), |error| *error == RemoteError::IsDirectory);
    assert_error(remote.remove_file(&made), |error| *error == RemoteError::IsDirectory);
    let stored = remote.open_write(&made, WriteMode::Create).and_then(|mut stream| stream.finish());
    assert_error(stored, |error| *error == RemoteError::IsDirectory);
    assert_eq!(names(remote, directory), [&b"file"[..], b"made"]);
}

fn range_is_read_from_any_offset(remote: &dyn Remote, directory: &RemotePath) {
    let file = in_directory(directory, "file");
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    put(remote, &file, &bytes);
    for (offset, len) in [(0, 10), (1, 1), (131_071, 3), (1_199_990, 10), (1_199_990, 99), (500_000, 700_000)] {
        let expected = &bytes[offset..bytes.len().min(offset + len)];
        assert_eq!(remote.read_range(&file, offset as u64, len).unwrap(), expected, "{offset} {len}");
    }
    assert_eq!(remote.read_range(&file, bytes.len() as u64, 5).unwrap(), b"");
    assert_eq!(remote.read_range(&file, bytes.len() as u64 + 1000, 5).unwrap(), b"");
    assert!(content(remote, &file) == bytes);
}

fn created_file_has_the_bytes_that_were_written(remote: &dyn Remote, directory: &RemotePath) {
    for len in [0_usize, 1, 16_384, 1_000_003] {
        let file = in_directory(directory, format!("file of {len}"));
        let bytes: Vec<u8> = (0..len).map(|place| (place % 251) as u8).collect();
        let mut stream = remote.open_write(&file, WriteMode::Create).unwrap();
        for piece in bytes.chunks(70_001) {
            stream.write_all(piece).unwrap();
        }
        let stored = stream.finish().unwrap();
        assert_eq!(stored.size, len as u64);
        assert!(content(remote, &file) == bytes, "{len}");
    }
}

fn replaced_file_has_the_new_content_alone(remote: &dyn Remote, directory: &RemotePath) {
    let file = in_directory(directory, "file");
    put(remote, &file, b"the old content, which is longer");
    let mut stream = remote.open_write(&file, WriteMode::Replace { mode: None }).unwrap();
    stream.write_all(b"new").unwrap();
    stream.finish().unwrap();
    assert_eq!(content(remote, &file), b"new");
    assert_eq!(names(remote, directory), [b"file"]);
    // Where nothing is to be replaced, too.
    remote.store(&in_directory(directory, "other"), &mut &b"x"[..]).unwrap();
    assert_eq!(content(remote, &in_directory(directory, "other")), b"x");
}

fn file_that_is_being_replaced_has_its_old_content(remote: &dyn Remote, directory: &RemotePath) {
    let file = in_directory(directory, "file");
    put(remote, &file, b"old");
    let mut stream = remote.open_write(&file, WriteMode::Replace { mode: None }).unwrap();
    stream.write_all(b"new content").unwrap();
    assert_eq!(content(remote, &file), b"old");
    stream.finish().unwrap();
    assert_eq!(content(remote, &file), b"new content");
}

fn content_sent_as_a_whole_is_the_file(remote: &dyn Remote, directory: &RemotePath) {
    let time = Timestamp { seconds: 1_000_000_000, nanoseconds: 0, precision: Precision::Second };
    let file = in_directory(directory, "file");
    let mut mode = WriteMode::Create;
    for len in [0_usize, 1, 8 << 10, 32 << 10, (32 << 10) + 1, 1 << 20] {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        let mut stream = remote.open_whole(&file, mode, &bytes).unwrap();
        let finished = stream.finish_with(Wishes { time: Some(time), mode: Some(0o600) }).unwrap();
        assert_eq!(finished.stored.size, len as u64);
        if let Some(kept) = finished.mode {
            assert_eq!(remote.stat(&file).unwrap().mode.unwrap_or(kept) & 0o777, kept);
        }
        assert_eq!(content(remote, &file), bytes, "{len} bytes");
        if let Some(kept) = finished.time {
            assert_eq!(
                (kept.seconds, finished.stored.modified.map(|time| time.seconds)),
                (time.seconds, Some(time.seconds))
            );
            assert_eq!(remote.stat(&file).unwrap().modified.unwrap().seconds, time.seconds);
        }
        // Now the way to set times is known, and may go with the next one.
        let _ = remote.set_modified(&file, Timestamp { seconds: 900_000_000, ..time });
        mode = WriteMode::Replace { mode: Some(0o640) };
        assert_eq!(names(remote, directory), [b"file"]);
    }
    let file = in_directory(directory, "second");
    let mut stream = remote.open_whole(&file, WriteMode::Create, b"new").unwrap();
    let finished = stream.finish_with(Wishes { time: Some(time), mode: Some(0o600) }).unwrap();
    let entry = remote.stat(&file).unwrap();
    assert_eq!(finished.mode.unwrap_or(0o600), 0o600);
    assert!(finished.mode.is_none() || entry.mode.is_none_or(|mode| mode & 0o777 == 0o600));
    assert!(finished.time.is_none_or(|kept| entry.modified.is_some_and(|now| now.seconds == kept.seconds)));
    assert_eq!((finished.stored.size, content(remote, &file)), (3, b"new".to_vec()));
    remote.remove_file(&file).unwrap();
    let file = in_directory(directory, "file");
    // One that is not finished is not there.
    drop(remote.open_whole(&file, mode, b"never").unwrap());
    drop(remote.open_whole(&in_directory(directory, "new"), WriteMode::Create, b"never").unwrap());
    assert_eq!(names(remote, directory), [b"file"]);
    assert_eq!(remote.stat(&file).unwrap().size, Some(1 << 20));
    let absent = in_directory(&in_directory(directory, "absent"), "file");
    assert_error(remote.open_whole(&absent, WriteMode::Create, b"x").and_then(|mut stream| stream.finish()), |error| {
        matches!(error, RemoteError::NotFound | RemoteError::Refused { .. })
    });
}

fn abandoned_write_leaves_nothing_behind(remote: &dyn Remote, directory: &RemotePath) {
    let (old, new) = (in_directory(directory, "old"), in_directory(directory, "new"));
    put(remote, &old, b"old");
    for (path, mode) in [(&old, WriteMode::Replace { mode: None }), (&new, WriteMode::Create)] {
        let mut stream = remote.open_write(path, mode).unwrap();
        stream.write_all(b"half of it").unwrap();
        drop(stream);
    }
    assert_eq!(names(remote, directory), [b"old"]);
    assert_eq!(content(remote, &old), b"old");
}

fn appended_bytes_stand_behind_the_old_ones_or_nothing_happens(remote: &dyn Remote, directory: &RemotePath) {
    let file = in_directory(directory, "file");
    put(remote, &file, b"old ");
    match remote.append(&file, 4, &mut &b"new"[..]) {
        Ok(stored) => {
            assert_eq!(stored.size, 7);
            assert_eq!(content(remote, &file), b"old new");
            let stale = remote.open_write(&file, WriteMode::Append { size: 4 }).map(drop);
            assert_error(stale, |error| *error == RemoteError::Changed);
            assert_eq!(content(remote, &file), b"old new");
        }
        Err(error) => {
            assert!(error.to_string().contains("appending"), "{error}");
            assert_eq!(content(remote, &file), b"old ");
        }
    }
    assert_eq!(names(remote, directory), [b"file"]);
}

fn patched_bytes_stand_in_the_midst_of_the_old_ones_or_nothing_happens(remote: &dyn Remote, directory: &RemotePath) {
    let file = in_directory(directory, "file");
    let mut expected: Vec<u8> = (0..500_000_u32).map(|place| (place % 253) as u8).collect();
    put(remote, &file, &expected);
    let size = expected.len() as u64;
    let patches: [(usize, &[u8]); 6] = [
        (0, b"first"),
        (1, b"almost first"),
        (131_071, b"in the midst"),
        (499_997, b"end"),
        (7, b""),
        (200_000, &[7; 100_000]),
    ];
    for (offset, bytes) in patches {
        match remote.write_from(&file, WriteMode::Patch { offset: offset as u64, size }, &mut &*bytes) {
            Ok(stored) => {
                assert_eq!(stored.size, size);
                expected[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Err(error) => assert!(error.to_string().contains("does not support"), "{error}"),
        }
        assert!(content(remote, &file) == expected, "{offset}");
    }
    // One byte too many, or in a file that is another one by now: nothing happens.
    let beyond = remote.write_from(&file, WriteMode::Patch { offset: size - 2, size }, &mut &b"end"[..]);
    assert!(beyond.is_err());
    assert_error(remote.open_write(&file, WriteMode::Patch { offset: 0, size: 9 }).map(drop), |error| {
        matches!(error, RemoteError::Changed | RemoteError::Unsupported { .. })
    });
    assert!(content(remote, &file) == expected);
    assert_eq!(names(remote, directory), [b"file"]);
}

fn tail_is_written_anew_behind_what_stays_or_nothing_happens(remote: &dyn Remote, directory: &RemotePath) {
    let file = in_directory(directory, "file");
    put(remote, &file, b"0123456789");
    let mut expected = b"0123456789".to_vec();
    // Over the end, from the end on, with nothing; then shorter, and to nothing but a beginning.
    let tails: [(usize, &[u8]); 6] = [(8, b"abcd"), (12, b"efg"), (15, b""), (9, b"hi"), (4, b""), (0, b"x")];
    for (offset, bytes) in tails {
        if offset > expected.len() {
            continue; // It was not able to make it so long.
        }
        let size = expected.len() as u64;
        let new_size = (offset + bytes.len()) as u64;
        match remote.write_from(&file, WriteMode::Tail { offset: offset as u64, size, new_size }, &mut &*bytes) {
            Ok(stored) => {
                assert_eq!(stored.size, new_size);
                expected.truncate(offset);
                expected.extend_from_slice(bytes);
            }
            Err(error) => assert!(error.to_string().contains("does not support"), "{error}"),
        }
        assert_eq!(content(remote, &file), expected, "{offset}");
    }
    assert_eq!(names(remote, directory), [b"file"]);
}

fn rename_moves_and_replaces_files(remote: &dyn Remote, directory: &RemotePath) {
    let (one, other) = (in_directory(directory, "one"), in_directory(directory, "other"));
    put(remote, &one, b"one");
    remote.rename(&one, &other).unwrap();
    assert_eq!(names(remote, directory), [b"other"]);
    put(remote, &one, b"one again");
    remote.rename(&one, &other).unwrap();
    assert_eq!(names(remote, directory), [b"other"]);
    assert_eq!(content(remote, &other), b"one again");
    // Nothing was renamed, whatever lies at the new name.
    assert_error(remote.rename(&one, &other), |error| *error == RemoteError::NotFound);
    assert_eq!(content(remote, &other), b"one again");
    let below = in_directory(directory, "below");
    remote.make_directory(&below).unwrap();
    remote.rename(&other, &in_directory(&below, "moved")).unwrap();
    assert_eq!(names(remote, &below), [b"moved"]);
}

fn rename_after_a_refused_one_moves_nothing_else(remote: &dyn Remote, directory: &RemotePath) {
    let [file, missing, new] = ["file", "missing", "new"].map(|name| in_directory(directory, name));
    put(remote, &file, b"content");
    let nowhere = in_directory(&in_directory(directory, "absent"), "new");
    // Its first half is agreed to, and its second half refused: that must not be what the next one begins with.
    assert!(remote.rename(&file, &nowhere).is_err());
    assert_error(remote.rename(&missing, &new), |error| *error == RemoteError::NotFound);
    assert_eq!(names(remote, directory), [b"file"]);
    assert_eq!(content(remote, &file), b"content");
}

fn rename_of_directories_replaces_empty_ones_only(remote: &dyn Remote, directory: &RemotePath) {
    let (one, full, empty) =
        (in_directory(directory, "one"), in_directory(directory, "full"), in_directory(directory, "empty"));
    for made in [&one, &full, &empty] {
        remote.make_directory(made).unwrap();
    }
    put(remote, &in_directory(&one, "in one"), b"1");
    put(remote, &in_directory(&full, "in full"), b"2");
    let file = in_directory(directory, "file");
    put(remote, &file, b"3");
    assert_error(remote.rename(&one, &full), |error| matches!(error, RemoteError::NotEmpty | RemoteError::Exists));
    assert_error(remote.rename(&one, &file), |error| matches!(error, RemoteError::NotDirectory | RemoteError::Exists));
    assert_error(remote.rename(&file, &empty), |error| matches!(error, RemoteError::IsDirectory | RemoteError::Exists));
    remote.rename(&one, &empty).unwrap();
    assert_eq!(names(remote, &empty), [b"in one"]);
    assert_eq!(names(remote, &full), [b"in full"]);
    assert_eq!(names(remote, directory), [&b"empty"[..], b"file", b"full"]);
}

fn removing_takes_away_that_and_nothing_more(remote: &dyn Remote, directory: &RemotePath) {
    let (file, full) = (in_directory(directory, "file"), in_directory(directory, "full"));
    let below = in_directory(&full, ".below");
    put(remote, &file, b"1");
    remote.make_directory(&full).unwrap();
    put(remote, &below, b"2");
    assert_error(remote.remove_directory(&full), |error| *error == RemoteError::NotEmpty);
    assert_eq!(names(remote, &full), [b".below"]);
    remote.remove_file(&below).unwrap();
    remote.remove_directory(&full).unwrap();
    remote.remove_file(&file).unwrap();
    assert_eq!(remote.list(directory).unwrap().entries, []);
}

fn directory_is_made_once(remote: &dyn Remote, directory: &RemotePath) {
    let (made, file) = (in_directory(directory, "made"), in_directory(directory, "file"));
    remote.make_directory(&made).unwrap();
    assert_error(remote.make_directory(&made), |error| *error == RemoteError::Exists);
    put(remote, &file, b"1");
    assert_error(remote.make_directory(&file), |error| *error == RemoteError::Exists);
}

fn time_that_was_set_reads_back_equal(remote: &dyn Remote, directory: &RemotePath) {
    let (file, other) = (Name::new("file").unwrap(), Name::new("other").unwrap());
    put(remote, &directory.join(&file), b"1");
    put(remote, &directory.join(&other), b"2");
    // 2019-07-14 02:40:00, summer where there is one; 1999-12-31 23:59:59.
    for seconds in [1_563_072_000, 946_684_799] {
        let time = Timestamp { seconds, nanoseconds: 0, precision: Precision::Second };
        match remote.set_modified(&directory.join(&file), time) {
            Ok(kept) => assert_eq!(kept.seconds, seconds),
            Err(error) => {
                assert!(matches!(error, RemoteError::Unsupported { .. }), "{error}");
                assert!(!remote.abilities().set_modified);
                continue;
            }
        }
        let times = remote.times(directory, &[file.clone(), other.clone(), Name::new("missing").unwrap()]).unwrap();
        assert_eq!(times.len(), 3);
        assert_eq!(times[0].map(|time| time.seconds), Some(seconds));
        assert!(times[1].is_some_and(|time| time.seconds > 1_600_000_000), "{times:?}");
        assert_eq!(times[2], None);
        if remote.abilities().listing_has_seconds {
            let listing = remote.list(directory).unwrap();
            let entry = listing.entries.iter().find(|entry| entry.name == file).unwrap();
            assert_eq!(entry.modified.map(|time| time.seconds), Some(seconds));
        }
    }
}

fn mode_that_was_set_shows_in_the_listing(remote: &dyn Remote, directory: &RemotePath) {
    let file = in_directory(directory, "file");
    put(remote, &file, b"1");
    let mode = || remote.list(directory).unwrap().entries[0].mode;
    match remote.set_mode(&file, 0o750) {
        Ok(()) => {}
        Err(error) => {
            assert!(matches!(error, RemoteError::Unsupported { .. }), "{error}");
            assert!(!remote.abilities().set_mode);
            return;
        }
    }
    assert_eq!(mode().unwrap() & 0o777, 0o750);
    // One that is not told here is shown as the listing had it; another one would be a change that nobody made.
    assert_eq!(remote.stat(&file).unwrap().mode.map_or(0o750, |mode| mode & 0o777), 0o750);
    let mut stream = remote.open_write(&file, WriteMode::Replace { mode: Some(0o750) }).unwrap();
    stream.write_all(b"another").unwrap();
    stream.finish().unwrap();
    assert_eq!(mode().unwrap() & 0o777, 0o750);
    assert_error(remote.set_mode(&in_directory(directory, "missing"), 0o600), |error| *error == RemoteError::NotFound);
}

fn symbolic_link_keeps_its_target_or_is_unsupported(remote: &dyn Remote, _: &RemotePath) {
    // SITE SYMLINK has no way to say a path with a space in it.
    let directory = &path("/contract-symlinks");
    remote.make_directory(directory).unwrap();
    let link = in_directory(directory, "link");
    put(remote, &in_directory(directory, "target"), b"1");
    match remote.make_symlink(&link, b"target") {
        Ok(()) => {
            let listing = remote.list(directory).unwrap();
            let entry = listing.entries.iter().find(|entry| entry.name.as_bytes() == b"link").unwrap();
            assert_eq!((entry.kind, entry.link_target.as_deref()), (EntryKind::Symlink, Some(&b"target"[..])));
            assert_error(remote.make_symlink(&link, b"target"), |error| *error == RemoteError::Exists);
            remote.remove_file(&link).unwrap();
        }
        Err(error) => assert!(matches!(error, RemoteError::Unsupported { .. }), "{error}"),
    }
    assert_eq!(names(remote, directory), [b"target"]);
}

/// Names that no program is kind enough to avoid.
pub(crate) fn awkward_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        " first",
        "in the middle",
        "last ",
        "  ",
        "#",
        "%41",
        "a?b",
        "a*b",
        "[ab]",
        "{a,b}",
        "~",
        "~root",
        "a\\b",
        "a;type=a",
        "\"quoted\"",
        "'quoted'",
        "-la",
        "-",
        "a -> b",
        "$HOME",
        "`id`",
        "|ls",
        "<a>",
        "a&b",
        "a:b",
        "...",
        "a.",
        "\t",
        "a\x01b",
        "\x7f",
        "é",
        "e\u{301}",
        "日本語",
        "😀",
        "\u{85}",
        "\u{2028}",
        "\u{feff}bom",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.extend([
        vec![b'x'; 255],
        b"caf\xe9".to_vec(),
        b"\xff".to_vec(),
        b"\xfe\xff\xff".to_vec(),
        b"\xc0\xaf".to_vec(),
    ]);
    names
}

fn awkward_name_is_kept_byte_for_byte_or_refused_with_nothing_made(remote: &dyn Remote, directory: &RemotePath) {
    for name in awkward_names() {
        let (file, shown) = (in_directory(directory, &name), name.escape_ascii().to_string());
        match remote.write_from(&file, WriteMode::Create, &mut &b"1"[..]) {
            Ok(_) => {
                assert_eq!(names(remote, directory), [name.as_slice()], "{shown}");
                assert_eq!(content(remote, &file), b"1", "{shown}");
                assert_eq!(remote.stat(&file).unwrap().size, Some(1), "{shown}");
                let plain = in_directory(directory, "plain");
                remote.rename(&file, &plain).unwrap();
                assert_eq!(names(remote, directory), [b"plain"], "{shown}");
                remote.rename(&plain, &file).unwrap();
                assert_eq!(names(remote, directory), [name.as_slice()], "{shown}");
                remote.store(&file, &mut &b"22"[..]).unwrap();
                assert_eq!(content(remote, &file), b"22", "{shown}");
                remote.remove_file(&file).unwrap();
            }
            Err(error) => assert!(error.to_string().contains("name"), "{shown}: {error}"),
        }
        assert_eq!(names(remote, directory), Vec::<Vec<u8>>::new(), "{shown}");
        match remote.make_directory(&file) {
            Ok(()) => {
                assert_eq!(names(remote, directory), [name.as_slice()], "{shown}");
                put(remote, &in_directory(&file, "inside"), b"1");
                assert_eq!(names(remote, &file), [b"inside"], "{shown}");
                remote.remove_file(&in_directory(&file, "inside")).unwrap();
                remote.remove_directory(&file).unwrap();
            }
            Err(error) => assert!(error.to_string().contains("name"), "{shown}: {error}"),
        }
        assert_eq!(names(remote, directory), Vec::<Vec<u8>>::new(), "{shown}");
    }
}

fn space_is_a_number_or_unknown(remote: &dyn Remote, directory: &RemotePath) {
    if let Some(space) = remote.space(directory).unwrap() {
        assert!(space.total.is_none_or(|total| space.available <= total));
    }
    assert_eq!(remote.space(directory).unwrap().is_some(), remote.space(directory).unwrap().is_some());
}

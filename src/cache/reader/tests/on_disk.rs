//! The same promises with a cache directory.

use super::*;
use crate::protocol::Precision;

const OLD: Timestamp = Timestamp { seconds: 1, nanoseconds: 0, precision: Precision::Second };

#[test]
fn next_mount_reads_from_the_cache_directory_and_asks_for_nothing() {
    let size = 3 * MIB + 77;
    let version = FileVersion { modified: Some(OLD), ..version(size) };
    let folder = tempfile::tempdir().unwrap();
    let disk = || Some(DiskCache::open(folder.path(), "account", 1 << 30).unwrap());
    let server = Scripted::with_file(size);
    {
        let reader = reader(&server, ReaderOptions { disk: disk(), ..options() });
        for offset in (0..size).step_by(128 << 10) {
            assert_reads(&reader, &version, offset, 128 * KIB);
        }
        server.until("the transfer is over", |script| script.streams == 0);
        drop(reader);
    }
    let before = server.opened();
    // The stream's thread may have the last reference for a moment more.
    let disk = std::iter::repeat_with(|| DiskCache::open(folder.path(), "account", 1 << 30)).find_map(Result::ok);
    let reader = reader(&server, ReaderOptions { disk, ..options() });
    for offset in [MIB, 0, 3 * MIB, 2 * MIB + 5] {
        assert_reads(&reader, &version, offset, 300 * KIB);
    }
    assert_eq!(server.opened(), before);
}

#[test]
fn version_that_turns_out_to_be_another_leaves_nothing_in_the_cache_directory() {
    let size = 3 * MIB;
    let version = FileVersion { modified: Some(OLD), ..version(size) };
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskCache::open(folder.path(), "account", 1 << 30).unwrap();
    let server = Scripted::with_file(size - 10);
    let reader = reader(&server, ReaderOptions { disk: Some(Arc::clone(&disk)), ..options() });
    reader.opened(FILE, &path(), &version, Instant::now());
    assert_reads(&reader, &version, 0, 128 * KIB);
    assert_eq!(read(&reader, &version, size - 1000, 1000), Err(RemoteError::Changed));
    assert!(disk.entry(&path(), &version).is_none_or(|entry| !entry.has(BlockIndex(0))));
}

#[test]
fn read_that_waits_is_answered_by_whoever_brings_its_block_first() {
    let size = 300 * KIB;
    let version = FileVersion { modified: Some(OLD), ..version(size) };
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskCache::open(folder.path(), "account", 1 << 30).unwrap();
    for is_from_disk in [false, true] {
        let server = Scripted::with_file(size);
        let reader = reader(&server, ReaderOptions { disk: is_from_disk.then(|| Arc::clone(&disk)), ..options() });
        server.set(|script| script.held = true);
        let waiting = start(&reader, &version, 0, 200 * KIB);
        server.until("the transfer is begun", |script| script.streams == 1);
        if is_from_disk {
            // Kept by somebody else meanwhile: another read finds it.
            let entry = disk.entry(&path(), &version).unwrap();
            for (index, block) in (0..).map(BlockIndex).zip(content(0, 0, size).chunks(BLOCK_LEN)) {
                disk.store(&entry, index, &block.into());
            }
            assert_reads(&reader, &version, 0, 200 * KIB);
        } else {
            reader.insert(FILE, &path(), &version, &content(0, 0, size), Instant::now());
        }
        assert_eq!(waiting.wait(), Ok(content(0, 0, 200 * KIB)));
        server.set(|script| script.held = false);
        // And the transfer that nobody needs does not keep its connection.
        server.until("the transfer is over", |script| script.streams == 0);
    }
}

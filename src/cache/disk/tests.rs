//! What is handed out is what was kept, whatever happened to the files; and no more is kept than is allowed.

use super::super::blocks::BLOCK_LEN;
use super::*;
use crate::protocol::Timestamp;
use tempfile::TempDir;

const BLOCK: u64 = BLOCK_LEN as u64;

fn path(name: &str) -> RemotePath {
    RemotePath::parse(format!("/dir/{name}").as_bytes()).unwrap()
}

fn version_at(size: u64, seconds: i64, precision: Precision) -> FileVersion {
    FileVersion { size, modified: Some(Timestamp { seconds, nanoseconds: 0, precision }), unique: None }
}

fn version(size: u64) -> FileVersion {
    version_at(size, 1_000_000_000, Precision::Second)
}

fn block(seed: u8, len: usize) -> Block {
    (0..len).map(|place| (place % 251) as u8 ^ seed).collect()
}

fn open(folder: &TempDir, bytes_max: u64) -> Arc<DiskCache> {
    DiskCache::open(folder.path(), "me@host:21", bytes_max).unwrap()
}

fn files(folder: &TempDir, extension: &str) -> Vec<PathBuf> {
    let account = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let all = fs::read_dir(account).unwrap().map(|file| file.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// Keeps a file of two blocks and a bit.
fn keep(cache: &Arc<DiskCache>, name: &str) -> FileVersion {
    let version = version(2 * BLOCK + 5);
    let entry = cache.entry(&path(name), &version).unwrap();
    for (index, len) in [(0, BLOCK_LEN), (1, BLOCK_LEN), (2, 5)] {
        cache.store(&entry, BlockIndex(index), &block(index as u8, len));
    }
    version
}

#[test]
fn what_was_kept_is_there_after_a_remount_and_whole_once_each_block_was_checked() {
    let folder = tempfile::tempdir().unwrap();
    let version = {
        let cache = open(&folder, 1 << 30);
        let version = keep(&cache, "f");
        assert!(cache.whole(&path("f"), &version).is_some());
        version
    };
    let cache = open(&folder, 1 << 30);
    assert_eq!(cache.usage().files, 1);
    let entry = cache.entry(&path("f"), &version).unwrap();
    assert!(cache.whole(&path("f"), &version).is_none());
    for (index, len) in [(0, BLOCK_LEN), (1, BLOCK_LEN), (2, 5)] {
        assert_eq!(cache.load(&entry, BlockIndex(index)), Some(block(index as u8, len)));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut cache.whole(&path("f"), &version).unwrap(), &mut bytes).unwrap();
    assert_eq!(bytes, [&block(0, BLOCK_LEN)[..], &block(1, BLOCK_LEN), &block(2, 5)].concat());
}

#[test]
fn block_that_was_spoilt_on_the_disk_is_not_handed_out_and_takes_its_entry_along() {
    let folder = tempfile::tempdir().unwrap();
    let version = keep(&open(&folder, 1 << 30), "f");
    let data = files(&folder, "data").remove(0);
    let mut bytes = fs::read(&data).unwrap();
    bytes[BLOCK_LEN + 100] ^= 1;
    fs::write(&data, bytes).unwrap();
    let cache = open(&folder, 1 << 30);
    let entry = cache.entry(&path("f"), &version).unwrap();
    assert_eq!(cache.load(&entry, BlockIndex(0)), Some(block(0, BLOCK_LEN)));
    assert_eq!(cache.load(&entry, BlockIndex(1)), None);
    assert!(!entry.has(BlockIndex(0)));
    assert_eq!((cache.usage().files, files(&folder, "map").len(), files(&folder, "data").len()), (0, 0, 0));
}

#[test]
fn map_cut_or_changed_at_any_byte_never_makes_a_block_of_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let version = keep(&open(&folder, 1 << 30), "f");
    let (map, data) = (files(&folder, "map").remove(0), files(&folder, "data").remove(0));
    let (map_bytes, data_bytes) = (fs::read(&map).unwrap(), fs::read(&data).unwrap());
    let spoil = (0..map_bytes.len()).flat_map(|place| {
        let mut changed = map_bytes.clone();
        changed[place] ^= 0x10;
        [map_bytes[..place].to_vec(), changed]
    });
    let mut found = 0;
    for spoilt in spoil {
        fs::write(&map, spoilt).unwrap();
        fs::write(&data, &data_bytes).unwrap();
        let cache = open(&folder, 1 << 30);
        let Some(entry) = cache.entry(&path("f"), &version) else { continue };
        for (index, len) in [(0, BLOCK_LEN), (1, BLOCK_LEN), (2, 5)] {
            if let Some(bytes) = cache.load(&entry, BlockIndex(index)) {
                assert_eq!(bytes, block(index as u8, len));
                found += 1;
            }
        }
    }
    // The records before the spoilt one still hold.
    assert!(found > map_bytes.len() / 12, "{found}");
}

#[test]
fn least_recently_used_file_goes_first_and_the_bound_holds_at_the_next_mount_too() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 8 * BLOCK);
    for name in ["a", "b", "c"] {
        keep(&cache, name);
    }
    let version = version(2 * BLOCK + 5);
    assert!(cache.entry(&path("a"), &version).is_some());
    keep(&cache, "d");
    assert!(cache.usage().bytes <= 8 * BLOCK);
    let has = |name: &str| cache.entry(&path(name), &version).is_some_and(|entry| entry.has(BlockIndex(0)));
    assert_eq!(["a", "b", "c", "d"].map(has), [true, false, true, true]);
    drop(cache);
    let cache = open(&folder, 3 * BLOCK);
    assert!(cache.usage().bytes <= 3 * BLOCK && cache.usage().files < 4, "{:?}", cache.usage());
}

#[test]
fn another_version_takes_the_place_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 1 << 30);
    let old = keep(&cache, "f");
    let before = cache.entry(&path("f"), &old).unwrap();
    let new = version_at(old.size, 1_000_000_001, Precision::Second);
    let entry = cache.entry(&path("f"), &new).unwrap();
    assert!(!entry.has(BlockIndex(0)) && !before.has(BlockIndex(0)));
    // Whoever still brings blocks of the old one does not reach the new one.
    cache.store(&before, BlockIndex(0), &block(9, BLOCK_LEN));
    cache.store(&entry, BlockIndex(0), &block(7, BLOCK_LEN));
    assert_eq!(cache.load(&entry, BlockIndex(0)), Some(block(7, BLOCK_LEN)));
    assert_eq!(files(&folder, "map").len(), 1);
}

#[test]
fn version_that_could_be_another_content_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 1 << 30);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    for (version, is_kept) in [
        (FileVersion { size: 5, modified: None, unique: None }, false),
        (version_at(5, 1_000_000_020, Precision::Minute), false),
        (version_at(5, now, Precision::Second), false),
        (version_at(5, now - 3600, Precision::Second), true),
        (FileVersion { size: 5, modified: None, unique: Some(Box::from(*b"1-2")) }, false),
        (version(0), false),
    ] {
        assert_eq!(cache.entry(&path("f"), &version).is_some(), is_kept, "{version:?}");
    }
    // What is known to the second does not answer for what is known to the minute.
    let version = keep(&cache, "g");
    assert!(cache.entry(&path("g"), &FileVersion { modified: None, ..version }).is_none());
}

#[test]
fn what_this_mount_changed_is_dropped_with_all_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder, 1 << 30);
    let version = keep(&cache, "f");
    keep(&cache, "g");
    cache.forget_tree(&path("f"));
    assert!(!cache.entry(&path("f"), &version).unwrap().has(BlockIndex(0)));
    assert!(cache.entry(&path("g"), &version).unwrap().has(BlockIndex(0)));
    cache.forget_tree(&RemotePath::parse(b"/dir").unwrap());
    assert_eq!(cache.usage().files, 0);
}

#[test]
fn second_process_is_told_that_the_cache_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&folder, 1 << 30);
    let second = DiskCache::open(folder.path(), "me@host:21", 1 << 30).unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
    assert!(DiskCache::open(folder.path(), "you@host:21", 1 << 30).is_ok());
    drop(first);
    open(&folder, 1 << 30);
}

#[test]
fn bytes_that_a_crash_has_left_without_their_map_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    keep(&open(&folder, 1 << 30), "f");
    fs::remove_file(files(&folder, "map").remove(0)).unwrap();
    open(&folder, 1 << 30);
    assert_eq!(files(&folder, "data").len(), 0);
}

#[test]
fn directory_that_others_may_write_to_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder, 1 << 30));
    let account = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&account, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let refused = DiskCache::open(folder.path(), "me@host:21", 1 << 30).unwrap_err();
    assert!(refused.to_string().contains("not a directory of this user alone"), "{refused}");
}

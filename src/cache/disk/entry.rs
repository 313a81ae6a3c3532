//! One version of one file on the local disk: its bytes, and the map of the blocks that are there.
//!
//! The map begins with what it is about, and grows by one record a block. What a crash has torn off or spoilt at its end has a wrong
//! check, and ends it.
//!
//! ```text
//! MAGIC (8) · length of the head (4) · head (JSON) · its CRC-32C (4) · records of 12 bytes:
//! block number (4) · CRC-32C of the block (4) · CRC-32C of these and of the head's (4)        all little-endian
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::cache::blocks::{BLOCK_LEN, Block, BlockIndex};
use crate::cache::version::FileVersion;
use crate::protocol::{Precision, RemotePath, Timestamp};

/// How the name of a map ends.
pub(super) const MAP_EXTENSION: &str = "map";
/// How the name of the bytes beside it does.
pub(super) const DATA_EXTENSION: &str = "data";
const MAGIC: &[u8; 8] = b"ftpfsc01";
const RECORD_LEN: usize = 12;
/// What a map is taken to need, so that many tiny files stay in bounds too.
const MAP_BYTES: u64 = 4096;
/// A head names a path, which is no longer than a few KiB.
const HEAD_LEN_MAX: usize = 64 << 10;

/// A version of a file, complete or not.
#[derive(Debug)]
pub(in crate::cache) struct DiskEntry {
    path: RemotePath,
    version: FileVersion,
    map: PathBuf,
    data: PathBuf,
    /// Where the records begin, and what makes them this head's.
    records_at: u64,
    head_checksum: u32,
    /// What it takes on the disk.
    bytes: AtomicU64,
    /// Deleted; who still has it finds nothing in it.
    is_gone: AtomicBool,
    /// `None` until somebody wants to know.
    blocks: Mutex<Option<HashMap<u32, Known>>>,
}

/// What is known of a block that is there.
#[derive(Debug, Clone, Copy)]
struct Known {
    checksum: u32,
    /// Whether it was seen to have it by this process.
    is_checked: bool,
}

/// What a map is about.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    path: Vec<u8>,
    size: u64,
    block_len: usize,
    modified: Option<(i64, u32, bool)>,
    unique: Option<Vec<u8>>,
}

impl DiskEntry {
    /// A new one, with no block.
    ///
    /// # Errors
    /// The local disk's.
    pub(super) fn create(directory: &Path, path: &RemotePath, version: &FileVersion) -> io::Result<Self> {
        let head = Head::of(path, version);
        let encoded = serde_json::to_vec(&head)?;
        // Never that of an entry before: who still has that one must not reach this.
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = hexadecimal(&[&encoded, &begun.to_le_bytes()]);
        let (map, data) = (directory.join(&name).with_extension(MAP_EXTENSION), data_path(&directory.join(&name)));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&data)?.set_len(version.size)?;
        let head_checksum = crc32c::crc32c(&encoded);
        let len = u32::try_from(encoded.len()).map_err(io::Error::other)?;
        let bytes = [MAGIC, &len.to_le_bytes()[..], &encoded, &head_checksum.to_le_bytes()].concat();
        if let Err(error) = options.open(&map).and_then(|mut file| file.write_all(&bytes)) {
            remove_files(&map);
            return Err(error);
        }
        Ok(Self {
            path: path.clone(),
            version: version.clone(),
            map,
            data,
            records_at: bytes.len() as u64,
            head_checksum,
            bytes: AtomicU64::new(MAP_BYTES),
            is_gone: AtomicBool::new(false),
            blocks: Mutex::new(Some(HashMap::new())),
        })
    }

    /// One that an earlier mount has left, and when it was last used.
    ///
    /// # Errors
    /// Where the map is none; its files are of no use then.
    pub(super) fn open(map: &Path) -> io::Result<(SystemTime, Self)> {
        let mut file = File::open(map)?;
        let used = file.metadata()?.modified()?;
        let mut start = [0; 12];
        file.read_exact(&mut start)?;
        let (magic, len) = start.split_at(MAGIC.len());
        let len = <[u8; 4]>::try_from(len).map_or(0, u32::from_le_bytes) as usize;
        if magic != MAGIC || len > HEAD_LEN_MAX {
            return Err(spoilt("it does not begin like one"));
        }
        let mut encoded = vec![0; len];
        file.read_exact(&mut encoded)?;
        let mut checksum = [0; 4];
        file.read_exact(&mut checksum)?;
        let head_checksum = u32::from_le_bytes(checksum);
        if crc32c::crc32c(&encoded) != head_checksum {
            return Err(spoilt("its head does not have its checksum"));
        }
        let head: Head = serde_json::from_slice(&encoded)?;
        let (path, version) = head.parse().ok_or_else(|| spoilt("its head names no file"))?;
        let data = data_path(&map.with_extension(""));
        let told = fs::metadata(&data)?;
        if told.len() != version.size {
            return Err(spoilt("the bytes beside it are not as long as the file"));
        }
        let entry = Self {
            path,
            version,
            map: map.to_owned(),
            data,
            records_at: (start.len() + encoded.len() + checksum.len()) as u64,
            head_checksum,
            bytes: AtomicU64::new(told.blocks().saturating_mul(512).saturating_add(MAP_BYTES)),
            is_gone: AtomicBool::new(false),
            blocks: Mutex::new(None),
        };
        Ok((used, entry))
    }

    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    pub(super) fn version(&self) -> &FileVersion {
        &self.version
    }

    /// What it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a block is here. Reads the map the first time.
    pub(in crate::cache) fn has(&self, index: BlockIndex) -> bool {
        self.known(index).is_some()
    }

    fn known(&self, index: BlockIndex) -> Option<Known> {
        if self.is_gone.load(Ordering::Acquire) {
            return None;
        }
        let number = u32::try_from(index.0).ok()?;
        let mut blocks = self.blocks.lock();
        blocks.get_or_insert_with(|| self.read_records().unwrap_or_default()).get(&number).copied()
    }

    fn read_records(&self) -> io::Result<HashMap<u32, Known>> {
        let bytes = fs::read(&self.map)?;
        let records = usize::try_from(self.records_at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let mut blocks = HashMap::new();
        for record in records.chunks_exact(RECORD_LEN) {
            let mut words = record.chunks_exact(4).filter_map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)));
            let (Some(number), Some(checksum), Some(check)) = (words.next(), words.next(), words.next()) else { break };
            if check != self.check(number, checksum) {
                break;
            }
            blocks.insert(number, Known { checksum, is_checked: false });
        }
        Ok(blocks)
    }

    fn check(&self, number: u32, checksum: u32) -> u32 {
        let words = [number.to_le_bytes(), checksum.to_le_bytes()].concat();
        crc32c::crc32c_append(self.head_checksum, &words)
    }

    /// Puts a block into its place, and returns what that takes. The map hears of it when the bytes are there.
    ///
    /// # Errors
    /// The local disk's; [`io::ErrorKind::NotFound`] where the entry is gone.
    pub(super) fn store(&self, index: BlockIndex, block: &Block) -> io::Result<u64> {
        let number = u32::try_from(index.0).map_err(io::Error::other)?;
        if self.is_gone.load(Ordering::Acquire) {
            return Err(io::ErrorKind::NotFound.into());
        }
        OpenOptions::new().write(true).open(&self.data)?.write_all_at(block, index.offset())?;
        let checksum = crc32c::crc32c(block);
        let record = [number, checksum, self.check(number, checksum)].map(u32::to_le_bytes).concat();
        OpenOptions::new().append(true).open(&self.map)?.write_all(&record)?;
        let mut blocks = self.blocks.lock();
        let blocks = blocks.get_or_insert_with(|| self.read_records().unwrap_or_default());
        let is_new = blocks.insert(number, Known { checksum, is_checked: true }).is_none_or(|known| !known.is_checked);
        let bytes = if is_new { block.len() as u64 } else { 0 };
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Reads a block that is here; `None` where it is not.
    ///
    /// # Errors
    /// Where it does not have its checksum, or the local disk fails.
    pub(super) fn load(&self, index: BlockIndex) -> io::Result<Option<Block>> {
        let Some(known) = self.known(index) else { return Ok(None) };
        let left = self.version.size.saturating_sub(index.offset());
        let len = usize::try_from(left).unwrap_or(BLOCK_LEN).min(BLOCK_LEN);
        let mut block: Block = std::iter::repeat_n(0, len).collect();
        let Some(bytes) = Arc::get_mut(&mut block) else { return Ok(None) };
        File::open(&self.data)?.read_exact_at(bytes, index.offset())?;
        if crc32c::crc32c(bytes) != known.checksum {
            return Err(spoilt("a block does not have its checksum"));
        }
        if let (Ok(number), Some(blocks)) = (u32::try_from(index.0), self.blocks.lock().as_mut())
            && let Some(known) = blocks.get_mut(&number)
        {
            known.is_checked = true;
        }
        Ok(Some(block))
    }

    /// Its bytes, where each block is here and was seen to have its checksum.
    ///
    /// # Errors
    /// The local disk's.
    pub(super) fn open_whole(&self) -> io::Result<Option<File>> {
        let count = BlockIndex::end_of(self.version.size).0;
        let is_whole = {
            let blocks = self.blocks.lock();
            let checked = blocks.as_ref().map_or(0, |blocks| blocks.values().filter(|known| known.is_checked).count());
            checked as u64 == count
        };
        if is_whole { File::open(&self.data).map(Some) } else { Ok(None) }
    }

    /// Notes on the disk that it is in use; a failure costs its place in the order, no more.
    pub(super) fn touch(&self) {
        let _ = File::open(&self.map).and_then(|map| map.set_modified(SystemTime::now()));
    }

    /// Deletes it.
    pub(super) fn remove(&self) {
        self.is_gone.store(true, Ordering::Release);
        remove_files(&self.map);
    }
}

impl Head {
    fn of(path: &RemotePath, version: &FileVersion) -> Self {
        let modified =
            version.modified.map(|time| (time.seconds, time.nanoseconds, time.precision == Precision::Nanosecond));
        Self {
            path: path.as_bytes().to_owned(),
            size: version.size,
            block_len: BLOCK_LEN,
            // What is coarser than a second proves nothing here, and is not kept.
            modified: modified.filter(|_| version.modified.is_some_and(|time| time.precision >= Precision::Second)),
            unique: version.unique.as_deref().map(<[u8]>::to_owned),
        }
    }

    fn parse(self) -> Option<(RemotePath, FileVersion)> {
        let modified = self.modified.map(|(seconds, nanoseconds, is_fine)| Timestamp {
            seconds,
            nanoseconds,
            precision: if is_fine { Precision::Nanosecond } else { Precision::Second },
        });
        let version = FileVersion { size: self.size, modified, unique: self.unique.map(Vec::into_boxed_slice) };
        (self.block_len == BLOCK_LEN).then_some((RemotePath::parse(&self.path).ok()?, version))
    }
}

/// Deletes a map and the bytes beside it.
pub(super) fn remove_files(map: &Path) {
    // A map without bytes is found out at the next mount.
    for path in [data_path(&map.with_extension("")), map.to_owned()] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), %error, "a file of the cache cannot be deleted");
            }
            _ => {}
        }
    }
}

/// A name that tells `parts` apart from all others: the first half of their SHA-256.
pub(super) fn hexadecimal(parts: &[&[u8]]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &parts.concat());
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn data_path(stem: &Path) -> PathBuf {
    stem.with_extension(DATA_EXTENSION)
}

fn spoilt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

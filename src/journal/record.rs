//! One record as bytes, with its checksum. docs/journal.md has the format as a table.
//!
//! A record is complete in itself: what it says needs no other record, so that damage to one costs that one only.
//!
//! Not here: what a row of records means (`table`), where they lie (`log`).

use std::fmt;

use super::error::JournalError;
use crate::protocol::{Precision, RemotePath, Timestamp};

/// What a journal begins with, before the three digits of its version.
pub(super) const MAGIC: &[u8; 13] = b"ftpfs-journal";
/// The version of the format that is written and read here.
pub(super) const VERSION: &[u8; 3] = b"001";
/// Bytes before the first record.
pub(super) const HEADER_LEN: usize = MAGIC.len() + VERSION.len();
/// Bytes of a record before its payload: checksum, length, sequence number.
pub(super) const PREFIX_LEN: usize = 16;
/// The longest payload: two paths of the longest kind fit, and a damaged length cannot make us look far.
const PAYLOAD_LEN_MAX: usize = 256 << 10;
/// No journal comes to a higher sequence number than this. One that is there all the same is damage: behind it numbers would run out,
/// and with them the order of what is written anew.
const SEQUENCE_MAX: u64 = u64::MAX >> 1;
/// The longest reason that is kept.
const REASON_LEN_MAX: usize = 4096;

/// A file that is or was written here; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNumber(pub(super) u64);

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One content of one file: what its staging file is named after. A content that was committed is never written to
/// again; writing on makes the next generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId {
    /// Whose content.
    pub file: FileNumber,
    /// Which: 1 is the first.
    pub generation: u64,
}

impl ContentId {
    /// Reads what [`Display`](fmt::Display) writes; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (file, generation) = text.split_once('-')?;
        let id = Self {
            file: FileNumber(u64::from_str_radix(file, 16).ok()?),
            generation: u64::from_str_radix(generation, 16).ok()?,
        };
        (id.to_string() == text).then_some(id)
    }
}

/// As the staging file is named: `000000000000002a-1`.
impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.file, self.generation)
    }
}

/// A rename on the server that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RenameNumber(pub(super) u64);

/// What the server has at a path, as far as it lets us tell one content from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Bytes as stored.
    pub size: u64,
    /// When the content last changed.
    pub modified: Option<Timestamp>,
    /// The `unique` fact (RFC 3659 §7.5.2).
    pub unique: Option<Box<[u8]>>,
}

/// A content that shall be on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Where it shall be.
    pub path: RemotePath,
    /// How many bytes of the staging file are the file.
    pub size: u64,
    /// What was on the server when the file was first written to here; `None` where there was nothing.
    pub base: Option<Version>,
    /// The modification time it shall get.
    pub modified: Option<Timestamp>,
    /// The permission bits it shall get.
    pub mode: Option<u32>,
}

/// A rename on the server, and what it does to what is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The old path, of a file or directory.
    pub from: RemotePath,
    /// The new one.
    pub to: RemotePath,
    /// The file pending at `to`, which is over once the rename is done.
    pub replaces: Option<FileNumber>,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// The staging file holds what shall be on the server; replaces every earlier generation of the file.
    Committed { content: ContentId, at: i64, doubtful: bool, commit: Commit },
    /// The server has proved that it has this content.
    Uploaded { content: ContentId, version: Version },
    /// What is pending of a file shall go elsewhere, over what is there; what is pending of `replaces` is over.
    Moved { file: FileNumber, path: RemotePath, base: Option<Version>, replaces: Option<FileNumber> },
    /// Unlinked: what is pending of it is over.
    Dropped { file: FileNumber },
    /// Given up: the content goes to the set-aside folder.
    SetAside { content: ContentId, path: Option<RemotePath>, reason: String },
    /// A rename that moves what is pending at or below `from` is about to be sent to the server.
    Renaming { number: RenameNumber, rename: Rename },
    /// It was done, or was refused. The names again, so that it counts without the record before.
    Renamed { number: RenameNumber, rename: Rename, done: bool },
    /// A staging file was made for a file that is written; nothing is promised, but a person can be told what it was.
    Begun { content: ContentId, path: RemotePath },
    /// A staging file is not needed, and never was promised.
    Discarded { content: ContentId },
    /// Numbers below these were used.
    Numbers { file: u64, rename: u64 },
}

impl Record {
    /// Appends the record as bytes.
    ///
    /// # Errors
    /// [`JournalError::PathTooLong`]; nothing was appended then.
    pub(super) fn encode(&self, sequence: u64, bytes: &mut Vec<u8>) -> Result<(), JournalError> {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        let mut encoder = Encoder { bytes, too_long: false };
        self.encode_payload(&mut encoder);
        let too_long = encoder.too_long;
        let payload_len = bytes.len() - start - PREFIX_LEN;
        if too_long || payload_len > PAYLOAD_LEN_MAX {
            bytes.truncate(start);
            return Err(JournalError::PathTooLong);
        }
        let record = bytes.get_mut(start..).unwrap_or_default();
        if let Some(len) = record.get_mut(4..8) {
            len.copy_from_slice(&u32::try_from(payload_len).unwrap_or(u32::MAX).to_le_bytes());
        }
        let checksum = crc32c::crc32c(record.get(4..).unwrap_or_default());
        if let Some(field) = record.get_mut(..4) {
            field.copy_from_slice(&checksum.to_le_bytes());
        }
        Ok(())
    }

    fn encode_payload(&self, to: &mut Encoder<'_>) {
        match self {
            Self::Committed { content, at, doubtful, commit } => {
                to.byte(1).content(*content).number(at.cast_unsigned()).byte(u8::from(*doubtful));
                to.name(commit.path.as_bytes());
                to.number(commit.size).version(commit.base.as_ref()).time(commit.modified.as_ref()).mode(commit.mode);
            }
            Self::Uploaded { content, version } => {
                to.byte(2).content(*content).version(Some(version));
            }
            Self::Moved { file, path, base, replaces } => {
                to.byte(3).number(file.0).name(path.as_bytes()).version(base.as_ref()).file(*replaces);
            }
            Self::Dropped { file } => {
                to.byte(4).number(file.0);
            }
            Self::SetAside { content, path, reason } => {
                to.byte(5).content(*content).optional_path(path.as_ref()).name(bounded(reason).as_bytes());
            }
            Self::Renaming { number, rename } => {
                to.byte(6).number(number.0).rename(rename);
            }
            Self::Renamed { number, rename, done } => {
                to.byte(7).number(number.0).rename(rename).byte(u8::from(*done));
            }
            Self::Begun { content, path } => {
                to.byte(8).content(*content).name(path.as_bytes());
            }
            Self::Discarded { content } => {
                to.byte(9).content(*content);
            }
            Self::Numbers { file, rename } => {
                to.byte(10).number(*file).number(*rename);
            }
        }
    }

    /// Reads the record that `bytes` begin with, and returns it with its sequence number and its length; `None` where no whole
    /// record stands there.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, u64, usize)> {
        let (checksum, rest) = bytes.split_first_chunk::<4>()?;
        let payload_len = usize::try_from(u32::from_le_bytes(*rest.first_chunk::<4>()?)).ok()?;
        if payload_len == 0 || payload_len > PAYLOAD_LEN_MAX {
            return None;
        }
        let checked = rest.get(..PREFIX_LEN - 4 + payload_len)?;
        if crc32c::crc32c(checked) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut from = Decoder(checked.get(4..)?);
        let sequence = from.number().filter(|sequence| *sequence <= SEQUENCE_MAX)?;
        let record = Self::decode_payload(&mut from)?;
        from.0.is_empty().then_some((record, sequence, PREFIX_LEN + payload_len))
    }

    fn decode_payload(from: &mut Decoder<'_>) -> Option<Self> {
        Some(match from.byte()? {
            1 => {
                let (content, at, doubtful) = (from.content()?, from.number()?.cast_signed(), from.flag()?);
                let path = from.path()?;
                let (size, base, modified, mode) = (from.number()?, from.version()?, from.time()?, from.mode()?);
                Self::Committed { content, at, doubtful, commit: Commit { path, size, base, modified, mode } }
            }
            2 => Self::Uploaded { content: from.content()?, version: from.version()?? },
            3 => Self::Moved {
                file: FileNumber(from.number()?),
                path: from.path()?,
                base: from.version()?,
                replaces: from.file()?,
            },
            4 => Self::Dropped { file: FileNumber(from.number()?) },
            5 => {
                let (content, path) = (from.content()?, from.optional(Decoder::path)?);
                Self::SetAside { content, path, reason: String::from_utf8(from.name()?.to_vec()).ok()? }
            }
            6 => Self::Renaming { number: RenameNumber(from.number()?), rename: from.rename()? },
            7 => Self::Renamed { number: RenameNumber(from.number()?), rename: from.rename()?, done: from.flag()? },
            8 => Self::Begun { content: from.content()?, path: from.path()? },
            9 => Self::Discarded { content: from.content()? },
            10 => Self::Numbers { file: from.number()?, rename: from.number()? },
            _ => return None,
        })
    }
}

/// The beginning of a reason, as long as a record keeps it.
fn bounded(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_LEN_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default()
}

/// Writes fields.
struct Encoder<'a> {
    bytes: &'a mut Vec<u8>,
    too_long: bool,
}

impl Encoder<'_> {
    fn byte(&mut self, byte: u8) -> &mut Self {
        self.bytes.push(byte);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn content(&mut self, content: ContentId) -> &mut Self {
        self.number(content.file.0).number(content.generation)
    }

    fn name(&mut self, name: &[u8]) -> &mut Self {
        let Ok(len) = u16::try_from(name.len()) else {
            self.too_long = true;
            return self;
        };
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(name);
        self
    }

    fn optional_path(&mut self, path: Option<&RemotePath>) -> &mut Self {
        match path {
            Some(path) => self.byte(1).name(path.as_bytes()),
            None => self.byte(0),
        }
    }

    fn file(&mut self, file: Option<FileNumber>) -> &mut Self {
        match file {
            Some(file) => self.byte(1).number(file.0),
            None => self.byte(0),
        }
    }

    fn rename(&mut self, rename: &Rename) -> &mut Self {
        self.name(rename.from.as_bytes()).name(rename.to.as_bytes()).file(rename.replaces)
    }

    fn mode(&mut self, mode: Option<u32>) -> &mut Self {
        match mode {
            Some(mode) => {
                self.byte(1).bytes.extend_from_slice(&mode.to_le_bytes());
                self
            }
            None => self.byte(0),
        }
    }

    fn time(&mut self, time: Option<&Timestamp>) -> &mut Self {
        let Some(time) = time else { return self.byte(0) };
        self.byte(1).number(time.seconds.cast_unsigned());
        self.bytes.extend_from_slice(&time.nanoseconds.to_le_bytes());
        self.byte(match time.precision {
            Precision::Day => 0,
            Precision::Minute => 1,
            Precision::Second => 2,
            Precision::Nanosecond => 3,
        })
    }

    fn version(&mut self, version: Option<&Version>) -> &mut Self {
        let Some(version) = version else { return self.byte(0) };
        self.byte(1).number(version.size).time(version.modified.as_ref());
        match &version.unique {
            Some(unique) => self.byte(1).name(unique),
            None => self.byte(0),
        }
    }
}

/// Takes fields off the front; `None` where they are not there or not what they should be.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn take<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (field, rest) = self.0.split_first_chunk::<LEN>()?;
        self.0 = rest;
        Some(*field)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// An optional field: whether it is there, then the field.
    fn optional<T>(&mut self, field: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { field(self).map(Some) } else { Some(None) }
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn content(&mut self) -> Option<ContentId> {
        Some(ContentId { file: FileNumber(self.number()?), generation: self.number()? })
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.take().map(u16::from_le_bytes)?);
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(name)
    }

    fn path(&mut self) -> Option<RemotePath> {
        let bytes = self.name()?;
        RemotePath::parse(bytes).ok().filter(|path| path.as_bytes() == bytes)
    }

    fn file(&mut self) -> Option<Option<FileNumber>> {
        self.optional(|from| from.number().map(FileNumber))
    }

    fn rename(&mut self) -> Option<Rename> {
        Some(Rename { from: self.path()?, to: self.path()?, replaces: self.file()? })
    }

    fn mode(&mut self) -> Option<Option<u32>> {
        self.optional(|from| from.take().map(u32::from_le_bytes))
    }

    fn time(&mut self) -> Option<Option<Timestamp>> {
        self.optional(|from| {
            let seconds = from.number()?.cast_signed();
            let nanoseconds = from.take().map(u32::from_le_bytes).filter(|count| *count < 1_000_000_000)?;
            let precision = match from.byte()? {
                0 => Precision::Day,
                1 => Precision::Minute,
                2 => Precision::Second,
                3 => Precision::Nanosecond,
                _ => return None,
            };
            Some(Timestamp { seconds, nanoseconds, precision })
        })
    }

    fn version(&mut self) -> Option<Option<Version>> {
        self.optional(|from| {
            Some(Version {
                size: from.number()?,
                modified: from.time()?,
                unique: from.optional(Self::name)?.map(Box::from),
            })
        })
    }
}

#[cfg(test)]
mod tests;

//! The folder for what could not be delivered or understood: contents under names that a person can read, each with a note.
//!
//! A record is durable before a content is moved here, so that a mount that dies in between finishes it the next time.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk::Disk;
use super::log::staging_directory;
use super::record::{ContentId, FileNumber};
use crate::protocol::RemotePath;

/// The longest name that Linux's file systems take.
const NAME_LEN_MAX: usize = 255;
/// What a note's name ends with.
const NOTE_SUFFIX: &str = ".txt";

/// The folder in a state directory.
pub fn set_aside_directory(directory: &Path) -> PathBuf {
    directory.join("set-aside")
}

/// Where a content lies until it is over or set aside.
pub(super) fn staging_path(directory: &Path, content: ContentId) -> PathBuf {
    staging_directory(directory).join(content.to_string())
}

/// Moves a content out of the staging folder, and returns where to. The names are not synced; [`sync_moves`] does.
///
/// # Errors
/// The disk's; the content is where it was.
pub(super) fn set_aside(
    disk: &dyn Disk,
    directory: &Path,
    content: ContentId,
    path: Option<&RemotePath>,
    reason: &str,
) -> io::Result<PathBuf> {
    let target = free_path(&set_aside_directory(directory), &file_name(content, path))?;
    disk.rename(&staging_path(directory, content), &target)?;
    // A full disk has room for a name but not for a note; the content is what counts.
    if let Err(error) = write_note(disk, &note_path(&target), path, reason) {
        tracing::warn!(%error, path = %target.display(), "no note can be written of a content that is set aside");
    }
    Ok(target)
}

/// Leaves a note of a content that was promised and is gone, and returns where.
///
/// # Errors
/// The disk's.
pub(super) fn note_loss(
    disk: &dyn Disk,
    directory: &Path,
    content: ContentId,
    path: &RemotePath,
    reason: &str,
) -> io::Result<PathBuf> {
    let target = note_path(&free_path(&set_aside_directory(directory), &file_name(content, Some(path)))?);
    write_note(disk, &target, Some(path), reason)?;
    Ok(target)
}

/// Brings to the disk what [`set_aside`] did.
///
/// # Errors
/// The disk's.
pub(super) fn sync_moves(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    disk.sync_directory(&set_aside_directory(directory))?;
    disk.sync_directory(&staging_directory(directory))
}

/// Copies bytes of a journal that are no records.
///
/// # Errors
/// The disk's.
pub(super) fn set_damage_aside(disk: &dyn Disk, directory: &Path, offset: usize, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = set_aside_directory(directory);
    let path = free_path(&folder, format!("journal-{}-{offset}", seconds_now()).as_bytes())?;
    let file = disk.create(&path)?;
    disk.write_all_at(&file, bytes, 0)?;
    disk.sync(&file)?;
    disk.sync_directory(&folder)?;
    Ok(path)
}

/// The contents in the folder, without their notes.
///
/// # Errors
/// The disk's.
pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(set_aside_directory(directory))? {
        let path = entry?.path();
        let is_note = path.as_os_str().as_bytes().strip_suffix(NOTE_SUFFIX.as_bytes());
        let is_note = is_note.is_some_and(|of| Path::new(std::ffi::OsStr::from_bytes(of)).exists());
        if !is_note {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The number of the file that something in the folder belongs to.
pub(super) fn file_of(name: &[u8]) -> Option<FileNumber> {
    let digits = std::str::from_utf8(name.get(..16)?).ok()?;
    u64::from_str_radix(digits, 16).ok().map(FileNumber)
}

fn write_note(disk: &dyn Disk, at: &Path, path: Option<&RemotePath>, reason: &str) -> io::Result<()> {
    let place = path.map_or_else(|| "a path that is not known".to_owned(), RemotePath::to_string);
    let note = format!("for:  {place}\nwhen: {}\nwhy:  {reason}\n", now_text());
    let file = disk.create(at)?;
    disk.write_all_at(&file, note.as_bytes(), 0)?;
    disk.sync(&file)
}

/// `<content>-<name>`, as long as a name may be with `.txt` and a number behind it.
fn file_name(content: ContentId, path: Option<&RemotePath>) -> Vec<u8> {
    let name = path.and_then(RemotePath::name);
    let mut bytes = content.to_string().into_bytes();
    if let Some(name) = name {
        bytes.push(b'-');
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.truncate(NAME_LEN_MAX - NOTE_SUFFIX.len() - ".1000".len());
    bytes
}

fn note_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(NOTE_SUFFIX);
    PathBuf::from(name)
}

/// A path of this name that nothing is at, with a number behind it where there is.
fn free_path(folder: &Path, name: &[u8]) -> io::Result<PathBuf> {
    for number in 1..1000 {
        let mut bytes = name.to_vec();
        if number > 1 {
            bytes.extend_from_slice(format!(".{number}").as_bytes());
        }
        let path = folder.join(OsString::from_vec(bytes));
        let is_free = |path: &Path| match fs::symlink_metadata(path) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        };
        if is_free(&path)? && is_free(&note_path(&path))? {
            return Ok(path);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name for what is set aside is taken"))
}

/// Now, in seconds since 1970.
pub(super) fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn now_text() -> String {
    jiff::Timestamp::from_second(seconds_now()).map(|now| now.to_string()).unwrap_or_default()
}

//! The local disk of a mount: its state directory with the journal, and where written files lie until they are on the server.
//!
//! A mount with `--durability=journal` has a journal or is none; any other does without where it can have none, and says so once.
//! One that only reads needs none.
//!
//! Not here: what the journal does (`journal`), and when something is committed to it (`filesystem`).

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::arguments::{DurabilityArgument, FileArguments, WriteArguments};
use super::exit_code::Exit;
use super::messages::Failed;
use super::recovery;
use crate::control::{RuntimeDirectory, Status, find};
use crate::filesystem::FilesystemOptions;
use crate::journal::state_directory::default_base;
use crate::journal::{Identity, Journal, JournalError, Recovered, StateDirectory};

/// The least room for written files: a few of the largest writes that the kernel makes.
const STAGING_BYTES_MIN: u64 = 4 << 20;
/// How often a state directory that a mount is about to leave is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a process that does not answer may keep the lock: it is about to end.
const UNSEEN_HOLDER_PATIENCE: Duration = Duration::from_secs(2);
/// How much longer than its shutdown timeout a mount may take to end.
const ENDING_GRACE: Duration = Duration::from_secs(5);

/// Where on the local disk a mount may write, as asked for.
#[derive(Debug, Clone)]
pub(super) struct DiskOptions {
    read_only: bool,
    /// Whether a mount without a journal is none.
    needs_journal: bool,
    /// Where state directories lie; otherwise why there is no such place.
    state_base: Result<PathBuf, String>,
    /// Where written files lie without a journal, if that was said.
    staging_dir: Option<PathBuf>,
    /// How much they may take, if that was said.
    staging_bytes_max: Option<u64>,
}

/// Why a directory cannot be used, as a sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    /// The directory for staging files.
    #[error("files that are written cannot be kept in {} (--staging-dir): {error}", path.display())]
    Staging {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Reading or writing it would wait for ourselves.
    #[error("{} is below the mountpoint; it must lie elsewhere", .0.display())]
    BelowMountpoint(PathBuf),
}

impl DiskOptions {
    /// Checks what was typed.
    ///
    /// # Errors
    /// [`DiskError`], for a directory that was named. A default that cannot be used is found out by [`Self::open`].
    pub(super) fn new(writing: &WriteArguments, files: &FileArguments, mountpoint: &Path) -> Result<Self, DiskError> {
        let staging_dir = writing.staging_dir.as_ref().map(|path| whole(path));
        if let Some(path) = &staging_dir {
            refuse_below(path, mountpoint)?;
            check_staging(path)?;
        }
        let state_base = match &writing.state_dir {
            Some(path) => {
                refuse_below(path, mountpoint)?;
                Ok(whole(path))
            }
            None => default_state_base(mountpoint),
        };
        Ok(Self {
            read_only: files.ro,
            needs_journal: writing.durability == DurabilityArgument::Journal && !files.ro,
            state_base,
            staging_dir,
            staging_bytes_max: writing.staging_size.map(|size| size.max(STAGING_BYTES_MIN)),
        })
    }

    /// Opens the journal of `identity`, and says in `options` where written files lie and how much they may take.
    ///
    /// # Errors
    /// A sentence: there is no journal where one is needed, or no place for written files.
    pub(super) fn open(
        &self,
        identity: &Identity,
        options: &mut FilesystemOptions,
    ) -> Result<Option<(Journal, Recovered)>, Failed> {
        if self.read_only {
            return Ok(None);
        }
        let journal = match self.open_journal(identity) {
            Ok(opened) => Some(opened),
            Err(reason) if self.needs_journal => return Err(unusable(&reason)),
            Err(reason) => {
                tracing::warn!("mounted without a journal: {reason}; what close() cannot store is lost");
                None
            }
        };
        let (directory, pending_bytes) = match &journal {
            Some((journal, recovered)) => {
                if let Some(staging_dir) = &self.staging_dir {
                    tracing::warn!(
                        "--staging-dir={} is for mounts without a journal; written files lie in {}, and --state-dir puts that on another disk",
                        staging_dir.display(),
                        journal.directory().display()
                    );
                }
                recovery::report(recovered, journal.directory());
                (journal.directory().to_owned(), recovery::pending_bytes(recovered))
            }
            None => (self.staging_without_journal()?, 0),
        };
        options.staging_bytes_max =
            self.staging_bytes_max.unwrap_or_else(|| default_staging_size(&directory, pending_bytes));
        options.staging_dir = directory;
        Ok(journal)
    }

    fn staging_without_journal(&self) -> Result<PathBuf, Failed> {
        let directory = self.staging_dir.clone().unwrap_or_else(default_staging_directory);
        // A directory that cannot be written to is better found now than at the first write.
        check_staging(&directory).map_err(|error| Failed::new(Exit::Usage, error.to_string()))?;
        Ok(directory)
    }

    /// The journal, or why there is none.
    fn open_journal(&self, identity: &Identity) -> Result<(Journal, Recovered), String> {
        let base = self.state_base.as_ref().map_err(Clone::clone)?;
        let begun = Instant::now();
        let directory = loop {
            match StateDirectory::open(base, identity) {
                Ok(directory) => break directory,
                Err(JournalError::Locked { path, process }) => {
                    let holder = Holder::find(process);
                    if begun.elapsed() >= holder.patience() {
                        return Err(holder.sentence(&path));
                    }
                    thread::sleep(LOCK_INTERVAL);
                }
                Err(error) => return Err(format!("{error} (--state-dir={})", base.display())),
            }
        };
        Journal::open(directory).map_err(|error| error.to_string())
    }
}

/// Who has the state directory that we want.
struct Holder {
    process: Option<u32>,
    /// What it tells of itself, where it answers.
    status: Option<Status>,
}

impl Holder {
    fn find(process: Option<u32>) -> Self {
        let mounts = RuntimeDirectory::of_user().and_then(|directory| find(&directory, None)).unwrap_or_default();
        let status = mounts.into_iter().map(|(_, status)| status).find(|status| Some(status.process_id) == process);
        Self { process, status }
    }

    /// How long to wait for its end: a mount that stays is not waited for.
    fn patience(&self) -> Duration {
        match &self.status {
            Some(status) if status.ending => {
                Duration::try_from_secs_f64(status.shutdown_timeout_seconds).unwrap_or_default() + ENDING_GRACE
            }
            Some(_) => Duration::ZERO,
            None => UNSEEN_HOLDER_PATIENCE,
        }
    }

    fn sentence(&self, directory: &Path) -> String {
        let process = self.process.map_or_else(|| "whose process is not known".into(), |id| format!("process {id}"));
        let place = match &self.status {
            Some(Status { ending: true, .. }) => String::from(", which is unmounted and still uploads"),
            Some(status) => format!(" on {0} (`ftpfs umount {0}` ends it)", status.mountpoint),
            None => String::new(),
        };
        format!("{} is in use by another mount, {process}{place}", directory.display())
    }
}

fn unusable(reason: &str) -> Failed {
    Failed::new(
        Exit::StateDirectory,
        format!(
            "--durability=journal cannot be had: {reason}\nOne directory of an account has one mount with a journal at a time; \
             --durability=server can do without"
        ),
    )
}

fn default_state_base(mountpoint: &Path) -> Result<PathBuf, String> {
    let base = default_base(|name| env::var_os(name), rustix::process::geteuid().is_root());
    let base = base.ok_or("there is no home directory to keep one in; --state-dir names a place")?;
    refuse_below(&base, mountpoint).map_err(|error| format!("{error} (--state-dir)"))?;
    Ok(base)
}

/// Not /tmp, which is often memory: what is written may be large.
fn default_staging_directory() -> PathBuf {
    let var_tmp = Path::new("/var/tmp");
    match env::var_os("TMPDIR") {
        Some(directory) => whole(Path::new(&directory)),
        None if var_tmp.is_dir() => var_tmp.into(),
        None => env::temp_dir(),
    }
}

fn check_staging(path: &Path) -> Result<(), DiskError> {
    let tried = tempfile::tempfile_in(path);
    tried.map(drop).map_err(|error| DiskError::Staging { path: path.to_owned(), error })
}

/// Half of what is free there, as if nothing were pending yet: others want to live, too.
fn default_staging_size(directory: &Path, pending_bytes: u64) -> u64 {
    let free = rustix::fs::statvfs(directory).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    (free.saturating_add(pending_bytes) / 2).max(STAGING_BYTES_MIN)
}

/// The mount's process goes to the root directory: relative paths would mean another place there.
pub(super) fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// Refuses a path that is, or will be, at or below the mountpoint.
///
/// # Errors
/// [`DiskError::BelowMountpoint`].
pub(super) fn refuse_below(path: &Path, mountpoint: &Path) -> Result<(), DiskError> {
    if without_links(path).starts_with(without_links(mountpoint)) {
        return Err(DiskError::BelowMountpoint(path.into()));
    }
    Ok(())
}

/// The path without symbolic links, as far as it is there.
fn without_links(path: &Path) -> PathBuf {
    let path = whole(path);
    for existing in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return found.join(rest);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_files_lie_where_the_journal_is_if_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = crate::protocol::RemotePath::root();
        let identity = Identity { host: "host".into(), port: 21, user: b"u".to_vec(), directory: root };
        let mut disk = DiskOptions {
            read_only: false,
            needs_journal: false,
            state_base: Ok(folder.path().join("state")),
            staging_dir: Some(folder.path().to_owned()),
            staging_bytes_max: None,
        };
        let mut options = FilesystemOptions::default();
        let (journal, _) = disk.open(&identity, &mut options).unwrap().unwrap();
        assert_eq!(options.staging_dir, journal.directory());
        assert!(options.staging_bytes_max < u64::MAX);
        disk.staging_bytes_max = Some(5 << 20);
        disk.state_base = Err("no home".into());
        assert!(disk.open(&identity, &mut options).unwrap().is_none());
        assert_eq!((options.staging_dir.as_path(), options.staging_bytes_max), (folder.path(), 5 << 20));
        disk.needs_journal = true;
        let failed = disk.open(&identity, &mut options).map(|_| ()).unwrap_err();
        assert!(failed.exit == Exit::StateDirectory && failed.to_string().contains("no home"), "{failed}");
    }

    fn held(status: Option<Status>) -> Holder {
        Holder { process: Some(7), status }
    }

    #[test]
    fn state_directory_is_waited_for_only_where_its_mount_ends() {
        let path = Path::new("/state/h-21-u-0");
        let mounted = Status { mountpoint: "/mnt/a".into(), shutdown_timeout_seconds: 3.0, ..Status::default() };
        let ending = held(Some(Status { ending: true, ..mounted.clone() }));
        let mounted = held(Some(mounted));
        assert_eq!(mounted.patience(), Duration::ZERO);
        assert_eq!(
            mounted.sentence(path),
            "/state/h-21-u-0 is in use by another mount, process 7 on /mnt/a (`ftpfs umount /mnt/a` ends it)"
        );
        assert_eq!(ending.patience(), Duration::from_secs(3) + ENDING_GRACE);
        assert!(ending.sentence(path).ends_with("process 7, which is unmounted and still uploads"));
        assert_eq!(held(None).patience(), UNSEEN_HOLDER_PATIENCE);
        let nobody = Holder { process: None, status: None };
        assert!(nobody.sentence(path).ends_with("whose process is not known"));
    }

    #[test]
    fn path_below_the_mountpoint_is_refused_before_it_exists_and_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let mountpoint = folder.path().join("mnt");
        std::fs::create_dir(&mountpoint).unwrap();
        std::os::unix::fs::symlink(&mountpoint, folder.path().join("link")).unwrap();
        for path in ["mnt", "mnt/a/b/c", "link/a/b"] {
            assert!(refuse_below(&folder.path().join(path), &mountpoint).is_err(), "{path}");
        }
        for path in ["", "mnt2/a", "a/mnt"] {
            assert!(refuse_below(&folder.path().join(path), &mountpoint).is_ok(), "{path}");
        }
    }

    #[test]
    fn default_size_is_half_of_the_disk_that_nothing_but_others_fill() {
        let folder = tempfile::tempdir().unwrap();
        let size = |pending| default_staging_size(folder.path(), pending);
        // Others write to this disk meanwhile.
        let (without, with) = (size(0), size(1 << 50));
        assert!(with >= 1 << 49 && with - (1 << 49) < without * 2, "{without} {with}");
    }
}

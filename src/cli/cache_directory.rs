//! `--cache-dir`: where what was read is kept beyond the mount.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::CacheArguments;
use super::exit_code::Exit;
use super::messages::Failed;
use super::state::{DiskError, refuse_below, whole};
use crate::cache::DiskCache;
use crate::journal::Identity;

/// A cache directory, as asked for.
#[derive(Debug, Clone)]
pub(super) struct CacheDirectory {
    base: PathBuf,
    bytes_max: u64,
}

impl CacheDirectory {
    /// Checks what was typed; `None` where none is wanted.
    ///
    /// # Errors
    /// [`DiskError::BelowMountpoint`].
    pub(super) fn new(caches: &CacheArguments, mountpoint: &Path) -> Result<Option<Self>, DiskError> {
        let Some(base) = &caches.cache_dir else { return Ok(None) };
        refuse_below(base, mountpoint)?;
        Ok(Some(Self { base: whole(base), bytes_max: caches.cache_dir_size }))
    }

    /// Opens it for an account; `None` where another mount of that account has it, which this one does without.
    ///
    /// # Errors
    /// A sentence: it cannot be used.
    pub(super) fn open(&self, identity: &Identity) -> Result<Option<Arc<DiskCache>>, Failed> {
        let unusable = |error: io::Error| {
            let place = self.base.display();
            Failed::new(Exit::Usage, format!("{place} cannot be used to keep what is read (--cache-dir): {error}"))
        };
        fs::create_dir_all(&self.base).map_err(unusable)?;
        let account = format!("{}@{}:{}", identity.user.escape_ascii(), identity.host, identity.port);
        match DiskCache::open(&self.base, &account, self.bytes_max) {
            Ok(cache) => Ok(Some(cache)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tracing::warn!(
                    "another mount of {account} has the cache directory {}; this one keeps what it reads in memory only",
                    self.base.display()
                );
                Ok(None)
            }
            Err(error) => Err(unusable(error)),
        }
    }
}

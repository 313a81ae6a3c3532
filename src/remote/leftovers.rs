//! What mounts that crashed have left on the server: found in listings that somebody wanted anyway, and cleared away in
//! the background.
//!
//! `.ftpfs-….part` is an upload that was never completed. It is removed when nobody has written to it for a day, by the
//! server's own clock: the time of a file that this mount has stored tells how late it is there, so nothing is removed
//! before this mount has stored one. `.ftpfs-….old` is the content of a file that was being replaced: it is never removed, and
//! whoever reads the log is told how to get it back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Listing;
use super::error::RemoteResult;
use super::server::{Server, TOKEN_LEN};
use super::store::Told;
use crate::protocol::{EntryKind, Name, RemotePath, Timestamp};

/// What was not written to for so long is nobody's any more.
const AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// What was looked at is not looked at again for so long.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);
/// So many paths are remembered as looked at.
const LOOKED_AT_MAX: usize = 1000;
/// So many are looked at after one listing.
const AT_ONCE_MAX: usize = 64;

/// What one of our names is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leftover {
    /// An upload that was not completed.
    Part,
    /// The content of a file that was being replaced; of which, if its name tells.
    Old(Option<Name>),
}

impl Leftover {
    /// What this name is for, if it is one of ours.
    fn of(name: &Name) -> Option<Self> {
        let rest = name.as_bytes().strip_prefix(b".ftpfs-")?;
        let (token, rest) = rest.split_at_checked(TOKEN_LEN)?;
        if !token.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        match rest {
            b".part" => Some(Self::Part),
            b".old" => Some(Self::Old(None)),
            _ => {
                let target = rest.strip_prefix(b"-")?.strip_suffix(b".old")?;
                Some(Self::Old(Some(Name::new(target).ok()?)))
            }
        }
    }
}

/// What is known of leftovers.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_looking: bool,
    looked_at: HashMap<RemotePath, Instant>,
    /// The time on the server at a moment of ours, or a little earlier.
    server_time: Option<(i64, Instant)>,
    /// Uploads of this mount.
    under_way: HashSet<RemotePath>,
}

impl Leftovers {
    /// A file has just been stored, and this is its time.
    pub(super) fn learn_time(&self, stored: Timestamp) {
        self.0.lock().server_time = Some((stored.seconds, Instant::now()));
    }

    /// An upload under this name begins.
    pub(super) fn begin(&self, path: &RemotePath) {
        self.0.lock().under_way.insert(path.clone());
    }

    /// It has ended.
    pub(super) fn end(&self, path: &RemotePath) {
        self.0.lock().under_way.remove(path);
    }

    /// Whether what was last written to at `modified` is nobody's any more.
    fn is_old(&self, modified: Timestamp) -> bool {
        let now = self.0.lock().now(Instant::now());
        now.is_some_and(|now| now.saturating_sub(modified.seconds) >= AGE_MIN.as_secs().cast_signed())
    }

    /// The leftovers in a listing that are to be looked at now; whoever gets any is the one that looks.
    fn take(&self, directory: &RemotePath, listing: &Listing) -> Vec<(RemotePath, Leftover)> {
        let now = Instant::now();
        let mut state = self.0.lock();
        if state.is_looking || state.server_time.is_none() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for entry in listing.entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let Some(leftover) = Leftover::of(&entry.name) else { continue };
            let path = directory.join(&entry.name);
            if found.len() < AT_ONCE_MAX && !state.under_way.contains(&path) && state.is_first_look(&path, now) {
                found.push((path, leftover));
            }
        }
        state.is_looking = !found.is_empty();
        found
    }
}

impl State {
    /// The time on the server, or a little earlier.
    fn now(&self, now: Instant) -> Option<i64> {
        let (seconds, at) = self.server_time?;
        Some(seconds.saturating_add_unsigned(now.saturating_duration_since(at).as_secs()))
    }

    fn is_first_look(&mut self, path: &RemotePath, now: Instant) -> bool {
        self.looked_at.retain(|_, at| now.saturating_duration_since(*at) < LOOK_AGAIN);
        if self.looked_at.contains_key(path) || self.looked_at.len() >= LOOKED_AT_MAX {
            return false;
        }
        self.looked_at.insert(path.clone(), now);
        true
    }
}

impl Server {
    /// Looks in the background at what crashed mounts have left in a directory that was listed.
    pub(super) fn clear_leftovers(self: &Arc<Self>, directory: &RemotePath, listing: &Listing) {
        let found = self.known.leftovers.take(directory, listing);
        if found.is_empty() {
            return;
        }
        let server = Arc::clone(self);
        let spawned = thread::Builder::new().name(String::from("ftpfs-leftovers")).spawn(move || {
            for (path, leftover) in found {
                if let Err(error) = server.look_at(&path, leftover) {
                    tracing::debug!(%path, %error, "what was left behind is left alone");
                }
            }
            server.known.leftovers.0.lock().is_looking = false;
        });
        if let Err(error) = spawned {
            tracing::debug!(%error, "no thread for what was left behind");
            self.known.leftovers.0.lock().is_looking = false;
        }
    }

    fn look_at(&self, path: &RemotePath, leftover: Leftover) -> RemoteResult<()> {
        let deadline = self.deadline();
        // Asked for in the way in which the time of what was stored was: a server that says local times says both so.
        let Told { size, modified, .. } = self.size_and_time(path, deadline)?;
        let Some(modified) = modified.filter(|modified| self.known.leftovers.is_old(*modified)) else { return Ok(()) };
        match leftover {
            Leftover::Part => {
                self.remove_own_file(path, deadline)?;
                tracing::info!(%path, ?size, modified = modified.seconds, "an upload that was cut off had left this behind: removed");
            }
            Leftover::Old(target) => {
                let target = target.and_then(|name| Some(path.parent()?.join(&name)));
                let is_there = match &target {
                    Some(target) => self.exists(target, deadline)?,
                    None => false,
                };
                match target {
                    Some(_) if is_there => {
                        tracing::warn!(%path, "the content that a file had before it was replaced is still there; remove it if nobody needs it");
                    }
                    Some(target) => {
                        tracing::error!(%path, %target, "a file is missing whose replacement was cut off: this is its content. Rename it to get it back");
                    }
                    None => {
                        tracing::error!(%path, "this is the content of a file whose replacement was cut off. Rename it to the name that is missing");
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_made_here_are_leftovers() {
        let of = |name: &str| Leftover::of(&Name::new(name).unwrap());
        let target = |name: &str| Some(Leftover::Old(Some(Name::new(name).unwrap())));
        assert_eq!(of(".ftpfs-0123456789abcdef.part"), Some(Leftover::Part));
        assert_eq!(of(".ftpfs-0123456789abcdef.old"), Some(Leftover::Old(None)));
        assert_eq!(of(".ftpfs-0123456789abcdef-a.txt.old"), target("a.txt"));
        assert_eq!(of(".ftpfs-0123456789abcdef-.old.old"), target(".old"));
        for name in [
            "ftpfs-0123456789abcdef.part",
            ".ftpfs-0123456789abcde.part",
            ".ftpfs-0123456789abcdef0.part",
            ".ftpfs-0123456789abcdeF.part",
            ".ftpfs-0123456789abcdef.part.gz",
            ".ftpfs-0123456789abcdef-a.part",
            ".ftpfs-0123456789abcdef.probe",
            ".ftpfs-0123456789abcdef-.old",
            ".ftpfs-x.part",
            ".ftpfs-",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn nothing_is_old_before_the_servers_clock_is_known_nor_within_a_day_of_it() {
        use crate::protocol::Precision;
        let at = |seconds| Timestamp { seconds, nanoseconds: 0, precision: Precision::Second };
        let leftovers = Leftovers::default();
        assert!(!leftovers.is_old(at(0)));
        leftovers.learn_time(at(1_000_000));
        assert!(leftovers.is_old(at(1_000_000 - 86_400)));
        assert!(!leftovers.is_old(at(1_000_000 - 86_000)));
        // A clock that was set back is believed at once.
        leftovers.learn_time(at(500_000));
        assert!(!leftovers.is_old(at(1_000_000 - 86_400)));
    }
}

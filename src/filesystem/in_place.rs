//! Storing only what was changed of a large file, in the file itself.
//!
//! This is not atomic: one that is cut off leaves the server's file partly old and partly new until it is repeated. So it is
//! done only where the whole would cost much more, and docs/writing.md says when that is. What is repeated lies in the staging
//! file until the server has proved all of it.
//!
//! Not here: how the bytes get there (`sending`), and whether the server is able to (`remote::in_place`).

use super::changes::Changes;
use super::content::{Claim, ContentState};
use super::{Access, Filesystem, FilesystemError, FilesystemResult, InodeNumber};
use crate::cache::{FileId, FileVersion};
use crate::protocol::RemotePath;
use crate::remote::{Finished, Wishes, WriteMode};
use std::ops::Range;

/// Changes that are no further apart go in one transfer: what lies between them costs less than another.
const GAP_MAX: u64 = 64 << 10;
/// With more transfers than this the whole file is as good.
const PATCHES_MAX: usize = 64;
/// The part of a file that may have been changed for it not to be stored as a whole.
const PART_MAX: u64 = 8;

/// What is sent in place of the whole file, which has `size` bytes on the server now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    /// The changes within it, each by itself; then what comes behind its end, up to `end`.
    Patches { ranges: Vec<Range<u64>>, size: u64, end: u64 },
    /// All from `from` on, up to `end`, which may be nothing.
    Tail { from: u64, size: u64, end: u64 },
}

impl Plan {
    /// The ways worth trying, the best first; none where the whole file is better.
    fn all(changes: &Changes, size: u64, end: u64, in_place_min: u64, append_min: u64) -> Vec<Self> {
        let mut plans = Vec::new();
        let is_little = |len: u64| size >= in_place_min && len <= size / PART_MAX;
        let ranges = changes.below(size.min(end), GAP_MAX);
        let is_appended = ranges.is_empty() && end > size && size >= append_min.max(1);
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        let are_few = !ranges.is_empty() && ranges.len() <= PATCHES_MAX && is_little(bytes);
        if end >= size && (is_appended || are_few) {
            plans.push(Self::Patches { ranges, size, end });
        }
        let from = changes.first().unwrap_or(end).min(end).min(size);
        if from > 0 && is_little(end - from) && (from < size || end < size) {
            plans.push(Self::Tail { from, size, end });
        }
        plans
    }

    /// The transfers in their order: how the bytes become the file, and which they are.
    fn transfers(&self) -> Vec<(WriteMode, Range<u64>)> {
        match self {
            Self::Patches { ranges, size, end } => {
                let patch = |range: &Range<u64>| (WriteMode::Patch { offset: range.start, size: *size }, range.clone());
                let grown = (end > size).then_some((WriteMode::Append { size: *size }, *size..*end));
                ranges.iter().map(patch).chain(grown).collect()
            }
            Self::Tail { from, size, end } => {
                vec![(WriteMode::Tail { offset: *from, size: *size, new_size: *end }, *from..*end)]
            }
        }
    }
}

impl Filesystem {
    /// Stores only what was changed, where that is much less than the whole. `None`: it is to be stored as a whole.
    ///
    /// # Errors
    /// What it failed with. The server's file may be neither the old nor the new one then; another upload repeats it.
    pub(super) fn store_in_place(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
    ) -> FilesystemResult<Option<(Finished, WriteMode)>> {
        if self.plans(&claim.content.lock()).is_empty() {
            return Ok(None);
        }
        if !self.is_as_known(access, claim, path)? {
            let is_whole = claim.content.lock().staging.as_ref().is_none_or(|staging| staging.bytes_missing() == 0);
            // What is missing here is of a version that is gone.
            return if is_whole { Ok(None) } else { Err(FilesystemError::Stale) };
        }
        // Anew: if it was begun before, the server's file may have another size by now.
        let plans = self.plans(&claim.content.lock());
        for plan in plans {
            match self.carry_out(access, ino, claim, path, plan) {
                Ok(Some(stored)) => return Ok(Some(stored)),
                Ok(None) => {}
                // Not able to, not allowed to, or another client was there: the next way, or the whole, decides.
                Err(
                    FilesystemError::NotSupported { .. }
                    | FilesystemError::Refused { .. }
                    | FilesystemError::Stale
                    | FilesystemError::NotFound,
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn plans(&self, content: &ContentState) -> Vec<Plan> {
        match (&content.staging, &content.version) {
            (Some(staging), Some(version)) if !staging.has_holes() => Plan::all(
                staging.changes(),
                version.size,
                staging.size(),
                self.options.in_place_bytes_min,
                self.options.stream_start_bytes,
            ),
            _ => Vec::new(),
        }
    }

    /// Whether the server's file is the one that was changed here; where that was begun before, whatever its size is now.
    fn is_as_known(&self, access: Access, claim: &Claim, path: &RemotePath) -> FilesystemResult<bool> {
        let there = match self.server.ask(access)?.stat(path).map_err(FilesystemError::from) {
            Ok(entry) => FileVersion::of(&entry),
            Err(FilesystemError::NotFound) => None,
            Err(error) => return Err(error),
        };
        let mut content = claim.content.lock();
        match (there, content.torn) {
            (Some(there), true) => {
                content.version = Some(unmarked(there.size));
                Ok(true)
            }
            (Some(there), false) => Ok(content.version.as_ref().is_some_and(|version| version.agrees_with(&there))),
            (None, _) => Ok(false),
        }
    }

    /// `None` where it cannot be done this way.
    fn carry_out(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
        plan: Plan,
    ) -> FilesystemResult<Option<(Finished, WriteMode)>> {
        let Some(plan) = self.spare_first_byte(access, ino, claim, path, plan)? else { return Ok(None) };
        let transfers = plan.transfers();
        // All that is to be sent is here before the first byte of it is: a server may cut off what follows.
        for (_, range) in &transfers {
            self.complete_within(access, ino, claim, path, range.clone())?;
        }
        let before = {
            let mut content = claim.content.lock();
            let before = (content.version.clone(), content.torn);
            content.torn = true;
            content.version = before.0.as_ref().map(|version| unmarked(version.size));
            before
        };
        // From here on its time is another one, and what was read before is no longer told by it.
        self.server.forget(FileId(ino.0));
        self.server.forget_tree(path);
        let mut last = None;
        for (mode, range) in transfers {
            let mut sending = self.sending(path, mode).until(range.end);
            match self.send_rest(claim, &mut sending, Wishes::default()) {
                Ok(finished) => last = Some((finished, mode)),
                Err(error) => {
                    if last.is_none() && !sending.has_sent() && is_before_the_first_byte(&error) {
                        let mut content = claim.content.lock();
                        (content.version, content.torn) = before;
                    } else {
                        tracing::warn!(%path, %error, "the server's file is partly old and partly new until it is stored again");
                    }
                    return Err(error);
                }
            }
        }
        tracing::debug!(%path, ?last, "only what was changed was stored, in place");
        Ok(last)
    }

    /// The first byte of a file cannot be written in place. Where it is as on the server (what begins with a mark of its
    /// format keeps that), all behind it can.
    fn spare_first_byte(
        &self,
        access: Access,
        ino: InodeNumber,
        claim: &Claim,
        path: &RemotePath,
        plan: Plan,
    ) -> FilesystemResult<Option<Plan>> {
        let Plan::Patches { mut ranges, size, end } = plan else { return Ok(Some(plan)) };
        if let Some(first) = ranges.first_mut().filter(|range| range.start == 0) {
            let version = claim.content.lock().version.clone().ok_or(FilesystemError::Stale)?;
            let there = self.server.fetch(access, FileId(ino.0), path, &version, 0, 1)?;
            let here = claim.content.lock().staging.as_ref().ok_or(FilesystemError::Stale)?.read(0, 1)?;
            if here != there {
                return Ok(None);
            }
            first.start = 1;
        }
        ranges.retain(|range| !range.is_empty());
        let plan = Plan::Patches { ranges, size, end };
        Ok((!plan.transfers().is_empty()).then_some(plan))
    }
}

/// A version that is known by its size alone.
fn unmarked(size: u64) -> FileVersion {
    FileVersion { size, modified: None, unique: None }
}

/// Whether an error of the first transfer says that nothing has changed on the server.
fn is_before_the_first_byte(error: &FilesystemError) -> bool {
    matches!(error, FilesystemError::NotSupported { .. } | FilesystemError::Stale | FilesystemError::NotFound)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use super::*;

    /// In-place writing from 1000 bytes on, appending from 100 on.
    fn plans(changed: &[Range<u64>], size: u64, end: u64) -> Vec<Plan> {
        let mut changes = Changes::default();
        let grown = changed.iter().map(|range| range.end).max().unwrap_or(0).max(size);
        for range in changed {
            changes.wrote(range.clone(), size);
        }
        changes.resized(grown, end);
        Plan::all(&changes, size, end, 1000, 100)
    }

    fn patches(ranges: &[Range<u64>], size: u64, end: u64) -> Plan {
        Plan::Patches { ranges: ranges.to_vec(), size, end }
    }

    #[test]
    fn small_files_and_large_changes_are_stored_as_a_whole() {
        assert_eq!(plans(&[5..6], 999, 999), []);
        assert_eq!(plans(&[5..131], 1000, 1000), []);
        assert_eq!(plans(&[5..130], 1000, 1000), [patches(&[5..130], 1000, 1000)]);
        assert_eq!(plans(&[0..0], 1000, 1000), []);
        assert_eq!(plans(&[0..99], 99, 99), []);
    }

    #[test]
    fn change_near_the_end_can_be_a_tail_too() {
        let tail = Plan::Tail { from: 900, size: 1000, end: 1010 };
        assert_eq!(plans(&[900..1010], 1000, 1010), [patches(&[900..1000], 1000, 1010), tail]);
        assert_eq!(plans(&[], 1000, 900), [Plan::Tail { from: 900, size: 1000, end: 900 }]);
        assert_eq!(plans(&[], 1000, 0), []);
    }

    #[test]
    fn what_only_grew_is_appended_also_where_it_is_smaller() {
        assert_eq!(plans(&[100..5000], 100, 5000), [patches(&[], 100, 5000)]);
        assert_eq!(plans(&[99..5000], 99, 5000), []);
        let appended = patches(&[], 100, 5000).transfers();
        assert_eq!(appended, [(WriteMode::Append { size: 100 }, 100..5000)]);
    }

    #[test]
    fn too_many_places_are_stored_as_a_whole() {
        let size = 1 << 40;
        let places = |count: u64| (1..=count).map(|place| place << 20..(place << 20) + 1).collect::<Vec<_>>();
        assert_eq!(plans(&places(64), size, size), [patches(&places(64), size, size)]);
        assert_eq!(plans(&places(65), size, size), []);
    }
}

//! What the system lets one process have.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Raises the number of files that may be open to what the system allows without asking: each file that is being
/// written here has a staging file, and the usual 1024 are fewer than a program may have open in a mount.
pub(super) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it was");
    }
}

/// Keeps the memory, where passwords are, out of core dumps, and out of the reach of the same user's other programs (ptrace(2),
/// `/proc/PID/mem`, `/proc/PID/environ`): only root may look.
pub(super) fn forbid_core_dumps() {
    // The limit alone would not do: a program that takes core dumps by a pipe gets them all the same (core(5)).
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable).and(limited) {
        tracing::warn!(%error, "a core dump of this program would hold passwords");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}

//! Where symbolic links may lead.
//!
//! The kernel follows links by itself, on this machine. A server that plants one to `/etc/passwd`, or `../../.ssh`, would have
//! programs read and write files of this machine where they meant its own, so by default no target that leads out of
//! the mount is handed out.

use super::InodeNumber;
use crate::protocol::RemotePath;

/// What is told of a link that leads out of the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// An error; and absolute targets are paths on the server.
    #[default]
    Contained,
    /// Its target, in the server's words.
    AsTold,
}

/// The target that the kernel may be told of a link in `directory`, where `root` is what is mounted; `None` where it leads out.
///
/// A relative target stays as it is if it only climbs at its beginning, and not above `root`: behind a name, `..` may be the parent of
/// something else than it looks, where that name is a link. An absolute one becomes relative, if what it names on the server is mounted.
pub(super) fn contained(root: &RemotePath, directory: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
    let depth = components(directory).checked_sub(components(root))?;
    if target.starts_with(b"/") {
        let place = RemotePath::parse(target).ok().filter(|place| place.is_at_or_below(root))?;
        let inside = place.as_bytes().get(root.as_bytes().len()..).unwrap_or_default();
        let inside = inside.strip_prefix(b"/").unwrap_or(inside);
        let relative = [b"../".repeat(depth).as_slice(), inside].concat();
        return Some(if relative.is_empty() { b".".to_vec() } else { relative });
    }
    let names = || target.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    let climbs = names().take_while(|name| *name == b"..").count();
    let is_straight = names().skip(climbs).all(|name| name != b"..");
    (climbs <= depth && is_straight && !target.contains(&0)).then(|| target.to_vec())
}

fn components(path: &RemotePath) -> usize {
    path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count()
}

impl super::Filesystem {
    /// The target that the kernel may be told of the link `ino`; `None` where it leads out of the mount.
    pub(super) fn target_to_tell(&self, ino: InodeNumber, target: &[u8]) -> Option<Vec<u8>> {
        let parent = {
            let state = self.state.lock();
            let place = state.inodes.get(ino).and_then(|inode| inode.place.clone());
            place.and_then(|(parent, _)| state.inodes.path(parent))
        };
        self.target_to_tell_in(&parent?, target)
    }

    /// The same of a link in `directory`.
    pub(super) fn target_to_tell_in(&self, directory: &RemotePath, target: &[u8]) -> Option<Vec<u8>> {
        match self.options.links {
            Links::AsTold => Some(target.to_vec()),
            Links::Contained => contained(&self.root, directory, target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(root: &str, directory: &str, target: &str) -> Option<String> {
        let path = |text: &str| RemotePath::parse(text.as_bytes()).unwrap();
        let told = contained(&path(root), &path(directory), target.as_bytes())?;
        Some(String::from_utf8(told).unwrap())
    }

    #[test]
    fn relative_target_may_climb_up_to_what_is_mounted() {
        for (target, is_told) in [
            ("file", true),
            ("../x", true),
            ("../../x", true),
            ("./.././../x/", true),
            ("..", true),
            ("", true),
            ("../../../x", false),
            ("../../..", false),
            ("a/..", false),
            ("../a/../../x", false),
            ("a\0b", false),
        ] {
            let expected = is_told.then(|| target.to_owned());
            assert_eq!(told("/pub", "/pub/a/b", target), expected, "{target:?}");
        }
        assert_eq!(told("/pub", "/pub", ".."), None);
    }

    #[test]
    fn absolute_target_is_a_path_on_the_server() {
        assert_eq!(told("/", "/", "/etc/passwd").unwrap(), "etc/passwd");
        assert_eq!(told("/", "/a/b", "/etc/passwd").unwrap(), "../../etc/passwd");
        assert_eq!(told("/pub", "/pub/a", "/pub//x/./y/").unwrap(), "../x/y");
        assert_eq!(told("/pub", "/pub", "/pub").unwrap(), ".");
        assert_eq!(told("/pub", "/pub/a", "/pub").unwrap(), "../");
        for target in ["/etc/passwd", "/", "/public", "/pub/../etc", "//etc"] {
            assert_eq!(told("/pub", "/pub", target), None, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_target_that_is_told_leads_above_what_is_mounted(
            target in "(/|)((\\.\\.|\\.|a|pub|)/){0,8}(\\.\\.|b|)", depth in 0_usize..4,
        ) {
            let directory = format!("/pub{}", "/d".repeat(depth));
            if let Some(told) = told("/pub", &directory, &target) {
                prop_assert!(!told.starts_with('/'));
                let mut height = depth as i64;
                for name in told.split('/') {
                    height += match name { "" | "." => 0, ".." => -1, _ => 1 };
                    prop_assert!(height >= 0, "{} of {}", told, target);
                }
            }
        }
    }
}

//! Symbolic links: SITE SYMLINK, which ProFTPD has with mod_site_misc, and hardly any other server.

use std::time::Instant;

use super::error::{RemoteError, RemoteResult};
use super::refusal::{Purpose, is_not_understood, says_not_there};
use super::server::{Ordered, Server, is_done};
use crate::protocol::RemotePath;
use crate::protocol::command::Command;

const UNSUPPORTED: RemoteError = RemoteError::Unsupported { what: "symbolic links" };
const BROKEN_UNSUPPORTED: RemoteError =
    RemoteError::Unsupported { what: "symbolic links to what is not there, or is outside of the account" };

impl Server {
    /// Makes a symbolic link at `path` that holds `target`, and looks whether it does.
    ///
    /// # Errors
    /// As [`super::Remote::make_symlink`] says.
    pub(super) fn make_symlink(&self, path: &RemotePath, target: &[u8], deadline: Instant) -> RemoteResult<()> {
        // The arguments are split at spaces, and there is no way to quote one.
        if self.profile().site_symlink.is_no() || target.contains(&b' ') || path.as_bytes().contains(&b' ') {
            return Err(UNSUPPORTED);
        }
        if self.exists(path, deadline)? {
            return Err(RemoteError::Exists);
        }
        self.check_name(path, deadline)?;
        let Some(parent) = path.parent() else { return Err(RemoteError::Exists) };
        // ProFTPD looks for a relative target from the current directory, and links to nothing that is not there.
        let commands = [Command::Cwd(parent), Command::SiteSymlink { target: target.into(), path: path.clone() }];
        let look = || self.exists(path, deadline);
        if let Ordered::Answered { replies, .. } = self.order(&commands, deadline, look)? {
            match replies.last() {
                Some(reply) if is_done(reply) => {}
                Some(reply) if is_not_understood(reply) => {
                    self.profile().site_symlink.learn_if(false);
                    return Err(UNSUPPORTED);
                }
                Some(reply) => {
                    let error = self.explain(path, reply, Purpose::Make, deadline);
                    let may_be_the_target = says_not_there(reply) && matches!(error, RemoteError::Refused { .. });
                    return Err(if may_be_the_target { BROKEN_UNSUPPORTED } else { error });
                }
                None => return Err(UNSUPPORTED),
            }
        }
        self.check_target(path, target, deadline)
    }

    /// ProFTPD may store another target than the one it was given (made absolute); such a link is taken away again.
    fn check_target(&self, path: &RemotePath, target: &[u8], deadline: Instant) -> RemoteResult<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Err(UNSUPPORTED) };
        let listing = self.list(&parent, deadline)?;
        let told =
            listing.entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.link_target.as_deref());
        if told == Some(target) {
            self.profile().site_symlink.learn_if(true);
            return Ok(());
        }
        tracing::warn!(
            %path, asked = %target.escape_ascii(), stored = %told.unwrap_or_default().escape_ascii(),
            "the server changes the targets of symbolic links"
        );
        self.profile().site_symlink.learn_if(false);
        self.remove_file(path, deadline)?;
        Err(UNSUPPORTED)
    }
}

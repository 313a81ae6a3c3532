//! The parsers of the user's files and words, for those who feed them anything at all (`fuzz/`, `tests/fuzz.rs`).
//!
//! No part of what the library promises: it changes with the parsers.

use super::url::{ServerUrl, UrlDirectory};
use super::{netrc, url};
use crate::protocol::Secret;

/// A login as a netrc file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetrcLogin {
    /// The user.
    pub user: Option<Vec<u8>>,
    /// The password.
    pub password: Option<Vec<u8>>,
    /// The account.
    pub account: Option<Vec<u8>>,
}

/// A URL in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlParts {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: Option<Vec<u8>>,
    /// The password.
    pub password: Option<Vec<u8>>,
    /// The directory; a relative one does not begin with `/`.
    pub directory: Vec<u8>,
    /// The URL as it may be shown.
    pub shown: String,
}

/// Finds the login for `host` and perhaps `user` in the text of a netrc file.
pub fn netrc_login(text: &[u8], host: &str, user: Option<&[u8]>) -> Option<NetrcLogin> {
    let login = netrc::find(text, host, user)?;
    Some(NetrcLogin { user: login.user, password: exposed(login.password), account: exposed(login.account) })
}

/// Takes a URL apart.
///
/// # Errors
/// What the user is told.
pub fn parse_url(text: &str) -> Result<UrlParts, String> {
    let url = ServerUrl::parse(text).map_err(|error: url::UrlError| error.to_string())?;
    let shown = url.to_string();
    let directory = match url.directory {
        UrlDirectory::Relative(path) => path,
        UrlDirectory::Absolute(path) => path.as_bytes().to_vec(),
    };
    Ok(UrlParts { host: url.host, port: url.port, user: url.user, password: exposed(url.password), directory, shown })
}

fn exposed(secret: Option<Secret>) -> Option<Vec<u8>> {
    secret.map(|secret| secret.expose().to_vec())
}

//! The URL that names a server and a directory on it.
//!
//! `ftp://user@host:port/dir`; `ftps://` is TLS from the first byte, `ftpes://` TLS after AUTH. As curl and lftp read it: `dir` is relative to the directory that the login leads to, an
//! absolute path has a second slash (`//srv/dir` or `%2Fsrv/dir`). Percent signs stand for bytes, not for characters.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::protocol::{NameError, RemotePath, Secret};

/// The port of FTP (RFC 959 §5.1).
const PORT: u16 = 21;

/// The port of FTP with TLS from the first byte (IANA: ftps).
const PORT_IMPLICIT_TLS: u16 = 990;

/// Why a URL cannot be used. The texts are sentences for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    /// Not a URL at all.
    #[error("`{0}` is not a URL like ftp://user@host/directory: {1}")]
    NotUrl(String, String),
    /// Another protocol.
    #[error("`{0}://` is not FTP; a URL like ftp://user@host/directory is needed")]
    NotFtp(String),
    /// No host.
    #[error("the URL names no host; it is like ftp://user@host/directory")]
    NoHost,
    /// Nobody can listen there.
    #[error("port 0 is none that a server can have; without one, {PORT} is used")]
    PortZero,
    /// Characters that mean something else in a URL.
    #[error("`{0}` has a meaning of its own in a URL; write {1} where it is part of a name or password")]
    Reserved(char, &'static str),
    /// A directory that FTP cannot name.
    #[error("the directory in the URL cannot be used: {0}")]
    Directory(#[from] NameError),
    /// Line breaks and NUL.
    #[error("the user name or password holds a line break, which FTP cannot send")]
    LineBreak,
}

/// How a URL wants connections to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `ftp://`: options decide.
    Ftp,
    /// `ftps://`: TLS from the first byte.
    Ftps,
    /// `ftpes://`: TLS after AUTH.
    Ftpes,
}

impl Scheme {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Ftps => "ftps",
            Self::Ftpes => "ftpes",
        }
    }
}

/// The directory of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UrlDirectory {
    /// Relative to the directory that the login leads to; empty for that one itself.
    Relative(Vec<u8>),
    /// From the server's root.
    Absolute(RemotePath),
}

/// A URL in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerUrl {
    /// Whether it asks for TLS.
    pub(super) scheme: Scheme,
    /// Name or address, an IPv6 address without brackets.
    pub(super) host: String,
    /// The port of the control connection.
    pub(super) port: u16,
    /// The user, if one is named.
    pub(super) user: Option<Vec<u8>>,
    /// The password, if somebody put it there.
    pub(super) password: Option<Secret>,
    /// What is to be mounted.
    pub(super) directory: UrlDirectory,
    /// The URL as it may be shown.
    shown: String,
}

impl ServerUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`UrlError`]; its text never holds the password.
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        if text.chars().any(|character| character.is_ascii_control()) {
            return Err(UrlError::NotUrl(hide_password(text), "it holds a control character".into()));
        }
        let url = Url::parse(text).map_err(|error| not_url(text, error))?;
        let (scheme, url) = understood(url, text)?;
        refuse_reserved(text, &url)?;
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(UrlError::NoHost),
        };
        let port = url.port().unwrap_or(match scheme {
            Scheme::Ftp | Scheme::Ftpes => PORT,
            Scheme::Ftps => PORT_IMPLICIT_TLS,
        });
        if port == 0 {
            return Err(UrlError::PortZero);
        }
        let user = decode(url.username());
        let password = url.password().map(decode);
        if has_line_break(&user) || password.as_deref().is_some_and(has_line_break) {
            return Err(UrlError::LineBreak);
        }
        let mut shown = url.clone();
        // Fails only for URLs without a host.
        let _ = shown.set_password(None);
        let behind = shown.as_str().split_once(':').map_or("", |(_, behind)| behind);
        let shown = format!("{}:{behind}", scheme.name());
        Ok(Self {
            scheme,
            host,
            port,
            user: Some(user).filter(|user| !user.is_empty()),
            password: password.map(Secret::new),
            directory: directory(url.path())?,
            shown,
        })
    }
}

impl fmt::Display for ServerUrl {
    /// The URL without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl UrlDirectory {
    /// The path on the server, where the login leads to `login_directory`.
    ///
    /// # Errors
    /// [`NameError`] for names that FTP cannot send; [`ServerUrl::parse`] has refused those already.
    pub(super) fn resolve(&self, login_directory: &RemotePath) -> Result<RemotePath, NameError> {
        match self {
            Self::Relative(path) => login_directory.join_relative(path),
            Self::Absolute(path) => Ok(path.clone()),
        }
    }
}

/// The scheme, and the rest as a URL of FTP: the library knows the rules of that, and of the two others none.
fn understood(url: Url, text: &str) -> Result<(Scheme, Url), UrlError> {
    let scheme = match url.scheme() {
        "ftp" => return Ok((Scheme::Ftp, url)),
        "ftps" => Scheme::Ftps,
        "ftpes" => Scheme::Ftpes,
        scheme => return Err(UrlError::NotFtp(scheme.into())),
    };
    let rest = text.trim_start().split_once(':').map_or("", |(_, rest)| rest);
    let parse_as = |other: &str| Url::parse(&format!("{other}:{rest}")).map_err(|error| not_url(text, error));
    let url = parse_as("ftp")?;
    // A port that is the other scheme's default vanishes: 21 is none for `ftps`, so one is taken whose default was not given.
    let url = if scheme == Scheme::Ftps && url.port().is_none() { parse_as("http")? } else { url };
    Ok((scheme, url))
}

fn directory(path: &str) -> Result<UrlDirectory, UrlError> {
    let path = decode(path.strip_prefix('/').unwrap_or(path));
    if path.starts_with(b"/") {
        return Ok(UrlDirectory::Absolute(RemotePath::parse(&path)?));
    }
    RemotePath::root().join_relative(&path)?;
    Ok(UrlDirectory::Relative(path))
}

fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

fn has_line_break(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// `?` and `#` would end the path, and `\` would be read as `/`, all in silence.
fn refuse_reserved(text: &str, url: &Url) -> Result<(), UrlError> {
    if url.fragment().is_some() {
        return Err(UrlError::Reserved('#', "%23"));
    }
    if url.query().is_some() {
        return Err(UrlError::Reserved('?', "%3F"));
    }
    if text.contains('\\') {
        return Err(UrlError::Reserved('\\', "%5C"));
    }
    Ok(())
}

fn not_url(text: &str, error: url::ParseError) -> UrlError {
    match error {
        url::ParseError::EmptyHost => UrlError::NoHost,
        url::ParseError::RelativeUrlWithoutBase => {
            UrlError::NotUrl(hide_password(text), "it does not begin with ftp://".into())
        }
        error => reserved_in_password(text).unwrap_or_else(|| UrlError::NotUrl(hide_password(text), error.to_string())),
    }
}

/// The character that ended the URL's first part in the middle of a password; what is left is a port that is none.
fn reserved_in_password(text: &str) -> Option<UrlError> {
    let password = password_in(text)?;
    let at = password.find(['#', '?', '/'])?;
    if password.get(..at)?.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match password.get(at..)?.chars().next()? {
        '#' => Some(UrlError::Reserved('#', "%23")),
        '?' => Some(UrlError::Reserved('?', "%3F")),
        _ => Some(UrlError::Reserved('/', "%2F")),
    }
}

/// What may be a password in a text that may be a URL, or hold one.
pub(super) fn password_in(text: &str) -> Option<&str> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    // The last `@` before the path ends the user's part, as browsers read it.
    Some(rest.rsplit_once('@')?.0.split_once(':')?.1)
}

/// The text with what may be a password left out, for messages about what is no URL.
pub(super) fn hide_password(text: &str) -> String {
    let hidden = password_in(text).map(|password| text.replace(&format!(":{password}@"), "@"));
    hidden.as_deref().unwrap_or(text).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ServerUrl {
        ServerUrl::parse(text).unwrap()
    }

    fn relative(path: &str) -> UrlDirectory {
        UrlDirectory::Relative(path.into())
    }

    #[test]
    fn directory_is_relative_to_the_login_unless_it_has_a_second_slash() {
        let absolute = |path: &[u8]| UrlDirectory::Absolute(RemotePath::parse(path).unwrap());
        for (url, directory) in [
            ("ftp://host", relative("")),
            ("ftp://host/", relative("")),
            ("ftp://host/a/b/", relative("a/b/")),
            ("ftp://host//srv/a", absolute(b"/srv/a")),
            ("ftp://host/%2Fsrv/a", absolute(b"/srv/a")),
            ("ftp://host/%2f", absolute(b"/")),
            ("ftp://host//", absolute(b"/")),
            ("ftp://host/a%20b%FFc", UrlDirectory::Relative(b"a b\xffc".into())),
            ("ftp://host/100%25", relative("100%")),
        ] {
            assert_eq!(parse(url).directory, directory, "{url}");
        }
        let login = RemotePath::parse(b"/home/x").unwrap();
        assert_eq!(parse("ftp://h/a/b/").directory.resolve(&login).unwrap().as_bytes(), b"/home/x/a/b");
        assert_eq!(parse("ftp://h").directory.resolve(&login).unwrap(), login);
        assert_eq!(parse("ftp://h//b").directory.resolve(&login).unwrap().as_bytes(), b"/b");
    }

    #[test]
    fn hosts_and_ports_of_all_kinds() {
        for (url, host, port) in [
            ("ftp://example.org", "example.org", 21),
            ("ftp://127.0.0.2:2121/x", "127.0.0.2", 2121),
            ("ftp://[::1]:2121", "::1", 2121),
            ("ftp://u@host:21", "host", 21),
        ] {
            let url = parse(url);
            assert_eq!((url.host.as_str(), url.port), (host, port));
        }
    }

    #[test]
    fn encrypted_urls_have_their_own_ports_and_the_same_rules() {
        for (text, scheme, port, shown) in [
            ("ftps://u:geheim@h/a%20b", Scheme::Ftps, 990, "ftps://u@h/a%20b"),
            ("ftps://h:21/", Scheme::Ftps, 21, "ftps://h:21/"),
            ("ftps://h:80/", Scheme::Ftps, 80, "ftps://h:80/"),
            ("ftps://h:443/", Scheme::Ftps, 443, "ftps://h:443/"),
            ("ftps://h:990/", Scheme::Ftps, 990, "ftps://h:990/"),
            ("FTPES://EXAMPLE.org", Scheme::Ftpes, 21, "ftpes://example.org/"),
            ("ftpes://u@[::1]:2121//srv", Scheme::Ftpes, 2121, "ftpes://u@[::1]:2121//srv"),
        ] {
            let url = parse(text);
            assert_eq!((url.scheme, url.port), (scheme, port), "{text}");
            assert_eq!(url.to_string(), shown);
        }
        assert_eq!(parse("ftps://u:p@h/d/../e").directory, parse("ftp://u:p@h/d/../e").directory);
        assert_eq!(ServerUrl::parse("ftps://").unwrap_err(), UrlError::NoHost);
        assert_eq!(ServerUrl::parse("ftpes://h/a#b").unwrap_err(), UrlError::Reserved('#', "%23"));
    }

    #[test]
    fn user_and_password_are_bytes_and_the_password_is_never_shown() {
        let url = parse("ftp://us%40er:p%3Ass@host/d");
        assert_eq!(url.user.as_deref(), Some(&b"us@er"[..]));
        assert_eq!(url.password, Some(Secret::new("p:ss")));
        assert_eq!(url.to_string(), "ftp://us%40er@host/d");
        assert!(!format!("{url:?}").contains("p:ss"));
        assert_eq!(parse("ftp://@host").user, None);
    }

    #[test]
    fn wrong_urls_are_told_apart_without_their_password() {
        let error = |text: &str| ServerUrl::parse(text).unwrap_err();
        assert_eq!(error("http://host"), UrlError::NotFtp("http".into()));
        assert_eq!(error("ftp://"), UrlError::NoHost);
        assert_eq!(error("ftp://h:0/"), UrlError::PortZero);
        assert_eq!(error("ftp://h/a#b"), UrlError::Reserved('#', "%23"));
        assert_eq!(error("ftp://h/a?b"), UrlError::Reserved('?', "%3F"));
        assert_eq!(error("ftp://h/a\\b"), UrlError::Reserved('\\', "%5C"));
        assert_eq!(error("ftp://h/a%0Ab"), UrlError::Directory(NameError::LineBreak));
        assert_eq!(error("ftp://u%0d@h/"), UrlError::LineBreak);
        assert_eq!(error("ftp://u:a b#c@h/"), UrlError::Reserved('#', "%23"));
        assert_eq!(error("ftp://u:a/c@h/"), UrlError::Reserved('/', "%2F"));
        assert!(matches!(error("ftp://h:99999/a@b"), UrlError::NotUrl(..)));
        for text in [
            "host/dir",
            "/srv",
            "ftp://u:geheim@ho st/",
            "u:geheim@host",
            "ftp://u:geheim@h:99999/",
            "ftp://u:geheim@h/\n",
        ] {
            let error = error(text);
            assert!(matches!(error, UrlError::NotUrl(..) | UrlError::NotFtp(_)), "{text}: {error:?}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}

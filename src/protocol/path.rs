//! Names and paths on the server, as bytes.
//!
//! FTP says nothing of charsets that all servers keep (RFC 2640 is a wish), so a name is the bytes the server
//! sent, and goes back as the same bytes. What could end a command line or leave a directory is refused here,
//! once, so that no layer above has to think of it again.

use std::fmt;
use std::sync::Arc;

/// Why bytes cannot be a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// An empty name.
    #[error("a name cannot be empty")]
    Empty,
    /// `.` or `..`: places, not names.
    #[error("`.` and `..` are not names")]
    Dots,
    /// A `/`: it separates names.
    #[error("a name cannot contain `/`")]
    Slash,
    /// CR, LF or NUL: FTP has no way to send them in an argument (RFC 959 §5.3.1).
    #[error("FTP cannot send a name with a line break or NUL in it")]
    LineBreak,
}

/// One component of a path: not empty, not `.` or `..`, without `/`, CR, LF and NUL.
///
/// Clones share the bytes: a name in a listing is kept in several places.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Takes `bytes` as a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule they break; nothing of it may be sent to a server.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let bytes = bytes.as_ref();
        match bytes {
            b"" => return Err(NameError::Empty),
            b"." | b".." => return Err(NameError::Dots),
            _ => {}
        }
        for byte in bytes {
            match byte {
                b'/' => return Err(NameError::Slash),
                b'\r' | b'\n' | 0 => return Err(NameError::LineBreak),
                _ => {}
            }
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes as the server spells them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// For people: UTF-8 as it is, control characters and other bytes escaped (`\x07`).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_readable(f, &self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// An absolute path on the server: `/`, or `/` and names joined by `/`, without a `/` at the end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath(Box<[u8]>);

impl RemotePath {
    /// The server's root, `/`.
    pub fn root() -> Self {
        Self(Box::new(*b"/"))
    }

    /// Takes an absolute path as typed or as a server says it; repeated and trailing `/` and `.` are dropped.
    ///
    /// # Errors
    /// [`NameError::Empty`] where it does not begin with `/`; the others as for [`Name::new`]. `..` is refused:
    /// what it means beyond a symbolic link only the server knows.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        let Some(relative) = bytes.strip_prefix(b"/") else { return Err(NameError::Empty) };
        Self::root().join_relative(relative)
    }

    /// This directory's path with a relative one behind it; repeated and trailing `/` and `.` are dropped.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn join_relative(&self, relative: &[u8]) -> Result<Self, NameError> {
        let mut path = self.clone();
        for component in relative.split(|byte| *byte == b'/') {
            if !component.is_empty() && component != b"." {
                path = path.join(&Name::new(component)?);
            }
        }
        Ok(path)
    }

    /// The path of `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        if !self.is_root() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&name.0);
        Self(bytes.into())
    }

    /// The directory this is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.split()?;
        Some(if parent.is_empty() { Self::root() } else { Self(parent.into()) })
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<Name> {
        self.split().map(|(_, name)| Name(name.into()))
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        *self.0 == *b"/"
    }

    /// Whether it is `directory` or something in it, however deep.
    pub fn is_at_or_below(&self, directory: &Self) -> bool {
        directory.is_root()
            || self
                .as_bytes()
                .strip_prefix(directory.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// The bytes, beginning with `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        let (parent, rest) = self.0.split_at_checked(slash)?;
        Some((parent, rest.strip_prefix(b"/").unwrap_or(rest)))
    }
}

/// For people: UTF-8 as it is, control characters and other bytes escaped (`\x07`).
impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_readable(f, &self.0)
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Writes bytes from a server so that a terminal or log can show them: UTF-8 as it is; control characters, what
/// reorders text or cannot be seen, and bytes that are no UTF-8, escaped.
pub(super) fn write_readable(sink: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\0'..='\x1f' | '\x7f' => write!(sink, "\\x{:02x}", u32::from(character))?,
                // C1 controls; zero-width characters; line separators; marks that turn the direction of writing.
                '\u{80}'..='\u{9f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}' => {
                    write!(sink, "{}", character.escape_unicode())?;
                }
                _ => sink.write_char(character)?,
            }
        }
        for byte in chunk.invalid() {
            write!(sink, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_could_end_a_command_line_is_refused() {
        for bytes in [&b"a\rb"[..], b"a\nDELE b", b"a\0"] {
            assert_eq!(Name::new(bytes), Err(NameError::LineBreak));
        }
    }

    #[test]
    fn name_that_leaves_its_directory_is_refused() {
        assert_eq!(Name::new(".."), Err(NameError::Dots));
        assert_eq!(Name::new("a/b"), Err(NameError::Slash));
        assert_eq!(RemotePath::parse(b"/a/../b"), Err(NameError::Dots));
    }

    #[test]
    fn path_joins_and_splits_at_its_last_name() {
        let path = RemotePath::parse(b"//pub/./a b/").unwrap();
        assert_eq!(path.as_bytes(), b"/pub/a b");
        assert_eq!(path.name(), Some(Name::new("a b").unwrap()));
        assert_eq!(path.parent().and_then(|parent| parent.parent()), Some(RemotePath::root()));
        assert_eq!(RemotePath::root().join(&Name::new("x").unwrap()).as_bytes(), b"/x");
        assert_eq!(RemotePath::root().parent(), None);
    }

    #[test]
    fn path_is_shown_as_it_is_but_for_what_a_terminal_would_obey() {
        let path = RemotePath::parse("/Größe/a\\b/\x1b[2J\u{202e}".as_bytes()).unwrap();
        assert_eq!(path.to_string(), r"/Größe/a\b/\x1b[2J\u{202e}".replace(r"\\", r"\"));
        assert_eq!(Name::new(b"caf\xe9").unwrap().to_string(), r"caf\xe9");
    }
}

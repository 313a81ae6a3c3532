//! Names that a server would silently store as something else, found out before anything is stored under them.
//!
//! Pure-FTPd 1.0.50 makes `_` of control characters and of a last space, pyftpdlib makes U+FFFD of bytes that are not
//! UTF-8, Windows drops a last `.` and takes what follows `:` for another stream of the file before it; each says
//! success. So a name with something suspicious in it is stored only after the server has proved, with an empty
//! directory of an unguessable name with the same thing in it, that it keeps such names byte for byte. One proof
//! serves for the rest of the connection.
//!
//! Not here: what no server can be sent (`protocol::path`).

use std::collections::HashMap;
use std::str;
use std::time::Instant;

use parking_lot::Mutex;

use super::error::{RemoteError, RemoteResult};
use super::refusal::refused;
use super::server::{Server, random_token};
use crate::protocol::command::Command;
use crate::protocol::reply::{Reply, ReplyClass};
use crate::protocol::{Name, RemotePath};

/// Something in a name that servers are known to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Suspicion {
    /// A control character, each by itself: a server may keep the tab and change the others.
    Control(u8),
    /// A space before all else.
    FirstSpace,
    /// A space behind all else.
    LastSpace,
    /// A point behind all else.
    LastPoint,
    /// `~`, which may be a home directory, before all else.
    FirstTilde,
    /// `\`, which separates names on Windows.
    Backslash,
    /// `:`, which names streams on Windows.
    Colon,
    /// 0xFF, telnet's escape: doubled by us, kept double by some (RFC 959 §2.3).
    Telnet,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// Characters beyond ASCII: changed by a server with another character set.
    NotAscii,
    /// Combining marks: changed by a server that composes (NFC).
    Combining,
    /// Composed letters: changed by a server that decomposes (NFD), as those of macOS do.
    Composed,
    /// Characters beyond the first 65,536, as most emoji are: no room for them in UCS-2.
    Astral,
}

impl Suspicion {
    /// What is suspicious in `name`, each once.
    pub(super) fn of(name: &[u8]) -> Vec<Self> {
        let mut found = Vec::new();
        let mut add = |suspicion| {
            if !found.contains(&suspicion) {
                found.push(suspicion);
            }
        };
        match name.first() {
            Some(b' ') => add(Self::FirstSpace),
            Some(b'~') => add(Self::FirstTilde),
            _ => {}
        }
        match name.last() {
            Some(b' ') => add(Self::LastSpace),
            Some(b'.') => add(Self::LastPoint),
            _ => {}
        }
        for byte in name {
            match byte {
                0x01..0x20 | 0x7F => add(Self::Control(*byte)),
                b'\\' => add(Self::Backslash),
                b':' => add(Self::Colon),
                0xFF => add(Self::Telnet),
                _ => {}
            }
        }
        let Ok(text) = str::from_utf8(name) else {
            add(Self::NotUtf8);
            return found;
        };
        for character in text.chars().filter(|character| !character.is_ascii()) {
            add(match character {
                '\u{300}'..='\u{36F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' => {
                    Self::Combining
                }
                // Latin, Greek and Cyrillic letters with marks, Hangul syllables: all have a decomposed form.
                '\u{C0}'..='\u{24F}'
                | '\u{386}'..='\u{3CE}'
                | '\u{400}'..='\u{45F}'
                | '\u{1E00}'..='\u{1FFF}'
                | '\u{AC00}'..='\u{D7A3}' => Self::Composed,
                '\u{10000}'.. => Self::Astral,
                _ => Self::NotAscii,
            });
        }
        found
    }

    /// A name with this in it, and with `token`, which nobody can guess.
    fn specimen(self, token: &str) -> Vec<u8> {
        let (before, after): (&[u8], &[u8]) = match self {
            Self::Control(byte) => return [b".ftpfs-probe-", token.as_bytes(), &[byte], b"-"].concat(),
            Self::FirstSpace => (b" ", b""),
            Self::LastSpace => (b"", b" "),
            Self::LastPoint => (b"", b"."),
            Self::FirstTilde => (b"~", b""),
            Self::Backslash => (b"", b"\\-"),
            Self::Colon => (b"", b":-"),
            Self::Telnet => (b"", b"\xff-"),
            Self::NotUtf8 => (b"", b"\xe9-"),
            Self::NotAscii => (b"", "\u{2014}\u{65e5}-".as_bytes()),
            Self::Combining => (b"", "e\u{301}-".as_bytes()),
            Self::Composed => (b"", "\u{e9}-".as_bytes()),
            Self::Astral => (b"", "\u{1f600}-".as_bytes()),
        };
        [before, b".ftpfs-probe-", token.as_bytes(), after].concat()
    }

    /// Whether a name with this in it is stored where the server lets nothing be tried: the characters of most
    /// languages are kept nearly everywhere, and a refusal would shut out whole trees.
    fn is_allowed_unproved(self) -> bool {
        matches!(self, Self::NotAscii | Self::Combining | Self::Composed)
    }
}

/// What the server does with a suspicious thing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    /// It keeps it.
    Kept,
    /// It does not; why, in words.
    Changed(String),
}

/// What was proved so far.
#[derive(Debug, Default)]
pub(super) struct NameProofs(Mutex<HashMap<Suspicion, Proof>>);

impl Server {
    /// Makes sure that the server would keep the last name of `path` byte for byte. Round trips only for the first
    /// name of its kind.
    ///
    /// # Errors
    /// [`RemoteError::NameNotAllowed`]: it would not, or cannot be made sure; nothing was stored.
    pub(super) fn check_name(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<()> {
        let (Some(name), Some(parent)) = (path.name(), path.parent()) else { return Ok(()) };
        for suspicion in Suspicion::of(name.as_bytes()) {
            let known = self.known.names.0.lock().get(&suspicion).cloned();
            let proof = match known {
                Some(proof) => proof,
                None => match self.prove_name_kept(&parent, suspicion, deadline)? {
                    Some(proof) => {
                        self.known.names.0.lock().insert(suspicion, proof.clone());
                        proof
                    }
                    None if suspicion.is_allowed_unproved() => continue,
                    None => Proof::Changed(String::from("it does not let such names be tried out here")),
                },
            };
            if let Proof::Changed(reason) = proof {
                return Err(RemoteError::NameNotAllowed { reason });
            }
        }
        Ok(())
    }

    /// Makes an empty directory with the suspicious thing in its name, looks what became of it, and removes it.
    /// `None` where that cannot be found out here: no directory can be made, or the listing does not show all names.
    fn prove_name_kept(
        &self,
        parent: &RemotePath,
        suspicion: Suspicion,
        deadline: Instant,
    ) -> RemoteResult<Option<Proof>> {
        let token = random_token();
        let specimen = name_of(&suspicion.specimen(&token))?;
        let refusal = self.make_probe(&parent.join(&specimen), deadline)?;
        if let Some(reply) = refusal {
            let plain = parent.join(&name_of(format!(".ftpfs-probe-{token}").as_bytes())?);
            if self.make_probe(&plain, deadline)?.is_some() {
                return Ok(None);
            }
            self.remove_probe(&plain, deadline);
            return Ok(Some(Proof::Changed(refused(&reply).to_string())));
        }
        let listing = self.list(parent, deadline);
        let made: Vec<Name> = listing
            .as_ref()
            .map(|listing| listing.entries.iter().map(|entry| entry.name.clone()))
            .into_iter()
            .flatten()
            .filter(|name| contains(name.as_bytes(), token.as_bytes()))
            .collect();
        // Under the name that was sent, which leads the server to what it made of it; or else as it is listed.
        if !self.remove_probe(&parent.join(&specimen), deadline) {
            for name in made.iter().filter(|name| **name != specimen) {
                self.remove_probe(&parent.join(name), deadline);
            }
        }
        let is_complete = listing?.complete;
        Ok(Some(match made.as_slice() {
            [name] if *name == specimen => Proof::Kept,
            // A listing that was cut short, or hides names with a dot before them, says nothing of it.
            [] if !is_complete => return Ok(None),
            [name] => Proof::Changed(format!("it would store \"{specimen}\" as \"{name}\"")),
            _ => Proof::Changed(format!("a directory called \"{specimen}\" was made, and is not listed")),
        }))
    }

    /// Makes a directory to try a name out; the refusal, if the server refuses.
    fn make_probe(&self, path: &RemotePath, deadline: Instant) -> RemoteResult<Option<Reply>> {
        let reply = self.tell_one(Command::Mkd(path.clone()), deadline)?;
        Ok((reply.class() != ReplyClass::Completion).then_some(reply))
    }

    /// Whether the probe is gone.
    fn remove_probe(&self, path: &RemotePath, deadline: Instant) -> bool {
        match self.tell_one(Command::Rmd(path.clone()), deadline) {
            Ok(reply) if reply.class() == ReplyClass::Completion => return true,
            Ok(reply) => tracing::warn!(%path, %reply, "a directory made to try out a name was left behind"),
            Err(error) => tracing::warn!(%path, %error, "a directory made to try out a name may be left behind"),
        }
        false
    }
}

fn name_of(bytes: &[u8]) -> RemoteResult<Name> {
    Name::new(bytes).map_err(|error| RemoteError::NameNotAllowed { reason: error.to_string() })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_not_suspicious() {
        for name in ["a.txt", ".profile", "a b", "#x% [y]*?", "-rf", "a;type=i", "\"q\"", "a -> b", "..."] {
            let expected = if name == "..." { vec![Suspicion::LastPoint] } else { vec![] };
            assert_eq!(Suspicion::of(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn what_servers_are_known_to_change_is_suspicious() {
        use Suspicion::*;
        let table: &[(&[u8], &[Suspicion])] = &[
            (b" a", &[FirstSpace]),
            (b"a ", &[LastSpace]),
            (b"~a.", &[FirstTilde, LastPoint]),
            (b"a\tb\x7f\t", &[Control(b'\t'), Control(0x7F)]),
            (b"a\\b:c", &[Backslash, Colon]),
            (b"caf\xe9", &[NotUtf8]),
            (b"\xff", &[Telnet, NotUtf8]),
            ("é".as_bytes(), &[Composed]),
            ("e\u{301}".as_bytes(), &[Combining]),
            ("日本😀".as_bytes(), &[NotAscii, Astral]),
        ];
        for (name, expected) in table {
            assert_eq!(Suspicion::of(name), *expected, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn each_specimen_has_its_suspicious_thing_and_can_be_sent() {
        use Suspicion::*;
        let all = [
            Control(1),
            Control(0x7F),
            FirstSpace,
            LastSpace,
            LastPoint,
            FirstTilde,
            Backslash,
            Colon,
            Telnet,
            NotUtf8,
            NotAscii,
            Combining,
            Composed,
            Astral,
        ];
        for suspicion in all {
            let specimen = suspicion.specimen("0123abcd");
            assert!(Suspicion::of(&specimen).contains(&suspicion), "{suspicion:?}");
            assert!(Name::new(&specimen).is_ok(), "{suspicion:?}");
            assert!(contains(&specimen, b"0123abcd"), "{suspicion:?}");
        }
    }
}

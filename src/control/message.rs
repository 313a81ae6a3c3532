//! Requests as lines, and what they are answered with. docs/control.md is the same for people.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_encode};
use serde::{Deserialize, Serialize};

use crate::filesystem::DirtyFile;

/// Bytes of the longest request: a path of the kernel's longest, each byte percent-encoded.
pub(super) const REQUEST_LEN_MAX: usize = 3 * 4096 + 16;
/// Bytes of the longest reply; lists in it end before that.
pub(super) const REPLY_LEN_MAX: usize = 8 << 20;
/// Files that a reply names; how many there are in all it says beside.
pub(super) const FILES_MAX: usize = 1000;

/// What a mount can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `status`: answered with a [`Status`](super::Status), at once and from memory.
    Status,
    /// `flush`: upload what is dirty and deliver what is pending; answered with [`Flushed`] when each of these files has been tried.
    Flush,
    /// `refresh` or `refresh PATH`: forget; answered with [`Done`] when the kernel has been told too.
    Refresh {
        /// Relative to the mount's root, and empty for the root.
        path: Vec<u8>,
    },
    /// `end`: answered with [`Ended`] when the mount has ended.
    End,
}

impl Request {
    /// Understands a line.
    ///
    /// # Errors
    /// A sentence for whoever sent it.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (word, argument) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => (line.get(..space).unwrap_or_default(), line.get(space + 1..)),
            None => (line, None),
        };
        match (word, argument) {
            (b"status", None) => Ok(Self::Status),
            (b"flush", None) => Ok(Self::Flush),
            (b"end", None) => Ok(Self::End),
            (b"refresh", argument) => {
                Ok(Self::Refresh { path: percent_decode(argument.unwrap_or_default()).collect() })
            }
            _ => Err("the requests are: status, flush, refresh [PATH], end".into()),
        }
    }

    /// The line, with its end.
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Status => "status\n".into(),
            Self::Flush => "flush\n".into(),
            Self::Refresh { path } if path.is_empty() => "refresh\n".into(),
            Self::Refresh { path } => format!("refresh {}\n", percent_encode(path, NON_ALPHANUMERIC)),
            Self::End => "end\n".into(),
        }
    }
}

/// A reply as it stands in its line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Reply<T> {
    /// The request was not obeyed.
    Refused {
        /// Why, as a sentence.
        error: String,
    },
    /// It was.
    Answer(T),
}

/// The request was obeyed, and there is nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Always true.
    pub done: bool,
}

/// A file that is not on the server as it is in the mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Unsaved {
    /// Its path on the server, as logs show it: what is no character stands as `\x` and two digits.
    pub path: String,
    /// Its size in the mount.
    pub bytes: u64,
    /// For how long the server has lacked something of it.
    pub dirty_seconds: u64,
    /// Whether a program has it open for writing.
    pub open: bool,
    /// Why the last upload failed, where one was tried and did.
    pub error: Option<String>,
    /// How much of it is on its way or on the server already.
    pub sent: u64,
    /// Whether all of it is in the journal: it survives the mount, and the next one delivers it.
    pub in_journal: bool,
}

impl From<&DirtyFile> for Unsaved {
    fn from(file: &DirtyFile) -> Self {
        Self {
            path: file.path.to_string(),
            bytes: file.size,
            dirty_seconds: file.dirty_for.as_secs(),
            open: file.open,
            error: file.error.as_ref().map(ToString::to_string),
            sent: file.sent,
            in_journal: file.in_journal,
        }
    }
}

/// What came of uploading all that was dirty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Flushed {
    /// How many of the files could not be uploaded.
    pub failed_count: usize,
    /// How many of these are in the journal.
    pub kept_count: usize,
    /// Which (the first thousand of them).
    pub failed: Vec<Unsaved>,
}

/// How a mount ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// The exit code of its process.
    pub exit: u8,
    /// How many files are not on the server.
    pub unsaved_count: usize,
    /// How many of these are in the journal: the next mount delivers them.
    pub kept_count: usize,
    /// Which (the first thousand of them).
    pub unsaved: Vec<Unsaved>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_their_line() {
        let path = (0..=255).collect::<Vec<u8>>();
        for request in [
            Request::Status,
            Request::Flush,
            Request::End,
            Request::Refresh { path: Vec::new() },
            Request::Refresh { path },
        ] {
            let line = request.encode();
            assert_eq!(Request::parse(line.strip_suffix('\n').unwrap().as_bytes()), Ok(request));
        }
        assert_eq!(Request::parse(b"status\r"), Ok(Request::Status));
    }

    #[test]
    fn longest_path_fits_a_request() {
        assert!(Request::Refresh { path: vec![b'/'; 4096] }.encode().len() <= REQUEST_LEN_MAX);
    }

    #[test]
    fn what_is_no_request_is_answered_with_the_list_of_them() {
        for line in [&b""[..], b"STATUS", b"status now", b"shutdown", b" ", b"\0"] {
            assert!(Request::parse(line).unwrap_err().contains("refresh [PATH]"));
        }
    }

    #[test]
    fn refusal_is_told_from_an_answer() {
        let refused: Reply<Flushed> = serde_json::from_str(r#"{"error":"no"}"#).unwrap();
        assert_eq!(refused, Reply::Refused { error: "no".into() });
        let answer: Reply<Flushed> = serde_json::from_str(r#"{"failed_count":0,"failed":[],"new":1}"#).unwrap();
        assert_eq!(answer, Reply::Answer(Flushed::default()));
    }
}

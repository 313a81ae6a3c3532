//! A line on the terminal that says how much is left, and is gone when nothing is.

use std::io::{self, IsTerminal, Write};

use super::status_text::{bytes, count};
use crate::control::Status;
use crate::control::status::DirtyStatus;

/// The line; nothing where the standard error is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    is_shown: bool,
}

impl Progress {
    /// No line yet.
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), is_shown: false }
    }

    /// Whether anybody sees it.
    pub(super) fn is_seen(&self) -> bool {
        self.is_terminal
    }

    /// Shows what is left now.
    pub(super) fn show(&mut self, status: &Status) {
        let DirtyStatus { count: files, bytes: left, .. } = status.dirty;
        let writing = status.connections.as_ref().map_or(0, |connections| connections.writing);
        if self.is_terminal && files > 0 {
            self.is_shown = true;
            // A terminal that is gone is no reason to stop.
            let _ = write!(
                io::stderr().lock(),
                "\r\x1b[K{}, {} not on the server yet; {} under way",
                count(files, "file"),
                bytes(left),
                count(writing, "upload")
            );
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

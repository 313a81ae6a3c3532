//! The user's side: arguments, credentials, messages, exit codes.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with its arguments, the first being its own name.
pub fn run(_arguments: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::FAILURE
}

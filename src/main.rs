//! The `ftpfs` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftpfs::cli::run(std::env::args_os())
}

//! Where log lines go, and which.
//!
//! Three levels: what went wrong (always), what is done (`-v`), every detail (`-vv`); the dialogue with the server has a
//! switch of its own. No line holds a password: [`Secret`](crate::protocol::Secret) cannot be shown.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::panic;
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use super::syslog::Syslog;

/// Lines of a status that somebody has asked for.
pub(super) const STATUS_TARGET: &str = "ftpfs::status";

/// Which lines are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verbosity {
    /// How often `-v` was given.
    pub(super) verbose: u8,
    /// Every command and reply.
    pub(super) dialogue: bool,
}

/// Where lines go.
#[derive(Debug)]
pub(super) enum Destination {
    /// The terminal, or whatever the standard error is.
    Terminal,
    /// A file, appended to.
    File(File),
    /// The system's log, if there is one.
    Syslog,
}

impl Destination {
    /// A file for appending; its owner alone may read it, for names of files are nobody else's business.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(Self::File)
    }
}

/// Starts logging; panics are logged from then on too. Only the first call of a process has an effect.
pub(super) fn start(verbosity: Verbosity, destination: Destination) {
    let subscriber = fmt().with_env_filter(filter(verbosity)).with_ansi(false);
    // Fails only where logging has begun already.
    let _ = match destination {
        Destination::Terminal => {
            let colours = io::stderr().is_terminal();
            subscriber.with_writer(io::stderr).with_ansi(colours).without_time().try_init()
        }
        Destination::File(file) => subscriber.with_writer(Arc::new(file)).try_init(),
        Destination::Syslog => match Syslog::connect() {
            Ok(syslog) => subscriber.with_writer(syslog).without_time().with_level(false).try_init(),
            // No log at all is no reason not to mount; --log-file is there for such machines.
            Err(_no_syslog) => subscriber.with_writer(io::sink).try_init(),
        },
    };
    panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

fn filter(verbosity: Verbosity) -> EnvFilter {
    let levels = match verbosity.verbose {
        // What concerns the user we say ourselves: fuser calls it an error when the kernel no longer wants a reply, as after
        // every Ctrl-C, and the demonstration's server warns of each question that it answers with no.
        0 => "off,ftpfs=warn",
        1 => "off,ftpfs=info",
        _ => "info,fuser=info,ftpfs=debug",
    };
    let dialogue = if verbosity.dialogue { "trace" } else { "off" };
    EnvFilter::new(format!("{levels},ftpfs::dialogue={dialogue},{STATUS_TARGET}=info"))
}

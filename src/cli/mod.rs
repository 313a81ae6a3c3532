//! The user's side: arguments, credentials, messages, exit codes.
//!
//! [`run`] is the whole program. What it does in order: understand the command line (`invocation`, `arguments`, `config`), find
//! the passwords (`credentials`, `proxy`), hand them to the process that stays (`handover`, `background`), then the mount itself (`serve`).
//! The commands for a mount that is there (`requests`, `flush`, `unmount`) talk to its process (`control`).

mod arguments;
mod background;
mod cache_directory;
mod config;
mod credentials;
mod encryption;
mod exit_code;
mod flush;
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod invocation;
mod keyring;
mod limits;
mod logging;
mod messages;
mod netrc;
mod notify;
mod progress;
mod proxy;
mod recovery;
mod requests;
mod serve;
mod state;
mod status_text;
mod syslog;
mod unmount;
mod url;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

pub use exit_code::Exit;

use arguments::MountArguments;
use background::{Shown, Stage, Started};
use config::Config;
use credentials::Surroundings;
use handover::{Handover, Logins};
use invocation::Invocation;
use logging::Destination;
use messages::Failed;
use proxy::ProxyError;

/// Runs the program with its arguments, the first being its own name.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let result = match arguments.get(1).and_then(|first| Stage::marked(first)) {
        Some(stage) => take_over(stage),
        None => obey(&arguments),
    };
    result.unwrap_or_else(|failed| {
        // A URL may stand where a mountpoint should.
        let text = failed.to_string();
        let text = without_passwords(&text, &arguments).unwrap_or(text);
        // Where nobody can be told, the exit code says it.
        let _ = writeln!(io::stderr().lock(), "{text}");
        failed.exit.into()
    })
}

/// Does what the command line says.
fn obey(arguments: &[OsString]) -> Result<ExitCode, Failed> {
    match invocation::parse(arguments) {
        Ok(Invocation::Mount(options)) => mount(arguments, &options),
        Ok(Invocation::Umount(options)) => unmount::run(&options),
        Ok(Invocation::Status(options)) => requests::status(&options),
        Ok(Invocation::Flush(options)) => flush::flush(&options),
        Ok(Invocation::Refresh(options)) => requests::refresh(&options),
        Ok(Invocation::Nothing) => Ok(Exit::Success.into()),
        Err(error) => {
            // Help and version are no errors, and go to the standard output.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            // Where nobody can be told, the exit code says it.
            let _ = match without_passwords(&error.to_string(), arguments) {
                Some(text) => io::stderr().lock().write_all(text.as_bytes()),
                None => error.print(),
            };
            Ok(code.into())
        }
    }
}

/// A text that may repeat arguments, without the passwords in these; `None` where they hold none.
fn without_passwords(text: &str, arguments: &[OsString]) -> Option<String> {
    let arguments = arguments.iter().filter_map(|argument| argument.to_str());
    let passwords: Vec<&str> = arguments.filter_map(url::password_in).collect();
    let hide = |text: String, password: &&str| text.replace(&format!(":{password}@"), "@");
    (!passwords.is_empty()).then(|| passwords.iter().fold(text.to_owned(), hide))
}

/// Finds the passwords, then mounts in the foreground, or starts the process that does in the background.
fn mount(arguments: &[OsString], options: &MountArguments) -> Result<ExitCode, Failed> {
    limits::forbid_core_dumps();
    let config = configure(options)?;
    // Of the process for the background, warnings are for the terminal until it has taken over.
    let log = if options.foreground { destination(&config, Destination::Terminal)? } else { Destination::Terminal };
    logging::start(config.verbosity, log);
    let logins = find_logins(options, &config)?;
    let mut arguments = handover::without(arguments, options.connection.proxy.as_deref().unwrap_or_default(), "none");
    if config.url.password.is_some() {
        arguments = handover::without(&arguments, &options.url, &config.url.to_string());
    }
    let handover = Handover { arguments, logins };
    if options.foreground || shows_passwords(options, &config) {
        let url = config.url.to_string();
        let error = background::start_anew(&handover, Shown { url: &url, mountpoint: &config.mountpoint });
        tracing::warn!(
            "the program could not start itself anew, so passwords may stay visible in the list of processes: {error}"
        );
    }
    serve_or_go_to_background(options, &config, handover)
}

/// Goes on where another process of the program has stopped.
fn take_over(stage: Stage) -> Result<ExitCode, Failed> {
    let not_for_you = |error: String| Failed::new(Exit::Usage, format!("this form is for ftpfs itself: {error}"));
    limits::forbid_core_dumps();
    if stage == Stage::Background {
        // Fails only for the leader of a process group, which a child of ours is not.
        let _ = rustix::process::setsid();
    }
    let handover = Handover::receive().map_err(|error| not_for_you(error.to_string()))?;
    let options = match invocation::parse(&handover.arguments) {
        Ok(Invocation::Mount(options)) => options,
        Ok(_) => return Err(not_for_you(String::from("nothing is to be mounted"))),
        Err(error) => return Err(not_for_you(error.to_string())),
    };
    let config = configure(&options)?;
    let usual = if stage == Stage::Background { Destination::Syslog } else { Destination::Terminal };
    let is_last = stage == Stage::Background || options.foreground;
    logging::start(config.verbosity, if is_last { destination(&config, usual)? } else { usual });
    match stage {
        Stage::Background => Ok(serve::run(&config, handover.logins, background::announce_ready)?.into()),
        Stage::Anew => serve_or_go_to_background(&options, &config, handover),
    }
}

fn serve_or_go_to_background(
    options: &MountArguments,
    config: &Config,
    handover: Handover,
) -> Result<ExitCode, Failed> {
    if options.foreground {
        return Ok(serve::run(config, handover.logins, || Ok(()))?.into());
    }
    let url = config.url.to_string();
    match background::start(&handover, Shown { url: &url, mountpoint: &config.mountpoint }) {
        Ok(Started::Ready) => Ok(Exit::Success.into()),
        Ok(Started::Ended(code)) => Ok(code.into()),
        Err(error) => Err(Failed::new(
            Exit::Failure,
            format!("cannot go to the background: {error} (-f stays in the foreground)"),
        )),
    }
}

/// Whether arguments or environment of this process hold a password, or may.
fn shows_passwords(options: &MountArguments, config: &Config) -> bool {
    let has_login = |text: &OsStr| text.as_bytes().contains(&b'@');
    config.url.password.is_some()
        || options.connection.proxy.as_deref().is_some_and(|proxy| has_login(OsStr::new(proxy)))
        || [credentials::PASSWORD_VARIABLE, proxy::PASSWORD_VARIABLE]
            .into_iter()
            .any(|name| env::var_os(name).is_some())
        || proxy::VARIABLES.into_iter().filter_map(env::var_os).any(|value| has_login(&value))
}

fn configure(options: &MountArguments) -> Result<Config, Failed> {
    Config::new(options).map_err(|error| Failed::new(Exit::Usage, error.to_string()))
}

fn find_logins(options: &MountArguments, config: &Config) -> Result<Logins, Failed> {
    let surroundings = Surroundings::of_process();
    let proxy = proxy::find(&options.connection, &config.url, &surroundings).map_err(|error| {
        let exit = if matches!(error, ProxyError::Password(_)) { Exit::Credentials } else { Exit::Usage };
        Failed::new(exit, error.to_string())
    })?;
    let server = credentials::find(&options.login, &config.url, &surroundings)
        .map_err(|error| Failed::new(Exit::Credentials, error.to_string()))?;
    Ok(Logins { server, proxy })
}

fn destination(config: &Config, otherwise: Destination) -> Result<Destination, Failed> {
    let Some(path) = &config.log_file else { return Ok(otherwise) };
    Destination::file(path)
        .map_err(|error| Failed::new(Exit::Usage, format!("cannot log to {}: {error}", path.display())))
}

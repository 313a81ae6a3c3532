//! The user's side: arguments, credentials, messages, exit codes.
//!
//! [`run`] is the whole program. What it does in order: understand the command line (`invocation`, `arguments`, `config`), find
//! the password (`credentials`), go to the background (`background`), then the mount itself (`serve`).
//! The commands for a mount that is there (`requests`, `flush`, `unmount`) talk to its process (`control`).

mod arguments;
mod background;
mod config;
mod credentials;
mod encryption;
mod exit_code;
mod flush;
mod invocation;
mod limits;
mod logging;
mod messages;
mod netrc;
mod notify;
mod progress;
mod recovery;
mod requests;
mod serve;
mod state;
mod status_text;
mod syslog;
mod unmount;
mod url;

use std::ffi::OsString;
use std::process::ExitCode;

pub use exit_code::Exit;

use arguments::MountArguments;
use background::Started;
use config::Config;
use invocation::Invocation;
use logging::Destination;
use messages::Failed;

/// Runs the program with its arguments, the first being its own name.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let result = match invocation::parse(&arguments) {
        Ok(Invocation::Mount { arguments: options, in_background: true }) => stay_in_background(&options),
        Ok(Invocation::Mount { arguments: options, in_background: false }) => mount(&arguments, &options),
        Ok(Invocation::Umount(options)) => unmount::run(&options),
        Ok(Invocation::Status(options)) => requests::status(&options),
        Ok(Invocation::Flush(options)) => flush::flush(&options),
        Ok(Invocation::Refresh(options)) => requests::refresh(&options),
        Ok(Invocation::Nothing) => Ok(Exit::Success.into()),
        Err(error) => {
            // Help and version are no errors, and go to the standard output.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            let _ = error.print();
            Ok(code.into())
        }
    };
    result.unwrap_or_else(|failed| {
        failed.tell();
        failed.exit.into()
    })
}

/// Mounts in the foreground, or starts the process that does in the background.
fn mount(arguments: &[OsString], options: &MountArguments) -> Result<ExitCode, Failed> {
    let config = configure(options)?;
    if options.foreground {
        logging::start(config.verbosity, destination(&config, Destination::Terminal)?);
        let credentials = find_credentials(options, &config)?;
        return Ok(serve::run(&config, credentials, || Ok(()))?.into());
    }
    // Until the other process has taken over, warnings are for the terminal.
    logging::start(config.verbosity, Destination::Terminal);
    let credentials = find_credentials(options, &config)?;
    match background::start(arguments, &options.url, &config.url.to_string(), &credentials) {
        Ok(Started::Ready) => Ok(Exit::Success.into()),
        Ok(Started::Ended(code)) => Ok(code.into()),
        Err(error) => Err(Failed::new(
            Exit::Failure,
            format!("cannot go to the background: {error} (-f stays in the foreground)"),
        )),
    }
}

/// The process in the background.
fn stay_in_background(options: &MountArguments) -> Result<ExitCode, Failed> {
    let credentials = background::enter()
        .map_err(|error| Failed::new(Exit::Usage, format!("this form is for ftpfs itself: {error}")))?;
    let config = configure(options)?;
    logging::start(config.verbosity, destination(&config, Destination::Syslog)?);
    Ok(serve::run(&config, credentials, background::announce_ready)?.into())
}

fn configure(options: &MountArguments) -> Result<Config, Failed> {
    Config::new(options).map_err(|error| Failed::new(Exit::Usage, error.to_string()))
}

fn find_credentials(options: &MountArguments, config: &Config) -> Result<credentials::Credentials, Failed> {
    credentials::find(&options.login, &config.url).map_err(|error| Failed::new(Exit::Credentials, error.to_string()))
}

fn destination(config: &Config, otherwise: Destination) -> Result<Destination, Failed> {
    let Some(path) = &config.log_file else { return Ok(otherwise) };
    Destination::file(path)
        .map_err(|error| Failed::new(Exit::Usage, format!("cannot log to {}: {error}", path.display())))
}

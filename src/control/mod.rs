//! Talking to a mount from outside: what it is doing, upload now, forget, tell me your end.
//!
//! Each mount has a socket in the [`RuntimeDirectory`], which nobody but its user and root can reach. A request is a line, its
//! reply one line of JSON, and then the conversation is over ([`message`]; docs/control.md has every field). One thread
//! of the mount answers ([`ControlServer`]); `ftpfs status` and its like ask ([`Pending`], [`find`]).
//!
//! Not to be confused with the control connection, which is FTP's (`connection::control`).

pub mod client;
mod error;
pub mod line;
pub mod message;
pub mod runtime;
pub mod server;
pub mod status;

pub use client::{Pending, ask, find};
pub use error::ControlError;
pub use message::{Done, Ended, Flushed, Request, Unsaved};
pub use runtime::{RuntimeDirectory, Socket};
pub use server::ControlServer;
pub use status::{Status, Subject};

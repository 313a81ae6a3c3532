//! FTP as bytes and states: no sockets, no threads, no clock.
//!
//! Everything here can be tested with a transcript fed one byte at a time. Sources: RFC 959 (commands and
//! replies), RFC 2389 (FEAT), RFC 2428 (EPRT, EPSV), RFC 3659 (SIZE, MDTM, MLST, REST STREAM).
//!
//! Not here: sockets (`connection`), what a refusal means for a file (`remote::refusal`).
#![deny(clippy::indexing_slicing)]

pub mod command;
pub mod entry;
pub mod features;
pub mod listing;
pub mod passive;
pub mod path;
pub mod pipeline;
pub mod reply;
pub mod transfer;

pub use entry::{Entry, EntryKind, Precision, Timestamp};
pub use path::{Name, NameError, RemotePath};

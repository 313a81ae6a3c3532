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
pub mod secret;
pub mod timestamp;
pub mod transfer;

pub use command::{Command, CommandError, Encoding, TypeCode, UtimeSpelling};
pub use entry::{Entry, EntryKind, Precision, Timestamp};
pub use features::Features;
pub use passive::PassiveAddress;
pub use path::{Name, NameError, RemotePath};
pub use pipeline::{Expects, Pipeline};
pub use reply::{Reply, ReplyClass, ReplyCode, ReplyDecoder, ReplyLimits};
pub use secret::Secret;
pub use transfer::Transfer;

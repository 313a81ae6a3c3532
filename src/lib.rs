//! ftpfs: an FTP server as a folder.
//!
//! The modules stand in reading order, from the bottom up; each imports only from those above it in this
//! list, and `tests/architecture.rs` holds us to that. docs/architecture.md tells how they work together.
//!
//! A program that wants an FTP client rather than a mount needs [`remote`] alone.

pub mod cache;
pub mod cli;
pub mod connection;
pub mod control;
pub mod filesystem;
pub mod fuse;
pub mod journal;
pub mod pool;
pub mod protocol;
pub mod remote;

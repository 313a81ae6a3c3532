//! The remote on servers that do it wrong in the ways that servers in the field do (and that the four real ones here do not):
//! each test is one oddity, and what a program that trusts us gets to see of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::time::Duration;

use ftpfs::pool::ServerOptions;
use ftpfs::protocol::RemotePath;
use ftpfs::remote::{FileTransfers as _, FtpRemote, Remote, RemoteError, Stored, TransferError, WriteMode};
use odd_server::{OddServer, Quirks};

mod at_once;
mod breaks;
mod data_connections;
mod fetches;
mod listings;
mod namespace;
mod reads;
mod replies;
mod status_listings;
mod times;
mod writes;

#[path = "../support/odd_server.rs"]
mod odd_server;
#[path = "../support/odd_tree.rs"]
mod odd_tree;
#[path = "../support/scripted_server.rs"]
mod scripted_server;

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

/// Deadlines that end a wait soon, and none that this machine could miss under load.
fn options(server: &OddServer) -> ServerOptions {
    // RUST_LOG=ftpfs::dialogue=debug shows who said what.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.dialogue().port();
    options.deadlines.connect = Duration::from_secs(2);
    options.deadlines.reply = Duration::from_secs(3);
    options.deadlines.data = Duration::from_secs(3);
    options.operation_timeout = Duration::from_secs(15);
    options
}

/// A server with a file, a directory with a file in it, and an empty directory.
fn start(quirks: Quirks) -> (OddServer, FtpRemote) {
    start_with(quirks, |_| {})
}

fn start_with(quirks: Quirks, choose: impl FnOnce(&mut ServerOptions)) -> (OddServer, FtpRemote) {
    let server = OddServer::start(quirks);
    fill(&server);
    let mut options = options(&server);
    choose(&mut options);
    let remote = FtpRemote::connect(options).unwrap();
    (server, remote)
}

fn fill(server: &OddServer) {
    let mut tree = server.tree();
    tree.put_file("/old", b"old content");
    tree.put_file("/other", b"other");
    tree.put("/full", odd_tree::Node::Directory);
    tree.put_file("/full/file", b"in it");
    tree.put("/empty", odd_tree::Node::Directory);
}

/// The content of a file on the server.
#[track_caller]
fn content(server: &OddServer, path: &str) -> String {
    let tree = server.tree();
    let file = tree.file(path).unwrap_or_else(|| panic!("{path} is no file on the server"));
    String::from_utf8(file.bytes.clone()).unwrap()
}

/// All paths on the server.
fn paths(server: &OddServer) -> Vec<String> {
    server.tree().contents().into_keys().collect()
}

const FILLED: [&str; 5] = ["/empty", "/full", "/full/file", "/old", "/other"];

fn read(remote: &dyn Remote, at: &str, offset: u64) -> Result<String, RemoteError> {
    let mut bytes = Vec::new();
    match remote.retrieve(&path(at), offset, &mut bytes) {
        Ok(_) => Ok(String::from_utf8(bytes).unwrap()),
        Err(TransferError::Remote(error)) => Err(error),
        Err(TransferError::Local(error)) => panic!("{error}"),
    }
}

fn write(remote: &dyn Remote, at: &str, mode: WriteMode, bytes: &str) -> Result<Stored, RemoteError> {
    match remote.write_from(&path(at), mode, &mut bytes.as_bytes()) {
        Ok(stored) => Ok(stored),
        Err(TransferError::Remote(error)) => Err(error),
        Err(TransferError::Local(error)) => panic!("{error}"),
    }
}

const REPLACE: WriteMode = WriteMode::Replace { mode: None };

/// The names in a directory, sorted.
fn names(remote: &dyn Remote, directory: &str) -> Vec<String> {
    let listing = remote.list(&path(directory)).unwrap();
    let mut names: Vec<_> =
        listing.entries.iter().map(|entry| String::from_utf8(entry.name.as_bytes().to_vec()).unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(result: Result<T, RemoteError>, is_expected: fn(&RemoteError) -> bool) {
    match result {
        Err(error) if is_expected(&error) => {}
        other => panic!("{other:?}"),
    }
}

//! The remote on real servers: the contract that every `Remote` keeps, and what really lies in the server's folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use ftpfs::pool::ServerOptions;
use ftpfs::protocol::{EntryKind, Name, RemotePath, Secret};
use ftpfs::remote::memory::MemoryRemote;
use ftpfs::remote::{FileTransfers as _, FtpRemote, Remote as _, RemoteError, WriteMode};
use servers::{PASSWORD, Server, ServerKind, ServerSettings, USER};

#[path = "support/contract.rs"]
mod contract;
#[path = "support/servers.rs"]
mod servers;

/// With RUST_LOG=ftpfs=debug in the environment the dialogue is shown.
fn options(server: &Server) -> ServerOptions {
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    let mut options = ServerOptions::new("127.0.0.1");
    options.port = server.port();
    options.user = USER.as_bytes().into();
    options.password = Secret::new(PASSWORD);
    options
}

/// A server with an empty folder, and a remote that is logged in to it.
fn start(kind: ServerKind) -> Option<(Server, FtpRemote)> {
    let server = Server::start(kind, ServerSettings::default())?;
    let remote = FtpRemote::connect(options(&server)).unwrap_or_else(|error| panic!("{error}: {}", server.log()));
    Some((server, remote))
}

fn path(text: impl AsRef<[u8]>) -> RemotePath {
    RemotePath::parse(text.as_ref()).unwrap()
}

#[test]
fn contract_holds_in_memory() {
    contract::contract(&MemoryRemote::new());
}

fn contract_holds(kind: ServerKind) {
    let Some((_server, remote)) = start(kind) else { return };
    contract::contract(&remote);
}

fn contract_holds_on_one_connection(kind: ServerKind) {
    let settings = ServerSettings { connections_max: Some(1), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let mut options = options(&server);
    options.connections_max = 1;
    options.operation_timeout = Duration::from_secs(20);
    contract::contract_on_one_connection(&FtpRemote::connect(options).unwrap());
}

fn contract_holds_without_pipelining(kind: ServerKind) {
    let Some(server) = Server::start(kind, ServerSettings::default()) else { return };
    let mut options = options(&server);
    options.pipelining = false;
    contract::contract(&FtpRemote::connect(options).unwrap());
}

fn symbolic_links_are_shown_as_links_with_their_targets(kind: ServerKind) {
    let Some((server, remote)) = start(kind) else { return };
    let folder = server.folder();
    fs::create_dir(folder.join("d")).unwrap();
    fs::write(folder.join("f"), "12345").unwrap();
    for (link, target) in [("to file", "f"), ("to directory", "d"), ("broken", "no/where"), (".hidden", "a -> b")] {
        symlink(target, folder.join(link)).unwrap();
    }
    server.give("");
    let listing = remote.list(&RemotePath::root()).unwrap();
    assert!(listing.complete);
    let target = |name: &str| {
        let entry = listing.entries.iter().find(|entry| entry.name.as_bytes() == name.as_bytes());
        let entry = entry.unwrap_or_else(|| panic!("{name} is not in {listing:?}"));
        assert_eq!(entry.kind, EntryKind::Symlink, "{entry:?}");
        String::from_utf8(entry.link_target.clone().unwrap().into()).unwrap()
    };
    assert_eq!(target("to file"), "f");
    assert_eq!(target("to directory"), "d");
    assert_eq!(target("broken"), "no/where");
    assert_eq!(target(".hidden"), "a -> b");
    assert_eq!(listing.entries.len(), 6);
    // None of them is ever called absent, whatever the server says to MLST and SIZE.
    for name in ["to file", "to directory", "broken", ".hidden"] {
        remote.stat(&path(format!("/{name}"))).unwrap();
    }
    // A link is removed, never what it points to.
    remote.remove_file(&path("/to file")).unwrap();
    remote.remove_file(&path("/broken")).unwrap();
    assert_eq!(fs::read(folder.join("f")).unwrap(), b"12345");
}

fn directories_of_odd_names_are_listed_whole_whichever_way_the_server_is_asked(kind: ServerKind) {
    let Some((server, remote)) = start(kind) else { return };
    let odd = ["known", "known 2", "a b", "[x]*", "-dash", "~", "café", "{a,b}", "x->y"];
    for directory in odd {
        let folder = server.folder().join(directory);
        fs::create_dir(&folder).unwrap();
        for name in [".hidden", "plain", "sp ace", "-la", "[a-z]*", "213 End", "link -> x"] {
            fs::write(folder.join(name), directory).unwrap();
        }
        symlink("no/where", folder.join("link")).unwrap();
    }
    fs::create_dir(server.folder().join("empty")).unwrap();
    fs::write(server.folder().join("file"), "").unwrap();
    server.give("");
    let transfers = || remote.connections().unwrap().traffic.transfers;
    let mut before = 0;
    for (index, directory) in odd.into_iter().enumerate() {
        let listing = remote.list(&path(format!("/{directory}"))).unwrap();
        let mut names: Vec<_> = listing.entries.iter().map(|entry| entry.name.to_string()).collect();
        names.sort_unstable();
        let expected = ["-la", ".hidden", "213 End", "[a-z]*", "link", "link -> x", "plain", "sp ace"];
        assert_eq!(names, expected, "{directory}: {listing:?}");
        assert!(listing.complete, "{directory}");
        if index == 1 {
            before = transfers();
        }
    }
    let empty = remote.list(&path("/empty")).unwrap();
    assert_eq!((empty.entries.len(), empty.complete), (0, true));
    assert!(matches!(remote.list(&path("/missing")), Err(RemoteError::NotFound)));
    assert!(matches!(remote.list(&path("/file")), Err(RemoteError::NotDirectory)));
    fs::set_permissions(server.folder().join("a b"), Permissions::from_mode(0o000)).unwrap();
    let closed = remote.list(&path("/a b"));
    assert!(matches!(closed, Err(RemoteError::Refused { .. })), "{closed:?}");
    fs::remove_dir_all(server.folder().join("known")).unwrap();
    assert!(matches!(remote.list(&path("/known")), Err(RemoteError::NotFound)));
    // The missing ones, the closed one and the file may have cost one each, and two of them the look into their parent.
    let listed = odd.len() as u64 - 2 + 5 + 2;
    let most = if kind == ServerKind::Vsftpd { 0 } else { listed };
    let begun = transfers() - before;
    assert!(kind == ServerKind::Embedded || begun <= most, "{begun} transfers");
}

fn files_lie_in_the_servers_folder_as_they_were_written(kind: ServerKind) {
    let Some((server, remote)) = start(kind) else { return };
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 253) as u8).collect();
    remote.make_directory(&path("/a b")).unwrap();
    remote.store(&path("/a b/c"), &mut bytes.as_slice()).unwrap();
    assert!(fs::read(server.folder().join("a b/c")).unwrap() == bytes);
    for name in contract::awkward_names() {
        let place = server.folder().join(OsStr::from_bytes(&name));
        match remote.store(&RemotePath::root().join(&Name::new(&name).unwrap()), &mut name.as_slice()) {
            Ok(_) => assert_eq!(fs::read(&place).unwrap(), name, "{}", name.escape_ascii()),
            Err(error) => assert!(!place.exists(), "{error}"),
        }
    }
    for entry in fs::read_dir(server.folder()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(name == "a b" || contract::awkward_names().iter().any(|known| known == name.as_bytes()), "{name:?}");
    }
}

fn names_that_lie_in_the_folder_can_be_read(kind: ServerKind) {
    let Some((server, remote)) = start(kind) else { return };
    for name in contract::awkward_names() {
        fs::write(server.folder().join(OsStr::from_bytes(&name)), &name).unwrap();
    }
    server.give("");
    // These two say U+FFFD for bytes that are not UTF-8, and find nothing under the name that they say: those files
    // cannot be read, and an error is all there is to get.
    let changes_names = matches!(kind, ServerKind::Pyftpdlib | ServerKind::Embedded);
    let listing = remote.list(&RemotePath::root()).unwrap();
    for name in contract::awkward_names() {
        if changes_names && std::str::from_utf8(&name).is_err() {
            continue;
        }
        // And this one shows `_` for control characters, with the same effect.
        if kind == ServerKind::PureFtpd && name.iter().any(u8::is_ascii_control) {
            continue;
        }
        let Some(entry) = listing.entries.iter().find(|entry| entry.name.as_bytes() == name) else {
            panic!("{} is not listed", name.escape_ascii());
        };
        match remote.read_range(&RemotePath::root().join(&entry.name), 0, 1000) {
            Ok(bytes) => assert_eq!(bytes, name, "{}", name.escape_ascii()),
            // Pure-FTPd lists such a name and prohibits it.
            Err(error) => assert!(name.contains(&b'\\') && kind == ServerKind::PureFtpd, "{error}"),
        }
    }
}

fn listing_that_was_cut_short_proves_nothing_absent(kind: ServerKind) {
    let settings = ServerSettings { listing_max: Some(5), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let remote = FtpRemote::connect(options(&server)).unwrap();
    for number in 0..20 {
        fs::write(server.folder().join(format!("file{number}")), "1").unwrap();
    }
    server.give("");
    let listing = remote.list(&RemotePath::root()).unwrap();
    assert!(listing.entries.len() < 20 && !listing.complete && listing.cut_short, "{}", listing.entries.len());
    for number in 0..20 {
        assert_eq!(remote.stat(&path(format!("/file{number}"))).unwrap().size, Some(1));
    }
    assert_eq!(remote.stat(&path("/file20")), Err(RemoteError::NotFound));
}

fn names_beyond_ascii_are_stored_where_a_listing_cannot_show_them(kind: ServerKind) {
    let settings = ServerSettings { listing_max: Some(5), ..ServerSettings::default() };
    let Some(server) = Server::start(kind, settings) else { return };
    let remote = FtpRemote::connect(options(&server)).unwrap();
    for number in 0..20 {
        fs::write(server.folder().join(format!("file{number}")), "1").unwrap();
    }
    fs::create_dir(server.folder().join("d")).unwrap();
    server.give("");
    for name in ["/caf\u{e9}", "/d/caf\u{e9}"] {
        remote.store(&path(name), &mut &b"1"[..]).unwrap();
    }
    assert!(fs::read_dir(server.folder()).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        !name.as_bytes().starts_with(b".ftpfs")
    }));
}

fn directory_that_may_not_be_looked_into_is_neither_empty_nor_its_files_absent(kind: ServerKind) {
    let Some((server, remote)) = start(kind) else { return };
    if kind == ServerKind::Embedded || !servers::is_root() {
        return; // It runs as we do: to root nothing is forbidden, and others cannot give files away.
    }
    for (name, mode) in [("unlisted", 0o311), ("closed", 0o600), ("none", 0o000)] {
        let folder = server.folder().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("f"), "123").unwrap();
        server.give(name);
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
    }
    // What a listing shows here is known before.
    assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 3);
    for name in ["/unlisted", "/closed", "/none"] {
        let listed = remote.list(&path(name));
        let is_truth = match &listed {
            Ok(listing) => listing.entries.len() == 1,
            Err(error) => matches!(error, RemoteError::Refused { .. }),
        };
        assert!(is_truth, "{name}: {listed:?}");
        assert_ne!(remote.stat(&path(format!("{name}/f"))).err(), Some(RemoteError::NotFound), "{name}");
        assert_ne!(remote.remove_file(&path(format!("{name}/g"))), Ok(()), "{name}");
    }
    assert_eq!(remote.stat(&path("/unlisted/f")).unwrap().size, Some(3));
}

fn half_an_upload_that_nobody_goes_on_with_is_removed(kind: ServerKind) {
    let Some((server, remote)) = start(kind) else { return };
    let place = |name: &str| server.folder().join(name);
    let (old, young) = (".ftpfs-0123456789abcdef.part", ".ftpfs-0123456789abcdee.part");
    for name in [old, young] {
        fs::write(place(name), "half").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    fs::File::options().write(true).open(place(old)).unwrap().set_modified(long_ago).unwrap();
    server.give("");
    remote.store(&path("/file"), &mut &b"1"[..]).unwrap();
    remote.list(&RemotePath::root()).unwrap();
    servers::wait_until("what was left behind is gone", || !place(old).exists());
    assert!(place(young).exists());
}

fn restarted_server_costs_no_operation_its_truth(kind: ServerKind) {
    let Some(mut server) = Server::start(kind, ServerSettings::default()) else { return };
    let mut options = options(&server);
    options.operation_timeout = Duration::from_secs(6);
    let remote = FtpRemote::connect(options).unwrap();
    remote.store(&path("/kept"), &mut &b"1"[..]).unwrap();
    server.restart();
    assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 1);
    server.restart();
    remote.rename(&path("/kept"), &path("/renamed")).unwrap();
    server.restart();
    remote.make_directory(&path("/made")).unwrap();
    server.restart();
    assert_eq!(remote.stat(&path("/kept")), Err(RemoteError::NotFound));
    server.restart();
    remote.remove_file(&path("/renamed")).unwrap();
    let mut stream = remote.open_write(&path("/half"), WriteMode::Create).unwrap();
    stream.write_all(b"half").unwrap();
    server.stop();
    let error = stream.finish().unwrap_err();
    assert!(
        matches!(
            error,
            RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. } | RemoteError::Interrupted { .. }
        ),
        "{error}"
    );
    let error = remote.list(&RemotePath::root()).unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. }), "{error}");
    server.restart();
    assert!(remote.list(&RemotePath::root()).is_ok());
}

macro_rules! on {
    ($($server:ident = $kind:ident: $($fact:ident)*;)*) => {$(
        mod $server {
            $(#[test] fn $fact() { super::$fact(super::ServerKind::$kind) })*
        }
    )*};
}

on! {
    vsftpd = Vsftpd:
        contract_holds contract_holds_on_one_connection contract_holds_without_pipelining
        symbolic_links_are_shown_as_links_with_their_targets files_lie_in_the_servers_folder_as_they_were_written
        names_that_lie_in_the_folder_can_be_read
        directories_of_odd_names_are_listed_whole_whichever_way_the_server_is_asked
        directory_that_may_not_be_looked_into_is_neither_empty_nor_its_files_absent
        restarted_server_costs_no_operation_its_truth half_an_upload_that_nobody_goes_on_with_is_removed;
    proftpd = Proftpd:
        contract_holds contract_holds_on_one_connection contract_holds_without_pipelining
        symbolic_links_are_shown_as_links_with_their_targets files_lie_in_the_servers_folder_as_they_were_written
        names_that_lie_in_the_folder_can_be_read
        directories_of_odd_names_are_listed_whole_whichever_way_the_server_is_asked
        directory_that_may_not_be_looked_into_is_neither_empty_nor_its_files_absent
        restarted_server_costs_no_operation_its_truth half_an_upload_that_nobody_goes_on_with_is_removed;
    pure_ftpd = PureFtpd:
        contract_holds contract_holds_on_one_connection contract_holds_without_pipelining
        symbolic_links_are_shown_as_links_with_their_targets files_lie_in_the_servers_folder_as_they_were_written
        names_that_lie_in_the_folder_can_be_read
        directories_of_odd_names_are_listed_whole_whichever_way_the_server_is_asked
        directory_that_may_not_be_looked_into_is_neither_empty_nor_its_files_absent
        restarted_server_costs_no_operation_its_truth half_an_upload_that_nobody_goes_on_with_is_removed
        listing_that_was_cut_short_proves_nothing_absent
        names_beyond_ascii_are_stored_where_a_listing_cannot_show_them;
    pyftpdlib = Pyftpdlib:
        contract_holds contract_holds_on_one_connection contract_holds_without_pipelining
        symbolic_links_are_shown_as_links_with_their_targets files_lie_in_the_servers_folder_as_they_were_written
        names_that_lie_in_the_folder_can_be_read
        directories_of_odd_names_are_listed_whole_whichever_way_the_server_is_asked
        directory_that_may_not_be_looked_into_is_neither_empty_nor_its_files_absent
        restarted_server_costs_no_operation_its_truth half_an_upload_that_nobody_goes_on_with_is_removed;
    embedded = Embedded:
        contract_holds contract_holds_without_pipelining
        symbolic_links_are_shown_as_links_with_their_targets files_lie_in_the_servers_folder_as_they_were_written
        names_that_lie_in_the_folder_can_be_read
        directory_that_may_not_be_looked_into_is_neither_empty_nor_its_files_absent
        restarted_server_costs_no_operation_its_truth half_an_upload_that_nobody_goes_on_with_is_removed;
}

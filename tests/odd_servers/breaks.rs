//! A connection that breaks off at each command of each operation, before and after it is obeyed: once, so that
//! everything can still be done, and has to be.

use ftpfs::remote::{FtpRemote, Remote as _, RemoteError, RemoteResult, WriteMode};

use super::at_once::{ORDERLY, store_whole, wait_for_the_next_port};
use super::odd_server::{Break, OddServer, Quirks};
use super::{FILLED, REPLACE, assert_error, content, fill, names, options, path, paths, read, write};

type Operation = fn(&FtpRemote) -> RemoteResult<()>;

const BREAKS: [Break; 5] = [Break::Before, Break::Before421, Break::After, Break::After421, Break::Deaf];

fn start(quirks: &Quirks) -> (OddServer, FtpRemote) {
    let server = OddServer::start(quirks.clone());
    fill(&server);
    let mut options = options(&server);
    options.backoff_min = std::time::Duration::from_millis(10);
    let remote = FtpRemote::connect(options).unwrap();
    // Both kinds of session are there, and what is proved once is proved.
    names(&remote, "/full");
    remote.stat(&path("/old")).unwrap();
    (server, remote)
}

/// Breaks the connection at each command in turn; the operation has to succeed, and to leave what it leaves unbroken.
fn survives(operation: Operation, breaks: &[Break]) {
    survives_on(Quirks::default(), operation, breaks);
}

fn survives_on(quirks: Quirks, operation: Operation, breaks: &[Break]) {
    for has_facts in [true, false] {
        let quirks = Quirks { has_facts, sets_time_by: &["MFMT"], ..quirks.clone() };
        let (server, remote) = start(&quirks);
        let before = server.dialogue().commands().len();
        operation(&remote).unwrap();
        let commands = server.dialogue().commands().split_off(before);
        let expected = server.tree().contents();
        for (count, command) in commands.iter().enumerate() {
            for how in breaks {
                let (server, remote) = start(&quirks);
                server.break_at(count, *how);
                let result = operation(&remote);
                assert!(result.is_ok(), "{how:?} at {command} of {commands:?}: {result:?}");
                assert_eq!(server.tree().contents(), expected, "{how:?} at {command} of {commands:?}");
            }
        }
    }
}

#[test]
fn questions_are_asked_again() {
    survives(
        |remote| {
            assert_eq!(remote.stat(&path("/old"))?.size, Some(11));
            assert_eq!(remote.stat(&path("/absent")), Err(RemoteError::NotFound));
            assert_eq!(remote.list(&path("/full"))?.entries.len(), 1);
            Ok(())
        },
        &BREAKS,
    );
}

#[test]
fn rename_is_done_once() {
    survives(|remote| remote.rename(&path("/old"), &path("/new")), &BREAKS);
}

#[test]
fn rename_over_a_file_is_done_once() {
    survives(|remote| remote.rename(&path("/other"), &path("/old")), &BREAKS);
}

#[test]
fn order_that_is_obeyed_late_is_no_refusal_when_it_was_given_again() {
    let operations: [Operation; 4] = [
        |remote| remote.rename(&path("/old"), &path("/new")),
        |remote| remote.rename(&path("/other"), &path("/old")),
        |remote| remote.remove_file(&path("/old")),
        |remote| remote.remove_directory(&path("/empty")),
    ];
    for operation in operations {
        survives_on(Quirks { banner: ORDERLY, ..Quirks::default() }, operation, &[Break::Late]);
    }
}

#[test]
fn complete_file_that_gets_its_name_late_is_stored() {
    let (server, remote) = start(&Quirks { banner: ORDERLY, ..Quirks::default() });
    let mut stream = remote.open_whole(&path("/old"), REPLACE, b"new content").unwrap();
    wait_for_the_next_port(&server);
    server.break_at(0, Break::Late);
    stream.finish().unwrap();
    drop(stream);
    assert_eq!((content(&server, "/old").as_str(), paths(&server)), ("new content", FILLED.map(String::from).to_vec()));
}

/// The temporary file has gone, as by another mount that takes it for left behind; and what it was to replace has as many bytes.
#[test]
fn file_of_the_same_length_does_not_prove_a_rename_whose_reply_was_lost() {
    for has_facts in [true, false] {
        for how in [Break::Before, Break::Before421] {
            let (server, remote) = start(&Quirks { banner: ORDERLY, has_facts, ..Quirks::default() });
            let mut stream = remote.open_whole(&path("/old"), REPLACE, b"new content").unwrap();
            let temporary = paths(&server).into_iter().find(|path| path.ends_with(".part")).unwrap();
            server.tree().remove(&temporary);
            wait_for_the_next_port(&server);
            server.break_at(0, how);
            assert_error(stream.finish(), RemoteError::is_worth_another_try);
            assert_eq!(content(&server, "/old"), "old content");
            assert_eq!(server.dialogue().count("RNTO"), 0, "{:?}", server.dialogue().commands());
        }
    }
}

/// The same where the connection holds: that it is gone is no reason to give up what it is to become.
#[test]
fn complete_file_that_has_gone_is_to_be_stored_again() {
    let (server, remote) = start(&Quirks { banner: ORDERLY, ..Quirks::default() });
    let mut stream = remote.open_whole(&path("/old"), REPLACE, b"new content").unwrap();
    let temporary = paths(&server).into_iter().find(|path| path.ends_with(".part")).unwrap();
    server.tree().remove(&temporary);
    assert_error(stream.finish(), RemoteError::is_worth_another_try);
    assert_eq!(content(&server, "/old"), "old content");
}

#[test]
fn file_is_removed_once() {
    survives(|remote| remote.remove_file(&path("/old")), &BREAKS);
}

#[test]
fn directory_is_removed_once() {
    survives(|remote| remote.remove_directory(&path("/empty")), &BREAKS);
}

#[test]
fn directory_is_made_once() {
    survives(|remote| remote.make_directory(&path("/new")), &BREAKS);
}

#[test]
fn time_is_set() {
    survives(|remote| remote.set_modified(&path("/old"), super::times::TIME).map(|_| ()), &BREAKS);
}

/// The error is one that tells the caller to try again, and the second try is right.
fn again(mut operation: impl FnMut() -> RemoteResult<()>) -> RemoteResult<()> {
    match operation() {
        Err(error) if error.is_worth_another_try() => operation(),
        result => result,
    }
}

#[test]
fn file_is_read_or_the_break_is_told() {
    survives(
        |remote| {
            again(|| {
                assert_eq!(read(remote, "/old", 0)?, "old content");
                Ok(())
            })
        },
        &BREAKS,
    );
}

#[test]
fn file_is_replaced_or_the_break_is_told_and_nothing_is_left_behind() {
    survives(|remote| again(|| write(remote, "/old", REPLACE, "new").map(|_| ())), &BREAKS);
}

#[test]
fn file_is_created_or_the_break_is_told() {
    survives(|remote| again(|| write(remote, "/new", WriteMode::Create, "new").map(|_| ())), &BREAKS);
}

#[test]
fn file_stored_at_once_is_there_or_the_break_is_told_and_nothing_is_left_behind() {
    let quirks = Quirks { banner: ORDERLY, ..Quirks::default() };
    let replace: Operation = |remote| again(|| store_whole(remote, "/old", REPLACE, "new").map(|_| ()));
    // Not one that falls silent and obeys later: whoever looks meanwhile sees what is half done.
    let (_deaf, breaks) = BREAKS.split_last().unwrap();
    survives_on(quirks.clone(), replace, breaks);
    let create: Operation = |remote| again(|| store_whole(remote, "/new", WriteMode::Create, "new").map(|_| ()));
    survives_on(quirks, create, &[BREAKS.as_slice(), &[Break::AfterData]].concat());
}

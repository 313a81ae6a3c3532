//! Renaming, removing, making; names that are stored as others.

use ftpfs::remote::{Remote as _, RemoteError, WriteMode};

use super::odd_server::{Quirks, RenameOver};
use super::{FILLED, REPLACE, assert_error, content, path, paths, read, start, write};

#[test]
fn file_is_replaced_by_rename_where_the_server_refuses_taken_names() {
    for refusal in ["550 File exists", "553 Permission denied", "450 Try again"] {
        for has_facts in [true, false] {
            let (server, remote) =
                start(Quirks { rename_over: RenameOver::Refuses(refusal), has_facts, ..Quirks::default() });
            remote.rename(&path("/other"), &path("/old")).unwrap();
            assert_eq!(content(&server, "/old"), "other");
            assert_eq!(paths(&server), ["/empty", "/full", "/full/file", "/old"]);
        }
    }
}

#[test]
fn file_is_replaced_by_a_write_where_the_server_refuses_taken_names() {
    let (server, remote) = start(Quirks { rename_over: RenameOver::Refuses("550 File exists"), ..Quirks::default() });
    assert_eq!(write(&remote, "/old", REPLACE, "new").unwrap().size, 3);
    assert_eq!(content(&server, "/old"), "new");
    assert_eq!(paths(&server), FILLED);
}

#[test]
fn replaced_file_gets_its_name_back_where_the_second_rename_fails() {
    // The old file can be moved out of the way, and nothing can be renamed to its name.
    let (server, remote) = start(Quirks {
        rename_over: RenameOver::Refuses("550 File exists"),
        says: &[("RNFR /other", "550 In use")],
        ..Quirks::default()
    });
    assert_error(remote.rename(&path("/other"), &path("/old")), |error| matches!(error, RemoteError::Refused { .. }));
    assert_eq!(content(&server, "/old"), "old content");
    assert_eq!(content(&server, "/other"), "other");
    assert_eq!(paths(&server), FILLED);
}

#[test]
fn rename_that_is_only_said_to_be_done_is_done_by_way_of_a_backup() {
    for has_facts in [true, false] {
        let (server, remote) = start(Quirks { rename_over: RenameOver::OnlySaysYes, has_facts, ..Quirks::default() });
        remote.rename(&path("/other"), &path("/old")).unwrap();
        assert_eq!(content(&server, "/old"), "other");
        assert_eq!(paths(&server), ["/empty", "/full", "/full/file", "/old"]);
    }
}

#[test]
fn write_over_a_file_whose_rename_is_only_said_to_be_done_replaces_it() {
    for has_facts in [true, false] {
        let (server, remote) = start(Quirks { rename_over: RenameOver::OnlySaysYes, has_facts, ..Quirks::default() });
        // As long as the old one, so that the size alone would not tell.
        write(&remote, "/old", REPLACE, "new content").unwrap();
        assert_eq!(content(&server, "/old"), "new content");
        assert_eq!(paths(&server), FILLED);
    }
}

#[test]
fn refused_rename_that_was_done_is_a_success() {
    for has_facts in [true, false] {
        let (server, remote) =
            start(Quirks { rename_over: RenameOver::ReplacesAndRefuses, has_facts, ..Quirks::default() });
        remote.rename(&path("/other"), &path("/old")).unwrap();
        assert_eq!(content(&server, "/old"), "other");
        write(&remote, "/old", REPLACE, "new").unwrap();
        assert_eq!(content(&server, "/old"), "new");
        assert_eq!(paths(&server), ["/empty", "/full", "/full/file", "/old"]);
    }
}

#[test]
fn directory_that_exists_is_never_made_whatever_the_server_says() {
    for reply in ["250 OK", "257 \"/full\" made", "521 Exists", "550 Exists", "553 No", "451 Later"] {
        for has_facts in [true, false] {
            let (server, remote) = start(Quirks { made_again: reply, has_facts, ..Quirks::default() });
            for name in ["/full", "/old"] {
                assert_error(remote.make_directory(&path(name)), |error| matches!(error, RemoteError::Exists));
            }
            remote.make_directory(&path("/new")).unwrap();
            assert!(server.tree().is_directory("/new"));
        }
    }
}

#[test]
fn directory_with_entries_is_not_removed_where_rmd_removes_all() {
    for has_facts in [true, false] {
        let (server, remote) = start(Quirks { removes_all: true, has_facts, ..Quirks::default() });
        assert_error(remote.remove_directory(&path("/full")), |error| matches!(error, RemoteError::NotEmpty));
        assert_eq!(paths(&server), FILLED);
        remote.remove_directory(&path("/empty")).unwrap();
        assert!(!server.tree().is_directory("/empty"));
    }
}

#[test]
fn server_that_refuses_to_remove_what_is_not_empty_is_not_asked_for_listings_any_more() {
    let (server, remote) = start(Quirks::default());
    assert_error(remote.remove_directory(&path("/full")), |error| matches!(error, RemoteError::NotEmpty));
    assert_error(remote.remove_directory(&path("/full")), |error| matches!(error, RemoteError::NotEmpty));
    let listings = server.dialogue().count("MLSD");
    remote.remove_directory(&path("/empty")).unwrap();
    assert_eq!(server.dialogue().count("MLSD"), listings);
    assert_eq!(paths(&server), ["/full", "/full/file", "/old", "/other"]);
}

#[test]
fn directory_is_not_deleted_as_a_file() {
    for has_facts in [true, false] {
        let (server, remote) = start(Quirks { deletes_directories: true, has_facts, ..Quirks::default() });
        assert_error(remote.remove_file(&path("/full")), |error| matches!(error, RemoteError::IsDirectory));
        assert_error(remote.remove_file(&path("/empty")), |error| matches!(error, RemoteError::IsDirectory));
        assert_eq!(paths(&server), FILLED);
        remote.remove_file(&path("/old")).unwrap();
        assert!(server.tree().file("/old").is_none());
    }
}

#[test]
fn name_that_would_be_stored_as_another_is_refused_and_nothing_is_made() {
    type StoredName = fn(&str) -> String;
    let stored_names: [(StoredName, &str); 4] = [
        (|name| name.replace(|c: char| c.is_control(), ""), "/a\tb"),
        (|name| name.trim_end().to_owned(), "/a "),
        (|name| name.replace(|c: char| !c.is_ascii(), "?"), "/über"),
        (|name| name.split(':').next().unwrap().to_owned(), "/old:stream"),
    ];
    for (stored_name, name) in stored_names {
        let (server, remote) = start(Quirks { stored_name, ..Quirks::default() });
        for result in [
            write(&remote, name, WriteMode::Create, "x").map(|_| ()),
            write(&remote, name, REPLACE, "x").map(|_| ()),
            remote.make_directory(&path(name)),
            remote.rename(&path("/old"), &path(name)),
        ] {
            assert_error(result, |error| matches!(error, RemoteError::NameNotAllowed { .. }));
        }
        assert_eq!(paths(&server), FILLED, "{name}");
    }
}

#[test]
fn created_file_that_is_stored_under_another_name_is_an_error() {
    // Nothing in the name is suspicious: the answer has to be checked.
    let (server, remote) = start(Quirks { stored_name: |name| name.replace(' ', "_"), ..Quirks::default() });
    match write(&remote, "/a b", WriteMode::Create, "x") {
        // SIZE of "a b" finds "a_b": the server finds what it stored by the name it was given.
        Ok(_) => assert_eq!(read(&remote, "/a b", 0).unwrap(), "x"),
        Err(error) => assert!(matches!(error, RemoteError::NameNotAllowed { .. }), "{error}"),
    }
    assert_eq!(content(&server, "/a_b"), "x");
}

#[test]
fn file_is_renamed_to_another_case_where_case_does_not_count() {
    let (server, remote) = start(Quirks { stored_name: |name| name.to_lowercase(), ..Quirks::default() });
    remote.rename(&path("/old"), &path("/OLD")).unwrap();
    assert_eq!(content(&server, "/old"), "old content");
    assert_eq!(paths(&server), FILLED);
}

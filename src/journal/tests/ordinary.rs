//! The journal on a disk that works.

use super::*;
use crate::journal::{ContentId, JournalError, Rename, RenameNumber};
use std::fs;

#[test]
fn committed_content_is_pending_at_the_next_mount() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"one");
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert_eq!(recovered.pending.iter().map(|pending| pending.content).collect::<Vec<_>>(), [sealed.content()]);
    assert_eq!(pending(&journal), [("/a".to_owned(), b"one".to_vec())]);
    assert!(!recovered.pending[0].doubtful);
}

#[test]
fn uploaded_content_is_over_and_its_staging_file_gone() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"one");
    let _durable = journal.uploaded(sealed.content(), &path("/a"), version(3)).unwrap();
    assert!(!journal.staging_path(sealed.content()).exists());
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert!(journal.pending().is_empty() && recovered.kept.is_empty() && recovered.lost.is_empty());
}

#[test]
fn content_written_on_is_a_copy_and_the_committed_one_stays() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"one");
    let staging = journal.begin_next(&sealed, &path("/a"), u64::MAX).unwrap();
    staging.file().write_all_at(b"X", 0).unwrap();
    assert_eq!(sealed.read(0, 100).unwrap(), b"one");
    let next = journal.commit(staging, new_file("/a", b"Xne")).unwrap().sealed;
    assert_eq!(pending(&journal), [("/a".to_owned(), b"Xne".to_vec())]);
    assert!(!journal.staging_path(sealed.content()).exists());
    assert_eq!(next.content().file, sealed.content().file);
}

#[test]
fn delivery_of_an_older_content_becomes_the_base_of_the_newer() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"one");
    let staging = journal.begin_next(&sealed, &path("/a"), u64::MAX).unwrap();
    let next = journal.commit(staging, new_file("/a", b"one")).unwrap().sealed;
    let _durable = journal.uploaded(sealed.content(), &path("/a"), version(3)).unwrap();
    let left = journal.pending_of(next.content().file).unwrap();
    assert_eq!((left.content, left.commit.base), (next.content(), Some(version(3))));
}

#[test]
fn delivered_content_is_written_on_without_a_copy() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"one");
    let staging = journal.uploaded_and_reopened(sealed, &path("/a"), version(3)).unwrap();
    assert!(journal.pending().is_empty());
    staging.file().write_all_at(b"two", 0).unwrap();
    let _committed = journal.commit(staging, new_file("/a", b"two")).unwrap();
    assert_eq!(pending(&journal), [("/a".to_owned(), b"two".to_vec())]);
}

#[test]
fn delivery_to_a_path_that_the_file_has_left_does_not_count() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"one");
    let _durable = journal.moved(sealed.content().file, &path("/b"), None, None).unwrap();
    let refused = journal.uploaded(sealed.content(), &path("/a"), version(3));
    assert!(matches!(refused, Err(JournalError::Elsewhere { now }) if now == path("/b")));
    assert_eq!(pending(&journal), [("/b".to_owned(), b"one".to_vec())]);
}

#[test]
fn second_file_at_a_path_is_refused_unless_it_replaces_the_first() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let first = commit(&journal, "/a", b"old");
    let staging = journal.begin(&path("/a")).unwrap();
    staging.file().write_all_at(b"new", 0).unwrap();
    let failed = journal.commit(staging, new_file("/a", b"new")).unwrap_err();
    assert!(matches!(&failed.error, JournalError::PathTaken { by, .. } if *by == first.content().file));
    let second = journal.commit(failed.staging, new_file("/tmp", b"new")).unwrap().sealed;
    let (first, second) = (first.content().file, second.content().file);
    assert!(matches!(journal.moved(second, &path("/a"), None, None), Err(JournalError::PathTaken { .. })));
    let _durable = journal.moved(second, &path("/a"), Some(version(9)), Some(first)).unwrap();
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert_eq!(pending(&journal), [("/a".to_owned(), b"new".to_vec())]);
    assert_eq!(recovered.pending[0].commit.base, Some(version(9)));
    assert!(recovered.kept.is_empty());
}

#[test]
fn dropped_content_does_not_come_back() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"one");
    let _durable = journal.dropped(sealed.content().file).unwrap();
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert!(journal.pending().is_empty() && recovered.kept.is_empty());
    assert!(matches!(journal.dropped(sealed.content().file), Err(JournalError::NotPending(_))));
}

#[test]
fn content_given_up_lies_under_a_readable_name_beside_its_reason() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/d/letter.txt", b"one");
    let at = journal.set_aside(sealed.content(), "553 no").unwrap();
    assert_eq!(at.file_name().unwrap(), "0000000000000000-1-letter.txt");
    assert_eq!(fs::read(&at).unwrap(), b"one");
    let note = fs::read_to_string(at.with_file_name("0000000000000000-1-letter.txt.txt")).unwrap();
    assert!(note.contains("for:  /d/letter.txt\n") && note.contains("why:  553 no\n"), "{note}");
    assert_eq!(journal.list_set_aside().unwrap(), [at]);
    assert!(journal.pending().is_empty());
    drop(journal);
    assert!(open(base.path()).1.kept.is_empty(), "it is reported once");
}

#[test]
fn file_that_was_never_closed_is_set_aside_under_its_name() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let staging = journal.begin(&path("/d/draft")).unwrap();
    staging.file().write_all_at(b"half", 0).unwrap();
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert!(journal.pending().is_empty());
    assert_eq!(recovered.kept.len(), 1);
    assert_eq!(recovered.kept[0].path, Some(path("/d/draft")));
    assert_eq!(fs::read(&recovered.kept[0].at).unwrap(), b"half");
}

#[test]
fn file_that_was_opened_and_not_written_leaves_nothing() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let _staging = journal.begin(&path("/a")).unwrap();
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert!(recovered.kept.is_empty() && journal.list_set_aside().unwrap().is_empty());
}

#[test]
fn discarded_staging_file_is_gone() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let staging = journal.begin(&path("/a")).unwrap();
    staging.file().write_all_at(b"delivered without the journal", 0).unwrap();
    let content = staging.content();
    journal.discard(&staging);
    assert!(!journal.staging_path(content).exists());
}

#[test]
fn commit_of_more_than_the_staging_file_holds_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let staging = journal.begin(&path("/a")).unwrap();
    assert!(journal.commit(staging, new_file("/a", b"four")).is_err());
    assert!(journal.pending().is_empty());
}

#[test]
fn promised_content_that_is_gone_is_reported_and_never_delivered() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let gone = commit(&journal, "/gone", b"one").content();
    let short = commit(&journal, "/short", b"three").content();
    let _whole = commit(&journal, "/whole", b"whole");
    fs::remove_file(journal.staging_path(gone)).unwrap();
    fs::write(journal.staging_path(short), b"thr").unwrap();
    assert!(journal.open_pending(short).is_err());
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert_eq!(pending(&journal), [("/whole".to_owned(), b"whole".to_vec())]);
    let lost: Vec<ContentId> = recovered.lost.iter().map(|lost| lost.content).collect();
    assert_eq!(lost, [gone, short]);
    let names: Vec<_> = journal.list_set_aside().unwrap();
    assert_eq!(names.len(), 2, "a note for what is gone, and what is there of the other: {names:?}");
}

fn rename(journal: &Journal, from: &str, to: &str, replaces: Option<FileNumber>) -> RenameNumber {
    journal.renaming(Rename { from: path(from), to: path(to), replaces }).unwrap()
}

#[test]
fn pending_files_follow_a_directory_once_its_rename_is_done() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    for name in ["/d", "/d/a", "/d/e/b", "/d-other", "/x"] {
        if name != "/d" {
            commit(&journal, name, name.as_bytes());
        }
    }
    let number = rename(&journal, "/d", "/n", None);
    let waiting = |journal: &Journal| journal.pending().iter().filter(|file| file.renaming == Some(number)).count();
    assert_eq!(waiting(&journal), 2);
    journal.renamed(number, true).unwrap();
    assert_eq!(waiting(&journal), 0);
    drop(journal);
    let (journal, _) = open(base.path());
    let mut paths: Vec<String> = pending(&journal).into_iter().map(|(path, _)| path).collect();
    paths.sort();
    assert_eq!(paths, ["/d-other", "/n/a", "/n/e/b", "/x"]);
}

#[test]
fn refused_rename_moves_nothing_and_keeps_what_it_would_have_replaced() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    commit(&journal, "/a", b"a");
    let target = commit(&journal, "/b", b"b").content().file;
    let number = rename(&journal, "/a", "/b", Some(target));
    journal.renamed(number, false).unwrap();
    assert_eq!(pending(&journal), [("/a".to_owned(), b"a".to_vec()), ("/b".to_owned(), b"b".to_vec())]);
}

#[test]
fn rename_over_a_pending_file_ends_it() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let target = commit(&journal, "/b", b"b").content().file;
    let number = rename(&journal, "/clean", "/b", Some(target));
    journal.renamed(number, true).unwrap();
    assert!(journal.pending().is_empty());
}

#[test]
fn rename_without_an_end_is_handed_to_the_next_mount() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    commit(&journal, "/d/a", b"a");
    let number = rename(&journal, "/d", "/n", None);
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert_eq!(recovered.renames, [(number, Rename { from: path("/d"), to: path("/n"), replaces: None })]);
    assert_eq!(recovered.pending.len(), 1);
    assert_eq!(journal.pending()[0].renaming, Some(number));
    journal.renamed(number, true).unwrap();
    assert_eq!(pending(&journal), [("/n/a".to_owned(), b"a".to_vec())]);
}

#[test]
fn commit_below_a_directory_that_is_being_renamed_follows_it() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let number = rename(&journal, "/d", "/n", None);
    commit(&journal, "/d/late", b"late");
    drop(journal);
    let (journal, recovered) = open(base.path());
    assert_eq!(recovered.renames.len(), 1, "the commit has announced the rename");
    journal.renamed(number, true).unwrap();
    assert_eq!(pending(&journal), [("/n/late".to_owned(), b"late".to_vec())]);
}

#[test]
fn rename_that_touches_nothing_pending_costs_no_sync() {
    let base = tempfile::tempdir().unwrap();
    let disk = Arc::new(sim_disk::SimDisk::new(base.path(), sim_disk::Fault::None));
    let (journal, _) = open_on(disk.clone(), base.path());
    let before = disk.syncs();
    let number = rename(&journal, "/d", "/n", None);
    journal.renamed(number, true).unwrap();
    assert_eq!(disk.syncs(), before);
}

#[test]
fn directory_with_something_pending_below_is_not_empty() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    commit(&journal, "/d/e/f", b"f");
    assert!(journal.is_pending_below(&path("/d")) && journal.is_pending_below(&RemotePath::root()));
    assert!(!journal.is_pending_below(&path("/d/e/f/g")) && !journal.is_pending_below(&path("/d/e2")));
    assert!(journal.pending_at(&path("/d/e/f")).is_some());
}

#[test]
fn second_mount_is_refused_with_the_process_that_has_the_first() {
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let Err(refused) = StateDirectory::open(base.path(), &identity()) else { panic!("two mounts share a journal") };
    assert!(refused.to_string().ends_with(&format!("process {}", std::process::id())), "{refused}");
    drop(journal);
    assert!(StateDirectory::open(base.path(), &identity()).is_ok());
}

#[test]
fn another_account_or_directory_has_another_journal() {
    let base = tempfile::tempdir().unwrap();
    let ours = state_directory(base.path());
    for other in [
        Identity { user: b"bert".to_vec(), ..identity() },
        Identity { port: 2121, ..identity() },
        Identity { directory: path("/pub/sub"), ..identity() },
        Identity { host: "ftp.example.org".to_owned(), ..identity() },
    ] {
        let other = StateDirectory::open(base.path(), &other).unwrap();
        assert_ne!(ours.path(), other.path());
    }
    let same = Identity { host: "FTP.Example.com".to_owned(), ..identity() };
    assert!(matches!(StateDirectory::open(base.path(), &same), Err(JournalError::Locked { .. })));
}

#[test]
fn folder_of_another_identity_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let folder = state_directory(base.path()).path().to_owned();
    fs::write(folder.join("identity"), "host elsewhere\n").unwrap();
    let refused = StateDirectory::open(base.path(), &identity());
    assert!(matches!(refused, Err(JournalError::ForeignIdentity { found, .. }) if found == "host elsewhere"));
}

#[test]
fn state_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let base = tempfile::tempdir().unwrap();
    let (journal, _) = open(base.path());
    let sealed = commit(&journal, "/a", b"secret");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let folder = journal.staging_path(sealed.content()).parent().unwrap().parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&journal.staging_path(sealed.content())), 0o600);
    assert_eq!(mode(&folder.join("journal")), 0o600);
}

#[test]
fn journal_of_another_version_is_refused_untouched() {
    let base = tempfile::tempdir().unwrap();
    let folder = state_directory(base.path()).path().to_owned();
    fs::write(folder.join("journal"), b"ftpfs-journal002whatever").unwrap();
    fs::write(folder.join("staging/0000000000000000-1"), b"content").unwrap();
    let refused = Journal::open(state_directory(base.path()));
    assert!(matches!(refused, Err(JournalError::OtherVersion { version, .. }) if version == "002"));
    assert_eq!(fs::read(folder.join("journal")).unwrap(), b"ftpfs-journal002whatever");
    assert!(folder.join("staging/0000000000000000-1").exists());
}

#[test]
fn number_of_a_file_is_never_given_again() {
    let base = tempfile::tempdir().unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let (journal, _) = open(base.path());
        let sealed = commit(&journal, "/a", b"a");
        assert!(seen.insert(sealed.content().file));
        let _durable = journal.uploaded(sealed.content(), &path("/a"), version(1)).unwrap();
        let orphan = journal.begin(&path("/b")).unwrap();
        orphan.file().write_all_at(b"b", 0).unwrap();
        assert!(seen.insert(orphan.content().file));
    }
}

#[test]
fn state_directories_lie_where_the_system_wants_them() {
    let variables = |pairs: &'static [(&str, &str)]| {
        move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
    };
    use super::super::state_directory::default_base;
    assert_eq!(default_base(variables(&[]), true), Some("/var/lib/ftpfs".into()));
    assert_eq!(default_base(variables(&[("HOME", "/h")]), false), Some("/h/.local/state/ftpfs".into()));
    assert_eq!(default_base(variables(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), false), Some("/s/ftpfs".into()));
    assert_eq!(
        default_base(variables(&[("HOME", "/h"), ("XDG_STATE_HOME", "s")]), false),
        Some("/h/.local/state/ftpfs".into())
    );
    assert_eq!(default_base(variables(&[]), false), None);
}

//! Backup programs with their repository on the mount: what they were told is stored is stored, whole, and comes back as
//! it was; also with connections being cut, and with the mount's process killed.
//!
//! Each fact takes a [`Setting`]: the server, and the mount's promise (`--durability`). The lists below say what is shown in
//! every run, on little data, and what `scripts/soak backups` shows: every program on every server, on more data. What is checked at a fact's end comes from a fresh mount, and from the server's folder itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod archives;
mod borg;
mod copies;
mod git;
mod material;
mod place;
mod restic;
mod sqlite;

#[path = "../support/cutter.rs"]
mod cutter;
#[path = "../support/mount.rs"]
mod mounted;
#[path = "../support/servers.rs"]
mod servers;

use place::{Durability, Setting};
use servers::ServerKind;

macro_rules! facts {
    ($server:ident, $durability:ident, $when:tt { $($module:ident::$fact:ident)* }) => {
        const SETTING: crate::Setting =
            crate::Setting { server: crate::ServerKind::$server, durability: crate::Durability::$durability };
        $(#[test] #$when fn $fact() { crate::$module::$fact(&SETTING) })*
    };
}

macro_rules! in_every_run {
    ($($name:ident = $server:ident, $durability:ident $facts:tt)*) => {$(
        mod $name { facts! { $server, $durability, [doc = "In every run."] $facts } }
    )*};
}

macro_rules! in_soaks {
    ($($name:ident = $server:ident, $durability:ident;)*) => {$(
        mod $name {
            facts! { $server, $durability, [ignore = "scripts/soak backups"] {
                restic::restic_repository_is_whole_and_gives_back_what_it_was_given
                restic::restic_repository_is_whole_with_all_connections_cut_again_and_again
                borg::borg_repository_is_whole_and_gives_back_what_it_was_given
                borg::borg_repository_is_whole_with_all_connections_cut_again_and_again
                archives::rsync_mirror_follows_its_source_and_moves_nothing_twice
                archives::tar_increments_give_back_what_was_there
                archives::duplicity_chain_gives_back_what_was_there
                git::git_repository_is_whole_after_commits_gc_and_a_clone
                sqlite::sqlite_processes_agree_with_a_rollback_journal
                sqlite::sqlite_processes_agree_with_a_write_ahead_log
                sqlite::sqlite_commits_are_there_when_the_mount_was_killed
                sqlite::sqlite_commits_are_there_with_connections_cut_anywhere
                copies::copies_that_succeeded_are_whole_with_connections_cut_anywhere
            } }
        }
    )*};
}

in_every_run! {
    vsftpd = Vsftpd, Server {
        restic::restic_repository_is_whole_with_all_connections_cut_again_and_again
        sqlite::sqlite_processes_agree_with_a_write_ahead_log
        copies::copies_that_succeeded_are_whole_with_connections_cut_anywhere
    }
    proftpd = Proftpd, Server {
        restic::restic_repository_is_whole_and_gives_back_what_it_was_given
        archives::duplicity_chain_gives_back_what_was_there
        sqlite::sqlite_commits_are_there_when_the_mount_was_killed
    }
    pure_ftpd = PureFtpd, Server {
        borg::borg_repository_is_whole_and_gives_back_what_it_was_given
        archives::rsync_mirror_follows_its_source_and_moves_nothing_twice
    }
    pyftpdlib = Pyftpdlib, Server {
        archives::tar_increments_give_back_what_was_there
        git::git_repository_is_whole_after_commits_gc_and_a_clone
        sqlite::sqlite_processes_agree_with_a_rollback_journal
    }
}

mod soak {
    in_soaks! {
        vsftpd = Vsftpd, Server;
        proftpd = Proftpd, Server;
        pure_ftpd = PureFtpd, Server;
        pyftpdlib = Pyftpdlib, Server;
        vsftpd_journal = Vsftpd, Journal;
        proftpd_journal = Proftpd, Journal;
        pure_ftpd_journal = PureFtpd, Journal;
        pyftpdlib_journal = Pyftpdlib, Journal;
    }
}

//! The whole path, from a program's system call through the kernel to what lies in a real server's folder and back.
//!
//! Every fact is shown on every server; the modules under mount/ hold the facts, the list below says which server they are
//! shown on and, where one is left out, why. `scripts/servers` fetches the servers, `FTPFS_TESTS_LOCAL=1` tries the
//! tests themselves without any mount.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/mount.rs"]
mod mounted;
#[path = "support/servers.rs"]
mod servers;

#[path = "mount/cache_directory.rs"]
mod cache_directory;
#[path = "mount/copying.rs"]
mod copying;
#[path = "mount/faults.rs"]
mod faults;
#[path = "mount/fixtures.rs"]
mod fixtures;
#[path = "mount/full.rs"]
mod full;
#[path = "mount/names.rs"]
mod names;
#[path = "mount/programs.rs"]
mod programs;
#[path = "mount/reading.rs"]
mod reading;
#[path = "mount/streaming.rs"]
mod streaming;
#[path = "mount/writing.rs"]
mod writing;

macro_rules! facts {
    ($kind:ident: $($module:ident { $($fact:ident)* })*) => {$(
        mod $module {
            $(#[test] fn $fact() { crate::$module::$fact(crate::servers::ServerKind::$kind) })*
        }
    )*};
}

/// What is shown on all servers, and then what is shown on this one beside it.
macro_rules! all_facts_and {
    ($server:ident = $kind:ident: $($module:ident { $($fact:ident)* })*) => {
        mod $server {
            facts! { $kind:
                reading {
                    tree_of_2000_files_is_listed_and_read_as_it_is
                    links_among_many_names_are_shown_as_links
                    file_of_300_mib_is_read_and_written_as_it_is
                }
                cache_directory {
                    what_was_read_comes_from_the_cache_directory_after_a_remount
                    what_is_changed_here_is_not_taken_from_the_cache_directory
                    file_in_the_cache_directory_of_a_read_only_mount_is_read_by_the_kernel_itself
                }
                copying {
                    tree_copied_in_is_the_same_on_the_server
                    tree_copied_out_is_the_same_as_on_the_server
                    rsync_finds_nothing_to_do_the_second_time
                    rsync_in_place_changes_only_the_middle
                    tar_archive_is_unpacked_and_packed_again
                }
                programs {
                    git_clones_into_the_mount_and_commits
                    sqlite_inserts_1000_rows_and_reads_them_back
                    vim_saves_with_a_backup_and_without
                }
                writing {
                    middle_of_a_file_is_overwritten_in_place
                    small_change_of_a_large_file_moves_little
                    appended_lines_follow_what_was_there
                    file_is_truncated_and_extended
                    move_replaces_a_file_and_crosses_directories
                    open_file_can_be_removed_and_replaced
                    directories_are_made_ten_deep_and_removed
                    time_that_was_set_is_kept
                    space_is_never_zero
                    errors_are_those_of_a_local_file_system
                }
                streaming {
                    file_larger_than_the_staging_is_written_in_order
                    stream_goes_on_when_the_server_was_restarted
                    what_made_room_is_taken_up_behind_or_fails_when_the_server_was_restarted
                }
                names {
                    awkward_names_are_kept_or_refused_cleanly
                    name_with_a_line_break_is_refused_and_never_sent
                    path_longer_than_the_server_takes_is_refused_and_disturbs_nothing
                }
                full {
                    full_local_disk_fails_the_write_and_changes_nothing_that_was_there
                    file_larger_than_the_local_disk_is_written_in_order
                    full_server_is_an_error_and_keeps_what_was_there
                    journal_waits_for_room_on_the_server
                    folder_that_is_closed_refuses_each_change_at_its_call
                    journal_sets_aside_what_a_closed_folder_refuses
                }
                faults {
                    reads_go_on_when_the_server_is_restarted
                    writes_are_whole_when_the_server_is_restarted_on_the_way
                    silent_server_costs_an_error_and_unmounts
                    silent_server_is_not_mounted
                    wrong_password_mounts_nothing_and_says_so
                    $($($fact)*)*
                }
            }
        }
    };
}

all_facts_and! { vsftpd = Vsftpd:
    faults { one_connection_is_enough_for_a_copy_and_a_listing connections_dropped_when_idle_are_not_missed writer_goes_at_the_pace_of_a_slower_server
        long_read_takes_several_connections_where_each_has_its_own_rate }
}
all_facts_and! { proftpd = Proftpd:
    faults { one_connection_is_enough_for_a_copy_and_a_listing connections_dropped_when_idle_are_not_missed writer_goes_at_the_pace_of_a_slower_server
        long_read_takes_several_connections_where_each_has_its_own_rate }
}
// Its shortest idle time is a minute.
all_facts_and! { pure_ftpd = PureFtpd:
    faults { one_connection_is_enough_for_a_copy_and_a_listing }
}
all_facts_and! { pyftpdlib = Pyftpdlib:
    faults { one_connection_is_enough_for_a_copy_and_a_listing connections_dropped_when_idle_are_not_missed }
}
// It knows no limit of connections.
all_facts_and! { embedded = Embedded:
    faults { connections_dropped_when_idle_are_not_missed }
}

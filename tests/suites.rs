//! The test programs that other file systems are held to, run on a mount of each real server.
//!
//! `scripts/tools` fetches the programs, `scripts/servers` the servers. Each run does a few seconds' worth; `scripts/soak`
//! runs the same tests for longer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test's way to fail")]

#[path = "support/mount.rs"]
mod mounted;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/soak.rs"]
mod soak;

#[path = "suites/fsx.rs"]
mod fsx;
#[path = "suites/pjdfstest.rs"]
mod pjdfstest;

macro_rules! on_each_server {
    ($($suite:ident { $($fact:ident)* })*) => {
        on_each_server! { vsftpd = Vsftpd: $($suite { $($fact)* })* }
        on_each_server! { proftpd = Proftpd: $($suite { $($fact)* })* }
        on_each_server! { pure_ftpd = PureFtpd: $($suite { $($fact)* })* }
        on_each_server! { pyftpdlib = Pyftpdlib: $($suite { $($fact)* })* }
    };
    ($server:ident = $kind:ident: $($suite:ident { $($fact:ident)* })*) => {
        mod $server {$(
            mod $suite {
                $(#[test] fn $fact() { crate::$suite::$fact(crate::servers::ServerKind::$kind) })*
            }
        )*}
    };
}

on_each_server! {
    fsx { random_operations_read_what_was_written }
    pjdfstest { failures_are_those_that_the_semantics_list }
}

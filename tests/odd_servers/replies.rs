//! Logins and replies: in odd words, slow, without an end.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::protocol::Secret;
use ftpfs::remote::{FtpRemote, Remote as _, RemoteError};

use super::odd_server::{OddServer, Quirks};
use super::{assert_error, fill, names, options, path, read, start};

#[test]
fn login_goes_on_where_user_alone_is_enough() {
    let (_server, remote) = start(Quirks { says: &[("USER", "230 In")], ..Quirks::default() });
    assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
}

#[test]
fn account_is_told_where_it_is_asked_for_and_known() {
    let quirks = Quirks { says: &[("PASS", "332 Account?"), ("ACCT secret", "230 In")], ..Quirks::default() };
    let server = OddServer::start(quirks);
    fill(&server);
    assert_error(FtpRemote::connect(options(&server)), |error| matches!(error, RemoteError::LoginRefused { .. }));
    let mut options = options(&server);
    options.account = Some(Secret::new(*b"secret"));
    assert_eq!(read(&FtpRemote::connect(options).unwrap(), "/old", 0).unwrap(), "old content");
}

#[test]
fn server_without_feat_and_with_an_odd_pwd_serves() {
    for pwd in ["257 /", "257 '/' is it", "257 is current", "250 \"/\"", "550 No", "257 DISK:[000000]"] {
        let says: &'static [_] = Box::leak(Box::new([("PWD", pwd), ("FEAT", "530 Log in first")]));
        let (_server, remote) = start(Quirks { says, ..Quirks::default() });
        assert_eq!(remote.login_directory(), path("/"), "{pwd}");
        assert_eq!(names(&remote, "/full"), ["file"]);
        assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
    }
}

#[test]
fn stopped_transfer_costs_no_more_than_its_connection_where_pwd_is_odd() {
    let (_server, remote) = start(Quirks { says: &[("PWD", "550 No")], ..Quirks::default() });
    drop(remote.open_read(&path("/old"), 0).unwrap());
    assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
}

#[test]
fn sessions_beyond_the_limit_wait_for_those_within() {
    for refusal in ["421 Too many connections (2) from this IP", "530 Sorry, the maximum number of clients is 2"] {
        let (server, remote) = start(Quirks { sessions_max: (2, refusal), ..Quirks::default() });
        let together = Barrier::new(6);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..3 {
                        assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
                    }
                });
            }
        });
        // Refused at once, and not asked for again by each.
        assert!(server.dialogue().connections() < 12, "{}", server.dialogue().connections());
    }
}

#[test]
fn replies_that_drip_are_read_to_their_end() {
    let (_server, remote) = start(Quirks { drip: Some(Duration::from_millis(2)), ..Quirks::default() });
    assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
    assert_eq!(names(&remote, "/full"), ["file"]);
}

#[test]
fn reply_without_an_end_costs_its_connection_and_is_an_error_in_time() {
    let server = OddServer::start(Quirks { endless_reply_to: "SIZE /old", has_facts: false, ..Quirks::default() });
    fill(&server);
    let mut options = options(&server);
    options.operation_timeout = Duration::from_secs(5);
    let remote = FtpRemote::connect(options).unwrap();
    let begin = Instant::now();
    assert_error(remote.stat(&path("/old")), |error| error.is_worth_another_try());
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(names(&remote, "/full"), ["file"]);
}

//! How data connections come about on servers behind firewalls, and on those without EPSV.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::odd_server::Quirks;
use super::{REPLACE, read, start, write};

#[test]
fn pasv_serves_where_epsv_is_refused_and_epsv_is_asked_once() {
    for reply in ["500 Unknown", "501 No", "502 No", "522 Protocol not supported", "229 Entering (oh)"] {
        let says: &'static [_] = Box::leak(Box::new([("EPSV", reply)]));
        let (server, remote) = start(Quirks { says, ..Quirks::default() });
        for _ in 0..3 {
            assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
        }
        write(&remote, "/old", REPLACE, "new").unwrap();
        assert_eq!(server.dialogue().count("EPSV"), 1, "{reply}");
    }
}

#[test]
fn epsv_whose_ports_a_firewall_swallows_is_left_for_pasv_in_time_and_for_good() {
    let (server, remote) = start(Quirks { swallows_epsv: true, ..Quirks::default() });
    let begin = Instant::now();
    assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
    assert_eq!(server.dialogue().count("EPSV"), 1);
}

#[test]
fn address_in_a_227_is_not_believed() {
    for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(192, 168, 250, 1), Ipv4Addr::new(203, 0, 113, 9)] {
        let (_server, remote) =
            start(Quirks { says: &[("EPSV", "502 No")], passive_address: address, ..Quirks::default() });
        let begin = Instant::now();
        assert_eq!(read(&remote, "/old", 0).unwrap(), "old content");
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn nothing_is_hung_where_no_way_works() {
    let (_server, remote) =
        start(Quirks { says: &[("EPSV", "502 No"), ("PASV", "425 Cannot open")], ..Quirks::default() });
    let begin = Instant::now();
    read(&remote, "/old", 0).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

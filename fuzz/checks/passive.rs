//! 227 and 229: a port that exists, found again in the plain spelling of what was read.

use ftpfs::protocol::passive::{parse_227, parse_229, parse_any};
use ftpfs::protocol::{PassiveAddress, Reply, ReplyCode};

pub(crate) fn check(data: &[u8]) {
    for number in [200, 227, 229, 425] {
        let reply = reply(number, data);
        let (address, port, any) = (parse_227(&reply), parse_229(&reply), parse_any(&reply));
        if number == 425 {
            assert!(address.is_err() && port.is_err() && any.is_err(), "a refusal holds no address");
            continue;
        }
        assert_eq!(any.is_ok(), address.is_ok() || port.is_ok());
        if let Ok((ip, port)) = address {
            assert_ne!(port, 0);
            let [a, b, c, d] = ip.octets();
            let spelled = format!("Entering Passive Mode ({a},{b},{c},{d},{},{}).", port >> 8, port & 0xFF);
            assert_eq!(parse_227(&self::reply(227, spelled.as_bytes())), Ok((ip, port)));
        }
        if let Ok(port) = port {
            assert_ne!(port, 0);
            let spelled = format!("Entering Extended Passive Mode (|||{port}|)");
            assert_eq!(parse_any(&self::reply(229, spelled.as_bytes())), Ok(PassiveAddress::Port(port)));
        }
    }
}

fn reply(number: u16, text: &[u8]) -> Reply {
    let code = ReplyCode::new(number).expect("a code");
    Reply::new(code, text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

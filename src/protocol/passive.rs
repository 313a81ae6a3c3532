//! The address in a 227 or 229 reply.
//!
//! Not here: whether to believe it. The address in a 227 is often a private one of the server's own network, so by
//! default only its port is used (`connection::data`).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::reply::{Reply, ReplyClass};

/// Where the server listens for the data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassiveAddress {
    /// 229: this port of the address that the control connection goes to (RFC 2428 §3).
    Port(u16),
    /// 227: this address, as the server says (RFC 959 §4.1.2).
    Address(SocketAddrV4),
}

impl PassiveAddress {
    /// The port.
    pub fn port(self) -> u16 {
        match self {
            Self::Port(port) => port,
            Self::Address(address) => address.port(),
        }
    }
}

/// A completion reply to PASV or EPSV without an address in it, or no completion reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no address for the data connection in: {reply}")]
pub struct PassiveError {
    /// The reply.
    pub reply: String,
}

impl PassiveError {
    fn of(reply: &Reply) -> Self {
        Self { reply: reply.to_string() }
    }
}

/// Reads the address of a 227: the first six numbers below 256 with commas between them, with or without
/// parentheses, `=` or blanks. RFC 959 shows one spelling, and binds nobody to it (RFC 1123 §4.1.2.6).
///
/// # Errors
/// [`PassiveError`]: use the other of PASV and EPSV.
pub fn parse_227(reply: &Reply) -> Result<(Ipv4Addr, u16), PassiveError> {
    completion_lines(reply).find_map(six_numbers).ok_or_else(|| PassiveError::of(reply))
}

/// Reads the port of a 229, `(|||6446|)` with any delimiter (RFC 2428 §3). Protocol and address, which should be
/// empty, are passed over; parentheses and the last delimiter may be missing.
///
/// # Errors
/// [`PassiveError`]: use PASV.
pub fn parse_229(reply: &Reply) -> Result<u16, PassiveError> {
    completion_lines(reply).find_map(delimited_port).ok_or_else(|| PassiveError::of(reply))
}

/// Reads the answer to PASV or EPSV, whichever of the two it is an answer to: some servers answer EPSV with a 227.
///
/// # Errors
/// [`PassiveError`]: neither, or a refusal.
pub fn parse_any(reply: &Reply) -> Result<PassiveAddress, PassiveError> {
    let address = || parse_227(reply).map(|(ip, port)| PassiveAddress::Address(SocketAddrV4::new(ip, port)));
    let port = || parse_229(reply).map(PassiveAddress::Port);
    if reply.code().number() == 227 { address().or_else(|_| port()) } else { port().or_else(|_| address()) }
}

fn completion_lines(reply: &Reply) -> impl Iterator<Item = &[u8]> {
    let is_completion = reply.class() == ReplyClass::Completion;
    reply.lines().iter().filter(move |_| is_completion).map(Vec::as_slice)
}

fn six_numbers(line: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let mut rest = line;
    while let Some(begin) = rest.iter().position(u8::is_ascii_digit) {
        rest = rest.get(begin..)?;
        if let Some(found) = six_numbers_at_start(rest) {
            return Some(found);
        }
        // Not from within the same number: 1192,… must not be read as 192,….
        let number_len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = rest.get(number_len..)?;
    }
    None
}

fn six_numbers_at_start(line: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let mut numbers = [0_u8; 6];
    let mut rest = line;
    for (index, number) in numbers.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.trim_ascii_start().strip_prefix(b",")?.trim_ascii_start();
        }
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, behind) = rest.split_at_checked(len)?;
        *number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        rest = behind;
    }
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    (port != 0).then_some((Ipv4Addr::new(a, b, c, d), port))
}

fn delimited_port(line: &[u8]) -> Option<u16> {
    let in_parentheses = line.iter().rposition(|byte| *byte == b'(').and_then(|open| line.get(open + 1..));
    in_parentheses.and_then(port_in_fields).or_else(|| {
        let triple = line.windows(3).position(|window| match window {
            [a, b, c] => a == b && b == c && is_delimiter(*a),
            _ => false,
        })?;
        port_in_fields(line.get(triple..)?)
    })
}

/// The fourth field of `|protocol|address|port|`, whose first is empty.
fn port_in_fields(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii_start();
    let delimiter = *text.first().filter(|byte| is_delimiter(**byte))?;
    let field = text.split(|byte| *byte == delimiter).nth(3)?.trim_ascii_start();
    let len = field.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let port: u16 = std::str::from_utf8(field.get(..len)?).ok()?.parse().ok()?;
    (port != 0).then_some(port)
}

/// RFC 2428 §3 allows 33 to 126; digits and letters never occur, and points make an ellipsis.
fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_punctuation() && !matches!(byte, b'.' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::ReplyCode;

    fn reply(number: u16, text: impl Into<Vec<u8>>) -> Reply {
        Reply::new(ReplyCode::new(number).unwrap(), vec![text.into()])
    }

    #[test]
    fn address_of_227_is_read_in_all_spellings() {
        for text in [
            "Entering Passive Mode (10,0,0,1,4,1)",
            "Entering Passive Mode (10,0,0,1,4,1).",
            "Entering Passive Mode. 10,0,0,1,4,1",
            "Entering Passive Mode =10,0,0,1,4,1",
            "10,0,0,1,4,1",
            "=10,0,0,1,4,1",
            "Passive mode ( 10, 0, 0, 1, 4, 1 )",
            "Mode 2 of 3, (10 ,0 ,0 ,1 ,4 ,1)",
            "Entering passive mode10,0,0,1,4,1",
            "see 1,2,3 then (010,000,000,001,004,001)",
        ] {
            assert_eq!(parse_227(&reply(227, text)), Ok((Ipv4Addr::new(10, 0, 0, 1), 1025)), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_an_error() {
        for text in
            ["", "Entering Passive Mode", "(10,0,0,1,4)", "(10,0,0,1,0,0)", "(1110,0,0,1,4,1)", "(10,0,0,1,256,1)"]
        {
            assert!(parse_227(&reply(227, text)).is_err(), "{text}");
        }
        assert!(parse_227(&reply(500, "10,0,0,1,4,1")).is_err());
    }

    #[test]
    fn port_of_229_is_read_in_all_spellings() {
        for text in [
            "Entering Extended Passive Mode (|||6446|)",
            "Extended Passive mode OK (|||6446|).",
            "Entering Extended Passive Mode (!!!6446!)",
            "Entering Extended Passive Mode |||6446|",
            "Entering Extended Passive Mode (|||6446)",
            "Entering Extended Passive Mode (||| 6446 |)",
            "Entering (really) Extended Passive Mode ( |||6446| )",
            "Entering Extended Passive Mode (|1|10.0.0.1|6446|)",
            "Entering Extended Passive Mode (|2|::1|6446|)",
            "Wait... (|||6446|)",
        ] {
            assert_eq!(parse_229(&reply(229, text)), Ok(6446), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_an_error() {
        for text in ["", "(||||)", "(|||0|)", "(|||65536|)", "(||6446|)", "...6446", "(6446)"] {
            assert!(parse_229(&reply(229, text)).is_err(), "{text}");
        }
        assert!(parse_229(&reply(522, "(|||6446|)")).is_err());
    }

    #[test]
    fn answer_is_read_by_what_it_is_and_not_by_what_was_asked() {
        let address = PassiveAddress::Address("10.0.0.1:1025".parse().unwrap());
        assert_eq!(parse_any(&reply(227, "(10,0,0,1,4,1)")), Ok(address));
        assert_eq!(parse_any(&reply(229, "(10,0,0,1,4,1)")), Ok(address));
        assert_eq!(parse_any(&reply(229, "(|||1025|)")), Ok(PassiveAddress::Port(1025)));
        assert_eq!(parse_any(&reply(200, "(|||1025|)")).map(PassiveAddress::port), Ok(1025));
        assert!(parse_any(&reply(425, "(|||1025|)")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text: Vec<u8>, sloppy in "[ (|,=.0-9]{0,40}") {
            for text in [text, sloppy.into_bytes()] {
                if let Ok(address) = parse_any(&reply(227, text)) {
                    prop_assert_ne!(address.port(), 0);
                }
            }
        }

        #[test]
        fn address_and_port_survive(octets: [u8; 4], port in 1..=u16::MAX) {
            let [a, b, c, d] = octets;
            let text = format!("Entering Passive Mode ({a},{b},{c},{d},{},{})", port >> 8, port & 255);
            prop_assert_eq!(parse_227(&reply(227, text)), Ok((octets.into(), port)));
            prop_assert_eq!(parse_229(&reply(229, format!("(|||{port}|)"))), Ok(port));
        }
    }
}

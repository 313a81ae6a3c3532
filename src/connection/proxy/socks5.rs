//! SOCKS5 (RFC 1928), with user and password (RFC 1929).
//!
//! ```text
//! Method ──05 00──▶ Reply ──05 00 … address──▶ through
//!   │                 ▲
//!   └──05 02──▶ Login ┘ 01 00
//! ```
//! One message at a time, as the RFC draws it: there are proxies that lose what comes with the first.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::{Next, ProxyFault, ProxyLogin, Target, words};

const VERSION: u8 = 5;
/// Of the negotiation of RFC 1929.
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What we wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Method,
    Login,
    Reply,
}

/// The client's side of one dialogue.
#[derive(Debug)]
pub(in crate::connection) struct Socks5 {
    stage: Stage,
    login: Option<ProxyLogin>,
    request: Vec<u8>,
    /// Of the message that is coming.
    received: Vec<u8>,
}

impl Socks5 {
    /// The dialogue that asks for `target`, and its first message: the ways to log in that we have.
    ///
    /// # Errors
    /// [`ProxyFault::NameTooLong`].
    pub(super) fn begin(
        login: Option<ProxyLogin>,
        target: &Target,
        port: u16,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), ProxyFault> {
        let methods: &[u8] =
            if login.is_some() { &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD] } else { &[VERSION, 1, NO_LOGIN] };
        let request = request(target, port)?;
        let dialogue = Self { stage: Stage::Method, login, request, received: Vec::new() };
        Ok((dialogue, Zeroizing::new(methods.to_vec())))
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Next), ProxyFault> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            self.received.push(*byte);
            taken += 1;
            self.check_version()?;
            if self.received.len() == self.message_len() {
                let next = self.take_message()?;
                self.received.clear();
                return Ok((taken, next));
            }
        }
        Ok((taken, Next::Wait))
    }

    /// Tells another protocol by its first bytes: its other ones may never come.
    fn check_version(&self) -> Result<(), ProxyFault> {
        match (self.stage, self.received.as_slice()) {
            // Of the login it is not looked at: some proxies answer with the version of SOCKS.
            (Stage::Login, _) | (_, [VERSION, ..] | []) => Ok(()),
            (_, received) => Err(ProxyFault::OtherProtocol("SOCKS5", words(received))),
        }
    }

    /// How long the message is, as far as it can be told from what has come of it.
    fn message_len(&self) -> usize {
        match (self.stage, self.received.as_slice()) {
            (Stage::Method | Stage::Login, _) => 2,
            // A refusal ends here for us; some proxies send no more.
            (Stage::Reply, [_, code]) if *code != 0 => 2,
            (Stage::Reply, [_, _, _, IPV4, ..]) => 4 + 4 + 2,
            (Stage::Reply, [_, _, _, IPV6, ..]) => 4 + 16 + 2,
            (Stage::Reply, [_, _, _, NAME, len, ..]) => 4 + 1 + usize::from(*len) + 2,
            (Stage::Reply, [_, _, _, NAME]) => 5,
            (Stage::Reply, _) => 4,
        }
    }

    fn take_message(&mut self) -> Result<Next, ProxyFault> {
        let code = self.received.get(1).copied().unwrap_or_default();
        match (self.stage, code, &self.login) {
            (Stage::Method, NO_LOGIN, _) | (Stage::Login, 0, _) => {
                self.stage = Stage::Reply;
                Ok(Next::Send(Zeroizing::new(self.request.clone())))
            }
            (Stage::Method, USER_AND_PASSWORD, Some(login)) => {
                self.stage = Stage::Login;
                Ok(Next::Send(login_message(login)))
            }
            (Stage::Method, NO_METHOD, None) => Err(ProxyFault::LoginWanted(String::new())),
            (Stage::Method, NO_METHOD, Some(_)) => {
                Err(ProxyFault::Failed(String::from("it knows none of our ways to log in")))
            }
            (Stage::Login, _, _) => Err(ProxyFault::LoginRefused(String::new())),
            (Stage::Reply, 0, _) if matches!(self.received.get(3), Some(&(IPV4 | IPV6 | NAME))) => Ok(Next::Through),
            (Stage::Reply, 1.., _) => Err(refusal(code)),
            (Stage::Method | Stage::Reply, ..) => Err(ProxyFault::OtherProtocol("SOCKS5", words(&self.received))),
        }
    }
}

fn request(target: &Target, port: u16) -> Result<Vec<u8>, ProxyFault> {
    let mut request = vec![VERSION, CONNECT, 0];
    match target {
        Target::Address(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Target::Address(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        Target::Name(name) => {
            let len = u8::try_from(name.len()).map_err(|_| ProxyFault::NameTooLong)?;
            request.extend([NAME, len]);
            request.extend(name.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    Ok(request)
}

fn login_message(login: &ProxyLogin) -> Zeroizing<Vec<u8>> {
    let password = login.password.expose();
    // As large as it becomes: a vector that grows leaves copies behind.
    let mut message = Zeroizing::new(Vec::with_capacity(3 + login.user.len() + password.len()));
    message.push(LOGIN_VERSION);
    for field in [&*login.user, password] {
        message.push(u8::try_from(field.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(field.get(..usize::from(u8::MAX)).unwrap_or(field));
    }
    message
}

/// RFC 1928 §6.
fn refusal(code: u8) -> ProxyFault {
    let failed = |words: &str| ProxyFault::Failed(String::from(words));
    match code {
        1 => failed("general failure"),
        2 => ProxyFault::Forbidden(String::from("by its rules")),
        3 => failed("the network is unreachable from there"),
        4 => failed("the host is unreachable from there, or its name unknown"),
        5 => failed("connection refused"),
        6 => failed("the connection timed out there"),
        7 => ProxyFault::Forbidden(String::from("it has no CONNECT")),
        8 => failed("it does not know this kind of address"),
        other => ProxyFault::Failed(format!("code {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Secret;

    fn login() -> Option<ProxyLogin> {
        Some(ProxyLogin { user: Box::from(*b"me"), password: Secret::new("pw") })
    }

    /// Runs a dialogue against the proxy's whole words, in pieces of `piece` bytes: what we said, the end, and what was left over.
    fn run(login: Option<ProxyLogin>, said: &[u8], piece: usize) -> (Vec<u8>, Result<bool, ProxyFault>, Vec<u8>) {
        let (mut dialogue, first) = Socks5::begin(login, &Target::new("ftp.example"), 2121).unwrap();
        let (mut sent, mut at) = (first.to_vec(), 0);
        while at < said.len() {
            let bytes = &said[at..said.len().min(at + piece)];
            match dialogue.receive(bytes) {
                Ok((taken, next)) => {
                    assert!(taken > 0);
                    at += taken;
                    match next {
                        Next::Wait => {}
                        Next::Send(bytes) => sent.extend_from_slice(&bytes),
                        Next::Through => return (sent, Ok(true), said[at..].to_vec()),
                    }
                }
                Err(fault) => return (sent, Err(fault), Vec::new()),
            }
        }
        (sent, Ok(false), Vec::new())
    }

    const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0bftp.example\x08\x49";

    #[test]
    fn greeting_of_the_server_is_left_to_the_next_reader_wherever_the_pieces_end() {
        let addresses: [&[u8]; 3] =
            [b"\x01\x7f\0\0\x01\0\0", b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0", b"\x03\x02ab\0\0"];
        for address in addresses {
            let said = [b"\x05\x00\x05\x00\x00", address, b"220 Hello\r\n"].concat();
            for piece in 1..=said.len() {
                let (sent, end, rest) = run(None, &said, piece);
                assert_eq!(sent, [b"\x05\x01\x00", REQUEST].concat());
                assert_eq!(end, Ok(true), "{piece}");
                assert_eq!(rest, b"220 Hello\r\n");
            }
        }
    }

    #[test]
    fn password_is_sent_where_it_is_asked_for_and_nowhere_else() {
        let said = b"\x05\x02\x01\x00\x05\x00\x00\x01\0\0\0\0\0\0";
        let (sent, end, _) = run(login(), said, 3);
        assert_eq!(end, Ok(true));
        assert_eq!(sent, [b"\x05\x02\x00\x02\x01\x02me\x02pw", REQUEST].concat());
        let (sent, _, _) = run(login(), b"\x05\x00", 2);
        assert_eq!(sent, [b"\x05\x02\x00\x02", REQUEST].concat());
        let fault = run(None, b"\x05\x02", 2).1.unwrap_err();
        assert!(matches!(fault, ProxyFault::OtherProtocol(..)), "{fault}");
    }

    #[test]
    fn refusals_say_what_the_proxy_said() {
        for (login, said, words) in [
            (None, &b"\x05\xff"[..], "wants a user and a password"),
            (login(), b"\x05\xff", "none of our ways to log in"),
            (login(), b"\x05\x02\x01\x01", "refused the user or the password"),
            (None, b"\x05\x00\x05\x02", "forbids it (by its rules)"),
            (None, b"\x05\x00\x05\x05", "connection refused"),
            (None, b"\x05\x00\x05\x77", "code 119"),
            (None, b"HTTP/1.1 400", "no SOCKS5 proxy: it said `H`"),
            (None, b"\x05\x00\x05\x00\x00\x09", "no SOCKS5 proxy"),
        ] {
            for piece in 1..=said.len() {
                let fault = run(login.clone(), said, piece).1.unwrap_err();
                assert!(fault.to_string().contains(words), "{fault}");
            }
        }
    }

    #[test]
    fn addresses_are_told_as_such_and_a_name_that_is_too_long_not_at_all() {
        assert_eq!(request(&Target::new("127.0.0.1"), 21).unwrap(), b"\x05\x01\x00\x01\x7f\0\0\x01\0\x15");
        assert_eq!(request(&Target::new("[::1]"), 21).unwrap().len(), 4 + 16 + 2);
        assert_eq!(request(&Target::Name("a".repeat(256)), 21), Err(ProxyFault::NameTooLong));
    }
}

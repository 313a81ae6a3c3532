//! HTTP's CONNECT (RFC 9110 §9.3.6), with Basic authentication (RFC 7617).
//!
//! Of the reply its first line counts; a 2yz to CONNECT has no body, and the first byte behind the empty line is the server's.

use base64::prelude::{BASE64_STANDARD, Engine};
use zeroize::Zeroizing;

use super::{Next, ProxyFault, ProxyLogin, Target, words};

/// A reply of more than this is none.
const HEAD_LEN_MAX: usize = 16 << 10;

/// What every reply begins with.
const BEGINNING: &[u8] = b"HTTP/1.";

/// The client's side of one dialogue.
#[derive(Debug)]
pub(in crate::connection) struct HttpConnect {
    has_login: bool,
    head: Vec<u8>,
}

impl HttpConnect {
    /// The dialogue that asks for `target`, and the request.
    pub(super) fn begin(login: Option<&ProxyLogin>, target: &Target, port: u16) -> (Self, Zeroizing<Vec<u8>>) {
        let place = target.with_port(port);
        let request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        let authorization = login.map(authorization).unwrap_or_default();
        // As large as it becomes: a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(request.len() + authorization.len() + 2));
        bytes.extend_from_slice(request.as_bytes());
        bytes.extend_from_slice(authorization.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        (Self { has_login: login.is_some(), head: Vec::new() }, bytes)
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Next), ProxyFault> {
        let mut taken = 0;
        for byte in bytes {
            self.head.push(*byte);
            taken += 1;
            let is_http = self.head.iter().zip(BEGINNING).all(|(is, should)| is == should);
            if !is_http || self.head.len() > HEAD_LEN_MAX {
                return Err(ProxyFault::OtherProtocol("HTTP", words(&self.head)));
            }
            if *byte == b'\n' {
                let code = self.check_status()?;
                if !(self.head.ends_with(b"\r\n\r\n") || self.head.ends_with(b"\n\n")) {
                    continue;
                }
                if code / 100 == 2 {
                    return Ok((taken, Next::Through));
                }
                // 1yz: another reply follows.
                self.head.clear();
            }
        }
        Ok((taken, Next::Wait))
    }

    /// The code in the first line, where that does not end the matter.
    fn check_status(&self) -> Result<u16, ProxyFault> {
        let line = self.head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let behind = line.iter().position(|byte| *byte == b' ').and_then(|at| line.get(at + 1..)).unwrap_or_default();
        let code =
            behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|code| code.parse().ok());
        let said = words(behind);
        match code {
            Some(code @ 100..=299) => Ok(code),
            Some(407) if self.has_login => Err(ProxyFault::LoginRefused(said)),
            Some(407) => Err(ProxyFault::LoginWanted(said)),
            Some(400..=499) => Err(ProxyFault::Forbidden(format!("{said}; many allow CONNECT to port 443 alone"))),
            Some(300..=399 | 500..=599) => Err(ProxyFault::Failed(said)),
            _ => Err(ProxyFault::OtherProtocol("HTTP", words(line))),
        }
    }
}

fn authorization(login: &ProxyLogin) -> Zeroizing<String> {
    let password = login.password.expose();
    let mut both = Zeroizing::new(Vec::with_capacity(login.user.len() + 1 + password.len()));
    both.extend_from_slice(&login.user);
    both.push(b':');
    both.extend_from_slice(password);
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(&*both));
    Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", *encoded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Secret;

    fn login() -> ProxyLogin {
        ProxyLogin { user: Box::from(*b"Aladdin"), password: Secret::new("open sesame") }
    }

    /// The end, and what was left over, in pieces of `piece` bytes.
    fn run(login: Option<&ProxyLogin>, said: &[u8], piece: usize) -> (Result<bool, ProxyFault>, Vec<u8>) {
        let (mut dialogue, _) = HttpConnect::begin(login, &Target::new("ftp.example"), 21);
        let mut at = 0;
        while at < said.len() {
            match dialogue.receive(&said[at..said.len().min(at + piece)]) {
                Ok((taken, next)) => {
                    at += taken;
                    if next == Next::Through {
                        return (Ok(true), said[at..].to_vec());
                    }
                }
                Err(fault) => return (Err(fault), Vec::new()),
            }
        }
        (Ok(false), Vec::new())
    }

    #[test]
    fn request_names_the_server_and_carries_the_login_of_rfc_7617() {
        let (_, request) = HttpConnect::begin(None, &Target::new("::1"), 21);
        assert_eq!(request.as_slice(), b"CONNECT [::1]:21 HTTP/1.1\r\nHost: [::1]:21\r\n\r\n");
        let (_, request) = HttpConnect::begin(Some(&login()), &Target::new("h"), 21);
        let request = String::from_utf8(request.to_vec()).unwrap();
        assert!(request.ends_with("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"), "{request}");
    }

    #[test]
    fn greeting_of_the_server_is_left_to_the_next_reader_wherever_the_pieces_end() {
        for head in [
            "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n",
            "HTTP/1.0 200\n\n",
            "HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        ] {
            let said = format!("{head}220 Hello\r\n");
            for piece in 1..=said.len() {
                assert_eq!(run(None, said.as_bytes(), piece), (Ok(true), b"220 Hello\r\n".to_vec()), "{head} {piece}");
            }
        }
    }

    #[test]
    fn refusals_say_what_the_proxy_said() {
        let login = login();
        for (login, said, words) in [
            (None, "HTTP/1.1 407 Proxy Authentication Required\r\n", "wants a user and a password (407 Proxy"),
            (Some(&login), "HTTP/1.1 407 Again\r\n", "refused the user or the password for it (407 Again)"),
            (None, "HTTP/1.1 403 Forbidden\r\n", "forbids it (403 Forbidden; many allow CONNECT to port 443 alone)"),
            (None, "HTTP/1.1 502 Bad Gateway\r\n", "could not: 502 Bad Gateway"),
            (None, "HTTP/1.1 abc\r\n", "no HTTP proxy"),
            (None, "HTTP/2 200\r\n", "no HTTP proxy: it said `HTTP/2`"),
            (None, "220 vsFTPd\r\n", "no HTTP proxy: it said `2`"),
            (None, "\u{5}\u{0}", "no HTTP proxy: it said `\\x05`"),
        ] {
            for piece in 1..=said.len() {
                let fault = run(login, said.as_bytes(), piece).0.unwrap_err();
                assert!(fault.to_string().contains(words), "{fault}");
            }
        }
    }

    #[test]
    fn head_without_end_is_given_up() {
        let said = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(4000));
        assert!(matches!(run(None, said.as_bytes(), 4096).0, Err(ProxyFault::OtherProtocol(..))));
    }
}

//! SHA-256 of a certificate: how one is told from all others.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};

const BYTES: usize = 32;

/// The SHA-256 of a whole certificate (DER), as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    /// That of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; BYTES];
        for (to, from) in bytes.iter_mut().zip(digest(&SHA256, certificate).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// Reads `sha256:` and 64 hexadecimal digits, in any case, with or without the prefix and with colons between or not.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const MESSAGE: &str = "a fingerprint is sha256: and 64 hexadecimal digits";
        let lower = text.trim().to_ascii_lowercase();
        let digits: Vec<u8> =
            lower.strip_prefix("sha256:").unwrap_or(&lower).bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 2 * BYTES {
            return Err(MESSAGE);
        }
        let mut bytes = [0; BYTES];
        for (to, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| MESSAGE)?;
            // Not what from_str_radix alone would take too: `+f`.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MESSAGE);
            }
            *to = u8::from_str_radix(pair, 16).map_err(|_| MESSAGE)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_read_in_the_forms_that_people_have() {
        let abc = Fingerprint::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(abc.to_string(), format!("sha256:{hex}"));
        let pairs: Vec<String> =
            hex.as_bytes().chunks(2).map(|pair| String::from_utf8(pair.to_vec()).unwrap()).collect();
        for text in [hex.to_owned(), format!("SHA256:{hex}"), pairs.join(":").to_uppercase()] {
            assert_eq!(text.parse::<Fingerprint>(), Ok(abc), "{text}");
        }
        let (signed, cut) = (hex.replacen("ba", "+a", 1), hex.replacen("ad", "", 1));
        for text in ["", "sha256:", "md5:1234", &hex[2..], &signed, &cut] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}

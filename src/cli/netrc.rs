//! The file `~/.netrc`: logins by machine, as ftp(1) reads it.
//!
//! Tokens between blanks and line breaks: `machine NAME login USER password WORD account WORD`, `default` for all other
//! machines, and `macdef`, whose lines up to an empty one are for ftp(1) alone. A value may stand in double quotes, with `\`
//! before a quote or a backslash (as curl has it); a `#` where a keyword is expected begins a comment.

use crate::protocol::Secret;

/// One machine's login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Login {
    /// The user.
    pub(super) user: Option<Vec<u8>>,
    /// The password.
    pub(super) password: Option<Secret>,
    /// What ACCT sends, for the few servers that ask (RFC 959 §4.1.1).
    pub(super) account: Option<Secret>,
}

/// Finds the login for `host`: of the first entry that names it, and the `user` if one is wanted; else of `default`.
pub(super) fn find(text: &[u8], host: &str, user: Option<&[u8]>) -> Option<Login> {
    entries(text)
        .into_iter()
        .find(|(machine, login)| {
            let same_host = machine.as_ref().is_none_or(|machine| machine.eq_ignore_ascii_case(host.as_bytes()));
            let same_user = match (user, &login.user) {
                (Some(wanted), Some(user)) => wanted == user,
                _ => true,
            };
            same_host && same_user && login.password.is_some()
        })
        .map(|(_, login)| login)
}

/// All entries in the file's order; `None` is `default`, which ends the file's meaning.
fn entries(text: &[u8]) -> Vec<(Option<Vec<u8>>, Login)> {
    let mut entries: Vec<(Option<Vec<u8>>, Login)> = Vec::new();
    let mut tokens = Tokens { rest: text };
    while let Some(keyword) = tokens.next_token() {
        if keyword.starts_with(b"#") {
            tokens.skip_line();
            continue;
        }
        match keyword.as_slice() {
            b"machine" => entries.push((Some(tokens.next_token().unwrap_or_default()), Login::default())),
            b"default" => entries.push((None, Login::default())),
            b"macdef" => tokens.skip_macro(),
            word => {
                let value = tokens.next_token();
                let Some((_, login)) = entries.last_mut() else { continue };
                match word {
                    b"login" | b"user" => login.user = value,
                    b"password" | b"passwd" => login.password = value.map(Secret::new),
                    b"account" => login.account = value.map(Secret::new),
                    _ => {}
                }
            }
        }
    }
    // What stands behind `default` can never be reached.
    let end = entries.iter().position(|(machine, _)| machine.is_none()).map_or(entries.len(), |index| index + 1);
    entries.truncate(end);
    entries
}

struct Tokens<'a> {
    rest: &'a [u8],
}

impl Tokens<'_> {
    fn next_token(&mut self) -> Option<Vec<u8>> {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.first()? {
            b'"' => Some(self.quoted()),
            _ => {
                let end = self.rest.iter().position(u8::is_ascii_whitespace).unwrap_or(self.rest.len());
                let (token, rest) = self.rest.split_at(end);
                self.rest = rest;
                Some(token.to_vec())
            }
        }
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut value = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        while let Some((index, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = self.rest.get(index + 1..).unwrap_or_default();
                    return value;
                }
                b'\\' => value.extend(bytes.next().map(|(_, escaped)| *escaped)),
                byte => value.push(*byte),
            }
        }
        self.rest = &[];
        value
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |index| index + 1);
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    /// A macro ends with an empty line, or with the file.
    fn skip_macro(&mut self) {
        self.skip_line();
        while !self.rest.is_empty() && !self.rest.starts_with(b"\n") && !self.rest.starts_with(b"\r\n") {
            self.skip_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str, host: &str, user: Option<&str>) -> Option<String> {
        let login = find(text.as_bytes(), host, user.map(str::as_bytes))?;
        login.password.map(|password| String::from_utf8(password.expose().to_vec()).unwrap())
    }

    #[test]
    fn machine_is_found_by_name_and_user() {
        let text = "machine a login x password 1\nmachine A.org\n\tlogin y\n\tpassword 2\nmachine a login z password 3";
        assert_eq!(password(text, "a", None).as_deref(), Some("1"));
        assert_eq!(password(text, "a", Some("z")).as_deref(), Some("3"));
        assert_eq!(password(text, "a.ORG", Some("y")).as_deref(), Some("2"));
        assert_eq!(password(text, "a", Some("nobody")), None);
        assert_eq!(password(text, "b", None), None);
    }

    #[test]
    fn default_serves_every_machine_and_ends_the_file() {
        let text = "machine a login x password 1 default login d password 2 machine b login b password 3";
        assert_eq!(password(text, "a", None).as_deref(), Some("1"));
        assert_eq!(password(text, "b", None).as_deref(), Some("2"));
        assert_eq!(password(text, "b", Some("b")), None);
        assert_eq!(find(text.as_bytes(), "c", None).unwrap().user.as_deref(), Some(&b"d"[..]));
    }

    #[test]
    fn macro_is_skipped_up_to_its_empty_line() {
        let text =
            "machine a login x password 1\nmacdef init\nmachine b password no\nquit\n\nmachine b login y password 2\n";
        assert_eq!(password(text, "b", None).as_deref(), Some("2"));
        assert_eq!(password("macdef init\nmachine b password no", "b", None), None);
    }

    #[test]
    fn quoted_values_may_hold_blanks_quotes_and_signs() {
        let text = r##"machine a login "x y" password "p \"q\" \\ #1" # machine a password no
            machine b password #2 account 3"##;
        assert_eq!(password(text, "a", Some("x y")).as_deref(), Some(r#"p "q" \ #1"#));
        assert_eq!(password(text, "b", None).as_deref(), Some("#2"));
        assert_eq!(find(text.as_bytes(), "b", None).unwrap().account, Some(Secret::new("3")));
        assert_eq!(password("machine a password \"open", "a", None).as_deref(), Some("open"));
    }

    #[test]
    fn anything_can_be_in_the_file_without_harm() {
        for text in ["", "machine", "login x", "machine a password", "\"", "password \"\\", "macdef", "\0\u{1}"] {
            assert_eq!(password(text, "a", None), None, "{text:?}");
        }
    }
}

//! What one process of the program hands to the one that takes over from it: the arguments, and the passwords it has found.
//!
//! It goes through a descriptor that nobody else can open, never through arguments or variables, which `ps` shows. The process
//! that stays has seen no password but these: whatever the parsing of arguments and files has left in memory is gone with the
//! process that did it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use zeroize::Zeroizing;

use super::credentials::Credentials;
use crate::connection::{Proxy, ProxyLogin, ProxyScheme};
use crate::protocol::Secret;

/// Stands for "there is none" where a length is expected.
const ABSENT: u32 = u32::MAX;
/// No argument, name or password is longer.
const FIELD_LEN_MAX: u32 = 1 << 20;
/// No command line has more.
const ARGUMENTS_MAX: u32 = 1 << 16;

/// All logins of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logins {
    /// At the server.
    pub(super) server: Credentials,
    /// What the way to it goes through.
    pub(super) proxy: Option<Proxy>,
}

/// What the next process gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handover {
    /// The command line, the program's name first.
    pub(super) arguments: Vec<OsString>,
    /// The logins.
    pub(super) logins: Logins,
}

impl Handover {
    /// As bytes.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let Credentials { user, password, account } = &self.logins.server;
        let mut fields = vec![Some(user.as_slice()), Some(password.expose()), account.as_ref().map(Secret::expose)];
        let port = self.logins.proxy.as_ref().map(|proxy| proxy.port.to_le_bytes());
        let (scheme, host, login) = match &self.logins.proxy {
            Some(Proxy { scheme, host, login, .. }) => (Some(scheme.name()), Some(host.as_str()), login.as_ref()),
            None => (None, None, None),
        };
        fields.extend([scheme.map(str::as_bytes), host.map(str::as_bytes), port.as_ref().map(<[u8; 2]>::as_slice)]);
        fields.extend([login.map(|login| &*login.user), login.map(|login| login.password.expose())]);
        let count = u32::try_from(self.arguments.len()).unwrap_or(ABSENT).to_le_bytes();
        fields.push(Some(&count));
        fields.extend(self.arguments.iter().map(|argument| Some(argument.as_bytes())));
        // As large as it becomes: a vector that grows leaves copies behind.
        let len = fields.iter().map(|field| 4 + field.map_or(0, <[u8]>::len)).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        for field in fields {
            let len = field.map_or(ABSENT, |field| u32::try_from(field.len()).unwrap_or(ABSENT));
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(field.unwrap_or_default());
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// The input ends early, or is something else.
    pub(super) fn decode(input: &mut impl Read) -> io::Result<Self> {
        let mut fields = Fields { input };
        let server = Credentials {
            user: fields.some()?,
            password: Secret::new(fields.some()?),
            account: fields.next()?.map(Secret::new),
        };
        let scheme = fields.next()?;
        let (host, port) = (fields.next()?, fields.next()?);
        let (user, password) = (fields.next()?, fields.next()?);
        let login = user
            .zip(password)
            .map(|(user, password)| ProxyLogin { user: user.into(), password: Secret::new(password) });
        let proxy = match (scheme, host, port) {
            (Some(scheme), Some(host), Some(port)) => Some(Proxy {
                scheme: scheme_of(&scheme)?,
                host: String::from_utf8(host).map_err(|_| garbage())?,
                port: u16::from_le_bytes(port.try_into().map_err(|_| garbage())?),
                login,
            }),
            _ => None,
        };
        let count = u32::from_le_bytes(fields.some()?.try_into().map_err(|_| garbage())?);
        if count > ARGUMENTS_MAX {
            return Err(garbage());
        }
        let arguments = (0..count).map(|_| fields.some().map(OsString::from_vec)).collect::<io::Result<_>>()?;
        Ok(Self { arguments, logins: Logins { server, proxy } })
    }

    /// In the next process: takes it from the standard input, which is empty from then on.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    pub(super) fn receive() -> io::Result<Self> {
        // Not through std's buffer for the standard input, which would keep the passwords for as long as the process lives.
        let mut input = File::from(rustix::stdio::stdin().try_clone_to_owned()?);
        let handover = Self::decode(&mut input)?;
        rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
        Ok(handover)
    }
}

struct Fields<'a, Input> {
    input: &'a mut Input,
}

impl<Input: Read> Fields<'_, Input> {
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut len = [0; 4];
        self.input.read_exact(&mut len)?;
        match u32::from_le_bytes(len) {
            ABSENT => Ok(None),
            len if len > FIELD_LEN_MAX => Err(garbage()),
            len => {
                let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
                self.input.read_exact(&mut bytes)?;
                Ok(Some(bytes))
            }
        }
    }

    fn some(&mut self) -> io::Result<Vec<u8>> {
        self.next()?.ok_or_else(garbage)
    }
}

fn garbage() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

fn scheme_of(name: &[u8]) -> io::Result<ProxyScheme> {
    [ProxyScheme::Socks5, ProxyScheme::Socks5h, ProxyScheme::Http]
        .into_iter()
        .find(|scheme| scheme.name().as_bytes() == name)
        .ok_or_else(garbage)
}

/// The arguments with what holds a password replaced by what may be shown: `written` is the text, as `-o` may spell it too. Only
/// whole values are replaced: a part of another argument may be the same.
pub(super) fn without(arguments: &[OsString], written: &str, shown: &str) -> Vec<OsString> {
    let spellings = [written.to_owned(), written.replace('\\', "\\\\").replace(',', "\\,")];
    let cleaned = |argument: &OsString| match argument.to_str() {
        // Without a login there is no password in it.
        Some(text) if written.contains('@') => {
            let text = spellings.iter().fold(text.to_owned(), |text, spelling| with_value(&text, spelling, shown));
            OsString::from(text)
        }
        _ => argument.clone(),
    };
    let (name, rest) = arguments.split_first().map_or((None, &[][..]), |(name, rest)| (Some(name), rest));
    name.cloned().into_iter().chain(rest.iter().map(cleaned)).collect()
}

/// `text` with the values in it that are `written`, alone, behind `=` or in a list, replaced.
fn with_value(text: &str, written: &str, shown: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(written) {
        let is_value = (cleaned.is_empty() && before.is_empty() || before.ends_with(['=', ',']))
            && (behind.is_empty() || behind.starts_with(','));
        cleaned.push_str(before);
        cleaned.push_str(if is_value { shown } else { written });
        rest = behind;
    }
    cleaned + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_values_are_replaced_and_only_where_they_hold_a_login() {
        let arguments = ["ftpfs", "--proxy", "gw", "ftp://u@gw.example.org/", "/mnt/gw"].map(OsString::from).to_vec();
        assert_eq!(without(&arguments, "gw", "none"), arguments);
        let typed = ["ftpfs", "--proxy=u:p@gw", "-o", "ro,proxy=u:p@gw,port=1", "u:p@gw", "ftp://u:p@gw.org"];
        let cleaned = without(&typed.map(OsString::from), "u:p@gw", "none");
        assert_eq!(cleaned, ["ftpfs", "--proxy=none", "-o", "ro,proxy=none,port=1", "none", "ftp://u:p@gw.org"]);
    }

    fn handover(proxy: Option<Proxy>) -> Handover {
        let server =
            Credentials { user: b"u".to_vec(), password: Secret::new(""), account: Some(Secret::new(*b"a\xff")) };
        let arguments = ["ftpfs", "ftp://h", "", "-o"].map(OsString::from).to_vec();
        Handover { arguments, logins: Logins { server, proxy } }
    }

    #[test]
    fn what_is_handed_over_arrives_as_it_was() {
        let login = Some(ProxyLogin { user: Box::from(*b"me"), password: Secret::new("p\nw") });
        let proxy = |login| Some(Proxy { scheme: ProxyScheme::Http, host: "::1".into(), port: 3128, login });
        for proxy in [None, proxy(None), proxy(login)] {
            let handover = handover(proxy);
            let bytes = handover.encode();
            assert_eq!(bytes.len(), bytes.capacity(), "it grew");
            assert_eq!(Handover::decode(&mut bytes.as_slice()).unwrap(), handover);
        }
    }

    #[test]
    fn what_ends_early_or_is_something_else_is_refused() {
        let bytes = handover(None).encode();
        for len in 0..bytes.len() {
            assert!(Handover::decode(&mut &bytes[..len]).is_err(), "{len}");
        }
        assert!(Handover::decode(&mut &b"hello, this is no handover"[..]).is_err());
    }

    #[test]
    fn password_is_taken_out_of_the_arguments_wherever_it_stands() {
        let arguments = ["u", "--proxy=http://u:a,b@p", "-oro,proxy=http://u:a\\,b@p", "x"].map(OsString::from);
        let cleaned = without(&arguments, "http://u:a,b@p", "none");
        assert_eq!(cleaned, ["u", "--proxy=none", "-oro,proxy=none", "x"].map(OsString::from));
        assert_eq!(without(&arguments, "", "none"), arguments);
    }
}

//! Which proxy, from `--proxy` or from the environment as curl reads it, and with which password.
//!
//! What `--proxy` says is final. Otherwise the variables decide: `ftp_proxy` (`ftps_proxy` for `ftps://`), else `all_proxy`, each in small
//! letters or capitals; hosts that `no_proxy` names are connected to directly. A variable that cannot be understood is an error: who
//! has set one does not want a direct connection.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::Url;

use super::arguments::ConnectionArguments;
use super::credentials::{self, CredentialsError, Surroundings};
use super::url::{Scheme, ServerUrl, hide_password};
use crate::connection::proxy::LOGIN_LEN_MAX;
use crate::connection::{Proxy, ProxyLogin, ProxyScheme};
use crate::protocol::Secret;

/// The variable that may hold the proxy's password.
pub(super) const PASSWORD_VARIABLE: &str = "FTPFS_PROXY_PASSWORD";
/// The name of that password among systemd's credentials.
const SYSTEMD_CREDENTIAL: &str = "ftpfs.proxy-password";
/// What the descriptions of keys begin with.
const KEY_KIND: &str = "ftpfs-proxy";
/// All variables that may name a proxy, and so may hold a password.
pub(super) const VARIABLES: [&str; 6] =
    ["ftp_proxy", "FTP_PROXY", "ftps_proxy", "FTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// What `--proxy` says for a direct connection.
const NONE: &str = "none";
/// curl's, for all kinds of proxies.
const PORT: u16 = 1080;

/// Why there is no telling which proxy. The texts never hold a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It is no URL of a proxy.
    #[error(
        "`{text}` ({place}) is no proxy: {reason}; write socks5h://HOST:PORT, socks5://HOST:PORT or http://HOST:PORT"
    )]
    NotProxy {
        /// What was written, without its password.
        text: String,
        /// The option or the variable.
        place: String,
        /// What about it.
        reason: &'static str,
    },
    /// Its protocol has no room for them.
    #[error(
        "the user and the password for the proxy ({0}) may have {LOGIN_LEN_MAX} bytes each at most, and no line break, and the user must not be empty"
    )]
    Login(String),
    /// A colon ends the user in HTTP.
    #[error("the user for an HTTP proxy ({0}) cannot hold a colon")]
    Colon(String),
    /// The server cannot reach us through a proxy.
    #[error(
        "--active does not go with a proxy ({0}): the server cannot connect to us through it; --proxy=none connects directly"
    )]
    Active(String),
    /// There is a password and no proxy, or no user, to use it for.
    #[error("--proxy-password-file needs a proxy with a user: --proxy=socks5h://USER@HOST:PORT")]
    NothingToLogInTo,
    /// Its password cannot be had.
    #[error(transparent)]
    Password(#[from] CredentialsError),
}

/// A proxy as it was written.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    scheme: ProxyScheme,
    host: String,
    port: u16,
    user: Option<Vec<u8>>,
    password: Option<Secret>,
    /// Where it was written.
    place: String,
}

/// Finds the proxy for `url`, and its password.
///
/// # Errors
/// [`ProxyError`] says what to do.
pub(super) fn find(
    arguments: &ConnectionArguments,
    url: &ServerUrl,
    surroundings: &Surroundings,
) -> Result<Option<Proxy>, ProxyError> {
    let Some(written) = choose(arguments.proxy.as_deref(), url, surroundings)? else {
        return if arguments.proxy_password_file.is_some() { Err(ProxyError::NothingToLogInTo) } else { Ok(None) };
    };
    if arguments.active {
        return Err(ProxyError::Active(written.place));
    }
    let login = login(&written, arguments.proxy_password_file.as_deref(), surroundings)?;
    Ok(Some(Proxy { scheme: written.scheme, host: written.host, port: written.port, login }))
}

fn choose(option: Option<&str>, url: &ServerUrl, surroundings: &Surroundings) -> Result<Option<Written>, ProxyError> {
    if let Some(text) = option {
        return if text == NONE { Ok(None) } else { parse(text, "--proxy").map(Some) };
    }
    let names = match url.scheme {
        Scheme::Ftp | Scheme::Ftpes => ["ftp_proxy", "FTP_PROXY", "all_proxy", "ALL_PROXY"],
        Scheme::Ftps => ["ftps_proxy", "FTPS_PROXY", "all_proxy", "ALL_PROXY"],
    };
    // An empty one is as good as none.
    let value = |name: &'static str| {
        let text = (surroundings.variable)(name).filter(|text| !text.is_empty())?;
        Some((name, String::from_utf8_lossy(&text).into_owned()))
    };
    let Some((name, text)) = names.into_iter().find_map(value) else { return Ok(None) };
    let exceptions = value("no_proxy").or_else(|| value("NO_PROXY"));
    if exceptions.is_some_and(|(_, list)| is_exception(&url.host, &list)) {
        return Ok(None);
    }
    parse(&text, name).map(Some)
}

/// Takes the URL of a proxy apart; without a scheme it is HTTP's, as for curl.
fn parse(text: &str, place: &str) -> Result<Written, ProxyError> {
    let not_proxy = |reason| ProxyError::NotProxy { text: hide_password(text), place: place.into(), reason };
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "socks5" => ProxyScheme::Socks5,
        "socks5h" => ProxyScheme::Socks5h,
        "http" => ProxyScheme::Http,
        "socks" => return Err(not_proxy("`socks` may be version 4 or 5")),
        "socks4" | "socks4a" => return Err(not_proxy("SOCKS 4 is too old: it has no passwords, and no IPv6")),
        "https" => return Err(not_proxy("proxies that are encrypted themselves are not supported")),
        _ => return Err(not_proxy("this is no scheme of a proxy")),
    };
    // The rules for URLs of HTTP would drop its usual port, which is another one here.
    let url = Url::parse(&format!("socks5://{rest}")).map_err(|_| not_proxy("it is no URL"))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| not_proxy("it names no host"))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(not_proxy("a proxy has no path; a special character in a password is written %XX"));
    }
    let port = url.port().unwrap_or(PORT);
    if port == 0 {
        return Err(not_proxy("port 0 is none that a proxy can have"));
    }
    let user: Vec<u8> = percent_decode_str(url.username()).collect();
    let password = url.password().map(|password| Secret::new(percent_decode_str(password).collect::<Vec<u8>>()));
    Ok(Written {
        scheme,
        host: percent_decode_str(host).decode_utf8_lossy().into_owned(),
        port,
        user: Some(user).filter(|user| !user.is_empty() || password.is_some()),
        password,
        place: place.into(),
    })
}

fn login(
    written: &Written,
    password_file: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<Option<ProxyLogin>, ProxyError> {
    let Some(user) = &written.user else {
        return if password_file.is_some() { Err(ProxyError::NothingToLogInTo) } else { Ok(None) };
    };
    let password = match (password_file, &written.password) {
        (Some(path), _) => credentials::from_file(path)?,
        (None, Some(password)) => {
            if written.place.starts_with("--") {
                tracing::warn!(
                    "the proxy's password on the command line can be seen by every user of this machine; --proxy-password-file keeps it secret"
                );
            }
            password.clone()
        }
        (None, None) => match surroundings.set_down(PASSWORD_VARIABLE, SYSTEMD_CREDENTIAL)? {
            Some(password) => password,
            None => match surroundings.kept_by_the_kernel(KEY_KIND, user, &written.host)? {
                Some(password) => password,
                None => {
                    let (user, host) = (user.escape_ascii().to_string(), written.host.clone());
                    surroundings
                        .asked(&user, &format!("the proxy {host}"))?
                        .ok_or(CredentialsError::NoneForProxy { user, host })?
                }
            },
        },
    };
    let is_unfit =
        |field: &[u8]| field.len() > LOGIN_LEN_MAX || field.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    if user.is_empty() || is_unfit(user) || is_unfit(password.expose()) {
        return Err(ProxyError::Login(written.place.clone()));
    }
    if written.scheme == ProxyScheme::Http && user.contains(&b':') {
        return Err(ProxyError::Colon(written.place.clone()));
    }
    Ok(Some(ProxyLogin { user: user.clone().into(), password }))
}

/// Whether `list`, as in `no_proxy`, holds `host`: hosts, domains with all that is in them, addresses, networks, `*` for all.
fn is_exception(host: &str, list: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
        match address {
            _ if entry == "*" => true,
            Some(address) => {
                bare.parse().is_ok_and(|other: IpAddr| other == address)
                    || bare.parse().is_ok_and(|network: IpNet| network.contains(&address))
            }
            None => {
                let domain = entry.strip_prefix('.').unwrap_or(entry).trim_end_matches('.').to_ascii_lowercase();
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host == domain || host.strip_suffix(&domain).is_some_and(|start| start.ends_with('.'))
            }
        }
    })
}

#[cfg(test)]
mod tests;

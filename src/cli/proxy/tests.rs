//! Which proxy is taken, and which text is none.

use super::*;
use crate::cli::arguments::MountArguments;
use clap::Parser;

/// Surroundings with these variables, and a terminal that answers `typed`.
fn surroundings(variable: fn(&str) -> Option<Vec<u8>>) -> Surroundings {
    Surroundings {
        variable,
        systemd_directory: None,
        keyring: |_| Ok(None),
        netrc: None,
        input: || panic!("the standard input is read"),
        ask: |_| Some(Ok("typed".into())),
    }
}

/// A function that knows these variables.
macro_rules! variables {
    ($($name:literal = $value:literal),*) => {
        |name: &str| -> Option<Vec<u8>> {
            match name {
                $($name => Some($value.as_bytes().to_vec()),)*
                _ => None,
            }
        }
    };
}

type Variable = fn(&str) -> Option<Vec<u8>>;

fn find_with(url: &str, options: &[&str], variable: Variable) -> Result<Option<Proxy>, ProxyError> {
    let line = ["ftpfs", url, "/m"].into_iter().chain(options.iter().copied());
    let arguments = MountArguments::try_parse_from(line).unwrap();
    find(&arguments.connection, &ServerUrl::parse(url).unwrap(), &surroundings(variable))
}

fn shown(url: &str, options: &[&str], variables: Variable) -> String {
    find_with(url, options, variables).unwrap().map_or_else(|| "none".into(), |proxy| proxy.to_string())
}

#[test]
fn variables_are_read_as_curl_reads_them() {
    let all: Variable = variables!(
        "ALL_PROXY" = "socks5h://a",
        "all_proxy" = "",
        "ftp_proxy" = "b:3128",
        "FTPS_PROXY" = "socks5://[::1]:9"
    );
    assert_eq!(shown("ftp://h", &[], all), "http://b:3128");
    assert_eq!(shown("ftpes://h", &[], all), "http://b:3128");
    assert_eq!(shown("ftps://h", &[], all), "socks5://[::1]:9");
    assert_eq!(shown("ftp://h", &[], variables!("ALL_PROXY" = "socks5h://a")), "socks5h://a:1080");
    assert_eq!(shown("ftp://h", &[], variables!("ftp_proxy" = "x", "FTP_PROXY" = "y")), "http://x:1080");
    assert_eq!(shown("ftp://h", &[], variables!("ftp_proxy" = "http://x:80")), "http://x:80");
    assert_eq!(shown("ftp://h", &[], variables!("http_proxy" = "http://x:80")), "none");
}

#[test]
fn option_is_final_whatever_the_environment_says() {
    let variables: Variable = variables!("ftp_proxy" = "http://x:1", "no_proxy" = "*");
    assert_eq!(shown("ftp://h", &[], variables), "none");
    assert_eq!(shown("ftp://h", &["--proxy=socks5://p:2"], variables), "socks5://p:2");
    assert_eq!(shown("ftp://h", &["--proxy=none"], variables!("ftp_proxy" = "http://x:1")), "none");
}

#[test]
fn exceptions_are_hosts_domains_addresses_and_networks() {
    for (host, list, expected) in [
        ("h", "*", true),
        ("h", "a, h", true),
        ("ftp.example.org", "example.org", true),
        ("ftp.example.org", ".example.org.", true),
        ("example.org", ".EXAMPLE.org", true),
        ("notexample.org", "example.org", false),
        ("192.168.7.1", "192.168.0.0/16", true),
        ("192.169.7.1", "192.168.0.0/16", false),
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "0.0.1", false),
        ("::1", "[::1]", true),
        ("fe80::1", "fe80::/10", true),
        ("h", "", false),
        ("h", ",,", false),
    ] {
        assert_eq!(is_exception(host, list), expected, "{host} {list}");
    }
}

#[test]
fn password_comes_from_the_file_the_url_or_the_other_sources() {
    let password = |options: &[&str], variables: Variable| {
        let login = find_with("ftp://h", options, variables).unwrap().unwrap().login;
        login.map(|login| (login.user.escape_ascii().to_string(), login.password.expose().escape_ascii().to_string()))
    };
    let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
    assert_eq!(password(&["--proxy=socks5h://p"], variables!()), None);
    assert_eq!(password(&["--proxy=socks5h://u@p"], variables!()), login("u", "typed"));
    assert_eq!(password(&["--proxy=socks5h://u@p"], variables!("FTPFS_PROXY_PASSWORD" = "v")), login("u", "v"));
    assert_eq!(
        password(&["--proxy=http://u:a%3Ab%40%20c@p"], variables!("FTPFS_PROXY_PASSWORD" = "v")),
        login("u", "a:b@ c")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from file\r\nmore").unwrap();
    let option = format!("--proxy-password-file={}", file.path().display());
    assert_eq!(password(&["--proxy=socks5h://u:x@p", &option], variables!()), login("u", "from file"));
}

#[test]
fn what_is_no_proxy_is_refused_without_showing_its_password() {
    let long = format!("--proxy=socks5://u:{}@p", "geheim".repeat(50));
    for (option, words) in [
        ("--proxy=socks://u:geheim@p", "may be version 4 or 5"),
        ("--proxy=socks4a://u:geheim@p", "too old"),
        ("--proxy=https://u:geheim@p", "not supported"),
        ("--proxy=ftp://u:geheim@p", "no scheme of a proxy"),
        ("--proxy=socks5://u:geheim@", "no "),
        ("--proxy=socks5://", "no"),
        ("--proxy=", "no"),
        ("--proxy=socks5://u:geheim@p:0", "port 0"),
        ("--proxy=socks5://u:geheim@p:99999", "no URL"),
        ("--proxy=socks5://u:geheim@p/x", "no path"),
        ("--proxy=socks5://u:geheim%0d@p", "no line break"),
        ("--proxy=socks5://:geheim@p", "must not be empty"),
        ("--proxy=http://u%3a:geheim@p", "colon"),
        (&long, "255 bytes"),
    ] {
        let error = find_with("ftp://h", &[option], variables!()).unwrap_err().to_string();
        assert!(error.contains(words), "{option}: {error}");
        assert!(!error.contains("geheim"), "{error}");
    }
    let error = find_with("ftp://h", &[], variables!("all_proxy" = "socks://127.0.0.1:1")).unwrap_err();
    assert!(error.to_string().contains("(all_proxy)"), "{error}");
}

#[test]
fn active_mode_and_a_proxy_contradict_each_other() {
    let error = find_with("ftp://h", &["--active"], variables!("all_proxy" = "socks5://p")).unwrap_err();
    assert!(error.to_string().contains("--proxy=none"), "{error}");
    assert_eq!(shown("ftp://h", &["--active", "--proxy=none"], variables!("all_proxy" = "socks5://p")), "none");
    let error = find_with("ftp://h", &["--proxy-password-file=/f"], variables!()).unwrap_err();
    assert!(matches!(error, ProxyError::NothingToLogInTo));
}

//! URLs: what is shown is the same URL without its password, which no text of ours ever holds.

use ftpfs::cli::fuzzing::parse_url;

use super::is_fit_for_a_terminal;

const PASSWORD: &str = "Geheimnis";

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_text(text);
    // As the password of any user at any host, it stays where it is.
    let (user, host) = text.split_once('@').unwrap_or((text, "host"));
    if text.contains(PASSWORD) {
        return;
    }
    if !user.contains([':', '/', '?', '#', '\\', '@']) && !host.contains('@') {
        for text in [format!("ftp://{user}:{PASSWORD}@{host}"), format!("ftpes://{user}:{PASSWORD}@{host}")] {
            check_text(&text);
            let shown = parse_url(&text).map_or_else(|error| error, |url| url.shown);
            assert!(!shown.contains(PASSWORD), "{shown}");
        }
    }
}

fn check_text(text: &str) {
    let url = match parse_url(text) {
        Ok(url) => url,
        Err(error) => return assert!(is_fit_for_a_terminal(&error), "{error}"),
    };
    assert!(!url.host.is_empty() && url.port != 0 && is_fit_for_a_terminal(&url.shown));
    for part in [url.user.as_ref(), url.password.as_ref(), Some(&url.directory)].into_iter().flatten() {
        assert!(!part.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a part that FTP cannot send");
    }
    let again = parse_url(&url.shown).unwrap_or_else(|error| panic!("{}: {error}", url.shown));
    assert_eq!(again.shown, url.shown);
    assert_eq!(
        (&again.host, again.port, &again.user, &again.directory),
        (&url.host, url.port, &url.user, &url.directory)
    );
    assert_eq!(again.password, None);
}

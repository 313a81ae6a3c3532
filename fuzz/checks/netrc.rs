//! netrc: who is found is who was asked for, and a login that is written down is found again.

use ftpfs::cli::fuzzing::{NetrcLogin, netrc_login};

pub(crate) fn check(data: &[u8]) {
    for user in [None, Some(&b"u"[..])] {
        let Some(login) = netrc_login(data, "h", user) else { continue };
        assert!(login.password.is_some(), "a login without a password is none");
        assert!(user.is_none() || login.user.is_none() || login.user.as_deref() == user);
        let again = netrc_login(&written(&login), "h", user);
        assert_eq!(again.as_ref(), Some(&login));
        // The first that fits counts, so that nothing behind it can take its place.
        let longer = [&written(&login), &b"\nmachine other\n"[..], data].concat();
        assert_eq!(netrc_login(&longer, "H", user), Some(login));
    }
}

fn written(login: &NetrcLogin) -> Vec<u8> {
    let mut text = b"machine h".to_vec();
    for (keyword, value) in [("login", &login.user), ("password", &login.password), ("account", &login.account)] {
        let Some(value) = value else { continue };
        text.extend_from_slice(format!(" {keyword} \"").as_bytes());
        for byte in value {
            if matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.push(b'"');
    }
    text
}

//! Passwords in the kernel's keyring (keyrings(7)): no file, no program that has to run, gone with the session or after a time.
//!
//! `keyctl padd user ftpfs:anna@nas.local @u` puts one there. The keyring of a desktop (Secret Service) is had by its own program:
//! `--password-file <(secret-tool lookup …)`; a library for it would bring D-Bus and a second cryptography along.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};

/// Where a key is looked for: the session's keyring, which the user's hangs in for those who logged in, then the user's.
const PLACES: [KeyRingIdentifier; 2] = [KeyRingIdentifier::Session, KeyRingIdentifier::User];

/// The content of the key with this description; `None` where there is none, or no keyring.
///
/// # Errors
/// It is there and cannot be used, as a sentence.
pub(super) fn find(description: &str) -> Result<Option<Vec<u8>>, String> {
    for place in PLACES {
        let found = KeyRing::from_special_id(place, false).and_then(|keyring| keyring.search(description));
        match found {
            Ok(key) => return key.read_to_vec().map(Some).map_err(explain),
            Err(error @ (KeyError::KeyExpired | KeyError::KeyRevoked | KeyError::KeyRejected)) => {
                return Err(explain(error));
            }
            // No such key, or no keyrings here at all: containers forbid them.
            Err(error) => tracing::debug!(?place, %error, "no key `{description}`"),
        }
    }
    Ok(None)
}

fn explain(error: KeyError) -> String {
    match error {
        KeyError::KeyExpired => String::from("it has expired"),
        KeyError::KeyRevoked => String::from("it has been revoked"),
        KeyError::AccessDenied | KeyError::PermissionDenied => {
            String::from("no permission; `keyctl link @u @s` lets this session read the user's keys")
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_found_by_its_description_and_gone_when_it_is_taken_away() {
        let description = format!("ftpfs:test-{}@nowhere.invalid", std::process::id());
        assert_eq!(find(&description), Ok(None));
        let Ok(keyring) = KeyRing::from_special_id(KeyRingIdentifier::Session, false) else {
            // Told, and no more: there is nothing to find it in.
            eprintln!("SKIPPED: there are no keyrings here");
            return;
        };
        let key = keyring.add_key(&description, b"p\xffw").unwrap();
        assert_eq!(find(&description), Ok(Some(b"p\xffw".to_vec())));
        key.revoke().unwrap();
        let revoked = find(&description);
        assert!(matches!(&revoked, Ok(None)) || revoked == Err("it has been revoked".into()), "{revoked:?}");
        let _ = key.invalidate();
    }
}

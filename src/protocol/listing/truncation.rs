//! Whether a server cut a listing short: by its own words, or by a number that is too round.
//!
//! A name that is missing from such a listing may exist all the same; only a question for that name can tell.

/// How many entries servers are known to stop at: Pure-FTPd's `-L` (2000 by default, packaged with 7500 and 10000), NAS
/// devices (1000 and 2000); and the other numbers that somebody who sets a limit would choose.
const LIMITS: &[usize] = &[1000, 2000, 5000, 7500, 10_000, 20_000, 50_000, 100_000];

/// Whether the text of the completion reply says that the listing is not all there is.
///
/// Pure-FTPd: `226-Output truncated to 2000 matches`. A path that is quoted in the text can make this true as well; it
/// costs a few questions, never a wrong answer.
pub fn says_truncated(reply_text: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[b"truncated", b"truncation", b"incomplete", b"partial list", b"too many files"];
    let text = reply_text.to_ascii_lowercase();
    WORDS.iter().any(|word| text.windows(word.len()).any(|part| part == *word))
}

/// Whether so many entries look like a server's limit rather than like all there are.
///
/// `entries` does not count `.` and `..`; a server that does stops two short of its limit (9998 was seen).
pub fn is_likely_limit(entries: usize) -> bool {
    LIMITS.iter().any(|limit| (limit - 2..=*limit).contains(&entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_is_read_from_the_completion_reply() {
        assert!(says_truncated(b"Options: -a -l \nOutput truncated to 2000 matches"));
        assert!(says_truncated(b"Listing Truncated."));
        assert!(!says_truncated(b"Options: -a -l \n2000 matches total"));
        assert!(!says_truncated(b""));
    }

    #[test]
    fn round_counts_are_suspicious_with_and_without_dots() {
        for count in [1000, 2000, 9998, 9999, 10_000] {
            assert!(is_likely_limit(count), "{count}");
        }
        for count in [0, 1, 100, 997, 1001, 1_000_000] {
            assert!(!is_likely_limit(count), "{count}");
        }
    }
}

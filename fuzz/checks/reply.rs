//! Replies: the same in any portions, bounded, fit to be shown.

use ftpfs::protocol::reply::{ReplyError, parse_257};
use ftpfs::protocol::timestamp::parse_mdtm_reply;
use ftpfs::protocol::{Reply, ReplyDecoder, ReplyLimits};

use super::{each_cut, is_fit_for_a_terminal};

/// Small, so that the fuzzer comes to them.
const SMALL: ReplyLimits = ReplyLimits { reply_bytes_max: 600, line_bytes_max: 120 };

pub(crate) fn check(data: &[u8]) {
    for limits in [SMALL, ReplyLimits::default()] {
        let whole = decode(&[data], limits);
        each_cut(data, |portions| assert_eq!(decode(portions, limits), whole, "cut into {} portions", portions.len()));
        whole.replies.iter().for_each(check_reply);
        if let Some(error) = &whole.error {
            assert!(is_fit_for_a_terminal(&error.to_string()), "{error}");
        }
    }
}

/// All that a decoder makes of bytes.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    replies: Vec<Reply>,
    error: Option<ReplyError>,
    is_empty: bool,
    /// What remains can be ended as a reply.
    finished: Option<Reply>,
}

fn decode(portions: &[&[u8]], limits: ReplyLimits) -> Decoded {
    let mut decoder = ReplyDecoder::new(limits);
    let mut replies = Vec::new();
    for portion in portions {
        decoder.push(portion);
        loop {
            match decoder.next() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.pending_bytes(), 0, "what failed is not kept");
                    decoder.push(b"200 OK\r\n");
                    assert_eq!(decoder.next(), Err(error.clone()), "a failure is for good");
                    return Decoded { replies, error: Some(error), is_empty: decoder.is_empty(), finished: None };
                }
            }
        }
        let most = limits.reply_bytes_max + limits.line_bytes_max + 1;
        assert!(decoder.pending_bytes() <= most, "{} bytes are kept", decoder.pending_bytes());
    }
    let (is_empty, could) = (decoder.is_empty(), decoder.could_finish());
    let finished = decoder.finish_pending();
    assert_eq!(finished.is_some(), could);
    Decoded { replies, error: None, is_empty, finished }
}

fn check_reply(reply: &Reply) {
    assert!((100..=599).contains(&reply.code().number()));
    assert!(!reply.lines().is_empty());
    for line in reply.lines() {
        assert!(!line.contains(&b'\n') && !line.contains(&0) && !line.ends_with(b"\r"), "{}", line.escape_ascii());
    }
    assert!(reply.text().chars().count() <= 501, "{}", reply.text());
    assert!(is_fit_for_a_terminal(&reply.to_string()), "{reply}");
    if let Some(path) = parse_257(reply) {
        assert!(!path.is_empty());
    }
    if let Some(time) = parse_mdtm_reply(reply) {
        assert!(time.nanoseconds < 1_000_000_000);
    }
}

//! Replies as the RFC has them, as servers send them, and in any portions.

use proptest::prelude::*;

use super::*;

/// All that a decoder makes of a transcript that comes in the given portions.
fn decode(portions: &[&[u8]], limits: ReplyLimits) -> (Vec<Reply>, Option<ReplyError>, bool) {
    let mut decoder = ReplyDecoder::new(limits);
    let mut replies = Vec::new();
    for portion in portions {
        decoder.push(portion);
        loop {
            match decoder.next() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error), decoder.is_empty()),
            }
        }
    }
    (replies, None, decoder.is_empty())
}

fn replies(transcript: &[u8]) -> Vec<Reply> {
    let (replies, error, is_empty) = decode(&[transcript], ReplyLimits::default());
    assert_eq!((error, is_empty), (None, true), "{}", transcript.escape_ascii());
    replies
}

fn one(transcript: &[u8]) -> Reply {
    let [reply] = <[Reply; 1]>::try_from(replies(transcript)).unwrap();
    reply
}

fn reply(number: u16, lines: &[&str]) -> Reply {
    Reply::new(ReplyCode::new(number).unwrap(), lines.iter().map(|line| line.as_bytes().to_vec()).collect())
}

const TRANSCRIPT: &[u8] = b"220-ProFTPD\r\n220-second\r\n220 ready\r\n\
    211-Features:\r\n SIZE\r\n 211 x\r\n211-MDTM\r\n215 no end\r\n211 End\r\n\
    \r\n250 done\n200\r\n226 \r\n257 \"/a\xff\xffb\"\r\r\n\
    230-a\0b\r\n\r\n230 c\r\n421 bye\r\n";

#[test]
fn transcript_cut_in_two_at_each_byte_is_the_same() {
    let whole = replies(TRANSCRIPT);
    assert_eq!(whole.len(), 8);
    for at in 0..=TRANSCRIPT.len() {
        let (before, behind) = TRANSCRIPT.split_at(at);
        let (cut, error, is_empty) = decode(&[before, behind], ReplyLimits::default());
        assert_eq!((&cut, error, is_empty), (&whole, None, true), "cut at {at}");
    }
    let bytes: Vec<&[u8]> = TRANSCRIPT.chunks(1).collect();
    assert_eq!(decode(&bytes, ReplyLimits::default()).0, whole);
}

#[test]
fn transcript_that_ends_at_any_byte_gives_only_whole_replies() {
    let whole = replies(TRANSCRIPT);
    for end in 0..TRANSCRIPT.len() {
        let (cut, error, is_empty) = decode(&[&TRANSCRIPT[..end]], ReplyLimits::default());
        assert_eq!(error, None);
        assert_eq!(cut, whole[..cut.len()], "ends at {end}");
        assert!(!is_empty || TRANSCRIPT[..end].is_empty() || TRANSCRIPT[end - 1] == b'\n', "ends at {end}");
    }
}

#[test]
fn reply_of_several_lines_ends_with_its_opening_code_and_a_space() {
    let replies = replies(TRANSCRIPT);
    assert_eq!(replies[0], reply(220, &["ProFTPD", "second", "ready"]));
    assert_eq!(replies[1], reply(211, &["Features:", " SIZE", " 211 x", "MDTM", "215 no end", "End"]));
    assert_eq!(replies[1].middle_lines().len(), 4);
    assert_eq!(one(b"230-x\r\n2300 files\r\n230:y\r\n230\r\n"), reply(230, &["x", "2300 files", "230:y", ""]));
}

#[test]
fn sloppy_lines_are_taken() {
    assert_eq!(one(b"250 done\n"), reply(250, &["done"]));
    assert_eq!(one(b"\r\n\n250\r\n"), reply(250, &[""]));
    assert_eq!(one(b"250 \r\n"), reply(250, &[""]));
    assert_eq!(one(b"250done\r\r\n"), reply(250, &["done"]));
    assert_eq!(one(b"25\x000 d\x00one\r\n"), reply(250, &["done"]));
    assert!(one(b"250  two spaces\r\n").lines()[0].starts_with(b" "));
}

#[test]
fn telnet_escape_is_left_as_it_comes() {
    assert_eq!(one(b"257 \xff\xff\xfe\r\n").lines()[0], b"\xff\xff\xfe");
    assert_eq!(one(b"257 \xff\xfe\r\n").lines()[0], b"\xff\xfe");
}

#[test]
fn what_is_no_reply_is_an_error_for_good() {
    for transcript in
        [&b"hello\r\n"[..], b"600 x\r\n", b"099 x\r\n", b"2500 x\r\n", b"25\r\n", b" 250 x\r\n", b"SSH-2.0-x\r\n"]
    {
        let mut decoder = ReplyDecoder::default();
        decoder.push(transcript);
        let error = decoder.next().unwrap_err();
        assert!(matches!(error, ReplyError::NoCode { .. }));
        decoder.push(b"200 ok\r\n");
        assert_eq!(decoder.next(), Err(error), "{}", transcript.escape_ascii());
    }
}

#[test]
fn line_without_end_is_given_up_at_the_limit() {
    let limits = ReplyLimits { line_bytes_max: 100, ..ReplyLimits::default() };
    let fitting = [b"200 ".as_slice(), &[b'x'; 95], b"\r\n"].concat();
    assert_eq!(decode(&[&fitting], limits).0.len(), 1);
    let mut decoder = ReplyDecoder::new(limits);
    for _ in 0..100 {
        decoder.push(b"x");
        assert_eq!(decoder.next(), Ok(None));
    }
    decoder.push(b"x");
    assert_eq!(decoder.next(), Err(ReplyError::LineTooLong { limit: 100 }));
    assert_eq!(decoder.pending_bytes(), 0);
}

#[test]
fn reply_without_end_is_given_up_at_the_limit() {
    for line in [&b"a line of the endless kind\r\n"[..], b"\r\n"] {
        let limits = ReplyLimits { reply_bytes_max: 10_000, ..ReplyLimits::default() };
        let mut decoder = ReplyDecoder::new(limits);
        decoder.push(b"211-x\r\n");
        let mut pushed = 0;
        let error = loop {
            assert!(decoder.pending_bytes() <= 10_000);
            decoder.push(line);
            pushed += line.len();
            assert!(pushed <= 10_000, "no limit");
            if let Err(error) = decoder.next() {
                break error;
            }
        };
        assert_eq!(error, ReplyError::ReplyTooLong { limit: 10_000 });
    }
}

#[test]
fn last_line_with_another_code_counts_only_if_nothing_follows() {
    let mut decoder = ReplyDecoder::default();
    decoder.push(b"230-Welcome\r\n220 x\r\nmore\r\n");
    assert_eq!(decoder.next(), Ok(None));
    assert!(!decoder.could_finish());
    assert_eq!(decoder.finish_pending(), None);
    decoder.push(b"220 En");
    assert_eq!(decoder.next(), Ok(None));
    assert!(!decoder.could_finish());
    decoder.push(b"d\r\n");
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.could_finish());
    assert_eq!(decoder.finish_pending(), Some(reply(230, &["Welcome", "220 x", "more", "End"])));
    assert!(decoder.is_empty());
    decoder.push(b"200 next\r\n");
    assert_eq!(decoder.next(), Ok(Some(reply(200, &["next"]))));
}

#[test]
fn reply_that_ends_with_a_refusal_is_a_refusal() {
    let mut decoder = ReplyDecoder::default();
    decoder.push(b"226-Almost\r\n550 No\r\n");
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.finish_pending(), Some(reply(550, &["Almost", "No"])));
}

#[test]
fn text_is_one_short_line_that_a_terminal_can_show() {
    assert_eq!(
        one(b"550-No\r\n \x1b[31mGr\xc3\xb6\xc3\x9fe\xff\r\n550 \r\n").to_string(),
        r"550 No / \x1b[31mGröße\xff"
    );
    assert_eq!(one(b"200\r\n").to_string(), "200");
    let long = reply(200, &["ö".repeat(3000).as_str(), "more"]);
    assert_eq!(long.text(), format!("{}…", "ö".repeat(500)));
}

#[test]
fn code_tells_its_class() {
    let class = |number| ReplyCode::new(number).map(ReplyCode::class);
    assert_eq!(class(99), None);
    assert_eq!(class(600), None);
    assert_eq!(class(100), Some(ReplyClass::Preliminary));
    assert_eq!(class(299), Some(ReplyClass::Completion));
    assert_eq!(class(350), Some(ReplyClass::Intermediate));
    assert_eq!(class(400), Some(ReplyClass::Transient));
    assert_eq!(class(599), Some(ReplyClass::Permanent));
}

#[test]
fn path_of_257_is_read_in_all_spellings() {
    let path = |number, text| parse_257(&reply(number, &[text])).map(|path| String::from_utf8(path).unwrap());
    for (text, expected) in [
        (r#""/" is the current directory"#, "/"),
        (r#""/home/a b" "#, "/home/a b"),
        (r#"Current: "/a""b""""#, r#"/a"b""#),
        (r#""""""#, r#"""#),
        ("'/single' is it", "/single"),
        ("/bare is it", "/bare"),
        (r#""DISK:[USER]" is it"#, "DISK:[USER]"),
        (r#""/it's" 'x'"#, "/it's"),
        (r#""/a"b" is your current location"#, r#"/a"b"#),
        (r#""/a"b""c" is your current location"#, r#"/a"b""c"#),
        (r#""/"" is your current location"#, r#"/""#),
        (r#""/a"."#, "/a"),
    ] {
        assert_eq!(path(257, text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(path(250, r#""/a""#).as_deref(), Some("/a"));
    for text in ["", r#""""#, r#""/not closed"#, "is current directory"] {
        assert_eq!(path(257, text), None, "{text}");
    }
    assert_eq!(path(550, r#""/a""#), None);
}

/// Bytes that look like replies often enough to reach all of the decoder.
fn any_transcript() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"220-".to_vec()),
        Just(b"220 ".to_vec()),
        Just(b"220".to_vec()),
        Just(b"550 no".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"\xff\xff".to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
        prop::collection::vec(b'0'..=b'9', 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn portions_never_change_what_is_decoded(
        transcript in any_transcript(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        line_bytes_max in 4..60_usize,
        reply_bytes_max in 40..300_usize,
    ) {
        let limits = ReplyLimits { reply_bytes_max, line_bytes_max };
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(transcript.len() + 1)).collect();
        at.extend([0, transcript.len()]);
        at.sort_unstable();
        let portions: Vec<&[u8]> = at.windows(2).map(|range| &transcript[range[0]..range[1]]).collect();
        let (whole, error, is_empty) = decode(&[&transcript], limits);
        prop_assert_eq!(decode(&portions, limits), (whole.clone(), error, is_empty));
        for reply in whole {
            prop_assert!(!reply.text().chars().any(char::is_control));
            prop_assert!(!reply.lines().is_empty());
        }
    }

    #[test]
    fn quoted_path_survives(path in prop::collection::vec(any::<u8>().prop_filter("in a line", |byte| !b"\r\n\0".contains(byte)), 1..40)) {
        let quoted = path.iter().flat_map(|byte| if *byte == b'"' { vec![b'"', b'"'] } else { vec![*byte] });
        let line: Vec<u8> = b"257 \"".iter().copied().chain(quoted).chain(*b"\" is it\r\n").collect();
        prop_assert_eq!(parse_257(&one(&line)), Some(path));
    }
}

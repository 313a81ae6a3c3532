//! FEAT: what is listed can be asked for, and what follows from it can be sent.

use ftpfs::protocol::{Command, Encoding, Features, ReplyDecoder};

pub(crate) fn check(data: &[u8]) {
    let mut decoder = ReplyDecoder::default();
    decoder.push(b"211-Features:\r\n");
    decoder.push(data);
    decoder.push(b"\r\n211 End\r\n");
    let Ok(Some(reply)) = decoder.next() else { return };
    let features = Features::parse(&reply);
    assert!(!features.is_empty() || reply.middle_lines().iter().all(|line| is_blank(line)));
    for fact in features.mlst_facts() {
        assert!(!fact.name.is_empty() && fact.name == fact.name.to_ascii_lowercase(), "{fact:?}");
    }
    assert!(!features.auth_tls() || features.has("AUTH"));
    assert!(!features.rest_stream() || features.has("rest"));
    let Some(option) = features.missing_facts_option() else { return };
    // Sent as it is: whatever the server has listed, it must be one command.
    let mut line = Vec::new();
    Command::Opts(option.clone().into()).encode(&mut line, Encoding::default()).expect("a command that can be sent");
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "{}", line.escape_ascii());
    assert!(option.starts_with("MLST ") && option.ends_with(';'), "{option}");
}

fn is_blank(line: &[u8]) -> bool {
    String::from_utf8_lossy(line).trim().is_empty()
}

//! Replies: what the server says on the control connection.
//!
//! A reply is a three-digit code and text, on one line or several (RFC 959 §4.2). [`ReplyDecoder`]
//! does no I/O and reads no clock, so a test can feed it a transcript one byte at a time.
//!
//! Not here: which command a reply answers (`pipeline`), what a refusal means (`remote::refusal`).

use std::fmt;

use super::path::write_readable;

/// The longest text that [`Reply::text`] makes, in characters.
const TEXT_LEN_MAX: usize = 500;

/// What a line is counted for beside its bytes, so that a reply of empty lines has a bound too.
const LINE_OVERHEAD: usize = 32;

/// Three digits, 100 to 599.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

/// What the first digit says (RFC 959 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyClass {
    /// 1yz: begun; another reply follows.
    Preliminary,
    /// 2yz: done.
    Completion,
    /// 3yz: taken; a further command is awaited.
    Intermediate,
    /// 4yz: refused now; perhaps not later.
    Transient,
    /// 5yz: refused.
    Permanent,
}

impl ReplyCode {
    /// Takes a number from 100 to 599 as a code.
    pub const fn new(number: u16) -> Option<Self> {
        if matches!(number, 100..=599) { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// What its first digit says.
    pub const fn class(self) -> ReplyClass {
        match self.0 {
            ..200 => ReplyClass::Preliminary,
            200..300 => ReplyClass::Completion,
            300..400 => ReplyClass::Intermediate,
            400..500 => ReplyClass::Transient,
            500.. => ReplyClass::Permanent,
        }
    }

    /// The code at the beginning of `line`, if there is one, and what follows it.
    fn split_from(line: &[u8]) -> Option<(Self, &[u8])> {
        let (digits, rest) = line.split_first_chunk::<3>()?;
        if !digits.iter().all(u8::is_ascii_digit) || rest.first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let number = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        Self::new(number).map(|code| (code, rest))
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: ReplyCode,
    lines: Vec<Vec<u8>>,
}

impl Reply {
    /// A reply as if it had been received; for tests and servers in memory.
    pub fn new(code: ReplyCode, lines: Vec<Vec<u8>>) -> Self {
        Self { code, lines }
    }

    /// The code.
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// What the code's first digit says.
    pub fn class(&self) -> ReplyClass {
        self.code.class()
    }

    /// The lines without line ends, and without the code where it stands before them; a leading space of a line
    /// between the first and the last is kept, since MLST and STAT need it.
    pub fn lines(&self) -> &[Vec<u8>] {
        &self.lines
    }

    /// The lines between the first and the last: what FEAT, MLST and STAT answer.
    pub fn middle_lines(&self) -> &[Vec<u8>] {
        match self.lines.as_slice() {
            [_, middle @ .., _] => middle,
            _ => &[],
        }
    }

    /// All lines as one, for people: readable, control characters escaped, cut after 500 characters.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let line = line.trim_ascii();
            if !text.is_empty() && !line.is_empty() {
                text.push_str(" / ");
            }
            // A character is at least one byte: what lies beyond cannot be shown, and is not worth escaping.
            let shown = line.get(..TEXT_LEN_MAX * 4).unwrap_or(line);
            // Writing to a String cannot fail.
            let _ = write_readable(&mut text, shown);
            if let Some((end, _)) = text.char_indices().nth(TEXT_LEN_MAX) {
                text.truncate(end);
                text.push('…');
                break;
            }
        }
        text
    }

    fn has_byte_len(&self) -> usize {
        self.lines.iter().map(|line| line.len() + LINE_OVERHEAD).sum()
    }
}

/// `550 No such file`, for logs and messages.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        if text.is_empty() { write!(f, "{}", self.code) } else { write!(f, "{} {text}", self.code) }
    }
}

/// The path in a 257 reply: between quotes, with quotes in it doubled (RFC 959 §5.4 and appendix II).
///
/// Also read: quotes in it that are not doubled, where that shows (Pure-FTPd: `"/a"b" is your …`), single quotes, and a path
/// without any that begins with `/` (libunftp's answer to MKD). `None` where there is none of these, or the reply is no
/// completion reply; which code it is does not matter (250 is seen).
pub fn parse_257(reply: &Reply) -> Option<Vec<u8>> {
    if reply.class() != ReplyClass::Completion {
        return None;
    }
    let lines = || reply.lines().iter().map(Vec::as_slice);
    lines()
        .find_map(|line| quoted(line, b'"'))
        .or_else(|| lines().find_map(|line| quoted(line, b'\'')))
        .or_else(|| lines().find_map(unquoted))
        .filter(|path| !path.is_empty())
}

/// What stands between quotes on the line: by the RFC where that makes sense, else from the first to the last.
fn quoted(line: &[u8], quote: u8) -> Option<Vec<u8>> {
    let begin = line.iter().position(|byte| *byte == quote)? + 1;
    let text = line.get(begin..)?;
    if let Some((path, behind)) = quoted_by_doubling(text, quote)
        && behind.first().is_none_or(|byte| byte.is_ascii_whitespace() || byte.is_ascii_punctuation())
    {
        return Some(path);
    }
    let end = text.iter().rposition(|byte| *byte == quote)?;
    text.get(..end).map(<[u8]>::to_vec)
}

/// The path up to the first quote that is not doubled, and what is behind that.
fn quoted_by_doubling(text: &[u8], quote: u8) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text;
    let mut path = Vec::with_capacity(rest.len());
    loop {
        let end = rest.iter().position(|byte| *byte == quote)?;
        path.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(&[quote]) {
            Some(behind) => {
                path.push(quote);
                rest = behind;
            }
            None => return Some((path, rest)),
        }
    }
}

/// The line's first word, where it is an absolute path.
fn unquoted(line: &[u8]) -> Option<Vec<u8>> {
    let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    word.starts_with(b"/").then(|| word.to_vec())
}

/// How much a server may say before we stop listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// The longest reply; each line counts 32 bytes more than it has. STAT of a directory can be large.
    pub reply_bytes_max: usize,
    /// The longest line, with its CR.
    pub line_bytes_max: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self { reply_bytes_max: 1 << 20, line_bytes_max: 64 << 10 }
    }
}

/// Why what the server says is no reply. Where the next one begins cannot be known: close the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that begins no reply and belongs to none.
    #[error("not an FTP reply: {line}")]
    NoCode {
        /// The line's beginning, readable.
        line: String,
    },
    /// Longer than [`ReplyLimits::line_bytes_max`].
    #[error("the server's line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// Longer than [`ReplyLimits::reply_bytes_max`].
    #[error("the server's reply is longer than {limit} bytes")]
    ReplyTooLong {
        /// The limit.
        limit: usize,
    },
}

/// Bytes in any portions to replies.
///
/// Beyond RFC 959 §4.2 it takes what servers really send: LF without CR, several CR, NUL (dropped), empty lines
/// between replies, a code without text, text right behind the code, and the code before middle lines too
/// (`211-SIZE`). A reply of several lines ends with its opening code and a space or nothing; all else is text, other
/// codes as well, but see [`Self::finish_pending`].
///
/// 0xFF is left as it comes. Telnet would double it in data (RFC 854), but of four servers asked, three never do;
/// vsftpd 3.0.3 does in 257 and not in STAT. Reading two as one would be wrong more often than right.
#[derive(Debug)]
pub struct ReplyDecoder {
    limits: ReplyLimits,
    /// Bytes received, of which those before `consumed` have become lines.
    buffer: Vec<u8>,
    consumed: usize,
    /// How much behind `consumed` is known to hold no LF.
    searched: usize,
    open: Option<OpenReply>,
    failed: Option<ReplyError>,
}

/// A reply of several lines whose last one has not come.
#[derive(Debug)]
struct OpenReply {
    reply: Reply,
    byte_len: usize,
    /// The last line's code, where it could be a last line but for being another code.
    other_code: Option<ReplyCode>,
}

impl ReplyDecoder {
    /// One that has received nothing.
    pub fn new(limits: ReplyLimits) -> Self {
        Self { limits, buffer: Vec::new(), consumed: 0, searched: 0, open: None, failed: None }
    }

    /// Takes bytes as received. Call [`Self::next`] until it has no more before the next portion: that bounds what
    /// is kept.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Hands out the next reply; `None` where it needs more bytes.
    ///
    /// # Errors
    /// [`ReplyError`]: close the connection; every later call says the same.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends would not be asked again")]
    pub fn next(&mut self) -> Result<Option<Reply>, ReplyError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.next_of_lines();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buffer = Vec::new();
            (self.consumed, self.searched, self.open) = (0, 0, None);
        }
        result
    }

    /// Whether all received has become replies that were handed out. At the end of a connection, false means
    /// that a reply was cut.
    pub fn is_empty(&self) -> bool {
        self.open.is_none() && self.pending_bytes() == 0
    }

    /// How many bytes are kept of a reply that is not complete.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.consumed + self.open.as_ref().map_or(0, |open| open.byte_len)
    }

    /// Whether [`Self::finish_pending`] would end a reply, if nothing follows.
    pub fn could_finish(&self) -> bool {
        self.buffer.len() == self.consumed && self.open.as_ref().is_some_and(|open| open.other_code.is_some())
    }

    /// Ends a reply of several lines whose last line carries another code than its first: the caller says that
    /// nothing has followed for a while (1 s), so that line was meant as the last.
    ///
    /// The reply has the higher of the two codes, so that it is no success if either was a refusal.
    pub fn finish_pending(&mut self) -> Option<Reply> {
        if !self.could_finish() {
            return None;
        }
        let OpenReply { mut reply, other_code, .. } = self.open.take()?;
        let other_code = other_code?;
        if let Some(last) = reply.lines.last_mut() {
            let text = strip_separator(last.get(3..).unwrap_or_default()).to_vec();
            *last = text;
        }
        reply.code = reply.code.max(other_code);
        Some(reply)
    }

    fn next_of_lines(&mut self) -> Result<Option<Reply>, ReplyError> {
        while let Some(line) = self.next_line()? {
            if let Some(reply) = self.take_line(&line)? {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// The next line without its end and NUL.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ReplyError> {
        let limit = self.limits.line_bytes_max;
        let received = self.buffer.get(self.consumed..).unwrap_or_default();
        let unsearched = received.get(self.searched..).unwrap_or_default();
        let end = unsearched.iter().position(|byte| *byte == b'\n').map(|found| self.searched + found);
        // The same verdict whether or not the LF is here already: portions must not change results.
        if end.unwrap_or(received.len()) > limit {
            return Err(ReplyError::LineTooLong { limit });
        }
        let Some(end) = end else {
            self.searched = received.len();
            return Ok(None);
        };
        let line = clean_line(received.get(..end).unwrap_or_default());
        self.consumed += end + 1;
        self.searched = 0;
        Ok(Some(line))
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        match self.open.take() {
            Some(open) => self.take_further_line(open, line),
            None if line.is_empty() => Ok(None),
            None => self.take_first_line(line),
        }
    }

    fn take_first_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let Some((code, rest)) = ReplyCode::split_from(line) else {
            let mut shown = String::new();
            // Writing to a String cannot fail.
            let _ = write_readable(&mut shown, line.get(..80).unwrap_or(line));
            return Err(ReplyError::NoCode { line: shown });
        };
        let reply = Reply { code, lines: vec![strip_separator(rest).to_vec()] };
        let byte_len = self.check_len(reply.has_byte_len())?;
        if rest.first() == Some(&b'-') {
            self.open = Some(OpenReply { reply, byte_len, other_code: None });
            return Ok(None);
        }
        Ok(Some(reply))
    }

    fn take_further_line(&mut self, mut open: OpenReply, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        open.byte_len = self.check_len(open.byte_len + line.len() + LINE_OVERHEAD)?;
        let ends_like_last = |rest: &[u8]| matches!(rest.first(), None | Some(b' '));
        let (text, is_last, other_code) = match ReplyCode::split_from(line) {
            Some((code, rest)) if code == open.reply.code => match rest.first() {
                None | Some(b' ') => (strip_separator(rest), true, None),
                Some(b'-') => (strip_separator(rest), false, None),
                Some(_) => (line, false, None),
            },
            Some((code, rest)) if ends_like_last(rest) => (line, false, Some(code)),
            Some(_) | None => (line, false, None),
        };
        open.reply.lines.push(text.to_vec());
        open.other_code = other_code;
        if is_last {
            return Ok(Some(open.reply));
        }
        self.open = Some(open);
        Ok(None)
    }

    fn check_len(&self, byte_len: usize) -> Result<usize, ReplyError> {
        let limit = self.limits.reply_bytes_max;
        if byte_len > limit { Err(ReplyError::ReplyTooLong { limit }) } else { Ok(byte_len) }
    }
}

impl Default for ReplyDecoder {
    fn default() -> Self {
        Self::new(ReplyLimits::default())
    }
}

/// What follows the `-` or the space behind a code.
fn strip_separator(rest: &[u8]) -> &[u8] {
    match rest {
        [b' ' | b'-', text @ ..] => text,
        text => text,
    }
}

/// Drops NUL anywhere, and then CR at the end.
fn clean_line(line: &[u8]) -> Vec<u8> {
    let mut cleaned: Vec<u8> = line.iter().copied().filter(|byte| *byte != 0).collect();
    let len = cleaned.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    cleaned.truncate(len);
    cleaned
}

#[cfg(test)]
mod tests;

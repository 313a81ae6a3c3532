//! A line as columns, for the dialects of LIST that have them.

/// No dialect has more columns before the name.
const COLUMNS_MAX: usize = 24;

/// What stands between spaces or tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column<'line> {
    pub(super) bytes: &'line [u8],
    /// What follows it, to the end of the line.
    pub(super) rest: &'line [u8],
}

impl<'line> Column<'line> {
    /// What follows behind exactly one space: a name may begin with spaces, and columns before it are not padded.
    pub(super) fn name(self) -> Option<&'line [u8]> {
        self.rest.strip_prefix(b" ")
    }

    /// Whether it is a number.
    pub(super) fn is_number(self) -> bool {
        self.bytes.iter().all(u8::is_ascii_digit)
    }
}

/// The first columns of a line; none of them is empty.
pub(super) fn columns(line: &[u8]) -> Vec<Column<'_>> {
    let mut columns = Vec::with_capacity(COLUMNS_MAX);
    let mut rest = line;
    while columns.len() < COLUMNS_MAX {
        let start = rest.iter().position(|byte| !is_blank(*byte)).unwrap_or(rest.len());
        let (_, column) = rest.split_at_checked(start).unwrap_or((rest, b""));
        if column.is_empty() {
            break;
        }
        let end = column.iter().position(|byte| is_blank(*byte)).unwrap_or(column.len());
        let (bytes, after) = column.split_at_checked(end).unwrap_or((column, b""));
        columns.push(Column { bytes, rest: after });
        rest = after;
    }
    columns
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A number without sign.
pub(super) fn parse_number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.starts_with('+'))?.parse().ok()
}

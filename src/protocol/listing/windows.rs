//! LIST as `DIR` of MS-DOS writes it: IIS by default, and some others on Windows.
use super::{Context, Dialect, Line};

/// See the module's documentation.
pub(super) const DIALECT: Dialect = Dialect { name: "DOS", parse };

fn parse(_line: &[u8], _context: &Context) -> Line {
    Line::NotMine
}

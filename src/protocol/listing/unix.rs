//! LIST as `ls -l` writes it: most servers do, each a little differently.
//!
//! Columns have no fixed place, and owners and names may hold anything, so the line is read from its date: what stands
//! before a date is the size, exactly one space behind it begins the name.
use super::{Context, Dialect, Line};

/// See the module's documentation.
pub(super) const DIALECT: Dialect = Dialect { name: "Unix", parse };

fn parse(_line: &[u8], _context: &Context) -> Line {
    Line::NotMine
}

//! MLSD: the same in any portions; nothing that was not in the bytes; every line counted.

use ftpfs::protocol::listing::{Context, ListingParser, ParsedListing, mlsd::parse_mlst};
use ftpfs::protocol::{Entry, EntryKind, Name};

use super::{contains, each_cut};

const CONTEXT: Context = Context { now_seconds: 1_700_000_000, ahead_of_utc_seconds: 3600 };

pub(crate) fn check(data: &[u8]) {
    check_listing(data, || ListingParser::for_mlsd(CONTEXT));
    let asked = Name::new("asked").expect("a name");
    for line in data.split(|byte| *byte == b'\n') {
        let Some(entry) = parse_mlst(line, asked.clone()) else { continue };
        assert_eq!(entry.name, asked, "who asks for a name gets that one");
        check_entry(&entry, line);
    }
}

/// For LIST as well, which only differs in its parser.
pub(super) fn check_listing(data: &[u8], parser: impl Fn() -> ListingParser) {
    let parse = |portions: &[&[u8]]| {
        let mut parser = parser();
        portions.iter().for_each(|portion| parser.push(portion));
        parser.finish()
    };
    let whole = parse(&[data]);
    each_cut(data, |portions| assert_eq!(parse(portions), whole, "cut into {} portions", portions.len()));
    check_counts(&whole, data);
    let mut names: Vec<&Name> = whole.entries.iter().map(|entry| &entry.name).collect();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a name is listed twice");
    for entry in &whole.entries {
        assert!(contains(data, entry.name.as_bytes()), "{} was not listed", entry.name);
        assert_eq!(Name::new(entry.name.as_bytes()).as_ref(), Ok(&entry.name));
        check_entry(entry, data);
    }
}

fn check_counts(listing: &ParsedListing, data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').count();
    let counted = listing.entries.len() + listing.unparsed_count + listing.refused_count + listing.duplicate_count;
    assert!(counted <= lines, "{counted} of {lines} lines");
    assert!(listing.unparsed.len() <= listing.unparsed_count.min(20));
    assert!(listing.unparsed.iter().all(|line| line.len() <= 1024));
    assert!(listing.entries.is_empty() || listing.dialect.is_some());
    assert_eq!(listing.is_understood(), listing.unparsed_count + listing.refused_count == 0);
}

fn check_entry(entry: &Entry, data: &[u8]) {
    assert!(entry.mode.is_none_or(|mode| mode <= 0o7777), "{entry:?}");
    assert!(entry.modified.is_none_or(|time| time.nanoseconds < 1_000_000_000), "{entry:?}");
    assert!(entry.link_target.is_none() || entry.kind == EntryKind::Symlink, "{entry:?}");
    let fields =
        [entry.link_target.as_deref(), entry.owner.as_deref(), entry.group.as_deref(), entry.unique.as_deref()];
    for field in fields.into_iter().flatten() {
        assert!(contains(data, field) && !field.contains(&b'\n'), "{entry:?}");
    }
}

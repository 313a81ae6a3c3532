//! LIST in all its dialects: what holds for MLSD, and that the clock of the reader moves no name.

use ftpfs::protocol::listing::{Context, ListingParser};

pub(crate) fn check(data: &[u8]) {
    let context = |now_seconds| Context { now_seconds, ahead_of_utc_seconds: -7 * 3600 };
    super::mlsd::check_listing(data, || ListingParser::for_list(context(1_700_000_000)));
    let names = |now_seconds| {
        let mut parser = ListingParser::for_list(context(now_seconds));
        parser.push(data);
        parser.finish().entries.into_iter().map(|entry| (entry.name, entry.kind, entry.size)).collect::<Vec<_>>()
    };
    let now = names(1_700_000_000);
    for other in [0, i64::MAX, i64::MIN] {
        assert_eq!(names(other), now);
    }
}

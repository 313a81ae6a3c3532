//! What listings remember, and what they let go.

use super::*;
use crate::protocol::{EntryKind, Precision};
use crate::remote::RemoteError;

const HALF_MINUTE: Duration = Duration::from_secs(30);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text.as_bytes()).unwrap()
}

fn file(text: &str, seconds: i64, precision: Precision) -> Entry {
    let modified = Some(Timestamp { seconds, nanoseconds: 0, precision });
    Entry { size: Some(1), modified, ..Entry::new(name(text), EntryKind::File) }
}

fn lead(listings: &Listings, directory: &str, now: Instant) -> Lead {
    match listings.begin_listing(&path(directory), now) {
        Flight::Lead(lead) => lead,
        Flight::Follow(_) => panic!("nobody else lists"),
    }
}

fn install(listings: &Listings, directory: &str, entries: Vec<Entry>, complete: bool, now: Instant) {
    let lead = lead(listings, directory, now);
    listings.install(lead, Ok(Listing { entries, complete, cut_short: !complete })).unwrap();
}

fn modified(listings: &Listings, text: &str, now: Instant) -> Option<i64> {
    match listings.get(&path("/"), &name(text), HALF_MINUTE, now) {
        Known::Present(record) => record.entry.modified.map(|time| time.seconds),
        _ => None,
    }
}

#[test]
fn complete_listing_proves_absence_until_it_is_too_old() {
    let (listings, now) = (Listings::new(100), Instant::now());
    install(&listings, "/", vec![file("a", 0, Precision::Second)], true, now);
    let get = |text, later| listings.get(&path("/"), &name(text), HALF_MINUTE, now + Duration::from_secs(later));
    assert!(matches!(get("a", 30), Known::Present(_)));
    assert_eq!(get("b", 30), Known::Absent(now));
    assert_eq!(get("a", 31), Known::Unknown);
    assert_eq!(get("b", 31), Known::Unknown);
}

#[test]
fn incomplete_listing_proves_only_presence() {
    let (listings, now) = (Listings::new(100), Instant::now());
    install(&listings, "/", vec![file("a", 0, Precision::Second)], false, now);
    assert_eq!(listings.get(&path("/"), &name("b"), HALF_MINUTE, now), Known::Unknown);
    let asked = listings.asked(&path("/"));
    assert_eq!(listings.answered(&path("/"), &name("b"), None, asked, now), None);
    assert_eq!(listings.get(&path("/"), &name("b"), HALF_MINUTE, now), Known::Absent(now));
}

#[test]
fn changes_made_while_a_listing_is_in_flight_are_laid_over_it() {
    let (listings, now) = (Listings::new(100), Instant::now());
    let flight = lead(&listings, "/", now);
    listings.insert(&path("/"), file("made", 0, Precision::Second), now);
    listings.remove(&path("/"), &name("removed"), now);
    let listing = Listing { entries: vec![file("removed", 0, Precision::Second)], complete: true, cut_short: false };
    let snapshot = listings.install(flight, Ok(listing)).unwrap();
    assert!(snapshot.get(&name("made")).is_some());
    assert!(snapshot.get(&name("removed")).is_none());
}

#[test]
fn answer_asked_for_before_a_local_change_is_not_kept() {
    let (listings, now) = (Listings::new(100), Instant::now());
    let asked = listings.asked(&path("/"));
    listings.remove(&path("/"), &name("a"), now);
    listings.answered(&path("/"), &name("a"), Some(file("a", 0, Precision::Second)), asked, now);
    assert_eq!(listings.get(&path("/"), &name("a"), HALF_MINUTE, now), Known::Absent(now));
}

#[test]
fn answer_that_comes_after_its_directory_was_forgotten_is_not_kept() {
    let (listings, now) = (Listings::new(100), Instant::now());
    let asked = listings.asked(&path("/d"));
    let flight = lead(&listings, "/d", now);
    listings.forget_tree(&path("/d"));
    listings.answered(&path("/d"), &name("a"), None, asked, now);
    listings.install(flight, Ok(Listing { entries: Vec::new(), complete: true, cut_short: false })).unwrap();
    assert_eq!(listings.get(&path("/d"), &name("a"), HALF_MINUTE, now), Known::Unknown);
}

#[test]
fn exact_time_sticks_while_listings_agree_with_it() {
    let (listings, now) = (Listings::new(100), Instant::now());
    let listed = |seconds| vec![file("a", seconds, Precision::Minute)];
    install(&listings, "/", listed(600), true, now);
    let asked = listings.without_exact_time(&path("/"), &name("a"), 10);
    let exact = Timestamp { seconds: 617, nanoseconds: 0, precision: Precision::Second };
    listings.refine_times(&path("/"), &asked, &[Some(exact)], now);
    install(&listings, "/", listed(600), true, now);
    assert_eq!(modified(&listings, "a", now), Some(617));
    install(&listings, "/", listed(660), true, now);
    assert_eq!(modified(&listings, "a", now), Some(660));
    assert_eq!(listings.without_exact_time(&path("/"), &name("a"), 10).len(), 1);
}

#[test]
fn exact_time_sticks_where_the_listing_is_in_another_zone() {
    let (listings, now) = (Listings::new(100), Instant::now());
    let listed = || vec![file("a", 7200, Precision::Minute)];
    install(&listings, "/", listed(), true, now);
    let asked = listings.without_exact_time(&path("/"), &name("a"), 10);
    let exact = Timestamp { seconds: 17, nanoseconds: 0, precision: Precision::Second };
    listings.refine_times(&path("/"), &asked, &[Some(exact)], now);
    install(&listings, "/", listed(), true, now);
    assert_eq!(modified(&listings, "a", now), Some(17));
}

#[test]
fn time_that_the_server_would_not_tell_is_not_asked_for_again() {
    let (listings, now) = (Listings::new(100), Instant::now());
    install(&listings, "/", vec![file("a", 600, Precision::Minute)], true, now);
    let asked = listings.without_exact_time(&path("/"), &name("a"), 10);
    listings.refine_times(&path("/"), &asked, &[None], now);
    assert!(listings.without_exact_time(&path("/"), &name("a"), 10).is_empty());
}

#[test]
fn least_recently_used_directories_go_first_and_pinned_ones_stay() {
    let (listings, now) = (Listings::new(8), Instant::now());
    listings.pin(&path("/pinned"), file("new", 0, Precision::Second), now);
    for directory in ["/1", "/2", "/3"] {
        let entries = vec![file("a", 0, Precision::Second), file("b", 0, Precision::Second)];
        install(&listings, directory, entries, true, now);
    }
    assert!(listings.entries() <= 8);
    assert!(listings.get_snapshot(&path("/1"), HALF_MINUTE, now).is_none());
    assert!(listings.get_snapshot(&path("/3"), HALF_MINUTE, now).is_some());
    let pinned = listings.get(&path("/pinned"), &name("new"), HALF_MINUTE, now);
    assert!(matches!(pinned, Known::Present(_)));
}

#[test]
fn those_who_wait_for_a_listing_hear_of_its_failure() {
    let (listings, now) = (Listings::new(100), Instant::now());
    let join = || match listings.begin_listing(&path("/"), now) {
        Flight::Follow(follower) => follower,
        Flight::Lead(_) => panic!("somebody lists already"),
    };
    let flight = lead(&listings, "/", now);
    let (first, second) = (join(), join());
    let failure = RemoteError::Unreachable { reason: "cut".into() };
    assert!(listings.install(flight, Err(failure.clone())).is_err());
    assert_eq!(first.wait(HALF_MINUTE).map(|_| ()), Err(failure));

    assert!(second.wait(HALF_MINUTE).is_err());
    let abandoned = lead(&listings, "/", now);
    let third = join();
    drop(abandoned);
    assert!(third.wait(HALF_MINUTE).is_err());
    drop(lead(&listings, "/", now));
}

#[test]
fn places_stay_while_entries_come_and_go() {
    let (listings, now) = (Listings::new(1000), Instant::now());
    let entries = (0..10).map(|number| file(&format!("f{number}"), 0, Precision::Second)).collect();
    install(&listings, "/", entries, true, now);
    let held = listings.get_snapshot(&path("/"), HALF_MINUTE, now).unwrap();
    listings.remove(&path("/"), &name("f0"), now);
    let after = listings.get_snapshot(&path("/"), HALF_MINUTE, now).unwrap();
    assert_eq!((held.len(), after.len()), (10, 9));
    let place = after.entries_from(3).next().map(|(place, record)| (place, record.entry.name.clone()));
    assert_eq!(place, Some((3, name("f3"))));
    for number in 0..1000 {
        listings.insert(&path("/"), file(&format!("m{number}"), 0, Precision::Second), now);
        listings.remove(&path("/"), &name(&format!("m{number}")), now);
    }
    let last = listings.get_snapshot(&path("/"), HALF_MINUTE, now).unwrap();
    assert_eq!(last.len(), 9);
    assert!(last.entries_from(0).all(|(place, _)| place < 200), "places do not grow for ever");
}

#[test]
fn listing_that_lands_while_a_new_file_becomes_the_servers_shows_what_was_stored() {
    let (listings, now) = (Listings::new(100), Instant::now());
    let new = |size| Entry { size: Some(size), ..file("new", 7, Precision::Second) };
    listings.pin(&path("/"), new(0), now);
    let lead = lead(&listings, "/", now);
    // Seen while the server had none of it.
    let listing = Listing { entries: vec![new(0)], complete: true, cut_short: false };
    listings.insert(&path("/"), new(100), now);
    listings.install(lead, Ok(listing)).unwrap();
    listings.unpin(&path("/"), &name("new"));
    let Known::Present(record) = listings.get(&path("/"), &name("new"), Duration::MAX, now) else {
        panic!("it is there")
    };
    assert_eq!(record.entry.size, Some(100));
}

#[test]
fn name_that_came_and_went_while_a_listing_was_in_flight_is_not_shown_by_it() {
    let (listings, now) = (Listings::new(1000), Instant::now());
    let lead = lead(&listings, "/", now);
    listings.pin(&path("/"), file("refused", 0, Precision::Second), now);
    listings.unpin(&path("/"), &name("refused"));
    listings.distrust(&path("/"), &name("refused"), now + Duration::from_millis(1));
    let listed = Listing { entries: vec![file("there", 0, Precision::Second)], complete: true, cut_short: false };
    let snapshot = listings.install(lead, Ok(listed)).unwrap();
    assert!(snapshot.get(&name("refused")).is_none() && snapshot.get(&name("there")).is_some());
    assert!(matches!(listings.get(&path("/"), &name("refused"), HALF_MINUTE, now), Known::Unknown));
}

#[test]
fn time_of_a_directory_stays_until_it_is_too_old_however_often_its_parent_is_listed() {
    let (listings, now) = (Listings::new(100).keeping_directory_times(HALF_MINUTE), Instant::now());
    let at = |seconds| now + Duration::from_secs(seconds);
    let directory = |seconds| Entry { kind: EntryKind::Directory, ..file("d", seconds, Precision::Second) };
    let shown = |later| match listings.get(&path("/"), &name("d"), Duration::MAX, at(later)) {
        Known::Present(record) => record.entry.modified.unwrap().seconds,
        other => panic!("{other:?}"),
    };
    let renew = |seconds, later| {
        let Flight::Lead(lead) = listings.begin_listing_ahead(&path("/"), at(later)) else {
            panic!("it flies already")
        };
        let listing = Listing { entries: vec![directory(seconds)], complete: true, cut_short: false };
        listings.install(lead, Ok(listing)).unwrap();
    };
    install(&listings, "/", vec![directory(100)], true, now);
    renew(200, 1);
    assert_eq!(shown(1), 100);
    renew(200, 29);
    assert_eq!(shown(29), 100);
    renew(200, 31);
    assert_eq!(shown(31), 200);
    renew(300, 32);
    assert_eq!(shown(32), 200);
    install(&listings, "/", vec![directory(300)], true, at(33));
    assert_eq!(shown(33), 200);
    install(&listings, "/", vec![directory(300)], true, at(63));
    assert_eq!(shown(63), 300);
}

#[test]
fn costly_directory_is_renewed_for_names_that_it_lacks_and_for_no_others() {
    let (listings, start) = (Listings::new(100), Instant::now());
    let later = |millis| start + Duration::from_millis(millis);
    install(&listings, "/", vec![file("a", 0, Precision::Second)], true, start);
    install(&listings, "/near", Vec::new(), true, start);
    listings.took(&path("/near"), Duration::from_millis(200));
    listings.took(&path("/"), Duration::from_millis(450));
    let used = |text, at| listings.used(&path("/"), &name(text), Duration::from_secs(1), later(at));
    assert!(!used("a", 400) && !used("b", 450));
    assert!(!used("a", 600));
    assert!(used("b", 600));
    // It was begun just now.
    assert!(!used("b", 700));
}

//! When a directory in use is to be listed again, so that nobody finds its listing too old.
//!
//! It is decided when somebody uses it, and so it ends with the use. What a renewal costs is what a listing takes
//! beyond the shortest one of this mount: those are round trips, which cost the server nothing.
//!
//! For who asks for a name that the last listing did not have the directory is listed in any case, once it is too old: nothing else proves
//! that a name is absent. There a renewal may cost more, and come later.

use std::time::{Duration, Instant};

/// What a renewal costs is at most this part of the time between two.
const COST_PART_MAX: u32 = 10;
/// The same where the directory would be listed anyway.
const NEEDED_COST_PART_MAX: u32 = 2;
/// And all that it takes at most this part of the age that is allowed. A listing is as old as its question when it comes, and the next one has
/// to be there before it is too old.
const TIME_PART_MAX: u32 = 2;
/// Answers that have to be younger than this are asked for.
const AGE_MIN: Duration = Duration::from_millis(100);

/// What somebody wants to know of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// What one answer about one name tells as well.
    OneName,
    /// What a listing alone tells.
    Listing,
}

/// What is known of the use of one directory.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// When somebody last wanted to know something that could be of a given age: there are two such ages, for opens and for lookups,
    /// and an open comes with a lookup.
    uses: Vec<(Duration, Instant)>,
    /// When a listing of it was last begun.
    pub(super) begun_at: Option<Instant>,
    /// How long the last one took.
    pub(super) took: Duration,
}

impl Renewal {
    /// For how long what a renewal costs keeps the next one from being worth it.
    pub(super) fn pause(&self, wanted: Use, shortest: Duration) -> Duration {
        let part = match wanted {
            Use::OneName => COST_PART_MAX,
            Use::Listing => NEEDED_COST_PART_MAX,
        };
        self.took.saturating_sub(shortest).saturating_mul(part)
    }

    /// Whether a listing is there in time: before answers of `age_max` are too old, or, where it is made in any case, soon behind that.
    fn is_in_time(&self, wanted: Use, pause: Duration, age_max: Duration) -> bool {
        match wanted {
            Use::OneName => self.took <= age_max / TIME_PART_MAX && pause + self.took <= age_max,
            Use::Listing => self.took <= age_max && pause <= age_max,
        }
    }

    /// Enters a use, and returns the one before.
    fn note(&mut self, age_max: Duration, now: Instant) -> Option<Instant> {
        match self.uses.iter_mut().find(|(age, _)| *age == age_max) {
            Some((_, used_at)) => Some(std::mem::replace(used_at, now)),
            None => {
                self.uses.push((age_max, now));
                None
            }
        }
    }

    /// Takes note of a use that allows answers of `age_max`, and says whether to renew a listing of `listed_at` now.
    pub(super) fn used(
        &mut self,
        listed_at: Instant,
        wanted: Use,
        age_max: Duration,
        shortest: Duration,
        now: Instant,
    ) -> bool {
        let before = self.note(age_max, now);
        let is_in_use = before.is_some_and(|before| now.saturating_duration_since(before) <= age_max);
        let pause = (age_max / 2).max(self.pause(wanted, shortest));
        let is_worth_it = self.is_in_time(wanted, pause, age_max);
        // A renewal that failed is not tried again at once either.
        let last = self.begun_at.map_or(listed_at, |begun| begun.max(listed_at));
        is_in_use && is_worth_it && age_max >= AGE_MIN && now.saturating_duration_since(last) >= pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    /// The moments, in milliseconds, at which a use every `step` of a directory whose listings take `took` renews it.
    fn renewals(step: u32, took: Duration, shortest: Duration) -> Vec<u32> {
        renewals_for(Use::OneName, step, took, shortest)
    }

    fn renewals_for(wanted: Use, step: u32, took: Duration, shortest: Duration) -> Vec<u32> {
        let start = Instant::now();
        let mut renewal = Renewal { took, ..Renewal::default() };
        let (mut listed_at, mut moments) = (start, Vec::new());
        for moment in (0..5000).step_by(step as usize) {
            let now = start + MS * moment;
            if renewal.used(listed_at, wanted, SECOND, shortest, now) {
                moments.push(moment);
                renewal.begun_at = Some(now);
                listed_at = now;
            }
        }
        moments
    }

    #[test]
    fn directory_in_use_is_renewed_before_its_listing_is_too_old() {
        assert_eq!(renewals(100, 40 * MS, 20 * MS), [500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500]);
    }

    #[test]
    fn renewals_end_where_they_would_cost_too_much_or_come_too_late() {
        assert_eq!(renewals(100, 90 * MS, 20 * MS)[..2], [700, 1400]);
        assert!(renewals(100, 120 * MS, 10 * MS).is_empty());
        // Round trips alone cost nothing, but are waited for.
        assert_eq!(renewals(100, 500 * MS, 500 * MS)[..2], [500, 1000]);
        assert!(renewals(100, 510 * MS, 510 * MS).is_empty());
    }

    #[test]
    fn what_would_be_listed_anyway_is_renewed_though_that_costs_more_and_comes_late() {
        let renewals = |took: u32, shortest: u32| renewals_for(Use::Listing, 100, MS * took, MS * shortest);
        // A copy into a directory far away, where names are made that no listing has.
        assert_eq!(renewals(450, 200)[..2], [500, 1000]);
        assert_eq!(renewals(550, 200)[..2], [700, 1400]);
        assert_eq!(renewals(900, 800)[..2], [500, 1000]);
        // No more than half of the server's time, and nothing that comes when the next is due.
        assert!(renewals(710, 200).is_empty());
        assert!(renewals(1010, 1010).is_empty());
    }

    #[test]
    fn single_uses_far_apart_are_no_use() {
        assert!(renewals(1200, Duration::ZERO, Duration::ZERO).is_empty());
    }

    #[test]
    fn renewal_that_failed_is_not_tried_again_at_once() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        let mut used = |moment| renewal.used(start, Use::OneName, SECOND, Duration::ZERO, start + MS * moment);
        assert!(!used(0) && used(600));
        renewal.begun_at = Some(start + 600 * MS);
        let mut used = |moment| renewal.used(start, Use::OneName, SECOND, Duration::ZERO, start + MS * moment);
        assert!(!used(700) && !used(1000) && used(1100));
    }

    #[test]
    fn age_of_nothing_is_never_renewed() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        for moment in 0..10 {
            assert!(!renewal.used(start, Use::Listing, Duration::ZERO, Duration::ZERO, start + MS * moment));
        }
    }
}

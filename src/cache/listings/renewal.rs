//! When a directory in use is to be listed again, so that nobody finds its listing too old.
//!
//! It is decided when somebody uses it, and so it ends with the use. What a renewal costs is what a listing takes
//! beyond the shortest one of this mount: those are round trips, which cost the server nothing.

use std::time::{Duration, Instant};

/// What a renewal costs is at most this part of the time between two.
const COST_PART_MAX: u32 = 10;
/// And all that it takes at most this part of the age that is allowed: it has to be there in time.
const TIME_PART_MAX: u32 = 4;
/// Answers that have to be younger than this are asked for.
const AGE_MIN: Duration = Duration::from_millis(100);

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
    pub(super) fn pause(&self, shortest: Duration) -> Duration {
        self.took.saturating_sub(shortest).saturating_mul(COST_PART_MAX)
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
    pub(super) fn used(&mut self, listed_at: Instant, age_max: Duration, shortest: Duration, now: Instant) -> bool {
        let before = self.note(age_max, now);
        let is_in_use = before.is_some_and(|before| now.saturating_duration_since(before) <= age_max);
        let pause = (age_max / 2).max(self.pause(shortest));
        let is_worth_it = self.took <= age_max / TIME_PART_MAX && pause + self.took <= age_max;
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
        let start = Instant::now();
        let mut renewal = Renewal { took, ..Renewal::default() };
        let (mut listed_at, mut moments) = (start, Vec::new());
        for moment in (0..5000).step_by(step as usize) {
            let now = start + MS * moment;
            if renewal.used(listed_at, SECOND, shortest, now) {
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
        assert!(!renewals(100, 240 * MS, 240 * MS).is_empty());
        assert!(renewals(100, 260 * MS, 260 * MS).is_empty());
    }

    #[test]
    fn single_uses_far_apart_are_no_use() {
        assert!(renewals(1200, Duration::ZERO, Duration::ZERO).is_empty());
    }

    #[test]
    fn renewal_that_failed_is_not_tried_again_at_once() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        let mut used = |moment| renewal.used(start, SECOND, Duration::ZERO, start + MS * moment);
        assert!(!used(0) && used(600));
        renewal.begun_at = Some(start + 600 * MS);
        let mut used = |moment| renewal.used(start, SECOND, Duration::ZERO, start + MS * moment);
        assert!(!used(700) && !used(1000) && used(1100));
    }

    #[test]
    fn age_of_nothing_is_never_renewed() {
        let start = Instant::now();
        let mut renewal = Renewal::default();
        for moment in 0..10 {
            assert!(!renewal.used(start, Duration::ZERO, Duration::ZERO, start + MS * moment));
        }
    }
}

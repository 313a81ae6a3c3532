//! The orders in which programs go through a directory, and which of them one is following.
//!
//! find, tar and grep take what readdir gives; ls -R, diff -r and the shell sort by name; cp sorts by inode number. Two
//! steps in a row of one order are taken for that order; where a program leaves it, more are needed the next time.

use crate::protocol::Name;
use std::collections::HashMap;

/// In the order of the listing, by name, by inode number.
const ORDERS: usize = 3;
/// With more names than this only the listing's order is looked at.
const SORTED_MAX: usize = 4096;
/// How far beside the next one a step may be in an order that is known: several threads do not keep step.
const LOOSE: usize = 8;
/// After so many steps out of order it is no more than doubled how many are needed.
const BREAKS_MAX: u32 = 6;

/// Which of the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order(usize);

/// The names of one directory in all orders, and how far a program has come.
#[derive(Debug)]
pub(super) struct Row {
    orders: Vec<Vec<Name>>,
    places: HashMap<Name, [usize; ORDERS]>,
    last: Option<[usize; ORDERS]>,
    steps: [u32; ORDERS],
    breaks: u32,
    followed: Option<Order>,
    /// The order that is followed was only begun.
    is_early: bool,
}

impl Row {
    /// The row of `names`, each with its inode number, in the listing's order.
    pub(super) fn new(names: Vec<(Name, u64)>) -> Self {
        let sorted = |mut names: Vec<(Name, u64)>, by_number: bool| -> Vec<Name> {
            names.sort_by(
                |left, right| {
                    if by_number { left.1.cmp(&right.1) } else { left.0.as_bytes().cmp(right.0.as_bytes()) }
                },
            );
            names.into_iter().map(|(name, _)| name).collect()
        };
        let mut orders = Vec::with_capacity(ORDERS);
        if names.len() <= SORTED_MAX {
            orders.push(sorted(names.clone(), false));
            orders.push(sorted(names.clone(), true));
        }
        orders.insert(0, names.into_iter().map(|(name, _)| name).collect());
        let mut places: HashMap<Name, [usize; ORDERS]> = HashMap::new();
        for (order, names) in orders.iter().enumerate() {
            for (place, name) in names.iter().enumerate() {
                if let Some(slot) = places.entry(name.clone()).or_insert([usize::MAX; ORDERS]).get_mut(order) {
                    *slot = place;
                }
            }
        }
        Self { orders, places, last: None, steps: [0; ORDERS], breaks: 0, followed: None, is_early: false }
    }

    /// Whether `name` was there when the row was made.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.places.contains_key(name)
    }

    /// Whether nobody went through the directory yet, and `name` is the first one in some order.
    pub(super) fn begins_with(&self, name: &Name) -> bool {
        self.last.is_none() && self.places.get(name).is_some_and(|places| places.contains(&0))
    }

    /// Takes note of a step to `name`, and returns the order that is being followed. `hint` is one that was followed in another
    /// directory just before: there the first name of all is step enough. So it is, for a while, where it `is_program`: nobody types that fast.
    pub(super) fn note(&mut self, name: &Name, hint: Option<Order>, is_program: bool) -> Option<Order> {
        let places = *self.places.get(name)?;
        let place = |order: Order, places: &[usize; ORDERS]| places.get(order.0).copied().unwrap_or(usize::MAX);
        if self.last == Some(places) {
            return self.followed;
        }
        let Some(last) = self.last.replace(places) else {
            let begins = |order: &Order| place(*order, &places) == 0;
            self.followed = hint.filter(begins);
            if self.followed.is_none() && is_program {
                self.followed = (0..ORDERS).map(Order).find(begins);
                self.is_early = self.followed.is_some();
            }
            return self.followed;
        };
        let was_early = std::mem::take(&mut self.is_early);
        if let Some(order) = self.followed {
            let (before, now) = (place(order, &last), place(order, &places));
            if now.abs_diff(before) <= LOOSE && now != usize::MAX {
                self.last = Some(if now > before { places } else { last });
                return self.followed;
            }
            self.followed = None;
            // The beginning of one order may be that of another one.
            self.breaks = (self.breaks + u32::from(!was_early)).min(BREAKS_MAX);
        }
        for (order, steps) in self.steps.iter_mut().enumerate() {
            let (before, now) = (place(Order(order), &last), place(Order(order), &places));
            *steps = if before != usize::MAX && now == before + 1 { *steps + 1 } else { 0 };
        }
        let needed = 1_u32 << self.breaks;
        let best = (0..ORDERS).rev().max_by_key(|order| self.steps.get(*order).copied())?;
        if self.steps.get(best).is_some_and(|steps| *steps >= needed) {
            self.followed = Some(Order(best));
            self.steps = [0; ORDERS];
        }
        self.followed
    }

    /// Whether the order that is followed was only begun, and may turn out to be none.
    pub(super) fn is_early(&self) -> bool {
        self.is_early
    }

    /// The names behind the last step, in this order.
    pub(super) fn behind(&self, order: Order) -> &[Name] {
        let next = self.last.and_then(|places| places.get(order.0).copied()).map_or(0, |place| place.saturating_add(1));
        self.orders.get(order.0).and_then(|names| names.get(next..)).unwrap_or_default()
    }

    /// All names in this order.
    pub(super) fn all(&self, order: Order) -> &[Name] {
        self.orders.get(order.0).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// Listed as c, a, d, b, e; their numbers lead from e back to c.
    fn row() -> Row {
        let listed = ["c", "a", "d", "b", "e"];
        Row::new(listed.iter().zip((0..5).rev()).map(|(text, number)| (name(text), number)).collect())
    }

    fn follow(row: &mut Row, steps: &str) -> Option<String> {
        let mut order = None;
        for step in steps.chars() {
            order = row.note(&name(&step.to_string()), None, false);
        }
        order.map(|order| row.behind(order).iter().map(ToString::to_string).collect())
    }

    #[test]
    fn second_step_in_any_order_shows_what_comes_next() {
        assert_eq!(follow(&mut row(), "c"), None);
        assert_eq!(follow(&mut row(), "ca").as_deref(), Some("dbe"));
        assert_eq!(follow(&mut row(), "ab").as_deref(), Some("cde"));
        assert_eq!(follow(&mut row(), "eb").as_deref(), Some("dac"));
    }

    #[test]
    fn steps_in_no_order_show_nothing_and_a_wrong_one_makes_the_next_harder_to_believe() {
        assert_eq!(follow(&mut row(), "cec"), None);
        let listed: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
        let mut row = Row::new(listed.iter().rev().map(|text| (name(text), 0)).collect());
        let mut note = |number: usize| row.note(&name(&format!("{number:03}")), None, false).is_some();
        assert!(!note(10) && note(11) && note(13) && note(12));
        assert!(!note(50) && !note(51), "one step is not enough any more");
        assert!(note(52));
        assert!(!note(80) && !note(81) && !note(82) && !note(83) && note(84));
    }

    #[test]
    fn order_of_the_directory_before_is_believed_from_the_first_name_on() {
        let mut before = row();
        before.note(&name("a"), None, false);
        let order = before.note(&name("b"), None, false);
        assert!(row().note(&name("a"), order, false).is_some());
        assert!(row().note(&name("c"), order, false).is_none());
    }

    #[test]
    fn name_that_is_not_there_is_no_step() {
        assert_eq!(follow(&mut row(), "xyz"), None);
    }

    #[test]
    fn first_name_of_an_order_is_step_enough_right_behind_the_listing() {
        let first = |text: &str, is_program| {
            let mut row = row();
            assert_eq!(row.begins_with(&name(text)), text != "d");
            let order = row.note(&name(text), None, is_program)?;
            assert!(row.is_early());
            Some(row.behind(order).iter().map(ToString::to_string).collect::<String>())
        };
        assert_eq!(first("c", true).as_deref(), Some("adbe"), "in the listing's order");
        assert_eq!(first("a", true).as_deref(), Some("bcde"), "by name");
        assert_eq!(first("e", true).as_deref(), Some("bdac"), "by number");
        assert_eq!(first("d", true), None);
        assert_eq!(first("c", false), None);
    }

    #[test]
    fn order_that_was_only_begun_is_given_up_for_the_one_that_the_next_step_shows() {
        // Both begin with a.
        let listed = ["a", "d", "b", "c"];
        let mut row = Row::new(listed.iter().map(|text| (name(text), 0)).collect());
        assert!(row.note(&name("a"), None, true).is_some());
        assert!(row.note(&name("a"), None, true).is_some() && row.is_early(), "the same name is no step");
        let order = row.note(&name("b"), None, false).unwrap();
        assert!(!row.is_early());
        assert_eq!(row.behind(order).first(), Some(&name("c")));
    }
}

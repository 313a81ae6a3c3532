//! When each mount is killed.

use std::time::Duration;

use crate::relay::{Moment, Trap};
use crate::worker::Random;

/// Steps of the dialogue that change something on the server, or say that something was changed.
const VERBS: [&str; 10] = ["STOR", "STOR", "STOR", "RNFR", "RNTO", "RNTO", "SIZE", "DELE", "MFMT", "APPE"];
const MOMENTS: [Moment; 4] = [Moment::BeforeCommand, Moment::AtTransfer, Moment::BeforeReply, Moment::BehindReply];
/// Steps of the local disk, the more important ones more often.
const STEPS: [&str; 10] =
    ["write", "write", "sync", "sync", "rename", "remove", "remove", "create", "sync_directory", "any"];

#[derive(Debug, Clone)]
pub(crate) enum Plan {
    /// So long after the work has begun.
    Instant(Duration),
    /// At a step of the local disk, counted from the mount's begin: some come while it recovers.
    Disk { when: &'static str, step: &'static str, count: usize },
    /// At a step of the dialogue with the server.
    Wire(Trap),
}

impl Plan {
    /// What the program is told of it.
    pub(crate) fn disk(&self) -> Option<String> {
        match self {
            Self::Disk { when, step, count } => Some(format!("{when}:{step}:{count}")),
            Self::Instant(_) | Self::Wire(_) => None,
        }
    }
}

/// One plan for each mount, of all kinds in turn.
pub(crate) fn plans(seed: u64, count: usize) -> Vec<Plan> {
    let mut random = Random::new(seed, u64::MAX);
    let first = random.below(3);
    (0..count)
        .map(|number| match (first + number) % 3 {
            0 => Plan::Instant(Duration::from_millis(50 + random.below(1200) as u64)),
            1 => {
                let step = random.choose(&STEPS).unwrap();
                let when = random.choose(&["before", "within", "after"]).unwrap();
                // The first few of each come while it recovers; renames are rarer than all others.
                let count_max = match step {
                    "rename" => 6,
                    "sync_directory" => 15,
                    "any" => 200,
                    _ => 50,
                };
                Plan::Disk { when, step, count: 1 + random.below(count_max) }
            }
            _ => {
                let (verb, moment) = (random.choose(&VERBS).unwrap(), random.choose(&MOMENTS).unwrap());
                let skipped = u32::try_from(random.below(6)).unwrap();
                let moment = if moment == Moment::AtTransfer && !["STOR", "APPE"].contains(&verb) {
                    Moment::BeforeReply
                } else {
                    moment
                };
                Plan::Wire(Trap { verb, moment, skipped })
            }
        })
        .collect()
}

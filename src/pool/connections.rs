//! What a pool tells of itself: how many connections there are, and who has them.

use super::traffic::TrafficCount;

/// The connections to one server, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// Whether there is one that questions are pipelined on.
    pub shared: bool,
    /// Callers that use it now.
    pub shared_users: usize,
    /// Lent for a listing.
    pub listing: usize,
    /// Lent for a RETR.
    pub reading: usize,
    /// Lent for a STOR or APPE.
    pub writing: usize,
    /// Lent for what nobody waits for.
    pub ahead: usize,
    /// Those of all these that are given back after a few round trips.
    pub brief: usize,
    /// Logged in, and nobody has them.
    pub idle: usize,
    /// Those of them whose next transfer has a data connection already.
    pub prepared: usize,
    /// Logins under way.
    pub logging_in: usize,
    /// Callers that wait for one.
    pub waiting: usize,
    /// How many the server lets us have, as far as it has said.
    pub ceiling: usize,
    /// How many we would have at most (`--connections`).
    pub ceiling_max: usize,
    /// How the last login was encrypted, and whether the certificate was checked; `None` for clear text.
    pub encryption: Option<String>,
    /// Why the last login failed; `None` where it did not.
    pub login_failure: Option<String>,
    /// What has gone over them all.
    pub traffic: TrafficCount,
}

//! Logged-in connections, lent and taken back.
//!
//! A [`Pool`] is all the connections to one server. Questions of many callers share one session by pipelining
//! ([`Pool::shared`]); a transfer has a session lent whole ([`Pool::exclusive`]). [`Pool::retry`] does the same again
//! on a fresh connection, where that is safe.
//!
//! Nobody may hold one of the two while asking for another: at a ceiling of one connection that waits for itself.
//!
//! Not here: what a refusal means for a file (`remote::refusal`).

mod ceiling;
pub mod connections;
mod data_tls;
pub mod encryption;
pub mod error;
pub mod lease;
mod opening;
pub mod options;
#[expect(clippy::module_inception, reason = "the folder's main type, in a file of its name")]
pub mod pool;
pub mod profile;
pub mod retry;
pub mod session;
mod spare;
pub mod traffic;
pub mod transfer;

pub use connections::Connections;
pub use encryption::{Encryption, TlsFindings};
pub use error::PoolError;
pub use lease::{Lease, SharedSession};
pub use options::{DataMode, PassiveAddressChoice, PassiveCommand, ServerOptions};
pub use pool::{Pool, Purpose, Stay};
pub use profile::{ServerKind, ServerProfile, Verdict, VerdictCell};
pub use retry::Repeat;
pub use session::Session;
pub use traffic::{Operation, OperationCount, OperationKind, Traffic, TrafficCount, counted_as};
pub use transfer::at_once::AtOnce;
pub use transfer::{ActiveTransfer, Direction};

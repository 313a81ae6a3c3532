//! What we may not lose: contents that were promised and are not on the server yet.
//!
//! docs/journal.md says what is promised, has every byte of the format, and what can fail. From the bottom up: the steps on a
//! disk ([`disk`]), one record as bytes (`record`), what the records amount to (`table`), the file of them (`log`), what a dead
//! mount left (`recovery`, carried out by `opening`), and the door ([`Journal`]).
//!
//! Not here: when something is committed or uploaded, and what becomes of a conflict (`filesystem`).

pub mod disk;
#[cfg(debug_assertions)]
mod dying_disk;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
#[expect(clippy::module_inception, reason = "the folder's main type, in a file of its name")]
mod journal;
mod log;
mod names;
mod opening;
mod record;
mod recovery;
mod set_aside;
mod staging;
pub mod state_directory;
mod table;

pub use error::{JournalError, JournalResult};
pub use journal::{CommitFailed, Journal};
pub use log::Durable;
pub use opening::{Kept, Recovered};
pub use record::{Commit, ContentId, FileNumber, Rename, RenameNumber, Version};
pub use set_aside::set_aside_directory;
pub use staging::{Committed, Sealed, Staging};
pub use state_directory::{Identity, StateDirectory};
pub use table::PendingFile;

#[cfg(test)]
mod tests;

//! What we may forget.
//!
//! Files' content, from the bottom up: pieces of files in memory ([`blocks`]), what to fetch before it is asked for
//! (`readahead`), the transfers that bring it (`streams`) and who waits for them (`track`), all of it together
//! behind one lock (`state`), and the door ([`Reader`]). Beside them what is kept on the local disk ([`disk`]).

pub mod blocks;
pub mod disk;
mod effects;
pub mod listings;
mod pieces;
mod readahead;
pub mod reader;
mod state;
mod streams;
mod track;
pub mod version;
pub mod width;

pub use disk::{DiskCache, DiskUsage};
pub use listings::Listings;
pub use reader::{Done, FileId, Reader, ReaderOptions, ReaderUsage};
pub use version::FileVersion;
pub use width::WidthOptions;

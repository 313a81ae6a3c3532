//! What we may forget.

pub mod reader;
pub mod version;

pub use reader::{Done, FileId, Reader, ReaderOptions};
pub use version::FileVersion;

//! The kernel's side; the only user of fuser.
//!
//! [`Mountpoint::check`] finds out whether a directory can be mounted on, [`Mount::new`] mounts a
//! [`Filesystem`](crate::filesystem::Filesystem) there and answers the kernel until somebody unmounts it.
//!
//! The threads that listen to the kernel never wait for the server: `dispatch` shows the way of an operation.

mod adapter;
mod dispatch;
mod errno;
mod fusermount;
mod kernel_cache;
mod mount;
mod parked;
mod passthrough;
mod replies;
mod session;
mod workers;

pub use kernel_cache::KernelCache;
pub use mount::{Detach, MountError, MountOptions, Mountpoint, absolute, unmount};
pub use parked::Unanswered;
pub use session::Mount;

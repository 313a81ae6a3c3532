//! The kernel's side; the only user of fuser.

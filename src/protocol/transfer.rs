//! The states of one transfer.

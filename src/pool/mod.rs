//! Logged-in connections, lent and taken back.

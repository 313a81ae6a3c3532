//! Commands: one line each on the control connection.

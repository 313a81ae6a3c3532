//! Replies: what the server says on the control connection.

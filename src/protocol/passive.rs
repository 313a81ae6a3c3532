//! The address in a 227 or 229 reply.

//! What we may forget.

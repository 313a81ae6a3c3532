//! What FEAT lists.

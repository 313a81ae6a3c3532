//! Listings whole: what no single dialect decides.

//! Lines of a listing to entries.

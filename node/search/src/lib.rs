//! Full-text search over what a user may see.

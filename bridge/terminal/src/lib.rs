//! The full-screen client for people.

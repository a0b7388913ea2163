//! The state and the view together, without a terminal and without a network.

// Tests pick what they look for out of many.
#![allow(clippy::wildcard_enum_match_arm)]

mod anything;
mod document;
mod home;
mod keys;
mod screens;

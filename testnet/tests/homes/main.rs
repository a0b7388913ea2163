//! Acceptance tests on real homes: processes of their own, real sockets, real kills.
//!
//! They need the program `homing` beside the test's own (`cargo build --bins` first; `just tests` does).

// A test that meets what it did not expect shall panic there, in helpers too.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod accounts;
mod avatars;
mod backups;
mod changes;
mod chaos;
mod chat;
mod clocks;
mod clones;
mod devices;
mod erase;
mod files;
mod forger;
mod gossip;
mod group_crowds;
mod groups;
mod groups_typed;
mod hostile;
mod kills;
mod own_typed;
mod own_view;
mod party;
mod people;
mod presence;
mod pty;
mod read_receipts;
mod requests;
mod retention;
mod search;
mod terminal;

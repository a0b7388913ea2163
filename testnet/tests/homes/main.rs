//! Acceptance tests on real homes: processes of their own, real sockets, real kills.
//!
//! They need the program `homing` beside the test's own (`cargo build --bins` first; `just tests` does).

mod chat;
mod hostile;
mod kills;
mod party;

//! What every engine must do, and what the one on disk must survive.

// Helpers beside the test functions may unwrap as well.
#![allow(clippy::unwrap_used)]

mod backup;
mod conformance;
mod damage;
mod directory;
mod faults;
mod kill;
mod model;
mod sample;
mod scale;
mod tidy;

//! What every engine must do, and what the one on disk must survive.

mod conformance;
mod damage;
mod directory;
mod kill;
mod model;
mod sample;
mod scale;

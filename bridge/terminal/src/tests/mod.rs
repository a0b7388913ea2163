//! The state and the view together, without a terminal and without a network.

mod anything;
mod document;
mod home;
mod keys;
mod screens;

//! The full-screen client for people: `homing client chat`.
//!
//! A pure state (`app`): what happened makes a new one, and wishes. A pure view (`view`): the state drawn, and what
//! was drawn told back, for only what was seen counts as read. One loop ([`run()`]) that waits for keys, for the home and
//! for time, and makes the calls that the state wishes for. What the home says and what may be asked is the client
//! contract (`docs/CLIENTS.md`); no rule about messages lives here.
//!
//! Answers come through [`homing_client::Client::ask`], between the home's notifications, so that the state sees
//! everything in the order in which the home said it.
//!
//! Whatever else prints for people takes [`harmless_line`] and [`civil`] from here.

mod app;
mod ask;
mod run;
#[cfg(test)]
mod scene;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod view;

pub use run::{Chat, ChatError, Open, run};
pub use text::harmless_line;
pub use time::civil;

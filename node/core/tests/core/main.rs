//! The core, driven as its page says, against a store in maps that checks every commit.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod avatars;
mod chats;
mod corpus;
mod courier;
mod departures;
mod devices;
mod folding;
mod group_forks;
mod group_links;
mod group_members;
mod group_repair;
mod group_rosters;
mod group_world;
mod groups;
mod hostile;
mod ids;
mod invitations;
mod marks;
mod media;
mod misbehaving;
mod model;
mod node;
mod own_view;
mod people;
mod presence;
mod presence_again;
mod presence_rules;
mod read_receipts;
mod relay;
mod repair;
mod requests;
mod restore;
mod retention;
mod roster_forks;
mod store;
mod typing;

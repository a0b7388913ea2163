//! The Rust client of a Homing home.
//!
//! - [`Server`] is a home's address for clients: registering, logging in and out, over HTTP.
//! - [`Client`] is one signed-in WebSocket session that stays signed in: it reconnects with back-off, asks for
//!   what changed by `since`, and sends unanswered calls again in their order. Any number of calls may be in flight.
//! - [`Follower`] sits on top and yields every message exactly once and in the order of arrival, pulling what was
//!   missed while it was away.
//! - [`Upload`] and [`Download`] carry a file over HTTP, whatever breaks in between, and check it in the end.
//! - [`Profile`] is what a command line remembers between two runs.
//!
//! ```no_run
//! # async fn example() -> Result<(), homing_client::Error> {
//! use homing_client::{Client, Options, Server, TextBody};
//!
//! let server: Server = "http://127.0.0.1:8080".parse()?;
//! let signed_in = server.login("alice", "correct horse", Some("laptop")).await?;
//! let (client, _events) = Client::connect(Options::new(server, signed_in.token)).await?;
//! let sent = client.send_to("bob@globex.example", &TextBody::new("hello")).await?;
//! println!("stored as {} at {}", sent.id, sent.pos);
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! What is sent and answered, and in which order, is the client contract (`docs/CLIENTS.md`); this crate adds no rule.

mod client;
mod connection;
mod download;
mod error;
mod follow;
mod groups;
mod media;
mod own;
mod presence;
mod profile;
mod search;
mod server;
mod socket;
mod transfer;
mod types;
mod upload;
mod wire;

pub use client::{Answer, Client, Events, Options};
pub use download::Download;
pub use error::{Error, Refusal};
pub use follow::{ChannelPlace, Follower, From, Place, Update};
pub use groups::{GroupAnswer, GroupChanged, GroupLink, GroupMember, UserResult};
pub use media::{MediaUrl, harmless_file_name};
pub use own::{Device, Found, ViewUpdate};
pub use profile::{PendingUpload, Profile, ProfileError, ProfileStore};
pub use search::{FoundMessages, MessageQuery};
pub use server::{LoggedIn, Registered, Server};
pub use transfer::Progress;
pub use types::{
    Avatar, AvatarFile, Body, Channel, ChannelKind, ChannelState, ChannelsPage, Limits, Mark,
    Media, MediaBody, Message, MessageRef, MessagesPage, Opened, Presence, Privacy, Reaction,
    Receipt, ReceiptRow, Receipts, Sent, Target, TextBody, Typing, User, UserList, UserUpdate,
    UsersPage, Whoami,
};
pub use upload::{NewUpload, Upload, UploadStatus, Uploaded};
pub use uuid::Uuid;
pub use wire::{Event, Reply, Ticket};

/// A new message id: UUIDv7, so that ids of one sender sort by time.
pub fn new_message_id() -> Uuid {
    Uuid::now_v7()
}

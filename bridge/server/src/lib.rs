//! What thin clients connect to: JSON-RPC 2.0 over a WebSocket, and HTTP where HTTP is better.
//!
//! No rule about messages lives here. A frame becomes a typed [`homing_link::Call`], an answer or a
//! notice becomes a frame; who may do what is decided behind the [`homing_link::Link`].
//!
//! ```text
//! accept ─ HTTP phase (hyper, warp routes) ─┬─ answers
//!                                           └─ /v1/ws: the same task goes on as a socket
//! socket: frames ─ rpc ─ api ─ Session ─► node ─► outbox ─ encode ─ frames
//! ```
//!
//! One task a connection. What the HTTP phase held is freed before the socket lives, and a socket
//! that is silent holds no buffers at all (`wire`).

mod accept;
mod api;
mod bridge;
mod calls;
mod encode;
mod frames;
mod http_answer;
mod limits;
mod media;
mod metrics;
mod openapi;
mod openrpc;
mod routes;
mod rpc;
mod socket;
mod upgrade;
mod wire;

pub use bridge::{Bridge, BridgeError};
pub use limits::{BridgeConfig, BridgeLimits};
pub use metrics::MetricsSnapshot;
pub use openapi::openapi;
pub use openrpc::openrpc;

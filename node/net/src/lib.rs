//! The network between homes. libp2p stays inside: [`NetEvent`] comes out, commands go in through
//! [`NetHandle`].
//!
//! What it does, in the order in which a connection lives:
//! 1. **Dial** ([`NetHandle::want`]): every address of a wanted home, with back-off and jitter, until one
//!    is admitted. A contact from the other side counts as much.
//! 2. **Hello** (`/homing/hello/1`): both sides show their signed home record; a record counts only if it
//!    names the very libp2p peer at the other end; then [`Admission`] judges. Until both sides have said
//!    yes, no other stream is served. Both sides learn why one was refused.
//! 3. **Relay** (`/homing/relay/1`): each side opens one stream to the other. Order is kept, every queue
//!    is bounded, a reader that does not read slows its own peer only, and a path that has gone silent
//!    is noticed by a heartbeat and replaced.
//! 4. **Query** (`/homing/query/1`): one question, one answer, both bounded in size, number and time.
//! 5. **Media** (`/homing/media/1`): one file, one stream, as fast as the line is, beside which the others go on.
//! 6. **Gossip** (gossipsub): what is told to many homes at once, each message judged by the server before it goes
//!    on. Nothing depends on it.
//!
//! Streams are opened on, and accepted from, *one connection*, which has passed hello. That is why the
//! stream behaviour is ours (`streams.rs`) and neither libp2p-stream nor request-response: those choose
//! among a peer's connections themselves, a dead or a not yet admitted one included.

mod codec;
mod config;
mod dial;
mod event;
mod gate;
mod gossip;
mod handle;
mod hello;
mod homes;
pub mod in_memory;
mod key;
mod media;
mod meter;
mod pace;
mod query;
mod relay;
mod resolve;
mod stats;
mod streams;
mod swarm;
mod timers;
mod transport;

pub use config::{AddressError, NetConfig, NetError, NetLimits, check_address};
pub use event::{Direction, NetEvent, RelayIn, RelayOut};
pub use gossip::{
    GossipId, JoinError, PublishError, PublishOutcome, TopicName, TopicPeers, Verdict,
};
pub use handle::{NetHandle, PeerSnapshot, QueryError};
pub use hello::{Admission, HelloInfo, Refusal};
pub use key::{KeyError, NodeKey};
pub use media::{MediaAnswer, MediaAsk, MediaBytes, MediaError, MediaHead, MediaReply};
pub use relay::Frames;
pub use stats::{GossipStats, MediaStats, NetStats};
pub use swarm::start;

//! What a bridge may ask of a node, and what a node tells a bridge.
//!
//! A bridge turns WebSocket and HTTP into the typed [`Call`]s here; a node answers with typed
//! [`Answer`]s and [`Notice`]s and never sees a client's JSON-RPC. [`Link`] is the door: in this
//! process a pair of queues, later the same over a Noise channel, so that the code above cannot tell.
//!
//! # Contract of a session
//! 1. [`Link::connect`] gives a [`Session`]; it belongs to nobody until [`Call::Open`] succeeded.
//! 2. Calls are handed over with [`Session::submit`], numbered by the bridge. The node answers every
//!    call once, in [`Session::next`] order; a [`ToClient::Later`] holds the place of an answer that is
//!    still being read from disk, so that nothing later overtakes it.
//! 3. What the client does not take is counted in bytes. Past the limit the node puts a last
//!    [`ToClient::Close`] and forgets the session.
//! 4. Dropping the session ends it.

mod call;
mod media;
mod outbox;
mod refused;
mod session;
mod view;

pub use call::{
    Answer, Call, Login, OwnViewChange, Place, Register, Secret, SendTarget, Unlinked, UserList,
};
pub use media::{
    ByteStream, Checksum, MediaBytes, MediaFile, MediaLink, NewUpload, OpenMedia, Piece, Reading,
    UploadStatus,
};
pub use outbox::{CloseReason, Notice, OutboxSender, Overflow, ToClient, outbox};
pub use refused::{Code, Refused};
pub use session::{BoxFuture, ClientInfo, Link, Request, Session, SessionNo};
pub use view::{
    AvatarView, ChannelKind, ChannelState, ChannelView, ChannelsPage, DeviceRow, Devices, Found,
    FoundMessages, GroupChanged, GroupPolicy, GroupsFrom, HistoryShown, Limits, LinkMade, LoggedIn,
    MarkView, MediaAnswer, MediaUrl, MediaView, MemberRow, MembersPage, MessageView, MessagesPage,
    Opened, PresencePage, PresenceView, Privacy, PrivacyChange, RawJson, ReactionView, ReceiptRow,
    Receipts, Registered, RoleView, SeenBy, Sent, SyncPoint, UserResult, UserView, UsersPage,
    WellKnown, Whoami, Whoever,
};

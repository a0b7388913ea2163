//! Decode limits: what a peer or client may make us hold, each with the reason for its value.

/// A message body, in bytes of compact JSON. More is media.
pub const BODY_BYTES: usize = 65_536;
/// An event header as bytes: a few hundred normally; with every list full and the longest
/// addresses it still fits.
pub const HEADER_BYTES: usize = 16_384;
/// The `type` of a client's own body: a reverse domain name fits.
pub const BODY_TYPE_BYTES: usize = 64;
/// The emoji of a reaction: the longest sequence in Unicode's list has 35 bytes, and it grows.
pub const REACTION_BYTES: usize = 64;
/// Mentions in one event: nobody can mention more people than a group has.
pub const MENTIONS: usize = 100;
/// Media references in one event: an album, not an archive.
pub const MEDIA_REFERENCES: usize = 32;
/// A relay frame. Several events of full size share one; a single event always fits.
pub const RELAY_FRAME_BYTES: usize = 1 << 20;
/// Events in one range: bounds what is applied in one commit.
pub const RANGE_EVENTS: usize = 1_024;
/// A hello: a record and a few numbers.
pub const HELLO_BYTES: usize = 65_536;
/// A signed statement: a few numbers, a peer id, key and signature take some 200 bytes.
pub const STATEMENT_BYTES: usize = 512;
/// A libp2p peer id, as multihash bytes: 38 for an Ed25519 key, 34 for a hashed one.
pub const PEER_ID_BYTES: usize = 64;
/// A query.
pub const QUERY_BYTES: usize = 65_536;
/// An answer to a query: several events of full size share one; a single event always fits.
pub const ANSWER_BYTES: usize = 1 << 20;
/// Channels in one answer about what is held: with both parties' longest names and all their lives they
/// still fit an answer.
pub const HOLDINGS: usize = 256;
/// Lives of one home's store in one channel: each is a disaster that an honest home has survived. Bounds
/// what a dishonest one makes others keep.
pub const LIVES: usize = 16;
/// What is said before a file's bytes: ids, a name, a type, or why not.
pub const MEDIA_FRAME_BYTES: usize = 8_192;
/// A file's name, in bytes of UTF-8: four times what file systems take, so that none is cut on its way.
pub const MEDIA_NAME_BYTES: usize = 1_024;
/// A media type: RFC 6838 allows 127 characters on each side of the slash.
pub const MEDIA_TYPE_BYTES: usize = 255;
/// A home record: 64 nodes with 6 addresses of 64 characters each fit, or fewer with more.
pub const RECORD_BYTES: usize = 32_768;
/// Nodes in a record.
pub const RECORD_NODES: usize = 64;
/// Addresses of one node.
pub const NODE_ADDRESSES: usize = 16;
/// Signing keys in a record: the present one and a few retired ones that still verify.
pub const RECORD_SIGNING_KEYS: usize = 8;
/// Heads under one signature.
pub const HEADS: usize = 8_192;
/// Members of a group that a roster may list, invited ones included: what the product means by a group. Homes may set
/// less (`groups.max_members`).
pub const ROSTER_MEMBERS: usize = 100;
/// Tenures in a roster, ended ones included: some years of a lively group. All are needed to judge old events.
pub const ROSTER_TENURES: usize = 4_096;
/// Policies that a group has had: a change is a person's decision, made now and then.
pub const ROSTER_POLICIES: usize = 64;
/// A signed roster: full of tenures with the longest names it still fits a relay frame.
pub const ROSTER_BYTES: usize = 960 << 10;
/// A group's name, in bytes of UTF-8.
pub const GROUP_NAME_BYTES: usize = 256;
/// Names in one frame about presence, those who watch or may see included: with the longest names it fits a relay frame.
pub const PRESENCE_NAMES: usize = 12_000;
/// Who types, in one frame.
pub const TYPING: usize = 1_000;
/// A letter between homes: one that names all members of a group with their longest names fits.
pub const LETTER_BYTES: usize = 65_536;
/// Nesting of JSON in a body, and in a call's parameters.
pub const JSON_DEPTH: usize = 64;
/// The greatest integer that every JSON reader keeps exact: 2^53 − 1 (RFC 8259, section 6).
pub const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;
/// How far ahead of our clock a foreign stamp may be and still be followed, in milliseconds.
pub const STAMP_FOLLOW_MS: u64 = 60_000;
/// How far ahead of our clock a foreign stamp may be and still be accepted, in milliseconds.
pub const STAMP_ACCEPT_MS: u64 = 300_000;

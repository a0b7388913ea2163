//! Full-text search: an index of texts beside a log, which can always be made again from it.
//!
//! This room knows nothing of users, messages or homes. It has documents, each a text at a place of a channel with a time,
//! and finds those that may have all the words of a query, newest first. *May have*: the index holds no positions and cuts
//! corners, so whoever asks looks at the text itself ([`Query::matches`]) before showing it, and so sees it as it stands now.
//!
//! # Order of calls
//! One [`Writer`] for a folder; any number of threads search by clones of its [`Index`]. What is added is found once
//! [`Writer::commit`] has returned, which also keeps the number that the caller gives with it: how far in the log that was.
//! Dropping the writer ends it at once, merges that are under way included. After a crash [`open`] answers with the number of the last commit, and the caller goes on from there. A document that may
//! be there already is removed before it is added. What is removed is found no more, and stays in the files until its part is written
//! anew: by a merge, or by [`Writer::rewrite`].
//!
//! Every error here means the same: drop the writer and the index, remove the folder by [`discard`], begin anew.

mod emoji;
mod find;
mod index;
mod letters;
mod query;
mod terms;
mod words;

pub use find::{Found, Search};
pub use index::{Document, Index, Opened, Options, Part, State, Writer, discard, inspect, open};
pub use query::{Query, QueryError};

/// A channel's id, as its owner writes it.
pub type Channel = [u8; 16];

/// Names a document, and is its place in the order of what is found: the greatest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// When it was written, in any unit that rises with time.
    pub stamp: u64,
    /// Its channel.
    pub channel: Channel,
    /// Its place in the channel.
    pub pos: u64,
}

/// The index cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The index says so.
    #[error("{0}")]
    Index(#[from] tantivy::TantivyError),
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What stands in it cannot be: code that trusts its files met something else.
    #[error("its files are not what was written")]
    Damaged,
}

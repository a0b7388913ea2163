//! The index on disk: opened or made anew, written by one, read by many.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::schema::{BytesOptions, FAST, Field, IndexRecordOption, Schema};
use tantivy::{
    DocSet as _, IndexReader, IndexSettings, IndexSortByField, IndexWriter, Order, ReloadPolicy,
    TERMINATED, TantivyDocument, TantivyError, Term,
};

use crate::terms::terms_of;
use crate::{Channel, Key, SearchError};

/// The format of what is written: rises with every change of the terms, of folding, or of the fields.
const FORMAT: u32 = 1;

/// Documents above which a part of the index is not merged with others any more: a merge reads and writes all of them, on a
/// disk that commits need too. Ten million messages are twenty such parts at most.
const MERGED_DOCUMENTS: usize = 500_000;

/// Parts of one size that are merged into one: each commit makes one, and each search asks all of them.
const MERGED_PARTS: usize = 8;

/// A part of which so much was removed is written anew without it.
const REMOVED_SHARE: f32 = 0.3;

/// How an index is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of what it is the index; that of something else is made anew. Without spaces.
    pub life: String,
    /// Memory of what is being added, until it is written, in bytes; at least 15 million.
    pub memory_bytes: usize,
}

/// How an index was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opened {
    /// Whole, up to the number of its last commit.
    Upto(u64),
    /// There was none: it is empty.
    Missing,
    /// It was of another life or format: it is empty.
    Foreign,
    /// It was damaged, as that says: it is empty.
    Damaged(String),
}

/// What an index holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// The number of its last commit.
    pub upto: u64,
    /// Documents in it.
    pub documents: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A text, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// Where, and when it was written.
    pub key: Key,
    /// Its texts: what is found is found in any of them.
    pub texts: &'a [&'a str],
}

/// A part of an index: a set of files of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part(SegmentId);

#[derive(Clone, Copy)]
pub(crate) struct Fields {
    /// Channel and place: each document has its own.
    key: Field,
    pub(crate) channel: Field,
    pub(crate) term: Field,
    stamp: Field,
    pos: Field,
    high: Field,
    low: Field,
}

/// Names of the columns.
pub(crate) const STAMP: &str = "stamp";
pub(crate) const POS: &str = "pos";
pub(crate) const HIGH: &str = "high";
pub(crate) const LOW: &str = "low";

/// An index to search in. Cheap to clone.
#[derive(Clone)]
pub struct Index {
    pub(crate) reader: IndexReader,
    pub(crate) fields: Fields,
}

/// What writes an index.
pub struct Writer {
    writer: IndexWriter,
    index: Index,
    life: String,
}

/// Opens the index in a folder, or makes it anew where it is missing, damaged, or of something else. Reads all of it.
pub fn open(folder: &Path, options: &Options) -> Result<(Writer, Opened), SearchError> {
    let opened = match guarded(|| open_as_it_is(folder, options)) {
        Ok(Some((writer, upto))) => return Ok((writer, Opened::Upto(upto))),
        Ok(None) if !folder.try_exists()? => Opened::Missing,
        Ok(None) => Opened::Foreign,
        Err(error) => Opened::Damaged(error.to_string()),
    };
    discard(folder)?;
    fs::create_dir_all(folder)?;
    let (schema, _) = schema();
    let settings = IndexSettings {
        sort_by_field: Some(IndexSortByField { field: STAMP.to_owned(), order: Order::Desc }),
        ..IndexSettings::default()
    };
    let index =
        tantivy::Index::builder().schema(schema).settings(settings).create_in_dir(folder)?;
    let mut writer = Writer::new(index, options)?;
    // From here on it says whose it is.
    writer.commit(0)?;
    Ok((writer, opened))
}

/// Removes an index and everything in its folder.
pub fn discard(folder: &Path) -> Result<(), SearchError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What the index in a folder holds, beside whoever writes it; `None`: there is none of that life.
pub fn inspect(folder: &Path, life: &str) -> Result<Option<State>, SearchError> {
    if !folder.try_exists()? {
        return Ok(None);
    }
    guarded(|| {
        let index = tantivy::Index::open_in_dir(folder)?;
        let metas = index.load_metas()?;
        let Some(upto) = upto_of(metas.payload.as_deref(), life) else { return Ok(None) };
        let damaged = !index.validate_checksum()?.is_empty();
        if damaged {
            return Err(SearchError::Damaged);
        }
        let documents = metas.segments.iter().map(|segment| u64::from(segment.num_docs())).sum();
        Ok(Some(State { upto, documents, bytes: bytes_of(folder)? }))
    })
}

/// Bytes of the files in a folder.
fn bytes_of(folder: &Path) -> Result<u64, SearchError> {
    let mut bytes = 0;
    for file in fs::read_dir(folder)? {
        // Files come and go while it is written.
        bytes += file?.metadata().map_or(0, |file| file.len());
    }
    Ok(bytes)
}

/// The index trusts its files, and panics where they are not what it wrote: that is damage like any other.
pub(crate) fn guarded<T>(act: impl FnOnce() -> Result<T, SearchError>) -> Result<T, SearchError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(Err(SearchError::Damaged))
}

fn open_as_it_is(folder: &Path, options: &Options) -> Result<Option<(Writer, u64)>, SearchError> {
    if !folder.try_exists()? {
        return Ok(None);
    }
    let index = tantivy::Index::open_in_dir(folder)?;
    let payload = index.load_metas()?.payload;
    let Some(upto) = upto_of(payload.as_deref(), &options.life) else { return Ok(None) };
    if !index.validate_checksum()?.is_empty() {
        return Err(SearchError::Damaged);
    }
    Ok(Some((Writer::new(index, options)?, upto)))
}

/// What is kept with each commit.
fn payload(life: &str, upto: u64) -> String {
    format!("{FORMAT} {life} {upto}")
}

fn upto_of(payload: Option<&str>, life: &str) -> Option<u64> {
    let mut words = payload?.split(' ');
    let format = words.next()?.parse::<u32>().ok()?;
    let same = format == FORMAT && words.next()? == life;
    words.next()?.parse().ok().filter(|_| same)
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let terms = || BytesOptions::default().set_indexed();
    let fields = Fields {
        key: schema.add_bytes_field("key", terms()),
        channel: schema.add_bytes_field("channel", terms()),
        term: schema.add_bytes_field("term", terms()),
        stamp: schema.add_u64_field(STAMP, FAST),
        pos: schema.add_u64_field(POS, FAST),
        high: schema.add_u64_field(HIGH, FAST),
        low: schema.add_u64_field(LOW, FAST),
    };
    (schema.build(), fields)
}

/// A channel's two columns.
pub(crate) fn halves(channel: &Channel) -> (u64, u64) {
    let id = u128::from_be_bytes(*channel);
    ((id >> 64) as u64, id as u64)
}

pub(crate) fn from_halves(high: u64, low: u64) -> Channel {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

fn key_bytes(channel: &Channel, pos: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(channel);
    bytes[16..].copy_from_slice(&pos.to_be_bytes());
    bytes
}

impl Writer {
    fn new(index: tantivy::Index, options: &Options) -> Result<Self, SearchError> {
        let (_, fields) = schema();
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let writing = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(options.memory_bytes)
            .build();
        let writer: IndexWriter = index.writer_with_options(writing)?;
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(MERGED_PARTS);
        policy.set_max_docs_before_merge(MERGED_DOCUMENTS);
        policy.set_del_docs_ratio_before_merge(REMOVED_SHARE);
        writer.set_merge_policy(Box::new(policy));
        Ok(Self { writer, index: Index { reader, fields }, life: options.life.clone() })
    }

    /// For whoever searches.
    pub fn index(&self) -> Index {
        self.index.clone()
    }

    /// Adds a document that is not there.
    pub fn add(&self, document: &Document<'_>) -> Result<(), SearchError> {
        let Key { stamp, channel, pos } = document.key;
        let fields = self.index.fields;
        let (high, low) = halves(&channel);
        let mut row = TantivyDocument::default();
        row.add_bytes(fields.key, &key_bytes(&channel, pos));
        row.add_bytes(fields.channel, &channel);
        for term in terms_of(document.texts.iter().copied()) {
            row.add_bytes(fields.term, &term);
        }
        row.add_u64(fields.stamp, stamp);
        row.add_u64(fields.pos, pos);
        row.add_u64(fields.high, high);
        row.add_u64(fields.low, low);
        self.writer.add_document(row)?;
        Ok(())
    }

    /// Removes a document, if it is there.
    pub fn remove(&self, channel: &Channel, pos: u64) {
        let key = key_bytes(channel, pos);
        self.writer.delete_term(Term::from_field_bytes(self.index.fields.key, &key));
    }

    /// The parts that have something in their files that was removed, as far as is committed.
    pub fn parts_with_removed(&self) -> Result<Vec<Part>, SearchError> {
        guarded(|| {
            let parts = self.writer.index().searchable_segment_metas()?;
            let with = parts.iter().filter(|part| part.has_deletes());
            Ok(with.map(|part| Part(part.id())).collect())
        })
    }

    /// Writes a part anew without what was removed of it, and removes its old files; false: it is being merged with others, or
    /// has been. Blocks: some seconds for the largest parts.
    pub fn rewrite(&mut self, part: Part) -> Result<bool, SearchError> {
        let done = guarded(|| {
            match self.writer.merge(&[part.0]).wait() {
                Err(TantivyError::InvalidArgument(_)) => return Ok(false),
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            Ok(true)
        })?;
        if done {
            self.collect()?;
        }
        Ok(done)
    }

    /// Removes files that belong to no part any more, after a merge mostly, and that no search under way reads. A commit does this, too.
    pub fn collect(&self) -> Result<(), SearchError> {
        guarded(|| {
            // Whoever searches from here on does not keep the old files open.
            self.index.reader.reload()?;
            Ok(self.writer.garbage_collect_files().wait().map(drop)?)
        })
    }

    /// Puts what was added and removed on disk and before those who search; with it `upto`, the caller's number of how far
    /// that is.
    pub fn commit(&mut self, upto: u64) -> Result<(), SearchError> {
        guarded(|| {
            let mut commit = self.writer.prepare_commit()?;
            commit.set_payload(&payload(&self.life, upto));
            commit.commit()?;
            self.index.reader.reload()?;
            Ok(())
        })
    }
}

impl Index {
    /// Documents in it.
    pub fn documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// Documents that were removed and are still in the files.
    pub fn removed(&self) -> u64 {
        let searcher = self.reader.searcher();
        searcher.segment_readers().iter().map(|part| u64::from(part.num_deleted_docs())).sum()
    }

    /// Bytes of the files that hold them.
    pub fn bytes(&self) -> Result<u64, SearchError> {
        guarded(|| Ok(self.reader.searcher().space_usage()?.total().get_bytes()))
    }

    /// The greatest place of a channel that has a document, as far as is committed.
    pub fn reached(&self, channel: &Channel) -> Result<Option<u64>, SearchError> {
        let mut reached = None;
        self.each_of(channel, |pos| reached = reached.max(Some(pos)))?;
        Ok(reached)
    }

    /// Places of a channel at or below one that have a document, as far as is committed; at most `limit`.
    pub fn places(
        &self,
        channel: &Channel,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<u64>, SearchError> {
        let mut places = Vec::new();
        self.each_of(channel, |pos| {
            if pos <= upto && places.len() < limit {
                places.push(pos);
            }
        })?;
        Ok(places)
    }

    /// The places of a channel's documents, in no order.
    fn each_of(&self, channel: &Channel, mut each: impl FnMut(u64)) -> Result<(), SearchError> {
        guarded(|| {
            let searcher = self.reader.searcher();
            let term = Term::from_field_bytes(self.fields.channel, channel);
            for segment in searcher.segment_readers() {
                let postings = segment
                    .inverted_index(self.fields.channel)?
                    .read_postings(&term, IndexRecordOption::Basic)?;
                let Some(mut postings) = postings else { continue };
                let places = segment.fast_fields().u64(POS)?.first_or_default_col(0);
                while postings.doc() != TERMINATED {
                    if !segment.is_deleted(postings.doc()) {
                        each(places.get_val(postings.doc()));
                    }
                    postings.advance();
                }
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("documents", &self.documents()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("index", &self.index).finish_non_exhaustive()
    }
}

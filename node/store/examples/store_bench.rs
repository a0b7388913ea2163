//! Commits per second of the journal, beside what the disk itself does.
//!
//! `cargo run --release -p homing-store --example store_bench [-- DIR [MESSAGES [CHANNELS]]]`

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use homing_core::{Batch, ChannelState, ListRow, LogEntry, Reader as _, Write};
use homing_store::{JournalConfig, JournalStore, Store};
use homing_wire::{
    ChannelId, Epoch, Event, Hash, Header, HomeId, Kind, Local, MessageId, Pos, Seq, Stamp, UserRef,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HOME: HomeId = HomeId([1; 32]);
const EPOCH: Epoch = Epoch(1_700_000_000_000);
const BATCHES: [usize; 3] = [1, 64, 256];

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let messages: usize = args.next().map_or(Ok(400_000), |n| n.parse())?;
    let channels: usize = args.next().map_or(Ok(1_000), |n| n.parse())?;
    let dir = dir.join(format!("homing-store-bench-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let done = run(&dir, messages, channels);
    std::fs::remove_dir_all(&dir)?;
    done
}

fn run(dir: &Path, messages: usize, channels: usize) -> Result<()> {
    println!(
        "{messages} messages of 200 bytes, {channels} channels; a message is an entry, its id, its channel's"
    );
    println!("state and two rows of lists. CPU: writer and background together.\n");
    println!(
        "batch | append+fdatasync/s  p50/p99 ms | journal/s  p50/p99 ms  CPU s/100k  journal B  index B  RSS MB"
    );
    for batch in BATCHES {
        // One flush each is slow; as many batches as matter.
        let count = messages.min(batch * 20_000);
        let store_dir = dir.join(format!("store-{batch}"));
        let made: Vec<Batch> = batches(count, batch, channels)?;
        JournalStore::create(&store_dir, HOME, EPOCH)?;
        let store = JournalStore::open(&store_dir, JournalConfig::default())?;
        // The batches themselves are not the store's.
        let rss_before = rss_mb()?;
        let (cpu, started) = (cpu_seconds()?, Instant::now());
        let mut took = Vec::with_capacity(made.len());
        for batch in &made {
            let started = Instant::now();
            store.commit(batch)?;
            took.push(started.elapsed());
        }
        let seconds = started.elapsed().as_secs_f64();
        let rss = rss_mb()?.saturating_sub(rss_before);
        let (stats, committed) = (store.stats(), store.meta().change);
        // As after a crash: what the index lacks is read again.
        drop(store);
        let cpu = (cpu_seconds()? - cpu) * 100_000.0 / count as f64;
        let opening = Instant::now();
        let store = JournalStore::open(&store_dir, JournalConfig::default())?;
        let opening = opening.elapsed();
        if store.meta().change != committed {
            return Err("the store has lost something".into());
        }
        store.close()?;
        let index = size_of(&store_dir.join("index"))? / count as u64;
        let bytes = (stats.bytes / stats.commits) as usize;
        let read = read_back(&store)?;
        drop(store);

        let (bare, bare_took) = append(&dir.join("bare"), bytes, made.len())?;
        println!(
            "{batch:5} | {:18.0}  {} | {:9.0}  {}  {cpu:10.2}  {:9}  {index:7}  {rss:6}",
            count as f64 / bare,
            percentiles(bare_took),
            count as f64 / seconds,
            percentiles(took),
            stats.bytes / count as u64,
        );
        println!(
            "      | {} checkpoints, {:.1} s in them; {} stalls, {:.1} s; 50 entries of a channel read in {:.3} ms; opened in {:.2} s with {} MiB to read again",
            stats.checkpoints.count,
            stats.checkpoints.sum.as_secs_f64(),
            stats.stalls.count,
            stats.stalls.sum.as_secs_f64(),
            read * 1_000.0,
            opening.as_secs_f64(),
            stats.backlog_bytes >> 20
        );
        std::fs::remove_dir_all(&store_dir)?;
    }
    Ok(())
}

fn batches(messages: usize, size: usize, channels: usize) -> Result<Vec<Batch>> {
    let users = (user("alice")?, user("bob")?);
    let mut states: Vec<ChannelState> = (0..channels)
        .map(|n| {
            let mut state = ChannelState::chat(users.0.clone(), users.1.clone(), EPOCH.0);
            state.id = channel(n);
            state
        })
        .collect();
    // Spread over the channels without a pattern that the index could like.
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut numbers = (0..messages as u64).map(|n| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (n, random)
    });
    let mut made = Vec::new();
    while made.len() * size < messages {
        let mut batch = Batch::default();
        for (n, random) in numbers.by_ref().take(size) {
            let state = &mut states[(random % channels as u64) as usize];
            (state.head, state.counted) = (state.head.next(), state.counted + 1);
            let row = ListRow { channel: state.id, changed: n, active_at: EPOCH.0 + n };
            batch.writes.push(Write::Entry(Arc::new(entry(state, &users.0, n, random))));
            batch.writes.push(Write::Listing { user: users.0.local.clone(), row });
            batch.writes.push(Write::Listing { user: users.1.local.clone(), row });
            batch.writes.push(Write::Channel(Box::new(state.clone())));
            batch.change = n;
        }
        made.push(batch);
    }
    Ok(made)
}

fn user(name: &str) -> Result<UserRef> {
    Ok(UserRef::new(HOME, Local::canonical(name)?))
}

fn channel(n: usize) -> ChannelId {
    let mut id = [0; 16];
    id.copy_from_slice(&Hash::of(&n.to_le_bytes()).0[..16]);
    ChannelId::from_slice(&id).expect("16 bytes")
}

fn entry(state: &ChannelState, sender: &UserRef, n: u64, random: u64) -> LogEntry {
    let mut body = vec![b'x'; 200];
    body[..8].copy_from_slice(&n.to_be_bytes());
    let mut id = [0; 16];
    // As UUIDv7 has them: 48 bits of milliseconds (here 100 messages in each), then random.
    id[..6].copy_from_slice(&(EPOCH.0 + n / 100).to_be_bytes()[2..]);
    id[6..14].copy_from_slice(&random.to_be_bytes());
    id[6] = 0x70 | (id[6] & 0x0f);
    let first = state.head == Pos(1);
    let header = Header {
        channel: state.id,
        origin: HOME,
        epoch: EPOCH,
        seq: Seq(state.head.0),
        prev: if first { Hash::NONE } else { Hash::of(&id) },
        stamp: Stamp::from_ms(EPOCH.0 + n),
        sender: sender.local.clone(),
        id: MessageId::from_slice(&id).expect("16 bytes"),
        kind: Kind::Text,
        target: None,
        mentions: Vec::new(),
        media: Vec::new(),
        roster: 0,
        body_size: 200,
        body_hash: Hash::of(&body),
    };
    let event = Event::new(header, Bytes::from(body));
    LogEntry {
        pos: state.head,
        counted: state.counted,
        arrived_at: EPOCH.0 + n,
        hidden: false,
        event,
    }
}

/// Seconds for reading 50 entries of a channel, from the journal.
fn read_back(store: &JournalStore) -> Result<f64> {
    let started = Instant::now();
    let mut rounds = 0;
    for n in 0..100 {
        let Some(state) = store.channel(channel(n))? else { continue };
        store.log(state.id, Pos(1), Pos(50), usize::MAX)?;
        rounds += 1;
    }
    Ok(started.elapsed().as_secs_f64() / f64::from(rounds.max(1)))
}

/// The same bytes, appended to a growing file.
fn append(path: &Path, bytes: usize, times: usize) -> Result<(f64, Vec<Duration>)> {
    let mut file = File::create(path)?;
    let block = vec![0x5a; bytes];
    let mut took = Vec::with_capacity(times);
    let started = Instant::now();
    for _ in 0..times {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(started.elapsed());
    }
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok((seconds, took))
}

fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
    format!("{:5.2}/{:5.2}", at(0.5), at(0.99))
}

/// User and system time of this process (`/proc`, in hundredths).
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn rss_mb() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok((pages * 4_096) >> 20)
}

fn size_of(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(dir)? {
        let file = file?.metadata()?;
        bytes += if file.is_file() { file.len() } else { 0 };
    }
    Ok(bytes)
}

//! A child process commits and reports; it is killed with SIGKILL, its store is opened and checked.
//! Nothing that was reported may be missing, and no batch may be there in part.
//!
//! `HOMING_STORE_KILLS` says how often (30), `HOMING_STORE_SEED` repeats a run.
//!
//! `.ci/powercut` runs [`child`] and [`checked`] on a file system that it cuts off. It must find out the faults
//! that `HOMING_STORE_CANARY` switches on in the child: a store that flushes nothing, with and without
//! checkpoints that run ahead of it, one that does not flush what it rewrites, and sled with nothing but its own `flush()`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use homing_core::{Batch, Reader, Write};
use homing_store::{Flush, JournalConfig, JournalStore, Store, Tidy};
use homing_wire::Pos;

use crate::sample::{self, EPOCH, HOME};

const CHANNELS: u64 = 7;
const CHILD: &str = "HOMING_STORE_KILL_DIR";
const CHECKED: &str = "HOMING_STORE_CHECK_DIR";
const CANARY: &str = "HOMING_STORE_CANARY";

fn config() -> JournalConfig {
    JournalConfig {
        home: Some(HOME),
        segment_bytes: 256 << 10,
        checkpoint_bytes: 100 << 10,
        checkpoint_every: Duration::from_millis(20),
        reserve_bytes: 0,
        ..JournalConfig::default()
    }
}

/// Batch `n`: an entry in every channel, now and then a large one, and the number in an account.
fn batch(n: u64) -> Batch {
    let mut writes = Vec::new();
    for c in 0..CHANNELS {
        let channel = sample::channel(c);
        let body = vec![n as u8; if n % 41 == c { 30_000 } else { 200 }];
        writes.push(Write::Entry(sample::entry_with(channel, n, body.into())));
        writes.push(Write::Channel(Box::new(sample::channel_at(channel, n))));
    }
    let mut account = sample::account("alice");
    account.ids_ahead_ms = n;
    writes.push(Write::Account(Box::new(account)));
    Batch { change: n, writes, ..Batch::default() }
}

/// The last batch in the store, after checking that it and all before it are there in whole.
fn check(store: &JournalStore, checked: u64) -> u64 {
    let account = store.account(&sample::local("alice")).unwrap();
    let last = account.map_or(0, |account| account.ids_ahead_ms);
    assert_eq!(store.meta().change, last);
    for c in 0..CHANNELS {
        let channel = sample::channel(c);
        let head = store.channel(channel).unwrap().map_or(Pos(0), |state| state.head);
        assert_eq!(head, Pos(last), "half a batch");
        let first = checked + 1;
        let entries = store.log(channel, Pos(first), Pos(u64::MAX), usize::MAX).unwrap();
        assert!(entries.iter().map(|entry| entry.pos.0).eq(first..=last));
        for entry in entries {
            assert!(entry.event.body.iter().all(|byte| *byte == entry.pos.0 as u8));
            let header = &entry.event.header;
            let key = homing_core::MessageKey::new(&header.user(), &header.id);
            assert_eq!(store.place(key).unwrap(), Some((channel, entry.pos)));
        }
    }
    last
}

/// Not a test: the child's work, when it is started as the child.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    if !dir.join("store").exists() {
        JournalStore::create(dir, HOME, EPOCH).unwrap();
    }
    let canary = std::env::var(CANARY).unwrap_or_default();
    if canary == "sled_flush" {
        return sled_alone(&dir.join("sled"));
    }
    let store = JournalStore::open(dir, faulty(&canary)).unwrap();
    let mut n = store.meta().change;
    std::thread::scope(|scope| {
        // All the while segments are rewritten and freed.
        scope.spawn(|| {
            loop {
                let wish = Tidy {
                    erase_before_ms: 0,
                    seal_every_ms: 3_600_000,
                    bytes_per_s: 0,
                    everything: true,
                };
                store.tidy(&wish).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut out = std::io::stdout();
        loop {
            n += 1;
            store.commit(&batch(n)).unwrap();
            writeln!(out, "committed {n}").unwrap();
            out.flush().unwrap();
        }
    });
}

/// The settings of a child that is to be found out.
fn faulty(canary: &str) -> JournalConfig {
    let unflushed = JournalConfig { flush: Flush::instead(|_| Ok(())), ..config() };
    match canary {
        "" => config(),
        // Answered before it is on the disk.
        "early_answer" => JournalConfig {
            checkpoint_every: Duration::from_secs(3_600),
            checkpoint_bytes: 1 << 30,
            ..unflushed
        },
        // Segments are freed before what was rewritten of them is on the disk.
        "early_freeing" => JournalConfig {
            flush: Flush::instead(|file| {
                let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
                let is_rewritten = std::fs::read_link(name)?.to_string_lossy().ends_with(".tmp");
                if is_rewritten { Ok(()) } else { file.sync_data() }
            }),
            ..config()
        },
        // The index is on the disk, the journal that it was made from is not.
        "early_checkpoint" => unflushed,
        other => panic!("no such canary: {other}"),
    }
}

/// sled, flushed by its own `flush()` and nothing else after every write.
fn sled_alone(dir: &Path) {
    let db = sled::Config::new().path(dir).flush_every_ms(Some(100)).open().unwrap();
    let mut n = db.get("n").unwrap().map_or(0, |n| u64::from_le_bytes(n[..].try_into().unwrap()));
    let mut out = std::io::stdout();
    loop {
        n += 1;
        db.insert(format!("entry {n}"), vec![n as u8; 300]).unwrap();
        db.insert("n", &n.to_le_bytes()).unwrap();
        db.flush().unwrap();
        writeln!(out, "committed {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Not a test: checks a store that [`child`] wrote and that a power cut ended, and says how far it goes.
#[test]
fn checked() {
    let Some(dir) = std::env::var_os(CHECKED) else { return };
    let dir = Path::new(&dir);
    if std::env::var(CANARY).is_ok_and(|canary| canary == "sled_flush") {
        let db = sled::open(dir.join("sled")).unwrap();
        let n = db.get("n").unwrap().map_or(0, |n| u64::from_le_bytes(n[..].try_into().unwrap()));
        println!("holds {n}");
        return;
    }
    let store = JournalStore::open(dir, config()).unwrap();
    println!("holds {}", check(&store, 0));
}

/// Batches reported before the kill.
fn run_and_kill(dir: &Path, reports: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (mut last, mut seen) = (0, 0);
    let mut lines = out.lines().map_while(Result::ok);
    for line in lines.by_ref() {
        // The test runner's own words may stand before it on the line.
        let Some((_, n)) = line.split_once("committed ") else { continue };
        (last, seen) = (n.parse().unwrap(), seen + 1);
        if seen >= reports {
            break;
        }
    }
    assert!(seen >= reports, "the child ended by itself");
    child.kill().unwrap();
    // What it could still report was committed as well.
    for line in lines {
        if let Some(n) = line.strip_prefix("committed ").and_then(|n| n.parse().ok()) {
            last = n;
        }
    }
    child.wait().unwrap();
    last
}

#[test]
fn nothing_reported_is_lost_by_kill_9() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let kills = number("HOMING_STORE_KILLS").unwrap_or(30);
    let seed = number("HOMING_STORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("HOMING_STORE_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    JournalStore::create(&dir, HOME, EPOCH).unwrap();
    let (mut random, mut checked) = (seed | 1, 0);
    for kill in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let reported = run_and_kill(&dir, 1 + random % 120);
        let store = JournalStore::open(&dir, config()).unwrap();
        let last = check(&store, checked);
        assert!(last >= reported, "kill {kill}: {reported} was reported, {last} is there");
        assert!(last <= reported + 1, "kill {kill}: more than one batch was unanswered");
        assert_eq!(store.meta().boot, 2 * (kill + 1));
        checked = last;
    }
    let store = JournalStore::open(&dir, config()).unwrap();
    assert_eq!(check(&store, 0), checked);
    println!("{kills} kills, {checked} batches reported, none lost, none half");
}

//! `search`: a home full of messages, and how long it takes to find some; then its index is removed, and made again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use hdrhistogram::Histogram;
use homing_client::{Client, MessageQuery, Options, Target, TextBody, Uuid};
use tokio::sync::mpsc;

use super::Bench;
use super::check::Verdict;
use super::line::Line;
use super::load::Login;
use super::scenario::{Counters, PATIENCE, POLL, Usage, make_group, make_users, start};
use crate::homes::Homes;

/// People who write to each other, two and two and all together.
const PEOPLE: usize = 20;
/// Words there are. How often one is said falls as its number rises, as it does in any language.
const WORDS: u64 = 20_000;
/// Words of one message, beside the one that it alone has.
const WORDS_EACH: u64 = 9;
/// Sends of one user that wait for their answer.
const IN_FLIGHT: usize = 64;

/// What is looked for.
#[derive(Clone, Copy)]
enum Kind {
    /// A word that one message has: it must be found.
    Rare,
    /// A word that most messages have.
    Common,
    /// Three of these.
    CommonAll,
    /// The beginning of many words.
    Beginning,
    /// A beginning of five letters.
    LongBeginning,
    /// A word that nobody says beside one that everybody does.
    None,
    /// A common word in one chat.
    Channel,
    /// All that has a common word, page by page.
    Pages,
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::Rare, "rare word"),
    (Kind::Common, "common word"),
    (Kind::CommonAll, "common words"),
    (Kind::Beginning, "beginning"),
    (Kind::LongBeginning, "long beginning"),
    (Kind::None, "not there"),
    (Kind::Channel, "one channel"),
    (Kind::Pages, "pages"),
];

pub(super) async fn run(bench: &Bench, lines: &mpsc::Sender<Line>) -> anyhow::Result<()> {
    let mut homes = start(bench, "search", 1).await?;
    let people = make_users(&homes[0], "person", PEOPLE).await?;
    let group = make_group(&people).await?;
    bench.note(&format!("search: sending {} messages …", bench.searched));
    let chats = fill(&people, group, bench.searched).await?;
    let counters = Counters::of(&homes[0])?;
    until_found(&counters, bench.searched).await?;
    let bytes = counters.read("homing_search_bytes").await? as f64 / bench.searched as f64;
    for (kind, variant) in KINDS {
        bench.note(&format!("search, {variant}: {} s …", bench.seconds));
        let line = measure(bench, &homes, &people, chats[0], kind).await?;
        let (variant, disk) = (variant.to_owned(), Some(bytes));
        lines.send(Line { variant, disk_bytes_per_message: disk, ..line }).await?;
    }
    lines.send(rebuild(bench, &mut homes, bytes).await?).await?;
    homes.stop_all().await?;
    Ok(())
}

/// Messages of all: every second one in the group, the others in chats of two. The chats.
async fn fill(people: &[Login], group: Uuid, messages: u64) -> anyhow::Result<Vec<Uuid>> {
    let each = messages.div_ceil(PEOPLE as u64);
    let senders = futures::stream::iter(people.iter().enumerate().map(|(n, login)| async move {
        let options = Options::new(login.server.parse()?, &login.token);
        let (client, _events) = Client::connect(options).await?;
        let chat = client.open_chat(&people[n ^ 1].address).await?.channel;
        let first = n as u64 * each;
        let sends = (first..(first + each).min(messages)).map(|number| {
            let client = &client;
            async move {
                let channel = if number % 2 == 0 { group } else { chat };
                let (id, text) = (homing_client::new_message_id(), text(number));
                client.send(Target::Channel(channel), id, &TextBody::new(&text)).await
            }
        });
        {
            let sends = futures::stream::iter(sends).buffered(IN_FLIGHT);
            futures::pin_mut!(sends);
            while let Some(sent) = sends.next().await {
                sent?;
            }
        }
        client.close().await;
        anyhow::Ok(chat)
    }))
    .buffered(PEOPLE);
    futures::pin_mut!(senders);
    let mut chats = Vec::with_capacity(people.len());
    while let Some(chat) = senders.next().await {
        chats.push(chat?);
    }
    Ok(chats)
}

/// What message `number` says: a word of its own, and words of which few are said often.
fn text(number: u64) -> String {
    let mut text = own_word(number);
    for nth in 0..WORDS_EACH {
        text.push(' ');
        text.push_str(&word(rank(number * WORDS_EACH + nth)));
    }
    text
}

/// The word that one message alone has.
fn own_word(number: u64) -> String {
    format!("m{number:07}")
}

/// Evenly spread over the logarithms: the first word is said as often as the hundred before the last.
fn rank(seed: u64) -> u64 {
    let spread = scatter(seed) as f64 / u64::MAX as f64;
    ((WORDS as f64).powf(spread) as u64).min(WORDS) - 1
}

/// A word of two to five syllables.
fn word(rank: u64) -> String {
    const FIRST: [&str; 16] =
        ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z"];
    const SECOND: [&str; 5] = ["a", "e", "i", "o", "u"];
    let (mut left, mut word) = (scatter(rank) >> 8 << 16 | rank, String::new());
    for _ in 0..3 + rank % 3 {
        word.push_str(FIRST[(left % 16) as usize]);
        word.push_str(SECOND[(left / 16 % 5) as usize]);
        left /= 80;
    }
    word
}

/// Numbers that look like chance, the same in each run (SplitMix64).
fn scatter(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

async fn measure(
    bench: &Bench,
    homes: &Homes,
    people: &[Login],
    chat: Uuid,
    kind: Kind,
) -> anyhow::Result<Line> {
    // Who wrote the first messages: of these the rare words are.
    let own = bench.searched.div_ceil(PEOPLE as u64);
    let login = &people[0];
    let (client, _events) =
        Client::connect(Options::new(login.server.parse()?, &login.token)).await?;
    // Up to a minute.
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let mut verdict = Verdict::default();
    let before = Usage::of(homes)?;
    let (began, mut number, mut cursor) = (Instant::now(), 0, None);
    while began.elapsed() < Duration::from_secs(bench.seconds) || number == 0 {
        let seed = scatter(number);
        let text = match kind {
            Kind::Rare => own_word(seed % own),
            Kind::Common | Kind::Channel => format!("{} ", word(seed % 10)),
            Kind::Pages => format!("{} ", word(0)),
            Kind::CommonAll => format!("{} {} {} ", word(0), word(1 + seed % 5), word(6)),
            Kind::Beginning => word(seed % WORDS)[..3].to_owned(),
            Kind::LongBeginning => word(seed % WORDS)[..5].to_owned(),
            Kind::None => format!("{} nowhere{seed} ", word(0)),
        };
        let channel = matches!(kind, Kind::Channel).then_some(chat);
        let asked = Instant::now();
        let query = MessageQuery { query: &text, channel, cursor: cursor.as_deref(), limit: None };
        let found = client.search(&query).await?;
        times.saturating_record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
        number += 1;
        match kind {
            Kind::Rare => verdict.lost += u64::from(found.messages.len() != 1),
            Kind::None => verdict.doubled += found.messages.len() as u64,
            Kind::Pages => cursor = found.cursor,
            Kind::Common
            | Kind::CommonAll
            | Kind::Beginning
            | Kind::LongBeginning
            | Kind::Channel => {}
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let used = Usage::of(homes)?.since(&before);
    client.close().await;
    let ms = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Line {
        scenario: "search",
        unit: "searches",
        count: number,
        per_s: number as f64 / seconds,
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        p999_ms: ms(0.999),
        cpu_s_per_1000: used.cpu_s * 1000.0 / number as f64,
        rss_peak_bytes: used.peak_bytes,
        verdict,
        ..Line::default()
    })
}

/// The index is removed, and made again while the home runs.
async fn rebuild(bench: &Bench, homes: &mut Homes, bytes: f64) -> anyhow::Result<Line> {
    bench.note("search: the index is removed …");
    homes[0].stop().await?;
    let folder = homes[0].dir().join("search");
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    homes[0].start().await?;
    let began = Instant::now();
    let before = Usage::of(homes)?;
    let counters = Counters::of(&homes[0])?;
    until_found(&counters, bench.searched).await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = Usage::of(homes)?.since(&before);
    Ok(Line {
        scenario: "search",
        variant: "rebuild".to_owned(),
        unit: "messages",
        count: bench.searched,
        per_s: bench.searched as f64 / seconds,
        p50_ms: seconds * 1e3,
        p99_ms: seconds * 1e3,
        p999_ms: seconds * 1e3,
        cpu_s_per_1000: used.cpu_s * 1000.0 / bench.searched as f64,
        rss_peak_bytes: used.peak_bytes,
        disk_bytes_per_message: Some(bytes),
        ..Line::default()
    })
}

/// Waits until all are in the index, and nothing is missing there.
async fn until_found(counters: &Counters, messages: u64) -> anyhow::Result<()> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let there = counters.read("homing_search_documents").await?;
        if there >= messages && counters.read("homing_search_indexing").await? == 0 {
            return Ok(());
        }
        if there > last {
            (last, moved) = (there, Instant::now());
        } else if moved.elapsed() > PATIENCE {
            bail!("{there} of {messages} messages are in the index, and no more come");
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_words_are_said_often_and_each_message_has_one_of_its_own() {
        let mut said = std::collections::BTreeMap::<String, u64>::new();
        for number in 0..2_000 {
            for word in text(number).split(' ') {
                *said.entry(word.to_owned()).or_default() += 1;
            }
        }
        assert_eq!(said[&own_word(77)], 1);
        let most = said.values().max().copied().unwrap();
        assert!(most > 500, "{most}");
        assert!(said.values().filter(|n| **n == 1).count() > 3_000);
    }
}

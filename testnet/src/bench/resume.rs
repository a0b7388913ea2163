//! `resume`: a user with 2,000 channels comes back, and three of them have changed.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use homing_client::{Channel, Client, Options, Target, TextBody, Uuid};
use serde_json::json;
use tokio::sync::mpsc;

use super::Bench;
use super::line::Line;
use super::load::{Login, Times};
use super::scenario::{Usage, make_user, start};
use crate::homes::Homes;

/// The user is in so many.
const CHANNELS: usize = 2_000;
/// Of them have changed.
const CHANGED: usize = 3;
/// Messages of each channel, one after the other: what it costs to come back must not follow them.
const MESSAGES: [usize; 2] = [1, 100];
/// Returns that are measured, in each case.
const RETURNS: usize = 200;
/// Times that everything is listed.
const LISTINGS: usize = 10;
/// Calls in flight while the channels are made.
const IN_FLIGHT: usize = 64;
/// A body as compact JSON is about 200 bytes.
const TEXT_CHARS: usize = 170;

/// Results go out as they come.
pub(super) async fn run(bench: &Bench, lines: &mpsc::Sender<Line>) -> anyhow::Result<()> {
    let mut homes = start(bench, "resume", 1).await?;
    let login = make_user(&homes[0], "traveller".to_owned()).await?;
    let (writer, _events) = Client::connect(options(&login)?).await?;
    let making = futures::stream::iter(0..CHANNELS).map(|n| {
        let made = json!({"name": format!("group {n}"), "members": [], "id": Uuid::now_v7()});
        let writer = &writer;
        async move { writer.call::<_, Channel>("groups.create", &made).await }
    });
    let channels: Vec<Channel> = making.buffered(IN_FLIGHT).try_collect().await?;
    let channels: Vec<Uuid> = channels.into_iter().map(|channel| channel.channel).collect();
    let mut there = 0;
    for messages in MESSAGES {
        bench.note(&format!("resume: {CHANNELS} channels of {messages} messages …"));
        let text = "x".repeat(TEXT_CHARS);
        let body = TextBody::new(&text);
        let all = channels.iter().flat_map(|id| std::iter::repeat_n(*id, messages - there));
        let writing = futures::stream::iter(all).map(|id| {
            let (writer, body) = (&writer, &body);
            async move { writer.send(Target::Channel(id), Uuid::now_v7(), body).await }
        });
        writing.buffered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
        there = messages;
        lines.send(returns(&homes, &login, &writer, &channels, messages).await?).await?;
    }
    lines.send(listings(&homes, &writer).await?).await?;
    writer.close().await;
    homes.stop_all().await?;
    Ok(())
}

/// A client of that user, as clients come.
pub(super) async fn connect(login: &Login) -> anyhow::Result<(Client, homing_client::Events)> {
    Ok(Client::connect(options(login)?).await?)
}

fn options(login: &Login) -> anyhow::Result<Options> {
    Ok(Options::new(login.server.parse()?, &login.token))
}

/// From connecting to the answer that names what has changed.
async fn returns(
    homes: &Homes,
    login: &Login,
    writer: &Client,
    channels: &[Uuid],
    messages: usize,
) -> anyhow::Result<Line> {
    let mut times = Histogram::<u64>::new(3)?;
    let before = Usage::of(homes)?;
    let (first, _events) = Client::connect(options(login)?).await?;
    let mut since = Arc::clone(&first.opened().sync);
    first.close().await;
    let body = TextBody::new("news");
    for n in 0..RETURNS {
        let at = |m: usize| channels[(n * CHANGED + m) * 7 % channels.len()];
        let mut changed: Vec<Uuid> = (0..CHANGED).map(at).collect();
        for id in &changed {
            writer.send(Target::Channel(*id), Uuid::now_v7(), &body).await?;
        }
        let begun = Instant::now();
        let mut options = options(login)?;
        options.since = Some(since);
        let (client, _events) = Client::connect(options).await?;
        times.record(u64::try_from(begun.elapsed().as_nanos())?)?;
        let opened = client.opened();
        let mut told: Vec<Uuid> = opened.channels.iter().map(|channel| channel.channel).collect();
        changed.sort();
        told.sort();
        if told != changed {
            bail!("{changed:?} have changed, and {told:?} are told");
        }
        since = Arc::clone(&opened.sync);
        client.close().await;
    }
    let used = Usage::of(homes)?.since(&before);
    Ok(line(format!("messages={messages}"), "returns", RETURNS, &times, &used))
}

/// All channels, page after page, as who begins anew asks for them.
async fn listings(homes: &Homes, client: &Client) -> anyhow::Result<Line> {
    let mut times = Histogram::<u64>::new(3)?;
    let before = Usage::of(homes)?;
    for _ in 0..LISTINGS {
        let begun = Instant::now();
        let all = client.all_channels().await.context("listing all channels")?;
        times.record(u64::try_from(begun.elapsed().as_nanos())?)?;
        if all.len() != CHANNELS {
            bail!("{} of {CHANNELS} channels are listed", all.len());
        }
    }
    let used = Usage::of(homes)?.since(&before);
    Ok(line("all channels".to_owned(), "listings", LISTINGS, &times, &used))
}

fn line(
    variant: String,
    unit: &'static str,
    count: usize,
    times: &Histogram<u64>,
    used: &Usage,
) -> Line {
    let Times { p50_ms, p99_ms, p999_ms } = Times::of(times);
    Line {
        scenario: "resume",
        variant,
        unit,
        count: count as u64,
        per_s: 1e9 / times.mean(),
        p50_ms,
        p99_ms,
        p999_ms,
        cpu_s_per_1000: used.cpu_s * 1000.0 / count as f64,
        rss_peak_bytes: used.peak_bytes,
        ..Line::default()
    }
}

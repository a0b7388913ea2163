//! `homing client upload|download`: files.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use homing_client::{
    AvatarFile, Body, Download, Error, Media, MediaBody, PendingUpload, Progress, Refusal, Sent,
    Upload, Uuid, harmless_file_name,
};
use serde::Serialize;

use super::show::{Screen, harmless};
use super::{Session, note, patiently};

/// Between two looks at how far it is: people read no faster.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Of the bar, in characters.
const BAR_CHARS: u64 = 24;

/// What is uploaded, for whom.
#[derive(Debug, Args)]
pub(super) struct UploadArgs {
    /// An address (a name alone is a user of your own home) or a channel's id.
    to: String,
    /// The file.
    file: PathBuf,
    /// Words under it.
    #[arg(long, value_name = "TEXT", conflicts_with = "no_send")]
    caption: Option<String>,
    /// Send no message: print what one would name.
    #[arg(long)]
    no_send: bool,
}

/// What is downloaded, and whereto.
#[derive(Debug, Args)]
pub(super) struct DownloadArgs {
    /// An address (a name alone is a user of your own home) or a channel's id.
    with: String,
    /// The message's id: `history` shows it.
    id: Uuid,
    /// Who sent it, should two have chosen the same id.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// A file, or a folder; `-` is standard output. Without it a file here, called as its sender called it.
    #[arg(long, value_name = "PATH")]
    to: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

pub(super) async fn upload(
    session: &Session,
    screen: &Screen,
    args: UploadArgs,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        sent: &'a Sent,
        media: &'a Media,
    }
    let peer = session.peer(&args.to)?;
    let options = session.options()?;
    let mut pending = pending(session, &args)?;
    // Whoever is not there gets nothing: better said before the file is sent than after.
    if !args.no_send {
        let (client, _events) = session.connect().await?;
        let found = peer.channel(&client).await;
        client.close().await;
        match found {
            Err(error) if error.code() == Some(Refusal::NOT_FOUND) => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
    }
    let mut upload = Upload::new(&pending.path);
    upload.address = Some(pending.address.clone()).filter(|address| !address.is_empty());
    // A link is called as it was called here.
    if let Some(name) = args.file.file_name() {
        upload.name = name.to_string_lossy().into_owned();
    }
    let mut bar = Bar::new(&upload.name);
    let mut begun = |address: &str| {
        address.clone_into(&mut pending.address);
        // The upload goes on all the same; only another run would begin anew.
        if let Err(error) = remember(session, &pending) {
            note(&format!("this upload will not be found again: {error}"));
        }
    };
    let uploaded =
        upload.run(&options.server, &options.token, &mut begun, &mut |p| bar.show(p)).await;
    bar.end();
    let uploaded = uploaded?;
    let (client, _events) = session.connect().await?;
    let media = patiently(async || client.media_get(uploaded.id).await).await?;
    if args.no_send {
        client.close().await;
        forget(session, &pending)?;
        let media = &media;
        return screen.result(media, |screen| screen.line(&serde_json::to_string(media)?));
    }
    let body = MediaBody::new(&media, args.caption.as_deref());
    let send = async || client.send(peer.target(), pending.message, &body).await;
    let sent = patiently(send).await?;
    client.close().await;
    forget(session, &pending)?;
    screen.result(&Line { sent: &sent, media: &media }, |screen| {
        screen.line(&format!("{} stored at {}", sent.id, sent.pos))
    })
}

pub(super) async fn download(
    session: &Session,
    screen: &Screen,
    args: DownloadArgs,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        path: String,
        size: u64,
        hash: &'a str,
    }
    let options = session.options()?;
    let sender = args.sender.as_deref().map(|sender| session.user(sender)).transpose()?;
    let (client, _events) = session.connect().await?;
    let channel = super::own::existing(session, &client, &args.with).await?.channel;
    let ask = async || client.message(channel, args.id, sender.as_deref()).await;
    let message = patiently(ask).await?;
    client.close().await;
    let media = match message.body() {
        Body::Media { media, .. } => media,
        Body::Text { .. } | Body::Deleted | Body::Notice | Body::Other => {
            bail!("the message {} names no file", args.id)
        }
    };
    let download = Download::new(media);
    let media = &download.media;
    let mut bar = Bar::new(&media.name);
    let (server, token) = (&options.server, &options.token);
    let to = match args.to {
        Some(to) if to == Path::new("-") => {
            let mut out = tokio::io::stdout();
            let done = download.to_writer(server, token, &mut out, &mut |p| bar.show(p)).await;
            bar.end();
            return Ok(done?);
        }
        Some(folder) if folder.is_dir() => folder.join(harmless_file_name(&media.name)),
        Some(to) => to,
        None => PathBuf::from(harmless_file_name(&media.name)),
    };
    if !args.force && to.symlink_metadata().is_ok() {
        bail!("{} is there already: say --force to replace it, or --to PATH", to.display());
    }
    let done = download.to_file(server, token, &to, args.force, &mut |p| bar.show(p)).await;
    bar.end();
    match done {
        Err(Error::WrongHash) => bail!("{}; nothing was kept of it", Error::WrongHash),
        done => done?,
    }
    let path = to.display().to_string();
    screen.result(&Line { path, size: media.size, hash: &media.hash }, |screen| {
        screen.line(&format!("{} ({})", to.display(), bytes(media.size)))
    })
}

/// Uploads an image that is to be an avatar. They are small: one that breaks off is begun anew.
pub(super) async fn avatar(session: &Session, file: &Path) -> anyhow::Result<AvatarFile> {
    let options = session.options()?;
    let upload = Upload::new(file);
    let mut bar = Bar::new(&upload.name);
    let uploaded =
        upload.run(&options.server, &options.token, &mut |_| {}, &mut |p| bar.show(p)).await;
    bar.end();
    Ok(AvatarFile { id: uploaded?.id })
}

/// What an earlier run knows of this very file, or a new beginning.
fn pending(session: &Session, args: &UploadArgs) -> anyhow::Result<PendingUpload> {
    let path = args.file.canonicalize().with_context(|| args.file.display().to_string())?;
    let found = path.metadata().with_context(|| args.file.display().to_string())?;
    if !found.is_file() {
        bail!("{} is no file", args.file.display());
    }
    let changed = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let new = PendingUpload {
        path: path.to_str().context("the file's path is no text")?.to_owned(),
        size: found.len(),
        changed_at: changed.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
        address: String::new(),
        to: args.to.clone(),
        caption: args.caption.clone(),
        message: homing_client::new_message_id(),
    };
    let known = session.store.load_uploads()?.into_iter().rev().find(|known| is_same(known, &new));
    Ok(match known {
        // The same message, should it have been sent already.
        Some(known) if known.to == new.to && known.caption == new.caption => known,
        Some(known) => PendingUpload { address: known.address, ..new },
        None => new,
    })
}

fn is_same(a: &PendingUpload, b: &PendingUpload) -> bool {
    (&a.path, a.size, a.changed_at) == (&b.path, b.size, b.changed_at)
}

fn remember(session: &Session, pending: &PendingUpload) -> anyhow::Result<()> {
    let mut uploads = session.store.load_uploads()?;
    uploads.retain(|known| known.path != pending.path);
    uploads.push(pending.clone());
    Ok(session.store.save_uploads(&uploads)?)
}

fn forget(session: &Session, pending: &PendingUpload) -> anyhow::Result<()> {
    let mut uploads = session.store.load_uploads()?;
    uploads.retain(|known| known.path != pending.path);
    Ok(session.store.save_uploads(&uploads)?)
}

/// How far it is, on standard error, where that is a terminal. One line of our own: a crate for it would bring more
/// code than it saves.
struct Bar {
    name: String,
    /// `None`: nobody looks.
    shown_at: Option<Option<Instant>>,
    begun: Option<(Instant, u64)>,
}

impl Bar {
    fn new(name: &str) -> Self {
        let shown_at = io::stderr().is_terminal().then_some(None);
        let name = harmless(name).chars().take(30).collect();
        Self { name, shown_at, begun: None }
    }

    fn show(&mut self, progress: Progress) {
        let Some(shown_at) = &mut self.shown_at else { return };
        let now = Instant::now();
        let (begun, from) = *self.begun.get_or_insert((now, progress.done));
        let is_due = shown_at.is_none_or(|at| now.duration_since(at) >= SHOW_EVERY);
        if !is_due && progress.done < progress.total {
            return;
        }
        *shown_at = Some(now);
        let line = bar_line(&self.name, progress, from, now.duration_since(begun));
        // Who closed standard error does not want it.
        let _unwanted = write!(io::stderr(), "\r{line}\u{1b}[K");
    }

    fn end(&mut self) {
        if self.shown_at.take().flatten().is_some() {
            let _unwanted = writeln!(io::stderr());
        }
    }
}

/// One line; `from`: where this run began.
fn bar_line(name: &str, progress: Progress, from: u64, took: Duration) -> String {
    let Progress { done, total } = progress;
    let share = |of: u64| match total {
        0 => of,
        total => u64::try_from(u128::from(done) * u128::from(of) / u128::from(total)).unwrap_or(of),
    };
    let full = share(BAR_CHARS).min(BAR_CHARS);
    let bar: String = (0..BAR_CHARS).map(|at| if at < full { '█' } else { '░' }).collect();
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_s = done.saturating_sub(from).saturating_mul(1_000) / ms;
    let mut line = format!("{name} {bar} {:>3} %  {}", share(100), bytes(done));
    if done > from {
        line.push_str(&format!("  {}/s", bytes(per_s)));
        if let Some(left) = total.saturating_sub(done).checked_div(per_s).filter(|s| *s > 0) {
            line.push_str(&format!("  {}:{:02} left", left / 60, left % 60));
        }
    }
    line
}

/// Bytes, for people.
fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(power) = (1..=6).rev().find(|power| count >= 1 << (10 * power)) else {
        return format!("{count} bytes");
    };
    // Tenths, rounded down.
    let tenths = (count >> (10 * (power - 1))) * 10 / 1024;
    format!("{}.{} {}", tenths / 10, tenths % 10, units[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (count, shown) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            ((3 << 30) - 1, "2.9 GiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
        assert!(bytes(u64::MAX).ends_with(" EiB"));
    }

    #[test]
    fn the_bar_fills_and_says_how_long_it_takes() {
        let line = |done, total, from| {
            bar_line("a", Progress { done, total }, from, Duration::from_secs(2))
        };
        assert_eq!(line(0, 100, 0), format!("a {}   0 %  0 bytes", "░".repeat(24)));
        assert_eq!(line(100, 100, 0), format!("a {} 100 %  100 bytes  50 bytes/s", "█".repeat(24)));
        assert!(line(100, 1_000, 0).ends_with("  0:18 left"));
        assert!(line(0, 0, 0).contains("100 %"));
        // What an earlier run has brought says nothing of the speed.
        assert!(line(600, 1_000, 500).contains("  50 bytes/s"));
    }
}

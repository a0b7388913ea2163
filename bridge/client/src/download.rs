//! Downloading: HTTP ranges, whatever breaks in between; what came is checked against the message's hash.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::error::Error;
use crate::server::{Server, refused};
use crate::transfer::{Hope, IDLE, Progress, hash_file, of_file};
use crate::types::Media;

/// One file to download.
///
/// A broken connection is taken up again where it broke, with back-off, until nothing has moved for `patience`. What
/// an earlier run has left in `NAME.part` is not asked for again.
#[derive(Clone, Debug)]
pub struct Download {
    /// Which, as a message names it.
    pub media: Media,
    /// How long it hopes while nothing moves.
    pub patience: Duration,
}

impl Download {
    /// This file.
    pub fn new(media: Media) -> Self {
        Self { media, patience: Duration::from_secs(120) }
    }

    /// Downloads it to `to`, which appears once the file is whole and its hash is right. Until then the bytes are in
    /// `to` with `.part` behind it. An existing `to` is an [`Error::File`] unless `overwrite`.
    pub async fn to_file(
        &self,
        server: &Server,
        token: &str,
        to: &Path,
        overwrite: bool,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), Error> {
        let exists = || of_file(to, &io::ErrorKind::AlreadyExists.into());
        if !overwrite && tokio::fs::symlink_metadata(to).await.is_ok() {
            return Err(exists());
        }
        let part = part_of(to);
        let wrong = |error: io::Error| of_file(&part, &error);
        let begun = match tokio::fs::symlink_metadata(&part).await {
            // A link would lead the bytes elsewhere.
            Ok(found) if !found.is_file() => {
                return Err(wrong(io::Error::other("in the way, and not a file")));
            }
            Ok(found) => found.len(),
            Err(_) => 0,
        };
        let mut begun = if begun > self.media.size { 0 } else { begun };
        loop {
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options.create(true).append(true).open(&part).await.map_err(wrong)?;
            file.set_len(begun).await.map_err(wrong)?;
            let mut hasher = Box::new(Box::pin(hash_file(&part, begun)).await?);
            // Large, and held by few: on the heap, as the hasher.
            let fetch = self.fetch(server, token, begun, &mut hasher, &mut file, &part, progress);
            Box::pin(fetch).await?;
            file.sync_all().await.map_err(wrong)?;
            drop(file);
            if self.is_right(&hasher) {
                break;
            }
            if begun == 0 {
                tokio::fs::remove_file(&part).await.map_err(wrong)?;
                return Err(Error::WrongHash);
            }
            // What an earlier run left may be of another file: all anew, once.
            begun = 0;
        }
        if overwrite {
            return tokio::fs::rename(&part, to).await.map_err(|e| of_file(to, &e));
        }
        // A link never replaces what somebody has put there meanwhile; a rename would.
        match tokio::fs::hard_link(&part, to).await {
            Ok(()) => tokio::fs::remove_file(&part).await.map_err(wrong),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
            // Not every file system has links.
            Err(_) => tokio::fs::rename(&part, to).await.map_err(|e| of_file(to, &e)),
        }
    }

    /// Downloads it into anything. Whether it was the right file is known in the end alone: after an error what was
    /// written is worth nothing.
    pub async fn to_writer<W: AsyncWrite + Unpin + Send>(
        &self,
        server: &Server,
        token: &str,
        into: &mut W,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), Error> {
        let mut hasher = Box::new(blake3::Hasher::new());
        let name = PathBuf::from("-");
        Box::pin(self.fetch(server, token, 0, &mut hasher, into, &name, progress)).await?;
        if self.is_right(&hasher) { Ok(()) } else { Err(Error::WrongHash) }
    }

    fn is_right(&self, hasher: &blake3::Hasher) -> bool {
        hasher.finalize().to_hex().as_str().eq_ignore_ascii_case(&self.media.hash)
    }

    /// Writes what follows `begun`, over as many connections as it takes.
    #[allow(clippy::too_many_arguments, reason = "one caller per kind of writer, both above")]
    async fn fetch<W: AsyncWrite + Unpin + Send>(
        &self,
        server: &Server,
        token: &str,
        begun: u64,
        hasher: &mut blake3::Hasher,
        into: &mut W,
        name: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), Error> {
        let http = server.http_for_ever().read_timeout(IDLE);
        let http = http.build().map_err(|e| server.unreachable(&e))?;
        let url = self.url(server)?;
        let total = self.media.size;
        let mut hope = Hope::new(self.patience);
        let mut done = begun;
        progress(Progress { done, total });
        while done < total {
            let before = done;
            let request = http.get(url.clone()).bearer_auth(token);
            let request =
                if done > 0 { request.header(RANGE, format!("bytes={done}-")) } else { request };
            let attempt = async {
                let mut response = request.send().await.map_err(|e| server.unreachable(&e))?;
                if !response.status().is_success() {
                    return Err(refused(response).await);
                }
                // A server that does not know ranges sends all of it.
                let mut skip = match response.status() {
                    StatusCode::PARTIAL_CONTENT => {
                        let begins = response.headers().get(CONTENT_RANGE);
                        let begins = begins.and_then(|value| value.to_str().ok());
                        let expected = format!("bytes {done}-");
                        if !begins.is_some_and(|begins| begins.starts_with(&expected)) {
                            return Err(Error::Garbled("another range than asked for".to_owned()));
                        }
                        0
                    }
                    _ => done,
                };
                while let Some(mut piece) =
                    response.chunk().await.map_err(|e| server.unreachable(&e))?
                {
                    let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                    skip -= skipped as u64;
                    let _known = piece.split_to(skipped);
                    if piece.len() as u64 > total - done {
                        return Err(Error::Garbled(
                            "the file is longer than its message says".into(),
                        ));
                    }
                    into.write_all(&piece).await.map_err(|e| of_file(name, &e))?;
                    hasher.update(&piece);
                    done += piece.len() as u64;
                    progress(Progress { done, total });
                }
                if done < total {
                    // It ended in order, and yet too early.
                    let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(server.unreachable(&error));
                }
                Ok(())
            };
            let ended = attempt.await;
            if done > before {
                hope.renewed();
            }
            if let Err(error) = ended {
                hope.after(error).await?;
            }
        }
        into.flush().await.map_err(|e| of_file(name, &e))
    }

    /// Where it is, behind the user's own home.
    fn url(&self, server: &Server) -> Result<reqwest::Url, Error> {
        let Media { home, id, .. } = &self.media;
        // Both come from another home and become parts of a path.
        let plain = |text: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !text.is_empty() && !text.starts_with('.') && text.bytes().all(fits)
        };
        if plain(home) && plain(id) {
            Ok(server.at(&format!("v1/media/{home}/{id}")))
        } else {
            Err(Error::Garbled("a file whose home or id is none".to_owned()))
        }
    }
}

/// Where a file lies until it is whole.
fn part_of(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

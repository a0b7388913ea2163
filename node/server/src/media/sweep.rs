//! What goes: uploads that nobody ends, files that no message names, and what the operator wants to be gone.

use std::sync::Arc;
use std::time::Duration;

use homing_core::{MediaId, MediaState};
use homing_media::thumbnail_prefix;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::metrics::count;
use super::{Media, PAGE};
use crate::control::{ControlError, ControlReply, MediaRow, MediaTotals};

/// What a round found and did.
#[derive(Debug, Default)]
struct Round {
    removed: u64,
    removed_bytes: u64,
}

impl Media {
    /// Finishes what a crash has left, and then looks again and again, until it is told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let every = Duration::from_millis(self.limits.sweep_ms);
        loop {
            self.round().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    async fn round(&self) {
        for whole in self.uploads.whole() {
            // It says why where it cannot.
            let _tried_again_later = self.finish(whole).await;
        }
        if let Err(error) = self.uploads.sweep().await {
            warn!(%error, "uploads that nobody ends cannot be removed");
        }
        match self.look_through().await {
            Ok(Round { removed: 0, .. }) => {}
            Ok(Round { removed, removed_bytes }) => {
                info!(removed, removed_bytes, "files that no message names were removed");
            }
            Err(error) => error!(%error, "it could not be looked for files that no message names"),
        }
    }

    /// One look at every file: what is not named any more is marked, what has been so for long enough goes, in two steps, so that
    /// nobody names it at the same moment.
    async fn look_through(&self) -> Result<Round, homing_core::Fault> {
        let (mut round, mut after) = (Round::default(), None);
        loop {
            let page = self.page(after).await?;
            let Some((last, _)) = page.last() else { return Ok(round) };
            after = Some(last.id);
            for (state, named) in page {
                self.look_at_one(state, named, &mut round).await?;
            }
        }
    }

    /// Files above an id, and whether anything names them.
    async fn page(
        &self,
        after: Option<Uuid>,
    ) -> Result<Vec<(MediaState, bool)>, homing_core::Fault> {
        let (store, own) = (self.store.clone(), self.own);
        let read = move || {
            let page = store.medias(after, PAGE)?;
            let named = |state: MediaState| {
                let media = MediaId { home: own, id: state.id };
                let named = !store.named(media, None, 1)?.is_empty();
                Ok((state, named))
            };
            page.into_iter().map(named).collect()
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|error| Err(homing_core::Fault(error.to_string())))
    }

    async fn look_at_one(
        &self,
        state: MediaState,
        named: bool,
        round: &mut Round,
    ) -> Result<(), homing_core::Fault> {
        let now = (self.now)();
        let next = match (named, state.unnamed_since) {
            // A mark that a crash left, too: the hub takes it back where it is named.
            _ if state.going => return self.forget(state, false, round).await,
            (true, None) => return Ok(()),
            (true, Some(_)) => MediaState { unnamed_since: None, ..state },
            (false, None) => MediaState { unnamed_since: Some(now), ..state },
            (false, Some(since)) if now.saturating_sub(since) >= self.limits.unnamed_ms => {
                MediaState { going: true, ..state }
            }
            (false, Some(_)) => return Ok(()),
        };
        let going = next.going;
        if self.hub.keep(next.clone()).await.is_err() {
            return Ok(()); // the node stops
        }
        if going { self.forget(next, false, round).await } else { Ok(()) }
    }

    /// Has a file forgotten that is marked, or whatever it is, and removes bytes that no other file has.
    async fn forget(
        &self,
        state: MediaState,
        named_or_not: bool,
        round: &mut Round,
    ) -> Result<(), homing_core::Fault> {
        if !self.hub.forget(state.id, named_or_not).await {
            return Ok(());
        }
        self.used.lock().take(&state.owner, state.size);
        round.removed += 1;
        count(&self.metrics.removed, 1);
        let _keeping = self.keeping(&state.hash).write().await;
        if self.store.media_of_hash(state.hash, 1)?.is_empty() {
            let removed = match self.blobs.remove(state.hash).await {
                Ok(()) => self.blobs.remove_small_prefix(&thumbnail_prefix(state.hash)).await,
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => round.removed_bytes += state.size,
                Err(error) => {
                    error!(%error, hash = %state.hash, "a file that nobody names cannot be removed: remove it by hand");
                }
            }
        }
        Ok(())
    }

    /// How much is kept.
    fn totals(&self) -> MediaTotals {
        let (bytes, users) = {
            let used = self.used.lock();
            (used.all, used.of_user.len() as u64)
        };
        MediaTotals {
            files: 0,
            bytes,
            users,
            cache_bytes: self.cache.bytes(),
            upload_bytes: self.uploads.bytes(),
        }
    }

    /// Files of this home above an id.
    pub(crate) async fn list(&self, after: Option<Uuid>) -> Result<ControlReply, ControlError> {
        let page = self.page(after).await.map_err(|fault| {
            ControlError::refused("store", format!("the store cannot be read: {fault}"))
        })?;
        let more = page.len() == PAGE;
        let files = page.into_iter().map(|(state, named)| row(state, named)).collect();
        Ok(ControlReply::Media { files, totals: self.totals(), more })
    }

    /// Removes files that came whole before then, named or not; of other homes' what was not read since then.
    pub(crate) async fn purge(
        &self,
        before_ms: u64,
        cached_only: bool,
        dry_run: bool,
    ) -> Result<ControlReply, ControlError> {
        let failed = |error: String| ControlError::refused("store", error);
        let cache_bytes =
            self.cache.purge(before_ms, dry_run).await.map_err(|error| {
                failed(format!("other homes' files cannot be removed: {error}"))
            })?;
        let mut totals = MediaTotals { cache_bytes, ..MediaTotals::default() };
        let mut after = None;
        loop {
            if cached_only {
                break;
            }
            let page = self.page(after).await.map_err(|fault| failed(fault.to_string()))?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.id);
            for (state, _named) in page.into_iter().filter(|(s, _)| s.created_at < before_ms) {
                totals.bytes += state.size;
                totals.files += 1;
                if dry_run {
                    continue;
                }
                let mut round = Round::default();
                self.forget(state, true, &mut round).await.map_err(|f| failed(f.to_string()))?;
            }
        }
        Ok(ControlReply::Media { files: Vec::new(), totals, more: false })
    }
}

fn row(state: MediaState, named: bool) -> MediaRow {
    MediaRow {
        id: state.id,
        owner: state.owner.to_string(),
        size: state.size,
        mime: state.mime,
        name: state.name,
        created_at: state.created_at,
        named,
        hash: state.hash.to_string(),
    }
}

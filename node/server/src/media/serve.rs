//! What other homes may have of this one's files.

use std::sync::Arc;
use std::time::Duration;

use homing_core::{MediaId, naming_for_home};
use homing_net::{MediaAsk, MediaHead, MediaReply};
use homing_wire::HomeId;

use super::Media;
use super::metrics::count;

impl Media {
    /// Another home asks for a file.
    pub(crate) async fn serve(self: Arc<Self>, home: HomeId, ask: MediaAsk, reply: MediaReply) {
        let refused = || count(&self.metrics.served_refused, 1);
        let media = MediaId { home: self.own, id: ask.id };
        let naming = naming_for_home(&*self.store, home, ask.channel, media);
        let state = self.store.media(ask.id);
        let (Ok(naming), Ok(state)) = (naming, state) else {
            refused();
            return reply.refuse(
                "store",
                "the home cannot read its store",
                Some(Duration::from_secs(5)),
            );
        };
        let state = state.filter(|state| !state.going && naming.is_some());
        let Some(state) = state else {
            refused();
            return reply.refuse("media_not_found", "there is no such file", None);
        };
        if let Some(edge) = ask.thumbnail {
            let file = match self.own_thumbnail(state, edge.get()).await {
                Ok(file) => file,
                Err(error) => {
                    refused();
                    let retry = error.retry_after_ms.map(Duration::from_millis);
                    return reply.refuse(&error.reason, &error.message, retry);
                }
            };
            let head =
                MediaHead { size: file.size, hash: None, name: String::new(), mime: file.mime };
            let offset = ask.offset.min(file.size);
            count(&self.metrics.served, 1);
            return reply.send(head, file.bytes.read(offset..file.size));
        }
        if ask.offset > state.size {
            refused();
            return reply.refuse("beyond_the_end", "the file is not so long", None);
        }
        let bytes = self.blobs.read(state.hash, ask.offset..state.size);
        let head = MediaHead {
            size: state.size,
            hash: Some(state.hash),
            name: state.name,
            mime: state.mime,
        };
        count(&self.metrics.served, 1);
        reply.send(head, bytes);
    }
}

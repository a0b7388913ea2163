//! Files, as far as the hub decides: which ones a message may name, and what calls are told of them.

use homing_core::{MediaId, MediaState};
use homing_link::{Answer, Code, MediaAnswer, MediaUrl, MediaView, Refused, SessionNo};
use homing_wire::{
    Address, Body, ChannelId, HomeId, HomeRef, Kind, Local, MediaReference, MessageId, OpId,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::calls::{Outcome, Stop, no_message};
use super::hub::{Hub, HubError, Output};
use super::input::Input;
use super::link::stopping;
use crate::media::{Media, media_not_found};

/// A call that waits for a copy.
pub(super) struct CopyWait {
    pub(super) session: SessionNo,
    pub(super) number: u64,
    pub(super) user: Local,
}

/// Where the room of files reaches the hub.
#[derive(Clone)]
pub(crate) struct FilesDoor(mpsc::Sender<Input>);

impl FilesDoor {
    pub(super) fn new(input: mpsc::Sender<Input>) -> Self {
        Self(input)
    }

    /// Keeps what is known of a file; done when it is on disk.
    pub(crate) async fn keep(&self, state: MediaState) -> Result<(), Refused> {
        let (reply, kept) = oneshot::channel();
        let input = Input::MediaWhole { state: Box::new(state), reply };
        self.0.send(input).await.map_err(|_| stopping())?;
        kept.await.map_err(|_| stopping())
    }

    /// Forgets a file; `false`: it is named again, or the node stops. `named_or_not`: the operator wants it to be gone.
    pub(crate) async fn forget(&self, id: Uuid, named_or_not: bool) -> bool {
        let (reply, forgotten) = oneshot::channel();
        let sent = self.0.send(Input::MediaForgotten { id, named_or_not, reply }).await;
        sent.is_ok() && forgotten.await.unwrap_or(false)
    }

    /// Has a home reached that no channel needs.
    pub(crate) async fn want(&self, home: HomeId) {
        let _the_node_stops = self.0.send(Input::MediaWanted(home)).await;
    }
}

/// A message, as a call names it.
type Named<'a> = (ChannelId, MessageId, Option<&'a Address>);

impl Hub {
    /// The files that a body of this home names.
    pub(super) fn named_media(&self, body: &Body) -> Result<Vec<MediaReference>, Refused> {
        let Some(named) = &body.media else {
            if body.kind == Kind::Media {
                let message = "media needs home, id, hash and size, as media.get says them";
                return Err(Refused::new(Code::InvalidParams, "bad_field", message));
            }
            return Ok(Vec::new());
        };
        let home = match named.home.parse() {
            Ok(HomeRef::Id(id)) => Some(id),
            Ok(HomeRef::Name(name)) => self.directory.id(&name),
            Err(_) => None,
        };
        let home = home.ok_or_else(media_not_found)?;
        Ok(vec![MediaReference { home, id: named.id, hash: named.hash, size: named.size }])
    }

    pub(super) fn media_get(&self, user: &Local, id: Uuid) -> Result<Outcome, Stop> {
        let known = self.store.media(id)?;
        let own = known.filter(|known| known.owner == *user && !known.going);
        Ok(Outcome::Answer(self.media_answer(own.ok_or_else(media_not_found)?)))
    }

    fn media_answer(&self, state: MediaState) -> Answer {
        let home = self.directory.show(&self.directory.own());
        Answer::Media(MediaAnswer { media: view(home, state) })
    }

    pub(super) fn media_url(
        &mut self,
        user: &Local,
        message: Named<'_>,
        thumbnail: Option<u32>,
    ) -> Result<Outcome, Stop> {
        let media = MediaId::from(&self.media_of(user, message)?);
        let now = self.now_ms();
        let files = self.files()?;
        let expires_at = now.saturating_add(files.limits.link_ms);
        let home = self.directory.show(&media.home);
        let signature = files.sign_link(media, thumbnail, expires_at);
        let base = self.limits.public_url.as_deref().unwrap_or_default().trim_end_matches('/');
        let smaller = thumbnail.map(|edge| format!("thumbnail={edge}&")).unwrap_or_default();
        let id = media.id;
        let url = format!(
            "{base}/v1/media/{home}/{id}?{smaller}expires={expires_at}&signature={signature}"
        );
        Ok(Outcome::Answer(Answer::MediaUrl(MediaUrl { url, expires_at })))
    }

    /// The same file under this home: at once where it is the user's own, else once its bytes are here.
    pub(super) fn media_copy(
        &mut self,
        session: SessionNo,
        number: u64,
        user: &Local,
        message: Named<'_>,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let media = self.media_of(user, message)?;
        let own = media.home == self.directory.own();
        if own
            && let Some(state) = self.store.media(media.id)?
            && state.owner == *user
            && !state.going
        {
            return Ok(Outcome::Answer(self.media_answer(state)));
        }
        let files = self.files()?.clone();
        // A repeated `op` makes the same file again.
        let id = files.copy_id(user, op);
        if let Some(state) = self.store.media(id)?.filter(|state| !state.going) {
            return Ok(Outcome::Answer(self.media_answer(state)));
        }
        let pending = CopyWait { session, number, user: user.clone() };
        let (input, channel) = (self.input.clone(), message.0);
        self.runtime.spawn(async move {
            let copied = files.copy(&pending.user, id, channel, media).await.map(Box::new);
            let _hub_is_gone = input.send(Input::MediaCopied { pending, copied }).await;
        });
        Ok(Outcome::Waits)
    }

    pub(super) fn media_copied(
        &mut self,
        pending: CopyWait,
        copied: Result<Box<MediaState>, Refused>,
    ) -> Result<(), HubError> {
        let CopyWait { session, number, user } = pending;
        let result = match copied {
            Ok(state) => Ok(self.media_answer(*state)),
            Err(refused) => Err(refused),
        };
        match self.same_user(session, Some(user)) {
            Ok(()) => {
                self.outputs.push(Output::Answer { session, number, result: Box::new(result) })
            }
            // Somebody else has signed in there meanwhile.
            Err(Stop::Refused(refused)) => {
                let result = Box::new(Err(refused));
                self.outputs.push(Output::Answer { session, number, result });
            }
            Err(Stop::End(error)) => return Err(error),
        }
        self.collect_effects(None)
    }

    fn media_of(&mut self, user: &Local, message: Named<'_>) -> Result<MediaReference, Stop> {
        let (channel, id, sender) = message;
        self.head_for_member(user, channel)?;
        let senders = match sender {
            Some(address) => vec![self.directory.resolve(address).ok_or_else(no_message)?],
            None => self.members_of(channel, user)?,
        };
        let store = self.store.clone();
        let target = self.home.which_message(&*store, channel, id, &senders)?;
        let target = target.ok_or_else(no_message)?;
        Ok(self.home.media_of_message(&*store, user, channel, &target)?)
    }

    fn files(&self) -> Result<&std::sync::Arc<Media>, Stop> {
        self.media.as_ref().ok_or_else(|| media_not_found().into())
    }
}

fn view(home: String, state: MediaState) -> MediaView {
    let MediaState { id, hash, size, mime, name, image, film, .. } = state;
    let of_image = image.as_ref().map(|image| (image.width, image.height));
    let of_film = film.as_ref().and_then(|film| film.width.zip(film.height));
    let (width, height) = of_image.or(of_film).unzip();
    let preview = image.as_ref().map(|image| data_encoding::BASE64.encode(&image.preview));
    MediaView {
        home,
        id,
        hash: hash.to_string(),
        size,
        mime,
        name,
        width,
        height,
        duration_ms: film.and_then(|film| film.duration_ms),
        preview: preview.filter(|preview| !preview.is_empty()),
    }
}

//! A home in memory: honest, and small enough to be read. Everybody is in every chat.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use homing_link::*;
use homing_wire::{
    Address, ChannelId, DeviceId, Epoch, GroupLink, HomeId, MessageId, Order, Seq, Stamp,
};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::files::Files;

const LIFE: u64 = 7;
const PRIVACY: Privacy =
    Privacy { last_seen: SeenBy::Contacts, read_receipts: true, groups: GroupsFrom::Contacts };

pub(crate) struct Home {
    state: Mutex<State>,
    requests: mpsc::Sender<Request>,
    /// While `true` calls are taken and not answered.
    pub(crate) paused: watch::Sender<bool>,
    /// Calls taken and not answered.
    pub(crate) backlog: watch::Sender<usize>,
    /// Sessions whose client has gone.
    pub(crate) gone: watch::Sender<u64>,
    /// Of those, so many have said good-bye.
    pub(crate) left: watch::Sender<u64>,
    /// Signs of life that are no calls.
    pub(crate) signs: watch::Sender<u64>,
    /// How many bytes may wait for a client.
    pub(crate) outbox_bytes: usize,
    /// What was uploaded, and what there is to read.
    pub(crate) files: Files,
}

#[derive(Default)]
struct State {
    passwords: BTreeMap<String, String>,
    tokens: HashMap<String, String>,
    sessions: HashMap<SessionNo, Place>,
    connects: u64,
    log: Vec<MessageView>,
    ids: HashMap<MessageId, (usize, bytes::Bytes)>,
    later: Vec<(SessionNo, oneshot::Sender<Result<Answer, Refused>>)>,
    not_ready: HashSet<&'static str>,
    lists: Vec<(UserList, String)>,
}

struct Place {
    outbox: OutboxSender,
    token: Option<String>,
}

impl Home {
    pub(crate) fn start() -> Arc<Self> {
        Self::with_outbox(4 << 20)
    }

    pub(crate) fn with_outbox(outbox_bytes: usize) -> Arc<Self> {
        let (requests, taken) = mpsc::channel(64);
        let home = Arc::new(Self {
            state: Mutex::default(),
            requests,
            paused: watch::channel(false).0,
            backlog: watch::channel(0).0,
            gone: watch::channel(0).0,
            left: watch::channel(0).0,
            signs: watch::channel(0).0,
            outbox_bytes,
            files: Files::default(),
        });
        for name in ["alice", "bob"] {
            let mut state = home.state.lock().unwrap();
            state.passwords.insert(name.into(), "correct horse".into());
            state.tokens.insert(format!("{name}-token"), name.into());
        }
        tokio::spawn(work(Arc::downgrade(&home), taken));
        home
    }

    /// Bodies in the order stored.
    pub(crate) fn stored(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.log.iter().map(|m| String::from_utf8(m.body.0.to_vec()).unwrap()).collect()
    }

    /// Whose token it is.
    pub(crate) fn user_of(&self, token: &str) -> Result<String, Refused> {
        let state = self.state.lock().unwrap();
        state.tokens.get(token).cloned().map_or_else(|| refused(Code::NotSignedIn, "bad_token"), Ok)
    }

    /// Answers what was put off, the oldest first.
    pub(crate) fn release(&self) {
        for (session, sender) in std::mem::take(&mut self.state.lock().unwrap().later) {
            let user = UserView {
                address: "later@acme.example".into(),
                user_id: session.0.to_string(),
                display_name: "Later".into(),
                avatar: None,
                privacy: None,
                presence: None,
            };
            let _gone = sender.send(Ok(Answer::User(user)));
        }
    }

    /// Drops what was put off.
    pub(crate) fn forget(&self) {
        self.state.lock().unwrap().later.clear();
    }

    pub(crate) fn close_all(&self, reason: CloseReason) {
        for place in self.state.lock().unwrap().sessions.values() {
            place.outbox.close(reason);
        }
    }

    pub(crate) fn not_ready(&self, why: &'static str) {
        self.state.lock().unwrap().not_ready.insert(why);
    }

    fn check_ready(&self) -> Result<(), Refused> {
        match self.state.lock().unwrap().not_ready.iter().next() {
            Some(why) => Err(Refused::new(Code::Busy, *why, "not ready").with_retry_after_ms(1500)),
            None => Ok(()),
        }
    }
}

async fn work(home: std::sync::Weak<Home>, mut requests: mpsc::Receiver<Request>) {
    let mut backlog = VecDeque::new();
    let Some(mut paused) = home.upgrade().map(|home| home.paused.subscribe()) else {
        return;
    };
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(Request::Call { session, number, call }) => backlog.push_back((session, number, call)),
                Some(Request::Alive { session: _ }) => {
                    let Some(home) = home.upgrade() else { return };
                    home.signs.send_modify(|n| *n += 1);
                }
                Some(Request::Gone { session, in_order }) => {
                    let Some(home) = home.upgrade() else { return };
                    home.state.lock().unwrap().sessions.remove(&session);
                    home.left.send_modify(|n| *n += u64::from(in_order));
                    home.gone.send_modify(|n| *n += 1);
                }
                None => return,
            },
            changed = paused.changed() => if changed.is_err() { return },
        }
        let Some(home) = home.upgrade() else { return };
        if !*paused.borrow_and_update() {
            for (session, number, call) in backlog.drain(..) {
                home.state.lock().unwrap().call(session, number, *call);
            }
        }
        home.backlog.send_replace(backlog.len());
    }
}

pub(crate) fn refused<T>(code: Code, reason: &'static str) -> Result<T, Refused> {
    Err(Refused::new(code, reason, "as the test's home says"))
}

impl State {
    fn call(&mut self, session: SessionNo, number: u64, call: Call) {
        let mut notices = Vec::new();
        if let Call::UsersGet { address } = &call
            && address.local.as_str() == "later"
        {
            let (sender, receiver) = oneshot::channel();
            self.later.push((session, sender));
            self.put(session, ToClient::Later { call: number, result: receiver });
            return;
        }
        let result = self.decide(session, call, &mut notices);
        self.put(session, ToClient::Answer { call: number, result: Box::new(result) });
        for notice in notices {
            let others: Vec<SessionNo> = self.sessions.keys().copied().collect();
            for other in others.into_iter().filter(|other| *other != session) {
                if self.sessions[&other].token.is_some() {
                    self.put(other, ToClient::Notice(Box::new(notice.clone())));
                }
            }
        }
    }

    fn put(&mut self, session: SessionNo, item: ToClient) {
        if let Some(place) = self.sessions.get(&session)
            && place.outbox.put(item).is_err()
        {
            self.sessions.remove(&session);
        }
    }

    fn sync(&self) -> SyncPoint {
        SyncPoint { life: LIFE, change: self.log.len() as u64 }
    }

    fn decide(
        &mut self,
        session: SessionNo,
        call: Call,
        notices: &mut Vec<Notice>,
    ) -> Result<Answer, Refused> {
        let sync = self.sync();
        if let Call::Open { token, since, cursor: _ } = &call {
            let Some(user) = self.tokens.get(token).cloned() else {
                return refused(Code::NotSignedIn, "bad_token");
            };
            if since.as_deref().is_some_and(|s| SyncPoint::parse(s).is_none_or(|s| s.life != LIFE))
            {
                return refused(Code::Conflict, "resync");
            }
            if let Some(place) = self.sessions.get_mut(&session) {
                place.token = Some(token.clone());
            }
            let who = Whoami {
                address: format!("{user}@acme.example"),
                user_id: Uuid::from_u128(1).to_string(),
                display_name: user,
                avatar: None,
                privacy: PRIVACY,
            };
            return Ok(Answer::Opened(Box::new(Opened {
                user: who,
                device: "d".into(),
                life: "7".into(),
                sync,
                channels: vec![],
                more: false,
                cursor: None,
                server_time: 1,
                limits: Limits {
                    body: 65_536,
                    frame: 0,
                    batch: 0,
                    calls_waiting: 0,
                    group_members: 100,
                    draft: 16_384,
                    watched: 500,
                    page: 200,
                    upload: crate::files::UPLOAD_BYTES,
                    avatar: 1 << 20,
                },
                version: "test".into(),
            })));
        }
        let token = self.sessions.get(&session).and_then(|place| place.token.clone());
        let Some(user) = token.and_then(|token| self.tokens.get(&token).cloned()) else {
            return refused(Code::NotSignedIn, "not_signed_in");
        };
        match call {
            Call::Open { .. } => unreachable!("answered above"),
            Call::ChannelsList { .. } => {
                Ok(Answer::Channels(ChannelsPage { channels: vec![], cursor: None, sync }))
            }
            Call::ChannelsGet { channel } => Ok(Answer::Channel(Box::new(self.chat(channel)))),
            Call::ChannelsOpen { .. } => Ok(Answer::Channel(Box::new(self.chat(chat())))),
            Call::ChannelsUpdate { channel, change, .. } => {
                Ok(Answer::Channel(Box::new(ChannelView {
                    muted_until: change.muted_until.flatten(),
                    archived: change.archived.unwrap_or_default(),
                    pinned: change.pinned.unwrap_or_default(),
                    draft: change.draft.filter(|text| !text.is_empty()).map(Into::into),
                    marked_unread: change.marked_unread.unwrap_or_default(),
                    ..self.chat(channel)
                })))
            }
            Call::RequestsAccept { channel, .. } => {
                Ok(Answer::Channel(Box::new(self.chat(channel))))
            }
            Call::RequestsDecline { .. } => Ok(Answer::Done),
            Call::MessagesList { limit, .. } => {
                let messages: Vec<_> = self.log.iter().take(limit as usize).cloned().collect();
                let next = messages.len() as u64;
                Ok(Answer::Messages(MessagesPage { messages, more: false, next, changed: vec![] }))
            }
            Call::MessagesGet { id, .. } => match self.ids.get(&id) {
                Some((index, _)) => Ok(Answer::Message(Box::new(self.log[*index].clone()))),
                None => refused(Code::NotFound, "unknown_message"),
            },
            Call::MessagesSend { id, body, .. } => {
                let id = id.unwrap_or_else(|| MessageId(Uuid::now_v7()));
                if let Some((index, first)) = self.ids.get(&id) {
                    return if *first == body.json {
                        Ok(Answer::Sent(sent(&self.log[*index])))
                    } else {
                        refused(Code::Conflict, "id_reused")
                    };
                }
                let pos = self.log.len() as u64 + 1;
                let order =
                    Order::new(Stamp::from_ms(pos), &HomeId([1; 32]), Epoch(LIFE), Seq(pos));
                let message = MessageView {
                    channel: chat(),
                    pos,
                    order,
                    id,
                    sender: format!("{user}@acme.example").into(),
                    sent_at: pos,
                    body: RawJson(body.json.clone()),
                    late: false,
                    edited_at: None,
                    reactions: Vec::new(),
                    status: None,
                    reason: None,
                };
                let answer = sent(&message);
                self.ids.insert(id, (self.log.len(), body.json));
                self.log.push(message.clone());
                notices.push(Notice::Message {
                    message: Arc::new(message),
                    at: None,
                    sync: self.sync(),
                });
                Ok(Answer::Sent(answer))
            }
            Call::MessagesHide { .. } => Ok(Answer::Done),
            Call::MessagesSearch { query, channel, cursor, limit } => {
                let has = |m: &&MessageView| channel.is_none_or(|channel| m.channel == channel);
                let messages = self.log.iter().rev().filter(has).take(limit as usize).cloned();
                let (messages, indexing) = (messages.collect(), cursor.is_some());
                Ok(Answer::FoundMessages(FoundMessages { messages, cursor: Some(query), indexing }))
            }
            Call::ReceiptsRead { channel, pos } | Call::ReceiptsDelivered { channel, pos } => {
                notices.push(Notice::Receipt {
                    channel,
                    user: format!("{user}@acme.example").into(),
                    delivered: pos,
                    read: pos,
                    at: 1,
                    sync,
                });
                notices.push(Notice::Channel { channel: Box::new(self.chat(channel)), sync });
                Ok(Answer::Done)
            }
            Call::ReceiptsGet { .. } => Ok(Answer::Receipts(Receipts {
                receipts: vec![ReceiptRow {
                    user: "bob@acme.example".into(),
                    delivered: true,
                    read: false,
                    delivered_at: Some(1),
                    read_at: None,
                }],
            })),
            Call::UsersGet { address } => Ok(Answer::User(UserView {
                address: address.to_string(),
                user_id: Uuid::from_u128(2).to_string(),
                display_name: address.local.to_string(),
                avatar: None,
                privacy: None,
                presence: Some(presence(address.to_string(), true)),
            })),
            Call::UsersSearch { query } => Ok(Answer::Found(Found {
                users: vec![UserView {
                    address: "bob@acme.example".into(),
                    user_id: Uuid::from_u128(2).to_string(),
                    display_name: query,
                    avatar: None,
                    privacy: None,
                    presence: None,
                }],
                more: false,
            })),
            Call::PresenceWatch { users } => {
                let seen = |user: &Address| presence(user.to_string(), false);
                Ok(Answer::Presence(PresencePage { presence: users.iter().map(seen).collect() }))
            }
            Call::PresenceUnwatch { users } => {
                for user in users {
                    let presence = presence(user.to_string(), true);
                    notices.push(Notice::Presence { presence, sync });
                }
                Ok(Answer::Presence(PresencePage { presence: vec![] }))
            }
            Call::TypingSet { channel, typing } => {
                let user = format!("{user}@acme.example").into();
                notices.push(Notice::Typing { channel, user, typing, sync });
                Ok(Answer::Done)
            }
            Call::UsersUpdate { display_name, avatar: named, privacy, .. } => {
                Ok(Answer::User(UserView {
                    address: format!("{user}@acme.example"),
                    user_id: Uuid::from_u128(1).to_string(),
                    display_name: display_name.unwrap_or(user),
                    avatar: named.flatten().map(avatar),
                    privacy: Some(Privacy {
                        last_seen: privacy.last_seen.unwrap_or(PRIVACY.last_seen),
                        read_receipts: privacy.read_receipts.unwrap_or(PRIVACY.read_receipts),
                        groups: privacy.groups.unwrap_or(PRIVACY.groups),
                    }),
                    presence: None,
                }))
            }
            Call::Listed { list, limit, cursor } => {
                let users = self.lists.iter().filter(|(of, _)| *of == list);
                let users: Vec<String> = users.map(|(_, user)| user.clone()).collect();
                assert!(cursor.is_none() && users.len() <= limit as usize, "no test has more");
                Ok(Answer::Users(UsersPage { users, cursor: None }))
            }
            Call::ListChange { list, user, add, .. } => {
                let entry = (list, user.to_string());
                self.lists.retain(|other| *other != entry);
                self.lists.extend(add.then_some(entry));
                Ok(Answer::Done)
            }
            Call::MediaGet { id } => Ok(Answer::Media(media(id, "mine.png"))),
            Call::MediaCopy { id, .. } => Ok(Answer::Media(media(id.0, "copied.png"))),
            Call::MediaUrl { id, thumbnail, .. } => Ok(Answer::MediaUrl(MediaUrl {
                url: format!("/v1/media/acme.example/{id:?}?thumbnail={}", thumbnail.unwrap_or(0)),
                expires_at: 9,
            })),
            Call::DevicesList => Ok(Answer::Devices(Devices {
                devices: vec![DeviceRow {
                    device: DeviceId(Uuid::from_u128(3)),
                    name: "phone".into(),
                    created_at: 1,
                    last_seen: None,
                    current: true,
                }],
            })),
            Call::DevicesRename { .. } | Call::DevicesRevoke { .. } => Ok(Answer::Done),
            Call::AccountPassword { old, .. } if self.passwords[&user] == old.0 => Ok(Answer::Done),
            Call::AccountDelete { password } if self.passwords[&user] == password.0 => {
                Ok(Answer::Done)
            }
            Call::GroupsCreate { .. } => Ok(Answer::Channel(Box::new(self.chat(chat())))),
            Call::GroupsInvite { users, .. } | Call::GroupsRemove { users, .. } => {
                let row =
                    |user: Address| UserResult { user: user.to_string(), ok: true, reason: None };
                let (state, roster) = (None, 7);
                let results = users.into_iter().map(row).collect();
                Ok(Answer::GroupChanged(GroupChanged { state, results, roster }))
            }
            Call::GroupsJoin { .. }
            | Call::GroupsJoinLink { .. }
            | Call::GroupsUnlink { which: Unlinked::One(_), .. }
            | Call::GroupsUpdate { .. } => Ok(Answer::Pending),
            Call::GroupsUnlink { .. } => Ok(Answer::Done),
            Call::GroupsLink { channel, uses, .. } => {
                let secret = [uses.unwrap_or(0) as u8; 32];
                let link = GroupLink { home: HomeId([7; 32]), group: channel, secret };
                Ok(Answer::Link(LinkMade { state: None, link: link.to_string() }))
            }
            Call::GroupsLeave { .. } => Ok(Answer::Done),
            Call::GroupsFork { .. } => Ok(Answer::Channel(Box::new(self.chat(chat())))),
            Call::GroupsMembers { .. } => Ok(Answer::Members(MembersPage {
                members: vec![MemberRow {
                    user: "bob@acme.example".into(),
                    role: RoleView::Member,
                    state: ChannelState::Active,
                }],
                cursor: None,
            })),
            Call::AccountPassword { .. } | Call::AccountDelete { .. } => {
                refused(Code::NotAllowed, "bad_credentials")
            }
        }
    }

    fn chat(&self, channel: ChannelId) -> ChannelView {
        ChannelView {
            channel,
            kind: ChannelKind::Chat,
            name: None,
            avatar: None,
            with: Some("bob@acme.example".into()),
            state: ChannelState::Active,
            role: None,
            member_count: 2,
            head: self.log.len() as u64,
            read: 0,
            unread: 0,
            mentions: 0,
            last: self.log.last().cloned(),
            marks: vec![],
            muted_until: None,
            archived: false,
            pinned: false,
            draft: None,
            marked_unread: false,
            roster: None,
            owner_home: None,
            continues: None,
            continued_by: None,
        }
    }
}

fn avatar(id: Uuid) -> AvatarView {
    AvatarView {
        home: "acme.example".into(),
        id,
        hash: "ab".into(),
        size: 3,
        mime: Some("image/png".into()),
        width: Some(1),
        height: Some(2),
        preview: None,
    }
}

fn media(id: Uuid, name: &str) -> MediaAnswer {
    MediaAnswer {
        media: MediaView {
            home: "acme.example".into(),
            id,
            hash: "ab".into(),
            size: 3,
            mime: "image/png".into(),
            name: name.into(),
            width: Some(1),
            height: Some(2),
            duration_ms: Some(1_500),
            preview: None,
        },
    }
}

fn presence(user: String, online: bool) -> PresenceView {
    PresenceView { user: user.into(), online, last_seen: (!online).then_some(5) }
}

pub(crate) fn chat() -> ChannelId {
    ChannelId(Uuid::from_u128(0xc4a7))
}

fn sent(message: &MessageView) -> Sent {
    Sent {
        id: message.id,
        channel: message.channel,
        pos: message.pos,
        order: message.order,
        sent_at: message.sent_at,
    }
}

impl Link for Home {
    fn connect(&self, _client: ClientInfo) -> BoxFuture<'_, Result<Session, Refused>> {
        Box::pin(async move {
            self.check_ready()?;
            let mut state = self.state.lock().unwrap();
            state.connects += 1;
            let number = SessionNo(state.connects);
            let (sender, receiver) = outbox(self.outbox_bytes);
            state.sessions.insert(number, Place { outbox: sender, token: None });
            Ok(Session::new(number, self.requests.clone(), receiver))
        })
    }

    fn register(&self, register: Register) -> BoxFuture<'_, Result<Registered, Refused>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            let Ok(local) = register.user.parse::<homing_wire::Local>() else {
                return refused(Code::InvalidParams, "invalid_user");
            };
            if register.password.chars().count() < 8 {
                return refused(Code::InvalidParams, "weak_password");
            }
            match register.invite.as_deref() {
                Some("closed") => return refused(Code::NotAllowed, "registration_closed"),
                Some("bad") => return refused(Code::NotAllowed, "bad_invite"),
                Some("busy") => return refused(Code::Busy, "hashing_full"),
                Some(_) | None => {}
            }
            if state.passwords.contains_key(local.as_str()) {
                return refused(Code::Conflict, "user_exists");
            }
            state.passwords.insert(local.to_string(), register.password);
            Ok(Registered { address: format!("{local}@acme.example"), user_id: "u".into() })
        })
    }

    fn login(&self, login: Login) -> BoxFuture<'_, Result<LoggedIn, Refused>> {
        Box::pin(async move {
            assert!(login.from.is_loopback());
            let mut state = self.state.lock().unwrap();
            match login.user.as_str() {
                "many" => {
                    return refused(Code::Busy, "too_many_attempts")
                        .map_err(|r: Refused| r.with_retry_after_ms(12_001));
                }
                "disabled" => return refused(Code::NotAllowed, "user_disabled"),
                _ => {}
            }
            if state.passwords.get(&login.user) != Some(&login.password) {
                return refused(Code::NotSignedIn, "bad_credentials");
            }
            let token = format!("token-{}", state.tokens.len());
            state.tokens.insert(token.clone(), login.user.clone());
            Ok(LoggedIn {
                token,
                device: "d".into(),
                address: format!("{}@acme.example", login.user),
                user_id: "u".into(),
            })
        })
    }

    fn logout(&self, token: String) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            if state.tokens.remove(&token).is_none() {
                return refused(Code::NotSignedIn, "bad_token");
            }
            for place in state.sessions.values() {
                if place.token.as_ref() == Some(&token) {
                    place.outbox.close(CloseReason::Revoked);
                }
            }
            Ok(())
        })
    }

    fn well_known(&self) -> BoxFuture<'_, Result<WellKnown, Refused>> {
        Box::pin(async {
            self.check_ready()?;
            Ok(WellKnown {
                home: "acme.example".into(),
                identity: "aWQ=".into(),
                record: "cmVj".into(),
            })
        })
    }

    fn media(&self) -> Option<&dyn MediaLink> {
        Some(self)
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async { self.check_ready() })
    }
}

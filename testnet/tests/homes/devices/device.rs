//! A client that keeps what `docs/CLIENTS.md` ("Syncing") says, step by step, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::party::WITHIN;

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Stop {
    /// The socket is gone: come back and ask again.
    Lost,
    /// The home says no, for that reason.
    Refused(String),
}

/// What a client stores.
#[derive(Default)]
pub(super) struct Stored {
    life: Option<String>,
    sync: Option<String>,
    /// Channel objects by id.
    channels: BTreeMap<String, Value>,
    /// The latest place that is known of, by channel.
    heads: BTreeMap<String, u64>,
    /// The place up to which everything is stored, by channel.
    mine: BTreeMap<String, u64>,
    /// By channel, sender and id.
    messages: BTreeMap<(String, String, String), Value>,
}

/// When a device loses its socket.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    /// With this frame from now on.
    pub(super) frames: u32,
    /// It takes that frame in.
    pub(super) taken: bool,
}

/// A device, and its socket while it has one.
pub(super) struct Device {
    /// The user's address.
    pub(super) me: String,
    home: SocketAddr,
    token: String,
    socket: Option<WebSocketStream<TcpStream>>,
    calls: u64,
    pub(super) loss: Option<Loss>,
    pub(super) stored: Stored,
    /// Sockets it has had.
    pub(super) opened: u32,
}

impl Device {
    pub(super) fn new(me: &str, home: SocketAddr, token: String) -> Self {
        Self {
            me: me.to_owned(),
            home,
            token,
            socket: None,
            calls: 0,
            loss: None,
            stored: Stored::default(),
            opened: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// The socket breaks; nobody is told.
    pub(super) fn lose(&mut self) {
        self.socket = None;
        self.loss = None;
    }

    /// Steps 1 to 5.
    pub(super) async fn open(&mut self) -> Result<(), Stop> {
        self.lose();
        let stream = TcpStream::connect(self.home).await.map_err(|_| Stop::Lost)?;
        stream.set_nodelay(true).map_err(|_| Stop::Lost)?;
        let url = format!("ws://{}/v1/ws", self.home);
        let (socket, _) =
            tokio_tungstenite::client_async(url, stream).await.map_err(|_| Stop::Lost)?;
        self.socket = Some(socket);
        self.opened += 1;
        let mut asked = json!({"token": self.token});
        let since = self.stored.sync.clone();
        if let Some(since) = &since {
            asked["since"] = json!(since);
        }
        let mut page = self.call("session.open", &asked).await?;
        let life = page["life"].as_str().unwrap().to_owned();
        assert!(self.stored.life.as_ref().is_none_or(|known| *known == life), "another life");
        self.stored.life = Some(life);
        // Each page as it comes: what is told between two of them is newer than the first.
        loop {
            self.stored.page(&page);
            if page["more"] != true {
                break;
            }
            asked["cursor"] = page["cursor"].clone();
            page = self.call("session.open", &asked).await?;
        }
        if since.is_none() {
            let mut asked = json!({"limit": 1});
            loop {
                let listed = self.call("channels.list", &asked).await?;
                self.stored.page(&listed);
                let Some(cursor) = listed.get("cursor").filter(|cursor| !cursor.is_null()) else {
                    break;
                };
                asked["cursor"] = cursor.clone();
            }
        }
        // Until here a client that begins anew has no place to come back to.
        self.stored.sync = Some(page["sync"].as_str().unwrap().to_owned());
        self.pull().await
    }

    /// Step 5.
    pub(super) async fn pull(&mut self) -> Result<(), Stop> {
        let behind = |stored: &Stored| {
            let (channel, _) = stored.heads.iter().find(|(id, head)| stored.mine(id) < **head)?;
            Some(channel.clone())
        };
        while let Some(channel) = behind(&self.stored) {
            if self.stored.of(&channel).is_none() {
                let found = self.call("channels.get", &json!({"channel": channel})).await?;
                self.stored.channel(found);
            }
            let after = self.stored.mine(&channel);
            let asked = json!({"channel": channel, "after": after, "limit": 7});
            let page = self.call("messages.list", &asked).await?;
            let next = page["next"].as_u64().unwrap();
            assert!(next > after, "a page that does not go on: {page}, asked {asked}");
            for part in ["messages", "changed"] {
                for message in page[part].as_array().into_iter().flatten() {
                    self.stored.keep(&self.me, message);
                }
            }
            self.stored.mine.insert(channel, next);
        }
        Ok(())
    }

    /// Takes in what has come, without waiting for more, and pulls what it says is there.
    pub(super) async fn listen(&mut self) -> Result<(), Stop> {
        while let Some(socket) = &mut self.socket {
            match socket.next().now_or_never() {
                None => break,
                Some(frame) => {
                    let heard = self.frame(frame.and_then(Result::ok))?;
                    assert!(heard.is_none_or(|answer| answer.get("method").is_some()));
                }
            }
        }
        self.pull().await
    }

    /// Waits so long for a frame, and takes it in.
    pub(super) async fn more(&mut self, within: Duration) {
        let Some(socket) = &mut self.socket else { return };
        if let Ok(frame) = tokio::time::timeout(within, socket.next()).await {
            // Lost is lost: whoever uses it next opens it again.
            let _lost = self.frame(frame.and_then(Result::ok));
        }
    }

    /// Asks the home, and takes in what comes before its answer.
    pub(super) async fn call(&mut self, method: &str, params: &Value) -> Result<Value, Stop> {
        self.calls += 1;
        let id = self.calls;
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let socket = self.socket.as_mut().ok_or(Stop::Lost)?;
        if socket.send(Frame::text(call.to_string())).await.is_err() {
            self.lose();
            return Err(Stop::Lost);
        }
        loop {
            let socket = self.socket.as_mut().ok_or(Stop::Lost)?;
            let frame = tokio::time::timeout(WITHIN, socket.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("{method} is not answered"));
            let Some(mut answer) = self.frame(frame.and_then(Result::ok))? else { continue };
            if answer["id"] != id {
                continue;
            }
            if let Some(error) = answer.get("error") {
                let reason = error["data"]["reason"].as_str().unwrap_or_default();
                return Err(Stop::Refused(reason.to_owned()));
            }
            return Ok(answer["result"].take());
        }
    }

    /// Takes a frame in; answers what is no notification.
    fn frame(&mut self, frame: Option<Frame>) -> Result<Option<Value>, Stop> {
        let text = match frame {
            Some(Frame::Text(text)) => text,
            Some(Frame::Ping(_) | Frame::Pong(_)) => return Ok(None),
            Some(_) | None => {
                self.lose();
                return Err(Stop::Lost);
            }
        };
        let lost = match &mut self.loss {
            Some(loss) if loss.frames <= 1 => Some(loss.taken),
            Some(loss) => {
                loss.frames -= 1;
                None
            }
            None => None,
        };
        if lost == Some(false) {
            self.lose();
            return Err(Stop::Lost);
        }
        let heard: Value = serde_json::from_str(&text).unwrap();
        let answer = match heard["method"].as_str() {
            Some(method) => {
                self.stored.hear(&self.me, method, &heard["params"]);
                None
            }
            None => Some(heard),
        };
        if lost == Some(true) {
            self.lose();
            if answer.is_none() {
                return Err(Stop::Lost);
            }
        }
        Ok(answer)
    }
}

impl Stored {
    fn mine(&self, channel: &str) -> u64 {
        self.mine.get(channel).copied().unwrap_or(0)
    }

    /// How far a channel goes, as far as is known.
    pub(super) fn head(&self, channel: &str) -> u64 {
        self.heads.get(channel).copied().unwrap_or(0)
    }

    /// Steps 6 to 8.
    fn hear(&mut self, me: &str, method: &str, told: &Value) {
        match method {
            "message" => {
                let channel = told["channel"].as_str().unwrap();
                let place = told["at"].as_u64().or(told["pos"].as_u64()).unwrap();
                let mine = self.mine(channel);
                // What stands at or below it is stored already, as it was then or later.
                if place > mine || told["status"] == "rejected" {
                    self.keep(me, told);
                }
                if place == mine + 1 {
                    self.mine.insert(channel.to_owned(), place);
                }
                let head = self.heads.entry(channel.to_owned()).or_default();
                *head = place.max(*head);
            }
            "channel" => self.channel(told.clone()),
            "receipt" => {
                let channel = self.channels.get_mut(told["channel"].as_str().unwrap());
                let marks = channel.and_then(|channel| channel["marks"].as_array_mut());
                let mark = marks.into_iter().flatten().find(|mark| mark["user"] == told["user"]);
                if let Some(mark) = mark {
                    for part in ["delivered", "read"] {
                        mark[part] = told[part].clone();
                    }
                }
            }
            "closing" => {}
            other => panic!("told {other}: {told}"),
        }
        // One that begins anew has no place before it has seen all channels.
        if self.sync.is_some()
            && let Some(sync) = told["sync"].as_str()
        {
            self.sync = Some(sync.to_owned());
        }
    }

    fn page(&mut self, page: &Value) {
        for channel in page["channels"].as_array().unwrap() {
            self.channel(channel.clone());
        }
    }

    pub(super) fn channel(&mut self, mut channel: Value) {
        let id = channel["channel"].as_str().unwrap().to_owned();
        if let Some(object) = channel.as_object_mut() {
            object.remove("sync");
        }
        let head = self.heads.entry(id.clone()).or_default();
        *head = channel["head"].as_u64().unwrap().max(*head);
        self.channels.insert(id, channel);
    }

    fn keep(&mut self, me: &str, message: &Value) {
        let part = |part: &str| message[part].as_str().unwrap().to_owned();
        let channel = part("channel");
        let key = (channel.clone(), part("sender"), part("id"));
        if message["status"] == "hidden" {
            self.messages.remove(&key);
            return;
        }
        let mut kept = message.clone();
        if let Some(object) = kept.as_object_mut() {
            object.remove("sync");
            object.remove("at");
        }
        // Who writes has read.
        if key.1 == me {
            self.reads(me, &channel, message["pos"].as_u64().unwrap());
        }
        self.messages.insert(key, kept);
    }

    fn reads(&mut self, me: &str, channel: &str, pos: u64) {
        let Some(channel) = self.channels.get_mut(channel) else { return };
        let raise = |place: &mut Value| *place = json!(place.as_u64().unwrap_or(0).max(pos));
        raise(&mut channel["read"]);
        let marks = channel["marks"].as_array_mut().into_iter().flatten();
        for mark in marks.filter(|mark| mark["user"] == me) {
            raise(&mut mark["read"]);
            raise(&mut mark["delivered"]);
        }
    }

    /// The answer to a message of this device is not told to it.
    pub(super) fn sent(&mut self, me: &str, channel: &str, sent: &Value, body: &Value) {
        let place = sent["pos"].as_u64().unwrap();
        let head = self.heads.entry(channel.to_owned()).or_default();
        *head = place.max(*head);
        // An older one that is answered again is stored, or comes with a page; so does what a change has made.
        if body["type"] == "text" {
            self.reads(me, channel, place);
        }
    }

    /// Messages in the order in which they are shown.
    pub(super) fn listed(&self, channel: &str) -> Vec<&Value> {
        let mut found: Vec<&Value> =
            self.messages.iter().filter(|((of, ..), _)| of == channel).map(|(_, m)| m).collect();
        found.sort_by_key(|message| message["order"].as_str().unwrap());
        found
    }

    pub(super) fn of(&self, channel: &str) -> Option<&Value> {
        self.channels.get(channel)
    }

    /// What a person sees: channels with their counts as they follow from the messages, and the messages. `blocked`: whom
    /// the user has blocked.
    pub(super) fn shown(&self, me: &str, blocked: &[String]) -> Value {
        let mut shown = BTreeMap::new();
        for (id, channel) in &self.channels {
            let messages = self.listed(id);
            let read = channel["read"].as_u64().unwrap();
            let mut view = without(channel, &["head", "last"]);
            let blocks =
                channel["with"].as_str().is_some_and(|with| blocked.iter().any(|b| b == with));
            let counts = |m: &&&Value| {
                let by_others = m["sender"] != me && m["body"]["type"] == "text";
                by_others && m.get("status").is_none() && m["pos"].as_u64() > Some(read) && !blocks
            };
            let names = |m: &&&Value| {
                m["body"]["mentions"].as_array().is_some_and(|named| named.contains(&json!(me)))
            };
            view["unread"] = json!(messages.iter().filter(counts).count());
            view["mentions"] = json!(messages.iter().filter(counts).filter(names).count());
            view["messages"] = json!(messages);
            shown.insert(id.clone(), view);
        }
        json!(shown)
    }

    /// The same with the counts that the home gives.
    pub(super) fn told(&self) -> Value {
        let view = |(id, channel): (&String, &Value)| {
            let mut view = without(channel, &["head", "last"]);
            view["messages"] = json!(self.listed(id));
            (id.clone(), view)
        };
        json!(self.channels.iter().map(view).collect::<BTreeMap<_, _>>())
    }
}

fn without(object: &Value, parts: &[&str]) -> Value {
    let mut left = object.clone();
    for part in parts {
        left.as_object_mut().unwrap().remove(*part);
    }
    left
}

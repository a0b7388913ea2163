//! Answers and notices as JSON, written straight into the bytes that go out.

use std::io::Write as _;

use homing_link::{
    Answer, ChannelView, FoundMessages, MessageView, MessagesPage, Notice, PresenceView, SyncPoint,
};
use homing_wire::ChannelId;
use schemars::JsonSchema;
use serde::Serialize;

/// What an answer or notice cannot be written for: a stored body that is not UTF-8 JSON.
pub(crate) type Failed = serde_json::Error;

/// Writes a call's result.
pub(crate) fn answer(out: &mut Vec<u8>, answer: &Answer) -> Result<(), Failed> {
    match answer {
        Answer::Opened(opened) => serde_json::to_writer(out, opened),
        Answer::Channels(page) => serde_json::to_writer(out, page),
        Answer::Channel(channel) => serde_json::to_writer(out, channel),
        Answer::Messages(page) => messages(out, page),
        Answer::FoundMessages(found) => found_messages(out, found),
        Answer::Message(view) => message(out, view, None),
        Answer::Sent(sent) => serde_json::to_writer(out, sent),
        Answer::Done => {
            out.extend_from_slice(b"{}");
            Ok(())
        }
        Answer::Receipts(receipts) => serde_json::to_writer(out, receipts),
        Answer::User(user) => serde_json::to_writer(out, user),
        Answer::Presence(page) => serde_json::to_writer(out, page),
        Answer::Users(page) => serde_json::to_writer(out, page),
        Answer::Found(found) => serde_json::to_writer(out, found),
        Answer::Devices(devices) => serde_json::to_writer(out, devices),
        Answer::Media(answer) => serde_json::to_writer(out, answer),
        Answer::MediaUrl(link) => serde_json::to_writer(out, link),
        Answer::GroupChanged(changed) => serde_json::to_writer(out, changed),
        Answer::Link(made) => serde_json::to_writer(out, made),
        Answer::Members(page) => serde_json::to_writer(out, page),
        Answer::Pending => {
            out.extend_from_slice(br#"{"state":"pending"}"#);
            Ok(())
        }
    }
}

/// Writes a whole notification.
pub(crate) fn notice(out: &mut Vec<u8>, notice: &Notice) -> Result<(), Failed> {
    let open = |out: &mut Vec<u8>, method: &str| {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","method":""#);
        out.extend_from_slice(method.as_bytes());
        out.extend_from_slice(br#"","params":"#);
    };
    match notice {
        Notice::Message { message: view, at, sync } => {
            open(out, "message");
            message(out, view, Some((*at, *sync)))?;
        }
        Notice::Receipt { channel, user, delivered, read, at, sync } => {
            open(out, "receipt");
            let params = ReceiptNotice {
                channel: *channel,
                user,
                delivered: *delivered,
                read: *read,
                at: *at,
                sync: *sync,
            };
            serde_json::to_writer(&mut *out, &params)?;
        }
        Notice::Presence { presence, sync } => {
            open(out, "presence");
            serde_json::to_writer(&mut *out, &PresenceNotice { presence, sync: *sync })?;
        }
        Notice::Typing { channel, user, typing, sync } => {
            open(out, "typing");
            let (channel, typing, sync) = (*channel, *typing, *sync);
            serde_json::to_writer(&mut *out, &TypingNotice { channel, user, typing, sync })?;
        }
        Notice::Channel { channel, sync } => {
            open(out, "channel");
            serde_json::to_writer(&mut *out, &ChannelNotice { channel, sync: *sync })?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// Writes the notification that the bridge stops.
pub(crate) fn closing(out: &mut Vec<u8>, params: &ClosingNotice) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"closing","params":"#);
    serde_json::to_writer(&mut *out, params).expect("plain fields are always JSON");
    out.push(b'}');
}

/// A `message` notification, for the documents; [`message`] writes it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MessageNotice<'a> {
    #[serde(flatten)]
    pub(crate) message: &'a MessageView,
    /// Of a message that was changed: the place of what changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<u64>,
    /// The place it reaches.
    #[schemars(with = "String")]
    pub(crate) sync: SyncPoint,
}

/// A `receipt` notification.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReceiptNotice<'a> {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    pub(crate) channel: ChannelId,
    /// Who, as an address.
    pub(crate) user: &'a str,
    /// Everything at or below has reached a device.
    pub(crate) delivered: u64,
    /// Everything at or below was read.
    pub(crate) read: u64,
    /// Unix milliseconds.
    pub(crate) at: u64,
    /// The place it reaches.
    #[schemars(with = "String")]
    pub(crate) sync: SyncPoint,
}

/// A `presence` notification.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PresenceNotice<'a> {
    #[serde(flatten)]
    pub(crate) presence: &'a PresenceView,
    /// The place it reaches.
    #[schemars(with = "String")]
    pub(crate) sync: SyncPoint,
}

/// A `typing` notification. Nobody says that it is over where the sender is lost: it holds for a few seconds.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TypingNotice<'a> {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    pub(crate) channel: ChannelId,
    /// Who, as an address.
    pub(crate) user: &'a str,
    /// Types, or has stopped.
    pub(crate) typing: bool,
    /// The place it reaches.
    #[schemars(with = "String")]
    pub(crate) sync: SyncPoint,
}

/// A `channel` notification.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ChannelNotice<'a> {
    #[serde(flatten)]
    pub(crate) channel: &'a ChannelView,
    /// The place it reaches.
    #[schemars(with = "String")]
    pub(crate) sync: SyncPoint,
}

/// A `closing` notification: the last one before the socket is closed with 1012.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ClosingNotice {
    /// Why, as a stable word.
    pub(crate) reason: &'static str,
    /// When to come back.
    pub(crate) retry_after_ms: u64,
    /// The place the client had been told before, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) sync: Option<SyncPoint>,
}

/// Writes a message as [`MessageView`]'s `Serialize` would. By hand, because this is done for every
/// reader of every message, and the derived form parses the stored body each time.
fn message(
    out: &mut Vec<u8>,
    view: &MessageView,
    notice: Option<(Option<u64>, SyncPoint)>,
) -> Result<(), Failed> {
    let MessageView { channel, pos, order, id, sender, sent_at, body, .. } = view;
    let MessageView { late, edited_at, reactions, status, reason, .. } = view;
    let json = std::str::from_utf8(&body.0).map_err(serde::ser::Error::custom)?;
    out.reserve(json.len() + 384);
    write_plain(
        out,
        format_args!(r#"{{"channel":"{channel}","pos":{pos},"order":"{order}","id":"{id}","#),
    );
    out.extend_from_slice(br#""sender":"#);
    serde_json::to_writer(&mut *out, &**sender)?;
    write_plain(out, format_args!(r#","sent_at":{sent_at},"body":"#));
    out.extend_from_slice(json.as_bytes());
    if *late {
        out.extend_from_slice(br#","late":true"#);
    }
    if let Some(at) = edited_at {
        write_plain(out, format_args!(r#","edited_at":{at}"#));
    }
    if !reactions.is_empty() {
        out.extend_from_slice(br#","reactions":"#);
        serde_json::to_writer(&mut *out, reactions)?;
    }
    if let Some(status) = status {
        out.extend_from_slice(br#","status":"#);
        serde_json::to_writer(&mut *out, status)?;
    }
    if let Some(reason) = reason {
        out.extend_from_slice(br#","reason":"#);
        serde_json::to_writer(&mut *out, &**reason)?;
    }
    if let Some((at, sync)) = notice {
        if let Some(at) = at {
            write_plain(out, format_args!(r#","at":{at}"#));
        }
        write_plain(out, format_args!(r#","sync":"{sync}""#));
    }
    out.push(b'}');
    Ok(())
}

fn messages(out: &mut Vec<u8>, page: &MessagesPage) -> Result<(), Failed> {
    let MessagesPage { messages, more, next, changed } = page;
    out.extend_from_slice(br#"{"messages":"#);
    list(out, messages)?;
    write_plain(out, format_args!(r#","more":{more},"next":{next}"#));
    if !changed.is_empty() {
        out.extend_from_slice(br#","changed":"#);
        list(out, changed)?;
    }
    out.push(b'}');
    Ok(())
}

fn found_messages(out: &mut Vec<u8>, found: &FoundMessages) -> Result<(), Failed> {
    let FoundMessages { messages, cursor, indexing } = found;
    out.extend_from_slice(br#"{"messages":"#);
    list(out, messages)?;
    if let Some(cursor) = cursor {
        out.extend_from_slice(br#","cursor":"#);
        serde_json::to_writer(&mut *out, cursor)?;
    }
    if *indexing {
        out.extend_from_slice(br#","indexing":true"#);
    }
    out.push(b'}');
    Ok(())
}

fn list(out: &mut Vec<u8>, views: &[MessageView]) -> Result<(), Failed> {
    out.push(b'[');
    for (n, view) in views.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        message(out, view, None)?;
    }
    out.push(b']');
    Ok(())
}

fn write_plain(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homing_link::RawJson;
    use homing_wire::{Epoch, HomeId, MessageId, Order, Seq, Stamp};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn view(rare: bool) -> MessageView {
        let reaction = homing_link::ReactionView { emoji: "🦊".into(), count: 2, mine: true };
        let order =
            Order::new(Stamp::from_ms(1_700_000_000_000), &HomeId([7; 32]), Epoch(9), Seq(3));
        MessageView {
            channel: ChannelId(Uuid::from_u128(1)),
            pos: 42,
            order,
            id: MessageId(Uuid::from_u128(2)),
            sender: "alice@acme.example".into(),
            sent_at: 1_700_000_000_000,
            body: RawJson(r#"{"type":"text","text":"a\"ü😀"}"#.into()),
            late: rare,
            edited_at: rare.then_some(7),
            reactions: if rare { vec![reaction] } else { Vec::new() },
            status: rare.then_some("rejected"),
            reason: rare.then(|| Arc::from("no\"reason")),
        }
    }

    #[test]
    fn by_hand_as_derived() {
        let sync = SyncPoint { life: 10, change: 255 };
        for rare in [false, true] {
            let view = view(rare);
            let mut out = Vec::new();
            message(&mut out, &view, None).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&view).unwrap());

            let page = MessagesPage {
                messages: vec![view.clone(), view.clone()],
                more: true,
                next: 42,
                changed: if rare { vec![view.clone()] } else { vec![] },
            };
            let mut out = Vec::new();
            messages(&mut out, &page).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&page).unwrap());

            let mut out = Vec::new();
            let (message, at) = (Arc::new(view.clone()), rare.then_some(43));
            notice(&mut out, &Notice::Message { message, at, sync }).unwrap();
            let written: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(written["method"], "message");
            let derived = serde_json::to_value(MessageNotice { message: &view, at, sync }).unwrap();
            assert_eq!(written["params"], derived);
            assert_eq!(written["params"]["sync"], "a.ff");
        }
    }
}

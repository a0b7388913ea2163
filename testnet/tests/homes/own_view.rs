//! A user's own view of channels: the same on all devices, after a kill and for a fresh login, and nobody else's.

use homing_client::{Channel, Client, Error, Event, Events, Options, Refusal, Uuid, ViewUpdate};
use homing_testnet::homes::PASSWORD;
use serde_json::json;

use crate::party::{Party, next, next_message, say};

type Own = (Option<u64>, bool, bool, Option<String>, bool);

fn own(channel: &Channel) -> Own {
    let Channel { muted_until, archived, pinned, draft, marked_unread, .. } = channel.clone();
    (muted_until, archived, pinned, draft, marked_unread)
}

const NOTHING: Own = (None, false, false, None, false);

/// Another device of a user, signed in anew.
async fn device(party: &Party, user: &str, since: Option<&str>) -> (Client, Events) {
    let server = party.homes[0].server().unwrap();
    let token = server.login(user, PASSWORD, None).await.unwrap().token;
    let mut options = Options::new(server, token);
    options.since = since.map(Into::into);
    Client::connect(options).await.unwrap()
}

/// The next state of a channel that a device is told of.
async fn told(events: &mut Events, channel: Uuid) -> Channel {
    next(events, |event| match event {
        Event::Channel(view) if view.channel == channel => Some((**view).clone()),
        _ => None,
    })
    .await
}

fn reason<T>(result: Result<T, Error>) -> (i64, String, Option<u64>) {
    match result {
        Err(Error::Refused(Refusal { code, reason, limit, .. })) => (code, reason, limit),
        Err(error) => panic!("not refused: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_of_a_user_show_the_same_and_nobody_else_does() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut first) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (phone, mut second) = device(&party, "alice", None).await;
    let channel = say(&bob, "alice@acme.test", "hi").await.channel;
    next_message(&mut first).await;
    next_message(&mut second).await;
    let sync = alice.channels(None).await.unwrap().sync;

    let update = ViewUpdate {
        muted_until: Some(Some((1 << 53) - 1)),
        archived: Some(true),
        pinned: Some(true),
        draft: Some("Dear Bob, \u{202e}עברית 🦊".into()),
        marked_unread: Some(true),
    };
    let seen = alice.update_channel(channel, &update).await.unwrap();
    let wanted = (update.muted_until.unwrap(), true, true, update.draft.clone(), true);
    assert_eq!(own(&seen), wanted);
    assert_eq!(own(&told(&mut second, channel).await), wanted);
    assert_eq!(own(&phone.channel(channel).await.unwrap()), wanted);
    // What is archived stays so; lists have it, or leave it out.
    say(&bob, "alice@acme.test", "still there?").await;
    assert_eq!(next_message(&mut first).await.channel, channel);
    let listed = async |archived| {
        let page = phone.call("channels.list", &json!({ "archived": archived })).await;
        let page: homing_client::ChannelsPage = page.unwrap();
        page.channels.iter().map(|view| (view.channel, own(view))).collect::<Vec<_>>()
    };
    assert_eq!(listed(Some(true)).await, [(channel, wanted.clone())]);
    assert_eq!(listed(Some(false)).await, []);
    assert_eq!(listed(None).await, [(channel, wanted.clone())]);

    // The device that asked is answered, and not told: the next that it hears of the channel is what the other does.
    let unpin = ViewUpdate { pinned: Some(false), ..ViewUpdate::default() };
    phone.update_channel(channel, &unpin).await.unwrap();
    let wanted = (wanted.0, true, false, wanted.3, true);
    assert_eq!(own(&told(&mut first, channel).await), wanted);

    // After a kill, for a fresh login and for one that comes with an old place.
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (fresh, _) = device(&party, "alice", None).await;
    assert_eq!(own(&fresh.channel(channel).await.unwrap()), wanted);
    let (returned, _) = device(&party, "alice", sync.as_deref()).await;
    let changed = &returned.opened().channels;
    assert_eq!(changed.iter().map(own).collect::<Vec<_>>(), std::slice::from_ref(&wanted));

    // Bob has a view of his own.
    assert_eq!(own(&bob.channel(channel).await.unwrap()), NOTHING);
    let draft = ViewUpdate { draft: Some("mine".into()), ..ViewUpdate::default() };
    bob.update_channel(channel, &draft).await.unwrap();
    assert_eq!(own(&fresh.channel(channel).await.unwrap()), wanted);

    // Writing takes the mark away, on all devices, and nothing else.
    say(&fresh, "bob@globex.test", "yes").await;
    let (_, archived, _, draft, marked) = own(&fresh.channel(channel).await.unwrap());
    assert_eq!((archived, draft, marked), (true, wanted.3, false));
    next_message(&mut bob_hears).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing() {
    let limits = [("HOMING_LIMITS__DRAFT_BYTES", "1000"), ("HOMING_LIMITS__PINNED", "1")];
    let mut party = Party::with(&["acme.test"], &limits).await;
    let (alice, _) = party.client(0, "alice").await;
    assert_eq!(alice.opened().limits.draft, 1000);
    party.homes[0].register("bob").await.unwrap();
    let (eve, _) = party.client(0, "eve").await;
    let channel = say(&alice, "bob@acme.test", "hi").await.channel;
    let update = async |client: &Client, params: serde_json::Value| {
        let mut params = params;
        params["channel"] = json!(channel);
        client.call::<_, Channel>("channels.update", &params).await
    };
    let is = |code: i64, reason: &str, limit| (code, reason.to_owned(), limit);
    let long = "ö".repeat(501);
    for (params, refused) in [
        (json!({ "draft": long, "pinned": true }), is(-32009, "draft_too_long", Some(1000))),
        (json!({ "muted_until": 1 }), is(-32602, "muted_until_past", None)),
        (json!({}), is(-32602, "nothing_to_change", None)),
    ] {
        assert_eq!(reason(update(&alice, params).await), refused);
    }
    for params in [
        json!({ "muted_until": 1_u64 << 53 }),
        json!({ "muted_until": 1.5 }),
        json!({ "draft": "a\0b" }),
        json!({ "archived": 1 }),
    ] {
        assert_eq!(reason(update(&alice, params).await).0, -32602);
    }
    let refused = reason(update(&eve, json!({ "pinned": true })).await);
    assert_eq!(refused, is(-32004, "channel_not_found", None));
    assert_eq!(own(&alice.channel(channel).await.unwrap()), NOTHING);
    update(&alice, json!({ "pinned": true, "draft": "ö".repeat(500) })).await.unwrap();
    let other = alice.open_chat("eve@acme.test").await.unwrap().channel;
    let params = json!({ "channel": other, "pinned": true });
    let refused = reason(alice.call::<_, Channel>("channels.update", &params).await);
    assert_eq!(refused, is(-32009, "too_many_pinned", Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_channels_with_long_drafts_fit_a_frame() {
    let mut party = Party::of(&["acme.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let sync = alice.channels(None).await.unwrap().sync;
    let draft = "\u{1}".repeat(16 << 10);
    let update = ViewUpdate { draft: Some(draft.clone()), ..ViewUpdate::default() };
    for n in 0..15 {
        let name = format!("user{n}");
        party.homes[0].register(&name).await.unwrap();
        let channel = alice.open_chat(&format!("{name}@acme.test")).await.unwrap().channel;
        alice.update_channel(channel, &update).await.unwrap();
    }
    let all = alice.all_channels().await.unwrap();
    assert!(all.len() == 15 && all.iter().all(|view| view.draft.as_ref() == Some(&draft)));
    let (returned, _) = device(&party, "alice", sync.as_deref()).await;
    let opened = returned.opened();
    assert_eq!(opened.channels.len(), 15, "all pages of what has changed");
}

//! First contacts between homes that make strangers wait.

use homing_client::{
    ChannelState, Client, Error, Event, Events, Options, Refusal, TextBody, UserList, Uuid,
};
use homing_testnet::homes::PASSWORD;

use crate::gossip::reaches;
use crate::party::{Party, history, next, next_message, say, text};

async fn strangers(names: &[&str]) -> Party {
    Party::with(names, &[("HOMING_FEDERATION__FIRST_CONTACT", "request")]).await
}

fn refusal<T>(result: Result<T, Error>) -> (i64, String, Option<u64>) {
    match result {
        Err(Error::Refused(Refusal { code, reason, limit, .. })) => (code, reason, limit),
        Err(error) => panic!("not refused: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

async fn state_told(events: &mut Events, channel: Uuid, wanted: ChannelState) {
    next(events, |event| match event {
        Event::Channel(view) if view.channel == channel && view.state == wanted => Some(()),
        _ => None,
    })
    .await;
}

async fn another_device(party: &Party, user: &str, since: Option<&str>) -> (Client, Events) {
    let server = party.homes[0].server().unwrap();
    let token = server.login(user, PASSWORD, None).await.unwrap().token;
    let mut options = Options::new(server, token);
    options.since = since.map(Into::into);
    Client::connect(options).await.unwrap()
}

/// How far the other party has got, as a client is shown it.
async fn marks_of(client: &Client, channel: Uuid, user: &str) -> (u64, u64) {
    let view = client.channel(channel).await.unwrap();
    let mark = view.marks.iter().find(|mark| mark.user == user).unwrap();
    (mark.delivered, mark.read)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_accepted_by_word() {
    let mut party = strangers(&["acme.test", "globex.test"]).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (_phone, mut phone_hears) = another_device(&party, "alice", None).await;
    let (carol, mut carol_hears) = party.client(1, "carol").await;
    let mut channel = None;
    for n in 1..=5 {
        channel = Some(say(&carol, "alice@acme.test", &n.to_string()).await.channel);
        assert_eq!(text(&next_message(&mut alice_hears).await), n.to_string());
    }
    let channel = channel.unwrap();
    let body = TextBody::new("6");
    let limit = (-32009, "first_contact".to_owned(), Some(5));
    assert_eq!(refusal(carol.send_to("alice@acme.test", &body).await), limit);
    let view = alice.channel(channel).await.unwrap();
    assert_eq!((view.state, view.unread), (ChannelState::Request, 5));
    assert_eq!(carol.channel(channel).await.unwrap().state, ChannelState::Active);

    // Alice reads: carol is not told. What is told of another chat behind it has come.
    let (bob, _) = party.client(0, "bob").await;
    alice.mark_read(channel, 5).await.unwrap();
    let beside = say(&bob, "carol@globex.test", "beside").await;
    assert_eq!(text(&next_message(&mut carol_hears).await), "beside");
    carol.accept_request(beside.channel).await.unwrap();
    say(&carol, "bob@acme.test", "yes").await;
    let read_beside = async {
        loop {
            let head = bob.channel(beside.channel).await.unwrap().head;
            if head >= 2 {
                return bob.mark_read(beside.channel, head).await.unwrap();
            }
        }
    };
    read_beside.await;
    next(&mut carol_hears, |event| match event {
        Event::Receipt(receipt) if receipt.channel == beside.channel && receipt.read > 1 => {
            Some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(marks_of(&carol, channel, "alice@acme.test").await, (0, 0));

    let view = alice.accept_request(channel).await.unwrap();
    assert_eq!(view.state, ChannelState::Active);
    state_told(&mut phone_hears, channel, ChannelState::Active).await;
    next(&mut carol_hears, |event| match event {
        Event::Receipt(receipt) if receipt.channel == channel && receipt.read == 5 => Some(()),
        _ => None,
    })
    .await;
    say(&carol, "alice@acme.test", "6").await;
    assert_eq!(text(&next_message(&mut alice_hears).await), "6");
    assert_eq!(alice.accept_request(channel).await.unwrap().state, ChannelState::Active);
    assert_eq!(refusal(alice.decline_request(channel).await).1, "not_a_request");
    assert_eq!(refusal(bob.accept_request(channel).await).0, -32004);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_declined_until_the_user_writes() {
    let mut party = strangers(&["acme.test", "globex.test"]).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (_phone, mut phone_hears) = another_device(&party, "alice", None).await;
    let (carol, mut carol_hears) = party.client(1, "carol").await;
    let sync = alice.channels(None).await.unwrap().sync;
    let channel = say(&carol, "alice@acme.test", "hello").await.channel;
    next_message(&mut alice_hears).await;
    alice.decline_request(channel).await.unwrap();
    state_told(&mut phone_hears, channel, ChannelState::Left).await;
    assert!(alice.all_channels().await.unwrap().is_empty());
    assert_eq!(refusal(alice.channel(channel).await).1, "channel_not_found");
    assert_eq!(refusal(alice.decline_request(channel).await).1, "channel_not_found");
    assert_eq!(alice.all_users_in(UserList::Blocks).await.unwrap(), [""; 0]);

    // Carol sees no difference; alice hears nothing of it, not after a kill either.
    say(&carol, "alice@acme.test", "are you there?").await;
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (returned, _) = another_device(&party, "alice", sync.as_deref()).await;
    let changed: Vec<_> = returned.opened().channels.iter().map(|c| (c.channel, c.state)).collect();
    assert_eq!(changed, [(channel, ChannelState::Left)], "whoever was away is told");
    say(&carol, "alice@acme.test", "please").await;
    let (dave, _) = party.client(1, "dave").await;
    say(&dave, "alice@acme.test", "hi").await;
    assert_eq!(text(&next_message(&mut alice_hears).await), "hi");
    assert_eq!(alice.all_channels().await.unwrap().len(), 1);

    // She writes first: from then on it is a chat like any other.
    say(&alice, "carol@globex.test", "who are you?").await;
    assert_eq!(text(&next_message(&mut carol_hears).await), "who are you?");
    assert_eq!(alice.channel(channel).await.unwrap().state, ChannelState::Active);
    for n in 0..7 {
        say(&carol, "alice@acme.test", &n.to_string()).await;
        assert_eq!(text(&next_message(&mut alice_hears).await), n.to_string());
    }
    let shown: Vec<String> = history(&alice, channel).await.iter().map(text).collect();
    assert_eq!(shown, ["hello", "who are you?", "0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(history(&carol, channel).await.len(), 11);
}

/// One more than a user has room for waits at its own home, is kept over kills of both, and comes as soon as there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_waits_at_its_home() {
    let environment = [
        ("HOMING_FEDERATION__FIRST_CONTACT", "request"),
        ("HOMING_FEDERATION__REQUESTS_OF_USER", "1"),
    ];
    let mut party = Party::with(&["acme.test", "globex.test"], &environment).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (carol, _) = party.client(1, "carol").await;
    let (dave, _) = party.client(1, "dave").await;
    let carols = say(&carol, "alice@acme.test", "carol here").await.channel;
    assert_eq!(text(&next_message(&mut alice_hears).await), "carol here");
    let daves = say(&dave, "alice@acme.test", "dave here").await.channel;
    let full = "homing_relay_events_rejected_total{reason=\"requests_full\"}";
    reaches(&party.homes[0], full, 1.0).await;
    reaches(&party.homes[0], "homing_requests_open", 1.0).await;
    assert_eq!(refusal(alice.channel(daves).await).1, "channel_not_found");
    // Carol's own five words are not held back by it.
    say(&carol, "alice@acme.test", "still carol").await;
    assert_eq!(text(&next_message(&mut alice_hears).await), "still carol");

    for at in [0, 1] {
        party.homes[at].kill().await.unwrap();
    }
    for at in [0, 1] {
        party.homes[at].start().await.unwrap();
    }
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    reaches(&party.homes[0], full, 1.0).await;
    alice.decline_request(carols).await.unwrap();
    assert_eq!(text(&next_message(&mut alice_hears).await), "dave here");
    let view = alice.channel(daves).await.unwrap();
    assert_eq!((view.state, view.unread), (ChannelState::Request, 1));
}

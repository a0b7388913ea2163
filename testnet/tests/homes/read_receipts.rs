//! Who keeps to himself what he has read, within a home and between two.

use homing_client::{Client, Event, Events, Privacy, Receipt, UserUpdate, Uuid};

use crate::party::{Party, next, next_message, say};

const ALICE: &str = "alice@acme.test";

async fn lets_see(client: &Client, shown: bool) {
    let privacy = Privacy { read_receipts: Some(shown), ..Privacy::default() };
    let update = UserUpdate { privacy: Some(privacy), ..UserUpdate::default() };
    let said = client.update_user(&update).await.unwrap();
    assert_eq!(said.privacy.unwrap().read_receipts, Some(shown));
}

/// The next receipt of that user that says so much was delivered.
async fn delivered(events: &mut Events, of: &str, pos: u64) -> Receipt {
    next(events, |event| match event {
        Event::Receipt(receipt) if receipt.user == of && receipt.delivered >= pos => {
            Some(receipt.clone())
        }
        _ => None,
    })
    .await
}

/// How far that user has read, as a channel shows it.
async fn read_of(client: &Client, channel: Uuid, user: &str) -> u64 {
    let marks = client.channel(channel).await.unwrap().marks;
    marks.iter().find(|mark| mark.user == user).unwrap().read
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hides_what_was_read_neither_shows_nor_sees_it() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (phone, mut phone_hears) = party.client(0, "alice").await;
    lets_see(&alice, false).await;
    // One of her own home, and one of another.
    for (home, name) in [(0, "dave"), (1, "bob")] {
        let (other, mut hears) = party.client(home, name).await;
        let address = other.opened().user.address.clone();
        let sent = say(&other, ALICE, "are you there?").await;
        let (channel, asked) = (sent.channel, next_message(&mut alice_hears).await.pos);
        alice.mark_read(channel, asked).await.unwrap();
        let receipt = delivered(&mut hears, ALICE, sent.pos).await;
        assert_eq!(receipt.read, 0, "{name}");
        // Her other device follows, and nothing is unread there.
        next(&mut phone_hears, |event| match event {
            Event::Channel(seen) if seen.channel == channel && seen.read == asked => Some(()),
            _ => None,
        })
        .await;
        assert_eq!(phone.channel(channel).await.unwrap().unread, 0);

        // What she says is read, and she is not shown that either, with whatever she asks.
        let said = say(&alice, &address, "yes").await;
        let heard = next_message(&mut hears).await;
        other.mark_read(channel, heard.pos).await.unwrap();
        let receipt = delivered(&mut alice_hears, &address, said.pos).await;
        assert_eq!(receipt.read, 0, "{name}");
        assert_eq!(read_of(&alice, channel, &address).await, 0);
        let rows = alice.receipts(channel, said.id).await.unwrap().receipts;
        let row = rows.iter().find(|row| row.user == address).unwrap();
        assert!(row.delivered && !row.read && row.read_at.is_none(), "{row:?}");
        // Nor is it told by her answer that she has read.
        assert_eq!(read_of(&other, channel, ALICE).await, 0);
        let rows = other.receipts(channel, sent.id).await.unwrap().receipts;
        assert!(rows[0].delivered && !rows[0].read && rows[0].read_at.is_none(), "{rows:?}");

        // She lets others see again: she sees at once, they with what she reads next. Over a restart, too.
        lets_see(&alice, true).await;
        assert_eq!(read_of(&alice, channel, &address).await, said.pos);
        assert_eq!(read_of(&other, channel, ALICE).await, 0);
        let more = say(&other, ALICE, "good").await;
        let good = next_message(&mut alice_hears).await.pos;
        alice.mark_read(channel, good).await.unwrap();
        let receipt = delivered(&mut hears, ALICE, more.pos).await;
        assert_eq!(receipt.read, receipt.delivered, "{name}");
        lets_see(&alice, false).await;
        other.close().await;
    }
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    let hidden = alice.user(ALICE).await.unwrap().privacy.unwrap();
    assert_eq!(hidden.read_receipts, Some(false));
    party.homes.stop_all().await.unwrap();
}

//! Headers and the chains they make.

use bytes::Bytes;
use homing_wire::{
    ChannelId, Epoch, Event, Hash, Header, HeaderError, HomeId, Kind, Local, MediaReference,
    MessageId, Seq, Stamp, Target, UserRef, limits,
};
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

use crate::names::{counter, home_id, local, user};

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn hash() -> impl Strategy<Value = Hash> {
    // Zero is no hash of anything, so it stands for none.
    any::<[u8; 32]>().prop_map(|bytes| if bytes == [0; 32] { Hash([1; 32]) } else { Hash(bytes) })
}

fn media() -> impl Strategy<Value = MediaReference> {
    (home_id(), uuid(), hash(), any::<u64>()).prop_map(|(home, id, hash, size)| MediaReference {
        home,
        id,
        hash,
        size,
    })
}

fn header() -> impl Strategy<Value = Header> {
    let place = (uuid(), user(), counter(), counter(), hash(), any::<u64>(), uuid());
    let content = (
        prop_oneof![1..=7_u32, 1..=u32::MAX],
        prop::option::of((user(), uuid())),
        prop::collection::vec(user(), 0..4),
        prop::collection::vec(media(), 0..3),
        any::<u64>(),
        prop::collection::vec(any::<u8>(), 0..64),
    );
    (place, content).prop_map(|(place, content)| {
        let (channel, sender, epoch, seq, prev, stamp, id) = place;
        let (kind, target, mentions, media, roster, body) = content;
        Header {
            channel: ChannelId(channel),
            origin: sender.home,
            epoch: Epoch(epoch),
            seq: Seq(seq),
            prev: if seq == 1 { Hash::NONE } else { prev },
            stamp: Stamp(stamp),
            sender: sender.local,
            id: MessageId(id),
            kind: Kind::from_code(kind),
            target: target.map(|(sender, id)| Target { sender, id: MessageId(id) }),
            mentions,
            media,
            roster,
            body_size: body.len() as u32,
            body_hash: Hash::of(&body),
        }
    })
}

/// An event of a chain, after `prev`.
fn next(prev: Option<&Event>, sender: &UserRef, body: &'static str) -> Event {
    let seq = prev.map_or(Seq(1), |e| e.header.seq.next());
    let header = Header {
        channel: ChannelId(Uuid::from_u128(7)),
        origin: sender.home,
        epoch: Epoch(5),
        seq,
        prev: prev.map_or(Hash::NONE, Event::hash),
        stamp: prev.map_or(Stamp::from_ms(1), |e| e.header.stamp.tick(1)),
        sender: sender.local.clone(),
        id: MessageId(Uuid::from_u128(u128::from(seq.0))),
        kind: Kind::Text,
        target: None,
        mentions: Vec::new(),
        media: Vec::new(),
        roster: 0,
        body_size: body.len() as u32,
        body_hash: Hash::of(body.as_bytes()),
    };
    Event::new(header, Bytes::from_static(body.as_bytes()))
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_again(header in header()) {
        let bytes = header.encode();
        prop_assert_eq!(&Header::decode(&bytes).unwrap(), &header);
        prop_assert_eq!(header.encode(), bytes);
    }

    #[test]
    fn unknown_fields_survive_in_the_bytes(
        header in header(),
        field in 100..10_000_u32,
        later in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = header.encode().to_vec();
        prost::encoding::bytes::encode(field, &later, &mut bytes);
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(&Header::decode(&bytes).unwrap(), &header);
        let body = Bytes::new();
        let empty = Header { body_size: 0, body_hash: Hash::of(&body), ..header };
        let mut with_body = empty.encode().to_vec();
        prost::encoding::bytes::encode(field, &later, &mut with_body);
        let event = Event::from_bytes(with_body.clone().into(), body).unwrap();
        prop_assert_eq!(event.hash(), Hash::of(&with_body));
        prop_assert_eq!(event.header_bytes, with_body);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = Header::decode(&bytes);
    }

    #[test]
    fn a_body_that_is_not_the_headers_is_refused(sender in user(), place in 0..5_usize, change in 1..=255_u8) {
        let event = next(None, &sender, "hello");
        let mut body = event.body.to_vec();
        body[place] ^= change;
        for wrong in [body, b"hell".to_vec(), b"hello!".to_vec()] {
            let answer = Event::from_bytes(event.header_bytes.clone(), wrong.into());
            prop_assert_eq!(answer, Err(HeaderError::Body));
        }
        prop_assert_eq!(Event::from_bytes(event.header_bytes.clone(), event.body.clone()), Ok(event));
    }

    #[test]
    fn a_body_may_be_erased_where_nothing_else_depends_on_it(sender in user()) {
        use Kind::{Custom, Delete, Edit, Media, Notice, Reaction, Text, Unknown};
        let plain = next(None, &sender, "hello").header;
        for kind in [Text, Media, Custom, Edit, Delete, Reaction, Notice, Unknown(9)] {
            let said = Header { kind, ..plain.clone() };
            let answer = Event::from_bytes(said.encode(), Bytes::new());
            match kind {
                Text | Media | Custom | Edit => prop_assert!(answer.unwrap().is_erased()),
                Delete | Reaction | Notice | Unknown(_) => {
                    prop_assert_eq!(answer, Err(HeaderError::Body));
                }
            }
            // One that never was is not erased.
            let empty = Header { body_size: 0, body_hash: Hash::of(b""), ..said.clone() };
            prop_assert!(!Event::from_bytes(empty.encode(), Bytes::new()).unwrap().is_erased());
            let other = Header { body_size: 0, ..said };
            prop_assert_eq!(Event::from_bytes(other.encode(), Bytes::new()), Err(HeaderError::Body));
        }
    }

    #[test]
    fn a_chain_hangs_together_and_no_link_can_be_changed(sender in user(), other in local()) {
        let mut chain: Vec<Event> = Vec::new();
        for body in ["one", "two", "three", "four"] {
            chain.push(next(chain.last(), &sender, body));
        }
        for pair in chain.windows(2) {
            let read = Event::from_bytes(pair[1].header_bytes.clone(), pair[1].body.clone()).unwrap();
            prop_assert_eq!(read.header.prev, pair[0].hash());
            prop_assert!(read.header.order() > pair[0].header.order());
            prop_assert!(read.header.stamp > pair[0].header.stamp);
        }
        let forged = Header { sender: other.clone(), ..chain[1].header.clone() };
        prop_assert_eq!(Hash::of(&forged.encode()) == chain[2].header.prev, other == sender.local);
        // An erased body leaves the chain as it was.
        let erased = Event { body: Bytes::new(), ..chain[1].clone() };
        prop_assert_eq!(erased.hash(), chain[2].header.prev);
    }
}

proptest! {
    // Each case reads some thousands of damaged headers.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_damaged_header_never_panics_and_a_cut_one_never_passes_for_the_whole(header in header()) {
        let bytes = header.encode();
        for length in 0..bytes.len() {
            prop_assert!(Header::decode(&bytes[..length]).as_ref() != Ok(&header));
        }
        let mut damaged = bytes.to_vec();
        for place in 0..damaged.len() {
            for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                damaged[place] ^= change;
                // It may still be a header; the hash in the chain tells them apart.
                let _ = Header::decode(&damaged);
                damaged[place] ^= change;
            }
        }
    }
}

#[test]
fn the_largest_header_fits() {
    let longest = UserRef::new(HomeId([0xff; 32]), "a".repeat(64).parse::<Local>().unwrap());
    let max = (1 << 48) - 1;
    let header = Header {
        channel: ChannelId(Uuid::max()),
        origin: longest.home,
        epoch: Epoch(max),
        seq: Seq(max),
        prev: Hash([0xff; 32]),
        stamp: Stamp(u64::MAX),
        sender: longest.local.clone(),
        id: MessageId(Uuid::max()),
        kind: Kind::Unknown(u32::MAX),
        target: Some(Target { sender: longest.clone(), id: MessageId(Uuid::max()) }),
        mentions: vec![longest.clone(); limits::MENTIONS],
        media: vec![
            MediaReference {
                home: longest.home,
                id: Uuid::max(),
                hash: Hash([0xff; 32]),
                size: u64::MAX
            };
            limits::MEDIA_REFERENCES
        ],
        roster: u64::MAX,
        body_size: limits::BODY_BYTES as u32,
        body_hash: Hash([0xff; 32]),
    };
    let bytes = header.encode();
    assert!(bytes.len() <= limits::HEADER_BYTES, "{} bytes", bytes.len());
    assert_eq!(Header::decode(&bytes), Ok(header));
}

/// A proof with all its fields at their largest.
fn largest_proof() -> homing_wire::proto::event::v1::Proof {
    homing_wire::proto::event::v1::Proof {
        at: u64::MAX,
        leaves: u64::MAX,
        index: u64::MAX,
        // As many siblings as the largest tree is high.
        path: vec![Bytes::from_static(&[0xff; 32]); limits::HEADS.ilog2() as usize],
        key: Bytes::from_static(&[0xff; 32]),
        signature: Bytes::from_static(&[0xff; 64]),
    }
}

fn largest_event() -> homing_wire::proto::event::v1::Event {
    homing_wire::proto::event::v1::Event {
        header: vec![0; limits::HEADER_BYTES].into(),
        body: vec![0; limits::BODY_BYTES].into(),
    }
}

/// `local@home-id`.
const LONGEST_USER: usize = 64 + 1 + HomeId::TEXT_LEN;

#[test]
fn the_largest_event_fits_in_a_frame() {
    use homing_wire::proto::relay::v1 as relay;
    let user = "a".repeat(LONGEST_USER);
    let frame = relay::Frame {
        frame: Some(relay::frame::Frame::Range(relay::Range {
            channel: Bytes::from_static(&[0xff; 16]),
            chat: Some(relay::Chat { a: user.clone(), b: user }),
            epoch: u64::MAX,
            first_seq: u64::MAX,
            events: vec![largest_event()],
            proof: Some(largest_proof()),
            begins: false,
        })),
    };
    assert!(frame.encoded_len() <= limits::RELAY_FRAME_BYTES);
}

#[test]
fn the_largest_event_fits_in_an_answer() {
    use homing_wire::proto::query::v1 as query;
    let answer = query::Answer {
        answer: Some(query::answer::Answer::Range(query::RangeAnswer {
            events: vec![largest_event()],
            seq: u64::MAX,
            hash: Bytes::from_static(&[0xff; 32]),
            proof: Some(largest_proof()),
            pruned: u64::MAX,
            pruned_hash: Bytes::from_static(&[0xff; 32]),
            begins: u64::MAX,
        })),
    };
    assert!(answer.encoded_len() <= limits::ANSWER_BYTES);
}

#[test]
fn the_largest_page_of_what_is_held_fits_in_an_answer() {
    use homing_wire::proto::query::v1 as query;
    let chain = query::ChainHolding {
        origin: Bytes::from_static(&[0xff; 32]),
        epoch: (1 << 48) - 1,
        seq: (1 << 48) - 1,
    };
    let holding = query::Holding {
        channel: Bytes::from_static(&[0xff; 16]),
        a: "a".repeat(LONGEST_USER),
        b: "b".repeat(LONGEST_USER),
        // Those of both homes.
        chains: vec![chain; 2 * limits::LIVES],
        roster: (1 << 48) - 1,
    };
    let answer = query::Answer {
        answer: Some(query::answer::Answer::Holdings(query::HoldingsAnswer {
            holdings: vec![holding; limits::HOLDINGS],
            next: Bytes::from_static(&[0xff; 16]),
        })),
    };
    let size = answer.encoded_len();
    assert!(size <= limits::ANSWER_BYTES, "{size} bytes");
}

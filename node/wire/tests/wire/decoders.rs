//! What must hold of every decoder, whatever it is given: used by the fuzz targets (`node/wire/fuzz`) and, over
//! what they found worth keeping, by an ordinary test.

use homing_wire::proto::{event::v1 as pb_event, hello::v1 as pb_hello, media::v1 as pb_media};
use homing_wire::proto::{query::v1 as pb_query, relay::v1 as pb_relay};
use homing_wire::{
    Address, Body, ChannelId, Checker, Epoch, Event, Hash, Head, Header, HomeId, HomeName,
    HomeRecord, HomeRef, Letter, Local, MessageId, Order, ProofError, Right, Roster, Seq,
    SignedRoster, Statement, UserRef, Verifies, body, limits, read_proof,
};
use prost::Message;

/// A target: its name, which is its corpus's, and what it does with an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: [Target; 8] = [
    ("header", header),
    ("body", body_of_a_message),
    ("names", names),
    ("record", record),
    ("proof", proof),
    ("frames", frames),
    ("roster", roster),
    ("letter", letter),
];

/// A header that is read is written as something that reads the same; an event is what its header says.
pub(crate) fn header(data: &[u8]) {
    if let Ok(header) = Header::decode(data) {
        assert!(data.len() <= limits::HEADER_BYTES);
        assert!(header.mentions.len() <= limits::MENTIONS);
        assert!(header.media.len() <= limits::MEDIA_REFERENCES);
        assert_eq!(Header::decode(&header.encode()), Ok(header.clone()));
        assert_eq!(header.user().home, header.origin);
        assert_eq!(Order::parse(&header.order().to_string()), Some(header.order()));
    }
    let (bytes, body) = halves(data);
    if let Ok(event) = Event::from_bytes(bytes.to_vec().into(), body.to_vec().into()) {
        if event.is_erased() {
            assert!(event.header.kind.may_be_erased());
        } else {
            assert_eq!(event.header.body_hash, Hash::of(&event.body));
            assert_eq!(event.header.body_size as usize, event.body.len());
        }
        assert_eq!(event.hash(), Hash::of(bytes));
    }
}

/// A body is read as other readers of JSON read it; what is compact stays as it is; what is not becomes so once.
pub(crate) fn body_of_a_message(data: &[u8]) {
    if let Ok(found) = Body::is_canonical(data, limits::BODY_BYTES) {
        assert_eq!(found.json, data);
        assert!(data.len() <= limits::BODY_BYTES && found.mentions.len() <= limits::MENTIONS);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(Body::is_canonical(data, limits::BODY_BYTES).is_err());
        return;
    };
    let Ok(compact) = body::compact_json(text) else { return };
    let value: serde_json::Value =
        serde_json::from_str(text).expect("what we take, others read as well");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).ok(), Some(value));
    assert_eq!(body::compact_json(&compact).as_deref(), Ok(&*compact));
    assert!(compact.len() <= text.len());
    if let Ok(found) = Body::from_json(text, limits::BODY_BYTES) {
        assert_eq!(Body::is_canonical(&found.json, limits::BODY_BYTES), Ok(found));
    }
}

/// A name that is read is shown as something that reads as the same name.
pub(crate) fn names(data: &[u8]) {
    fn same<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            let shown = value.to_string();
            assert_eq!(shown.parse::<T>().ok().as_ref(), Some(&value), "{text:?} {shown:?}");
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    same::<Local>(text);
    same::<HomeName>(text);
    same::<HomeRef>(text);
    same::<Address>(text);
    same::<UserRef>(text);
    same::<HomeId>(text);
    same::<ChannelId>(text);
    same::<MessageId>(text);
    if let Ok(local) = Local::canonical(text) {
        assert_eq!(Local::canonical(local.as_str()), Ok(local));
    }
    if let Ok(name) = HomeName::canonical(text) {
        assert_eq!(HomeName::canonical(name.as_str()), Ok(name));
    }
    if let Some(order) = Order::parse(text) {
        assert_eq!(order.to_string(), text, "one order, one text");
    }
}

/// A record, or a statement, that is believed keeps to the limits.
pub(crate) fn record(data: &[u8]) {
    if let Ok(said) = Statement::verify(data, &Anything) {
        assert!(data.len() <= limits::STATEMENT_BYTES);
        assert!((1..=limits::PEER_ID_BYTES).contains(&said.peer_id.len()));
        assert!(said.boot > 0 && said.epoch > Epoch(0));
    }
    let Ok(record) = HomeRecord::verify(data) else { return };
    assert!(data.len() <= limits::RECORD_BYTES);
    assert!((1..=limits::RECORD_NODES).contains(&record.nodes.len()));
    assert!((1..=limits::RECORD_SIGNING_KEYS).contains(&record.signing_keys.len()));
    assert!(record.nodes.iter().all(|node| node.addresses.len() <= limits::NODE_ADDRESSES));
}

/// Any signature holds.
struct Anything;

impl Verifies for Anything {
    fn verify(&self, _: &[u8; 32], _: &[u8], _: &[u8; 64]) -> Result<(), ProofError> {
        Ok(())
    }
}

/// A proof that holds is of that head alone, and is kept as what holds again; the event before is named by its
/// header.
pub(crate) fn proof(data: &[u8]) {
    let (first, rest) = halves(data);
    let Some(proof) = read_proof(first) else { return };
    let hash = Hash::of(rest);
    let head = Head {
        channel: ChannelId::from_slice(&hash.0[..16]).expect("16 bytes"),
        seq: Seq(7),
        hash,
    };
    let (origin, epoch) = (HomeId([7; 32]), Epoch(9));
    let Ok(proven) = Checker::default().check(origin, epoch, head, &proof, &Anything) else {
        return;
    };
    assert_eq!((proven.head(), proven.origin(), proven.epoch()), (head, origin, epoch));
    assert!(proof.leaves <= limits::HEADS as u64 && proof.index < proof.leaves);
    let kept = proven.proof().and_then(|kept| read_proof(kept)).expect("what is kept can be read");
    let again = Checker::default().check(origin, epoch, head, &kept, &Anything);
    assert_eq!(again.as_ref(), Ok(&proven));
    if let Some(before) = proven.before(rest) {
        let header = Header::decode(rest).expect("it is the header of the head");
        assert_eq!((before.head().hash, before.head().seq), (header.prev, Seq(6)));
    }
}

/// A roster that is read keeps to the limits, is written as what reads the same, and judges every event; one that is
/// believed is as it was signed.
pub(crate) fn roster(data: &[u8]) {
    if let Ok(roster) = Roster::decode(data) {
        assert!(data.len() <= limits::ROSTER_BYTES);
        assert!(roster.present().count() <= limits::ROSTER_MEMBERS);
        assert!(roster.version >= roster.epoch.0);
        assert_eq!(Roster::decode(&roster.encode()).as_ref(), Ok(&roster));
        assert!(!roster.follows(&roster), "nothing follows on itself");
        for tenure in &roster.tenures {
            let at = homing_wire::ChainPos { epoch: Epoch(1), seq: Seq(1) };
            let may = roster.may(&tenure.user, Right::Moderate, tenure.from, at);
            assert!(
                may.is_err() || roster.may(&tenure.user, Right::Write, tenure.from, at).is_ok()
            );
            let home = tenure.user.home;
            assert!(
                roster.home_since(&home).is_none_or(|since| {
                    roster.home_in_at(&home, roster.version) == Some(since)
                })
            );
        }
    }
    let bytes = bytes::Bytes::copy_from_slice(data);
    if let Ok(signed) = SignedRoster::verify_with(bytes.clone(), HomeId([7; 32]), &Anything) {
        assert_eq!(signed.roster().owner, HomeId([7; 32]));
        assert_eq!(SignedRoster::stored(bytes), Ok(signed));
    }
}

/// A letter that is read is written as what reads the same.
pub(crate) fn letter(data: &[u8]) {
    if let Ok(letter) = Letter::decode(data) {
        assert!(data.len() <= limits::LETTER_BYTES);
        assert_eq!(Letter::decode(&letter.encode()), Ok(letter));
    }
}

/// Frames of all protocols are read or not; what is read is written as what reads the same.
pub(crate) fn frames(data: &[u8]) {
    fn same<T: Message + Default + PartialEq>(data: &[u8]) {
        if let Ok(frame) = T::decode(data) {
            assert!(T::decode(&frame.encode_to_vec()[..]).as_ref() == Ok(&frame));
        }
    }
    same::<pb_relay::Frame>(data);
    same::<pb_query::Query>(data);
    same::<pb_query::Answer>(data);
    same::<pb_hello::Hello>(data);
    same::<pb_hello::HelloReply>(data);
    same::<pb_event::Proof>(data);
    same::<pb_media::Ask>(data);
    same::<pb_media::Head>(data);
}

/// Two inputs in one: the first byte says, in 255ths, where the second begins.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((at, rest)) = data.split_first() else { return (&[], &[]) };
    rest.split_at(rest.len() * usize::from(*at) / 255)
}

//! Home records and signed heads: nothing that was changed is believed.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use homing_wire::heads::{Head, Heads, HeadsError};
use homing_wire::proto::event::v1::SignedHeads;
use homing_wire::{ChannelId, Epoch, Hash, HomeId, HomeRecord, Node, RecordError, Seq, limits};
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

/// A key that lives as long as one test case.
fn key() -> impl Strategy<Value = SigningKey> {
    any::<[u8; 32]>().prop_map(|seed| SigningKey::from_bytes(&seed))
}

fn public(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

fn record(identity: [u8; 32]) -> HomeRecord {
    HomeRecord {
        name: "acme.example".parse().unwrap(),
        identity,
        signing_keys: vec![identity],
        nodes: vec![Node {
            peer_id: Bytes::from_static(&[7; 38]),
            addresses: vec!["/ip4/192.0.2.7/udp/4100/quic-v1".to_owned()],
        }],
        epoch: Epoch(5),
        number: 1,
        protocols: vec![homing_wire::frame::HELLO.to_owned()],
        issued_at: 6,
    }
}

fn heads(key: &SigningKey) -> Heads {
    let head = |n| Head {
        channel: ChannelId(Uuid::from_u128(n)),
        seq: Seq(3),
        hash: Hash::of(&n.to_be_bytes()),
    };
    Heads {
        origin: HomeId::of_identity(&public(key)),
        epoch: Epoch(5),
        at: 9,
        heads: vec![head(1), head(2)],
    }
}

fn read_heads(bytes: &[u8], keys: &[[u8; 32]]) -> Result<Heads, HeadsError> {
    let signed = SignedHeads::decode(bytes).map_err(|_| HeadsError::Malformed)?;
    Heads::verify(&signed, keys)
}

/// Every proper prefix, and every byte changed in each of its bits and in all.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cuts = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let changes = (0..bytes.len()).flat_map(move |place| {
        [1, 2, 4, 8, 16, 32, 64, 128, 255].into_iter().map(move |change| {
            let mut changed = bytes.to_vec();
            changed[place] ^= change;
            changed
        })
    });
    cuts.chain(changes)
}

proptest! {
    // Each case checks some thousands of damaged texts.
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn a_damaged_record_is_never_believed(identity in key()) {
        let record = record(public(&identity));
        let signed = record.sign(&identity);
        prop_assert_eq!(HomeRecord::verify(&signed), Ok(record));
        for bytes in damaged(&signed) {
            prop_assert!(HomeRecord::verify(&bytes).is_err());
        }
    }

    #[test]
    fn damaged_heads_are_never_believed(key in key(), retired in key()) {
        let heads = heads(&key);
        let signed = heads.sign(&key).encode_to_vec();
        let keys = [public(&retired), public(&key)];
        prop_assert_eq!(read_heads(&signed, &keys), Ok(heads));
        for bytes in damaged(&signed) {
            prop_assert!(read_heads(&bytes, &keys).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_record_is_believed_from_its_identity_alone(identity in key(), other in key()) {
        prop_assume!(public(&identity) != public(&other));
        let record = record(public(&identity));
        prop_assert_eq!(HomeRecord::verify(&record.sign(&other)), Err(RecordError::Signature));
        prop_assert_eq!(record.home_id(), HomeId::of_identity(&public(&identity)));
    }

    #[test]
    fn heads_are_believed_from_the_records_keys_alone(key in key(), other in key()) {
        prop_assume!(public(&key) != public(&other));
        let heads = heads(&key);
        let mut signed = heads.sign(&other);
        prop_assert_eq!(Heads::verify(&signed, &[public(&key)]), Err(HeadsError::Key));
        signed.key = Bytes::copy_from_slice(&public(&key));
        prop_assert_eq!(Heads::verify(&signed, &[public(&key)]), Err(HeadsError::Signature));
        prop_assert_eq!(Heads::verify(&heads.sign(&key), &[]), Err(HeadsError::Key));
    }

    #[test]
    fn a_signature_for_one_thing_is_none_for_another(key in key()) {
        use homing_wire::proto::record::v1::SignedRecord;
        let record = SignedRecord::decode(record(public(&key)).sign(&key)).unwrap();
        let as_heads = SignedHeads {
            heads: record.record,
            key: Bytes::copy_from_slice(&public(&key)),
            signature: record.signature,
        };
        prop_assert_eq!(Heads::verify(&as_heads, &[public(&key)]), Err(HeadsError::Signature));
    }

    #[test]
    fn the_number_of_heads_is_bounded(key in key()) {
        let mut heads = heads(&key);
        heads.heads = vec![heads.heads[0].clone(); limits::HEADS];
        let signed = heads.sign(&key);
        prop_assert!(signed.encoded_len() < limits::RELAY_FRAME_BYTES);
        prop_assert!(Heads::verify(&signed, &[public(&key)]).is_ok());
        heads.heads.push(heads.heads[0].clone());
        prop_assert_eq!(Heads::verify(&heads.sign(&key), &[public(&key)]), Err(HeadsError::TooMany));
    }

    #[test]
    fn a_record_of_a_large_home_fits(key in key()) {
        let mut record = record(public(&key));
        let node = Node { peer_id: Bytes::from_static(&[7; 38]), addresses: vec!["/".repeat(64); 6] };
        record.nodes = vec![node; limits::RECORD_NODES];
        record.signing_keys = vec![public(&key); limits::RECORD_SIGNING_KEYS];
        let signed = record.sign(&key);
        prop_assert!(signed.len() <= limits::RECORD_BYTES, "{} bytes", signed.len());
        prop_assert_eq!(HomeRecord::verify(&signed), Ok(record));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = HomeRecord::verify(&bytes);
        let _ = read_heads(&bytes, &[[0; 32]]);
    }
}

#[test]
fn records_are_numbered_by_epoch_then_number() {
    let with = |epoch, number| HomeRecord { epoch: Epoch(epoch), number, ..record([0; 32]) };
    assert!(with(2, 1).is_newer_than(&with(1, 9)));
    assert!(with(1, 2).is_newer_than(&with(1, 1)));
    assert!(!with(1, 1).is_newer_than(&with(1, 1)));
}

//! Home records: nothing that was changed is believed.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use homing_wire::{Epoch, HomeId, HomeRecord, Node, RecordError, limits};
use proptest::prelude::*;

/// A key that lives as long as one test case.
pub(crate) fn key() -> impl Strategy<Value = SigningKey> {
    any::<[u8; 32]>().prop_map(|seed| SigningKey::from_bytes(&seed))
}

pub(crate) fn public(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

pub(crate) fn record(identity: [u8; 32]) -> HomeRecord {
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

/// Every proper prefix, and every byte changed in each of its bits and in all.
pub(crate) fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
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
    }
}

#[test]
fn records_are_numbered_by_epoch_then_number() {
    let with = |epoch, number| HomeRecord { epoch: Epoch(epoch), number, ..record([0; 32]) };
    assert!(with(2, 1).is_newer_than(&with(1, 9)));
    assert!(with(1, 2).is_newer_than(&with(1, 1)));
    assert!(!with(1, 1).is_newer_than(&with(1, 1)));
}

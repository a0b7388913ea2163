//! Addresses, ids and orders: one thing has one spelling, and nothing looks like another.

use homing_wire::{
    Address, AddressError, ChannelId, Epoch, Hash, HomeId, HomeName, HomeRef, IdError, Local,
    MessageId, Order, Seq, Stamp, UserRef,
};
use proptest::prelude::*;
use uuid::Uuid;

pub(crate) fn local() -> impl Strategy<Value = Local> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|text| Local::canonical(&text).unwrap())
}

pub(crate) fn home_id() -> impl Strategy<Value = HomeId> {
    any::<[u8; 32]>().prop_map(HomeId)
}

pub(crate) fn user() -> impl Strategy<Value = UserRef> {
    (home_id(), local()).prop_map(|(home, local)| UserRef::new(home, local))
}

/// 48 bits, and not zero: what an epoch or a seq may be.
pub(crate) fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![1..5_u64, 1..1_u64 << 48, Just((1 << 48) - 1)]
}

proptest! {
    #[test]
    fn a_user_is_written_one_way(user in user()) {
        let text = user.to_string();
        prop_assert_eq!(&text.parse::<UserRef>().unwrap(), &user);
        prop_assert!(text.to_ascii_uppercase().parse::<UserRef>().is_err());
        // What a person types may be in upper case.
        let typed: Address = text.to_ascii_uppercase().parse().unwrap();
        prop_assert_eq!(typed.to_string(), text);
        prop_assert_eq!(typed.home, HomeRef::Id(user.home));
    }

    #[test]
    fn what_is_accepted_is_canonical_after_once(text in "[a-cA-C.@_-]{0,3}[a-z0-9A-Z.@_-]{0,20}@?[a-zA-Z0-9.-]{0,60}") {
        if let Ok(address) = text.parse::<Address>() {
            let once = address.to_string();
            prop_assert_eq!(&once, &text.to_ascii_lowercase());
            prop_assert_eq!(once.parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn no_other_script_gets_in(char in any::<char>().prop_filter("ASCII may", |c| !c.is_ascii()), place in 0..5_usize) {
        let mut local = "alice".to_owned();
        local.insert(place, char);
        prop_assert_eq!(local.parse::<Local>(), Err(AddressError::Local));
        prop_assert_eq!(Local::canonical(&local), Err(AddressError::Local));
        let mut home = "acme.example".to_owned();
        home.insert(place, char);
        prop_assert_eq!(home.parse::<HomeRef>(), Err(AddressError::Home));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<Address>();
        let _ = text.parse::<UserRef>();
        let _ = text.parse::<HomeId>();
        let _ = text.parse::<MessageId>();
        let _ = text.parse::<Hash>();
        prop_assert_eq!(Order::parse(&text), None);
    }

    #[test]
    fn a_chat_has_one_id_whoever_asks(a in user(), b in user()) {
        let id = ChannelId::chat(&a, &b);
        prop_assert_eq!(id, ChannelId::chat(&b, &a));
        prop_assert_eq!(id.0.get_version_num(), 5);
        prop_assert_eq!(id == ChannelId::chat(&a, &a), a == b);
    }

    #[test]
    fn ids_survive_json(home in home_id(), hash in any::<[u8; 32]>(), uuid in any::<u128>()) {
        let (hash, id) = (Hash(hash), MessageId(Uuid::from_u128(uuid)));
        let json = serde_json::to_string(&(home, hash, id)).unwrap();
        prop_assert_eq!(&json, &format!("[\"{home}\",\"{hash}\",\"{id}\"]"));
        prop_assert_eq!(serde_json::from_str::<(HomeId, Hash, MessageId)>(&json).unwrap(), (home, hash, id));
        for other in [id.0.simple().to_string(), id.0.urn().to_string(), id.0.braced().to_string()] {
            prop_assert_eq!(other.parse::<MessageId>(), Err(IdError::NotUuid));
            prop_assert!(serde_json::from_value::<MessageId>(other.into()).is_err());
        }
    }

    #[test]
    fn orders_sort_as_what_they_are_made_of(
        a in (0..3_u64, any::<[bool; 2]>(), counter(), counter()),
        b in (0..3_u64, any::<[bool; 2]>(), counter(), counter()),
        (stamp, first, second) in (0..u64::MAX - 3, any::<[u8; 32]>(), any::<[u8; 32]>()),
    ) {
        // Few stamps and origins, so that every part decides now and then.
        let place = |(more, [other, _], epoch, seq): (u64, [bool; 2], u64, u64)| {
            let origin = HomeId(if other { first } else { second });
            let order = Order::new(Stamp(stamp + more), &origin, Epoch(epoch), Seq(seq));
            ((stamp + more, origin.0[..10].to_vec(), epoch, seq), order)
        };
        let ((parts_a, a), (parts_b, b)) = (place(a), place(b));
        prop_assert_eq!(a.cmp(&b), parts_a.cmp(&parts_b));
        prop_assert_eq!(a.to_string().as_bytes().cmp(b.to_string().as_bytes()), a.cmp(&b));
        prop_assert_eq!(a.to_string().len(), Order::TEXT_LEN);
        prop_assert_eq!(Order::parse(&a.to_string()), Some(a));
        prop_assert_eq!(a.stamp(), Stamp(parts_a.0));
    }

    #[test]
    fn a_tick_rises(stamp in 0..u64::MAX, now_ms in 0..1_u64 << 48) {
        let next = Stamp(stamp).tick(now_ms);
        prop_assert!(next > Stamp(stamp) && next.ms() >= now_ms);
        prop_assert_eq!(Stamp(u64::MAX).tick(now_ms), Stamp(u64::MAX));
    }
}

#[test]
fn locals_have_1_to_64_characters() {
    assert!("a".repeat(64).parse::<Local>().is_ok());
    assert_eq!("a".repeat(65).parse::<Local>(), Err(AddressError::Local));
    assert_eq!("".parse::<Local>(), Err(AddressError::Local));
}

#[test]
fn serde_takes_canonical_names_only() {
    assert!(serde_json::from_str::<Local>("\"alice\"").is_ok());
    assert!(serde_json::from_str::<Local>("\"Alice\"").is_err());
    assert!(serde_json::from_str::<HomeName>("\"acme.example\"").is_ok());
    assert!(serde_json::from_str::<HomeName>("\"ACME.example\"").is_err());
}

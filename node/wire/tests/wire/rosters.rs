//! Rosters and letters: what is believed, what they let whom do, and what may follow on what.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use homing_wire::limits::{GROUP_NAME_BYTES, LIVES, ROSTER_MEMBERS};
use homing_wire::{
    ChainPos, Change, ChannelId, Command, Epoch, Fence, Hash, HomeId, HomeName, HomeRecord, Letter,
    LetterError, Local, MediaReference, Node, OpId, Outcome, Policy, PolicySpan, Right, Role,
    Roster, RosterError, Seq, SignedRoster, Signs as _, Tenure, Unfit, UserRef, Who,
};
use proptest::prelude::*;
use uuid::Uuid;

const EPOCH: u64 = 1_000_000;

fn identity() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn signing() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn owner_home() -> HomeId {
    HomeId::of_identity(&identity().verifying_key().to_bytes())
}

fn record() -> Bytes {
    let record = HomeRecord {
        name: HomeName::canonical("acme.test").unwrap(),
        identity: identity().verifying_key().to_bytes(),
        signing_keys: vec![signing().public()],
        nodes: vec![Node { peer_id: Bytes::from_static(b"peer"), addresses: Vec::new() }],
        epoch: Epoch(EPOCH),
        number: 1,
        protocols: Vec::new(),
        issued_at: 1,
    };
    record.sign(&identity())
}

fn user(home: HomeId, name: &str) -> UserRef {
    UserRef::new(home, Local::canonical(name).unwrap())
}

fn far() -> HomeId {
    HomeId([7; 32])
}

fn tenure(user: &UserRef, role: Role, from: u64, end: Option<(u64, Option<Fence>)>) -> Tenure {
    let by = self::user(owner_home(), "ann");
    let (until, fence) = end.map_or((None, None), |(until, fence)| (Some(EPOCH + until), fence));
    Tenure { user: user.clone(), role, from: EPOCH + from, until, fence, by }
}

fn at(seq: u64) -> ChainPos {
    ChainPos { epoch: Epoch(5), seq: Seq(seq) }
}

/// That much of what the far home wrote counts.
fn upto(seq: u64) -> Fence {
    Fence::new([at(seq)])
}

/// Ann owns it; bob was a member from 1, an admin from 3, and was removed in 6 with ten events counting; dan came in 7.
fn sample() -> Roster {
    let (ann, bob, dan) = (user(owner_home(), "ann"), user(far(), "bob"), user(far(), "dan"));
    Roster {
        group: ChannelId(Uuid::from_u128(9)),
        owner: owner_home(),
        epoch: Epoch(EPOCH),
        version: EPOCH + 9,
        at: 77,
        prev: Hash([3; 32]),
        name: "friends 🦊".into(),
        policies: vec![PolicySpan { from: EPOCH, policy: Policy::default(), fences: Vec::new() }],
        tenures: vec![
            tenure(&ann, Role::Owner, 0, None),
            tenure(&bob, Role::Invited, 0, Some((1, None))),
            tenure(&bob, Role::Member, 1, Some((3, None))),
            tenure(&bob, Role::Admin, 3, Some((6, Some(upto(10))))),
            tenure(&dan, Role::Member, 7, None),
        ],
        continues: Some(ChannelId(Uuid::from_u128(8))),
        avatar: Some(file(far())),
    }
}

fn file(home: HomeId) -> MediaReference {
    MediaReference { home, id: Uuid::from_u128(6), hash: Hash([5; 32]), size: 4_000 }
}

fn signed(roster: Roster) -> Bytes {
    roster.sign(&signing(), record()).bytes().clone()
}

fn field(roster: &Roster) -> Result<(), RosterError> {
    SignedRoster::verify(signed(roster.clone())).map(drop)
}

#[test]
fn a_roster_comes_back_as_it_was_signed() {
    let roster = sample();
    let read = SignedRoster::verify(signed(roster.clone())).unwrap();
    assert_eq!((read.roster(), read.hash()), (&roster, roster.hash()));
    assert_eq!(SignedRoster::stored(read.bytes().clone()), Ok(read));
}

#[test]
fn no_byte_of_it_can_be_changed() {
    let bytes = signed(sample());
    for place in 0..bytes.len() {
        let mut forged = bytes.to_vec();
        forged[place] ^= 1;
        let read = SignedRoster::verify(forged.into());
        assert!(read.is_err(), "at {place} of {}", bytes.len());
    }
    assert!(SignedRoster::verify(Bytes::new()).is_err());
    let stranger = SigningKey::from_bytes(&[9; 32]);
    let forged = sample().sign(&stranger, record());
    assert_eq!(SignedRoster::verify(forged.bytes().clone()), Err(RosterError::Signature));
    // Signed by the home that it says, of a group of another.
    let other = Roster { owner: far(), tenures: Vec::new(), ..sample() };
    assert_eq!(SignedRoster::verify(signed(other)), Err(RosterError::Record));
}

#[test]
fn what_makes_no_sense_is_no_roster() {
    let of = |change: fn(&mut Roster)| {
        let mut roster = sample();
        change(&mut roster);
        field(&roster)
    };
    let wrong = |name| Err(RosterError::Field(name));
    assert_eq!(of(|_| {}), Ok(()));
    assert_eq!(of(|r| r.version = EPOCH - 1), wrong("version"));
    assert_eq!(of(|r| r.version = 1 << 48), wrong("version"));
    assert_eq!(of(|r| r.epoch = Epoch(0)), wrong("epoch"));
    assert_eq!(of(|r| r.group = ChannelId::NONE), wrong("group"));
    assert_eq!(of(|r| r.name.clear()), wrong("name"));
    assert_eq!(of(|r| r.avatar = None), Ok(()));
    assert_eq!(of(|r| r.avatar.as_mut().unwrap().size = 0), wrong("avatar"));
    assert_eq!(of(|r| r.avatar.as_mut().unwrap().home = HomeId::LOCAL), wrong("avatar"));
    assert_eq!(of(|r| r.name = "x".repeat(GROUP_NAME_BYTES + 1)), wrong("name"));
    assert_eq!(of(|r| r.policies.clear()), wrong("policies"));
    assert_eq!(of(|r| r.tenures[4].from = r.version + 1), wrong("tenures"));
    assert_eq!(of(|r| r.tenures.swap(1, 3)), wrong("tenures"));
    assert_eq!(of(|r| r.tenures[2].until = Some(EPOCH + 5)), wrong("tenures"), "two roles at once");
    assert_eq!(
        of(|r| r.tenures[2].until = Some(EPOCH + 1)),
        wrong("tenures"),
        "it ends as it begins"
    );
    assert_eq!(of(|r| r.tenures[0].role = Role::Admin), wrong("owner"), "nobody owns it");
    assert_eq!(of(|r| r.tenures[4].role = Role::Owner), wrong("owner"), "an owner from elsewhere");
    assert_eq!(of(|r| r.tenures[4].user.home = HomeId::LOCAL), wrong("tenures"));
    let crowd = |r: &mut Roster| {
        for n in 0..ROSTER_MEMBERS {
            let who = user(far(), &format!("u{n}"));
            r.tenures.push(tenure(&who, Role::Member, 8, None));
        }
    };
    assert_eq!(of(crowd), wrong("members"));
    // Nobody of the owner home is left: others may be, without an owner.
    assert_eq!(of(|r| r.tenures[0].until = Some(r.version)), Ok(()));
}

#[test]
fn an_event_counts_by_the_version_that_it_names() {
    let roster = sample();
    let (ann, bob, dan) = (user(owner_home(), "ann"), user(far(), "bob"), user(far(), "dan"));
    let may =
        |who: &UserRef, right, version: u64, seq| roster.may(who, right, EPOCH + version, at(seq));
    assert_eq!(may(&bob, Right::Write, 0, 1), Err(Unfit::NoRight), "invited only");
    assert_eq!(may(&bob, Right::Write, 1, 1), Ok(()));
    assert_eq!(may(&bob, Right::Moderate, 2, 2), Err(Unfit::NoRight));
    assert_eq!(may(&bob, Right::Moderate, 3, 9), Ok(()));
    assert_eq!(may(&bob, Right::Write, 5, 10), Ok(()));
    assert_eq!(may(&bob, Right::Write, 5, 11), Err(Unfit::Fenced));
    assert_eq!(may(&bob, Right::Write, 1, 11), Err(Unfit::Fenced), "an older version helps nobody");
    assert_eq!(may(&bob, Right::Write, 6, 1), Err(Unfit::NoRight));
    assert_eq!(may(&dan, Right::Write, 6, 1), Err(Unfit::NoRight));
    assert_eq!(may(&dan, Right::Write, 7, 1_000), Ok(()));
    assert_eq!(may(&ann, Right::Moderate, 9, 1), Ok(()));
    assert_eq!(may(&ann, Right::Write, 10, 1), Err(Unfit::Newer));
    assert_eq!(may(&user(far(), "eve"), Right::Write, 9, 1), Err(Unfit::NoRight));
    // Other lives of the writer's home than those that were held, later or earlier, are beyond every fence.
    for life in [4, 6] {
        let other = ChainPos { epoch: Epoch(life), seq: Seq(1) };
        assert_eq!(roster.may(&bob, Right::Write, EPOCH + 5, other), Err(Unfit::Fenced), "{life}");
    }
    assert_eq!(roster.home_since(&far()), Some(EPOCH + 7), "the home was out in between");
    assert_eq!(roster.home_since(&owner_home()), Some(EPOCH));
    assert_eq!((roster.role(&bob), roster.role(&dan)), (None, Some(Role::Member)));
}

#[test]
fn a_policy_that_shuts_members_out_has_a_fence_for_each_home() {
    let mut roster = sample();
    let (ann, dan) = (user(owner_home(), "ann"), user(far(), "dan"));
    let shut = Policy { write: Who::Admins, ..Policy::default() };
    roster.policies.push(PolicySpan {
        from: EPOCH + 9,
        policy: shut,
        fences: vec![(far(), upto(20))],
    });
    assert_eq!(field(&roster), Ok(()));
    let may =
        |who: &UserRef, version: u64, seq| roster.may(who, Right::Write, EPOCH + version, at(seq));
    assert_eq!(may(&dan, 8, 20), Ok(()));
    assert_eq!(may(&dan, 8, 21), Err(Unfit::Fenced));
    assert_eq!(may(&dan, 9, 20), Err(Unfit::NoRight));
    assert_eq!(may(&ann, 8, 500), Ok(()));
    assert_eq!(may(&ann, 9, 500), Ok(()));
}

#[test]
fn nothing_that_was_said_is_taken_back() {
    let older = sample();
    let next = |change: fn(&mut Roster)| {
        let mut roster = Roster { version: EPOCH + 10, prev: older.hash(), ..older.clone() };
        change(&mut roster);
        roster.follows(&older)
    };
    assert!(next(|_| {}));
    assert!(next(|r| r.name = "foes".into()));
    assert!(next(|r| r.avatar = None));
    assert!(next(|r| r.avatar = Some(file(owner_home()))));
    assert!(next(|r| (r.tenures[4].until, r.tenures[4].fence) = (Some(EPOCH + 10), Some(upto(3)))));
    assert!(next(|r| r.tenures.push(tenure(&user(far(), "eve"), Role::Invited, 10, None))));
    assert!(
        next(|r| (r.version, r.prev) = (EPOCH + 12, Hash([4; 32]))),
        "those between may be missed"
    );
    let wrong: [fn(&mut Roster); 13] = [
        |r| r.version = EPOCH + 9,
        |r| r.version = EPOCH + 8,
        |r| r.prev = Hash([4; 32]),
        |r| r.group = ChannelId(Uuid::from_u128(10)),
        |r| r.owner = far(),
        |r| r.continues = None,
        |r| r.tenures[3].fence = Some(upto(11)),
        |r| r.tenures[3].until = None,
        |r| r.tenures[4].until = Some(EPOCH + 9),
        |r| r.tenures[0].role = Role::Admin,
        |r| drop(r.tenures.pop()),
        |r| r.tenures.push(tenure(&user(far(), "eve"), Role::Member, 8, None)),
        |r| r.policies[0].policy.write = Who::Admins,
    ];
    for (n, change) in wrong.into_iter().enumerate() {
        assert!(!next(change), "{n}");
    }
    // A later life of the owner home may say otherwise; an earlier one may not.
    assert!(
        next(|r| (r.epoch, r.version, r.tenures) = (Epoch(EPOCH + 50), EPOCH + 50, Vec::new()))
    );
    assert!(!next(|r| r.epoch = Epoch(EPOCH - 1)));
}

fn local_part() -> impl Strategy<Value = Local> {
    "[a-z0-9][a-z0-9._-]{0,20}".prop_filter_map("a name", |name| Local::canonical(&name).ok())
}

fn anybody() -> impl Strategy<Value = UserRef> {
    (any::<[u8; 32]>(), local_part()).prop_map(|(home, local)| UserRef::new(HomeId(home), local))
}

fn role() -> impl Strategy<Value = Role> {
    (1..=4_u32).prop_map(|code| Role::from_code(code).unwrap())
}

fn fence() -> impl Strategy<Value = Option<Fence>> {
    let end = (0..1_u64 << 48, 0..1_u64 << 48)
        .prop_map(|(epoch, seq)| ChainPos { epoch: Epoch(epoch), seq: Seq(seq) });
    prop::option::of(prop::collection::vec(end, 0..=LIVES).prop_map(Fence::new))
}

fn avatar() -> impl Strategy<Value = Option<Option<MediaReference>>> {
    let file = (1..u64::MAX, any::<[u8; 32]>())
        .prop_map(|(size, home)| MediaReference { size, ..file(HomeId(home)) });
    prop::option::of(prop::option::of(file))
}

fn change() -> impl Strategy<Value = Change> {
    let users = || prop::collection::vec(anybody(), 1..5);
    let policy = prop::option::of(Just(Policy { write: Who::Admins, ..Policy::default() }));
    let roles = prop::collection::vec((anybody(), role()), 0..4);
    prop_oneof![
        users().prop_map(Change::Invite),
        users().prop_map(Change::Remove),
        (prop::option::of(".{0,40}"), avatar(), policy, roles).prop_map(
            |(name, avatar, policy, roles)| Change::Update { name, avatar, policy, roles }
        ),
        prop::option::of(any::<[u8; 32]>()).prop_map(|link| Change::Join { link }),
        (any::<u64>(), fence()).prop_map(|(from, fence)| Change::Leave { from, fence }),
        (prop::option::of(1..u64::MAX), prop::option::of(1..u32::MAX), any::<[u8; 32]>())
            .prop_map(|(expires, uses, s)| Change::MakeLink { expires, uses, secret: Hash(s) }),
        any::<[u8; 32]>().prop_map(|secret| Change::DropLink { secret: Hash(secret) }),
    ]
}

fn letter() -> impl Strategy<Value = Letter> {
    let ids = || (any::<u128>(), any::<u128>());
    let reason = || prop::option::of("[a-z_]{1,20}");
    let group = |id| ChannelId(Uuid::from_u128(id));
    let op = |id| OpId(Uuid::from_u128(id));
    prop_oneof![
        (ids(), local_part(), change()).prop_map(move |((a, b), user, change)| {
            Letter::Command(Command { group: group(a), op: op(b), user, change })
        }),
        (ids(), reason(), prop::collection::vec((anybody(), reason()), 0..5), any::<u64>())
            .prop_map(move |((a, b), refused, users, version)| {
                Letter::Outcome(Outcome { group: group(a), op: op(b), refused, users, version })
            }),
    ]
}

proptest! {
    #[test]
    fn letters_come_back_as_they_were_sent(letter in letter()) {
        let bytes = letter.encode();
        prop_assert_eq!(Letter::decode(&bytes), Ok(letter));
    }

    #[test]
    fn bytes_of_others_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _refused_or_read = Letter::decode(&bytes);
        let _refused_or_read = Roster::decode(&bytes);
        prop_assert!(SignedRoster::verify(bytes.into()).is_err());
    }

    #[test]
    fn a_changed_letter_is_read_or_refused(letter in letter(), place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = letter.encode().to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(read) = Letter::decode(&bytes) {
            prop_assert_eq!(Letter::decode(&read.encode()), Ok(read));
        }
    }
}

#[test]
fn letters_have_a_limit() {
    let crowd: Vec<UserRef> = (0..101).map(|n| user(far(), &format!("u{n}"))).collect();
    let letter = |users: Vec<UserRef>| {
        let change = Change::Invite(users);
        let (group, op) = (ChannelId(Uuid::from_u128(1)), OpId(Uuid::from_u128(2)));
        let user = Local::canonical("ann").unwrap();
        Letter::Command(Command { group, op, user, change }).encode()
    };
    assert!(Letter::decode(&letter(crowd[..100].to_vec())).is_ok());
    assert_eq!(Letter::decode(&letter(crowd)), Err(LetterError::Malformed));
    assert_eq!(Letter::decode(&letter(Vec::new())), Err(LetterError::Malformed));
    assert_eq!(Letter::decode(&[0; 70_000]), Err(LetterError::TooLarge));
}

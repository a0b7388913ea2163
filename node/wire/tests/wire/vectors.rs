//! The files in `vectors/`, which other implementations read too, against this one.

use std::collections::HashMap;
use std::path::Path;

use data_encoding::HEXLOWER;
use homing_wire::body::compact_json;
use homing_wire::proto::event::v1::Proof;
use homing_wire::proto::hello::v1::SignedStatement;
use homing_wire::proto::record::v1::SignedRecord;
use homing_wire::{
    Address, Body, ChainPos, ChannelId, Checker, Epoch, Event, Fence, Hash, Head, Header, HomeId,
    HomeRecord, HomeRef, Kind, MediaReference, MessageId, Node, Order, Policy, PolicySpan,
    ProofError, ProvenHead, Right, Role, Roster, RosterHistory, Seq, SignedRoster, SigningKeys,
    Signs, Stamp, Statement, Target, Tenure, Unfit, UserRef, Verifies, Who, prove,
};
use prost::Message as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn key(text: &str) -> [u8; 32] {
    hex(text).try_into().unwrap()
}

fn uuid(text: &str) -> Uuid {
    text.parse::<MessageId>().unwrap().0
}

#[derive(Deserialize)]
struct Ids {
    chat_namespace: Uuid,
    home_ids: Vec<HomeIdVector>,
    home_ids_refused: Vec<String>,
    chats: Vec<ChatVector>,
    uuids_refused: Vec<String>,
}

#[derive(Deserialize)]
struct HomeIdVector {
    identity: String,
    home_id: String,
    home_id_hex: String,
}

#[derive(Deserialize)]
struct ChatVector {
    a: String,
    b: String,
    channel: String,
}

#[test]
fn ids() {
    let ids: Ids = read("ids.json");
    assert_eq!(ids.chat_namespace, Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"chat.homing"));
    for vector in ids.home_ids {
        let id = HomeId::of_identity(&key(&vector.identity));
        assert_eq!(id.to_string(), vector.home_id);
        assert_eq!(id.as_bytes()[..], hex(&vector.home_id_hex));
        assert_eq!(vector.home_id.parse(), Ok(id));
    }
    for text in ids.home_ids_refused {
        assert!(text.parse::<HomeId>().is_err(), "{text}");
    }
    for ChatVector { a, b, channel } in ids.chats {
        let id = ChannelId::chat(&a.parse().unwrap(), &b.parse().unwrap());
        assert_eq!(id.to_string(), channel, "{a} {b}");
    }
    for text in ids.uuids_refused {
        assert!(text.parse::<MessageId>().is_err(), "{text}");
    }
}

#[derive(Deserialize)]
struct Orders {
    ascending: Vec<OrderVector>,
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct OrderVector {
    ms: u64,
    counter: u64,
    origin: HomeId,
    epoch: u64,
    seq: u64,
    order: String,
}

#[test]
fn orders() {
    let orders: Orders = read("orders.json");
    for v in &orders.ascending {
        let order =
            Order::new(Stamp(v.ms << 16 | v.counter), &v.origin, Epoch(v.epoch), Seq(v.seq));
        assert_eq!(order.to_string(), v.order);
        assert_eq!(Order::parse(&v.order), Some(order));
    }
    assert!(orders.ascending.is_sorted_by(|a, b| a.order.as_bytes() < b.order.as_bytes()));
    for text in orders.refused {
        assert_eq!(Order::parse(&text), None, "{text}");
    }
}

#[derive(Deserialize)]
struct Headers {
    chain: Vec<EventVector>,
    unknown_fields: UnknownFields,
    refused: Vec<RefusedHeader>,
}

#[derive(Deserialize)]
struct EventVector {
    fields: HeaderFields,
    body: String,
    header: String,
    hash: String,
    order: String,
}

#[derive(Deserialize)]
struct UnknownFields {
    header: String,
    hash: String,
    fields: HeaderFields,
}

#[derive(Deserialize)]
struct RefusedHeader {
    name: String,
    reason: String,
    header: String,
}

#[derive(Deserialize)]
struct HeaderFields {
    channel: String,
    origin: HomeId,
    epoch: u64,
    seq: u64,
    prev: Hash,
    ms: u64,
    counter: u64,
    sender: String,
    id: MessageId,
    kind: u32,
    target: Option<TargetFields>,
    mentions: Vec<String>,
    roster: u64,
    body_size: u32,
    body_hash: Hash,
    media: Vec<MediaFields>,
}

#[derive(Deserialize)]
struct TargetFields {
    sender: String,
    id: MessageId,
}

#[derive(Deserialize)]
struct MediaFields {
    home: HomeId,
    id: String,
    hash: Hash,
    size: u64,
}

impl HeaderFields {
    fn header(&self) -> Header {
        Header {
            channel: ChannelId(uuid(&self.channel)),
            origin: self.origin,
            epoch: Epoch(self.epoch),
            seq: Seq(self.seq),
            prev: self.prev,
            stamp: Stamp(self.ms << 16 | self.counter),
            sender: self.sender.parse().unwrap(),
            id: self.id,
            kind: Kind::from_code(self.kind),
            target: self
                .target
                .as_ref()
                .map(|t| Target { sender: t.sender.parse().unwrap(), id: t.id }),
            mentions: self.mentions.iter().map(|m| m.parse().unwrap()).collect(),
            media: self
                .media
                .iter()
                .map(|m| MediaReference {
                    home: m.home,
                    id: uuid(&m.id),
                    hash: m.hash,
                    size: m.size,
                })
                .collect(),
            roster: self.roster,
            body_size: self.body_size,
            body_hash: self.body_hash,
        }
    }
}

#[test]
fn headers() {
    let headers: Headers = read("headers.json");
    let mut prev = Hash::NONE;
    for vector in headers.chain {
        let header = vector.fields.header();
        let bytes = hex(&vector.header);
        assert_eq!(header.encode(), bytes);
        let event = Event::from_bytes(bytes.into(), vector.body.into()).unwrap();
        assert_eq!(event.header, header);
        assert_eq!(event.header.prev, prev);
        assert_eq!(event.header.order().to_string(), vector.order);
        prev = event.hash();
        assert_eq!(prev.to_string(), vector.hash);
    }
    let unknown = headers.unknown_fields;
    assert_eq!(Header::decode(&hex(&unknown.header)), Ok(unknown.fields.header()));
    assert_eq!(Hash::of(&hex(&unknown.header)).to_string(), unknown.hash);
    for vector in headers.refused {
        let why = Header::decode(&hex(&vector.header)).expect_err(&vector.name);
        assert_eq!(why.reason(), vector.reason, "{}", vector.name);
    }
}

#[derive(Deserialize)]
struct Signed<T> {
    accepted: Vec<T>,
    refused: Vec<RefusedSigned>,
}

#[derive(Deserialize)]
struct RefusedSigned {
    name: String,
    reason: String,
    signed: String,
}

#[derive(Deserialize)]
struct RecordVector {
    fields: RecordFields,
    home_id: HomeId,
    record: String,
    signed: String,
}

#[derive(Deserialize)]
struct RecordFields {
    name: String,
    identity: String,
    signing_keys: Vec<String>,
    nodes: Vec<NodeFields>,
    epoch: u64,
    number: u64,
    protocols: Vec<String>,
    issued_at: u64,
}

#[derive(Deserialize)]
struct NodeFields {
    peer_id: String,
    addresses: Vec<String>,
}

#[test]
fn records() {
    let records: Signed<RecordVector> = read("records.json");
    for RecordVector { fields, home_id, record, signed } in records.accepted {
        let signed = hex(&signed);
        let read = HomeRecord::verify(&signed).unwrap();
        assert_eq!(read.home_id(), home_id);
        assert_eq!(SignedRecord::decode(&signed[..]).unwrap().record, hex(&record));
        let nodes = fields.nodes.into_iter();
        let expected = HomeRecord {
            name: fields.name.parse().unwrap(),
            identity: key(&fields.identity),
            signing_keys: fields.signing_keys.iter().map(|k| key(k)).collect(),
            nodes: nodes
                .map(|n| Node { peer_id: hex(&n.peer_id).into(), addresses: n.addresses })
                .collect(),
            epoch: Epoch(fields.epoch),
            number: fields.number,
            protocols: fields.protocols,
            issued_at: fields.issued_at,
        };
        assert_eq!(read, expected);
        // Encoding is deterministic, whoever signs.
        let any_key = ed25519_dalek::SigningKey::from_bytes(&Hash::of(&signed).0);
        let encoded = SignedRecord::decode(expected.sign(&any_key)).unwrap();
        assert_eq!(encoded.record, hex(&record));
    }
    for vector in records.refused {
        let why = HomeRecord::verify(&hex(&vector.signed)).expect_err(&vector.name);
        assert_eq!(why.reason(), vector.reason, "{}", vector.name);
    }
}

#[derive(Deserialize)]
struct Statements {
    signing_keys: Vec<String>,
    accepted: Vec<StatementVector>,
    unknown_fields: StatementVector,
    refused: Vec<RefusedSigned>,
}

#[derive(Deserialize)]
struct StatementVector {
    fields: StatementFields,
    statement: String,
    signed: String,
}

#[derive(Deserialize)]
struct StatementFields {
    epoch: u64,
    boot: u64,
    instance: String,
    peer_id: String,
    answering: String,
}

impl StatementFields {
    fn statement(&self) -> Statement {
        let answering = hex(&self.answering);
        Statement {
            epoch: Epoch(self.epoch),
            boot: self.boot,
            instance: hex(&self.instance).try_into().unwrap(),
            peer_id: hex(&self.peer_id).into(),
            answering: (!answering.is_empty()).then(|| answering.try_into().unwrap()),
        }
    }
}

#[test]
fn statements() {
    let vectors: Statements = read("statements.json");
    let keys = SigningKeys(vectors.signing_keys.iter().map(|k| key(k)).collect());
    for StatementVector { fields, statement, signed } in &vectors.accepted {
        let read = Statement::verify(&hex(signed), &keys).unwrap();
        assert_eq!(read, fields.statement());
        let any_key = ed25519_dalek::SigningKey::from_bytes(&Hash::of(&hex(signed)).0);
        let made = read.sign(&any_key);
        // Encoding is deterministic, whoever signs; and whoever signs is not believed.
        assert_eq!(SignedStatement::decode(&made[..]).unwrap().statement, hex(statement));
        assert_eq!(Statement::verify(&made, &keys).unwrap_err().reason(), "statement_key");
        let own = SigningKeys(vec![any_key.verifying_key().to_bytes()]);
        assert_eq!(Statement::verify(&made, &own), Ok(read));
    }
    let later = vectors.unknown_fields;
    assert_eq!(Statement::verify(&hex(&later.signed), &keys), Ok(later.fields.statement()));
    for vector in vectors.refused {
        let why = Statement::verify(&hex(&vector.signed), &keys).expect_err(&vector.name);
        assert_eq!(why.reason(), vector.reason, "{}", vector.name);
    }
}

#[derive(Deserialize)]
struct HeadsFile {
    signing_keys: Vec<String>,
    accepted: Vec<BurstVector>,
    refused: Vec<RefusedProof>,
}

#[derive(Deserialize)]
struct BurstVector {
    fields: BurstFields,
    key: String,
    root: String,
    message: String,
    signature: String,
    proofs: Vec<ProofVector>,
}

#[derive(Deserialize)]
struct BurstFields {
    origin: HomeId,
    epoch: u64,
    at: u64,
    heads: Vec<HeadFields>,
}

#[derive(Deserialize)]
struct HeadFields {
    channel: String,
    seq: u64,
    hash: Hash,
}

#[derive(Deserialize)]
struct ProofVector {
    index: usize,
    leaf: Hash,
    path: Vec<String>,
    proof: String,
}

#[derive(Deserialize)]
struct RefusedProof {
    name: String,
    reason: String,
    origin: HomeId,
    epoch: u64,
    head: HeadFields,
    proof: String,
}

impl HeadFields {
    fn head(&self) -> Head {
        Head { channel: ChannelId(uuid(&self.channel)), seq: Seq(self.seq), hash: self.hash }
    }

    /// What the tree is built of.
    fn leaf(&self) -> Hash {
        let (channel, seq) = (uuid(&self.channel), self.seq.to_be_bytes());
        Hash::of(&[&[0], &channel.as_bytes()[..], &seq, &self.hash.0].concat())
    }
}

/// Knows one signature, and what it is of.
struct Known {
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

impl Signs for Known {
    fn public(&self) -> [u8; 32] {
        self.key
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        assert_eq!(message, self.message);
        self.signature
    }
}

/// Checks as the record's keys do, and asks that the message be the one that is written down.
struct Asked<'a>(&'a Known, &'a SigningKeys);

impl Verifies for Asked<'_> {
    fn verify(
        &self,
        key: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), ProofError> {
        assert_eq!(message, self.0.message);
        self.1.verify(key, message, signature)
    }
}

#[test]
fn heads() {
    let vectors: HeadsFile = read("heads.json");
    let keys = SigningKeys(vectors.signing_keys.iter().map(|k| key(k)).collect());
    let check = |origin, epoch, head, proof: &str, keys: &dyn Verifies| {
        let proof = Proof::decode(&hex(proof)[..]).unwrap();
        Checker::default().check(origin, Epoch(epoch), head, &proof, keys)
    };
    let mut ends: Vec<ProvenHead> = Vec::new();
    for burst in vectors.accepted {
        let BurstFields { origin, epoch, at, heads } = burst.fields;
        let known = Known {
            key: key(&burst.key),
            message: hex(&burst.message),
            signature: hex(&burst.signature).try_into().unwrap(),
        };
        assert!(known.message.ends_with(&hex(&burst.root)));
        let list: Vec<Head> = heads.iter().map(HeadFields::head).collect();
        let made = prove(origin, Epoch(epoch), at, &list, &known);
        assert_eq!(made.len(), heads.len());
        for ProofVector { index, leaf, path, proof } in burst.proofs {
            assert_eq!(heads[index].leaf(), leaf);
            let path: Vec<Vec<u8>> = path.iter().map(|hash| hex(hash)).collect();
            assert_eq!(made[index].path, path);
            // Encoding is deterministic.
            assert_eq!(made[index].encode_to_vec(), hex(&proof));
            ends.push(check(origin, epoch, list[index], &proof, &Asked(&known, &keys)).unwrap());
        }
    }
    for vector in vectors.refused {
        let RefusedProof { name, reason, origin, epoch, head, proof } = vector;
        let why = check(origin, epoch, head.head(), &proof, &keys).expect_err(&name);
        assert_eq!(why.reason(), reason, "{name}");
    }
    // The first head of all is the end of the chain in the file of headers, and proves all of it.
    let chain = read::<Headers>("headers.json").chain;
    let mut end = ends.remove(0);
    for (event, below) in chain.iter().skip(1).zip(&chain).rev() {
        end = end.before(&hex(&event.header)).expect("a header of the chain");
        assert_eq!(end.head().hash.to_string(), below.hash);
        assert_eq!(end.head().seq, Seq(below.fields.seq));
    }
    assert_eq!(end.head().seq, Seq(1));
}

#[derive(Deserialize)]
struct Addresses {
    accepted: Vec<AddressVector>,
    refused: Vec<RefusedAddress>,
    users_accepted: Vec<String>,
    users_refused: Vec<RefusedAddress>,
}

#[derive(Deserialize)]
struct AddressVector {
    input: String,
    canonical: String,
    home_is: String,
}

#[derive(Deserialize)]
struct RefusedAddress {
    input: String,
    reason: String,
}

#[test]
fn addresses() {
    let addresses: Addresses = read("addresses.json");
    for v in addresses.accepted {
        let address: Address = v.input.parse().expect(&v.input);
        assert_eq!(address.to_string(), v.canonical);
        assert_eq!(v.canonical.parse(), Ok(address.clone()));
        let home_is = match address.home {
            HomeRef::Name(_) => "name",
            HomeRef::Id(_) => "id",
        };
        assert_eq!(home_is, v.home_is, "{}", v.input);
    }
    for v in addresses.refused {
        let why = v.input.parse::<Address>().expect_err(&v.input);
        assert_eq!(why.reason(), v.reason, "{:?}", v.input);
    }
    for text in addresses.users_accepted {
        assert_eq!(text.parse::<UserRef>().expect(&text).to_string(), text);
    }
    for v in addresses.users_refused {
        let why = v.input.parse::<UserRef>().expect_err(&v.input);
        assert_eq!(why.reason(), v.reason, "{:?}", v.input);
    }
}

#[derive(Deserialize)]
struct Bodies {
    accepted: Vec<BodyVector>,
    refused: Vec<RefusedBody>,
    not_compact: Vec<String>,
}

#[derive(Deserialize)]
struct BodyVector {
    name: String,
    input: String,
    limit: usize,
    compact: String,
    kind: String,
    mentions: Vec<String>,
    target: Option<TargetFields>,
}

#[derive(Deserialize)]
struct RefusedBody {
    name: String,
    input: String,
    limit: usize,
    reason: String,
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Media => "media",
        Kind::Edit => "edit",
        Kind::Delete => "delete",
        Kind::Reaction => "reaction",
        Kind::Custom => "custom",
        Kind::Notice => "notice",
        Kind::Unknown(_) => "unknown",
    }
}

#[test]
fn bodies() {
    let bodies: Bodies = read("bodies.json");
    for v in bodies.accepted {
        let body = Body::from_json(&v.input, v.limit).unwrap_or_else(|why| {
            panic!("{}: {why}", v.name);
        });
        assert_eq!(body.json, v.compact, "{}", v.name);
        assert_eq!(kind_name(body.kind), v.kind, "{}", v.name);
        let mentions: Vec<String> = body.mentions.iter().map(ToString::to_string).collect();
        assert_eq!(mentions, v.mentions, "{}", v.name);
        let target = v.target.map(|t| (t.sender.parse().unwrap(), t.id));
        assert_eq!(body.target, target, "{}", v.name);
        assert_eq!(compact_json(&v.input).unwrap(), v.compact, "{}", v.name);
        assert_eq!(Body::is_canonical(v.compact.as_bytes(), v.limit), Ok(body), "{}", v.name);
        let same = v.input == v.compact;
        let as_sent = Body::is_canonical(v.input.as_bytes(), v.input.len());
        assert_eq!(as_sent.is_ok(), same, "{}", v.name);
    }
    for v in bodies.refused {
        let why = Body::from_json(&v.input, v.limit).expect_err(&v.name);
        assert_eq!(why.reason(), v.reason, "{}", v.name);
    }
    for text in bodies.not_compact {
        let why = Body::is_canonical(text.as_bytes(), text.len()).expect_err(&text);
        assert_eq!(why.reason(), "not_compact", "{text}");
    }
}

#[derive(Deserialize)]
struct Rosters {
    accepted: Vec<RosterVector>,
    refused: Vec<RefusedSigned>,
}

#[derive(Deserialize)]
struct RosterVector {
    name: String,
    fields: RosterFields,
    roster: String,
    hash: Hash,
    signed: String,
    judged: Vec<Judged>,
}

#[derive(Deserialize)]
struct RosterFields {
    group: ChannelId,
    owner: HomeId,
    epoch: u64,
    version: u64,
    at: u64,
    prev: Hash,
    name: String,
    policies: Vec<PolicyFields>,
    tenures: Vec<TenureFields>,
    continues: Option<ChannelId>,
    avatar: Option<AvatarFields>,
}

#[derive(Deserialize)]
struct AvatarFields {
    home: HomeId,
    id: Uuid,
    hash: Hash,
    size: u64,
}

impl AvatarFields {
    fn file(&self) -> MediaReference {
        MediaReference { home: self.home, id: self.id, hash: self.hash, size: self.size }
    }
}

#[derive(Deserialize)]
struct PolicyFields {
    from: u64,
    policy: HashMap<String, String>,
    fences: Vec<HomeFence>,
}

#[derive(Deserialize)]
struct HomeFence {
    home: HomeId,
    lives: Vec<Life>,
}

#[derive(Deserialize)]
struct Life {
    epoch: u64,
    seq: u64,
}

#[derive(Deserialize)]
struct TenureFields {
    user: String,
    role: String,
    from: u64,
    until: Option<u64>,
    fence: Option<Vec<Life>>,
    by: String,
}

#[derive(Deserialize)]
struct Judged {
    user: String,
    right: String,
    version: u64,
    epoch: u64,
    seq: u64,
    verdict: String,
}

fn fence(lives: &[Life]) -> Fence {
    Fence::new(lives.iter().map(|l| ChainPos { epoch: Epoch(l.epoch), seq: Seq(l.seq) }))
}

impl PolicyFields {
    fn span(&self) -> PolicySpan {
        let who = |key: &str| match &*self.policy[key] {
            "everybody" => Who::Everybody,
            "admins" => Who::Admins,
            other => panic!("{other}"),
        };
        let history = match &*self.policy["history"] {
            "none" => RosterHistory::Nothing,
            "joined" => RosterHistory::Joined,
            "all" => RosterHistory::All,
            other => panic!("{other}"),
        };
        let (invite, write, change) = (who("invite"), who("write"), who("change"));
        PolicySpan {
            from: self.from,
            policy: Policy { invite, write, change, history },
            fences: self.fences.iter().map(|f| (f.home, fence(&f.lives))).collect(),
        }
    }
}

impl TenureFields {
    fn tenure(&self) -> Tenure {
        let role = match &*self.role {
            "invited" => Role::Invited,
            "member" => Role::Member,
            "admin" => Role::Admin,
            "owner" => Role::Owner,
            other => panic!("{other}"),
        };
        Tenure {
            user: self.user.parse().unwrap(),
            role,
            from: self.from,
            until: self.until,
            fence: self.fence.as_deref().map(fence),
            by: self.by.parse().unwrap(),
        }
    }
}

#[test]
fn rosters() {
    let vectors: Rosters = read("rosters.json");
    for vector in &vectors.accepted {
        let (name, fields) = (&vector.name, &vector.fields);
        let signed = SignedRoster::verify(hex(&vector.signed).into()).expect(name);
        let roster = Roster {
            group: fields.group,
            owner: fields.owner,
            epoch: Epoch(fields.epoch),
            version: fields.version,
            at: fields.at,
            prev: fields.prev,
            name: fields.name.clone(),
            policies: fields.policies.iter().map(PolicyFields::span).collect(),
            tenures: fields.tenures.iter().map(TenureFields::tenure).collect(),
            continues: fields.continues,
            avatar: fields.avatar.as_ref().map(AvatarFields::file),
        };
        assert_eq!(*signed.roster(), roster, "{name}");
        assert_eq!(signed.hash(), vector.hash, "{name}");
        assert_eq!(roster.encode(), hex(&vector.roster), "{name}");
        for judged in &vector.judged {
            let right = match &*judged.right {
                "write" => Right::Write,
                "moderate" => Right::Moderate,
                other => panic!("{other}"),
            };
            let at = ChainPos { epoch: Epoch(judged.epoch), seq: Seq(judged.seq) };
            let verdict = match roster.may(&judged.user.parse().unwrap(), right, judged.version, at)
            {
                Ok(()) => "counts",
                Err(Unfit::NoRight) => "no_right",
                Err(Unfit::Fenced) => "fenced",
                Err(Unfit::Newer) => "newer",
            };
            let Judged { user, version, epoch, seq, .. } = judged;
            assert_eq!(verdict, judged.verdict, "{user} {} {version} {epoch} {seq}", judged.right);
        }
    }
    for vector in vectors.refused {
        let why = SignedRoster::verify(hex(&vector.signed).into()).expect_err(&vector.name);
        assert_eq!(why.reason(), vector.reason, "{}", vector.name);
    }
}

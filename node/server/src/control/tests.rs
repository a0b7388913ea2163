use homing_core::{
    ListChange, ListCommand, NewDevice, Policy, SendCommand, Target, UserList, ViewChange,
};
use homing_store::{MemoryStore, Store as _};
use homing_wire::{Epoch, Kind, MessageId};
use uuid::Uuid;

use super::*;
use crate::operator::decide;

const OWN: HomeId = HomeId([1; 32]);
const GLOBEX: HomeId = HomeId([2; 32]);
const NOW: u64 = 1_700_000_000_000;

struct Bench {
    home: Home,
    store: MemoryStore,
    live: PeersLive,
}

impl Bench {
    fn new() -> Self {
        let store = MemoryStore::new(OWN, Epoch(NOW));
        let meta = store.meta();
        let home =
            Home::new(OWN, meta.epoch, Policy::default(), meta.change, meta.stamp, NOW, &store)
                .unwrap();
        Self { home, store, live: PeersLive { running: true, homes: BTreeMap::new() } }
    }

    fn at(&mut self, now_ms: u64, control: Control) -> Result<Applied, ControlError> {
        decide(&mut self.home, &self.store, &self.live, now_ms, control)
    }

    fn ask(&mut self, control: Control) -> Result<Applied, ControlError> {
        self.at(NOW, control)
    }

    /// The word of a refusal, which must have changed nothing.
    fn refused(&mut self, control: Control) -> String {
        let error = self.ask(control).unwrap_err();
        assert!(!self.home.has_step(), "a refusal has changed nothing: {error}");
        error.reason().to_owned()
    }

    fn add(&mut self, user: &str) {
        self.ask(add(user)).unwrap();
    }

    fn commit(&mut self) {
        let step = self.home.take_step();
        self.store.commit(&step.batch).unwrap();
        self.home.committed(step.number);
    }

    fn sign_in(&mut self, user: &str, token: u8) -> DeviceId {
        let id = DeviceId(Uuid::from_u128(u128::from(token)));
        let new = NewDevice {
            user: local(user),
            id,
            token: TokenHash([token; 32]),
            name: "phone".into(),
            checked: self
                .home
                .account(&self.store, &local(user))
                .unwrap()
                .unwrap()
                .password
                .clone(),
        };
        self.home.add_device(&self.store, NOW, new).unwrap();
        self.commit();
        id
    }

    fn send(&mut self, from: &str, to: UserRef) {
        let command = SendCommand {
            sender: local(from),
            target: Target::To(to),
            id: None,
            fresh_id: MessageId(Uuid::now_v7()),
            op: None,
            kind: Kind::Text,
            body: br#"{"type":"text","text":"hello"}"#[..].into(),
            mentions: Vec::new(),
            about: None,
            media: Vec::new(),
        };
        self.home.send(&self.store, NOW + 5, command).unwrap();
        self.commit();
    }

    fn queue(&mut self) -> Vec<QueueRow> {
        let reply = self.ask(Control::PeerQueue).unwrap().reply;
        let ControlReply::Queue { homes } = reply else { panic!("{reply:?}") };
        homes
    }
}

fn local(user: &str) -> Local {
    user.parse().unwrap()
}

/// A hash that is well formed; nobody's password.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$Zm9ydHl0d29mb3J0eXR3b2ZvcnR5dHdvZm9ydHl0d28";

fn add(user: &str) -> Control {
    Control::UserAdd {
        user: local(user),
        user_id: UserId(Uuid::now_v7()),
        display_name: None,
        password: HASH.into(),
    }
}

fn named(name: &str) -> HomeRef {
    name.parse().unwrap()
}

#[test]
fn whoever_is_shut_out_is_signed_out() {
    let mut bench = Bench::new();
    bench.add("alice");
    let shutting = [
        Control::UserState { user: local("alice"), active: false },
        Control::UserPassword { user: local("alice"), password: HASH.into() },
        Control::UserDelete { user: local("alice") },
    ];
    for (n, control) in (1..).zip(shutting) {
        bench.ask(Control::UserState { user: local("alice"), active: true }).unwrap();
        let device = bench.sign_in("alice", n);
        let done = bench.ask(control).unwrap();
        let gone = ControlEffect::SignOut { user: local("alice"), devices: vec![device] };
        assert_eq!(done.effects, [gone]);
        assert!(bench.store.devices(&local("alice")).unwrap().is_empty());
    }
    let account = bench.store.account(&local("alice")).unwrap().unwrap();
    assert_eq!((account.state, account.password.as_str()), (AccountState::Deleted, ""));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.add("alice");
    let plain = Control::UserPassword { user: local("alice"), password: "plain text".into() };
    assert_eq!(bench.refused(plain), "invalid_hash");
    let nobody = Control::UserState { user: local("nobody"), active: false };
    assert_eq!(bench.refused(nobody), "user_not_found");
    let nameless = Control::UserAdd {
        user: local("bob"),
        user_id: UserId(Uuid::now_v7()),
        display_name: Some("\u{7}".into()),
        password: HASH.into(),
    };
    assert_eq!(bench.refused(nameless), "invalid_display_name");
    assert_eq!(bench.refused(add("alice")), "user_exists");
    let own = HomeRef::Id(OWN);
    assert_eq!(bench.refused(Control::HomeBlock { home: own, blocked: true }), "own_home");
    let stranger = Control::HomeShow { home: named("globex.test") };
    assert_eq!(bench.refused(stranger), "home_not_found");
}

#[test]
fn users_come_in_pages() {
    let mut bench = Bench::new();
    for n in 0..=USERS_PAGE {
        bench.add(&format!("u{n:04}"));
    }
    let page = |bench: &mut Bench, after| {
        let reply = bench.ask(Control::UserList { after }).unwrap().reply;
        let ControlReply::Users { users, more } = reply else { panic!("{reply:?}") };
        (users, more)
    };
    let (first, more) = page(&mut bench, None);
    assert_eq!((first.len(), more), (USERS_PAGE, true));
    let (rest, more) = page(&mut bench, first.last().map(|row| row.user.clone()));
    assert_eq!((rest.len(), more), (1, false));
    assert_eq!(rest[0].user, local(&format!("u{USERS_PAGE:04}")));
}

#[test]
fn expired_and_used_invites_are_not_open() {
    let mut bench = Bench::new();
    let invite = |n: u8, uses, expires_at| Control::InviteCreate {
        code: TokenHash([n; 32]),
        hint: "same".into(),
        uses,
        expires_at,
    };
    bench.ask(invite(1, 2, Some(NOW + 10))).unwrap();
    bench.ask(invite(2, 1, None)).unwrap();
    assert_eq!(bench.refused(invite(3, 0, None)), "invalid_uses");
    assert_eq!(bench.refused(invite(3, 1, Some(NOW))), "already_expired");
    let revoke = |n: u8| Control::InviteRevoke { code: TokenHash([n; 32]), hint: "same".into() };
    assert_eq!(bench.refused(revoke(9)), "ambiguous_invite");
    let open = |bench: &mut Bench, now| {
        let reply = bench.at(now, Control::InviteList).unwrap().reply;
        let ControlReply::Invites { invites } = reply else { panic!("{reply:?}") };
        invites.len()
    };
    assert_eq!(open(&mut bench, NOW), 2);
    assert_eq!(open(&mut bench, NOW + 10), 1);
    bench.ask(revoke(2)).unwrap();
    assert_eq!(open(&mut bench, NOW + 10), 0);
}

#[test]
fn the_queue_says_what_is_owed_since_when_and_why() {
    let mut bench = Bench::new();
    bench.add("alice");
    assert!(bench.queue().is_empty());
    for (user, count) in [("bob", 3), ("carol", 1)] {
        for _ in 0..count {
            bench.send("alice", UserRef::new(GLOBEX, local(user)));
        }
    }
    let row = bench.queue().remove(0);
    assert_eq!((row.home_id, row.channels, row.events, row.since), (GLOBEX, 2, 4, NOW + 5));
    assert_eq!(row.why, "not connected: no attempt has ended yet");

    let name: HomeName = "globex.test".parse().unwrap();
    let mut live = PeerLive { name: Some(name.clone()), ..PeerLive::default() };
    live.last_error = Some("connection refused".into());
    live.attempts = 2;
    bench.live.homes.insert(GLOBEX, live.clone());
    let row = bench.queue().remove(0);
    assert_eq!(row.home, Some(name));
    assert_eq!(row.why, "not connected: connection refused (2 attempts)");
    live.connected = true;
    bench.live.homes.insert(GLOBEX, live);
    assert_eq!(bench.queue()[0].why, "connected, not yet acknowledged");
    bench.live.running = false;
    assert_eq!(bench.queue()[0].why, "this node is stopped");

    let done = bench.ask(Control::HomeBlock { home: named("globex.test"), blocked: true }).unwrap();
    assert_eq!(done.effects, [ControlEffect::Blocked(GLOBEX)]);
    assert_eq!(bench.queue()[0].why, "blocked by the operator of this home");

    // Acknowledged in full, it has no row.
    let owed: Vec<_> = bench.home.owed()[&GLOBEX].keys().copied().collect();
    for channel in owed {
        let have = bench.store.channel(channel).unwrap().unwrap().chains[0].seq;
        bench.home.acknowledged(&bench.store, GLOBEX, channel, Epoch(NOW), have).unwrap().unwrap();
    }
    bench.commit();
    assert!(bench.queue().is_empty());
}

#[test]
fn an_export_holds_everything_page_by_page() {
    let mut bench = Bench::new();
    bench.add("alice");
    bench.add("bob");
    bench.sign_in("alice", 1);
    for _ in 0..300 {
        bench.send("alice", UserRef::new(OWN, local("bob")));
    }
    bench.send("alice", UserRef::new(GLOBEX, local("carol")));
    let change = ViewChange { draft: Some("unsaid".into()), ..ViewChange::default() };
    let chat =
        ChannelId::chat(&UserRef::new(OWN, local("alice")), &UserRef::new(GLOBEX, local("carol")));
    bench.home.update_view(&bench.store, NOW, &local("alice"), chat, &change, None).unwrap();
    bench.commit();
    let (mut rows, mut place, mut pages) = (Vec::new(), None, 0);
    loop {
        let control = Control::UserExport { user: local("alice"), place };
        let ControlReply::Export { rows: page, next } = bench.ask(control).unwrap().reply else {
            panic!("not an export");
        };
        rows.extend(page);
        pages += 1;
        place = next;
        if place.is_none() {
            break;
        }
    }
    assert!(pages > 1);
    let count = |wanted: fn(&ExportRow) -> bool| rows.iter().filter(|r| wanted(r)).count();
    assert_eq!(count(|r| matches!(r, ExportRow::Account { .. })), 1);
    assert_eq!(count(|r| matches!(r, ExportRow::Device { .. })), 1);
    assert_eq!(count(|r| matches!(r, ExportRow::Channel { .. })), 2);
    assert_eq!(count(|r| matches!(r, ExportRow::Message { .. })), 301);
    let own = rows.iter().find(|r| matches!(r, ExportRow::OwnView { .. })).unwrap();
    let line = own.line(|user| user.local.to_string()).unwrap();
    assert!(line.contains(r#""draft":"unsaid""#), "{line}");
    let line = rows
        .iter()
        .rfind(|r| matches!(r, ExportRow::Message { .. }))
        .unwrap()
        .line(|user| user.local.to_string())
        .unwrap();
    assert!(line.contains(r#""body":{"type":"text","text":"hello"}"#), "{line}");

    // Nobody's channel but one's own: bob does not get carol's.
    let place = rows.iter().find_map(|row| match row {
        ExportRow::Channel { channel, members, .. }
            if members.iter().any(|m| m.user.home == GLOBEX) =>
        {
            Some(ExportPlace { channel: *channel, pos: homing_wire::Pos(1) })
        }
        ExportRow::Channel { .. }
        | ExportRow::Account { .. }
        | ExportRow::Device { .. }
        | ExportRow::Listed { .. }
        | ExportRow::OwnView { .. }
        | ExportRow::Message { .. } => None,
    });
    assert!(place.is_some());
    let control = Control::UserExport { user: local("bob"), place };
    let ControlReply::Export { rows, .. } = bench.ask(control).unwrap().reply else {
        panic!("not an export");
    };
    let foreign = |row: &ExportRow| match row {
        ExportRow::Channel { channel, .. }
        | ExportRow::OwnView { channel, .. }
        | ExportRow::Message { channel, .. } => Some(*channel) == place.map(|p| p.channel),
        ExportRow::Account { .. } | ExportRow::Device { .. } | ExportRow::Listed { .. } => false,
    };
    assert!(!rows.iter().any(foreign));
    let control = Control::UserExport { user: local("nobody"), place: None };
    assert_eq!(bench.refused(control), "user_not_found");
}

#[test]
fn an_export_has_the_lists_of_a_user_and_nothing_that_is_hidden_from_it() {
    let mut bench = Bench::new();
    bench.add("alice");
    bench.add("bob");
    let (bob, carol) = (UserRef::new(OWN, local("bob")), UserRef::new(GLOBEX, local("carol")));
    for (list, other) in [(UserList::Contacts, &carol), (UserList::Blocks, &bob)] {
        let (owner, change) = (local("alice"), ListChange::Add);
        let command = ListCommand { owner, list, other: other.clone(), change, op: None };
        bench.home.change_list(&bench.store, NOW, &command).unwrap();
    }
    bench.commit();
    bench.send("alice", bob.clone());
    bench.send("bob", UserRef::new(OWN, local("alice")));
    let mut messages = |user: &str| {
        let control = Control::UserExport { user: local(user), place: None };
        let ControlReply::Export { rows, .. } = bench.ask(control).unwrap().reply else {
            panic!("not an export");
        };
        let count = rows.iter().filter(|r| matches!(r, ExportRow::Message { .. })).count();
        (count, rows)
    };
    assert_eq!(messages("bob").0, 2);
    let (count, rows) = messages("alice");
    assert_eq!(count, 1, "what bob wrote is hidden from alice");
    let listed: Vec<serde_json::Value> = rows
        .iter()
        .filter(|row| matches!(row, ExportRow::Listed { .. }))
        .map(|row| row.line(|user| user.local.to_string()).unwrap())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert_eq!(
        listed,
        [
            serde_json::json!({"kind": "contact", "user": "carol", "since": NOW}),
            serde_json::json!({"kind": "block", "user": "bob", "since": NOW}),
        ]
    );
}

//! Contacts, blocks, what people say of themselves, and accounts that their owners delete.

use homing_client::{
    Channel, Client, Error, Event, Events, Privacy, Refusal, UserList, UserUpdate, Uuid, ViewUpdate,
};
use homing_testnet::homes::PASSWORD;
use serde_json::{Value, json};

use crate::party::{Party, history, next, next_message, say, text};

/// The code and the reason of a refusal, and the limit that it names.
fn refusal<T>(result: Result<T, Error>) -> (i64, String, Option<u64>) {
    match result {
        Err(Error::Refused(Refusal { code, reason, limit, .. })) => (code, reason, limit),
        Err(error) => panic!("not refused: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

async fn ask(client: &Client, method: &str, params: Value) -> Result<Value, Error> {
    client.call(method, &params).await
}

async fn texts(client: &Client, channel: Uuid) -> Vec<String> {
    history(client, channel).await.iter().map(text).collect()
}

async fn chat_with(client: &Client, address: &str) -> Option<Channel> {
    let all = client.all_channels().await.unwrap();
    all.into_iter().find(|channel| channel.with.as_deref() == Some(address))
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_users_of_any_home_that_is_known() {
    let limits = [("HOMING_LIMITS__CONTACTS", "3"), ("HOMING_LIMITS__BLOCKS", "2")];
    let mut party = Party::with(&["acme.test", "globex.test"], &limits).await;
    let (alice, _) = party.client(0, "alice").await;
    party.homes[0].register("bob").await.unwrap();
    let globex = party.homes[1].identity().home_id.clone();
    for (list, most) in [(UserList::Contacts, 3), (UserList::Blocks, 2)] {
        let name = if list == UserList::Contacts { "contacts" } else { "blocks" };
        assert_eq!(alice.all_users_in(list).await.unwrap(), [""; 0]);
        // Nobody asks globex whether it has them; its name is what an address by its id is shown as.
        alice.add_to(list, "carol@globex.test").await.unwrap();
        alice.add_to(list, &format!("dave@{globex}")).await.unwrap();
        alice.add_to(list, "carol@globex.test").await.unwrap();
        let mut expected = vec!["carol@globex.test", "dave@globex.test"];
        if most == 3 {
            alice.add_to(list, "Bob@acme.test").await.unwrap();
            expected.push("bob@acme.test");
        }
        let mut users = alice.all_users_in(list).await.unwrap();
        users.sort_unstable();
        expected.sort_unstable();
        assert_eq!(users, expected);

        let too_many = format!("too_many_{name}");
        let more = refusal(alice.add_to(list, "erin@globex.test").await);
        assert_eq!(more, (-32009, too_many, Some(most)));
        let reason = |result| {
            let (code, reason, _) = refusal(result);
            (code, reason)
        };
        let is = |code: i64, reason: &str| (code, reason.to_owned());
        alice.remove_from(list, "dave@globex.test").await.unwrap();
        assert_eq!(reason(alice.add_to(list, "alice@acme.test").await), is(-32602, "oneself"));
        assert_eq!(
            reason(alice.add_to(list, "ghost@acme.test").await),
            is(-32004, "user_not_found")
        );
        assert_eq!(reason(alice.add_to(list, "x@nowhere.test").await), is(-32004, "unknown_home"));
        let made_up = format!("x@{}", homing_wire::HomeId([9; 32]));
        assert_eq!(reason(alice.add_to(list, &made_up).await), is(-32004, "unknown_home"));
        assert_eq!(
            reason(alice.remove_from(list, "x@nowhere.test").await),
            is(-32004, "unknown_home")
        );
        alice.remove_from(list, "dave@globex.test").await.unwrap();

        // Page by page, all and none twice.
        let first = alice.users_in(list, None, 1).await.unwrap();
        let mut paged = first.users;
        let mut cursor = first.cursor;
        while let Some(after) = cursor {
            let page = alice.users_in(list, Some(&after), 1).await.unwrap();
            assert_eq!(page.users.len(), 1);
            paged.extend(page.users);
            cursor = page.cursor;
        }
        assert_eq!(paged, alice.all_users_in(list).await.unwrap());
        let wrong = ask(&alice, &format!("{name}.list"), json!({"cursor": "nobody"})).await;
        assert_eq!(reason(wrong.map(drop)), is(-32602, "bad_cursor"));
    }

    // An op is one change: what it has done is not done again, not even over a restart.
    let op = Uuid::now_v7();
    let add = json!({"user": "zoe@globex.test", "op": op});
    assert_eq!(ask(&alice, "contacts.add", add.clone()).await.unwrap(), json!({}));
    alice.remove_from(UserList::Contacts, "zoe@globex.test").await.unwrap();
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    assert_eq!(ask(&alice, "contacts.add", add).await.unwrap(), json!({}));
    let mut contacts = alice.all_users_in(UserList::Contacts).await.unwrap();
    contacts.sort_unstable();
    assert_eq!(contacts, ["bob@acme.test", "carol@globex.test"]);
    assert_eq!(alice.all_users_in(UserList::Blocks).await.unwrap(), ["carol@globex.test"]);
    let body = json!({"type": "text", "text": "hi"});
    let send = json!({"to": "bob@acme.test", "body": body, "op": op});
    let (code, reason, _) = refusal(ask(&alice, "messages.send", send).await);
    assert_eq!((code, reason.as_str()), (-32008, "op_reused"));
}

/// Waits until `speaker`, who is heard like anybody, has got through; answers the messages that came before.
async fn until_heard(events: &mut Events, word: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let message = next_message(events).await;
        let text = text(&message);
        if text == word {
            return heard;
        }
        heard.push(text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_blocked_is_neither_heard_nor_told() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (bob, _bob_hears) = party.client(0, "bob").await;
    let (carol, mut carol_hears) = party.client(1, "carol").await;
    let (dave, mut dave_hears) = party.client(1, "dave").await;
    // One blocked user is of another home, one of alice's own.
    for (who, address) in [(&carol, "carol@globex.test"), (&bob, "bob@acme.test")] {
        let before = say(who, "alice@acme.test", "before").await;
        next_message(&mut alice_hears).await;
        alice.add_to(UserList::Blocks, address).await.unwrap();
        let seen = next(&mut alice_hears, |event| match event {
            Event::Channel(channel) if channel.unread == 0 => Some((**channel).clone()),
            _ => None,
        })
        .await;
        assert_eq!(seen.channel, before.channel, "nothing of a blocked user is unread");

        say(who, "alice@acme.test", "hidden").await;
        // By the time that dave is heard behind it, something of it would have been.
        let channel = before.channel;
        let mut n = 0;
        let dave_said = loop {
            n += 1;
            let arrived = alice.channel(channel).await.unwrap().head == 2;
            let word = format!("after {address} {n}");
            let said = say(&dave, "alice@acme.test", &word).await;
            assert_eq!(until_heard(&mut alice_hears, &word).await, [""; 0]);
            if arrived {
                break said;
            }
        };
        let view = alice.channel(channel).await.unwrap();
        assert_eq!((view.unread, view.last.map(|m| text(&m))), (0, Some("before".to_owned())));
        assert_eq!(texts(&alice, channel).await, ["before"]);
        assert_eq!(
            texts(who, channel).await,
            ["before", "hidden"],
            "the sender sees no difference"
        );
        let hidden = history(who, channel).await.pop().unwrap();
        let got = alice.message(channel, hidden.id, Some(address)).await;
        assert_eq!(refusal(got).1, "message_not_found");
        // What was last is last in the list, too.
        let list = alice.all_channels().await.unwrap();
        assert_eq!(list[0].with.as_deref(), Some("dave@globex.test"));

        // Alice marks all there is, and writes: it is not told as read.
        alice.mark_read(channel, alice.channel(channel).await.unwrap().head).await.unwrap();
        say(&alice, address, "my own word").await;
        // Marks of one moment are told together.
        alice.mark_read(dave_said.channel, dave_said.pos).await.unwrap();
        next(&mut dave_hears, |event| match event {
            Event::Receipt(receipt) if receipt.read == dave_said.pos => Some(()),
            _ => None,
        })
        .await;
        let (told, own) = (who.channel(channel).await.unwrap(), "alice@acme.test");
        let mark = told.marks.iter().find(|mark| mark.user == own).unwrap();
        assert!(mark.read < hidden.pos && mark.delivered < hidden.pos, "{mark:?}");
        assert_eq!(alice.all_users_in(UserList::Blocks).await.unwrap(), [address]);

        alice.remove_from(UserList::Blocks, address).await.unwrap();
        say(who, "alice@acme.test", "heard again").await;
        assert_eq!(until_heard(&mut alice_hears, "heard again").await, [""; 0]);
        assert_eq!(texts(&alice, channel).await, ["before", "my own word", "heard again"]);
    }

    // Between homes, what alice reads after that is told again.
    let channel = chat_with(&alice, "carol@globex.test").await.unwrap();
    alice.mark_read(channel.channel, channel.head).await.unwrap();
    next(&mut carol_hears, |event| match event {
        Event::Receipt(receipt) if receipt.user == "alice@acme.test" && receipt.read > 2 => {
            Some(())
        }
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_a_blocked_user_begins_is_not_seen() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (carol, mut carol_hears) = party.client(1, "carol").await;
    let (dave, _dave_hears) = party.client(1, "dave").await;
    alice.add_to(UserList::Blocks, "carol@globex.test").await.unwrap();
    let hidden = say(&carol, "alice@acme.test", "let me in").await;
    say(&dave, "alice@acme.test", "hello").await;
    assert_eq!(until_heard(&mut alice_hears, "hello").await, [""; 0]);
    let list = alice.all_channels().await.unwrap();
    assert_eq!(
        list.iter().filter_map(|c| c.with.as_deref()).collect::<Vec<_>>(),
        ["dave@globex.test"]
    );
    assert_eq!(refusal(alice.channel(hidden.channel).await).0, -32004);

    // Restarted, too; then unblocked, carol begins anew.
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    assert!(chat_with(&alice, "carol@globex.test").await.is_none());
    alice.remove_from(UserList::Blocks, "carol@globex.test").await.unwrap();
    say(&carol, "alice@acme.test", "please").await;
    next(&mut alice_hears, |event| match event {
        Event::Channel(channel) if channel.channel == hidden.channel => Some(()),
        Event::Message(message) => panic!("a message before its channel: {message:?}"),
        _ => None,
    })
    .await;
    let heard = next_message(&mut alice_hears).await;
    assert_eq!((text(&heard).as_str(), heard.channel), ("please", hidden.channel));
    assert_eq!(texts(&alice, hidden.channel).await, ["please"]);
    alice.mark_read(hidden.channel, heard.pos).await.unwrap();
    next(&mut carol_hears, |event| match event {
        Event::Receipt(receipt) if receipt.channel == hidden.channel && receipt.read == 2 => {
            Some(())
        }
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_of_themselves() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let (carol, _) = party.client(1, "carol").await;
    let set = |groups: &str, last_seen: Option<&str>| {
        let [groups, last_seen] = [Some(groups), last_seen].map(|word| word.map(str::to_owned));
        Some(Privacy { groups, last_seen, ..Privacy::default() })
    };
    let groups = |groups: &str| {
        let said = set(groups, Some("contacts"));
        said.map(|said| Privacy { read_receipts: Some(true), ..said })
    };
    assert_eq!(alice.opened().user.privacy, groups("contacts"));
    let update = UserUpdate { display_name: Some("Alice 🦊".into()), ..UserUpdate::default() };
    let said = alice.update_user(&update).await.unwrap();
    assert_eq!((said.display_name.as_str(), said.privacy), ("Alice 🦊", groups("contacts")));
    let update = UserUpdate { privacy: set("everyone", None), ..UserUpdate::default() };
    let said = alice.update_user(&update).await.unwrap();
    assert_eq!((said.display_name.as_str(), said.privacy), ("Alice 🦊", groups("everyone")));
    // Others see the name, here and elsewhere; what alice lets others do is hers to know.
    for (who, privacy) in [(&alice, groups("everyone")), (&bob, None), (&carol, None)] {
        let seen = who.user("alice@acme.test").await.unwrap();
        assert_eq!((seen.display_name.as_str(), seen.privacy), ("Alice 🦊", privacy));
    }
    let long = "x".repeat(101);
    for wrong in [
        json!({"display_name": " "}),
        json!({"display_name": "a\nb"}),
        json!({"display_name": long}),
    ] {
        let refused = refusal(ask(&alice, "users.update", wrong).await);
        assert_eq!(refused, (-32602, "invalid_display_name".to_owned(), Some(100)));
    }
    let wrong = json!({"privacy": {"groups": "nobody"}});
    assert_eq!(refusal(ask(&alice, "users.update", wrong).await).0, -32602);
    // What this home does not know is passed over.
    let newer = json!({"banner": {}, "privacy": {"x": "nobody"}});
    let said = ask(&alice, "users.update", newer).await.unwrap();
    assert_eq!(
        said["privacy"],
        json!({"last_seen": "contacts", "read_receipts": true, "groups": "everyone"})
    );

    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    let me = &alice.opened().user;
    assert_eq!((me.display_name.as_str(), &me.privacy), ("Alice 🦊", &groups("everyone")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_deletes_the_account_is_gone_for_good() {
    let limits = [("HOMING_LIMITS__LOGIN_FAILURES_PER_ACCOUNT", "3")];
    let mut party = Party::with(&["acme.test", "globex.test"], &limits).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let (carol, mut carol_hears) = party.client(1, "carol").await;
    let server = party.homes[0].server().unwrap();
    // A second device of alice's.
    let second = server.login("alice", PASSWORD, None).await.unwrap();
    let options = homing_client::Options::new(server.clone(), second.token.clone());
    let (_second, mut second_hears) = Client::connect(options).await.unwrap();
    let channel = say(&alice, "carol@globex.test", "hi").await.channel;
    next_message(&mut carol_hears).await;
    say(&alice, "bob@acme.test", "hi").await;
    alice.add_to(UserList::Contacts, "carol@globex.test").await.unwrap();
    alice.add_to(UserList::Blocks, "bob@acme.test").await.unwrap();

    let (code, reason, _) = refusal(alice.delete_account("wrong horse").await);
    assert_eq!((code, reason.as_str()), (-32003, "bad_credentials"));
    assert!(bob.user("alice@acme.test").await.is_ok(), "nothing was changed");
    alice.delete_account(PASSWORD).await.unwrap();
    for events in [&mut alice_hears, &mut second_hears] {
        let end = next(events, |event| match event {
            Event::Ended(error) => Some(error.clone()),
            _ => None,
        })
        .await;
        assert!(matches!(end, Error::SignedOut { .. }), "ended otherwise: {end}");
    }
    // Nobody is signed in, signs in, takes the name, or is found.
    let again = homing_client::Options::new(server.clone(), second.token);
    assert_eq!(Client::connect(again).await.err().unwrap().reason(), "signed_out");
    let login = server.login("alice", PASSWORD, None).await.err().unwrap();
    assert_eq!(login.reason(), "bad_credentials");
    let taken = server.register("alice", PASSWORD, None, None).await.unwrap_err();
    assert_eq!(taken.reason(), "user_exists");
    assert_eq!(refusal(bob.user("alice@acme.test").await).0, -32004);
    // Nobody's words reach her: here refused at once, elsewhere as soon as her home has said so.
    let body = homing_client::TextBody::new("still there?");
    assert_eq!(refusal(bob.send_to("alice@acme.test", &body).await).0, -32004);
    let refused = loop {
        if let Err(error) = carol.send_to("alice@acme.test", &body).await {
            break error;
        }
        next(&mut carol_hears, |event| match event {
            Event::Channel(view) if view.channel == channel => Some(()),
            _ => None,
        })
        .await;
    };
    assert_eq!(refusal::<()>(Err(refused)), (-32004, "user_gone".to_owned(), None));
    // Guessing at an open session is limited as signing in is.
    let (eve, _) = party.client(0, "eve").await;
    for _ in 0..3 {
        assert_eq!(refusal(eve.delete_account("wrong horse").await).1, "bad_credentials");
    }
    let (code, reason, _) = refusal(eve.delete_account(PASSWORD).await);
    assert_eq!((code, reason.as_str()), (-32005, "too_many_attempts"));
    // The operator sees an account like one that `homing user delete` has ended.
    party.homes[0].command(&["user", "delete", "bob", "--yes"]).await.unwrap();
    let rows = party.homes[0].command(&["user", "list", "--json"]).await.unwrap();
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let state = |user: &str| rows.iter().find(|row| row["user"] == user).unwrap()["state"].clone();
    assert_eq!((state("alice"), state("eve")), (state("bob"), json!("active")), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_takes_lists_along_and_what_is_hidden() {
    let mut party = Party::of(&["acme.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let channel = say(&bob, "alice@acme.test", "before").await.channel;
    alice.add_to(UserList::Contacts, "bob@acme.test").await.unwrap();
    alice.add_to(UserList::Blocks, "bob@acme.test").await.unwrap();
    say(&bob, "alice@acme.test", "hidden").await;
    let update = UserUpdate {
        privacy: Some(Privacy { groups: Some("everyone".to_owned()), ..Privacy::default() }),
        ..UserUpdate::default()
    };
    alice.update_user(&update).await.unwrap();
    let own =
        ViewUpdate { draft: Some("unsaid".into()), pinned: Some(true), ..ViewUpdate::default() };
    alice.update_channel(channel, &own).await.unwrap();
    let file = party.homes[0].dir().parent().unwrap().join("lists.homing");
    let file = file.to_str().unwrap();
    party.homes[0].command(&["backup", file]).await.unwrap();
    party.homes[0].kill().await.unwrap();
    party.homes[0].command(&["restore", file, "--force"]).await.unwrap();
    party.homes[0].start().await.unwrap();
    party.homes[0].forget_logins();
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    assert_eq!(alice.all_users_in(UserList::Contacts).await.unwrap(), ["bob@acme.test"]);
    assert_eq!(alice.all_users_in(UserList::Blocks).await.unwrap(), ["bob@acme.test"]);
    assert_eq!(alice.opened().user.privacy.as_ref().unwrap().groups.as_deref(), Some("everyone"));
    let view = alice.channel(channel).await.unwrap();
    assert_eq!((view.draft.as_deref(), view.pinned, view.archived), (Some("unsaid"), true, false));
    let found = bob.search_users("ali").await.unwrap().users;
    assert_eq!(
        found.iter().map(|user| user.address.as_str()).collect::<Vec<_>>(),
        ["alice@acme.test"]
    );
    say(&bob, "alice@acme.test", "hidden as well").await;
    assert_eq!(texts(&alice, channel).await, ["before"]);
    assert_eq!(texts(&bob, channel).await, ["before", "hidden", "hidden as well"]);
    party.homes[0].command(&["verify"]).await.unwrap();
}

/// What alice of the first home types: whether it worked, and what was said.
async fn typed(party: &Party, words: &[&str], input: &str) -> (bool, String) {
    let typed = party.typed(0, "alice", words, input).await;
    (typed.code == 0, if typed.code == 0 { typed.out } else { typed.err })
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_on_the_command_line() {
    let mut party = Party::of(&["acme.test"]).await;
    party.homes[0].register("alice").await.unwrap();
    party.homes[0].register("bob").await.unwrap();
    let (ok, said) = typed(&party, &["login", "alice"], PASSWORD).await;
    assert!(ok, "{said}");
    for list in ["contact", "block"] {
        assert_eq!(typed(&party, &[list, "list"], "").await, (true, String::new()));
        let (ok, said) = typed(&party, &[list, "add", "bob"], "").await;
        assert!(ok && said.contains("bob@acme.test"), "{said}");
        let row = "{\"user\":\"bob@acme.test\"}\n".to_owned();
        assert_eq!(typed(&party, &["--json", list, "list"], "").await, (true, row));
        let (ok, said) = typed(&party, &[list, "add", "ghost"], "").await;
        assert!(!ok && said.contains("user_not_found"), "{said}");
        assert!(typed(&party, &[list, "remove", "bob@acme.test"], "").await.0);
        assert_eq!(typed(&party, &[list, "list"], "").await, (true, String::new()));
    }
    let (alice, _) = party.client(0, "alice").await;
    assert_eq!(alice.all_users_in(UserList::Blocks).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_found_by_the_beginnings_of_their_names() {
    let mut party = Party::with(&["acme.test"], &[("HOMING_LIMITS__USERS_FOUND", "3")]).await;
    let server = party.homes[0].server().unwrap();
    let people = [
        ("bob.smith", "Bob"),
        ("bea", "Beatrice Smythe"),
        ("ulrich", "Ülrich Straße"),
        ("gone", "Gone"),
    ];
    for (user, name) in people {
        server.register(user, PASSWORD, None, Some(name)).await.unwrap();
    }
    let (alice, _) = party.client(0, "alice").await;
    let found = async |client: &Client, query: &str| {
        let found = client.search_users(query).await.unwrap();
        let mut users: Vec<String> =
            found.users.iter().map(|user| user.address.replace("@acme.test", "")).collect();
        users.sort_unstable();
        (users.join(" "), found.more)
    };
    let is = |users: &str, more: bool| (users.to_owned(), more);
    for (query, users) in [
        ("bo", "bob.smith"),
        ("SM", "bea bob.smith"),
        ("smyth beat", "bea"),
        ("smith beat", ""),
        ("üL", "ulrich"),
        ("STRASSE", "ulrich"),
        ("ul", "ulrich"),
        ("mith", ""),
        ("bob.smith@acme.test", "bob.smith"),
        ("bob@ac", "bob.smith"),
        ("bob@globex.test", ""),
    ] {
        assert_eq!(found(&alice, query).await, is(users, false), "{query}");
    }
    let update = UserUpdate { display_name: Some("Zoë".into()), ..UserUpdate::default() };
    alice.update_user(&update).await.unwrap();
    assert_eq!(found(&alice, "zo").await.0, "alice");
    // Not who is gone, nor who is shut; whoever is opened again is there again.
    party.homes[0].command(&["user", "delete", "gone", "--yes"]).await.unwrap();
    party.homes[0].command(&["user", "disable", "ulrich"]).await.unwrap();
    assert_eq!(found(&alice, "gone").await.0, "");
    assert_eq!(found(&alice, "ul").await.0, "");
    party.homes[0].command(&["user", "enable", "ulrich"]).await.unwrap();
    for n in 0..4 {
        server.register(&format!("many{n}"), PASSWORD, None, None).await.unwrap();
    }
    let (users, more) = found(&alice, "many").await;
    assert_eq!((users.split(' ').count(), more), (3, true));
    for query in ["", " .- ", "@acme.test", &"x".repeat(101), &"x".repeat(100 << 10)] {
        let (code, reason, _) = refusal(alice.search_users(query).await);
        assert_eq!((code, reason.as_str()), (-32602, "invalid_query"), "{:.20}", query);
    }

    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    assert_eq!(found(&alice, "zoë").await, is("alice", false));
    assert_eq!(found(&alice, "ulr str").await, is("ulrich", false));
}

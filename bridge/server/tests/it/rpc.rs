//! JSON-RPC as the contract has it.

use homing_wire::{GroupLink, HomeId};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::home::{Home, chat};
use crate::ws::{Got, Ws, bridge, send_to_bob, text, why};

/// The link that the home of these tests answers.
fn link(uses: u8) -> String {
    GroupLink { home: HomeId([7; 32]), group: chat(), secret: [uses; 32] }.to_string()
}

fn is(code: i64, reason: &str) -> (i64, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn every_method_is_answered() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut alice = Ws::open(&bridge, "alice").await;
    let mut called = vec!["session.open"];
    let mut bob = Ws::open(&bridge, "bob").await;
    let channel = chat().to_string();
    let mut answers = Vec::new();
    for (method, params) in [
        ("channels.list", json!({"limit": 100, "archived": false, "from the future": [1]})),
        ("channels.open", json!({"with": "bob@acme.example"})),
        ("channels.get", json!({"channel": channel})),
        ("messages.send", send_to_bob(text("hello"))),
        ("messages.list", json!({"channel": channel, "after": 0})),
        ("receipts.delivered", json!({"channel": channel, "pos": 1})),
        ("receipts.read", json!({"channel": channel, "pos": 1})),
        ("receipts.get", json!({"channel": channel, "id": uuid::Uuid::nil()})),
        ("users.get", json!({"address": "Bob@acme.example"})),
        ("rpc.discover", json!({})),
        (
            "users.update",
            json!({"display_name": "Al", "avatar": {"id": uuid::Uuid::from_u128(9), "x": 1}, "privacy": {"groups": "everyone", "last_seen": "nobody", "read_receipts": false, "x": 1}}),
        ),
        ("contacts.add", json!({"user": "Bob@globex.example"})),
        ("blocks.add", json!({"user": "eve@globex.example"})),
        ("contacts.list", json!({"limit": 1000})),
        ("blocks.list", json!({})),
        ("contacts.remove", json!({"user": "bob@globex.example"})),
        ("blocks.remove", json!({"user": "eve@globex.example"})),
        ("account.delete", json!({"password": "correct horse"})),
        ("groups.create", json!({"name": "n", "members": ["bob@acme.example"]})),
        ("groups.invite", json!({"channel": channel, "users": ["Bob@acme.example"]})),
        ("groups.remove", json!({"channel": channel, "users": ["bob@acme.example"]})),
        ("groups.join", json!({"channel": channel})),
        ("groups.link", json!({"channel": channel, "expires": 1, "uses": 3})),
        ("groups.unlink", json!({"link": link(3)})),
        ("groups.update", json!({"channel": channel, "roles": {"bob@acme.example": "admin"}})),
        ("groups.leave", json!({"channel": channel})),
        ("groups.members", json!({"channel": channel})),
        ("groups.fork", json!({"channel": channel})),
        (
            "channels.update",
            json!({"channel": channel, "draft": "d", "muted_until": 9, "pinned": true}),
        ),
        ("devices.list", json!({})),
        ("devices.rename", json!({"device": uuid::Uuid::nil(), "name": "n"})),
        ("devices.revoke", json!({"device": uuid::Uuid::nil()})),
        ("account.password", json!({"old": "correct horse", "new": "battery staple"})),
        ("users.search", json!({"query": "bö".repeat(50)})),
        ("requests.accept", json!({"channel": channel})),
        ("requests.decline", json!({"channel": channel})),
        (
            "messages.hide",
            json!({"channel": channel, "id": uuid::Uuid::nil(), "sender": "bob@acme.example"}),
        ),
        ("presence.watch", json!({"users": ["Bob@acme.example", "eve@globex.example"]})),
        ("presence.unwatch", json!({"users": ["bob@acme.example"]})),
        ("typing.set", json!({"channel": channel, "typing": true})),
        ("media.get", json!({"id": uuid::Uuid::from_u128(9)})),
        (
            "media.copy",
            json!({"channel": channel, "id": uuid::Uuid::from_u128(8), "sender": "bob@acme.example", "op": uuid::Uuid::nil()}),
        ),
        ("media.url", json!({"channel": channel, "id": uuid::Uuid::nil(), "thumbnail": 320})),
        ("messages.search", json!({"query": "\"é", "channel": channel, "cursor": "c", "limit": 1})),
    ] {
        answers.push(alice.ok(method, params).await);
        called.push(method);
    }
    let id = answers[3]["id"].clone();
    let message = alice.ok("messages.get", json!({"channel": channel, "id": id})).await;
    called.push("messages.get");
    assert_eq!(message["body"], text("hello"));
    assert_eq!(message["pos"], 1);
    assert_eq!(answers[4]["messages"], json!([message]));
    let found = json!({"messages": [message], "cursor": "\"é", "indexing": true});
    assert_eq!(answers.last(), Some(&found));
    assert_eq!(answers[5], json!({}));
    assert_eq!(answers[8]["address"], "bob@acme.example");
    assert_eq!(answers[9], homing_bridge::openrpc());
    let online = json!({"user": "bob@acme.example", "online": true});
    assert_eq!(answers[8]["presence"], online);
    let privacy = json!({"last_seen": "nobody", "read_receipts": false, "groups": "everyone"});
    assert_eq!(answers[10]["privacy"], privacy);
    let file = json!(uuid::Uuid::from_u128(9));
    assert_eq!((&answers[10]["avatar"]["id"], &answers[10]["avatar"]["width"]), (&file, &json!(1)));
    let none = alice.ok("users.update", json!({"avatar": null})).await;
    assert_eq!(none.get("avatar"), None);
    assert_eq!(answers[13], json!({"users": ["bob@globex.example"]}));
    assert_eq!(answers[14], json!({"users": ["eve@globex.example"]}));
    assert_eq!(answers[17], json!({}));
    assert_eq!(answers[18]["channel"], channel);
    let rows = json!([{"user": "bob@acme.example", "ok": true}]);
    assert_eq!(answers[19], json!({"results": rows, "roster": 7}));
    assert_eq!(answers[20], json!({"results": rows, "roster": 7}));
    assert_eq!(answers[21], json!({"state": "pending"}));
    assert_eq!(answers[22], json!({"link": link(3)}));
    assert_eq!(answers[23], json!({"state": "pending"}));
    assert_eq!(answers[24], json!({"state": "pending"}));
    assert_eq!(answers[25], json!({}));
    let all = alice.ok("groups.unlink", json!({"channel": channel})).await;
    assert_eq!(all, json!({}), "all links of a group");
    let by_link = alice.ok("groups.join", json!({"link": link(3)})).await;
    assert_eq!(by_link, json!({"state": "pending"}));
    let member = json!({"user": "bob@acme.example", "role": "member", "state": "active"});
    assert_eq!(answers[26], json!({"members": [member]}));

    let phone = json!({"device": uuid::Uuid::from_u128(3), "name": "phone", "created_at": 1, "current": true});
    assert_eq!(answers[29], json!({"devices": [phone]}));
    assert_eq!(answers[32], json!({}));
    assert_eq!(answers[33]["users"][0]["display_name"], "bö".repeat(50));
    assert_eq!((&answers[34]["channel"], &answers[35]), (&json!(channel), &json!({})));
    let view = &answers[28];
    assert_eq!((&view["draft"], &view["muted_until"]), (&json!("d"), &json!(9)));
    assert_eq!((&view["pinned"], view.get("archived")), (&json!(true), None));
    let nothing = json!({"channel": channel, "draft": null, "muted_until": null, "pinned": null});
    let view = alice.ok("channels.update", nothing).await;
    for key in ["draft", "muted_until", "pinned"] {
        assert_eq!(view.get(key), None, "null takes away");
    }
    let gone = |user: &str| json!({"user": user, "online": false, "last_seen": 5});
    let both = json!({"presence": [gone("bob@acme.example"), gone("eve@globex.example")]});
    assert_eq!(answers[37], both);
    assert_eq!(answers[38], json!({"presence": []}));
    assert_eq!(answers[39], json!({}));
    let media = |id: u128, name: &str| json!({"media": {"home": "acme.example", "id": uuid::Uuid::from_u128(id), "hash": "ab", "size": 3, "mime": "image/png", "name": name, "width": 1, "height": 2, "duration_ms": 1500}});
    assert_eq!(answers[40], media(9, "mine.png"));
    assert_eq!(answers[41], media(8, "copied.png"));
    assert_eq!(answers[42]["expires_at"], 9);
    assert!(answers[42]["url"].as_str().unwrap().ends_with("?thumbnail=320"));

    let mut documented: Vec<String> = homing_bridge::openrpc()["methods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|method| method["name"].as_str().unwrap().to_owned())
        .collect();
    documented.sort_unstable();
    called.sort_unstable();
    assert_eq!(documented, called, "exactly the methods that are documented are called here");

    let notice = bob.json().await;
    assert_eq!(notice["method"], "message");
    let mut expected = message.clone();
    expected["sync"] = json!("7.1");
    assert_eq!(notice["params"], expected);
    for method in ["receipt", "channel", "receipt", "channel"] {
        let notice = bob.json().await;
        assert_eq!(notice["method"], method);
        assert_eq!(notice["params"]["channel"], channel);
        assert_eq!(notice["params"]["sync"], "7.1");
    }
    let mut expected = online;
    expected["sync"] = json!("7.1");
    let notice = bob.json().await;
    assert_eq!((&notice["method"], &notice["params"]), (&json!("presence"), &expected));
    let notice = bob.json().await;
    let user = "alice@acme.example";
    let expected = json!({"channel": channel, "user": user, "typing": true, "sync": "7.1"});
    assert_eq!((&notice["method"], &notice["params"]), (&json!("typing"), &expected));
    let metrics = bridge.metrics();
    assert_eq!(metrics.calls["messages.send"], 1);
    assert_eq!(metrics.calls["session.open"], 2);
    assert_eq!(metrics.notices, 7);
}

#[tokio::test]
async fn what_is_not_json_rpc() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    for (frame, code, id) in [
        ("{\"jsonrpc\":", -32700, json!(null)),
        ("", -32700, json!(null)),
        ("nonsense", -32700, json!(null)),
        ("[1,2", -32700, json!(null)),
        ("[]", -32600, json!(null)),
        ("{}", -32600, json!(null)),
        ("7", -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#, -32600, json!(null)),
        (r#"{"jsonrpc":"1.0","id":4,"method":"rpc.discover"}"#, -32600, json!(4)),
        (r#"{"jsonrpc":"2.0","id":"5","method":"rpc.discover","params":7}"#, -32600, json!("5")),
        (r#"{"jsonrpc":"2.0","id":{},"method":"rpc.discover"}"#, -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":6,"id":6,"method":"rpc.discover"}"#, -32600, json!(null)),
        (r#"{"jsonrpc":"2.0","id":6,"method":"a","method":"rpc.discover"}"#, -32600, json!(6)),
        (r#"{"jsonrpc":"2.0","id":8,"method":"push.key"}"#, -32601, json!(8)),
        (r#"{"jsonrpc":"2.0","id":9,"method":"channels.list","params":[1]}"#, -32602, json!(9)),
        (r#"{"jsonrpc":"2.0","id":9,"method":"channels.get"}"#, -32602, json!(9)),
    ] {
        let answer = ws.raw(frame).await;
        assert_eq!((answer["error"]["code"].as_i64(), &answer["id"]), (Some(code), &id), "{frame}");
        assert!(answer["error"]["data"]["reason"].is_string(), "{answer}");
    }
    let id = r#""ids \u00fc come back""#;
    let answer =
        ws.raw(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"channels.list"}}"#)).await;
    assert_eq!(answer["id"], "ids ü come back");
    assert!(answer["result"].is_object());
}

#[tokio::test]
async fn what_text_and_numbers_may_not_be() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    let mut other = Ws::open(&bridge, "bob").await;
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let bodies = [
        r#"{"type":"text","text":"\u0000"}"#.to_owned(),
        r#"{"type":"text","text":"\ud800"}"#.to_owned(),
        r#"{"type":"text","text":"\udc00\ud800"}"#.to_owned(),
        r#"{"type":"x.a","n":9007199254740993}"#.to_owned(),
        r#"{"type":"x.a","n":1e400}"#.to_owned(),
        format!(r#"{{"type":"x.a","n":{}}}"#, deep(100)),
        format!(r#"{{"type":"x.a","n":{}}}"#, deep(10_000)),
        r#""text""#.to_owned(),
        r#"{"text":"no type"}"#.to_owned(),
        r#"{"type":"unheard","text":"of"}"#.to_owned(),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let params = format!(r#"{{"to":"bob@acme.example","body":{body}}}"#);
        let call =
            format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"messages.send","params":{params}}}"#);
        let answer = ws.raw(&call).await;
        assert_eq!(answer["id"], n);
        assert_eq!(answer["error"]["code"], -32602, "{body:.80}");
    }
    for params in [
        r#"{"channel":"\u0000"}"#.to_owned(),
        r#"{"unknown":9007199254740993,"address":"a@b.example"}"#.to_owned(),
        format!(r#"{{"address":"a@b.example","unknown":{}}}"#, deep(10_000)),
    ] {
        let call =
            format!(r#"{{"jsonrpc":"2.0","id":"x","method":"users.get","params":{params}}}"#);
        let answer = ws.raw(&call).await;
        assert_eq!(answer["error"]["code"], -32602, "{params:.80}");
    }
    let answer = ws.raw(&deep(10_000)).await;
    assert_eq!(answer[0]["error"]["code"], -32600, "a batch of one item that is no call");
    assert_eq!(home.stored(), Vec::<String>::new(), "a refused call has changed nothing");
    for good in ["👩‍👩‍👧‍👦 e\u{301} \u{202e}עברית", "\\\"\u{1}\t", "9007199254740991"]
    {
        ws.ok("messages.send", send_to_bob(text(good))).await;
        assert_eq!(other.json().await["params"]["body"]["text"], *good);
    }
}

#[tokio::test]
async fn bodies_at_the_limit() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    let overhead = text("").to_string().len();
    let body = |bytes: usize| text(&"x".repeat(bytes - overhead));
    ws.ok("messages.send", send_to_bob(body(65_536))).await;
    let answer = ws.call("messages.send", send_to_bob(body(65_537))).await;
    assert_eq!(why(&answer), is(-32006, "body_too_large"));
    assert_eq!(answer["error"]["data"]["limit"], 65_536);
    assert_eq!(home.stored().len(), 1);
    // What counts is the compact form: escapes and white space are free.
    let escaped = r"\u0078".repeat(20_000);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"messages.send","params":{{"to":"bob@acme.example","body":{{ "type" : "text", "text":"{escaped}"}}}}}}"#
    );
    let answer = ws.raw(&call).await;
    assert_eq!(answer["result"]["pos"], 2);
    assert_eq!(home.stored()[1], text(&"x".repeat(20_000)).to_string());
}

#[tokio::test]
async fn parameters_are_checked() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    let channel = chat().to_string();
    let nil = uuid::Uuid::nil();
    let body = text("x");
    for (method, params, reason) in [
        ("messages.send", json!({"body": body}), "one_target"),
        (
            "messages.send",
            json!({"channel": channel, "to": "b@c.example", "body": body}),
            "one_target",
        ),
        ("messages.send", json!({"to": "bob@", "body": body}), "invalid_user"),
        ("messages.send", json!({"to": "bob", "body": body}), "invalid_user"),
        ("messages.send", json!({"to": "bоb@acme.example", "body": body}), "invalid_user"),
        ("messages.send", json!({"to": "b@c.example", "id": "7", "body": body}), "invalid_id"),
        ("messages.send", json!({"to": "b@c.example", "op": "7", "body": body}), "invalid_id"),
        ("messages.send", json!({"to": "b@c.example"}), "invalid_params"),
        ("channels.get", json!({"channel": channel.replace('-', "")}), "invalid_id"),
        ("channels.get", json!({"channel": 7}), "invalid_params"),
        ("channels.list", json!({"limit": 0}), "invalid_limit"),
        ("channels.list", json!({"limit": 101}), "invalid_limit"),
        ("channels.update", json!({"channel": channel}), "nothing_to_change"),
        ("channels.update", json!({"channel": channel, "muted_until": -1}), "invalid_params"),
        ("channels.update", json!({"channel": channel, "pinned": "yes"}), "invalid_params"),
        ("channels.update", json!({"channel": "x", "pinned": true}), "invalid_id"),
        ("messages.list", json!({"channel": channel, "limit": 201}), "invalid_limit"),
        ("messages.list", json!({"channel": channel, "before": 1, "after": 1}), "one_place"),
        ("messages.list", json!({"channel": channel, "before_order": "x"}), "invalid_order"),
        ("messages.list", json!({"channel": channel, "after": -1}), "invalid_params"),
        ("messages.search", json!({"channel": channel}), "invalid_params"),
        ("messages.search", json!({"query": 7}), "invalid_params"),
        ("messages.search", json!({"query": "x", "channel": "here"}), "invalid_id"),
        ("messages.search", json!({"query": "x", "limit": 101}), "invalid_limit"),
        ("receipts.read", json!({"channel": channel, "pos": "1"}), "invalid_params"),
        ("users.get", json!({"address": "a@b@c.example"}), "invalid_user"),
        ("users.search", json!({"query": "x".repeat(101)}), "invalid_query"),
        ("users.search", json!({"query": "x".repeat(100 << 10)}), "invalid_query"),
        ("users.search", json!({"query": ["x"]}), "invalid_params"),
        ("requests.accept", json!({}), "invalid_params"),
        ("requests.decline", json!({"channel": channel, "op": "x"}), "invalid_id"),
        ("users.update", json!({"privacy": {"groups": "nobody"}}), "invalid_params"),
        ("users.update", json!({"display_name": 7}), "invalid_params"),
        ("users.update", json!({"avatar": {}}), "invalid_params"),
        ("users.update", json!({"avatar": "x"}), "invalid_params"),
        ("users.update", json!({"avatar": {"id": "x"}}), "invalid_id"),
        ("groups.update", json!({"channel": channel, "avatar": {"id": 7}}), "invalid_params"),
        ("groups.update", json!({"channel": channel, "avatar": {"id": ""}}), "invalid_id"),
        ("users.update", json!({"privacy": {"last_seen": "friends"}}), "invalid_params"),
        ("users.update", json!({"privacy": {"read_receipts": "no"}}), "invalid_params"),
        ("presence.watch", json!({"users": ["a@c.example", "bob"]}), "invalid_user"),
        ("presence.watch", json!({"users": "a@c.example"}), "invalid_params"),
        ("presence.watch", json!({}), "invalid_params"),
        ("presence.unwatch", json!({"users": ["@"]}), "invalid_user"),
        ("media.get", json!({"id": "x"}), "invalid_id"),
        ("media.copy", json!({"channel": channel}), "invalid_params"),
        ("media.copy", json!({"channel": channel, "id": nil, "sender": "x"}), "invalid_user"),
        ("media.copy", json!({"channel": channel, "id": nil, "op": "x"}), "invalid_id"),
        ("media.url", json!({"channel": "x", "id": nil}), "invalid_id"),
        ("media.url", json!({"channel": channel, "id": nil, "thumbnail": 0}), "invalid_thumbnail"),
        (
            "media.url",
            json!({"channel": channel, "id": nil, "thumbnail": 4097}),
            "invalid_thumbnail",
        ),
        ("media.url", json!({"channel": channel, "id": nil, "thumbnail": -1}), "invalid_params"),
        ("typing.set", json!({"channel": channel}), "invalid_params"),
        ("typing.set", json!({"channel": "x", "typing": true}), "invalid_id"),
        ("typing.set", json!({"channel": channel, "typing": "yes"}), "invalid_params"),
        ("contacts.list", json!({"limit": 1001}), "invalid_limit"),
        ("blocks.list", json!({"limit": 0}), "invalid_limit"),
        ("contacts.add", json!({"user": "bob"}), "invalid_user"),
        ("contacts.add", json!({"user": "b@c.example", "op": "7"}), "invalid_id"),
        ("blocks.remove", json!({}), "invalid_params"),
        ("groups.join", json!({}), "one_target"),
        ("groups.join", json!({"channel": channel, "link": link(3)}), "one_target"),
        ("groups.join", json!({"link": "https://x.example/join"}), "invalid_link"),
        ("groups.join", json!({"link": link(3).to_uppercase()}), "invalid_link"),
        ("groups.unlink", json!({"link": format!("{}a", link(3))}), "invalid_link"),
        ("groups.unlink", json!({"link": 7}), "invalid_params"),
        ("groups.link", json!({"channel": channel, "uses": 0}), "invalid_uses"),
        ("groups.link", json!({"channel": channel, "expires": -1}), "invalid_params"),
        ("account.delete", json!({}), "invalid_params"),
        ("account.password", json!({"old": "x"}), "invalid_params"),
        ("devices.revoke", json!({"device": "x"}), "invalid_id"),
        ("devices.rename", json!({"device": uuid::Uuid::nil()}), "invalid_params"),
    ] {
        assert_eq!(
            ws.refused(method, params.clone()).await,
            is(-32602, reason),
            "{method} {params}"
        );
    }
    // Of several, the one that is meant is named; a long one in part.
    let users = ["bob@acme.example".to_owned(), format!("{}@acme.example", "ö".repeat(500))];
    let answer = ws.call("groups.invite", json!({"channel": channel, "users": users})).await;
    let said = format!("users: {:?}: a user name has", "ö".repeat(80));
    assert!(answer["error"]["message"].as_str().unwrap().starts_with(&said), "{answer}");
    assert_eq!(home.stored(), Vec::<String>::new());
    let metrics = bridge.metrics();
    assert_eq!(metrics.refusals["one_target"], 4);
    assert_eq!(metrics.refusals["invalid_user"], 9);
}

#[tokio::test]
async fn batches_and_notifications() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    let send = |n: usize| json!({"jsonrpc": "2.0", "method": "messages.send", "params": send_to_bob(text(&n.to_string()))});
    let with_id = |mut call: Value, id: Value| {
        call["id"] = id;
        call
    };
    // Notifications alone are executed and not answered.
    ws.send(json!([send(0), send(1)]).to_string()).await;
    ws.send(send(2).to_string()).await;
    ws.send(r#"{"jsonrpc":"2.0","method":"no.such"}"#).await;
    let mixed = json!([
        with_id(send(3), json!("a")),
        1,
        {"jsonrpc": "2.0", "id": 9, "method": "no.such"},
        send(4),
        [],
        with_id(send(5), json!(null)),
        {"jsonrpc": "2.0", "id": 10, "method": "channels.list", "params": {"limit": 1000}},
    ]);
    let answers = ws.raw(&mixed.to_string()).await;
    let mut seen: Vec<(Value, Value)> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["id"].clone(), a["error"]["code"].clone()))
        .collect();
    seen.sort_by_key(|pair| format!("{pair:?}"));
    let mut expected = vec![
        (json!("a"), json!(null)),
        (json!(null), json!(-32600)),
        (json!(9), json!(-32601)),
        (json!(null), json!(-32600)),
        (json!(null), json!(null)),
        (json!(10), json!(-32602)),
    ];
    expected.sort_by_key(|pair| format!("{pair:?}"));
    assert_eq!(seen, expected);
    let stored: Vec<String> = (0..6).map(|n| text(&n.to_string()).to_string()).collect();
    assert_eq!(home.stored(), stored, "in array order");

    let batch = |n: usize| Value::Array((0..n).map(|i| with_id(send(i), json!(i))).collect());
    let answer = ws.raw(&batch(33).to_string()).await;
    assert_eq!(answer["error"]["code"], -32600);
    assert_eq!(answer["error"]["data"]["limit"], 32);
    assert_eq!(answer["id"], Value::Null);
    assert_eq!(home.stored().len(), 6, "nothing run");
    assert_eq!(ws.raw(&batch(32).to_string()).await.as_array().unwrap().len(), 32);
}

#[tokio::test]
async fn a_batch_shares_one_frame() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    for n in 0..10 {
        ws.ok("messages.send", send_to_bob(text(&n.to_string().repeat(40_000)))).await;
    }
    let list = |id| json!({"jsonrpc": "2.0", "id": id, "method": "messages.list", "params": {"channel": chat()}});
    let calls: Vec<Value> = (0..5).map(list).collect();
    ws.send(json!(calls).to_string()).await;
    let answers = ws.json().await;
    let fit = answers.as_array().unwrap().iter().filter(|a| a["result"].is_object()).count();
    assert_eq!(fit, 2);
    assert!(answers.to_string().len() <= 1 << 20);
    for answer in &answers.as_array().unwrap()[2..] {
        assert_eq!(why(answer), is(-32006, "answer_too_large"));
    }
}

#[tokio::test]
async fn a_token_in_the_first_call_or_in_the_header() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::connect(&bridge).await;
    for method in ["channels.list", "rpc.discover", "no.such"] {
        assert_eq!(ws.refused(method, json!({})).await, is(-32001, "not_signed_in"));
    }
    assert_eq!(ws.refused("session.open", json!({})).await, is(-32001, "no_token"));
    assert_eq!(ws.refused("session.open", json!({"token": "x"})).await, is(-32001, "bad_token"));
    let token = json!({"token": "alice-token", "since": "6.1"});
    assert_eq!(ws.refused("session.open", token).await, is(-32008, "resync"));
    assert_eq!(ws.refused("channels.list", json!({})).await, is(-32001, "not_signed_in"));
    let opened = ws.ok("session.open", json!({"token": "alice-token"})).await;
    assert_eq!(opened["user"]["address"], "alice@acme.example");
    assert_eq!(opened["limits"]["frame"], 256 << 10);
    assert_eq!(opened["limits"]["batch"], 32);
    assert_eq!(opened["limits"]["calls_waiting"], 128);
    ws.ok("channels.list", json!({})).await;
    // The next page of the same answer: the token need not be repeated.
    ws.ok("session.open", json!({"since": "7.0", "cursor": "c"})).await;

    let mut other = Ws::open(&bridge, "bob").await;
    other.ok("channels.list", json!({})).await;
}

#[tokio::test]
async fn calls_behind_session_open_wait_for_it() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::connect(&bridge).await;
    home.paused.send_replace(true);
    let call = |id: u64, method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    };
    ws.send(call(1, "session.open", json!({"token": "alice-token"}))).await;
    ws.send(call(2, "channels.list", json!({}))).await;
    home.paused.send_replace(false);
    assert_eq!(ws.json().await["id"], 1);
    let answer = ws.json().await;
    assert_eq!(answer["id"], 2);
    assert!(answer["result"].is_object());
}

#[tokio::test]
async fn three_wrong_tokens_are_enough() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::connect(&bridge).await;
    for _ in 0..3 {
        let refused = ws.refused("session.open", json!({"token": "guess"})).await;
        assert_eq!(refused, is(-32001, "bad_token"));
    }
    assert_eq!(ws.got().await, Got::Closed(Some(4401)));
}

#[tokio::test]
async fn the_subprotocol() {
    let home = Home::start();
    let bridge = bridge(&home);
    for (offered, answered) in
        [(Some("homing.v1.json"), true), (Some("graphql, homing.v1.json"), true), (None, false)]
    {
        let mut request =
            format!("ws://{}/v1/ws", bridge.local_addr()).into_client_request().unwrap();
        if let Some(offered) = offered {
            request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
        }
        request.headers_mut().insert("origin", "https://elsewhere.example".parse().unwrap());
        let (_, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        let chosen = response.headers().get("sec-websocket-protocol");
        assert_eq!(chosen.is_some_and(|p| p == "homing.v1.json"), answered);
        assert_eq!(chosen.is_some(), answered);
    }
}

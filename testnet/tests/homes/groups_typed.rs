//! Groups as people type them: `homing client group …`.

use homing_testnet::homes::PASSWORD;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use uuid::Uuid;

use crate::groups::{is, send, until};
use crate::party::{Party, Typed, WITHIN};

const HOMES: [&str; 3] = ["acme.test", "globex.test", "initech.test"];

/// What is said of a command that was carried out.
async fn done(party: &Party, home: usize, user: &str, words: &[&str]) -> String {
    let typed = party.typed(home, user, words, PASSWORD).await;
    assert_eq!(typed.code, 0, "{words:?}: {typed:?}");
    typed.out
}

/// What is said of one that was not: one line, for people.
async fn failed(party: &Party, user: &str, words: &[&str]) -> Typed {
    let typed = party.typed(0, user, words, "").await;
    assert_eq!((typed.code, typed.err.lines().count()), (1, 1), "{words:?}: {typed:?}");
    typed
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_types_is_told_what_came_of_it() {
    let mut party = Party::of(&HOMES[..1]).await;
    for user in ["alice", "bob", "carol"] {
        party.homes[0].register(user).await.unwrap();
        done(&party, 0, user, &["login", user]).await;
    }
    let made = done(&party, 0, "alice", &["group", "create", "friends", "bob"]).await;
    let id = made.split_once(' ').unwrap().0;
    let group: Uuid = id.parse().unwrap();
    let (alice, _) = party.client(0, "alice").await;
    send(&alice, group, "hello").await;

    // What the next command is to name is in the list, beside what it is called.
    let listed = done(&party, 0, "bob", &["channels"]).await;
    assert!(listed.contains("friends") && listed.contains(id) && listed.contains("hello"));

    // A group with messages is no change that waits.
    for words in
        [vec!["group", "rename", id, "best friends"], vec!["group", "role", id, "bob", "admin"]]
    {
        let said = done(&party, 0, "alice", &words).await;
        assert!(said.contains("best friends") && said.contains(id), "{said}");
    }
    let again = done(&party, 0, "bob", &["--json", "group", "join", id]).await;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(
        (&again["state"], &again["last"]["body"]["text"]),
        (&"active".into(), &"hello".into())
    );

    // One row for each; whoever was refused makes the whole a failure.
    let words = ["group", "invite", id, "carol", "ghost", "x@nowhere.test"];
    let some = failed(&party, "alice", &words).await;
    let rows: Vec<&str> = some.out.lines().collect();
    assert_eq!(rows[0], "carol@acme.test done");
    assert!(rows[1].starts_with("ghost@acme.test refused: there is no such user"), "{some:?}");
    assert!(rows[2].contains("`homing home trust`"), "{some:?}");
    let why = "not invited: ghost@acme.test (user_not_found), x@nowhere.test (unknown_home)";
    assert_eq!(some.err.trim_end(), format!("homing: {why}"));
    let none = failed(&party, "alice", &["--json", "group", "remove", id, "ghost"]).await;
    let row: Value = serde_json::from_str(&none.out).unwrap();
    assert_eq!((&row["ok"], &row["reason"]), (&false.into(), &"not_a_member".into()));
    let removed = done(&party, 0, "alice", &["group", "remove", id, "carol"]).await;
    assert_eq!(removed, "carol@acme.test done\n");

    // A refusal says why, whose fault it is, and what to do next.
    let link = done(&party, 0, "alice", &["group", "link", id]).await;
    done(&party, 0, "alice", &["group", "unlink", link.trim_end()]).await;
    let nobody = Uuid::now_v7().to_string();
    for (user, words, said) in [
        ("alice", vec!["members", &nobody], ["channel_not_found", "`homing client channels`"]),
        ("bob", vec!["remove", id, "x@nowhere.test", "carol"], ["unknown_home", "not_a_member"]),
        ("carol", vec!["join", link.trim_end()], ["link_not_found", "for a new one"]),
        (
            "bob",
            vec!["role", id, "bob", "owner"],
            ["bob@acme.test: ", "`homing client group members"],
        ),
        ("alice", vec!["role", id, "alice", "member"], ["last_owner", "name another first"]),
        ("alice", vec!["create", "more", "bob", "ghost"], ["ghost@acme.test: ", "user_not_found"]),
        (
            "alice",
            vec!["create", "more", "x@nowhere.test"],
            ["x@nowhere.test: ", "homing home trust"],
        ),
        ("alice", vec!["create", "more", "bob", "Bob!"], ["\"Bob!@acme.test\"", "invalid_user"]),
    ] {
        let words: Vec<&str> = ["group"].into_iter().chain(words).collect();
        let refused = failed(&party, user, &words).await;
        assert!(said.iter().all(|word| refused.err.contains(word)), "{words:?}: {refused:?}");
    }
    for words in [["group", "leave", "friends"], ["group", "join", "friends"]] {
        let wrong = party.typed(0, "alice", &words, "").await;
        assert!(wrong.code == 2 && wrong.err.contains("`homing client channels`"), "{wrong:?}");
    }
}

/// A shell that is given one line after the other.
struct Shell {
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    input: tokio::process::ChildStdin,
    _process: tokio::process::Child,
}

impl Shell {
    fn start(party: &Party) -> Self {
        let program = party.homes[0].program().path();
        let folders = std::env::var("PATH").unwrap();
        let mut process = tokio::process::Command::new("sh")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .env("PATH", format!("{}:{folders}", program.parent().unwrap().display()))
            .env("HOMING_PROFILE_DIR", party.homes[0].dir().join("profiles"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { lines, input, _process: process }
    }

    /// What a line says that goes well.
    async fn says(&mut self, line: &str) -> String {
        let typed = format!("{{ {line}\n}} </dev/null\nprintf '\\n= %s\\n' $?\n");
        self.input.write_all(typed.as_bytes()).await.unwrap();
        let mut said = String::new();
        let all = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("the shell has ended");
                match line.strip_prefix("= ") {
                    Some(code) => return code.to_owned(),
                    None => said.push_str(&format!("{line}\n")),
                }
            }
        };
        let code = tokio::time::timeout(WITHIN, all).await.expect("a line does not end");
        assert_eq!(code, "0", "{line}: {said}");
        said
    }
}

/// What README.md shows is typed as it stands there, but for the ports.
#[tokio::test(flavor = "multi_thread")]
async fn the_readme_can_be_typed_as_it_stands() {
    let mut party = Party::of(&HOMES).await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (third, mut third_hears) = party.client(2, "bob").await;
    for user in ["alice", "carol"] {
        party.homes[0].register(user).await.unwrap();
    }
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    // What has no end by itself, and where the program is: here the test knows better.
    let lines = blocks.flat_map(str::lines).filter(|line| line.contains("homing client"));
    let lines = lines.filter(|line| !line.contains(" tail "));

    let mut shell = Shell::start(&party);
    let mut walk = Vec::new();
    for line in lines {
        let mut typed = line.to_owned();
        for (port, home) in [18080, 18090, 18100].iter().zip(party.homes.iter()) {
            let shown = format!("http://127.0.0.1:{port}");
            typed = typed.replace(&shown, &home.ready().unwrap().http);
        }
        // The person's own folder is none of a test's.
        let folder = party.homes[0].dir().display().to_string();
        typed = typed.replace("/tmp/", &format!("{folder}/"));
        if line.contains("history alice@acme.test") {
            let with = serde_json::json!({ "with": "alice@acme.test" });
            let chat: Value = bob.call("channels.open", &with).await.unwrap();
            let chat: Uuid = chat["channel"].as_str().unwrap().parse().unwrap();
            let file = |chat: &Value| chat["last"]["body"]["type"] == "media";
            until(&bob, &mut bob_hears, chat, file).await;
        }
        // A person takes a moment; what another home has done is here by then.
        if line.contains("$group") && !line.contains("profile alice") {
            let group: Uuid = shell.says("echo $group").await.trim().parse().unwrap();
            if line.contains("group join $group") {
                until(&bob, &mut bob_hears, group, is("state", "invited")).await;
            } else if line.contains("profile bob") {
                let heard = |group: &Value| group["head"].as_u64() > Some(0);
                until(&bob, &mut bob_hears, group, heard).await;
            } else {
                until(&third, &mut third_hears, group, is("state", "active")).await;
            }
        }
        walk.push((line, shell.says(&typed).await));
    }
    let said = |part: &str| -> &str {
        let of = walk.iter().find(|(line, _)| line.contains(part));
        &of.unwrap_or_else(|| panic!("README.md shows no {part}")).1
    };
    assert!(said("bob download").contains("from-alice.md"));
    assert!(said("bob history $group").contains("hello, all of you"));
    assert!(said("group members $group").contains("owner    alice@acme.test"));
    assert!(said("group invite $group").contains("done"));
    assert!(said("group leave $group").contains("left"));
    assert!(said("third send $group").contains("stored at"));
}

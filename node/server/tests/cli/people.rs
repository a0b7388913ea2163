//! Users and invites of a home whose node is stopped.

use crate::program::TestHome;

#[test]
fn users_are_made_listed_shut_and_deleted() {
    let home = TestHome::new();
    home.run_with(&["user", "add", "alice", "--display-name", "Alice A."], "correct horse\n", &[])
        .succeeded();
    let added = home.run_with(&["user", "add", "Bob@acme.test", "--json"], "battery staple", &[]);
    assert_eq!(added.succeeded().json()[0]["address"], "bob@acme.test");
    home.run_with(&["user", "add", "alice"], "correct horse\n", &[]).refused("(user_exists)");
    home.run_with(&["user", "add", "carol"], "short\n", &[]).refused("8 characters at least");
    home.run_with(&["user", "add", "carol"], "", &[]).refused("8 characters at least");
    home.run_with(&["user", "add", "carol@globex.test"], "correct horse\n", &[])
        .refused("globex.test is not this home");

    let states = || -> Vec<(String, String)> {
        let listed = home.run(&["user", "list", "--json"]).succeeded();
        let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        listed.json().iter().map(|row| (text(&row["user"]), text(&row["state"]))).collect()
    };
    let pair = |user: &str, state: &str| (user.to_owned(), state.to_owned());
    assert_eq!(states(), [pair("alice", "active"), pair("bob", "active")]);
    home.run(&["user", "disable", "alice"]).succeeded();
    assert_eq!(states(), [pair("alice", "disabled"), pair("bob", "active")]);
    home.run(&["user", "enable", "alice"]).succeeded();
    home.run(&["user", "delete", "bob"]).succeeded();
    assert_eq!(states(), [pair("alice", "active"), pair("bob", "deleted")]);
    home.run(&["user", "enable", "bob"]).refused("(user_not_found)");
    home.run_with(&["user", "add", "bob"], "correct horse\n", &[]).refused("(user_exists)");
    home.run_with(&["user", "password", "nobody"], "correct horse\n", &[])
        .refused("(user_not_found)");
    home.run_with(&["user", "password", "alice"], "a new password\n", &[]).succeeded();

    let people = home.run(&["user", "list"]).succeeded();
    assert!(people.out.contains("USER") && people.out.contains("Alice A."), "{people:?}");
}

#[test]
fn what_is_held_of_a_user_comes_out_without_secrets() {
    let home = TestHome::new();
    home.run_with(&["user", "add", "alice"], "correct horse\n", &[]).succeeded();
    let export = home.run(&["user", "export", "alice"]).succeeded();
    let rows = export.json();
    assert_eq!(rows[0]["kind"], "account");
    assert_eq!(rows[0]["address"], "alice@acme.test");
    assert!(!export.out.contains("argon2"), "{export:?}");
    home.run(&["user", "export", "nobody"]).refused("there is no user nobody");
}

#[test]
fn invites_are_made_listed_and_revoked() {
    let home = TestHome::new();
    let made = home.run(&["invite", "create", "--uses", "3", "--expires", "7d", "--json"]);
    let made = made.succeeded().json().remove(0);
    let invite = made["invite"].as_str().unwrap();
    assert_eq!(invite.len(), 23);
    let plain = home.run(&["invite", "create"]).succeeded();
    assert_eq!(plain.out.trim().len(), 23);

    let listed = home.run(&["invite", "list", "--json"]).succeeded();
    assert_eq!(listed.json().len(), 2);
    assert_eq!(listed.json()[0]["uses_left"], 3);
    assert!(!listed.out.contains(invite), "the code is not kept");
    home.run(&["invite", "revoke", &invite.to_uppercase()]).succeeded();
    home.run(&["invite", "revoke", &plain.out[..5]]).succeeded();
    home.run(&["invite", "revoke", invite]).refused("(invite_not_found)");
    assert!(home.run(&["invite", "list", "--json"]).succeeded().out.is_empty());
}

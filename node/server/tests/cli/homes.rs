//! This home and the others, with the node stopped.

use data_encoding::BASE64;
use homing_wire::HomeId;

use crate::program::TestHome;

#[test]
fn a_home_says_who_it_is() {
    let home = TestHome::new();
    let id = home.run(&["home", "id", "--json"]).succeeded().json().remove(0);
    assert_eq!(id["home"], "acme.test");
    let key: [u8; 32] =
        BASE64.decode(id["identity"].as_str().unwrap().as_bytes()).unwrap().try_into().unwrap();
    assert_eq!(id["home_id"], HomeId::of_identity(&key).to_string());
    assert!(id["peer_id"].as_str().unwrap().starts_with("12D3KooW"));
    let text = home.run(&["home", "id"]).succeeded();
    assert!(text.out.contains("homing home trust acme.test"), "{text:?}");
}

#[test]
fn a_pinned_home_is_known_by_name() {
    let (acme, globex) = (TestHome::new(), TestHome::new());
    let id = globex.run(&["home", "id", "--json"]).succeeded().json().remove(0);
    let identity = id["identity"].as_str().unwrap();
    acme.run(&["home", "show", "globex.test"]).refused("(home_not_found)");
    acme.run(&["home", "trust", "globex.test", identity, "/ip4/127.0.0.1/tcp/7401"]).succeeded();
    acme.run(&["home", "trust", "globex.test", identity]).refused("pinned already");
    let shown = acme.run(&["home", "show", "globex.test", "--json"]).succeeded().json().remove(0);
    assert_eq!(shown["home_id"], id["home_id"]);
    assert_eq!(shown["state"], "away");

    acme.run(&["home", "block", "globex.test"]).succeeded();
    let listed = acme.run(&["peer", "list", "--json"]).succeeded().json();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["home"], &listed[0]["state"]),
        (&"globex.test".into(), &"blocked".into())
    );
    acme.run(&["home", "unblock", "globex.test"]).succeeded();
    assert_eq!(acme.run(&["peer", "list", "--json"]).succeeded().json()[0]["state"], "away");
    let own = acme.run(&["home", "id", "--json"]).succeeded().json().remove(0);
    acme.run(&["home", "block", own["home_id"].as_str().unwrap()]).refused("(own_home)");
}

#[test]
fn nothing_is_owed_by_a_new_home() {
    let home = TestHome::new();
    assert!(home.run(&["peer", "queue", "--json"]).succeeded().out.is_empty());
    assert!(home.run(&["peer", "queue"]).succeeded().out.contains("nothing is owed"));
    home.run(&["peer", "retry"]).refused("the node is stopped");
}

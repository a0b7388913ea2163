//! Commands against a running node, through its admin listener.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Ran, TestHome};

/// A node on ports of the system's choice.
struct Node<'a> {
    home: &'a TestHome,
    child: Child,
    ready: serde_json::Value,
}

impl<'a> Node<'a> {
    fn start(home: &'a TestHome) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_homing"))
            .args(["serve", "--json", "--config"])
            .arg(home.config())
            .env("HOMING_BRIDGE__LISTEN", "127.0.0.1:0")
            .env("HOMING_ADMIN__LISTEN", "127.0.0.1:0")
            .env("HOMING_P2P__LISTEN", "/ip4/127.0.0.1/tcp/0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], true, "{ready}");
        Self { home, child, ready }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Ran {
        let admin = self.ready["admin"].as_str().unwrap().trim_start_matches("http://");
        self.home.run_with(arguments, input, &[("HOMING_ADMIN__LISTEN", admin)])
    }

    /// Ends it as an operator does, and gives its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // After a failed assertion; a stopped one is gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn commands_reach_the_running_node_and_survive_it() {
    let home = TestHome::new();
    let node = Node::start(&home);
    node.run(&["user", "add", "alice"], "correct horse\n").succeeded();
    node.run(&["user", "add", "alice"], "correct horse\n").refused("(user_exists)");
    node.run(&["user", "disable", "alice"], "").succeeded();
    let listed = node.run(&["user", "list", "--json"], "").succeeded().json();
    assert_eq!(listed[0]["state"], "disabled");
    let export = node.run(&["user", "export", "alice"], "").succeeded().json();
    assert_eq!(export[0]["address"], "alice@acme.test");
    assert_eq!(node.run(&["invite", "create", "--json"], "").succeeded().json().len(), 1);
    assert!(node.run(&["peer", "queue", "--json"], "").succeeded().out.is_empty());
    node.run(&["peer", "retry"], "").succeeded();
    let check = node.run(&["check"], "");
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.out.contains("open in the running node"), "{check:?}");

    // A command that looks for the node elsewhere does not go behind its back.
    home.run(&["user", "list"]).refused("a node of this home runs, but does not answer at");
    // Nor does a second node.
    home.run(&["serve"]).refused("is in use by another process");
    assert_eq!(node.stop(), Some(0));

    let listed = home.run(&["user", "list", "--json"]).succeeded().json();
    assert_eq!(listed[0]["state"], "disabled");
    assert_eq!(home.run(&["invite", "list", "--json"]).succeeded().json().len(), 1);
}

#[test]
fn another_homes_node_is_not_taken_for_this_one() {
    let (acme, globex) = (TestHome::new(), TestHome::new());
    let node = Node::start(&acme);
    let admin = node.ready["admin"].as_str().unwrap().trim_start_matches("http://");
    let variables = [("HOMING_ADMIN__LISTEN", admin)];
    globex.run_with(&["user", "list"], "", &variables).refused("not this home");
    assert_eq!(node.stop(), Some(0));
}

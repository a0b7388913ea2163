//! What is wrong is named, with what was expected.

use crate::program::{TestHome, chmod, run};

#[test]
fn a_directory_that_exists_is_not_touched() {
    let home = TestHome::new();
    let before = std::fs::read(home.config()).unwrap();
    let dir = home.dir();
    let again = run(&["init", "--home", "acme.test", "--dir", dir.to_str().unwrap()], "", &[]);
    again.refused("exists and is not empty");
    assert_eq!(std::fs::read(home.config()).unwrap(), before);
    // A file in its place, and a place below a file.
    let file = home.config();
    let file = file.to_str().unwrap();
    run(&["init", "--home", "acme.test", "--dir", file], "", &[]).refused("is not a directory");
    let below = format!("{file}/below");
    run(&["init", "--home", "acme.test", "--dir", &below], "", &[]).refused("homing.toml");
}

#[test]
fn init_prints_what_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("acme");
    let dir = dir.to_str().unwrap();
    let ran = run(&["init", "--home", "Acme.Example", "--dir", dir, "--json"], "", &[]).succeeded();
    let made = &ran.json()[0];
    assert_eq!(made["home"], "acme.example");
    assert_eq!(made["dir"], dir);
    assert_eq!(made["config"], format!("{dir}/homing.toml"));
    assert_eq!(made["home_id"].as_str().unwrap().len(), 52);
}

#[test]
fn wrong_usage_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("x");
    let dir = dir.to_str().unwrap();
    run(&["init", "--home", "no_dns_name", "--dir", dir], "", &[]).misused("DNS name");
    run(&["init", "--home", "acme.test", "--dir", dir, "--p2p", "99999"], "", &[]).misused("--p2p");
    run(&["init", "--home", "acme.test", "--dir", dir, "--http", "here"], "", &[])
        .misused("--http");
    run(&["init", "--home", "acme.test"], "", &[]).misused("--dir");
    run(&["fly"], "", &[]).misused("fly");
    run(&[], "", &[]).misused("Usage");
    run(&["user", "add", "not a user"], "", &[]).misused("a user name has");
    run(&["invite", "create", "--uses", "0"], "", &[]).misused("--uses");
    run(&["invite", "create", "--expires", "soon"], "", &[]).misused("--expires");
    run(&["home", "trust", "b.test", "nonsense"], "", &[]).misused("44 characters");
    assert!(!folder.path().join("x").exists());
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands: &[&[&str]] = &[
        &[],
        &["init"],
        &["serve"],
        &["check"],
        &["user"],
        &["user", "add"],
        &["user", "list"],
        &["user", "disable"],
        &["user", "enable"],
        &["user", "password"],
        &["user", "delete"],
        &["user", "export"],
        &["invite"],
        &["invite", "create"],
        &["invite", "list"],
        &["invite", "revoke"],
        &["home"],
        &["home", "id"],
        &["home", "show"],
        &["home", "trust"],
        &["home", "block"],
        &["home", "unblock"],
        &["peer"],
        &["peer", "list"],
        &["peer", "queue"],
        &["peer", "retry"],
        &["client"],
    ];
    for command in commands {
        let arguments: Vec<&str> = command.iter().copied().chain(["--help"]).collect();
        let help = run(&arguments, "", &[]).succeeded();
        assert!(help.out.contains("Example"), "{command:?}: {}", help.out);
    }
}

#[test]
fn keys_of_the_configuration_are_named_with_their_line() {
    let home = TestHome::new();
    let lines = std::fs::read_to_string(home.config()).unwrap().lines().count();
    home.configure("[limits]\ncalls_wating = 3");
    home.run(&["user", "list"]).refused(&format!(
        "homing.toml, line {}: unknown key limits.calls_wating; did you mean calls_waiting?",
        lines + 2
    ));
    let home = TestHome::new();
    home.configure("[registration]\nmode = \"everyone\"");
    home.run(&["serve"]).refused(
        "registration.mode: expected one of \"open\", \"invite\", \"closed\", found \"everyone\"",
    );
}

#[test]
fn variables_are_checked_as_the_file_is() {
    let home = TestHome::new();
    let list = |variable| home.run_with(&["user", "list"], "", &[variable]);
    list(("HOMING_LIMITS__SESIONS", "1"))
        .refused("environment variable HOMING_LIMITS__SESIONS: unknown key limits.sesions; did you mean sessions?");
    list(("HOMING_LIMITS__SESSIONS", "none")).refused("expected a whole number");
    list(("HOMING_LIMITS__SESSIONS", "5")).succeeded();
    list(("HOMING_REGISTRATION__MODE", "open")).succeeded();
}

#[test]
fn no_configuration_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("homing.toml");
    let path = path.to_str().unwrap();
    run(&["user", "list", "--config", path], "", &[]).refused("name it with --config FILE");
    std::fs::write(path, "[home\nname = 1").unwrap();
    run(&["serve", "--config", path], "", &[]).refused("line 1: not TOML");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = TestHome::new();
    for name in ["keys/identity.key", "keys/signing.key", "keys/node.key", "admin.token"] {
        let path = home.dir().join(name);
        chmod(&path, 0o644);
        for command in [&["user", "list"][..], &["serve"], &["check"]] {
            let ran = home.run(command);
            assert_eq!(ran.code, 1, "{ran:?}");
            let said = format!("{}{}", ran.out, ran.err);
            let expected = format!("chmod 600 {}", path.display());
            assert!(said.contains("can be read by others") && said.contains(&expected), "{said}");
        }
        chmod(&path, 0o600);
    }
    home.run(&["user", "list"]).succeeded();
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let home = TestHome::new();
    let store = home.dir().join("store");
    set_format(&store, 99);
    for command in [&["user", "list"][..], &["serve"]] {
        home.run(command).refused("has format 99; this program knows formats up to");
    }
    let check = home.run(&["check"]);
    assert_eq!(check.code, 1);
    assert!(check.out.contains("FAIL store") && check.out.contains("format 99"), "{check:?}");
}

/// Says in the store's description (`docs/STORAGE.md`) that it has another format, as a newer program would.
fn set_format(store: &std::path::Path, format: u32) {
    let path = store.join("store");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("check "));
    let content: String = lines
        .map(|line| {
            if line.starts_with("format ") {
                format!("format {format}\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(&path, format!("{content}check {:08x}\n", crc32(content.as_bytes()))).unwrap();
}

/// CRC-32 (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn check_says_what_to_do() {
    let home = TestHome::new();
    let good = home.run(&["check", "--json"]);
    assert_eq!(good.code, 0, "{good:?}");
    let findings = good.json();
    let verdict = |check: &str| {
        findings.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("{check}"))["verdict"]
            .as_str()
            .unwrap()
    };
    for check in ["configuration", "keys", "admin token", "store", "clock", "flush", "port"] {
        assert_eq!(verdict(check), "ok", "{check}");
    }
    assert_eq!(verdict("name"), "warn", "acme.test is nobody's");

    // A port that is taken; the kernel's choice is none of the home's own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = home.run_with(&["check"], "", &[("HOMING_BRIDGE__LISTEN", &address)]);
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(
        taken.out.contains(&format!("FAIL port: bridge.listen {address} is taken")),
        "{taken:?}"
    );
    assert!(taken.err.contains("1 check failed"), "{taken:?}");

    // A pinned home that does not answer is no failure of this one.
    home.configure(&format!(
        "[[federation.pin]]\nhome = \"globex.test\"\nidentity = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\naddresses = [\"/ip4/127.0.0.1/tcp/{}\"]",
        home.silent_port()
    ));
    let away = home.run(&["check"]);
    assert_eq!(away.code, 0, "{away:?}");
    assert!(away.out.contains("warn peer: globex.test cannot be reached"), "{away:?}");
}

use super::*;

const NONE: [(String, String); 0] = [];

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/homing/homing.toml"), NONE)
}

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, Path::new("homing.toml"), variables)
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const HOME: &str = "[home]\nname = \"acme.example\"\n";
const IDENTITY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// The default, which loading from `homing.toml` in the working directory leaves as it is.
fn defaults() -> Config {
    Config::default()
}

#[test]
fn the_sample_parses_to_the_defaults_as_it_is_and_with_every_key_set() {
    let text = sample();
    assert_eq!(parse_with(&text, &[]).unwrap(), defaults());
    // Settings are commented with "#" alone, prose with "# ".
    let all: String = text
        .lines()
        .filter_map(|line| match line.strip_prefix('#') {
            None => Some(line),
            Some(rest) if rest.starts_with(' ') || rest.is_empty() => None,
            Some(rest) => Some(rest),
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(parse_with(&all, &[]).unwrap(), defaults());
    let set = all.lines().filter(|line| line.contains(" = ")).count();
    let known: usize = defaults().sections().iter().map(|s| s.keys.len()).sum();
    // No default to show: public_url, media.folder, s3_endpoint, messages and pin.
    assert_eq!(set, known - 5, "every key has a line");
}

#[test]
fn the_examples_in_the_sample_are_right() {
    let text = sample();
    let examples: String = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("#   ")
                .or((line == "#[retention]").then_some("[retention]"))
                .or((line == "[home]").then_some("[home]\nname=\"a.example\"\n[bridge]"))
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = parse_with(&examples, &[]).unwrap_or_else(|e| panic!("{e}\n{examples}"));
    assert_eq!(config.federation.pin.len(), 1);
    assert!(config.bridge.public_url.is_some());
    assert_eq!(config.retention.messages.map(super::Age::ms), Some(365 * 86_400_000));
}

#[test]
fn the_sample_in_the_documents_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/homing.sample.toml");
    if std::env::var_os("HOMING_REGENERATE").is_some() {
        std::fs::write(&path, sample()).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == sample(),
        "docs/homing.sample.toml is old: run the tests with HOMING_REGENERATE=1"
    );
}

#[test]
fn every_key_says_what_it_is_for() {
    for section in Config::default().sections() {
        for key in &section.keys {
            assert!(key.about.iter().all(|line| line.len() > 5), "{}.{}", section.name, key.name);
        }
    }
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    assert_eq!(
        refused(&format!("{HOME}\n[limits]\n# a comment\ncalls_wating = 3\n")),
        "/etc/homing/homing.toml, line 6: unknown key limits.calls_wating; did you mean calls_waiting?"
    );
    assert!(
        refused(&format!("{HOME}colour = 1"))
            .contains("line 3: unknown key home.colour; expected one of name, data")
    );
    assert!(
        refused(&format!("{HOME}[media]\nquota = 1")).contains("line 4: unknown key media.quota")
    );
    assert!(
        refused("[hom]\nname = \"a.b\"")
            .contains("line 1: unknown section [hom]; did you mean home?")
    );
    assert!(refused("name = \"a.b\"").contains("line 1: unknown section [name]"));
    assert!(refused("home = 3").contains("line 1: home: expected a section, [home], found 3"));
    assert!(refused(&format!("{HOME}[log.more]\nx = 1")).contains("line 3: unknown key log.more"));
}

#[test]
fn wrong_values_say_what_was_expected_and_found() {
    let cases = [
        ("[bridge]\nlisten = \"localhost\"", "bridge.listen: expected an IP address and a port"),
        (
            "[limits]\nsessions = 0",
            "limits.sessions: expected a whole number from 1 to 1000000, found 0",
        ),
        ("[limits]\nsessions = \"many\"", "found \"many\""),
        ("[limits]\nsessions = -1", "found -1"),
        ("[limits]\nsessions = 1.5", "found 1.5"),
        ("[limits]\nmemory_share = 2.0", "expected a share above 0 and up to 1"),
        (
            "[registration]\nmode = \"opn\"",
            "expected one of \"open\", \"invite\", \"closed\", found \"opn\"",
        ),
        ("[p2p]\nlisten = \"/ip4/1.2.3.4/tcp/1\"", "expected an array"),
        ("[p2p]\nlisten = [\"1.2.3.4:1\"]", "expected an array, each a multiaddress"),
        ("[p2p]\nallow_private = \"yes\"", "expected true or false, found \"yes\""),
        ("[federation]\ndeny = [\"not a home\"]", "expected an array, each a home's DNS name"),
        (
            "[[federation.pin]]\nhome = \"b.example\"\nidentity = \"xx\"",
            "identity to be an Ed25519 public key",
        ),
        (
            "[[federation.pin]]\nhome = \"b.example\"",
            "federation.pin: expected an array, each a table with home",
        ),
        ("[bridge]\npublic_url = \"https://a.example/chat\"", "expected a URL without a path"),
        ("[retention]\nmessages = 365", "expected an age such as \"365d\", in days"),
        ("[retention]\nmessages = \"0d\"", "expected an age"),
        ("[retention]\nmessages = \"1y\"", "found \"1y\""),
        ("[retention]\nmessages = \"d\"", "found \"d\""),
        ("[log]\nlevel = 2024-01-01", "found 2024-01-01"),
    ];
    for (text, expected) in cases {
        let said = refused(&format!("{HOME}{text}"));
        assert!(said.contains(expected), "{said}");
        assert!(said.starts_with("/etc/homing/homing.toml, line "), "{said}");
    }
    assert!(refused("[home]\nname = \"acme\"").contains("line 2: home.name: expected a DNS name"));
}

#[test]
fn broken_toml_and_a_missing_name_are_named() {
    let said = refused("[home]\nname = \"acme.example\n");
    assert!(said.contains("line 2: not TOML: ") && said.lines().count() == 1, "{said}");
    assert!(
        refused("[home]\nname = \"a.example\"\nname = \"b.example\"").contains("line 3: not TOML")
    );
    assert!(refused("[log]\nlevel = \"info\"").contains("home.name is not set"));
}

#[test]
fn contradictions_are_refused() {
    let pin =
        |home: &str| format!("[[federation.pin]]\nhome = \"{home}\"\nidentity = \"{IDENTITY}\"\n");
    let cases = [
        (
            "[limits]\nheartbeat_ms = 20000".to_owned(),
            "limits.relay_deadline_ms (15000) must be more than",
        ),
        ("[limits]\nping_ms = 100000".to_owned(), "limits.silence_ms (75000) must be more than"),
        (
            "[limits]\nbackoff_max_ms = 100".to_owned(),
            "must not be less than limits.backoff_min_ms",
        ),
        (
            "[limits]\ncontacts = 100000\nblocks = 100000\n[store]\nsegment_bytes = 33554432"
                .to_owned(),
            "limits.blocks (100000) twice: at least 67203072",
        ),
        ("[admin]\nlisten = \"127.0.0.1:8080\"".to_owned(), "expected two addresses"),
        (pin("acme.example"), "which is this home"),
        (pin("b.example") + &pin("b.example"), "names b.example twice"),
        (pin("b.example") + &pin("c.example"), "the same identity"),
    ];
    for (text, expected) in cases {
        let said = refused(&format!("{HOME}{text}"));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = parse_with(
        &format!("{HOME}[limits]\ncalls_per_s = 5\n[p2p]\nlisten = []"),
        &[
            ("HOMING_HOME__NAME", "globex.example"),
            ("HOMING_LIMITS__CALLS_PER_S", "7"),
            ("HOMING_LIMITS__MEMORY_SHARE", "0.5"),
            ("HOMING_REGISTRATION__MODE", "open"),
            ("HOMING_P2P__ALLOW_PRIVATE", "true"),
            ("HOMING_P2P__LISTEN", "/ip4/127.0.0.1/tcp/0, /ip4/127.0.0.1/udp/0/quic-v1"),
            ("HOMING_FEDERATION__DENY", "[\"c.example\", \"d.example\"]"),
            (
                "HOMING_FEDERATION__PIN",
                &format!("[{{ home = \"b.example\", identity = \"{IDENTITY}\" }}]"),
            ),
            ("HOMING_PROFILE", "not a key"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();
    assert_eq!(config.home.name.as_str(), "globex.example");
    assert_eq!(config.limits.calls_per_s, 7);
    assert_eq!(config.limits.memory_share, 0.5);
    assert_eq!(config.registration.mode, RegistrationMode::Open);
    assert!(config.p2p.allow_private);
    assert_eq!(config.p2p.listen.len(), 2);
    assert_eq!(config.federation.deny.len(), 2);
    assert_eq!(config.federation.pin[0].identity.to_string(), IDENTITY);
    // The name may come from the environment alone.
    assert!(parse_with("", &[("HOMING_HOME__NAME", "globex.example")]).is_ok());
}

#[test]
fn unknown_and_wrong_variables_are_named() {
    let refused =
        |name: &str, value: &str| parse_with(HOME, &[(name, value)]).unwrap_err().to_string();
    assert_eq!(
        refused("HOMING_LIMITS__CALS_PER_S", "1"),
        "environment variable HOMING_LIMITS__CALS_PER_S: unknown key limits.cals_per_s; did you mean calls_per_s?"
    );
    assert!(refused("HOMING_LIMTS__SESSIONS", "1").contains("unknown section [limts]"));
    assert!(refused("HOMING_LIMITS__SESSIONS", "lots").contains(
        "environment variable HOMING_LIMITS__SESSIONS: limits.sessions: expected a whole number from 1 to 1000000, found \"lots\""
    ));
    assert!(refused("HOMING_FEDERATION__DENY", "[\"a.b\"").contains("expected a TOML array"));
}

#[test]
fn changes_are_listed_by_key() {
    let before = parse(HOME).unwrap();
    let after = parse(&format!(
        "{HOME}[registration]\nmode = \"closed\"\n[[federation.pin]]\nhome = \"b.example\"\nidentity = \"{IDENTITY}\""
    ))
    .unwrap();
    assert_eq!(before.changed_keys(&after), ["registration.mode", "federation.pin"]);
    assert!(before.changed_keys(&before).is_empty());
}

#[test]
fn paths_hang_on_the_file() {
    assert_eq!(parse(HOME).unwrap().store_folder(), Path::new("/etc/homing/store"));
    let config = parse(&format!("{HOME}data = \"/srv/homing\"")).unwrap();
    assert_eq!(config.admin_token_file(), Path::new("/srv/homing/admin.token"));
}

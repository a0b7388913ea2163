//! The commented sample, made from the same declarations that the file is read by.

use std::fmt::Write as _;

use super::Config;

/// The sample configuration: the keys that have no default are set, all others stand commented with
/// their defaults.
pub fn sample() -> String {
    render(&Config::default(), &["home.name", "home.data"])
}

/// What follows a key that is not set, or an array of tables, whose value says too little.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("public_url", &["public_url = \"https://chat.acme.example\""]),
    ("messages", &["messages = \"365d\""]),
    (
        "pin",
        &[
            "[[federation.pin]]",
            "home = \"globex.example\"",
            "identity = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"",
            "addresses = [\"/dns/globex.example/udp/7400/quic-v1\", \"/dns/globex.example/tcp/7400\"]",
        ],
    ),
];

const HEAD: &str = "\
# Homing: configuration of a home.
# Lines that start with \"# \" explain. Lines that start with \"#\" alone are defaults: remove the # to set
# them, and the # before their [section] with the first of them. Every key is also an environment variable,
# HOMING_SECTION__KEY, which wins over this file. `homing check` looks whether everything is right.
";

/// The configuration as a commented file. Keys named in `set` (`section.key`) stand as settings, all
/// others as comments, together with the headers of the sections that hold no setting: a section may
/// so be appended to the file.
pub fn render(config: &Config, set: &[&str]) -> String {
    let mut text = HEAD.to_owned();
    for section in config.sections() {
        let is_set = |key: &str| set.contains(&format!("{}.{key}", section.name).as_str());
        let active = section.keys.iter().any(|key| is_set(key.name));
        text.push('\n');
        for line in section.about {
            put(&mut text, "#", line);
        }
        put(&mut text, if active { "" } else { "#" }, &format!("[{}]", section.name));
        for key in &section.keys {
            for line in key.about {
                put(&mut text, "#", line);
            }
            let example = EXAMPLES.iter().find(|(name, _)| *name == key.name);
            match (&key.value, example) {
                (Some(value), _) if is_set(key.name) => {
                    put(&mut text, "", &format!("{} = {value}", key.name));
                }
                // An example, not a default: it stays prose.
                (_, Some((_, lines))) => {
                    for line in *lines {
                        put(&mut text, "#   ", line);
                    }
                }
                (Some(value), None) => put(&mut text, "#", &format!("{} = {value}", key.name)),
                (None, None) => {}
            }
        }
    }
    text
}

fn put(text: &mut String, before: &str, line: &str) {
    writeln!(text, "{before}{line}").expect("writing to a String does not fail");
}

//! What the testnet adds to a home's configuration.

use super::Home;

/// Everything below this line of `homing.toml` is this crate's.
const MARKER: &str =
    "# Below: written by homing-testnet, and written anew when it starts. Put changes above.";

/// How another home is known.
pub(super) struct Pin {
    home: String,
    identity: String,
    p2p_port: u16,
}

impl Pin {
    pub(super) fn of(home: &Home, p2p_port: u16) -> Self {
        Self { home: home.name.clone(), identity: home.identity.identity.clone(), p2p_port }
    }
}

/// The configuration with the testnet's part, which replaces an earlier one.
pub(super) fn with_settings(text: &str, pins: &[Pin]) -> String {
    let own = text.split(MARKER).next().unwrap_or_default().trim_end();
    let mut text = format!(
        "{own}\n\n{MARKER}\n[registration]\nmode = \"open\"\n\n[federation]\nfirst_contact = \"accept\"\n"
    );
    for Pin { home, identity, p2p_port } in pins {
        text.push_str(&format!(
            "\n[[federation.pin]]\nhome = \"{home}\"\nidentity = \"{identity}\"\naddresses = \
             [\"/ip4/127.0.0.1/udp/{p2p_port}/quic-v1\", \"/ip4/127.0.0.1/tcp/{p2p_port}\"]\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_replaced_and_what_stands_above_is_kept() {
        let pins =
            [Pin { home: "globex.test".to_owned(), identity: "aWQ=".to_owned(), p2p_port: 18091 }];
        let first = "# mine\n[home]\nname = \"acme.test\"\n\n#[federation]\n#mode = \"open\"\n";
        let once = with_settings(first, &pins);
        let twice = with_settings(&once, &pins);
        assert_eq!(once, twice);
        assert!(once.starts_with(first.trim_end()));
        let read: toml::Table = toml::from_str(&once).unwrap();
        let pin = &read["federation"]["pin"][0];
        assert_eq!(pin["identity"].as_str(), Some("aWQ="));
        assert_eq!(pin["addresses"][1].as_str(), Some("/ip4/127.0.0.1/tcp/18091"));
        assert_eq!(read["registration"]["mode"].as_str(), Some("open"));
    }
}

//! `homing home`: this home, and which others are believed.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use homing_wire::{HomeName, HomeRef};
use serde_json::json;

use super::{ConfigArg, output, peer, reach, user::wrong};
use crate::config::{Config, Identity, PeerAddress};
use crate::control::{Control, ControlReply};
use crate::keys::Keys;

/// This home, and which others are believed.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, what two operators exchange:\n  homing home id --config acme/homing.toml\n  \
    homing home trust globex.example IDENTITY /dns/globex.example/udp/7400/quic-v1 --config acme/homing.toml"
)]
pub(super) struct HomeArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print this home's name, id and identity, for other operators. Needs no running node.
    #[command(after_help = "Example:\n  homing home id --json")]
    Id {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print what is known of a home; of this one where none is named.
    #[command(after_help = "Example:\n  homing home show globex.example")]
    Show {
        /// Its name or id.
        home: Option<HomeRef>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Pin a home: its name is believed from then on. Writes [[federation.pin]] into the configuration.
    #[command(
        after_help = "Example:\n  homing home trust globex.example 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= \
        /dns/globex.example/udp/7400/quic-v1\n\nThe running node takes it when it is restarted."
    )]
    Trust {
        /// Its name.
        home: HomeName,
        /// Its identity: what `homing home id` says there, or /.well-known/homing.
        identity: Identity,
        /// Multiaddresses where it is reached.
        addresses: Vec<PeerAddress>,
    },
    /// Talk to a home no longer: it is cut off and gets nothing until unblocked.
    #[command(after_help = "Example:\n  homing home block initech.example")]
    Block {
        /// Its name or id.
        home: HomeRef,
    },
    /// Talk to a blocked home again.
    #[command(after_help = "Example:\n  homing home unblock initech.example")]
    Unblock {
        /// Its name or id.
        home: HomeRef,
    },
}

pub(super) async fn run(args: HomeArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Id { json } | Command::Show { home: None, json } => {
            own(&args.config.load()?, json)
        }
        Command::Show { home: Some(home), json } => {
            let reply = once(&args.config, Control::HomeShow { home }).await?;
            let ControlReply::Peer(row) = reply else { return Err(wrong()) };
            let row = peer::PeerLine::of(&row);
            if json { output::line(&row) } else { row.print() }
        }
        Command::Trust { home, identity, addresses } => {
            let path = &args.config.config;
            trust(path, &args.config.load()?, &home, &identity, &addresses)?;
            output::text(&format!(
                "{home} is pinned in {}: restart the node to take it",
                path.display()
            ))
        }
        Command::Block { home } => {
            let said = format!("{home} is blocked");
            done(&args.config, Control::HomeBlock { home, blocked: true }, &said).await
        }
        Command::Unblock { home } => {
            let said = format!("{home} is no longer blocked");
            done(&args.config, Control::HomeBlock { home, blocked: false }, &said).await
        }
    }
}

fn own(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let keys = Keys::load(&config.keys_folder())?;
    let (home_id, identity) = (keys.home_id(), keys.identity().to_string());
    let peer_id = keys.node.peer_id_text();
    let name = &config.home.name;
    if as_json {
        return output::line(&json!({
            "home": name,
            "home_id": home_id,
            "identity": identity,
            "peer_id": peer_id,
        }));
    }
    output::text(&format!(
        "home      {name}\nhome id   {home_id}\nidentity  {identity}\npeer id   {peer_id}\n\n\
         For the operator of another home:\n  homing home trust {name} {identity}{}",
        config.p2p.announce.iter().map(|a| format!(" {}", a.as_str())).collect::<String>(),
    ))
}

async fn once(config: &ConfigArg, control: Control) -> anyhow::Result<ControlReply> {
    let (_, mut operator) = reach(config).await?;
    let answer = operator.control(control).await;
    operator.close()?;
    answer
}

async fn done(config: &ConfigArg, control: Control, said: &str) -> anyhow::Result<()> {
    let ControlReply::Done = once(config, control).await? else { return Err(wrong()) };
    output::text(said)
}

/// Adds a pin to the end of the file, if the file is still right with it.
fn trust(
    path: &Path,
    config: &Config,
    home: &HomeName,
    identity: &Identity,
    addresses: &[PeerAddress],
) -> anyhow::Result<()> {
    if let Some(pin) = config.federation.pin.iter().find(|pin| pin.home == *home) {
        if pin.identity == *identity {
            bail!("{home} is pinned already, with this identity: nothing was changed");
        }
        bail!(
            "{home} is pinned with another identity ({}): if you are sure that it was replaced, change it in {}",
            pin.identity,
            path.display()
        );
    }
    let before =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let list: Vec<String> = addresses.iter().map(|a| quoted(a.as_str())).collect();
    let gap = if before.ends_with('\n') { "\n" } else { "\n\n" };
    let after = format!(
        "{before}{gap}[[federation.pin]]\nhome = {}\nidentity = {}\naddresses = [{}]\n",
        quoted(home.as_str()),
        quoted(&identity.to_string()),
        list.join(", "),
    );
    Config::parse(&after, path, [])
        .context("the configuration would be wrong with this pin; nothing was changed")?;
    replace(path, &after).with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces a file whole, so that a crash leaves the old or the new one.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    let mut name = path.file_name().context("not a file")?.to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    let written = write();
    if written.is_err() {
        let _best_effort = fs::remove_file(&beside);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_pin_is_added_once_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("homing.toml");
        let before = "# mine\n[home]\nname = \"acme.example\"\n[federation]\nmode = \"allow\"";
        fs::write(&path, before).unwrap();
        let home: HomeName = "globex.example".parse().unwrap();
        let identity: Identity = IDENTITY.parse().unwrap();
        let address: PeerAddress = "/dns/globex.example/tcp/7400".parse().unwrap();
        let load = || Config::load_with(&path, []).unwrap();
        trust(&path, &load(), &home, &identity, std::slice::from_ref(&address)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(before));
        let config = load();
        assert_eq!(config.federation.pin[0].home, home);
        assert_eq!(config.federation.pin[0].addresses, [address]);

        let again = trust(&path, &config, &home, &identity, &[]).unwrap_err();
        assert!(again.to_string().contains("pinned already"), "{again}");
        let other = Identity([0; 32]);
        let changed = trust(&path, &config, &home, &other, &[]).unwrap_err();
        assert!(changed.to_string().contains("another identity"), "{changed}");
        let own: HomeName = "acme.example".parse().unwrap();
        let own = trust(&path, &config, &own, &other, &[]).unwrap_err();
        assert!(format!("{own:#}").contains("which is this home"), "{own:#}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}

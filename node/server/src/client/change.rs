//! `homing client edit|delete|react`: what becomes of a message that is there.

use clap::Args;
use homing_client::{Client, Message, MessageRef, Uuid};

use super::show::{Screen, harmless};
use super::{Session, all_of_stdin, patiently};

/// Which message.
#[derive(Debug, Args)]
pub(super) struct OfMessage {
    /// An address (a name alone is a user of your own home) or a channel's id.
    with: String,
    /// The message's id: `send` prints it, and `history --json`.
    id: Uuid,
    /// Who sent it, should two have chosen the same id.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
}

/// Other words for one of one's own.
#[derive(Debug, Args)]
pub(super) struct Edit {
    #[command(flatten)]
    of: OfMessage,
    /// The text; `-` reads standard input, without its last newline.
    text: String,
}

/// An emoji for a message.
#[derive(Debug, Args)]
pub(super) struct React {
    #[command(flatten)]
    of: OfMessage,
    /// One emoji.
    emoji: String,
    /// Take it back.
    #[arg(long)]
    off: bool,
}

pub(super) async fn edit(session: &Session, screen: &Screen, edit: Edit) -> anyhow::Result<()> {
    let text = if edit.text == "-" { all_of_stdin()? } else { edit.text };
    let (client, channel, of) = found(session, &edit.of).await?;
    patiently(async || client.edit(channel, &of, &text).await).await?;
    shown(screen, &client, channel, &of, "edited").await
}

pub(super) async fn delete(
    session: &Session,
    screen: &Screen,
    of: OfMessage,
) -> anyhow::Result<()> {
    let (client, channel, of) = found(session, &of).await?;
    patiently(async || client.delete(channel, &of).await).await?;
    shown(screen, &client, channel, &of, "deleted").await
}

pub(super) async fn react(session: &Session, screen: &Screen, react: React) -> anyhow::Result<()> {
    let (client, channel, of) = found(session, &react.of).await?;
    patiently(async || client.react(channel, &of, &react.emoji, !react.off).await).await?;
    let done = if react.off { "taken back" } else { "given" };
    let done = format!("{} {done}", harmless(&react.emoji));
    shown(screen, &client, channel, &of, &done).await
}

/// The message as the home has it: whoever names it need not know who sent it.
async fn found(session: &Session, of: &OfMessage) -> anyhow::Result<(Client, Uuid, MessageRef)> {
    let sender = of.sender.as_deref().map(|sender| session.user(sender)).transpose()?;
    let (client, _events) = session.connect().await?;
    let channel = super::own::existing(session, &client, &of.with).await?.channel;
    let ask = async || client.message(channel, of.id, sender.as_deref()).await;
    let message = patiently(ask).await?;
    Ok((client, channel, MessageRef { id: message.id, sender: message.sender }))
}

/// Prints the message as it is then.
async fn shown(
    screen: &Screen,
    client: &Client,
    channel: Uuid,
    of: &MessageRef,
    done: &str,
) -> anyhow::Result<()> {
    let ask = async || client.message(channel, of.id, Some(&of.sender)).await;
    let message: Message = patiently(ask).await?;
    screen.result(&message, |screen| screen.line(&format!("{} {done}", of.id)))
}

//! `homing client chat`: the full-screen client, signed in as the profile says.

use homing_terminal::{Chat, ChatError, Open};

use super::{Peer, Session};

pub(super) async fn run(session: &Session, with: Option<&str>) -> anyhow::Result<()> {
    let open = match with.map(|typed| session.peer(typed)).transpose()? {
        Some(Peer::Channel(channel)) => Some(Open::Channel(channel)),
        Some(Peer::Address(address)) => Some(Open::Address(address)),
        None => None,
    };
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let chat = Chat { options: session.options()?, colour, open };
    match Box::pin(homing_terminal::run(chat)).await {
        // What is to be done about a refusal is known by its reason.
        Err(ChatError::Home(error)) => Err(error.into()),
        other => Ok(other?),
    }
}

/// Whether a command was typed where it cannot work: that is wrong usage.
pub fn is_without_terminal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ChatError::NoTerminal))
}

//! `homing client search`: messages by their words.

use homing_client::MessageQuery;

use super::show::{Days, Screen};
use super::{PAGE, Session, patiently};

/// What is looked for.
#[derive(Debug, clap::Args)]
pub(super) struct SearchArgs {
    /// Words, all of which must be there; the last may be the beginning of one.
    query: String,
    /// Only in the conversation with this address or channel.
    #[arg(long, value_name = "WITH")]
    r#in: Option<String>,
    /// How many messages.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(super) async fn run(
    session: &Session,
    screen: &Screen,
    args: SearchArgs,
) -> anyhow::Result<()> {
    let (client, _events) = session.connect().await?;
    let channel = match &args.r#in {
        Some(with) => Some(session.peer(with)?.channel(&client).await?.channel),
        None => None,
    };
    let (mut left, mut cursor, mut indexing) = (args.limit, None, false);
    let mut days = Days::default();
    loop {
        let limit = Some(left.min(PAGE / 2));
        let query = MessageQuery { query: &args.query, channel, cursor: cursor.as_deref(), limit };
        let page = patiently(async || client.search(&query).await).await?;
        indexing |= page.indexing;
        for message in &page.messages {
            screen.result(message, |screen| screen.message(&mut days, message, None))?;
        }
        left -= u32::try_from(page.messages.len()).unwrap_or(left).min(left);
        cursor = page.cursor;
        if left == 0 || cursor.is_none() {
            break;
        }
    }
    client.close().await;
    if indexing {
        super::note("the home is still making its index: there may be more");
    }
    Ok(())
}

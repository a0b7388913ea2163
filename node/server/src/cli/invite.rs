//! `homing invite`: codes with which people make their own account.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{ConfigArg, output, reach, user::wrong};
use crate::control::{Control, ControlReply, INVITE_USES};
use crate::operator::{Operator, now_ms};
use crate::token;

/// Codes with which people make their own account.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  homing invite create --uses 5 --expires 7d --config acme/homing.toml\n\n\
    The home may be running or stopped."
)]
pub(super) struct InviteArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an invite. The code is shown once; the home keeps its hash alone.
    #[command(after_help = "Example:\n  homing invite create --uses 5 --expires 7d --json")]
    Create {
        /// How many people may register with it.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(INVITE_USES)))]
        uses: u32,
        /// Void after this time, such as 90m, 12h or 7d; else never.
        #[arg(long, value_name = "TIME", value_parser = duration_ms)]
        expires: Option<u64>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List open invites.
    #[command(after_help = "Example:\n  homing invite list --json")]
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Revoke an invite.
    #[command(after_help = "Example:\n  homing invite revoke kq3mz")]
    Revoke {
        /// The code, or its first five characters as listed.
        code: String,
    },
}

pub(super) async fn run(args: InviteArgs) -> anyhow::Result<()> {
    let (_, mut operator) = reach(&args.config).await?;
    let result = carry_out(args.command, &mut operator).await;
    operator.close()?;
    result
}

async fn carry_out(command: Command, to: &mut Operator) -> anyhow::Result<()> {
    match command {
        Command::Create { uses, expires, json } => {
            let invite = token::new_invite()?;
            let control = Control::InviteCreate {
                code: token::invite_hash(&invite),
                hint: token::invite_hint(&invite),
                uses,
                expires_at: expires.map(|ms| now_ms() + ms),
            };
            let ControlReply::Invite(row) = to.control(control).await? else {
                return Err(wrong());
            };
            if json {
                let (uses, expires_at) = (row.uses_left, row.expires_at);
                output::line(&json!({ "invite": invite, "uses": uses, "expires_at": expires_at }))
            } else {
                output::text(&invite)
            }
        }
        Command::List { json } => {
            let reply = to.control(Control::InviteList).await?;
            let ControlReply::Invites { invites } = reply else { return Err(wrong()) };
            if json {
                return invites.iter().try_for_each(output::line);
            }
            let rows: Vec<Vec<String>> = invites
                .iter()
                .map(|row| {
                    vec![
                        format!("{}-…", row.hint),
                        row.uses_left.to_string(),
                        output::time(row.created_at),
                        output::maybe_time(row.expires_at),
                    ]
                })
                .collect();
            output::table(
                &["invite", "uses left", "created (UTC)", "expires (UTC)"],
                &rows,
                "no invites are open",
            )
        }
        Command::Revoke { code } => {
            let control = Control::InviteRevoke {
                code: token::invite_hash(&code),
                hint: token::invite_hint(&code.to_ascii_lowercase()),
            };
            let ControlReply::Invite(row) = to.control(control).await? else {
                return Err(wrong());
            };
            output::text(&format!("{}-… is revoked", row.hint))
        }
    }
}

/// A time such as `90m`, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    /// Ten years: longer is for ever, and said by leaving it out.
    const MOST_MS: u64 = 3_652 * 86_400_000;
    let wrong =
        || "expected a number and a unit, such as 90m, 12h or 7d, of ten years at most".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let unit_ms: u64 = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit_ms).filter(|ms| (1..=MOST_MS).contains(ms)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration_ms("90m"), Ok(5_400_000));
        assert_eq!(duration_ms("7d"), Ok(604_800_000));
        for wrong in ["", "7", "d", "-1d", "0d", "7w", "99999999999999999999d", "4000d", "ä"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }
}

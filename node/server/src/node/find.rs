//! Finding people of this home by the beginnings of words of their names.

use homing_core::{Fault, is_found, words};
use homing_link::{Answer, Code, Found, Refused, UserView};
use homing_store::Store;
use homing_wire::{HomeId, Local, UserRef};

use super::calls::{Outcome, Stop};
use super::hub::Hub;
use super::read::ReadJob;
use super::show::Shower;

/// Rows of the index looked at for one search: where so many begin alike, another letter tells more than waiting does.
const SCANNED: usize = 2_000;

impl Hub {
    pub(super) fn users_search(&self, query: &str) -> Result<Outcome, Stop> {
        // Of an address, what stands before the @; of another home's nobody is found.
        let (names, home) = query.split_once('@').unwrap_or((query, ""));
        let own = self.directory.show(&self.home.id());
        let mut wanted = words(names);
        if wanted.is_empty() {
            let message = "query has no word to look for";
            return Err(Refused::new(Code::InvalidParams, "invalid_query", message).into());
        }
        // The same word twice, and a short one beside a longer, ask for nothing more.
        wanted.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
        wanted.dedup();
        let limit = self.limits.users_found;
        if !own.starts_with(&home.trim().to_ascii_lowercase()) {
            return Ok(Outcome::Answer(Answer::Found(Found { users: Vec::new(), more: false })));
        }
        Ok(Outcome::Read(ReadJob::Found { wanted, limit, home: self.home.id() }))
    }
}

/// Reads who is found by all the wanted words, the longest first.
pub(super) fn found(
    store: &dyn Store,
    wanted: &[String],
    limit: usize,
    home: HomeId,
    shower: &Shower,
) -> Result<Answer, Fault> {
    let rows = store.found_by(wanted.first().map_or("", String::as_str), SCANNED)?;
    let mut more = rows.len() == SCANNED;
    let mut seen = std::collections::HashSet::new();
    let mut users = Vec::new();
    for user in rows {
        if !seen.insert(user.clone()) {
            continue;
        }
        let Some(account) = store.account(&user)?.filter(|account| is_found(account, wanted))
        else {
            continue;
        };
        if users.len() == limit {
            more = true;
            break;
        }
        let avatar = shower.user_avatar(store, &account)?;
        let address = shower.address(&UserRef::new(home, Local::clone(&user)));
        users.push(UserView {
            address: address.to_string(),
            user_id: account.user_id.to_string(),
            display_name: account.display_name,
            avatar,
            privacy: None,
            presence: None,
        });
    }
    Ok(Answer::Found(Found { users, more }))
}

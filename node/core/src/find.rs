//! Finding people of this home by the beginnings of words of their names: an index beside the accounts, on disk, so that
//! no search goes through all of them.

use std::collections::BTreeSet;

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::state::{Account, AccountState};
use crate::write::Write;

/// Words of one name in the index: few people have more, and a display name of a hundred one-letter words shall not cost a
/// hundred rows.
const WORDS: usize = 8;

/// Bytes of a word in the index; longer ones are found by these.
const WORD_BYTES: usize = 48;

/// The words of a text, as the index has them: without case, as far as Unicode has any.
pub fn words(text: &str) -> Vec<String> {
    let between = |c: char| {
        // Marks that stand on letters are parts of words; so are emoji.
        c.is_whitespace()
            || c.is_ascii_punctuation()
            || matches!(c, '\u{b7}' | '\u{2010}'..='\u{201f}' | '\u{3000}'..='\u{3003}')
    };
    let fold = |word: &str| {
        // By way of the upper case: ß is SS there, and both small sigmas are one.
        let mut folded = String::with_capacity(word.len().min(WORD_BYTES));
        for letter in word.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase) {
            if folded.len() + letter.len_utf8() > WORD_BYTES {
                break;
            }
            folded.push(letter);
        }
        folded
    };
    text.split(between).filter(|word| !word.is_empty()).map(fold).collect()
}

/// By what an account is found: words of the name before the @ and of the display name. A deleted one is not.
pub fn words_of(account: &Account) -> BTreeSet<String> {
    if account.state == AccountState::Deleted {
        return BTreeSet::new();
    }
    let own = |text| words(text).into_iter().take(WORDS);
    own(account.local.as_str()).chain(own(&account.display_name)).collect()
}

/// Whether each of the wanted words is the beginning of one of an account's that is in use.
pub fn is_found(account: &Account, wanted: &[String]) -> bool {
    let has = words_of(account);
    account.state == AccountState::Active
        && wanted.iter().all(|wanted| has.iter().any(|word| word.starts_with(wanted.as_str())))
}

impl Home {
    /// The index follows an account that is about to change.
    pub(crate) fn index_account(&mut self, account: &Account) {
        let before = self.accounts.peek(&account.local).map(words_of).unwrap_or_default();
        let after = words_of(account);
        for (words, there) in [(&before - &after, false), (&after - &before, true)] {
            for word in words {
                self.write(Write::Word { word, user: account.local.clone(), there });
            }
        }
    }

    /// Puts an account into the index that an older program has made, or that has come out of a backup of one. True: it was
    /// not there.
    pub fn index_again(&mut self, reader: &dyn Reader, account: &Account) -> Result<bool, Fault> {
        let account = self.accounts.peek(&account.local).unwrap_or(account);
        let user = account.local.clone();
        let mut missing = Vec::new();
        for word in words_of(account) {
            if !reader.has_word(&word, &user)? {
                missing.push(Write::Word { word, user: user.clone(), there: true });
            }
        }
        let any = !missing.is_empty();
        missing.into_iter().for_each(|write| self.write(write));
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_where_people_would_say_so() {
        for (text, expected) in [
            ("Alice Smith", &["alice", "smith"][..]),
            ("alice.smith_2-b", &["alice", "smith", "2", "b"]),
            ("  Jean\u{2010}Luc   O'Neil ", &["jean", "luc", "o", "neil"]),
            ("STRASSE Straße", &["strasse", "strasse"]),
            ("ΣΊΣΥΦΟΣ σίσυφος", &["σίσυφοσ", "σίσυφοσ"]),
            ("Rene\u{301}e É", &["rene\u{301}e", "é"]),
            ("山田太郎 Иван 🦊fox", &["山田太郎", "иван", "🦊fox"]),
            (" .-_ ", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        let long = words(&"ö".repeat(60));
        assert_eq!(long, ["ö".repeat(24)], "cut where a letter ends");
    }
}

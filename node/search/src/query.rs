//! What somebody looks for.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::emoji::colourless;
use crate::terms;
use crate::words::{Token, each_token, ends_within_word};

/// Characters of the longest beginning that the index has as a term of its own.
const SHORT: usize = *terms::BEGINNINGS.end();

/// Parts of a query, each once: words, pairs of characters, emoji. Each is looked up in every part of the index; a sentence
/// has fewer.
const PARTS: usize = 64;

/// Words that must all be there, in any order; the last may be the beginning of one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    words: BTreeSet<String>,
    beginning: Option<String>,
    runs: BTreeSet<String>,
    emoji: BTreeSet<String>,
}

/// Why a text is no query.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no word in it, and no emoji.
    #[error("query has nothing to look for: no word, no emoji")]
    Empty,
    /// There is more in it than is looked for at once.
    #[error("query has more than {0} words")]
    TooMany(usize),
}

/// How the index is asked for one part of a query.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Wanted {
    /// Texts that have the term.
    Term(Vec<u8>),
    /// Texts that have any term that begins so; where those are too many, texts that have the second.
    Beginning(Vec<u8>, Vec<u8>),
}

impl Query {
    /// Reads what somebody has typed.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut query = Self::default();
        let mut last = None;
        let read = each_token(text, |token| {
            let (parts, text) = match &token {
                Token::Word(word) => (&mut query.words, word),
                Token::Run(run) => (&mut query.runs, run),
                Token::Emoji(emoji) => (&mut query.emoji, emoji),
            };
            parts.insert(text.clone());
            last = Some(token);
            if query.size() > PARTS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if read.is_break() || query.wanted().len() > PARTS {
            return Err(QueryError::TooMany(PARTS));
        }
        match last {
            None => return Err(QueryError::Empty),
            Some(Token::Word(word)) if ends_within_word(text) && word.chars().nth(1).is_some() => {
                query.words.remove(&word);
                query.beginning = Some(word);
            }
            Some(Token::Word(_) | Token::Run(_) | Token::Emoji(_)) => {}
        }
        Ok(query)
    }

    /// Whether these texts, which are one document, have all of it.
    pub fn matches<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        let mut words: BTreeSet<&str> = self.words.iter().map(String::as_str).collect();
        let mut runs: BTreeSet<&str> = self.runs.iter().map(String::as_str).collect();
        let mut emoji: BTreeSet<&str> = self.emoji.iter().map(String::as_str).collect();
        let mut beginning = self.beginning.as_deref();
        for text in texts {
            let read = each_token(text, |token| {
                match token {
                    Token::Word(word) => {
                        words.remove(word.as_str());
                        beginning.take_if(|beginning| word.starts_with(*beginning));
                    }
                    Token::Run(run) => runs.retain(|wanted| !run.contains(*wanted)),
                    Token::Emoji(found) => {
                        emoji.remove(found.as_str());
                        emoji.remove(colourless(&found).as_str());
                    }
                }
                let left = !words.is_empty() || !runs.is_empty() || !emoji.is_empty();
                if left || beginning.is_some() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            if read.is_break() {
                return true;
            }
        }
        false
    }

    /// By what the index is asked: a text that matches has all of it.
    pub(crate) fn wanted(&self) -> BTreeSet<Wanted> {
        let mut wanted: BTreeSet<Wanted> =
            self.words.iter().map(|word| Wanted::Term(terms::word(word))).collect();
        for run in &self.runs {
            let mut chars = run.chars();
            match (chars.next(), chars.next()) {
                (Some(only), None) => wanted.extend([Wanted::Term(terms::single(only))]),
                _ => wanted.extend(terms::pairs(run).map(Wanted::Term)),
            }
        }
        wanted.extend(self.emoji.iter().map(|emoji| Wanted::Term(terms::emoji(emoji))));
        if let Some(word) = &self.beginning {
            let chars = word.chars().count();
            let short = terms::beginning(word, chars.min(SHORT));
            wanted.extend(short.map(|short| match chars <= SHORT {
                true => Wanted::Term(short),
                false => Wanted::Beginning(terms::word(word), short),
            }));
        }
        wanted
    }

    /// At least so many parts.
    fn size(&self) -> usize {
        self.words.len() + self.runs.len() + self.emoji.len()
    }
}

//! Under what the index keeps a text, and by what it is asked. Each kind of term has a letter of its own in front.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::emoji::colourless;
use crate::words::{Token, each_token};

/// Lengths of beginnings that are terms of their own, in characters. Longer ones are few enough in the index's dictionary to
/// be gone through; one letter begins a word of nearly every text, so it is looked for as a whole word.
pub(crate) const BEGINNINGS: std::ops::RangeInclusive<usize> = 2..=3;

/// All terms of a text.
pub(crate) fn terms_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<Vec<u8>> {
    let mut terms = BTreeSet::new();
    for text in texts {
        let _never_enough: ControlFlow<()> = each_token(text, |token| {
            match token {
                Token::Word(text) => {
                    for chars in BEGINNINGS {
                        terms.extend(beginning(&text, chars));
                    }
                    terms.insert(word(&text));
                }
                Token::Run(text) => {
                    terms.extend(pairs(&text));
                    terms.extend(text.chars().map(single));
                }
                Token::Emoji(text) => {
                    terms.insert(emoji(&colourless(&text)));
                    terms.insert(emoji(&text));
                }
            }
            ControlFlow::Continue(())
        });
    }
    terms
}

/// A whole word.
pub(crate) fn word(text: &str) -> Vec<u8> {
    term(b'w', text)
}

/// The first `chars` characters of a word, if it has as many.
pub(crate) fn beginning(text: &str, chars: usize) -> Option<Vec<u8>> {
    let ends = text.char_indices().map(|(at, _)| at).skip(1).chain([text.len()]);
    ends.take(chars).nth(chars - 1).map(|end| term(b'b', &text[..end]))
}

/// One character of a run.
pub(crate) fn single(c: char) -> Vec<u8> {
    term(b's', c.encode_utf8(&mut [0; 4]))
}

/// Two characters of a run, beside each other: each such pair.
pub(crate) fn pairs(run: &str) -> impl Iterator<Item = Vec<u8>> {
    let starts = run.char_indices().map(|(at, _)| at);
    let ends = run.char_indices().map(|(at, c)| at + c.len_utf8()).skip(1);
    starts.zip(ends).map(|(start, end)| term(b'd', &run[start..end]))
}

/// An emoji.
pub(crate) fn emoji(text: &str) -> Vec<u8> {
    term(b'e', text)
}

fn term(kind: u8, text: &str) -> Vec<u8> {
    let mut term = Vec::with_capacity(1 + text.len());
    term.push(kind);
    term.extend_from_slice(text.as_bytes());
    term
}

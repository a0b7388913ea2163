//! What a text is made of.

use std::iter;
use std::ops::ControlFlow;

use crate::emoji;
use crate::letters::{Class, class, folded};

/// Characters of a word: longer ones are found by these. No language has such words; what people paste has.
const WORD_CHARS: usize = 64;

/// A part of a text that can be looked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Token {
    /// A word, folded.
    Word(String),
    /// Folded characters of scripts whose words stand without spaces: any part of it may be a word.
    Run(String),
    /// An emoji with its modifiers, without what says that it shall look like one.
    Emoji(String),
}

/// The parts of a text, one after the other, until `each` has enough.
pub(crate) fn each_token<B>(
    text: &str,
    mut each: impl FnMut(Token) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let chars: Vec<char> = text.chars().collect();
    let (mut begin, mut at) = (0, 0);
    while at < chars.len() {
        // Most of what people write is ASCII, where no emoji begins but for the caps of keys.
        let Some(taken) = emoji::length(&chars[at..]) else {
            at += 1;
            continue;
        };
        each_of_letters(&chars[begin..at], &mut each)?;
        each(Token::Emoji(emoji::plain(&chars[at..at + taken])))?;
        at += taken;
        begin = at;
    }
    each_of_letters(&chars[begin..], &mut each)
}

/// Whether a text ends within a word, so that more of it may follow.
pub(crate) fn ends_within_word(text: &str) -> bool {
    text.chars()
        .next_back()
        .is_some_and(|last| folded(iter::once(last)).last().is_none_or(|c| class(c) == Class::Word))
}

fn each_of_letters<B>(
    chars: &[char],
    each: &mut impl FnMut(Token) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut part = Part::default();
    for c in folded(chars.iter().copied()) {
        let class = class(c);
        if class == Class::Nothing {
            continue;
        }
        if Some(class) != part.class {
            part.end(each)?;
            part.class = Some(class).filter(|class| *class != Class::Between);
        }
        if part.class.is_some() {
            part.push(c);
        }
    }
    part.end(each)
}

/// A word or a run that is being read.
#[derive(Default)]
struct Part {
    class: Option<Class>,
    text: String,
    chars: usize,
}

impl Part {
    fn push(&mut self, c: char) {
        if self.class == Some(Class::Run) || self.chars < WORD_CHARS {
            self.text.push(c);
            self.chars += 1;
        }
    }

    fn end<B>(&mut self, each: &mut impl FnMut(Token) -> ControlFlow<B>) -> ControlFlow<B> {
        let Self { class, text, .. } = std::mem::take(self);
        match class {
            Some(Class::Word) => each(Token::Word(text)),
            Some(Class::Run) => each(Token::Run(text)),
            Some(Class::Nothing | Class::Between) | None => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests;

//! Letters as they are compared: without case, accents and other forms.

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

const TAKE_APART: DecomposingNormalizerBorrowed<'static> =
    DecomposingNormalizerBorrowed::new_nfkd();
const PUT_TOGETHER: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();

/// What a folded character is in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Part of a word.
    Word,
    /// Of a script whose words stand without spaces, or carry their particles with them.
    Run,
    /// It is not there: marks of direction, soft hyphens, joiners.
    Nothing,
    /// It ends a word.
    Between,
}

/// A text as it is compared. By way of the upper case: ß is SS there, and both small sigmas are one.
pub(crate) fn folded(chars: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    let bare = TAKE_APART.normalize_iter(chars).filter(|c| !is_accent(*c));
    let small = bare.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    PUT_TOGETHER.normalize_iter(small.filter(|c| !is_accent(*c)).flat_map(plain))
}

/// What a character is.
pub(crate) fn class(c: char) -> Class {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { Class::Word } else { Class::Between };
    }
    if c == '\u{640}' || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}') {
        return Class::Nothing;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Letter
        | GeneralCategoryGroup::Number
        | GeneralCategoryGroup::Mark => {
            if is_run(c) {
                Class::Run
            } else {
                Class::Word
            }
        }
        GeneralCategoryGroup::Other if c.general_category() == GeneralCategory::Format => {
            Class::Nothing
        }
        GeneralCategoryGroup::Other
        | GeneralCategoryGroup::Punctuation
        | GeneralCategoryGroup::Separator
        | GeneralCategoryGroup::Symbol => Class::Between,
    }
}

/// Marks that people leave out: accents, Hebrew points, Arabic vowels. Those of other scripts are letters to their readers.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}'
        | '\u{483}'..='\u{487}'
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}' | '\u{5c4}'..='\u{5c5}' | '\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}' | '\u{6e7}'..='\u{6e8}' | '\u{6ea}'..='\u{6ed}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20f0}' | '\u{fe20}'..='\u{fe2f}')
}

/// Letters that Unicode does not take apart, though people write them without their strokes.
fn plain(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        'þ' => ('t', Some('h')),
        'ø' => ('o', None),
        'ł' => ('l', None),
        'đ' | 'ð' => ('d', None),
        'ħ' => ('h', None),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

/// Thai, Lao, Tibetan's neighbours, Khmer, and the scripts of China, Japan and Korea. Korean has spaces, but its words
/// carry their particles with them: 학교 is looked for where 학교에서 stands.
fn is_run(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}'
        | '\u{1000}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}'
        | '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}'
        | '\u{1780}'..='\u{17ff}' | '\u{1950}'..='\u{19df}' | '\u{1a20}'..='\u{1aaf}'
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{312f}'
        | '\u{3131}'..='\u{318e}' | '\u{31a0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{a4cf}' | '\u{f900}'..='\u{faff}'
        | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}

use super::*;

/// Words as they are, runs in brackets, emoji in braces.
fn read(text: &str) -> Vec<String> {
    let mut read = Vec::new();
    let _all: ControlFlow<()> = each_token(text, |token| {
        read.push(match token {
            Token::Word(word) => word,
            Token::Run(run) => format!("[{run}]"),
            Token::Emoji(emoji) => format!("{{{emoji}}}"),
        });
        ControlFlow::Continue(())
    });
    read
}

#[test]
fn texts_are_read_as_people_read_them() {
    for (text, expected) in [
        ("Hello, World!", &["hello", "world"][..]),
        ("report_2024-final(2).PDF", &["report", "2024", "final", "2", "pdf"]),
        // Composed, decomposed, and without.
        ("Café cafe\u{301} CAFE", &["cafe", "cafe", "cafe"]),
        (
            "Straße STRASSE ΣΊΣΥΦΟΣ σισυφος İstanbul",
            &["strasse", "strasse", "σισυφοσ", "σισυφοσ", "istanbul"],
        ),
        // An iota below is an accent, whose upper case would be a letter.
        ("τῷ ΤΩ", &["τω", "τω"]),
        ("Łódź Ærø œuvre", &["lodz", "aero", "oeuvre"]),
        // Forms for looks alone.
        ("ﬁle ＡＢＣ ① m²", &["file", "abc", "1", "m2"]),
        // Right to left, with points and vowels and without; a mark of direction is not there, nor is a stretched line.
        ("שָׁלוֹם שלום", &["שלום", "שלום"]),
        ("مُحَمَّد محمد مـحـمـد \u{200f}أحمد احمد", &["محمد", "محمد", "محمد", "احمد", "احمد"]),
        // A vowel killer is part of its word.
        ("नमस्ते दुनिया", &["नमस्ते", "दुनिया"]),
        ("東京タワーで会う", &["[東京タワーで会う]"]),
        ("iPhone手机 v2", &["iphone", "[手机]", "v2"]),
        ("ｶﾞｷﾞ がぎ", &["[ガギ]", "[がぎ]"]),
        ("สวัสดีครับ โลก", &["[สวัสดีครับ]", "[โลก]"]),
        // Composed syllables and letters.
        ("학교에서 \u{1112}\u{1161}\u{11a8}", &["[학교에서]", "[학]"]),
        ("ok👍🏽", &["ok", "{👍🏽}"]),
        ("👨‍👩‍👧‍👦🇩🇪1️⃣ ❤️a❤", &["{👨‍👩‍👧‍👦}", "{🇩🇪}", "{1⃣}", "{❤}", "a", "{❤}"]),
        ("👩🏽‍💻\u{200d}x 12", &["{👩🏽‍💻}", "x", "12"]),
        ("\u{ad}soft\u{ad}ly \u{200b}", &["softly"]),
        (" .-_ \u{fe0f} \u{301}", &[]),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    assert_eq!(read(&"ö".repeat(100)), ["o".repeat(WORD_CHARS)]);
}

#[test]
fn a_word_may_go_on_where_the_text_ends_in_it() {
    for text in ["a", "ab", "x-y2", "cafe\u{301}", "é"] {
        assert!(ends_within_word(text), "{text}");
    }
    for text in ["", "a ", "a.", "京", "👍", "สวัสดี"] {
        assert!(!ends_within_word(text), "{text}");
    }
}

//! Queries against texts, by hand: what the model's own judge must get right.

use homing_search::{Query, QueryError};

use crate::{add, channel, key, new_in, pages};

const FOUND: &[(&str, &str)] = &[
    ("hello", "Hello, World"),
    ("world hello", "Hello, World"),
    ("wor", "Hello, World"),
    ("hello wo", "Hello, World"),
    ("conferen", "the conference of the birds"),
    ("CAFÉ", "a cafe"),
    ("cafe\u{301}", "Café"),
    ("strasse", "Hauptstr. / Straße"),
    ("report 2024 pdf", "report_2024-final.pdf"),
    ("京", "東京タワー"),
    ("東京", "東京タワー"),
    ("タワー", "東京タワーで会う"),
    ("タワー 東京", "東京タワーで会う"),
    ("ดี", "สวัสดีครับ"),
    ("학교", "학교에서 만나"),
    ("手机", "我的iPhone手机"),
    ("👍", "nice 👍🏽"),
    ("👍🏽", "nice👍🏽"),
    ("❤", "❤️"),
    ("👨‍👩‍👧‍👦", "we are 👨‍👩‍👧‍👦!"),
    ("שלום", "שָׁלוֹם עולם"),
    ("محمد", "\u{200f}مُحَمَّد"),
    ("नमस्", "नमस्ते दुनिया"),
    ("x", "x is alone"),
    ("a b", "b and a"),
];

const NOT_FOUND: &[(&str, &str)] = &[
    ("hello there", "Hello, World"),
    // Only the last may be a beginning, and only while it is being typed.
    ("wor hello", "Hello, World"),
    ("wor ", "Hello, World"),
    // One letter is a word.
    ("h", "Hello, World"),
    ("orld", "Hello, World"),
    // Pairs that stand there, but not one behind the other.
    ("東京都", "東京 京都"),
    ("京東", "東京"),
    ("👍🏽", "👍"),
    ("👩", "👩‍💻"),
    ("💻", "👩‍💻"),
    ("🇩🇪", "🇩🇰 🇪🇸"),
    ("1", "1️⃣"),
];

#[test]
fn what_is_looked_for_is_found_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    let all = || FOUND.iter().chain(NOT_FOUND);
    for (pos, (_, text)) in (1..).zip(all()) {
        add(&writer, key(pos, 1, pos), text);
    }
    writer.commit(1).unwrap();
    for (pos, (query, text)) in (1..).zip(FOUND) {
        let query = Query::parse(query).unwrap();
        assert!(query.matches([*text]), "{query:?} in {text}");
        assert!(query.matches(["else", text]), "in any of several texts");
        let found = pages(&writer.index(), &query, &[channel(1)], 7, 1_000);
        assert!(found.contains(&key(pos, 1, pos)), "{query:?} in {text}, by the index");
        assert!(pages(&writer.index(), &query, &[channel(2)], 7, 1_000).is_empty());
    }
    for (query, text) in NOT_FOUND {
        assert!(!Query::parse(query).unwrap().matches([*text]), "{query} in {text}");
    }
    let spread = Query::parse("report caption").unwrap();
    assert!(spread.matches(["report.pdf", "the caption"]), "words of several texts together");
}

#[test]
fn what_was_removed_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    for pos in 1..=10 {
        add(&writer, key(pos, 1, pos), "hello");
    }
    writer.commit(1).unwrap();
    writer.remove(&channel(1), 4);
    writer.remove(&channel(1), 99);
    // As it is worded anew.
    writer.remove(&channel(1), 7);
    add(&writer, key(7, 1, 7), "hello again");
    writer.commit(2).unwrap();
    let query = Query::parse("hello").unwrap();
    let found = pages(&writer.index(), &query, &[channel(1)], 3, 1_000);
    let places: Vec<u64> = found.iter().map(|key| key.pos).collect();
    assert_eq!(places, [10, 9, 8, 7, 6, 5, 3, 2, 1]);
}

#[test]
fn what_says_nothing_or_too_much_is_no_query() {
    for text in ["", "   ", "...", "\u{200d}\u{fe0f}", "\u{301}"] {
        assert_eq!(Query::parse(text), Err(QueryError::Empty), "{text:?}");
    }
    let many: String = (0..65).map(|n| format!("w{n} ")).collect();
    assert_eq!(Query::parse(&many), Err(QueryError::TooMany(64)));
    let run: String = ('\u{4e00}'..'\u{4e50}').collect();
    assert_eq!(Query::parse(&run), Err(QueryError::TooMany(64)), "pairs count");
    assert!(Query::parse(&"same ".repeat(500)).is_ok(), "each once");
}

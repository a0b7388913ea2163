//! Compaction against serde_json, which reads and writes JSON by code of its own.

use std::borrow::Cow;

use homing_wire::body::{check_json, compact_json, is_compact_json};
use homing_wire::{Body, BodyError, Kind, limits};
use proptest::prelude::*;
use serde_json::Value;

/// Values without NUL and with numbers in range. What is not in them is in the refusals.
fn value() -> impl Strategy<Value = Value> {
    const BOUND: i64 = limits::JSON_INTEGER_MAX as i64;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-BOUND..=BOUND).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        4 => prop::char::range(' ', '~'),
        2 => prop::char::range('\u{1}', '\u{1f}'),
        1 => prop::sample::select(vec!['"', '\\', '/', '\u{7f}', '\u{80}', '\u{2028}', '\u{feff}']),
        1 => prop::sample::select(vec!['\u{5d0}', '\u{633}', '\u{202e}', '\u{301}', '\u{200d}', '\u{fe0f}']),
        1 => prop::char::range('\u{1f300}', '\u{1faff}'),
        1 => any::<char>().prop_filter("NUL is refused", |c| *c != '\0'),
    ];
    prop::collection::vec(char, 0..24).prop_map(|chars| chars.into_iter().collect())
}

/// Writes a value in one of its many spellings, as `choices` say.
struct Spelling<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    out: String,
}

impl<'a> Spelling<'a> {
    fn of(value: &Value, choices: &'a [u8]) -> String {
        let mut spelling = Self { choices: choices.iter().cycle(), out: String::new() };
        spelling.value(value);
        spelling.out
    }

    fn choose(&mut self) -> u8 {
        *self.choices.next().unwrap()
    }

    fn space(&mut self) {
        let space = ["", "", "", " ", "\t", "\r\n", "   "][usize::from(self.choose() % 7)];
        self.out.push_str(space);
    }

    fn mark(&mut self, mark: char) {
        self.space();
        self.out.push(mark);
        self.space();
    }

    fn value(&mut self, value: &Value) {
        self.space();
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => self.out += &value.to_string(),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.mark('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.mark(',');
                    }
                    self.value(item);
                }
                self.mark(']');
            }
            Value::Object(members) => {
                self.mark('{');
                for (index, (key, member)) in members.iter().enumerate() {
                    if index > 0 {
                        self.mark(',');
                    }
                    self.string(key);
                    self.mark(':');
                    self.value(member);
                }
                self.mark('}');
            }
        }
        self.space();
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            match (self.choose() % 5, char) {
                (0, _) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        self.out += &format!("\\u{unit:04x}");
                    }
                }
                (1, _) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        self.out += &format!("\\u{unit:04X}");
                    }
                }
                (2, '/') => self.out.push_str("\\/"),
                _ => {
                    let quoted = serde_json::to_string(&char).unwrap();
                    self.out += &quoted[1..quoted.len() - 1];
                }
            }
        }
        self.out.push('"');
    }
}

/// Pieces of JSON and near-JSON, to be strung together.
fn near_json() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"a\"",
        "\"a\":",
        "\\",
        "\\u",
        "\\u00",
        "\\ud83d",
        "\\ude00",
        "\\u0000",
        "\\u0041",
        "\\n",
        "\\/",
        "\\x",
        "true",
        "false",
        "null",
        "nul",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E9",
        "1e400",
        "9007199254740992",
        "00",
        " ",
        "\n",
        "\t",
        "\u{0}",
        "\u{1}",
        "\u{e9}",
        "\u{1f600}",
        "\u{feff}",
        "\u{a0}",
        "/",
        "'",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..16).prop_map(|pieces| pieces.concat())
}

/// serde_json and ours agree on what JSON is; ours refuses more, for reasons of its own.
fn assert_like_serde_json(raw: &str) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_str::<Value>(raw);
    match (compact_json(raw), theirs) {
        (Ok(compact), Ok(theirs)) => {
            prop_assert_eq!(serde_json::from_str::<Value>(&compact).unwrap(), theirs);
            let again = compact_json(&compact);
            prop_assert!(
                matches!(&again, Ok(Cow::Borrowed(text)) if *text == compact),
                "{again:?}"
            );
        }
        (Ok(compact), Err(why)) => prop_assert!(false, "{raw:?} became {compact:?}, but {why}"),
        (Err(BodyError::Syntax), Ok(_)) => prop_assert!(false, "{raw:?} is JSON"),
        (Err(_), _) => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_spelling_becomes_the_one(value in value(), choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let raw = Spelling::of(&value, &choices);
        let shortest = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(&*compact_json(&raw).unwrap(), &shortest);
        prop_assert_eq!(check_json(&raw), Ok(()));
        prop_assert_eq!(is_compact_json(shortest.as_bytes(), shortest.len()), Ok(()));
        prop_assert_eq!(
            is_compact_json(shortest.as_bytes(), shortest.len() - 1),
            Err(BodyError::TooLarge)
        );

        let raw = format!(r#" {{"type" : "x.test","value":{raw}}}"#);
        let body = Body::from_json(&raw, raw.len()).unwrap();
        let json = std::str::from_utf8(&body.json).unwrap();
        prop_assert_eq!(json, format!(r#"{{"type":"x.test","value":{shortest}}}"#));
        prop_assert_eq!(body.kind, Kind::Custom);
        prop_assert_eq!(&Body::from_json(json, json.len()).unwrap(), &body);
        prop_assert_eq!(&Body::is_canonical(&body.json, json.len()).unwrap(), &body);
        prop_assert_eq!(Body::from_json(&raw, json.len() - 1), Err(BodyError::TooLarge));
        prop_assert_eq!(Body::is_canonical(raw.as_bytes(), raw.len()), Err(BodyError::NotCompact));
    }

    #[test]
    fn a_text_comes_back_as_it_was(text in text(), choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let value = serde_json::json!({ "type": "text", "text": text });
        let answer = Body::from_json(&Spelling::of(&value, &choices), limits::BODY_BYTES);
        if text.is_empty() {
            prop_assert_eq!(answer, Err(BodyError::Field("text")));
        } else {
            let read: Value = serde_json::from_slice(&answer.unwrap().json).unwrap();
            prop_assert_eq!(read, value);
        }
    }

    #[test]
    fn near_json_is_judged_like_serde_json(raw in near_json()) {
        assert_like_serde_json(&raw)?;
    }

    #[test]
    fn damaged_json_is_judged_like_serde_json(
        value in value(),
        choices in prop::collection::vec(any::<u8>(), 1..64),
        place in any::<prop::sample::Index>(),
        piece in near_json(),
        length in 0..3_usize,
    ) {
        let mut chars: Vec<char> = Spelling::of(&value, &choices).chars().collect();
        let place = place.index(chars.len());
        let end = (place + length).min(chars.len());
        chars.splice(place..end, piece.chars());
        assert_like_serde_json(&chars.into_iter().collect::<String>())?;
    }

    #[test]
    fn no_bytes_of_a_peer_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Body::is_canonical(&bytes, limits::BODY_BYTES);
    }

    #[test]
    fn every_cut_of_a_body_is_refused(value in value(), choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let raw = format!(r#"{{"type":"x.test","value":{}}}"#, Spelling::of(&value, &choices));
        for (place, _) in raw.char_indices() {
            // Mostly for its syntax; the cut may also leave half a pair, or a number too large.
            prop_assert!(Body::from_json(&raw[..place], raw.len()).is_err());
        }
    }
}

#[test]
fn invalid_utf8_is_not_json() {
    let wrong = b"{\"type\":\"text\",\"text\":\"\xff\"}";
    assert_eq!(Body::is_canonical(wrong, wrong.len()), Err(BodyError::Syntax));
    assert_eq!(is_compact_json(wrong, wrong.len()), Err(BodyError::Syntax));
}

#[test]
fn hostile_nesting_costs_no_stack() {
    for bracket in ["[", "{\"a\":"] {
        let raw = bracket.repeat(1_000_000);
        assert_eq!(check_json(&raw), Err(BodyError::TooDeep));
        assert_eq!(Body::from_json(&raw, limits::BODY_BYTES), Err(BodyError::TooDeep));
    }
}

#[test]
fn as_many_keys_as_fit_are_compared() {
    let mut members: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":0")).collect();
    members.push("\"type\":\"x.keys\"".to_owned());
    let distinct = format!("{{{}}}", members.join(","));
    assert!(Body::from_json(&distinct, limits::BODY_BYTES).is_ok());
    members.push("\"\\u006b0\":0".to_owned());
    let twice = format!("{{{}}}", members.join(","));
    assert_eq!(Body::from_json(&twice, limits::BODY_BYTES), Err(BodyError::DuplicateKey));
}

#[test]
fn parameters_are_nested_at_most_64_deep() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(check_json(&nested(limits::JSON_DEPTH)), Ok(()));
    assert_eq!(check_json(&nested(limits::JSON_DEPTH + 1)), Err(BodyError::TooDeep));
}

#[test]
fn parameters_are_any_json() {
    for raw in ["{}", "[]", " null ", "1", "\"\"", "{\"a\":1,\"a\":2}"] {
        assert_eq!(check_json(raw), Ok(()), "{raw}");
    }
}

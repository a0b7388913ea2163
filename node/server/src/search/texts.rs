//! What of a message can be searched: what it says, and what its file is called.

use homing_core::{Deleted, Fold, Folded};
use homing_wire::Kind;
use serde_json::Value;

/// The texts of a body; none of what is no text and no file.
pub(crate) fn texts(body: &[u8]) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let found = match body["type"].as_str() {
        Some("text") => vec![&body["text"]],
        Some("media") => vec![&body["media"]["name"], &body["caption"]],
        Some(_) | None => Vec::new(),
    };
    found.into_iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// The texts that anybody may be shown of a message: as it was written, or as its edits have it. Whoever blocked its sender
/// sees another edit than the sender does: both are found, and each is shown to whom it concerns.
pub(super) fn all_texts(message: &Folded) -> Vec<String> {
    let entry = &message.entry;
    if !matches!(entry.event.header.kind, Kind::Text | Kind::Media | Kind::Custom) {
        return Vec::new();
    }
    let Some(fold) = message.fold.as_deref() else { return texts(&entry.event.body) };
    if fold.deleted == Deleted::ForAll || entry.event.is_erased() {
        return Vec::new();
    }
    let edited = |pick: fn(&Fold) -> Option<homing_core::Edit>| {
        let edit = pick(fold)?;
        let entry = message.edits.iter().find(|entry| entry.pos == edit.pos)?;
        homing_wire::body::replacement(&entry.event.body)
    };
    let shown = edited(|fold| fold.edit).unwrap_or_else(|| entry.event.body.clone());
    let hidden = edited(|fold| fold.hidden_edit);
    [Some(shown), hidden].into_iter().flatten().flat_map(|body| texts(&body)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_are_searched_and_nothing_else() {
        for (body, expected) in [
            (r#"{"type":"text","text":"hé \"x\""}"#, &["hé \"x\""][..]),
            (
                r#"{"type":"media","media":{"name":"a.pdf","mime":"x/y"},"caption":"b"}"#,
                &["a.pdf", "b"],
            ),
            (r#"{"type":"media","media":{"name":7},"caption":["b"]}"#, &[]),
            (r#"{"type":"x.poll","text":"no"}"#, &[]),
            (r#"{"type":"deleted"}"#, &[]),
            ("not JSON", &[]),
            ("[]", &[]),
        ] {
            assert_eq!(texts(body.as_bytes()), expected, "{body}");
        }
    }
}

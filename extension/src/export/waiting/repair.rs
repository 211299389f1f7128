//! A second, harsher form of a document that X-Ray refused (BET-31). Pure: JSON text in, JSON text out.

use serde_json::{Map, Value};

/// Characters of a name (LIM-6).
const MAX_NAME_CHARS: usize = 200;
/// What a refused document keeps: identity, times, flags, and the two blocks that say what was called.
const KEPT: &[&str] = &[
    "id",
    "trace_id",
    "parent_id",
    "type",
    "name",
    "namespace",
    "start_time",
    "end_time",
    "in_progress",
    "error",
    "throttle",
    "fault",
    "http",
    "aws",
    "origin",
    "resource_arn",
];

/// Whether another form of the document could pass where X-Ray answered this code. An unknown code is final (PTS-5).
pub(crate) fn is_repairable(code: &str) -> bool {
    ["Name", "Annotation", "Metadata", "Size", "TooLarge"].iter().any(|part| code.contains(part))
        || code == "InvalidSegment"
}

/// The document with an ASCII name and nothing that is not needed. `None` when that changes nothing, or when the text
/// is no document: sending the same again would help nobody.
pub(crate) fn repair(document: &str) -> Option<String> {
    let Value::Object(given) = serde_json::from_str(document).ok()? else { return None };
    let repaired = bare(&given);
    (repaired != given).then(|| Value::Object(repaired).to_string())
}

/// A document, or a subsegment in one: those stand for spans of their own, and are repaired like it.
fn bare(given: &Map<String, Value>) -> Map<String, Value> {
    let mut repaired = Map::new();
    for (key, value) in given {
        let kept = match (key.as_str(), value) {
            ("name", name) => Value::String(ascii_name(name.as_str().unwrap_or_default())),
            ("http" | "aws", block) => {
                let mut block = block.clone();
                shorten(&mut block);
                block
            }
            ("subsegments", Value::Array(nested)) => {
                nested.iter().filter_map(Value::as_object).map(|one| Value::Object(bare(one))).collect()
            }
            (key, value) if KEPT.contains(&key) => value.clone(),
            _ => continue,
        };
        repaired.insert(key.clone(), kept);
    }
    repaired.entry("name").or_insert_with(|| ascii_name("").into());
    repaired
}

/// The part of the allowed characters (NAME-2) that nobody's idea of a letter can differ on.
fn ascii_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " _.:/%&#=+-@".contains(c);
    let cleaned: String =
        name.chars().map(|c| if allowed(c) { c } else { '_' }).take(MAX_NAME_CHARS).collect();
    if cleaned.contains(|c: char| c.is_ascii_alphanumeric()) {
        cleaned.trim().to_owned()
    } else {
        "unknown".to_owned()
    }
}

/// Strings to a length that no limit is below (LIM-6).
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(250) {
                text.truncate(end);
            }
        }
        Value::Array(items) => {
            items.truncate(20);
            items.iter_mut().for_each(shorten);
        }
        Value::Object(entries) => entries.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn repaired(document: &Value) -> Option<Value> {
        repair(&document.to_string()).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn bet_31_what_identifies_the_span_stays_and_the_rest_goes() {
        let document = json!({
            "id": "0102030405060708", "trace_id": "1-581cf771-a006649127e371903a2de979", "parent_id": "00f067aa0ba902b7",
            "type": "subsegment", "name": "ünï 🚀 GET?", "namespace": "remote", "start_time": 1.5, "end_time": 2.0,
            "fault": true, "http": {"request": {"url": "u".repeat(400)}, "response": {"status": 500}},
            "aws": {"operation": "GetItem", "retries": 2}, "annotations": {"a": 1}, "metadata": {"default": {"k": "v"}},
            "cause": {"exceptions": []}, "sql": {"url": "x"}, "links": [],
            "subsegments": [{"name": "é", "id": "1", "metadata": {}, "subsegments": [{"name": "f", "sql": {}}]}],
        });
        let expected = json!({
            "id": "0102030405060708", "trace_id": "1-581cf771-a006649127e371903a2de979", "parent_id": "00f067aa0ba902b7",
            "type": "subsegment", "name": "_n_ _ GET_", "namespace": "remote", "start_time": 1.5, "end_time": 2.0,
            "fault": true, "http": {"request": {"url": "u".repeat(250)}, "response": {"status": 500}},
            "aws": {"operation": "GetItem", "retries": 2},
            "subsegments": [{"name": "unknown", "id": "1", "subsegments": [{"name": "f"}]}],
        });
        assert_eq!(repaired(&document), Some(expected));
    }

    #[test]
    fn names() {
        for (name, expected) in [
            (json!("  a\tb "), "a_b"),
            (json!("日本"), "unknown"),
            (json!(""), "unknown"),
            (json!(7), "unknown"),
            (json!("x".repeat(300)), "x".repeat(200).as_str()),
        ] {
            assert_eq!(repaired(&json!({"name": name, "metadata": {}})).unwrap()["name"], expected);
        }
        assert_eq!(repaired(&json!({"id": "1"})).unwrap()["name"], "unknown");
    }

    #[test]
    fn pts_5_codes() {
        for code in [
            "InvalidName",
            "MissingName",
            "InvalidSegment",
            "InvalidAnnotation",
            "InvalidAnnotationKey",
            "SegmentTooLarge",
        ] {
            assert!(is_repairable(code), "{code}");
        }
        for code in ["InvalidTraceId", "MissingId", "MissingParentId", "InvalidId", "Whatever", ""] {
            assert!(!is_repairable(code), "{code}");
        }
    }

    proptest! {
        #[test]
        fn a_repaired_document_is_not_repaired_again(text in ".{0,300}", key in "[a-z]{1,8}") {
            let document = json!({"name": text, key: {"deep": ["x"]}, "aws": {"k": "v"}}).to_string();
            let once = repair(&document).unwrap_or(document);
            prop_assert_eq!(repair(&once), None);
            prop_assert!(repair(&once[1..]).is_none());
        }
    }
}

//! Annotations, metadata and links: xray.md section 3.1, ANN-, META- and LNK-.

use super::findings::{Findings, quoted};
use super::{is_id, is_trace_id};
use serde_json::{Map, Value};

const MAX_KEY_CHARS: usize = 500;
const MAX_VALUE_CHARS: usize = 1000;
const MAX_LINKS: usize = 20;
/// Annotations that are indexed, of a whole trace (ANN-3).
const MAX_INDEXED: usize = 50;

pub(super) fn check(body: &Map<String, Value>, is_segment: bool, findings: &mut Findings) {
    match body.get("annotations") {
        None => {}
        Some(Value::Object(annotations)) => {
            if annotations.len() > MAX_INDEXED {
                let count = annotations.len();
                findings.warn(format!(
                    "annotations has {count} keys, of which {MAX_INDEXED} are indexed (ANN-3)"
                ));
            }
            annotations.iter().for_each(|(key, value)| annotation(key, value, findings));
        }
        Some(other) => {
            findings
                .refuse("InvalidSegment", format!("annotations {} is not an object (ANN-1)", quoted(other)));
        }
    }
    match body.get("metadata") {
        None => {}
        Some(Value::Object(namespaces)) => {
            for (namespace, value) in namespaces {
                if !value.is_object() {
                    findings.warn(format!("metadata.{namespace} is not an object (META-1)"));
                }
                if namespace.starts_with("AWS.") {
                    findings.warn(format!("metadata.{namespace} is a reserved name (META-1)"));
                }
            }
        }
        Some(other) => {
            findings
                .refuse("InvalidSegment", format!("metadata {} is not an object (META-1)", quoted(other)));
        }
    }
    match body.get("links") {
        None => {}
        Some(Value::Array(links)) => {
            if links.len() > MAX_LINKS {
                findings.warn(format!("{} links, of which {MAX_LINKS} count (LNK-1)", links.len()));
            }
            if !is_segment {
                findings.warn("links on a subsegment are not shown (LNK-2)".to_owned());
            }
            for one in links {
                link(one, findings);
            }
        }
        Some(other) => {
            findings.refuse("InvalidSegment", format!("links {} is not an array (LNK-1)", quoted(other)));
        }
    }
}

fn annotation(key: &str, value: &Value, findings: &mut Findings) {
    let shown = quoted(&Value::from(key));
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if key.is_empty() || key.chars().count() > MAX_KEY_CHARS || !key.chars().all(allowed) {
        let rule = format!("1 to {MAX_KEY_CHARS} characters A-Z a-z 0-9 _ . (ANN-1)");
        findings.refuse("InvalidSegment", format!("annotation key {shown} is not {rule}"));
    } else if key.contains('.') {
        findings
            .warn(format!("annotation key {shown} has a dot, which the published schema forbids (ANN-1)"));
    }
    match value {
        Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) if text.chars().count() <= MAX_VALUE_CHARS => {}
        other => {
            let rule =
                format!("a string of at most {MAX_VALUE_CHARS} characters, a number or a boolean (ANN-2)");
            findings.refuse("InvalidSegment", format!("annotation {shown} {} is not {rule}", quoted(other)));
        }
    }
}

fn link(link: &Value, findings: &mut Findings) {
    let text = |field: &str| link.get(field).and_then(Value::as_str).unwrap_or_default();
    if !is_trace_id(text("trace_id")) || !is_id(text("id")) {
        let message = format!("link {} has no valid trace_id and id (LNK-1)", quoted(link));
        findings.refuse("InvalidSegment", message);
    }
    if link.get("attributes").is_some_and(|attributes| !attributes.is_object()) {
        findings.warn(format!("attributes of link {} is not an object (LNK-1)", quoted(link)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_by_rule() {
        for (body, refused, warned) in [
            (json!({"annotations": {"a_1": "x", "b": 1, "c": true}}), false, 0),
            (json!({"annotations": {"faas.coldstart": true}}), false, 1),
            (json!({"annotations": {"with space": 1}}), true, 0),
            (json!({"annotations": {"a": [1]}}), true, 0),
            (json!({"annotations": {"a": null}}), true, 0),
            (json!({"annotations": {"a": "x".repeat(1001)}}), true, 0),
            (json!({"annotations": []}), true, 0),
            (json!({"annotations": {"": 1}}), true, 0),
            (json!({"annotations": {"k".repeat(501): 1}}), true, 0),
            (json!({"annotations": {"k".repeat(500): "x".repeat(1000)}}), false, 0),
            (
                json!({"annotations": (0..51).map(|n| (format!("k{n}"), json!(n))).collect::<Map<_, _>>()}),
                false,
                1,
            ),
            (json!({"metadata": "loose"}), true, 0),
            (json!({"links": {}}), true, 0),
            (
                json!({"links": vec![json!({"trace_id": "1-581cf771-a006649127e371903a2de979", "id": "70de5b6f19ff9a0a"}); 21]}),
                false,
                1,
            ),
            (
                json!({"links": [{"trace_id": "581cf771a006649127e371903a2de979", "id": "70de5b6f19ff9a0a"}]}),
                true,
                0,
            ),
            (json!({"metadata": {"default": {"a": [1, null]}}}), false, 0),
            (json!({"metadata": {"loose": 1, "AWS.x": {}}}), false, 2),
            (
                json!({"links": [{"trace_id": "1-581cf771-a006649127e371903a2de979", "id": "70de5b6f19ff9a0a"}]}),
                false,
                0,
            ),
            (json!({"links": [{"trace_id": "1-581cf771-a006649127e371903a2de979"}]}), true, 0),
        ] {
            let mut findings = Findings::default();
            check(body.as_object().unwrap(), true, &mut findings);
            let seen = (findings.refused.is_some(), findings.warnings.len());
            assert_eq!(seen, (refused, warned), "{body} {findings:?}");
        }
    }
}

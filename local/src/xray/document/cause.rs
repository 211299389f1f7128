//! `cause`: the id of a child's exception, or the exceptions themselves (xray.md section 3.7).

use super::findings::{Findings, quoted};
use super::is_id;
use serde_json::Value;

pub(super) fn check(cause: &Value, findings: &mut Findings) {
    let mut wrong = |field: &str, value: &Value, kind: &str| {
        let message = format!("cause{field} {} is not {kind} (section 3.7)", quoted(value));
        findings.refuse("InvalidSegment", message);
    };
    let object = match cause {
        Value::String(id) if is_id(id) => return,
        Value::Object(object) => object,
        other => return wrong("", other, "an object or an id of 16 hex digits"),
    };
    for field in ["working_directory", "message"] {
        if let Some(value) = object.get(field).filter(|value| !value.is_string()) {
            wrong(&format!(".{field}"), value, "a string");
        }
    }
    match object.get("paths") {
        Some(Value::Array(paths)) if paths.iter().all(Value::is_string) => {}
        Some(other) => wrong(".paths", other, "an array of strings"),
        None => {}
    }
    match object.get("exceptions") {
        Some(Value::Array(exceptions)) => {
            for one in exceptions {
                exception(one, &mut wrong);
            }
        }
        Some(other) => wrong(".exceptions", other, "an array"),
        None => {}
    }
}

fn exception(exception: &Value, wrong: &mut impl FnMut(&str, &Value, &str)) {
    if !exception.is_object() {
        return wrong(".exceptions[]", exception, "an object");
    }
    let id = |value: &Value| value.as_str().is_some_and(is_id);
    if !id(&exception["id"]) {
        wrong(".exceptions[].id", &exception["id"], "an id of 16 hex digits");
    }
    for (field, fits, kind) in [
        ("message", Value::is_string as fn(&Value) -> bool, "a string"),
        ("type", Value::is_string, "a string"),
        ("remote", Value::is_boolean, "a boolean"),
        ("truncated", Value::is_u64, "a count"),
        ("skipped", Value::is_u64, "a count"),
        ("stack", Value::is_array, "an array"),
    ] {
        if let Some(value) = exception.get(field).filter(|value| !fits(value)) {
            wrong(&format!(".exceptions[].{field}"), value, kind);
        }
    }
    if let Some(value) = exception.get("cause").filter(|value| !id(value)) {
        wrong(".exceptions[].cause", value, "an id of 16 hex digits");
    }
    for frame in exception["stack"].as_array().into_iter().flatten() {
        if !frame.is_object() {
            wrong(".exceptions[].stack[]", frame, "an object");
        }
        for field in ["path", "label"] {
            if let Some(value) = frame.get(field).filter(|value| !value.is_string()) {
                wrong(&format!(".exceptions[].stack[].{field}"), value, "a string");
            }
        }
        if let Some(value) = frame.get("line").filter(|value| !value.is_i64() && !value.is_u64()) {
            wrong(".exceptions[].stack[].line", value, "an integer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn causes_by_field() {
        let with = |more: Value| {
            let mut exception = json!({"id": "70de5b6f19ff9a0a"});
            exception.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"exceptions": [exception]})
        };
        for (cause, message) in [
            (json!("70de5b6f19ff9a0a"), None),
            (json!({"working_directory": "/var/task", "paths": [], "message": "m", "exceptions": []}), None),
            (
                with(json!({"message": "m", "type": "T", "remote": false, "truncated": 0, "skipped": 2,
                    "cause": "70de5b6f19ff9a0b", "stack": [{"path": "a.py", "line": 1, "label": "f"}, {}]})),
                None,
            ),
            (
                json!("no id"),
                Some("cause \"no id\" is not an object or an id of 16 hex digits (section 3.7)"),
            ),
            (json!({"paths": "/"}), Some("cause.paths \"/\" is not an array of strings (section 3.7)")),
            (json!({"exceptions": {}}), Some("cause.exceptions {} is not an array (section 3.7)")),
            (json!({"exceptions": [1]}), Some("cause.exceptions[] 1 is not an object (section 3.7)")),
            (
                json!({"exceptions": [{"message": "m"}]}),
                Some("cause.exceptions[].id null is not an id of 16 hex digits (section 3.7)"),
            ),
            (
                with(json!({"remote": "x"})),
                Some("cause.exceptions[].remote \"x\" is not a boolean (section 3.7)"),
            ),
            (
                with(json!({"truncated": -1})),
                Some("cause.exceptions[].truncated -1 is not a count (section 3.7)"),
            ),
            (
                with(json!({"stack": "at f"})),
                Some("cause.exceptions[].stack \"at f\" is not an array (section 3.7)"),
            ),
            (
                with(json!({"stack": ["f"]})),
                Some("cause.exceptions[].stack[] \"f\" is not an object (section 3.7)"),
            ),
            (
                with(json!({"stack": [{"line": "1"}]})),
                Some("cause.exceptions[].stack[].line \"1\" is not an integer (section 3.7)"),
            ),
            (
                with(json!({"cause": "KeyError"})),
                Some("cause.exceptions[].cause \"KeyError\" is not an id of 16 hex digits (section 3.7)"),
            ),
        ] {
            let mut findings = Findings::default();
            check(&cause, &mut findings);
            let expected = message.map(|message| ("InvalidSegment", message.to_owned()));
            assert_eq!(findings.refused, expected, "{cause}");
        }
    }
}

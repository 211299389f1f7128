//! Frames of the layer's own agents: whoever reads a stack looks for the function's code.

use serde_json::{Map, Value};

/// Folders that an agent's files are in, wherever the layer is unpacked.
const AGENTS: [&str; 2] = ["/otel-xray/nodejs/", "/_otel_xray_agent/"];

/// Whether a frame is at such a place.
pub(crate) fn is_own(place: &str) -> bool {
    AGENTS.iter().any(|folder| place.contains(folder))
}

/// Takes them out of what an X-Ray SDK has noted, here and in what is nested. Says whether there was one.
pub(crate) fn drop_from(document: &mut Map<String, Value>) -> bool {
    let mut found = false;
    let exceptions = document.get_mut("cause").and_then(|cause| cause.get_mut("exceptions"));
    for exception in exceptions.and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(Value::Array(stack)) = exception.get_mut("stack") else { continue };
        let before = stack.len();
        stack.retain(|frame| !frame.get("path").and_then(Value::as_str).is_some_and(is_own));
        found |= stack.len() < before;
    }
    let nested = document.get_mut("subsegments").and_then(Value::as_array_mut);
    for one in nested.into_iter().flatten().filter_map(Value::as_object_mut) {
        found |= drop_from(one);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_agents_frames_go_also_from_what_is_nested() {
        let stack = |paths: &[&str]| {
            let frames: Vec<_> =
                paths.iter().map(|path| json!({"path": path, "line": 1, "label": "f"})).collect();
            json!({"exceptions": [{"id": "0000000000000001", "stack": frames}]})
        };
        let given = ["/var/task/app.js", "/opt/otel-xray/nodejs/recorder.js", "node:internal/x"];
        let left = ["/var/task/app.js", "node:internal/x"];
        let document =
            |paths: &[&str]| json!({"cause": stack(paths), "subsegments": [{"cause": stack(paths)}]});
        let mut value = document(&given);
        let object = value.as_object_mut().unwrap();
        assert!(drop_from(object));
        assert!(!drop_from(object));
        assert_eq!(value, document(&left));
    }
}

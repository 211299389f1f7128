//! What is said of one node: its label, its status, and the lines below it.

use super::paint::{Paint, clean};
use crate::xray::Node;
use serde_json::Value;

/// Frames of an exception that are shown.
const FRAMES: usize = 5;
/// Characters of a path that are shown.
const PATH_CHARS: usize = 56;
/// Metadata namespaces that matter only when the tracing itself is looked at.
const HIDDEN: &[&str] = &["otel"];

/// The name, and what it was about.
pub(super) fn label(node: &Node) -> String {
    let about = match node.text("/namespace") {
        _ if node.is_segment => node.text("/origin").to_owned(),
        "aws" => format!("{} {}", node.text("/aws/operation"), resource(node)),
        _ if node.value("/sql").is_object() => node.text("/sql/sanitized_query").to_owned(),
        "remote" => format!("{} {}", node.text("/http/request/method"), target(node)),
        _ => String::new(),
    };
    let retries = match node.value("/aws/retries").as_u64() {
        None | Some(0) => String::new(),
        Some(1) => " (1 retry)".to_owned(),
        Some(count) => format!(" ({count} retries)"),
    };
    let about = format!("{about}{retries}").split_whitespace().collect::<Vec<_>>().join(" ");
    let separator = if about.is_empty() { "" } else { "  " };
    clean(&format!("{}{separator}{about}", node.name()))
}

/// The URL, without the host where the name says it already.
fn target(node: &Node) -> &str {
    let url = node.text("/http/request/url");
    let Some((_, rest)) = url.split_once("://") else { return url };
    match rest.find('/') {
        Some(path) if rest[..path].split(':').next() == Some(node.name()) => &rest[path..],
        _ => url,
    }
}

/// The bucket, table, queue, topic or function of an AWS call.
fn resource(node: &Node) -> String {
    let text = |field: &str| node.text(&format!("/aws/{field}"));
    let last = |text: &str| text.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
    if !text("bucket_name").is_empty() {
        return format!("{}/{}", text("bucket_name"), text("key")).trim_end_matches('/').to_owned();
    }
    for field in ["table_name", "function_name"] {
        if !text(field).is_empty() {
            return text(field).to_owned();
        }
    }
    for field in ["queue_url", "topic_arn"] {
        if !text(field).is_empty() {
            return last(text(field));
        }
    }
    let lists = ["/aws/table_names", "/aws/resource_names"].map(|field| node.value(field).as_array());
    let names: Vec<String> =
        lists.into_iter().flatten().flatten().filter_map(Value::as_str).map(last).collect();
    names.join(", ")
}

pub(super) fn status(node: &Node, paint: &Paint) -> String {
    let code =
        node.value("/http/response/status").as_i64().map_or_else(String::new, |code| format!(" {code}"));
    if node.flag("fault") {
        paint.red(&format!("✗ fault{code}"))
    } else if node.flag("throttle") {
        paint.yellow(&format!("! throttled{code}"))
    } else if node.flag("error") {
        paint.yellow(&format!("! error{code}"))
    } else if node.end_seconds().is_none() {
        paint.yellow("in progress")
    } else {
        paint.green(&format!("✓{code}"))
    }
}

/// Annotations, metadata, links and exceptions, a line each.
pub(super) fn below(node: &Node, verbose: bool, paint: &Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let annotations: Vec<String> = entries(node.value("/annotations"))
        .map(|(key, value)| format!("{}={}", paint.cyan(&clean(key)), plain(value)))
        .collect();
    if !annotations.is_empty() {
        lines.push(format!("annotations  {}", annotations.join("  ")));
    }
    for (namespace, value) in entries(node.value("/metadata")) {
        if verbose || !HIDDEN.contains(&namespace.as_str()) {
            let fields: Vec<String> =
                entries(value).map(|(key, value)| format!("{}={}", clean(key), plain(value))).collect();
            // Without a namespace the value stands by itself (META-1).
            let fields = if value.is_object() { fields.join("  ") } else { plain(value) };
            lines.push(format!("metadata {}  {fields}", clean(namespace)));
        }
    }
    for link in node.value("/links").as_array().into_iter().flatten() {
        let text = |field: &str| link[field].as_str().unwrap_or_default();
        lines.push(format!("linked to {} {}", text("trace_id"), text("id")));
    }
    exceptions(node, verbose, paint, &mut lines);
    lines
}

fn exceptions(node: &Node, verbose: bool, paint: &Paint, lines: &mut Vec<String>) {
    if let Value::String(id) = node.value("/cause") {
        lines.push(format!("caused by exception {id} below"));
    }
    let Value::Array(exceptions) = node.value("/cause/exceptions") else { return };
    let told_below = raised_below(node);
    for (index, exception) in exceptions.iter().enumerate() {
        let text = |field: &str| clean(exception[field].as_str().unwrap_or_default());
        let (kind, message) = (text("type"), text("message"));
        // An exception that came through from below is told where it was raised.
        let told = told_below.contains(&(short(&kind).to_owned(), message.clone()));
        if told && !verbose {
            continue;
        }
        let separator = if kind.is_empty() || message.is_empty() { "" } else { ": " };
        let lead = if index == 0 { "✗ " } else { "  caused by " };
        lines.push(paint.red(&format!("{lead}{kind}{separator}{message}")));
        if told {
            continue;
        }
        let stack = exception["stack"].as_array().map(Vec::as_slice).unwrap_or_default();
        for frame in stack.iter().take(FRAMES) {
            lines.push(format!("    {}", frame_text(frame)));
        }
        let more = stack.len().saturating_sub(FRAMES)
            + exception["truncated"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        if more > 0 {
            lines.push(paint.dim(&format!("    … {more} more frame{}", if more == 1 { "" } else { "s" })));
        }
    }
}

/// Types without their modules, and messages, of the exceptions below this node.
fn raised_below(node: &Node) -> Vec<(String, String)> {
    let mut raised = Vec::new();
    for child in &node.children {
        child.walk(&mut |node| {
            for exception in node.value("/cause/exceptions").as_array().into_iter().flatten() {
                let text = |field: &str| clean(exception[field].as_str().unwrap_or_default());
                raised.push((short(&text("type")).to_owned(), text("message")));
            }
        });
    }
    raised
}

/// The runtime names a type without its module, the agent with it.
fn short(kind: &str) -> &str {
    kind.rsplit(['.', ':', '$']).next().unwrap_or(kind)
}

/// `file:line in function`, with what is there.
fn frame_text(frame: &Value) -> String {
    let text = |field: &str| clean(frame[field].as_str().unwrap_or_default());
    let (path, label) = (shortened(&text("path")), text("label"));
    match (path.as_str(), frame["line"].as_i64()) {
        ("", _) => label,
        (path, Some(line)) => format!("{path}:{line} in {label}").trim_end_matches(" in ").to_owned(),
        (path, None) => format!("{path} in {label}").trim_end_matches(" in ").to_owned(),
    }
}

/// The end of a long path: the file and line matter more than where packages are installed.
fn shortened(path: &str) -> String {
    let Some(more) = path.chars().count().checked_sub(PATH_CHARS).filter(|more| *more > 0) else {
        return path.to_owned();
    };
    let end: String = path.chars().skip(more).collect();
    format!("…{}", end.find('/').map_or(end.as_str(), |slash| &end[slash..]))
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn frames_by_what_is_known() {
        let long = "/opt/venv/lib/python3.13/site-packages/opentelemetry/trace/__init__.py";
        for (frame, text) in [
            (json!({"path": "app.py", "line": 7, "label": "handler"}), "app.py:7 in handler"),
            (json!({"path": "app.py", "line": 7}), "app.py:7"),
            (json!({"path": "app.py", "label": "handler"}), "app.py in handler"),
            (json!({"label": "handler"}), "handler"),
            (
                json!({"path": long, "line": 589, "label": "use_span"}),
                "…/site-packages/opentelemetry/trace/__init__.py:589 in use_span",
            ),
            (json!({"path": "x".repeat(57), "line": 1}), &format!("…{}:1", "x".repeat(56))),
            (json!({}), ""),
        ] {
            assert_eq!(frame_text(&frame), text);
        }
    }
}

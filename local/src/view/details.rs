//! What is said of one node: its label, its status, and the lines below it.

use super::paint::Paint;
use crate::xray::Node;
use serde_json::Value;

/// Frames of an exception that are shown.
const FRAMES: usize = 5;
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
    let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
    if about.is_empty() { node.name().to_owned() } else { format!("{}  {about}", node.name()) }
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
        .map(|(key, value)| format!("{}={}", paint.cyan(key), plain(value)))
        .collect();
    if !annotations.is_empty() {
        lines.push(format!("annotations  {}", annotations.join("  ")));
    }
    for (namespace, value) in entries(node.value("/metadata")) {
        if verbose || !HIDDEN.contains(&namespace.as_str()) {
            let fields: Vec<String> =
                entries(value).map(|(key, value)| format!("{key}={}", plain(value))).collect();
            lines.push(format!("metadata {namespace}  {}", fields.join("  ")));
        }
    }
    for link in node.value("/links").as_array().into_iter().flatten() {
        lines.push(format!("linked to {}", link["trace_id"].as_str().unwrap_or_default()));
    }
    exceptions(node, paint, &mut lines);
    lines
}

fn exceptions(node: &Node, paint: &Paint, lines: &mut Vec<String>) {
    if let Value::String(id) = node.value("/cause") {
        lines.push(format!("caused by exception {id} below"));
    }
    let told_below = raised_below(node);
    for (index, exception) in node.value("/cause/exceptions").as_array().into_iter().flatten().enumerate() {
        let text = |field: &str| exception[field].as_str().unwrap_or_default().replace('\n', " ");
        let (kind, message) = (text("type"), text("message"));
        let separator = if kind.is_empty() || message.is_empty() { "" } else { ": " };
        let lead = if index == 0 { "✗ " } else { "  after " };
        lines.push(paint.red(&format!("{lead}{kind}{separator}{message}")));
        // An exception that came through from below is shown whole where it was raised.
        if told_below.contains(&message) {
            continue;
        }
        let stack = exception["stack"].as_array().map(Vec::as_slice).unwrap_or_default();
        for frame in stack.iter().take(FRAMES) {
            lines.push(format!("    {}", frame_text(frame)));
        }
        let more = stack.len().saturating_sub(FRAMES)
            + exception["truncated"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        if more > 0 {
            lines.push(paint.dim(&format!("    … {more} more frames")));
        }
    }
}

/// The messages of the exceptions below this node.
fn raised_below(node: &Node) -> Vec<String> {
    let mut messages = Vec::new();
    for child in &node.children {
        child.walk(&mut |node| {
            let exceptions = node.value("/cause/exceptions").as_array().into_iter().flatten();
            messages
                .extend(exceptions.filter_map(|e| e["message"].as_str()).map(|text| text.replace('\n', " ")));
        });
    }
    messages
}

/// `file:line in function`, with what is there.
fn frame_text(frame: &Value) -> String {
    let (path, label) =
        (frame["path"].as_str().unwrap_or_default(), frame["label"].as_str().unwrap_or_default());
    match (path, frame["line"].as_i64()) {
        ("", _) => label.to_owned(),
        (path, Some(line)) => format!("{path}:{line} in {label}").trim_end_matches(" in ").to_owned(),
        (path, None) => format!("{path} in {label}"),
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    }
}

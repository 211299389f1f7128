//! Metadata: everything that has no field of its own (BET-4 to BET-8).

use super::attributes::to_json;
use super::document::Document;
use super::place::Placement;
use super::{Subject, mask};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Events other than exceptions that are kept.
const MAX_EVENTS: usize = 100;
const USER_PREFIX: &str = "aws.xray.metadata.";

/// A string of a field: at most 250 characters (LIM-6).
pub(super) fn cut_250(text: Cow<'_, str>) -> String {
    match text.char_indices().nth(250) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.into_owned(),
    }
}

pub(super) fn set(subject: &Subject<'_>, placement: &Placement, document: &mut Document) {
    if placement.is_top {
        leave_to_the_segment(subject);
    }
    for attribute in subject.attributes.unused() {
        if let Some(namespace) = attribute.key.strip_prefix(USER_PREFIX).filter(|name| !name.is_empty()) {
            user_namespace(namespace, attribute, document);
        } else if !is_scope(&attribute.key) {
            let value = masked(attribute);
            document
                .metadata
                .entry("default".to_owned())
                .or_default()
                .entry(attribute.key.clone())
                .or_insert(value);
        }
    }
    let facts = span_facts(subject, placement);
    if !facts.is_empty() {
        let otel = document.otel();
        for (key, value) in facts {
            otel.insert(key, value);
        }
    }
}

/// The function's own identity stands in its segment, whoever wrote that.
fn leave_to_the_segment(subject: &Subject<'_>) {
    let arn = subject.invocation.map_or("", |invocation| invocation.function_arn.as_str());
    let account = arn.split(':').nth(4).unwrap_or_default();
    let known = [
        ("cloud.resource_id", arn),
        ("cloud.account.id", account),
        ("faas.name", &subject.function.name),
        ("faas.version", &subject.function.version),
    ];
    for (name, value) in known {
        let same =
            |attribute: &&KeyValue| attribute.key == name && to_json(attribute.value.as_ref()) == value;
        if subject.attributes.iter().any(|attribute| same(&attribute)) {
            subject.attributes.get(&[name]);
        }
    }
}

/// `aws.xray.metadata.<namespace>` holds JSON text that becomes the namespace (MAP-65).
fn user_namespace(namespace: &str, attribute: &KeyValue, document: &mut Document) {
    let value = to_json(attribute.value.as_ref());
    let parsed = match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    };
    let entries = match parsed {
        Value::Object(entries) => entries,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    // Names that begin with `AWS.` are X-Ray's own (META-1).
    let namespace =
        if namespace.starts_with("AWS.") { format!("user.{namespace}") } else { namespace.to_owned() };
    document.metadata.entry(namespace).or_default().extend(entries);
}

/// Facts of the span that have no field (BET-5 to BET-7).
fn span_facts(subject: &Subject<'_>, placement: &Placement) -> Map<String, Value> {
    let span = subject.span;
    let mut facts = Map::new();
    let kind = match subject.kind {
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
        SpanKind::Internal | SpanKind::Unspecified => None,
    };
    if let Some(kind) = kind {
        facts.insert("kind".into(), kind.into());
    }
    if let Some(status) = span.status.as_ref().filter(|status| !status.message.is_empty()) {
        facts.insert("status_message".into(), status.message.clone().into());
    } else if span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Ok) {
        facts.insert("status".into(), "ok".into());
    }
    if !span.trace_state.is_empty() {
        facts.insert("trace_state".into(), span.trace_state.clone().into());
    }
    if let Some(scope) = scope(subject) {
        facts.insert("scope".into(), scope);
    }
    let events: Vec<Value> = span
        .events
        .iter()
        .filter(|event| event.name != "exception")
        .take(MAX_EVENTS)
        .map(|event| {
            json!({
                "name": event.name,
                "time": event.time_unix_nano as f64 / 1e9,
                "attributes": object(&event.attributes),
            })
        })
        .collect();
    if !events.is_empty() {
        facts.insert("events".into(), events.into());
    }
    let dropped = [
        ("dropped_attributes", span.dropped_attributes_count),
        ("dropped_events", span.dropped_events_count),
        ("dropped_links", span.dropped_links_count),
    ];
    for (name, count) in dropped.into_iter().filter(|(_, count)| *count > 0) {
        facts.insert(name.into(), count.into());
    }
    if placement.is_top {
        let mut resource = object(&subject.collected.origin.resource.attributes);
        if !subject.function.memory_mb.is_empty() {
            resource.entry("faas.max_memory_mb").or_insert_with(|| subject.function.memory_mb.clone().into());
        }
        if !resource.is_empty() {
            facts.insert("resource".into(), resource.into());
        }
    }
    facts
}

fn scope(subject: &Subject<'_>) -> Option<Value> {
    let text = |name: &str| {
        subject
            .attributes
            .iter()
            .find(|a| a.key == name)
            .map(|a| to_json(a.value.as_ref()))
            .filter(Value::is_string)
    };
    let of_batch = subject.collected.origin.scope.as_ref().filter(|scope| !scope.name.is_empty());
    let (name, version) = match of_batch {
        Some(scope) => (Some(scope.name.clone().into()), Some(scope.version.clone().into())),
        None => (text("otel.scope.name"), text("otel.scope.version")),
    };
    let mut scope = Map::from_iter([("name".to_owned(), name?)]);
    if let Some(version) = version.filter(|version| version != "") {
        scope.insert("version".into(), version);
    }
    Some(scope.into())
}

fn is_scope(key: &str) -> bool {
    key == "otel.scope.name" || key == "otel.scope.version"
}

fn object(attributes: &[KeyValue]) -> Map<String, Value> {
    attributes.iter().map(|attribute| (attribute.key.clone(), masked(attribute))).collect()
}

fn masked(attribute: &KeyValue) -> Value {
    match to_json(attribute.value.as_ref()) {
        Value::String(text) => mask::attribute(&attribute.key, &text).into_owned().into(),
        // Captured headers come as lists.
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => mask::attribute(&attribute.key, &text).into_owned().into(),
                other => other,
            })
            .collect(),
        other => other,
    }
}

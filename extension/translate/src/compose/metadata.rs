//! Metadata: everything that has no field of its own (BET-4 to BET-8).

use crate::attributes::key::Key;
use crate::compose::links;
use crate::compose::subject::Subject;
use crate::document::Document;
use crate::document::fields::Meta;
use crate::document::json;
use crate::document::value::{Shown, ShownAll};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Map, Value, json as json_of};
use std::collections::HashSet;

/// Events other than exceptions that are kept.
const MAX_EVENTS: usize = 100;
const USER_PREFIX: &str = "aws.xray.metadata.";
/// Up to here looking back is cheaper than remembering.
const FEW: usize = 24;

/// Attributes that are no part of the span's own story.
const TOLD_OTHERWISE: [Key; 3] = [Key::ScopeName, Key::ScopeVersion, Key::AwsXrayAnnotations];

/// Attributes no block has used, and the facts of the span that have no field.
pub(crate) fn set<'a>(subject: &Subject<'a>, document: &mut Document<'a>) {
    if subject.planned.placement.is_top {
        leave_to_the_segment(subject);
    }
    attributes(subject, document);
    facts(subject, document);
}

/// The function's own identity stands in its segment, whoever wrote that.
fn leave_to_the_segment(subject: &Subject<'_>) {
    let arn = subject.invocation.map_or("", |invocation| invocation.function_arn.as_str());
    let account = arn.split(':').nth(4).unwrap_or_default();
    let known = [
        (Key::CloudResourceId, arn),
        (Key::CloudAccountId, account),
        (Key::FaasName, &subject.function.name),
        (Key::FaasVersion, &subject.function.version),
    ];
    for (key, value) in known {
        if matches!(subject.attributes.peek(key), Some(Any::StringValue(text)) if text == value) {
            subject.attributes.spend(&[key]);
        }
    }
}

fn attributes<'a>(subject: &Subject<'a>, document: &mut Document<'a>) {
    let mut seen: HashSet<&str> = HashSet::new();
    let many = subject.attributes.list().len() > FEW;
    // What a block has put there is the better form of the same.
    let better = document.metadata.default.len();
    for attribute in subject.attributes.unused() {
        let key = attribute.key.as_str();
        if let Some(namespace) = key.strip_prefix(USER_PREFIX).filter(|name| !name.is_empty()) {
            user_namespace(namespace, attribute, document);
        } else if !TOLD_OTHERWISE.iter().any(|told| told.name() == key) {
            let default = &mut document.metadata.default;
            let is_new = if many && better == 0 { seen.insert(key) } else { default.get(key).is_none() };
            if is_new {
                default.push(key, Meta::Attribute(attribute));
            }
        }
    }
}

/// `aws.xray.metadata.<namespace>` holds JSON text that becomes the namespace (MAP-65).
fn user_namespace<'a>(namespace: &'a str, attribute: &'a KeyValue, document: &mut Document<'a>) {
    let value = json::to_value(&Shown(attribute));
    let parsed = match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or(value),
        _ => value,
    };
    let entries = match parsed {
        Value::Object(entries) => entries,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    // Names that begin with `AWS.` are X-Ray's own (META-1).
    let prefix = if namespace.starts_with("AWS.") { "user." } else { "" };
    let object = document.metadata.space(format!("{prefix}{namespace}").into());
    for (key, value) in entries {
        object.set(key, Meta::Json(value));
    }
}

/// Facts of the span that have no field (BET-5 to BET-7).
fn facts<'a>(subject: &Subject<'a>, document: &mut Document<'a>) {
    let span = subject.span;
    let kind = match subject.kind {
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
        SpanKind::Internal | SpanKind::Unspecified => None,
    };
    if let Some(kind) = kind {
        document.otel().push("kind", Meta::Text(kind.into()));
    }
    if let Some(status) = span.status.as_ref().filter(|status| !status.message.is_empty()) {
        document.otel().push("status_message", Meta::Text(status.message.as_str().into()));
    } else if span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Ok) {
        document.otel().push("status", Meta::Text("ok".into()));
    }
    if !span.trace_state.is_empty() {
        document.otel().push("trace_state", Meta::Text(span.trace_state.as_str().into()));
    }
    if let Some(scope) = scope(subject) {
        document.otel().push("scope", scope);
    }
    events(&span.events, document);
    if !span.links.is_empty() {
        let own = usize::from(subject.planned.placement.link.is_some());
        if let Some(rest) = links::left_over(&span.links, document.links.len().saturating_sub(own)) {
            document.otel().push("links", Meta::Json(rest));
        }
    }
    let dropped = [
        ("dropped_attributes", span.dropped_attributes_count),
        ("dropped_events", span.dropped_events_count),
        ("dropped_links", span.dropped_links_count),
    ];
    for (name, count) in dropped.into_iter().filter(|(_, count)| *count > 0) {
        document.otel().push(name, Meta::Json(count.into()));
    }
}

/// The facts of the resource, once on the top document of each service (BET-7).
pub(crate) fn resource<'a>(subject: &Subject<'a>, document: &mut Document<'a>) {
    let attributes = &subject.planned.collected.origin.resource.attributes;
    if !attributes.is_empty() {
        document.otel().push("resource", Meta::Attributes(attributes));
    }
    if !subject.function.memory_mb.is_empty() {
        document.otel().push("memory_mb", Meta::Text(subject.function.memory_mb.as_str().into()));
    }
}

/// Exceptions are in the cause; what the cause has not told is told here.
fn events(events: &[Event], document: &mut Document<'_>) {
    let has_cause = document.cause.is_some();
    let mut shown: Vec<Value> = Vec::new();
    let mut left_out = 0_usize;
    for event in events.iter().filter(|event| !has_cause || event.name != "exception") {
        if shown.len() == MAX_EVENTS {
            left_out += 1;
            continue;
        }
        shown.push(json_of!({
            "name": event.name,
            "time": (event.time_unix_nano / 1000) as f64 / 1e6,
            "attributes": json::to_value(&ShownAll(&event.attributes)),
        }));
    }
    if !shown.is_empty() {
        document.otel().push("events", Meta::Json(shown.into()));
    }
    if left_out > 0 {
        document.otel().push("events_left_out", Meta::Json(left_out.into()));
    }
}

fn scope<'a>(subject: &Subject<'a>) -> Option<Meta<'a>> {
    let of_batch = subject.planned.collected.origin.scope.as_ref().filter(|scope| !scope.name.is_empty());
    if let Some(scope) = of_batch {
        return Some(Meta::Scope { name: &scope.name, version: &scope.version });
    }
    let text = |key: Key| match subject.attributes.peek(key) {
        Some(Any::StringValue(text)) => text.as_str(),
        _ => "",
    };
    let name = text(Key::ScopeName);
    (!name.is_empty()).then(|| Meta::Scope { name, version: text(Key::ScopeVersion) })
}

//! Open spans of an invocation that ended badly become faults that say why, and what was being waited for (P5).

use super::Collected;
use super::ending::Ending;
use super::origin::{attribute, text, text_of};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use std::collections::HashMap;
use std::time::Duration;

/// On the outermost span: the call that was being waited for.
const WAITING_FOR: &str = "waiting_for";
/// On that call: true.
const WAITED_FOR: &str = "waited_for";
/// On the outermost span: every span that was still open inside of it, with the time it had.
const STILL_OPEN: &str = "still_open";
/// Names the attributes that become annotations (BET-24).
const ANNOTATIONS: &str = "aws.xray.annotations";

/// Spans listed in [`STILL_OPEN`].
const MAX_LISTED: usize = 20;

/// Completes the open spans of one invocation: it ended at `at_unix_nano`, and `ending` is why.
pub(super) fn close(open: &mut [Collected], ending: &Ending, at_unix_nano: u64) {
    let depths = depths(open);
    let waited = waited_for(open, &depths);
    let call = waited.map(|index| named_with_time(&open[index].span, at_unix_nano));
    let mut inner: Vec<usize> = (0..open.len()).filter(|index| depths[*index] > 0).collect();
    inner.sort_by_key(|index| (depths[*index], open[*index].span.start_time_unix_nano));
    let listed: Vec<String> = inner
        .iter()
        .take(MAX_LISTED)
        .map(|index| named_with_time(&open[*index].span, at_unix_nano))
        .collect();
    for (index, collected) in open.iter_mut().enumerate() {
        let span = &mut *collected.span;
        let is_outermost = depths[index] == 0;
        let message = match &call {
            Some(call) if is_outermost && waited != Some(index) => {
                format!("{}, while waiting for {call}", ending.message)
            }
            _ if waited == Some(index) => {
                format!("no answer in {}: {}", seconds(lasted(span, at_unix_nano)), ending.message)
            }
            _ => ending.message.clone(),
        };
        if waited == Some(index) {
            annotate(span, WAITED_FOR, Any::BoolValue(true));
        } else if let (true, Some(waited_call)) = (is_outermost, &call) {
            annotate(span, WAITING_FOR, Any::StringValue(without_time(waited_call).to_owned()));
        }
        if is_outermost && !listed.is_empty() {
            span.attributes.push(attribute(STILL_OPEN, texts(&listed)));
        }
        fail(span, &ending.kind, &message, at_unix_nano);
    }
}

/// Ends a span as a fault with an exception.
pub(super) fn fail(span: &mut Span, kind: &str, message: &str, at_unix_nano: u64) {
    span.end_time_unix_nano = at_unix_nano.max(span.start_time_unix_nano);
    span.status = Some(Status { code: StatusCode::Error.into(), message: message.to_owned() });
    span.events.push(Event {
        name: "exception".to_owned(),
        time_unix_nano: span.end_time_unix_nano,
        attributes: vec![text("exception.type", kind), text("exception.message", message)],
        ..Event::default()
    });
}

/// How many open spans each is inside of.
fn depths(open: &[Collected]) -> Vec<usize> {
    let by_id: HashMap<&[u8], usize> =
        open.iter().enumerate().map(|(index, one)| (one.span.span_id.as_slice(), index)).collect();
    let depth = |index: usize| {
        let mut depth = 0;
        let mut next = by_id.get(open[index].span.parent_span_id.as_slice());
        // A ring of parents is no reason to go on for ever.
        while let Some(parent) = next.filter(|_| depth < open.len()) {
            depth += 1;
            next = by_id.get(open[*parent].span.parent_span_id.as_slice());
        }
        depth
    };
    (0..open.len()).map(depth).collect()
}

/// The deepest open call to something else, the latest of several.
fn waited_for(open: &[Collected], depths: &[usize]) -> Option<usize> {
    let is_call = |index: &usize| matches!(open[*index].span.kind(), SpanKind::Client | SpanKind::Producer);
    (0..open.len())
        .filter(is_call)
        .max_by_key(|index| (depths[*index], open[*index].span.start_time_unix_nano))
}

/// `DynamoDB GetItem (2.71 s)`.
fn named_with_time(span: &Span, at_unix_nano: u64) -> String {
    format!("{} ({})", call_name(span), seconds(lasted(span, at_unix_nano)))
}

fn without_time(named: &str) -> &str {
    named.rsplit_once(" (").map_or(named, |(name, _)| name)
}

/// What a call is known as: service and operation, method and host, or the span's own name.
fn call_name(span: &Span) -> String {
    let find = |names: &[&str]| names.iter().find_map(|name| text_of(&span.attributes, name));
    if let (Some(service), Some(method)) = (find(&["rpc.service"]), find(&["rpc.method"])) {
        return format!("{service} {method}");
    }
    let method = find(&["http.request.method", "http.method"]);
    let host = find(&["server.address", "net.peer.name"]);
    match (method, host) {
        (Some(method), Some(host)) => format!("{method} {host}"),
        _ => span.name.clone(),
    }
}

fn lasted(span: &Span, at_unix_nano: u64) -> Duration {
    Duration::from_nanos(at_unix_nano.saturating_sub(span.start_time_unix_nano))
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn texts(texts: &[String]) -> Any {
    let values = texts.iter().map(|text| AnyValue { value: Some(Any::StringValue(text.clone())) }).collect();
    Any::ArrayValue(ArrayValue { values })
}

/// Adds an attribute that becomes an annotation, besides those the span names itself.
fn annotate(span: &mut Span, key: &str, value: Any) {
    span.attributes.push(attribute(key, value));
    let named = span.attributes.iter_mut().find(|attribute| attribute.key == ANNOTATIONS);
    let entry = AnyValue { value: Some(Any::StringValue(key.to_owned())) };
    match named.and_then(|attribute: &mut KeyValue| attribute.value.as_mut()?.value.as_mut()) {
        Some(Any::ArrayValue(list)) => list.values.push(entry),
        Some(other) => {
            let own = AnyValue { value: Some(other.clone()) };
            *other = Any::ArrayValue(ArrayValue { values: vec![own, entry] });
        }
        None => span.attributes.push(attribute(ANNOTATIONS, texts(&[key.to_owned()]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000_000;

    fn span(id: u8, parent: u8, kind: SpanKind, name: &str, start: u64) -> Collected {
        let span = Span {
            span_id: vec![id; 8],
            parent_span_id: vec![parent; 8],
            kind: kind.into(),
            name: name.into(),
            start_time_unix_nano: start,
            ..Span::default()
        };
        Collected { span: Box::new(span), origin: Arc::default(), request_id: None }
    }

    fn ending() -> Ending {
        Ending { kind: "Timeout".into(), message: "ended by Lambda after 3.00 s".into() }
    }

    fn message(collected: &Collected) -> &str {
        text_of(&collected.span.events[0].attributes, "exception.message").unwrap()
    }

    fn annotated(collected: &Collected) -> Vec<String> {
        let names = collected.span.attributes.iter().find(|attribute| attribute.key == ANNOTATIONS);
        match names.and_then(|names| names.value.as_ref()?.value.as_ref()) {
            Some(Any::ArrayValue(names)) => {
                names.values.iter().map(|name| format!("{:?}", name.value.as_ref().unwrap())).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn p5_the_handler_names_the_call_it_was_waiting_for() {
        let mut call = span(2, 1, SpanKind::Client, "DynamoDB.GetItem", 290_000_000);
        call.span.attributes = vec![text("rpc.service", "DynamoDB"), text("rpc.method", "GetItem")];
        let mut open = [span(1, 9, SpanKind::Server, "app.handler", 0), call];
        close(&mut open, &ending(), 3 * SECOND);
        assert_eq!(
            message(&open[0]),
            "ended by Lambda after 3.00 s, while waiting for DynamoDB GetItem (2.71 s)"
        );
        assert_eq!(message(&open[1]), "no answer in 2.71 s: ended by Lambda after 3.00 s");
        assert_eq!(text_of(&open[0].span.attributes, WAITING_FOR), Some("DynamoDB GetItem"));
        assert_eq!(annotated(&open[0]), ["StringValue(\"waiting_for\")"]);
        assert_eq!(annotated(&open[1]), ["StringValue(\"waited_for\")"]);
        let listed = open[0].span.attributes.iter().find(|attribute| attribute.key == STILL_OPEN);
        assert!(format!("{listed:?}").contains("DynamoDB GetItem (2.71 s)"));
        for one in &open {
            assert_eq!(one.span.end_time_unix_nano, 3 * SECOND);
            assert_eq!(one.span.status.as_ref().unwrap().code(), StatusCode::Error);
        }
    }

    #[test]
    fn the_deepest_call_is_the_one_and_the_latest_of_several() {
        let mut open = [
            span(1, 0, SpanKind::Server, "app.handler", 0),
            span(2, 1, SpanKind::Client, "first", 1),
            span(3, 1, SpanKind::Internal, "work", 2),
            span(4, 3, SpanKind::Client, "second", 3),
            span(5, 3, SpanKind::Client, "third", 4),
            span(6, 3, SpanKind::Internal, "deeper", 5),
        ];
        close(&mut open, &ending(), 3 * SECOND);
        let flagged: Vec<usize> = (0..open.len())
            .filter(|index| open[*index].span.attributes.iter().any(|a| a.key == WAITED_FOR))
            .collect();
        assert_eq!(flagged, [4]);
        assert_eq!(text_of(&open[0].span.attributes, WAITING_FOR), Some("third"));
        assert_eq!(message(&open[3]), "ended by Lambda after 3.00 s");
    }

    #[test]
    fn without_a_call_only_the_ending_is_told_and_own_annotations_stay() {
        let mut handler = span(1, 0, SpanKind::Server, "app.handler", 0);
        handler.span.attributes = vec![text(ANNOTATIONS, "mine")];
        let mut open = [handler];
        close(&mut open, &ending(), 3 * SECOND);
        assert_eq!(message(&open[0]), "ended by Lambda after 3.00 s");
        assert_eq!(text_of(&open[0].span.attributes, ANNOTATIONS), Some("mine"));

        let mut handler = span(1, 0, SpanKind::Server, "app.handler", 0);
        handler.span.attributes = vec![text(ANNOTATIONS, "mine")];
        let mut open = [handler, span(2, 1, SpanKind::Client, "GET", 1)];
        open[1].span.attributes =
            vec![text("http.request.method", "GET"), text("server.address", "example.com")];
        close(&mut open, &ending(), SECOND);
        assert_eq!(annotated(&open[0]), ["StringValue(\"mine\")", "StringValue(\"waiting_for\")"]);
        assert_eq!(text_of(&open[0].span.attributes, WAITING_FOR), Some("GET example.com"));
    }

    #[test]
    fn parents_in_a_ring_and_spans_of_the_future_do_no_harm() {
        let mut open = [span(1, 2, SpanKind::Client, "a", 9 * SECOND), span(2, 1, SpanKind::Client, "b", 0)];
        close(&mut open, &ending(), SECOND);
        assert_eq!(open[0].span.end_time_unix_nano, 9 * SECOND);
        assert!(open.iter().all(|one| one.span.events.len() == 1));
    }
}

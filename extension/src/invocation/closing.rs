//! Open spans of an invocation that ended badly become faults that say why, and what was being waited for (P5). Those
//! that an invocation which ended by itself has left are unfinished, and nobody's fault.

use super::Collected;
use super::ending::Ending;
use super::origin::{attribute, text, text_of};
use super::packed::{Head, Packed};
use super::spans::Left;
use super::trace_header::SpanId;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use otel_xray_translate::statements;
use std::collections::HashMap;
use std::time::Duration;

/// On the outermost span: the call that was being waited for.
const WAITING_FOR: &str = "waiting_for";
/// On that call: true.
const WAITED_FOR: &str = "waited_for";
/// On a span whose invocation has ended without it: true.
const UNFINISHED: &str = "unfinished";
/// On the outermost span: every span that was still open inside of it, with the time it had.
const STILL_OPEN: &str = "still_open";
/// Names the attributes that become annotations (BET-24).
const ANNOTATIONS: &str = "aws.xray.annotations";

const STATUS: &str = "http.response.status_code";

/// Spans listed in [`STILL_OPEN`].
const MAX_LISTED: usize = 20;

/// Completes the open spans of one invocation, one after the other: it ended at `at_unix_nano`, and `ending` is why.
/// What cannot be read again is `None`.
pub(super) fn close(
    open: Vec<Left>,
    ending: &Ending,
    at_unix_nano: u64,
    mut closed: impl FnMut(Option<Collected>),
) {
    let (answered, open): (Vec<Left>, Vec<Left>) = open.into_iter().partition(|left| left.answered.is_some());
    for left in answered {
        closed(answer(&left));
    }
    let open: Vec<Packed> = open.into_iter().map(|left| left.packed).collect();
    let heads: Vec<Head> = open.iter().map(Packed::head).collect();
    let depths = depths(&heads);
    let waited = waited_for(&heads, &depths);
    let name = |index: usize| open[index].unpack().map(|one| named_with_time(&one.span, at_unix_nano));
    let call = waited.and_then(name);
    let mut inner: Vec<usize> = (0..open.len()).filter(|index| depths[*index] > 0).collect();
    inner.sort_by_key(|index| (depths[*index], heads[*index].start_unix_nano));
    let listed: Vec<String> = inner.into_iter().take(MAX_LISTED).filter_map(name).collect();
    for (index, packed) in open.into_iter().enumerate() {
        let Some(mut collected) = packed.unpack() else {
            closed(None);
            continue;
        };
        drop(packed);
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
        closed(Some(collected));
    }
}

/// Completes an open span of an invocation that was over at `at_unix_nano`.
pub(super) fn leave(left: &Left, at_unix_nano: u64) -> Option<Collected> {
    if left.answered.is_some() {
        return answer(left);
    }
    let mut collected = left.packed.unpack()?;
    let span = &mut *collected.span;
    span.end_time_unix_nano = at_unix_nano.max(span.start_time_unix_nano);
    annotate(span, UNFINISHED, Any::BoolValue(true));
    Some(collected)
}

/// A call that had been answered when nobody waited for the rest.
fn answer(left: &Left) -> Option<Collected> {
    let (at_unix_nano, status) = left.answered?;
    let mut collected = left.packed.unpack()?;
    let span = &mut *collected.span;
    span.end_time_unix_nano = at_unix_nano.max(span.start_time_unix_nano);
    if status > 0 {
        span.attributes.push(attribute(STATUS, Any::IntValue(status.into())));
    }
    Some(collected)
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
fn depths(open: &[Head]) -> Vec<usize> {
    let by_id: HashMap<SpanId, usize> =
        open.iter().enumerate().filter_map(|(index, one)| Some((one.id?, index))).collect();
    let parent = |index: usize| by_id.get(&open[index].parent?).copied();
    let mut depths: Vec<Option<usize>> = vec![None; open.len()];
    let mut chain = Vec::new();
    for index in 0..open.len() {
        let mut next = Some(index);
        while let Some(at) = next.filter(|at| depths[*at].is_none()) {
            // A ring of parents is no reason to go on for ever.
            depths[at] = Some(open.len());
            chain.push(at);
            next = parent(at);
        }
        let mut above = next.and_then(|at| depths[at]);
        for at in chain.drain(..).rev() {
            let depth = above.map_or(0, |above| above.saturating_add(1));
            depths[at] = Some(depth);
            above = Some(depth);
        }
    }
    depths.into_iter().map(Option::unwrap_or_default).collect()
}

/// The deepest open call to something else, the latest of several.
fn waited_for(open: &[Head], depths: &[usize]) -> Option<usize> {
    let is_call = |index: &usize| matches!(open[*index].kind, SpanKind::Client | SpanKind::Producer);
    (0..open.len()).filter(is_call).max_by_key(|index| (depths[*index], open[*index].start_unix_nano))
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
        _ => statements::name(span).unwrap_or_else(|| span.name.clone()),
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
    use super::super::packed::Source;
    use super::*;
    use crate::ledger::Ledger;
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

    fn closed<const N: usize>(open: &[Collected; N], at_unix_nano: u64) -> [Collected; N] {
        let ledger = Ledger::new(1 << 20);
        let pack =
            |one: &Collected| Packed::pack(one, &Arc::new(Source::new(&one.origin, &ledger)), 0, &ledger);
        let left = |one: &Collected| Left { packed: pack(one), answered: None };
        let mut closed = Vec::new();
        close(open.iter().map(left).collect(), &ending(), at_unix_nano, |one| closed.extend(one));
        closed.try_into().unwrap()
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
        let open = closed(&[span(1, 9, SpanKind::Server, "app.handler", 0), call], 3 * SECOND);
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
    fn pl_47_a_statement_that_hangs_is_named_by_its_table_and_not_by_its_values() {
        let mut call = span(2, 1, SpanKind::Client, "SELECT shop", 290_000_000);
        call.span.attributes = vec![
            text("db.system.name", "postgresql"),
            text("db.namespace", "shop"),
            text("server.address", "db.example"),
            text("db.query.text", "SELECT a FROM users WHERE b = 'hunter2'"),
        ];
        let open = closed(&[span(1, 9, SpanKind::Server, "app.handler", 0), call], 3 * SECOND);
        assert_eq!(
            message(&open[0]),
            "ended by Lambda after 3.00 s, while waiting for SELECT users (2.71 s)"
        );
        assert_eq!(text_of(&open[0].span.attributes, WAITING_FOR), Some("SELECT users"));
    }

    #[test]
    fn the_deepest_call_is_the_one_and_the_latest_of_several() {
        let open = [
            span(1, 0, SpanKind::Server, "app.handler", 0),
            span(2, 1, SpanKind::Client, "first", 1),
            span(3, 1, SpanKind::Internal, "work", 2),
            span(4, 3, SpanKind::Client, "second", 3),
            span(5, 3, SpanKind::Client, "third", 4),
            span(6, 3, SpanKind::Internal, "deeper", 5),
        ];
        let open = closed(&open, 3 * SECOND);
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
        let open = closed(&[handler], 3 * SECOND);
        assert_eq!(message(&open[0]), "ended by Lambda after 3.00 s");
        assert_eq!(text_of(&open[0].span.attributes, ANNOTATIONS), Some("mine"));

        let mut handler = span(1, 0, SpanKind::Server, "app.handler", 0);
        handler.span.attributes = vec![text(ANNOTATIONS, "mine")];
        let mut open = [handler, span(2, 1, SpanKind::Client, "GET", 1)];
        open[1].span.attributes =
            vec![text("http.request.method", "GET"), text("server.address", "example.com")];
        let open = closed(&open, SECOND);
        assert_eq!(annotated(&open[0]), ["StringValue(\"mine\")", "StringValue(\"waiting_for\")"]);
        assert_eq!(text_of(&open[0].span.attributes, WAITING_FOR), Some("GET example.com"));
    }

    #[test]
    fn parents_in_a_ring_and_spans_of_the_future_do_no_harm() {
        let open = closed(
            &[span(1, 2, SpanKind::Client, "a", 9 * SECOND), span(2, 1, SpanKind::Client, "b", 0)],
            SECOND,
        );
        assert_eq!(open[0].span.end_time_unix_nano, 9 * SECOND);
        assert!(open.iter().all(|one| one.span.events.len() == 1));
    }

    #[test]
    fn how_deep_each_of_very_many_is_takes_one_look_at_each() {
        const COUNT: usize = 100_000;
        let head = |id: u64, parent: u64| Head {
            id: SpanId::from_bytes(&id.to_be_bytes()),
            parent: SpanId::from_bytes(&parent.to_be_bytes()),
            ..Head::default()
        };
        let nested: Vec<Head> = (1..=COUNT as u64).rev().map(|id| head(id, id - 1)).collect();
        let depths = depths(&nested);
        assert!(depths.into_iter().eq((0..COUNT).rev()));
    }
}

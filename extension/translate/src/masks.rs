//! Spans without what must not leave the environment. They are masked before anything is made of them, so that no field
//! of a document can be forgotten.

use crate::flush::{Batch, Collected, Origin};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use otel_xray_mask::{Context, Kind, MASK, is_database_error, is_same};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// What errors of databases have said in a trace that is looked for in its other spans.
const MAX_SAID: usize = 16;
/// Traces of a flush of which that is known.
const MAX_TRACES: usize = 64;
/// A shorter message may stand anywhere by chance.
const MIN_SAID_BYTES: usize = 8;
const MAX_DEPTH: usize = 32;
/// Origins whose spans may mix.
const MAX_ORIGINS: usize = 16;

/// Masks the spans of one flush.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    /// By trace: messages of databases' errors, and how they are shown. An error goes up to spans that know nothing of
    /// databases.
    said: HashMap<Vec<u8>, Vec<(String, String)>>,
    /// The latest origins, and what is shown of them.
    origins: Vec<(Arc<Origin>, Arc<Origin>)>,
}

impl Masks {
    /// For the spans of a batch.
    pub(crate) fn of_batch(batch: &Batch) -> Self {
        let mut masks = Self::default();
        for span in batch.spans.iter().map(|collected| &*collected.span) {
            if has_failed(span) || !span.events.is_empty() {
                masks.note_said(span);
            }
        }
        // What holds another is replaced first.
        for said in masks.said.values_mut() {
            said.sort_by_key(|(message, _)| std::cmp::Reverse(message.len()));
        }
        masks
    }

    fn note_said(&mut self, span: &Span) {
        let context = context(span, &[]);
        let messages = span.events.iter().flat_map(|event| {
            let context =
                Context { is_of_database: context.is_of_database || is_of_database(event), ..context };
            attributes_of(&event.attributes, "exception.message").map(move |message| (message, context))
        });
        let status = span.status.iter().map(|status| (status.message.as_str(), context));
        for (message, context) in messages.chain(status).filter(|(_, context)| context.is_of_database) {
            let known = self.said.get(&span.trace_id).map_or(&[][..], Vec::as_slice);
            let is_full = known.len() == MAX_SAID || known.is_empty() && self.said.len() == MAX_TRACES;
            if message.len() < MIN_SAID_BYTES || is_full || known.iter().any(|(said, _)| said == message) {
                continue;
            }
            let shown = context.text(Kind::Message, message);
            if shown != message {
                let said = self.said.entry(span.trace_id.clone()).or_default();
                said.push((message.to_owned(), shown.into_owned()));
            }
        }
    }

    /// What is shown of where spans come from.
    fn origin(&mut self, origin: &Arc<Origin>) -> Arc<Origin> {
        // Spans of one origin come together.
        if let Some((_, shown)) = self.origins.iter().rev().find(|(known, _)| Arc::ptr_eq(known, origin)) {
            return Arc::clone(shown);
        }
        let shown = origin_shown(origin);
        if self.origins.len() == MAX_ORIGINS {
            self.origins.remove(0);
        }
        self.origins.push((Arc::clone(origin), Arc::clone(&shown)));
        shown
    }

    /// A span as it may be shown: itself, where nothing in it is a secret.
    pub(crate) fn shown<'a>(&mut self, collected: &'a Collected) -> Cow<'a, Collected> {
        let origin = self.origin(&collected.origin);
        match self.span(&collected.span) {
            None if Arc::ptr_eq(&origin, &collected.origin) => Cow::Borrowed(collected),
            span => Cow::Owned(Collected {
                span: span.map_or_else(|| collected.span.clone(), Box::new),
                origin,
                request_id: collected.request_id.clone(),
            }),
        }
    }

    /// What is shown of a span in which something is a secret.
    fn span(&self, span: &Span) -> Option<Span> {
        let context = context(span, self.said.get(&span.trace_id).map_or(&[], Vec::as_slice));
        let name = changed(&context.text(Kind::Name, &span.name), &span.name);
        let attributes = attributes(&span.attributes, context, 0);
        let events = list(&span.events, |event| {
            let is_of_database = context.is_of_database || is_of_database(event);
            let name = changed(&context.text(Kind::Text, &event.name), &event.name);
            let attributes = self::attributes(&event.attributes, Context { is_of_database, ..context }, 0);
            (name.is_some() || attributes.is_some()).then(|| Event {
                name: name.unwrap_or_else(|| event.name.clone()),
                attributes: attributes.unwrap_or_else(|| event.attributes.clone()),
                ..*event
            })
        });
        let links = list(&span.links, |link| {
            let attributes = self::attributes(&link.attributes, context, 0)?;
            Some(Link { attributes, ..link.clone() })
        });
        let status = span.status.as_ref().and_then(|status| {
            let message = changed(&context.text(Kind::Message, &status.message), &status.message)?;
            Some(Status { message, ..*status })
        });
        let is_changed =
            name.is_some() || attributes.is_some() || events.is_some() || links.is_some() || status.is_some();
        is_changed.then(|| Span {
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            trace_state: span.trace_state.clone(),
            parent_span_id: span.parent_span_id.clone(),
            flags: span.flags,
            name: name.unwrap_or_else(|| span.name.clone()),
            kind: span.kind,
            start_time_unix_nano: span.start_time_unix_nano,
            end_time_unix_nano: span.end_time_unix_nano,
            attributes: attributes.unwrap_or_else(|| span.attributes.clone()),
            dropped_attributes_count: span.dropped_attributes_count,
            events: events.unwrap_or_else(|| span.events.clone()),
            dropped_events_count: span.dropped_events_count,
            links: links.unwrap_or_else(|| span.links.clone()),
            dropped_links_count: span.dropped_links_count,
            status: status.or_else(|| span.status.clone()),
        })
    }
}

fn origin_shown(origin: &Arc<Origin>) -> Arc<Origin> {
    let context = Context::default();
    let of_resource = attributes(&origin.resource.attributes, context, 0);
    let of_scope = origin.scope.as_ref().and_then(|scope| attributes(&scope.attributes, context, 0));
    if of_resource.is_none() && of_scope.is_none() {
        return Arc::clone(origin);
    }
    let mut shown = Origin::clone(origin);
    if let Some(attributes) = of_resource {
        shown.resource.attributes = attributes;
    }
    if let (Some(attributes), Some(scope)) = (of_scope, &mut shown.scope) {
        scope.attributes = attributes;
    }
    Arc::new(shown)
}

fn has_failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| !status.message.is_empty())
}

fn attributes_of<'a>(list: &'a [KeyValue], name: &'static str) -> impl Iterator<Item = &'a str> {
    list.iter().filter(move |one| one.key == name).filter_map(|one| match &one.value.as_ref()?.value {
        Some(Value::StringValue(text)) => Some(text.as_str()),
        _ => None,
    })
}

fn system(span: &Span) -> Option<&str> {
    span.attributes.iter().find_map(|one| match (one.key.as_str(), &one.value.as_ref()?.value) {
        ("db.system.name" | "db.system", Some(Value::StringValue(system))) => Some(system.as_str()),
        _ => None,
    })
}

fn context<'a>(span: &'a Span, said: &'a [(String, String)]) -> Context<'a> {
    let system = system(span);
    Context { system, is_of_database: system.is_some(), said }
}

/// Whether an exception is of a driver.
fn is_of_database(event: &Event) -> bool {
    attributes_of(&event.attributes, "exception.type").any(is_database_error)
}

/// A text that a mask has changed.
fn changed(masked: &str, text: &str) -> Option<String> {
    (!is_same(masked, text)).then(|| masked.to_owned())
}

/// A list of which something has changed.
fn list<T: Clone>(all: &[T], mut change: impl FnMut(&T) -> Option<T>) -> Option<Vec<T>> {
    let mut changed: Option<Vec<T>> = None;
    for (at, one) in all.iter().enumerate() {
        if let Some(one) = change(one) {
            changed.get_or_insert_with(|| all.to_vec())[at] = one;
        }
    }
    changed
}

fn attributes(all: &[KeyValue], context: Context<'_>, depth: usize) -> Option<Vec<KeyValue>> {
    // A name in a value is no attribute's, and may be a header's.
    let kind = if depth == 0 { Kind::of } else { Kind::of_entry };
    list(all, |one| {
        let Some(value) = &one.value.as_ref()?.value else { return None };
        // Most values are texts, numbers or flags, of which only some names make a secret.
        let value = value_shown(kind(&one.key), value, context, depth)?;
        Some(KeyValue { value: Some(AnyValue { value: Some(value) }), ..one.clone() })
    })
}

/// What is shown in a value's place. In a list it is known by the list's name, in a map by its own, unless all of the
/// map is secret.
fn value_shown(kind: Kind, value: &Value, context: Context<'_>, depth: usize) -> Option<Value> {
    let is_whole = matches!(kind, Kind::Secret | Kind::Parameter);
    let nested = |one: &AnyValue| {
        let value = value_shown(kind, one.value.as_ref()?, context, depth + 1)?;
        Some(AnyValue { value: Some(value) })
    };
    match value {
        Value::StringValue(text) => changed(&context.text(kind, text), text).map(Value::StringValue),
        Value::ArrayValue(_) | Value::KvlistValue(_) if depth >= MAX_DEPTH => {
            Some(Value::StringValue("(nested too deep)".into()))
        }
        Value::ArrayValue(array) => {
            list(&array.values, nested).map(|values| Value::ArrayValue(ArrayValue { values }))
        }
        Value::KvlistValue(map) => {
            let values = if is_whole {
                list(&map.values, |one| {
                    Some(KeyValue { value: Some(nested(one.value.as_ref()?)?), ..one.clone() })
                })
            } else {
                attributes(&map.values, context, depth + 1)
            };
            values.map(|values| Value::KvlistValue(KeyValueList { values }))
        }
        Value::BytesValue(_) | Value::IntValue(_) | Value::DoubleValue(_) if is_whole => {
            Some(Value::StringValue(MASK.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::span;

    fn text(text: &str) -> AnyValue {
        AnyValue { value: Some(Value::StringValue(text.into())) }
    }

    fn pair(key: &str, value: AnyValue) -> KeyValue {
        KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
    }

    #[test]
    fn bet_2_what_a_database_has_said_is_looked_for_in_its_own_trace() {
        let failed = |trace: u8, attributes| {
            let status = Some(Status { message: "SELECT of 'hunter2' failed".into(), ..Status::default() });
            let span = Span { trace_id: vec![trace; 16], attributes, status, ..Span::default() };
            Collected { span: Box::new(span), origin: Arc::default(), request_id: None }
        };
        let of_database = vec![pair("db.system.name", text("sqlite"))];
        let batch = Batch {
            spans: vec![failed(1, of_database), failed(1, vec![]), failed(2, vec![])],
            ..Batch::default()
        };
        let mut masks = Masks::of_batch(&batch);
        let shown: Vec<bool> = batch
            .spans
            .iter()
            .map(|one| format!("{:?}", masks.shown(one).span).contains("hunter2"))
            .collect();
        assert_eq!(shown, [false, false, true]);
    }

    #[test]
    fn section_14_3_every_text_of_a_span_is_masked_as_in_a_document() {
        let secret = "https://user:hunter2@shop.example/a?token=hunter2&page=2";
        let list = |value| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        let nested =
            |value| AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: vec![value] })) };
        let given = Span {
            name: "GET".into(),
            attributes: vec![
                pair("url.full", text(secret)),
                pair("db.query.text", text("SELECT * FROM users WHERE password = 'hunter2'")),
                pair("http.request.header.authorization", list(text("Bearer hunter2"))),
                pair("request", nested(pair("http.url", text(secret)))),
                pair("note", text("as it is")),
            ],
            events: vec![span::Event {
                attributes: vec![pair("exception.message", text(&format!("no answer from {secret}")))],
                ..span::Event::default()
            }],
            links: vec![span::Link {
                attributes: vec![pair("url.full", text(secret))],
                ..span::Link::default()
            }],
            status: Some(Status { message: format!("no answer from {secret}"), ..Status::default() }),
            ..Span::default()
        };
        let masked = Masks::default().span(&given).unwrap();
        let shown = format!("{masked:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.matches("page=2").count(), 5);
        assert!(shown.contains("as it is") && shown.contains("SELECT * FROM users WHERE password = "));
        assert_eq!(Masks::default().span(&masked), None);
    }
}

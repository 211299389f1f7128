//! Takes out of the spans what must not leave the environment, before anything is made of them, so that no field of a
//! document can be forgotten. What is left of a statement then names its call.

use crate::flush::{Batch, Origin};
use crate::statements;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use otel_xray_mask::{Context, Kind, MASK, is_database_error, is_same};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

/// What errors of databases have said in a trace that is looked for in its other spans.
const MAX_SAID: usize = 16;
/// Traces of a flush of which that is known.
const MAX_TRACES: usize = 64;
/// A shorter message may stand anywhere by chance.
const MIN_SAID_BYTES: usize = 8;
const MAX_DEPTH: usize = 32;
/// Kinds of calls whose latest spans are remembered.
const SHAPES: usize = 32;
/// Origins whose spans may mix.
const MAX_ORIGINS: usize = 16;

/// A batch whose spans hold nothing that must not leave the environment: the only thing that is translated.
#[derive(Debug)]
pub struct Masked<'a>(&'a Batch);

impl<'a> Masked<'a> {
    /// Masks the spans where they are. Documents of X-Ray SDKs are masked when they are read.
    pub fn of(batch: &'a mut Batch) -> Self {
        let mut masks = Masks::of_batch(batch);
        let mut latest = [None; SHAPES];
        for at in 0..batch.spans.len() {
            let (masked, rest) = batch.spans.split_at_mut(at);
            let Some(collected) = rest.first_mut() else { break };
            collected.origin = masks.origin(&collected.origin);
            let like = &mut latest[shape(&collected.span)];
            let like = like.replace(at).and_then(|at: usize| masked.get(at));
            masks.mask(&mut collected.span, like.map(|one| &*one.span));
        }
        Self(batch)
    }
}

impl Deref for Masked<'_> {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        self.0
    }
}

#[derive(Debug, Default)]
struct Masks {
    /// By trace: messages of databases' errors, and how they are shown. An error goes up to spans that know nothing of
    /// databases.
    said: HashMap<Vec<u8>, Vec<(String, String)>>,
    /// The latest origins, and what is shown of them.
    origins: Vec<(Arc<Origin>, Arc<Origin>)>,
}

impl Masks {
    fn of_batch(batch: &Batch) -> Self {
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
        let system = system(span);
        let context = Context { system, is_of_database: system.is_some(), said: &[] };
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

    /// `like` may be a span that has been masked: what both hold need not be looked at again.
    fn mask(&self, span: &mut Span, like: Option<&Span>) {
        let said = self.said.get(&span.trace_id).map_or(&[][..], Vec::as_slice);
        let system = system(span).map(str::to_owned);
        let system = system.as_deref();
        let context = Context { system, is_of_database: system.is_some(), said };
        let like = like.filter(|like| {
            said.is_empty() && !self.said.contains_key(&like.trace_id) && self::system(like) == system
        });
        if like.is_none_or(|like| like.name != span.name) {
            text(context, Kind::Name, &mut span.name);
        }
        let known = like.map_or(&[][..], |like| &like.attributes);
        for (at, one) in span.attributes.iter_mut().enumerate() {
            if known.get(at) != Some(one) {
                attributes(std::slice::from_mut(one), context, 0);
            }
        }
        for (at, event) in span.events.iter_mut().enumerate() {
            let known = like.and_then(|like| like.events.get(at));
            if known.is_some_and(|known| known.name == event.name && known.attributes == event.attributes) {
                continue;
            }
            let is_of_database = context.is_of_database || is_of_database(event);
            text(context, Kind::Text, &mut event.name);
            attributes(&mut event.attributes, Context { is_of_database, ..context }, 0);
        }
        for link in &mut span.links {
            attributes(&mut link.attributes, context, 0);
        }
        if let Some(status) = &mut span.status {
            text(context, Kind::Message, &mut status.message);
        }
        if let Some(name) = statements::name(span) {
            span.name = name;
        }
    }
}

/// What is shown of where spans come from: the same, where nothing in it is a secret.
fn origin_shown(origin: &Arc<Origin>) -> Arc<Origin> {
    let mut shown = Origin::clone(origin);
    attributes(&mut shown.resource.attributes, Context::default(), 0);
    if let Some(scope) = &mut shown.scope {
        attributes(&mut scope.attributes, Context::default(), 0);
    }
    if shown == **origin { Arc::clone(origin) } else { Arc::new(shown) }
}

/// Calls of one kind have names of one length, and as many attributes.
fn shape(span: &Span) -> usize {
    (span.name.len() + 5 * span.attributes.len()) % SHAPES
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

/// Whether an exception is of a driver.
fn is_of_database(event: &Event) -> bool {
    attributes_of(&event.attributes, "exception.type").any(is_database_error)
}

fn text(context: Context<'_>, kind: Kind, text: &mut String) {
    let masked = context.text(kind, text);
    let changed = (!is_same(&masked, text)).then(|| masked.into_owned());
    if let Some(masked) = changed {
        *text = masked;
    }
}

fn attributes(all: &mut [KeyValue], context: Context<'_>, depth: usize) {
    // A name in a value is no attribute's, and may be a header's.
    let kind = if depth == 0 { Kind::of } else { Kind::of_entry };
    for one in all {
        if let Some(value) = content(one.value.as_mut()) {
            mask(kind(&one.key), value, context, depth);
        }
    }
}

/// In a list a value is known by the list's name, in a map by its own, unless all of the map is secret.
fn mask(kind: Kind, value: &mut Value, context: Context<'_>, depth: usize) {
    let is_whole = matches!(kind, Kind::Secret | Kind::Parameter);
    match value {
        Value::StringValue(one) => text(context, kind, one),
        Value::ArrayValue(_) | Value::KvlistValue(_) if depth >= MAX_DEPTH => {
            *value = Value::StringValue("(nested too deep)".into());
        }
        Value::ArrayValue(array) => {
            for one in array.values.iter_mut().filter_map(|one| content(Some(one))) {
                mask(kind, one, context, depth + 1);
            }
        }
        Value::KvlistValue(map) if is_whole => {
            for one in map.values.iter_mut().filter_map(|one| content(one.value.as_mut())) {
                mask(kind, one, context, depth + 1);
            }
        }
        Value::KvlistValue(map) => attributes(&mut map.values, context, depth + 1),
        Value::BytesValue(_) | Value::IntValue(_) | Value::DoubleValue(_) if is_whole => {
            *value = Value::StringValue(MASK.into());
        }
        _ => {}
    }
}

fn content(value: Option<&mut AnyValue>) -> Option<&mut Value> {
    value?.value.as_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flush::Collected;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::trace::v1::{Status, span};

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
        let mut batch = Batch {
            spans: vec![failed(1, of_database), failed(1, vec![]), failed(2, vec![])],
            ..Batch::default()
        };
        let masked = Masked::of(&mut batch);
        let shown: Vec<bool> =
            masked.spans.iter().map(|one| format!("{:?}", one.span).contains("hunter2")).collect();
        assert_eq!(shown, [false, false, true]);
    }

    #[test]
    fn pl_47_a_span_is_named_by_what_its_statement_does() {
        let span = |name: &str| {
            let attributes = vec![
                pair("db.system.name", text("postgresql")),
                pair("db.namespace", text("shop")),
                pair("db.query.text", text("SELECT a FROM users WHERE b = 'hunter2'")),
            ];
            let span = Span { name: name.into(), attributes, ..Span::default() };
            Collected { span: Box::new(span), origin: Arc::default(), request_id: None }
        };
        let spans = ["SELECT shop", "SELECT shop", "find them", "connect shop"].map(span).into();
        let mut batch = Batch { spans, ..Batch::default() };
        let names: Vec<_> = Masked::of(&mut batch).spans.iter().map(|one| one.span.name.clone()).collect();
        assert_eq!(names, ["SELECT users", "SELECT users", "find them", "connect shop"]);
    }

    #[test]
    fn section_14_3_a_span_like_the_one_before_is_masked_by_what_itself_speaks_to() {
        let call = |system: &str, key: &str, said: &str| {
            let attributes = vec![pair("db.system.name", text(system)), pair(key, text(said))];
            let span = Span { trace_id: vec![1; 16], name: "call".into(), attributes, ..Span::default() };
            Collected { span: Box::new(span), origin: Arc::default(), request_id: None }
        };
        let mut batch = Batch {
            spans: vec![
                call("mysql", "db.query.text", "SELECT \"a\""),
                call("mysql", "db.query.text", "SELECT \"a\""),
                call("postgresql", "db.query.text", "SELECT \"a\""),
                call("postgresql", "db.query.text", "SELECT \"a\""),
                call("mysql", "db.query.text", "SELECT \"a\""),
                call("mysql", "db.user.token", "SELECT \"a\""),
            ],
            ..Batch::default()
        };
        let masked = Masked::of(&mut batch);
        let shown =
            masked.spans.iter().map(|one| match &one.span.attributes[1].value.as_ref().unwrap().value {
                Some(Value::StringValue(shown)) => shown.as_str(),
                other => panic!("{other:?}"),
            });
        let (value, name) = ("SELECT ?", "SELECT \"a\"");
        assert_eq!(shown.collect::<Vec<_>>(), [value, value, name, name, value, MASK]);
    }

    #[test]
    fn section_14_3_every_text_of_a_span_is_masked_as_in_a_document() {
        let secret = "https://user:hunter2@shop.example/a?token=hunter2&page=2";
        let list = |value| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        let nested =
            |value| AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: vec![value] })) };
        let mut span = Span {
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
        Masks::default().mask(&mut span, None);
        let shown = format!("{span:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.matches("page=2").count(), 5);
        assert!(shown.contains("as it is") && shown.contains("SELECT * FROM users WHERE password = "));
        let once = span.clone();
        Masks::default().mask(&mut span, None);
        assert_eq!(span, once);
    }
}

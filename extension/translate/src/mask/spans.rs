//! Spans without what must not leave the environment. They are masked before anything is made of them, so that no field
//! of a document can be forgotten.

use super::edit::is_same;
use super::{Context, Kind, MASK, database_error, text};
use crate::flush::{Batch, Collected, Origin};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use rustc_hash::FxBuildHasher;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// What errors of databases have said in a flush that is looked for in other spans.
const MAX_SAID: usize = 16;
/// A shorter message may stand anywhere by chance.
const MIN_SAID_BYTES: usize = 8;
const MAX_DEPTH: usize = 32;

/// Masks the spans of one flush.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    /// Messages of databases' errors, and how they are shown: an error goes up to spans that know nothing of databases.
    said: Vec<(String, String)>,
    /// Origins, and what is shown of them.
    origins: HashMap<*const Origin, (Arc<Origin>, Arc<Origin>), FxBuildHasher>,
    last: Option<(Arc<Origin>, Arc<Origin>)>,
}

impl Masks {
    /// For the spans of a batch.
    pub(crate) fn of_batch(batch: &Batch) -> Self {
        let mut masks = Self::default();
        for span in batch.spans.iter().map(|collected| &*collected.span) {
            if masks.said.len() < MAX_SAID && (has_failed(span) || !span.events.is_empty()) {
                masks.note_said(span);
            }
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
            if message.len() < MIN_SAID_BYTES || self.said.len() == MAX_SAID {
                continue;
            }
            let shown = context.message(message);
            if shown != message && !self.said.iter().any(|(said, _)| said == message) {
                self.said.push((message.to_owned(), shown.into_owned()));
            }
        }
        // What holds another is replaced first.
        self.said.sort_by_key(|(message, _)| std::cmp::Reverse(message.len()));
    }

    /// Masks a span.
    fn span(&self, span: &mut Span) {
        // The name is read while the rest is changed.
        let system = system(span).map(str::to_owned);
        let is_of_database = system.is_some();
        let context = Context { system: system.as_deref(), is_of_database, said: &self.said };
        replace(&mut span.name, |name| context.text(Kind::Name, name));
        attributes(&mut span.attributes, context, 0);
        for event in &mut span.events {
            let context =
                Context { is_of_database: is_of_database || self::is_of_database(event), ..context };
            replace(&mut event.name, text::mask);
            for KeyValue { key, value, .. } in &mut event.attributes {
                any(Kind::of(key), value.as_mut(), context, 0);
            }
        }
        for link in &mut span.links {
            attributes(&mut link.attributes, context, 0);
        }
        if let Some(status) = &mut span.status {
            replace(&mut status.message, |message| context.message(message));
        }
    }

    /// What is shown of where spans come from.
    fn origin(&mut self, origin: &Arc<Origin>) -> Arc<Origin> {
        if let Some((known, shown)) = &self.last
            && Arc::ptr_eq(known, origin)
        {
            return Arc::clone(shown);
        }
        let entry = self.origins.entry(Arc::as_ptr(origin));
        let pair = entry.or_insert_with(|| (Arc::clone(origin), origin_shown(origin)));
        self.last = Some(pair.clone());
        Arc::clone(&pair.1)
    }

    /// A span as it may be shown: itself, where nothing in it is a secret.
    pub(crate) fn shown<'a>(&mut self, collected: &'a Collected) -> Cow<'a, Collected> {
        let origin = self.origin(&collected.origin);
        if Arc::ptr_eq(&origin, &collected.origin) && self.is_shown(&collected.span) {
            return Cow::Borrowed(collected);
        }
        let mut masked = Collected { origin, ..collected.clone() };
        self.span(&mut masked.span);
        Cow::Owned(masked)
    }

    /// Whether a span can be shown as it is.
    fn is_shown(&self, span: &Span) -> bool {
        let context = context(span, &self.said);
        let all = |list: &[KeyValue], context: Context<'_>| list.iter().all(|one| is_shown(one, context, 0));
        all(&span.attributes, context)
            && is_same(&context.text(Kind::Name, &span.name), &span.name)
            && span.links.iter().all(|link| all(&link.attributes, context))
            && span.status.iter().all(|status| {
                status.message.is_empty() || is_same(&context.message(&status.message), &status.message)
            })
            && span.events.iter().all(|event| {
                let is_of_database = context.is_of_database || is_of_database(event);
                all(&event.attributes, Context { is_of_database, ..context })
                    && is_same(&text::mask(&event.name), &event.name)
            })
    }
}

fn origin_shown(origin: &Arc<Origin>) -> Arc<Origin> {
    let context = Context::default();
    let scope = origin.scope.iter().flat_map(|scope| &scope.attributes);
    if origin.resource.attributes.iter().chain(scope).all(|one| is_shown(one, context, 0)) {
        Arc::clone(origin)
    } else {
        let mut masked = Origin::clone(origin);
        attributes(&mut masked.resource.attributes, context, 0);
        if let Some(scope) = &mut masked.scope {
            attributes(&mut scope.attributes, context, 0);
        }
        Arc::new(masked)
    }
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
    attributes_of(&event.attributes, "exception.type").any(database_error::is_database_error)
}

fn attributes(list: &mut [KeyValue], context: Context<'_>, depth: usize) {
    for KeyValue { key, value, .. } in list {
        any(kind_at(key, depth), value.as_mut(), context, depth);
    }
}

/// A name in a value is no attribute's, and may be a header's.
fn kind_at(key: &str, depth: usize) -> Kind {
    if depth == 0 { Kind::of(key) } else { Kind::of_entry(key) }
}

/// What is in a list is known by the list's name, what is in a map by its own, unless all of it is secret.
fn any(kind: Kind, value: Option<&mut AnyValue>, context: Context<'_>, depth: usize) {
    let Some(value) = value.and_then(|value| value.value.as_mut()) else { return };
    match value {
        Value::StringValue(text) => replace(text, |text| context.text(kind, text)),
        Value::ArrayValue(_) | Value::KvlistValue(_) if depth >= MAX_DEPTH => {
            *value = Value::StringValue("(nested too deep)".into());
        }
        Value::ArrayValue(array) => {
            array.values.iter_mut().for_each(|value| any(kind, Some(value), context, depth + 1));
        }
        Value::KvlistValue(list) if is_whole(kind) => {
            list.values.iter_mut().for_each(|one| any(kind, one.value.as_mut(), context, depth + 1));
        }
        Value::KvlistValue(list) => attributes(&mut list.values, context, depth + 1),
        value if is_hidden(kind, value) => *value = Value::StringValue(MASK.into()),
        _ => {}
    }
}

fn is_whole(kind: Kind) -> bool {
    matches!(kind, Kind::Secret | Kind::Parameter)
}

/// Numbers and bytes.
fn is_hidden(kind: Kind, value: &Value) -> bool {
    match value {
        Value::IntValue(_) | Value::DoubleValue(_) => kind == Kind::Parameter,
        Value::BytesValue(_) => is_whole(kind),
        _ => false,
    }
}

/// Whether a value can be shown as it is.
fn is_shown(attribute: &KeyValue, context: Context<'_>, depth: usize) -> bool {
    is_shown_as(kind_at(&attribute.key, depth), attribute.value.as_ref(), context, depth)
}

fn is_shown_as(kind: Kind, value: Option<&AnyValue>, context: Context<'_>, depth: usize) -> bool {
    let Some(value) = value.and_then(|value| value.value.as_ref()) else { return true };
    match value {
        Value::StringValue(text) => is_same(&context.text(kind, text), text),
        Value::ArrayValue(_) | Value::KvlistValue(_) if depth >= MAX_DEPTH => false,
        Value::ArrayValue(array) => {
            array.values.iter().all(|value| is_shown_as(kind, Some(value), context, depth + 1))
        }
        Value::KvlistValue(list) if is_whole(kind) => {
            list.values.iter().all(|one| is_shown_as(kind, one.value.as_ref(), context, depth + 1))
        }
        Value::KvlistValue(list) => list.values.iter().all(|one| is_shown(one, context, depth + 1)),
        value => !is_hidden(kind, value),
    }
}

fn replace(text: &mut String, mask: impl FnOnce(&str) -> Cow<'_, str>) {
    let masked = mask(text);
    if !is_same(&masked, text) {
        *text = masked.into_owned();
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::trace::v1::{Status, span};

    fn text(text: &str) -> AnyValue {
        AnyValue { value: Some(Value::StringValue(text.into())) }
    }

    fn pair(key: &str, value: AnyValue) -> KeyValue {
        KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
    }

    #[test]
    fn section_14_3_every_text_of_a_span_is_masked_as_in_a_document() {
        let secret = "https://user:hunter2@shop.example/a?token=hunter2&page=2";
        let list = |value| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
        let nested =
            |value| AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: vec![value] })) };
        let mut masked = Span {
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
        Masks::default().span(&mut masked);
        let shown = format!("{masked:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.matches("page=2").count(), 5);
        assert!(shown.contains("as it is") && shown.contains("SELECT * FROM users WHERE password = "));
        let again = masked.clone();
        Masks::default().span(&mut masked);
        assert_eq!(masked, again);
    }
}

//! Spans that leave as spans, without what must not leave the environment: the same as in documents.

use crate::mask;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::borrow::Cow;

/// Attributes of exceptions, which name the URLs of failed calls.
const TEXTS: [&str; 2] = ["exception.message", "exception.stacktrace"];

/// Takes credentials, literals in SQL and secret headers out of the span's texts (xray.md section 14.3).
pub fn mask_span(span: &mut Span) {
    attributes(&mut span.attributes);
    for event in &mut span.events {
        attributes(&mut event.attributes);
    }
    for link in &mut span.links {
        attributes(&mut link.attributes);
    }
    if let Some(status) = &mut span.status {
        replace(&mut status.message, mask::urls_in);
    }
}

fn attributes(list: &mut [KeyValue]) {
    for KeyValue { key, value, .. } in list {
        if let Some(value) = value {
            text_of(key, value);
        }
    }
}

/// What is nested in a list is masked by the list's name, as in documents.
fn text_of(name: &str, value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::StringValue(text)) if TEXTS.contains(&name) => replace(text, mask::urls_in),
        Some(Value::StringValue(text)) => replace(text, |text| mask::attribute(name, text)),
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(|value| text_of(name, value)),
        Some(Value::KvlistValue(list)) => attributes(&mut list.values),
        _ => {}
    }
}

fn replace(text: &mut String, mask: impl FnOnce(&str) -> Cow<'_, str>) {
    let masked = match mask(text) {
        Cow::Borrowed(same) if same.len() == text.len() => return,
        masked => masked.into_owned(),
    };
    *text = masked;
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
        mask_span(&mut masked);
        let shown = format!("{masked:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(shown.matches("page=2").count(), 5);
        assert!(shown.contains("as it is") && shown.contains("SELECT * FROM users WHERE password = "));
        let again = masked.clone();
        mask_span(&mut masked);
        assert_eq!(masked, again);
    }
}

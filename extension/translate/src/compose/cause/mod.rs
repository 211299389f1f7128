//! The `cause` block: exceptions with their stacks (xray.md section 3.7, BET-19 to BET-21).

mod dotnet;
mod frames;
mod go;
mod java;
mod language;
mod node;
mod php;
mod python;
mod ruby;
mod rust;

use crate::attributes::Attributes;
use crate::attributes::key::{self, Key};
use crate::compose::name::Remote;
use crate::compose::subject::Subject;
use crate::derive::{self, Purpose};
use crate::document::fields::{cut_250, cut_chars};
use crate::document::{Cause, Exception, Frame};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::borrow::Cow;

/// Frames of one exception that are sent; the rest is counted in `truncated`.
const MAX_FRAMES: usize = 50;
/// Exceptions of one document that are sent.
const MAX_EXCEPTIONS: usize = 10;
/// Characters of a message that are sent.
const MAX_MESSAGE_CHARS: usize = 4096;

/// One exception of a stack text, before it has an id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Parsed {
    kind: Option<String>,
    message: Option<String>,
    /// Innermost first.
    stack: Vec<Frame>,
    truncated: usize,
}

/// The block: from exception events, else from the status message.
pub(super) fn block(subject: &Subject<'_>, remote: Remote) -> Option<Cause> {
    if let Some(exception) = subject.planned.childs_exception {
        return Some(Cause::Child(exception.to_string()));
    }
    let mut exceptions = Vec::new();
    for event in subject.span.events.iter().filter(|event| is_exception(event, remote)) {
        let attributes = Attributes::new(&event.attributes);
        let chain = match &*event.name {
            "exception" => {
                chain(&attributes, subject.resource().peek_text(&[Key::TelemetrySdkLanguage]).as_deref())
            }
            _ => vec![http_failure(event, &attributes)],
        };
        let first = exceptions.len();
        let count = chain.len();
        for (offset, parsed) in chain.into_iter().enumerate() {
            let id = |index: usize| exception_id(subject, first + index);
            exceptions.push(Exception {
                id: id(offset),
                kind: parsed.kind.map(|kind| cut_250(kind.into()).into_owned()),
                message: parsed
                    .message
                    .map(|message| cut_chars(message.into(), MAX_MESSAGE_CHARS).into_owned()),
                remote: remote != Remote::No,
                truncated: parsed.truncated + parsed.stack.len().saturating_sub(MAX_FRAMES),
                skipped: 0,
                cause: (offset + 1 < count).then(|| id(offset + 1)),
                stack: parsed.stack.into_iter().take(MAX_FRAMES).collect(),
            });
        }
    }
    if exceptions.is_empty() {
        exceptions.extend(of_status(subject, remote));
    } else {
        // The exception's type says the same.
        subject.attributes.spend(&[Key::ErrorType]);
    }
    let left_out = exceptions.len().saturating_sub(MAX_EXCEPTIONS);
    exceptions.truncate(MAX_EXCEPTIONS);
    // What the last one names has been cut off.
    if let Some(last) = exceptions.last_mut().filter(|_| left_out > 0) {
        last.cause = None;
        last.skipped = left_out;
    }
    if exceptions.is_empty() {
        return None;
    }
    let working_directory = subject
        .resource()
        .peek_text(&[Key::ProcessWorkingDirectory])
        .map(|directory| cut_250(directory).into_owned());
    Some(Cause::Own { working_directory, exceptions })
}

fn is_exception(event: &Event, remote: Remote) -> bool {
    event.name == "exception" || remote == Remote::Aws && event.name == HTTP_FAILURE
}

/// The event with which an AWS SDK's instrumentation tells each failed try (MAP-25).
const HTTP_FAILURE: &str = "HTTP request failure";

fn http_failure(event: &Event, attributes: &Attributes<'_>) -> Parsed {
    let code = attributes.text(key::STATUS).unwrap_or_default();
    let message = event.attributes.iter().find(|attribute| attribute.key == "aws.http.error_message");
    let message = match message.and_then(|message| message.value.as_ref()?.value.as_ref()) {
        Some(Any::StringValue(message)) => message.as_str(),
        _ => "",
    };
    let (seconds, micros) =
        (event.time_unix_nano / 1_000_000_000, event.time_unix_nano % 1_000_000_000 / 1000);
    Parsed {
        kind: Some("aws.http.error.event".to_owned()),
        message: Some(format!("{code}@{seconds}.{micros:06}@{message}")),
        ..Parsed::default()
    }
}

fn of_status(subject: &Subject<'_>, remote: Remote) -> Option<Exception> {
    let status = subject.span.status.as_ref().filter(|status| status.code() == StatusCode::Error)?;
    if status.message.is_empty() {
        return None;
    }
    let message = cut_chars(status.message.as_str().into(), MAX_MESSAGE_CHARS).into_owned();
    Some(Exception {
        id: exception_id(subject, 0),
        message: Some(message),
        remote: remote != Remote::No,
        ..Exception::default()
    })
}

/// The exception and those that led to it, outermost cause last.
fn chain(attributes: &Attributes<'_>, language: Option<&str>) -> Vec<Parsed> {
    let kind = attributes.text(&[Key::ExceptionType]).map(Cow::into_owned);
    let message = attributes.text(&[Key::ExceptionMessage]).map(Cow::into_owned);
    let text = attributes.text(&[Key::ExceptionStacktrace]);
    let mut chain = match text.as_deref() {
        Some(text) => language::parse(text, language),
        None => Vec::new(),
    };
    if chain.is_empty() {
        chain.push(Parsed::default());
    }
    // What the event says outright is better than what its text shows.
    chain[0].kind = kind.or(chain[0].kind.take());
    chain[0].message = message.or(chain[0].message.take());
    chain
}

fn exception_id(subject: &Subject<'_>, index: usize) -> String {
    derive::id(subject.planned.trace_id, subject.planned.id, Purpose::Exception(index)).to_string()
}

//! The `cause` block: exceptions with their stacks (xray.md section 3.7, BET-19 to BET-21).

mod python;

use super::attributes::Attributes;
use super::document::{Cause, Exception, Frame};
use super::name::Remote;
use super::{Subject, mask};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

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
    let mut exceptions = Vec::new();
    for event in subject.span.events.iter().filter(|event| event.name == "exception") {
        let attributes = Attributes::new(&event.attributes);
        let chain = chain(&attributes, subject.resource.text(&["telemetry.sdk.language"]).as_deref());
        let first = exceptions.len();
        let count = chain.len();
        for (offset, parsed) in chain.into_iter().enumerate() {
            let id = |index: usize| exception_id(subject, first + index);
            exceptions.push(Exception {
                id: id(offset),
                kind: parsed.kind.map(|kind| kind.chars().take(250).collect()),
                message: parsed.message.map(|message| message.chars().take(MAX_MESSAGE_CHARS).collect()),
                remote: remote != Remote::No,
                truncated: parsed.truncated + parsed.stack.len().saturating_sub(MAX_FRAMES),
                cause: (offset + 1 < count).then(|| id(offset + 1)),
                stack: parsed.stack.into_iter().take(MAX_FRAMES).collect(),
            });
        }
    }
    if !exceptions.is_empty() {
        // The exception's type says the same.
        subject.attributes.get(&["error.type"]);
    }
    exceptions.truncate(MAX_EXCEPTIONS);
    if exceptions.is_empty() {
        exceptions.extend(of_status(subject, remote));
    }
    // What an exception names may have been cut off.
    let known: Vec<String> = exceptions.iter().map(|exception| exception.id.clone()).collect();
    for exception in &mut exceptions {
        exception.cause.take_if(|cause| !known.contains(cause));
    }
    let working_directory =
        subject.resource.text(&["process.working_directory"]).map(super::metadata::cut_250);
    (!exceptions.is_empty()).then_some(Cause { working_directory, exceptions })
}

fn of_status(subject: &Subject<'_>, remote: Remote) -> Option<Exception> {
    let status = subject.span.status.as_ref().filter(|status| status.code() == StatusCode::Error)?;
    if status.message.is_empty() {
        return None;
    }
    let message = status.message.chars().take(MAX_MESSAGE_CHARS).collect();
    Some(Exception {
        id: exception_id(subject, 0),
        message: Some(message),
        remote: remote != Remote::No,
        ..Exception::default()
    })
}

/// The exception and those that led to it, outermost cause last.
fn chain(attributes: &Attributes<'_>, language: Option<&str>) -> Vec<Parsed> {
    let kind = attributes.text(&["exception.type"]).map(std::borrow::Cow::into_owned);
    let message = attributes.text(&["exception.message"]).map(std::borrow::Cow::into_owned);
    let text = attributes.text(&["exception.stacktrace"]);
    let mut chain = match text.as_deref() {
        Some(text) if language == Some("python") || python::recognises(text) => python::parse(text),
        Some(text) => vec![unknown(text)],
        None => Vec::new(),
    };
    if chain.is_empty() {
        chain.push(Parsed::default());
    }
    // What the event says outright is better than what its text shows.
    chain[0].kind = kind.or(chain[0].kind.take());
    chain[0].message = message.or(chain[0].message.take());
    for parsed in &mut chain {
        if let Some(message) = &mut parsed.message {
            *message = mask_urls(message);
        }
    }
    chain
}

/// A format nobody here knows: a line a frame (BET-20).
fn unknown(text: &str) -> Parsed {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let stack =
        lines.map(|line| Frame { label: line.chars().take(250).collect(), ..Frame::default() }).collect();
    Parsed { stack, ..Parsed::default() }
}

/// Messages quote URLs, and URLs carry secrets.
fn mask_urls(message: &str) -> String {
    if !message.contains("://") {
        return message.to_owned();
    }
    message
        .split(' ')
        .map(|word| if word.contains("://") { mask::url(word) } else { word.to_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

/// An id made of what it names, so that a retry uses the same (BET-10).
fn exception_id(subject: &Subject<'_>, index: usize) -> String {
    let index = u8::try_from(index).unwrap_or(u8::MAX);
    let bytes =
        subject.trace_id.as_bytes().iter().chain(subject.id.as_bytes()).chain(b"exception").chain([&index]);
    // FNV-1a, 64 bit: stable across versions, unlike the standard library's hashers.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

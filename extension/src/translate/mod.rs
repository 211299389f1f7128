//! Spans to X-Ray documents. Pure: the same input gives the same bytes, whatever the clock says.
//!
//! One file for each family of rules: [`place`] decides segment or subsegment and under which parent, the others
//! fill one block of the document each. A span whose translation fails never affects another.

mod annotations;
mod attributes;
mod aws;
mod cause;
mod document;
mod flags;
mod http;
mod mask;
mod metadata;
mod name;
mod place;
mod size;
mod sql;

pub use document::TranslatedDocument;

use crate::accounts::{Accounts, Reason};
use crate::invocation::trace_header::{SpanId, TraceId};
use crate::invocation::{Batch, Collected, Invocation};
use attributes::Attributes;
use document::Document;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use place::{Place, Placement};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What holds for every span of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub version: String,
    pub region: String,
    pub account_id: Option<String>,
    /// Memory in MB, as configured.
    pub memory_mb: String,
    /// Attributes to index besides those the spans name.
    pub annotations: Vec<String>,
}

/// What a batch became.
#[derive(Debug, Default)]
pub struct Translated {
    /// Parents before children.
    pub documents: Vec<TranslatedDocument>,
    /// What was dropped, and why.
    pub accounts: Accounts,
}

/// One span with everything its translation may look at.
struct Subject<'a> {
    span: &'a Span,
    trace_id: TraceId,
    id: SpanId,
    parent_id: Option<SpanId>,
    kind: SpanKind,
    attributes: Attributes<'a>,
    resource: Attributes<'a>,
    collected: &'a Collected,
    invocation: Option<&'a Invocation>,
    function: &'a Function,
}

/// Turns batches into documents, one flush after another.
#[derive(Debug, Default)]
pub struct Translator {}

impl Translator {
    /// Translates everything in the batch.
    pub fn translate(&mut self, batch: &Batch, function: &Function) -> Translated {
        translate(batch, function)
    }
}

fn translate(batch: &Batch, function: &Function) -> Translated {
    let mut result = Translated::default();
    let mut unique: Vec<&Collected> = Vec::with_capacity(batch.spans.len());
    let mut seen: HashMap<(&[u8], &[u8]), usize> = HashMap::with_capacity(batch.spans.len());
    for collected in &batch.spans {
        match seen.entry((collected.span.trace_id.as_slice(), collected.span.span_id.as_slice())) {
            std::collections::hash_map::Entry::Occupied(earlier) => {
                result.accounts.drop(Reason::Duplicate, 1);
                unique[*earlier.get()] = collected;
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(unique.len());
                unique.push(collected);
            }
        }
    }
    for collected in unique {
        let one = catch_unwind(AssertUnwindSafe(|| translate_span(collected, batch, function)));
        match one.unwrap_or(Err(Reason::TranslateFailed)) {
            Ok(document) => result.documents.push(document),
            Err(reason) => result.accounts.drop(reason, 1),
        }
    }
    // A parent has begun before its children, and at the same instant the segment comes first.
    result.documents.sort_by_key(|document| (document.start_micros, !document.is_segment));
    result
}

fn translate_span(
    collected: &Collected,
    batch: &Batch,
    function: &Function,
) -> Result<TranslatedDocument, Reason> {
    let span = &*collected.span;
    let trace_id = TraceId::from_bytes(&span.trace_id).ok_or(Reason::InvalidId)?;
    let id = SpanId::from_bytes(&span.span_id).ok_or(Reason::InvalidId)?;
    let parent_id = match span.parent_span_id.as_slice() {
        [] => None,
        bytes if bytes.iter().all(|byte| *byte == 0) => None,
        bytes => Some(SpanId::from_bytes(bytes).ok_or(Reason::InvalidId)?),
    };
    let subject = Subject {
        span,
        trace_id,
        id,
        parent_id,
        kind: span.kind(),
        attributes: Attributes::new(&span.attributes),
        resource: Attributes::new(&collected.origin.resource.attributes),
        collected,
        invocation: place::invocation_of(collected, trace_id, &batch.invocations),
        function,
    };
    let placement = place::place(&subject)?;
    let document = compose(&subject, &placement);
    size::fit(document).ok_or(Reason::Oversize)
}

/// Puts the blocks together. What no block used goes to metadata, so the order matters only for that.
fn compose(subject: &Subject<'_>, placement: &Placement) -> Document {
    let mut document = Document::new(subject, placement);
    let remote = name::remote_kind(subject);
    let is_segment = matches!(placement.place, Place::Segment { .. });
    document.set_name(&name::name(subject, is_segment, remote), &subject.span.name);
    if !is_segment {
        document.namespace = remote.namespace();
    }
    document.http = http::block(subject, is_segment, &mut document.metadata);
    document.aws = aws::block(subject, is_segment, remote);
    document.sql = sql::block(subject);
    flags::set(subject, remote, &mut document);
    document.cause = cause::block(subject, remote);
    if is_segment {
        document.origin = Some("AWS::Lambda::Function");
        document.user = subject.attributes.text(&["user.id", "enduser.id"]).map(metadata::cut_250);
        document.service = aws::service(subject);
        document.resource_arn = aws::resource_arn(subject);
    }
    annotations::set(subject, &mut document);
    metadata::set(subject, placement, &mut document);
    document
}

#[cfg(test)]
mod tests;

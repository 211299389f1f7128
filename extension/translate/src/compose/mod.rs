//! One span's document, block by block.

pub(crate) mod cause;
pub(crate) mod name;
pub(crate) mod subject;

mod annotations;
mod aws;
mod flags;
mod http;
mod links;
mod metadata;
mod service;
mod sql;

use crate::accounts::Accounts;
use crate::derive::{self, Purpose};
use crate::document::Document;
use crate::document::fields::{Meta, Metadata, Spare};
use crate::flush::Initialisation;
use crate::function::Function;
use crate::plan::Planned;
use crate::plan::memory::TraceState;
use crate::plan::place::Place;
use crate::trace_header::{SpanId, TraceId};
use name::Remote;
use subject::Subject;

/// How much of a span its document tells (xray.md section 14.5, LIM-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    All,
    WithoutMetadata,
    Minimal,
}

/// A document, and how many spans it stands for.
pub(crate) struct Composed<'d, 'a> {
    /// Lent, because it is large and moving it takes time.
    pub(crate) document: &'d mut Document<'a>,
    pub(crate) spans: u64,
}

/// Hands out the document of a span; two when a call is the first thing in its trace (BET-12).
pub(crate) fn compose<'a>(
    planned: &'a Planned<'a>,
    function: &'a Function,
    detail: Detail,
    state: &mut TraceState,
    accounts: &mut Accounts,
    spare: &mut Spare<'a>,
    emit: &mut impl FnMut(Composed<'_, 'a>, &mut Accounts, &mut Spare<'a>),
) {
    let subject = Subject::new(planned, function);
    let remote = name::remote_kind(&subject);
    match planned.placement.place {
        Place::Segment { parent } if remote != Remote::No => {
            let mut segment = new_document(&subject, spare);
            segment.id = derive::id(planned.trace_id, planned.id, Purpose::Service);
            segment.parent_id = parent;
            fill_segment(&subject, &mut segment);
            segment.links = links::of(&subject, state, accounts);
            flags::set(&subject, remote, &mut segment);
            metadata::resource(&subject, &mut segment);
            let mut call = new_document(&subject, spare);
            call.hang_on(segment.id);
            fill(&subject, remote, &mut call, state, accounts);
            shorten(&mut segment, detail);
            shorten(&mut call, detail);
            let segment_id = segment.id;
            emit(Composed { document: &mut segment, spans: 0 }, accounts, spare);
            before(&subject, segment_id, accounts, spare, emit);
            emit(Composed { document: &mut call, spans: 1 }, accounts, spare);
        }
        place => {
            let mut document = new_document(&subject, spare);
            match place {
                Place::Segment { parent } => {
                    document.parent_id = parent;
                    fill_segment(&subject, &mut document);
                }
                Place::Subsegment { parent } => document.hang_on(parent),
            }
            document.links = links::of(&subject, state, accounts);
            fill(&subject, remote, &mut document, state, accounts);
            if planned.placement.is_top {
                metadata::resource(&subject, &mut document);
            }
            shorten(&mut document, detail);
            let segment_id = document.is_segment().then_some(document.id);
            emit(Composed { document: &mut document, spans: 1 }, accounts, spare);
            if let Some(segment_id) = segment_id {
                before(&subject, segment_id, accounts, spare, emit);
            }
        }
    }
}

/// The initialisation that the invocation has waited for, below the function's own segment: under Active tracing
/// Lambda has one below its own (LAM-2).
fn before<'a>(
    subject: &Subject<'a>,
    segment_id: SpanId,
    accounts: &mut Accounts,
    spare: &mut Spare<'a>,
    emit: &mut impl FnMut(Composed<'_, 'a>, &mut Accounts, &mut Spare<'a>),
) {
    let planned = subject.planned;
    let Some(initialisation) = planned.initialisation.filter(|one| !one.was_ahead) else { return };
    let id = derive::id(planned.trace_id, planned.id, Purpose::Initialisation);
    let mut document = of_initialisation(initialisation, planned.trace_id, id, segment_id, spare);
    emit(Composed { document: &mut document, spans: 0 }, accounts, spare);
}

/// The document of an initialisation.
pub(crate) fn of_initialisation<'a>(
    initialisation: &'a Initialisation,
    trace_id: TraceId,
    id: SpanId,
    segment_id: SpanId,
    spare: &mut Spare<'a>,
) -> Document<'a> {
    let (start, end) = (initialisation.start_unix_nano, initialisation.end_unix_nano);
    let mut document = Document::new(trace_id, id, start, end, spare);
    document.hang_on(segment_id);
    document.name = initialisation.name.into();
    document.otel().push("initialization_type", Meta::Text(initialisation.kind.as_str().into()));
    document
}

fn new_document<'a>(subject: &Subject<'a>, spare: &mut Spare<'a>) -> Document<'a> {
    let span = subject.span;
    Document::new(
        subject.planned.trace_id,
        subject.planned.id,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        spare,
    )
}

/// What only the function's own segment has.
fn fill_segment<'a>(subject: &Subject<'a>, segment: &mut Document<'a>) {
    segment.set_name(name::of_segment(subject), &subject.span.name);
    segment.origin = Some("AWS::Lambda::Function");
    segment.user = service::user(subject);
    segment.service = service::block(subject);
    segment.resource_arn = service::resource_arn(subject);
    service::aws(subject, &mut segment.aws);
}

/// Everything else, the name of a subsegment included. What no block uses goes to metadata, so that comes last.
fn fill<'a>(
    subject: &Subject<'a>,
    remote: Remote,
    document: &mut Document<'a>,
    state: &mut TraceState,
    accounts: &mut Accounts,
) {
    if !document.is_segment() {
        document.set_name(name::of_subsegment(subject, remote), &subject.span.name);
        document.namespace = remote.namespace();
        if remote == Remote::Aws {
            aws::fill(subject, &document.name, &mut document.aws);
        }
    }
    http::set(subject, remote, document);
    document.sql = sql::block(subject);
    flags::set(subject, remote, document);
    document.cause = cause::block(subject, remote);
    annotations::set(subject, document, state, accounts);
    if let Some(trace_id) = subject.planned.original_trace {
        document.otel().push("trace_id", Meta::Text(trace_id.to_string().into()));
    }
    if let Some(parent) = subject.planned.original_parent {
        document.otel().push("parent_span_id", Meta::Text(parent.to_string().into()));
    }
    let (start, end) = (subject.span.start_time_unix_nano, subject.span.end_time_unix_nano);
    if end != 0 && end < start {
        // TIME-3: a clock step is no reason to lose the span.
        document.otel().push("end_time_unix_nano", Meta::Text(end.to_string().into()));
    }
    if let Some(ahead) = subject.planned.initialisation.filter(|one| one.was_ahead) {
        document.otel().push("initialized_ahead", Meta::Text(ran_ahead(ahead, start).into()));
    }
    metadata::set(subject, document);
}

/// `provisioned-concurrency: 812 ms, 3600 s before`.
fn ran_ahead(initialisation: &Initialisation, start_unix_nano: u64) -> String {
    let Initialisation { kind, start_unix_nano: from, end_unix_nano: to, .. } = initialisation;
    let took = to.saturating_sub(*from) / 1_000_000;
    let before = start_unix_nano.saturating_sub(*to) / 1_000_000_000;
    format!("{kind}: {took} ms, {before} s before")
}

fn shorten(document: &mut Document<'_>, detail: Detail) {
    match detail {
        Detail::All => {}
        Detail::WithoutMetadata => document.metadata = Metadata::default(),
        Detail::Minimal => document.minimise(),
    }
}

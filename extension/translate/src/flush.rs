//! What one flush holds: the spans, and what is known of the invocations they belong to.

use crate::sdk::SdkDocument;
use crate::trace_header::{Sampled, SpanId, TraceHeader, TraceId};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::Arc;

/// Who writes the function's own segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Lambda does (LAM-1).
    Active,
    /// Nobody does (LAM-6).
    PassThrough,
    #[default]
    Unknown,
}

/// What came before the first invocation of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialisation {
    /// `Initialization` or `Restore`.
    pub name: &'static str,
    /// The platform's word for how it came about: `on-demand`, `provisioned-concurrency`, `snap-start`.
    pub kind: String,
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    /// No invocation waited for it.
    pub was_ahead: bool,
}

/// What is known of one invocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    pub request_id: String,
    pub function_arn: String,
    /// The runtime's trace header where an agent has told it, else the event's.
    pub header: Option<TraceHeader>,
    pub mode: Mode,
    /// Its end has been seen: a parent that has not come by now will not come.
    pub is_over: bool,
    /// It is sent though its header does not say so (xray.md section 15, row 4).
    pub is_kept: bool,
    /// Where it is the first of its environment.
    pub initialisation: Option<Initialisation>,
}

impl Invocation {
    /// Whether Lambda's own tracing keeps this trace.
    pub fn is_sampled(&self) -> bool {
        self.header.is_some_and(|header| header.sampled == Sampled::Yes)
    }
}

/// Where spans come from: resource and scope, shared by all spans of one batch or one agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    pub resource: Resource,
    pub scope: Option<InstrumentationScope>,
}

/// A complete span that waits for the flush.
#[derive(Debug, Clone)]
pub struct Collected {
    pub span: Box<Span>,
    pub origin: Arc<Origin>,
    /// The invocation an agent wrote it in.
    pub request_id: Option<Arc<str>>,
}

/// What leaves in one flush.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub spans: Vec<Collected>,
    /// What X-Ray SDKs have written themselves (xray.md section 15, row 11).
    pub sdk_documents: Vec<SdkDocument>,
    /// The invocations the spans may belong to, newest last.
    pub invocations: Vec<Invocation>,
    /// The spans that have begun and not ended, in order.
    pub open: Vec<(TraceId, SpanId)>,
    /// The spans are copies of open ones, to be shown as running; none of them is accounted for.
    pub is_progress: bool,
    /// It is a part of a flush of many more spans.
    pub is_part: bool,
}

impl Batch {
    /// Spans in it, those of documents included.
    pub fn spans(&self) -> u64 {
        self.spans.len() as u64 + self.sdk_documents.iter().map(SdkDocument::spans).sum::<u64>()
    }

    /// Whether it is Lambda's own trace of one of the invocations.
    pub(crate) fn is_of_an_invocation(&self, trace_id: TraceId) -> bool {
        self.invocations.iter().any(|one| one.header.is_some_and(|header| header.root == trace_id))
    }
}

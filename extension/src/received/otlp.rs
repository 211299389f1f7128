//! Parts of export requests.

use crate::translate::flush::Origin;
use bytes::Bytes;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::Arc;

/// What an export request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpSignal {
    Traces,
    Metrics,
    Logs,
}

impl OtlpSignal {
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The name in paths, and in settings when in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// An export request that is passed on as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed {
    pub signal: OtlpSignal,
    /// JSON, else protobuf.
    pub is_json: bool,
    pub is_gzip: bool,
    pub body: Bytes,
}

/// Spans of one resource and scope: a part of an export request.
#[derive(Debug)]
pub struct SpansPart {
    pub origin: Arc<Origin>,
    pub spans: Vec<Span>,
    /// The request ends with it.
    pub is_last: bool,
}

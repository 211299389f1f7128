//! The X-Ray trace header: the caller's comes in, and the runtime and the extensions each see their own (L-12.1, L-12.3).

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

use crate::lambda::clock::epoch_ms;
use crate::lambda::config::Tracing;

/// `Root=…;Parent=…;Sampled=…` with unknown fields kept in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeader {
    pub root: Option<String>,
    pub parent: Option<String>,
    pub sampled: Option<bool>,
    /// Fields such as `Lineage`, passed on unread.
    pub others: Vec<String>,
    raw: String,
}

impl TraceHeader {
    /// Reads a header leniently: fields may be missing, reordered or unknown (L-4.4).
    pub fn parse(text: &str) -> Self {
        let mut header =
            Self { root: None, parent: None, sampled: None, others: Vec::new(), raw: text.to_owned() };
        for field in text.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            match field.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("Root", value)) => header.root = Some(value.to_owned()),
                Some(("Parent", value)) => header.parent = Some(value.to_owned()),
                Some(("Sampled", "1")) => header.sampled = Some(true),
                Some(("Sampled", "0")) => header.sampled = Some(false),
                _ => header.others.push(field.to_owned()),
            }
        }
        header
    }
}

impl fmt::Display for TraceHeader {
    /// The header exactly as it was given.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.raw)
    }
}

/// The segments Lambda itself writes for a sampled invocation under Active tracing (LAM-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LambdaSegments {
    pub(crate) trace_id: String,
    /// Id of the caller's segment or subsegment.
    pub(crate) upstream: Option<String>,
    /// Id of the segment of origin `AWS::Lambda`.
    pub(crate) service: String,
    /// Id of the segment of origin `AWS::Lambda::Function`.
    pub(crate) function: String,
}

/// The headers of one invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvocationTrace {
    pub(crate) runtime_header: String,
    pub(crate) extension_header: String,
    /// None when Lambda writes nothing.
    pub(crate) segments: Option<LambdaSegments>,
}

impl InvocationTrace {
    pub(crate) fn new(tracing: Tracing, upstream: Option<&TraceHeader>) -> Self {
        let unchanged = |header: &TraceHeader| Self {
            runtime_header: header.to_string(),
            extension_header: header.to_string(),
            segments: None,
        };
        match (tracing, upstream) {
            (Tracing::PassThrough, Some(header)) => unchanged(header),
            (Tracing::PassThrough, None) => {
                let made_up = format!("Root={};Parent={};Sampled=0", new_trace_id(), new_segment_id());
                unchanged(&TraceHeader::parse(&made_up))
            }
            (Tracing::Active, Some(header)) if header.sampled == Some(false) => unchanged(header),
            (Tracing::Active, upstream) => Self::active(upstream),
        }
    }

    fn active(upstream: Option<&TraceHeader>) -> Self {
        let segments = LambdaSegments {
            trace_id: upstream.and_then(|header| header.root.clone()).unwrap_or_else(new_trace_id),
            upstream: upstream.and_then(|header| header.parent.clone()),
            service: new_segment_id(),
            function: new_segment_id(),
        };
        let header_with = |parent: &str| {
            let mut fields = vec![
                format!("Root={}", segments.trace_id),
                format!("Parent={parent}"),
                "Sampled=1".to_owned(),
            ];
            fields.extend(upstream.iter().flat_map(|header| header.others.clone()));
            fields.join(";")
        };
        Self {
            runtime_header: header_with(&segments.function),
            extension_header: header_with(&segments.service),
            segments: Some(segments),
        }
    }
}

/// `1-{epoch seconds, 8 hex}-{24 hex}`.
fn new_trace_id() -> String {
    let seconds = epoch_ms(SystemTime::now()) / 1_000;
    let random = Uuid::new_v4().simple().to_string();
    format!("1-{seconds:08x}-{}", &random[..24])
}

/// 16 hex digits.
pub(crate) fn new_segment_id() -> String {
    Uuid::new_v4().simple().to_string()[16..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: &str =
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a:0";

    #[test]
    fn headers_parse_whatever_the_order_and_the_unknown_fields() {
        let header = TraceHeader::parse("Sampled=1; Self=2-x ;Root=1-5759e988-bd862e3fe1be46a994272793;;Odd");
        assert_eq!(header.root.as_deref(), Some("1-5759e988-bd862e3fe1be46a994272793"));
        assert_eq!((header.parent, header.sampled), (None, Some(true)));
        assert_eq!(header.others, ["Self=2-x", "Odd"]);
        assert_eq!(TraceHeader::parse("Sampled=?").sampled, None);
    }

    #[test]
    fn pass_through_hands_the_callers_header_on_unchanged() {
        for raw in
            [UPSTREAM, "Root=1-5759e988-bd862e3fe1be46a994272793", "Root=1-0-0;Parent=a;Sampled=0;Lineage=x"]
        {
            let trace = InvocationTrace::new(Tracing::PassThrough, Some(&TraceHeader::parse(raw)));
            assert_eq!(trace.runtime_header, raw);
            assert_eq!(trace.extension_header, raw);
            assert_eq!(trace.segments, None);
        }
    }

    #[test]
    fn pass_through_without_a_caller_is_unsampled() {
        let trace = InvocationTrace::new(Tracing::PassThrough, None);
        let header = TraceHeader::parse(&trace.runtime_header);
        assert_eq!(header.sampled, Some(false));
        assert_eq!(header.root.map(|root| root.len()), Some(35));
        assert_eq!(trace.runtime_header, trace.extension_header);
    }

    #[test]
    fn active_gives_the_function_segment_to_the_runtime_and_the_service_segment_to_extensions() {
        let trace = InvocationTrace::new(Tracing::Active, Some(&TraceHeader::parse(UPSTREAM)));
        let segments = trace.segments.clone().unwrap();
        assert_eq!(segments.trace_id, "1-5759e988-bd862e3fe1be46a994272793");
        assert_eq!(segments.upstream.as_deref(), Some("53995c3f42cd8ad8"));
        assert_ne!(segments.service, segments.function);
        let expected = |id: &str| format!("Root={};Parent={id};Sampled=1;Lineage=1:a:0", segments.trace_id);
        assert_eq!(trace.runtime_header, expected(&segments.function));
        assert_eq!(trace.extension_header, expected(&segments.service));
    }

    #[test]
    fn active_decides_when_nobody_did_and_respects_a_no() {
        let decided = InvocationTrace::new(Tracing::Active, Some(&TraceHeader::parse("Root=1-a-b")));
        assert_eq!(decided.segments.map(|segments| segments.trace_id).as_deref(), Some("1-a-b"));
        let refused =
            InvocationTrace::new(Tracing::Active, Some(&TraceHeader::parse("Root=1-a-b;Sampled=0")));
        assert_eq!((refused.runtime_header.as_str(), refused.segments), ("Root=1-a-b;Sampled=0", None));
        assert!(InvocationTrace::new(Tracing::Active, None).segments.is_some());
    }
}

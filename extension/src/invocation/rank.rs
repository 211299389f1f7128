//! Which spans of a trace tell most: where a trace is far larger than X-Ray takes, the others are not kept.

use super::trace_header::SpanId;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// OTLP's flag of a span whose parent is in another process (OTL-5).
pub(super) const PARENT_IS_REMOTE: u32 = 0x200;

/// The most telling last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Local,
    /// To something else.
    Call,
    /// Something went wrong, or may be what is waited for.
    Failed,
    /// The first in its trace, such as the handler's.
    Top,
}

impl Rank {
    pub(super) fn of(span: &Span) -> Self {
        let kind = span.kind();
        let has_no_parent = SpanId::from_bytes(&span.parent_span_id).is_none();
        if has_no_parent
            || span.flags & PARENT_IS_REMOTE != 0
            || matches!(kind, SpanKind::Server | SpanKind::Consumer)
        {
            Self::Top
        } else if has_failed(span) {
            Self::Failed
        } else if matches!(kind, SpanKind::Client | SpanKind::Producer) {
            Self::Call
        } else {
            Self::Local
        }
    }

    /// How many percent of what is kept of a trace may be used up before this one: the rest is for what tells more.
    pub(super) fn share_percent(self) -> usize {
        match self {
            Self::Local => 70,
            Self::Call => 80,
            Self::Failed => 95,
            Self::Top => 100,
        }
    }
}

/// Whether a span says that something went wrong.
pub(super) fn has_failed(span: &Span) -> bool {
    let is_server_error = |name| {
        let status = attribute_text(span, name).and_then(|status| status.parse::<u16>().ok());
        status.is_some_and(|status| (500..=599).contains(&status))
    };
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
        || is_server_error("http.response.status_code")
        || is_server_error("http.status_code")
}

/// The text of an attribute that is a text or a simple value.
pub(super) fn attribute_text(span: &Span, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match attribute.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => text.clone(),
        Any::BoolValue(value) => value.to_string(),
        Any::IntValue(value) => value.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::origin::attribute;
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::Status;

    #[test]
    fn the_handler_outranks_errors_and_errors_outrank_calls() {
        let child = Span { parent_span_id: vec![1; 8], ..Span::default() };
        let call = Span { kind: SpanKind::Client.into(), ..child.clone() };
        let answered = Span {
            attributes: vec![attribute("http.response.status_code", Any::IntValue(503))],
            ..call.clone()
        };
        let status = Some(Status { code: StatusCode::Error.into(), message: String::new() });
        for (span, rank) in [
            (child.clone(), Rank::Local),
            (call, Rank::Call),
            (answered, Rank::Failed),
            (Span { status, ..child.clone() }, Rank::Failed),
            (Span { flags: 0x301, ..child.clone() }, Rank::Top),
            (Span { kind: SpanKind::Server.into(), ..child }, Rank::Top),
            (Span::default(), Rank::Top),
        ] {
            assert_eq!(Rank::of(&span), rank, "{span:?}");
        }
        assert!(Rank::Local < Rank::Call && Rank::Call < Rank::Failed && Rank::Failed < Rank::Top);
    }
}

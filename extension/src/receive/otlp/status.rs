//! The bodies of OTLP's answers: how much of a request was taken, or why none of it was. In protobuf or JSON.

use super::intake::Refusal;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use prost::encoding::{string, uint32};
use serde_json::json;

/// The codes of gRPC that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    /// What a client is to make of a refusal. `Unavailable` is what it may try again.
    pub(super) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::TooLarge => Self::ResourceExhausted,
            Refusal::Compression(_) | Refusal::Protobuf(_) | Refusal::Json(_) => Self::InvalidArgument,
            Refusal::Busy | Refusal::Closing => Self::Unavailable,
        }
    }
}

/// An export response. Those for metrics and logs are written alike.
pub(super) fn answer(unreadable: u64, why: &str, is_json: bool) -> Vec<u8> {
    let partial_success = (unreadable > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: unreadable.cast_signed(),
        error_message: why.to_owned(),
    });
    if !is_json {
        return ExportTraceServiceResponse { partial_success }.encode_to_vec();
    }
    let partial_success = partial_success.map(|partial| {
        json!({"rejectedSpans": partial.rejected_spans.to_string(), "errorMessage": partial.error_message})
    });
    match partial_success {
        Some(partial_success) => json!({"partialSuccess": partial_success}).to_string().into_bytes(),
        None => b"{}".to_vec(),
    }
}

/// A `google.rpc.Status`, as OTLP wants it in an error's body.
pub(super) fn status(code: Code, message: &str, is_json: bool) -> Vec<u8> {
    if is_json {
        return json!({"code": code as u32, "message": message}).to_string().into_bytes();
    }
    let mut status = Vec::new();
    uint32::encode(1, &(code as u32), &mut status);
    string::encode(2, &message.to_owned(), &mut status);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_the_format_of_the_request() {
        assert!(answer(0, "", false).is_empty());
        assert_eq!(answer(0, "", true), b"{}");
        let partial = ExportTraceServiceResponse::decode(&*answer(3, "why", false)).unwrap().partial_success;
        assert_eq!(
            partial.map(|partial| (partial.rejected_spans, partial.error_message)),
            Some((3, "why".into()))
        );
        let json: serde_json::Value = serde_json::from_slice(&answer(3, "why", true)).unwrap();
        assert_eq!(json, json!({"partialSuccess": {"rejectedSpans": "3", "errorMessage": "why"}}));
        assert_eq!(status(Code::ResourceExhausted, "no", false), b"\x08\x08\x12\x02no");
        let json: serde_json::Value = serde_json::from_slice(&status(Code::Unavailable, "no", true)).unwrap();
        assert_eq!(json, json!({"code": 14, "message": "no"}));
    }
}

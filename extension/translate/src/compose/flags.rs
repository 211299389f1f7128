//! `error`, `fault` and `throttle`: ERR-1, ERR-2, BET-17, BET-18.

use crate::attributes::key::{self, Key};
use crate::compose::http;
use crate::compose::name::Remote;
use crate::compose::subject::Subject;
use crate::document::Document;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// The error codes with which AWS services say that there were too many requests.
const THROTTLING: &[&str] = &[
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flags {
    error: bool,
    throttle: bool,
    fault: bool,
}

const NONE: Flags = Flags { error: false, throttle: false, fault: false };
const ERROR: Flags = Flags { error: true, ..NONE };
const THROTTLE: Flags = Flags { error: true, throttle: true, ..NONE };
const FAULT: Flags = Flags { fault: true, ..NONE };

pub(crate) fn set(subject: &Subject<'_>, remote: Remote, document: &mut Document<'_>) {
    let flags = decide(subject, remote);
    document.error = flags.error;
    document.throttle = flags.throttle;
    document.fault = flags.fault;
}

fn decide(subject: &Subject<'_>, remote: Remote) -> Flags {
    let failed = subject.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    let attributes = &subject.attributes;
    if remote == Remote::Aws {
        let codes = [Key::AwsErrorCode, Key::ErrorType, Key::RpcResponseStatusCode];
        let says_throttled = |key: &Key| {
            attributes
                .peek_text(&[*key])
                .is_some_and(|code| THROTTLING.iter().any(|known| code.ends_with(known)))
        };
        if codes.iter().any(says_throttled) {
            return THROTTLE;
        }
    }
    match http::status_code(subject) {
        Some(status) => of_status(status, failed),
        None => match rpc_code(subject) {
            Some(code) if subject.kind == SpanKind::Client && remote != Remote::Aws => of_grpc(code, failed),
            _ if failed => FAULT,
            _ => NONE,
        },
    }
}

/// The gRPC code, which newer conventions give by name.
fn rpc_code(subject: &Subject<'_>) -> Option<i64> {
    let attributes = &subject.attributes;
    key::RPC_STATUS.iter().find_map(|key| {
        let text = attributes.peek_text(&[*key])?;
        let by_name =
            || GRPC_CODES.iter().position(|name| *name == text).and_then(|code| i64::try_from(code).ok());
        let code = text.parse().ok().or_else(by_name)?;
        attributes.spend(&[*key]);
        Some(code)
    })
}

/// The names of the codes, in the codes' order.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn of_status(status: i64, failed: bool) -> Flags {
    match status {
        429 => THROTTLE,
        400..=499 => ERROR,
        500..=599 => FAULT,
        _ if failed => FAULT,
        _ => NONE,
    }
}

/// gRPC codes that are the caller's fault are errors, `RESOURCE_EXHAUSTED` is throttling, the rest faults.
fn of_grpc(code: i64, failed: bool) -> Flags {
    match code {
        0 if !failed => NONE,
        3 | 5 | 6 | 7 | 9 | 11 | 16 => ERROR,
        8 => THROTTLE,
        _ => FAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_7_err_1_bet_18_status_codes() {
        for (status, failed, expected) in [
            (200, false, NONE),
            (200, true, FAULT),
            (404, false, ERROR),
            (404, true, ERROR),
            (429, false, THROTTLE),
            (500, false, FAULT),
            (599, true, FAULT),
            (302, false, NONE),
        ] {
            assert_eq!(of_status(status, failed), expected, "{status} {failed}");
        }
    }

    #[test]
    fn bet_17_grpc_codes() {
        for (code, failed, expected) in
            [(0, false, NONE), (0, true, FAULT), (5, true, ERROR), (8, true, THROTTLE), (13, true, FAULT)]
        {
            assert_eq!(of_grpc(code, failed), expected, "{code}");
        }
    }
}

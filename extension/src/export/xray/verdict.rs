//! What an answer to a request for X-Ray means, whoever has given it (PTS-4, PTS-6, BET-36). Pure.
//!
//! Only X-Ray's own word counts as sent or refused. Whatever else answers in its place, such as a proxy, says nothing of
//! the documents: they are kept.

use super::answer::Refusal;
use crate::export::answers::caller::{
    caller_trouble, is_not_in_this_region, is_not_now, is_unsigned, may_renew,
};
use crate::shown;
use std::time::{Duration, SystemTime};

/// Codes behind which a wrong clock may be. The SDK has taken down X-Ray's time with the answer, so the same request
/// is signed with that the next time (PTS-6).
const CLOCK_CODES: &[&str] = &[
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
    "RequestTimeTooSkewed",
    "RequestExpired",
    "AccessDeniedException",
];
/// From here on a difference of the clocks explains a refused signature; AWS allows five minutes.
const CLOCKS_DIFFER: Duration = Duration::from_mins(4);
/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// X-Ray took the request, and all documents but these.
    Accepted { refusals: Vec<Refusal> },
    /// The request itself was wrong; the same again would be too.
    Refused { code: String, message: String },
    /// The caller may not, and this is what to do about it.
    Denied(String),
    /// Nobody answered, or not now; `asked` is the pause that X-Ray wants.
    Unreachable { message: String, asked: Option<Duration> },
}

/// What a failed try asks for.
#[derive(Debug)]
pub(crate) enum Next {
    GiveUp(Outcome),
    /// Another connection may do.
    Reconnect(String),
    /// A signature with X-Ray's time may do.
    Resign(Outcome),
    /// Other credentials may do.
    Renew(Outcome),
    /// `asked` is the pause that X-Ray wants.
    BackOff {
        message: String,
        asked: Option<Duration>,
    },
}

/// An answer that is no success.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// X-Ray's, and its sign: nobody else gives one.
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    /// What `Retry-After` asks for.
    pub(crate) asked: Option<Duration>,
    pub(crate) date: Option<SystemTime>,
    /// Where a redirect leads.
    pub(crate) location: Option<String>,
}

/// What follows from an answer. `at` is where it came from, as the log shows it.
pub(crate) fn verdict(answered: Answered, at: &str, now: SystemTime) -> Next {
    let Answered { status, code, message, asked, date, location } = answered;
    let Some(code) = code else {
        return match status {
            408 | 425 | 429 | 500..=599 => {
                Next::BackOff { message: format!("{at} answered {status}"), asked }
            }
            // The gateway before X-Ray answers without a code.
            413 => Next::GiveUp(Outcome::Refused { code: "RequestTooLarge".to_owned(), message }),
            _ => Next::GiveUp(Outcome::Denied(somebody_else(status, at, location.as_deref()))),
        };
    };
    let is = |codes: &[&str]| codes.contains(&code.as_str());
    match status {
        408 | 429 | 500..=599 => Next::BackOff { message: format!("{at} answered {status} {code}"), asked },
        _ if is_not_now(&code) => Next::BackOff { message: format!("{at} answered {status} {code}"), asked },
        413 => Next::GiveUp(Outcome::Refused { code: "RequestTooLarge".to_owned(), message }),
        _ if may_renew(&code) => Next::Renew(Outcome::Denied(refused_caller(&code, &message))),
        401 | 403 => {
            let outcome = Outcome::Denied(refused_caller(&code, &message));
            let is_clock = is(CLOCK_CODES) && date.is_some_and(|theirs| is_far_off(theirs, now));
            if is_clock { Next::Resign(outcome) } else { Next::GiveUp(outcome) }
        }
        400 if is_unsigned(&code) || is_not_in_this_region(&code) => {
            Next::GiveUp(Outcome::Denied(refused_caller(&code, &message)))
        }
        400 => Next::GiveUp(Outcome::Refused { code, message }),
        _ => Next::GiveUp(Outcome::Denied(format!(
            "{}, code {code}",
            somebody_else(status, at, location.as_deref())
        ))),
    }
}

/// What is told of an answer that is not X-Ray's.
pub(crate) fn somebody_else(status: u16, at: &str, location: Option<&str>) -> String {
    let remedy = match status {
        300..=399 => {
            let leads = location.map(|location| format!(" to {}", shown::line(location))).unwrap_or_default();
            format!(
                "a redirect{leads} is not followed; set AWS_ENDPOINT_URL_XRAY to X-Ray's own address, or unset it"
            )
        }
        404 | 405 | 410 => "check AWS_ENDPOINT_URL_XRAY".to_owned(),
        407 => {
            "a proxy wants to know the caller: let the function's network reach X-Ray without it".to_owned()
        }
        _ => "something answers in X-Ray's place: check AWS_ENDPOINT_URL_XRAY, and the proxies on the way"
            .to_owned(),
    };
    format!("{at} answered {status}, and not as X-Ray does, so spans are kept and tried again: {remedy}")
}

fn refused_caller(code: &str, message: &str) -> String {
    caller_trouble(code).unwrap_or_else(|| {
        format!(
            "X-Ray refused the function's role ({code}: {message}): allow xray:PutTraceSegments, for example with the \
             managed policy AWSXRayDaemonWriteAccess"
        )
    })
}

fn is_far_off(theirs: SystemTime, now: SystemTime) -> bool {
    let difference = theirs.duration_since(now).unwrap_or_else(|earlier| earlier.duration());
    difference > CLOCKS_DIFFER
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn of(status: u16, code: Option<&str>) -> Next {
        verdict(
            Answered { status, code: code.map(str::to_owned), message: "why".into(), ..Answered::default() },
            "https://h",
            NOW,
        )
    }

    #[test]
    fn p2_what_is_not_x_rays_answer_costs_no_span() {
        for status in [200, 204, 301, 302, 307, 400, 401, 403, 404, 405, 407, 418, 451] {
            let Next::GiveUp(Outcome::Denied(told)) = of(status, None) else { panic!("{status}") };
            assert!(told.contains(&format!("https://h answered {status}")), "{told}");
            assert!(!told.contains("xray:PutTraceSegments"), "{told}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(of(status, None), Next::BackOff { .. }), "{status}");
        }
        let unknown = of(404, Some("UnknownOperationException"));
        assert!(matches!(unknown, Next::GiveUp(Outcome::Denied(told)) if told.contains("UnknownOperation")));
        let redirect = Answered {
            status: 302,
            location: Some("https://u:SECRET@portal/login?SECRET".into()),
            ..Answered::default()
        };
        let Next::GiveUp(Outcome::Denied(told)) = verdict(redirect, "https://h", NOW) else { panic!() };
        assert!(
            told.contains("to https://portal/login is not followed") && !told.contains("SECRET"),
            "{told}"
        );
    }

    #[test]
    fn pts_4_x_rays_own_refusals_are_final() {
        assert!(
            matches!(of(400, Some("InvalidRequestException")), Next::GiveUp(Outcome::Refused { code, .. }) if code == "InvalidRequestException")
        );
        for code in [None, Some("RequestEntityTooLarge")] {
            assert!(
                matches!(of(413, code), Next::GiveUp(Outcome::Refused { code, .. }) if code == "RequestTooLarge")
            );
        }
    }

    #[test]
    fn pts_4_throttling_is_told_by_its_code_whatever_the_status() {
        for (status, code) in [
            (400, "ThrottlingException"),
            (400, "ThrottledException"),
            (403, "RequestLimitExceeded"),
            (400, "TooManyRequestsException"),
            (400, "RequestTimeoutException"),
            (429, "ThrottledException"),
            (503, "ServiceUnavailable"),
        ] {
            assert!(matches!(of(status, Some(code)), Next::BackOff { .. }), "{status} {code}");
        }
    }

    #[test]
    fn bet_36_each_refusal_of_the_caller_has_its_remedy() {
        for (status, code, is_renewed, part) in [
            (403, "ExpiredToken", true, "have expired"),
            (400, "ExpiredTokenException", true, "have expired"),
            (403, "UnrecognizedClientException", true, "does not know"),
            (400, "UnrecognizedClientException", true, "does not know"),
            (403, "InvalidClientTokenId", true, "does not know"),
            (403, "MissingAuthenticationTokenException", true, "does not know"),
            (403, "InvalidSignatureException", false, "the signature"),
            (403, "SignatureDoesNotMatch", false, "the signature"),
            (400, "IncompleteSignatureException", false, "the signature"),
            (403, "OptInRequired", false, "in this region"),
            (403, "AccessDeniedException", false, "xray:PutTraceSegments"),
            (403, "AccessDenied", false, "xray:PutTraceSegments"),
            (401, "Whatever", false, "xray:PutTraceSegments"),
        ] {
            let (outcome, renewed) = match of(status, Some(code)) {
                Next::Renew(outcome) => (outcome, true),
                Next::GiveUp(outcome) => (outcome, false),
                _ => panic!("{code}"),
            };
            let Outcome::Denied(told) = outcome else { panic!("{code}") };
            assert_eq!(renewed, is_renewed, "{code}");
            assert!(told.contains(part) && told.contains(code), "{told}");
            assert_eq!(told.contains("xray:PutTraceSegments"), part == "xray:PutTraceSegments", "{told}");
        }
    }

    #[test]
    fn pts_6_a_clock_far_off_is_worth_another_signature() {
        for (minutes, resigned) in [(3, false), (5, true)] {
            let answered = Answered {
                status: 403,
                code: Some("InvalidSignatureException".into()),
                date: Some(NOW + Duration::from_mins(minutes)),
                ..Answered::default()
            };
            assert_eq!(matches!(verdict(answered, "", NOW), Next::Resign(_)), resigned, "{minutes}");
        }
    }
}

//! What the other side of an OTLP request has said. Pure.
//!
//! Only a collector's own word counts as taken or refused. Whatever else answers in its place, such as a proxy, says
//! nothing of the spans: they are kept.

use super::PAUSE_AFTER_REFUSAL;
use crate::export::answers::caller::{caller_trouble, is_not_now, may_renew};
use crate::export::answers::quoted;
use crate::export::client::own::LeadsHere;
use crate::export::pacing::backoff::retry_after;
use crate::export::pacing::health::Verdict;
use crate::shown;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::Read as _;
use std::time::{Duration, SystemTime};

/// Far more than any collector says.
pub(super) const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// What simple receivers say of a success, whatever OTLP has for it.
const WORDS: [&[u8]; 4] = [b"ok", b"success", b"accepted", b"created"];

/// What the other side said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It took all spans but so many. The message is its own.
    Taken { rejected: u64, message: String },
    /// The same request would be refused again. The message is its own.
    Refused { status: u16, message: String },
    /// Nothing was taken, and that lasts until something is put right: what was said, and what to do.
    Kept { status: u16, trouble: String, may_renew: bool },
    /// It may be sent again, after the pause that the other side may have asked for.
    Later { message: String, asked: Option<Duration> },
    /// Nobody answered: another connection may do.
    Silence(String),
    /// It would have come back to this extension.
    Circle(LeadsHere),
    /// It could not be signed.
    NoCredentials(String),
}

impl Answer {
    /// What it says of the other side.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Taken { .. } | Self::Refused { .. } => Verdict::Well,
            Self::Kept { .. } | Self::Circle(_) => Verdict::Failed { asked: Some(PAUSE_AFTER_REFUSAL) },
            Self::Later { asked, .. } => Verdict::Failed { asked: *asked },
            Self::Silence(_) | Self::NoCredentials(_) => Verdict::Failed { asked: None },
        }
    }
}

/// A body, as far as it could be had.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Whole(&'a [u8]),
    /// No collector has so much to say.
    TooLong,
}

/// Reads an answer. `named_by` is the variable that led to it; `is_xray`: it is X-Ray's own endpoint.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    content: &Content<'_>,
    named_by: &str,
    is_xray: bool,
    now: SystemTime,
) -> Answer {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = header("content-type").unwrap_or_default().to_ascii_lowercase();
    let body = match content {
        Content::Whole(body) => *body,
        Content::TooLong => &[],
    };
    let is_a_page = matches!(content, Content::TooLong) || kind.contains("html") || starts_a_page(body);
    let is_json = kind.contains("json");
    let kept = |remedy: String, may_renew| Answer::Kept {
        status: status.as_u16(),
        trouble: format!("answered {}: {remedy}", status.as_u16()),
        may_renew,
    };
    let somebody_else = || {
        kept(
            format!(
                "something answers in the collector's place; check {named_by}, and the proxies on the way"
            ),
            false,
        )
    };
    let code = is_xray.then(|| aws_code(header("x-amzn-errortype"), body)).flatten();
    let later =
        |message| Answer::Later { message, asked: retry_after(header("retry-after"), header("date"), now) };
    if let Some(code) = code.as_deref().filter(|_| status.is_client_error() || status.is_server_error()) {
        if status.is_server_error() || is_not_now(code) {
            return later(format!("it answered {status}, code {code}"));
        }
        if let Some(trouble) = caller_trouble(code) {
            return kept(trouble, may_renew(code));
        }
    }
    match status.as_u16() {
        408 | 425 | 429 | 502 | 503 | 504 => later(format!("it answered {status}")),
        413 => Answer::Refused { status: 413, message: said(is_json, body) },
        300..=399 => {
            let leads = header("location").map(|to| format!(" to {}", shown::line(to))).unwrap_or_default();
            kept(format!("a redirect{leads} is not followed; set {named_by} to where it leads"), false)
        }
        407 => kept(
            "a proxy wants to know the caller; let the function's network reach the endpoint without it"
                .to_owned(),
            false,
        ),
        _ if is_a_page => somebody_else(),
        // Others of their kind speak of parts of an answer, or of one that somebody has changed.
        200..=202 | 204 => match plain(header("content-encoding"), body).and_then(|body| taken(&kind, &body))
        {
            Some(taken) => taken,
            None => somebody_else(),
        },
        401 | 403 if is_xray => kept(
            format!(
                "{}; allow the function's role xray:PutSpans and xray:PutSpansForIndexing",
                code.as_deref().unwrap_or("no code")
            ),
            false,
        ),
        401..=403 => kept("check OTEL_EXPORTER_OTLP_HEADERS".to_owned(), false),
        404 | 405 => kept(format!("check the path in {named_by}"), false),
        400 | 415 | 422 | 431 | 500..=599 => {
            Answer::Refused { status: status.as_u16(), message: said(is_json, body) }
        }
        _ => somebody_else(),
    }
}

fn starts_a_page(body: &[u8]) -> bool {
    body.trim_ascii_start().strip_prefix(b"\xef\xbb\xbf").unwrap_or(body.trim_ascii_start()).starts_with(b"<")
}

/// The body as it was before it was packed: nobody was asked to, and a proxy may have. None where it can't be had.
fn plain<'a>(encoding: Option<&str>, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    match encoding.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        _ if body.is_empty() => Some(body.into()),
        "" | "identity" => Some(body.into()),
        "gzip" | "x-gzip" => {
            let mut plain = Vec::new();
            let limit = u64::try_from(MAX_ANSWER_BYTES).unwrap_or(u64::MAX);
            MultiGzDecoder::new(body).take(limit.saturating_add(1)).read_to_end(&mut plain).ok()?;
            (plain.len() <= MAX_ANSWER_BYTES).then(|| plain.into())
        }
        _ => None,
    }
}

/// How many spans were not taken, in whichever form that is said. None where it is no collector's answer.
fn taken(kind: &str, body: &[u8]) -> Option<Answer> {
    let said = body.trim_ascii();
    if said.is_empty() || (!kind.contains("json") && is_word_of_success(said)) {
        return Some(Answer::Taken { rejected: 0, message: String::new() });
    }
    if kind.contains("json") || matches!(said.first(), Some(b'{' | b'[')) || said == b"null" {
        let answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let partial = answer.get("partialSuccess").or_else(|| answer.get("partial_success"));
        let partial = match partial {
            Some(partial @ (Value::Object(_) | Value::Null)) => partial,
            None if answer.is_empty() || answer.iter().any(|(name, value)| says_success(name, value)) => {
                &Value::Null
            }
            _ => return None,
        };
        // A 64-bit number is a text in JSON.
        let rejected = &partial["rejectedSpans"];
        let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or_default();
        return Some(Answer::Taken { rejected, message: text(&partial["errorMessage"]) });
    }
    let answer = ExportTraceServiceResponse::decode(body).ok()?;
    // Any text may happen to be a message of unknown fields.
    let is_said = kind.contains("protobuf") || answer.encoded_len() == body.len();
    let partial = answer.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or_default();
    is_said.then_some(Answer::Taken { rejected, message: partial.error_message })
}

fn is_word_of_success(said: &[u8]) -> bool {
    WORDS.iter().any(|word| said.eq_ignore_ascii_case(word))
}

/// `{"status":"ok"}`, `{"success":true}` and their like.
fn says_success(name: &str, value: &Value) -> bool {
    match value {
        Value::String(said) => is_word_of_success(said.trim_ascii().as_bytes()),
        Value::Bool(is_so) => *is_so && is_word_of_success(name.as_bytes()),
        _ => false,
    }
}

/// The message of a `google.rpc.Status`. Of a body that is something else, nothing.
fn said(is_json: bool, body: &[u8]) -> String {
    if is_json {
        serde_json::from_slice(body).map(|answer: Value| text(&answer["message"])).unwrap_or_default()
    } else {
        // Its two first fields are a number and a message, as those of a `Status` are.
        ExportTracePartialSuccess::decode(body).map(|status| status.error_message).unwrap_or_default()
    }
}

/// The error code that AWS gives, in a header or in the body.
fn aws_code(named: Option<&str>, body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let in_body = ["__type", "code", "Code"].iter().find_map(|name| answer[*name].as_str());
    named.or(in_body).map(quoted::aws_code)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    const NAMED_BY: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

    fn of(status: u16, headers: &[(&'static str, &str)], body: &[u8], is_xray: bool) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        read(
            StatusCode::from_u16(status).unwrap(),
            &headers.collect(),
            &Content::Whole(body),
            NAMED_BY,
            is_xray,
            SystemTime::UNIX_EPOCH,
        )
    }

    fn partial(rejected_spans: i64, error_message: &str) -> ExportTracePartialSuccess {
        ExportTracePartialSuccess { rejected_spans, error_message: error_message.to_owned() }
    }

    const JSON: (&str, &str) = ("content-type", "application/json");
    const TEXT: (&str, &str) = ("content-type", "text/plain");
    const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
    const GZIP: (&str, &str) = ("content-encoding", "gzip");

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn p2_a_success_that_is_not_otlps_costs_no_span() {
        let bomb = gzipped(&vec![b' '; 1 << 20]);
        for (status, headers, body) in [
            (200, vec![JSON], &br#"{"message":"please log in","login":"https://portal/"}"#[..]),
            (200, vec![], br#" {"message":"please log in"}"#),
            (200, vec![JSON], br#"{"partialSuccess":5}"#),
            (200, vec![JSON], br#"{"success":false}"#),
            (200, vec![JSON], br#"{"login":true}"#),
            (200, vec![JSON], br#"{"UnprocessedTraceSegments":[]}"#),
            (200, vec![JSON], b"null"),
            (200, vec![TEXT], b"null"),
            (200, vec![JSON], b"[]"),
            (200, vec![JSON], b"nonsense"),
            (200, vec![JSON], br#""ok""#),
            (200, vec![TEXT], b"please log in"),
            (200, vec![PROTOBUF], b"\x1f\x8b\x08\x00"),
            (200, vec![], b"\x1f\x8b\x08\x00"),
            (200, vec![GZIP, JSON], b"\x1f\x8b\x08\x00"),
            (200, vec![GZIP], b"no gzip"),
            (200, vec![GZIP], &bomb),
            (200, vec![("content-encoding", "br"), JSON], b"{}"),
            (203, vec![JSON], b"{}"),
            (206, vec![JSON], b"{}"),
            (206, vec![], b""),
            (207, vec![], b""),
        ] {
            let answer = of(status, &headers, body, false);
            let Answer::Kept { trouble, .. } = &answer else { panic!("{status} {headers:?} {answer:?}") };
            assert!(trouble.contains(&format!("answered {status}: something answers")), "{trouble}");
            assert!(!trouble.contains("log in"), "{trouble}");
        }
    }

    #[test]
    fn a_collectors_success_is_read_in_every_form() {
        let whole = |partial| ExportTraceServiceResponse { partial_success: partial }.encode_to_vec();
        let taken = |rejected, message: &str| Answer::Taken { rejected, message: message.to_owned() };
        for (status, headers, body, expected) in [
            (200, vec![], vec![], taken(0, "")),
            (202, vec![], vec![], taken(0, "")),
            (200, vec![("content-type", "text/plain")], b"ok".to_vec(), taken(0, "")),
            (200, vec![], whole(None), taken(0, "")),
            (200, vec![], whole(Some(partial(2, "too old"))), taken(2, "too old")),
            (200, vec![], whole(Some(partial(-1, ""))), taken(0, "")),
            (200, vec![JSON], b"{}".to_vec(), taken(0, "")),
            (
                200,
                vec![JSON],
                br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#.to_vec(),
                taken(3, "no"),
            ),
            (200, vec![JSON], br#"{"partialSuccess":{"rejectedSpans":3}}"#.to_vec(), taken(3, "")),
            (200, vec![JSON], br#"{"partialSuccess":null}"#.to_vec(), taken(0, "")),
            (200, vec![JSON], br#"{"status":"OK","id":7}"#.to_vec(), taken(0, "")),
            (200, vec![JSON], br#"{"success":true}"#.to_vec(), taken(0, "")),
            (202, vec![], br#"{"message":"accepted"}"#.to_vec(), taken(0, "")),
            (200, vec![JSON], b"".to_vec(), taken(0, "")),
            (204, vec![JSON], b"".to_vec(), taken(0, "")),
            (200, vec![GZIP, JSON], gzipped(br#"{"partialSuccess":{"rejectedSpans":"1"}}"#), taken(1, "")),
            (200, vec![GZIP], gzipped(&whole(Some(partial(2, "too old")))), taken(2, "too old")),
            (200, vec![GZIP], Vec::new(), taken(0, "")),
        ] {
            assert_eq!(of(status, &headers, &body, false), expected, "{status} {headers:?} {body:?}");
        }
    }

    #[test]
    fn p2_what_is_no_collectors_answer_costs_no_span() {
        let html = [("content-type", "text/html; charset=utf-8")];
        for (status, headers, body, part) in [
            (200, &html[..], &b""[..], "in the collector's place"),
            (200, &[], b" \r\n<!DOCTYPE html>", "in the collector's place"),
            (200, &[], b"\xef\xbb\xbf<html>", "in the collector's place"),
            (400, &html, b"", "in the collector's place"),
            (500, &html, b"", "in the collector's place"),
            (418, &[], b"", "in the collector's place"),
            (
                302,
                &[("location", "https://u:SECRET@portal/login?SECRET")],
                b"",
                "to https://portal/login is not",
            ),
            (307, &[], b"", "a redirect is not followed"),
            (401, &[], b"", "OTEL_EXPORTER_OTLP_HEADERS"),
            (403, &[], b"", "OTEL_EXPORTER_OTLP_HEADERS"),
            (404, &html, b"", "in the collector's place"),
            (404, &[], b"", NAMED_BY),
            (407, &html, b"", "a proxy wants"),
        ] {
            let Answer::Kept { trouble, may_renew: false, .. } = of(status, headers, body, false) else {
                panic!("{status} {headers:?}")
            };
            assert!(trouble.starts_with(&format!("answered {status}: ")), "{trouble}");
            assert!(trouble.contains(part) && !trouble.contains("SECRET"), "{trouble}");
        }
        for status in [408, 425, 429, 502, 503, 504] {
            assert!(matches!(of(status, &html, b"<html>", false), Answer::Later { .. }), "{status}");
        }
        let endless = read(
            StatusCode::OK,
            &HeaderMap::new(),
            &Content::TooLong,
            NAMED_BY,
            false,
            SystemTime::UNIX_EPOCH,
        );
        assert!(matches!(endless, Answer::Kept { status: 200, .. }), "{endless:?}");
    }

    #[test]
    fn a_refusal_is_told_by_its_message_and_never_by_its_body() {
        let status = partial(3, "bad span").encode_to_vec();
        for (code, headers, body, expected) in [
            (400, vec![], status.as_slice(), "bad span"),
            (400, vec![JSON], br#"{"code":3,"message":"bad span"}"#, "bad span"),
            (400, vec![], b"SECRET", ""),
            (500, vec![JSON], br#"["SECRET"]"#, ""),
            (413, vec![("content-type", "text/html")], b"<SECRET>", ""),
        ] {
            let expected = Answer::Refused { status: code, message: expected.to_owned() };
            assert_eq!(of(code, &headers, body, false), expected);
        }
    }

    #[test]
    fn oep_1_x_rays_endpoint_is_read_by_awss_error_code_whatever_the_status() {
        const EXPIRED: &[u8] = br#"{"__type":"ExpiredTokenException","message":"x"}"#;
        let named = |code| vec![("x-amzn-errortype", code)];
        for status in [400, 401, 403] {
            for (headers, body) in [(vec![JSON], EXPIRED), (named("ExpiredTokenException:http://x"), b"{}")] {
                let answer = of(status, &headers, body, true);
                assert!(
                    matches!(&answer, Answer::Kept { may_renew: true, trouble, .. } if trouble.contains("have expired")),
                    "{status} {answer:?}"
                );
            }
        }
        for (code, part) in
            [("IncompleteSignatureException", "the signature"), ("OptInRequired", "in this region")]
        {
            let answer = of(400, &named(code), b"{}", true);
            assert!(
                matches!(&answer, Answer::Kept { may_renew: false, trouble, .. } if trouble.contains(part)),
                "{answer:?}"
            );
        }
        let later = [
            (400, named("ThrottlingException"), &b"{}"[..]),
            (400, vec![JSON], br#"{"__type":"com.amazon#ThrottlingException"}"#),
            (403, named("RequestLimitExceeded"), b""),
            (500, named("InternalFailure"), b"{}"),
        ];
        for (status, mut headers, body) in later {
            headers.push(("retry-after", "2"));
            let answer = of(status, &headers, body, true);
            assert!(
                matches!(answer, Answer::Later { asked: Some(asked), .. } if asked.as_secs() == 2),
                "{status} {answer:?}"
            );
        }
        // What is wrong with the spans is final, and a collector's own words are no code of AWS's.
        for (headers, body, is_xray) in
            [(named("ValidationException"), &b"{}"[..], true), (vec![JSON], EXPIRED, false)]
        {
            let answer = of(400, &headers, body, is_xray);
            assert!(matches!(answer, Answer::Refused { status: 400, .. }), "{answer:?}");
        }
    }

    #[test]
    fn oep_1_x_rays_endpoint_refuses_a_caller_for_several_reasons() {
        for (headers, body, renewed, part) in [
            (vec![("x-amzn-errortype", "ExpiredTokenException:http://x")], &b"{}"[..], true, "have expired"),
            (vec![JSON], br#"{"__type":"com.amazon#UnrecognizedClientException"}"#, true, "does not know"),
            (vec![("x-amzn-errortype", "AccessDeniedException")], b"{}", false, "xray:PutSpans"),
            (vec![], b"", false, "xray:PutSpans"),
        ] {
            let Answer::Kept { trouble, may_renew, .. } = of(403, &headers, body, true) else { panic!() };
            assert!(trouble.contains(part), "{trouble}");
            assert_eq!(may_renew, renewed, "{trouble}");
        }
    }
}

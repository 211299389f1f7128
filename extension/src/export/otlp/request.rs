//! One OTLP/HTTP request: how it is made, signed and answered.

use super::select::OutgoingSpan;
use super::settings::OtlpSettings;
use crate::export::backoff::retry_after;
use crate::export::connector::Connections;
use crate::export::own::LeadsHere;
use crate::export::sign::sign;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What the other side said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It took all spans but so many.
    Taken { rejected: u64, message: String },
    /// The same request would be refused again.
    Refused { status: u16, message: String },
    /// It may be sent again, after a pause the other side may have named.
    Later { message: String, at_least: Option<Duration> },
    /// Nobody answered: another connection may do.
    Silence(String),
    /// It would have come back to this extension.
    Circle(LeadsHere),
    /// It could not be signed.
    NoCredentials(String),
}

/// A request's body.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) is_json: bool,
    pub(super) is_gzip: bool,
}

/// The spans as a request body.
pub(super) fn encode(spans: &[OutgoingSpan], gzip: bool) -> Bytes {
    let mut resource_spans: Vec<ResourceSpans> = Vec::new();
    for group in spans.chunk_by(|one, next| Arc::ptr_eq(&one.origin, &next.origin)) {
        let origin = &group[0].origin;
        let spans = group.iter().map(|outgoing| (*outgoing.span).clone()).collect();
        resource_spans.push(ResourceSpans {
            resource: Some(origin.resource.clone()),
            scope_spans: vec![ScopeSpans { scope: origin.scope.clone(), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        });
    }
    let plain = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    if !gzip {
        return plain.into();
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
    // Writing to memory does not fail.
    packed.map_or(plain.into(), Bytes::from)
}

/// Sends a body once.
pub(super) async fn send(
    settings: &OtlpSettings,
    connections: &Connections,
    credentials: Option<&SharedCredentialsProvider>,
    body: &Body,
) -> Answer {
    let content_type = if body.is_json { "application/json" } else { "application/x-protobuf" };
    let mut request = Request::post(&settings.url)
        .header("content-type", content_type)
        .header("user-agent", concat!("otel-xray/", env!("CARGO_PKG_VERSION")));
    if body.is_gzip {
        request = request.header("content-encoding", "gzip");
    }
    let mut request = match request.body(SdkBody::from(body.bytes.clone())) {
        Ok(request) => request,
        Err(error) => return Answer::Refused { status: 0, message: error.to_string() },
    };
    for (name, value) in &settings.headers {
        request.headers_mut().insert(name, value.clone());
    }
    if let Some((region, credentials)) = settings.sign_for.as_deref().zip(credentials)
        && let Err(error) = sign(&mut request, &body.bytes, region, credentials).await
    {
        return Answer::NoCredentials(error.to_string());
    }
    let answered = tokio::time::timeout(settings.timeout, async {
        let answer = connections.request(request).await.map_err(|error| unanswered(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        Ok((head, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    });
    match answered.await {
        Ok(Ok((head, body))) => read(head.status, &head.headers, &body),
        Ok(Err(unanswered)) => unanswered,
        Err(_) => Answer::Later {
            message: format!("no answer within {} ms", settings.timeout.as_millis()),
            at_least: None,
        },
    }
}

fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Answer {
    if status.is_success() {
        let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        let partial = partial.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or_default();
        return Answer::Taken { rejected, message: short(&partial.error_message) };
    }
    // A Status message or JSON: what can be read of it helps whoever sets this up.
    let readable: String = String::from_utf8_lossy(body)
        .chars()
        .map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c })
        .collect();
    let message = format!("{status}: {}", short(readable.trim()));
    match status.as_u16() {
        429 | 502 | 503 | 504 => {
            let header = headers.get("retry-after").and_then(|value| value.to_str().ok());
            Answer::Later { message, at_least: retry_after(header) }
        }
        status => Answer::Refused { status, message },
    }
}

fn unanswered(error: &(dyn Error + 'static)) -> Answer {
    LeadsHere::behind(error).map_or_else(|| Answer::Silence(chain(error)), Answer::Circle)
}

/// An error and its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> = crate::export::trouble::causes(error).map(ToString::to_string).collect();
    short(&causes.join(": "))
}

fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

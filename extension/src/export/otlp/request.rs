//! One OTLP/HTTP request: how it is made, signed and answered.

use super::answer::{Answer, Content, read};
use super::select::OutgoingSpan;
use super::settings::OtlpSettings;
use crate::export::connector::Connections;
use crate::export::credentials::Provider;
use crate::export::own::LeadsHere;
use crate::export::sign::sign;
use crate::export::trouble::told;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message as _;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

const MAX_ANSWER_BYTES: usize = 64 * 1024;

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
    credentials: Option<&Provider>,
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
        Err(error) => return Answer::Refused { status: 0, message: told(&error) },
    };
    for (name, value) in &settings.headers {
        request.headers_mut().insert(name, value.clone());
    }
    if let Some((region, credentials)) = settings.sign_for.as_deref().zip(credentials)
        && let Err(error) = sign(&mut request, &body.bytes, region, credentials).await
    {
        return Answer::NoCredentials(told(&*error));
    }
    let answered = tokio::time::timeout(settings.timeout, async {
        let answer = connections.request(request).await.map_err(|error| unanswered(&error))?;
        let (head, body) = answer.into_parts();
        match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
            Ok(body) => Ok((head, Some(body.to_bytes()))),
            Err(error) if error.is::<LengthLimitError>() => Ok((head, None)),
            Err(error) => Err(Answer::Silence(told(&*error))),
        }
    });
    match answered.await {
        Ok(Ok((head, body))) => {
            let content = body.as_deref().map_or(Content::TooLong, Content::Whole);
            let is_xray = settings.sign_for.is_some();
            read(head.status, &head.headers, &content, &settings.named_by, is_xray)
        }
        Ok(Err(unanswered)) => unanswered,
        Err(_) => Answer::Later {
            message: format!("no answer within {} ms", settings.timeout.as_millis()),
            at_least: None,
        },
    }
}

fn unanswered(error: &(dyn Error + 'static)) -> Answer {
    LeadsHere::behind(error).map_or_else(|| Answer::Silence(told(error)), Answer::Circle)
}

//! One OTLP/HTTP request: how it is made, signed and answered.

use super::Endpoint;
use super::answer::{Answer, Content, MAX_ANSWER_BYTES, read};
use super::select::OutgoingSpan;
use crate::export::answers::trouble::told;
use crate::export::client::credentials::Provider;
use crate::export::client::own::LeadsHere;
use crate::export::client::sign::sign;
use crate::export::pacing::backoff::{Jitter, Persistence};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use std::borrow::Borrow;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

/// Fields of a request, of resource spans, and of scope spans.
const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;
const SPANS: u32 = 2;

/// A request's body.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) is_json: bool,
    pub(super) is_gzip: bool,
}

/// The spans as a request body.
pub(super) fn encode<T: Borrow<OutgoingSpan>>(spans: &[T], gzip: bool) -> Bytes {
    let groups = || spans.chunk_by(|one, next| Arc::ptr_eq(&one.borrow().origin, &next.borrow().origin));
    let origins: usize = groups().map(|group| 64 + group[0].borrow().origin.resource.encoded_len()).sum();
    let bytes: usize = spans.iter().map(|one| one.borrow().encoded.len() + 6).sum();
    let mut plain = Vec::with_capacity(origins + bytes);
    for group in groups() {
        let origin = &group[0].borrow().origin;
        let scope = origin.scope.as_ref();
        let of_spans: usize = group.iter().map(|one| field_len(one.borrow().encoded.len())).sum();
        let scope_spans = of_spans + scope.map_or(0, |scope| field_len(scope.encoded_len()));
        let resource = origin.resource.encoded_len();
        put_head(RESOURCE_SPANS, field_len(resource) + field_len(scope_spans), &mut plain);
        put_head(RESOURCE, resource, &mut plain);
        origin.resource.encode_raw(&mut plain);
        put_head(SCOPE_SPANS, scope_spans, &mut plain);
        if let Some(scope) = scope {
            put_head(SCOPE, scope.encoded_len(), &mut plain);
            scope.encode_raw(&mut plain);
        }
        for one in group {
            let encoded = &one.borrow().encoded;
            put_head(SPANS, encoded.len(), &mut plain);
            plain.extend_from_slice(encoded);
        }
    }
    if !gzip {
        return plain.into();
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
    // Writing to memory does not fail.
    packed.map_or(plain.into(), Bytes::from)
}

/// Writes what comes before a message in a field.
fn put_head(number: u32, bytes: usize, out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes as u64, out);
}

/// A message of so many bytes with what comes before it: the number of the field is one byte.
fn field_len(bytes: usize) -> usize {
    1 + encoded_len_varint(bytes as u64) + bytes
}

/// Sends a body, and again where that can help and time is left.
pub(super) async fn send(
    endpoint: &Endpoint,
    body: &Body,
    persistence: Persistence,
    mut jitter: Jitter,
) -> Answer {
    let credentials = endpoint.credentials.as_deref();
    let (mut reconnected, mut renewed) = (false, false);
    let mut tries = 0;
    loop {
        let answer = send_once(endpoint, body).await;
        let asked = match &answer {
            Answer::Kept { may_renew: true, .. } if !renewed && credentials.is_some_and(Provider::renew) => {
                renewed = true;
                continue;
            }
            Answer::Taken { .. } | Answer::Refused { .. } | Answer::Kept { .. } | Answer::Circle(_) => {
                return answer;
            }
            Answer::Silence(_) if !reconnected && persistence.reconnects() => {
                reconnected = true;
                endpoint.connections.renew();
                continue;
            }
            Answer::Later { asked, .. } => *asked,
            Answer::Silence(_) | Answer::NoCredentials(_) => None,
        };
        tries += 1;
        match persistence.pause(tries, asked, &mut jitter) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return answer,
        }
    }
}

async fn send_once(Endpoint { settings, connections, credentials }: &Endpoint, body: &Body) -> Answer {
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
    if let Some((region, credentials)) = settings.sign_for.as_deref().zip(credentials.as_deref())
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
            read(head.status, &head.headers, &content, &settings.named_by, is_xray, SystemTime::now())
        }
        Ok(Err(unanswered)) => unanswered,
        Err(_) => Answer::Later {
            message: format!("no answer within {} ms", settings.timeout.as_millis()),
            asked: None,
        },
    }
}

fn unanswered(error: &(dyn Error + 'static)) -> Answer {
    LeadsHere::behind(error).map_or_else(|| Answer::Silence(told(error)), Answer::Circle)
}

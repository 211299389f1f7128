//! OTLP over HTTP, for a function that carries an OpenTelemetry SDK of its own.
//!
//! Protobuf on `/v1/traces`, plain or gzip, on a loopback address. Everything is bounded: connections, headers,
//! bodies before and after decompression, and time.

use super::Received;
use super::local_http::{self, BodyError, Handler};
use super::otlp_decode::{self, Decoded};
use crate::accounts::Reason;
use crate::log::Log;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The largest request body, and the largest it may become when decompressed.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
const PROTOBUF: &str = "application/x-protobuf";

/// Binds the receiver's address.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    local_http::bind(address)
}

/// Serves until the receiving side of `out` is gone.
pub async fn serve(listener: TcpListener, out: mpsc::Sender<Received>, log: Log) {
    let handler: Handler = Arc::new(move |request| {
        let out = out.clone();
        Box::pin(async move { answer(request, &out).await })
    });
    local_http::serve(listener, |_| true, handler, log).await;
}

/// Why a request is refused; the text is the answer's body.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("only POST is understood here")]
    Method,
    #[error("only /v1/traces is served here")]
    Path,
    #[error(
        "content type {0:?} is not understood: send {PROTOBUF}, for example with OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    )]
    ContentType(String),
    #[error("content encoding {0:?} is not understood: send gzip or none")]
    Encoding(String),
    #[error("the body is over {MAX_BODY_BYTES} bytes: export smaller batches")]
    TooLarge,
    #[error(transparent)]
    Body(BodyError),
    #[error("the body could not be decompressed: {0}")]
    Gzip(std::io::Error),
    #[error("the body is not an OTLP ExportTraceServiceRequest: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("the extension is shutting down")]
    Closing,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path => StatusCode::NOT_FOUND,
            Self::ContentType(_) | Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Slow) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(_) | Self::Gzip(_) | Self::Protobuf(_) => StatusCode::BAD_REQUEST,
            Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            other => Self::Body(other),
        }
    }
}

async fn answer(request: Request<Incoming>, out: &mpsc::Sender<Received>) -> Response<Full<Bytes>> {
    match receive(request, out).await {
        Ok(answer) => response(StatusCode::OK, PROTOBUF, answer.encode_to_vec().into()),
        Err(refusal) => response(refusal.status(), "text/plain", refusal.to_string().into()),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

async fn receive(
    request: Request<Incoming>,
    out: &mpsc::Sender<Received>,
) -> Result<ExportTraceServiceResponse, Refusal> {
    if request.uri().path() != "/v1/traces" {
        return Err(Refusal::Path);
    }
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let content_type = header(request.headers(), &CONTENT_TYPE);
    if content_type.split(';').next().map(str::trim) != Some(PROTOBUF) {
        return Err(Refusal::ContentType(content_type));
    }
    let encoding = header(request.headers(), &CONTENT_ENCODING);
    let body = local_http::read_body(request.into_body(), MAX_BODY_BYTES).await?;
    let body = match encoding.as_str() {
        "" | "identity" => body,
        "gzip" => decompress(&body)?,
        _ => return Err(Refusal::Encoding(encoding)),
    };
    let Decoded { resource_spans, unreadable } = otlp_decode::decode(&body)?;
    out.send(Received::Otlp(resource_spans)).await.map_err(|_| Refusal::Closing)?;
    if unreadable == 0 {
        return Ok(ExportTraceServiceResponse::default());
    }
    let lost = Received::Lost { reason: Reason::Unreadable, spans: unreadable };
    out.send(lost).await.map_err(|_| Refusal::Closing)?;
    let partial_success = ExportTracePartialSuccess {
        rejected_spans: unreadable.cast_signed(),
        error_message: "these spans are not valid protobuf, for example a text that is not UTF-8".to_owned(),
    };
    Ok(ExportTraceServiceResponse { partial_success: Some(partial_success) })
}

fn header(headers: &HeaderMap, name: &hyper::header::HeaderName) -> String {
    let value = headers.get(name).map(hyper::header::HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(&value[..value.len().min(100)]).trim().to_ascii_lowercase()
}

fn decompress(body: &[u8]) -> Result<Bytes, Refusal> {
    let limit = u64::try_from(MAX_BODY_BYTES).unwrap_or(u64::MAX);
    let mut plain = Vec::new();
    let read = GzDecoder::new(body).take(limit + 1).read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() > MAX_BODY_BYTES => Err(Refusal::TooLarge),
        Ok(_) => Ok(plain.into()),
        Err(error) => Err(Refusal::Gzip(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::local_http::test_client::send;
    use super::*;
    use crate::log::{Level, test_log};
    use flate2::{Compression, write::GzEncoder};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use std::io::Write as _;

    fn export_request() -> Vec<u8> {
        let scope_spans =
            ScopeSpans { spans: vec![Span { name: "a".into(), ..Span::default() }], ..ScopeSpans::default() };
        let resource_spans =
            vec![ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn with_bad_text() -> Vec<u8> {
        let mut bytes = export_request();
        let name = bytes.len() - 1;
        assert_eq!(bytes[name], b'a');
        bytes[name] = 0xff;
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn requests_and_their_answers() {
        let (out, mut received) = mpsc::channel(16);
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, out, test_log::capture(Level::Debug).0));
        let good = "POST /v1/traces HTTP/1.1\r\ncontent-type: application/x-protobuf";
        let bomb = gzip(&vec![0; MAX_BODY_BYTES + 1]);
        let cases: Vec<(String, Vec<u8>, u16)> = vec![
            (good.into(), export_request(), 200),
            (format!("{good}\r\ncontent-encoding: gzip"), gzip(&export_request()), 200),
            (format!("{good}\r\ncontent-encoding: gzip"), bomb, 413),
            (format!("{good}\r\ncontent-encoding: gzip"), b"plain".to_vec(), 400),
            (good.into(), with_bad_text(), 200),
            (format!("{good}\r\ncontent-encoding: br"), export_request(), 415),
            (good.into(), vec![0; MAX_BODY_BYTES + 1], 413),
            (good.into(), b"\xff\xff\xff".to_vec(), 400),
            ("POST /v1/traces HTTP/1.1\r\ncontent-type: application/json".into(), b"{}".to_vec(), 415),
            ("GET /v1/traces HTTP/1.1".into(), Vec::new(), 405),
            ("POST /v1/metrics HTTP/1.1".into(), Vec::new(), 404),
        ];
        for (head, body, status) in &cases {
            assert_eq!(send(address, head, body).await, *status, "{head}");
        }
        let (mut spans, mut lost) = (0, 0);
        while let Ok(received) = received.try_recv() {
            match received {
                Received::Otlp(resource_spans) => {
                    let scopes = resource_spans.iter().flat_map(|one| &one.scope_spans);
                    spans += scopes.map(|one| one.spans.len()).sum::<usize>();
                }
                Received::Lost { reason: Reason::Unreadable, spans } => lost += spans,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((spans, lost), (2, 1), "a text that is not UTF-8 is counted");
        server.abort();
    }
}

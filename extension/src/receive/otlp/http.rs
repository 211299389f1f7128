//! OTLP over HTTP, for a function that carries an OpenTelemetry SDK of its own.
//!
//! Protobuf and JSON on `/v1/traces`, `/v1/metrics` and `/v1/logs`, plain, gzip or deflate, on a loopback address. Everything is
//! bounded: connections, headers, bodies before and after decompression, and time.

use super::intake::{Compression, Encoding, Intake, LeftOut, MAX_REQUEST_BYTES, Refusal};
use super::status;
use crate::log::Log;
use crate::receive::bounds::local_http::{self, BodyError, Handler};
use crate::received::OtlpSignal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Binds the receiver's address.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    local_http::bind(address)
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, intake: Intake, log: Log) {
    local_http::serve(listener, |_| true, handler(intake), log).await;
}

fn handler(intake: Intake) -> Handler {
    Arc::new(move |request| {
        let intake = intake.clone();
        Box::pin(async move { answer(request, &intake).await })
    })
}

/// Why a request is refused; the text is in the answer's body.
#[derive(Debug, thiserror::Error)]
enum HttpRefusal {
    #[error("only POST is understood here")]
    Method,
    #[error("only /v1/traces, /v1/metrics and /v1/logs are served here")]
    Path,
    #[error("content type {0:?} is not understood: send {PROTOBUF} or {JSON}")]
    ContentType(String),
    #[error("content encoding {0:?} is not understood: send gzip, deflate or none")]
    ContentEncoding(String),
    #[error(transparent)]
    Body(BodyError),
    #[error(transparent)]
    Request(#[from] Refusal),
}

impl HttpRefusal {
    /// The status by which clients decide whether to try again, and the one for the body.
    fn status(&self) -> (StatusCode, status::Code) {
        use status::Code;
        match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Self::Path => (StatusCode::NOT_FOUND, Code::Unimplemented),
            Self::ContentType(_) | Self::ContentEncoding(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
            }
            Self::Body(BodyError::Slow) => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Self::Body(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Self::Request(refusal) => {
                let code = Code::of(refusal);
                let status = match code {
                    Code::ResourceExhausted => StatusCode::PAYLOAD_TOO_LARGE,
                    Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::BAD_REQUEST,
                };
                (status, code)
            }
        }
    }
}

impl From<BodyError> for HttpRefusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::Request(Refusal::TooLarge),
            BodyError::MadeWay => Self::Request(Refusal::Busy),
            other => Self::Body(other),
        }
    }
}

async fn answer(request: Request<Incoming>, intake: &Intake) -> Response<Full<Bytes>> {
    let is_json = essence(&header(request.headers(), &CONTENT_TYPE)) == JSON;
    let (status, body) = match receive(request, is_json, intake).await {
        Ok(left_out) => (StatusCode::OK, status::answer(left_out.spans, &left_out.why, is_json)),
        Err(refusal) => {
            let (status, code) = refusal.status();
            (status, status::status(code, &refusal.to_string(), is_json))
        }
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(if is_json { JSON } else { PROTOBUF }));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Takes the request in, and returns which of its spans could not be read.
async fn receive(request: Request<Incoming>, is_json: bool, intake: &Intake) -> Result<LeftOut, HttpRefusal> {
    let name = request.uri().path().strip_prefix("/v1/").unwrap_or_default();
    let signal = OtlpSignal::ALL.into_iter().find(|signal| signal.name() == name);
    let signal = signal.ok_or(HttpRefusal::Path)?;
    if request.method() != Method::POST {
        return Err(HttpRefusal::Method);
    }
    let content_type = header(request.headers(), &CONTENT_TYPE);
    if !is_json && essence(&content_type) != PROTOBUF {
        return Err(HttpRefusal::ContentType(content_type));
    }
    let content_encoding = header(request.headers(), &CONTENT_ENCODING);
    let Some(compression) = Compression::of(&content_encoding) else {
        return Err(HttpRefusal::ContentEncoding(content_encoding));
    };
    let bytes = request.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let room = intake.room(bytes.unwrap_or(MAX_REQUEST_BYTES)).await?;
    let body = local_http::read_body(request, MAX_REQUEST_BYTES, Some(&room.place)).await?;
    Ok(intake.take(signal, Encoding { is_json, compression }, body).await?)
}

fn header(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(&value[..value.len().min(100)]).trim().to_ascii_lowercase()
}

/// A content type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Reason;
    use crate::log::{self, test_log};
    use crate::receive::bounds::inlet::Inlet;
    use crate::receive::bounds::local_http::test_client::send;
    use crate::receive::bounds::places::{IDLE_TIME, Places};
    use crate::received::{Received, SpansPart};
    use flate2::Compression as Level;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message as _;
    use std::io::Write as _;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    fn export_request() -> Vec<u8> {
        let scope_spans =
            ScopeSpans { spans: vec![Span { name: "a".into(), ..Span::default() }], ..ScopeSpans::default() };
        let resource_spans =
            vec![ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    const JSON_REQUEST: &[u8] =
        br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"traceId":"?"}]}]}]}"#;

    fn empty_spans(count: usize) -> Vec<u8> {
        let scope_spans = ScopeSpans { spans: vec![Span::default(); count], ..ScopeSpans::default() };
        let resource_spans = ResourceSpans { scope_spans: vec![scope_spans], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
    }

    fn with_bad_text() -> Vec<u8> {
        let mut bytes = export_request();
        let name = bytes.len() - 1;
        assert_eq!(bytes[name], b'a');
        bytes[name] = 0xff;
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// As the conductor does: what is taken in makes way for the next.
    async fn collect(mut received: mpsc::Receiver<Received>) -> Vec<Received> {
        let mut all = Vec::new();
        while let Some(received) = received.recv().await {
            match received {
                Received::Next(_) => {}
                Received::Weighed(large, _room) => all.push(*large),
                received => all.push(received),
            }
        }
        all
    }

    #[tokio::test]
    async fn requests_and_their_answers() {
        let (out, received) = mpsc::channel(16);
        let received = tokio::spawn(collect(received));
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(
            listener,
            Intake::new(Inlet::new(out)),
            test_log::capture(log::Level::Debug).0,
        ));
        let good = "POST /v1/traces HTTP/1.1\r\ncontent-type: application/x-protobuf";
        let json = "POST /v1/traces HTTP/1.1\r\ncontent-type: application/json";
        let bomb = gzip(&vec![0; MAX_REQUEST_BYTES + 1]);
        let cases: Vec<(String, Vec<u8>, u16)> = vec![
            (good.into(), export_request(), 200),
            (format!("{good}\r\ncontent-encoding: gzip"), gzip(&export_request()), 200),
            (format!("{good}\r\ncontent-encoding: gzip"), bomb, 413),
            (format!("{good}\r\ncontent-encoding: deflate"), zlib(&export_request()), 200),
            (format!("{good}\r\ncontent-encoding: deflate"), deflated(&export_request()), 200),
            (format!("{good}\r\ncontent-encoding: deflate"), zlib(&vec![0; MAX_REQUEST_BYTES + 1]), 413),
            (format!("{good}\r\ncontent-encoding: deflate"), b"plain".to_vec(), 400),
            (format!("{good}\r\ncontent-encoding: gzip"), b"plain".to_vec(), 400),
            (good.into(), with_bad_text(), 200),
            (format!("{good}\r\ncontent-encoding: br"), export_request(), 415),
            (good.into(), vec![0; MAX_REQUEST_BYTES + 1], 413),
            (good.into(), b"\xff\xff\xff".to_vec(), 400),
            (good.into(), empty_spans(100_000), 200),
            (json.into(), JSON_REQUEST.into(), 200),
            (format!("{json}; charset=utf-8\r\ncontent-encoding: gzip"), gzip(JSON_REQUEST), 200),
            (json.into(), b"[]".to_vec(), 400),
            ("POST /v1/traces HTTP/1.1\r\ncontent-type: text/plain".into(), b"{}".to_vec(), 415),
            ("GET /v1/traces HTTP/1.1".into(), Vec::new(), 405),
            (good.replace("traces", "metrics"), b"m".to_vec(), 200),
            (json.replace("traces", "logs"), b"{}".to_vec(), 200),
            (format!("{json}\r\ncontent-encoding: deflate").replace("traces", "logs"), deflated(b"[]"), 200),
            (format!("{json}\r\ncontent-encoding: deflate").replace("traces", "logs"), b"[]".to_vec(), 400),
            (good.replace("traces", "profiles"), Vec::new(), 404),
        ];
        for (head, body, status) in &cases {
            assert_eq!(send(address, head, body).await, *status, "{head}");
        }
        let (mut spans, mut lost, mut relayed) = (0, 0, Vec::new());
        server.abort();
        for received in received.await.unwrap() {
            match received {
                Received::Spans(SpansPart { spans: part, .. }) => spans += part.len(),
                Received::Lost { reason: Reason::Unreadable, spans } => lost += spans,
                Received::Relayed(request) => relayed.push((request.signal, request.is_json, request.body)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((spans, lost), (100_006, 3), "what can't be read is counted");
        let expected = [
            (OtlpSignal::Metrics, false, "m".into()),
            (OtlpSignal::Logs, true, "{}".into()),
            (OtlpSignal::Logs, true, "[]".into()),
        ];
        assert_eq!(relayed, expected);
    }

    const MIB: usize = 1024 * 1024;

    /// A client that has sent so much of a body's length.
    async fn sending(places: &Places, intake: &Intake, length: usize, sent: usize) -> DuplexStream {
        let (ours, mut client) = tokio::io::duplex(64 * 1024);
        tokio::spawn(local_http::serve_one(ours, places.take().await, handler(intake.clone())));
        let head = format!(
            "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {length}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![0; sent]).await.unwrap();
        client
    }

    async fn status_of(mut client: DuplexStream) -> u16 {
        let mut head = [0; 12];
        client.read_exact(&mut head).await.unwrap();
        String::from_utf8_lossy(&head)[9..].parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_stalled_with_half_a_body_makes_way_for_whoever_needs_its_room() {
        let (out, received) = mpsc::channel(16);
        let (_collecting, intake) = (tokio::spawn(collect(received)), Intake::new(Inlet::new(out)));
        let places = Places::new(208, IDLE_TIME);
        let longest = sending(&places, &intake, 3 * MIB, MIB).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut shorter = sending(&places, &intake, 3 * MIB, MIB).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let mut newcomer = sending(&places, &intake, MIB, 0).await;
        newcomer.write_all(&vec![0; MIB]).await.unwrap();
        assert_eq!(status_of(newcomer).await, 200);
        assert!(begun.elapsed() <= Duration::from_millis(100), "{:?}", begun.elapsed());
        assert_eq!(status_of(longest).await, 503, "it is told to try again");
        shorter.write_all(&vec![0; 2 * MIB]).await.unwrap();
        assert_eq!(status_of(shorter).await, 200, "nobody needed its room");
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_go_on_and_have_no_room_beside_each_other_are_served_one_after_the_other() {
        let (out, received) = mpsc::channel(16);
        let (_collecting, intake) = (tokio::spawn(collect(received)), Intake::new(Inlet::new(out)));
        let places = Places::new(208, IDLE_TIME);
        let mut first = sending(&places, &intake, 4 * MIB, MIB).await;
        let mut second = sending(&places, &intake, 4 * MIB, 0).await;
        let second = tokio::spawn(async move {
            second.write_all(&vec![0; 4 * MIB]).await.unwrap();
            status_of(second).await
        });
        // Slow, and never still for as long as somebody waits before it asks.
        for _ in 0..48 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            first.write_all(&vec![0; MIB / 16]).await.unwrap();
        }
        assert_eq!((status_of(first).await, second.await.unwrap()), (200, 200));
    }
}

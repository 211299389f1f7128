//! What the SDK never does: requests that are wrong by themselves.

use super::{TRACE, document};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use otel_xray_local::xray::{Cut, Endpoint};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AKID/20261121/eu-west-1/xray/aws4_request, SignedHeaders=host;x-amz-date, Signature=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Status, error type and body.
async fn send(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    authorization: &str,
    body: String,
) -> (u16, String, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", endpoint.url()))
        .header("authorization", authorization)
        .header("x-amz-date", "20261121T060000Z")
        .body(Full::from(body))
        .unwrap();
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.unwrap();
    let kind =
        response.headers().get("x-amzn-errortype").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, serde_json::from_slice(&body).unwrap())
}

async fn start() -> Endpoint {
    Endpoint::start((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap()
}

#[tokio::test]
async fn pts_4_requests_that_are_wrong_are_told_so_and_keep_nothing() {
    let endpoint = start().await;
    let good = json!({"TraceSegmentDocuments": [document(1, None, &json!({}))]}).to_string();
    let object = json!({"TraceSegmentDocuments": [{"id": "0000000000000001"}]}).to_string();
    let unsigned = "AWS4-HMAC-SHA256 Credential=AKID/20261121/eu-west-1/logs/aws4_request";
    // No more than the endpoint reads, so that its answer does not meet a client that is still sending.
    let large = "x".repeat(16 * 1024 * 1024 + 1);
    for (method, path, authorization, body, status, kind) in [
        ("POST", "/TraceSegments", "", good.as_str(), 403, "MissingAuthenticationTokenException"),
        ("POST", "/TraceSegments", unsigned, &good, 403, "IncompleteSignatureException"),
        ("POST", "/TraceSegments", SIGNATURE, "{", 400, "InvalidRequestException"),
        ("POST", "/TraceSegments", SIGNATURE, "", 400, "InvalidRequestException"),
        ("POST", "/TraceSegments", SIGNATURE, "[]", 400, "InvalidRequestException"),
        ("POST", "/TraceSegments", SIGNATURE, &object, 400, "InvalidRequestException"),
        ("POST", "/TraceSegments", SIGNATURE, &large, 413, "RequestEntityTooLargeException"),
        ("GET", "/TraceSegments", SIGNATURE, &good, 404, "UnknownOperationException"),
        ("POST", "/EncryptionConfig", SIGNATURE, "{}", 404, "UnknownOperationException"),
        ("POST", "/Traces", SIGNATURE, "{}", 400, "InvalidRequestException"),
        ("POST", "/TraceSummaries", SIGNATURE, "{}", 400, "InvalidRequestException"),
        (
            "POST",
            "/ServiceGraph",
            SIGNATURE,
            r#"{"StartTime": "now", "EndTime": 1}"#,
            400,
            "InvalidRequestException",
        ),
        (
            "POST",
            "/TelemetryRecords",
            SIGNATURE,
            r#"{"TelemetryRecords": [{}]}"#,
            400,
            "InvalidRequestException",
        ),
    ] {
        let (seen_status, seen_kind, answer) =
            send(&endpoint, method, path, authorization, body.to_owned()).await;
        let about = format!("{method} {path} {}", body.chars().take(60).collect::<String>());
        assert_eq!((seen_status, seen_kind.as_str()), (status, kind), "{about}: {answer}");
        assert!(answer["Message"].as_str().is_some_and(|message| !message.is_empty()), "{about}: {answer}");
    }
    assert_eq!(endpoint.store().traces(), []);
    assert_eq!(endpoint.requests().len(), 13, "refused requests are counted too");
    let (status, kind, answer) = send(&endpoint, "POST", "/TraceSegments", SIGNATURE, good).await;
    assert_eq!((status, kind.as_str(), answer), (200, "", json!({"UnprocessedTraceSegments": []})));
    assert!(endpoint.store().trace(TRACE).is_some());
}

#[tokio::test]
async fn only_a_loopback_address_is_listened_on() {
    let error = Endpoint::start((Ipv4Addr::UNSPECIFIED, 0).into()).await.unwrap_err();
    assert!(error.to_string().contains("not a loopback address"), "{error}");
}

/// What a client sees that sends on its connection, loses the network for a moment, and sends again.
#[tokio::test]
async fn sim_12_connections_are_closed_reset_or_left_dead() {
    use std::io::ErrorKind;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const SHORT: Duration = Duration::from_millis(300);
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    for cut in [Cut::Close, Cut::Reset, Cut::Stall] {
        let endpoint = start().await;
        let mut stream = tokio::net::TcpStream::connect(endpoint.addr()).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = [0; 4096];
        assert!(stream.read(&mut answer).await.unwrap() > 0);
        endpoint.connections().cut(cut);
        let wait = if matches!(cut, Cut::Stall) { SHORT } else { Duration::from_mins(3) };
        let end = tokio::time::timeout(wait, stream.read(&mut answer)).await;
        match cut {
            Cut::Close => assert_eq!(end.unwrap().unwrap(), 0),
            Cut::Reset => assert_eq!(end.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset),
            Cut::Stall => {
                assert!(end.is_err(), "it stays open");
                stream.write_all(request).await.unwrap();
                let answered = tokio::time::timeout(SHORT, stream.read(&mut answer)).await;
                assert!(answered.is_err(), "and is not answered");
            }
        }
        let mut another = tokio::net::TcpStream::connect(endpoint.addr()).await.unwrap();
        another.write_all(request).await.unwrap();
        assert!(another.read(&mut answer).await.unwrap() > 0, "later ones are served");
    }
}

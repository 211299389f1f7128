//! Answers that are not X-Ray's, or not a collector's: nothing is lost by them, and nothing is read without an end.

use crate::stage::{Stage, batch};
use flate2::{Compression, write::GzEncoder};
use otel_xray::settings::OutletKind;
use serde_json::json;
use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a connection can swallow that nobody reads, several times over.
const UNREAD: u64 = 32 << 20;
const MINUTE: Duration = Duration::from_secs(61);

#[derive(Clone)]
enum Answer {
    Once(Vec<u8>),
    /// The second is sent again and again until nobody takes it.
    Endless(Vec<u8>, Vec<u8>),
    /// The second is sent a byte at a time, and never ends.
    Drip(Vec<u8>, u8),
}

/// Somebody who gives these answers, the last one for ever.
#[derive(Clone, Default)]
struct Stranger {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<AtomicUsize>,
    written: Arc<AtomicU64>,
}

impl Stranger {
    async fn start(answers: &[Answer]) -> (Self, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stranger =
            Self { answers: Arc::new(Mutex::new(answers.iter().cloned().collect())), ..Self::default() };
        let serving = stranger.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stranger = serving.clone();
                tokio::spawn(async move { stranger.serve(stream).await });
            }
        });
        (stranger, address)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            read_request(&mut stream).await?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let answer = {
                let mut answers = self.answers.lock().unwrap();
                if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
            };
            match answer? {
                Answer::Once(bytes) => self.write(&mut stream, &bytes).await?,
                Answer::Endless(head, more) => {
                    self.write(&mut stream, &head).await?;
                    loop {
                        self.write(&mut stream, &more).await?;
                    }
                }
                Answer::Drip(head, more) => {
                    self.write(&mut stream, &head).await?;
                    loop {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        self.write(&mut stream, &[more]).await?;
                    }
                }
            }
        }
    }

    async fn write(&self, stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
        stream.write_all(bytes).await.ok()?;
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Some(())
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Some(());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Answer::Once([head.as_bytes(), body].concat())
}

const HTML: &str = "content-type: text/html\r\n";
const JSON: &str = "content-type: application/json\r\n";
const X_RAY: &[u8] = br#"{"UnprocessedTraceSegments":[]}"#;

fn chunk() -> Vec<u8> {
    [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An outlet and somebody at its other side.
async fn stage(kind: OutletKind, answers: &[Answer]) -> (Stage, Stranger) {
    let (stranger, address) = Stranger::start(answers).await;
    let variables = [
        ("AWS_ENDPOINT_URL_XRAY", format!("http://{address}")),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{address}/v1/traces")),
    ];
    let mut stage = Stage::with(&[kind], &variables, 1 << 20).await;
    stage.at = format!("http://{address}");
    (stage, stranger)
}

#[tokio::test]
async fn p2_what_is_not_x_rays_answer_keeps_the_spans_until_x_ray_answers() {
    for (status, headers, body) in [
        ("200 OK", HTML, &b"<html>sign in</html>"[..]),
        ("200 OK", JSON, b"{}"),
        ("200 OK", JSON, br#"{"status":"ok"}"#),
        ("200 OK", JSON, b""),
        ("200 OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n", b"\x1f\x8b\x08\x00"),
        ("204 No Content", "", b""),
        ("301 Moved", "location: http://elsewhere/\r\n", b""),
        ("302 Found", "location: https://portal/login?to=x\r\n", b""),
        ("307 Temporary Redirect", "location: /other\r\n", b""),
        ("400 Bad Request", HTML, b"<html>"),
        ("401 Unauthorized", HTML, b"<html>"),
        ("403 Forbidden", HTML, b"<html>blocked</html>"),
        ("404 Not Found", HTML, b"<html>"),
        ("404 Not Found", JSON, br#"{"message":"no such thing"}"#),
        ("405 Method Not Allowed", "", b""),
        ("407 Proxy Authentication Required", HTML, b"<html>"),
    ] {
        let (mut stage, stranger) =
            stage(OutletKind::Xray, &[answer(status, headers, body), answer("200 OK", JSON, X_RAY)]).await;
        stage.flush(batch(1, 3)).await;
        let told = format!("{} answered {}", stage.at, &status[..3]);
        assert_eq!(
            (stage.carried(), stranger.requests(), stage.said(&told)),
            (3, 1, 1),
            "{status} {headers} {:?}",
            stage.lines
        );
        assert_eq!(stage.said("xray:PutTraceSegments"), 0, "{status}");
        assert_eq!(stage.said("<html>") + stage.said("no such thing"), 0, "no body in a line");
        stage.frozen += MINUTE;
        stage.begin_invocation();
        stage.flush(batch(2, 1)).await;
        stage.recover().await;
        assert_eq!((stage.carried(), stage.sent()), (0, 4), "{status}");
        assert_eq!(stage.accounts("xray")["rejected"], json!({}), "{status}");
    }
}

#[tokio::test]
async fn p2_408_and_its_kin_are_tried_again_at_once() {
    for status in ["408 Request Timeout", "425 Too Early", "502 Bad Gateway", "504 Gateway Timeout"] {
        for (kind, name, taken) in [(OutletKind::Xray, "xray", X_RAY), (OutletKind::Otlp, "otlp", b"{}")] {
            let (mut stage, stranger) =
                stage(kind, &[answer(status, HTML, b"<html>"), answer("200 OK", JSON, taken)]).await;
            stage.flush(batch(1, 3)).await;
            assert_eq!(
                (stranger.requests(), &stage.accounts(name)["sent"]),
                (2, &json!(3)),
                "{status} {name}"
            );
        }
    }
}

#[tokio::test]
async fn p2_what_is_no_collectors_answer_keeps_the_spans_until_one_answers() {
    for (status, headers, body) in [
        ("200 OK", HTML, &b"<html>sign in</html>"[..]),
        ("200 OK", "", b"<!doctype html>"),
        ("200 OK", JSON, br#"{"message":"<html>"}"#),
        ("200 OK", JSON, b"null"),
        ("200 OK", JSON, b"[]"),
        ("200 OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n", b"\x1f\x8b\x08\x00"),
        ("206 Partial Content", JSON, b"{}"),
        ("302 Found", "location: https://portal/login?to=x\r\n", b""),
        ("308 Permanent Redirect", "location: /other\r\n", b""),
        ("401 Unauthorized", "", b"no"),
        ("403 Forbidden", HTML, b"<html>"),
        ("404 Not Found", "", b"404 page not found"),
        ("407 Proxy Authentication Required", HTML, b"<html>"),
    ] {
        let (mut stage, stranger) =
            stage(OutletKind::Otlp, &[answer(status, headers, body), answer("200 OK", "", b"")]).await;
        stage.flush(batch(1, 3)).await;
        let told = format!("{}/v1/traces answered {}", stage.at, &status[..3]);
        assert_eq!(
            (stage.carried(), stranger.requests(), stage.said(&told)),
            (3, 1, 1),
            "{status} {headers} {:?}",
            stage.lines
        );
        assert_eq!(stage.said("<html>") + stage.said("page not found"), 0, "no body in a line");
        stage.frozen += MINUTE;
        stage.begin_invocation();
        stage.flush(batch(2, 1)).await;
        stage.recover().await;
        assert_eq!((stage.carried(), stage.accounts("otlp")["sent"].clone()), (0, json!(4)), "{status}");
        assert_eq!(stage.accounts("otlp")["rejected"], json!({}), "{status}");
    }
}

#[tokio::test]
async fn p1_no_answer_is_read_without_an_end() {
    let chunked =
        |status: &str| format!("HTTP/1.1 {status}\r\n{JSON}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes();
    let long = 594_000_000;
    let bomb = gzipped(&vec![b' '; 64 << 20]);
    for (what, answers) in [
        ("endless", Answer::Endless(chunked("200 OK"), chunk())),
        ("endless error", Answer::Endless(chunked("400 Bad Request"), chunk())),
        ("endless page", Answer::Endless(chunked("404 Not Found"), chunk())),
        (
            "long",
            Answer::Endless(head(&format!("{JSON}content-length: {long}\r\n\r\n")), vec![b' '; 1 << 16]),
        ),
        ("no length", Answer::Endless(head("connection: close\r\n\r\n"), vec![b'{'; 1 << 16])),
        ("endless header", Answer::Endless(head("x: "), vec![b'x'; 1 << 16])),
        ("endless headers", Answer::Endless(head(""), b"x-some: thing\r\n".repeat(1 << 12))),
        (
            "unpacks to much",
            answer("200 OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n", &bomb),
        ),
    ] {
        for (kind, name) in [(OutletKind::Xray, "xray"), (OutletKind::Otlp, "otlp")] {
            let (mut stage, stranger) = stage(kind, std::slice::from_ref(&answers)).await;
            stage.flush(batch(1, 3)).await;
            let (written, tries) = (stranger.written.load(Ordering::Relaxed), stranger.requests() as u64);
            assert!(
                tries > 0 && written < UNREAD * tries,
                "{what} {name}: {written} bytes in {tries} answers"
            );
            let refused = what == "endless error" && name == "xray";
            assert!(stage.carried() == 3 || refused, "{what} {name}: {}", stage.accounts(name));
        }
    }
}

#[tokio::test]
async fn p4_an_answer_that_drips_ends_with_the_flush() {
    let whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
    for head in [&whole[..], b"HTTP/1.1 200 OK\r\nx: "] {
        for kind in [OutletKind::Xray, OutletKind::Otlp] {
            let (mut stage, _) = stage(kind, &[Answer::Drip(head.to_vec(), b' ')]).await;
            let flush = stage.flush_within(batch(1, 3), Duration::from_millis(200));
            tokio::time::timeout(Duration::from_secs(10), flush).await.expect("the flush ends with its time");
            assert_eq!(stage.carried(), 3);
        }
    }
}

#[tokio::test]
async fn pts_3_a_refusal_does_not_repeat_the_document() {
    let body = json!({"UnprocessedTraceSegments": [
        {"Id": null, "ErrorCode": "InvalidName {\"work\"}", "Message": "Invalid segment name: shop, also (Shop)"},
    ]});
    let (mut stage, _) =
        stage(OutletKind::Xray, &[answer("200 OK", JSON, body.to_string().as_bytes())]).await;
    stage.flush(batch(1, 1)).await;
    assert_eq!(stage.said("InvalidName: Invalid segment name: …, also (…)"), 1, "{:?}", stage.lines);
    assert_eq!(stage.accounts("xray")["rejected"], json!({"InvalidName": 1}));
}

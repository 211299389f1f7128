use super::super::http2::test_client::{self as client, Client, DATA, END_HEADERS, Frame, GOAWAY, SETTINGS};
use super::*;
use crate::log::{Level, test_log};
use crate::receive::bounds::inlet::Inlet;
use crate::receive::bounds::places::{IDLE_TIME, Places};
use crate::received::Received;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

fn message() -> Vec<u8> {
    let spans = vec![Span { name: "a".into(), ..Span::default() }];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut body = vec![flag];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(message);
    body
}

fn call(path: &str, body: Vec<u8>) -> Request {
    Request {
        stream: 1,
        method: "POST".into(),
        path: format!("/opentelemetry.proto.collector.{path}"),
        content_type: "application/grpc".into(),
        encoding: "gzip".into(),
        body,
        is_too_large: false,
    }
}

const TRACES: &str = "trace.v1.TraceService/Export";

#[tokio::test]
async fn calls_and_their_statuses() {
    let (out, mut received) = mpsc::channel(64);
    let intake = Intake::new(Inlet::new(out));
    let taking = tokio::spawn(async move {
        let mut spans = 0;
        let mut relayed = Vec::new();
        while let Some(received) = received.recv().await {
            match received {
                Received::Spans(part) => spans += part.spans.len(),
                Received::Relayed(request) => relayed.push((request.signal, request.is_gzip, request.body)),
                _ => {}
            }
        }
        (spans, relayed)
    });
    let mut bad_text = message();
    *bad_text.last_mut().unwrap() = 0xff;
    let plain = || framed(0, &message());
    let cases = vec![
        (call(TRACES, plain()), Code::Ok),
        (call(TRACES, framed(1, &gzip(&message()))), Code::Ok),
        (Request { encoding: "deflate".into(), ..call(TRACES, framed(1, &zlib(&message()))) }, Code::Ok),
        (Request { encoding: "deflate".into(), ..call(TRACES, framed(1, b"not so")) }, Code::InvalidArgument),
        (call(TRACES, framed(0, &bad_text)), Code::Ok),
        (call(TRACES, framed(0, &[])), Code::Ok),
        (call("metrics.v1.MetricsService/Export", framed(0, b"m")), Code::Ok),
        (call("logs.v1.LogsService/Export", framed(1, b"l")), Code::Ok),
        (call("profiles.v1development.ProfilesService/Export", plain()), Code::Unimplemented),
        (Request { method: "GET".into(), ..call(TRACES, plain()) }, Code::Unimplemented),
        (Request { content_type: "application/json".into(), ..call(TRACES, plain()) }, Code::Unimplemented),
        (
            Request { content_type: "application/grpc+json".into(), ..call(TRACES, plain()) },
            Code::Unimplemented,
        ),
        (Request { content_type: "application/grpc+proto".into(), ..call(TRACES, plain()) }, Code::Ok),
        (Request { encoding: "zstd".into(), ..call(TRACES, framed(1, b"")) }, Code::Unimplemented),
        (Request { encoding: String::new(), ..call(TRACES, framed(1, b"")) }, Code::Internal),
        (call(TRACES, framed(2, b"")), Code::Internal),
        (call(TRACES, vec![0; 4]), Code::Internal),
        (call(TRACES, [plain(), plain()].concat()), Code::Internal),
        (call(TRACES, framed(0, b"\xff")), Code::InvalidArgument),
        (call(TRACES, framed(1, b"no gzip")), Code::InvalidArgument),
        (call(TRACES, framed(1, &gzip(&vec![0; MAX_REQUEST_BYTES + 1]))), Code::ResourceExhausted),
        (Request { is_too_large: true, ..call(TRACES, Vec::new()) }, Code::ResourceExhausted),
    ];
    for (request, code) in cases {
        let name = format!("{request:.300?}");
        let answer = receive(request, &intake).await;
        let got = answer.as_ref().map_or_else(GrpcRefusal::code, |_| Code::Ok);
        assert_eq!(got, code, "{name}");
    }
    drop(intake);
    let (spans, relayed) = taking.await.unwrap();
    assert_eq!(spans, 4);
    let expected =
        [(OtlpSignal::Metrics, false, Bytes::from("m")), (OtlpSignal::Logs, true, Bytes::from("l"))];
    assert_eq!(relayed, expected);
}

#[test]
fn an_answer_says_what_was_left_out_and_a_refusal_why() {
    let left_out = LeftOut { spans: 2, why: "no UTF-8".into() };
    let body = taken(&left_out).body.unwrap();
    let partial = ExportTraceServiceResponse::decode(&body[PREFIX_BYTES..]).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, body[4]), (2, u8::try_from(body.len() - PREFIX_BYTES).unwrap()));
    assert_eq!(partial.error_message, "no UTF-8");
    let refusal = refused(&GrpcRefusal::Encoding("br%é".into()));
    assert_eq!(refusal.headers[1], ("grpc-status", "12".into()));
    assert!(refusal.headers[2].1.contains("br%25%C3%A9"), "{:?}", refusal.headers);
    assert_eq!(refusal.headers[3], ("grpc-accept-encoding", "identity,deflate,gzip".into()));
    assert!(refusal.body.is_none() && refusal.status == StatusCode::OK);
    assert_eq!(refused(&GrpcRefusal::NotGrpc).status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

/// All that a client is told which writes this, and then nothing more.
async fn told_after(words: &[u8]) -> Vec<Frame> {
    let (out, _received) = mpsc::channel(1);
    let listener = local_http::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let server =
        tokio::spawn(serve(listener, Intake::new(Inlet::new(out)), test_log::capture(Level::Debug).0));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words).await.unwrap();
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await.unwrap();
    server.abort();
    client::frames(&told)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stalls_is_cut() {
    let told = told_after(b"PRI * HTTP/2.0\r\n").await;
    assert_eq!(told.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [SETTINGS]);
    let call = export(1);
    for words in [
        &Client::new().0,
        &Client::new().headers(0, 1).0,
        &[&Client::new().0[..], &call[..call.len() - 1]].concat(),
    ] {
        let told = told_after(words).await;
        assert_eq!(told.last().map(|frame| (frame.kind, frame.payload[7])), Some((GOAWAY, client::NO_ERROR)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_speaks_something_else_is_cut() {
    for words in [&b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01"] {
        let told = told_after(words).await;
        assert_eq!(told.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [SETTINGS]);
    }
}

/// Frames that a client has been sent, until a whole one of this kind; or the connection's end.
async fn until(client: &mut DuplexStream, kind: u8) -> bool {
    let mut head = [0; 9];
    while client.read_exact(&mut head).await.is_ok() {
        let length = usize::from(head[1]) * 256 + usize::from(head[2]);
        client.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == kind {
            return true;
        }
    }
    false
}

/// A client, after the connection's first words.
async fn connect(places: &Places, intake: &Intake) -> DuplexStream {
    let (ours, mut client) = tokio::io::duplex(64 * 1024);
    tokio::spawn(converse(ours, places.take().await, intake.clone()));
    client.write_all(&Client::new().0).await.unwrap();
    assert!(until(&mut client, SETTINGS).await && until(&mut client, SETTINGS).await);
    client
}

/// A whole call on this stream.
fn export(stream: u8) -> Vec<u8> {
    let stream = stream.into();
    Client::default().headers(END_HEADERS, stream).frame(DATA, client::END_STREAM, stream, &[0; 5]).0
}

fn taking_intake() -> Intake {
    let (out, mut received) = mpsc::channel(64);
    tokio::spawn(async move { while received.recv().await.is_some() {} });
    Intake::new(Inlet::new(out))
}

#[tokio::test(start_paused = true)]
async fn l_8_5_l_8_6_an_idle_connection_outlives_65_seconds_and_any_freeze() {
    let intake = taking_intake();
    let mut client = connect(&Places::new(1, IDLE_TIME), &intake).await;
    for number in 0..20 {
        client.write_all(&export(1 + 4 * number)).await.unwrap();
        assert!(until(&mut client, DATA).await, "{number}");
        tokio::time::sleep(Duration::from_secs(65)).await;
        tokio::time::advance(Duration::from_hours(1)).await;
        client.write_all(&export(3 + 4 * number)).await.unwrap();
        assert!(until(&mut client, DATA).await, "{number}, after a freeze");
    }
    assert!(until(&mut client, GOAWAY).await, "at last it is told to go");
    assert!(!until(&mut client, GOAWAY).await);
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_is_told_to_go_and_never_one_in_the_middle_of_a_call() {
    let intake = taking_intake();
    let places = Places::new(3, IDLE_TIME);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(connect(&places, &intake).await);
    }
    let call = export(1);
    clients[0].write_all(&call[..call.len() - 1]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    let mut newcomer = connect(&places, &intake).await;
    newcomer.write_all(&call).await.unwrap();
    assert!(until(&mut newcomer, DATA).await);
    assert!(until(&mut clients[1], GOAWAY).await && !until(&mut clients[1], GOAWAY).await);
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");
    for (client, rest) in [(0, &call[call.len() - 1..]), (2, &call[..])] {
        clients[client].write_all(rest).await.unwrap();
        assert!(until(&mut clients[client], DATA).await, "{client}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_waits_for_no_call_that_has_stalled() {
    let intake = taking_intake();
    let call = export(1);
    for most in [3, 208] {
        let places = Places::new(most, IDLE_TIME);
        let begun = tokio::time::Instant::now();
        let mut stalled = Vec::new();
        for _ in 0..most + 100 {
            let mut client = connect(&places, &intake).await;
            client.write_all(&call[..call.len() - 1]).await.unwrap();
            tokio::task::yield_now().await;
            stalled.push(client);
        }
        let mut newcomer = connect(&places, &intake).await;
        newcomer.write_all(&call).await.unwrap();
        assert!(until(&mut newcomer, DATA).await, "{most}");
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited, {most}");
        let last = stalled.last_mut().unwrap();
        last.write_all(&call[call.len() - 1..]).await.unwrap();
        assert!(until(last, DATA).await, "who came last is still waited for, {most}");
        assert!(until(&mut stalled[0], GOAWAY).await && !until(&mut stalled[0], GOAWAY).await);
    }
}

/// The beginning of a call that is larger than what a connection may hold without room. It may be sent before the client
/// knows how much that is.
fn large_beginning() -> Vec<u8> {
    let acknowledged = Client::default().frame(SETTINGS, client::ACK, 0, &[]);
    (0..5).fold(acknowledged.headers(END_HEADERS, 1), |client, _| client.frame(DATA, 0, 1, &[0; 0x3c00])).0
}

#[tokio::test(start_paused = true)]
async fn a_large_call_that_has_stalled_makes_way_for_whoever_needs_its_room() {
    let intake = taking_intake();
    let places = Places::new(208, IDLE_TIME);
    let mut stalled = connect(&places, &intake).await;
    stalled.write_all(&large_beginning()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    assert!(intake.room(MAX_REQUEST_BYTES).await.is_ok(), "whichever receiver it is");
    assert!(begun.elapsed() <= Duration::from_millis(100), "{:?}", begun.elapsed());
    assert!(until(&mut stalled, GOAWAY).await);
}

/// Floods: what comes first, what comes again and again, and whether the client is served when it goes on in earnest.
#[tokio::test(start_paused = true)]
async fn a_flood_harms_nobody_else() {
    let intake = taking_intake();
    let call = || Client::default().headers(END_HEADERS, 1);
    let settings = [0, 4, 0, 0, 0xff, 0xff];
    let floods = [
        ("settings", call(), client::SETTINGS, 0, &settings[..], true),
        ("pings", call(), client::PING, 0, &[0; 8], true),
        ("windows", call(), client::WINDOW_UPDATE, 0, &[0, 0, 0, 1], true),
        ("priorities", call(), client::PRIORITY, 9, &[0; 5], true),
        ("resets", call(), client::RST_STREAM, 1, &[0; 4], true),
        ("empty data", call(), DATA, 1, &[], false),
        ("continuations", Client::default().headers(0, 1), client::CONTINUATION, 1, &[], false),
    ];
    for (name, begin, kind, stream, payload, is_served) in floods {
        let places = Places::new(3, IDLE_TIME);
        let mut flooding = connect(&places, &intake).await;
        let mut other = connect(&places, &intake).await;
        flooding.write_all(&begin.0).await.unwrap();
        let piece = (0..1000).fold(Client::default(), |client, _| client.frame(kind, 0, stream, payload)).0;
        let (mut hears, mut says) = tokio::io::split(flooding);
        let listening = tokio::spawn(async move {
            let mut told = Vec::new();
            let _ = hears.read_to_end(&mut told).await;
            told
        });
        for number in 0..50 {
            assert!(says.write_all(&piece).await.is_ok() || !is_served, "{name}");
            other.write_all(&export(2 * number + 1)).await.unwrap();
            assert!(until(&mut other, DATA).await, "{name}");
        }
        assert!(says.write_all(&export(3)).await.is_ok() || !is_served, "{name}");
        let mut told = &listening.await.unwrap()[..];
        let mut kinds = Vec::new();
        while let Some((frame, rest)) = client::first_frame(told) {
            kinds.push(frame.kind);
            told = rest;
        }
        assert_eq!((kinds.contains(&DATA), kinds.last()), (is_served, Some(&GOAWAY)), "{name}");
    }
}

/// A client that never reads is cut when it is time, however much there is to tell it.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut() {
    let mut flooding = connect(&Places::new(3, IDLE_TIME), &taking_intake()).await;
    let pings = (0..1000).fold(Client::default(), |client, _| client.frame(client::PING, 0, 0, &[0; 8])).0;
    let begun = tokio::time::Instant::now();
    while flooding.write_all(&pings).await.is_ok() {}
    assert!(begun.elapsed() >= REQUEST_TIME && begun.elapsed() < REQUEST_TIME * 2, "{:?}", begun.elapsed());
}

/// Who has said all, and shuts its side down, is answered.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_said_all_is_answered() {
    let (ours, mut client) = tokio::io::duplex(64 * 1024);
    let places = Places::new(3, IDLE_TIME);
    tokio::spawn(converse(ours, places.take().await, taking_intake()));
    client.write_all(&[Client::new().0, export(1)].concat()).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(until(&mut client, DATA).await);
    assert!(until(&mut client, client::HEADERS).await);
}

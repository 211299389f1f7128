use super::super::test_client::*;
use super::*;
use proptest::prelude::*;

pub(super) fn answer() -> Answer {
    Answer { body: Some(vec![0; 5]), trailers: vec![("grpc-status", "0".into())], ..Answer::default() }
}

fn refusal() -> Answer {
    Answer { body: None, ..answer() }
}

pub(super) fn said(connection: &mut Connection) -> Vec<Frame> {
    frames(&connection.output())
}

/// What `receive` is given at a time by whoever reads from a socket.
const PIECE_BYTES: usize = 16 * 1024;

pub(super) fn receive(connection: &mut Connection, client: &Client) -> Result<(), Broken> {
    client.0.chunks(PIECE_BYTES).try_for_each(|piece| connection.receive(piece))
}

/// A connection after its own first words.
pub(super) fn greeted() -> Connection {
    let mut connection = Connection::default();
    assert_eq!(said(&mut connection)[0].kind, SETTINGS);
    connection
}

pub(super) fn after(client: &Client) -> Connection {
    let mut connection = greeted();
    receive(&mut connection, client).unwrap();
    connection
}

/// The code of the GOAWAY with which a connection ends.
pub(super) fn end_of(client: &Client) -> Option<u8> {
    let mut connection = greeted();
    let ended = receive(&mut connection, client).is_err();
    assert_eq!(connection.is_over(), ended);
    assert_eq!(connection.buffered_bytes(), 0);
    let last = said(&mut connection).pop()?;
    (ended && last.kind == GOAWAY).then(|| last.payload[7])
}

#[test]
fn its_first_words_are_its_limits() {
    let mut connection = Connection::default();
    let [frame] = said(&mut connection).try_into().unwrap();
    let mut limits: Vec<(u16, u32)> = frame
        .payload
        .chunks(6)
        .map(|limit| {
            (u16::from_be_bytes([limit[0], limit[1]]), u32::from_be_bytes(limit[2..].try_into().unwrap()))
        })
        .collect();
    limits.sort_unstable();
    assert_eq!(limits, [(3, 16), (4, 256 * 1024), (6, 16 * 1024)]);
}

#[test]
fn a_request_is_whole_however_it_is_cut() {
    let client = Client::new().headers(END_HEADERS, 1).frame(DATA, 0, 1, b"one ").frame(
        DATA,
        PADDED | END_STREAM,
        1,
        b"\x02two\0\0",
    );
    for size in [1, 7, 1000] {
        let mut connection = greeted();
        for piece in client.0.chunks(size) {
            assert_eq!(connection.next_request(), None);
            connection.receive(piece).unwrap();
            assert!(connection.is_under_way() || client.0.len() > size);
        }
        let request = connection.next_request().unwrap();
        let expected = Request {
            stream: 1,
            method: "POST".into(),
            path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export".into(),
            content_type: "application/grpc".into(),
            body: b"one two".to_vec(),
            ..Request::default()
        };
        assert_eq!(request, expected);
        assert!(connection.is_under_way(), "it has not been answered");
        said(&mut connection);
        connection.answer(1, answer());
        let kinds: Vec<(u8, u8)> =
            said(&mut connection).iter().map(|frame| (frame.kind, frame.flags)).collect();
        assert_eq!(kinds, [(HEADERS, 4), (DATA, 0), (HEADERS, 5)]);
        assert!(!connection.is_under_way() && !connection.is_over());
    }
}

#[test]
fn headers_over_several_frames_and_with_a_priority() {
    let block = [vec![0; 5], call_headers(), header("grpc-encoding", "gzip"), header("a", &"x".repeat(1000))]
        .concat();
    let client = Client::new()
        .frame(HEADERS, WITH_PRIORITY | END_STREAM, 1, &block[..100])
        .frame(CONTINUATION, 0, 1, &block[100..600])
        .frame(CONTINUATION, END_HEADERS, 1, &block[600..]);
    assert_eq!(after(&client).next_request().unwrap().encoding, "gzip");
}

#[test]
fn a_request_ends_with_its_trailers() {
    let client = Client::new().headers(END_HEADERS, 1).frame(DATA, 0, 1, b"body").frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &header("a", "b"),
    );
    assert_eq!(after(&client).next_request().unwrap().body, b"body");
}

#[test]
fn settings_pings_and_windows_are_answered() {
    let client = Client::new()
        .frame(PING, 0, 0, b"12345678")
        .frame(PING, ACK, 0, b"12345678")
        .frame(SETTINGS, ACK, 0, &[])
        .frame(99, 0, 7, b"unknown frames are passed over");
    let mut connection = after(&client);
    let mut answers = said(&mut connection);
    answers.retain(|frame| frame.kind != WINDOW_UPDATE);
    let ack = |kind, payload: &[u8]| Frame { kind, flags: ACK, stream: 0, payload: payload.to_vec() };
    assert_eq!(answers, [ack(SETTINGS, b""), ack(PING, b"12345678")]);
    let mut client = Client::default().headers(END_HEADERS, 1);
    for _ in 0..16 {
        client = client.frame(DATA, 0, 1, &[0; MAX_FRAME_BYTES]);
    }
    let mut connection = after_first(&client);
    let windows = said(&mut connection);
    for stream in [0, 1] {
        let given = windows.iter().filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == stream);
        let given = given.map(|frame| u32::from_be_bytes(frame.payload[..].try_into().unwrap()));
        let given: u32 = given.sum();
        assert!((WINDOW / 2..=WINDOW).contains(&given), "{given} on {stream}");
    }
}

/// A connection whose client has taken note of the limits, and then written this.
pub(super) fn after_first(client: &Client) -> Connection {
    let mut connection = after(&Client::new().frame(SETTINGS, ACK, 0, &[]));
    said(&mut connection);
    receive(&mut connection, client).unwrap();
    connection
}

#[test]
fn an_answer_waits_for_the_window_of_the_client() {
    let no_window = [0, 4, 0, 0, 0, 0];
    let client = Client::new().frame(SETTINGS, 0, 0, &no_window).headers(END_HEADERS | END_STREAM, 1);
    let mut connection = after(&client);
    said(&mut connection);
    connection.answer(1, answer());
    assert_eq!(said(&mut connection).len(), 1);
    assert!(connection.is_under_way());
    let update = Client::default().frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5]);
    receive(&mut connection, &update).unwrap();
    assert_eq!(said(&mut connection).len(), 2);
    assert!(!connection.is_under_way());
}

#[test]
fn clients_without_a_window_are_answered_no_further_than_there_are_streams() {
    let mut client = Client::new().frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in 0..100 {
        client = client.headers(END_HEADERS | END_STREAM, 2 * stream + 1);
    }
    let mut connection = after(&client);
    let mut answered = 0;
    while let Some(request) = connection.next_request() {
        connection.answer(request.stream, answer());
        answered += 1;
    }
    assert_eq!(answered, MAX_STREAMS);
    let more = Client::default().headers(END_HEADERS | END_STREAM, 201);
    receive(&mut connection, &more).unwrap();
    assert_eq!(connection.next_request(), None);
    assert_eq!(connection.calls.len(), 0);
}

#[test]
fn what_is_too_large_is_refused_and_never_kept() {
    let mut connection = after_first(&Client::default().headers(END_HEADERS, 1).headers(END_HEADERS, 3));
    let (mut most, mut refused) = (0, 0);
    for stream in [1, 3].into_iter().cycle().take(2 * 300) {
        let data = Client::default().frame(DATA, 0, stream, &[0; MAX_FRAME_BYTES]);
        receive(&mut connection, &data).unwrap();
        most = most.max(connection.buffered_bytes());
        said(&mut connection);
        if let Some(request) = connection.next_request() {
            assert!(request.is_too_large && request.body.is_empty());
            connection.answer(request.stream, refusal());
            let ended: Vec<u8> = said(&mut connection).iter().map(|frame| frame.kind).collect();
            assert_eq!(ended, [HEADERS, RST_STREAM]);
            refused += 1;
        }
    }
    assert_eq!((refused, connection.calls.len()), (2, 0));
    assert!(most <= MAX_BUFFERED_BYTES && most > MAX_BUFFERED_BYTES / 2, "{most}");
    assert!(!connection.is_under_way());
    receive(&mut connection, &Client::default().headers(END_HEADERS | END_STREAM, 5)).unwrap();
    assert_eq!(connection.next_request().unwrap().stream, 5, "the connection goes on");
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_connection_goes_on() {
    let mut client = Client::new();
    for stream in 0..40 {
        client = client.headers(END_HEADERS, 2 * stream + 1);
    }
    let mut connection = after(&client);
    let refused = said(&mut connection).into_iter().filter(|frame| frame.kind == RST_STREAM);
    assert_eq!(refused.map(|frame| frame.payload[3]).collect::<Vec<_>>(), vec![REFUSED_STREAM; 24]);
    let mut client = Client::default();
    for stream in 0..40 {
        client = client.frame(RST_STREAM, 0, 2 * stream + 1, &[0; 4]);
    }
    receive(&mut connection, &client.headers(END_HEADERS | END_STREAM, 81)).unwrap();
    assert_eq!(connection.next_request().map(|request| request.stream), Some(81));
    assert_eq!(connection.calls.len(), 1);
}

#[test]
fn a_call_that_is_taken_back_is_not_there_any_more() {
    let mut connection = after(&Client::new().headers(END_HEADERS | END_STREAM, 1).headers(END_HEADERS, 3));
    let back = Client::default().frame(RST_STREAM, 0, 1, &[0; 4]).frame(RST_STREAM, 0, 3, &[0; 4]);
    receive(&mut connection, &back).unwrap();
    assert_eq!((connection.next_request(), connection.calls.len()), (None, 0));
    assert!(!connection.is_under_way());
    said(&mut connection);
    connection.answer(1, answer());
    assert_eq!(said(&mut connection), []);
}

#[test]
fn a_client_that_goes_away_is_answered_first() {
    let whole = END_HEADERS | END_STREAM;
    let client = Client::new().headers(whole, 1).headers(whole, 3).frame(GOAWAY, 0, 0, &[0; 8]);
    let mut connection = after(&client);
    said(&mut connection);
    for stream in [1, 3] {
        assert!(!connection.is_over());
        assert_eq!(connection.next_request().unwrap().stream, stream);
        connection.answer(stream, answer());
        let kinds: Vec<u8> = said(&mut connection).iter().map(|frame| frame.kind).take(3).collect();
        assert_eq!(kinds, [HEADERS, DATA, HEADERS]);
    }
    assert!(connection.is_over() && !connection.is_under_way());
}

#[test]
fn whoever_is_told_to_go_is_told_at_once() {
    for client in [Client::new(), Client::new().headers(END_HEADERS, 1), Client::new().headers(0, 1)] {
        let mut connection = after(&client);
        connection.close();
        let last = said(&mut connection).pop().unwrap();
        assert_eq!((last.kind, last.payload[7]), (GOAWAY, NO_ERROR));
        assert!(connection.is_over() && !connection.is_under_way());
        connection.receive(b"whatever").unwrap();
        connection.close();
        assert_eq!(said(&mut connection), []);
    }
    let mut greeting = greeted();
    greeting.receive(&PREFACE[..10]).unwrap();
    assert!(greeting.is_under_way());
    greeting.close();
    assert!(greeting.is_over());
}

#[test]
fn what_breaks_the_rules_ends_the_connection() {
    let whole = END_HEADERS | END_STREAM;
    let cases: Vec<(&str, Client, u8)> = vec![
        ("an even stream", Client::new().headers(whole, 2), PROTOCOL_ERROR),
        ("data first", Client::new().frame(DATA, 0, 1, b""), PROTOCOL_ERROR),
        ("data on 0", Client::new().frame(DATA, 0, 0, b""), PROTOCOL_ERROR),
        ("settings on 1", Client::new().frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("half a setting", Client::new().frame(SETTINGS, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("a short ping", Client::new().frame(PING, 0, 0, &[0; 7]), PROTOCOL_ERROR),
        ("a push", Client::new().frame(PUSH_PROMISE, 0, 1, &[0; 4]), PROTOCOL_ERROR),
        ("no increment", Client::new().frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("padding only", Client::new().frame(HEADERS, PADDED | whole, 1, &[9, 0]), PROTOCOL_ERROR),
        ("a bad block", Client::new().frame(HEADERS, whole, 1, &[0x80]), PROTOCOL_ERROR),
        ("a bad table size", Client::new().frame(HEADERS, whole, 1, &[0x3f, 0xe2, 0x1f]), PROTOCOL_ERROR),
        ("a frame in a block", Client::new().headers(0, 1).frame(PING, 0, 0, &[0; 8]), PROTOCOL_ERROR),
        ("no block", Client::new().frame(CONTINUATION, 4, 1, &[]), PROTOCOL_ERROR),
        ("headers twice", Client::new().headers(whole, 1).headers(whole, 1), PROTOCOL_ERROR),
        (
            "a window over the limit",
            Client::new().frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            FLOW_CONTROL_ERROR,
        ),
        (
            "a first window over the limit",
            Client::new().frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            PROTOCOL_ERROR,
        ),
    ];
    for (name, client, code) in cases {
        assert_eq!(end_of(&client), Some(code), "{name}");
    }
    let mut large = Client::new();
    large.0.extend_from_slice(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(end_of(&large), Some(FRAME_SIZE_ERROR));
}

#[test]
fn what_is_not_http_2_is_cut_without_a_word() {
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", &[0; 24], b"PRI * HTTP/2.1"] {
        let mut connection = greeted();
        assert_eq!(connection.receive(words), Err(Broken));
        assert!(connection.is_over());
        assert_eq!(said(&mut connection), []);
    }
}

#[test]
fn a_connection_serves_any_number_of_calls() {
    let mut connection = after_first(&Client::default());
    for number in 0..3000_u32 {
        let stream = 2 * number + 1;
        let call = Client::default()
            .headers(END_HEADERS, stream)
            .frame(DATA, 0, stream, &[0; 5])
            .frame(DATA, 0, stream, b"body")
            .frame(DATA, END_STREAM, stream, b"")
            // As much as an answer takes.
            .frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 5]);
        receive(&mut connection, &call).unwrap();
        let request = connection.next_request().unwrap();
        assert_eq!((request.stream, request.body.len()), (stream, 9));
        connection.answer(stream, if number % 3 == 0 { refusal() } else { answer() });
        assert!(!connection.is_under_way(), "{number}");
        connection.output();
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        size in 1..50_usize,
    ) {
        let mut client = Client::new()
            .headers(END_HEADERS, 1)
            .frame(DATA, END_STREAM, 1, b"body")
            .headers(END_HEADERS | END_STREAM, 3)
            .0;
        let at = at.index(client.len());
        client.splice(at..at, noise);
        let mut connection = Connection::default();
        for piece in client.chunks(size) {
            if connection.receive(piece).is_err() {
                prop_assert!(connection.is_over());
                break;
            }
            while let Some(request) = connection.next_request() {
                connection.answer(request.stream, answer());
            }
        }
        said(&mut connection);
    }
}

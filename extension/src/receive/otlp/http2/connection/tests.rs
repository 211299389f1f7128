use super::*;
use proptest::prelude::*;

/// What a client writes.
#[derive(Default)]
struct Client(Vec<u8>);

impl Client {
    fn new() -> Self {
        Self(frame::PREFACE.to_vec()).frame(frame::SETTINGS, 0, 0, &[])
    }

    fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        frame::write(kind, flags, stream, payload, &mut self.0);
        self
    }

    fn headers(self, flags: u8, stream: u32) -> Self {
        let mut block = Vec::new();
        for (name, value) in
            [(":method", "POST"), (":path", "/x"), ("content-type", "application/grpc"), ("te", "trailers")]
        {
            hpack::encode(name, value, &mut block);
        }
        self.frame(frame::HEADERS, flags, stream, &block)
    }
}

/// The frames that are to be written: kind, flags, stream, payload.
fn frames(connection: &mut Connection) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let output = connection.output();
    let mut rest = output.as_slice();
    let mut frames = Vec::new();
    while let Some(head) = Head::read(rest) {
        let end = frame::HEAD_BYTES + head.length;
        frames.push((head.kind, head.flags, head.stream, rest[frame::HEAD_BYTES..end].to_vec()));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
    frames
}

fn answer() -> Answer {
    Answer {
        headers: vec![(":status", "200".into())],
        body: Some(vec![0; 5]),
        trailers: vec![("grpc-status", "0".into())],
    }
}

fn after(client: &Client) -> Connection {
    let mut connection = Connection::default();
    frames(&mut connection);
    connection.receive(&client.0).unwrap();
    connection
}

/// The code of the GOAWAY with which a connection ends.
fn end_of(client: &Client) -> Option<u8> {
    let mut connection = Connection::default();
    let ended = connection.receive(&client.0).is_err();
    let last = frames(&mut connection).pop()?;
    (ended && last.0 == frame::GOAWAY).then(|| last.3[7])
}

#[test]
fn a_request_is_whole_however_it_is_cut() {
    let client = Client::new().headers(frame::END_HEADERS, 1).frame(frame::DATA, 0, 1, b"one ").frame(
        frame::DATA,
        frame::PADDED | frame::END_STREAM,
        1,
        b"\x02two\0\0",
    );
    for size in [1, 7, 1000] {
        let mut connection = Connection::default();
        for piece in client.0.chunks(size) {
            assert_eq!(connection.next_request(), None);
            connection.receive(piece).unwrap();
        }
        let request = connection.next_request().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str(), request.stream), ("POST", "/x", 1));
        assert_eq!(
            (request.content_type.as_str(), request.body.as_slice()),
            ("application/grpc", &b"one two"[..])
        );
        frames(&mut connection);
        connection.answer(1, answer());
        let kinds: Vec<(u8, u8)> = frames(&mut connection).iter().map(|frame| (frame.0, frame.1)).collect();
        assert_eq!(kinds, [(frame::HEADERS, 4), (frame::DATA, 0), (frame::HEADERS, 5)]);
        assert!(!connection.is_under_way());
    }
}

#[test]
fn headers_over_several_frames_and_with_a_priority() {
    let mut block = vec![0; 5];
    hpack::encode(":path", "/long", &mut block);
    hpack::encode("user-agent", &"x".repeat(1000), &mut block);
    let client = Client::new()
        .frame(frame::HEADERS, frame::WITH_PRIORITY | frame::END_STREAM, 1, &block[..100])
        .frame(frame::CONTINUATION, 0, 1, &block[100..600])
        .frame(frame::CONTINUATION, frame::END_HEADERS, 1, &block[600..]);
    assert_eq!(after(&client).next_request().unwrap().path, "/long");
}

#[test]
fn settings_pings_and_windows_are_answered() {
    let client = Client::new()
        .frame(frame::PING, 0, 0, b"12345678")
        .frame(frame::PING, frame::ACK, 0, b"12345678")
        .frame(frame::SETTINGS, frame::ACK, 0, &[])
        .frame(99, 0, 7, b"unknown frames are passed over");
    let mut connection = after(&client);
    let expected =
        [(frame::SETTINGS, frame::ACK, 0, vec![]), (frame::PING, frame::ACK, 0, b"12345678".to_vec())];
    assert_eq!(frames(&mut connection), expected);
    let mut client = Client::default().headers(frame::END_HEADERS, 1);
    for _ in 0..8 {
        client = client.frame(frame::DATA, 0, 1, &vec![0; frame::MAX_FRAME_BYTES]);
    }
    connection.receive(&client.0).unwrap();
    let windows = frames(&mut connection);
    assert_eq!(windows.len(), 2, "one for the connection, one for the stream");
    assert!(
        windows.iter().all(|frame| frame.0 == frame::WINDOW_UPDATE && frame.3 == (WINDOW / 2).to_be_bytes())
    );
}

#[test]
fn an_answer_waits_for_the_window_of_the_client() {
    let no_window = [0, 4, 0, 0, 0, 0];
    let client = Client::new()
        .frame(frame::SETTINGS, 0, 0, &no_window)
        .headers(frame::END_HEADERS | frame::END_STREAM, 1);
    let mut connection = after(&client);
    frames(&mut connection);
    connection.answer(1, answer());
    assert_eq!(frames(&mut connection).len(), 1);
    let update = Client::default().frame(frame::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5]);
    connection.receive(&update.0).unwrap();
    assert_eq!(frames(&mut connection).len(), 2);
    assert!(!connection.is_under_way());
}

#[test]
fn what_is_too_large_is_refused_and_never_kept() {
    let mut connection = after(&Client::new().headers(frame::END_HEADERS, 1).headers(frame::END_HEADERS, 3));
    let mut most = 0;
    for stream in [1, 3].into_iter().cycle().take(2 * 300) {
        let data = Client::default().frame(frame::DATA, 0, stream, &[0; frame::MAX_FRAME_BYTES]);
        connection.receive(&data.0).unwrap();
        most = most.max(connection.buffered_bytes());
        if let Some(request) = connection.next_request() {
            assert!(request.is_too_large && request.body.is_empty());
            frames(&mut connection);
            connection.answer(request.stream, Answer { body: None, ..answer() });
            let ended: Vec<u8> = frames(&mut connection).iter().map(|frame| frame.0).collect();
            assert_eq!(ended, [frame::HEADERS, frame::RST_STREAM]);
        }
    }
    assert!(most <= MAX_BUFFERED_BYTES && connection.streams.is_empty(), "{most}");
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_connection_goes_on() {
    let mut client = Client::new();
    for stream in 0..40 {
        client = client.headers(frame::END_HEADERS, 2 * stream + 1);
    }
    let mut connection = after(&client);
    let refused = frames(&mut connection).into_iter().filter(|frame| frame.0 == frame::RST_STREAM);
    assert_eq!(refused.map(|frame| frame.3[3]).collect::<Vec<_>>(), vec![ErrorCode::RefusedStream as u8; 24]);
    let mut client = Client::default();
    for stream in 0..40 {
        client = client.frame(frame::RST_STREAM, 0, 2 * stream + 1, &[0; 4]);
    }
    connection.receive(&client.headers(frame::END_HEADERS | frame::END_STREAM, 81).0).unwrap();
    assert_eq!(connection.next_request().map(|request| request.stream), Some(81));
}

#[test]
fn what_breaks_the_rules_ends_the_connection() {
    let whole = frame::END_HEADERS | frame::END_STREAM;
    let cases: Vec<(&str, Client, ErrorCode)> = vec![
        ("HTTP/1.1", Client(b"GET / HTTP/1.1\r\n\r\n".to_vec()), ErrorCode::Protocol),
        ("an even stream", Client::new().headers(whole, 2), ErrorCode::Protocol),
        ("data first", Client::new().frame(frame::DATA, 0, 1, b""), ErrorCode::Protocol),
        ("data on 0", Client::new().frame(frame::DATA, 0, 0, b""), ErrorCode::Protocol),
        ("settings on 1", Client::new().frame(frame::SETTINGS, 0, 1, &[]), ErrorCode::Protocol),
        ("half a setting", Client::new().frame(frame::SETTINGS, 0, 0, &[0; 5]), ErrorCode::FrameSize),
        ("a short ping", Client::new().frame(frame::PING, 0, 0, &[0; 7]), ErrorCode::FrameSize),
        ("a push", Client::new().frame(frame::PUSH_PROMISE, 0, 1, &[0; 4]), ErrorCode::Protocol),
        ("no increment", Client::new().frame(frame::WINDOW_UPDATE, 0, 0, &[0; 4]), ErrorCode::Protocol),
        (
            "padding only",
            Client::new().frame(frame::HEADERS, frame::PADDED | whole, 1, &[9, 0]),
            ErrorCode::Protocol,
        ),
        ("a bad block", Client::new().frame(frame::HEADERS, whole, 1, &[0x80]), ErrorCode::Compression),
        (
            "a frame in a block",
            Client::new().headers(0, 1).frame(frame::PING, 0, 0, &[0; 8]),
            ErrorCode::Protocol,
        ),
        ("no block", Client::new().frame(frame::CONTINUATION, 4, 1, &[]), ErrorCode::Protocol),
        ("headers twice", Client::new().headers(whole, 1).headers(whole, 1), ErrorCode::StreamClosed),
        (
            "a window over the limit",
            Client::new().frame(frame::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ErrorCode::FlowControl,
        ),
        (
            "a first window over the limit",
            Client::new().frame(frame::SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            ErrorCode::FlowControl,
        ),
    ];
    for (name, client, code) in cases {
        assert_eq!(end_of(&client), Some(code as u8), "{name}");
    }
    let mut large = Client::new();
    large.0.extend_from_slice(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(end_of(&large), Some(ErrorCode::FrameSize as u8));
    let mut flood = Client::new().headers(0, 1);
    for _ in 0..3 {
        flood = flood.frame(frame::CONTINUATION, 0, 1, &[0; 8000]);
    }
    assert_eq!(end_of(&flood), Some(ErrorCode::EnhanceYourCalm as u8));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        size in 1..50_usize,
    ) {
        let mut client = Client::new()
            .headers(frame::END_HEADERS, 1)
            .frame(frame::DATA, frame::END_STREAM, 1, b"body")
            .headers(frame::END_HEADERS | frame::END_STREAM, 3)
            .0;
        let at = at.index(client.len());
        client.splice(at..at, noise);
        let mut connection = Connection::default();
        for piece in client.chunks(size) {
            if connection.receive(piece).is_err() {
                break;
            }
            while let Some(request) = connection.next_request() {
                connection.answer(request.stream, answer());
            }
        }
        frames(&mut connection);
    }
}

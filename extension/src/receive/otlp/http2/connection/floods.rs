//! Clients that send more than anybody needs: of frames, headers, streams, data.

use super::super::test_client::*;
use super::tests::{after, after_first, answer, end_of, greeted, receive, said};
use super::*;

#[test]
fn more_than_may_be_in_flight_ends_the_connection() {
    let mut client = Client::default();
    for stream in 0..u32::from(MAX_STREAMS) {
        client = client.headers(END_HEADERS, 2 * stream + 1);
    }
    let mut connection = after_first(&client);
    let most = MAX_BUFFERED_BYTES.div_ceil(MAX_FRAME_BYTES);
    let data = |number: usize| {
        let stream = 2 * u32::try_from(number).unwrap() % 32 + 1;
        Client::default().frame(DATA, 0, stream, &[0; MAX_FRAME_BYTES])
    };
    // Nobody reads what it is told, and its windows are filled again all the same.
    for number in 0..2 * most {
        receive(&mut connection, &data(number)).unwrap();
        assert!(connection.buffered_bytes() <= MAX_BUFFERED_BYTES);
    }
    let mut overrun = greeted();
    let mut client = Client::new().headers(END_HEADERS, 1);
    for _ in 0..20 {
        // In one piece, which is more than any socket's reader gives.
        client = client.frame(DATA, 0, 1, &[0; MAX_FRAME_BYTES]);
    }
    assert_eq!(overrun.receive(&client.0), Err(Broken));
    assert_eq!(said(&mut overrun).pop().map(|frame| frame.payload[7]), Some(FLOW_CONTROL_ERROR));
}

/// Header lists: a little more than is taken, many times as much, and in frames without end.
#[test]
fn header_lists_are_bounded() {
    let large = |bytes| [call_headers(), header("a", &"x".repeat(bytes))].concat();
    let cut = |block: &[u8], frame_bytes: usize| {
        let mut client = Client::new().frame(HEADERS, END_STREAM, 1, &[]);
        for piece in block.chunks(frame_bytes) {
            client = client.frame(CONTINUATION, 0, 1, piece);
        }
        client
    };
    // Far more than is taken, in one header and in many.
    assert_eq!(end_of(&cut(&large(20_000), MAX_FRAME_BYTES)), Some(ENHANCE_YOUR_CALM));
    assert_eq!(
        end_of(&cut(&header("a", &"x".repeat(1000)).repeat(20), MAX_FRAME_BYTES)),
        Some(ENHANCE_YOUR_CALM)
    );
    // Small, in frames without end.
    assert_eq!(end_of(&cut(&large(1000), 100)), Some(ENHANCE_YOUR_CALM));
    assert_eq!(end_of(&cut(&[], 1).frame_times(1000, CONTINUATION, 1, &[])), Some(ENHANCE_YOUR_CALM));

    // One byte for each header: an entry of the table, again and again.
    let entry = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4000]].concat();
    let bomb = |times| {
        Client::new().frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &[call_headers(), entry.clone(), vec![0xbe; times]].concat(),
        )
    };
    assert_eq!(end_of(&bomb(8000)), Some(ENHANCE_YOUR_CALM));
    let mut connection = after(&bomb(5));
    assert_eq!(connection.next_request(), None);
    let refused: Vec<u8> = said(&mut connection).iter().map(|frame| frame.kind).collect();
    assert!(refused.contains(&HEADERS), "431: {refused:?}");
    receive(&mut connection, &Client::default().headers(END_HEADERS | END_STREAM, 3)).unwrap();
    assert_eq!(connection.next_request().unwrap().stream, 3, "the connection goes on");
}

impl Client {
    fn frame_times(mut self, count: usize, kind: u8, stream: u32, payload: &[u8]) -> Self {
        for _ in 0..count {
            self = self.frame(kind, 0, stream, payload);
        }
        self
    }
}

/// How the connection ends on which this is written again and again. Meanwhile little is held and said.
fn flood(piece: &Client, pieces: usize) -> Option<u8> {
    let mut connection =
        after_first(&Client::default().headers(END_HEADERS, 1).headers(END_HEADERS | END_STREAM, 3));
    said(&mut connection);
    for _ in 0..pieces {
        let result = receive(&mut connection, piece);
        assert!(connection.buffered_bytes() <= pieces * piece.0.len());
        let output = connection.output();
        assert!(output.len() <= 2 * piece.0.len() + 64, "{} for {}", output.len(), piece.0.len());
        assert!(
            connection.requests.len() <= MAX_STREAMS.into() && connection.calls.len() <= MAX_STREAMS.into()
        );
        if result.is_err() {
            return frames(&output).pop().map(|frame| frame.payload[7]);
        }
        while let Some(request) = connection.next_request() {
            connection.answer(request.stream, answer());
        }
        connection.output();
    }
    receive(&mut connection, &Client::default().frame(DATA, END_STREAM, 1, b"")).unwrap();
    assert_eq!(connection.next_request().unwrap().stream, 1, "who goes on is served");
    None
}

#[test]
fn a_flood_is_answered_piece_by_piece_or_ends_the_connection() {
    let settings = [0, 1, 0xff, 0xff, 0xff, 0xff, 0, 4, 0, 0, 0xff, 0xff];
    let harmless = [
        ("settings", Client::default().frame_times(700, SETTINGS, 0, &settings)),
        ("empty settings", Client::default().frame_times(1000, SETTINGS, 0, &[])),
        ("pings", Client::default().frame_times(900, PING, 0, &[7; 8])),
        ("priorities", Client::default().frame_times(1000, PRIORITY, 77, &[0, 0, 0, 0, 1])),
        ("windows", Client::default().frame_times(1000, WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
        ("windows of a stream", Client::default().frame_times(1000, WINDOW_UPDATE, 1, &[0, 0, 0, 1])),
        ("resets of what has ended", Client::default().frame_times(1000, RST_STREAM, 3, &[0; 4])),
        ("unknown frames", Client::default().frame_times(1000, 0xfa, 9, b"what?")),
    ];
    for (name, piece) in &harmless {
        assert_eq!(flood(piece, 30), None, "{name}");
    }
    let ended = [
        (
            "settings nobody asked to be taken note of",
            Client::default().frame(SETTINGS, ACK, 0, &[]),
            PROTOCOL_ERROR,
        ),
        ("empty data", Client::default().frame_times(1000, DATA, 1, &[]), ENHANCE_YOUR_CALM),
        ("data byte by byte", Client::default().frame_times(1600, DATA, 1, &[0]), ENHANCE_YOUR_CALM),
    ];
    for (name, piece, code) in &ended {
        assert_eq!(flood(piece, 30), Some(*code), "{name}");
    }
}

/// Streams that are opened and reset at once, in one piece and each on its own (CVE-2023-44487).
#[test]
fn rapid_resets_hold_nothing_and_end_the_connection_when_they_come_all_at_once() {
    let opened = |from: u32, count: u32| {
        (from..from + count).fold(Client::default(), |client, number| {
            client.headers(END_HEADERS, 2 * number + 1).frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8])
        })
    };
    let mut connection = after_first(&Client::default());
    for number in 0..3000 {
        receive(&mut connection, &opened(number, 1)).unwrap();
        assert!(connection.calls.is_empty() && connection.requests.is_empty() && !connection.is_under_way());
        assert!(connection.output().len() <= 64);
    }
    assert_eq!(
        end_of(&Client(Client::new().0.into_iter().chain(opened(0, 100).0).collect())),
        Some(ENHANCE_YOUR_CALM)
    );
}

/// Streams that break a rule of their own are reset, and not without end (CVE-2025-8671).
#[test]
fn resets_that_a_client_provokes_end_the_connection_at_last() {
    let mut connection = after_first(&Client::default());
    let mut ended = None;
    for number in 0..3000_u32 {
        // Without a method, it is no request.
        let client = Client::default().frame(HEADERS, END_HEADERS, 2 * number + 1, &header(":path", "/"));
        if receive(&mut connection, &client).is_err() {
            ended = Some(number);
            break;
        }
        assert!(connection.calls.is_empty() && !connection.is_under_way());
    }
    assert!(ended.is_some_and(|number| number <= 1024), "{ended:?}");
    assert_eq!(said(&mut connection).pop().map(|frame| frame.payload[7]), Some(ENHANCE_YOUR_CALM));
}

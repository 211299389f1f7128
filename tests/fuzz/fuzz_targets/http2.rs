//! Bytes as a gRPC client may write them: the same requests whatever pieces they arrive in, and bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray::receive::otlp::http2::{Answer, Connection, MAX_BUFFERED_BYTES, Request};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let bytes = [PREFACE, bytes].concat();
    assert_eq!(requests(&bytes, usize::MAX, false), requests(&bytes, usize::from(*piece) + 1, false));
    requests(&bytes, usize::from(*piece) + 1, true);
});

fn requests(bytes: &[u8], piece_bytes: usize, answers: bool) -> Vec<Request> {
    let mut connection = Connection::default();
    let mut requests = Vec::new();
    for piece in bytes.chunks(piece_bytes.min(bytes.len())) {
        let result = connection.receive(piece);
        assert!(connection.buffered_bytes() <= MAX_BUFFERED_BYTES);
        if result.is_err() {
            break;
        }
        if answers {
            while let Some(request) = connection.next_request() {
                let headers = vec![(":status", "200".to_owned())];
                let answer = Answer { headers, body: Some(vec![0; 5]), ..Answer::default() };
                connection.answer(request.stream, answer);
            }
        }
    }
    requests.extend(std::iter::from_fn(|| connection.next_request()));
    requests
}

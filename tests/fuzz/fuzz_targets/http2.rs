//! Bytes as a gRPC client may write them, whole connections long: the same requests whatever pieces they arrive in, and
//! bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray::receive::otlp::http2::{Answer, Broken, Connection, MAX_BUFFERED_BYTES, Request};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What the receiver reads at a time.
const PIECE_BYTES: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let bytes = [PREFACE, bytes].concat();
    let piece_bytes = usize::from(*piece) + 1;
    // What comes all at once may be more than is taken.
    if let (Ok(large), Ok(small)) = (requests(&bytes, PIECE_BYTES), requests(&bytes, piece_bytes)) {
        assert_eq!(large, small);
    }
    converse(&bytes, piece_bytes);
});

/// What is there at the end of it all, unanswered.
fn requests(bytes: &[u8], piece_bytes: usize) -> Result<Vec<Request>, Broken> {
    let mut connection = Connection::default();
    for piece in bytes.chunks(piece_bytes) {
        receive(&mut connection, piece)?;
    }
    let mut requests: Vec<_> = std::iter::from_fn(|| connection.next_request()).collect();
    requests.sort_by_key(|request| request.stream);
    Ok(requests)
}

/// Answers whatever has come, after each piece.
fn converse(bytes: &[u8], piece_bytes: usize) {
    let mut connection = Connection::default();
    for piece in bytes.chunks(piece_bytes) {
        let received = receive(&mut connection, piece);
        while let Some(request) = connection.next_request() {
            let body = (request.stream % 3 > 0).then(|| vec![0; 5]);
            connection.answer(request.stream, Answer { body, ..Answer::default() });
        }
        if received.is_err() || connection.is_over() {
            assert!(connection.is_over() && !connection.is_under_way());
            break;
        }
    }
    connection.close();
    assert!(connection.is_over());
}

fn receive(connection: &mut Connection, piece: &[u8]) -> Result<(), Broken> {
    let received = connection.receive(piece);
    assert!(connection.buffered_bytes() <= MAX_BUFFERED_BYTES);
    assert!(connection.output().len() <= 64 * 1024);
    received
}

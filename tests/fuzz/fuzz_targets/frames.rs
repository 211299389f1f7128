//! Bytes as an agent may write them: the same frames whatever pieces they arrive in, and every span accounted for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_xray::receive::agent::frame::{self, Decoder, Frame, FrameError};
use otel_xray::received::Fate;
use otel_xray::received::{Connection, Received};
use otel_xray::settings::{Keep, Sampling, TracingMode};
use otel_xray::translate::Translator;
use otel_xray_fuzz::{NOW_UNIX_NANO, check, hostile, machine};

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let whole = decode(bytes, usize::MAX);
    let pieces = decode(bytes, usize::from(*piece) + 1);
    // Compared as text: a span may hold numbers that are not equal to themselves.
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));

    let mut machine = machine(TracingMode::PassThrough, "", Sampling::Auto, Keep::default());
    let connection = Connection(1);
    for frame in whole {
        machine.receive(frame::received(connection, frame), NOW_UNIX_NANO);
    }
    machine.receive(Received::Closed(connection, Fate::default()), NOW_UNIX_NANO);
    check(&mut machine, &mut Translator::default(), &hostile::function(), 0);
});

fn decode(bytes: &[u8], piece_bytes: usize) -> Vec<Result<Frame, FrameError>> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece_bytes.min(bytes.len().max(1))) {
        decoder.buffer().extend_from_slice(piece);
        frames.extend(std::iter::from_fn(|| decoder.next_frame()));
    }
    frames
}

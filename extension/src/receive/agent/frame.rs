//! The frames of the local protocol (wrapper/PROTOCOL.md), decoded from a byte stream. Pure.

use crate::accounts::Reason;
use crate::receive::bounds::oversize::{Fitted, fitted};
use crate::received::{Answered, Connection, Done, Entered, Hello, Received};
use bytes::{Buf as _, Bytes, BytesMut};
use opentelemetry_proto::tonic::trace::v1::Span;

/// The longest payload that is read; a longer one is skipped.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

const HEAD_BYTES: usize = 5;
/// A buffer that has grown beyond this is let go when it is empty.
const LARGE_BYTES: usize = 64 * 1024;
const HELLO: u8 = 1;
const INVOKE: u8 = 2;
const START: u8 = 3;
const END: u8 = 4;
const DONE: u8 = 5;
const ANSWERED: u8 = 6;

/// One frame of the protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    Hello(Box<Hello>),
    Entered(Entered),
    Started(Box<Span>),
    Ended(Box<Span>),
    Done(Done),
    Answered(Answered),
}

/// What a connection's frame says, or what is lost with one that could not be used.
pub fn received(connection: Connection, frame: Result<Frame, FrameError>) -> Received {
    match frame {
        Ok(Frame::Hello(hello)) => Received::Hello(connection, hello),
        Ok(Frame::Entered(entered)) => Received::Entered(connection, entered),
        Ok(Frame::Started(span)) => Received::Started(connection, span),
        Ok(Frame::Ended(span)) => Received::Ended(connection, span),
        Ok(Frame::Done(done)) => Received::Done(connection, done),
        Ok(Frame::Answered(answered)) => Received::Answered(answered),
        Err(error) => Received::Lost { reason: Reason::Unreadable, spans: error.spans_lost() },
    }
}

/// A frame that could not be used. Reading goes on behind it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error(
        "a frame of {bytes} bytes is over the limit of {MAX_PAYLOAD_BYTES}: shorten the span's attributes"
    )]
    TooLong { kind: u8, bytes: usize },
    #[error("a frame of type {kind} is malformed: {reason}")]
    Malformed { kind: u8, reason: &'static str },
    #[error("frame type {kind} is unknown: agent and extension are of different versions")]
    Unknown { kind: u8 },
}

impl FrameError {
    /// How many spans are lost with the frame.
    pub fn spans_lost(&self) -> u64 {
        match self {
            Self::TooLong { kind, .. } | Self::Malformed { kind, .. } => u64::from(*kind == END),
            Self::Unknown { .. } => 0,
        }
    }
}

/// Finds frames in a stream, whatever pieces it arrives in.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    skip_bytes: usize,
    frame_bytes: usize,
    shortened: u64,
}

impl Decoder {
    /// The buffer to read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many bytes the frame takes that has begun, where that is large.
    pub fn large_bytes(&self) -> Option<usize> {
        let [_, a, b, c, d, ..] = *self.buffer else { return None };
        let bytes = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        (self.skip_bytes == 0 && bytes > LARGE_BYTES && bytes <= MAX_PAYLOAD_BYTES).then_some(bytes)
    }

    /// About how many bytes the last frame takes up, decoded.
    pub fn last_frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Spans that were shortened since the last time.
    pub fn take_shortened(&mut self) -> u64 {
        std::mem::take(&mut self.shortened)
    }

    /// The next whole frame, or `None` until more bytes have come.
    pub fn next_frame(&mut self) -> Option<Result<Frame, FrameError>> {
        let skipped = self.skip_bytes.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.skip_bytes -= skipped;
        if self.skip_bytes > 0 || self.buffer.len() < HEAD_BYTES {
            return None;
        }
        let kind = self.buffer[0];
        let length = [self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]];
        let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if bytes > MAX_PAYLOAD_BYTES {
            self.buffer.advance(HEAD_BYTES);
            self.skip_bytes = bytes;
            return Some(Err(FrameError::TooLong { kind, bytes }));
        }
        if self.buffer.len() < HEAD_BYTES + bytes {
            return None;
        }
        self.buffer.advance(HEAD_BYTES);
        let payload = self.buffer.split_to(bytes).freeze();
        if self.buffer.is_empty() && bytes > LARGE_BYTES {
            self.buffer = BytesMut::new();
        }
        self.frame_bytes = bytes;
        Some(match kind {
            START => self.span(&payload).map(Frame::Started).ok_or(not_a_span(kind)),
            END => self.span(&payload).map(Frame::Ended).ok_or(not_a_span(kind)),
            _ => parse(kind, payload),
        })
    }

    fn span(&mut self, payload: &[u8]) -> Option<Box<Span>> {
        let Fitted { span, bytes, is_shortened } = fitted(payload).ok()?;
        self.frame_bytes = bytes;
        self.shortened += u64::from(is_shortened);
        Some(Box::new(span))
    }
}

fn not_a_span(kind: u8) -> FrameError {
    FrameError::Malformed { kind, reason: "not an OTLP span" }
}

fn parse(kind: u8, mut payload: Bytes) -> Result<Frame, FrameError> {
    let malformed = |reason| FrameError::Malformed { kind, reason };
    match kind {
        HELLO => serde_json::from_slice(&payload)
            .map(|hello| Frame::Hello(Box::new(hello)))
            .map_err(|_| malformed("not the JSON of a hello")),
        INVOKE => {
            let deadline_ms = payload.try_get_u64_le().map_err(|_| malformed("no deadline"))?;
            let length = payload.try_get_u16_le().map_err(|_| malformed("no request id"))?;
            if payload.len() < usize::from(length) {
                return Err(malformed("request id cut short"));
            }
            let request_id = payload.split_to(usize::from(length));
            Ok(Frame::Entered(Entered {
                request_id: text(&request_id).ok_or_else(|| malformed("request id is not UTF-8"))?,
                trace_header: text(&payload).ok_or_else(|| malformed("trace header is not UTF-8"))?,
                deadline_ms,
            }))
        }
        DONE => {
            let outcome = payload.try_get_u8().map_err(|_| malformed("no outcome"))?;
            let spans_dropped = payload.try_get_u32_le().map_err(|_| malformed("no count of spans"))?;
            let request_id = text(&payload).ok_or_else(|| malformed("request id is not UTF-8"))?;
            Ok(Frame::Done(Done { request_id, raised: outcome != 0, spans_dropped }))
        }
        ANSWERED => answered(&payload).ok_or_else(|| malformed("not two ids, a time and a status")),
        kind => Err(FrameError::Unknown { kind }),
    }
}

fn answered(mut payload: &[u8]) -> Option<Frame> {
    let mut answered = Answered { trace_id: [0; 16], span_id: [0; 8], at_unix_nano: 0, status: 0 };
    payload.try_copy_to_slice(&mut answered.trace_id).ok()?;
    payload.try_copy_to_slice(&mut answered.span_id).ok()?;
    answered.at_unix_nano = payload.try_get_u64_le().ok()?;
    answered.status = payload.try_get_u16_le().ok()?;
    Some(Frame::Answered(answered))
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message as _;

    fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    fn decode_all(bytes: &[u8], piece: usize) -> Vec<Result<Frame, FrameError>> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for chunk in bytes.chunks(piece.max(1)) {
            decoder.buffer().extend_from_slice(chunk);
            while let Some(frame) = decoder.next_frame() {
                found.push(frame);
            }
        }
        found
    }

    fn conversation() -> Vec<u8> {
        let span = Span { name: "S3.GetObject".into(), span_id: vec![1; 8], ..Span::default() };
        let mut invoke = 1_795_224_538_079_u64.to_le_bytes().to_vec();
        invoke.extend(4_u16.to_le_bytes());
        invoke.extend(b"id-1Root=1-x");
        let mut done = vec![1];
        done.extend(7_u32.to_le_bytes());
        done.extend(b"id-1");
        [
            framed(
                HELLO,
                br#"{"agent":"a","runtime":"python","pid":4,"env":{"_HANDLER":"app.handler"},"new":1}"#,
            ),
            framed(INVOKE, &invoke),
            framed(START, &span.encode_to_vec()),
            framed(END, &span.encode_to_vec()),
            framed(DONE, &done),
        ]
        .concat()
    }

    #[test]
    fn a_conversation_is_read_whatever_its_pieces() {
        let whole = decode_all(&conversation(), usize::MAX);
        assert_eq!(whole.len(), 5);
        assert!(whole.iter().all(Result::is_ok), "{whole:?}");
        let Ok(Frame::Entered(entered)) = &whole[1] else { panic!("{whole:?}") };
        assert_eq!((entered.request_id.as_str(), entered.trace_header.as_str()), ("id-1", "Root=1-x"));
        assert_eq!(entered.deadline_ms, 1_795_224_538_079);
        assert_eq!(
            whole[4],
            Ok(Frame::Done(Done { request_id: "id-1".into(), raised: true, spans_dropped: 7 }))
        );
        for piece in [1, 2, 3, 7, 64] {
            assert_eq!(decode_all(&conversation(), piece), whole);
        }
    }

    #[test]
    fn a_bad_frame_costs_only_itself() {
        let mut bytes = framed(END, b"\xff\xff");
        bytes.extend(framed(9, b"from the future"));
        bytes.extend([END]);
        bytes.extend(u32::try_from(MAX_PAYLOAD_BYTES + 1).unwrap().to_le_bytes());
        bytes.extend(vec![0; MAX_PAYLOAD_BYTES + 1]);
        bytes.extend(framed(INVOKE, b"\0\0\0\0\0\0\0\0\x09\0x"));
        bytes.extend(conversation());
        let found = decode_all(&bytes, 4096);
        assert_eq!(found[0], Err(FrameError::Malformed { kind: END, reason: "not an OTLP span" }));
        assert_eq!(found[1], Err(FrameError::Unknown { kind: 9 }));
        assert_eq!(found[2], Err(FrameError::TooLong { kind: END, bytes: MAX_PAYLOAD_BYTES + 1 }));
        assert_eq!(found[3], Err(FrameError::Malformed { kind: INVOKE, reason: "request id cut short" }));
        assert!(found[4..].iter().all(Result::is_ok) && found.len() == 9);
        let lost: u64 = found.iter().filter_map(|f| f.as_ref().err()).map(FrameError::spans_lost).sum();
        assert_eq!(lost, 2);
    }

    #[test]
    fn how_an_answer_stands_comes_out_as_it_was_written() {
        let mut payload =
            [[7; 16].as_slice(), &[8; 8], &300_u64.to_le_bytes(), &204_u16.to_le_bytes()].concat();
        let answered = Answered { trace_id: [7; 16], span_id: [8; 8], at_unix_nano: 300, status: 204 };
        assert_eq!(decode_all(&framed(ANSWERED, &payload), 7), [Ok(Frame::Answered(answered))]);
        payload.pop();
        let [Err(FrameError::Malformed { kind: ANSWERED, .. })] =
            &*decode_all(&framed(ANSWERED, &payload), 7)
        else {
            panic!("cut short")
        };
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            decode_all(&bytes, 97);
        }
    }
}

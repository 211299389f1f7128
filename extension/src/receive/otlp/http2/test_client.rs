//! What a client writes, byte by byte, and what it is sent (RFC 9113, section 6; RFC 7541, section 6.2.2).

pub(in crate::receive::otlp) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
pub(in crate::receive::otlp) const MAX_FRAME_BYTES: usize = 16_384;

pub(in crate::receive::otlp) const DATA: u8 = 0;
pub(in crate::receive::otlp) const HEADERS: u8 = 1;
pub(in crate::receive::otlp) const PRIORITY: u8 = 2;
pub(in crate::receive::otlp) const RST_STREAM: u8 = 3;
pub(in crate::receive::otlp) const SETTINGS: u8 = 4;
pub(in crate::receive::otlp) const PUSH_PROMISE: u8 = 5;
pub(in crate::receive::otlp) const PING: u8 = 6;
pub(in crate::receive::otlp) const GOAWAY: u8 = 7;
pub(in crate::receive::otlp) const WINDOW_UPDATE: u8 = 8;
pub(in crate::receive::otlp) const CONTINUATION: u8 = 9;

/// On SETTINGS and PING.
pub(in crate::receive::otlp) const ACK: u8 = 1;
pub(in crate::receive::otlp) const END_STREAM: u8 = 1;
pub(in crate::receive::otlp) const END_HEADERS: u8 = 4;
pub(in crate::receive::otlp) const PADDED: u8 = 8;
pub(in crate::receive::otlp) const WITH_PRIORITY: u8 = 0x20;

pub(in crate::receive::otlp) const NO_ERROR: u8 = 0;
pub(in crate::receive::otlp) const PROTOCOL_ERROR: u8 = 1;
pub(in crate::receive::otlp) const FLOW_CONTROL_ERROR: u8 = 3;
pub(in crate::receive::otlp) const FRAME_SIZE_ERROR: u8 = 6;
pub(in crate::receive::otlp) const REFUSED_STREAM: u8 = 7;
pub(in crate::receive::otlp) const ENHANCE_YOUR_CALM: u8 = 11;

/// What a client writes.
#[derive(Default)]
pub(in crate::receive::otlp) struct Client(pub(in crate::receive) Vec<u8>);

impl Client {
    /// After its first words.
    pub(in crate::receive::otlp) fn new() -> Self {
        Self(PREFACE.to_vec()).frame(SETTINGS, 0, 0, &[])
    }

    pub(in crate::receive::otlp) fn frame(
        mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Self {
        self.0.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        self.0.extend_from_slice(&[kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(payload);
        self
    }

    /// The headers of a call.
    pub(in crate::receive::otlp) fn headers(self, flags: u8, stream: u32) -> Self {
        self.frame(HEADERS, flags, stream, &call_headers())
    }
}

pub(in crate::receive::otlp) fn call_headers() -> Vec<u8> {
    [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    ]
    .concat()
}

/// A literal that no table remembers, without Huffman.
pub(in crate::receive::otlp) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        match text.len().checked_sub(0x7f) {
            None => block.push(u8::try_from(text.len()).unwrap()),
            Some(mut rest) => {
                block.push(0x7f);
                while rest >= 0x80 {
                    block.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
                    rest /= 0x80;
                }
                block.push(u8::try_from(rest).unwrap());
            }
        }
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// A frame that a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::receive::otlp) struct Frame {
    pub(in crate::receive::otlp) kind: u8,
    pub(in crate::receive::otlp) flags: u8,
    pub(in crate::receive::otlp) stream: u32,
    pub(in crate::receive::otlp) payload: Vec<u8>,
}

/// The first of the frames in these bytes, when it is whole, and the bytes behind it.
pub(in crate::receive::otlp) fn first_frame(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (&[high, middle, low, kind, flags, ref stream @ ..], rest) =
        bytes.split_first_chunk::<HEAD_BYTES>()?;
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((Frame { kind, flags, stream: u32::from_be_bytes(*stream), payload: payload.to_vec() }, rest))
}

/// All of the frames in these bytes, which end with one.
pub(in crate::receive::otlp) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((frame, rest)) = first_frame(bytes) {
        frames.push(frame);
        bytes = rest;
    }
    assert!(bytes.is_empty(), "{bytes:?}");
    frames
}

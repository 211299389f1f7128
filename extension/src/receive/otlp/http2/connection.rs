//! One connection: what has arrived, the requests in it, and what is to be written.

use super::frame::{self, ErrorCode, Head};
use super::hpack::{self, Decoder};
use std::collections::{BTreeMap, VecDeque};

/// The most that the requests under way on one connection may hold together.
pub const MAX_BUFFERED_BYTES: usize = 4 * 1024 * 1024 + 5;
const MAX_STREAMS: u32 = 16;
const MAX_HEADER_BYTES: u16 = 16 * 1024;
/// How much a client may send before it hears how it goes on.
const WINDOW: u32 = 256 * 1024;
const MAX_WINDOW: i64 = 0x7fff_ffff;
const DEFAULT_WINDOW: i64 = 65_535;

/// A request that has arrived whole, or was refused before that.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub stream: u32,
    pub method: String,
    pub path: String,
    pub content_type: String,
    /// `grpc-encoding`.
    pub encoding: String,
    pub body: Vec<u8>,
    /// The body would have been over the limit, and was thrown away.
    pub is_too_large: bool,
}

/// What a request is answered with: the headers, and for a success a message before the trailers.
#[derive(Debug, Default)]
pub struct Answer {
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Vec<u8>>,
    pub trailers: Vec<(&'static str, String)>,
}

#[derive(Debug, Default)]
struct Stream {
    request: Request,
    /// All of the request is here.
    is_whole: bool,
    /// It was too large: what still comes is passed over.
    is_refused: bool,
    /// How much the client may still send.
    receive_window: i64,
    /// How much it wants to be sent.
    send_window: i64,
    /// What waits for that: a body, and its trailers as a header block.
    waiting: Option<(Vec<u8>, Vec<u8>)>,
}

/// A header block that is not complete.
#[derive(Debug)]
struct Block {
    head: Head,
    bytes: Vec<u8>,
}

/// The client does not keep to HTTP/2: nothing more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client broke the rules of HTTP/2")]
pub struct Broken;

/// A server's side of one connection.
#[derive(Debug)]
pub struct Connection {
    input: Vec<u8>,
    output: Vec<u8>,
    has_begun: bool,
    decoder: Decoder,
    block: Option<Block>,
    streams: BTreeMap<u32, Stream>,
    requests: VecDeque<Request>,
    last_stream: u32,
    receive_window: i64,
    send_window: i64,
    /// What the client wants to be sent on a new stream.
    initial_send_window: i64,
    is_going_away: bool,
}

impl Default for Connection {
    fn default() -> Self {
        let mut connection = Self {
            input: Vec::new(),
            output: Vec::new(),
            has_begun: false,
            decoder: Decoder::default(),
            block: None,
            streams: BTreeMap::new(),
            requests: VecDeque::new(),
            last_stream: 0,
            receive_window: DEFAULT_WINDOW,
            send_window: DEFAULT_WINDOW,
            initial_send_window: DEFAULT_WINDOW,
            is_going_away: false,
        };
        let mut settings = Vec::new();
        for (name, value) in [
            (frame::MAX_CONCURRENT_STREAMS, MAX_STREAMS),
            (frame::INITIAL_WINDOW_SIZE, WINDOW),
            (frame::MAX_HEADER_LIST_SIZE, u32::from(MAX_HEADER_BYTES)),
        ] {
            settings.extend_from_slice(&name.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        connection.write(frame::SETTINGS, 0, 0, &settings);
        connection.refill(0);
        connection
    }
}

impl Connection {
    /// Takes bytes in. An error is the connection's end, and is already in what is to be written.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.input);
        let result = self.read_frames(&mut input);
        self.input = input;
        result.map_err(|code| {
            self.go_away(code);
            Broken
        })
    }

    /// What is to be written.
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Bytes of requests that are not whole, or not answered.
    pub fn buffered_bytes(&self) -> usize {
        let under_way = self.streams.values().map(|stream| stream.request.body.len());
        let whole = self.requests.iter().map(|request| request.body.len());
        under_way.chain(whole).sum()
    }

    /// Whether the client is in the middle of something.
    pub fn is_under_way(&self) -> bool {
        !self.input.is_empty() || self.block.is_some() || !self.streams.is_empty()
    }

    /// No more is to come, and nothing is under way.
    pub fn is_over(&self) -> bool {
        self.is_going_away && self.streams.is_empty()
    }

    /// Says that nothing more will be answered.
    pub fn close(&mut self) {
        self.go_away(ErrorCode::None);
    }

    /// Answers the request of a stream; a stream that is gone is passed over.
    pub fn answer(&mut self, stream: u32, answer: Answer) {
        if !self.streams.contains_key(&stream) {
            return;
        }
        let headers = block_of(&answer.headers);
        if let Some(body) = answer.body {
            self.write(frame::HEADERS, frame::END_HEADERS, stream, &headers);
            if let Some(state) = self.streams.get_mut(&stream) {
                state.waiting = Some((body, block_of(&answer.trailers)));
            }
            self.send_waiting(stream);
        } else {
            self.write(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, &headers);
            self.end(stream);
        }
    }

    fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frame::write(kind, flags, stream, payload, &mut self.output);
    }

    fn go_away(&mut self, code: ErrorCode) {
        self.is_going_away = true;
        let mut payload = self.last_stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&(code as u32).to_be_bytes());
        self.write(frame::GOAWAY, 0, 0, &payload);
    }

    /// The stream has been answered. A client that is still sending need not (RFC 9113, section 8.1).
    fn end(&mut self, id: u32) {
        if self.streams.remove(&id).is_some_and(|stream| !stream.is_whole) {
            self.write(frame::RST_STREAM, 0, id, &(ErrorCode::None as u32).to_be_bytes());
        }
    }

    fn refuse(&mut self, id: u32, code: ErrorCode) {
        self.streams.remove(&id);
        self.requests.retain(|request| request.stream != id);
        self.write(frame::RST_STREAM, 0, id, &(code as u32).to_be_bytes());
    }

    fn send_waiting(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some((body, trailers)) = stream.waiting.take() else { return };
        let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
        if length > stream.send_window.min(self.send_window) {
            stream.waiting = Some((body, trailers));
            return;
        }
        self.send_window -= length;
        self.write(frame::DATA, 0, id, &body);
        self.write(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, id, &trailers);
        self.end(id);
    }

    /// Lets the client send on, when it has used up half of what it may.
    fn refill(&mut self, id: u32) {
        let window = match self.streams.get_mut(&id) {
            Some(stream) => &mut stream.receive_window,
            None if id == 0 => &mut self.receive_window,
            None => return,
        };
        let missing = i64::from(WINDOW) - *window;
        if let Ok(missing) = u32::try_from(missing)
            && missing >= WINDOW / 2
        {
            *window = i64::from(WINDOW);
            self.write(frame::WINDOW_UPDATE, 0, id, &missing.to_be_bytes());
        }
    }

    fn read_frames(&mut self, input: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let mut at = 0;
        if !self.has_begun {
            let preface = &input[..input.len().min(frame::PREFACE.len())];
            if !frame::PREFACE.starts_with(preface) {
                return Err(ErrorCode::Protocol);
            }
            if preface.len() < frame::PREFACE.len() {
                return Ok(());
            }
            self.has_begun = true;
            at = frame::PREFACE.len();
        }
        while let Some(head) = Head::read(&input[at..]) {
            if head.length > frame::MAX_FRAME_BYTES {
                return Err(ErrorCode::FrameSize);
            }
            let begin = at + frame::HEAD_BYTES;
            let Some(payload) = input.get(begin..begin + head.length) else { break };
            self.read_frame(head, payload)?;
            at = begin + head.length;
        }
        input.drain(..at);
        Ok(())
    }

    fn read_frame(&mut self, head: Head, payload: &[u8]) -> Result<(), ErrorCode> {
        if self.block.is_some() && head.kind != frame::CONTINUATION {
            return Err(ErrorCode::Protocol);
        }
        let needs_stream = matches!(
            head.kind,
            frame::DATA | frame::HEADERS | frame::PRIORITY | frame::RST_STREAM | frame::CONTINUATION
        );
        let is_global = matches!(head.kind, frame::SETTINGS | frame::PING | frame::GOAWAY);
        if (needs_stream && head.stream == 0) || (is_global && head.stream != 0) {
            return Err(ErrorCode::Protocol);
        }
        match head.kind {
            frame::DATA => self.data(head, payload),
            frame::HEADERS => {
                let mut bytes = frame::without_padding(head, payload)?;
                if head.has(frame::WITH_PRIORITY) {
                    bytes = bytes.get(5..).ok_or(ErrorCode::FrameSize)?;
                }
                self.header_bytes(Block { head, bytes: Vec::new() }, head, bytes)
            }
            frame::CONTINUATION => {
                let block = self.block.take().filter(|block| block.head.stream == head.stream);
                self.header_bytes(block.ok_or(ErrorCode::Protocol)?, head, payload)
            }
            frame::RST_STREAM => {
                frame::number(payload)?;
                if head.stream > self.last_stream {
                    return Err(ErrorCode::Protocol);
                }
                self.streams.remove(&head.stream);
                self.requests.retain(|request| request.stream != head.stream);
                Ok(())
            }
            frame::SETTINGS => self.settings(head, payload),
            frame::PING if payload.len() != 8 => Err(ErrorCode::FrameSize),
            frame::PING => {
                if !head.has(frame::ACK) {
                    self.write(frame::PING, frame::ACK, 0, payload);
                }
                Ok(())
            }
            frame::GOAWAY => {
                self.is_going_away = true;
                Ok(())
            }
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            frame::PUSH_PROMISE => Err(ErrorCode::Protocol),
            _ => Ok(()),
        }
    }

    fn header_bytes(&mut self, mut block: Block, head: Head, bytes: &[u8]) -> Result<(), ErrorCode> {
        if block.bytes.len() + bytes.len() > usize::from(MAX_HEADER_BYTES) {
            return Err(ErrorCode::EnhanceYourCalm);
        }
        block.bytes.extend_from_slice(bytes);
        if head.has(frame::END_HEADERS) {
            return self.headers(block.head, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    fn headers(&mut self, head: Head, block: &[u8]) -> Result<(), ErrorCode> {
        let mut request = Request { stream: head.stream, ..Request::default() };
        let mut bytes = 0;
        let mut read = |name: &[u8], value: &[u8]| {
            bytes += name.len() + value.len() + 32;
            let place = match name {
                b":method" => &mut request.method,
                b":path" => &mut request.path,
                b"content-type" => &mut request.content_type,
                b"grpc-encoding" => &mut request.encoding,
                _ => return,
            };
            // Longer than anything that is understood.
            *place = String::from_utf8_lossy(&value[..value.len().min(200)]).into_owned();
        };
        self.decoder.decode(block, &mut read).map_err(|_| ErrorCode::Compression)?;
        if bytes > 4 * usize::from(MAX_HEADER_BYTES) {
            return Err(ErrorCode::EnhanceYourCalm);
        }
        if head.stream <= self.last_stream {
            return self.trailers(head);
        }
        if head.stream.is_multiple_of(2) {
            return Err(ErrorCode::Protocol);
        }
        self.last_stream = head.stream;
        let too_many = self.streams.len() >= MAX_STREAMS as usize;
        if too_many || self.is_going_away {
            self.refuse(head.stream, ErrorCode::RefusedStream);
            return Ok(());
        }
        let stream = Stream {
            request,
            receive_window: i64::from(WINDOW),
            send_window: self.initial_send_window,
            ..Stream::default()
        };
        self.streams.insert(head.stream, stream);
        if head.has(frame::END_STREAM) {
            self.complete(head.stream);
        }
        Ok(())
    }

    /// Headers after the body. On a stream that was ended here they may still have been on their way.
    fn trailers(&mut self, head: Head) -> Result<(), ErrorCode> {
        match self.streams.get(&head.stream) {
            Some(stream) if stream.is_whole => Err(ErrorCode::StreamClosed),
            Some(_) if !head.has(frame::END_STREAM) => Err(ErrorCode::Protocol),
            Some(stream) if stream.is_refused => Ok(()),
            Some(_) => {
                self.complete(head.stream);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), ErrorCode> {
        let bytes = frame::without_padding(head, payload)?;
        if head.stream > self.last_stream {
            return Err(ErrorCode::Protocol);
        }
        let length = i64::try_from(payload.len()).unwrap_or(i64::MAX);
        self.receive_window -= length;
        if self.receive_window < 0 {
            return Err(ErrorCode::FlowControl);
        }
        self.refill(0);
        let buffered = self.buffered_bytes();
        let Some(stream) = self.streams.get_mut(&head.stream) else { return Ok(()) };
        stream.receive_window -= length;
        if stream.is_whole || stream.receive_window < 0 {
            let code = if stream.is_whole { ErrorCode::StreamClosed } else { ErrorCode::FlowControl };
            self.refuse(head.stream, code);
            return Ok(());
        }
        if stream.is_refused {
            stream.is_whole = head.has(frame::END_STREAM);
            return Ok(());
        }
        stream.request.body.extend_from_slice(bytes);
        if buffered + bytes.len() > MAX_BUFFERED_BYTES {
            stream.is_refused = true;
            stream.is_whole = head.has(frame::END_STREAM);
            stream.request.is_too_large = true;
            stream.request.body = Vec::new();
            self.requests.push_back(std::mem::take(&mut stream.request));
        } else if head.has(frame::END_STREAM) {
            self.complete(head.stream);
            return Ok(());
        }
        self.refill(head.stream);
        Ok(())
    }

    fn complete(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_whole = true;
            self.requests.push_back(std::mem::take(&mut stream.request));
        }
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), ErrorCode> {
        if !payload.len().is_multiple_of(6) || (head.has(frame::ACK) && !payload.is_empty()) {
            return Err(ErrorCode::FrameSize);
        }
        if head.has(frame::ACK) {
            return Ok(());
        }
        for setting in payload.chunks_exact(6) {
            let (name, value) = (u16::from_be_bytes([setting[0], setting[1]]), frame::number(&setting[2..])?);
            if name == frame::INITIAL_WINDOW_SIZE {
                let change = i64::from(value) - self.initial_send_window;
                self.initial_send_window = i64::from(value);
                for stream in self.streams.values_mut() {
                    stream.send_window += change;
                }
                let windows = self.streams.values().map(|stream| stream.send_window);
                if windows.chain([i64::from(value)]).any(|window| window > MAX_WINDOW) {
                    return Err(ErrorCode::FlowControl);
                }
            }
        }
        self.write(frame::SETTINGS, frame::ACK, 0, &[]);
        self.send_all_waiting();
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), ErrorCode> {
        let increment = i64::from(frame::number(payload)? & 0x7fff_ffff);
        let window = match self.streams.get_mut(&head.stream) {
            Some(stream) => &mut stream.send_window,
            None if head.stream == 0 => &mut self.send_window,
            None if head.stream > self.last_stream => return Err(ErrorCode::Protocol),
            None => return Ok(()),
        };
        *window += increment;
        if increment == 0 || *window > MAX_WINDOW {
            return Err(if increment == 0 { ErrorCode::Protocol } else { ErrorCode::FlowControl });
        }
        self.send_all_waiting();
        Ok(())
    }

    fn send_all_waiting(&mut self) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.send_waiting(id);
        }
    }
}

fn block_of(headers: &[(&'static str, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        hpack::encode(name, value, &mut block);
    }
    block
}

#[cfg(test)]
mod tests;

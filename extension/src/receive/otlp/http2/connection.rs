//! One connection: what has arrived, the requests in it, and what is to be written.

use super::framing::Framing;
use super::wire::Wire;
use bytes::Bytes;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The most that the requests under way on one connection may hold together.
pub const MAX_BUFFERED_BYTES: usize = 4 * 1024 * 1024 + 5;
const MAX_STREAMS: u16 = 16;
/// Above this, a header list is refused; four times as much ends the connection.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// How much a client may send before it hears how it goes on.
const WINDOW: u32 = 256 * 1024;
/// Longer than anything that is understood in a header.
const MAX_TEXT_BYTES: usize = 200;
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

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

/// Names in small letters, and what they are set to.
pub type Headers = Vec<(&'static str, String)>;

/// What a request is answered with: the headers, and for a success a message before the trailers.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Headers,
    pub body: Option<Vec<u8>>,
    pub trailers: Headers,
}

/// The client does not keep to HTTP/2: nothing more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client broke the rules of HTTP/2")]
pub struct Broken;

/// A server's side of one connection.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    framing: Framing,
    server: Server,
    calls: Vec<Call>,
    requests: VecDeque<Request>,
}

#[derive(Debug)]
enum Server {
    /// The client's preface has not come.
    Greeting(Box<Handshake<Wire, Bytes>>),
    Serving(Box<h2::server::Connection<Wire, Bytes>>),
    Over,
}

/// A request that has not been answered.
#[derive(Debug)]
struct Call {
    stream: u32,
    /// Empty when it has been given away.
    request: Request,
    /// None when all of it is here, or it is too large.
    body: Option<RecvStream>,
    respond: SendResponse<Bytes>,
}

impl Default for Connection {
    fn default() -> Self {
        let wire = Wire::default();
        let handshake = Builder::new()
            .max_concurrent_streams(MAX_STREAMS.into())
            .max_concurrent_reset_streams(MAX_STREAMS.into())
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(wire.clone());
        let mut connection = Self {
            wire,
            framing: Framing::default(),
            server: Server::Greeting(Box::new(handshake)),
            calls: Vec::new(),
            requests: VecDeque::new(),
        };
        // Nothing that is wrong has come, and the server's first words are written.
        let _ = connection.accept();
        connection
    }
}

impl Connection {
    /// Takes bytes in, and no more at a time than may be held besides what is counted. An error is the connection's end,
    /// and is already in what is to be written.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if !self.framing.pass(bytes) {
            self.go_away(Reason::ENHANCE_YOUR_CALM);
            return Err(Broken);
        }
        self.wire.put(bytes);
        self.advance()
    }

    /// What is to be written.
    pub fn output(&mut self) -> Vec<u8> {
        self.wire.take()
    }

    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Bytes of requests that are not whole, or not answered.
    pub fn buffered_bytes(&self) -> usize {
        let under_way = self.calls.iter().map(|call| call.request.body.len());
        let whole = self.requests.iter().map(|request| request.body.len());
        under_way.chain(whole).sum()
    }

    /// Whether the client is in the middle of something, or has not been sent all of an answer.
    pub fn is_under_way(&self) -> bool {
        match &self.server {
            Server::Greeting(_) => true,
            Server::Serving(connection) => !self.framing.is_between() || connection.has_streams(),
            Server::Over => false,
        }
    }

    /// No more is to come, and nothing is under way.
    pub fn is_over(&self) -> bool {
        matches!(self.server, Server::Over)
    }

    /// Says that nothing more will be answered.
    pub fn close(&mut self) {
        self.go_away(Reason::NO_ERROR);
    }

    /// Answers the request of a stream; a stream that is gone is passed over.
    pub fn answer(&mut self, stream: u32, answer: Answer) {
        let Some(at) = self.calls.iter().position(|call| call.stream == stream) else { return };
        // A client that has taken its call back waits for nothing.
        let _ = self.calls.swap_remove(at).answer(answer);
        // Without anything new from the client it breaks no rule.
        let _ = self.advance();
    }

    /// Goes on until the client is what is waited for.
    fn advance(&mut self) -> Result<(), Broken> {
        self.accept()?;
        self.read_bodies();
        // The client may send as much again as was read.
        self.accept()
    }

    /// Lets `h2` read and write all that there is.
    fn accept(&mut self) -> Result<(), Broken> {
        let context = &mut Context::from_waker(Waker::noop());
        if let Server::Greeting(handshake) = &mut self.server {
            match Pin::new(&mut **handshake).poll(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(connection)) => self.server = Server::Serving(Box::new(connection)),
                Poll::Ready(Err(_)) => {
                    self.end();
                    return Err(Broken);
                }
            }
        }
        while let Server::Serving(connection) = &mut self.server {
            match connection.poll_accept(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok((request, respond)))) => self.calls.push(Call::new(request, respond)),
                Poll::Ready(ended) => {
                    self.end();
                    return if ended.is_some() { Err(Broken) } else { Ok(()) };
                }
            }
        }
        Ok(())
    }

    fn read_bodies(&mut self) {
        let (mut held, whole) = (self.buffered_bytes(), &mut self.requests);
        self.calls.retain_mut(|call| {
            let is_wanted = call.read(&mut held, whole);
            if !is_wanted {
                whole.retain(|request| request.stream != call.stream);
            }
            is_wanted
        });
    }

    fn go_away(&mut self, reason: Reason) {
        if let Server::Serving(connection) = &mut self.server {
            connection.abrupt_shutdown(reason);
            // It ends in any case.
            let _ = self.accept();
        }
        self.end();
    }

    fn end(&mut self) {
        self.server = Server::Over;
        self.calls = Vec::new();
        self.requests = VecDeque::new();
    }
}

impl Call {
    fn new(request: hyper::Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let stream = respond.stream_id().as_u32();
        let (head, body) = request.into_parts();
        let header = |name| head.headers.get(name).map_or_else(String::new, |value| text(value.as_bytes()));
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        let request = Request {
            stream,
            method: text(head.method.as_str().as_bytes()),
            path: text(path.as_bytes()),
            content_type: header(CONTENT_TYPE),
            encoding: header(ENCODING),
            ..Request::default()
        };
        Self { stream, request, body: Some(body), respond }
    }

    /// Reads what has come of the body, and gives the request away when it is whole or too large. False when the client
    /// has taken the call back.
    fn read(&mut self, held: &mut usize, whole: &mut VecDeque<Request>) -> bool {
        let context = &mut Context::from_waker(Waker::noop());
        if self.respond.poll_reset(context).is_ready() {
            return false;
        }
        while let Some(body) = &mut self.body {
            match body.poll_data(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Err(_))) => return false,
                Poll::Ready(Some(Ok(bytes))) => {
                    // It fails for more than has come.
                    let _ = body.flow_control().release_capacity(bytes.len());
                    if *held + bytes.len() <= MAX_BUFFERED_BYTES {
                        *held += bytes.len();
                        self.request.body.extend_from_slice(&bytes);
                        continue;
                    }
                    *held -= self.request.body.len();
                    self.request.body = Vec::new();
                    self.request.is_too_large = true;
                }
                Poll::Ready(None) => {}
            }
            self.body = None;
            whole.push_back(std::mem::take(&mut self.request));
        }
        true
    }

    /// Dropped with it, a body that is still being sent is refused without an error (RFC 9113, section 8.1).
    fn answer(mut self, answer: Answer) -> Result<(), h2::Error> {
        let mut response = Response::new(());
        *response.status_mut() = answer.status;
        *response.headers_mut() = header_map(answer.headers);
        let mut stream = self.respond.send_response(response, answer.body.is_none())?;
        if let Some(body) = answer.body {
            stream.send_data(body.into(), false)?;
            stream.send_trailers(header_map(answer.trailers))?;
        }
        Ok(())
    }
}

/// What no header may hold is left out.
fn header_map(headers: Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            map.insert(name, value);
        }
    }
    map
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT_BYTES)]).into_owned()
}

#[cfg(test)]
mod floods;
#[cfg(test)]
mod tests;

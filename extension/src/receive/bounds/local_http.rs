//! The HTTP server under every receiver that speaks HTTP: HTTP/1.1, and everything bounded: connections, headers,
//! bodies and time.

use super::awake;
use super::places::{IDLE_TIME, MAX_CONNECTIONS, Place, Places};
use super::stalled_write::Impatient;
use crate::log::{Level, Log};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// From a head's first byte to its last.
const HEADER_TIME: Duration = Duration::from_secs(5);
const BODY_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to read some of its answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

pub(crate) type Answer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
/// Answers one request. Not a type parameter: one server in the binary is enough.
pub(crate) type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// Why a body could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is over the limit")]
    TooLarge,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body has stalled while others wait")]
    MadeWay,
    #[error("the body could not be read: {0}")]
    Broken(String),
}

/// Binds a receiver's address.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Accepts for ever, and gives each connection a place. One ends when its task does.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    log: Log,
    mut connected: impl FnMut(TcpStream, Place) -> Option<F>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Places::new(MAX_CONNECTIONS, IDLE_TIME);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log.once(
                    "http-accept",
                    Level::Warn,
                    format_args!("a local client could not connect: {error}"),
                );
                // Descriptors may be what is missing.
                places.ask_the_idlest();
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Some(connection) = connected(stream, places.take().await) {
            tokio::spawn(connection);
        }
    }
}

/// Serves for ever. A connection that `may_enter` does not let in is closed.
pub(crate) async fn serve(
    listener: TcpListener,
    may_enter: fn(&TcpStream) -> bool,
    handler: Handler,
    log: Log,
) {
    let connected = |stream: TcpStream, place: Place| {
        let handler = Arc::clone(&handler);
        may_enter(&stream).then_some(serve_one(stream, place, handler))
    };
    accept(listener, log, connected).await;
}

/// Serves one connection until either side ends it. While it is idle, nothing of HTTP is held for it.
pub(crate) async fn serve_one(stream: impl AsyncRead + AsyncWrite + Unpin, place: Place, handler: Handler) {
    let mut stream = Impatient::new(stream, ANSWER_TIME);
    while let Some(first) = place.first_bytes(&mut stream).await {
        stream.put_back(first);
        let Some(turn) = place.turn().await else { return };
        match serve_requests(stream, &place, &handler).await {
            Some(idle) => stream = idle,
            None => return,
        }
        drop(turn);
    }
    // A client that goes away has nothing to be told.
    let _ = stream.shutdown().await;
}

/// What has come of the requests on a connection.
#[derive(Default)]
struct Progress {
    begun: AtomicUsize,
    answered: AtomicUsize,
    /// Requests behind whose answer the connection ends.
    last: AtomicUsize,
    /// Bodies that are being read, and the pieces that have come of all.
    bodies: AtomicUsize,
    pieces: AtomicUsize,
}

impl Progress {
    /// How much has come, where the client is what is waited for: to send, or to read.
    fn of_client(&self, is_stuck: bool) -> Option<usize> {
        let [begun, answered, bodies, pieces] = [&self.begun, &self.answered, &self.bodies, &self.pieces]
            .map(|count| count.load(Ordering::Relaxed));
        (is_stuck || begun == answered || bodies > 0)
            .then(|| begun.wrapping_add(answered).wrapping_add(pieces))
    }
}

/// A body that is being read.
struct Reading(Option<Arc<Progress>>);

impl Reading {
    fn of(request: &mut Request<Incoming>) -> Self {
        let progress: Option<Arc<Progress>> = request.extensions_mut().remove();
        if let Some(progress) = &progress {
            progress.bodies.fetch_add(1, Ordering::Relaxed);
        }
        Self(progress)
    }

    fn piece_has_come(&self) {
        if let Some(progress) = &self.0 {
            progress.pieces.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.bodies.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Serves requests, of which the first has begun, and gives the stream back when they are answered and it may be kept.
async fn serve_requests<S: AsyncRead + AsyncWrite + Unpin>(
    stream: Impatient<S>,
    place: &Place,
    handler: &Handler,
) -> Option<Impatient<S>> {
    let (progress, is_stuck) = (Arc::new(Progress::default()), stream.is_stuck());
    let service = service_fn(|mut request: Request<Incoming>| {
        progress.begun.fetch_add(1, Ordering::Relaxed);
        progress.last.fetch_add(usize::from(is_last(&request)), Ordering::Relaxed);
        request.extensions_mut().insert(Arc::clone(&progress));
        let (answer, progress) = (handler(request), Arc::clone(&progress));
        Box::pin(async move {
            let answer = answer.await;
            progress.answered.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        })
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut head_end = pin!(awake::limit(HEADER_TIME));
    let mut is_kept = false;
    let serving = std::future::poll_fn(|context| {
        // An error is a client that goes away in the middle of a request: it has nothing to be told.
        let mut is_over = connection.poll_without_shutdown(context).map(|served| is_kept &= served.is_ok());
        let begun = progress.begun.load(Ordering::Relaxed);
        let is_answered = begun > 0 && begun == progress.answered.load(Ordering::Relaxed);
        if is_over.is_pending() && is_answered && !is_kept && progress.last.load(Ordering::Relaxed) == 0 {
            // By now it knows of a body that was not read to its end, which ends the connection.
            is_over = connection.poll_without_shutdown(context).map(drop);
            if is_over.is_pending() && begun == progress.begun.load(Ordering::Relaxed) {
                is_kept = true;
                // Ends what is idle at once, and all else when the answer has been written.
                Pin::new(&mut connection).graceful_shutdown();
                is_over = connection.poll_without_shutdown(context).map(|served| is_kept &= served.is_ok());
            }
        }
        match is_over {
            Poll::Pending if begun == 0 => head_end.as_mut().poll(context),
            other => other,
        }
    });
    let served = place.work(serving, || progress.of_client(is_stuck.load(Ordering::Relaxed))).await;
    is_kept &= served.is_some();
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if !is_kept || stream.is_waiting() {
        let _ = stream.shutdown().await;
        return None;
    }
    stream.put_back(parts.read_buf);
    Some(stream)
}

/// Whether the client wants the connection to end behind the answer.
fn is_last(request: &Request<Incoming>) -> bool {
    if request.version() == Version::HTTP_10 {
        return !says(request.headers(), "keep-alive");
    }
    says(request.headers(), "close")
}

fn says(headers: &HeaderMap, word: &str) -> bool {
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

/// Reads a body of at most `limit` bytes. What is over is read too, and thrown away: who is still sending hears nothing.
/// One that has a place among others may have to make way.
pub(crate) async fn read_body(
    mut request: Request<Incoming>,
    limit: usize,
    place: Option<&Place>,
) -> Result<Bytes, BodyError> {
    let reading_it = Reading::of(&mut request);
    let mut body = request.into_body();
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = Vec::with_capacity(expected.min(limit));
    let mut read = 0;
    let reading = async {
        while let Some(frame) = Place::client(place, body.frame()).await.ok_or(BodyError::MadeWay)? {
            reading_it.piece_has_come();
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let data = frame.into_data().unwrap_or_default();
            read += data.len();
            if read <= limit {
                whole.extend_from_slice(&data);
            } else {
                whole = Vec::new();
            }
        }
        Ok(())
    };
    let in_time = awake::timeout(BODY_TIME, reading).await;
    if read > limit {
        return Err(BodyError::TooLarge);
    }
    in_time.ok_or(BodyError::Slow)?.map(|()| whole.into())
}

/// A client for the tests of what is served here.
#[cfg(test)]
pub(crate) mod test_client {
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    /// Sends a request whose first lines are `head`, and returns the answer's status.
    pub(crate) async fn send(address: SocketAddr, head: &str, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head =
            format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer)[9..12].parse().unwrap()
    }
}

#[cfg(test)]
mod tests;
